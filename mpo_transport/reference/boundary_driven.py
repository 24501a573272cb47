"""Closed forms for chains driven at their ends, for the ring with dephasing and for one driven Kerr oscillator.

Master equation with rates inside the jumps as everywhere in this package (some papers double them);
H = t sum_j (s+_j s-_(j+1) + h.c.), n = s+ s-, end baths sqrt(G f) s+ and sqrt(G (1-f)) s-, currents positive from
site 0 towards site L-1.  Each formula holds at any length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

__all__ = [
    "DrivenChain",
    "Exclusion",
    "KerrOscillator",
    "MaximallyDrivenXXZ",
    "boson_chain",
    "exclusion",
    "kerr_oscillator",
    "occupation_probabilities",
    "ring_dephasing_gap",
    "xx_chain",
    "xx_cumulant_generating_function",
    "xx_dephasing_gap",
    "xx_gap",
    "xx_quench",
    "xxz_maximally_driven",
]


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (np.isrealobj(value) and math.isfinite(value) and value > 0):
            raise ValueError(f"Argument `{name}` must be positive and finite, but is {value!r}.")


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        if not (np.isrealobj(value) and math.isfinite(value) and value >= 0):
            raise ValueError(f"Argument `{name}` must be finite and >= 0, but is {value!r}.")


def _length(L: int, least: int) -> None:
    if isinstance(L, bool) or int(L) != L or least > L:
        raise ValueError(f"Argument `L` must be an integer >= {least}, but is {L!r}.")


# ----------------------------------------------------------------------------------------------------------------------
# series resistances


@dataclass(frozen=True)
class DrivenChain:
    """Particle current (equal on every bond) and density of every site, shape (L,)."""

    current: float
    density: np.ndarray


def xx_chain(
    L: int, t: float, G_L: float, f_L: float, G_R: float, f_R: float, *, dephasing: float = 0.0
) -> DrivenChain:
    """Return the steady state of the XX chain between two baths, with dephasing sqrt(gamma) n_j on every site.

        I = (f_L - f_R) / (1/G_L + 1/G_R + (G_L + G_R)/(4 t^2) + (L-1) gamma/(2 t^2))
        n_0 = f_L - I/G_L,   n_(L-1) = f_R + I/G_R,
        n_j - n_(j+1) = (gamma + G_L/2 [first bond] + G_R/2 [last bond]) I/(2 t^2)

    for every L >= 2 and any driving (D. Karevski, T. Platini, Phys. Rev. Lett. 102, 207207 (2009); M. Znidaric,
    arXiv:1005.1271).

    Raises
    ------
    ValueError
        Naming the argument that is out of range.

    Examples
    --------
    >>> round(xx_chain(100, 1.0, 1.0, 0.75, 1.0, 0.25).current, 12)
    0.2
    """
    _length(L, 2)
    _positive(G_L=G_L, G_R=G_R)
    _not_negative(f_L=f_L, f_R=f_R, dephasing=dephasing)
    if not math.isfinite(t) or t == 0:
        raise ValueError(f"Argument `t` must be finite and not zero, but is {t!r}.")
    bonds = np.full(L - 1, float(dephasing))
    bonds[0] += G_L / 2
    bonds[-1] += G_R / 2
    current = (f_L - f_R) / (1 / G_L + 1 / G_R + bonds.sum() / (2 * t * t))
    first = f_L - current / G_L
    return DrivenChain(float(current), first - current / (2 * t * t) * np.concatenate([[0.0], np.cumsum(bonds)]))


def boson_chain(
    L: int,
    t: float,
    gain_L: float,
    loss_L: float,
    gain_R: float,
    loss_R: float,
    *,
    dephasing: float = 0.0,
) -> DrivenChain:
    """Return the steady state of the bosonic hopping chain with gain and loss at both ends.

    The formulas of :func:`xx_chain` with G = loss - gain and f = gain/(loss - gain) at each end.

    Raises
    ------
    ValueError
        If the gain reaches the loss at one end (no steady state), or an argument is out of range.

    Examples
    --------
    >>> round(boson_chain(20, 1.0, 0.1, 1.0, 0.02, 1.0).current, 10)
    0.0348653761
    """
    _not_negative(gain_L=gain_L, gain_R=gain_R)
    for name, gain, loss in (("loss_L", gain_L, loss_L), ("loss_R", gain_R, loss_R)):
        if not loss > gain:
            raise ValueError(f"Argument `{name}` must exceed the gain {gain!r}, but is {loss!r}.")
    G_L, G_R = loss_L - gain_L, loss_R - gain_R
    return xx_chain(L, t, G_L, gain_L / G_L, G_R, gain_R / G_R, dephasing=dephasing)


def occupation_probabilities(n: float, levels: int) -> np.ndarray:
    """Return P(0), ..., P(levels-1) of a bosonic site in a Gaussian state with mean occupation n (no dephasing).

    P(m) = n^m / (1+n)^(m+1); keeping d levels loses the weight (n/(1+n))^d.

    >>> occupation_probabilities(1.0, 3).tolist()
    [0.5, 0.25, 0.125]
    """
    _not_negative(n=n)
    return np.asarray((n / (1 + n)) ** np.arange(levels) / (1 + n))


# ----------------------------------------------------------------------------------------------------------------------
# maximally driven XXZ chain


@dataclass(frozen=True)
class MaximallyDrivenXXZ:
    """Z current j = 2J <X_j Y_(j+1) - Y_j X_(j+1)> (twice the particle current) and <Z_j>, shape (L,)."""

    current: float
    sigma_z: np.ndarray


def xxz_maximally_driven(L: int, Delta: float, *, J: float = 1.0, eps: float = 1.0) -> MaximallyDrivenXXZ:
    """Return the steady state of H = J sum (XX + YY + Delta ZZ) with the jumps sqrt(eps) s+_0 and sqrt(eps) s-_(L-1).

    With cos(eta) = Delta and y = eps/(4 J sin eta), a tridiagonal matrix on k = 0 .. floor(L/2)+1,

        T_kk = 2 |a_k|^2,                     |a_k|^2 = |cos(eta k)|^2 + |y sin(eta k)|^2
        T_(k,k+1) = T_(k+1,k) = |b_k|,        b_k = sin(eta (k+1)) (2i y cos(eta k) + (1 + y^2) sin(eta k))

    (a and b of the paper divided by cos(eta s) and its square, tan(eta s) = -i y) gives with Z_L = (T^L)_00

        j = 2 eps Z_(L-1) / Z_L,     <Z_k> = (T^k V T^(L-1-k))_00 / Z_L,     V_(k,k+1) = -V_(k+1,k) = |b_k|.

    T. Prosen, Phys. Rev. Lett. 107, 137201 (2011).  All entries are positive, so logarithms lose no accuracy; lengths
    of thousands are no problem.

    Examples
    --------
    >>> round(xxz_maximally_driven(20, 1.0, eps=4.0).current, 12)
    0.052579506289
    """
    _length(L, 2)
    _positive(J=J, eps=eps)
    if not math.isfinite(Delta):
        raise ValueError(f"Argument `Delta` must be finite, but is {Delta!r}.")
    k = np.arange(L // 2 + 2)
    log_diagonal, log_b = _ladder(k, abs(float(Delta)), eps / (4 * J))
    log_b = log_b[:-1]
    powers = [np.where(k == 0, 0.0, -np.inf)]  # log of T^m e_0
    for _ in range(L):
        v = powers[-1]
        new = v + log_diagonal
        new[:-1] = np.logaddexp(new[:-1], v[1:] + log_b)
        new[1:] = np.logaddexp(new[1:], v[:-1] + log_b)
        powers.append(new)
    log_z = powers[L][0]
    profile = []
    for site in range(L):
        u, w = powers[site], powers[L - 1 - site]
        up = np.exp(u[:-1] + w[1:] + log_b - log_z)
        down = np.exp(u[1:] + w[:-1] + log_b - log_z)
        profile.append(float(np.sum(up - down)))
    return MaximallyDrivenXXZ(float(2 * eps * np.exp(powers[L - 1][0] - log_z)), np.array(profile))


def _ladder(k: np.ndarray, Delta: float, drive: float) -> tuple[np.ndarray, np.ndarray]:
    """Return log(2 |a_k|^2) and log |b_k|; only |Delta| matters."""
    if abs(Delta - 1) < 1e-12:
        a2 = 1 + (drive * k) ** 2
        b = (k + 1) * drive * np.hypot(2.0, drive * k)
        return np.log(2 * a2), np.log(b)
    if Delta < 1:
        eta = math.acos(Delta)
        y = drive / math.sin(eta)
        c, s = np.cos(eta * k), np.sin(eta * k)
        b = np.abs(np.sin(eta * (k + 1))) * np.hypot(2 * y * c, (1 + y * y) * s)
        log_b = np.log(b, where=b > 0, out=np.full(len(k), -np.inf))
        return np.log(2 * (c * c + y * y * s * s)), log_b
    eta = math.acosh(Delta)
    y = drive / math.sinh(eta)
    log_cosh = eta * k + np.log1p(np.exp(-2 * eta * k)) - math.log(2)
    log_sinh = eta * (k + 1) + np.log1p(-np.exp(-2 * eta * (k + 1))) - math.log(2)
    tanh = np.tanh(eta * k)
    log_a2 = 2 * log_cosh + np.log1p((y * tanh) ** 2)
    return math.log(2) + log_a2, log_sinh + log_cosh + np.log(np.hypot(2 * y, (1 - y * y) * tanh))


# ----------------------------------------------------------------------------------------------------------------------
# exclusion process


@dataclass(frozen=True)
class Exclusion:
    """Particle current, densities (L,) and connected correlations <n_i n_j> - <n_i><n_j> (L, L)."""

    current: float
    density: np.ndarray
    connected: np.ndarray


def exclusion(L: int, alpha: float, beta: float, gamma: float, delta: float) -> Exclusion:
    """Return the steady state of the symmetric exclusion process with unit hopping rates.

    Rates at the first site: alpha in, gamma out; at the last site: delta in, beta out.  With A = 1/(alpha+gamma),
    B = 1/(beta+delta), rho_a = alpha A, rho_b = delta B, N = L + A + B - 1 and sites i = 1..L,

        I = (rho_a - rho_b)/N,     n_i = (rho_a (L+B-i) + rho_b (i-1+A))/N,
        <n_i n_j>_c = -(rho_a - rho_b)^2 (A+i-1)(B+L-j)/(N^2 (N-1)),   i < j.

    B. Derrida, J. Stat. Mech. P07023 (2007).

    Examples
    --------
    >>> round(exclusion(100, alpha=1.0, beta=1.0, gamma=0.0, delta=0.0).current, 10)
    0.0099009901
    """
    _length(L, 2)
    _not_negative(alpha=alpha, beta=beta, gamma=gamma, delta=delta)
    _positive(**{"alpha + gamma": alpha + gamma, "beta + delta": beta + delta})
    A, B = 1 / (alpha + gamma), 1 / (beta + delta)
    rho_a, rho_b = alpha * A, delta * B
    N = L + A + B - 1
    i = np.arange(1, L + 1)
    density = (rho_a * (L + B - i) + rho_b * (i - 1 + A)) / N
    upper = np.triu(-((rho_a - rho_b) ** 2) * np.outer(A + i - 1, B + L - i) / (N * N * (N - 1)), 1)
    return Exclusion((rho_a - rho_b) / N, density, upper + upper.T + np.diag(density * (1 - density)))


# ----------------------------------------------------------------------------------------------------------------------
# relaxation rates, dynamics and counting of the free chain


def _hopping(L: int, t: float) -> np.ndarray:
    return np.diag(np.full(L - 1, float(t)), 1) + np.diag(np.full(L - 1, float(t)), -1)


def _effective(L: int, t: float, G_L: float, G_R: float) -> np.ndarray:
    h = _hopping(L, t).astype(complex)
    h[0, 0] -= 0.5j * G_L
    h[-1, -1] -= 0.5j * G_R
    return h


def xx_gap(L: int, t: float, G_L: float, G_R: float) -> float:
    """Return the smallest relaxation rate of the XX chain without dephasing in the even-parity sector.

    gap = 2 min_k |Im z_k|, z_k the eigenvalues of h - (i/2)(G_L P_0 + G_R P_(L-1)); falls as L^-3.

    >>> round(xx_gap(20, 1.0, 1.0, 1.0), 10)
    0.0035892798
    """
    _length(L, 2)
    _not_negative(G_L=G_L, G_R=G_R)
    return float(2 * np.abs(np.linalg.eigvals(_effective(L, t, G_L, G_R)).imag).min())


def xx_dephasing_gap(L: int, t: float, G_L: float, G_R: float, gamma: float) -> float:
    """Return the slowest decay rate of the two-point function C_ij = <c+_i c_j> with dephasing.

    dC/dt = (ih - G/2) C + C (ih - G/2)^+ - gamma (C - diag C) + source: an eigenvalue of an L^2 x L^2 matrix.

    >>> round(xx_dephasing_gap(20, 1.0, 1.0, 1.0, 0.5), 8)
    0.04923671
    """
    _length(L, 2)
    _not_negative(G_L=G_L, G_R=G_R, gamma=gamma)
    left = 1j * _effective(L, t, G_L, G_R).conj()
    one = np.eye(L)
    generator = np.kron(left, one) + np.kron(one, left.conj())
    generator -= gamma * np.diag((1 - one).ravel())
    return float(-np.linalg.eigvals(generator).real.max())


def ring_dephasing_gap(L: int, t: float, gamma: float) -> float:
    """Return the relaxation rate gamma - sqrt(gamma^2 - 16 t^2 sin^2(pi/L)) of a ring with dephasing.

    Exact up to corrections exponentially small in L (M. Esposito, P. Gaspard, J. Stat. Phys. 121, 463 (2005)).

    Raises
    ------
    ValueError
        If the root is not real: L too small for this dephasing.

    Examples
    --------
    >>> round(ring_dephasing_gap(24, 1.0, 0.9), 10)
    0.1669197791
    """
    _length(L, 3)
    _positive(gamma=gamma)
    radicand = gamma**2 - 16 * t**2 * math.sin(math.pi / L) ** 2
    if radicand < 0:
        raise ValueError(f"Argument `gamma` = {gamma!r} is too small for L = {L}: the slowest mode oscillates.")
    return gamma - math.sqrt(radicand)


def xx_quench(
    times: Sequence[float],
    occupation: Sequence[float],
    t: float,
    G_L: float,
    f_L: float,
    G_R: float,
    f_R: float,
    *,
    dephasing: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return densities (times, L) and bond currents (times, L-1) after a start from a product of occupations.

    The closed equation of :func:`xx_dephasing_gap` with source diag(G_L f_L, 0, ..., 0, G_R f_R), integrated to 1e-11;
    the current of bond (j, j+1) is 2 t Im C_(j+1,j).

    >>> n, I = xx_quench([0.0], [1, 0, 1], 1.0, 1.0, 0.5, 1.0, 0.5)
    >>> n.tolist(), I.tolist()
    ([[1.0, 0.0, 1.0]], [[0.0, 0.0]])
    """
    L = len(occupation)
    _length(L, 2)
    _not_negative(G_L=G_L, f_L=f_L, G_R=G_R, f_R=f_R, dephasing=dephasing)
    left = 1j * _effective(L, t, G_L, G_R).conj()
    source = np.zeros((L, L))
    source[0, 0], source[-1, -1] = G_L * f_L, G_R * f_R
    off = dephasing * (1 - np.eye(L))

    def rhs(_time: float, y: np.ndarray) -> np.ndarray:
        C = y.reshape(L, L)
        image = left @ C
        return np.asarray(image + image.conj().T - off * C + source).ravel()  # C stays Hermitian

    moments = np.asarray(times, dtype=float)
    start = np.diag(np.asarray(occupation, dtype=complex)).ravel()
    span = (0.0, max(float(moments.max()), 1e-12))
    answer = scipy.integrate.solve_ivp(rhs, span, start, method="DOP853", t_eval=moments, rtol=1e-11, atol=1e-13)
    C = answer.y.T.reshape(len(moments), L, L)
    currents = 2 * t * np.imag(np.diagonal(C, -1, 1, 2))
    return np.real(np.diagonal(C, 0, 1, 2)), currents


def xx_cumulant_generating_function(
    chi: float, L: int, t: float, G_L: float, f_L: float, G_R: float, f_R: float
) -> float:
    """Return the leading eigenvalue of the Lindbladian tilted by particles entering (e^chi) and leaving at site 0.

        lambda(chi) = int dw/(2 pi) ln(1 + T(w) (f_L (1-f_R)(e^chi - 1) + f_R (1-f_L)(e^-chi - 1)))
        T(w) = G_L G_R |<0| (w - h + (i/2)(G_L P_0 + G_R P_(L-1)))^-1 |L-1>|^2

    (no dephasing; Levitov-Lesovik formula, cf. M. Znidaric, arXiv:1310.3670).

    >>> round(xx_cumulant_generating_function(0.5, 10, 1.0, 1.0, 0.8, 1.0, 0.2), 6)
    0.140195
    """
    _length(L, 2)
    _positive(G_L=G_L, G_R=G_R)
    weight = f_L * (1 - f_R) * math.expm1(chi) + f_R * (1 - f_L) * math.expm1(-chi)
    z = np.linalg.eigvals(_effective(L, t, G_L, G_R))

    def integrand(w: float) -> float:
        transmission = G_L * G_R * math.exp(2 * ((L - 1) * math.log(abs(t)) - np.log(np.abs(w - z)).sum()))
        return math.log1p(weight * transmission)

    edge = 2 * abs(t)
    inner = scipy.integrate.quad(integrand, -edge, edge, limit=2000, epsabs=1e-12, epsrel=1e-11)[0]
    tails = [
        scipy.integrate.quad(integrand, *ends, limit=500, epsabs=1e-13)[0]
        for ends in ((-np.inf, -edge), (edge, np.inf))
    ]
    return float(inner + sum(tails)) / (2 * math.pi)


# ----------------------------------------------------------------------------------------------------------------------
# one driven Kerr oscillator


@dataclass(frozen=True)
class KerrOscillator:
    """Steady state of the driven Kerr oscillator: ``moment(m, n)`` = <a+^m a^n>."""

    Delta: float
    U: float
    F: float
    gamma: float

    def moment(self, m: int, n: int) -> complex:
        """Return <a+^m a^n>."""
        c = -2 * (self.Delta + 0.5j * self.gamma) / self.U
        z = 8 * (self.F / self.U) ** 2
        ratio = _hypergeometric_0f2(c + n, c.conjugate() + m, z) / _hypergeometric_0f2(c, c.conjugate(), z)
        return complex((-2 * self.F / self.U) ** (m + n) * ratio / (_rising(c, n) * _rising(c.conjugate(), m)))

    @property
    def amplitude(self) -> complex:
        """<a>."""
        return self.moment(0, 1)

    @property
    def occupation(self) -> float:
        """<a+ a>."""
        return self.moment(1, 1).real

    @property
    def g2(self) -> float:
        """<a+^2 a^2>/<a+ a>^2."""
        return self.moment(2, 2).real / self.occupation**2


def kerr_oscillator(*, Delta: float, U: float, F: float, gamma: float) -> KerrOscillator:
    """Return the steady state of H = -Delta n + (U/2) a+^2 a^2 + F (a + a+) with loss sqrt(gamma) a.

    With c = -2 (Delta + i gamma/2)/U,

        <a+^m a^n> = (-2F/U)^(m+n) Gamma(c) Gamma(c^*) / (Gamma(c+n) Gamma(c^*+m))
                     0F2(; c+n, c^*+m; 8 F^2/U^2) / 0F2(; c, c^*; 8 F^2/U^2).

    P. D. Drummond, D. F. Walls, J. Phys. A 13, 725 (1980).

    Examples
    --------
    >>> round(kerr_oscillator(Delta=0.5, U=1.0, F=0.6, gamma=1.0).occupation, 9)
    0.811659198
    """
    _positive(gamma=gamma)
    if not all(math.isfinite(v) for v in (Delta, U, F)) or U == 0:
        raise ValueError("Arguments `Delta`, `U` and `F` must be finite and `U` not zero.")
    return KerrOscillator(float(Delta), float(U), float(F), float(gamma))


def _rising(c: complex, n: int) -> complex:
    out = 1.0 + 0j
    for k in range(n):
        out *= c + k
    return out


def _hypergeometric_0f2(a: complex, b: complex, z: float) -> complex:
    """Return 0F2(; a, b; z) by its series, which converges everywhere."""
    total, term, n = 0j, 1.0 + 0j, 0
    while True:
        total += term
        factor = z / ((a + n) * (b + n) * (n + 1))
        term *= factor
        n += 1
        if abs(term) < 1e-17 * abs(total) and abs(factor) < 0.5:
            return total
