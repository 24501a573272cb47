"""From a table of results to the numbers to be analysed: chosen points, reduced profiles, averages over disorder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, did_you_mean
from ..sweep.table import read_table
from ..sweep.table_csv import axis_names, observable_names
from .averages import Statistic, disorder_average
from .series import Series, Unconverged

if TYPE_CHECKING:
    import xarray

__all__ = ["CLAIMED_SIGMAS", "REDUCTIONS", "average_over", "series_of", "table_of"]

# A claimed error is meant to cover almost every value: two standard errors for sampled states, an estimate from a
# second accuracy otherwise.  Fits need one sigma.
CLAIMED_SIGMAS = 2.0
_Reduction = Callable[[np.ndarray], int]
# Which entry of a profile without its padding stands for the point; "mean" is treated on its own.
REDUCTIONS: dict[str, _Reduction | None] = {
    "middle": lambda values: (len(values) - 1) // 2,
    "first": lambda values: 0,
    "last": lambda values: len(values) - 1,
    "mean": None,
}


def table_of(source: xarray.Dataset | str | os.PathLike[str]) -> xarray.Dataset:
    """Return a table, read from its file if a path is given."""
    return read_table(source) if isinstance(source, (str, os.PathLike)) else source


def series_of(
    source: xarray.Dataset | str | os.PathLike[str],
    observable: str | None = None,
    *,
    along: str = "model.L",
    where: Mapping[str, Any] | None = None,
    reduce: str | int = "middle",
) -> Series:
    """Return one observable of a collected table against one coordinate.

    Parameters
    ----------
    source
        A table of :func:`~mpo_transport.sweep.table.collect`, or the path of one.
    observable
        Name of the observable; None: the first one.
    along
        The coordinate that becomes x.
    where
        Coordinate or fact (``"method"``) -> value, to choose among the points; numbers are compared to 1e-12.
    reduce
        For profiles: "middle" (of an even number the left one), "first", "last", "mean", or the index of an entry.

    Returns
    -------
    Series
        With the status of every point; the errors are half of the claimed ones (one sigma), for "mean" the mean of
        them.  Errors of exact zero, as of trivially exact values, become the rounding error of the value.

    Raises
    ------
    InputError
        For an unknown observable or coordinate, a selection that is empty, or complex values.
    """
    table = table_of(source)
    names = observable_names(table)
    if not names:
        raise InputError("Argument `source`: the table holds no observables; no point has a result.", field="source")
    name = names[0] if observable is None else observable
    if name not in names:
        raise InputError(
            f"Argument `observable`: unknown observable {name!r}; {did_you_mean(name, names)}", field="observable"
        )
    flat = flat_points(table)
    mask = _chosen(flat, where)
    x = _column(flat, along, "along")[mask]
    try:
        x = np.asarray(x, dtype=float)
    except ValueError:
        raise InputError(f"Argument `along`: the coordinate {along!r} is not a number.", field="along") from None
    values = [_reduced(v, e, reduce) for v, e in zip(flat[name].values[mask], flat[f"{name}_error"].values[mask],
                                                     strict=True)]  # fmt: skip
    y = np.array([v for v, _ in values])
    error = np.array([e for _, e in values]) / CLAIMED_SIGMAS
    error = np.where(error <= 1e-15 * np.abs(y), 1e-15 * np.maximum(np.abs(y), 1e-300), error)
    about = flat[name].attrs
    unit = "" if about.get("units") == "1" else str(about.get("units", ""))
    return Series(
        x, y, None if np.isnan(error).all() else error, [str(s) for s in flat["status"].values[mask]],
        name=name, x_name=along.rpartition(".")[2], unit=unit,
    )  # fmt: skip


def flat_points(table: xarray.Dataset) -> xarray.Dataset:
    """Return a table whose points are numbered by the one dimension ``point``; coordinates become variables."""
    axes = axis_names(table)
    if axes == ("point",):
        return table
    import xarray as xr

    shape = tuple(table.sizes[a] for a in axes)
    data = {}
    for name, variable in {**table.coords, **table.data_vars}.items():
        own = tuple(d for d in variable.dims if d not in axes)
        if not set(axes) & set(variable.dims):
            continue
        wide = variable.variable.set_dims({**dict(zip(axes, shape, strict=True)), **{d: table.sizes[d] for d in own}})
        values = wide.transpose(*axes, *own).values.reshape(-1, *(table.sizes[d] for d in own))
        data[str(name)] = (("point", *own), values, variable.attrs)
    return xr.Dataset(data, attrs=table.attrs)


def _chosen(flat: xarray.Dataset, where: Mapping[str, Any] | None) -> np.ndarray:
    """Which points have the values asked for."""
    mask = np.ones(flat.sizes["point"], dtype=bool)
    for key, value in (where or {}).items():
        mask &= _equal(_column(flat, key, "where"), value)
    if not mask.any():
        raise InputError(f"Argument `where` = {dict(where or {})!r} selects no point of the table.", field="where")
    return mask


def _column(flat: xarray.Dataset, key: str, field: str) -> np.ndarray:
    if key not in flat:
        known = [str(k) for k, v in {**flat.coords, **flat.data_vars}.items() if v.dims == ("point",)]
        raise InputError(f"Argument `{field}`: the table has no {key!r}; {did_you_mean(key, known)}", field=field)
    return np.asarray(flat[key].values)


def _equal(column: np.ndarray, value: Any) -> np.ndarray:
    if column.dtype.kind in "iufb" and not isinstance(value, str):
        return np.isclose(column.astype(float), float(value), rtol=1e-12, atol=1e-12)
    return np.array([str(c) == str(value) for c in column])


def _reduced(values: Any, errors: Any, reduce: str | int) -> tuple[float, float]:
    values, errors = np.asarray(values), np.asarray(errors)
    if np.iscomplexobj(values) and np.any(np.nan_to_num(values.imag) != 0):
        raise InputError("Argument `observable`: its values are complex; analyse real and imaginary part.",
                         field="observable")  # fmt: skip
    values = np.real(values)
    if values.ndim == 0:
        return float(values), float(errors)
    if values.ndim > 1:
        raise InputError(
            f"Argument `observable` has {values.ndim} own dimensions; reduce it in xarray first.", field="observable"
        )
    present = np.flatnonzero(~np.isnan(values))
    if not len(present):
        return np.nan, np.nan
    length = present[-1] + 1
    if isinstance(reduce, int) and not isinstance(reduce, bool):
        if not -length <= reduce < length:
            raise InputError(f"Argument `reduce` = {reduce} is no entry of a profile of {length}.", field="reduce")
        return float(values[:length][reduce]), float(errors[:length][reduce])
    if reduce not in REDUCTIONS:
        raise InputError(
            f"Argument `reduce`: unknown word {reduce!r}; {did_you_mean(str(reduce), REDUCTIONS)}", field="reduce"
        )
    chosen = REDUCTIONS[reduce]
    if chosen is None:
        return float(values[present].mean()), float(errors[present].mean())
    k = chosen(values[:length])
    return float(values[k]), float(errors[k])


def average_over(
    source: xarray.Dataset | str | os.PathLike[str],
    over: str,
    observable: str | None = None,
    *,
    along: str = "model.L",
    where: Mapping[str, Any] | None = None,
    reduce: str | int = "middle",
    statistic: Statistic = "mean",
    unconverged: Unconverged = "refuse",
) -> Series:
    """Return disorder averages against a coordinate: for every x the average over all values of the axis ``over``.

    The errors are those of :func:`disorder_average`.

    Raises
    ------
    InputError
        As :func:`series_of` and :func:`disorder_average`; also if the table varies anything besides ``along``, ``over``
        and what ``where`` fixes.
    """
    table = table_of(source)
    flat = flat_points(table)
    _column(flat, over, "over")
    series = series_of(table, observable, along=along, where=where, reduce=reduce)
    mask = _chosen(flat, where)
    places = list(zip(_column(flat, along, "along")[mask], _column(flat, over, "over")[mask], strict=True))
    if len(set(places)) < len(places):
        raise InputError(
            f"Several points have the same {along} and {over}, so the table varies something else too; fix that by "
            "`where`.",
            field="where",
        )
    results = []
    for x in np.unique(series.x):
        part = series.at(series.x == x)
        results.append(
            (x, disorder_average(part.y, part.error, status=part.status, statistic=statistic, unconverged=unconverged))
        )
    notes = [f"{series.x_name} = {x:g}: {note}" for x, average in results for note in average.notes]
    return Series(
        [x for x, _ in results], [a.value for _, a in results], [max(a.error, 1e-300) for _, a in results],
        name=f"{statistic} of {series.name}", x_name=series.x_name, unit=series.unit, notes=tuple(notes),
    )  # fmt: skip
