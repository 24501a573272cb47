"""ClosedHierarchy(): expectation values from equations of motion that close."""

from .method import ClosedHierarchy
from .state import HierarchyState

__all__ = ["ClosedHierarchy", "HierarchyState"]
