"""A whole sweep from Python: plan, directory, execution."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from .directory import SweepDirectory
from .plan import SweepPlan, load_sweep
from .point import PointOutcome

__all__ = ["open_points", "run_sweep"]


def run_sweep(
    plan: SweepPlan | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    overrides: Iterable[str] = (),
    retry: bool = False,
    unlimited: bool = False,
    on_update: Callable[[PointOutcome], Any] | None = None,
) -> SweepDirectory:
    """Carry out a sweep on this machine and return its directory.

    Finished points are not repeated, unfinished ones continue from their checkpoints.  SIGINT, SIGTERM and SIGUSR1 save
    all points under way and return as well; ``states()`` of the directory tells what is left.

    Parameters
    ----------
    plan
        The sweep, or its TOML file.
    out
        Directory of the results; made if missing.
    workers
        Processes; None: one per core, 0: none (in this process).  A script that uses processes must do its work under
        ``if __name__ == "__main__":``.
    overrides, unlimited
        For a file, see :func:`load_sweep`.
    retry
        Try failed points again.
    on_update
        Called with the :class:`PointOutcome` of every point that ends.

    Raises
    ------
    InputError, RunConflictError
        For a bad sweep, or a directory that belongs to another one; nothing is computed then.

    Examples
    --------
    >>> import tempfile
    >>> plan = SweepPlan.from_toml('''
    ... [base.model]
    ... name = "persistent_current"
    ... L = 3
    ... delta = 1.5
    ... [axes]
    ... "model.alpha" = [1.0, 2.0]
    ... ''')
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [state.word for state in run_sweep(plan, folder, workers=0).states()]
    ['done', 'done']
    """
    from .execution.local import execute

    if not isinstance(plan, SweepPlan):
        plan = load_sweep(plan, overrides, unlimited=unlimited)
    directory = SweepDirectory.create(out, plan)
    if retry:
        directory.retry()
    execute(directory, open_points(directory), workers=workers, on_update=on_update)
    return directory


def open_points(directory: SweepDirectory) -> list[Any]:
    """Return the points that something is left to do for: waiting or interrupted, not running elsewhere."""
    return [p for p, state in zip(directory.plan.points, directory.states(), strict=True) if state.open]
