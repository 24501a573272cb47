"""Steady states and transport of open quantum chains: vectorised Lindbladians, matrix-product states, exact checks.

>>> import mpo_transport as mt
>>> model = mt.models.persistent_current(L=4, alpha=2.0, delta=1.5)
>>> result = mt.steady_state(model, method=mt.ExactDiag())
>>> float(result.expect(mt.observables.current(model))[0].round(6))
0.570721
"""

from . import analysis, counting, errors, models, observables, superoperator, sweep
from ._version import __version__
from .crosscheck import crosscheck
from .dual import corrected, sensitivity
from .errors import (
    ConvergenceError,
    DegenerateSteadyStateError,
    FileFormatError,
    InputError,
    InsufficientMemoryError,
    MpoTransportError,
    MpoTransportWarning,
    NotSupportedError,
    RunConflictError,
    SaveError,
    UnstableError,
)
from .ground_state import ground_state
from .lattice import Chain, Graph
from .methods import (
    TEBD,
    ChainGrowth,
    CholeskyGrowth,
    ClosedHierarchy,
    ClusterMeanField,
    ExactDiag,
    Gaussian,
    ImplicitSweeps,
    InfiniteTEBD,
    LocalDivergence,
    Trajectories,
)
from .model import Bath, CurrentKind, Jump, Lindbladian
from .operators import Boson, LocalSpace, OpSum, Spin, SpinHalf, anticommutator, commutator, identity, op
from .regression import coherence_function, correlation_function, power_spectrum
from .response import scattering_matrix, transmission
from .result import Certificate, Evolution, Result, Status
from .solve import Audit, Checkpoint, audit, choose_method, evolve, resume, steady_state
from .spec import RunSpec
from .spectrum import Gap, Spectrum, gap, rapidities, spectrum
from .states import ClusterState, DenseState, GaussianState, InfiniteMPOState, MPOState
from .storage import load

__all__ = [
    "TEBD",
    "Audit",
    "Bath",
    "Boson",
    "Certificate",
    "Chain",
    "Checkpoint",
    "ChainGrowth",
    "CholeskyGrowth",
    "ClosedHierarchy",
    "ClusterMeanField",
    "ClusterState",
    "ConvergenceError",
    "CurrentKind",
    "DegenerateSteadyStateError",
    "DenseState",
    "Evolution",
    "ExactDiag",
    "FileFormatError",
    "Gap",
    "Gaussian",
    "GaussianState",
    "Graph",
    "ImplicitSweeps",
    "InfiniteMPOState",
    "InfiniteTEBD",
    "InputError",
    "InsufficientMemoryError",
    "Jump",
    "Lindbladian",
    "LocalDivergence",
    "LocalSpace",
    "MPOState",
    "MpoTransportError",
    "MpoTransportWarning",
    "NotSupportedError",
    "OpSum",
    "Result",
    "RunConflictError",
    "RunSpec",
    "SaveError",
    "Spectrum",
    "Spin",
    "SpinHalf",
    "Status",
    "Trajectories",
    "UnstableError",
    "__version__",
    "analysis",
    "anticommutator",
    "audit",
    "choose_method",
    "coherence_function",
    "commutator",
    "corrected",
    "correlation_function",
    "counting",
    "crosscheck",
    "errors",
    "evolve",
    "gap",
    "ground_state",
    "identity",
    "load",
    "models",
    "observables",
    "op",
    "power_spectrum",
    "rapidities",
    "resume",
    "scattering_matrix",
    "sensitivity",
    "spectrum",
    "steady_state",
    "superoperator",
    "transmission",
    "sweep",
]
