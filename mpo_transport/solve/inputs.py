"""Checks of the arguments of a run, and the specification that identifies it when none is given."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import InputError, did_you_mean
from ..model import Lindbladian, checked_model
from ..observables import Observable, StateFunction
from ..operators import OpSum
from ..states import State, local_density_matrices
from ..states.base import check_sites
from ..storage import StoredRun, model_digest, opsums_digest, state_digest

__all__ = [
    "checked_initial",
    "checked_model",
    "checked_observables",
    "checked_on_failure",
    "checked_seed",
    "checked_times",
    "checked_tol",
    "derived_spec",
    "storable",
]

ON_FAILURE = ("raise", "return")


def checked_tol(tol: Any) -> float:
    """Return the tolerance, real, finite and > 0."""
    if isinstance(tol, (bool, np.bool_)) or not isinstance(tol, numbers.Real) or not math.isfinite(tol) or tol <= 0:
        raise InputError(f"Argument `tol` must be a finite number > 0, but is {tol!r}.", field="tol")
    return float(tol)


def checked_seed(seed: Any) -> int:
    """Return the seed; None means 0, so that a run without a seed is reproducible as well."""
    if seed is None:
        return 0
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"Argument `seed` must be an integer >= 0 or None, but is {seed!r}.", field="seed")
    return int(seed)


def checked_on_failure(on_failure: Any) -> str:
    """Return ``"raise"`` or ``"return"``."""
    if on_failure not in ON_FAILURE:
        raise InputError(
            f"Argument `on_failure` is {on_failure!r}; {did_you_mean(str(on_failure), ON_FAILURE)}", field="on_failure"
        )
    return str(on_failure)


def checked_initial(initial: Any, model: Lindbladian) -> Any:
    """Return the initial state; a name or list that means nothing on the model's spaces is refused before the start."""
    checked: Any = initial
    if isinstance(initial, Iterable) and not isinstance(initial, (str, State, Mapping)):
        checked = list(initial)
    if checked is not None and not isinstance(checked, State) and model.lattice.is_bounded:
        local_density_matrices(model.lattice, checked)
    return checked


def checked_times(times: Any) -> np.ndarray:
    """Return the times as an array, shape (T,): finite, >= 0, strictly increasing."""
    try:
        array = np.array(times, dtype=float, ndmin=1)
    except (TypeError, ValueError):
        raise InputError(f"Argument `times` must be a list of numbers, but is {times!r}.", field="times") from None
    if array.ndim != 1 or array.size == 0:
        raise InputError(
            f"Argument `times` must be a list of at least one time, but has shape {array.shape}.", field="times"
        )
    if not np.all(np.isfinite(array)) or array[0] < 0 or np.any(np.diff(array) <= 0):
        raise InputError("Argument `times` must be finite, not negative and strictly increasing.", field="times")
    return array


def checked_observables(observables: Any, model: Lindbladian) -> dict[str, Any]:
    """Return the observables by name; an :class:`~mpo_transport.OpSum` in a mapping becomes an observable.

    Raises
    ------
    InputError
        For something that cannot be evaluated, a name used twice, or an operator that is not on the lattice.
    """
    if isinstance(observables, Mapping):
        items = list(observables.items())
    elif isinstance(observables, Iterable) and not isinstance(observables, (str, OpSum)):
        items = [(getattr(o, "name", None), o) for o in observables]
    else:
        raise InputError(
            "Argument `observables` must be a list of observables or a mapping from names to observables.",
            field="observables",
        )
    out: dict[str, Any] = {}
    for name, observable in items:
        if isinstance(observable, OpSum) and isinstance(name, str):
            observable = Observable(name, (observable,))
        if not isinstance(name, str) or not name or not hasattr(observable, "evaluate"):
            raise InputError(
                f"Argument `observables` contains {observable!r}: it must come from mpo_transport.observables; an "
                "OpSum needs a name, as in {'energy': H}.",
                field="observables",
            )
        if name in out:
            raise InputError(
                f"Argument `observables` has two of the name {name!r}; give a mapping with distinct names.",
                field="observables",
            )
        if isinstance(observable, Observable):
            _check_sites(name, observable, model)
        elif isinstance(observable, StateFunction):
            _check_arguments(name, observable, model)
        out[name] = observable
    return out


def storable(observables: Mapping[str, Any]) -> dict[str, Observable | None]:
    """Return the observables as they are stored: those made of operators as text, functions of the state by name."""
    return {name: o if isinstance(o, Observable) else None for name, o in observables.items()}


def derived_spec(
    task: str,
    model: Lindbladian,
    method: Any,
    *,
    tol: float,
    seed: int,
    initial: Any,
    times: np.ndarray | None = None,
    observables: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the specification of a run made from its arguments; ``method`` None is written as ``"automatic"``."""
    spec: dict[str, Any] = {
        "task": task,
        "model": {
            "name": model.name,
            "sites": model.L,
            "parameters": dict(model.parameters),
            "sha256": model_digest(model),
        },
        "method": "automatic" if method is None else {"name": method.name, "knobs": _knobs(method)},
        "tol": tol,
        "seed": seed,
        "initial": _initial(initial),
    }
    if times is not None:
        spec["times"] = times.tolist()
        spec["observables"] = {
            name: opsums_digest(o.operators) if isinstance(o, Observable) else "function of the state"
            for name, o in (observables or {}).items()
        }
    return spec


def recalled_observables(run: StoredRun, observables: Any) -> dict[str, Any]:
    """Return the observables of a stored run, with those that have no text taken from the argument.

    Raises
    ------
    InputError
        If a function of the state was asked for and is not given again (field ``observables``).
    """
    given = {} if observables is None else checked_observables(observables, run.model)
    out: dict[str, Any] = {}
    for name, stored in run.asked.items():
        if stored is None and name not in given:
            raise InputError(
                f"The run measures {name!r}, a function of the state, which has no text in the file; pass it in "
                "`observables`, or repeat the call that started the run, which continues it.",
                field="observables",
            )
        out[name] = given.get(name, stored)
    return out


def _check_sites(name: str, observable: Observable, model: Lindbladian) -> None:
    for operator in observable.operators:
        for key, _ in operator:
            for factor, site in key:
                if site >= model.L or not model.lattice.spaces[site].has(factor):
                    raise InputError(
                        f"Argument `observables`: {name!r} uses the operator {factor}({site}), which the lattice of "
                        f"{model.L} sites does not have.",
                        field="observables",
                    )


def _check_arguments(name: str, function: StateFunction, model: Lindbladian) -> None:
    """A function of the state names its sites or its cut; whether the lattice has them is known before the start."""
    for key, value in function.arguments.items():
        if key.startswith("sites") and isinstance(value, tuple):
            try:
                check_sites(model.lattice, value)
            except InputError as error:
                raise InputError(f"Argument `observables`: {name!r}: {error}", field="observables") from None
        if key == "cut" and value is not None and value not in range(1, model.L):
            raise InputError(
                f"Argument `observables`: {name!r}: `cut` must be an integer from 1 to L-1 = {model.L - 1}, but is "
                f"{value!r}.",
                field="observables",
            )


def _knobs(method: Any) -> dict[str, Any]:
    return {f.name: getattr(method, f.name) for f in dataclasses.fields(method) if f.init}


def _initial(initial: Any) -> Any:
    if isinstance(initial, State):
        return {"state": initial.kind, "sha256": state_digest(initial)}
    if initial is None or isinstance(initial, str):
        return initial
    if not isinstance(initial, Iterable):
        return repr(initial)  # the method will refuse it
    return [x if isinstance(x, str) else np.asarray(x) for x in initial]
