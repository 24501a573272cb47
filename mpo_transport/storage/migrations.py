"""Older files in the form of the present schema: one pure function per step, from version n to n + 1.

Files are never rewritten for this: the tree of an older file is brought up to date in memory each time it is read.  A
step neither computes physics nor guesses; what an older schema did not record stays absent.

| Schema | What changed |
|---|---|
| 1 | the first |
| 2 | the whole file is sealed (:mod:`.seal`); `/spec/sha256`, the full checksum of the specification |
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tree import Tree

__all__ = ["MIGRATIONS", "migrate"]


def migrate(tree: Tree, version: int) -> Tree:
    """Return the tree of a file of schema ``version`` in the form of the present schema; the input is left untouched.

    >>> new = migrate({"spec": {"text": "{}", "run_id": "44136fa355b3678a"}}, 1)
    >>> new["spec"]["sha256"][:16]
    '44136fa355b3678a'
    """
    while version in MIGRATIONS:
        tree = MIGRATIONS[version](tree)
        version += 1
    return tree


def _from_1(tree: Tree) -> Tree:
    if "spec" not in tree:
        return tree
    spec: Mapping[str, Any] = tree["spec"]  # type: ignore[assignment]
    return {**tree, "spec": {**spec, "sha256": hashlib.sha256(spec["text"].encode()).hexdigest()}}


MIGRATIONS: Mapping[int, Callable[[Tree], Tree]] = {1: _from_1}
