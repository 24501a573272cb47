"""Gaussian(): quadratic models from their first and second moments."""

from .method import Gaussian
from .ring import RingEquations, ring_equations
from .ring_cell import ring_of_cells, ring_steady_state, with_cells

__all__ = ["Gaussian", "RingEquations", "ring_equations", "ring_of_cells", "ring_steady_state", "with_cells"]
