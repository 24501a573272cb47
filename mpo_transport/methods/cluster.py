"""Cluster mean field: a product of cluster density matrices, each in the self-consistent field of the others."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError, NotSupportedError
from ..model import Lindbladian
from ..result import Certificate, Status
from ..states import ClusterState
from .base import Diagnostics, Estimate, Iterate, Method, Support, register_method
from .cluster_equations import ClusterEquations, contiguous_clusters
from .cluster_seeds import field_seed, fits_period, mode_seed, tiled
from .cluster_solve import Stability, flow, is_physical, newton, residual, stability, trajectory
from .cluster_work import ORDER, ClusterWork, is_stable

__all__ = ["ClusterMeanField"]

BRANCHES = ("symmetric", "broken", "auto")
_LARGEST_CLUSTER = 4096  # real unknowns of one cluster
_STEPS_PER_ADVANCE = 200
_STIFF = 2e4  # (upper scale of the rates) x (time) above which a trajectory counts as stiff
_LABEL = ("branch", "stable", "growth_rate", "frequency", "ring_growth_rate", "momentum", "momenta", "order_parameter")
_CYCLE_WINDOW = 8  # advances without progress of the residual that show a limit cycle


@register_method
@dataclass(frozen=True)
class ClusterMeanField(Method):
    """Mean field of clusters of consecutive sites: rho = (x)_C rho_C.

    Every term of the Lindbladian that crosses a boundary acts on a cluster with its other part replaced by expectation
    values; a bond jump f = A + B cut between A (outside) and B leaves D[B] rho + (a [rho, B^+] + a^* [B, rho])/2 with
    a = <A> and the like for any term (Keck, Rossini, Fazio, Phys. Rev. A 98, 053812 (2018), Appendix C).

    Parameters
    ----------
    size
        Sites per cluster.  A ring must consist of whole clusters; on an open chain or a graph (clusters of consecutive
        sites) the last cluster may be smaller.
    branch
        ``"symmetric"``: the solution with all parities of the model (every odd operator vanishes), stable or not; if
        the model has no parity, the fixed point reached from the maximally mixed state.  ``"broken"``: the attractor
        with spontaneously broken parity (or, without a parity, another attractor); if none is found, the symmetric
        solution and a note that says so.  ``"auto"``: the symmetric solution if stable, otherwise the broken one.
    uniform
        Whether all clusters share one density matrix.  None: yes where the model is invariant under a shift by one
        cluster, except that two alternating clusters are used where the broken pattern asks for them.
    max_steps
        Most implicit time steps of all flows towards a fixed point.
    perturbation
        Size of the symmetry-breaking perturbation that starts a flow, between 0 and 1.

    Notes
    -----
    ``Iterate.scalars`` holds ``branch`` (``"symmetric"``, ``"broken"``, or ``"unconstrained"`` where there is no
    parity), ``stable``, ``growth_rate`` (largest real part of the linearised equations within the ansatz;
    ``ring_growth_rate`` over all momenta of the ring) and ``order_parameter`` (norm of the odd coefficients).
    Mean field has no error estimate against the exact state: compare two sizes.

    Raises
    ------
    InputError
        For a knob out of range, naming it.

    Examples
    --------
    >>> ClusterMeanField(size=3, branch="auto").size
    3
    """

    size: int = 2
    branch: str = "symmetric"
    uniform: bool | None = None
    max_steps: int = 20_000
    perturbation: float = 0.1

    name: ClassVar[str] = "ClusterMeanField"
    tasks: ClassVar[tuple[str, ...]] = ("steady_state", "evolve")

    def __post_init__(self) -> None:
        for knob in ("size", "max_steps"):
            value = getattr(self, knob)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InputError(f"Argument `{knob}` must be an integer >= 1, but is {value!r}.", field=knob)
        if self.branch not in BRANCHES:
            raise InputError(f"Argument `branch` must be one of {BRANCHES}, but is {self.branch!r}.", field="branch")
        if self.uniform is not None and not isinstance(self.uniform, bool):
            raise InputError(
                f"Argument `uniform` must be True, False or None, but is {self.uniform!r}.", field="uniform"
            )
        if not isinstance(self.perturbation, (int, float)) or not 0 < self.perturbation < 1:
            raise InputError(
                f"Argument `perturbation` must lie between 0 and 1, but is {self.perturbation!r}.", field="perturbation"
            )

    # -- what it can do ---------------------------------------------------------------------------------------------

    def supports(self, model: Lindbladian, task: str = "steady_state") -> Support:
        lattice = model.lattice
        if task not in self.tasks:
            return Support(False, f"cluster mean field has no task {task!r}.")
        if not lattice.is_bounded:
            return Support(False, "cluster mean field needs bounded local spaces; give `levels` a number.")
        if self.size > lattice.L:
            return Support(False, f"the cluster size {self.size} exceeds the {lattice.L} sites.")
        if lattice.periodic and lattice.L % self.size:
            return Support(
                False,
                f"a ring of {lattice.L} sites does not consist of whole clusters of {self.size}; change `size` or L.",
            )
        largest = max(
            math.prod(int(lattice.dims[s]) ** 2 for s in c) for c in contiguous_clusters(lattice.L, self.size)
        )
        if largest > _LARGEST_CLUSTER:
            return Support(
                False,
                f"a cluster of {self.size} sites has {largest} real unknowns (limit {_LARGEST_CLUSTER}); lower `size`.",
            )
        return Support(True, f"clusters of {self.size} sites, each in the mean field of the others.")

    def estimate(self, model: Lindbladian, tol: float) -> Estimate:
        clusters = contiguous_clusters(model.L, self.size)
        largest = max(math.prod(float(model.lattice.dims[s]) ** 2 for s in c) for c in clusters)
        unknowns = largest * (1 if model.lattice.periodic and self.uniform is not False else len(clusters))
        dense = min(unknowns, 1500.0)
        return Estimate(
            memory_bytes=40 * dense**2 + 2000 * unknowns,
            seconds=1e-8 * dense**3 + 1e-4 * unknowns,
            detail=f"{len(clusters)} clusters with up to {largest:.0f} real unknowns each",
        )

    def prepare(self, model: Lindbladian, *, tol: float, seed: int, task: str = "steady_state") -> ClusterWork:
        support = self.supports(model, task)
        if not support:
            raise NotSupportedError(f"Method {self.name} does not support this model: {support.reason}", field="method")
        work = ClusterWork(model, self.size, tol, task)
        if self.uniform and not work.invariant:
            raise InputError(
                f"Argument `uniform` = True needs a ring that is invariant under a shift by {self.size} sites.",
                field="uniform",
            )
        return work

    # -- steps --------------------------------------------------------------------------------------------------------

    def start(self, work: ClusterWork, initial: Any) -> Iterate:
        given = initial is not None
        matrices = work.cluster_matrices("mixed" if initial is None else initial)
        fitting = [p for p in self._periods(work) if fits_period(matrices, p)]
        if not fitting:
            raise InputError(
                "Argument `initial` differs between clusters, which `uniform` = True excludes; leave `uniform` out.",
                field="initial",
            )
        x = work.equations(fitting[0]).pack(matrices[: fitting[0]])
        scalars: dict[str, Any] = {"period": fitting[0], "time": 0.0, "stage": "symmetric", "steps": 0}
        arrays = {"x": x}
        if given:
            arrays["initial"] = x
            scalars["initial_period"] = fitting[0]
        return _iterate(work, scalars, arrays, 0)

    def _periods(self, work: ClusterWork) -> list[int]:
        """Return the allowed numbers of independent clusters, smallest first."""
        count = len(work.clusters)
        if not work.invariant or self.uniform is False:
            return [count]
        return [1] if self.uniform else [p for p in (1, 2) if count % p == 0 and p < count] + [count]

    def advance(self, work: ClusterWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        if iterate.scalars["stage"] == "symmetric":
            return self._solve_symmetric(work, iterate)
        return self._follow(work, iterate)

    def _solve_symmetric(self, work: ClusterWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        """Newton in the even sector from the mixed state; a flow there if that fails or finds a repeller."""
        if self.branch == "symmetric" and "initial" in iterate.arrays:
            start, period = iterate.arrays["initial"].copy(), int(iterate.scalars["initial_period"])
        else:
            period = self._periods(work)[0]
            start = work.equations(period).mixed()
        equations, even = work.equations(period), work.even(period)
        start[work.odd(period)] = 0.0
        if not (self.branch == "symmetric" and "initial" in iterate.arrays):
            x, reached = newton(equations, start, even)
            if reached and is_physical(equations, x) and is_stable(equations, stability(equations, x, even)):
                return self._found_symmetric(work, _with(iterate, x, period=period))
        return _go_on(work, _with(iterate, start, stage="flow", sector="even", seed=0, period=period, minima=[]))

    def _found_symmetric(self, work: ClusterWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        period, x = int(iterate.scalars["period"]), iterate.arrays["x"]
        equations = work.equations(period)
        found = work.stability(period, x, symmetric=True)
        label = "symmetric" if work.parities else "unconstrained"
        iterate = _label(iterate, equations, found, label, 0.0)
        iterate = replace(
            iterate,
            arrays={**iterate.arrays, "symmetric": x},
            scalars={
                **iterate.scalars,
                "symmetric_period": period,
                "symmetric_growth_rate": found.ring_growth_rate,
                "symmetric_stable": is_stable(equations, found, ring=True),
            },
        )
        if self.branch == "symmetric" or (self.branch == "auto" and iterate.scalars["stable"]):
            return _finish(work, iterate, found.zero_modes)
        return self._next_seed(work, iterate, 0)

    def _seeds(self, work: ClusterWork, iterate: Iterate) -> list[str]:
        if "initial" in iterate.arrays:
            return ["initial"]
        return ([] if iterate.scalars["symmetric_stable"] else ["mode"]) + ["staggered", "uniform"]

    def _next_seed(self, work: ClusterWork, iterate: Iterate, seed: int) -> tuple[Iterate, Diagnostics]:
        seeds = self._seeds(work, iterate)
        if seed == len(seeds):
            return self._give_up(work, iterate)
        symmetric = int(iterate.scalars["symmetric_period"])
        if seeds[seed] == "initial":
            period, x = int(iterate.scalars["initial_period"]), iterate.arrays["initial"]
        else:
            period = self._broken_period(work, iterate, seeds[seed])
            equations = work.equations(period)
            x = tiled(iterate.arrays["symmetric"], work.equations(symmetric), period)
            if seeds[seed] == "mode":
                directions = work.odd(period) if work.parities else equations.free
                x = mode_seed(equations, x, directions, self.perturbation)
            else:
                x = field_seed(equations, work.model.lattice, work.local_parity, seeds[seed] == "staggered")
        return _go_on(work, _with(iterate, x, stage="flow", sector="all", seed=seed, period=period, minima=[]))

    def _broken_period(self, work: ClusterWork, iterate: Iterate, seed: str) -> int:
        """Smallest unit cell of clusters that holds the pattern of the seed."""
        periods = self._periods(work)
        if seed == "uniform" or len(periods) == 1:
            return periods[0]
        if seed == "staggered":
            return periods[0] if self.size % 2 == 0 or 2 not in periods else 2
        period = int(iterate.scalars["symmetric_period"])
        momentum = work.stability(period, iterate.arrays["symmetric"], symmetric=True).momentum
        if momentum == 0.0:
            return period
        return 2 if 2 in periods and abs(momentum - math.pi) < 1e-9 else periods[-1]

    def _follow(self, work: ClusterWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        """One piece of flow, then an attempt of Newton's method from where it ended."""
        scalars = iterate.scalars
        period, in_even = int(scalars["period"]), scalars["sector"] == "even"
        equations = work.equations(period)
        active = work.even(period) if in_even else equations.free
        piece = flow(equations, iterate.arrays["x"], active, float(scalars["time"]), _STEPS_PER_ADVANCE)
        steps = int(scalars["steps"]) + piece.steps
        minima = [*scalars["minima"], piece.residual][-2 * _CYCLE_WINDOW :]
        iterate = _with(iterate, piece.x, time=piece.time, steps=steps, minima=minima)
        x, reached = newton(equations, piece.x, active)
        if reached and is_physical(equations, x):
            attracting = is_stable(equations, stability(equations, x, active))
            if in_even and (attracting or piece.settled):  # at rest from a symmetric start: symmetric, stable or not
                return self._found_symmetric(work, _with(iterate, x))
            order = work.order(period, x, iterate.arrays.get("symmetric"))
            if not in_even and order > ORDER and attracting:
                return self._found_broken(work, _with(iterate, x), order)
            if not in_even and order > ORDER and piece.settled and steps < self.max_steps:
                # at rest on a saddle, for example with one of two parities broken: leave it
                pushed = mode_seed(equations, x, equations.free, self.perturbation)
                return _go_on(work, _with(iterate, pushed, minima=[]))
        if not in_even and piece.settled:
            return self._next_seed(work, iterate, int(scalars["seed"]) + 1)
        cycling = _is_cycling(minima)
        if not cycling and not piece.settled and steps < self.max_steps:
            return _go_on(work, iterate)
        iterate = _note(
            iterate,
            "the flow does not come to rest (a limit cycle, chaos or a very slow mode): the state is one instant of it."
            if cycling
            else f"the flow did not reach a fixed point within max_steps = {self.max_steps} steps.",
        )
        if iterate.scalars.get("symmetric_stable"):
            iterate = _note(iterate, "the symmetric solution is stable.")
        unlabelled = {k: v for k, v in iterate.scalars.items() if k not in _LABEL}
        return _fail(work, replace(iterate, scalars=unlabelled))

    def _found_broken(self, work: ClusterWork, iterate: Iterate, order: float) -> tuple[Iterate, Diagnostics]:
        period = int(iterate.scalars["period"])
        equations = work.equations(period)
        x = work.with_fixed_sign(period, iterate.arrays["x"])
        found = work.stability(period, x, symmetric=False)
        iterate = _label(_with(iterate, x), equations, found, "broken", order)
        if work.model.has_weak_parity:
            iterate = _note(iterate, "its partner with all odd expectation values reversed is a solution too.")
        elif not work.parities:
            iterate = _note(
                iterate, "the model has no parity: this is another attractor than the maximally mixed state's."
            )
        continuous = sum(s.group == "U(1)" for s in work.model.conserved)
        return _finish(work, iterate, max(found.zero_modes - continuous, 0))

    def _give_up(self, work: ClusterWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        period = int(iterate.scalars["symmetric_period"])
        equations, x = work.equations(period), iterate.arrays["symmetric"]
        found = work.stability(period, x, symmetric=True)
        iterate = _label(_with(iterate, x, period=period), equations, found, "symmetric", 0.0)
        if iterate.scalars["stable"]:
            iterate = _note(iterate, "no broken solution found: the symmetric one is stable.")
            return _finish(work, iterate, found.zero_modes)
        iterate = _note(iterate, "the symmetric solution is unstable, but no broken fixed point was reached.")
        return _fail(work, iterate)

    def propagate(self, work: ClusterWork, iterate: Iterate, time: float) -> tuple[Iterate, Diagnostics]:
        """Move towards ``time`` with the nonlinear mean-field equations.

        Explicit high-order steps (in pieces over long times), implicit ones where the equations are stiff and few.
        """
        period, now = int(iterate.scalars["period"]), float(iterate.scalars["time"])
        if not isinstance(time, (int, float, np.floating)) or not math.isfinite(time) or time < now:
            raise InputError(f"Argument `time` must be finite and >= {now:g}, but is {time!r}.", field="time")
        if time == now:
            return iterate, Diagnostics(None, {"time": now}, f"t = {now:.6g}", 1.0)
        equations = work.equations(period)
        stiff = equations.rate * (time - now) > _STIFF and equations.size <= 600
        stop = time if stiff else min(time, now + _STIFF / equations.rate)
        try:
            x = trajectory(equations, iterate.arrays["x"], now, stop, min(1e-2 * work.tol, 1e-6), stiff=stiff)
        except FloatingPointError as problem:
            return iterate, Diagnostics(Status.NOT_FINITE, message=str(problem))
        moved = _with(iterate, x, time=stop, branch="evolution")
        moved = _iterate(work, dict(moved.scalars), dict(moved.arrays), iterate.step + 1)
        return moved, Diagnostics(None, {"time": stop}, f"t = {stop:.6g}", stop / time if time > 0 else 1.0)

    def certify(self, work: ClusterWork, iterate: Iterate, status: Status) -> Certificate:
        scalars = iterate.scalars
        equations = work.equations(int(scalars["period"]))
        notes = [
            f"mean field with clusters of {self.size} sites: the residual is that of the nonlinear cluster equations. "
            "There is no error estimate against the exact state; the difference between two sizes is indicative."
        ]
        if "branch" in scalars and "stable" in scalars:
            notes.append(
                f"branch: {scalars['branch']}, {'stable' if scalars['stable'] else 'unstable'} "
                f"(leading growth rate {scalars['growth_rate']:+.6g}"
                + (
                    f", {scalars['ring_growth_rate']:+.6g} at momentum {scalars['momentum']:.4g} per cell"
                    if scalars["momentum"]
                    else ""
                )
                + f"; {scalars['momenta']} momenta looked at); order parameter {scalars['order_parameter']:.6g}"
            )
        notes += list(scalars.get("notes", ()))
        return Certificate(
            residual=residual(equations, iterate.arrays["x"]),
            trace=iterate.state.trace(),
            hermiticity=0.0,
            null_space=scalars.get("null_space"),
            notes=tuple(notes),
        )


# ----------------------------------------------------------------------------------------------------------------------


def _is_cycling(minima: list[float]) -> bool:
    """Whether the smallest residual of each of two windows of advances agrees: no approach to a fixed point."""
    if len(minima) < 2 * _CYCLE_WINDOW:
        return False
    return abs(min(minima[_CYCLE_WINDOW:]) / min(minima[:_CYCLE_WINDOW]) - 1) < 5e-3


def _with(iterate: Iterate, x: np.ndarray, **scalars: Any) -> Iterate:
    return replace(iterate, arrays={**iterate.arrays, "x": x}, scalars={**iterate.scalars, **scalars})


def _note(iterate: Iterate, text: str) -> Iterate:
    return replace(iterate, scalars={**iterate.scalars, "notes": [*iterate.scalars.get("notes", ()), text]})


def _label(iterate: Iterate, equations: ClusterEquations, found: Stability, branch: str, order: float) -> Iterate:
    values = (
        branch,
        is_stable(equations, found, ring=True),
        found.growth_rate,
        found.frequency,
        found.ring_growth_rate,
        found.momentum,
        found.momenta,
        order,
    )
    facts = dict(zip(_LABEL, values, strict=True))
    return replace(iterate, scalars={**iterate.scalars, **facts})


def _iterate(work: ClusterWork, scalars: dict[str, Any], arrays: dict[str, np.ndarray], step: int) -> Iterate:
    period = int(scalars["period"])
    owner = [c % period for c in range(len(work.clusters))]
    state = ClusterState(work.model.lattice, work.clusters, work.equations(period).unpack(arrays["x"]), owner)
    return Iterate(state, step, scalars, arrays)


def _closed(work: ClusterWork, iterate: Iterate) -> tuple[Iterate, dict[str, float | None]]:
    new = _iterate(work, dict(iterate.scalars), dict(iterate.arrays), iterate.step + 1)
    equations = work.equations(int(new.scalars["period"]))
    measures: dict[str, float | None] = {
        "residual": residual(equations, new.arrays["x"]),
        "order_parameter": work.order(int(new.scalars["period"]), new.arrays["x"]),
        "time": float(new.scalars["time"]),
    }
    return new, measures


def _go_on(work: ClusterWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
    new, measures = _closed(work, iterate)
    return new, Diagnostics(None, measures, f"mean-field flow, residual {measures['residual']:.1e}")


def _finish(work: ClusterWork, iterate: Iterate, zero_modes: int) -> tuple[Iterate, Diagnostics]:
    status = Status.CONVERGED
    if zero_modes:
        status = Status.NOT_UNIQUE
        iterate = replace(iterate, scalars={**iterate.scalars, "null_space": 1 + zero_modes})
        iterate = _note(iterate, f"{zero_modes} undamped direction(s): the solution is one of a continuous family.")
    new, measures = _closed(work, iterate)
    return new, Diagnostics(status, measures, f"{new.scalars['branch']} branch", 1.0)


def _fail(work: ClusterWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
    new, measures = _closed(work, iterate)
    finite = bool(np.all(np.isfinite(new.arrays["x"])))
    return new, Diagnostics(Status.NOT_CONVERGED if finite else Status.NOT_FINITE, measures, "no fixed point", 1.0)
