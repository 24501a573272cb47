"""Fig. 4: the heat current over the plane of hopping and detuning; Fig. 5: its parts and the coherence it carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...plotting import COLOURS, new_figure
from ...reference.optomechanical_lattices import EffectiveRing
from ..base import FigureData
from .common import COUPLING, HALF, PAPER, full_ring, parameters, populations_of, ring, solved_sigma

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fig4", "fig5"]

GAMMA_M = 1e-3


def edges(J: float, full: bool) -> tuple[float, float]:
    """Return the outermost detunings of the unstable window around the Stokes sidebands."""
    from scipy.optimize import brentq

    def growth(Dt: float) -> float:
        effective = ring(J, Dt)
        return full_ring(effective).growth if full else -float(effective.damping.min())

    # the loss of stability lies within J + 0.3 of the sideband; inside the window there may be stable pockets
    low = np.linspace(1 - J - 0.35, 1.0, 141)
    high = np.linspace(1 + J + 0.35, 1.0, 141)
    found = []
    for grid in (low, high):
        first = next(i for i, d in enumerate(grid) if growth(float(d)) > 0)
        found.append(float(brentq(growth, grid[first - 1], grid[first], xtol=1e-12)))
    return found[0], found[1]


def draw_fig4(data: FigureData) -> Figure:
    """Draw log10 of the current with the sign as hatching; unstable detunings grey."""
    from matplotlib.colors import LogNorm

    figure, axes = new_figure(1, 2, width=5.6, height=4.4)
    table = data.tables["map"]
    ratio, Dt = np.unique(table["J_over_gamma_c"]), np.unique(table["Dt"])
    values = table["Q_C"].reshape(len(Dt), len(ratio))
    place = axes[0, 0]
    place.grid(False)
    place.set_facecolor("0.75")
    size = np.ma.masked_invalid(np.abs(values))
    size = np.ma.masked_less(size, 1e-12)
    mesh = place.pcolormesh(
        ratio, Dt, size, shading="nearest", cmap="cividis", norm=LogNorm(1e-3, 1e1), rasterized=True
    )
    place.contourf(ratio, Dt, np.ma.masked_invalid(values), levels=[-1e9, 0], colors="none", hatches=["////"])
    figure.colorbar(mesh, ax=place, extend="both").set_label(r"$|Q_C|/\omega_m\gamma_m$")
    place.set_title("hatched: negative; grey: unstable", fontsize=10)
    rows = data.tables["edges"]
    for name, style in (("effective", "-"), ("full", "--")):
        for side in ("low", "high"):
            place.plot(rows["J_over_gamma_c"], rows[f"{side}_{name}"], style, color=COLOURS[1], linewidth=1)
    place.set_ylim(Dt.min(), Dt.max())
    place.set_xlim(ratio.min(), ratio.max())
    place.set_xlabel(r"$J/\gamma_c$")
    place.set_ylabel(r"$\tilde\Delta/\omega_m$")
    for colour, cut in zip(COLOURS, np.unique(data.tables["cuts"]["J_over_gamma_c"]), strict=False):
        rows = data.select("cuts", J_over_gamma_c=cut)
        axes[0, 1].plot(rows["Dt"], rows["Q_C"], color=colour, label=rf"$J = {cut:g}\,\gamma_c$")
        check = data.select("check", J_over_gamma_c=cut)
        axes[0, 1].plot(check["Dt"], check["Q_C_exact"], "o", color=colour, markersize=4, fillstyle="none")
    axes[0, 1].plot([], [], "o", color="0.3", fillstyle="none", label="full model, solved")
    axes[0, 1].axhline(0, color="0.45", linewidth=0.7)
    axes[0, 1].set_xlabel(r"$\tilde\Delta/\omega_m$")
    axes[0, 1].set_ylabel(r"$Q_C/\omega_m\gamma_m$")
    axes[0, 1].legend(fontsize=8)
    return figure


@PAPER.add("fig4", draw_fig4)
def fig4(quick: bool = False) -> FigureData:
    """Return Q_C over (J/gamma_c, Dt), cuts around the anti-Stokes band with exact points, and the stability edges."""
    data = FigureData(
        "fig4",
        "Total heat current of the ring",
        parameters=parameters(),
        notes=(
            HALF,
            COUPLING,
            "NaN: no steady state (a phonon mode grows) in the effective theory; edges of the unstable window in the "
            "effective theory (solid) and the full linearised model (dashed)",
        ),
    )
    ratios = np.linspace(0.1, 3.0, 4) if quick else np.linspace(0.05, 10, 120)
    detunings = np.linspace(-2.2, 2.2, 12) if quick else np.linspace(-2.3, 2.3, 231)
    values = np.array([[_current(ring(0.1 * r, d)) for r in ratios] for d in detunings])
    grid = {"J_over_gamma_c": np.tile(ratios, len(detunings)), "Dt": np.repeat(detunings, len(ratios))}
    data.add("map", grid | {"Q_C": values.ravel()})
    cuts = (1.0,) if quick else (0.5, 1.0, 2.0)
    fine = np.linspace(-1.6, -0.4, 13 if quick else 241)
    rows = [(c, d, _current(ring(0.1 * c, d))) for c in cuts for d in fine]
    data.add("cuts", dict(zip(("J_over_gamma_c", "Dt", "Q_C"), np.array(rows).T, strict=True)))
    exact = []
    for c in cuts:
        for d in (-1.1,) if quick else (-1.4, -1.25, -1.15, -1.1, -1.0, -0.9, -0.8, -0.65, -0.5):
            effective = ring(0.1 * c, d)
            n_k = populations_of(solved_sigma(data, effective))
            exact.append((c, d, effective.total_current("paper", n_k) / GAMMA_M))
    data.add("check", dict(zip(("J_over_gamma_c", "Dt", "Q_C_exact"), np.array(exact).T, strict=True)))
    at = ratios if quick else ratios[::6]
    found = [(r, *edges(0.1 * r, False), *edges(0.1 * r, True)) for r in at]
    names = ("J_over_gamma_c", "low_effective", "high_effective", "low_full", "high_full")
    data.add("edges", dict(zip(names, np.array(found).T, strict=True)))
    return data


def _current(effective: EffectiveRing) -> float:
    return effective.total_current("paper") / GAMMA_M if effective.is_stable else np.nan


def draw_fig5(data: FigureData) -> Figure:
    """Draw Q_1, Q_2, Q_3 and Q_C, and the coherences, against J; circles: the full model."""
    figure, axes = new_figure(1, 2, width=5.2, height=3.8)
    line, circles = data.tables["effective"], data.tables["exact"]
    for place, names, label in (
        (axes[0, 0], ("Q_1", "Q_2", "Q_3", "Q_C"), r"$Q/\omega_m\gamma_m$"),
        (axes[0, 1], ("g1_1", "g1_2", "g1_3", "g1_4"), r"$|g^{(1)}_{l,l+p}|$"),
    ):
        for colour, name in zip(COLOURS, names, strict=False):
            stem, _, index = name.partition("_")
            text = f"${stem}_{{{index}}}$" if stem == "Q" else f"$p = {index}$"
            place.semilogx(line["J_over_gamma_c"], line[name], color=colour, label=text)
            place.plot(circles["J_over_gamma_c"], circles[name], "o", color=colour, markersize=4, fillstyle="none")
        place.set_xlabel(r"$J/\gamma_c$")
        place.set_ylabel(label)
        place.axhline(0, color="0.45", linewidth=0.7, zorder=0.9)
        place.legend(fontsize=8)
    return figure


@PAPER.add("fig5", draw_fig5)
def fig5(quick: bool = False) -> FigureData:
    """Return contributions to the current and coherences along Dt = -J - omega_m, effective and exact."""
    data = FigureData(
        "fig5",
        r"Currents and coherences at the lowest anti-Stokes sideband, $\tilde\Delta = -J - \omega_m$",
        parameters=parameters(Dt="-J - omega_m"),
        notes=(
            HALF,
            COUPLING,
            "lines: effective theory; circles: full linearised model solved by the Gaussian method, its density "
            "matrix in the same operators",
            "the printed line may follow the local maximum of Q_C instead of Dt = -J - omega_m, which differs from "
            "J of about 3 gamma_c on",
        ),
    )
    names = ("J_over_gamma_c", "Q_1", "Q_2", "Q_3", "Q_C", "g1_1", "g1_2", "g1_3", "g1_4")
    ratios = np.array([0.5, 1.0, 5.0]) if quick else np.logspace(-1, 2, 121)
    data.add("effective", dict(zip(names, np.array([_row(r) for r in ratios]).T, strict=True)))
    few = (1.0, 5.0) if quick else (0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0, 100.0)
    exact = [_row(r, populations_of(solved_sigma(data, ring(0.1 * r, -1 - 0.1 * r)))) for r in few]
    data.add("exact", dict(zip(names, np.array(exact).T, strict=True)))
    return data


def _row(ratio: float, n_k: np.ndarray | None = None) -> tuple[float, ...]:
    effective = ring(0.1 * ratio, -1.0 - 0.1 * ratio)
    Q = effective.currents("paper", n_k) / GAMMA_M
    return (ratio, *Q[1:4], Q.sum(), *np.abs(effective.g1(n_k)[1:5]))
