"""The full linearised optomechanical lattice: dense moments for any lattice, 4 x 4 blocks on a ring, mean field.

All counter-rotating terms are kept.  Vector v = (c, c^+, d, d^+), dv/dt = M v + noise, C = <v v^+> not symmetrised,
M C + C M^+ + N = 0, with B = t - diag(Dt + i gamma_c/2) and V = sum_l (G_l^* c_l + G_l c_l^+)(d_l + d_l^+); the
sign of V is that of c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg as sla

from .optomechanical_lattices import EffectiveRing

__all__ = ["FullLattice", "FullRing", "MeanFieldRoot", "density_matrix_error", "ring_mean_field"]


@dataclass(frozen=True, eq=False)
class FullLattice:
    """Steady second moments of any lattice of cells, by one dense Lyapunov equation of size 4L.

    Parameters
    ----------
    hopping
        Hermitian t, -(J/2) A, shape (L, L).
    Dt, G, gamma_c, omega, gamma_m, nbar
        Scalars or shape (L,); G complex.

    Examples
    --------
    >>> cell = FullLattice(np.zeros((1, 1)), Dt=-1.0, G=0.01, gamma_c=0.1, omega=1.0, gamma_m=5e-3, nbar=0.5)
    >>> round(float(cell.phonons[0, 0].real), 9)
    0.28875562
    """

    hopping: np.ndarray
    Dt: Any
    G: Any
    gamma_c: Any
    omega: Any
    gamma_m: Any
    nbar: Any

    def _vector(self, name: str) -> np.ndarray:
        return np.broadcast_to(np.asarray(getattr(self, name)), len(self.hopping))

    @cached_property
    def drift(self) -> np.ndarray:
        """M, shape (4L, 4L)."""
        zero = np.zeros_like(self.hopping, dtype=complex)
        B = self.hopping - np.diag(self._vector("Dt") + 0.5j * self._vector("gamma_c"))
        g = np.diag(self._vector("G").astype(complex))
        w = np.diag(self._vector("omega") - 0.5j * self._vector("gamma_m"))
        gc = g.conj()
        return -1j * np.block(
            [[B, zero, g, g], [zero, -B.conj(), -gc, -gc], [gc, g, w, zero], [-gc, -g, zero, -w.conj()]]
        )

    @cached_property
    def noise(self) -> np.ndarray:
        """N = diag(gamma_c, 0, gamma_m (nbar + 1), gamma_m nbar), shape (4L, 4L)."""
        c, m, n = self._vector("gamma_c"), self._vector("gamma_m"), self._vector("nbar")
        return np.diag(np.concatenate([c, 0 * c, m * (n + 1), m * n]))

    @cached_property
    def growth(self) -> float:
        """Largest real part of the eigenvalues of M; there is a steady state only below zero."""
        return float(np.linalg.eigvals(self.drift).real.max())

    @cached_property
    def moments(self) -> np.ndarray:
        """C = <v v^+>, shape (4L, 4L).

        Raises
        ------
        ValueError
            If the lattice is unstable.
        """
        if self.growth >= 0:
            raise ValueError(f"There is no steady state: a mode grows at the rate {self.growth:.6g}.")
        C = sla.solve_continuous_lyapunov(self.drift, -self.noise)
        return (C + C.conj().T) / 2

    def _block(self, number: int) -> np.ndarray:
        L = len(self.hopping)
        return self.moments[number * L : (number + 1) * L, number * L : (number + 1) * L]

    @property
    def phonons(self) -> np.ndarray:
        """sigma_mn = <d_m^+ d_n>, shape (L, L)."""
        return self._block(3)

    @property
    def photons(self) -> np.ndarray:
        """<c_m^+ c_n>, shape (L, L)."""
        return self._block(1)

    @property
    def photon_currents(self) -> np.ndarray:
        """Current of photon fluctuations from l to a, 2 Im( t_al <c_a^+ c_l> ), matrix ``[l, a]``."""
        return 2 * np.imag(self.hopping * self.photons).T


@dataclass(frozen=True)
class FullRing:
    """The full linearised model of a uniform ring, one 4 x 4 block (c_k, c^+_{-k}, d_k, d^+_{-k}) per k.

    In the gauge c_l -> e^{i l phi} c_l, with B_k = -Dt - J cos(k + phi) - i gamma_c/2.  Cost linear in L.

    Examples
    --------
    >>> ring = EffectiveRing(8, 2 * math.pi / 8, J=0.2, Dt=-1.2, G_abs=0.02, gamma_c=0.1, gamma_m=1e-3, nbar=100)
    >>> round(FullRing(ring).photon_number, 9)
    0.547105069
    """

    ring: EffectiveRing
    _CHUNK = 4096

    @cached_property
    def drift(self) -> np.ndarray:
        """M_k, shape (L, 4, 4)."""
        r = self.ring
        shift = round(r.L * r.phi / (2 * math.pi))
        B = -r.Dt - r.J * np.roll(np.cos(r.k), -shift) - 0.5j * r.gamma_c
        mirrored = np.roll(B[::-1], 1)  # B_{-k}
        w, g = r.omega_m - 0.5j * r.gamma_m, r.G_abs
        iM = np.zeros((r.L, 4, 4), dtype=complex)
        iM[:, 0, 0], iM[:, 1, 1] = B, -mirrored.conj()
        iM[:, 0, 2:], iM[:, 1, 2:] = g, -g
        iM[:, 2, :2], iM[:, 3, :2] = g, -g
        iM[:, 2, 2], iM[:, 3, 3] = w, -w.conjugate()
        return -1j * iM

    @cached_property
    def growth(self) -> float:
        """Largest real part of all eigenvalues; the ring is stable only below zero."""
        return float(np.linalg.eigvals(self.drift).real.max())

    @property
    def is_stable(self) -> bool:
        """Whether a steady state exists."""
        return self.growth < 0

    @cached_property
    def moments(self) -> np.ndarray:
        """C_k, shape (L, 4, 4), from linear systems of size 16.

        Raises
        ------
        ValueError
            If the ring is unstable.
        """
        if not self.is_stable:
            raise ValueError(f"There is no steady state: a mode grows at the rate {self.growth:.6g}.")
        r = self.ring
        noise = np.diag([r.gamma_c, 0.0, r.gamma_m * (r.nbar + 1), r.gamma_m * r.nbar]).astype(complex).ravel()
        one = np.eye(4)
        out = np.empty((r.L, 16), dtype=complex)
        for start in range(0, r.L, self._CHUNK):
            M = self.drift[start : start + self._CHUNK]
            system = np.einsum("kab,cd->kacbd", M, one) + np.einsum("ab,kcd->kacbd", one, M.conj())
            rhs = np.broadcast_to(-noise[:, None], (len(M), 16, 1))
            out[start : start + len(M)] = np.linalg.solve(system.reshape(-1, 16, 16), rhs)[:, :, 0]
        return out.reshape(-1, 4, 4)

    def _mirrored(self, index: int) -> np.ndarray:
        return np.roll(self.moments[:, index, index].real[::-1], 1)

    @property
    def n_k(self) -> np.ndarray:
        """Phonon populations <d_k^+ d_k>, shape (L,)."""
        return self._mirrored(3)

    @property
    def photons_k(self) -> np.ndarray:
        """Photon populations <c_k^+ c_k> in the gauge above, shape (L,)."""
        return self._mirrored(1)

    @property
    def photon_number(self) -> float:
        """Photon fluctuations per cell, <c_l^+ c_l>."""
        return float(self.photons_k.mean())

    @property
    def photon_current(self) -> float:
        """Current of photon fluctuations on every link, 2 Im( -(J/2) <c_{l+1}^+ c_l> )."""
        r = self.ring
        return float(r.J * np.mean(np.sin(r.k + r.phi) * self.photons_k))


def density_matrix_error(n_eff: np.ndarray, n_exact: np.ndarray, norm: str = "spectral") -> float:
    """Return delta = ||a - b|| / ||(a + b)/2|| of two translation-invariant density matrices from their populations.

    ``norm`` is ``"spectral"`` (the paper's) or ``"frobenius"``.

    >>> density_matrix_error(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    0.0
    """
    if norm not in ("spectral", "frobenius"):
        raise ValueError(f"Argument `norm` must be 'spectral' or 'frobenius', but is {norm!r}.")
    difference, mean = np.abs(n_eff - n_exact), np.abs(n_eff + n_exact) / 2
    if norm == "spectral":
        return float(difference.max() / mean.max())
    return float(np.linalg.norm(difference) / np.linalg.norm(mean))


@dataclass(frozen=True)
class MeanFieldRoot:
    """One uniform mean field alpha_l = alpha e^{i l phi} of a ring.

    Attributes
    ----------
    alpha, beta
        Amplitudes of light and motion (beta the same in every cell).
    Dt
        Shifted detuning.
    is_stable
        Whether the fluctuations of the ring about it decay.
    """

    alpha: complex
    beta: complex
    Dt: float
    is_stable: bool


def ring_mean_field(
    L: int,
    phi: float,
    *,
    F: complex,
    Delta: float,
    J: float,
    g: float,
    gamma_c: float,
    gamma_m: float,
    omega_m: float = 1.0,
) -> list[MeanFieldRoot]:
    """Return all uniform mean fields of a ring driven by F_l = F e^{i l phi}, weakest first.

        F = alpha (Dt + J cos phi + i gamma_c/2)
        Dt = Delta + s |alpha|^2,   s = 2 g^2 omega_m/(omega_m^2 + gamma_m^2/4)

    |alpha|^2 solves a cubic: one root, or three (bistability).

    Raises
    ------
    ValueError
        For gamma_c that is not positive.

    Examples
    --------
    >>> root, = ring_mean_field(8, math.pi / 4, F=-10.2928932188 + 0.5j, Delta=-1.1007999998, J=0.1, g=0.002,
    ...                         gamma_c=0.1, gamma_m=1e-3)
    >>> round(abs(root.alpha), 6), round(root.Dt, 9)
    (10.0, -1.1)
    """
    if not gamma_c > 0:
        raise ValueError(f"Argument `gamma_c` must be > 0, but is {gamma_c!r}.")
    s = 2 * g * g * omega_m / (omega_m**2 + gamma_m**2 / 4)
    offset = Delta + J * math.cos(phi)
    # n ((offset + s n)^2 + gamma_c^2/4) = |F|^2 in units m = n/scale, so that the coefficients are of order one
    scale = abs(F) ** 2 / (gamma_c**2 / 4)
    if scale == 0:
        photons = [0.0]
    else:
        shift = s * scale
        cubic = [shift**2, 2 * offset * shift, offset**2 + gamma_c**2 / 4, -(gamma_c**2) / 4]
        found = np.roots(cubic) * scale
        real = found[np.abs(found.imag) < 1e-9 * np.maximum(np.abs(found), 1e-300)].real
        photons = sorted(_polished(real, offset, s, gamma_c, abs(F) ** 2))
    out = []
    for n in photons:
        Dt = Delta + s * n
        alpha = complex(F) / (Dt + J * math.cos(phi) + 0.5j * gamma_c)
        beta = g * abs(alpha) ** 2 / (omega_m - 0.5j * gamma_m)
        ring = EffectiveRing(L, phi, J, Dt, abs(g * alpha), gamma_c, gamma_m, 0.0, omega_m)
        out.append(MeanFieldRoot(alpha, beta, Dt, FullRing(ring).is_stable))
    return out


def _polished(n: np.ndarray, offset: float, s: float, gamma_c: float, power: float) -> list[float]:
    for _ in range(3):
        x = offset + s * n
        slope = x * x + gamma_c**2 / 4 + 2 * s * n * x
        value = n * (x * x + gamma_c**2 / 4) - power
        n = n - np.divide(value, slope, out=np.zeros_like(n), where=slope != 0)
    return [float(x) for x in n]
