"""Memory and time foreseen for the points of a sweep, before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError
from ..solve import choose_method
from .plan import Point

__all__ = ["PointEstimate", "estimate_alike", "estimate_point", "estimate_points"]


@dataclass(frozen=True)
class PointEstimate:
    """What a point is expected to need.

    Attributes
    ----------
    index
        The point.
    method
        Name of the method, chosen automatically if none is named; empty if none can do it.
    memory_bytes, seconds
        Memory, and time on one core; None where the method has no model for it.
    remark
        Why the point will be refused, or the detail of the estimate.
    """

    index: int
    method: str = ""
    memory_bytes: float | None = None
    seconds: float | None = None
    remark: str = ""

    @property
    def refused(self) -> bool:
        """Whether the point cannot be computed as it is written."""
        return not self.method


def estimate_point(point: Point) -> PointEstimate:
    """Return what a point is expected to need; a point that will be refused says so instead of raising."""
    spec = point.spec
    try:
        model, method = spec.build_model(), spec.build_method()
        if method is None:
            method, _ = choose_method(model, spec.task, spec.tol)
        support = method.supports(model, spec.task)
        if not support:
            return PointEstimate(point.index, remark=support.reason)
        estimate = method.estimate(model, spec.tol)
    except InputError as error:
        return PointEstimate(point.index, remark=" ".join(str(error).split()))
    return PointEstimate(point.index, method.name, estimate.memory_bytes, estimate.seconds, estimate.detail)


def estimate_points(points: Iterable[Point]) -> dict[int, PointEstimate]:
    """Return the estimates of points by index."""
    return {point.index: estimate_point(point) for point in points}


def estimate_alike(points: Iterable[Point]) -> dict[int, PointEstimate]:
    """Return estimates by index, made once for all points that differ only in seeds and in values of couplings.

    Good enough to decide what comes first; whole numbers (sites, levels, bond dimensions) always count as different.
    """
    known: dict[str, PointEstimate] = {}
    out = {}
    for point in points:
        tree = point.spec.to_dict()
        tree["solve"].pop("seed", None)
        key = json.dumps([_shape(tree.get(name)) for name in ("model", "method", "solve")], sort_keys=True, default=str)
        if key not in known:
            known[key] = estimate_point(point)
        out[point.index] = replace(known[key], index=point.index)
    return out


def _shape(value: Any) -> Any:
    """The tree with numbers that are not whole replaced by their kind, and lists of numbers by their length."""
    if isinstance(value, Mapping):
        return {k: v if k == "tol" else _shape(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        kinds = [_shape(v) for v in value]
        return [len(kinds), "number"] if all(isinstance(v, (int, float, complex)) for v in value) else kinds
    if isinstance(value, complex) or (isinstance(value, float) and not value.is_integer()):
        return "number"
    return value
