"""Closed forms for spins and bosons with correlated two-site dissipators.

M. Keck, D. Rossini, R. Fazio, *Persistent currents by reservoir engineering*, Phys. Rev. A 98, 053812 (2018),
arXiv:1809.02964.  Where the paper misprints, the corrected form stands here; :data:`MISPRINTS` lists them.

The minimal model has the jumps f_b = alpha (s-_j + s-_(j+1)) + delta (s+_j + s+_(j+1)) on every bond and the
Hamiltonian mu sum_j s+_j s-_j; alpha (loss) and delta (gain) are real.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

__all__ = [
    "MISPRINTS",
    "CascadeAmplitudes",
    "DarkProducts",
    "FluxGroundState",
    "Misprint",
    "PairMeanField",
    "cascade_amplitudes",
    "dark_products",
    "flux_ground_state",
    "pair_mean_field",
    "strong_dissipation_limit",
]


# ----------------------------------------------------------------------------------------------------------------------
# two-site cluster mean field


@dataclass(frozen=True)
class PairMeanField:
    """The symmetric two-site cluster mean-field state, an X state in the basis (uu, ud, du, dd).

    Attributes
    ----------
    r11, r22, r44
        Populations of uu, of ud and of du (equal), of dd.
    r23, r14
        Coherences <ud|rho|du> (real) and <uu|rho|dd> (complex).
    alpha, delta, mu
        Parameters; all attributes have their common shape.
    """

    alpha: np.ndarray
    delta: np.ndarray
    mu: np.ndarray
    r11: np.ndarray
    r22: np.ndarray
    r44: np.ndarray
    r23: np.ndarray
    r14: np.ndarray

    @property
    def density_matrix(self) -> np.ndarray:
        """The state, shape (..., 4, 4), complex."""
        rho = np.zeros((*np.shape(self.r11), 4, 4), dtype=complex)
        rho[..., 0, 0], rho[..., 3, 3] = self.r11, self.r44
        rho[..., 1, 1] = rho[..., 2, 2] = self.r22
        rho[..., 1, 2] = rho[..., 2, 1] = self.r23
        rho[..., 0, 3], rho[..., 3, 0] = self.r14, np.conj(self.r14)
        return rho

    @property
    def current(self) -> Any:
        """Dissipative current <I^eta> = -2 (alpha^2 - delta^2) r23 inside the pair."""
        return -2 * (self.alpha**2 - self.delta**2) * self.r23

    @property
    def sigma_z(self) -> Any:
        """Magnetisation <sigma^z> = r11 - r44 of either site."""
        return self.r11 - self.r44

    @property
    def purity(self) -> Any:
        """Tr rho^2 of the pair."""
        return self.r11**2 + self.r44**2 + 2 * (self.r22**2 + self.r23**2 + np.abs(self.r14) ** 2)

    @property
    def negativity(self) -> Any:
        """Sum of the moduli of the negative eigenvalues of the partial transpose."""
        inner = np.maximum(np.abs(self.r14) - self.r22, 0)
        outer = np.hypot((self.r11 - self.r44) / 2, self.r23) - (self.r11 + self.r44) / 2
        return inner + np.maximum(outer, 0)


def pair_mean_field(alpha: Any, delta: Any, mu: Any = 1.0) -> PairMeanField:
    """Return the symmetric two-site cluster mean-field state of the minimal model, Appendix C with corrections.

    With D = alpha^2 - delta^2 and Z = D^2 (alpha^4 + delta^4 + 3 alpha^2 delta^2) + mu^2 (alpha^2 + delta^2)^2,

        Z r11 = delta^2 ((4 delta^2 + alpha^2) D^2 + 4 delta^2 mu^2) / 4
        Z r44 = alpha^2 ((4 alpha^2 + delta^2) D^2 + 4 alpha^2 mu^2) / 4
        Z r22 = alpha^2 delta^2 (5 D^2 + 4 mu^2) / 4
        Z r23 = -alpha^2 delta^2 D^2
        Z r14 = -alpha delta D^2 (alpha^2 + delta^2 - i mu) / 2
        <I^eta> = 2 alpha^2 delta^2 D^3 / Z                                                      Eq. (24), corrected

    Parameters
    ----------
    alpha, delta, mu
        Real numbers or arrays that broadcast against each other.

    Raises
    ------
    ValueError
        For complex or non-finite parameters, or where the state is not defined (Z = 0: no dissipation, or mu = 0 with
        abs(alpha) = abs(delta)).

    Examples
    --------
    >>> round(float(pair_mean_field(2.0, 1.0, 1.0).current), 9)
    0.755244755
    """
    for name, value in (("alpha", alpha), ("delta", delta), ("mu", mu)):
        if np.any(np.imag(value)) or not np.all(np.isfinite(value)):
            raise ValueError(f"Argument `{name}` must be real and finite, but is {value!r}.")
    a, d, m = np.broadcast_arrays(*(np.asarray(np.real(v), dtype=float) for v in (alpha, delta, mu)))
    a2, d2 = a * a, d * d
    D2 = (a2 - d2) ** 2
    Z = D2 * (a2 * a2 + d2 * d2 + 3 * a2 * d2) + m * m * (a2 + d2) ** 2
    if np.any(Z == 0):
        raise ValueError(
            "The mean-field state is not unique without dissipation, and at mu = 0 with |alpha| = |delta|."
        )
    return PairMeanField(
        a,
        d,
        m,
        r11=d2 * ((4 * d2 + a2) * D2 + 4 * d2 * m * m) / (4 * Z),
        r22=a2 * d2 * (5 * D2 + 4 * m * m) / (4 * Z),
        r44=a2 * ((4 * a2 + d2) * D2 + 4 * a2 * m * m) / (4 * Z),
        r23=-a2 * d2 * D2 / Z,
        r14=-a * d * D2 * (a2 + d2 - 1j * m) / (2 * Z),
    )


# ----------------------------------------------------------------------------------------------------------------------
# dark states and strong dissipation


@dataclass(frozen=True)
class DarkProducts:
    """The two Neel-like product states that all jumps of the minimal model annihilate (mu = 0).

    Attributes
    ----------
    local
        Normalised |+> and |-> ~ sqrt(delta)|up> +- sqrt(alpha)|down>, shape (2, 2).
    sigma_z, current
        <sigma^z> of every site and <I^eta> of every bond, the same in both states.
    overlap
        Scalar product of the two states.
    """

    L: int
    local: np.ndarray
    sigma_z: float
    current: float
    overlap: float

    @cached_property
    def vectors(self) -> np.ndarray:
        """|+-+-...> and |-+-+...>, shape (2, 2^L), real, normalised."""
        out = []
        for first in (0, 1):
            vector = np.ones(1)
            for j in range(self.L):
                vector = np.kron(vector, self.local[(first + j) % 2])
            out.append(vector)
        return np.array(out)


def dark_products(L: int, alpha: float, delta: float, *, periodic: bool = False) -> DarkProducts:
    """Return the dark product states of an open chain or an even ring at mu = 0.

    A = alpha s- + delta s+ has the eigenvectors sqrt(delta)|up> +- sqrt(alpha)|down> with eigenvalues
    +-sqrt(alpha delta), so that f_b = A_j + A_(j+1) annihilates the alternating products.

        <sigma^z> = (delta - alpha)/(delta + alpha)
        <I^eta> = 2 alpha delta (alpha - delta)/(alpha + delta)
        overlap = ((delta - alpha)/(delta + alpha))^L

    Raises
    ------
    ValueError
        For an odd ring, which is frustrated, or alpha, delta that are not >= 0 with a positive sum.

    Examples
    --------
    >>> dark_products(4, 2.0, 1.0).current
    1.3333333333333333
    """
    if not (math.isfinite(alpha) and math.isfinite(delta) and alpha >= 0 and delta >= 0 and alpha + delta > 0):
        raise ValueError(f"Arguments `alpha` and `delta` must be >= 0 and not both zero, but are {alpha!r}, {delta!r}.")
    if L < 1 or (periodic and L % 2):
        raise ValueError(f"Argument `L` must be positive, and even on a ring (odd rings are frustrated), but is {L!r}.")
    up, down = math.sqrt(delta / (alpha + delta)), math.sqrt(alpha / (alpha + delta))
    asymmetry = (delta - alpha) / (delta + alpha)
    return DarkProducts(
        L=int(L),
        local=np.array([[up, down], [up, -down]]),
        sigma_z=asymmetry,
        current=-2 * alpha * delta * asymmetry,
        overlap=asymmetry**L,
    )


def strong_dissipation_limit(L: int, alpha: float, delta: float) -> dict[str, float]:
    """Return <sigma^z>, <I^eta> and the purity of open chains and even rings for alpha^2 + delta^2 >> mu.

    The steady state tends to the equal mixture of the two dark products (their interference dephases through mu); the
    purity of that mixture is (1 + overlap^2)/2.

    >>> strong_dissipation_limit(4, 2.0, 1.0)["sigma_z"]
    -0.3333333333333333
    """
    dark = dark_products(L, alpha, delta)
    return {"sigma_z": dark.sigma_z, "current": dark.current, "purity": (1 + dark.overlap**2) / 2}


# ----------------------------------------------------------------------------------------------------------------------
# closed hopping ring with a flux


@dataclass(frozen=True)
class FluxGroundState:
    """Ground state of the closed hopping ring.

    Attributes
    ----------
    energy, particles
        Ground-state energy and number of excitations.
    current
        <I^J> on every bond, equal to 2 dE/dphi.
    entropy
        Von Neumann entropy of two neighbouring sites, natural logarithm.
    excitation
        Energy of the first excited state above the ground state, 0 at a level crossing; there current and entropy are
        those of one of the degenerate states.
    """

    energy: float
    particles: int
    current: float
    entropy: float
    excitation: float


def flux_ground_state(L: int, J0: float, phi: float, *, mu: float = 0.0) -> FluxGroundState:
    """Return the ground state of H = sum_j (J0 e^(i phi/L) s+_j s-_(j+1) + h.c.) + mu sum_j n_j on a ring, Appendix B.

    Free fermions with energies 2 J0 cos(k + phi/L) + mu: even particle numbers take the antiperiodic momenta
    (2m+1) pi/L, odd ones the periodic momenta 2 m pi/L.

    Parameters
    ----------
    L
        Number of sites, >= 3.
    J0, phi, mu
        Hopping amplitude, total flux and energy per excitation, real.

    Raises
    ------
    ValueError
        For L < 3 or parameters that are not finite.

    Examples
    --------
    >>> ring = flux_ground_state(4, 1.0, np.pi / 2)
    >>> round(ring.entropy, 9), ring.particles
    (0.832991061, 2)
    """
    if L < 3 or int(L) != L:
        raise ValueError(f"Argument `L` must be an integer >= 3, but is {L!r}.")
    if not all(math.isfinite(v) for v in (J0, phi, mu)):
        raise ValueError("Arguments `J0`, `phi` and `mu` must be finite.")
    candidates, next_energies = [], []
    for particles in range(L + 1):
        k = (2 * np.arange(L) + (1 - particles % 2)) * np.pi / L
        energies = 2 * J0 * np.cos(k + phi / L) + mu
        order = np.argsort(energies, kind="stable")
        filled = order[:particles]
        lowest = float(energies[filled].sum())
        candidates.append((lowest, particles, k[filled]))
        if 0 < particles < L:
            next_energies.append(lowest + float(energies[order[particles]] - energies[order[particles - 1]]))
    candidates.sort(key=lambda c: (c[0], c[1]))
    energy, particles, k = candidates[0]
    current = -4 * J0 / L * float(np.sin(k + phi / L).sum())
    neighbours = complex(np.exp(1j * k).sum()) / L  # <c+_j c_(j+1)>
    correlations = np.array([[particles / L, neighbours], [np.conj(neighbours), particles / L]])
    filling = np.clip(np.linalg.eigvalsh(correlations), 0.0, 1.0)
    entropy = float(-np.sum(_x_log_x(filling) + _x_log_x(1 - filling)))
    return FluxGroundState(energy, particles, current, entropy, min(candidates[1][0], *next_energies) - energy)


def _x_log_x(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x * np.log(np.where(x > 0, x, 1.0)), 0.0)


# ----------------------------------------------------------------------------------------------------------------------
# two cascaded cavities


@dataclass(frozen=True)
class CascadeAmplitudes:
    """Mean amplitudes <d_1>, <d_2> (complex, same shape as the times)."""

    first: Any
    second: Any


def cascade_amplitudes(t: Any, J: float, first: complex, second: complex, *, mu: float = 0.0) -> CascadeAmplitudes:
    """Return the amplitudes of two cavities coupled in one direction only, from Eq. (5) with corrections.

    H = J (d+_1 d_2 + h.c.) + mu (n_1 + n_2) and one jump alpha d_1 + gamma d_2 with alpha = sqrt(2 abs(J)),
    gamma = -i sqrt(2 abs(J)).  For J > 0 the second cavity follows the first,

        <d_1>(t) = <d_1>(0) e^(-(i mu + J) t),    <d_2>(t) = (<d_2>(0) - 2 i J t <d_1>(0)) e^(-(i mu + J) t),

    and for J < 0 the first follows the second.

    Examples
    --------
    >>> round(float(abs(cascade_amplitudes(1.0, 0.8, 0.5, 0.0).second)), 7)
    0.3594632
    """
    if not (np.isrealobj(J) and math.isfinite(J) and math.isfinite(mu)):
        raise ValueError("Arguments `J` and `mu` must be real and finite.")
    t = np.asarray(t, dtype=float)
    decay = np.exp(-(1j * mu + abs(J)) * t)
    if J >= 0:
        return CascadeAmplitudes((first * decay)[()], ((second - 2j * J * t * first) * decay)[()])
    return CascadeAmplitudes(((first - 2j * J * t * second) * decay)[()], (second * decay)[()])


# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Misprint:
    """What the paper prints, and the consistent form."""

    where: str
    printed: str
    consistent: str


MISPRINTS: tuple[Misprint, ...] = (
    Misprint(
        "Eqs. (13), (22)",
        "-(I^eta_j + I^eta_(j+1)) + (I^lambda_j + I^lambda_(j+1))",
        "both signs are opposite with definitions (14), (15)",
    ),
    Misprint("definition of xi", "xi = alpha delta^* - gamma^* beta", "xi = alpha delta^* - gamma beta^*"),
    Misprint(
        "after the definition of xi",
        "xi vanishes for alpha = gamma^*, delta = beta^*",
        "xi = 2i Im(alpha delta^*), zero only if alpha delta^* is real",
    ),
    Misprint(
        "near Eq. (22)",
        "Gamma_- = 2|delta|^2, Gamma_+ = 2|alpha|^2",
        "Gamma_- = 2|alpha|^2, Gamma_+ = 2|delta|^2",
    ),
    Misprint("text", "eta and J currents are both conserved", "I^eta enters as a sum over bonds, a source"),
    Misprint(
        "boson decay rate Pi",
        "all four squared moduli added to kappa",
        "2 Pi = kappa + |alpha|^2 + |gamma|^2 - |beta|^2 - |delta|^2",
    ),
    Misprint(
        "Eq. (5)",
        "+eta^*/2 on d_(j-1), +eta/2 on d_(j+1), -xi/2 on d+_(j-1), +xi/2 on d+_(j+1)",
        "-eta/2, -eta^*/2, +xi^*/2, -xi^*/2",
    ),
    Misprint("Eq. (5), repulsion", "-2iU d_j", "-2iU n_j d_j"),
    Misprint(
        "unidirectional choice",
        "eta = 2iJ, xi = 2i lambda",
        "eta = 2i J^*, xi = 2i lambda^* (equal for real J, lambda)",
    ),
    Misprint("Eq. (24)", "4 a^2 d^2 (d^2 - a^2)^3 / Z", "2 a^2 d^2 (a^2 - d^2)^3 / Z with definition (14)"),
    Misprint("Appendix C", "rho_22, rho_23, rho_14", "see pair_mean_field"),
    Misprint(
        "Eq. (B2)",
        "2iJ0 (e^(i phi/L) s-_j s+_(j+1) - h.c.)",
        "the phase belongs to s+_j s-_(j+1); use I^J of Eq. (14)",
    ),
    Misprint("ground-state current", "-dE/dphi", "<I^J> = 2 dE/dphi with definition (14)"),
    Misprint(
        "delta = 0 or alpha = 0",
        "the steady state is the polarised one",
        "true as a limit; at delta = 0 it is not unique on even rings and open chains",
    ),
    Misprint("local loss", "allows a current even for delta = 0", "for alpha = 0; at delta = 0 the vacuum is dark"),
    Misprint("Eq. (A1)", "commutator with rho", "commutator with A"),
)
