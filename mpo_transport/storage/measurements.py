"""Observable values as a netCDF-4 group: named dimensions, coordinates, units; readable by xarray with h5netcdf."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from ..result import Measurement
from .text import dumps, loads
from .tree import Tree, quoted

__all__ = ["attach_dimensions", "measurements_from_tree", "measurements_to_tree"]

GROUP = "observables"
_PART = "complex_part"  # trailing axis of a complex variable: 0 real, 1 imaginary


def measurements_to_tree(measurements: Mapping[str, Measurement], times: np.ndarray | None) -> tuple[Tree, str]:
    """Return the variables with their coordinates, and the text that :func:`measurements_from_tree` needs beside them.

    ``times`` is None for a steady state; otherwise the values have a leading axis of that length, named ``time``.
    """
    labels: dict[str, tuple[Any, ...]] = {}
    coordinates: dict[str, np.ndarray] = {} if times is None else {"time": np.asarray(times, dtype=float)}
    variables: Tree = {}
    entries = {}
    for name, m in measurements.items():
        values = np.asarray(m.values)
        dims = _dimensions(name, m, values, times is not None, labels, coordinates)
        is_complex = bool(np.iscomplexobj(values))
        if is_complex:
            coordinates[_PART] = np.arange(2)
        parts = {"values": (quoted(name), values)}
        if m.error is not None:
            parts["error"] = (f"{quoted(name)}_error", np.asarray(m.error, dtype=float))
        for variable, array in parts.values():
            variables[variable] = _split(array) if np.iscomplexobj(array) else array
        facts = {f.name: getattr(m, f.name) for f in dataclasses.fields(m) if f.name not in ("values", "error")}
        variable_names = {k: v for k, (v, _) in parts.items()}
        entries[name] = facts | {"dims": dims, "complex": is_complex, "variables": variable_names}
    described: Tree = {}
    for dim, dim_labels in labels.items():
        if dim_labels and all(isinstance(x, tuple) and len(x) == 2 for x in dim_labels):
            described[f"{dim}_first"], described[f"{dim}_second"] = np.array(dim_labels, dtype=np.int64).T.copy()
    taken = variables.keys() & (coordinates.keys() | described.keys())
    if taken:
        raise ValueError(f"observables cannot have the names of dimensions: {sorted(taken)}")
    return {**coordinates, **described, **variables}, dumps({"entries": entries, "pairs": list(described)})


def measurements_from_tree(group: Mapping[str, Any], text: str) -> dict[str, Measurement]:
    """Return the measurements written by :func:`measurements_to_tree`."""
    out = {}
    for name, entry in loads(text)["entries"].items():
        names = entry.pop("variables")
        values = group[names["values"]]
        values = values[..., 0] + 1j * values[..., 1] if entry.pop("complex") else values
        error = group[names["error"]] if "error" in names else None
        del entry["dims"]
        out[name] = Measurement(
            values=values if np.ndim(values) else values[()],
            error=error if error is None or np.ndim(error) else error[()],
            **entry,
        )
    return out


def attach_dimensions(file: h5py.File, text: str) -> None:
    """Attach dimension scales, units and descriptions to the variables of an open file."""
    facts = loads(text)
    group = file.require_group(GROUP)
    scales: set[str] = set()

    def attach(variable: str, dims: list[str]) -> None:
        for axis, dim in enumerate(dims):
            if dim not in scales:
                scales.add(dim)
                group[dim].make_scale(dim)
            group[variable].dims[axis].attach_scale(group[dim])

    for variable in facts["pairs"]:
        attach(variable, [variable.rsplit("_", 1)[0]])
        group[variable].attrs["long_name"] = "site (from 0)"
    for name, entry in facts["entries"].items():
        for role, variable in entry["variables"].items():
            part = [_PART] if entry["complex"] and role == "values" else []
            attach(variable, entry["dims"] + part)
            group[variable].attrs["units"] = entry["unit"] or "1"
            prefix = "estimated absolute error of " if role == "error" else ""
            group[variable].attrs["long_name"] = prefix + (entry["description"] or name)
    for dim in scales:
        group[dim].attrs["long_name"] = {
            "time": "time (hbar = 1)",
            "site": "site (from 0)",
            _PART: "0: real part, 1: imaginary part",
        }.get(dim, dim)


def _dimensions(
    name: str,
    m: Measurement,
    values: np.ndarray,
    timed: bool,
    labels: dict[str, tuple[Any, ...]],
    coordinates: dict[str, np.ndarray],
) -> list[str]:
    dims = ["time"] if timed else []
    lengths = values.shape[len(dims) :]
    names = m.dimension.split()
    for k, length in enumerate(lengths):
        if len(names) != len(lengths):
            dim, axis_labels = f"{quoted(name)}_axis_{k}", tuple(range(length))
        else:
            labelled = len(lengths) == 1 and len(m.labels) == length
            axis_labels = m.labels if labelled else tuple(range(length))
            dim = _dimension_of(names[k], axis_labels, labels)
        integers = all(isinstance(x, (int, np.integer)) for x in axis_labels)
        coordinates[dim] = np.array(axis_labels if integers else range(length), dtype=np.int64)
        dims.append(dim)
    return dims


def _dimension_of(dimension: str, wanted: tuple[Any, ...], labels: dict[str, tuple[Any, ...]]) -> str:
    """Return a dimension with exactly these labels: ``bond``, or ``bond_2`` where ``bond`` has others."""
    dim, count = dimension, 1
    while labels.setdefault(dim, wanted) != wanted:
        count += 1
        dim = f"{dimension}_{count}"
    return dim


def _split(array: np.ndarray) -> np.ndarray:
    return np.stack([array.real, array.imag], axis=-1)
