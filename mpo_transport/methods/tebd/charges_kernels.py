"""The two loops over the entries of a two-site block in charge sectors, compiled where numba is there."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

__all__ = ["compiled", "reordered"]


def _take_real(x: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    n = len(x)
    for i in range(len(table)):
        k = table[i]
        if k < n:
            out[i] = x[k]
        elif k < 2 * n:
            out[i] = -x[k - n]
        else:
            out[i] = 0.0


def _take_complex(x: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    n = len(x)
    for i in range(len(table)):
        k = table[i]
        if k < n:
            out[i] = x[k]
        elif k < 2 * n:
            out[i] = np.conj(x[k - n])
        else:
            out[i] = 0.0


def _rotate(x: np.ndarray, blocks: np.ndarray, unitaries: np.ndarray, places: np.ndarray) -> None:
    """Apply the unitaries of N and the conjugate ones of N' to every array [n_1, n_1', pairs], in place."""
    most = 0
    for i in range(len(blocks)):
        most = max(most, blocks[i, 1] * blocks[i, 2] * blocks[i, 3])
    half = np.empty(most, dtype=x.dtype)
    for i in range(len(blocks)):
        start, a, b, width = blocks[i, 0], blocks[i, 1], blocks[i, 2], blocks[i, 3]
        u, v = places[blocks[i, 4]], places[blocks[i, 5]]
        row = b * width
        for r in range(a):
            target = half[r * row : (r + 1) * row]
            target[:] = 0.0
            for c in range(a):
                factor = unitaries[u + r * a + c]
                source = x[start + c * row : start + (c + 1) * row]
                for k in range(row):
                    target[k] += factor * source[k]
        for r in range(a):
            for s in range(b):
                target = x[start + r * row + s * width : start + r * row + (s + 1) * width]
                target[:] = 0.0
                for c in range(b):
                    factor = np.conj(unitaries[v + s * b + c])
                    source = half[r * row + c * width : r * row + (c + 1) * width]
                    for k in range(width):
                        target[k] += factor * source[k]


def _rotate_plain(x: np.ndarray, blocks: np.ndarray, unitaries: np.ndarray, places: np.ndarray) -> None:
    """The same without a compiler."""
    for start, a, b, width, N, M in blocks.tolist():
        u = unitaries[places[N] : places[N] + a * a].reshape(a, a)
        v = unitaries[places[M] : places[M] + b * b].reshape(b, b)
        part = x[start : start + a * b * width]
        moved = np.matmul(v.conj(), (u @ part.reshape(a, b * width)).reshape(a, b, width))
        part[:] = moved.ravel()


def reordered(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return the entries in another order; see :mod:`.charges_layout` for the table."""
    take, _ = compiled(np.iscomplexobj(x))
    out = np.empty(len(table), dtype=x.dtype)
    take(x, table, out)
    return out


def _take_plain(x: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    mirror = x.conj() if np.iscomplexobj(x) else -x
    np.take(np.concatenate([x, mirror, np.zeros(1, dtype=x.dtype)]), table, out=out, mode="clip")


@functools.cache
def compiled(is_complex: bool) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return the functions that reorder entries and that apply unitaries, compiled if numba is there."""
    try:
        import numba

        fast = numba.njit(cache=True, nogil=True, fastmath={"contract"})
        return fast(_take_complex if is_complex else _take_real), fast(_rotate)
    except (ImportError, RuntimeError):
        return _take_plain, _rotate_plain
