"""What a solved adjoint problem is, whichever backend solved it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..model import Lindbladian
from ..operators import OpSum

__all__ = ["CONVERGED", "DUAL_FAILED", "NOT_CONVERGED", "Dual", "DualBackend"]

CONVERGED = "converged"
NOT_CONVERGED = "not converged"
DUAL_FAILED = "dual not converged"


@dataclass(frozen=True)
class Dual:
    """The dual of one Hermitian operator.

    Attributes
    ----------
    y
        The dual itself, in the form of its backend.
    corrected, error
        The corrected value and the estimate of its absolute error, NaN where the dual cannot be trusted.
    residual
        |L^T y - b| / |b| of the dual.
    trusted
        Whether the dual's own residual is small enough for its correction to mean something.
    bond_dimension
        Bond dimension of the dual, None for a vector.
    """

    y: Any
    corrected: float
    error: float
    residual: float
    trusted: bool
    bond_dimension: int | None = None

    @classmethod
    def nothing(cls, value: float) -> Dual:
        """Return the dual of a multiple of the identity, whose value has no error."""
        return cls(None, value, 0.0, 0.0, True)

    @classmethod
    def failed(cls, y: Any, residual: float, bond_dimension: int | None = None) -> Dual:
        """Return a dual whose correction must not be used."""
        return cls(y, math.nan, math.nan, residual, False, bond_dimension)


class DualBackend(Protocol):
    """Solves L^T y = O - <O> 1 for one state."""

    def solve(self, operator: OpSum, value: float, goal: float) -> Dual:
        """Return the dual of a Hermitian operator with the expectation value ``value``; ``goal``: error asked for."""
        ...

    def pairing(self, model: Lindbladian) -> Callable[[Any], float]:
        """Return y -> (y| L x) with the generator of another model on the same lattice."""
        ...
