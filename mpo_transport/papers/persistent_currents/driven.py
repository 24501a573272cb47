"""Rings driven through a flux: with pairing and loss (Fig. 2), and the closed ring in its ground state (Fig. 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...models import persistent_current
from ...observables import current, negativity
from ...plotting import COLOURS, draw_curves, draw_map, new_figure
from ...reference.persistent_currents import flux_ground_state
from ...superoperator import operator_matrix
from ..base import FigureData
from .common import PAPER, mean_current, mean_z, solve_exactly

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fig2", "fig7", "ground_state_current"]


def draw_fig2(data: FigureData) -> Figure:
    """Draw the current over the flux and the two maps over (flux, loss)."""
    figure, axes = new_figure(1, 3, width=4.6, height=3.5)
    curve = data.tables["curve"]
    x = curve["phi/pi"]
    draw_curves(
        axes[0, 0], x, {"current $I^J$": curve["I_J"], "negativity $N(\\rho_{01})$": curve["negativity_01"]},
        xlabel=r"total flux $\phi/\pi$", ylabel=r"current (energy), negativity", zero=True,
    )  # fmt: skip
    axes[0, 0].set_title(r"$\kappa = 0.1$")
    grid = data.tables["map"]
    phi, kappa = np.unique(grid["phi/pi"]), np.unique(grid["kappa"])
    for place, column, label in (
        (axes[0, 1], "I_J", r"$\langle I^J\rangle$ (energy)"),
        (axes[0, 2], "negativity_01", r"$N(\rho_{01})$"),
    ):
        draw_map(
            place, phi, kappa, grid[column].reshape(len(kappa), len(phi)),
            xlabel=r"total flux $\phi/\pi$", ylabel=r"loss $\kappa$ (energy)", label=label,
        )  # fmt: skip
    return figure


@PAPER.add("fig2", draw_fig2)
def fig2(quick: bool = False) -> FigureData:
    """Return the hopping current and two-site negativity of the flux-driven ring with pairing and local loss, L = 4."""
    data = FigureData(
        "fig2",
        "Flux-driven ring with pairing and local loss, L = 4",
        parameters={"L": 4, "J0": 1.5, "lambda": 0.5, "mu": 1.0, "alpha": 0.0, "delta": 0.0, "method": "ExactDiag"},
        notes=(
            "J = J0 exp(i phi/L): phi is the total flux; I^J = 2i(J s-_j s+_i - h.c.) on the bond (i, j), Eq. (14)",
            "the current is odd in phi and about phi = pi L/2; the period is pi L, as pairing breaks the U(1) symmetry",
            "the symmetry 'around phi = pi/2' in the text of the paper is one of the phase per bond, phi/L",
        ),
    )
    turns = np.array([0.25, 0.5, 1.0, 2.0]) if quick else np.arange(65) / 16
    rows = [_driven_point(data, 4, turn, 0.1) for turn in turns]
    data.add(
        "curve", dict(zip(("I_J", "sigma_z", "negativity_01"), np.array(rows).T, strict=True), **{"phi/pi": turns})
    )
    turns = np.array([0.5, 1.5]) if quick else np.arange(25) / 6
    losses = np.array([1.0, 5.0, 12.0]) if quick else np.concatenate([[0.1], np.arange(1, 25) / 2])
    values = np.array([_driven_point(data, 4, turn, kappa) for kappa in losses for turn in turns])
    columns = {"phi/pi": np.tile(turns, len(losses)), "kappa": np.repeat(losses, len(turns))}
    data.add("map", columns | dict(zip(("I_J", "sigma_z", "negativity_01"), values.T, strict=True)))
    return data


def _driven_point(data: FigureData, L: int, turn: float, kappa: float) -> tuple[float, float, float]:
    model = persistent_current(L, 0.0, 0.0, mu=1.0, J=1.5, lam=0.5, kappa=float(kappa), flux=float(np.pi * turn))
    result = solve_exactly(data, model)
    return mean_current(result, "J"), mean_z(result), float(result.expect(negativity([0], [1])))


# ----------------------------------------------------------------------------------------------------------------------


def ground_state_current(L: int, phi: float, J0: float = 1.0) -> tuple[float, float, float, float]:
    """Return (E0, <I^J>, <N>, S(rho_01)) of the closed ring H = sum J0 e^{i phi/L} s+_j s-_{j+1} + h.c., exactly.

    Examples
    --------
    >>> energy, flow, particles, entropy = ground_state_current(4, 0.5 * np.pi)
    >>> bool(abs(energy + 2 * np.sqrt(2) * np.cos(np.pi / 8)) < 1e-12)
    True
    >>> bool(abs(flow - np.sqrt(2) * np.sin(np.pi / 8)) < 1e-12)
    True
    """
    model = persistent_current(L, 0.0, 0.0, mu=0.0, J=J0, flux=phi)
    energies, vectors = np.linalg.eigh(operator_matrix(model.lattice, model.hamiltonian).toarray())
    psi = vectors[:, 0]
    flow = np.mean([
        np.vdot(psi, operator_matrix(model.lattice, o) @ psi).real for o in current(model, "J").operators
    ])  # fmt: skip
    halves = psi.reshape(4, -1)
    weights = np.linalg.svd(halves, compute_uv=False) ** 2
    weights = weights[weights > 1e-300]
    index = np.arange(len(psi))
    down = sum((index >> bit) & 1 for bit in range(L))
    return (
        float(energies[0]),
        float(flow),
        float(np.sum(np.abs(psi) ** 2 * (L - down))),
        float(-np.sum(weights * np.log(weights))),
    )


def draw_fig7(data: FigureData) -> Figure:
    """Draw energy, current and entropy over the flux, exact points on closed-form lines."""
    figure, axes = new_figure(1, 3, width=4.2, height=3.4)
    table = data.tables["flux"]
    fine = np.linspace(-2, 2, 402)
    for colour, L in zip(COLOURS, np.unique(table["L"]), strict=False):
        rows = data.select("flux", L=L)
        closed = [flux_ground_state(int(L), 1.0, np.pi * turn) for turn in fine]
        lines = ([c.energy for c in closed], [c.current for c in closed], [c.entropy for c in closed])
        for place, column, line in zip(axes[0], ("E0", "I_J", "S_01"), lines, strict=True):
            broken = np.where(np.abs(np.diff(line, prepend=line[0])) > 0.1, np.nan, line)
            place.plot(fine, broken, color=colour, linewidth=0.9)
            place.plot(rows["phi/pi"], rows[column], "o", color=colour, markersize=2.8, label=f"L = {int(L)}")
    for place, label in zip(
        axes[0], (r"$E_0$ (energy)", r"$\langle I^J\rangle$ (energy)", r"$S(\rho_{01})$"), strict=True
    ):
        place.set_xlabel(r"total flux $\phi/\pi$")
        place.set_ylabel(label)
    axes[0, 2].legend(loc="center", bbox_to_anchor=(0.5, 0.62))
    axes[0, 0].set_title("points: exact diagonalisation; lines: free fermions", fontsize=8.5)
    return figure


@PAPER.add("fig7", draw_fig7)
def fig7(quick: bool = False) -> FigureData:
    """Return the ground-state flux current of closed rings, with the free-fermion closed form."""
    data = FigureData(
        "fig7",
        "Ground-state current of the closed ring",
        parameters={"J0": 1.0, "mu": 0.0, "lambda": 0.0, "method": "exact diagonalisation of H"},
        notes=(
            "<I^J> = +2 dE0/dphi with I^J of Eq. (14) (sigma^z counts a particle twice); the paper prints -dE/dphi",
            "Eq. (B2) of the paper has the phase on s-_j s+_{j+1}; it belongs to s+_j s-_{j+1}",
            "level crossings at odd multiples of phi = pi are left out",
            "L = 4: E0 = -2 sqrt(2) cos(phi/4), <I^J> = sqrt(2) sin(phi/4) for |phi| < pi",
        ),
    )
    turns = np.array([-0.5, 0.25, 0.5, 0.9]) if quick else np.setdiff1d(np.arange(-32, 33), [-16, 16]) / 16
    rows = []
    for L in (4,) if quick else (4, 6, 8):
        for turn in turns:
            closed = flux_ground_state(L, 1.0, np.pi * turn)
            rows.append(
                (L, turn, *ground_state_current(L, np.pi * turn), closed.energy, closed.current, closed.entropy)
            )
    names = ("L", "phi/pi", "E0", "I_J", "N", "S_01", "E0_closed", "I_J_closed", "S_01_closed")
    data.add("flux", dict(zip(names, np.array(rows).T, strict=True)))
    return data
