"""The flat form of a table of results: CSV with one row per value, and back."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileFormatError
from .table import COLUMNS, TABLE_FORMAT, TEXTS

if TYPE_CHECKING:
    import xarray

__all__ = ["VALUE_COLUMNS", "csv_text", "dataset_of_csv", "observable_names"]

VALUE_COLUMNS = ("observable", "dimension", "entry", "label", "value", "error", "unit", "description")


def observable_names(dataset: xarray.Dataset) -> list[str]:
    """Return the names of the observables of a table: the variables that come with an error."""
    return [str(name) for name in dataset.data_vars if f"{name}_error" in dataset.data_vars]


def axis_names(dataset: xarray.Dataset) -> tuple[str, ...]:
    """Return the dimensions that number the points of a table: those of ``status``."""
    return tuple(map(str, dataset["status"].dims))


def csv_text(dataset: xarray.Dataset) -> str:
    """Return the rows of a table as text; numbers are written so that they read back to the same bits."""
    axes = axis_names(dataset)
    keys = [str(k) for k, c in dataset.coords.items() if set(c.dims) <= set(axes) and k != "point"]
    facts = [name for name in COLUMNS if name in dataset]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["point", *keys, *facts, *VALUE_COLUMNS])
    shape = dataset["status"].shape
    for number, place in enumerate(np.ndindex(shape)):
        at = dict(zip(axes, place, strict=True))
        head = [number, *(_cell(dataset[k].isel({d: at[str(d)] for d in dataset[k].dims}).values[()]) for k in keys)]
        head += [_cell(dataset[name].isel(at).values[()]) for name in facts]
        rows = list(_value_rows(dataset, at))
        for row in rows or [[""] * len(VALUE_COLUMNS)]:
            writer.writerow(head + row)
    return stream.getvalue()


def _value_rows(dataset: xarray.Dataset, at: dict[str, int]) -> Iterator[list[Any]]:
    for name in observable_names(dataset):
        variable = dataset[name].isel(at)
        values, errors = np.asarray(variable.values), np.asarray(dataset[f"{name}_error"].isel(at).values)
        labels = [_labels(dataset, dim, at) for dim in map(str, variable.dims)]
        for entry in np.ndindex(values.shape):
            if np.isnan(values[entry]) and np.isnan(errors[entry]):
                continue
            yield [
                name, " ".join(map(str, variable.dims)), " ".join(map(str, entry)),
                " ".join(text[k] for text, k in zip(labels, entry, strict=True)),
                _cell(values[entry]), _cell(errors[entry]),
                variable.attrs.get("units", "1"), variable.attrs.get("long_name", name),
            ]  # fmt: skip


def _labels(dataset: xarray.Dataset, dim: str, at: dict[str, int]) -> list[str]:
    count = dataset.sizes[dim]
    if f"{dim}_first" in dataset:
        first, second = (np.asarray(dataset[f"{dim}_{part}"].isel(at).values) for part in ("first", "second"))
        return [f"{i}-{j}" for i, j in zip(first, second, strict=True)]
    if f"{dim}_label" in dataset:
        return [_cell(v) for v in np.asarray(dataset[f"{dim}_label"].isel(at).values)]
    return [str(k) for k in range(count)]


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, (complex, np.complexfloating)):
        return "" if np.isnan(value) else str(complex(value)).strip("()")
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else repr(float(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    return str(value)


# ----------------------------------------------------------------------------------------------------------------------


def dataset_of_csv(text: str, source: str = "The file") -> xarray.Dataset:
    """Return the table of a CSV text with the dimension ``point``.

    Raises
    ------
    FileFormatError
        If it is not one written by :func:`csv_text`.
    """
    import xarray as xr

    rows = list(csv.DictReader(io.StringIO(text)))
    head = next(csv.reader(io.StringIO(text)), [])
    if not rows or head[0] != "point" or not {"status", *VALUE_COLUMNS} <= set(head):
        raise FileFormatError(f"{source} is not a table of results: its columns are {', '.join(head) or 'missing'}.")
    keys = head[1 : head.index("run_id")] if "run_id" in head else []
    try:
        first: dict[int, dict[str, str]] = {}
        for row in rows:
            first.setdefault(int(row["point"]), row)
        data: dict[str, Any] = {}
        for name in (c for c in COLUMNS if c in head):
            cells = [row[name] for row in first.values()]
            values = np.array(cells, dtype=object) if name in TEXTS else np.array([_float(c) for c in cells])
            data[name] = (("point",), values)
        coordinates = {k: (("point",), _parsed([row[k] for row in first.values()])) for k in keys}
        positions = {number: k for k, number in enumerate(first)}
        data |= _observables([row for row in rows if row["observable"]], positions)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise FileFormatError(f"{source} contradicts itself: {error}.") from error
    return xr.Dataset(data, coords={"point": np.array(list(first)), **coordinates}, attrs={"format": TABLE_FORMAT})


def _observables(rows: list[dict[str, str]], positions: dict[int, int]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    labels: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(row["observable"] for row in rows):
        mine = [row for row in rows if row["observable"] == name]
        dims = tuple(mine[0]["dimension"].split())
        entries = [tuple(map(int, row["entry"].split())) for row in mine]
        sizes = tuple(1 + max(e[k] for e in entries) for k in range(len(dims)))
        numbers = [complex(row["value"] or "nan") for row in mine]
        is_complex = any("j" in row["value"] for row in mine)
        values = np.full((len(positions), *sizes), math.nan, dtype=complex if is_complex else float)
        errors = np.full(values.shape, math.nan)
        for row, entry, number in zip(mine, entries, numbers, strict=True):
            place = (positions[int(row["point"])], *entry)
            values[place] = number if is_complex else number.real
            errors[place] = _float(row["error"])
            for dim, k, word in zip(dims, entry, row["label"].split(" "), strict=False):
                table = labels.setdefault(dim, np.full((len(positions), 0), "", dtype=object))
                if table.shape[1] <= k:
                    table = np.pad(table, ((0, 0), (0, k + 1 - table.shape[1])), constant_values="")
                table[place[0], k] = word
                labels[dim] = table
        about = {"units": mine[0]["unit"], "long_name": mine[0]["description"]}
        out[name] = (("point", *dims), values, about)
        out[f"{name}_error"] = (("point", *dims), errors, about)
    return out | _label_variables(labels)


def _label_variables(labels: dict[str, np.ndarray]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for dim, table in labels.items():
        words = [w for w in table.ravel() if w]
        if all(w == str(k) for row in table for k, w in enumerate(row) if w):
            continue
        if all(w.count("-") == 1 and w.replace("-", "").isdigit() for w in words):
            pairs = np.array([[w.split("-") if w else ("-1", "-1") for w in row] for row in table], dtype=np.int64)
            out[f"{dim}_first"], out[f"{dim}_second"] = ((("point", dim), pairs[..., part]) for part in range(2))
        else:
            out[f"{dim}_label"] = (("point", dim), _parsed_table(table))
    return out


def _parsed_table(table: np.ndarray) -> np.ndarray:
    try:
        return np.array([[_float(w) for w in row] for row in table])
    except ValueError:
        return table


def _parsed(cells: list[str]) -> np.ndarray:
    """Whole numbers, numbers, or texts, whichever fits all cells."""
    for kind in (int, float):
        try:
            return np.array([kind(c) for c in cells])
        except ValueError:
            continue
    return np.array(cells, dtype=object)


def _float(cell: str) -> float:
    if cell in ("true", "false"):
        return float(cell == "true")
    return float(cell) if cell else math.nan
