"""Uniqueness of a steady state without searching the operator space.

If a stationary state is positive definite, the stationary operators are as many as the operators that commute with H,
all L_k and all L_k^dag [A. Frigerio, Commun. Math. Phys. 63, 269 (1978); D. E. Evans, ibid. 54, 293 (1977)].  So the
steady state is unique if it is positive definite and these operators generate everything.

:func:`generates_everything` proves the second half locally.  From jump operators and their commutators with H it looks
for a small region on which they generate all matrices; sites won in this way are divided out of the other operators (a
full matrix algebra on one factor can select every matrix element with respect to it), and so on until the whole lattice
is covered.  A "no" proves nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.linalg
from scipy.sparse.csgraph import connected_components

from ..lattice import Lattice
from ..model import Lindbladian
from ..symmetry import support_matrices

__all__ = ["generates_everything", "is_positive_definite"]

Sites = tuple[int, ...]
Operator = tuple[Sites, np.ndarray]
_LARGEST_REGION = 64
_MOST_REGIONS = 200
_DEPTH = 3
_RESOLVED = 1e-7  # far above rounding, so that a yes can be trusted
_ZERO = 1e-12


def is_positive_definite(rho: np.ndarray, margin: float, labels: np.ndarray | None = None) -> bool:
    """Return whether rho - margin is positive definite, by Cholesky factorisation of its diagonal blocks.

    Parameters
    ----------
    rho
        Hermitian, (D, D).
    margin
        Bound on the error of rho in the operator norm, so that the exact matrix is positive definite as well.
    labels
        One integer per basis state, (D,); rho must vanish between different labels.  None: one block.
    """
    groups = [np.arange(len(rho))] if labels is None else [np.flatnonzero(labels == v) for v in np.unique(labels)]
    for members in groups:
        block = rho if len(members) == len(rho) else rho[np.ix_(members, members)]
        block = block - margin * np.eye(len(block))
        try:
            scipy.linalg.cholesky(block, lower=True, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            return False
    return True


def generates_everything(model: Lindbladian) -> bool:
    """Return True if H, the jumps and their adjoints are shown to generate all operators; False if that was not shown.

    Examples
    --------
    >>> from mpo_transport.models import persistent_current
    >>> generates_everything(persistent_current(6, 2.0, 1.5))
    True
    >>> generates_everything(persistent_current(6, 2.0, 2.0, mu=0.0))
    False
    """
    lattice = model.lattice
    hamiltonian = [part for part in support_matrices(lattice, model.hamiltonian).items() if part[0]]
    solved: set[int] = set()
    operators = _first_operators(model, hamiltonian)
    while len(solved) < lattice.L:
        before = len(solved)
        for site in sorted(solved):
            operators += _differences(_touching(lattice, hamiltonian, (site,)), site, lattice)
        operators = _distinct(piece for o in operators for piece in _divided(o, solved, lattice))
        for region in _regions([o[0] for o in operators], lattice):
            if set(region) <= solved:
                continue
            inside = [_extended(o, region, lattice) for o in operators if set(o[0]) <= set(region)]
            if _is_irreducible(inside):
                solved |= set(region)
                break
        if len(solved) == before:
            return False
    return True


def _first_operators(model: Lindbladian, hamiltonian: Sequence[Operator]) -> list[Operator]:
    """Return jumps and adjoints of limited support, and their repeated commutators with H."""
    lattice = model.lattice
    level: list[Operator] = []
    for jump in model.jumps:
        parts = support_matrices(lattice, jump.operator) if jump.rate > 0 else {}
        sites = tuple(sorted({s for support in parts for s in support}))
        if not sites or _dimension(lattice, sites) > _LARGEST_REGION:
            continue
        matrix = _summed(parts.items(), sites, lattice)
        level += [(sites, matrix), (sites, matrix.conj().T)]
    level = _distinct(level)
    found = list(level)
    for _ in range(_DEPTH):
        level = [c for o in level for c in _commutator(lattice, hamiltonian, o)]
        found = _distinct([*found, *level])
    if lattice.L and _dimension(lattice, range(lattice.L)) <= _LARGEST_REGION:
        found.append(_touching(lattice, hamiltonian, tuple(range(lattice.L))))
    return _distinct(found)


def _dimension(lattice: Lattice, sites: Iterable[int]) -> float:
    return math.prod(lattice.dims[s] for s in sites)


def _extended(operator: Operator, region: Sites, lattice: Lattice) -> np.ndarray:
    """Return the operator on a larger region (ascending sites)."""
    sites, matrix = operator
    rest = [s for s in region if s not in sites]
    full = np.kron(matrix, np.eye(int(_dimension(lattice, rest))))
    order = [*sites, *rest]
    legs = [int(lattice.dims[s]) for s in order]
    axes = [order.index(s) for s in region]
    n = len(region)
    return full.reshape(legs + legs).transpose(axes + [n + a for a in axes]).reshape(full.shape)


def _summed(operators: Iterable[Operator], region: Sites, lattice: Lattice) -> np.ndarray:
    total = np.zeros((int(_dimension(lattice, region)),) * 2, dtype=complex)
    for operator in operators:
        total += _extended(operator, region, lattice)
    return total


def _touching(lattice: Lattice, hamiltonian: Sequence[Operator], sites: Sites) -> Operator:
    """Return the sum of the terms of H that act on any of the sites; on no sites at all if its support is too large."""
    terms = [h for h in hamiltonian if set(h[0]) & set(sites)]
    support = tuple(sorted({s for h in terms for s in h[0]} | set(sites)))
    if not terms or _dimension(lattice, support) > _LARGEST_REGION:
        return (), np.zeros((1, 1))
    return support, _summed(terms, support, lattice)


def _commutator(lattice: Lattice, hamiltonian: Sequence[Operator], operator: Operator) -> list[Operator]:
    local, h = _touching(lattice, hamiltonian, operator[0])
    if not local:
        return []
    a = _extended(operator, local, lattice)
    return [_trimmed((local, h @ a - a @ h), lattice)]


def _trimmed(operator: Operator, lattice: Lattice) -> Operator:
    """Drop sites on which the operator is the identity."""
    sites, matrix = operator
    for s in sites:
        pieces = _elements((sites, matrix), s, lattice)
        d = int(lattice.dims[s])
        mean = np.mean([pieces[a * d + a][1] for a in range(d)], axis=0)
        rest = tuple(x for x in sites if x != s)
        if np.abs(_extended((rest, mean), sites, lattice) - matrix).max() <= _ZERO * max(
            float(np.abs(matrix).max()), 1e-300
        ):
            return _trimmed((rest, mean), lattice)
    return sites, matrix


def _elements(operator: Operator, site: int, lattice: Lattice) -> list[Operator]:
    """Return the matrix elements <a|O|b> with respect to one site, in the order (a, b)."""
    sites, matrix = operator
    k, n = sites.index(site), len(sites)
    legs = [int(lattice.dims[s]) for s in sites]
    tensor = np.moveaxis(matrix.reshape(legs + legs), (k, n + k), (0, 1))
    size = int(_dimension(lattice, sites)) // legs[k]
    rest = tuple(s for s in sites if s != site)
    return [(rest, tensor[a, b].reshape(size, size)) for a in range(legs[k]) for b in range(legs[k])]


def _divided(operator: Operator, solved: set[int], lattice: Lattice) -> list[Operator]:
    """Return the matrix elements of an operator with respect to the solved sites."""
    pieces = [operator]
    for s in [x for x in operator[0] if x in solved]:
        pieces = [element for piece in pieces for element in _elements(piece, s, lattice) if np.any(element[1])]
    return [p for p in pieces if p[0]]


def _differences(operator: Operator, site: int, lattice: Lattice) -> list[Operator]:
    """Return what M(site) selects from H, given the sum of the terms of H that act on a site.

    The other terms contribute equally to all diagonal elements, so only differences of those are known.
    """
    if not operator[0]:
        return []
    d = int(lattice.dims[site])
    elements = _elements(operator, site, lattice)
    off = [elements[a * d + b] for a in range(d) for b in range(d) if a != b]
    steps = [(elements[0][0], elements[a * d + a][1] - elements[0][1]) for a in range(1, d)]
    return [e for e in off + steps if e[0]]


def _distinct(operators: Iterable[Operator]) -> list[Operator]:
    """Return linearly independent traceless normalised operators, support by support."""
    bases: dict[Sites, list[np.ndarray]] = {}
    for sites, matrix in operators:
        if not sites:
            continue
        v = (matrix - np.trace(matrix) / len(matrix) * np.eye(len(matrix))).astype(complex).ravel()
        size = float(np.linalg.norm(v))
        if size <= _ZERO * max(float(np.linalg.norm(matrix)), 1.0):
            continue
        v = v / size
        known = bases.setdefault(sites, [])
        for _ in range(2):
            for u in known:
                v = v - np.vdot(u, v) * u
        left = float(np.linalg.norm(v))
        if left > 1e-6:
            known.append(v / left)
    return [(s, v.reshape(math.isqrt(len(v)), -1)) for s, vs in bases.items() for v in vs]


def _regions(supports: Sequence[Sites], lattice: Lattice) -> list[Sites]:
    """Return unions of up to three overlapping supports that are small enough, smallest first, 200 at most."""
    single = sorted({s for s in supports if _dimension(lattice, s) <= _LARGEST_REGION}, key=lambda s: (len(s), s))
    out = dict.fromkeys(single)
    layer = list(single)
    for _ in range(2):
        unions = (tuple(sorted({*a, *b})) for a in layer for b in single if set(a) & set(b))
        new = dict.fromkeys(u for u in unions if u not in out and _dimension(lattice, u) <= _LARGEST_REGION)
        layer = list(itertools.islice(new, _MOST_REGIONS))
        out |= dict.fromkeys(layer)
    return sorted(out, key=lambda r: (_dimension(lattice, r), r))[:_MOST_REGIONS]


def _is_irreducible(matrices: Sequence[np.ndarray]) -> bool:
    """Return True if only multiples of the identity commute with all matrices and their adjoints.

    What commutes with one element h without degeneracies is diagonal in its eigenbasis; matrix elements of the others
    join the diagonal entries that must be equal.  h is a random word in the matrices.
    """
    if not matrices:
        return False
    d = len(matrices[0])
    rng = np.random.default_rng(d)
    word = np.eye(d, dtype=complex)
    for _ in range(3):
        letter = sum(rng.standard_normal() * m + rng.standard_normal() * m.conj().T for m in matrices)
        word = word @ (letter + np.eye(d) * np.abs(letter).max())
    values, vectors = np.linalg.eigh(word + word.conj().T)
    if np.diff(values).min(initial=np.inf) <= _RESOLVED * np.abs(values).max():
        return False
    joined = np.zeros((d, d))
    for m in matrices:
        moved = np.abs(vectors.conj().T @ m @ vectors)
        joined += np.where(moved > _RESOLVED * moved.max(), moved, 0.0)
    return connected_components(joined, directed=False)[0] == 1
