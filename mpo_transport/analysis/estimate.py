"""An analysed number: value, error, what the error consists of, and which data it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .series import Series, text_with_error

__all__ = ["Candidate", "Estimate", "combined"]


@dataclass(frozen=True)
class Candidate:
    """One fit that was tried: its name, the x it used, the wanted number with its statistical error, and its rank.

    ``chi2`` is the weighted sum of squared residuals, ``dof`` the number of points minus parameters, ``weight`` the
    share in the average (the weights of all candidates add up to one).
    """

    name: str
    used: tuple[float, ...]
    value: float
    error: float
    chi2: float
    dof: int
    weight: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error (one sigma).

    Attributes
    ----------
    value, error
        The number; ``error`` is the root of the sum of the squares of ``parts``.
    parts
        Contributions to the error by cause: "statistical" (scatter of the data) and those of the model ("models",
        "window", ...).
    used
        The x of the points that entered.
    candidates
        The fits that were compared.
    notes
        What the reader should know: points left out or used against advice, errors that had to be scaled.
    name, unit
        For labels.
    """

    value: float
    error: float
    parts: Mapping[str, float] = field(default_factory=dict)
    used: tuple[float, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = ()
    name: str = ""
    unit: str = ""

    def interval(self, sigmas: float = 1.0) -> tuple[float, float]:
        """Return the interval value -+ sigmas x error."""
        return self.value - sigmas * self.error, self.value + sigmas * self.error

    def agrees(self, number: float, sigmas: float = 2.0) -> bool:
        """Whether a number lies within so many errors."""
        return bool(abs(number - self.value) <= sigmas * self.error)

    def __str__(self) -> str:
        head = f"{self.name + ' = ' if self.name else ''}{text_with_error(self.value, self.error)}"
        head += f" {self.unit}" if self.unit else ""
        lines = [head]
        if self.parts:
            lines.append("  error by cause: " + ", ".join(f"{k} {v:.1e}" for k, v in self.parts.items()))
        if self.used:
            lines.append(f"  {len(self.used)} points, {min(self.used):g} to {max(self.used):g}")
        return "\n".join(lines + [f"  note: {n}" for n in self.notes])


def combined(value: float, parts: Mapping[str, float], series: Series, **fields: Any) -> Estimate:
    """Return an estimate whose error is the root of the sum of the squared parts."""
    kept = {k: float(v) for k, v in parts.items()}
    error = math.sqrt(sum(v * v for v in kept.values()))
    used = fields.pop("used", tuple(float(x) for x in np.unique(series.x)))
    notes = series.notes + tuple(fields.pop("notes", ()))
    return Estimate(float(value), error, kept, used, notes=notes, unit=fields.pop("unit", series.unit), **fields)
