"""Exact steady states of small rank by the local-divergence method, against closed forms and exact diagonalisation."""

import math

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Boson, Chain, Jump, Lindbladian, LocalDivergence, OpSum, SpinHalf, op
from mpo_transport.errors import ConvergenceError, InputError, NotSupportedError
from mpo_transport.reference.boundary_driven import exclusion, xx_chain, xxz_maximally_driven

current, profile = mt.observables.current, mt.observables.profile
BATHS = {"G_L": 0.6, "f_L": 0.9, "G_R": 1.4, "f_R": 0.2}


def covered(result, observable, exact):
    """The largest error, which must lie within the error claimed."""
    values, claimed = result.expect(observable, error=True)
    error = np.abs(values - exact)
    assert np.all(error <= claimed + 5e-16)
    return error.max()


def solve(model, **knobs):
    result = mt.steady_state(model, LocalDivergence(**knobs), tol=1e-10)
    assert result.converged and result.certificate.error_estimate <= 1e-10
    assert result.certificate.residual < 1e-11
    return result


@pytest.mark.parametrize("L", [2, 3, 8, 16])
def test_xx_chains_between_two_baths(L):
    model = mt.models.boundary_driven_xx(L=L, t=1.0, **BATHS)
    result = solve(model)
    exact = xx_chain(L, 1.0, **BATHS)
    assert result.certificate.bond_dimension <= 4
    assert covered(result, current(model), exact.current) < 1e-12
    assert covered(result, profile(model, "N"), exact.density) < 1e-12


def test_hopping_of_different_phases_on_every_bond():
    """A gauge transformation of the uniform chain: same current and densities, but no two bonds are alike."""
    t = 0.8 * np.exp(2j * np.pi * np.random.default_rng(3).random(9))
    model = mt.models.boundary_driven_xx(L=10, t=t, **BATHS)
    result = solve(model)
    exact = xx_chain(10, 0.8, **BATHS)
    assert result.certificate.bond_dimension == 4
    assert covered(result, current(model), exact.current) < 1e-12
    assert covered(result, profile(model, "N"), exact.density) < 1e-12


@pytest.mark.parametrize(("L", "Delta", "eps"), [(8, 0.5, 1.0), (16, 0.5, 1.0), (9, -0.5, 1.7)])
def test_maximally_driven_xxz_chains_of_rank_nine(L, Delta, eps):
    model = mt.models.boundary_driven_xxz(L=L, Delta=Delta, eps=eps)
    result = solve(model)
    exact = xxz_maximally_driven(L, Delta, eps=eps)
    assert result.certificate.bond_dimension == 9
    assert covered(result, current(model), exact.current) < 1e-11
    assert covered(result, profile(model, "Z"), exact.sigma_z) < 1e-11


def test_baths_of_different_rates_agree_with_exact_diagonalisation():
    model = mt.models.boundary_driven_xxz(L=7, Delta=0.5, G_L=0.7, f_L=1.0, G_R=1.6, f_R=0.0)
    result = solve(model)
    exact = mt.steady_state(model, mt.ExactDiag(), tol=1e-10)
    assert np.abs(result.state.to_dense() - exact.state.to_dense()).max() < 1e-12


def test_signs_of_the_exchange_that_alternate():
    """H with X_j, Y_j reversed on every second site: the same chain in other words, bond by bond different."""
    L = 6
    pattern = [1.0, -1.0, 1.0, -1.0, 1.0]
    h = OpSum()
    for j, s in enumerate(pattern):
        h += s * (op("X", j) * op("X", j + 1) + op("Y", j) * op("Y", j + 1)) + 0.5 * op("Z", j) * op("Z", j + 1)
    jumps = [Jump(op("Sp", 0), 1.0), Jump(op("Sm", L - 1), 1.0)]
    model = Lindbladian(Chain(L, SpinHalf()), h, jumps)
    exact = xxz_maximally_driven(L, 0.5, eps=1.0)
    assert covered(solve(model), profile(model, "Z"), exact.sigma_z) < 1e-11


def test_jumps_on_two_sites():
    """The exclusion process: hopping by two-site jumps, in the diagonal strings alone."""
    model = mt.models.exclusion_process(4, 1.0, 0.8, 0.5, 0.3)
    result = solve(model)
    exact = exclusion(4, 1.0, 0.8, 0.5, 0.3)
    assert covered(result, current(model), exact.current) < 1e-11
    assert covered(result, profile(model, "N"), exact.density) < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("L", [32, 64])
def test_long_chains_of_rank_nine(L):
    model = mt.models.boundary_driven_xxz(L=L, Delta=0.5, eps=1.0)
    result = solve(model)
    exact = xxz_maximally_driven(L, 0.5, eps=1.0)
    assert covered(result, current(model), exact.current) < 1e-10
    assert covered(result, profile(model, "Z"), exact.sigma_z) < 1e-10


def test_a_given_state_is_where_the_steps_begin():
    model = mt.models.boundary_driven_xx(L=8, t=1.0, **BATHS)
    near = mt.models.boundary_driven_xx(L=8, t=1.0, **{**BATHS, "f_R": 0.25})
    start = solve(near).state
    result = mt.steady_state(model, LocalDivergence(), tol=1e-10, initial=start)
    assert "evolved to t = 0 " in result.certificate.notes[0]
    assert covered(result, current(model), xx_chain(8, 1.0, **BATHS).current) < 1e-12


@pytest.mark.parametrize(
    "model",
    [
        mt.models.boundary_driven_xxz(L=7, Delta=0.5, G_L=1.0, G_R=1.0, f_L=0.55, f_R=0.45),
        mt.models.boundary_driven_xx(L=7, t=list(np.linspace(0.8, 1.4, 6)), **BATHS, dephasing=0.3),
    ],
    ids=["weakly driven", "dephasing"],
)
def test_a_chain_without_a_small_rank_is_not_called_converged(model):
    method = LocalDivergence(bond=12, max_bond=14, rounds=2, largest_rank=8)
    result = mt.steady_state(model, method, tol=1e-10, on_failure="return")
    assert result.status.value == "not_converged"
    assert "no exact matrix-product state" in result.certificate.notes[0]
    # what comes back is the evolution, with an error that covers the distance to the truth
    exact = mt.steady_state(model, mt.ExactDiag(), tol=1e-10).expect(current(model))
    assert np.abs(result.expect(current(model)) - exact).max() <= 3 * result.certificate.error_estimate


def test_failure_is_an_error_unless_asked_otherwise():
    model = mt.models.boundary_driven_xxz(L=5, Delta=0.5, G_L=1.0, G_R=1.0, f_L=0.55, f_R=0.45)
    with pytest.raises(ConvergenceError, match="not_converged"):
        mt.steady_state(model, LocalDivergence(bond=6, max_bond=6, rounds=1, largest_rank=3), tol=1e-10)


def test_what_is_not_such_a_chain_is_refused_with_the_reason():
    ring = mt.models.persistent_current(8, 2.0, 1.0)
    strong = Lindbladian(Chain(9, SpinHalf()), sum((op("Z", j) for j in range(9)), OpSum()), [])
    modes = Lindbladian(Chain(9, Boson(math.inf)), None, [Jump(op("A", j)) for j in range(9)])
    single = mt.models.kerr_oscillator(Delta=1.0, U=1.0, F=1.0, gamma=1.0, levels=5)
    for model, word in ((ring, "open chains"), (strong, "strong"), (modes, "levels"), (single, "two sites")):
        assert not LocalDivergence().supports(model)
        with pytest.raises(NotSupportedError, match=word):
            mt.steady_state(model, LocalDivergence())


@pytest.mark.parametrize(
    "knobs", [{"bond": 1}, {"max_bond": 2.5}, {"largest_rank": 0}, {"rounds": 0}, {"time": -1.0}, {"dt": math.nan}]
)
def test_knobs_out_of_range_are_named(knobs):
    with pytest.raises(InputError, match=next(iter(knobs))):
        LocalDivergence(**knobs)


def test_a_step_that_overflows_is_refused():
    model = mt.models.boundary_driven_xxz(L=6, Delta=0.5, eps=1.0)
    with pytest.raises(InputError, match="dt"):
        mt.steady_state(model, LocalDivergence(dt=1e6), tol=1e-6)
