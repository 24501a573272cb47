"""Converged values of works without exact ones: two large bond dimensions, their difference as the error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from _works import SETS, w1_model

import mpo_transport as mt
from mpo_transport import observables as obs

__all__ = ["RECIPES"]


def open_chain(alpha: float, delta: float, mu: float) -> dict[str, Any]:
    """Return current and profile of the open chain of thirty sites from implicit sweeps with 48 and 64."""
    model = w1_model(alpha, delta, mu)
    current, profile = obs.current(model), obs.profile(model, "Z")
    found = []
    for bond in (48, 64):
        method = mt.ImplicitSweeps(max_bond=bond)
        result = mt.steady_state(model, method, tol=1e-10, on_failure="return", progress=False)
        found.append([np.asarray(result.expect(o)) for o in (current, profile)])
    change = max(float(np.abs(a - b).max()) for a, b in zip(*found, strict=True))
    claimed = result.certificate.error_estimate or 0.0
    return {
        "parameters": {"L": 30, "alpha": alpha, "delta": delta, "mu": mu, "periodic": False},
        "current": found[1][0].tolist(),
        "profile": found[1][1].tolist(),
        "uncertainty": max(change, claimed * current.norm),
        "how": "implicit sweeps, bond dimensions 48 and 64; the values of the latter, the larger of the difference and "
        "of the claimed error",
    }


def ring_bulk() -> dict[str, Any]:
    """Return current and <Z> of the infinite chain at (2, 1.5, 1) from two bond dimensions."""
    model = mt.models.persistent_current(L=4, alpha=2.0, delta=1.5, mu=1.0)
    current, profile = obs.current(model), obs.profile(model, "Z")
    found = []
    for bond, dt in ((16, 0.1), (24, 0.05)):
        method = mt.InfiniteTEBD(max_bond=bond, dt=dt)
        result = mt.steady_state(model, method, tol=1e-6, on_failure="return", progress=False)
        found.append([float(np.mean(result.expect(o))) for o in (current, profile)])
    return {
        "parameters": {"alpha": 2.0, "delta": 1.5, "mu": 1.0},
        "current": found[1][0],
        "profile": found[1][1],
        "uncertainty": max(abs(a - b) for a, b in zip(*found, strict=True)),
        "how": "infinite chain, (bond dimension, dt) = (16, 0.1) and (24, 0.05); the values of the latter, the "
        "difference of the two",
    }


RECIPES: Mapping[str, Callable[[], dict[str, Any]]] = {
    **{"w1" + suffix: partial(open_chain, *values) for suffix, values in SETS.items()},
    "ring-bulk": ring_bulk,
}
