"""One sweep of a linear problem in blocks: frames sorted by label, the environments of A, of the identity and of b.

The two-site centre of y obeys the projected problem

    ( A_loc - s |u)(u| ) y = b_loc,        u the projected identity,

and takes one implicit Euler step of length tau towards its solution.  Where the generator conserves a grading
(:mod:`.implicit.sectors`) that the right-hand side obeys as well, y and every matrix that acts on it fall into blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..superoperator.train import canonical_train, robust_svd, truncation_rank
from .implicit.blocks import Centre, LocalBlocks, unfuse_left, unfuse_right
from .implicit.local import gmres
from .implicit.sectors import GradedOperator, Legs
from .implicit.sweeps import Sweeper
from .linear_terms import PairBlocks, PairTerms

__all__ = ["GradedTrain", "LinearSweep", "graded_train"]

Apply = Callable[[np.ndarray], np.ndarray]
Blocks = list[np.ndarray]

# Without sectors, blocks (bond times d^2) beyond this size are applied site by site: fewer operations, more calls.
HALVES = 100
# Blocks at least this large are worth the calls of the nearest-neighbour form.
PAIRS = 48
# A local system is solved to this fraction of its residual; the sweeps do the rest.
LOCAL_ACCURACY = 1e-3
# Singular values of y below this fraction of the largest carry nothing the estimate could see.
NOISE = 1e-12
# The same for the numbers of a train that is only sorted.
EXACT_NOISE = 1e-15


@dataclass(frozen=True)
class GradedTrain:
    """A train in sorted local bases, canonical with centre 0, the labels of its L + 1 bonds, and what was left out.

    ``rest`` is the norm of the part whose total label is not zero, relative to that of the train.
    """

    tensors: tuple[np.ndarray, ...]
    bonds: tuple[Legs, ...]
    rest: float


def graded_train(train: Sequence[np.ndarray], operator: GradedOperator) -> GradedTrain:
    """Return the part of total label zero of a train, its bonds sorted by label.

    >>> from .implicit.sectors import ungraded
    >>> import numpy as np
    >>> operator = ungraded([np.eye(4).reshape(1, 4, 4, 1)] * 2)
    >>> one = np.eye(1, 4).reshape(1, 4, 1)
    >>> graded_train([one, one], operator).bonds[1].sizes
    (1,)
    """
    L, sectors = len(train), operator.sectors
    out = list(canonical_train([t[:, o] for t, o in zip(train, operator.orders, strict=True)], L - 1))
    size = float(np.linalg.norm(out[-1]))
    last = Legs((1,) + (0,) * (sectors - 1))
    bonds = [last] * (L + 1)
    for p in range(L - 1, 0, -1):
        site, right = operator.locals[p], bonds[p + 1]
        parts = []
        for c in range(sectors):
            columns = [out[p][:, site.slices[s], right.slices[c ^ s]] for s in range(sectors)]
            parts.append(_svd(np.concatenate([x.reshape(len(x), -1) for x in columns], axis=1)))
        kept = [int(np.count_nonzero(s > EXACT_NOISE * size)) for _, s, _ in parts]
        if not any(kept):
            kept[0] = min(1, len(parts[0][1]))
        bonds[p] = Legs(tuple(kept))
        out[p] = unfuse_right([v[:k] for k, (_, _, v) in zip(kept, parts, strict=True)], bonds[p], site, right)
        rest = np.concatenate([u[:, :k] * s[:k] for k, (u, s, _) in zip(kept, parts, strict=True)], axis=1)
        out[p - 1] = np.tensordot(out[p - 1], rest, axes=(2, 0))
    labels = operator.locals[0].labels[:, None] ^ bonds[1].labels
    first = np.where(labels == 0, out[0], 0.0)
    odd = float(np.linalg.norm(out[0] - first))
    return GradedTrain((first, *out[1:]), tuple(bonds), odd / size if size > 0 else 0.0)


def _svd(b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not b.size:
        return np.zeros((b.shape[0], 0)), np.zeros(0), np.zeros((0, b.shape[1]))
    return robust_svd(b)


@dataclass
class LinearSweep(Sweeper):
    """Tensors with a moving centre, and the environments of A, of the identity and of b around it."""

    b: GradedTrain | None = None
    shift: float = 1.0
    pairs: PairTerms | None = None
    _left_unit: list[np.ndarray] = field(default_factory=list)
    _right_unit: list[np.ndarray] = field(default_factory=list)
    _left_b: list[np.ndarray] = field(default_factory=list)  # ket b
    _right_b: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def of(
        cls, operator: GradedOperator, pairs: PairTerms | None, b: GradedTrain, shift: float, y: GradedTrain
    ) -> LinearSweep:
        """Return the sweep that starts from y at its first bond."""
        weights = np.zeros(len(y.tensors) - 1)
        return cls(operator, list(y.tensors), list(y.bonds), 0, 1.0, weights, b=b, shift=shift, pairs=pairs)

    def __post_init__(self) -> None:
        super().__post_init__()
        n = len(self.tensors)
        self._left_unit, self._right_unit = [np.ones(1)] * (n + 1), [np.ones(1)] * (n + 1)
        self._left_b, self._right_b = [np.ones((1, 1))] * (n + 1), [np.ones((1, 1))] * (n + 1)
        for p in range(n - 1, 1, -1):
            self._extend_right(p)

    @property
    def _source(self) -> GradedTrain:
        assert self.b is not None
        return self.b

    def _extend_right(self, p: int) -> None:
        """Overlaps of everything from position p on; the identity is the first basis operator of every site."""
        t = self.tensors[p]
        self._right_unit[p] = t[:, 0, :] @ self._right_unit[p + 1]
        x = np.tensordot(self._source.tensors[p], self._right_b[p + 1], axes=(2, 1))  # b' i a
        self._right_b[p] = np.tensordot(t, x, axes=((1, 2), (1, 2)))

    def _extend_left(self, p: int) -> None:
        """Overlaps of everything up to and including position p."""
        t = self.tensors[p]
        self._left_unit[p + 1] = self._left_unit[p] @ t[:, 0, :]
        x = np.tensordot(self._left_b[p], self._source.tensors[p], axes=(1, 0))  # a i b'
        self._left_b[p + 1] = np.tensordot(t, x, axes=((0, 1), (0, 1)))

    def solve(self, p: int, tau: float, max_bond: int, krylov: int, *, forward: bool) -> float:
        """Step at the bond (p, p+1), cut, and move the centre; return the norm of the local residual before."""
        centre = Centre(self.bonds[p], self._site(p), self._site(p + 1), self.bonds[p + 2])
        left, right = self._left_half(p), self._right_half(p + 1)
        local = LocalBlocks(left, right, list(zip(centre.rows(), centre.columns(), strict=True)))
        y = local.join(centre.product(self.tensors[p], self.tensors[p + 1], self.bonds[p + 1]))
        unit = self._unit(p, centre, local)
        residual = self._projected_source(p, centre, local) - local(y) + (self.shift * float(unit @ y)) * unit
        size = float(np.linalg.norm(residual))
        if size > 0:
            apply = self._operator(p, centre, local)
            y = y + _step(apply, unit, self.shift, tau, residual, krylov)
        frames = _cut(local.split(y), max_bond, forward=forward)
        self.bonds[p + 1] = Legs(tuple(b.shape[1] for b in frames[0]))
        self.tensors[p] = unfuse_left(frames[0], centre.left, centre.first, self.bonds[p + 1])
        self.tensors[p + 1] = unfuse_right(frames[1], self.bonds[p + 1], centre.second, centre.right)
        if forward:
            self.centre = p + 1
            self._grow_left(p, left, frames[0])
            self._extend_left(p)
        else:
            self.centre = p
            self._grow_right(p + 1, right, frames[1])
            self._extend_right(p + 1)
        return size

    def _unit(self, p: int, centre: Centre, local: LocalBlocks) -> np.ndarray:
        """Return the identity projected on the centre, a flat vector."""
        one = Legs((1,) + (0,) * (centre.sectors - 1))
        a = np.zeros((centre.left.total, centre.first.total, 1))
        b = np.zeros((1, centre.second.total, centre.right.total))
        a[:, 0, 0], b[0, 0, :] = self._left_unit[p], self._right_unit[p + 2]
        return local.join(centre.product(a, b, one))

    def _projected_source(self, p: int, centre: Centre, local: LocalBlocks) -> np.ndarray:
        """Return b projected on the centre, a flat vector."""
        source = self._source
        a = np.tensordot(self._left_b[p], source.tensors[p], axes=(1, 0))
        b = np.tensordot(source.tensors[p + 1], self._right_b[p + 2], axes=(2, 1))
        return local.join(centre.product(a, b, source.bonds[p + 1]))

    def _operator(self, p: int, centre: Centre, local: LocalBlocks) -> Apply:
        """Return the fastest form of the projected operator; what it returns decides the precision of the step."""
        if self.pairs is not None and max(max(s) for s in local.shapes) >= PAIRS:
            return PairBlocks(self.pairs, p, centre, self._left[p], self._right[p + 1])
        if len(local.shapes) > 1 or max(local.shapes[0]) <= HALVES:
            return local
        w = self.operator.tensors
        return _by_sites(self._left[p], w[p], w[p + 1], self._right[p + 1])


def _step(apply: Apply, unit: np.ndarray, shift: float, tau: float, residual: np.ndarray, krylov: int) -> np.ndarray:
    """Return the implicit step ( A - s |u)(u| - 1/tau )^-1 r to a few digits."""
    kind = np.float32 if isinstance(apply, PairBlocks) else np.float64
    u: np.ndarray = unit.astype(kind)
    size = float(np.linalg.norm(residual))

    def full(z: np.ndarray) -> np.ndarray:
        out: np.ndarray = apply(z)
        out -= (shift * float(u @ z)) * u
        out -= z / kind(tau)
        return out

    solved = gmres(full, lambda z: z, (residual / size).astype(kind), LOCAL_ACCURACY, krylov)
    return size * solved.correction.astype(float)


def _by_sites(left: np.ndarray, w1: np.ndarray, w2: np.ndarray, right: np.ndarray) -> Apply:
    """Return the projected operator as a plain chain of products, for large blocks without sectors."""
    l, m, n, r = left.shape[2], w1.shape[2], w2.shape[2], right.shape[2]
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


def _cut(blocks: Blocks, max_bond: int, *, forward: bool) -> tuple[Blocks, Blocks]:
    """Return the two factors of every block, the centre in the second (``forward``) or the first."""
    parts = [_svd(b) for b in blocks]
    values = np.concatenate([s for _, s, _ in parts])
    order = np.argsort(-values, kind="stable")
    keep = truncation_rank(values[order], max_bond, 0.0, NOISE)
    where = np.repeat(np.arange(len(parts)), [len(s) for _, s, _ in parts])[order[:keep]]
    left, right = [], []
    for c, (u, s, v) in enumerate(parts):
        k = int(np.count_nonzero(where == c))
        left.append(u[:, :k] if forward else u[:, :k] * s[:k])
        right.append(s[:k, None] * v[:k] if forward else v[:k])
    return left, right
