"""Extrapolations: exact on the family they assume, honest about their errors on data with noise or with other tails."""

import numpy as np
import pytest

from mpo_transport.analysis import Series, in_bond_dimension, in_length, in_time_step
from mpo_transport.errors import InputError
from mpo_transport.reference.boundary_driven import xx_chain

SIZES = np.arange(8.0, 49.0, 4.0)


def coverage(estimates, true):
    """Fraction of estimates within one and two errors."""
    distance = np.array([abs(e.value - true) / e.error for e in estimates])
    return np.mean(distance <= 1), np.mean(distance <= 2)


def noisy(function, sigma, seed):
    rng = np.random.default_rng(seed)
    return Series(SIZES, function(SIZES) + sigma * rng.normal(size=len(SIZES)), sigma)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_polynomials_in_one_over_length_are_recovered(degree):
    coefficients = [0.7, 2.0, -5.0, 9.0][: degree + 1]
    limit = in_length(Series(SIZES, np.polynomial.polynomial.polyval(1 / SIZES, coefficients)))
    assert limit.value == pytest.approx(0.7, abs=1e-10)


@pytest.mark.parametrize(
    ("function", "sigma"),
    [
        (lambda L: 1 + 0 / L, 1e-2),
        (lambda L: 1 + 2 / L, 1e-2),
        (lambda L: 1 + 2 / L - 5 / L**2, 1e-3),
        (lambda L: 1 / (1 + 2 / L), 1e-4),
    ],
)
def test_error_bars_in_length_hold_what_they_claim(function, sigma):
    """At least 68 and 95 %, minus three standard errors of a frequency from 150 trials."""
    one, two = coverage([in_length(noisy(function, sigma, seed)) for seed in range(150)], 1.0)
    assert one > 0.68 - 3 * 0.038 and two > 0.95 - 3 * 0.018


def test_a_constant_is_not_blown_up_by_rich_models():
    """Eleven equal measurements of error s: the error of the mean is s/sqrt(11); four times that would be no use."""
    errors = [in_length(noisy(lambda L: 1 + 0 / L, 1e-2, seed)).error for seed in range(60)]
    assert np.median(errors) < 4 * 1e-2 / np.sqrt(11)


@pytest.mark.parametrize(("dephasing", "sigmas", "relative"), [(0.5, 2, 0.1), (1.0, 2, 0.03), (3.0, 2, 1e-3)])
def test_the_conductivity_of_the_chain_with_dephasing_from_sixteen_sites(dephasing, sigmas, relative):
    """L I(L) -> 2 t^2 (f_L - f_R)/gamma; the series in 1/L converges for L > 2 R/gamma with the contacts R."""
    sizes = [4, 6, 8, 10, 12, 14, 16]
    flow = [L * xx_chain(L, 1.0, 1.0, 1.0, 1.0, 0.0, dephasing=dephasing).current for L in sizes]
    limit = in_length(Series(sizes, flow))
    assert limit.agrees(2 / dephasing, sigmas) and limit.error < relative * limit.value


def test_the_resistance_of_that_chain_is_linear_and_needs_no_series():
    """1/I = R + (L - 1) gamma/(2 t^2): the slope is a limit of differences, exact at any length."""
    sizes = np.array([4, 6, 8, 12, 16])
    resistance = np.array([1 / xx_chain(L, 1.0, 1.0, 0.8, 0.6, 0.2, dephasing=0.7).current for L in sizes])
    limit = in_length(Series(sizes, resistance / sizes))
    assert limit.value == pytest.approx(0.7 / 2 / (0.8 - 0.2), abs=1e-10)


def test_unconverged_points_are_refused_and_named():
    series = Series(SIZES, 1 / SIZES, 1e-3, ["converged"] * 10 + ["stalled_by_truncation"])
    with pytest.raises(InputError, match=r"x = 48 \(stalled_by_truncation\)"):
        in_length(series)
    limit = in_length(series, unconverged="drop")
    assert 48.0 not in limit.used and any("left out" in note for note in limit.notes)


def test_errors_that_are_too_small_are_scaled_and_this_is_said():
    rng = np.random.default_rng(3)
    series = Series(SIZES, 1 + 0.1 * rng.normal(size=len(SIZES)), 1e-4)
    limit = in_length(series, max_degree=1)
    assert any("scaled" in note for note in limit.notes) and limit.error > 1e-2


@pytest.mark.parametrize(
    ("series", "options", "field"),
    [
        (Series([4, 8], [1.0, 2.0]), {}, "x"),
        (Series([0, 4, 8], [1.0, 2.0, 3.0]), {}, "series"),
        (Series([2, 4, 8], [1.0, 2.0, 3.0]), {"max_degree": -1}, "max_degree"),
        (Series([2, 4, 8], [1.0, 2.0, 3.0]), {"power": 0.0}, "power"),
    ],
)
def test_bad_input_in_length(series, options, field):
    with pytest.raises(InputError) as told:
        in_length(series, **options)
    assert told.value.field == field


# -- bond dimension ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_power_law_tails_in_the_bond_dimension_are_covered(power):
    chi = np.array([8, 12, 16, 24, 32, 48.0])
    limit = in_bond_dimension(Series(chi, 0.25 + 2.0 * chi**-power, 1e-7))
    assert limit.agrees(0.25, 2.0)
    assert limit.error < 2.0 * 24.0**-power + 1e-6  # better than simply taking a point of half the largest dimension


def test_discarded_weights_extrapolate_to_zero():
    weight = np.array([1e-4, 3e-5, 1e-5, 3e-6])
    limit = in_bond_dimension(Series(weight, 0.5 - 40 * weight), weights=True)
    assert limit.value == pytest.approx(0.5, abs=1e-12)
    assert limit.parts["reach"] == pytest.approx(40 * 3e-6 / 2, rel=1e-6)


def test_bad_input_in_bond_dimension():
    with pytest.raises(InputError, match="at least 3"):
        in_bond_dimension(Series([8, 16], [1.0, 1.1]))
    with pytest.raises(InputError, match="weights"):
        in_bond_dimension(Series([-1e-3, 1e-3, 2e-3], [1.0, 1.1, 1.2]), weights=True)
    with pytest.raises(InputError, match="max_degree"):
        in_bond_dimension(Series([8, 16, 32], [1.0, 1.1, 1.2]), max_degree=0)


# -- time step ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "step"), [(2, 2), (2, 1), (4, 2)])
def test_richardson_is_exact_for_its_own_series(order, step):
    dt = np.array([0.05, 0.1, 0.2])
    values = 0.3 + 1.5 * dt**order - 0.4 * dt ** (order + step)
    limit = in_time_step(Series(dt, values), order, step=step)
    assert limit.value == pytest.approx(0.3, abs=1e-13)


def test_two_steps_give_the_textbook_combination():
    limit = in_time_step(Series([0.1, 0.2], [1.01, 1.04]), 2)
    assert limit.value == pytest.approx((4 * 1.01 - 1.04) / 3, abs=1e-14)
    assert limit.error > 0  # the remainder cannot be known from two steps; it is estimated by the correction


def test_a_wrong_order_is_noticed():
    dt = np.array([0.05, 0.1, 0.2])
    limit = in_time_step(Series(dt, 1 + 0.3 * dt), 2)
    assert any("measured order 1.00" in note and "not reached" in note for note in limit.notes)
    assert limit.agrees(1.0, 3.0)


def test_noise_reduces_the_number_of_terms():
    """With noise far above the remainder a second term only amplifies it."""
    dt = np.array([0.1, 0.12, 0.14])
    rng = np.random.default_rng(5)
    hits = [
        in_time_step(Series(dt, 1 + dt**2 + 0.01 * rng.normal(size=3), 0.01), 2, step=2).agrees(1.0, 2.0)
        for _ in range(100)
    ]
    assert np.mean(hits) > 0.88  # 0.95 - 3 standard errors of a frequency from 100 trials


def test_bad_input_in_time_step():
    for series, arguments in (
        (Series([0.1], [1.0]), (2,)),
        (Series([0.0, 0.1], [1.0, 1.0]), (2,)),
        (Series([0.1, 0.2], [1.0, 1.0]), (0,)),
    ):
        with pytest.raises(InputError):
            in_time_step(series, *arguments)
    with pytest.raises(InputError, match="terms"):
        in_time_step(Series([0.1, 0.2], [1.0, 1.0]), 2, terms=2)
