"""Where the two-mode model describes the optomechanical device: rectification against gamma_m/kappa."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ...models import heat_rectifier, optomechanical_rectifier
from ...plotting import COLOURS, new_figure
from ...reference.heat_rectifier import map_optomechanics, rectifier_network, three_mode_network
from ..base import FigureData
from .common import BATHS, EXPERIMENT, PAPER, flows, occupations_of, solved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["validity"]

MECHANICAL = ("bath_1", "bath_2", "mechanical")
N_FLAT = (1.0, 0.2, 0.5)


def draw_validity(data: FigureData) -> Figure:
    """Draw contrast and occupations against gamma_m/kappa, and the transmission around omega_m for printed numbers."""
    figure, axes = new_figure(1, 3, width=4.3, height=3.5)
    rows = data.tables["bandwidth"]
    ratio = rows["gamma_m_over_kappa"]
    axes[0, 0].semilogx(ratio, rows["contrast"], color=COLOURS[0], label="three modes")
    axes[0, 0].axhline(1.0, color=COLOURS[1], linestyle="--", label="two-mode model")
    printed = data.tables["printed"]
    axes[0, 0].plot([5e-5], printed["contrast"][:1], "s", color=COLOURS[2], label="printed numbers")
    axes[0, 0].set_ylabel(r"contrast $(T_{21}-T_{12})/(T_{21}+T_{12})$")
    for number, (name, limit) in enumerate((("n_1", 0.75), ("n_2", 0.475))):
        axes[0, 1].semilogx(ratio, rows[name], color=COLOURS[number], label=f"${name}$, three modes")
        axes[0, 1].axhline(limit, color=COLOURS[number], linestyle="--", linewidth=1, label=f"${name}$, two modes")
    axes[0, 1].set_ylabel("occupation")
    for place in axes[0, :2]:
        place.set_xlabel(r"$\gamma_m/\kappa$")
    window = data.tables["window"]
    axes[0, 2].semilogx(window["detuning_Hz"], window["S_12_squared"], color=COLOURS[0], label=r"$|S_{12}|^2$")
    axes[0, 2].semilogx(window["detuning_Hz"], window["S_21_squared"], color=COLOURS[1], label=r"$|S_{21}|^2$")
    axes[0, 2].axvline(2e6, color="0.5", linestyle=":", label=r"$\kappa/2\pi$")
    axes[0, 2].set_xlabel(r"$|\omega-\omega_m|/2\pi$ (Hz)")
    axes[0, 2].set_title("printed numbers, three modes", fontsize=10)
    for place in axes[0]:
        place.legend(fontsize=8)
    return figure


@PAPER.add("validity", draw_validity)
def validity(quick: bool = False) -> FigureData:
    """Return contrast and occupations of the three-mode model against gamma_m/kappa, and the printed experiment."""
    data = FigureData(
        "validity",
        "The two-mode model needs a mechanical mode broader than the cavities",
        parameters={
            "bandwidth": "4 G^2/gamma_m = kappa = 1, J = kappa/2, phi = pi/2, N = (1, 0.2, 0.5)",
            "printed": f"{EXPERIMENT}, N = (1, 0, 0.5), units 2 pi MHz",
        },
        notes=(
            "the two-mode model holds for gamma_m >> kappa, with an error of order kappa/gamma_m",
            "the printed experimental numbers have gamma_m/kappa = 5e-5: the full model then rectifies only in a "
            "window of width gamma_m around omega_m and shows essentially no rectification of broadband heat",
            "T_ij = d(flow into bath i)/d N_j",
        ),
    )
    rows = []
    for ratio in np.logspace(-5, 4, 7 if quick else 46):
        gamma_m = float(ratio)
        G = math.sqrt(gamma_m) / 2
        cell = {
            "Delta_1": 0.0, "Delta_2": 0.0, "omega_m": 0.0, "J": 0.5, "G_1": G, "G_2": G, "phi": math.pi / 2,
            "kappa_1": 1.0, "kappa_2": 1.0, "gamma_m": gamma_m,
        }  # fmt: skip
        result = solved(data, optomechanical_rectifier(**cell, N=N_FLAT))
        network = three_mode_network(**cell, N=N_FLAT)
        T12, T21 = network.transmission(0, 1), network.transmission(1, 0)
        rows.append((ratio, (T21 - T12) / (T21 + T12), *occupations_of(result), *flows(result, MECHANICAL)))
    names = ("gamma_m_over_kappa", "contrast", "n_1", "n_2", "n_b", "eta_1", "eta_2", "eta_m")
    data.add("bandwidth", dict(zip(names, np.array(rows).T, strict=True)))
    data.add("printed", _printed(data))
    network = three_mode_network(**EXPERIMENT, N=(1.0, 0.0, 0.5))
    detuning = np.logspace(0, 7, 8 if quick else 141)
    S = np.array([np.abs(network.scattering(6.0 + 1e-6 * d)) ** 2 for d in detuning])
    data.add("window", {"detuning_Hz": detuning, "S_12_squared": S[:, 0, 1], "S_21_squared": S[:, 1, 0]})
    return data


def _printed(data: FigureData) -> dict[str, np.ndarray]:
    """Full (RWA), full (counter-rotating terms kept) and effective model at the printed numbers."""
    N = (1.0, 0.0, 0.5)
    full = optomechanical_rectifier(**EXPERIMENT, N=N)
    at = map_optomechanics(EXPERIMENT["omega_m"], **{k: v for k, v in EXPERIMENT.items() if not k.startswith("kappa")})
    kept: dict[str, Any] = {
        "omega_1": at.omega[0], "omega_2": at.omega[1], "gamma_1": at.gamma[0], "gamma_2": at.gamma[1],
        "kappa_1": EXPERIMENT["kappa_1"], "kappa_2": EXPERIMENT["kappa_2"], "F": at.F, "theta": at.theta,
    }  # fmt: skip
    mapped = heat_rectifier(**kept, N=N)
    networks = (three_mode_network(**EXPERIMENT, N=N), rectifier_network(**kept, N=N))
    contrast = []
    for network in networks:
        T12, T21 = network.transmission(0, 1), network.transmission(1, 0)
        contrast.append((T21 - T12) / (T21 + T12))
    rows = []
    for name, model, baths, value in (
        ("three modes, RWA", full, MECHANICAL, contrast[0]),
        ("three modes, no RWA", optomechanical_rectifier(**EXPERIMENT, N=N, rwa=False), MECHANICAL, np.nan),
        ("two modes at omega_m", mapped, BATHS, contrast[1]),
    ):
        result = solved(data, model)
        n = occupations_of(result)
        rows.append((name, *n[:2], n[2] if len(n) > 2 else np.nan, *flows(result, baths), value))
    names = ("model", "n_1", "n_2", "n_b", "eta_1", "eta_2", "eta_3", "contrast")
    return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
