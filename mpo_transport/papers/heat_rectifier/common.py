"""The paper, and the few lines every one of its figures needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...methods.gaussian import Gaussian
from ...model import Lindbladian
from ...models import heat_rectifier
from ...observables import bath_flow, profile
from ...result import Result
from ..base import FigureData, Paper, solve

__all__ = ["BATHS", "EXPERIMENT", "PAPER", "PHASE_SIGN", "equal_rates", "flows", "occupations_of", "solved"]

PAPER = Paper(
    "heat-rectifier",
    "S. Barzanjeh, M. Aquilina, A. Xuereb, Manipulating the flow of thermal noise in quantum devices, "
    "Phys. Rev. Lett. 120, 060601 (2018)",
)

BATHS = ("bath_1", "bath_2", "common")

PHASE_SIGN = (
    "the phase theta is that of the Langevin equation; the master equation as printed has the opposite sign, and only "
    "F e^{i theta} enters"
)

# The printed numbers of the experiment, all in units of 2 pi MHz.
EXPERIMENT: dict[str, Any] = {
    "Delta_1": 6.0, "Delta_2": 6.0, "omega_m": 6.0, "J": 1.0, "G_1": 0.007, "G_2": 0.007, "phi": math.pi / 2,
    "kappa_1": 2.0, "kappa_2": 2.0, "gamma_m": 1e-4,
}  # fmt: skip


def equal_rates(N: Sequence[float], *, F: complex = 0.0, Delta: float = 0.0, theta: float = 0.0) -> Lindbladian:
    """Return the rectifier with kappa_1 = kappa_2 = gamma_1 = gamma_2 = 1."""
    return heat_rectifier(
        omega_1=0.0, omega_2=Delta, gamma_1=1.0, gamma_2=1.0, kappa_1=1.0, kappa_2=1.0, F=F, theta=theta, N=tuple(N)
    )


def solved(data: FigureData, model: Lindbladian) -> Result:
    """Return the exact Gaussian steady state; status and residual are recorded."""
    return solve(data, model, Gaussian(), tol=1e-9)


def occupations_of(result: Result) -> np.ndarray:
    """Return <n_j> of every mode."""
    return np.asarray(result.expect(profile(result.model, "N")))


def flows(result: Result, baths: Sequence[str] = BATHS) -> np.ndarray:
    """Return the quanta per time into each of the baths."""
    return np.array([float(result.expect(bath_flow(result.model, bath))) for bath in baths])
