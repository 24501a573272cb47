"""The road to an exact steady state of small rank: evolve oversized, cut, Newton steps; more of it if that fails."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ...errors import InputError
from ...model import Lindbladian
from ...result import Status
from ...states import MPOState
from ..base import Diagnostics, Iterate
from ..tebd.measure import difference, profile
from ..tebd.plan import Plan
from .evolution import Evolver
from .flux import Flux, flux, newton_step
from .frames import Frames, common_ranks, cut_ranks, frames
from .problem import Problem

__all__ = ["Engine", "Progress"]

# Time step of the evolution and its length per site, in units of the stiffest local rate.
STEP, TIME_PER_SITE = 0.8, 8.0
# Pieces of an evolution between which the bonds are divided anew, and floating-point operations per advance.
PIECES, CHUNK = 6, 2.5e10
# Drops of the Schmidt values that suggest a rank after an evolution, the number of such ranks that are tried, and the
# drop that separates surplus values for good.
SUGGESTED, CANDIDATES, SEPARATED = 1.5, 4, 1e3
# Share of the bond dimension of the last evolution that is kept where no rank suggests itself.
MARGIN = 0.6
# F (per largest local rate) that only an exact steady state reaches, and where rounding errors begin.
VERIFIED, FLOOR = 1e-9, 3e-14
# Damping: at the start, its range, and where an attempt is given up.
DAMPING, LEAST, LARGEST = 1e-4, 1e-14, 0.1
# An attempt is given up after so many steps without a gain of 2 percent, so many in all, or a few without a real gain.
CREEPING, PATIENCE, PROBATION, GAIN = 4, 25, 6, 0.2
# Factor from the movement that a residual caused to the error left, and the smallest error claimed.
SAFETY, SMALLEST = 10.0, 1e-13


@dataclass
class Progress:
    """Where the road stands; numbers that fit into JSON.

    Attributes
    ----------
    stage
        "evolve", "newton" or "done".
    round
        Number of evolutions finished; each is longer, the later ones also with a larger bond dimension.
    time, since
        Simulated time in all, and steps done in the present round.
    bond
        Bond dimension of the evolution.
    ranks
        Bond dimensions of the present Newton attempt.
    attempt
        Attempts made in this round, each with other ranks.
    size, first, best
        F now, at the beginning of the attempt, and the smallest of all.
    error
        Estimated error of local expectation values.
    """

    stage: str
    bond: int
    round: int = 0
    time: float = 0.0
    since: int = 0
    ranks: list[int] = field(default_factory=list)
    attempt: int = 0
    steps: int = 0
    damping: float = DAMPING
    size: float | None = None
    first: float | None = None
    creeping: int = 0
    best: float | None = None
    separated: bool = False
    error: float | None = None
    finished: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


@dataclass(eq=False)
class Engine:
    """Everything fixed during a run, and a cache of what follows from the last state.

    Attributes
    ----------
    rounds
        Largest number of evolutions.
    largest_rank
        Largest bond dimension of a Newton step.
    time
        Simulated time of the first evolution.
    dt
        Its time step.
    """

    model: Lindbladian
    problem: Problem
    evolver: Evolver
    tol: float
    bond: int
    max_bond: int
    largest_rank: int
    rounds: int
    time: float
    dt: float
    _cache: tuple[MPOState, Flux] | None = None

    @property
    def plan(self) -> Plan:
        """The gates of the evolution."""
        return self.evolver.plan

    # -- the verbs ----------------------------------------------------------------------------------------------------

    def begin(self, state: MPOState, *, given: bool) -> Iterate:
        """Return the first iterate; a ``given`` matrix-product state of small rank is tried as it is."""
        if given and max(state.bond_dimensions, default=1) <= self.largest_rank:
            state = self.evolver.fit(state, max(state.bond_dimensions, default=1))
            f = self.problem.frames(state)
            state = self.problem.state(f, state)
            p = Progress("newton", self.bond, ranks=list(f.ranks))
            return self._iterate(Iterate(state), p, state, {"evolved": (state, 0.0)})
        return self._iterate(Iterate(state), Progress("evolve", self.bond), self.evolver.fit(state, self.bond), {})

    def advance(self, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        """Evolve for a second or so, or make one Newton step."""
        p = Progress(**iterate.scalars["divergence"])
        if p.stage == "evolve":
            return self._evolve(iterate, p)
        return self._newton(iterate, p)

    # -- evolution ----------------------------------------------------------------------------------------------------

    def _evolve(self, iterate: Iterate, p: Progress) -> tuple[Iterate, Diagnostics]:
        state = _mpo(iterate)
        total = max(PIECES, math.ceil(self.time * 2**p.round / self.dt))
        work = max(self.plan.flops_per_step(p.bond, 4, 1), 1.0)
        piece = math.ceil(total / PIECES)
        steps = min(max(1, int(CHUNK / work)), total - p.since, piece - p.since % piece)
        if p.since and p.since % piece == 0:
            state = self.evolver.fit(state, p.bond, iterate.step)
        moved = self.evolver.run(state, self.dt, steps)
        if not all(np.isfinite(t).all() for t in moved.tensors):
            if iterate.step == 0:
                raise InputError(
                    f"The evolution overflows at the time step dt = {self.dt:g}; choose a smaller `dt`.", field="dt"
                )
            return iterate, Diagnostics(Status.NOT_FINITE, {"time": p.time}, "numbers overflowed")
        p.since += steps
        p.time += steps * self.dt
        companions = dict(iterate.companions)
        if p.since >= total:
            if "evolved" in companions:
                companions["earlier"] = (companions["evolved"][0], 2.0)
            companions["evolved"] = (moved, 0.0)
            p.round, p.since, p.attempt = p.round + 1, 0, 0
            out = self._iterate(iterate, p, moved, companions)
            return self._next_attempt(out, p, moved)
        out = self._iterate(iterate, p, moved, companions)
        return out, Diagnostics(None, {"time": p.time}, f"evolving, t = {p.time:.4g}, bond {p.bond}", None)

    # -- attempts -----------------------------------------------------------------------------------------------------

    def _next_attempt(self, iterate: Iterate, p: Progress, evolved: MPOState) -> tuple[Iterate, Diagnostics]:
        """Cut the evolved state and begin Newton steps; evolve on if all ways to cut it have been tried."""
        f = self.problem.frames(evolved)
        candidates = self._candidates(f, p) if p.round else []
        if p.attempt < len(candidates):
            p.ranks = candidates[p.attempt]
            p.attempt += 1
            p.stage, p.steps, p.creeping, p.size, p.first = "newton", 0, 0, None, None
            p.damping, p.separated = DAMPING, False
            state = self.problem.state(self.problem.frames(evolved, p.ranks), evolved)
            out = self._iterate(iterate, p, state, iterate.companions)
            return out, Diagnostics(None, {"time": p.time}, f"cut to rank {max(p.ranks, default=1)}")
        if p.round >= self.rounds:
            return self._give_up(iterate, p)
        p.stage = "evolve"
        if p.round:
            p.bond = min(self.max_bond, math.ceil(1.5 * p.bond))
        state = self.evolver.fit(evolved, p.bond, iterate.step)
        return self._iterate(iterate, p, state, iterate.companions), Diagnostics(
            None, {"time": p.time}, "no exact state of small rank so far: evolving on"
        )

    def _candidates(self, f: Frames, p: Progress) -> list[list[int]]:
        """Return the ranks to try: where the Schmidt values drop, all of an untruncated state, at last a share."""
        most = self.largest_rank
        suggested = sorted(common_ranks(f, SUGGESTED, most)[:CANDIDATES])  # the cheapest first
        out = [[min(r, x) for x in f.ranks] for r in suggested]
        if max(f.ranks, default=1) <= most:
            out.append(list(f.ranks))
        elif p.round >= self.rounds:
            out.append([min(r, max(2, min(most, int(MARGIN * p.bond)))) for r in f.ranks])
        return [x for k, x in enumerate(out) if x not in out[:k]]

    def _give_up(self, iterate: Iterate, p: Progress) -> tuple[Iterate, Diagnostics]:
        """Discard the Newton states; what counts is the evolution, and its difference to an earlier one."""
        evolved = iterate.companions["evolved"][0]
        companions = {k: v for k, v in iterate.companions.items() if k == "earlier"}
        p.stage, p.finished, p.error = "done", True, None
        if "earlier" in companions:
            earlier, weight = companions["earlier"]
            assert isinstance(evolved, MPOState) and isinstance(earlier, MPOState)
            p.error = weight * difference(profile(evolved), profile(earlier))
        assert isinstance(evolved, MPOState)
        out = self._iterate(iterate, p, evolved, companions)
        measures = {"time": p.time, "error_estimate": p.error}
        return out, Diagnostics(Status.NOT_CONVERGED, measures, "no exact steady state of small rank found")

    # -- Newton -------------------------------------------------------------------------------------------------------

    def _flux(self, state: MPOState) -> Flux:
        if self._cache is None or self._cache[0] is not state:
            self._cache = (state, flux(self.problem.frames(state), self.problem.generators))
        return self._cache[1]

    def _newton(self, iterate: Iterate, p: Progress) -> tuple[Iterate, Diagnostics]:
        state = _mpo(iterate)
        now = self._flux(state)
        p.steps += 1
        trial = self._trial(now, p)
        if trial is None:
            p.damping *= 8
            p.size = now.size
            return self._judge(iterate, p, state, now.size, 1.0)
        moved = self.problem.state(trial, state)
        after = flux(self.problem.frames(moved), self.problem.generators)
        ratio = after.size / now.size if now.size > 0 else 1.0
        if ratio < 1:
            self._cache = (moved, after)
            p.error = self._error(state, moved, now.size, after.size)
            p.damping = max(LEAST, p.damping / (20 if ratio < 0.5 else 4 if ratio < 0.9 else 1))
            p.size = after.size
            return self._judge(iterate, p, moved, after.size, ratio)
        p.damping *= 8
        p.size = now.size
        return self._judge(iterate, p, state, now.size, 1.0)

    def _trial(self, now: Flux, p: Progress) -> Frames | None:
        """Return the frames after one step, or None if it could not be made."""
        try:
            x, _ = newton_step(now, self.problem.generators, p.damping)
            train, labels = now.frames.sum_of_tangents(x)
            trial = frames(train, labels, now.frames.sites, p.ranks)
        except np.linalg.LinAlgError:
            return None
        finite = all(np.isfinite(t).all() for t in trial.right)
        return trial if finite and _has_trace(trial) else None

    def _judge(
        self, iterate: Iterate, p: Progress, state: MPOState, size: float, ratio: float
    ) -> tuple[Iterate, Diagnostics]:
        """Go on, cut surplus Schmidt values, finish, or give the attempt up."""
        p.best = size if p.best is None else min(p.best, size)
        p.creeping = p.creeping + 1 if ratio > 0.98 else 0
        out = self._iterate(iterate, p, state, iterate.companions)
        rank = max(state.bond_dimensions, default=1)
        measures = {"time": p.time, "flux": size, "bond_dimension": float(rank), "error_estimate": None}
        message = f"F = {size:.1e}, rank {rank}, damping {p.damping:.0e}"
        exact = size <= VERIFIED
        if exact and (size <= FLOOR or ratio > 0.3):
            p.stage, p.finished = "done", True
            status = Status.CONVERGED if p.error is not None and p.error <= self.tol else Status.NOT_CONVERGED
            measures["error_estimate"] = p.error
            out = self._iterate(iterate, p, state, {})
            return out, Diagnostics(status, measures, message)
        if not exact and not p.separated:
            f = self._flux(state).frames
            ranks = cut_ranks(f, SEPARATED)
            if ranks is not None and any(a < b for a, b in zip(ranks, f.ranks, strict=True)):
                p.ranks, p.separated, p.creeping = ranks, True, 0
                cut = self.problem.state(self.problem.frames(state, ranks), state)
                return self._iterate(iterate, p, cut, iterate.companions), Diagnostics(None, measures, message)
        if not exact and self._lost(p, size):
            evolved = iterate.companions["evolved"][0]
            assert isinstance(evolved, MPOState)
            return self._next_attempt(out, p, evolved)
        return out, Diagnostics(None, measures, message)

    @staticmethod
    def _lost(p: Progress, size: float) -> bool:
        """Whether an attempt leads nowhere."""
        p.first = size if p.first is None else p.first
        slow = p.steps >= PROBATION and size > GAIN * p.first
        return slow or p.damping > LARGEST or p.creeping >= CREEPING or p.steps >= PATIENCE * (1 + p.separated)

    def _error(self, before: MPOState, after: MPOState, was: float, now: float) -> float:
        """Return the error of local expectation values: the movement that a residual ``was`` caused, for ``now``."""
        moved = difference(profile(before), profile(after))
        return max(SAFETY * moved * min(1.0, now / was), SMALLEST)

    def _iterate(self, iterate: Iterate, p: Progress, state: MPOState, companions: Any) -> Iterate:
        return dataclasses.replace(
            iterate,
            state=state,
            step=iterate.step + 1,
            scalars={"divergence": p.to_json(), "time": p.time},
            companions=dict(companions),
        )


def _mpo(iterate: Iterate) -> MPOState:
    assert isinstance(iterate.state, MPOState)
    return iterate.state


def _has_trace(f: Frames) -> bool:
    """Whether the identity component is more than rounding errors (it must, in order to divide by it)."""
    env, smallest = np.ones(1), 0.0
    for t, s in zip(f.train(), f.sites, strict=True):
        env = env @ t[:, 0]
        smallest += 0.5 * math.log(max(len(s), 1))
        size = float(np.abs(env).max())
        if not size > 0:
            return False
        env, smallest = env / size, smallest + math.log(size)
    return bool(abs(env[0]) > 0 and smallest > math.log(1e-8))
