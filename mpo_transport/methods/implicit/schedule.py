"""How the sweeps go on: tau and bond dimension from the tolerance alone, the error parts, and when to give up.

    truncation    kappa |x(chi') - x(chi)|, chi' the bond dimension before, kappa = 8 sqrt(w/w') within [0.02, 2], w and
                  w' the discarded weights; at least 3 s^8 (cutoff)^(1/2), the part of operator
                  strings of eight factors in a metric that divides them by s per factor
    relaxation    2 D r/(1 - r), D the change of the last sweep and r its decay per sweep
                  and, where nothing is cut, at least 10 |L rho|/|rho|: slow modes enlarge rounding
    local solves  q D, q the largest |r|/|r_0| left over by GMRES in the last sweep

All differences are largest ones of local expectation values.  A state counts only if the residual |L rho|/|rho| falls
with the bond dimension and the sweeps settle at a large tau.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..tebd.schedule import next_bond

__all__ = ["Limits", "Progress", "Verdict", "judge", "larger_bond", "truncation_factor"]

# tau in units of 1/rate: at the start, at most, and at least when a result may be believed.
FIRST_TAU = 10.0
LARGEST_TAU = 1e6
TRUSTED_TAU = 1e3
TAU_FACTOR = 10.0
# A level has relaxed when the rest is this share of the difference to the last one, or of the tolerance.
RELAXED = 0.1
# Decay per sweep above which a larger bond dimension is tried at once.
CREEPING = 0.3
# Sweeps without progress before the bond dimension grows, and before giving up where it cannot.
PATIENCE = 3
LAST_PATIENCE = 12
# Decay per sweep never believed to be faster, nor slower: beyond, there is no estimate.
FASTEST, SLOWEST = 0.03, 0.95
# While a level has had one sweep only, its decay is taken from the level before: so many times worse, at least FIRST.
CAUTION, FIRST = 3.0, 0.04
RELAXATION_SAFETY = 2.0
# GMRES leftovers above this: the local problems are not being solved.
UNSOLVED = 0.9
# Differences of local expectation values below this are rounding.
FLOOR = 1e-12


@dataclass(frozen=True)
class Limits:
    """What may be varied: tolerance, largest allowed bond dimension, the one that truncates nothing, all sweeps."""

    tol: float
    max_bond: int
    exact_bond: int
    max_sweeps: int


@dataclass
class Progress:
    """Where a run stands; all JSON-able.

    ``position`` and ``right``: the next bond and the direction of the sweep; ``drifts``: changes of the local profile
    by the sweeps of this level; ``weight``: largest relative weight discarded in the last sweep, ``coarser`` the same
    of the level before, whose relaxed residual is ``residuals[-1]``; ``prior``: the slowest decay per sweep of the
    levels before.
    """

    bond: int
    scale: float
    tau: float
    level: int = 0
    position: int = 0
    right: bool = True
    sweeps: int = 0
    drifts: list[float] = field(default_factory=list)
    weight: float = 0.0
    coarser: float | None = None
    prior: float | None = None
    worst: float = 0.0
    solved: float = 0.0
    products: int = 0
    best: float | None = None
    since_best: int = 0
    residual: float | None = None
    residuals: list[float] = field(default_factory=list)
    parts: dict[str, float | None] = field(default_factory=dict)
    growing: bool = False
    failure: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Progress:
        """Return the progress stored by :meth:`to_json`."""
        values = dict(data)
        for key in ("drifts", "residuals"):
            values[key] = list(values[key])
        return cls(**{**values, "parts": dict(values["parts"])})

    @property
    def error(self) -> float | None:
        """Sum of the parts of the error, None while one is unknown."""
        if not self.parts or any(v is None for v in self.parts.values()):
            return None
        return float(sum(v or 0.0 for v in self.parts.values()))

    @property
    def ratio(self) -> float:
        """Decay of the change per sweep: the worse of the last two, within what may be believed.

        After the first sweep of a level it is that of the level before, made worse to be on the safe side.
        """
        d = [max(x, FLOOR) for x in self.drifts[-3:]]
        if len(d) < 2:
            return math.inf if self.prior is None else max(FIRST, CAUTION * self.prior)
        return max(FASTEST, self._decay(d))

    def _decay(self, drifts: list[float]) -> float:
        return max((b / a for a, b in itertools.pairwise(drifts) if b > FLOOR), default=0.0)

    @property
    def remaining(self) -> float | None:
        """Estimated distance to the end of the sweeps at this bond dimension; None while it does not decay."""
        r = self.ratio
        return RELAXATION_SAFETY * max(self.drifts[-1], FLOOR) * r / (1 - r) if self.drifts and r <= SLOWEST else None

    def add(self, drift: float) -> None:
        """Record the change by a sweep."""
        growing = bool(self.drifts) and drift > 1.5 * max(self.drifts[-1], 10 * FLOOR)
        self.drifts.append(drift)
        self.sweeps += 1
        if self.best is None or drift < 0.7 * self.best:
            self.best, self.since_best = drift, 0
        else:
            self.since_best += 1
        self.growing = growing

    def next_tau(self, smallest: float, largest: float) -> float:
        """Return tau of the next sweep: larger while the changes decay, smaller where they grow."""
        factor = 1 / TAU_FACTOR if self.growing else TAU_FACTOR
        return min(max(self.tau * factor, smallest), largest)

    def enter(self, bond: int) -> None:
        """Go on at a larger bond dimension."""
        if len(self.drifts) > 1:
            self.prior = self._decay([max(x, FLOOR) for x in self.drifts[-3:]])
        self.level += 1
        self.bond, self.drifts, self.best, self.since_best = bond, [], None, 0
        self.coarser = self.weight
        if self.residual is not None:
            self.residuals.append(self.residual)


@dataclass(frozen=True)
class Verdict:
    """What comes next: "sweep", "grow", "converged", "stalled" (by truncation) or "failed", with the reason."""

    kind: str
    reason: str = ""


def truncation_factor(weight: float, coarser: float | None) -> float:
    """Return kappa, the factor from |x(chi') - x(chi)| to the error at chi.

    Errors fall like the square root of the discarded weight; the factor is eight times what a geometric series gives.

    >>> truncation_factor(1e-10, 1e-8), truncation_factor(1e-8, 1e-8), truncation_factor(0.0, 1e-8)
    (0.8, 2.0, 0.02)
    """
    if coarser is None or not coarser > 0:
        return 2.0
    return min(max(8 * math.sqrt(max(weight, 0.0) / coarser), 0.02), 2.0)


def judge(p: Progress, limits: Limits, rate: float, moved: float | None, cut: float = 0.0) -> Verdict:
    """Return what comes next after a sweep, and set the parts of the error.

    Parameters
    ----------
    p
        The progress; ``parts`` is set.
    limits
        Tolerance and bounds.
    rate
        Size of the generator per site, the unit of 1/tau.
    moved
        Largest difference of local expectation values to the state of the level before; None at the first level.
    cut
        What the cutoff can do to local expectation values.
    """
    exact = p.bond >= limits.exact_bond
    kappa = truncation_factor(p.weight, p.coarser)
    p.parts = {
        "truncation": cut if exact else None if moved is None else max(kappa * max(moved, FLOOR), cut),
        "relaxation": p.remaining if p.remaining is None or not exact else max(p.remaining, 10 * (p.residual or 0.0)),
        "local solves": p.worst * p.drifts[-1],
    }
    trusted = p.tau * rate >= TRUSTED_TAU and p.worst < UNSOLVED
    error, rest = p.error, p.parts["relaxation"]
    if error is not None and error <= limits.tol and trusted and (exact or residual_falls(p, rate)):
        return Verdict("converged")
    if p.sweeps >= limits.max_sweeps:
        return Verdict("failed", "the sweeps allowed were used up")
    target = max(RELAXED * limits.tol, RELAXED * (moved if moved is not None else 1e-2))
    relaxed = rest is not None and rest <= target and (trusted or p.level < 2)
    can_grow = p.bond < min(limits.max_bond, limits.exact_bond)
    stuck = p.since_best >= (PATIENCE if can_grow else LAST_PATIENCE)
    # truncated too hard, sweeps creep: no use in waiting for them
    creeping = len(p.drifts) > 1 and p.tau * rate >= TRUSTED_TAU and p.ratio > CREEPING
    stuck = stuck or (can_grow and creeping)
    if not relaxed and not stuck:
        return Verdict("sweep")
    if can_grow:
        return Verdict("grow")
    if stuck:
        return Verdict("failed", "the sweeps wander: the projected generator has small eigenvalues of its own")
    if not trusted or (exact and rest is not None and rest > RELAXED * limits.tol):
        return Verdict("sweep")
    if not exact and not residual_falls(p, rate):
        return Verdict("failed", "the residual |L rho|/|rho| does not fall with the bond dimension")
    return Verdict("stalled")


def residual_falls(p: Progress, rate: float) -> bool:
    """Return whether the residual is rounding, or well below those of the levels before."""
    if p.residual is None:
        return False
    if p.residual <= 1e-8 * rate:
        return True
    return bool(p.residuals) and p.residual <= 0.8 * min(p.residuals)


def larger_bond(p: Progress, limits: Limits) -> int:
    """Return the bond dimension of the next level."""
    return next_bond(p.bond, min(limits.max_bond, limits.exact_bond))
