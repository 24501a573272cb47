"""From a factor S to the matrix product of rho = S S^+: blocks of definite charge, compressed, then real.

A bond of rho carries a pair (k, k') of levels of S and S^+, of charge q = k - k'; an operator of charge s (the
identity and Z: 0; the operator of a_k,k+1: 1; its adjoint: -1) joins q and q + s.  Blocks of q and -q are complex
conjugates, and those of q = 0 are real in the Hermitian combinations.  Bonds of (levels)^2 would be too large for dense
matrices; their sectors are no larger than ``levels``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...superoperator import hermitian_basis
from ...superoperator.train import robust_svd
from .ladder import Ladder

__all__ = ["ChargedTrain", "density_train"]

Blocks = dict[tuple[int, int], np.ndarray]
Sectors = dict[int, np.ndarray]


@dataclass
class ChargedTrain:
    """One dictionary (q left, q right) -> (l, operators, r) per site; ``up`` is the operator of charge 1."""

    sites: list[Blocks]
    up: np.ndarray

    # -- canonical form -----------------------------------------------------------------------------------------------

    def orthonormalise_left(self) -> None:
        """Carry the centre to the last site; the norm is divided out on the way."""
        carry: Sectors = {0: np.ones((1, 1))}
        for j, blocks in enumerate(self.sites):
            absorbed = {at: np.tensordot(carry[at[0]], t, axes=(1, 0)) for at, t in blocks.items() if at[0] in carry}
            self.sites[j] = absorbed
            if j == len(self.sites) - 1:
                break
            out: Blocks = {}
            carry = {}
            for q in sorted({at[1] for at in absorbed if at[1] >= 0}):
                rows = {at[0]: t for at, t in absorbed.items() if at[1] == q}
                matrix, shape = _stacked(rows, q, left=True)
                basis, upper = np.linalg.qr(matrix)
                if min(basis.shape) == 0:
                    continue
                for p, block in _unstacked(basis, shape, q, left=True).items():
                    out[p, q], out[-p, -q] = block, block.conj()
                carry[q], carry[-q] = upper, upper.conj()
            size = np.sqrt(sum(float(np.sum(np.abs(c) ** 2)) for c in carry.values()))
            carry = {q: c / size for q, c in carry.items()}
            self.sites[j] = out
        self._normalise(len(self.sites) - 1)

    def truncate_right(self, cutoff: float, max_bond: int) -> float:
        """Carry the centre back to the first site, discarding at most ``cutoff`` of the weight per bond.

        Returns the discarded weight, summed over the bonds.
        """
        total = 0.0
        for j in range(len(self.sites) - 1, 0, -1):
            blocks, parts, values = self.sites[j], {}, []
            for q in sorted({at[0] for at in blocks if at[0] >= 0}):
                columns = {at[1]: t for at, t in blocks.items() if at[0] == q}
                matrix, shape = _stacked(columns, q, left=False)
                u, s, v = robust_svd(matrix)
                parts[q] = (u, s, v, shape)
                values += [(float(x), q) for x in s for _ in range(1 if q == 0 else 2)]
            counts, lost = _kept(values, cutoff, max_bond)
            total += lost
            out, carry = {}, {}
            for q, (u, s, v, shape) in parts.items():
                keep = counts.get(q, 0)
                if keep == 0:
                    continue
                for p, block in _unstacked(v[:keep].T, shape, q, left=False).items():
                    out[q, p], out[-q, -p] = block, block.conj()
                carry[q] = u[:, :keep] * s[:keep]
                carry[-q] = carry[q].conj()
            self.sites[j] = out
            before = self.sites[j - 1]
            self.sites[j - 1] = {
                at: np.tensordot(t, carry[at[1]], axes=(2, 0)) for at, t in before.items() if at[1] in carry
            }
            self._normalise(j - 1)
        return total

    def _normalise(self, j: int) -> None:
        size = np.sqrt(sum(float(np.sum(np.abs(t) ** 2)) for t in self.sites[j].values()))
        self.sites[j] = {at: t / size for at, t in self.sites[j].items()}

    # -- the real matrix product --------------------------------------------------------------------------------------

    def real(self) -> tuple[np.ndarray, ...]:
        """Return the tensors (l, 4, r) in the Hermitian basis, exactly the same vector."""
        operators = [np.eye(2) / np.sqrt(2), np.diag([1.0, -1.0]) / np.sqrt(2), self.up, self.up.T]
        turn = np.array([[np.trace(b @ o) for o in operators] for b in hermitian_basis(2)])
        left, before = np.ones((1, 1), dtype=complex), {0: slice(0, 1)}
        out = []
        for j, blocks in enumerate(self.sites):
            last = j == len(self.sites) - 1
            sizes = {at[1]: t.shape[2] for at, t in blocks.items()} if not last else {0: 1}
            right, after = _hermitian_pairs(sizes)
            full = np.zeros((len(left), 4, len(right)), dtype=complex)
            for (p, q), t in blocks.items():
                if p in before and q in after:
                    rows = slice(0, 2) if p == q else slice(2, 3) if q == p + 1 else slice(3, 4)
                    full[before[p], rows, after[q]] = t
            full = np.einsum("ns,lsr->lnr", turn, full)
            full = np.tensordot(np.tensordot(left, full, axes=(1, 0)), right.conj(), axes=(2, 1))
            out.append(np.ascontiguousarray(full.real))
            left, before = right, after
        return tuple(out)


def density_train(ladder: Ladder, length: int) -> ChargedTrain:
    """Return rho = S S^+ of a chain, up to a positive factor; the levels beyond reach of either end are left out."""
    operators = {0: [np.eye(2) / np.sqrt(2), np.diag([1.0, -1.0]) / np.sqrt(2)], 1: [ladder.up], -1: [ladder.up.T]}
    a = _balanced(ladder)
    sites = []
    for j in range(length):
        n, m = (1 + min(k, length - k, ladder.levels - 1) for k in (j, j + 1))
        blocks: Blocks = {}
        for p in range(1 - n, n):
            for s, basis in operators.items():
                q = p + s
                if abs(q) >= m:
                    continue
                rows = [(k + max(p, 0), k + max(-p, 0)) for k in range(n - abs(p))]
                columns = [(k + max(q, 0), k + max(-q, 0)) for k in range(m - abs(q))]
                block = np.zeros((len(rows), len(basis), len(columns)), dtype=complex)
                for x, (k, k2) in enumerate(rows):
                    for y, (l, l2) in enumerate(columns):
                        if abs(k - l) <= 1 and abs(k2 - l2) <= 1:
                            product = a[k, l] @ a[k2, l2].conj().T
                            block[x, :, y] = [np.sum(o * product) for o in basis]
                blocks[p, q] = block
        sites.append(blocks)
    return ChargedTrain(sites, ladder.up)


def _balanced(ladder: Ladder) -> np.ndarray:
    """Return a in the bond basis where a_k,k+1 and a_k+1,k are of the same size."""
    a = ladder.a.copy()
    for k in range(ladder.levels - 1):
        there, back = np.abs(a[k, k + 1]).max(), np.abs(a[k + 1, k]).max()
        factor = np.sqrt(back / there)
        a[k + 1 :, : k + 1] /= factor
        a[: k + 1, k + 1 :] *= factor
    return a


def _kept(values: list[tuple[float, int]], cutoff: float, max_bond: int) -> tuple[dict[int, int], float]:
    """Return how many values of every charge to keep, and the weight lost; q and -q stay together."""
    values = sorted(values, reverse=True)
    weights = np.array([x * x for x, _ in values])
    tail = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
    keep = max(1, min(int(np.argmax(tail <= cutoff * tail[0])), max_bond))
    counts: dict[int, int] = {}
    for _, q in values[:keep]:
        counts[q] = counts.get(q, 0) + 1
    for q, c in counts.items():  # a value of charge q is there twice: the last one may have lost its partner
        if q and c % 2:
            counts[q] += 1 if sum(counts.values()) < max_bond else -1
    seen: dict[int, int] = {}
    lost = 0.0
    for x, q in values:
        seen[q] = seen.get(q, 0) + 1
        if seen[q] > counts.get(q, 0):
            lost += x * x
    return {q: c if q == 0 else c // 2 for q, c in counts.items()}, lost / float(tail[0])


def _stacked(blocks: dict[int, np.ndarray], q: int, *, left: bool) -> tuple[np.ndarray, dict[int, tuple[int, int]]]:
    """Return the matrix whose rows (left) or columns are the other indices; real for q = 0.

    For q = 0 the blocks of charge 1 and -1 are replaced by sqrt(2) times real and imaginary part.
    """
    pieces, shape = [], {}
    for p in sorted(blocks):
        t = blocks[p]
        matrix = t.reshape(-1, t.shape[2]) if left else t.transpose(1, 2, 0).reshape(-1, t.shape[0])
        shape[p] = (t.shape[0], t.shape[1]) if left else (t.shape[1], t.shape[2])
        if q:
            pieces.append(matrix)
        elif p == 0:
            pieces.append(matrix.real)
        elif p > 0:
            pieces += [np.sqrt(2) * matrix.real, np.sqrt(2) * matrix.imag]
    stacked = np.concatenate(pieces)
    return (stacked if left else stacked.T), shape


def _unstacked(basis: np.ndarray, shape: dict[int, tuple[int, int]], q: int, *, left: bool) -> dict[int, np.ndarray]:
    """Return the blocks of orthonormal columns in the row order of :func:`_stacked`; for q = 0 charges >= 0 only."""
    out, start = {}, 0
    for p in sorted(shape):
        rows = shape[p][0] * shape[p][1]
        if q == 0 and p < 0:
            continue
        if q == 0 and p > 0:
            part = (basis[start : start + rows] + 1j * basis[start + rows : start + 2 * rows]) / np.sqrt(2)
            start += 2 * rows
        else:
            part = basis[start : start + rows]
            start += rows
        tensor = part.reshape(*shape[p], -1)
        out[p] = tensor if left else tensor.transpose(2, 0, 1)
    return out


def _hermitian_pairs(sizes: dict[int, int]) -> tuple[np.ndarray, dict[int, slice]]:
    """Return the unitary from charges to Hermitian combinations, and where the indices of every charge are."""
    places, start = {}, 0
    for q in sorted(sizes):
        places[q] = slice(start, start + sizes[q])
        start += sizes[q]
    turn, row = np.zeros((start, start), dtype=complex), 0
    for q in sorted(x for x in sizes if x >= 0):
        one = np.eye(sizes[q])
        if q == 0:
            turn[row : row + sizes[q], places[q]] = one
            row += sizes[q]
            continue
        for factor in (1.0, 1j):
            turn[row : row + sizes[q], places[q]] = factor * one / np.sqrt(2)
            turn[row : row + sizes[q], places[-q]] = np.conj(factor) * one / np.sqrt(2)
            row += sizes[q]
    return turn, places
