"""A number against one parameter, with errors and statuses: what every analysis starts from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..result import Status

__all__ = ["Series", "Unconverged", "text_with_error"]

Unconverged = Literal["refuse", "drop", "keep"]
CONVERGED = Status.CONVERGED.value
CHOICES = ("refuse", "drop", "keep")


@dataclass(frozen=True)
class Series:
    """Values y(x) of one quantity, ordered by x.

    Parameters
    ----------
    x, y
        Real numbers, one per point; a missing value is NaN.  Equal x may occur (independent runs).
    error
        Standard deviations (one sigma) of y, > 0, one per point or one for all; None: unknown and equal.
    status
        How each point ended, words of :class:`~mpo_transport.result.Status` or ``"missing"``; None: all converged.
    name, x_name, unit
        For labels.
    notes
        What was left out or kept against advice; carried on to every result.

    Raises
    ------
    InputError
        For lengths that differ, values that are not real, or errors that are not positive.

    Notes
    -----
    Every analysis takes ``unconverged``: ``"refuse"`` (default) raises an error if a point is missing or not converged,
    ``"drop"`` leaves such points out and ``"keep"`` uses what values there are; both say so in the notes.

    Examples
    --------
    >>> Series([8, 4], [0.2, 0.4], 0.01, status=["converged", "not_converged"]).x
    array([4., 8.])
    """

    x: Any
    y: Any
    error: Any = None
    status: Any = None
    name: str = ""
    x_name: str = "x"
    unit: str = ""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        x, y = _real(self.x, "x"), _real(self.y, "y")
        if x.shape != y.shape or x.ndim != 1:
            raise InputError(
                f"Arguments `x` and `y` must be lists of equal length, but have the shapes {x.shape} and {y.shape}.",
                field="y",
            )
        if not np.isfinite(x).all():
            raise InputError("Argument `x` must be finite.", field="x")
        order = np.argsort(x, kind="stable")
        error = self.error if self.error is None else _errors(self.error, y)[order]
        words = [CONVERGED] * len(x) if self.status is None else np.asarray(self.status).ravel()
        status = tuple(str(s) for s in words)
        if len(status) != len(x):
            raise InputError(
                f"Argument `status` must have one word per point ({len(x)}), but has {len(status)}.", field="status"
            )
        values: dict[str, Any] = {"x": x[order], "y": y[order], "error": error}
        values |= {"status": tuple(status[k] for k in order), "notes": tuple(self.notes)}
        for key, value in values.items():
            object.__setattr__(self, key, value)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def doubtful(self) -> np.ndarray:
        """Which points are missing, not finite or not converged, shape (len,)."""
        return np.array([s != CONVERGED for s in self.status], dtype=bool) | ~np.isfinite(self.y)

    def usable(self, unconverged: Unconverged = "refuse", *, least: int = 1, purpose: str = "this") -> Series:
        """Return the points an analysis may use.

        Raises
        ------
        InputError
            If points are missing or not converged and ``unconverged="refuse"``; if fewer than ``least`` different x
            remain; if errors are given for some of the points only.
        """
        if unconverged not in CHOICES:
            raise InputError(
                f"Argument `unconverged` must be one of {', '.join(map(repr, CHOICES))}, but is {unconverged!r}.",
                field="unconverged",
            )
        bad = self.doubtful
        listing = ", ".join(f"{self.x_name} = {x:g} ({self._word(k)})" for k, x in enumerate(self.x) if bad[k])
        if bad.any() and unconverged == "refuse":
            raise InputError(
                f"{int(bad.sum())} of {len(self)} points are missing or not converged: {listing}. Converge them, or "
                'give unconverged="drop" to leave them out or unconverged="keep" to use them all the same.',
                field="unconverged",
            )
        gone = bad if unconverged == "drop" else ~np.isfinite(self.y)
        notes = list(self.notes)
        if bad.any():
            left_out = [f"{self.x_name} = {x:g} ({self._word(k)})" for k, x in enumerate(self.x) if gone[k]]
            kept = [f"{self.x_name} = {x:g} ({self._word(k)})" for k, x in enumerate(self.x) if bad[k] and not gone[k]]
            notes += ["left out: " + ", ".join(left_out)] if left_out else []
            notes += ["used although not converged: " + ", ".join(kept)] if kept else []
        chosen = self.at(~gone, notes=tuple(notes))
        if len(np.unique(chosen.x)) < least:
            raise InputError(
                f"{purpose} needs at least {least} different values of {self.x_name}, but has "
                f"{len(np.unique(chosen.x))}.",
                field="x",
            )
        if chosen.error is not None and not np.isfinite(chosen.error).all():
            raise InputError(
                "Argument `error` is unknown (NaN) for some points; leave these out, or give error=None to weigh all "
                "points equally.",
                field="error",
            )
        return chosen

    def at(self, mask: Any, *, notes: tuple[str, ...] | None = None) -> Series:
        """Return the points selected by a mask or by indices."""
        index = np.arange(len(self))[mask]
        return replace(
            self,
            x=self.x[index],
            y=self.y[index],
            error=None if self.error is None else self.error[index],
            status=tuple(self.status[k] for k in index),
            notes=self.notes if notes is None else notes,
        )

    def map(self, x: Any = None, y: Any = None, error: Any = None, **names: Any) -> Series:
        """Return the series with x, or y and its error, replaced by numbers calculated from them.

        >>> chain = Series([4, 8], [0.5, 0.25])
        >>> chain.map(y=chain.x * chain.y).y.tolist()
        [2.0, 2.0]
        """
        return replace(
            self,
            x=self.x if x is None else x,
            y=self.y if y is None else y,
            error=self.error if y is None and error is None else error,
            **names,
        )

    def floored(self, relative: float) -> Series:
        """Return the series with relative errors of at least ``relative``.

        A law that holds asymptotically is not worth more digits than its corrections; without a floor, a few exact
        values at short lengths outweigh everything else.

        >>> Series([4, 8], [2.0, 1.0], [1e-9, 0.1]).floored(0.01).error.tolist()
        [0.02, 0.1]
        """
        if not 0 < relative < 1:
            raise InputError(f"Argument `relative` must lie between 0 and 1, but is {relative!r}.", field="relative")
        known = np.zeros(len(self)) if self.error is None else np.asarray(self.error)
        floor = relative * np.maximum(np.abs(self.y), 1e-300)
        note = f"relative errors of at least {relative:g} assumed"
        return replace(self, error=np.maximum(known, floor), notes=(*self.notes, note))

    def joined(self, other: Series) -> Series:
        """Return the points of two series of the same quantity as one.

        >>> Series([4], [2.0]).joined(Series([8], [1.0])).x.tolist()
        [4.0, 8.0]
        """
        if (self.error is None) != (other.error is None):
            raise InputError("Argument `other`: either both series have errors or none.", field="other")
        return replace(
            self,
            x=np.concatenate([self.x, other.x]),
            y=np.concatenate([self.y, other.y]),
            error=None if self.error is None else np.concatenate([self.error, other.error]),
            status=(*self.status, *other.status),
            notes=tuple(dict.fromkeys((*self.notes, *other.notes))),
        )

    def _word(self, k: int) -> str:
        return self.status[k] if self.status[k] != CONVERGED else "no value"


def _real(values: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(values)
        if np.iscomplexobj(array) and np.any(array.imag != 0):
            raise ValueError
        return np.array(array.real, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"Argument `{name}` must be a list of real numbers.", field=name) from None


def _errors(error: Any, y: np.ndarray) -> np.ndarray:
    try:
        errors = np.broadcast_to(_real(error, "error"), y.shape).copy()
    except ValueError:
        raise InputError(
            f"Argument `error` must be one number or one per point ({len(y)}), but has the shape {np.shape(error)}.",
            field="error",
        ) from None
    wrong = (errors <= 0) | np.isinf(errors)
    if wrong.any():
        raise InputError(
            f"Argument `error` must be positive and finite, but is {errors[wrong][0]:g} at point "
            f"{int(wrong.argmax())}; for exact values give error=None.",
            field="error",
        )
    return errors


def text_with_error(value: float, error: float) -> str:
    """Return a value with two uncertain digits, the error in brackets.

    >>> text_with_error(0.859618, 0.0000123), text_with_error(-1.98, 0.31), text_with_error(3.25, float("nan"))
    ('0.859618(12)', '-1.98(31)', '3.25(?)')
    """
    if not (math.isfinite(error) and math.isfinite(value)):
        return f"{value:.6g}(?)"
    if error <= 0:
        return f"{value:.12g}(0)"
    places = 1 - math.floor(math.log10(error))
    if round(error * 10.0**places) >= 100:
        places -= 1
    if places < 0:
        return f"{value:.0f}({error:.0f})"
    if places > 15:
        return f"{value:.15g}({error:.0e})"
    return f"{value:.{places}f}({error * 10.0**places:.0f})"
