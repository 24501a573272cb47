"""Gradings: additive labels of operator strings that a generator conserves.

A grading gives every basis operator of every site a label such that each non-zero matrix element of the generator joins
strings of equal total label.  The strings with the label of the identity then form an invariant sector, and the steady
state reached from the maximally mixed state lies in it.  Labels modulo 2 are found for any basis by linear algebra over
GF(2) (parities, and transpositions where the generator is real); U(1) labels are n_a - n_b of the matrix unit |a><b|.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..lattice import Lattice
from ..symmetry import Symmetry
from .basis import hermitian_basis

__all__ = ["Grading", "charge_gradings", "count_strings", "parity_gradings", "unit_generators"]

Sites = tuple[int, ...]


@dataclass(frozen=True)
class Grading:
    """Labels of the basis operators, one array (d_j^2,) of integers per site; modulus 0 means plain integers.

    Strings of total label zero, that of the identity, are kept.
    """

    labels: tuple[np.ndarray, ...]
    modulus: int = 0

    def allows(self, totals: np.ndarray) -> np.ndarray:
        """Return which total labels belong to the sector."""
        return (np.mod(totals, self.modulus) if self.modulus else totals) == 0


def parity_gradings(
    generators: Mapping[Sites, np.ndarray], legs: Sequence[int], neutral: Sequence[np.ndarray]
) -> tuple[Grading, ...]:
    """Return a basis of all Z2 gradings of a generator that vanish on the ``neutral`` basis operators of every site.

    Every non-zero element g[k, l] on the sites S demands sum_{j in S} (label_j(k_j) + label_j(l_j)) = 0 modulo 2.
    """
    offsets = np.concatenate([[0], np.cumsum(legs)])
    fixed = {int(offsets[j]) + int(k) for j in range(len(legs)) for k in neutral[j]}
    rows: set[int] = set()
    for sites, g in generators.items():
        inner = [legs[s] for s in sites]
        scale = max(float(np.abs(g).max()), 1e-300)
        k, l = np.nonzero(np.abs(g) > 1e-14 * scale)
        digits = zip(*np.unravel_index(k, inner), *np.unravel_index(l, inner), strict=True)
        for entry in set(digits):
            mask = 0
            for position, digit in enumerate(entry):
                unknown = int(offsets[sites[position % len(sites)]]) + int(digit)
                if unknown not in fixed:
                    mask ^= 1 << unknown
            rows.add(mask)
    pivots = _echelon(rows)
    free = [u for u in range(int(offsets[-1])) if u not in fixed and u not in pivots]
    return tuple(_grading(u, pivots, offsets) for u in free)


def _echelon(rows: set[int]) -> dict[int, int]:
    """Return {pivot: reduced row} over GF(2); bit u of a row is unknown u."""
    pivots: dict[int, int] = {}
    for row in rows:
        for p, known in pivots.items():
            if row >> p & 1:
                row ^= known
        if row:
            p = row.bit_length() - 1
            for q in pivots:
                if pivots[q] >> p & 1:
                    pivots[q] ^= row
            pivots[p] = row
    return pivots


def _grading(free: int, pivots: Mapping[int, int], offsets: np.ndarray) -> Grading:
    vector = np.zeros(int(offsets[-1]), dtype=np.int64)
    vector[free] = 1
    for p, row in pivots.items():
        vector[p] = row >> free & 1
    return Grading(tuple(vector[a:b] for a, b in itertools.pairwise(offsets)), modulus=2)


def charge_gradings(lattice: Lattice, symmetries: Sequence[Symmetry]) -> tuple[Grading, ...]:
    """Return the gradings of matrix units |a><b| that belong to conserved charges Q = sum_j w_j N_j.

    The label is w_j (n_a - n_b), modulo 2 for a parity: zero for operators whose row and column hold the same charge.
    """
    out = []
    for symmetry in symmetries:
        labels = []
        for weight, space in zip(symmetry.weights, lattice.spaces, strict=True):
            number = np.zeros(int(space.dim)) if space.number is None else np.asarray(space.number, dtype=float)
            n = np.rint(weight * (number - number[0])).astype(np.int64)
            labels.append((n[:, None] - n[None, :]).ravel())
        out.append(Grading(tuple(labels), 2 if symmetry.group == "Z2" else 0))
    return tuple(out)


def count_strings(gradings: Sequence[Grading], legs: Sequence[int]) -> int:
    """Return the number of strings in the sector, from the distribution of the total labels.

    >>> import numpy as np
    >>> count_strings([Grading((np.array([0, 1, 1, 0]),) * 3, modulus=2)], (4, 4, 4))
    32
    """
    if not gradings:
        return math.prod(legs)
    totals: Counter[tuple[int, ...]] = Counter({(0,) * len(gradings): 1})
    for site, leg in enumerate(legs):
        local = Counter(tuple(int(g.labels[site][k]) for g in gradings) for k in range(leg))
        new: Counter[tuple[int, ...]] = Counter()
        for total, count in totals.items():
            for label, several in local.items():
                summed = (
                    (t + x) % g.modulus if g.modulus else t + x for t, x, g in zip(total, label, gradings, strict=True)
                )
                new[tuple(summed)] += count * several
        over = [k for k, g in enumerate(gradings) if not any(np.any(labels) for labels in g.labels[site + 1 :])]
        totals = Counter({t: count for t, count in new.items() if not any(t[k] for k in over)})
    return totals[(0,) * len(gradings)]


def unit_generators(generators: Mapping[Sites, np.ndarray], dims: Sequence[int]) -> dict[Sites, np.ndarray]:
    """Return local generators in the basis of matrix units |a><b| (digit a d + b), complex, from the Hermitian ones.

    The change of basis is x_ab = sum_k B_k[a, b] x_k on every site; elements below 1e-14 of the largest are rounding.
    """
    out = {}
    for sites, g in generators.items():
        change = np.ones((1, 1))
        for s in sites:
            change = np.kron(change, hermitian_basis(dims[s]).reshape(dims[s] ** 2, -1).T)
        moved = change @ g @ change.conj().T
        smallest = 1e-14 * float(np.abs(moved).max(initial=0.0))
        real, imaginary = (np.where(np.abs(part) > smallest, part, 0.0) for part in (moved.real, moved.imag))
        out[sites] = real + 1j * imaginary
    return out
