"""Pictures of collected tables and of series with their fits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..plotting import COLOURS, MARKERS, new_figure, save_figure, style
from ..sweep.table_csv import axis_names, observable_names
from .select import flat_points, series_of, table_of
from .series import Series

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_series", "plot_table"]

_MOST_CURVES, _MOST_PANELS = 14, 4


def draw_series(
    axes: Axes,
    series: Series,
    *,
    label: str | None = None,
    number: int = 0,
    law: Callable[[np.ndarray], np.ndarray] | None = None,
    sigmas: float = 1.0,
) -> None:
    """Draw points with error bars, those that are not converged hollow and grey, and a fitted law as a line.

    Points without a value are left out of the picture; :func:`plot_table` counts them.
    """
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    good, doubtful = ~series.doubtful, series.doubtful & np.isfinite(series.y)
    error = np.zeros(len(series)) if series.error is None else np.nan_to_num(series.error) * sigmas
    axes.errorbar(
        series.x[good], series.y[good], yerr=error[good], fmt=marker, color=colour, capsize=2.0, linewidth=1.0,
        label=label,
    )  # fmt: skip
    if doubtful.any():
        axes.errorbar(
            series.x[doubtful], series.y[doubtful], yerr=error[doubtful], fmt=marker, color="0.6", capsize=2.0,
            markerfacecolor="none", markeredgecolor=colour, linewidth=1.0, zorder=1.5,
        )  # fmt: skip
    if law is not None and len(series):
        fine = np.geomspace(series.x.min(), series.x.max(), 200) if (series.x > 0).all() else series.x
        axes.plot(fine, law(fine), color=colour, linewidth=1.0, zorder=1.4)
    axes.set_xlabel(series.x_name)
    axes.set_ylabel(f"{series.name} ({series.unit})" if series.unit else series.name)


def plot_table(
    source: xarray.Dataset | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    observables: Sequence[str] | None = None,
    along: str | None = None,
    reduce: str | int = "middle",
    log: bool = False,
) -> Figure:
    """Return the picture of a table: one panel per observable against one coordinate, one curve per remaining point.

    Parameters
    ----------
    source
        A table, or its path.
    out
        Where to save the picture (.png, .pdf, .svg), or None.
    observables
        Names; None: the first four that are real numbers or profiles.
    along
        Coordinate of the horizontal axis; None: the number with most different values.
    reduce
        How profiles become one number, see :func:`series_of`.
    log
        Logarithmic axes.

    Notes
    -----
    Points that are not converged are hollow; a line below the panels counts them and the missing ones.

    Raises
    ------
    InputError
        For names that are not in the table, a table without numbers to draw, or a path that cannot be written.
    """
    table = table_of(source)
    flat = flat_points(table)
    chosen = list(observables or _drawable(table)[:_MOST_PANELS])
    keys = _coordinate_names(table, flat)
    x_key = along or _longest(flat, keys)
    groups = list(_groups(flat, [k for k in keys if k != x_key]))
    figure, places = new_figure(1, max(len(chosen), 1), width=4.6, height=3.4)
    with style():
        for axes, name in zip(places[0], chosen, strict=False):
            for number, where in enumerate(groups[:_MOST_CURVES]):
                series = series_of(table, name, along=x_key, where=where, reduce=reduce)
                label = ", ".join(f"{k.rpartition('.')[2]} = {_short(v)}" for k, v in where.items())
                draw_series(axes, series, label=label or None, number=number)
            axes.set_ylabel(f"{axes.get_ylabel()}{_reduction_text(flat, name, reduce)}")
            if log:
                axes.set_xscale("log")
                axes.set_yscale("log")
            if groups[0]:
                axes.legend()
        figure.suptitle(_title(table, len(groups)), fontsize=10)
        if told := _told(flat):
            figure.supxlabel(told, fontsize=8, color="#D55E00")
    if out is not None:
        save_figure(figure, Path(out))
    return figure


def _drawable(table: xarray.Dataset) -> list[str]:
    """Observables that are one real number or a profile of them."""
    axes = set(axis_names(table))
    names = [
        name
        for name in observable_names(table)
        if len(set(table[name].dims) - axes) <= 1 and not np.iscomplexobj(table[name].values)
    ]
    if not names:
        raise InputError("The table holds nothing to draw: no real number and no real profile.", field="observables")
    return names


def _coordinate_names(table: xarray.Dataset, flat: xarray.Dataset) -> list[str]:
    axes = axis_names(table)
    return [str(k) for k, c in table.coords.items() if set(c.dims) & set(axes) and k != "point" and str(k) in flat]


def _longest(flat: xarray.Dataset, keys: Iterable[str]) -> str:
    numbers = {k: len(np.unique(flat[k].values)) for k in keys if flat[k].dtype.kind in "iuf"}
    if not numbers:
        raise InputError("The table has no numerical coordinate to draw against; give `along`.", field="along")
    return max(numbers, key=lambda k: numbers[k])


def _groups(flat: xarray.Dataset, keys: list[str]) -> Iterable[Mapping[str, Any]]:
    rows = list(zip(*(flat[k].values for k in keys), strict=True)) if keys else [()]
    for row in dict.fromkeys(rows):
        yield dict(zip(keys, row, strict=True))


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float, np.number)) else str(value)


def _reduction_text(flat: xarray.Dataset, name: str, reduce: str | int) -> str:
    own = [d for d in flat[name].dims if d != "point"]
    return f", {reduce if isinstance(reduce, str) else f'entry {reduce}'} {own[0]}" if own else ""


def _title(table: xarray.Dataset, curves: int) -> str:
    told = f"{table.attrs.get('name', '')} ({table.attrs.get('model', 'table').replace('_', ' ')})".strip()
    return told if curves <= _MOST_CURVES else f"{told}: {_MOST_CURVES} of {curves} curves"


def _told(flat: xarray.Dataset) -> str:
    words = [str(s) for s in flat["status"].values if s != "converged"]
    counts = {w: words.count(w) for w in dict.fromkeys(words)}
    if not counts:
        return ""
    listing = ", ".join(f"{n} {w.replace('_', ' ')}" for w, n in counts.items())
    return f"NOT CONVERGED: {listing} of {flat.sizes['point']} points (hollow, or without a value)"
