"""Linear problems with a Lindbladian or its adjoint in matrix-product form, by two-site implicit Galerkin sweeps.

    ( L^T - s |1)(1| ) y = b

The shift s on the identity removes the null direction of L^T.  A local update minimises nothing: with the projected
operator A_loc of two sites it takes one implicit Euler step of length tau towards the solution,

    y <- y + ( A_loc - 1/tau )^{-1} ( b_loc - A_loc y ),

by GMRES without restart.  Everything is in units where the identity has norm one (b_k = Tr(O B_k)/sqrt(D)), so that
numbers stay of order one on long chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..superoperator.mpo import MPO
from ..superoperator.train import (
    add_trains,
    canonical_train,
    compress_train,
    train_inner,
    train_log_norm,
)
from .implicit.sectors import GradedOperator, ungraded
from .linear_blocks import GradedTrain, LinearSweep, graded_train
from .linear_terms import PairTerms, pair_terms

__all__ = [
    "FIRST_STEP",
    "DualProblem",
    "DualVector",
    "Relaxed",
    "identity_train",
    "ladder",
    "relax",
    "relax_level",
    "restart_step",
    "traceless_train",
]

# Products with a projected operator per local solve, up to a bond dimension and beyond.  Many settle slow modes, which
# the residual hardly sees, while blocks are small; on large blocks they do harm, as GMRES then follows eigenvalues of
# the projection that the generator has not.
KRYLOV, FEWER, SMALL_BOND = 40, 12, 16
# Relative part of a right-hand side outside the sector of the identity that is rounding.
ODD = 1e-11
# Below this relative residual a solution is exact, and comparing residuals means nothing.
NEGLIGIBLE = 1e-9
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
# A level ends when the last PATIENCE sweeps lowered the residual by less than GAIN; with steps of LONG_STEP and more,
# the last LONG_PATIENCE by their share of it.
PATIENCE, LONG_PATIENCE, GAIN, LONG_STEP = 6, 4, 0.8, 100.0
MOST_SWEEPS = 150
# A level that ends with a larger relative residual is no start for the next one.
POOR = 0.1
# First step of a problem that is begun anew.
SAFE_STEP = 1.0
# Sweeps of a start that no step is taken back in, and their steps: they double up to the longest.
WARM_SWEEPS, WARM_STEP, LONGEST_WARM = 14, 1.0, 300.0


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
    grading
        The operator with labelled bonds, if it conserves a grading: the sweeps then work on blocks, unless b has a part
        in another sector than the identity.
    small_bond
        Bond dimension up to which local solves take many products.
    """

    operator: MPO
    b: tuple[np.ndarray, ...]
    shift: float
    grading: GradedOperator | None = None
    small_bond: int = SMALL_BOND
    norm: float = field(init=False)

    def __post_init__(self) -> None:
        self.norm = float(np.exp(train_log_norm(self.b)))

    @cached_property
    def _graded(self) -> GradedOperator:
        if self.grading is None or graded_train(self.b, self.grading).rest > ODD:
            return ungraded(self.operator.tensors)
        return self.grading

    @cached_property
    def _pairs(self) -> PairTerms | None:
        return pair_terms(self._graded)

    @cached_property
    def _source(self) -> GradedTrain:
        return graded_train(self.b, self._graded)

    @property
    def length(self) -> int:
        """Number of positions."""
        return len(self.b)

    @property
    def is_nearest_neighbour(self) -> bool:
        """Whether the generator couples neighbouring positions only."""
        return self._pairs is not None

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

    def sweep(self, y: DualVector, tau: float, max_bond: int, krylov: int | None = None) -> tuple[DualVector, float]:
        """Return y after one sweep to the right and back, and the largest relative local residual met before its solve.

        Parameters
        ----------
        tau
            Length of the implicit step (unit: time).
        max_bond
            Largest bond dimension.
        krylov
            Most products per local solve; by default few of them on large blocks.
        """
        if self.length == 1:
            return self._single(y)
        if krylov is None:
            krylov = KRYLOV if max_bond <= self.small_bond else FEWER
        start = graded_train(y.tensors, self._graded)
        work = LinearSweep.of(self._graded, self._pairs, self._source, self.shift, start)
        worst = 0.0
        for p in range(self.length - 1):
            worst = max(worst, work.solve(p, tau, max_bond, krylov, forward=True))
        for p in range(self.length - 2, -1, -1):
            worst = max(worst, work.solve(p, tau, max_bond, krylov, forward=False))
        tensors = []
        for t, order in zip(work.tensors, self._graded.orders, strict=True):
            x = np.empty_like(t)
            x[:, order] = t
            tensors.append(x)
        return DualVector(tuple(tensors), y.order), worst / self.norm

    def _single(self, y: DualVector) -> tuple[DualVector, float]:
        matrix = self.operator.tensors[0][0, :, :, 0].copy()
        matrix[0, 0] -= self.shift
        r = self.b[0].ravel() - matrix @ y.tensors[0].ravel()
        z = y.tensors[0].ravel() + np.linalg.solve(matrix, r)
        return DualVector((z.reshape(1, -1, 1),), y.order), float(np.linalg.norm(r)) / self.norm


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
        since = LONG_PATIENCE if step >= LONG_STEP else PATIENCE
        settled = len(record) > since and size > GAIN ** (since / PATIENCE) * record[-1 - since]
        if settled or step < SMALLEST_STEP or size <= max(accuracy, 1e-13):
            break
    return Relaxed(best, size, step)


def relax_level(problem: DualProblem, before: Relaxed | None, bond: int) -> Relaxed:
    """Return the solution of the next level of a ladder of bond dimensions, from that of the level before.

    Without a usable level before, the sweeps start from -b/s; should that end nowhere, from :func:`warm_up`.
    """
    if before is None or before.residual > POOR:
        step = FIRST_STEP if before is None else SAFE_STEP
        found = relax(problem, problem.enriched(problem.start(), bond), bond, step)
        if found.residual > POOR:
            other = warm_up(problem, bond)
            if other.residual < found.residual:
                found = relax(problem, other.y, bond, restart_step(other.step))
        return found
    step = restart_step(before.step)
    if problem.is_nearest_neighbour:  # two-site updates see all there is
        return relax(problem, before.y, bond, step)
    found = relax(problem, problem.enriched(before.y, bond), bond, step)
    if found.residual > max(before.residual, NEGLIGIBLE):  # the enrichment did harm
        found = min(found, relax(problem, before.y, bond, step), key=lambda r: r.residual)
    return found


def warm_up(problem: DualProblem, bond: int) -> Relaxed:
    """Return the best of a fixed number of sweeps from -b/s with growing steps, none of them taken back.

    In a long chain what reaches the far end is large while it spreads: the residual rises before it falls.
    """
    best, step = Relaxed(problem.start(), np.inf, WARM_STEP), WARM_STEP
    y = problem.enriched(best.y, bond)
    for _ in range(WARM_SWEEPS):
        y, _ = problem.sweep(y, step / problem.shift, bond)
        now = problem.quick_residual(y)
        if not np.isfinite(now):
            break
        if now < best.residual:
            best = Relaxed(y, now, step)
        step = min(2 * step, LONGEST_WARM)
    return best
