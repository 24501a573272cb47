"""The local-divergence form of L x = 0 and one Gauss-Newton step on it.

Generator L = sum_j h_j on the bonds (j, j+1), state x = A_0 A_1 ... A_{L-1}.  With one auxiliary tensor B_j per site,

    E_j = h_j (A_j A_{j+1}) - B_j A_{j+1} + A_j B_{j+1},      j = 0 .. L-2,      B_0 = B_{L-1} = 0:

the B terms telescope, sum_j E_j = L x, so that E = 0 implies L x = 0.  All tensors are in centre form: the left
neighbours left-orthonormal (A), the right ones right-orthonormal (R), so that every |E_j| is the norm of a vector of
the whole space, and with X_j = dA_j, Y_j = dB_j

    dE_j = h(X_j R) + X_j B^R - Y_j R  +  h(A X_{j+1}) - B^L X_{j+1} + A Y_{j+1}.

The normal matrix of all X and Y is block tridiagonal over the sites.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg as sla

from .frames import Frames

__all__ = ["Flux", "block_tridiagonal_solve", "flux", "newton_step"]

# Schmidt values below this are not divided by.
SMALLEST = 1e-12
# Weight of the conditions that fix the gauge of the step, and its norm.
FIX = 1.0

Tensors = Sequence[np.ndarray]


@dataclass(frozen=True, eq=False)
class Flux:
    """A state with the best auxiliary tensors it has, and what is left.

    Attributes
    ----------
    frames
        The state, |x| = 1.
    b
        B_j in centre form, (l, n, r).
    left, right
        The same with left- and right-orthonormal neighbours, b / S.
    residual
        E_j, shape (l, n, n', r).
    size
        F = sqrt(sum_j |E_j|^2); |L x| is at most sqrt(L - 1) F.
    """

    frames: Frames
    b: tuple[np.ndarray, ...]
    left: tuple[np.ndarray, ...]
    right: tuple[np.ndarray, ...]
    residual: tuple[np.ndarray, ...]
    size: float


def flux(f: Frames, generators: Tensors) -> Flux:
    """Return the least-squares auxiliary tensors of a state and the residual.

    Parameters
    ----------
    f
        The state.
    generators
        h_j, shape (n, n', n, n'), output indices first.
    """
    L = f.length
    raw = [_two_sites(h, f.left[j], f.centre[j + 1]) for j, h in enumerate(generators)]
    b = _auxiliary(f, raw)
    left = [_divided(t, f.schmidt[k + 1], right=True) for k, t in enumerate(b)]
    right = [_divided(t, f.schmidt[k], right=False) for k, t in enumerate(b)]
    residual = [
        raw[j] - np.tensordot(b[j], f.right[j + 1], axes=(2, 0)) + np.tensordot(f.left[j], b[j + 1], axes=(2, 0))
        for j in range(L - 1)
    ]
    size = float(np.sqrt(sum(np.sum(e * e) for e in residual)))
    return Flux(f, tuple(b), tuple(left), tuple(right), tuple(residual), size)


def _two_sites(h: np.ndarray, a: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return h (a c), (l, n, n', r)."""
    pair = np.tensordot(a, c, axes=(2, 0))
    return np.ascontiguousarray(np.tensordot(h, pair, axes=((2, 3), (1, 2))).transpose(2, 0, 1, 3))


def _divided(t: np.ndarray, s: np.ndarray, *, right: bool) -> np.ndarray:
    inverse = s / (s * s + (SMALLEST * s.max()) ** 2)
    return t * inverse if right else t * inverse[:, None, None]


def _auxiliary(f: Frames, raw: Tensors) -> list[np.ndarray]:
    """Return the B_j (0 at both ends) that minimise sum_j |raw_j - B_j R_{j+1} + A_j B_{j+1}|^2."""
    L = f.length
    b = [np.zeros_like(t) for t in f.centre]
    if L < 3:
        return b
    inner = range(1, L - 1)
    at = [f.even(k) for k in range(L)]

    def diagonal(i: int) -> np.ndarray:
        return 2.0 * np.eye(len(at[i + 1][0]))

    def upper(i: int) -> np.ndarray:
        j = i + 1
        (l, a, r), (m, c, s) = at[j], at[j + 1]
        first = f.left[j][l[:, None], a[:, None], m]
        return -first * f.right[j + 1][r[:, None], c, s]

    rhs = []
    for j in inner:
        g = np.tensordot(raw[j], f.right[j + 1], axes=((2, 3), (1, 2)))
        g = g - np.tensordot(f.left[j - 1], raw[j - 1], axes=((0, 1), (0, 1)))
        rhs.append(g[at[j]])
    for j, y in zip(inner, block_tridiagonal_solve(diagonal, upper, rhs), strict=True):
        b[j][at[j]] = y
    return b


def newton_step(state: Flux, generators: Tensors, damping: float) -> tuple[list[np.ndarray], float]:
    """Return X_j of one Levenberg-Marquardt step, and |sum_j T_j(X_j)|.

    The step is in the gauge A_j^T X_j = 0 for j < L - 1 and orthogonal to the state; without the latter the step -x/2
    would solve the linear system exactly.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the normal matrix is not positive (larger damping helps).
    """
    f, L = state.frames, state.frames.length
    at = [f.even(k) for k in range(L)]
    ends = (0, L - 1)

    def diagonal(j: int) -> np.ndarray:
        l, a, r = at[j]
        size = len(l)
        out = np.zeros((2 * size, 2 * size))
        if j < L - 1:
            n = f.centre[j].shape
            m = _first(state, generators, j).reshape(-1, 2 * n[1] * n[2])
            g = (m.T @ m).reshape(2, n[1], n[2], 2, n[1], n[2])
            _scatter(out, g, (a, r), l, size)
        if j > 0:
            n = f.centre[j].shape
            m = _second(state, generators, j).reshape(-1, 2 * n[0] * n[1])
            g = (m.T @ m).reshape(2, n[0], n[1], 2, n[0], n[1])
            _scatter(out, g, (l, a), r, size)
        if j < L - 1:
            q = f.left[j].reshape(-1, f.left[j].shape[2])
            p = FIX * (q @ q.T).reshape(*f.left[j].shape[:2], *f.left[j].shape[:2])
            out[:size, :size] += p[l[:, None], a[:, None], l, a] * (r[:, None] == r)
        else:
            c = f.centre[j][at[j]]
            out[:size, :size] += FIX * np.outer(c, c)
        if j in ends:
            out[size:, :], out[:, size:] = 0.0, 0.0
            out[size:, size:] = np.eye(size)
        out[np.diag_indices(2 * size)] += damping
        return out

    def upper(j: int) -> np.ndarray:
        (l, a, m), (k, c, r) = at[j], at[j + 1]
        x, y = f.centre[j].shape, f.centre[j + 1].shape
        first = _first(state, generators, j)  # n, n', r, 2, n, m
        second = _second(state, generators, j + 1)  # l, n, n', 2, m, n'
        one = first.transpose(3, 4, 5, 2, 0, 1).reshape(2 * x[1] * x[2] * y[2], -1)
        two = second.transpose(1, 2, 0, 3, 4, 5).reshape(x[1] * y[1], -1)
        both = (one @ two).reshape(2, x[1], x[2], y[2], x[0], 2, y[0], y[1])
        size, other = len(l), len(k)
        out = np.empty((2 * size, 2 * other))
        for s in (0, 1):
            for t in (0, 1):
                block = both[s, a[:, None], m[:, None], r, l[:, None], t, k, c]
                out[s * size : (s + 1) * size, t * other : (t + 1) * other] = block
        if j in ends:
            out[size:, :] = 0.0
        if j + 1 in ends:
            out[:, other:] = 0.0
        return out

    rhs = [-_gradient(state, generators, j, at[j], pinned=j in ends) for j in range(L)]
    steps = block_tridiagonal_solve(diagonal, upper, rhs, count=L)
    x = []
    for j, z in enumerate(steps):
        t = np.zeros_like(f.centre[j])
        t[at[j]] = z[: len(at[j][0])]
        x.append(t)
    return x, float(np.sqrt(sum(np.sum(t * t) for t in x)))


def _scatter(
    out: np.ndarray, g: np.ndarray, inside: tuple[np.ndarray, np.ndarray], outside: np.ndarray, size: int
) -> None:
    """Add g on the indices ``inside``, times the identity on ``outside``, to the blocks of X and Y."""
    p, q = inside
    same = outside[:, None] == outside
    for s in (0, 1):
        for t in (0, 1):
            block = g[s, p[:, None], q[:, None], t, p, q]
            out[s * size : (s + 1) * size, t * size : (t + 1) * size] += block * same


def _first(state: Flux, generators: Tensors, j: int) -> np.ndarray:
    """Return dE_j/d(X_j, Y_j) without the identity on the left bond: (n, n', r | 2, n, m), outputs first."""
    right, b = state.frames.right[j + 1], state.right[j + 1]
    n = generators[j].shape[0]
    x = np.tensordot(generators[j], right, axes=(3, 1))  # a' b' a m r
    x = x.transpose(0, 1, 4, 2, 3)
    one = np.eye(n)
    x = x + np.einsum("ac,mbr->abrcm", one, b)
    y = np.einsum("ac,mbr->abrcm", -one, right)
    return np.stack([x, y], axis=3)


def _second(state: Flux, generators: Tensors, j: int) -> np.ndarray:
    """Return dE_{j-1}/d(X_j, Y_j) without the identity on the right bond: (l, n, n' | 2, m, n'), outputs first."""
    left, b = state.frames.left[j - 1], state.left[j - 1]
    n = generators[j - 1].shape[1]
    x = np.tensordot(left, generators[j - 1], axes=(1, 2)).transpose(0, 2, 3, 1, 4)  # l m a' b' b -> l a' b' m b
    one = np.eye(n)
    x = x - np.einsum("lam,bc->labmc", b, one)
    y = np.einsum("lam,bc->labmc", left, one)
    return np.stack([x, y], axis=3)


def _gradient(state: Flux, generators: Tensors, j: int, at: tuple[np.ndarray, ...], *, pinned: bool) -> np.ndarray:
    """Return J^T E for the unknowns of site j."""
    shape = state.frames.centre[j].shape
    g = np.zeros((2, *shape))
    if j < state.frames.length - 1:
        g += np.tensordot(state.residual[j], _first(state, generators, j), axes=((1, 2, 3), (0, 1, 2))).transpose(
            1, 0, 2, 3
        )
    if j > 0:
        g += np.tensordot(_second(state, generators, j), state.residual[j - 1], axes=((0, 1, 2), (0, 1, 2)))
    x, y = g[0][at], g[1][at]
    return np.concatenate([x, np.zeros_like(y) if pinned else y])


def block_tridiagonal_solve(
    diagonal: Callable[[int], np.ndarray],
    upper: Callable[[int], np.ndarray],
    rhs: Sequence[np.ndarray],
    count: int | None = None,
) -> list[np.ndarray]:
    """Return the solution of a symmetric positive block-tridiagonal system by block Cholesky.

    ``diagonal(i)`` and ``upper(i)`` (rows i, columns i + 1) are made when needed.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the matrix is not positive definite.
    """
    size = len(rhs) if count is None else count
    factors: list[np.ndarray] = []
    links: list[np.ndarray] = []
    forward: list[np.ndarray] = []
    block = diagonal(0)
    for i in range(size):
        factor = sla.cholesky(block, lower=True, overwrite_a=True, check_finite=False)
        right = rhs[i] if i == 0 else rhs[i] - links[-1].T @ forward[-1]
        forward.append(sla.solve_triangular(factor, right, lower=True, check_finite=False))
        factors.append(factor)
        if i + 1 < size:
            link = sla.solve_triangular(factor, upper(i), lower=True, check_finite=False)
            block = diagonal(i + 1) - link.T @ link
            links.append(link)
    out = [np.zeros(0)] * size
    for i in range(size - 1, -1, -1):
        right = forward[i] if i == size - 1 else forward[i] - links[i] @ out[i + 1]
        out[i] = sla.solve_triangular(factors[i], right, lower=True, trans="T", check_finite=False)
    return out
