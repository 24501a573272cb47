"""Eigenvalues of the Lindbladian: the slowest modes with their operators and quantum numbers, and the gap."""

from .result import Gap, Spectrum
from .search import gap, spectrum

__all__ = ["Gap", "Spectrum", "gap", "spectrum"]
