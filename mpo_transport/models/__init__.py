"""Library models: functions that return a :class:`~mpo_transport.Lindbladian`."""

from .persistent_current import persistent_current
from .registry import MODELS, build_model, register

__all__ = ["MODELS", "build_model", "persistent_current", "register"]
