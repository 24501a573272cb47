"""Long cascades, counting statistics three ways, and the noise between baths against the reciprocal coupling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ... import counting
from ...methods import ExactDiag
from ...methods.gaussian import Gaussian
from ...model import Lindbladian
from ...models import cascaded_chain, heat_rectifier
from ...plotting import COLOURS, new_figure
from ...reference.heat_rectifier import cascade_flows, rectifier_network
from ..base import FigureData
from .common import PAPER, PHASE_SIGN, equal_rates, flows, solved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["chain"]

LOW: dict[str, Any] = {
    "omega_1": 0.0, "omega_2": 0.6, "gamma_1": 1.0, "gamma_2": 1.0, "kappa_1": 1.0, "kappa_2": 1.0, "F": 0.3 + 0.4j,
    "theta": 0.7, "N": (0.2, 0.05, 0.1),
}  # fmt: skip


def draw_chain(data: FigureData) -> Figure:
    """Draw the flow profile, the share of the common bath, theta(s) and the noise matrix."""
    figure, axes = new_figure(2, 2, width=4.8, height=3.4)
    lengths = np.unique(data.tables["profile"]["length"]).astype(int)
    for colour, length in zip(COLOURS, lengths, strict=False):
        rows = data.select("profile", length=length)
        hot = rows["site"] > 0
        axes[0, 0].semilogy(rows["site"][hot] + 1, rows["eta"][hot], color=colour, label=f"$N = {length}$")
        axes[0, 0].semilogy(
            rows["site"][hot] + 1, rows["closed"][hot], "o", color=colour, markersize=3, fillstyle="none"
        )
    axes[0, 0].set_xlabel("oscillator")
    axes[0, 0].set_ylabel(r"flow into its bath / $\kappa$")
    rows = data.tables["common"]
    axes[0, 1].loglog(rows["length"], rows["eta_common"], color=COLOURS[0], label="Gaussian steady state")
    axes[0, 1].loglog(rows["length"], rows["closed"], "o", color=COLOURS[0], fillstyle="none", label="closed form")
    slope = rows["closed"][-1] * np.sqrt(rows["length"][-1] / rows["length"])
    axes[0, 1].loglog(rows["length"], slope, ":", color="0.5", label=r"$N^{-1/2}$")
    axes[0, 1].set_xlabel("length of the cascade")
    axes[0, 1].set_ylabel(r"flow into the common bath / $\kappa$")
    theta = data.tables["theta"]
    axes[1, 0].plot(theta["s_1"], theta["riccati"], color=COLOURS[0], label="Riccati")
    axes[1, 0].plot(theta["s_1"], theta["scattering"], "x", color=COLOURS[1], label="scattering determinant")
    axes[1, 0].plot(theta["s_1"], theta["liouvillian"], "o", color=COLOURS[2], fillstyle="none", label="Liouvillian")
    axes[1, 0].set_xlabel(r"$s_1$")
    axes[1, 0].set_ylabel(r"$\theta(s_1, 0, 0)/\kappa$")
    noise = data.tables["noise"]
    for number, name in enumerate(("K_11", "K_22", "K_33", "K_12", "K_13", "K_23")):
        style = "-" if name[2] == name[3] else "--"
        axes[1, 1].plot(
            noise["F"], noise[name], style, color=COLOURS[number % len(COLOURS)], label=f"$K_{{{name[2:]}}}$"
        )
    axes[1, 1].set_xlabel(r"$F/\kappa$")
    axes[1, 1].set_ylabel(r"zero-frequency noise / $\kappa$")
    for place in axes.flat:
        place.legend(fontsize=8)
    return figure


@PAPER.add("chain", draw_chain)
def chain(quick: bool = False) -> FigureData:
    """Return flows along resonant cascades, theta(s) by three methods, and the noise matrix against F."""
    data = FigureData(
        "chain",
        "Cascades of oscillators, counting statistics and noise",
        parameters={
            "profile, common": "all rates 1, resonant, F = 0, only bath_1 hot (N_1 = 1)",
            "theta": str(LOW),
            "noise": "rates 1, Delta = 0.5, theta = 0, N = (1, 0.2, 0.5), F real",
        },
        notes=(
            PHASE_SIGN,
            "theta(s) = lim ln <exp(-sum_j s_j K_j)>/t with K_j the quanta emitted into bath j; the printed Riccati "
            "equation needs F_-/2 in place of F_- and the inhomogeneous term F_+/4",
        ),
    )
    rows = []
    for length in (3, 6) if quick else (5, 20, 40):
        result = solved(data, _cascade(length))
        eta = flows(result, [f"bath_{k + 1}" for k in range(length)])
        closed = cascade_flows(length, 1.0).local
        rows += [(length, site, eta[site], closed[site]) for site in range(length)]
    data.add("profile", dict(zip(("length", "site", "eta", "closed"), np.array(rows).T, strict=True)))
    lengths = (2, 4) if quick else (2, 3, 5, 8, 12, 20, 30, 50, 80, 120)
    common = [float(flows(solved(data, _cascade(n)), ["common"])[0]) for n in lengths]
    closed_common = [cascade_flows(n, 1.0).common for n in lengths]
    data.add("common", {"length": np.array(lengths), "eta_common": np.array(common), "closed": np.array(closed_common)})
    data.add("theta", _theta(quick))
    F = np.linspace(-3, 3, 5 if quick else 61)
    noise = np.array([
        counting.noise_matrix(equal_rates((1.0, 0.2, 0.5), F=complex(f), Delta=0.5), method=Gaussian()) for f in F
    ])  # fmt: skip
    pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    data.add("noise", {"F": F} | {f"K_{i + 1}{j + 1}": noise[:, i, j] for i, j in pairs})
    return data


def _cascade(length: int) -> Lindbladian:
    ones = [1.0] * length
    return cascaded_chain([0.0] * length, ones, ones, [1.0] + [0.0] * (length - 1), 0.0)


def _theta(quick: bool) -> dict[str, np.ndarray]:
    s = np.linspace(-0.8, 0.8, 3 if quick else 17)
    model, network = heat_rectifier(**LOW), rectifier_network(**LOW)
    truncated = heat_rectifier(**LOW, levels=4 if quick else 8)
    columns: dict[str, list[float]] = {"riccati": [], "scattering": [], "liouvillian": []}
    for value in s:
        field = {"bath_1": float(value)}
        columns["riccati"].append(float(np.real(counting.generating_function(model, field, method=Gaussian()))))
        columns["scattering"].append(float(np.real(network.theta_by_scattering((float(value), 0.0, 0.0)))))
        exact = counting.generating_function(truncated, field, method=ExactDiag())
        columns["liouvillian"].append(float(np.real(exact)))
    return {"s_1": s} | {name: np.array(values) for name, values in columns.items()}
