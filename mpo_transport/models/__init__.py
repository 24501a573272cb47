"""Library models: functions that return a :class:`~mpo_transport.Lindbladian`."""

from .boundary_driven import boundary_driven_xx, boundary_driven_xxz, exclusion_process
from .heat_rectifier import cascaded_chain, heat_rectifier
from .kerr import kerr_oscillator
from .optomechanical import optomechanical_lattice, optomechanical_ring
from .optomechanical_rectifier import as_heat_rectifier, optomechanical_rectifier
from .persistent_current import persistent_current
from .registry import MODELS, build_model, register
from .ring import ring_dephasing
from .two_tone import two_tone_lattice

__all__ = [
    "MODELS",
    "as_heat_rectifier",
    "boundary_driven_xx",
    "boundary_driven_xxz",
    "build_model",
    "cascaded_chain",
    "exclusion_process",
    "heat_rectifier",
    "kerr_oscillator",
    "optomechanical_lattice",
    "optomechanical_rectifier",
    "optomechanical_ring",
    "persistent_current",
    "register",
    "ring_dephasing",
    "two_tone_lattice",
]
