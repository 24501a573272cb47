"""One- and two-point functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import InputError, did_you_mean
from ..lattice import Lattice
from ..model import Lindbladian
from ..operators import OpSum, op
from ..states import State
from ..states.base import check_sites
from .algebra import operator_norm, simplify
from .base import Observable, StateFunction, linear, register_observable

__all__ = ["correlation", "profile", "variance"]


@register_observable
def profile(model: Lindbladian, name: str, species: str | None = None) -> Observable:
    """Return the expectation value of a named local operator on every site that has it, shape (sites,).

    Parameters
    ----------
    name
        Operator name: "Z", "N", "X", ... or one of a user's own.
    species
        Restrict to one kind of site: "spin", "boson" or the label of a local space.

    Raises
    ------
    InputError
        If no site of that species has the operator.

    Examples
    --------
    >>> from mpo_transport.models import persistent_current
    >>> profile(persistent_current(3, 2.0, 1.0), "Z").operators
    (Z(0), Z(1), Z(2))
    """
    sites = _sites_with(model.lattice, name, species)
    return linear(
        f"profile_{name}" + (f"_{species}" if species else ""),
        model.lattice,
        [op(name, s) for s in sites],
        labels=sites,
        dimension="site",
        description=f"<{name}>",
    )


def _sites_with(lattice: Lattice, name: str, species: str | None = None) -> tuple[int, ...]:
    spaces = lattice.spaces
    _check_name(name)
    chosen = [j for j, s in enumerate(spaces) if species is None or species in (s.kind, s.label)]
    if not chosen:
        known = {s.kind for s in spaces} | {s.label for s in spaces}
        raise InputError(
            f"Argument `species`: no site is of the species {species!r}; {did_you_mean(str(species), known)}",
            field="species",
        )
    sites = tuple(j for j in chosen if spaces[j].has(name))
    if not sites:
        known = {n for j in chosen for n in (spaces[j].operators if spaces[j].is_bounded else ("A", "N", "Q", "P"))}
        raise InputError(
            f"Argument `name`: no site has an operator {name!r}; {did_you_mean(name, known)}", field="name"
        )
    return sites


@register_observable
def correlation(
    model: Lindbladian,
    a: str,
    b: str,
    sites: Sequence[int] | None = None,
    connected: bool = False,
    pairs: Iterable[tuple[int, int]] | None = None,
) -> Observable | StateFunction:
    """Return two-point functions <a_i b_j>, or with ``connected=True`` <a_i b_j> - <a_i><b_j>.

    Parameters
    ----------
    a, b
        Operator names.  On one site the product is taken in this order.
    sites
        Sites i and j run over; None means every site that has both operators.  The values are a matrix (i, j).
    connected
        Subtract the product of the one-point functions.
    pairs
        Give only these pairs (i, j) instead of a matrix: the values have shape (pairs,).

    Raises
    ------
    InputError
        For a site outside the lattice or an operator that its space does not have.

    Examples
    --------
    >>> from mpo_transport.models import persistent_current
    >>> chain = persistent_current(5, 2.0, 1.0, periodic=False)
    >>> correlation(chain, "Z", "Z", pairs=[(0, 4)]).operators
    (Z(0) Z(4),)
    """
    lattice = model.lattice
    for name in (a, b):
        _check_name(name)
    matrix = pairs is None
    if pairs is not None:
        if sites is not None:
            raise InputError("Arguments `sites` and `pairs` exclude each other.", field="pairs")
        chosen = checked_pairs(pairs)
        for name, pair_sites in ((a, [i for i, _ in chosen]), (b, [j for _, j in chosen])):
            _require(lattice, name, pair_sites, "pairs")
        shape: tuple[int, ...] | None = None
    else:
        rows = _sites_with(lattice, a) if sites is None else tuple(sites)
        columns = _sites_with(lattice, b) if sites is None else rows
        _require(lattice, a, rows, "sites")
        _require(lattice, b, columns, "sites")
        chosen = [(i, j) for i in rows for j in columns]
        shape = (len(rows), len(columns))
    operators = [simplify(lattice, op(a, i) * op(b, i)) if i == j else op(a, i) * op(b, j) for i, j in chosen]
    plain = linear(
        f"correlation_{a}_{b}",
        lattice,
        operators,
        labels=chosen,
        dimension="site site_2" if matrix else "pair",
        description=f"<{a} {b}>",
        shape=shape,
    )
    if not connected:
        return plain
    return _connected(plain, lattice, a, b, chosen)


def _connected(plain: Observable, lattice: Lattice, a: str, b: str, pairs: list[tuple[int, int]]) -> StateFunction:
    firsts, seconds = sorted({i for i, _ in pairs}), sorted({j for _, j in pairs})
    one_a = linear("a", lattice, [op(a, i) for i in firsts], dimension="site")
    one_b = linear("b", lattice, [op(b, j) for j in seconds], dimension="site")
    at_a = [firsts.index(i) for i, _ in pairs]
    at_b = [seconds.index(j) for _, j in pairs]

    def value(state: State) -> np.ndarray:
        both = np.asarray(plain.evaluate(state))
        product = np.asarray(one_a.evaluate(state))[at_a] * np.asarray(one_b.evaluate(state))[at_b]
        return both - product.reshape(both.shape)

    return StateFunction(
        f"connected_correlation_{a}_{b}",
        value,
        {"a": a, "b": b},
        description=f"<{a} {b}> - <{a}><{b}>",
        dimension=plain.dimension,
        norm=2 * plain.norm,
        labels=plain.labels,
    )


def checked_pairs(pairs: Any) -> list[tuple[int, int]]:
    """Return the argument ``pairs`` as a list with at least one pair."""
    try:
        chosen = [(i, j) for i, j in pairs]
    except (TypeError, ValueError):
        raise InputError(f"Argument `pairs` must be a list of pairs (i, j), but is {pairs!r}.", field="pairs") from None
    if not chosen:
        raise InputError("Argument `pairs` must hold at least one pair of sites.", field="pairs")
    return chosen


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise InputError(f"Argument `name` must be the name of an operator, but is {name!r}.", field="name")


def _require(lattice: Lattice, name: str, sites: Sequence[int], field: str) -> None:
    check_sites(lattice, tuple(dict.fromkeys(sites)))
    for s in sites:
        space = lattice.spaces[s]
        if not space.has(name):
            known = space.operators if space.is_bounded else ("A", "Adag", "N", "Q", "P")
            raise InputError(
                f"Argument `{field}`: site {s} ({space.label}) has no operator {name!r}; {did_you_mean(name, known)}",
                field=field,
            )


def variance(operator: OpSum, lattice: Lattice | None = None) -> StateFunction:
    """Return the variance <O^dag O> - |<O>|^2 of an operator, for Hermitian O <O^2> - <O>^2.

    ``lattice`` is optional; with it the square is simplified and ``norm`` is known.

    Examples
    --------
    >>> variance(op("Z", 0) + op("Z", 1)).name
    'variance'
    """
    if not isinstance(operator, OpSum):
        raise InputError(
            f"Argument `operator` must be an OpSum built with op(...), but is {type(operator).__name__}.",
            field="operator",
        )
    square = operator.dag * operator
    norm = sum(abs(c) for _, c in operator) ** 2
    if lattice is not None:
        square = simplify(lattice, square)
        norm = operator_norm(lattice, operator) ** 2
    both = Observable("moments", (operator, square), (0, 1), "moment")

    def value(state: State) -> float:
        first, second = both.evaluate(state)
        return float(np.real(second) - abs(first) ** 2)

    arguments: dict[str, Any] = {"operator": repr(operator)}
    return StateFunction("variance", value, arguments, description="variance", norm=norm or 1.0)
