"""Pictures of results: profiles, curves, maps and convergence histories.  Reads results only, computes nothing new.

Colours are safe for colour-blind readers (Okabe-Ito for lines, cividis for magnitudes, a blue-orange scale for signed
maps), every axis carries its unit (hbar = 1), and a picture of a result that is not converged says so across its face.
Figures are made without pyplot: nothing is shown, no global state is touched, any process may draw.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .crosscheck import default_observables
from .errors import InputError
from .lattice import Chain
from .models import MODELS
from .result import Evolution, History, Measurement, Result, Status
from .storage import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "draw_curves",
    "draw_history",
    "draw_map",
    "draw_profile",
    "new_figure",
    "plot_result",
    "save_figure",
    "watermark",
]

# Okabe and Ito, "Color Universal Design" (2008), without the yellow, which is too faint for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STYLE: dict[str, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "legend.fontsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
}
_SUFFIXES = (".png", ".pdf", ".svg")
# Series of a history worth a line in a picture, with their meaning; a series that is not recorded is left out.
_SERIES = {
    "error_estimate": "error estimate",
    "error": "error estimate",
    "residual": "residual",
    "change": "change of the observables",
    "drift": "drift",
    "discarded_weight": "discarded weight",
    "distance": "distance from self-consistency",
}


def style() -> AbstractContextManager[Any]:
    """Return the context in which figures of this package are made and saved."""
    import matplotlib
    from cycler import cycler

    settings: Any = {**_STYLE, "axes.prop_cycle": cycler(color=COLOURS)}
    return matplotlib.rc_context(settings)


def new_figure(
    rows: int = 1, columns: int = 1, *, width: float = 6.0, height: float = 3.2
) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes, shape (rows, columns); ``width`` and ``height`` in inches belong to one panel."""
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, PDF or SVG; returns the path.

    Raises
    ------
    InputError
        For another ending, or a place that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"Argument `path` must end in {', '.join(_SUFFIXES)}, but is {path.name!r}.", field="path")
    try:
        with style():
            figure.savefig(path)
    except OSError as error:
        raise InputError(f"Cannot write the picture {path}: {error.strerror}.", field="path") from None
    return path


def watermark(figure: Figure, status: Status) -> None:
    """Write the status across a figure unless it is ``converged``; the text stays findable in PDF and SVG."""
    if status is Status.CONVERGED:
        return
    figure.text(
        0.5,
        0.5,
        "NOT CONVERGED" + ("" if status is Status.NOT_CONVERGED else f"\n({status.value.replace('_', ' ')})"),
        fontsize=34,
        fontweight="bold",
        color="#D55E00",
        alpha=0.28,
        ha="center",
        va="center",
        rotation=24,
        zorder=1000,
        gid="watermark",
    )


# ----------------------------------------------------------------------------------------------------------------------
# panels


def draw_profile(axes: Axes, measurement: Measurement, *, label: str | None = None, number: int = 0) -> None:
    """Draw values per site or bond, with error bars where they can be seen.

    A bond (i, j) stands at the midpoint of its sites, the closing bond of a ring at L - 1/2.
    """
    values = np.real(np.atleast_1d(np.asarray(measurement.values)))
    places = _places(measurement.labels, len(values))
    colour = COLOURS[number % len(COLOURS)]
    error = measurement.error
    bars = None if error is None else np.where(np.isfinite(error), np.abs(error), 0.0) * np.ones(len(values))
    axes.errorbar(
        places, values, yerr=bars, color=colour, marker=MARKERS[number % len(MARKERS)], linewidth=1.0, capsize=2.0,
        label=label,
    )  # fmt: skip
    axes.set_xlabel("bond (midpoint of its sites)" if measurement.dimension == "bond" else measurement.dimension)
    axes.set_ylabel(_axis(measurement.description or measurement.name, measurement.unit))
    _steady_limits(axes, values, bars)
    _integer_ticks(axes)


def _places(labels: Sequence[Any], count: int) -> np.ndarray:
    if len(labels) != count or count == 0:
        return np.arange(count, dtype=float)
    if isinstance(labels[0], (tuple, list, np.ndarray)) and len(labels[0]) == 2:
        pairs = [(float(i), float(j)) for i, j in labels]
        return np.array([(i + j) / 2 if j > i else i + 0.5 for i, j in pairs])
    if all(isinstance(x, (int, np.integer)) for x in labels):
        return np.array([float(x) for x in labels])
    return np.arange(count, dtype=float)


def _steady_limits(axes: Axes, values: np.ndarray, bars: np.ndarray | None) -> None:
    """Keep rounding noise from filling the panel: a profile that is flat to 1e-6 is shown flat."""
    pad = 0.0 if bars is None else float(bars.max(initial=0.0))
    low, high = float(values.min(initial=math.inf)) - pad, float(values.max(initial=-math.inf)) + pad
    scale = max(abs(low), abs(high), 1e-12)
    if high - low < 1e-6 * scale or scale <= 1e-12:
        centre = (low + high) / 2
        axes.set_ylim(centre - 0.05 * scale - 1e-9, centre + 0.05 * scale + 1e-9)


def _integer_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def draw_curves(
    axes: Axes,
    x: np.ndarray,
    curves: Mapping[str, np.ndarray],
    *,
    xlabel: str,
    ylabel: str,
    zero: bool = False,
    markers: bool = False,
    dashed: Iterable[str] = (),
) -> None:
    """Draw curves over one parameter; ``zero`` marks the zero line, ``dashed`` names curves of a comparison method.

    A dashed curve takes the colour of the solid one drawn before it.
    """
    dashed = set(dashed)
    number = -1
    for name, values in curves.items():
        number += name not in dashed or number < 0
        axes.plot(
            x,
            values,
            label=name,
            color=COLOURS[number % len(COLOURS)],
            linestyle="--" if name in dashed else "-",
            marker=MARKERS[number % len(MARKERS)] if markers else None,
        )
    if zero:
        axes.axhline(0.0, color="0.45", linewidth=0.7, zorder=0.9)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if len(curves) > 1:
        axes.legend()


def draw_map(
    axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, *, xlabel: str, ylabel: str, label: str
) -> None:
    """Draw ``values``, shape (len(y), len(x)), as a map with a colour bar.

    Signed data get a diverging scale that is symmetric about zero, others cividis; NaN is left grey.
    """
    values = np.asarray(values, dtype=float)
    if values.shape != (len(y), len(x)):
        raise InputError(
            f"Argument `values` must have the shape (len(y), len(x)) = ({len(y)}, {len(x)}), but has {values.shape}.",
            field="values",
        )
    finite = values[np.isfinite(values)]
    size = float(np.abs(finite).max(initial=0.0)) or 1.0
    signed = bool(finite.min(initial=0.0) < -1e-9 * size)
    limits: dict[str, Any] = (
        {"vmin": -size, "vmax": size} if signed else {"vmin": min(0.0, float(finite.min(initial=0.0)))}
    )
    axes.grid(False)
    axes.set_facecolor("0.8")
    mesh = axes.pcolormesh(
        x, y, np.ma.masked_invalid(values), shading="nearest", cmap=_diverging() if signed else "cividis",
        rasterized=True, **limits,
    )  # fmt: skip
    bar = axes.figure.colorbar(mesh, ax=axes)
    bar.set_label(label)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)


def _diverging() -> Any:
    """Blue - white - orange: distinguishable with every common colour deficiency, and in grey by its midpoint."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "blue_orange", ["#00335c", "#0072B2", "#8cc4e0", "#f7f7f7", "#f0b48a", "#D55E00", "#6b2c00"]
    )


def draw_history(axes: Axes, history: History, *, tol: float | None = None) -> None:
    """Draw what shrank on the way to the steady state, on a logarithmic scale, with the tolerance as a line.

    A direct method has a single record; its numbers are written out instead.
    """
    time = history["time"] if "time" in history.names and np.isfinite(history["time"]).sum() > 1 else None
    series = {label: np.abs(history[name]) for name, label in _SERIES.items() if name in history.names}
    series = {k: v for k, v in series.items() if np.any(np.isfinite(v) & (v > 0))}
    axes.set_title("convergence")
    if len(history) < 2 or not series:
        facts = [f"{label}: {values[np.isfinite(values)][-1]:.1e}" for label, values in series.items()]
        text = "\n".join(["direct solution" if len(history) < 2 else "no record", *facts])
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.25", linespacing=1.6)
        axes.set_xticks([])
        axes.set_yticks([])
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        return
    for number, (label, values) in enumerate(series.items()):
        keep = np.isfinite(values) & (values > 0)
        steps = np.arange(1, len(values) + 1) if time is None else time
        marker = MARKERS[number % len(MARKERS)] if keep.sum() <= 40 else None
        axes.plot(steps[keep], values[keep], marker=marker, color=COLOURS[number % len(COLOURS)], label=label)
    axes.set_yscale("log")
    if tol is not None and tol > 0:
        axes.axhline(tol, color="0.3", linestyle=":", linewidth=1.0, label=f"tol = {tol:g}")
    axes.legend()
    axes.set_xlabel("record" if time is None else "time (1/energy)")
    if time is None:
        _integer_ticks(axes)


def _axis(text: str, unit: str) -> str:
    """Label with its unit; plain descriptions such as ``<Z>`` and ``I^eta`` are set as formulas."""
    text = re.sub(r"<([A-Za-z]+)>", r"$\\langle \1 \\rangle$", text)
    text = re.sub(r"\bI\^(eta|xi|lambda)\b", r"$I^\\\1$", re.sub(r"\bI\^J\b", "$I^J$", text))
    return f"{text} ({unit})" if unit else text


# ----------------------------------------------------------------------------------------------------------------------
# whole results


def plot_result(source: str | Path | Result | Evolution, out: str | Path | None = None) -> Figure:
    """Return the picture of one run: bond current, magnetisation or occupation profile, and convergence history.

    Parameters
    ----------
    source
        A result, or the path of its HDF5 file.
    out
        Where to save it (.png, .pdf or .svg), or None.

    Raises
    ------
    InputError
        For a path that cannot be written.
    FileFormatError
        For a file that is not a run.

    Examples
    --------
    >>> import mpo_transport as mt
    >>> ring = mt.models.persistent_current(L=4, alpha=2.0, delta=1.5)
    >>> figure = plot_result(mt.steady_state(ring))
    >>> len(figure.axes)
    3
    """
    outcome = load(source) if isinstance(source, (str, Path)) else source
    if not isinstance(outcome, (Result, Evolution)):
        raise InputError(
            f"Argument `source` must be a result or the path of one, but is {type(outcome).__name__}.", field="source"
        )
    with style():
        figure = _evolution_figure(outcome) if isinstance(outcome, Evolution) else _result_figure(outcome)
        method = type(outcome.method).__name__
        figure.suptitle(f"{_title(outcome)}   [{method}, {outcome.status.value}]", fontsize=10)
        watermark(figure, outcome.status)
    if out is not None:
        save_figure(figure, out)
    return figure


def _title(outcome: Result | Evolution) -> str:
    model = outcome.model
    shape = "ring" if model.lattice.periodic else "chain" if isinstance(model.lattice, Chain) else "graph"
    function = MODELS.get(model.name)
    defaults = {k: p.default for k, p in inspect.signature(function).parameters.items()} if function else {}
    told = [
        f"{k} = {v:g}"
        for k, v in model.parameters.items()
        if isinstance(v, (int, float, complex)) and not isinstance(v, bool) and k != "L" and v != defaults.get(k)
    ]
    return ", ".join([f"{model.name.replace('_', ' ')}", f"{shape} of {model.L}", *told[:5]])


def _result_figure(result: Result) -> Figure:
    panels = _profiles(result)
    columns = len(panels) + 1
    figure, axes = new_figure(1, columns, width=4.2 if columns > 1 else 6.0, height=3.4)
    for place, measurement in zip(axes[0], panels, strict=False):
        draw_profile(place, measurement)
    draw_history(axes[0, -1], result.history, tol=result.tol)
    return figure


def _profiles(result: Result) -> list[Measurement]:
    """Stored site and bond observables; without any, the default current and the profile that suits the sites."""
    stored = [m for m in result.observables.values() if m.dimension in ("site", "bond") and np.ndim(m.values) == 1]
    if stored:
        return stored[:4]
    out = []
    for observable in default_observables(result.model).values():
        values, error = result.expect(observable, error=True)
        facts = {k: getattr(observable, k) for k in ("name", "dimension", "labels", "unit", "description")}
        out.append(Measurement(values=values, error=error, **facts))
    return out


def _evolution_figure(evolution: Evolution) -> Figure:
    items = [m for m in evolution.observables.values() if np.ndim(m.values) in (1, 2)]
    if not items:
        raise InputError("This evolution recorded no observables; nothing can be drawn.", field="observables")
    figure, axes = new_figure(1, len(items[:3]), width=4.6, height=3.4)
    for place, m in zip(axes[0], items, strict=False):
        values = np.real(np.asarray(m.values))
        label = _axis(m.description or m.name, m.unit)
        if values.ndim == 1 or values.shape[1] <= 8:
            lines = values[:, None] if values.ndim == 1 else values
            names = [""] if values.ndim == 1 else [str(x) for x in (m.labels or range(lines.shape[1]))]
            draw_curves(
                place, evolution.times, dict(zip(names, lines.T, strict=True)), xlabel="time (1/energy)", ylabel=label
            )
        else:
            draw_map(
                place, evolution.times, _places(m.labels, values.shape[1]), values.T,
                xlabel="time (1/energy)", ylabel=m.dimension, label=label,
            )  # fmt: skip
    return figure
