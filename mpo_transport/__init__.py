"""Steady states and transport of open quantum chains: vectorised Lindbladians, matrix-product states, exact checks."""

from . import models, superoperator
from .lattice import Chain, Graph
from .model import Bath, CurrentKind, Jump, Lindbladian
from .operators import Boson, LocalSpace, OpSum, Spin, SpinHalf, anticommutator, commutator, identity, op
__all__ = ["Bath", "Boson", "Chain", "CurrentKind", "Graph", "Jump", "Lindbladian", "LocalSpace", "OpSum", "Spin", "SpinHalf",
  "anticommutator", "commutator", "identity", "models", "op", "superoperator"]
