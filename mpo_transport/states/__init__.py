"""Representations of a density matrix: dense, matrix-product, cluster product."""

from .base import STATES, State, local_density_matrices, register_state

__all__ = ["STATES", "State", "local_density_matrices", "register_state"]
