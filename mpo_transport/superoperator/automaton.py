"""Sums of products of local factors as tensor trains of the smallest bond dimension.

A finite automaton reads the chain from the left: *nothing yet*, *in progress*, *done*.  The states "in progress" at a
cut are an orthonormal basis of all left halves of terms that cross it, found by an SVD of the matrix (left halves x
right halves) of their coefficients; so exponentially decaying or otherwise separable couplings cost a bond dimension
that does not grow with the chain.  (C. Hubig, I. P. McCulloch, U. Schollwoeck, Phys. Rev. B 95, 035129 (2017) and
references there; here for products of any number of factors.)

Everything is written in a local basis per site whose element 0 stands for the identity and which is orthonormal in a
scalar product where the identity has norm one.  Norms of operators then do not grow exponentially with the chain, and a
relative cutoff means what it says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from .train import compress_train, robust_svd

__all__ = ["LocalSums", "automaton_train", "minimal_train"]

Positions = tuple[int, ...]

# Relative size of singular values regarded as rounding errors.
RANK_CUTOFF = 2e-14


class LocalSums:
    """Coefficients of a sum of products, one tensor per set of positions on which the factors are not the identity.

    Parameters
    ----------
    sizes
        Number of local basis elements at every position, the identity (element 0) included.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self.constant = 0.0
        self._sums: dict[Positions, np.ndarray] = {}
        self._weights: dict[Positions, float] = defaultdict(float)

    def add(self, positions: Positions, coefficients: np.ndarray, weight: float) -> None:
        """Add sum_k c[k_1, k_2, ...] b_{k_1} (x) b_{k_2} ... on ascending positions.

        ``weight`` is the size of what was summed to give ``c``: entries below its rounding error are dropped in the
        end.
        """
        for count in range(len(positions) + 1):
            for chosen in combinations(range(len(positions)), count):
                index = tuple(slice(1, None) if k in chosen else 0 for k in range(len(positions)))
                part = coefficients[index]
                key = tuple(positions[k] for k in chosen)
                if not key:
                    self.constant += float(part)
                elif part.size:
                    self._sums[key] = self._sums[key] + part if key in self._sums else part.copy()
                    self._weights[key] += weight

    def terms(self) -> dict[Positions, np.ndarray]:
        """Return {positions: tensor of shape (m_1 - 1, m_2 - 1, ...)} without entries that are rounding errors."""
        out = {}
        for key, tensor in sorted(self._sums.items()):
            floor = 8 * np.finfo(float).eps * self._weights[key]
            clean = np.where(np.abs(tensor) > floor, tensor, 0.0)
            if np.any(clean):
                out[key] = clean
        return out


def minimal_train(sums: LocalSums, cutoff: float = RANK_CUTOFF) -> tuple[np.ndarray, ...]:
    """Return the train of the sum, shape (l, m, r) each, with bonds equal to its numerical operator Schmidt ranks.

    The result is right-canonical with centre 0.
    """
    return compress_train(automaton_train(sums, cutoff), noise=cutoff).tensors


def automaton_train(sums: LocalSums, cutoff: float = RANK_CUTOFF) -> tuple[np.ndarray, ...]:
    """Return the automaton itself: bond index 0 is "nothing yet", the last one "done", orthonormal strings between."""
    length = len(sums.sizes)
    starts: dict[int, list[tuple[Positions, np.ndarray]]] = defaultdict(list)
    for positions, tensor in sums.terms().items():
        starts[positions[0]].append((positions[1:], tensor))
    pending: dict[Positions, np.ndarray] = {}  # right half -> (in-progress strings, elements of the right half)
    rank, out = 0, []
    for p, m in enumerate(sums.sizes):
        columns = _columns(p, m, rank, pending, starts[p])
        finished = columns.pop((), np.zeros((rank + 1, m)))
        if p == 0:
            finished[0, 0] += sums.constant
        strings, pending = _orthonormal_strings(columns, cutoff)
        tensor = np.zeros((rank + 2, m, strings.shape[-1] + 2))
        tensor[0, 0, 0] = tensor[-1, 0, -1] = 1.0
        tensor[: rank + 1, :, -1] = finished
        if strings.shape[-1]:
            tensor[: rank + 1, :, 1:-1] = strings
        rank = strings.shape[-1]
        tensor = tensor[:1] if p == 0 else tensor
        out.append(tensor[:, :, -1:] if p == length - 1 else tensor)
    return tuple(out)


def _columns(
    p: int,
    m: int,
    rank: int,
    pending: dict[Positions, np.ndarray],
    starting: Iterable[tuple[Positions, np.ndarray]],
) -> dict[Positions, np.ndarray]:
    """Return right half beyond p -> (1 + rank, m, elements): row 0 begins here, the others were in progress."""
    columns: dict[Positions, np.ndarray] = {}

    def block(rest: Positions, elements: int) -> np.ndarray:
        if rest not in columns:
            columns[rest] = np.zeros((1 + rank, m, elements))
        return columns[rest]

    for rest, tensor in starting:
        flat = tensor.reshape(m - 1, -1)
        block(rest, flat.shape[1])[0, 1:] += flat
    for rest, matrix in pending.items():
        if rest[0] == p:
            split = matrix.reshape(rank, m - 1, -1)
            block(rest[1:], split.shape[2])[1:, 1:] += split
        else:
            block(rest, matrix.shape[1])[1:, 0] += matrix
    if () in columns:
        columns[()] = columns[()][:, :, 0]
    return columns


def _orthonormal_strings(
    columns: dict[Positions, np.ndarray], cutoff: float
) -> tuple[np.ndarray, dict[Positions, np.ndarray]]:
    """Factor (left halves x right halves) into orthonormal left halves and the coefficients of the right halves."""
    if not columns:
        return np.zeros((0, 0, 0)), {}
    blocks = list(columns.values())
    rows, m, _ = blocks[0].shape
    matrix = np.concatenate([b.reshape(rows * m, -1) for b in blocks], axis=1)
    used = np.any(matrix, axis=1)
    u, s, v = robust_svd(matrix[used])
    keep = int(np.count_nonzero(s > cutoff * s[0])) if s.size and s[0] > 0 else 0
    strings = np.zeros((rows * m, keep))
    strings[used] = u[:, :keep]
    ends = np.cumsum([b.shape[2] for b in blocks])
    parts = np.split(s[:keep, None] * v[:keep], ends[:-1], axis=1)
    return strings.reshape(rows, m, keep), dict(zip(columns, parts, strict=True)) if keep else {}
