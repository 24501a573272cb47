"""Averages over disorder: means, medians and typical values with errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from .estimate import Estimate
from .series import CONVERGED, Series, Unconverged

__all__ = ["disorder_average"]

Statistic = Literal["mean", "median", "typical"]
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "median": np.median,
    "typical": lambda values, axis=-1: np.exp(np.mean(np.log(np.abs(values)), axis=axis)),
}


def disorder_average(
    values: Any,
    error: Any = None,
    *,
    status: Any = None,
    statistic: Statistic = "mean",
    resamples: int = 9999,
    seed: int = 0,
    unconverged: Unconverged = "refuse",
) -> Estimate:
    """Return the average over independent realisations of disorder, with its standard error.

    Parameters
    ----------
    values
        One number per realisation, at least two.
    error
        Standard errors of the single values.  Independent ones are already part of the scatter; their mean is added as
        the part "numerical", since errors of one method may be common to all realisations.
    status
        How each realisation ended.
    statistic
        "mean": standard deviation over sqrt(n).  "median" and "typical" (exp of the mean logarithm): half the width of
        the bias-corrected bootstrap interval of 68.27 % (``scipy.stats.bootstrap``).
    resamples, seed
        Of the bootstrap.
    unconverged
        See :class:`Series`.  Dropping realisations that failed is a choice by their disorder and can bias the average;
        a note says how many were left out.

    Raises
    ------
    InputError
        For fewer than two realisations, an unknown statistic, zeros in a typical value, or unconverged realisations.

    Examples
    --------
    >>> average = disorder_average([0.9, 1.1, 1.0, 1.2, 0.8])
    >>> round(average.value, 12), round(average.error, 6)
    (1.0, 0.070711)
    """
    if statistic not in ("mean", *_FUNCTIONS):
        raise InputError(
            f'Argument `statistic` must be "mean", "median" or "typical", but is {statistic!r}.', field="statistic"
        )
    flat = np.asarray(values).ravel()
    data = Series(np.arange(len(flat)), flat, error, status, x_name="realisation")
    usable = data.usable(unconverged, least=2, purpose="A disorder average")
    samples, notes = usable.y, list(usable.notes)
    if len(samples) < len(flat):
        notes.append(f"{len(flat) - len(samples)} of {len(flat)} realisations are left out: the average may be biased")
    if statistic == "typical" and (samples == 0).any():
        raise InputError("Argument `values` contains zeros, so a typical value does not exist.", field="values")
    if statistic == "mean":
        value, scatter = float(np.mean(samples)), float(np.std(samples, ddof=1) / math.sqrt(len(samples)))
    else:
        function = _FUNCTIONS[statistic]
        value, scatter = float(function(samples)), _bootstrap(samples, function, resamples, seed)
        if statistic == "typical" and len(set(np.sign(samples))) > 1:
            notes.append("the values have both signs; the typical value is that of their magnitude")
    parts = {"statistical": scatter}
    if usable.error is not None:
        parts["numerical"] = float(np.mean(usable.error))
    if any(s != CONVERGED for s in usable.status):
        notes.append("some realisations are not converged")
    total = math.sqrt(sum(v * v for v in parts.values()))
    return Estimate(value, total, parts, notes=tuple(dict.fromkeys(notes)), name=f"{statistic} of {len(samples)}")


def _bootstrap(samples: np.ndarray, function: Callable[..., Any], resamples: int, seed: int) -> float:
    import scipy.stats

    if np.ptp(samples) == 0:
        return 0.0
    found = scipy.stats.bootstrap(
        (samples,), function, vectorized=True, axis=-1, confidence_level=0.6827, n_resamples=resamples,
        method="BCa" if len(samples) > 4 else "percentile", random_state=np.random.default_rng(seed),
    )  # fmt: skip
    interval = found.confidence_interval
    width = (float(interval.high) - float(interval.low)) / 2
    return width if math.isfinite(width) and width > 0 else float(found.standard_error)
