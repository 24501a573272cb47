"""Other reservoirs for the phonons: squeezed or correlated light, and continua.

The interaction V = sum_l x_l X_l, x_l = d_l + d_l^+, with reservoir operators X_l = G_l^* c_l + G_l c_l^+ gives, in
Born-Markov approximation, the spectra S^(pm)_ll' = int_0^inf dt e^{pm i omega t} <X_l(t) X_l'(0)>.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg as sla

from ..arguments import per_item
from ..errors import InputError, UnstableError
from .effective import EffectivePhonons

__all__ = ["NambuReservoir", "continuous_spectrum", "eliminate_continuum", "eliminate_squeezed", "squeezed_reservoir"]


@dataclass(frozen=True, eq=False)
class NambuReservoir:
    """Linear light A = (c_1 .. c_L, c_1^+ .. c_L^+) with dA/dt = -i B A + noise in its steady state.

    Attributes
    ----------
    B
        Nambu matrix, shape (2L, 2L).
    C0
        <A A^T>, not symmetrised, shape (2L, 2L); for vacuum the only block is <c c^+> = 1.
    """

    B: np.ndarray
    C0: np.ndarray

    def spectrum(self, G: np.ndarray, omega: np.ndarray) -> np.ndarray:
        """Return S = T^T [i/(omega - B)] C0 T with T = (G^*, G), frequency of the column, shape (L, L)."""
        L = len(G)
        T = np.vstack([np.diag(G.conj()), np.diag(G)])
        source = self.C0 @ T
        out = np.empty((L, L), dtype=complex)
        for value in np.unique(omega):
            columns = np.flatnonzero(omega == value)
            out[:, columns] = 1j * T.T @ np.linalg.solve(value * np.eye(2 * L) - self.B, source[:, columns])
        return out


def squeezed_reservoir(
    hopping: Any, Dt: Any, gamma_c: Any, *, pairing: Any = 0.0, occupation: Any = 0.0, squeezing: Any = 0.0
) -> NambuReservoir:
    """Return light with parametric driving or squeezed input, in its steady state.

        H = sum_ij ( t_ij - Dt_i delta_ij ) c_i^+ c_j + (1/2) sum_ij ( k_ij c_i^+ c_j^+ + h.c. )

    and losses gamma_c into baths with <b^+ b> = N and <b b> = M, |M|^2 <= N (N + 1).

    Parameters
    ----------
    hopping
        Hermitian t, shape (L, L).
    Dt, gamma_c
        Scalars or one value per cell.
    pairing
        Symmetric k, shape (L, L), or 0.
    occupation, squeezing
        N >= 0 and M (complex) of the input, scalars or one value per cell.

    Raises
    ------
    InputError
        Naming the argument that is wrong.
    UnstableError
        Above the parametric threshold.

    Examples
    --------
    >>> squeezed_reservoir([[0.0]], -1.0, 0.1).C0.real.tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    t = _matrix(hopping, "hopping")
    L = len(t)
    if not np.allclose(t, t.conj().T, rtol=0, atol=1e-14 * max(1.0, np.abs(t).max())):
        raise InputError("Argument `hopping` must be a Hermitian matrix.", field="hopping")
    k = np.zeros((L, L), dtype=complex) if np.ndim(pairing) == 0 and pairing == 0 else _matrix(pairing, "pairing")
    if k.shape != t.shape or not np.allclose(k, k.T, rtol=0, atol=1e-14 * max(1.0, np.abs(k).max())):
        raise InputError(f"Argument `pairing` must be a symmetric {L} x {L} matrix or 0.", field="pairing")
    loss = per_item(gamma_c, L, "gamma_c", "cell", least=0)
    N = per_item(occupation, L, "occupation", "cell", least=0)
    M = per_item(squeezing, L, "squeezing", "cell")
    if np.any(np.abs(M) ** 2 > N * (N + 1) * (1 + 1e-12)):
        raise InputError(
            f"Argument `squeezing` must obey |M|^2 <= N (N + 1) with N = `occupation`, but is {squeezing!r}.",
            field="squeezing",
        )
    h = t - np.diag(per_item(Dt, L, "Dt", "cell", real=True))
    damping = 0.5j * np.diag(loss)
    B = np.block([[h - damping, k], [-k.conj(), -h.conj() - damping]])
    growth = float(np.linalg.eigvals(-1j * B).real.max())
    if growth >= 0:
        raise UnstableError(
            f"The light has no steady state: it grows at the rate {growth:.6g}.", field="pairing", growth=growth
        )
    kicks = np.block([[np.diag(loss * M), np.diag(loss * (N + 1))], [np.diag(loss * N), np.diag(loss * M.conj())]])
    return NambuReservoir(B, sla.solve_sylvester(-1j * B, -1j * B.T, -kicks))


def _matrix(value: Any, name: str) -> np.ndarray:
    try:
        matrix = np.asarray(value, dtype=complex)
    except (TypeError, ValueError):
        matrix = np.zeros(0, dtype=complex)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.all(np.isfinite(matrix)):
        raise InputError(f"Argument `{name}` must be a square matrix of finite numbers.", field=name)
    return matrix


def eliminate_squeezed(
    reservoir: NambuReservoir, *, G: Any, gamma_m: Any, nbar: Any, omega: Any = 1.0
) -> EffectivePhonons:
    """Return the effective phonons in front of squeezed or parametrically driven light.

    Terms d d and d^+ d^+, which rotate at twice omega, are dropped as for ordinary light.

    Parameters
    ----------
    reservoir
        From :func:`squeezed_reservoir`.
    G, gamma_m, nbar, omega
        As in :func:`mpo_transport.elimination.eliminate`.

    Examples
    --------
    >>> cell = eliminate_squeezed(squeezed_reservoir([[0.0]], -1.0, 0.1), G=0.01, gamma_m=5e-3, nbar=0.5)
    >>> float(cell.occupations[0].round(6))
    0.278133
    """
    L = len(reservoir.B) // 2
    coupling = per_item(G, L, "G", "cell")
    frequency = per_item(omega, L, "omega", "cell", real=True)
    return EffectivePhonons(
        reservoir.spectrum(coupling, frequency),
        reservoir.spectrum(coupling, -frequency),
        per_item(gamma_m, L, "gamma_m", "cell", least=0),
        per_item(nbar, L, "nbar", "cell", least=0),
        frequency,
    )


def continuous_spectrum(
    band: Callable[[np.ndarray], Any],
    momenta: Any,
    weights: Any,
    positions: Any,
    G: np.ndarray,
    omega: np.ndarray,
) -> np.ndarray:
    """Return S_ij = sum_q w_q e^{iq(r_i - r_j)} G_i^* [ i/(omega_j - B(q)) ] G_j, shape (L, L).

    Parameters
    ----------
    band
        B(q), complex with Im B = -gamma/2 <= 0, for all momenta at once.
    momenta
        Nodes of the quadrature, shape (n,) or (n, dimensions).
    weights
        Its weights, scalar or shape (n,), the measure (1/L for a ring of L cells, dq/2 pi for a line) included.
    positions
        r_i, shape (L,) or (L, dimensions).
    """
    q = np.asarray(momenta, dtype=float)
    r = np.asarray(positions, dtype=float)
    q, r = (x[:, None] if x.ndim == 1 else x for x in (q, r))
    if q.ndim != 2 or r.ndim != 2 or q.shape[1] != r.shape[1]:
        raise InputError("Arguments `momenta` and `positions` must have the same dimension.", field="positions")
    if len(r) != len(G):
        raise InputError(f"Argument `positions` must list one position per cell ({len(G)}).", field="positions")
    energies = np.asarray(band(np.asarray(momenta, dtype=float)), dtype=complex)
    if energies.shape != (len(q),):
        raise InputError("Argument `band` must return one value per momentum.", field="band")
    if np.any(energies.imag > 0):
        raise InputError("Argument `band` must have an imaginary part -gamma/2 <= 0.", field="band")
    w = per_item(weights, len(q), "weights", "momentum", real=True)
    waves = np.exp(1j * (r @ q.T))
    out = np.empty((len(G), len(G)), dtype=complex)
    for value in np.unique(omega):
        columns = np.flatnonzero(omega == value)
        out[:, columns] = (waves * (1j * w / (value - energies))) @ waves[columns].conj().T
    return G.conj()[:, None] * out * G


def eliminate_continuum(
    band: Callable[[np.ndarray], Any],
    momenta: Any,
    weights: Any,
    positions: Any,
    *,
    G: Any,
    gamma_m: Any,
    nbar: Any,
    omega: Any = 1.0,
) -> EffectivePhonons:
    """Return the effective phonons of mechanical modes at given positions in a continuous optical reservoir.

    Arguments as in :func:`continuous_spectrum` and :func:`mpo_transport.elimination.eliminate`.

    Examples
    --------
    A ring of three cells is the sum over its three momenta:

    >>> q = 2 * np.pi * np.arange(3) / 3
    >>> ring = eliminate_continuum(lambda q: 1.1 - 0.1 * np.cos(q) - 0.05j, q, 1 / 3, np.arange(3.0), G=0.01,
    ...                            gamma_m=1e-3, nbar=0.1)
    >>> ring.is_positive
    True
    """
    L = len(np.atleast_1d(np.asarray(positions, dtype=float)))
    coupling = per_item(G, L, "G", "cell")
    frequency = per_item(omega, L, "omega", "cell", real=True)
    S_plus, S_minus = (continuous_spectrum(band, momenta, weights, positions, coupling, s * frequency) for s in (1, -1))
    return EffectivePhonons(
        S_plus,
        S_minus,
        per_item(gamma_m, L, "gamma_m", "cell", least=0),
        per_item(nbar, L, "nbar", "cell", least=0),
        frequency,
    )
