"""The parts of the error, from the main state, its companions and their references."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .companions import REFERENCE, matching
from .measure import difference
from .progress import PARTS, Progress
from .schedule import RELAXATION_SAFETY, Limits, truncation_weight

__all__ = ["cautious", "has_slow_mode", "measure_parts"]

# Share of the stiffest rate below which a relaxation rate is very slow, and the safety factor of all parts then.
SLOW, SLOW_SAFETY = 1e-3, 2.0
# The least weight of a difference of bond dimensions on infinite chains: there errors fall slowly and not evenly (an
# asymmetric cell of three sites: 1.6e-4, 2.0e-4, 6e-5 for 8, 12, 16), so a difference may be well below the error.
SLOW_DECAY = 2.5


def has_slow_mode(p: Progress, rate: float) -> bool:
    """Whether a mode was seen that relaxes very slowly beside the stiffest ``rate``: it amplifies every error."""
    return p.relaxation.slowest is not None and p.relaxation.slowest <= SLOW * rate


def cautious(p: Progress, weight: float, rate: float) -> float:
    """Return the weight of a difference, larger where there is a very slow mode."""
    return SLOW_SAFETY * weight if has_slow_mode(p, rate) else weight


def measure_parts(
    p: Progress, arrays: Mapping[str, np.ndarray], limits: Limits, rate: float, *, separable: bool
) -> None:
    """Write the parts of the error into ``p``, after a check of the main state or of a companion."""
    if p.role == "main":
        r = p.relaxation
        p.parts["relaxation"] = r.noise if p.wandering else RELAXATION_SAFETY * r.remaining
        p.main, p.main_weight = p.level, p.total_weight
        if matching(p, "truncation") and "discarded" in p.weights:
            now, ratio = (p.total_weight or 0.0) / p.level.dt**2, None
            if p.weights.get("difference", 0.0) > 0:
                ratio = difference(arrays["profile main"], arrays["profile truncation"]) / p.weights["difference"]
            weight = truncation_weight(now, p.weights["discarded"], ratio)
            weight = max(weight, p.weights.get("least", 0.0 if separable else SLOW_DECAY))
            p.weights["truncation"] = cautious(p, weight, rate) if separable else weight
    for name in PARTS:
        key = f"profile {name}"
        if key in arrays and name in p.weights and p.role in ("main", name):
            reference = arrays.get(REFERENCE + name, arrays["profile main"])
            other = arrays["profile"] if p.role == name else arrays[key]
            p.parts[name] = p.weights[name] * difference(reference, other)
            if matching(p, name) or REFERENCE + name in arrays:
                p.clean[name] = p.parts[name]
    if not limits.split:
        p.parts["time step"] = 0.0
    if p.level.bond >= limits.exact_bond and p.role == "main":
        p.parts["truncation"] = p.weights["truncation"] = 0.0  # nothing is cut: a smaller bond says nothing
