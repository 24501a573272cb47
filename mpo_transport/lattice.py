"""Lattices: sites in matrix-product order, their local spaces and their bonds.

Sites count from 0.  The bonds of a chain are (j, j+1); a ring adds (L-1, 0) as the *last* bond; a graph lists its
edges in the order given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .errors import InputError
from .operators import LocalSpace

__all__ = ["Chain", "Graph", "Lattice"]

Bond = tuple[int, int]
_MOST_SITES = 1_000_000  # rings of quadratic modes reach that far; writing out the terms of more takes minutes


class Lattice:
    """Common face of :class:`Chain` and :class:`Graph`: ``L``, ``spaces``, ``dims``, ``bonds``, ``neighbours(j)``."""

    spaces: tuple[LocalSpace, ...]
    bonds: tuple[Bond, ...]
    periodic: bool = False

    @property
    def L(self) -> int:
        """Number of sites."""
        return len(self.spaces)

    @property
    def dims(self) -> tuple[float, ...]:
        """Local dimensions, one per site."""
        return tuple(s.dim for s in self.spaces)

    @property
    def is_bounded(self) -> bool:
        """Whether every site has a finite dimension."""
        return all(s.is_bounded for s in self.spaces)

    def neighbours(self, site: int) -> tuple[int, ...]:
        """Return the sites that share a bond with ``site``, ascending."""
        return tuple(sorted({b if a == site else a for a, b in self.bonds if site in (a, b)}))

    def pairs(self, distance: int = 1) -> tuple[Bond, ...]:
        """Return the pairs of sites ``distance`` apart, in the order of the bonds.

        On a chain these are (j, j + distance), on a ring (j, (j + distance) mod L) for every j; a graph knows only
        ``distance=1``, its edges.
        """
        if distance == 1:
            return self.bonds
        raise InputError("Argument `distance` must be 1 on a graph, whose pairs are its edges.", field="distance")


def _spaces(space: LocalSpace | Sequence[LocalSpace], L: int) -> tuple[LocalSpace, ...]:
    if L > _MOST_SITES:
        raise InputError(f"Argument `L` must be at most {_MOST_SITES}, but is {L:.6g}.", field="L")
    if isinstance(space, LocalSpace):
        return (space,) * L
    spaces = tuple(space) if isinstance(space, Sequence) else ()
    if len(spaces) != L or not all(isinstance(s, LocalSpace) for s in spaces):
        raise InputError(f"Argument `space` must be one LocalSpace or a list of {L} of them.", field="space")
    return spaces


@dataclass(frozen=True, init=False)
class Chain(Lattice):
    """An open chain or, with ``periodic=True``, a ring.

    Parameters
    ----------
    L
        Number of sites, >= 1 (a ring needs >= 3: on two sites its two bonds would coincide).
    space
        One :class:`~mpo_transport.LocalSpace` for all sites, or a list with one per site.
    periodic
        Whether the bond (L-1, 0) exists.

    Examples
    --------
    >>> from mpo_transport import SpinHalf
    >>> Chain(3, SpinHalf(), periodic=True).bonds
    ((0, 1), (1, 2), (2, 0))
    """

    spaces: tuple[LocalSpace, ...]
    periodic: bool

    def __init__(self, L: int, space: LocalSpace | Sequence[LocalSpace], *, periodic: bool = False) -> None:
        if isinstance(L, bool) or not isinstance(L, (int, np.integer)) or L < 1:
            raise InputError(f"Argument `L` must be an integer >= 1, but is {L!r}.", field="L")
        if not isinstance(periodic, (bool, np.bool_)):
            raise InputError(f"Argument `periodic` must be True or False, but is {periodic!r}.", field="periodic")
        if periodic and L < 3:
            raise InputError(
                f"Argument `L` must be at least 3 for a ring, but is {L}: with two sites the bonds (0, 1) and (1, 0) "
                "coincide and their jump operators would add. Use periodic=False.",
                field="L",
            )
        object.__setattr__(self, "spaces", _spaces(space, int(L)))
        object.__setattr__(self, "periodic", bool(periodic))

    @cached_property
    def bonds(self) -> tuple[Bond, ...]:  # type: ignore[override]
        """Nearest-neighbour bonds, left to right; the closing bond of a ring comes last."""
        return self.pairs(1)

    def pairs(self, distance: int = 1) -> tuple[Bond, ...]:
        if isinstance(distance, bool) or not isinstance(distance, (int, np.integer)) or not 1 <= distance < self.L:
            if self.L == 1 and distance == 1:
                return ()
            raise InputError(
                f"Argument `distance` must be an integer from 1 to L-1 = {self.L - 1}, but is {distance!r}.",
                field="distance",
            )
        inner = [(j, j + int(distance)) for j in range(self.L - distance)]
        closing = [(j, (j + int(distance)) % self.L) for j in range(self.L - distance, self.L)] if self.periodic else []
        return tuple(inner + closing)


@dataclass(frozen=True, init=False)
class Graph(Lattice):
    """Sites joined by an arbitrary set of edges; matrix-product order is the order of the sites.

    Parameters
    ----------
    edges
        Pairs ``(i, j)`` in the order in which bonds are to be listed, or a symmetric adjacency matrix, shape (L, L).
    space
        One local space for all sites (then the number of sites follows from the edges), or one per site.

    Examples
    --------
    >>> from mpo_transport import SpinHalf
    >>> star = Graph([(0, 1), (0, 2), (0, 3)], SpinHalf())
    >>> star.L, star.neighbours(0)
    (4, (1, 2, 3))
    """

    spaces: tuple[LocalSpace, ...]
    bonds: tuple[Bond, ...]

    def __init__(
        self, edges: Iterable[Bond] | np.ndarray, space: LocalSpace | Sequence[LocalSpace], *, L: int | None = None
    ) -> None:
        if L is not None and (isinstance(L, bool) or not isinstance(L, (int, np.integer)) or L < 1):
            raise InputError(f"Argument `L` must be an integer >= 1 or None, but is {L!r}.", field="L")
        try:
            array: Any = np.asarray(edges if isinstance(edges, np.ndarray) else list(edges))
        except (TypeError, ValueError):
            raise InputError("Argument `edges` must be pairs (i, j) or an adjacency matrix.", field="edges") from None
        if array.ndim == 2 and array.shape[0] == array.shape[1] and isinstance(edges, np.ndarray):
            if not np.array_equal(array, array.T) or np.any(np.diag(array)):
                raise InputError("An adjacency matrix must be symmetric with a zero diagonal.", field="edges")
            L = array.shape[0] if L is None else L
            pairs = [
                (int(i), int(j)) for i in range(array.shape[0]) for j in range(i + 1, array.shape[0]) if array[i, j]
            ]
        elif array.ndim == 2 and array.shape[1] == 2 and np.issubdtype(array.dtype, np.integer):
            pairs = [(int(i), int(j)) for i, j in array.tolist()]
        elif array.size == 0:
            pairs = []
        else:
            raise InputError("Argument `edges` must be pairs (i, j) or an adjacency matrix.", field="edges")
        count = L if L is not None else 1 + max((max(p) for p in pairs), default=0)
        count = len(space) if isinstance(space, Sequence) else int(count)
        seen = set()
        for i, j in pairs:
            if i == j or not (0 <= i < count and 0 <= j < count):
                raise InputError(f"Edge ({i}, {j}) must join two different sites of 0..{count - 1}.", field="edges")
            if frozenset((i, j)) in seen:
                raise InputError(f"Edge ({i}, {j}) is listed twice; an edge has no direction.", field="edges")
            seen.add(frozenset((i, j)))
        object.__setattr__(self, "spaces", _spaces(space, count))
        object.__setattr__(self, "bonds", tuple(pairs))
