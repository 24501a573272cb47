"""Exact steady states from the local-divergence form of L x = 0: of rho itself, or of a factor S with rho = S S^+."""

from .cholesky import CholeskyGrowth
from .method import LocalDivergence

__all__ = ["CholeskyGrowth", "LocalDivergence"]
