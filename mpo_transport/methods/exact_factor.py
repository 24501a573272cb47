"""Null spaces and solutions of one block by factorisation: singular values (dense) or a shifted sparse LU (direct)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from .exact_sectors import Sector

__all__ = ["BlockSolution", "dense_block", "direct_block"]

ZERO = 1e-13
"""A singular value counts as zero up to this times the 1-norm of the whole generator (rounding leaves about 1e-15)."""

_SHIFT = 1e-11
_POWER_STEPS = 12


@dataclass(frozen=True)
class BlockSolution:
    """What is known about one block A.

    Attributes
    ----------
    y
        A solution of A y = b, shape (n,).
    right, left
        Bases of the right and left null vectors, orthonormal rows, shape (k, n).
    smallest
        Smallest singular value that is not zero; 1/smallest turns a residual into an error.
    eigenvalues
        All eigenvalues of A where they were computed, else None.
    """

    y: np.ndarray
    right: np.ndarray
    left: np.ndarray
    smallest: float
    eigenvalues: np.ndarray | None = None


def dense_block(sector: Sector, b: np.ndarray, norm: float) -> BlockSolution:
    """Return everything about a block from its singular value decomposition and its eigenvalues, O(n^3)."""
    assert sector.matrix is not None
    a = sector.matrix.toarray()
    u, s, vt = np.linalg.svd(a)
    null = s <= ZERO * norm
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=~null)
    y = np.zeros(len(b))
    if np.any(b):
        for _ in range(3):  # the second and third pass remove the rounding of the first
            y = y + vt.T @ (inverse * (u.T @ (b - a @ y)))
    smallest = float(s[~null].min()) if np.any(~null) else np.inf
    return BlockSolution(y, vt[null], u.T[null], smallest, np.linalg.eigvals(a))


def direct_block(sector: Sector, b: np.ndarray, norm: float, rng: np.random.Generator) -> BlockSolution:
    """Return a solution and the null vectors of a block from the sparse LU of A - shift.

    The spectrum of A lies in Re <= 0, so A - shift with a tiny positive shift is never singular; refinement with the
    unshifted A removes the shift again, and subspace iteration finds all null vectors at once.
    """
    assert sector.matrix is not None
    a = sector.matrix
    shift = _SHIFT * norm
    lu = sla.splu(sp.csc_array(a - shift * sp.eye_array(sector.size)))
    right = _null_vectors(a, lu, "N", norm, rng)
    left = _null_vectors(sp.csr_array(a.T), lu, "T", norm, rng) if len(right) else right
    y = _refined(a, lu, b)
    return BlockSolution(y, right, left, _smallest_singular_value(lu, right, left, sector.size, rng))


def _refined(a: sp.csr_array, lu: sla.SuperLU, b: np.ndarray) -> np.ndarray:
    y = np.zeros(len(b))
    residual = float(np.linalg.norm(b))
    for _ in range(40):
        if residual == 0:
            break
        trial = y + lu.solve(b - a @ y)
        after = float(np.linalg.norm(b - a @ trial))
        if not after < residual:
            break
        y, settled, residual = trial, after > 0.5 * residual, after
        if settled:
            break
    return y


def _null_vectors(a: sp.csr_array, lu: sla.SuperLU, trans: str, norm: float, rng: np.random.Generator) -> np.ndarray:
    """Return orthonormal null vectors of a, shape (k, n), by shift-invert subspace iteration."""
    n = a.shape[0]
    width = min(6, n)
    while True:
        x = np.linalg.qr(rng.standard_normal((n, width)))[0]
        for _ in range(4):
            x = np.linalg.qr(lu.solve(x, trans=trans))[0]
        _, s, vt = np.linalg.svd(a @ x, full_matrices=False)
        null = s <= ZERO * norm
        if np.count_nonzero(null) < width or width == n:
            return np.ascontiguousarray((x @ vt[null].T).T)
        width = min(4 * width, n)


def _smallest_singular_value(
    lu: sla.SuperLU, right: np.ndarray, left: np.ndarray, n: int, rng: np.random.Generator
) -> float:
    """Return an estimate (from above, within a few per cent) of the smallest singular value that is not zero."""
    v = rng.standard_normal(n)
    growth = 0.0
    for _ in range(_POWER_STEPS):
        v = v - right.T @ (right @ v)
        v = v / np.linalg.norm(v)
        w = lu.solve(v, trans="T")
        w = w - left.T @ (left @ w)
        growth = float(np.linalg.norm(w))
        v = lu.solve(w)
    return 1.0 / growth if growth > 0 else np.inf
