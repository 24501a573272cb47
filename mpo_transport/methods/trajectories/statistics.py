"""Time averages of several trajectories in batches: means, errors despite autocorrelation, and tests for transients.

Every trajectory keeps the sums over at most B consecutive batches of equal length; when all are full, neighbours are
merged and the length doubles.  Trajectories are independent, so with enough of them the scatter of their averages is
the error, whatever the autocorrelation in time; with few, stretches of each serve as units and what correlation remains
between neighbouring stretches enlarges the variance (batch means, H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91, 461
(1989)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy

from ...states.ensemble import TWO_SIGMA

__all__ = ["Batches", "Units", "correlation_time", "disagreement", "drift", "new_batches"]

_FEWEST_UNITS = 32
_MOST_UNITS = 256  # trajectories beyond that are averaged in groups: the error of the error is 4 % then
_SAMPLES_WANTED = 512
# Chance that a test of all local quantities together sees a transient that is not there.  A false alarm costs time, a
# transient overlooked costs truth.
FALSE_ALARM = 0.01


@dataclass(frozen=True, eq=False)
class Batches:
    """Sums over batches: ``sums`` (n, B, M), ``squares`` (M,) of all single values, the ``complete`` number of batches,
    their ``length`` in samples, and the ``pending`` samples in the next one."""

    sums: np.ndarray
    squares: np.ndarray
    complete: int = 0
    length: int = 1
    pending: int = 0

    @property
    def samples(self) -> int:
        """Samples per trajectory."""
        return self.complete * self.length + self.pending

    @property
    def room(self) -> int:
        """Samples that still fit into the current batch."""
        return self.length - self.pending

    @property
    def is_full(self) -> bool:
        """Whether all batches are complete (as after every doubling of the time)."""
        return self.complete == self.sums.shape[1]

    def added(self, sums: np.ndarray, squares: np.ndarray, count: int) -> Batches:
        """Return the batches with ``count`` further samples (at most ``room``) per trajectory."""
        new = self if not self.is_full else self.merged()
        total = new.sums.copy()
        total[:, new.complete] += sums
        pending = new.pending + count
        done = pending == new.length
        return replace(
            new,
            sums=total,
            squares=new.squares + squares,
            complete=new.complete + done,
            pending=0 if done else pending,
        )

    def merged(self) -> Batches:
        """Return the same data in half as many batches."""
        sums = np.zeros_like(self.sums)
        half = self.sums.shape[1] // 2
        sums[:, :half] = self.sums[:, 0::2] + self.sums[:, 1::2]
        return replace(self, sums=sums, complete=half, length=2 * self.length)

    def means(self) -> np.ndarray:
        """Return the batch means of the complete batches, shape (n, complete, M)."""
        return self.sums[:, : self.complete] / self.length

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint stores beside :meth:`scalars`."""
        return {"batch_sums": self.sums, "batch_squares": self.squares}

    def scalars(self) -> dict[str, Any]:
        """Return the counters."""
        return {"batches": self.complete, "batch_length": self.length, "batch_pending": self.pending}

    @staticmethod
    def stored(arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> Batches:
        """Return the batches of a checkpoint."""
        counts = [int(scalars[k]) for k in ("batches", "batch_length", "batch_pending")]
        return Batches(arrays["batch_sums"], arrays["batch_squares"], *counts)


def new_batches(trajectories: int, quantities: int) -> Batches:
    """Return empty batches: 8 per trajectory, more if there are few trajectories."""
    per = 8
    while per * trajectories < _SAMPLES_WANTED:
        per *= 2
    return Batches(np.zeros((trajectories, per, quantities)), np.zeros(quantities))


@dataclass(frozen=True, eq=False)
class Units:
    """Independent units: their means ``values`` (U, M) and shares ``weights`` (U,), the unit of every trajectory and
    batch (n, complete), and the factor ``inflation`` on variances for what correlation remains between stretches."""

    values: np.ndarray
    weights: np.ndarray
    membership: np.ndarray
    inflation: float

    @classmethod
    def of(cls, batches: Batches) -> Units:
        """Return the units that the complete batches form."""
        means = batches.means()
        n, complete, _ = means.shape
        if n >= _FEWEST_UNITS:
            number = min(n, _MOST_UNITS)
            membership = np.repeat((np.arange(n) * number // n)[:, None], complete, axis=1)
            stretches = 1
        else:
            stretches = min(complete, math.ceil(_FEWEST_UNITS / n))
            place = np.arange(complete) * stretches // complete
            membership = np.arange(n)[:, None] * stretches + place[None, :]
            number = n * stretches
        flat = membership.ravel()
        counts = np.bincount(flat, minlength=number)
        values = np.zeros((number, means.shape[2]))
        np.add.at(values, flat, means.reshape(len(flat), -1))
        values /= counts[:, None]
        weights = counts / counts.sum()
        return cls(values, weights, membership, _inflation(values.reshape(-1, stretches, means.shape[2])))

    @property
    def mean(self) -> np.ndarray:
        """Return the means over everything, shape (M,)."""
        return np.asarray(self.weights @ self.values)

    @property
    def variance(self) -> np.ndarray:
        """Return the squared standard errors of the means, shape (M,)."""
        units = len(self.values)
        if units < 2:
            return np.full(self.values.shape[1], math.inf)
        scatter = (self.values - self.mean) ** 2
        return np.asarray(units / (units - 1) * (self.weights**2 @ scatter) * self.inflation)


def _inflation(stretches: np.ndarray) -> float:
    """Return (1 + rho)/(1 - rho) from the correlation of neighbouring stretches, pooled over all quantities, >= 1."""
    n, count, _ = stretches.shape
    if count < 4:
        return 1.0
    deviations = stretches - stretches.mean(axis=(0, 1))
    scale = deviations.std(axis=(0, 1))
    deviations = deviations[:, :, scale > 1e-12] / scale[scale > 1e-12]
    if not deviations.size:
        return 1.0
    rho = float((deviations[:, 1:] * deviations[:, :-1]).mean())
    rho = min(max(rho + 1 / (n * count), 0.0), 0.95)  # the mean taken out biases rho by about -1/(n count)
    return (1 + rho) / (1 - rho)


def drift(batches: Batches, alarm: float = FALSE_ALARM) -> float:
    """Return the difference between the first and the second half of the time, in units of what chance would allow.

    Above 1: a transient is seen (chance of a false alarm at most ``alarm`` for all quantities together).
    """
    half = batches.complete // 2
    if half < 1:
        return math.inf
    means = batches.means()
    n = len(means)
    first, second = means[:, :half], means[:, batches.complete - half :]
    if n >= 8:
        differences = second.mean(axis=1) - first.mean(axis=1)
        return _ratio(differences.mean(axis=0), differences.var(axis=0, ddof=1) / n, n - 1, alarm)
    parts = [Units.of(replace(batches, sums=x * batches.length, complete=half)) for x in (first, second)]
    variance = parts[0].variance + parts[1].variance
    return _ratio(parts[1].mean - parts[0].mean, variance, len(parts[0].values) + len(parts[1].values) - 2, alarm)


def disagreement(values: np.ndarray, starts: int, alarm: float = FALSE_ALARM) -> float:
    """Return the largest difference between trajectories of different starts, in units of what chance would allow.

    ``values`` are trajectory means, shape (n, M); trajectory i has start i mod ``starts``.  Above 1: they disagree.
    """
    if starts < 2:
        return 0.0
    n = len(values)
    which = np.arange(n) % starts
    groups = [values[which == k] for k in range(starts)]
    degrees = n - starts
    within = sum(((g - g.mean(axis=0)) ** 2).sum(axis=0) for g in groups) / degrees
    worst = 0.0
    for own in groups:
        difference = (own.mean(axis=0) - values.mean(axis=0)) * n / (n - len(own))  # from the mean of the others
        variance = within * (1 / len(own) + 1 / (n - len(own)))
        worst = max(worst, _ratio(difference, variance, degrees, alarm / starts))
    return worst


def _ratio(difference: np.ndarray, variance: np.ndarray, degrees: int, alarm: float) -> float:
    limit = -float(scipy.special.stdtrit(max(degrees, 1), alarm / (2 * max(len(difference), 1))))
    return float((np.abs(difference) / (np.sqrt(variance) + 1e-12)).max(initial=0.0)) / limit


def correlation_time(batches: Batches, units: Units, interval: float) -> float:
    """Return the integrated autocorrelation time, a typical value over all quantities (unit: that of ``interval``)."""
    total = batches.samples * len(batches.sums)
    single = np.maximum(batches.squares / max(total, 1) - units.mean**2, 0.0)
    moving = single > 1e-12
    if not np.any(moving) or len(units.values) < 2:
        return 0.0
    return float(interval / 2 * total * np.mean(units.variance[moving] / single[moving]))


# two-sided probability that the claimed error covers, for the text of certificates
COVERAGE = 2 * TWO_SIGMA - 1
