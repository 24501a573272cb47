"""IDR(s): induced dimension reduction for large non-symmetric systems, with a state that can be stored.

M. B. van Gijzen, P. Sonneveld, ACM Trans. Math. Softw. 38, 5 (2011), "IDR(s) with biorthogonality".  Nearly as few
products as full GMRES (one step minimises nothing, but s directions are kept biorthogonal to a fixed random space) with
2 s + 4 vectors, O(s) of them touched per product.  It may diverge where the spectrum surrounds zero on the imaginary
side: the caller watches the residual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["InducedReduction", "idr_chunk"]

Apply = Callable[[np.ndarray], np.ndarray]
_ANGLE = 0.7


@dataclass(frozen=True)
class InducedReduction:
    """Where a solve of A x = b stands, at the start of a cycle of s + 1 products.

    Attributes
    ----------
    x, r
        Iterate and its residual, (n,).
    G, U
        Directions with A U = G, (s, n).
    M
        P G^T, (s, s).
    omega
        Last step length.
    products
        Products with A so far.
    """

    x: np.ndarray
    r: np.ndarray
    G: np.ndarray
    U: np.ndarray
    M: np.ndarray
    omega: float = 1.0
    products: int = 0

    @classmethod
    def begin(cls, apply: Apply, b: np.ndarray, x: np.ndarray, s: int = 4) -> InducedReduction:
        """Return the start from the vector x."""
        none = np.zeros((s, len(b)))
        return cls(x, b - apply(x), none, none, np.eye(s), 1.0, 1)

    @property
    def residual(self) -> float:
        """|r|, infinite if it is no number."""
        value = float(np.linalg.norm(self.r))
        return value if np.isfinite(value) else np.inf

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what has to be stored beside :meth:`numbers`."""
        return {"x": self.x, "r": self.r, "G": self.G, "U": self.U, "M": self.M}

    def numbers(self) -> dict[str, Any]:
        """Return the scalars."""
        return {"omega": self.omega, "products": self.products}

    @classmethod
    def stored(cls, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> InducedReduction:
        """Return the state from its arrays and scalars."""
        named = {name: arrays[name] for name in ("x", "r", "G", "U", "M")}
        return cls(**named, omega=float(numbers["omega"]), products=int(numbers["products"]))


def idr_chunk(
    apply: Apply, precondition: Apply, state: InducedReduction, *, target: float, products: int, seed: int
) -> InducedReduction:
    """Return the state after at least ``products`` more products, or at |r| <= ``target``.

    The shadow space is drawn from ``seed`` again in every chunk, so chunks of any length give the same
    numbers as one run.
    """
    s, n = state.G.shape
    shadow = np.linalg.qr(np.random.default_rng([seed, n]).standard_normal((n, s)))[0].T.copy()
    x, r, omega = state.x.copy(), state.r.copy(), state.omega
    G, U, M = state.G.copy(), state.U.copy(), state.M.copy()
    done = 0
    norm = float(np.linalg.norm(r))
    while norm > target and done < products and np.isfinite(norm):
        f = shadow @ r
        for k in range(s):
            try:
                c = np.linalg.solve(M[k:, k:], f[k:])
            except np.linalg.LinAlgError:  # breakdown: the directions have become dependent, begin anew from x
                return InducedReduction(x, r, np.zeros((s, n)), np.zeros((s, n)), np.eye(s), 1.0, state.products + done)
            U[k] = omega * precondition(r - c @ G[k:]) + c @ U[k:]
            G[k] = apply(U[k])
            for i in range(k):
                a = (shadow[i] @ G[k]) / M[i, i]
                G[k] -= a * G[i]
                U[k] -= a * U[i]
            M[k:, k] = shadow[k:] @ G[k]
            step = f[k] / M[k, k]
            r -= step * G[k]
            x += step * U[k]
            f[k + 1 :] -= step * M[k + 1 :, k]
        v = precondition(r)
        t = apply(v)
        done += s + 1
        size = float(np.linalg.norm(t) * np.linalg.norm(r))
        if size == 0:
            norm = float(np.linalg.norm(r))
            break
        cosine = float(t @ r) / size
        omega = float(t @ r) / float(t @ t)
        if abs(cosine) < _ANGLE and cosine != 0:  # a short step would stall the recursion
            omega *= _ANGLE / abs(cosine)
        x += omega * v
        r -= omega * t
        norm = float(np.linalg.norm(r))
    return InducedReduction(x, r, G, U, M, omega, state.products + done)
