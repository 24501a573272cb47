"""The generator on traceless operators, split into the invariant blocks that its own sparsity pattern shows.

In the Hermitian basis a density matrix is x = (x_0, y) with x_0 = Tr(rho)/sqrt(D) fixed, and the Lindbladian

    L = [[0, 0], [b, A]],            so that a steady state solves      A y = -b x_0.

The connected components of the pattern of A are invariant blocks: a weak Z2 parity splits the strings into an even and
an odd half without being asked for, and independent or diagonal parts of a model split further.  Every traceless
stationary operator is a null vector of one block, so the dimension of the stationary manifold is 1 + sum dim ker A_s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from ..model import Lindbladian
from ..superoperator import MatrixFreeLindbladian, hermitian_basis, hermitian_lindbladian, local_generators

__all__ = ["Generator", "Sector", "split_generator", "stored_entries", "string_parity"]

Vector = np.ndarray
STORED_ENTRIES_LIMIT = 2.0e7  # beyond it (0.25 GB, and several times that while assembling) nothing is stored
_LUMP = 192  # blocks smaller than this are treated together


@dataclass(frozen=True, eq=False)
class Sector:
    """One invariant block A_s: ``indices`` into the coefficient vector (n,), its source b_s (n,) and its products.

    ``matrix`` is the sparse block, or None where nothing is stored; ``row_norms`` are the 2-norms of its rows.
    """

    indices: np.ndarray
    source: np.ndarray
    apply: Callable[[Vector], Vector]
    apply_transpose: Callable[[Vector], Vector]
    row_norms: np.ndarray
    matrix: sp.csr_array | None = None

    @property
    def size(self) -> int:
        """Number of basis operators in the block."""
        return len(self.indices)

    @property
    def is_driven(self) -> bool:
        """Whether the maximally mixed state feeds this block (b_s is not zero)."""
        return bool(np.any(self.source))


@dataclass(frozen=True, eq=False)
class Generator:
    """The Lindbladian on coefficient vectors of length ``size`` = D^2, and its blocks.

    ``norm`` is the 1-norm of the matrix (an upper bound where it is not stored), the scale of all tolerances.
    """

    size: int
    norm: float
    sectors: tuple[Sector, ...]
    matrix: sp.csr_array | None
    free: MatrixFreeLindbladian
    dims: tuple[int, ...]
    local: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)

    def apply(self, x: Vector) -> Vector:
        """Return L x for a whole coefficient vector, shape (D^2,)."""
        return self.matrix @ x if self.matrix is not None else self.free(x)

    @property
    def identity_coefficient(self) -> float:
        """x_0 = 1/sqrt(D) of a density matrix with trace 1."""
        return float(self.size) ** -0.25


def stored_entries(model: Lindbladian) -> float:
    """Return an upper bound of the number of non-zero entries of the generator, cheaply."""
    dims = [int(d) for d in model.lattice.dims]
    size = float(np.prod([float(d) ** 2 for d in dims]))
    total = 0.0
    for g in local_generators(model).values():
        total += np.count_nonzero(np.abs(g) > 1e-15 * max(np.abs(g).max(), 1e-300)) * size / g.shape[0]
    return total


def split_generator(model: Lindbladian, *, store: bool | None = None) -> Generator:
    """Return the generator of a bounded model with its invariant blocks.

    Parameters
    ----------
    store
        Keep the sparse matrix; None decides by its number of entries.  Without it the blocks are the two parity classes
        (or one block if there is no parity).
    """
    free = MatrixFreeLindbladian(model)
    dims = tuple(int(d) for d in model.lattice.dims)
    if store is None:
        store = stored_entries(model) <= STORED_ENTRIES_LIMIT
    if store:
        matrix = hermitian_lindbladian(model)
        norm = float(abs(matrix).sum(axis=0).max()) if matrix.nnz else 0.0
        sectors = _stored_sectors(matrix)
    else:
        matrix = None
        norm = float(sum(np.abs(g).sum(axis=0).max() for g in free.generators.values()))
        sectors = _free_sectors(model, free)
    return Generator(free.size, norm, sectors, matrix, free, dims, free.generators)


def _stored_sectors(matrix: sp.csr_array) -> tuple[Sector, ...]:
    traceless = sp.csr_array(matrix[1:, 1:])
    source = matrix[1:, [0]].toarray()[:, 0]
    if traceless.shape[0] == 0:
        return ()
    _, labels = connected_components(traceless, directed=False)
    sizes = np.bincount(labels)
    lumps = np.arange(len(sizes))
    total, current = 0, -1
    for label in np.flatnonzero(sizes < _LUMP).tolist():
        if current < 0 or total + sizes[label] > _LUMP:
            current, total = label, 0
        lumps[label], total = current, total + int(sizes[label])
    labels = lumps[labels]
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    sectors = []
    for members in groups:
        block = sp.csr_array(traceless[members][:, members])
        transposed = sp.csr_array(block.T)  # a CSR copy: products with a lazily transposed matrix are slower
        sectors.append(
            Sector(
                indices=members + 1,
                source=source[members],
                apply=block.__matmul__,
                apply_transpose=transposed.__matmul__,
                row_norms=np.sqrt(block.multiply(block).sum(axis=1)),
                matrix=block,
            )
        )
    return tuple(sorted(sectors, key=lambda s: (not s.is_driven, int(s.indices[0]))))


def string_parity(model: Lindbladian) -> np.ndarray:
    """Return 0 or 1 per basis string: whether it changes the total number by an even or odd amount, shape (D^2,).

    Diagonal local elements are even; the symmetric and antisymmetric element of levels (a, b) have parity n_a - n_b.
    """
    total = np.zeros(1, dtype=np.int8)
    for space in model.lattice.spaces:
        d = int(space.dim)
        number = np.asarray(space.number if space.number is not None else np.zeros(d))
        change = np.rint(np.abs(number[:, None] - number[None, :])).astype(int) % 2
        local = np.array([int(np.any((np.abs(b) > 0) & (change == 1))) for b in hermitian_basis(d)], dtype=np.int8)
        total = (total[:, None] ^ local[None, :]).ravel()
    return total


def _free_sectors(model: Lindbladian, free: MatrixFreeLindbladian) -> tuple[Sector, ...]:
    unit = np.zeros(free.size)
    unit[0] = 1.0
    source = free(unit)
    row_norms = _row_norms(free)
    if model.has_weak_parity:
        parity = string_parity(model)
        groups = [np.flatnonzero(parity == 0)[1:], np.flatnonzero(parity == 1)]
    else:
        groups = [np.arange(1, free.size)]

    def product(indices: np.ndarray, function: Callable[[Vector], Vector]) -> Callable[[Vector], Vector]:
        def apply(v: Vector) -> Vector:
            full = np.zeros(free.size)
            full[indices] = v
            return function(full)[indices]

        return apply

    return tuple(
        Sector(indices, source[indices], product(indices, free), product(indices, free.adjoint), row_norms[indices])
        for indices in groups
        if len(indices)
    )


def _row_norms(free: MatrixFreeLindbladian) -> np.ndarray:
    """Row 2-norms when off-diagonal entries of different local generators never coincide, else a close estimate."""
    diagonal, squares = np.zeros(free.legs), np.zeros(free.legs)
    for sites, g in free.generators.items():
        shape = [free.legs[s] if s in sites else 1 for s in range(len(free.legs))]
        diagonal += np.diag(g).reshape(shape)
        squares += (np.sum(g**2, axis=1) - np.diag(g) ** 2).reshape(shape)
    return np.sqrt(diagonal**2 + squares).ravel()
