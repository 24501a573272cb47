"""The method CholeskyGrowth: knobs, support, cost, and the verbs of :class:`~mpo_transport.methods.Method`."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError, NotSupportedError
from ...model import Lindbladian
from ...result import Certificate, Status
from ...states import MPOState
from ...superoperator.mpo import MPO, lindbladian_mpo
from ..base import Diagnostics, Estimate, Iterate, Method, Support, register_method
from ..knobs import check_integer, is_number
from ..tebd.measure import difference, profile
from .factor_train import density_train
from .ladder import DrivenChain, Ladder, climb, find_foot, read_chain

__all__ = ["CholeskyGrowth"]

# Share of the tolerance that the square root of a discarded weight may be, and the range of the cutoff.
SHARE, LEAST_CUTOFF, LARGEST_CUTOFF = 1e-3, 1e-26, 1e-12
# The coarser state that shows the error: its cutoff, and its bond dimension where that is the limit.
COARSER, SMALLER = 100.0, 0.7
# |L rho|/|rho|, in units of the generator's size, that is rounding; what the quick form of the residual can see; the
# largest number of operations that the accurate form may take.
VERIFIED, QUICK, AFFORDABLE = 1e-10, 1e-6, 2e12
SAFETY, FLOOR = 2.0, 1e-13
DEFAULT_MAX_BOND = 512
# Levels that are looked at before starting.
FIRST_LEVELS = 8


@dataclass(eq=False)
class Work:
    """The model, its reading as a driven chain, and the operator that judges."""

    model: Lindbladian
    chain: DrivenChain
    tol: float
    seed: int
    mpo: MPO


@register_method
@dataclass(frozen=True)
class CholeskyGrowth(Method):
    """Exact steady state rho = S S^+ of a maximally driven chain of any length, from the equations of its factor.

    The density matrix of the maximally driven XXX chain needs (L/2 + 1)^2 bond indices, a triangular factor S only
    L/2 + 1, one per charge.  S is a uniform matrix product with tensors a that solve, together with tensors b, the
    local-divergence equations of the Hamiltonian and of the two ends,

        [h, a a] = b a - a b,      D(a_r a_q^+) = +-i (b_r a_q^+ - a_r b_q^+),

    level by level; they are solved numerically, nothing about the model is put in.  Whether the model has such a factor
    shows at the first levels; the residual |L rho|/|rho| of rho at the full length is checked besides.  There is no
    time step and no dependence on the gap; rho is cut where ``tol`` does not see it.

    Parameters
    ----------
    max_bond
        Largest bond dimension of rho (default 512).
    cutoff
        Relative weight discarded per bond; None: from the tolerance.

    Raises
    ------
    InputError
        For a knob out of range, naming it.

    References
    ----------
    T. Prosen, Phys. Rev. Lett. 107, 137201 (2011): S, its triangular form and the identity for [H, S];
    D. Karevski, V. Popkov, G. M. Schuetz, Phys. Rev. Lett. 110, 047201 (2013).

    Examples
    --------
    >>> import mpo_transport as mt
    >>> from mpo_transport.reference.boundary_driven import xxz_maximally_driven
    >>> chain = mt.models.boundary_driven_xxz(L=20, Delta=1.0, eps=1.0)
    >>> result = mt.steady_state(chain, CholeskyGrowth(), tol=1e-8)
    >>> exact = xxz_maximally_driven(20, 1.0, eps=1.0)
    >>> bool(abs(result.expect(mt.observables.current(chain)) - exact.current).max() < 1e-8)
    True
    """

    name: ClassVar[str] = "CholeskyGrowth"
    tasks: ClassVar[tuple[str, ...]] = ("steady_state",)

    max_bond: int | None = None
    cutoff: float | None = None

    def __post_init__(self) -> None:
        check_integer("max_bond", self.max_bond, 2, optional=True)
        if self.cutoff is not None and not (is_number(self.cutoff) and 0 <= self.cutoff < 1):
            raise InputError(f"Argument `cutoff` must be >= 0 and < 1, but is {self.cutoff!r}.", field="cutoff")

    # -- before starting ----------------------------------------------------------------------------------------------

    def supports(self, model: Lindbladian, task: str = "steady_state") -> Support:
        if task not in self.tasks:
            return Support(False, f"CholeskyGrowth does steady states, not {task!r}.")
        lattice = model.lattice
        if not lattice.is_bounded:
            return Support(False, "CholeskyGrowth is for spins 1/2; give `levels` a number for other methods.")
        chain = all(j == i + 1 for i, j in lattice.bonds)
        if lattice.periodic or not chain or not model.is_nearest_neighbour or model.L < 2:
            return Support(False, "CholeskyGrowth is for open chains with couplings between neighbours.")
        read = read_chain(model)
        if isinstance(read, str):
            return Support(False, read)
        strong = [str(s) for s in model.conserved if s.strength == "strong"]
        if strong:
            return Support(
                False, f"the model has strong symmetries ({'; '.join(strong)}), hence several stationary states."
            )
        return Support(True, "the chain is uniform and driven at its ends alone.")

    def unpromising(self, model: Lindbladian) -> str:
        if _first_levels(model) is None:
            return "the steady state has no factor of the kind that CholeskyGrowth looks for."
        return ""

    def estimate(self, model: Lindbladian, tol: float) -> Estimate:
        support = self.supports(model)
        if not support:
            raise NotSupportedError(support.reason, field="method")
        ladder = _first_levels(model)
        levels = float(2 if ladder is None else ladder.levels if ladder.closed else model.L // 2 + 1)
        digits = min(max(-math.log10(tol), 1.0), 15.0)
        foreseen = (50 + 16 * digits) * (model.L / 32) ** 0.6  # seen at Delta = 1, the largest spectra
        bond = min(levels**2, float(self.max_bond or DEFAULT_MAX_BOND), foreseen)
        memory = 16.0 * model.L * 3 * levels**3 + 8.0 * 4 * model.L * 4 * bond**2 + 8.0 * 6 * (8 * bond) ** 2
        seconds = 0.5 + 1e-8 * model.L * levels**4 + min(6e-8 * model.L * bond**3, AFFORDABLE / 6e10)
        return Estimate(memory, seconds, f"{levels:.0f} levels, bond dimension up to {bond:.0f}")

    def prepare(self, model: Lindbladian, *, tol: float, seed: int, task: str = "steady_state") -> Work:
        support = self.supports(model, task)
        chain = read_chain(model) if support else support.reason
        if isinstance(chain, str):
            raise NotSupportedError(f"Method {self.name} does not support this model: {chain}", field="method")
        return Work(model, chain, tol, int(seed), lindbladian_mpo(model))

    # -- the verbs ----------------------------------------------------------------------------------------------------

    def start(self, work: Work, initial: Any) -> Iterate:
        if initial is not None:
            raise InputError(
                "Argument `initial` is not used by CholeskyGrowth, which solves algebraic equations; leave it out.",
                field="initial",
            )
        return Iterate(MPOState.mixed(work.model.lattice), 0, {"found": None})

    def advance(self, work: Work, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        L = work.model.L
        foot = find_foot(work.chain, work.seed)
        ladder = None if foot is None else climb(work.chain, foot, L // 2 + 1)
        if ladder is None:
            levels = 0 if foot is None else 2
            out = Iterate(iterate.state, iterate.step + 1, {"found": {"levels": levels, "residual": None}})
            return out, Diagnostics(Status.NOT_CONVERGED, {}, "the steady state has no such factor")
        most = self.max_bond or DEFAULT_MAX_BOND
        cutoff = self.cutoff
        if cutoff is None:
            cutoff = min(max((SHARE * work.tol) ** 2, LEAST_CUTOFF), LARGEST_CUTOFF)
        train = density_train(ladder, L)
        train.orthonormalise_left()
        lost = train.truncate_right(cutoff, most)
        state = MPOState(work.model.lattice, train.real(), tuple(range(L)), 0).normalised()
        bond = max(state.bond_dimensions)
        smaller = math.ceil(SMALLER * bond) if lost > 10 * cutoff * L else None
        coarser, _ = state.compress(smaller, COARSER * cutoff)
        error = SAFETY * difference(profile(state), profile(coarser.normalised())) + FLOOR
        residual = self._residual(work, state)
        limit = VERIFIED + 10 * math.sqrt(lost) if residual < QUICK else 0.0
        verified = residual <= max(limit, 1.01 * QUICK if _accurate(L, bond) > AFFORDABLE else 0.0)
        found = {
            "levels": ladder.levels, "closed": ladder.closed, "equations": ladder.residual, "lost": lost,
            "residual": residual * work.mpo.typical_norm, "error": error, "verified": bool(verified),
            "cut": bool(bond >= most), "bound": _accurate(L, bond) > AFFORDABLE,
        }  # fmt: skip
        status = Status.NOT_CONVERGED
        if verified:
            status = Status.CONVERGED if error <= work.tol else Status.STALLED_BY_TRUNCATION
        out = Iterate(state, iterate.step + 1, {"found": found})
        measures = {"residual": found["residual"], "bond_dimension": float(bond), "error_estimate": error}
        return out, Diagnostics(status, measures, f"{ladder.levels} levels, bond dimension {bond}")

    @staticmethod
    def _residual(work: Work, state: MPOState) -> float:
        """Return |L rho|/|rho| in units of the generator's size, or a bound where the accurate form takes too long."""
        if _accurate(work.model.L, max(state.bond_dimensions)) <= AFFORDABLE:
            return float(work.mpo.residual(state)) / work.mpo.typical_norm
        return max(float(work.mpo.residual(state, method="square")) / work.mpo.typical_norm, QUICK)

    def certify(self, work: Work, iterate: Iterate, status: Status) -> Certificate:
        state, found = iterate.state, iterate.scalars["found"]
        assert isinstance(state, MPOState)
        bond = max(state.bond_dimensions, default=1)
        if found is None or found["residual"] is None:
            note = (
                "the steady state has no factor S with one bond index per charge (the equations of its first levels "
                "have no solution): this is not a steady state. Use LocalDivergence, TEBD or ImplicitSweeps."
            )
            return Certificate(trace=float(state.trace()), bond_dimension=bond, notes=(note,))
        closed = ", closed" if found["closed"] else ""
        note = f"rho = S S^+ with {found['levels']} levels{closed}; their equations hold to {found['equations']:.0e}"
        note += "; the residual is a bound, the accurate form of it would take too long." if found["bound"] else "."
        return Certificate(
            residual=found["residual"],
            trace=float(state.trace()),
            discarded_weight=found["lost"],
            bond_dimension=bond,
            saturated=found["cut"],
            error_estimate=found["error"] if found["verified"] else None,
            error_parts={"truncation": found["error"]} if found["verified"] else {},
            notes=(note,),
        )


def _first_levels(model: Lindbladian) -> Ladder | None:
    """Return a few levels (a second at most, kept), enough to see whether there are any and whether they end."""
    chain = read_chain(model)
    if isinstance(chain, str):
        return None
    jumps = tuple(tuple(j.astype(complex).tobytes() for j in end) for end in chain.jumps)
    return _climbed(chain.bond.tobytes(), np.asarray(chain.ends, dtype=complex).tobytes(), jumps)


@functools.lru_cache(maxsize=64)
def _climbed(bond: bytes, ends: bytes, jumps: tuple[tuple[bytes, ...], tuple[bytes, ...]]) -> Ladder | None:
    one, two = np.frombuffer(ends, dtype=complex).reshape(2, 2, 2)
    left, right = (tuple(np.frombuffer(j, dtype=complex).reshape(2, 2) for j in end) for end in jumps)
    chain = DrivenChain(np.frombuffer(bond, dtype=complex).reshape(4, 4), (one, two), (left, right))
    foot = find_foot(chain)
    return None if foot is None else climb(chain, foot, FIRST_LEVELS)


def _accurate(L: int, bond: float) -> float:
    """Return the operations of the accurate form of the residual."""
    return float(np.float64(L) * 40 * (5.0 * bond) ** 3)
