"""Eliminating the light of an optomechanical lattice: the effective master equation of the phonons (Born-Markov).

Linearised model, optical matrix B = t - diag(Dt + i gamma_c/2), couplings G_l:

    S^(pm)_ll' = G_l^* [ i (pm omega_l' - B)^-1 ]_ll' G_l'
    Omega^(pm) = (S - S^+)/2i,     M^(pm) = S + S^+
    H = sum_ll' h_ll' d_l^+ d_l',  h = diag(omega) + Omega^(+) + (Omega^(-))^T
    D = thermal baths + sum_ij M^(+)_ij ( d_j rho d_i^+ - {d_i^+ d_j, rho}/2 )
                      + sum_ij M^(-)_ij ( d_j^+ rho d_i - {d_i d_j^+, rho}/2 )

Both sidebands are kept: without the Stokes part S^(-) the phases of G can be absorbed in d and every current vanishes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import per_item
from .effective import EffectivePhonons
from .links import Links, read_links

__all__ = ["eliminate", "eliminate_links", "optical_matrix", "reservoir_spectrum"]


def optical_matrix(links: Links, Dt: np.ndarray, gamma_c: np.ndarray) -> np.ndarray:
    """Return B = t - diag(Dt + i gamma_c/2), shape (L, L): the light obeys dc/dt = -i B c + noise."""
    return links.matrix - np.diag(Dt + 0.5j * gamma_c)


def reservoir_spectrum(
    B: np.ndarray, coupling: np.ndarray, omega: np.ndarray, gamma_c: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return S_ll' = G_l^* [i (omega_l' - B)^-1]_ll' G_l' and, for equal omega, the amplitudes K with S + S^+ = K K^+.

    Parameters
    ----------
    B
        Optical matrix, shape (L, L).
    coupling
        G, shape (L,).
    omega
        Frequency of the mechanical mode in every *column*, signed, shape (L,).
    gamma_c
        Optical loss rates, shape (L,).

    Returns
    -------
    tuple
        S, shape (L, L), and K = G^* (omega - B)^-1 sqrt(gamma_c), whose column l belongs to photons lost from cavity l;
        None where the frequencies differ.  One inverse if they are equal, one linear solve per column otherwise.
    """
    L = len(B)
    one = np.eye(L)
    if np.all(omega == omega[0]):
        response = np.linalg.inv(omega[0] * one - B)
        return (
            1j * coupling.conj()[:, None] * response * coupling,
            coupling.conj()[:, None] * response * np.sqrt(gamma_c),
        )
    response = np.empty((L, L), dtype=complex)
    for value in np.unique(omega):
        columns = np.flatnonzero(omega == value)
        response[:, columns] = np.linalg.solve(value * one - B, one[:, columns])
    return 1j * coupling.conj()[:, None] * response * coupling, None


def eliminate(
    adjacency: Any, *, J: Any, Dt: Any, G: Any, gamma_c: Any, gamma_m: Any, nbar: Any, omega: Any = 1.0
) -> EffectivePhonons:
    """Return the effective phonons of any lattice of optomechanical cells.

    Parameters
    ----------
    adjacency, J
        Optical links, hopping -(J/2) A: see :func:`mpo_transport.elimination.read_links`.
    Dt
        Shifted detuning of every optical mode (drive minus cavity frequency, mean-field shift included).
    G
        Linearised coupling g_l alpha_l, complex.
    gamma_c
        Optical loss rate, > 0 somewhere: the light is the reservoir.
    gamma_m, nbar
        Rate and occupation of the local thermal baths, >= 0.
    omega
        Mechanical frequency.

    All of them scalars or one value per cell, in one unit of energy (hbar = 1).

    Raises
    ------
    InputError
        Naming the argument that is wrong.

    Notes
    -----
    With unequal ``omega`` the spectrum is taken at the frequency of the second index; M then need not be positive, see
    :class:`EffectivePhonons`.

    Examples
    --------
    One cell, cooled by a red-detuned drive:

    >>> cell = eliminate([[0]], J=0.0, Dt=-1.0, G=0.01, gamma_c=0.1, gamma_m=5e-3, nbar=0.5)
    >>> float(cell.occupations[0].round(6))
    0.278133
    """
    return eliminate_links(
        read_links(adjacency, J), Dt=Dt, G=G, gamma_c=gamma_c, gamma_m=gamma_m, nbar=nbar, omega=omega
    )


def eliminate_links(
    links: Links, *, Dt: Any, G: Any, gamma_c: Any, gamma_m: Any, nbar: Any, omega: Any = 1.0
) -> EffectivePhonons:
    """Return :func:`eliminate` for links that are read already."""
    L = links.L
    detuning = per_item(Dt, L, "Dt", "cell", real=True)
    coupling = per_item(G, L, "G", "cell")
    loss = per_item(gamma_c, L, "gamma_c", "cell", least=0)
    frequency = per_item(omega, L, "omega", "cell", real=True)
    B = optical_matrix(links, detuning, loss)
    S_plus, K_plus = reservoir_spectrum(B, coupling, frequency, loss)
    S_minus, K_minus = reservoir_spectrum(B, coupling, -frequency, loss)
    return EffectivePhonons(
        S_plus,
        S_minus,
        per_item(gamma_m, L, "gamma_m", "cell", least=0),
        per_item(nbar, L, "nbar", "cell", least=0),
        frequency,
        K_plus=K_plus,
        K_minus=K_minus,
        links=links,
    )
