"""The method TEBD: knobs, support, cost, and the verbs of :class:`~mpo_transport.methods.Method`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError, NotSupportedError
from ...model import Lindbladian
from ...result import Certificate, Status
from ...states import MPOState
from ...superoperator.mpo import lindbladian_mpo
from ..base import Diagnostics, Estimate, Iterate, Method, Support, register_method
from ..knobs import check_integer, check_positive, initial_train, is_number
from ..uniqueness import degeneracy
from . import blocks
from .charges import Charges
from .charges_engine import ChargeEngine
from .charges_model import ChargeModel, charge_model
from .charges_plan import ChargePlan
from .engine import Engine, Progress
from .evolve import Evolution
from .graded import Parity, find_parity
from .plan import (
    LARGEST_GATES,
    LARGEST_WINDOW,
    Plan,
    build_geometry,
    build_plan,
    gate_bytes,
    gate_refusal,
    position_order,
)
from .schedule import Limits
from .splitting import ORDERS
from .stretches import hidden_rate

__all__ = ["TEBD", "TEBDWork"]

# Bond dimension allowed when `max_bond` is not given.
DEFAULT_MAX_BOND = 256
# Largest simulated time when `max_time` is not given, in units of 1/Lambda.
DEFAULT_TIME = 2e5
# Floating-point operations per second of one core in the sweeps (0.5 to 3e10 for bond dimensions 12 to 60).
SPEED = 1.5e10
# The same, counted as if dense, where blocks of a parity are likely (whether there is one is not yet known).
BLOCK_SPEED = 4e10
# Tolerance below which order 6 needs fewer layers than order 4, and the Lambda dt from which on it is used.
ORDER_6_BELOW = 1e-7
HIGH_ORDER_STEP = 2.0
LAYOUTS = ("auto", "dense", "z2", "u1")
# Local dimension from which blocks of a U(1) charge are taken by themselves.
CHARGES_FROM = 6


@dataclass
class TEBDWork:
    """What ``prepare`` makes: the engine of the steady state or of the time evolution."""

    model: Lindbladian
    task: str
    engine: Engine
    evolution: Evolution


@register_method
@dataclass(frozen=True)
class TEBD(Method):
    """Time-evolving block decimation of the vectorised density matrix.

    The density matrix is a real matrix product in the Hermitian operator basis; exp(L dt) is split into gates that are
    carried over the chain with the orthogonality centre, cutting bonds by a range finder without an SVD.  Every knob
    that is not given follows from ``tol``: the time step is shortened and the bond dimension enlarged until the
    estimated error of local observables is below it.

    Parameters
    ----------
    max_bond
        Largest bond dimension (default 256).
    cutoff
        Relative weight that one truncation may discard; truncations are then SVDs and bond dimensions follow the state.
        None: bond dimensions are grown in stages until their error is below the tolerance.
    dt
        Time step (unit: 1/energy, hbar = 1).  None: automatic.  With ``dt`` and ``max_bond`` both given the steady
        state of exactly these two is returned, with the estimate of its error.
    order
        Order of the splitting, 2, 4 or 6 (Blanes and Moan, J. Comput. Appl. Math. 142, 313 (2002)).  None: 4, or 6 for
        steady states to better than 1e-7 with an automatic step.
    max_time
        Largest simulated time of a search for the steady state.
    iterations
        Passes of the range finder per truncation, 1 or 2 (None: 2 where weight is being discarded).
    initial_bond
        Bond dimension of the first stages.  None: 8, or 12 for tolerances below 1e-3.
    layout
        "z2": tensors in blocks of a weak parity that the Hermitian basis shows (nearest neighbours of an open chain);
        "u1": steady states in blocks of the charge n - n', for large local dimension (nearest neighbours of an open
        chain that conserve the sum of all N, jumps on single sites); "dense": without; "auto": in blocks of a charge
        from d = 6 on, in blocks of a parity where possible and numba (extra ``fast``) is there to compile them.
    threads
        1, or 2: two halves of the chain are swept at once, see :mod:`mpo_transport.methods.tebd.halves`.  Only for
        steady states in compiled blocks of a parity, from about L chi^3 = 3e4 on, wherever layers alternate; all else
        runs on one thread, as the certificate notes.  Results do not depend on timing, but differ from those of one
        thread by what truncation cuts.

    Raises
    ------
    InputError
        For a knob out of range, naming it.

    Notes
    -----
    Open chains, rings (folded), graphs and terms of any range; see :mod:`mpo_transport.methods.tebd.plan`.

    Examples
    --------
    >>> TEBD(max_bond=32).max_bond, TEBD().first_bond(1e-6), TEBD().splitting_order(1e-6)
    (32, 12, 4)
    """

    name: ClassVar[str] = "TEBD"
    tasks: ClassVar[tuple[str, ...]] = ("steady_state", "evolve")

    max_bond: int | None = None
    cutoff: float | None = None
    dt: float | None = None
    order: int | None = None
    max_time: float | None = None
    iterations: int | None = None
    initial_bond: int | None = None
    layout: str = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        check_integer("max_bond", self.max_bond, 1, optional=True)
        check_integer("initial_bond", self.initial_bond, 1, optional=True)
        check_positive("dt", self.dt)
        check_positive("max_time", self.max_time)
        if self.order is not None and not (is_number(self.order) and self.order in ORDERS):
            raise InputError(f"Argument `order` must be 2, 4, 6 or None, but is {self.order!r}.", field="order")
        if isinstance(self.iterations, (bool, float)) or self.iterations not in (None, 1, 2):
            raise InputError(
                f"Argument `iterations` must be 1, 2 or None, but is {self.iterations!r}.", field="iterations"
            )
        if self.cutoff is not None and not (is_number(self.cutoff) and 0 <= self.cutoff < 1):
            raise InputError(f"Argument `cutoff` must be >= 0 and < 1, but is {self.cutoff!r}.", field="cutoff")

        if self.layout not in LAYOUTS:
            raise InputError(f"Argument `layout` must be one of {LAYOUTS}, but is {self.layout!r}.", field="layout")
        check_integer("threads", self.threads, 1)
        if self.threads > 2:
            raise InputError(
                f"Argument `threads` must be 1 or 2 (a chain has two halves), but is {self.threads!r}.", field="threads"
            )

    # -- before starting ----------------------------------------------------------------------------------------------

    def supports(self, model: Lindbladian, task: str = "steady_state") -> Support:
        if task not in self.tasks:
            return Support(False, f"TEBD does steady states and time evolution, not {task!r}.")
        if not model.lattice.is_bounded:
            return Support(
                False, "TEBD needs sites of finite dimension; give `levels` a number (for example levels=4)."
            )
        charges = self._charges(model, task)
        if isinstance(charges, ChargeModel):
            return Support(True, "hopping and jumps conserve the charge n - n', whose blocks need no gates.")
        if self.layout == "u1" and task == "steady_state":
            return Support(False, f'the layout "u1" does not fit: {charges}.')
        size, sites = gate_bytes(model)
        if size > LARGEST_GATES:
            return Support(False, gate_refusal(size, sites))
        return Support(True, "every term fits into a gate on neighbouring sites of the matrix product.")

    def estimate(self, model: Lindbladian, tol: float) -> Estimate:
        support = self.supports(model)
        if not support:
            raise NotSupportedError(support.reason, field="method")
        legs = [float(d) ** 2 for d in model.lattice.dims]
        local, L = max(legs), model.L
        exact = max((min(math.prod(legs[:k]), math.prod(legs[k:])) for k in range(1, L)), default=1.0)
        geometry = build_geometry(model)
        digits = max(-math.log10(tol), 2.0)
        guess = min(max(self.first_bond(tol), 22 * 1.2 ** (digits - 3)), DEFAULT_MAX_BOND)
        if self.dt and self.max_bond:  # exactly these are used
            guess = self.max_bond
        guess = max(guess, self.initial_bond or 0)
        bond = min(float(min(self.max_bond or math.inf, guess)), exact)
        window = local**2 if model.is_nearest_neighbour and not model.lattice.periodic else local**3
        window = max(local**2, min(window, LARGEST_WINDOW)) if L > 1 else local
        state = 8.0 * L * local * bond**2
        block = 8.0 * window * bond**2
        # eight different fractions of a step, on the left end, in the bulk and on the right end
        gates = 8 * min(max(L - 1, 1), 3) * gate_bytes(model)[0]
        flops = _steps_foreseen(model, digits) * geometry.flops_per_step(math.ceil(bond), self.splitting_order(tol), 1)
        charges = self._charges(model, "steady_state")
        if isinstance(charges, ChargeModel):
            size = 8.0 * L * local * bond**2
            work = ChargePlan(model.lattice, charges).flops_per_step(math.ceil(bond), self.splitting_order(tol), 1)
            return Estimate(12 * size, _steps_foreseen(model, digits) * work / SPEED, f"bond dimension {bond:.0f}")
        near = geometry.kind == "layers" and all(op.stop - op.start == 1 for ops in geometry.ops for op in ops)
        speed = BLOCK_SPEED if near and self.layout != "dense" and self.cutoff is None else SPEED
        return Estimate(6 * state + 6 * block + gates, flops / speed, f"bond dimension {bond:.0f}")

    def splitting_order(self, tol: float) -> int:
        """Return the order of the splitting for steady states: 6 only at the short steps of small tolerances."""
        return self.order or (4 if tol >= ORDER_6_BELOW or self.dt is not None else 6)

    def first_bond(self, tol: float) -> int:
        """Return the bond dimension of the first stages."""
        return self.initial_bond or (8 if tol >= 1e-3 else 12)

    def prepare(self, model: Lindbladian, *, tol: float, seed: int, task: str = "steady_state") -> TEBDWork:
        support = self.supports(model, task)
        if not support:
            raise NotSupportedError(f"Method tebd does not support this model: {support.reason}", field="method")
        if not is_number(tol) or tol <= 0:
            raise InputError(f"Argument `tol` must be a finite number > 0, but is {tol!r}.", field="tol")
        charges = self._charges(model, task)
        plan: Any = ChargePlan(model.lattice, charges) if isinstance(charges, ChargeModel) else build_plan(model)
        max_bond = self.max_bond or DEFAULT_MAX_BOND
        exact = max(plan.bond_bounds(10**9))
        rate = plan.rate or 1.0
        order = self.splitting_order(tol)
        limits = Limits(
            tol=tol,
            dt=self.dt,
            bond=min(self.max_bond, exact) if self.dt and self.max_bond else None,
            max_bond=min(max_bond, exact),
            exact_bond=exact,
            split=plan.kind != "exact",
            min_dt=0.02 / rate,
            final_order=order,
            final_dt=HIGH_ORDER_STEP / rate,
        )
        layout: Any = Charges(charges) if isinstance(charges, ChargeModel) else self._parity(plan)
        engine = (ChargeEngine if isinstance(layout, Charges) else Engine)(
            model,
            plan,
            limits,
            order if self.dt else min(order, 4),
            self.first_bond(tol),
            self.cutoff,
            self.iterations,
            self.max_time or DEFAULT_TIME / rate,
            int(seed),
            layout,
            hidden_rate(model, rate) if task == "steady_state" else None,
        )
        evolution = Evolution(model, plan, tol, self.order or 4, self.dt, max_bond, self.cutoff)
        return TEBDWork(model, task, engine, evolution)

    def _charges(self, model: Lindbladian, task: str) -> ChargeModel | str:
        """Return the model in blocks of a charge where this layout is wanted, else why not."""
        wanted = self.layout == "u1" or (self.layout == "auto" and max(model.lattice.dims) >= CHARGES_FROM)
        if not wanted or task != "steady_state" or self.cutoff is not None:
            return "it is for steady states without `cutoff`"
        return charge_model(model)

    def _parity(self, plan: Plan) -> Parity | None:
        """Return the parity of the layout in blocks, None for the dense one."""
        if self.layout == "dense" or self.cutoff is not None:
            return None
        if self.layout == "auto" and find_spec("numba") is None:
            return None  # blocks pay where they are compiled
        parity = find_parity(plan)
        if parity is not None:
            parity.threads = int(self.threads)
        if parity is None and self.layout == "z2":
            raise NotSupportedError(
                'The layout "z2" needs an open chain with terms on nearest neighbours and a weak parity that the '
                'Hermitian basis shows; use layout="auto".',
                field="layout",
            )
        return parity

    # -- the verbs ----------------------------------------------------------------------------------------------------

    def start(self, work: TEBDWork, initial: Any) -> Iterate:
        if work.task == "evolve" and initial is None:
            raise InputError("Argument `initial` is needed for a time evolution.", field="initial")
        if initial is None and isinstance(work.engine, ChargeEngine):
            return work.engine.grown_start() or work.engine.begin(work.engine.product_start(), coarse=True)
        state = initial_train(work.model, "mixed" if initial is None else initial, position_order(work.model.lattice))
        if work.task == "evolve":
            return work.evolution.begin(state)
        return work.engine.begin(state, coarse=not isinstance(initial, MPOState))

    def advance(self, work: TEBDWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        return work.engine.advance(iterate)

    def foresee(self, work: TEBDWork, times: np.ndarray) -> None:
        work.evolution.horizon = float(times[-1])

    def propagate(self, work: TEBDWork, iterate: Iterate, time: float) -> tuple[Iterate, Diagnostics]:
        return work.evolution.propagate(iterate, time)

    def certify(self, work: TEBDWork, iterate: Iterate, status: Status) -> Certificate:
        state = iterate.state
        assert isinstance(state, MPOState)
        residual = lindbladian_mpo(work.model, state.order).residual(state)
        bond = max(state.bond_dimensions, default=1)
        if work.task == "evolve":
            return work.evolution.certify(iterate, float(residual), bond)
        p, parity = Progress.from_json(iterate.scalars["tebd"]), work.engine.parity
        weights = iterate.arrays.get("discarded weight", np.zeros(0))
        limit = work.engine.limits
        weight = float(weights.max(initial=0.0))
        parts = {k: float(v) for k, v in p.parts.items() if v is not None}
        return Certificate(
            residual=float(residual),
            trace=p.trace,
            discarded_weight=weight,
            bond_dimension=bond,
            saturated=bool(bond >= limit.max_bond and bond < limit.exact_bond and weight > 0),
            error_estimate=p.error,
            error_parts=parts,
            notes=(
                *_symmetry_notes(work.model),
                *self._level_notes(p, parity if parity and parity.holds(state) else None),
            ),
        )

    def _level_notes(self, p: Progress, layout: Parity | Charges | None) -> tuple[str, ...]:
        if p.main is None:
            return ()
        name = "U(1) charge" if isinstance(layout, Charges) else "Z2"
        text = f", {name} blocks ({blocks.compiled()[1] or 'not compiled'})" if layout is not None else ""
        if self.threads > 1:
            shared = isinstance(layout, Parity) and blocks.compiled()[1]
            text += ", two threads" if shared else ", one thread (two need compiled Z2 blocks)"
        level = f"order {p.main.order}, dt = {p.main.dt:.4g}, bond dimension {p.main.bond}"
        return (f"{level}, simulated time {p.time:.4g}{text}.",)


def _steps_foreseen(model: Lindbladian, digits: float) -> float:
    """Return the number of time steps to a steady state, from experience with chains and rings.

    Steps shorten and times grow with the digits asked for (but only the last part is run at the shortest step), and
    quadratically with the number of sites that no jump touches: relaxation has to travel there.
    """
    touched = {s for jump in model.jumps if jump.rate > 0 for s in jump.operator.sites}
    travel = max(1.0, 0.5 + ((model.L - len(touched)) / 8) ** 2)
    return 180.0 * 10 ** ((digits - 3) / 6) * travel


def _symmetry_notes(model: Lindbladian) -> tuple[str, ...]:
    idle = _undamped_sites(model)
    if idle:
        return (
            f"No jump acts on the sites {', '.join(map(str, idle))}, nor on any they are coupled to: every function "
            "of their Hamiltonian is conserved, hence several stationary states; this is the one that is reached from "
            "the initial state.",
        )
    several = degeneracy(model)
    if not several:
        return ()
    return (f"{several[0].upper()}{several[1:]}; this is the one that is reached from the initial state.",)


def _undamped_sites(model: Lindbladian) -> list[int]:
    """Return the sites of those connected parts of the model on which no jump acts."""
    group = list(range(model.L))
    for sites in model.supports:
        joined = {group[s] for s in sites}
        group = [min(joined) if g in joined else g for g in group]
    damped = {group[s] for jump in model.jumps if jump.rate > 0 for s in jump.operator.sites}
    return [s for s in range(model.L) if group[s] not in damped]
