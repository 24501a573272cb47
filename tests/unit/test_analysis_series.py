"""Series and disorder averages: what is used, what is refused, and what is said about it."""

import numpy as np
import pytest

from mpo_transport.analysis import Series, disorder_average, text_with_error
from mpo_transport.errors import InputError


def test_a_series_is_sorted_with_everything_that_belongs_to_a_point():
    series = Series([16, 4, 8], [3.0, 1.0, 2.0], [0.3, 0.1, 0.2], ["not_converged", "converged", "converged"])
    assert series.x.tolist() == [4, 8, 16] and series.y.tolist() == [1, 2, 3]
    assert series.error.tolist() == [0.1, 0.2, 0.3] and series.status[2] == "not_converged"


def test_unconverged_and_missing_points_are_refused_unless_told():
    series = Series([1, 2, 3, 4], [1.0, np.nan, 3.0, 4.0], 0.1, ["converged", "missing", "not_converged", "converged"])
    with pytest.raises(InputError, match=r"2 of 4 points .*x = 2 \(missing\), x = 3 \(not_converged\)") as told:
        series.usable()
    assert told.value.field == "unconverged"
    dropped = series.usable("drop")
    assert dropped.x.tolist() == [1, 4] and "left out: x = 2 (missing), x = 3 (not_converged)" in dropped.notes
    kept = series.usable("keep")
    assert kept.x.tolist() == [1, 3, 4]
    assert kept.notes == ("left out: x = 2 (missing)", "used although not converged: x = 3 (not_converged)")


def test_a_value_that_is_not_finite_is_doubtful_even_with_a_good_status():
    with pytest.raises(InputError, match=r"x = 2 \(no value\)"):
        Series([1, 2], [1.0, np.inf]).usable()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (([1, 2], [1.0]), "y"),
        (([1, np.nan], [1.0, 2.0]), "x"),
        (([1, 2], [1.0, 1j]), "y"),
        (([1, 2], ["a", "b"]), "y"),
        (([1, 2], [1.0, 2.0], [0.1, 0.0]), "error"),
        (([1, 2], [1.0, 2.0], -0.1), "error"),
        (([1, 2], [1.0, 2.0], [0.1, 0.1, 0.1]), "error"),
        (([1, 2], [1.0, 2.0], None, ["converged"]), "status"),
    ],
)
def test_bad_series(arguments, field):
    with pytest.raises(InputError) as told:
        Series(*arguments)
    assert told.value.field == field


def test_errors_known_for_some_points_only_are_refused():
    with pytest.raises(InputError, match="unknown"):
        Series([1, 2], [1.0, 2.0], [0.1, np.nan]).usable()


def test_a_wrong_word_for_unconverged():
    with pytest.raises(InputError, match="refuse"):
        Series([1], [1.0]).usable("ignore")


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.23456, 0.0123, "1.235(12)"),
        (1.23456, 0.00996, "1.235(10)"),
        (-0.5, 3.0, "-0.5(30)"),
        (1234.0, 120.0, "1234(120)"),
        (2.0, 0.0, "2(0)"),
    ],
)
def test_numbers_with_errors(value, error, text):
    assert text_with_error(value, error) == text


# -- disorder ----------------------------------------------------------------------------------------------------------


def test_the_mean_and_its_error_are_those_of_the_textbook():
    values = np.array([1.0, 2.0, 4.0, 5.0])
    average = disorder_average(values)
    assert average.value == pytest.approx(3.0, abs=1e-15)
    assert average.error == pytest.approx(np.sqrt(10 / 3 / 4), abs=1e-15)


def test_a_common_numerical_error_does_not_average_out():
    assert disorder_average([1.0, 1.0, 1.0], 0.2).error == pytest.approx(0.2, abs=1e-15)


@pytest.mark.parametrize("statistic", ["median", "typical"])
def test_bootstrap_errors_cover_the_true_value(statistic):
    """Log-normal samples have the median and the typical value 1; 68 % of the one-sigma bars should hold it."""
    rng = np.random.default_rng(11)
    hits = [
        disorder_average(np.exp(rng.normal(size=40)), statistic=statistic, resamples=300, seed=k).agrees(1.0, 1.0)
        for k in range(120)
    ]
    assert 0.52 < np.mean(hits) < 0.84  # 0.68 -+ 4 standard errors of a frequency from 120 trials


def test_the_median_is_not_moved_by_one_outlier():
    assert disorder_average([1.0, 1.1, 0.9, 1.0, 1000.0], statistic="median").value == 1.0


def test_realisations_that_failed_are_refused_and_dropping_them_is_told():
    values, status = [1.0, 2.0, 9.0], ["converged", "converged", "not_converged"]
    with pytest.raises(InputError, match="realisation = 2"):
        disorder_average(values, status=status)
    average = disorder_average(values, status=status, unconverged="drop")
    assert average.value == 1.5 and any("biased" in note for note in average.notes)
    assert any("not converged" in n for n in disorder_average(values, status=status, unconverged="keep").notes)


def test_bad_disorder_averages():
    with pytest.raises(InputError, match="statistic"):
        disorder_average([1.0, 2.0], statistic="mode")
    with pytest.raises(InputError, match="at least 2"):
        disorder_average([1.0])
    with pytest.raises(InputError, match="zeros"):
        disorder_average([1.0, 0.0], statistic="typical")


def test_equal_samples_have_no_scatter():
    assert disorder_average([2.0] * 6, statistic="median").error == 0.0
