"""Goal-oriented error estimates: corrected expectation values and sensitivities from the adjoint problem."""

from ..result import register_corrector
from .estimate import Corrected, corrected
from .sensitivity import sensitivity

__all__ = ["Corrected", "corrected", "sensitivity"]

register_corrector(corrected)
