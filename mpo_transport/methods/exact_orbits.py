"""Steady states in the totally symmetric sector: the stage of ExactDiag that reaches furthest.

The unknowns are orbits of operator strings (:mod:`mpo_transport.superoperator.symmetric_sector`).  In every component
that can hold a state,  rho = rho_mixed + y  with

    A y = -L rho_mixed,        A = L - s rho_mixed Tr(.),

which is regular if the component has one stationary state, keeps y traceless and fixes the trace.  Solvers are tried in
turn until one converges:

* ``dense``: LU factorisation, for a few thousand unknowns;
* ``rows``: IDR(4), rows divided by their 2-norms; best where dissipation acts everywhere;
* ``no-jump``: GCROT with the exact inverse of the evolution between jumps; best where it acts in few places;
* ``deep``: GCROT with many vectors, rows divided by their norms.

Uniqueness in the *whole* operator space follows where the state is positive definite and H and the jumps generate all
operators (:mod:`.exact_uniqueness`); otherwise the search of the full space decides where it is affordable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..model import Lindbladian
from ..result import Certificate, Status
from ..states import DenseState, State
from ..states.orbit import OrbitState
from ..superoperator.orbits import LARGEST_TABLE
from ..superoperator.symmetric_sector import SectorPlan, SymmetricSector, build_sector, plan_sector
from .base import Diagnostics, Estimate, Iterate
from .exact_linear import ComponentProblem, SolveState, no_jump_problem, routes, rows_problem, solve_piece
from .exact_report import Work, strong_sectors
from .exact_stages import Settings
from .exact_uniqueness import generates_everything, is_positive_definite

__all__ = [
    "FULL_SPACE",
    "OrbitWork",
    "advance_orbits",
    "certify_orbits",
    "estimate_orbits",
    "orbit_manifold",
    "orbit_plan",
    "start_orbits",
]

FULL_SPACE = 70000
"""Size of the full operator space up to which it is searched for further stationary operators without being asked."""

MOST_UNKNOWNS = 6e6
_SMALLEST = 1024
_LARGEST_DENSE_STATE = 1024
_LARGEST_CHOLESKY = 4096
_NULL = 1e-6
_PROBE = 1e-9
_SINGULAR = 1e13

_plans: WeakKeyDictionary[Lindbladian, SectorPlan] = WeakKeyDictionary()
_generating: WeakKeyDictionary[Lindbladian, bool] = WeakKeyDictionary()


def orbit_plan(model: Lindbladian, *, forced: bool = False) -> SectorPlan | None:
    """Return the plan of the symmetric sector where this route is the better one, else None.

    It is taken from 1024 operators on, if the sector is affordable, and unless the full space is small and has to be
    searched anyway (the steady state is not known to be unique).  ``forced`` asks for affordability only.
    """
    operators = math.prod(float(d) ** 2 for d in model.lattice.dims)
    if operators > LARGEST_TABLE or (operators < _SMALLEST and not forced):
        return None
    if not forced and operators <= FULL_SPACE and not _generates_everything(model):
        return None
    if model not in _plans:
        _plans[model] = plan_sector(model)
    plan = _plans[model]
    return plan if plan.size <= MOST_UNKNOWNS else None


def _generates_everything(model: Lindbladian) -> bool:
    if model not in _generating:
        _generating[model] = generates_everything(model)
    return _generating[model]


def estimate_orbits(plan: SectorPlan) -> Estimate:
    """Return bytes and seconds foreseen for building the sector, solving, and checking positivity."""
    D = math.prod(float(d) for d in plan.dims)
    checked = 16.0 * 3 * D * D if D <= _LARGEST_CHOLESKY else 0.0
    memory = max(plan.memory() + 8.0 * 30 * plan.size, checked + 100.0 * plan.size)
    product = 2.5e-9 * plan.entries + 1e-7 * plan.size
    seconds = 0.1 + plan.seconds() + 300 * product + (2e-10 * D**3 if checked else 0.0)
    return Estimate(memory, seconds, f"symmetry-adapted solver: {plan}")


@dataclass(frozen=True, eq=False)
class OrbitWork:
    """What ``prepare`` makes for this route; the ordinary work of the full space is made only if it is needed."""

    model: Lindbladian
    tol: float
    settings: Settings
    plan: SectorPlan
    search: bool
    make_full: Callable[[], Work]

    @cached_property
    def full(self) -> Work:
        """The full operator space."""
        return self.make_full()

    @cached_property
    def sector(self) -> SymmetricSector:
        """The symmetric sector in the basis with fewest unknowns."""
        return build_sector(self.plan)

    @cached_property
    def units(self) -> SymmetricSector:
        """The symmetric sector in matrix units."""
        return self.sector if self.plan.kind == "units" else build_sector(plan_sector(self.model, kind="units"))

    @cached_property
    def routes(self) -> tuple[str, ...]:
        """Names of the solvers in the order in which they are tried."""
        return routes(self.sector, math.prod(self.plan.dims))

    def sector_of(self, route: str) -> SymmetricSector:
        """Return the sector in which a solver works."""
        return self.units if route == "no-jump" else self.sector

    def problem(self, route: str, component: int) -> ComponentProblem:
        """Return the linear problem of one component with the preconditioner of the route."""
        key = (route, component)
        if key not in self._problems:
            self._problems.clear()
            sector = self.sector_of(route)
            if route == "no-jump":
                self._problems[key] = no_jump_problem(self.model, sector, component)
            else:
                self._problems[key] = rows_problem(sector, component)
        return self._problems[key]

    @cached_property
    def _problems(self) -> dict[tuple[str, int], ComponentProblem]:
        return {}

    def state(self, z: np.ndarray, route: str, *, final: bool = False) -> State:
        """Return the density matrix with the given unknowns; small ones are written out in the end."""
        sector, lattice = self.sector_of(route), self.model.lattice
        state = OrbitState(lattice, sector.basis, sector.coefficients(z), sector.plan.kind)
        return DenseState(lattice, state.to_dense()) if final and self.D <= _LARGEST_DENSE_STATE else state

    @property
    def D(self) -> int:
        """Dimension of the Hilbert space."""
        return math.prod(self.plan.dims)


def _mixed(sector: SymmetricSector) -> np.ndarray:
    z = np.zeros(sector.size)
    for component in sector.components:
        z[component.unknowns] = component.mixed * component.weight
    return z


def start_orbits(work: OrbitWork, initial: np.ndarray | None) -> Iterate:
    """Return the maximally mixed state, from which the solve starts.

    ``initial`` are the coefficients of a given initial state; it matters only if the steady state is not unique.
    """
    numbers = {
        "stage": "orbits solve",
        "route": 0,
        "component": 0,
        "products": 0,
        "residual": None,
        "gain": 0.0,
        "degenerate": False,
        "undecided": False,
        "stalled": False,
        "positive": None,
        "search": work.search or initial is not None,
        "solver": str(work.plan),
        "time": 0.0,
    }
    z = _mixed(work.sector)
    arrays = {"z": z} if initial is None else {"z": z, "initial": initial}
    return Iterate(work.state(z, work.routes[0]), 0, numbers, arrays)


def advance_orbits(work: OrbitWork, iterate: Iterate) -> tuple[Iterate, Diagnostics] | None:
    """Do about a second of work; None if the full operator space has to decide."""
    stage = iterate.scalars["stage"]
    if stage == "orbits finish":
        return _finish(work, iterate)
    return _solve(work, iterate) if stage == "orbits solve" else _probe(work, iterate)


def _route(work: OrbitWork, iterate: Iterate) -> str:
    return work.routes[int(iterate.scalars["route"])]


def _solve(work: OrbitWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
    numbers, arrays = dict(iterate.scalars), dict(iterate.arrays)
    route, k = _route(work, iterate), int(numbers["component"])
    problem = work.problem(route, k) if route != "dense" else work.problem("rows", k)
    component = work.sector_of(route).components[k]
    # both |A y - b| / |b| and |L rho| / |rho| are to be below rtol
    target = work.settings.rtol * min(float(np.linalg.norm(problem.b)), float(np.linalg.norm(component.mixed)))
    before = SolveState.load(numbers, arrays)
    state = solve_piece(problem, route, problem.b, before, target, work.settings)
    spent = state.products - (before.products if before else 0)
    numbers |= {"products": numbers["products"] + spent, "residual": state.residual}
    z = arrays["z"].copy()
    if state.ended != "failed":
        z[component.unknowns] = (component.mixed + state.x) * component.weight
        arrays["z"] = z
    if state.ended is None:
        numbers, arrays = state.save(numbers, arrays)
    else:
        numbers, arrays = SolveState.clear(numbers, arrays)
        if state.ended == "failed" and numbers["route"] + 1 < len(work.routes):
            numbers |= {
                "route": numbers["route"] + 1,
                "component": 0,
                "gain": 0.0,
                "degenerate": False,
                "undecided": False,
            }
            arrays["z"] = _mixed(work.sector_of(work.routes[numbers["route"]]))
        else:
            numbers["stalled"] = numbers["stalled"] or state.ended == "failed"
            numbers["gain"] = max(numbers["gain"], state.gain)
            if route == "dense":
                numbers["degenerate"] = numbers["degenerate"] or state.gain * work.sector.norm > _SINGULAR
            look = work.settings.check and not numbers["stalled"] and route != "dense"
            numbers |= {"stage": "orbits probe"} if look else _next(work, numbers)
    return _moved(work, iterate, numbers, arrays, "solving")


def _probe(work: OrbitWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
    """What survives when A x = 0 is solved from a random start is stationary, or decays slowest."""
    numbers, arrays = dict(iterate.scalars), dict(iterate.arrays)
    route, k = _route(work, iterate), int(numbers["component"])
    problem = work.problem(route, k) if route != "dense" else work.problem("rows", k)
    n = len(problem.b)
    start = np.random.default_rng([work.settings.seed, 5, k]).standard_normal(n)
    start -= problem.mixed * float(problem.trace @ start)
    b = problem.apply(start)
    size = float(np.linalg.norm(b))
    before = SolveState.load(numbers, arrays)
    state = solve_piece(problem, route, b, before, _PROBE * size, work.settings)
    numbers["products"] += state.products - (before.products if before else 0)
    if state.ended is None:
        numbers, arrays = state.save(numbers, arrays)
        return _moved(work, iterate, numbers, arrays, "looking for further stationary operators")
    numbers, arrays = SolveState.clear(numbers, arrays)
    survivor = float(np.linalg.norm(start - state.x))
    if state.ended == "failed":
        numbers["undecided"] = True
    elif survivor > max(_NULL * float(np.linalg.norm(start)), 100 * numbers["gain"] * state.residual) and n > 1:
        numbers["degenerate"] = True
    elif state.residual > 0:
        numbers["gain"] = max(numbers["gain"], survivor / state.residual, state.gain)
    numbers |= _next(work, numbers)
    return _moved(work, iterate, numbers, arrays, "looking for further stationary operators")


def _next(work: OrbitWork, numbers: Mapping[str, Any]) -> dict[str, Any]:
    k = int(numbers["component"]) + 1
    last = k >= len(work.sector_of(work.routes[int(numbers["route"])]).components)
    return {"stage": "orbits finish" if last else "orbits solve", "component": 0 if last else k}


def _moved(
    work: OrbitWork, iterate: Iterate, numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray], message: str
) -> tuple[Iterate, Diagnostics]:
    route = work.routes[int(numbers["route"])]
    finite = bool(np.all(np.isfinite(arrays["z"])))
    state = work.state(arrays["z"], route) if finite else iterate.state
    measures = {"residual": numbers["residual"], "products": float(numbers["products"])}
    text = f"{message} ({route}), {numbers['products']} products"
    return Iterate(state, iterate.step + 1, numbers, arrays), Diagnostics(None, measures, text)


# ----------------------------------------------------------------------------------------------------------------------
# the verdict


def _finish(work: OrbitWork, iterate: Iterate) -> tuple[Iterate, Diagnostics] | None:
    numbers = dict(iterate.scalars)
    route, z = _route(work, iterate), iterate.arrays["z"]
    sector = work.sector_of(route)
    absolute = _residual(sector, z)
    rounding = np.finfo(float).eps * sector.norm * float(np.linalg.norm(z))
    drift = numbers["gain"] * (absolute + rounding)  # Hilbert-Schmidt norm of the error of rho
    error = float(math.sqrt(work.D) * drift)
    several = len(sector.components) > 1
    positive = None
    if work.settings.check and not (several or numbers["degenerate"] or numbers["stalled"]):
        positive = _is_unique(work, z, route, drift)
    if positive is not True and numbers["search"]:
        return None
    numbers |= {"error": error, "residual": absolute, "positive": positive}
    status = Status.CONVERGED
    if not np.all(np.isfinite(z)) or not math.isfinite(error):
        status = Status.NOT_FINITE
    elif numbers["stalled"]:
        status = Status.NOT_CONVERGED
    elif several or numbers["degenerate"] or strong_sectors(work.model) > 1:
        status = Status.NOT_UNIQUE
    elif error > work.tol or (numbers["undecided"] and not positive):
        status = Status.NOT_CONVERGED
    state = work.state(z, route, final=True) if status is not Status.NOT_FINITE else iterate.state
    scale = float(np.linalg.norm(z))
    measures = {"residual": absolute / scale, "products": float(numbers["products"]), "error_estimate": error}
    return Iterate(state, iterate.step + 1, numbers, iterate.arrays), Diagnostics(status, measures, "finished", 1.0)


def _residual(sector: SymmetricSector, z: np.ndarray) -> float:
    parts = [float(np.linalg.norm(c.matrix @ z[c.unknowns])) for c in sector.components]
    return float(np.linalg.norm(parts))


def _is_unique(work: OrbitWork, z: np.ndarray, route: str, drift: float) -> bool | None:
    """Whether the state is positive definite and H and the jumps generate everything; None where that was not tried."""
    if work.D > _LARGEST_CHOLESKY:
        return None
    if not _generates_everything(work.model):
        return False
    rho = work.state(z, route).to_dense()
    margin = 2 * drift + 10 * np.finfo(float).eps * float(np.linalg.norm(z))
    return is_positive_definite(rho, margin, _charge_labels(work.model))


def _charge_labels(model: Lindbladian) -> np.ndarray:
    """Return one integer per basis state that is different where a conserved charge differs, shape (D,)."""
    columns = []
    for symmetry in model.conserved:
        total = np.zeros(1, dtype=np.int64)
        for weight, space in zip(symmetry.weights, model.lattice.spaces, strict=True):
            number = np.zeros(int(space.dim)) if space.number is None else np.asarray(space.number)
            change = np.rint(weight * (number - number[0])).astype(np.int64)
            total = (total[:, None] + change[None, :]).ravel()
        columns.append(total % 2 if symmetry.group == "Z2" else total)
    if not columns:
        return np.zeros(math.prod(int(d) for d in model.lattice.dims), dtype=np.int64)
    return np.unique(np.array(columns), axis=1, return_inverse=True)[1].ravel()


def certify_orbits(work: OrbitWork, iterate: Iterate) -> Certificate:
    """Return residual, error estimate, number of stationary operators where it is known, and remarks."""
    numbers, z = iterate.scalars, iterate.arrays["z"]
    sector = work.sector_of(_route(work, iterate))
    finished = "error" in numbers
    return Certificate(
        residual=_residual(sector, z) / float(np.linalg.norm(z)),
        trace=iterate.state.trace(),
        hermiticity=0.0,
        error_estimate=numbers.get("error"),
        error_parts={"residual and rounding": numbers["error"]} if finished else {},
        null_space=1 if finished and numbers["positive"] else None,
        notes=tuple(_notes(work, iterate, finished)),
    )


def _notes(work: OrbitWork, iterate: Iterate, finished: bool) -> list[str]:
    numbers = iterate.scalars
    route = _route(work, iterate)
    sector = work.sector_of(route)
    notes = [f"solver: {sector.plan}; {_WORDS[route]}, {numbers['products']} products"]
    if not finished:
        return notes
    several = len(sector.components)
    if numbers["stalled"]:
        notes.append("no solver reached rtol; raise max_iterations")
    elif numbers["positive"]:
        notes.append("unique: the state is positive definite, and H and the jumps generate all operators")
    elif several > 1:
        notes.append(
            f"{several} sectors of strong symmetries hold a steady state each; the state shown is the one reached from "
            "the maximally mixed state"
        )
    elif numbers["degenerate"]:
        notes.append("a further stationary operator was met in the totally symmetric sector")
    elif not work.settings.check:
        notes.append("uniqueness was not checked (check_uniqueness=False)")
    else:
        found = "inconclusive" if numbers["undecided"] else "one stationary state"
        notes.append(
            f"uniqueness was checked only in the totally symmetric sector ({found}); outside of it only with "
            "check_uniqueness=True, which searches the full operator space"
        )
    return notes


_WORDS = {
    "dense": "LU factorisation, because the sector is small",
    "rows": "IDR(4) iterations with row scaling",
    "no-jump": "GCROT iterations with the inverse of the evolution between jumps, because row scaling stagnated",
    "deep": "GCROT iterations with row scaling, because other solvers stagnated",
}


def orbit_manifold(work: OrbitWork, iterate: Iterate) -> tuple[State, ...]:
    """Return the steady state of every sector of the strong symmetries; empty if there is only one."""
    sector = work.sector_of(_route(work, iterate))
    if len(sector.components) < 2:
        return ()
    out = []
    for component in sector.components:
        z = np.zeros(sector.size)
        part = iterate.arrays["z"][component.unknowns]
        z[component.unknowns] = part / float(component.trace @ part)
        out.append(work.state(z, _route(work, iterate), final=True))
    return tuple(out)
