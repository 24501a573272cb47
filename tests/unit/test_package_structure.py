"""House rules a reader relies on: documented modules and names, files of one idea, nothing unsafe or local."""

import ast
import importlib
import inspect
import re
import types
from functools import cache
from pathlib import Path

import pytest

import mpo_transport

ROOT = Path(mpo_transport.__file__).resolve().parent
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}

MOST_LINES = 500
LONGER_WITH_REASON: dict[str, str] = {}  # path in the package -> why the file holds one idea all the same

UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "builtins.eval", "builtins.exec"}
SILENCING_CALLS = {"warnings.simplefilter", "warnings.filterwarnings"}
LOCAL_PATH = re.compile(r"(?<![\w.:/])/(home|Users|root|tmp|work|mnt|scratch|opt)/\w")
UNFINISHED = re.compile(r"\b(TODO|FIXME)\b")


parsed = cache(ast.parse)  # several tests look at every file


def unsafe_parts(source: str) -> list[str]:
    """What of `source` could run foreign code on loading, swallows an error, silences a warning or is unfinished."""
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
            found += [f"line {node.lineno}: imports {name}" for name in sorted(names & UNSAFE_MODULES)]
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in UNSAFE_MODULES:
                found.append(f"line {node.lineno}: imports from {node.module}")
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in UNSAFE_CALLS:
                found.append(f"line {node.lineno}: calls {name}")
            if name in SILENCING_CALLS and node.args and ast.unparse(node.args[0]) == "'ignore'":
                found.append(f"line {node.lineno}: silences warnings")
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                    found.append(f"line {node.lineno}: loads with allow_pickle")
        elif isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
            if broad and all(isinstance(statement, ast.Pass) for statement in node.body):
                found.append(f"line {node.lineno}: swallows every error")
        elif isinstance(node, ast.Raise) and node.exc is not None and "NotImplementedError" in ast.unparse(node.exc):
            found.append(f"line {node.lineno}: raises NotImplementedError")
    for number, line in enumerate(source.splitlines(), start=1):
        if LOCAL_PATH.search(line):
            found.append(f"line {number}: an absolute path")
        if UNFINISHED.search(line):
            found.append(f"line {number}: an unfinished mark")
    return found


@pytest.mark.parametrize("path", SOURCES)
def test_module_is_documented(path):
    docstring = ast.get_docstring(parsed(SOURCES[path]))
    assert docstring, f"{path} has no docstring: say in one sentence what the module holds"


@pytest.mark.parametrize("path", SOURCES)
def test_module_holds_one_idea(path):
    lines = len(SOURCES[path].splitlines())
    assert lines <= MOST_LINES or path in LONGER_WITH_REASON, f"{path} has {lines} lines: does it hold two ideas?"


@pytest.mark.parametrize("path", SOURCES)
def test_module_is_safe_and_finished(path):
    found = unsafe_parts(SOURCES[path])
    assert not found, f"{path}: " + "; ".join(found)


def test_exceptions_to_the_length_are_still_needed():
    for path, reason in LONGER_WITH_REASON.items():
        assert reason and len(SOURCES[path].splitlines()) > MOST_LINES, f"{path} needs no exception any more"


@pytest.mark.parametrize("name", mpo_transport.__all__)
def test_public_name_exists_and_is_documented(name):
    thing = getattr(mpo_transport, name)
    if isinstance(thing, types.ModuleType) or callable(thing):
        assert inspect.getdoc(thing), f"mpo_transport.{name} has no docstring"
    if inspect.isclass(thing):
        assert thing.__dict__.get("__doc__"), f"mpo_transport.{name} only inherits its docstring"
        assert not thing.__doc__.startswith(f"{thing.__name__}("), f"mpo_transport.{name}: the docstring is generated"


def test_public_names_are_listed_once():
    assert len(set(mpo_transport.__all__)) == len(mpo_transport.__all__)


def test_version_is_single_sourced():
    version = importlib.import_module("mpo_transport._version").__version__
    assert mpo_transport.__version__ == version
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|(a|b|rc)\d+)?", version)
    citation = ROOT.parent.joinpath("CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in citation
    assert f"## [{version}]" in ROOT.parent.joinpath("CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from dill import loads",
        "x = eval('1')",
        "np.load(name, allow_pickle=True)",
        "warnings.simplefilter('ignore')",
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept:\n    pass",
        "raise NotImplementedError",
        "raise NotImplementedError('later')",
        "name = '/ho" + "me/somebody/run.h5'",
        "x = 1  # TO" + "DO: more",
    ],
)
def test_an_unsafe_part_is_found(source):
    assert unsafe_parts(source)


HARMLESS = '''"""The XXX chain in units of 1/J or kappa/2."""
try:
    f()
except ValueError:
    pass
np.load(name, allow_pickle=False)
'''


def test_harmless_code_passes():
    assert unsafe_parts(HARMLESS) == []
