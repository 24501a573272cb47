"""Extremal states of a stationary manifold.

The stationary operators of a Lindbladian have the form (+)_k X_k (x) tau_k with arbitrary X_k and fixed density
matrices tau_k [B. Baumgartner, H. Narnhofer, J. Phys. A 41, 395303 (2008)].  With a stationary rho_0 of full rank on
the recurrent subspace, rho_0^{-1/2} X rho_0^{-1/2} runs through an algebra (+)_k M_k (x) 1, so that the eigenprojectors
P of one generic element give extremal stationary states  rho_0^{1/2} P rho_0^{1/2} / Tr.  All of them are positive by
construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..superoperator import from_hermitian, to_hermitian

__all__ = ["stationary_states"]

_SUPPORT = 1e-10
_CLUSTER = 1e-6
_ROUNDS = 12


def stationary_states(
    rho_0: np.ndarray,
    null_vectors: np.ndarray,
    dims: Sequence[int],
    is_stationary: Callable[[np.ndarray], bool],
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Return linearly independent stationary density matrices that span the manifold, extremal ones first.

    Parameters
    ----------
    rho_0
        The stationary state reached from the maximally mixed one, (D, D).
    null_vectors
        Traceless stationary operators, shape (k, D^2), in the Hermitian basis; k + 1 states are returned.
    is_stationary
        Test of a density matrix, so that a wrongly grouped eigenvalue cannot pass.
    """
    values, vectors = np.linalg.eigh((rho_0 + rho_0.conj().T) / 2)
    keep = values > _SUPPORT * values[-1]
    root = vectors[:, keep] * np.sqrt(values[keep])
    inverse = vectors[:, keep] / np.sqrt(values[keep])
    wanted = len(null_vectors) + 1
    found: list[np.ndarray] = []
    basis = np.zeros((0, rho_0.size))
    for _ in range(_ROUNDS):
        x = from_hermitian(rng.standard_normal(len(null_vectors)) @ null_vectors, dims)
        white = inverse.conj().T @ x @ inverse
        for rho in _projected(root, (white + white.conj().T) / 2):
            if is_stationary(rho):
                basis, new = _extended(basis, rho, dims)
                found += [rho] if new else []
        if len(found) >= wanted:
            return found[:wanted]
    for vector in null_vectors:  # mixtures that stay positive: always possible, no longer extremal
        x = from_hermitian(vector, dims)
        reach = float(np.abs(np.linalg.eigvalsh(inverse.conj().T @ x @ inverse)).max())
        rho = rho_0 + x / max(reach, 1e-300)
        basis, new = _extended(basis, rho, dims)
        found += [rho] if new and len(found) < wanted else []
    return found


def _projected(root: np.ndarray, white: np.ndarray) -> list[np.ndarray]:
    values, vectors = np.linalg.eigh(white)
    scale = max(float(np.abs(values).max()), 1e-300)
    edges = np.flatnonzero(np.diff(values) > _CLUSTER * scale) + 1
    out = []
    for members in np.split(np.arange(len(values)), edges):
        half = root @ vectors[:, members]
        rho = half @ half.conj().T
        out.append(rho / np.trace(rho).real)
    return out


def _extended(basis: np.ndarray, rho: np.ndarray, dims: Sequence[int]) -> tuple[np.ndarray, bool]:
    """Add the direction of rho to an orthonormal basis if it is a new one."""
    vector = to_hermitian(rho, dims).real.ravel()
    vector = vector / np.linalg.norm(vector)
    rest = vector - basis.T @ (basis @ vector)
    rest = rest - basis.T @ (basis @ rest)
    size = float(np.linalg.norm(rest))
    if size < 1e-6:
        return basis, False
    return np.vstack([basis, rest / size]), True
