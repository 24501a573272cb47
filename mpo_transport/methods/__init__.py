"""Methods: frozen dataclasses whose fields are their knobs."""

from .base import METHODS, Diagnostics, Estimate, Iterate, Method, Support, build_method, register_method

__all__ = ["METHODS", "Diagnostics", "Estimate", "Iterate", "Method", "Support", "build_method", "register_method"]
