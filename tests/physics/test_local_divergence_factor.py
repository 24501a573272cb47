"""Maximally driven chains of any length from the equations of their factor, rho = S S^+, against closed forms."""

import math

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Chain, CholeskyGrowth, Jump, Lindbladian, OpSum, SpinHalf, op
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.methods.divergence.factor_train import density_train
from mpo_transport.methods.divergence.ladder import bulk, climb, end, find_foot, read_chain
from mpo_transport.reference.boundary_driven import xxz_maximally_driven

current, profile = mt.observables.current, mt.observables.profile
xxz = mt.models.boundary_driven_xxz


def ladder(model, levels):
    chain = read_chain(model)
    foot = find_foot(chain)
    assert foot is not None
    return chain, climb(chain, foot, levels)


def covered(result, observable, exact):
    """The largest error, which must lie within the error claimed."""
    values, claimed = result.expect(observable, error=True)
    error = np.abs(values - exact)
    assert np.all(error <= claimed + 5e-16)
    return error.max()


@pytest.mark.parametrize(("Delta", "rates"), [(1.0, (1.0, 1.0)), (0.3, (0.7, 1.6)), (-1.4, (2.0, 2.0))])
def test_the_equations_hold_on_every_level_and_at_both_ends(Delta, rates):
    model = xxz(L=12, Delta=Delta, G_L=rates[0], f_L=1.0, G_R=rates[1], f_R=0.0)
    chain, found = ladder(model, 7)
    a, b = found.a, found.b
    scale = np.abs(a).max() ** 2 * np.abs(chain.bond).max()
    for k in range(found.levels - 1):
        for at in ((k, k), (k, k + 1), (k + 1, k), (k, min(k + 2, found.levels - 1))):
            assert np.abs(bulk(chain.bond, a, b, *at)).max() < 1e-12 * scale
    assert np.abs(end(chain, 0, a[0, :2], b[0, :2])).max() < 1e-12 * scale
    assert np.abs(end(chain, 1, a[:2, 0], b[:2, 0])).max() < 1e-12 * scale


@pytest.mark.parametrize("L", [2, 3, 6])
@pytest.mark.parametrize(("Delta", "rates"), [(1.0, (1.0, 1.0)), (0.3, (0.7, 1.6)), (0.5, (1.3, 0.4))])
def test_short_chains_agree_with_exact_diagonalisation(L, Delta, rates):
    """Rates that differ are not covered by the published solution."""
    model = xxz(L=L, Delta=Delta, G_L=rates[0], f_L=1.0, G_R=rates[1], f_R=0.0)
    found = mt.steady_state(model, CholeskyGrowth(), tol=1e-10)
    exact = mt.steady_state(model, mt.ExactDiag(), tol=1e-10)
    assert np.abs(found.state.to_dense() - exact.state.to_dense()).max() < 1e-12


def test_the_other_direction_and_a_field():
    """Driven from right to left, in a uniform field along z, which commutes with everything."""
    L = 6
    h = sum(
        (op("X", j) * op("X", j + 1) + op("Y", j) * op("Y", j + 1) + op("Z", j) * op("Z", j + 1) for j in range(L - 1)),
        OpSum(),
    )
    h += 0.4 * sum((op("Z", j) for j in range(L)), OpSum())
    model = Lindbladian(Chain(L, SpinHalf()), h, [Jump(op("Sm", 0), 1.0), Jump(op("Sp", L - 1), 1.0)])
    result = mt.steady_state(model, CholeskyGrowth(), tol=1e-10)
    assert covered(result, profile(model, "Z"), xxz_maximally_driven(L, 1.0).sigma_z[::-1]) < 1e-12


@pytest.mark.parametrize(("L", "Delta", "eps"), [(14, 1.0, 1.0), (24, 0.5, 2.3), (17, 1.5, 0.7)])
def test_long_chains_against_the_closed_form(L, Delta, eps):
    model = xxz(L=L, Delta=Delta, eps=eps)
    result = mt.steady_state(model, CholeskyGrowth(), tol=1e-5)
    exact = xxz_maximally_driven(L, Delta, eps=eps)
    assert result.certificate.residual < 1e-4
    assert covered(result, current(model), exact.current) < 1e-7
    assert covered(result, profile(model, "Z"), exact.sigma_z) < 1e-7


@pytest.mark.slow
def test_the_isotropic_chain_of_32_sites():
    model = xxz(L=32, Delta=1.0, eps=1.0)
    result = mt.steady_state(model, CholeskyGrowth(), tol=1e-9)
    exact = xxz_maximally_driven(32, 1.0)
    assert covered(result, current(model), exact.current) < 1e-10
    assert covered(result, profile(model, "Z"), exact.sigma_z) < 1e-10


@pytest.mark.slow
def test_the_ladder_ends_at_a_root_of_unity():
    for Delta, levels in ((0.5, 3), (math.cos(math.pi / 4), 4), (0.0, 2)):
        _, found = ladder(xxz(L=30, Delta=Delta, eps=1.1), 16)
        assert found.closed and found.levels == levels
    result = mt.steady_state(xxz(L=100, Delta=0.5, eps=1.0), CholeskyGrowth(), tol=1e-10)
    assert result.certificate.bond_dimension == 9
    assert covered(result, profile(xxz(L=100, Delta=0.5, eps=1.0), "Z"), xxz_maximally_driven(100, 0.5).sigma_z) < 1e-12


def test_compression_keeps_its_promise():
    """The weight that is reported is the distance to the uncompressed state."""
    _, found = ladder(xxz(L=8, Delta=1.0, eps=1.0), 5)
    trains = [density_train(found, 8) for _ in range(2)]
    for t in trains:
        t.orthonormalise_left()
    trains[0].truncate_right(0.0, 10**6)
    lost = trains[1].truncate_right(1e-3, 10**6)
    x, y = (mt.superoperator.train.dense_train(t.real()) for t in trains)
    cosine = np.sum(x * y) / (np.linalg.norm(x) * np.linalg.norm(y))
    assert 0 < lost < 1e-2 and 1 - cosine**2 == pytest.approx(lost, rel=lost)
    assert max(t.shape[2] for t in trains[1].real()) < max(t.shape[2] for t in trains[0].real())


def test_a_bond_dimension_that_is_too_small_is_announced():
    model = xxz(L=16, Delta=1.0, eps=1.0)
    result = mt.steady_state(model, CholeskyGrowth(max_bond=24), tol=1e-10, on_failure="return")
    assert not result.converged and result.certificate.bond_dimension <= 24
    exact = xxz_maximally_driven(16, 1.0)
    if result.certificate.error_estimate is not None:
        error = np.abs(result.expect(profile(model, "Z")) - exact.sigma_z).max()
        assert error <= result.certificate.error_estimate


@pytest.mark.parametrize(
    "model",
    [
        xxz(L=8, Delta=0.5, G_L=1.0, G_R=1.0, f_L=0.8, f_R=0.1),
        mt.models.boundary_driven_xx(L=8, t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2),
    ],
    ids=lambda model: model.name,
)
def test_other_drivings_are_not_called_converged(model):
    assert CholeskyGrowth().unpromising(model)
    result = mt.steady_state(model, CholeskyGrowth(), tol=1e-3, on_failure="return")
    assert result.status.value == "not_converged" and "no factor" in result.certificate.notes[0]


def test_what_is_not_such_a_chain_is_refused_with_the_reason():
    ring = mt.models.persistent_current(8, 2.0, 1.0)
    uneven = xxz(L=8, Delta=[0.5] * 3 + [0.6] * 4, eps=1.0)
    lossy = mt.models.boundary_driven_xx(L=8, t=1.0, G_L=1.0, f_L=1.0, G_R=1.0, f_R=0.0, dephasing=0.1)
    bosons = mt.models.boundary_driven_xx(L=8, t=1.0, G_L=1.0, f_L=0.1, G_R=1.0, f_R=0.0, levels=3)
    for model, word in ((ring, "open chains"), (uneven, "uniform"), (lossy, "elsewhere"), (bosons, "spins 1/2")):
        assert not CholeskyGrowth().supports(model)
        with pytest.raises(NotSupportedError, match=word):
            mt.steady_state(model, CholeskyGrowth())


@pytest.mark.parametrize("knobs", [{"max_bond": 1}, {"max_bond": 2.5}, {"cutoff": -1e-3}, {"cutoff": 1.0}])
def test_knobs_out_of_range_are_named(knobs):
    with pytest.raises(InputError, match=next(iter(knobs))):
        CholeskyGrowth(**knobs)


def test_an_initial_state_is_refused():
    with pytest.raises(InputError, match="initial"):
        mt.steady_state(xxz(L=6, Delta=1.0, eps=1.0), CholeskyGrowth(), initial="up")
