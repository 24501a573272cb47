"""Layers carried over a train in charge sectors; the gate of a bond is never formed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.linalg.lapack import dgeqrf, dorgqr, zgeqrf, zungqr

from .charges_kernels import compiled, reordered
from .charges_layout import BondTable, Outer, SiteTable, Sizes, bond_table, site_table
from .charges_plan import ChargePass, SiteMap, Unitary
from .charges_train import ChargeFrame, Parts

__all__ = ["Carrier", "orthonormal"]


class Carrier:
    """A train in parts, by the right bond left of the centre and by the left bond right of it, and passes over it.

    ``sizes`` has one entry per bond, the ends included; ``centre`` is an end of the train, stored by its inner bond.
    """

    def __init__(self, frame: ChargeFrame, sizes: Sequence[Sizes], parts: list[Parts], centre: int) -> None:
        self.frame, self.sizes, self.parts, self.centre = frame, list(sizes), parts, centre
        self.weights: np.ndarray | None = None
        self.iterations = 1

    def table(self, k: int) -> SiteTable:
        """Return the table of site k."""
        return site_table(self.sizes[k], self.sizes[k + 1], self.frame.model.dims[k], self.frame.model.real)

    def bond(self, k: int) -> BondTable:
        """Return the table of the bond between the sites k and k + 1."""
        d = self.frame.model.dims
        return bond_table(*self.sizes[k : k + 3], d[k], d[k + 1], self.frame.model.real)

    def run(self, item: ChargePass) -> None:
        """Carry out one pass from the end where the centre is to the other one."""
        L = len(self.parts)
        forward = self.centre == 0
        done = [False] * L
        sites = range(L - 1) if forward else range(L - 1, 0, -1)
        for k in sites:
            other = k + 1 if forward else k - 1
            b = min(k, other)
            unitary = item.unitaries[b]
            for s in (k, other) if unitary is not None else (k,):
                if not done[s]:
                    self._map(s, item.maps[s], by_left=(s != k) == forward)
                    done[s] = True
            if unitary is None:
                self._move(k, other)
            else:
                self._update(b, unitary, forward)
            table = self.table(other)
            last = other in (0, L - 1)
            if not last:
                turn = self.frame.to_right if forward else self.frame.to_left
                self.parts[other] = turn(self.parts[other], table)
        self.centre = L - 1 if forward else 0
        if not done[self.centre]:
            self._map(self.centre, item.maps[self.centre], by_left=forward)

    # -- maps of sites ------------------------------------------------------------------------------------------------

    def _map(self, k: int, maps: SiteMap | None, *, by_left: bool) -> None:
        if maps is None:
            return
        table, frame = self.table(k), self.frame
        if by_left:
            blocks = frame.spread_left(self.parts[k], table)
            moved = [_mapped(x.T, c, q, maps, -1).T for q, (x, c) in enumerate(zip(blocks, table.columns, strict=True))]
            zero = frame.zero.parts_of_vectors(moved[0].T, table.columns[0], table.left[: frame.heads])
            self.parts[k] = [*(z.T for z in zero), *moved[1:]]
            return
        blocks = frame.spread_right(self.parts[k], table)
        moved = [_mapped(x, r, q, maps, 1) for q, (x, r) in enumerate(zip(blocks, table.rows, strict=True))]
        zero = frame.zero.parts_of_vectors(moved[0], table.rows[0], table.right[: frame.heads])
        self.parts[k] = [*zero, *moved[1:]]

    # -- moves and updates --------------------------------------------------------------------------------------------

    def _move(self, k: int, other: int) -> None:
        """Carry the centre from site k to its neighbour without a gate."""
        mine, yours = self.parts[k], self.parts[other]
        for p, x in enumerate(mine):
            if other > k:
                mine[p], c = orthonormal_and_rest(x)
                yours[p] = c @ yours[p]
            else:
                q, c = orthonormal_and_rest(x.conj().T)
                mine[p] = q.conj().T
                yours[p] = yours[p] @ c.conj().T

    def _update(self, b: int, unitary: Unitary, forward: bool) -> None:
        table, frame = self.bond(b), self.frame
        left, right = self.parts[b], self.parts[b + 1]
        heads = frame.heads
        products = [x @ y for x, y in zip(left, right, strict=True)]
        flat = np.empty(table.starts[-1], dtype=float if heads == 2 else complex)
        views = [
            flat[table.starts[q] : table.starts[q + 1]].reshape(h, c.size)
            for q, (h, c) in enumerate(zip(table.heights, table.columns, strict=True))
        ]
        frame.zero.block(products[:heads], table.rows[0], table.columns[0], views[0])
        for view, x in zip(views[1:], products[heads:], strict=True):
            view[:] = x
        x = reordered(flat, table.scatter)
        compiled(np.iscomplexobj(x))[1](x, table.blocks, *unitary)
        whole = 0.0
        if self.weights is not None:
            square = x.real**2 + x.imag**2
            whole = float(2 * square.sum() - square[: table.single].sum())
        flat = reordered(x, table.gather)
        blocks = [
            flat[table.starts[q] : table.starts[q + 1]].reshape(h, c.size)
            for q, (h, c) in enumerate(zip(table.heights, table.columns, strict=True))
        ]
        theta = [*frame.zero.parts_of_block(blocks[0], table.rows[0], table.columns[0]), *blocks[1:]]
        lost = kept = 0.0
        for p, t in enumerate(theta):
            if forward:
                left[p], right[p] = split_right(t, right[p], self.iterations)
            else:
                left[p], right[p] = split_left(t, left[p], self.iterations)
            if self.weights is not None:
                weight = 1.0 if p < heads else 2.0
                lost += weight * _square(t - left[p] @ right[p])
                kept += weight * _square(t)
        if self.weights is not None and whole > 0:
            outside = whole - kept  # sectors that the middle bond does not have
            lost += outside if outside > 1e-12 * whole else 0.0
            self.weights[b] = max(self.weights[b], lost / whole)


def orthonormal(x: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the columns (Householder)."""
    return _finished(*_householder(x), min(x.shape))


def orthonormal_and_rest(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return q with orthonormal columns and the upper triangular c of x = q c."""
    packed, tau = _householder(x)
    k = min(x.shape)
    return _finished(packed, tau, k), packed[:k] * _upper(k, x.shape[1])


# Sectors are small: LAPACK itself takes a few microseconds, the checks and copies of numpy.linalg.qr five times that.
def _householder(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not x.size:
        return np.zeros(x.shape, dtype=x.dtype), np.zeros(0, dtype=x.dtype)
    factorise = zgeqrf if x.dtype.kind == "c" else dgeqrf
    packed, tau, _, _ = factorise(x, lwork=64 * x.shape[1])
    return packed, tau


def _finished(packed: np.ndarray, tau: np.ndarray, k: int) -> np.ndarray:
    if not packed.size:
        return np.zeros((len(packed), k), dtype=packed.dtype)
    form = zungqr if packed.dtype.kind == "c" else dorgqr
    return np.asarray(form(packed[:, :k], tau, lwork=64 * k)[0])


@lru_cache(maxsize=4096)
def _upper(k: int, n: int) -> np.ndarray:
    return np.triu(np.ones((k, n)))


def split_right(theta: np.ndarray, sketch: np.ndarray, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Return q (orthonormal columns) and w with theta ~ q w, the range found from the rows of the sketch."""
    q = orthonormal(theta @ sketch.conj().T)
    for _ in range(iterations - 1):
        q = orthonormal(theta @ orthonormal((q.conj().T @ theta).conj().T))
    return q, q.conj().T @ theta


def split_left(theta: np.ndarray, sketch: np.ndarray, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Return w and p (orthonormal rows) with theta ~ w p, the range found from the columns of the sketch."""
    p = orthonormal(theta.conj().T @ sketch)
    for _ in range(iterations - 1):
        p = orthonormal(theta.conj().T @ orthonormal(theta @ p))
    return theta @ p, p.conj().T


def _mapped(x: np.ndarray, outer: Outer, charge: int, maps: SiteMap, direction: int) -> np.ndarray:
    """Apply the maps of a site to the outer legs (k, index) of one sector."""
    out = np.empty_like(x)
    ends = [*sorted(outer.starts.values())[1:], outer.size]
    for (c, start), stop in zip(sorted(outer.starts.items(), key=lambda item: item[1]), ends, strict=True):
        q = direction * (charge - c)
        k = maps[abs(q)] if q >= 0 else maps[abs(q)].conj()
        out[start:stop] = (k @ x[start:stop].reshape(len(k), -1)).reshape(stop - start, -1)
    return out


def _square(x: np.ndarray) -> float:
    return float(np.vdot(x, x).real)
