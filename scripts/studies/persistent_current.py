#!/usr/bin/env python
"""Current of chains and rings with correlated loss and gain against their size: one limit for both boundaries.

    scripts/studies/persistent_current.py TABLES [--out DIR]

TABLES holds persistent_current_chain.nc and persistent_current_ring.nc, made by `mpo-transport collect` from the sweeps
of data/studies.  Writes persistent_current.png and persistent_current.csv, and prints the limits.
"""

from __future__ import annotations

import math

import numpy as np
from common import Tables, arguments, show, write_csv

from mpo_transport.analysis import Estimate, Series, alternating_limit, draw_series, in_length, text_with_error
from mpo_transport.plotting import COLOURS, MARKERS, new_figure, save_figure, style

CHAIN_PLATEAU = 30  # from here on the middle of a chain no longer feels its ends within the claimed errors


def joint_limit(first: Estimate, second: Estimate) -> tuple[float, float]:
    """Return the weighted mean of two estimates; the error covers their difference."""
    weights = np.array([first.error**-2, second.error**-2])
    value = float(weights @ [first.value, second.value] / weights.sum())
    return value, max(1 / math.sqrt(weights.sum()), abs(first.value - second.value) / 2)


def main() -> None:
    """Make the picture and the table."""
    options = arguments(__doc__)
    tables = Tables(options.tables)
    chain = tables.series("persistent_current_chain")
    exact = tables.series("persistent_current_ring", where={"method.name": "ExactDiag"})
    sweeps = tables.series("persistent_current_ring", where={"method.name": "ImplicitSweeps"})
    longer = sweeps.at(sweeps.x > exact.x.max())
    ring = exact.joined(longer)

    twelve = alternating_limit(exact.at(exact.x >= 5), unconverged="drop")
    alternating = alternating_limit(ring.at((ring.x >= 5) & (ring.x <= 25)), unconverged="drop")
    far = in_length(ring.at(ring.x >= CHAIN_PLATEAU), max_degree=1, unconverged="drop")
    plateau = in_length(chain.at(chain.x >= CHAIN_PLATEAU), max_degree=1, unconverged="drop")
    value, error = joint_limit(alternating, plateau)

    both = sorted(set(exact.x) & set(sweeps.x))
    difference = max(abs(exact.y[exact.x == x][0] - sweeps.y[sweeps.x == x][0]) for x in both)
    show(
        ["limit from", "sizes", "I", "ratio per site"],
        [
            ["exact rings alone", "5 to 12", text_with_error(twelve.value, twelve.error), f"{-twelve.ratio:.3f}"],
            ["rings, alternating series", "5 to 25", text_with_error(alternating.value, alternating.error),
             f"-{text_with_error(alternating.ratio, alternating.ratio_error)}"],
            ["long rings", f"{CHAIN_PLATEAU} to 200", text_with_error(far.value, far.error), ""],
            ["middle of chains", f"{CHAIN_PLATEAU} to 200", text_with_error(plateau.value, plateau.error), ""],
            ["both boundaries", "", text_with_error(value, error), ""],
        ],
    )  # fmt: skip
    print(f"exact and sweeps on L = {', '.join(f'{x:g}' for x in both)}: largest difference {difference:.1e}")
    for estimate in (twelve, alternating, far, plateau):
        print(estimate)

    groups = {"ring, ExactDiag": exact, "ring, ImplicitSweeps": longer, "chain, middle bond": chain}
    rows = [
        (name, int(x), repr(float(y)), f"{e:.1e}", s)
        for name, series in groups.items()
        for x, y, e, s in zip(series.x, series.y, series.error, series.status, strict=True)
    ]
    write_csv(options.out / "persistent_current.csv", ["lattice", "L", "current", "sigma", "status"], rows)
    print(draw(groups, alternating, value, error, options.out / "persistent_current.png"))


def draw(groups: dict[str, Series], alternating: Estimate, value: float, error: float, path: object) -> object:
    """Draw current, distance from the limit, and the collapse of the rings."""
    figure, axes = new_figure(1, 3, width=4.3, height=3.4)
    left, middle, right = axes[0]
    with style():
        for number, (name, series) in enumerate(groups.items()):
            draw_series(left, series, label=name, number=number)
            away = np.abs(series.y - value)
            seen = away > 3 * np.hypot(series.error, error)
            middle.plot(series.x[seen], away[seen], MARKERS[number], color=COLOURS[number], label=name)
        left.axhline(value, color="0.3", linestyle=":", linewidth=1.0)
        left.set_xscale("log")
        left.set_ylabel(r"$\langle I^\eta\rangle$ (energy)")
        left.legend()
        middle.set_yscale("log")
        middle.set_xlabel("L")
        middle.set_ylabel(r"$|\langle I^\eta\rangle - I_\infty|$")
        x = np.arange(3, 26)
        middle.plot(x, np.abs(alternating.amplitude) * alternating.ratio**x, color=COLOURS[1], linewidth=0.9,
                    label=rf"$\propto {alternating.ratio:.3f}^L$")  # fmt: skip
        middle.legend()
        for number, series in enumerate(list(groups.values())[:2]):
            kept = np.abs(series.y - value) > 30 * np.hypot(series.error, alternating.error)
            term = alternating.amplitude * (-alternating.ratio) ** series.x[kept]
            right.plot(series.x[kept], (series.y[kept] - alternating.value) / term, MARKERS[number],
                       color=COLOURS[number])  # fmt: skip
        right.axhline(1.0, color="0.3", linestyle=":", linewidth=1.0)
        right.set_xlabel("ring size L")
        right.set_ylabel(r"$(I_L - I_\infty)\,/\,c(-q)^L$")
        right.set_title("collapse of the rings")
        left.set_title(r"$\alpha$ = 2, $\delta$ = 1, $\mu$ = 1")
        middle.set_title(f"distance from {text_with_error(value, error)}")
    return save_figure(figure, path)


if __name__ == "__main__":
    main()
