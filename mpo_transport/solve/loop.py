"""What every run shares: checkpoints, the clock, the environment, and a method taken step by step."""

from __future__ import annotations

import copy
import math
import os
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np

from .._threads import limited_threads
from ..certificate import judge
from ..errors import InputError, InsufficientMemoryError, MpoTransportWarning, SaveError
from ..methods import Diagnostics, Iterate
from ..result import Certificate, Cost, Evolution, History, Measurement, Result, Status
from ..states import State
from ..storage import RunFile, StoredRun, outcome_of
from .progress import Progress
from .provenance import ReproducibilityWarning, changed_environment, environment, start_time
from .resources import memory_limit, peak_memory, readable_bytes
from .signals import SignalGuard

__all__ = ["Checkpoint", "CheckpointWarning", "Session", "checked_checkpoint", "measure", "verdict"]

_NUMERICAL_FAILURES = (np.linalg.LinAlgError, FloatingPointError, OverflowError)


class CheckpointWarning(MpoTransportWarning):
    """A checkpoint could not be written; the calculation goes on and the checkpoint before it is kept."""


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a run is saved.

    Parameters
    ----------
    path
        File of the run.  During the calculation it holds the newest checkpoint, afterwards the result.
    every
        Least number of seconds between two checkpoints; 0: after every step.

    Raises
    ------
    InputError
        For a bad path (field ``checkpoint``) or interval (field ``every``).
    """

    path: str | os.PathLike[str]
    every: float = 60.0

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, os.PathLike)) or not os.fspath(self.path):
            raise InputError(
                f"Argument `checkpoint` must be a path or a Checkpoint, but is {self.path!r}.", field="checkpoint"
            )
        every = self.every
        if isinstance(every, bool) or not isinstance(every, (int, float)) or math.isnan(every) or every < 0:
            raise InputError(f"Argument `every` must be a number of seconds >= 0, but is {every!r}.", field="every")


def checked_checkpoint(checkpoint: Any) -> Checkpoint | None:
    """Return the checkpoint setting of an argument: None, a path, or a :class:`Checkpoint`."""
    return checkpoint if checkpoint is None or isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)


class Session:
    """A run under way, for the time of a ``with`` block: limits threads, listens to signals, counts the cost, saves.

    Parameters
    ----------
    run
        The run as it stands; ``history``, ``cost`` and ``provenance`` are continued.
    file
        The open file of the run, or None to keep nothing.
    every
        Seconds between checkpoints.
    progress
        See :class:`~mpo_transport.solve.progress.Progress`.
    """

    def __init__(self, run: StoredRun, file: RunFile | None, every: float, progress: Any) -> None:
        self.run = run
        self._file = file
        self._every = every
        self._guard = SignalGuard()
        title = "steady state" if run.task == "steady_state" else "evolution"
        self._progress = Progress(progress, title)
        self._stack = ExitStack()
        self._spent = run.cost
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._saved = time.monotonic()

    def __enter__(self) -> Session:
        threads = self._stack.enter_context(limited_threads())
        self._stack.enter_context(self._guard)
        self._stack.enter_context(self._progress)
        self._note_environment(environment(threads))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if isinstance(error, MemoryError):
            limit, source = memory_limit()
            raise InsufficientMemoryError(
                f"The calculation ran out of memory ({readable_bytes(limit)}: {source}); choose a smaller system or "
                "bond dimension.",
                field="model",
            ) from error

    @property
    def stopped(self) -> str | None:
        """Name of the signal that asks to stop, or None."""
        return self._guard.received

    def step(
        self, take: Callable[[Iterate], tuple[Iterate, Diagnostics]], iterate: Iterate
    ) -> tuple[Iterate, Diagnostics]:
        """Do one piece of work, record and show it; a numerical breakdown becomes the status ``not_finite``."""
        try:
            iterate, diagnostics = take(iterate)
        except _NUMERICAL_FAILURES as error:
            note = f"the last step broke down ({type(error).__name__}: {error}); the state before it is kept"
            diagnostics = Diagnostics(Status.NOT_FINITE, message=note)
        self.run.iterate, self.run.state = iterate, iterate.state
        self.run.cost = self.cost(iterate.step)
        record = {"step": float(iterate.step), "wall_seconds": self.run.cost.wall_seconds}
        for measures in (*diagnostics.earlier, diagnostics.measures):
            self.run.history.append(record | dict(measures))
        self._progress.update(iterate.step, diagnostics)
        return iterate, diagnostics

    def at_once(self) -> AbstractContextManager[None]:
        """Within this block a signal raises :class:`~mpo_transport.solve.signals.Stopped` where it arrives."""
        return self._guard.at_once()

    def snapshot(self) -> tuple[StoredRun, int]:
        """Return the run as it stands and the length of its history, for :meth:`go_back`."""
        return copy.copy(self.run), len(self.run.history)

    def go_back(self, run: StoredRun, records: int) -> None:
        """Put the run back to what it was at a snapshot, but for the time spent."""
        vars(self.run).update(vars(run))
        self.run.history = History({name: values[:records] for name, values in run.history.arrays().items()})
        self.run.cost = self.cost(run.cost.steps)

    def cost(self, steps: int) -> Cost:
        """Return the cost so far, that before a restart included."""
        return Cost(
            wall_seconds=self._spent.wall_seconds + time.perf_counter() - self._wall,
            cpu_seconds=self._spent.cpu_seconds + time.process_time() - self._cpu,
            steps=steps,
            peak_bytes=max(peak_memory(), self._spent.peak_bytes or 0),
        )

    def checkpoint_if_due(self) -> None:
        """Save if the last checkpoint is old enough."""
        if self._file is not None and time.monotonic() - self._saved >= self._every:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Save now; a disk that is full is worth a warning, not the calculation."""
        if self._file is None:
            return
        try:
            self._file.write(self.run)
        except OSError as error:
            warnings.warn(
                f"The checkpoint {self._file.path} could not be written ({error.strerror or error}); the calculation "
                "goes on, and what was saved before is kept.",
                CheckpointWarning,
                stacklevel=4,
            )
        self._saved = time.monotonic()  # after writing: a slow disk must not take all the time

    def certificate(self, work: Any, iterate: Iterate, status: Status) -> Certificate:
        """Return the method's certificate; after a breakdown there may be nothing left that can be checked."""
        try:
            return self.run.method.certify(work, iterate, status)
        except _NUMERICAL_FAILURES as error:
            return Certificate(notes=(f"the state cannot be checked ({type(error).__name__}: {error})",))

    def interrupt(self) -> Result | Evolution:
        """Save at once and return the unfinished outcome; no time is spent on checking its state."""
        self.run.status = Status.INTERRUPTED
        self.checkpoint()
        outcome = outcome_of(self.run)
        note = f"stopped by {self.stopped} after step {self.run.cost.steps}; its state has not been checked"
        outcome.certificate = replace(outcome.certificate, notes=(note,))
        return outcome

    def finish(self) -> Result | Evolution:
        """Save the finished run and return its outcome.

        Raises
        ------
        SaveError
            If the file cannot be written; the error holds the result.
        """
        outcome = outcome_of(self.run)
        if self._file is not None:
            try:
                self._file.write(self.run)
            except OSError as error:
                raise SaveError(
                    f"The calculation is finished, but {self._file.path} could not be written "
                    f"({error.strerror or error}). What was saved before is kept, and the result is in the attribute "
                    "`result` of this error: make room and call its save(path), or resume.",
                    result=outcome,
                ) from error
        return outcome

    def _note_environment(self, now: dict[str, Any]) -> None:
        provenance = self.run.provenance
        if "environment" not in provenance:
            provenance["environment"], provenance["started"] = now, start_time()
            return
        provenance["resumed"] = [*provenance.get("resumed", []), start_time()]
        changed = changed_environment(provenance["environment"], now)
        if changed:
            provenance["changed_on_resume"] = sorted({*provenance.get("changed_on_resume", []), *changed})
            warnings.warn(
                f"The run is continued in another environment ({', '.join(changed)} changed): it stays correct, but "
                "its last digits are not those of an unbroken run.",
                ReproducibilityWarning,
                stacklevel=4,
            )


def verdict(status: Status, certificate: Certificate, tol: float) -> Status:
    """Return the status that the certificate allows; "converged" is never said of an error estimate above ``tol``.

    >>> verdict(Status.CONVERGED, Certificate(error_estimate=2e-6), 1e-6).value
    'not_converged'
    """
    status = judge(status, certificate)
    claimed = certificate.error_estimate
    if status is Status.CONVERGED and claimed is not None and not claimed <= tol:
        return Status.STALLED_BY_TRUNCATION if certificate.saturated else Status.NOT_CONVERGED
    return status


def measure(name: str, observable: Any, state: State, evaluate: Callable[..., Any] | None = None) -> Measurement:
    """Return the value of an observable on a state, with its error estimate if ``evaluate`` can give one."""
    value, error = (observable.evaluate(state), None) if evaluate is None else evaluate(observable, error=True)
    defaults: dict[str, Any] = {"dimension": "", "labels": (), "unit": "", "description": ""}
    about: dict[str, Any] = {key: getattr(observable, key, default) for key, default in defaults.items()}
    return Measurement(name, value, error, **about)
