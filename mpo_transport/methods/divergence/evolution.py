"""Plain time evolution at one bond dimension and one time step, with the machinery of TEBD: the start of everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np

from ...states import MPOState
from ..tebd.graded import Parity, find_parity
from ..tebd.measure import enlarge
from ..tebd.plan import Plan
from ..tebd.window import Truncator, run_passes

__all__ = ["Evolver"]


@dataclass
class Evolver:
    """exp(L t) on states of a fixed bond dimension: even-odd splitting, passes in parity blocks where there are any.

    Attributes
    ----------
    plan
        The gates of the model.
    seed
        Of the random directions by which bonds are enlarged.
    parity
        The weak parity in use, or None; found from the plan.
    """

    plan: Plan
    seed: int = 0
    parity: Parity | None = field(init=False)

    def __post_init__(self) -> None:
        self.parity = find_parity(self.plan)
        self.compiled = find_spec("numba") is not None

    def fit(self, state: MPOState, bond: int, key: int = 0) -> MPOState:
        """Return the state with all bonds brought to ``bond`` (or to what is useful), centre 0."""
        bounds = self.plan.bond_bounds(bond)
        if self.parity is not None:
            graded = self.parity.fit(state.tensors, bounds, self.seed + 7919 * key)
            if graded is not None:
                return MPOState(state.lattice, tuple(graded), state.order, 0)
        if max(state.bond_dimensions, default=1) > bond:
            state, _ = state.compress(bond)
        return MPOState(
            state.lattice,
            tuple(enlarge(state.tensors, state.centre, bounds, self.seed + 7919 * key)),
            state.order,
            0,
        )

    def run(self, state: MPOState, dt: float, steps: int, order: int = 4, iterations: int = 1) -> MPOState:
        """Return the state ``steps`` steps later, divided by its trace (entries not finite: the step is unstable)."""
        tensors, centre = list(state.tensors), state.centre
        assert centre is not None
        passes = self.plan.passes(dt, order, steps)
        bonds = None
        if self.parity is not None and self.compiled and centre in (0, len(tensors) - 1):
            bonds = self.parity.bonds(tensors, centre)
        with np.errstate(all="ignore"):
            if self.parity is not None and bonds is not None:
                centre = self.parity.run(tensors, bonds, centre, passes, iterations, None)
            else:
                dims = [t.shape[1] for t in tensors]
                centre = run_passes(
                    tensors, dims, centre, passes, Truncator(max(state.bond_dimensions), 0.0, iterations)
                )
            moved = MPOState(state.lattice, tuple(tensors), state.order, centre)
            return moved.scale(1 / moved.trace())
