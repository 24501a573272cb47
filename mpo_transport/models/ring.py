"""A tight-binding ring with local dephasing: diffusion at fixed particle number."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..lattice import Chain
from ..model import CurrentKind, Jump, Lindbladian
from ..operators import OpSum, SpinHalf, op
from .registry import per_item, register

__all__ = ["ring_dephasing"]


@register
def ring_dephasing(L: int, t: Any, gamma: Any) -> Lindbladian:
    """Return the XX ring with local dephasing, H = sum_j ( t_j s+_j s-_{j+1} + h.c. ), jumps gamma_j D[n_j].

    The number of particles is conserved by H and by every jump (a strong symmetry): there is one steady state per
    particle number, and an initial state selects it.  In the one-particle sector of an infinite ring a density wave of
    wave number q decays at

        lambda(q) = gamma - sqrt( gamma^2 - 16 t^2 sin^2(q/2) )

    (the slow branch, where the root is real); the gap of a ring is lambda(2 pi/L) up to corrections exponentially
    small in L.

    Parameters
    ----------
    L
        Number of sites, >= 3.
    t
        Hopping, scalar or one per bond, complex.
    gamma
        Dephasing rate, scalar or one per site.

    Raises
    ------
    InputError
        Naming the argument that is wrong.

    References
    ----------
    M. Esposito, P. Gaspard, J. Stat. Phys. 121, 463 (2005), arXiv:cond-mat/0406581.

    Examples
    --------
    >>> ring = ring_dephasing(L=6, t=1.0, gamma=0.9)
    >>> [str(s) for s in ring.conserved]
    ['strong U(1): sum of all N']
    """
    lattice = Chain(L, SpinHalf(), periodic=True)
    hopping = per_item(t, L, "t", "bond")
    noise = per_item(gamma, L, "gamma", "site", real=True)
    if np.any(noise < 0):
        raise InputError(f"Argument `gamma` must be >= 0, but is {gamma!r}.", field="gamma")
    h = OpSum()
    for (i, j), hop in zip(lattice.bonds, hopping.tolist(), strict=True):
        half = hop * (op("Sp", i) * op("Sm", j))
        h = h + half + half.dag
    return Lindbladian(
        lattice,
        h,
        [Jump(op("N", j), rate=float(x), label="dephasing", charge=0.0) for j, x in enumerate(noise) if x > 0],
        name="ring_dephasing",
        parameters={"L": L, "t": t, "gamma": gamma},
        currents={"particles": CurrentKind(tuple(complex(1j * x) for x in hopping), "Sp", "Sm", "particle current")},
    )
