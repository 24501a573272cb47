"""Elimination of a block-tridiagonal generator, level by level towards a pivot level from both ends.

With S_N the generator on level N after the levels beyond it have been eliminated,

    S_N = A_NN - A_N,N+1 S_{N+1}^{-1} A_{N+1,N}      (from above; from below alike),

the pivot level is left with the generator of the *censored* process, which knows the other levels only through what
returns from them.  Every S_N generates a completely positive, trace non-increasing semigroup, so -S_N^{-1} is a
positive map and the recursion adds like with like: the quantum form of the elimination of W. K. Grassmann, M. I. Taksar
and D. P. Heyman, Oper. Res. 33, 1107 (1985).  Cost 2 sum_N n_N^3 operations for n_N unknowns on level N.

Large blocks are inverted in single precision and the solution is refined with double-precision residuals, which is
twice as fast and as accurate as long as the refinement contracts; it is checked, and repeated in double precision if
it does not.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg as sla
import scipy.sparse as sp

from ..superoperator.level_blocks import LevelBlocks

__all__ = [
    "Elimination",
    "SingularLevelError",
    "Solution",
    "choose_pivot",
    "eliminate",
    "null_dimension",
    "solve_blocks",
    "stationary",
]

ZERO = 1e-13
"""A relaxation rate below this part of |L|_1 counts as zero."""

_REFINEMENTS = 20
_POWER_STEPS = 10
_WORTH_SINGLE = 3e8  # sum of n_N^3 from which single precision is tried
_ROUNDING = 1e-15  # refinement has done its work below this part of |L|_1 |x|
_LARGEST_SVD = 1500
_LONGEST = {"float32": 3e3, "float64": 1 / ZERO}  # largest |S^{-1}|_1 |L|_1 that is trusted


class SingularLevelError(ArithmeticError):
    """A level cannot be eliminated: something stationary lives on it and beyond it."""

    def __init__(self, level: int) -> None:
        super().__init__(f"level {level} cannot be eliminated")
        self.level = level


@dataclass(frozen=True, eq=False)
class Elimination:
    """Inverses of all S_N; on the pivot level that of S - s v Tr(.), with v the mixed state of the level.

    Attributes
    ----------
    blocks
        The generator A.
    pivot
        The level that was eliminated last.
    inverses
        S_N^{-1}, dense, one per level.
    border
        s v on the pivot level.
    """

    blocks: LevelBlocks
    pivot: int
    inverses: tuple[np.ndarray, ...]
    border: np.ndarray

    def solve(self, b: np.ndarray, *, transpose: bool = False) -> np.ndarray:
        """Return B^{-1} b or B^{-T} b of the regular matrix B = A - s v Tr_pivot(.)."""
        dtype = self.inverses[0].dtype
        scale = float(np.abs(b).max(initial=0.0)) or 1.0  # keeps tiny residuals away from the underflow of float32
        pieces = [(b[i:j] / scale).astype(dtype) for i, j in itertools.pairwise(self.blocks.offsets)]
        inverses = [g.T if transpose else g for g in self.inverses]
        count, m = len(pieces), self.pivot
        inward = [*((n, n - 1) for n in range(count - 1, m, -1)), *((n, n + 1) for n in range(m))]
        solved = list(pieces)
        for n, near in inward:
            solved[n] = inverses[n] @ pieces[n]
            pieces[near] -= self._couple(near, n, solved[n], transpose)
        solved[m] = inverses[m] @ pieces[m]
        for n, near in reversed(inward):
            solved[n] -= inverses[n] @ self._couple(n, near, solved[near], transpose)
        return scale * np.concatenate(solved).astype(float)

    def _couple(self, to: int, origin: int, x: np.ndarray, transpose: bool) -> np.ndarray:
        return (self._couplings[origin, to].T if transpose else self._couplings[to, origin]) @ x

    @cached_property
    def _couplings(self) -> dict[tuple[int, int], sp.csr_array]:
        """Blocks (to, from) in the precision of the inverses."""
        near = [pair for n in range(len(self.inverses) - 1) for pair in ((n, n + 1), (n + 1, n))]
        return {pair: _coupling(self.blocks, *pair).astype(self.inverses[0].dtype) for pair in near}

    @property
    def level_trace(self) -> np.ndarray:
        """Tr on the pivot level, zero elsewhere, over all unknowns."""
        out = np.zeros(int(self.blocks.offsets[-1]))
        out[self.blocks.offsets[self.pivot] : self.blocks.offsets[self.pivot + 1]] = self.blocks.trace[self.pivot]
        return out

    def gain(self, x: np.ndarray) -> float:
        """Return an estimate (from below, within a few per cent) of max |y| / |L y| over traceless y; x: Tr x = 1."""
        trace = np.concatenate(self.blocks.trace)
        direction = trace / float(np.linalg.norm(trace))
        v = np.random.default_rng(11).standard_normal(len(x))
        growth = 0.0
        for _ in range(_POWER_STEPS):
            v = v - direction * float(direction @ v)
            size = float(np.linalg.norm(v))
            if not np.isfinite(size) or size == 0:
                break
            w = self.solve(v / size)
            w = w - x * float(trace @ w)
            before, growth = growth, max(growth, float(np.linalg.norm(w)))
            if growth < 1.02 * before:
                break
            v = self.solve(w - trace * float(x @ w), transpose=True)
        return growth


def _coupling(blocks: LevelBlocks, to: int, origin: int) -> sp.csr_array:
    block = blocks.up[origin] if to > origin else blocks.down[origin]
    assert block is not None
    return block


def choose_pivot(blocks: LevelBlocks) -> int:
    """Return the level that is expected to hold most of the population.

    The estimate is the birth-death chain whose rates are those of the maximally mixed states of the levels.  Without
    upward jumps it gives the lowest level, without downward ones the highest.
    """
    mixed = [t / float(t @ t) for t in blocks.trace]
    floor = np.finfo(float).tiny
    logs = [0.0]
    for n in range(len(mixed) - 1):
        rise = float(blocks.trace[n + 1] @ (_coupling(blocks, n + 1, n) @ mixed[n]))
        fall = float(blocks.trace[n] @ (_coupling(blocks, n, n + 1) @ mixed[n + 1]))
        logs.append(logs[-1] + float(np.log(max(rise, floor)) - np.log(max(fall, floor))))
    return int(np.argmax(logs))


def eliminate(blocks: LevelBlocks, pivot: int, dtype: type = np.float64) -> Elimination:
    """Return the inverses of all levels in the given precision, eliminated from both ends towards ``pivot``.

    Raises
    ------
    SingularLevelError
        If a level cannot be eliminated; for the pivot level: if the steady state is not unique.
    """
    last, inverses = _reduced(blocks, pivot, dtype)
    trace = blocks.trace[pivot]
    strength = float(abs(blocks.here[pivot]).sum(axis=0).max()) or blocks.norm or 1.0
    border = strength * trace / float(trace @ trace)
    bordered: np.ndarray = (last - np.outer(border, trace)).astype(dtype)
    inverses[pivot] = _inverse(bordered, _longest(blocks, dtype), pivot)
    return Elimination(blocks, pivot, tuple(inverses), border)


def _longest(blocks: LevelBlocks, dtype: type) -> float:
    return _LONGEST[np.dtype(dtype).name] / max(blocks.norm, np.finfo(float).tiny)


def _reduced(blocks: LevelBlocks, pivot: int, dtype: type) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the Schur complement of the pivot level and the inverses of all others."""
    count, longest = len(blocks.here), _longest(blocks, dtype)
    inverses: list[np.ndarray] = [np.zeros((0, 0), dtype=dtype)] * count
    pending: dict[int, np.ndarray] = {}
    for n, near in [*((n, n - 1) for n in range(count - 1, pivot, -1)), *((n, n + 1) for n in range(pivot))]:
        inverses[n] = _inverse(_schur(blocks, n, pending, dtype), longest, n)
        out, back = _coupling(blocks, n, near).astype(dtype), _coupling(blocks, near, n).astype(dtype)
        inner = out.T @ inverses[n].T  # (S^{-1} A_n,near)^T: sparse times dense
        update = back @ np.ascontiguousarray(inner.T)
        pending[near] = pending[near] + update if near in pending else update
    return _schur(blocks, pivot, pending, dtype), inverses


def _schur(blocks: LevelBlocks, n: int, pending: dict[int, np.ndarray], dtype: type) -> np.ndarray:
    s = blocks.here[n].astype(dtype).toarray(order="F")
    if n in pending:
        s -= pending.pop(n)
    return s


def _inverse(s: np.ndarray, longest: float, level: int) -> np.ndarray:
    """Return S^{-1}, refused if |S^{-1}|_1 exceeds ``longest``: something on the level then lives as good as for ever.

    LAPACK is called directly because nearly singular levels are judged here, by the rate they stand for.
    """
    getrf, getri, getri_lwork = sla.get_lapack_funcs(("getrf", "getri", "getri_lwork"), (s,))
    inverse, pivots, info = getrf(np.asfortranarray(s))
    if info == 0:
        work, _ = getri_lwork(len(s))
        inverse, info = getri(inverse, pivots, lwork=int(work), overwrite_lu=True)
    if info != 0 or not float(np.abs(inverse).sum(axis=0).max()) < longest:
        raise SingularLevelError(level)
    return inverse


@dataclass(frozen=True, eq=False)
class Solution:
    """A steady state of the blocks: unknowns x with Tr x = 1, |A x|, and 1/gain, the smallest singular value of A.

    ``single`` says whether the blocks were inverted in single precision.
    """

    x: np.ndarray
    residual: float
    gain: float
    pivot: int
    single: bool


def solve_blocks(blocks: LevelBlocks, *, single: bool | None = None) -> Solution:
    """Return the steady state.

    Parameters
    ----------
    single
        Whether single precision is tried first; None: for large blocks.

    Raises
    ------
    SingularLevelError
        If no choice of the pivot level works: the steady state is not unique.
    """
    if single is None:
        single = sum(float(n) ** 3 for n in blocks.sizes) > _WORTH_SINGLE
    guess = choose_pivot(blocks)
    pivots = tuple(dict.fromkeys((guess, 0, len(blocks.sizes) - 1)))
    attempts = [(np.float64, p) for p in pivots]
    failed = SingularLevelError(guess)
    for dtype, pivot in [(np.float32, guess), *attempts] if single else attempts:
        try:
            return _attempt(blocks, pivot, dtype)
        except SingularLevelError as error:
            failed = error
    raise failed


def _attempt(blocks: LevelBlocks, pivot: int, dtype: type) -> Solution:
    elimination = eliminate(blocks, pivot, dtype)
    x, residual = stationary(elimination)
    if dtype is np.float32 and not residual <= _ROUNDING * blocks.norm * float(np.linalg.norm(x)):
        raise SingularLevelError(pivot)
    gain = elimination.gain(x)
    if not gain * blocks.norm * ZERO < 1:
        raise SingularLevelError(pivot)
    return Solution(x, residual, gain, pivot, dtype is np.float32)


def stationary(elimination: Elimination) -> tuple[np.ndarray, float]:
    """Return the steady state x with Tr x = 1 and |A x|, after iterative refinement."""
    blocks, m = elimination.blocks, elimination.pivot
    trace = np.concatenate(blocks.trace)
    b = np.zeros(len(trace))
    b[blocks.offsets[m] : blocks.offsets[m + 1]] = -elimination.border
    x = elimination.solve(b)
    x /= float(trace @ x)
    residual = float(np.linalg.norm(blocks.apply(x)))
    for _ in range(_REFINEMENTS):
        trial = x - elimination.solve(blocks.apply(x))
        trial /= float(trace @ trial)
        after = float(np.linalg.norm(blocks.apply(trial)))
        if not after < residual:
            break
        x, settled, residual = trial, after > 0.5 * residual, after
        if settled:
            break
    return x, residual


def null_dimension(blocks: LevelBlocks) -> int | None:
    """Return the number of zero singular values of the last Schur complement.

    None if a level cannot be eliminated whichever one is left to the end, or if the last one is large.
    """
    for pivot in dict.fromkeys((choose_pivot(blocks), 0, len(blocks.sizes) - 1)):
        if blocks.sizes[pivot] > _LARGEST_SVD:
            continue
        try:
            last = _reduced(blocks, pivot, np.float64)[0]
        except SingularLevelError:
            continue
        values = np.linalg.svd(last, compute_uv=False)
        return int(np.count_nonzero(values <= 10 * ZERO * blocks.norm))
    return None
