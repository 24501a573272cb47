"""Stopped and resumed equals unbroken, bit for bit; finished runs are not repeated; changed ones are refused."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
from toy_methods import Relaxation, known, pumped_chain, same_result, same_state

from mpo_transport import op
from mpo_transport.errors import FileFormatError, InputError, RunConflictError, SaveError
from mpo_transport.methods import METHODS
from mpo_transport.observables import Observable, StateFunction
from mpo_transport.result import Status
from mpo_transport.solve import (
    Checkpoint,
    CheckpointWarning,
    ReproducibilityWarning,
    evolve,
    resume,
    steady_state,
)
from mpo_transport.solve import loop as loop_module
from mpo_transport.storage import (
    FallbackWarning,
    RunFile,
    StoredMethod,
    load,
    load_checkpoint,
    open_run,
    previous_path,
    read_spec,
    save_checkpoint,
)

MODEL = pumped_chain()


@pytest.fixture(autouse=True)
def toy_method_is_known():
    with known(Relaxation):
        yield


def stop_at(step):
    """A progress callback that sends the process a signal after the given step."""
    return lambda now, diagnostics: os.kill(os.getpid(), signal.SIGTERM) if now == step else None


# -- bit for bit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [[1], [5], [11], [2, 3, 9]])
def test_a_resumed_run_equals_the_unbroken_one(tmp_path, stops):
    unbroken = steady_state(MODEL, Relaxation(), seed=4)
    path = tmp_path / "run.h5"
    part = steady_state(MODEL, Relaxation(), seed=4, checkpoint=path, progress=stop_at(stops[0]))
    assert part.status is Status.INTERRUPTED and load(path).status is Status.INTERRUPTED
    assert "not finished" in load(path).certificate.notes[0]
    for stop in stops[1:]:
        part = resume(path, progress=stop_at(stop))
        assert part.status is Status.INTERRUPTED and part.cost.steps == stop
    result = resume(path)
    assert same_result(result, unbroken) and same_result(load(path), unbroken)
    assert len(result.provenance["resumed"]) == len(stops) and result.pending is None
    assert result.cost.wall_seconds > part.cost.wall_seconds


def test_every_checkpoint_of_a_run_leads_to_the_same_end(tmp_path, monkeypatch):
    unbroken = steady_state(MODEL, Relaxation(steps=6))
    write, seen = RunFile.write, []

    def copying(self, run):
        write(self, run)
        seen.append(self.path.read_bytes())

    monkeypatch.setattr(RunFile, "write", copying)
    steady_state(MODEL, Relaxation(steps=6), checkpoint=Checkpoint(tmp_path / "run.h5", every=0))
    monkeypatch.undo()
    assert len(seen) == 6  # five checkpoints and the result
    for k, content in enumerate(seen):
        path = tmp_path / f"copy_{k}.h5"
        path.write_bytes(content)
        assert same_result(resume(path), unbroken)


def test_the_same_call_continues_an_unfinished_run(tmp_path):
    unbroken = steady_state(MODEL, Relaxation())
    path = tmp_path / "run.h5"
    steady_state(MODEL, Relaxation(), checkpoint=path, progress=stop_at(3))
    steps = []
    result = steady_state(MODEL, Relaxation(), checkpoint=path, progress=lambda k, d: steps.append(k))
    assert steps == list(range(4, 13)) and same_result(result, unbroken)


def test_an_interrupted_result_saved_by_hand_can_be_resumed(tmp_path):
    unbroken = steady_state(MODEL, Relaxation())
    part = steady_state(MODEL, Relaxation(), progress=stop_at(3))
    path = part.save(tmp_path / "mine.h5")
    assert load(path).status is Status.INTERRUPTED and same_result(resume(path), unbroken)


def test_evolutions_resume_bit_for_bit(tmp_path):
    times = [0.0, 0.03, 0.05]
    observables = {"n": op("N", 0), "sp": Observable("sp", tuple(op("Sp", j) for j in range(3)), (0, 1, 2), "site")}
    unbroken = evolve(MODEL, "up", times, observables, Relaxation())
    for stop in range(1, unbroken.cost.steps):
        path = tmp_path / f"run_{stop}.h5"
        part = evolve(MODEL, "up", times, observables, Relaxation(), checkpoint=path, progress=stop_at(stop))
        assert part.status is Status.INTERRUPTED and load(path).times.tolist() == part.times.tolist()
        whole = resume(path) if stop % 2 else evolve(MODEL, "up", times, observables, Relaxation(), checkpoint=path)
        assert whole.status is Status.CONVERGED and same_state(whole.state, unbroken.state)
        for name, values in unbroken.values.items():
            assert values.tobytes() == whole.values[name].tobytes()
        assert same_state(load(path).state, unbroken.state)
        again = evolve(
            MODEL, "up", times, observables, Relaxation(), checkpoint=path, progress=lambda *a: pytest.fail("ran")
        )
        assert again.values["n"].tobytes() == unbroken.values["n"].tobytes()


# -- a real process ----------------------------------------------------------------------------------------------------

SCRIPT = textwrap.dedent(
    """
    import sys
    from toy_methods import Relaxation, known, pumped_chain
    from mpo_transport.solve import Checkpoint, steady_state
    with known(Relaxation):
        method, place = Relaxation(steps=200, pause=0.01), Checkpoint(sys.argv[1], 0.1)
        tell = lambda k, d: print(k, flush=True) if k == 3 else None
        result = steady_state(pumped_chain(), method, checkpoint=place, progress=tell)
    print(result.status.value, result.cost.steps)
    """
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_a_signalled_process_leaves_a_file_that_resumes(tmp_path, number):
    path = tmp_path / "run.h5"
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "3\n"
        if number == signal.SIGKILL:  # nothing can be done then: wait for a periodic checkpoint
            while not path.exists():
                assert child.poll() is None
        child.send_signal(number)
        rest, _ = child.communicate(timeout=60)
    finally:
        child.kill()
    if number == signal.SIGKILL:
        assert child.returncode == -signal.SIGKILL
    else:
        assert child.returncode == 0 and rest.startswith("interrupted ")
        assert load(path).cost.steps == int(rest.split()[1])
    steps = load_checkpoint(path).cost.steps
    assert 3 <= steps < 200
    with RunFile(path) as file:  # spare the test the pauses
        run = file.read()
        run.method = Relaxation(steps=200)
        file.write(run)
    assert same_result(resume(path), steady_state(MODEL, Relaxation(steps=200)))


# -- finished, unfinished, changed -------------------------------------------------------------------------------------


def test_a_finished_run_is_not_repeated(tmp_path):
    path = tmp_path / "run.h5"
    first = steady_state(MODEL, Relaxation(), checkpoint=path)
    content = path.read_bytes()

    def never(*args):
        pytest.fail("computed again")

    again = steady_state(MODEL, Relaxation(), checkpoint=path, progress=never, observables={"n": op("N", 0)})
    unobserved = dataclasses.replace(again, observables={})
    assert same_result(first, unobserved) and same_result(resume(path, progress=never), first)
    assert again.observables["n"].values == first.expect(op("N", 0)).real
    assert path.read_bytes() == content and [p.name for p in tmp_path.iterdir()] == ["run.h5"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tol": 1e-5}, r"tol: 1e-06 -> 1e-05"),
        ({"seed": 1}, r"seed: 0 -> 1"),
        ({"method": Relaxation(steps=4)}, r"method.knobs.steps: 3 -> 4"),
        ({"method": Relaxation(steps=4), "seed": 1}, r"steps: 3 -> 4; seed: 0 -> 1"),
        ({"initial": "down"}, r"initial: null -> \"down\""),
        ({"model": pumped_chain(gain=0.8)}, r"model.parameters.gain: 0.7 -> 0.8; model.sha256"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_changed_run_is_refused_with_the_differences(tmp_path, change, sentence, finished):
    path = tmp_path / "run.h5"
    given = {"model": MODEL, "method": Relaxation(steps=3), "checkpoint": path}
    steady_state(**given, progress=False if finished else stop_at(1))
    content = path.read_bytes()
    with pytest.raises(RunConflictError, match=sentence):
        steady_state(**{**given, **change})
    assert path.read_bytes() == content


def test_open_run_tells_what_to_do(tmp_path):
    path, spec = tmp_path / "run.h5", {"model": {"L": 3}, "tol": 1e-6}
    assert open_run(path, spec) == "new" and list(tmp_path.iterdir()) == []
    steady_state(MODEL, Relaxation(), checkpoint=path, spec=spec, progress=stop_at(2))
    assert open_run(path, spec) == "unfinished" and read_spec(path) == spec
    steady_state(MODEL, Relaxation(), checkpoint=path, spec=spec)
    assert open_run(path, spec) == "finished" and load(path).provenance["spec"] == spec
    with pytest.raises(RunConflictError, match=r"model\.L: 3 -> 4"):
        open_run(path, {"model": {"L": 4}, "tol": 1e-6})
    steady_state(MODEL, Relaxation()).save(tmp_path / "plain.h5")
    with pytest.raises(RunConflictError, match="without a specification"):
        open_run(tmp_path / "plain.h5", spec)


def test_a_run_that_did_not_converge_can_go_on_with_more_steps(tmp_path):
    path = tmp_path / "run.h5"
    steady_state(MODEL, Relaxation(steps=4, ends="not_converged"), checkpoint=path, on_failure="return")
    same = resume(path, on_failure="return", progress=lambda *a: pytest.fail("ran"))
    assert same.status is Status.NOT_CONVERGED
    more = resume(path, method=Relaxation(steps=9))
    assert more.converged and same_state(more.state, steady_state(MODEL, Relaxation(steps=9)).state)


def test_resume_refuses_what_it_cannot_continue(tmp_path):
    with pytest.raises(FileFormatError, match="does not exist"):
        resume(tmp_path / "run.h5")
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / "run.h5"
    purity = StateFunction("purity", lambda state: state.purity())
    steady_state(MODEL, Relaxation(), checkpoint=path, progress=stop_at(3), observables=[purity])
    with pytest.raises(InputError, match="'purity', a function of the state") as caught:
        resume(path)
    assert caught.value.field == "observables"
    whole = resume(path, observables=[purity])
    assert whole.observables["purity"].values == whole.state.purity()
    METHODS.pop("toy_relaxation")
    part = steady_state(MODEL, Relaxation(), progress=stop_at(3))
    other = part.save(tmp_path / "other.h5")
    with pytest.raises(InputError, match="not known here") as caught:
        resume(other)
    assert caught.value.field == "method" and isinstance(load(other).method, StoredMethod)


# -- trouble on the way ------------------------------------------------------------------------------------------------


def test_a_damaged_newest_checkpoint_costs_only_the_last_piece(tmp_path):
    unbroken = steady_state(MODEL, Relaxation())
    path = tmp_path / "run.h5"
    steady_state(MODEL, Relaxation(), checkpoint=Checkpoint(path, every=0), progress=stop_at(7))
    assert load_checkpoint(previous_path(path)).cost.steps == 6
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.warns(FallbackWarning, match="Using the checkpoint before it"):
        result = resume(path)
    assert same_result(result, unbroken) and same_result(load(path), unbroken)
    assert load_checkpoint(previous_path(path)).cost.steps == 6  # the damaged file did not take its place


def test_a_full_disk_at_a_checkpoint_does_not_stop_the_run(tmp_path, monkeypatch):
    path, write = tmp_path / "run.h5", RunFile.write

    def full(self, run):
        if 3 <= run.cost.steps < 6:
            raise OSError(28, "No space left on device")
        write(self, run)

    monkeypatch.setattr(RunFile, "write", full)
    with pytest.warns(CheckpointWarning, match=r"No space left on device\); the calculation goes on") as caught:
        result = steady_state(MODEL, Relaxation(steps=8), checkpoint=Checkpoint(path, every=0))
    assert len(caught) == 3 and same_result(load(path), result)


def test_a_full_disk_at_the_end_keeps_the_result_and_the_checkpoint(tmp_path, monkeypatch):
    path, write = tmp_path / "run.h5", RunFile.write

    def full(self, run):
        if run.finished:
            raise OSError(28, "No space left on device")
        write(self, run)

    monkeypatch.setattr(RunFile, "write", full)
    with pytest.raises(SaveError, match="No space left on device") as caught:
        steady_state(MODEL, Relaxation(steps=8), checkpoint=Checkpoint(path, every=0))
    assert caught.value.result.converged
    monkeypatch.undo()
    assert load(path).cost.steps == 7
    assert same_result(resume(path), caught.value.result)
    caught.value.result.save(path)
    assert load(path).converged


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on file sizes")
def test_a_write_that_breaks_inside_the_file_library_is_survived(tmp_path):
    script = textwrap.dedent(
        """
        import resource, sys, warnings
        from toy_methods import Relaxation, known, pumped_chain
        from mpo_transport.solve import Checkpoint, CheckpointWarning, steady_state
        from mpo_transport.errors import SaveError
        def limit(step, diagnostics):
            if step == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (9000, resource.RLIM_INFINITY))
            if step == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with known(Relaxation), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            place = Checkpoint(sys.argv[1], 0)
            result = steady_state(pumped_chain(5), Relaxation(steps=8), checkpoint=place, progress=limit)
        print([w.category.__name__ for w in caught], result.status.value)
        """
    )
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}", "OMP_NUM_THREADS": "1"}
    path = tmp_path / "run.h5"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "['CheckpointWarning', 'CheckpointWarning'] converged", done.stderr
    assert load(path).converged and sorted(p.name for p in tmp_path.iterdir()) == ["run.h5", "run.previous.h5"]


def test_another_environment_is_warned_about(tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    steady_state(MODEL, Relaxation(), checkpoint=path, progress=stop_at(3))
    elsewhere = loop_module.environment(1) | {"numpy": "0.1", "threads": 8}
    monkeypatch.setattr(loop_module, "environment", lambda threads: elsewhere)
    with pytest.warns(ReproducibilityWarning, match=r"\(numpy, threads changed\)"):
        result = resume(path)
    assert result.provenance["changed_on_resume"] == ["numpy", "threads"]


def test_checkpoints_are_written_every_so_many_seconds(tmp_path, monkeypatch):
    class Clock:
        now = 0.0
        perf_counter = process_time = staticmethod(lambda: 0.0)

        def monotonic(self):
            return self.now

    clock, write, written = Clock(), RunFile.write, []

    def writing(self, run):
        written.append(run.cost.steps)
        write(self, run)

    monkeypatch.setattr(loop_module, "time", clock)
    monkeypatch.setattr(RunFile, "write", writing)

    def tick(step, diagnostics):
        clock.now += 4.0

    steady_state(MODEL, Relaxation(steps=9), checkpoint=Checkpoint(tmp_path / "run.h5", every=10.0), progress=tick)
    assert written == [3, 6, 9]


def test_a_checkpoint_can_be_written_and_read_by_hand(tmp_path):
    part = steady_state(MODEL, Relaxation(), progress=stop_at(2))
    path = save_checkpoint(part.pending, tmp_path / "run.h5")
    run = load_checkpoint(path)
    assert (
        not run.finished
        and run.iterate.step == 2
        and run.iterate.scalars["past"] == part.pending.iterate.scalars["past"]
    )
    assert run.iterate.arrays["momentum"].flags.f_contiguous and run.iterate.companions["step/before"][1] == 0.5


@pytest.mark.parametrize("bad", [{"every": -1.0}, {"every": float("nan")}, {"every": "often"}, {"every": True}])
def test_bad_intervals_are_refused(bad):
    with pytest.raises(InputError) as caught:
        Checkpoint("run.h5", **bad)
    assert caught.value.field == "every"


def test_reading_gives_no_warning(tmp_path):
    path = steady_state(MODEL, Relaxation()).save(tmp_path / "run.h5")
    with warnings.catch_warnings(record=True) as caught:
        load(path)
    assert not caught
