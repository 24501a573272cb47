"""Real propagators of local generators in the Hermitian basis."""

from __future__ import annotations

import numpy as np
import scipy.linalg as sla

from ..errors import InputError

__all__ = ["gate", "spectral_radius"]


def gate(generator: np.ndarray, dt: float) -> np.ndarray:
    """Return exp(generator dt), real, same shape.

    Raises
    ------
    InputError
        If the exponential overflows: the step is far too large for the generator (field ``dt``).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        out = sla.expm(generator * dt)
    if not np.all(np.isfinite(out)):
        raise InputError(
            f"Argument `dt` = {dt:g} makes the first step overflow (largest rate of a local generator "
            f"{spectral_radius(generator):.3g}); use a smaller step.",
            field="dt",
        )
    return out


def spectral_radius(generator: np.ndarray) -> float:
    """Return the largest modulus of an eigenvalue of a local generator (the stiffest local rate)."""
    return float(np.abs(np.linalg.eigvals(generator)).max()) if generator.size else 0.0
