"""Conserved charges and parities of a Lindbladian, found from its operator text.

A charge Q = sum_j q_j N_j is a *weak* symmetry if the generator commutes with rho -> e^{i chi Q} rho e^{-i chi Q}, and
a *strong* one if H and every jump operator commute with Q.  Splitting every term into parts that change the local
numbers by a definite vector delta turns this into linear algebra for the weights q:

    H:              q . delta = 0                 for every part of H,
    weak:           q . (delta_a - delta_b) = 0   for every pair of parts that interfere in sum_k rate_k L_k (x) L_k^*,
    strong:         q . delta_a = 0               for every part of every jump as well.

Over the reals this gives U(1) charges, modulo 2 the Z2 parities prod_j (-1)^(q_j N_j).
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .lattice import Lattice
from .operators import Boson, LocalSpace, OpSum

__all__ = [
    "Symmetry",
    "charge_changes",
    "conserved_charges",
    "hermiticity_defect",
    "implies_total_parity",
    "support_matrices",
]

_NEGLIGIBLE = 1e-12
_DENSE_LIMIT = 1024
Delta = tuple[tuple[int, int], ...]  # ((site, change of the local number), ...), zeros left out


@dataclass(frozen=True)
class Symmetry:
    """A conserved charge: ``group`` "U(1)" or "Z2", ``strength`` "strong" or "weak", integer ``weights`` per site."""

    group: str
    strength: str
    weights: tuple[int, ...]

    def __str__(self) -> str:
        if len(set(self.weights)) == 1 and len(self.weights) > 4:
            body = "sum of all N" if self.weights[0] == 1 else f"{self.weights[0]} x sum of all N"
        else:
            parts = [f"{'' if abs(w) == 1 else f'{abs(w)} '}N({j})" for j, w in enumerate(self.weights) if w]
            signs = ["-" if w < 0 else "+" for w in self.weights if w]
            body = " ".join(itertools.chain.from_iterable(zip(signs, parts, strict=True))).removeprefix("+ ")
        return f"{self.strength} {self.group}: {'(-1)^(' + body + ')' if self.group == 'Z2' else body}"


def support_matrices(lattice: Lattice, operator: OpSum) -> dict[tuple[int, ...], np.ndarray]:
    """Return the operator as dense matrices grouped by support: {sorted sites: (D, D) complex array}.

    Unbounded modes are represented by eight levels, enough to read off charges.
    """
    grouped: dict[tuple[int, ...], np.ndarray] = {}
    for key, coefficient in operator:
        sites = tuple(sorted({s for _, s in key}))
        matrix = np.array([[coefficient]])
        for site in sites:
            space = _finite(lattice.spaces[site])
            local = np.eye(int(space.dim))
            for name, s in key:
                if s == site:
                    local = local @ space.matrix(name)
            matrix = np.kron(matrix, local)
        grouped[sites] = grouped[sites] + matrix if sites in grouped else matrix.astype(complex)
    return grouped


def hermiticity_defect(lattice: Lattice, operator: OpSum) -> str | None:
    """Return None if the operator is Hermitian, otherwise the text of offending terms."""
    if operator == operator.dag:
        return None
    for sites, matrix in support_matrices(lattice, operator - operator.dag).items():
        if np.abs(matrix).max() > _NEGLIGIBLE * max(1.0, max(abs(c) for _, c in operator)):
            bad = OpSum({k: c for k, c in operator if tuple(sorted({s for _, s in k})) == sites})
            return repr(bad) if bad else f"on sites {sites}"
    return None


def conserved_charges(
    lattice: Lattice, hamiltonian: OpSum, jumps: Iterable[tuple[OpSum, float]]
) -> tuple[Symmetry, ...]:
    """Return a basis of the conserved charges: U(1) charges first, then parities not implied by them."""
    L = lattice.L
    pinned = [{j: 1} for j in range(L) if _numbers(lattice.spaces[j]) is None]
    known: dict[Any, Split] = {}
    h_rows = [dict(d) for d in _parts(lattice, hamiltonian, known) if d]
    split = [(_parts(lattice, operator, known), rate) for operator, rate in jumps]
    weak_rows = h_rows + pinned + _interfering(split)
    strong_rows = h_rows + pinned + [dict(d) for parts, _ in split for d in parts if d]
    found: list[Symmetry] = []
    strong_u1 = _null_space_integers(strong_rows, L)
    weak_u1 = _null_space_integers(weak_rows, L)
    found += [Symmetry("U(1)", "strong", w) for w in strong_u1]
    found += [Symmetry("U(1)", "weak", w) for w in _beyond(weak_u1, strong_u1, modulus=None)]
    strong_z2 = _null_space_mod2(strong_rows, L)
    weak_z2 = _null_space_mod2(weak_rows, L)
    new_strong = _beyond(strong_z2, strong_u1, modulus=2)
    found += [Symmetry("Z2", "strong", w) for w in new_strong]
    found += [Symmetry("Z2", "weak", w) for w in _beyond(weak_z2, [*weak_u1, *strong_z2], modulus=2)]
    return tuple(found)


def charge_changes(lattice: Lattice, operator: OpSum, weights: Sequence[int]) -> set[int]:
    """Return the amounts by which an operator changes the charge Q = sum_j w_j N_j.

    >>> from mpo_transport import Chain, SpinHalf, op
    >>> sorted(charge_changes(Chain(2, SpinHalf()), op("X", 0) * op("Sp", 1), (1, 1)))
    [0, 2]
    """
    return {sum(weights[site] * change for site, change in delta) for delta in _parts(lattice, operator)}


def implies_total_parity(symmetries: Sequence[Symmetry], L: int) -> bool:
    """Return whether the total parity prod_j (-1)^N_j is a product of the given symmetries."""
    weights = [s.weights for s in symmetries]
    return not _beyond([(1,) * L], [tuple(w % 2 for w in ws) for ws in weights], modulus=2)


# ----------------------------------------------------------------------------------------------------------------------


def _finite(space: LocalSpace) -> LocalSpace:
    return space if space.is_bounded else Boson(8)


def _numbers(space: LocalSpace) -> np.ndarray | None:
    number = _finite(space).number
    if number is None:
        return None
    values = np.asarray(number)
    shifted = values - values[0]
    return shifted.round().astype(int) if np.allclose(shifted, shifted.round()) else None


Split = list[tuple[tuple[int, ...], np.ndarray]]


def _parts(
    lattice: Lattice, operator: OpSum, known: dict[Any, Split] | None = None
) -> dict[Delta, dict[tuple[int, ...], np.ndarray]]:
    """Split an operator into parts that change the local numbers by a definite vector: {delta: {support: matrix}}.

    ``known`` keeps what was found for equal operators on other sites.
    """
    known = {} if known is None else known
    out: dict[Delta, dict[tuple[int, ...], np.ndarray]] = defaultdict(dict)
    pieces: dict[tuple[int, ...], list[Any]] = defaultdict(list)
    for key, c in operator:
        pieces[tuple(sorted({s for _, s in key}))].append((key, c))
    for sites, piece in pieces.items():
        place = {s: k for k, s in enumerate(sites)}
        alike = (
            tuple([id(lattice.spaces[s]) for s in sites]),
            tuple([(tuple([(name, place[s]) for name, s in key]), c) for key, c in piece]),
        )
        if alike not in known:
            matrix = support_matrices(lattice, OpSum(dict(piece))).get(sites)
            known[alike] = [] if matrix is None else _split_matrix(lattice, sites, matrix)
        for change, part in known[alike]:
            out[tuple((s, x) for s, x in zip(sites, change, strict=True) if x)][sites] = part
    return {d: p for d, p in out.items() if p}


def _split_matrix(lattice: Lattice, sites: tuple[int, ...], matrix: np.ndarray) -> Split:
    """Return the parts of a matrix with the change of the number on each of the sites."""
    scale = max(np.abs(matrix).max(), 1e-300)
    rows, columns = np.nonzero(np.abs(matrix) > _NEGLIGIBLE * scale)
    dims = [int(_finite(lattice.spaces[s]).dim) for s in sites]
    out_index = np.unravel_index(rows, dims) if sites else ()
    in_index = np.unravel_index(columns, dims) if sites else ()
    change = np.zeros((len(rows), len(sites)), dtype=int)
    for k, site in enumerate(sites):
        numbers = _numbers(lattice.spaces[site])
        if numbers is not None:
            change[:, k] = numbers[out_index[k]] - numbers[in_index[k]]
    result = []
    for delta in np.unique(change, axis=0):
        chosen = np.all(change == delta, axis=1)
        part = np.zeros_like(matrix)
        part[rows[chosen], columns[chosen]] = matrix[rows[chosen], columns[chosen]]
        result.append((tuple(int(x) for x in delta), part))
    return result


def _interfering(
    split: Sequence[tuple[dict[Delta, dict[tuple[int, ...], np.ndarray]], float]],
) -> list[dict[int, int]]:
    """Return delta_a - delta_b for all pairs of parts whose interference sum_k rate a (x) b^* does not cancel."""
    trivial: set[tuple[Delta, Delta]] = set()
    grouped: dict[
        tuple[tuple[Delta, tuple[int, ...]], tuple[Delta, tuple[int, ...]]], list[tuple[np.ndarray, np.ndarray, float]]
    ] = defaultdict(list)
    for parts, rate in split:
        flat = [(d, s, m) for d, p in parts.items() for s, m in p.items()]
        if len({d for d, _, _ in flat}) == 1:
            continue
        for (da, sa, ma), (db, sb, mb) in itertools.combinations(flat, 2):
            if da == db:
                continue
            if ma.shape[0] * mb.shape[0] > _DENSE_LIMIT:
                trivial.add((da, db))  # too large to look for cancellations: assume none
            else:
                first, second = ((da, sa), ma), ((db, sb), mb)
                grouped[first[0], second[0]].append((ma, mb, rate))
    rows = [_difference(da, db) for da, db in trivial]
    for ((da, _), (db, _)), items in grouped.items():
        if len(items) == 1 and items[0][2] > 0:  # nothing to cancel with
            rows.append(_difference(da, db))
            continue
        total = sum(rate * np.kron(ma, mb.conj()) for ma, mb, rate in items)
        scale = sum(rate * np.abs(ma).max() * np.abs(mb).max() for ma, mb, rate in items)
        if np.abs(total).max() > _NEGLIGIBLE * scale:
            rows.append(_difference(da, db))
    return [r for r in rows if r]


def _difference(a: Delta, b: Delta) -> dict[int, int]:
    out: dict[int, int] = defaultdict(int)
    for site, x in a:
        out[site] += x
    for site, x in b:
        out[site] -= x
    return {s: x for s, x in out.items() if x}


# Numbers stay integers as long as pivots are one or minus one, which is much faster.
Number = int | Fraction
Row = dict[int, Number]


def _echelon(rows: Iterable[Mapping[int, int]], modulus: int | None) -> dict[int, Row]:
    """Return the reduced row echelon form {pivot column: row}, exact, over the rationals or modulo a prime."""
    unique = {tuple(sorted(_cleaned(dict(row), modulus).items())) for row in rows}
    pivots: dict[int, Row] = {}
    for items in sorted(unique):
        _insert(pivots, dict(items), modulus)
    for column in sorted(pivots, reverse=True):  # back substitution: rows further down are reduced already
        row = pivots[column]
        for other in [s for s in row if s != column and s in pivots]:
            row = _cleaned(_eliminated(row, pivots[other], other), modulus)
        pivots[column] = row
    return pivots


def _cleaned(row: Row, modulus: int | None) -> Row:
    reduced = row if modulus is None else {s: int(x) % modulus for s, x in row.items()}
    return {s: x for s, x in reduced.items() if x}


def _insert(pivots: dict[int, Row], row: Row, modulus: int | None) -> bool:
    """Add a row to an echelon form, in place; whether it was independent of the others."""
    while row:
        column = min(row)
        if column not in pivots:
            lead = row[column]  # modulo 2 it is 1
            pivots[column] = row if lead == 1 else {s: -x if lead == -1 else Fraction(x) / lead for s, x in row.items()}
            return True
        row = _cleaned(_eliminated(row, pivots[column], column), modulus)
    return False


def _eliminated(row: Row, pivot: Row, column: int) -> Row:
    factor = row[column]
    out = dict(row)
    for s, x in pivot.items():
        out[s] = out.get(s, 0) - factor * x
    return out


def _null_space(rows: Iterable[Mapping[int, int]], L: int, modulus: int | None) -> list[list[Number]]:
    pivots = _echelon(rows, modulus)
    vectors = []
    for free in (c for c in range(L) if c not in pivots):
        v: list[Number] = [0] * L
        v[free] = 1
        for column, row in pivots.items():
            if free in row:
                v[column] = -row[free] if modulus is None else row[free] % modulus
        vectors.append(v)
    return vectors


def _null_space_integers(rows: list[dict[int, int]], L: int) -> list[tuple[int, ...]]:
    out = []
    for v in _null_space(rows, L, None):
        common = math.lcm(*(x.denominator for x in v))
        w = [int(x * common) for x in v]
        sign = 1 if next(x for x in w if x) > 0 else -1
        out.append(tuple(sign * x for x in w))
    return out


def _null_space_mod2(rows: list[dict[int, int]], L: int) -> list[tuple[int, ...]]:
    return [tuple(int(x) for x in v) for v in _null_space(rows, L, 2)]


def _beyond(
    candidates: Sequence[tuple[int, ...]], known: Sequence[tuple[int, ...]], *, modulus: int | None
) -> list[tuple[int, ...]]:
    """Return those candidates that are linearly independent of the known vectors and of each other."""
    pivots: dict[int, Row] = {}
    for vector in known:
        _insert(pivots, _cleaned(dict(enumerate(vector)), modulus), modulus)
    return [c for c in candidates if _insert(pivots, _cleaned(dict(enumerate(c)), modulus), modulus)]
