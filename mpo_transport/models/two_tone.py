"""Optomechanical lattices with drives on both mechanical sidebands: squeezed phonons that travel."""

from __future__ import annotations

import math
from typing import Any

from ..arguments import per_item, plain
from ..elimination import bogoliubov, eliminate_two_tone, read_links, two_tone_links
from ..errors import InputError
from ..model import Lindbladian
from ..operators import OpSum
from .optomechanical import cell_baths, cell_lattice, photon_current, photon_terms
from .registry import register

__all__ = ["two_tone_lattice"]


@register
def two_tone_lattice(
    adjacency: Any,
    *,
    J: Any,
    Dt: Any,
    G_minus: Any,
    G_plus: Any,
    gamma_c: Any,
    gamma_m: Any,
    nbar: Any,
    picture: str = "full",
    coordination: int | None = None,
) -> Lindbladian:
    """Return a lattice of optomechanical cells driven on both mechanical sidebands.

        H = sum_l [ -Dt_l c_l^+ c_l - ( c_l ( G_{-,l}^* d_l^+ + G_{+,l}^* d_l ) + h.c. ) ]
            - sum_{l<l'} (J/z) ( A_ll' c_l^+ c_l' + h.c. )

    in the interaction picture of the motion, with optical loss gamma_c and thermal baths (gamma_m, nbar) of the
    phonons.  The light cools beta = cosh r e^{i varphi} d + sinh r e^{i theta} d^+, tanh r = |G_+|/|G_-|,
    theta = Arg G_+, varphi = Arg G_-.

    Parameters
    ----------
    adjacency, J
        Optical links as in :func:`optomechanical_lattice`; hopping -(J/z) A, so -J/2 on a ring.
    Dt, gamma_c, gamma_m, nbar
        Scalars or one value per cell.
    G_minus, G_plus
        Couplings of the red and the blue tone, complex, |G_plus| < |G_minus|; scalars or one value per cell.
    picture
        ``"full"``: sites c_0, d_0, c_1, d_1, ...  ``"effective"``: the light eliminated, site l is mechanical mode l.
    coordination
        The number z; None: the largest number of neighbours of a cell (2 on rings and chains).

    Raises
    ------
    InputError
        Naming the argument that is wrong.

    Notes
    -----
    Modes are unbounded.  Baths as in :func:`optomechanical_lattice`; the phonons have no energy in this picture, so the
    thermal baths carry none.

    References
    ----------
    Z. Denis, A. Biella, I. Favero, C. Ciuti, Phys. Rev. Lett. 124, 083601 (2020), arXiv:1910.09878, supplement
    S20-S25; complex conjugates and phases corrected.

    Examples
    --------
    >>> ring = two_tone_lattice({"L": 3, "edges": [[0, 1], [1, 2], [2, 0]]}, J=0.1, Dt=0.0, G_minus=0.012, G_plus=0.006,
    ...                         gamma_c=0.1, gamma_m=1e-3, nbar=1, picture="effective")
    >>> ring.is_quadratic, [str(s) for s in ring.conserved]
    (True, ['weak Z2: (-1)^(N(0) + N(1) + N(2))'])
    """
    links = read_links(adjacency, J)
    cells = {"gamma_c": gamma_c, "gamma_m": gamma_m, "nbar": nbar}
    given = {"J": J, "Dt": Dt, "G_minus": G_minus, "G_plus": G_plus, **cells}
    parameters = plain({"adjacency": links.edges, **given, "picture": picture, "coordination": coordination})
    if picture == "effective":
        effective = eliminate_two_tone(links.edges, **given, coordination=coordination)
        return effective.lindbladian(math.inf, name="two_tone_lattice", parameters=parameters)
    if picture != "full":
        raise InputError(f"Argument `picture` must be 'full' or 'effective', but is {picture!r}.", field="picture")
    links = two_tone_links(links, coordination)
    red, blue = per_item(G_minus, links.L, "G_minus", "cell"), per_item(G_plus, links.L, "G_plus", "cell")
    bogoliubov(red, blue)  # refuses the same couplings as the effective picture
    terms = photon_terms(links, per_item(Dt, links.L, "Dt", "cell", real=True).tolist())
    for l, (minus, plus) in enumerate(zip(red.tolist(), blue.tolist(), strict=True)):
        c, d = 2 * l, 2 * l + 1
        terms[("A", c), ("Adag", d)] = -minus.conjugate()
        terms[("Adag", c), ("A", d)] = -minus
        terms[("A", c), ("A", d)] = -plus.conjugate()
        terms[("Adag", c), ("Adag", d)] = -plus
    jumps, baths = cell_baths(links.L, cells, None)
    lattice = cell_lattice(links, (math.inf, math.inf))
    return Lindbladian(
        lattice,
        OpSum(terms),
        jumps,
        name="two_tone_lattice",
        parameters=parameters,
        currents=photon_current(links, lattice),
        baths=baths,
    )
