"""Closed sets of strings: breadth-first search under the adjoint generator, and the linear equations they obey."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ...superoperator.heisenberg import StringAction

__all__ = ["Closure", "NotClosedError", "StringTable", "close"]

# A search with more strings than this whose last layers each grew by more than the factor will not close: layers of a
# hierarchy of n-point functions grow like a power of their number.
SUSPICIOUS, GROWTH, LAYERS = 3000, 1.5, 3
# Operator spaces of up to this size are closed by themselves, whatever the growth.
SMALL_SPACE = 4100


class NotClosedError(Exception):
    """The search was given up: ``count`` strings had been found, ``hopeless`` whether by the pattern of growth."""

    def __init__(self, count: int, hopeless: bool) -> None:
        super().__init__(f"{count} strings")
        self.count, self.hopeless = count, hopeless


class StringTable:
    """A growing set of strings that are found by their 64-bit names."""

    def __init__(self) -> None:
        self._names = np.zeros(0, dtype=np.uint64)
        self._index = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._names)

    def find(self, names: np.ndarray) -> np.ndarray:
        """Return the index of every name, -1 where it is not known."""
        if not len(self._names):
            return np.full(len(names), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._names, names), len(self._names) - 1)
        return np.where(self._names[place] == names, self._index[place], -1)

    def add(self, names: np.ndarray) -> np.ndarray:
        """Give new, different names the next numbers, and return these."""
        numbers = np.arange(len(self), len(self) + len(names))
        together = np.concatenate([self._names, names])
        order = np.argsort(together, kind="stable")
        self._names = together[order]
        self._index = np.concatenate([self._index, numbers])[order]
        return numbers


@dataclass(frozen=True, eq=False)
class Closure:
    """Equations of motion d v/dt = M v + K u + s of the strings of a closed set.

    Attributes
    ----------
    strings
        Shape (n, L).
    matrix, source
        M, sparse (n, n), and s, shape (n,).
    known
        K, sparse (n, m): coupling to the m strings u that were known before; m = 0 if there were none.
    magnitude
        |M| + |K| + |s| summed over every row with the contributions taken before they cancel: the scale of rounding.
    layers
        Number of strings found in every layer of the search.
    beyond, remainder
        Strings u' (m', L) that are not followed, and the coupling to them, sparse (n, m'): dv/dt = ... + R u'.
    """

    strings: np.ndarray
    matrix: sp.csr_array
    source: np.ndarray
    known: sp.csr_array
    magnitude: np.ndarray
    layers: tuple[int, ...]
    beyond: np.ndarray
    remainder: sp.csr_array

    def __len__(self) -> int:
        return len(self.source)


def close(
    action: StringAction,
    seeds: np.ndarray,
    cap: int,
    known: StringTable | None = None,
    inside: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Closure:
    """Return the smallest closed set of strings that contains the seeds, shape (m, L), without those known already.

    With ``inside``, a function from strings to booleans, the others of its values False are not followed: the set is
    closed up to them.

    Raises
    ------
    NotClosedError
        If more than ``cap`` strings are found, or the search grows in a way that never ends (in an operator space of
        more than 4100 strings).

    Examples
    --------
    The density of an XX chain closes on the products of two fermions:

    >>> from mpo_transport.models import boundary_driven_xx
    >>> chain = boundary_driven_xx(L=6, t=1.0, G_L=1.0, f_L=0.8, G_R=1.0, f_R=0.2)
    >>> from mpo_transport.superoperator.heisenberg import HeisenbergAction
    >>> len(close(HeisenbergAction.of(chain), np.array([[3, 0, 0, 0, 0, 0]]), cap=1000))
    36
    """
    known = StringTable() if known is None else known
    table, outer = StringTable(), StringTable()
    seeds = np.ascontiguousarray(seeds, dtype=action.dtype)
    names, first = np.unique(action.hashes(seeds), return_index=True)
    fresh = (names != 0) & (known.find(names) < 0)
    layer = seeds[np.sort(first[fresh])]
    table.add(action.hashes(layer))
    strings, sizes, beyond = [layer], [len(layer)], [layer[:0]]
    triplets: list[tuple[np.ndarray, ...]] = []
    offset = 0
    while len(layer):
        _check(action, sizes, cap)
        rows = action.rows(layer)
        target, old, left = (t.find(rows.hashes) for t in (table, known, outer))
        unknown = np.flatnonzero((target < 0) & (old < 0) & (left < 0) & (rows.hashes != 0))
        names, first = np.unique(rows.hashes[unknown], return_index=True)
        following = rows.build(unknown[first])
        followed = np.ones(len(names), dtype=bool) if inside is None else np.asarray(inside(following))
        number = np.empty(len(names), dtype=np.int64)
        number[followed], number[~followed] = table.add(names[followed]), outer.add(names[~followed])
        place = np.searchsorted(names, rows.hashes[unknown])
        target[unknown] = np.where(followed[place], number[place], -1)
        left[unknown] = np.where(followed[place], -1, number[place])
        beyond.append(following[~followed])
        following = following[followed]
        kind = np.where(rows.hashes == 0, 2, np.where(old >= 0, 1, np.where(left >= 0, 3, 0)))
        column = np.choose(kind, [target, old, np.zeros_like(target), left])
        triplets.append((rows.parents + offset, column, rows.coefficients, kind, rows.magnitudes))
        offset += len(layer)
        layer = following
        if len(layer):
            strings.append(layer)
            sizes.append(len(layer))
    return _assembled(np.concatenate(strings), triplets, len(known), tuple(sizes), np.concatenate(beyond))


def _check(action: StringAction, sizes: list[int], cap: int) -> None:
    count = sum(sizes)
    if count > cap:
        raise NotClosedError(count, hopeless=False)
    if count > SUSPICIOUS and action.total > SMALL_SPACE and len(sizes) > LAYERS:
        tail = sizes[-LAYERS - 1 :]
        if all(b > GROWTH * a for a, b in itertools.pairwise(tail)):
            raise NotClosedError(count, hopeless=True)


def _assembled(
    strings: np.ndarray,
    triplets: list[tuple[np.ndarray, ...]],
    known: int,
    layers: tuple[int, ...],
    beyond: np.ndarray,
) -> Closure:
    n = len(strings)
    empty = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.int64))
    row, column, value, kind, size = (np.concatenate(p) for p in zip((*empty, np.zeros(0)), *triplets, strict=True))
    width = (n, known, 1, len(beyond))

    def part(which: int) -> sp.csr_array:
        mine = kind == which
        return sp.csr_array((value[mine], (row[mine], column[mine])), shape=(n, width[which]))

    source = np.bincount(row[kind == 2], value[kind == 2], n)
    return Closure(strings, part(0), source, part(1), np.bincount(row, size, n), layers, beyond, part(3))
