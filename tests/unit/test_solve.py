"""The loop: arguments, choice of the method, stopping, signals, failures, evolution; what it does, not how well."""

import math
import os
import signal
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm
from toy_methods import Relaxation, known, pumped_chain, same_state

from mpo_transport import op
from mpo_transport._threads import ENVIRONMENT_VARIABLE, limited_threads, thread_count
from mpo_transport.errors import (
    ConvergenceError,
    DegenerateSteadyStateError,
    InputError,
    InsufficientMemoryError,
    MpoTransportWarning,
    NotSupportedError,
)
from mpo_transport.methods import METHODS, Diagnostics, Support
from mpo_transport.observables import Observable, StateFunction
from mpo_transport.result import Certificate, Status
from mpo_transport.solve import choice as choice_module
from mpo_transport.solve import choose_method, evolve, steady_state
from mpo_transport.solve import loop as loop_module
from mpo_transport.solve import progress as progress_module
from mpo_transport.solve.loop import verdict
from mpo_transport.solve.provenance import changed_environment, environment
from mpo_transport.solve.resources import memory_limit, memory_limits, readable_bytes
from mpo_transport.solve.signals import SignalGuard
from mpo_transport.states import DenseState
from mpo_transport.superoperator import dense_lindbladian

MODEL = pumped_chain()


# -- steady states -----------------------------------------------------------------------------------------------------


def test_the_loop_takes_every_step_and_records_it():
    seen = []
    result = steady_state(MODEL, Relaxation(steps=7), seed=3, progress=lambda step, d: seen.append((step, d.message)))
    assert [step for step, _ in seen] == list(range(1, 8)) and "change" in seen[0][1]
    assert result.status is Status.CONVERGED and result.converged
    assert result.history["step"].tolist() == list(range(1, 8))
    assert np.all(np.diff(result.history["time"]) > 0) and np.all(result.history["change"] > 0)
    assert np.all(np.diff(result.history["wall_seconds"]) >= 0)
    assert result.cost.steps == 7 and result.cost.cpu_seconds > 0 and result.cost.peak_bytes > 1e6
    assert result.companions.keys() == {"step/before"} and result.pending is None
    assert result.certificate.residual == 0.25 and result.certificate.notes == ("a toy",)
    assert result.certificate.trace == pytest.approx(1) and result.certificate.smallest_eigenvalue is not None
    facts = result.provenance["environment"]
    assert {"python", "numpy", "scipy", "h5py", "mpo_transport", "blas", "platform"} <= facts.keys()
    assert facts["threads"] == 1 and result.seed == 3 and result.provenance["started"].endswith("+00:00")


def test_seeds_fix_the_run_and_none_means_zero():
    a, b, c = (steady_state(MODEL, Relaxation(), seed=s) for s in (None, 0, 1))
    assert same_state(a.state, b.state) and not same_state(a.state, c.state) and a.seed == 0


def test_initial_states_are_passed_on():
    start = DenseState.product(MODEL.lattice, "down")
    a = steady_state(MODEL, Relaxation(), initial=start)
    assert same_state(a.state, steady_state(MODEL, Relaxation(), initial="down").state)
    assert not same_state(a.state, steady_state(MODEL, Relaxation()).state)


@pytest.mark.parametrize("ends", ["not_converged", "stalled_by_truncation", "not_finite"])
def test_failures_raise_with_the_result_or_return_it(ends):
    method = Relaxation(ends=ends)
    with pytest.raises(ConvergenceError, match=r"tol 1e-06, error estimate 1e-07, residual 0\.25") as caught:
        steady_state(MODEL, method)
    assert Status(ends).explanation in str(caught.value)
    assert caught.value.result.status.value == ends
    result = steady_state(MODEL, method, on_failure="return")
    assert result.status.value == ends and not result.converged


def test_a_degenerate_steady_state_raises_its_own_error():
    with pytest.raises(DegenerateSteadyStateError, match="2 linearly independent") as caught:
        steady_state(MODEL, Relaxation(ends="not_unique"))
    assert caught.value.dimension == 2 and len(caught.value.result.manifold) == 1


def test_an_unphysical_state_is_not_called_converged():
    indefinite = np.diag([1.5, -0.5] + [0.0] * 6)
    result = steady_state(
        MODEL, Relaxation(steps=1, dt=1e-9), initial=DenseState(MODEL.lattice, indefinite), on_failure="return"
    )
    assert result.status is Status.UNPHYSICAL


def test_converged_is_never_said_of_an_error_above_the_tolerance():
    method = Relaxation(error=1e-3)
    assert steady_state(MODEL, method, tol=1e-3).converged
    assert steady_state(MODEL, method, tol=9e-4, on_failure="return").status is Status.NOT_CONVERGED
    assert steady_state(MODEL, Relaxation(error=math.nan), on_failure="return").status is Status.NOT_CONVERGED
    out = evolve(MODEL, "up", [0.1], (), method, tol=9e-4, on_failure="return")
    assert out.status is Status.NOT_CONVERGED
    with pytest.raises(ConvergenceError, match=r"error estimate 0\.001, tol 0\.0009"):
        evolve(MODEL, "up", [0.1], (), method, tol=9e-4)
    assert verdict(Status.CONVERGED, Certificate(error_estimate=1.0, saturated=True), 1e-6) is (
        Status.STALLED_BY_TRUNCATION
    )


def test_a_numerical_breakdown_keeps_the_last_good_state(monkeypatch):
    advance = Relaxation.advance

    def breaking(self, work, iterate):
        if iterate.step == 3:
            raise np.linalg.LinAlgError("SVD did not converge")
        return advance(self, work, iterate)

    monkeypatch.setattr(Relaxation, "advance", breaking)
    with pytest.raises(ConvergenceError, match="SVD did not converge") as caught:
        steady_state(MODEL, Relaxation())
    result = caught.value.result
    assert result.status is Status.NOT_FINITE and result.cost.steps == 3
    assert same_state(result.state, steady_state(MODEL, Relaxation(steps=3)).state)


def test_running_out_of_memory_is_explained(monkeypatch):
    def greedy(self, work, iterate):
        raise MemoryError

    monkeypatch.setattr(Relaxation, "advance", greedy)
    with pytest.raises(InsufficientMemoryError, match="ran out of memory"):
        steady_state(MODEL, Relaxation())


def test_observables_are_measured_with_errors():
    profile = Observable("N", tuple(op("N", j) for j in range(3)), (0, 1, 2), "site", "1", "occupation")
    result = steady_state(MODEL, Relaxation(), observables=[profile])
    measured = result.observables["N"]
    assert np.array_equal(measured.values, result.expect(profile)) and measured.labels == (0, 1, 2)
    assert np.array_equal(measured.error, result.expect(profile, error=True)[1]) and np.all(measured.error > 0)
    named = steady_state(MODEL, Relaxation(), observables={"left": op("N", 0), "amplitude": op("Sp", 0)})
    assert named.observables["left"].values == result.expect(profile)[0]
    assert named.observables["amplitude"].values.dtype.kind == "c"


def test_an_observable_the_state_cannot_give_costs_a_warning_not_the_run():
    def refuse(state):
        raise NotSupportedError("too large", field="x")

    with pytest.warns(MpoTransportWarning, match="'purity' is left out: too large"):
        result = steady_state(MODEL, Relaxation(), observables=[StateFunction("purity", refuse)])
    assert result.converged and not result.observables


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("model", {"model": "ring"}),
        ("method", {"method": "TEBD"}),
        ("method", {"method": Relaxation}),
        ("tol", {"tol": 0.0}),
        ("tol", {"tol": -1e-6}),
        ("tol", {"tol": math.nan}),
        ("tol", {"tol": math.inf}),
        ("tol", {"tol": "tight"}),
        ("tol", {"tol": True}),
        ("seed", {"seed": 1.0}),
        ("seed", {"seed": "1"}),
        ("seed", {"seed": True}),
        ("seed", {"seed": -1}),
        ("on_failure", {"on_failure": "ignore"}),
        ("checkpoint", {"checkpoint": 3}),
        ("checkpoint", {"checkpoint": ""}),
        ("observables", {"observables": "N"}),
        ("observables", {"observables": [op("N", 0)]}),
        ("observables", {"observables": {"a": op("N", 3)}}),
        ("observables", {"observables": {"a": op("A", 0)}}),
        ("observables", {"observables": [Observable("N", (op("N", 0),)), Observable("N", (op("N", 1),))]}),
        ("progress", {"progress": "yes"}),
        ("initial", {"initial": "sideways"}),
    ],
)
def test_bad_arguments_name_the_field(field, arguments):
    given = {"model": MODEL, "method": Relaxation(), **arguments}
    with pytest.raises(InputError) as caught:
        steady_state(**given)
    assert caught.value.field == field


def test_every_on_failure_word_is_suggested():
    with pytest.raises(InputError, match="did you mean 'return'"):
        steady_state(MODEL, Relaxation(), on_failure="retrun")


# -- choice of the method ----------------------------------------------------------------------------------------------


def test_an_unsupported_model_is_refused_with_the_methods_own_sentence():
    with pytest.raises(NotSupportedError, match="7 sites are more than the 6 it can write out") as caught:
        steady_state(pumped_chain(7), Relaxation())
    assert caught.value.field == "method"


def test_a_model_beyond_memory_is_refused_before_starting(monkeypatch):
    monkeypatch.setattr(choice_module, "memory_limit", lambda: (1000.0, "the limit of the control group"))
    monkeypatch.setattr(Relaxation, "prepare", lambda *a, **k: pytest.fail("started"))
    with pytest.raises(InsufficientMemoryError, match=r"0\.1 MiB .*64 unknowns.*0\.0 MiB.*control group"):
        steady_state(MODEL, Relaxation())


class ExactDiag(Relaxation):
    name = "fake_exact"


class TEBD(Relaxation):
    name = "fake_sweeps"

    def supports(self, model, task="steady_state"):
        return Support(model.lattice.periodic is False, "chains only.")


@pytest.fixture
def two_methods(monkeypatch):
    monkeypatch.setattr(choice_module, "METHODS", {"fake_exact": ExactDiag, "fake_sweeps": TEBD})


def limit(monkeypatch, count):
    monkeypatch.setattr(choice_module, "memory_limit", lambda: (count, "a test"))


@pytest.mark.usefixtures("two_methods")
def test_small_models_are_solved_exactly():
    method, reason = choose_method(MODEL)
    assert type(method) is ExactDiag and "exactly" in reason and "64 unknowns" in reason


@pytest.mark.usefixtures("two_methods")
def test_slow_or_large_models_go_to_sweeps(monkeypatch):
    monkeypatch.setattr(
        ExactDiag, "estimate", lambda self, model, tol: replace(Relaxation.estimate(self, model, tol), seconds=1e4)
    )
    method, reason = choose_method(MODEL)
    assert type(method) is TEBD and "slow" in reason and "3 hours" in reason
    monkeypatch.setattr(ExactDiag, "supports", lambda self, model, task="steady_state": Support(False, "too many."))
    method, reason = choose_method(MODEL)
    assert type(method) is TEBD and "ExactDiag: too many." in reason
    limit(monkeypatch, 100.0)
    with pytest.raises(InsufficientMemoryError, match=r"TEBD needs about 0\.1 MiB, but 0\.0 MiB are available"):
        choose_method(MODEL)


@pytest.mark.usefixtures("two_methods")
def test_exact_is_the_way_out_when_nothing_else_supports_the_model(monkeypatch):
    monkeypatch.setattr(TEBD, "supports", lambda self, model, task="steady_state": Support(False, "chains only."))
    limit(monkeypatch, 1.5 * 16**4)  # it fits, though not comfortably
    method, reason = choose_method(MODEL)
    assert type(method) is ExactDiag and "chains only" in reason
    with pytest.raises(NotSupportedError, match=r"ExactDiag: 7 sites .* TEBD: chains only"):
        choose_method(pumped_chain(7))


@pytest.mark.usefixtures("two_methods")
def test_the_reason_is_kept_in_the_result():
    result = steady_state(MODEL)
    assert type(result.method) is ExactDiag and "exactly" in result.reason and result.reason in str(result)


def test_mean_field_is_never_chosen_by_itself(monkeypatch):
    only = {name: cls for name, cls in METHODS.items() if name == "ClusterMeanField"}
    assert only
    monkeypatch.setattr(choice_module, "METHODS", only)
    with pytest.raises(NotSupportedError):
        choose_method(MODEL)


# -- limits of the machine ---------------------------------------------------------------------------------------------


def test_memory_limits_are_read_from_all_places(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/job/step\n0::/user/run\n")
    v1, v2 = tmp_path / "sys/fs/cgroup/memory", tmp_path / "sys/fs/cgroup"
    (v1 / "job/step").mkdir(parents=True)
    (v2 / "user/run").mkdir(parents=True)
    (v1 / "job/step/memory.limit_in_bytes").write_text("9223372036854771712\n")  # no limit
    (v1 / "job/memory.limit_in_bytes").write_text("3000\n")  # the group around it counts as well
    (v2 / "user/run/memory.max").write_text("max\n")
    (v2 / "user/memory.max").write_text("2000\n")
    environment = {"SLURM_MEM_PER_NODE": "5", "SLURM_MEM_PER_CPU": "2", "SLURM_CPUS_ON_NODE": "4"}
    found = dict((source, value) for value, source in memory_limits(tmp_path, environment))
    sizes = {value for value, _ in memory_limits(tmp_path, environment)}
    assert {3000.0, 2000.0, 5 * 2.0**20, 8 * 2.0**20} <= sizes
    assert found["SLURM_MEM_PER_NODE"] == 5 * 2.0**20 and found["the physical memory"] > 1e8
    assert min(memory_limits(tmp_path, environment))[0] == 2000.0
    bare = memory_limits(tmp_path / "nothing", {"SLURM_MEM_PER_NODE": "0"})
    assert "SLURM_MEM_PER_NODE" not in {source for _, source in bare}
    assert memory_limit()[0] > 1e8 and readable_bytes(5e17).endswith("PiB")


def test_threads_are_limited_and_the_variable_is_checked(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    assert thread_count() == 1
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "2")
    with limited_threads() as count:
        assert count == 2
    assert steady_state(MODEL, Relaxation()).provenance["environment"]["threads"] == 2
    for bad in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, bad)
        with pytest.raises(InputError, match=f"but is {bad!r}"):
            thread_count()


def test_a_changed_environment_is_named():
    now = environment(1)
    assert changed_environment(now, environment(1)) == []
    assert changed_environment(now, now | {"threads": 4, "numpy": "0.1", "h5py": "0"}) == ["numpy", "threads"]


# -- signals -----------------------------------------------------------------------------------------------------------


def interrupting(at, number=signal.SIGTERM):
    def callback(step, diagnostics):
        if step == at:
            os.kill(os.getpid(), number)

    return callback


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_the_first_signal_stops_after_the_current_step(number):
    before = signal.getsignal(number)
    result = steady_state(MODEL, Relaxation(), progress=interrupting(5, number))
    assert result.status is Status.INTERRUPTED and result.cost.steps == 5
    assert signal.Signals(number).name in result.certificate.notes[0]
    assert same_state(result.state, steady_state(MODEL, Relaxation(steps=5)).state)
    assert signal.getsignal(number) is before


def test_a_signal_during_the_last_step_goes_back_by_that_step(tmp_path):
    method, path = Relaxation(steps=5), tmp_path / "run.h5"
    stopped = steady_state(MODEL, method, progress=interrupting(5), checkpoint=path)
    assert stopped.status is Status.INTERRUPTED
    resumed = steady_state(MODEL, method, checkpoint=path)
    assert resumed.status is Status.CONVERGED
    assert same_state(resumed.state, steady_state(MODEL, method).state)


def test_a_second_interrupt_acts_at_once():
    before = signal.getsignal(signal.SIGINT)

    def twice(step, diagnostics):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        steady_state(MODEL, Relaxation(), progress=twice)
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_run_without_handlers():
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(steady_state(MODEL, Relaxation())))
    thread.start()
    thread.join()
    assert outcome[0].converged
    with SignalGuard() as guard:
        assert guard.received is None


# -- progress ----------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 2.0
        return self.now


def test_long_runs_without_a_terminal_print_plain_lines(monkeypatch, capsys):
    monkeypatch.setattr(progress_module, "time", Clock())
    steady_state(MODEL, Relaxation(steps=9))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and lines[0].startswith("steady state: step 3 after 6 s change")


def test_long_runs_on_a_terminal_show_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(progress_module, "time", Clock())
    monkeypatch.setattr(progress_module.sys.stderr, "isatty", lambda: True, raising=False)
    with progress_module.Progress(None, "steady state") as display:
        for step in range(1, 6):
            display.update(step, Diagnostics(fraction=step / 10, message="change"))
        live = display._live
        assert live is not None and live.tasks[0].completed == 0.5 and "step 5" in live.tasks[0].fields["note"]
    assert not live.live.is_started


@pytest.mark.parametrize("setting", [None, False])
def test_short_and_silent_runs_print_nothing(monkeypatch, capsys, setting):
    if setting is False:
        monkeypatch.setattr(progress_module, "time", Clock())
    steady_state(MODEL, Relaxation(), progress=setting)
    assert capsys.readouterr() == ("", "")


# -- evolution ---------------------------------------------------------------------------------------------------------


def test_evolution_records_at_the_times_asked_for():
    times = [0.0, 0.05, 0.3]
    profile = Observable("N", tuple(op("N", j) for j in range(3)), (0, 1, 2), "site")
    out = evolve(MODEL, "up", times, {"profile": profile, "left": op("N", 0)}, Relaxation())
    assert out.status is Status.CONVERGED and out.values["profile"].shape == (3, 3) and out.values["left"].shape == (3,)
    assert np.array_equal(out.times, times) and out.values["profile"][0].tolist() == [1.0, 1.0, 1.0]
    generator = dense_lindbladian(MODEL)
    start = DenseState.product(MODEL.lattice, "up").to_dense()
    for k, t in enumerate(times):
        exact = DenseState(MODEL.lattice, (expm(generator * t) @ start.ravel()).reshape(8, 8))
        assert np.allclose(out.values["profile"][k], profile.evaluate(exact), atol=1e-10)
        assert out.values["left"][k] == out.values["profile"][k][0]
    assert out.state.expect(op("N", 2)).real == out.values["profile"][-1, 2]
    certificate = out.certificate  # stationarity is not expected, positivity is
    assert certificate.residual is None and "rate of change" in certificate.notes[-1]
    assert certificate.smallest_eigenvalue > -1e-10 and certificate.identity_residual is None


@pytest.mark.parametrize("times", [[], [0.2, 0.1], [0.1, 0.1], [-0.1], [math.nan], [math.inf], "soon", [[0.1]], [1j]])
def test_bad_times_are_refused(times):
    with pytest.raises(InputError) as caught:
        evolve(MODEL, "up", times, (), Relaxation())
    assert caught.value.field == "times"


def test_a_method_without_evolution_says_so():
    class Direct(Relaxation):
        name = "direct"
        tasks = ("steady_state",)

    with pytest.raises(NotSupportedError, match="direct does not evolve in time"):
        evolve(MODEL, "up", [1.0], (), Direct())


def test_an_evolution_that_breaks_down_keeps_what_was_reached(monkeypatch):
    propagate = Relaxation.propagate

    def breaking(self, work, iterate, time):
        if time > 0.1:
            return iterate, Diagnostics(Status.NOT_FINITE, message="rho overflowed")
        return propagate(self, work, iterate, time)

    monkeypatch.setattr(Relaxation, "propagate", breaking)
    with pytest.raises(ConvergenceError, match=r"1 of the times were reached.*rho overflowed") as caught:
        evolve(MODEL, "up", [0.1, 0.2], {"n": op("N", 0)}, Relaxation())
    assert caught.value.result.times.tolist() == [0.1] and caught.value.result.values["n"].shape == (1,)


def test_an_interrupted_evolution_holds_the_times_reached():
    out = evolve(MODEL, "up", [0.02, 0.04, 0.06], {"n": op("N", 0)}, Relaxation(), progress=interrupting(2))
    assert out.status is Status.INTERRUPTED and out.times.tolist() == [0.02, 0.04] and len(out.values["n"]) == 2


def test_no_warning_is_given_by_an_ordinary_run():
    with warnings.catch_warnings(record=True) as caught, known(Relaxation):
        steady_state(MODEL, Relaxation())
        evolve(MODEL, "up", [0.1], (), Relaxation())
    assert not caught and loop_module.Checkpoint("x").every == 60.0
