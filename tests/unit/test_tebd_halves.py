"""TEBD on two threads: the same numbers as on one, whoever waits for whom; failures stop both."""

import importlib.util
import os

import numpy as np
import pytest
from parity_states import overflowing, plain_blocks, random_state, spins

import mpo_transport as mt
from mpo_transport import models
from mpo_transport.errors import InputError
from mpo_transport.methods.tebd import graded, halves
from mpo_transport.methods.tebd.graded import find_parity
from mpo_transport.methods.tebd.plan import build_plan
from mpo_transport.states import MPOState
from mpo_transport.superoperator.train import canonical_train, dense_train


@pytest.fixture
def shared(monkeypatch):
    """Two threads also for the shortest chains; tells which layers were shared."""
    bonds = []

    def found(passes, m):
        bonds.append(meeting_bond(passes, m))
        return bonds[-1]

    meeting_bond = halves.meeting_bond
    monkeypatch.setattr(halves, "ENOUGH", 0.0)
    monkeypatch.setattr(halves, "meeting_bond", found)
    return bonds


def both_ways(parity, start, centre, passes, iterations=1):
    """Trains, ends and discarded weights after the same passes on one and on two threads."""
    out = []
    for threads in (1, 2):
        parity.threads = threads
        tensors, weights = [t.copy() for t in start], np.zeros(len(start) - 1)
        end = parity.run(tensors, parity.bonds(tensors, centre), centre, passes, iterations, weights)
        out.append((tensors, end, weights))
    return out


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 13])
def test_two_threads_do_the_same_where_nothing_is_cut(count, shared):
    model = spins()
    plan = build_plan(model)
    parity = find_parity(plan)
    start = random_state(parity, model, 64)
    passes = plan.passes(0.05, 4, 1)
    for centre, first in ((0, 0), (5, 0), (0, 1), (5, 1)):  # from either end, with a gate in the middle first or not
        if centre:
            start, parity.threads = random_state(parity, model, 64, seed=1), 1
            parity.run(start, parity.bonds(start, 0), 0, passes[:1], 1, None)
        (a, end, _), (b, other, weights) = both_ways(parity, start, centre, passes[first : first + count])
        x, y = dense_train(a), dense_train(b)
        assert other == end and np.abs(x - y).max() < 1e-13 * np.abs(x).max() and weights.max() < 1e-28
        assert parity.bonds(b, end) is not None
        again = canonical_train(b, end)  # the centre alone holds the norm
        assert np.linalg.norm(again[end]) == pytest.approx(np.linalg.norm(b[end]), rel=1e-13)
    assert set(shared) == ({None} if count < 3 else {2, 1})


@pytest.mark.parametrize("iterations", [1, 2])
def test_two_threads_cut_as_well_as_one(iterations, shared):
    """Growth from a product state, whose bonds have next to no weight in most directions, and a long evolution."""
    model = spins()
    plan = build_plan(model)
    parity = find_parity(plan)
    start = MPOState.product(model.lattice, [0, 1, 1, 0, 1, 0])
    passes = plan.passes(0.2, 2, 20)
    exact = parity.fit(start.tensors, plan.bond_bounds(64), 0)
    parity.run(exact, parity.bonds(exact, 0), 0, passes, 1, None)
    x = dense_train(exact)
    errors, weights = np.zeros((2, 2)), np.zeros((2, 2, 5))
    for row, bond in enumerate((10, 16)):
        rough = parity.fit(start.tensors, plan.bond_bounds(bond), 0)
        for column, (tensors, _, seen) in enumerate(both_ways(parity, rough, 0, passes, iterations)):
            errors[row, column] = np.linalg.norm(dense_train(tensors) - x) / np.linalg.norm(x)
            weights[row, column] = seen
    assert shared == [2, 2] and errors.min() > 1e-7
    assert np.all(errors[:, 1] < 1.5 * errors[:, 0])
    assert np.all(weights[:, 1].max(axis=1) < 3 * weights[:, 0].max(axis=1))


def test_directions_without_weight_do_not_amplify_rounding_errors(shared):
    """A bond of rank one enlarged to twelve: a quotient of rounding errors once gave traces of 1e14."""
    model = models.boundary_driven_xxz(10, 1.5, J=1.0, G_L=1.0, f_L=0.75, G_R=1.0, f_R=0.25)
    plan = build_plan(model)
    parity = find_parity(plan)
    parity.threads = 2
    tensors = parity.fit(MPOState.mixed(model.lattice).tensors, plan.bond_bounds(24), 1)
    parity.run(tensors, parity.bonds(tensors, 0), 0, plan.passes(0.2, 2, 10), 1, None)
    trace = MPOState(model.lattice, tuple(tensors), plan.order, len(tensors) - 1).trace()
    assert shared == [4] and trace == pytest.approx(1, abs=1e-2)


def plain_halves(monkeypatch):
    """The module of the two halves as it is without numba."""
    spec = importlib.util.spec_from_file_location("mpo_transport.methods.tebd.plain_halves", halves.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    plain = plain_blocks(monkeypatch)
    vars(module).update(blocks=plain, carry=plain.carry, close=plain.close, join=plain.join, ENOUGH=0.0)
    return module


def test_compiled_and_plain_halves_agree(shared, monkeypatch):
    model = spins()
    plan = build_plan(model)
    parity = find_parity(plan)
    parity.threads = 2
    start = random_state(parity, model, 8)
    passes = plan.passes(0.05, 2, 3)[:6]
    out = []
    for module in (halves, plain_halves(monkeypatch)):
        monkeypatch.setattr(graded, "carry_halves", module.carry_halves)
        tensors = [t.copy() for t in start]
        parity.run(tensors, parity.bonds(tensors, 0), 0, passes, 2, np.zeros(5))
        out.append(dense_train(tensors))
    assert shared == [2] and np.abs(out[0] - out[1]).max() < 1e-12 * np.abs(out[0]).max()


@pytest.mark.parametrize(("patience", "what"), [(10**9, "sched_yield"), (0, "sleep")])
def test_threads_that_wait_do_the_same(patience, what, shared, monkeypatch):
    """On a busy machine the other half is long in coming: a thread gives way or sleeps, and goes on where it was."""
    model = spins()
    plan = build_plan(model)
    parity = find_parity(plan)
    start = random_state(parity, model, 16)
    passes = plan.passes(0.05, 4, 3)
    (_, (quick, _, seen)) = both_ways(parity, start, 0, passes)
    waits = []
    for name, value in (("LOOKS", 1), ("FEWEST", 1), ("PATIENT", patience)):
        monkeypatch.setattr(halves, name, value)
    monkeypatch.setattr(halves.time, "sleep", lambda seconds: waits.append("sleep"))
    monkeypatch.setattr(halves.os, "sched_yield", lambda: waits.append("sched_yield"), raising=False)
    (_, (slow, _, again)) = both_ways(parity, start, 0, passes)
    assert waits and set(waits) == {what} and np.array_equal(seen, again)
    assert all(np.array_equal(a, b) for a, b in zip(quick, slow, strict=True))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be bound to cores here")
def test_of_two_cores_each_thread_keeps_one(shared, monkeypatch):
    before, bound = os.sched_getaffinity(0), []
    monkeypatch.setattr(halves.os, "sched_getaffinity", lambda _: {3, 7})
    monkeypatch.setattr(halves.os, "sched_setaffinity", lambda _, cores: bound.append(cores))
    model = spins()
    plan = build_plan(model)
    parity = find_parity(plan)
    both_ways(parity, random_state(parity, model, 16), 0, plan.passes(0.05, 4, 3))
    assert sorted(map(sorted, bound)) == [[3], [3, 7], [3, 7], [7]]  # and both are let go again
    monkeypatch.undo()
    assert os.sched_getaffinity(0) == before
    monkeypatch.setattr(halves.os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert halves._two_cores() == (None, None)  # the system has room to choose


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be bound to cores here")
def test_threads_that_may_not_be_bound_run_all_the_same(shared, monkeypatch):
    def forbidden(*_):
        raise PermissionError("not here")

    model = spins()
    plan = build_plan(model)
    parity = find_parity(plan)
    start, passes = random_state(parity, model, 16), plan.passes(0.05, 4, 3)
    (_, (free, _, _)) = both_ways(parity, start, 0, passes)
    monkeypatch.setattr(halves.os, "sched_getaffinity", lambda _: {3, 7})
    monkeypatch.setattr(halves.os, "sched_setaffinity", forbidden)
    (_, (bound, _, _)) = both_ways(parity, start, 0, passes)
    assert all(np.array_equal(a, b) for a, b in zip(free, bound, strict=True))


@pytest.mark.parametrize("which", ["near", "far"])
def test_a_half_that_fails_stops_the_other(which, shared, monkeypatch):
    def broken(*args):
        raise np.linalg.LinAlgError("did not converge")

    near, far = halves.compiled_loops()
    monkeypatch.setattr(halves, "compiled_loops", lambda: (broken, far) if which == "near" else (near, broken))
    model = spins()
    plan = build_plan(model)
    parity = find_parity(plan)
    parity.threads = 2
    tensors = random_state(parity, model, 8)
    end = parity.run(tensors, parity.bonds(tensors, 0), 0, plan.passes(0.05, 2, 3), 1, None)
    assert np.isnan(tensors[end]).any()  # what the engine looks for


def test_overflow_on_two_threads_is_noticed(shared):
    model = spins()
    plan = build_plan(model)
    parity = find_parity(plan)
    start, unstable = overflowing(model, plan, parity)
    with np.errstate(all="ignore"):
        _, (tensors, end, _) = both_ways(parity, start, 0, unstable)
    assert shared == [2] and not np.all(np.isfinite(tensors[end]))


def test_two_threads_reach_the_steady_state_and_say_so(shared):
    model = spins()
    method = mt.TEBD(layout="z2", threads=2)
    results = [mt.steady_state(model, method, tol=1e-4) for _ in range(2)]
    assert any(bond == 2 for bond in shared)
    assert all(np.array_equal(a, b) for a, b in zip(*(r.state.tensors for r in results), strict=True))
    exact = mt.steady_state(model, mt.ExactDiag()).state
    for j in range(model.L - 1):
        rho = [state.reduced([j, j + 1]) for state in (results[0].state, exact)]
        assert np.abs(np.linalg.eigvalsh(rho[0] - rho[1])).sum() / 2 < results[0].certificate.error_estimate
    assert any("two threads" in note for note in results[0].certificate.notes)
    dense = mt.steady_state(model, mt.TEBD(layout="dense", threads=2), tol=1e-2)
    assert any("one thread" in note for note in dense.certificate.notes)


def test_where_halves_meet():
    gate, none = np.zeros(7, dtype=int), np.full(7, -1)
    even, odd = none.copy(), none.copy()
    even[::2], odd[1::2] = gate[::2], gate[1::2]
    m = np.tile([[40, 24]], (9, 1))
    assert halves.meeting_bond(np.array([even, odd, even]), m) == 2  # bonds 2 and 4 are equally near to the middle
    assert halves.meeting_bond(np.array([odd, even, odd]), m) == 3
    assert halves.meeting_bond(np.array([even, odd]), m) is None
    assert halves.meeting_bond(np.array([even, even, even]), m) is None
    assert halves.meeting_bond(np.array([even, odd, even]), m // 8) is None  # too little work
    assert halves.meeting_bond(np.array([even, odd, even])[:, :2], np.tile([[400, 0]], (4, 1))) is None


@pytest.mark.parametrize("threads", [0, 3, 1.5, True, None])
def test_bad_numbers_of_threads_are_named(threads):
    with pytest.raises(InputError) as caught:
        mt.TEBD(threads=threads)
    assert caught.value.field == "threads"
