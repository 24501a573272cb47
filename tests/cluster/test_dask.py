"""Sweeps on Dask: a killed worker costs a checkpoint interval, and results are those of this machine, bit for bit."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cluster.comparing import same_result

import mpo_transport as mt
from mpo_transport.cli import Exit, main
from mpo_transport.errors import ClusterError, InputError, MpoTransportWarning
from mpo_transport.solve.signals import SignalGuard
from mpo_transport.storage.lock import RunLock
from mpo_transport.sweep import SweepDirectory, SweepPlan
from mpo_transport.sweep.execution import local

distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install mpo_transport[cluster]")
from mpo_transport.sweep.execution import dask  # noqa: E402

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]

CHAINS = """
[base]
observables = ["current", "profile:Z"]
[base.model]
name = "boundary_driven_xxz"
L = 5
[base.method]
name = "TEBD"
[base.solve]
tol = 1e-4
[base.output]
checkpoint_every = 0.1
[axes]
"model.eps" = [0.2, 0.4]
"model.Delta" = [0.9, 1.1]
[warm_start]
along = "model.Delta"
"""
QUICK = """
[base.model]
name = "persistent_current"
L = 3
delta = 1.5
[axes]
"model.alpha" = [1.0, 2.0]
"""


def sweep(path, text) -> SweepDirectory:
    return SweepDirectory.create(path, SweepPlan.from_toml(text))


class Processes:
    """A scheduler and its workers, as processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[subprocess.Popen] = []
        self.file = folder / "scheduler.json"
        self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.file))

    def connect(self) -> None:
        """Wait until the scheduler has written its address."""
        self.wait_for(lambda: self.file.exists() and self.file.read_text().rstrip().endswith("}"))
        self.address = json.loads(self.file.read_text())["address"]

    def start(self, *arguments: str) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with (self.folder / "log.txt").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments, "--dashboard-address", ":0"],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
            )
        self.all.append(process)
        return process

    def start_worker(self) -> subprocess.Popen:
        return self.start(
            "worker", self.address, "--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder)
        )

    def wait_for(self, condition, seconds: float = 120.0) -> None:
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit and self.all[0].poll() is None, (self.folder / "log.txt").read_text()
            time.sleep(0.005)


@pytest.fixture
def processes(tmp_path):
    started = Processes(tmp_path)
    try:
        started.connect()
        yield started
    finally:
        for process in started.all:
            process.kill()
            process.wait()


def kill_first_worker_with_a_checkpoint(directory: SweepDirectory, killed: list) -> None:
    """Wait until a point has a checkpoint and is computed; kill the process that computes it."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit and not killed:
        for file in (directory.path / "runs").glob("*.h5.lock"):
            try:
                holder = json.loads(file.read_text())["pid"]
            except (OSError, ValueError, KeyError):
                continue
            if file.with_suffix("").exists() and holder != os.getpid():
                os.kill(holder, signal.SIGKILL)
                killed.append((holder, file.name.split(".")[0]))
                return
        time.sleep(0.002)


def test_a_point_that_a_killed_worker_still_holds_is_tried_again(tmp_path):
    """Until the system has cleared a killed process away its locks are held, and Dask is quicker than that."""
    directory = sweep(tmp_path / "sweep", QUICK)
    point = directory.plan.points[0]
    lock = RunLock(directory.run_path(point))
    lock.acquire()
    timer = threading.Timer(0.5, lock.release)
    timer.start()
    sweep_id = directory.plan.sweep_id
    outcome = dask._compute("token", str(directory.path), sweep_id, mt.__version__, point.index, {})
    timer.join()
    assert (outcome.word, outcome.ran) == ("done", True)
    with RunLock(directory.run_path(directory.plan.points[1])), pytest.MonkeyPatch.context() as patch:
        patch.setattr(dask, "_PATIENCE", 0.3)
        assert dask._compute("token", str(directory.path), sweep_id, mt.__version__, 1, {}).word == "busy"


def test_a_killed_worker_is_survived_and_changes_nothing(processes, tmp_path):
    workers = [processes.start_worker(), processes.start_worker()]
    directory, killed, told = sweep(tmp_path / "dask", CHAINS), [], []
    killer = threading.Thread(target=kill_first_worker_with_a_checkpoint, args=(directory, killed))
    killer.start()
    outcomes = dask.execute(directory, directory.plan.points, address=processes.address, on_update=told.append)
    killer.join()

    ((pid, run_id),) = killed
    assert [w.pid for w in workers if w.poll() == -signal.SIGKILL] == [pid]
    assert told == list(outcomes) and sorted(o.index for o in outcomes) == [0, 1, 2, 3]
    assert all(state.finished for state in directory.states()), [*directory.states(), *outcomes]
    assert directory.record(directory.point(run_id)).attempts == 2
    assert all(directory.record(p).warm_start["used"] for p in directory.plan.points if p.depends_on)

    alone = sweep(tmp_path / "alone", CHAINS)
    local.execute(alone, alone.plan.points, workers=0, checkpoint_every=1e9)
    for point in directory.plan.points:
        assert same_result(directory.run_path(point), alone.run_path(point)), point.label


@pytest.mark.slow
def test_a_signal_stops_the_workers_and_the_sweep_goes_on_later(processes, tmp_path):
    processes.start_worker()
    # each point takes seconds: the signal needs a quarter of one
    directory = sweep(tmp_path / "dask", CHAINS.replace("1e-4", "1e-6"))

    def stop_soon():
        processes.wait_for(lambda: any((directory.path / "runs").glob("*.h5")))
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop_soon)
    stopper.start()
    outcomes = dask.execute(directory, directory.plan.points, address=processes.address)
    stopper.join()
    assert [o.word for o in outcomes] == ["interrupted"]
    assert [s.word for s in directory.states()].count("waiting") == 3
    rest = dask.execute(directory, directory.plan.points, address=processes.address)
    assert sorted(o.index for o in rest) == [0, 1, 2, 3] and all(s.finished for s in directory.states())


def test_a_cluster_of_its_own(tmp_path):
    directory = sweep(tmp_path / "s", QUICK)
    told = []
    outcomes = dask.execute(directory, directory.plan.points, address="local", workers=1, on_update=told.append)
    assert [o.word for o in outcomes] == ["done", "done"] and told == list(outcomes)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", protocol="tcp://"
    ) as cluster:
        again = dask.execute(directory, directory.plan.points, address=cluster.scheduler_address)
    assert [(o.word, o.ran) for o in again] == [("done", False)] * 2
    assert dask.execute(directory, (), address="tcp://nowhere:1") == ()


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_scheduler_that_cannot_be_reached(tmp_path, monkeypatch):
    monkeypatch.setattr(dask, "_CONNECT", 0.3)
    directory = sweep(tmp_path / "s", QUICK)
    with pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:1 cannot be reached .*`dask worker"):
        dask.execute(directory, directory.plan.points, address="tcp://127.0.0.1:1")
    assert [s.word for s in directory.states()] == ["waiting", "waiting"]
    local.execute(directory, directory.plan.points, workers=0)
    assert [s.word for s in directory.states()] == ["done", "done"]


def test_the_command_says_that_the_scheduler_is_away(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dask, "_CONNECT", 0.3)
    (tmp_path / "s.toml").write_text(QUICK)
    code = main(["sweep", str(tmp_path / "s.toml"), "--out", str(tmp_path / "s"), "--dask", "tcp://127.0.0.1:1"])
    assert code == Exit.NO_CLUSTER and "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["nonsense", "", None, 8786])
def test_a_bad_address(tmp_path, address):
    directory = sweep(tmp_path / "s", QUICK)
    with pytest.raises(InputError) as error:
        dask.execute(directory, directory.plan.points, address=address)
    assert error.value.field == "dask"


@pytest.mark.parametrize("workers", [0, True, 1.5])
def test_a_bad_number_of_workers(tmp_path, workers):
    directory = sweep(tmp_path / "s", QUICK)
    with pytest.raises(InputError) as error:
        dask.execute(directory, directory.plan.points, address="local", workers=workers)
    assert error.value.field == "workers"


def test_a_cluster_without_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(dask, "_WORKERS", 0.2)
    directory = sweep(tmp_path / "s", QUICK)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0", protocol="tcp://") as cluster,
        pytest.raises(ClusterError, match="has no workers; start some with `dask worker tcp"),
    ):
        dask.execute(directory, directory.plan.points, address=cluster.scheduler_address)


def test_workers_with_several_threads_are_remarked(tmp_path):
    directory = sweep(tmp_path / "s", QUICK)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0", protocol="tcp://"
        ) as cluster,
        pytest.warns(MpoTransportWarning, match="--nthreads 1"),
    ):
        outcomes = dask.execute(directory, directory.plan.points, address=cluster.scheduler_address)
    assert sorted(o.word for o in outcomes) == ["done", "done"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": "0.0"}, r"the sweep is run by 0\.0; install the same version"),
        ({"path": "/nowhere/at/all"}, "does not see the directory /nowhere/at/all"),
        ({"sweep_id": "0" * 16}, "finds another sweep"),
    ],
)
def test_a_worker_that_does_not_fit_says_why(tmp_path, change, sentence):
    directory = sweep(tmp_path / "s", QUICK)
    right = {"path": str(directory.path), "sweep_id": directory.plan.sweep_id, "version": dask.__version__}
    with pytest.raises(ClusterError, match=re.compile(sentence)):
        dask._compute("t", **{**right, **change}, index=0, options={})
    assert directory.state(directory.point(0)).word == "waiting"


def test_a_worker_that_was_told_to_stop_begins_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(dask, "_stopped", {"t"})
    directory = sweep(tmp_path / "s", QUICK)
    outcome = dask._compute(
        "t", str(directory.path), directory.plan.sweep_id, dask.__version__, 0, {"checkpoint_every": None}
    )
    assert (outcome.word, outcome.ran) == ("waiting", False)


def test_only_the_sweep_that_is_stopped_is_stopped(monkeypatch):
    monkeypatch.setattr(dask, "_stopped", set())
    monkeypatch.setattr(dask, "_running", ["mine"])
    with SignalGuard() as guard:
        dask._stop("other")
        assert guard.received is None
        dask._stop("mine")
        assert guard.received == "SIGTERM"
