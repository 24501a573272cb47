"""The frame that rotates with conserved charges, in which large common frequencies are gone."""

from __future__ import annotations

import numpy as np

from ...model import Lindbladian
from ...operators import OpSum

__all__ = ["rotating_frame"]


def rotating_frame(model: Lindbladian) -> Lindbladian:
    """Return the model with H - sum_s mu_s Q_s, Q_s = sum_j w_sj N_j its weak U(1) charges.

    A unique steady state commutes with every Q_s, so it is the same; the frequencies mu_s that all sites have in common
    (least squares over the coefficients of N_j in H) no longer set the scale of the generator.

    Examples
    --------
    >>> from mpo_transport import Boson, Chain, Jump, op
    >>> hop = op("Adag", 0) * op("A", 1)
    >>> h = 5.0 * op("N", 0) + 6.0 * op("N", 1) + hop + hop.dag
    >>> pair = Lindbladian(Chain(2, Boson(3)), h, [Jump(op("A", 0)), Jump(op("A", 1))])
    >>> [round(rotating_frame(pair).hamiltonian.terms[(("N", j),)].real, 12) for j in (0, 1)]
    [-0.5, 0.5]
    """
    charges = [s.weights for s in model.conserved if s.group == "U(1)" and s.strength == "weak"]
    if not charges or not all(space.has("N") for space in model.lattice.spaces):
        return model
    energies = np.array([complex(model.hamiltonian.terms.get((("N", j),), 0.0)).real for j in range(model.L)])
    weights = np.array(charges, dtype=float)
    mu = np.linalg.lstsq(weights.T, energies, rcond=None)[0]
    common = mu @ weights
    if np.abs(common).max() <= 1e-12 * max(1.0, float(np.abs(energies).max())):
        return model
    shift = OpSum({(("N", j),): float(x) for j, x in enumerate(common)})
    return Lindbladian(model.lattice, model.hamiltonian - shift, model.jumps, name=model.name)
