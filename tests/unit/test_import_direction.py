"""Imports inside the package go one way: to a row above in the table below, or to an earlier name of the same row."""

import ast
from pathlib import Path

import pytest

PACKAGE = "mpo_transport"
ROOT = Path(__file__).resolve().parents[2] / PACKAGE

# The order of the rooms, the same as on the architecture page. A new top-level module gets its place here.
ROWS = (
    ("_version", "errors", "arguments", "_threads", "reference"),
    ("local_space", "operators", "lattice"),
    ("symmetry", "model", "elimination", "models"),
    ("superoperator", "states", "result"),
    ("observables", "certificate", "methods"),
    ("ground_state", "storage", "solve", "spectrum", "response", "regression", "dual", "counting"),
    ("spec", "sweep"),
    ("crosscheck", "plotting", "analysis", "papers", "cli", "__main__"),
)
PLACE = {room: (row, line) for row, rooms in enumerate(ROWS) for line, room in enumerate(rooms)}
SELF_CONTAINED = {"reference"}  # judges the rest, so it imports nothing of ours


def imported_modules(source: str, module: str, is_package: bool) -> list[tuple[int, str]]:
    """Line and dotted name of every import of `source` that stays in the package, at any depth of nesting."""
    parent = module.split(".") if is_package else module.split(".")[:-1]
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(parent[: len(parent) - node.level + 1] + ([base] if base else []))
            if base == PACKAGE:  # `from . import errors` names the room itself
                found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, base))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"import_module", "importlib.import_module"}:
            target = node.args[0] if node.args else None
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                found.append((node.lineno, target.value))
    return [(line, name) for line, name in found if name.split(".")[0] == PACKAGE]


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """One sentence for every import of `source` (the text of `module`) that goes the wrong way."""
    room = module.split(".")[1]
    if room not in PLACE:
        return [f"{module}: the top-level module `{room}` has no place yet; give it a row in ROWS of this test"]
    problems = []
    for line, name in imported_modules(source, module, is_package):
        target = name.split(".")[1] if "." in name else ""
        if target == room:
            continue
        if room in SELF_CONTAINED:
            problems.append(f"{module}:{line} imports {name}, but `{room}` must import nothing of {PACKAGE}")
        elif target not in PLACE:
            problems.append(f"{module}:{line} imports {name}, which is no room; import from the room that defines it")
        elif PLACE[target] >= PLACE[room]:
            problems.append(f"{module}:{line} imports {name}, but `{target}` stands below `{room}`")
    return problems


def sources() -> list[tuple[str, Path]]:
    """Dotted name and path of every module of the package."""
    result = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = (PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)
        result.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return result


def test_every_import_goes_upwards():
    problems = []
    for module, path in sources():
        if module != PACKAGE:  # the face of the package imports everything
            problems += violations(path.read_text(encoding="utf-8"), module, path.name == "__init__.py")
    assert not problems, "\n" + "\n".join(problems)


def test_every_room_of_the_table_is_unique():
    assert len(PLACE) == sum(len(rooms) for rooms in ROWS)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mpo_transport.model", "from mpo_transport.solve import steady_state"),
        ("mpo_transport.model", "from .solve import steady_state"),
        ("mpo_transport.model", "from . import solve"),
        ("mpo_transport.model", "import mpo_transport.models.spins"),
        ("mpo_transport.model", "import mpo_transport"),
        ("mpo_transport.model", "from mpo_transport import op"),
        ("mpo_transport.operators", "def f():\n    if True:\n        from .lattice import Chain"),
        ("mpo_transport.methods.tebd", "from ..solve import steady_state"),
        ("mpo_transport.methods.tebd", "import importlib\nimportlib.import_module('mpo_transport.solve')"),
        ("mpo_transport.reference.closed_forms", "from mpo_transport.errors import ModelError"),
        ("mpo_transport.brand_new", ""),
    ],
)
def test_a_wrong_import_is_found(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source", "is_package"),
    [
        ("mpo_transport.solve", "from .methods import base\nfrom . import errors\nimport numpy as np", False),
        ("mpo_transport.methods.tebd", "from .base import Method\nfrom ..states.mpo import MPO", False),
        ("mpo_transport.methods", "from . import base, tebd\nfrom ..result import Result", True),
        ("mpo_transport.reference.closed_forms", "from .tables import numbers\nimport scipy", False),
        ("mpo_transport.cli", "from mpo_transport.plotting import figure", False),
    ],
)
def test_a_right_import_is_accepted(module, source, is_package):
    assert violations(source, module, is_package) == []


def test_an_unknown_room_is_told_what_to_do():
    (problem,) = violations("", "mpo_transport.brand_new")
    assert "give it a row" in problem
