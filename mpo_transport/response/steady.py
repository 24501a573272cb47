"""The Gaussian steady state of a quadratic model."""

from __future__ import annotations

from ..methods.gaussian import Gaussian
from ..model import Lindbladian
from ..solve import steady_state
from ..states.gaussian import GaussianState

__all__ = ["stationary_state"]

_TOL = 1e-9


def stationary_state(model: Lindbladian) -> GaussianState:
    """Return the Gaussian steady state.

    Raises
    ------
    NotSupportedError
        If the model is not quadratic, or a mode is not damped (:class:`~mpo_transport.errors.UnstableError`).
    """
    state = steady_state(model, Gaussian(), tol=_TOL, on_failure="return", progress=False).state
    assert isinstance(state, GaussianState)
    return state
