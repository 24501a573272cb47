"""The directory of a sweep: states from files alone, resumption bit for bit, failures, locks, warm starts, workers."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from toy_methods import Relaxation, known, same_state

from mpo_transport import observables as obs
from mpo_transport.errors import FileFormatError, InputError, RunConflictError
from mpo_transport.methods import TEBD, ExactDiag
from mpo_transport.models import persistent_current
from mpo_transport.result import Status
from mpo_transport.solve import steady_state
from mpo_transport.storage import RunLock, load, previous_path
from mpo_transport.sweep import PointState, SweepDirectory, SweepPlan, open_points, run_point, run_sweep
from mpo_transport.sweep import point as point_module
from mpo_transport.sweep.execution import local
from mpo_transport.sweep.files import is_locked, read_text, write_text
from mpo_transport.sweep.records import PointRecord
from mpo_transport.sweep.status import remaining_seconds, sweep_status

ROOT = Path(__file__).resolve().parents[2]
EXACT = """
[base.model]
name = "persistent_current"
L = 3
delta = 1.5
[axes]
"model.alpha" = [1.0, 2.0, 3.0]
"""
STEPPING = EXACT.replace("[axes]", '[base.method]\nname = "Stepping"\nsteps = 6\n[axes]')
SLOW = """
[base.model]
name = "persistent_current"
L = 10
delta = 1.0
periodic = false
[base.method]
name = "TEBD"
dt = 0.002
[base.output]
checkpoint_every = 0.05
[axes]
"model.alpha" = [2.0]
"""


@dataclass(frozen=True)
class Stepping(Relaxation):
    """The toy method under a name that a specification can use."""

    name: ClassVar[str] = "Stepping"


@pytest.fixture(autouse=True)
def toy_method_is_known():
    with known(Stepping):
        yield


@pytest.fixture
def made(tmp_path):
    """A function that makes the directory of a sweep."""
    return lambda text=EXACT, name="sweep": SweepDirectory.create(tmp_path / name, SweepPlan.from_toml(text))


def words(directory) -> list[str]:
    """The words of the states; asking for all at once and one by one gives the same."""
    states = directory.states()
    assert states == tuple(map(directory.state, directory.plan.points))
    return [s.word for s in states]


def stop_at(step):
    """A progress callback that sends this process a signal after the given step."""
    return lambda now, diagnostics: os.kill(os.getpid(), signal.SIGTERM) if now == step else None


def same_run(a, b) -> bool:
    """Whether two stored runs hold the same numbers, bit for bit."""
    names = [n for n in a.history.names if n != "wall_seconds"]
    return (
        same_state(a.state, b.state)
        and (a.status, a.certificate, a.cost.steps) == (b.status, b.certificate, b.cost.steps)
        and all(a.history[n].tobytes() == b.history[n].tobytes() for n in names)
        and a.observables.keys() == b.observables.keys()
        and all(np.array_equal(m.values, b.observables[n].values) for n, m in a.observables.items())
    )


# -- the directory -----------------------------------------------------------------------------------------------------


def test_a_new_directory_waits_and_is_found_again(made, tmp_path):
    directory = made()
    assert words(directory) == ["waiting"] * 3
    again = SweepDirectory.open(tmp_path / "sweep")
    assert again.plan.sweep_id == directory.plan.sweep_id
    assert again.point(1) == again.point(again.plan.points[1].run_id)
    for wrong in (3, -1, "nothing", True):
        with pytest.raises(InputError, match="no point"):
            again.point(wrong)


def test_the_same_sweep_uses_its_directory_again_and_another_is_refused_with_the_difference(made):
    directory = made()
    made('name = "called otherwise"\n' + EXACT)
    assert SweepDirectory.open(directory.path).plan.name == "called otherwise"
    text = (directory.path / "sweep.toml").read_bytes()
    with pytest.raises(RunConflictError, match=r"axes\.model\.alpha: \[1, 2, 3\] -> \[1, 2\]"):
        made(EXACT.replace(", 3.0]", "]"))
    with pytest.raises(RunConflictError, match=r"base\.model\.delta: 1\.5 -> 1\.25"):
        made(EXACT.replace("1.5", "1.25"))
    assert (directory.path / "sweep.toml").read_bytes() == text


def test_what_is_no_directory_of_a_sweep(made, tmp_path):
    with pytest.raises(FileFormatError, match=r"no file sweep\.toml"):
        SweepDirectory.open(tmp_path)
    with pytest.raises(FileFormatError, match=r"no file sweep\.toml"):
        SweepDirectory.open(tmp_path / "none")
    directory = made()
    text = (directory.path / "sweep.toml").read_text()
    (directory.path / "sweep.toml").write_text(text.replace("delta = 1.5", "delta = 1.6"))
    with pytest.raises(FileFormatError, match="sweep_id"):
        SweepDirectory.open(directory.path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="output directory"):
        SweepDirectory.create(tmp_path / "file" / "sweep", directory.plan)


# -- one point ---------------------------------------------------------------------------------------------------------


def test_a_point_is_the_run_that_its_specification_describes(made):
    directory = made()
    point = directory.plan.points[1]
    outcome = run_point(directory, point, progress=False)
    assert (outcome.word, outcome.ran, outcome.attempts) == ("done", True, 1)
    stored = load(directory.run_path(point))
    model = persistent_current(3, 2.0, 1.5)
    assert np.array_equal(stored.observables["current"].values, steady_state(model).expect(obs.current(model)))
    assert outcome.facts["wall_seconds"] == stored.cost.wall_seconds
    assert outcome.facts["error_estimate"] == stored.certificate.error_estimate
    assert words(directory) == ["waiting", "done", "waiting"]


def test_repeating_a_finished_point_touches_nothing(made):
    directory = made()
    point = directory.plan.points[0]
    run_point(directory, point)
    files = {p: p.stat().st_mtime_ns for p in directory.path.rglob("*") if p.is_file()}
    outcome = run_point(directory, point)
    assert (outcome.word, outcome.ran, outcome.attempts) == ("done", False, 1)
    assert {p: p.stat().st_mtime_ns for p in directory.path.rglob("*") if p.is_file()} == files


@pytest.mark.parametrize("stops", [[1], [2, 3, 5]])
def test_an_interrupted_point_continues_bit_for_bit(made, stops):
    unbroken, broken = made(STEPPING, "unbroken"), made(STEPPING, "broken")
    run_point(unbroken, unbroken.plan.points[0], progress=False)
    point = broken.plan.points[0]
    for stop in stops:
        outcome = run_point(broken, point, progress=stop_at(stop))
        assert outcome.word == "interrupted" and words(broken)[0] == "interrupted"
    outcome = run_point(broken, point, progress=False)
    assert (outcome.word, outcome.attempts) == ("done", len(stops) + 1)
    assert same_run(load(broken.run_path(point)), load(unbroken.run_path(point)))


def test_a_signal_that_comes_before_the_run_listens_is_not_lost(made, monkeypatch):
    directory = made(STEPPING)
    build = point_module.wanted_observables

    def build_and_be_stopped(*arguments):
        os.kill(os.getpid(), signal.SIGUSR1)
        return build(*arguments)

    monkeypatch.setattr(point_module, "wanted_observables", build_and_be_stopped)
    outcome = run_point(directory, directory.plan.points[0], progress=False)
    assert outcome.word == "interrupted"
    assert load(directory.run_path(directory.plan.points[0])).cost.steps == 1


def test_a_run_that_does_not_converge_is_finished_and_says_so(made):
    directory = made(STEPPING.replace("steps = 6", 'steps = 6\nends = "not_converged"'))
    outcome = run_point(directory, directory.plan.points[0], progress=False)
    assert outcome.word == "not_converged" and outcome.reason == Status.NOT_CONVERGED.explanation
    state = directory.state(directory.plan.points[0])
    assert state.finished and not state.open


def test_a_failing_point_is_recorded_with_its_reason_and_tried_again_only_when_asked(made):
    text = EXACT.replace("[1.0, 2.0, 3.0]", "[1.0, 1e200]")
    directory = made(text)
    run_sweep(directory.plan, directory.path, workers=0)
    assert words(directory) == ["done", "failed"]
    state = directory.state(directory.plan.points[1])
    assert "model.alpha" in state.reason and "overflows" in state.reason and state.error == "InputError"
    assert state.attempts == 1
    run_sweep(directory.plan, directory.path, workers=0)
    assert directory.state(directory.plan.points[1]).attempts == 1
    run_sweep(directory.plan, directory.path, workers=0, retry=True)
    assert words(directory) == ["done", "failed"]
    assert directory.state(directory.plan.points[1]).attempts == 2


def test_an_unforeseen_error_fails_the_point_and_not_the_sweep(made, monkeypatch):
    directory = made()
    build = point_module.wanted_observables

    def broken(spec, model):
        if spec.model["alpha"] == 2.0:
            raise ZeroDivisionError("a defect")
        return build(spec, model)

    monkeypatch.setattr(point_module, "wanted_observables", broken)
    run_sweep(directory.plan, directory.path, workers=0)
    assert words(directory) == ["done", "failed", "done"]
    record = directory.record(directory.plan.points[1])
    assert record.reason == "ZeroDivisionError: a defect" and "in broken" in record.traceback
    monkeypatch.undo()
    run_sweep(directory.plan, directory.path, workers=0, retry=True)
    assert words(directory) == ["done"] * 3
    assert directory.state(directory.plan.points[1]).attempts == 2


# -- two workers, dead workers -----------------------------------------------------------------------------------------


def test_a_point_that_another_worker_has_is_busy(made):
    directory = made()
    point = directory.plan.points[0]
    with RunLock(directory.record_path(point)):
        assert words(directory)[0] == "running"
        outcome = run_point(directory, point)
        assert (outcome.word, outcome.ran) == ("busy", False)
    assert words(directory)[0] == "waiting"
    with RunLock(directory.run_path(point)):  # somebody resumes the run file by hand
        assert run_point(directory, point).word == "busy"
    assert words(directory)[0] == "waiting"
    assert run_point(directory, point).word == "done"


def test_looking_whether_a_lock_is_held_does_not_disturb(tmp_path):
    path = tmp_path / "record.json"
    assert not is_locked(path)
    with RunLock(path):
        assert is_locked(path)
        with pytest.raises(RunConflictError):
            RunLock(path).acquire()
    assert not is_locked(path)
    (tmp_path / "record.json.lock").write_text("left by a process that was killed")
    assert not is_locked(path)


def test_attempts_that_end_without_a_word_are_counted_unless_they_get_further(made):
    directory = made(STEPPING)
    point = directory.plan.points[0]
    path = directory.record_path(point)
    PointRecord(point.run_id, attempts=1, outcome="started").write(path)
    state = directory.state(point)
    assert state.word == "interrupted" and "no checkpoint" in state.reason
    PointRecord(point.run_id, attempts=3, deaths=2, outcome="started").write(path)
    outcome = run_point(directory, point)
    assert outcome.word == "failed" and "3 attempts ended without a word" in outcome.reason and not outcome.ran

    directory.retry()
    assert run_point(directory, point, progress=stop_at(2)).word == "interrupted"
    before = directory.record(point)
    PointRecord(point.run_id, attempts=5, deaths=2, steps=0, outcome="started").write(path)  # died, but saved two steps
    assert "checkpoint is continued" in directory.state(point).reason
    outcome = run_point(directory, point, progress=stop_at(3))
    assert outcome.word == "interrupted" and before.outcome == "interrupted"
    assert directory.record(point).deaths == 0


def test_a_run_file_that_vanished_is_made_again_and_a_damaged_one_is_a_failure(made):
    directory = made()
    first, second, _ = directory.plan.points
    run_sweep(directory.plan, directory.path, workers=0)
    directory.run_path(first).unlink()
    assert words(directory) == ["waiting", "done", "done"]
    assert run_point(directory, first).word == "done"

    directory.record_path(second).unlink()
    assert words(directory)[1] == "interrupted"  # the run file says that it is finished, the record is gone
    assert run_point(directory, second).word == "done"

    directory.record_path(second).unlink()
    directory.run_path(second).write_bytes(directory.run_path(second).read_bytes()[:1000])
    outcome = run_point(directory, second)
    assert outcome.word == "failed" and "damaged" in outcome.reason


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "another"}', '{"format": "mpo_transport sweep point"}'])
def test_a_damaged_record_is_a_failure_that_names_the_file(made, content):
    directory = made()
    path = directory.record_path(directory.plan.points[0])
    path.write_text(content)
    assert words(directory) == ["failed", "waiting", "waiting"]
    assert str(path) in directory.state(directory.plan.points[0]).reason
    path.unlink()
    assert words(directory) == ["waiting"] * 3


def test_small_files_are_replaced_in_one_step_and_leave_nothing_behind(tmp_path):
    path = tmp_path / "a.json"
    assert read_text(path) is None and read_text(tmp_path / "none" / "a.json") is None
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            seen.add(read_text(path))

    reader = threading.Thread(target=read)
    write_text(path, "0" * 5000)
    reader.start()
    for k in range(1, 60):
        write_text(path, str(k % 10) * 5000, durable=bool(k % 2))
    stop.set()
    reader.join()
    assert all(len(text) == 5000 and len(set(text)) == 1 for text in seen)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


# -- warm starts -------------------------------------------------------------------------------------------------------

CHAIN = """
[base]
observables = ["current", "profile:Z"]
[base.model]
name = "persistent_current"
L = 3
delta = 1.0
periodic = false
[base.method]
name = "METHOD"
[base.solve]
tol = 1e-4
[axes]
"model.alpha" = [2.0, 2.2]
[warm_start]
along = "model.alpha"
"""


@pytest.mark.parametrize("method", ["TEBD", "ImplicitSweeps"])
def test_warm_starts_agree_with_cold_ones_and_with_the_exact_answer_within_the_claimed_error(made, method):
    warm = made(CHAIN.replace("METHOD", method), "warm")
    cold = made(CHAIN.replace("METHOD", method).partition("[warm_start]")[0], "cold")
    for directory in (warm, cold):
        run_sweep(directory.plan, directory.path, workers=0)
        assert words(directory) == ["done", "done"]
    first, second = warm.plan.points
    one, other = (load(d.run_path(second)) for d in (warm, cold))
    assert second.run_id == cold.plan.points[1].run_id
    assert one.provenance["warm_start"] == {"from": first.run_id, "used": True, "reason": "state of the neighbour"}
    assert "warm_start" not in other.provenance and one.provenance["spec"] == other.provenance["spec"]
    model = persistent_current(3, 2.2, 1.0, periodic=False)
    exact = steady_state(model, ExactDiag())
    for name, observable in (("current", obs.current(model)), ("profile:Z", obs.profile(model, "Z"))):
        truth = exact.expect(observable)
        a, b = one.observables[name], other.observables[name]
        assert np.all(np.abs(a.values - truth) <= a.error) and np.all(np.abs(b.values - truth) <= b.error)
        assert np.all(np.abs(a.values - b.values) <= a.error + b.error)


def test_a_larger_bond_dimension_starts_from_the_smaller_one(made):
    text = CHAIN.replace("METHOD", "TEBD").replace('"model.alpha" = [2.0, 2.2]', '"method.max_bond" = [2, 4]')
    directory = made(text.replace("delta = 1.0", "delta = 1.0\nalpha = 2.0").replace("model.alpha", "method.max_bond"))
    run_sweep(directory.plan, directory.path, workers=0)
    assert words(directory) == ["stalled_by_truncation", "done"]  # a density matrix of three sites needs 4
    assert load(directory.run_path(directory.plan.points[1])).provenance["warm_start"]["used"]


def test_after_a_failed_neighbour_a_point_starts_cold_and_says_so(made):
    directory = made(CHAIN.replace("METHOD", "TEBD").replace("[2.0, 2.2]", "[1e200, 2.2]"))
    run_sweep(directory.plan, directory.path, workers=0)
    assert words(directory) == ["failed", "done"]
    point = directory.plan.points[1]
    assert "Started cold: the neighbour (point 0) is failed" in directory.state(point).reason
    assert not load(directory.run_path(point)).provenance["warm_start"]["used"]
    model = persistent_current(3, 2.2, 1.0, periodic=False)
    alone = steady_state(model, TEBD(), tol=1e-4)
    assert np.array_equal(
        load(directory.run_path(point)).observables["current"].values, alone.expect(obs.current(model))
    )


def test_a_warm_start_that_does_not_converge_is_repeated_cold(made, monkeypatch):
    directory = made(CHAIN.replace("METHOD", "TEBD"))
    first, second = directory.plan.points
    run_point(directory, first, progress=False)
    begun = []
    solve = point_module.solve_spec

    def spoilt(spec, model, method, observables, target, *, start, **keywords):
        begun.append(start is not None)
        if start is not None:  # too few steps to converge
            method = TEBD(max_time=0.1)
        return solve(spec, model, method, observables, target, start=start, **keywords)

    monkeypatch.setattr(point_module, "solve_spec", spoilt)
    outcome = run_point(directory, second, progress=False)
    assert begun == [True, False] and outcome.word == "done"
    assert "Started cold: started warm it ended as" in outcome.reason
    stored = load(directory.run_path(second))
    assert not stored.provenance["warm_start"]["used"] and not previous_path(directory.run_path(second)).exists()


def test_a_method_or_model_for_which_the_start_matters_starts_cold(made):
    text = CHAIN.replace('[base.method]\nname = "METHOD"\n', "")  # small: solved exactly
    directory = made(text)
    run_sweep(directory.plan, directory.path, workers=0)
    assert "ExactDiag does not use a start" in directory.state(directory.plan.points[1]).reason


# -- processes ---------------------------------------------------------------------------------------------------------


def test_workers_compute_what_one_process_computes(made):
    here, there = made(name="here"), made(name="there")
    run_sweep(here.plan, here.path, workers=0)
    seen = []
    outcomes = local.execute(there, there.plan.points, workers=2, on_update=seen.append)
    assert words(there) == ["done"] * 3 and tuple(seen) == outcomes
    assert sorted(o.index for o in outcomes) == [0, 1, 2]
    for point in here.plan.points:
        assert same_run(load(here.run_path(point)), load(there.run_path(point)))
    assert local.execute(there, open_points(there), workers=2) == ()


@pytest.mark.parametrize("workers", [-1, 1.5, True, "2"])
def test_a_wrong_number_of_workers(made, workers):
    with pytest.raises(InputError, match="workers"):
        run_sweep(made().plan, made().path, workers=workers)


def holder_of(path: Path) -> int | None:
    """Process that holds the lock of a path."""
    try:
        return int(json.loads(path.with_name(path.name + ".lock").read_text())["pid"])
    except (OSError, ValueError, KeyError):
        return None


def killer(directory: SweepDirectory, point, times: int) -> threading.Thread:
    """A thread that kills, so many times, the process of an attempt at a point."""

    def work():
        killed, end = set(), time.monotonic() + 60
        while len(killed) < times and time.monotonic() < end:
            pid, record = holder_of(directory.record_path(point)), directory.record(point)
            if record.outcome == "started" and record.attempts not in killed and pid not in (None, os.getpid()):
                os.kill(pid, signal.SIGKILL)
                killed.add(record.attempts)
            time.sleep(0.002)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_the_point_of_a_killed_worker_is_computed_again(made):
    directory = made(SLOW)
    point = directory.plan.points[0]
    thread = killer(directory, point, 1)
    (outcome,) = local.execute(directory, directory.plan.points, workers=1, max_deaths=1, checkpoint_every=1e9)
    thread.join()
    assert outcome.word == "failed" and "1 attempts ended without a word" in outcome.reason
    assert directory.record(point).error == "WorkerDied"


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_point_finished(made):
    directory = made(SLOW.replace("L = 10", "L = 6").replace("dt = 0.002", "dt = 0.02"))
    point = directory.plan.points[0]
    thread = killer(directory, point, 2)
    (outcome,) = local.execute(directory, directory.plan.points, workers=1)
    thread.join()
    assert (outcome.word, outcome.attempts) == ("done", 3)


def test_a_script_without_the_main_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from mpo_transport.sweep import SweepPlan, run_sweep
        run_sweep(SweepPlan.from_toml({EXACT!r}), {str(tmp_path / "out")!r}, workers=1)
        """)
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=100)
    assert run.returncode != 0 and '__name__ == "__main__"' in run.stderr


# -- status ------------------------------------------------------------------------------------------------------------


def test_remaining_time_follows_the_estimates_scaled_by_what_was_measured():
    from mpo_transport.sweep.estimates import PointEstimate

    points = SweepPlan.from_toml(EXACT).points
    estimates = {k: PointEstimate(k, "TEBD", 1.0, s) for k, s in enumerate((1.0, 2.0, 4.0))}
    done = PointState("done", facts={"wall_seconds": 3.0})
    states = [done, PointState("waiting"), PointState("running")]
    assert remaining_seconds(points, states, estimates) == pytest.approx(3 * (2 + 4))
    assert remaining_seconds(points, states, estimates, workers=2) == pytest.approx(9)
    assert remaining_seconds(points, states, {}) == pytest.approx(2 * 3)
    assert remaining_seconds(points, [PointState("waiting")] * 3, estimates) is None
    assert remaining_seconds(points, [done] * 3, estimates) == 0.0


def test_status_counts_every_point_once(made):
    directory = made(EXACT.replace("[1.0, 2.0, 3.0]", "[1.0, 1e200, 3.0]"))
    for point in directory.plan.points[:2]:
        run_point(directory, point)
    found = sweep_status(directory)
    assert found.counts == {"done": 1, "running": 0, "waiting": 1, "failed": 1, "not converged": 0}
    assert not found.complete and [p.index for p, _ in found.pick("failed")] == [1]
    plain = json.loads(json.dumps(found.to_dict()))
    assert [p["state"] for p in plain["points"]] == ["done", "failed", "waiting"]
    assert plain["points"][0]["coordinates"] == {"model.alpha": 1.0}
