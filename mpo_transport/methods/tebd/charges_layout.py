"""Trains in blocks of a weak U(1) charge: how entries are ordered, and the tables between the orders.

The one-site basis is |n><n'| with charge q = n - n' and k = min(n, n'); a bond index has the charge Q of everything to
its left, and entries with Q_right = Q_left + q alone are not zero.  Hermiticity turns the basis of -Q into that of Q,

    T[-Q_l, -q, -Q_r] = conj T[Q_l, q, Q_r],

so that only Q >= 0 is stored.  The basis of Q = 0 consists of Hermitian operators: their tensors are real vectors over
(sqrt2 Re, sqrt2 Im) of the entries with positive outer charge and the entries with outer charge 0.  If the generator is
real in the basis |n><n'| all entries are real; the vectors of Q = 0 then are symmetric or antisymmetric under
transposition, two sectors that do not mix.

A bond is described by its *sizes* (m_0+, m_0-, m_1, m_2, ...), where m_0- = 0 in the complex case; it stands for a real
bond dimension m_0+ + m_0- + 2 (m_1 + m_2 + ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["BondTable", "SiteTable", "Sizes", "Zero", "bond_table", "charges_of", "multiplicity", "site_table", "total"]

Sizes = tuple[int, ...]
ROOT = np.sqrt(2.0)


def multiplicity(sizes: Sizes, charge: int) -> int:
    """Return the number of basis vectors of a charge.

    >>> [multiplicity((2, 1, 4), q) for q in (0, 1, -1, 2)]
    [3, 4, 4, 0]
    """
    q = abs(charge)
    if q == 0:
        return sizes[0] + sizes[1]
    return sizes[q + 1] if q + 1 < len(sizes) else 0


def total(sizes: Sizes) -> int:
    """Return the real bond dimension."""
    return sizes[0] + sizes[1] + 2 * sum(sizes[2:])


def charges_of(sizes: Sizes) -> list[int]:
    """Return the charges of a bond: all that are not empty, of both signs, ascending."""
    top = len(sizes) - 2
    return [q for q in range(-top, top + 1) if multiplicity(sizes, q)]


@dataclass(frozen=True, eq=False)
class Outer:
    """The outer legs of one sector: (outer charge, k, index), ordered by charge, the index fastest.

    For the sector Q = 0 the charges are ordered P (> 0), Z (0), N (the mirror image of P); ``starts`` maps an outer
    charge to its first entry and ``positive`` and ``zero`` are the sizes of P and Z.
    """

    starts: dict[int, int]
    size: int
    positive: int
    zero: int
    half: tuple[np.ndarray, np.ndarray]


def _outer(sizes: Sizes, charge: int, d: int) -> Outer:
    charges = [c for c in charges_of(sizes) if abs(c - charge) < d]
    if charge == 0:
        up = [c for c in charges if c > 0]
        charges = [*up, *(c for c in charges if c == 0), *(-c for c in up)]
    starts, at, positive, zero = {}, 0, 0, 0
    for c in charges:
        starts[c] = at
        width = (d - abs(c - charge)) * multiplicity(sizes, c)
        at += width
        if c > 0:
            positive += width
        if c == 0:
            zero += width
    even = np.tile(np.arange(sizes[0] + sizes[1]) < sizes[0], d if charge == 0 and zero else 0)
    where = np.arange(positive, positive + len(even))
    return Outer(starts, at, positive, zero, (where[even], where[~even]))


class Zero:
    """The sector Q = 0: between real parts and entries.

    ``real``: two parts, symmetric and antisymmetric, with rows (P, Z+) and (P, Z-); otherwise one part with rows
    (Re P, Im P, Z).
    """

    def __init__(self, real: bool) -> None:
        self.real = real

    def vectors(self, parts: Sequence[np.ndarray], outer: Outer) -> np.ndarray:
        """Return the entries (P, Z, N) x m of the columns of the parts."""
        p = outer.positive
        widths = [x.shape[1] for x in parts]
        out = np.zeros((outer.size, sum(widths)), dtype=float if self.real else complex)
        if not self.real:
            (x,) = parts
            out[:p] = (x[:p] + 1j * x[p : 2 * p]) / ROOT
            out[outer.half[0]] = x[2 * p :]
            out[p + outer.zero :] = out[:p].conj()
            return out
        for sign, x, where, columns in zip((1, -1), parts, outer.half, _columns(widths), strict=True):
            out[:p, columns] = x[:p] / ROOT
            out[where, columns] = x[p:]
            out[p + outer.zero :, columns] = sign * out[:p, columns]
        return out

    def parts_of_vectors(self, entries: np.ndarray, outer: Outer, widths: Sequence[int]) -> list[np.ndarray]:
        """Invert :meth:`vectors`."""
        p = outer.positive
        if not self.real:
            head = entries[:p] * ROOT
            return [np.concatenate([head.real, head.imag, entries[outer.half[0]].real])]
        return [
            np.concatenate([entries[:p, c] * ROOT, entries[where, c]])
            for where, c in zip(outer.half, _columns(widths), strict=True)
        ]

    def block(self, parts: Sequence[np.ndarray], rows: Outer, columns: Outer, out: np.ndarray) -> None:
        """Write the entries (P, Z) x (P, Z, N) of a two-site block, given by its parts, to ``out``."""
        p, c = rows.positive, columns.positive
        n = slice(c + columns.zero, None)
        if not self.real:
            (x,) = parts
            z = columns.half[0]
            up, low = x[:p], x[p : 2 * p]
            rr, ri, ir, ii = up[:, :c], up[:, c : 2 * c], low[:, :c], low[:, c : 2 * c]
            out[:p, :c] = 0.5 * (rr - ii) + 0.5j * (ri + ir)
            out[:p, n] = 0.5 * (rr + ii) + 0.5j * (ir - ri)
            out[:p, z] = (up[:, 2 * c :] + 1j * low[:, 2 * c :]) / ROOT
            zero = x[2 * p :]
            out[p:, :c] = (zero[:, :c] + 1j * zero[:, c : 2 * c]) / ROOT
            out[p:, n] = out[p:, :c].conj()
            out[p:, z] = zero[:, 2 * c :]
            return
        even, odd = parts
        out[:p, :c] = 0.5 * (even[:p, :c] + odd[:p, :c])
        out[:p, n] = 0.5 * (even[:p, :c] - odd[:p, :c])
        out[p:, c : c + columns.zero] = 0.0
        for sign, x, z, r in zip((1, -1), parts, columns.half, rows.half, strict=True):
            out[:p, z] = x[:p, c:] / ROOT
            out[r, :c] = x[p:, :c] / ROOT
            out[r, n] = sign * x[p:, :c] / ROOT
            out[np.ix_(r, z)] = x[p:, c:]

    def parts_of_block(self, entries: np.ndarray, rows: Outer, columns: Outer) -> list[np.ndarray]:
        """Invert :meth:`block`."""
        p, c = rows.positive, columns.positive
        pp, pn = entries[:p, :c], entries[:p, c + columns.zero :]
        if not self.real:
            z = columns.half[0]
            plus, minus = pp + pn, pp - pn
            pz, zp, zz = ROOT * entries[:p, z], ROOT * entries[p:, :c], entries[p:][:, z]
            return [
                np.block([
                    [plus.real, minus.imag, pz.real],
                    [plus.imag, -minus.real, pz.imag],
                    [zp.real, zp.imag, zz.real],
                ])
            ]  # fmt: skip
        out = []
        for sign, z, r in zip((1, -1), columns.half, rows.half, strict=True):
            x = np.empty((p + len(r), c + len(z)))
            x[:p, :c] = pp + sign * pn
            x[:p, c:] = ROOT * entries[:p, z]
            x[p:, :c] = ROOT * entries[r, :c]
            x[p:, c:] = entries[np.ix_(r, z)]
            out.append(x)
        return out

    def heights(self, outer: Outer) -> list[int]:
        """Return the number of rows of the parts."""
        if not self.real:
            return [2 * outer.positive + outer.zero]
        return [outer.positive + len(h) for h in outer.half]


def _columns(widths: Sequence[int]) -> list[slice]:
    return [slice(0, widths[0]), slice(widths[0], widths[0] + widths[1])]


class SiteTable:
    """The entries of one site, by its left bond, (Q_l, index) x (Q_r, k, index), and by its right bond,
    (Q_l, k, index) x (Q_r, index).

    ``rows[Q]`` are the outer legs of the sector Q of the right bond, ``columns[Q]`` those of the left bond.
    """

    def __init__(self, left: Sizes, right: Sizes, d: int, real: bool) -> None:
        self.left, self.right, self.d, self.real = left, right, d, real
        self.rows = [_outer(left, q, d) for q in range(len(right) - 1)]
        self.columns = [_outer(right, q, d) for q in range(len(left) - 1)]
        self.by_left = _starts([multiplicity(left, q) * c.size for q, c in enumerate(self.columns)])
        self.by_right = _starts([multiplicity(right, q) * r.size for q, r in enumerate(self.rows)])
        self.to_right, self.to_left = self._tables()

    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where the entries of one order lie in the other; beyond its length: to be flipped (see `flipped`)."""
        n_left, n_right = self.by_left[-1], self.by_right[-1]
        to_right = np.zeros(n_right, dtype=np.int64)
        to_left = np.zeros(n_left, dtype=np.int64)
        minus_left = np.arange(self.left[0] + self.left[1]) >= self.left[0]
        minus_right = np.arange(self.right[0] + self.right[1]) >= self.right[0]
        for a in charges_of(self.left):
            for b in charges_of(self.right):
                q = b - a
                if abs(q) >= self.d or (a < 0 and b < 0):
                    continue
                ml, mr, nk = multiplicity(self.left, a), multiplicity(self.right, b), self.d - abs(q)
                alpha, k, beta = np.ogrid[:ml, :nk, :mr]
                sign = np.zeros((ml, nk, mr), dtype=bool)  # whether the mirror image has the other sign
                if self.real:
                    if a == 0:
                        sign ^= minus_left[:, None, None]
                    if b == 0:
                        sign ^= minus_right[None, None, :]
                else:
                    sign[:] = True
                # as seen from either bond: itself if the charge is >= 0 there, else its mirror image
                flip_l, flip_r = a < 0, b < 0
                ca, cb = (-a, -b) if flip_l else (a, b)
                column = self.columns[ca].starts[cb] + k * mr + beta
                at_left = self.by_left[ca] + alpha * self.columns[ca].size + column
                ca, cb = (-a, -b) if flip_r else (a, b)
                row = self.rows[cb].starts[ca] + k * ml + alpha
                at_right = self.by_right[cb] + row * mr + beta
                other = np.where(sign, 1, 0) if flip_l != flip_r else np.zeros((1, 1, 1), dtype=int)
                to_right[at_right] = at_left + other * n_left
                to_left[at_left] = at_right + other * n_right
        return to_right, to_left


class BondTable:
    """The entries of a two-site block, by sector of the middle bond and by gate.

    By gate: for every change DQ = Q_r - Q_l >= 0 and every N = n_1 + n_2 (then N' = N - DQ) one array
    [n_1, n_1', pair of outer indices], to which exp(-iHt) acts on n_1 and its conjugate on n_1'.

    Attributes
    ----------
    scatter, gather
        Tables to the order by gate and back (beyond the length: flipped; last of `scatter`: zero).
    blocks
        One row (start, n, n', pairs, N, N') per array.
    """

    def __init__(self, left: SiteTable, right: SiteTable) -> None:
        self.left, self.right = left, right
        self.rows, self.columns = left.rows, right.columns
        # the rows of sector 0 are P and Z only: N is their mirror image
        self.heights = [r.size if q else r.positive + r.zero for q, r in enumerate(self.rows)]
        self.starts = _starts([h * c.size for h, c in zip(self.heights, self.columns, strict=True)])
        self._place_pairs()
        self.scatter, self.gather = self._tables()

    def _place_pairs(self) -> None:
        a, b = self.left.left, self.right.right
        d1, d2 = self.left.d, self.right.d
        self.pairs: dict[tuple[int, int], tuple[int, int]] = {}  # (Q_l, Q_r): start among the pairs, width
        widths: dict[int, int] = {}
        for ql in charges_of(a):
            for qr in charges_of(b):
                dq = qr - ql
                if 0 <= dq <= d1 + d2 - 2:
                    start = widths.get(dq, 0)
                    size = multiplicity(a, ql) * multiplicity(b, qr)
                    self.pairs[ql, qr] = start, size
                    widths[dq] = start + size
        blocks, at = [], 0
        top = d1 + d2 - 1
        self.place = np.full((max(widths, default=0) + 1, top), -1, dtype=np.int64)
        self.widths = np.array([widths.get(q, 0) for q in range(len(self.place))], dtype=np.int64)
        for dq in sorted(widths):
            for N in range(dq, top):
                n, m = span(N, d1, d2), span(N - dq, d1, d2)
                size = (n[1] - n[0]) * (m[1] - m[0]) * widths[dq]
                self.place[dq, N] = at
                blocks.append((at, n[1] - n[0], m[1] - m[0], widths[dq], N, N - dq))
                at += size
        self.size = at
        self.blocks = np.array(blocks, dtype=np.int64).reshape(-1, 6)
        self.single = int(sum(b[1] * b[2] * b[3] for b in blocks if b[4] == b[5]))  # entries with DQ = 0

    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        n = int(self.starts[-1])
        scatter = np.full(self.size, 2 * n, dtype=np.int64)
        gather = np.full(n, 2 * self.size, dtype=np.int64)
        real = self.left.real
        low = np.array([span(N, self.left.d, self.right.d)[0] for N in range(self.left.d + self.right.d - 1)])
        length = np.array([np.ptp(span(N, self.left.d, self.right.d)) for N in range(self.left.d + self.right.d - 1)])
        for Q, (rows, columns) in enumerate(zip(self.rows, self.columns, strict=True)):
            if not self.heights[Q] or not columns.size:
                continue
            ql, k1, alpha, minus_l = _listed(rows, Q, self.left.left, self.left.d, self.heights[Q])
            qr, k2, beta, minus_r = _listed(columns, Q, self.right.right, self.right.d, columns.size)
            q1, q2 = (Q - ql)[:, None], (qr - Q)[None, :]
            change = qr[None, :] - ql[:, None]
            flip = change < 0
            # mirror image: all charges change sign, n and n' are exchanged
            n1, m1 = k1[:, None] + np.maximum(q1, 0), k1[:, None] + np.maximum(-q1, 0)
            n2, m2 = k2[None, :] + np.maximum(q2, 0), k2[None, :] + np.maximum(-q2, 0)
            start = np.zeros((2, len(ql), len(qr)), dtype=np.int64)
            for (a, b), (at, _) in self.pairs.items():
                for mirrored in (0, 1):
                    x, y = (-a, -b) if mirrored else (a, b)
                    here = rows.starts.get(x), columns.starts.get(y)
                    if here[0] is None or here[1] is None:
                        continue
                    wide = (self.left.d - abs(Q - x)) * multiplicity(self.left.left, x)
                    tall = (self.right.d - abs(y - Q)) * multiplicity(self.right.right, y)
                    start[mirrored, here[0] : here[0] + wide, here[1] : here[1] + tall] = at
            mr = np.array([multiplicity(self.right.right, int(c)) for c in qr])
            inner = alpha[:, None] * mr[None, :] + beta[None, :]
            where = []
            for mirrored in (0, 1):
                u1, v1, u2 = (m1, n1, m2) if mirrored else (n1, m1, n2)
                N = u1 + u2
                dq = -change if mirrored else change
                valid = np.maximum(dq, 0)
                other = N - valid
                other = np.maximum(other, 0)
                flat = (u1 - low[N]) * length[other] + v1 - low[other]
                where.append(self.place[valid, N] + flat * self.widths[valid] + start[mirrored] + inner)
            index = self.starts[Q] + np.arange(change.size).reshape(change.shape)
            sign = minus_l[:, None] ^ minus_r[None, :] if real else np.ones(change.shape, dtype=bool)
            mirrored_now = change <= 0
            scatter[where[1][mirrored_now]] = (index + sign * n)[mirrored_now]
            scatter[where[0][~flip]] = index[~flip]
            gather[index] = np.where(flip, where[1] + sign * self.size, where[0])
        return scatter, gather


def span(N: int, d1: int, d2: int) -> tuple[int, int]:
    """Return the range of n_1 at n_1 + n_2 = N.

    >>> [span(N, 3, 2) for N in range(4)]
    [(0, 1), (0, 2), (1, 3), (2, 3)]
    """
    return max(0, N - d2 + 1), min(N, d1 - 1) + 1


def _listed(outer: Outer, Q: int, sizes: Sizes, d: int, count: int) -> tuple[np.ndarray, ...]:
    charge = np.zeros(outer.size, dtype=np.int64)
    k, index = charge.copy(), charge.copy()
    minus = np.zeros(outer.size, dtype=bool)
    for c, start in outer.starts.items():
        m, nk = multiplicity(sizes, c), d - abs(c - Q)
        part = slice(start, start + nk * m)
        charge[part] = c
        k[part] = np.repeat(np.arange(nk), m)
        index[part] = np.tile(np.arange(m), nk)
        if c == 0:
            minus[part] = index[part] >= sizes[0]
    return charge[:count], k[:count], index[:count], minus[:count]


def _starts(sizes: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


@lru_cache(maxsize=4096)
def site_table(left: Sizes, right: Sizes, d: int, real: bool) -> SiteTable:
    """Return the (cached) table of a site."""
    return SiteTable(left, right, d, real)


@lru_cache(maxsize=512)
def bond_table(left: Sizes, middle: Sizes, right: Sizes, d1: int, d2: int, real: bool) -> BondTable:
    """Return the (cached) table of a bond."""
    return BondTable(site_table(left, middle, d1, real), site_table(middle, right, d2, real))
