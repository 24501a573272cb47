"""Which point comes next: neighbours first, then the longest work, as far as memory reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .estimates import PointEstimate
from .plan import Point

__all__ = ["Schedule"]


class Schedule:
    """The points still to be computed, and what has to come before what.

    Parameters
    ----------
    points
        What is to be done; a neighbour that is not among them is not waited for.
    estimates
        By index; missing ones count as short and small.
    memory
        Bytes that points may use together.  A point that is larger than all of it is given out alone.

    Notes
    -----
    The longest remaining chain of dependent points goes first (for independent points: the longest point), which is
    the usual list schedule; its length is at most twice the shortest possible one.
    """

    def __init__(
        self, points: Sequence[Point], estimates: Mapping[int, PointEstimate], memory: float = float("inf")
    ) -> None:
        self._memory = memory
        self._bytes = {p.index: _positive(estimates, p.index, "memory_bytes") for p in points}
        self._followers: dict[str, list[Point]] = {}
        ids = {p.run_id for p in points}
        self._blocked: dict[str, Point] = {}
        for point in points:
            if point.depends_on in ids and point.depends_on is not None:
                self._followers.setdefault(point.depends_on, []).append(point)
                self._blocked[point.run_id] = point
        self._rank = self._ranks(points, estimates)
        self._ready = [p for p in points if p.run_id not in self._blocked]
        self._out: dict[int, Point] = {}

    def __len__(self) -> int:
        """Points not given out yet."""
        return len(self._ready) + len(self._blocked)

    @property
    def pending(self) -> tuple[Point, ...]:
        """Points not given out yet."""
        return (*self._ready, *self._blocked.values())

    def next(self) -> Point | None:
        """Give out a point, or None if every one has to wait for a neighbour or for memory."""
        free = self._memory - sum(self._bytes[k] for k in self._out)
        fitting = [p for p in self._ready if self._bytes[p.index] <= free or not self._out]
        if not fitting:
            return None
        point = max(fitting, key=lambda p: (self._rank[p.index], -p.index))
        self._ready.remove(point)
        self._out[point.index] = point
        return point

    def ended(self, point: Point) -> None:
        """Take a point back that has ended, well or not; its neighbours may begin."""
        self._out.pop(point.index, None)
        for follower in self._followers.pop(point.run_id, ()):
            self._blocked.pop(follower.run_id, None)
            self._ready.append(follower)

    def again(self, point: Point) -> None:
        """Take a point back that has to be given out once more."""
        self._out.pop(point.index, None)
        self._ready.append(point)

    def _ranks(self, points: Sequence[Point], estimates: Mapping[int, PointEstimate]) -> dict[int, float]:
        """Seconds of a point and of the longest chain behind it; a neighbour always has a smaller index."""
        ranks: dict[int, float] = {}
        for point in sorted(points, key=lambda p: -p.index):
            behind = max((ranks[f.index] for f in self._followers.get(point.run_id, ())), default=0.0)
            ranks[point.index] = behind + _positive(estimates, point.index, "seconds")
        return ranks


def _positive(estimates: Mapping[int, PointEstimate], index: int, name: str) -> float:
    value = getattr(estimates.get(index), name, None)
    return 1e-3 if value is None else max(float(value), 1e-3)
