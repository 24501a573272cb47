"""Fig. S1: the effective theory against the full linearised model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...plotting import COLOURS, draw_map, new_figure
from ...reference.optomechanical_exact import density_matrix_error
from ...reference.optomechanical_lattices import EffectiveRing
from ..base import FigureData
from .common import COUPLING, PAPER, exact_populations, parameters, ring, solved_sigma

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figS1"]


def draw_figS1(data: FigureData) -> Figure:
    """Draw Im sigma of both theories, and the error over two planes."""
    figure, axes = new_figure(2, 2, width=5.2, height=4.0)
    for place, ratio in zip(axes[0], (1.0, 5.0), strict=True):
        for colour, G in zip(COLOURS, np.unique(data.tables["sigma"]["G_abs"]), strict=False):
            rows = data.select("sigma", J_over_gamma_c=ratio, G_abs=G)
            delta = 100 * data.select("delta", J_over_gamma_c=ratio, G_abs=G)["delta"][0]
            label = rf"$g|\alpha| = {G:g}$, $\delta = {delta:.2g}$ %"
            place.plot(rows["p"], rows["im_effective"], "-", color=colour, label=label)
            place.plot(rows["p"], rows["im_exact"], "o", color=colour, fillstyle="none")
        place.set_title(rf"$J = {ratio:g}\,\gamma_c$, $\phi = \pi/2$", fontsize=10)
        place.set_xlabel("$p$")
        place.set_ylabel(r"Im$\,\sigma_{0,p}$")
        place.legend(fontsize=8)
    c = data.tables["coupling"]
    G, ratios = np.unique(c["G_abs"]), np.unique(c["J_over_gamma_c"])
    percent = np.minimum(100 * c["delta"].reshape(len(ratios), len(G)), 20)
    draw_map(
        axes[1, 0],
        G,
        ratios,
        percent,
        xlabel=r"$g|\alpha|/\omega_m$",
        ylabel=r"$J/\gamma_c$",
        label=r"$\delta$ (%), cut at 20",
    )
    axes[1, 0].contour(G, ratios, percent, levels=[5], colors="w", linewidths=1.2)
    axes[1, 0].set_title(r"$\tilde\Delta = -J-\omega_m-\gamma_c/2$; white: 5 %", fontsize=10)
    d = data.tables["plane"]
    ratios, Dt = np.unique(d["J_over_gamma_c"]), np.unique(d["Dt"])
    percent = np.minimum(100 * d["delta"].reshape(len(Dt), len(ratios)), 10)
    draw_map(
        axes[1, 1], ratios, Dt, percent, xlabel=r"$J/\gamma_c$", ylabel=r"$\tilde\Delta/\omega_m$",
        label=r"$\delta$ (%), cut at 10",
    )  # fmt: skip
    axes[1, 1].set_title("grey: unstable", fontsize=10)
    return figure


@PAPER.add("figS1", draw_figS1)
def figS1(quick: bool = False) -> FigureData:
    """Return Im sigma at phi = pi/2 and the error delta over (G_abs, J) and over the plane of Fig. 4."""
    data = FigureData(
        "figS1",
        "Effective theory (lines) and full linearised model (circles)",
        parameters=parameters(panels_a_b="phi = pi/2, nbar = 10, Dt = -J - omega_m"),
        notes=(
            "delta = |sigma_eff - sigma_exact| / |(sigma_eff + sigma_exact)/2| in the spectral norm",
            COUPLING,
            "the printed errors of panels a and b are 1.0 and 0.7 percent; G_abs = 0.01 gives 0.98 and 0.80, 0.02 "
            "gives 1.80 and 0.96, and no reading of the parameters tried gives exactly the printed pair",
            "phi = pi/2 on an even ring: the net current is zero although sigma has an imaginary part",
        ),
    )
    sigma_rows, delta_rows = [], []
    for G in (0.01, 0.02):
        for ratio in (1.0, 5.0):
            effective = ring(0.1 * ratio, -1 - 0.1 * ratio, G_abs=G, nbar=10.0, phi=math.pi / 2)
            exact = solved_sigma(data, effective)
            ours = effective.sigma()
            sigma_rows += [(G, ratio, p, ours[p].imag, exact[p].imag) for p in range(8)]
            delta_rows.append((G, ratio, density_matrix_error(effective.n_k, np.fft.fft(exact).real)))
    names = ("G_abs", "J_over_gamma_c", "p", "im_effective", "im_exact")
    data.add("sigma", dict(zip(names, np.array(sigma_rows).T, strict=True)))
    data.add("delta", dict(zip(("G_abs", "J_over_gamma_c", "delta"), np.array(delta_rows).T, strict=True)))
    couplings = np.linspace(0.005, 0.1, 4 if quick else 39)
    ratios = np.array([0.5, 1.0, 2.0]) if quick else np.linspace(0.1, 5, 50)
    values = [[_error(ring(0.1 * r, -1 - 0.1 * r - 0.05, G_abs=g)) for g in couplings] for r in ratios]
    data.add(
        "coupling",
        {
            "G_abs": np.tile(couplings, len(ratios)), "J_over_gamma_c": np.repeat(ratios, len(couplings)),
            "delta": np.ravel(values),
        },
    )  # fmt: skip
    ratios = np.linspace(0.1, 3, 3) if quick else np.linspace(0.05, 10, 60)
    detunings = np.linspace(-2.2, 2.2, 8) if quick else np.linspace(-2.3, 2.3, 116)
    plane = [[_error(ring(0.1 * r, d)) for r in ratios] for d in detunings]
    data.add(
        "plane",
        {
            "J_over_gamma_c": np.tile(ratios, len(detunings)), "Dt": np.repeat(detunings, len(ratios)),
            "delta": np.ravel(plane),
        },
    )  # fmt: skip
    return data


def _error(effective: EffectiveRing) -> float:
    exact = exact_populations(effective) if effective.is_stable else None
    return np.nan if exact is None else density_matrix_error(effective.n_k, exact)
