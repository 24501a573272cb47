"""Checks that methods share: knobs that are numbers, and the state a matrix-product method starts from."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..model import Lindbladian
from ..states import DenseState, MPOState, State
from ..states.base import check_initial

__all__ = ["check_integer", "check_positive", "initial_train", "is_number"]


def is_number(x: Any) -> bool:
    """Return whether x is a finite real number and not a truth value.

    >>> is_number(1e-3), is_number(True), is_number(float("nan"))
    (True, False, False)
    """
    return isinstance(x, numbers.Real) and not isinstance(x, (bool, np.bool_)) and math.isfinite(x)


def check_integer(name: str, value: Any, smallest: int, *, optional: bool = False) -> None:
    """Raise :class:`InputError` unless a knob is an integer >= ``smallest`` (or None, if optional)."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < smallest:
        raise InputError(f"Argument `{name}` must be an integer >= {smallest}, but is {value!r}.", field=name)


def check_positive(name: str, value: Any) -> None:
    """Raise :class:`InputError` unless a knob is a finite number > 0 or None."""
    if value is not None and not (is_number(value) and value > 0):
        raise InputError(f"Argument `{name}` must be a finite number > 0 or None, but is {value!r}.", field=name)


def initial_train(model: Lindbladian, initial: Any, order: Sequence[int]) -> MPOState:
    """Return the state of trace one that a user gave, as a matrix product with the sites in the given order.

    Raises
    ------
    InputError
        Field ``initial``, for anything but a name, one local state per site, or a dense or matrix-product state.
    """
    order = tuple(order)
    if not isinstance(initial, State):
        return MPOState.product(model.lattice, initial, order)
    check_initial(model.lattice, initial)
    if isinstance(initial, MPOState) and initial.order == order:
        return initial.normalised()
    if isinstance(initial, (MPOState, DenseState)):
        return MPOState.from_dense(model.lattice, initial.to_dense(), order=order)
    raise InputError(
        f"Argument `initial` must be a name, one local state per site, or a dense or matrix-product state, but is "
        f"{type(initial).__name__}.",
        field="initial",
    )
