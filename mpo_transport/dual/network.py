"""Duals of matrix-product states, solved at growing bond dimension until the estimate of their own error is small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..model import Lindbladian
from ..operators import OpSum
from ..states import MPOState
from ..superoperator.mpo import lindbladian_mpo, operator_train
from ..superoperator.train import add_trains
from .base import Dual
from .sweeps import DualProblem, DualVector, identity_train

__all__ = ["TRUSTED", "NetworkDual", "error_of_ladder", "ladder", "relax"]

# Relative residual of a dual above which its correction is not used (measured: corrections of duals near 1 are noise).
TRUSTED = 0.1
FIRST_BOND = 4
# Steps tau (in units of one over the shift) of the first level, and of the others.
STEPS = (3.0, 30.0, 300.0)
SWEEPS = 3
# A level ends early when a sweep lowers the largest local residual by less than this.
SETTLED = 0.7
# Weight of "residual of the dual times size of the primal error" in the error estimate.
SAFETY = 2.0
# The last change counts in full unless the residual has fallen by more than this factor.
FALLEN = 3.0
# A residual beyond the first: start again from -b/s; beyond the second at the third level or later: give up.
DIVERGED = 1e3
HOPELESS = 1.0
# Below this residual a dual is exact, and comparing residuals means nothing.
NEGLIGIBLE = 1e-9
# Rounding error per site of a contraction.
ROUNDING = 1e-14


def ladder(max_bond: int) -> tuple[int, ...]:
    """Return the bond dimensions 4, 8, 16, ... up to ``max_bond``, at least two of them.

    >>> ladder(24), ladder(3)
    ((4, 8, 16, 24), (1, 3))
    """
    if max_bond <= FIRST_BOND:
        return (max(1, max_bond // 2), max_bond)
    steps = [FIRST_BOND]
    while 2 * steps[-1] < max_bond:
        steps.append(2 * steps[-1])
    return (*steps, max_bond)


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

    def problem(self, operator: OpSum, value: float) -> DualProblem:
        """Return the adjoint problem of a Hermitian operator."""
        o = operator_train(self.model.lattice, operator, self.order)
        o = tuple(t / np.sqrt(d) for t, d in zip(o, self.dims, strict=True))
        return DualProblem(self.adjoint, add_trains([o, self.unit], [1.0, -value]), self.shift)

    def solve(self, operator: OpSum, value: float, goal: float) -> Dual:
        """Return the dual, grown until its estimated error is below ``goal`` or ``max_bond`` is reached."""
        return self.solve_problem(self.problem(operator, value), value, goal)

    def solve_problem(self, problem: DualProblem, value: float, goal: float) -> Dual:
        """Return the dual of a right-hand side given as a train, ``value`` its expectation value; see :meth:`solve`."""
        if problem.norm <= 1e-14 * max(abs(value), 1e-300):
            return Dual.nothing(value)
        y = best = problem.start()
        corrected: list[float] = []
        residuals: list[float] = []
        error = np.inf
        for level, bond in enumerate(ladder(self.max_bond)):
            y = relax(problem, problem.enriched(y, bond), bond, STEPS if level == 0 else STEPS[-1:])
            size, estimate = problem.residual(y), value - self.operator.bilinear(y, self.x)
            if not np.isfinite(size) or not np.isfinite(estimate) or (level > 1 and size > HOPELESS):
                break
            if size > DIVERGED:
                y = problem.start()
            elif residuals and size > max(residuals[-1], NEGLIGIBLE):
                continue  # a larger dual that is worse tells nothing new
            residuals.append(size)
            corrected.append(estimate)
            best = y
            error = error_of_ladder(value, corrected, residuals)
            enough = len(corrected) > 2 or (len(corrected) > 1 and y.bond_dimension < bond)
            if enough and size <= TRUSTED and error <= goal:
                break
        if len(residuals) < 2 or residuals[-1] > TRUSTED:
            return Dual.failed(best, residuals[-1] if residuals else np.inf, best.bond_dimension)
        error += ROUNDING * problem.length * max(abs(value), problem.norm)
        return Dual(best, corrected[-1], error, residuals[-1], True, best.bond_dimension)

    def pairing(self, model: Lindbladian) -> Callable[[DualVector], float]:
        """Return y -> (y| L x) with the generator of another model."""
        operator = lindbladian_mpo(model, self.order)
        return lambda y: 0.0 if y is None else operator.bilinear(y, self.x)


def default_bond(state: MPOState) -> int:
    """Return twice the bond dimension of the state, between 32 and 64: duals of driven chains need more than states."""
    return int(np.clip(2 * max(state.bond_dimensions, default=1), 32, 64))


def relax(problem: DualProblem, y: DualVector, bond: int, steps: tuple[float, ...]) -> DualVector:
    """Return y after sweeps with growing implicit steps, each until they no longer help."""
    for step in steps:
        before = np.inf
        for _ in range(SWEEPS):
            y, local = problem.sweep(y, step / problem.shift, bond)
            if not np.isfinite(local) or local > SETTLED * before:
                break
            before = local
    return y
