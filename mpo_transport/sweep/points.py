"""The points of a sweep: every combination of the values along its axes, as a run that stands alone."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..errors import InputError, did_you_mean
from ..methods import METHODS
from ..models import MODELS
from ..spec import RunSpec
from ..spec.fields import check_arguments, check_keys
from ..spec.handwritten import HANDWRITTEN_KEYS
from ..spec.run import SOLVE_KEYS
from ..spec.toml import canonical_json
from .axes import SECTIONS, Axis, place_of, split_parameter
from .disorder import Draw

__all__ = ["Point", "expanded", "refuse_duplicates"]


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes
    ----------
    index
        Position in the grid, from 0; the last axis varies fastest.
    spec
        The run; it stands alone, with disorder as plain numbers.
    coordinates
        Dotted key -> value, as the sweep file names them, for example ``{"model.L": 8, "seed": 3}``; an ensemble
        contributes the number of its realisation.
    depends_on
        Run id of the point whose state a warm start would begin with, or None.
    run_id
        ``spec.run_id``.
    """

    index: int
    spec: RunSpec
    coordinates: Mapping[str, Any]
    depends_on: str | None = None
    run_id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "coordinates", MappingProxyType(dict(self.coordinates)))
        object.__setattr__(self, "run_id", self.spec.run_id)

    @property
    def label(self) -> str:
        """The coordinates in one line.

        >>> spec = RunSpec({"name": "persistent_current", "L": 4, "alpha": 2.0, "delta": 1.0})
        >>> Point(0, spec, {"model.alpha": 2.0, "seed": 3}).label
        'model.alpha=2 seed=3'
        """
        return " ".join(f"{key}={_short(value)}" for key, value in self.coordinates.items())


def expanded(base_spec: RunSpec, axes: tuple[Axis, ...], warm_start: str | None) -> Iterator[Point]:
    """Yield the points of all combinations, the last axis fastest.

    Parameters
    ----------
    base_spec
        The run that every point starts from.
    axes
        Directions of the grid.
    warm_start
        Key along which a point depends on the one before it, or None.

    Raises
    ------
    InputError
        Naming the key of an axis that is wrong, or the point at which a value is.
    """
    base = base_spec.to_dict()
    for key in (k for axis in axes for k in axis.columns):
        _check_key(key, base, axes)
    along = None if warm_start is None else _position_of(warm_start, axes)
    sizes = [len(axis) for axis in axes]
    stride = 0 if along is None else math.prod(sizes[along + 1 :])
    sites: dict[str, tuple[int, int]] = {}
    names: list[str] = []
    for index, positions in enumerate(itertools.product(*map(range, sizes))):
        entries: dict[str, Any] = {}
        for axis, position in zip(axes, positions, strict=True):
            entries |= axis.entry(position)
        try:
            spec = _spec(base, entries, sites)
        except InputError as error:
            message = f"Point {index} ({_label(entries)}): {error}"
            raise type(error)(message, field=error.field) from None
        neighbour = None if along is None or positions[along] == 0 else names[index - stride]
        point = Point(index, spec, _coordinates(entries), neighbour)
        names.append(point.run_id)
        yield point


def _spec(base: Mapping[str, Any], entries: Mapping[str, Any], sites: dict[str, tuple[int, int]]) -> RunSpec:
    """Return the run with the given entries; ensembles are drawn last, when the lattice is known."""
    draws = {key: value for key, value in entries.items() if isinstance(value, Draw)}
    tree: dict[str, Any] = dict(base)
    for key, value in entries.items():
        parameter = split_parameter(key, draws)
        if parameter is not None:
            draws[parameter[0]] = draws[parameter[0]].with_parameter(parameter[1], value)
        elif key not in draws:
            tree = _with(tree, place_of(key), value)
    if draws:
        for key, draw in draws.items():
            tree = _with(tree, place_of(key), draw.ensemble.typical)
        lattice = _lattice(tree, sites)
        for key, draw in draws.items():
            tree = _with(tree, place_of(key), draw.numbers(*lattice))
    spec = RunSpec.from_dict(tree)
    _check_values(spec)
    return spec


def _with(tree: Mapping[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Return a copy of a tree with one entry set; tables on the way are copied or made."""
    head, _, rest = place.partition(".")
    if not rest:
        return {**tree, head: value}
    below = tree.get(head, {})
    if not isinstance(below, Mapping):
        raise InputError(f"Entry `{place}` cannot be set: `{head}` is a value, not a table.", field=place)
    return {**tree, head: _with(below, rest, value)}


def _lattice(tree: Mapping[str, Any], known: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Return the numbers of sites and bonds of the model of a tree."""
    key = canonical_json(tree["model"])
    if key not in known:
        lattice = RunSpec.from_dict(tree).build_model().lattice
        known[key] = (lattice.L, len(lattice.bonds))
    return known[key]


def _coordinates(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that tell points apart; one ensemble is "realisation", several are told apart by their key."""
    draws = [key for key, value in entries.items() if isinstance(value, Draw)]
    single = len(draws) == 1
    return {
        ("realisation" if single else f"{key}.realisation") if isinstance(value, Draw) else key: (
            value.realisation if isinstance(value, Draw) else value
        )
        for key, value in entries.items()
    }


def _check_key(key: str, base: Mapping[str, Any], axes: tuple[Axis, ...]) -> None:
    """Refuse a key that the model, the method or the run does not have."""
    field = f"axes.{key}"
    ensembles = {k for axis in axes for k in axis.ensembles}
    if split_parameter(key, dict.fromkeys(ensembles)) is not None:
        return
    section, _, rest = place_of(key).partition(".")
    if section not in SECTIONS or not rest:
        known = [*SECTIONS, "seed", "tol", "initial"]
        raise InputError(
            f"Entry `{field}` cannot be varied: write model.X, method.X or solve.X; {did_you_mean(section, known)}",
            field=field,
        )
    name = rest.partition(".")[0]
    if section == "model":
        known = _model_keys(base["model"])
    elif section == "method":
        known = _method_keys(base.get("method", {}), axes)
    else:
        known = list(SOLVE_KEYS)
    if name not in known:
        what = {"model": "The model", "method": "The method", "solve": "The table `[solve]`"}[section]
        raise InputError(f"Entry `{field}`: {what} has no entry {name!r}; {did_you_mean(name, known)}", field=field)


def _model_keys(model: Mapping[str, Any]) -> list[str]:
    if "name" not in model:
        return list(HANDWRITTEN_KEYS)
    return ["name", *inspect.signature(MODELS[model["name"]]).parameters]


def _method_keys(method: Mapping[str, Any], axes: tuple[Axis, ...]) -> list[str]:
    names = {n for axis in axes for n in axis.columns.get("method.name", ())} or {method.get("name")}
    if names == {None}:
        raise InputError(
            "Entry `axes` varies the method, which is chosen automatically; name it in `base.method.name`.",
            field="base.method.name",
        )
    return ["name", *(p for n in names if n in METHODS for p in inspect.signature(METHODS[n]).parameters)]


def _check_values(spec: RunSpec) -> None:
    """Check names and types of the arguments; whether the model accepts the values is found out when it is built."""
    if "name" in spec.model:
        function = MODELS[spec.model["name"]]
        arguments = {k: v for k, v in spec.model.items() if k != "name"}
        parameters = inspect.signature(function).parameters
        check_keys(arguments, parameters, "model")
        for name, parameter in parameters.items():
            if parameter.default is inspect.Parameter.empty and name not in arguments:
                raise InputError(f"The model needs the entry `model.{name}`.", field=f"model.{name}")
        check_arguments(arguments, function, "model")
    if spec.method:
        spec.build_method()


def _position_of(key: str, axes: tuple[Axis, ...]) -> int:
    return next(k for k, axis in enumerate(axes) if place_of(key) in {place_of(c) for c in axis.columns})


def refuse_duplicates(points: Iterable[Point]) -> None:
    """Raise :class:`InputError` if two points are the same run."""
    seen: dict[str, Point] = {}
    for point in points:
        first = seen.setdefault(point.run_id, point)
        if first is not point:
            raise InputError(
                f"Points {first.index} ({first.label}) and {point.index} ({point.label}) are the same run; remove one.",
                field="axes",
            )


def _label(entries: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={_short(value)}" for key, value in _coordinates(entries).items())


def _short(value: Any) -> str:
    shown = f"{value:.6g}" if isinstance(value, (float, complex)) else str(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."
