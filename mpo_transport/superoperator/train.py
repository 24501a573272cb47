"""Tensor trains: the linear algebra shared by matrix-product density matrices and matrix-product Lindbladians.

A train of length L is a sequence of real arrays of shape (l, n, r) with matching bonds and l = r = 1 at the ends; it
stands for the vector x[k_1, ..., k_L] = T_1[k_1] T_2[k_2] ... T_L[k_L].  It is *canonical with centre p* if the tensors
left of p are orthonormal as ((l n) x r) matrices and those right of p as (l x (n r)) matrices; then |x| is the norm of
tensor p, and truncating a bond of the centre is optimal.  Nothing here changes its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg as sla

from ..errors import InputError

__all__ = [
    "Truncation",
    "add_trains",
    "bond_dimensions",
    "canonical_train",
    "checked_order",
    "compress_train",
    "dense_train",
    "split_dense",
    "train_inner",
    "train_log_inner",
    "train_log_norm",
    "train_singular_values",
]

Train = Sequence[np.ndarray]

# Singular values below this fraction of the largest one are rounding errors of the arithmetic that made them.
NOISE = 16 * np.finfo(float).eps


def checked_order(length: int, order: Sequence[int] | None) -> tuple[int, ...]:
    """Return the site at every position of a train; the identity for None.

    Raises
    ------
    InputError
        If ``order`` is not a permutation of 0 .. length-1.
    """
    if order is None:
        return tuple(range(length))
    sites = tuple(order)
    whole = all(isinstance(s, (int, np.integer)) for s in sites)
    if not whole or sorted(sites) != list(range(length)):
        raise InputError(f"Argument `order` must list every site 0..{length - 1} once, but is {sites}.", field="order")
    return tuple(int(s) for s in sites)


@dataclass(frozen=True)
class Truncation:
    """A compressed train (canonical with centre 0) and the discarded relative weight of every inner bond.

    The sum of the weights is exactly 1 - |x'|^2/|x|^2 = |x - x'|^2/|x|^2 up to rounding, since all truncations are
    made at the centre.
    """

    tensors: tuple[np.ndarray, ...]
    weights: np.ndarray

    @property
    def discarded_weight(self) -> float:
        """Relative squared distance to the train before compression."""
        return float(self.weights.sum())


def bond_dimensions(train: Train) -> tuple[int, ...]:
    """Return the L - 1 inner bond dimensions."""
    return tuple(int(t.shape[2]) for t in train[:-1])


def robust_svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the thin SVD; falls back to the slower QR iteration where divide and conquer does not converge."""
    try:
        return np.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:
        return sla.svd(matrix, full_matrices=False, lapack_driver="gesvd")


def _qr_step(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move the centre from ``left`` to ``right``."""
    l, n, r = left.shape
    q, c = np.linalg.qr(left.reshape(l * n, r))
    return q.reshape(l, n, -1), np.tensordot(c, right, axes=(1, 0))


def _lq_step(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move the centre from ``right`` to ``left``."""
    l, n, r = right.shape
    q, c = np.linalg.qr(right.reshape(l, n * r).T)
    return np.tensordot(left, c, axes=(2, 1)), np.ascontiguousarray(q.T).reshape(-1, n, r)


def canonical_train(train: Train, position: int, centre: int | None = None) -> tuple[np.ndarray, ...]:
    """Return the same vector in canonical form with the given centre; a known present centre saves work."""
    out = [np.asarray(t) for t in train]
    for p in range(0 if centre is None else centre, position):
        out[p], out[p + 1] = _qr_step(out[p], out[p + 1])
    for p in range(len(out) - 1 if centre is None else centre, position, -1):
        out[p - 1], out[p] = _lq_step(out[p - 1], out[p])
    return tuple(out)


def truncation_rank(s: np.ndarray, max_bond: int | None, cutoff: float, noise: float = NOISE) -> int:
    """Return how many singular values to keep, at least one.

    The relative discarded weight sum(s_cut^2)/sum(s^2) stays at or below ``cutoff``; values below ``noise`` times the
    largest go in any case, and ``max_bond`` wins over both.
    """
    if s.size == 0 or not s[0] > 0:
        return 1
    keep = int(np.count_nonzero(s > noise * s[0]))
    if cutoff > 0:
        u = (s / s[0]) ** 2
        tail = np.append(np.cumsum(u[::-1])[::-1], 0.0)  # tail[k]: weight lost when k values are kept
        keep = min(keep, int(np.argmax(tail <= cutoff * tail[0])))
    return max(1, keep if max_bond is None else min(keep, max_bond))


def compress_train(
    train: Train,
    max_bond: int | None = None,
    cutoff: float = 0.0,
    centre: int | None = None,
    noise: float = NOISE,
) -> Truncation:
    """Return the train compressed bond by bond with optimal (SVD) truncations; see :func:`truncation_rank`."""
    out = list(canonical_train(train, len(train) - 1, centre))
    weights = np.zeros(max(len(out) - 1, 0))
    for p in range(len(out) - 1, 0, -1):
        l, n, r = out[p].shape
        u, s, v = robust_svd(out[p].reshape(l, n * r))
        keep = truncation_rank(s, max_bond, cutoff, noise)
        if s[0] > 0:
            weights[p - 1] = float(((s[keep:] / s[0]) ** 2).sum() / ((s / s[0]) ** 2).sum())
        out[p] = v[:keep].reshape(keep, n, r)
        out[p - 1] = np.tensordot(out[p - 1], u[:, :keep] * s[:keep], axes=(2, 0))
    # a later weight is relative to a vector that has already lost the earlier ones
    kept = np.cumprod(np.append(1.0, 1.0 - weights[::-1]))[:-1][::-1]
    return Truncation(tuple(out), weights * kept)


def train_log_norm(train: Train, centre: int | None = None) -> float:
    """Return ln |x| (-inf for a vanishing train), free of underflow for long chains."""
    if centre is not None:
        size = float(np.linalg.norm(train[centre]))
        return float(np.log(size)) if size > 0 else -np.inf
    return 0.5 * train_log_inner(train, train)[1]


def rescaled(array: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the array with largest modulus 1 and the logarithm of the factor taken out (-inf for a vanishing one)."""
    size = float(np.abs(array).max())
    return (array / size, float(np.log(size))) if size > 0 else (array, -np.inf)


def train_log_inner(y: Train, x: Train) -> tuple[float, float]:
    """Return the inner product (y|x) as (sign, ln |(y|x)|), free of overflow and underflow for long chains."""
    env, log = np.ones((1, 1)), 0.0
    for b, a in zip(y, x, strict=True):
        (l, n, r), k = a.shape, b.shape[2]
        half, first = rescaled(env @ a.reshape(l, n * r))
        env, second = rescaled(b.reshape(-1, k).T @ half.reshape(-1, r))
        log += first + second
    return float(np.sign(env[0, 0])), log


def train_inner(y: Train, x: Train) -> float:
    """Return the inner product (y|x) = sum_k y_k x_k."""
    sign, log = train_log_inner(y, x)
    return sign * float(np.exp(log))


def add_trains(trains: Sequence[Train], coefficients: Sequence[float]) -> tuple[np.ndarray, ...]:
    """Return sum_i c_i x_i exactly; the bond dimensions add."""
    length = len(trains[0])
    if length == 1:
        return (sum(c * np.asarray(t[0]) for c, t in zip(coefficients, trains, strict=True)),)  # type: ignore[return-value]
    out = []
    for p in range(length):
        blocks = [t[p] for t in trains]
        if p == 0:
            out.append(np.concatenate([c * b for c, b in zip(coefficients, blocks, strict=True)], axis=2))
        elif p == length - 1:
            out.append(np.concatenate(blocks, axis=0))
        else:
            total = np.zeros((sum(b.shape[0] for b in blocks), blocks[0].shape[1], sum(b.shape[2] for b in blocks)))
            i = j = 0
            for b in blocks:
                total[i : i + b.shape[0], :, j : j + b.shape[2]] = b
                i, j = i + b.shape[0], j + b.shape[2]
            out.append(total)
    return tuple(out)


def dense_train(train: Train) -> np.ndarray:
    """Return the tensor x, shape (n_1, ..., n_L)."""
    x = np.ones((1, 1))
    for t in train:
        x = np.tensordot(x, t, axes=(1, 0)).reshape(-1, t.shape[2])
    return x.reshape([t.shape[1] for t in train])


def split_dense(x: np.ndarray, max_bond: int | None = None, cutoff: float = 0.0) -> Truncation:
    """Return the train of a tensor of shape (n_1, ..., n_L) by successive SVDs, centre 0."""
    legs = x.shape
    rest, right = np.asarray(x, dtype=float).reshape(-1, legs[-1] if len(legs) else 1), 1
    tensors: list[np.ndarray] = []
    weights = np.zeros(len(legs) - 1)
    left_weight = 1.0
    for p in range(len(legs) - 1, 0, -1):
        rest = rest.reshape(-1, legs[p] * right)
        u, s, v = robust_svd(rest)
        keep = truncation_rank(s, max_bond, cutoff)
        if s[0] > 0:
            lost = float(((s[keep:] / s[0]) ** 2).sum() / ((s / s[0]) ** 2).sum())
            weights[p - 1], left_weight = lost * left_weight, left_weight * (1 - lost)
        tensors.append(v[:keep].reshape(keep, legs[p], right))
        rest, right = u[:, :keep] * s[:keep], keep
    tensors.append(rest.reshape(1, legs[0], right))
    return Truncation(tuple(np.ascontiguousarray(t) for t in tensors[::-1]), weights)


def train_singular_values(train: Train, position: int, centre: int | None = None) -> np.ndarray:
    """Return the singular values of x between tensors ``position - 1`` and ``position``, descending."""
    where = position if centre is None or centre >= position else position - 1
    out = canonical_train(train, where, centre)
    l, n, r = out[where].shape
    matrix = out[where].reshape(l, n * r) if where == position else out[where].reshape(l * n, r)
    return np.linalg.svd(matrix, compute_uv=False)
