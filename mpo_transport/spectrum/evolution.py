"""Evolution of traceless operators, exp(L^T t) or exp(L t), to leave slow modes only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..methods.linear_sweeps import traceless_train
from ..methods.tebd.graded import find_parity
from ..methods.tebd.plan import Pass, Plan, Term, build_plan
from ..methods.tebd.window import Truncator, run_passes
from ..model import Lindbladian
from ..superoperator.train import canonical_train, compress_train

__all__ = ["OperatorEvolution"]

# Step times the stiffest local rate of the splitting of fourth order.
STEP = 1.6


class OperatorEvolution:
    """exp(L^T t) or exp(L t) by a splitting of fourth order, in Z2 blocks where the model has them.

    Parameters
    ----------
    model
        The Lindbladian L.
    adjoint
        Whether to evolve operators, with the gates transposed, or density matrices.

    Attributes
    ----------
    dt
        The step (unit: time).
    order
        The site at every position.
    """

    def __init__(self, model: Lindbladian, *, adjoint: bool = True) -> None:
        forward = build_plan(model)
        terms = [Term(t.positions, np.ascontiguousarray(t.generator.T)) for t in forward.terms]
        self.plan = Plan(model.lattice, terms) if adjoint else forward
        self.order = self.plan.order
        self.dt = STEP / self.plan.rate if self.plan.rate > 0 else 1.0
        self.parity = find_parity(self.plan)
        self.legs = [d * d for d in self.plan.dims]

    def __call__(self, train: Sequence[np.ndarray], steps: int, bond: int) -> tuple[np.ndarray, ...]:
        """Return the traceless part of exp(L^T dt steps) y or exp(L dt steps) y at norm one, cut to ``bond``, centre 0.

        The identity does not decay: without the projection it would be all that is left.
        """
        tensors = self._fitted(traceless_train(train), bond)
        passes = list(self.plan.passes(self.dt, 4, steps))
        bonds = None if self.parity is None else self.parity.bonds(tensors, 0)
        if self.parity is not None and bonds is not None:
            if len(passes) % 2:  # home again, in blocks
                passes.append(Pass([], [None] * (len(tensors) - 1)))
            self.parity.run(tensors, bonds, 0, passes, 1, None)
        else:
            how = Truncator(bond, 0.0, 1, True)
            tensors = list(canonical_train(tensors, 0, run_passes(tensors, list(self.legs), 0, passes, how)))
        out = compress_train(traceless_train(tensors), bond).tensors
        size = float(np.linalg.norm(out[0]))
        return (out[0] / size, *out[1:])

    def _fitted(self, train: Sequence[np.ndarray], bond: int) -> list[np.ndarray]:
        if self.parity is not None:
            graded = self.parity.fit(train, self.plan.bond_bounds(bond), 1)
            if graded is not None:
                return list(graded)
        return list(compress_train(train, bond).tensors)
