"""Extrapolation in length, bond dimension and time step, with the uncertainty of the model in the error."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..errors import InputError
from .averaging import Model, averaged
from .estimate import Candidate, Estimate, combined
from .least_squares import excess, linear_fit, nonlinear_fit
from .series import Series, Unconverged

__all__ = ["in_bond_dimension", "in_length", "in_time_step"]


def in_length(
    series: Series, *, max_degree: int = 3, power: float = 1.0, unconverged: Unconverged = "refuse"
) -> Estimate:
    """Return the limit of infinite length from polynomials in 1/L.

        y(L) = y_inf + a_1 L^-p + a_2 L^-2p + ...

    Every degree 0 .. ``max_degree`` is fitted to all points and to the points that remain when the smallest lengths are
    dropped.  With known errors, these fits are averaged with the weights exp(-(chi2 + 2k + 2 n_dropped)/2), and their
    spread is part of the error (W. I. Jay and E. T. Neil, Phys. Rev. D 103, 114502 (2021)).  Fits twenty times less
    probable than the best, and fits with more parameters or less data than a more probable one, are left out (Occam's
    window: D. Madigan and A. E. Raftery, J. Am. Stat. Assoc. 89, 1535 (1994)): otherwise a multitude of nearly empty
    fits would swell the error.  Without errors, the degree that changes least is used with all lengths.

    The part "window" is the largest change of the limit when small lengths are dropped, if it is significant; without
    errors also the change against one degree less.  It sees a series that is cut too early.

    Parameters
    ----------
    series
        x: lengths, at least three different ones.
    max_degree
        Highest degree that is tried.
    power
        The p above, > 0.
    unconverged
        See :class:`Series`.

    Raises
    ------
    InputError
        For too few lengths, lengths <= 0, an argument out of range, or unconverged points.

    Examples
    --------
    The conductivity of the XX chain with dephasing, 2 t^2/gamma, from chains of at most 16 sites:

    >>> from mpo_transport.reference.boundary_driven import xx_chain
    >>> sizes = [4, 6, 8, 10, 12, 14, 16]
    >>> currents = [xx_chain(L, 1.0, 1.0, 1.0, 1.0, 0.0, dephasing=1.0).current for L in sizes]
    >>> limit = in_length(Series(sizes, [L * I for L, I in zip(sizes, currents)]))
    >>> limit.agrees(2.0), limit.error < 0.1
    (True, True)
    """
    data = series.usable(unconverged, least=3, purpose="Extrapolation in length")
    _positive_x(data, "length")
    if isinstance(max_degree, bool) or not isinstance(max_degree, int) or max_degree < 0:
        raise InputError(f"Argument `max_degree` must be an integer >= 0, but is {max_degree!r}.", field="max_degree")
    if not power > 0:
        raise InputError(f"Argument `power` must be > 0, but is {power!r}.", field="power")
    scale = float(data.x.min())

    models = _polynomials(lambda x: (scale / x) ** power, range(max_degree + 1), f"degree {{}} in 1/{data.x_name}")
    return averaged(data, models, name=f"{data.name or 'y'} at infinite {data.x_name}")


def in_bond_dimension(
    series: Series, *, weights: bool = False, max_degree: int = 2, unconverged: Unconverged = "refuse"
) -> Estimate:
    """Return the limit of exact truncation.

        x = bond dimension chi:   y_inf + a/chi + b/chi^2,   and  y_inf + a chi^-p
        x = discarded weight w:   y_inf + a w + b w^2

    No theorem guarantees these forms, and convergence in chi is often irregular.  The error therefore contains, besides
    scatter, the spread of the forms ("models") and the drift with the points used ("window"), half of the distance
    between the limit and the best point ("reach").

    Parameters
    ----------
    series
        x: bond dimensions, or discarded weights; at least three different ones.
    weights
        Whether x are discarded weights.
    max_degree
        Highest degree of the polynomials, 1 or more.
    unconverged
        See :class:`Series`.  Points of a study at fixed bond dimension end as ``stalled_by_truncation``; give "keep"
        for these if they are converged in time.

    Raises
    ------
    InputError
        For too few points, x out of range, or unconverged points.

    Examples
    --------
    >>> chi = np.array([8, 16, 24, 32, 48])
    >>> limit = in_bond_dimension(Series(chi, 0.25 + 0.1 / chi**2, 1e-6))
    >>> limit.agrees(0.25), limit.error < 2e-4
    (True, True)
    """
    data = series.usable(unconverged, least=3, purpose="Extrapolation in the bond dimension")
    if isinstance(max_degree, bool) or not isinstance(max_degree, int) or max_degree < 1:
        raise InputError(f"Argument `max_degree` must be an integer >= 1, but is {max_degree!r}.", field="max_degree")
    degrees = range(1, max_degree + 1)
    if weights:
        if (data.x < 0).any():
            raise InputError("Argument `series`: discarded weights must be >= 0.", field="series")
        scale = float(data.x.max()) or 1.0
        order = data.map(x=-data.x)  # the coarsest point first, as in the other extrapolations
        models = _polynomials(lambda x: -x / scale, degrees, f"degree {{}} in {data.x_name}")
    else:
        _positive_x(data, "bond dimension")
        order, smallest = data, float(data.x.min())
        models = _polynomials(lambda x: smallest / x, degrees, f"degree {{}} in 1/{data.x_name}")
    base = averaged(order, models)
    values, notes = [base.value], []
    if not weights and len(np.unique(data.x)) > 3:
        power = _power_limit(data)
        if power is not None:
            values.append(power)
            notes.append(f"power law in {data.x_name}: {power:.8g}")
    value = float(np.mean(values))
    nearest = float(np.mean(data.y[data.x == (data.x.min() if weights else data.x.max())]))
    parts = dict(base.parts)
    parts["models"] = math.hypot(parts["models"], abs(values[-1] - values[0]) / 2)
    parts["reach"] = abs(value - nearest) / 2
    return combined(
        value, parts, data, candidates=base.candidates, notes=[*base.notes[len(data.notes) :], *notes],
        name=f"{data.name or 'y'} without truncation",
    )  # fmt: skip


def _polynomials(variable: Callable[[np.ndarray], np.ndarray], degrees: range, name: str) -> list[Model]:
    def design(d: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: variable(x)[:, None] ** np.arange(d + 1)

    return [Model(name.format(d), design(d), d + 1) for d in degrees]


def _power_limit(data: Series) -> float | None:
    """Limit of y_inf + a (chi_min/chi)^p, or None where no p > 0.3 is found."""
    ratio = data.x / data.x.min()
    start = [float(data.y[-1]), float(data.y[0] - data.y[-1]), 2.0]
    fit = nonlinear_fit(lambda r, limit, a, p: limit + a * r ** (-p), ratio, data.y, data.error, start)
    low, high = sorted((float(data.y.min()), float(data.y.max())))
    if fit is None or not 0.3 < fit.parameters[2] < 20:
        return None
    limit, width = float(fit.parameters[0]), high - low
    return limit if low - width <= limit <= high + width else None


def in_time_step(
    series: Series, order: int, *, step: int = 1, terms: int | None = None, unconverged: Unconverged = "refuse"
) -> Estimate:
    """Return the limit of vanishing time step by Richardson extrapolation.

        y(dt) = y_0 + a_1 dt^p + a_2 dt^(p+s) + ...

    with the known order p of the splitting and the distance s between the powers (``step=2`` for a splitting that is
    its own inverse under dt -> -dt).  The number of terms is the one with the smallest total error: noise grows with
    it, the difference from one term less ("step", the remainder of the series) shrinks.

    With three or more steps the order is also measured.  If it contradicts p, the asymptotic regime is not reached: a
    note says so, and the error is at least the distance to the value at the smallest step.

    Parameters
    ----------
    series
        x: time steps > 0, at least two different ones.
    order
        The p above.
    step
        The s above, 1 or 2.
    terms
        Number of terms; None: chosen.
    unconverged
        See :class:`Series`.

    Raises
    ------
    InputError
        For too few steps, steps <= 0, an argument out of range, or unconverged points.

    Examples
    --------
    >>> steps = np.array([0.05, 0.1, 0.2])
    >>> limit = in_time_step(Series(steps, np.cos(steps)), order=2, step=2)
    >>> abs(limit.value - 1) < 1e-6, limit.agrees(1.0)
    (True, True)
    """
    data = series.usable(unconverged, least=2, purpose="Extrapolation in the time step")
    _positive_x(data, "time step")
    _count(order, "order")
    _count(step, "step")
    most = len(np.unique(data.x)) - 1
    if terms is not None and not (isinstance(terms, int) and 1 <= terms <= most):
        raise InputError(f"Argument `terms` must lie between 1 and {most}, but is {terms!r}.", field="terms")
    largest = float(data.x.max())
    rows = [_richardson(data, data.x / largest, order, step, k) for k in range(most + 1)]
    choice = terms or min(range(1, most + 1), key=lambda k: math.hypot(rows[k][1], rows[k][2]))
    value, statistical, remainder = rows[choice]
    candidates = tuple(
        Candidate(f"{k} terms", tuple(map(float, data.x)), v, s, math.nan, len(data) - k - 1, float(k == choice))
        for k, (v, s, _) in enumerate(rows)
    )
    parts, notes = {"statistical": statistical, "step": remainder}, []
    measured = _measured_order(data)
    if measured is not None:
        seen, noise = measured
        notes.append(f"measured order {seen:.2f}, assumed {order}")
        if abs(seen - order) > max(0.5, 2 * noise):
            notes[-1] += ": the asymptotic regime is not reached; the error is the distance to the smallest step"
            parts["step"] = max(remainder, abs(value - float(data.y[0])))
    return combined(value, parts, data, candidates=candidates, notes=notes, name=f"{data.name or 'y'} at zero step")


def _richardson(data: Series, ratio: np.ndarray, order: int, step: int, terms: int) -> tuple[float, float, float]:
    """Value, noise and distance from one term less (beyond noise) on the ``terms + 2`` smallest steps at least."""
    powers = np.concatenate([[0.0], order + step * np.arange(terms)])
    fit = linear_fit(ratio[:, None] ** powers, data.y, data.error)
    if terms == 0:
        return float(data.y[0]), 0.0 if data.error is None else float(data.error[0]), math.inf
    fewer = np.flatnonzero(data.x < data.x.max())  # one term less on all but the largest step, as in Romberg's table
    shorter = linear_fit(
        ratio[fewer][:, None] ** powers[:-1], data.y[fewer], None if data.error is None else data.error[fewer]
    )
    difference = fit.pseudo[0].copy()
    difference[fewer] -= shorter.pseudo[0]
    sigma = fit.sigma if data.error is None else np.asarray(data.error)
    return float(fit.parameters[0]), float(fit.errors[0]), excess(
        float(difference @ data.y), float((difference**2) @ sigma**2)
    )  # fmt: skip


def _measured_order(data: Series) -> tuple[float, float] | None:
    """Order from the three smallest steps and its noise: p in (y_1 - y_2)/(y_2 - y_3) = (h_1^p - h_2^p)/(...)."""
    steps, index = np.unique(data.x, return_index=True)
    if len(steps) < 3:
        return None
    h1, h2, h3 = steps[:3]
    y1, y2, y3 = data.y[index[:3]]
    if y2 == y3 or (y1 - y2) / (y2 - y3) <= 0:
        return None
    target = (y1 - y2) / (y2 - y3)
    powers = np.linspace(0.05, 12, 2400)
    seen = float(powers[np.argmin(np.abs(np.log((h2**powers - h1**powers) / (h3**powers - h2**powers) / target)))])
    if data.error is None:
        return seen, 0.0
    s1, s2, s3 = data.error[index[:3]]
    relative = math.hypot(math.hypot(s1, s2) / (y1 - y2), math.hypot(s2, s3) / (y2 - y3))
    return seen, abs(relative / math.log(h2 / h1))


def _positive_x(data: Series, what: str) -> None:
    if (data.x <= 0).any():
        raise InputError(f"Argument `series`: every {what} must be > 0, but {data.x.min():g} is given.", field="series")


def _count(value: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"Argument `{name}` must be an integer >= 1, but is {value!r}.", field=name)
