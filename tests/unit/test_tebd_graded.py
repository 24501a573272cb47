"""TEBD in blocks of a weak parity: the same numbers as without, restarts, compiled and plain code, models without."""

import json

import numpy as np
import pytest
from parity_states import MODELS, overflowing, plain_blocks, random_state, spins

import mpo_transport as mt
from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, models, op
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
    start, unstable = overflowing(model, plan, parity)
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
