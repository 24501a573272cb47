"""Limits of the model: bosons at finite repulsion, and the dark product states at strong dissipation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...methods import ExactDiag
from ...models import persistent_current
from ...observables import current, profile, purity
from ...operators import op
from ...plotting import COLOURS, new_figure
from ...reference.persistent_currents import dark_products, strong_dissipation_limit
from ...solve import steady_state
from ...states import DenseState
from ...superoperator import operator_matrix
from ..base import FigureData
from .common import CORRECTED_SIGN, PAPER, mean_current, mean_z, solve_exactly

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bosons", "dark"]

PAIRING = {"alpha": 0.0, "delta": 0.0, "mu": 1.0, "J": 1.0, "lam": 0.5, "kappa": 0.5}
GAIN = {"alpha": 1.0, "delta": 0.5, "mu": 1.0, "kappa": 0.2}


def draw_bosons(data: FigureData) -> Figure:
    """Draw occupation and double occupation over U for both ways of driving, with the spin value."""
    figure, axes = new_figure(2, 2, width=4.4, height=3.0)
    titles = {"pairing": "coherent pairing and loss", "gain": "engineered gain and loss"}
    for column, (drive, title) in enumerate(titles.items()):
        spin = data.select("spin", drive=drive)["n"][0]
        draw = axes[1, column].loglog if drive == "pairing" else axes[1, column].semilogx
        for number, d in enumerate(np.unique(data.select("boson", drive=drive)["d"].astype(float))):
            rows = data.select("boson", drive=drive, d=d)
            axes[0, column].semilogx(rows["U"], rows["n"], color=COLOURS[number], label=f"d = {int(d)}")
            draw(rows["U"], rows["n(n-1)"], color=COLOURS[number], label=f"d = {int(d)}")
        axes[0, column].axhline(spin, color="0.3", linestyle=":", label="spins")
        axes[0, column].set_title(title)
        axes[0, column].set_ylabel(r"$\langle n\rangle$")
        axes[1, column].set_ylabel(r"$\langle n(n-1)\rangle$")
        for place in axes[:, column]:
            place.set_xlabel("repulsion U (energy)")
        axes[0, column].legend()
    return figure


@PAPER.add("bosons", draw_bosons)
def bosons(quick: bool = False) -> FigureData:
    """Return occupations of a boson pair over U for both ways of driving, with every cutoff d quoted."""
    data = FigureData(
        "bosons",
        "Two bosonic sites with finite repulsion, open",
        parameters={
            "L": 2,
            "boundary": "open",
            "pairing": PAIRING,
            "gain": GAIN,
            "method": "ExactDiag, Fock cutoff d (states 0 .. d-1)",
        },
        notes=(
            "U multiplies n(n-1)",
            "coherent drive tends to the spin model with corrections of order 1/U; engineered gain does not: a "
            "reservoir without memory pumps 1 -> 2 at a rate independent of U, so that <n(n-1)> saturates",
            "with gain the cutoff converges slowly: quote d with every number",
            "the repulsion term of Eq. (5) is -2iU n_j d_j (printed without n_j), and gain counts negative in Pi",
        ),
    )
    strengths = np.array([1.0, 1000.0]) if quick else np.logspace(-1, 3, 25)
    rows: list[tuple[object, ...]] = []
    for drive, arguments, cutoffs in (("pairing", PAIRING, (6,)), ("gain", GAIN, (6,) if quick else (3, 4, 6))):
        for d in cutoffs:
            for U in strengths:
                rows.append((drive, d, U, *_pair(data, arguments, float(U), d)))
    data.add("boson", _columns(("drive", "d", "U", "n", "n(n-1)", "coherence_re"), rows))
    if not quick:
        rows = [("gain", d, 1000.0, *_pair(data, GAIN, 1000.0, d)) for d in (3, 4, 5, 6, 7)]
        data.add("cutoff", _columns(("drive", "d", "U", "n", "n(n-1)", "coherence_re"), rows))
    rows = []
    for drive, arguments in (("pairing", PAIRING), ("gain", GAIN)):
        result = solve_exactly(data, persistent_current(2, periodic=False, **arguments))
        hop = op("Sp", 0) * op("Sm", 1)
        rows.append((drive, result.expect(op("N", 0)), float(np.real(result.expect(hop)))))
    data.add("spin", _columns(("drive", "n", "coherence_re"), rows))
    return data


def _pair(data: FigureData, arguments: dict[str, float], U: float, d: int) -> tuple[float, float, float]:
    model = persistent_current(2, periodic=False, levels=d, U=U, **arguments)
    result = solve_exactly(data, model)
    n = op("N", 0)
    return (
        float(result.expect(n)),
        float(result.expect(n * n - n)),
        float(np.real(result.expect(op("Adag", 0) * op("A", 1)))),
    )


def _columns(names: tuple[str, ...], rows: list[tuple[object, ...]]) -> dict[str, np.ndarray]:
    return {n: np.array([row[k] for row in rows]) for k, n in enumerate(names)}


# ----------------------------------------------------------------------------------------------------------------------


def draw_dark(data: FigureData) -> Figure:
    """Draw the approach to the mixture of the two dark products."""
    figure, axes = new_figure(1, 3, width=4.1, height=3.4)
    rows = data.tables["strength"]
    panels = (
        ("current/limit", "current / value of the dark products", 1.0),
        ("sigma_z", r"$\langle\sigma^z\rangle$", rows["sigma_z_limit"][0]),
        ("purity", "purity of the whole ring", rows["purity_limit"][0]),
    )
    for place, (column, label, limit) in zip(axes[0], panels, strict=True):
        place.plot(rows["r"], rows[column], color=COLOURS[0], label="L = 4 ring")
        place.axhline(limit, color="0.3", linestyle=":", label="equal mixture of the dark products")
        place.set_xlabel(r"$r$ (in units of $\sqrt{\mu}$)")
        place.set_ylabel(label)
    axes[0, 0].legend(loc="lower right")
    return figure


@PAPER.add("dark", draw_dark)
def dark(quick: bool = False) -> FigureData:
    """Return the dark product states at mu = 0 and the approach to their mixture at strong dissipation, L = 4."""
    theta = np.pi / 8
    data = FigureData(
        "dark",
        r"Dark product states, $\theta = \pi/8$",
        parameters={"theta": "pi/8", "mu": 1.0, "boundary": "ring of 4", "method": "ExactDiag"},
        notes=(
            CORRECTED_SIGN,
            "at mu = 0 the products |+-+-> and |-+-+> of the eigenvectors sqrt(delta)|up> +- sqrt(alpha)|down> of "
            "alpha s- + delta s+ are annihilated by all jumps on open chains and even rings: four stationary operators",
            "for r^2 >> mu the steady state tends to an almost equal mixture of the two; exactly equal only as far as "
            "their overlap ((delta - alpha)/(delta + alpha))^L can be neglected",
            "there sigma^z = (delta - alpha)/(delta + alpha), I^eta = 2 alpha delta (alpha - delta)/(alpha + delta)",
        ),
    )
    rows = []
    for r in np.array([1.0, 5.0]) if quick else np.concatenate([np.arange(1, 33) / 4, [9.0, 10.0, 12.0]]):
        alpha, delta = r * np.cos(theta), r * np.sin(theta)
        result = solve_exactly(data, persistent_current(4, float(alpha), float(delta), mu=1.0))
        flow, limit = mean_current(result), strong_dissipation_limit(4, float(alpha), float(delta))
        rows.append((
            r, flow, limit["current"], flow / limit["current"], mean_z(result), limit["sigma_z"],
            float(result.expect(purity())), limit["purity"],
        ))  # fmt: skip
    names = ("r", "current", "current_limit", "current/limit", "sigma_z", "sigma_z_limit", "purity", "purity_limit")
    data.add("strength", dict(zip(names, np.array(rows).T, strict=True)))
    data.add("dark_states", _dark_states(float(np.cos(theta)), float(np.sin(theta)), (3, 4) if quick else (3, 4, 5)))
    return data


def _dark_states(alpha: float, delta: float, sizes: tuple[int, ...]) -> dict[str, list[float]]:
    """Null space at mu = 0 and the values in the product state itself, from the matrices of the library."""
    columns: dict[str, list[float]] = {}
    for L in sizes:
        for periodic in (False, True):
            model = persistent_current(L, alpha, delta, mu=0.0, periodic=periodic)
            result = steady_state(model, method=ExactDiag(), on_failure="return", progress=False)
            frustrated = periodic and L % 2 == 1
            row = {
                "L": L,
                "periodic": float(periodic),
                "stationary_operators": float(result.certificate.null_space or np.nan),
                "expected": 1.0 if frustrated else 4.0,
                "sigma_z": np.nan,
                "sigma_z_closed": np.nan,
                "current": np.nan,
                "current_closed": np.nan,
                "largest_jump_norm": np.nan,
            }
            if not frustrated:
                closed = dark_products(L, alpha, delta, periodic=periodic)
                state = DenseState.product(model.lattice, [closed.local[j % 2] for j in range(L)])
                row["sigma_z"] = float(np.mean(profile(model, "Z").evaluate(state)))
                row["sigma_z_closed"] = closed.sigma_z
                row["current"] = float(np.mean(current(model).evaluate(state)))
                row["current_closed"] = closed.current
                row["largest_jump_norm"] = max(
                    float(np.linalg.norm(operator_matrix(model.lattice, jump.operator) @ closed.vectors[0]))
                    for jump in model.jumps
                )
            for key, value in row.items():
                columns.setdefault(key, []).append(value)
    return columns
