"""The paper, its parameters, and the exact solution that the effective theory is compared with."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from ...methods.gaussian import Gaussian
from ...models import optomechanical_ring
from ...operators import op
from ...reference.optomechanical_exact import FullRing
from ...reference.optomechanical_lattices import EffectiveRing
from ..base import FigureData, Paper, solve

__all__ = [
    "CAPTION",
    "COUPLING",
    "HALF",
    "PAPER",
    "exact_populations",
    "full_ring",
    "parameters",
    "ring",
    "solved_sigma",
]

PAPER = Paper(
    "optomechanical-lattices",
    "Z. Denis, A. Biella, I. Favero, C. Ciuti, Permanent directional heat currents in lattices of optomechanical "
    "resonators, Phys. Rev. Lett. 124, 083601 (2020), arXiv:1910.09878",
)

# The values of the captions, omega_m = 1: G_abs = g |alpha| with g = 2e-3 and |alpha|^2 = 100.
CAPTION: dict[str, Any] = {
    "L": 8,
    "phi": 2 * math.pi / 8,
    "G_abs": 0.02,
    "gamma_c": 0.1,
    "gamma_m": 1e-3,
    "nbar": 100.0,
}

HALF = (
    "currents in the normalisation of the paper, half the physical pair current (a double sum counts every pair twice)"
)
COUPLING = (
    "G_abs = g |alpha| = 0.02 from the caption values; the axis of Fig. 3 and the printed errors of Fig. S1 belong to "
    "G_abs = 0.01"
)


def ring(J: float, Dt: float, **changes: Any) -> EffectiveRing:
    """Return the effective ring at the caption values, with the light eliminated."""
    return EffectiveRing(**{**CAPTION, **changes}, J=J, Dt=Dt)


def full_ring(effective: EffectiveRing) -> FullRing:
    """Return the linearised model with the light kept, k by k."""
    return FullRing(effective)


def exact_populations(effective: EffectiveRing) -> np.ndarray | None:
    """Return n_k of the full linearised model; None where it is unstable."""
    full = full_ring(effective)
    return full.n_k if full.is_stable else None


def solved_sigma(data: FigureData, effective: EffectiveRing) -> np.ndarray:
    """Return <d_0^+ d_p>, p = 0 .. L-1, of the full model from its Lindbladian by the Gaussian method."""
    model = optomechanical_ring(
        effective.L, effective.phi, J=effective.J, Dt=effective.Dt, G_abs=effective.G_abs, gamma_c=effective.gamma_c,
        gamma_m=effective.gamma_m, nbar=effective.nbar, omega_m=effective.omega_m, picture="full",
    )  # fmt: skip
    result = solve(data, model, Gaussian(), tol=1e-6)
    return np.array([result.expect(op("Adag", 1) * op("A", 2 * p + 1)) for p in range(effective.L)])


def parameters(**more: Any) -> dict[str, Any]:
    """Return the caption values for the header of a table."""
    return {"omega_m": 1.0, **CAPTION, "phi": "2 pi/8", **more}


def populations_of(sigma: np.ndarray) -> np.ndarray:
    """Return n_k of sigma_{0,p}."""
    return np.fft.fft(sigma).real


def with_coupling(effective: EffectiveRing, **changes: Any) -> EffectiveRing:
    """Return the ring with other parameters."""
    return dataclasses.replace(effective, **changes)
