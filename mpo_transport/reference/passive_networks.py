"""Passive networks of oscillators and thermal baths: flows, scattering, full counting statistics, exactly.

H = c^+ h c, jumps (N_j + 1) D[L_j] + N_j D[L_j^+] with L_j = w_j^+ c.  The amplitudes obey dc/dt = A c + noise with
A = -i h - (1/2) sum_j w_j w_j^+, and C_kl = <c_l^+ c_k> solves A C + C A^+ + sum_j N_j w_j w_j^+ = 0.

Counting: quanta emitted into bath j have weight e^{-s_j}, absorbed ones e^{+s_j}; theta(s) is the eigenvalue of the
tilted generator with the largest real part, and the mean flow *into* bath j is -d theta/d s_j.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg as sla

__all__ = ["PassiveNetwork"]


@dataclass(frozen=True, eq=False)
class PassiveNetwork:
    """A passive network.

    Parameters
    ----------
    h
        Hermitian, shape (modes, modes).
    w
        One row per bath, shape (baths, modes): L_j = sum_k conj(w_jk) c_k.
    N
        Mean occupations >= 0 of the baths, shape (baths,).

    Raises
    ------
    ValueError
        For shapes that do not fit, h that is not Hermitian, negative occupations.

    Examples
    --------
    One oscillator between two baths:

    >>> network = PassiveNetwork(np.zeros((1, 1)), np.array([[1.0], [1.0]]), [1.0, 0.5])
    >>> network.flows.round(12).tolist()
    [-0.25, 0.25]
    """

    h: np.ndarray
    w: np.ndarray
    N: Any

    def __post_init__(self) -> None:
        h, w, N = np.asarray(self.h, dtype=complex), np.asarray(self.w, dtype=complex), np.asarray(self.N, dtype=float)
        if h.ndim != 2 or h.shape[0] != h.shape[1] or not np.allclose(h, h.conj().T, rtol=0, atol=1e-13 * abs(h).max()):
            raise ValueError("Argument `h` must be a Hermitian matrix.")
        if w.ndim != 2 or w.shape[1] != len(h):
            raise ValueError(f"Argument `w` must have one row of {len(h)} amplitudes per bath.")
        if N.shape != (len(w),) or not np.all(np.isfinite(N)) or np.any(N < 0):
            raise ValueError(f"Argument `N` must list {len(w)} occupations >= 0, but is {self.N!r}.")
        for name, value in (("h", h), ("w", w), ("N", N)):
            object.__setattr__(self, name, value)

    @cached_property
    def A(self) -> np.ndarray:
        """Drift of the amplitudes, shape (modes, modes)."""
        return -1j * self.h - 0.5 * self._weighted(np.ones(len(self.w)))

    def _weighted(self, x: np.ndarray) -> np.ndarray:
        """sum_j x_j w_j w_j^+."""
        return (self.w.T * x) @ self.w.conj()

    @cached_property
    def C(self) -> np.ndarray:
        """Steady covariance C_kl = <c_l^+ c_k>.

        Raises
        ------
        ValueError
            If a mode is coupled to no bath.
        """
        if np.linalg.eigvals(self.A).real.max() >= -1e-14 * max(1.0, np.abs(self.A).max()):
            raise ValueError("A mode is coupled to no bath: the steady state is not unique.")
        C = sla.solve_continuous_lyapunov(self.A, -self._weighted(self.N))
        return (C + C.conj().T) / 2

    @property
    def occupations(self) -> np.ndarray:
        """<c_k^+ c_k>, shape (modes,)."""
        return self.C.diagonal().real

    @property
    def flows(self) -> np.ndarray:
        """Quanta into every bath per time, eta_j = w_j^+ C w_j - N_j |w_j|^2, shape (baths,); their sum is zero."""
        norms = np.sum(np.abs(self.w) ** 2, axis=1)
        return np.einsum("jk,kl,jl->j", self.w.conj(), self.C, self.w).real - self.N * norms

    def transient(self, times: Sequence[float], start: np.ndarray | None = None) -> np.ndarray:
        """Return C(t) = C_ss - e^{At} (C_ss - C_0) e^{A^+ t}, shape (times, modes, modes); C_0 = 0 by default."""
        difference = self.C - (0 if start is None else np.asarray(start))
        out = []
        for t in times:
            propagator = sla.expm(self.A * t)
            out.append(self.C - propagator @ difference @ propagator.conj().T)
        return np.array(out)

    @property
    def entropy(self) -> float:
        """Von Neumann entropy of the Gaussian steady state, sum (n+1) ln(n+1) - n ln n over the eigenvalues of C."""
        n = np.maximum(np.linalg.eigvalsh(self.C), 0.0)
        return float(np.sum((n + 1) * np.log1p(n) - np.where(n > 0, n * np.log(np.where(n > 0, n, 1.0)), 0.0)))

    @property
    def entropy_production(self) -> float:
        """sum_j eta_j ln((N_j + 1)/N_j) >= 0; infinite if a bath at zero temperature receives quanta."""
        with np.errstate(divide="ignore"):
            affinity = np.log1p(1 / self.N)
        flows = np.where(np.abs(self.flows) < 1e-15, 0.0, self.flows)
        return float(np.sum(np.where(flows == 0, 0.0, flows * affinity)))

    def scattering(self, omega: float) -> np.ndarray:
        """Return S(omega) = 1 - W (-i omega - A)^-1 W^+, rows of W are w_j^+; unitary, shape (baths, baths)."""
        return self._scattering(np.array([omega]))[0]

    def _scattering(self, omega: np.ndarray) -> np.ndarray:
        W = self.w.conj()
        denominator = -1j * omega[:, None, None] * np.eye(len(self.h)) - self.A
        response = np.linalg.solve(denominator, np.broadcast_to(W.conj().T, (len(omega), *W.T.shape)))
        return np.eye(len(self.w)) - W @ response

    def transmission(self, i: int, j: int) -> float:
        """Return T_ij = int d omega/2 pi |S_ij|^2, i != j: d(flow into bath i)/d N_j, by a Lyapunov equation."""
        response = sla.solve_continuous_lyapunov(self.A, -np.outer(self.w[j], self.w[j].conj()))
        return float((self.w[i].conj() @ response @ self.w[i]).real)

    # -- counting -----------------------------------------------------------------------------------------------------

    def _hamiltonian_matrix(self, s: Any) -> np.ndarray:
        s = np.asarray(s)
        emitted, absorbed = (self.N + 1) * np.expm1(-s), self.N * np.expm1(s)
        plus, minus = self._weighted(emitted + absorbed), self._weighted(emitted - absorbed)
        drift = self.A - minus / 2
        # for complex s the adjoint acts on h and w alone, otherwise analyticity is lost
        mirrored = self.A.conj().T - minus / 2
        return np.block([[-mirrored, -plus], [self._weighted(self.N + 0.5) + plus / 4, drift]])

    def theta(self, s: Any) -> Any:
        """Return theta(s) = -sum_{Re mu > 0} mu - Tr A^+ over the eigenvalues mu of the Hamiltonian matrix

            [[ -(A - F_-/2)^+, -F_+ ], [ sum_j (N_j + 1/2) w_j w_j^+ + F_+/4,  A - F_-/2 ]],
            F_pm = sum_j [ (N_j + 1)(e^{-s_j} - 1) pm N_j (e^{s_j} - 1) ] w_j w_j^+.

        Real for real s, complex (analytic) for complex s; NaN outside the domain, where eigenvalues reach the axis.
        """
        mu = np.linalg.eigvals(self._hamiltonian_matrix(s))
        scale = np.abs(mu).max()
        growing = mu[mu.real > 1e-12 * scale]
        if len(growing) != len(self.h):
            return math.nan
        value = complex(-growing.sum() - np.trace(self.A.conj().T))
        return value if np.iscomplexobj(np.asarray(s)) else value.real

    def theta_by_scattering(self, s: Any) -> float:
        """Return theta(s) = -int d omega/2 pi ln det[ 1 - N ( e^s S^+ e^-s S - 1 ) ]; independent of theta.

        With omega = centre + width tan x the integrand is periodic and analytic, so the midpoint rule converges
        exponentially; the number of points is doubled until 1e-13.

        Raises
        ------
        ValueError
            If 2^16 points are not enough: resonances of very different widths, or s at the edge of the domain.
        """
        s = np.asarray(s, dtype=float)
        poles = np.linalg.eigvals(self.A)
        centre = float(-poles.imag.mean())
        width = float(np.abs(poles + 1j * centre).max())
        previous = math.inf
        for power in range(6, 17):
            x = -np.pi / 2 + (np.arange(2**power) + 0.5) * np.pi / 2**power
            S = self._scattering(centre + width * np.tan(x))
            inner = (np.exp(s)[:, None] * S.conj().transpose(0, 2, 1) * np.exp(-s)) @ S - np.eye(len(self.w))
            _, logarithm = np.linalg.slogdet(np.eye(len(self.w)) - self.N[:, None] * inner)
            value = -float(np.sum(logarithm / np.cos(x) ** 2)) * width / (2 * 2**power)
            if abs(value - previous) < 1e-13 * max(1.0, abs(value)):
                return value
            previous = value
        raise ValueError("The integral over frequencies does not converge.")

    def noise_matrix(self) -> np.ndarray:
        """Return K_ij = d^2 theta/ds_i ds_j, one Lyapunov equation per bath; rows sum to zero.

        A X_j + X_j A^+ + (N_j + 1/2)(P_j sigma + sigma P_j) - sigma P_j sigma - P_j/4 = 0,  P_j = w_j w_j^+
        K_ij = -Tr(P_j X_i) - Tr(P_i X_j) + delta_ij [ (2 N_j + 1) Tr(P_j sigma) - |w_j|^2/2 ],  sigma = C + 1/2
        """
        sigma = self.C + np.eye(len(self.h)) / 2
        P = np.einsum("jk,jl->jkl", self.w, self.w.conj())
        first = []
        for p, n in zip(P, self.N, strict=True):
            source = (n + 0.5) * (p @ sigma + sigma @ p) - sigma @ p @ sigma - p / 4
            first.append(sla.solve_continuous_lyapunov(self.A, -source))
        traces = np.einsum("jkl,ilk->ij", P, np.array(first)).real
        own = (2 * self.N + 1) * np.einsum("jkl,lk->j", P, sigma).real - np.sum(np.abs(self.w) ** 2, axis=1) / 2
        return -traces - traces.T + np.diag(own)

    def cumulants(self, bath: int, order: int = 4, *, radius: float = 0.25, points: int = 64) -> np.ndarray:
        """Return the first cumulants per time of the quanta into one bath, from theta on a circle (Cauchy).

        Raises
        ------
        ValueError
            If the circle leaves the domain of theta; make ``radius`` smaller.
        """
        angles = 2 * np.pi * np.arange(points) / points
        s = np.zeros((points, len(self.w)), dtype=complex)
        s[:, bath] = radius * np.exp(1j * angles)
        values = np.array([self.theta(x) for x in s])
        if not np.all(np.isfinite(values)):
            raise ValueError(f"Argument `radius` = {radius:g} leaves the domain of theta; make it smaller.")
        taylor = np.fft.fft(values) / points
        return np.array([(-1) ** n * math.factorial(n) * taylor[n].real / radius**n for n in range(1, order + 1)])
