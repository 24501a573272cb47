"""Library models: functions that return a :class:`~mpo_transport.Lindbladian`."""

from .boundary_driven import boundary_driven_xx, boundary_driven_xxz, exclusion_process
from .kerr import kerr_oscillator
from .persistent_current import persistent_current
from .registry import MODELS, build_model, register
from .ring import ring_dephasing

__all__ = [
    "MODELS",
    "boundary_driven_xx",
    "boundary_driven_xxz",
    "build_model",
    "exclusion_process",
    "kerr_oscillator",
    "persistent_current",
    "register",
    "ring_dephasing",
]
