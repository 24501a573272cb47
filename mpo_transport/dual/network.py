"""Duals of matrix-product states, solved at growing bond dimension until the estimate of their own error is small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np

from ..methods.implicit.sectors import GradedOperator, find_labels, graded_operator
from ..methods.linear_sweeps import (
    DualProblem,
    DualVector,
    Relaxed,
    identity_train,
    ladder,
    relax_level,
)
from ..model import Lindbladian
from ..operators import OpSum
from ..states import MPOState
from ..superoperator.mpo import lindbladian_mpo, operator_train
from ..superoperator.train import add_trains, compress_train, train_inner, train_log_norm
from .base import Dual
from .pairs import WINDOW, solve_pairs
from .primal import RefinedState, refined_state
from .related import related_difference

__all__ = ["TRUSTED", "NetworkDual", "error_of_ladder"]

# Relative residual of a dual above which its correction is not used (measured: corrections of duals near 1 are noise).
TRUSTED = 0.1
# Weight of "residual of the dual times size of the primal error" in the error estimate.
SAFETY = 2.0
# The last change counts in full unless the residual has fallen by more than this factor.
FALLEN = 3.0
# Rounding error per site of a contraction.
ROUNDING = 1e-14


def error_of_ladder(value: float, corrected: list[float], residuals: list[float]) -> float:
    """Return the error estimate of the last of several corrected values.

    The error of a dual is (r|e), r its residual and e the error of the state.  Two consecutive duals measure
    |e| ~ |change| / |r|; the largest of these times the last residual is one part of the estimate.  The other is the
    last change itself, reduced only where the residual has fallen far between the two.
    """
    values, sizes = [value, *corrected], [1.0, *residuals]
    changes = np.abs(np.diff(values))
    amplitude = max(c / min(max(s, 1e-300), 1.0) for c, s in zip(changes, sizes[:-1], strict=True))
    fallen = min(1.0, FALLEN * sizes[-1] / max(sizes[-2], 1e-300))
    return float(fallen * changes[-1] + SAFETY * sizes[-1] * amplitude)


@dataclass(frozen=True)
class DualSum:
    """y + q of a dual and one of local numbers, with the identity that solves its problem: summed when asked for."""

    y: DualVector
    q: DualVector
    problem: DualProblem

    @property
    def order(self) -> tuple[int, ...]:
        """The site at every position."""
        return self.y.order

    @property
    def bond_dimension(self) -> int:
        """A bound on the largest bond dimension."""
        return self.y.bond_dimension + self.q.bond_dimension

    @property
    def tensors(self) -> tuple[np.ndarray, ...]:
        """The tensors of the sum."""
        total = DualVector(add_trains([self.y.tensors, self.q.tensors], [1.0, 1.0]), self.order)
        return compress_train(self.problem.with_identity(total).tensors).tensors


@dataclass(frozen=True)
class _Last:
    """The last problem that was solved, and <O>_x and (y|L x) of it, means over the states it was paired with."""

    operator: OpSum
    problem: DualProblem
    dual: Dual
    levels: list[Relaxed]
    pairing: float
    states: list[DualVector]


class NetworkDual:
    """Duals as matrix products; the generator as an exact matrix-product operator.

    Parameters
    ----------
    model, state
        The Lindbladian and an approximation of its steady state.
    max_bond
        Largest bond dimension; default: twice that of the state, 32 .. 64.
    refine
        Solve for the steady state as well, up to the same bond dimension, and correct that one (:mod:`.pairs`); it is
        used if its |L x| is smaller than that of ``state``.
    """

    def __init__(
        self, model: Lindbladian, state: MPOState, max_bond: int | None = None, *, refine: bool = False
    ) -> None:
        self.model, self.order = model, state.order
        self.operator = lindbladian_mpo(model, state.order)
        self.adjoint = self.operator.transpose()
        self.max_bond = max_bond or default_bond(state)
        legs = [t.shape[1] for t in state.tensors]
        normal = state.normalised()
        # units where the identity has norm one: x_k sqrt(D)
        self.x = DualVector(tuple(t * n**0.25 for t, n in zip(normal.tensors, legs, strict=True)), state.order)
        self.unit = identity_train(legs)
        self.dims = [float(model.lattice.dims[s]) for s in state.order]
        rate = self.operator.typical_norm / np.sqrt(len(legs))
        self.shift = rate if rate > 0 else 1.0
        self.refined: RefinedState | None = None
        self._last: _Last | None = None
        self.levels: list[Relaxed] = []  # the duals of the last problem at growing bond dimension
        if refine:
            self._refine()

    @cached_property
    def _labels(self) -> list[np.ndarray]:
        labels = find_labels(self.model)
        return [labels[s] for s in self.order]

    @cached_property
    def grading(self) -> GradedOperator:
        """L^T with labelled bonds, for the blocks of the sweeps."""
        return graded_operator(self.adjoint.tensors, self._labels)

    def _refine(self) -> None:
        grading = graded_operator(self.operator.tensors, self._labels)
        found = refined_state(self.operator, grading, self.shift, self.max_bond)
        if found is not None:
            own = self.operator.residual(self.x) * float(np.exp(train_log_norm(self.x.tensors)))
            if found.residual < own:
                self._take(found)

    def _take(self, state: RefinedState) -> None:
        self.refined, self.x = state, state.states(1)[0]

    def problem(self, operator: OpSum, value: float) -> DualProblem:
        """Return the adjoint problem of a Hermitian operator."""
        o = operator_train(self.model.lattice, operator, self.order)
        o = tuple(t / np.sqrt(d) for t, d in zip(o, self.dims, strict=True))
        return DualProblem(self.adjoint, add_trains([o, self.unit], [1.0, -value]), self.shift, self.grading)

    def solve(self, operator: OpSum, value: float, goal: float) -> Dual:
        """Return the dual, grown until its estimated error is below ``goal`` or ``max_bond`` is reached.

        A dual that differs from the last one by local numbers (the current of the next bond) is not solved for.
        """
        problem = self.problem(operator, value)
        last = self._last
        if last is not None:
            step = related_difference(
                self.model.lattice, self.adjoint, (last.operator, last.problem.b), (operator, problem.b)
            )
            if step is not None:
                self.levels = [replace(r, y=cast(DualVector, DualSum(r.y, step, problem))) for r in last.levels]
                dual = last.dual
                # <O>_x - (y + q|L x), means over the states
                own = self._value(problem, value, last.states)
                pairings = [self.operator.bilinear(step, x) for x in last.states]
                corrected = own - last.pairing - float(np.mean(pairings))
                # L^T y - b is the same
                residual = dual.residual * last.problem.norm / problem.norm
                y = DualSum(dual.y, step, problem)
                return Dual(y, corrected, dual.error, residual, True, dual.bond_dimension)
        dual = self.solve_problem(problem, value, goal)
        if dual.trusted and dual.y is not None:
            states = [self.x] if self.refined is None else self.refined.states(WINDOW)
            pairing = self._value(problem, value, states) - dual.corrected
            self._last = _Last(operator, problem, dual, self.levels, pairing, states)
        return dual

    def _value(self, problem: DualProblem, value: float, states: list[DualVector]) -> float:
        """Return the mean <O> of the states that are corrected, ``value`` being that of the state given."""
        if self.refined is None:
            return value
        return value + float(np.mean([train_inner(problem.b, x.tensors) for x in states]))

    def solve_problem(self, problem: DualProblem, value: float, goal: float) -> Dual:
        """Return the dual of a right-hand side given as a train, ``value`` its expectation value; see :meth:`solve`."""
        self.levels = []
        if problem.norm <= 1e-14 * max(abs(value), 1e-300):
            return Dual.nothing(value)
        if self.refined is not None:
            return self._solve_pairs(problem, self.refined, value, goal)
        error, corrected = np.inf, [value]
        found: Relaxed | None = None
        for bond in ladder(self.max_bond):
            new = relax_level(problem, found, bond)
            if not np.isfinite(new.residual):
                continue
            # from the worst to the best: what the estimate compares
            self.levels = sorted([*self.levels, new], key=lambda r: -r.residual)
            found = self.levels[-1]
            corrected = [value - self.operator.bilinear(r.y, self.x) for r in self.levels]
            error = error_of_ladder(value, corrected, [r.residual for r in self.levels])
            enough = len(self.levels) > 2 or (len(self.levels) > 1 and found.y.bond_dimension < bond)
            if enough and found.residual <= TRUSTED and error <= goal:
                break
        if found is None:
            return Dual.failed(problem.start(), np.inf, 1)
        y = found.y
        if len(self.levels) < 2 or found.residual > TRUSTED:
            return Dual.failed(y, found.residual, y.bond_dimension)
        error += _rounding(problem, value)
        return Dual(y, corrected[-1], error, found.residual, True, y.bond_dimension)

    def _solve_pairs(self, problem: DualProblem, state: RefinedState, value: float, goal: float) -> Dual:
        """The same where the state is refined together with the dual."""
        levels, state, found = solve_pairs(problem, state, value, goal, self.max_bond, TRUSTED)
        self._take(state)
        self.levels = [level.last for level in levels]
        last = self.levels[-1]
        if found is None:
            return Dual.failed(last.y, last.residual, last.y.bond_dimension)
        error = found.error + _rounding(problem, value)
        return Dual(last.y, found.pairs.value, error, last.residual, True, last.y.bond_dimension)

    def pairing(self, model: Lindbladian) -> Callable[[DualVector], float]:
        """Return y -> (y| L x) with the generator of another model."""
        operator = lindbladian_mpo(model, self.order)
        return lambda y: 0.0 if y is None else operator.bilinear(y, self.x)


def _rounding(problem: DualProblem, value: float) -> float:
    return ROUNDING * problem.length * max(abs(value), problem.norm)


def default_bond(state: MPOState) -> int:
    """Return twice the bond dimension of the state, between 32 and 64: duals of driven chains need more than states."""
    return int(np.clip(2 * max(state.bond_dimensions, default=1), 32, 64))
