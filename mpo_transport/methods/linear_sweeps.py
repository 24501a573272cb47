"""Linear problems with a Lindbladian or its adjoint in matrix-product form, by two-site implicit Galerkin sweeps.

    ( L^T - s |1)(1| ) y = b

The shift s on the identity removes the null direction of L^T.  A local update minimises nothing: with the projected
operator A_loc of two sites it takes one implicit Euler step of length tau towards the solution,

    y <- y + ( A_loc - 1/tau )^{-1} ( b_loc - A_loc y ),

by GMRES without restart.  Everything is in units where the identity has norm one (b_k = Tr(O B_k)/sqrt(D)), so that
numbers stay of order one on long chains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..superoperator.mpo import MPO
from ..superoperator.train import (
    add_trains,
    canonical_train,
    compress_train,
    robust_svd,
    train_inner,
    train_log_norm,
    truncation_rank,
)
from .implicit.environments import edge, grow_left, grow_right
from .implicit.local import LocalGenerator, gmres

__all__ = [
    "FIRST_STEP",
    "DualProblem",
    "DualVector",
    "Relaxed",
    "identity_train",
    "ladder",
    "relax",
    "restart_step",
    "traceless_train",
]

Apply = Callable[[np.ndarray], np.ndarray]

# Up to this size of a half block (bond times d^2) the local operator is kept as two halves, which needs fewer calls.
HALVES = 100
KRYLOV = 40
# A local system is solved to this fraction of its residual; the sweeps do the rest.
LOCAL_ACCURACY = 1e-3
# Singular values of y below this fraction of the largest carry nothing the estimate could see.
NOISE = 1e-12
# Relative size of differences below which scalar products lose too much to rounding.
QUICK = 1e-5
FIRST_BOND = 4
# Implicit steps tau of the sweeps, in units of one over the shift: the first one, the smallest, the largest.
FIRST_STEP, SMALLEST_STEP, LARGEST_STEP = 3.0, 0.03, 1e4
# ... and the shortest one at the beginning of a further level.
RESTART_STEP = 0.3
# A step grows after a sweep that lowers the residual by less than SLOW, and shrinks after one that was taken back.
SLOW, LONGER, SHORTER = 0.5, 3.0, 4.0
# A sweep that raises the residual by more than this factor is taken back, the third one in a row in any case.
BACK, WORSE = 1.5, 2
# A level ends when the last PATIENCE sweeps lowered the residual by less than GAIN (with long steps: the last two).
PATIENCE, GAIN, LONG_STEP = 6, 0.8, 100.0
MOST_SWEEPS = 150


def identity_train(legs: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Return the unit vector e_0 of the identity as a train of bond dimension 1."""
    return tuple(np.eye(1, n).reshape(1, n, 1) for n in legs)


def traceless_train(train: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return the train without its component along the identity."""
    carry = np.ones((1, 1))
    for t in train:
        carry = carry @ t[:, 0, :]
    return add_trains([train, identity_train([t.shape[1] for t in train])], [1.0, -float(carry[0, 0])])


@dataclass(frozen=True)
class DualVector:
    """A matrix-product vector: tensors (l, d^2, r) and the site at every position."""

    tensors: tuple[np.ndarray, ...]
    order: tuple[int, ...]

    @property
    def bond_dimension(self) -> int:
        """The largest bond dimension."""
        return max((t.shape[2] for t in self.tensors[:-1]), default=1)


@dataclass
class DualProblem:
    """( L^T - shift |1)(1| ) y = b for one right-hand side.

    Attributes
    ----------
    operator
        L^T as a matrix-product operator.
    b
        The right-hand side, a train.
    shift
        s > 0, of the size of a typical rate.
    """

    operator: MPO
    b: tuple[np.ndarray, ...]
    shift: float
    norm: float = field(init=False)

    def __post_init__(self) -> None:
        self.norm = float(np.exp(train_log_norm(self.b)))

    @property
    def length(self) -> int:
        """Number of positions."""
        return len(self.b)

    def start(self) -> DualVector:
        """Return -b / shift, the solution for a generator that damps everything at the rate ``shift``."""
        tensors = list(self.b)
        tensors[0] = tensors[0] * (-1.0 / self.shift)
        return DualVector(tuple(tensors), self.operator.order)

    def residual(self, y: DualVector) -> float:
        """Return |A y - b| / |b|, exact (orthogonal transformations, no scalar product of differences)."""
        return float(np.linalg.norm(canonical_train(self._residual_train(y), 0)[0])) / self.norm

    def quick_residual(self, y: DualVector) -> float:
        """Return |A y - b| / |b| from scalar products: cheaper, and as accurate above 1e-5 |A y| / |b|.

        Below that it is :meth:`residual`; infinite where numbers have overflowed.
        """
        first = float(np.abs(y.tensors[0]).max())
        if not np.isfinite(first):
            return np.inf
        unit = DualVector(identity_train([t.shape[1] for t in self.b]), y.order)
        b = DualVector(self.b, y.order)
        overlap = train_inner(unit.tensors, y.tensors)
        size = train_log_norm(y.tensors)
        image = float(np.exp(2 * size)) * self.operator.residual(y, "square") ** 2 if np.isfinite(size) else 0.0
        square = image - 2 * self.operator.bilinear(b, y) + self.norm**2
        cross = self.operator.bilinear(unit, y)
        square += self.shift * overlap * (self.shift * overlap - 2 * cross + 2 * train_inner(unit.tensors, self.b))
        if not np.isfinite(square):
            return np.inf
        return self.residual(y) if square < QUICK**2 * max(image, self.norm**2) else float(np.sqrt(square)) / self.norm

    def with_identity(self, y: DualVector) -> DualVector:
        """Return y with the part along the identity that solves the row of the identity."""
        unit = DualVector(identity_train([t.shape[1] for t in self.b]), y.order)
        rest = self.operator.bilinear(unit, y) - train_inner(unit.tensors, self.b)
        wanted = rest / self.shift - train_inner(unit.tensors, y.tensors)
        return DualVector(add_trains([y.tensors, unit.tensors], [1.0, wanted]), y.order)

    def enriched(self, y: DualVector, max_bond: int) -> DualVector:
        """Return y + (A y - b) / s cut to ``max_bond``: a step of the evolution dy/dt = A y - b.

        Two-site updates alone never see a coupling that skips a position while its end is still empty.
        """
        total = add_trains([y.tensors, self._residual_train(y)], [1.0, 1.0 / self.shift])
        return DualVector(compress_train(total, max_bond).tensors, y.order)

    def _residual_train(self, y: DualVector) -> tuple[np.ndarray, ...]:
        unit = identity_train([t.shape[1] for t in self.b])
        carry = np.ones((1, 1))
        for t in y.tensors:
            carry = carry @ t[:, 0, :]
        overlap = float(carry[0, 0])
        return add_trains([self.operator.apply(y), unit, self.b], [1.0, -self.shift * overlap, -1.0])

    def sweep(self, y: DualVector, tau: float, max_bond: int, krylov: int = KRYLOV) -> tuple[DualVector, float]:
        """Return y after one sweep to the right and back, and the largest relative local residual met before its solve.

        Parameters
        ----------
        tau
            Length of the implicit step (unit: time).
        max_bond
            Largest bond dimension.
        """
        if self.length == 1:
            return self._single(y, tau, krylov)
        work = _Sweep(self, list(canonical_train(y.tensors, 0)))
        worst = 0.0
        for p in range(self.length - 1):
            worst = max(worst, work.update(p, tau, max_bond, krylov, forward=True))
        for p in range(self.length - 2, -1, -1):
            worst = max(worst, work.update(p, tau, max_bond, krylov, forward=False))
        return DualVector(tuple(work.tensors), y.order), worst / self.norm

    def _single(self, y: DualVector, tau: float, krylov: int) -> tuple[DualVector, float]:
        matrix = self.operator.tensors[0][0, :, :, 0].copy()
        matrix[0, 0] -= self.shift
        r = self.b[0].ravel() - matrix @ y.tensors[0].ravel()
        z = y.tensors[0].ravel() + np.linalg.solve(matrix, r)
        return DualVector((z.reshape(1, -1, 1),), y.order), float(np.linalg.norm(r)) / self.norm


class _Sweep:
    """Tensors with a moving centre, and the environments of L^T, of the identity and of b around it."""

    def __init__(self, problem: DualProblem, tensors: list[np.ndarray]) -> None:
        self.problem = problem
        self.tensors = tensors
        n = problem.length
        self.left: list[np.ndarray] = [edge()] * (n + 1)  # bra w ket
        self.right: list[np.ndarray] = [edge()] * (n + 1)
        self.left_unit: list[np.ndarray] = [np.ones(1)] * (n + 1)
        self.right_unit: list[np.ndarray] = [np.ones(1)] * (n + 1)
        self.left_b: list[np.ndarray] = [np.ones((1, 1))] * (n + 1)  # bra b
        self.right_b: list[np.ndarray] = [np.ones((1, 1))] * (n + 1)
        for p in range(n - 1, 1, -1):
            self._extend_right(p)

    def _extend_right(self, p: int) -> None:
        """Environment of everything from position p on."""
        t, w = self.tensors[p], self.problem.operator.tensors[p]
        self.right[p] = grow_right(self.right[p + 1], t, w)
        self.right_unit[p] = t[:, 0, :] @ self.right_unit[p + 1]
        x = np.tensordot(self.problem.b[p], self.right_b[p + 1], axes=(2, 1))  # b' i a
        self.right_b[p] = np.tensordot(t, x, axes=((1, 2), (1, 2)))

    def _extend_left(self, p: int) -> None:
        """Environment of everything up to and including position p."""
        t, w = self.tensors[p], self.problem.operator.tensors[p]
        self.left[p + 1] = grow_left(self.left[p], t, w)
        self.left_unit[p + 1] = self.left_unit[p] @ t[:, 0, :]
        x = np.tensordot(self.left_b[p], self.problem.b[p], axes=(1, 0))  # a i b'
        self.left_b[p + 1] = np.tensordot(t, x, axes=((0, 1), (0, 1)))

    def update(self, p: int, tau: float, max_bond: int, krylov: int, *, forward: bool) -> float:
        """Solve the block (p, p+1), split it and move the centre; return the norm of the local residual before."""
        a, b = self.tensors[p], self.tensors[p + 1]
        l, m, n, r = a.shape[0], a.shape[1], b.shape[1], b.shape[2]
        y = (a.reshape(l * m, -1) @ b.reshape(-1, n * r)).ravel()
        apply = _local_operator(self, p)
        corner = np.zeros((l, m, n, r))
        corner[:, 0, 0, :] = np.outer(self.left_unit[p], self.right_unit[p + 2])
        unit = corner.ravel()
        shift = self.problem.shift

        def full(z: np.ndarray) -> np.ndarray:
            return apply(z) - (shift * float(unit @ z)) * unit

        rhs = np.tensordot(self.left_b[p], self.problem.b[p], axes=(1, 0))
        rhs = np.tensordot(rhs, self.problem.b[p + 1], axes=(2, 0))
        rhs = np.tensordot(rhs, self.right_b[p + 2], axes=(3, 1)).ravel()
        residual = rhs - full(y)
        size = float(np.linalg.norm(residual))
        if size > 1e-14 * self.problem.norm:
            y = y + gmres(lambda z: full(z) - z / tau, lambda z: z, residual, LOCAL_ACCURACY, krylov).correction
        self._split(p, y.reshape(l * m, n * r), (l, m, n, r), max_bond, forward=forward)
        return size

    def _split(
        self, p: int, block: np.ndarray, shape: tuple[int, int, int, int], max_bond: int, *, forward: bool
    ) -> None:
        l, m, n, r = shape
        u, s, v = robust_svd(block)
        keep = truncation_rank(s, max_bond, 0.0, NOISE)
        u, s, v = u[:, :keep], s[:keep], v[:keep]
        if forward:
            v = s[:, None] * v
        else:
            u = u * s
        self.tensors[p] = np.ascontiguousarray(u).reshape(l, m, keep)
        self.tensors[p + 1] = np.ascontiguousarray(v).reshape(keep, n, r)
        if forward:
            self._extend_left(p)
        else:
            self._extend_right(p + 1)


def _local_operator(sweep: _Sweep, p: int) -> Apply:
    """Return the projected L^T of the block (p, p+1) as a function of a flat vector."""
    left, right = sweep.left[p], sweep.right[p + 2]
    w1, w2 = sweep.problem.operator.tensors[p], sweep.problem.operator.tensors[p + 1]
    l, m, n, r = left.shape[2], w1.shape[2], w2.shape[2], right.shape[2]
    if max(l * m, n * r) <= HALVES:
        halves = LocalGenerator(left, w1, w2, right)
        return lambda z: halves(z.reshape(l * m, n * r)).ravel()
    # a plain chain of products, for large blocks
    w, k, u = w1.shape[0], w1.shape[3], w2.shape[3]
    first = left.reshape(-1, l)  # (a w) l
    second = np.ascontiguousarray(w1.transpose(1, 3, 0, 2)).reshape(m * k, w * m)  # (o k) (w i)
    third = np.ascontiguousarray(w2.transpose(1, 3, 0, 2)).reshape(n * u, k * n)  # (o u) (k j)
    fourth = np.ascontiguousarray(right.transpose(1, 2, 0)).reshape(u * r, r)  # (u r) a

    def chain(z: np.ndarray) -> np.ndarray:
        x = (first @ z.reshape(l, -1)).reshape(l, w * m, n * r)  # a (w i) (j r)
        x = np.matmul(second, x).reshape(l, m, k * n, r)  # a o (k j) r
        x = np.matmul(third, x).reshape(l * m * n, u * r)  # a o o' (u r)
        return (x @ fourth).ravel()

    return chain


def ladder(max_bond: int) -> tuple[int, ...]:
    """Return the bond dimensions 4, 8, 16, ... up to ``max_bond``, at least two of them.

    >>> ladder(24), ladder(3)
    ((4, 8, 16, 24), (1, 3))
    """
    if max_bond <= FIRST_BOND:
        return (max(1, max_bond // 2), max_bond)
    steps = [FIRST_BOND]
    while 2 * steps[-1] < max_bond:
        steps.append(2 * steps[-1])
    return (*steps, max_bond)


def restart_step(step: float) -> float:
    """Return the first step of a level from the last one of the level before."""
    return float(np.clip(step, RESTART_STEP, LONG_STEP))


@dataclass(frozen=True)
class Relaxed:
    """A dual with its relative residual, and the implicit step that was in use at the end."""

    y: DualVector
    residual: float
    step: float


def relax(problem: DualProblem, y: DualVector, bond: int, step: float = FIRST_STEP, accuracy: float = 0.0) -> Relaxed:
    """Return the best y of sweeps with implicit steps whose length follows the exact residual.

    A projected generator that is far from normal (baths at the ends only) has eigenvalues near zero or with positive
    real part that the generator itself has not: long steps then lead away from the solution, or to infinity.  Short
    ones follow the evolution dy/dt = L^T y - b, which decays.  So a sweep that raises the residual much is taken back
    and the step shortened; one that lowers it little is followed by a longer step.
    """
    best, size = y, problem.quick_residual(y)
    record, worse = [size], 0
    for _ in range(MOST_SWEEPS):
        y, _ = problem.sweep(y, step / problem.shift, bond)
        now = problem.quick_residual(y)
        if now < size:
            if now > SLOW * size:
                step = min(LONGER * step, LARGEST_STEP)
            best, size, worse = y, now, 0
        elif now < BACK * size and worse < WORSE:
            worse += 1
        else:
            y, step, worse = best, step / SHORTER, 0
        record.append(size)
        since = 2 if step >= LONG_STEP else PATIENCE
        settled = len(record) > since and size > GAIN ** (since / PATIENCE) * record[-1 - since]
        if settled or step < SMALLEST_STEP or size <= max(accuracy, 1e-13):
            break
    return Relaxed(best, problem.residual(best), step)
