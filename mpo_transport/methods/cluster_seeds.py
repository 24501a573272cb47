"""Where the flows of cluster mean field start: perturbed symmetric solutions and fields that break the parity."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..lattice import Lattice
from ..superoperator import hermitian_basis
from .cluster_equations import ClusterEquations
from .cluster_solve import is_physical, stability

__all__ = ["field_seed", "fits_period", "mode_seed", "tiled"]

_POLARISATION = 0.8


def fits_period(matrices: list[np.ndarray], period: int) -> bool:
    """Return whether the density matrices of the clusters repeat after ``period`` clusters."""
    return all(
        m.shape == matrices[c % period].shape and np.abs(m - matrices[c % period]).max() < 1e-12
        for c, m in enumerate(matrices)
    )


def tiled(x: np.ndarray, equations: ClusterEquations, period: int) -> np.ndarray:
    """Return the coefficients ``x`` of ``equations`` repeated for a larger number of independent clusters."""
    return np.tile(x, period // equations.period) if period > equations.period else x.copy()


def mode_seed(equations: ClusterEquations, x: np.ndarray, odd: np.ndarray, amplitude: float) -> np.ndarray:
    """Return a symmetric solution pushed along its most unstable odd direction, still a density matrix."""
    mode = stability(equations, x, odd).mode
    push = amplitude * np.linalg.norm(x)
    while push > 1e-12 and not is_physical(equations, x + push * mode):
        push /= 2
    return x + push * mode


def field_seed(
    equations: ClusterEquations, lattice: Lattice, local_parity: Mapping[int, np.ndarray], staggered: bool
) -> np.ndarray:
    """Return a product of local states polarised along the lowest odd basis operator, equal or alternating in sign."""
    matrices = []
    for v in range(equations.period):
        rho: np.ndarray = np.eye(1)
        for s in equations.clusters[v]:
            d = int(lattice.dims[s])
            odd = np.flatnonzero(local_parity[s])
            local = np.eye(d, dtype=complex) / d
            if len(odd):
                direction = hermitian_basis(d)[odd[0]]
                sign = -1.0 if staggered and s % 2 else 1.0
                local = local + sign * _POLARISATION / d * direction / np.linalg.norm(direction, 2)
            rho = np.asarray(np.kron(rho, local))
        matrices.append(rho)
    return equations.pack(matrices)
