"""Two-site sweeps in frames that contain the identity, in a metric that weighs short operator strings more.

*Identity.*  Trace conservation is 1^T L = 0.  If the left and right frames at a bond contain the identity, the
projected generator inherits it exactly: it has the eigenvalue zero, corrections that start from a residual stay
traceless, and the equation L x = 0 with Tr x = 1 has a solution in every projection.  Here vector 0 of every frame
*is* the identity; a truncation cuts only what is orthogonal to it, so that all expectation values on either side of
the cut bond are left unchanged (C. D. White, M. Zaletel, R. S. K. Mong, G. Refael, PRB 97, 035127 (2018)).

*Sectors.*  Bonds are sorted by the labels of a grading (:mod:`.sectors`); all work is done on blocks.

*Metric.*  Coefficients of operator strings are divided by s^(number of non-identity factors), s >= 1.  The norm of a
nearly pure state exceeds its trace part by exp(const L); s is chosen such that it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...superoperator.train import canonical_train, robust_svd
from .blocks import (
    Centre,
    Half,
    LocalBlocks,
    fuse_left,
    fuse_right,
    grow_left,
    grow_right,
    joined,
    left_half,
    right_half,
    unfuse_left,
    unfuse_right,
)
from .local import DENSE, Solve, gmres, lu_solve
from .sectors import GradedOperator, Legs

__all__ = ["SCALES", "Cut", "Settings", "Sweeper", "embed", "norm_over_trace", "split_left", "split_right"]

Blocks = list[np.ndarray]

# Metrics tried, and the ratio of norm to trace part above which a larger s is taken.
SCALES = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
LARGEST_RATIO = 10.0
FIRST_SCALE = 2.0
# Residuals below these fractions of |L| |x|: rounding, not solved for; too small to matter if not solved well.
ROUNDING = 1e-14
NEGLIGIBLE = 1e-11
# Singular values below this fraction of |x| are rounding errors.
NOISE = 1e-15


@dataclass(frozen=True)
class Cut:
    """A truncated split x = frame centre (or centre frame), in blocks, and the relative weight it discarded."""

    left: Blocks
    right: Blocks
    weight: float

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values kept for every label."""
        return tuple(b.shape[1] for b in self.left)


def split_right(x: Blocks, bond: int, cutoff: float) -> Cut:
    """Return (frame, centre) of blocks x_c, shape (m_c, k_c); row 0 of x_0, the identity, is column 0 of the frame."""
    norm = float(np.sqrt(sum(np.vdot(b, b) for b in x)))
    parts = [_svd(b[1:] if c == 0 else b) for c, b in enumerate(x)]
    values = np.concatenate([s for _, s, _ in parts])
    values = np.sort(values[values > NOISE * norm])[::-1]
    keep = min(bond - 1, len(values))
    if cutoff > 0:
        tail = np.append(np.cumsum(values[::-1] ** 2)[::-1], 0.0)
        keep = min(keep, int(np.argmax(tail <= cutoff * norm**2)))
    smallest = values[keep - 1] if keep else np.inf
    left, right = [], []
    for c, (b, (u, s, v)) in enumerate(zip(x, parts, strict=True)):
        k, extra = int(np.count_nonzero(s >= smallest)), int(c == 0)
        frame = np.zeros((len(b), k + extra))
        frame[extra:, extra:] = u[:, :k]
        centre = s[:k, None] * v[:k]
        if extra:
            frame[0, 0] = 1.0
            centre = np.concatenate([b[:1], centre])
        left.append(frame)
        right.append(centre)
    return Cut(left, right, float((values[keep:] ** 2).sum() / norm**2))


def split_left(x: Blocks, bond: int, cutoff: float) -> Cut:
    """Return (centre, frame) of x; column 0 of x_0, the identity, is row 0 of the frame."""
    cut = split_right([b.T for b in x], bond, cutoff)
    return Cut(
        [np.ascontiguousarray(b.T) for b in cut.right], [np.ascontiguousarray(b.T) for b in cut.left], cut.weight
    )


def _svd(b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not b.size:
        return np.zeros((b.shape[0], 0)), np.zeros(0), np.zeros((0, b.shape[1]))
    return robust_svd(b)


# -- trains ------------------------------------------------------------------------------------------------------------


def embed(train: Sequence[np.ndarray], scale: float, operator: GradedOperator) -> tuple[list[np.ndarray], list[Legs]]:
    """Return the frames of a train (trace 1, any gauge) in the metric ``scale``, centre 0, and the labels of its bonds.

    The part outside the sector of the identity is left out; nothing else is truncated.  The result has identity
    component 1; :func:`release` is the inverse.
    """
    L, sectors = len(train), operator.sectors
    last = Legs((1,) + (0,) * (sectors - 1))
    if all(t.shape[::2] == (1, 1) and not t[0, 1:].any() for t in train):  # the identity, where most runs begin
        return [np.eye(1, t.shape[1]).reshape(1, -1, 1) for t in train], [last] * (L + 1)
    out = [t[:, o] * _metric(t.shape[1], scale) for t, o in zip(train, operator.orders, strict=True)]
    for p in range(L - 1):  # the left parts orthonormal, so that rounding errors can be told
        out[p : p + 2] = canonical_train(out[p : p + 2], 1, 0)
        out[p + 1] = out[p + 1] / np.abs(out[p + 1]).max()
    bonds = [last] * (L + 1)
    for p in range(L - 1, 0, -1):
        l = out[p].shape[0]
        # every label on its own: the rows are not labelled yet
        flat = [
            out[p][:, operator.locals[p].slices[s], bonds[p + 1].slices[c ^ s]]
            for c in range(sectors)
            for s in range(sectors)
        ]
        flat = [x.reshape(l, x.shape[1] * x.shape[2]) for x in flat]
        matrices = [np.concatenate(flat[c * sectors : (c + 1) * sectors], axis=1) for c in range(sectors)]
        parts = [split_left([m], m.shape[1] + 1, 0.0) if c == 0 else _rows(m) for c, m in enumerate(matrices)]
        frames = [part.right[0] for part in parts]
        bonds[p] = Legs(tuple(len(f) for f in frames))
        out[p] = unfuse_right(frames, bonds[p], operator.locals[p], bonds[p + 1])
        rest = np.concatenate([part.left[0] for part in parts], axis=1)
        out[p - 1] = np.tensordot(out[p - 1], rest / np.abs(rest).max(), axes=(2, 0))
    labels = operator.locals[0].labels[:, None] ^ bonds[1].labels if L > 1 else operator.locals[0].labels[:, None]
    first = np.where(labels == 0, out[0], 0.0)
    return [first / first[0, 0, 0], *out[1:]], bonds


def _rows(m: np.ndarray) -> Cut:
    u, s, v = _svd(m)
    keep = int(np.count_nonzero(s > 1e-14))  # the largest element of the train at this point is one
    return Cut([u[:, :keep] * s[:keep]], [v[:keep]], 0.0)


def release(tensors: Sequence[np.ndarray], scale: float, operator: GradedOperator) -> tuple[np.ndarray, ...]:
    """Return the train of the density matrix, trace 1, from tensors with identity component 1."""
    out = []
    for t, order in zip(tensors, operator.orders, strict=True):
        x = np.empty_like(t)
        x[:, order] = t / _metric(t.shape[1], scale)
        out.append(x)
    return tuple(out)


def resume_frames(train: Sequence[np.ndarray], scale: float, operator: GradedOperator) -> list[np.ndarray]:
    """Return the tensors from which :func:`release` made ``train``."""
    return [t[:, o] * _metric(t.shape[1], scale) for t, o in zip(train, operator.orders, strict=True)]


def _metric(n: int, scale: float) -> np.ndarray:
    """Factors, shape (n, 1): sqrt(d) for the identity, sqrt(d)/s for the others."""
    out = np.full((n, 1), n**0.25 / scale)
    out[0] = n**0.25
    return out


def scaled_operator(operator: GradedOperator, scale: float) -> GradedOperator:
    """Return the operator in the metric, S^-1 L S with S = diag(1, s, .., s) on every site."""
    out = []
    for w in operator.tensors:
        v = np.full(w.shape[1], 1.0 / scale)
        v[0] = 1.0
        out.append(np.ascontiguousarray(w * v[None, :, None, None] / v[None, None, :, None]))
    return operator.with_tensors(out)


def norm_over_trace(train: Sequence[np.ndarray], scale: float) -> float:
    """Return ln(|x|/|identity component of x|) of a train with trace 1 in the metric ``scale``."""
    env, log = np.ones((1, 1)), 0.0
    for t in train:
        x = t * _metric(t.shape[1], scale)
        env = np.tensordot(x, np.tensordot(env, x, axes=(1, 0)), axes=((0, 1), (0, 1)))
        size = float(np.abs(env).max())
        env, log = env / size, log + np.log(size)
    return 0.5 * float(log + np.log(max(env[0, 0], np.finfo(float).tiny)))


def suitable_scale(train: Sequence[np.ndarray]) -> float:
    """Return the smallest metric of :data:`SCALES` in which the norm is at most ten times the trace part."""
    for scale in SCALES:
        if norm_over_trace(train, scale) <= np.log(LARGEST_RATIO):
            return scale
    return SCALES[-1]


def safe_scale(legs: Sequence[int]) -> float:
    """Return a metric in which no state at all, however pure, loses its trace in rounding."""
    for scale in SCALES:
        if 0.5 * sum(np.log1p((n**0.5 - 1) / scale**2) for n in legs) <= np.log(1e6):
            return scale
    return SCALES[-1]


def first_scale(legs: Sequence[int]) -> float:
    """Return the metric to begin with: short strings weigh more than long ones from the start."""
    return max(FIRST_SCALE, safe_scale(legs))


def larger_scale(scale: float, steps: int) -> float:
    """Return the metric so many steps above ``scale``."""
    return SCALES[min(SCALES.index(scale) + steps, len(SCALES) - 1)]


@dataclass(frozen=True)
class Settings:
    """How bonds are solved and cut: x <- (1 - tau L)^-1 x, at most ``products`` products to |r| <= rtol |r_0|."""

    tau: float
    bond: int
    cutoff: float
    rtol: float
    products: int


@dataclass
class Sweeper:
    """Tensors in canonical form (centre at ``centre``), their environments, and the bookkeeping of a sweep.

    ``bonds`` holds the labels of all L + 1 bonds, ``weights`` the largest relative weight discarded at every inner
    one, ``worst`` the largest |r|/|r_0| of a solve.
    """

    operator: GradedOperator
    tensors: list[np.ndarray]
    bonds: list[Legs]
    centre: int
    rate: float
    weights: np.ndarray
    worst: float = 0.0
    products: int = 0
    _left: list[np.ndarray] = field(default_factory=list)
    _right: list[np.ndarray] = field(default_factory=list)
    _left_halves: dict[int, Half] = field(default_factory=dict)
    _right_halves: dict[int, Half] = field(default_factory=dict)

    def __post_init__(self) -> None:
        L = len(self.tensors)
        self._left = [np.empty(0)] * L
        self._right = [np.empty(0)] * L
        self._left[0] = self._right[-1] = np.ones((1, 1, 1))
        for p in range(self.centre):
            frames = fuse_left(self.tensors[p], self.bonds[p], self._site(p), self.bonds[p + 1])
            self._grow_left(p, self._left_half(p), frames)
        for p in range(L - 1, self.centre, -1):
            frames = fuse_right(self.tensors[p], self.bonds[p], self._site(p), self.bonds[p + 1])
            self._grow_right(p, self._right_half(p), frames)

    def _site(self, p: int) -> Legs:
        return self.operator.locals[p]

    def account(self, weights: np.ndarray) -> None:
        """Begin the bookkeeping anew, with these discarded weights."""
        self.weights, self.worst, self.products = weights.copy(), 0.0, 0

    # both sides of a bond are used twice, on the way there and back

    def _left_half(self, p: int) -> Half:
        if p not in self._left_halves:
            w, v = self.operator, self.operator.bonds
            self._left_halves[p] = left_half(self._left[p], w.tensors[p], self.bonds[p], self._site(p), v[p + 1])
        return self._left_halves[p]

    def _right_half(self, p: int) -> Half:
        if p not in self._right_halves:
            w, v = self.operator, self.operator.bonds
            self._right_halves[p] = right_half(self._right[p], w.tensors[p], self.bonds[p + 1], self._site(p), v[p])
        return self._right_halves[p]

    def _grow_left(self, p: int, half: Half, frames: Blocks) -> None:
        self._left[p + 1] = grow_left(half, frames, self.bonds[p + 1], self.operator.bonds[p + 1])
        self._left_halves.pop(p + 1, None)

    def _grow_right(self, p: int, half: Half, frames: Blocks) -> None:
        self._right[p - 1] = grow_right(half, frames, self.bonds[p], self.operator.bonds[p])
        self._right_halves.pop(p - 1, None)

    def update(self, p: int, how: Settings, *, right: bool) -> None:
        """Solve at the bond (p, p+1), cut, and move the centre across it."""
        centre = Centre(self.bonds[p], self._site(p), self._site(p + 1), self.bonds[p + 2])
        x = centre.product(self.tensors[p], self.tensors[p + 1], self.bonds[p + 1])
        left, right_side = self._left_half(p), self._right_half(p + 1)
        local = LocalBlocks(left, right_side, list(zip(centre.rows(), centre.columns(), strict=True)))
        x = self._solved(local, x, how)
        cut = split_right(x, how.bond, how.cutoff) if right else split_left(x, how.bond, how.cutoff)
        self.weights[p] = max(self.weights[p], cut.weight)
        self.bonds[p + 1] = Legs(cut.sizes)
        self.tensors[p] = unfuse_left(cut.left, centre.left, centre.first, self.bonds[p + 1])
        self.tensors[p + 1] = unfuse_right(cut.right, self.bonds[p + 1], centre.second, centre.right)
        if right:
            self.centre = p + 1
            self._grow_left(p, left, cut.left)
        else:
            self.centre = p
            self._grow_right(p + 1, right_side, cut.right)

    def _solved(self, local: LocalBlocks, blocks: Blocks, how: Settings) -> Blocks:
        x = local.join(blocks)
        residual = -local(x)
        size = float(np.linalg.norm(residual) / np.linalg.norm(x)) / (self.rate * len(self.tensors))
        if size > ROUNDING:
            found = self._correction(local, residual, how)
            x = x + found.correction
            self.products += found.products
            if size > NEGLIGIBLE:
                self.worst = max(self.worst, found.ratio)
        return local.split(x / x[0])

    def _correction(self, local: LocalBlocks, residual: np.ndarray, how: Settings) -> Solve:
        inverse = 1.0 / how.tau
        if local.size <= DENSE:
            return lu_solve(local.dense(), inverse, residual)
        precondition = local.preconditioner(max(inverse, 1e-3 * self.rate))
        return gmres(lambda y: local(y) - inverse * y, precondition, residual, how.rtol, how.products)

    def flops(self, p: int, products: int) -> float:
        """Return roughly the number of operations of an update with so many products."""
        rows, columns = joined(self.bonds[p], self._site(p)), joined(self.bonds[p + 2], self._site(p + 1))
        m, k = max(rows), max(columns)
        terms = self.operator.bonds[p + 1].total
        work = (2 * terms + 8) * m * k * (m + k) * (products + 1.0) + 60.0 * (m**3 + k**3)
        return len(rows) * work + 2e6
