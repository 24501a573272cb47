"""Basis states ordered by a conserved charge, and operators between its sectors.

Under a weak U(1) symmetry the steady state has only the blocks rho_ab with Q_a = Q_b, and if H and the jumps change Q
by 0 and +-1 the Lindbladian couples neighbouring values of Q only.  Here the basis states |a> are sorted by the *level*
(the value of one charge), so that operators and density matrices become lists of small blocks; the (D, D) and (D^2,
D^2) matrices are never made.  States may be excluded by a bound on their total occupation.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from ..errors import InputError, NotSupportedError
from ..lattice import Lattice
from ..model import Lindbladian
from ..operators import OpSum
from ..symmetry import charge_changes
from .terms import product_matrices, require_bounded

__all__ = ["ChargeBasis", "ChargePlan", "charge_basis", "charge_plan", "sector_operator", "sector_sizes"]

# Values of all charges together that are listed; many charges of single sites have 2^L.
MOST_SECTORS = 20_000

Weights = tuple[int, ...]


@dataclass(frozen=True)
class ChargePlan:
    """What the text says about the levels of a model.

    Attributes
    ----------
    weights
        Integer weight w_j of every site in the charge Q = sum_j w_j N_j that numbers the levels.
    charges
        Weights of all conserved U(1) charges, (k, L): bra and ket agree in each of them.
    reach
        Largest change of Q by one jump; this many values of Q form one level.
    sizes
        Number of matrix elements rho_ab with equal charges in every level, ascending in Q.
    """

    weights: Weights
    charges: tuple[Weights, ...]
    reach: int
    sizes: tuple[int, ...]
    max_total: int | None = None


@dataclass(frozen=True, eq=False)
class ChargeBasis:
    """Product basis states sorted by level, then by their charges.

    Attributes
    ----------
    lattice
        Lattice with bounded spaces.
    digits
        Local index of every state on every site, (n, L).
    levels
        Level of every state, ascending from 0, (n,).
    labels
        One integer per state, equal where all charges are equal, (n,).
    """

    lattice: Lattice
    digits: np.ndarray
    levels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.digits)

    @property
    def number_of_levels(self) -> int:
        """How many levels there are."""
        return int(self.levels[-1]) + 1

    @cached_property
    def offsets(self) -> np.ndarray:
        """First state of every level and, last, the number of states."""
        return np.searchsorted(self.levels, np.arange(self.number_of_levels + 1))

    @cached_property
    def codes(self) -> np.ndarray:
        """Row of every state in the whole Hilbert space, site 0 varying slowest, (n,)."""
        return np.ravel_multi_index(tuple(self.digits.T), [int(d) for d in self.lattice.dims])

    @cached_property
    def _lookup(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.codes, kind="stable")
        return self.codes[order], order

    def find(self, digits: np.ndarray) -> np.ndarray:
        """Return the position of states given by their digits, (m, L) -> (m,); -1 for excluded states."""
        codes = np.ravel_multi_index(tuple(np.asarray(digits).T), [int(d) for d in self.lattice.dims])
        known, order = self._lookup
        at = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        return np.where(known[at] == codes, order[at], -1)


def charge_plan(model: Lindbladian, *, max_total: int | None = None) -> ChargePlan:
    """Return the levels of a model, found from its text.

    The total number is taken where it is conserved, else the U(1) charge with the smallest blocks.

    Raises
    ------
    NotSupportedError
        If a site is unbounded, no U(1) charge is conserved, a symmetry is strong (every value of that charge then has a
        steady state of its own), or the charges take too many values; the message says which.

    Examples
    --------
    >>> from mpo_transport.models import boundary_driven_xx
    >>> plan = charge_plan(boundary_driven_xx(3, 1.0, 1.0, 0.7, 1.0, 0.3))
    >>> plan.weights, plan.reach, plan.sizes
    ((1, 1, 1), 1, (1, 9, 9, 1))
    """
    require_bounded(model)
    strong = [s for s in model.conserved if s.strength == "strong"]
    if strong:
        raise NotSupportedError(
            f"the model has a strong symmetry ({strong[0]}), so each of its sectors has a steady state of its own; "
            "solver='orbits' returns all of them.",
            field="solver",
        )
    charges = tuple(s.weights for s in model.conserved if s.group == "U(1)")
    if not charges:
        found = "; ".join(map(str, model.conserved)) or "none found"
        raise NotSupportedError(
            "no U(1) charge is conserved, so the density matrix does not fall into levels of a total number "
            f"(symmetries: {found}); use solver='orbits' or 'iterative'.",
            field="solver",
        )
    L = model.L
    total = (1,) * L
    candidates = [total] if _in_span(total, charges) else list(charges)
    plans = [_plan(model, weights, charges, max_total) for weights in candidates]
    return min(plans, key=lambda p: (sum(int(n) ** 3 for n in p.sizes), p.weights))


def _in_span(vector: Weights, basis: Sequence[Weights]) -> bool:
    both = np.array([*basis, vector], dtype=float)
    return int(np.linalg.matrix_rank(both)) == len(basis)


def _plan(model: Lindbladian, weights: Weights, charges: tuple[Weights, ...], max_total: int | None) -> ChargePlan:
    changes: set[int] = set()
    for jump in model.jumps:
        if jump.rate > 0:
            changes |= charge_changes(model.lattice, jump.operator, weights)
    reach = max((abs(c) for c in changes), default=0)
    sizes: dict[int, int] = defaultdict(int)
    by_charges = sector_sizes(model.lattice, (weights, *charges), max_total=max_total)
    lowest = min(q[0] for q in by_charges)
    for q, n in by_charges.items():
        sizes[(q[0] - lowest) // max(reach, 1)] += n * n
    return ChargePlan(weights, charges, reach, tuple(sizes[k] for k in sorted(sizes)), max_total)


def _local_charges(lattice: Lattice, weights: Weights) -> list[np.ndarray]:
    """Return w_j (n - min n) of every local state; zeros where the site has no number."""
    out = []
    for weight, space in zip(weights, lattice.spaces, strict=True):
        number = np.zeros(int(space.dim)) if space.number is None else np.asarray(space.number, dtype=float)
        out.append(np.rint(weight * (number - number.min())).astype(np.int64))
    return out


def sector_sizes(
    lattice: Lattice, charges: Sequence[Weights], *, max_total: int | None = None
) -> dict[tuple[int, ...], int]:
    """Return {values of the charges: number of basis states}, without listing the states.

    Raises
    ------
    NotSupportedError
        If the charges take more values than can be listed.

    Examples
    --------
    >>> from mpo_transport import Boson, Chain
    >>> sector_sizes(Chain(2, Boson(3)), [(1, 1)])
    {(0,): 1, (1,): 2, (2,): 3, (3,): 2, (4,): 1}
    """
    table = [_local_charges(lattice, w) for w in ((1,) * lattice.L, *charges)]
    counts: Counter[tuple[int, ...]] = Counter({(0,) * len(table): 1})
    for site, space in enumerate(lattice.spaces):
        new: Counter[tuple[int, ...]] = Counter()
        for (held, *q), n in counts.items():
            for a in range(int(space.dim)):
                total = held + int(table[0][site][a])
                if max_total is None or total <= max_total:
                    new[(total, *(x + int(t[site][a]) for x, t in zip(q, table[1:], strict=True)))] += n
        if len(new) > MOST_SECTORS:
            raise NotSupportedError(
                f"its {len(charges)} conserved charges take more than {MOST_SECTORS} values together, too many.",
                field="solver",
            )
        counts = new
    out: Counter[tuple[int, ...]] = Counter()
    for (_, *q), n in counts.items():
        out[tuple(q)] += n
    return dict(sorted(out.items()))


def charge_basis(lattice: Lattice, plan: ChargePlan) -> ChargeBasis:
    """Return the basis states of a plan, sorted by level.

    >>> from mpo_transport.models import boundary_driven_xx
    >>> model = boundary_driven_xx(2, 1.0, 1.0, 0.7, 1.0, 0.3, levels=2)
    >>> basis = charge_basis(model.lattice, charge_plan(model))
    >>> basis.digits.tolist(), basis.levels.tolist()
    ([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 2])
    """
    table = [_local_charges(lattice, w) for w in ((1,) * lattice.L, plan.weights, *plan.charges)]
    digits = np.zeros((1, 0), dtype=np.int64)
    held = np.zeros((1, len(table)), dtype=np.int64)
    for site, space in enumerate(lattice.spaces):
        d = int(space.dim)
        local = np.array([t[site] for t in table]).T
        digits = np.column_stack([np.repeat(digits, d, axis=0), np.tile(np.arange(d), len(digits))])
        held = (held[:, None, :] + local[None, :, :]).reshape(-1, len(table))
        if plan.max_total is not None:
            keep = held[:, 0] <= plan.max_total
            digits, held = digits[keep], held[keep]
    charges = held[:, 1:]
    present = (charges[:, 0] - charges[:, 0].min()) // max(plan.reach, 1)
    levels = np.unique(present, return_inverse=True)[1].ravel()
    labels = np.unique(charges, axis=0, return_inverse=True)[1].ravel()
    order = np.lexsort((labels, levels))
    return ChargeBasis(lattice, digits[order], levels[order], labels[order])


def sector_operator(basis: ChargeBasis, operator: OpSum) -> sp.csr_array:
    """Return an operator between the states of the basis, (n, n) complex sparse; what leads to excluded states is cut.

    Raises
    ------
    InputError
        If the operator acts on a site that the lattice does not have.
    """
    n = len(basis)
    if any(s >= basis.lattice.L for s in operator.sites):
        raise InputError(f"Argument `operator` acts outside of the {basis.lattice.L} sites.", field="operator")
    total = sp.csr_array((n, n), dtype=complex)
    for key, coefficient in operator:
        matrices = product_matrices(basis.lattice.spaces, key)
        rows, columns, values = _product_entries(basis, matrices)
        total = total + coefficient * sp.csr_array(sp.coo_array((values, (rows, columns)), shape=(n, n)))
    total.eliminate_zeros()
    return total


def _product_entries(
    basis: ChargeBasis, matrices: Mapping[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the non-zero elements of a product of local matrices; site after site, every state branches."""
    column = np.arange(len(basis))
    digits, value = basis.digits, np.ones(len(basis), dtype=complex)
    for site, matrix in matrices.items():
        targets = [np.flatnonzero(matrix[:, a]) for a in range(matrix.shape[1])]
        count = np.array([len(t) for t in targets])[digits[:, site]]
        old = np.repeat(digits[:, site], count)
        new = np.fromiter(itertools.chain.from_iterable(targets[a] for a in digits[:, site]), np.int64, len(old))
        column, digits, value = np.repeat(column, count), np.repeat(digits, count, axis=0), np.repeat(value, count)
        digits[:, site] = new
        value = value * matrix[new, old]
    row = basis.find(digits) if len(digits) else np.zeros(0, dtype=np.int64)
    kept = row >= 0
    return row[kept], column[kept], value[kept]
