"""Steady states by implicit two-site sweeps, x <- (1 - tau L)^-1 x, on the exact Lindbladian operator."""

from .method import ImplicitSweeps

__all__ = ["ImplicitSweeps"]
