"""Partial traces of a matrix-product density matrix, and the expectation values of many products in one sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Environments", "product_values"]

# A sum that is smaller than this share of the sum of moduli is zero.
CANCELLED = 8 * float(np.finfo(float).eps)

# A product of local operators: (position, (label, vector of Tr(O B_k))) ascending in position; equal labels on equal
# positions mean equal vectors.
String = Sequence[tuple[int, tuple[Any, np.ndarray]]]


class Environments:
    """Left and right partial traces of a train, scaled to avoid overflow.

    With t_p = sqrt(d) T_p[:, 0, :] the trace of one site, ``transfer[p]`` = t_p / c_p.  ``left[p]`` = t_0 ... t_{p-1}
    in units c that give it norm one, shape (l_p,), and ``right[p]`` = t_p ... t_{L-1} in the same units, so that
    ``left[p] @ right[p] = overlap`` at every p and Tr rho = overlap * exp(log_scale).
    """

    def __init__(self, tensors: Sequence[np.ndarray]) -> None:
        self.tensors = tuple(tensors)
        length = len(self.tensors)
        self.left: list[np.ndarray] = [np.ones(1)]
        self.transfer: list[np.ndarray] = []
        self.units: list[float] = []
        for t in self.tensors:
            transfer = t[:, 0, :] * t.shape[1] ** 0.25  # sqrt(d) with d^2 = t.shape[1]
            vector = self.left[-1] @ transfer
            unit = float(np.linalg.norm(vector))
            if unit <= CANCELLED * float(np.linalg.norm(np.abs(self.left[-1]) @ np.abs(transfer))):
                vector, unit = np.zeros_like(vector), 1.0  # what is left of a sum that vanishes is rounding
            self.units.append(unit)
            self.transfer.append(transfer / unit)
            self.left.append(vector / unit)
        self.right: list[np.ndarray] = [np.ones(1)] * (length + 1)
        for p in range(length - 1, -1, -1):
            self.right[p] = self.transfer[p] @ self.right[p + 1]
        self.overlap = float(self.left[-1] @ self.right[-1])
        self.log_scale = float(np.sum(np.log(self.units)))
        self._opened_left: dict[int, np.ndarray] = {}
        self._opened_right: dict[int, np.ndarray] = {}

    @property
    def sign(self) -> float:
        """Sign of the trace."""
        return float(np.sign(self.overlap))

    @property
    def log_trace(self) -> float:
        """ln |Tr rho|."""
        return self.log_scale + float(np.log(abs(self.overlap)))

    @property
    def trace(self) -> float:
        """Tr rho."""
        return self.overlap * float(np.exp(self.log_scale))

    def scaled(self, p: int) -> np.ndarray:
        """Return tensor p in the units of the environments, shape (l, d^2, r)."""
        return self.tensors[p] / self.units[p]

    def opened_left(self, p: int) -> np.ndarray:
        """Return everything up to position p with the leg of p open, shape (d^2, r)."""
        if p not in self._opened_left:
            l, n, r = self.tensors[p].shape
            self._opened_left[p] = (self.left[p] @ self.tensors[p].reshape(l, n * r)).reshape(n, r) / self.units[p]
        return self._opened_left[p]

    def opened_right(self, p: int) -> np.ndarray:
        """Return everything from position p on with the leg of p open, shape (d^2, l)."""
        if p not in self._opened_right:
            self._opened_right[p] = np.ascontiguousarray((self.tensors[p] @ self.right[p + 1]).T) / self.units[p]
        return self._opened_right[p]


def product_values(tensors: Sequence[np.ndarray], env: Environments, strings: Sequence[String]) -> np.ndarray:
    """Return Tr(string rho)/Tr(rho) for every string of local operators, shape (len(strings),), complex.

    One sweep from left to right carries all distinct beginnings at once, so that all two-point products of a chain
    cost one vector-matrix product per beginning and site.
    """
    values = np.zeros(len(strings), dtype=complex)
    plan = _Plan(len(tensors), strings)
    active: dict[int, int] = {}  # beginning -> row of `front`
    front = np.zeros((0, 1), dtype=complex)
    for p, t in enumerate(tensors):
        steps = plan.at(p)
        ends = front @ env.opened_right(p).T if any(s[3] for s in steps) else front
        end = env.opened_right(p) @ env.left[p]
        started, rows = [], []
        for parent, vector, children, leaves in steps:
            if leaves:
                values[leaves] = vector @ (end if parent < 0 else ends[active[parent]])
            if children:
                rows.append(_absorb(env, p, None if parent < 0 else front[active[parent]], vector))
                started += children
        kept = [node for node in active if plan.last_use[node] > p]
        moved = _times_real(front[[active[node] for node in kept]], env.transfer[p])
        front = np.concatenate([moved, np.array(rows, dtype=complex).reshape(len(rows), t.shape[2])])
        active = {node: row for row, node in enumerate(kept + started)}
    values /= env.overlap
    values[plan.empty] = 1.0
    return values


def _times_real(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return complex rows times a real matrix without making the matrix complex."""
    n = len(rows)
    if n == 0:
        return np.zeros((0, matrix.shape[1]), dtype=complex)
    out = np.concatenate([rows.real, rows.imag]) @ matrix
    return out[:n] + 1j * out[n:]


def _absorb(env: Environments, p: int, start: np.ndarray | None, vector: np.ndarray) -> np.ndarray:
    """Return start . T_p[vector], shape (r,); without ``start`` everything up to p is traced out."""
    if start is None:
        return vector @ env.opened_left(p)
    # the operator first: (l, r) instead of (d^2, r) once per beginning
    matrix = np.tensordot(vector, env.scaled(p), axes=(0, 1))
    return start @ matrix


class _Plan:
    """The strings as a tree of beginnings: node -> where it starts, and where it is last needed."""

    def __init__(self, length: int, strings: Sequence[String]) -> None:
        self.empty = [k for k, s in enumerate(strings) if not s]
        self.last_use: list[int] = []
        nodes: dict[tuple[Any, ...], int] = {}
        # per position: (parent, label) -> [vector, children, leaves]
        self.steps: list[dict[tuple[int, Any], tuple[np.ndarray, list[int], list[int]]]]
        self.steps = [{} for _ in range(length)]
        for k, string in enumerate(strings):
            parent = -1
            for depth, (p, (label, vector)) in enumerate(string):
                if parent >= 0:
                    self.last_use[parent] = max(self.last_use[parent], p)
                step = self.steps[p].setdefault((parent, label), (vector, [], []))
                if depth == len(string) - 1:
                    step[2].append(k)
                    break
                name = (parent, p, label)
                if name not in nodes:
                    nodes[name] = len(self.last_use)
                    self.last_use.append(p)
                    step[1].append(nodes[name])
                parent = nodes[name]

    def at(self, p: int) -> list[tuple[int, np.ndarray, list[int], list[int]]]:
        """Return (parent, vector, children, leaves) of everything that happens at position p."""
        return [(parent, *step) for (parent, _), step in self.steps[p].items()]
