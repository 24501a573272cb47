"""Evolution towards a slow steady state in fewer time units: reduced-rank extrapolation over snapshots.

With x_k = exp(L T k) x_0 and d_k = x_{k+1} - x_k, the combination sum_k c_k x_k, sum_k c_k = 1, that minimises
|sum_k c_k d_k| removes as many slow modes as there are differences beyond the first (R. P. Eddy, Extrapolating to the
limit of a vector sequence, 1979; A. Sidi, SIAM J. Numer. Anal. 23, 197 (1986)).  The combination is a matrix product;
it is cut and *evolved on*: the residual of truncated states does not rank them, and what counts is the evolution after
the extrapolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ...states import MPOState
from ...states.mpo_algebra import inner, linear_combination
from ..tebd.measure import difference, profile
from .evolution import Evolver

__all__ = ["Acceleration", "extrapolation_weights", "reduced_rank_extrapolation"]

# Regularisation of the least-squares problem, relative to the largest difference (squared), and the largest sum |c|:
# what the truncation of the snapshots adds to the combination is multiplied by it.
RIDGE, LARGEST_SUM = 1e-12, 1e3


def extrapolation_weights(gram: np.ndarray, ridge: float = RIDGE, largest: float = LARGEST_SUM) -> np.ndarray:
    """Return c, shape (K,), sum 1, that minimises c^T G c + ridge |G| |c|^2; the ridge grows until sum |c| is small.

    Parameters
    ----------
    gram
        G_kl = (d_k | d_l), (K, K).
    ridge
        Relative to the trace of G.
    largest
        Bound on sum |c|.

    Examples
    --------
    Differences that shrink by 0.9 from one to the next: c annihilates the mode, -0.9 + 1.

    >>> d = np.array([1.0, 0.9])
    >>> (extrapolation_weights(np.outer(d, d), 1e-14) / 10).round(6).tolist()
    [-0.9, 1.0]
    """
    size = len(gram)
    scale = float(np.trace(gram))
    if not scale > 0:
        return np.eye(size)[-1]
    while True:
        y = np.linalg.lstsq(gram / scale + ridge * np.eye(size), np.ones(size), rcond=None)[0]
        c = y / y.sum() if y.sum() else np.full(size, np.inf)
        if np.abs(c).sum() <= largest or ridge > 1:
            return np.asarray(c)
        ridge *= 10


def reduced_rank_extrapolation(states: Sequence[MPOState], ridge: float = RIDGE) -> tuple[MPOState, np.ndarray]:
    """Return sum_k c_k x_k over all snapshots but the first, exactly (bonds add), and c.

    Parameters
    ----------
    states
        Snapshots x_0 .. x_K at equal intervals, trace 1, K >= 1.

    Raises
    ------
    InputError
        For fewer than two snapshots.
    """
    if len(states) < 2:
        raise InputError(f"Argument `states` needs at least two snapshots, but has {len(states)}.", field="states")
    n = len(states)
    products = np.empty((n, n))
    for i in range(n):
        for j in range(i, n):
            products[i, j] = products[j, i] = inner(states[i], states[j])
    step = np.eye(n)[1:] - np.eye(n)[:-1]
    c = extrapolation_weights(step @ products @ step.T, ridge)
    return linear_combination(list(states[1:]), list(c)), c


@dataclass(frozen=True)
class Acceleration:
    """Cycles of evolution and extrapolation at one bond dimension.

    Attributes
    ----------
    evolver
        The evolution.
    dt, order
        Time step and order of the splitting.
    interval
        Steps between snapshots.
    snapshots
        Number of differences per extrapolation.
    settling
        Intervals evolved after an extrapolation before the next snapshots: fast modes and what the cut added decay.
    """

    evolver: Evolver
    dt: float
    interval: int
    snapshots: int = 4
    settling: int = 2
    order: int = 4

    def cycle(self, state: MPOState, bond: int, key: int = 0) -> tuple[MPOState, dict[str, float]]:
        """Return the evolved state after one cycle, and what was seen.

        ``drift``: change of local expectation values over the last interval before the extrapolation; ``moved``: by the
        extrapolation; ``settled``: over the last interval of settling, the honest measure of what is left to relax.
        """
        state = self.evolver.fit(state, bond, key)
        taken = [state.normalised()]
        for _ in range(self.snapshots + 1):
            state = self.evolver.run(state, self.dt, self.interval, self.order)
            taken.append(state)
        drift = difference(profile(taken[-1]), profile(taken[-2]))
        combined, c = reduced_rank_extrapolation(taken)
        before = profile(state)
        state = self.evolver.fit(combined.normalised(), bond, key + 1).normalised()
        moved = difference(profile(state), before)
        settled = 0.0
        for _ in range(self.settling):
            last = profile(state)
            state = self.evolver.run(state, self.dt, self.interval, self.order)
            settled = difference(profile(state), last)
        return state, {"drift": drift, "moved": moved, "settled": settled, "weights": float(np.abs(c).sum())}
