"""Stopping soon, whatever is going on: inside a long time step, and while the final state is being checked."""

import os
import signal

import pytest
from toy_methods import same_result, same_state

from mpo_transport.methods import TEBD, ExactDiag, Iterate
from mpo_transport.methods.tebd import engine as engine_module
from mpo_transport.methods.tebd.companions import WITHIN
from mpo_transport.models import boundary_driven_xxz, persistent_current
from mpo_transport.observables import current
from mpo_transport.result import Status
from mpo_transport.solve import evolve, resume, steady_state
from mpo_transport.solve.signals import SignalGuard, Stopped
from mpo_transport.storage import load

MODEL = boundary_driven_xxz(5, 1.2, eps=0.4)
SETTINGS = {"tol": 1e-3, "seed": 3, "on_failure": "return", "observables": [current(MODEL)]}


def stop(*_):
    os.kill(os.getpid(), signal.SIGTERM)


# -- pieces of a time step ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("model", [MODEL, persistent_current(L=5, alpha=1.0, delta=0.5)], ids=["layers", "sweeps"])
def test_pieces_of_a_step_are_the_step(monkeypatch, model, order):
    """The first step (at the end of which nothing is judged) done at once, and pass by pass."""
    method = TEBD(max_bond=6, dt=0.05, order=order)
    work = method.prepare(model, tol=1e-3, seed=0)
    start = method.start(work, None)
    passes = len(work.engine.plan.passes_per_step(2))  # the first stage is of second order
    assert passes > 1

    monkeypatch.setattr(engine_module, "CHUNK", 1e-3 + engine_cost(work, start))
    whole, _ = method.advance(work, start)
    monkeypatch.setattr(engine_module, "CHUNK", 1e-9)
    part = start
    for k in range(passes):
        assert same_state(part.state, start.state) and (WITHIN in part.companions) == (k > 0)
        part, _ = method.advance(work, part)
    assert part.step == passes and whole.step == 1
    assert same_state(part.state, whole.state) and part.scalars == whole.scalars
    assert WITHIN not in part.companions and part.arrays.keys() == whole.arrays.keys()


def engine_cost(work, iterate: Iterate) -> float:
    level = engine_module.Progress.from_json(iterate.scalars["tebd"]).level
    return work.engine.plan.flops_per_step(level.bond, level.order, 1)


def test_the_weight_cut_by_the_pieces_is_that_of_the_step(monkeypatch):
    """At the end of an interval the discarded weights are recorded: over all pieces of the last step."""
    method = TEBD(max_bond=4, initial_bond=4, dt=0.5, order=2, iterations=1)
    work = method.prepare(MODEL, tol=1e-3, seed=0)
    found = []
    for chunk in (engine_cost(work, method.start(work, None)) * 1.001, 1e-9):
        monkeypatch.setattr(engine_module, "CHUNK", chunk)
        iterate = method.start(work, None)
        while "discarded weight" not in iterate.arrays:
            iterate, _ = method.advance(work, iterate)
        found.append(iterate)
    assert found[0].arrays["discarded weight"].max() > 0
    assert found[0].arrays["discarded weight"].tobytes() == found[1].arrays["discarded weight"].tobytes()
    assert same_state(found[0].state, found[1].state)


def test_a_run_stopped_inside_a_step_equals_the_unbroken_one(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "CHUNK", 2e4)
    method = TEBD(max_bond=8, dt=0.4)
    inside = []
    unbroken = steady_state(MODEL, method, **SETTINGS)
    path = tmp_path / "run.h5"
    for at in (2, 5, 6, 30, 31):
        part = steady_state(MODEL, method, checkpoint=path, **SETTINGS, progress=lambda s, d, at=at: s == at and stop())
        assert part.status is Status.INTERRUPTED and part.cost.steps == at
        inside.append(WITHIN in part.companions)
    assert any(inside)
    result = resume(path, on_failure="return", observables=SETTINGS["observables"])
    assert same_result(result, unbroken) and WITHIN not in result.companions


# -- while the final state is checked ----------------------------------------------------------------------------------


@pytest.fixture
def stopped_while_checking(monkeypatch):
    """The first call of certify is interrupted by a signal."""
    calls, certify = [], TEBD.certify

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 1:
            stop()
            raise AssertionError("the signal did not act at once")
        return certify(self, *arguments)

    monkeypatch.setattr(TEBD, "certify", interrupted)
    return calls


def test_a_steady_state_goes_back_by_a_step(tmp_path, monkeypatch, stopped_while_checking):
    method, path = TEBD(max_bond=8, dt=0.4), tmp_path / "run.h5"
    part = steady_state(MODEL, method, checkpoint=path, **SETTINGS)
    assert part.status is Status.INTERRUPTED and load(path).status is Status.INTERRUPTED
    assert not part.observables and part.certificate.residual is None
    assert len(part.history) == part.cost.steps > 0
    result = resume(path, on_failure="return", observables=SETTINGS["observables"])
    assert len(stopped_while_checking) == 2
    assert result.cost.steps == part.cost.steps + 1 == len(result.history)
    assert same_result(result, steady_state(MODEL, method, **SETTINGS))


def test_a_signal_during_the_last_step_saves_before_checking(tmp_path):
    method, path = TEBD(max_bond=8, dt=0.4), tmp_path / "run.h5"
    unbroken = steady_state(MODEL, method, **SETTINGS)
    last = unbroken.cost.steps
    part = steady_state(MODEL, method, checkpoint=path, **SETTINGS, progress=lambda s, d: s == last and stop())
    assert part.status is Status.INTERRUPTED and part.cost.steps == last - 1
    assert same_result(resume(path, on_failure="return", observables=SETTINGS["observables"]), unbroken)


def test_an_evolution_needs_only_the_check(tmp_path, stopped_while_checking):
    method, path, times = TEBD(max_bond=8), tmp_path / "run.h5", [0.0, 0.2, 0.4]
    asked = {"tol": 1e-3, "on_failure": "return"}
    part = evolve(MODEL, "up", times, [current(MODEL)], method, checkpoint=path, **asked)
    assert part.status is Status.INTERRUPTED and len(part.times) == 3
    result = resume(path, on_failure="return")
    whole = evolve(MODEL, "up", times, [current(MODEL)], method, **asked)
    assert result.status is whole.status and result.certificate == whole.certificate
    assert result.cost.steps == part.cost.steps == whole.cost.steps and same_state(result.state, whole.state)


def test_a_direct_method_has_nothing_to_go_back_to(tmp_path, monkeypatch):
    """Its only step is done: throwing it away would lose everything, so the run ends as if no signal had come."""
    model = persistent_current(L=3, alpha=2.0, delta=1.5)
    result = steady_state(model, ExactDiag(), checkpoint=tmp_path / "run.h5", progress=stop)
    assert result.status is Status.CONVERGED and load(tmp_path / "run.h5").status is Status.CONVERGED


# -- the guard ---------------------------------------------------------------------------------------------------------


def test_at_once_means_at_once():
    with SignalGuard() as guard:
        with guard.at_once():
            pass
        with pytest.raises(Stopped), guard.at_once():
            stop()
            raise AssertionError("not reached")
        assert guard.received == "SIGTERM"
        with pytest.raises(Stopped), guard.at_once():
            raise AssertionError("not reached: the signal came before")
        stop()  # outside of the block it is only remembered
