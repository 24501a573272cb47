"""Full counting statistics: cumulants, generating functions and noise of the quanta exchanged with baths."""

from .exchange import ExchangeSymmetry, affinities, exchange_symmetry, reversed_model
from .fields import counted_baths
from .statistics import (
    Statistics,
    cumulants,
    fano_factor,
    generating_function,
    mean_flows,
    noise_matrix,
    scattering_generating_function,
    statistics,
)

__all__ = [
    "ExchangeSymmetry",
    "Statistics",
    "affinities",
    "counted_baths",
    "cumulants",
    "exchange_symmetry",
    "fano_factor",
    "generating_function",
    "mean_flows",
    "noise_matrix",
    "reversed_model",
    "scattering_generating_function",
    "statistics",
]
