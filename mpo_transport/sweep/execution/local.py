"""Points on the cores of this machine: processes that live as long as the sweep, one point each at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from ..._threads import thread_count
from ...errors import InputError
from ...solve.resources import memory_limit
from ...solve.signals import SignalGuard
from ...storage import RunLock
from ..directory import SweepDirectory
from ..estimates import estimate_alike
from ..plan import Point
from ..point import MAX_DEATHS, PointOutcome, run_point
from ..records import FAILED
from ..schedule import Schedule

__all__ = ["default_workers", "execute"]

_LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_LOOK = 0.25  # seconds after which a signal to this process is noticed at the latest
_PATIENCE = 30.0  # seconds that an idle worker gets to leave

Update = Callable[[PointOutcome], Any]


def default_workers(threads: int = 1) -> int:
    """Return as many workers as there are cores for this process, divided by the threads of each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


def execute(
    directory: SweepDirectory,
    points: Iterable[Point],
    *,
    workers: int | None = None,
    on_update: Update | None = None,
    threads: int | None = None,
    checkpoint_every: float | None = None,
    max_deaths: int = MAX_DEATHS,
) -> tuple[PointOutcome, ...]:
    """Compute points on this machine and return what became of each, in the order in which they ended.

    Parameters
    ----------
    directory, points
        The sweep, and which of its points.
    workers
        Processes, fresh ones (spawn) that are kept for the whole sweep; None: one per core.  0: in this process, one
        point after the other.
    on_update
        Called with the :class:`~mpo_transport.sweep.PointOutcome` of every point that ends.
    threads
        Linear algebra threads of each worker; None: the setting of the process, normally 1.
    checkpoint_every
        Seconds between checkpoints; None: what the specifications say.
    max_deaths
        A point whose worker dies this many times without getting further is given up as failed.

    Notes
    -----
    SIGINT, SIGTERM and SIGUSR1 stop all workers after their current step; all points under way are saved, and the
    points not begun are left out of the answer.  Workers also save and leave if this process disappears.

    Raises
    ------
    InputError
        For a bad argument, or if no worker can be started (fields ``workers``, ``threads``).
    """
    threads = _checked("threads", thread_count() if threads is None else threads, 1)
    workers = _checked("workers", default_workers(threads) if workers is None else workers, 0)
    todo = list(points)
    options = {"threads": threads, "checkpoint_every": checkpoint_every, "max_deaths": max_deaths}
    if not todo:
        return ()
    if workers == 0:
        return _in_this_process(directory, todo, on_update, options)
    with _Pool(directory, todo, min(workers, len(todo)), on_update, options) as pool:
        return pool.carry_out()


def _checked(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"Argument `{name}` must be an integer >= {least}, but is {value!r}.", field=name)
    return value


def _in_this_process(
    directory: SweepDirectory, points: Sequence[Point], on_update: Update | None, options: dict[str, Any]
) -> tuple[PointOutcome, ...]:
    outcomes: list[PointOutcome] = []
    for point in points:  # neighbours come first: they have smaller indices
        outcome = run_point(directory, point, progress=False, **options)
        outcomes.append(outcome)
        if on_update is not None:
            on_update(outcome)
        if outcome.word == "interrupted":
            break
    return tuple(outcomes)


# -- the worker --------------------------------------------------------------------------------------------------------


def _work(connection: Connection, path: str, options: dict[str, Any]) -> None:
    """Compute the points whose numbers arrive; the main function of a worker process."""
    with SignalGuard() as guard:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # blocked since before the process began
        parent = multiprocessing.parent_process()
        if parent is not None:
            threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
        directory = SweepDirectory.open(path)
        try:
            connection.send(None)  # ready
            while guard.received is None and (index := connection.recv()) is not None:
                outcome = run_point(directory, directory.point(index), progress=False, **options)
                connection.send(outcome)
                if outcome.word == "interrupted":
                    return
        except (EOFError, BrokenPipeError, KeyboardInterrupt):
            return  # nobody listens any more, or a second interrupt


def _leave_with(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


class _Worker:
    """A worker process as its parent sees it."""

    def __init__(self, context: Any, path: str, options: dict[str, Any], number: int) -> None:
        self.connection, theirs = context.Pipe()
        self.point: Point | None = None
        self.attempts = 0
        self.state = "starting"  # then "ready", "leaving"
        self.process = context.Process(target=_work, args=(theirs, path, options), name=f"sweep-{number}")
        with _quiet_start(options["threads"]):
            self.process.start()
        theirs.close()

    def give(self, point: Point, attempts: int) -> None:
        """Send a point."""
        self.point, self.attempts = point, attempts
        self.connection.send(point.index)

    def dismiss(self) -> None:
        """Tell an idle worker to leave."""
        with contextlib.suppress(OSError):  # it has left already
            self.connection.send(None)

    @property
    def ending(self) -> str:
        """How a process ended, for people."""
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}" + (" (out of memory?)" if code == -9 else "")
        return f"ended with exit code {code}"


@contextlib.contextmanager
def _quiet_start(threads: int) -> Iterator[None]:
    """Start a process with its libraries limited, and with signals held back until it can handle them."""
    added = [name for name in _LIBRARIES if name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(threads)))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for name in added:
            del os.environ[name]


# -- the pool ----------------------------------------------------------------------------------------------------------


class _Pool:
    """Gives points to workers, replaces workers that die, passes signals on; for the time of a ``with`` block."""

    def __init__(
        self,
        directory: SweepDirectory,
        points: Sequence[Point],
        workers: int,
        on_update: Update | None,
        options: dict[str, Any],
    ) -> None:
        self._directory = directory
        self._wanted = workers
        self._on_update = on_update
        self._options = options
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._started = self._lost_at_start = 0
        self._unbegun: Counter[int] = Counter()  # deaths before a point was begun, which its record cannot count
        self._outcomes: list[PointOutcome] = []
        self._points = points
        self._stopping = False
        self._guard = SignalGuard()

    def __enter__(self) -> _Pool:
        self._guard.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._close()
        finally:
            self._guard.__exit__(*error)

    def carry_out(self) -> tuple[PointOutcome, ...]:
        """Return the outcomes of all points, or of those that ended before a signal."""
        for _ in range(self._wanted):
            self._start_worker()
        # while the processes start: what takes longest comes first
        estimates = estimate_alike(self._points)
        self._schedule = Schedule(self._points, estimates, memory_limit()[0])
        while self._busy or (len(self._schedule) and not self._stopping):
            if self._guard.received is not None and not self._stopping:
                self._stop()
            self._assign()
            self._listen()
        return tuple(self._outcomes)

    @property
    def _busy(self) -> list[_Worker]:
        return [w for w in self._workers if w.point is not None]

    def _start_worker(self) -> None:
        self._started += 1
        self._workers.append(_Worker(self._context, str(self._directory.path), self._options, self._started))

    def _assign(self) -> None:
        """Give a point to every idle worker, and send away those that nothing is left for."""
        if self._stopping:
            return
        for worker in [w for w in self._workers if w.state == "ready" and w.point is None]:
            point = self._schedule.next()
            if point is None:
                return
            try:
                worker.give(point, self._directory.record(point).attempts)
            except OSError:  # it died while idle: noticed by _listen
                worker.point = None
                self._schedule.again(point)

    def _listen(self) -> None:
        """Wait for a message, the end of a process, or a moment."""
        handles: dict[Any, _Worker] = {}
        for worker in self._workers:
            handles |= {worker.connection: worker, worker.process.sentinel: worker}
        for worker in {id(handles[h]): handles[h] for h in wait(list(handles), timeout=_LOOK)}.values():
            try:
                while worker.connection.poll():
                    self._heard(worker, worker.connection.recv())
            except (EOFError, OSError):
                worker.process.join(_PATIENCE)
            if not worker.process.is_alive():
                self._bury(worker)

    def _heard(self, worker: _Worker, message: PointOutcome | None) -> None:
        if message is None:
            worker.state, self._lost_at_start = "ready", 0
            return
        point, worker.point = worker.point, None
        assert point is not None
        if message.word == "interrupted":
            worker.state = "leaving"
            if not self._stopping:  # somebody stopped this worker alone: its point goes on with another one
                self._unbegun[point.index] += 1
                if self._unbegun[point.index] <= self._options["max_deaths"]:
                    self._schedule.again(point)
                    return
        self._schedule.ended(point)
        self._tell(message)

    def _tell(self, outcome: PointOutcome) -> None:
        self._outcomes.append(outcome)
        if self._on_update is not None:
            self._on_update(outcome)

    def _bury(self, worker: _Worker) -> None:
        """Forget a process that has ended; its point is computed again by another one."""
        self._workers.remove(worker)
        worker.process.join()
        worker.connection.close()
        if worker.state == "starting" and not self._stopping:
            self._lost_at_start += 1
            if self._lost_at_start >= self._wanted:
                raise InputError(
                    f"Argument `workers`: no worker process can be started; the last one {worker.ending}. A script "
                    'that uses several processes must do its work under `if __name__ == "__main__":`; or use '
                    "workers=0.",
                    field="workers",
                )
        point = worker.point
        if point is not None:
            self._died_with(worker, point)
        if not self._stopping and len(self._workers) < min(self._wanted, len(self._schedule) + len(self._busy)):
            self._start_worker()

    def _died_with(self, worker: _Worker, point: Point) -> None:
        if self._directory.record(point).attempts == worker.attempts:
            self._unbegun[point.index] += 1
        if self._stopping:
            self._schedule.ended(point)
            self._tell(PointOutcome.of(point, self._directory.state(point), ran=True))
        elif self._unbegun[point.index] >= self._options["max_deaths"]:
            reason = f"its worker died {self._unbegun[point.index]} times before it began; the last one {worker.ending}"
            give_up(self._directory, point, reason)
            self._schedule.ended(point)
            self._tell(PointOutcome.of(point, self._directory.state(point), ran=False))
        else:
            self._schedule.again(point)

    def _stop(self) -> None:
        """Ask all workers to save and leave."""
        self._stopping = True
        for worker in self._workers:
            if worker.point is None:
                worker.dismiss()
            elif worker.process.pid is not None:
                os.kill(worker.process.pid, signal.SIGTERM)

    def _close(self) -> None:
        """Let idle workers leave; those that do not are stopped like by a signal, and in the end killed."""
        for worker in self._workers:
            worker.dismiss()
            if worker.point is not None and worker.process.is_alive():
                worker.process.terminate()
        limit = time.monotonic() + _PATIENCE
        for worker in self._workers:
            worker.process.join(max(0.0, limit - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()
        self._workers.clear()


def give_up(directory: SweepDirectory, point: Point, reason: str) -> None:
    """Record a point as failed, for whoever found that it cannot be computed."""
    with RunLock(directory.record_path(point)):
        record = directory.record(point)
        if not record.finished:
            directory.write_record(point, record.changed(outcome=FAILED, reason=reason, error="WorkerDied"))
