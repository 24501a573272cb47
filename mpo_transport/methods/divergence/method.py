"""The method LocalDivergence: knobs, support, cost, and the verbs of :class:`~mpo_transport.methods.Method`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...errors import InputError, NotSupportedError
from ...model import Lindbladian
from ...result import Certificate, Status
from ...states import DenseState, MPOState
from ...superoperator.mpo import lindbladian_mpo
from ..base import Diagnostics, Estimate, Iterate, Method, Support, register_method
from ..knobs import check_integer, check_positive, initial_train, is_number
from ..tebd.plan import build_geometry, build_plan
from ..uniqueness import degeneracy
from .engine import STEP, TIME_PER_SITE, Engine, Progress
from .evolution import Evolver
from .problem import build_problem

__all__ = ["LocalDivergence"]

# Bond dimension of the first evolution, and the largest one, for qubits.
DEFAULT_BOND, DEFAULT_MAX_BOND = 20, 45
# Largest number of unknowns (X and Y) of one site.
LARGEST_BLOCK = 6000


@register_method
@dataclass(frozen=True)
class LocalDivergence(Method):
    """Exact steady state of small rank: Gauss-Newton on the local-divergence form of L rho = 0.

    With the generator L = sum_j h_j on the bonds, the state x = A_0 A_1 ... and one more tensor B_j per site

        E_j = h_j (A_j A_{j+1}) - B_j A_{j+1} + A_j B_{j+1} = 0,     B_0 = B_{L-1} = 0

    implies L x = 0, since the B terms telescope.  All sites are solved for at once; the linear system is block
    tridiagonal, so that slow modes cost nothing.  The start is a time evolution at a bond dimension two or three times
    the rank, cut where its Schmidt values drop.  If the steady state is a matrix product of that rank, the steps
    converge quadratically to rounding errors, whatever the gap; the bulk need not be uniform.  If it is not, they
    stall: their result is thrown away (it is biased), and the evolved state is returned as ``not_converged``.

    Parameters
    ----------
    bond
        Bond dimension of the first evolution (default 20).  Evolving at the rank of the state itself spoils the start.
    max_bond
        Largest bond dimension of later evolutions (default 45).
    largest_rank
        Largest bond dimension of a Newton step, whose cost is its sixth power.
    rounds
        Largest number of evolutions, each twice as long as the one before.
    time
        Length of the first evolution (unit: 1/energy).  None: from the stiffest local rate and the number of sites.
    dt
        Time step.  None: from the stiffest local rate.

    Raises
    ------
    InputError
        For a knob out of range, naming it.

    References
    ----------
    The identities behind known exact solutions, E_j = 0 with B_j, used as a numerical method: T. Prosen, Phys. Rev.
    Lett. 107, 137201 (2011); V. Popkov, T. Prosen, Phys. Rev. Lett. 114, 127201 (2015).

    Examples
    --------
    >>> import mpo_transport as mt
    >>> chain = mt.models.boundary_driven_xx(L=10, t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    >>> result = mt.steady_state(chain, LocalDivergence(), tol=1e-10)
    >>> exact = (0.9 - 0.2) / (1 / 0.6 + 1 / 1.4 + 2.0 / 4)
    >>> bool(abs(result.expect(mt.observables.current(chain)) - exact).max() < 1e-12), result.certificate.bond_dimension
    (True, 4)
    """

    name: ClassVar[str] = "LocalDivergence"
    tasks: ClassVar[tuple[str, ...]] = ("steady_state",)

    bond: int | None = None
    max_bond: int | None = None
    largest_rank: int = 20
    rounds: int = 3
    time: float | None = None
    dt: float | None = None

    def __post_init__(self) -> None:
        for name, smallest in (("bond", 2), ("max_bond", 2), ("largest_rank", 1), ("rounds", 1)):
            check_integer(name, getattr(self, name), smallest, optional=name in ("bond", "max_bond"))
        for name in ("time", "dt"):
            check_positive(name, getattr(self, name))

    # -- before starting ----------------------------------------------------------------------------------------------

    def supports(self, model: Lindbladian, task: str = "steady_state") -> Support:
        if task not in self.tasks:
            return Support(False, f"LocalDivergence does steady states, not {task!r}.")
        lattice = model.lattice
        if not lattice.is_bounded:
            return Support(
                False, "LocalDivergence needs sites of finite dimension; give `levels` a number (for example levels=3)."
            )
        chain = all(j == i + 1 for i, j in lattice.bonds)
        if lattice.periodic or not chain or not model.is_nearest_neighbour:
            return Support(False, "LocalDivergence is for open chains with couplings between neighbours.")
        if lattice.L < 2:
            return Support(False, "LocalDivergence needs at least two sites; ExactDiag solves a single one.")
        size = 2 * max(int(d) for d in lattice.dims) ** 2 * 16
        if size > LARGEST_BLOCK:
            return Support(False, "the sites are too large for the dense blocks of the Newton steps; use TEBD.")
        several = degeneracy(model)
        if several:
            return Support(False, f"{several}.")
        return Support(True, "the chain is open and couples neighbours only.")

    def unpromising(self, model: Lindbladian) -> str:
        return "whether the steady state is a matrix product of small rank shows only when it has been tried."

    def estimate(self, model: Lindbladian, tol: float) -> Estimate:
        support = self.supports(model)
        if not support:
            raise NotSupportedError(support.reason, field="method")
        bond, _ = self._bonds()
        rank = min(self.largest_rank, 12)
        legs = float(max(model.lattice.dims)) ** 2
        block = _block(legs, rank)
        memory = 8.0 * (2 * model.L * block**2 + 12 * block**2 + 6 * model.L * legs * bond**2)
        steps = TIME_PER_SITE * model.L / STEP
        flops = steps * build_geometry(model).flops_per_step(bond, 4, 1) + 20 * model.L * 2.3 * block**3
        return Estimate(memory, flops / 2e10, f"evolution at bond dimension {bond}, rank {rank}")

    def _bonds(self) -> tuple[int, int]:
        bond = self.bond or min(DEFAULT_BOND, self.max_bond or DEFAULT_BOND)
        return bond, max(bond, self.max_bond or DEFAULT_MAX_BOND)

    def prepare(self, model: Lindbladian, *, tol: float, seed: int, task: str = "steady_state") -> Engine:
        support = self.supports(model, task)
        if not support:
            raise NotSupportedError(f"Method {self.name} does not support this model: {support.reason}", field="method")
        if not is_number(tol) or tol <= 0:
            raise InputError(f"Argument `tol` must be a finite number > 0, but is {tol!r}.", field="tol")
        plan = build_plan(model)
        evolver = Evolver(plan, int(seed))
        rate = plan.rate or 1.0
        bond, max_bond = self._bonds()
        legs = float(max(model.lattice.dims)) ** 2
        rank = self.largest_rank
        while rank > 1 and _block(legs, rank) > LARGEST_BLOCK:
            rank -= 1
        return Engine(
            model,
            build_problem(model, evolver.parity),
            evolver,
            tol,
            bond,
            max_bond,
            rank,
            self.rounds,
            self.time or TIME_PER_SITE * max(model.L, 4) / rate,
            self.dt or STEP / rate,
        )

    # -- the verbs ----------------------------------------------------------------------------------------------------

    def start(self, work: Engine, initial: Any) -> Iterate:
        state = initial_train(work.model, "mixed" if initial is None else initial, range(work.model.L))
        return work.begin(state, given=isinstance(initial, (MPOState, DenseState)))

    def advance(self, work: Engine, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        return work.advance(iterate)

    def certify(self, work: Engine, iterate: Iterate, status: Status) -> Certificate:
        state = iterate.state
        assert isinstance(state, MPOState)
        p = Progress(**iterate.scalars["divergence"])
        rank = max(state.bond_dimensions, default=1)
        exact = p.finished and status is Status.CONVERGED
        part = "rounding" if exact else "evolution"
        return Certificate(
            residual=float(lindbladian_mpo(work.model, state.order).residual(state)),
            trace=float(state.trace()),
            discarded_weight=0.0 if exact else None,
            bond_dimension=rank,
            error_estimate=p.error if p.finished else None,
            error_parts={} if p.error is None or not p.finished else {part: p.error},
            notes=_notes(p, rank, status, work.problem.rate),
        )


def _notes(p: Progress, rank: int, status: Status, rate: float) -> tuple[str, ...]:
    if p.finished and p.size is not None and status is Status.CONVERGED:
        return (f"exact matrix product of rank {rank}: F = {p.size * rate:.1e}; evolved to t = {p.time:.4g} before.",)
    best = "" if p.best is None else f" (F stalls at {p.best * rate:.1e})"
    return (
        f"no exact matrix-product state of small rank was found{best}: what is given is the state evolved to "
        f"t = {p.time:.4g}, its error the difference to a shorter evolution at a smaller bond dimension; the Newton "
        "states are discarded, since their small residual says nothing about their error. Use TEBD or ImplicitSweeps.",
    )


def _block(legs: float, rank: int) -> float:
    """Return the number of unknowns X and Y of a site in the even sector of a parity."""
    return legs * rank**2
