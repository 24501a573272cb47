"""Representations of a density matrix: dense, tensor train, clusters, mixtures of pure states, orbits of strings."""

from .base import STATES, State, local_density_matrices, register_state
from .cluster import ClusterState
from .dense import DenseState
from .ensemble import EnsembleState
from .mpo import MPOState
from .orbit import OrbitState

__all__ = [
    "STATES",
    "ClusterState",
    "DenseState",
    "EnsembleState",
    "MPOState",
    "OrbitState",
    "State",
    "local_density_matrices",
    "register_state",
]
