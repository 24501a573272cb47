"""What is counted: baths, weights and counting fields, as numbers per jump."""

from __future__ import annotations

import cmath
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import InputError, NotSupportedError, did_you_mean
from ..model import Jump, Lindbladian
from ..observables.algebra import simplify
from ..operators import OpSum
from ..symmetry import charge_changes

__all__ = [
    "active_jumps",
    "charge_table",
    "checked_fields",
    "checked_order",
    "counted_baths",
    "counted_rates",
    "counted_weights",
]

HIGHEST_ORDER = 12


def active_jumps(model: Lindbladian) -> list[Jump]:
    """Return the jumps with a positive rate: the rows of every table of charges."""
    return [j for j in model.jumps if j.rate > 0]


def counted_baths(model: Lindbladian) -> tuple[str, ...]:
    """Return the labels of the baths whose quanta can be counted, in the order of the jumps.

    These are the labels whose jumps all carry a charge, not all of them zero.

    Examples
    --------
    >>> from mpo_transport import models
    >>> counted_baths(models.boundary_driven_xx(L=4, t=1.0, G_L=1.0, f_L=0.8, G_R=1.0, f_R=0.2, dephasing=0.1))
    ('left', 'right')
    """
    jumps = active_jumps(model)
    labels = dict.fromkeys(j.label for j in jumps if j.label is not None)
    charges = {label: [j.charge for j in jumps if j.label == label] for label in labels}
    return tuple(label for label, c in charges.items() if None not in c and any(c))


def counted_rates(model: Lindbladian, weights: np.ndarray) -> OpSum:
    """Return sum_m w_m rate_m L_m^+ L_m, Hermitian; one weight per active jump."""
    total = OpSum()
    for jump, weight in zip(active_jumps(model), weights, strict=True):
        if weight:
            total = total + (float(weight) * jump.rate) * (jump.operator.dag * jump.operator)
    total = simplify(model.lattice, total)
    return 0.5 * (total + total.dag)


def charge_table(model: Lindbladian, weights: Iterable[Mapping[str, float]]) -> np.ndarray:
    """Return the weighted quanta that every active jump moves into the baths, shape (jumps, len(weights)).

    Raises
    ------
    NotSupportedError
        (field ``counted``) if a counted jump has no charge, or mixes operators that change the number of quanta by
        different amounts, so that no definite number goes into the bath.
    """
    jumps = active_jumps(model)
    columns = list(weights)
    table = np.zeros((len(jumps), len(columns)))
    used = {label for column in columns for label, w in column.items() if w}
    for m, jump in enumerate(jumps):
        if jump.label not in used:
            continue
        charge = _definite_charge(model, jump)
        for k, column in enumerate(columns):
            table[m, k] = column.get(jump.label, 0.0) * charge
    return table


def _definite_charge(model: Lindbladian, jump: Jump) -> float:
    if jump.charge is None:
        raise NotSupportedError(
            f"The jump {jump.operator!r} of bath {jump.label!r} moves no definite number of quanta; give it "
            "Jump(..., charge=...), positive into the bath.",
            field="counted",
        )
    if jump.charge and len(charge_changes(model.lattice, jump.operator, (1,) * model.L)) > 1:
        raise NotSupportedError(
            f"The jump {jump.operator!r} of bath {jump.label!r} mixes operators that change the number of quanta by "
            "different amounts, so its charge is not definite and cannot be counted.",
            field="counted",
        )
    return float(jump.charge)


def counted_weights(model: Lindbladian, counted: Any, name: str = "counted") -> dict[str, float]:
    """Return {label: weight} of what is counted: a label, several labels (weight one each) or such a mapping.

    Raises
    ------
    InputError
        For an unknown label or a bad weight.
    """
    if isinstance(counted, str):
        given: Mapping[Any, Any] = {counted: 1.0}
    elif isinstance(counted, Mapping):
        given = counted
    elif isinstance(counted, Iterable):
        given = dict.fromkeys(counted, 1.0)
    else:
        raise InputError(
            f"Argument `{name}` must be the label of a bath or a mapping from labels to weights, but is {counted!r}.",
            field=name,
        )
    if not given:
        raise InputError(f"Argument `{name}` must name at least one bath.", field=name)
    return {_known_label(model, label, name): _number(w, f"{name}[{label!r}]", name) for label, w in given.items()}


def checked_fields(model: Lindbladian, fields: Any) -> dict[str, complex]:
    """Return the counting fields {label: s}, real or complex.

    Raises
    ------
    InputError
        (field ``fields``) for an unknown label or a value that is no finite number.
    """
    if not isinstance(fields, Mapping) or not fields:
        raise InputError(
            f"Argument `fields` must be a mapping from labels of baths to counting fields, but is {fields!r}.",
            field="fields",
        )
    out = {}
    for label, value in fields.items():
        if isinstance(value, bool) or not isinstance(value, (numbers.Number, np.generic)):
            raise InputError(f"Argument `fields`: {label!r} must be a number, but is {value!r}.", field="fields")
        s = complex(value)  # type: ignore[arg-type]
        if not cmath.isfinite(s):
            raise InputError(f"Argument `fields`: {label!r} must be finite, but is {value!r}.", field="fields")
        out[_known_label(model, label, "fields")] = s
    return out


def checked_order(order: Any) -> int:
    """Return the number of cumulants, 1 .. 12."""
    whole = isinstance(order, (int, np.integer)) and not isinstance(order, bool)
    if not whole or not 1 <= order <= HIGHEST_ORDER:
        raise InputError(
            f"Argument `order` must be an integer from 1 to {HIGHEST_ORDER} (the number of cumulants), but is "
            f"{order!r}.",
            field="order",
        )
    return int(order)


def _known_label(model: Lindbladian, label: Any, name: str) -> str:
    known = {j.label for j in active_jumps(model) if j.label is not None}
    if label in known and isinstance(label, str):
        return label
    silent = {j.label for j in model.jumps} | {b.label for b in model.baths}
    if isinstance(label, str) and label in silent:
        return label  # a bath without a jump of positive rate: nothing is counted
    raise InputError(
        f"Argument `{name}`: the model {model.name!r} has no bath labelled {label!r}; "
        f"{did_you_mean(str(label), known)}",
        field=name,
    )


def _number(value: Any, what: str, name: str) -> float:
    ok = isinstance(value, (numbers.Real, np.floating, np.integer)) and not isinstance(value, bool)
    if not ok or not math.isfinite(value):
        raise InputError(f"Argument `{what}` must be a finite real number, but is {value!r}.", field=name)
    return float(value)
