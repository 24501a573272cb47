"""What to do next on the way to a steady state: pure decisions on plain numbers, so that every one can be tested.

The error of a state reached with time step dt and bond dimension chi has three parts, each judged by the difference of
two states:

    time step     2 |x(2 dt) - x(dt)| / (2^p - 1), p a little below the order of the splitting,
    truncation    kappa |x(chi') - x(chi)|, chi' < chi, kappa = 2 r/(1 - r) within [0.8, 2], r = sqrt(w/w') from the
                  discarded weights w (down to 0.4 where the differences were seen to fall as fast),
    relaxation    2.5 D r/(1 - r), D the last drift and r the ratio of successive drifts.

The largest part is refined first: dt is shortened, chi enlarged, or time goes on.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Action", "Level", "Limits", "Relaxation", "decide", "next_bond", "time_step_weight", "truncation_weight"]

# Parts of the tolerance granted to the time step and to truncation where each is measured with the other as it is.
SHARE = 0.4
# Where they are measured one after the other (separable): the part of truncation, and of both together; time steps
# can be chosen at will, bond dimensions cannot.
BOND_SHARE, BOTH_SHARES, LEAST_SHARE = 0.6, 0.85, 0.25
# What an order-4 step of 8/Lambda usually costs in accuracy: only to guess the first shortening.
GUESS = 1e-3
# A time step is never shortened by less than this factor: a small difference of steps says little.
LONGEST = 0.55
# Below this share of the tolerance for both of them only relaxation is missing.
NEARLY = 0.9
# Bond dimensions tried: 8, 12, 16, 24, 32, 48, ...
_GROWTH = 1.5
# Effective order of convergence of the splittings at useful steps (measured between 3.3 and 5 for order 4).
_EFFECTIVE_ORDER = {2: 1.8, 4: 3.3, 6: 5.0}
# Safety factor of the time-step part: steps of practical size are not quite asymptotic.
SAFETY = 2.0
# The same for relaxation: the ratio of drifts says little about modes that oscillate or have only begun to show, and
# the drift is measured on basis operators, whose combinations may lie further off.
RELAXATION_SAFETY = 2.5
# Error of a state, in units of its difference from one with a smaller bond dimension, that is claimed at least; and
# where the difference before this one shows how fast they fall.
USUAL_WEIGHT, LEAST_WEIGHT = 0.8, 0.4
# A state that improves no more after this many checks wanders: by truncation, if its unrest is at most NOISE sqrt(w).
PATIENCE = 8
LAST_PATIENCE = 40
NOISE = 30.0


@dataclass(frozen=True)
class Level:
    """A pair of numerical parameters: time step (with its splitting order) and bond dimension."""

    dt: float
    order: int
    bond: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able dictionary."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Limits:
    """What may be varied.

    ``dt`` and ``bond`` are values fixed by the user or None; ``max_bond`` the largest useful or allowed bond dimension;
    ``exact_bond`` the one beyond which nothing is truncated; ``split`` whether there is a splitting error at all;
    ``min_dt`` the shortest step worth trying.  Steps of at most ``final_dt`` are taken in ``final_order``, if that is
    higher than the order of the longer ones.
    """

    tol: float
    dt: float | None
    bond: int | None
    max_bond: int
    exact_bond: int
    split: bool
    min_dt: float = 0.0
    final_order: int = 0
    final_dt: float = 0.0


@dataclass(frozen=True)
class Action:
    """What to do next: ``kind`` is "refine" (main state to ``level``), "companion" (evolve ``name`` at ``level``),
    "relax" (go on) or "finish"; ``converged`` and ``truncated`` qualify the latter."""

    kind: str
    level: Level | None = None
    name: str = ""
    converged: bool = False
    truncated: bool = False


def next_bond(bond: int, limit: int) -> int:
    """Return the next larger bond dimension, at most ``limit``.

    >>> [next_bond(b, 100) for b in (8, 12, 16, 24, 32, 96)]
    [12, 16, 24, 32, 48, 100]
    """
    power = 2 ** math.floor(math.log2(bond)) if bond > 0 else 1
    larger = [math.ceil(power * f) for f in (1.5, 2.0, 3.0)]
    return min(next(b for b in larger if b > bond), limit)


def previous_bond(bond: int) -> int:
    """Return the bond dimension of the companion that judges truncation at ``bond``: about two thirds, at least 1.

    >>> [previous_bond(b) for b in (2, 8, 16, 48)]
    [1, 6, 11, 32]
    """
    return max(1, math.ceil(bond / _GROWTH) if bond > 2 else bond - 1)


def time_step_weight(dt: float, coarser: float, order: int, coarser_order: int | None = None) -> float:
    """Return the factor that turns |x(coarser) - x(dt)| into the error at dt.

    The coarser step may be of lower order, ``coarser_order``.
    """
    if coarser_order is not None and coarser_order < order:
        return SAFETY * (dt / coarser) ** _EFFECTIVE_ORDER[order]
    return SAFETY / ((coarser / dt) ** _EFFECTIVE_ORDER[order] - 1.0)


def truncation_weight(discarded: float, coarser: float, ratio: float | None = None) -> float:
    """Return the factor kappa that turns |x(smaller chi) - x(chi)| into the error at chi.

    The first arguments are the weights discarded in a step, divided by dt^2.  ``ratio`` is that of this difference to
    the one before it: only where it is known to fall, kappa may be below 0.8.
    """
    if not coarser > 0:
        return 2.0
    least = USUAL_WEIGHT
    if ratio is not None and ratio < 1:
        least = min(max(2 * ratio / (1 - ratio), LEAST_WEIGHT), USUAL_WEIGHT)
    r = min(math.sqrt(max(discarded, 0.0) / coarser), 0.5)
    return min(max(2 * r / (1 - r), least), 2.0)


@dataclass
class Relaxation:
    """The history of drifts of one state at one level, and the estimate of how far it still is from its fixed point.

    ``drifts`` are largest changes of the local profile over ``interval`` time units each; ``slowest`` is the smallest
    relaxation rate seen in the whole calculation, below which no decay is believed to be faster; ``before`` the last
    drift before the interval was doubled.
    """

    interval: float
    drifts: list[float] = field(default_factory=list)
    best: float = math.inf
    best_check: int = 0
    checks: int = 0
    slowest: float | None = None
    before: float | None = None

    def add(self, drift: float) -> None:
        """Record a drift."""
        self.drifts.append(drift)
        self.checks += 1
        remaining = self.remaining
        if remaining < 0.5 * self.best:
            self.best, self.best_check = remaining, self.checks

    @property
    def ratio(self) -> float:
        """Decay of the drift per interval: the worse of the last two ratios, not below what the slowest mode allows."""
        d = self.drifts[-3:]
        if len(d) < 2:
            return math.inf
        if d[-1] < 1e-14:
            return 0.5
        found = max(b / a if a > 0 else math.inf for a, b in itertools.pairwise(d))
        if self.slowest is not None:
            found = max(found, math.exp(-self.slowest * self.interval))
        return found

    @property
    def weight(self) -> float:
        """Factor that turns the last drift into the remaining distance; infinite while the drift does not decay."""
        r = self.ratio
        return r / (1 - r) if r < 1 else math.inf

    @property
    def remaining(self) -> float:
        """Estimated distance to the fixed point."""
        return self.drifts[-1] * self.weight if self.drifts and self.drifts[-1] > 0 else self._silent()

    def _silent(self) -> float:
        return 0.0 if self.drifts else math.inf

    @property
    def decay_rate(self) -> float | None:
        """Rate of the slowest mode seen at the end of a clean decay, or None."""
        d = self.drifts[-3:]
        if len(d) < 3 or not d[-1] > 1e-13:
            return None
        r = math.sqrt(d[-1] / d[0])
        return -math.log(r) / self.interval if 1e-3 < r < 0.9 else None

    def wandering(self, discarded: float) -> bool:
        """Whether the state has stopped improving because of truncation noise, given the discarded weight of a step.

        A slow mode drifts further in a longer interval, noise does not; and noise is not much larger than the square
        root of the weight that is being cut.
        """
        waited = self.checks - self.best_check
        bounded = self.before is not None and len(self.drifts) >= 2 and max(self.drifts) < 1.3 * self.before
        stuck = waited >= PATIENCE or (bounded and self.ratio > 0.8)
        return waited >= LAST_PATIENCE or bool(stuck and self.drifts[-1] <= NOISE * math.sqrt(discarded))

    @property
    def noise(self) -> float:
        """Size of the wandering: a bound of the distance once the state no longer improves."""
        return 2 * max(self.drifts[-PATIENCE:], default=math.inf)

    def too_slow(self) -> bool:
        """Whether the interval should be doubled: decay per interval too small to be measured well."""
        r = self.ratio
        return len(self.drifts) >= 3 and r > 0.8

    def doubled(self) -> Relaxation:
        """Return the record with twice the interval; the history starts anew."""
        return dataclasses.replace(
            self, interval=2 * self.interval, drifts=[], before=max(self.drifts[-2:], default=None)
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able dictionary (infinite numbers as None)."""
        out = dataclasses.asdict(self)
        out["best"] = None if math.isinf(self.best) else self.best
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Relaxation:
        """Return the record stored by :meth:`to_json`."""
        values = dict(data)
        values["best"] = math.inf if values["best"] is None else values["best"]
        values["drifts"] = list(values["drifts"])
        return cls(**values)


def decide(
    level: Level,
    limits: Limits,
    parts: Mapping[str, float | None],
    clean: Mapping[str, float | None],
    matching: Mapping[str, bool],
    wandering: bool = False,
    separable: bool = False,
) -> Action:
    """Return the next action after the main state has relaxed at ``level``.

    Parameters
    ----------
    parts
        Error parts now, from the companions as they are ("time step", "truncation"; None: no companion), and
        "relaxation".
    clean
        The same two parts when they were last measured with a companion that differs in nothing else.
    matching
        Whether the companion of a part still differs from the main state in nothing else.
    wandering
        Whether the main state has stopped relaxing: its unrest ("relaxation") is then due to truncation.
    separable
        Whether parts stay what they were measured to be when the other parameter is refined later: then the bond
        dimension is found first, at long steps.
    """
    tol = limits.tol
    dt_part = _part("time step", parts, clean) if limits.split else 0.0
    bond_part = _part("truncation", parts, clean) if level.bond < limits.exact_bond else 0.0
    relaxation = parts["relaxation"] or 0.0
    if wandering and level.bond < limits.exact_bond:
        bond_part = max(bond_part, relaxation)
    total = sum(parts[k] or 0.0 for k in ("time step", "truncation")) + relaxation
    known = math.isfinite(dt_part) and math.isfinite(bond_part)
    if known and total <= tol:
        return Action("finish", converged=True)
    if known and not wandering and total - relaxation <= NEARLY * tol:
        return Action("relax")  # cheaper than any refinement
    if math.isinf(bond_part) and not _can_grow(level, limits):
        return Action("companion", _coarser(level, "truncation"), "truncation")
    refinement = _refinement(level, limits, dt_part, bond_part, separable)
    if refinement is not None:
        return refinement
    for name, value in (("time step", dt_part), ("truncation", bond_part)):
        if value and (parts[name] is None or not matching[name]) and (not known or (parts[name] or 0) > 0.3 * tol):
            return Action("companion", _coarser(level, name), name)
    if not wandering and relaxation > 0.1 * tol and relaxation > 0.1 * (dt_part + bond_part):
        return Action("relax")
    if separable and (bond_part >= dt_part or level.dt <= limits.min_dt) and _can_grow(level, limits):
        return Action("refine", dataclasses.replace(level, bond=next_bond(level.bond, limits.max_bond)))
    if separable and dt_part > 0 and limits.dt is None and level.dt > limits.min_dt and bond_part < SHARE * tol:
        return Action("refine", dataclasses.replace(level, dt=level.dt * LONGEST))
    return Action("finish", converged=False, truncated=bond_part > SHARE * tol and bond_part >= dt_part)


def _part(name: str, parts: Mapping[str, float | None], clean: Mapping[str, float | None]) -> float:
    now, then = parts[name], clean[name]
    if now is None:
        return math.inf
    return now if then is None else min(now, then)


def _refinement(level: Level, limits: Limits, dt_part: float, bond_part: float, separable: bool) -> Action | None:
    budget = bond_budget = SHARE * limits.tol
    if separable:
        bond_budget = BOND_SHARE * limits.tol
        budget = max(BOTH_SHARES * limits.tol - bond_part, LEAST_SHARE * limits.tol)
    can_grow = _can_grow(level, limits)
    can_shorten = limits.dt is None and level.dt > limits.min_dt
    # neither parameter is refined far beyond the limit that the other one sets
    grow = can_grow and bond_part > (bond_budget if can_shorten else max(bond_budget, 0.3 * _finite(dt_part)))
    stuck = math.isfinite(bond_part) and not can_grow
    wanted = max(budget, 0.3 * bond_part) if stuck else budget
    shorten = can_shorten and dt_part > wanted
    if separable:  # one shorter step to know its error, then the bond dimension, then the final step
        first = not shorten or math.isfinite(dt_part)
    else:
        first = bond_part >= dt_part or not shorten
    if grow and first:
        return Action("refine", dataclasses.replace(level, bond=next_bond(level.bond, limits.max_bond)))
    if shorten:
        factor = _shortening(level, dt_part, wanted) if separable else _cautious(level, dt_part, budget)
        shorter = dataclasses.replace(level, dt=level.dt * factor)
        if level.order < limits.final_order and shorter.dt <= limits.final_dt:
            shorter = Level(min(limits.final_dt, LONGEST * level.dt), limits.final_order, level.bond)
        return Action("refine", shorter)
    return None


def _cautious(level: Level, dt_part: float, budget: float) -> float:
    if math.isinf(dt_part):
        return 0.5
    return float(min(max((0.5 * budget / dt_part) ** (1 / level.order), 0.4), 0.75))


def _shortening(level: Level, dt_part: float, budget: float) -> float:
    """Return the factor on the time step that should bring the claim just below the budget."""
    if math.isinf(dt_part):
        return float(min(max((budget / GUESS) ** (1 / level.order), 0.4), 0.5))
    ratio = (1 + dt_part / (0.9 * budget)) ** (1 / (_EFFECTIVE_ORDER[level.order] + 0.3))
    return float(min(max(1 / ratio, 0.25 if level.order < 6 else 0.45), LONGEST))


def _can_grow(level: Level, limits: Limits) -> bool:
    return limits.bond is None and level.bond < min(limits.max_bond, limits.exact_bond)


def _finite(x: float) -> float:
    return x if math.isfinite(x) else 0.0


def _coarser(level: Level, name: str) -> Level:
    if name == "time step":
        return dataclasses.replace(level, dt=2 * level.dt)
    return dataclasses.replace(level, bond=previous_bond(level.bond))
