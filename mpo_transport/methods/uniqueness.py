"""Whether a long uniform system probably has several stationary states: what its short relatives say.

For a matrix product there is no search of the operator space: two stationary states of a long chain may differ by
operators that no local expectation value shows.  But degeneracies of chains with a uniform bulk (dark states, hidden
conserved operators) are mostly there at any length, and the relatives of a few sites, with the same ends and the same
bulk, are counted out exactly: their stationary operators are the kernel of a small matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from ..model import Lindbladian
from ..superoperator.terms import local_generators, pair_generators
from .growth.short_chain import EQUAL, chain_family

__all__ = ["degeneracy", "several_stationary_states"]

# Largest number of operators of a short relative, and of a block of its generator.
LARGEST, LARGEST_BLOCK = 4100, 2100
# Lengths that must agree.
WITNESSES = 2
# Singular values below this share of the largest are zero: a gap that small cannot be told from none.
KERNEL = 1e-12

Sites = tuple[int, ...]

_known: WeakKeyDictionary[Lindbladian, str] = WeakKeyDictionary()


def degeneracy(model: Lindbladian) -> str:
    """Return why the model has, or probably has, several stationary states: strong symmetries or short relatives.

    >>> from mpo_transport.models import ring_dephasing
    >>> degeneracy(ring_dephasing(3, 1.0, 0.3))
    'the model has strong symmetries (strong U(1): N(0) + N(1) + N(2)), hence several stationary states'
    """
    strong = [str(s) for s in model.conserved if s.strength == "strong"]
    if strong:
        return f"the model has strong symmetries ({'; '.join(strong)}), hence several stationary states"
    return several_stationary_states(model)


def several_stationary_states(model: Lindbladian) -> str:
    """Return a sentence if short chains or rings with the same ends and bulk have several stationary states, else "".

    Looked at are open chains and rings of neighbours whose bulk repeats itself; an empty answer proves nothing.

    Parameters
    ----------
    model
        A model of bounded sites.

    Examples
    --------
    Without a field the two staggered product states of the persistent-current chain are dark:

    >>> from mpo_transport.models import persistent_current
    >>> several_stationary_states(persistent_current(30, 2.0, 1.0, mu=0.0, periodic=False))
    'chains of 3 and 4 sites with these ends have several stationary states, hence most likely this one too'
    >>> several_stationary_states(persistent_current(30, 2.0, 1.0, mu=1.0, periodic=False))
    ''
    """
    if model not in _known:
        _known[model] = _sentence(model)
    return _known[model]


def _sentence(model: Lindbladian) -> str:
    if not model.lattice.is_bounded or not model.is_nearest_neighbour or len(set(model.lattice.dims)) != 1:
        return ""
    legs = int(model.lattice.dims[0]) ** 2
    ring = model.lattice.periodic
    relatives = _short_rings(model, legs) if ring else _short_chains(model)
    lengths = []
    for length, terms in relatives.items():
        if length >= model.L or legs**length > LARGEST:
            break
        kernel = _kernel(terms, legs, length)
        if kernel is None:
            break
        if kernel < 2:
            return ""
        lengths.append(length)
        if len(lengths) == WITNESSES:
            listed = " and ".join(map(str, lengths))
            alike = "rings of {} sites with the same bonds" if ring else "chains of {} sites with these ends"
            return f"{alike.format(listed)} have several stationary states, hence most likely this one too"
    return ""


def _short_chains(model: Lindbladian) -> dict[int, Mapping[Sites, np.ndarray]]:
    family = chain_family(model)
    if family is None:
        return {}
    return {
        n: {(j, j + 1): h for j, h in enumerate(family.bonds(n))} for n in family.lengths()[: WITNESSES + 1] if n > 2
    }


def _short_rings(model: Lindbladian, legs: int) -> dict[int, Mapping[Sites, np.ndarray]]:
    """Return short rings, even or odd like the model, whose bonds are all equal to its own; none if these differ."""
    pairs = pair_generators(local_generators(model), tuple(int(d) for d in model.lattice.dims))
    L = model.L
    if set(pairs) != {tuple(sorted((j, (j + 1) % L))) for j in range(L)}:
        return {}
    bond = pairs[(0, 1)]
    last = _turned(pairs[(0, L - 1)], legs)  # from site L-1 to site 0
    scale = EQUAL * max(float(np.abs(bond).max()), np.finfo(float).tiny)
    if any(np.abs(h - bond).max() > scale for h in (*(pairs[(j, j + 1)] for j in range(L - 1)), last)):
        return {}
    closing = _turned(bond, legs)
    lengths = (4, 6) if L % 2 == 0 else (3, 5)
    return {n: {**{(j, j + 1): bond for j in range(n - 1)}, (0, n - 1): closing} for n in lengths}


def _turned(bond: np.ndarray, legs: int) -> np.ndarray:
    """Return the generator of a bond with its two sites exchanged."""
    return bond.reshape((legs,) * 4).transpose(1, 0, 3, 2).reshape(bond.shape)


def _kernel(terms: Mapping[Sites, np.ndarray], legs: int, length: int) -> int | None:
    """Return the number of stationary operators; None if a block of the generator is too large."""
    matrix = _total(terms, legs, length)
    _, labels = connected_components(matrix, directed=False)
    if np.bincount(labels).max() > LARGEST_BLOCK:
        return None
    order, ends = np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))
    blocks = [matrix[rows][:, rows].toarray() for rows in np.split(order, ends[:-1])]
    values = [np.linalg.svd(block, compute_uv=False) for block in blocks]
    largest = max(max(float(v[0]) for v in values), np.finfo(float).tiny)
    return sum(int(np.count_nonzero(v <= KERNEL * largest)) for v in values)


def _total(terms: Mapping[Sites, np.ndarray], legs: int, length: int) -> sp.csr_array:
    """Return the sum of generators on pairs of sites i < j."""
    size = legs**length
    rows, columns, values = [], [], []
    numbers = np.arange(size).reshape((legs,) * length)
    for (i, j), h in terms.items():
        kept = np.where(np.abs(h) > EQUAL * np.abs(h).max(), h, 0.0)
        out, into = np.nonzero(kept)
        # row ab: the numbers of all strings with a at i and b at j
        pairs = np.moveaxis(numbers, (i, j), (0, 1)).reshape(legs * legs, -1)
        rows.append(pairs[out].ravel())
        columns.append(pairs[into].ravel())
        values.append(np.repeat(kept[out, into], pairs.shape[1]))
    where = np.concatenate(rows), np.concatenate(columns)
    total = sp.csr_array(sp.coo_array((np.concatenate(values), where), shape=(size, size)))
    total.eliminate_zeros()
    return total
