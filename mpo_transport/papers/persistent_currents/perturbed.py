"""What the dissipative current survives: perturbations (Fig. 6), local loss, next-nearest-neighbour dissipators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...models import persistent_current
from ...plotting import COLOURS, draw_curves, new_figure
from ..base import FigureData
from .common import CORRECTED_SIGN, PAPER, angle_grid, mean_current, mean_z, solve_exactly

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fig6", "loss", "nnn"]


def draw_fig6(data: FigureData) -> Figure:
    """Draw the current over the angle for every strength, one panel per perturbation."""
    figure, axes = new_figure(1, 2, width=4.8, height=3.5)
    titles = {"x": r"$\epsilon\sum_j\sigma^x_j$", "zz": r"$\epsilon\sum_j\sigma^z_j\sigma^z_{j+1}$"}
    for place, (kind, title) in zip(axes[0], titles.items(), strict=True):
        rows = data.select("current", perturbation=kind)
        curves = {f"$\\epsilon$ = {e:g}": rows["current"][rows["epsilon"] == e] for e in np.unique(rows["epsilon"])}
        draw_curves(
            place, np.unique(rows["theta"]) / np.pi, curves,
            xlabel=r"$\theta/\pi$", ylabel=r"$\langle I^\eta\rangle$ (energy)", zero=True,
        )  # fmt: skip
        place.set_title(title)
    return figure


@PAPER.add("fig6", draw_fig6)
def fig6(quick: bool = False) -> FigureData:
    """Return the current at r = 1 under a transverse field and under an Ising coupling, L = 4."""
    data = FigureData(
        "fig6",
        "Perturbed minimal model, r = 1, ring of 4",
        parameters={"L": 4, "mu": 1.0, "r": 1.0, "method": "ExactDiag"},
        notes=(
            CORRECTED_SIGN,
            "the paper does not state L; L = 4 and L = 6 differ by less than 10% near the maxima",
            "symmetry: I(theta, eps_zz) = -I(pi/2 - theta, -eps_zz)",
        ),
    )
    rows: list[tuple[Any, ...]] = []
    for kind in ("x", "zz"):
        for epsilon in (0.0, 0.3) if quick else (0.0, 0.1, 0.2, 0.3):
            for angle in angle_grid(quick):
                extra = {f"eps_{kind}": epsilon}
                model = persistent_current(4, float(np.cos(angle)), float(np.sin(angle)), mu=1.0, **extra)
                result = solve_exactly(data, model)
                rows.append((kind, epsilon, angle, mean_current(result), mean_z(result)))
    names = ("perturbation", "epsilon", "theta", "current", "sigma_z")
    data.add("current", {n: [row[k] for row in rows] for k, n in enumerate(names)})
    return data


# ----------------------------------------------------------------------------------------------------------------------


def draw_loss(data: FigureData) -> Figure:
    """Draw the current over the loss rate."""
    figure, axes = new_figure(1, 2, width=4.6, height=3.4)
    table = data.tables["current"]
    for place, column, label in (
        (axes[0, 0], "current", r"$\langle I^\eta\rangle$ (energy)"),
        (axes[0, 1], "sigma_z", r"$\langle\sigma^z\rangle$"),
    ):
        number = 0
        for alpha, delta in dict.fromkeys(zip(table["alpha"], table["delta"], strict=True)):
            for L in np.unique(table["L"]):
                rows = data.select("current", alpha=alpha, delta=delta, L=L)
                if not len(rows["kappa"]):
                    continue
                style = "-" if table["L"].max() == L else ":"
                place.plot(
                    rows["kappa"], rows[column], style, color=COLOURS[number],
                    label=rf"$\alpha$ = {alpha:g}, $\delta$ = {delta:g}, L = {int(L)}",
                )  # fmt: skip
            number += 1
        place.axhline(0.0, color="0.45", linewidth=0.7)
        place.set_xlabel(r"local loss $\kappa$ (energy)")
        place.set_ylabel(label)
    axes[0, 0].legend()
    return figure


@PAPER.add("loss", draw_loss)
def loss(quick: bool = False) -> FigureData:
    """Return the current of the minimal model under local loss on every site."""
    data = FigureData(
        "loss",
        "Minimal model with local loss on every site",
        parameters={"mu": 1.0, "boundary": "ring", "method": "ExactDiag"},
        notes=(
            CORRECTED_SIGN,
            "the loss enters the equation of motion as Gamma_- -> Gamma_- + kappa and nowhere else",
            "the paper says that loss allows a current even for delta = 0; with consistent labels this happens at "
            "alpha = 0 (gain against local loss); at delta = 0 the vacuum is dark and the current is zero",
        ),
    )
    rows: list[tuple[float, ...]] = []
    for L in (6,) if quick else (4, 6):
        for alpha, delta in ((1.0, 0.5), (0.0, 1.0)):
            if quick:
                losses = np.array([0.5])
            elif alpha:
                losses = np.concatenate([[0.0, 0.05], np.arange(1, 27) / 10])
            else:
                losses = np.concatenate(
                    [[0.02, 0.05, 0.07], np.arange(2, 53) / 20]
                )  # at kappa = 0 the steady state for alpha = 0 is not unique
            for kappa in losses:
                result = solve_exactly(data, persistent_current(L, alpha, delta, mu=1.0, kappa=float(kappa)))
                rows.append((L, alpha, delta, kappa, mean_current(result), mean_z(result)))
    names = ("L", "alpha", "delta", "kappa", "current", "sigma_z")
    data.add("current", dict(zip(names, np.array(rows).T, strict=True)))
    return data


# ----------------------------------------------------------------------------------------------------------------------


def draw_nnn(data: FigureData) -> Figure:
    """Draw both currents over the ring size, and over the angle for the ring of five."""
    figure, axes = new_figure(1, 2, width=4.6, height=3.4)
    sizes = data.tables["sizes"]
    odd = sizes["L"] % 2 == 1
    for colour, column, label in (
        (COLOURS[0], "current_distance_1", "nearest neighbours"),
        (COLOURS[1], "current_distance_2", "two apart"),
    ):
        axes[0, 0].plot(sizes["L"][odd], sizes[column][odd], "o-", color=colour, label=f"{label}, odd L")
        axes[0, 0].plot(sizes["L"][~odd], sizes[column][~odd], "s:", color=colour, mfc="none", label=f"{label}, even L")
    axes[0, 0].axhline(0.0, color="0.45", linewidth=0.7)
    axes[0, 0].set_xlabel("ring size L")
    axes[0, 0].set_ylabel(r"$\langle I^\eta\rangle$ (energy)")
    axes[0, 0].legend(fontsize=7.5)
    axes[0, 0].set_title(r"$\alpha$ = 2, $\delta$ = 1.5")
    angles = data.tables["angles"]
    draw_curves(
        axes[0, 1], angles["theta"] / np.pi,
        {"nearest neighbours": angles["current_distance_1"], "two apart": angles["current_distance_2"]},
        xlabel=r"$\theta/\pi$", ylabel=r"$\langle I^\eta\rangle$ (energy)", zero=True,
    )  # fmt: skip
    axes[0, 1].set_title("L = 5, r = 2.5")
    return figure


@PAPER.add("nnn", draw_nnn)
def nnn(quick: bool = False) -> FigureData:
    """Return the currents of rings whose dissipators join next-nearest neighbours."""
    data = FigureData(
        "nnn",
        "Dissipators on next-nearest neighbours, rings",
        parameters={"mu": 1.0, "dissipator_distance": 2, "method": "ExactDiag"},
        notes=(
            CORRECTED_SIGN,
            "even L falls apart into two rings of L/2 (zero nearest-neighbour current); odd L is the nearest-neighbour "
            "ring renumbered: its distance-2 current is the nearest-neighbour value of the same L",
            "L = 4 is left out: it falls apart into two pairs, whose steady state is not unique",
        ),
    )
    rows = []
    for L in (3, 5) if quick else (3, 5, 6, 7, 8, 9):
        result = solve_exactly(data, persistent_current(L, 2.0, 1.5, mu=1.0, dissipator_distance=2))
        rows.append((L, mean_current(result), mean_current(result, distance=2), mean_z(result)))
    names = ("L", "current_distance_1", "current_distance_2", "sigma_z")
    data.add("sizes", dict(zip(names, np.array(rows).T, strict=True)))
    rows = []
    for angle in angle_grid(quick):
        alpha, delta = 2.5 * float(np.cos(angle)), 2.5 * float(np.sin(angle))
        result = solve_exactly(data, persistent_current(5, alpha, delta, mu=1.0, dissipator_distance=2))
        rows.append((angle, mean_current(result), mean_current(result, distance=2), mean_z(result)))
    data.add("angles", dict(zip(("theta", *names[1:]), np.array(rows).T, strict=True)))
    return data
