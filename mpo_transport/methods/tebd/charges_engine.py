"""The road to a steady state in charge sectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UnstableError
from ...lattice import Chain
from ...model import Lindbladian
from ...operators import OpSum
from ...result import Status
from ...states import MPOState
from ...superoperator import hermitian_basis
from ..base import Diagnostics, Iterate
from .charges import Charges
from .charges_model import ChargeModel
from .charges_plan import ChargePlan
from .charges_start import grown, short_chain, thermal_start
from .engine import FIRST_INTERVAL, Engine
from .measure import difference
from .progress import PARTS, Progress
from .schedule import Level, next_bond, previous_bond, time_step_weight, truncation_weight

__all__ = ["ChargeEngine"]

# Number of sites of the shortest chain from which long ones are grown.
SHORT = 4
# Share of the tolerance for the short chains, and the longest time they may take, in units of 1/Lambda.
SHARE = 0.5
STEP_SHARE = 0.1  # of the tolerance, for the time step of a long chain
LONGEST = 2000.0
# Share of the tolerance down to which short chains relax: what is left of it travels through the long one for long.
SETTLED = 1e-3
# Largest difference of reduced states up to which a grown chain is a better start than a product.
AGREEMENT = 1e-2


@dataclass
class ChargeEngine(Engine):
    """An :class:`Engine` whose passes run in sectors of a U(1) charge, with a :class:`~.charges_plan.ChargePlan`."""

    @property
    def charges(self) -> Charges:
        """The layout."""
        assert isinstance(self.parity, Charges)
        return self.parity

    def product_start(self) -> MPOState:
        """Return the product state from which a run starts if no other is given."""
        return thermal_start(self.model.lattice, self.charges.model)

    def _mixed(self) -> MPOState:
        return self.product_start()

    def _bonds(self, tensors: list[np.ndarray], centre: int) -> Any:
        bonds = self.charges.bonds(tensors, centre)
        if bonds is None:
            raise RuntimeError("The state has lost its charges.")
        return bonds

    def _evolve(
        self, state: MPOState, p: Progress, steps: int, *, measure: bool
    ) -> tuple[list[np.ndarray], int, np.ndarray | None]:
        if p.stage < 2 and p.role == "main":  # the sectors grow with the correlations
            state = self._fit(state, p.level.bond, int(p.time * self.plan.rate))
        return super()._evolve(state, p, steps, measure=measure)

    def _judge(self, iterate: Iterate, p: Progress, before: MPOState, now: np.ndarray) -> tuple[Iterate, Diagnostics]:
        if p.role == "main":
            refuse_runaway(self._main_state(iterate), [_net_gain(k) for k in self.charges.model.sites])
        return super()._judge(iterate, p, before, now)

    def _relaxed(self, p: Progress, arrays: Mapping[str, np.ndarray]) -> bool:
        # a grown state that stays what it is: no decay was ever seen, nor has to be
        grown_one = p.role == "main" and p.stage == 2 and p.relaxation.slowest is None
        if grown_one and len(p.relaxation.drifts) > 1 and p.error is not None and p.error <= self.limits.tol:
            return True
        return super()._relaxed(p, arrays)

    # -- long chains --------------------------------------------------------------------------------------------------

    def grown_start(self) -> Iterate | None:
        """Return the first iterate of a long chain, grown from short ones; None if its bulk is not uniform.

        Two short chains are relaxed with the steps and the bond dimension that the tolerance needs, and with the
        coarser ones of the two companions, and all three are made longer.  The long chain then has to confirm them.
        """
        L, model = len(self.plan.dims), self.charges.model
        first = SHORT + L % 2
        neutral = dataclasses.replace(model, angles=np.zeros(L))
        chains = [short_chain(neutral, n) for n in (first, first + 2)]
        if L < 2 * SHORT or chains[0] is None or chains[1] is None:
            return None
        small, large = (self._short(c) for c in chains if c is not None)
        iterate, said = large.begin(large.product_start(), coarse=True), None
        while said is None or said.status is None:
            iterate, said = large.advance(iterate)
        p = Progress.from_json(iterate.scalars["tebd"])
        if p.main is None or said.status is Status.NOT_FINITE:
            return None
        states, weights = {}, {}
        pair = (small.product_start(), large._main_state(iterate))
        # what is cut in one step of a long chain stays for long: a larger bond than short ones need
        bond = self.limits.bond or next_bond(p.main.bond, self.limits.max_bond)
        main, pair = self._longest_step(small, large, pair, dataclasses.replace(p.main, bond=bond))
        levels = {"main": main, "time step": dataclasses.replace(main, dt=2 * main.dt)}
        levels["truncation"] = dataclasses.replace(main, bond=previous_bond(main.bond))
        for name, level in levels.items():
            (short, _), (longer, lost) = small.relaxed(pair[0], level), large.relaxed(pair[1], level)
            long = grown(short, longer, self.model.lattice)
            if name == "main":
                pair = short, longer
                if not _agree(longer, long, first // 2):
                    return None
            states[name], weights[name] = self._turned(long, level), lost
        return self._confirm(states, levels, weights)

    def _longest_step(
        self, small: ChargeEngine, large: ChargeEngine, pair: tuple[MPOState, MPOState], level: Level
    ) -> tuple[Level, tuple[MPOState, MPOState]]:
        """Return the level with the longest step that the tolerance allows, and a state there."""
        while self.limits.dt is None and 2 * level.dt <= self.step_limit:
            longer = dataclasses.replace(level, dt=2 * level.dt)
            state, _ = large.relaxed(pair[1], longer)
            moved = difference(self._profile(state), self._profile(pair[1]))
            # the companion with twice that step will differ 2^p times as much, and be weighted
            claimed = time_step_weight(longer.dt, 2 * longer.dt, level.order) * 2**level.order * moved
            if claimed > STEP_SHARE * self.limits.tol:
                break
            level, pair = longer, (pair[0], state)
        return level, pair

    def _short(self, chain: ChargeModel) -> ChargeEngine:
        n = len(chain.dims)
        lattice = Chain(n, self.model.lattice.spaces[:n])
        plan: Any = ChargePlan(lattice, chain)
        exact = max(plan.bond_bounds(10**9))
        limits = dataclasses.replace(self.limits, tol=SHARE * self.limits.tol, exact_bond=exact)
        limits = dataclasses.replace(limits, max_bond=min(self.limits.max_bond, exact))
        layout: Any = Charges(chain)
        return ChargeEngine(
            Lindbladian(lattice, OpSum(), []), plan, limits, self.order, self.initial_bond, None, self.iterations,
            LONGEST / plan.rate, self.seed, layout,
        )  # fmt: skip

    def relaxed(self, state: MPOState, level: Level) -> tuple[MPOState, float]:
        """Return the stationary state at a level, reached from another one, and the weight a step discards."""
        state = self._fit(state, level.bond, 0)
        p = Progress(level, self._record(level, None), stage=2)
        steps = max(1, round(p.relaxation.interval / level.dt))
        seen, weight = self._profile(state), 0.0
        for _ in range(round(LONGEST / FIRST_INTERVAL)):
            tensors, centre, lost = self._evolve(state, p, steps, measure=True)
            state = MPOState(state.lattice, tuple(tensors), state.order, centre)
            state = state.scale(1 / state.trace())
            weight = 0.0 if lost is None else float(lost.sum())
            now = self._profile(state)
            p.relaxation.add(difference(now, seen))
            p.weight, seen = weight, now
            drift = p.relaxation.drifts[-1]
            settled = min(p.relaxation.remaining, 2 * drift) < SETTLED * self.limits.tol
            if (p.relaxation.checks > 2 and settled) or p.relaxation.wandering(weight):
                break
        return state, weight

    def _turned(self, state: MPOState, level: Level) -> MPOState:
        """Return a state in the gauge of the model, with the bonds of a level."""
        neutral = Charges(dataclasses.replace(self.charges.model, angles=np.zeros(len(state.tensors))))
        tensors = [
            np.einsum("lar,ab->lbr", t, neutral.rotation_to(self.charges, k)) for k, t in enumerate(state.tensors)
        ]
        return self._fit(MPOState(state.lattice, tuple(tensors), state.order, state.centre), level.bond, 0)

    def _confirm(self, states: dict[str, MPOState], levels: dict[str, Level], weights: dict[str, float]) -> Iterate:
        """Return an iterate that stands at the end of a refinement, with both companions at hand."""
        main, level = states["main"], levels["main"]
        arrays = {f"profile {name}": self._profile(state) for name, state in states.items()}
        p = Progress(level, self._record(level, None), stage=2)
        p.main, p.main_weight, p.weight, p.total_weight = level, weights["main"], weights["main"], weights["main"]
        p.levels = {name: levels[name] for name in PARTS}
        p.weights = {"time step": time_step_weight(level.dt, levels["time step"].dt, level.order)}
        p.weights["discarded"] = weights["truncation"] / level.dt**2
        p.weights["truncation"] = truncation_weight(weights["main"] / level.dt**2, p.weights["discarded"])
        p.reference = max(PARTS, key=lambda name: difference(arrays["profile main"], arrays[f"profile {name}"]))
        arrays["profile"] = arrays["profile main"]
        companions = {name: (states[name], p.weights[name]) for name in PARTS}
        return Iterate(main, 0, {"tebd": p.to_json(), "time": 0.0}, arrays, companions)


def _agree(short: MPOState, long: MPOState, bond: int) -> bool:
    """Whether the middle of a grown chain looks like the middle of the short one."""
    a = short.neighbour_coefficients()[bond]
    cells = (long.L - short.L) // 4
    b = long.neighbour_coefficients()[bond + 2 * cells]
    return bool(np.abs(a - b).max() < AGREEMENT)


def _net_gain(maps: tuple[np.ndarray, ...] | None) -> float:
    """Return the rate from level 0 to level 1 less that back."""
    return 0.0 if maps is None else float(maps[0][1, 0].real - maps[0][0, 1].real)


def populations(state: MPOState) -> list[np.ndarray]:
    """Return the populations of the levels of every site."""
    env = state.environments
    out = []
    for p, t in enumerate(state.tensors):
        d = round(t.shape[1] ** 0.5)
        x = env.opened_left(p) @ env.right[p + 1] / env.overlap
        diagonal = np.einsum("knn->kn", hermitian_basis(d)).real
        value = x @ diagonal
        out.append(value / value.sum())
    return out


def refuse_runaway(state: MPOState, pumped: Sequence[float] | None = None) -> None:
    """Raise if the levels of a bosonic site fill up from the top.

    ``pumped`` is the gain less the loss of every site: the site named is the one where it is largest, if it is
    positive anywhere; otherwise the fullest.

    Raises
    ------
    UnstableError
        Field ``levels``, naming the site: only the cutoff holds its occupation.
    """
    found: dict[int, np.ndarray] = {}
    for p, x in enumerate(populations(state)):
        site = state.order[p]
        if state.lattice.spaces[site].kind == "boson" and len(x) > 2 and x[-1] - x[-2] > 1e-3 * x.max():
            found[site] = x
    if not found:
        return
    full = max(found, key=lambda s: float(found[s][-1]))
    site = full if pumped is None or max(pumped) <= 0 else int(np.argmax(pumped))
    x = found[full]
    raise UnstableError(
        f"The occupation of site {site} runs away: the highest level {len(x) - 1} of site {full} holds {x[-1]:.3g}, "
        f"more than the level below ({x[-2]:.3g}), so only the cutoff `levels` stops it. Gain exceeds loss; reduce the "
        "gain, or add loss that grows with the occupation.",
        field="levels",
    )
