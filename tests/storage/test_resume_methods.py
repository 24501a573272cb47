"""Every registered method, stopped at any step and resumed from its file, ends like the unbroken run: bit for bit.

A method that is registered later is tested without a line here, if it supports one of MODELS.
"""

import functools
import math
import os
import signal

import numpy as np
import pytest
from toy_methods import Relaxation, known, pumped_chain, same_observables, same_result, same_state

from mpo_transport import Boson, Chain, Jump, Lindbladian, OpSum, SpinHalf, op
from mpo_transport.methods import (
    METHODS,
    TEBD,
    ClusterMeanField,
    ExactDiag,
    ImplicitSweeps,
    InfiniteTEBD,
    Trajectories,
)
from mpo_transport.methods.exact import _SOLVERS
from mpo_transport.models import boundary_driven_xx, persistent_current
from mpo_transport.observables import StateFunction, profile
from mpo_transport.result import Status
from mpo_transport.solve import evolve, resume, steady_state
from mpo_transport.storage import load, load_checkpoint

ring = functools.partial(persistent_current, alpha=2.0, delta=1.5, J=0.3)
driven = functools.partial(boundary_driven_xx, t=0.7, G_L=1.0, f_L=0.8, G_R=0.6, f_R=0.1)


def lossy_mode(levels) -> Lindbladian:
    """One driven, damped and heated mode."""
    jumps = [Jump(op("A", 0), 1.0, "loss"), Jump(op("Ad", 0), 0.3, "gain")]
    return Lindbladian(Chain(1, Boson(levels)), 0.4 * op("N", 0), jumps, name="mode")


MODELS = {
    "pumped chain": lambda: pumped_chain(3),
    "driven chain": lambda: driven(4),
    "driven chain of six": lambda: driven(6),
    "ring": lambda: ring(4),
    "lossy mode": lambda: lossy_mode(4),
    "unbounded mode": lambda: lossy_mode(math.inf),
    "unbounded chain": lambda: driven(3, levels=math.inf),
    "free spins": lambda: Lindbladian(Chain(2, SpinHalf()), OpSum(), [Jump(op("Sm", j), 1.0) for j in range(2)]),
}
QUICK = Trajectories(trajectories=8, burn_in=1.0, sampling_time=3.0)
STEADY = {
    "exact, not unique": (ExactDiag(), lambda: persistent_current(4, 2.0, 1.0, mu=0.0)),
    "exact, iterative, larger": (ExactDiag(solver="iterative"), lambda: ring(5)),
    "sweeps on a chain": (TEBD(), lambda: pumped_chain(4)),
    "sweeps on a ring": (TEBD(max_bond=12), lambda: ring(4)),
    "sweeps, second order": (
        TEBD(order=2, max_bond=6, max_time=2.0),
        lambda: ring(4, dissipator_distance=2, periodic=False),
    ),
    "implicit sweeps": (ImplicitSweeps(max_bond=8), lambda: ring(5, periodic=False)),
    "mean field, one site": (ClusterMeanField(size=1, branch="auto"), lambda: ring(4)),
    "mean field, broken": (ClusterMeanField(branch="broken"), lambda: persistent_current(4, 2.0, 1.0)),
    "trajectories": (QUICK, lambda: pumped_chain(3)),
}


def supported(method, task: str):
    """The first of MODELS on which the method can do the task."""
    reasons = []
    for make in MODELS.values():
        model = make()
        support = method.supports(model, task)
        if support:
            return model
        reasons.append(support.reason)
    pytest.fail(f"add a model to MODELS on which {method.name} can {task}: {reasons}")


SOLVERS = {f"exact, {solver}": (ExactDiag(solver=solver), None) for solver in _SOLVERS}
COARSE = {"Trajectories": QUICK, "InfiniteTEBD": InfiniteTEBD(max_bond=4)}
DEFAULTS = {name: (COARSE.get(name) or cls(), None) for name, cls in METHODS.items()}
STEADY |= SOLVERS | DEFAULTS
EVOLVING = {name: method for name, (method, _) in DEFAULTS.items() if "evolve" in method.tasks}


def signal_after(number: int):
    """A progress callback that sends SIGUSR1 after a number of steps of this process."""
    seen = []

    def callback(step, diagnostics):
        seen.append(step)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGUSR1)

    return callback


def stops(count: int, most: int) -> list[int]:
    """Steps at which to stop: the first, the last, and others in between, ``most`` in all."""
    return sorted({round(k) for k in np.linspace(1, count, min(most, count))})


def asked(model) -> dict:
    """An observable by site, a complex number, and a function of the state."""
    numbers = {"N": profile(model, "N")} if all(s.has("N") for s in model.lattice.spaces) else {}
    hop = [("Sp", "Sm"), ("Ad", "A")]
    pair = next(((a, b) for a, b in hop if model.L > 1 and all(s.has(a) for s in model.lattice.spaces)), None)
    return numbers | ({"hop": op(pair[0], 0) * op(pair[1], 1)} if pair else {})


def check_steady(tmp_path, name, most):
    method, make = STEADY[name]
    model = supported(method, "steady_state") if make is None else make()
    keep = {"tol": 1e-3, "on_failure": "return", "seed": 2, "observables": asked(model)}
    steps: list[int] = []
    unbroken = steady_state(model, method, progress=lambda k, d: steps.append(k), **keep)
    for number in stops(len(steps), most):
        path = tmp_path / f"{number}.h5"
        part = steady_state(model, method, checkpoint=path, progress=signal_after(number), **keep)
        assert part.status is Status.INTERRUPTED or number == len(steps)
        resumed = resume(path, on_failure="return")
        assert same_result(resumed, unbroken), f"stopped after {number} of {len(steps)} steps"
        assert same_result(load(path), unbroken)
    saved = load(unbroken.save(tmp_path / "whole.h5"))
    assert same_result(saved, unbroken) and saved.method == method


def check_evolution(tmp_path, name, most):
    method = EVOLVING[name]
    model = supported(method, "evolve")
    purity = StateFunction("largest", lambda state: float(np.abs(state.reduced([0])).max()))
    functions = {"largest": purity} if model.lattice.is_bounded else {}
    initial = "up" if all(s.kind == "spin" for s in model.lattice.spaces) else "vacuum"
    ask = {"times": [0.0, 0.1, 0.15, 0.4], "observables": asked(model) | functions, "tol": 1e-3, "seed": 5}
    ask |= {"method": method, "on_failure": "return"}
    steps: list[int] = []
    unbroken = evolve(model, initial, progress=lambda k, d: steps.append(k), **ask)
    assert unbroken.times.tolist() == ask["times"] and steps
    for number in stops(len(steps), most):
        path = tmp_path / f"{number}.h5"
        part = evolve(model, initial, checkpoint=path, progress=signal_after(number), **ask)
        assert part.status is Status.INTERRUPTED or number == len(steps)
        if part.status is Status.INTERRUPTED:
            reached = load_checkpoint(path).reached
            for label, values in part.values.items():  # what was measured on the way stays
                assert len(values) == reached and values.tobytes() == unbroken.values[label][:reached].tobytes()
        again = resume(path, on_failure="return", observables=functions)
        assert same_state(again.state, unbroken.state) and same_observables(again, unbroken), number
        assert (again.status, again.certificate) == (unbroken.status, unbroken.certificate)


@pytest.mark.parametrize("name", STEADY)
def test_a_stopped_steady_state_ends_like_the_unbroken_one(tmp_path, name):
    check_steady(tmp_path, name, 3)


@pytest.mark.parametrize("name", EVOLVING)
def test_a_stopped_evolution_ends_like_the_unbroken_one(tmp_path, name):
    check_evolution(tmp_path, name, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", STEADY)
def test_a_steady_state_may_be_stopped_at_any_step(tmp_path, name):
    check_steady(tmp_path, name, 60)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVOLVING)
def test_an_evolution_may_be_stopped_at_any_step(tmp_path, name):
    check_evolution(tmp_path, name, 60)


@pytest.mark.parametrize("work", [1.0, 1.5e7, 3e7])
def test_implicit_sweeps_may_be_stopped_within_a_pass_or_between_passes(tmp_path, monkeypatch, work):
    """Pieces of one bond, of a pass, and of several: what is kept in memory within a piece changes no bit."""
    monkeypatch.setattr("mpo_transport.methods.implicit.engine.CHUNK", work)
    check_steady(tmp_path, "implicit sweeps", 5)


def test_every_method_is_here():
    assert set(METHODS) <= set(STEADY) and all("steady_state" in cls.tasks for cls in METHODS.values())
    with known(Relaxation):
        assert supported(Relaxation(), "evolve").name == "pumped"
