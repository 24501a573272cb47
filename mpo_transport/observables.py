"""Observables: named lists of operator sums, and functions of a state; the same names in every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .operators import OpSum
from .states import State

__all__ = ["Observable", "StateFunction"]


@dataclass(frozen=True)
class Observable:
    """A list of operators with one value each.

    Attributes
    ----------
    name
        Name under which it is stored.
    operators
        One :class:`~mpo_transport.OpSum` per value.
    labels
        What each value belongs to: sites, bonds (i, j), or () for a single number.
    dimension
        "site", "bond", "pair" or "" for a single number.
    unit, description
        For axes and files (hbar = 1: a particle current has the unit of a rate).
    norm
        Scale (largest operator norm) by which a dimensionless error estimate is multiplied.
    """

    name: str
    operators: tuple[OpSum, ...]
    labels: tuple[Any, ...] = ()
    dimension: str = ""
    unit: str = ""
    description: str = ""
    norm: float = 1.0

    @property
    def is_hermitian(self) -> bool:
        """Whether every operator equals its adjoint."""
        return all(o == o.dag for o in self.operators)

    def evaluate(self, state: State) -> Any:
        """Return the expectation values, shape (len(operators),), or one number; real for Hermitian operators."""
        keys = [key for o in self.operators for key, _ in o]
        values = state.expect_products(keys) if keys else np.zeros(0, dtype=complex)
        out = np.zeros(len(self.operators), dtype=complex)
        position = 0
        for k, o in enumerate(self.operators):
            coefficients = [c for _, c in o]
            out[k] = np.dot(coefficients, values[position : position + len(coefficients)]) if coefficients else 0.0
            position += len(coefficients)
        real = out.real if self.is_hermitian else out
        return real if self.dimension else real[0]


@dataclass(frozen=True)
class StateFunction:
    """A number that is not linear in the state (purity, negativity, entropies, fidelity)."""

    name: str
    function: Callable[[State], Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unit: str = ""
    description: str = ""
    dimension: str = ""
    norm: float = 1.0

    def evaluate(self, state: State) -> Any:
        """Return the value on a state."""
        return self.function(state)
