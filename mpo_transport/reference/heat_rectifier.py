"""Closed forms for two oscillators cascaded through a common bath, for chains of them, and for their optomechanics.

Oscillators 1, 2 with local baths (rates kappa_i, occupations N_1, N_2) and a common bath (rates gamma_i, occupation
N_3); Delta = omega_2 - omega_1.  Steady states depend on F and theta through f = F e^{i theta} = r + i y only.

S. Barzanjeh, M. Aquilina, A. Xuereb, Phys. Rev. Lett. 120, 060601 (2018), Appendices C, D.  Where the paper
misprints, the corrected form stands here; :data:`MISPRINTS` lists them.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .passive_networks import PassiveNetwork

__all__ = [
    "MISPRINTS",
    "CascadeFlows",
    "MappedRectifier",
    "Transmissions",
    "cascade_coefficients",
    "cascade_flows",
    "cascaded_network",
    "disconnected_occupations",
    "flows_without_hopping",
    "isosurface",
    "map_optomechanics",
    "non_rwa_occupations",
    "occupation_changes",
    "occupations",
    "occupations_without_hopping",
    "rectifier_network",
    "three_mode_network",
    "transmissions",
]

MISPRINTS = (
    "The master equation with e^{+i phi} in L_3 and the printed Langevin matrix agree only with phi -> -phi.",
    "C10, C11: the bracket y(2y + kappa) must be y(y + 2 kappa).",
    "D7 must contain the occupations m_i of the disconnected oscillators, not the actual n_i.",
    "eta_2 does depend on N_1: d eta_2/d N_1 = kappa^3/(4 kappa^2 + Delta^2).",
    "D1: F_- must be halved and the inhomogeneous term F_+/4 added; D2: F_pm of the common bath is a rank-one matrix.",
    "D2, D3 as printed, with vacuum covariance 1, give twice the mean flow.",
    "Main text: the left side of the eliminated equation is -i omega.",
    "Appendix: the second input term carries sqrt(kappa_2).",
)


def rectifier_network(
    *,
    omega_1: float,
    omega_2: float,
    gamma_1: float,
    gamma_2: float,
    kappa_1: float,
    kappa_2: float,
    F: complex,
    theta: float,
    N: Any,
) -> PassiveNetwork:
    """Return the two oscillators as a network; baths 1, 2, common.

    Examples
    --------
    >>> network = rectifier_network(omega_1=0, omega_2=0, gamma_1=1, gamma_2=1, kappa_1=1, kappa_2=1, F=0, theta=0,
    ...                             N=[1.0, 0.2, 0.5])
    >>> network.occupations.round(12).tolist()
    [0.75, 0.475]
    """
    hop = 0.5j * math.sqrt(gamma_1 * gamma_2) * cmath.exp(-1j * theta) + F
    h = np.array([[omega_1, hop], [hop.conjugate(), omega_2]])
    w = np.array(
        [
            [math.sqrt(kappa_1), 0.0],
            [0.0, math.sqrt(kappa_2)],
            [math.sqrt(gamma_1), math.sqrt(gamma_2) * cmath.exp(1j * theta)],
        ]
    )
    return PassiveNetwork(h, w, N)


# ----------------------------------------------------------------------------------------------------------------------
# equal rates, kappa_1 = kappa_2 = gamma_1 = gamma_2 = kappa


def _denominator(f: complex, Delta: float, kappa: float) -> float:
    return 3 * abs(f) ** 2 + 4 * kappa * (kappa + f.imag) + f.imag**2 + Delta**2


def occupations(N: Any, f: complex, Delta: float, kappa: float = 1.0) -> tuple[float, float]:
    """Return (n_1, n_2) for equal rates; Eqs. C1, C2.

        D   = 3|f|^2 + 4 kappa (kappa + y) + y^2 + Delta^2,       f = r + i y
        n_1 = [ 2|f|^2 (N_1+N_2+N_3) + r Delta (N_1-N_3) + 2 y^2 N_3 + 2 y kappa (N_1+3 N_3)
                + (4 kappa^2 + Delta^2)(N_1+N_3) ] / 2D
        n_2 = [ 2|f|^2 (N_1+N_2+N_3) - r Delta (N_2-N_3) + 2 y^2 N_3 + 2 y kappa (N_2+3 N_3)
                + (4 kappa^2 + Delta^2)(N_2+N_3) ] / 2D + kappa (2y + kappa)(N_1-N_3)/D

    Examples
    --------
    >>> occupations((1.0, 0.2, 0.5), 0.0, 0.0)
    (0.75, 0.475)
    """
    f = complex(f)
    a, b, c = N
    D = _denominator(f, Delta, kappa)
    r, y, wide = f.real, f.imag, 4 * kappa**2 + Delta**2
    shared = 2 * abs(f) ** 2 * (a + b + c) + 2 * y * y * c
    first = shared + r * Delta * (a - c) + 2 * y * kappa * (a + 3 * c) + wide * (a + c)
    second = shared - r * Delta * (b - c) + 2 * y * kappa * (b + 3 * c) + wide * (b + c)
    return first / (2 * D), second / (2 * D) + kappa * (2 * y + kappa) * (a - c) / D


def occupation_changes(N: Any, f: complex, Delta: float, kappa: float = 1.0) -> tuple[float, float]:
    """Return (n_1 - m_1, n_2 - m_2), the change by connecting the oscillators; Eqs. C10, C11, corrected.

        n_1 - m_1 = { |f|^2 (-N_1+2N_2-N_3) - [ y(y + 2 kappa) - r Delta ](N_1-N_3) } / 2D
        n_2 - m_2 = { |f|^2 (2N_1-N_2-N_3) - [ y(y + 2 kappa) + r Delta ](N_2-N_3)
                      + 2 kappa (2y + kappa)(N_1-N_3) } / 2D

    Examples
    --------
    >>> round(occupation_changes((1.0, 0.2, 0.5), 0.0, 0.0)[1], 12)
    0.125
    """
    f = complex(f)
    a, b, c = N
    D = _denominator(f, Delta, kappa)
    r, y = f.real, f.imag
    bend = y * (y + 2 * kappa)
    first = abs(f) ** 2 * (2 * b - a - c) - (bend - r * Delta) * (a - c)
    second = abs(f) ** 2 * (2 * a - b - c) - (bend + r * Delta) * (b - c) + 2 * kappa * (2 * y + kappa) * (a - c)
    return first / (2 * D), second / (2 * D)


@dataclass(frozen=True)
class Transmissions:
    """T_12 = d eta_1/d N_2, T_21 = d eta_2/d N_1 and the contrast (T_21 - T_12)/(T_21 + T_12)."""

    T12: float
    T21: float

    @property
    def contrast(self) -> float:
        """(T_21 - T_12)/(T_21 + T_12): 1 for the perfect diode from 1 to 2."""
        return (self.T21 - self.T12) / (self.T21 + self.T12)


def transmissions(f: complex, Delta: float, kappa: float = 1.0) -> Transmissions:
    """Return the linear response between the local baths at equal rates.

        T_12 = kappa |f|^2/D,      T_21 = kappa ( |f|^2 + kappa^2 + 2 kappa y )/D

    Examples
    --------
    >>> transmissions(0.0, 0.5).contrast, transmissions(-1j, 0.5).contrast
    (1.0, -1.0)
    """
    f = complex(f)
    D = _denominator(f, Delta, kappa)
    square = abs(f) ** 2
    return Transmissions(kappa * square / D, kappa * (square + kappa**2 + 2 * kappa * f.imag) / D)


def flows_without_hopping(N: Any, Delta: float, kappa: float = 1.0) -> tuple[float, float, float]:
    """Return (eta_1, eta_2, eta_3), quanta into the baths, for F = 0 and equal rates; Eq. D7 with m_i for n_i.

        eta_1 = kappa (m_3 - m_1),    x = 2 kappa^2/(4 kappa^2 + Delta^2)
        eta_2 = kappa [ x (m_1 - m_3) + m_3 - m_2 ],    eta_3 = kappa [ x (m_3 - m_1) + m_1 + m_2 - 2 m_3 ]

    Examples
    --------
    >>> [round(x, 12) for x in flows_without_hopping((1.0, 0.2, 0.5), 0.0)]
    [-0.25, 0.275, -0.025]
    """
    m1, m2 = disconnected_occupations(N, (kappa, kappa), (kappa, kappa))
    m3 = N[2]
    x = 2 * kappa**2 / (4 * kappa**2 + Delta**2)
    return (
        kappa * (m3 - m1),
        kappa * (x * (m1 - m3) + m3 - m2),
        kappa * (x * (m3 - m1) + m1 + m2 - 2 * m3),
    )


def isosurface(change: float, F: Any, Delta: Any, m_1: float, m_2: float) -> Any:
    """Return m_3 at which n_2 - m_2 has a given value, for real F, theta = 0, kappa = 1 and m_1, m_2 held fixed.

        n_2 - m_2 = [ F^2 (2 m_1-m_2-m_3) - F Delta (m_2-m_3) + 2 (m_1-m_3) ] / (3 F^2 + 4 + Delta^2),

    linear in m_3.  Occupations N_1 = 2 m_1 - m_3 and N_2 = 2 m_2 - m_3 are physical for m_3 <= 2 min(m_1, m_2).  NaN
    or infinite where F^2 - F Delta + 2 = 0.

    Examples
    --------
    >>> isosurface(10.0, 0.0, 0.0, 50.0, 100.0)
    30.0
    """
    top = F**2 * (2 * m_1 - m_2) - F * Delta * m_2 + 2 * m_1 - change * (3 * F**2 + 4 + Delta**2)
    return top / (F**2 - F * Delta + 2)


# ----------------------------------------------------------------------------------------------------------------------
# unequal rates


def disconnected_occupations(N: Any, kappa: Any, gamma: Any) -> tuple[float, float]:
    """Return m_i = (kappa_i N_i + gamma_i N_3)/(kappa_i + gamma_i), the oscillators without each other.

    >>> disconnected_occupations((1.0, 0.2, 0.5), (1, 1), (1, 1))
    (0.75, 0.35)
    """
    first, second = ((k * n + g * N[2]) / (k + g) for k, g, n in zip(kappa, gamma, N[:2], strict=True))
    return first, second


def occupations_without_hopping(N: Any, kappa: Any, gamma: Any, Delta: float) -> tuple[float, float]:
    """Return (n_1, n_2) for F = 0 and any rates.

        n_1 = m_1,   n_2 = m_2 + (2 gamma_1 gamma_2/G_2)(m_1 - N_3) G/(G^2 + Delta^2),
        G_i = gamma_i + kappa_i,   G = (G_1 + G_2)/2

    Examples
    --------
    >>> occupations_without_hopping((1.0, 0.2, 0.5), (1, 1), (1, 1), 1.5)
    (0.75, 0.43)
    """
    m1, m2 = disconnected_occupations(N, kappa, gamma)
    G2 = gamma[1] + kappa[1]
    G = (gamma[0] + kappa[0] + G2) / 2
    return m1, m2 + 2 * gamma[0] * gamma[1] / G2 * (m1 - N[2]) * G / (G**2 + Delta**2)


# ----------------------------------------------------------------------------------------------------------------------
# cascades


def cascaded_network(omega: Any, gamma: Any, kappa: Any, N: Any, N_common: float, F: complex = 0.0) -> PassiveNetwork:
    """Return the cascaded chain, L_0 = sum_k sqrt(gamma_k) c_k, with reciprocal neighbour hopping F; common bath last.

    Lists of equal length.  For F = 0 the drift is lower triangular, A_kj = -sqrt(gamma_j gamma_k) for k > j.

    >>> network = cascaded_network([0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.2], 0.5)
    >>> network.occupations.round(12).tolist()
    [0.75, 0.475]
    """
    amplitude = np.sqrt(np.asarray(gamma, dtype=float))
    L = len(amplitude)
    upper = np.triu(0.5j * np.outer(amplitude, amplitude), 1) + np.diag(np.full(L - 1, complex(F)), 1)
    h = upper + upper.conj().T + np.diag(np.asarray(omega, dtype=float))
    w = np.vstack([np.diag(np.sqrt(np.asarray(kappa, dtype=float))), amplitude])
    return PassiveNetwork(h, w, [*N, N_common])


def cascade_coefficients(count: int) -> np.ndarray:
    """Return a_m = C(2m, m)/(4^m (2m - 1)), m = 1 .. count.

    >>> cascade_coefficients(3).tolist()
    [0.5, 0.125, 0.0625]
    """
    m = np.arange(1, count)
    return 0.5 * np.concatenate([[1.0], np.cumprod((2 * m - 1) / (2 * m + 2))])


@dataclass(frozen=True)
class CascadeFlows:
    """Quanta per time into the local baths, shape (L,), and into the common one."""

    local: np.ndarray
    common: float


def cascade_flows(L: int, N_1: float, kappa: float = 1.0) -> CascadeFlows:
    """Return the flows of a resonant cascade with all rates equal and only bath 1 hot.

        eta_1 = -kappa N_1/2,   eta_j = (kappa N_1/2) a_{j-1},   eta_common = (kappa N_1/2) C(2L-2, L-1)/4^{L-1}

    The common bath's share falls as L^-1/2: a long cascade passes everything on.

    Examples
    --------
    >>> flows = cascade_flows(6, 0.3)
    >>> flows.local.tolist(), flows.common
    ([-0.15, 0.075, 0.01875, 0.009375, 0.005859375, 0.0041015625], 0.0369140625)
    """
    unit = kappa * N_1 / 2
    m = np.arange(1, L)
    local = np.concatenate([[-1.0], cascade_coefficients(L - 1)]) if L > 1 else np.array([-1.0])
    return CascadeFlows(unit * local, float(unit * np.prod((2 * m - 1) / (2 * m))))


# ----------------------------------------------------------------------------------------------------------------------
# optomechanics


@dataclass(frozen=True)
class MappedRectifier:
    """Parameters of the two-mode model that the mechanical mode leaves behind; ``chi`` is its response at Omega."""

    omega: tuple[float, float]
    gamma: tuple[float, float]
    F: complex
    theta: float
    chi: complex


def map_optomechanics(
    Omega: float,
    *,
    Delta_1: float,
    Delta_2: float,
    omega_m: float,
    J: float,
    G_1: float,
    G_2: float,
    phi: float,
    gamma_m: float,
) -> MappedRectifier:
    """Return the exact elimination of the mechanical mode at one frequency.

        chi = 1/[ gamma_m/2 - i (Omega - omega_m) ],    omega_i = Delta_i + G_i^2 Im chi,
        gamma_i = 2 G_i^2 Re chi = G_i^2 gamma_m |chi|^2,    theta = phi,    F = J - i chi G_1 G_2 e^{-i phi}

    At Omega = omega_m: gamma_i = 4 G_i^2/gamma_m, and F = 0 needs phi = pi/2, J = 2 G_1 G_2/gamma_m.

    Examples
    --------
    >>> at = map_optomechanics(6.0, Delta_1=6, Delta_2=6, omega_m=6, J=1, G_1=0.007, G_2=0.007, phi=math.pi / 2,
    ...                        gamma_m=1e-4)
    >>> [round(x, 12) for x in (*at.gamma, at.F.real)]
    [1.96, 1.96, 0.02]
    """
    chi = 1 / (gamma_m / 2 - 1j * (Omega - omega_m))
    return MappedRectifier(
        (Delta_1 + G_1**2 * chi.imag, Delta_2 + G_2**2 * chi.imag),
        (2 * G_1**2 * chi.real, 2 * G_2**2 * chi.real),
        J - 1j * chi * G_1 * G_2 * cmath.exp(-1j * phi),
        phi,
        chi,
    )


def three_mode_network(
    *,
    Delta_1: float,
    Delta_2: float,
    omega_m: float,
    J: float,
    G_1: float,
    G_2: float,
    phi: float,
    kappa_1: float,
    kappa_2: float,
    gamma_m: float,
    N: Any,
) -> PassiveNetwork:
    """Return the three-mode model (a_1, a_2, b) in the rotating-wave approximation; baths 1, 2, mechanical."""
    second = G_2 * cmath.exp(1j * phi)
    h = np.array([[Delta_1, J, G_1], [J, Delta_2, second], [G_1, second.conjugate(), omega_m]])
    return PassiveNetwork(h, np.diag(np.sqrt([kappa_1, kappa_2, gamma_m])), N)


def non_rwa_occupations(
    *,
    Delta_1: float,
    Delta_2: float,
    omega_m: float,
    J: float,
    G_1: float,
    G_2: float,
    phi: float,
    kappa_1: float,
    kappa_2: float,
    gamma_m: float,
    N: Any,
) -> np.ndarray:
    """Return (n_1, n_2, n_b) with counter-rotating terms, from real quadratures (vacuum 1/2).

    H contains 2 G_1 x_1 x_b + 2 G_2 (x_2 cos phi + p_2 sin phi) x_b, x = (a + a^+)/sqrt 2.

    Raises
    ------
    ValueError
        If the drift is unstable.
    """
    xx, xp = np.zeros((3, 3)), np.zeros((3, 3))  # H = sum (1/2) x Q x + x R p + (1/2) p T p
    xx[range(3), range(3)] = Delta_1, Delta_2, omega_m
    pp = xx.copy()
    xx[0, 1] = xx[1, 0] = pp[0, 1] = pp[1, 0] = J
    xx[0, 2] = xx[2, 0] = 2 * G_1
    xx[1, 2] = xx[2, 1] = 2 * G_2 * math.cos(phi)
    xp[2, 1] = 2 * G_2 * math.sin(phi)
    rates = np.array([kappa_1, kappa_2, gamma_m])
    half = np.diag(rates) / 2
    drift = np.block([[xp.T - half, pp], [-xx, -xp - half]])
    if np.linalg.eigvals(drift).real.max() >= 0:
        raise ValueError("There is no steady state: the drift has a growing mode.")
    kicks = np.tile(rates * (np.asarray(N, dtype=float) + 0.5), 2)
    unknown = np.kron(drift, np.eye(6)) + np.kron(np.eye(6), drift)
    V = np.linalg.solve(unknown, -np.diag(kicks).ravel()).reshape(6, 6)
    return (V.diagonal()[:3] + V.diagonal()[3:] - 1) / 2
