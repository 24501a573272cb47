"""Two-time correlations of quadratic models by Wick's theorem with the propagator e^{X t} of the fluctuations.

With dR(t) = e^{X t} dR(0) under the regression theorem and K(t) = e^{X t} S, S_ij = <dR_i dR_j> (not symmetrised),

    bosons:    <<A(t) B(0)>> = z_A . K z_B + 1/2 Tr( E_A K E_B K^T ),      S = sigma + i Omega/2
    fermions:  <<A(t) B(0)>> = -1/8 Tr( E_A K E_B K^T ),                   S = 1 - i Gamma

for operators with the arrays z and E of :class:`~mpo_transport.response.bilinear.Bilinear` (z at the mean).  The
one-sided Fourier transforms are closed:

    int_0^inf dt e^{i w t} z_A . K z_B = -z_A . (X + i w)^{-1} S z_B,
    int_0^inf dt e^{i w t} K E_B K^T = Y,     (X + i w/2) Y + Y (X + i w/2)^T = -S E_B S^T.

A. Serafini, Quantum Continuous Variables (2017), ch. 6; T. Prosen, New J. Phys. 10, 043026 (2008).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp

from ..errors import ConvergenceError, InputError
from ..methods.gaussian.transient import Transition, transition
from ..model import Lindbladian
from ..spectrum.numerics import Scale, exp_multiply, scale_of
from ..states import State
from ..states.gaussian import GaussianState
from ..superoperator.quadratic import QuadraticForm
from .arguments import checked_operator
from .bilinear import Bilinear, bilinear
from .steady import stationary_state

__all__ = ["GaussianRegression"]

_STATIONARY = 1e-6


class GaussianRegression:
    """A quadratic model with a Gaussian state; operators are :class:`Bilinear`.

    Raises
    ------
    InputError
        If ``state`` is no Gaussian state on the lattice of the model (field ``state``).
    """

    def __init__(self, model: Lindbladian, form: QuadraticForm, state: Any) -> None:
        self.model, self.form = model, form
        self.given = state is not None
        self.state = _checked_state(model, state) if self.given else stationary_state(model)
        self.drift, self.diffusion, self.drive = form.sparse_moments()
        self.fermions = form.statistics == "fermion"
        self.means, self.covariance = self.state.means, self.state.covariance
        n, L = 2 * form.L, form.L
        if self.fermions:
            self.ordered = np.eye(n) - 1j * self.covariance
        else:
            omega = np.block([[np.zeros((L, L)), np.eye(L)], [-np.eye(L), np.zeros((L, L))]])
            self.ordered = self.covariance + 0.5j * omega

    def operator(self, operator: Any, name: str) -> Bilinear:
        """Return the arrays of an argument."""
        return bilinear(self.model.lattice, checked_operator(self.model, operator, name), name)

    @cached_property
    def _change(self) -> float:
        """Relative rate of change of the moments."""
        flow = self.drift @ self.covariance + (self.drift @ self.covariance.T).T + self.diffusion.toarray()
        moved = float(np.linalg.norm(flow) + np.linalg.norm(self.drift @ self.means + self.drive))
        size = float(np.linalg.norm(self.covariance) + np.linalg.norm(self.means))
        scale = float(abs(self.drift).max()) if self.drift.nnz else 0.0
        return moved / (size * scale) if size * scale > 0 else 0.0

    def check_stationary(self) -> None:
        """Raise unless the moments stay as they are up to small errors."""
        if self.given and self._change > _STATIONARY:
            raise InputError(
                f"Argument `state` must be stationary for a spectrum, but changes at the relative rate "
                f"{self._change:.2e}; Fourier transform correlation_function(...) instead.",
                field="state",
            )

    def expect(self, operator: Bilinear) -> complex:
        """Return <operator> at time 0."""
        return operator.expect(self.means, self.covariance)

    # -- in time ------------------------------------------------------------------------------------------------------

    def correlation(self, a: Bilinear, b: Bilinear, times: np.ndarray, connected: bool) -> np.ndarray:
        """Return <a(t) b(0)>, or with ``connected`` <a(t) b(0)> - <a(t)><b(0)>, shape (T,)."""
        rows, columns = a.support, b.support
        slope = b.slope(self.means)[columns]
        inner = b.quadratic[columns][:, columns]
        outer = a.quadratic[rows][:, rows]
        out = np.zeros(len(times), dtype=complex)
        steady = not self.given or self._change < 1e-12
        spreads = None if connected or steady else self._covariances(rows, times)
        for k, (kernel, means) in enumerate(self._kernels(rows, columns, times)):
            if not self.fermions:
                out[k] = a.slope(means)[rows] @ kernel @ slope
            out[k] += self._wick * ((outer @ kernel) * (kernel @ inner.T)).sum()
            if not connected:
                out[k] += self._expected(a, means, rows, None if spreads is None else spreads[k]) * b.expect(
                    self.means, self.covariance
                )
        return out

    def coincidences(self, a: Bilinear, b: Bilinear, times: np.ndarray) -> np.ndarray:
        """Return <a^+(0) b^+(t) b(t) a(0)> of two linear operators in the steady state, real, shape (T,).

        Wick's theorem with means; products of operators in normal and time order have the pairings of their averages.
        """
        x, y = complex(a.expect(self.means, self.covariance)), complex(b.expect(self.means, self.covariance))
        zero = np.zeros(1)
        first, second = (self.correlation(o.dag, o, zero, True)[0].real for o in (a, b))
        normal = self.correlation(b.dag, a, times, True)  # <<b^+(t) a(0)>>
        anomalous = self.correlation(b, a, times, True)  # <<b(t) a(0)>>
        pairs = (first + abs(x) ** 2) * (second + abs(y) ** 2) + np.abs(normal) ** 2 + np.abs(anomalous) ** 2
        crossed = normal * y * x.conjugate() + anomalous * (x * y).conjugate()
        return np.asarray(pairs + 2 * crossed.real)

    @property
    def _wick(self) -> float:
        return -0.125 if self.fermions else 0.5

    def _expected(self, a: Bilinear, means: np.ndarray, rows: np.ndarray, spread: np.ndarray | None) -> complex:
        """Return <a> at a later time, with the covariance of its coordinates if that has changed."""
        if spread is None:
            return a.expect(means, self.covariance)
        covariance = np.zeros_like(self.covariance)
        covariance[np.ix_(rows, rows)] = spread
        return a.expect(means, covariance)

    def _kernels(
        self, rows: np.ndarray, columns: np.ndarray, times: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (K(t) restricted to rows and columns, means at t) for every time."""
        n = len(self.means)
        # the constant drive is an extra coordinate that stays one
        grown = sp.csr_array(
            sp.block_array([[self.drift, sp.csr_array(self.drive[:, None])], [None, sp.csr_array((1, 1))]])
        )
        block = np.zeros((n + 1, len(columns) + 1), dtype=complex)
        block[:n, :-1] = self.ordered[:, columns]
        block[:n, -1], block[n, -1] = self.means, 1.0
        for moved in _propagated(grown, block, times):
            yield moved[rows, :-1], moved[:n, -1].real

    def _covariances(self, rows: np.ndarray, times: np.ndarray) -> list[np.ndarray]:
        """Return the covariance of some coordinates at every time."""
        known: dict[float, Transition] = {}
        out, sigma = [], self.covariance
        for step in np.diff(times, prepend=0.0):
            key = _rounded(step)
            if step > 0:
                if key not in known:
                    known[key] = transition(self.drift.toarray(), self.diffusion.toarray(), self.drive, float(step))
                sigma = known[key].covariance(sigma)
            out.append(sigma[np.ix_(rows, rows)])
        return out

    # -- in frequency -------------------------------------------------------------------------------------------------

    @cached_property
    def _schur(self) -> tuple[np.ndarray, np.ndarray]:
        triangle, basis = sl.schur(self.drift.toarray(), output="complex")
        return triangle, basis

    def one_sided(self, a: Bilinear, b: Bilinear, frequencies: np.ndarray, tol: float) -> np.ndarray:
        """Return int_0^inf dt exp(i w t) <<a(t) b(0)>>, shape (W,).

        Raises
        ------
        ConvergenceError
            If an undamped mode of that frequency takes part.
        """
        out = np.zeros(len(frequencies), dtype=complex)
        if not self.fermions:
            out += self._linear(a.slope(self.means), self.ordered @ b.slope(self.means), frequencies)
        if a.quadratic.nnz and b.quadratic.nnz:
            source = self.ordered @ (b.quadratic @ self.ordered.T)
            out += self._wick * self._quadratic(a, source, frequencies)
        return out

    def _linear(self, left: np.ndarray, right: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """Return -left . (X + i w)^{-1} right."""
        if not np.any(left) or not np.any(right):
            return np.zeros(len(frequencies), dtype=complex)
        triangle, basis = self._schur
        left, right = basis.T @ left, basis.conj().T @ right
        out = np.empty(len(frequencies), dtype=complex)
        n = len(triangle)
        for k, w in enumerate(frequencies):
            shifted = triangle + 1j * w * np.eye(n)
            y = _solved(lambda s=shifted: sl.solve_triangular(s, right), right, self._size, w)
            out[k] = -left @ y
        return out

    def _quadratic(self, a: Bilinear, source: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """Return Tr(E_A Y) with (X + i w/2) Y + Y (X + i w/2)^T = -source."""
        triangle, basis = self._schur
        # X = Q T Q^+, and X^T = P T' P^+ with the columns of Q^* in reverse order, T' = (T^T) turned about
        other, turned = basis.conj()[:, ::-1], triangle.T[::-1, ::-1]
        rhs = -(basis.conj().T @ source @ other)
        weight = basis.T @ (a.quadratic.T @ other.conj())
        (solve,) = sl.get_lapack_funcs(("trsyl",), (triangle, turned, rhs))
        out = np.empty(len(frequencies), dtype=complex)
        eye = np.eye(len(triangle))
        for k, w in enumerate(frequencies):

            def solution(w: float = w) -> np.ndarray:
                y, scale, info = solve(triangle + 1j * w * eye, turned, rhs)
                return y / scale if info == 0 else np.full_like(y, np.nan)

            out[k] = np.sum(weight * _solved(solution, rhs, self._size, w))
        return out

    @cached_property
    def _size(self) -> float:
        return float(np.abs(np.diag(self._schur[0])).max(initial=0.0))


def _solved(solution: Any, rhs: np.ndarray, size: float, w: float) -> np.ndarray:
    """Return the solution, or raise if it is not finite or absurdly large."""
    try:
        y = np.asarray(solution())
    except sl.LinAlgError:
        y = np.array([np.nan])
    if not np.all(np.isfinite(y)) or np.linalg.norm(y) * size > 1e13 * np.linalg.norm(rhs):
        raise ConvergenceError(
            f"The spectrum at the frequency {w:.6g} is not available: a mode of this frequency is not damped."
        )
    return y


def _propagated(drift: sp.csr_array, block: np.ndarray, times: np.ndarray) -> Iterator[np.ndarray]:
    """Yield e^{X t} block for every time, by sparse Taylor series or by dense exponentials, whichever is cheaper."""
    steps = np.diff(times, prepend=0.0)
    keys = [_rounded(step) for step in steps]
    repeats = Counter(keys)
    scale: Scale = scale_of(drift, np.random.default_rng(0))
    known: dict[float, np.ndarray] = {}
    for step, key in zip(steps, keys, strict=True):
        terms = 40 * math.ceil(scale.radius * step / 6)
        if step > 0 and terms * drift.nnz * block.shape[1] * repeats[key] > 30 * drift.shape[0] ** 3:
            if key not in known:
                known[key] = sl.expm(drift.toarray() * step)
            block = known[key] @ block
        elif step > 0:
            block = exp_multiply(drift, block, float(step), scale)
        yield block


def _rounded(step: float) -> float:
    """Return a time step without its rounding errors, to recognise equal ones."""
    return float(f"{step:.12g}")


def _checked_state(model: Lindbladian, state: Any) -> GaussianState:
    if not isinstance(state, GaussianState):
        kind = f"a {state.kind} state" if isinstance(state, State) else type(state).__name__
        raise InputError(
            f"Argument `state` must be a GaussianState or None for a model of unbounded modes, but is {kind}.",
            field="state",
        )
    if state.L != model.L or [s.kind for s in state.lattice.spaces] != [s.kind for s in model.lattice.spaces]:
        raise InputError("Argument `state` lives on another lattice than the model.", field="state")
    return state
