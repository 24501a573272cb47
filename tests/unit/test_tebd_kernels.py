"""Pieces of the TEBD method: range finder against the SVD, exact gates, orders of convergence, schedule, bad input."""

import itertools
import json
import math

import numpy as np
import pytest
import scipy.sparse.linalg as ssl

from mpo_transport import Boson, Chain, Graph, Jump, Lindbladian, SpinHalf, models, op
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.methods import TEBD, Iterate
from mpo_transport.methods.tebd.engine import Engine
from mpo_transport.methods.tebd.kernels import (
    discarded,
    move_left,
    move_right,
    orthonormal_rows,
    split_left,
    split_right,
)
from mpo_transport.methods.tebd.measure import enlarge, profile
from mpo_transport.methods.tebd.plan import build_plan, position_order, share_with_larger
from mpo_transport.methods.tebd.schedule import Level, Limits, Relaxation, decide, time_step_weight, truncation_weight
from mpo_transport.methods.tebd.splitting import layer_sequence, splitting, sweep_sequence
from mpo_transport.methods.tebd.window import Truncator, run_passes
from mpo_transport.states import MPOState
from mpo_transport.superoperator import hermitian_lindbladian, local_generators
from mpo_transport.superoperator.train import canonical_train, dense_train, split_dense

RNG = np.random.default_rng(7)


def random_train(legs, bond):
    dims = [1] + [bond] * (len(legs) - 1) + [1]
    tensors = [RNG.normal(size=(dims[k], n, dims[k + 1])) for k, n in enumerate(legs)]
    return list(canonical_train(tensors, 0))


# -- linear algebra ---------------------------------------------------------------------------------------------------


def test_orthonormal_rows_span_the_sketch_and_survive_rank_deficiency():
    sketch = RNG.normal(size=(5, 12))
    sketch[4] = sketch[0] + sketch[1]
    q = orthonormal_rows(sketch.copy())
    assert np.allclose(q @ q.T, np.eye(5), atol=1e-14)
    assert np.allclose(sketch @ q.T @ q, sketch, atol=1e-13)


def test_range_finder_is_exact_at_full_rank_and_near_the_svd_optimum_below():
    u = np.linalg.qr(RNG.normal(size=(24, 20)))[0]
    v = np.linalg.qr(RNG.normal(size=(28, 20)))[0]
    s = 0.4 ** np.arange(20)
    theta = (u * s) @ v.T
    optimum = float((s[6:] ** 2).sum() / (s**2).sum())
    start = np.linalg.qr(v[:, :6] + 0.05 * RNG.normal(size=(28, 6)))[0].T
    one = discarded(theta, *(lambda qt, w: (qt.T, w))(*split_left(theta, start, 1)))
    two = discarded(theta, *(lambda qt, w: (qt.T, w))(*split_left(theta, start, 2)))
    assert optimum <= two <= one < 3 * optimum
    assert two < 1.02 * optimum
    left = np.linalg.qr(u[:, :6] + 0.05 * RNG.normal(size=(24, 6)))[0].T
    assert discarded(theta, *split_right(theta, left, 2)) < 1.02 * optimum
    assert discarded(theta, *split_right(theta, np.eye(20, 24), 1)) < 1e-25  # generic sketch of full rank


def test_moves_leave_the_state_and_make_it_canonical():
    tensors = random_train([4, 9, 4, 4], 4)
    x = dense_train(tensors)
    for k in range(3):
        move_right(tensors, k)
    for k in range(3):
        q = tensors[k].reshape(-1, tensors[k].shape[2])
        assert np.allclose(q.T @ q, np.eye(q.shape[1]), atol=1e-13)
    move_left(tensors, 3)
    assert np.allclose(dense_train(tensors), x, atol=1e-13 * np.abs(x).max())


def test_enlarge_keeps_the_state_bounds_the_bonds_and_depends_on_the_seed_only():
    tensors = random_train([4] * 5, 2)
    bonds = [1, 4, 7, 7, 4, 1]
    out = enlarge(tensors, 0, bonds, seed=3)
    assert [t.shape[0] for t in out] == bonds[:-1]
    assert np.allclose(dense_train(out), dense_train(tensors), atol=1e-13)
    for t in out[1:]:
        q = t.reshape(t.shape[0], -1)
        assert np.allclose(q @ q.T, np.eye(len(q)), atol=1e-13)
    again, other = enlarge(tensors, 0, bonds, seed=3), enlarge(tensors, 0, bonds, seed=4)
    assert all(np.array_equal(a, b) for a, b in zip(out, again, strict=True))
    assert not np.array_equal(out[2], other[2])


# -- splittings and plans ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 4, 6])
def test_splittings_are_consistent_and_symmetric(order):
    a, b = splitting(order)
    assert math.isclose(sum(a), 1, abs_tol=1e-14) and math.isclose(sum(b), 1, abs_tol=1e-14)
    assert a == a[::-1] and b == b[::-1]
    fractions = sweep_sequence(order)
    assert math.isclose(sum(fractions[::2]) + sum(fractions[1::2]), 1, abs_tol=1e-14)
    assert math.isclose(a[-1], fractions[-1], abs_tol=1e-14)  # the next alpha would vanish
    merged = layer_sequence(order, 5)
    assert len(merged) == 5 * (len(a) + len(b) - 1) + 1
    assert all(x[0] != y[0] for x, y in itertools.pairwise(merged))


def test_shared_generators_sum_to_the_whole():
    model = models.persistent_current(L=4, alpha=1.2, delta=0.4 + 0.3j, J=0.7, kappa=0.2, dissipator_distance=2)
    generators = local_generators(model)
    shared = share_with_larger(generators, (2,) * 4)
    assert all(len(s) == 2 for s in shared) and len(shared) < len(generators)
    difference = hermitian_lindbladian(shared, (2,) * 4) - hermitian_lindbladian(model)
    assert abs(difference).max() < 1e-13


def test_ring_is_folded():
    assert position_order(Chain(6, SpinHalf(), periodic=True)) == (0, 5, 1, 4, 2, 3)
    plan = build_plan(models.persistent_current(L=6, alpha=1.0, delta=0.5))
    assert plan.kind == "layers" and max(op[0].stop - op[0].start for op in plan.ops) == 2


def three_site_model():
    h = op("X", 0) * op("Y", 1) * op("Z", 3) + 0.4 * op("Z", 2) + 0.3 * op("X", 3)
    jumps = [Jump(op("Sm", j), rate=0.3 + 0.1 * j) for j in range(4)] + [
        Jump(op("Sp", 0) + 0.5j * op("Sm", 2), rate=0.7)
    ]
    return Lindbladian(Chain(4, SpinHalf()), h, jumps)


def star_model():
    graph = Graph([(0, 4), (1, 4), (2, 4), (3, 4)], SpinHalf())
    h = sum((0.5 * op("X", j) * op("X", 4) + 0.2 * op("Z", j) for j in range(1, 4)), 0.7 * op("X", 0) * op("X", 4))
    return Lindbladian(graph, h, [Jump(op("Sm", j), rate=0.4 + 0.1 * j) for j in range(5)])


def mixed_spaces_model():
    lattice = Chain(3, [SpinHalf(), Boson(3), SpinHalf()])
    exchange = op("Sp", 0) * op("A", 1) + op("A", 1) * op("Sp", 2) * 0.5
    return Lindbladian(lattice, exchange + exchange.dag, [Jump(op("A", 1), rate=0.8), Jump(op("Sm", 0) + op("Sp", 2))])


def long_range_model():
    return models.persistent_current(L=5, alpha=1.0, delta=0.6, J=0.3, periodic=False, dissipator_distance=4)


GEOMETRIES = {
    "chain": (lambda: models.persistent_current(L=5, alpha=1.0, delta=0.6, J=0.3j, periodic=False), "layers", False),
    "ring of 4": (lambda: models.persistent_current(L=4, alpha=1.0, delta=0.6, J=0.3), "layers", False),
    "ring of 5": (lambda: models.persistent_current(L=5, alpha=1.0, delta=0.6, J=0.3), "sweeps", False),
    "next-nearest": (
        lambda: models.persistent_current(L=5, alpha=1.0, delta=0.6, J=0.3, periodic=False, dissipator_distance=2),
        "sweeps",
        False,
    ),
    "long range": (long_range_model, "sweeps", True),
    "three-site term": (three_site_model, "layers", False),
    "star": (star_model, "sweeps", True),
    "mixed spaces": (mixed_spaces_model, "sweeps", False),
}


def evolved(model, x, time, steps, order, use_svd=False):
    plan = build_plan(model)
    legs = [d * d for d in plan.dims]
    tensors = list(split_dense(x).tensors)
    how = Truncator(10**6, 0.0, 1, use_svd or plan.uses_swaps)
    dims = list(legs)
    centre = run_passes(tensors, dims, 0, plan.passes(time / steps, order, steps), how)
    assert dims == legs and centre in (0, len(legs) - 1)
    return dense_train(tensors)


def exact(model, x, time):
    plan = build_plan(model)
    legs = [int(d) ** 2 for d in model.lattice.dims]
    vector = x.transpose(np.argsort(plan.order)).ravel()
    return ssl.expm_multiply(hermitian_lindbladian(model) * time, vector).reshape(legs).transpose(plan.order)


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_order_of_convergence_in_time(name, order):
    build, kind, swaps = GEOMETRIES[name]
    model = build()
    plan = build_plan(model)
    assert (plan.kind, plan.uses_swaps) == (kind, swaps)
    x = np.random.default_rng(1).normal(size=[d * d for d in plan.dims])
    time, counts = (0.6, (3, 6)) if order == 6 else (0.3, (3, 6))  # above the rounding errors
    reference = exact(model, x, time)
    errors = [np.abs(evolved(model, x, time, n, order) - reference).max() for n in counts]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3 if order == 6 else 0.15)
    assert errors[1] < {2: 3e-3, 4: 1e-5, 6: 1e-6}[order]


def test_range_finder_and_svd_truncations_agree_without_truncation():
    model = GEOMETRIES["chain"][0]()
    x = np.random.default_rng(2).normal(size=[4] * 5)
    assert np.abs(evolved(model, x, 0.2, 2, 4) - evolved(model, x, 0.2, 2, 4, use_svd=True)).max() < 1e-12


def test_trace_is_preserved_without_truncation():
    model = GEOMETRIES["ring of 5"][0]()
    x = np.random.default_rng(3).normal(size=[4] * 5)
    assert evolved(model, x, 1.0, 4, 4)[0, 0, 0, 0, 0] == pytest.approx(x[0, 0, 0, 0, 0], abs=1e-12)


def test_two_sites_have_no_splitting_error():
    model = models.persistent_current(L=2, alpha=1.0, delta=0.6, periodic=False)
    x = np.random.default_rng(1).normal(size=(4, 4))
    assert np.abs(evolved(model, x, 0.7, 1, 2) - exact(model, x, 0.7)).max() < 1e-13


def test_profile_is_what_the_state_says():
    ring = models.persistent_current(L=5, alpha=1.0, delta=0.5)
    state = MPOState(ring.lattice, tuple(random_train([4] * 5, 3)), position_order(ring.lattice), 0)
    values = profile(state).reshape(5, 4, 4)
    names = ["I", "X", "Y", "Z"]
    for bond, (i, j) in enumerate(ring.lattice.bonds):
        first, second = sorted((i, j), key=state.order.index)
        for a in range(1, 4):
            for b in range(1, 4):
                expected = state.expect(op(names[a], first) * op(names[b], second)).real
                assert values[bond, a, b] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert values[bond, 0, 0] == pytest.approx(1)


# -- schedule ---------------------------------------------------------------------------------------------------------


def test_relaxation_estimate_of_a_single_mode_is_exact_and_of_a_slow_one_not_small():
    rate, interval = 0.3, 1.5
    record = Relaxation(interval)
    distance = [math.exp(-rate * interval * k) for k in range(6)]
    for k in range(5):
        record.add(distance[k] - distance[k + 1])
    assert record.remaining == pytest.approx(distance[5], rel=1e-9)
    assert record.decay_rate == pytest.approx(rate, rel=1e-9)
    slow = Relaxation(interval, slowest=0.01)
    for k in range(5):
        slow.add(distance[k] - distance[k + 1])
    assert slow.remaining > 20 * distance[5]  # a mode that was seen before is not believed to be gone


def test_relaxation_without_decay_is_never_small():
    record = Relaxation(1.0)
    for _ in range(4):
        record.add(1e-9)
    assert math.isinf(record.remaining) and record.too_slow()
    assert Relaxation.from_json(json.loads(json.dumps(record.to_json()))) == record


def limits(**changes):
    return Limits(
        **({"tol": 1e-5, "dt": None, "bond": None, "max_bond": 64, "exact_bond": 1024, "split": True} | changes)
    )


def choose(limits_, time_step, truncation, relaxation=1e-8, level=None, wandering=False):
    parts = {"time step": time_step, "truncation": truncation, "relaxation": relaxation}
    return decide(level or Level(0.1, 4, 16), limits_, parts, parts, dict.fromkeys(parts, True), wandering)


def test_decisions():
    assert choose(limits(), 1e-6, 1e-6).converged
    assert choose(limits(), 1e-6, 1e-3).level == Level(0.1, 4, 24)
    shorter = choose(limits(), 1e-3, 1e-6).level
    assert shorter.bond == 16 and 0.03 < shorter.dt < 0.1
    stalled = choose(limits(max_bond=16), 1e-6, 1e-3)
    assert stalled.kind == "finish" and stalled.truncated and not stalled.converged
    assert choose(limits(dt=0.1, bond=16), None, None).kind == "companion"
    late = choose(limits(dt=0.1, bond=16), 1e-3, 1e-6)
    assert late.kind == "finish" and not late.truncated and not late.converged
    assert choose(limits(), 3e-6, 3e-6, relaxation=1e-4).kind == "relax"
    assert choose(limits(), 3e-6, 3e-6, relaxation=1e-4, wandering=True).level == Level(0.1, 4, 24)
    assert choose(limits(exact_bond=16), 1e-6, 0.0).converged


def test_separable_parts_are_refined_one_after_the_other():
    """One shorter step to learn its error, then the bond dimension, and the final step in one go."""

    def next_level(time_step, truncation):
        parts = {"time step": time_step, "truncation": truncation, "relaxation": 1e-8}
        return decide(Level(0.1, 4, 16), limits(), parts, parts, dict.fromkeys(parts, True), separable=True).level

    first = next_level(None, None)
    assert first.bond == 16 and 0.03 < first.dt < 0.06
    assert next_level(1e-3, None) == next_level(1e-3, 1e-4) == Level(0.1, 4, 24)
    last = next_level(1e-4, 3e-6)
    assert last.bond == 16
    claim = 1e-4 / ((0.1 / last.dt) ** 3.3 - 1)
    assert claim < 1e-5 - 3e-6
    assert next_level(8e-6, 3e-6).dt < 0.06  # a difference of nearly equal steps would say little


def test_weights_fall_with_refinement():
    assert time_step_weight(0.1, 0.2, 4) < time_step_weight(0.1, 0.2, 2) < 1
    assert time_step_weight(0.1, 0.2, 4) > 1 / 15  # more than what ideal fourth order promises
    assert 0.8 <= truncation_weight(1e-12, 1e-10) <= truncation_weight(0.9e-10, 1e-10) <= 2
    # only differences that were seen to fall allow for less, and never much less
    assert 0.4 <= truncation_weight(1e-12, 1e-10, 0.05) < truncation_weight(1e-12, 1e-10, 0.25) < 0.8
    assert truncation_weight(1e-12, 1e-10, 1.5) == truncation_weight(1e-12, 1e-10)
    assert truncation_weight(0.9e-10, 1e-10, 0.05) == truncation_weight(0.9e-10, 1e-10)


# -- knobs, support, restart ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_bond", 0),
        ("max_bond", 2.5),
        ("max_bond", True),
        ("initial_bond", 0),
        ("dt", 0.0),
        ("dt", -0.1),
        ("dt", math.nan),
        ("dt", math.inf),
        ("order", 3),
        ("max_time", 0),
        ("iterations", 3),
        ("cutoff", -1e-9),
        ("cutoff", 1.0),
    ],
)
def test_bad_knobs_are_named(field, value):
    with pytest.raises(InputError) as caught:
        TEBD(**{field: value})
    assert caught.value.field == field and f"`{field}`" in str(caught.value)


@pytest.mark.parametrize("dt", [20.0, 1e4])
def test_step_that_overflows_is_refused(dt):
    model = models.persistent_current(L=4, alpha=2.0, delta=1.0, periodic=False)
    method = TEBD(dt=dt)
    work = method.prepare(model, tol=1e-3, seed=0)
    iterate = method.start(work, None)
    with pytest.raises(InputError) as caught:
        for _ in range(10):
            iterate, _ = method.advance(work, iterate)
    assert caught.value.field == "dt"
    work = method.prepare(model, tol=1e-3, seed=0, task="evolve")
    with pytest.raises(InputError) as caught:
        method.propagate(work, method.start(work, "up"), 1e6)
    assert caught.value.field == "dt"


def test_refusals_say_why():
    unbounded = models.boundary_driven_xx(3, 1.0, 1.0, 0.5, 1.0, 0.2, levels=math.inf)
    assert "levels" in TEBD().supports(unbounded).reason
    large = Lindbladian(
        Chain(2, Boson(16)), op("Adag", 0) * op("A", 1) + op("Adag", 1) * op("A", 0), [Jump(op("A", 0))]
    )
    support = TEBD(layout="dense").supports(large)
    assert not support and "GiB" in support.reason and "(0, 1)" in support.reason
    with pytest.raises(NotSupportedError):
        TEBD(layout="dense").prepare(large, tol=1e-3, seed=0)
    assert not TEBD().supports(unbounded, "spectrum")
    with pytest.raises(InputError) as caught:
        work = TEBD().prepare(models.persistent_current(L=3, alpha=1.0, delta=0.5), tol=1e-3, seed=0)
        TEBD().start(work, "sideways")
    assert caught.value.field == "initial"


def through_storage(lattice, iterate):
    def copy(state):
        arrays = {k: v.copy() for k, v in state.arrays().items()}
        return MPOState.from_arrays(lattice, arrays, json.loads(json.dumps(state.attributes())))

    return Iterate(
        copy(iterate.state),
        iterate.step,
        json.loads(json.dumps(dict(iterate.scalars))),
        {k: v.copy() for k, v in iterate.arrays.items()},
        {k: (copy(s), w) for k, (s, w) in iterate.companions.items()},
    )


@pytest.mark.parametrize("knobs", [{}, {"dt": 0.2, "max_bond": 10}], ids=["automatic", "fixed"])
def test_restart_at_any_point_is_bit_for_bit(knobs):
    model = models.persistent_current(L=5, alpha=1.0, delta=0.5, periodic=False)
    method = TEBD(**knobs)
    work = method.prepare(model, tol=1e-4, seed=5)
    unbroken = restarted = method.start(work, None)
    for _ in range(200):
        unbroken, told = method.advance(work, unbroken)
        fresh = method.prepare(model, tol=1e-4, seed=5)
        restarted, told_again = method.advance(fresh, through_storage(model.lattice, restarted))
        assert told.status == told_again.status and dict(unbroken.scalars) == dict(restarted.scalars)
        assert all(np.array_equal(a, b) for a, b in zip(unbroken.state.tensors, restarted.state.tensors, strict=True))
        if told.done:
            break
    assert told.done and isinstance(work.engine, Engine)
