"""Small eigenvalue problems in spaces of matrix products, one-sided and two-sided.

With exact scalar products of a few trains v_i and their images M v_i,

    G_ij = (v_i|v_j),    H_ij = (v_i|M v_j),    H c = lambda G c,

and with trains w of the transposed problem the two-sided quotient (w|M v)/(w|v), whose error is the product of those of
v and w.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg as sla

from ..methods.linear_sweeps import DualVector, traceless_train
from ..superoperator.mpo import MPO
from ..superoperator.train import add_trains, compress_train, train_inner, train_log_norm

__all__ = ["UNSETTLED", "Ritz", "Sample", "Subspace", "quotient"]

# Vectors kept for the small eigenvalue problem.
SUBSPACE = 5
# Relative size of directions of the subspace that count.
DIRECTIONS = 1e-9
# Relative error of the scalar products of which residuals are differences.
ROUNDING = 1e-14
# With a larger relative residual a Ritz vector is not yet better than the last vector.
UNSETTLED = 0.5


@dataclass(frozen=True)
class Ritz:
    """The eigenvalues of the small problem, slowest first, their residuals and coefficients (columns)."""

    values: np.ndarray
    residuals: np.ndarray
    vectors: np.ndarray


class Subspace:
    """A few trains v, their images M v under an operator M that leaves traces alone, and all scalar products."""

    def __init__(self, operator: MPO) -> None:
        self.operator = operator
        self.v: list[DualVector] = []
        self.images: list[DualVector] = []
        self.gram = self.middle = self.square = np.zeros((0, 0))

    def add(self, v: DualVector) -> None:
        """Add a vector of norm 1, and forget the oldest one if there are too many."""
        tensors = traceless_train(v.tensors)
        size = float(np.exp(train_log_norm(tensors)))
        v = DualVector((tensors[0] / size, *tensors[1:]), v.order)
        image = DualVector(traceless_train(self.operator.apply(v)), v.order)
        self.v, self.images = [*self.v, v][-SUBSPACE:], [*self.images, image][-SUBSPACE:]
        column = np.array([train_inner(a.tensors, v.tensors) for a in self.v])
        self.gram = _bordered(self.gram, column, column)
        column = np.array([train_inner(a.tensors, image.tensors) for a in self.images])
        self.square = _bordered(self.square, column, column)
        column = np.array([train_inner(a.tensors, image.tensors) for a in self.v])
        row = np.array([train_inner(v.tensors, a.tensors) for a in self.images])
        self.middle = _bordered(self.middle, column, row)

    def ritz(self) -> Ritz:
        """Return the eigenvalues of the operator in the subspace."""
        weights, basis = np.linalg.eigh(self.gram)
        keep = weights > DIRECTIONS * weights[-1]
        basis = basis[:, keep] / np.sqrt(weights[keep])
        values, vectors = sla.eig(basis.T @ self.middle @ basis)
        vectors = basis @ vectors
        residuals = []
        for value, c in zip(values, vectors.T, strict=True):
            size = np.vdot(c, self.gram @ c).real
            cross = np.vdot(c, self.middle @ c)
            rest = np.vdot(c, self.square @ c).real - 2 * (np.conj(value) * cross).real + abs(value) ** 2 * size
            rounding = ROUNDING * float(np.abs(c) @ np.abs(self.square) @ np.abs(c))
            residuals.append(math.sqrt((max(rest, 0.0) + rounding) / size))
        found = np.array(residuals)
        # what is no eigenvector at all comes last: its value is an accident
        order = np.lexsort((np.abs(values), found > np.maximum(UNSETTLED * np.abs(values), 3 * found.min())))
        return Ritz(values[order], found[order], vectors[:, order])

    def combination(self, c: np.ndarray, bond: int) -> DualVector:
        """Return sum_i c_i v_i cut to ``bond``."""
        return DualVector(
            compress_train(add_trains([v.tensors for v in self.v], list(c)), bond).tensors, self.v[0].order
        )

    def solved(self, c: np.ndarray, bond: int) -> DualVector:
        """Return the vector of the subspace whose image is closest to sum_i c_i v_i."""
        weights = np.linalg.lstsq(self.square, self.middle.T @ c, rcond=1e-12)[0]
        return self.combination(weights, bond)


def _bordered(old: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return the last rows and columns of a matrix with one more column and row."""
    n = len(column)
    out = np.zeros((n, n))
    if n > 1:
        out[:-1, :-1] = old[-(n - 1) :, -(n - 1) :]
    out[:, -1], out[-1, :] = column, row
    return out


@dataclass(frozen=True)
class Sample:
    """An approximate eigenvector sum_i c_i v_i, its eigenvalue and residual, and its norm."""

    vectors: tuple[DualVector, ...]
    coefficients: np.ndarray
    value: complex
    residual: float
    norm: float

    @classmethod
    def of(cls, space: Subspace, ritz: Ritz, which: int = 0) -> Sample:
        """Return one of the Ritz vectors of a space."""
        c = ritz.vectors[:, which]
        norm = math.sqrt(np.vdot(c, space.gram @ c).real)
        return cls(tuple(space.v), c, complex(ritz.values[which]), float(ritz.residuals[which]), norm)


def quotient(operator: MPO, left: Sample, right: Sample) -> tuple[complex, float]:
    """Return (w|M v)/(w|v) of an eigenvector v of M and one w of M^T, and the overlap |(w|v)| / |w||v|.

    Complex eigenvectors w and v of the same eigenvalue are paired without conjugation.
    """
    middle = np.array([[operator.bilinear(w, v) for v in left.vectors] for w in right.vectors])
    gram = np.array([[train_inner(w.tensors, v.tensors) for v in left.vectors] for w in right.vectors])
    overlap = right.coefficients @ gram @ left.coefficients
    if abs(overlap) <= 1e-12 * left.norm * right.norm:
        return left.value, 0.0
    value = complex(right.coefficients @ middle @ left.coefficients / overlap)
    return value, float(abs(overlap)) / (left.norm * right.norm)
