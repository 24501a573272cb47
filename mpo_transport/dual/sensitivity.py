"""Derivatives of steady-state expectation values with respect to every parameter of a model, from one adjoint problem.

    d<O>/dp = < dO/dp > - (y| (dL/dp) x),        L^T y = O - <O> 1

The generator is at most quadratic in most parameters (amplitudes of jump operators enter squared), so a symmetric
difference of (y| L(p) x) is exact; extrapolation to vanishing step covers the others and shows which they are.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError, MpoTransportError, NotSupportedError, did_you_mean
from ..model import Lindbladian, checked_model
from ..models import MODELS, build_model
from ..observables import OBSERVABLES, Observable, build_observable
from ..operators import OpSum
from ..result import Result
from ..solve import steady_state
from ..states import State
from .base import Dual, DualBackend
from .estimate import backend_of, checked_bond, checked_result, checked_tolerance, hermitian_parts, operators_of

__all__ = ["sensitivity"]

# First step of the differences, relative to max(|p|, 1); further ones are halves.
STEP = 0.02
HALVINGS = 4

# Numbers that count something: no derivative exists.
_COUNTS = frozenset({"L", "levels", "photons", "phonons", "sidebands", "cells", "dissipator_distance"})

Target = Observable | OpSum | str | Callable[[Lindbladian], Observable | OpSum]


def sensitivity(
    model: Lindbladian,
    observable: Target,
    *,
    result: Result | None = None,
    parameters: Iterable[str] | None = None,
    max_bond: int | None = None,
    tol: float | None = None,
) -> dict[str, Any]:
    """Return d<O>/dp in the steady state for the numeric parameters p of a library model.

    Parameters
    ----------
    model
        A model of :mod:`mpo_transport.models`; its ``parameters`` say how it was made.
    observable
        A fixed linear observable or operator; or its name, or a function of the model, if the operator itself depends
        on the parameters (``mpo_transport.observables.current`` contains the couplings): then d<O>/dp contains
        <dO/dp>.
    result
        The steady state of this model; by default it is computed.
    parameters
        Names; by default all numeric ones.
    max_bond, tol
        Of the duals, as in :func:`corrected`.

    Returns
    -------
    dict
        Name -> derivative, of the shape of the observable; for a parameter given as a list, the index of the list comes
        first.  For a complex value: d/dRe p + i d/dIm p.  At the edge of what is allowed (a rate of zero) the one-sided
        derivative.  Parameters left at None follow others (``beta`` = conj(``delta``)) and are not listed, nor
        are those that the model does not allow to change (a flux through an open chain), nor, for a Gaussian state,
        those that lead out of the quadratic models (dephasing).  NaN where the dual failed.

    Raises
    ------
    NotSupportedError
        For a model that is not from the library (field ``model``).
    InputError
        For an unknown, not numeric or not continuous parameter (field ``parameters``); a ``result`` of another model;
        an observable that is not linear.

    Notes
    -----
    With an exact state the derivatives are exact up to rounding.  In a truncated state x they carry an error of first
    order in x - x_ss.

    Examples
    --------
    A lossy, pumped pair: the current I = (f_L - f_R) / (1/G_L + 1/G_R + (G_L + G_R)/(4 t^2)) of the XX chain,

    >>> import mpo_transport as mt
    >>> chain = mt.models.boundary_driven_xx(L=3, t=1.0, G_L=2.0, f_L=0.9, G_R=2.0, f_R=0.1)
    >>> slopes = sensitivity(chain, mt.observables.current)
    >>> slopes["f_L"].round(10), slopes["t"].round(10)
    (array([0.5, 0.5]), array([0.4, 0.4]))
    """
    checked_model(model)
    names = _names(model, parameters)
    if result is None:
        result = steady_state(model, tol=1e-9 if tol is None else tol)
    _check_same_model(model, checked_result(result))
    backend = backend_of(result, checked_bond(max_bond))
    goal = checked_tolerance(result.tol if tol is None else tol)
    target = _Target(observable, model)
    state = result.state
    duals = [
        [(f, backend.solve(part, _part(state.expect(o), f), goal)) for f, part in hermitian_parts(o)]
        for o in target.operators(model)
    ]
    work = _Derivatives(model, state, backend, target, duals)
    out = {}
    for name in names:
        try:
            out[name] = work.of(name)
        except _FixedError as error:
            if parameters is not None:
                raise InputError(str(error), field="parameters") from None
    return out


class _FixedError(Exception):
    """The model allows no neighbouring value of a parameter (a flux through an open chain)."""


@dataclass(frozen=True)
class _Target:
    """The observable as a function of the model."""

    observable: Target
    model: Lindbladian

    @property
    def moves(self) -> bool:
        """Whether the operators depend on the parameters."""
        return not isinstance(self.observable, (Observable, OpSum))

    def at(self, model: Lindbladian) -> Any:
        if isinstance(self.observable, str):
            if self.observable not in OBSERVABLES:
                raise InputError(
                    f"Unknown observable {self.observable!r}; {did_you_mean(self.observable, OBSERVABLES)}",
                    field="observable",
                )
            return build_observable(model, self.observable)
        if self.moves and callable(self.observable):
            return self.observable(model)
        return self.observable

    def operators(self, model: Lindbladian) -> tuple[OpSum, ...]:
        return operators_of(self.at(model))[0]

    def shaped(self, values: np.ndarray) -> Any:
        """Return values (..., entries) in the shape of the observable; real if it is Hermitian."""
        here = self.at(self.model)
        single = isinstance(here, OpSum) or not here.dimension
        if single:
            return values[..., 0][()]
        return values.reshape(*values.shape[:-1], *(here.shape or values.shape[-1:]))


class _Derivatives:
    """Derivatives of f(p) = sum_k <O_k(p)> - (y_k| L(p) x) at fixed x and y."""

    def __init__(
        self,
        model: Lindbladian,
        state: State,
        backend: DualBackend,
        target: _Target,
        duals: list[list[tuple[complex, Dual]]],
    ) -> None:
        self.model, self.state, self.backend, self.target, self.duals = model, state, backend, target, duals
        self.hermitian = all(f == 1 for parts in duals for f, _ in parts)

    def of(self, name: str) -> Any:
        """Return the derivative with respect to one parameter, entry by entry of its value."""
        value = self.model.parameters[name]
        if isinstance(value, numbers.Number):
            return self.target.shaped(self._entry(name, value, None))
        array = np.asarray(value)
        rows = [self._entry(name, array.ravel()[k].item(), (array, k)) for k in range(array.size)]
        out = np.array(rows).reshape(*array.shape, -1)
        return self.target.shaped(out)

    def _entry(self, name: str, value: Any, place: tuple[np.ndarray, int] | None) -> np.ndarray:
        scale = max(abs(value), 1.0)

        def along(direction: complex) -> np.ndarray:
            def function(h: float) -> np.ndarray:
                moved = value + h * direction
                return self._value({name: moved if place is None else _replaced(*place, moved)})

            return _derivative(function, STEP * scale, name)

        if isinstance(value, complex):
            return along(1.0) + 1j * along(1j)
        return along(1.0)

    def _value(self, changed: Mapping[str, Any]) -> np.ndarray:
        model = build_model(self.model.name, {**self.model.parameters, **changed})
        pairing = self.backend.pairing(model)
        out = np.array(
            [-sum((f * (pairing(d.y) if d.trusted else np.nan) for f, d in parts), 0j) for parts in self.duals],
            dtype=complex,
        )
        if self.target.moves:
            out = out + np.array([self.state.expect(o) for o in self.target.operators(model)])
        return out.real if self.hermitian else out


def _derivative(function: Callable[[float], np.ndarray], step: float, name: str) -> np.ndarray:
    """Return f'(0) by differences with halved steps, extrapolated until two columns agree or rounding takes over.

    Symmetric differences if both sides are allowed, else the second-order one-sided formula; exact for quadratic f.
    """
    sides = [s for s in (1.0, -1.0) if _allowed(function, s * step)]
    if not sides:
        raise _FixedError(
            f"Argument `parameters`: no derivative with respect to {name!r}, neighbouring values are not allowed."
        )
    symmetric = len(sides) == 2
    side = sides[0]
    middle = None if symmetric else function(0.0)
    powers = (2, 4, 6, 8) if symmetric else (2, 3, 4, 5)
    rows: list[list[np.ndarray]] = []
    for k in range(HALVINGS):
        h = step / 2**k
        if symmetric:
            slope = (function(h) - function(-h)) / (2 * h)
        else:
            assert middle is not None
            slope = side * (-3 * middle + 4 * function(side * h) - function(2 * side * h)) / (2 * h)
        row = [slope]
        for j in range(k):
            row.append(row[j] + (row[j] - rows[k - 1][j]) / (2.0 ** powers[j] - 1))
        rows.append(row)
        # a quadratic function: the first two differences agree to rounding, and smaller steps would only lose digits
        if k and np.nanmax(np.abs(row[0] - rows[k - 1][0]), initial=0.0) <= 1e-11 * max(np.abs(slope).max(), 1.0):
            return rows[0][0]
    return rows[-1][-1]


def _allowed(function: Callable[[float], np.ndarray], h: float) -> bool:
    try:
        function(h)
        function(2 * h)
    except MpoTransportError:
        return False
    return True


def _replaced(array: np.ndarray, k: int, value: Any) -> list[Any]:
    out = array.astype(complex if isinstance(value, complex) else float).ravel()
    out[k] = value
    moved: list[Any] = out.reshape(array.shape).tolist()
    return moved


def _part(value: complex, factor: complex) -> float:
    return value.real if factor == 1 else value.imag


# ----------------------------------------------------------------------------------------------------------------------
# arguments


def _names(model: Lindbladian, parameters: Iterable[str] | None) -> list[str]:
    if model.name not in MODELS:
        raise NotSupportedError(
            f"Argument `model`: {model.name!r} is not a model of the library, so it is not known how it depends on "
            "parameters; register it, or use mpo_transport.models.",
            field="model",
        )
    known = {k: v for k, v in model.parameters.items() if k not in _COUNTS and _is_numeric(v)}
    if parameters is None:
        return list(known)
    names = [parameters] if isinstance(parameters, str) else list(parameters)
    for name in names:
        if name not in known:
            raise InputError(
                f"Argument `parameters`: {name!r} is not a continuous numeric parameter of {model.name!r}; "
                f"{did_you_mean(str(name), known)}",
                field="parameters",
            )
    return names


def _is_numeric(value: Any) -> bool:
    if isinstance(value, (bool, str, bytes, Mapping)) or value is None:
        return False
    if isinstance(value, (numbers.Number, np.generic)):
        return bool(np.isfinite(complex(value)))  # type: ignore[arg-type]
    array = np.asarray(value)
    return array.dtype.kind in "iufc" and array.size > 0


def _check_same_model(model: Lindbladian, result: Result) -> None:
    same = result.model.name == model.name and _plain(result.model.parameters) == _plain(model.parameters)
    if not same:
        raise InputError("Argument `result` belongs to another model or other parameters than `model`.", field="result")


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {k: np.asarray(v).tolist() if v is not None else None for k, v in parameters.items()}
