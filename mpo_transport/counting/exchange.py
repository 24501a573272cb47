"""The exchange fluctuation theorem: theta of the reversed model at A - s against theta at s."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError, NotSupportedError
from ..model import Lindbladian, checked_model
from ..observables.transport import bath_affinity
from ..operators import OpSum
from .fields import checked_fields, counted_baths
from .statistics import TOL, generating_function

__all__ = ["ExchangeSymmetry", "affinities", "exchange_symmetry", "reversed_model"]


@dataclass(frozen=True)
class ExchangeSymmetry:
    """theta at s, and at A - s in the model itself and in the reversed one.

    Attributes
    ----------
    affinities
        A_b of every counted bath.
    theta
        theta(s).
    theta_reversed
        theta of the reversed model at A - s: equal to theta(s) for thermal baths (exchange fluctuation theorem).
    theta_mirrored
        theta(A - s) of the model itself: equal to theta(s) only if the model is its own reversal up to a gauge, in
        particular not in general where reciprocity is broken; None outside its domain.
    """

    affinities: Mapping[str, float]
    theta: float
    theta_reversed: float
    theta_mirrored: float | None

    @property
    def defect(self) -> float:
        """|theta_reversed - theta|, zero by the theorem."""
        return abs(self.theta_reversed - self.theta)

    @property
    def asymmetry(self) -> float:
        """|theta_mirrored - theta|, a measure of broken time reversal; NaN where theta(A - s) does not exist."""
        return math.nan if self.theta_mirrored is None else abs(self.theta_mirrored - self.theta)


def affinities(model: Lindbladian) -> dict[str, float]:
    """Return the affinity of every counted bath, ln of emission over absorption per quantum: A = ln((N+1)/N).

    Raises
    ------
    NotSupportedError
        Naming a bath whose jumps are no pairs L, L^+ with one ratio of rates, or that is empty (infinite affinity).

    Examples
    --------
    >>> from mpo_transport import models
    >>> chain = models.boundary_driven_xx(L=3, t=1.0, G_L=1.0, f_L=0.8, G_R=1.0, f_R=0.2)
    >>> {k: round(v, 6) for k, v in affinities(chain).items()}
    {'left': -1.386294, 'right': 1.386294}
    """
    out = {}
    for label in counted_baths(checked_model(model)):
        value = bath_affinity(model, label)
        if value is None or not math.isfinite(value):
            why = "only absorbs or only emits" if value is not None else "is not made of pairs L, L^+ with one ratio"
            raise NotSupportedError(f"Bath {label!r} has no finite affinity: it {why}.", field="model")
        out[label] = value
    if not out:
        raise NotSupportedError("The model has no counted bath.", field="model")
    return out


def reversed_model(model: Lindbladian) -> Lindbladian:
    """Return the time-reversed model: Hamiltonian and jumps complex conjugated in the basis of local numbers.

    Raises
    ------
    NotSupportedError
        If a local operator is neither real nor imaginary in this basis.
    """
    model = checked_model(model)
    jumps = [replace(j, operator=_conjugated(model, j.operator)) for j in model.jumps]
    return Lindbladian(
        model.lattice,
        _conjugated(model, model.hamiltonian),
        jumps,
        name=f"{model.name}_reversed",
        parameters=model.parameters,
        baths=model.baths,
    )


def _conjugated(model: Lindbladian, operator: OpSum) -> OpSum:
    terms = {}
    for key, c in operator:
        sign = math.prod(_reality(model, name, site) for name, site in key)
        terms[key] = sign * np.conj(c)
    return OpSum(terms)


def _reality(model: Lindbladian, name: str, site: int) -> int:
    space = model.lattice.spaces[site]
    if not space.is_bounded:
        return -1 if name == "P" else 1
    matrix = np.asarray(space.matrix(name))
    if not np.any(np.imag(matrix)):
        return 1
    if not np.any(np.real(matrix)):
        return -1
    raise NotSupportedError(
        f"The operator {name!r} on site {site} is neither real nor imaginary, so that its time reversal is not known.",
        field="model",
    )


def exchange_symmetry(
    model: Lindbladian, fields: Mapping[str, float], method: Any = None, *, tol: float = TOL
) -> ExchangeSymmetry:
    """Return theta(s), theta_rev(A - s) and theta(A - s) for real counting fields s.

    For thermal baths with affinities A_b = ln((N_b + 1)/N_b) the exchange fluctuation theorem says

        theta_rev(A - s) = theta(s),

    the reversed model being the complex conjugate.  For a non-reciprocal model theta(A - s) differs from theta(s).

    Parameters
    ----------
    model
        Every counted bath must be thermal: jumps L and L^+ with a fixed ratio of rates.
    fields
        Mapping from labels to real s; baths left out have s = 0.
    method
        As in :func:`~mpo_transport.counting.generating_function`.

    Raises
    ------
    InputError
        (field ``fields``) for complex fields, or fields outside the domain.
    NotSupportedError
        If a bath has no finite affinity.

    References
    ----------
    M. Esposito, U. Harbola, S. Mukamel, Rev. Mod. Phys. 81, 1665 (2009), section III.

    Examples
    --------
    >>> from mpo_transport import models
    >>> chain = models.boundary_driven_xx(L=3, t=1.0, G_L=1.0, f_L=0.8, G_R=1.0, f_R=0.2)
    >>> exchange_symmetry(chain, {"left": 0.4}).defect < 1e-13
    True
    """
    own = affinities(model)
    given = checked_fields(model, fields)
    if any(s.imag for s in given.values()):
        raise InputError("Argument `fields` must be real for the exchange fluctuation theorem.", field="fields")
    unknown = [label for label in given if label not in own]
    if unknown:
        raise InputError(f"Argument `fields`: bath {unknown[0]!r} is not counted.", field="fields")
    s = {label: given.get(label, 0j).real for label in own}
    mirrored = {label: own[label] - s[label] for label in own}
    theta = generating_function(model, s, method, tol=tol)
    other = generating_function(reversed_model(model), mirrored, method, tol=tol)
    try:
        same: float | None = generating_function(model, mirrored, method, tol=tol)
    except InputError as error:
        if error.field != "fields":
            raise
        same = None
    return ExchangeSymmetry(own, theta, other, same)
