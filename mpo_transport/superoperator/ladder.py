"""The generator in the Heisenberg picture on normally ordered products of ladder operators, with the cutoff apart.

On a bosonic site of d levels the letters up to degree D are the Hermitian parts of a^+^p a^q, p + q <= D, with the
truncated matrices; the rest of the d^2 letters are those of the matrix units |m><n|, m + n > D.  Both together are a
basis (a^+^p a^q begins with |p><q|), and truncation shows in the latter alone: [a, a^+] = 1 - d |d-1><d-1|.  So the
equations of motion of low degree are those of unbounded modes plus a remainder in matrix units.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from functools import cached_property, lru_cache

import numpy as np

from ..errors import NotSupportedError
from ..local_space import LocalSpace
from ..model import Lindbladian
from .heisenberg import CANCELLED, LocalRows, Sites, StringAction, letters
from .terms import ProductTerm, product_matrices, product_terms, relative_term, require_bounded

__all__ = ["Alphabet", "LadderAction"]

Word = tuple[tuple[complex, int, int, bool], ...]

# Largest number of local operators on the sites of one term.
LARGEST_TERM = 70_000


class Alphabet:
    """Letters of one site with their degrees.

    Attributes
    ----------
    matrices
        Shape (d^2, d, d), the identity first; for other sites than bosons those of
        :func:`~mpo_transport.superoperator.heisenberg.letters`.
    degrees
        Degree of every letter, shape (d^2,); that of a matrix unit |m><n| is beyond all others; 1 for other sites.
    words
        Every letter as a sum of (coefficient, p, q, False) for a^+^p a^q or (coefficient, m, n, True) for |m><n|.

    Examples
    --------
    >>> three = Alphabet(3, 2, True)
    >>> three.degrees.tolist()
    [0, 1, 1, 2, 2, 2, 1000, 1000, 1000]
    >>> a = np.diag(np.sqrt([1.0, 2.0]), 1)
    >>> index, c = three.expand(a @ a.T)  # = 1 + a^+ a - 3 |2><2|
    >>> index.tolist(), c.real.round(12).tolist()
    ([0, 3, 8], [1.0, 1.0, -3.0])
    """

    BEYOND = 1000

    def __init__(self, d: int, degree: int, boson: bool) -> None:
        self.d = d
        if boson:
            self.matrices, self.degrees, self.words = _ladder_letters(d, degree)
        else:
            self.matrices, self.words = letters(d), ()
            self.degrees = np.minimum(np.arange(d * d), 1)

    @cached_property
    def _inverse(self) -> np.ndarray:
        return np.asarray(np.linalg.inv(self.matrices.reshape(self.d**2, self.d**2).T))

    def coefficients(self, matrices: np.ndarray) -> np.ndarray:
        """Return the coefficients of matrices (..., d, d) in the letters, shape (..., d^2), rounding errors removed."""
        c = np.asarray(matrices.reshape(*matrices.shape[:-2], self.d**2) @ self._inverse.T)
        size = np.abs(c).max(axis=-1, keepdims=True, initial=0.0)
        return np.where(np.abs(c) > CANCELLED * self.d**2 * size, c, 0.0)

    def expand(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the letters that occur in a matrix and their coefficients."""
        c = self.coefficients(matrix)
        k = np.flatnonzero(c)
        return k, c[k]


@lru_cache(maxsize=32)
def alphabet(d: int, degree: int, boson: bool) -> Alphabet:
    """Return the letters of a site, made once."""
    return Alphabet(d, degree, boson)


def _ladder_letters(d: int, degree: int) -> tuple[np.ndarray, np.ndarray, tuple[Word, ...]]:
    lower = np.diag(np.sqrt(np.arange(1.0, d)), 1)
    powers = [np.linalg.matrix_power(lower, p) for p in range(d)]
    pairs = sorted(itertools.product(range(d), repeat=2), key=lambda pq: (sum(pq), abs(pq[0] - pq[1]), pq))
    matrices, degrees, words = [], [], []
    for p, q in pairs:
        if p < q:
            continue
        unit = p + q > degree
        if unit:
            matrix = np.zeros((d, d))
            matrix[p, q] = 1.0
        else:
            matrix = powers[p].T @ powers[q]
        for c in (1.0,) if p == q else (1.0, 1j):
            word: Word = ((c, p, q, unit),) if p == q else ((c, p, q, unit), (np.conj(c), q, p, unit))
            matrices.append(c * matrix if p == q else c * matrix + np.conj(c) * matrix.T)
            degrees.append(Alphabet.BEYOND if unit else p + q)
            words.append(word)
    return np.array(matrices, dtype=complex), np.array(degrees), tuple(words)


class LadderAction(StringAction):
    """L^dag on strings of letters of low degree; strings beyond have no rows.

    Parameters
    ----------
    model
        A model on bounded sites.
    degree
        The largest degree of a string, the sum of those of its letters, with a row.

    Raises
    ------
    NotSupportedError
        For unbounded modes, or a term on so many sites that they have more than 70000 operators.

    Examples
    --------
    A damped mode of three levels at unit rate: d<N>/dt = -<N>, the cutoff is not felt.

    >>> from mpo_transport import Boson, Chain, Jump, op
    >>> def rows(jump):
    ...     return LadderAction(Lindbladian(Chain(1, Boson(3)), None, [Jump(op(jump, 0))]), 2).rows(np.array([[3]]))
    >>> rows("A").coefficients.round(12).tolist()
    [-1.0]

    With gain instead, d<N>/dt = 1 + <N> - 3 <|2><2|>:

    >>> sorted(rows("Adag").coefficients.round(12).tolist())
    [-3.0, 1.0, 1.0]
    """

    def __init__(self, model: Lindbladian, degree: int) -> None:
        require_bounded(model)
        self.degree = degree
        spaces = model.lattice.spaces
        self.alphabets = tuple(alphabet(int(s.dim), degree, s.kind == "boson") for s in spaces)
        grouped: dict[Sites, list[ProductTerm]] = defaultdict(list)
        for term in product_terms(model):
            if term.sites:
                grouped[term.sites].append(term)
        rows, alike = {}, {}
        for sites, terms in sorted(grouped.items()):
            if math.prod(float(spaces[s].dim) ** 2 for s in sites) > LARGEST_TERM:
                raise NotSupportedError(
                    f"A term acts on the sites {sites}, which have more than {LARGEST_TERM} operators; products of "
                    "ladder operators are followed through smaller terms only.",
                    field="model",
                )
            key = tuple(id(spaces[s]) for s in sites), tuple(relative_term(term, sites) for term in terms)
            if key not in alike:
                alike[key] = self._rows(key, spaces, sites, terms)
            rows[sites] = alike[key]
        super().__init__([int(s.dim) for s in spaces], rows)

    def degrees(self, strings: np.ndarray) -> np.ndarray:
        """Return the degree of every string, shape (n,)."""
        out = np.zeros(len(strings), dtype=np.int64)
        for s, letters_here in enumerate(self.alphabets):
            out += letters_here.degrees[strings[:, s]]
        return out

    def expand(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the letters in a matrix of a bosonic site and their coefficients."""
        return alphabet(len(matrix), self.degree, True).expand(matrix)

    def _rows(self, name: object, spaces: tuple[LocalSpace, ...], sites: Sites, terms: list[ProductTerm]) -> LocalRows:
        """Return sum over terms of  X -> c B X A  for rho -> c A rho B, on products X of low degree."""
        low = [np.flatnonzero(self.alphabets[s].degrees <= self.degree) for s in sites]
        images = [[self._image(spaces[s], s, term, k) for s, k in zip(sites, low, strict=True)] for term in terms]
        legs = [self.alphabets[s].d ** 2 for s in sites]
        counts = np.zeros(math.prod(legs), dtype=np.int64)
        columns, values = [], []
        for places in itertools.product(*(range(len(k)) for k in low)):
            if sum(self.alphabets[s].degrees[k[i]] for s, k, i in zip(sites, low, places, strict=True)) > self.degree:
                continue
            total: np.ndarray = np.zeros(math.prod(legs), dtype=complex)
            scale = 0.0
            for term, parts in zip(terms, images, strict=True):
                row = np.array([term.coefficient])
                for part, i in zip(parts, places, strict=True):
                    row = np.multiply.outer(row, part[i]).ravel()
                total += row
                scale = max(scale, float(np.abs(row).max(initial=0.0)))
            kept = np.flatnonzero(np.abs(total.real) > CANCELLED * max(legs) * scale)
            index = int(np.ravel_multi_index(tuple(k[i] for k, i in zip(low, places, strict=True)), legs))
            counts[index] = len(kept)
            columns.append((index, kept))
            values.append((index, total.real[kept]))
        columns.sort(key=lambda c: c[0])
        values.sort(key=lambda c: c[0])
        return (
            name,
            counts,
            np.concatenate([c for _, c in columns] or [np.zeros(0, dtype=np.int64)]),
            np.concatenate([v for _, v in values] or [np.zeros(0)]),
        )

    def _image(self, space: LocalSpace, site: int, term: ProductTerm, low: np.ndarray) -> np.ndarray:
        """Return the coefficients of B E_k A for the letters ``low`` of one site."""
        one, here = np.eye(int(space.dim)), self.alphabets[site]
        a, b = (
            product_matrices((space,), tuple((n, 0) for n, s in side if s == site)).get(0, one)
            for side in (term.left, term.right)
        )
        return here.coefficients(b @ here.matrices[low] @ a)
