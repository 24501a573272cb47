"""Duals that follow from one already known: operators that differ by the rate of change of local numbers.

Where N_k is a density that the bulk conserves, L^T N_k = I_{k-1,k} - I_{k,k+1}: the duals of the currents of two bonds
differ by the numbers between them, exactly.  One dual then serves a whole chain, and what is left of the corrected
currents is the same on every bond by construction.  The relation is found by linear algebra, not from the name of a
model, and holds to rounding or is not used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..lattice import Lattice
from ..methods.linear_sweeps import DualVector, traceless_train
from ..operators import OpSum, op
from ..superoperator.mpo import MPO, operator_train
from ..superoperator.train import add_trains, canonical_train, compress_train, train_inner

__all__ = ["related_difference"]

# Two right-hand sides count as related if what is left of their difference is below this fraction of them.
ROUNDING = 1e-11
NUMBER = "N"


def related_difference(
    lattice: Lattice,
    adjoint: MPO,
    first: tuple[OpSum, tuple[np.ndarray, ...]],
    second: tuple[OpSum, tuple[np.ndarray, ...]],
) -> DualVector | None:
    """Return q with L^T q = b_2 - b_1 up to the identity, a combination of local numbers; None if there is none.

    Parameters
    ----------
    lattice, adjoint
        The lattice and L^T.
    first, second
        Hermitian operators with their right-hand sides b as trains in units where the identity has norm one.
    """
    legs = [t.shape[1] for t in first[1]]
    difference = compress_train(traceless_train(add_trains([second[1], first[1]], [1.0, -1.0]))).tensors
    size = max(_norm(traceless_train(b)) for _, b in (first, second))
    candidates = []
    for operator in _candidates(lattice, adjoint.order, first[0], second[0]):
        train = operator_train(lattice, operator, adjoint.order)
        candidates.append(tuple(t / n**0.25 for t, n in zip(train, legs, strict=True)))
    if not candidates:
        return None
    images = [compress_train(traceless_train(adjoint.apply(DualVector(c, adjoint.order)))).tensors for c in candidates]
    gram = np.array([[train_inner(a, b) for b in images] for a in images])
    overlap = np.array([train_inner(a, difference) for a in images])
    weights = np.linalg.lstsq(gram, overlap, rcond=1e-10)[0]
    rest = add_trains([difference, *images], [1.0, *(-weights)])
    if not _norm(rest) <= ROUNDING * size:
        return None
    return DualVector(compress_train(add_trains(candidates, list(weights))).tensors, adjoint.order)


def _candidates(lattice: Lattice, order: Sequence[int], first: OpSum, second: OpSum) -> list[OpSum]:
    """Return the numbers of the sites of both operators, and that of everything between them."""
    where = {site: p for p, site in enumerate(order)}
    a, b = (sorted({where[s] for key, _ in o for _, s in key}) for o in (first, second))
    if not a or not b:
        return []
    low, high = (a, b) if a[0] <= b[0] else (b, a)
    ends = sorted({*a, *b})
    between = [p for p in range(low[-1] + 1, high[0]) if p not in ends]
    groups = [[p] for p in ends] + ([between] if between else [])
    if any(NUMBER not in lattice.spaces[order[p]].operators for group in groups for p in group):
        return []
    return [sum((op(NUMBER, order[p]) for p in group[1:]), 1.0 * op(NUMBER, order[group[0]])) for group in groups]


def _norm(train: Sequence[np.ndarray]) -> float:
    """Return |x| by orthogonal transformations: no scalar product of differences."""
    return float(np.linalg.norm(canonical_train(train, 0)[0]))
