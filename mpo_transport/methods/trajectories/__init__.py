"""Quantum trajectories: jump unravelling with exact waiting times, sectors, reproducible streams, honest errors."""

from .method import Trajectories

__all__ = ["Trajectories"]
