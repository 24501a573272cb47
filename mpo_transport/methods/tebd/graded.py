"""Trains whose bonds carry a parity: finding it, changing bonds without losing it, and the way to blocks and back.

A weak Z2 symmetry that is visible in the Hermitian basis (for spins often: strings with an even number of X and Y)
gives every basis operator of every site a label 0 or 1, and the generator never leaves the strings of even total label.
A train of such a state can be chosen *graded*: every bond index has a label, even ones first, and only entries of even
total label are not zero.  Gates, truncations and orthogonalisations then act on blocks.  Between two runs of passes the
state is an ordinary train, whose labels are read off its zeros: nothing else has to be stored for a restart.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...states import MPOState
from ...superoperator.gradings import parity_gradings
from ...superoperator.train import NOISE, robust_svd
from . import blocks
from .halves import carry_halves
from .plan import Pass, Plan

__all__ = ["Parity", "find_parity"]

Tensors = list[np.ndarray]
# Part outside the sector, relative in norm, that is put down to rounding errors.
OUTSIDE = 1e-12
# Gates in blocks are kept between runs of passes up to this size in bytes.
LARGEST_KEPT = 2**24
# Share of the leading Schmidt values that decides how a bond is divided: the last ones of a sector may be missing.
LEADING = 0.75


@dataclass
class Parity:
    """The labels of the basis operators of every position, and the gates in blocks.

    Attributes
    ----------
    labels
        One array (d^2,) of 0 and 1 per position.
    threads
        Threads that share the bonds of a layer, 1 or 2; see :mod:`.halves`.
    """

    labels: tuple[np.ndarray, ...]
    threads: int = 1
    _blocks: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    _tables: dict[int, tuple[Sequence[Pass], tuple[np.ndarray, np.ndarray]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sorted = [np.argsort(x, kind="stable") for x in self.labels]
        self._counts = np.array([[np.sum(x == 0), np.sum(x == 1)] for x in self.labels], dtype=np.int64)

    # -- labels of bonds ----------------------------------------------------------------------------------------------

    def bonds(self, tensors: Sequence[np.ndarray], centre: int) -> np.ndarray | None:
        """Return even and odd dimensions of all bonds, (L+1, 2), of a graded canonical train, or None if it is not.

        Rows of the tensors right of the centre and columns of those left of it have norm 1, so that they tell the
        label; the centre must agree.
        """
        L = len(tensors)
        found: list[np.ndarray] = [np.zeros(1, dtype=np.int64)] * (L + 1)
        for k in range(L - 1, centre, -1):
            label = _outer_labels(tensors[k], self.labels[k], found[k + 1])
            if label is None:
                return None
            found[k] = label
        for k in range(centre):
            label = _outer_labels(tensors[k].transpose(2, 1, 0), self.labels[k], found[k])
            if label is None:
                return None
            found[k + 1] = label
        total = found[centre][:, None, None] + self.labels[centre][:, None] + found[centre + 1]
        if np.any(tensors[centre][total % 2 == 1]):
            return None
        return np.array([[np.sum(x == 0), np.sum(x == 1)] for x in found], dtype=np.int64)

    def holds(self, state: MPOState) -> bool:
        """Whether passes on this state run in blocks."""
        return state.centre is not None and self.bonds(state.tensors, state.centre) is not None

    def same_bonds(self, a: MPOState, b: MPOState) -> bool:
        """Whether two states are equally divided, or one of them is not graded."""
        both = [None if x.centre is None else self.bonds(x.tensors, x.centre) for x in (a, b)]
        return both[0] is None or both[1] is None or np.array_equal(both[0], both[1])

    # -- changing bonds -----------------------------------------------------------------------------------------------

    def fit(self, tensors: Sequence[np.ndarray], bonds: Sequence[int], seed: int) -> Tensors | None:
        """Return the same state graded, centre 0, with bonds cut or enlarged to ``bonds`` (entry k: left of k).

        How a bond is divided into even and odd follows from its leading Schmidt values.  New directions are random
        orthonormal ones of weight zero.  None if the state has a part outside the sector.
        """
        found = self._graded(tensors)
        if found is None:
            return None
        train, labels, spectra = self._schmidt_left(*found)
        split = self._divide(spectra, bonds)
        if all(len(spectra[k][s]) <= split[k, s] for k in range(1, len(train)) for s in (0, 1)):
            train, labels = self._orthonormal_right(train, labels)
        else:
            train, labels = self._cut_right(train, labels, split)
        return self._padded_left(train, labels, split, seed)

    def _graded(self, tensors: Sequence[np.ndarray]) -> tuple[Tensors, list[np.ndarray]] | None:
        """Return the state as a graded train with its centre at the right end, and the labels of the bonds."""
        for end in (0, len(tensors) - 1):
            known = self.bonds(tensors, end)
            if known is not None:
                return self._orthonormal_right(list(tensors), [np.repeat([0, 1], m) for m in known])
        train, labels = self._orthonormal_right(*self._doubled(tensors, 0))
        outside = np.linalg.norm(self._orthonormal_right(*self._doubled(tensors, 1))[0][-1])
        return (train, labels) if outside <= OUTSIDE * np.linalg.norm(train[-1]) else None

    def _doubled(self, tensors: Sequence[np.ndarray], total: int) -> tuple[Tensors, list[np.ndarray]]:
        """Return the part of a total label, each bond taken twice: once for strings so far even, once odd."""
        out, labels = [], [np.zeros(1, dtype=np.int64)]
        for k, t in enumerate(tensors):
            l, n, r = t.shape
            first, last = k == 0, k == len(tensors) - 1
            big = np.zeros((l if first else 2 * l, n, r if last else 2 * r))
            for p in (0,) if first else (0, 1):
                for s in (total,) if last else (0, 1):
                    take = self.labels[k] == (p + s) % 2
                    column = 0 if last else s * r
                    big[p * l : (p + 1) * l, take, column : column + r] = t[:, take]
            out.append(big)
            labels.append(np.full(1, total) if last else np.repeat([0, 1], r))
        return out, labels

    def _orthonormal_right(self, train: Tensors, labels: list[np.ndarray]) -> tuple[Tensors, list[np.ndarray]]:
        """Return the train with its centre at the right end."""
        train, labels = list(train), list(labels)
        for k in range(len(train) - 1):
            l, n, r = train[k].shape
            rows = (labels[k][:, None] + self.labels[k]).ravel() % 2
            q, c, new = _block_qr(train[k].reshape(l * n, r), rows, labels[k + 1])
            train[k], labels[k + 1] = q.reshape(l, n, -1), new
            train[k + 1] = np.tensordot(c, train[k + 1], axes=(1, 0))
        return train, labels

    def _schmidt_left(
        self, train: Tensors, labels: list[np.ndarray]
    ) -> tuple[Tensors, list[np.ndarray], list[list[np.ndarray]]]:
        """Return the train with its centre at the left end and the Schmidt values of every bond by label."""
        spectra: list[list[np.ndarray]] = [[np.ones(1), np.zeros(0)] for _ in range(len(train) + 1)]
        for k in range(len(train) - 1, 0, -1):
            l, n, r = train[k].shape
            columns = (self.labels[k][:, None] + labels[k + 1]).ravel() % 2
            u, values, v, new = _block_svd(train[k].reshape(l, n * r), labels[k], columns, None)
            spectra[k] = values
            train[k], labels[k] = v.reshape(-1, n, r), new
            train[k - 1] = np.tensordot(train[k - 1], u * np.concatenate(values), axes=(2, 0))
        return train, labels, spectra

    def _divide(self, spectra: list[list[np.ndarray]], bonds: Sequence[int]) -> np.ndarray:
        """Return even and odd dimensions of all bonds: halves, but for the surplus among the leading Schmidt values."""
        L = len(self.labels)
        split = np.zeros((L + 1, 2), dtype=np.int64)
        split[0, 0] = split[L, 0] = 1
        for k in range(1, L):
            merged = [(x, s) for s in (0, 1) for x in spectra[k][s]]
            enough = LEADING * len(merged) >= bonds[k]  # more is known than will be kept
            count = bonds[k] if enough else 2 * int(LEADING / 2 * min(len(merged), bonds[k]))
            leading = sorted(merged, key=lambda pair: -pair[0])[:count]
            excess = sum(1 - 2 * s for _, s in leading)  # even values more than odd ones
            even = (bonds[k] + 1 + excess) // 2
            if len(merged) <= bonds[k]:  # only values below all of the other label give way
                wanted = [_above(spectra[k][s], spectra[k][1 - s]) for s in (0, 1)]
                even = min(max(even, wanted[0]), bonds[k] - wanted[1])
            even = min(max(even, 1), bonds[k])
            split[k] = even, bonds[k] - even
        largest = np.array(bonds)
        bound = self._bounds()
        for k in range(1, L):
            for s in (0, 1):  # what does not fit into one label goes to the other
                spare = split[k, s] - bound[k, s]
                if spare > 0:
                    split[k] += [spare if s else -spare, -spare if s else spare]
            split[k] = np.minimum(split[k], bound[k])
        assert np.all(split.sum(axis=1) <= largest)
        changed = True
        while changed:  # orthonormal rows and columns need room on both sides
            before = split.copy()
            for k in range(1, L):
                split[k] = np.minimum(split[k], _joined(split[k - 1], self._counts[k - 1]))
            for k in range(L - 1, 0, -1):
                split[k] = np.minimum(split[k], _joined(split[k + 1], self._counts[k]))
            changed = bool(np.any(split != before))
        return split

    def _bounds(self) -> np.ndarray:
        """Return the largest useful even and odd dimension of every bond."""
        L = len(self.labels)
        left, right = np.zeros((L + 1, 2), dtype=np.int64), np.zeros((L + 1, 2), dtype=np.int64)
        left[0, 0] = right[L, 0] = 1
        for k in range(L):
            left[k + 1] = np.minimum(_joined(left[k], self._counts[k]), 10**9)
        for k in range(L - 1, -1, -1):
            right[k] = np.minimum(_joined(right[k + 1], self._counts[k]), 10**9)
        return np.minimum(left, right)

    def _cut_right(
        self, train: Tensors, labels: list[np.ndarray], split: np.ndarray
    ) -> tuple[Tensors, list[np.ndarray]]:
        """Return the train with its centre at the right end and every bond cut to at most ``split``."""
        for k in range(len(train) - 1):
            l, n, r = train[k].shape
            rows = (labels[k][:, None] + self.labels[k]).ravel() % 2
            u, values, v, new = _block_svd(train[k].reshape(l * n, r), rows, labels[k + 1], split[k + 1])
            train[k], labels[k + 1] = u.reshape(l, n, -1), new
            train[k + 1] = np.tensordot(np.concatenate(values)[:, None] * v, train[k + 1], axes=(1, 0))
        return train, labels

    def _padded_left(self, train: Tensors, labels: list[np.ndarray], split: np.ndarray, seed: int) -> Tensors:
        """Return the train with its centre at the left end and all bonds enlarged to ``split``."""
        for k in range(len(train) - 1, 0, -1):
            l, n, r = train[k].shape
            columns = (self.labels[k][:, None] + labels[k + 1]).ravel() % 2
            rng = np.random.Generator(np.random.Philox(key=[seed % 2**64, k]))
            q = np.zeros((int(split[k].sum()), n * r))
            c = np.zeros((len(q), l))
            row = 0
            for s in (0, 1):
                mine, inside, m = labels[k] == s, columns == s, int(split[k, s])
                basis, upper = np.linalg.qr(train[k].reshape(l, n * r)[np.ix_(mine, inside)].T)
                old = len(upper)
                random = rng.standard_normal((len(basis), m - old))
                for _ in range(2):  # twice is enough for orthogonality to rounding
                    random -= basis @ (basis.T @ random)
                q[row : row + m, inside] = np.concatenate([basis, np.linalg.qr(random)[0]], axis=1).T
                c[row : row + old, mine] = upper
                row += m
            train[k], labels[k] = q.reshape(-1, n, r), np.repeat([0, 1], split[k])
            train[k - 1] = np.tensordot(train[k - 1], c, axes=(2, 1))
        return train

    # -- passes -------------------------------------------------------------------------------------------------------

    def run(
        self,
        tensors: Tensors,
        m: np.ndarray,
        centre: int,
        passes: Sequence[Pass],
        iterations: int,
        weights: np.ndarray | None,
    ) -> int:
        """Carry out passes with gates on neighbouring positions (in place); return the new centre.

        ``centre`` is an end of the train, ``m`` its bonds; the largest discarded weights go to ``weights``.
        """
        L = len(tensors)
        if not passes:
            return centre
        sizes = [
            sum(int(m[k, p] * self._counts[k, t] * m[k + 1, (p + t) % 2]) for p in (0, 1) for t in (0, 1))
            for k in range(L)
        ]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        data = np.concatenate([self._stored(tensors[k], m, k, right=k < centre or k == centre == 0) for k in range(L)])
        gates, table = self._kept_table(passes)
        seen = np.zeros(L - 1) if weights is None else weights
        try:
            carry = carry_halves if self.threads > 1 and blocks.compiled()[1] else blocks.compiled()[0]
            carry(data, starts, m, self._counts, gates, table, centre == 0, iterations, seen, weights is not None)
        except np.linalg.LinAlgError:  # numbers that are not finite: the step is unstable, the engine looks for this
            data[:] = np.nan
        if len(passes) % 2:
            centre = L - 1 - centre
        for k in range(L):
            chunk = data[starts[k] : starts[k] + sizes[k]]
            tensors[k] = self._unstored(chunk, m, k, right=k < centre or k == centre == 0)
        return centre

    def _stored(self, tensor: np.ndarray, m: np.ndarray, k: int, *, right: bool) -> np.ndarray:
        """Return the entries of a site stored by its right or left bond, see :mod:`.blocks`."""
        t = tensor[:, self._sorted[k]]
        outer, inner = (m[k + 1], m[k]) if right else (m[k], m[k + 1])
        if right:
            t = t.transpose(2, 1, 0)
        n0, n1 = (int(x) for x in self._counts[k])
        return np.concatenate([
            np.concatenate([
                t[_part(outer, s), :n0, _part(inner, s)].reshape(outer[s], n0 * inner[s]),
                t[_part(outer, s), n0:, _part(inner, 1 - s)].reshape(outer[s], n1 * inner[1 - s]),
            ], axis=1).ravel()
            for s in (0, 1)
        ])  # fmt: skip

    def _unstored(self, data: np.ndarray, m: np.ndarray, k: int, *, right: bool) -> np.ndarray:
        outer, inner = (m[k + 1], m[k]) if right else (m[k], m[k + 1])
        n0, n1 = (int(x) for x in self._counts[k])
        t = np.zeros((int(outer.sum()), n0 + n1, int(inner.sum())))
        start = 0
        for s in (0, 1):
            width = n0 * inner[s] + n1 * inner[1 - s]
            block = data[start : start + outer[s] * width].reshape(outer[s], width)
            start += outer[s] * width
            t[_part(outer, s), :n0, _part(inner, s)] = block[:, : n0 * inner[s]].reshape(outer[s], n0, inner[s])
            t[_part(outer, s), n0:, _part(inner, 1 - s)] = block[:, n0 * inner[s] :].reshape(outer[s], n1, inner[1 - s])
        t = t[:, np.argsort(self._sorted[k])]
        return np.ascontiguousarray(t.transpose(2, 1, 0)) if right else t

    def _kept_table(self, passes: Sequence[Pass]) -> tuple[np.ndarray, np.ndarray]:
        """Return :meth:`_gate_table`, kept for lists of passes that come again."""
        if id(passes) in self._tables and self._tables[id(passes)][0] is passes:
            return self._tables[id(passes)][1]
        if len(self._tables) > 8:
            self._tables.clear()
        found = self._gate_table(passes)
        if found[0].nbytes < LARGEST_KEPT:
            self._tables[id(passes)] = passes, found
        return found

    def _gate_table(self, passes: Sequence[Pass]) -> tuple[np.ndarray, np.ndarray]:
        """Return all gates in blocks, and where those of every pass and bond begin (-1: none)."""
        rows: dict[int, np.ndarray] = {}
        places: dict[tuple[int, int], int] = {}
        pieces: list[np.ndarray] = []
        end = 0
        table = np.empty((len(passes), len(self.labels) - 1), dtype=np.int64)
        for number, item in enumerate(passes):
            if id(item) not in rows:
                row = np.full(table.shape[1], -1, dtype=np.int64)
                for bond, gate in enumerate(item.bonds or ()):
                    if gate is None:
                        continue
                    key = (id(gate), bond)
                    if key not in places:
                        places[key] = end
                        pieces.append(self._gate_blocks(gate, bond))
                        end += len(pieces[-1])
                    row[bond] = places[key]
                rows[id(item)] = row
            table[number] = rows[id(item)]
        return (np.concatenate(pieces) if pieces else np.zeros(0)), table

    def _gate_blocks(self, gate: np.ndarray, bond: int) -> np.ndarray:
        key = (id(gate), bond)
        if key in self._blocks and self._blocks[key][0] is gate:
            return self._blocks[key][1]
        if len(self._blocks) > 2000:
            self._blocks.clear()
        out = []
        shape = len(self.labels[bond]), len(self.labels[bond + 1])
        index = np.arange(gate.shape[0]).reshape(shape)
        for to_right in (True, False):
            for c in (0, 1):
                chosen = self._pairs(index if to_right else index.T, bond, c, to_right)
                out.append(gate[np.ix_(chosen, chosen)].ravel())
        self._blocks[key] = gate, np.concatenate(out)
        return self._blocks[key][1]

    def _pairs(self, index: np.ndarray, bond: int, c: int, to_right: bool) -> np.ndarray:
        first, second = (bond, bond + 1) if to_right else (bond + 1, bond)
        parts = []
        for t in (0, 1):
            a = np.nonzero(self.labels[first] == t)[0]
            b = np.nonzero(self.labels[second] == (c + t) % 2)[0]
            parts.append(index[np.ix_(a, b)].ravel())
        return np.concatenate(parts)


def find_parity(plan: Plan) -> Parity | None:
    """Return the most useful weak parity of a plan of layers on neighbouring positions, or None.

    Most useful: the one that divides the operators of the sites most evenly.
    """
    L = len(plan.dims)
    near = all(op.stop - op.start == 1 for ops in plan.ops for op in ops)
    if plan.kind != "layers" or plan.uses_swaps or not near:
        return None
    legs = [d * d for d in plan.dims]
    generators = {t.positions: t.generator for t in plan.terms}
    basis = parity_gradings(generators, legs, [np.array([0])] * L)
    choices = [[g] for g in basis] + [[a, b] for a, b in itertools.combinations(basis[:12], 2)]
    best, score = None, 0
    for chosen in choices:
        labels = tuple(np.sum([g.labels[k] for g in chosen], axis=0) % 2 for k in range(L))
        value = sum(min(int(x.sum()), len(x) - int(x.sum())) for x in labels)
        if value > score:
            best, score = labels, value
    return None if best is None else Parity(tuple(np.asarray(x, dtype=np.int64) for x in best))


def _joined(m: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the even and odd dimensions of the product of a bond and a site."""
    return np.array([n[0] * m[0] + n[1] * m[1], n[0] * m[1] + n[1] * m[0]])


def _above(mine: np.ndarray, other: np.ndarray) -> int:
    """Return how many values of one label are not below all of the other."""
    return len(mine) if not len(other) else int(np.sum(mine >= other.min()))


def _part(m: np.ndarray, s: int) -> slice:
    return slice(0, int(m[0])) if s == 0 else slice(int(m[0]), int(m[0] + m[1]))


def _outer_labels(tensor: np.ndarray, local: np.ndarray, inner: np.ndarray) -> np.ndarray | None:
    """Return the labels of the first index, even ones first, or None if an index is not of one label."""
    odd = np.abs(tensor)[:, (local[:, None] + inner) % 2 == 1].sum(axis=1) != 0
    even = np.abs(tensor)[:, (local[:, None] + inner) % 2 == 0].sum(axis=1) != 0
    if np.any(odd == even) or np.any(np.diff(odd.astype(int)) < 0):
        return None
    return odd.astype(np.int64)


def _block_qr(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [np.linalg.qr(matrix[np.ix_(rows == s, columns == s)]) for s in (0, 1)]
    size = sum(r.shape[0] for _, r in parts)
    q, c = np.zeros((len(rows), size)), np.zeros((size, len(columns)))
    start = 0
    for s, (x, r) in enumerate(parts):
        stop = start + len(r)
        q[rows == s, start:stop] = x
        c[start:stop, columns == s] = r
        start = stop
    return q, c, np.repeat([0, 1], [len(r) for _, r in parts])


def _block_svd(
    matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray, keep: np.ndarray | None
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray, np.ndarray]:
    """Return u, singular values by label, v and the labels of the new index; at most ``keep`` values per label."""
    parts = []
    for s in (0, 1):
        block = matrix[np.ix_(rows == s, columns == s)]
        empty = np.zeros((block.shape[0], 0)), np.zeros(0), np.zeros((0, block.shape[1]))
        parts.append(robust_svd(block) if block.size else empty)
    largest = max((x[0] for _, x, _ in parts if len(x)), default=0.0)
    counts = [int(np.count_nonzero(x > NOISE * largest)) for _, x, _ in parts]
    if keep is not None:
        counts = [min(c, int(m)) for c, m in zip(counts, keep, strict=True)]
    u, v = np.zeros((len(rows), sum(counts))), np.zeros((sum(counts), len(columns)))
    start = 0
    for s, (a, _, b) in enumerate(parts):
        stop = start + counts[s]
        u[rows == s, start:stop] = a[:, : counts[s]]
        v[start:stop, columns == s] = b[: counts[s]]
        start = stop
    return u, [x[1][:c] for x, c in zip(parts, counts, strict=True)], v, np.repeat([0, 1], counts)
