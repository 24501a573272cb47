"""The generator between jumps and the jumps, sector by sector, as plain arrays.

Between jumps an unnormalised state obeys d psi/dt = A psi with A = -i H - (1/2) sum_k rate_k L_k^dag L_k.  Every sector
keeps A = c + i c' + A' with numbers c, c' that make the norm of A' small (c' is a phase without meaning), a step h with
|A'| h <= theta so that the Taylor series of exp(A' h) converges to machine precision without cancellation and is at the
same time the dense output at all times within the step, and for small sectors the matrices exp((c + A') h 2^k) with
which longer stretches are crossed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg as sla
import scipy.sparse as sp

from ...lattice import Lattice
from ...model import Lindbladian
from ...superoperator import operator_matrix
from .sectors import SectorBasis

__all__ = ["Propagator", "SectorOperators", "build_propagator"]

_THETA_SPARSE = 4.0  # e^theta eps bounds the rounding of the series
_THETA_DENSE = 1.0
_DENSE = 96  # largest sector with stored exponentials
_MOST_HOPS = 12
_ROUNDOFF = 1e-15


@dataclass(frozen=True, eq=False)
class SectorOperators:
    """What acts on the states of one sector of dimension d.

    Attributes
    ----------
    matrix, shift
        A' (d, d), sparse or dense, and the real number c.
    step, theta
        h and a bound of |A'| h.
    hops
        exp((c + A') h 2^k), k = 0, 1, ..., dense; empty for large sectors.
    jumps
        The operators sqrt(rate_k) L_k that do not vanish here, stacked: (sum of d_k, d); None without any.
    targets, offsets
        Sector into which each of them leads, and the first row of each in the stack.
    entries
        Stored entries of A' (for counting work).
    """

    matrix: Any
    shift: float
    step: float
    theta: float
    hops: tuple[np.ndarray, ...]
    jumps: Any
    targets: tuple[int, ...]
    offsets: np.ndarray
    entries: int


@dataclass(frozen=True, eq=False)
class Propagator:
    """All sectors of a model: ``operators[q]`` acts within sector q, whose basis states are ``basis[q]``."""

    dims: tuple[int, ...]
    basis: tuple[np.ndarray, ...]
    operators: tuple[SectorOperators, ...]

    @property
    def width(self) -> int:
        """Size of the largest sector."""
        return max(len(b) for b in self.basis)

    def expand(self, vectors: np.ndarray, sectors: np.ndarray) -> np.ndarray:
        """Return vectors in the basis of their sectors, (n, width), as vectors of the whole space, (n, D)."""
        if len(self.basis) == 1:
            return vectors
        out = np.zeros((len(vectors), int(np.prod(self.dims))), dtype=complex)
        for q in np.unique(sectors):
            rows = np.flatnonzero(sectors == q)
            out[np.ix_(rows, self.basis[q])] = vectors[rows, : len(self.basis[q])]
        return out


def build_propagator(model: Lindbladian, basis: SectorBasis) -> Propagator:
    """Return the propagator of a bounded model in the given sectors."""
    lattice: Lattice = model.lattice
    effective = -1j * operator_matrix(lattice, model.hamiltonian)
    jumps = []
    for jump in model.jumps:
        matrix = math.sqrt(jump.rate) * operator_matrix(lattice, jump.operator) if jump.rate > 0 else None
        if matrix is not None and matrix.nnz:
            matrix = _without_roundoff(matrix)
            effective = effective - 0.5 * (matrix.conj().T @ matrix)
            jumps.append(matrix)
    effective = _without_roundoff(sp.csr_array(effective))
    columns = [sp.csc_array(m) for m in jumps]
    operators = []
    for q, indices in enumerate(basis.indices):
        rows = effective[indices]
        generator = sp.csr_array(rows[:, indices])
        if generator.nnz != rows.nnz:
            raise AssertionError(f"H_eff leaves sector {q}: the charge is not conserved")
        operators.append(_sector_operators(generator, [c[:, indices] for c in columns], basis))
    return Propagator(tuple(int(d) for d in lattice.dims), basis.indices, tuple(operators))


def _sector_operators(generator: sp.csr_array, columns: list[Any], basis: SectorBasis) -> SectorOperators:
    d = generator.shape[0]
    diagonal = generator.diagonal()
    shift = _middle(diagonal.real)
    matrix = sp.csr_array(generator - complex(shift, _middle(diagonal.imag)) * sp.eye_array(d, format="csr"))
    matrix.eliminate_zeros()
    dense = d <= _DENSE
    bound = _norm_bound(matrix)
    theta = _THETA_DENSE if dense else _THETA_SPARSE
    slowest = max(bound, abs(shift), 1e-30)
    step = theta / slowest
    hops: tuple[np.ndarray, ...] = ()
    if dense:
        whole = matrix.toarray()
        hop = sla.expm(whole * step) * math.exp(shift * step)
        found = [hop]
        for _ in range(_MOST_HOPS):
            found.append(found[-1] @ found[-1])
        hops = tuple(found)
    stack, targets, offsets = _stacked(columns, basis)
    if dense and stack is not None:
        stack = stack.toarray()
    return SectorOperators(
        matrix=matrix.toarray() if dense else matrix,
        shift=shift,
        step=step,
        theta=bound * step,
        hops=hops,
        jumps=stack,
        targets=targets,
        offsets=offsets,
        entries=d * d if dense else int(matrix.nnz),
    )


def _stacked(columns: list[Any], basis: SectorBasis) -> tuple[Any, tuple[int, ...], np.ndarray]:
    blocks, targets, offsets, height = [], [], [], 0
    for part in columns:
        part = sp.csr_array(part)
        if not part.nnz:
            continue
        reached = np.unique(basis.label[np.flatnonzero(np.diff(part.indptr))])
        if len(reached) != 1:
            raise AssertionError("a jump leads into several sectors: its charge is not definite")
        block = sp.csr_array(part[basis.indices[reached[0]]])
        blocks.append(block)
        targets.append(int(reached[0]))
        offsets.append(height)
        height += block.shape[0]
    stack = sp.csr_array(sp.vstack(blocks, format="csr")) if blocks else None
    return stack, tuple(targets), np.array(offsets, dtype=np.int64)


def _middle(values: np.ndarray) -> float:
    return float((values.min() + values.max()) / 2)


def _norm_bound(matrix: sp.csr_array) -> float:
    """Return sqrt(|M|_1 |M|_inf) >= |M|_2."""
    if not matrix.nnz:
        return 0.0
    size = abs(matrix)
    return math.sqrt(float(size.sum(axis=0).max()) * float(size.sum(axis=1).max()))


def _without_roundoff(matrix: sp.csr_array) -> sp.csr_array:
    """Drop entries that are zero but for rounding, which would connect sectors."""
    out = matrix.copy()
    out.sum_duplicates()
    if out.nnz:
        out.data[np.abs(out.data) <= _ROUNDOFF * np.abs(out.data).max()] = 0
        out.eliminate_zeros()
    return out
