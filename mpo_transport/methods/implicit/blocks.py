"""The linear problem at one bond in blocks: with sectors, x and every matrix that acts on it fall apart.

The two-site centre is x = (+)_c x_c, x_c of shape (m_c, k_c) with rows (left bond, site) and columns (site, right
bond) of label c.  With the operator's middle bond sorted by label u as well,

    (L x)_c = sum_c' sum_{v: label c + c'} A_v[c, c'] x_c' B_v[c', c].

Vectors are flat arrays, the blocks one after another.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from .local import Kronecker, Schur
from .sectors import Legs

__all__ = ["Centre", "Half", "LocalBlocks", "left_half", "right_half"]


@dataclass(frozen=True)
class Centre:
    """How the two-site centre divides: the legs (left bond, site, site, right bond)."""

    left: Legs
    first: Legs
    second: Legs
    right: Legs

    @property
    def sectors(self) -> int:
        """Number of labels."""
        return len(self.left.sizes)

    def rows(self) -> list[int]:
        """Return m_c."""
        return joined(self.left, self.first)

    def columns(self) -> list[int]:
        """Return k_c."""
        return joined(self.right, self.second)

    def product(self, a: np.ndarray, b: np.ndarray, middle: Legs) -> list[np.ndarray]:
        """Return the blocks of the product of two neighbouring tensors."""
        first, second = fuse_left(a, self.left, self.first, middle), fuse_right(b, middle, self.second, self.right)
        return [x @ y for x, y in zip(first, second, strict=True)]


def joined(bond: Legs, site: Legs) -> list[int]:
    """Return the numbers of pairs of every label."""
    labels = range(len(bond.sizes))
    return [sum(bond.sizes[c ^ s] * site.sizes[s] for s in labels) for c in labels]


def fuse_left(t: np.ndarray, left: Legs, site: Legs, right: Legs) -> list[np.ndarray]:
    """Return the matrices (rows of label c, right bond of label c) of a tensor (l, n, r)."""
    out, labels = [], range(len(left.sizes))
    ls, ns, rs = left.slices, site.slices, right.slices
    for c in labels:
        parts = [t[ls[c ^ s], ns[s], rs[c]].reshape(left.sizes[c ^ s] * site.sizes[s], right.sizes[c]) for s in labels]
        out.append(parts[0] if len(parts) == 1 else np.concatenate(parts))
    return out


def fuse_right(t: np.ndarray, left: Legs, site: Legs, right: Legs) -> list[np.ndarray]:
    """Return the matrices (left bond of label c, columns of label c) of a tensor (l, n, r)."""
    out, labels = [], range(len(left.sizes))
    ls, ns, rs = left.slices, site.slices, right.slices
    for c in labels:
        size = left.sizes[c]
        parts = [t[ls[c], ns[s], rs[c ^ s]].reshape(size, site.sizes[s] * right.sizes[c ^ s]) for s in labels]
        out.append(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))
    return out


def unfuse_left(blocks: list[np.ndarray], left: Legs, site: Legs, right: Legs) -> np.ndarray:
    """Return the tensor (l, n, r) that :func:`fuse_left` takes apart."""
    out = np.zeros((left.total, site.total, right.total))
    ls, ns, rs = left.slices, site.slices, right.slices
    for c, block in enumerate(blocks):
        start = 0
        for s, n in enumerate(site.sizes):
            l = left.sizes[c ^ s]
            out[ls[c ^ s], ns[s], rs[c]] = block[start : start + l * n].reshape(l, n, right.sizes[c])
            start += l * n
    return out


def unfuse_right(blocks: list[np.ndarray], left: Legs, site: Legs, right: Legs) -> np.ndarray:
    """Return the tensor (l, n, r) that :func:`fuse_right` takes apart."""
    out = np.zeros((left.total, site.total, right.total))
    ls, ns, rs = left.slices, site.slices, right.slices
    for c, block in enumerate(blocks):
        start = 0
        for s, n in enumerate(site.sizes):
            r = right.sizes[c ^ s]
            out[ls[c], ns[s], rs[c ^ s]] = block[:, start : start + n * r].reshape(left.sizes[c], n, r)
            start += n * r
    return out


@dataclass(frozen=True)
class Half:
    """One side of the generator at a bond.

    ``blocks[c][d]`` has the shape (out, v, in) on the left and (v, in, out) on the right, with out of label c, in of
    label d and v of label c + d.  ``schur[c]``, once known, is that of the side's share of the preconditioner.
    """

    blocks: list[list[np.ndarray]]
    schur: dict[int, Schur] = field(default_factory=dict)

    def traces(self, c: int, axes: tuple[int, int]) -> np.ndarray:
        """Return the traces of the terms that stay in sector c, divided by its size."""
        block = self.blocks[c][c]
        return np.trace(block, axis1=axes[0], axis2=axes[1]) / max(block.shape[axes[0]], 1)


def left_half(env: np.ndarray, w: np.ndarray, bond: Legs, site: Legs, after: Legs) -> Half:
    """Return the left side from the environment (out, w, in) and the operator tensor (w, out, in, v)."""
    l, u, _ = env.shape
    n, v = w.shape[1], w.shape[3]
    whole = (env.transpose(0, 2, 1).reshape(l * l, u) @ w.reshape(u, n * n * v)).reshape(l, l, n, n, v)
    whole = whole.transpose(0, 2, 4, 1, 3)  # out, site out, v, in, site in
    vs, sizes, places = after.slices, joined(bond, site), _places(bond, site)
    blocks = []
    for c, rows in enumerate(places):
        row = []
        for d, columns in enumerate(places):
            out = np.empty((sizes[c], after.sizes[c ^ d], sizes[d]))
            for a, x, i, shape_out in rows:
                for b, y, j, shape_in in columns:
                    target = out[i, :, j].reshape(*shape_out, -1, *shape_in)
                    target[...] = whole[a, x, vs[c ^ d], b, y]
            row.append(out)
        blocks.append(row)
    return Half(blocks)


def right_half(env: np.ndarray, w: np.ndarray, bond: Legs, site: Legs, before: Legs) -> Half:
    """Return the right side from the environment (out, w', in) and the operator tensor (v, out, in, w')."""
    r, u, _ = env.shape
    v, n = w.shape[:2]
    whole = (w.reshape(v * n * n, u) @ env.transpose(1, 0, 2).reshape(u, r * r)).reshape(v, n, n, r, r)
    whole = whole.transpose(0, 2, 4, 1, 3)  # v, site in, in, site out, out
    vs, sizes, places = before.slices, joined(bond, site), _places(bond, site)
    blocks = []
    for c, rows in enumerate(places):
        row = []
        for d, columns in enumerate(places):
            out = np.empty((before.sizes[c ^ d], sizes[d], sizes[c]))
            for b, y, j, (r_in, n_in) in columns:
                for a, x, i, (r_out, n_out) in rows:
                    target = out[:, j, i].reshape(-1, n_in, r_in, n_out, r_out)
                    target[...] = whole[vs[c ^ d], y, b, x, a]
            row.append(out)
        blocks.append(row)
    return Half(blocks)


def _places(bond: Legs, site: Legs) -> list[list[tuple[slice, slice, slice, tuple[int, int]]]]:
    """Return for every label where its pairs are: (bond range, site range, range within the block, shape)."""
    labels, bs, ns = range(len(bond.sizes)), bond.slices, site.slices
    out = []
    for c in labels:
        parts, start = [], 0
        for s in labels:
            shape = bond.sizes[c ^ s], site.sizes[s]
            stop = start + shape[0] * shape[1]
            if stop > start:
                parts.append((bs[c ^ s], ns[s], slice(start, stop), shape))
            start = stop
        out.append(parts)
    return out


def grow_left(half: Half, frames: list[np.ndarray], middle: Legs, operator: Legs) -> np.ndarray:
    """Return the environment (out, v, in) of the bond right of the site, given the frame in blocks."""
    out = np.zeros((middle.total, operator.total, middle.total))
    ms, vs = middle.slices, operator.slices
    for c, left in enumerate(frames):
        for d, right in enumerate(frames):
            block = half.blocks[c][d]
            if left.shape[1] and right.shape[1] and block.shape[1]:
                inner = block.reshape(-1, block.shape[2]) @ right  # (out v) in'
                x = left.T @ inner.reshape(block.shape[0], -1)
                out[ms[c], vs[c ^ d], ms[d]] = x.reshape(left.shape[1], block.shape[1], -1)
    return out


def grow_right(half: Half, frames: list[np.ndarray], middle: Legs, operator: Legs) -> np.ndarray:
    """Return the environment (out, v, in) of the bond left of the site, given the frame in blocks."""
    out = np.zeros((middle.total, operator.total, middle.total))
    ms, vs = middle.slices, operator.slices
    for c, left in enumerate(frames):
        for d, right in enumerate(frames):
            block = half.blocks[c][d]  # v in out
            if left.shape[0] and right.shape[0] and block.shape[0]:
                inner = np.matmul(right, block)  # v in' out
                x = inner.reshape(-1, block.shape[2]) @ left.T  # (v in') out'
                shaped = x.reshape(block.shape[0], right.shape[0], -1)
                out[ms[c], vs[c ^ d], ms[d]] = shaped.transpose(2, 0, 1)
    return out


class LocalBlocks:
    """The generator projected on the two sites at a bond, in blocks.

    Parameters
    ----------
    left, right
        The two sides.
    shapes
        (m_c, k_c) of every block.
    """

    def __init__(self, left: Half, right: Half, shapes: list[tuple[int, int]]) -> None:
        self.shapes = shapes
        self.left, self.right = left, right
        ends = np.cumsum([0, *(m * k for m, k in shapes)])
        self._ranges = [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]
        self.size = int(ends[-1])
        self._pairs = []
        for c, (m, k) in enumerate(shapes):
            for d, (_, q) in enumerate(shapes):
                a, b = left.blocks[c][d], right.blocks[c][d]
                if m and k and a.shape[1] and self.shapes[d][0] and q:
                    v = a.shape[1]
                    self._pairs.append((c, d, a.reshape(m * v, a.shape[2]), b.reshape(v * q, k), (m, v * q)))

    def split(self, x: np.ndarray) -> list[np.ndarray]:
        """Return the blocks of a flat vector."""
        return [x[r].reshape(s) for r, s in zip(self._ranges, self.shapes, strict=True)]

    def join(self, blocks: list[np.ndarray]) -> np.ndarray:
        """Return the flat vector."""
        return np.concatenate([b.ravel() for b in blocks])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return L x."""
        blocks = self.split(x)
        out = np.zeros(self.size)
        into = self.split(out)
        for c, d, a, b, shape in self._pairs:
            into[c] += (a @ blocks[d]).reshape(shape) @ b
        return out

    def dense(self) -> np.ndarray:
        """Return L as a matrix on flat vectors."""
        out = np.zeros((self.size, self.size))
        for c, d, _, _, _ in self._pairs:
            a, b = self.left.blocks[c][d], self.right.blocks[c][d]
            block = np.tensordot(a, b, axes=(1, 0)).transpose(0, 3, 1, 2)  # out out' in in'
            (m, k), (p, q) = self.shapes[c], self.shapes[d]
            out[self._ranges[c], self._ranges[d]] = block.reshape(m * k, p * q)
        return out

    def preconditioner(self, shift: float) -> BlockKronecker:
        """Return the inverse of the best Kronecker sum in every block, shifted away from zero."""
        solvers: list[Kronecker | None] = []
        for c, (m, k) in enumerate(self.shapes):
            if not (m and k):
                solvers.append(None)
                continue
            trace_a, trace_b = self.left.traces(c, (0, 2)), self.right.traces(c, (1, 2))
            mean = float(trace_a @ trace_b)
            if c not in self.left.schur:
                a = np.matmul(trace_b, self.left.blocks[c][c])
                np.einsum("ii->i", a)[:] -= 0.5 * mean
                self.left.schur[c] = Schur(a)
            if c not in self.right.schur:
                b = (trace_a @ self.right.blocks[c][c].reshape(len(trace_a), k * k)).reshape(k, k)
                np.einsum("ii->i", b)[:] -= 0.5 * mean
                self.right.schur[c] = Schur(b)
            solvers.append(Kronecker.of(self.left.schur[c], self.right.schur[c], shift))
        return BlockKronecker(self, solvers)


@dataclass(frozen=True)
class BlockKronecker:
    """One :class:`~.local.Kronecker` per block."""

    local: LocalBlocks
    solvers: list[Kronecker | None]

    def __call__(self, r: np.ndarray) -> np.ndarray:
        """Return the approximate solution for a flat right-hand side."""
        blocks = self.local.split(r)
        parts = [(x if s is None else s(x)).ravel() for s, x in zip(self.solvers, blocks, strict=True)]
        return np.concatenate(parts, dtype=r.dtype)
