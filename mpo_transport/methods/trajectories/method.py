"""Quantum trajectories: pure states that evolve without a sound and jump at random, averaged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError, NotSupportedError
from ...model import Lindbladian
from ...result import Certificate, Status
from ..base import Diagnostics, Estimate, Iterate, Method, Support, register_method
from .initial import STARTS, initial_sampler, spread_sampler
from .records import measure_local, worst_error
from .sampling import PASSES, Sampling, Verdict
from .statistics import COVERAGE
from .work import Crowd, TrajectoryWork

__all__ = ["Trajectories"]

_LARGEST_SPACE = 2**22
_SAMPLES_PER_RATE = 2.0  # samples in the time of the fastest jump
_BUDGET = 100.0  # sampling lasts at most so many times the burn-in, where nothing is given
_SEARCH = 200.0  # the burn-in is looked for up to so many times the time of the slowest jump


@register_method
@dataclass(frozen=True)
class Trajectories(Method):
    """Quantum trajectories (Monte Carlo wave functions): rho(t) = mean of |psi(t)><psi(t)|.

    Between jumps d psi/dt = (-i H - 1/2 sum_k rate_k L_k^dag L_k) psi, unnormalised; a jump happens when |psi|^2 has
    fallen to a number drawn uniformly from (0, 1], and is of kind k with probability proportional to
    rate_k |L_k psi|^2 (J. Dalibard, Y. Castin, K. Molmer, Phys. Rev. Lett. 68, 580 (1992)).  The times of the jumps are
    found to rounding, so the only error is statistical: it falls as one over the square root of the number of
    independent samples and is part of every answer.

    A state of D numbers takes the place of a D x D matrix.  Where H conserves a charge that every jump changes by a
    definite amount, states are kept in the sectors of that charge.

    Parameters
    ----------
    trajectories
        Number of independent trajectories.
    burn_in
        Time that is thrown away before averaging towards a steady state.  None: found from the data, as twice the time
        after which trajectories from different starting points agree and nothing drifts.
    sampling_time
        Time over which every trajectory is averaged.  None: until twice the standard error of all one- and two-site
        observables (on bonds; operator norm 1) is below ``tol``, at most a hundred times the burn-in.
    max_time
        Most time of a steady-state calculation, burn-in included.
    processes
        Number of processes.  The numbers do not depend on it, bit for bit.

    Notes
    -----
    *Errors.*  The claimed error is two standard errors (95 %), from the scatter between independent trajectories (for
    fewer than 32: between stretches of them, enlarged for what correlation remains).  ``tol`` bounds it, and its cost
    grows as tol^-2: ask for 1e-2 or 1e-3 here, not for 1e-6.  ``result.expect(observable, error=True)`` gives two
    standard errors of any observable, of nonlinear ones (purities, entropies) by the jackknife.  Reduced density
    matrices of sites and bonds come from all times, everything else from the pure states kept (some thousand).

    *Not unique.*  Without ``initial``, trajectories start from different product states; if the model has a strong
    symmetry the status is ``not_unique``.  Other degeneracies show as starting points that never agree
    (``not_converged``).  With ``initial`` the average is the stationary state reached from there.

    *Evolution.*  The number of trajectories fixes the error, whatever ``tol`` says; the certificate tells.

    Raises
    ------
    InputError
        For a knob out of range, naming it; ``processes`` if worker processes cannot be started.

    Examples
    --------
    >>> Trajectories(trajectories=500, processes=2).processes
    2
    """

    trajectories: int = 200
    burn_in: float | None = None
    sampling_time: float | None = None
    max_time: float | None = None
    processes: int = 1

    name: ClassVar[str] = "Trajectories"
    tasks: ClassVar[tuple[str, ...]] = ("steady_state", "evolve")
    statistical: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for knob in ("trajectories", "processes"):
            value = getattr(self, knob)
            if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InputError(f"Argument `{knob}` must be an integer >= 1, but is {value!r}.", field=knob)
            object.__setattr__(self, knob, int(value))
        for knob in ("burn_in", "sampling_time", "max_time"):
            value = getattr(self, knob)
            if value is None:
                continue
            real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
            if not real or not math.isfinite(value) or value < 0 or (value == 0 and knob != "burn_in"):
                least = ">= 0" if knob == "burn_in" else "> 0"
                raise InputError(
                    f"Argument `{knob}` must be a finite time {least} or None, but is {value!r}.", field=knob
                )
            object.__setattr__(self, knob, float(value))

    # -- what it can do ---------------------------------------------------------------------------------------------

    def supports(self, model: Lindbladian, task: str = "steady_state") -> Support:
        if task not in self.tasks:
            return Support(False, f"quantum trajectories have no task {task!r}.")
        if not model.lattice.is_bounded:
            return Support(False, "quantum trajectories need bounded local spaces; give `levels` a number.")
        D = math.prod(model.lattice.dims)
        if D > _LARGEST_SPACE:
            return Support(False, f"a pure state has {D:.3g} components, more than {_LARGEST_SPACE}.")
        if task == "steady_state" and not any(j.rate > 0 and j.operator for j in model.jumps):
            return Support(False, "the model has no jump with a positive rate, so nothing relaxes to a steady state.")
        return Support(True, f"pure states of {D:.0f} components and random jumps; the error is statistical.")

    def estimate(self, model: Lindbladian, tol: float) -> Estimate:
        D = math.prod(float(d) for d in model.lattice.dims)
        operators = [j.operator for j in model.jumps if j.rate > 0]
        products = len(model.hamiltonian) + sum(len(o) ** 2 + 2 * len(o) for o in operators)
        memory = 40 * D * products + 16 * D * (4 * self.trajectories + 60 * 16) + 2**27
        terms = len(model.hamiltonian) + sum(len(o) ** 2 for o in operators)
        return Estimate(
            memory, detail=f"{self.trajectories} pure states of {D:.0f} components, {terms} terms between jumps"
        )

    def prepare(self, model: Lindbladian, *, tol: float, seed: int, task: str = "steady_state") -> TrajectoryWork:
        support = self.supports(model, task)
        if not support:
            raise NotSupportedError(f"Method {self.name} does not support this model: {support.reason}", field="method")
        return TrajectoryWork(model, tol, seed, self.processes, task)

    def start(self, work: TrajectoryWork, initial: Any) -> Iterate:
        lattice = work.model.lattice
        starts = 1
        if initial is None and work.task == "steady_state":
            if work.strong_sectors == 1:
                starts = STARTS if self.trajectories >= 8 * STARTS else 2 if self.trajectories >= 8 else 1
            sample = spread_sampler(lattice, starts)
        else:
            sample = initial_sampler(lattice, "mixed" if initial is None else initial)
        crowd, in_sectors = work.first_crowd(self.trajectories, sample)
        common = {
            "in_sectors": in_sectors,
            "given": initial is not None,
            "pace": work.first_pace(self.trajectories, in_sectors),
            "jumps": 0,
            "time": 0.0,
        }
        if work.task == "evolve":
            return Iterate(work.state(crowd, in_sectors), 0, common, crowd.arrays(with_vectors=False))
        interval = 1 / (_SAMPLES_PER_RATE * float(work.rates.max()))
        if self.sampling_time is not None:
            interval = self.sampling_time / max(math.ceil(self.sampling_time / interval), 16)
        stage = "search" if self.burn_in is None else "discard" if self.burn_in > 0 else "sample"
        sampling = Sampling.begun(work, crowd, stage, interval, starts)
        return _iterate(work, crowd, sampling, common, 0)

    # -- steps --------------------------------------------------------------------------------------------------------

    def advance(self, work: TrajectoryWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        """Move all trajectories a piece; take samples; decide at the ends of batches."""
        crowd, sampling = Crowd.stored(iterate.arrays, iterate.state), Sampling.stored(iterate.scalars, iterate.arrays)
        in_sectors = bool(iterate.scalars["in_sectors"])
        pace = float(iterate.scalars["pace"])
        stretches, measured = sampling.plan(work.affordable(pace), self.burn_in, self._samples(sampling))
        crowd, sums, squares, new_pace, jumps = work.move(crowd, in_sectors, stretches, measured=measured)
        if measured:
            sampling = sampling.sampled(stretches, sums, squares, crowd)
        else:
            sampling = sampling.moved(stretches, self.burn_in)
        facts = {
            **iterate.scalars,
            "pace": (pace + new_pace) / 2,
            "jumps": int(iterate.scalars["jumps"]) + jumps,
        }
        sampling, status, verdict = self._decide(work, sampling, self._is_arbitrary(work, iterate))
        if verdict is not None:
            facts |= {
                "claimed": verdict.claimed,
                "drift": verdict.drift,
                "disagreement": verdict.disagreement,
                "correlation_time": verdict.correlation_time,
            }
        if status is not None and sampling.stage == "sample" and self._is_arbitrary(work, iterate):
            status = Status.NOT_UNIQUE
        new = _iterate(work, crowd, sampling, facts, iterate.step + 1)
        claimed = facts.get("claimed")
        measures = {
            "time": sampling.time,
            "error_estimate": claimed if claimed is not None and math.isfinite(claimed) else None,
            "jumps": float(facts["jumps"]),
        }
        return new, Diagnostics(status, measures, _message(sampling, claimed), _fraction(work, sampling, claimed))

    def _samples(self, sampling: Sampling) -> int | None:
        """Return the samples per trajectory asked for, if any."""
        return None if self.sampling_time is None else round(self.sampling_time / sampling.interval)

    def _limit(self, work: TrajectoryWork, sampling: Sampling) -> float:
        """Return the time at which the calculation ends at the latest."""
        if sampling.stage != "sample":
            automatic = max(_SEARCH / float(work.rates.min()), 16 * sampling.interval * sampling.batches.sums.shape[1])
        elif self.sampling_time is not None:
            automatic = math.inf
        else:
            automatic = sampling.begin + _BUDGET * max(sampling.begin, 10 / float(work.rates.max()))
        return automatic if self.max_time is None else self.max_time

    @staticmethod
    def _is_arbitrary(work: TrajectoryWork, iterate: Iterate) -> bool:
        """Whether strong symmetries leave the choice among several steady states to the starting points."""
        return not iterate.scalars["given"] and work.strong_sectors > 1

    def _decide(
        self, work: TrajectoryWork, sampling: Sampling, arbitrary: bool
    ) -> tuple[Sampling, Status | None, Verdict | None]:
        """Return what follows: go on, begin to sample, look at the errors, or stop."""
        at_end = sampling.time >= self._limit(work, sampling) * (1 - 1e-12)
        if arbitrary and self.sampling_time is None:  # more time does not decide between the steady states
            at_end |= sampling.stage == "sample" and sampling.batches.complete >= 4
        if sampling.stage != "sample":
            if sampling.stage == "search" and sampling.batches.is_full:
                sampling = replace(sampling, passes=sampling.passes + 1 if sampling.settled(work) else 0)
                if sampling.passes == PASSES:
                    return sampling.resampled(), None, None
            return sampling, Status.NOT_CONVERGED if at_end else None, None
        samples = self._samples(sampling)
        if samples is not None:
            if sampling.batches.samples < samples and not at_end:
                return sampling, None, None
            at_end = True
        if not at_end and not sampling.is_check_due:
            return sampling, None, None
        verdict = sampling.verdict(work)
        small = verdict.claimed <= work.tol
        if small and verdict.at_rest:
            return sampling, Status.CONVERGED, verdict
        if at_end:
            return sampling.checked(), Status.NOT_CONVERGED, verdict
        if self.burn_in is None and not verdict.at_rest and sampling.batches.is_full:
            return sampling.resampled(restarts=1), None, verdict
        return sampling.checked(), None, verdict

    def propagate(self, work: TrajectoryWork, iterate: Iterate, time: float) -> tuple[Iterate, Diagnostics]:
        """Move all trajectories towards ``time``, a second or two of work at a time."""
        crowd = Crowd.stored(iterate.arrays, iterate.state)
        now, pace = float(iterate.scalars["time"]), float(iterate.scalars["pace"])
        in_sectors = bool(iterate.scalars["in_sectors"])
        stretch = min(time - now, work.affordable(pace))
        reached = stretch >= time - now
        if stretch > 0:
            crowd, _, _, new_pace, jumps = work.move(crowd, in_sectors, (stretch,), measured=False)
            pace, count = (pace + new_pace) / 2, int(iterate.scalars["jumps"]) + jumps
        else:
            count = int(iterate.scalars["jumps"])
        now = time if reached else now + stretch
        facts = {**iterate.scalars, "time": now, "pace": pace, "jumps": count}
        new = Iterate(work.state(crowd, in_sectors), iterate.step + 1, facts, crowd.arrays(with_vectors=False))
        return new, Diagnostics(Status.CONVERGED if reached else None, {"jumps": float(count)}, f"t = {now:g}")

    # -- what is known at the end -------------------------------------------------------------------------------------

    def certify(self, work: TrajectoryWork, iterate: Iterate, status: Status) -> Certificate:
        facts = iterate.scalars
        n = len(iterate.arrays["events"])
        notes = [
            f"{n} quantum trajectories, {facts['jumps']} jumps; claimed errors are two standard errors "
            f"({100 * COVERAGE:.0f} % of cases)"
        ]
        basis = work.basis(bool(facts["in_sectors"]))
        if len(basis.indices) > 1:
            notes.append(f"{len(basis.indices)} sectors of {', '.join(str(s) for s in basis.symmetries)}")
        if work.task == "evolve":
            claimed = self._claimed_now(work, iterate)
            if not claimed <= work.tol:
                notes.append(_too_few(n, claimed, work.tol))
        else:
            sampling = Sampling.stored(facts, iterate.arrays)
            claimed = float(facts.get("claimed", math.nan))
            notes += _sampling_notes(self, work, sampling, facts)
        sectors = work.strong_sectors
        if sectors > 1:
            notes.append(
                f"the model has strong symmetries, with one or more steady states in each of {sectors} sectors: "
                + (
                    "the one reached from `initial` is given."
                    if facts["given"]
                    else "the average is an arbitrary mixture."
                )
            )
        return Certificate(
            trace=iterate.state.trace(),
            hermiticity=0.0,
            error_estimate=claimed if math.isfinite(claimed) else None,
            error_parts={"statistical": claimed} if math.isfinite(claimed) else {},
            null_space=sectors if status is Status.NOT_UNIQUE else None,
            notes=tuple(notes),
        )

    def _claimed_now(self, work: TrajectoryWork, iterate: Iterate) -> float:
        crowd = Crowd.stored(iterate.arrays, iterate.state)
        propagator = work.propagator(bool(iterate.scalars["in_sectors"]))
        size = max(1, 2**22 // math.prod(work.dims))
        parts = [slice(a, a + size) for a in range(0, len(crowd.vectors), size)]
        values = np.concatenate(
            [measure_local(work.sets, work.dims, propagator.expand(crowd.vectors[p], crowd.sectors[p])) for p in parts]
        )
        return 2 * worst_error(work.sets, values, np.full(len(values), 1 / len(values)))


# ----------------------------------------------------------------------------------------------------------------------


def _iterate(work: TrajectoryWork, crowd: Crowd, sampling: Sampling, facts: Mapping[str, Any], step: int) -> Iterate:
    state = sampling.state(work, crowd, bool(facts["in_sectors"]))
    arrays = crowd.arrays(with_vectors=True) | sampling.arrays()
    return replace(Iterate(state, step), scalars={**facts, **sampling.scalars()}, arrays=arrays)


def _too_few(trajectories: int, claimed: float, tol: float) -> str:
    if not math.isfinite(claimed):
        return "one trajectory alone has no error estimate."
    needed = math.ceil(trajectories * (claimed / tol) ** 2)
    return (
        f"the statistical error at the last time exceeds tol = {tol:g}: about {needed:.3g} trajectories would reach it."
    )


def _sampling_notes(
    method: Trajectories, work: TrajectoryWork, sampling: Sampling, facts: Mapping[str, Any]
) -> list[str]:
    if sampling.stage != "sample":
        reason = "the burn-in was not completed"
        if sampling.stage == "search":
            which = (
                "trajectories from different starting points still disagree, or drift"
                if sampling.starts > 1
                else ("the averages still drift")
            )
            reason = f"{which}: the steady state is not unique or relaxes more slowly"
        return [f"no steady state was sampled up to time {sampling.time:.4g}: {reason}."]
    how = "given" if method.burn_in is not None else "found from the data"
    if method.burn_in is None and sampling.restarts:
        how += f", extended {sampling.restarts} time(s) when a slow transient showed"
    span = sampling.batches.samples * sampling.interval
    notes = [f"burn-in {sampling.begin:.4g} ({how}), then {span:.4g} of time per trajectory"]
    correlation = float(facts.get("correlation_time", 0.0))
    if correlation > 0:
        count = len(sampling.batches.sums) * span / (2 * correlation)
        notes.append(f"correlation time about {correlation:.3g}: about {count:.3g} independent samples")
    if sampling.starts == 1 and method.burn_in is None:
        notes.append(
            "no different starting points were compared: a transient slower than the calculation could go unseen."
        )
    claimed = float(facts.get("claimed", math.inf))
    if float(facts.get("drift", 0.0)) > 1:
        notes.append("the averages still drift: lengthen `burn_in`.")
    if float(facts.get("disagreement", 0.0)) > 1:
        notes.append("trajectories from different starting points disagree: the steady state may not be unique.")
    if math.isfinite(claimed) and claimed > work.tol:
        notes.append(
            f"the statistical error {claimed:.2g} exceeds tol = {work.tol:g}; about {(claimed / work.tol) ** 2:.3g} "
            "times the trajectories or the sampling time would reach it."
        )
    return notes


def _message(sampling: Sampling, claimed: float | None) -> str:
    if sampling.stage != "sample":
        return f"burn-in, t = {sampling.time:.4g}"
    error = "" if claimed is None or not math.isfinite(claimed) else f", error {claimed:.1e}"
    return f"sampling, t = {sampling.time:.4g}{error}"


def _fraction(work: TrajectoryWork, sampling: Sampling, claimed: float | None) -> float | None:
    if sampling.stage != "sample" or claimed is None or not math.isfinite(claimed) or claimed <= 0:
        return None
    return float(min(1.0, (work.tol / claimed) ** 2))
