"""Two-site sweeps in frames that contain the identity, in a metric that weighs short operator strings more.

*Identity.*  Trace conservation is 1^T L = 0.  If the left and right frames at a bond contain the identity, the
projected generator inherits it exactly: it has the eigenvalue zero, corrections that start from a residual stay
traceless, and the equation L x = 0 with Tr x = 1 has a solution in every projection.  Here vector 0 of every frame
*is* the identity; a truncation cuts only what is orthogonal to it, so that all expectation values on either side of
the cut bond are left unchanged (C. D. White, M. Zaletel, R. S. K. Mong, G. Refael, PRB 97, 035127 (2018)).

*Metric.*  Coefficients of operator strings are divided by s^(number of non-identity factors), s >= 1.  The norm of a
nearly pure state exceeds its trace part by exp(const L); s is chosen such that it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...superoperator.train import robust_svd, truncation_rank
from .environments import grow_left, grow_right, left_environments, right_environments
from .local import DENSE, Kronecker, LocalGenerator, dense_solve, gmres

__all__ = ["SCALES", "Cut", "Settings", "Sweeper", "embed", "norm_over_trace", "split_left", "split_right"]

# Metrics tried, and the ratio of norm to trace part above which a larger s is taken.
SCALES = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
LARGEST_RATIO = 10.0
# Residuals below these fractions of |L| |x|: rounding, not solved for; too small to matter if not solved well.
ROUNDING = 1e-14
NEGLIGIBLE = 1e-11


@dataclass(frozen=True)
class Cut:
    """A truncated split x = frame centre (or centre frame) and the relative weight it discarded."""

    left: np.ndarray
    right: np.ndarray
    weight: float


def split_right(x: np.ndarray, bond: int, cutoff: float) -> Cut:
    """Return (frame, centre) of x, shape (m, k); row 0 of x, the identity, is column 0 of the frame."""
    norm = float(np.linalg.norm(x))
    if len(x) == 1:
        return Cut(np.ones((1, 1)), x, 0.0)
    u, s, v = robust_svd(x[1:])
    # truncation_rank counts relative to s; here everything is relative to |x|
    full = np.append(norm, s)
    keep = truncation_rank(full, bond, 0.0) - 1
    if cutoff > 0:
        tail = np.append(np.cumsum(s[::-1] ** 2)[::-1], 0.0)
        keep = min(keep, int(np.argmax(tail <= cutoff * norm**2)))
    frame = np.zeros((len(x), keep + 1))
    frame[0, 0] = 1.0
    frame[1:, 1:] = u[:, :keep]
    centre = np.concatenate([x[:1], s[:keep, None] * v[:keep]])
    return Cut(frame, centre, float((s[keep:] ** 2).sum() / norm**2))


def split_left(x: np.ndarray, bond: int, cutoff: float) -> Cut:
    """Return (centre, frame) of x; column 0 of x, the identity, is row 0 of the frame."""
    cut = split_right(x.T, bond, cutoff)
    return Cut(np.ascontiguousarray(cut.right.T), np.ascontiguousarray(cut.left.T), cut.weight)


def embed(train: Sequence[np.ndarray], scale: float) -> list[np.ndarray]:
    """Return the frames of a train (trace 1, any gauge) in the metric ``scale``, centre 0, nothing truncated.

    The result has identity component 1; :func:`release` is the inverse.
    """
    out = [t * _metric(t.shape[1], scale) for t in train]
    # the partial traces grow no faster than d^(1/2) per site, which `_metric` has divided out
    for p in range(len(out) - 1, 0, -1):
        n, r = out[p].shape[1:]
        cut = split_left(out[p].reshape(-1, n * r), n * r + 1, 0.0)
        size = float(np.abs(cut.left).max())
        out[p] = cut.right.reshape(-1, n, r)
        out[p - 1] = np.tensordot(out[p - 1], cut.left / size, axes=(2, 0))
    return [out[0] / out[0][0, 0, 0], *out[1:]]


def release(tensors: Sequence[np.ndarray], scale: float) -> tuple[np.ndarray, ...]:
    """Return the train of the density matrix, trace 1, from tensors with identity component 1."""
    return tuple(t / _metric(t.shape[1], scale) for t in tensors)


def resume_frames(train: Sequence[np.ndarray], scale: float) -> list[np.ndarray]:
    """Return the tensors from which :func:`release` made ``train``."""
    return [t * _metric(t.shape[1], scale) for t in train]


def _metric(n: int, scale: float) -> np.ndarray:
    """Factors, shape (n, 1): sqrt(d) for the identity, sqrt(d)/s for the others."""
    out = np.full((n, 1), n**0.25 / scale)
    out[0] = n**0.25
    return out


def scaled_operator(tensors: Sequence[np.ndarray], scale: float) -> list[np.ndarray]:
    """Return the operator in the metric, S^-1 L S with S = diag(1, s, .., s) on every site."""
    out = []
    for w in tensors:
        v = np.full(w.shape[1], 1.0 / scale)
        v[0] = 1.0
        out.append(np.ascontiguousarray(w * v[None, :, None, None] / v[None, None, :, None]))
    return out


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

    ``weights`` holds the largest relative weight discarded at every bond, ``worst`` the largest |r|/|r_0| of a solve.
    """

    operator: list[np.ndarray]
    tensors: list[np.ndarray]
    centre: int
    rate: float
    weights: np.ndarray
    worst: float = 0.0
    products: int = 0
    _left: list[np.ndarray] = field(default_factory=list)
    _right: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        L = len(self.tensors)
        self._left = left_environments(self.tensors, self.operator, self.centre)
        self._right = right_environments(self.tensors, self.operator, self.centre)
        self._left += [np.empty(0)] * (L - len(self._left))
        self._right = [np.empty(0)] * (L - len(self._right)) + self._right[::-1]

    def update(self, p: int, how: Settings, *, right: bool) -> None:
        """Solve at the bond (p, p+1), cut, and move the centre across it."""
        theta = np.tensordot(self.tensors[p], self.tensors[p + 1], axes=(2, 0))
        n_left, n_right, r = theta.shape[1:]
        x = theta.reshape(-1, n_right * r)
        x = self._solved(p, x, how)
        cut = split_right(x, how.bond, how.cutoff) if right else split_left(x, how.bond, how.cutoff)
        self.weights[p] = max(self.weights[p], cut.weight)
        self.tensors[p] = cut.left.reshape(-1, n_left, cut.left.shape[1])
        self.tensors[p + 1] = cut.right.reshape(-1, n_right, r)
        if right:
            self.centre = p + 1
            self._left[p + 1] = grow_left(self._left[p], self.tensors[p], self.operator[p])
        else:
            self.centre = p
            self._right[p] = grow_right(self._right[p + 1], self.tensors[p + 1], self.operator[p + 1])

    def _solved(self, p: int, x: np.ndarray, how: Settings) -> np.ndarray:
        generator = LocalGenerator(self._left[p], self.operator[p], self.operator[p + 1], self._right[p + 1])
        residual = -generator(x)
        size = float(np.linalg.norm(residual) / np.linalg.norm(x)) / (self.rate * len(self.tensors))
        if size > ROUNDING:
            inverse = 1.0 / how.tau
            shift = max(inverse, 1e-3 * self.rate)
            if x.size <= DENSE:
                found = dense_solve(generator, inverse, residual)
            else:
                precondition = Kronecker(*generator.kronecker(), shift)
                found = gmres(lambda y: generator(y) - inverse * y, precondition, residual, how.rtol, how.products)
            x = x + found.correction
            self.products += found.products
            if size > NEGLIGIBLE:
                self.worst = max(self.worst, found.ratio)
        return x / x[0, 0]
