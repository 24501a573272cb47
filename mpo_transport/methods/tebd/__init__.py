"""Time-evolving block decimation of the vectorised density matrix."""

from .method import TEBD

__all__ = ["TEBD"]
