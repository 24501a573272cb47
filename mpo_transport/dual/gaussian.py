"""The adjoint problem of Gaussian states: a Lyapunov equation for the second moments.

The means m and the second moments S = sigma + m m^T obey linear equations (f the drive, D the diffusion),

    dm/dt = X m + f,      dS/dt = X S + S X^T + D + f m^T + m f^T,

and <O> = c + z . m + 1/2 Tr(E S) of an at most quadratic O is linear in them.  The dual (y, Y) solves

    X^T Y + Y X = E/2,      X^T y + 2 Y f = z,

and  <O>_ss = <O>_x - (y| L x)  holds exactly for every Gaussian state x, whatever its error:

    (y| L x) = (y + 2 Y m) . (X m + f) + Tr[ Y ( X sigma + sigma X^T + D ) ].

For Majorana fermions z = f = 0 and <O> = c + 1/4 sum_ij E_ij Gamma_ij takes the place of 1/2 Tr(E S).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg as sl

from ..errors import NotSupportedError
from ..methods.gaussian import Gaussian
from ..methods.gaussian.lyapunov import NotStable, lyapunov
from ..model import Lindbladian
from ..operators import OpSum
from ..response.bilinear import bilinear
from ..states.gaussian import GaussianState
from ..superoperator.quadratic import quadratic_form
from .base import Dual

__all__ = ["GaussianDual"]

ACCEPTED = 1e-7


@dataclass(frozen=True, eq=False)
class Moments:
    """The dual of first moments y, shape (2L,), and of second moments Y, shape (2L, 2L)."""

    first: np.ndarray
    second: np.ndarray


class GaussianDual:
    """Exact duals of at most quadratic operators in a Gaussian state.

    Raises
    ------
    NotSupportedError
        If the model is not quadratic: then a Gaussian state is an approximation that moments cannot judge.
    """

    def __init__(self, model: Lindbladian, state: GaussianState) -> None:
        support = Gaussian(ignore_cutoff=True).supports(model)
        if not support:
            raise NotSupportedError(
                f"The dual of a Gaussian state needs a quadratic model: {support.reason}", field="result"
            )
        self.model, self.state = model, state
        self.means, self.covariance = state.means, state.covariance
        self.drift, self.diffusion, self.drive = quadratic_form(model).sparse_moments()
        self.sign = 1 if state.statistics == "boson" else -1

    def solve(self, operator: OpSum, value: float, goal: float) -> Dual:
        """Return the dual of a Hermitian operator that is at most quadratic; exact, so ``goal`` is not needed.

        The error is the bound |r| (|S| + |S_ss|) ~ 2 |r| |S|, r the residual of the Lyapunov equation, plus rounding.

        Raises
        ------
        NotSupportedError
            For an operator of higher order, whose expectation value is not linear in the moments.
        """
        o = bilinear(self.model.lattice, operator, "observable")
        weight = o.quadratic.toarray().real * (0.5 if self.sign == 1 else 0.25)
        z = o.linear.real
        size = float(np.linalg.norm(weight) + np.linalg.norm(z))
        if size == 0:
            return Dual.nothing(value)
        try:
            second = lyapunov(self.drift.T, -weight, sign=self.sign).matrix
        except NotStable:
            return Dual.failed(None, np.inf)
        rest = self.drift.T @ second
        rest = rest + self.sign * rest.T - weight
        first = np.zeros_like(z)
        if self.sign == 1:
            right = z - 2 * second @ self.drive
            first = sl.lu_solve(self._factors, right, trans=1)
            miss = float(np.linalg.norm(self.drift.T @ first - right))
        else:
            miss = 0.0
        residual = (float(np.linalg.norm(rest)) + miss) / size
        y = Moments(first, second)
        if not residual <= ACCEPTED:
            return Dual.failed(y, residual)
        shift = self._pairing(y, self.drift, self.diffusion, self.drive)
        spread = float(np.linalg.norm(self.covariance) + np.linalg.norm(self.means) ** 2)
        rounding = 8 * np.finfo(float).eps * (abs(value) + self._magnitude(y))
        error = 2 * float(np.linalg.norm(rest)) * spread + 2 * miss * float(np.linalg.norm(self.means)) + rounding
        return Dual(y, value - shift, error, residual, True)

    @cached_property
    def _factors(self) -> tuple[np.ndarray, np.ndarray]:
        return sl.lu_factor(self.drift.toarray())

    def pairing(self, model: Lindbladian) -> Callable[[Moments], float]:
        """Return y -> (y| L x) with the generator of another model."""
        drift, diffusion, drive = quadratic_form(model).sparse_moments()
        return lambda y: 0.0 if y is None else self._pairing(y, drift, diffusion, drive)

    def _pairing(self, y: Moments, drift: Any, diffusion: Any, drive: np.ndarray) -> float:
        flow = drift @ self.covariance
        flow = flow + self.sign * flow.T + diffusion
        out = float(np.sum(y.second * flow))
        if self.sign == 1:
            out += float((y.first + 2 * y.second @ self.means) @ (drift @ self.means + drive))
        return out

    def _magnitude(self, y: Moments) -> float:
        """Return the size of the terms that cancel in the pairing."""
        flow = abs(self.drift) @ np.abs(self.covariance) + abs(self.diffusion)
        return float(np.sum(np.abs(y.second) * flow))
