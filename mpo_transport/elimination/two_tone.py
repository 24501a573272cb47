"""Two-tone driving: the light cools squeezed mechanical modes, and squeezed phonons travel through the lattice.

With drives on both mechanical sidebands, alpha(t) = alpha_+ e^{-i omega t} + alpha_- e^{+i omega t}, the interaction
picture of the motion leaves

    V = -sum_l eta_l ( c_l beta_l^+ + h.c. ),     beta = cosh r e^{i varphi} d + sinh r e^{i theta} d^+,
    tanh r = |G_+|/|G_-|,  theta = Arg G_+,  varphi = Arg G_-,  eta^2 = |G_-|^2 - |G_+|^2,

that is V = -sum_l c_l ( G_-^* d_l^+ + G_+^* d_l ) + h.c.  The light, resonant at zero frequency, is eliminated with

    S = -i eta B^-1 eta,   H = sum Omega_ij beta_i^+ beta_j,   D = thermal(d) + sum (S + S^+)_ij beta-jumps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg as sla

from ..arguments import per_item
from ..errors import InputError, UnstableError
from ..lattice import Graph
from ..model import Bath, Jump, Lindbladian
from ..operators import Boson, OpSum
from .born_markov import optical_matrix
from .effective import thermal_jumps
from .links import Links, read_links

__all__ = ["TwoTonePhonons", "bogoliubov", "eliminate_two_tone", "nambu_equations", "two_tone_links"]


def bogoliubov(G_minus: np.ndarray, G_plus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (eta, u, v) with beta = u d + v d^+ and u, v = G_-, G_+ divided by eta.

    Raises
    ------
    InputError
        Field ``G_plus``, unless |G_+| < |G_-| in every cell: the light would heat instead of squeeze.
    """
    square = np.abs(G_minus) ** 2 - np.abs(G_plus) ** 2
    if np.any(square <= 0):
        cell = int(np.argmin(square))
        raise InputError(
            f"Argument `G_plus` must be smaller in modulus than `G_minus` in every cell, but in cell {cell} they are "
            f"{abs(G_plus[cell]):.6g} and {abs(G_minus[cell]):.6g}.",
            field="G_plus",
        )
    eta = np.sqrt(square)
    return eta, G_minus / eta, G_plus / eta


def coordination_number(links: Links, coordination: int | None = None) -> int:
    """Return the given coordination number, or the largest number of neighbours of a cell (1 without links)."""
    if coordination is None:
        ends = np.concatenate([links.first, links.second])
        return int(np.bincount(ends).max()) if len(ends) else 1
    if isinstance(coordination, bool) or not isinstance(coordination, (int, np.integer)) or coordination < 1:
        raise InputError(
            f"Argument `coordination` must be an integer >= 1 or None, but is {coordination!r}.", field="coordination"
        )
    return int(coordination)


def nambu_equations(h: np.ndarray, k: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return drift and noise of w = (d, d^+) for H = sum h_ij d_i^+ d_j + (sum k_ij d_i^+ d_j^+ + h.c.)/2.

        dw/dt = X w,    d<w w^+>/dt = X <w w^+> + <w w^+> X^+ + Y

    Parameters
    ----------
    h, k
        Hermitian and symmetric, shape (L, L).
    u, v
        Jumps sum_j (u_mj d_j + v_mj d_j^+) with rate 1, shape (jumps, L).
    """
    damping = (v.T @ v.conj() - u.conj().T @ u) / 2
    pairing = (v.T @ u.conj() - u.conj().T @ v) / 2
    top = np.hstack([-1j * h + damping, -1j * k + pairing])
    L = len(h)
    drift = np.vstack([top, np.hstack([top[:, L:].conj(), top[:, :L].conj()])])
    kicks = np.hstack([-u.conj(), v.conj()])
    return drift, kicks.T @ kicks.conj()


@dataclass(frozen=True, eq=False)
class TwoTonePhonons:
    """Effective phonons of a lattice with two-tone drives; :func:`eliminate_two_tone` makes one.

    Attributes
    ----------
    S
        Reservoir spectrum at zero frequency, shape (L, L).
    K
        S + S^+ = K K^+, one column per cavity, shape (L, L).
    u, v
        beta_l = u_l d_l + v_l d_l^+, shape (L,).
    gamma_m, nbar
        Local thermal baths of d_l, shape (L,).
    links
        The optical links.
    """

    S: np.ndarray
    K: np.ndarray
    u: np.ndarray
    v: np.ndarray
    gamma_m: np.ndarray
    nbar: np.ndarray
    links: Links | None = None

    @property
    def L(self) -> int:
        """Number of mechanical modes."""
        return len(self.u)

    @cached_property
    def Omega(self) -> np.ndarray:
        """(S - S^+)/2i: H = sum Omega_ij beta_i^+ beta_j."""
        return (self.S - self.S.conj().T) / 2j

    @cached_property
    def M(self) -> np.ndarray:
        """S + S^+, the rates of the beta jumps."""
        return self.S + self.S.conj().T

    @cached_property
    def h(self) -> np.ndarray:
        """Hermitian part of H in terms of d: H = sum h_ij d_i^+ d_j + (sum k_ij d_i^+ d_j^+ + h.c.)/2 + const."""
        normal = self.u.conj()[:, None] * self.Omega * self.u
        return normal + (self.v.conj()[:, None] * self.Omega * self.v).T

    @cached_property
    def k(self) -> np.ndarray:
        """Pairing part of H, symmetric, see :attr:`h`."""
        pair = self.u.conj()[:, None] * self.Omega * self.v
        return pair + pair.T

    @cached_property
    def optical_jumps(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows (u_mj, v_mj) of the jumps sum_j K_jm^* beta_j, one per lost photon and cavity, rate 1."""
        rows = self.K.conj().T
        return rows * self.u, rows * self.v

    @cached_property
    def _equations(self) -> tuple[np.ndarray, np.ndarray]:
        u, v = self.optical_jumps
        zero = np.zeros((self.L, self.L))
        down, up = (np.diag(np.sqrt(self.gamma_m * (self.nbar + s))) for s in (1, 0))
        return nambu_equations(self.h, self.k, np.vstack([u, down, zero]), np.vstack([v, zero, up]))

    @property
    def drift(self) -> np.ndarray:
        """Drift of (d, d^+), shape (2L, 2L)."""
        return self._equations[0]

    @property
    def is_stable(self) -> bool:
        """Whether the steady state exists."""
        return bool(np.linalg.eigvals(self.drift).real.max() < 0)

    @cached_property
    def nambu(self) -> np.ndarray:
        """Steady second moments <w w^+>, w = (d, d^+), not symmetrised, shape (2L, 2L).

        Raises
        ------
        UnstableError
            If a mode grows.
        """
        drift, noise = self._equations
        growth = float(np.linalg.eigvals(drift).real.max())
        if growth >= 0:
            raise UnstableError(
                f"There is no steady state: a mode grows at the rate {growth:.6g}.", field="G_plus", growth=growth
            )
        C = sla.solve_continuous_lyapunov(drift, -noise)
        return (C + C.conj().T) / 2

    @property
    def occupations(self) -> np.ndarray:
        """Phonon numbers <d_l^+ d_l>, shape (L,)."""
        return self.nambu.diagonal()[self.L :].real

    @property
    def covariance(self) -> np.ndarray:
        """Symmetrised covariance of (q_1 .. q_L, p_1 .. p_L), vacuum 1/2, shape (2L, 2L)."""
        one = np.eye(self.L)
        T = np.block([[one, one], [-1j * one, 1j * one]]) / np.sqrt(2)
        C = T @ self.nambu @ T.conj().T
        return (C + C.T).real / 2

    @property
    def squeezing(self) -> float:
        """Smallest variance of any quadrature of the lattice; squeezed below 1/2."""
        return float(np.linalg.eigvalsh(self.covariance)[0])

    def lindbladian(
        self, levels: float = np.inf, *, name: str = "two_tone_phonons", parameters: Mapping[str, Any] | None = None
    ) -> Lindbladian:
        """Return the master equation, in the interaction picture of the motion, as a Lindbladian.

        Baths ``"site_l"`` (thermal) and ``"optical"``; an optical jump moves no definite number of phonons.
        """
        space = Boson(levels)
        terms: dict[Any, complex] = {}
        h, k = self.h, self.k / 2
        for i in range(self.L):
            terms[(("N", i),)] = h[i, i].real
            for j in range(self.L):
                if i < j:
                    terms[("Adag", i), ("A", j)] = complex(h[i, j])
                    terms[("A", i), ("Adag", j)] = complex(h[i, j]).conjugate()
                if i <= j:
                    pair = complex(k[i, j]) * (1 if i == j else 2)
                    terms[("Adag", i), ("Adag", j)] = pair
                    terms[("A", i), ("A", j)] = pair.conjugate()
        jumps = thermal_jumps(self.gamma_m, self.nbar)
        for u, v in zip(*(x.tolist() for x in self.optical_jumps), strict=True):
            row = {(("A", j),): x for j, x in enumerate(u)} | {(("Adag", j),): x for j, x in enumerate(v)}
            jumps.append(Jump(OpSum(row), label="optical"))
        lattice = Graph([], space, L=self.L) if self.links is None else self.links.lattice(space)
        baths = [Bath(f"site_{l}", occupation=float(n)) for l, n in enumerate(self.nbar)]
        return Lindbladian(lattice, OpSum(terms), jumps, name=name, parameters=parameters, baths=baths)


def eliminate_two_tone(
    adjacency: Any,
    *,
    J: Any,
    Dt: Any,
    G_minus: Any,
    G_plus: Any,
    gamma_c: Any,
    gamma_m: Any,
    nbar: Any,
    coordination: int | None = None,
) -> TwoTonePhonons:
    """Return the effective phonons of a lattice with drives on both mechanical sidebands.

    Parameters
    ----------
    adjacency, J
        Optical links; the hopping amplitude is -(J/z) A.
    Dt
        Shifted detuning of the cavities, scalar or one per cell.
    G_minus, G_plus
        Couplings from the red and the blue tone, complex, |G_plus| < |G_minus|; scalars or one per cell.
    gamma_c, gamma_m, nbar
        Optical and mechanical loss rates and thermal occupation, >= 0.
    coordination
        The number z; None: the largest number of neighbours of a cell (2 on rings and chains).

    Raises
    ------
    InputError
        Naming the argument that is wrong.

    Examples
    --------
    >>> cell = eliminate_two_tone([[0]], J=0, Dt=0, G_minus=0.012, G_plus=0.006, gamma_c=0.1, gamma_m=1e-4, nbar=1)
    >>> cell.squeezing < 0.5
    True
    """
    links = read_links(adjacency, J)
    links = two_tone_links(links, coordination)
    L = links.L
    eta, u, v = bogoliubov(per_item(G_minus, L, "G_minus", "cell"), per_item(G_plus, L, "G_plus", "cell"))
    loss = per_item(gamma_c, L, "gamma_c", "cell", least=0)
    B = optical_matrix(links, per_item(Dt, L, "Dt", "cell", real=True), loss)
    try:
        response = -np.linalg.inv(B)
    except np.linalg.LinAlgError:
        raise InputError(
            "Argument `gamma_c` must be > 0: a lossless optical mode is resonant with the motion.", field="gamma_c"
        ) from None
    return TwoTonePhonons(
        1j * eta[:, None] * response * eta,
        eta[:, None] * response * np.sqrt(loss),
        u,
        v,
        per_item(gamma_m, L, "gamma_m", "cell", least=0),
        per_item(nbar, L, "nbar", "cell", least=0),
        links,
    )


def two_tone_links(links: Links, coordination: int | None) -> Links:
    """Return the links with hopping -(J/z) A in place of -(J/2) A."""
    z = coordination_number(links, coordination)
    return Links(links.L, links.first, links.second, links.amplitude * (2 / z), links.edges)
