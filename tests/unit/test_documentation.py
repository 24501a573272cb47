"""Every Python example of the README, of the pages under docs/ and of the docstrings runs."""

import doctest
import importlib
import re
from pathlib import Path

import matplotlib
import pytest

from mpo_transport.methods import base
from mpo_transport.models import registry

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mpo_transport"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!--\s*no-run\s*-->\s*\Z")


def python_blocks(text: str) -> list[tuple[int, str]]:
    """Line number of the first line and text of every Python block that is to be run."""
    return [
        (text.count("\n", 0, match.start(1)) + 1, match.group(1))
        for match in BLOCK.finditer(text)
        if not NOT_RUN.search(text[: match.start()])
    ]


def run_blocks(text: str, name: str) -> dict:
    """Run the blocks of a page in order, in one namespace; tracebacks show the line numbers of the page."""
    namespace: dict = {"__name__": "__example__"}
    for line, block in python_blocks(text):
        exec(compile("\n" * (line - 1) + block, name, "exec"), namespace)
    return namespace


def public_modules() -> list[str]:
    """Dotted names of the modules whose path holds no part that starts with an underscore."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        if not any(part.startswith("_") for part in parts):
            names.append(".".join(parts))
    return names


@pytest.fixture(autouse=True)
def separate_registries(monkeypatch):
    """Models and methods that an example registers are forgotten afterwards."""
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    monkeypatch.setattr(base, "METHODS", dict(base.METHODS))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_of_page_run(page, tmp_path, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    run_blocks(page.read_text(encoding="utf-8"), str(page))


@pytest.mark.parametrize("name", public_modules())
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert result.failed == 0


def test_readme_has_an_example():
    assert python_blocks(ROOT.joinpath("README.md").read_text(encoding="utf-8"))


PAGE = """# Page

```python
x = 1
```

```console
$ not run
```

<!-- no-run -->
```python
raise RuntimeError("not run")
```

```python
y = x + 1
```
"""


def test_blocks_share_one_namespace_and_others_are_not_run():
    assert run_blocks(PAGE, "page")["y"] == 2


def test_a_failing_block_fails_at_its_line():
    with pytest.raises(ZeroDivisionError) as error:
        run_blocks(PAGE + "\n```python\nx / 0\n```\n", "page")
    assert error.traceback[-1].lineno + 1 == PAGE.count("\n") + 3
