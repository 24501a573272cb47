"""The steady state by the sweeps that solve for duals: a better state for a dual to correct.

With x = 1 + d in units where the identity has norm one, L x = 0 is a linear problem like that of a dual,

    ( L - s |1)(1| ) d = - L 1,        (1|d) = 0,

whose right-hand side lies where the generator is not unital: on the driven ends of a chain between baths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..methods.implicit.sectors import GradedOperator
from ..methods.linear_cycles import Iterates, first_iterates, next_iterates, ordered
from ..methods.linear_sweeps import DualProblem, DualVector, Relaxed, identity_train, ladder
from ..superoperator.mpo import MPO
from ..superoperator.train import add_trains, compress_train, train_inner, train_log_norm

__all__ = ["RefinedState", "refined_state", "with_trace"]

# Bond dimension of the first level: below, driven chains have no start.
SMALLEST = 8
# Rounding errors of L 1, relative to the largest singular value of L 1.
NOISE = 1e-12


@dataclass(frozen=True)
class RefinedState:
    """The iterates d of growing bond dimension, the best last."""

    levels: tuple[Iterates, ...]

    @property
    def fine(self) -> Iterates:
        """Those of the best bond dimension."""
        return self.levels[-1]

    @property
    def residual(self) -> float:
        """|L x| of the latest state."""
        return self.fine.last.residual * self.fine.problem.norm

    def states(self, count: int) -> list[DualVector]:
        """Return the latest states."""
        return with_trace(self.fine.window(count))

    def advanced(self, cycles: int = 1) -> RefinedState:
        """Return the state after further cycles."""
        return RefinedState((*self.levels[:-1], self.fine.advanced(cycles)))


def with_trace(found: Sequence[Relaxed]) -> list[DualVector]:
    """Return the states x = 1 + d of trace one."""
    out = []
    for d in (r.y for r in found):
        unit = identity_train([t.shape[1] for t in d.tensors])
        rest = train_inner(unit, d.tensors)  # (1|d), zero but for the accuracy of the sweeps
        out.append(DualVector(add_trains([d.tensors, unit], [1.0, 1.0 - rest]), d.order))
    return out


def refined_state(operator: MPO, grading: GradedOperator, shift: float, max_bond: int) -> RefinedState | None:
    """Return the steady state solved for at growing bond dimension; None for a unital generator, whose state is 1.

    Parameters
    ----------
    operator, grading
        The generator, and the same with labelled bonds.
    shift
        s > 0, of the size of a typical rate.
    max_bond
        Largest bond dimension of d.
    """
    unit = identity_train([w.shape[1] for w in operator.tensors])
    source = compress_train(operator.apply(DualVector(unit, operator.order)), noise=NOISE).tensors
    if float(np.exp(train_log_norm(source))) <= NOISE * operator.typical_norm:
        return None
    # many products lead states astray at any bond dimension, unless their effect is smoothed
    problem = DualProblem(operator, (-source[0], *source[1:]), shift, grading, small_bond=0)
    levels: list[Iterates] = []
    steps = ladder(max_bond)
    large = [bond for bond in steps if bond >= SMALLEST]
    for bond in large if len(large) > 1 else steps[-2:]:  # an error estimate needs two
        levels.append(next_iterates(levels[-1], bond) if levels else first_iterates(problem, bond))
    return RefinedState(tuple(ordered(levels)))
