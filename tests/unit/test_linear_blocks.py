"""Sweeps of linear problems in blocks: sorted trains, the nearest-neighbour form, and solutions against dense ones."""

import numpy as np
import pytest

from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, models, observables, op
from mpo_transport.methods import linear_blocks
from mpo_transport.methods.implicit.blocks import Centre, LocalBlocks
from mpo_transport.methods.implicit.local import gmres
from mpo_transport.methods.implicit.sectors import find_labels, graded_operator, ungraded
from mpo_transport.methods.linear_blocks import LinearSweep, graded_train
from mpo_transport.methods.linear_sweeps import DualProblem, DualVector, identity_train, relax, warm_up
from mpo_transport.methods.linear_terms import PairBlocks, pair_terms
from mpo_transport.superoperator import hermitian_lindbladian
from mpo_transport.superoperator.mpo import lindbladian_mpo, operator_train
from mpo_transport.superoperator.train import dense_train, split_dense

L = 5


def driven_xxz(length=L):
    return models.boundary_driven_xxz(length, 0.6, J=0.9, G_L=0.7, f_L=0.8, G_R=1.2, f_R=0.3)


def crooked():
    """Fields, two-site jumps and rates without any symmetry, on neighbouring sites."""
    rng = np.random.default_rng(3)
    h = sum((rng.normal() * op("X", j) + rng.normal() * op("Z", j) for j in range(L)), 0 * op("X", 0))
    for j in range(L - 1):
        h = h + rng.normal() * op("X", j) * op("Y", j + 1) + rng.normal() * op("Z", j) * op("Z", j + 1)
    jumps = [Jump(op("Sm", j) + 0.5j * op("Z", j + 1), rate=rng.uniform(0.3, 1.0)) for j in range(L - 1)]
    return Lindbladian(Chain(L, SpinHalf()), h, [*jumps, Jump(op("Sp", 2), rate=0.4)])


def skipping():
    model = driven_xxz()
    return Lindbladian(model.lattice, model.hamiltonian + 0.3 * op("Z", 0) * op("Z", 2), model.jumps)


def even_vector(model, seed=0):
    """A random vector in the sector of the identity, of no special gauge."""
    rng = np.random.default_rng(seed)
    labels = find_labels(model)
    total = np.zeros([4] * model.L, dtype=int)
    for p in range(model.L):
        total += labels[p].reshape([4 if q == p else 1 for q in range(model.L)])
    return np.where(total % 2 == 0, rng.normal(size=total.shape), 0.0)


def problem_of(model, *, graded=True, operator=None):
    mpo = lindbladian_mpo(model).transpose()
    b = tuple(t / np.sqrt(2.0) for t in operator_train(model.lattice, operator or op("Z", 1) * op("Z", 2)))
    return DualProblem(mpo, b, 1.0, graded_operator(mpo.tensors, find_labels(model)) if graded else None)


def test_sorted_trains_are_the_same_vectors():
    model = driven_xxz()
    operator = graded_operator(lindbladian_mpo(model).tensors, find_labels(model))
    x = even_vector(model)
    found = graded_train(split_dense(x).tensors, operator)
    back = dense_train(found.tensors)
    for p, order in enumerate(operator.orders):
        back = np.take(back, np.argsort(order), axis=p)
    assert np.abs(back - x).max() < 1e-13
    assert found.rest < 1e-14 and found.bonds[2].sizes == (8, 8)
    for p, t in enumerate(found.tensors):
        labels = found.bonds[p].labels[:, None, None] ^ operator.locals[p].labels[:, None] ^ found.bonds[p + 1].labels
        assert np.all(t[labels != 0] == 0)
        if p:
            flat = t.reshape(len(t), -1)
            assert np.abs(flat @ flat.T - np.eye(len(t))).max() < 1e-13
    odd = np.random.default_rng(1).normal(size=x.shape)
    mixed = graded_train(split_dense(odd).tensors, operator)
    assert mixed.rest == pytest.approx(np.sqrt(0.5), abs=0.05)


@pytest.mark.parametrize(
    "model", [driven_xxz(), crooked(), models.persistent_current(L, 1.3, 0.4, J=0.7, periodic=False)]
)
def test_nearest_neighbour_form_is_the_projection(model):
    for mpo in (lindbladian_mpo(model), lindbladian_mpo(model).transpose()):
        operator = graded_operator(mpo.tensors, find_labels(model))
        pairs = pair_terms(operator)
        x = split_dense(even_vector(model), max_bond=9)
        y = graded_train(x.tensors, operator)
        b = graded_train(identity_train([4] * L), operator)
        sweep = LinearSweep.of(operator, pairs, b, 1.0, y)
        for p in range(L - 1):
            centre = Centre(sweep.bonds[p], sweep._site(p), sweep._site(p + 1), sweep.bonds[p + 2])
            shapes = list(zip(centre.rows(), centre.columns(), strict=True))
            local = LocalBlocks(sweep._left_half(p), sweep._right_half(p + 1), shapes)
            fast = PairBlocks(pairs, p, centre, sweep._left[p], sweep._right[p + 1])
            z = np.random.default_rng(p).normal(size=local.size)
            assert np.abs(fast(z.astype(np.float32)) - local(z)).max() < 2e-6 * np.abs(local(z)).max()
            sweep.solve(p, 1.0, 9, 3, forward=True)


def test_other_generators_have_no_such_form():
    mpo = lindbladian_mpo(skipping())
    assert pair_terms(graded_operator(mpo.tensors, find_labels(skipping()))) is None
    assert pair_terms(ungraded(mpo.tensors)) is None


@pytest.mark.parametrize("kind", ["sectors", "plain", "by sites", "pairs", "odd", "skipping"])
def test_solutions_are_those_of_the_dense_matrix(kind, monkeypatch):
    monkeypatch.setattr(linear_blocks, "HALVES", 1 if kind == "by sites" else 100)
    monkeypatch.setattr(linear_blocks, "PAIRS", 1 if kind == "pairs" else 10**6)
    model = skipping() if kind == "skipping" else driven_xxz()
    operator = op("X", 1) if kind == "odd" else op("Z", 1) * op("Z", 2)
    problem = problem_of(model, graded=kind not in ("plain", "by sites"), operator=operator)
    y = relax(problem, problem.enriched(problem.start(), 16), 16, 3.0, 1e-9)
    assert y.residual < 1e-7
    matrix = hermitian_lindbladian(model).toarray().T
    matrix[0, 0] -= problem.shift
    direct = np.linalg.solve(matrix, dense_train(problem.b).ravel())
    assert np.abs(dense_train(y.y.tensors).ravel() - direct).max() < 1e-6 * np.abs(direct).max()
    assert problem.is_nearest_neighbour == (kind != "skipping")


def test_warm_up_never_ends_worse_than_its_best_sweep():
    # steps that no sweep takes back lead to infinity at maximal driving: the best one counts
    model = models.boundary_driven_xx(8, 1.0, 2.0, 1.0, 2.0, 0.0)
    problem = problem_of(model, operator=observables.current(model).operators[3])
    found = warm_up(problem, 8)
    assert np.isfinite(found.residual) and found.residual == problem.quick_residual(found.y)
    assert found.residual < problem.quick_residual(problem.enriched(problem.start(), 8))


def test_single_precision_stays_single():
    matrix = np.diag(np.arange(1.0, 9.0)).astype(np.float32)
    solved = gmres(lambda z: matrix @ z, lambda z: z, np.ones(8, dtype=np.float32), 1e-4, 8)
    assert solved.correction.dtype == np.float32
    assert np.abs(matrix @ solved.correction - 1).max() < 1e-3


def test_vectors_between_sweeps_are_plain():
    problem = problem_of(driven_xxz())
    y, worst = problem.sweep(problem.start(), 1.0, 8)
    assert isinstance(y, DualVector) and y.bond_dimension <= 8 and worst > 0
    again, _ = problem.sweep(problem.start(), 1.0, 8)
    assert all(np.array_equal(a, b) for a, b in zip(y.tensors, again.tensors, strict=True))
