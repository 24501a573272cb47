"""The results of a sweep as one labelled table: an xarray dataset, a netCDF-4 file, or a flat CSV file."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from .._version import __version__
from ..errors import FileFormatError, InputError, MpoTransportWarning, NotSupportedError
from ..result import Certificate, Evolution, Measurement, Result, Status
from ..storage import load
from .directory import SweepDirectory
from .plan import Point, SweepPlan

if TYPE_CHECKING:
    import xarray

__all__ = ["COLUMNS", "TABLE_FORMAT", "collect", "is_table", "read_table", "write_table"]

TABLE_FORMAT = "mpo_transport table"
SUFFIXES = (".h5", ".nc", ".csv")
PART = "complex_part"  # trailing axis of a complex variable in a file: 0 real, 1 imaginary
MISSING = "missing"
DAMAGED = "damaged"
_CERTIFICATE = tuple(f.name for f in dataclasses.fields(Certificate) if f.name not in ("error_parts", "notes"))
# Facts of every point beside its coordinates and observables, in the order in which they are listed.
COLUMNS = (
    "run_id", "status", "reason", "method", "tol", "steps", "cpu_seconds", "wall_seconds", "attempts",
    *(f"certificate_{name}" for name in _CERTIFICATE), "certificate_error_parts", "certificate_notes",
)  # fmt: skip
TEXTS = ("run_id", "status", "reason", "method", "certificate_error_parts", "certificate_notes")


def collect(directory: SweepDirectory | str | os.PathLike[str]) -> xarray.Dataset:
    """Return all results of a sweep, finished or not, as one dataset.

    Parameters
    ----------
    directory
        The directory of the sweep, or its path.

    Returns
    -------
    xarray.Dataset
        One dimension per axis of the sweep, named by its first key (``"model.L"``); further keys of the axis are
        coordinates along it.  Every observable is a variable with these dimensions and its own (``bond``, ``site``,
        ``time``; shorter ones are padded with NaN), and ``NAME_error`` is its claimed absolute error.  Labels of
        the entries are ``bond_first`` and ``bond_second`` (sites of a bond, -1 where there is none) and ``time_label``.
        ``status`` is a word of :class:`~mpo_transport.result.Status`, or ``missing`` (not begun), ``running``,
        ``failed``, ``damaged`` (its file cannot be read); ``reason`` says why.  Values of points that are not converged
        are in the table beside their status; points without a result are NaN.  The other variables are the facts in
        ``COLUMNS``: run id, method, cost, and the certificate.

    Raises
    ------
    NotSupportedError
        If xarray is not installed.
    FileFormatError
        If the directory is none of a sweep.
    """
    xr = _xarray()
    source = directory if isinstance(directory, SweepDirectory) else SweepDirectory.open(directory)
    points = source.plan.points
    rows = [_read_point(source, point, state) for point, state in zip(points, source.states(), strict=True)]
    axes, shape = _axis_names(source.plan), tuple(len(axis) for axis in source.plan.axes)
    variables = _facts(rows) | _observables(rows)
    data = {
        name: ((*axes, *dims), values.reshape(*shape, *values.shape[1:]), attributes)
        for name, (dims, values, attributes) in variables.items()
    }
    dataset = xr.Dataset(data, coords=_coordinates(source.plan), attrs=_attributes(source, rows))
    return dataset


@dataclasses.dataclass
class _Row:
    """What is known about one point."""

    point: Point
    facts: dict[str, Any]
    observables: Mapping[str, Measurement] = dataclasses.field(default_factory=dict)
    times: np.ndarray | None = None


def _read_point(source: SweepDirectory, point: Point, state: Any) -> _Row:
    facts: dict[str, Any] = {"run_id": point.run_id, "status": _word(state.word), "reason": state.reason}
    facts |= {"tol": point.spec.tol, "attempts": state.attempts}
    if not state.finished:
        return _Row(point, facts)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", MpoTransportWarning)
            outcome = load(source.run_path(point))
    except FileFormatError as error:
        return _Row(point, facts | {"status": DAMAGED, "reason": str(error)})
    if outcome.status is Status.INTERRUPTED:  # an older checkpoint stands in for a damaged file
        reason = " ".join(str(w.message) for w in told) or "the file holds an unfinished run"
        return _Row(point, facts | {"status": DAMAGED, "reason": reason})
    facts |= _outcome_facts(outcome)
    times = outcome.times if isinstance(outcome, Evolution) else None
    return _Row(point, facts, outcome.observables, times)


def _word(word: str) -> str:
    return {"done": Status.CONVERGED.value, "waiting": MISSING}.get(word, word)


def _outcome_facts(outcome: Result | Evolution) -> dict[str, Any]:
    certificate, cost = outcome.certificate, outcome.cost
    facts: dict[str, Any] = {"status": outcome.status.value, "method": type(outcome.method).__name__}
    facts |= {"steps": cost.steps, "cpu_seconds": cost.cpu_seconds, "wall_seconds": cost.wall_seconds}
    facts |= {f"certificate_{name}": getattr(certificate, name) for name in _CERTIFICATE}
    facts["certificate_error_parts"] = json.dumps(dict(certificate.error_parts), sort_keys=True)
    facts["certificate_notes"] = " | ".join(certificate.notes)
    return facts


# -- dimensions and variables ------------------------------------------------------------------------------------------

_Variable = tuple[tuple[str, ...], np.ndarray, dict[str, Any]]


def _axis_names(plan: SweepPlan) -> tuple[str, ...]:
    return tuple(next(iter(axis.columns)) for axis in plan.axes)


def _coordinates(plan: SweepPlan) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, axis in zip(_axis_names(plan), plan.axes, strict=True):
        for key, values in axis.columns.items():
            attributes = {}
            if key in axis.ensembles:
                attributes["ensemble"] = json.dumps(dict(axis.definition[key]), sort_keys=True, default=str)
            out[key] = ((name,), _plain_array(values), attributes)
    return out


def _plain_array(values: Iterable[Any]) -> np.ndarray:
    """Numbers as numbers; everything else (complex numbers, lists, mixtures) as text."""
    values = list(values)
    if all(isinstance(v, bool) for v in values):
        return np.array(values, dtype=bool)
    if all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        return np.array(values, dtype=np.int64)
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return np.array(values, dtype=float)
    return np.array([v if isinstance(v, str) else _text(v) for v in values], dtype=object)


def _text(value: Any) -> str:
    return str(value).strip("()") if isinstance(value, complex) else json.dumps(value, default=str)


def _facts(rows: list[_Row]) -> dict[str, _Variable]:
    out: dict[str, _Variable] = {}
    for name in COLUMNS:
        if name in TEXTS:
            values = np.array([str(row.facts.get(name) or "") for row in rows], dtype=object)
        else:
            values = np.array([_number(row.facts.get(name)) for row in rows])
        out[name] = ((), values, {})
    return out


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _observables(rows: list[_Row]) -> dict[str, _Variable]:
    names = list(dict.fromkeys(name for row in rows for name in row.observables))
    known: dict[str, list[tuple[Any, ...] | None]] = {}
    out: dict[str, _Variable] = {}
    for name in names:
        found = [row.observables.get(name) for row in rows]
        dims = _dimensions(name, rows, found, known)
        sizes = tuple(max((np.shape(m.values)[k] for m in found if m is not None), default=0) for k in range(len(dims)))
        one = next(m for m in found if m is not None)
        about = {"units": one.unit or "1", "long_name": one.description or one.name}
        complex_ = any(m is not None and np.iscomplexobj(m.values) for m in found)
        values = np.full((len(rows), *sizes), math.nan, dtype=complex if complex_ else float)
        errors = np.full((len(rows), *sizes), math.nan)
        for k, m in enumerate(found):
            if m is None:
                continue
            place: Any = (k, *(slice(0, n) for n in np.shape(m.values)))
            values[place] = m.values
            errors[place] = math.nan if m.error is None else np.abs(m.error)
        label = name.replace("/", "|")
        out[label] = (dims, values, about)
        out[f"{label}_error"] = (dims, errors, about | {"long_name": f"claimed absolute error of {about['long_name']}"})
    return out | _labels(known, len(rows))


def _dimensions(
    name: str,
    rows: list[_Row],
    found: list[Measurement | None],
    known: dict[str, list[tuple[Any, ...] | None]],
) -> tuple[str, ...]:
    """Names of the own dimensions of an observable; equal ones are shared where their labels agree at every point."""
    one = next(m for m in found if m is not None)
    timed = any(row.times is not None for row in rows)
    words = one.dimension.split()
    count = np.ndim(one.values) - timed
    bases = (["time"] if timed else []) + (words if len(words) == count else [f"{name}_axis_{k}" for k in range(count)])
    out = []
    for axis, base in enumerate(bases):
        wanted = [None if m is None else _entry_labels(m, row, axis, timed) for m, row in zip(found, rows, strict=True)]
        dim, number = base, 1
        while not _merged(known, dim, wanted):
            number += 1
            dim = f"{base}_{number}"
        out.append(dim)
    return tuple(out)


def _entry_labels(m: Measurement, row: _Row, axis: int, timed: bool) -> tuple[Any, ...]:
    if timed and axis == 0:
        return tuple(float(t) for t in np.asarray(row.times))
    length = np.shape(m.values)[axis]
    single = np.ndim(m.values) - timed == 1
    return tuple(m.labels) if single and len(m.labels) == length else tuple(range(length))


def _merged(known: dict[str, list[tuple[Any, ...] | None]], dim: str, wanted: list[tuple[Any, ...] | None]) -> bool:
    """Whether the labels fit a dimension; its table is then completed by them."""
    present = known.setdefault(dim, [None] * len(wanted))
    if any(a is not None and b is not None and a != b for a, b in zip(present, wanted, strict=True)):
        return False
    known[dim] = [a if a is not None else b for a, b in zip(present, wanted, strict=True)]
    return True


def _labels(known: Mapping[str, list[tuple[Any, ...] | None]], count: int) -> dict[str, _Variable]:
    """Variables that tell what the entries of a dimension are; none where they just count from 0."""
    out: dict[str, _Variable] = {}
    for dim, labels in known.items():
        given = [entry for entry in labels if entry]
        if not given or all(entry == tuple(range(len(entry))) for entry in given):
            continue
        length = max(map(len, given))
        if all(isinstance(x, (tuple, list)) and len(x) == 2 for entry in given for x in entry):
            pairs = np.full((count, length, 2), -1, dtype=np.int64)
            for k, entry in enumerate(labels):
                pairs[k, : len(entry or ())] = entry or np.zeros((0, 2))
            for part, name in enumerate(("first", "second")):
                out[f"{dim}_{name}"] = ((dim,), pairs[..., part], {"long_name": f"{name} site, from 0; -1: no entry"})
        elif all(isinstance(x, (int, float, np.number)) for entry in given for x in entry):
            numbers = np.full((count, length), math.nan)
            for k, entry in enumerate(labels):
                numbers[k, : len(entry or ())] = entry or ()
            out[f"{dim}_label"] = ((dim,), numbers, {"long_name": "time (hbar = 1)" if dim == "time" else dim})
        else:
            texts = np.full((count, length), "", dtype=object)
            for k, entry in enumerate(labels):
                texts[k, : len(entry or ())] = [str(x) for x in entry or ()]
            out[f"{dim}_label"] = ((dim,), texts, {"long_name": dim})
    return out


def _attributes(source: SweepDirectory, rows: list[_Row]) -> dict[str, Any]:
    words = [row.facts["status"] for row in rows]
    counts = {word: words.count(word) for word in dict.fromkeys(words)}
    return {
        "format": TABLE_FORMAT,
        "generator": f"mpo_transport {__version__}",
        "name": source.plan.name or source.path.name,
        "sweep_id": source.plan.sweep_id,
        "model": str(source.plan.base.model.get("name", "written by hand")),
        "points": len(rows),
        "counts": ", ".join(f"{n} {word}" for word, n in counts.items()),
        "plan": source.plan.to_toml(),
    }


# -- files -------------------------------------------------------------------------------------------------------------


def write_table(dataset: xarray.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a table: ``.nc`` or ``.h5`` as netCDF-4, ``.csv`` flat with one row per value; returns the path.

    A complex variable gets a trailing dimension ``complex_part`` in netCDF-4 (0 real, 1 imaginary).  In CSV every row
    repeats the coordinates and facts of its point, and a point without values has one row with an empty value.

    Raises
    ------
    InputError
        For another ending, or a place that cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise InputError(f"Argument `path` must end in {', '.join(SUFFIXES)}, but is {target.name!r}.", field="path")
    if target.is_dir() or not target.parent.is_dir():
        what = "it is a directory" if target.is_dir() else "its directory does not exist"
        raise InputError(f"Cannot write the table {target}: {what}.", field="path")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if target.suffix.lower() == ".csv":
            from .table_csv import csv_text

            part.write_text(csv_text(dataset), encoding="utf-8")
        else:
            _xarray()
            split_complex(dataset).to_netcdf(part, engine="h5netcdf")
        os.replace(part, target)
    except OSError as error:
        raise InputError(f"Cannot write the table {target}: {error.strerror or error}.", field="path") from None
    finally:
        part.unlink(missing_ok=True)
    return target


def read_table(path: str | os.PathLike[str]) -> xarray.Dataset:
    """Return the table of a file; one read from CSV has the single dimension ``point`` in place of the axes.

    Raises
    ------
    NotSupportedError
        If xarray is not installed.
    FileFormatError
        If the file is missing or no table.
    """
    xr = _xarray()
    source = Path(path)
    if not is_table(source):
        raise FileFormatError(f"{source} is not a table made by `collect`.")
    if source.suffix.lower() == ".csv":
        from .table_csv import dataset_of_csv

        return dataset_of_csv(source.read_text(encoding="utf-8"), str(source))
    try:
        with xr.open_dataset(source, engine="h5netcdf") as opened:
            return join_complex(opened.load())
    except (OSError, ValueError, KeyError) as error:
        raise FileFormatError(f"{source} cannot be read as a table: {error}.") from error


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a table of :func:`write_table` (and not, for example, the file of a single run)."""
    source = Path(path)
    try:
        if source.suffix.lower() == ".csv":
            with source.open(encoding="utf-8") as file:
                return file.readline().startswith("point,")
        if not h5py.is_hdf5(source):
            return False
        with h5py.File(source, "r") as file:
            return _decoded(file.attrs.get("format")) == TABLE_FORMAT
    except (OSError, UnicodeDecodeError):
        return False


def _decoded(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def split_complex(dataset: xarray.Dataset) -> xarray.Dataset:
    """Return a dataset without complex variables: each gets the trailing dimension ``complex_part``."""
    xr = _xarray()
    changed = {
        name: xr.Variable((*v.dims, PART), np.stack([v.values.real, v.values.imag], axis=-1), v.attrs)
        for name, v in dataset.data_vars.items()
        if np.iscomplexobj(v.values)
    }
    return dataset.assign(changed) if changed else dataset


def join_complex(dataset: xarray.Dataset) -> xarray.Dataset:
    """Undo :func:`split_complex`."""
    xr = _xarray()
    changed = {
        name: xr.Variable(v.dims[:-1], v.values[..., 0] + 1j * v.values[..., 1], v.attrs)
        for name, v in dataset.data_vars.items()
        if v.dims[-1:] == (PART,)
    }
    return dataset.drop_vars(list(changed)).assign(changed) if changed else dataset


def _xarray() -> Any:
    try:
        import h5netcdf  # noqa: F401
        import xarray
    except ImportError as error:
        raise NotSupportedError(
            f"Tables of sweeps need the package {error.name or 'xarray'}; install the extra: "
            "pip install mpo_transport[tables].",
            field="tables",
        ) from None
    return xarray
