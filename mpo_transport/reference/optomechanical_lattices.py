"""Closed forms for a ring of optomechanical cells with the light eliminated: rates, populations, currents, noise.

Uniform ring of L cells, photon band -J cos q, couplings G_l = G_abs e^{i l phi}, shifted detuning Dt, hbar = 1, Fourier
modes d_k = L^{-1/2} sum_l e^{-ikl} d_l with k = 2 pi n/L, n = 0 .. L-1, and x_pm(q) = pm omega_m + Dt + J cos q.

Z. Denis, A. Biella, I. Favero, C. Ciuti, *Permanent directional heat currents in lattices of optomechanical
resonators*, Phys. Rev. Lett. 124, 083601 (2020), arXiv:1910.09878.  Equation numbers are those of the paper and its
supplement; the formulas are corrected where :data:`MISPRINTS` says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

__all__ = ["MISPRINTS", "EffectiveRing", "decaying_root", "hopping_by_image_sum"]

MISPRINTS = (
    "Eq. 4: V carries +G while H carries -g; the sign drops out at second order, the cubic term needs the minus.",
    "Operator of the current: the overall minus sign contradicts Eq. 13, whose sign is right.",
    "The current of the paper is half the physical pair current: its sum over l + p and l - p counts each pair twice.",
    "Below Eq. 12: k = -phi is the maximum of omega_k for J > 0; the minimum is at k = pi - phi.",
    "Anti-Stokes resonance: Dt = -omega_m - J cos(k + phi); k - phi is printed.",
    "S14: a factor i is missing.  S15: indices start at 2L.",
    "S20-S22: complex conjugates of G_pm are missing, r = G_+/G_- should be tanh r, theta and varphi are interchanged.",
)


@dataclass(frozen=True)
class EffectiveRing:
    """The effective phonon master equation of a uniform ring, solved.

    Parameters
    ----------
    L
        Number of cells, >= 1.
    phi
        Phase of the drive per cell, a multiple of 2 pi/L.
    J, Dt, G_abs
        Photon hopping (band -J cos q), shifted detuning, coupling g |alpha|.
    gamma_c, gamma_m, nbar
        Optical loss > 0, mechanical loss and thermal occupation >= 0.
    omega_m
        Mechanical frequency.

    Raises
    ------
    ValueError
        Naming the argument that is out of range.

    Examples
    --------
    >>> ring = EffectiveRing(8, 2 * math.pi / 8, J=0.2, Dt=-1.2, G_abs=0.02, gamma_c=0.1, gamma_m=1e-3, nbar=100)
    >>> round(ring.total_current("paper") / ring.gamma_m, 6)
    1.456841
    """

    L: int
    phi: float
    J: float
    Dt: float
    G_abs: float
    gamma_c: float
    gamma_m: float
    nbar: float
    omega_m: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.L, bool) or int(self.L) != self.L or self.L < 1:
            raise ValueError(f"Argument `L` must be an integer >= 1, but is {self.L!r}.")
        for name in ("phi", "J", "Dt", "G_abs", "gamma_c", "gamma_m", "nbar", "omega_m"):
            value = getattr(self, name)
            if not (np.isrealobj(value) and math.isfinite(value)):
                raise ValueError(f"Argument `{name}` must be a finite real number, but is {value!r}.")
        for name in ("G_abs", "gamma_m", "nbar"):
            if getattr(self, name) < 0:
                raise ValueError(f"Argument `{name}` must be >= 0, but is {getattr(self, name)!r}.")
        if self.gamma_c <= 0:
            raise ValueError(f"Argument `gamma_c` must be > 0, but is {self.gamma_c!r}.")
        winding = self.L * self.phi / (2 * math.pi)
        if abs(winding - round(winding)) > 1e-9 * max(1.0, abs(winding)):
            raise ValueError(f"Argument `phi` must be a multiple of 2 pi/L, but L phi/2 pi is {winding!r}.")

    # -- spectra ------------------------------------------------------------------------------------------------------

    @cached_property
    def _winding(self) -> int:
        return round(self.L * self.phi / (2 * math.pi))

    @cached_property
    def k(self) -> np.ndarray:
        """Quasi-momenta 2 pi n/L, n = 0 .. L-1, shape (L,)."""
        return 2 * np.pi * np.arange(self.L) / self.L

    @cached_property
    def _cos(self) -> np.ndarray:
        return np.cos(self.k)

    def detuning(self, sign: int, shift: int = 0) -> np.ndarray:
        """Return x_sign(k + 2 pi shift/L) = sign omega_m + Dt + J cos(k + 2 pi shift/L) for every k, shape (L,)."""
        return sign * self.omega_m + self.Dt + self.J * np.roll(self._cos, -shift)

    def _shift(self, x: np.ndarray) -> np.ndarray:
        return self.G_abs**2 * x / (x * x + self.gamma_c**2 / 4)

    def _rate(self, x: np.ndarray) -> np.ndarray:
        return self.G_abs**2 * self.gamma_c / (x * x + self.gamma_c**2 / 4)

    def hopping(self, sign: int) -> np.ndarray:
        """Return J_p^(pm) = (1/L) sum_q e^{iqp} G^2 x_pm/(x_pm^2 + gamma_c^2/4), p = 0 .. L-1, real; Eq. 9."""
        return np.fft.ifft(self._shift(self.detuning(sign))).real

    @cached_property
    def h(self) -> np.ndarray:
        """h_{l+p,l} = J_p^(+) e^{-i phi p} + J_p^(-) e^{i phi p} without omega_m, p = 0 .. L-1, shape (L,)."""
        phase = np.exp(2j * np.pi * ((self._winding * np.arange(self.L)) % self.L) / self.L)
        return self.hopping(1) * phase.conj() + self.hopping(-1) * phase

    @cached_property
    def frequency_shift(self) -> np.ndarray:
        """omega_k - omega_m = sum_pm G^2 x_pm(k pm phi)/(x_pm(k pm phi)^2 + gamma_c^2/4), shape (L,); Eq. 12."""
        return sum((self._shift(self.detuning(s, s * self._winding)) for s in (1, -1)), np.zeros(self.L))

    @cached_property
    def loss(self) -> np.ndarray:
        """Gamma_k(+omega_m) = G^2 gamma_c/((omega_m + Dt + J cos(k + phi))^2 + gamma_c^2/4), shape (L,); Eq. 10."""
        return self._rate(self.detuning(1, self._winding))

    @cached_property
    def gain(self) -> np.ndarray:
        """Gamma_{-k}(-omega_m) = G^2 gamma_c/((-omega_m + Dt + J cos(k - phi))^2 + gamma_c^2/4), shape (L,)."""
        return self._rate(self.detuning(-1, -self._winding))

    @cached_property
    def down(self) -> np.ndarray:
        """Rate of losing a phonon from mode k, gamma_m (nbar + 1) + loss."""
        return self.gamma_m * (self.nbar + 1) + self.loss

    @cached_property
    def up(self) -> np.ndarray:
        """Rate of gaining a phonon in mode k, gamma_m nbar + gain."""
        return self.gamma_m * self.nbar + self.gain

    @property
    def damping(self) -> np.ndarray:
        """down - up, the decay rate of the population of mode k, without cancellation, shape (L,)."""
        return self.gamma_m + self.loss - self.gain

    @property
    def is_stable(self) -> bool:
        """Whether every mode is damped."""
        return bool(self.damping.min() > 0)

    def spectrum(self, sign: int, z: Any) -> np.ndarray:
        """Return s_pm of every phonon mode k at complex z, i G^2/(z + Dt + J cos(k pm phi) + i gamma_c/2)."""
        band = self.J * np.roll(self._cos, -sign * self._winding)
        return 1j * self.G_abs**2 / (z + self.Dt + band + 0.5j * self.gamma_c)

    def dressed_poles(self) -> np.ndarray:
        """Return z_k = omega_m - i gamma_m/2 - i s_+(z_k) + i s_-(-z_k^*)^*, shape (L,), by Newton's method.

        The Markov values omega_k - i damping/2 evaluate the spectra at omega_m; the dressed ones come close to the
        poles of the full linearised model.
        """
        a = self.Dt + self.J * np.roll(self._cos, -self._winding) + 0.5j * self.gamma_c
        b = self.Dt + self.J * np.roll(self._cos, self._winding) - 0.5j * self.gamma_c
        bare, square = self.omega_m - 0.5j * self.gamma_m, self.G_abs**2
        z = self.omega_m + self.frequency_shift - 0.5j * self.damping
        for _ in range(60):
            value = z - bare - square / (z + a) - square / (b - z)
            step = value / (1 + square / (z + a) ** 2 - square / (b - z) ** 2)
            z = z - step
            if np.abs(step).max() < 1e-15:
                break
        return z

    # -- steady state -------------------------------------------------------------------------------------------------

    @cached_property
    def n_k(self) -> np.ndarray:
        """Populations up/(down - up) of the Fourier modes, shape (L,); each is geometrically distributed.

        Raises
        ------
        ValueError
            If a mode grows.
        """
        if not self.is_stable:
            raise ValueError(f"There is no steady state: a mode grows at the rate {-self.damping.min():.6g}.")
        return self.up / self.damping

    def _populations(self, n_k: np.ndarray | None) -> np.ndarray:
        return self.n_k if n_k is None else np.asarray(n_k)

    def sigma(self, n_k: np.ndarray | None = None) -> np.ndarray:
        """Return sigma_{l,l+p} = <d_l^+ d_{l+p}> = (1/L) sum_k e^{ikp} n_k, p = 0 .. L-1, complex, shape (L,)."""
        return np.fft.ifft(self._populations(n_k))

    def g1(self, n_k: np.ndarray | None = None) -> np.ndarray:
        """Return the coherence <d_l^+ d_{l+p}>/n, p = 0 .. L-1, shape (L,); S16."""
        sigma = self.sigma(n_k)
        return sigma / sigma[0].real

    def pair_currents(self, n_k: np.ndarray | None = None) -> np.ndarray:
        """Return the physical pair currents j_{l->l+p} = 2 Im( h_{l+p,l} sigma_{l+p,l} ), p = 0 .. L-1, shape (L,).

        The same for every l; j_{l->l-p} = -j_{l->l+p}.  With ``n_k`` the populations of another theory are inserted.
        """
        return 2 * np.imag(self.h * self.sigma(n_k).conj())

    def currents(self, normalisation: str = "physical", n_k: np.ndarray | None = None) -> np.ndarray:
        """Return Q_p = omega_m sum_l <j_{l->l+p}> for p = 0 .. ceil(L/2) - 1; Q_0 = 0; Eqs. 13 and 14.

        ``"physical"``: the pair currents; ``"paper"``: half of them, the operator the paper calls j.
        """
        scale = {"physical": 1.0, "paper": 0.5}
        if normalisation not in scale:
            raise ValueError(f"Argument `normalisation` must be 'physical' or 'paper', but is {normalisation!r}.")
        half = (self.L + 1) // 2
        values = scale[normalisation] * self.omega_m * self.L * self.pair_currents(n_k)[:half]
        return np.concatenate([[0.0], values[1:]])

    def total_current(self, normalisation: str = "physical", n_k: np.ndarray | None = None) -> float:
        """Return Q_C = sum_p Q_p, see :meth:`currents`."""
        return float(self.currents(normalisation, n_k).sum())

    def current_coefficients(self, normalisation: str = "physical") -> np.ndarray:
        """Return v_k of j_C = sum_k v_k d_k^+ d_k, v_k = -sum_{p >= 1} sum_pm J_p^(pm) sin(p (k pm phi)) (paper)."""
        scale = {"physical": 2.0, "paper": 1.0}[normalisation]
        cut = np.arange(self.L) < (self.L + 1) // 2
        cut[0] = False
        # h_p^* e^{ikp} summed over p is the sum over pm of J_p e^{i p (k pm phi)}
        return -scale * self.L * np.imag(np.fft.ifft(np.where(cut, self.h.conj(), 0.0)))

    def current_variance(self, normalisation: str = "physical") -> float:
        """Return the equal-time variance sum_k v_k^2 n_k (n_k + 1) of j_C."""
        v = self.current_coefficients(normalisation)
        return float(np.sum(v * v * self.n_k * (self.n_k + 1)))

    def current_noise(self, normalisation: str = "physical") -> float:
        """Return 2 int_0^inf <<j_C(t) j_C(0)>> dt = sum_k 2 v_k^2 n_k (n_k + 1)/(down_k - up_k)."""
        v = self.current_coefficients(normalisation)
        return float(np.sum(2 * v * v * self.n_k * (self.n_k + 1) / self.damping))

    # -- counting -----------------------------------------------------------------------------------------------------

    def counting(self, chi: float) -> float:
        """Return theta(chi), the scaled cumulant generating function of phonons emitted into all thermal baths.

            theta = sum_k (1/2) [ (down - up) - sqrt( (down + up)^2 - 4 l g ) ],
            l = gamma_m (nbar + 1) e^chi + Gamma_k(+),    g = gamma_m nbar e^-chi + Gamma_{-k}(-)

        NaN outside the interval around chi = 0 where every root is real.
        """
        more = self.gamma_m * (self.nbar + 1) * math.expm1(chi)
        less = self.gamma_m * self.nbar * math.expm1(-chi)
        excess = self.down * less + self.up * more + more * less  # l g - down up
        radicand = self.damping**2 - 4 * excess
        if not self.is_stable or np.any(radicand < 0):
            return math.nan
        return float(np.sum(2 * excess / (self.damping + np.sqrt(radicand))))

    @property
    def emission_rate(self) -> float:
        """Mean net emission into the thermal baths, theta'(0) = sum_k gamma_m (n_k - nbar)."""
        return float(self.gamma_m * np.sum(self.n_k - self.nbar))


def decaying_root(J: float, x: complex) -> tuple[complex, complex]:
    """Return (zeta, r) with (J/2) zeta^2 + x zeta + J/2 = 0, zeta = (r - x)/J, |zeta| < 1; r the matching root.

    xi = -1/ln|zeta| is the range of the interaction.  For J -> 0, zeta -> -J/2x.

    Examples
    --------
    >>> zeta, r = decaying_root(0.2, -0.2 + 0.05j)
    >>> round(abs(zeta), 9)
    0.600621007
    """
    r = complex(np.sqrt(complex(x) ** 2 - J * J))
    # of the two roots the one with r along x decays; written without the cancellation in r - x
    r = r if (r * complex(x).conjugate()).real >= 0 else -r
    return -J / (r + complex(x)), r


def hopping_by_image_sum(L: int, J: float, x: complex, G_abs: float) -> np.ndarray:
    """Return s_p = (i G^2/r) (zeta^p + zeta^{L-p})/(1 - zeta^L), p = 0 .. L-1, complex, exact for every L.

    x = pm omega_m + Dt + i gamma_c/2.  S^(pm)_{l+p,l} = e^{-i phi p} s_p and J_p = Im s_p.

    Raises
    ------
    ValueError
        For real x inside the band, where no root decays.
    """
    zeta, r = decaying_root(J, x)
    if not abs(zeta) < 1:
        raise ValueError("Argument `x` lies in the band without damping; there is no decaying root.")
    p = np.arange(L)
    return 1j * G_abs**2 / r * (zeta**p + zeta ** (L - p)) / (1 - zeta**L)
