"""The road to a steady state of an infinite chain: stages and judgement as for finite chains, on a unit cell."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError
from ...states import InfiniteMPOState
from ..base import Diagnostics, Iterate
from ..tebd.engine import CHUNK, DIVERGED, HUGE, Engine
from ..tebd.measure import difference, operator_norms, profile
from ..tebd.progress import Progress
from ..tebd.schedule import Level
from .cell import Cell
from .layers import apply_layer

__all__ = ["InfiniteEngine", "pair_rates"]


@dataclass
class InfiniteEngine(Engine):
    """The engine of :mod:`mpo_transport.methods.tebd` with a repeating cell in the place of a train."""

    plan: Cell  # type: ignore[assignment]
    separable: ClassVar[bool] = False

    # -- states -------------------------------------------------------------------------------------------------------

    def begin(self, state: Any, *, coarse: bool) -> Iterate:
        cap = self.limits.bond or self.limits.max_bond
        bond = min(max(self.initial_bond, *state.bond_dimensions), cap)
        level = (
            Level(self.step_limit, 2, bond) if coarse else Level(self.limits.dt or self.step_limit, self.order, bond)
        )
        progress = Progress(level, self._record(level, None), stage=0 if coarse else 1)
        state = self._fit(state, bond, 0)
        return Iterate(state, 0, {"tebd": progress.to_json(), "time": 0.0}, {"profile": self._profile(state)})

    def _mixed(self) -> Any:
        return InfiniteMPOState.product(self.model.lattice, "mixed", self.plan.sites)

    def _fit(self, state: Any, bond: int, stage: int) -> Any:
        """Return the state with bonds of at most ``bond``; they grow by themselves."""
        if max(state.bond_dimensions) <= bond:
            return state
        tensors, weights = list(state.tensors), list(state.weights)
        for which in (0, 1):
            apply_layer(tensors, weights, which, None, bond)
        return InfiniteMPOState(state.lattice, tuple(tensors), tuple(weights)).normalised()

    @property
    def _use_svd(self) -> bool:
        return True

    @staticmethod
    def _profile(state: Any) -> np.ndarray:
        """Return the expectation values of all basis operators on the bonds of a cell, scaled to operator norm 1."""
        return profile(state.window(0, state.cell + 1))

    @staticmethod
    def _main_state(iterate: Iterate) -> Any:
        return iterate.state

    # -- one piece of work --------------------------------------------------------------------------------------------

    def advance(self, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        """Evolve for a second or so; at the end of an interval judge and decide."""
        p = Progress.from_json(iterate.scalars["tebd"])
        state = iterate.state if p.role == "main" else iterate.companions[p.role][0]
        assert isinstance(state, InfiniteMPOState)
        per_check = max(1, round(p.relaxation.interval / p.level.dt))
        work = max(self.plan.flops_per_step(p.level.bond, p.level.order, 1), 1.0)
        steps = min(max(1, int(CHUNK / work)), per_check - p.since)
        full = p.since + steps == per_check
        with np.errstate(all="ignore"):
            tensors, weights, cut = self._evolve_cell(state, p.level, steps)
        if not all(0 < float(np.abs(t).max()) < HUGE for t in tensors):
            return self._diverged(iterate, p)
        moved: Any = InfiniteMPOState(state.lattice, tuple(tensors), tuple(weights))
        try:
            trace = moved.trace_per_cell
        except InputError:  # truncation or an unstable step has destroyed the positivity of the trace
            return self._diverged(iterate, p)
        moved = moved.normalised()
        p.since += steps
        p.time += steps * p.level.dt
        if not full:
            return self._replace(iterate, p, moved), Diagnostics(None, {}, self._message(p), self._fraction(p))
        p.since = 0
        new_profile = self._profile(moved)
        if not difference(new_profile, 0 * new_profile) < DIVERGED:
            return self._diverged(iterate, p)
        if p.role == "main":
            p.trace = trace
        p.weight, p.total_weight = float(cut.max()), float(cut.sum())
        out = self._replace(iterate, p, moved)
        if p.role == "main":
            out = dataclasses.replace(out, arrays={**out.arrays, "discarded weight": cut})
        before: Any = state
        return self._judge(out, p, before, new_profile)

    def _evolve_cell(
        self, state: InfiniteMPOState, level: Level, steps: int
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """Return tensors and weights after ``steps`` steps, and the weights discarded per bond in the last one."""
        tensors, weights = list(state.tensors), list(state.weights)
        cut = np.zeros(len(tensors))
        for count, record in ((steps - 1, None), (1, cut)):
            if count:
                for which, gates in self.plan.layers(level.dt, level.order, count):
                    apply_layer(tensors, weights, which, gates, level.bond, record)
        return tensors, weights, cut


def pair_rates(cell: Cell, state: InfiniteMPOState) -> float:
    """Return the largest |d<O>/dt| over all products O of basis operators on two neighbouring sites, operator norm 1.

    Exact for the state given: d rho_{k,k+1}/dt = Tr_{k-1,k+2} (h_{k-1} + h_k + h_{k+1}) rho_{k-1..k+2}, where h_k is
    the generator of the bond (k, k+1).
    """
    largest = 0.0
    n = cell.sites
    for k in range(n):
        window = state.window(k - 1, 4)
        legs = [cell.legs[(k - 1 + i) % n] for i in range(4)]
        x = np.ones((1, 1))
        for t in window.tensors:
            x = np.tensordot(x, t, axes=(-1, 0)).reshape(-1, t.shape[2])
        rho = x.reshape(legs)
        rate = np.zeros((legs[1], legs[2]))
        for i in range(3):
            h = cell.generators[(k - 1 + i) % n].reshape(legs[i], legs[i + 1], legs[i], legs[i + 1])
            moved = np.moveaxis(np.tensordot(h, rho, axes=((2, 3), (i, i + 1))), (0, 1), (i, i + 1))
            rate += moved[0, :, :, 0] * math.sqrt(math.sqrt(legs[0] * legs[3]))  # traces: sqrt(d) of component 0
        norms = np.outer(*(operator_norms(round(math.sqrt(leg))) for leg in legs[1:3]))
        largest = max(largest, float(np.abs(rate / norms).max()))
    return largest
