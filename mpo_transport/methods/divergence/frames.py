"""A train seen from every one of its sites: orthonormal frames to the left and right, Schmidt values, parity labels.

The bonds are in their Schmidt bases, where the centre form C_k, the left-orthonormal form A_k and the right-orthonormal
form R_k of the tensor at site k are related by C_k = S_k R_k = A_k S_{k+1}, S_k diagonal.  A bond index carries a label
0 or 1 (even indices first) if the local basis does; without a parity all labels are 0.  Only entries of even total
label are not zero, so that every step works on blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...superoperator.train import NOISE, robust_svd

__all__ = ["Frames", "common_ranks", "cut_ranks", "frames", "merged"]

Tensors = Sequence[np.ndarray]
Labels = Sequence[np.ndarray]


@dataclass(frozen=True, eq=False)
class Frames:
    """The three forms of every tensor, (l, n, r), Schmidt values and labels of every bond (entry k: left of k)."""

    left: tuple[np.ndarray, ...]
    centre: tuple[np.ndarray, ...]
    right: tuple[np.ndarray, ...]
    schmidt: tuple[np.ndarray, ...]
    bonds: tuple[np.ndarray, ...]
    sites: tuple[np.ndarray, ...]

    @property
    def length(self) -> int:
        """Number of sites."""
        return len(self.left)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Dimensions of the L - 1 inner bonds."""
        return tuple(len(s) for s in self.schmidt[1:-1])

    def train(self) -> tuple[np.ndarray, ...]:
        """Return the train with its centre at site 0."""
        return (self.centre[0], *self.right[1:])

    def even(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the indices (l, n, r) of the entries of site k that may differ from zero."""
        total = self.bonds[k][:, None, None] + self.sites[k][:, None] + self.bonds[k + 1]
        return np.nonzero(total % 2 == 0)  # type: ignore[return-value]

    def sum_of_tangents(self, x: Tensors) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return train and bond labels of |self> + sum_k T_k(x_k), x_k in place of the centre at site k."""
        last = self.length - 1
        train, labels = [], [np.zeros(1, dtype=np.int64)]
        for k in range(self.length):
            a, r = self.left[k], self.right[k]
            if last == 0:
                train.append(self.centre[0] + x[0])
            elif k == 0:
                train.append(np.concatenate([a, x[0]], axis=2))
            elif k == last:
                train.append(np.concatenate([self.centre[k] + x[k], r], axis=0))
            else:
                l, n, m = a.shape
                big = np.zeros((2 * l, n, 2 * m))
                big[:l, :, :m], big[:l, :, m:], big[l:, :, m:] = a, x[k], r
                train.append(big)
            labels.append(self.bonds[k + 1] if k == last else np.tile(self.bonds[k + 1], 2))
        return train, labels


def frames(train: Tensors, bonds: Labels, sites: Labels, ranks: Sequence[int] | None = None) -> Frames:
    """Return the frames of a train, normalised to |x| = 1.

    Parameters
    ----------
    train
        Tensors (l, n, r).
    bonds
        Labels of the L + 1 bonds.
    sites
        Labels of the basis of every site.
    ranks
        Largest dimensions of the L - 1 inner bonds (the largest Schmidt values of both labels are kept); None: all
        that are more than rounding errors.
    """
    out, labels = list(train), [np.asarray(b) for b in bonds]
    L = len(out)
    for k in range(L - 1):
        l, n, r = out[k].shape
        rows = ((labels[k][:, None] + sites[k]) % 2).ravel()
        q, c, labels[k + 1] = _qr(out[k].reshape(l * n, r), rows, labels[k + 1])
        out[k] = q.reshape(l, n, -1)
        out[k + 1] = np.tensordot(c, out[k + 1], axes=(1, 0))
    out[-1] = out[-1] / np.linalg.norm(out[-1])
    schmidt: list[np.ndarray] = [np.ones(1)] * (L + 1)
    for k in range(L - 1, 0, -1):
        l, n, r = out[k].shape
        columns = ((sites[k][:, None] + labels[k + 1]) % 2).ravel()
        most = None if ranks is None else ranks[k - 1]
        u, s, v, labels[k] = _svd(out[k].reshape(l, n * r), labels[k], columns, most)
        s = s / np.linalg.norm(s)
        out[k], schmidt[k] = v.reshape(-1, n, r), s
        out[k - 1] = np.tensordot(out[k - 1], u * s, axes=(2, 0))
    out[0] = out[0] / np.linalg.norm(out[0])
    if ranks is not None:  # truncations change the Schmidt values of the bonds to their right: once more, exactly
        return frames(out, labels, sites)
    centre = [s[:, None, None] * t for s, t in zip(schmidt[:-1], out, strict=True)]
    centre[0] = out[0]
    left = [_isometry(c, labels[k], sites[k], labels[k + 1]) for k, c in enumerate(centre)]
    right = [_isometry(out[0].transpose(2, 1, 0), labels[1], sites[0], labels[0]).transpose(2, 1, 0), *out[1:]]
    return Frames(tuple(left), tuple(centre), tuple(right), tuple(schmidt), tuple(labels), tuple(sites))


def merged(s: np.ndarray) -> np.ndarray:
    """Return Schmidt values in descending order, relative to the largest."""
    out = np.sort(s)[::-1]
    return out / out[0]


def cut_ranks(f: Frames, ratio: float, smallest: float = 1e-13) -> list[int] | None:
    """Return for every inner bond the rank in front of its largest drop of the Schmidt values.

    None if some bond has no drop by at least ``ratio`` although it is smaller than what the space to one side of it
    allows: the values are not separated.  Values below ``smallest`` of the largest are rounding errors.
    """
    out = []
    for k in range(1, f.length):
        s = merged(f.schmidt[k])
        values = s[s > smallest]
        drops = values[:-1] / values[1:]
        if len(values) < len(s):
            out.append(len(values))
        elif len(drops) and drops.max() >= ratio:
            out.append(int(np.argmax(drops)) + 1)
        elif len(s) >= _room(f, k):
            out.append(len(s))
        else:
            return None
    return out


def common_ranks(f: Frames, ratio: float, largest: int) -> list[int]:
    """Return ranks behind which the Schmidt values drop by at least ``ratio``, the largest drop first.

    A drop is the median over the bonds with room for more than that rank, at least a third of all.
    """
    spectra = [merged(s) for s in f.schmidt[1:-1]]
    found = []
    for r in range(1, largest + 1):
        drops = [s[r - 1] / max(s[r], 1e-16) for s in spectra if len(s) > r]
        if not drops or 3 * len(drops) < len(spectra):
            break
        found.append((float(np.median(drops)), r))
    return [r for drop, r in sorted(found, key=lambda x: -x[0]) if drop >= ratio]


def _room(f: Frames, k: int) -> float:
    """Return the largest useful dimension of the bond left of site k."""
    legs = [len(s) for s in f.sites]
    return min(_product(legs[:k]), _product(legs[k:]))


def _product(legs: Sequence[int]) -> float:
    return float(np.prod([float(n) for n in legs]))


def _isometry(c: np.ndarray, left: np.ndarray, site: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the left-orthonormal polar factor of a centre tensor, block by block."""
    l, n, r = c.shape
    rows = ((left[:, None] + site) % 2).ravel()
    matrix, out = c.reshape(l * n, r), np.zeros((l * n, r))
    for label in (0, 1):
        at = np.ix_(rows == label, right == label)
        if matrix[at].size:
            u, _, v = robust_svd(matrix[at])
            out[at] = u @ v
    return out.reshape(l, n, r)


def _qr(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [np.linalg.qr(matrix[np.ix_(rows == s, columns == s)]) for s in (0, 1)]
    counts = [len(r) for _, r in parts]
    q, c = np.zeros((len(rows), sum(counts))), np.zeros((sum(counts), len(columns)))
    start = 0
    for s, (x, r) in enumerate(parts):
        q[rows == s, start : start + counts[s]] = x
        c[start : start + counts[s], columns == s] = r
        start += counts[s]
    return q, c, np.repeat([0, 1], counts)


def _svd(
    matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray, most: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return u, s, v and the labels of the new bond, which keeps the ``most`` largest values of both labels."""
    parts = []
    for s in (0, 1):
        block = matrix[np.ix_(rows == s, columns == s)]
        nothing = np.zeros((block.shape[0], 0)), np.zeros(0), np.zeros((0, block.shape[1]))
        parts.append(robust_svd(block) if block.size else nothing)
    values = np.sort(np.concatenate([x for _, x, _ in parts]))[::-1]
    threshold = NOISE * values[0]
    if most is not None and most < len(values):
        threshold = max(threshold, float(np.sqrt(values[most - 1] * values[most])), float(values[most]))
    counts = [int(np.count_nonzero(x > threshold)) for _, x, _ in parts]
    if not any(counts):
        counts[int(parts[1][1].size > 0 and (not parts[0][1].size or parts[1][1][0] > parts[0][1][0]))] = 1
    u, v = np.zeros((len(rows), sum(counts))), np.zeros((sum(counts), len(columns)))
    start = 0
    for s, (a, _, b) in enumerate(parts):
        u[rows == s, start : start + counts[s]] = a[:, : counts[s]]
        v[start : start + counts[s], columns == s] = b[: counts[s]]
        start += counts[s]
    return u, np.concatenate([x[:c] for (_, x, _), c in zip(parts, counts, strict=True)]), v, np.repeat([0, 1], counts)
