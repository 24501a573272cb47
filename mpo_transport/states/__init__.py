"""Representations of a density matrix: dense, tensor train, clusters, mixtures, orbits of strings, Gaussian."""

from .base import STATES, State, local_density_matrices, register_state
from .cluster import ClusterState
from .dense import DenseState
from .ensemble import EnsembleState
from .gaussian import GaussianState
from .infinite import InfiniteMPOState
from .mpo import MPOState
from .orbit import OrbitState

__all__ = [
    "STATES",
    "ClusterState",
    "DenseState",
    "EnsembleState",
    "GaussianState",
    "InfiniteMPOState",
    "MPOState",
    "OrbitState",
    "State",
    "local_density_matrices",
    "register_state",
]
