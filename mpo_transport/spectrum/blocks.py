"""The Lindbladian on one sector, built from operators restricted to charges; the D^2 x D^2 matrix is never formed.

On the pair of classes (ket A, bra B) the basis is |a><b|, a slow.  With K = -iH - 1/2 sum_k rate_k L_k^dag L_k

    L = K x 1 + 1 x K^* + sum_k rate_k L_k x L_k^* .

A lattice symmetry projects onto orbits with a character, and a sector that holds its own Hermitian conjugates is made
real by a basis of Hermitian operators.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ..model import Lindbladian
from ..superoperator import operator_matrix
from .labels import Charges, Sector, Sectors, state_permutation

__all__ = ["Block", "BlockBuilder", "sector_entries", "sector_size"]

Part = tuple[int, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Block:
    """One sector of the Lindbladian.

    Attributes
    ----------
    matrix
        (n, n) sparse, real where ``isometry`` is a basis of Hermitian operators.
    isometry
        (N, n) sparse with orthonormal columns: the basis operators of the block in terms of the N units |a><b|; None
        stands for the identity.
    kets, bras
        The basis states a and b of every unit, shape (N,).
    dimension
        Hilbert-space dimension D.
    """

    sector: Sector
    matrix: sp.csr_array
    isometry: sp.csr_array | None
    kets: np.ndarray
    bras: np.ndarray
    dimension: int

    @property
    def size(self) -> int:
        """Number of basis operators n."""
        return int(self.matrix.shape[0])

    def operator(self, vector: np.ndarray) -> np.ndarray:
        """Return the (D, D) operator of a coefficient vector, shape (n,)."""
        out = np.zeros((self.dimension, self.dimension), dtype=complex)
        out[self.kets, self.bras] = vector if self.isometry is None else self.isometry @ vector
        return out

    def vector(self, operator: np.ndarray) -> np.ndarray:
        """Return the coefficients of the part of a (D, D) operator that lies in the sector, complex (n,)."""
        units = operator[self.kets, self.bras]
        return units if self.isometry is None else self.isometry.conj().T @ units


class BlockBuilder:
    """Builds the blocks of one model; holds its operators split by class."""

    def __init__(self, model: Lindbladian, sectors: Sectors) -> None:
        self.charges: Charges = sectors.charges
        self.dims = tuple(int(d) for d in model.lattice.dims)
        self.L = model.L
        effective = -1j * operator_matrix(model.lattice, model.hamiltonian)
        self._jumps: list[dict[int, list[Part]]] = []
        for jump in model.jumps:
            if jump.rate == 0:
                continue
            matrix = operator_matrix(model.lattice, jump.operator)
            effective = effective - 0.5 * jump.rate * (matrix.conj().T @ matrix)
            self._jumps.append(_by_column_class(self.charges, matrix * jump.rate**0.5))
        self._effective = _by_column_class(self.charges, sp.csr_array(effective))

    def build(self, sector: Sector, *, adapted: bool = True) -> Block:
        """Return the block of a sector; ``adapted=False`` keeps the complex units |a><b|."""
        sizes = [len(m) for m in self.charges.members]
        offsets, total = {}, 0
        for ket, bra in sector.pairs:
            offsets[ket, bra] = total
            total += sizes[ket] * sizes[bra]
        rows, columns, values = [], [], []
        for r, c, v in self._entries(sector, sizes, offsets):
            rows.append(r.ravel())
            columns.append(c.ravel())
            values.append(v.ravel())
        matrix = sp.csr_array((total, total), dtype=complex)
        if rows:
            entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
            matrix = sp.csr_array(sp.coo_array(entries, shape=(total, total)))
        kets, bras = self.units(sector)
        D = len(self.charges.class_of)
        isometry = self._isometry(sector, kets, bras) if adapted else None
        if isometry is not None:
            matrix = sp.csr_array(isometry.conj().T @ (matrix @ isometry))
            if sector.label.adjoint(self.L) == sector.label:
                matrix = sp.csr_array(matrix.real)
        return Block(sector, _cleaned(matrix), isometry, kets, bras, D)

    def recycling(self, sector: Sector, weights: np.ndarray) -> sp.csr_array:
        """Return rho -> sum_k weights[k] rate_k L_k rho L_k^dag on the units |a><b| of a sector, (N, N) sparse.

        One weight per jump of positive rate; each of these maps must keep the sector.
        """
        sizes = [len(m) for m in self.charges.members]
        offsets, total = {}, 0
        for ket, bra in sector.pairs:
            offsets[ket, bra] = total
            total += sizes[ket] * sizes[bra]
        rows, columns, values = [np.zeros(0, int)], [np.zeros(0, int)], [np.zeros(0, complex)]
        for ket, bra in sector.pairs:
            for parts, weight in zip(self._jumps, weights, strict=True):
                if weight:
                    for r, c, v in _sandwiched(parts, ket, bra, sizes, offsets):
                        rows.append(r.ravel())
                        columns.append(c.ravel())
                        values.append(weight * v.ravel())
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return _cleaned(sp.csr_array(sp.coo_array(entries, shape=(total, total))))

    def units(self, sector: Sector) -> tuple[np.ndarray, np.ndarray]:
        """Return the basis states a and b of every unit |a><b| of a sector, shape (N,) each."""
        members = self.charges.members
        kets = np.concatenate([np.repeat(members[a], len(members[b])) for a, b in sector.pairs])
        bras = np.concatenate([np.tile(members[b], len(members[a])) for a, b in sector.pairs])
        return kets, bras

    def _entries(
        self, sector: Sector, sizes: list[int], offsets: dict[tuple[int, int], int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for ket, bra in sector.pairs:
            start, na, nb = offsets[ket, bra], sizes[ket], sizes[bra]
            for to, r, c, v in self._effective.get(ket, []):
                if to == ket:  # parts between classes cancel in the sum over all jumps
                    b = np.arange(nb)
                    yield start + r[:, None] * nb + b, start + c[:, None] * nb + b, np.repeat(v, nb)
            for to, r, c, v in self._effective.get(bra, []):
                if to == bra:
                    a = np.arange(na)[:, None] * nb
                    yield start + a + r, start + a + c, np.tile(v.conj(), na)
            for parts in self._jumps:
                yield from _sandwiched(parts, ket, bra, sizes, offsets)

    def _isometry(self, sector: Sector, kets: np.ndarray, bras: np.ndarray) -> sp.csr_array | None:
        D = len(self.charges.class_of)
        codes = kets * D + bras
        order = np.argsort(codes)
        basis: sp.csr_array | None = None
        if len(sector.group) > 1:
            images = []
            for mapping, _ in sector.group:
                moved = state_permutation(self.dims, mapping)
                images.append(order[np.searchsorted(codes[order], moved[kets] * D + moved[bras])])
            basis = _orbits(np.array(images), np.array([x for _, x in sector.group]))
        if sector.label.adjoint(self.L) != sector.label:
            return basis
        swap = order[np.searchsorted(codes[order], bras * D + kets)]
        if basis is None:
            basis = sp.csr_array(sp.eye_array(len(codes), format="csr"))
        return _hermitian(basis, swap)


def sector_size(sectors: Sectors, sector: Sector) -> float:
    """Return the number of operators of a sector, approximately where a lattice symmetry divides it."""
    sizes = [len(m) for m in sectors.charges.members]
    return float(sum(sizes[a] * sizes[b] for a, b in sector.pairs)) / len(sector.group)


def sector_entries(model: Lindbladian, sectors: Sectors, sector: Sector) -> float:
    """Return an upper estimate of the stored entries while a sector is assembled (before the lattice symmetry)."""
    D = float(np.prod([float(d) for d in model.lattice.dims]))
    density = 1.0 + 2.0 * len(model.hamiltonian)
    for jump in model.jumps:
        density += len(jump.operator) ** 2 * (1.0 if jump.rate else 0.0)
    units = sector_size(sectors, sector) * len(sector.group)
    return float(min(density, D * D) * units)


# ----------------------------------------------------------------------------------------------------------------------


def _sandwiched(
    parts: dict[int, list[Part]], ket: int, bra: int, sizes: list[int], offsets: dict[tuple[int, int], int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the entries of L |a><b| L^dag for a in the class ``ket`` and b in ``bra``, as far as they stay inside."""
    start, nb = offsets[ket, bra], sizes[bra]
    for ket_to, ra, ca, va in parts.get(ket, []):
        for bra_to, rb, cb, vb in parts.get(bra, []):
            target = offsets.get((ket_to, bra_to))
            if target is not None:
                yield (
                    target + ra[:, None] * sizes[bra_to] + rb,
                    start + ca[:, None] * nb + cb,
                    va[:, None] * vb.conj(),
                )


def _by_column_class(charges: Charges, matrix: sp.csr_array) -> dict[int, list[Part]]:
    """Return {class of the column: [(class of the row, local rows, local columns, values), ...]}."""
    coo = sp.coo_array(matrix)
    coo.eliminate_zeros()
    rows, columns = coo.coords
    code = charges.class_of[columns] * len(charges.members) + charges.class_of[rows]
    order = np.argsort(code, kind="stable")
    edges = np.flatnonzero(np.diff(code[order])) + 1
    out: dict[int, list[Part]] = defaultdict(list)
    for part in np.split(order, edges) if len(order) else []:
        start, to = divmod(int(code[part[0]]), len(charges.members))
        out[start].append((to, charges.position[rows[part]], charges.position[columns[part]], coo.data[part]))
    return dict(out)


def _orbits(images: np.ndarray, characters: np.ndarray) -> sp.csr_array:
    """Return the orbits projected on the character: v = sum_g chi(g)^* |g(unit)>, normalised, zeros dropped."""
    n = images.shape[1]
    representatives = np.flatnonzero(images.min(axis=0) == np.arange(n))
    rows = images[:, representatives]
    columns = np.broadcast_to(np.arange(len(representatives)), rows.shape)
    values = np.broadcast_to(characters.conj()[:, None], rows.shape)
    raw = sp.csc_array(sp.coo_array((values.ravel(), (rows.ravel(), columns.ravel())), shape=(n, len(representatives))))
    norms = np.sqrt(np.asarray(abs(raw).power(2).sum(axis=0)).ravel())
    keep = np.flatnonzero(norms > 1e-9 * len(characters))
    scaled = sp.csr_array(raw[:, keep] @ sp.diags_array(1 / norms[keep]))
    return _cleaned(scaled)


def _hermitian(basis: sp.csr_array, swap: np.ndarray) -> sp.csr_array:
    """Return the basis turned into Hermitian operators; ``swap`` is the position of |b><a| for every |a><b|."""
    image = sp.coo_array(_cleaned(sp.csr_array(basis.conj().T @ sp.csr_array(basis.conj()[swap]))))
    partner, source = image.coords  # conjugation takes element `source` to `phase` times element `partner`
    phase = image.data
    own = partner == source
    first = source < partner
    root = np.sqrt(phase[own].astype(complex))
    a, b, p = source[first], partner[first], phase[first]
    half = np.sqrt(0.5)
    column = np.arange(len(a)) + len(root)
    rows = np.concatenate([source[own], a, b, a, b])
    columns = np.concatenate([np.arange(len(root)), column, column, column + len(a), column + len(a)])
    values = np.concatenate([root, np.full(len(a), half), half * p, np.full(len(a), 1j * half), -1j * half * p])
    mixing = sp.csr_array(sp.coo_array((values, (rows, columns)), shape=(basis.shape[1],) * 2))
    return sp.csr_array(basis @ mixing)


def _cleaned(matrix: sp.csr_array) -> sp.csr_array:
    """Return the matrix without entries that are rounding errors of its largest ones."""
    matrix.sum_duplicates()
    if matrix.nnz:
        matrix.data[np.abs(matrix.data) < 4e-16 * np.abs(matrix.data).max()] = 0
        matrix.eliminate_zeros()
    return matrix
