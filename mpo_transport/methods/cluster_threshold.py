"""Where the symmetric cluster mean-field solution loses its stability."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import scipy

from ..errors import ConvergenceError, InputError, NotSupportedError
from ..model import Lindbladian
from .cluster import ClusterMeanField
from .cluster_solve import stability
from .cluster_work import ClusterWork

__all__ = ["instability_threshold", "symmetric_growth_rate"]


def symmetric_growth_rate(model: Lindbladian, size: int = 2) -> float:
    """Return the largest growth rate of parity-breaking perturbations of the symmetric mean-field solution.

    Positive: the symmetric solution is unstable.  Perturbations of the whole ring are included (all momenta).

    Parameters
    ----------
    model
        A Lindbladian with at least one weak parity.
    size
        Sites per cluster.

    Raises
    ------
    NotSupportedError
        If the model has no parity or does not fit the cluster size.
    ConvergenceError
        If no symmetric solution was found.

    Examples
    --------
    >>> from mpo_transport.models import persistent_current
    >>> round(symmetric_growth_rate(persistent_current(4, alpha=2.0, delta=1.0)), 6)
    0.239328
    """
    method = ClusterMeanField(size=size, branch="symmetric")
    work: ClusterWork = method.prepare(model, tol=1e-10, seed=0)
    if not work.parities:
        raise NotSupportedError(
            "The model has no parity, hence no symmetric solution that could become unstable.", field="model"
        )
    iterate = method.start(work, None)
    while True:
        iterate, diagnostics = method.advance(work, iterate)
        if diagnostics.status is not None:
            break
    if "symmetric" not in iterate.arrays:
        raise ConvergenceError(f"No symmetric mean-field solution of {model!r} was found.")
    period = int(iterate.scalars["period"])
    return stability(work.equations(period), iterate.arrays["x"], work.odd(period)).ring_growth_rate


def instability_threshold(
    build: Callable[[float], Lindbladian], low: float, high: float, *, size: int = 2, tol: float = 1e-8, **options: Any
) -> float:
    """Return the parameter between ``low`` and ``high`` at which the symmetric solution becomes unstable.

    Parameters
    ----------
    build
        Function returning the model at a value of the parameter.
    low, high
        Values on the two sides of the threshold.
    size
        Sites per cluster.
    tol
        Absolute accuracy of the parameter.
    options
        Further arguments of :func:`scipy.optimize.brentq`.

    Raises
    ------
    InputError
        If the solution is stable, or unstable, at both ends (the message quotes the growth rates).

    Examples
    --------
    The threshold in the energy mu at alpha = 2, delta = 1:

    >>> from mpo_transport.models import persistent_current
    >>> round(instability_threshold(lambda mu: persistent_current(4, alpha=2.0, delta=1.0, mu=mu), 1.0, 2.0), 5)
    1.66776
    """
    ends = [symmetric_growth_rate(build(p), size) for p in (low, high)]
    if ends[0] * ends[1] > 0:
        raise InputError(
            f"Arguments `low` and `high` must lie on two sides of the threshold, but the growth rates there are "
            f"{ends[0]:.4g} and {ends[1]:.4g}.",
            field="low",
        )
    return float(scipy.optimize.brentq(lambda p: symmetric_growth_rate(build(p), size), low, high, xtol=tol, **options))
