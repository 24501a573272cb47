"""Time-evolving block decimation of a translation-invariant density matrix in the thermodynamic limit."""

from .method import InfiniteTEBD

__all__ = ["InfiniteTEBD"]
