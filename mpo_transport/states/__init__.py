"""Representations of a density matrix: dense, tensor train, clusters, mixtures, orbits of strings, Gaussian.

Linear algebra between matrix products (``add``, ``linear_combination``, ``inner``, ``difference_norm``), their
similarity (``hilbert_schmidt_fidelity``) and the way to and from quimb (``to_quimb``, ``from_quimb``) stand here too.
"""

from .base import STATES, State, local_density_matrices, register_state
from .cluster import ClusterState
from .dense import DenseState
from .ensemble import EnsembleState
from .gaussian import GaussianState
from .infinite import InfiniteMPOState
from .mpo import MPOState
from .mpo_algebra import add, difference_norm, hilbert_schmidt_fidelity, inner, linear_combination
from .mpo_sampling import Samples
from .orbit import OrbitState
from .quimb_bridge import from_quimb, to_quimb

__all__ = [
    "STATES",
    "ClusterState",
    "DenseState",
    "EnsembleState",
    "GaussianState",
    "InfiniteMPOState",
    "MPOState",
    "OrbitState",
    "Samples",
    "State",
    "add",
    "difference_norm",
    "from_quimb",
    "hilbert_schmidt_fidelity",
    "inner",
    "linear_combination",
    "local_density_matrices",
    "register_state",
    "to_quimb",
]
