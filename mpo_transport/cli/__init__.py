"""The command line ``mpo-transport``."""

from .app import app, main
from .exits import Exit

__all__ = ["Exit", "app", "main"]
