"""The linear problem at one bond: the projected generator, its preconditioner, and a small flexible GMRES.

With orthonormal frames to the left and right, the two-site centre is a matrix x of shape (m, k), m = l n_p and
k = n_{p+1} r, and the projected generator is a sum of as many products as the operator has bond dimension,

    L x = sum_v A_v x B_v.

Its best approximation by a sum of Kronecker form, A x + x B, is inverted exactly by two Schur forms of size m and k;
this is the preconditioner (the coupling across the bond is what it leaves out).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import sgees, strsyl

__all__ = ["DENSE", "Kronecker", "Schur", "Solve", "gmres", "lu_solve"]

# Local problems up to this many unknowns are solved by LU decomposition.
DENSE = 300
# Vectors that a solve makes room for at first.
FIRST_ROOM = 8

Map = Callable[[np.ndarray], np.ndarray]


class Schur:
    """Real Schur form a = q t q^T: orthogonal and cheap, also where eigenvectors nearly coincide.

    In single precision, which is enough for a preconditioner.
    """

    def __init__(self, a: np.ndarray) -> None:
        self.t, _, real, imaginary, self.q, _, failed = sgees(_unsorted, a)
        self.values = real + 1j * imaginary
        self.useful = not failed and bool(np.isfinite(self.t).all())


def _unsorted(real: float, imaginary: float) -> bool:
    return False


class Kronecker:
    """The inverse of x -> A x + x B - shift x by Schur forms of A and B; the identity where there is none.

    References
    ----------
    R. H. Bartels, G. W. Stewart, Comm. ACM 15, 820 (1972).
    """

    def __init__(self, a: np.ndarray, b: np.ndarray, shift: float) -> None:
        self._set(Schur(a), Schur(b), shift)

    @classmethod
    def of(cls, a: Schur, b: Schur, shift: float) -> Kronecker:
        """Return the inverse from Schur forms that are known."""
        new = cls.__new__(cls)
        new._set(a, b, shift)
        return new

    def _set(self, a: Schur, b: Schur, shift: float) -> None:
        self._a, self._b = a, b
        self.useful = a.useful and b.useful
        # the shift keeps away from zero: the eigenvalues of a generator have no positive real part, those of its best
        # Kronecker sum may have
        if self.useful and a.values.real.max() + b.values.real.max() > 0.9 * shift:
            sums = a.values[:, None] + b.values
            while np.abs(sums - shift).min() < 0.1 * shift:
                shift *= 1.5
        self._t = a.t.copy(order="F")
        np.einsum("ii->i", self._t)[:] -= shift

    def __call__(self, r: np.ndarray) -> np.ndarray:
        """Return the approximate solution for the right-hand side r."""
        if not self.useful:
            return r
        a, b = self._a.q, self._b.q
        y, scale, _ = strsyl(self._t, self._b.t, a.T @ r.astype(np.float32) @ b)
        return a @ (y / scale) @ b.T


@dataclass(frozen=True)
class Solve:
    """A correction, the products it took, and |r|/|r_0| reached."""

    correction: np.ndarray
    products: int
    ratio: float


def lu_solve(matrix: np.ndarray, shift: float, rhs: np.ndarray) -> Solve:
    """Solve (matrix - shift) x = rhs by LU decomposition, ``matrix`` is overwritten; x = 0 with ratio 1 on failure."""
    np.einsum("ii->i", matrix)[:] -= shift
    try:
        x = np.linalg.solve(matrix, rhs.ravel())
    except np.linalg.LinAlgError:
        return Solve(np.zeros_like(rhs), 1, 1.0)
    ratio = float(np.linalg.norm(matrix @ x - rhs.ravel()) / np.linalg.norm(rhs))
    if not ratio < 1.0:
        return Solve(np.zeros_like(rhs), 1, 1.0)
    return Solve(x.reshape(rhs.shape), 1, ratio)


def _longer(rows: np.ndarray, count: int) -> np.ndarray:
    out = np.empty((count, rows.shape[1]), dtype=rows.dtype)
    out[: len(rows)] = rows
    return out


def gmres(apply: Map, precondition: Map, rhs: np.ndarray, rtol: float, products: int) -> Solve:
    """Solve apply(x) = rhs from x = 0 by right-preconditioned (flexible) GMRES without restarts.

    Parameters
    ----------
    apply, precondition
        Linear maps on arrays of the shape of ``rhs``.
    rhs
        The right-hand side; its precision is that of all vectors.
    rtol
        Stop at |r| <= rtol |rhs|.
    products
        Largest number of applications.

    References
    ----------
    Y. Saad, SIAM J. Sci. Comput. 14, 461 (1993).
    """
    size = math.sqrt(float(np.vdot(rhs, rhs).real))
    if size == 0 or products < 1:
        return Solve(np.zeros_like(rhs), 0, 0.0 if size == 0 else 1.0)
    room = min(products, FIRST_ROOM)  # rows that most solves never come to are not asked for
    basis = np.empty((room + 1, rhs.size), dtype=rhs.dtype)
    directions = np.empty((room, rhs.size), dtype=rhs.dtype)
    triangle = np.zeros((products, products))
    rotations: list[tuple[float, float]] = []
    g = np.zeros(products + 1)
    basis[0], g[0] = rhs.ravel() / size, size
    done = 0
    for j in range(products):
        if j == room:
            room = min(products, 2 * room)
            basis, directions = _longer(basis, room + 1), _longer(directions, room)
        z = precondition(basis[j].reshape(rhs.shape))
        w = apply(z).ravel()
        directions[j] = z.ravel()
        h = basis[: j + 1] @ w
        w = w - h @ basis[: j + 1]
        again = basis[: j + 1] @ w  # once more: orthogonal to rounding
        w -= again @ basis[: j + 1]
        norm = math.sqrt(w @ w)
        column = [*(h + again).tolist(), norm]
        if not math.isfinite(sum(column)):
            break
        for i, (c, s) in enumerate(rotations):
            column[i], column[i + 1] = c * column[i] + s * column[i + 1], c * column[i + 1] - s * column[i]
        length = math.hypot(column[j], column[j + 1])
        if length == 0:
            break
        c, s = column[j] / length, column[j + 1] / length
        rotations.append((c, s))
        triangle[:j, j], triangle[j, j] = column[:j], length
        g[j + 1], g[j] = -s * g[j], c * g[j]
        done = j + 1
        if abs(g[done]) <= rtol * size or norm <= 1e-15 * size:
            break
        if done < products:
            basis[done] = w / norm
    if done == 0:
        return Solve(np.zeros_like(rhs), 0, 1.0)
    y = np.linalg.solve(triangle[:done, :done], g[:done])
    return Solve((y.astype(rhs.dtype) @ directions[:done]).reshape(rhs.shape), done, float(abs(g[done]) / size))
