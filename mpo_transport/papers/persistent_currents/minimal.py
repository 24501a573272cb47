"""The minimal model: cluster mean field over the plane (Fig. 3), exact four-site ring against it (Fig. 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...methods import ClusterMeanField
from ...models import persistent_current
from ...observables import current, negativity, profile, purity
from ...plotting import COLOURS, draw_map, new_figure
from ...reference.persistent_currents import pair_mean_field
from ..base import FigureData
from .common import CORRECTED_SIGN, PAPER, angle_grid, mean_current, mean_z, normalised, solve, solve_exactly

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fig3", "fig4"]

CMF_COLUMNS = ("current", "sigma_z", "negativity", "purity")
BRANCH = (
    "cluster mean field of size 2, symmetric branch (<s-> = 0), as the paper imposes; it is unstable at strong "
    "dissipation, where the broken branch takes over"
)
CORRECTED_CMF = "rho_22, rho_23 and rho_14 of appendix C corrected: the printed set violates Tr rho = 1"


def _closed_form(alpha: np.ndarray, delta: np.ndarray, mu: float = 1.0) -> dict[str, np.ndarray]:
    pair = pair_mean_field(alpha, delta, mu)
    return {name: np.asarray(getattr(pair, name)) + 0.0 for name in CMF_COLUMNS}


def _method_point(data: FigureData, alpha: float, delta: float) -> tuple[float, float, float, float]:
    ring = persistent_current(4, float(alpha), float(delta), mu=1.0)
    result = solve(data, ring, ClusterMeanField(size=2, branch="symmetric"), tol=1e-9)
    return (
        float(result.expect(current(ring))[0]),
        float(result.expect(profile(ring, "Z"))[0]),
        float(result.expect(negativity([0], [1]))),
        float(result.expect(purity([0, 1]))),
    )


def draw_fig3(data: FigureData) -> Figure:
    """Draw the four maps over (alpha, delta)."""
    figure, axes = new_figure(2, 2, width=4.6, height=3.7)
    table = data.tables["map"]
    alpha, delta = np.unique(table["alpha"]), np.unique(table["delta"])
    for place, column, label in zip(
        axes.flat,
        ("current_normalised", "sigma_z", "negativity", "purity"),
        (r"$\langle I^\eta\rangle/|\alpha^2-\delta^2|$", r"$\langle\sigma^z\rangle$", r"negativity $N$", "purity"),
        strict=True,
    ):
        values = table[column].reshape(len(delta), len(alpha))
        draw_map(
            place, alpha, delta, values,
            xlabel=r"loss amplitude $\alpha$", ylabel=r"gain amplitude $\delta$", label=label,
        )  # fmt: skip
        place.set_aspect("equal")
    return figure


@PAPER.add("fig3", draw_fig3)
def fig3(quick: bool = False) -> FigureData:
    """Return the cluster mean-field maps from the closed form, checked by the method at a few points."""
    data = FigureData(
        "fig3",
        "Two-site cluster mean field, symmetric branch",
        parameters={"mu": 1.0, "unit of alpha and delta": "sqrt(mu)", "method": "closed form"},
        notes=(BRANCH, CORRECTED_CMF, CORRECTED_SIGN),
    )
    grid = np.array([0.5, 1.0, 2.0]) if quick else np.arange(81) / 20
    alpha, delta = np.tile(grid, len(grid)), np.repeat(grid, len(grid))
    columns = {"alpha": alpha, "delta": delta} | _closed_form(alpha, np.where(alpha + delta > 0, delta, 1.0))
    columns["current_normalised"] = normalised(columns["current"], alpha, delta)
    # at the origin nothing is dissipated and no state is singled out
    for name in (*CMF_COLUMNS, "current_normalised"):
        columns[name] = np.where(alpha + delta > 0, columns[name], np.nan)
    data.add("map", columns)
    checks = (
        [(2.0, 1.0), (0.7, 1.6)] if quick else [(0.5, 0.2), (1.0, 0.5), (2.0, 1.0), (2.0, 1.9), (0.7, 1.6), (3.5, 0.5)]
    )
    at = dict(zip(("alpha", "delta"), np.array(checks).T, strict=True))
    solved = np.array([_method_point(data, a, d) for a, d in checks])
    closed = _closed_form(at["alpha"], at["delta"])
    difference = np.abs(solved - np.array([closed[n] for n in CMF_COLUMNS]).T).max(axis=1)
    data.add("check", at | dict(zip(CMF_COLUMNS, solved.T, strict=True)) | {"difference_from_closed_form": difference})
    return data


def draw_fig4(data: FigureData) -> Figure:
    """Draw exact values (lines) and cluster mean field (dashes) over the angle, for every radius."""
    panels = (
        ("current", "current", r"$\langle I^\eta\rangle$ (energy)"),
        ("current_normalised", "current_normalised", r"$\langle I^\eta\rangle/|\alpha^2-\delta^2|$"),
        ("sigma_z", "sigma_z", r"$\langle\sigma^z\rangle$"),
        ("negativity_01", "negativity", r"$N(\rho_{01})$"),
        ("negativity_half", None, r"$N(01|23)$, whole ring"),
        ("purity_01", "purity", r"purity of $\rho_{01}$"),
        ("purity_full", None, "purity of the whole ring"),
    )
    figure, axes = new_figure(2, 4, width=3.5, height=2.9)
    radii = np.unique(data.tables["ed"]["r"])
    for place, (exact, mean_field, label) in zip(axes.flat, panels, strict=False):
        for colour, r in zip(COLOURS, radii, strict=False):
            rows = data.select("ed", r=r)
            place.plot(rows["theta"] / np.pi, rows[exact], color=colour, label=f"r = {r:g}")
            if mean_field is not None:
                rows = data.select("cmf", r=r)
                place.plot(rows["theta"] / np.pi, rows[mean_field], "--", color=colour, linewidth=1.1)
        place.set_xlabel(r"$\theta/\pi$")
        place.set_ylabel(label)
    last = axes.flat[-1]
    last.axis("off")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    last.plot([], [], "-", color="0.3", label="exact, L = 4 ring")
    last.plot([], [], "--", color="0.3", label="cluster mean field")
    extra, names = last.get_legend_handles_labels()
    last.legend(handles + extra, labels + names, loc="center", fontsize=10)
    return figure


@PAPER.add("fig4", draw_fig4)
def fig4(quick: bool = False) -> FigureData:
    """Return the exact L = 4 ring and the cluster mean field along circles (alpha, delta) = r (cos, sin) theta."""
    data = FigureData(
        "fig4",
        r"Minimal model, $(\alpha, \delta) = r(\cos\theta, \sin\theta)$",
        parameters={
            "L": 4,
            "mu": 1.0,
            "unit of r": "sqrt(mu)",
            "method": "ExactDiag; closed form of cluster mean field",
        },
        notes=(
            BRANCH,
            CORRECTED_CMF,
            CORRECTED_SIGN,
            "the paper's vertical scale, bipartition of the negativity and purity cannot be decided from its text: the "
            "bare current and I/|alpha^2 - delta^2|, both negativities and both purities are given",
            "theta = 0 and pi/2 are left out: there the steady state is not unique",
        ),
    )
    theta = angle_grid(quick, (2,))
    exact = []
    for r in (1.0, 2.0, 5.0):
        for angle in theta:
            alpha, delta = r * np.cos(angle), r * np.sin(angle)
            if abs(angle - np.pi / 4) < 1e-12:
                alpha = delta  # cos and sin of pi/4 differ in the last digit; on the diagonal the current is exactly 0
            result = solve_exactly(data, persistent_current(4, float(alpha), float(delta), mu=1.0))
            flow = mean_current(result)
            exact.append((
                r, angle, flow, float(normalised(flow, alpha, delta)), mean_z(result),
                result.expect(negativity([0], [1])), result.expect(negativity([0, 1], [2, 3])),
                result.expect(purity([0, 1])), result.expect(purity()),
            ))  # fmt: skip
    names = (
        "r", "theta", "current", "current_normalised", "sigma_z", "negativity_01", "negativity_half", "purity_01",
        "purity_full",
    )  # fmt: skip
    data.add("ed", dict(zip(names, np.array(exact, dtype=float).T, strict=True)))
    at_r, at_theta = np.repeat((1.0, 2.0, 5.0), len(theta)), np.tile(theta, 3)
    alpha, delta = at_r * np.cos(at_theta), at_r * np.sin(at_theta)
    columns = {"r": at_r, "theta": at_theta} | _closed_form(alpha, delta)
    data.add("cmf", columns | {"current_normalised": normalised(columns["current"], alpha, delta)})
    return data
