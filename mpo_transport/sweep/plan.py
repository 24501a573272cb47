"""A sweep, written down: a base run and axes along which its entries vary; expanded into points."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..spec import RunSpec
from ..spec.fields import check_keys, integer, number, table, text
from ..spec.run import SECTIONS as RUN_SECTIONS
from ..spec.toml import apply_overrides, canonical_tree, override_value, parse_toml, write_toml
from ..storage import run_id
from .axes import Axis, axes_from_tree, flattened, place_of
from .points import Point, expanded, refuse_duplicates
from .warm import check_along

__all__ = ["Point", "SweepPlan", "load_sweep"]

ENTRIES = ("name", "base", "axes", "warm_start", "sweep", "execution", "slurm")
SWEEP_KEYS = ("max_points", "sweep_id")
EXECUTION_KEYS = ("workers", "threads", "checkpoint_every", "max_deaths")
MAX_POINTS = 10_000


@dataclass(frozen=True)
class SweepPlan:
    """A sweep as plain values, checked and expanded when the object is made.

    Parameters
    ----------
    base
        The run that every point starts from.
    axes
        Directions of the grid, see :func:`~mpo_transport.sweep.axes.axes_from_tree`; the points are all combinations.
    name
        Name of the sweep.
    warm_start
        Key along which a point begins with the state of its finished neighbour, or None.
    max_points
        More points than this are refused unless ``unlimited``.
    execution, slurm
        Options of the executors, as written.

    Raises
    ------
    InputError
        Naming the dotted entry: unknown keys (with the nearest known one), columns of unequal length, two points that
        are the same run, too many points.

    Examples
    --------
    >>> plan = SweepPlan.from_toml('''
    ... [base.model]
    ... name = "persistent_current"
    ... L = 4
    ... delta = 1.5
    ... [axes]
    ... "model.alpha" = {start = 1.0, stop = 2.0, num = 3}
    ... "model.mu" = [0.5, 1.0]
    ... ''')
    >>> len(plan.points), dict(plan.points[1].coordinates)
    (6, {'model.alpha': 1.0, 'model.mu': 1.0})
    >>> SweepPlan.from_toml(plan.to_toml()).sweep_id == plan.sweep_id
    True
    """

    base: RunSpec
    axes: tuple[Axis, ...]
    name: str | None = None
    warm_start: str | None = None
    max_points: int = MAX_POINTS
    execution: Mapping[str, Any] = field(default_factory=dict)
    slurm: Mapping[str, Any] = field(default_factory=dict)
    unlimited: bool = False
    points: tuple[Point, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        count = math.prod(len(axis) for axis in self.axes)
        if count > self.max_points and not self.unlimited:
            raise InputError(
                f"The sweep has {count} points, more than `sweep.max_points` = {self.max_points}. Raise the limit, or "
                "confirm with --yes.",
                field="sweep.max_points",
            )
        if self.warm_start is not None:
            check_along(self.warm_start, self.axes, self.base)
        object.__setattr__(self, "points", tuple(expanded(self.base, self.axes, self.warm_start)))
        refuse_duplicates(self.points)

    # -- reading and writing ------------------------------------------------------------------------------------------

    @classmethod
    def from_dict(
        cls,
        tree: Mapping[str, Any],
        *,
        overrides: Iterable[str] = (),
        folder: str | Path = ".",
        unlimited: bool = False,
    ) -> SweepPlan:
        """Return the sweep of a tree; a base file is looked up in ``folder``."""
        check_keys(tree, ENTRIES, "")
        for key in ("base", "axes"):
            if key not in tree:
                raise InputError(f"A sweep needs the entry `{key}`.", field=key)
        tree = _overridden({**tree, "base": _base_tree(tree["base"], Path(folder))}, overrides)
        settings = table(tree.get("sweep", {}), "sweep")
        check_keys(settings, SWEEP_KEYS, "sweep")
        warm = table(tree.get("warm_start", {}), "warm_start")
        check_keys(warm, ("along",), "warm_start")
        plan = cls(
            base=_base_spec(table(tree["base"], "base")),
            axes=axes_from_tree(tree["axes"]),
            name=text(tree["name"], "name") if "name" in tree else None,
            warm_start=text(warm["along"], "warm_start.along") if warm else None,
            max_points=integer(settings.get("max_points", MAX_POINTS), "sweep.max_points", least=1),
            execution=_execution(table(tree.get("execution", {}), "execution")),
            slurm=table(tree.get("slurm", {}), "slurm"),
            unlimited=unlimited,
        )
        if settings.get("sweep_id", plan.sweep_id) != plan.sweep_id:
            raise InputError(
                f"Entry `sweep.sweep_id` is {settings['sweep_id']}, but the sweep as it is read now has the id "
                f"{plan.sweep_id}: the file was changed, or written by another version. Remove the entry to accept it "
                "as a new sweep.",
                field="sweep.sweep_id",
            )
        return plan

    @classmethod
    def from_toml(
        cls,
        text: str,
        *,
        overrides: Iterable[str] = (),
        folder: str | Path = ".",
        source: str = "The sweep",
        unlimited: bool = False,
    ) -> SweepPlan:
        """Return the sweep of a TOML text, with overrides applied first (see :func:`load_sweep`)."""
        return cls.from_dict(parse_toml(text, source), overrides=overrides, folder=folder, unlimited=unlimited)

    def to_dict(self) -> dict[str, Any]:
        """Return the sections as plain values, the base written out and the id of the sweep added."""
        tree: dict[str, Any] = {} if self.name is None else {"name": self.name}
        tree["axes"] = [dict(axis.definition) for axis in self.axes]
        tree["base"] = self.base.to_dict()
        if self.warm_start is not None:
            tree["warm_start"] = {"along": self.warm_start}
        tree["sweep"] = {"max_points": self.max_points, "sweep_id": self.sweep_id}
        for key in ("execution", "slurm"):
            if getattr(self, key):
                tree[key] = dict(getattr(self, key))
        return tree

    def to_toml(self) -> str:
        """Return the sweep file; reading it back gives an equal sweep."""
        return write_toml(self.to_dict())

    def identity(self) -> dict[str, Any]:
        """Return what makes this sweep this sweep: the base and the values along the axes.

        Not its name, its options, or how it is started: these do not change any run.
        """
        axes = {
            key: {"points": len(axis), **axis.definition[key]} if key in axis.ensembles else list(values)
            for axis in self.axes
            for key, values in axis.columns.items()
        }
        return {"base": self.base.identity(), "axes": canonical_tree(_written(axes)), "points": len(self.points)}

    @property
    def sweep_id(self) -> str:
        """Hash of the identity and of all run ids, 16 hexadecimal digits."""
        return run_id({**self.identity(), "run_ids": [point.run_id for point in self.points]})


def load_sweep(path: str | os.PathLike[str], overrides: Iterable[str] = (), *, unlimited: bool = False) -> SweepPlan:
    """Return the sweep of a file.

    Parameters
    ----------
    path
        TOML file; a base file is looked up beside it.
    overrides
        ``"axes.model.alpha=[1, 2]"``, ``"base.model.L=8"``, ``"sweep.max_points=50"``; an entry of a run such as
        ``"model.L=8"`` means the base.
    unlimited
        Accept more points than ``sweep.max_points``.

    Raises
    ------
    InputError
        If the file cannot be read, is not TOML, or an entry is wrong.
    """
    path = Path(path)
    return SweepPlan.from_toml(
        _read(path, "sweep"), overrides=overrides, folder=path.parent, source=str(path), unlimited=unlimited
    )


def _execution(options: dict[str, Any]) -> dict[str, Any]:
    """Check the options of the executors."""
    check_keys(options, EXECUTION_KEYS, "execution")
    for key in ("workers", "threads", "max_deaths"):
        if key in options:
            integer(options[key], f"execution.{key}", least=1)
    if "checkpoint_every" in options:
        number(options["checkpoint_every"], "execution.checkpoint_every", positive=True)
    return options


# -- the base and overrides --------------------------------------------------------------------------------------------


def _read(path: Path, field: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot read the specification {path}: {error.strerror}.", field=field) from None
    except UnicodeDecodeError:
        raise InputError(f"The specification {path} is not a text file in UTF-8.", field=field) from None


def _base_tree(value: Any, folder: Path) -> dict[str, Any]:
    if isinstance(value, str):
        path = folder / value
        return parse_toml(_read(path, "base"), str(path))
    return table(value, "base")


def _base_spec(tree: dict[str, Any]) -> RunSpec:
    """Return the base without what belongs to a single run: its name and its picture."""
    tree = {key: value for key, value in tree.items() if key != "name"}
    if isinstance(tree.get("output"), Mapping):
        tree["output"] = {key: value for key, value in tree["output"].items() if key != "figure"}
    return RunSpec.from_dict(tree)


def _overridden(tree: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    for item in overrides:
        head = item.partition("=")[0].split(".")[0].strip()
        if head == "axes":
            tree = {**tree, "axes": _axes_overridden(tree["axes"], item)}
            continue
        if head in RUN_SECTIONS and head != "name":
            item = f"base.{item}"
        key = item.partition("=")[0].strip()
        varied = {place_of(k) for k in _axis_keys(tree["axes"])}
        if key.removeprefix("base.") in varied:
            raise InputError(
                f"Override {item!r}: `{key.removeprefix('base.')}` is varied by the sweep; write "
                f"axes.{key.removeprefix('base.')}=[...].",
                field="set",
            )
        tree = apply_overrides(tree, [item])
    return tree


def _axis_keys(axes: Any) -> Iterator[str]:
    for entry in axes if isinstance(axes, list) else [axes]:
        if isinstance(entry, Mapping):
            yield from flattened(entry)


def _axes_overridden(axes: Any, item: str) -> Any:
    path, separator, raw = item.partition("=")
    key = path.strip().removeprefix("axes.")
    if not separator or not key or "\n" in item:
        raise InputError(
            f"An override must read key=value, for example axes.model.L=[4, 6], not {item!r}.", field="set"
        )
    value = override_value(raw.strip())
    if key == "axes":
        return value
    if isinstance(axes, Mapping):
        return {**flattened(axes), key: value}
    tables = [flattened(entry) if isinstance(entry, Mapping) else entry for entry in axes]
    for entry in tables:
        if isinstance(entry, dict) and key in entry:
            entry[key] = value
            return tables
    return [*tables, {key: value}]


def _written(value: Any) -> Any:
    """Plain values as a file would hold them."""
    if isinstance(value, Mapping):
        return {k: _written(v) for k, v in value.items()}
    return [_written(v) for v in value] if isinstance(value, (list, tuple)) else value
