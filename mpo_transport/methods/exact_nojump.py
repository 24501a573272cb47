"""The exact inverse of the evolution between jumps, as a preconditioner.

With the effective Hamiltonian  K = -i H - 1/2 sum_k rate_k L_k^dag L_k  the generator is

    L rho = K rho + rho K^dag + sum_k rate_k L_k rho L_k^dag .

The first two terms are a Sylvester operator, inverted in the eigenbasis of K at the cost of four matrix products.
Where the jumps are few (chains driven at their ends) a Krylov solver then needs a few tens of products, independently
of how strong and how coherent the Hamiltonian is, which is where diagonal preconditioners fail.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from ..model import Lindbladian
from ..superoperator import operator_matrix
from ..superoperator.symmetric_sector import Component, SymmetricSector

__all__ = ["no_jump_inverse", "no_jump_memory"]

_CONDITION = 1e10
_DARK = 1e-8


def no_jump_memory(D: float, size: float, order: int) -> float:
    """Return about the bytes that the preconditioner takes."""
    return 16.0 * 6 * D * D + 8.0 * size * (order + 6)


def no_jump_inverse(
    model: Lindbladian, sector: SymmetricSector, component: Component
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the approximate inverse on the unknowns of a component, or None where K is too close to defective.

    The sector must be made of matrix units.  K is block diagonal in the conserved charges; only pairs of blocks between
    which the sector has operators are touched.
    """
    effective = _effective_hamiltonian(model)
    number, labels = connected_components(abs(effective), directed=False)  # a complex matrix would lose i x real
    order = np.argsort(labels, kind="stable")
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    edges = np.searchsorted(labels[order], np.arange(number + 1))
    scale = float(abs(effective).sum(axis=0).max()) if effective.nnz else 1.0
    eigen = []
    for k in range(number):
        members = order[edges[k] : edges[k + 1]]
        values, vectors = np.linalg.eig(effective[members][:, members].toarray())
        if np.linalg.cond(vectors) > _CONDITION:
            return None
        values = np.minimum(values.real, -_DARK * scale) + 1j * values.imag  # states that never jump
        eigen.append((values, vectors, np.linalg.inv(vectors)))
    places, pairs = _places(sector, position, labels)

    def apply(v: np.ndarray) -> np.ndarray:
        z = np.zeros(sector.size)
        z[component.unknowns] = v
        c = sector.coefficients(z) / sector.basis.norms
        rho = np.zeros((len(order),) * 2, dtype=complex)
        for place in places:
            rho.ravel()[place] = c
        for a, b in pairs:
            rows, columns = slice(edges[a], edges[a + 1]), slice(edges[b], edges[b + 1])
            (wa, va, ia), (wb, vb, ib) = eigen[a], eigen[b]
            y = ia @ rho[rows, columns] @ ib.conj().T
            y /= wa[:, None] + wb.conj()[None, :]
            rho[rows, columns] = va @ y @ vb.conj().T
        flat = rho.ravel()
        total = np.zeros(len(c), dtype=complex)
        for place in places:
            total += flat[place]
        return sector.unknowns(total * sector.basis.norms / len(places))[component.unknowns]

    return apply


def _effective_hamiltonian(model: Lindbladian) -> sp.csr_array:
    k = -1j * operator_matrix(model.lattice, model.hamiltonian)
    for jump in model.jumps:
        if jump.rate > 0:
            l = operator_matrix(model.lattice, jump.operator)
            k = k - 0.5 * jump.rate * (l.conj().T @ l)
    k = sp.csr_array(k)
    k.data[np.abs(k.data) < 1e-14 * np.abs(k.data).max(initial=0.0)] = 0.0
    k.eliminate_zeros()
    return k


def _places(
    sector: SymmetricSector, position: np.ndarray, labels: np.ndarray
) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """Return where every orbit sits in the block-ordered matrix, per element of the group, and the pairs of blocks."""
    basis, dims = sector.basis, sector.plan.dims
    coding = basis.coding
    stride = [int(np.prod(dims[j + 1 :], dtype=np.int64)) for j in range(len(dims))]
    row_table = coding.tables([np.repeat(np.arange(d), d) * s for d, s in zip(dims, stride, strict=True)])
    column_table = coding.tables([np.tile(np.arange(d), d) * s for d, s in zip(dims, stride, strict=True)])
    places, met = [], set()
    D = len(position)
    for image in coding.images(basis.representatives, basis.group):
        rows, columns = coding.evaluate(row_table, image), coding.evaluate(column_table, image)
        places.append(position[rows] * np.int64(D) + position[columns])
        met |= set(np.unique(labels[rows].astype(np.int64) * D + labels[columns]).tolist())
    return places, [(m // D, m % D) for m in sorted(met)]
