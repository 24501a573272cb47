"""Exact forms of the whole generator: dense, sparse and matrix-free.

Row-major forms act on vec(rho) (complex); Hermitian forms act on real coefficient vectors, see :mod:`.basis`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from ..lattice import Lattice
from ..model import Lindbladian
from ..operators import OpSum
from .terms import local_generators, pair_generators, product_matrices, require_bounded

__all__ = [
    "MatrixFreeLindbladian",
    "dense_lindbladian",
    "hermitian_lindbladian",
    "operator_matrix",
    "sparse_lindbladian",
]


def operator_matrix(lattice: Lattice, operator: OpSum) -> sp.csr_array:
    """Return the sparse (D, D) matrix of an operator sum, site 0 varying slowest."""
    D = int(np.prod(lattice.dims))
    total = sp.csr_array((D, D), dtype=complex)
    for key, c in operator:
        factors = product_matrices(lattice.spaces, key)
        matrix, run = sp.csr_array(np.array([[c]], dtype=complex)), 1
        for site, space in enumerate(lattice.spaces):
            if site in factors:
                if run > 1:
                    matrix = sp.kron(matrix, sp.eye_array(run), format="csr")
                matrix, run = sp.kron(matrix, sp.csr_array(factors[site]), format="csr"), 1
            else:
                run *= int(space.dim)
        total = total + (sp.kron(matrix, sp.eye_array(run), format="csr") if run > 1 else matrix)
    return sp.csr_array(total)


def sparse_lindbladian(model: Lindbladian) -> sp.csr_array:
    """Return the generator on row-major vec(rho), shape (D^2, D^2), complex sparse.

    -i (H x 1 - 1 x H^T) + sum_k rate_k (L_k x L_k^* - 1/2 L_k^dag L_k x 1 - 1/2 1 x (L_k^dag L_k)^T)
    """
    require_bounded(model)
    h = operator_matrix(model.lattice, model.hamiltonian)
    one = sp.eye_array(h.shape[0], format="csr")
    effective = -1j * h
    total = sp.csr_array((h.shape[0] ** 2,) * 2, dtype=complex)
    for jump in model.jumps:
        if jump.rate == 0:
            continue
        lk = operator_matrix(model.lattice, jump.operator)
        total = total + jump.rate * sp.kron(lk, lk.conj(), format="csr")
        effective = effective - 0.5 * jump.rate * (lk.conj().T @ lk)
    return sp.csr_array(total + sp.kron(effective, one, format="csr") + sp.kron(one, effective.conj(), format="csr"))


def dense_lindbladian(model: Lindbladian) -> np.ndarray:
    """Return the generator on row-major vec(rho) as a dense complex array, shape (D^2, D^2)."""
    return sparse_lindbladian(model).toarray()


def hermitian_lindbladian(
    model: Lindbladian | Mapping[tuple[int, ...], np.ndarray], dims: tuple[int, ...] | None = None
) -> sp.csr_array:
    """Return the generator in the Hermitian basis, shape (D^2, D^2), real sparse, site 0 varying slowest."""
    if isinstance(model, Lindbladian):
        generators: Mapping[tuple[int, ...], np.ndarray] = local_generators(model)
        dims = tuple(int(d) for d in model.lattice.dims)
    else:
        generators = model
        assert dims is not None
    legs = [d * d for d in dims]
    size = int(np.prod(legs))
    rows, columns, values = [], [], []
    strides = np.array([int(np.prod(legs[k + 1 :], dtype=np.int64)) for k in range(len(legs))])
    for sites, g in generators.items():
        local = sp.coo_array(np.where(np.abs(g) > 1e-15 * max(np.abs(g).max(), 1e-300), g, 0.0))
        inner = [legs[s] for s in sites]
        offsets = _offsets(
            [legs[s] for s in range(len(legs)) if s not in sites],
            [int(strides[s]) for s in range(len(legs)) if s not in sites],
        )
        r = np.array(np.unravel_index(local.coords[0], inner)).T @ strides[list(sites)]
        c = np.array(np.unravel_index(local.coords[1], inner)).T @ strides[list(sites)]
        rows.append((r[:, None] + offsets[None, :]).ravel())
        columns.append((c[:, None] + offsets[None, :]).ravel())
        values.append(np.repeat(local.data, len(offsets)))
    if not rows:
        return sp.csr_array((size, size))
    index = np.int32 if size < 2**31 else np.int64
    entries = (np.concatenate(values), (np.concatenate(rows).astype(index), np.concatenate(columns).astype(index)))
    return sp.csr_array(sp.coo_array(entries, shape=(size, size)))


def _offsets(legs: list[int], strides: list[int]) -> np.ndarray:
    out = np.zeros(1, dtype=np.int64)
    for leg, stride in zip(legs, strides, strict=True):
        out = (out[:, None] + np.arange(leg) * stride).ravel()
    return out


class MatrixFreeLindbladian:
    """The generator as a product with a real coefficient tensor, never stored as a matrix.

    Call it with an array of shape (D^2,) or (d_1^2, ..., d_L^2); the result has the same shape.
    """

    def __init__(self, model: Lindbladian) -> None:
        self.legs = tuple(int(d) ** 2 for d in model.lattice.dims)
        self.generators = local_generators(model)
        self.size = int(np.prod(self.legs))
        dims = tuple(int(d) for d in model.lattice.dims)
        self._applied = pair_generators(self.generators, dims)  # fewer passes over the vector

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return L x."""
        return self._apply(x, transpose=False)

    def adjoint(self, x: np.ndarray) -> np.ndarray:
        """Return L^T x, the Heisenberg-picture generator."""
        return self._apply(x, transpose=True)

    def _apply(self, x: np.ndarray, *, transpose: bool) -> np.ndarray:
        tensor = np.ascontiguousarray(x).reshape(self.legs)
        out = np.zeros_like(tensor)
        for sites, g in self._applied.items():
            n = len(sites)
            matrix = g.T if transpose else g
            if sites[-1] - sites[0] == n - 1:  # neighbouring legs are one leg of a view: nothing is moved in memory
                before = int(np.prod(self.legs[: sites[0]], dtype=np.int64))
                block = (before, len(g), self.size // (before * len(g)))
                if block[2] >= 16:
                    out.reshape(block)[...] += np.matmul(matrix, tensor.reshape(block))
                else:
                    wide = np.kron(matrix.T, np.eye(block[2]))
                    out.reshape(before, -1)[...] += tensor.reshape(before, -1) @ wide
                continue
            gate = matrix.reshape([self.legs[s] for s in sites] * 2)
            moved = np.tensordot(gate, tensor, axes=(range(n, 2 * n), sites))
            out += np.moveaxis(moved, range(n), sites)
        return out.reshape(np.shape(x))
