"""The directory of one sweep: its plan, one run file and one record per point, and what these say about its progress.

    DIR/sweep.toml               the plan
    DIR/runs/RUN_ID.h5           run files, the same as those of single runs
    DIR/points/RUN_ID.json       attempts, reasons of failures, warm starts

Everything is derived from these files and from the locks on them, never from times or clocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FileFormatError, InputError, RunConflictError
from ..result import Status
from ..storage import RunLock
from ..storage.text import differences
from .files import is_listed, is_locked, read_text, write_text
from .plan import Point, SweepPlan
from .records import FAILED, STARTED, PointRecord

__all__ = ["PLAN_FILE", "PointState", "SweepDirectory"]

PLAN_FILE = "sweep.toml"
DONE = "done"


@dataclass(frozen=True)
class PointState:
    """Where a point stands.

    Attributes
    ----------
    word
        ``"waiting"``, ``"running"``, ``"interrupted"`` (its checkpoint is continued), ``"failed"``, ``"done"``
        (converged), or the status of a run that is finished but not converged, such as ``"not_converged"``.
    reason
        Why, where there is something to say.
    attempts
        How often it was begun or continued.
    facts
        wall_seconds, cpu_seconds, steps, peak_bytes, error_estimate of a finished run.
    error
        Class of the exception behind a failure.
    """

    word: str
    reason: str = ""
    attempts: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether there is a result, converged or not."""
        return self.word not in ("waiting", "running", "interrupted", "failed")

    @property
    def open(self) -> bool:
        """Whether something is left to do: waiting or interrupted."""
        return self.word in ("waiting", "interrupted")

    def __str__(self) -> str:
        return self.word


class SweepDirectory:
    """An existing directory of a sweep; made by :meth:`create`, found by :meth:`open`.

    Attributes
    ----------
    path
        The directory.
    plan
        The sweep.
    lock
        For whoever changes the directory itself (creation, forgetting failures); points have locks of their own.
    """

    def __init__(self, path: Path, plan: SweepPlan) -> None:
        self.path = path
        self.plan = plan
        self.lock = RunLock(path / PLAN_FILE, "out")
        self._by_id = {point.run_id: point for point in plan.points}

    def __repr__(self) -> str:
        return f"SweepDirectory({str(self.path)!r}, {len(self.plan.points)} points)"

    @classmethod
    def create(cls, path: str | os.PathLike[str], plan: SweepPlan) -> SweepDirectory:
        """Return the directory of a sweep, made if it is missing; that of the same sweep is used again.

        Raises
        ------
        RunConflictError
            If the directory belongs to another sweep; the differences are named.  Or if it is being created.
        InputError
            If it cannot be made.
        """
        target = Path(path)
        directory = cls(target, plan)
        _make(target)
        with directory.lock:
            written = read_text(target / PLAN_FILE)
            if written is not None:
                if not _is_ours(written):
                    raise InputError(
                        f"{target / PLAN_FILE} is a file of yours, which the results would replace; choose another "
                        "directory for them.",
                        field="out",
                    )
                _check_same_sweep(target, written, plan)
            for part in ("runs", "points"):
                _make(target / part)
            if written != plan.to_toml():
                write_text(target / PLAN_FILE, plan.to_toml())
        return directory

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SweepDirectory:
        """Return an existing directory.

        Raises
        ------
        FileFormatError
            If there is no sweep.
        """
        target = Path(path)
        text = read_text(target / PLAN_FILE) if target.is_dir() else None
        if text is None:
            raise FileFormatError(f"{target} is not the directory of a sweep: it has no file {PLAN_FILE}.")
        if not _is_ours(text):
            raise FileFormatError(f"{target} is not the directory of a sweep: its {PLAN_FILE} has no sweep_id.")
        return cls(target, _stored_plan(target, text))

    # -- points -------------------------------------------------------------------------------------------------------

    def point(self, key: int | str) -> Point:
        """Return a point by index or run id.

        Raises
        ------
        InputError
            If there is none.
        """
        if isinstance(key, str) and key in self._by_id:
            return self._by_id[key]
        count = len(self.plan.points)
        if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < count:
            return self.plan.points[key]
        raise InputError(
            f"The sweep {self.path} has no point {key!r}; they count from 0 to {count - 1}.", field="index"
        )

    def run_path(self, point: Point) -> Path:
        """Return the HDF5 file of a point."""
        return self.path / "runs" / f"{point.run_id}.h5"

    def record_path(self, point: Point) -> Path:
        """Return the file of a point's record; its lock is the lock of the point."""
        return self.path / "points" / f"{point.run_id}.json"

    def record(self, point: Point) -> PointRecord:
        """Return the record of a point."""
        return PointRecord.read(self.record_path(point), point.run_id)

    def write_record(self, point: Point, record: PointRecord, *, durable: bool = True) -> None:
        """Replace the record of a point; for the holder of its lock."""
        record.write(self.record_path(point), durable=durable)

    def state(self, point: Point) -> PointState:
        """Return where a point stands."""
        path = self.run_path(point)
        return self._state(point, path.exists() or is_listed(path))

    def states(self) -> tuple[PointState, ...]:
        """Return where all points stand, in their order."""
        runs, points = (self._names(part) for part in ("runs", "points"))
        out = []
        for point in self.plan.points:
            known = f"{point.run_id}.json" in points or f"{point.run_id}.json.lock" in points
            begun = f"{point.run_id}.h5" in runs
            out.append(self._state(point, begun) if known or begun else PointState("waiting"))
        return tuple(out)

    def retry(self, points: Iterable[Point] | None = None) -> tuple[Point, ...]:
        """Forget the failures of points (all by default), so that they are tried again; return these points."""
        forgotten = []
        for point in self.plan.points if points is None else points:
            if self.state(point).word != FAILED:
                continue
            with RunLock(self.record_path(point)):
                record = self.record(point)
                if record.outcome == FAILED:
                    self.write_record(point, record.forgiven())
                    forgotten.append(point)
        return tuple(forgotten)

    def _names(self, part: str) -> set[str]:
        try:
            return set(os.listdir(self.path / part))
        except FileNotFoundError:
            return set()

    def _state(self, point: Point, begun: bool) -> PointState:
        try:
            record = self.record(point)
        except FileFormatError as error:
            return PointState(FAILED, str(error), error="FileFormatError")
        common: dict[str, Any] = {"attempts": record.attempts}
        if is_locked(self.record_path(point)):
            return PointState("running", **common)
        if record.outcome == FAILED:
            return PointState(FAILED, record.reason, error=record.error, **common)
        if record.finished:
            if not begun:
                return PointState("waiting", "its run file is missing, so it is run again", **common)
            word = DONE if record.outcome == Status.CONVERGED.value else record.outcome
            return PointState(word, record.reason, facts=record.facts, **common)
        if record.outcome == STARTED:
            left = "its checkpoint is continued" if begun else "it left no checkpoint"
            return PointState("interrupted", f"the last attempt ended without a word; {left}", **common)
        if begun or record.outcome:
            return PointState("interrupted", record.reason, **common)
        return PointState("waiting", record.reason, **common)


def _make(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the output directory {target}: {error.strerror}.", field="out") from None


def _is_ours(text: str) -> bool:
    """Whether the text of a plan was written by :meth:`SweepDirectory.create`, and not by hand."""
    return "sweep_id = " in text


def _stored_plan(target: Path, text: str) -> SweepPlan:
    try:
        return SweepPlan.from_toml(text, folder=target, source=str(target / PLAN_FILE), unlimited=True)
    except InputError as error:
        raise FileFormatError(f"{target / PLAN_FILE} cannot be used: {error}") from error


def _check_same_sweep(target: Path, text: str, plan: SweepPlan) -> None:
    stored = _stored_plan(target, text)
    if stored.sweep_id == plan.sweep_id:
        return
    changed = differences(stored.identity(), plan.identity()) or ["the numbers drawn for the disorder"]
    raise RunConflictError(
        f"{target} belongs to another sweep: {'; '.join(changed)} (stored -> asked). Choose another directory."
    )
