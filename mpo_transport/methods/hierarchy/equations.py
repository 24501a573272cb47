"""Solving closed equations of motion: stationary values with their rounding error, and transients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph as csgraph
import scipy.sparse.linalg as sla

__all__ = [
    "Factors",
    "IntertwinedError",
    "SingularError",
    "Solution",
    "components",
    "factor_work",
    "moved",
    "stationary",
]

_EPS = float(np.finfo(float).eps)
# |M| |M^-1| beyond which the equations do not fix the values.
SINGULAR = 1e13
# Samples and safety factor of the estimate of rounding errors.
SAMPLES, SAFETY = 4, 3.0
# Blocks up to this size are factorised anyway; larger ones up to this number of multiplications (half a minute).
SMALL, MOST_WORK = 4100, 5e10
# Longest step in units of 1/|M|, and order of the Taylor series, whose rest is then below rounding.
STEP, ORDER = 4.0, 40
# Products with M in one piece of an evolution.
PIECE = 4000


class SingularError(Exception):
    """The equations have no unique stationary solution; ``nullity`` counts the conserved combinations, where known."""

    def __init__(self, size: int, nullity: int | None) -> None:
        super().__init__(f"{size} equations")
        self.size, self.nullity = size, nullity


class IntertwinedError(Exception):
    """The factors of a block of ``size`` equations would take too long: every string speaks to too many others."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} equations")
        self.size = size


@dataclass(frozen=True, eq=False)
class Solution:
    """Stationary values (n,), the largest residual |M v + s| and an estimate of the largest error."""

    values: np.ndarray
    residual: float
    error: float


def components(matrix: sp.csr_array) -> list[np.ndarray]:
    """Return the sets of unknowns that do not speak to each other."""
    if not matrix.shape[0]:
        return []
    count, label = csgraph.connected_components(matrix, directed=True, connection="weak")
    order = np.argsort(label, kind="stable")
    return np.split(order, np.cumsum(np.bincount(label, minlength=count))[:-1])


def factor_work(matrix: sp.csr_array) -> tuple[float, float]:
    """Return bounds of the entries of the sparse LU factors of a block and of the multiplications they take.

    From the envelope after reverse Cuthill-McKee ordering; the ordering that is used does better.
    """
    n = matrix.shape[0]
    if n < 2:
        return float(n), float(n)
    pattern = sp.csr_array(abs(matrix) + abs(matrix.T))
    place = np.empty(n, dtype=np.int64)
    place[csgraph.reverse_cuthill_mckee(sp.csr_matrix(pattern), symmetric_mode=True)] = np.arange(n)
    entries = pattern.tocoo()
    reach = np.zeros(n)
    np.maximum.at(reach, place[entries.row], place[entries.row] - place[entries.col])
    return float(n + 2 * reach.sum()), float(n + (reach**2).sum())


class Factors:
    """Sparse LU factors of one block, with residuals accumulated in extended precision.

    Raises
    ------
    SingularError
        If the condition number says that the equations are singular.
    IntertwinedError
        If the factors would take too long.
    """

    def __init__(self, matrix: sp.csr_array) -> None:
        self.matrix = sp.csr_array(matrix)
        n = matrix.shape[0]
        if n > SMALL and factor_work(self.matrix)[1] > MOST_WORK:
            raise IntertwinedError(n)
        try:
            self._lu = sla.splu(sp.csc_array(matrix))
        except RuntimeError:
            raise SingularError(n, nullity(matrix)) from None
        size = float(abs(self.matrix).sum(axis=0).max(initial=0.0))
        if not size * self._inverse_norm() < SINGULAR:
            raise SingularError(n, nullity(matrix))

    def raw(self, right: np.ndarray, transposed: bool = False) -> np.ndarray:
        """Return M^-1 right or M^-T right, unrefined."""
        return np.asarray(self._lu.solve(right, trans="T" if transposed else "N"))

    @cached_property
    def transpose(self) -> sp.csr_array:
        """M^T."""
        return sp.csr_array(self.matrix.T)

    def solve(self, right: np.ndarray, transposed: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the refined solution of M v = right (or M^T) and its residual, both in extended precision."""
        matrix = self.transpose if transposed else self.matrix
        right = np.asarray(right, dtype=np.longdouble)
        x = np.zeros(len(right), dtype=np.longdouble)
        rest = right
        smallest = float(np.abs(rest).max(initial=0.0))
        for _ in range(8):
            trial = x + self.raw(rest.astype(float), transposed)
            left = right - _product(matrix, trial)
            size = float(np.abs(left).max(initial=0.0))
            if not size < smallest:
                break
            x, rest, smallest = trial, left, size
        return x, rest

    def rounding(self, scale: np.ndarray, transposed: bool = False) -> float:
        """Return an estimate of max |M^-1 delta| for rounding errors |delta| <= eps scale: from random signs."""
        rng = np.random.default_rng(0)
        signs = rng.choice([-1.0, 1.0], size=(len(scale), SAMPLES))
        return SAFETY * _EPS * float(np.abs(self.raw(signs * scale[:, None], transposed)).max(initial=0.0))

    def _inverse_norm(self) -> float:
        """Return an estimate of |M^-1|_1: W. W. Hager, SIAM J. Sci. Stat. Comput. 5, 311 (1984)."""
        n = self.matrix.shape[0]
        x = np.full(n, 1.0 / n)
        best = 0.0
        for _ in range(5):
            with np.errstate(all="ignore"):
                y = self.raw(x)
            best = max(best, float(np.abs(y).sum()))
            if not math.isfinite(best):
                return math.inf
            z = self.raw(np.where(y >= 0, 1.0, -1.0), transposed=True)
            j = int(np.abs(z).argmax())
            if abs(z[j]) <= z @ x:
                break
            x = np.zeros(n)
            x[j] = 1.0
        return best


def stationary(matrix: sp.csr_array, source: np.ndarray, magnitude: np.ndarray) -> Solution:
    """Return the solution of M v + s = 0, block by block.

    Parameters
    ----------
    matrix, source
        M (n, n) and s (n,).
    magnitude
        Sizes of the terms of every equation, for the estimate of rounding errors, shape (n,).

    Raises
    ------
    SingularError
        If a block is singular.
    IntertwinedError
        If a block is too large to be factorised.
    """
    values = np.zeros(len(source))
    residual = error = 0.0
    for block in components(matrix):
        factors = Factors(matrix[block][:, block])
        x, rest = factors.solve(-np.asarray(source)[block])
        values[block] = x.astype(float)
        residual = max(residual, float(np.abs(rest).max(initial=0.0)))
        scale = magnitude[block] * max(1.0, float(np.abs(x).max(initial=0.0)))
        error = max(error, factors.rounding(scale + np.abs(rest).astype(float) / _EPS) + _EPS)
    return Solution(values, residual, error)


def nullity(matrix: sp.csr_array) -> int | None:
    """Return the number of vanishing singular values of a block of up to 1500 equations, else None."""
    if matrix.shape[0] > 1500:
        return None
    values = np.linalg.svd(matrix.toarray(), compute_uv=False)
    return int(np.count_nonzero(values <= values.max(initial=0.0) / SINGULAR * len(values)))


def _product(matrix: sp.csr_array, x: np.ndarray) -> np.ndarray:
    """Return M x with sums in extended precision."""
    terms = matrix.data.astype(np.longdouble) * x[matrix.indices]
    out = np.zeros(matrix.shape[0], dtype=np.longdouble)
    filled = np.flatnonzero(np.diff(matrix.indptr))
    if len(filled):
        out[filled] = np.add.reduceat(terms, matrix.indptr[filled])
    return out


# ----------------------------------------------------------------------------------------------------------------------


def moved(
    matrix: sp.csr_array, source: np.ndarray, values: np.ndarray, span: float
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (time gone by, v) while d v/dt = M v + s moves by ``span``, in pieces of a few thousand products with M.

    v(h) = v + sum_k h^k/k! M^(k-1) (M v + s), in steps with |M|_1 h <= 4.  (A step is the same whatever the span is
    divided into; library routines choose theirs from random vectors, and a resumed run would differ.)
    """
    norm = float(abs(matrix).sum(axis=0).max(initial=0.0))
    steps = max(1, math.ceil(norm * span / STEP))
    h = span / steps
    products = 0
    for k in range(steps):
        rate = matrix @ values + source
        total = values.copy()
        scale = float(np.abs(total).max(initial=0.0))
        for order in range(1, ORDER):
            rate = rate * (h / order)
            total = total + rate
            products += 1
            if float(np.abs(rate).max(initial=0.0)) <= 1e-3 * _EPS * scale:
                break
            rate = matrix @ rate
        values = total
        if products >= PIECE and k + 1 < steps:
            products = 0
            yield h * (k + 1), values
    yield span, values
