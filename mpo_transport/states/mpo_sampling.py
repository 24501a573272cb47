"""Outcomes of local measurements drawn from a matrix-product density matrix.

One site after another is measured in its own basis, given what the sites before it showed:

    p(m_p | m_0 ... m_(p-1)) = Tr(P_(m_0) ... P_(m_p) rho) / Tr(P_(m_0) ... P_(m_(p-1)) rho),

with the projectors P_m of a local observable.  Sites further right are traced out, so every draw is independent and
exact, without a Markov chain (A. J. Ferris, G. Vidal, Phys. Rev. B 85, 165146 (2012), for pure states).  A truncated
state is not exactly positive; conditional probabilities below zero are set to zero, counted, and reported.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, MpoTransportWarning
from ..operators import LocalSpace
from ..superoperator.basis import operator_vector

if TYPE_CHECKING:
    from .mpo import MPOState

__all__ = ["Samples", "sample"]

# Samples drawn together.
BATCH = 4096
# Eigenvalues of an observable that differ by less, relative to the largest, are one outcome.
EQUAL = 1e-10


@dataclass(frozen=True)
class Samples:
    """Outcomes of local measurements.

    Attributes
    ----------
    sites
        The sites measured, in the order of the columns.
    outcomes
        Index of the outcome, shape (n, len(sites)), integers: row = one run of the experiment.
    spectra
        Per site the value of every outcome (eigenvalues of the observable, descending; without a basis 0 .. d-1).
    negativity
        Per site the weight of negative conditional probabilities, sum_m max(-p_m, 0), averaged over the draws.
    seed
        Seed of the draws.
    """

    sites: tuple[int, ...]
    outcomes: np.ndarray
    spectra: tuple[np.ndarray, ...]
    negativity: np.ndarray
    seed: int

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.outcomes)

    @property
    def values(self) -> np.ndarray:
        """Measured values, shape (n, len(sites))."""
        return np.stack([s[column] for s, column in zip(self.spectra, self.outcomes.T, strict=True)], axis=1)

    @property
    def bias(self) -> float:
        """Estimated total-variation distance between what was drawn and the quasi-distribution of the state.

        The sum of the negativities, to first order in them; zero for a positive state up to rounding.
        """
        return float(self.negativity.sum())

    def __repr__(self) -> str:
        return f"Samples({self.n} of {len(self.sites)} sites, bias {self.bias:.1e}, seed {self.seed})"


def sample(state: MPOState, n: int, bases: Any = None, sites: Sequence[int] | None = None, seed: int = 0) -> Samples:
    """Draw outcomes of measuring one local observable per site; see :meth:`MPOState.sample`."""
    if isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 1:
        raise InputError(f"Argument `n` must be an integer >= 1, but is {n!r}.", field="n")
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or not 0 <= seed < 2**64:
        raise InputError(f"Argument `seed` must be an integer from 0 to 2^64 - 1, but is {seed!r}.", field="seed")
    chosen = tuple(range(state.L)) if sites is None else tuple(int(s) for s in sites)
    spaces = [state.lattice.spaces[s] for s in chosen]
    spectra, effects = zip(*map(_measurement, spaces, _per_site(bases, len(chosen)), chosen), strict=True)
    draws = np.random.Generator(np.random.Philox(key=int(seed))).random((int(n), len(chosen)))
    columns = [chosen.index(s) if s in chosen else -1 for s in state.order]  # per position
    outcomes, negative = np.zeros((int(n), len(chosen)), dtype=np.int64), np.zeros(len(chosen))
    for first in range(0, int(n), BATCH):
        part = slice(first, first + BATCH)
        _draw(state, columns, effects, draws[part], outcomes[part], negative)
    samples = Samples(chosen, outcomes, tuple(spectra), negative / int(n), int(seed))
    if samples.bias > 0.5 / math.sqrt(n):
        warnings.warn(
            f"Conditional probabilities of this state are negative with a weight of {samples.bias:.2g} in total, more "
            f"than the statistical error of {n} samples: the state is not positive, and the samples are biased. Use a "
            "state of larger bond dimension.",
            MpoTransportWarning,
            stacklevel=3,
        )
    return samples


def _draw(
    state: MPOState,
    columns: Sequence[int],
    effects: Sequence[np.ndarray],
    draws: np.ndarray,
    outcomes: np.ndarray,
    negative: np.ndarray,
) -> None:
    """Fill ``outcomes``, shape (n, sites), from uniform numbers of the same shape; add up negative probabilities."""
    env = state.environments
    measured = [p for p, column in enumerate(columns) if column >= 0]
    front = np.repeat(env.left[measured[0]][None] / env.overlap, len(draws), axis=0)
    for p in range(measured[0], measured[-1] + 1):
        column = columns[p]
        if column < 0:
            front = front @ env.transfer[p]
            continue
        maps = np.tensordot(effects[column], env.scaled(p), axes=(1, 1))  # (outcomes, l, r)
        weights = front @ (maps @ env.right[p + 1]).T
        negative[column] += float(np.maximum(-weights, 0.0).sum())
        positive = np.maximum(weights, 0.0)
        ladder = np.cumsum(positive, axis=1)
        picked = (draws[:, column, None] * ladder[:, -1:] >= ladder[:, :-1]).sum(axis=1)
        outcomes[:, column] = picked
        front_next = np.empty((len(draws), maps.shape[2]))
        for m, one in enumerate(maps):
            rows = picked == m
            front_next[rows] = (front[rows] / weights[rows, m, None]) @ one
        front = front_next


def _per_site(bases: Any, count: int) -> list[Any]:
    """Return one basis per measured site."""
    one = bases is None or isinstance(bases, str) or (isinstance(bases, np.ndarray) and bases.ndim == 2)
    if one:
        return [bases] * count
    try:
        given = list(bases)
    except TypeError:
        raise InputError(
            "Argument `bases` must be the name of an operator, a Hermitian matrix, or a list with one of them per "
            f"measured site, but is {bases!r}.",
            field="bases",
        ) from None
    if len(given) != count:
        raise InputError(
            f"Argument `bases` must have one entry per measured site ({count}), but has {len(given)}.", field="bases"
        )
    return given


def _measurement(space: LocalSpace, basis: Any, site: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of the outcomes, (m,), and the vectors Tr(P_m B_k) of their projectors, (m, d^2)."""
    d = int(space.dim)
    if basis is None:
        values, vectors, groups = np.arange(d, dtype=float), np.eye(d, dtype=complex), np.arange(d)
    else:
        matrix = np.asarray(space.matrix(basis) if isinstance(basis, str) else basis, dtype=complex)
        if matrix.shape != (d, d) or not np.allclose(matrix, matrix.conj().T, rtol=0, atol=1e-12 * _size(matrix)):
            what = repr(basis) if isinstance(basis, str) else "the matrix given"
            raise InputError(
                f"Argument `bases` must hold a Hermitian operator of dimension {d} for site {site}, but {what} is not.",
                field="bases",
            )
        values, vectors = np.linalg.eigh(matrix)
        values, vectors = values[::-1], vectors[:, ::-1]
        groups = np.concatenate([[0], np.cumsum(-np.diff(values) > EQUAL * _size(matrix))])
    projectors = [vectors[:, groups == g] for g in range(groups[-1] + 1)]
    effects = np.array([operator_vector(v @ v.conj().T).real for v in projectors])
    return np.array([values[groups == g].mean() for g in range(groups[-1] + 1)]), effects


def _size(matrix: np.ndarray) -> float:
    return float(np.abs(matrix).max(initial=0.0)) or 1.0
