"""Two-tone drives: squeezed phonons that the light carries around a ring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...methods.gaussian import Gaussian
from ...models import two_tone_lattice
from ...observables import profile
from ...plotting import COLOURS, new_figure
from ...result import Result
from ..base import FigureData, solve
from .common import PAPER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["two_tone"]

RING = {"L": 5, "edges": [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]]}


def draw_two_tone(data: FigureData) -> Figure:
    """Draw phonon numbers of both pictures and the smallest variance against G_+/G_-."""
    figure, axes = new_figure(1, 2, width=5.0, height=3.6)
    rows = data.tables["occupations"]
    axes[0, 0].plot(rows["site"], rows["n_effective"], "-", color=COLOURS[0], label="light eliminated")
    axes[0, 0].plot(rows["site"], rows["n_full"], "o", color=COLOURS[1], fillstyle="none", label="full model")
    axes[0, 0].set_xlabel("cell")
    axes[0, 0].set_ylabel(r"$\langle d_l^\dagger d_l\rangle$")
    sweep = data.tables["squeezing"]
    axes[0, 1].plot(sweep["ratio"], sweep["variance_effective"], "-", color=COLOURS[0], label="light eliminated")
    axes[0, 1].plot(sweep["ratio"], sweep["variance_full"], "o", color=COLOURS[1], fillstyle="none", label="full model")
    axes[0, 1].axhline(0.5, color="0.45", linestyle=":", label="vacuum")
    axes[0, 1].set_xlabel(r"$G_+/G_-$")
    axes[0, 1].set_ylabel("smallest quadrature variance")
    for place in axes[0]:
        place.legend(fontsize=8)
    return figure


@PAPER.add("two-tone", draw_two_tone)
def two_tone(quick: bool = False) -> FigureData:
    """Return phonon numbers and the smallest quadrature variance of a five-ring, with and without the light."""
    data = FigureData(
        "two-tone",
        "Ring of five cells driven on both mechanical sidebands",
        parameters={
            "J": 0.1, "Dt": -0.03, "gamma_c": 0.1, "gamma_m": 1e-3, "nbar": 1, "G_-": "0.012 exp(0.8i l^2)",
            "G_+": "0.006 exp(0.3i l) in the left panel",
        },
        notes=(
            "beta = cosh r e^{i varphi} d + sinh r e^{i theta} d^+, tanh r = |G_+/G_-|, theta = Arg G_+, "
            "varphi = Arg G_-: phases of S20-S22 corrected",
            "smallest variance over all quadratures of the five mechanical modes, vacuum 1/2",
        ),
    )  # fmt: skip
    first = {picture: _solved(data, 0.5, picture) for picture in ("effective", "full")}
    n = {k: np.asarray(r.expect(profile(r.model, "N"))) for k, r in first.items()}
    data.add("occupations", {"site": np.arange(5), "n_effective": n["effective"], "n_full": n["full"][1::2]})
    rows = []
    for ratio in (0.2, 0.5) if quick else np.linspace(0.0, 0.95, 20):
        found = [_smallest_variance(_solved(data, float(ratio), picture)) for picture in ("effective", "full")]
        rows.append((ratio, *found))
    data.add("squeezing", dict(zip(("ratio", "variance_effective", "variance_full"), np.array(rows).T, strict=True)))
    return data


def _solved(data: FigureData, ratio: float, picture: str) -> Result:
    l = np.arange(5)
    model = two_tone_lattice(
        RING, J=0.1, Dt=-0.03, G_minus=0.012 * np.exp(0.8j * l**2), G_plus=0.012 * ratio * np.exp(0.3j * l),
        gamma_c=0.1, gamma_m=1e-3, nbar=1.0, picture=picture,
    )  # fmt: skip
    return solve(data, model, Gaussian(), tol=1e-9)


def _smallest_variance(result: Result) -> float:
    covariance = np.asarray(result.state.covariance)  # type: ignore[attr-defined]
    modes = len(covariance) // 2
    motion = np.arange(modes) if modes == 5 else np.arange(1, modes, 2)
    kept = np.concatenate([motion, modes + motion])
    return float(np.linalg.eigvalsh(covariance[np.ix_(kept, kept)])[0])
