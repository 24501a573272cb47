r"""Layers on two threads: two halves of a train that meet at one bond, so that both can be swept at once.

With the centre matrix C of the bond c in the middle, the state is cut without losing what a truncation must know,

    psi = (A ... A Q) C (B ... B) = M S^{-1} N,        M = A ... A Q S,    N = C B ... B,

S the norms of the rows of C, Q turned such that these rows are orthogonal (singular vectors) at the beginning and
hardly anything else later, since Q = orth(theta B^T) follows them from layer to layer (orthogonal iteration).  Each
half then is a train of its own with its centre at the cut, whose open index carries the weight of the other half: its
truncations are as good as those of the whole.  Layers with a gate on c alternate with layers without, so a half can
apply what is left of the one on the way out and the next one on the way back; then the gate of the following layer on c
joins both,

    theta = G (M S^{-1} N),        S^{-1} N = (S^{-1} C') B',

and parts them again.  S^{-1} C' is bounded however small the values of S are, as in the update of M. B. Hastings,
J. Math. Phys. 50, 095207 (2009); both halves are right to rounding errors of |psi|, so that directions of less weight
are dropped (and found again by the next gate).

The half that the centre comes from is ahead by one layer:

    near half    1 in    c    2 out, 3 in    c    4 out, 5 in    c    ...
    far half                  1 out, 2 in         3 out, 4 in         ...

Both threads do the same whenever they do it: results do not depend on which is faster.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from . import blocks

__all__ = ["carry_halves", "meeting_bond"]

# Sites of a half at least.
SHORTEST = 2
# Multiplications per layer from which on two threads pay.
ENOUGH = 3e4


def meeting_bond(passes: np.ndarray, m: np.ndarray) -> int | None:
    """Return the bond at which two halves meet, or None where one thread does better or layers do not alternate.

    It has a gate in the first, third, ... pass and none in the others (see :func:`.blocks.carry` for the arguments).
    """
    total = m.sum(axis=1).astype(float)
    if len(passes) < 3 or float(np.sum(total[:-2] * total[1:-1] * total[2:])) < ENOUGH:
        return None
    fits = np.all(passes[::2] >= 0, axis=0) & np.all(passes[1::2] < 0, axis=0)
    fits[: SHORTEST - 1] = fits[passes.shape[1] - SHORTEST + 1 :] = False
    found = np.nonzero(fits)[0]
    return int(found[np.argmin(np.abs(2 * found - (passes.shape[1] - 1)))]) if len(found) else None


def carry_halves(
    data: np.ndarray,
    starts: np.ndarray,
    m: np.ndarray,
    n: np.ndarray,
    gates: np.ndarray,
    passes: np.ndarray,
    forward: bool,
    iterations: int,
    weights: np.ndarray,
    weigh: bool,
) -> None:
    """Do what :func:`.blocks.carry` does, on two threads where that pays."""
    c = meeting_bond(passes, m)
    if c is None:
        blocks.compiled()[0](data, starts, m, n, gates, passes, forward, iterations, weights, weigh)
        return
    carry, _ = blocks.compiled()

    def half(sites: slice, bonds: slice, inner: slice) -> Callable[[int, int, bool], None]:
        """Return how a half carries out the passes first .. last - 1, the first of them to the right or not."""
        rows = passes[:, inner].copy()
        fixed, seen = (starts[sites], m[bonds], n[sites], gates), weights[inner]
        return lambda first, last, go: carry(data, *fixed, rows[first:last], go, iterations, seen, weigh)

    left = half(slice(0, c + 1), slice(0, c + 2), slice(0, c))
    right = half(slice(c + 1, None), slice(c + 1, None), slice(c + 1, None))
    near, far = (left, right) if forward else (right, left)
    close, join = blocks.compiled_halves()
    values, link = np.zeros(int(m[c + 1].sum())), np.zeros(int(m[c + 1] @ m[c + 1]))

    def work(first: int) -> None:
        far(first, first + 2, forward)
        close(data, starts, m, n, c, forward, values, link)

    def meet(number: int, *, to_right: bool, apart: bool, part: bool) -> None:
        place = passes[number, c]
        join(data, starts, m, n, gates, place, c, to_right, iterations, weights, weigh, values, link, apart, part)

    count = len(passes)
    last = 2 * ((count - 1) // 2)
    near(0, 1, forward)
    meet(0, to_right=forward, apart=False, part=True)
    with ThreadPoolExecutor(1) as pool:
        for k in range(0, last, 2):
            other = pool.submit(work, k)
            near(k + 1, k + 3, not forward)
            other.result()
            meet(k + 2, to_right=forward, apart=True, part=k + 2 < last)
    far(last, count, forward)
    if count % 2 == 0:
        meet(count - 1, to_right=not forward, apart=False, part=False)
        near(count - 1, count, not forward)
