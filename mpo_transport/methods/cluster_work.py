"""What cluster mean field prepares for a model: clusters, generators, equations and symmetry sectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..model import Lindbladian
from ..states import State, local_density_matrices
from ..states.base import check_initial
from ..superoperator import local_generators
from .cluster_equations import ClusterEquations, basis_parity, build_equations, contiguous_clusters, is_shift_invariant
from .cluster_solve import Stability, stability

__all__ = ["ORDER", "ClusterWork", "is_stable", "parities"]

ORDER = 1e-6  # norm of the odd coefficients from which a solution counts as broken


@dataclass
class ClusterWork:
    """What is rebuilt on every start: clusters, local generators, equations for each number of independent clusters."""

    model: Lindbladian
    size: int
    tol: float
    task: str = "steady_state"
    _equations: dict[int, ClusterEquations] = field(default_factory=dict)
    _even: dict[int, np.ndarray] = field(default_factory=dict)

    @cached_property
    def clusters(self) -> tuple[tuple[int, ...], ...]:
        """Sites of every cluster."""
        return contiguous_clusters(self.model.L, self.size)

    @cached_property
    def generators(self) -> Mapping[tuple[int, ...], np.ndarray]:
        """Local generators of the model, built once."""
        return local_generators(self.model)

    @cached_property
    def invariant(self) -> bool:
        """Whether all clusters are equivalent."""
        return len(self.clusters) == 1 or is_shift_invariant(self.model, self.generators, self.size)

    @cached_property
    def parities(self) -> tuple[tuple[int, ...], ...]:
        """Weights of every parity of the model."""
        return parities(self.model)

    @cached_property
    def local_parity(self) -> dict[int, np.ndarray]:
        """Parity of every basis operator of every site; zeros where the space has no number operator."""
        out = {}
        for s, space in enumerate(self.model.lattice.spaces):
            found = basis_parity(space.number, int(space.dim))
            out[s] = np.zeros(int(space.dim) ** 2, dtype=int) if found is None else found
        return out

    def equations(self, period: int) -> ClusterEquations:
        """Return the equations with ``period`` independent clusters, built once."""
        if period not in self._equations:
            self._equations[period] = build_equations(self.model, self.clusters, period, self.generators)
        return self._equations[period]

    def _is_even(self, period: int) -> np.ndarray:
        """Mask of the coefficients that all parities allow (all of them if the model has none)."""
        if period not in self._even:
            equations = self.equations(period)
            mask = np.ones(equations.size, dtype=bool)
            for weights in self.parities:
                for first in range(0, len(self.clusters), period):
                    shift = self.clusters[first][0]
                    local = {
                        s: self.local_parity[s] * weights[(s + shift) % self.model.L]
                        for v in range(period)
                        for s in self.clusters[v]
                    }
                    mask &= equations.charge(local) % 2 == 0
            self._even[period] = mask
        return self._even[period]

    def even(self, period: int) -> np.ndarray:
        """Indices of the free coefficients of the symmetric sector."""
        return np.intersect1d(np.flatnonzero(self._is_even(period)), self.equations(period).free)

    def odd(self, period: int) -> np.ndarray:
        """Indices of the coefficients that vanish in the symmetric sector."""
        return np.flatnonzero(~self._is_even(period))

    def order(self, period: int, x: np.ndarray, symmetric: np.ndarray | None = None) -> float:
        """Return the norm of the odd coefficients relative to all; without a parity, the distance to ``symmetric``."""
        part = x[self.odd(period)]
        if not self.parities and symmetric is not None:
            part = x - np.tile(symmetric, len(x) // len(symmetric))
        return float(np.linalg.norm(part) / np.linalg.norm(x))

    def with_fixed_sign(self, period: int, x: np.ndarray) -> np.ndarray:
        """Return that of the two parity partners whose first one-site odd coefficient (else any) is positive."""
        if not self.model.has_weak_parity:
            return x
        equations = self.equations(period)
        flip = np.where(equations.charge(self.local_parity) % 2, -1.0, 1.0)
        one_site = np.zeros(equations.size, dtype=int)
        for v, start in enumerate(equations.offsets[:-1]):
            stride = equations.cluster_dimension(v) ** 2
            for s in equations.clusters[v]:
                stride //= equations.dims[s] ** 2
                one_site[start + stride * np.arange(1, equations.dims[s] ** 2)] = 1 + s
        changed = np.flatnonzero((flip < 0) & (np.abs(x) > ORDER))
        local = changed[one_site[changed] > 0]
        chosen = local[np.argsort(one_site[local], kind="stable")] if len(local) else changed
        return x if not len(chosen) or x[chosen[0]] > 0 else x * flip

    def stability(self, period: int, x: np.ndarray, *, symmetric: bool) -> Stability:
        """Return the stability in the full space; the sectors decouple around a symmetric solution."""
        equations, odd = self.equations(period), self.odd(period)
        if not symmetric or not len(odd):
            return stability(equations, x)
        inside, outside = stability(equations, x, self.even(period)), stability(equations, x, odd)
        worst = max(inside, outside, key=lambda s: s.growth_rate)
        ring = max(inside, outside, key=lambda s: s.ring_growth_rate)
        return replace(
            worst,
            ring_growth_rate=ring.ring_growth_rate,
            momentum=ring.momentum,
            zero_modes=inside.zero_modes + outside.zero_modes,
        )

    def cluster_matrices(self, initial: Any) -> list[np.ndarray]:
        """Return the density matrices of all clusters of a named, listed or given state (their reduced states)."""
        if isinstance(initial, State):
            check_initial(self.model.lattice, initial)
            return [initial.reduced(c) for c in self.clusters]
        local = local_density_matrices(self.model.lattice, initial)
        out = []
        for sites in self.clusters:
            rho = np.eye(1)
            for s in sites:
                rho = np.kron(rho, local[s])
            out.append(rho)
        return out


def parities(model: Lindbladian) -> tuple[tuple[int, ...], ...]:
    """Return the weights mod 2 of every conserved charge, weak or strong."""
    found = {tuple(w % 2 for w in s.weights) for s in model.conserved}
    return tuple(sorted(w for w in found if any(w)))


def is_stable(equations: ClusterEquations, found: Stability, *, ring: bool = False) -> bool:
    return (found.ring_growth_rate if ring else found.growth_rate) < 1e-10 * equations.rate
