"""Series that alternate with the length, such as the current of frustrated and unfrustrated rings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from ..errors import InputError
from .estimate import Candidate, Estimate
from .least_squares import LinearFit, linear_fit
from .series import Series, Unconverged

__all__ = ["AlternatingLimit", "alternating_limit", "wynn_epsilon"]


@dataclass(frozen=True)
class AlternatingLimit(Estimate):
    """Limit of y(L) = y_inf + c (-q)^L; ``value`` and ``error`` are those of y_inf.

    ``ratio`` q with ``ratio_error``, ``amplitude`` c, and the collapse of the data: ``sizes`` with
    ``collapsed`` = (y - y_inf)/(c (-q)^L), which is 1 where one term is enough.
    """

    ratio: float = math.nan
    ratio_error: float = math.nan
    amplitude: float = math.nan
    sizes: tuple[float, ...] = ()
    collapsed: tuple[float, ...] = ()


def alternating_limit(series: Series, *, unconverged: Unconverged = "refuse") -> AlternatingLimit:
    """Return the limit of a series that converges geometrically with alternating sign.

        y(L) = y_inf + c (-q)^L,   0 < q < 1

    On a ring, an excitation that has to change sign from site to site fits for even L and is frustrated for odd L; both
    kinds share one limit.  The model is fitted to the sizes L >= L_min, for every L_min that leaves four of them.  The
    parts of the error: "statistical"; "window", the change when the smallest size is dropped; "sequence", the distance
    from the limit by Wynn's epsilon algorithm, where the sizes are consecutive.  The window with the smallest error is
    used.

    Raises
    ------
    InputError
        For fewer than four sizes, sizes that are not integers or of one parity only, or unconverged points.

    Examples
    --------
    >>> L = np.arange(4, 13)
    >>> limit = alternating_limit(Series(L, 0.86 + 0.3 * (-0.6) ** L))
    >>> round(limit.value, 9), round(limit.ratio, 9), round(limit.collapsed[0], 6)
    (0.86, 0.6, 1.0)
    """
    data = series.usable(unconverged, least=4, purpose="An alternating series")
    if (data.x != np.round(data.x)).any():
        raise InputError("Argument `series`: x must be integers, the numbers of sites.", field="series")
    if len(np.unique(data.x % 2)) < 2:
        raise InputError(
            "Argument `series`: all sizes have the same parity, so no alternation can be seen; use `in_length` or add "
            "sizes of the other parity.",
            field="series",
        )
    sizes = np.unique(data.x)
    fits = [found for start in sizes[: len(sizes) - 3] if (found := _fit(data, float(start))) is not None]
    if not fits:
        raise InputError("Argument `series`: no ratio 0 < q < 1 fits; the series does not converge.", field="series")
    rows = []
    for k, fit in enumerate(fits):
        window = abs(fit.limit - fits[k + 1].limit) if k + 1 < len(fits) else abs(fit.limit - fits[max(k - 1, 0)].limit)
        parts = {"statistical": fit.limit_error, "window": window}
        accelerated = _accelerated(data, fit.start)
        if accelerated is not None:
            parts["sequence"] = abs(accelerated - fit.limit)
        rows.append((math.sqrt(sum(v * v for v in parts.values())), parts, fit))
    error, parts, best = min(rows, key=lambda row: row[0])
    scaled = (data.y - best.limit) / (best.amplitude * (-best.ratio) ** data.x)
    return AlternatingLimit(
        best.limit, error, parts, tuple(map(float, data.x[data.x >= best.start])),
        tuple(Candidate(f"{data.x_name} >= {f.start:g}", (), f.limit, f.limit_error, f.chi2, f.dof) for f in fits),
        data.notes, f"{data.name or 'y'} at infinite {data.x_name}", data.unit,
        ratio=best.ratio, ratio_error=best.ratio_error, amplitude=best.amplitude,
        sizes=tuple(map(float, data.x)), collapsed=tuple(map(float, scaled)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Fit:
    start: float
    limit: float
    limit_error: float
    ratio: float
    ratio_error: float
    amplitude: float
    chi2: float
    dof: int


def _fit(data: Series, start: float) -> _Fit | None:
    """Variable projection: for a given q the model is linear, so only q is searched."""
    mask = data.x >= start
    if len(np.unique(data.x[mask] % 2)) < 2:
        return None
    x, y = data.x[mask], data.y[mask]
    error = None if data.error is None else data.error[mask]

    def solve(q: float) -> LinearFit:
        return linear_fit(np.column_stack([np.ones_like(x), (-1.0) ** x * q ** (x - start)]), y, error)

    grid = np.linspace(0.02, 0.995, 40)
    costs = [solve(float(q)).chi2 for q in grid]
    near = int(np.argmin(costs))
    if near in (0, len(grid) - 1):
        return None
    found = scipy.optimize.minimize_scalar(
        lambda q: solve(q).chi2, bounds=(grid[near - 1], grid[near + 1]), method="bounded", options={"xatol": 1e-13}
    )
    q = float(found.x)
    linear = solve(q)
    limit, scaled = map(float, linear.parameters)
    # the covariance of all three parameters, from the derivative of the model with respect to q
    slope = scaled * (-1.0) ** x * (x - start) * q ** (x - start - 1)
    full = linear_fit(np.column_stack([np.ones_like(x), (-1.0) ** x * q ** (x - start), slope]), y, error)
    errors = full.errors
    amplitude = scaled * q**-start
    return _Fit(start, limit, float(errors[0]), q, float(errors[2]), amplitude, linear.chi2, full.dof)


def _accelerated(data: Series, start: float) -> float | None:
    sizes, index = np.unique(data.x, return_index=True)
    keep = sizes >= start
    sizes, values = sizes[keep], data.y[index][keep]
    run = 1
    while run < len(sizes) and sizes[run] == sizes[run - 1] + 1:
        run += 1
    return wynn_epsilon(values[:run]) if run >= 3 else None


def wynn_epsilon(values: np.ndarray) -> float:
    """Return the limit of a sequence by Wynn's epsilon algorithm: exact for sums of geometric terms.

    eps_(k+1)(n) = eps_(k-1)(n+1) + 1/(eps_k(n+1) - eps_k(n)); the last entry of the highest even column (P. Wynn,
    Math. Tables Aids Comput. 10, 91 (1956)).  The first column is Aitken's process.

    >>> round(wynn_epsilon(np.array([1 + 0.5 * (-0.6) ** k for k in range(3)])), 12)
    1.0
    """
    previous, current = np.zeros(len(values) + 1), np.asarray(values, dtype=float)
    best = float(current[-1])
    for column in range(1, len(values)):
        differences = current[1:] - current[:-1]
        if (np.abs(differences) < 1e-14 * (1 + np.abs(current[1:]))).any():
            break
        previous, current = current, previous[1:-1] + 1 / differences
        if column % 2 == 0:
            best = float(current[-1])
    return best
