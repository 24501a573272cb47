"""The local problem of sweeps without blocks, as plain sums: what the blocks are compared with.

In canonical form the tensors left and right of the centre are orthonormal frames, so every environment is a true
projection of part of the generator and its entries stay below its norm, however long the chain.
"""

from collections.abc import Sequence

import numpy as np


class LocalGenerator:
    """The generator projected on the two sites at a bond.

    Parameters
    ----------
    left, right
        Environments (out, w, in) of the blocks beside the two sites.
    w_left, w_right
        Operator tensors (w, out, in, w') of the two sites.
    """

    def __init__(self, left: np.ndarray, w_left: np.ndarray, w_right: np.ndarray, right: np.ndarray) -> None:
        a = np.tensordot(left, w_left, axes=(1, 0))  # l l' o i v
        b = np.tensordot(w_right, right, axes=(3, 1))  # v o i r r'
        self.m, self.k, self.terms = a.shape[0] * a.shape[2], b.shape[1] * b.shape[3], a.shape[4]
        # both as single matrices: two products per application
        self._a = np.ascontiguousarray(a.transpose(0, 2, 4, 1, 3)).reshape(self.m * self.terms, self.m)
        self._b = np.ascontiguousarray(b.transpose(0, 2, 4, 1, 3)).reshape(self.terms * self.k, self.k)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return L x for x of shape (m, k)."""
        return (self._a @ x).reshape(self.m, self.terms * self.k) @ self._b

    def dense(self) -> np.ndarray:
        """Return L as a matrix on the flattened x, shape (m k, m k)."""
        a, b = self._a.reshape(self.m, self.terms, self.m), self._b.reshape(self.terms, self.k, self.k)
        size = self.m * self.k
        return np.tensordot(a, b, axes=(1, 0)).transpose(0, 3, 1, 2).reshape(size, size)


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
