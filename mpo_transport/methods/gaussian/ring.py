"""Rings of equal cells: found in the arrays of a quadratic form, solved one wave number at a time.

With a_(l, x) = e^{i chi_x l} b_(l, x) the moment equations of b are invariant under l -> l + 1, and those of
x_k = (b_k, b^+_(-k)) are closed: 2m x 2m matrices for each of the n wave numbers, of which k and -k are equivalent.
The site phases chi remove a uniform phase gradient of couplings, G_l = |G| e^{i l phi}, or the momentum of a drive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from ...superoperator.quadratic import QuadraticForm

__all__ = ["RingEquations", "nambu_form", "ring_equations"]

_EQUAL = 1e-11  # phases of an angle chi l carry a rounding that grows with l
_NEGLIGIBLE = 1e-15  # of the largest coefficient: what is left where terms cancel
_LARGEST_CELL = 64


@dataclass(frozen=True, eq=False)
class RingEquations:
    """d x_k/dt = F_k x_k + f_k and d S_k/dt = F_k S_k + S_k F_k^+ + Q_k for all wave numbers k = 2 pi r/n.

    Attributes
    ----------
    cells
        n, the number of cells.
    drift, noise
        Displacement tables: the coupling of x_(l) = (b_l, b_l^+) to x_(l+d), {d: (2m, 2m) complex}, 0 <= d < n.
    drive
        d<b_l>/dt = .. + drive, shape (m,).
    phases
        chi, shape (m,).
    """

    cells: int
    drift: dict[int, np.ndarray]
    noise: dict[int, np.ndarray]
    drive: np.ndarray
    phases: np.ndarray

    @property
    def cell(self) -> int:
        """Number of modes m of one cell."""
        return len(self.drive)

    @cached_property
    def half(self) -> np.ndarray:
        """The wave numbers that are solved, r = 0 .. n//2; the others follow from them."""
        return np.arange(self.cells // 2 + 1)

    def blocks(self, tables: dict[int, np.ndarray]) -> np.ndarray:
        """Return the tables in k space, sum_d T_d e^{ikd}, for the wave numbers of :attr:`half`, (K, 2m, 2m)."""
        out = np.zeros((len(self.half), 2 * self.cell, 2 * self.cell), dtype=complex)
        for d, table in tables.items():
            turn = np.exp(2j * np.pi * np.mod(self.half * d, self.cells) / self.cells)
            out += turn[:, None, None] * table
        return out

    def completed(self, blocks: np.ndarray) -> np.ndarray:
        """Return S_k for all n wave numbers from those of :attr:`half`: S_(-k) is S_k^* with b and b^+ exchanged."""
        m, n = self.cell, self.cells
        swap = np.r_[m : 2 * m, 0:m]
        mirrored = blocks[:, swap][:, :, swap].conj()
        return np.concatenate([blocks, mirrored[1 : n - n // 2][::-1]])

    def amplitude(self) -> np.ndarray:
        """Return the stationary <b_l>, shape (m,): zero unless there is a drive."""
        if not np.any(self.drive):
            return np.zeros(self.cell, dtype=complex)
        f = np.concatenate([self.drive, self.drive.conj()])
        return np.asarray(-np.linalg.solve(self.blocks(self.drift)[0], f)[: self.cell])


def nambu_form(form: QuadraticForm) -> tuple[sp.coo_array, sp.coo_array, np.ndarray]:
    """Return (F, Q, f) of psi = (a, a^+): d psi/dt = F psi + f, S = <{d psi, d psi^+}>/2; F, Q sparse (2L, 2L)."""
    x, d, drive = form.sparse_moments()
    L = form.L
    one = sp.eye_array(L)
    turn = sp.block_array([[one, 1j * one], [one, -1j * one]], format="csr") / math.sqrt(2)
    back = turn.conj().T
    return sp.coo_array(turn @ x @ back), sp.coo_array(turn @ d @ back), np.asarray(turn @ drive)


def ring_equations(form: QuadraticForm, *, least: int = 3, cell: int | None = None) -> RingEquations | None:
    """Return the equations per wave number if the form is a ring of at least ``least`` equal cells, else None.

    The smallest cell that fits is taken unless ``cell`` gives its number of modes; sites must be ordered cell by cell.
    Equality is up to 1e-11 of the largest coefficient and up to phases chi_x l of the modes.
    """
    if form.statistics != "boson" or least > form.L:
        return None
    F, Q, f = nambu_form(form)
    F.sum_duplicates()
    Q.sum_duplicates()
    for m in range(1, min(form.L // least, _LARGEST_CELL) + 1) if cell is None else (cell,):
        if form.L % m == 0:
            found = _with_cell(form.L, m, F, Q, f)
            if found is not None:
                return found
    return None


def _with_cell(L: int, m: int, F: sp.coo_array, Q: sp.coo_array, f: np.ndarray) -> RingEquations | None:
    n = L // m
    if not _could_fit(L, m, F):
        return None
    phases = _phases(L, m, F, Q, f)
    if phases is None:
        return None
    drift, noise = _tables(L, m, F, phases), _tables(L, m, Q, phases)
    l, x = np.divmod(np.arange(L), m)
    turned = f[:L] * np.exp(-1j * np.mod(phases[x] * l, 2 * math.pi))
    drive = turned[:m]
    if drift is None or noise is None or not _close(turned.reshape(n, m), drive, np.abs(f).max(initial=0.0)):
        return None
    return RingEquations(n, drift, noise, drive, phases)


def _close(values: np.ndarray, expected: np.ndarray, scale: float) -> bool:
    return bool(np.abs(values - expected).max(initial=0.0) <= _EQUAL * scale)


def _could_fit(L: int, m: int, F: sp.coo_array) -> bool:
    """Cheap look at the diagonal (decay rates, frequencies), which phases leave alone."""
    diagonal = F.tocsr().diagonal()[:L].reshape(-1, m)
    return _close(diagonal, diagonal[0], float(np.abs(F.data).max(initial=0.0)))


def _split(L: int, m: int, M: sp.coo_array) -> tuple[np.ndarray, ...]:
    """Return cell, mode and sort (0: a, 1: a^+) of the rows and columns of the upper half of a Nambu matrix."""
    upper = (M.row < L) & (np.abs(M.data) > _NEGLIGIBLE * np.abs(M.data).max(initial=0.0))
    row, column, data = M.row[upper], M.col[upper], M.data[upper]
    sort, column = np.divmod(column, L)
    return (*np.divmod(row, m), *np.divmod(column, m), sort, data)


def _phases(L: int, m: int, F: sp.coo_array, Q: sp.coo_array, f: np.ndarray) -> np.ndarray | None:
    """Return chi from the ratios of entries of the cells 0 and 1, by walking over the modes of a cell."""
    n = L // m
    relations: list[tuple[int, int, int, float]] = []  # chi_x - chi_y (sort 0) or chi_x + chi_y (1) = angle
    for M in (F, Q):
        l, x, k, y, sort, data = _split(L, m, M)
        key = ((x * n + np.mod(k - l, n)) * m + y) * 2 + sort
        first, second = l == 0, l == 1
        order_1, order_2 = np.argsort(key[first], kind="stable"), np.argsort(key[second], kind="stable")
        if not np.array_equal(key[first][order_1], key[second][order_2]):
            return None
        ratio = data[second][order_2] / data[first][order_1]
        parts = (x[first][order_1], y[first][order_1], sort[first][order_1], np.angle(ratio))
        relations += [(int(a), int(b), int(c), float(w)) for a, b, c, w in zip(*parts, strict=True)]
    fixed = {x: float(np.angle(f[m + x] / f[x])) for x in range(m) if f[x] != 0 and n > 1 and f[m + x] != 0}
    return _walk(m, n, relations, fixed)


def _walk(m: int, n: int, relations: list[tuple[int, int, int, float]], fixed: dict[int, float]) -> np.ndarray:
    """Solve chi_x -+ chi_y = angle (mod 2 pi), component by component; a free overall phase is set to zero.

    Where pairing fixes the phase up to pi, that one is taken which closes around the ring, chi n = 0 (mod 2 pi).

    Inconsistent relations are not noticed here: the tables will not be uniform then.
    """
    near: dict[int, list[tuple[int, int, float, int]]] = {x: [] for x in range(m)}
    for x, y, sort, angle in relations:
        near[x].append((y, sort, angle, 0))
        near[y].append((x, sort, angle, 1))
    phases = np.zeros(m)
    seen: set[int] = set()
    for root in (*fixed, *range(m)):
        if root in seen:
            continue
        # chi_x = sign_x t + offset_x with the phase t of the root; a loop through a sum fixes 2 t
        sign, offset, twice = {root: 1}, {root: 0.0}, None
        queue = [root]
        while queue:
            x = queue.pop()
            for y, sort, angle, end in near[x]:
                if sort == 0:
                    s, o = sign[x], offset[x] - angle if end == 0 else offset[x] + angle
                else:
                    s, o = -sign[x], angle - offset[x]
                if y not in sign:
                    sign[y], offset[y] = s, o
                    queue.append(y)
                elif sign[y] != s and twice is None:
                    twice = (o - offset[y]) * sign[y]
        if root in fixed or twice is None:
            t = fixed.get(root, 0.0)
        else:
            t = min((twice / 2, twice / 2 + math.pi), key=lambda phase: round(abs(np.exp(1j * n * phase) - 1), 6))
        for x, s in sign.items():
            phases[x] = math.remainder(s * t + offset[x], 2 * math.pi)
        seen |= set(sign)
    return phases


def _tables(L: int, m: int, M: sp.coo_array, phases: np.ndarray) -> dict[int, np.ndarray] | None:
    """Return {displacement: (2m, 2m)} if the matrix is uniform after the phases are removed, else None."""
    n = L // m
    l, x, k, y, sort, data = _split(L, m, M)
    turn = phases[y] * k
    data = data * np.exp(1j * np.mod(np.where(sort == 0, turn, -turn) - phases[x] * l, 2 * math.pi))
    d = np.mod(k - l, n)
    key = ((d * m + x) * m + y) * 2 + sort
    kinds, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    if np.any(count != n):
        return None
    mean = (np.bincount(inverse, data.real) + 1j * np.bincount(inverse, data.imag)) / n
    if not _close(data, mean[inverse], float(np.abs(data).max(initial=0.0))):
        return None
    out: dict[int, np.ndarray] = {}
    for code, value in zip(kinds.tolist(), mean.tolist(), strict=True):
        rest, s = divmod(code, 2)
        rest, b = divmod(rest, m)
        shift, a = divmod(rest, m)
        table = out.setdefault(shift, np.zeros((2 * m, 2 * m), dtype=complex))
        table[a, s * m + b] = value
        table[m + a, (1 - s) * m + b] = np.conj(value)
    return out
