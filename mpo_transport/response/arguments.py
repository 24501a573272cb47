"""Checks of the arguments of correlation functions, spectra and scattering."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError, did_you_mean
from ..model import Lindbladian
from ..operators import OpSum

__all__ = ["checked_frequencies", "checked_operator"]


def checked_frequencies(frequencies: Any) -> np.ndarray:
    """Return real, finite angular frequencies, shape (W,), W >= 1."""
    try:
        grid = np.array(frequencies, dtype=float, ndmin=1)
    except (TypeError, ValueError):
        raise InputError(
            f"Argument `frequencies` must be a list of real numbers, but is {frequencies!r}.", field="frequencies"
        ) from None
    if grid.ndim != 1 or grid.size == 0 or not np.all(np.isfinite(grid)):
        raise InputError("Argument `frequencies` must be a list of at least one finite number.", field="frequencies")
    return grid


def checked_operator(model: Lindbladian, operator: Any, name: str) -> OpSum:
    """Return the operator if it is made of operators that the sites of the model have."""
    if not isinstance(operator, OpSum):
        raise InputError(
            f"Argument `{name}` must be an OpSum built with op(...), but is {type(operator).__name__}.", field=name
        )
    for key, _ in operator:
        for word, site in key:
            if site >= model.L:
                raise InputError(
                    f"Argument `{name}` acts on site {site}, but the lattice has sites 0..{model.L - 1}.",
                    field=name,
                )
            space = model.lattice.spaces[site]
            if not space.has(word):
                known = space.operators if space.is_bounded else ("A", "Adag", "N", "Q", "P")
                raise InputError(
                    f"Argument `{name}` uses the unknown operator {word!r}; {did_you_mean(word, known)}",
                    field=name,
                )
    return operator
