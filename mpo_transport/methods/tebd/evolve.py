"""Time evolution with a controlled step and bond dimensions that follow the state."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError
from ...model import Lindbladian
from ...result import Certificate, Status
from ...states import MPOState
from ..base import Diagnostics, Iterate
from .measure import difference, profile
from .plan import Plan, overflow_sentence
from .window import Truncator, run_passes

__all__ = ["Evolution"]

# Parts of the tolerance granted to the time step and to truncation, over the whole evolution.
STEP_SHARE = 0.3
TRUNCATION_SHARE = 0.3
LARGEST_CUTOFF = 1e-8
# Steps between two tests of the step length, and work per call in floating-point operations.
TEST_EVERY = 16
CHUNK = 2.5e10
LARGEST_STEP = 8.0
HUGE = 1e60


@dataclass
class Evolution:
    """Everything fixed during a time evolution; ``horizon`` is the last time that will be asked for."""

    model: Lindbladian
    plan: Plan
    tol: float
    order: int
    dt: float | None
    max_bond: int
    cutoff: float | None
    horizon: float = 0.0

    def begin(self, state: MPOState) -> Iterate:
        """Return the iterate at time 0."""
        state, _ = state.canonicalise(0).compress(self.max_bond)
        scalars: dict[str, Any] = {
            "time": 0.0,
            "dt": self.dt,
            "target": None,
            "step": 0.0,
            "error rate": 0.0,
            "steps left": 0,
            "until test": 0,
            "time step error": 0.0,
            "accumulated discarded weight": 0.0,
            "discarded weight": 0.0,
            "trace": 1.0,
        }
        return Iterate(state, 0, scalars)

    def propagate(self, iterate: Iterate, time: float) -> tuple[Iterate, Diagnostics]:
        """Move towards ``time``; done (status converged) when it is reached exactly."""
        s = dict(iterate.scalars)
        if not math.isfinite(time) or time < s["time"]:
            raise InputError(
                f"Argument `times` must ascend and be finite, but {time!r} follows {s['time']!r}.", field="times"
            )
        if time == s["time"]:
            return iterate, Diagnostics(Status.CONVERGED, self._measures(s, iterate), self._message(s, iterate), 1.0)
        state = iterate.state
        assert isinstance(state, MPOState)
        error_rate = s["error rate"]
        if s["target"] != time or (self.dt is None and s["until test"] <= 0):
            if self.dt is None:
                horizon = max(self.horizon, time)
                s["dt"], error_rate = self._step_length(state, s["dt"], time - s["time"], horizon)
                s["until test"], s["error rate"] = TEST_EVERY, error_rate
            # equal steps of at most dt that end exactly at the requested time
            s["target"], s["steps left"] = time, max(1, math.ceil((time - s["time"]) / s["dt"] - 1e-9))
            s["step"] = (time - s["time"]) / s["steps left"]
        step = s["step"]
        bond = max(8, *state.bond_dimensions) if state.L > 1 else 1
        chunk = max(1, int(CHUNK / (10 * max(self.plan.flops_per_step(bond, self.order, 2), 1.0))))
        steps = min(s["steps left"], chunk, max(s["until test"], 1) if self.dt is None else s["steps left"])
        moved, weights = self._evolve(state, step, steps)
        finite = np.abs(moved.tensors[moved.centre or 0]).max() < HUGE
        trace = moved.trace() if finite else math.inf
        if not math.isfinite(trace) or trace <= 0:
            if iterate.step == 0 and self.dt is not None:
                raise InputError(overflow_sentence(self.dt, self.plan.rate), field="dt")
            return iterate, Diagnostics(Status.NOT_FINITE, {"time": s["time"]}, "numbers overflowed")
        s["steps left"] -= steps
        s["until test"] -= steps
        s["time"] = time if s["steps left"] == 0 else s["time"] + steps * step
        s["time step error"] += error_rate * steps * step
        s["accumulated discarded weight"] += float(weights.sum())
        s["discarded weight"] = float(weights.max(initial=0.0))
        s["trace"] *= trace
        if s["steps left"] == 0:
            s["target"] = None
        out = dataclasses.replace(iterate, state=moved.scale(1 / trace), step=iterate.step + 1, scalars=s)
        status = Status.CONVERGED if s["time"] == time else None
        fraction = s["time"] / time if time else None
        return out, Diagnostics(status, self._measures(s, out), self._message(s, out), fraction)

    def _evolve(self, state: MPOState, step: float, steps: int) -> tuple[MPOState, np.ndarray]:
        tensors = list(state.tensors)
        centre = state.centre or 0
        weights = np.zeros(max(len(tensors) - 1, 0))
        how = Truncator(self.max_bond, self._cutoff(step, len(weights)), 1, True, weights, accumulate=True)
        dims = [t.shape[1] for t in tensors]
        with np.errstate(all="ignore"):
            centre = run_passes(tensors, dims, centre, self.plan.passes(step, self.order, steps), how)
        return MPOState(state.lattice, tuple(tensors), state.order, centre), weights

    def _cutoff(self, step: float, bonds: int) -> float:
        """Return the weight that one truncation may discard: all together, up to the horizon, (share x tol)^2."""
        if self.cutoff is not None:
            return self.cutoff
        truncations = max(bonds, 1) * len(self.plan.passes_per_step(self.order)) * max(self.horizon / step, 1.0)
        return min((TRUNCATION_SHARE * self.tol) ** 2 / truncations, LARGEST_CUTOFF)

    def _excess(self, weights: np.ndarray, step: float, steps: int) -> float:
        """Return the weight discarded because of the largest bond dimension, beyond what the cutoff may discard."""
        granted = self._cutoff(step, len(weights)) * len(self.plan.passes(step, self.order, steps)) * len(weights)
        return max(float(weights.sum()) - granted, 0.0)

    def _step_length(
        self, state: MPOState, guess: float | None, remaining: float, horizon: float
    ) -> tuple[float, float]:
        """Return a step whose error, accumulated over ``horizon``, stays within its share, and the error per time."""
        rate = self.plan.rate
        if self.plan.kind == "exact" or rate == 0:
            return remaining, 0.0
        largest = LARGEST_STEP / rate
        step = min(guess * 1.5 if guess else largest * min(1.0, (self.tol / 1e-3) ** (1 / self.order)), largest)
        allowed = STEP_SHARE * self.tol / horizon
        for _ in range(12):
            h = min(step, remaining)
            one, first = self._evolve(state, h, 1)
            two, second = self._evolve(state, h / 2, 2)
            error = difference(profile(one), profile(two)) * 2**self.order / (2**self.order - 1) / h
            cut = self._excess(first, h, 1) + self._excess(second, h / 2, 2)
            if error <= max(allowed, math.sqrt(cut) / h):  # a shorter step would cut more often, and not be better
                return step, error
            factor = 0.9 * (allowed / error) ** (1 / self.order) if math.isfinite(error) else 0.25
            step = h * min(max(factor, 0.2), 0.9)
        return step, error

    def _measures(self, s: dict[str, Any], iterate: Iterate) -> dict[str, float | None]:
        return {
            "time": s["time"],
            "dt": s["dt"],
            "bond_dimension": float(self._bond(iterate)),
            "discarded_weight": s["discarded weight"],
            "trace": s["trace"],
        }

    @staticmethod
    def _bond(iterate: Iterate) -> int:
        assert isinstance(iterate.state, MPOState)
        return max(iterate.state.bond_dimensions, default=1)

    def _message(self, s: dict[str, Any], iterate: Iterate) -> str:
        dt = "-" if s["dt"] is None else f"{s['dt']:.3g}"
        return f"t = {s['time']:.4g}, dt = {dt}, bond {self._bond(iterate)}"

    def certify(self, iterate: Iterate, residual: float, bond: int) -> Certificate:
        """Return what is known about the state reached."""
        s = iterate.scalars
        lost = float(s["accumulated discarded weight"])
        parts = {"time step": float(s["time step error"]), "truncation": math.sqrt(lost)}
        known = self.dt is None
        return Certificate(
            residual=residual,
            trace=float(s["trace"]),
            discarded_weight=float(s["discarded weight"]),
            bond_dimension=bond,
            saturated=bond >= self.max_bond and lost > 0,
            error_estimate=sum(parts.values()) if known else None,
            error_parts=parts if known else {"truncation": parts["truncation"]},
        )
