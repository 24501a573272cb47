"""TEBD in blocks of a weak parity: the same numbers as without, restarts, compiled and plain code, models without."""

import importlib.util
import json
import os
import sys

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Boson, Chain, Jump, Lindbladian, SpinHalf, models, op
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.methods import Iterate
from mpo_transport.methods.tebd import blocks, graded, halves
from mpo_transport.methods.tebd.engine import Engine
from mpo_transport.methods.tebd.graded import Parity, find_parity
from mpo_transport.methods.tebd.kernels import discarded
from mpo_transport.methods.tebd.plan import build_plan
from mpo_transport.methods.tebd.window import Truncator, run_passes
from mpo_transport.result import Status
from mpo_transport.states import MPOState
from mpo_transport.superoperator.train import canonical_train, dense_train


def spins():
    """Every parameter another, complex hopping: strings with an even number of X and Y stay so."""
    rng = np.random.default_rng(1)
    h = 0.0 * op("Z", 0)
    for j in range(5):
        hop = complex(*rng.normal(size=2)) * op("Sp", j) * op("Sm", j + 1)
        pair = 0.3 * rng.normal() * op("Sp", j) * op("Sp", j + 1)
        h = h + hop + hop.dag + pair + pair.dag + rng.normal() * op("Z", j) * op("Z", j + 1) + rng.normal() * op("Z", j)
    jumps = [Jump(op("Sm", j) + rng.normal() * op("Sp", j + 1), rate=rng.uniform(0.2, 1)) for j in range(5)]
    return Lindbladian(Chain(6, SpinHalf()), h, [*jumps, Jump(op("Sm", 5), rate=0.4)])


def bosons():
    """Three levels: five even and four odd basis operators per site."""
    rng = np.random.default_rng(2)
    h = sum((rng.normal() * op("N", j) for j in range(1, 4)), rng.normal() * op("N", 0) * op("N", 1))
    for j in range(3):
        hop = complex(*rng.normal(size=2)) * op("Adag", j) * op("A", j + 1)
        h = h + hop + hop.dag
    return Lindbladian(Chain(4, Boson(3)), h, [Jump(op("A", 0), rate=0.7), Jump(op("Adag", 3) + 0.4 * op("A", 2))])


def unequal():
    """Sites of different dimension side by side."""
    hop = (0.7 + 0.2j) * op("Sp", 0) * op("A", 1) + 0.5 * op("Adag", 1) * op("Sm", 2) + op("Sp", 2) * op("Sm", 3)
    lattice = Chain(4, [SpinHalf(), Boson(3), SpinHalf(), SpinHalf()])
    return Lindbladian(lattice, hop + hop.dag + 0.3 * op("Z", 3), [Jump(op("A", 1), rate=0.6), Jump(op("Sp", 3))])


MODELS = {"spins": spins, "bosons": bosons, "unequal": unequal}


def random_state(parity, model, bond, seed=0):
    """A random state in the sector, canonical and graded, with well separated singular values nowhere near zero."""
    rng = np.random.default_rng(seed)
    legs = [len(x) for x in parity.labels]
    inner = [min(bond, int(np.prod(legs[:k])), int(np.prod(legs[k:]))) for k in range(1, len(legs))]
    dims = [1, *inner, 1]
    tensors = [rng.normal(size=(dims[k], n, dims[k + 1])) for k, n in enumerate(legs)]
    projected = parity._orthonormal_right(*parity._doubled(tensors, 0))[0]
    return parity.fit(projected, [1, *inner, 1], seed)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("iterations", [1, 2])
def test_blocks_do_the_same_as_the_dense_tensors(name, iterations):
    model = MODELS[name]()
    plan = build_plan(model)
    parity = find_parity(plan)
    largest = 0.0
    for bond in (5, 12):
        start = random_state(parity, model, bond)
        legs = [t.shape[1] for t in start]
        for passes in (plan.passes(0.05, 4, 1)[:1], plan.passes(0.05, 4, 1)[:2], plan.passes(0.05, 2, 1)):
            dense, block = [t.copy() for t in start], [t.copy() for t in start]
            weights = np.zeros((2, len(legs) - 1))
            end = run_passes(dense, legs, 0, passes, Truncator(bond, 0.0, iterations, False, weights[0]))
            assert parity.run(block, parity.bonds(block, 0), 0, passes, iterations, weights[1]) == end
            x, y = dense_train(dense), dense_train(block)
            assert np.abs(x - y).max() < 1e-12 * np.abs(x).max()
            assert np.allclose(weights[0], weights[1], rtol=1e-8, atol=1e-14)
            largest = max(largest, weights.max())
            bonds = parity.bonds(block, end)
            assert bonds is not None and [b.sum() for b in bonds[1:-1]] == [t.shape[0] for t in start[1:]]
            again = canonical_train(block, end)  # the centre alone holds the norm
            assert np.linalg.norm(again[end]) == pytest.approx(np.linalg.norm(block[end]), rel=1e-13)
    assert largest > 1e-6


def test_truncation_is_near_the_optimum_of_the_singular_values():
    model = spins()
    plan = build_plan(model)
    parity = find_parity(plan)
    start = random_state(parity, model, 16, seed=4)
    gate = next(g for g in plan.passes(0.1, 2, 1)[0].bonds if g is not None)
    k = 2
    moved = list(canonical_train(start, k, 0))
    theta = np.tensordot(moved[k], moved[k + 1], axes=(2, 0))
    l, n, m, r = theta.shape
    theta = np.matmul(gate, theta.reshape(l, n * m, r)).reshape(l * n, m * r)
    s = np.linalg.svd(theta, compute_uv=False)
    passes = plan.passes(0.1, 2, 1)[:1]
    only = [type(passes[0])([], [gate if b == k else None for b in range(5)])]
    lost = []
    for iterations in (1, 2):
        weights = np.zeros(5)
        tensors = [t.copy() for t in start]
        parity.run(tensors, parity.bonds(tensors, 0), 0, only, iterations, weights)
        lost.append(weights[k])
    optimum = float((s[16:] ** 2).sum() / (s**2).sum())
    assert optimum * (1 - 1e-9) <= lost[1] <= lost[0] < 3 * optimum
    assert discarded(theta, theta, np.eye(theta.shape[1])) < 1e-28


@pytest.mark.parametrize("name", MODELS)
def test_bonds_change_without_changing_the_state(name):
    model = MODELS[name]()
    parity = find_parity(build_plan(model))
    state = MPOState.product(model.lattice, [0, 1] * (model.L // 2))
    x = dense_train(state.tensors)
    large = parity.fit(state.tensors, build_plan(model).bond_bounds(9), seed=3)
    assert np.abs(dense_train(large) - x).max() < 1e-14
    bonds = parity.bonds(large, 0)
    assert bonds is not None and max(t.shape[0] for t in large) == 9 and np.all(bonds[1:-1] > 0)
    for t in large[1:]:
        q = t.reshape(len(t), -1)
        assert np.abs(q @ q.T - np.eye(len(q))).max() < 1e-13
    again, other = (parity.fit(state.tensors, build_plan(model).bond_bounds(9), seed=s) for s in (3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(large, again, strict=True))
    assert not np.array_equal(large[2], other[2])
    # any gauge of the same state is recognised
    rng = np.random.default_rng(5)
    mixed = [t.copy() for t in random_state(parity, model, 6)]
    y = dense_train(mixed)
    for k in range(1, model.L):
        q = np.linalg.qr(rng.normal(size=(len(mixed[k]),) * 2))[0]
        mixed[k], mixed[k - 1] = np.tensordot(q.T, mixed[k], axes=(1, 0)), mixed[k - 1] @ q
    assert parity.bonds(mixed, 0) is None
    found = parity.fit(mixed, build_plan(model).bond_bounds(12), seed=0)
    assert np.abs(dense_train(found) - y).max() < 1e-13 * np.abs(y).max()
    assert parity.bonds(found, 0) is not None


def test_the_division_of_a_bond_follows_the_state():
    """Twelve even and four odd values: halves would lose a third of the former."""
    parity = find_parity(build_plan(spins()))
    values = np.exp(-0.1 * np.arange(12))
    spectra = [[np.ones(1), np.zeros(0)]] + [[values, values[:4] / 4]] * 5 + [[np.ones(1), np.zeros(0)]]
    bonds = [1, 4, 16, 16, 16, 4, 1]
    split = parity._divide(spectra, bonds)  # twelve are looked at: all are even
    assert split[3].tolist() == [14, 2] and split[1].tolist() == [2, 2]
    known = [[np.ones(1), np.zeros(0)]] + [[np.exp(-0.1 * np.arange(20)), values[:8] / 4]] * 5
    assert parity._divide([*known, [np.ones(1), np.zeros(0)]], bonds)[3].tolist() == [15, 1]
    half = [[np.ones(1), np.zeros(0)]] + [[values[:4], 0.95 * values[:4]]] * 5 + [[np.ones(1), np.zeros(0)]]
    assert parity._divide(half, bonds)[3].tolist() == [8, 8]


def test_states_outside_the_sector_and_models_without_parity_stay_dense():
    model = spins()
    parity = find_parity(build_plan(model))
    tilted = MPOState.product(model.lattice, [np.array([[0.5, 0.5], [0.5, 0.5]])] * 6)
    assert parity.fit(tilted.tensors, [1, 4, 8, 8, 8, 4, 1], seed=0) is None
    h = op("X", 0) + op("Y", 0) * op("Z", 1) + op("X", 1) * op("X", 2) + op("Z", 0) + op("Y", 1)
    field = Lindbladian(Chain(3, SpinHalf()), h, [Jump(op("Sm", j)) for j in range(3)])
    assert find_parity(build_plan(field)) is None
    assert mt.TEBD().prepare(field, tol=1e-3, seed=0).engine.parity is None
    assert find_parity(build_plan(models.persistent_current(L=4, alpha=1.0, delta=0.5))) is None  # a folded ring
    with pytest.raises(NotSupportedError) as caught:
        mt.TEBD(layout="z2").prepare(field, tol=1e-3, seed=0)
    assert caught.value.field == "layout"
    with pytest.raises(InputError) as wrong:
        mt.TEBD(layout="sparse")
    assert wrong.value.field == "layout"


@pytest.mark.parametrize("name", MODELS)
def test_steady_states_of_both_layouts_agree(name):
    model = MODELS[name]()
    tol = 1e-4 if name == "spins" else 1e-3
    both = [mt.steady_state(model, mt.TEBD(layout=layout), tol=tol) for layout in ("z2", "dense")]
    claims = sum(r.certificate.error_estimate for r in both)
    for j in range(model.L - 1):
        rho = [r.state.reduced([j, j + 1]) for r in both]
        assert np.abs(np.linalg.eigvalsh(rho[0] - rho[1])).sum() / 2 < claims


def test_initial_states_outside_the_sector_relax_all_the_same():
    model = spins()
    tilted = [np.array([[0.5, 0.5], [0.5, 0.5]])] * 6
    a, b = (mt.steady_state(model, mt.TEBD(), tol=1e-4, initial=x) for x in (tilted, None))
    claims = a.certificate.error_estimate + b.certificate.error_estimate
    assert np.abs(a.state.reduced([2, 3]) - b.state.reduced([2, 3])).max() < claims


@pytest.mark.parametrize("threads", [1, 2])
def test_restart_is_bit_for_bit(threads, monkeypatch):
    monkeypatch.setattr(halves, "ENOUGH", 0.0)
    tol = 1e-4 if threads == 1 else 1e-2  # threads that have no processor of their own wait for each other
    model = models.persistent_current(L=7, alpha=1.0, delta=0.5, periodic=False)
    method = mt.TEBD(layout="z2", initial_bond=6, threads=threads)
    work = method.prepare(model, tol=tol, seed=5)
    unbroken = restarted = method.start(work, None)
    for _ in range(60):
        unbroken, told = method.advance(work, unbroken)
        arrays = {k: v.copy() for k, v in restarted.state.arrays().items()}
        state = MPOState.from_arrays(model.lattice, arrays, json.loads(json.dumps(restarted.state.attributes())))
        fresh = method.prepare(model, tol=tol, seed=5)
        scalars = json.loads(json.dumps(dict(restarted.scalars)))
        stored = Iterate(state, restarted.step, scalars, restarted.arrays, restarted.companions)
        restarted, _ = method.advance(fresh, stored)
        assert work.engine.parity.bonds(unbroken.state.tensors, unbroken.state.centre) is not None
        assert all(np.array_equal(a, b) for a, b in zip(unbroken.state.tensors, restarted.state.tensors, strict=True))
        if told.done:
            break
    assert told.status is Status.CONVERGED and isinstance(work.engine, Engine)


def plain_blocks(monkeypatch):
    """The module as it is without numba."""
    spec = importlib.util.spec_from_file_location("plain_blocks", blocks.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "numba", None)
        assert module.compiled() == (module.carry, "")
    return module


@pytest.mark.parametrize("name", MODELS)
def test_compiled_and_plain_code_agree(name, monkeypatch):
    model = MODELS[name]()
    plan = build_plan(model)
    parity = find_parity(plan)
    start = random_state(parity, model, 8)
    passes = plan.passes(0.05, 2, 2)
    out = []
    for module in (blocks, plain_blocks(monkeypatch)):
        monkeypatch.setattr(graded, "blocks", module)
        tensors = [t.copy() for t in start]
        end = parity.run(tensors, parity.bonds(tensors, 0), 0, passes, 2, np.zeros(len(start) - 1))
        out.append(dense_train(tensors))
        assert parity.bonds(tensors, end) is not None
    assert np.abs(out[0] - out[1]).max() < 1e-12 * np.abs(out[0]).max()


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 9), (16, 16), (17, 40), (40, 40)])
@pytest.mark.parametrize("kind", ["full", "deficient", "zero", "graded", "tiny", "huge"])
def test_reflections_along_rows_are_a_factorisation(shape, kind, monkeypatch):
    """rows = L Q with orthonormal rows of Q, whatever the rank; panels, and numbers whose squares are none."""
    m, n = shape
    rng = np.random.default_rng(m)
    rows = rng.normal(size=shape)
    if kind == "deficient":
        rows = rows[:, : max(1, m // 3)] @ rng.normal(size=(max(1, m // 3), n))
        rows[m // 2] = 0.0
    elif kind == "graded":
        rows *= np.logspace(0, -200, m)[:, None]
    scale = {"zero": 0.0, "tiny": 1e-160, "huge": 1e160}.get(kind, 1.0)
    rows *= scale
    with np.errstate(over="ignore"):
        low, q = plain_blocks(monkeypatch)._householder(rows)
    assert np.abs(q @ q.T - np.eye(m)).max() < 1e-14
    assert np.abs(low @ q - rows).max() <= 1e-14 * np.abs(rows).max()
    assert np.abs(np.triu(low, 1)).max() == 0
    if kind == "full":  # signs as in LAPACK
        assert np.abs(np.abs(np.diag(q @ np.linalg.qr(rows.T)[0])) - 1).max() < 1e-13


@pytest.mark.parametrize("threads", [1, 2])
def test_norms_near_the_smallest_numbers(threads, monkeypatch):
    """Passes are linear: a norm of 1e-151, that of a thousand spins, changes neither state nor discarded weights."""
    monkeypatch.setattr(halves, "ENOUGH", 0.0)
    model = spins()
    plan = build_plan(model)
    parity = find_parity(plan)
    parity.threads = threads
    start = random_state(parity, model, 8)
    found = []
    for scale in (1.0, 1e-151):
        tensors, weights = [t.copy() for t in start], np.zeros(5)
        tensors[0] *= scale
        end = parity.run(tensors, parity.bonds(tensors, 0), 0, plan.passes(0.05, 2, 1), 1, weights)
        tensors[end] /= scale
        found.append((dense_train(tensors), weights))
    assert np.abs(found[0][0] - found[1][0]).max() < 1e-12 * np.abs(found[0][0]).max()
    assert np.allclose(found[0][1], found[1][1], rtol=1e-9, atol=1e-25) and found[0][1].max() > 1e-8


def test_overflow_is_noticed_by_both(monkeypatch):
    model = spins()
    plan = build_plan(model)
    parity = find_parity(plan)
    start = random_state(parity, model, 8)
    start[0] = start[0] * (1e300 / np.abs(start[0]).max())
    unstable = plan.passes(0.5, 2, 3)
    for item in unstable:
        item.bonds = [None if g is None else 1e5 * g for g in item.bonds]
    for module in (blocks, plain_blocks(monkeypatch)):
        monkeypatch.setattr(graded, "blocks", module)
        tensors = [t.copy() for t in start]
        with np.errstate(all="ignore"):
            end = parity.run(tensors, parity.bonds(tensors, 0), 0, unstable, 1, None)
        assert not np.all(np.isfinite(tensors[end]))
    assert isinstance(parity, Parity)


@pytest.mark.parametrize("bond", [2, 3, 5])
def test_bonds_too_small_for_both_parities(bond):
    """One parity of a bond may be empty; the answer is then as rough as that of the dense layout, not an error."""
    model = mt.models.persistent_current(6, 2.0, 1.0, periodic=False)
    exact = mt.steady_state(model, mt.ExactDiag()).expect(mt.observables.current(model))
    errors = {}
    for layout in ("dense", "z2"):
        method = mt.TEBD(max_bond=bond, initial_bond=bond, dt=0.1, layout=layout)
        result = mt.steady_state(model, method, tol=1e-3, on_failure="return", progress=False)
        assert result.status.value in ("stalled_by_truncation", "not_converged", "unphysical")
        errors[layout] = np.abs(result.expect(mt.observables.current(model)) - exact).max()
    assert errors["z2"] < 3 * errors["dense"] + 1e-3


@pytest.mark.parametrize("L", [4, 5])
@pytest.mark.parametrize("tol", [1e-2, 1e-3])
def test_claims_of_the_shortest_chains_cover_their_errors(L, tol):
    """A bond dimension just below the exact one (16 here) discards next to nothing and still misses the current."""
    model = mt.models.persistent_current(L, 2.0, 1.0, periodic=False)
    exact = mt.steady_state(model, mt.ExactDiag()).expect(mt.observables.current(model))
    values, claimed = mt.steady_state(model, mt.TEBD(), tol=tol).expect(mt.observables.current(model), error=True)
    assert np.all(np.abs(values - exact) <= claimed)


# -- two threads -------------------------------------------------------------------------------------------------------


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
    start = random_state(parity, model, 8)
    start[0] = start[0] * (1e300 / np.abs(start[0]).max())
    unstable = plan.passes(0.5, 2, 3)
    for item in unstable:
        item.bonds = [None if g is None else 1e5 * g for g in item.bonds]
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
