"""What a Gaussian solution says about itself."""

from __future__ import annotations

import numpy as np

from ...result import Certificate, Status
from ...states import GaussianState
from ...states.gaussian_ring import RingGaussianState
from ..base import Iterate
from .work import Work

__all__ = ["certificate_of", "status_of"]

_SPECTRUM_LIMIT = 200
_ALLOWED = 1e-9  # violation of the uncertainty relation that rounding may cause, relative to the largest moment
_EPS = float(np.finfo(float).eps)


def certificate_of(work: Work, iterate: Iterate) -> Certificate:
    """Return residual, error estimate, uncertainty relation, stability and remarks of a steady state or a transient."""
    state, numbers = iterate.state, iterate.scalars
    assert isinstance(state, GaussianState)
    notes: list[str] = []
    if any(s.is_bounded and s.kind == "boson" for s in state.lattice.spaces):
        notes.append("the cutoff of the modes was ignored: this is the answer of unbounded modes")
    slack = uncertainty_slack(state)
    if slack is None:
        notes.append(f"uncertainty relation: {'holds' if is_physical(state, 0.0) else 'VIOLATED'} (Cholesky factor)")
    else:
        what = "smallest symplectic eigenvalue - 1/2" if state.statistics == "boson" else "1 - largest |lambda|"
        notes.append(f"uncertainty relation: {what} = {slack:.3g}")
    if "residual" not in numbers:
        error = _transient_error(work, iterate)
        return Certificate(
            trace=1.0,
            hermiticity=0.0,
            error_estimate=error,
            error_parts={"rounding": error},
            notes=(f"equations: {numbers.get('kind', 'not solved yet')}", *notes),
        )
    how = "Schur form" if numbers["steps"] == 1 else f"{numbers['steps']} steps to the matrix sign"
    steps = f"{how}, {numbers['refinements']} refinement(s)"
    solver = {"ring": "one block per wave number", "number": f"complex matrix of amplitudes, {steps}"}
    notes.insert(0, f"solver: {numbers['solver']} ({solver.get(numbers['solver'], f'real quadratures, {steps}')})")
    notes.insert(1, "the residual is that of the moments, |X sigma + sigma X^T + D| / |D|")
    decay = numbers["decay"]
    notes.append(
        f"stable: the slowest amplitude decays at the rate {decay:.6g}"
        if decay is not None
        else "stable: the matrix sign of the drift is -1"
    )
    return Certificate(
        residual=float(numbers["residual"]),
        trace=1.0,
        hermiticity=0.0,
        identity_residual=float(numbers["rate_of_n"]),
        error_estimate=float(numbers["error"]),
        error_parts={"residual of the moments": float(numbers["error"])},
        null_space=1,
        notes=tuple(notes),
    )


def uncertainty_slack(state: GaussianState) -> float | None:
    """Return how far the state is from violating the uncertainty relation; None where that would cost too much."""
    if state.L <= _SPECTRUM_LIMIT or isinstance(state, RingGaussianState):
        return state.uncertainty_slack
    return None


def is_physical(state: GaussianState, error: float) -> bool:
    """Return whether the uncertainty relation holds up to an error of the moments and to rounding."""
    scale = 1.0 if isinstance(state, RingGaussianState) else float(np.abs(state.covariance).max())
    allowed = max(_ALLOWED * max(scale, 1.0), error)
    slack = uncertainty_slack(state)
    return state.satisfies_uncertainty(allowed) if slack is None else slack >= -allowed


def status_of(work: Work, iterate: Iterate) -> Status:
    """Return how the solution ended: within the tolerance, not, or no state at all."""
    state = iterate.state
    assert isinstance(state, GaussianState)
    error = float(iterate.scalars["error"])
    if not is_physical(state, 10 * error):
        return Status.UNPHYSICAL
    return Status.CONVERGED if error <= work.tol else Status.NOT_CONVERGED


def _transient_error(work: Work, iterate: Iterate) -> float:
    """Every doubling of the time step adds the rounding of three products."""
    state = iterate.state
    assert isinstance(state, GaussianState)
    scale = 1.0
    if isinstance(state, RingGaussianState):
        scale = max(scale, float(np.abs(state.blocks).max()))
    else:
        scale = max(scale, float(np.abs(state.covariance).max()))
    return float(_EPS * scale * (iterate.step + 1) * (8 + float(iterate.scalars.get("doublings", 0))))
