"""What an observable is, and the registry under which files and the command line find it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import InputError, did_you_mean
from ..lattice import Lattice
from ..model import Lindbladian, checked_model
from ..operators import OpSum
from ..states import State
from .algebra import operator_norm

__all__ = ["OBSERVABLES", "Observable", "StateFunction", "build_observable", "linear", "register_observable"]


@dataclass(frozen=True)
class Observable:
    """A list of operators with one value each.

    Attributes
    ----------
    name
        Name under which it is stored.
    operators
        One :class:`~mpo_transport.OpSum` per value.
    labels
        What each value belongs to: sites, bonds (i, j), or () for a single number.
    dimension
        "site", "bond", "pair", "" for a single number, or two names separated by a blank for a matrix of values.
    unit, description
        For axes and files (hbar = 1: a particle current has the unit of a rate).
    norm
        Scale (largest operator norm) by which a dimensionless error estimate is multiplied.
    shape
        Shape of the array of values; None means (len(operators),).
    """

    name: str
    operators: tuple[OpSum, ...]
    labels: tuple[Any, ...] = ()
    dimension: str = ""
    unit: str = ""
    description: str = ""
    norm: float = 1.0
    shape: tuple[int, ...] | None = None

    @property
    def is_hermitian(self) -> bool:
        """Whether every operator equals its adjoint (coefficients compared to 1e-12 of the largest)."""
        return all(_is_hermitian(o) for o in self.operators)

    def evaluate(self, state: State) -> Any:
        """Return the expectation values, an array, or one number if ``dimension`` is ""; real if Hermitian.

        Raises
        ------
        InputError
            If an operator acts on a site or uses a name that the lattice of the state does not have.
        """
        positions: dict[Any, int] = {}
        for o in self.operators:
            for key, _ in o:
                positions.setdefault(key, len(positions))
        values = np.asarray(state.expect_products(list(positions))) if positions else np.zeros(0, dtype=complex)
        out = np.array([sum((c * values[positions[key]] for key, c in o), 0j) for o in self.operators], dtype=complex)
        real = out.real.copy() if self.is_hermitian else out
        return real.reshape(self.shape or real.shape) if self.dimension else real[0]


def _is_hermitian(operator: OpSum) -> bool:
    if operator == operator.dag:
        return True
    scale = max(abs(c) for _, c in operator)
    return all(abs(c) < 1e-12 * scale for _, c in operator - operator.dag)


@dataclass(frozen=True)
class StateFunction:
    """A quantity that is not linear in the state: purity, negativity, entropies, fidelity, connected correlations.

    ``function`` maps a state to a number or an array; ``arguments`` repeats what it was made from; the other fields are
    those of :class:`Observable`.
    """

    name: str
    function: Callable[[State], Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unit: str = ""
    description: str = ""
    dimension: str = ""
    norm: float = 1.0
    labels: tuple[Any, ...] = ()

    def evaluate(self, state: State) -> Any:
        """Return the value on a state."""
        return self.function(state)


def linear(
    name: str,
    lattice: Lattice,
    operators: Sequence[OpSum],
    *,
    labels: Sequence[Any] = (),
    dimension: str = "",
    unit: str = "",
    description: str = "",
    shape: tuple[int, ...] | None = None,
) -> Observable:
    """Return an :class:`Observable` whose ``norm`` is the largest operator norm of its operators."""
    norm = max((operator_norm(lattice, o) for o in operators), default=1.0)
    return Observable(
        name,
        tuple(operators),
        tuple(labels),
        dimension,
        unit,
        description,
        norm if norm > 0 else 1.0,
        shape,
    )


# ----------------------------------------------------------------------------------------------------------------------

ObservableFunction = Callable[..., Any]
_OBSERVABLES: dict[str, ObservableFunction] = {}
OBSERVABLES = MappingProxyType(_OBSERVABLES)


def register_observable(function: Any) -> Any:
    """Decorator: make an observable known to the specification files and the command line under its own name.

    A first argument ``model`` is checked to be one.
    """
    checked = function
    if next(iter(inspect.signature(function).parameters), None) == "model":

        @functools.wraps(function)
        def checked(model: Lindbladian, *args: Any, **kwargs: Any) -> Any:
            return function(checked_model(model), *args, **kwargs)

    _OBSERVABLES[function.__name__] = checked
    return checked


def build_observable(model: Lindbladian, name: str, /, **arguments: Any) -> Observable | StateFunction:
    """Return the observable registered as ``name`` for a model.

    Raises
    ------
    InputError
        For an unknown observable, an unknown or missing argument (the message lists the known ones), or a bad value.

    Examples
    --------
    >>> from mpo_transport.models import persistent_current
    >>> build_observable(persistent_current(4, 2.0, 1.0), "profile", name="Z").labels
    (0, 1, 2, 3)
    """
    if name not in _OBSERVABLES:
        raise InputError(f"Unknown observable {name!r}; {did_you_mean(name, _OBSERVABLES)}", field="observables")
    function = _OBSERVABLES[name]
    known = dict(inspect.signature(function).parameters)
    takes_model = known.pop("model", None) is not None
    for key in arguments:
        if key not in known:
            raise InputError(
                f"Observable {name!r} has no argument {key!r}; {did_you_mean(key, known)}",
                field=f"observables.{name}.{key}",
            )
    missing = [k for k, p in known.items() if p.default is inspect.Parameter.empty and k not in arguments]
    if missing:
        raise InputError(
            f"Observable {name!r} needs the argument(s) {', '.join(missing)}.", field=f"observables.{name}.{missing[0]}"
        )
    return function(model, **arguments) if takes_model else function(**arguments)
