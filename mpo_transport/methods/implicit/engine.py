"""The run: sweeps in pieces, each taken from the iterate and put back, so that a restart does the same."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...model import Lindbladian
from ...result import Status
from ...states import MPOState, State
from ...superoperator.mpo import MPO
from ..base import Diagnostics, Iterate
from ..tebd.measure import difference, profile
from .schedule import (
    FIRST_TAU,
    LARGEST_TAU,
    NOTHING,
    Limits,
    Progress,
    Verdict,
    claim,
    is_preliminary,
    judge,
    larger_bond,
)
from .sectors import GradedOperator, Legs
from .sweeps import (
    Settings,
    Sweeper,
    embed,
    first_scale,
    larger_scale,
    release,
    resume_frames,
    scaled_operator,
    suitable_scale,
)

__all__ = ["Engine"]

# Work per advance, in floating-point operations (about a second).
CHUNK = 2e10
# Weight of the change by the last pass in errors of observables while nothing is known about its decay.
UNKNOWN_REST = 50.0
# Bond dimension after nonsense: large ones give the first sweeps of very long chains room for it.
SMALL_BOND = 8
# Factors of the operator strings that matter for local expectation values; each counts 1/s in a metric.
LONGEST = 8
# What of them a truncation takes, in units of the root of the weight it discards.
LONG_STRINGS = 10.0
# Relative accuracy of residuals that are compared with each other.
RESIDUAL_ACCURACY = 0.02
# An expectation value of an operator of norm 1 beyond this is nonsense.
DIVERGED = 1e3


@dataclass(frozen=True)
class _Train:
    """A train in the order of the operator."""

    tensors: tuple[np.ndarray, ...]
    order: tuple[int, ...]


@dataclass
class Engine:
    """Everything fixed during a run."""

    model: Lindbladian
    mpo: MPO
    operator: GradedOperator
    limits: Limits
    initial_bond: int
    cutoff: float | None
    rtol: float
    products: int
    _scaled: dict[float, GradedOperator] = field(default_factory=dict)
    _mpos: dict[float, MPO] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Size of the generator per site: the unit of 1/tau."""
        return max(self.mpo.typical_norm / np.sqrt(self.model.L), np.finfo(float).tiny)

    def begin(self, state: MPOState) -> Iterate:
        """Return the first iterate from a state in the order of the operator, trace 1."""
        legs = [t.shape[1] for t in state.tensors]
        product = max(state.bond_dimensions, default=1) == 1
        scale = first_scale(legs) if product else max(first_scale(legs), suitable_scale(state.tensors))
        bond = min(max(self.initial_bond, *state.bond_dimensions), self.limits.max_bond, self.limits.exact_bond)
        p = Progress(bond, scale, FIRST_TAU / self.rate)
        start, sectors = self._embedded(state, scale)
        arrays = {"profile": profile(start), "discarded weight": np.zeros(len(legs) - 1), "sectors": sectors}
        return Iterate(start, 0, {"implicit": p.to_json()}, arrays)

    def _embedded(self, state: MPOState, scale: float) -> tuple[MPOState, np.ndarray]:
        tensors, bonds = embed(state.tensors, scale, self.operator)
        return self._state(tensors, scale), _table(bonds)

    def _state(self, tensors: list[np.ndarray], scale: float) -> MPOState:
        return MPOState(self.model.lattice, release(tensors, scale, self.operator), self.mpo.order, None)

    # -- one piece of work --------------------------------------------------------------------------------------------

    def advance(self, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        """Do passes, or part of one, worth :data:`CHUNK` operations; judge at the end of each."""
        earlier: list[Mapping[str, float | None]] = []
        sweeper, work = None, 0.0
        while True:
            p = Progress.from_json(iterate.scalars["implicit"])
            sound, iterate = iterate, self._begun(iterate, p)
            if sweeper is None:
                sweeper = self._sweeper(iterate, p)
            sweeper.account(iterate.arrays["discarded weight"])
            ended, done = self._piece(sweeper, p, CHUNK - work)
            work += done
            if not all(np.isfinite(t).all() for t in sweeper.tensors):
                return sound, Diagnostics(Status.NOT_FINITE, {}, "numbers overflowed", earlier=tuple(earlier))
            iterate = self._taken(iterate, sweeper, p)
            if not ended:
                return iterate, Diagnostics(None, {}, self._message(p), None, tuple(earlier))
            moved = iterate.state
            iterate, found = self._judge(iterate, p)
            if found.done or work >= CHUNK:
                return iterate, dataclasses.replace(found, earlier=tuple(earlier))
            earlier.append({"step": float(iterate.step), **found.measures})
            if iterate.state is not moved:  # begun anew, or in frames of another metric
                sweeper = None

    @staticmethod
    def _begun(iterate: Iterate, p: Progress) -> Iterate:
        """Keep where a pass starts, if one starts here, and begin its bookkeeping."""
        state = iterate.state
        assert isinstance(state, MPOState)
        if p.position != (0 if p.right else len(state.tensors) - 2):
            return iterate
        p.worst, p.products = 0.0, 0
        arrays = {**iterate.arrays, "discarded weight": np.zeros(len(state.tensors) - 1)}
        return dataclasses.replace(
            iterate, arrays=arrays, companions={**iterate.companions, "relaxation": (state, 0.0)}
        )

    def _taken(self, iterate: Iterate, sweeper: Sweeper, p: Progress) -> Iterate:
        """Return the iterate that a sweeper has come to."""
        p.worst, p.products = max(p.worst, sweeper.worst), p.products + sweeper.products
        arrays = {**iterate.arrays, "discarded weight": sweeper.weights, "sectors": _table(sweeper.bonds)}
        state = self._state(sweeper.tensors, p.scale)
        return Iterate(state, iterate.step + 1, {"implicit": p.to_json()}, arrays, dict(iterate.companions))

    def _sweeper(self, iterate: Iterate, p: Progress) -> Sweeper:
        state = iterate.state
        assert isinstance(state, MPOState)
        tensors = resume_frames(state.tensors, p.scale, self.operator)
        bonds = [Legs(tuple(int(x) for x in row)) for row in iterate.arrays["sectors"]]
        centre = p.position if p.right else p.position + 1
        return Sweeper(self._operator(p.scale), tensors, bonds, centre, self.rate, np.zeros(len(tensors) - 1))

    def _piece(self, sweeper: Sweeper, p: Progress, budget: float) -> tuple[bool, float]:
        """Go on with a pass until its end, or until the work exceeds the budget; return whether it ended, the work."""
        how = Settings(p.tau, p.bond, self._cut(p), self.rtol, self.products)
        end, done = len(sweeper.tensors) - 2 if p.right else 0, 0.0
        while True:
            before = sweeper.products
            sweeper.update(p.position, how, right=p.right)
            done += sweeper.flops(p.position, sweeper.products - before)
            if p.position == end:
                p.right = not p.right  # and back from the same bond
                return True, done
            p.position += 1 if p.right else -1
            if done >= budget:
                return False, done

    def _operator(self, scale: float) -> GradedOperator:
        if scale not in self._scaled:
            self._scaled[scale] = scaled_operator(self.operator, scale)
        return self._scaled[scale]

    def _scaled_mpo(self, scale: float) -> MPO:
        if scale not in self._mpos:
            self._mpos[scale] = MPO(self._operator(scale).tensors, self.mpo.order)
        return self._mpos[scale]

    def _residual(self, state: MPOState, scale: float) -> float:
        """Return |L x|/|x| in the metric in which bonds are cut."""
        order = self.mpo.order
        mpo = self.mpo if scale == 1.0 else self._scaled_mpo(scale)
        x = state if scale == 1.0 else _Train(tuple(resume_frames(state.tensors, scale, self.operator)), order)
        return mpo.residual(x, accuracy=RESIDUAL_ACCURACY)

    def _cut(self, p: Progress) -> float:
        """Relative weight that a truncation may discard: invisible at the tolerance, also in long strings."""
        if self.cutoff is not None:
            return self.cutoff
        if p.bond >= self.limits.exact_bond:
            return 0.0  # nothing need be cut, and what is cut comes back enlarged by slow modes
        return max(1e-4 * min(self.limits.tol, 1e-2) / p.scale**LONGEST, 1e-15) ** 2

    # -- judging ------------------------------------------------------------------------------------------------------

    def _judge(self, iterate: Iterate, p: Progress) -> tuple[Iterate, Diagnostics]:
        state = iterate.state
        assert isinstance(state, MPOState)
        arrays, companions = dict(iterate.arrays), dict(iterate.companions)
        now = profile(state)
        if not difference(now, 0 * now) < DIVERGED:
            return self._restarted(iterate, p)
        before, earlier = arrays["profile"], arrays.get("profile before")
        p.add(difference(now, before), None if earlier is None else difference(now, earlier))
        arrays["profile"], arrays["profile before"] = now, before
        verdict = self._verdict(state, p, arrays)
        companions |= self._companions(companions, p, arrays)
        measures, message = self._measures(p), self._message(p)
        status = None
        if verdict.kind == "grow":
            arrays["profile coarser"] = now
            companions["truncation"] = (state, 1.0)
            p.enter(larger_bond(p, self.limits))
        elif verdict.kind != "pass":
            p.failure = verdict.reason
            ends = {"converged": Status.CONVERGED, "stalled": Status.STALLED_BY_TRUNCATION}
            status = ends.get(verdict.kind, Status.NOT_CONVERGED)
        if status is None:
            p.tau = p.next_tau(FIRST_TAU / self.rate, LARGEST_TAU / self.rate)
            if p.right and verdict.kind == "grow":  # frames are made from the left end
                state, arrays["sectors"] = self._rescaled(state, p, arrays["sectors"])
        out = dataclasses.replace(
            iterate, state=state, scalars={"implicit": p.to_json()}, arrays=arrays, companions=companions
        )
        return out, Diagnostics(status, measures, message, self._fraction(p))

    def _verdict(self, state: MPOState, p: Progress, arrays: dict[str, np.ndarray]) -> Verdict:
        """Set what the state says of its error, and judge; the residual is computed where it is needed."""
        p.weight = float(arrays["discarded weight"].max(initial=0.0))
        cutoff = self._cut(p)
        # in the metric of a very long chain weights lie below rounding: a bond in full use is cut nevertheless
        room = max(state.bond_dimensions, default=1) < p.bond or p.bond >= self.limits.exact_bond - 1
        p.uncut = room and p.weight <= max(cutoff, NOTHING)
        seen = math.sqrt(max(min(p.weight, cutoff), NOTHING)) if cutoff else 0.0
        cut = LONG_STRINGS * p.scale**LONGEST * seen
        moved = difference(arrays["profile"], arrays["profile coarser"]) if "profile coarser" in arrays else None
        p.residual = None
        p.parts = claim(p, self.limits, moved, cut)
        if p.error is not None and (p.uncut or p.error <= self.limits.tol):
            p.residual = self._residual(state, p.scale)
            p.parts = claim(p, self.limits, moved, cut)
        verdict = judge(p, self.limits, self.rate)
        if (
            p.residual is None
            and verdict.kind != "pass"
            and not is_preliminary(larger_bond(p, self.limits), self.limits)
        ):
            p.residual = self._residual(state, p.scale)
            if verdict.kind != "grow":
                verdict = judge(p, self.limits, self.rate)
        return verdict

    def _companions(
        self, companions: Mapping[str, tuple[State, float]], p: Progress, arrays: dict[str, np.ndarray]
    ) -> dict[str, tuple[State, float]]:
        """Return the states whose differences make up the claim for any observable.

        Truncation is shared between the state before the last pass and that of the level before: differences of
        mirrored observables of a symmetric chain vanish in the former.
        """
        before = companions["relaxation"][0]
        if p.error is None:
            return {"relaxation": (before, UNKNOWN_REST)}
        change, cut = p.changes[-1], p.parts["truncation"] or 0.0
        rest = p.error - cut
        shared = 0.0
        out = {}
        if "truncation" in companions:
            moved = difference(arrays["profile"], arrays["profile coarser"])
            shared = 0.5 if moved > 0 else 0.0
            out["truncation"] = (companions["truncation"][0], shared * cut / moved if moved > 0 else 0.0)
        weight = (rest + (1 - shared) * cut) / change if change > 0 else 0.0
        return {**out, "relaxation": (before, weight)}

    def _rescaled(self, state: MPOState, p: Progress, sectors: np.ndarray) -> tuple[MPOState, np.ndarray]:
        """Return the same state in frames of a better metric, if there is one.

        Weighing short strings more makes what is cut matter less, but the generator less normal.
        """
        wish = suitable_scale(state.tensors)
        if wish == p.scale:
            return state, sectors
        p.scale = wish
        return self._embedded(state, wish)

    def _restarted(self, iterate: Iterate, p: Progress) -> tuple[Iterate, Diagnostics]:
        """Nonsense came out: begin anew with small bonds and tau, short strings weighing more, or give up."""
        p.passes += 1
        if p.passes >= 2 * min(self.limits.max_sweeps, 40):
            p.failure = "the sweeps diverge"
            out = dataclasses.replace(iterate, scalars={"implicit": p.to_json()})
            return out, Diagnostics(Status.NOT_CONVERGED, {}, p.failure)
        state = MPOState.mixed(self.model.lattice, self.mpo.order)
        legs = [t.shape[1] for t in state.tensors]
        bond = min(SMALL_BOND, self.limits.max_bond, self.limits.exact_bond)
        tau, restarts = max(p.tau / 100, FIRST_TAU / self.rate), p.restarts + 1
        fresh = Progress(bond, larger_scale(first_scale(legs), restarts), tau, passes=p.passes, restarts=restarts)
        state, sectors = self._embedded(state, fresh.scale)
        arrays = {"profile": profile(state), "discarded weight": np.zeros(len(legs) - 1), "sectors": sectors}
        out = Iterate(state, iterate.step, {"implicit": fresh.to_json()}, arrays)
        return out, Diagnostics(None, {}, "diverged: from the start, with smaller bonds")

    # -- words --------------------------------------------------------------------------------------------------------

    def _measures(self, p: Progress) -> dict[str, float | None]:
        return {
            "sweeps": p.passes / 2,
            "bond_dimension": float(p.bond),
            "tau": p.tau,
            "drift": p.changes[-1],
            "residual": p.residual,
            "discarded_weight": p.weight,
            "products": float(p.products),
            "local_residual": p.worst,
            "error_estimate": p.error,
        }

    def _message(self, p: Progress) -> str:
        error = p.error
        text = f"sweep {p.passes / 2:g}, bond {p.bond}, tau {p.tau:.1e}"
        if p.changes:
            text += f", change {p.changes[-1]:.1e}"
        if p.residual is not None:
            text += f", residual {p.residual:.1e}"
        return text + (f", error {error:.1e}" if error is not None else "")

    def _fraction(self, p: Progress) -> float | None:
        error, tol = p.error, self.limits.tol
        if error is None or not 0 < error < 1 or tol >= 1:
            return None
        return float(min(0.99, max(0.02, np.log(error) / np.log(tol))))


def _table(bonds: list[Legs]) -> np.ndarray:
    return np.array([b.sizes for b in bonds], dtype=np.int64)
