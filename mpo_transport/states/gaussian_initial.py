"""Product states that are Gaussian, read from the words and lists a user may give as ``initial``."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from ..errors import InputError, did_you_mean
from ..lattice import Lattice
from .base import entries_per_site, local_density_matrices

__all__ = ["boson_moments", "fermion_occupations"]

_WORDS = ("thermal", "coherent")


def boson_moments(lattice: Lattice, initial: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return (<R>, occupation of the thermal part), shapes (2L,) and (L,)."""
    L = lattice.L
    entries = [initial] * L if isinstance(initial, str) else entries_per_site(lattice, initial)
    amplitude, occupation = np.zeros(L, dtype=complex), np.zeros(L)
    for j, entry in enumerate(entries):
        word, value = _word(entry, j)
        if word == "coherent":
            amplitude[j] = value
        else:
            occupation[j] = value.real
    return math.sqrt(2) * np.concatenate([amplitude.real, amplitude.imag]), occupation


def fermion_occupations(lattice: Lattice, initial: Any) -> np.ndarray:
    """Return the probability of spin up on every site, shape (L,)."""
    if isinstance(initial, str):
        return np.array([m[0, 0].real for m in local_density_matrices(lattice, initial)])
    entries = entries_per_site(lattice, initial)
    plain = ["down" if _pair(e) else e for e in entries]
    out = np.zeros(lattice.L)
    for j, matrix in enumerate(local_density_matrices(lattice, plain)):
        if abs(matrix[0, 1]) > 1e-14:
            raise InputError(
                f"Initial state of site {j} is a superposition of up and down, which is not Gaussian in the fermions; "
                "give a diagonal state, or use another method.",
                field="initial",
            )
        out[j] = matrix[0, 0].real
    for j, entry in enumerate(entries):
        if _pair(entry):
            word, value = _word(entry, j)
            if word != "thermal" or value.real > 1:
                raise InputError(
                    f"Initial state of site {j} must be ('thermal', n) with 0 <= n <= 1 for a spin, but is {entry!r}.",
                    field="initial",
                )
            out[j] = value.real
    return out


def _pair(entry: Any) -> bool:
    return isinstance(entry, (tuple, list)) and len(entry) == 2 and isinstance(entry[0], str)


def _word(entry: Any, site: int) -> tuple[str, complex]:
    """Return ("thermal", n) or ("coherent", alpha) for one entry."""
    if isinstance(entry, str) and entry == "vacuum":
        return "thermal", 0j
    if isinstance(entry, (numbers.Number, np.generic)) and not isinstance(entry, (bool, np.bool_)):
        if entry == 0:
            return "thermal", 0j
        raise InputError(
            f"Initial occupation {entry!r} of site {site}: a number state is not Gaussian. Give ('thermal', {entry}) "
            "for a thermal state of this mean occupation, ('coherent', alpha), or a GaussianState.",
            field="initial",
        )
    if _pair(entry) and entry[0] in _WORDS:
        word, value = entry
        if isinstance(value, (numbers.Number, np.generic)) and not isinstance(value, (bool, np.bool_)):
            number = complex(value)  # type: ignore[arg-type]
            if np.isfinite(number) and (word == "coherent" or (number.imag == 0 and number.real >= 0)):
                return word, number
        raise InputError(
            f"Initial state {entry!r} of site {site}: give ('thermal', n) with a mean occupation n >= 0, or "
            "('coherent', alpha) with a finite amplitude.",
            field="initial",
        )
    word = entry if isinstance(entry, str) else entry[0] if _pair(entry) else repr(entry)
    raise InputError(
        f"Initial state {entry!r} of site {site} is no Gaussian state of a mode; "
        f"{did_you_mean(str(word), ['vacuum', *_WORDS])}",
        field="initial",
    )
