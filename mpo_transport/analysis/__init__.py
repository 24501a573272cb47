"""Analysis of results: extrapolation, scaling laws, disorder averages, each with the error it deserves.

>>> import numpy as np
>>> L = np.array([8, 12, 16, 24, 32])
>>> print(power_law(Series(L, 3.0 / L**2, 1e-5)))  # doctest: +ELLIPSIS
exponent = 2.0...
"""

from .alternating import AlternatingLimit, alternating_limit, wynn_epsilon
from .averages import disorder_average
from .estimate import Candidate, Estimate
from .extrapolation import in_bond_dimension, in_length, in_time_step
from .figures import draw_series, plot_table
from .scaling import LawFit, LocalExponents, Ranking, compare_laws, exponential_law, local_exponents, power_law
from .select import average_over, series_of
from .series import Series, text_with_error

__all__ = [
    "AlternatingLimit",
    "Candidate",
    "Estimate",
    "LawFit",
    "LocalExponents",
    "Ranking",
    "Series",
    "alternating_limit",
    "average_over",
    "compare_laws",
    "disorder_average",
    "draw_series",
    "exponential_law",
    "in_bond_dimension",
    "in_length",
    "in_time_step",
    "local_exponents",
    "plot_table",
    "power_law",
    "series_of",
    "text_with_error",
    "wynn_epsilon",
]
