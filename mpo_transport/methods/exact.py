"""Exact steady states and dynamics, in the full operator space or in its totally symmetric part."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError, NotSupportedError
from ..lattice import Lattice
from ..model import Lindbladian
from ..result import Certificate, Status
from ..states import DenseState, State
from ..states.base import check_initial
from ..superoperator.charge_sectors import ChargePlan
from ..superoperator.symmetric_sector import SectorPlan
from .base import Diagnostics, Estimate, Iterate, Method, Support, register_method
from .exact_blocks import (
    BlockWork,
    advance_blocks,
    block_plan,
    block_support,
    certify_blocks,
    estimate_blocks,
    start_blocks,
)
from .exact_evolve import Propagator
from .exact_krylov import deepest
from .exact_manifold import stationary_states
from .exact_orbits import (
    FULL_SPACE,
    OrbitWork,
    advance_orbits,
    certify_orbits,
    estimate_orbits,
    orbit_manifold,
    orbit_plan,
    start_orbits,
)
from .exact_report import Work, error_estimate, final_status, is_complete, notes_of, plan_text, strong_sectors
from .exact_sectors import STORED_ENTRIES_LIMIT, split_generator, stored_entries
from .exact_stages import Ledger, Settings, finish, step

__all__ = ["ExactDiag"]

_LARGEST_DIMENSION = 4096
_ALWAYS_DENSE = 48
_SOLVERS = ("auto", "orbits", "blocks", "dense", "direct", "iterative")
_LARGEST_BLOCK = {"dense": 6000, "direct": 20000}


@register_method
@dataclass(frozen=True)
class ExactDiag(Method):
    """Steady state and time evolution of the whole density matrix, exact up to rounding, with the uniqueness checked.

    Solves L rho = 0, Tr rho = 1 in the real Hermitian operator basis, block by block (see :mod:`.exact_sectors`), or,
    from 1024 operators on, in the operators that share all symmetries of the model: translations, reflections, U(1)
    charges and parities found from its text (see :mod:`.exact_orbits`).  The cost grows as their number,
    that is D^2 = prod d_j^2 over the order of the group: uniform rings of 12 spins and chains of 10 take seconds.

    Parameters
    ----------
    solver
        How a block of n operators is treated.  ``"dense"``: singular values and eigenvalues, O(n^3), also reports
        undamped oscillations; ``"direct"``: sparse LU; ``"iterative"``: GCROT with a one-site preconditioner.
        ``"orbits"``: the totally symmetric sector.  ``"blocks"``: elimination over the levels of a weakly conserved
        U(1) charge, see :mod:`.exact_blocks`; direct, however slow or stiff the model.  ``"auto"``: blocks or orbits
        where they pay; blocks of the full space are dense up to ``dense_limit``, direct up to ``direct_limit``, then
        iterative.  (Blocks of up to 48 operators are always dense.)
    rtol
        Relative residual |A y - b| / |b| at which the iterative solver stops.
    max_iterations
        Largest number of products with the generator in one iterative solve.
    check_uniqueness
        Whether to look for further stationary operators.  ``"auto"``: prove uniqueness where possible (the state is
        positive definite, and H and the jumps generate all operators), else search the full space of up to 70000
        operators; True: of any size.  With False, iterative blocks are not searched.  The certificate says what was
        done.
    dense_limit, direct_limit
        Block sizes up to which the dense and the direct solver are chosen.
    depth
        Number of Krylov vectors of one cycle, and of directions kept between cycles.

    Notes
    -----
    *Number of stationary operators.*  A singular value of a block counts as zero if it is below 1e-13 ||L||_1 (the
    iterative search: |L v| <= 1e-12 ||L||_1 |v|).  Rounding of the couplings leaves about 1e-15 ||L||_1, so a
    relaxation rate below that threshold cannot be told from zero in double precision.  A rate above it is respected,
    and the loss of accuracy it causes shows up in the error estimate.

    *Not unique.*  Without ``initial`` the status is ``not_unique``, the state is the one reached from the maximally
    mixed state, and :meth:`manifold` returns extremal stationary states.  With ``initial`` the answer is the limit
    t -> infinity of that state (its time average if modes oscillate without damping).

    Examples
    --------
    >>> from mpo_transport import models
    >>> model, method = models.persistent_current(L=3, alpha=2.0, delta=1.5), ExactDiag()
    >>> work = method.prepare(model, tol=1e-9, seed=0)
    >>> iterate, diagnostics = method.advance(work, method.start(work, None))
    >>> diagnostics.status.value, round(iterate.state.purity(), 12)
    ('converged', 0.186485862275)
    """

    name: ClassVar[str] = "ExactDiag"
    tasks: ClassVar[tuple[str, ...]] = ("steady_state", "evolve")

    solver: str = "auto"
    rtol: float = 1e-12
    max_iterations: int = 20000
    check_uniqueness: bool | str = "auto"
    dense_limit: int = 600
    direct_limit: int = 2100
    depth: int = 40

    def __post_init__(self) -> None:
        if self.solver not in _SOLVERS:
            raise InputError(f"Argument `solver` must be one of {_SOLVERS}, but is {self.solver!r}.", field="solver")
        if not _is_real(self.rtol) or not 1e-15 <= self.rtol < 1:
            raise InputError(f"Argument `rtol` must lie in [1e-15, 1), but is {self.rtol!r}.", field="rtol")
        if self.check_uniqueness not in (True, False, "auto"):
            raise InputError(
                f"Argument `check_uniqueness` must be True, False or 'auto', but is {self.check_uniqueness!r}.",
                field="check_uniqueness",
            )
        for name, least in (("max_iterations", 1), ("dense_limit", 1), ("direct_limit", 1), ("depth", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise InputError(f"Argument `{name}` must be an integer >= {least}, but is {value!r}.", field=name)

    # -- what it can do and what it costs -----------------------------------------------------------------------------

    def supports(self, model: Lindbladian, task: str = "steady_state") -> Support:
        """Return yes for bounded models with D = prod d_j up to 4096, or no with the reason."""
        if task not in self.tasks:
            return Support(False, f"ExactDiag does not do {task!r}.")
        for j, space in enumerate(model.lattice.spaces):
            if not space.is_bounded:
                return Support(False, f"site {j} is an unbounded mode: give `levels` a number for an exact solution.")
        if task == "steady_state" and self.solver == "blocks":
            levels = block_support(model)
            if isinstance(levels, str):
                return Support(False, levels)
            return Support(True, estimate_blocks(levels).detail)
        D = math.prod(int(d) for d in model.lattice.dims)
        if D > _LARGEST_DIMENSION:
            if self._block_plan(model, task) is not None:
                return Support(True, "a conserved charge divides the density matrix into small blocks.")
            plan = self._orbit_plan(model, task)
            if plan is not None:
                return Support(True, f"symmetry leaves about {plan.size:.3g} unknowns.")
            return Support(
                False,
                f"the Hilbert space has dimension {D:.3g}, so the density matrix alone takes "
                f"{16.0 * D * D / 2**30:.3g} GiB; exact solutions are offered up to dimension {_LARGEST_DIMENSION}, "
                "and beyond for steady states with enough symmetry.",
            )
        return Support(True, f"the Hilbert space has dimension {D}, small enough for the whole density matrix.")

    def estimate(self, model: Lindbladian, tol: float) -> Estimate:
        """Return bytes and seconds foreseen from the size of the operator space and the entries of the generator."""
        D = math.prod(float(d) for d in model.lattice.dims)
        if not self.supports(model):
            return Estimate(64.0 * D * D, None, "not supported")
        levels = self._block_plan(model, "steady_state")
        if levels is not None:
            return estimate_blocks(levels)
        plan = self._orbit_plan(model, "steady_state")
        if plan is not None:
            return estimate_orbits(plan)
        size = D * D
        entries = stored_entries(model)
        block = size / 2 if model.has_weak_parity else size
        kind = self._kind(int(block))
        stored = entries <= STORED_ENTRIES_LIMIT or kind != "iterative"
        memory = 16.0 * size * 4 + (60.0 * entries if stored else 0.0)
        product = 1.2e-9 * entries + 2e-8 * size
        if kind == "dense":
            memory, seconds = memory + 5 * 8 * block**2, 2.5e-9 * block**3
        elif kind == "direct":
            memory, seconds = memory + 2 * 12 * block**2, 2e-10 * block**3
        else:
            memory += 8 * block * (4 * min(self.depth, deepest(int(block))) + 20) + 48 * size
            seconds = 500 * (product + 3e-9 * self.depth * block)
        return Estimate(memory, seconds, f"{kind} solver, blocks of about {block:.3g} operators")

    def _kind(self, size: int) -> str:
        if size <= _ALWAYS_DENSE:
            return "dense"
        if self.solver in ("dense", "direct", "iterative"):
            return self.solver
        return "dense" if size <= self.dense_limit else "direct" if size <= self.direct_limit else "iterative"

    def _block_plan(self, model: Lindbladian, task: str) -> ChargePlan | None:
        if task != "steady_state" or self.solver not in ("auto", "blocks"):
            return None
        return block_plan(model, forced=self.solver == "blocks")

    def _orbit_plan(self, model: Lindbladian, task: str) -> SectorPlan | None:
        if task != "steady_state" or self.solver not in ("auto", "orbits"):
            return None
        return orbit_plan(model, forced=self.solver == "orbits")

    # -- steady state -------------------------------------------------------------------------------------------------

    def prepare(
        self, model: Lindbladian, *, tol: float, seed: int, task: str = "steady_state"
    ) -> Work | OrbitWork | BlockWork:
        """Return the generator, its blocks and the solver of each; or its totally symmetric sector; or its levels."""
        support = self.supports(model, task)
        if not support:
            raise NotSupportedError(f"ExactDiag cannot treat this model: {support.reason}", field="method")
        levels = self._block_plan(model, task)
        if levels is not None:
            return BlockWork(model, tol, self._settings(seed), levels, lambda: self._full_work(model, tol, seed))
        plan = self._orbit_plan(model, task)
        if plan is None:
            return self._full_work(model, tol, seed)
        D = math.prod(plan.dims)
        search = self.check_uniqueness is True or (self.check_uniqueness == "auto" and D * D <= FULL_SPACE)
        settings = self._settings(seed)
        return OrbitWork(
            model, tol, settings, plan, search and D <= _LARGEST_DIMENSION, lambda: self._full_work(model, tol, seed)
        )

    def _settings(self, seed: int) -> Settings:
        check = self.check_uniqueness is not False
        return Settings(self.rtol, self.max_iterations, self.depth, int(seed), check)

    def _full_work(self, model: Lindbladian, tol: float, seed: int) -> Work:
        generator = split_generator(model, store=True if self.solver in _LARGEST_BLOCK else None)
        if not math.isfinite(generator.norm):
            raise InputError(
                "The couplings or rates of the model overflow in its generator; rescale them.", field="rate"
            )
        plan = tuple(self._kind(s.size) for s in generator.sectors)
        for sector, kind in zip(generator.sectors, plan, strict=True):
            if sector.size > _LARGEST_BLOCK.get(kind, math.inf):
                raise NotSupportedError(
                    f"Argument `solver` = {self.solver!r} would factorise a block of {sector.size} operators, more "
                    f"than {_LARGEST_BLOCK[kind]}; use solver='iterative'.",
                    field="solver",
                )
        settings = self._settings(seed)
        propagator = Propagator(generator, float(np.clip(tol * 1e-2, 1e-13, 1e-6)))
        return Work(
            model, tol, settings, generator, plan, plan_text(generator, plan), strong_sectors(model), propagator
        )

    def start(self, work: Work | OrbitWork | BlockWork, initial: Any) -> Iterate:
        """Return the first iterate from a named state, a list of local states, a State, or None (maximally mixed)."""
        if isinstance(work, (OrbitWork, BlockWork)):
            given = None if initial is None else _initial_state(work.model.lattice, initial).coefficients()
            return start_blocks(work, given) if isinstance(work, BlockWork) else start_orbits(work, given)
        state = _initial_state(work.model.lattice, "mixed" if initial is None else initial)
        x = state.coefficients()
        ledger = Ledger.begin(work.generator, None if initial is None else x)
        arrays = {**ledger.arrays, **({} if initial is None else {"initial": x}), "x": x}
        return Iterate(state, 0, {**ledger.numbers, "solver": work.text, "time": 0.0}, arrays)

    def advance(self, work: Work | OrbitWork | BlockWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        """Do one piece of work: all factorised blocks, or about a second of iterations."""
        if isinstance(work, (OrbitWork, BlockWork)):
            if _before_full_space(iterate):
                moved = advance_blocks(work, iterate) if isinstance(work, BlockWork) else advance_orbits(work, iterate)
                if moved is not None:
                    return moved
                return _into_full_space(work, iterate)
            work = work.full
        ledger = _ledger(iterate)
        while ledger.numbers["stage"] != "finish":
            k = ledger.numbers["sector"]
            iterative = k < len(work.plan) and work.plan[k] == "iterative"
            ledger = step(work.generator, work.plan, work.settings, ledger)
            if iterative and ledger.numbers["stage"] != "finish":
                break
        if ledger.numbers["stage"] != "finish":
            return self._moved(work, iterate, ledger, ledger.arrays["y"], None)
        x = finish(work.generator, ledger, iterate.arrays.get("initial"))
        residual = float(np.linalg.norm(work.generator.apply(x)))
        error = error_estimate(work, ledger, x, residual)
        dimension = max(1 + len(ledger.arrays["right"]), work.strong)
        ledger = ledger.updated(residual=residual, error=error, dimension=dimension)
        return self._moved(work, iterate, ledger, x, final_status(work, ledger, x, "initial" in iterate.arrays))

    def _moved(
        self, work: Work, iterate: Iterate, ledger: Ledger, x: np.ndarray, status: Status | None
    ) -> tuple[Iterate, Diagnostics]:
        numbers = {**iterate.scalars, **ledger.numbers}
        arrays = {**{k: v for k, v in iterate.arrays.items() if k in ("initial",)}, **ledger.arrays, "x": x}
        state = DenseState.from_coefficients(work.model.lattice, x) if np.all(np.isfinite(x)) else iterate.state
        scale = float(np.linalg.norm(x))
        residual = numbers["residual"]
        measures = {"residual": None if residual is None else residual / scale, "products": float(numbers["products"])}
        if status is not None:
            measures["error_estimate"] = numbers["error"]
        message = f"{numbers['stage']}, block {min(numbers['sector'] + 1, len(work.plan))} of {len(work.plan)}"
        moved = Iterate(state, iterate.step + 1, numbers, arrays)
        return moved, Diagnostics(status, measures, message, 1.0 if status is not None else None)

    def certify(self, work: Work | OrbitWork | BlockWork, iterate: Iterate, status: Status) -> Certificate:
        """Return residual, error estimate, number of stationary operators, and remarks."""
        if isinstance(work, (OrbitWork, BlockWork)):
            if _before_full_space(iterate):
                return certify_blocks(work, iterate) if isinstance(work, BlockWork) else certify_orbits(work, iterate)
            work = work.full
        state = iterate.state
        assert isinstance(state, DenseState)
        x = state.coefficients()
        numbers = iterate.scalars
        finished = numbers.get("stage") == "finish"
        complete = finished and is_complete(work, numbers)
        parts = {"residual and rounding": numbers["error"]} if finished else {}
        if not finished and numbers["time"] > 0:
            parts = {"integration and rounding": work.propagator.error(x, float(numbers["time"]))}
        return Certificate(
            residual=float(np.linalg.norm(work.generator.apply(x)) / np.linalg.norm(x)),
            trace=state.trace(),
            hermiticity=state.hermiticity_defect(),
            error_estimate=sum(parts.values()) if parts else None,
            error_parts=parts,
            null_space=int(numbers["dimension"]) if complete or (finished and numbers["dimension"] > 1) else None,
            notes=tuple(notes_of(work, iterate)),
        )

    def manifold(self, work: Work | OrbitWork | BlockWork, iterate: Iterate) -> tuple[State, ...]:
        """Return stationary states that span the manifold, extremal ones first; empty if the steady state is unique."""
        if isinstance(work, (OrbitWork, BlockWork)):
            if _before_full_space(iterate):
                return () if isinstance(work, BlockWork) else orbit_manifold(work, iterate)
            work = work.full
        right, left = iterate.arrays.get("right"), iterate.arrays.get("left")
        if right is None or left is None or not len(right) or len(right) != len(left):
            return ()
        generator, lattice = work.generator, work.model.lattice
        centre = finish(generator, _ledger(iterate), None)

        def is_stationary(rho: np.ndarray) -> bool:
            x = DenseState(lattice, rho).coefficients()
            return float(np.linalg.norm(generator.apply(x))) <= 1e-8 * generator.norm * float(np.linalg.norm(x))

        rng = np.random.default_rng([work.settings.seed, 4])
        rho_0 = DenseState.from_coefficients(lattice, centre).rho
        found = stationary_states(rho_0, right, generator.dims, is_stationary, rng)
        return tuple(DenseState(lattice, rho) for rho in found)

    # -- time evolution -----------------------------------------------------------------------------------------------

    def propagate(self, work: Work, iterate: Iterate, time: float) -> tuple[Iterate, Diagnostics]:
        """Move the iterate towards ``time`` by a piece of about a second; ``scalars["time"]`` says how far it got."""
        now = float(iterate.scalars.get("time", 0.0))
        if not _is_real(time) or not math.isfinite(time) or time < now:
            raise InputError(f"Argument `time` must be finite and >= {now:g}, but is {time!r}.", field="time")
        x = iterate.arrays["x"]
        piece = 0.0
        if time > now:
            x, piece = work.propagator.move(x, float(time) - now)
        reached = float(time) if piece >= float(time) - now else now + piece
        state = DenseState.from_coefficients(work.model.lattice, x)
        moved = Iterate(state, iterate.step + 1, {**iterate.scalars, "time": reached}, {**iterate.arrays, "x": x})
        fraction = reached / time if time > 0 else 1.0
        return moved, Diagnostics(None, {"time": reached}, f"t = {reached:.6g}", fraction)


# ----------------------------------------------------------------------------------------------------------------------


def _is_real(value: Any) -> bool:
    return isinstance(value, (numbers.Real, np.generic)) and not isinstance(value, bool)


def _before_full_space(iterate: Iterate) -> bool:
    return str(iterate.scalars["stage"]).startswith(("orbits", "blocks"))


def _into_full_space(work: OrbitWork | BlockWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
    """Go on in the full operator space, from what was found in the symmetric sector."""
    lattice = work.model.lattice
    usable = not iterate.scalars["stalled"] and np.all(np.isfinite(iterate.arrays["z"]))
    state = DenseState(lattice, iterate.state.to_dense()) if usable else DenseState.product(lattice, "mixed")
    x = state.coefficients()
    ledger = Ledger.begin(work.full.generator, x)
    kept = {k: v for k, v in iterate.arrays.items() if k == "initial"}
    numbers = {**ledger.numbers, "solver": work.full.text, "time": 0.0}
    moved = Iterate(state, iterate.step + 1, numbers, {**ledger.arrays, **kept, "x": x})
    message = "uniqueness does not follow from the state: searching the full operator space"
    return moved, Diagnostics(None, {"products": float(iterate.scalars["products"])}, message)


def _initial_state(lattice: Lattice, initial: Any) -> DenseState:
    if not isinstance(initial, State):
        return DenseState.product(lattice, initial)
    check_initial(lattice, initial)
    return DenseState(lattice, initial.to_dense())


def _ledger(iterate: Iterate) -> Ledger:
    outside = ("solver", "time")
    return Ledger(
        {k: v for k, v in iterate.scalars.items() if k not in outside},
        {k: v for k, v in iterate.arrays.items() if k not in ("initial", "x")},
    )
