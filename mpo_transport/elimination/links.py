"""Which optical modes are joined, and how strongly: adjacency matrices as lists of hopping amplitudes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..arguments import per_item
from ..errors import InputError
from ..lattice import Chain, Graph, Lattice
from ..operators import LocalSpace

__all__ = ["Links", "read_links", "ring_links"]


@dataclass(frozen=True, eq=False)
class Links:
    """Hopping amplitudes t_ij of H = sum_{i<j} ( t_ij c_i^+ c_j + h.c. ), one entry per link.

    Attributes
    ----------
    L
        Number of cells.
    first, second
        The cells i and j of every link, integer arrays, shape (links,).
    amplitude
        t_ij, complex, shape (links,).
    edges
        The adjacency in plain numbers, ``{"L": L, "edges": [[i, j], ...]}`` with a third entry for a weight other than
        1; accepted again by :func:`read_links`.
    """

    L: int
    first: np.ndarray
    second: np.ndarray
    amplitude: np.ndarray
    edges: Mapping[str, Any]

    @cached_property
    def matrix(self) -> np.ndarray:
        """The Hermitian hopping matrix t, dense, shape (L, L)."""
        out = np.zeros((self.L, self.L), dtype=complex)
        out[self.first, self.second] = self.amplitude
        out[self.second, self.first] = self.amplitude.conj()
        return out

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The links as pairs (i, j)."""
        return list(zip(self.first.tolist(), self.second.tolist(), strict=True))

    def lattice(self, space: LocalSpace | Sequence[LocalSpace]) -> Lattice:
        """Return the lattice with one site per cell: a chain or a ring where the links are just that, else a graph."""
        pairs = {frozenset(p) for p in self.pairs}
        inner = {frozenset((j, j + 1)) for j in range(self.L - 1)}
        if pairs == inner:
            return Chain(self.L, space)
        if self.L > 2 and pairs == inner | {frozenset((0, self.L - 1))}:
            return Chain(self.L, space, periodic=True)
        return Graph(self.pairs, space, L=self.L)

    def directed(self, lattice: Lattice, matrix: np.ndarray) -> tuple[complex, ...]:
        """Return ``matrix[j, i]`` for every bond (i, j) of a lattice with one site per cell."""
        bonds = np.array(lattice.bonds, dtype=int).reshape(-1, 2)
        return tuple(matrix[bonds[:, 1], bonds[:, 0]].tolist())


def read_links(adjacency: Any, J: Any) -> Links:
    """Return the links of an adjacency matrix A with hopping t = -(J/2) A.

    Parameters
    ----------
    adjacency
        Symmetric real or Hermitian matrix with a zero diagonal, shape (L, L), dense or scipy sparse; entries other
        than 0 and 1 are weights.  Or ``{"L": L, "edges": [[i, j], ...]}``, an edge optionally with its weight A_ij.
        For hopping amplitudes t_ij of any kind give A = t and J = -2.
    J
        Real, a scalar or one value per link; links of a matrix are ordered by (i, j), i < j, those of a list as listed.

    Raises
    ------
    InputError
        Naming ``adjacency`` or ``J``.

    Examples
    --------
    >>> links = read_links([[0, 1, 0], [1, 0, 1], [0, 1, 0]], J=0.2)
    >>> links.pairs, links.amplitude.real.tolist()
    ([(0, 1), (1, 2)], [-0.1, -0.1])
    """
    if isinstance(adjacency, Mapping):
        L, first, second, weight = _from_edges(adjacency)
    elif sp.issparse(adjacency):
        L, first, second, weight = _from_sparse(sp.coo_array(adjacency))
    else:
        L, first, second, weight = _from_dense(adjacency)
    strength = per_item(J, len(first), "J", "link", real=True)
    ones = bool(np.all(weight == 1))
    columns = (first.tolist(), second.tolist()) + (() if ones else (_plain(weight),))
    edges = {"L": L, "edges": [list(edge) for edge in zip(*columns, strict=True)]}
    return Links(L, first, second, -0.5 * strength * weight, edges)


def ring_links(L: int, J: Any) -> Links:
    """Return the links (0, 1), (1, 2), ..., (L-1, 0) of a ring, hopping -J/2; J a scalar or one value per bond.

    Raises
    ------
    InputError
        Naming ``L`` (a ring needs at least 3 cells) or ``J``.

    Examples
    --------
    >>> ring_links(3, 0.2).pairs
    [(0, 1), (1, 2), (2, 0)]
    """
    if isinstance(L, bool) or not isinstance(L, (int, np.integer)) or L < 3:
        raise InputError(f"Argument `L` must be an integer >= 3 for a ring, but is {L!r}.", field="L")
    strength = per_item(J, int(L), "J", "bond", real=True)
    first = np.arange(L)
    return Links(int(L), first, (first + 1) % L, -0.5 * strength.astype(complex), {})


# ----------------------------------------------------------------------------------------------------------------------

_Entries = tuple[int, np.ndarray, np.ndarray, np.ndarray]


def _error(what: str) -> InputError:
    return InputError(f"Argument `adjacency` {what}.", field="adjacency")


def _from_dense(adjacency: Any) -> _Entries:
    try:
        matrix = np.asarray(adjacency, dtype=complex)
    except (TypeError, ValueError):
        raise _error("must be a square matrix of numbers") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) == 0:
        raise _error(f"must be a square matrix, but has shape {matrix.shape}")
    if not np.all(np.isfinite(matrix)):
        raise _error("must be finite")
    if np.any(np.diag(matrix)):
        raise _error("must have a zero diagonal; energies of the modes belong in the detunings `Dt`")
    if not np.array_equal(matrix, matrix.conj().T):
        kind = "Hermitian" if np.any(matrix.imag) else "symmetric"
        i, j = np.argwhere(matrix != matrix.conj().T)[0]
        raise _error(f"must be {kind}, but its entries ({i}, {j}) and ({j}, {i}) do not match")
    first, second = np.nonzero(np.triu(matrix, 1))
    return len(matrix), first, second, matrix[first, second]


def _from_sparse(matrix: Any) -> _Entries:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise _error(f"must be a square matrix, but has shape {matrix.shape}")
    if not np.all(np.isfinite(matrix.data)):
        raise _error("must be finite")
    compressed = sp.csr_array(matrix, dtype=complex)
    if np.any(compressed.diagonal()):
        raise _error("must have a zero diagonal; energies of the modes belong in the detunings `Dt`")
    defect = compressed - compressed.conj().T
    if defect.nnz and np.any(defect.data):
        raise _error("must be symmetric (Hermitian if complex)")
    upper = sp.coo_array(sp.triu(compressed, 1))
    order = np.lexsort((upper.col, upper.row))
    kept = order[upper.data[order] != 0]
    return int(matrix.shape[0]), upper.row[kept].astype(int), upper.col[kept].astype(int), upper.data[kept]


def _from_edges(adjacency: Mapping[str, Any]) -> _Entries:
    L = adjacency.get("L")
    if set(adjacency) != {"L", "edges"} or isinstance(L, bool) or not isinstance(L, (int, np.integer)) or L < 1:
        raise _error('given as a mapping must be {"L": number of cells, "edges": [[i, j], ...]}')
    first, second, weight = [], [], []
    seen = set()
    for edge in adjacency["edges"]:
        try:
            i, j, w = (*edge, 1.0)[:3]
            good = len(edge) in (2, 3) and int(i) == i and int(j) == j and np.isfinite(complex(w))
        except (TypeError, ValueError):
            good = False
        if not good or i == j or not (0 <= i < L and 0 <= j < L):
            raise _error(f"has the edge {edge!r}, but edges join two different cells of 0..{L - 1}")
        if frozenset((i, j)) in seen:
            raise _error(f"lists the edge ({i}, {j}) twice; an edge has no direction")
        seen.add(frozenset((i, j)))
        first.append(int(i))
        second.append(int(j))
        weight.append(complex(w))
    return int(L), np.array(first, dtype=int), np.array(second, dtype=int), np.array(weight, dtype=complex)


def _plain(weight: np.ndarray) -> list[Any]:
    return (weight.real if not np.any(weight.imag) else weight).tolist()
