"""Sizes: rings and open chains of the minimal model (Fig. 5), and the cascaded (unidirectional) chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...methods import TEBD
from ...model import Lindbladian
from ...models import persistent_current
from ...observables import current, profile, purity
from ...plotting import COLOURS, MARKERS, new_figure
from ..base import FigureData
from .common import CORRECTED_SIGN, EXACT, PAPER, mean_current, mean_z, solve, solve_exactly

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cascaded", "cascaded_chain", "fig5"]

BULK = 0.8596182  # independent matrix-product value of the infinite open chain at (2, 1, mu 1), +- 5e-7


def draw_fig5(data: FigureData) -> Figure:
    """Draw the ring current over the size and the current along open chains."""
    figure, axes = new_figure(1, 3, width=4.3, height=3.4)
    rings = data.tables["rings"]
    axes[0, 0].plot(rings["L"], rings["current"], "o-", color=COLOURS[0])
    axes[0, 0].set_xlabel("ring size L")
    axes[0, 0].set_ylabel(r"$\langle I^\eta\rangle$ (energy)")
    axes[0, 0].set_title(r"rings, $\alpha$ = 2, $\delta$ = 1.5")
    for place in axes[0, 1:]:
        for number, L in enumerate(np.unique(data.tables["open_bonds"]["L"])):
            rows = data.select("open_bonds", L=L)
            place.plot(
                rows["position/L"], rows["current"], marker=MARKERS[number], color=COLOURS[number], linewidth=0.9,
                label=f"L = {int(L)}",
            )  # fmt: skip
        place.set_xlabel(r"position of the bond, $(j+1)/L$")
        place.set_ylabel(r"$\langle I^\eta\rangle$ (energy)")
        place.axhline(BULK, color="0.3", linestyle=":", linewidth=1.0)
    axes[0, 1].set_title(r"open chains, $\alpha$ = 2, $\delta$ = 1")
    axes[0, 1].legend()
    axes[0, 2].set_ylim(BULK - 0.0022, BULK + 0.0022)
    axes[0, 2].set_title("the plateau, enlarged")
    return figure


@PAPER.add("fig5", draw_fig5)
def fig5(quick: bool = False) -> FigureData:
    """Return the ring currents for L = 3..9 and the profiles of open chains up to L = 30."""
    data = FigureData(
        "fig5",
        "Size dependence of the dissipative current, $\\mu$ = 1",
        parameters={
            "mu": 1.0,
            "rings": "alpha = 2, delta = 1.5, ExactDiag",
            "open chains": "alpha = 2, delta = 1, ExactDiag to L = 6, TEBD beyond (tol 1e-5)",
        },
        notes=(
            CORRECTED_SIGN,
            "both boundary conditions share one limit; deviations of rings alternate and shrink by about 0.56 per site",
            f"dotted line: bulk value {BULK} of the infinite open chain (independent calculation)",
            "error: the estimate of the certificate; position of the bond (j, j+1): (j+1)/L",
        ),
    )
    rings = []
    for L in (3, 4, 5) if quick else range(3, 10):
        result = solve_exactly(data, persistent_current(L, 2.0, 1.5, mu=1.0))
        rings.append((L, mean_current(result), mean_z(result), float(result.expect(purity()))))
    data.add("rings", dict(zip(("L", "current", "sigma_z", "purity"), np.array(rings).T, strict=True)))
    bonds, sites = [], []
    for L in (4, 6) if quick else (6, 10, 20, 30):
        model = persistent_current(L, 2.0, 1.0, mu=1.0, periodic=False)
        small = L <= 6
        solved = solve(data, model, EXACT if small else TEBD(), tol=1e-9 if small else 1e-5)
        flow, error = solved.expect(current(model), error=True)
        polarisation, error_z = solved.expect(profile(model, "Z"), error=True)
        bonds += [(L, j, (j + 1) / L, flow[j], error[j]) for j in range(L - 1)]
        sites += [(L, j, polarisation[j], error_z[j]) for j in range(L)]
    data.add("open_bonds", dict(zip(("L", "bond", "position/L", "current", "error"), np.array(bonds).T, strict=True)))
    data.add("open_sites", dict(zip(("L", "site", "sigma_z", "error"), np.array(sites).T, strict=True)))
    return data


# ----------------------------------------------------------------------------------------------------------------------


def cascaded_chain(L: int) -> Lindbladian:
    """Return an open chain in which every bond obeys J = (i/2) eta^*, lambda = (i/2) xi^*: influence runs to the right.

    With eta = alpha gamma^* - delta beta^* and xi = alpha delta^* - gamma beta^* the Hamiltonian coupling cancels the
    back-action of the dissipator, so that the state of sites 0..k does not depend on anything behind the bond
    (k, k+1), apart from the local dissipator this bond leaves on site k.

    Examples
    --------
    >>> chain = cascaded_chain(3)
    >>> chain.is_nearest_neighbour
    True
    """
    alpha, beta, gamma, delta = 1.1, 0.4, 0.8 - 0.3j, 0.5 + 0.2j
    eta = alpha * np.conj(gamma) - delta * np.conj(beta)
    xi = alpha * np.conj(delta) - gamma * np.conj(beta)
    return persistent_current(
        L, alpha, delta, beta=beta, gamma=gamma, mu=1.0, J=complex(0.5j * np.conj(eta)),
        lam=complex(0.5j * np.conj(xi)), eps_x=0.3, periodic=False,
    )  # fmt: skip


def draw_cascaded(data: FigureData) -> Figure:
    """Draw the profiles and how little the left part changes when sites are added."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure(1, 2, width=5.0, height=3.4)
    table = data.tables["profile"]
    sizes = np.unique(table["L"])
    for number, L in enumerate(sizes):
        rows = data.select("profile", L=L)
        axes[0, 0].plot(
            rows["site"], rows["sigma_z"], marker=MARKERS[number], color=COLOURS[number], linewidth=0.9,
            label=f"L = {int(L)}",
        )  # fmt: skip
    axes[0, 0].set_xlabel("site")
    axes[0, 0].set_ylabel(r"$\langle\sigma^z\rangle$")
    axes[0, 0].legend()
    changes = data.tables["change"]
    for number, L in enumerate(np.unique(changes["L"])):
        rows = data.select("change", L=L)
        axes[0, 1].semilogy(
            rows["site"], np.maximum(rows["change"], 1e-17),
            color=COLOURS[number], marker=MARKERS[number], linewidth=0.9,
            label=f"L = {int(L)} against L = {int(sizes[-1])}",
        )  # fmt: skip
        axes[0, 1].semilogy(
            rows["site"], rows["error"], ":", color=COLOURS[number],
            label="sum of both claimed errors" if number == 0 else None,
        )  # fmt: skip
    axes[0, 1].set_xlabel("site (the last one of the shorter chain left out)")
    axes[0, 1].set_ylabel(r"change of $\langle\sigma^z\rangle$")
    axes[0, 1].set_ylim(bottom=max(changes["change"].min(), 1e-15) * 1e-4)
    axes[0, 1].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 1].legend(loc="lower right")
    return figure


@PAPER.add("cascaded", draw_cascaded)
def cascaded(quick: bool = False) -> FigureData:
    """Return profiles of the unidirectional chain for growing L: what stands on the left does not change."""
    sizes = (3, 4, 5) if quick else (5, 10, 20, 40)
    data = FigureData(
        "cascaded",
        "Unidirectional chain: sites added on the right leave the left unchanged",
        parameters={
            "alpha, beta, gamma, delta": "1.1, 0.4, 0.8-0.3j, 0.5+0.2j",
            "J, lambda": "(i/2) eta^*, (i/2) xi^*",
            "mu": 1.0,
            "eps_x": 0.3,
            "boundary": "open",
            "method": "ExactDiag to L = 5, TEBD beyond (tol 1e-5)",
        },
        notes=(
            "the paper's condition eta = 2iJ, xi = 2i lambda holds for real J and lambda; in general eta = 2i J^*, "
            "xi = 2i lambda^*",
            "the last site of a chain lacks the dissipator of the next bond and is not compared",
        ),
    )
    rows, profiles = [], {}
    for L in sizes:
        model = cascaded_chain(L)
        small = L <= 5
        result = solve(data, model, EXACT if small else TEBD(), tol=1e-9 if small else 1e-5)
        values, error = result.expect(profile(model, "Z"), error=True)
        flow, flow_error = result.expect(current(model, "J"), error=True)
        profiles[L] = (values, np.nan_to_num(error))
        for j in range(L):
            last = j == L - 1
            rows.append((L, j, values[j], error[j], np.nan if last else flow[j], np.nan if last else flow_error[j]))
    names = ("L", "site", "sigma_z", "error", "I_J_to_the_right", "I_J_error")
    data.add("profile", dict(zip(names, np.array(rows).T, strict=True)))
    longest, longest_error = profiles[sizes[-1]]
    changes = []
    for L in sizes[:-1]:
        values, error = profiles[L]
        for j in range(L - 1):
            changes.append((L, j, abs(values[j] - longest[j]), error[j] + longest_error[j]))
    data.add("change", dict(zip(("L", "site", "change", "error"), np.array(changes).T, strict=True)))
    return data
