"""Pure states drawn from an initial density matrix, one for every trajectory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InputError
from ...lattice import Lattice
from ...states import EnsembleState, State, local_density_matrices

__all__ = ["STARTS", "Sampler", "initial_sampler", "spread_sampler"]

Sampler = Callable[[int, np.random.Generator], np.ndarray]
STARTS = 4
_NEGLIGIBLE = 1e-13


def initial_sampler(lattice: Lattice, initial: Any) -> Sampler:
    """Return the function (trajectory, generator) -> psi, shape (D,), whose average |psi><psi| is the initial state.

    Named and listed product states are drawn site by site from the eigenvectors of their local matrices, a state from
    its eigenvectors (an ensemble: from its samples).
    """
    if not isinstance(initial, State):
        return _product_sampler([_eigenstates(m) for m in local_density_matrices(lattice, initial)])
    if initial.lattice.dims != lattice.dims:
        raise InputError("Argument `initial` is a state on another lattice than the model.", field="initial")
    if isinstance(initial, EnsembleState):
        norms = np.concatenate([np.einsum("ij,ij->i", v, v.conj()).real for v in (initial.vectors(),)])
        shares = initial.weights * norms
        return _drawn(shares, lambda k: initial.vectors(k, k + 1)[0])
    shares, vectors = _eigenstates(initial.to_dense())
    return _drawn(shares, lambda k: vectors[:, k])


def spread_sampler(lattice: Lattice, starts: int) -> Sampler:
    """Return widely different starting points, by trajectory index modulo ``starts``.

    All sites in their first basis state (0), a random basis state (1), first left and last right (2), alternating (3);
    with a single start all are random.  Trajectories from different starts must come to agree before they are believed.
    """
    L = lattice.L
    dims = [int(d) for d in lattice.dims]
    fixed = {
        0: [0] * L,
        2: [0 if 2 * j < L else d - 1 for j, d in enumerate(dims)],
        3: [0 if j % 2 else d - 1 for j, d in enumerate(dims)],
    }

    def sample(trajectory: int, generator: np.random.Generator) -> np.ndarray:
        kind = trajectory % starts if starts > 1 else 1
        levels = fixed[kind] if kind in fixed else [int(generator.integers(d)) for d in dims]
        psi = np.zeros(int(np.prod(dims)), dtype=complex)
        psi[np.ravel_multi_index(levels, dims)] = 1.0
        return psi

    return sample


def _product_sampler(local: list[tuple[np.ndarray, np.ndarray]]) -> Sampler:
    def sample(trajectory: int, generator: np.random.Generator) -> np.ndarray:
        psi = np.ones(1, dtype=complex)
        for shares, vectors in local:
            psi = np.kron(psi, vectors[:, _choose(shares, generator)])
        return psi

    return sample


def _drawn(shares: np.ndarray, vector: Callable[[int], np.ndarray]) -> Sampler:
    def sample(trajectory: int, generator: np.random.Generator) -> np.ndarray:
        psi = vector(_choose(shares, generator))
        return np.asarray(psi / np.linalg.norm(psi), dtype=complex)

    return sample


def _eigenstates(rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors (columns); the basis states themselves if the matrix is diagonal."""
    if np.abs(rho - np.diag(np.diagonal(rho))).max() < _NEGLIGIBLE:
        return np.diagonal(rho).real.clip(0), np.eye(len(rho), dtype=complex)
    values, vectors = np.linalg.eigh(rho)
    vectors[np.abs(vectors) < _NEGLIGIBLE] = 0  # so that the charge of an eigenvector can be recognised
    return values.clip(0), vectors


def _choose(shares: np.ndarray, generator: np.random.Generator) -> int:
    cumulative = np.cumsum(shares)
    return int(min((cumulative <= generator.random() * cumulative[-1]).sum(), len(shares) - 1))
