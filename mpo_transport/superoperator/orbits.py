"""Orbits of operator strings: the totally symmetric part of operator space.

A *string* is a product of one basis operator per site, numbered by a mixed-radix code with site 0 varying slowest.  The
site permutations g of a symmetry group move strings; gradings (:mod:`.gradings`) restrict them.  An operator that is
invariant under the group has equal coefficients on every orbit,

    rho = sum_o c_o |o>,      |o> = |orbit o|^{-1/2} sum_{s in o} s,

so one orthonormal coefficient per orbit is all there is to know, and a generator that commutes with the group is the
matrix  <o|L|o'> = sum_{s' in o'} L[r, s'] sqrt(|o| / |o'|), read off from one representative r of o.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from .gradings import Grading

__all__ = ["OrbitBasis", "find_orbits", "orbit_generator"]

Sites = tuple[int, ...]
_CHUNK = 1 << 20
LARGEST_TABLE = 1 << 30
"""Largest number of strings for which a table of orbit numbers (4 bytes per string) is made."""


@dataclass(frozen=True, eq=False)
class OrbitBasis:
    """Orbits of strings under a group of site permutations.

    Parameters
    ----------
    dims
        Local dimensions d_j; the digit of site j runs over d_j^2 basis operators.
    group
        Site permutations, shape (order, L), identity first; see :func:`~.lattice_symmetry.lattice_symmetries`.
    representatives
        Smallest code of every orbit, ascending, shape (n,).
    multiplicities
        Number of strings in every orbit, shape (n,).
    """

    dims: tuple[int, ...]
    group: np.ndarray
    representatives: np.ndarray
    multiplicities: np.ndarray
    _table: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.representatives)

    @cached_property
    def coding(self) -> _Coding:
        """The numbering of the strings."""
        return _Coding(self.dims)

    @cached_property
    def norms(self) -> np.ndarray:
        """Square roots of the multiplicities, shape (n,)."""
        return np.sqrt(self.multiplicities)

    def number_of(self, codes: np.ndarray) -> np.ndarray:
        """Return the orbit of every string, -1 where it lies in none (outside the sector); any number of codes."""
        if "orbit" in self._table:
            return self._table["orbit"][codes]
        smallest = np.asarray(codes).copy()
        for image in self.coding.images(np.asarray(codes), self.group[1:]):
            np.minimum(smallest, image, out=smallest)
        position = np.searchsorted(self.representatives, smallest)
        position[position == len(self)] = 0
        return np.where(self.representatives[position] == smallest, position, -1)

    def with_table(self) -> OrbitBasis:
        """Return the basis with the orbit of every string written out (4 bytes per string)."""
        orbit = np.full(self.coding.size, -1, dtype=np.int32)
        numbers = np.arange(len(self), dtype=np.int32)
        for start in range(0, len(self), _CHUNK):
            part = slice(start, start + _CHUNK)
            for image in self.coding.images(self.representatives[part], self.group):
                orbit[image] = numbers[part]
        return OrbitBasis(self.dims, self.group, self.representatives, self.multiplicities, {"orbit": orbit})

    def coefficients_of(self, codes: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Return the coefficients of single strings, given those of the orbits."""
        orbit = self.number_of(codes)
        return np.where(orbit >= 0, (c / self.norms)[orbit], 0.0)

    def expand(self, c: np.ndarray) -> np.ndarray:
        """Return the coefficients of all strings, shape (prod d_j^2,)."""
        x = np.zeros(self.coding.size, dtype=c.dtype)
        values = c / self.norms
        for image in self.coding.images(self.representatives, self.group):
            x[image] = values
        return x

    def restrict(self, x: np.ndarray) -> np.ndarray:
        """Return <o|x>, the coefficients of the invariant part of an operator, shape (n,)."""
        flat = np.asarray(x).ravel()
        total: np.ndarray = np.zeros(len(self), dtype=flat.dtype)
        for image in self.coding.images(self.representatives, self.group):
            total += flat[image]
        return total * self.norms / len(self.group)

    def memory(self) -> int:
        """Return the bytes held."""
        arrays = (self.representatives, self.multiplicities, *self._table.values())
        return sum(a.nbytes for a in arrays)


class _Coding:
    """Mixed-radix codes, and functions of them that are sums over sites, by two tables of half a string each."""

    def __init__(self, dims: Sequence[int]) -> None:
        self.legs = tuple(int(d) ** 2 for d in dims)
        L = len(self.legs)
        self.strides = tuple(math.prod(self.legs[j + 1 :]) for j in range(L))
        self.size = math.prod(self.legs)
        self.dtype = np.int32 if self.size < 2**31 else np.int64
        self.half = (L + 1) // 2
        self.low = math.prod(self.legs[self.half :])
        self._permutations: dict[Sites, tuple[np.ndarray, np.ndarray]] = {}

    def tables(self, values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return sum_j values[j][digit_j] over the first and over the second half of the sites."""
        halves = []
        for sites in (range(self.half), range(self.half, len(self.legs))):
            total: Any = np.zeros(1, dtype=self.dtype)
            for j in sites:
                total = (total[:, None] + np.asarray(values[j], dtype=self.dtype)[None, :]).ravel()
            halves.append(total)
        return halves[0], halves[1]

    def permutation(self, g: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the tables of code -> code of the string whose digit of site j has moved to site g[j]."""
        key = tuple(int(s) for s in g)
        if key not in self._permutations:
            moved = [np.arange(leg) * self.strides[key[j]] for j, leg in enumerate(self.legs)]
            self._permutations[key] = self.tables(moved)
        return self._permutations[key]

    def relabelling(self, digits: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the tables of code -> code with every digit replaced by ``digits[j][digit]``."""
        return self.tables([np.asarray(d) * self.strides[j] for j, d in enumerate(digits)])

    def evaluate(self, tables: tuple[np.ndarray, np.ndarray], codes: np.ndarray) -> np.ndarray:
        """Return a tabulated function of the codes."""
        high = codes // self.low
        return tables[0][high] + tables[1][codes - high * self.low]

    def images(self, codes: np.ndarray, group: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the image of the codes under every element of the group."""
        high = codes // self.low
        low = codes - high * self.low
        for g in group:
            first, second = self.permutation(g)
            yield first[high] + second[low]

    def digits(self, codes: np.ndarray) -> np.ndarray:
        """Return the digits of the codes, shape (L, n)."""
        return np.array([(codes // s) % leg for s, leg in zip(self.strides, self.legs, strict=True)])


def find_orbits(dims: Sequence[int], group: np.ndarray, gradings: Sequence[Grading] = ()) -> OrbitBasis:
    """Return the orbits of all strings whose labels are those of the sector.

    Representatives are found by a sieve: a code survives as long as no element of the group maps it to a smaller one,
    so most codes are dropped after a few elements.

    Examples
    --------
    >>> import numpy as np
    >>> rotations = [[(j + r) % 3 for j in range(3)] for r in range(3)]
    >>> orbits = find_orbits((2, 2, 2), np.array(rotations))
    >>> len(orbits), int(orbits.multiplicities.sum())
    (24, 64)
    """
    coding = _Coding(tuple(dims))
    group = np.asarray(group, dtype=np.int64)
    labels = [(g, coding.tables(g.labels)) for g in gradings]
    moves = [coding.permutation(g) for g in group[1:]]
    rows = max(1, _CHUNK // coding.low)
    highs = coding.size // coding.low
    kept: list[np.ndarray] = []
    for start in range(0, highs, rows):
        high: Any = np.arange(start, min(start + rows, highs), dtype=coding.dtype)
        allowed: np.ndarray = np.ones((len(high), coding.low), dtype=bool)
        for grading, (first, second) in labels:
            allowed &= grading.allows(first[high][:, None] + second[None, :])
        i, low = np.nonzero(allowed)
        codes = (high[i].astype(coding.dtype) * coding.low + low).astype(coding.dtype)
        kept.append(_survivors(codes, coding, moves))
    representatives = np.concatenate(kept) if kept else np.zeros(0, dtype=coding.dtype)
    stabiliser: np.ndarray = np.zeros(len(representatives), dtype=np.int64)
    for image in coding.images(representatives, group):
        stabiliser += image == representatives
    return OrbitBasis(tuple(dims), group, representatives, len(group) // stabiliser)


def _survivors(codes: np.ndarray, coding: _Coding, moves: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    high = codes // coding.low
    low = codes - high * coding.low
    for first, second in moves:
        keep = first[high] + second[low] >= codes
        codes, high, low = codes[keep], high[keep], low[keep]
    return codes


# ----------------------------------------------------------------------------------------------------------------------
# the generator


@dataclass(frozen=True)
class _Local:
    """One local generator as lists: the entries of local row k are those from ``start[k]``, ``count[k]`` of them."""

    sites: Sites
    weights: np.ndarray
    diagonal: np.ndarray
    start: np.ndarray
    count: np.ndarray
    jump: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, sites: Sites, g: np.ndarray, coding: _Coding) -> _Local:
        inner = [coding.legs[s] for s in sites]
        strides = np.array([coding.strides[s] for s in sites], dtype=np.int64)
        matrix = sp.csr_array(np.where(np.abs(g) > 1e-15 * max(float(np.abs(g).max()), 1e-300), g, 0.0))
        matrix.setdiag(0.0)
        matrix.eliminate_zeros()
        offset = np.array(np.unravel_index(np.arange(len(g)), inner)).T @ strides
        rows = np.repeat(np.arange(len(g)), np.diff(matrix.indptr))
        weights = np.array([math.prod(inner[k + 1 :]) for k in range(len(inner))], dtype=np.int64)
        return cls(
            sites,
            weights,
            np.diag(g).copy(),
            matrix.indptr[:-1].astype(np.int64),
            np.diff(matrix.indptr).astype(np.int64),
            (offset[matrix.indices] - offset[rows]).astype(coding.dtype),
            matrix.data,
        )


def orbit_generator(
    basis: OrbitBasis,
    generators: Mapping[Sites, np.ndarray],
    *,
    rows: np.ndarray | None = None,
    report: Callable[[float], None] | None = None,
) -> sp.csr_array:
    """Return the matrix <o|L|o'> of a sum of local generators that commutes with the group, shape (rows, n).

    Parameters
    ----------
    basis
        Orbits with their table (:meth:`OrbitBasis.with_table`).
    generators
        {sites: matrix} in the basis of the digits, real or complex; see :func:`~.terms.local_generators`.
    rows
        Orbits whose rows are wanted; None: all.
    report
        Called with the fraction done.

    Raises
    ------
    ValueError
        If a generator leaves the sector, which means that a grading is not conserved.
    """
    coding = basis.coding
    wanted = np.arange(len(basis)) if rows is None else np.asarray(rows)
    lists = [_Local.of(tuple(sites), np.asarray(g), coding) for sites, g in generators.items()]
    per_row = sum(float(item.count.mean()) for item in lists) + 1
    chunk = max(256, int(_CHUNK / per_row))
    blocks = []
    for start in range(0, len(wanted), chunk):
        blocks.append(_rows(basis, lists, wanted[start : start + chunk]))
        if report is not None:
            report(min(1.0, (start + chunk) / len(wanted)))
    if not blocks:
        return sp.csr_array((0, len(basis)))
    return _stacked(blocks, len(basis))


def _rows(basis: OrbitBasis, lists: list[_Local], orbits: np.ndarray) -> sp.csr_array:
    coding = basis.coding
    codes = basis.representatives[orbits]
    digits = coding.digits(codes)
    diagonal: np.ndarray = np.zeros(len(codes))
    rows, columns, values = [], [], []
    for item in lists:
        index = item.weights @ digits[list(item.sites)]
        diagonal = diagonal + item.diagonal[index]
        count = item.count[index]
        row = np.repeat(np.arange(len(codes), dtype=np.int32), count)
        first = item.start[index] - (np.cumsum(count) - count)
        entry = np.arange(len(row)) + np.repeat(first, count)
        rows.append(row)
        columns.append(basis.number_of(codes[row] + item.jump[entry]))
        values.append(item.value[entry])
    row, column, value = np.concatenate(rows), np.concatenate(columns), np.concatenate(values)
    if len(column) and column.min() < 0:
        raise ValueError("a generator leads out of the sector of strings: a grading is not conserved")
    value = value * (basis.norms[orbits][row] / basis.norms[column])
    here = np.arange(len(codes), dtype=np.int32)
    entries = (np.concatenate([value, diagonal]), (np.concatenate([row, here]), np.concatenate([column, orbits])))
    return sp.csr_array(sp.coo_array(entries, shape=(len(codes), len(basis))))  # equal positions are summed


def _stacked(blocks: list[sp.csr_array], columns: int) -> sp.csr_array:
    """Stack row blocks, releasing each one as it is copied (scipy's vstack would hold everything twice)."""
    sizes = [b.nnz for b in blocks]
    total, rows = sum(sizes), sum(b.shape[0] for b in blocks)
    dtype = np.result_type(*(b.dtype for b in blocks))
    data, indices = np.empty(total, dtype=dtype), np.empty(total, dtype=np.int32)
    pointer = np.zeros(rows + 1, dtype=np.int32 if total < 2**31 else np.int64)
    at = row = 0
    for k in range(len(blocks)):
        b, blocks[k] = blocks[k], None
        data[at : at + b.nnz], indices[at : at + b.nnz] = b.data, b.indices
        pointer[row + 1 : row + b.shape[0] + 1] = b.indptr[1:] + at
        at, row = at + b.nnz, row + b.shape[0]
    return sp.csr_array((data, indices, pointer), shape=(rows, columns))
