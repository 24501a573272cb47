"""Steady states of long chains grown from the exact solutions of two short ones."""

from .method import ChainGrowth

__all__ = ["ChainGrowth"]
