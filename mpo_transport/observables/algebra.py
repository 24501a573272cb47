"""Operator sums that know their lattice: reduction of products on one site, adjoint generator, operator norms.

:class:`~mpo_transport.OpSum` is text and cannot know that ``Adag A = N``.  :func:`simplify` can, so that terms which
cancel are seen to cancel, and fewer products remain to be evaluated.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..lattice import Lattice
from ..model import Lindbladian
from ..operators import Factor, LocalSpace, OpSum, commutator
from ..symmetry import support_matrices

__all__ = ["GeneratorPiece", "adjoint_action", "generator_pieces", "operator_norm", "simplify"]

Key = tuple[Factor, ...]
Word = tuple[str, ...]
_NEGLIGIBLE = 1e-14
_DENSE_LIMIT = 1024
# the names preferred when a product on one site is rewritten as a sum of single names, after those already present
_PREFERRED = ("I", "N", "Z", "Sz", "Sp", "Sm", "A", "Adag")


def simplify(lattice: Lattice, operator: OpSum, *, scale: float = 0.0) -> OpSum:
    """Return an equal operator in which products on one site are single names wherever that is possible.

    On bounded spaces a product that lies in the span of the named operators becomes a sum of names (products of the
    truncated matrices, as everywhere); on unbounded modes products are normally ordered.  Terms that cancel are
    dropped: those below 1e-14 of the largest coefficient, or of ``scale`` if the operator is a difference of larger
    ones.

    Examples
    --------
    >>> from mpo_transport import Boson, Chain, SpinHalf, op
    >>> simplify(Chain(1, SpinHalf()), op("Sp", 0) * op("Sm", 0) - op("Sm", 0) * op("Sp", 0))
    -1 + 2 N(0)
    >>> simplify(Chain(1, Boson(float("inf"))), op("A", 0) * op("Adag", 0))
    1 + N(0)
    """
    merged: dict[Key, complex] = defaultdict(complex)
    scale = max(scale, max((abs(c) for _, c in operator), default=0.0))
    present = frozenset(name for key, _ in operator for name, _ in key)
    for key, c in operator:
        factors = [
            [(tuple((n, site) for n in word), x) for word, x in _reduced(lattice.spaces[site], names, present).items()]
            for site, names in _words(key)
        ]
        for choice in itertools.product(*factors):
            coefficient = c * math.prod((x for _, x in choice), start=1.0 + 0j)
            merged[tuple(itertools.chain.from_iterable(f for f, _ in choice))] += coefficient
    return _drop_zeros(lattice, OpSum({k: c for k, c in merged.items() if abs(c) > _NEGLIGIBLE * scale}), scale)


def _drop_zeros(lattice: Lattice, operator: OpSum, scale: float) -> OpSum:
    """Remove groups of products that are no single names and whose matrices cancel."""
    groups: dict[tuple[int, ...], dict[Key, complex]] = defaultdict(dict)
    for key, c in operator:
        sites = tuple(s for _, s in key)
        if len(set(sites)) < len(sites):
            groups[tuple(sorted(set(sites)))][key] = c
    vanishing: set[Key] = set()
    for sites in groups:
        if not all(lattice.spaces[s].is_bounded for s in sites):
            continue
        if math.prod(int(lattice.spaces[s].dim) for s in sites) > _DENSE_LIMIT:
            continue
        same = OpSum({k: c for k, c in operator if tuple(sorted({s for _, s in k})) == sites})
        bound = sum(abs(c) * _product_norm(lattice, k) for k, c in same)
        if np.abs(support_matrices(lattice, same)[sites]).max() <= _NEGLIGIBLE * max(bound, scale):
            vanishing |= {k for k, _ in same}
    return OpSum({k: c for k, c in operator if k not in vanishing}) if vanishing else operator


def _words(key: Key) -> Iterator[tuple[int, Word]]:
    for site, group in itertools.groupby(key, key=lambda f: f[1]):
        yield site, tuple(n for n, _ in group)


@lru_cache(maxsize=4096)
def _reduced(space: LocalSpace, word: Word, present: frozenset[str]) -> dict[Word, complex]:
    if not space.is_bounded:
        return _normal_ordered(word)
    matrix = _word_matrix(space, word)
    scale = np.abs(matrix).max()
    if scale == 0:
        return {}
    # first single names alone; then also products of two of its letters in a fixed order: A N = N A + A
    for pairs in (frozenset(), frozenset(word)) if len(word) == 2 else (frozenset(),):
        words, columns = _span(space, present, pairs)
        if word in words:
            return {word: 1.0}
        x, *_ = np.linalg.lstsq(columns, matrix.ravel(), rcond=None)
        if np.abs(columns @ x - matrix.ravel()).max() <= 1e-13 * scale:
            x = np.where(np.abs(x) < 1e-13 * np.abs(x).max(), 0, x)
            x = np.where(np.abs(x - np.rint(x.real)) < 1e-13, np.rint(x.real), x)  # 1, not 0.9999999999999998
            return {() if w == ("I",) else w: complex(c) for w, c in zip(words, x, strict=True) if c}
    return {word: 1.0}


def _word_matrix(space: LocalSpace, word: Word) -> np.ndarray:
    matrix = np.eye(int(space.dim), dtype=complex)
    for name in word:
        matrix = matrix @ space.matrix(name)
    return matrix


@lru_cache(maxsize=1024)
def _span(space: LocalSpace, present: frozenset[str], pairs: frozenset[str]) -> tuple[tuple[Word, ...], np.ndarray]:
    """Return linearly independent words and the matrix with their vectorised forms as columns.

    Single names first, among them those that occur in the text (``present``), so that it is rewritten as little as
    possible; then ordered products of two of the names in ``pairs``.
    """
    ranks = {n: k for k, n in enumerate(_PREFERRED)}
    order = sorted(space.operators, key=lambda n: (n != "I", n not in present, ranks.get(n, len(ranks)), n))
    candidates: list[Word] = [(n,) for n in order]
    letters = sorted(pairs, key=lambda n: (ranks.get(n, len(ranks)), n))
    candidates += list(itertools.combinations_with_replacement(letters, 2))
    words: list[Word] = []
    columns: list[np.ndarray] = []
    for word in candidates:
        column = _word_matrix(space, word).ravel()
        if np.linalg.matrix_rank(np.array([*columns, column]).T, tol=1e-10) == len(columns) + 1:
            words.append(word)
            columns.append(column)
    return tuple(words), np.array(columns).T


def _normal_ordered(word: Word) -> dict[Word, complex]:
    """Write a product of A, Adag, N, Q, P as sum of Adag^m A^n, with Adag A called N."""
    half = 1 / math.sqrt(2)
    letters: dict[str, list[tuple[str, complex]]] = {
        "I": [("", 1)],
        "A": [("-", 1)],
        "Adag": [("+", 1)],
        "N": [("+-", 1)],
        "Q": [("-", half), ("+", half)],
        "P": [("-", -1j * half), ("+", 1j * half)],
    }
    total: dict[tuple[int, int], complex] = {(0, 0): 1.0}
    for name in word:
        following: dict[tuple[int, int], complex] = defaultdict(complex)
        for ladder, c in letters[name]:
            part = total
            for step in ladder:
                part = _times_ladder(part, step)
            for power, x in part.items():
                following[power] += c * x
        total = following
    scale = max((abs(x) for x in total.values()), default=0.0)
    out = {}
    for (m, n), x in total.items():
        if abs(x) > _NEGLIGIBLE * scale:
            out[("N",) if (m, n) == (1, 1) else ("Adag",) * m + ("A",) * n] = complex(x)
    return out


def _times_ladder(polynomial: dict[tuple[int, int], complex], step: str) -> dict[tuple[int, int], complex]:
    out: dict[tuple[int, int], complex] = defaultdict(complex)
    for (m, n), x in polynomial.items():
        if step == "-":
            out[m, n + 1] += x
        else:  # A^n Adag = Adag A^n + n A^(n-1)
            out[m + 1, n] += x
            if n:
                out[m, n - 1] += n * x
    return out


# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GeneratorPiece:
    """One part of the adjoint generator that annihilates the identity: i c [P, .], or one pair of products of a jump.

    ``left`` is None for a Hamiltonian term; otherwise the piece is
    O -> w ( left O right - 1/2 {left right, O} ) with left = P_b^dag and right = P_a.
    """

    sites: tuple[int, ...]
    weight: complex
    right: OpSum
    left: OpSum | None = None
    label: str | None = None

    def adjoint(self, operator: OpSum) -> OpSum:
        """Return the action on an operator; products that do not overlap with it cancel from the start."""
        if self.left is None:
            return 1j * self.weight * commutator(self.right, operator)
        # w/2 ( left [O, right] + [left, O] right )
        first = self.left * _overlapping_commutator(operator, self.right)
        second = _overlapping_commutator(self.left, operator) * self.right
        return (self.weight / 2) * (first + second)


def _overlapping_commutator(a: OpSum, b: OpSum) -> OpSum:
    return commutator(a, b) if set(a.sites) & set(b.sites) else OpSum()


def generator_pieces(model: Lindbladian) -> list[GeneratorPiece]:
    """Return the generator as a list of pieces, one per product of H and per pair of products of each jump."""
    out = [
        GeneratorPiece(tuple(sorted({s for _, s in key})), c, OpSum({key: 1.0})) for key, c in model.hamiltonian if key
    ]
    for jump in model.jumps:
        if jump.rate == 0:
            continue
        products = [(OpSum({k: 1.0}), c) for k, c in jump.operator]
        adjoints = [p.dag for p, _ in products]
        for (pa, ca), (b, (pb, cb)) in itertools.product(products, enumerate(products)):
            sites = tuple(sorted(set(pa.sites) | set(pb.sites)))
            weight = jump.rate * ca * cb.conjugate()
            if sites and weight:
                out.append(GeneratorPiece(sites, weight, pa, adjoints[b], jump.label))
    return out


def adjoint_action(model: Lindbladian, operator: OpSum, *, pieces: Iterable[GeneratorPiece] | None = None) -> OpSum:
    """Return the Heisenberg-picture generator applied to an operator, simplified.

        L^dag(O) = i [H, O] + sum_k rate_k ( L_k^dag O L_k - 1/2 {L_k^dag L_k, O} ),     d<O>/dt = <L^dag(O)>

    Parameters
    ----------
    model, operator
        The Lindbladian and the operator O.
    pieces
        A part of :func:`generator_pieces` (one bath, one bond) instead of the whole generator.

    Examples
    --------
    >>> from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, op
    >>> qubit = Lindbladian(Chain(1, SpinHalf()), op("X", 0), [Jump(op("Sm", 0), rate=0.5)])
    >>> adjoint_action(qubit, op("N", 0))
    -0.5 N(0) + 1j Sm(0) - 1j Sp(0)
    """
    touched = set(operator.sites)
    chosen = generator_pieces(model) if pieces is None else pieces
    total: dict[Key, complex] = defaultdict(complex)
    scale = 0.0
    for piece in chosen:
        if touched.intersection(piece.sites):
            for key, c in piece.adjoint(operator):
                total[key] += c
                scale = max(scale, abs(c))
    return simplify(model.lattice, OpSum(total), scale=scale)


def operator_norm(lattice: Lattice, operator: OpSum) -> float:
    """Return an upper bound of the operator norm: exact for each set of sites, summed over the sets.

    Products on many sites are bounded by the product of the norms; on unbounded modes, whose operators have no norm,
    by the sum of the coefficients.
    """
    total, rest = 0.0, {}
    groups: dict[tuple[int, ...], dict[Key, complex]] = defaultdict(dict)
    for key, c in operator:
        groups[tuple(sorted({s for _, s in key}))][key] = c
    for sites, terms in groups.items():
        bounded = all(lattice.spaces[s].is_bounded for s in sites)
        if bounded and len(terms) == 1:
            ((key, c),) = terms.items()
            total += abs(c) * math.prod(_word_norm(lattice.spaces[s], word) for s, word in _words(key))
        elif bounded and math.prod(int(lattice.spaces[s].dim) for s in sites) <= _DENSE_LIMIT // 4:
            total += float(np.linalg.norm(support_matrices(lattice, OpSum(terms))[sites], 2))
        else:
            rest.update(terms)
    return total + sum(abs(c) * _product_norm(lattice, k) for k, c in rest.items())


@lru_cache(maxsize=4096)
def _word_norm(space: LocalSpace, word: Word) -> float:
    return float(np.linalg.norm(_word_matrix(space, word), 2))


def _product_norm(lattice: Lattice, key: Key) -> float:
    out = 1.0
    for site, word in _words(key):
        space = lattice.spaces[site]
        if space.is_bounded:
            out *= math.prod(float(np.linalg.norm(space.matrix(n), 2)) for n in word)
    return out
