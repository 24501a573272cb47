"""Local expectation values of a train, by which drifts and differences of states are judged; bonds made larger."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ...states import MPOState
from ...states.mpo_environments import Environments
from ...superoperator import hermitian_basis
from ...superoperator.train import canonical_train

__all__ = ["difference", "enlarge", "operator_norms", "profile"]


@lru_cache(maxsize=64)
def operator_norms(d: int) -> np.ndarray:
    """Return the operator norms of the one-site basis, shape (d^2,)."""
    return np.array([np.linalg.norm(b, 2) for b in hermitian_basis(d)])


def profile(state: MPOState) -> np.ndarray:
    """Return the expectation values of all local basis operators, each scaled to operator norm 1, in one flat array.

    For every bond (i, j) of the lattice all products B_k (x) B_l of the Hermitian basis (identities included), for
    sites without a bond all B_k.
    """
    env = Environments(state.tensors)
    where = {site: p for p, site in enumerate(state.order)}
    bonds = [tuple(sorted((where[i], where[j]))) for i, j in state.lattice.bonds]
    joined = {s for bond in state.lattice.bonds for s in bond}
    out = [_pair(env, state.tensors, p, q) for p, q in bonds]
    out += [
        env.opened_left(where[s]) @ env.right[where[s] + 1] / _norms(state.tensors, where[s])
        for s in range(state.L)
        if s not in joined
    ]
    return np.concatenate([x.ravel() for x in out]) / env.overlap


def _norms(tensors: Sequence[np.ndarray], p: int) -> np.ndarray:
    return operator_norms(round(tensors[p].shape[1] ** 0.5))


def _pair(env: Environments, tensors: Sequence[np.ndarray], p: int, q: int) -> np.ndarray:
    x = env.opened_left(p)
    for k in range(p + 1, q):
        x = x @ env.transfer[k]
    return (x @ env.opened_right(q).T) / np.outer(_norms(tensors, p), _norms(tensors, q))


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference of two profiles; infinite if a number is not finite."""
    value = float(np.abs(a - b).max()) if a.size else 0.0
    return value if np.isfinite(value) else float("inf")


def enlarge(tensors: Sequence[np.ndarray], centre: int | None, bonds: Sequence[int], seed: int) -> list[np.ndarray]:
    """Return the same vector with bond dimensions ``bonds`` (entry k: left of position k), centre 0.

    The new directions are random orthonormal ones of weight zero; bonds that are larger already stay.  They let the
    range finder of the next updates look for what the state needs, without a growth phase.
    """
    out = list(canonical_train(tensors, 0, centre))
    for k in range(len(out) - 1, 0, -1):
        m, n, r_old = out[k].shape
        r = out[k + 1].shape[0] if k + 1 < len(out) else 1
        rows = np.zeros((max(m, min(bonds[k], n * r)), n, r))
        rows[:m, :, :r_old] = out[k]
        if len(rows) > m:
            flat = rows.reshape(len(rows), n * r)
            random = np.random.Generator(np.random.Philox(key=[seed % 2**64, k])).standard_normal(
                (len(rows) - m, n * r)
            )
            for _ in range(2):  # twice is enough for orthogonality to rounding
                random -= (random @ flat[:m].T) @ flat[:m]
            q, _ = np.linalg.qr(np.concatenate([flat[:m], random]).T)
            flat[m:] = q.T[m:]
        out[k] = rows
    first = np.zeros((1, out[0].shape[1], out[1].shape[0])) if len(out) > 1 else out[0].copy()
    first[:, :, : out[0].shape[2]] = out[0]
    return [first, *out[1:]]
