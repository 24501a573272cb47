"""Reduced density matrices of a few sites, as real coefficients in the Hermitian basis, for many samples or units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..lattice import Lattice
from ..superoperator.basis import hermitian_basis

__all__ = ["LocalRecords", "local_coefficients", "pair_basis", "reduced_stack"]


def local_coefficients(tensors: np.ndarray, dims: Sequence[int], sites: Sequence[int]) -> np.ndarray:
    """Return the Hermitian-basis coefficients x_k = <psi|B_k|psi> of the listed sites, shape (n, prod d_s^2), real.

    ``tensors`` holds n vectors, shape (n, D), site 0 varying slowest; the basis of several sites is the product basis
    of :mod:`~mpo_transport.superoperator`, first listed site slowest.
    """
    rho = reduced_stack(tensors, dims, sites)
    basis = pair_basis([dims[s] for s in sites])
    return np.ascontiguousarray((rho.reshape(len(rho), -1) @ basis.reshape(len(basis), -1).conj().T).real)


def pair_basis(dims: Sequence[int]) -> np.ndarray:
    """Return the product of the one-site Hermitian bases, shape (prod d^2, prod d, prod d), first site slowest."""
    out = np.ones((1, 1, 1), dtype=complex)
    for d in dims:
        basis = hermitian_basis(d)
        joint = np.einsum("kab,lcd->klacbd", out, basis)
        out = joint.reshape(out.shape[0] * d * d, out.shape[1] * d, out.shape[2] * d)
    return out


def reduced_stack(tensors: np.ndarray, dims: Sequence[int], sites: Sequence[int]) -> np.ndarray:
    """Return the reduced matrix of the listed sites for every row, shape (n, m, m), not normalised."""
    n = len(tensors)
    m = int(np.prod([dims[s] for s in sites], dtype=int))
    moved = np.moveaxis(tensors.reshape(n, *dims), [1 + s for s in sites], range(1, 1 + len(sites)))
    x = np.ascontiguousarray(moved).reshape(n, m, -1)
    return x @ x.conj().transpose(0, 2, 1)


@dataclass(frozen=True, eq=False)
class LocalRecords:
    """Reduced density matrices known more accurately than the samples show, for example averaged over all times.

    Attributes
    ----------
    sites
        One tuple of ascending sites per record.
    values
        Hermitian-basis coefficients of all records side by side for every independent unit, shape (U, M), real.
    weights
        Share of every unit in the mean, shape (U,), sum 1.
    """

    sites: tuple[tuple[int, ...], ...]
    values: np.ndarray
    weights: np.ndarray

    def columns(self, lattice: Lattice, sites: tuple[int, ...]) -> np.ndarray | None:
        """Return the columns of the smallest record that contains ``sites``, traced down to them (or None), (U, m)."""
        best: tuple[int, np.ndarray] | None = None
        start = 0
        for known in self.sites:
            size = int(np.prod([int(lattice.dims[s]) ** 2 for s in known], dtype=int))
            if set(sites) <= set(known) and (best is None or len(known) < best[0]):
                best = (len(known), self._traced(lattice, self.values[:, start : start + size], known, sites))
            start += size
        return None if best is None else best[1]

    @staticmethod
    def _traced(lattice: Lattice, values: np.ndarray, known: tuple[int, ...], sites: tuple[int, ...]) -> np.ndarray:
        dims = [int(lattice.dims[s]) for s in known]
        x = values.reshape(len(values), *[d * d for d in dims])
        for axis in reversed(range(len(known))):
            if known[axis] not in sites:  # Tr_s keeps B_0 only, and Tr B_0 = sqrt(d)
                x = np.take(x, 0, axis=1 + axis) * np.sqrt(dims[axis])
        return x.reshape(len(values), -1)
