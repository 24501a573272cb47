"""The method ImplicitSweeps: knobs, support, cost, and the verbs of :class:`~mpo_transport.methods.Method`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError, NotSupportedError
from ...model import Lindbladian
from ...result import Certificate, Status
from ...states import MPOState
from ...superoperator.mpo import lindbladian_mpo
from ..base import Diagnostics, Estimate, Iterate, Method, Support, register_method
from ..knobs import check_integer, initial_train, is_number
from ..tebd.plan import position_order
from ..uniqueness import degeneracy
from .engine import Engine
from .fallback import Work
from .frame import rotating_frame
from .schedule import Limits, Progress
from .sectors import find_labels, graded_operator

__all__ = ["ImplicitSweeps"]

DEFAULT_MAX_BOND = 128
# Largest local Hilbert space: beyond, the matrices of a local problem no longer fit this form of it.
LARGEST_SITE = 6
# Seconds of an update besides its linear algebra, and per (n chi)^3 of it.
OVERHEAD, UNIT_WORK = 1e-3, 1e-8


@register_method
@dataclass(frozen=True)
class ImplicitSweeps(Method):
    """Steady state by two-site implicit sweeps on the exact Lindbladian matrix-product operator.

    At every bond the two-site centre x of the state becomes (1 - tau P L P)^-1 x, P L P the generator projected on the
    orthonormal frames beside the bond, by preconditioned GMRES; tau grows from sweep to sweep, up to plain solution of
    P L x = 0.  Vector 0 of every frame is the identity: every projection then conserves the trace exactly.  There is
    no time step.  The bond dimension (4, 8, 12, 16, 24, ...) grows until the estimated error is below ``tol``.

    Parameters
    ----------
    max_bond
        Largest bond dimension (default 128).
    cutoff
        Relative weight that one truncation may discard besides (None: invisible at the tolerance).
    max_sweeps
        Largest number of sweeps, back and forth over all bonds.
    krylov
        Largest number of products with the projected generator per local solve.
    rtol
        Relative residual at which a local solve stops.
    initial_bond
        Bond dimension of the first pass.
    fallback
        Whether TEBD takes over where the sweeps fail, with a note in the certificate; the automatic choice sets it.

    Raises
    ------
    InputError
        For a knob out of range, naming it.

    Notes
    -----
    Chains, rings (folded) and graphs, terms of any range.  Frequencies that all sites have in common are removed first
    where a weak U(1) charge is conserved, which leaves the steady state as it is.  The projected generator is not
    normal; without dissipation in the bulk it can have small eigenvalues that no eigenvector of the generator stands
    behind, so that the sweeps wander.  This is detected, and the result is then ``not_converged``.

    Examples
    --------
    >>> import mpo_transport as mt
    >>> model = mt.models.exclusion_process(8, 1.0, 0.8, 0.5, 0.3)
    >>> result = mt.steady_state(model, ImplicitSweeps(), tol=1e-8)
    >>> exact = (1 / 1.5 - 0.3 / 1.1) / (8 + 1 / 1.5 + 1 / 1.1 - 1)
    >>> bool(abs(result.expect(mt.observables.current(model)) - exact).max() < 1e-8)
    True
    """

    name: ClassVar[str] = "ImplicitSweeps"
    tasks: ClassVar[tuple[str, ...]] = ("steady_state",)

    max_bond: int | None = None
    cutoff: float | None = None
    max_sweeps: int = 120
    krylov: int = 40
    rtol: float = 0.05
    initial_bond: int = 4
    fallback: bool = False

    def __post_init__(self) -> None:
        for name, smallest in (("max_bond", 2), ("max_sweeps", 1), ("krylov", 2), ("initial_bond", 2)):
            check_integer(name, getattr(self, name), smallest, optional=name == "max_bond")
        for name in ("cutoff", "rtol"):
            value = getattr(self, name)
            if value is None and name == "cutoff":
                continue
            if not is_number(value) or not 0 <= value < 1 or (name == "rtol" and value == 0):
                raise InputError(f"Argument `{name}` must lie between 0 and 1, but is {value!r}.", field=name)

        if not isinstance(self.fallback, bool):
            raise InputError(f"Argument `fallback` must be True or False, but is {self.fallback!r}.", field="fallback")

    # -- before starting ----------------------------------------------------------------------------------------------

    def supports(self, model: Lindbladian, task: str = "steady_state") -> Support:
        if task not in self.tasks:
            return Support(False, f"ImplicitSweeps does steady states, not {task!r}.")
        lattice = model.lattice
        if not lattice.is_bounded:
            return Support(
                False, "ImplicitSweeps needs sites of finite dimension; give `levels` a number (for example levels=4)."
            )
        if lattice.L < 2:
            return Support(False, "ImplicitSweeps needs at least two sites; ExactDiag solves a single one.")
        largest = max(int(d) for d in lattice.dims)
        if largest > LARGEST_SITE:
            return Support(
                False,
                f"ImplicitSweeps solves dense local problems, for sites of dimension up to {LARGEST_SITE}, not "
                f"{largest}; use TEBD.",
            )
        several = degeneracy(model)
        if several:
            return Support(
                False,
                f"{several}, and a linear solver cannot tell which one the initial state reaches; use TEBD or "
                "ExactDiag.",
            )
        return Support(True, "the Lindbladian is a matrix-product operator.")

    def estimate(self, model: Lindbladian, tol: float) -> Estimate:
        support = self.supports(model)
        if not support:
            raise NotSupportedError(support.reason, field="method")
        legs = [float(d) ** 2 for d in model.lattice.dims]
        exact, n, L = _exact_bond(legs), max(legs), model.L
        digits = max(2.0, -math.log10(tol))
        guess = 12.0 * 2.0 ** ((digits - 4.0) / 2.0)  # as measured on chains with dissipation in the bulk
        if model.lattice.periodic:
            guess = guess**1.5
        bond = min(float(self.max_bond or max(guess, float(self.initial_bond))), exact)
        w = 8.0
        matrices = 8.0 * (2 * w + 12) * (n * bond) ** 2
        krylov = 16.0 * self.krylov * (n * bond) ** 2
        chain = 8.0 * L * (w * bond**2 + 6 * n * bond**2 + 2 * (w / 4) * (n * bond) ** 2)
        # eight sweeps of an update's overhead, and the work of two sweeps at the final bond dimension
        seconds = 2 * L * (8 * OVERHEAD + 2 * UNIT_WORK * (n * bond) ** 3)
        return Estimate(matrices + krylov + chain, seconds, f"bond dimension {bond:.0f}")

    def unpromising(self, model: Lindbladian) -> str:
        bare = sorted(set(range(model.L)) - _damped_sites(model))
        if bare and model.hamiltonian.terms:
            return (
                f"sites without a jump ({', '.join(map(str, bare[:3]))}{', ...' if len(bare) > 3 else ''}): without "
                "dissipation in the bulk the projected generator may be singular"
            )
        return ""

    def prepare(self, model: Lindbladian, *, tol: float, seed: int, task: str = "steady_state") -> Work:
        support = self.supports(model, task)
        if not support:
            raise NotSupportedError(f"Method {self.name} does not support this model: {support.reason}", field="method")
        if not is_number(tol) or tol <= 0:
            raise InputError(f"Argument `tol` must be a finite number > 0, but is {tol!r}.", field="tol")
        # one more than the largest rank: the identity is in every frame, whether the state needs it or not
        exact = int(_exact_bond([float(d) ** 2 for d in model.lattice.dims])) + 1
        limits = Limits(tol, min(self.max_bond or DEFAULT_MAX_BOND, exact), exact, self.max_sweeps)
        turned, order = rotating_frame(model), position_order(model.lattice)
        mpo, labels = lindbladian_mpo(turned, order), find_labels(turned)
        operator = graded_operator(mpo.tensors, [labels[s] for s in order])
        engine = Engine(model, mpo, operator, limits, self.initial_bond, self.cutoff, self.rtol, self.krylov)
        return Work(engine, model, tol, seed, self.fallback)

    # -- the verbs ----------------------------------------------------------------------------------------------------

    def start(self, work: Work, initial: Any) -> Iterate:
        return work.engine.begin(
            initial_train(work.model, "mixed" if initial is None else initial, position_order(work.model.lattice))
        )

    def advance(self, work: Work, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        return work.advance(iterate)

    def certify(self, work: Work, iterate: Iterate, status: Status) -> Certificate:
        return work.certified(iterate, status) or _certificate(work.engine, iterate, status)


def _certificate(work: Engine, iterate: Iterate, status: Status) -> Certificate:
    state = iterate.state
    assert isinstance(state, MPOState)
    p = Progress.from_json(iterate.scalars["implicit"])
    bond = max(state.bond_dimensions, default=1)
    weights = iterate.arrays.get("discarded weight", np.zeros(0))
    weight = float(weights.max(initial=0.0))
    limits = work.limits
    return Certificate(
        residual=float(work.mpo.residual(state)),
        trace=float(state.trace()),
        discarded_weight=weight,
        bond_dimension=bond,
        saturated=bool(bond >= limits.max_bond and bond < limits.exact_bond and weight > 0),
        error_estimate=p.error if status is not Status.NOT_FINITE else None,
        error_parts={k: float(v) for k, v in p.parts.items() if v is not None},
        notes=_notes(p, status, work.rate),
    )


def _notes(p: Progress, status: Status, rate: float) -> tuple[str, ...]:
    text = f"{p.passes / 2:g} sweeps, bond dimension {p.bond}, tau = {p.tau:.3g}"
    if p.scale != 1:
        text += f", discarded weights in a metric that divides operator strings by {p.scale:g} per factor"
    notes: tuple[str, ...] = (text + ".",)
    if status is Status.NOT_CONVERGED:
        reason = p.failure or "the sweeps have not settled"
        notes += (f"{reason}: this is not a steady state; use TEBD, which follows the evolution in time.",)
    return notes


def _damped_sites(model: Lindbladian) -> set[int]:
    """Return the sites on which some jump acts."""
    return {s for jump in model.jumps if jump.rate > 0 for key, _ in jump.operator for _, s in key}


def _exact_bond(legs: list[float]) -> float:
    """Return the bond dimension that holds any state."""
    return max((min(math.prod(legs[:k]), math.prod(legs[k:]), 1e9) for k in range(1, len(legs))), default=1.0)
