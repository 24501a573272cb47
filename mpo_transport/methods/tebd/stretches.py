"""A relaxation rate that short stretches of the system show, and that a record of drifts would see too late.

Where strong local dissipation leaves weakly connected dark states (the Zeno regime), the local rates reach over many
orders of magnitude: within a few of the fastest lifetimes nothing moves visibly any more, while the weights of the dark
states change at a rate smaller by a factor rate^2/Lambda^2.  The smallest decay rate of stretches of three
neighbouring sites, their generators taken by themselves, knows of such modes.
"""

from __future__ import annotations

import math

import numpy as np

from ...lattice import Chain
from ...model import Jump, Lindbladian
from ...operators import OpSum
from ...superoperator.terms import embed, local_generators

__all__ = ["hidden_rate"]

# A mode slower than the fastest rate by this factor is hidden; others show within the first intervals.
HIDDEN = 1e-3
# Largest number of operators of a stretch.
LARGEST = 300
# Eigenvalues this small relative to the fastest rate are stationary or undamped: they belong to the stretch alone.
STILL = 1e-10
ROUNDING = 1e-12


def hidden_rate(model: Lindbladian, fastest: float, sites: int = 3) -> float | None:
    """Return the smallest decay rate of stretches of neighbouring sites if it is below ``fastest``/1000, else None.

    Parameters
    ----------
    model
        A model of bounded sites.
    fastest
        The stiffest local rate Lambda.
    sites
        Length of a stretch; shorter where three sites have more than 300 operators.  The first, the middle and the
        last stretch are looked at.

    Examples
    --------
    >>> import mpo_transport as mt
    >>> chain = mt.models.persistent_current(L=6, alpha=8.0, delta=4.0, mu=1.0, periodic=False)
    >>> rate = hidden_rate(chain, 300.0)
    >>> smallest = float(mt.gap(mt.models.persistent_current(L=3, alpha=8.0, delta=4.0, mu=1.0, periodic=False)))
    >>> abs(rate / smallest - 1) < 1e-6
    True
    """
    L, whole = model.L, tuple(int(d) for d in model.lattice.dims)
    sites = min(sites, L)
    while sites > 1 and max(math.prod(d * d for d in whole[a : a + sites]) for a in range(L - sites + 1)) > LARGEST:
        sites -= 1
    if sites < 2 or not fastest > 0:
        return None
    found: list[float] = []
    for first in sorted({0, (L - sites) // 2, L - sites}):
        piece = _piece(model, first, sites)
        inside = local_generators(piece)
        if not inside:
            continue
        every = tuple(range(sites))
        generator = np.asarray(sum(embed(g, s, every, whole[first : first + sites]) for s, g in inside.items()))
        rates = -np.linalg.eigvals(generator).real
        still = max(STILL * fastest, ROUNDING * float(np.linalg.norm(generator)))
        found += rates[rates > still].tolist()
    slowest = min(found, default=math.inf)
    return slowest if slowest < HIDDEN * fastest else None


def _piece(model: Lindbladian, first: int, sites: int) -> Lindbladian:
    """Return the terms of H and the jumps that act within sites first .. first+sites-1, as a model of its own."""
    lattice = Chain(sites, [model.lattice.spaces[first + k] for k in range(sites)])

    def within(operator: OpSum) -> bool:
        return all(first <= s < first + sites for s in operator.sites)

    def moved(operator: OpSum) -> OpSum:
        return OpSum({tuple((name, s - first) for name, s in key): c for key, c in operator})

    kept = OpSum({key: c for key, c in model.hamiltonian if all(first <= s < first + sites for _, s in key)})
    jumps = [Jump(moved(j.operator), j.rate) for j in model.jumps if within(j.operator)]
    return Lindbladian(lattice, moved(kept), jumps)
