"""Eigenvalues of the Lindbladian: the slowest modes with their operators and quantum numbers, and the gap."""

from .rapidities import rapidities
from .result import Gap, Spectrum
from .search import gap, spectrum

__all__ = ["Gap", "Spectrum", "gap", "rapidities", "spectrum"]
