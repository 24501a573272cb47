"""Sectors: labels modulo 2 of operator strings that the generator conserves, and operators whose bonds carry them.

A grading (:mod:`mpo_transport.superoperator.gradings`) gives every basis operator of a site a label; the steady state
is made of strings of total label zero.  Bonds of the train are sorted by label, and every matrix of a local problem
falls into blocks: with one grading that halves the operators of a site, half the unknowns and a quarter of the work.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...model import Lindbladian
from ...superoperator import local_generators
from ...superoperator.gradings import parity_gradings
from ...superoperator.train import canonical_train, robust_svd
from ..tebd.plan import gathered_supports

__all__ = ["GradedOperator", "Legs", "find_labels", "graded_operator", "ungraded"]

# Largest Hilbert space of one term whose generator is written out to look for gradings.
LARGEST_TERM = 40
# Relative size of operator strings regarded as rounding errors.
NOISE = 1e-13


@dataclass(frozen=True)
class Legs:
    """An index sorted by label: ``sizes[c]`` entries with label c."""

    sizes: tuple[int, ...]

    @classmethod
    def of(cls, labels: np.ndarray, sectors: int) -> Legs:
        """Return the sizes of sorted labels."""
        return cls(tuple(int(x) for x in np.bincount(labels, minlength=sectors)))

    @cached_property
    def total(self) -> int:
        """Number of entries."""
        return sum(self.sizes)

    @cached_property
    def labels(self) -> np.ndarray:
        """The label of every entry."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The range of every label."""
        ends = list(itertools.accumulate(self.sizes, initial=0))
        return tuple(slice(a, b) for a, b in itertools.pairwise(ends))


def find_labels(model: Lindbladian) -> tuple[np.ndarray, ...]:
    """Return a label 0 or 1 for every basis operator of every site such that the generator conserves their sum mod 2.

    Of all gradings that repeat every second site, the one that divides the operators most evenly; all labels are zero
    where there is none, or where a term is too large to look at.

    >>> from mpo_transport import models
    >>> find_labels(models.persistent_current(L=3, alpha=2.0, delta=1.0, periodic=False))[0]
    array([0, 1, 1, 0])
    """
    dims = [int(d) for d in model.lattice.dims]
    classes = {key: k for k, key in enumerate(sorted({(d, j % 2) for j, d in enumerate(dims)}))}
    where = [classes[d, j % 2] for j, d in enumerate(dims)]
    trivial = tuple(np.zeros(d * d, dtype=np.int64) for d in dims)
    if any(np.prod([dims[s] for s in sites]) > LARGEST_TERM for sites in gathered_supports(model)):
        return trivial
    folded: dict[tuple[int, ...], np.ndarray] = {}
    for sites, g in local_generators(model).items():
        size = float(np.abs(g).max(initial=0.0))
        if size > 0:
            key = tuple(where[s] for s in sites)
            folded[key] = folded.get(key, 0.0) + np.where(np.abs(g) > 1e-14 * size, 1.0, 0.0)
    legs = [d * d for d, _ in classes]
    basis = parity_gradings(folded, legs, [np.array([0])] * len(legs))[:6]
    best, score = None, 0
    for count in range(1, len(basis) + 1):
        for chosen in itertools.combinations(basis, count):
            labels = [np.sum([g.labels[k] for g in chosen], axis=0) % 2 for k in range(len(legs))]
            value = sum(min(int(labels[k].sum()), len(labels[k]) - int(labels[k].sum())) for k in where)
            if value > score:
                best, score = labels, value
    return trivial if best is None else tuple(best[k].astype(np.int64) for k in where)


@dataclass(frozen=True)
class GradedOperator:
    """A matrix-product operator in sorted local bases, its bonds sorted by label.

    Attributes
    ----------
    tensors
        (w_l, n_out, n_in, w_r) per position.
    bonds
        The labels of the L + 1 bonds.
    orders
        The permutation that sorts the basis operators of every position.
    locals
        Their labels, sorted.
    """

    tensors: tuple[np.ndarray, ...]
    bonds: tuple[Legs, ...]
    orders: tuple[np.ndarray, ...]
    locals: tuple[Legs, ...]

    @property
    def sectors(self) -> int:
        """Number of labels."""
        return len(self.bonds[0].sizes)

    def with_tensors(self, tensors: Sequence[np.ndarray]) -> GradedOperator:
        """Return the same labels with other numbers."""
        return GradedOperator(tuple(tensors), self.bonds, self.orders, self.locals)


def ungraded(tensors: Sequence[np.ndarray]) -> GradedOperator:
    """Return an operator with a single sector."""
    bonds = (Legs((1,)), *(Legs((int(w.shape[3]),)) for w in tensors))
    legs = [int(w.shape[1]) for w in tensors]
    return GradedOperator(tuple(tensors), bonds, tuple(np.arange(n) for n in legs), tuple(Legs((n,)) for n in legs))


def graded_operator(tensors: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> GradedOperator:
    """Return the operator with labelled bonds; a single sector if it does not conserve the labels.

    The left halves of given label are a subspace of all left halves, so that bonds stay as small as they are where the
    operator is of minimal bond dimension.
    """
    sectors = 2
    if not any(np.any(x) for x in labels):
        return ungraded(tensors)
    orders = [np.argsort(x, kind="stable") for x in labels]
    # canonical with centre 0 in units in which the identity has norm one
    units = [float(np.sqrt(w.shape[1])) for w in tensors]
    flat = [w[:, o][:, :, o] / u for w, o, u in zip(tensors, orders, units, strict=True)]
    train = canonical_train([w.reshape(w.shape[0], -1, w.shape[3]) for w in flat], 0)
    out, bonds, carry, left = [], [Legs((1, 0))], np.ones((1, 1)), np.zeros(1, dtype=np.int64)
    size = float(np.linalg.norm(train[0]))
    for p, (t, order, unit) in enumerate(zip(train, orders, units, strict=True)):
        local = labels[p][order]
        pair = (local[:, None] ^ local).ravel()
        rows = (left[:, None] ^ pair).ravel()
        matrix = np.tensordot(carry, t, axes=(1, 0)).reshape(len(rows), -1)
        if p == len(train) - 1:
            if np.linalg.norm(matrix[rows != 0]) > 1e-11 * size:
                return ungraded(tensors)
            matrix[rows != 0] = 0.0
            frame, carry, counts = matrix, np.ones((1, 1)), [1, 0]
        else:
            frame, carry, counts = _split(matrix, rows, sectors, NOISE * size)
        n = len(local)
        out.append(np.ascontiguousarray(frame.reshape(-1, n, n, frame.shape[1])) * unit)
        bonds.append(Legs(tuple(counts)))
        left = bonds[-1].labels
    local_legs = tuple(Legs.of(x[o], sectors) for x, o in zip(labels, orders, strict=True))
    return GradedOperator(tuple(out), tuple(bonds), tuple(orders), local_legs)


def _split(
    matrix: np.ndarray, rows: np.ndarray, sectors: int, smallest: float
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return (frame, rest, counts): the rows of every label factored on their own."""
    parts = [robust_svd(matrix[rows == c]) for c in range(sectors)]
    counts = [int(np.count_nonzero(s > smallest)) for _, s, _ in parts]
    frame, start = np.zeros((len(rows), sum(counts))), 0
    rest = []
    for c, (u, s, v) in enumerate(parts):
        frame[rows == c, start : start + counts[c]] = u[:, : counts[c]]
        rest.append(s[: counts[c], None] * v[: counts[c]])
        start += counts[c]
    return frame, np.concatenate(rest), counts
