"""From the symbolic Lindbladian to sums of local superoperators.

Everything numerical is made from two lists: :func:`product_terms`, rho -> c A rho B with product operators A and B, and
:func:`local_generators`, the same summed into one real matrix per set of sites in the Hermitian basis.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import NotSupportedError
from ..model import Lindbladian
from ..operators import Factor, LocalSpace, OpSum
from .basis import superoperator_factor

__all__ = ["ProductTerm", "local_generators", "pair_generators", "product_matrices", "product_terms", "relative_term"]

Key = tuple[Factor, ...]
Sites = tuple[int, ...]
# The generators of the last model, if they are small: preparation, checks and choice all ask for them.
_SMALL = 2**24  # bytes
_latest: list[tuple[weakref.ref[Lindbladian], dict[Sites, np.ndarray]]] = []
_latest_terms: list[tuple[weakref.ref[Lindbladian], list[ProductTerm]]] = []
_FEW = 100_000  # terms


@dataclass(frozen=True)
class ProductTerm:
    """The map rho -> coefficient * left rho right, with left and right symbolic products of local operators."""

    coefficient: complex
    left: Key
    right: Key

    @cached_property
    def sites(self) -> Sites:
        """Sorted sites touched from either side."""
        return tuple(sorted({s for _, s in self.left} | {s for _, s in self.right}))

    @cached_property
    def relative(self) -> tuple[complex, Any, Any]:
        """The coefficient and both products with the places of their factors among ``sites`` instead of their sites."""
        return _relative(self, self.sites)


def product_terms(model: Lindbladian) -> list[ProductTerm]:
    """Return the Lindbladian as a list of maps rho -> c A rho B.

    -i[H, rho] gives (-i c, P, 1) and (i c, 1, P) for every product of H; a jump sum_a c_a P_a of rate r gives
    (r c_a c_b^*, P_a, P_b^dag) and the two halves of -r/2 {L^dag L, rho}, for all pairs a, b.
    """
    if _latest_terms and _latest_terms[0][0]() is model:
        return list(_latest_terms[0][1])
    out: list[ProductTerm] = []
    known: dict[Any, list[ProductTerm]] = {}  # terms of equal operators on other sites
    for key, c in model.hamiltonian:
        if key:
            _place(out, OpSum({key: c}), None, known)
    for jump in model.jumps:
        if jump.rate != 0:
            _place(out, jump.operator, jump.rate, known)
    _latest_terms[:] = [(weakref.ref(model), out)] if len(out) <= _FEW else []
    return list(out)


def _place(out: list[ProductTerm], operator: OpSum, rate: float | None, known: dict[Any, list[ProductTerm]]) -> None:
    """Append the terms of a part of H (no rate) or of a jump; of equal operators only the first is multiplied out."""
    sites = sorted({s for key, _ in operator for _, s in key})
    place = {s: k for k, s in enumerate(sites)}
    form = rate, tuple([(tuple([(name, place[s]) for name, s in key]), c) for key, c in operator])
    if form not in known:
        pattern = operator.shifted(place.__getitem__)
        known[form] = _energy_terms(pattern) if rate is None else _jump_terms(pattern, rate)
    for term in known[form]:
        left = tuple([(name, sites[k]) for name, k in term.left])
        right = tuple([(name, sites[k]) for name, k in term.right])
        placed = ProductTerm(term.coefficient, left, right)
        # what does not depend on the place, or follows from it, is not looked for again
        vars(placed).update(sites=tuple([sites[k] for k in term.sites]), relative=term.relative)
        out.append(placed)


def _energy_terms(part: OpSum) -> list[ProductTerm]:
    return [term for key, c in part for term in (ProductTerm(-1j * c, key, ()), ProductTerm(1j * c, (), key))]


def _jump_terms(operator: OpSum, rate: float) -> list[ProductTerm]:
    out: list[ProductTerm] = []
    pieces = [(OpSum({k: 1.0}), c) for k, c in operator]
    adjoints = [_only(p.dag) for p, _ in pieces]
    for pa, ca in pieces:
        for b, (_, cb) in enumerate(pieces):
            weight = rate * ca * np.conj(cb)
            left = _only(pa)
            out.append(ProductTerm(weight, left, adjoints[b]))
            inner = tuple(sorted(adjoints[b] + left, key=lambda f: f[1]))  # P_b^dag P_a
            out += [ProductTerm(-weight / 2, inner, ()), ProductTerm(-weight / 2, (), inner)]
    return out


def _only(operator: OpSum) -> Key:
    return next(iter(operator))[0]


def product_matrices(spaces: tuple[LocalSpace, ...], key: Key) -> dict[int, np.ndarray]:
    """Return {site: (d, d) matrix} of a symbolic product; factors on one site are multiplied in order."""
    out: dict[int, np.ndarray] = {}
    for name, site in key:
        matrix = spaces[site].matrix(name)
        out[site] = out[site] @ matrix if site in out else matrix
    return out


def local_generators(model: Lindbladian) -> dict[Sites, np.ndarray]:
    """Return the Lindbladian as real local generators in the Hermitian basis.

    The result maps sorted sites (i, j, ...) to a matrix of shape (prod d^2, prod d^2), first site slowest; the
    Lindbladian is the sum of all of them.  Each entry by itself annihilates the trace from the left.  A jump that is a
    sum of products contributes one entry per pair of products.  Equal terms share one read-only array.

    Raises
    ------
    NotSupportedError
        If a site is unbounded (a bosonic mode without a number of levels).
    """
    require_bounded(model)
    if _latest and _latest[0][0]() is model:
        return dict(_latest[0][1])
    spaces = model.lattice.spaces
    cache: dict[tuple[str, Key, Key], np.ndarray] = {}
    grouped: dict[Sites, list[ProductTerm]] = defaultdict(list)
    for term in product_terms(model):
        if term.sites:
            grouped[term.sites].append(term)
    alike: dict[Any, np.ndarray] = {}  # equal terms, which share their form, on equal spaces are summed once
    out = {}
    for sites, terms in sorted(grouped.items()):
        key = tuple([id(spaces[s]) for s in sites]), tuple([id(term.relative) for term in terms])
        if key not in alike:
            alike[key] = _assemble(spaces, sites, terms, cache)
            alike[key].setflags(write=False)
        out[sites] = alike[key]
    if sum(g.nbytes for g in alike.values()) <= _SMALL:
        _latest[:] = [(weakref.ref(model), out)]
    return dict(out)


def relative_term(term: ProductTerm, sites: Sequence[int]) -> tuple[complex, Any, Any]:
    """Return a term with the places of its factors among ``sites`` instead of their sites."""
    if sites == term.sites:
        return term.relative
    return _relative(term, sites)


def _relative(term: ProductTerm, sites: Sequence[int]) -> tuple[complex, Any, Any]:
    place = {s: k for k, s in enumerate(sites)}
    left, right = (tuple([(name, place[s]) for name, s in part]) for part in (term.left, term.right))
    return term.coefficient, left, right


def _assemble(
    spaces: tuple[LocalSpace, ...],
    sites: Sites,
    terms: list[ProductTerm],
    cache: dict[tuple[str, Key, Key], np.ndarray],
) -> np.ndarray:
    total: np.ndarray | float = 0.0
    for term in terms:
        matrix = np.array([[term.coefficient]])
        for site in sites:  # Kronecker products; np.kron takes longer than most of these products
            factor = _site_factor(spaces[site], site, term, cache)
            size = len(matrix) * len(factor)
            matrix = (matrix[:, None, :, None] * factor[:, None, :]).reshape(size, size)
        total = total + matrix
    return np.ascontiguousarray(np.real(total))


def _site_factor(
    space: LocalSpace, site: int, term: ProductTerm, cache: dict[tuple[str, Key, Key], np.ndarray]
) -> np.ndarray:
    left = tuple((n, 0) for n, s in term.left if s == site)
    right = tuple((n, 0) for n, s in term.right if s == site)
    key = (f"{space.label}:{id(space)}", left, right)
    if key not in cache:
        one = np.eye(int(space.dim))
        a = product_matrices((space,), left).get(0, one)
        b = product_matrices((space,), right).get(0, one)
        cache[key] = superoperator_factor(a, b)
    return cache[key]


def pair_generators(generators: Mapping[Sites, np.ndarray], dims: tuple[int, ...]) -> dict[Sites, np.ndarray]:
    """Return the generators with every one-site entry shared equally among the larger entries that contain its site.

    A one-site entry that no larger entry contains stays as it is; equal results of shared arrays are shared.
    """
    out: dict[Sites, np.ndarray] = {s: g for s, g in generators.items() if len(s) > 1}
    shares: dict[Sites, list[tuple[Sites, int]]] = {host: [] for host in out}
    for sites in generators:
        hosts = [host for host in shares if sites[0] in host] if len(sites) == 1 else []
        for host in hosts:
            shares[host].append((sites, len(hosts)))
        if not hosts:
            out[sites] = generators[sites]
    alike: dict[Any, np.ndarray] = {}
    for host, parts in shares.items():
        own = tuple((host.index(s[0]), id(generators[s]), n) for s, n in parts)
        key = id(generators[host]), own, tuple(dims[s] for s in host)
        if key not in alike:
            total = out[host]
            for sites, n in parts:
                total = total + embed(generators[sites] / n, sites, host, dims)
            alike[key] = total
        out[host] = alike[key]
    return dict(sorted(out.items()))


def embed(generator: np.ndarray, sites: Sites, target: Sites, dims: tuple[int, ...]) -> np.ndarray:
    """Return a generator on ``sites`` extended by identities to the sites ``target`` (both sorted)."""
    shape = [dims[s] ** 2 for s in target]
    rest = [s for s in target if s not in sites]
    full = np.kron(generator, np.eye(int(np.prod([dims[s] ** 2 for s in rest], dtype=int))))
    order = list(sites) + rest
    axes = [order.index(s) for s in target]
    legs = [dims[s] ** 2 for s in order]
    n = len(target)
    tensor = full.reshape(legs + legs).transpose(axes + [n + a for a in axes])
    size = int(np.prod(shape))
    return np.ascontiguousarray(tensor.reshape(size, size))


def require_bounded(model: Lindbladian) -> None:
    """Raise if a site of the model has no finite dimension."""
    for j, space in enumerate(model.lattice.spaces):
        if not space.is_bounded:
            raise NotSupportedError(
                f"Site {j} is an unbounded mode, which has no matrices; give `levels` a number (for example levels=4).",
                field="levels",
            )
