"""Short chains with the ends of a long one, solved exactly, and the tensor that makes them longer.

A chain whose bulk repeats itself with period p has ends h_0 .. and .. h_{L-2} and a unit cell of p generators between
them; leaving out cells gives shorter chains of the same family.  Let x_n be the steady state of the chain of n sites
(identity component 1) and cut it after c sites, x_n = U S V with orthonormal frames U, V and invertible S.  If the
states of all lengths are words of one finite automaton, as matrix-product states with the same bulk tensor are, then

    x_{n + kp} = U M^k S V,      M = (U^T x_{n+p} V^T) S^-1,

which is how the minimal automaton of a family is found from two members of it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from ...model import Lindbladian
from ...superoperator.terms import local_generators, pair_generators
from ...superoperator.train import dense_train, robust_svd

__all__ = ["Family", "Growth", "chain_family", "grow", "has_bulk_tensor", "sector_size", "solve_short"]

# Generators that differ by less than this, relative to the largest entry, are the same.
EQUAL = 1e-13
# Schmidt values below this share of the largest are rounding errors of a short solution.
RANK_NOISE = 1e-10


@dataclass(frozen=True, eq=False)
class Family:
    """Generators on the bonds of a chain, shape (n^2, n^2) with n = d^2, the bulk periodic.

    ``left`` bonds belong to the left end, ``right`` to the right end, and ``cell`` repeats between them.
    """

    left: tuple[np.ndarray, ...]
    cell: tuple[np.ndarray, ...]
    right: tuple[np.ndarray, ...]
    legs: int
    length: int

    @property
    def period(self) -> int:
        """Sites per unit cell."""
        return len(self.cell)

    @property
    def shortest(self) -> int:
        """Number of sites of the shortest member that has both ends and one cell."""
        return len(self.left) + len(self.cell) + len(self.right) + 1

    def lengths(self) -> list[int]:
        """Return the lengths of the shorter members, ascending."""
        first = self.length - (self.length - self.shortest) // self.period * self.period
        return list(range(first, self.length, self.period))

    def member(self, length: int) -> Family:
        """Return the same family with another member as the long chain."""
        return dataclasses.replace(self, length=length)

    def bonds(self, length: int) -> list[np.ndarray]:
        """Return the generators of the member with ``length`` sites."""
        cells = (length - 1 - len(self.left) - len(self.right)) // self.period
        return [*self.left, *(self.cell * cells), *self.right]


def chain_family(model: Lindbladian, largest_period: int = 2) -> Family | None:
    """Return the family of a nearest-neighbour open chain; None if its bulk does not repeat itself."""
    pairs = pair_generators(local_generators(model), tuple(int(d) for d in model.lattice.dims))
    bonds = [pairs.get((j, j + 1)) for j in range(model.L - 1)]
    legs = {int(d) ** 2 for d in model.lattice.dims}
    if len(legs) != 1 or set(pairs) - {(j, j + 1) for j in range(model.L - 1)}:
        return None
    (n,) = legs
    h = [np.zeros((n * n, n * n)) if b is None else b for b in bonds]
    scale = max(np.abs(b).max() for b in {id(b): b for b in h}.values())
    for period in range(1, largest_period + 1):
        same = [a is b or np.abs(a - b).max() <= EQUAL * scale for a, b in zip(h, h[period:], strict=False)]
        middle = len(same) // 2
        if len(h) < 3 * period or not same or not same[middle]:
            continue
        first, last = middle, middle
        while first > 0 and same[first - 1]:
            first -= 1
        while last + 1 < len(same) and same[last + 1]:
            last += 1
        repeated = last - first + 1 + period  # bonds first .. last + period are periodic
        rest = repeated % period
        stop = first + repeated - rest
        if repeated // period >= 2:
            return Family(tuple(h[:first]), tuple(h[first : first + period]), tuple(h[stop:]), n, model.L)
    return None


def _sector(family: Family, length: int) -> tuple[sp.csr_array, np.ndarray]:
    """Return the generator and the operator strings that the identity is connected with."""
    n, size = family.legs, family.legs**length
    total = sp.csr_array((size, size))
    for j, h in enumerate(family.bonds(length)):
        local = sp.csr_array(np.where(np.abs(h) > EQUAL * np.abs(h).max(), h, 0.0))
        left, right = sp.eye_array(n**j), sp.eye_array(n ** (length - 2 - j))
        total = total + sp.kron(sp.kron(left, local), right, format="csr")
    _, labels = connected_components(total, directed=False)
    return total, np.flatnonzero(labels == labels[0])


def sector_size(family: Family, length: int, limit: int = 4_000_000) -> float:
    """Return the number of unknowns of the member of that length; infinite if it cannot be small."""
    if family.legs**length > limit:
        return float("inf")
    return float(len(_sector(family, length)[1]))


def solve_short(family: Family, length: int) -> np.ndarray | None:
    """Return x_n, shape (n, n, ..., n), identity component 1; None if the steady state is not unique."""
    matrix, kept = _sector(family, length)
    x = np.zeros(family.legs**length)
    x[0] = 1.0
    if len(kept) == 1:  # the identity is the steady state
        return x.reshape((family.legs,) * length)
    block = matrix[kept][:, kept].tocsc()
    a, b = block[1:, 1:], -block[1:, [0]].toarray().ravel()
    try:
        factors = splu(a)
    except RuntimeError:  # exactly singular
        return None
    y = factors.solve(b)
    for _ in range(2):
        y = y + factors.solve(b - a @ y)
    scale = float(np.abs(a).max()) * float(np.linalg.norm(y)) + float(np.linalg.norm(b))
    if not np.all(np.isfinite(y)) or np.linalg.norm(a @ y - b) > 1e-11 * scale or np.linalg.norm(y) > 1e8:
        return None
    x[kept[1:]] = y
    return x.reshape((family.legs,) * length)


@dataclass(frozen=True, eq=False)
class Growth:
    """The automaton found at one cut: tensors of the grown state, its rank, and how well it predicts x_{n+p}.

    ``mismatch`` is |x_{n+p} - U M S V|/|x_{n+p}|; ``smallest`` the last Schmidt value kept over the first.
    """

    tensors: tuple[np.ndarray, ...]
    rank: int
    cut: int
    mismatch: float
    smallest: float


def grow(family: Family, short: np.ndarray, longer: np.ndarray, cut: int, *, mirrored: bool = False) -> Growth:
    """Return the state of ``family.length`` sites grown from x_n (``short``) and x_{n+p} (``longer``) at one cut.

    ``mirrored`` puts S^-1 on the other side, x_{n+kp} = U S M'^k V with M' = S^-1 (U^T x_{n+p} V^T): the same state
    with other rounding errors.
    """
    n, p, legs = short.ndim, family.period, family.legs
    u, s, v = robust_svd(short.reshape(legs**cut, -1))
    rank = max(1, int(np.count_nonzero(s > RANK_NOISE * s[0])))
    u, s, v = u[:, :rank], s[:rank], v[:rank]
    block = longer.reshape(legs**cut, legs**p, legs ** (n - cut))
    inner = np.tensordot(np.tensordot(u, block, axes=(0, 0)), v, axes=(2, 1))  # rank, legs^p, rank
    predicted = np.tensordot(np.tensordot(u, inner, axes=(1, 0)), v, axes=(2, 0))
    mismatch = float(np.linalg.norm(predicted - block) / np.linalg.norm(block))
    cell = _split_cell(inner / s[:, None, None] if mirrored else inner / s, legs, p)
    copies = (family.length - n) // p
    left = _split_left(u * s if mirrored else u, legs, cut)
    right = _split_right(v if mirrored else s[:, None] * v, legs, n - cut)
    return Growth((*left, *(cell * copies), *right), rank, cut, mismatch, float(s[-1] / s[0]))


def has_bulk_tensor(family: Family, largest_block: int) -> int | None:
    """Return the rank of the bulk tensor if three short members of the family agree on one, else None.

    The tensor of the members n and n + p must predict that of n + 2p; nothing longer is solved than ``largest_block``
    unknowns.
    """
    solved: list[np.ndarray] = []
    for length in family.lengths():
        if sector_size(family, length) > largest_block:
            return None
        x = solve_short(family, length)
        if x is None:
            return None
        solved.append(x)
        if len(solved) < 3:
            continue
        for cut in (solved[-3].ndim // 2, (solved[-3].ndim + 1) // 2):
            grown = grow(family.member(length), solved[-3], solved[-2], cut)
            predicted = dense_train(grown.tensors)
            trace = predicted.flat[0]  # the states of the automaton need not have trace 1
            if trace and np.linalg.norm(predicted / trace - x) < 1e-10 * np.linalg.norm(x):
                return grown.rank
    return None


def _split_cell(cell: np.ndarray, legs: int, period: int) -> tuple[np.ndarray, ...]:
    out, left = [], cell.shape[0]
    for _ in range(period - 1):
        u, s, v = robust_svd(cell.reshape(left * legs, -1))
        keep = max(1, int(np.count_nonzero(s > 1e-14 * s[0])))
        out.append(u[:, :keep].reshape(left, legs, keep))
        cell, left = s[:keep, None] * v[:keep], keep
    return (*out, cell.reshape(left, legs, -1))


def _split_left(u: np.ndarray, legs: int, sites: int) -> list[np.ndarray]:
    """Return the columns of u, shape (legs^sites, rank), as tensors."""
    out, rest, right = [], u, u.shape[1]
    for k in range(sites - 1, 0, -1):
        q, r = np.linalg.qr(rest.reshape(legs**k, legs * right).T)
        out.append(q.T.reshape(-1, legs, right))
        rest, right = r.T, r.shape[0]
    out.append(rest.reshape(1, legs, right))
    return out[::-1]


def _split_right(v: np.ndarray, legs: int, sites: int) -> list[np.ndarray]:
    """Return the rows of v, shape (rank, legs^sites), as tensors."""
    out, rest, left = [], v, v.shape[0]
    for k in range(sites - 1, 0, -1):
        q, r = np.linalg.qr(rest.reshape(left * legs, legs**k))
        out.append(q.reshape(left, legs, -1))
        rest, left = r, r.shape[0]
    out.append(rest.reshape(left, legs, 1))
    return out
