"""Nearest-neighbour structure of a projected generator: two sides and a coupling, instead of one product per channel.

A matrix-product operator whose left parts contain the identity splits every projection at a bond,

    A_v = 1 (x) a_v + alpha_v A,        B_v = b_v (x) 1 + beta_v B,

into what acts on the site beside the bond alone and what does not.  For terms of at most two neighbouring sites there
is one A and one B, and

    sum_v A_v x B_v = A x + x B + C x,        C = sum_v a_v (x) b_v on the two sites:

two large products instead of two for every channel v.  :func:`pair_terms` finds this from the numbers of the operator
alone, whatever the gauge of its bonds, and leaves alone what does not have it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .implicit.blocks import Centre, left_half, right_half
from .implicit.sectors import GradedOperator, Legs

__all__ = ["PairBlocks", "PairTerms", "pair_terms"]

# Where some entries of a vector lie: block, rows, columns, and the legs of these entries.
Place = tuple[int, slice, slice, tuple[int, int, int, int]]

# Relative size of parts that are rounding errors of the operator.
ROUNDING = 1e-10


@dataclass(frozen=True)
class _Side:
    """One site beside a bond: the local parts (n, n, v), the operator tensor (w, n, n) of the rest, and its channel."""

    local: np.ndarray
    rest: np.ndarray
    channel: np.ndarray


@dataclass(frozen=True)
class PairTerms:
    """The split of a generator at every bond.

    Attributes
    ----------
    left, right
        The side of position p towards the bond on its right, and on its left.
    before, after
        Components of the left and right parts of every bond along the identity.
    coupling
        C of every bond, shape (n, n', n, n') for (out, out', in, in').
    """

    left: tuple[_Side, ...]
    right: tuple[_Side, ...]
    before: tuple[np.ndarray, ...]
    after: tuple[np.ndarray, ...]
    coupling: tuple[np.ndarray, ...]


def pair_terms(operator: GradedOperator) -> PairTerms | None:
    """Return the split of a generator of terms on at most two neighbouring positions, None for any other.

    >>> from .implicit.sectors import graded_operator
    >>> from ..models import boundary_driven_xx
    >>> from ..superoperator.mpo import lindbladian_mpo
    >>> mpo = lindbladian_mpo(boundary_driven_xx(4, 1.0, 1.0, 0.8, 0.5, 0.3))
    >>> labels = [np.array([0, 1, 1, 0])] * 4
    >>> pair_terms(graded_operator(mpo.tensors, labels)).coupling[0].shape
    (4, 4, 4, 4)
    """
    ws = operator.tensors
    before, wanted_before = _identity_parts(ws)
    after, wanted_after = _identity_parts([w.transpose(3, 1, 2, 0) for w in reversed(ws)])
    after, wanted_after = after[::-1], wanted_after[::-1]
    left, right, coupling = [], [], []
    for p in range(len(ws) - 1):
        a = _side(ws[p], before[p], wanted_before[p])
        b = _side(ws[p + 1].transpose(3, 1, 2, 0), after[p + 2], wanted_after[p + 2])
        if a is None or b is None:
            return None
        # the part that is complete on one side must meet the identity on the other
        met_b = np.tensordot(b.local, a.channel, axes=(2, 0))
        met_a = np.tensordot(a.local, b.channel, axes=(2, 0))
        if not (_is_one(met_a) and _is_one(met_b) and abs(a.channel @ b.channel) <= ROUNDING):
            return None
        scale_a, scale_b = met_b[0, 0], met_a[0, 0]
        left.append(_Side(a.local, a.rest * scale_a, a.channel))
        right.append(_Side(b.local, b.rest * scale_b, b.channel))
        c = np.tensordot(a.local, b.local, axes=(2, 2))  # o i o' i'
        coupling.append(c.transpose(0, 2, 1, 3))
    return PairTerms(tuple(left), tuple(right), tuple(before), tuple(after), tuple(coupling))


def _identity_parts(ws: list[np.ndarray] | tuple[np.ndarray, ...]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return for every bond t_w = (left part w|1) and d with sum_w d_w (left part w) = 1, zero where there is none.

    Scalar products are traces per dimension, so that the identity has norm one.
    """
    gram, t = np.ones((1, 1)), np.ones(1)
    parts, combinations = [t], [np.ones(1)]
    for w in ws:
        n = w.shape[1]
        half = np.tensordot(gram, w, axes=(1, 0))  # w o i v
        gram = np.tensordot(w, half, axes=((0, 1, 2), (0, 1, 2))) / n
        t = np.trace(np.tensordot(t, w, axes=(0, 0)), axis1=0, axis2=1) / n
        d = np.linalg.lstsq(gram, t, rcond=1e-13)[0]
        parts.append(t)
        combinations.append(d if abs(d @ t - 1) <= ROUNDING else np.zeros_like(d))
    return parts, combinations


def _side(w: np.ndarray, t: np.ndarray, d: np.ndarray) -> _Side | None:
    """Split the operator tensor (w, out, in, v) of a site, given the identity among the parts beyond it."""
    if not d.any():
        return None
    local = np.tensordot(t, w, axes=(0, 0))
    if len(t) == 1:  # nothing beyond the site
        return _Side(local, np.zeros(w.shape[:3]), np.zeros(w.shape[3]))
    # sum_w d_w (part w - t_w 1) = 0: multiples of d are free
    along = np.tensordot(d, w, axes=(0, 0)) / (d @ d)
    rest = w - d[:, None, None, None] * along
    u, s, v = np.linalg.svd(rest.reshape(-1, w.shape[3]), full_matrices=False)
    if len(s) > 1 and s[1] > ROUNDING * max(s[0], 1.0):
        return None
    return _Side(local, (u[:, 0] * s[0]).reshape(w.shape[:3]), v[0])


def _is_one(matrix: np.ndarray) -> bool:
    """Whether a matrix is a multiple of the identity."""
    return bool(np.abs(matrix - matrix[0, 0] * np.eye(len(matrix))).max() <= ROUNDING * max(1.0, abs(matrix[0, 0])))


class PairBlocks:
    """x -> A x + x B + C x in blocks, single precision: for corrections that need a few digits.

    Parameters
    ----------
    terms
        The split of the generator.
    p
        The left position of the bond.
    centre
        How the two-site centre divides.
    left, right
        Environments (out, w, in) of the blocks beside the two sites.
    """

    def __init__(self, terms: PairTerms, p: int, centre: Centre, left: np.ndarray, right: np.ndarray) -> None:
        one = Legs((1,) + (0,) * (centre.sectors - 1))
        a, b = terms.left[p], terms.right[p]
        # the parts beyond the sites without the identity
        env = left - np.eye(left.shape[0])[:, None, :] * terms.before[p][None, :, None]
        self._a = [
            np.ascontiguousarray(row[c][:, 0, :], dtype=np.float32)
            for c, row in enumerate(left_half(env, a.rest[..., None], centre.left, centre.first, one).blocks)
        ]
        env = right - np.eye(right.shape[0])[:, None, :] * terms.after[p + 2][None, :, None]
        turned = b.rest[..., None].transpose(3, 1, 2, 0)
        self._b = [
            np.ascontiguousarray(row[c][0], dtype=np.float32)
            for c, row in enumerate(right_half(env, turned, centre.right, centre.second, one).blocks)
        ]
        self._centre = centre
        self._shapes = list(zip(centre.rows(), centre.columns(), strict=True))
        ends = np.cumsum([0, *(m * k for m, k in self._shapes)])
        self._ranges = [slice(int(x), int(y)) for x, y in itertools.pairwise(ends)]
        self._pieces = [
            self._piece(terms.coupling[p], l, r) for l in range(centre.sectors) for r in range(centre.sectors)
        ]

    def _piece(self, coupling: np.ndarray, l: int, r: int) -> tuple[np.ndarray, tuple[int, int], list[Place]]:
        """Return C for given labels of the two bonds, and where its vectors lie: (block, rows, columns, shape)."""
        centre, sectors = self._centre, self._centre.sectors
        places: list[Place] = []
        picked = []
        for s in range(sectors):
            c = l ^ s
            t = c ^ r
            rows = sum(centre.left.sizes[c ^ x] * centre.first.sizes[x] for x in range(s))
            columns = sum(centre.right.sizes[c ^ x] * centre.second.sizes[x] for x in range(t))
            shape = (centre.left.sizes[l], centre.first.sizes[s], centre.second.sizes[t], centre.right.sizes[r])
            m, k = shape[0] * shape[1], shape[2] * shape[3]
            places.append((c, slice(rows, rows + m), slice(columns, columns + k), shape))
            first, second = centre.first.slices[s], centre.second.slices[t]
            picked.append((np.arange(first.start, first.stop), np.arange(second.start, second.stop)))
        index = np.concatenate([(i[:, None] * centre.second.total + j).ravel() for i, j in picked])
        size = centre.first.total * centre.second.total
        matrix = coupling.reshape(size, size)[np.ix_(index, index)].astype(np.float32)
        return matrix, (centre.left.sizes[l], centre.right.sizes[r]), places

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the image of a flat vector of single precision."""
        blocks = [x[i].reshape(s) for i, s in zip(self._ranges, self._shapes, strict=True)]
        out = np.empty_like(x)
        into = [out[i].reshape(s) for i, s in zip(self._ranges, self._shapes, strict=True)]
        for a, b, y, z in zip(self._a, self._b, blocks, into, strict=True):
            np.matmul(a, y, out=z)
            z += y @ b
        for matrix, (l, r), places in self._pieces:
            if not l * r * len(matrix):
                continue
            buffer, start = np.empty((l, len(matrix), r), dtype=np.float32), 0
            for c, rows, columns, shape in places:
                n = shape[1] * shape[2]
                buffer[:, start : start + n].reshape(shape)[...] = blocks[c][rows, columns].reshape(shape)
                start += n
            image, start = np.matmul(matrix, buffer), 0
            for c, rows, columns, shape in places:
                n = shape[1] * shape[2]
                part = into[c][rows, columns].reshape(shape)
                part += image[:, start : start + n].reshape(shape)
                start += n
        return out
