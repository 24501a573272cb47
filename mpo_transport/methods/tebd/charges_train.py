"""Real trains in the Hermitian basis and the same in charge sectors.

Between two runs of passes the state is an ordinary real train in the Hermitian basis, ordered such that the charges can
be read off: first the Hermitian vectors of charge 0, then for every Q > 0 the real and the imaginary parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import scipy.sparse as sp

from ...superoperator.basis import hermitian_basis
from .charges_kernels import reordered
from .charges_layout import Outer, SiteTable, Sizes, Zero, charges_of, multiplicity, total
from .charges_model import ChargeModel

__all__ = ["ChargeFrame", "Parts"]

Parts = list[np.ndarray]
# Deviation from whole charges by which a train counts as one in charge sectors.
WHOLE = 1e-6


@dataclass
class ChargeFrame:
    """How a train in sectors of a weak U(1) charge is written, for the generator of a :class:`ChargeModel`.

    The *parts* of a site are matrices, one per sector of its left bond (m x columns) or right bond (rows x m): two of
    charge 0 (symmetric, antisymmetric) if everything is real, otherwise one, then those of charge 1, 2, ...
    """

    model: ChargeModel
    zero: Zero = field(init=False)
    _change: list[sp.csr_array] = field(init=False)

    def __post_init__(self) -> None:
        self.zero = Zero(self.model.real)
        self._change = [
            _basis_change(d, o, t) for d, o, t in zip(self.model.dims, self.model.order, self.model.angles, strict=True)
        ]

    # -- entries and parts --------------------------------------------------------------------------------------------

    @property
    def heads(self) -> int:
        """Number of parts of the sector 0."""
        return 2 if self.model.real else 1

    def widths(self, sizes: Sizes) -> list[int]:
        """Return the multiplicities of the parts of a bond."""
        return [*sizes[: self.heads], *sizes[2:]]

    def sizes(self, widths: Sequence[int]) -> Sizes:
        head = list(widths[: self.heads])
        tail = list(widths[self.heads :])
        while tail and not tail[-1]:
            tail.pop()
        return (*head, *([0] * (2 - len(head))), *tail)

    def to_right(self, parts: Parts, table: SiteTable) -> Parts:
        """Return a site stored by its left bond as one stored by its right bond."""
        flat = np.concatenate([x.ravel() for x in self.spread_left(parts, table)])
        flat = reordered(flat, table.to_right)
        blocks = [
            flat[table.by_right[q] : table.by_right[q + 1]].reshape(rows.size, multiplicity(table.right, q))
            for q, rows in enumerate(table.rows)
        ]
        zero = self.zero.parts_of_vectors(blocks[0], table.rows[0], table.right[: self.heads])
        return [*zero, *blocks[1:]]

    def spread_left(self, parts: Parts, table: SiteTable) -> Parts:
        """Return the entries by sector of a site stored by its left bond, (m, columns) each."""
        o = self.heads
        head = self.zero.vectors([x.T for x in parts[:o]], table.columns[0]).T
        return [head, *parts[o:]]

    def spread_right(self, parts: Parts, table: SiteTable) -> Parts:
        o = self.heads
        return [self.zero.vectors(parts[:o], table.rows[0]), *parts[o:]]

    def to_left(self, parts: Parts, table: SiteTable) -> Parts:
        """Return a site stored by its right bond as one stored by its left bond."""
        flat = np.concatenate([x.ravel() for x in self.spread_right(parts, table)])
        flat = reordered(flat, table.to_left)
        blocks = [
            flat[table.by_left[q] : table.by_left[q + 1]].reshape(multiplicity(table.left, q), columns.size)
            for q, columns in enumerate(table.columns)
        ]
        zero = self.zero.parts_of_vectors(blocks[0].T, table.columns[0], table.left[: self.heads])
        return [*(x.T for x in zero), *blocks[1:]]

    # -- dense trains -------------------------------------------------------------------------------------------------

    def dense(self, parts: Parts, table: SiteTable, site: int, *, by_left: bool) -> np.ndarray:
        """Return a site as a real tensor in the Hermitian basis."""
        blocks = self.spread_left(parts, table) if by_left else self.spread_right(parts, table)
        left, right, d = table.left, table.right, table.d
        at_l, at_r = _positions(left), _positions(right)
        x = np.zeros((total(left), d * d, total(right)), dtype=complex)
        for a in charges_of(left):
            for b in charges_of(right):
                if abs(b - a) >= d or (a < 0 if by_left else b < 0):
                    continue
                ml, mr, nk = multiplicity(left, a), multiplicity(right, b), d - abs(b - a)
                if by_left:
                    start = table.columns[a].starts[b]
                    block = blocks[a][:, start : start + nk * mr].reshape(ml, nk, mr)
                else:
                    start = table.rows[b].starts[a]
                    block = blocks[b][start : start + nk * ml].reshape(nk, ml, mr).transpose(1, 0, 2)
                l, r = slice(at_l[a], at_l[a] + ml), slice(at_r[b], at_r[b] + mr)
                x[l, _local(b - a, d), r] = block
                if a != 0 or b != 0:
                    image = block.conj()
                    if self.model.real:
                        image = block * _parity(left, a)[:, None, None] * _parity(right, b)
                    l, r = slice(at_l[-a], at_l[-a] + ml), slice(at_r[-b], at_r[-b] + mr)
                    x[l, _local(a - b, d), r] = image
        return self._real(x, left, right, site)

    def rotation_to(self, other: ChargeFrame, site: int) -> np.ndarray:
        """Return the real matrix between the Hermitian bases of a site in two gauges."""
        change = self._change[site].conj().T @ other._change[site]
        return np.ascontiguousarray(change.toarray().real)

    def _real(self, x: np.ndarray, left: Sizes, right: Sizes, site: int) -> np.ndarray:
        l, n, r = x.shape
        y = (_leg(left, self.model.real) @ x.reshape(l, n * r)).reshape(l, n, r)
        y = (self._change[site].T @ y.transpose(1, 0, 2).reshape(n, l * r)).reshape(n * l, r)
        y = (_leg(right, self.model.real).conj() @ y.T).reshape(r, n, l)
        return np.ascontiguousarray(y.real.transpose(2, 1, 0))

    def _entries(self, tensor: np.ndarray, left: Sizes, right: Sizes, site: int) -> np.ndarray:
        """Invert :meth:`_real`."""
        l, n, r = tensor.shape
        y = (_leg(left, self.model.real).conj().T @ tensor.reshape(l, n * r)).reshape(l, n, r)
        y = (self._change[site].conj() @ y.transpose(1, 0, 2).reshape(n, l * r)).reshape(n * l, r)
        y = (_leg(right, self.model.real).T @ y.T).reshape(r, n, l)
        return y.transpose(2, 1, 0)

    def parts(self, tensor: np.ndarray, table: SiteTable, site: int, *, by_left: bool) -> Parts:
        """Return a real tensor, ordered by charges, in parts."""
        left, right, d = table.left, table.right, table.d
        x = self._entries(tensor, left, right, site)
        at_l, at_r = _positions(left), _positions(right)
        outer = table.columns if by_left else table.rows
        blocks: Parts = []
        for q, legs in enumerate(outer):
            m = multiplicity(left if by_left else right, q)
            out = np.zeros((m, legs.size), dtype=complex) if by_left else np.zeros((legs.size, m), dtype=complex)
            for c, start in legs.starts.items():
                a, b = (q, c) if by_left else (c, q)
                ml, mr, nk = multiplicity(left, a), multiplicity(right, b), d - abs(b - a)
                block = x[at_l[a] : at_l[a] + ml, :, at_r[b] : at_r[b] + mr][:, _local(b - a, d)]
                if by_left:
                    out[:, start : start + nk * mr] = block.reshape(ml, nk * mr)
                else:
                    out[start : start + nk * ml] = block.transpose(1, 0, 2).reshape(nk * ml, mr)
            blocks.append(out.real.copy() if self.model.real else out)
        o = self.heads
        if by_left:
            zero = [z.T for z in self.zero.parts_of_vectors(blocks[0].T, table.columns[0], left[:o])]
        else:
            zero = self.zero.parts_of_vectors(blocks[0], table.rows[0], right[:o])
        return [*zero, *blocks[1:]]

    # -- from trains without charges ----------------------------------------------------------------------------------

    def site_entries(self, tensor: np.ndarray, carry: np.ndarray, site: int) -> np.ndarray:
        """Return carry x tensor, (signed index, n n', old index), with the local leg in the basis |n><n'|."""
        l, n, r = tensor.shape
        y = np.asarray(self._change[site].conj() @ tensor.transpose(1, 0, 2).reshape(n, l * r)).reshape(n, l, r)
        return np.tensordot(carry, y.transpose(1, 0, 2), axes=(1, 0))

    def rows_of(self, entries: np.ndarray, left: Sizes, outers: Sequence[Outer], site: int) -> Parts:
        """Return the entries with (Q_l, n n') gathered by sector, (outer indices, old index) each."""
        d, at = self.model.dims[site], _positions(left)
        out = []
        for q, outer in enumerate(outers):
            x = np.zeros((outer.size, entries.shape[2]), dtype=complex)
            for c, start in outer.starts.items():
                m, nk = multiplicity(left, c), d - abs(q - c)
                block = entries[at[c] : at[c] + m][:, _local(q - c, d)]
                x[start : start + nk * m] = block.transpose(1, 0, 2).reshape(nk * m, -1)
            out.append(x)
        return out

    def signed(self, carries: Parts, sizes: Sizes) -> np.ndarray:
        """Return rows of the parts of a bond as rows of its signed basis."""
        head = np.concatenate(carries[: self.heads]).astype(complex)
        rows = [head]
        for q in range(1, len(sizes) - 1):
            x = carries[self.heads + q - 1]
            rows += [x, x.conj()]  # the old basis is Hermitian
        return np.concatenate(rows)

    # -- charges of bonds ---------------------------------------------------------------------------------------------

    def bonds(self, tensors: Sequence[np.ndarray], centre: int) -> list[Sizes] | None:
        """Return the sizes of all bonds, entry k left of site k, of a canonical train; None if it has no charges."""
        L = len(tensors)
        found: list[Sizes] = [(1, 0)] * (L + 1)
        for k in range(L - 1, centre, -1):
            sizes = self._read(tensors[k], found[k + 1], k, left=True)
            if sizes is None:
                return None
            found[k] = sizes
        for k in range(centre):
            sizes = self._read(tensors[k], found[k], k, left=False)
            if sizes is None:
                return None
            found[k + 1] = sizes
        return found

    def _read(self, tensor: np.ndarray, inner: Sizes, site: int, *, left: bool) -> Sizes | None:
        """Return the sizes of the left (else right) bond of a site from the charges of its orthonormal vectors."""
        d = self.model.dims[site]
        count, n = tensor.shape[0 if left else 2], d * d
        leg = _leg(inner, self.model.real)
        if leg.shape[0] != tensor.shape[2 if left else 0]:
            return None
        # inner leg first, the one to be read last
        x = tensor.transpose(2, 1, 0) if left else tensor
        y = np.asarray((leg.T if left else leg.conj().T) @ x.reshape(len(x), -1))
        y = np.asarray(self._change[site].conj() @ y.reshape(-1, n, count).transpose(1, 0, 2).reshape(n, -1))
        flat = y.reshape(n, -1, count)
        up, down = np.divmod(np.arange(n), d)
        signed = _signed(inner)
        charge = signed + (down - up)[:, None] if left else signed + (up - down)[:, None]
        vectors = flat.reshape(-1, count)
        rotation = (vectors.conj().T @ (charge.ravel()[:, None] * vectors)).imag
        mirror = flat[down * d + up][:, _mirrored(inner)]
        if self.model.real:
            signs = np.concatenate([_parity(inner, int(c)) for c in _order(inner)]) if len(signed) else np.zeros(0)
            mirror = mirror * signs[:, None]
        parity = np.einsum("sli,sli->i", flat.conj(), mirror).real
        return self._recognised(rotation, parity)

    def _recognised(self, rotation: np.ndarray, parity: np.ndarray) -> Sizes | None:
        size = np.abs(rotation).max(axis=1, initial=0.0)
        neutral = int(np.count_nonzero(size < 0.5))
        charges = np.rint(size[neutral:]).astype(int)
        if len(charges) % 2:
            return None
        heads = [neutral]
        if self.model.real:
            heads = [int(np.count_nonzero(parity[:neutral] > 0)), int(np.count_nonzero(parity[:neutral] <= 0))]
        top = int(charges.max(initial=0))
        sizes = self.sizes([*heads, *(int(np.count_nonzero(charges == q)) // 2 for q in range(1, top + 1))])
        signed = _signed(sizes).astype(float)
        leg = _leg(sizes, self.model.real).toarray()
        if leg.shape[0] != len(rotation):
            return None
        expected = np.abs((leg * signed) @ leg.conj().T)
        return sizes if np.abs(np.abs(rotation) - expected).max(initial=0.0) < WHOLE else None


def _order(sizes: Sizes) -> list[int]:
    """Return the charges in the order of the signed basis of a bond: 0, 1, -1, 2, -2, ..."""
    return [0, *(s * q for q in range(1, len(sizes) - 1) for s in (1, -1))]


@lru_cache(maxsize=2048)
def _positions(sizes: Sizes) -> dict[int, int]:
    out, at = {}, 0
    for c in _order(sizes):
        out[c] = at
        at += multiplicity(sizes, c)
    return out


def _signed(sizes: Sizes) -> np.ndarray:
    return np.concatenate([np.full(multiplicity(sizes, c), c) for c in _order(sizes)])


def _mirrored(sizes: Sizes) -> np.ndarray:
    at = _positions(sizes)
    return np.concatenate([at[-c] + np.arange(multiplicity(sizes, c)) for c in _order(sizes)])


def _parity(sizes: Sizes, charge: int) -> np.ndarray:
    """Return the sign of every vector of a charge under transposition."""
    out = np.ones(multiplicity(sizes, charge))
    if charge == 0:
        out[sizes[0] :] = -1.0
    return out


@lru_cache(maxsize=2048)
def _leg(sizes: Sizes, real: bool) -> sp.csr_array:
    """Return U: Hermitian vectors (0+, 0-, Re 1, Im 1, ...) from the signed ones, R_real = U R_signed."""
    n = total(sizes)
    u = sp.lil_array((n, n), dtype=complex)
    for i in range(sizes[0] + sizes[1]):
        u[i, i] = 1j if real and i >= sizes[0] else 1.0
    at = _positions(sizes)
    for q in range(1, len(sizes) - 1):
        m = multiplicity(sizes, q)
        for i in range(m):
            up, down = at[q] + i, at[-q] + i
            u[up, up] = u[up, down] = np.sqrt(0.5)
            u[down, up], u[down, down] = 1j * np.sqrt(0.5), -1j * np.sqrt(0.5)
    return u.tocsr()


def _local(q: int, d: int) -> np.ndarray:
    """Return the positions n d + n' of |n><n'| with n - n' = q, ascending."""
    k = np.arange(d - abs(q))
    return (k + max(q, 0)) * d + k + max(-q, 0)


def _basis_change(d: int, order: np.ndarray, angle: float) -> sp.csr_array:
    """Return C, |n><n'| = sum_b C[nn', b] B_b, in the gauge of the model, (d^2, d^2)."""
    basis = hermitian_basis(d)[:, order][:, :, order].reshape(d * d, d * d)
    n, m = np.divmod(np.arange(d * d), d)
    return sp.csr_array(np.exp(1j * angle * (n - m))[:, None] * basis.conj().T)
