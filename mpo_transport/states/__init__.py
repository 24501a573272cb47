"""Representations of a density matrix: dense, matrix-product, cluster product, mixture of pure states."""

from .base import STATES, State, local_density_matrices, register_state
from .cluster import ClusterState
from .dense import DenseState
from .ensemble import EnsembleState
from .mpo import MPOState

__all__ = ["STATES", "ClusterState", "DenseState", "EnsembleState", "MPOState", "State", "local_density_matrices", "register_state"]
