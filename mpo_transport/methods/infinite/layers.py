"""A layer of gates on a repeating matrix product, truncated in the metric of its environments.

One layer turns every second pair of tensors into a block theta = G (A A').  The blocks form a uniform matrix product
themselves, whose left and right Hilbert-Schmidt fixed points L = X^T X, R = Y Y^T stand for everything left and right
of a block.  With the truncated singular value decomposition X theta Y ~ u s v the new tensors are

    A_new = theta Y v^T s^(-1/2),        A'_new = s^(-1/2) u^T X theta,

so that A_new A'_new is theta with an oblique projector inside, exactly theta where nothing is cut, whatever X and Y;
no environment is inverted.  In the new gauge both environments of the bond inside the block are diag(s), from where the
fixed points of the next layer are iterated.  Gates that are not unitary therefore do no harm to the truncation, unlike
in schemes that keep the canonical form only approximately (R. Orus, G. Vidal, Phys. Rev. B 78, 155117 (2008)).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...states.infinite import pulled, pushed
from ...superoperator.train import robust_svd, truncation_rank

__all__ = ["apply_layer"]

# Relative change at which the iteration of an environment stops, and the largest number of rounds over the cell.  The
# environments weigh what is cut; the state itself does not depend on them where nothing is.
SETTLED = 1e-4
ROUNDS = 30
# Singular values below this share of the largest are rounding errors.
NOISE = 1e-13
# Smallest eigenvalue of an environment relative to the largest: the square root of its rounding error is what X knows.
FLOOR = 1e-16


def apply_layer(
    tensors: list[np.ndarray],
    weights: list[np.ndarray],
    which: int,
    gates: Sequence[np.ndarray] | None,
    max_bond: int,
    cut: np.ndarray | None = None,
) -> None:
    """Apply one gate to every pair (which, which+1), (which+2, which+3), ... of a cell with an even number of tensors.

    Parameters
    ----------
    tensors, weights
        The cell, changed in place: tensors of shape (l, d^2, r) and the diagonal environments at their left bonds.
    which
        0 or 1: the layer.
    gates
        One per pair; None: only truncate.
    max_bond
        Largest bond dimension left inside the pairs.
    cut
        If given, shape (len(tensors),): collects the largest relative weight discarded at the left bond of each tensor.
    """
    n = len(tensors)
    pairs = [(k % n, (k + 1) % n) for k in range(which, which + n, 2)]
    blocks = [_block(tensors[a], tensors[b], None if gates is None else gates[i]) for i, (a, b) in enumerate(pairs)]
    starts = [np.diag(weights[a]) for a, _ in pairs]
    left, right = fixed_points(blocks, starts)
    for i, (a, b) in enumerate(pairs):
        theta, shape = blocks[i], (tensors[a].shape[1], tensors[b].shape[1])
        x, y = _root(left[i]).T, _root(right[(i + 1) % len(pairs)])
        first, second, s, lost = split(theta, shape, x, y, max_bond)
        tensors[a], tensors[b] = first, second
        weights[b] = s / s.sum()
        if cut is not None:
            cut[b] = max(cut[b], lost)


def split(
    theta: np.ndarray, shape: tuple[int, int], x: np.ndarray, y: np.ndarray, max_bond: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return the two tensors of a block, the singular values kept, and the relative weight discarded."""
    l, _, r = theta.shape
    from_left = (x @ theta.reshape(l, -1)).reshape(len(x) * shape[0], shape[1] * r)
    from_right = (theta @ y).reshape(l * shape[0], shape[1] * y.shape[1])
    both = (from_left.reshape(-1, r) @ y).reshape(len(x) * shape[0], shape[1] * y.shape[1])
    if not np.all(np.isfinite(both)):
        nan = np.full((l, shape[0], 1), np.nan), np.full((1, shape[1], r), np.nan)
        return *nan, np.ones(1), np.nan
    u, s, v = robust_svd(both)
    keep = truncation_rank(s, max_bond, 0.0, NOISE)
    total = float(s @ s)
    lost = float(s[keep:] @ s[keep:]) / total if total > 0 else 0.0
    scale = 1 / np.sqrt(s[:keep]) if s[0] > 0 else np.ones(keep)
    first = (from_right @ (v[:keep].T * scale)).reshape(l, shape[0], keep)
    second = ((u[:, :keep] * scale).T @ from_left).reshape(keep, shape[1], r)
    return first, second, s[:keep], lost


def fixed_points(
    blocks: Sequence[np.ndarray], starts: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the left and right environments at the left bond of every block, trace 1, iterated from ``starts``."""
    count = len(blocks)
    left, right = [s / np.trace(s) for s in starts], [s / np.trace(s) for s in starts]
    for _ in range(ROUNDS):
        before = left[0]
        for i in range(count):
            left[(i + 1) % count] = _unit(pulled(left[i], blocks[i]))
        if not _moved(before, left[0]):
            break
    for _ in range(ROUNDS):
        before = right[0]
        for i in reversed(range(count)):
            right[i] = _unit(pushed(right[(i + 1) % count], blocks[i]))
        if not _moved(before, right[0]):
            break
    return left, right


def _block(first: np.ndarray, second: np.ndarray, gate: np.ndarray | None) -> np.ndarray:
    l, a, m = first.shape
    b, r = second.shape[1:]
    theta = (first.reshape(l * a, m) @ second.reshape(m, b * r)).reshape(l, a * b, r)
    return theta if gate is None else np.matmul(gate, theta)


def _unit(m: np.ndarray) -> np.ndarray:
    trace = float(np.trace(m))
    return np.asarray(m / trace) if trace > 0 and np.isfinite(trace) else np.eye(len(m)) / len(m)


def _moved(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.linalg.norm(a - b) > SETTLED * np.linalg.norm(b))


def _root(m: np.ndarray) -> np.ndarray:
    """Return y with y y^T = m up to rounding, of full rank."""
    if not np.all(np.isfinite(m)):
        return np.full(m.shape, np.nan)
    w, v = np.linalg.eigh((m + m.T) / 2)
    return np.asarray(v * np.sqrt(np.maximum(w, FLOOR * w[-1])))
