"""Coherences and currents between any two sites, neighbours or not."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import InputError, did_you_mean
from ..lattice import Lattice
from ..model import Lindbladian
from ..operators import OpSum, op
from ..states import State
from .base import Observable, StateFunction, linear, register_observable
from .profiles import checked_pairs

__all__ = ["g1", "pair_current"]

_NORMALISATIONS = {"physical": 1.0, "half": 0.5}
_LADDERS = (("Adag", "A"), ("Sp", "Sm"))


@register_observable
def g1(model: Lindbladian, pairs: Iterable[tuple[int, int]] | None = None) -> StateFunction:
    """Return the normalised coherence g1_ij = <a_i^+ a_j> / sqrt(n_i n_j), complex, of modulus at most 1.

    Parameters
    ----------
    model
        The Lindbladian, or any object with its ``lattice``.
    pairs
        Pairs (i, j): the values have shape (pairs,).  None: the matrix over all sites that have a lowering operator,
        A of bosons or S^- of spins.  NaN where a site is empty.

    Raises
    ------
    InputError
        For a site without a lowering operator.

    References
    ----------
    R. J. Glauber, Phys. Rev. 130, 2529 (1963).

    Examples
    --------
    >>> from mpo_transport import models, steady_state
    >>> chain = models.boundary_driven_xx(3, 1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    >>> value = steady_state(chain, progress=False).expect(g1(chain, pairs=[(0, 0), (0, 1)]))
    >>> (value.round(4) + 0).tolist()  # + 0: no minus zeros
    [(1+0j), -0.255j]
    """
    lattice = model.lattice
    if pairs is None:
        sites = [j for j in range(lattice.L) if any(lattice.spaces[j].has(lower) for _, lower in _LADDERS)]
        chosen = [(i, j) for i in sites for j in sites]
        shape: tuple[int, ...] = (len(sites), len(sites))
    else:
        chosen = checked_pairs(pairs)
        shape = (len(chosen),)
    used = sorted({s for pair in chosen for s in pair})
    names = {s: _ladder(lattice, s) for s in used}
    numbers = Observable("n", tuple(op(names[s][0], s) * op(names[s][1], s) for s in used), dimension="site")
    products = Observable(
        "products", tuple(op(names[i][0], i) * op(names[j][1], j) for i, j in chosen), dimension="pair"
    )
    first, second = (np.array([used.index(pair[k]) for pair in chosen], dtype=int) for k in (0, 1))

    def value(state: State) -> np.ndarray:
        n = np.asarray(numbers.evaluate(state)).real
        scale = np.sqrt(np.where(n > 0, n, np.nan))
        return np.asarray(products.evaluate(state) / (scale[first] * scale[second])).astype(complex).reshape(shape)

    return StateFunction(
        "g1",
        value,
        {"pairs": chosen},
        description="g1 = <a_i^+ a_j>/sqrt(n_i n_j)",
        dimension="pair" if pairs is not None else "site site_2",
        labels=tuple(chosen),
    )


def _ladder(lattice: Lattice, site: int) -> tuple[str, str]:
    whole = isinstance(site, (int, np.integer)) and not isinstance(site, bool)
    if not whole or not 0 <= site < lattice.L:
        raise InputError(f"Argument `pairs` must hold sites 0..{lattice.L - 1}, but contains {site!r}.", field="pairs")
    for names in _LADDERS:
        if lattice.spaces[site].has(names[1]):
            return names
    raise InputError(f"Argument `pairs`: site {site} has no lowering operator A or Sm.", field="pairs")


@register_observable
def pair_current(
    model: Lindbladian, pairs: Iterable[tuple[int, int]] | None = None, normalisation: str = "physical"
) -> Observable:
    """Return the coherent current between pairs of sites, from i to j, due to the hopping of H between just these two.

        H = ... + h_ji a_j^+ a_i + h.c.,      I_(i,j) = -i h_ji a_j^+ a_i + h.c.,      <I> = 2 Im( h_ji <a_j^+ a_i> )

    so that i[H, n_i] = -sum_j I_(i,j).  Unlike :func:`continuity_current` it does not lay long hops over the bonds
    between.  In an effective model where every site is joined to every other it is the current of each pair; between
    optical sites of a full optomechanical model it is the photon current of the link.

    Parameters
    ----------
    pairs
        Pairs (i, j), any order and distance; None: all with a hopping, i < j.
    normalisation
        ``"physical"``, or ``"half"``: half of it, the normalisation that counts both directions of every pair.

    Raises
    ------
    InputError
        For a bad pair; for a pair without a hopping (field ``pairs``); an unknown normalisation.

    Examples
    --------
    >>> from mpo_transport.models import boundary_driven_xx
    >>> chain = boundary_driven_xx(3, 0.5, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    >>> pair_current(chain, pairs=[(1, 0)]).operators[0]
    0.5j Sm(0) Sp(1) - 0.5j Sp(0) Sm(1)
    """
    if normalisation not in _NORMALISATIONS:
        raise InputError(
            f"Argument `normalisation` is {normalisation!r}; {did_you_mean(str(normalisation), _NORMALISATIONS)}",
            field="normalisation",
        )
    hops = _hopping(model)
    chosen = sorted({(min(p), max(p)) for p in hops}) if pairs is None else checked_pairs(pairs)
    operators = []
    for i, j in chosen:
        for site in (i, j):
            _ladder(model.lattice, site)
        if (j, i) not in hops:
            raise InputError(
                f"Argument `pairs`: the Hamiltonian has no hopping between the sites {i} and {j}.", field="pairs"
            )
        half = (-1j * _NORMALISATIONS[normalisation]) * hops[j, i]
        operators.append(half + half.dag)
    return linear(
        "pair_current" + ("" if normalisation == "physical" else f"_{normalisation}"),
        model.lattice,
        operators,
        labels=chosen,
        dimension="pair",
        unit="rate",
        description="coherent current -i h_ji a_j^+ a_i + h.c.",
    )


def _hopping(model: Lindbladian) -> dict[tuple[int, int], OpSum]:
    """Return {(j, i): h_ji a_j^+ a_i} of all hopping terms of the Hamiltonian."""
    raising, lowering = {r for r, _ in _LADDERS}, {l for _, l in _LADDERS}
    found: dict[tuple[int, int], OpSum] = {}
    for key, c in model.hamiltonian:
        if len(key) != 2 or key[0][1] == key[1][1]:
            continue
        (first, a), (second, b) = key
        if first in raising and second in lowering:
            place = (a, b)
        elif first in lowering and second in raising:
            place = (b, a)
        else:
            continue
        found[place] = found.get(place, OpSum()) + OpSum({key: c})
    return found
