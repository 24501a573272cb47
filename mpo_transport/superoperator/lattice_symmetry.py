"""Permutations of the sites that leave a Lindbladian invariant, found from its text.

A sum of local generators can be written in many ways (a one-site term may hide in either of two bonds).  Splitting
every generator into irreducible parts, which vanish when traced over any of their sites, makes the decomposition
unique: a permutation is a symmetry if and only if it maps the parts onto each other.  No assumption is made about how
jump operators are grouped or phased.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..lattice import Chain, Lattice
from ..model import Lindbladian
from .terms import local_generators

__all__ = ["irreducible_parts", "lattice_symmetries"]

Sites = tuple[int, ...]
_TOLERANCE = 1e-12
_LARGEST_GROUP = 512
_SEARCH_STEPS = 20000


def lattice_symmetries(
    model: Lindbladian,
    *,
    generators: Mapping[Sites, np.ndarray] | None = None,
    candidates: Iterable[Sequence[int]] | None = None,
    tolerance: float = _TOLERANCE,
) -> np.ndarray:
    """Return a group of site permutations that commute with the Lindbladian, shape (order, L), identity first.

    Element g maps the operators of site j to site ``g[j]``.  On a chain or ring all translations and reflections are
    tried, on a graph a backtracking search looks for automorphisms (at most 512 elements are kept; a subgroup if
    there are more).  Reflections combined with complex conjugation are antiunitary and not included.

    Parameters
    ----------
    generators
        The local generators, if they are at hand already.
    candidates
        Try only these permutations; those that pass generate the group.
    tolerance
        Largest deviation of a matrix element, relative to the largest element of all parts.

    Examples
    --------
    >>> from mpo_transport.models import persistent_current
    >>> len(lattice_symmetries(persistent_current(5, 2.0, 1.5)))
    10
    >>> lattice_symmetries(persistent_current(3, 2.0, 1.5, gamma=1.0, periodic=False)).tolist()
    [[0, 1, 2]]
    """
    lattice = model.lattice
    parts = irreducible_parts(local_generators(model) if generators is None else generators, _dims(lattice))
    colours = _Colours(parts, _dims(lattice), tolerance)
    if candidates is not None:
        return _closure(filter(colours.is_invariant, map(tuple, candidates)), lattice.L)
    if isinstance(lattice, Chain):
        return _array(_closure_of_group(g for g in _dihedral(lattice) if colours.is_invariant(g)), lattice.L)
    return _automorphisms(colours, lattice.L)


def irreducible_parts(generators: Mapping[Sites, np.ndarray], dims: Sequence[int]) -> dict[Sites, np.ndarray]:
    """Return the same sum of generators as parts {sites: tensor} whose partial trace over every site is zero.

    The tensors have shape (d_1^2, ..., d_n^2, d_1^2, ..., d_n^2); the multiple of the identity is the entry ``()``.
    """
    total: dict[Sites, np.ndarray] = {}
    for sites, g in generators.items():
        legs = [dims[s] ** 2 for s in sites]
        pieces = [(tuple(sites), np.asarray(g).reshape(legs + legs))]
        for site in sites:
            pieces = [piece for whole in pieces for piece in _split(*whole, site)]
        for where, tensor in pieces:
            total[where] = total[where] + tensor if where in total else tensor
    return total


def _split(sites: Sites, tensor: np.ndarray, site: int) -> list[tuple[Sites, np.ndarray]]:
    """Split off the mean over one site: T = mean (x) 1 + rest."""
    n, k = len(sites), sites.index(site)
    leg = tensor.shape[k]
    mean = np.trace(tensor, axis1=k, axis2=n + k) / leg
    identity = np.expand_dims(mean, (k, n + k)) * np.eye(leg).reshape(
        [leg if a in (k, n + k) else 1 for a in range(2 * n)]
    )
    return [(sites[:k] + sites[k + 1 :], mean), (sites, tensor - identity)]


class _Colours:
    """The parts of a generator, with equal one- and two-site parts given equal numbers."""

    def __init__(self, parts: Mapping[Sites, np.ndarray], dims: Sequence[int], tolerance: float) -> None:
        L = len(dims)
        self.threshold = tolerance * max((float(np.abs(p).max()) for s, p in parts.items() if s), default=0.0)
        self.dims = np.asarray(dims)
        self.classes: list[np.ndarray] = []
        self.pairs = np.zeros((L, L), dtype=int)
        self.many: dict[Sites, np.ndarray] = {}
        for sites, part in parts.items():
            if not sites or float(np.abs(part).max()) <= self.threshold:
                continue
            if len(sites) == 1:
                self.pairs[sites[0], sites[0]] = self._number(part)
            elif len(sites) == 2:
                self.pairs[sites] = self._number(part)
                self.pairs[sites[::-1]] = self._number(part.transpose(1, 0, 3, 2))
            else:
                self.many[sites] = part

    def _number(self, part: np.ndarray) -> int:
        for k, known in enumerate(self.classes):
            if known.shape == part.shape and float(np.abs(known - part).max()) <= self.threshold:
                return k + 1
        self.classes.append(part)
        return len(self.classes)

    def is_invariant(self, g: Sequence[int]) -> bool:
        index = np.asarray(g)
        if not np.array_equal(self.dims[index], self.dims):
            return False
        if not np.array_equal(self.pairs[np.ix_(index, index)], self.pairs):
            return False
        return all(self._same(sites, part, g) for sites, part in self.many.items())

    def _same(self, sites: Sites, part: np.ndarray, g: Sequence[int]) -> bool:
        images = [g[s] for s in sites]
        other = self.many.get(tuple(sorted(images)))
        if other is None:
            return False
        axes = [sorted(images).index(s) for s in images]
        moved = other.transpose(axes + [len(sites) + a for a in axes])
        return moved.shape == part.shape and float(np.abs(moved - part).max()) <= self.threshold


def _dims(lattice: Lattice) -> tuple[int, ...]:
    return tuple(int(d) for d in lattice.dims)


def _dihedral(lattice: Chain) -> Iterator[Sites]:
    L = lattice.L
    if not lattice.periodic:
        yield tuple(range(L))
        yield tuple(reversed(range(L)))
        return
    for sign in (1, -1):
        for shift in range(L):
            yield tuple((sign * j + shift) % L for j in range(L))


def _closure_of_group(elements: Iterable[Sites]) -> list[Sites]:
    """The invariant members of a group form a group already; drop repetitions."""
    return list(dict.fromkeys(elements))


def _array(elements: list[Sites], L: int) -> np.ndarray:
    identity = tuple(range(L))
    return np.array([identity, *sorted(e for e in elements if e != identity)], dtype=np.int64).reshape(-1, L)


def _closure(found: Iterable[Sites], L: int, limit: int = _LARGEST_GROUP) -> np.ndarray:
    """Return the largest group within the limit that is generated by elements taken in turn."""
    group = [tuple(range(L))]
    for g in found:
        if g in group:
            continue
        larger = _generated([*group, g], limit)
        group = group if larger is None else larger
    return _array(group, L)


def _generated(seed: list[Sites], limit: int) -> list[Sites] | None:
    known = dict.fromkeys(seed)
    queue = list(seed)
    while queue:
        a = queue.pop()
        for b in seed:
            product = tuple(a[s] for s in b)
            if product not in known:
                known[product] = None
                queue.append(product)
                if len(known) > limit:
                    return None
    return list(known)


def _automorphisms(colours: _Colours, L: int) -> np.ndarray:
    """Collect automorphisms by depth-first search, pruned by the colours of sites and pairs already placed."""
    found: list[Sites] = []
    steps = 0

    def extend(images: list[int]) -> bool:
        nonlocal steps
        steps += 1
        if steps > _SEARCH_STEPS or len(found) > _LARGEST_GROUP:
            return False
        i = len(images)
        if i == L:
            if colours.is_invariant(images):
                found.append(tuple(images))
            return True
        placed = np.array([*images, -1])
        for v in range(L):
            if v in images or colours.dims[v] != colours.dims[i]:
                continue
            placed[-1] = v
            rows = np.array_equal(colours.pairs[v, placed], colours.pairs[i, : i + 1])
            if (
                rows
                and np.array_equal(colours.pairs[placed, v], colours.pairs[: i + 1, i])
                and not extend([*images, v])
            ):
                return False
        return True

    if extend([]) and len(found) <= _LARGEST_GROUP:
        return _array(found, L)
    return _closure(found[:64], L)
