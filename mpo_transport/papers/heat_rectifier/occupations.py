"""Fig. 2: surfaces of constant occupation change; Fig. 3: flows against the temperatures of the baths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...models import heat_rectifier
from ...plotting import COLOURS, new_figure
from ...reference.heat_rectifier import flows_without_hopping, isosurface
from ..base import FigureData
from .common import BATHS, PAPER, PHASE_SIGN, equal_rates, flows, occupations_of, solved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fig2", "fig3"]

M_1, M_2 = 50.0, 100.0
CHANGES = (10.0, 0.0, -10.0)
# kappa = 2, gamma_i = 1.96, F = 0.02 (units 2 pi MHz), theta = pi/2: the mapped numbers of the experiment
MAPPED = {"gamma_1": 1.96, "gamma_2": 1.96, "kappa_1": 2.0, "kappa_2": 2.0, "F": 0.02, "theta": np.pi / 2}


def draw_fig2(data: FigureData) -> Figure:
    """Draw the three surfaces m_3(F, Delta) as maps and, below, cuts at fixed F."""
    figure, axes = new_figure(2, 3, width=4.1, height=3.5)
    for column, change in enumerate(CHANGES):
        rows = data.select("surfaces", change_of_n_2=change)
        F, Delta = np.unique(rows["F"]), np.unique(rows["Delta"])
        m3 = rows["m_3"].reshape(len(F), len(Delta))
        place = axes[0, column]
        place.set_facecolor("0.8")
        place.grid(False)
        mesh = place.pcolormesh(
            F, Delta, np.ma.masked_invalid(m3.T), shading="nearest", cmap="cividis", vmin=0, vmax=100, rasterized=True
        )
        place.set_title(rf"$\Delta n_2 = {change:+g}$" if change else r"$\Delta n_2 = 0$", fontsize=10)
        place.set_xlabel(r"$F/\kappa$")
        place.set_ylabel(r"$\Delta/\kappa$")
        place.set_aspect("equal")
        if column == 2:
            figure.colorbar(mesh, ax=axes[0, :]).set_label(r"$m_3$ (grey: a bath below zero)")
    for place, cut in zip(axes[1], (-1.5, 0.0, 1.5), strict=True):
        for colour, change in zip(COLOURS, CHANGES, strict=False):
            rows = data.select("surfaces", change_of_n_2=change)
            at = rows["F"] == rows["F"][np.argmin(np.abs(rows["F"] - cut))]
            place.plot(rows["Delta"][at], rows["m_3"][at], color=colour, label=rf"$\Delta n_2 = {change:+g}$")
            nearest = rows["F"][at][0]
            check = data.select("check", change_of_n_2=change)
            near = np.abs(check["F"] - nearest) < 1e-9
            place.plot(check["Delta"][near], check["m_3"][near], "o", color=colour, markersize=4, fillstyle="none")
        place.set_title(rf"$F = {nearest:g}\,\kappa$", fontsize=10)
        place.set_xlabel(r"$\Delta/\kappa$")
        place.set_ylabel(r"$m_3$")
        place.set_ylim(0, 100)
    axes[1, 0].legend(fontsize=8)
    return figure


@PAPER.add("fig2", draw_fig2)
def fig2(quick: bool = False) -> FigureData:
    """Return m_3(F, Delta) on the surfaces Delta n_2 = 10, 0, -10, and the exact occupations at points on them."""
    data = FigureData(
        "fig2",
        r"Occupation change $\Delta n_2 = n_2 - m_2$ of the second oscillator",
        parameters={"kappa_1 = kappa_2 = gamma_1 = gamma_2": 1.0, "theta": 0.0, "m_1": M_1, "m_2": M_2, "F": "real"},
        notes=(
            PHASE_SIGN,
            "m_i = (N_i + N_3)/2 is the occupation of oscillator i alone; N_1 = 2 m_1 - m_3, N_2 = 2 m_2 - m_3, "
            "N_3 = m_3, so only 0 <= m_3 <= 100 is physical",
            "lines and colours: closed form; circles: points where the Gaussian steady state was solved",
            "Eqs. C10 and C11 corrected: the bracket is y (y + 2 kappa)",
            "the axis ranges of the source are not readable; 3 kappa was chosen",
        ),
    )
    grid = np.linspace(-3, 3, 5 if quick else 61)
    F, Delta = (x.ravel() for x in np.meshgrid(grid, grid, indexing="ij"))
    parts = []
    for change in CHANGES:
        with np.errstate(divide="ignore", invalid="ignore"):
            m3 = isosurface(change, F, Delta, M_1, M_2)
        parts.append(np.array([np.full(F.size, change), F, Delta, np.where((m3 >= 0) & (m3 <= 100), m3, np.nan)]))
    names = ("change_of_n_2", "F", "Delta", "m_3")
    table = np.concatenate(parts, axis=1)
    data.add("surfaces", dict(zip(names, table, strict=True)))
    chosen = table[:, np.isin(np.round(table[1], 9), (-1.5, 0.0, 1.5)) & np.isfinite(table[3])]
    chosen = chosen[:, :: 1 if quick else 6]
    found = []
    for _, f, delta, m3 in chosen.T:
        result = solved(data, equal_rates((2 * M_1 - m3, 2 * M_2 - m3, m3), F=f, Delta=delta))
        found.append(occupations_of(result)[1] - M_2)
    data.add("check", dict(zip(names, chosen, strict=True)) | {"solved_change_of_n_2": np.array(found)})
    return data


def draw_fig3(data: FigureData) -> Figure:
    """Draw eta_1, eta_2, eta_3 against N_1 (left) and N_2 (right), equal rates above, mapped rates below."""
    figure, axes = new_figure(2, 2, width=4.6, height=3.3)
    for row, rates in enumerate(("equal", "mapped")):
        for place, swept in zip(axes[row], ("N_1", "N_2"), strict=True):
            rows = data.select("flows", rates=rates, swept=swept)
            for number, bath in enumerate(BATHS, start=1):
                colour = COLOURS[number - 1]
                place.plot(rows["N"], rows[f"eta_{number}"], color=colour, label=rf"$\eta_{number}$ ({bath})")
                if rates == "equal":
                    place.plot(rows["N"][::4], rows[f"closed_eta_{number}"][::4], "o", color=colour, fillstyle="none")
            place.plot(rows["N"], rows["sum"], color="0.5", linestyle=":", label="sum")
            place.axhline(0, color="0.45", linewidth=0.7, zorder=0.9)
            place.set_xlabel(rf"${swept}$")
            place.set_ylabel(r"flow into the bath / $\kappa$")
            other = "N_2" if swept == "N_1" else "N_1"
            place.set_title(f"{rates} rates, ${other} = 0$, $N_3 = 0.5$", fontsize=10)
    axes[0, 0].legend(fontsize=8)
    return figure


@PAPER.add("fig3", draw_fig3)
def fig3(quick: bool = False) -> FigureData:
    """Return the three flows over kappa against N_1 at N_2 = 0 and against N_2 at N_1 = 0, N_3 = 1/2."""
    data = FigureData(
        "fig3",
        "Flows of quanta into the three baths",
        parameters={"N_3": 0.5, "equal": "kappa = gamma = 1, F = Delta = 0", "mapped": str(MAPPED) + ", 2 pi MHz"},
        notes=(
            PHASE_SIGN,
            "positive: into the bath; the three flows add up to zero",
            "eta_2 depends on N_1: d eta_2/d N_1 = kappa^3/(4 kappa^2 + Delta^2). The text of the source implies a "
            "flat eta_2 in the left panel; Eq. D7 with the occupations m_i of the disconnected oscillators gives the "
            "slope shown (circles: closed form)",
        ),
    )
    values = np.linspace(0, 2, 5 if quick else 41)
    rows: list[tuple[object, ...]] = []
    for rates in ("equal", "mapped"):
        for swept in ("N_1", "N_2"):
            for value in values:
                N = (value, 0.0, 0.5) if swept == "N_1" else (0.0, value, 0.5)
                if rates == "equal":
                    model, kappa, closed = equal_rates(N), 1.0, flows_without_hopping(N, 0.0)
                else:
                    model, kappa = heat_rectifier(omega_1=0.0, omega_2=0.0, N=N, **MAPPED), MAPPED["kappa_1"]
                    closed = (np.nan, np.nan, np.nan)
                eta = flows(solved(data, model)) / kappa
                rows.append((rates, swept, value, *eta, eta.sum(), *closed))
    names = ("rates", "swept", "N", "eta_1", "eta_2", "eta_3", "sum", "closed_eta_1", "closed_eta_2", "closed_eta_3")
    data.add("flows", {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)})
    return data
