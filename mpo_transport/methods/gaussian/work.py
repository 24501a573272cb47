"""What ``prepare`` makes: the moment equations in the form in which they are solved, their solution, transients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg as sl

from ...errors import NotSupportedError, UnstableError
from ...lattice import Lattice
from ...model import Lindbladian
from ...states import GaussianState
from ...states.gaussian_ring import RingGaussianState
from ...superoperator.quadratic import QuadraticForm
from .lyapunov import LyapunovSolution, NotStable, batched_lyapunov, factorised, lyapunov, residual_of
from .ring import RingEquations, ring_equations
from .stability import describe_mode, refuse_spectrum
from .transient import Transition, transition

__all__ = ["Solution", "Work", "solve_ring"]

_ALWAYS_CORRECTED = 640  # up to this size the error is always estimated by a correction
_KEPT_TRANSITIONS = 3


@dataclass(frozen=True, eq=False)
class Solution:
    """A steady state with what is known about it.

    ``residual`` is |X sigma + sigma X^T + D|_F / |D|_F, ``rate_of_n`` the largest |d<N_j>/dt|, ``error`` the estimate
    of the largest error of a moment, ``decay`` the slowest decay rate of an amplitude (None: not computed).
    """

    state: GaussianState
    residual: float
    rate_of_n: float
    error: float
    decay: float | None
    steps: int
    refinements: int

    def numbers(self) -> Mapping[str, Any]:
        """Return everything but the state."""
        names = ("residual", "rate_of_n", "error", "decay", "steps", "refinements")
        return {name: getattr(self, name) for name in names}


@dataclass(eq=False)
class Work:
    """Everything that follows from the model."""

    model: Lindbladian
    form: QuadraticForm
    tol: float
    rtol: float
    solver: str
    task: str = "steady_state"
    transitions: dict[tuple[str, float], Transition] = field(default_factory=dict)

    @cached_property
    def ring(self) -> RingEquations | None:
        """The equations per wave number, or None."""
        return ring_equations(self.form)

    @cached_property
    def kind(self) -> str:
        """The solver of the steady state: "ring", "number" or "dense"."""
        if self.solver == "ring" and self.ring is None:
            raise NotSupportedError(
                "Argument `solver` is 'ring', but the model is no ring of equal cells (up to phases); use 'auto'.",
                field="solver",
            )
        if self.solver == "number" and not self.form.conserves_number:
            raise NotSupportedError(
                "Argument `solver` is 'number', but the model has pairing, drive or squeezed jumps; use 'auto'.",
                field="solver",
            )
        if self.solver != "auto":
            return self.solver
        if self.ring is not None:
            return "ring"
        return "number" if self.form.conserves_number else "dense"

    @property
    def sign(self) -> int:
        """Symmetry of the real covariance: 1 for bosons, -1 for fermions."""
        return 1 if self.form.statistics == "boson" else -1

    # -- steady state -------------------------------------------------------------------------------------------------

    def solve(self) -> Solution:
        """Return the steady state.

        Raises
        ------
        UnstableError
            If a mode grows or is not damped.
        """
        if self.kind == "ring":
            assert self.ring is not None
            return solve_ring(self.ring, self.model.lattice)
        return self._solve_number() if self.kind == "number" else self._solve_dense()

    def _solve_dense(self) -> Solution:
        form, L = self.form, self.form.L
        drift, noise, drive = form.sparse_moments()
        dense = drift.toarray()
        found, decay = self._lyapunov(drift, noise, dense, self.sign)
        means = -sl.solve(dense, drive, check_finite=False) if np.any(drive) else None
        state = GaussianState(form.lattice, means, found.matrix)
        rest = residual_of(drift, found.matrix, noise.toarray(), self.sign)
        n = np.arange(L)
        rate = (rest[n, n] + rest[L + n, L + n]) / 2 if self.sign == 1 else rest[n, L + n] / 2
        if means is not None and self.sign == 1:
            flow = drift @ means + drive
            rate = rate + means[:L] * flow[:L] + means[L:] * flow[L:]
        return Solution(state, found.residual, _largest(rate), found.error, decay, found.steps, found.refinements)

    def _solve_number(self) -> Solution:
        drift, gain = self.form.amplitudes()
        found, decay = self._lyapunov(drift, gain, drift, 1)
        rate = _largest(np.diagonal(residual_of(drift, found.matrix, gain)))
        state = GaussianState.from_amplitudes(self.form.lattice, found.matrix)
        return Solution(state, found.residual, rate, found.error, decay, found.steps, found.refinements)

    def _lyapunov(self, drift: Any, noise: Any, dense: np.ndarray, sign: int) -> tuple[LyapunovSolution, float | None]:
        """Return the solution and the slowest decay rate, where it is known; raise if a mode does not decay."""
        factor = factorised(dense)
        values, decay = factor.eigenvalues, None
        if values is not None:
            try:
                refuse_spectrum(values, self.form.statistics, "")
            except UnstableError:
                self._refuse(dense)
            decay = float(-values.real.max(initial=-np.inf))
        try:
            found = lyapunov(drift, noise, rtol=self.rtol, sign=sign, factor=factor, bound=self._bound(noise, sign))
        except NotStable:
            self._refuse(dense)
            raise
        return found, decay

    def _bound(self, noise: Any, sign: int) -> Callable[[np.ndarray, np.ndarray], float] | None:
        """Return a bound of the error of a large solution, where the noise is positive definite.

        The error is the integral of e^{Xt} R e^{X^T t}, so |error| <= |R|_2 |S|_2 / d if the noise is at least d.
        """
        if sign != 1 or noise.shape[0] <= _ALWAYS_CORRECTED or not hasattr(noise, "toarray"):
            return None
        diagonal = noise.diagonal()
        least = float((diagonal - (abs(noise).sum(axis=1) - np.abs(diagonal))).min())  # Gershgorin
        if least <= 0:
            return None

        def bound(solution: np.ndarray, residual: np.ndarray) -> float:
            size = min(np.linalg.norm(solution), np.abs(solution).sum(axis=1).max())
            value = float(np.linalg.norm(residual) * size / least)
            return value if value <= 0.1 * self.tol else np.inf

        return bound

    def _refuse(self, drift: np.ndarray) -> None:
        """Raise with the name of the mode that does not decay."""
        values, where = describe_mode(drift, self.form.L)
        refuse_spectrum(values, self.form.statistics, where)
        raise UnstableError(
            f"The slowest decay rate, {-values.real.max():.3g}{where}, is too small for the steady state to be found "
            "in double precision; add loss there, or use `evolve`.",
            field="model",
        )

    # -- transients ---------------------------------------------------------------------------------------------------

    def transient_kind(self, state: GaussianState) -> str:
        """Return the form of the equations that an initial state allows."""
        if isinstance(state, RingGaussianState) and self.solver in ("auto", "ring") and self._fits_ring(state):
            return "ring"
        L, c = self.form.L, state.covariance
        balanced = not state.has_means and bool(
            np.allclose(c[:L, :L], c[L:, L:], atol=1e-14) and np.allclose(c[:L, L:], -c[L:, :L], atol=1e-14)
        )
        if self.form.conserves_number and balanced and self.solver in ("auto", "number"):
            return "number"
        return "dense"

    def _fits_ring(self, state: RingGaussianState) -> bool:
        ring = self.ring
        return ring is not None and ring.cell == state.cell and np.allclose(ring.phases, state.phases, atol=1e-12)

    def ring_start(self, initial: Any) -> RingGaussianState | None:
        """Return the vacuum of a ring in blocks, None where blocks do not apply."""
        if initial != "vacuum" or self.solver not in ("auto", "ring") or self.ring is None:
            return None
        m = self.ring.cell
        blocks = np.broadcast_to(0.5 * np.eye(2 * m), (self.ring.cells, 2 * m, 2 * m))
        return RingGaussianState(self.model.lattice, blocks, None, self.ring.phases)

    def moved(self, state: GaussianState, kind: str, span: float) -> tuple[GaussianState, int]:
        """Return the state a time ``span`` later, and the number of doublings of the time step."""
        step = self._transition(kind, span)
        return self._applied(step, state, kind), step.doublings

    def _applied(self, step: Transition, state: GaussianState, kind: str) -> GaussianState:
        lattice, L = self.form.lattice, self.form.L
        if kind == "ring":
            assert isinstance(state, RingGaussianState) and self.ring is not None
            blocks = step.covariance(state.blocks[: len(self.ring.half)])
            blocks = (blocks + blocks.conj().transpose(0, 2, 1)) / 2
            b = np.concatenate([state.amplitude, state.amplitude.conj()])
            b = (step.propagator[0] @ b + step.shift[0])[: self.ring.cell]
            return RingGaussianState(lattice, self.ring.completed(blocks), b, self.ring.phases)
        if kind == "number":
            i, j = np.indices((L, L))
            matrix = step.covariance(state.pair("+", j, "-", i))
            return GaussianState.from_amplitudes(lattice, (matrix + matrix.conj().T) / 2)
        sigma = step.covariance(state.covariance)
        means = step.means(state.means) if self.sign == 1 else None
        return GaussianState(lattice, means, (sigma + self.sign * sigma.T) / 2)

    def _transition(self, kind: str, span: float) -> Transition:
        key = (kind, span)
        if key not in self.transitions:
            while len(self.transitions) >= _KEPT_TRANSITIONS:
                self.transitions.pop(next(iter(self.transitions)))
            self.transitions[key] = transition(*self._equations(kind), span)
        return self.transitions[key]

    def _equations(self, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if kind == "ring":
            assert self.ring is not None
            drift = self.ring.blocks(self.ring.drift)
            drive = np.zeros(drift.shape[:2], dtype=complex)
            drive[0] = np.concatenate([self.ring.drive, self.ring.drive.conj()])
            return drift, self.ring.blocks(self.ring.noise), drive
        if kind == "number":
            drift, gain = self.form.amplitudes()
            return drift, gain, np.zeros(len(drift), dtype=complex)
        moments = self.form.moments()
        return moments.drift, moments.diffusion, moments.drive


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0.0))


def solve_ring(ring: RingEquations, lattice: Lattice) -> Solution:
    """Return the steady state of a ring, one block per wave number.

    Raises
    ------
    UnstableError
        If a mode grows or is not damped; the message names its wave number.
    """
    drift, noise = ring.blocks(ring.drift), ring.blocks(ring.noise)
    values = np.linalg.eigvals(drift)
    worst = int(values.real.max(axis=1).argmax())
    where = f", wave number {'+-' if worst else ''}2 pi x {worst}/{ring.cells}"
    refuse_spectrum(values.ravel(), "boson", where)
    blocks, error = batched_lyapunov(drift, noise)
    half = drift @ blocks
    rest = half + half.conj().transpose(0, 2, 1) + noise
    scale = max(float(np.linalg.norm(noise)), 1e-300)
    state = RingGaussianState(lattice, ring.completed(blocks), ring.amplitude(), ring.phases)
    residual, rate = float(np.linalg.norm(rest)) / scale, _largest(np.diagonal(rest.mean(axis=0)))
    return Solution(state, residual, rate, error, float(-values.real.max()), 1, 1)
