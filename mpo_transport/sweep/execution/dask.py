"""Points on the workers of a Dask cluster, one that runs already or one of its own on this machine.

Dask hands out the points and notices workers that are lost.  What is done and what is not is read from the files, so
nothing depends on its memory.  All workers must see the directory of the sweep under the same path.
"""

from __future__ import annotations

import logging
import os
import platform
import queue
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker, LocalCluster
from distributed.comm.addressing import parse_address, parse_host_port

from ..._threads import thread_count
from ..._version import __version__
from ...errors import ClusterError, InputError, MpoTransportWarning
from ...solve.signals import SignalGuard, request_stop
from ..directory import SweepDirectory
from ..estimates import estimate_points
from ..plan import Point
from ..point import MAX_DEATHS, PointOutcome, run_point
from ..schedule import Schedule
from .local import default_workers, give_up

__all__ = ["execute"]

_CONNECT = 10.0  # seconds to reach a scheduler
_WORKERS = 60.0  # seconds until it has a worker
_PATIENCE = 3.0  # seconds until a worker that was killed has let go of its point, on a busy machine
_PAUSE = 0.2  # between looks whether it has
_LOOK = 0.25  # seconds after which a signal to this process is noticed at the latest

Update = Callable[[PointOutcome], Any]


def execute(
    directory: SweepDirectory,
    points: Iterable[Point],
    *,
    address: str,
    workers: int | None = None,
    on_update: Update | None = None,
    threads: int | None = None,
    checkpoint_every: float | None = None,
    max_deaths: int = MAX_DEATHS,
) -> tuple[PointOutcome, ...]:
    """Compute points on a Dask cluster and return what became of each, in the order in which they ended.

    Parameters
    ----------
    directory, points
        The sweep, and which of its points.
    address
        Of the scheduler, for example ``"tcp://node1:8786"``; ``"local"``: a cluster on this machine, for the time of
        the call.
    workers
        Processes of a local cluster; None: one per core.
    on_update
        Called with the :class:`~mpo_transport.sweep.PointOutcome` of every point that ends.
    threads
        Linear algebra threads of each worker; None: the setting of this process, normally 1.
    checkpoint_every
        Seconds between checkpoints; None: what the specifications say.
    max_deaths
        A point whose worker dies this many times without getting further is given up as failed.

    Notes
    -----
    A point whose worker is lost continues from its last checkpoint on another one.  SIGINT, SIGTERM and SIGUSR1 stop
    all workers after their current step; the points under way are saved.  Points that another process computes end as
    ``"busy"``; those that wait for them are left out of the answer.

    Raises
    ------
    InputError
        For a bad address or number (fields ``dask``, ``workers``).
    ClusterError
        If the scheduler cannot be reached or is lost, has no workers, or its workers do not see the directory or have
        another version of the package.  Whatever was computed is kept.
    """
    if not isinstance(address, str) or not address:
        raise InputError(f'Argument `dask` must be an address or "local", but is {address!r}.', field="dask")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise InputError(f"Argument `workers` must be an integer >= 1, but is {workers!r}.", field="workers")
    threads = thread_count() if threads is None else threads
    todo = list(points)
    if not todo:
        return ()
    options = {"threads": threads, "checkpoint_every": checkpoint_every, "max_deaths": max_deaths}
    with _quiet(), _client(address, workers or default_workers(threads)) as client:
        return _Run(client, directory, todo, on_update, options).carry_out()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log of the client to itself: what matters is raised, and its tracebacks are not ours."""
    names = ("distributed", *(f"distributed.{part}" for part in ("client", "core", "comm", "scheduler", "nanny")))
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


@contextmanager
def _client(address: str, workers: int) -> Iterator[Client]:
    """Connect to a cluster that has a worker."""
    if address == "local":
        # any free port for the dashboard; no limit of memory: points are checked against it before they begin
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=":0", memory_limit=None, silence_logs=50
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        parse_host_port(parse_address(address)[1])
    except ValueError as error:
        raise InputError(
            f"Argument `dask`: {address!r} is no address of a scheduler such as tcp://node1:8786 ({error}).",
            field="dask",
        ) from None
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ClusterError(
            f"The Dask scheduler {address} cannot be reached ({_reason(error)}). Start one with `dask scheduler` and "
            "workers with `dask worker ADDRESS --nthreads 1`; the sweep stays as it is."
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS)
        except TimeoutError:
            raise ClusterError(
                f"The Dask scheduler {address} has no workers; start some with `dask worker {address} --nthreads 1`."
            ) from None
        _check_threads(client)
        yield client


def _check_threads(client: Client) -> None:
    several = [w["name"] for w in client.scheduler_info(n_workers=-1)["workers"].values() if w["nthreads"] > 1]
    if several:
        warnings.warn(
            f"{len(several)} Dask workers have more than one thread (such as {several[0]}). Each computes one point at "
            "a time all the same; start them with --nthreads 1, and more of them.",
            MpoTransportWarning,
            stacklevel=4,
        )


# -- on the worker -----------------------------------------------------------------------------------------------------

_turn = threading.Lock()  # limits of threads belong to the process, so it computes one point at a time
_running: list[str] = []
_stopped: set[str] = set()


def _compute(token: str, path: str, sweep_id: str, version: str, index: int, options: dict[str, Any]) -> PointOutcome:
    """Compute one point; what a worker is asked to do."""
    here = platform.node()
    if version != __version__:
        raise ClusterError(
            f"The worker on {here} has version {__version__} of mpo_transport, but the sweep is run by {version}; "
            "install the same version everywhere."
        )
    if not Path(path).is_dir():
        raise ClusterError(
            f"The worker on {here} does not see the directory {path}. Workers need the file system of the sweep under "
            "the same path; put the sweep where all of them can write."
        )
    directory = SweepDirectory.open(path)
    if directory.plan.sweep_id != sweep_id:
        raise ClusterError(f"The worker on {here} finds another sweep in {path}: this is not the same file system.")
    point = directory.point(index)
    with _turn:
        if token in _stopped:
            return PointOutcome.of(point, directory.state(point), ran=False)
        _running.append(token)
        try:
            return _patiently(lambda: run_point(directory, point, progress=False, **options))
        finally:
            _running.clear()


def _patiently(attempt: Callable[[], PointOutcome]) -> PointOutcome:
    """Try again for a while where another process has the point: a worker that was killed holds it until it is gone."""
    limit = time.monotonic() + _PATIENCE
    while True:
        outcome = attempt()
        if outcome.word != "busy" or time.monotonic() >= limit:
            return outcome
        time.sleep(_PAUSE)


def _stop(token: str) -> None:
    """End the points of one sweep on this worker after their current step."""
    _stopped.add(token)
    if token in _running:
        request_stop("SIGTERM")


# -- on the side of the sweep ------------------------------------------------------------------------------------------


class _Run:
    """One sweep under way on a cluster."""

    def __init__(
        self,
        client: Client,
        directory: SweepDirectory,
        points: Sequence[Point],
        on_update: Update | None,
        options: dict[str, Any],
    ) -> None:
        self._client = client
        self._directory = directory
        self._on_update = on_update
        self._options = options
        self._schedule = Schedule(points, estimate_points(points))
        self._path = os.path.abspath(directory.path)
        self._token = f"{directory.plan.sweep_id}-{os.urandom(4).hex()}"
        self._given = 0
        self._lost: Counter[int] = Counter()
        self._under_way: dict[Future, Point] = {}
        self._ended: queue.Queue[Future] = queue.Queue()
        self._outcomes: list[PointOutcome] = []
        self._stopping = False

    def carry_out(self) -> tuple[PointOutcome, ...]:
        """Hand out points and collect them until none is left or a signal has come."""
        with SignalGuard() as guard:
            self._hand_out()
            while self._under_way:
                if guard.received is not None and not self._stopping:
                    self._stopping = True
                    self._client.run(_stop, self._token)
                try:
                    future = self._ended.get(timeout=_LOOK)
                except queue.Empty:
                    continue
                self._collect(future)
                self._hand_out()
        return tuple(self._outcomes)

    def _hand_out(self) -> None:
        """Submit all points that wait for no other; the cluster keeps them until a worker is free."""
        while not self._stopping and (point := self._schedule.next()) is not None:
            future = self._client.submit(
                _compute,
                self._token,
                self._path,
                self._directory.plan.sweep_id,
                __version__,
                point.index,
                self._options,
                key=f"point-{point.index}-{self._token}-{self._given}",
                priority=-self._given,
                pure=False,
            )
            self._given += 1
            self._under_way[future] = point
            future.add_done_callback(self._ended.put)

    def _collect(self, future: Future) -> None:
        point = self._under_way.pop(future)
        if future.status == "finished":
            outcome = future.result()
        elif future.status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                outcome = self._after_losses(point, error)
            elif isinstance(error, ClusterError):
                raise error
            else:
                raise ClusterError(
                    f"The Dask workers cannot compute points ({type(error).__name__}: {error}). They need the same "
                    "environment as this process; what was computed is kept."
                ) from None
        else:
            raise ClusterError(
                "The connection to the Dask scheduler was lost. What was computed is kept, and workers may still "
                "finish their points; repeat the command to go on."
            )
        if outcome is not None:
            self._record(point, outcome)

    def _record(self, point: Point, outcome: PointOutcome) -> None:
        if (
            outcome.word == "interrupted"
            and not self._stopping
            and self._lost[point.index] < self._options["max_deaths"]
        ):
            self._lost[point.index] += 1  # somebody stopped this worker alone: its point goes on with another one
            self._schedule.again(point)
            return
        if outcome.word == "waiting":
            return
        if outcome.word != "busy":
            self._schedule.ended(point)
        self._outcomes.append(outcome)
        if self._on_update is not None:
            self._on_update(outcome)

    def _after_losses(self, point: Point, error: KilledWorker) -> PointOutcome | None:
        """What to do with a point whose workers died so often that Dask gave it up: the files know."""
        state = self._directory.state(point)
        if not state.finished and state.word != "failed":
            self._lost[point.index] += 1
            if self._lost[point.index] < self._options["max_deaths"]:
                self._schedule.again(point)
                return None
            give_up(self._directory, point, f"its workers died again and again ({_reason(error)})")
            state = self._directory.state(point)
        return PointOutcome.of(point, state, ran=True)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
