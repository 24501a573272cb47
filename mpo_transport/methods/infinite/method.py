"""The method InfiniteTEBD: knobs, support, cost, and the verbs of :class:`~mpo_transport.methods.Method`."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError, NotSupportedError
from ...model import Lindbladian
from ...result import Certificate, Status
from ...states import InfiniteMPOState, State
from ...states.base import check_initial
from ..base import Diagnostics, Estimate, Iterate, Method, Support, register_method
from ..knobs import check_integer, check_positive, is_number
from ..tebd.progress import Progress
from ..tebd.schedule import Limits
from ..tebd.stretches import hidden_rate
from .cell import Cell, build_cell, refusal
from .engine import InfiniteEngine, pair_rates

__all__ = ["InfiniteTEBD", "InfiniteWork"]

# Bond dimension allowed when `max_bond` is not given.
DEFAULT_MAX_BOND = 64
# Largest simulated time when `max_time` is not given, in units of 1/Lambda.
DEFAULT_TIME = 2e5
# Floating-point operations per second of one core (measured on bond dimensions 8 to 24).
SPEED = 5e9
# No bond dimension is exact on an infinite chain.
NEVER_EXACT = 10**9


@dataclass
class InfiniteWork:
    """What ``prepare`` makes."""

    model: Lindbladian
    cell: Cell
    engine: InfiniteEngine


@register_method
@dataclass(frozen=True)
class InfiniteTEBD(Method):
    """Time-evolving block decimation in the thermodynamic limit.

    The model is a ring, read as a stretch of the infinite chain whose generators repeat: bulk currents and local
    expectation values without ends and without a length.  The density matrix is a real matrix product with a repeating
    cell (:class:`~mpo_transport.states.InfiniteMPOState`); exp(L dt) is split into even and odd bonds, and bonds are
    cut in the Hilbert-Schmidt metric of their environments.  Time step and bond dimension are refined until the
    estimated error of local observables is below ``tol``, as in :class:`~mpo_transport.TEBD`.

    Parameters
    ----------
    max_bond
        Largest bond dimension (default 64).
    dt
        Time step (unit: 1/energy, hbar = 1).  None: automatic.  With ``dt`` and ``max_bond`` both given the steady
        state of exactly these two is returned, with the estimate of its error.
    order
        Order of the splitting, 2 or 4 (Blanes and Moan, J. Comput. Appl. Math. 142, 313 (2002)).
    max_time
        Largest simulated time of a search for the steady state.
    initial_bond
        Bond dimension of the first stages.
    cell
        Sites of the unit cell; None: the smallest number after which the generators repeat within the ring.  ``cell=L``
        repeats the whole ring.

    Raises
    ------
    InputError
        For a knob out of range, naming it.

    Notes
    -----
    The answer is that of the infinite chain, which a finite ring approaches with its length; methods for finite systems
    answer another question, so :func:`~mpo_transport.crosscheck` does not compare them.

    References
    ----------
    G. Vidal, Phys. Rev. Lett. 98, 070201 (2007); R. Orus, G. Vidal, Phys. Rev. B 78, 155117 (2008).

    Examples
    --------
    >>> import mpo_transport as mt
    >>> ring = mt.models.persistent_current(L=4, alpha=1.0, delta=0.5)
    >>> result = mt.steady_state(ring, InfiniteTEBD(max_bond=8), tol=1e-3)
    >>> result.status.value, result.expect(mt.observables.current(ring)).shape
    ('converged', (4,))
    """

    name: ClassVar[str] = "InfiniteTEBD"
    tasks: ClassVar[tuple[str, ...]] = ("steady_state",)
    infinite: ClassVar[bool] = True

    max_bond: int | None = None
    dt: float | None = None
    order: int = 4
    max_time: float | None = None
    initial_bond: int = 8
    cell: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_bond", "initial_bond", "cell"):
            check_integer(name, getattr(self, name), 1, optional=name != "initial_bond")
        for name in ("dt", "max_time"):
            check_positive(name, getattr(self, name))
        if isinstance(self.order, bool) or not isinstance(self.order, numbers.Integral) or self.order not in (2, 4):
            raise InputError(f"Argument `order` must be 2 or 4, but is {self.order!r}.", field="order")

    # -- before starting ----------------------------------------------------------------------------------------------

    def supports(self, model: Lindbladian, task: str = "steady_state") -> Support:
        if task not in self.tasks:
            return Support(False, f"InfiniteTEBD does steady states, not {task!r}.")
        reason = refusal(model, self.cell)
        return Support(not reason, reason or "the generators on the bonds of the ring repeat.")

    def estimate(self, model: Lindbladian, tol: float) -> Estimate:
        support = self.supports(model)
        if not support:
            raise NotSupportedError(support.reason, field="method")
        cell = build_cell(model, self.cell)
        digits = max(-math.log10(tol), 2.0)
        bond = min(max(self.initial_bond, math.ceil(16 * 1.2 ** (digits - 3))), self.max_bond or DEFAULT_MAX_BOND)
        if self.dt and self.max_bond:  # exactly these are used
            bond = self.max_bond
        leg = max(cell.legs)
        memory = 8.0 * cell.sites * (8 * leg * bond**2 + 6 * leg**2 * bond**2 + 16 * leg**4)
        steps = 180.0 * 10 ** ((digits - 3) / 6)
        return Estimate(memory, steps * cell.flops_per_step(bond, self.order, 1) / SPEED, f"bond dimension {bond}")

    def prepare(self, model: Lindbladian, *, tol: float, seed: int, task: str = "steady_state") -> InfiniteWork:
        support = self.supports(model, task)
        if not support:
            raise NotSupportedError(f"Method {self.name} does not support this model: {support.reason}", field="method")
        if not is_number(tol) or tol <= 0:
            raise InputError(f"Argument `tol` must be a finite number > 0, but is {tol!r}.", field="tol")
        cell = build_cell(model, self.cell)
        rate = cell.rate or 1.0
        limits = Limits(
            tol=tol,
            dt=self.dt,
            bond=self.max_bond if self.dt and self.max_bond else None,
            max_bond=self.max_bond or DEFAULT_MAX_BOND,
            exact_bond=NEVER_EXACT,
            split=cell.kind != "exact",
            min_dt=0.02 / rate,
        )
        engine = InfiniteEngine(
            model,
            cell,
            limits,
            self.order,
            self.initial_bond,
            None,
            None,
            self.max_time or DEFAULT_TIME / rate,
            int(seed),
            slowest=hidden_rate(model, rate),
        )
        return InfiniteWork(model, cell, engine)

    # -- the verbs ----------------------------------------------------------------------------------------------------

    def start(self, work: InfiniteWork, initial: Any) -> Iterate:
        state = _initial_state(work, "mixed" if initial is None else initial)
        return work.engine.begin(state, coarse=not isinstance(initial, State))

    def advance(self, work: InfiniteWork, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        return work.engine.advance(iterate)

    def certify(self, work: InfiniteWork, iterate: Iterate, status: Status) -> Certificate:
        state, limits = iterate.state, work.engine.limits
        assert isinstance(state, InfiniteMPOState)
        p = Progress.from_json(iterate.scalars["tebd"])
        weight = float(iterate.arrays.get("discarded weight", np.zeros(1)).max())
        bond = max(state.bond_dimensions)
        return Certificate(
            residual=pair_rates(work.cell, state),
            trace=p.trace,
            discarded_weight=weight,
            bond_dimension=bond,
            saturated=bool(bond >= limits.max_bond and weight > 0),
            error_estimate=p.error,
            error_parts={k: float(v) for k, v in p.parts.items() if v is not None},
            notes=_notes(p, work, state),
        )


def _notes(p: Progress, work: InfiniteWork, state: InfiniteMPOState) -> tuple[str, ...]:
    level = p.main or p.level
    cell, length = work.cell, state.correlation_length
    size = f"{cell.period} site" + ("s" if cell.period > 1 else "")
    return (
        f"infinite chain with a unit cell of {size}: order {level.order}, dt = {level.dt:.4g}, bond dimension "
        f"{level.bond}, simulated time {p.time:.4g}.",
        f"correlation length of the state {length:.3g} sites; a finite bond dimension always gives a finite one.",
        "the residual is the largest |d<O>/dt| of all operators of norm 1 on two neighbouring sites (|L rho|/|rho| "
        "grows without bound with the length), and the trace is that of one unit cell: both are necessary conditions. "
        "Whether the steady state of the infinite chain is unique is not examined.",
    )


def _initial_state(work: InfiniteWork, initial: Any) -> InfiniteMPOState:
    lattice, cell = work.model.lattice, work.cell
    if not isinstance(initial, State):
        return InfiniteMPOState.product(lattice, initial, cell.sites)
    check_initial(lattice, initial)
    if not isinstance(initial, InfiniteMPOState) or initial.cell != cell.sites:
        raise InputError(
            "Argument `initial` must be a name, one local state per site, or an InfiniteMPOState with a cell of "
            f"{cell.sites} sites.",
            field="initial",
        )
    return initial.normalised()
