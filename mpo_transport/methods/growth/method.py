"""The method ChainGrowth: knobs, support, cost, and the verbs of :class:`~mpo_transport.methods.Method`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError, NotSupportedError
from ...model import Lindbladian
from ...result import Certificate, Status
from ...states import MPOState
from ...superoperator.mpo import MPO, lindbladian_mpo
from ..base import Diagnostics, Estimate, Iterate, Method, Support, register_method
from ..knobs import check_integer
from ..tebd.measure import difference, profile
from .short_chain import Family, chain_family, grow, has_bulk_tensor, sector_size, solve_short

__all__ = ["ChainGrowth"]

# |L rho|/|rho| per generator below which the grown state is the steady state.
VERIFIED = 1e-10
# Factor from the difference of two roundings of the state to its error, and the smallest error claimed.
SAFETY, FLOOR = 20.0, 1e-13


@dataclass(eq=False)
class Work:
    """The family of chains, the operator that judges, and the short solutions found so far (a pure cache)."""

    model: Lindbladian
    tol: float
    family: Family
    mpo: MPO
    solved: dict[int, np.ndarray | None] = field(default_factory=dict)

    def short(self, length: int) -> np.ndarray | None:
        """Return x_n, solved once."""
        if length not in self.solved:
            self.solved[length] = solve_short(self.family, length)
        return self.solved[length]


@register_method
@dataclass(frozen=True)
class ChainGrowth(Method):
    """Exact steady state of a long chain, grown from the exact solutions of two short ones.

    Some chains with a uniform bulk have steady states that are matrix products with one and the same bulk tensor at
    every length: the XX chain between arbitrary baths (bond dimension 4), the maximally driven XXZ chain at
    Delta = cos(pi m/n) (9 at Delta = 1/2), and their like.  Two short chains, solved exactly, determine the tensor;
    the rank is found, not given.  Whether a model is of this kind is not assumed: the residual |L rho|/|rho| of the
    grown state, from the exact Lindbladian operator at the full length, decides, and otherwise the result is
    ``not_converged``.  There is no truncation, no time step and no dependence on the gap; the cost is that of the short
    chains, and linear in the length.

    Parameters
    ----------
    largest_block
        Largest number of unknowns of a short chain, >= 16 (8200 unknowns take about 20 s and 1 GiB).
    largest_rank
        Largest bond dimension tried.

    Raises
    ------
    InputError
        For a knob out of range, naming it.

    References
    ----------
    D. Karevski, V. Popkov, G. M. Schuetz, Phys. Rev. Lett. 110, 047201 (2013) and T. Prosen, Phys. Rev. Lett. 107,
    137201 (2011) for exact matrix-product steady states; the bulk tensor is recovered as a weighted automaton is from
    its Hankel matrix, M. Fliess, J. Math. Pures Appl. 53, 197 (1974).

    Examples
    --------
    >>> import mpo_transport as mt
    >>> chain = mt.models.boundary_driven_xx(L=200, t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    >>> result = mt.steady_state(chain, ChainGrowth(), tol=1e-10)
    >>> exact = (0.9 - 0.2) / (1 / 0.6 + 1 / 1.4 + 2.0 / 4)
    >>> bool(abs(result.expect(mt.observables.current(chain)) - exact).max() < 1e-12), result.certificate.bond_dimension
    (True, 4)
    """

    name: ClassVar[str] = "ChainGrowth"
    tasks: ClassVar[tuple[str, ...]] = ("steady_state",)

    largest_block: int = 2500
    largest_rank: int = 64

    def __post_init__(self) -> None:
        for name, smallest in (("largest_block", 16), ("largest_rank", 1)):
            check_integer(name, getattr(self, name), smallest)

    # -- before starting ----------------------------------------------------------------------------------------------

    def supports(self, model: Lindbladian, task: str = "steady_state") -> Support:
        if task not in self.tasks:
            return Support(False, f"ChainGrowth does steady states, not {task!r}.")
        lattice = model.lattice
        if not lattice.is_bounded:
            return Support(
                False, "ChainGrowth needs sites of finite dimension; give `levels` a number (for example levels=3)."
            )
        if lattice.periodic or not model.is_nearest_neighbour:
            return Support(False, "ChainGrowth is for open chains with couplings between neighbours.")
        strong = [str(s) for s in model.conserved if s.strength == "strong"]
        if strong:
            return Support(
                False, f"the model has strong symmetries ({'; '.join(strong)}), hence several stationary states."
            )
        family = chain_family(model) if model.L > 2 else None
        if family is None or len(family.lengths()) < 2:
            return Support(False, "the bulk of the chain does not repeat itself often enough to be left out.")
        return Support(True, "the bulk of the chain repeats itself.")

    def unpromising(self, model: Lindbladian) -> str:
        family = chain_family(model)
        if family is not None and has_bulk_tensor(family, self.largest_block) is not None:
            return ""
        return "the steady states of short chains have no bulk tensor in common."

    def estimate(self, model: Lindbladian, tol: float) -> Estimate:
        support = self.supports(model)
        if not support:
            raise NotSupportedError(support.reason, field="method")
        unknowns = float(self.largest_block)
        rank = min(self.largest_rank, 16)
        legs = float(max(model.lattice.dims)) ** 2
        memory = 8.0 * (2 * unknowns**2 + model.L * rank**2 * legs * 12)
        return Estimate(memory, 2e-7 * unknowns**2 + 2e-3 * model.L, f"short chains of up to {unknowns:.0f} unknowns")

    def prepare(self, model: Lindbladian, *, tol: float, seed: int, task: str = "steady_state") -> Work:
        support = self.supports(model, task)
        family = chain_family(model)
        if not support or family is None:
            raise NotSupportedError(f"Method {self.name} does not support this model: {support.reason}", field="method")
        return Work(model, tol, family, lindbladian_mpo(model))

    # -- the verbs ----------------------------------------------------------------------------------------------------

    def start(self, work: Work, initial: Any) -> Iterate:
        if initial is not None:
            raise InputError(
                "Argument `initial` is not used by ChainGrowth, which solves short chains exactly; leave it out.",
                field="initial",
            )
        return Iterate(MPOState.mixed(work.model.lattice), 0, {"best": None, "tried": [], "error": None})

    def advance(self, work: Work, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        lengths, step = work.family.lengths(), iterate.step
        length = lengths[step]
        if length + work.family.period >= work.model.L or (
            sector_size(work.family, length + work.family.period) > self.largest_block
        ):
            return iterate, Diagnostics(Status.NOT_CONVERGED, {}, "no longer chain can be solved")
        short, longer = work.short(length), work.short(length + work.family.period)
        scalars = {**iterate.scalars, "tried": [*iterate.scalars["tried"], length]}
        if short is None or longer is None:
            return iterate, Diagnostics(Status.NOT_CONVERGED, {}, f"the chain of {length} sites has no unique state")
        state, status = iterate.state, None
        for cut in _cuts(length):
            growth = grow(work.family, short, longer, cut)
            if growth.rank > self.largest_rank:
                continue
            grown = _state(work.model, growth.tensors)
            residual = math.inf if grown is None else float(work.mpo.residual(grown))
            if grown is not None and (scalars["best"] is None or residual < scalars["best"]["residual"]):
                state = grown
                scalars["best"] = {
                    "length": length, "cut": cut, "rank": growth.rank, "residual": residual,
                    "mismatch": growth.mismatch, "smallest": growth.smallest,
                }  # fmt: skip
            if grown is not None and residual <= VERIFIED * work.mpo.typical_norm:
                other = _state(work.model, grow(work.family, short, longer, cut, mirrored=True).tensors)
                scalars["error"] = _rounding(grown, other)
                status = Status.CONVERGED if scalars["error"] <= work.tol else Status.NOT_CONVERGED
                break
        out = Iterate(state, step + 1, scalars)
        if status is None and step + 1 == len(lengths):
            status = Status.NOT_CONVERGED
        best = scalars["best"]
        message = f"grown from {length} sites: " + (f"residual {best['residual']:.1e}" if best else "no state")
        return out, Diagnostics(status, {"residual": best["residual"] if best else None}, message)

    def certify(self, work: Work, iterate: Iterate, status: Status) -> Certificate:
        state, best = iterate.state, iterate.scalars["best"]
        assert isinstance(state, MPOState)
        error = iterate.scalars["error"]
        if best is None:
            notes = (f"no chain of fewer than {work.model.L} sites could be solved and grown.",)
        elif error is None:
            notes = (
                f"short chains {iterate.scalars['tried']} solved: the steady states of this family have no bulk tensor "
                f"of their own up to these lengths (best residual {best['residual']:.1e}); this is not a steady state. "
                "Use TEBD or ImplicitSweeps, or raise `largest_block`.",
            )
        else:
            notes = (
                f"grown from the exact chains of {best['length']} and {best['length'] + work.family.period} sites, cut "
                f"after {best['cut']}: rank {best['rank']}, smallest Schmidt value {best['smallest']:.1e} of the "
                f"largest, mismatch {best['mismatch']:.1e}.",
            )
        return Certificate(
            residual=None if best is None else best["residual"],
            trace=float(state.trace()),
            discarded_weight=0.0,
            bond_dimension=max(state.bond_dimensions, default=1),
            error_estimate=error,
            error_parts={} if error is None else {"rounding": error},
            notes=notes,
        )


def _cuts(length: int) -> list[int]:
    """Return the cuts of a short chain, from the middle outwards: there the frames hold the largest rank."""
    return sorted(range(1, length), key=lambda c: (abs(2 * c - length), c))


def _state(model: Lindbladian, tensors: tuple[np.ndarray, ...]) -> MPOState | None:
    """Return the state of unit trace; None where the tensors overflowed or the trace vanishes."""
    if not all(np.isfinite(t).all() for t in tensors):
        return None
    with np.errstate(all="ignore"):
        state = MPOState(model.lattice, tensors, tuple(range(model.L)), None)
        try:
            state = state.compress(cutoff=1e-28)[0].normalised()
        except (InputError, np.linalg.LinAlgError):
            return None
    return state if all(np.isfinite(t).all() for t in state.tensors) else None


def _rounding(a: MPOState, b: MPOState | None) -> float:
    """Return the error of local expectation values, from two roundings of the same state."""
    return math.inf if b is None else max(SAFETY * difference(profile(a), profile(b)), FLOOR)
