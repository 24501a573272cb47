"""Weighted least squares: linear problems as functionals of the data, others by ``scipy.optimize.curve_fit``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import scipy.linalg

__all__ = ["LinearFit", "NonlinearFit", "aicc", "excess", "linear_fit", "nonlinear_fit"]


@dataclass(frozen=True)
class LinearFit:
    """Fit of y = A p.  ``pseudo`` maps the data to the parameters: p = pseudo @ y, shape (parameters, points).

    ``sigma`` are the errors of the points that the covariance rests on: the given ones, enlarged by
    sqrt(chi2/dof) where the residuals are larger than they allow, or the scatter of the residuals where none are given.
    """

    parameters: np.ndarray
    pseudo: np.ndarray
    sigma: np.ndarray
    chi2: float
    dof: int

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the parameters, shape (parameters, parameters)."""
        return (self.pseudo * self.sigma**2) @ self.pseudo.T

    @property
    def errors(self) -> np.ndarray:
        """Standard errors of the parameters."""
        return np.sqrt(np.diag(self.covariance))


@dataclass(frozen=True)
class NonlinearFit:
    """Fit of y = f(x, p): parameters, their covariance, weighted sum of squared residuals, degrees of freedom."""

    parameters: np.ndarray
    covariance: np.ndarray
    chi2: float
    dof: int

    @property
    def errors(self) -> np.ndarray:
        """Standard errors of the parameters."""
        return np.sqrt(np.diag(self.covariance))


def linear_fit(design: np.ndarray, y: np.ndarray, error: np.ndarray | None) -> LinearFit:
    """Return the weighted least-squares solution of design @ p = y.

    Columns are scaled before the factorisation, so that powers of 1/L of very different size do no harm.
    """
    design = np.asarray(design, dtype=float)
    points, parameters = design.shape
    weight = np.ones(points) if error is None else 1.0 / error
    weighted = design * weight[:, None]
    scale = np.sqrt((weighted**2).sum(axis=0))
    scale[scale == 0] = 1.0
    pseudo = scipy.linalg.pinv(weighted / scale) / scale[:, None] * weight
    solution = pseudo @ y
    chi2 = float((((y - design @ solution) * weight) ** 2).sum())
    return LinearFit(solution, pseudo, _sigma(error, chi2, points - parameters, points), chi2, points - parameters)


def _sigma(error: np.ndarray | None, chi2: float, dof: int, points: int) -> np.ndarray:
    """Errors of the points: given ones are never made smaller (Birge), unknown ones follow from the residuals."""
    if error is None:
        return np.full(points, math.sqrt(chi2 / dof) if dof > 0 else 0.0)
    return np.asarray(error) * (math.sqrt(max(1.0, chi2 / dof)) if dof > 0 else 1.0)


def nonlinear_fit(
    function: Callable[..., np.ndarray], x: np.ndarray, y: np.ndarray, error: np.ndarray | None, start: Sequence[float]
) -> NonlinearFit | None:
    """Return the fit of ``scipy.optimize.curve_fit``, or None where it finds none.

    The covariance is scaled as in :func:`linear_fit`.
    """
    dof = len(x) - len(start)
    with warnings.catch_warnings(record=True), np.errstate(all="ignore"):
        warnings.simplefilter("always")  # no covariance, overflow on the way: judged from the outcome below
        try:
            best, covariance = scipy.optimize.curve_fit(
                function, x, y, p0=start, sigma=error, absolute_sigma=error is not None, maxfev=4000
            )
            residuals = y - function(x, *best)
        except (RuntimeError, ValueError, TypeError, FloatingPointError):
            return None
    chi2 = float(((residuals / (1.0 if error is None else error)) ** 2).sum())
    if error is not None and dof > 0:
        covariance = covariance * max(1.0, chi2 / dof)
    if error is None and dof <= 0:
        covariance = np.zeros_like(covariance)
    if not (np.isfinite(best).all() and np.isfinite(covariance).all() and math.isfinite(chi2)):
        return None
    return NonlinearFit(best, covariance, chi2, dof)


def excess(difference: float, variance: float) -> float:
    """Return what of a difference d between two fits is not noise: sqrt(d^2 - var d), and 0 below two sigma."""
    return math.sqrt(difference * difference - variance) if difference * difference > 4 * variance else 0.0


def aicc(chi2: float, points: int, parameters: int, *, known_errors: bool) -> float:
    """Return the Akaike information criterion with the correction for small samples.

        known errors:    chi2 + 2k + 2k(k+1)/(n-k-1)
        unknown errors:  n ln(RSS/n) + the same with k + 1 (the variance is a parameter)

    Infinite where n <= k + 1: such a fit cannot be ranked.  K. P. Burnham and D. R. Anderson, *Model Selection and
    Multimodel Inference* (2002), eq. (2.4) and sec. 2.2.1.

    >>> round(aicc(3.0, 10, 2, known_errors=True), 6)
    8.714286
    """
    k = parameters + (not known_errors)
    if points - k - 1 <= 0:
        return math.inf
    base = chi2 if known_errors else points * math.log(max(chi2, 1e-300) / points)
    return base + 2 * k + 2 * k * (k + 1) / (points - k - 1)
