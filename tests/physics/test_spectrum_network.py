"""Gaps by matrix products: against exact diagonalisation and closed forms, and what is refused."""

import numpy as np
import pytest
from systems import load_benchmark

import mpo_transport as mt
from mpo_transport.errors import ConvergenceError, InputError
from mpo_transport.methods.linear_sweeps import DualVector, identity_train, traceless_train
from mpo_transport.models import boundary_driven_xx, boundary_driven_xxz, persistent_current
from mpo_transport.spectrum.evolution import OperatorEvolution
from mpo_transport.spectrum.subspace import Sample, Subspace, quotient
from mpo_transport.superoperator import hermitian_lindbladian, lindbladian_mpo
from mpo_transport.superoperator.train import dense_train, split_dense

EVEN = {"parity": "even"}


def tilted(model):
    """A traceless operator without symmetry, in units where the identity has norm one."""
    rng = np.random.default_rng(3)
    bonds = [1, 3, 4, 1][: model.L] if model.L < 4 else [1, 3, 4, 3, 1]
    train = [rng.normal(size=(bonds[k], 4, bonds[k + 1])) for k in range(model.L)]
    return traceless_train(train)


def test_evolution_of_operators_is_the_exponential_of_the_adjoint():
    model = boundary_driven_xxz(4, 0.7, J=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    flow = OperatorEvolution(model)
    train = tilted(model)
    before = dense_train(train).ravel()
    out = dense_train(flow(train, 3, 64)).ravel()
    values, vectors = np.linalg.eig(hermitian_lindbladian(model).toarray().T)
    exact = np.real(vectors @ (np.exp(values * 3 * flow.dt) * np.linalg.solve(vectors, before)))
    exact[0] = 0.0
    assert np.abs(out - exact / np.linalg.norm(exact)).max() < 0.02  # three steps of fourth order, as long as they go
    flow.dt /= 4
    finer = dense_train(flow(train, 12, 64)).ravel()
    assert np.abs(finer - exact / np.linalg.norm(exact)).max() < 1e-3


def test_small_eigenvalue_problem_is_that_of_the_dense_matrix():
    model = boundary_driven_xxz(3, 0.7, J=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    adjoint = lindbladian_mpo(model).transpose()
    space = Subspace(adjoint)
    rng = np.random.default_rng(1)
    for _ in range(3):
        train = [rng.normal(size=s) for s in ((1, 4, 3), (3, 4, 3), (3, 4, 1))]
        space.add(DualVector(tuple(train), (0, 1, 2)))
    v = np.array([dense_train(x.tensors).ravel() for x in space.v]).T
    matrix = hermitian_lindbladian(model).toarray().T.copy()
    matrix[0] = 0.0
    q, _ = np.linalg.qr(v)
    ritz = space.ritz()
    expected = np.linalg.eigvals(q.T @ matrix @ q)
    assert np.abs(np.sort_complex(ritz.values) - np.sort_complex(expected)).max() < 1e-9
    for value, residual, c in zip(ritz.values, ritz.residuals, ritz.vectors.T, strict=True):
        x = v @ c
        assert residual == pytest.approx(np.linalg.norm(matrix @ x - value * x) / np.linalg.norm(x), rel=1e-6)


def test_two_sided_quotients_err_by_the_product_of_both_errors():
    model = boundary_driven_xxz(3, 0.7, J=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    adjoint = lindbladian_mpo(model).transpose()
    matrix = hermitian_lindbladian(model).toarray().T[1:, 1:]
    values, lefts = np.linalg.eig(matrix)
    slow = int(np.argmin(np.abs(values)))
    rights = np.linalg.inv(lefts).T
    v, w = (np.real(x[:, slow]) / np.linalg.norm(x[:, slow]) for x in (lefts, rights))
    rng = np.random.default_rng(5)
    dv, dw = (x / np.linalg.norm(x) for x in rng.normal(size=(2, len(v))))

    def sample(x):
        train = split_dense(np.concatenate([[0.0], x]).reshape(4, 4, 4)).tensors
        return Sample((DualVector(train, (0, 1, 2)),), np.ones(1), 0j, 0.0, float(np.linalg.norm(x)))

    exact = float(values[slow].real)
    errors = []
    for size in (0.02, 0.01):
        value, overlap = quotient(adjoint, sample(v + size * dv), sample(w + size * dw))
        errors.append(abs(value - exact))
        assert 0.3 < overlap <= 1
    assert 3 < errors[0] / errors[1] < 5  # of second order
    assert quotient(adjoint, sample(v), sample(w + 0.3 * dw))[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    "model",
    [
        boundary_driven_xxz(4, 0.7, J=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2),
        persistent_current(4, [2.0, 1.5, 1.8], 1.0, mu=1.0, periodic=False),
    ],
    ids=["xxz", "pumped"],
)
def test_gaps_of_short_chains(model):
    exact = mt.gap(model, sector=EVEN)
    found = mt.gap(model, method="sweeps", max_bond=16)
    assert abs(found - exact) < found.error < 2e-3 * exact
    assert found.sector == "parity=even"


def test_gap_of_a_quadratic_chain():
    model = boundary_driven_xx(5, 1.0, 1.0, 0.8, 1.0, 0.2)
    exact = mt.gap(model, sector=EVEN, method="rapidities")
    assert abs(mt.gap(model, method="sweeps", max_bond=16) - exact) < 1e-3 * exact


def test_a_gap_where_bonds_are_cut():
    model = persistent_current(5, [2.0, 1.5, 1.8, 1.7], 1.0, mu=1.0, periodic=False)
    exact = mt.gap(model, sector=EVEN)
    found = mt.gap(model, method="sweeps", max_bond=12, tol=0.1)
    assert abs(found - exact) < min(found.error, 0.01 * exact)


@pytest.mark.slow
def test_a_gap_where_nothing_is_cut():
    model = boundary_driven_xxz(6, 0.7, J=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    exact = mt.gap(model, sector=EVEN)
    found = mt.gap(model, method="sweeps", max_bond=64)
    assert abs(found - exact) < min(found.error, 1e-5 * exact)


@pytest.mark.slow
@pytest.mark.parametrize("fillings", [(0.8, 0.2), (0.5, 0.5)])
@pytest.mark.parametrize("L", [20, 40])
def test_gaps_of_longer_chains(L, fillings):
    model = boundary_driven_xx(L, 1.0, 1.0, fillings[0], 1.0, fillings[1])
    exact = mt.gap(model, sector=EVEN, method="rapidities")
    if L == 20:  # the even gap does not depend on the fillings
        assert exact == pytest.approx(load_benchmark("gap-20")[1]["gap_even_parity_sector"], rel=1e-9)
    try:
        found = mt.gap(model, method="sweeps", max_bond=16)
    except ConvergenceError as refused:  # rounding decides how well the equations of 40 sites are solved
        assert L == 40
        value = -refused.result.eigenvalues[0].real
        claimed = refused.result.residuals[0] * refused.result.conditions[0]
        assert abs(value - exact) < min(claimed, 1e-3 * exact)
    else:
        assert abs(found - exact) < min(found.error, 1e-3 * exact)


def test_what_did_not_converge_is_said():
    model = boundary_driven_xxz(6, 0.7, J=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    with pytest.raises(ConvergenceError, match="max_bond") as caught:
        mt.gap(model, method="sweeps", max_bond=4)
    assert len(caught.value.result) >= 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"method": "sweeps", "sector": {"charge": 1}}, "sector"),
        ({"method": "sweeps", "max_bond": 2}, "max_bond"),
        ({"max_bond": 8}, "max_bond"),
        ({"method": "sweep"}, "method"),
        ({"method": "sweeps", "tol": 0.0}, "tol"),
    ],
)
def test_bad_arguments(arguments, field):
    model = boundary_driven_xx(4, 1.0, 1.0, 0.8, 1.0, 0.2)
    with pytest.raises(InputError) as caught:
        mt.gap(model, **arguments)
    assert caught.value.field == field


def test_the_identity_is_taken_out():
    legs = (4, 4, 4)
    train = traceless_train(identity_train(legs))
    assert np.abs(dense_train(train)).max() == 0.0
