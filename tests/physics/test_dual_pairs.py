"""Cycles that settle slow modes, and corrected values of pairs of iterates."""

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport.dual.network import NetworkDual
from mpo_transport.dual.pairs import SAFETY, UNSURE, Pairs, error_of_levels, pairs_of
from mpo_transport.methods import linear_cycles
from mpo_transport.methods.linear_cycles import Iterates, first_iterates, next_iterates, ordered
from mpo_transport.methods.linear_sweeps import DualVector, Relaxed, relax_level
from mpo_transport.models import boundary_driven_xx, boundary_driven_xxz
from mpo_transport.result import Certificate, Result, Status
from mpo_transport.states import MPOState
from mpo_transport.superoperator.train import add_trains

BATHS = {"G_L": 0.7, "f_L": 0.6, "G_R": 1.2, "f_R": 0.45}


@pytest.fixture(scope="module")
def solved():
    """A backend, the problem of a middle current, dual and state up to rounding, and the exact current."""
    model = boundary_driven_xxz(4, 0.5, J=1.0, **BATHS)
    backend = NetworkDual(model, MPOState.mixed(model.lattice), 16, refine=True)
    current = mt.observables.current(model).operators[1]
    problem = backend.problem(current, 0.0)
    dual = relax_level(problem, None, 16).y
    for _ in range(30):
        dual, _ = problem.sweep(dual, 1e6, 16, 60)
    state = backend.refined.fine.problem
    d = backend.refined.fine.last.y
    for _ in range(30):
        d, _ = state.sweep(d, 1e6, 16, 60)
    exact = mt.steady_state(model, mt.ExactDiag(), tol=1e-12).expect(current)
    return backend, problem, dual, with_trace(backend, d), exact


def with_trace(backend, d):
    return DualVector(add_trains([d.tensors, backend.unit], [1.0, 1.0]), d.order)


def traceless(backend, seed):
    """A train of bond dimension 2 without a part along the identity."""
    rng = np.random.default_rng(seed)
    bonds = [1, 2, 2, 2, 1]
    tensors = [rng.normal(size=(bonds[p], 4, bonds[p + 1])) for p in range(4)]
    tensors[0][:, 0, :] = 0.0
    return tuple(tensors)


def test_pairs_with_an_exact_dual_or_an_exact_state_are_exact(solved):
    backend, problem, y, x, exact = solved
    other_y = DualVector(add_trains([y.tensors, traceless(backend, 1)], [1.0, 0.1]), y.order)
    other_x = DualVector(add_trains([x.tensors, traceless(backend, 2)], [1.0, 0.1]), x.order)
    values = pairs_of(problem.operator, problem.b, 0.0, [y, other_y], [x, other_x]).values
    assert abs(values[0, 0] - exact) < 1e-10
    assert abs(values[0, 1] - exact) < 1e-10
    assert abs(values[1, 0] - exact) < 1e-10
    assert abs(values[1, 1] - exact) > 1e-6


def test_the_error_of_a_pair_is_of_second_order(solved):
    backend, problem, y, x, exact = solved
    errors = []
    for size in (0.1, 0.05, 0.025):
        other_y = DualVector(add_trains([y.tensors, traceless(backend, 1)], [1.0, size]), y.order)
        other_x = DualVector(add_trains([x.tensors, traceless(backend, 2)], [1.0, size]), x.order)
        errors.append(pairs_of(problem.operator, problem.b, 0.0, [other_y], [other_x]).value - exact)
    assert errors[0] / errors[1] == pytest.approx(4.0, abs=1e-5)
    assert errors[1] / errors[2] == pytest.approx(4.0, abs=1e-5)


def test_the_mean_over_pairs_is_that_of_the_mean_dual_and_the_mean_state(solved):
    backend, problem, y, x, _ = solved
    duals = [DualVector(add_trains([y.tensors, traceless(backend, k)], [1.0, 0.1]), y.order) for k in (1, 3)]
    states = [DualVector(add_trains([x.tensors, traceless(backend, k)], [1.0, 0.1]), x.order) for k in (2, 4, 5)]
    pairs = pairs_of(problem.operator, problem.b, 0.3, duals, states)
    assert pairs.values.shape == (2, 3)
    mean_y = DualVector(add_trains([v.tensors for v in duals], [1 / 2] * 2), y.order)
    mean_x = DualVector(add_trains([v.tensors for v in states], [1 / 3] * 3), x.order)
    alone = pairs_of(problem.operator, problem.b, 0.3, [mean_y], [mean_x]).value
    assert pairs.value == pytest.approx(alone, abs=1e-13)


def test_drifts_are_those_of_the_means():
    pairs = Pairs(np.array([[1.0, 3.0], [2.0, 6.0], [3.0, 3.0]]))
    assert (pairs.value, pairs.drift_of_dual, pairs.drift_of_state) == (3.0, 1.0, 1.0)
    assert Pairs(np.array([[1.0]])).drift_of_dual == 0.0


def test_the_error_of_levels_follows_the_product_of_residuals():
    # J_ij - J = kappa |r_i| |q_j| but for one accident
    duals, states = np.array([0.4, 0.1, 0.02]), np.array([0.3, 0.05])
    values = 1.0 + 0.7 * np.multiply.outer(duals, states)
    values[1, 0] = values[-1, -1] = 1.0
    expected = 0.7 * 0.02 * 0.05
    assert error_of_levels(values, duals, states) == pytest.approx(SAFETY * expected)
    assert error_of_levels(values[1:], duals[1:], states) == pytest.approx(UNSURE * expected)  # fewer differences
    assert error_of_levels(np.ones((3, 2)), duals, states) == 0.0
    assert (
        error_of_levels(values, [5.0, 0.1, 0.02], states) >= SAFETY * 0.02 * 0.05 * 0.4 * 0.7
    )  # no more than 1 counts


@pytest.fixture(scope="module")
def state_problem():
    model = boundary_driven_xxz(6, 0.5, J=1.0, **BATHS)
    return NetworkDual(model, MPOState.mixed(model.lattice), 8, refine=True).refined.fine.problem


def test_cycles_keep_the_residual(state_problem):
    first = first_iterates(state_problem, 8)
    more = first.advanced(3)
    assert len(more.kept) == 4
    assert more.kept[0] is first.last
    assert all(r.residual < linear_cycles.HARM * first.last.residual for r in more.kept)
    assert all(r.residual == pytest.approx(state_problem.residual(r.y), rel=1e-6) for r in more.kept)


def test_windows_leave_out_the_start(state_problem):
    kept = tuple(Relaxed(None, 0.1 * k, 1.0) for k in range(4))
    assert Iterates(state_problem, 8, kept[:1]).window(3) == kept[:1]
    assert Iterates(state_problem, 8, kept[:3]).window(3) == kept[1:3]
    assert Iterates(state_problem, 8, kept).window(3) == kept[1:]


def test_cycles_that_do_harm_are_taken_back(state_problem, monkeypatch):
    first = first_iterates(state_problem, 8)
    monkeypatch.setattr(linear_cycles, "HARM", 1e-3)
    assert first.advanced(2) == first


def test_exact_solutions_go_through_no_cycles():
    model = boundary_driven_xx(4, 1.0, 1.0, 0.55, 0.6, 0.45)
    problem = NetworkDual(model, MPOState.mixed(model.lattice), 16, refine=True).refined.fine.problem
    found = next_iterates(first_iterates(problem, 8), 24)
    assert found.is_exact
    assert len(found.kept) == 1


def test_a_larger_bond_dimension_that_ends_worse_is_left_out(state_problem):
    levels = [Iterates(state_problem, b, (Relaxed(None, r, 1.0),)) for b, r in ((4, 0.5), (8, 0.1), (16, 0.3))]
    assert [level.bond for level in ordered(levels)] == [4, 8]


def test_the_claim_covers_and_one_dual_serves_all_bonds():
    model = boundary_driven_xxz(6, 0.5, J=1.0, **BATHS)
    nothing = Result(model, None, Status.NOT_CONVERGED, MPOState.mixed(model.lattice), Certificate(), 1e-9)
    current = mt.observables.current(model)
    found = mt.corrected(nothing, current, max_bond=24, uniform=True, refine=True)
    truth = mt.steady_state(model, mt.ExactDiag(), tol=1e-12).expect(current)
    assert np.all(np.abs(found.corrected - truth) <= found.error)
    assert np.all(found.error < 1e-4 * truth)
    assert np.ptp(found.corrected) < 1e-12


@pytest.mark.slow
def test_slow_modes_of_a_disordered_chain_against_the_closed_hierarchy():
    rng = np.random.default_rng(5)
    hopping, dephasing = rng.uniform(0.35, 0.65, 31), rng.uniform(0.0, 0.1, 32)
    model = boundary_driven_xx(32, hopping, 1.0, 0.55, 1.0, 0.45, dephasing=dephasing)
    current = mt.observables.current(model)
    truth = mt.steady_state(model, mt.ClosedHierarchy(), progress=False).expect(current)
    nothing = Result(model, None, Status.NOT_CONVERGED, MPOState.mixed(model.lattice), Certificate(), 1e-9)
    found = mt.corrected(nothing, current, max_bond=24, uniform=True, refine=True)
    assert np.all(np.abs(found.corrected - truth) <= found.error)
    assert np.all(np.abs(found.corrected - truth) < 1e-3 * truth)
