"""Phonons with a structured reservoir: rates, closed equations of motion, currents, and the Lindbladian."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg as sla

from ..errors import InputError, MpoTransportWarning, NotSupportedError, UnstableError
from ..lattice import Graph
from ..model import Bath, CurrentKind, Jump, Lindbladian
from ..operators import Boson, OpSum
from .links import Links

__all__ = ["EffectivePhonons", "NegativeRatesError", "NegativeRatesWarning", "thermal_jumps"]

# Negative eigenvalues of a rate matrix below this fraction of the largest one are rounding errors of zero.
_ROUNDING = 1e-12


class NegativeRatesError(NotSupportedError):
    """A matrix of rates has negative eigenvalues, so that no Lindbladian exists; they are kept in ``eigenvalues``."""

    def __init__(self, message: str, *, eigenvalues: np.ndarray, field: str | None = None) -> None:
        super().__init__(message, field=field)
        self.eigenvalues = eigenvalues


class NegativeRatesWarning(MpoTransportWarning):
    """A matrix of rates has negative eigenvalues; the moment equations still hold, a Lindbladian does not exist."""


@dataclass(frozen=True, eq=False)
class EffectivePhonons:
    """Mechanical modes with local thermal baths and the reservoir spectra S^(pm): ``eliminate`` makes one.

    Attributes
    ----------
    S_plus, S_minus
        Reservoir spectra S^(pm), complex, shape (L, L).
    gamma_m, nbar, omega
        Thermal rates, occupations and bare frequencies, shape (L,).
    K_plus, K_minus
        Amplitudes of the jumps that belong to one lost photon each, M^(pm) = K K^+, shape (L, channels), or None.
    links
        The optical links, or None; they only name the bonds of the Lindbladian.

    Notes
    -----
    With M_down = M^(+) + diag gamma_m (nbar+1) and M_up = M^(-) + diag gamma_m nbar the second moments are closed:

        W = -i h - (M_down - M_up^T)/2,    dP/dt = W P + P W^+ + M_up^T,    P_nm = <d_m^+ d_n> = sigma_mn.

    The eigenvalues W_j are the rapidities: the Liouvillian spectrum is sum_j ( m_j W_j + n_j W_j^* ).

    For unequal ``omega`` the matrices M^(pm) need not be positive.  A Lindbladian is refused then
    (:class:`NegativeRatesError`); the moments remain usable and warn (:class:`NegativeRatesWarning`).
    """

    S_plus: np.ndarray
    S_minus: np.ndarray
    gamma_m: np.ndarray
    nbar: np.ndarray
    omega: np.ndarray
    K_plus: np.ndarray | None = None
    K_minus: np.ndarray | None = None
    links: Links | None = None

    @property
    def L(self) -> int:
        """Number of mechanical modes."""
        return len(self.gamma_m)

    # -- generator ----------------------------------------------------------------------------------------------------

    @cached_property
    def Omega_plus(self) -> np.ndarray:
        """Omega^(+) = (S^(+) - S^(+)^+)/2i, Hermitian, shape (L, L)."""
        return (self.S_plus - self.S_plus.conj().T) / 2j

    @cached_property
    def Omega_minus(self) -> np.ndarray:
        """Omega^(-) = (S^(-) - S^(-)^+)/2i, Hermitian, shape (L, L)."""
        return (self.S_minus - self.S_minus.conj().T) / 2j

    @cached_property
    def M_plus(self) -> np.ndarray:
        """Loss rates M^(+) = S^(+) + S^(+)^+ (anti-Stokes), Hermitian, shape (L, L)."""
        return self.S_plus + self.S_plus.conj().T

    @cached_property
    def M_minus(self) -> np.ndarray:
        """Gain rates M^(-) = S^(-) + S^(-)^+ (Stokes), Hermitian, shape (L, L)."""
        return self.S_minus + self.S_minus.conj().T

    @cached_property
    def h(self) -> np.ndarray:
        """Hermitian matrix of H = sum h_ll' d_l^+ d_l', bare frequencies included, shape (L, L)."""
        return np.diag(self.omega) + self.Omega_plus + self.Omega_minus.T

    @cached_property
    def M_down(self) -> np.ndarray:
        """All losses, M^(+) + diag gamma_m (nbar + 1)."""
        return self.M_plus + np.diag(self.gamma_m * (self.nbar + 1))

    @cached_property
    def M_up(self) -> np.ndarray:
        """All gains, M^(-) + diag gamma_m nbar."""
        return self.M_minus + np.diag(self.gamma_m * self.nbar)

    @cached_property
    def W(self) -> np.ndarray:
        """Drift of the amplitudes, d<d>/dt = W <d>, shape (L, L)."""
        return -1j * self.h - 0.5 * (self.M_down - self.M_up.T)

    @cached_property
    def _rotating(self) -> np.ndarray:
        """W without the mean frequency, which drops out of the second moments and would only cost digits."""
        return self.W + 1j * float(np.mean(self.omega)) * np.eye(self.L)

    @cached_property
    def rapidities(self) -> np.ndarray:
        """Eigenvalues of W, sorted by real part, fastest decay first, shape (L,)."""
        values = np.linalg.eigvals(self._rotating) - 1j * float(np.mean(self.omega))
        return values[np.lexsort((values.imag, values.real))]

    @property
    def gap(self) -> float:
        """Slowest relaxation rate min |Re W_j|; negative if a mode grows."""
        return float(-self.rapidities.real.max())

    @property
    def is_stable(self) -> bool:
        """Whether every mode decays, so that the steady state exists and is unique."""
        return self.gap > 0

    @cached_property
    def rates_plus(self) -> np.ndarray:
        """Eigenvalues of M^(+), ascending, shape (L,)."""
        return np.linalg.eigvalsh(self.M_plus)

    @cached_property
    def rates_minus(self) -> np.ndarray:
        """Eigenvalues of M^(-), ascending, shape (L,)."""
        return np.linalg.eigvalsh(self.M_minus)

    @property
    def is_positive(self) -> bool:
        """Whether M^(+) and M^(-) are positive, so that a Lindbladian exists."""
        return all(r[0] >= -_ROUNDING * max(abs(r[-1]), abs(r[0])) for r in (self.rates_plus, self.rates_minus))

    # -- steady state -------------------------------------------------------------------------------------------------

    @cached_property
    def sigma(self) -> np.ndarray:
        """Single-particle density matrix sigma_mn = <d_m^+ d_n> of the steady state, Hermitian, shape (L, L).

        Raises
        ------
        UnstableError
            If a mode grows; a Lyapunov solver would return finite, meaningless populations.
        """
        self._require_stable()
        if not self.is_positive:
            lowest = min(self.rates_plus[0], self.rates_minus[0])
            warnings.warn(
                f"A rate of the eliminated light is negative ({lowest:.3g}): the moments solve the Born-Markov "
                "equations, but no Lindbladian exists.",
                NegativeRatesWarning,
                stacklevel=2,
            )
        P = sla.solve_continuous_lyapunov(self._rotating, -self.M_up.T)
        return (P + P.conj().T).T / 2

    def _require_stable(self) -> None:
        if not self.is_stable:
            raise UnstableError(
                f"There is no steady state: a phonon mode grows at the rate {-self.gap:.6g}; detune to the red, lower "
                "the drive or raise gamma_m.",
                field="G",
                growth=-self.gap,
                frequency=float(-self.rapidities[-1].imag),
            )

    @property
    def occupations(self) -> np.ndarray:
        """Phonon numbers <d_l^+ d_l>, shape (L,)."""
        return self.sigma.diagonal().real

    @property
    def coherence(self) -> np.ndarray:
        """Normalised coherence g1_mn = sigma_mn / sqrt(n_m n_n), shape (L, L)."""
        n = self.occupations
        return self.sigma / np.sqrt(np.outer(n, n))

    @property
    def pair_currents(self) -> np.ndarray:
        """Physical coherent currents j_{l->a} = 2 Im( h_al sigma_al ) as the matrix ``[l, a]``; antisymmetric."""
        return self.currents_of(self.sigma)

    def currents_of(self, sigma: np.ndarray) -> np.ndarray:
        """Return the pair currents j_{l->a}, matrix ``[l, a]``, of any single-particle density matrix."""
        off = self.h - np.diag(self.h.diagonal())
        return 2 * np.imag(off * sigma).T

    @property
    def thermal_inflow(self) -> np.ndarray:
        """Phonons drawn from every thermal bath per time, gamma_m (nbar - n), shape (L,)."""
        return self.gamma_m * (self.nbar - self.occupations)

    @property
    def optical_outflow(self) -> float:
        """Net phonons lost to the light per time, sum M^(+)_ij sigma_ij - sum M^(-)_ij (delta_ij + sigma_ji)."""
        gain = self.M_minus * (np.eye(self.L) + self.sigma.T)
        return float(np.real(np.sum(self.M_plus * self.sigma) - np.sum(gain)))

    def variance(self, J: np.ndarray) -> float:
        """Return the variance of sum_ab J_ab d_a^+ d_b (J Hermitian) in the steady state, Tr[J (1+P) J P]."""
        P = self.sigma.T
        return float(np.trace(J @ (np.eye(self.L) + P) @ J @ P).real)

    def noise(self, J: np.ndarray) -> float:
        """Return the zero-frequency noise 2 int_0^inf <<j(t) j(0)>> dt of j = sum_ab J_ab d_a^+ d_b, J Hermitian.

        Wick's theorem gives 2 Re Tr[X (1+P) J P] with W^+ X + X W = -J.
        """
        P = self.sigma.T
        X = sla.solve_continuous_lyapunov(self._rotating.conj().T, -np.asarray(J, dtype=complex))
        return float(2 * np.trace(X @ (np.eye(self.L) + P) @ J @ P).real)

    # -- Lindbladian --------------------------------------------------------------------------------------------------

    def modes(self, *, total: bool = False) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Return (Gamma, U) of both sidebands, M = U^+ diag(Gamma) U: jumps sum_j U_kj d_j and sum_j U_kj d_j^+.

        With ``total`` those of M_down and M_up, the thermal baths included.

        Raises
        ------
        NegativeRatesError
            If a rate is negative beyond rounding.
        """
        out = []
        pair = ((self.M_down, "M_down"), (self.M_up, "M_up")) if total else ((self.M_plus, "M+"), (self.M_minus, "M-"))
        for matrix, name in pair:
            rates, vectors = np.linalg.eigh(matrix)
            if rates[0] < -_ROUNDING * max(abs(rates[-1]), abs(rates[0])):
                remedy = "" if total else ", jumps='total' if the thermal noise outweighs them"
                raise NegativeRatesError(
                    f"The matrix of rates {name} is not positive (eigenvalues "
                    f"{np.array2string(rates, precision=3, threshold=8)}), so there are no such jumps; use the moment "
                    f"equations (.sigma), the full model, frequencies closer to each other{remedy}.",
                    eigenvalues=rates,
                    field="omega",
                )
            out.append((np.maximum(rates, 0.0), vectors.conj().T))
        return out[0], out[1]

    def jump_amplitudes(self, jumps: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows u of the jumps sum_j u_kj d_j (down) and sum_j u_kj d_j^+ (up), rate 1.

        Parameters
        ----------
        jumps
            ``"losses"``: one jump per lost photon and cavity, exponentially localised, with the statistics of photon
            counting.  ``"modes"``: eigenvectors of M^(pm).  None: the first where it exists.  ``"total"``: eigenvectors
            of M_down and M_up, which take the thermal baths in; they can exist where M^(pm) are not positive.
        """
        if jumps not in (None, "losses", "modes", "total"):
            raise InputError(
                f"Argument `jumps` must be 'losses', 'modes', 'total' or None, but is {jumps!r}.", field="jumps"
            )
        if self.K_plus is not None and self.K_minus is not None and jumps in (None, "losses"):
            return self.K_plus.conj().T, self.K_minus.conj().T
        if jumps == "losses":
            raise NotSupportedError(
                "Jumps per lost photon exist for ordinary light and equal mechanical frequencies only; use "
                "jumps='modes'.",
                field="jumps",
            )
        (down, U), (up, V) = self.modes(total=jumps == "total")
        return np.sqrt(down)[:, None] * U, np.sqrt(up)[:, None] * V

    def lindbladian(
        self,
        levels: float = math.inf,
        *,
        jumps: str | None = None,
        rotating: bool = False,
        name: str = "effective_phonons",
        parameters: Mapping[str, Any] | None = None,
    ) -> Lindbladian:
        """Return the effective phonon master equation as a Lindbladian, site l = mechanical mode l.

        Parameters
        ----------
        levels
            Levels 0 .. levels-1 of every mode, with truncated ladder operators in H and in the jumps; ``math.inf``
            for Gaussian backends.
        jumps
            ``"losses"``, ``"modes"``, ``"total"`` or None: see :meth:`jump_amplitudes`; the generator is the same.
            With ``"total"`` baths cannot be told apart: no labels.
        rotating
            Leave the mean frequency out of H: the same steady state, phonon currents and relaxation rates.
        name, parameters
            Passed on to the Lindbladian.

        Notes
        -----
        Baths: ``"site_l"`` (thermal, a pair of jumps) and ``"optical"``, whose jumps count +1 per phonon lost and -1
        per phonon gained.  The lattice is a chain or ring where the optical links are one, otherwise the graph of the
        links.  Currents: ``"phonon"`` on its bonds, I_(l,a) = -i h_al d_a^+ d_l + h.c.  H joins *all* pairs; on chains
        and rings ``"phonon_p"`` holds the currents of the pairs (l, l + p), p >= 2, to be read with
        ``current(model, "phonon_p", distance=p)``.

        Raises
        ------
        NegativeRatesError
            If there is no Lindbladian.
        """
        space = Boson(levels)
        lattice = Graph([], space, L=self.L) if self.links is None else self.links.lattice(space)
        h = self.h - float(np.mean(self.omega)) * np.eye(self.L) if rotating else self.h
        thermal = [] if jumps == "total" else thermal_jumps(self.gamma_m, self.nbar)
        baths = [
            Bath(f"site_{l}", energy=float(w), occupation=float(n))
            for l, (w, n) in enumerate(zip(self.omega, self.nbar, strict=True))
        ]
        return Lindbladian(
            lattice,
            _bilinear(h),
            [*thermal, *self._collective_jumps(jumps)],
            name=name,
            parameters=parameters,
            currents=self._currents(lattice),
            baths=[] if jumps == "total" else baths,
        )

    def _collective_jumps(self, jumps: str | None) -> list[Jump]:
        out = []
        label = None if jumps == "total" else "optical"
        for rows, name, charge in zip(self.jump_amplitudes(jumps), ("A", "Adag"), (1.0, -1.0), strict=True):
            for row in rows.tolist():
                operator = OpSum({((name, j),): u for j, u in enumerate(row)})
                if operator:
                    out.append(Jump(operator, label=label, charge=charge))
        return out

    def _currents(self, lattice: Any) -> dict[str, CurrentKind]:
        if not lattice.bonds or self.links is None:
            return {}
        first = self.links.directed(lattice, -1j * self.h)
        out = {"phonon": CurrentKind(first, "A", "Adag", "coherent phonon current -i h_al d_a^+ d_l + h.c.")}
        if isinstance(lattice, Graph):
            return out
        for p in range(2, (self.L + 1) // 2 if lattice.periodic else self.L):
            pairs = np.array(lattice.pairs(p))
            values = np.zeros(len(lattice.bonds), dtype=complex)
            values[: len(pairs)] = -1j * self.h[pairs[:, 1], pairs[:, 0]]
            text = f"coherent phonon current over {p} sites, -i h_al d_a^+ d_l + h.c."
            out[f"phonon_{p}"] = CurrentKind(tuple(values.tolist()), "A", "Adag", text)
        return out


def _bilinear(h: np.ndarray) -> OpSum:
    """sum h_ij d_i^+ d_j with N on the diagonal, exactly Hermitian, built from one dictionary."""
    terms: dict[Any, complex] = {(("N", j),): x for j, x in enumerate(h.diagonal().real.tolist())}
    rows = ((h + h.conj().T) / 2).tolist()
    for i, row in enumerate(rows):
        for j in range(i + 1, len(row)):
            terms[("Adag", i), ("A", j)] = row[j]
            terms[("A", i), ("Adag", j)] = row[j].conjugate()
    return OpSum(terms)


def thermal_jumps(gamma_m: np.ndarray, nbar: np.ndarray) -> list[Jump]:
    """Return gamma_m (nbar + 1) D[d_l] and gamma_m nbar D[d_l^+], label "site_l"; vanishing jumps left out."""
    out = []
    for l, (gamma, n) in enumerate(zip(gamma_m.tolist(), nbar.tolist(), strict=True)):
        if gamma > 0:
            out.append(Jump(OpSum({(("A", l),): 1.0}), gamma * (n + 1), f"site_{l}", 1.0))
        if gamma * n > 0:
            out.append(Jump(OpSum({(("Adag", l),): 1.0}), gamma * n, f"site_{l}", -1.0))
    return out
