"""Slowest eigenvalues of one block: dense, or block Krylov spaces of exp(A t) and of (A - sigma)^{-1}.

The eigenvalues of largest real part are the ones that exp(A t) makes dominant, whatever their frequency; a shifted
inverse alone would miss those that oscillate fast.  The space is built from blocks of vectors, so that degenerate
eigenvalues are found with their multiplicity, and the Ritz values are those of A itself, so that the accuracy of the
exponential does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
import scipy.sparse.linalg as sla

__all__ = [
    "Eigen",
    "Scale",
    "dense_eigen",
    "exp_multiply",
    "krylov_eigen",
    "matched_left",
    "nothing_slower",
    "order",
    "scale_of",
]

_STEP = 6.0  # radius times time of one Taylor polynomial: about 40 terms, rounding errors below e^6 eps
_MOST_TERMS = 90
_BLOCK = 3  # vectors added together: multiplets of up to three at once, larger ones by the random restarts
_CLUSTER = 1e-7
_DEPTH = 40  # many short exponentials beat few long ones (measured on chains of 8 spins)
_LONGEST = 10.0


@dataclass(frozen=True)
class Scale:
    """Size of a block: ``shift`` is the mean of its diagonal, ``radius`` an estimate of max |eigenvalue - shift|."""

    shift: float
    radius: float

    @property
    def largest(self) -> float:
        """Estimate of the largest modulus of an eigenvalue."""
        return abs(self.shift) + self.radius


@dataclass(frozen=True, eq=False)
class Eigen:
    """Eigenvalues (m,), sorted, with right vectors in columns (n, m), |r| = 1, and residuals |A r - lambda r|.

    ``complete`` is true when these are all eigenvalues of the block; ``converged`` says for each whether its residual
    passed.
    """

    values: np.ndarray
    right: np.ndarray
    residuals: np.ndarray
    converged: np.ndarray
    complete: bool
    products: int = 0


def scale_of(a: sp.csr_array, rng: np.random.Generator) -> Scale:
    """Return shift and radius, the latter from a short Arnoldi run, never above the 1-norm."""
    n = a.shape[0]
    if n == 0 or a.nnz == 0:
        return Scale(0.0, 0.0)
    shift = float(np.real(a.diagonal().mean()))
    b = sp.csr_array(a - shift * sp.eye_array(n))
    bound = float(abs(b).sum(axis=0).max())
    if n <= 40:
        return Scale(shift, bound)
    q = np.zeros((n, 21), dtype=a.dtype)
    h = np.zeros((21, 20), dtype=a.dtype)
    q[:, 0] = sl.orth(_random(a, rng, 1))[:, 0]
    for j in range(20):
        w = b @ q[:, j]
        for _ in range(2):
            c = q[:, : j + 1].conj().T @ w
            h[: j + 1, j] += c
            w = w - q[:, : j + 1] @ c
        h[j + 1, j] = np.linalg.norm(w)
        if abs(h[j + 1, j]) < 1e-12 * bound:
            return Scale(shift, bound)
        q[:, j + 1] = w / h[j + 1, j]
    estimate = 1.1 * float(np.abs(np.linalg.eigvals(h[:20, :20])).max())
    return Scale(shift, min(bound, estimate))


def exp_multiply(a: sp.csr_array, x: np.ndarray, time: float, scale: Scale, tolerance: float = 1e-16) -> np.ndarray:
    """Return exp(a time) x, shape of x, by truncated Taylor series in equal steps; the same bits on every call."""
    steps = max(int(np.ceil(scale.radius * abs(time) / _STEP)), 1)
    step = time / steps
    for _ in range(steps):
        term, total = x, x.copy()
        for j in range(1, _MOST_TERMS):
            term = (step / j) * (a @ term - scale.shift * term)
            total = total + term
            if np.abs(term).max() <= tolerance * np.abs(total).max():
                break
        x = total * np.exp(scale.shift * step)
    return x


def order(values: np.ndarray, scale: float, which: str) -> np.ndarray:
    """Return the indices that sort eigenvalues: by -Re (or by modulus), then |Im|, the positive Im first.

    Differences below 1e-9 ``scale`` are ties, so that conjugate pairs stay together in spite of rounding.
    """
    unit = max(1e-9 * scale, 1e-300)
    first = -values.real if which == "slowest" else np.abs(values)
    return np.lexsort((-np.rint(values.imag / unit), np.rint(np.abs(values.imag) / unit), np.rint(first / unit)))


# ----------------------------------------------------------------------------------------------------------------------
# dense


def dense_eigen(a: sp.csr_array, scale: Scale, which: str, count: int) -> tuple[Eigen, np.ndarray]:
    """Return the first ``count`` eigenvalues of a small block with their right vectors, and all eigenvalues."""
    dense = a.toarray()
    values, right = sl.eig(dense)
    index = order(values, scale.largest, which)
    every = values[index]
    chosen = index[: _whole_clusters(every, count, scale.largest)]
    values, right = values[chosen], right[:, chosen]
    residuals = np.linalg.norm(dense @ right - right * values, axis=0)
    return Eigen(values, right, residuals, np.ones(len(chosen), dtype=bool), len(chosen) == len(every)), every


def _whole_clusters(values: np.ndarray, count: int, scale: float) -> int:
    """Return count, or more when the next eigenvalues equal one already taken or its complex conjugate."""
    while count < len(values):
        taken = np.concatenate([values[:count], values[:count].conj()])
        if np.abs(taken - values[count]).min() > _CLUSTER * scale:
            break
        count += 1
    return min(count, len(values))


# ----------------------------------------------------------------------------------------------------------------------
# iterative


class _Space:
    """An orthonormal basis Q and its image A Q, grown by blocks."""

    def __init__(self, a: sp.csr_array) -> None:
        self.a = a
        self.q = np.zeros((a.shape[0], 0), dtype=a.dtype)
        self.image = self.q

    def grow(self, block: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Add the new directions of a block, random ones where it has none, and return them."""
        width = min(block.shape[1], self.a.shape[0] - self.q.shape[1])
        new = self._orthonormal(block, width)
        while new.shape[1] < width:
            more = self._orthonormal(_random(self.a, rng, width - new.shape[1]), width - new.shape[1], new)
            new = np.hstack([new, more])
        self.q = np.hstack([self.q, new])
        self.image = np.hstack([self.image, self.a @ new])
        return new

    def _orthonormal(self, block: np.ndarray, width: int, also: np.ndarray | None = None) -> np.ndarray:
        known = self.q if also is None else np.hstack([self.q, also])
        norms = np.linalg.norm(block, axis=0)
        block = block[:, norms > 0] / norms[norms > 0]
        for _ in range(2):
            block = block - known @ (known.conj().T @ block)
            u, s, _ = np.linalg.svd(block, full_matrices=False)
            block = u[:, s > 1e-10]
        return np.ascontiguousarray(block[:, :width])

    def ritz(self, scale: float, which: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return all Ritz values, sorted, their vectors in the basis (|y| = 1) and residual norms."""
        values, y = sl.eig(self.q.conj().T @ self.image)
        index = order(values, scale, which)
        values, y = values[index], y[:, index]
        return values, y, np.linalg.norm(self.image @ y - (self.q @ y) * values, axis=0)

    def compress(self, y: np.ndarray) -> None:
        """Keep the span of the columns y (basis coefficients) only."""
        if not np.iscomplexobj(self.q):
            y = np.hstack([y.real, y.imag])
            u, s, _ = np.linalg.svd(y, full_matrices=False)
            y = u[:, s > 1e-9 * s[0]]
        else:
            y = np.linalg.qr(y)[0]
        self.q, self.image = self.q @ y, self.image @ y


def krylov_eigen(
    a: sp.csr_array,
    scale: Scale,
    which: str,
    count: int,
    *,
    target: float,
    max_products: int,
    inverse: Callable[[np.ndarray], np.ndarray] | None,
    rng: np.random.Generator,
) -> Eigen:
    """Return at least ``count`` eigenvalues by restarted block Krylov spaces.

    Parameters
    ----------
    which
        ``"slowest"``: largest real part, the space is built with exp(A t) (and ``inverse`` in turn, if given, which
        finds tiny rates sooner); ``"nearest"``: smallest modulus, built with ``inverse`` alone.
    target
        Residual norm at which an eigenvalue is accepted.
    max_products
        Largest number of products of A with a vector; then what there is is returned, with ``converged`` false.

    Notes
    -----
    A set of converged eigenvalues is accepted when the next Ritz values are known well enough to differ from them, and
    when it survives one more cycle that starts from random vectors: a member of a multiplet, or a slow mode in which
    the first vectors had no part, then appears.
    """
    n = a.shape[0]
    keep = min(count + _BLOCK + 4, n)
    most = min(n, max(keep + _DEPTH * _BLOCK, 2 * keep))
    time = 10.0 / max(scale.radius, 1e-300)
    space = _Space(a)
    products, turn = 0, 0
    block = _random(a, rng, _BLOCK)
    accepted: np.ndarray | None = None
    while True:
        while True:
            block = space.grow(block, rng)
            products += block.shape[1]
            if space.q.shape[1] >= most or products > max_products:
                break
            use_inverse = inverse is not None and (which == "nearest" or turn % 2 == 1)
            turn += 1
            if use_inverse:
                assert inverse is not None
                block = inverse(block)
            else:
                block = exp_multiply(a, block, time, scale, tolerance=1e-8)
                products += block.shape[1] * int(20 + 6 * scale.radius * time)
        values, y, residuals = space.ritz(scale.largest, which)
        wanted = min(_whole_clusters(values, count, scale.largest), keep)
        good = residuals[:wanted] <= target
        finished = space.q.shape[1] == n
        settled = bool(np.all(good)) and _is_apart(values, residuals, wanted)
        if settled:
            previous, accepted = accepted, values[:wanted]
            if previous is not None and len(previous) == wanted:
                finished |= bool(np.abs(np.abs(previous - accepted)).max() <= 1e-6 * scale.largest)
        if finished or products > max_products:
            right = space.q @ y[:, :wanted]
            return Eigen(values[:wanted], right, residuals[:wanted], residuals[:wanted] <= target, False, products)
        spread = float(values[0].real - values[min(keep, len(values)) - 1].real)
        time = float(np.clip(1.5 / max(spread, 1e-300), 6.0 / scale.radius, _LONGEST / scale.radius))
        leading = np.flatnonzero(residuals[:keep] > target)[:_BLOCK]
        if settled or not len(leading):
            block = _random(a, rng, _BLOCK)
            if which == "slowest":
                block = exp_multiply(a, block, time, scale, tolerance=1e-8)
        else:
            block = space.q @ y[:, leading]
            block = inverse(block) if which == "nearest" and inverse else exp_multiply(a, block, time, scale, 1e-8)
            block = block if np.iscomplexobj(a) else _real_span(block)
        space.compress(y[:, :keep])


def _is_apart(values: np.ndarray, residuals: np.ndarray, wanted: int) -> bool:
    """Return whether the next Ritz values are known well enough not to be further copies of the first ``wanted``."""
    rest = slice(wanted, wanted + 4)
    distance = np.abs(values[rest, None] - values[None, :wanted]).min(axis=1)
    return bool(np.all(residuals[rest] <= 0.01 * distance))


def nothing_slower(a: sp.csr_array, scale: Scale, cutoff: float, rng: np.random.Generator, max_products: int) -> bool:
    """Return whether exp(A t) of random vectors falls below exp(cutoff t) by 1e-8: then no Re lambda reaches cutoff.

    False means that this was not seen; a mode with a part below about 1e-8 in all of four random vectors could hide.
    """
    x = _random(a, rng, _BLOCK)
    x = x / np.linalg.norm(x, axis=0)
    step = 2 * _STEP / max(scale.radius, 1e-300)
    size, time, last = 0.0, 0.0, 0.0
    for _ in range(max(int(max_products / (_BLOCK * (20 + 6 * scale.radius * step))), 1)):
        x = exp_multiply(a, x, step, scale, tolerance=1e-12)
        norm = float(np.linalg.norm(x, axis=0).max())
        if norm == 0.0:
            return True
        x = x / norm
        size, time, last = size + np.log(norm) - cutoff * step, time + step, np.log(norm) / step
        if size < np.log(1e-8):
            return True
        if time * abs(cutoff) > 10 and last >= cutoff:
            return False
    return False


def _real_span(block: np.ndarray) -> np.ndarray:
    both = np.hstack([block.real, block.imag]) if np.iscomplexobj(block) else block
    return both[:, np.linalg.norm(both, axis=0) > 1e-12 * np.linalg.norm(both)]


def shifted_inverse(a: sp.csr_array, scale: Scale) -> Callable[[np.ndarray], np.ndarray]:
    """Return X -> (A - sigma)^{-1} X with sigma slightly to the right of zero, where no eigenvalue lies."""
    sigma = 1e-4 * scale.largest
    lu = sla.splu(sp.csc_array(a - sigma * sp.eye_array(a.shape[0])))
    if np.iscomplexobj(a):
        return lambda x: lu.solve(np.ascontiguousarray(x, dtype=complex))

    def solve(x: np.ndarray) -> np.ndarray:
        if not np.iscomplexobj(x):
            return lu.solve(np.ascontiguousarray(x))
        return lu.solve(np.ascontiguousarray(x.real)) + 1j * lu.solve(np.ascontiguousarray(x.imag))

    return solve


def _random(a: sp.csr_array, rng: np.random.Generator, width: int) -> np.ndarray:
    x = rng.standard_normal((a.shape[0], width))
    return x + 1j * rng.standard_normal(x.shape) if np.iscomplexobj(a) else x


# ----------------------------------------------------------------------------------------------------------------------
# left vectors


def matched_left(eigen: Eigen, left: Eigen, a: sp.csr_array, scale: Scale) -> tuple[Eigen, np.ndarray, np.ndarray]:
    """Return eigenvalues refined with left vectors, the left vectors (n, m), l_i^dag r_j = delta_ij, and 1/|cos|.

    ``left`` holds eigenvectors of A^dag.  In every cluster of equal eigenvalues the two-sided projection
    (L^dag R)^{-1} L^dag A R is diagonalised; its eigenvalues are accurate to the product of both residuals.  The last
    answer is |l| |r| (a condition number), infinite where the left vectors could not be matched: their columns are NaN.
    """
    values, right = eigen.values.astype(complex), eigen.right.astype(complex)
    lefts = np.full(right.shape, np.nan, dtype=complex)
    condition = np.full(len(values), np.inf)
    todo = list(range(len(values)))
    while todo:
        members = _cluster(values, todo, _CLUSTER * scale.largest)
        todo = [j for j in todo if j not in members]
        centre = values[members].mean()
        partners = np.flatnonzero(np.abs(left.values.conj() - centre) <= 3 * _CLUSTER * scale.largest)
        if len(partners) < len(members):
            continue
        r, l = right[:, members], left.right[:, partners].astype(complex)
        u, s, vt = np.linalg.svd(l.conj().T @ r, full_matrices=False)
        if s[-1] < 1e-8:
            continue
        l = l @ (u / s) @ vt  # l^dag r is now the identity
        inner, y = np.linalg.eig(l.conj().T @ (a @ r))
        if np.linalg.cond(y) > 1e8:
            continue
        r, l = r @ y, l @ np.linalg.inv(y).conj().T
        norms = np.linalg.norm(r, axis=0)
        values[members], right[:, members], lefts[:, members] = inner, r / norms, l * norms
        condition[members] = np.linalg.norm(lefts[:, members], axis=0)
    residuals = np.linalg.norm(a @ right - right * values, axis=0)
    return Eigen(values, right, residuals, eigen.converged, eigen.complete, eigen.products), lefts, condition


def _cluster(values: np.ndarray, todo: list[int], distance: float) -> list[int]:
    """Return the indices connected to the first one by steps of at most ``distance``."""
    members = [todo[0]]
    for j in members:
        members += [i for i in todo if i not in members and abs(values[i] - values[j]) <= distance]
    return members
