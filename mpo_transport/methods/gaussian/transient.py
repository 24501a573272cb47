"""Exact transients of means and covariances: x(t + s) = E x(t) + g,  S(t + s) = E S(t) E^+ + W.

    E = exp(F s),   g = int_0^s exp(F u) f du,   W = int_0^s exp(F u) Q exp(F u)^+ du

from Taylor series over a short time and doubling, W(2h) = W(h) + E(h) W(h) E(h)^+; stable or not.
C. F. Van Loan, IEEE Trans. Autom. Control 23, 395 (1978).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Transition", "transition"]

_ORDER = 22
_SHORT = 0.5


@dataclass(frozen=True, eq=False)
class Transition:
    """E (..., n, n), W (..., n, n) and g (..., n) of one time span, and the number of doublings."""

    propagator: np.ndarray
    noise: np.ndarray
    shift: np.ndarray
    doublings: int

    def covariance(self, sigma: np.ndarray) -> np.ndarray:
        """Return E S E^+ + W, of the symmetry of S and W."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.propagator @ sigma @ _adjoint(self.propagator) + self.noise)

    def means(self, x: np.ndarray) -> np.ndarray:
        """Return E x + g."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray((self.propagator @ x[..., None])[..., 0] + self.shift)


def transition(drift: np.ndarray, noise: np.ndarray, drive: np.ndarray, span: float) -> Transition:
    """Return the transition of a time ``span`` >= 0 for drift and noise (..., n, n) and drive (..., n).

    >>> step = transition(np.array([[-1.0]]), np.array([[2.0]]), np.array([3.0]), math.log(2))
    >>> step.propagator.round(12), step.noise.round(12), step.shift.round(12)
    (array([[0.5]]), array([[0.75]]), array([1.5]))
    """
    size = float(np.abs(drift).sum(axis=-2).max(initial=0.0)) * span
    doublings = max(0, math.ceil(math.log2(size / _SHORT))) if size > _SHORT else 0
    h = span / 2.0**doublings
    dtype = np.result_type(drift, noise, drive)
    n = drift.shape[-1]
    propagator = np.broadcast_to(np.eye(n, dtype=dtype), drift.shape).copy()
    total, shift = np.zeros(drift.shape, dtype=dtype), np.zeros(drive.shape, dtype=dtype)
    power, moment, force = propagator, noise * h, drive * h
    for k in range(1, _ORDER + 1):
        total, shift = total + moment, shift + force
        power = (h / k) * (drift @ power)
        propagator = propagator + power
        moment = (h / (k + 1)) * (drift @ moment + moment @ _adjoint(drift))
        force = (h / (k + 1)) * (drift @ force[..., None])[..., 0]
    with np.errstate(over="ignore", invalid="ignore"):  # growth beyond all numbers is noticed in the state
        for _ in range(doublings):
            total = total + propagator @ total @ _adjoint(propagator)
            shift = shift + (propagator @ shift[..., None])[..., 0]
            propagator = propagator @ propagator
    return Transition(propagator, total, shift, doublings)


def _adjoint(stack: np.ndarray) -> np.ndarray:
    return np.asarray(np.swapaxes(stack, -1, -2).conj())
