"""Specification files: a run written down in TOML, read strictly."""

from .run import RunSpec, load_spec, method_classes

__all__ = ["RunSpec", "load_spec", "method_classes"]
