"""The equation A S + S A^+ + Q = 0 for a stable drift A: Schur form, or Newton's iteration for the matrix sign.

Complex and small real drifts are brought to Schur form, which also gives their eigenvalues (R. H. Bartels, G. W.
Stewart, Commun. ACM 15, 820 (1972)).  For large real ones nothing but inverses and products of matrices is used:

    A_(j+1) = ( c_j A_j + A_j^-1 / c_j )/2  ->  -1,       Q_(j+1) = ( c_j Q_j + A_j^-1 Q_j A_j^-+ / c_j )/2  ->  2 S

with c_j = ( |A_j^-1|_F / |A_j|_F )^(1/2) until the iteration is close.  A_j converges to -1 exactly if every eigenvalue
of A has a negative real part, so that the stability test is part of the solution (J. D. Roberts, Int. J. Control 32,
677 (1980); P. Benner, E. S. Quintana-Orti, Numer. Algorithms 20, 75 (1999)).  Either factorisation is used again for
the residual: iterative refinement, whose last correction is an estimate of the error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg as sl

__all__ = ["LyapunovSolution", "NotStable", "batched_lyapunov", "factorised", "lyapunov", "residual_of"]

_MOST_STEPS = 100
_MOST_REFINEMENTS = 4
_KEPT_BYTES = 2**30
_SMALL = 200  # real drifts up to this size are brought to Schur form


class NotStable(Exception):
    """The sign of the drift is not -1."""


@dataclass(frozen=True, eq=False)
class LyapunovSolution:
    """Solution of A S + S A^+ + Q = 0.

    Attributes
    ----------
    matrix
        S, (n, n).
    residual
        |A S + S A^+ + Q|_F / |Q|_F.
    error
        Largest entry of the last correction (of the error before it) or the bound given, not less than rounding of S.
    steps, refinements
        Newton steps (1: Schur form), and corrections made.
    """

    matrix: np.ndarray
    residual: float
    error: float
    steps: int
    refinements: int


def factorised(drift: np.ndarray) -> SchurFactor | SignFactor:
    """Return what is computed once for a drift: its Schur form if it is complex or small, else nothing yet."""
    return SchurFactor(drift) if np.iscomplexobj(drift) or len(drift) <= _SMALL else SignFactor(drift)


def lyapunov(
    drift: Any,
    noise: Any,
    *,
    rtol: float = 1e-12,
    sign: int = 1,
    factor: SchurFactor | SignFactor | None = None,
    bound: Callable[[np.ndarray, np.ndarray], float] | None = None,
) -> LyapunovSolution:
    """Solve A S + S A^+ + Q = 0, shape (n, n) each, real or complex.

    Parameters
    ----------
    drift, noise
        Arrays or sparse arrays; residuals are taken with the sparse ones, which is cheap and more accurate.
    rtol
        Relative residual down to which the solution is refined.
    sign
        Symmetry Q = sign Q^+ of the noise: 1, or -1 for the Majorana covariance of fermions.
    factor
        ``factorised(drift)`` if that is at hand.
    bound
        ``bound(S, residual)`` may return a bound of the error that makes the correction superfluous, or infinity.

    Raises
    ------
    NotStable
        If not every eigenvalue of the drift has a negative real part.

    Examples
    --------
    >>> lyapunov(np.array([[-0.5]]), np.array([[3.0]])).matrix
    array([[3.]])
    """
    a = drift.toarray() if hasattr(drift, "toarray") else np.asarray(drift)
    q = noise.toarray() if hasattr(noise, "toarray") else np.asarray(noise)
    factor = factorised(a) if factor is None else factor
    scale = float(np.linalg.norm(q))
    if scale == 0 or len(q) == 0:
        factor.solve(np.zeros_like(q), sign)
        return LyapunovSolution(np.zeros_like(q), 0.0, 0.0, factor.steps, 0)
    solution = factor.solve(q, sign)
    residual = residual_of(drift, solution, q, sign)
    size, error, refinements = float(np.linalg.norm(residual)) / scale, np.inf, 0
    if bound is not None and size <= rtol:
        error = bound(solution, residual)
    while refinements < _MOST_REFINEMENTS and not np.isfinite(error):
        quick = factor.corrects_quickly
        correction = factor.correction(residual, sign)
        improved = solution + correction
        rest = residual_of(drift, improved, q, sign)
        new = float(np.linalg.norm(rest)) / scale
        refinements += 1
        last = float(np.abs(correction).max())
        better = new < 0.5 * size
        if new < size:  # otherwise down to rounding: what was there before is as good
            solution, residual, size = improved, rest, new
        if not better and quick:
            factor.forget()
        elif size <= rtol or not better:
            error = last
    error = last if not np.isfinite(error) else error
    error = max(error, float(np.finfo(float).eps * np.abs(solution).max()))
    return LyapunovSolution(solution, size, error, factor.steps, refinements)


def residual_of(drift: Any, solution: np.ndarray, noise: Any, sign: int = 1) -> np.ndarray:
    """Return A S + S A^+ + Q as an array, S = sign S^+."""
    half = drift @ solution
    return np.asarray(half + sign * half.conj().T + noise)


class SchurFactor:
    """A = Z T Z^+ with (quasi-)triangular T."""

    steps = 1
    corrects_quickly = False

    def __init__(self, drift: np.ndarray) -> None:
        output = "complex" if np.iscomplexobj(drift) else "real"
        self._triangle, self._basis = sl.schur(drift, output=output, check_finite=False)
        self.eigenvalues: np.ndarray | None = _eigenvalues(self._triangle)

    def solve(self, noise: np.ndarray, sign: int) -> np.ndarray:
        assert self.eigenvalues is not None
        if np.any(self.eigenvalues.real >= 0):
            raise NotStable
        t, z = self._triangle, self._basis
        (trsyl,) = sl.get_lapack_funcs(("trsyl",), (t, noise))
        turned = z.conj().T @ noise @ z
        y, scale, info = trsyl(t, t, turned, tranb="C" if np.iscomplexobj(t) else "T")
        if info < 0:
            raise NotStable
        s = -scale * (z @ y @ z.conj().T)
        return np.asarray((s + sign * s.conj().T) / 2)

    def correction(self, residual: np.ndarray, sign: int) -> np.ndarray:
        """Return the solution for a residual."""
        return self.solve(residual, sign)

    def forget(self) -> None:
        """There is nothing that could be more accurate."""


def _eigenvalues(triangle: np.ndarray) -> np.ndarray:
    """Return the eigenvalues of a Schur form; the 2 x 2 blocks of a real one have equal diagonal entries."""
    values = np.diagonal(triangle).astype(complex)
    if not np.iscomplexobj(triangle):
        below = np.diagonal(triangle, -1)
        k = np.nonzero(below)[0]
        frequency = np.sqrt(np.abs(below[k] * np.diagonal(triangle, 1)[k]))
        values[k] += 1j * frequency
        values[k + 1] -= 1j * frequency
    return values


class SignFactor:
    """The inverses A_j^-1 and scalings c_j of one real drift, computed with the first right-hand side and kept."""

    def __init__(self, drift: np.ndarray) -> None:
        self._drift = drift
        self._kept: list[tuple[float, np.ndarray]] | None = []
        self._complete = False
        self.steps = 0
        self.eigenvalues: np.ndarray | None = None

    def solve(self, noise: np.ndarray, sign: int) -> np.ndarray:
        q = np.array(noise, dtype=np.result_type(noise, self._drift))
        return _through(self._newton(), q, sign)

    @property
    def corrects_quickly(self) -> bool:
        """Whether :meth:`correction` uses inverses kept in single precision."""
        return self._complete and self._kept is not None

    def correction(self, residual: np.ndarray, sign: int) -> np.ndarray:
        """Return the solution for a residual; three digits of it are enough, hence single precision where possible."""
        if not self.corrects_quickly or self._kept is None:
            return self.solve(residual, sign)
        size = float(np.abs(residual).max()) or 1.0
        return size * _through(iter(self._kept), (residual / size).astype(np.float32), sign).astype(float)

    def forget(self) -> None:
        """Compute everything in double precision from now on."""
        self._kept = None

    def _newton(self) -> Iterator[tuple[float, np.ndarray]]:
        a, n = np.array(self._drift), len(self._drift)
        identity, distance = np.eye(n), np.inf
        self.steps = 0
        while self.steps < _MOST_STEPS:
            try:
                inverse = sl.inv(a, check_finite=False)
            except sl.LinAlgError:
                raise NotStable from None
            c = float(np.sqrt(np.linalg.norm(inverse) / np.linalg.norm(a))) if distance > 0.1 else 1.0
            if not np.isfinite(c) or c == 0:
                raise NotStable
            self.steps += 1
            self._keep(c, inverse)
            yield c, inverse
            last = a
            a = (0.5 * c) * a + (0.5 / c) * inverse
            before, distance = distance, float(np.linalg.norm(a + identity)) / np.sqrt(n)
            if distance < 1e-14 * np.sqrt(n) or (distance < 1e-6 and distance >= 0.5 * before):
                self._complete = True
                return
            if distance > 0.1 and float(np.linalg.norm(a - last)) < 1e-6 * float(np.linalg.norm(a)):
                raise NotStable  # converged to another sign
        raise NotStable

    def _keep(self, c: float, inverse: np.ndarray) -> None:
        if self._complete or self._kept is None:
            return
        if (len(self._kept) + 1) * inverse.nbytes / 2 > _KEPT_BYTES:
            self._kept = None  # too large: the inverses are computed again for every right-hand side
        else:
            self._kept.append((c, inverse.astype(np.float32)))


def _through(steps: Iterator[tuple[float, np.ndarray]], q: np.ndarray, sign: int) -> np.ndarray:
    """Take the noise through the iteration and return S."""
    for c, inverse in steps:
        turned = inverse @ q @ inverse.T
        turned *= q.dtype.type(0.5 / c)
        q *= q.dtype.type(0.5 * c)
        q += turned
    return np.asarray((q + sign * q.T) / 4)


# -- many small equations ----------------------------------------------------------------------------------------------

_KRONECKER = 6
_CHUNK = 4_000_000  # numbers in one stack of Kronecker matrices


def batched_lyapunov(drift: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
    """Solve A_k S_k + S_k A_k^+ + Q_k = 0 for stacks of small complex matrices, shape (K, n, n).

    Up to n = 6 as n^2 linear equations each, solved in stacks, else one by one.  One correction is made; its largest
    entry is returned beside the solutions.
    """
    K, n = len(drift), drift.shape[-1]
    if n > _KRONECKER:
        found = [lyapunov(a, q) for a, q in zip(drift, noise, strict=True)]
        return np.array([f.matrix for f in found]), max((f.error for f in found), default=0.0)
    out = np.empty((K, n, n), dtype=complex)
    chunk = max(1, _CHUNK // n**4)
    error = 0.0
    for start in range(0, K, chunk):
        a, q = drift[start : start + chunk], noise[start : start + chunk]
        operator = np.zeros((len(a), n, n, n, n), dtype=complex)
        for j in range(n):
            operator[:, :, j, :, j] += a
            operator[:, j, :, j, :] += a.conj()
        square = operator.reshape(len(a), n * n, n * n)
        s = _hermitian_solution(square, q)
        half = a @ s
        correction = _hermitian_solution(square, half + half.conj().transpose(0, 2, 1) + q)
        error = max(error, float(np.abs(correction).max()))
        out[start : start + chunk] = s + correction
    return out, max(error, float(np.finfo(float).eps * np.abs(out).max(initial=0.0)))


def _hermitian_solution(operator: np.ndarray, noise: np.ndarray) -> np.ndarray:
    s = np.linalg.solve(operator, -noise.reshape(len(noise), -1, 1)).reshape(noise.shape)
    return np.asarray((s + s.conj().transpose(0, 2, 1)) / 2)
