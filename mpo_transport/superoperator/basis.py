"""Vectorisation, defined once.

Two bases of operator space are used.

*Row-major* (exact, complex):  vec(rho)[a D + b] = rho[a, b], hence vec(A rho B) = (A (x) B^T) vec(rho).

*Hermitian* (real):  on one site B_0 = 1/sqrt(d), then the generalised Gell-Mann matrices, Tr(B_k B_l) = delta_kl, each
Hermitian; on several sites their products, the first site varying slowest.  rho = sum_k x_k B_k has real x if rho is
Hermitian, and a Lindbladian is a real matrix.  For d = 2 the order is (1, X, Y, Z)/sqrt(2).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

__all__ = ["from_hermitian", "hermitian_basis", "operator_vector", "superoperator_factor", "to_hermitian"]


@lru_cache(maxsize=64)
def hermitian_basis(d: int) -> np.ndarray:
    """Return the orthonormal Hermitian basis of one site, shape (d^2, d, d), complex.

    Order: identity, symmetric (a < b), antisymmetric (a < b), diagonal.

    >>> import numpy as np
    >>> np.allclose(hermitian_basis(2)[2] * np.sqrt(2), [[0, -1j], [1j, 0]])
    True
    """
    basis = [np.eye(d, dtype=complex) / np.sqrt(d)]
    pairs = [(a, b) for a in range(d) for b in range(a + 1, d)]
    for a, b in pairs:
        m = np.zeros((d, d), dtype=complex)
        m[a, b] = m[b, a] = 1 / np.sqrt(2)
        basis.append(m)
    for a, b in pairs:
        m = np.zeros((d, d), dtype=complex)
        m[a, b], m[b, a] = -1j / np.sqrt(2), 1j / np.sqrt(2)
        basis.append(m)
    for k in range(1, d):
        diagonal = np.zeros(d, dtype=complex)
        diagonal[:k] = 1
        diagonal[k] = -k
        basis.append(np.diag(diagonal) / np.sqrt(k * (k + 1)))
    out = np.array(basis)
    out.setflags(write=False)
    return out


def superoperator_factor(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the map rho -> left rho right of one site: M_kl = Tr(B_k left B_l right), shape (d^2, d^2)."""
    basis = hermitian_basis(left.shape[0])
    image = left @ basis @ right  # of every B_l; M_kl = sum B_k[a,b] image_l[b,a]
    return np.asarray(basis.swapaxes(1, 2).reshape(len(basis), -1) @ image.reshape(len(basis), -1).T)


def operator_vector(matrix: np.ndarray) -> np.ndarray:
    """Return o_k = Tr(O B_k), shape (d^2,), so that Tr(O rho) = sum_k o_k x_k (complex unless O is Hermitian)."""
    return np.einsum("kab,ba->k", hermitian_basis(matrix.shape[0]), matrix)


def to_hermitian(rho: np.ndarray, dims: Sequence[int]) -> np.ndarray:
    """Return the Hermitian-basis coefficients of a (D, D) operator, shape (d_1^2, ..., d_n^2).

    Real if ``rho`` is Hermitian (the caller takes the real part), complex in general.
    """
    n = len(dims)
    x = np.asarray(rho).reshape(*dims, *dims)
    for k, d in enumerate(dims):
        # contract row leg 0 and its column leg; append the new leg at the end, so that the order is kept
        x = np.tensordot(x, hermitian_basis(d), axes=([0, n - k], [2, 1]))
    return x


def from_hermitian(x: np.ndarray, dims: Sequence[int]) -> np.ndarray:
    """Return the (D, D) operator with the given Hermitian-basis coefficients; inverse of :func:`to_hermitian`."""
    n = len(dims)
    y = np.asarray(x).reshape([d * d for d in dims]).astype(complex)
    for d in dims:
        y = np.tensordot(y, hermitian_basis(d), axes=([0], [0]))  # appends legs (a_k, b_k)
    order = [2 * k for k in range(n)] + [2 * k + 1 for k in range(n)]
    D = int(np.prod(dims))
    return y.transpose(order).reshape(D, D)
