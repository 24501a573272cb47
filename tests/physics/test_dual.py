"""Dual-weighted residuals: the identity, the improvement they promise, what they refuse, and derivatives."""

import math
from dataclasses import replace

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Boson, Chain, Jump, Lindbladian, SpinHalf, op
from mpo_transport.dual.network import NetworkDual, error_of_ladder
from mpo_transport.dual.related import related_difference
from mpo_transport.methods.linear_sweeps import DualProblem, DualVector, ladder
from mpo_transport.models import boundary_driven_xx, boundary_driven_xxz, build_model, persistent_current
from mpo_transport.result import Certificate, Result, Status
from mpo_transport.states import DenseState, MPOState
from mpo_transport.superoperator import hermitian_lindbladian, lindbladian_mpo, to_hermitian
from mpo_transport.superoperator.train import dense_train

NAMES = ("X", "Y", "Z", "Sm", "Sp")


def with_state(model, state, tol=1e-6):
    """A result around any approximation of the steady state."""
    return Result(model, None, Status.NOT_CONVERGED, state, Certificate(), tol)


def exact(model):
    return mt.steady_state(model, mt.ExactDiag(), tol=1e-11)


def quickly(model, observable):
    """The exact value by one dense solve on traceless operators."""
    matrix = hermitian_lindbladian(model).toarray()
    x0 = len(matrix) ** -0.25
    rest = np.linalg.solve(matrix[1:, 1:], -matrix[1:, 0] * x0)
    return observable.evaluate(DenseState.from_coefficients(model.lattice, np.append(x0, rest)))


def random_model(seed, L=3, space=None):
    """Two-site Hamiltonian terms and jumps with random complex coefficients on every pair of sites."""
    rng = np.random.default_rng(seed)
    spin = space is None
    names = NAMES if spin else ("A", "Adag", "N")

    def term(*sites):
        out = 0 * op(names[0], 0)
        for _ in range(3):
            word = (rng.normal() + 1j * rng.normal()) * op(str(rng.choice(names)), sites[0])
            for s in sites[1:]:
                word = word * op(str(rng.choice(names)), s)
            out = out + word
        return out

    h = 0 * op(names[0], 0)
    jumps = [Jump(term(j), rate=rng.uniform(0.5, 1.5)) for j in range(L)]
    for j in range(L - 1):
        piece = term(j, j + 1)
        h = h + piece + piece.dag
        jumps.append(Jump(op(names[0], j) + 0.7j * op(names[1], j + 1), rate=rng.uniform(0.2, 1.0)))
    return Lindbladian(Chain(L, space or SpinHalf()), h, jumps)


def random_operator(model, seed):
    """A unit-trace matrix that is Hermitian and nothing else."""
    rng = np.random.default_rng(seed)
    D = int(np.prod(model.lattice.dims))
    a = rng.normal(size=(D, D)) + 1j * rng.normal(size=(D, D))
    a = a + a.conj().T
    return a + np.eye(D) * (1 - np.trace(a).real) / D


@pytest.mark.parametrize(("seed", "space"), [(0, None), (1, None), (2, Boson(3))])
def test_identity_is_exact_for_any_approximation(seed, space):
    model = random_model(seed, 2 if space else 3, space)
    first = "A" if space else "Sm"
    observable = op(first, 0) * op("N", 1) + 0.3j * op("N", 0)  # complex values: two duals
    truth = exact(model).state.expect(observable)
    far = with_state(model, DenseState(model.lattice, random_operator(model, seed)))
    estimate = mt.corrected(far, observable)
    assert abs(estimate.value - truth) > 0.1
    assert abs(estimate.corrected - truth) < 1e-12 * max(abs(estimate.value), 1)
    assert estimate.converged and estimate.error < 1e-9
    assert estimate.correction == estimate.corrected - estimate.value


def test_large_blocks_are_iterated_to_the_same_answer(monkeypatch):
    model = persistent_current(5, [2.0, 1.5, 1.8, 1.2], 1.0, J=0.4, eps_x=0.2, periodic=False)
    far = with_state(model, DenseState.product(model.lattice, "up"))
    current = mt.observables.current(model)
    direct = mt.corrected(far, current)
    monkeypatch.setattr("mpo_transport.dual.exact.FACTORISED", 10)
    iterated = mt.corrected(far, current)
    assert np.abs(direct.corrected - exact(model).expect(current)).max() < 1e-12
    assert np.abs(direct.corrected - iterated.corrected).max() < 1e-10
    assert iterated.converged


def test_a_degenerate_steady_state_has_no_dual():
    model = Lindbladian(Chain(2, SpinHalf()), op("Z", 0) * op("Z", 1), [Jump(op("Z", 0)), Jump(op("Z", 1))])
    state = DenseState.product(model.lattice, "up")
    for chosen in (state, MPOState.from_dense(model.lattice, state.to_dense())):
        conserved = mt.corrected(with_state(model, chosen), op("Z", 0))
        assert conserved.status == "dual not converged"
        assert math.isnan(conserved.corrected) and math.isnan(conserved.error)
    decaying = mt.corrected(with_state(model, state), op("X", 0))
    assert decaying.converged and abs(decaying.corrected) < 1e-12


# ----------------------------------------------------------------------------------------------------------------------
# matrix products


def test_dual_problem_against_the_dense_matrix():
    model = random_model(5)
    state = MPOState.from_dense(model.lattice, random_operator(model, 5), max_bond=3, order=(1, 0, 2))
    backend = NetworkDual(model, state, 16)
    observable = op("Z", 0) * op("X", 2) + 0.5 * op("Y", 1)
    value = state.expect(observable).real
    problem = backend.problem(observable, value)
    D = 8
    matrix = lindbladian_mpo(model, state.order).transpose()
    rows = [dense_train(t).transpose(np.argsort(state.order)).ravel() for t in (problem.b,)]
    o = to_hermitian(mt.superoperator.operator_matrix(model.lattice, observable).toarray(), (2, 2, 2)).real.ravel()
    o[0] -= value * np.sqrt(D)
    assert np.abs(rows[0] - o / np.sqrt(D)).max() < 1e-13
    y = DualVector(MPOState.from_dense(model.lattice, random_operator(model, 6), order=(1, 0, 2)).tensors, state.order)
    vector = dense_train(y.tensors).transpose(np.argsort(state.order)).ravel()
    residual = matrix.to_dense() @ vector - o / np.sqrt(D)
    residual[0] -= problem.shift * vector[0]
    assert problem.residual(y) == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(o / np.sqrt(D)), rel=1e-12)
    solved = backend.solve(observable, value, 1e-12)
    direct = np.linalg.solve(
        hermitian_lindbladian(model).toarray().T - problem.shift * np.outer(np.eye(1, 64), np.eye(1, 64)),
        o / np.sqrt(D),
    )
    found = dense_train(solved.y.tensors).transpose(np.argsort(state.order)).ravel()
    assert np.abs(found - direct)[1:].max() < 1e-6 * np.abs(direct).max()


@pytest.mark.parametrize("large", [False, True])
def test_local_operator_is_the_projection(large, monkeypatch):
    if large:
        monkeypatch.setattr("mpo_transport.methods.linear_blocks.HALVES", 1)
    model = random_model(7)
    state = MPOState.from_dense(model.lattice, random_operator(model, 7))
    problem = NetworkDual(model, state, 16).problem(op("Z", 0), 0.3)
    y, _ = problem.sweep(problem.enriched(problem.start(), 16), 1e12, 16, krylov=64)
    y, _ = problem.sweep(problem.enriched(y, 16), 1e12, 16, krylov=64)
    y, _ = problem.sweep(y, 1e12, 16, krylov=64)
    assert problem.residual(y) < 1e-5  # 16 is the full bond dimension of three spins


W1 = {"alpha": 2.0, "delta": 1.0, "mu": 1.0, "periodic": False}


@pytest.mark.parametrize("bond", [pytest.param(4, marks=pytest.mark.slow), pytest.param(6, marks=pytest.mark.slow), 8])
def test_corrections_of_truncated_states(bond):
    model = persistent_current(L=6, **W1)
    reference = exact(model)
    rough = with_state(model, MPOState.from_dense(model.lattice, reference.state.to_dense(), max_bond=bond))
    full = mt.observables.current(model)
    current = replace(full, operators=full.operators[::2], labels=full.labels[::2])
    truth = reference.expect(current)
    estimate = mt.corrected(rough, current, max_bond=32)
    before, after = np.abs(estimate.value - truth), np.abs(estimate.corrected - truth)
    assert after.max() < 0.02 * before.max()
    assert np.all(after <= estimate.error + 1e-12)  # the reference has rounding errors as well
    assert np.all(estimate.error < 0.3 * before.max())
    assert np.all(np.abs(estimate.correction + (estimate.value - truth)) <= estimate.error)  # the sign
    assert estimate.residual.max() < 0.1 and estimate.bond_dimension <= 32
    assert estimate.labels == current.labels


@pytest.mark.slow
def test_longer_chain_and_a_state_far_away():
    model = persistent_current(L=8, **W1)
    reference = exact(model)
    operators = [mt.observables.current(model).operators[k] for k in (0, 3)]
    for state in (
        MPOState.from_dense(model.lattice, reference.state.to_dense(), max_bond=4),
        MPOState.product(model.lattice, "up"),
    ):
        for operator in operators:
            truth = reference.expect(operator)
            estimate = mt.corrected(with_state(model, state), operator, max_bond=16)
            assert abs(estimate.corrected - truth) < 0.1 * abs(estimate.value - truth)
            assert abs(estimate.corrected - truth) <= estimate.error
            assert isinstance(estimate.corrected, float) and isinstance(estimate.status, str)


def test_folded_ring_without_symmetry_between_its_sites():
    model = persistent_current(4, [2.0, 1.5, 1.8, 1.2], [1.0, 0.7, 0.4, 0.9], mu=[1.0, 0.5, -0.2, 0.7], J=0.4)
    reference = exact(model)
    rough = MPOState.from_dense(model.lattice, reference.state.to_dense(), max_bond=4, order=(0, 3, 1, 2))
    profile = mt.observables.profile(model, "Z")
    truth = reference.expect(profile)
    estimate = mt.corrected(with_state(model, rough), profile)
    assert np.abs(estimate.value - truth).max() > 1e-4
    assert np.all(np.abs(estimate.corrected - truth) <= np.maximum(estimate.error, 1e-12))
    assert estimate.error.max() < 1e-6


def test_a_sweep_sees_couplings_that_skip_a_position():
    """With the ring folded, the dual of a site between two others does not move under two-site updates alone."""
    model = persistent_current(6, 2.0, 1.5, J=0.5)
    state = MPOState.mixed(model.lattice, order=(0, 5, 1, 4, 2, 3))
    operator = mt.observables.profile(model, "Z").operators[1]
    solved = NetworkDual(model, state, 16).solve(operator, 0.0, 1e-9)
    assert solved.residual < 0.05


def test_uniform_current_adds_the_scatter():
    model = boundary_driven_xx(L=5, t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2, dephasing=0.3)
    rough = with_state(model, MPOState.mixed(model.lattice))
    current = mt.observables.current(model)
    truth = 0.7 / (1 / 0.6 + 1 / 1.4 + 2.0 / 4 + 4 * 0.3 / 2)  # the formula in the docstring of the model
    plain = mt.corrected(rough, current, max_bond=8)
    checked = mt.corrected(rough, current, max_bond=8, uniform=True)
    assert np.allclose(plain.corrected, truth, atol=1e-9)
    scatter = np.ptp(checked.corrected)
    assert np.allclose(checked.error, plain.error + scatter, rtol=1e-12, atol=0)


def test_strong_driving_is_refused_and_nothing_is_silently_wrong():
    model = boundary_driven_xxz(L=8, Delta=1.0, J=0.25, G_L=1.0, f_L=1.0, G_R=1.0, f_R=0.0)
    operator = mt.observables.current(model).operators[3]
    estimate = mt.corrected(with_state(model, MPOState.mixed(model.lattice)), operator, max_bond=8)
    assert estimate.status == "dual not converged" and not estimate.converged
    assert math.isnan(estimate.corrected) and math.isnan(estimate.error)
    assert estimate.residual > 0.1
    assert "dual not converged" in str(estimate)


def test_one_site_and_trivial_operators():
    model = Lindbladian(Chain(1, SpinHalf()), None, [Jump(op("Sp", 0), rate=1.0), Jump(op("Sm", 0), rate=3.0)])
    state = MPOState.product(model.lattice, "up")
    assert mt.corrected(with_state(model, state), op("N", 0)).corrected == pytest.approx(0.25, abs=1e-13)
    for chosen in (state, DenseState.product(model.lattice, "up")):
        constant = mt.corrected(with_state(model, chosen), 2.0 * mt.identity())
        assert constant.corrected == constant.value == 2.0 and constant.error == 0
        nothing = mt.corrected(with_state(model, chosen), 0 * op("Z", 0))
        assert nothing.corrected == 0 and nothing.error == 0


def test_one_dual_serves_a_chain_with_a_conserved_charge():
    model = boundary_driven_xxz(5, 0.6, J=1.0, G_L=0.7, f_L=0.9, G_R=1.2, f_R=0.2)
    reference = exact(model)
    rough = with_state(model, MPOState.from_dense(model.lattice, reference.state.to_dense(), max_bond=6))
    current = mt.observables.current(model)
    estimate = mt.corrected(rough, current, max_bond=16)
    truth = reference.expect(current)
    assert np.ptp(estimate.corrected) < 1e-11  # by construction, whatever the error
    assert np.ptp(estimate.residual) < 1e-9
    error = np.abs(estimate.corrected - truth).max()
    assert error <= estimate.error.max() and error < 0.05 * np.abs(estimate.value - truth).max()


def test_related_duals_solve_their_own_problem():
    model = boundary_driven_xxz(4, 0.6, J=1.0, G_L=0.7, f_L=0.9, G_R=1.2, f_R=0.2)
    backend = NetworkDual(model, MPOState.mixed(model.lattice), 16)
    first, second, last = mt.observables.current(model).operators
    values = [MPOState.mixed(model.lattice).expect(o).real for o in (first, second, last)]
    known = backend.solve(first, values[0], 1e-12)
    for operator, value in ((second, values[1]), (last, values[2])):
        shifted = backend.solve(operator, value, 1e-12)
        assert backend.levels[-1].y.bond_dimension >= 1
        assert backend.problem(operator, value).residual(shifted.y) == pytest.approx(known.residual, abs=1e-9)
    # with losses in the bulk the charge is not conserved: no relation is found
    lossy = Lindbladian(
        model.lattice, model.hamiltonian, [*model.jumps, *(Jump(op("Sm", j), rate=0.3) for j in range(4))]
    )
    other = NetworkDual(lossy, MPOState.mixed(model.lattice), 16)
    b = [other.problem(o, 0.0).b for o in (first, second)]
    assert related_difference(model.lattice, other.adjoint, (first, b[0]), (second, b[1])) is None
    b = [backend.problem(o, 0.0).b for o in (first, second)]
    q = related_difference(model.lattice, backend.adjoint, (first, b[0]), (second, b[1]))
    image = np.array(dense_train(backend.adjoint.apply(q))).ravel() - (dense_train(b[1]) - dense_train(b[0])).ravel()
    assert np.abs(image[1:]).max() < 1e-13


@pytest.mark.parametrize("L", [12, pytest.param(16, marks=pytest.mark.slow)])
def test_steps_follow_the_residual_where_long_ones_do_worse(L):
    # baths of maximal driving at the ends only: steps of 10/rate and more settle ever more slowly with the length
    model = boundary_driven_xx(L=L, t=1.0, G_L=2.0, f_L=1.0, G_R=2.0, f_R=0.0)
    backend = NetworkDual(model, MPOState.mixed(model.lattice), 8)
    operator = mt.observables.current(model).operators[L // 2]
    dual = backend.solve(operator, 0.0, 1e-3)
    assert dual.trusted and dual.residual < 0.02
    assert abs(dual.corrected - 0.5) < 0.05 and abs(dual.corrected - 0.5) <= dual.error  # 0.5: closed form, from 0


def test_quick_residual_is_the_residual():
    model = random_model(5)
    problem = NetworkDual(model, MPOState.mixed(model.lattice), 8).problem(op("Z", 0), 0.2)
    y = DualVector(MPOState.from_dense(model.lattice, random_operator(model, 6)).tensors, (0, 1, 2))
    assert problem.quick_residual(y) == pytest.approx(problem.residual(y), rel=1e-9)
    overflow = DualVector((y.tensors[0] * np.inf, *y.tensors[1:]), y.order)
    assert problem.quick_residual(overflow) == np.inf


def test_expect_gives_value_correction_and_error_together():
    model = boundary_driven_xx(L=4, t=1.0, G_L=1.0, f_L=0.9, G_R=1.0, f_R=0.1)
    current = mt.observables.current(model)
    for method in (mt.ExactDiag(), mt.Gaussian()):
        result = mt.steady_state(model, method)
        full = result.expect(current, corrected=True)
        assert np.abs(full.corrected - 0.32).max() < 1e-12 and full.converged
        assert np.array_equal(full.value, result.expect(current))
    with pytest.raises(mt.errors.InputError, match="observable"):
        result.expect("current", corrected=True)


def test_ladder_and_its_estimate():
    assert ladder(2) == (1, 2) and ladder(4) == (2, 4) and ladder(33) == (4, 8, 16, 32, 33)
    # |change| 0.1 seen by a dual of residual 1, then 0.01 by one of 0.5: the error of the state has size 0.1
    assert error_of_ladder(1.0, [1.1, 1.11], [0.5, 0.4]) == pytest.approx(0.01 + 2 * 0.4 * 0.1)
    assert error_of_ladder(1.0, [1.1, 1.11], [0.5, 0.05]) == pytest.approx(0.01 * 0.3 + 2 * 0.05 * 0.1)


# ----------------------------------------------------------------------------------------------------------------------
# sensitivities

PARAMETERS = {
    "L": 3,
    "alpha": [2.0, 1.7 + 0.2j],
    "delta": 1.0,
    "mu": [1.0, 0.5, 0.3],
    "J": 0.3 + 0.1j,
    "kappa": 0.2,
    "eps_x": 0.1,
    "periodic": False,
}


def central(function, h=2e-3):
    """Fourth-order difference."""
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def current_at(**changed):
    model = persistent_current(**{**PARAMETERS, **changed})
    return quickly(model, mt.observables.current(model))


def test_sensitivities_against_differences_of_exact_solutions():
    model = persistent_current(**PARAMETERS)
    slopes = mt.sensitivity(model, mt.observables.current, result=exact(model))
    assert set(slopes) == {"alpha", "delta", "mu", "J", "lam", "kappa", "eps_x", "eps_zz"}  # no flux through a chain
    assert slopes["alpha"].shape == (2, 2) and slopes["mu"].shape == (3, 2)

    def alpha(x):
        return current_at(alpha=[2.0, 1.7 + 0.2j + x])

    expected = {
        "delta": central(lambda h: current_at(delta=1.0 + h)),
        "kappa": central(lambda h: current_at(kappa=0.2 + h)),
        "eps_zz": central(lambda h: current_at(eps_zz=h)),
        "J": central(lambda h: current_at(J=0.3 + 0.1j + h))
        + 1j * central(lambda h: current_at(J=0.3 + 0.1j + 1j * h)),
    }
    for name, value in expected.items():
        assert np.abs(slopes[name] - value).max() < 1e-6, name
    complex_alpha = central(alpha) + 1j * central(lambda h: alpha(1j * h))
    assert np.abs(slopes["alpha"][1] - complex_alpha).max() < 1e-6
    third_mu = central(lambda h: current_at(mu=[1.0, 0.5, 0.3 + h]))
    assert np.abs(slopes["mu"][2] - third_mu).max() < 1e-6


def test_a_fixed_operator_does_not_move_with_the_parameter():
    model = persistent_current(3, 2.0, 1.0, periodic=False)
    result = exact(model)
    current = mt.observables.current(model)

    def fixed(h):
        return quickly(persistent_current(3, 2.0 + h, 1.0, periodic=False), current)

    frozen = mt.sensitivity(model, current, result=result, parameters=["alpha"])["alpha"]
    moving = mt.sensitivity(model, "current", result=result, parameters=["alpha"])["alpha"]
    assert np.abs(frozen - central(fixed)).max() < 1e-6
    assert np.abs(moving - frozen).min() > 0.1


def test_a_rate_at_zero_and_a_flux():
    model = persistent_current(3, 2.0, 1.5, J=0.4, flux=0.7)
    slopes = mt.sensitivity(model, mt.observables.current, parameters=["kappa", "flux"])

    def at(**changed):
        other = persistent_current(**{"L": 3, "alpha": 2.0, "delta": 1.5, "J": 0.4, "flux": 0.7, **changed})
        return quickly(other, mt.observables.current(other))

    h = 1e-3
    one_sided = (-11 * at(kappa=0.0) + 18 * at(kappa=h) - 9 * at(kappa=2 * h) + 2 * at(kappa=3 * h)) / (6 * h)
    assert np.abs(slopes["kappa"] - one_sided).max() < 1e-6
    assert np.abs(slopes["flux"] - central(lambda x: at(flux=0.7 + x))).max() < 1e-7


def test_sensitivities_of_a_matrix_product_state():
    model = build_model("persistent_current", {"L": 4, **W1, "J": 0.3})
    reference = exact(model)
    state = MPOState.from_dense(model.lattice, reference.state.to_dense())
    operator = op("Z", 2)
    names = ["alpha", "J", "mu"]
    dense = mt.sensitivity(model, operator, result=reference, parameters=names)
    network = mt.sensitivity(model, operator, result=with_state(model, state), parameters=names, max_bond=16, tol=1e-9)
    for name in names:
        assert network[name] == pytest.approx(dense[name], abs=1e-6 * max(abs(v) for v in dense.values())), name


def test_closed_form_of_the_xx_chain():
    G, f = (0.6, 1.4), (0.9, 0.2)
    model = boundary_driven_xx(L=4, t=1.3, G_L=G[0], f_L=f[0], G_R=G[1], f_R=f[1])
    slopes = mt.sensitivity(model, mt.observables.current)
    resistance = 1 / G[0] + 1 / G[1] + sum(G) / (4 * 1.3**2)
    assert np.allclose(slopes["f_L"], 1 / resistance, atol=1e-9)
    assert np.allclose(slopes["f_R"], -1 / resistance, atol=1e-9)
    assert np.allclose(slopes["t"], 0.7 / resistance**2 * sum(G) / (2 * 1.3**3), atol=1e-9)
    assert np.allclose(slopes["G_L"], -0.7 / resistance**2 * (1 / (4 * 1.3**2) - 1 / G[0] ** 2), atol=1e-9)


# ----------------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"observable": mt.observables.purity()}, "observable"),
        ({"observable": 3}, "observable"),
        ({"max_bond": 1}, "max_bond"),
        ({"max_bond": 4.0}, "max_bond"),
        ({"tol": 0}, "tol"),
        ({"tol": float("nan")}, "tol"),
        ({"result": "run.h5"}, "result"),
    ],
)
def test_bad_arguments_of_corrected(arguments, field):
    model = persistent_current(3, 2.0, 1.0)
    good = {"result": with_state(model, MPOState.mixed(model.lattice)), "observable": op("Z", 0)}
    with pytest.raises(mt.InputError) as error:
        mt.corrected(**{**good, **arguments})
    assert error.value.field == field


def test_bad_arguments_of_sensitivity():
    model = persistent_current(3, 2.0, 1.0, periodic=False)
    result = exact(model)
    for arguments, field in (
        ({"parameters": ["gama"]}, "parameters"),
        ({"parameters": ["L"]}, "parameters"),
        ({"parameters": ["flux"]}, "parameters"),
        ({"observable": "curent"}, "observable"),
        ({"observable": mt.observables.purity()}, "observable"),
        ({"result": exact(persistent_current(3, 2.0, 1.1, periodic=False))}, "result"),
    ):
        with pytest.raises(mt.InputError) as error:
            mt.sensitivity(**{"model": model, "observable": op("Z", 0), "result": result, **arguments})
        assert error.value.field == field
    with pytest.raises(mt.NotSupportedError) as refused:
        mt.sensitivity(random_model(0), op("Z", 0))
    assert refused.value.field == "model"


def test_a_failed_dual_gives_no_derivative():
    model = boundary_driven_xxz(L=10, Delta=1.0, J=0.25, G_L=1.0, f_L=1.0, G_R=1.0, f_R=0.0)
    result = with_state(model, MPOState.mixed(model.lattice))
    slopes = mt.sensitivity(model, op("Z", 4), result=result, parameters=["Delta"], max_bond=4)
    assert math.isnan(slopes["Delta"])


def test_problem_scale():
    """Numbers stay of order one on a long chain."""
    model = persistent_current(L=60, **W1)
    backend = NetworkDual(model, MPOState.mixed(model.lattice), 4)
    problem = backend.problem(op("Z", 30), 0.0)
    assert isinstance(problem, DualProblem)
    assert problem.norm == pytest.approx(1.0, rel=1e-12)
    assert problem.residual(problem.start()) < 10
