"""Currents: those a model names, and the generic one from the continuity equation of a charge.

For a charge Q = sum_j q_j the adjoint generator is a sum of pieces p, each with a set of sites S_p, and

    d<q_j>/dt = (what flows in from the left) - (what flows out to the right) + s_j.

A piece with one site, or one that does not conserve its part of the charge, is a source; a piece that straddles the
bond c = (c, c+1) of a chain contributes the flow

    I_c = 1/2 sum_{p straddles c} [ L_p^dag( Q_{p, right of c} ) - L_p^dag( Q_{p, left of c} ) ],

which for a conserving piece is just the charge it brings to the right.  The source is what remains,
s_j = L^dag(q_j) - I_(j-1,j) + I_(j,j+1), so that the equation closes exactly as an operator identity.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable

from ..errors import InputError, NotSupportedError, did_you_mean
from ..lattice import Chain, Lattice
from ..model import Lindbladian
from ..operators import OpSum, op
from .algebra import GeneratorPiece, adjoint_action, generator_pieces, simplify
from .base import Observable, linear, register_observable

__all__ = ["continuity_current", "current", "equation_of_motion", "sources"]

Bond = tuple[int, int]


@register_observable
def current(model: Lindbladian, kind: str | None = None, distance: int = 1) -> Observable:
    """Return the current on every bond, I_(i,j) = c_b left_i right_j + h.c., positive from i to j.

    Parameters
    ----------
    model
        The Lindbladian.
    kind
        One of ``model.currents``; None means the first of them.  For a model without named currents this is
        :func:`continuity_current` of the charge "N".
    distance
        Evaluate the same operator on sites ``distance`` apart, with the coefficient of the bond that starts at i.

    Raises
    ------
    InputError
        For an unknown kind or distance.

    Examples
    --------
    >>> from mpo_transport.models import persistent_current
    >>> current(persistent_current(3, 2.0, 1.0, periodic=False)).operators[0]
    -3 Sm(0) Sp(1) - 3 Sp(0) Sm(1)
    """
    if kind is not None and kind not in model.currents:
        raise InputError(
            f"Argument `kind`: the model {model.name!r} has no current named {kind!r}; "
            f"{did_you_mean(str(kind), model.currents)}",
            field="kind",
        )
    if not model.currents:
        if distance != 1:
            raise InputError(
                f"Argument `distance` must be 1 for the model {model.name!r}, whose current follows from the "
                f"continuity equation and lives on bonds, but is {distance!r}.",
                field="distance",
            )
        return continuity_current(model)
    name = next(iter(model.currents)) if kind is None else kind
    chosen = model.currents[name]
    pairs = model.lattice.pairs(distance)
    operators = []
    # the pair number k starts at site k on a chain, and is edge number k of a graph: the index of its coefficient
    for (i, j), c in zip(pairs, chosen.coefficients, strict=False):
        half = complex(c) * (op(chosen.left, i) * op(chosen.right, j))
        operators.append(half + half.dag)
    return linear(
        f"current_{name}" + (f"_distance_{distance}" if distance != 1 else ""),
        model.lattice,
        operators,
        labels=pairs,
        dimension="bond" if distance == 1 else "pair",
        unit="rate",
        description=chosen.description or f"current {name}",
    )


@register_observable
def continuity_current(model: Lindbladian, charge: str = "N") -> Observable:
    """Return the flow of a charge through every bond, from the continuity equation, positive from i to j.

    See the head of this module for the definition.  For conserving terms between neighbours it is the familiar
    current: for H = t (s+_i s-_j + h.c.) it is i t s+_i s-_j + h.c.  A term of longer range counts on every bond it
    straddles; on a ring it takes the shorter way round (half each way if both are equal).

    Parameters
    ----------
    charge
        Name of the local operator q_j; sites without such an operator carry no charge.

    Raises
    ------
    InputError
        If no site has an operator of that name.
    NotSupportedError
        On a graph with terms that are neither local nor on an edge, for which no bond is singled out.

    Examples
    --------
    >>> from mpo_transport import Chain, Lindbladian, SpinHalf, op
    >>> hop = op("Sp", 0) * op("Sm", 1)
    >>> continuity_current(Lindbladian(Chain(2, SpinHalf()), hop + hop.dag, [])).operators[0]
    -1j Sm(0) Sp(1) + 1j Sp(0) Sm(1)
    """
    flows = _flows(model, charge, generator_pieces(model))
    return linear(
        f"continuity_current_{charge}",
        model.lattice,
        flows,
        labels=model.lattice.bonds,
        dimension="bond",
        unit="rate",
        description=f"current of {charge}",
    )


@register_observable
def sources(model: Lindbladian, charge: str = "N") -> Observable:
    """Return the non-conserving part of the continuity equation of a charge, one operator per site.

    s_j = L^dag(q_j) - sum_{bonds (i,j)} I_(i,j) + sum_{bonds (j,k)} I_(j,k), with :func:`continuity_current` I.  An
    empty operator means that the charge is conserved locally at that site.

    Examples
    --------
    >>> from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, op
    >>> hop = op("Sp", 0) * op("Sm", 1)
    >>> sources(Lindbladian(Chain(2, SpinHalf()), hop + hop.dag, [Jump(op("Sm", 1))])).operators
    (0, -N(1))
    """
    lattice = model.lattice
    pieces = generator_pieces(model)
    flows = _flows(model, charge, pieces)
    by_site = _pieces_by_site(pieces, lattice.L)
    parts: list[list[OpSum]] = [
        [adjoint_action(model, _charge(lattice, charge, [j]), pieces=by_site[j])] for j in range(lattice.L)
    ]
    for flow, (first, second) in zip(flows, lattice.bonds, strict=True):
        parts[first].append(flow)
        parts[second].append(-flow)
    operators = [_hermitian(lattice, *p) for p in parts]
    return linear(
        f"sources_{charge}",
        lattice,
        operators,
        labels=range(lattice.L),
        dimension="site",
        unit="rate",
        description=f"sources of {charge}",
    )


def _flows(model: Lindbladian, charge: str, pieces: Iterable[GeneratorPiece]) -> list[OpSum]:
    lattice = model.lattice
    if not any(space.has(charge) for space in lattice.spaces):
        names = {n for s in lattice.spaces for n in (s.operators if s.is_bounded else ("N", "Q", "P"))}
        raise InputError(
            f"Argument `charge`: no site has an operator {charge!r}; {did_you_mean(charge, names)}", field="charge"
        )
    index = {frozenset(bond): b for b, bond in enumerate(lattice.bonds)}
    collected: dict[int, list[OpSum]] = defaultdict(list)
    for piece in pieces:
        if len(piece.sites) < 2:
            continue
        for weight, b, left, right in _crossings(lattice, piece.sites, index):
            moved = _charge(lattice, charge, right) - _charge(lattice, charge, left)
            collected[b].append((weight / 2) * piece.adjoint(moved))
    return [_hermitian(lattice, *collected[b]) for b in range(len(lattice.bonds))]


def _crossings(
    lattice: Lattice, sites: tuple[int, ...], index: dict[frozenset[int], int]
) -> list[tuple[float, int, list[int], list[int]]]:
    """Return (weight, bond, sites before it, sites behind it) for every bond that a set of sites straddles."""
    if not isinstance(lattice, Chain):
        bond = index.get(frozenset(sites))
        if bond is None:
            raise NotSupportedError(
                f"The current through the bonds of a graph is not defined for a term on sites {sites}, which is no "
                "edge; add the edge, or ask for the sources only.",
                field="model",
            )
        first, second = lattice.bonds[bond]
        return [(1.0, bond, [first], [second])]
    out = []
    paths = _shortest_arcs(sites, lattice.L) if lattice.periodic else [list(sites)]
    for path in paths:
        for k, (here, there) in enumerate(itertools.pairwise(path)):
            stretch = (there - here) % lattice.L
            for step in range(stretch):
                out.append((1 / len(paths), (here + step) % lattice.L, path[: k + 1], path[k + 1 :]))
    return out


def _shortest_arcs(sites: tuple[int, ...], L: int) -> list[list[int]]:
    """Return the orders in which an arc of least length passes the sites of a ring (several if there is a tie)."""
    n = len(sites)
    gaps = [(sites[(k + 1) % n] - sites[k]) % L for k in range(n)]
    return [[sites[(k + 1 + m) % n] for m in range(n)] for k in range(n) if gaps[k] == max(gaps)]


def _charge(lattice: Lattice, charge: str, sites: Iterable[int]) -> OpSum:
    return sum((op(charge, s) for s in sites if lattice.spaces[s].has(charge)), OpSum())


def _hermitian(lattice: Lattice, *parts: OpSum) -> OpSum:
    """Return the Hermitian part of a sum, simplified; what cancels is judged on the scale of the parts."""
    total = sum(parts, OpSum())
    scale = max((abs(c) for p in parts for _, c in p), default=0.0)
    return simplify(lattice, (total + total.dag) / 2, scale=scale)


def _pieces_by_site(pieces: Iterable[GeneratorPiece], L: int) -> list[list[GeneratorPiece]]:
    out: list[list[GeneratorPiece]] = [[] for _ in range(L)]
    for piece in pieces:
        for s in piece.sites:
            out[s].append(piece)
    return out


# ----------------------------------------------------------------------------------------------------------------------


@register_observable
def equation_of_motion(model: Lindbladian) -> Observable:
    """Return the right-hand side of the equation of motion of Z_j of ``persistent_current``, in terms of its currents.

        dZ_j/dt = (I^J_j - I^J_{j+1}) + (I^xi_j - I^xi_{j+1}) + (I^eta_j + I^eta_{j+1}) - (I^lambda_j + I^lambda_{j+1})
                  - (Z_j + 1) Gamma_-(j) - (Z_j - 1) Gamma_+(j) + 2 eps_x Y_j

    with I_j on the bond that ends at j and I_{j+1} on the one that starts there, Gamma_-(j) = sum of |amplitude|^2 of
    s-_j over all jumps (local loss included), Gamma_+(j) that of s+_j.  This is Eq. (13) of Keck, Rossini, Fazio,
    Phys. Rev. A 98, 053812 (2018), with the signs of I^eta and I^lambda corrected, for complex couplings that differ
    from bond to bond, and with the transverse field.  In a steady state all values are zero: a monitor of convergence.

    Raises
    ------
    NotSupportedError
        For another model or for bosons; :func:`adjoint_action` gives d<O>/dt of any operator of any model.
    """
    if model.name != "persistent_current" or any(s.kind != "spin" for s in model.lattice.spaces):
        raise NotSupportedError(
            f"equation_of_motion is written for the spins of `persistent_current`, not for {model!r}; "
            "adjoint_action(model, operator) gives d<O>/dt of any operator.",
            field="model",
        )
    distance = int(model.parameters.get("dissipator_distance", 1))
    rhs = [OpSum() for _ in range(model.L)]
    # sign at the site where the bond ends, sign where it starts
    for kind, at_end, at_start in (("J", 1, -1), ("xi", 1, -1), ("eta", 1, 1), ("lambda", -1, -1)):
        observable = current(model, kind, distance if kind in ("xi", "eta") else 1)
        for (i, j), operator in zip(observable.labels, observable.operators, strict=True):
            rhs[j] = rhs[j] + at_end * operator
            rhs[i] = rhs[i] + at_start * operator
    for j in range(model.L):
        loss, gain = (
            sum(jump.rate * abs(jump.operator.terms.get(((name, j),), 0)) ** 2 for jump in model.jumps)
            for name in ("Sm", "Sp")
        )
        field = model.hamiltonian.terms.get((("X", j),), 0j).real
        rhs[j] = rhs[j] - loss * (op("Z", j) + 1) - gain * (op("Z", j) - 1) + 2 * field * op("Y", j)
    return linear(
        "equation_of_motion",
        model.lattice,
        rhs,
        labels=range(model.L),
        dimension="site",
        unit="rate",
        description="d<Z>/dt from the named currents",
    )
