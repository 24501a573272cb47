"""Averages over linear models and over the points used: the common core of extrapolations and scaling laws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from .estimate import Candidate, Estimate, combined
from .least_squares import LinearFit, excess, linear_fit
from .series import Series

__all__ = ["Model", "averaged"]

# Occam's window: fits this many times less probable than the best are left out of an average.
OCCAM_ODDS = 20.0
# A fit with more parameters or less data is left out only if a simpler one is more probable by the factor exp(MARGIN):
# the data often cannot tell a real next order from none, and the error has to contain both.
MARGIN = 1.5


@dataclass(frozen=True)
class Model:
    """A linear model: its name, its design matrix as a function of x, and its number of parameters."""

    name: str
    design: Callable[[np.ndarray], np.ndarray]
    parameters: int


@dataclass(frozen=True)
class _Tried:
    candidate: Candidate
    fit: LinearFit
    index: np.ndarray
    place: int  # of the model in its list, which goes from simple to rich
    penalty: int  # parameters and points given up


def averaged(data: Series, models: Sequence[Model], *, parameter: int = 0, **fields: Any) -> Estimate:
    """Return one parameter of linear models, averaged over the models and over the smallest x used.

    With known errors the weights are exp(-(chi2 + 2k + 2 n_dropped)/2) within Occam's window; otherwise the
    steadiest model on all points is taken.  Parts of the error: "statistical", "models" (spread of the average) and
    "window".  The first candidate is the best fit.

    Parameters
    ----------
    data
        Points, checked by :meth:`Series.usable`.
    models
        From simple to rich; the wanted parameter has the same place in all of them.
    parameter
        Which parameter is wanted.
    """
    tried = _tried(data, models, parameter)
    weights = _weights(tried) if data.error is not None else _steadiest(data, models, tried, parameter)
    best = tried[int(np.argmax(weights))]
    values = np.array([t.candidate.value for t in tried])
    errors = np.array([t.candidate.error for t in tried])
    value = float(weights @ values)
    parts = {
        "statistical": math.sqrt(float(weights @ errors**2)),
        "models": math.sqrt(max(0.0, float(weights @ (values - value) ** 2))),
        "window": _window(data, models, best, parameter),
    }
    ranked = [replace(t.candidate, weight=float(w)) for t, w in zip(tried, weights, strict=True)]
    ranked.sort(key=lambda c: -c.weight)
    notes = [*fields.pop("notes", ()), *_scaling_note(data, best.fit)]
    return combined(value, parts, data, candidates=tuple(ranked), notes=notes, **fields)


def _tried(data: Series, models: Sequence[Model], parameter: int) -> list[_Tried]:
    sizes = np.unique(data.x)
    out = []
    for place, model in enumerate(models):
        for dropped in range(min(len(sizes) - model.parameters, len(sizes) // 2 + 1)):
            index = np.flatnonzero(data.x >= sizes[dropped])
            fit = _fit(data, model, index)
            if fit.dof < 1:
                continue
            candidate = Candidate(
                f"{model.name}, {data.x_name} >= {sizes[dropped]:g}", tuple(map(float, data.x[index])),
                float(fit.parameters[parameter]), float(fit.errors[parameter]), fit.chi2, fit.dof,
            )  # fmt: skip
            out.append(_Tried(candidate, fit, index, place, model.parameters + len(data) - len(index)))
    if not out:
        raise InputError(f"There are too few points ({len(data)}) for the simplest of these fits.", field="x")
    return out


def _fit(data: Series, model: Model, index: np.ndarray) -> LinearFit:
    return linear_fit(model.design(data.x[index]), data.y[index], None if data.error is None else data.error[index])


def _steadiest(data: Series, models: Sequence[Model], tried: Sequence[_Tried], parameter: int) -> np.ndarray:
    """Exact data, or noise of unknown size: the model on all points that changes least when points are dropped.

    The simplest model is for the case that no other can be fitted: how far it is off shows only against a richer one.
    """
    full = [k for k, t in enumerate(tried) if len(t.index) == len(data)]
    full = [k for k in full if tried[k].place > 0] or full
    sizes = [math.hypot(tried[k].candidate.error, _window(data, models, tried[k], parameter)) for k in full]
    return np.eye(len(tried))[full[int(np.argmin(sizes))]]


def _weights(tried: Sequence[_Tried]) -> np.ndarray:
    exponents = np.array([-0.5 * (t.candidate.chi2 + 2 * t.penalty) for t in tried])
    weights = np.exp(exponents - exponents.max())
    weights[weights < 1 / OCCAM_ODDS] = 0.0
    for k, this in enumerate(tried):
        for m, other in enumerate(tried):
            simpler = other.place <= this.place and len(other.index) >= len(this.index)
            if simpler and exponents[m] > exponents[k] + MARGIN:
                weights[k] = 0.0
    return np.asarray(weights / weights.sum())


def _window(data: Series, models: Sequence[Model], best: _Tried, parameter: int) -> float:
    """Largest significant change of the parameter when the smallest x, at most half of them, are dropped.

    Nothing is known about the noise of exact data; there the distance to the next simpler model (for the simplest: to
    the next richer one) counts too.
    """
    model, sizes = models[best.place], np.unique(data.x[best.index])
    rivals = [
        (model, np.flatnonzero(data.x >= start))
        for start in sizes[1 : 1 + max(1, len(sizes) // 2)]
        if (sizes >= start).sum() >= model.parameters
    ]
    neighbour = best.place - 1 if best.place > 0 else 1
    if data.error is None and neighbour < len(models) and models[neighbour].parameters <= len(sizes):
        rivals.append((models[neighbour], best.index))
    sigma = np.zeros(len(data))
    sigma[best.index] = best.fit.sigma if data.error is not None else 0.0
    changes = []
    for form, index in rivals:
        difference = np.zeros(len(data))
        difference[index] += _fit(data, form, index).pseudo[parameter]
        difference[best.index] -= best.fit.pseudo[parameter]
        changes.append(excess(float(difference @ data.y), float(difference**2 @ sigma**2)))
    return max(changes, default=0.0)


def _scaling_note(data: Series, fit: LinearFit) -> list[str]:
    if data.error is None or fit.dof < 1 or fit.chi2 <= 2 * fit.dof:
        return []
    return [f"residuals exceed the given errors (chi2/dof = {fit.chi2 / fit.dof:.2g}); errors were scaled up"]
