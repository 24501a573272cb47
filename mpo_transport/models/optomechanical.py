"""Lattices of optomechanical cells: the linearised model, the effective phonons, and the full interaction.

The cells are joined by the light only.  Everything here is in the frame displaced by the mean field, with detunings
shifted by it: c_l = a_l - alpha_l for the light, d_l = b_l - beta_l for the motion.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..arguments import per_item, plain
from ..elimination import Links, eliminate_links, read_links, ring_links
from ..errors import InputError
from ..lattice import Chain, Graph, Lattice
from ..model import Bath, CurrentKind, Jump, Lindbladian
from ..operators import Boson, OpSum
from .registry import register

__all__ = ["optomechanical_lattice", "optomechanical_ring"]

_PICTURES = ("full", "effective", "nonlinear")


@register
def optomechanical_lattice(
    adjacency: Any,
    *,
    J: Any,
    Dt: Any,
    G: Any,
    gamma_c: Any,
    gamma_m: Any,
    nbar: Any,
    omega: Any = 1.0,
    g: Any = None,
    picture: str = "full",
    levels: Any = None,
) -> Lindbladian:
    """Return a lattice of optomechanical cells joined by photon hopping.

        H = sum_l [ -Dt_l c_l^+ c_l + omega_l d_l^+ d_l - (G_l^* c_l + G_l c_l^+ + g_l c_l^+ c_l)(d_l + d_l^+) ]
            - sum_{l<l'} (J/2) ( A_ll' c_l^+ c_l' + h.c. )
        baths: gamma_c D[c_l];  gamma_m (nbar + 1) D[d_l],  gamma_m nbar D[d_l^+]

    Parameters
    ----------
    adjacency
        Symmetric matrix A of the optical links with a zero diagonal (entries other than 0 and 1 are weights), dense or
        scipy sparse, or ``{"L": L, "edges": [[i, j], ...]}``.
    J
        Twice the hopping amplitude, real; scalar or one per link.
    Dt
        Shifted detuning (drive minus cavity, mean-field shift included).
    G
        Linearised coupling g_l alpha_l, complex.
    gamma_c, gamma_m, nbar
        Optical and mechanical loss rates and thermal occupation, >= 0.
    omega
        Mechanical frequency.
    g
        Bare coupling per photon, real; only the nonlinear picture uses it, and needs it.
    picture
        ``"full"``: the linearised model (g = 0 above), both modes of every cell, sites c_0, d_0, c_1, d_1, ...
        ``"effective"``: the light eliminated (Born-Markov), site l is mechanical mode l, see
        :func:`mpo_transport.elimination.eliminate`.
        ``"nonlinear"``: the full interaction in the displaced frame, exact if alpha solves the mean-field equations.
    levels
        None or ``math.inf``: unbounded modes.  An integer: levels of every mode.  A pair: of photons and of phonons.

    Each of J ... g is a scalar or one value per cell (link for J); hbar = 1, one unit of energy for all.

    Raises
    ------
    InputError
        Naming the argument that is wrong.
    NegativeRatesError
        In the effective picture, if unequal frequencies make a rate negative.

    Notes
    -----
    Bonds are the optical links, in the full pictures followed by the cells (2l, 2l + 1).  Currents: ``"photon"``, the
    current of photon fluctuations -i t_al c_a^+ c_l + h.c. (zero on the cells), or ``"phonon"``, that of the effective
    phonons, -i h_al d_a^+ d_l + h.c., on the links; the effective Hamiltonian joins all pairs, and on chains and rings
    ``current(model, "phonon_p", distance=p)`` gives the pairs p apart.  The latter counts the coherent part only;
    the two currents can have opposite signs.

    Baths: ``"optical"`` (+1 per photon lost, in the effective picture +1 per phonon lost and -1 per phonon gained) and
    one thermal bath ``"site_j"`` per mechanical mode, j its site.  Quadratic pictures do not depend on the sign of G;
    the nonlinear one does.

    References
    ----------
    Z. Denis, A. Biella, I. Favero, C. Ciuti, "Permanent directional heat currents in lattices of optomechanical
    resonators", Phys. Rev. Lett. 124, 083601 (2020), arXiv:1910.09878, Eqs. (1)-(7) and supplement S10-S15; signs
    corrected.

    Examples
    --------
    >>> pair = optomechanical_lattice([[0, 1], [1, 0]], J=0.1, Dt=-1.1, G=[0.01, 0.01j], gamma_c=0.1, gamma_m=1e-3,
    ...                               nbar=2.0)
    >>> pair.L, pair.is_quadratic, pair.lattice.bonds
    (4, True, ((0, 2), (0, 1), (2, 3)))
    """
    links = read_links(adjacency, J)
    parameters = {
        "adjacency": links.edges, "J": J, "Dt": Dt, "G": G, "gamma_c": gamma_c, "gamma_m": gamma_m, "nbar": nbar,
        "omega": omega, "g": g, "picture": picture, "levels": levels,
    }  # fmt: skip
    cells = {"Dt": Dt, "G": G, "gamma_c": gamma_c, "gamma_m": gamma_m, "nbar": nbar, "omega": omega}
    return _build(links, cells, g, picture, levels, "optomechanical_lattice", plain(parameters))


@register
def optomechanical_ring(
    L: int,
    phi: float,
    *,
    J: Any,
    Dt: Any,
    G_abs: Any,
    gamma_c: Any,
    gamma_m: Any,
    nbar: Any,
    omega_m: Any = 1.0,
    g: Any = None,
    picture: str = "full",
    levels: Any = None,
) -> Lindbladian:
    """Return :func:`optomechanical_lattice` on a ring, G_l = G_abs e^{i l phi}: a persistent heat current.

    Photon band -J cos q.  The steady current is odd in phi and needs both sidebands; on an even ring it vanishes at
    phi = 0, pi/2, pi.  Closed forms: :mod:`mpo_transport.reference.optomechanical_lattices`.

    Parameters
    ----------
    L
        Number of cells, >= 3.
    phi
        Phase of the drive per cell, with e^{i L phi} = 1.
    G_abs
        Modulus g |alpha| of the linearised coupling, >= 0.
    J, Dt, gamma_c, gamma_m, nbar, omega_m, g, picture, levels
        As in :func:`optomechanical_lattice`; scalars or one value per cell (J: per bond, the closing bond last).

    Raises
    ------
    InputError
        Naming the argument that is wrong, among others a phase that does not close.

    Examples
    --------
    >>> import math
    >>> ring = optomechanical_ring(8, 2 * math.pi / 8, J=0.2, Dt=-1.2, G_abs=0.02, gamma_c=0.1, gamma_m=1e-3, nbar=100)
    >>> ring.L, len(ring.jumps)
    (16, 24)
    """
    links = ring_links(L, J)
    modulus = per_item(G_abs, links.L, "G_abs", "cell", least=0)
    parameters = {
        "L": links.L, "phi": phi, "J": J, "Dt": Dt, "G_abs": G_abs, "gamma_c": gamma_c, "gamma_m": gamma_m,
        "nbar": nbar, "omega_m": omega_m, "g": g, "picture": picture, "levels": levels,
    }  # fmt: skip
    cells = {
        "Dt": Dt, "G": modulus * _phases(links.L, phi), "gamma_c": gamma_c, "gamma_m": gamma_m, "nbar": nbar,
        "omega": per_item(omega_m, links.L, "omega_m", "cell", real=True),
    }  # fmt: skip
    return _build(links, cells, g, picture, levels, "optomechanical_ring", plain(parameters))


# ----------------------------------------------------------------------------------------------------------------------


def _phases(L: int, phi: float) -> np.ndarray:
    """e^{i l phi}, from the winding number, so that the phases close exactly."""
    if isinstance(phi, bool) or not isinstance(phi, (int, float, np.integer, np.floating)) or not math.isfinite(phi):
        raise InputError(f"Argument `phi` must be a finite real number, but is {phi!r}.", field="phi")
    winding = L * float(phi) / (2 * math.pi)
    if abs(winding - round(winding)) > 1e-9 * max(1.0, abs(winding)):
        raise InputError(
            f"Argument `phi` must close around the ring, e^(i L phi) = 1, but L phi / 2 pi = {winding:.9g}; use "
            f"phi = 2 pi n / {L} with an integer n.",
            field="phi",
        )
    steps = (round(winding) * np.arange(L)) % L
    return np.exp(2j * np.pi * steps / L)


def _build(
    links: Links, cells: dict[str, Any], g: Any, picture: str, levels: Any, name: str, parameters: dict[str, Any]
) -> Lindbladian:
    if picture not in _PICTURES:
        raise InputError(
            f"Argument `picture` must be one of {', '.join(map(repr, _PICTURES))}, but is {picture!r}.", field="picture"
        )
    photons, phonons = _levels(levels, picture)
    if g is not None:
        g = per_item(g, links.L, "g", "cell", real=True)
    if picture == "effective":
        effective = eliminate_links(links, **cells)
        return effective.lindbladian(phonons, name=name, parameters=parameters)
    if picture == "nonlinear" and g is None:
        raise InputError("Argument `g` is needed in the nonlinear picture: the coupling per photon.", field="g")
    with _collector_paused():
        return _displaced(links, cells, g if picture == "nonlinear" else None, (photons, phonons), name, parameters)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the cyclic garbage collector: its passes over millions of new terms cost more than building them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _levels(levels: Any, picture: str) -> tuple[float, float]:
    if levels is None:
        return math.inf, math.inf
    if isinstance(levels, (list, tuple, np.ndarray)):
        if len(levels) != 2 or picture == "effective":
            raise InputError(
                f"Argument `levels` must be a number, or a pair (photons, phonons) where there are photons, but is "
                f"{levels!r}.",
                field="levels",
            )
        return levels[0], levels[1]
    return levels, levels


def _displaced(
    links: Links,
    cells: dict[str, Any],
    g: np.ndarray | None,
    levels: tuple[float, float],
    name: str,
    parameters: dict[str, Any],
) -> Lindbladian:
    """Both modes of every cell; built from one dictionary of terms, linear in the number of cells."""
    L = links.L
    detuning = per_item(cells["Dt"], L, "Dt", "cell", real=True).tolist()
    coupling = per_item(cells["G"], L, "G", "cell").tolist()
    omega = per_item(cells["omega"], L, "omega", "cell", real=True).tolist()
    terms = photon_terms(links, detuning)
    for l in range(L):
        c, d = 2 * l, 2 * l + 1
        terms[(("N", d),)] = omega[l]
        for x in ("A", "Adag"):
            terms[("A", c), (x, d)] = -coupling[l].conjugate()
            terms[("Adag", c), (x, d)] = -coupling[l]
            if g is not None:
                terms[("N", c), (x, d)] = -float(g[l])
    jumps, baths = cell_baths(L, cells, omega)
    lattice = cell_lattice(links, levels)
    return Lindbladian(
        lattice,
        OpSum(terms),
        jumps,
        name=name,
        parameters=parameters,
        currents=photon_current(links, lattice),
        baths=baths,
    )


def photon_terms(links: Links, detuning: list[float]) -> dict[Any, complex]:
    """Return the terms -Dt_l c_l^+ c_l and t_ij c_i^+ c_j + h.c., optical mode l on site 2l."""
    terms: dict[Any, complex] = {(("N", 2 * l),): -x for l, x in enumerate(detuning)}
    for (i, j), t in zip(links.pairs, links.amplitude.tolist(), strict=True):
        terms[("Adag", 2 * i), ("A", 2 * j)] = t
        terms[("A", 2 * i), ("Adag", 2 * j)] = t.conjugate()
    return terms


def cell_baths(L: int, cells: dict[str, Any], omega: list[float] | None) -> tuple[list[Jump], list[Bath]]:
    """Return the optical losses (label "optical") and the thermal baths ("site_j", j the site of the phonons)."""
    loss = per_item(cells["gamma_c"], L, "gamma_c", "cell", least=0).tolist()
    gamma = per_item(cells["gamma_m"], L, "gamma_m", "cell", least=0).tolist()
    nbar = per_item(cells["nbar"], L, "nbar", "cell", least=0).tolist()
    jumps, baths = [], [Bath("optical", occupation=0.0)]
    for l in range(L):
        c, d = 2 * l, 2 * l + 1
        if loss[l] > 0:
            jumps.append(Jump(OpSum({(("A", c),): 1.0}), loss[l], "optical", 1.0))
        if gamma[l] > 0:
            jumps.append(Jump(OpSum({(("A", d),): 1.0}), gamma[l] * (nbar[l] + 1), f"site_{d}", 1.0))
        if gamma[l] * nbar[l] > 0:
            jumps.append(Jump(OpSum({(("Adag", d),): 1.0}), gamma[l] * nbar[l], f"site_{d}", -1.0))
        baths.append(Bath(f"site_{d}", energy=None if omega is None else omega[l], occupation=nbar[l]))
    return jumps, baths


def cell_lattice(links: Links, levels: tuple[float, float]) -> Lattice:
    """Return the lattice c_0, d_0, c_1, d_1, ... whose bonds are the optical links, then the cells."""
    light, motion = Boson(levels[0]), Boson(levels[1])
    if links.L == 1:
        return Chain(2, [light, motion])
    edges = [(2 * i, 2 * j) for i, j in links.pairs] + [(2 * l, 2 * l + 1) for l in range(links.L)]
    return Graph(edges, [light, motion] * links.L)


def photon_current(links: Links, lattice: Lattice) -> dict[str, CurrentKind]:
    """Return the current of photon fluctuations, -i t_ji c_j^+ c_i + h.c. from i to j, zero on the cells."""
    values = np.zeros(len(lattice.bonds), dtype=complex)
    values[: len(links.amplitude)] = -1j * links.amplitude.conj()
    return {"photon": CurrentKind(tuple(values.tolist()), "A", "Adag", "photon current -i t_ji c_j^+ c_i + h.c.")}
