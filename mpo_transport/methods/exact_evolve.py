"""Time evolution with the exact generator: exponentials of the real matrix, or Runge-Kutta where nothing is stored."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy
import scipy.linalg as sl
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from .exact_sectors import Generator

__all__ = ["Propagator"]

_DENSE_LIMIT = 1400
_KEPT = 4


@dataclass(eq=False)
class Propagator:
    """exp(L t) x in pieces.

    Small stiff blocks use a dense exponential, stored blocks the truncated Taylor series of A. H. Al-Mohy and
    N. J. Higham, SIAM J. Sci. Comput. 33, 488 (2011) (scipy's ``expm_multiply``), both exact to rounding; without a
    stored matrix an eighth-order Runge-Kutta pair (DOP853) with relative tolerance ``rtol`` is used.
    """

    generator: Generator
    rtol: float
    _blocks: dict[tuple[int, ...], tuple[np.ndarray, sp.csr_array]] = field(default_factory=dict)
    _exponentials: dict[tuple[tuple[int, ...], float], np.ndarray] = field(default_factory=dict)

    def move(self, x: np.ndarray, span: float) -> tuple[np.ndarray, float]:
        """Return the vector after a piece of the time ``span``, and the length of that piece."""
        if self.generator.matrix is None:
            return self._runge_kutta(x, span)
        active = tuple(k for k, s in enumerate(self.generator.sectors) if s.is_driven or np.any(x[s.indices]))
        indices, block = self._block(active)
        out = x.copy()
        n = len(indices)
        stiffness = float(abs(block).sum(axis=0).max()) * span if block.nnz else 0.0
        squarings = max(np.log2(max(stiffness, 1.0)), 0.0)
        if n <= _DENSE_LIMIT and 2 * n**3 * (8 + squarings) < 100.0 * stiffness * block.nnz:
            out[indices] = self._exponential(active, block, span) @ x[indices]
            return out, span
        # below a 1-norm of about 60 the series needs no random norm estimates, which would not be reproducible
        piece = min(span, span * (50.0 if n < 2e5 else 5.0) / max(stiffness, 1e-300))
        out[indices] = sla.expm_multiply(block * piece, x[indices])
        return out, piece

    def error(self, x: np.ndarray, time: float) -> float:
        """Return a bound of the error of local expectation values at ``time``, in units of the operator norm.

        Every time 1/|L| adds rounding errors, or the tolerance of the Runge-Kutta pair, relative to |x|; an operator of
        norm one has the Hilbert-Schmidt norm sqrt(D).
        """
        local = 8 * np.finfo(float).eps + (self.rtol if self.generator.matrix is None else 0.0)
        return float(local * (1 + self.generator.norm * time) * np.linalg.norm(x) * len(x) ** 0.25)

    def _block(self, active: tuple[int, ...]) -> tuple[np.ndarray, sp.csr_array]:
        if active not in self._blocks:
            assert self.generator.matrix is not None
            parts = [np.zeros(1, dtype=np.int64), *(self.generator.sectors[k].indices for k in active)]
            indices = np.sort(np.concatenate(parts))
            self._blocks[active] = (indices, sp.csr_array(self.generator.matrix[indices][:, indices]))
        return self._blocks[active]

    def _exponential(self, active: tuple[int, ...], block: sp.csr_array, span: float) -> np.ndarray:
        key = (active, span)
        if key not in self._exponentials:
            while len(self._exponentials) >= _KEPT:
                self._exponentials.pop(next(iter(self._exponentials)))
            self._exponentials[key] = sl.expm(block.toarray() * span)
        return self._exponentials[key]

    def _runge_kutta(self, x: np.ndarray, span: float) -> tuple[np.ndarray, float]:
        piece = min(span, 20.0 / max(self.generator.norm, 1e-300))
        solution = scipy.integrate.solve_ivp(
            lambda _, v: self.generator.apply(v),
            (0.0, piece),
            x,
            method="DOP853",
            t_eval=[piece],
            rtol=self.rtol,
            atol=self.rtol * 1e-2 * float(np.linalg.norm(x)) / len(x) ** 0.5,
        )
        return solution.y[:, -1], piece
