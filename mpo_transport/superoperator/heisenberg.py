"""The generator in the Heisenberg picture, acting on products of local basis operators ("strings").

On a site of dimension d the letters are E_0 = 1 and E_k = sqrt(d) B_k with the orthonormal Hermitian basis B of
:mod:`mpo_transport.superoperator.basis` (for spins 1/2 the Pauli matrices 1, X, Y, Z).  A string is a product of one
letter per site, written as its row of numbers k_s; almost all of them are 0.  Since every letter is Hermitian, the
adjoint generator has real coefficients,

    L^dag(A) = sum_B M_AB B + s_A 1,        d<A>/dt = sum_B M_AB <B> + s_A,

and a local term only replaces letters on its own sites: row A of M is read off the rows of the local generators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import InputError, NotSupportedError
from ..lattice import Lattice
from ..model import Lindbladian
from ..operators import Factor, OpSum
from .basis import hermitian_basis
from .terms import ProductTerm, _assemble, local_generators, product_matrices, product_terms, require_bounded

__all__ = [
    "HeisenbergAction",
    "StringAction",
    "StringRows",
    "expand_products",
    "letters",
    "operator_strings",
    "significant_rows",
    "string_text",
]

Key = tuple[Factor, ...]
Sites = tuple[int, ...]
LocalRows = tuple[Any, np.ndarray, np.ndarray, np.ndarray]
Expansion = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

# Largest number of local operators on the sites of one term: its generator is written out.
LARGEST_TERM = 4096
# Strings into which one product may expand: (number of letters per factor) to the power of the number of sites.
MOST_STRINGS = 200_000
# Contributions to one coefficient that cancel to less than this fraction of their sizes have cancelled.
CANCELLED = 32 * np.finfo(float).eps
_CHUNK = 2_000_000
_SEED = 20140113


def letters(d: int) -> np.ndarray:
    """Return the letters E_k of one site, shape (d^2, d, d): the identity, then sqrt(d) times the Hermitian basis.

    >>> bool(np.allclose(letters(2)[3], np.diag([1, -1])))
    True
    """
    out = np.sqrt(d) * hermitian_basis(d)
    out[0] = np.eye(d)
    return out


@dataclass(frozen=True, eq=False)
class StringRows:
    """Rows of M as triplets: ``parents[n]`` is the string acted on, ``hashes[n]`` names the result.

    ``build(which)`` writes out the resulting strings; ``magnitudes`` are the sums of the moduli of the contributions.
    """

    parents: np.ndarray
    hashes: np.ndarray
    coefficients: np.ndarray
    magnitudes: np.ndarray
    table: np.ndarray
    term: np.ndarray
    local: np.ndarray
    action: StringAction
    strings: np.ndarray

    def build(self, which: np.ndarray) -> np.ndarray:
        """Return the resulting strings of some triplets, shape (len(which), L)."""
        out = self.strings[self.parents[which]].copy()
        rows = np.arange(len(which))
        for t, table in enumerate(self.action.tables):
            mine = self.table[which] == t
            g, k = self.term[which][mine], self.local[which][mine]
            for slot in range(table.sites.shape[1]):
                out[rows[mine], table.sites[g, slot]] = (k // table.strides[g, slot]) % table.legs[g, slot]
        return out


@dataclass(frozen=True, eq=False)
class _Table:
    """All local generators on a given number n of sites: the rows of their different matrices below each other."""

    sites: np.ndarray  # (terms, n)
    strides: np.ndarray  # (terms, n)
    legs: np.ndarray  # (terms, n)
    base: np.ndarray  # (terms,): first row of the matrix of a term
    start: np.ndarray  # (rows + 1,)
    column: np.ndarray
    value: np.ndarray


class StringAction:
    """L^dag on strings, from rows of local generators in some basis of letters on every site, the first the identity.

    Parameters
    ----------
    dims
        Dimension of every site.
    rows
        {sites: (name, counts, columns, values)}: the rows of the local generator below each other, as the number of
        entries of every row, their columns and their values; terms of the same name share one matrix.
    """

    def __init__(self, dims: Sequence[int], rows: Mapping[Sites, LocalRows]) -> None:
        self.dims = tuple(int(d) for d in dims)
        self.dtype = np.dtype(np.uint8 if max(self.dims, default=2) <= 16 else np.uint16)
        by_number: dict[int, list[Sites]] = {}
        for sites in sorted(rows):
            by_number.setdefault(len(sites), []).append(sites)
        self.tables = tuple(self._table(group, rows) for _, group in sorted(by_number.items()))

    @property
    def L(self) -> int:
        """Number of sites."""
        return len(self.dims)

    @property
    def total(self) -> float:
        """Number of strings but the identity, prod d^2 - 1."""
        return math.prod(float(d) ** 2 for d in self.dims) - 1

    @cached_property
    def _keys(self) -> np.ndarray:
        """One random 64-bit number per site and letter, 0 for the identity: a string is named by their exclusive or."""
        most = max(d * d for d in self.dims)
        keys = np.random.default_rng(_SEED).integers(1, 2**64, size=(self.L, most), dtype=np.uint64)
        keys[:, 0] = 0
        return keys

    def hashes(self, strings: np.ndarray) -> np.ndarray:
        """Return the 64-bit names of strings, shape (n,); 0 is the identity."""
        out = np.zeros(len(strings), dtype=np.uint64)
        for s in range(self.L):
            out ^= self._keys[s, strings[:, s]]
        return out

    def rows(self, strings: np.ndarray) -> StringRows:
        """Return the rows of M of the strings, shape (n, L): sorted by string, equal results merged.

        Contributions that cancel up to rounding are left out.
        """
        strings = np.ascontiguousarray(strings, dtype=self.dtype)
        step = max(1, _CHUNK // max(1, max((len(t.sites) for t in self.tables), default=1)))
        parts = [self._raw(strings[a : a + step], a) for a in range(0, len(strings), step)] or [self._raw(strings, 0)]
        parent, name, value, table, term, local = (np.concatenate(p) for p in zip(*parts, strict=True))
        order = np.lexsort((name, parent))
        parent, name, value = parent[order], name[order], value[order]
        fresh = np.ones(len(parent), dtype=bool)
        fresh[1:] = (parent[1:] != parent[:-1]) | (name[1:] != name[:-1])
        first = np.flatnonzero(fresh)
        total = np.add.reduceat(value, first) if len(first) else value
        sizes = np.add.reduceat(np.abs(value), first) if len(first) else value
        kept = np.abs(total) > CANCELLED * sizes
        first = first[kept]
        chosen = order[first]
        return StringRows(
            parent[first], name[first], total[kept], sizes[kept], table[chosen], term[chosen], local[chosen],
            self, strings,
        )  # fmt: skip

    def _raw(self, strings: np.ndarray, offset: int) -> tuple[np.ndarray, ...]:
        """Return parents, names of the results, coefficients and their origin (table, term, local letters)."""
        names = self.hashes(strings)
        out: list[tuple[np.ndarray, ...]] = []
        for t, table in enumerate(self.tables):
            index = np.zeros((len(strings), len(table.sites)), dtype=np.int64)
            for slot in range(table.sites.shape[1]):
                index += strings[:, table.sites[:, slot]].astype(np.int64) * table.strides[:, slot]
            index += table.base
            counts = table.start[index + 1] - table.start[index]
            who, g = np.nonzero(counts)
            many, begin = counts[who, g], table.start[index[who, g]]
            place = np.repeat(begin - np.concatenate([[0], np.cumsum(many)[:-1]]), many) + np.arange(many.sum())
            who, g = np.repeat(who, many), np.repeat(g, many)
            k, name = table.column[place], names[who]
            for slot in range(table.sites.shape[1]):
                site = table.sites[g, slot]
                name ^= self._keys[site, strings[who, site]]
                name ^= self._keys[site, (k // table.strides[g, slot]) % table.legs[g, slot]]
            out.append((who + offset, name, table.value[place], np.full(len(who), t), g, k))
        if not out:
            empty = np.zeros(0, dtype=np.int64)
            return empty, empty.astype(np.uint64), np.zeros(0), empty, empty, empty
        return tuple(np.concatenate(p) for p in zip(*out, strict=True))

    def _table(self, group: list[Sites], terms: Mapping[Sites, LocalRows]) -> _Table:
        legs = np.array([[self.dims[s] ** 2 for s in sites] for sites in group], dtype=np.int64)
        strides = np.ones_like(legs)
        strides[:, :-1] = np.cumprod(legs[:, :0:-1], axis=1)[:, ::-1]
        known: dict[Any, int] = {}
        base, counts, columns, values = [], [], [], []
        rows = 0
        for sites in group:
            name, count, column, value = terms[sites]
            if name not in known:
                known[name] = rows
                rows += len(count)
                counts.append(count)
                columns.append(column)
                values.append(value)
            base.append(known[name])
        start = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
        sites_array = np.array(group, dtype=np.int64)
        return _Table(
            sites_array, strides, legs, np.array(base), start, np.concatenate(columns), np.concatenate(values)
        )


class HeisenbergAction(StringAction):
    """L^dag on strings, from local generators.

    Parameters
    ----------
    dims
        Dimension of every site.
    generators
        {sites: real matrix in the Hermitian basis}, see :func:`~mpo_transport.superoperator.local_generators`.

    Examples
    --------
    Amplitude damping, L^dag(Z) = -Z - 1 at unit rate:

    >>> from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, op
    >>> model = Lindbladian(Chain(1, SpinHalf()), None, [Jump(op("Sm", 0))])
    >>> rows = HeisenbergAction.of(model).rows(np.array([[3]]))
    >>> [(rows.build(np.array([n])).tolist(), c) for n, c in enumerate(rows.coefficients.round(12).tolist())]
    [([[0]], -1.0), ([[3]], -1.0)]
    """

    def __init__(self, dims: Sequence[int], generators: Mapping[Sites, np.ndarray]) -> None:
        self.generators = {tuple(int(s) for s in k): np.asarray(g, dtype=float) for k, g in generators.items()}
        super().__init__(dims, {sites: significant_rows(matrix) for sites, matrix in self.generators.items()})

    @classmethod
    def of(cls, model: Lindbladian) -> HeisenbergAction:
        """Return the action of the generator of a model.

        Raises
        ------
        NotSupportedError
            For unbounded modes, or a term on so many sites that its matrix would have more than 4096 rows.
        """
        require_bounded(model)
        dims = [int(d) for d in model.lattice.dims]
        for sites in {t.sites for t in product_terms(model)}:
            if np.prod([float(dims[s]) ** 2 for s in sites]) > LARGEST_TERM:
                raise NotSupportedError(
                    f"A term acts on the sites {sites}, which have more than {LARGEST_TERM} operators; strings are "
                    "followed through smaller terms only.",
                    field="model",
                )
        return cls(dims, local_generators(model))

    @classmethod
    def of_terms(cls, model: Lindbladian, terms: Iterable[ProductTerm]) -> HeisenbergAction:
        """Return the adjoint of another map rho -> sum c A rho B on the lattice of a model; it must keep rho Hermitian.

        Terms without sites, multiples of the identity map, are refused with :class:`NotSupportedError`.
        """
        require_bounded(model)
        grouped: dict[Sites, list[ProductTerm]] = {}
        for term in terms:
            if not term.sites:
                raise NotSupportedError("A jump that is a multiple of the identity moves nothing.", field="model")
            grouped.setdefault(term.sites, []).append(term)
        spaces = model.lattice.spaces
        generators = {sites: _assemble(spaces, sites, group, {}) for sites, group in sorted(grouped.items())}
        return cls([int(d) for d in model.lattice.dims], generators)

    # -- storage ------------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the generators as plain arrays: supports, which matrix, and the different matrices side by side."""
        matrices: dict[bytes, tuple[int, np.ndarray]] = {}
        which, supports, lengths = [], [], []
        for sites, matrix in sorted(self.generators.items()):
            number, _ = matrices.setdefault(matrix.tobytes(), (len(matrices), matrix))
            which.append(number)
            lengths.append(len(sites))
            supports += list(sites)
        flat = [m.ravel() for _, m in matrices.values()]
        return {
            "term_lengths": np.array(lengths, dtype=np.int64),
            "term_sites": np.array(supports, dtype=np.int64),
            "term_matrix": np.array(which, dtype=np.int64),
            "matrices": np.concatenate(flat) if flat else np.zeros(0),
        }

    @classmethod
    def from_arrays(cls, dims: Sequence[int], arrays: Mapping[str, np.ndarray]) -> HeisenbergAction:
        """Return the action stored as :meth:`arrays`.

        Raises
        ------
        InputError
            If the arrays do not fit together.
        """
        lengths, sites = np.asarray(arrays["term_lengths"]), np.asarray(arrays["term_sites"])
        which, flat = np.asarray(arrays["term_matrix"]), np.asarray(arrays["matrices"], dtype=float)
        fits = len(lengths) == len(which) and bool(np.all(lengths > 0)) and int(lengths.sum()) == len(sites)
        if not fits or np.any(sites < 0) or np.any(sites >= len(dims)) or not np.all(np.isfinite(flat)):
            raise InputError("The stored terms of the generator do not fit the lattice.", field="matrices")
        ends = np.cumsum(lengths)
        supports = [tuple(int(s) for s in sites[e - n : e]) for e, n in zip(ends, lengths, strict=True)]
        blocks: dict[int, np.ndarray] = {}
        place = 0
        for number, support in zip(which, supports, strict=True):
            size = int(np.prod([int(dims[s]) ** 2 for s in support]))
            if int(number) not in blocks:
                block = flat[place : place + size * size]
                if int(number) != len(blocks) or len(block) != size * size:
                    raise InputError("The stored terms of the generator are incomplete.", field="matrices")
                blocks[int(number)] = block.reshape(size, size)
                place += size * size
            if len(blocks[int(number)]) != size:
                raise InputError("A stored term of the generator has the wrong size.", field="matrices")
        if place != len(flat):
            raise InputError("The stored terms of the generator are incomplete.", field="matrices")
        return cls(dims, {s: blocks[int(n)] for s, n in zip(supports, which, strict=True)})


def significant_rows(matrix: np.ndarray) -> LocalRows:
    """Return a local generator by rows: entries that are rounding errors of vanishing ones would open the hierarchy."""
    where, column = np.nonzero(np.abs(matrix) > CANCELLED * np.abs(matrix).max(initial=0.0))
    return matrix.tobytes(), np.bincount(where, minlength=len(matrix)), column, matrix[where, column]


# ----------------------------------------------------------------------------------------------------------------------
# operators as strings


def expand_products(
    lattice: Lattice, products: Iterable[Key], expansion: Expansion | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return products of named operators as sums of strings: which product, strings (n, L), coefficients (n,).

    product p = sum over n with which[n] = p of coefficients[n] * string n; the identity string is among them.
    ``expansion`` returns the letters in a local matrix and their coefficients; by default those of :func:`letters`.

    Raises
    ------
    NotSupportedError
        If a product on many sites would be a sum of more than 200000 strings.

    Examples
    --------
    >>> from mpo_transport import Chain, SpinHalf
    >>> which, strings, c = expand_products(Chain(2, SpinHalf()), [(("N", 1),)])
    >>> strings.tolist(), c.real.round(12).tolist()
    ([[0, 0], [0, 3]], [0.5, 0.5])
    """
    which: list[np.ndarray] = []
    strings: list[np.ndarray] = []
    coefficients: list[np.ndarray] = []
    dtype = np.uint8 if max((int(d) for d in lattice.dims), default=2) <= 16 else np.uint16
    cache: dict[Any, tuple[np.ndarray, np.ndarray]] = {}
    for p, key in enumerate(products):
        sites: list[int] = []
        words: list[tuple[np.ndarray, np.ndarray]] = []
        for site in sorted({s for _, s in key}):
            space, names = lattice.spaces[site], tuple((n, 0) for n, s in key if s == site)
            if (space, names) not in cache:
                cache[(space, names)] = (expansion or _local_letters)(product_matrices((space,), names)[0])
            sites.append(site)
            words.append(cache[(space, names)])
        count = int(np.prod([float(len(k)) for k, _ in words])) if words else 1
        if count > MOST_STRINGS:
            raise NotSupportedError(
                f"The product {OpSum({key: 1.0})!r} is a sum of {count} strings; up to {MOST_STRINGS} are followed.",
                field="operator",
            )
        block = np.zeros((count, lattice.L), dtype=dtype)
        values = np.ones(1, dtype=complex)
        repeat = count
        for site, (k, c) in zip(sites, words, strict=True):
            repeat //= max(len(k), 1)
            block[:, site] = np.tile(np.repeat(k, repeat), count // max(len(k) * repeat, 1)) if len(k) else 0
            values = np.multiply.outer(values, c).ravel()
        which.append(np.full(count, p))
        strings.append(block)
        coefficients.append(values)
    if not which:
        return np.zeros(0, dtype=np.int64), np.zeros((0, lattice.L), dtype=dtype), np.zeros(0, dtype=complex)
    return np.concatenate(which), np.concatenate(strings), np.concatenate(coefficients)


def operator_strings(
    lattice: Lattice, operator: OpSum, expansion: Expansion | None = None
) -> tuple[np.ndarray, np.ndarray, complex]:
    """Return an operator as (strings (n, L), coefficients (n,), coefficient of the identity), equal strings merged.

    ``expansion`` as in :func:`expand_products`.
    """
    keys = [key for key, _ in operator]
    factors = np.array([c for _, c in operator], dtype=complex)
    which, strings, c = expand_products(lattice, keys, expansion)
    if not len(which):
        return strings, c, 0j
    unique, inverse = np.unique(strings, axis=0, return_inverse=True)
    weighted = c * factors[which]
    inverse = inverse.ravel()
    total = np.bincount(inverse, weighted.real, len(unique)) + 1j * np.bincount(inverse, weighted.imag, len(unique))
    sizes = np.bincount(inverse, np.abs(weighted), len(unique))
    trivial = ~unique.any(axis=1)
    kept = (np.abs(total) > CANCELLED * sizes) & ~trivial
    return unique[kept], total[kept], complex(total[trivial].sum())


def _local_letters(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the letters that occur in a matrix and their coefficients Tr(E_k matrix)/d."""
    d = len(matrix)
    c = np.einsum("kab,ba->k", letters(d), matrix) / d
    k = np.flatnonzero(np.abs(c) > CANCELLED * np.abs(c).max(initial=0.0))
    return k, c[k]


def string_text(lattice: Lattice, string: np.ndarray) -> str:
    """Return a string in words, ``X(0) Z(1) X(2)`` for spins 1/2 and ``E3(0)`` for other letters.

    >>> from mpo_transport import Chain, SpinHalf
    >>> string_text(Chain(3, SpinHalf()), np.array([1, 0, 3]))
    'X(0) Z(2)'
    """
    parts = []
    for s in np.flatnonzero(string):
        two = int(lattice.spaces[s].dim) == 2 and lattice.spaces[s].kind == "spin"
        parts.append(f"{' XYZ'[string[s]] if two else f'E{string[s]}'}({s})")
    return " ".join(parts) or "1"
