"""Fig. 2: range and sign of the mediated hopping; Fig. 3: loss and gain of the phonon modes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...plotting import COLOURS, draw_map, new_figure
from ...reference.optomechanical_lattices import hopping_by_image_sum
from ..base import FigureData
from .common import COUPLING, PAPER, parameters, ring

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fig2", "fig3"]

CUTS = (-1.3, -1.2, -1.0)


def draw_fig2(data: FigureData) -> Figure:
    """Draw J_p over (p, Dt) and three cuts."""
    figure, axes = new_figure(1, 2, width=5.2, height=3.8)
    table = data.tables["map"]
    p, Dt = np.unique(table["p"]), np.unique(table["Dt"])
    values = 1e3 * table["J_p"].reshape(len(Dt), len(p))
    draw_map(
        axes[0, 0], p, Dt, values, xlabel="distance $p$", ylabel=r"$\tilde\Delta/\omega_m$",
        label=r"$10^3\,J_p^{(+)}/\omega_m$",
    )  # fmt: skip
    for edge in (-1.2, -0.8):
        axes[0, 0].axhline(edge, color="0.2", linestyle=":", linewidth=1)
    for colour, cut in zip(COLOURS, CUTS, strict=False):
        rows = data.select("cuts", Dt=cut)
        axes[0, 1].plot(rows["p"], 1e3 * rows["J_p"], "o-", color=colour, label=rf"$\tilde\Delta = {cut:g}$")
        axes[0, 1].plot(rows["p"], 1e3 * rows["image_sum"], "x", color="0.2", markersize=5)
    axes[0, 1].plot([], [], "x", color="0.2", label="image sum")
    axes[0, 1].set_xlabel("distance $p$")
    axes[0, 1].set_ylabel(r"$10^3\,J_p^{(+)}/\omega_m$")
    axes[0, 1].legend(fontsize=8)
    return figure


@PAPER.add("fig2", draw_fig2)
def fig2(quick: bool = False) -> FigureData:
    """Return J_p^(+) over distance and detuning at J = 2 gamma_c, its zeros, and three cuts."""
    data = FigureData(
        "fig2",
        r"Phonon hopping $J_p^{(+)}$ mediated by the light, $J = 2\gamma_c$",
        parameters=parameters(J=0.2),
        notes=(
            COUPLING,
            "dotted: edges of the photon band, |Dt + omega_m| = J; the cuts of the source are not given",
            "J_p(-omega_m + u) = -(-1)^p J_p(-omega_m - u) on a ring of even length",
        ),
    )
    grid = np.linspace(-1.6, -0.4, 13 if quick else 241)
    p = np.arange(8)
    rows = np.array([ring(0.2, float(d)).hopping(1) for d in grid])
    data.add("map", {"p": np.tile(p, len(grid)), "Dt": np.repeat(grid, 8), "J_p": rows.ravel()})
    cuts, images = [], []
    for cut in CUTS:
        at = ring(0.2, cut)
        cuts.append(at.hopping(1))
        images.append(hopping_by_image_sum(8, 0.2, 1 + cut + 0.05j, at.G_abs).imag)
    data.add(
        "cuts",
        {
            "Dt": np.repeat(CUTS, 8), "p": np.tile(p, len(CUTS)), "J_p": np.concatenate(cuts),
            "image_sum": np.concatenate(images),
        },
    )  # fmt: skip
    zeros = [(q, z) for q in (1, 2, 3, 4) for z in _zeros(q, quick)]
    data.add("zeros", {"p": np.array([q for q, _ in zeros]), "Dt": np.array([z for _, z in zeros])})
    return data


def _zeros(p: int, quick: bool) -> list[float]:
    """Return the detunings in (-1.6, -0.4) where J_p^(+) changes its sign."""
    from scipy.optimize import brentq

    def value(d: float) -> float:
        return float(ring(0.2, d).hopping(1)[p])

    grid = np.linspace(-1.6, -0.4, 62 if quick else 602)  # even: the zero at the centre lies between two points
    values = np.array([value(d) for d in grid])
    change = np.flatnonzero(values[:-1] * values[1:] < 0)
    return [float(brentq(value, grid[i], grid[i + 1], xtol=1e-13)) for i in change]


def draw_fig3(data: FigureData) -> Figure:
    """Draw loss (solid) and gain (dashed) of every mode."""
    figure, axes = new_figure(1, 1, width=7.4, height=3.8)
    place = axes[0, 0]
    for colour, ratio in zip(COLOURS, np.unique(data.tables["rates"]["J_over_gamma_c"]), strict=False):
        rows = data.select("rates", J_over_gamma_c=ratio)
        label = rf"$J = {ratio:.3g}\,\gamma_c$"
        place.plot(rows["k_over_pi"], rows["loss"], "o-", color=colour, label=label)
        place.plot(rows["k_over_pi"], rows["gain"], "s--", color=colour, fillstyle="none")
    for k in (-0.25, 0.25):
        place.axvline(k, color="0.6", linewidth=0.8, linestyle=":")
    place.plot([], [], "o-", color="0.3", label=r"loss, $\tilde\Delta = -\omega_m - J$")
    place.plot([], [], "s--", color="0.3", fillstyle="none", label=r"gain, $\tilde\Delta = \omega_m - J$")
    place.set_xlabel(r"$k/\pi$")
    place.set_ylabel(r"rate$\,/\,\gamma_m$")
    place.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@PAPER.add("fig3", draw_fig3)
def fig3(quick: bool = False) -> FigureData:
    """Return the optical loss and gain of every phonon mode at the lowest sideband, for five hopping strengths."""
    data = FigureData(
        "fig3",
        r"Optical loss $\Gamma_k(+\omega_m)$ and gain $\Gamma_{-k}(-\omega_m)$ of the phonon modes",
        parameters=parameters(detuning="-omega_m - J for the loss, +omega_m - J for the gain"),
        notes=(
            COUPLING + "; rates scale with G_abs^2",
            "loss peaks at k = -phi, gain at k = +phi (dotted): resonances at Dt = -omega_m - J cos(k + phi) and "
            "Dt = omega_m - J cos(k - phi)",
        ),
    )
    ratios = (0.0, 1.0) if quick else (0.0, 1 / 6, 1 / 3, 1.0, 8.0)
    rows = []
    for ratio in ratios:
        J = 0.1 * ratio
        loss, gain = ring(J, -1.0 - J), ring(J, 1.0 - J)
        order = np.argsort(np.where(loss.k > np.pi - 1e-9, loss.k - 2 * np.pi, loss.k))
        k = np.where(loss.k > np.pi - 1e-9, loss.k - 2 * np.pi, loss.k)[order] / np.pi
        rows.append(np.array([np.full(8, ratio), k, loss.loss[order] / 1e-3, gain.gain[order] / 1e-3]))
    names = ("J_over_gamma_c", "k_over_pi", "loss", "gain")
    data.add("rates", dict(zip(names, np.concatenate(rows, axis=1), strict=True)))
    return data
