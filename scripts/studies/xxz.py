#!/usr/bin/env python
"""Boundary-driven XXZ chains: how the current falls with the length, at maximal and at weak driving.

    scripts/studies/xxz.py TABLES [--out DIR]

TABLES holds xxz_maximal_{exact,growth,factor,tebd}.nc and xxz_weak_{exact,tebd}.nc, made by `mpo-transport collect`
from the sweeps of data/studies.  Writes xxz.png, xxz_points.csv and xxz_exponents.csv, and prints the tables.
"""

from __future__ import annotations

import numpy as np
from common import Tables, arguments, show, write_csv
from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

from mpo_transport.analysis import Series, draw_series, exponential_law, local_exponents, power_law, text_with_error
from mpo_transport.plotting import COLOURS, MARKERS, new_figure, save_figure, style
from mpo_transport.reference.boundary_driven import xxz_maximally_driven

ANISOTROPIES = (0.5, 1.0, 1.5)
EXPECTED = {0.5: "0 (ballistic)", 1.0: "1/2 (superdiffusive)", 1.5: "1 (diffusive)"}
EXPECTED_MAXIMAL = {0.5: "0", 1.0: "2", 1.5: "exponential"}
FLOOR = 0.005  # relative accuracy to which a scaling law is asked to describe a chain
SHORTEST = 5
TURNED = 8  # local exponents of exact weakly driven chains turn around 7 sites, which no series in 1/L can follow


def exact_current(L: float, Delta: float) -> float:
    """Return the closed form at maximal driving, in the units of the sweeps."""
    return xxz_maximally_driven(int(L), Delta, J=0.25, eps=1.0).current


def parts(tables: Tables, driving: str, Delta: float) -> dict[str, Series]:
    """Return the series of one anisotropy by method."""
    where = {"model.Delta": Delta}
    found = {"ExactDiag": tables.series(f"xxz_{driving}_exact", where=where)}
    if driving == "maximal":
        name, table = ("ChainGrowth", "growth") if Delta == 0.5 else ("CholeskyGrowth", "factor")
        found[name] = tables.series(f"xxz_maximal_{table}", where=where)
    found["TEBD"] = tables.series(f"xxz_{driving}_tebd", where=where)
    return found


def whole(series: dict[str, Series]) -> Series:
    """Return all methods as one series."""
    first, *others = series.values()
    for other in others:
        first = first.joined(other)
    return first


def exponent_rows(tables: Tables) -> list[list[str]]:
    """Fit every case and return the rows of the table of exponents."""
    rows = []
    long = [64, 96, 128, 192, 256, 384, 512]
    for Delta in ANISOTROPIES:
        found = whole(parts(tables, "maximal", Delta))
        shortest = TURNED if Delta > 1 else SHORTEST  # below, even and odd chains differ
        usable = found.at((found.x >= shortest) & ~found.doubtful)
        law = exponential_law if Delta > 1 else power_law
        fit = law(usable.floored(FLOOR))
        formula = law(Series(long, [exact_current(n, Delta) for n in long]))
        rows.append(["maximal", f"{Delta:g}", _reach(usable), _text(fit), EXPECTED_MAXIMAL[Delta],
                     f"{_text(formula)} (formula, L = 64 to 512)"])  # fmt: skip
    for Delta in ANISOTROPIES:
        found = whole(parts(tables, "weak", Delta))
        usable = found.at((found.x >= SHORTEST) & ~found.doubtful)
        late = usable.at(usable.x >= TURNED)
        fit, late_fit = power_law(usable.floored(FLOOR)), power_law(late.floored(FLOOR))
        local = local_exponents(usable, window=2)
        shown = f"{local.x[-1]:.3g}: {text_with_error(local.exponent[-1], local.error[-1])}"
        rows.append(["weak", f"{Delta:g}", _reach(usable), _text(fit), EXPECTED[Delta], ""])
        rows.append(
            ["weak", f"{Delta:g}", _reach(late), _text(late_fit), EXPECTED[Delta], f"local exponent, L = {shown}"]
        )
        print(f"weak, Delta = {Delta:g}: {fit}")
        print(
            "  without corrections: " + ", ".join(f"{w.name}: {text_with_error(w.value, w.error)}" for w in fit.windows)
        )
        print("  local exponents:\n" + str(local))
    return rows


def _reach(series: Series) -> str:
    return f"{series.x.min():g} to {series.x.max():g}"


def _text(fit: object) -> str:
    return f"{'xi' if fit.law == 'exponential' else 'a'} = {text_with_error(fit.value, max(fit.error, 1e-6))}"


def point_rows(tables: Tables) -> list[list[str]]:
    """Return every point with its status, and at maximal driving its distance from the closed form."""
    rows = []
    for driving in ("maximal", "weak"):
        for Delta in ANISOTROPIES:
            for method, series in parts(tables, driving, Delta).items():
                for x, y, sigma, status in zip(series.x, series.y, series.error, series.status, strict=True):
                    known = exact_current(x, Delta) if driving == "maximal" else np.nan
                    away = "" if np.isnan(known) or np.isnan(y) else f"{(y - known):.1e}"
                    value = "" if np.isnan(y) else repr(float(y))
                    error = "" if np.isnan(y) else f"{sigma:.1e}"
                    rows.append([driving, f"{Delta:g}", f"{x:g}", method, value, error, status, away])
    return rows


def main() -> None:
    """Make the picture and the tables."""
    options = arguments(__doc__)
    tables = Tables(options.tables)
    rows = exponent_rows(tables)
    head = ["driving", "Delta", "L", "fit", "expected", "remark"]
    show(head, rows)
    write_csv(options.out / "xxz_exponents.csv", head, rows)
    points = point_rows(tables)
    head = ["driving", "Delta", "L", "method", "current", "sigma", "status", "minus closed form"]
    show(head, [r for r in points if r[3] == "TEBD" or r[6] != "converged"])
    write_csv(options.out / "xxz_points.csv", head, points)
    print(draw(tables, options.out / "xxz.png"))


def draw(tables: Tables, path: object) -> object:
    """Draw currents at both drivings and the local exponents."""
    figure, axes = new_figure(1, 3, width=4.3, height=3.6)
    with style():
        hidden = 0
        for place, driving in zip(axes[0], ("maximal", "weak"), strict=False):
            for number, Delta in enumerate(ANISOTROPIES):
                for method, series in parts(tables, driving, Delta).items():
                    label = rf"$\Delta$ = {Delta:g}" if method == "ExactDiag" else None
                    shown = series.y > 2 * series.error  # a logarithmic scale has no place for the others
                    hidden += int((np.isfinite(series.y) & ~shown).sum())
                    draw_series(place, series.at(shown), label=label, number=number, sigmas=2.0)
                if driving == "maximal":
                    x = np.unique(np.geomspace(3, 200, 60).astype(int))
                    y = np.array([exact_current(n, Delta) for n in x])
                    place.plot(x[y > 1e-9], y[y > 1e-9], color=COLOURS[number], linewidth=0.9)
            place.set_xscale("log")
            place.set_yscale("log")
            place.set_ylabel("Z current")
            place.set_xlabel("L")
            place.legend(loc="lower left")
        axes[0, 0].set_ylim(bottom=1e-9)
        for axis, ticks in ((axes[0, 1].xaxis, (3, 5, 10, 20)), (axes[0, 1].yaxis, (0.01, 0.02, 0.05, 0.1))):
            axis.set_major_locator(FixedLocator(ticks))
            axis.set_major_formatter(ScalarFormatter())
            axis.set_minor_formatter(NullFormatter())
        if hidden:
            told = f"hollow: not converged;\nnot shown: {hidden} point(s) with\nerrors above the value"
            axes[0, 0].text(0.55, 0.25, told,
                            transform=axes[0, 0].transAxes, fontsize=7.5, color="0.3")  # fmt: skip
        axes[0, 0].set_title("maximal driving; lines: closed form")
        axes[0, 1].set_title("weak driving, fillings 0.6 and 0.4")
        right = axes[0, 2]
        for number, Delta in enumerate(ANISOTROPIES):
            found = whole(parts(tables, "weak", Delta))
            local = local_exponents(found.at((found.x >= 3) & ~found.doubtful))
            right.errorbar(local.x, local.exponent, yerr=2 * local.error, fmt=MARKERS[number] + "-", linewidth=0.8,
                           capsize=2.0, color=COLOURS[number], label=rf"$\Delta$ = {Delta:g}")  # fmt: skip
        for level in (0.0, 0.5, 1.0):
            right.axhline(level, color="0.3", linestyle=":", linewidth=1.0)
        right.set_xlabel("L")
        right.set_ylabel(r"$-d\ln j/d\ln L$, weak driving")
        right.set_title("local exponents; dotted: 0, 1/2, 1")
        right.set_ylim(-0.1, 1.5)
        right.legend(loc="center left", bbox_to_anchor=(0.02, 0.56))
    return save_figure(figure, path)


if __name__ == "__main__":
    main()
