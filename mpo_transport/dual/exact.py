"""The adjoint problem on the whole operator space, for states that can be written out.

With the coefficients x = (x_0, x') of a density matrix in the Hermitian basis, L = [[0, 0], [v, M]], and only the
traceless part matters:  M^T y' = o'  gives  <O>_ss = <O>_x - y' . (L x)'  for every x of trace one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from ..errors import NotSupportedError
from ..methods.exact_idr import InducedReduction, idr_chunk
from ..methods.exact_sectors import Sector, split_generator
from ..model import Lindbladian
from ..operators import OpSum
from ..states import State
from ..states.dense import DenseState
from ..superoperator import MatrixFreeLindbladian, operator_matrix, to_hermitian
from .base import Dual

__all__ = ["ExactDual"]

# Blocks up to this size are factorised, larger ones iterated.
FACTORISED = 2600
# Largest number of coefficients; the vectors and products then fit and take minutes, not hours.
LARGEST = 2**21
# Relative residual up to which a solve counts: rounding errors leave much less.
ACCEPTED = 1e-7
ACCURACY = 1e-13
PRODUCTS = 20000
_SHIFT = 1e-11
# An iteration whose residual has fallen by less than ten in this many products has stagnated.
_PATIENCE = 2000


class ExactDual:
    """Exact duals of a state given by its coefficients.

    Raises
    ------
    NotSupportedError
        If the operator space is too large to be written out.
    """

    def __init__(self, model: Lindbladian, state: State) -> None:
        size = float(np.prod([float(d) ** 2 for d in model.lattice.dims]))
        if size > LARGEST:
            raise NotSupportedError(
                f"The adjoint problem of this state has {size:.3g} unknowns; without a matrix-product state it is "
                f"solved up to {LARGEST}. Use a method that returns an MPOState.",
                field="result",
            )
        self.model = model
        self.dims = [int(d) for d in model.lattice.dims]
        dense = state if isinstance(state, DenseState) else DenseState(model.lattice, state.to_dense())
        self.x = dense.coefficients() / dense.trace()
        self.generator = split_generator(model)
        self.image = self.generator.apply(self.x)
        self._solvers = [_BlockSolver(s, self.generator.norm) for s in self.generator.sectors]

    def solve(self, operator: OpSum, value: float, goal: float) -> Dual:
        """Return the dual of a Hermitian operator; exact, so ``goal`` is not needed.

        The error is the rigorous bound |r| (|x| + |x_ss|) <= 2 |r| with r = M^T y' - o', plus rounding errors.
        """
        matrix = operator_matrix(self.model.lattice, operator).toarray()
        o = np.ascontiguousarray(to_hermitian(matrix, self.dims).real).ravel()
        o[0] = 0.0
        size = float(np.linalg.norm(o))
        if size == 0:
            return Dual.nothing(value)
        y = np.zeros_like(o)
        rest = 0.0
        for sector, solver in zip(self.generator.sectors, self._solvers, strict=True):
            b = o[sector.indices]
            if np.any(b):
                y[sector.indices] = solver.solve(b)
                rest += float(np.linalg.norm(b - sector.apply_transpose(y[sector.indices])) ** 2)
        residual = float(np.sqrt(rest)) / size
        if not residual <= ACCEPTED:
            return Dual.failed(y, residual)
        rounding = 4 * np.finfo(float).eps * float(np.abs(y) @ np.abs(self.image) + abs(value))
        return Dual(y, value - float(y @ self.image), 2 * residual * size + rounding, residual, True)

    def pairing(self, model: Lindbladian) -> Callable[[np.ndarray], float]:
        """Return y -> (y| L x) with the generator of another model."""
        image = MatrixFreeLindbladian(model)(self.x)
        return lambda y: 0.0 if y is None else float(y @ image)


@dataclass
class _BlockSolver:
    """Solves M_s^T y = b; the factorisation is kept."""

    sector: Sector
    norm: float
    _lu: sla.SuperLU | None = None

    def solve(self, b: np.ndarray) -> np.ndarray:
        if self.sector.matrix is None or self.sector.size > FACTORISED:
            return self._iterated(b)
        if self._lu is None:
            # the spectrum lies in Re <= 0: a tiny positive shift makes the factors exist for a degenerate model too
            shifted = self.sector.matrix - _SHIFT * self.norm * sp.eye_array(self.sector.size)
            self._lu = sla.splu(sp.csc_array(shifted))
        y = np.zeros(len(b))
        smallest = float(np.linalg.norm(b))
        for _ in range(20):
            trial = y + self._lu.solve(b - self.sector.apply_transpose(y), trans="T")
            size = float(np.linalg.norm(b - self.sector.apply_transpose(trial)))
            if not size < smallest:
                break
            y, settled, smallest = trial, size > 0.5 * smallest, size
            if settled:
                break
        return y

    def _iterated(self, b: np.ndarray) -> np.ndarray:
        rows = self.sector.row_norms
        scale = float(rows.mean()) or 1.0
        divisor = -np.where(rows > 1e-10 * scale, rows, scale)
        target = ACCURACY * float(np.linalg.norm(b))
        y = np.zeros(len(b))
        for restart in range(3):  # the recursion drifts from the true residual: refine
            state = InducedReduction.begin(self.sector.apply_transpose, b, y)
            mark, products = state.residual, state.products
            while target < state.residual < np.inf and state.products < PRODUCTS:
                state = idr_chunk(
                    self.sector.apply_transpose,
                    lambda v: v / divisor,
                    state,
                    target=target,
                    products=200,
                    seed=restart,
                )
                if state.products - products >= _PATIENCE:
                    if not state.residual < 0.1 * mark:
                        break
                    mark, products = state.residual, state.products
            if np.linalg.norm(b - self.sector.apply_transpose(state.x)) < np.linalg.norm(
                b - self.sector.apply_transpose(y)
            ):
                y = state.x
        return y
