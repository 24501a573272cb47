"""How far a sweep is, on the screen: live on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from ..sweep import PointOutcome, SweepDirectory
from ..sweep.estimates import PointEstimate, estimate_alike
from ..sweep.status import SweepStatus, remaining_seconds
from .output import print_table, say

if TYPE_CHECKING:
    from rich.live import Live

__all__ = ["SweepDisplay", "one_line", "show_status", "time_text"]

_LINE_SECONDS = 5.0
_LISTED = 20


class SweepDisplay:
    """Progress of a sweep on standard error, for the time of a ``with`` block.

    Parameters
    ----------
    directory
        The sweep.
    quiet
        Show nothing.
    workers
        How many points are computed at a time, for the remaining time.
    every
        Seconds between two looks.
    """

    def __init__(
        self,
        directory: SweepDirectory,
        *,
        quiet: bool = False,
        workers: int | None = None,
        every: float = _LINE_SECONDS,
    ) -> None:
        self._directory = directory
        self._quiet = quiet
        self._workers = workers
        self._every = every
        self._live: Live | None = None
        self._last = time.monotonic()
        self._looked = 0.0
        self._found: SweepStatus | None = None
        self._estimates: dict[int, PointEstimate] | None = None

    def __enter__(self) -> SweepDisplay:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                console=Console(stderr=True), transient=True, refresh_per_second=1, get_renderable=self._render
            )
            self._live.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, outcome: PointOutcome) -> None:
        """Take notice of a point that ended; failures are told at once."""
        if self._quiet:
            return
        if outcome.word == "failed":
            say(f"point {outcome.index} failed: {outcome.reason}", error=True)
        if self._live is None and self._is_time(self._every):
            self.show(self._look())

    def show(self, found: SweepStatus) -> None:
        """Show a state of the sweep."""
        self._found, self._last = found, time.monotonic()
        if self._live is None and not self._quiet:
            say(one_line(found), error=True)

    def _is_time(self, pause: float) -> bool:
        """Whether to look again: looking at all files takes time, a tenth of it at most."""
        return time.monotonic() - self._last >= max(pause, 10 * self._looked)

    def _look(self) -> SweepStatus:
        begin = time.monotonic()
        points = self._directory.plan.points
        if self._estimates is None:
            self._estimates = estimate_alike(points)
        states = self._directory.states()
        self._looked = time.monotonic() - begin
        self._last = time.monotonic()
        return SweepStatus(self._directory, states, remaining_seconds(points, states, self._estimates, self._workers))

    def _render(self) -> Any:
        """The table as it is drawn every second, in a thread of its own."""
        if self._found is None or self._is_time(self._every):
            self._found = self._look()
        return _live_table(self._found)


def one_line(found: SweepStatus) -> str:
    """Return the counts and the remaining time in one line."""
    counts = ", ".join(f"{number} {kind}" for kind, number in found.counts.items() if number or kind == "done")
    rest = "" if not found.remaining else f"; about {time_text(found.remaining)} left"
    return f"{len(found.states)} points: {counts}{rest}"


def show_status(found: SweepStatus) -> None:
    """Print the counts, and the points that failed, did not converge or are running."""
    say(one_line(found))
    for kind in ("failed", "not converged", "running", "interrupted"):
        picked = found.pick(kind)
        if not picked:
            continue
        rows = [[str(p.index), p.label, s.word, str(s.attempts), s.reason] for p, s in picked[:_LISTED]]
        say()
        print_table(kind, ["point", "coordinates", "state", "attempts", "reason"], rows)
        if len(picked) > _LISTED:
            say(f"  ... and {len(picked) - _LISTED} more (all of them with --json)")


def time_text(seconds: float) -> str:
    """Return a duration for people.

    >>> [time_text(t) for t in (0.02, 42.0, 600.0, 36000.0, 1e6)]
    ['0.02 s', '42 s', '10 min', '10 h', '12 d']
    """
    for unit, name in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.2g} s"


def _live_table(found: SweepStatus) -> Any:
    from rich.table import Table

    table = Table(title=found.directory.plan.name or str(found.directory.path), title_justify="left")
    for kind in (*found.counts, "left"):
        table.add_column(kind, justify="right")
    left = "" if found.remaining is None else time_text(found.remaining)
    table.add_row(*(str(n) for n in found.counts.values()), left)
    return table
