"""The adjoint problem of bosons on ladder operators of low degree: exact duals but for the cutoff.

The equations of motion of strings A of low degree (see :mod:`mpo_transport.superoperator.ladder`) close up to strings U
beyond, L^dag(A) = sum_B M_AB B + s_A 1 + sum_U R_AU U: of a quadratic model, up to the highest levels, because
[a, a^+] = 1 - d |d-1><d-1|.  With M^T y = o and Y = sum_A y_A A,

    <O>_ss = o_0 - s . y - (R^T y) . <U>_ss,

of which only the last term, the remainder, is not known exactly, and it is as small as <U>: see
:mod:`mpo_transport.methods.hierarchy.remainder`, also for its error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import NotSupportedError
from ..methods.hierarchy.closure import Closure
from ..methods.hierarchy.equations import IntertwinedError, SingularError
from ..methods.hierarchy.ladder import low_closure, number_strings
from ..methods.hierarchy.remainder import (
    Remainder,
    gaussian_covariance,
    gaussian_remainder,
    has_modes,
    remainder_of_state,
)
from ..methods.hierarchy.work import default_cap
from ..model import Lindbladian
from ..operators import OpSum
from ..states import MPOState, State
from ..superoperator.heisenberg import operator_strings
from ..superoperator.ladder import LadderAction
from .base import Dual, DualBackend
from .hierarchy import ACCEPTED, QUICK, ClosedSets, HierarchyVector, StringValues

__all__ = ["LadderDual", "LadderFirst", "LadderSets", "LadderVector"]

_EPS = float(np.finfo(float).eps)
# Degrees of the strings that are followed: of second moments, and of fourth ones.
DEGREES = (2, 4)
# Strings followed: a chain of L sites has about L^2, and six times as many beyond.
STRINGS = 60_000
# A correction this many times larger than its error is taken even where the error is above the one asked for.
WORTH = 10.0


@dataclass(frozen=True, eq=False)
class LadderVector:
    """The dual Y on strings of ladder operators; ``degree`` says of which alphabet."""

    strings: HierarchyVector
    degree: int


class LadderSets(ClosedSets):
    """Sets of ladder strings up to a degree that are closed but for strings beyond it."""

    def __init__(self, model: Lindbladian, degree: int, cap: int | None = None, work: float = np.inf) -> None:
        self.ladder = LadderAction(model, degree)
        super().__init__(model, cap, work, action=self.ladder)
        self.numbers = number_strings(model, self.ladder)

    def _close(self, strings: np.ndarray) -> Closure:
        return low_closure(self.ladder, np.concatenate([strings, self.numbers]), self.cap)

    def is_low(self, strings: np.ndarray) -> np.ndarray:
        """Return which strings are not beyond the degree."""
        return self.ladder.degrees(strings) <= self.ladder.degree

    def beyond(self, number: int) -> np.ndarray:
        """Return the strings beyond a set, shape (m, L)."""
        return self.sets[number].closure.beyond

    def couplings(self, y: HierarchyVector) -> dict[int, np.ndarray]:
        """Return R^T y, {number of the set: shape (m,)}."""
        where = {id(s): (n, b) for n, known in enumerate(self.sets) for b, s in known.written.items()}
        out: dict[int, np.ndarray] = {}
        for strings, c in y.parts:
            number, block = where[id(strings)]
            known = self.sets[number]
            part = known.closure.remainder[known.blocks[block]].T @ c
            out[number] = out[number] + part if number in out else part
        return out

    def occupations(self, number: int) -> np.ndarray:
        """Return the stationary <N_j> without the remainder, from the equations of one set, shape (L,)."""
        known = self.sets[number]
        names = self.action.hashes(np.ascontiguousarray(self.numbers, dtype=self.action.dtype))
        index = known.table.find(names)
        out = np.zeros(self.action.L)
        for site, i in enumerate(index):
            block = int(known.block[i])
            values = known.solved(block)[1]
            out[site] = float(values[np.searchsorted(known.blocks[block], i)])
        return out


class LadderDual:
    """Duals on ladder strings of low degree, for matrix-product and small states of truncated modes.

    Parameters
    ----------
    model, state
        The Lindbladian and a state.
    companions
        Coarser states of the same calculation with the weights of their differences in the error.
    cap, work
        Largest number of strings in one search, and of multiplications of a factorisation.

    Raises
    ------
    NotSupportedError
        If the sites are not all truncated modes.
    """

    def __init__(
        self,
        model: Lindbladian,
        state: State,
        companions: Mapping[str, tuple[State, float]] | None = None,
        cap: int | None = None,
        work: float = QUICK,
    ) -> None:
        if not has_modes(model):
            raise NotSupportedError("Ladder strings need truncated bosonic modes on all sites.", field="model")
        self.model, self.state = model, state
        self.companions = [(s, w) for s, w in (companions or {}).values() if w > 0 and isinstance(s, MPOState)]
        self.cap, self.work = min(default_cap(model), STRINGS) if cap is None else cap, work
        self._sets: dict[int, LadderSets] = {}
        self._known: dict[tuple[int, int], Remainder] = {}

    def sets(self, degree: int) -> LadderSets:
        """Return the sets of strings up to a degree found so far."""
        if degree not in self._sets:
            self._sets[degree] = LadderSets(self.model, degree, self.cap, self.work)
        return self._sets[degree]

    def solve(self, operator: OpSum, value: float, goal: float) -> Dual:
        """Return the dual of a Hermitian operator; there is one only, so ``goal`` is not needed.

        Raises
        ------
        NotSupportedError
            For an operator of high degree, or if there are too many strings (field ``observable``).
        """
        sets, strings, o, constant = self._strings(operator)
        if not len(strings):
            return Dual.nothing(float(constant.real))
        try:
            y, shift, rest, rounding = sets.solve(strings, o.real)
            coefficients = sets.couplings(y)
            parts = [self.remainder(sets, number).of(r) for number, r in coefficients.items()]
        except (IntertwinedError, SingularError) as problem:  # the block of an occupation
            raise NotSupportedError(
                f"The {problem.size} equations of motion of the occupations have no stationary solution.",
                field="observable",
            ) from None
        vector = LadderVector(y, sets.ladder.degree)
        residual = rest / float(np.linalg.norm(o.real))
        corrected = float(constant.real) + shift - sum(p for p, _ in parts)
        error = rounding + sum(e for _, e in parts) + _EPS * (abs(corrected) + abs(constant))
        if not (residual <= ACCEPTED and np.isfinite(corrected) and np.isfinite(error)):
            return Dual.failed(vector, residual)
        return Dual(vector, corrected, error, residual, True)

    def _strings(self, operator: OpSum) -> tuple[LadderSets, np.ndarray, np.ndarray, complex]:
        for degree in DEGREES:
            sets = self.sets(degree)
            strings, o, constant = operator_strings(self.model.lattice, operator, sets.ladder.expand)
            if np.all(sets.is_low(strings)):
                return sets, strings, o, constant
        raise NotSupportedError(
            f"The operator {operator!r} is of higher degree than {DEGREES[-1]} in the ladder operators.",
            field="observable",
        )

    def remainder(self, sets: LadderSets, number: int) -> Remainder:
        """Return what is known of the strings beyond one set, computed once."""
        key = sets.ladder.degree, number
        if key not in self._known:
            self._known[key] = self._remainder(sets, number)
        return self._known[key]

    def _remainder(self, sets: LadderSets, number: int) -> Remainder:
        beyond = sets.beyond(number)
        options: list[Remainder] = []
        if self.unbounded is not None:
            found = gaussian_remainder(sets.ladder, beyond, self.unbounded)
            options += [] if found is None else [found]
        options.append(
            remainder_of_state(sets.ladder, beyond, sets.occupations(number), self.state, self.companions, self.charged)
        )
        return Remainder(tuple(o for r in options for o in r.options))

    @cached_property
    def unbounded(self) -> np.ndarray | None:
        """Second moments of the Gaussian state of unbounded modes, where it has a conserved number."""
        return gaussian_covariance(self.model)

    @cached_property
    def charged(self) -> bool:
        """Whether the model conserves the total number up to exchange with baths."""
        return any(s.group == "U(1)" for s in self.model.conserved)

    def pairing(self, model: Lindbladian) -> Callable[[Any], float]:
        """Return y -> (y| L x) with the generator of another model."""
        known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        made: dict[int, tuple[LadderAction, StringValues]] = {}

        def pair(y: LadderVector | None) -> float:
            if y is None:
                return 0.0
            if y.degree not in made:
                own = self.sets(y.degree).ladder
                values = StringValues(self.state, own, [a.matrices for a in own.alphabets])
                made[y.degree] = LadderAction(model, y.degree), values
            action, values = made[y.degree]
            total = 0.0
            for strings, c in y.strings.parts:
                if id(strings) not in known:
                    known[id(strings)] = strings, values.rates(strings, action)
                total += float(c @ known[id(strings)][1])
            return total

        return pair


class LadderFirst:
    """Duals on ladder strings where they are good enough, those of another backend elsewhere.

    ``costly`` says that the other backend takes so long that it is asked only where there is no other answer.
    """

    def __init__(self, ladder: LadderDual, other: Callable[[], DualBackend], costly: bool = False) -> None:
        self.ladder, self._make, self.costly = ladder, other, costly

    @cached_property
    def other(self) -> DualBackend:
        """The other backend, made when it is needed."""
        return self._make()

    def solve(self, operator: OpSum, value: float, goal: float) -> Dual:
        """Return the dual of a Hermitian operator: within ``goal`` if possible, else the one of the smaller error.

        A dual is also taken if its error is far smaller than the correction that it makes.
        """
        try:
            first = self.ladder.solve(operator, value, goal)
        except NotSupportedError:
            return self.other.solve(operator, value, goal)
        enough = math.inf if self.costly else max(goal, abs(first.corrected - value) / WORTH)
        if first.trusted and first.error <= enough:
            return first
        second = self.other.solve(operator, value, goal)
        if first.trusted and not (second.trusted and second.error <= first.error):
            return first
        return second

    def pairing(self, model: Lindbladian) -> Callable[[Any], float]:
        """Return y -> (y| L x) with the generator of another model."""
        made: dict[bool, Callable[[Any], float]] = {}

        def pair(y: Any) -> float:
            mine = y is None or isinstance(y, LadderVector)
            if mine not in made:
                made[mine] = self.ladder.pairing(model) if mine else self.other.pairing(model)
            return made[mine](y)

        return pair
