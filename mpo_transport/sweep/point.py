"""One point of a sweep, taken to its end, to an interruption, or to a failure with its reason."""

from __future__ import annotations

import dataclasses
import math
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .._threads import ENVIRONMENT_VARIABLE
from ..errors import FileFormatError, MpoTransportError, RunConflictError
from ..methods import Method
from ..model import Lindbladian
from ..result import Evolution, Result, Status
from ..solve import choose_method
from ..solve.progress import Progress
from ..solve.signals import SignalGuard, request_stop
from ..spec.solving import solve_spec, wanted_observables
from ..states import State
from ..storage import RunLock, load, load_checkpoint, previous_path
from .directory import PointState, SweepDirectory
from .plan import Point
from .records import FAILED, INTERRUPTED, STARTED
from .warm import start_from, unusable

__all__ = ["MAX_DEATHS", "PointOutcome", "run_point"]

MAX_DEATHS = 3
_LOCK_PAUSES = (0.0, 0.02, 0.1)  # whoever looks whether a lock is held takes it for a moment


@dataclass(frozen=True)
class PointOutcome:
    """What became of one call of :func:`run_point`; plain values that travel between processes.

    Attributes
    ----------
    index, run_id
        The point.
    word
        As in :class:`~mpo_transport.sweep.PointState`, or ``"busy"``: another worker has the point.
    reason, error, attempts, facts
        As in :class:`~mpo_transport.sweep.PointState`.
    ran
        Whether anything was computed; False for a point that was finished before.
    """

    index: int
    run_id: str
    word: str
    reason: str = ""
    error: str = ""
    attempts: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    ran: bool = True

    @classmethod
    def of(cls, point: Point, state: PointState, *, ran: bool) -> PointOutcome:
        """Return the outcome that a state stands for."""
        return cls(
            point.index, point.run_id, state.word, state.reason, state.error, state.attempts, dict(state.facts), ran
        )


def run_point(
    directory: SweepDirectory,
    point: Point,
    *,
    threads: int = 1,
    checkpoint_every: float | None = None,
    progress: Any = None,
    max_deaths: int = MAX_DEATHS,
) -> PointOutcome:
    """Take a point to its end (or its interruption by a signal) and write its run file and its record.

    A finished or failed point is left as it is; an unfinished one continues from its checkpoint. Of two workers that
    get the same point one computes, the other returns ``"busy"``.

    Parameters
    ----------
    directory, point
        The sweep and one of its points.
    threads
        Threads of the linear algebra libraries.
    checkpoint_every
        Seconds between checkpoints; None: what the specification says.
    progress
        As in :func:`~mpo_transport.steady_state`.
    max_deaths
        A point whose attempts ended without a word (killed, out of memory) this many times in a row, without a new
        checkpoint, is given up as failed.

    Returns
    -------
    PointOutcome
        SIGINT, SIGTERM and SIGUSR1 stop it after the current step: saved, with the word ``"interrupted"``.

    Raises
    ------
    KeyboardInterrupt
        After a second SIGINT; the last checkpoint stays.
    """
    state = directory.state(point)
    if state.finished or state.word == FAILED:
        return PointOutcome.of(point, state, ran=False)
    lock = RunLock(directory.record_path(point))
    if not _acquired(lock):
        return PointOutcome(point.index, point.run_id, "busy", "another worker has this point", ran=False)
    try:
        with SignalGuard() as guard, _threads(threads):
            ran = _Attempt(directory, point, checkpoint_every, progress, guard).carry_out(max_deaths)
    finally:
        lock.release()
    if ran is None:
        return PointOutcome(point.index, point.run_id, "busy", "another process writes its run file", ran=False)
    return PointOutcome.of(point, directory.state(point), ran=ran)


class _Attempt:
    """One attempt at a point, made while its lock is held."""

    def __init__(
        self, directory: SweepDirectory, point: Point, every: float | None, progress: Any, guard: SignalGuard
    ) -> None:
        self.directory = directory
        self.point = point
        self.path = directory.run_path(point)
        self._every = every
        self._progress = progress
        self._guard = guard
        self.record = directory.record(point)

    def carry_out(self, max_deaths: int) -> bool | None:
        """Return whether anything was computed; None if another process writes the run file."""
        record = self.record
        if (record.finished and self.path.exists()) or record.outcome == FAILED:
            return False  # finished by another worker before we got the lock
        if self._guard.received:
            return False
        try:
            self._begin()
            if self.record.deaths >= max_deaths:
                self._fail(
                    f"{self.record.deaths} attempts ended without a word (killed, or out of memory) and without a new "
                    "checkpoint",
                    "WorkerDied",
                )
                return False
            outcome = self._solve()
        except RunConflictError as error:
            if "another specification" in str(error):
                self._fail(str(error), type(error).__name__)
                return True
            self._note(outcome=record.outcome, attempts=record.attempts, deaths=record.deaths)
            return None
        except KeyboardInterrupt:
            self._note(outcome=INTERRUPTED, reason="stopped by a second SIGINT; the last checkpoint is kept")
            raise
        except MpoTransportError as error:
            self._fail(_sentence(error), type(error).__name__)
            return True
        except Exception as error:  # a defect, or a full disk: one point less, not the sweep
            self._note(traceback=traceback.format_exc())
            self._fail(f"{type(error).__name__}: {_sentence(error)}", type(error).__name__)
            return True
        self._conclude(outcome)
        return True

    def _begin(self) -> None:
        """Count the attempt; one before it that ended without a word counts as a death unless it left something new."""
        deaths, steps = 0, self.record.steps
        if self.record.outcome == STARTED:
            reached = self._checkpointed_steps()
            deaths, steps = (0, reached) if reached > steps else (self.record.deaths + 1, steps)
        self.record = self.record.changed(
            outcome=STARTED, attempts=self.record.attempts + 1, deaths=deaths, steps=steps, reason="", error=""
        )
        self.directory.write_record(self.point, self.record, durable=False)

    def _checkpointed_steps(self) -> int:
        try:
            return load_checkpoint(self.path).cost.steps
        except FileFormatError:
            return 0

    def _solve(self) -> Result | Evolution:
        spec = self.point.spec
        model, method = spec.build_model(), spec.build_method()
        observables = wanted_observables(spec, model)
        start = self._start(model, method)
        with Progress(self._progress, f"point {self.point.index}") as display:

            def step(number: int, diagnostics: Any) -> None:
                display.update(number, diagnostics)
                self._pass_on_signal()

            def solve(begin: State | None) -> Result | Evolution:
                facts = None if self.record.warm_start is None else {"warm_start": self.record.warm_start}
                return solve_spec(
                    spec,
                    model,
                    method,
                    observables,
                    self.path,
                    progress=step,
                    every=self._every,
                    start=begin,
                    provenance=facts,
                )

            outcome = solve(start)
            if self._warm and outcome.status not in (Status.CONVERGED, Status.INTERRUPTED):
                self._forget_warm_start(f"started warm it ended as {outcome.status.value}, so it was started again")
                outcome = solve(None)
        return outcome

    def _pass_on_signal(self) -> None:
        """A signal that came before the run listened to signals itself is passed on, now that it does."""
        if self._guard.received is not None:
            request_stop(self._guard.received)
            self._guard.received = None

    # -- warm starts --------------------------------------------------------------------------------------------------

    @property
    def _warm(self) -> bool:
        return bool(self.record.warm_start and self.record.warm_start["used"])

    def _start(self, model: Lindbladian, method: Method | None) -> State | None:
        """Return the state to begin with, if the point has a neighbour and begins now."""
        source = self.point.depends_on
        if source is None or self.path.exists() or (self.record.warm_start and not self._warm):
            return None
        if method is None:
            method, _ = choose_method(model, self.point.spec.task, self.point.spec.tol)
        state, reason = self._neighbour_state(source, model, method)
        self.record = self.record.changed(
            warm_start={"from": source, "used": state is not None, "reason": reason or "state of the neighbour"}
        )
        self.directory.write_record(self.point, self.record, durable=False)
        return state

    def _neighbour_state(self, source: str, model: Lindbladian, method: Method) -> tuple[State | None, str]:
        neighbour = self.directory.point(source)
        stands = self.directory.state(neighbour)
        if not stands.finished:
            return None, f"the neighbour (point {neighbour.index}) is {stands.word}"
        try:
            found = load(self.directory.run_path(neighbour))
        except FileFormatError as error:
            return None, str(error)
        reason = unusable(found, model, method)
        return (None, reason) if reason else (start_from(found, model), "")

    def _forget_warm_start(self, reason: str) -> None:
        self.record = self.record.changed(
            warm_start={**(self.record.warm_start or {}), "used": False, "reason": reason}
        )
        self.directory.write_record(self.point, self.record)
        for path in (self.path, previous_path(self.path)):
            path.unlink(missing_ok=True)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _conclude(self, outcome: Result | Evolution) -> None:
        if outcome.status is Status.INTERRUPTED:
            self._note(outcome=INTERRUPTED, reason="stopped by a signal and saved", deaths=0)
            return
        cost = {k: v for k, v in dataclasses.asdict(outcome.cost).items() if v is not None}
        error = outcome.certificate.error_estimate
        error = None if error is None or not math.isfinite(error) else float(error)
        notes = [] if outcome.status is Status.CONVERGED else [outcome.status.explanation]
        if self.record.warm_start and not self._warm:
            notes.append(f"Started cold: {self.record.warm_start['reason']}.")
        self._note(
            outcome=outcome.status.value,
            reason=" ".join(notes),
            deaths=0,
            facts={**cost, "error_estimate": error, "method": outcome.method.name},
        )

    def _fail(self, reason: str, error: str) -> None:
        self._note(outcome=FAILED, reason=reason, error=error)

    def _note(self, **changes: Any) -> None:
        self.record = self.record.changed(**changes)
        self.directory.write_record(self.point, self.record)


def _acquired(lock: RunLock) -> bool:
    for pause in _LOCK_PAUSES:
        time.sleep(pause)
        try:
            lock.acquire()
        except RunConflictError:
            continue
        return True
    return False


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the number of threads that runs of this process use."""
    before = os.environ.get(ENVIRONMENT_VARIABLE)
    os.environ[ENVIRONMENT_VARIABLE] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ[ENVIRONMENT_VARIABLE]
        else:
            os.environ[ENVIRONMENT_VARIABLE] = before


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if len(text) <= 2000 else text[:1997] + "..."
