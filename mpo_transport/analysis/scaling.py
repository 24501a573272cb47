"""How a current falls with the length: power laws, exponentials, local exponents, comparison of laws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from ..errors import InputError, did_you_mean
from .averaging import Model, averaged
from .estimate import Candidate, Estimate
from .least_squares import aicc, linear_fit, nonlinear_fit
from .series import Series, Unconverged, text_with_error

__all__ = [
    "LAWS",
    "LawFit",
    "LocalExponents",
    "Ranking",
    "compare_laws",
    "exponential_law",
    "local_exponents",
    "power_law",
]

SMALLEST_WINDOW = 3


@dataclass(frozen=True)
class LawFit(Estimate):
    """Exponent of a power law or decay length of an exponential, with everything it was judged by.

    Besides the fields of :class:`Estimate`: ``law`` ("power" or "exponential"); ``windows``, the uncorrected law for
    every smallest length kept, which shows the drift; ``coefficients`` of the best fit, for :meth:`predict`.
    """

    law: str = ""
    sign: float = 1.0
    windows: tuple[Candidate, ...] = field(default=())
    coefficients: tuple[float, ...] = ()
    smallest: float = 1.0

    def predict(self, x: Any) -> np.ndarray:
        """Return the best single fit at x, its corrections included."""
        design = _designs(self.law, self.smallest)[len(self.coefficients) - 2].design
        return self.sign * np.exp(design(np.asarray(x, dtype=float)) @ np.array(self.coefficients))


def power_law(series: Series, *, unconverged: Unconverged = "refuse") -> LawFit:
    """Return the exponent a of y = A x^-a, with an error that contains its drift with the lengths used.

    ln|y| is fitted with the law alone and with one and two corrections,

        y = A x^-a (1 + b/x + ...),

    to all points and to those that remain when the smallest x are dropped.  The average and the parts "statistical",
    "models" and "window" of the error are those of :func:`~mpo_transport.analysis.in_length`.  A correction that the
    data cannot resolve makes the error large; it does not go unmentioned.

    Parameters
    ----------
    series
        x: lengths > 0; y of one sign.
    unconverged
        See :class:`Series`.

    Raises
    ------
    InputError
        For fewer than three lengths, y that is zero or changes sign, or unconverged points.

    Examples
    --------
    >>> L = np.array([8, 12, 16, 24, 32])
    >>> fit = power_law(Series(L, 3.0 / L**1.5, 1e-4))
    >>> fit.agrees(1.5, sigmas=1), fit.error < 0.05
    (True, True)
    """
    return _law(_prepared(series, unconverged), "power", "exponent")


def exponential_law(series: Series, *, unconverged: Unconverged = "refuse") -> LawFit:
    """Return the decay length xi of y = A exp(-x/xi); as :func:`power_law`, with the corrections x^-b and 1/x.

    Raises
    ------
    InputError
        As :func:`power_law`; also if y does not decay.

    Examples
    --------
    >>> L = np.arange(6.0, 16.0, 2)
    >>> round(exponential_law(Series(L, 2 * np.exp(-L / 2.5))).value, 9)
    2.5
    """
    fit = _law(_prepared(series, unconverged), "exponential", "decay length")
    rate = fit.value  # so far the decay rate 1/xi
    if rate <= 0:
        raise InputError("Argument `series`: y grows with x, so no decay length can be given.", field="series")

    def lengths(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        return tuple(replace(c, value=1 / c.value, error=c.error / c.value**2) for c in candidates if c.value > 0)

    return replace(
        fit, value=1 / rate, error=fit.error / rate**2, parts={k: v / rate**2 for k, v in fit.parts.items()},
        candidates=lengths(fit.candidates), windows=lengths(fit.windows),
    )  # fmt: skip


def _prepared(series: Series, unconverged: Unconverged, least: int = SMALLEST_WINDOW) -> Series:
    data = series.usable(unconverged, least=least, purpose="A decay law")
    if (data.x <= 0).any():
        raise InputError(f"Argument `series`: every x must be > 0, but {data.x.min():g} is given.", field="series")
    if (data.y == 0).any() or len(np.unique(np.sign(data.y))) > 1:
        raise InputError(
            "Argument `series`: y is zero or changes sign, so its logarithm cannot be fitted; leave such points out.",
            field="series",
        )
    return data


def _logarithms(data: Series) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    z = np.log(np.abs(data.y))
    if data.error is None:
        return z, None, []
    sigma = data.error / np.abs(data.y)
    if sigma.max() <= 0.3:
        return z, sigma, []
    return z, sigma, [f"errors up to {100 * sigma.max():.0f} % of the value bias the logarithm; leave such points out"]


def _designs(law: str, smallest: float) -> list[Model]:
    """The law (second parameter: exponent or decay rate) without and with corrections."""
    if law == "power":
        columns = [lambda x: -np.log(x), lambda x: smallest / x, lambda x: (smallest / x) ** 2]
        names = ["x^-a", "x^-a (1 + b/x)", "x^-a (1 + b/x + c/x^2)"]
    else:
        columns = [lambda x: -x, lambda x: np.log(x), lambda x: smallest / x]
        names = ["exp(-x/xi)", "x^b exp(-x/xi)", "x^b exp(-x/xi) (1 + c/x)"]

    def design(count: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: np.column_stack([np.ones_like(x), *(c(x) for c in columns[:count])])

    return [Model(name, design(k + 1), k + 2) for k, name in enumerate(names)]


def _law(data: Series, law: str, name: str) -> LawFit:
    z, sigma, notes = _logarithms(data)
    logs = replace(data, y=z, error=sigma)
    smallest = float(data.x.min())
    models = _designs(law, smallest)
    found = averaged(logs, models, parameter=1, notes=notes, name=name, unit="")
    best = found.candidates[0]
    model = next(m for m in models if best.name.startswith(m.name + ","))
    mask = data.x >= min(best.used)
    fit = linear_fit(model.design(data.x[mask]), z[mask], None if sigma is None else sigma[mask])
    windows = []
    for start in np.unique(data.x)[: -SMALLEST_WINDOW + 1]:
        kept = data.x >= start
        plain = linear_fit(models[0].design(data.x[kept]), z[kept], None if sigma is None else sigma[kept])
        windows.append(
            Candidate(f"{data.x_name} >= {start:g}", tuple(map(float, data.x[kept])), float(plain.parameters[1]),
                      float(plain.errors[1]), plain.chi2, plain.dof)
        )  # fmt: skip
    return LawFit(
        **{f.name: getattr(found, f.name) for f in fields(Estimate)},
        law=law, sign=float(np.sign(data.y[0])), windows=tuple(windows),
        coefficients=tuple(map(float, fit.parameters)), smallest=smallest,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LocalExponents:
    """Exponents of neighbouring lengths: ``x`` (geometric mean of a window), ``exponent``, ``error`` (NaN: unknown)."""

    x: np.ndarray
    exponent: np.ndarray
    error: np.ndarray
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = zip(self.x, self.exponent, self.error, strict=True)
        return "\n".join(f"{x:8.3g}  {text_with_error(a, e)}" for x, a, e in rows)


def local_exponents(series: Series, *, window: int = 2, unconverged: Unconverged = "refuse") -> LocalExponents:
    """Return a = -d ln|y| / d ln x on sliding windows of neighbouring lengths.

    Raises
    ------
    InputError
        As :func:`power_law`, or if ``window`` is smaller than 2 or larger than the number of lengths.

    Examples
    --------
    >>> local_exponents(Series([4, 8, 16], [1.0, 0.5, 0.125])).exponent.round(12).tolist()
    [1.0, 2.0]
    """
    data = _prepared(series, unconverged, least=2)
    sizes = np.unique(data.x)
    if isinstance(window, bool) or not isinstance(window, int) or not 2 <= window <= len(sizes):
        raise InputError(
            f"Argument `window` must be an integer between 2 and the number of lengths ({len(sizes)}), but is "
            f"{window!r}.",
            field="window",
        )
    z, sigma, notes = _logarithms(data)
    design = np.column_stack([np.ones(len(data)), -np.log(data.x)])
    places, values, errors = [], [], []
    for k in range(len(sizes) - window + 1):
        mask = (data.x >= sizes[k]) & (data.x <= sizes[k + window - 1])
        found = linear_fit(design[mask], z[mask], None if sigma is None else sigma[mask])
        places.append(math.exp(np.log(sizes[k : k + window]).mean()))
        values.append(float(found.parameters[1]))
        errors.append(math.nan if sigma is None and found.dof < 1 else float(found.errors[1]))
    return LocalExponents(np.array(places), np.array(values), np.array(errors), (*data.notes, *notes))


# ----------------------------------------------------------------------------------------------------------------------

_Law = tuple[Callable[..., np.ndarray], Callable[[np.ndarray, np.ndarray], Sequence[float]]]


def _slope(u: np.ndarray, z: np.ndarray) -> tuple[float, float]:
    a, b = np.polyfit(u, z, 1)
    return float(b), float(-a)


# Each law: ln|y| as a function of x and its parameters, and where to start.
LAWS: dict[str, _Law] = {
    "constant": (lambda x, a: np.full_like(x, a), lambda x, z: [float(z.mean())]),
    "power": (lambda x, a, s: a - s * np.log(x), lambda x, z: _slope(np.log(x), z)),
    "exponential": (lambda x, a, k: a - k * x, lambda x, z: _slope(x, z)),
    "power to a constant": (
        lambda x, a, s, c: np.logaddexp(a - s * np.log(x), c),
        lambda x, z: (float(z.max()), 1.0, float(z.min() - 0.5)),
    ),
    "exponential to a constant": (
        lambda x, a, k, c: np.logaddexp(a - k * x, c),
        lambda x, z: (float(z.max()), 3.0 / float(np.ptp(x)), float(z.min() - 0.01)),
    ),
    "stretched power": (
        lambda x, a, s, k: a - s * np.log(x) - k * x,
        lambda x, z: (*_slope(np.log(x), z), 0.0),
    ),
}


@dataclass(frozen=True)
class Ranking:
    """Laws compared on the same data, best first; ``rows`` hold name, parameters (k), chi2/dof, AICc - best, weight."""

    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> str:
        """Name of the best law."""
        return str(self.rows[0]["law"])

    def weight(self, law: str) -> float:
        """Return the Akaike weight of a law."""
        return float(next((r["weight"] for r in self.rows if r["law"] == law), 0.0))

    def __str__(self) -> str:
        lines = [f"{r['law']:<26} k = {r['k']}  chi2/dof = {r['chi2/dof']:.3g}  dAICc = {r['dAICc']:.3g}  "
                 f"weight = {r['weight']:.3g}" for r in self.rows]  # fmt: skip
        return "\n".join([*lines, *(f"note: {n}" for n in self.notes)])


def compare_laws(
    series: Series, laws: Sequence[str] = ("constant", "power", "exponential"), *, unconverged: Unconverged = "refuse"
) -> Ranking:
    """Return laws for y(x) ranked by the corrected Akaike information criterion (AICc).

    All laws are fitted to ln|y|.  Weights are exp(-dAICc/2), normalised (K. P. Burnham and D. R. Anderson, *Model
    Selection and Multimodel Inference* (2002), sec. 2.9).  If no law fits within the errors given, the errors are
    not what separates the laws from the data; they are then ranked by their residuals, and a note says so.

    Parameters
    ----------
    laws
        Names from ``LAWS``: "constant", "power", "exponential", "power to a constant", "exponential to a constant",
        "stretched power" (x^-a exp(-k x)).

    Raises
    ------
    InputError
        As :func:`power_law`; for an unknown law; or if the points are too few to rank any of them.

    Examples
    --------
    >>> L = np.array([4, 6, 8, 12, 16, 24])
    >>> compare_laws(Series(L, 5.0 / L**2, 1e-3)).best
    'power'
    """
    data = _prepared(series, unconverged)
    for law in laws:
        if law not in LAWS:
            raise InputError(f"Argument `laws`: unknown law {law!r}; {did_you_mean(law, LAWS)}", field="laws")
    z, sigma, notes = _logarithms(data)
    fits = {}
    for law in laws:
        function, start = LAWS[law]
        first = start(data.x, z)
        if len(data) > len(first):
            fits[law] = nonlinear_fit(function, data.x, z, sigma, first)
    found = {law: fit for law, fit in fits.items() if fit is not None}
    if sigma is not None and found and min(f.chi2 / f.dof for f in found.values()) > 4:
        notes.append("no law fits within the errors given; ranked by residuals with equal weights")
        sigma = None
        found = {w: f for w in found if (f := nonlinear_fit(LAWS[w][0], data.x, z, None, LAWS[w][1](data.x, z)))}
    scores = {
        law: aicc(fit.chi2, len(data), len(fit.parameters), known_errors=sigma is not None)
        for law, fit in found.items()
    }
    if not any(math.isfinite(s) for s in scores.values()):
        raise InputError(f"{len(data)} points are too few to rank these laws; AICc needs more.", field="series")
    best = min(scores.values())
    weights = {law: math.exp(-0.5 * (s - best)) for law, s in scores.items()}
    total = sum(weights.values())
    rows = tuple(
        {"law": law, "k": len(found[law].parameters), "parameters": tuple(map(float, found[law].parameters)),
         "chi2/dof": found[law].chi2 / max(found[law].dof, 1), "dAICc": s - best, "weight": weights[law] / total}
        for law, s in sorted(scores.items(), key=lambda item: item[1])
    )  # fmt: skip
    missing = [law for law in laws if law not in found]
    notes += [f"not fitted: {', '.join(missing)}"] if missing else []
    return Ranking(rows, (*data.notes, *notes))
