"""One driven oscillator with a Kerr nonlinearity."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..lattice import Chain
from ..model import Bath, Jump, Lindbladian
from ..operators import Boson, op
from .registry import per_item, register

__all__ = ["kerr_oscillator"]


@register
def kerr_oscillator(*, Delta: float, U: float, F: Any, gamma: float, levels: float) -> Lindbladian:
    """Return one driven, damped Kerr oscillator in the frame of the drive.

        H = -Delta n + (U/2) a+ a+ a a + F a+ + F^* a,      loss gamma D[a]

    Here U multiplies n(n-1)/2.  Every moment of the steady state is known in terms of 0F2 hypergeometric functions.

    Parameters
    ----------
    Delta
        Detuning of the drive from the oscillator (drive minus oscillator frequency).
    U
        Kerr shift per pair of quanta.
    F
        Amplitude of the drive, complex.
    gamma
        Loss rate, >= 0.
    levels
        Number of levels kept; ``math.inf`` for symbolic backends.

    Raises
    ------
    InputError
        Naming the argument that is wrong.

    References
    ----------
    P. D. Drummond, D. F. Walls, J. Phys. A 13, 725 (1980).

    Examples
    --------
    >>> kerr_oscillator(Delta=0.5, U=1.0, F=0.6, gamma=1.0, levels=12).hamiltonian
    0.6 A(0) + 0.6 Adag(0) - N(0) + 0.5 N(0) N(0)
    """
    detuning = float(per_item(Delta, 1, "Delta", "site", real=True)[0])
    shift = float(per_item(U, 1, "U", "site", real=True)[0])
    drive = complex(per_item(F, 1, "F", "site")[0])
    loss = float(per_item(gamma, 1, "gamma", "site", real=True)[0])
    if loss < 0:
        raise InputError(f"Argument `gamma` must be >= 0, but is {gamma!r}.", field="gamma")
    n = op("N", 0)
    h = -detuning * n + (shift / 2) * (n * n - n) + drive * op("Adag", 0) + np.conj(drive) * op("A", 0)
    return Lindbladian(
        Chain(1, Boson(levels)),
        h,
        [Jump(op("A", 0), rate=loss, label="site_0", charge=1.0)],
        name="kerr_oscillator",
        parameters={"Delta": Delta, "U": U, "F": F, "gamma": gamma, "levels": levels},
        baths=[Bath("site_0", occupation=0.0)],
    )
