"""What quadratic models give exactly beside their steady state: response, noise, scattering, transmission."""

from .correlations import GaussianRegression
from .scattering import Scattering, Transmission, scattering_matrix, transmission
from .steady import stationary_state

__all__ = [
    "GaussianRegression",
    "Scattering",
    "Transmission",
    "scattering_matrix",
    "stationary_state",
    "transmission",
]
