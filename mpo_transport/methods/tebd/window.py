"""Passes with windows of any width: terms beyond nearest neighbours, swaps, several-site gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .kernels import (
    Tensors,
    discarded,
    move_left,
    move_right,
    pass_left,
    pass_right,
    split_left,
    split_right,
    split_svd,
)
from .plan import Op, Pass

__all__ = ["Truncator", "run_pass", "run_passes"]


@dataclass
class Truncator:
    """How blocks are cut.

    Attributes
    ----------
    max_bond
        Largest bond dimension of an SVD truncation.
    cutoff
        Relative weight an SVD truncation may discard.
    iterations
        Passes of the range finder.
    use_svd
        Always truncate by SVD (bond dimensions then follow the state); otherwise the old tensors are the sketch and
        bond dimensions stay, wherever they are still valid.
    weights
        Largest discarded weight per bond, shape (L-1,), or None: not recorded.
    accumulate
        Record the sum of the discarded weights instead of the largest one.
    """

    max_bond: int
    cutoff: float = 0.0
    iterations: int = 1
    use_svd: bool = False
    weights: np.ndarray | None = None
    accumulate: bool = False

    def record(self, bond: int, weight: float) -> None:
        """Note a discarded weight."""
        if self.weights is not None:
            self.weights[bond] = self.weights[bond] + weight if self.accumulate else max(self.weights[bond], weight)


def run_pass(tensors: Tensors, dims: list[int], centre: int, item: Pass, how: Truncator) -> int:
    """Carry out one pass on the train (in place) and return the new centre, an end of the train.

    A pass without a direction starts from the end nearer to the centre.  ``dims`` holds d^2 per position and is changed
    by swaps.
    """
    window = _Window(tensors, dims, centre, how)
    forward = item.forward if item.forward is not None else 2 * centre < len(tensors)
    # a sweep lists its actions in the order of its own direction, a layer from left to right
    actions = item.actions if forward or item.forward is not None else list(reversed(item.actions))
    for op, gate in actions:
        window.focus(op.start, op.stop)
        if gate is None:
            window.swap()
        else:
            window.apply(gate, op)
    window.close(len(tensors) - 1 if forward else 0)
    return len(tensors) - 1 if forward else 0


class _Window:
    """A block of neighbouring positions ``start .. stop`` contracted to one tensor (l, n_start, ..., n_stop, r)."""

    def __init__(self, tensors: Tensors, dims: list[int], centre: int, how: Truncator) -> None:
        self.tensors, self.dims, self.how = tensors, dims, how
        self.start = self.stop = centre
        self.block = tensors[centre]
        # whether the stored tensors of the window are still the orthonormal ones it was made of, seen from the left
        # (all but the first are right-orthonormal) and from the right
        self.fresh_left = self.fresh_right = True

    def focus(self, start: int, stop: int) -> None:
        """Make the window exactly ``start .. stop``."""
        while self.start < start and self.start < self.stop:
            self.drop_left()
        while self.stop > stop and self.start < self.stop:
            self.drop_right()
        if self.start == self.stop:
            self._travel(min(max(self.start, start), stop))
        while self.stop < stop:
            self._extend_right()
        while self.start > start:
            self._extend_left()

    def close(self, end: int) -> None:
        """Split the window into tensors and carry the centre to ``end``."""
        while self.start < self.stop:
            if end > self.start:
                self.drop_left()
            else:
                self.drop_right()
        self._travel(end)
        self.tensors[self.start] = self.block

    def apply(self, gate: np.ndarray, op: Op) -> None:
        """Apply a gate to the positions ``op.legs`` of the window."""
        legs = [p - self.start for p in op.legs]
        shape = self.block.shape
        l, r = shape[0], shape[-1]
        if len(legs) == len(shape) - 2:
            self.block = np.matmul(gate, self.block.reshape(l, -1, r)).reshape(shape)
            return
        rest = [k for k in range(len(shape) - 2) if k not in legs]
        axes = [0, *(1 + k for k in rest), *(1 + k for k in legs), len(shape) - 1]
        moved = self.block.transpose(axes)
        out = np.matmul(gate, moved.reshape(-1, gate.shape[0], r)).reshape(moved.shape)
        self.block = np.ascontiguousarray(out.transpose(np.argsort(axes)))

    def swap(self) -> None:
        """Exchange the two positions of the window."""
        self.block = np.ascontiguousarray(self.block.transpose(0, 2, 1, 3))
        self.dims[self.start], self.dims[self.stop] = self.dims[self.stop], self.dims[self.start]
        self.fresh_left = self.fresh_right = False

    # -- moving and splitting -----------------------------------------------------------------------------------------

    def _travel(self, position: int) -> None:
        self.tensors[self.start] = self.block
        while self.start < position:
            move_right(self.tensors, self.start)
            self.start += 1
        while self.start > position:
            move_left(self.tensors, self.start)
            self.start -= 1
        self.stop = position
        self.block = self.tensors[position]
        self.fresh_left = self.fresh_right = True

    def _extend_right(self) -> None:
        tensor = self.tensors[self.stop + 1]
        m = tensor.shape[0]
        shape = (*self.block.shape[:-1], *tensor.shape[1:])
        self.block = (self.block.reshape(-1, m) @ tensor.reshape(m, -1)).reshape(shape)
        self.stop += 1
        self.fresh_right = False

    def _extend_left(self) -> None:
        tensor = self.tensors[self.start - 1]
        m = tensor.shape[2]
        shape = (*tensor.shape[:-1], *self.block.shape[1:])
        self.block = (tensor.reshape(-1, m) @ self.block.reshape(m, -1)).reshape(shape)
        self.start -= 1
        self.fresh_left = False

    def drop_left(self) -> None:
        """Split off the first position as a left-orthonormal tensor."""
        shape = self.block.shape
        theta = self.block.reshape(shape[0] * shape[1], -1)
        if self.how.use_svd or not self.fresh_left:
            u, s, v, lost = split_svd(theta, self.how.max_bond, self.how.cutoff)
            q, w = u, s[:, None] * v
        else:
            qt, w = split_left(theta, self._product(self.start + 1, self.stop, left=True), self.how.iterations)
            q, lost = qt.T, -1.0
        self._record(self.start, theta, q, w, lost)
        self.tensors[self.start] = q.reshape(shape[0], shape[1], -1)
        self.block = w.reshape(-1, *shape[2:])
        self.start += 1

    def drop_right(self) -> None:
        """Split off the last position as a right-orthonormal tensor."""
        shape = self.block.shape
        theta = self.block.reshape(-1, shape[-2] * shape[-1])
        if self.how.use_svd or not self.fresh_right:
            u, s, v, lost = split_svd(theta, self.how.max_bond, self.how.cutoff)
            w, p = u * s, v
        else:
            w, p = split_right(theta, self._product(self.start, self.stop - 1, left=False), self.how.iterations)
            lost = -1.0
        self._record(self.stop - 1, theta, w, p, lost)
        self.tensors[self.stop] = p.reshape(-1, shape[-2], shape[-1])
        self.block = w.reshape(*shape[:-2], -1)
        self.stop -= 1

    def _product(self, first: int, last: int, *, left: bool) -> np.ndarray:
        """Return the stored tensors first..last as one matrix (m, rest) with orthonormal rows."""
        out = self.tensors[first]
        for p in range(first + 1, last + 1):
            tensor = self.tensors[p]
            m = tensor.shape[0]
            out = out.reshape(-1, m) @ tensor.reshape(m, -1)
        if left:
            return out.reshape(self.tensors[first].shape[0], -1)
        return out.reshape(-1, self.tensors[last].shape[2]).T

    def _record(self, bond: int, theta: np.ndarray, q: np.ndarray, w: np.ndarray, lost: float) -> None:
        if self.how.weights is not None:
            self.how.record(bond, discarded(theta, q, w) if lost < 0 else lost)


def run_passes(tensors: Tensors, dims: list[int], centre: int, passes: Sequence[Pass], how: Truncator) -> int:
    """Carry out passes one after another; returns the centre."""
    last = len(tensors) - 1
    for item in passes:
        if item.bonds is None or how.use_svd or centre not in (0, last) or last == 0:
            centre = run_pass(tensors, dims, centre, item, how)
        elif centre == 0:
            pass_right(tensors, item.bonds, how.iterations, how.weights)
            centre = last
        else:
            pass_left(tensors, item.bonds, how.iterations, how.weights)
            centre = 0
    return centre
