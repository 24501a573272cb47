"""The adjoint problem on a closed set of operators: exact duals of chains of any length, where the equations close.

With the adjoint generator L^dag(A) = sum_B M_AB B + s_A on a closed set of strings (products of local operators), the
dual Y = sum_A y_A A of O = o_0 + sum_A o_A A solves

    L^dag(Y) = O - <O>_ss 1    <=>    M^T y = o,        <O>_ss = o_0 - s . y,

and (y| L x) = <L^dag(Y)>_x = <O>_x - <O>_ss for every state x: the corrected value does not depend on x at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import NotSupportedError
from ..methods.hierarchy.closure import Closure, NotClosedError, StringTable, close
from ..methods.hierarchy.equations import Factors, IntertwinedError, SingularError, components, factor_work
from ..methods.hierarchy.initial import string_expectations
from ..methods.hierarchy.state import not_closed
from ..methods.hierarchy.work import default_cap, hierarchy_action
from ..model import Lindbladian
from ..operators import OpSum
from ..states import State
from ..superoperator.heisenberg import HeisenbergAction, StringAction, operator_strings, string_text
from .base import Dual, DualBackend

__all__ = ["ClosedSet", "ClosedSets", "HierarchyDual", "HierarchyFirst", "HierarchyVector", "StringValues"]

_EPS = float(np.finfo(float).eps)
# Relative residual up to which a solve counts: rounding errors leave much less.
ACCEPTED = 1e-7
SAFETY = 4.0
# Where there is another dual, a set must be solved within this number of multiplications (about ten seconds), and be
# closed by itself: a larger part of the operator space than this has been exhausted rather than closed.
QUICK, SHARE = 1e10, 0.125
# After so many operators that do not close, the others are not tried.
PATIENCE = 3


@dataclass(frozen=True, eq=False)
class HierarchyVector:
    """The dual Y, a sum over blocks of strings: pairs of strings (n, L) and their coefficients (n,).

    Duals of one block share the array of its strings; see :mod:`mpo_transport.superoperator.heisenberg`.
    """

    parts: tuple[tuple[np.ndarray, np.ndarray], ...]

    def __len__(self) -> int:
        return sum(len(c) for _, c in self.parts)


@dataclass(eq=False)
class ClosedSet:
    """A closed set of strings, the blocks of its equations of motion, and the factors of those that were needed."""

    closure: Closure
    table: StringTable
    block: np.ndarray
    blocks: list[np.ndarray]
    factors: dict[int, tuple[Factors, np.ndarray]] = field(default_factory=dict)
    written: dict[int, np.ndarray] = field(default_factory=dict)

    def strings(self, number: int) -> np.ndarray:
        """Return the strings of one block, always the same array."""
        if number not in self.written:
            self.written[number] = self.closure.strings[self.blocks[number]]
        return self.written[number]

    def solved(self, number: int) -> tuple[Factors, np.ndarray]:
        """Return the factors of one block and its stationary values, computed once."""
        if number not in self.factors:
            rows = self.blocks[number]
            factors = Factors(self.closure.matrix[rows][:, rows])
            values, _ = factors.solve(-self.closure.source[rows])
            self.factors[number] = (factors, values)
        return self.factors[number]


class ClosedSets:
    """The closed sets of strings of a model found so far, with the factors of their equations of motion."""

    def __init__(
        self,
        model: Lindbladian,
        cap: int | None = None,
        work: float = np.inf,
        share: float = 1.0,
        action: StringAction | None = None,
    ) -> None:
        self.action: StringAction = hierarchy_action(model) if action is None else action
        self.lattice, self.work, self.cap = (
            model.lattice,
            work,
            int(min(default_cap(model) if cap is None else cap, share * self.action.total)),
        )
        self.sets: list[ClosedSet] = []

    def solve(self, strings: np.ndarray, o: np.ndarray) -> tuple[HierarchyVector, float, float, float]:
        """Return y with M^T y = o, then -s . y, the norm of the residual, and an estimate of the error of -s . y.

        Raises
        ------
        NotSupportedError
            If the equations of motion do not close, or do not fix the expectation values.
        """
        names = self.action.hashes(np.ascontiguousarray(strings, dtype=self.action.dtype))
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        value, rest, error = np.longdouble(0.0), 0.0, 0.0
        left = np.ones(len(strings), dtype=bool)
        number = 0
        while left.any():
            if number == len(self.sets):
                self._find(strings[left])
            known = self.sets[number]
            index = known.table.find(names)
            mine = left & (index >= 0)
            left &= ~mine
            number += 1
            for block in np.unique(known.block[index[mine]]):
                rows = known.blocks[block]
                chosen = mine & (index >= 0)
                chosen[chosen] = known.block[index[chosen]] == block
                right = np.zeros(len(known.closure))
                right[index[chosen]] = o[chosen]
                part, missed, wrong, y = self._block(known, int(block), right[rows], strings)
                value += part
                rest += missed**2
                error += wrong
                parts.append((known.strings(int(block)), y))
        return HierarchyVector(tuple(parts)), float(value), float(np.sqrt(rest)), error

    def _block(
        self, known: ClosedSet, block: int, right: np.ndarray, asked: np.ndarray
    ) -> tuple[np.longdouble, float, float, np.ndarray]:
        rows = known.blocks[block]
        try:
            factors, values = known.solved(block)
        except SingularError as problem:
            raise NotSupportedError(
                f"The equations of motion of {string_text(self.lattice, asked[0])} close on {problem.size} strings, "
                "but have no unique stationary solution.",
                field="observable",
            ) from None
        except IntertwinedError as problem:
            raise NotSupportedError(
                f"The equations of motion of {string_text(self.lattice, asked[0])} close on {problem.size} strings, "
                "too intertwined to be solved.",
                field="observable",
            ) from None
        y, missed = factors.solve(right, transposed=True)
        source = known.closure.source[rows].astype(np.longdouble)
        value = -np.sum(y * source)
        largest = max(1.0, float(np.abs(values).max(initial=0.0)))
        weight = np.abs(y).astype(float) * known.closure.magnitude[rows]
        # the answer twice: -s . y and o . v; and the rounding errors of the entries of M and s, of random signs
        twice = abs(float(np.sum(values * right) - value))
        error = twice + SAFETY * _EPS * largest * float(np.linalg.norm(weight)) + _EPS * abs(float(value))
        error += float(np.linalg.norm(missed.astype(float)) * np.linalg.norm(values.astype(float)))
        return value, float(np.linalg.norm(missed.astype(float))), error, y.astype(float)

    def _find(self, strings: np.ndarray) -> None:
        try:
            closure = self._close(strings)
        except NotClosedError as problem:
            sentence = not_closed(problem, self.cap) % string_text(self.lattice, strings[0])
            raise NotSupportedError(sentence, field="observable") from None
        blocks = components(closure.matrix)
        if self.work < np.inf:
            largest = max(blocks, key=len)
            if factor_work(closure.matrix[largest][:, largest])[1] > self.work:
                raise NotSupportedError(
                    f"The equations of motion of {string_text(self.lattice, strings[0])} close on {len(closure)} "
                    "strings, which take long to be solved.",
                    field="observable",
                )
        label = np.empty(len(closure), dtype=np.int64)
        for number, rows in enumerate(blocks):
            label[rows] = number
        table = StringTable()
        table.add(self.action.hashes(closure.strings))
        self.sets.append(ClosedSet(closure, table, label, blocks))

    def _close(self, strings: np.ndarray) -> Closure:
        return close(self.action, strings, self.cap)


class StringValues:
    """Expectation values of strings in a state, computed once each."""

    def __init__(self, state: State, action: StringAction, matrices: Sequence[np.ndarray] | None = None) -> None:
        self.state, self.action, self.matrices = state, action, matrices
        self._table = StringTable()
        self._values = np.zeros(0)

    def of(self, names: np.ndarray, build: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return the values of strings given by their names; ``build`` writes out those at some positions."""
        out = np.ones(len(names))
        proper = names != 0
        fresh = np.flatnonzero(proper & (self._table.find(names) < 0))
        new, first = np.unique(names[fresh], return_index=True)
        if len(new):
            values = string_expectations(self.state, build(fresh[first]), self.matrices)
            self._table.add(new)
            self._values = np.concatenate([self._values, values])
        out[proper] = self._values[self._table.find(names[proper])]
        return out

    def rates(self, strings: np.ndarray, action: StringAction) -> np.ndarray:
        """Return <L^dag(A)> = (A| L x) of strings, shape (n,), with the generator of ``action``."""
        rows = action.rows(strings)
        weighted = rows.coefficients * self.of(rows.hashes, rows.build)
        return np.bincount(rows.parents, weighted, len(strings))


class HierarchyDual:
    """Exact duals on closed sets of strings, for any state that can give the expectation values of strings.

    Parameters
    ----------
    model, state
        The Lindbladian and a state.
    cap
        Largest number of strings in one search; None: 200000, fewer on more than 250 sites.
    work, share
        Largest number of multiplications of a factorisation, and largest part of the operator space in one set.
    """

    def __init__(
        self,
        model: Lindbladian,
        state: State,
        cap: int | None = None,
        work: float = np.inf,
        share: float = 1.0,
    ) -> None:
        self.model, self.state = model, state
        self.sets = ClosedSets(model, cap, work, share)
        self.values = StringValues(state, self.sets.action)

    def solve(self, operator: OpSum, value: float, goal: float) -> Dual:
        """Return the dual of a Hermitian operator; exact up to rounding, so ``goal`` is not needed.

        Raises
        ------
        NotSupportedError
            If the equations of motion do not close, or do not fix the expectation value (field ``observable``).
        """
        strings, o, constant = operator_strings(self.model.lattice, operator)
        if not len(strings):
            return Dual.nothing(float(constant.real))
        y, shift, rest, error = self.sets.solve(strings, o.real)
        residual = rest / float(np.linalg.norm(o.real))
        if not residual <= ACCEPTED:
            return Dual.failed(y, residual)
        exact = float(constant.real) + shift
        return Dual(y, exact, error + _EPS * (abs(exact) + abs(constant)), residual, True)

    def pairing(self, model: Lindbladian) -> Callable[[Any], float]:
        """Return y -> (y| L x) with the generator of another model."""
        action = HeisenbergAction.of(model)
        known: dict[int, tuple[np.ndarray, np.ndarray]] = {}

        def pair(y: HierarchyVector | None) -> float:
            total = 0.0
            for strings, c in () if y is None else y.parts:
                if id(strings) not in known:
                    known[id(strings)] = strings, self.values.rates(strings, action)
                total += float(c @ known[id(strings)][1])
            return total

        return pair


class HierarchyFirst:
    """Exact duals where the equations of motion close soon enough, those of another backend elsewhere."""

    def __init__(self, model: Lindbladian, state: State, other: DualBackend) -> None:
        self.other, self._failures = other, 0
        try:
            self.exact: HierarchyDual | None = HierarchyDual(model, state, work=QUICK, share=SHARE)
        except NotSupportedError:
            self.exact = None

    def solve(self, operator: OpSum, value: float, goal: float) -> Dual:
        """Return the dual, exact if possible."""
        if self.exact is not None and self._failures < PATIENCE:
            try:
                dual = self.exact.solve(operator, value, goal)
            except NotSupportedError:
                dual = None
                self._failures += 1
            if dual is not None and dual.trusted:
                return dual
        return self.other.solve(operator, value, goal)

    def pairing(self, model: Lindbladian) -> Callable[[Any], float]:
        """Return y -> (y| L x) with the generator of another model."""
        exact = self.exact
        made: dict[str, Callable[[Any], float]] = {}

        def pair(y: Any) -> float:
            closed = isinstance(y, HierarchyVector)
            kind = "closed" if closed else "other"
            if kind not in made:
                made[kind] = exact.pairing(model) if closed and exact is not None else self.other.pairing(model)
            return made[kind](y)

        return pair
