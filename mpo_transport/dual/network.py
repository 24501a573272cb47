"""Duals of matrix-product states, solved at growing bond dimension until the estimate of their own error is small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..methods.linear_sweeps import (
    FIRST_STEP,
    DualProblem,
    DualVector,
    Relaxed,
    identity_train,
    ladder,
    relax,
    restart_step,
)
from ..model import Lindbladian
from ..operators import OpSum
from ..states import MPOState
from ..superoperator.mpo import lindbladian_mpo, operator_train
from ..superoperator.train import add_trains, compress_train
from .base import Dual
from .related import related_difference

__all__ = ["TRUSTED", "NetworkDual", "error_of_ladder"]

# Relative residual of a dual above which its correction is not used (measured: corrections of duals near 1 are noise).
TRUSTED = 0.1
# A dual with a larger residual is no start for the next one, which then begins anew with a short step.
POOR, SAFE_STEP = 0.3, 1.0
# Weight of "residual of the dual times size of the primal error" in the error estimate.
SAFETY = 2.0
# The last change counts in full unless the residual has fallen by more than this factor.
FALLEN = 3.0
# Below this residual a dual is exact, and comparing residuals means nothing.
NEGLIGIBLE = 1e-9
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


class NetworkDual:
    """Duals as matrix products; the generator as an exact matrix-product operator."""

    def __init__(self, model: Lindbladian, state: MPOState, max_bond: int | None = None) -> None:
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
        self._last: tuple[OpSum, tuple[np.ndarray, ...], Dual, list[Relaxed]] | None = None
        self.levels: list[Relaxed] = []  # the duals of the last problem at growing bond dimension

    def problem(self, operator: OpSum, value: float) -> DualProblem:
        """Return the adjoint problem of a Hermitian operator."""
        o = operator_train(self.model.lattice, operator, self.order)
        o = tuple(t / np.sqrt(d) for t, d in zip(o, self.dims, strict=True))
        return DualProblem(self.adjoint, add_trains([o, self.unit], [1.0, -value]), self.shift)

    def solve(self, operator: OpSum, value: float, goal: float) -> Dual:
        """Return the dual, grown until its estimated error is below ``goal`` or ``max_bond`` is reached.

        A dual that differs from the last one by local numbers (the current of the next bond) is not solved for.
        """
        problem = self.problem(operator, value)
        if self._last is not None:
            before, b, dual, levels = self._last
            step = related_difference(self.model.lattice, self.adjoint, (before, b), (operator, problem.b))
            if step is not None:
                self.levels = [replace(r, y=self._sum(r.y, step, problem)) for r in levels]
                y = self._sum(dual.y, step, problem)
                corrected = value - self.operator.bilinear(y, self.x)
                return Dual(y, corrected, dual.error, problem.residual(y), True, y.bond_dimension)
        dual = self.solve_problem(problem, value, goal)
        if dual.trusted and dual.y is not None:
            self._last = operator, problem.b, dual, self.levels
        return dual

    def _sum(self, y: DualVector, step: DualVector, problem: DualProblem) -> DualVector:
        """Return y + q with the identity of a problem; the error is that of y."""
        total = DualVector(add_trains([y.tensors, step.tensors], [1.0, 1.0]), self.order)
        return DualVector(compress_train(problem.with_identity(total).tensors).tensors, self.order)

    def solve_problem(self, problem: DualProblem, value: float, goal: float) -> Dual:
        """Return the dual of a right-hand side given as a train, ``value`` its expectation value; see :meth:`solve`."""
        self.levels = []
        if problem.norm <= 1e-14 * max(abs(value), 1e-300):
            return Dual.nothing(value)
        found = Relaxed(problem.start(), np.inf, FIRST_STEP)
        error = np.inf
        for bond in ladder(self.max_bond):
            fresh = found.residual > POOR
            y, step = (problem.start(), SAFE_STEP) if fresh and self.levels else (found.y, restart_step(found.step))
            new = relax(problem, problem.enriched(y, bond), bond, step)
            if not fresh and new.residual > max(found.residual, NEGLIGIBLE):  # the enrichment did harm
                new = min(new, relax(problem, found.y, bond, step), key=lambda r: r.residual)
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
        y = found.y
        if len(self.levels) < 2 or found.residual > TRUSTED:
            return Dual.failed(y, found.residual, y.bond_dimension)
        error += ROUNDING * problem.length * max(abs(value), problem.norm)
        return Dual(y, corrected[-1], error, found.residual, True, y.bond_dimension)

    def pairing(self, model: Lindbladian) -> Callable[[DualVector], float]:
        """Return y -> (y| L x) with the generator of another model."""
        operator = lindbladian_mpo(model, self.order)
        return lambda y: 0.0 if y is None else operator.bilinear(y, self.x)


def default_bond(state: MPOState) -> int:
    """Return twice the bond dimension of the state, between 32 and 64: duals of driven chains need more than states."""
    return int(np.clip(2 * max(state.bond_dimensions, default=1), 32, 64))
