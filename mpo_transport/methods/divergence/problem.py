"""A model as the local-divergence equations see it: generators on the bonds, in the operator strings that matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...model import Lindbladian
from ...states import MPOState
from ...superoperator.terms import local_generators, pair_generators
from ..tebd.graded import Parity
from .frames import Frames, frames

__all__ = ["Problem", "build_problem", "invariant_legs"]

# Entries of a generator below this share of the largest one are zero.
ZERO = 1e-13


@dataclass(frozen=True, eq=False)
class Problem:
    """Generators on the bonds of an open chain, scaled to the largest local rate.

    Attributes
    ----------
    generators
        h_j / rate, shape (n_j, n_{j+1}, n_j, n_{j+1}), outputs first, restricted to ``kept``.
    kept
        For every site the operators of the Hermitian basis that the generator mixes with the identity; on all others
        the steady state vanishes.
    legs
        d^2 of every site.
    rate
        The scale taken out (unit: rate).
    parity
        The weak parity, or None.
    """

    generators: tuple[np.ndarray, ...]
    kept: tuple[np.ndarray, ...]
    legs: tuple[int, ...]
    rate: float
    parity: Parity | None

    def frames(self, state: MPOState, ranks: Sequence[int] | None = None) -> Frames:
        """Return the frames of a state, normalised, with bonds of at most ``ranks``."""
        plain = [np.zeros(t.shape[0], dtype=np.int64) for t in state.tensors] + [np.zeros(1, dtype=np.int64)]
        bonds, sites = plain, [np.zeros(len(k), dtype=np.int64) for k in self.kept]
        if self.parity is not None and state.centre is not None:
            m = self.parity.bonds(state.tensors, state.centre)
            if m is not None:
                bonds = [np.repeat([0, 1], x) for x in m]
                sites = [x[k] for x, k in zip(self.parity.labels, self.kept, strict=True)]
        train = [t[:, k] for t, k in zip(state.tensors, self.kept, strict=True)]
        return frames(train, bonds, sites, ranks)

    def state(self, f: Frames, like: MPOState) -> MPOState:
        """Return the state of trace 1 of these frames; the trace must not vanish."""
        tensors = []
        for t, kept, n in zip(f.train(), self.kept, self.legs, strict=True):
            full = np.zeros((t.shape[0], n, t.shape[2]))
            full[:, kept] = t
            tensors.append(full)
        return MPOState(like.lattice, tuple(tensors), like.order, 0).normalised()


def build_problem(model: Lindbladian, parity: Parity | None) -> Problem:
    """Return the equations of an open chain with couplings between neighbours."""
    dims = tuple(int(d) for d in model.lattice.dims)
    legs = tuple(d * d for d in dims)
    pairs = pair_generators(local_generators(model), dims)
    h = []
    for j in range(model.L - 1):
        matrix = pairs.get((j, j + 1), np.zeros((legs[j] * legs[j + 1],) * 2))
        h.append(matrix.reshape(legs[j], legs[j + 1], legs[j], legs[j + 1]))
    kept = invariant_legs(h, legs)
    h = [t[np.ix_(kept[j], kept[j + 1], kept[j], kept[j + 1])] for j, t in enumerate(h)]
    rate = max((float(np.linalg.norm(_matrix(t), 2)) for t in h), default=0.0) or 1.0
    return Problem(tuple(np.ascontiguousarray(t / rate) for t in h), kept, legs, rate, parity)


def _matrix(h: np.ndarray) -> np.ndarray:
    return h.reshape(h.shape[0] * h.shape[1], -1)


def invariant_legs(generators: Sequence[np.ndarray], legs: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Return the smallest sets of operators, one per site and with the identity, whose products the generator keeps.

    >>> import numpy as np
    >>> h = np.zeros((4, 4, 4, 4))
    >>> h[3, 0, 0, 0] = h[0, 3, 3, 0] = 1.0  # 1 1 -> Z 1 -> 1 Z
    >>> [x.tolist() for x in invariant_legs([h], [4, 4])]
    [[0, 3], [0, 3]]
    """
    sets = [{0} for _ in legs]
    changed = True
    while changed:
        changed = False
        for j, h in enumerate(generators):
            a, b = sorted(sets[j]), sorted(sets[j + 1])
            image = np.abs(h[:, :, a][:, :, :, b]).max(axis=(2, 3)) > ZERO * np.abs(h).max()
            for out, k in ((image.any(axis=1), j), (image.any(axis=0), j + 1)):
                more = set(np.nonzero(out)[0].tolist()) - sets[k]
                if more:
                    sets[k] |= more
                    changed = True
    return tuple(np.array(sorted(s), dtype=np.int64) for s in sets)
