"""Bond updates on a canonical tensor train: gates, truncation without an SVD, QR moves.

Tensors have shape (l, n, r), n = d^2.  Left of the centre they are orthonormal as (l n, r) matrices, right of it as
(l, n r) matrices.  A *pass* carries the centre from one end to the other; on every bond it either applies a gate,

    theta = G (M B),    Q = orth(theta B^T),    W = Q^T theta,    discarded weight w = 1 - |W|^2/|theta|^2,

where the old right-orthonormal tensor B is the sketch of a range finder (subspace iteration with a warm start), or
moves the centre by QR.  A second iteration, P = orth(W^T), Q = orth(theta P), restores the optimum of the SVD where
truncation bites.  Moving left is the mirror image.

Orthonormal factors are kept as their transposes in row-major memory, so that LAPACK works in place and no product needs
a copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg.lapack import dgeqrf, dorgqr

from ...superoperator.train import robust_svd, truncation_rank

__all__ = [
    "Tensors",
    "move_left",
    "move_right",
    "orthonormal_rows",
    "pass_left",
    "pass_right",
    "split_left",
    "split_right",
]

Tensors = list[np.ndarray]


def orthonormal_rows(sketch: np.ndarray) -> np.ndarray:
    """Return a matrix with orthonormal rows that span the rows of ``sketch``, shape (m, n) with m <= n.

    Householder QR: rank deficiency does no harm, the missing rows are completed.  ``sketch`` is overwritten.
    """
    work = 64 * sketch.shape[0]
    q, tau, _, _ = dgeqrf(sketch.T, lwork=work, overwrite_a=1)
    q, _, _ = dorgqr(q, tau, lwork=work, overwrite_a=1)
    return q.T


def split_left(theta: np.ndarray, sketch_basis: np.ndarray, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (Q^T, W) with theta ~ Q W: Q orthonormal, its range found from the rows of ``sketch_basis``.

    Shapes: theta (a, b), sketch_basis (m, b), Q^T (m, a), W (m, b).
    """
    qt = orthonormal_rows(sketch_basis @ theta.T)
    w = qt @ theta
    for _ in range(iterations - 1):
        qt = orthonormal_rows(orthonormal_rows(w) @ theta.T)
        w = qt @ theta
    return qt, w


def split_right(theta: np.ndarray, sketch_basis: np.ndarray, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (M, P^T) with theta ~ M P^T: the mirror image of :func:`split_left`.

    Shapes: theta (a, b), sketch_basis (m, a), M (a, m), P^T (m, b).
    """
    pt = orthonormal_rows(sketch_basis @ theta)
    w = theta @ pt.T
    for _ in range(iterations - 1):
        pt = orthonormal_rows(orthonormal_rows(np.ascontiguousarray(w.T)) @ theta)
        w = theta @ pt.T
    return w, pt


def split_svd(theta: np.ndarray, max_bond: int, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return (u, s, v, discarded weight) of the truncated SVD of a matrix; NaN if the matrix has overflowed."""
    if not np.all(np.isfinite(theta)):
        return np.full((len(theta), 1), np.nan), np.full(1, np.nan), np.full((1, theta.shape[1]), np.nan), np.nan
    u, s, v = robust_svd(theta)
    keep = truncation_rank(s, max_bond, cutoff)
    total = float(s @ s)
    lost = float(s[keep:] @ s[keep:]) / total if total > 0 else 0.0
    return u[:, :keep], s[:keep], v[:keep], lost


def discarded(theta: np.ndarray, q: np.ndarray, w: np.ndarray) -> float:
    """Return |theta - q w|^2 / |theta|^2, accurate also far below 1e-16."""
    rest = theta - q @ w
    total = float(np.vdot(theta, theta))
    return float(np.vdot(rest, rest)) / total if total > 0 else 0.0


def move_right(tensors: Tensors, k: int) -> None:
    """Move the centre from k to k + 1 by QR."""
    m3, b3 = tensors[k], tensors[k + 1]
    l, n, m = m3.shape
    matrix = m3.reshape(l * n, m)
    qt = orthonormal_rows(np.array(matrix.T, order="C"))
    tensors[k] = qt.T.reshape(l, n, m)
    tensors[k + 1] = ((qt @ matrix) @ b3.reshape(m, -1)).reshape(b3.shape)


def move_left(tensors: Tensors, k: int) -> None:
    """Move the centre from k to k - 1 by QR."""
    m3, a3 = tensors[k], tensors[k - 1]
    m, n, r = m3.shape
    matrix = m3.reshape(m, n * r)
    pt = orthonormal_rows(np.array(matrix, order="C"))
    tensors[k] = pt.reshape(m, n, r)
    tensors[k - 1] = (a3.reshape(-1, m) @ (matrix @ pt.T)).reshape(a3.shape)


def pass_right(
    tensors: Tensors, gates: Sequence[np.ndarray | None], iterations: int, weights: np.ndarray | None
) -> None:
    """Carry the centre from the left to the right end; ``gates[k]`` acts on (k, k+1), None means a QR move.

    Bond dimensions stay as they are.  ``weights`` (shape (L-1,)), if given, collects the largest discarded weight.
    """
    for k, gate in enumerate(gates):
        if gate is None:
            move_right(tensors, k)
            continue
        m3, b3 = tensors[k], tensors[k + 1]
        l, p, m = m3.shape
        q, r = b3.shape[1:]
        b2 = b3.reshape(m, q * r)
        theta = np.matmul(gate, (m3.reshape(l * p, m) @ b2).reshape(l, p * q, r)).reshape(l * p, q * r)
        qt, w = split_left(theta, b2, iterations)
        tensors[k] = qt.T.reshape(l, p, m)
        tensors[k + 1] = w.reshape(m, q, r)
        if weights is not None:
            weights[k] = max(weights[k], discarded(theta, qt.T, w))


def pass_left(
    tensors: Tensors, gates: Sequence[np.ndarray | None], iterations: int, weights: np.ndarray | None
) -> None:
    """Carry the centre from the right to the left end; the mirror image of :func:`pass_right`."""
    for k in range(len(gates) - 1, -1, -1):
        gate = gates[k]
        if gate is None:
            move_left(tensors, k + 1)
            continue
        a3, m3 = tensors[k], tensors[k + 1]
        l, p, m = a3.shape
        q, r = m3.shape[1:]
        a2 = a3.reshape(l * p, m)
        theta = np.matmul(gate, (a2 @ m3.reshape(m, q * r)).reshape(l, p * q, r)).reshape(l * p, q * r)
        w, pt = split_right(theta, a2.T, iterations)
        tensors[k] = w.reshape(l, p, m)
        tensors[k + 1] = pt.reshape(m, q, r)
        if weights is not None:
            weights[k] = max(weights[k], discarded(theta, w, pt))
