"""Corrected values of a refined state: duals and states of successive cycles, all paired with one another.

For a dual y and a state x of trace one let

    J(y, x) = <O>_x - (y| L x),        J(y, x) - <O>_ss = (y_exact - y| L (x - x_exact)).

J is linear in both up to what the traces fix, so that the mean over all pairs of y_1 .. y_n and x_1 .. x_m is the
corrected value of the mean dual and the mean state: what truncation adds to the iterates averages out.  Where the mean
over states still moves with the duals, or that over duals with the states, slow modes have not settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..methods.linear_cycles import CYCLES, Iterates, first_iterates, next_iterates, ordered
from ..methods.linear_sweeps import POOR, DualProblem, DualVector, ladder
from ..superoperator.mpo import MPO
from ..superoperator.train import train_inner
from .primal import RefinedState, with_trace

__all__ = ["PairEstimate", "Pairs", "error_of_levels", "pairs_of", "solve_pairs"]

# Iterates of each side that are paired, and cycles beyond the first ones that may be spent on settling both sides.
WINDOW, MOST_CYCLES = 4, 8
# Cycles have done their work where what is left of their drift is below this part of the error of truncation.
SETTLED = 0.5
# Weight of the error of truncation, and of one that fewer than FEW differences have measured.
SAFETY, UNSURE, FEW = 3.0, 6.0, 5


@dataclass(frozen=True)
class Pairs:
    """J(y_i, x_j), rows of one dual."""

    values: np.ndarray

    @property
    def value(self) -> float:
        """Of the mean dual and the mean state."""
        return float(self.values.mean())

    @property
    def drift_of_dual(self) -> float:
        """Largest difference of one dual from the mean, for the mean state."""
        return float(np.abs(self.values.mean(axis=1) - self.value).max())

    @property
    def drift_of_state(self) -> float:
        """Largest difference of one state from the mean, for the mean dual."""
        return float(np.abs(self.values.mean(axis=0) - self.value).max())


def pairs_of(
    operator: MPO, b: Sequence[np.ndarray], value: float, duals: Sequence[DualVector], states: Sequence[DualVector]
) -> Pairs:
    """Return J of all pairs, ``operator`` being L^T and ``value`` + (b|x) the expectation value of a state x."""
    own = [value + train_inner(b, x.tensors) for x in states]
    return Pairs(np.array([[e - operator.bilinear(x, y) for x, e in zip(states, own, strict=True)] for y in duals]))


@dataclass(frozen=True)
class PairEstimate:
    """The corrected value of the finest duals and states, and the two parts of its error estimate."""

    pairs: Pairs
    truncation: float

    @property
    def drift(self) -> float:
        """What cycles can still lower."""
        return self.pairs.drift_of_dual + self.pairs.drift_of_state

    @property
    def error(self) -> float:
        """The error estimate."""
        return self.drift + self.truncation


def error_of_levels(values: np.ndarray, duals: Sequence[float], states: Sequence[float]) -> float:
    """Return the error estimate of the last of the corrected values of all levels of duals (rows) and of states.

    The error of a pair is (r|e), r the residual of the dual and e the error of the state, or the reverse: of the size
    kappa |r| |q|, q the residual of the state.  The differences to the last value measure kappa; signs may cancel in
    one of them, so that the largest counts.
    """
    sizes = np.multiply.outer(np.minimum(duals, 1.0), np.minimum(states, 1.0))
    differences = np.abs(values - values[-1, -1])
    kappa = float(np.max(differences / np.maximum(sizes, 1e-300)))
    return (SAFETY if values.size > FEW else UNSURE) * kappa * float(sizes[-1, -1])


def estimate(levels: Sequence[Iterates], state: RefinedState, value: float) -> PairEstimate:
    """Return the corrected value of the best bond dimensions of duals and of the state, and its error estimate."""
    problem, levels, others = levels[-1].problem, _telling(levels), _telling(state.levels)
    duals = [[r.y for r in level.window(WINDOW)] for level in levels]
    states = [with_trace(level.window(WINDOW)) for level in others]
    table = [[pairs_of(problem.operator, problem.b, value, y, x) for x in states] for y in duals]
    values = np.array([[pairs.value for pairs in row] for row in table])
    sizes = [[level.last.residual for level in side] for side in (levels, others)]
    return PairEstimate(table[-1][-1], error_of_levels(values, *sizes))


def _telling(levels: Sequence[Iterates]) -> list[Iterates]:
    """Return the levels that say how errors fall: all that are near a solution, two at the least."""
    return [level for k, level in enumerate(levels) if level.last.residual <= POOR or k >= len(levels) - 2]


def solve_pairs(
    problem: DualProblem, state: RefinedState, value: float, goal: float, max_bond: int, trusted: float
) -> tuple[list[Iterates], RefinedState, PairEstimate | None]:
    """Return the duals of growing bond dimension, the state after further cycles, and the estimate of both.

    Parameters
    ----------
    problem, value
        The adjoint problem, and the number that makes ``value`` + (b|x) the expectation value of x.
    goal
        Error at which nothing more is done.
    trusted
        Relative residual of a dual above which nothing is estimated.
    """
    levels: list[Iterates] = []
    found: PairEstimate | None = None
    for bond in ladder(max_bond):
        levels = ordered([*levels, next_iterates(levels[-1], bond) if levels else first_iterates(problem, bond)])
        if len(levels) > 1 and levels[-1].last.residual <= trusted:
            found = estimate(levels, state, value)
            if len(levels) > 2 and found.error <= goal:
                return levels, state, found
    if found is None or levels[-1].last.residual > trusted:
        return levels, state, None
    # a single iterate shows no drift
    missing = [max(0, CYCLES + 1 - len(side.kept)) for side in (levels[-1], state.fine)]
    if any(missing):
        levels[-1], state = levels[-1].advanced(missing[0]), state.advanced(missing[1])
        found = estimate(levels, state, value)
    for _ in range(MOST_CYCLES):
        if found.error <= goal or found.drift <= SETTLED * found.truncation:
            break
        spent = len(levels[-1].kept), len(state.fine.kept)
        if found.pairs.drift_of_dual >= found.pairs.drift_of_state:
            levels[-1] = levels[-1].advanced()
        else:
            state = state.advanced()
        if spent == (len(levels[-1].kept), len(state.fine.kept)):
            break
        found = estimate(levels, state, value)
    return levels, state, found
