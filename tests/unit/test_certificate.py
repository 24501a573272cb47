"""Checks common to all methods, on states whose answers are known."""

import math

import numpy as np
import pytest
from systems import dense_steady_state

from mpo_transport import Boson, Chain, Graph, Jump, Lindbladian, LocalSpace, SpinHalf, models, op
from mpo_transport import observables as obs
from mpo_transport.certificate import common_checks, complete, judge
from mpo_transport.result import Certificate, Status
from mpo_transport.states.dense import DenseState
from mpo_transport.states.mpo import MPOState

XX = models.boundary_driven_xx(4, 0.9, 0.6, 0.9, 1.4, 0.2, dephasing=0.1)


def test_an_exact_steady_state_passes():
    checks = common_checks(XX, dense_steady_state(XX))
    assert checks["trace"] == pytest.approx(1, abs=1e-12)
    assert checks["current_uniformity"] < 1e-13
    assert checks["identity_residual"] < 1e-13
    assert checks["smallest_eigenvalue"] > 0.01
    assert checks["top_population"] is None


def test_a_product_state_is_found_out():
    state = DenseState.product(XX.lattice, [1, 0, 1, 0])
    checks = common_checks(XX, state)
    change = [state.expect(obs.adjoint_action(XX, op("N", j))).real for j in range(4)]
    assert checks["identity_residual"] == pytest.approx(max(np.abs(change)), abs=1e-14)
    assert checks["identity_residual"] > 0.1
    rho = dense_steady_state(XX).to_dense() * 0.5 + 0.5 * state.to_dense()
    assert common_checks(XX, DenseState(XX.lattice, rho))["current_uniformity"] < 1e-12  # no current in a product of n
    psi = np.zeros(16, dtype=complex)
    psi[8], psi[4] = 1, 1j  # one particle on sites 0 and 1, moving
    moving = DenseState.from_vector(XX.lattice, psi)
    flow = obs.current(XX).evaluate(moving)
    assert common_checks(XX, moving)["current_uniformity"] == pytest.approx(np.ptp(flow), abs=1e-14)
    assert np.ptp(flow) > 0.5


def test_a_negative_eigenvalue_is_found_on_the_right_bond():
    bad = np.diag([0.6, 0.25, 0.25, -0.1])
    rho = np.kron(np.eye(2) / 2, np.kron(bad, np.eye(2) / 2))
    checks = common_checks(XX, DenseState(XX.lattice, rho))
    assert checks["smallest_eigenvalue"] == pytest.approx(-0.1, abs=1e-14)
    half = np.eye(2) / 2
    rho = np.einsum("abcd,ef,gh->aegbcfhd", bad.reshape(2, 2, 2, 2), half, half).reshape(16, 16)  # the pair on 0 and 3
    ring = models.persistent_current(4, 2.0, 1.0)
    assert common_checks(ring, DenseState(ring.lattice, rho))["smallest_eigenvalue"] == pytest.approx(-0.1, abs=1e-14)
    chain = models.persistent_current(4, 2.0, 1.0, periodic=False)
    assert common_checks(chain, DenseState(chain.lattice, rho))["smallest_eigenvalue"] > 0


@pytest.mark.parametrize("order", [None, (0, 3, 1, 2)])
def test_matrix_product_states_give_the_same_checks(order):
    state = dense_steady_state(XX)
    mpo = MPOState.from_dense(XX.lattice, state.to_dense(), order=order)
    expected = common_checks(XX, state)
    checks = common_checks(XX, mpo)
    assert checks["identity_residual"] < 1e-12
    assert checks["current_uniformity"] < 1e-12
    if order is None:
        assert checks["smallest_eigenvalue"] == pytest.approx(expected["smallest_eigenvalue"], abs=1e-13)
    else:  # neighbours in the matrix product are looked at as well
        assert checks["smallest_eigenvalue"] <= expected["smallest_eigenvalue"] + 1e-13


def test_where_a_continuity_law_applies():
    mixed = lambda model: common_checks(model, DenseState.product(model.lattice, "mixed"))  # noqa: E731
    assert mixed(models.boundary_driven_xxz(3, 0.5, eps=1.0))["current_uniformity"] is not None
    assert mixed(models.exclusion_process(3, 1.0, 0.8, 0.5, 0.3))["current_uniformity"] is not None
    assert mixed(models.ring_dephasing(3, 1.0, 0.9))["current_uniformity"] is not None
    assert mixed(models.persistent_current(4, 2.0, 1.0))["current_uniformity"] is None
    assert mixed(models.boundary_driven_xx(2, 1.0, 1.0, 0.5, 1.0, 0.2))["current_uniformity"] is None
    hop = op("Sp", 0) * op("Sm", 1)
    star = Lindbladian(Graph([(0, 1), (0, 2)], SpinHalf()), hop + hop.dag, [])
    assert mixed(star)["current_uniformity"] is None


def test_a_source_in_the_middle_separates_two_segments():
    """Loss on site 2 of five: bonds (0,1), (1,2) share a current, (2,3), (3,4) share another."""
    chain = models.boundary_driven_xx(5, 1.0, 1.0, 0.9, 1.0, 0.2)
    lossy = Lindbladian(chain.lattice, chain.hamiltonian, [*chain.jumps, Jump(op("Sm", 2), rate=0.5)])
    mpo = dense_steady_state(lossy)
    flow = obs.continuity_current(lossy).evaluate(mpo)
    assert abs(flow[0] - flow[3]) > 0.05
    assert common_checks(lossy, mpo)["current_uniformity"] < 1e-12


def test_top_population_and_spaces_without_a_number():
    lattice = Chain(2, [Boson(3), SpinHalf()])
    model = Lindbladian(lattice, None, [Jump(op("A", 0)), Jump(op("Sm", 1))])
    checks = common_checks(model, DenseState.product(lattice, [np.diag([0.5, 0.3, 0.2]), 0]))
    assert checks["top_population"] == pytest.approx(0.2)
    clock = LocalSpace("clock", 3, {"T": np.roll(np.eye(3), 1, axis=0)})
    model = Lindbladian(Chain(2, clock), None, [Jump(op("T", 0))])
    rho = np.eye(9) / 9
    checks = common_checks(model, DenseState(model.lattice, rho))
    assert checks["identity_residual"] is None
    assert checks["current_uniformity"] is None


def test_complete_fills_only_what_is_open():
    state = dense_steady_state(XX)
    certificate = complete(Certificate(trace=0.75, residual=1e-9), XX, state)
    assert certificate.trace == 0.75
    assert certificate.residual == 1e-9
    assert certificate.smallest_eigenvalue > 0
    assert certificate.identity_residual < 1e-12
    assert certificate.top_population is None


@pytest.mark.parametrize(
    ("status", "facts", "expected"),
    [
        (Status.CONVERGED, {}, Status.CONVERGED),
        (Status.CONVERGED, {"smallest_eigenvalue": -5e-7}, Status.CONVERGED),
        (Status.CONVERGED, {"smallest_eigenvalue": -2e-6}, Status.UNPHYSICAL),
        (Status.CONVERGED, {"smallest_eigenvalue": -2e-6, "error_estimate": 1e-6}, Status.CONVERGED),
        (Status.STALLED_BY_TRUNCATION, {"smallest_eigenvalue": -2e-2, "error_estimate": 1e-3}, Status.UNPHYSICAL),
        (Status.NOT_CONVERGED, {"smallest_eigenvalue": -0.1, "error_estimate": math.nan}, Status.UNPHYSICAL),
        (Status.CONVERGED, {"trace": 0.3}, Status.UNPHYSICAL),
        (Status.CONVERGED, {"trace": 1.01}, Status.CONVERGED),
        (Status.CONVERGED, {"trace": math.nan}, Status.NOT_FINITE),
        (Status.CONVERGED, {"smallest_eigenvalue": math.nan}, Status.NOT_FINITE),
        (Status.INTERRUPTED, {"smallest_eigenvalue": -1.0}, Status.INTERRUPTED),
        (Status.NOT_UNIQUE, {"smallest_eigenvalue": -1.0}, Status.NOT_UNIQUE),
    ],
)
def test_judge(status, facts, expected):
    assert judge(status, Certificate(**facts)) is expected
