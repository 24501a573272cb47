"""The steady state by the sweeps that solve for duals: a better state for a dual to correct.

With x = 1 + d in units where the identity has norm one, L x = 0 is a linear problem like that of a dual,

    ( L - s |1)(1| ) d = - L 1,        (1|d) = 0,

whose right-hand side lies where the generator is not unital: on the driven ends of a chain between baths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..methods.implicit.sectors import GradedOperator
from ..methods.linear_sweeps import DualProblem, DualVector, Relaxed, identity_train, ladder, relax_level
from ..superoperator.mpo import MPO
from ..superoperator.train import add_trains, compress_train, train_log_norm

__all__ = ["RefinedState", "refined_state"]

# Bond dimension of the first level: below, driven chains have no start.
SMALLEST = 8
# Rounding errors of L 1, relative to the largest singular value of L 1.
NOISE = 1e-12


@dataclass(frozen=True)
class RefinedState:
    """The state of the best level and of the one before it, trace one, and |L x| of the best."""

    x: DualVector
    coarser: DualVector
    residual: float


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
    # many products lead states astray at any bond dimension
    problem = DualProblem(operator, (-source[0], *source[1:]), shift, grading, small_bond=0)
    levels: list[Relaxed] = []
    steps = ladder(max_bond)
    large = [bond for bond in steps if bond >= SMALLEST]
    for bond in large if len(large) > 1 else steps[-2:]:  # an error estimate needs two
        levels.append(relax_level(problem, levels[-1] if levels else None, bond))
    levels.sort(key=lambda r: -r.residual)
    states = [DualVector(add_trains([r.y.tensors, unit], [1.0, 1.0]), operator.order) for r in levels[-2:]]
    return RefinedState(states[-1], states[0], levels[-1].residual * problem.norm)
