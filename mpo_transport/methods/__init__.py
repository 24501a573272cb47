"""Methods: frozen dataclasses whose fields are their knobs."""

from .base import METHODS, Diagnostics, Estimate, Iterate, Method, Support, build_method, register_method
from .cluster import ClusterMeanField
from .cluster_threshold import instability_threshold, symmetric_growth_rate
from .divergence import CholeskyGrowth, LocalDivergence
from .exact import ExactDiag
from .gaussian import Gaussian
from .growth import ChainGrowth
from .hierarchy import ClosedHierarchy, HierarchyState
from .implicit import ImplicitSweeps
from .infinite import InfiniteTEBD
from .tebd import TEBD
from .trajectories import Trajectories

__all__ = [
    "METHODS",
    "ChainGrowth",
    "CholeskyGrowth",
    "ClosedHierarchy",
    "ClusterMeanField",
    "Diagnostics",
    "Estimate",
    "ExactDiag",
    "Gaussian",
    "HierarchyState",
    "ImplicitSweeps",
    "InfiniteTEBD",
    "Iterate",
    "LocalDivergence",
    "Method",
    "Support",
    "TEBD",
    "Trajectories",
    "build_method",
    "instability_threshold",
    "register_method",
    "symmetric_growth_rate",
]
