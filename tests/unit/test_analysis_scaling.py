"""Scaling laws and alternating series against exact formulas, and the coverage of their errors."""

import math

import numpy as np
import pytest

from mpo_transport.analysis import (
    Series,
    alternating_limit,
    compare_laws,
    exponential_law,
    local_exponents,
    power_law,
    wynn_epsilon,
)
from mpo_transport.errors import InputError
from mpo_transport.reference.boundary_driven import exclusion, xx_chain, xxz_maximally_driven

L = np.array([8.0, 12, 16, 24, 32, 48])


def maximal(sizes, Delta):
    return Series(sizes, [xxz_maximally_driven(int(n), Delta, J=0.25, eps=1.0).current for n in sizes])


def test_a_power_law_without_noise_is_recovered():
    fit = power_law(Series(L, -3.0 * L**-1.7))
    assert fit.value == pytest.approx(1.7, abs=1e-10)
    assert fit.predict([10.0])[0] == pytest.approx(-3.0 * 10**-1.7, rel=1e-9)


@pytest.mark.parametrize(("b", "sigma"), [(0.0, 0.01), (1.0, 0.01), (1.0, 0.002)])
def test_error_bars_of_exponents_hold_what_they_claim(b, sigma):
    """At least 68 and 90 %, minus three standard errors of a frequency from 150 trials, also with a 1/L correction."""
    rng = np.random.default_rng(2)
    distance = []
    for _ in range(150):
        y = 3 * L**-1.5 * (1 + b / L) * np.exp(sigma * rng.normal(size=len(L)))
        fit = power_law(Series(L, y, sigma * y))
        distance.append(abs(fit.value - 1.5) / fit.error)
    assert np.mean(np.array(distance) <= 1) > 0.68 - 3 * 0.038
    assert np.mean(np.array(distance) <= 2) > 0.90 - 3 * 0.024


@pytest.mark.parametrize("sizes", [(8, 16, 32, 64, 128), (20, 40, 80, 160, 320, 640)])
def test_the_exponent_two_of_maximal_driving_at_the_isotropic_point(sizes):
    fit = power_law(maximal(sizes, 1.0))
    assert fit.agrees(2.0, 2.0) and fit.error < 0.04


def test_maximal_driving_above_the_isotropic_point_decays_exponentially():
    """xi is the same from short and from long chains, within the claimed errors."""
    short, long = exponential_law(maximal((4, 6, 8, 10, 12, 16), 1.5)), exponential_law(maximal((40, 60, 80, 120), 1.5))
    assert abs(short.value - long.value) < 2 * math.hypot(short.error, long.error)
    assert long.error < 1e-6 * long.value
    assert compare_laws(maximal((8, 12, 16, 20, 24, 32), 1.5)).best == "exponential"


def test_diffusion_of_the_exclusion_process_has_the_exponent_one():
    flow = [exclusion(int(n), 1.0, 0.8, 0.5, 0.3).current for n in L]
    assert power_law(Series(L, flow)).agrees(1.0, 2.0)


def test_ballistic_transport_has_the_exponent_zero():
    flow = [xx_chain(int(n), 1.0, 1.0, 0.75, 1.0, 0.25).current for n in L]
    assert power_law(Series(L, flow)).value == pytest.approx(0.0, abs=1e-12)
    assert compare_laws(Series(L, flow, 1e-6)).best == "constant"


def test_windows_show_the_drift():
    """Beyond short chains the exponent falls towards 2 from above."""
    fit = power_law(maximal((24, 32, 48, 64, 96, 128), 1.0))
    drift = [w.value for w in fit.windows]
    assert drift == sorted(drift, reverse=True) and drift[-1] > 2 and len(fit.windows[0].used) == 6


def test_local_exponents():
    found = local_exponents(Series([4, 8, 16], [1.0, 0.25, 0.125], [0.1, 0.025, 0.0125]))
    assert found.exponent.tolist() == pytest.approx([2.0, 1.0], abs=1e-13)
    # independent relative errors of 10 % at both ends of a factor two
    assert found.error.tolist() == pytest.approx([0.1 * math.sqrt(2) / math.log(2)] * 2, rel=1e-12)
    assert found.x.tolist() == pytest.approx([math.sqrt(32), math.sqrt(128)])


def test_laws_are_ranked_by_evidence_not_by_the_number_of_parameters():
    rng = np.random.default_rng(7)
    wins = []
    for _ in range(40):
        y = 2 * L**-1.0 * np.exp(0.02 * rng.normal(size=len(L)))
        wins.append(compare_laws(Series(L, y, 0.02 * y), ("constant", "power", "exponential", "stretched power")).best)
    assert wins.count("power") > 30


def test_laws_that_all_fail_are_said_to_fail():
    ranking = compare_laws(Series(L, 1 / L * (1 + 3 / L), 1e-9))
    assert any("no law fits" in note for note in ranking.notes)
    assert sum(row["weight"] for row in ranking.rows) == pytest.approx(1.0)


@pytest.mark.parametrize("function", [power_law, exponential_law, local_exponents, compare_laws])
def test_bad_input_of_laws(function):
    with pytest.raises(InputError, match="changes sign"):
        function(Series(L, [1, 1, 1, 1, 1, -1.0]))
    with pytest.raises(InputError, match="not converged"):
        function(Series(L, 1 / L, None, ["converged"] * 5 + ["not_converged"]))
    with pytest.raises(InputError, match="different values"):
        function(Series([8.0], [1.0]))


def test_growth_has_no_decay_length():
    with pytest.raises(InputError, match="grows"):
        exponential_law(Series(L, np.exp(L / 10)))


def test_unknown_laws_are_refused_with_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'power'"):
        compare_laws(Series(L, 1 / L), ("powr",))


# -- alternating series ------------------------------------------------------------------------------------------------

N = np.arange(4, 13)


@pytest.mark.parametrize(("ratio", "amplitude"), [(0.3, 1.0), (0.56, -0.4), (0.9, 0.1)])
def test_one_alternating_term_is_recovered(ratio, amplitude):
    limit = alternating_limit(Series(N, 0.86 + amplitude * (-ratio) ** N))
    assert limit.value == pytest.approx(0.86, abs=1e-9)
    assert limit.ratio == pytest.approx(ratio, abs=1e-6) and limit.amplitude == pytest.approx(amplitude, rel=1e-4)
    assert limit.collapsed[:3] == pytest.approx([1.0] * 3, abs=1e-4)


@pytest.mark.parametrize(("second", "rate"), [(0.5, 0.4), (-0.3, 0.5)])
def test_a_second_term_is_inside_the_error(second, rate):
    limit = alternating_limit(Series(N, 0.86 + 0.3 * (-0.6) ** N + second * rate**N))
    assert limit.agrees(0.86, 2.0) and limit.error < 5e-3


def test_the_alternating_error_covers_noise():
    rng = np.random.default_rng(4)
    hits = [
        alternating_limit(Series(N, 0.86 + 0.3 * (-0.56) ** N + 1e-3 * rng.normal(size=len(N)), 1e-3)).agrees(0.86, 1)
        for _ in range(40)
    ]
    assert np.mean(hits) > 0.68 - 3 * 0.074  # three standard errors of a frequency from 40 trials


def test_wynn_epsilon_sums_geometric_series_exactly():
    terms = [2.0 + 0.7 * (-0.6) ** k - 0.2 * 0.3**k for k in range(5)]  # two terms need five values
    assert wynn_epsilon(np.array(terms)) == pytest.approx(2.0, abs=1e-12)
    assert wynn_epsilon(np.array([3.0, 3.0, 3.0])) == 3.0


def test_bad_alternating_series():
    with pytest.raises(InputError, match="same parity"):
        alternating_limit(Series([4, 6, 8, 10], [1.0, 1.1, 1.05, 1.07]))
    with pytest.raises(InputError, match="integers"):
        alternating_limit(Series([4, 5.5, 6, 7], [1.0, 1.1, 1.05, 1.07]))
    with pytest.raises(InputError, match="does not converge"):
        alternating_limit(Series(N, (-1.3) ** N))
