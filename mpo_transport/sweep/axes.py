"""Axes of a sweep: lists and ranges of values, several keys varied together, and disorder ensembles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..spec.fields import check_keys, integer, number, parse_complex, refuse, text
from .disorder import ENSEMBLE_KEYS, PARAMETERS, Draw, Ensemble

__all__ = ["Axis", "axes_from_tree", "flattened", "place_of"]

RANGE_KEYS = ("start", "stop", "step", "num", "scale")
SECTIONS = ("model", "method", "solve")
SHORT = {"seed": "solve.seed", "tol": "solve.tol", "initial": "solve.initial"}
_LARGEST_RANGE = 1_000_000


@dataclass(frozen=True)
class Axis:
    """One direction of the grid: columns of equal length, one per key.

    Parameters
    ----------
    definition
        Dotted key -> what the file says: a list, a range table, or an ensemble table.
    columns
        Dotted key -> values; for an ensemble the numbers 0 .. realisations - 1.
    ensembles
        Dotted key -> :class:`~mpo_transport.sweep.disorder.Ensemble`.
    """

    definition: Mapping[str, Any]
    columns: Mapping[str, tuple[Any, ...]]
    ensembles: Mapping[str, Ensemble]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def entry(self, position: int) -> dict[str, Any]:
        """Return the value of every key at a position; for an ensemble the :class:`Draw`."""
        return {
            key: Draw(self.ensembles[key], values[position]) if key in self.ensembles else values[position]
            for key, values in self.columns.items()
        }


def axes_from_tree(tree: Any) -> tuple[Axis, ...]:
    """Return the axes of the entry ``axes``: a table (every key an axis of its own) or a list of tables.

    Examples
    --------
    >>> axes = axes_from_tree({"model.alpha": [1.0, 2.0], "seed": {"start": 1, "stop": 3, "step": 1}})
    >>> [dict(axis.columns) for axis in axes]
    [{'model.alpha': (1.0, 2.0)}, {'seed': (1, 2, 3)}]
    >>> (axis,) = axes_from_tree([{"model.L": [4, 6], "method.max_bond": [8, 12]}])
    >>> axis.entry(1)
    {'model.L': 6, 'method.max_bond': 12}

    Raises
    ------
    InputError
        Naming the key, for example ``axes.model.alpha``.
    """
    if isinstance(tree, Mapping):
        tables = [{key: value} for key, value in flattened(tree).items()]
    elif isinstance(tree, list) and all(isinstance(entry, Mapping) for entry in tree):
        tables = [flattened(entry) for entry in tree]
    else:
        raise refuse("axes", "a table, or a list of tables `[[axes]]`", tree)
    axes = tuple(_axis(table, f"axes[{k}]") for k, table in enumerate(tables))
    seen: dict[str, str] = {}
    for key in itertools.chain.from_iterable(axis.columns for axis in axes):
        place = place_of(key)
        if place in seen:
            raise InputError(f"Entry `axes` varies `{place}` twice (as `{seen[place]}` and `{key}`).", field="axes")
        seen[place] = key
    return axes


def flattened(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested tables with dotted keys; range and ensemble tables stay whole.

    >>> flattened({"model": {"alpha": [1, 2], "mu": {"start": 0, "stop": 1, "num": 3}}, "solve.tol": [1e-4]})
    {'model.alpha': [1, 2], 'model.mu': {'start': 0, 'stop': 1, 'num': 3}, 'solve.tol': [0.0001]}
    """
    return dict(_flattened(tree, ""))


def _flattened(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        dotted = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and not {"start", "stop", "distribution"} & set(value):
            yield from _flattened(value, dotted)
        else:
            yield dotted, value


def place_of(key: str) -> str:
    """Return the dotted entry of the run specification that a key means.

    >>> place_of("seed"), place_of("model.alpha")
    ('solve.seed', 'model.alpha')
    """
    return SHORT.get(key, key)


# ----------------------------------------------------------------------------------------------------------------------


def _axis(table: Mapping[str, Any], where: str) -> Axis:
    if not table:
        raise InputError(f"Entry `{where}` varies nothing; name at least one key.", field=where)
    columns: dict[str, tuple[Any, ...]] = {}
    ensembles: dict[str, Ensemble] = {}
    for key, value in table.items():
        field = f"axes.{key}"
        if isinstance(value, Mapping) and "distribution" in value:
            check_keys(value, ENSEMBLE_KEYS, field)
            ensembles[key] = Ensemble.from_table(key, value, field)
            columns[key] = tuple(range(ensembles[key].realisations))
        else:
            columns[key] = _values(value, field)
    lengths = {key: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"`{key}` has {n}" for key, n in lengths.items())
        raise InputError(
            f"Entry `{where}`: keys of one axis are varied together and need equally many values, but {listed}. "
            "Write separate axes for all combinations.",
            field=where,
        )
    return Axis(dict(table), columns, ensembles)


def _values(value: Any, field: str) -> tuple[Any, ...]:
    """Return the values of a list or a range table."""
    if isinstance(value, Mapping):
        return _range(value, field)
    if not isinstance(value, list):
        raise refuse(field, "a list of values, a range {start, stop, num or step}, or an ensemble", value)
    if not value:
        raise InputError(f"Entry `{field}` has no values.", field=field)
    return tuple(_plain(v, f"{field}[{k}]") for k, v in enumerate(value))


def _plain(value: Any, field: str) -> Any:
    """Return a value; a text that spells a complex number becomes one."""
    if isinstance(value, float) and math.isnan(value):
        raise refuse(field, "a number", value)
    if isinstance(value, str) and (parsed := parse_complex(value)) is not None:
        return parsed if parsed.imag else parsed.real
    return value


def _range(table: Mapping[str, Any], field: str) -> tuple[Any, ...]:
    """Return start .. stop, both included, by number of values or by step; linear or logarithmic (base 10)."""
    check_keys(table, RANGE_KEYS, field)
    for key in ("start", "stop"):
        if key not in table:
            raise InputError(f"A range needs the entry `{field}.{key}`.", field=f"{field}.{key}")
    start, stop = number(table["start"], f"{field}.start"), number(table["stop"], f"{field}.stop")
    scale = text(table.get("scale", "linear"), f"{field}.scale", ("linear", "log"))
    if ("num" in table) == ("step" in table):
        raise InputError(f"Entry `{field}` needs either `num` (how many values) or `step`.", field=field)
    if "num" in table:
        count = integer(table["num"], f"{field}.num", least=1)
        if count > _LARGEST_RANGE:
            raise refuse(f"{field}.num", f"at most {_LARGEST_RANGE}", count)
        return _log_range(start, stop, count, field) if scale == "log" else _linear_range(start, stop, count)
    if scale == "log":
        raise InputError(f"Entry `{field}`: a logarithmic range needs `num`, not `step`.", field=f"{field}.step")
    return _stepped(start, stop, number(table["step"], f"{field}.step"), field)


def _linear_range(start: float, stop: float, count: int) -> tuple[Any, ...]:
    values = np.linspace(start, stop, count).tolist()
    integral = isinstance(start, int) and isinstance(stop, int) and all(v.is_integer() for v in values)
    return tuple(int(v) for v in values) if integral else tuple(values)


def _log_range(start: float, stop: float, count: int, field: str) -> tuple[float, ...]:
    for name, value in (("start", start), ("stop", stop)):
        if value <= 0:
            raise refuse(f"{field}.{name}", "> 0 in a logarithmic range", value)
    return tuple(np.geomspace(start, stop, count).tolist())


def _stepped(start: float, stop: float, step: float, field: str) -> tuple[Any, ...]:
    """Multiples of the step, computed by multiplication so that errors do not add up; the end counts within 1e-9."""
    if step == 0 or (stop - start) / step < 0:
        raise refuse(f"{field}.step", "different from zero and lead from start to stop", step)
    count = math.floor((stop - start) / step + 1e-9) + 1
    if count > _LARGEST_RANGE:
        raise InputError(f"Entry `{field}` has {count} values, more than {_LARGEST_RANGE}.", field=field)
    return tuple(start + k * step for k in range(count))


def split_parameter(key: str, ensembles: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return (key of an ensemble, parameter) if ``key`` names a parameter of one, such as ``model.mu.width``."""
    head, _, last = key.rpartition(".")
    return (head, last) if head in ensembles and last in PARAMETERS else None
