"""How far a sweep is: counts, what failed and why, and how long the rest may take."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .directory import DONE, PointState, SweepDirectory
from .estimates import PointEstimate, estimate_alike
from .plan import Point
from .records import FAILED

__all__ = ["SweepStatus", "remaining_seconds", "sweep_status"]

_ESTIMATED = 2000  # more points than this are foreseen from the mean of those that are finished


@dataclass(frozen=True)
class SweepStatus:
    """Where a sweep stands.

    Attributes
    ----------
    directory
        The sweep.
    states
        The states of its points, in their order.
    remaining
        Seconds that the rest is expected to take with the workers that are running now, or None while nothing is
        finished to judge from.
    """

    directory: SweepDirectory
    states: tuple[PointState, ...]
    remaining: float | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of points: done, not converged, failed, running, waiting (interrupted ones included)."""
        words = Counter(state.word for state in self.states)
        counted = {
            "done": words[DONE],
            "running": words["running"],
            "waiting": words["waiting"] + words["interrupted"],
            "failed": words[FAILED],
        }
        return counted | {"not converged": len(self.states) - sum(counted.values())}

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return not any(state.open or state.word == "running" for state in self.states)

    def pick(self, kind: str) -> list[tuple[Point, PointState]]:
        """Return the points of a kind: a key of ``counts``, or ``"interrupted"``."""
        pairs = list(zip(self.directory.plan.points, self.states, strict=True))
        if kind == "not converged":
            return [(p, s) for p, s in pairs if s.finished and s.word != DONE]
        words = {"waiting": ("waiting", "interrupted")}.get(kind, (kind,))
        return [(p, s) for p, s in pairs if s.word in words]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        points = [
            {
                "index": point.index,
                "run_id": point.run_id,
                "file": str(self.directory.run_path(point)),
                "coordinates": {k: _plain(v) for k, v in point.coordinates.items()},
                "state": state.word,
                "reason": state.reason,
                "attempts": state.attempts,
                "facts": dict(state.facts),
            }
            for point, state in zip(self.directory.plan.points, self.states, strict=True)
        ]
        return {
            "name": self.directory.plan.name,
            "sweep_id": self.directory.plan.sweep_id,
            "directory": str(self.directory.path),
            "counts": self.counts,
            "remaining_seconds": self.remaining,
            "points": points,
        }


def sweep_status(directory: SweepDirectory, *, workers: int | None = None) -> SweepStatus:
    """Return where a sweep stands, from its files alone.

    Parameters
    ----------
    directory
        The sweep.
    workers
        How many points are computed at a time, for the remaining time; None: as many as are running.
    """
    states = directory.states()
    points = directory.plan.points
    estimates = estimate_alike(points) if len(points) <= _ESTIMATED else {}
    return SweepStatus(directory, states, remaining_seconds(points, states, estimates, workers))


def remaining_seconds(
    points: Sequence[Point],
    states: Sequence[PointState],
    estimates: Mapping[int, PointEstimate],
    workers: int | None = None,
) -> float | None:
    """Return the time that the rest is expected to take.

    The estimates of the methods are scaled by the median ratio of measured to estimated times of the points that are
    finished; without estimates the mean of the measured times is used.
    """
    measured = {
        p.index: float(s.facts["wall_seconds"])
        for p, s in zip(points, states, strict=True)
        if s.finished and "wall_seconds" in s.facts
    }
    left = [p.index for p, s in zip(points, states, strict=True) if s.open or s.word == "running"]
    if not left:
        return 0.0
    if not measured:
        return None
    foreseen = {k: e.seconds for k, e in estimates.items() if e.seconds}
    mean = statistics.fmean(measured.values())
    ratios = [measured[k] / s for k in measured if (s := foreseen.get(k))]
    scale = statistics.median(ratios) if ratios else None
    total = sum(mean if scale is None or not (s := foreseen.get(k)) else scale * s for k in left)
    running = sum(s.word == "running" for s in states) if workers is None else workers
    return total / max(1, min(running, len(left)))


def _plain(value: Any) -> Any:
    if isinstance(value, complex):
        return str(value).strip("()")
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
