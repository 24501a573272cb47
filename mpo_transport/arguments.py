"""Reading arguments: scalars or one value per item, real numbers within bounds, plain values for files."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import InputError

__all__ = ["per_item", "plain", "real_number"]


def per_item(
    value: Any, count: int, name: str, what: str, *, real: bool = False, least: float | None = None
) -> np.ndarray:
    """Return a scalar or a list of ``count`` values as an array, shape (count,); ``what`` is "site" or "bond".

    Complex unless ``real``; with ``least`` the values are real and must not be smaller.

    Raises
    ------
    InputError
        Naming the argument, if the length or a value is wrong.

    Examples
    --------
    >>> per_item(0.5, 3, "kappa", "site", least=0).tolist()
    [0.5, 0.5, 0.5]
    """
    try:
        array = np.asarray(value, dtype=complex)
    except (TypeError, ValueError):
        raise InputError(f"Argument `{name}` must be a number or one number per {what}.", field=name) from None
    if array.ndim == 0:
        array = np.full(count, complex(array))
    if array.shape != (count,):
        raise InputError(
            f"Argument `{name}` must be a scalar or one value per {what} ({count}), but has shape {array.shape}.",
            field=name,
        )
    if not np.all(np.isfinite(array)):
        raise InputError(f"Argument `{name}` must be finite, but is {value!r}.", field=name)
    if not real and least is None:
        return array
    if np.any(array.imag):
        raise InputError(f"Argument `{name}` must be real, but is {value!r}.", field=name)
    if least is not None and np.any(array.real < least):
        raise InputError(f"Argument `{name}` must be >= {least:g}, but is {value!r}.", field=name)
    return np.ascontiguousarray(array.real)


def real_number(value: Any, name: str, *, least: float | None = None, above: float | None = None) -> float:
    """Return a finite real number, not smaller than ``least`` and larger than ``above``.

    Raises
    ------
    InputError
        Naming the argument.

    Examples
    --------
    >>> real_number(2, "kappa", least=0)
    2.0
    """
    bound = "" if least is None else f" >= {least:g}"
    bound = bound if above is None else f" > {above:g}"
    sentence = f"Argument `{name}` must be a finite real number{bound}, but is {value!r}."
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, np.integer, np.floating)):
        raise InputError(sentence, field=name)
    number = float(value)
    if not math.isfinite(number) or (least is not None and number < least) or (above is not None and number <= above):
        raise InputError(sentence, field=name)
    return number


def plain(value: Any) -> Any:
    """Return numpy arrays and numbers, at any depth, as Python lists and numbers, for the parameters of a model.

    >>> plain({"G": np.array([1.0, 2.0]), "N": (np.float64(0.5), None)})
    {'G': [1.0, 2.0], 'N': [0.5, None]}
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    return value
