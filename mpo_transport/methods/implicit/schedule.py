"""How the passes go on: tau and bond dimension from the tolerance alone, the error parts, and when to give up.

A pass solves every bond once, from one end to the other; x_k is the state after the k-th pass at a bond dimension.
States left behind by passes in opposite directions are cut differently, so their difference A_k = |x_k - x_(k-1)| shows
what truncation does, and what has not settled yet; D_k = |x_k - x_(k-2)| shows the latter alone.

    truncation    8 A_k, and at least kappa |x_k - x(chi')|, chi' the bond dimension before, kappa = 8 sqrt(w/w') within
                  [0.02, 2], w and w' the discarded weights: where modes are slow, x_k and x_(k-1) share their error;
                  8 r A_k where only the cutoff truncates, nothing where nothing is cut; at least
                  10 s^8 w^(1/2), w the weight that the cutoff discards: the part of operator strings of eight factors
                  in a metric that divides them by s per factor
    relaxation    2 D_k r^2/(1 - r^2), r the decay per pass; 2 A_k r/(1 - r) at the second pass and where only the
                  cutoff truncates, there also at least 10 |L rho|/|rho|: slow modes enlarge rounding
    local solves  q A_k, q the largest |r|/|r_0| left over by GMRES in the last pass

All differences are largest ones of local expectation values.  A state counts only if the residual |L rho|/|rho| falls
with the bond dimension and the passes settle at a large tau.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..tebd.schedule import next_bond

__all__ = ["Limits", "Progress", "Verdict", "claim", "is_preliminary", "judge", "larger_bond", "truncation_factor"]

# tau in units of 1/rate: at the start, at most, and at least when a result may be believed.
FIRST_TAU = 10.0
LARGEST_TAU = 1e6
TRUSTED_TAU = 1e3
TAU_FACTOR = 10.0
# Errors of truncation in units of the difference between passes to and fro (up to seven were seen where relaxation is
# slow).
ALTERNATION = 8.0
# Bond dimensions below the first are passed once, to begin with; 12 serves for tolerances above COARSE.
FIRST_JUDGED, COARSE = 16, 1e-4
SECOND_BOND, THIRD_BOND = 8, 12
# What truncation does is of the order of the root of the discarded weight: changes above UNSETTLED times that, or above
# LARGE, are of the passes.
UNSETTLED, LARGE = 10.0, 0.1
# Expectation values of operators of norm 1 cannot change by more: larger bonds would inherit nonsense, passes cure it.
IMPOSSIBLE, LONGEST_STAY = 2.0, 8
# A second pass that brings the changes below this share shows that one pass is nearly enough.
QUICK = 0.1
# Another pass helps, near the tolerance or while unsettled, if the last one brought the changes below this share.
CREEPING = 0.6
# Another pass at the same bond dimension may do if the claim is within this factor of the tolerance.
NEAR = 10.0
# A level has relaxed when the rest is this share of the truncation error, or of the tolerance.
RELAXED = 0.1
# Passes without progress before giving up where the bond dimension cannot grow.
PATIENCE = 24
# Decay per pass never believed to be faster, nor slower: beyond, there is no estimate.
FASTEST, SLOWEST = 0.1, 0.95
# Two changes in a row that sum to this share of their sizes have the same direction.
ADDING_UP = 0.75
# Decay while that of truncation hides it.
UNKNOWN_DECAY = 0.5
# After two passes the second change has to be this much smaller than the first to say something about the decay.
CLEAR = 0.5
RELAXATION_SAFETY = 2.0
# Discarded weights up to this are rounding.
NOTHING = 1e-30
# GMRES leftovers above these: local problems are solved badly, or not at all.
HALF_SOLVED, UNSOLVED = 0.5, 0.9
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

    ``position`` and ``right``: the next bond and the direction of the pass; ``changes``: changes A_k of the local
    profile by the passes of this level; ``drifts``: the changes D_k by the last two passes, from the third pass on;
    ``weight``: largest relative weight discarded in the last pass, ``uncut`` whether the bond dimension had no part in
    it, ``coarser`` the weight at the level before; ``known``: change and weight at the last level that was passed more
    than once; ``prior``: the slowest decay of the levels before, ``residuals``: their residuals.
    """

    bond: int
    scale: float
    tau: float
    level: int = 0
    position: int = 0
    right: bool = True
    passes: int = 0
    restarts: int = 0
    changes: list[float] = field(default_factory=list)
    drifts: list[float] = field(default_factory=list)
    weight: float = 0.0
    uncut: bool = False
    coarser: float | None = None
    known: list[float] | None = None
    prior: float = 0.0
    worst: float = 0.0
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
        for key in ("changes", "drifts", "residuals"):
            values[key] = list(values[key])
        known = values["known"]
        return cls(**{**values, "parts": dict(values["parts"]), "known": None if known is None else list(known)})

    @property
    def error(self) -> float | None:
        """Sum of the parts of the error, None while one is unknown."""
        if not self.parts or any(v is None for v in self.parts.values()):
            return None
        return float(sum(v or 0.0 for v in self.parts.values()))

    @property
    def change(self) -> float:
        """A_k, at least rounding."""
        return max(self.changes[-1], FLOOR) if self.changes else math.inf

    @property
    def unsettled(self) -> bool:
        """Whether the last change is too large to be the work of truncation."""
        return self.change > min(LARGE, UNSETTLED * math.sqrt(self.weight)) or self.worst > HALF_SOLVED

    @property
    def ratio(self) -> float:
        """Decay per pass of what has not settled; infinite while nothing is known about it."""
        a, d = [max(x, FLOOR) for x in self.changes], [max(x, FLOOR) for x in self.drifts]
        if len(a) < 2:
            return math.inf
        fall = a[-1] / a[-2]
        if not d:  # truncation makes the second change larger: the ratio is on the safe side
            found = fall if fall <= CLEAR else math.inf
        elif len(d) > 1:
            found = d[-1] / d[-2]
        else:  # changes of one sign are those of one decay, others those of truncation, to and fro
            found = fall if d[-1] >= ADDING_UP * (a[-1] + a[-2]) else UNKNOWN_DECAY
        return max(FASTEST, self.prior, found)

    @property
    def remaining(self) -> float | None:
        """Estimated distance to the end of the passes at this bond dimension; None while it does not decay."""
        r = self.ratio
        if not r <= SLOWEST:
            return None
        if self.uncut or not self.drifts:
            return RELAXATION_SAFETY * self.change * r / (1 - r)
        return RELAXATION_SAFETY * max(self.drifts[-1], FLOOR) * r**2 / (1 - r**2)  # two passes at a time

    def add(self, change: float, drift: float | None) -> None:
        """Record the change by a pass, and that by the last two if both were of this level."""
        self.growing = bool(self.changes) and change > 1.5 * max(self.changes[-1], 10 * FLOOR)
        self.changes.append(change)
        if drift is not None and len(self.changes) > 2:
            self.drifts.append(drift)
        self.passes += 1
        measure = self.drifts[-1] if self.drifts else change
        if self.best is None or measure < 0.7 * self.best:
            self.best, self.since_best = measure, 0
        else:
            self.since_best += 1

    def next_tau(self, smallest: float, largest: float) -> float:
        """Return tau of the next pass: larger while the changes decay, smaller where they grow."""
        factor = 1 / TAU_FACTOR if self.growing else TAU_FACTOR
        return min(max(self.tau * factor, smallest), largest)

    def enter(self, bond: int) -> None:
        """Go on at a larger bond dimension."""
        if len(self.drifts) > 1 and self.ratio <= SLOWEST:
            self.prior = self.ratio
        if len(self.changes) > 1:  # where a second pass finds little to do, one is enough to know the weight
            self.known = [self.change, self.weight] if self.changes[1] <= QUICK * self.changes[0] else None
        self.level += 1
        self.coarser = self.weight
        self.bond, self.changes, self.drifts, self.best, self.since_best = bond, [], [], None, 0
        if self.residual is not None:
            self.residuals.append(self.residual)


@dataclass(frozen=True)
class Verdict:
    """What comes next: "pass", "grow", "converged", "stalled" (by truncation) or "failed", with the reason."""

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


def claim(p: Progress, limits: Limits, moved: float | None, cut: float) -> dict[str, float | None]:
    """Return the parts of the error.

    ``moved`` is the largest difference of local expectation values to the state of the level before, None at the first;
    ``cut`` what the cutoff can do to them.
    """
    if len(p.changes) < 2:
        return {"truncation": None, "relaxation": None, "local solves": None}
    rest = p.remaining
    shown = ALTERNATION * p.change
    if p.uncut:  # changes that decay are not those of the cutoff
        shown *= min(p.ratio, 1.0)
    elif moved is not None:
        shown = max(shown, truncation_factor(p.weight, p.coarser) * moved)
    whole = p.bond >= limits.exact_bond or (p.uncut and p.weight <= NOTHING)
    return {
        "truncation": cut if whole else max(shown, cut),
        "relaxation": rest if rest is None or not p.uncut else max(rest, 10 * (p.residual or 0.0)),
        "local solves": p.worst * p.changes[-1],
    }


def judge(p: Progress, limits: Limits, rate: float) -> Verdict:
    """Return what comes next after a pass whose claim is in ``p.parts``.

    Parameters
    ----------
    p
        The progress.
    limits
        Tolerance and bounds.
    rate
        Size of the generator per site, the unit of 1/tau.
    """
    exact = p.bond >= limits.exact_bond
    can_grow = p.bond < min(limits.max_bond, limits.exact_bond)
    trusted = p.tau * rate >= TRUSTED_TAU and p.worst < UNSOLVED
    error, rest = p.error, p.parts["relaxation"]
    if error is not None and error <= limits.tol and trusted and (exact or residual_falls(p, limits, rate)):
        return Verdict("converged")
    if p.passes >= 2 * limits.max_sweeps:
        return Verdict("failed", "the sweeps allowed were used up")
    if can_grow and p.change > IMPOSSIBLE and len(p.changes) < LONGEST_STAY:
        return Verdict("pass")
    if can_grow and (is_preliminary(p.bond, limits) or hopeless(p, limits.tol)):
        return Verdict("grow")
    if len(p.changes) < 2:
        return Verdict("pass")
    fall = p.changes[-1] / p.changes[-2] if p.changes[-2] > 0 else 1.0
    if can_grow:
        near = error is None or error <= NEAR * limits.tol
        return Verdict("pass" if fall <= CREEPING and (near or p.unsettled) else "grow")
    if p.since_best >= PATIENCE:
        return Verdict("failed", "the sweeps wander: the projected generator has small eigenvalues of its own")
    target = RELAXED * max(limits.tol, p.parts["truncation"] or 0.0)
    if not trusted or rest is None or rest > target or exact or fall <= CREEPING:  # truncation does not decay
        return Verdict("pass")
    if p.residuals and not residual_falls(p, limits, rate):  # at the first bond dimension there is nothing to compare
        return Verdict("failed", "the residual |L rho|/|rho| does not fall with the bond dimension")
    return Verdict("stalled")


def is_preliminary(bond: int, limits: Limits) -> bool:
    """Return whether a bond dimension is passed once only, on the way to those that may do."""
    first = THIRD_BOND if limits.tol > COARSE else FIRST_JUDGED
    return bond < min(first, limits.max_bond, limits.exact_bond)


def hopeless(p: Progress, tol: float) -> bool:
    """Return whether truncation at this bond dimension, known after one pass by its weight, is far above ``tol``.

    Errors fall at least like the square root of the discarded weight, which is that of truncation once changes settle.
    """
    if len(p.changes) != 1 or p.known is None or not p.known[1] > 0 or p.unsettled:
        return False
    return ALTERNATION * p.known[0] * math.sqrt(p.weight / p.known[1]) > NEAR * tol


def residual_falls(p: Progress, limits: Limits, rate: float) -> bool:
    """Return whether the residual is rounding, or well below that of the level before.

    Where only the cutoff truncates, and not the bond dimension, it has to be far below the tolerance instead.
    """
    if p.residual is None:
        return False
    if p.residual <= max(1e-8, 0.01 * min(limits.tol, 1e-2) if p.uncut else 0.0) * rate:
        return True
    return bool(p.residuals) and p.residual <= 0.8 * min(p.residuals)


def larger_bond(p: Progress, limits: Limits) -> int:
    """Return the bond dimension of the next level."""
    limit = min(limits.max_bond, limits.exact_bond)
    return min(SECOND_BOND, limit) if p.bond < SECOND_BOND else next_bond(p.bond, limit)
