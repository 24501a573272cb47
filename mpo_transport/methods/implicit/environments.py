"""Projections of a matrix-product operator on the blocks left and right of a bond.

In canonical form the tensors left and right of the centre are orthonormal frames, so every environment is a true
projection of part of the generator and its entries stay below its norm, however long the chain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["edge", "grow_left", "grow_right", "left_environments", "right_environments"]


def edge() -> np.ndarray:
    """Return the environment of nothing, shape (1, 1, 1)."""
    return np.ones((1, 1, 1))


def grow_left(env: np.ndarray, a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the environment (out, w', in) of one more site to the left of the bond; ``env`` has (out, w, in)."""
    half = np.tensordot(env, a, axes=(2, 0))  # o w i r
    half = np.tensordot(half, w, axes=((1, 2), (0, 2)))  # o r n w'
    return np.tensordot(a, half, axes=((0, 1), (0, 2))).transpose(0, 2, 1)


def grow_right(env: np.ndarray, a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the environment (out, w, in) of one more site to the right of the bond; ``env`` has (out, w', in)."""
    half = np.tensordot(a, env, axes=(2, 2))  # l i o w'
    half = np.tensordot(w, half, axes=((2, 3), (1, 3)))  # w n l o
    return np.tensordot(a, half, axes=((1, 2), (1, 3)))


def left_environments(tensors: Sequence[np.ndarray], ws: Sequence[np.ndarray], upto: int) -> list[np.ndarray]:
    """Return the environments left of positions 0 .. ``upto``."""
    out = [edge()]
    for p in range(upto):
        out.append(grow_left(out[-1], tensors[p], ws[p]))
    return out


def right_environments(tensors: Sequence[np.ndarray], ws: Sequence[np.ndarray], downto: int) -> list[np.ndarray]:
    """Return the environments right of positions L-1, L-2, .. ``downto``, in this order."""
    out = [edge()]
    for p in range(len(tensors) - 1, downto, -1):
        out.append(grow_right(out[-1], tensors[p], ws[p]))
    return out
