"""The road to a steady state: stages of evolution, each judged at regular checks.

The state being evolved is the *main* state or, at the end, a coarser *companion* that shows one part of the error.  All
that is needed to go on is kept in the iterate, so that a restarted run does the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError
from ...model import Lindbladian
from ...result import Status
from ...states import MPOState
from ..base import Diagnostics, Iterate
from .companions import (
    REFERENCE,
    keep_references,
    matching,
    put_in,
    take_out,
    time_step_is_stale,
    unpacked,
    without_references,
)
from .graded import Parity
from .measure import difference, enlarge, profile
from .parts import SLOW_DECAY, cautious, has_slow_mode, measure_parts
from .plan import Pass, Plan, overflow_sentence
from .progress import PARTS, Progress
from .schedule import (
    RELAXATION_SAFETY,
    Action,
    Level,
    Limits,
    Relaxation,
    decide,
    time_step_weight,
    truncation_weight,
)
from .window import Truncator, run_passes

__all__ = ["Engine", "Progress"]

# Lambda dt of the first stages, and time between checks in units of 1/Lambda.
COARSE_STEP = 8.0
FIRST_INTERVAL = 32.0
# Share of a difference, and of the tolerance, down to which a stage relaxes.
RELAXED = 0.15
RELAXED_TOL = 0.1
# The former while the difference is this many tolerances: what is not relaxed then would be taken for the next one.
RELAXED_FAR, FAR = 0.02, 30.0
SMALL_BOND = 16  # short chains whose exact bond dimension is at most this start there
TINY_WEIGHT = 1e-8  # below this discarded weight one pass of the range finder is enough
# Work per advance, in floating-point operations (a second or two).
CHUNK = 2.5e10
# An expectation value of an operator of norm 1 beyond this: the step is unstable.
DIVERGED = 5.0
# Entries beyond this (of states of trace 1) are on the way to an overflow.
HUGE = 1e60
# Share of the unrest of a coarse state by truncation, sqrt(discarded weight), that is not waited for.
UNREST = 0.3


@dataclass
class Engine:
    """Everything fixed during a run: model, plan, limits and knobs."""

    model: Lindbladian
    plan: Plan
    limits: Limits
    order: int
    initial_bond: int
    cutoff: float | None
    iterations: int | None
    max_time: float
    seed: int
    parity: Parity | None = None
    slowest: float | None = None
    # whether the parts of the error are taken one after the other, see :func:`~.schedule.decide`
    separable: ClassVar[bool] = True

    def _quick(self, p: Progress) -> bool:
        """Whether slow modes need no more care than usual."""
        return self.separable and not has_slow_mode(p, self.plan.rate)

    def _cautious(self, p: Progress, weight: float) -> float:
        return cautious(p, weight, self.plan.rate) if self.separable else weight

    # -- starting -----------------------------------------------------------------------------------------------------

    @property
    def step_limit(self) -> float:
        """The largest time step used: 8/Lambda."""
        return COARSE_STEP / self.plan.rate if self.plan.rate > 0 else 1.0

    def begin(self, state: MPOState, *, coarse: bool) -> Iterate:
        """Return the first iterate from a state in the order of the plan."""
        state, _ = state.compress(self.limits.max_bond)
        cap = self.limits.bond or self.limits.max_bond
        bond = max(self.initial_bond, max(state.bond_dimensions, default=1))
        if self.limits.exact_bond <= SMALL_BOND:  # so close to the end discarded weights say little
            bond = self.limits.exact_bond
        bond = min(bond, cap)
        level = Level(self.limits.dt or self.step_limit, self.order, bond)
        if coarse:
            level = Level(self.step_limit, 2, bond)
        progress = Progress(level, self._record(level, None), stage=0 if coarse else 1)
        state = self._fit(state, bond, 0)
        return Iterate(state, 0, {"tebd": progress.to_json(), "time": 0.0}, {"profile": self._profile(state)})

    def _record(self, level: Level, previous: Relaxation | None, *, refined: bool = False) -> Relaxation:
        """Return an empty record of drifts with a suitable interval, a whole number of steps."""
        slowest = previous.slowest if previous else self.slowest
        wish = FIRST_INTERVAL / self.plan.rate if self.plan.rate > 0 else 1.0
        if slowest is not None:
            wish = max(wish, 0.7 / slowest)
        if slowest is not None and refined:  # the slowest mode is known well enough not to wait longer than it takes
            wish = min(wish, 1.5 / slowest)
        steps = max(1, round(wish / level.dt))
        return Relaxation(steps * level.dt, slowest=slowest)

    def _fit(self, state: MPOState, bond: int, stage: int) -> MPOState:
        """Return the state with all bonds brought to ``bond`` (or what is useful), centre 0."""
        bounds = self.plan.bond_bounds(bond)
        if self.parity is not None:
            graded = self.parity.fit(state.tensors, bounds, self.seed + 7919 * stage)
            if graded is not None:
                return MPOState(state.lattice, tuple(graded), state.order, 0)
        if max(state.bond_dimensions, default=1) > bond:
            state, _ = state.compress(bond)
        if self._use_svd:
            return state.canonicalise(0)
        tensors = enlarge(state.tensors, state.centre, bounds, self.seed + 7919 * stage)
        return MPOState(state.lattice, tuple(tensors), state.order, 0)

    def _rebalanced(self, iterate: Iterate, p: Progress) -> Iterate:
        """Divide the bonds into even and odd anew, now that the state at this level shows what it needs."""
        state = self._main_state(iterate)
        fitted = self._fit(state, p.level.bond, iterate.step)
        same = self.parity is None or self.parity.same_bonds(state, fitted)
        return iterate if same else dataclasses.replace(iterate, state=fitted)

    @property
    def _use_svd(self) -> bool:
        return self.plan.uses_swaps or self.cutoff is not None

    def _mixed(self) -> MPOState:
        """Return the state from which an unstable run starts anew."""
        return MPOState.mixed(self.model.lattice, self.plan.order)

    @staticmethod
    def _profile(state: Any) -> np.ndarray:
        """Return the local expectation values by which drifts and differences are judged."""
        return profile(state)

    # -- one piece of work --------------------------------------------------------------------------------------------

    def advance(self, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        """Evolve for a second or so, if need be by a piece of a step; at the end of an interval judge and decide."""
        p = Progress.from_json(iterate.scalars["tebd"])
        iterate, begun, cut = take_out(iterate)
        state = iterate.state if p.role == "main" else iterate.companions[p.role][0]
        assert isinstance(state, MPOState)
        per_check = max(1, round(p.relaxation.interval / p.level.dt))
        passes = 1 if p.level.order == 4 and self.iterations is None else self.iterations or 1
        work = max(self.plan.flops_per_step(p.level.bond, p.level.order, passes), 1.0)
        steps = min(max(1, int(CHUNK / work)), per_check - p.since)
        full = p.since + steps == per_check
        pieces = min(math.ceil(work / CHUNK), len(self.plan.passes_per_step(p.level.order)))
        if pieces > 1:
            tensors, centre, weights = self._evolve_piece(begun or state, p, pieces, cut, measure=full)
        else:
            tensors, centre, weights = self._evolve(state, p, steps, measure=full)
        size = float(np.abs(tensors[centre]).max())
        if not 0 < size < HUGE:
            return self._diverged(iterate, p)
        moved = MPOState(state.lattice, tuple(tensors), state.order, centre)
        if p.piece + 1 < pieces:
            p.piece += 1
            return put_in(iterate, p, moved, weights), Diagnostics(None, {}, self._message(p), self._fraction(p))
        p.piece = 0
        p.since += steps
        p.time += steps * p.level.dt
        if not full:
            return self._replace(iterate, p, moved), Diagnostics(None, {}, self._message(p), self._fraction(p))
        p.since = 0
        trace = moved.trace()
        new_profile = self._profile(moved)
        if not np.isfinite(trace) or not trace > 0 or not difference(new_profile, 0 * new_profile) < DIVERGED:
            return self._diverged(iterate, p)
        if p.role == "main":
            p.trace = trace
        if weights is not None:
            p.weight, p.total_weight = float(weights.max(initial=0.0)), float(weights.sum())
        out = self._replace(iterate, p, moved.scale(1 / trace))
        arrays = dict(out.arrays)
        if p.role == "main" and weights is not None:
            arrays["discarded weight"] = weights
        out = dataclasses.replace(out, arrays=arrays)
        return self._judge(out, p, state, new_profile)

    def _evolve(
        self, state: MPOState, p: Progress, steps: int, *, measure: bool
    ) -> tuple[list[np.ndarray], int, np.ndarray | None]:
        """Return tensors and centre after ``steps`` steps, and the discarded weights of the last one if asked."""
        tensors, dims, centre = unpacked(state)
        weights = np.zeros(max(len(tensors) - 1, 0)) if measure else None
        how = self._truncator(p)
        last = 1 if measure else 0
        dt, order = p.level.dt, p.level.order
        most = self.plan.passes(dt, order, steps - last) if steps > last else []
        weighed = self.plan.passes(dt, order, 1) if measure else []
        with np.errstate(all="ignore"):
            bonds = self._bonds(tensors, centre)
            centre = self._run(tensors, dims, centre, most, how, bonds)
            how.weights = weights
            centre = self._run(tensors, dims, centre, weighed, how, bonds)
        return tensors, centre, weights

    def _bonds(self, tensors: list[np.ndarray], centre: int) -> Any:
        """Return how the bonds are divided if the state is in blocks, None if it is not; passes leave this alone."""
        if self.parity is None or centre not in (0, len(tensors) - 1):
            return None
        return self.parity.bonds(tensors, centre)

    def _run(
        self,
        tensors: list[np.ndarray],
        dims: list[int],
        centre: int,
        passes: Sequence[Pass],
        how: Truncator,
        bonds: Any,
    ) -> int:
        """Carry out passes in the layout that the state has."""
        if self.parity is not None and bonds is not None and passes:
            return self.parity.run(tensors, bonds, centre, passes, how.iterations, how.weights)
        return run_passes(tensors, dims, centre, passes, how)

    def _evolve_piece(
        self, state: MPOState, p: Progress, pieces: int, cut: np.ndarray | None, *, measure: bool
    ) -> tuple[list[np.ndarray], int, np.ndarray | None]:
        """Do the passes of one piece of a step, so that a run with large bonds can be stopped within the step."""
        tensors, dims, centre = unpacked(state)
        passes = self.plan.passes(p.level.dt, p.level.order, 1)
        first, last = (k * len(passes) // pieces for k in (p.piece, p.piece + 1))
        how = self._truncator(p)
        if measure:
            how.weights = np.zeros(max(len(tensors) - 1, 0)) if cut is None else cut.copy()
        with np.errstate(all="ignore"):
            centre = self._run(tensors, dims, centre, passes[first:last], how, self._bonds(tensors, centre))
        return tensors, centre, how.weights

    def _truncator(self, p: Progress) -> Truncator:
        iterations = self.iterations or (2 if (p.weight or 0.0) > TINY_WEIGHT and p.stage > 1 else 1)
        return Truncator(p.level.bond, self.cutoff or 0.0, iterations, self._use_svd)

    def _replace(self, iterate: Iterate, p: Progress, moved: MPOState) -> Iterate:
        companions = dict(iterate.companions)
        if p.role == "main":
            state: Any = moved
        else:
            state = iterate.state
            companions[p.role] = (moved, companions[p.role][1])
        scalars = {"tebd": p.to_json(), "time": p.time}
        return dataclasses.replace(iterate, state=state, step=iterate.step + 1, scalars=scalars, companions=companions)

    def _diverged(self, iterate: Iterate, p: Progress) -> tuple[Iterate, Diagnostics]:
        """An unstable step: refuse it, shorten it, or give up."""
        fixed = self.limits.dt is not None
        if p.role == "main" and fixed and p.stage <= 1 and p.level.dt == self.limits.dt:
            raise InputError(overflow_sentence(p.level.dt, self.plan.rate), field="dt")
        p.attempts += 1
        if p.attempts > 6 or (p.role == "main" and fixed and p.level.dt == self.limits.dt):
            return iterate, Diagnostics(Status.NOT_FINITE, {"time": p.time}, "numbers overflowed")
        if p.role != "main":  # a companion nearer to the main state
            assert p.main is not None
            p.level = dataclasses.replace(p.level, dt=(p.level.dt + p.main.dt) / 2)
            state = self._fit(self._main_state(iterate), p.level.bond, iterate.step)
        else:
            p.level = dataclasses.replace(p.level, dt=p.level.dt / 2, bond=min(self.initial_bond, p.level.bond))
            state = self._fit(self._mixed(), p.level.bond, iterate.step)
            p.levels, p.weights = {}, {}
            p.clean, p.parts = dict.fromkeys(PARTS), dict.fromkeys((*PARTS, "relaxation"))
        p.relaxation, p.since, p.piece = self._record(p.level, p.relaxation), 0, 0
        out = self._replace(iterate, p, state)
        out = dataclasses.replace(out, arrays={**out.arrays, "profile": self._profile(state)})
        if p.role == "main":
            out = dataclasses.replace(out, companions={})
        return out, Diagnostics(None, {"time": p.time, "dt": p.level.dt}, f"unstable step: dt -> {p.level.dt:.3g}")

    @staticmethod
    def _main_state(iterate: Iterate) -> MPOState:
        assert isinstance(iterate.state, MPOState)
        return iterate.state

    # -- judging ------------------------------------------------------------------------------------------------------

    def _judge(self, iterate: Iterate, p: Progress, before: MPOState, now: np.ndarray) -> tuple[Iterate, Diagnostics]:
        """Record the drift; at the end of a stage decide what comes next.  ``before``: the state a chunk earlier."""
        arrays = dict(iterate.arrays)
        drift = difference(now, arrays["profile"])
        p.relaxation.add(drift)
        arrays["profile"] = now
        companions = dict(iterate.companions)
        if p.role == "main":
            arrays["profile main"] = now
            p.wandering = p.relaxation.wandering(p.total_weight or 0.0)
        measure_parts(p, arrays, self.limits, self.plan.rate, separable=self.separable)
        remaining = p.parts["relaxation"]
        if p.role == "main" and remaining is not None and math.isfinite(remaining):
            # an earlier state of this stage, weighted such that the largest difference gives the estimate
            moved = difference(now, self._profile(before))
            companions["relaxation"] = (before, remaining / moved if moved > 0 else 0.0)
        if "truncation" in companions:
            companions["truncation"] = (companions["truncation"][0], p.weights["truncation"])
        iterate = dataclasses.replace(iterate, arrays=arrays, companions=companions)
        measures = self._measures(p, drift)
        status = None
        if self._relaxed(p, arrays) or p.relaxation.wandering(p.total_weight or 0.0):
            iterate, p, status = self._next(iterate, p)
        elif p.relaxation.too_slow():
            p.relaxation = p.relaxation.doubled()
        elif self.parity is not None and p.role == "main" and p.relaxation.checks == 1 and 0 < p.stage < 3:
            iterate = self._rebalanced(iterate, p)
        if status is None and p.time >= self.max_time:
            status = Status.NOT_CONVERGED
        scalars = {"tebd": p.to_json(), "time": p.time}
        iterate = dataclasses.replace(iterate, scalars=scalars)
        if status is not None:
            iterate = without_references(iterate, p)
        return iterate, Diagnostics(status, measures, self._message(p), self._fraction(p))

    def _relaxed(self, p: Progress, arrays: Mapping[str, np.ndarray]) -> bool:
        tol, remaining = self.limits.tol, p.relaxation.remaining
        known = p.relaxation.slowest is not None and self._quick(p)
        done = p.role == "main" and p.stage > 1 and p.error is not None and p.error <= tol
        few = 2 if p.stage > 1 and known and not done else 3  # slow modes show last: look again before it is over
        if p.relaxation.checks < few or len(p.relaxation.drifts) < 2 + done:
            return False
        if done:
            return True
        if p.stage == 0:
            return remaining <= max(0.02, tol)
        if p.stage == 1:
            unrest = UNREST * math.sqrt(p.total_weight or 0.0) if self._quick(p) else 0.0
            return remaining <= max(2 * RELAXED_TOL * tol, 1e-4, unrest)
        if p.stage == 3:
            return remaining <= (p.target or RELAXED_TOL * tol)
        reference = arrays["profile main"] if p.role != "main" else arrays[f"profile {p.reference}"]
        moved = difference(arrays["profile"], reference)
        share = RELAXED_FAR if self._quick(p) and moved > FAR * tol else RELAXED
        return remaining <= max(RELAXED_TOL * tol, share * moved)

    # -- deciding -----------------------------------------------------------------------------------------------------

    def _next(self, iterate: Iterate, p: Progress) -> tuple[Iterate, Progress, Status | None]:
        rate = p.relaxation.decay_rate
        if rate is not None and not p.wandering:
            p.relaxation.slowest = rate if p.relaxation.slowest is None else min(rate, p.relaxation.slowest)
        if p.stage == 0:
            dt = self.limits.dt or p.level.dt
            return (*self._enter(iterate, p, Level(dt, self.order, p.level.bond), stage=1), None)
        if p.role != "main":
            return self._companion_done(iterate, p)
        if self.limits.bond is not None and p.level.bond < self.limits.bond:
            level = dataclasses.replace(p.level, bond=self.limits.bond)
            return (*self._refine(iterate, p, level), None)
        return self._act(iterate, p, self._decide(iterate, p))

    def _decide(self, iterate: Iterate, p: Progress) -> Action:
        known = {n: matching(p, n) or REFERENCE + n in iterate.arrays for n in PARTS}
        assert p.main is not None
        action = decide(p.main, self.limits, p.parts, p.clean, known, p.wandering, self.separable)
        if action.converged and self.separable and self.limits.split and time_step_is_stale(p):
            return Action("companion", dataclasses.replace(p.main, dt=2 * p.main.dt), "time step")
        return action

    def _act(self, iterate: Iterate, p: Progress, action: Action) -> tuple[Iterate, Progress, Status | None]:
        if action.kind == "finish":
            if action.converged:
                return iterate, p, Status.CONVERGED
            return iterate, p, Status.STALLED_BY_TRUNCATION if action.truncated else Status.NOT_CONVERGED
        if action.kind == "relax":
            p.stage = 3
            spare = self.limits.tol - sum(p.parts[k] or 0.0 for k in PARTS)
            p.target = max(0.3 * (p.parts["relaxation"] or 0.0), 0.8 * spare) / RELAXATION_SAFETY
            # what has been recorded counts: one more check may do
            p.relaxation = dataclasses.replace(p.relaxation, checks=2, best=math.inf, best_check=2)
            return iterate, p, None
        assert action.level is not None
        if action.kind == "companion":
            return (*self._companion(iterate, p, action.name, action.level), None)
        return (*self._refine(iterate, p, action.level), None)

    def _enter(self, iterate: Iterate, p: Progress, level: Level, *, stage: int) -> tuple[Iterate, Progress]:
        """Let the main state go on at another level."""
        state = self._main_state(iterate)
        if level.bond != p.level.bond or self._use_svd:
            state = self._fit(state, level.bond, iterate.step)
        p.relaxation = self._record(level, p.relaxation, refined=stage > 1 and self._quick(p))
        if p.weight is not None:  # discarded weights go with dt^2, and fall with the bond dimension
            p.weight *= (level.dt / p.level.dt) ** 2 if level.bond == p.level.bond else 0.1
        p.level, p.stage, p.role, p.since, p.target = level, stage, "main", 0, None
        p.parts["relaxation"], p.wandering = None, False
        return dataclasses.replace(iterate, state=state), p

    def _refine(self, iterate: Iterate, p: Progress, level: Level) -> tuple[Iterate, Progress]:
        """The main state becomes the companion of its refinement."""
        name = "truncation" if level.bond != p.level.bond else "time step"
        arrays, companions = dict(iterate.arrays), dict(iterate.companions)
        if name == "truncation":
            before = p.parts[name] if matching(p, name) else None
            p.weights["difference"] = (before or 0.0) / p.weights.get(name, 1.0)
            p.weights.pop("least", None)
        arrays[f"profile {name}"] = arrays["profile main"]
        p.levels[name], p.reference = p.level, name
        weight = 2.0 if name == "truncation" else time_step_weight(level.dt, p.level.dt, level.order, p.level.order)
        weight = p.weights[name] = self._cautious(p, weight)
        companions[name] = (iterate.state, weight)
        companions.pop("relaxation", None)
        keep_references(iterate, p, name, arrays, companions)
        if name == "truncation":
            p.weights["discarded"] = (p.total_weight or 0.0) / p.level.dt**2
        iterate = dataclasses.replace(iterate, arrays=arrays, companions=companions)
        return self._enter(iterate, p, level, stage=2)

    def _companion(self, iterate: Iterate, p: Progress, name: str, level: Level) -> tuple[Iterate, Progress]:
        """Evolve a copy of the main state at a coarser level."""
        state = self._fit(self._main_state(iterate), level.bond, iterate.step)
        arrays, companions = dict(iterate.arrays), dict(iterate.companions)
        arrays[f"profile {name}"] = arrays["profile"] = arrays["profile main"]
        arrays.pop(REFERENCE + name, None)
        companions.pop(REFERENCE + name, None)
        assert p.main is not None
        weight = 2.0 if name == "truncation" else time_step_weight(p.main.dt, level.dt, level.order)
        p.levels[name], p.weights[name] = level, weight
        companions[name] = (state, weight)
        p.relaxation = self._record(level, p.relaxation)
        p.level, p.stage, p.role, p.since = level, 2, name, 0
        return dataclasses.replace(iterate, arrays=arrays, companions=companions), p

    def _companion_done(self, iterate: Iterate, p: Progress) -> tuple[Iterate, Progress, Status | None]:
        name = p.role
        arrays, companions = dict(iterate.arrays), dict(iterate.companions)
        arrays[f"profile {name}"] = arrays["profile"]
        assert p.main is not None
        if name == "truncation":
            p.weights["difference"] = 0.0
            p.weights["discarded"] = (p.total_weight or 0.0) / p.level.dt**2
            weight = truncation_weight((p.main_weight or 0.0) / p.main.dt**2, p.weights["discarded"])
            # evolved from the main state, which it may remember, and nothing shows how differences fall
            p.weights["least"] = 2.0 if self.separable else SLOW_DECAY
            p.weights[name] = self._cautious(p, max(weight, p.weights["least"]))
        else:
            p.weights[name] = self._cautious(p, time_step_weight(p.main.dt, p.level.dt, p.level.order))
        companions[name] = (companions[name][0], p.weights[name])
        p.parts[name] = p.weights[name] * difference(arrays["profile main"], arrays["profile"])
        p.levels[name] = p.level
        p.clean[name] = p.parts[name]
        arrays["profile"] = arrays["profile main"]
        p.role, p.level, p.since, p.attempts = "main", p.main, 0, 0
        p.relaxation = self._record(p.level, p.relaxation)
        iterate = dataclasses.replace(iterate, arrays=arrays, companions=companions)
        return self._act(iterate, p, self._decide(iterate, p))

    # -- words --------------------------------------------------------------------------------------------------------

    def _measures(self, p: Progress, drift: float) -> dict[str, float | None]:
        return {
            "time": p.time,
            "dt": p.level.dt,
            "bond_dimension": float(p.level.bond),
            "drift": drift / p.relaxation.interval,
            "discarded_weight": p.weight,
            "error_estimate": p.error if p.error is not None and math.isfinite(p.error) else None,
            "trace": p.trace,
        }

    def _message(self, p: Progress) -> str:
        return p.message()

    def _fraction(self, p: Progress) -> float | None:
        return p.fraction(self.limits.tol)
