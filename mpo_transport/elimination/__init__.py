"""Eliminating fast modes: effective master equations of the modes that remain, and the mean field they rest on."""

from .born_markov import eliminate, eliminate_links, optical_matrix, reservoir_spectrum
from .effective import EffectivePhonons, NegativeRatesError, NegativeRatesWarning
from .links import Links, read_links, ring_links
from .mean_field import MeanField, linearised_drift, mean_fields
from .reservoirs import (
    NambuReservoir,
    continuous_spectrum,
    eliminate_continuum,
    eliminate_squeezed,
    squeezed_reservoir,
)
from .two_tone import TwoTonePhonons, bogoliubov, eliminate_two_tone, nambu_equations, two_tone_links

__all__ = [
    "EffectivePhonons",
    "Links",
    "MeanField",
    "NambuReservoir",
    "NegativeRatesError",
    "NegativeRatesWarning",
    "TwoTonePhonons",
    "bogoliubov",
    "continuous_spectrum",
    "eliminate",
    "eliminate_continuum",
    "eliminate_links",
    "eliminate_squeezed",
    "eliminate_two_tone",
    "linearised_drift",
    "mean_fields",
    "nambu_equations",
    "optical_matrix",
    "read_links",
    "reservoir_spectrum",
    "ring_links",
    "squeezed_reservoir",
    "two_tone_links",
]
