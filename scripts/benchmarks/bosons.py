#!/usr/bin/env python
"""A boson chain between two baths in blocks of the charge n - n': cost, and error against the Gaussian answer.

    scripts/benchmarks/bosons.py                                 L = 40, eight levels, tol = 1e-4
    scripts/benchmarks/bosons.py --length 12 --levels 4 --tol 1e-3 1e-4 --json rows.jsonl
    scripts/benchmarks/bosons.py --updates 16 32 64              CPU milliseconds of one bond update

Without dephasing the state of unbounded bosons is Gaussian; with d levels the chain is another one, whose distance from
it is of the order of the weight beyond the cutoff, (n/(1+n))^d for a site of occupation n (column `cutoff`).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

from _rows import single_threaded

single_threaded()


def baths(args: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of the chain: gain G f and loss G (1 + f) at either end."""
    left, right = args.left, args.right
    return {
        "L": args.length, "t": 1.0,
        "G_L": left[1] - left[0], "f_L": left[0] / (left[1] - left[0]),
        "G_R": right[1] - right[0], "f_R": right[0] / (right[1] - right[0]),
    }  # fmt: skip


def row(args: argparse.Namespace, tol: float) -> dict[str, Any]:
    """Return one row of the table."""
    import numpy as np

    import mpo_transport as mt
    from mpo_transport import observables as obs

    parameters = baths(args)
    model = mt.models.boundary_driven_xx(**parameters, levels=args.levels)
    free = mt.models.boundary_driven_xx(**parameters, levels=math.inf)
    exact = mt.steady_state(free, mt.Gaussian())
    start = time.process_time()
    method = mt.TEBD(layout=args.layout, max_bond=args.max_bond)
    result = mt.steady_state(model, method, tol=tol, on_failure="return")
    cpu = time.process_time() - start
    density = exact.expect(obs.profile(free, "N"))
    n = float(density.max())
    certificate = result.certificate
    return {
        "L": args.length, "levels": args.levels, "tol": tol, "status": str(result.status), "cpu_s": round(cpu, 1),
        "chi": certificate.bond_dimension,
        "current": float(result.expect(obs.current(model))[args.length // 2 - 1]),
        "current_error": float(np.abs(result.expect(obs.current(model)) - exact.expect(obs.current(free))).max()),
        "profile_error": float(np.abs(result.expect(obs.profile(model, "N")) - density).max()),
        "cutoff": (n / (1 + n)) ** args.levels, "top_population": certificate.top_population,
        "claimed": certificate.error_estimate, "residual": certificate.residual, "notes": list(certificate.notes),
    }  # fmt: skip


def updates(args: argparse.Namespace) -> None:
    """Print the CPU milliseconds of one bond update, averaged over layers of a short evolution."""
    import mpo_transport as mt

    model = mt.models.boundary_driven_xx(**baths(args), levels=args.levels)
    for bond in args.updates:
        engine: Any = mt.TEBD(layout="u1").prepare(model, tol=1e-4, seed=0).engine
        state = engine._fit(engine.product_start(), bond, 0)
        for _ in range(3):  # correlations first, then the sectors that they need
            tensors = list(state.tensors)
            sizes = engine.charges.bonds(tensors, state.centre)
            passes = engine.plan.passes(0.3, 2, 5)
            start = time.process_time()
            centre = engine.charges.run(tensors, sizes, state.centre, passes, 1, None)
            spent = time.process_time() - start
            state = type(state)(state.lattice, tuple(tensors), state.order, centre)
            state = engine._fit(state.scale(1 / state.trace()), bond, 1)
        count = len(passes) * (args.length - 1) / 2
        print(f"chi = {bond}: {1e3 * spent / count:.2f} ms per update, sectors {sizes[args.length // 2]}", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=40)
    parser.add_argument("--levels", type=int, default=8)
    parser.add_argument("--tol", type=float, nargs="+", default=[1e-4])
    parser.add_argument("--left", type=float, nargs=2, default=(0.1, 1.1), metavar=("GAIN", "LOSS"))
    parser.add_argument("--right", type=float, nargs=2, default=(0.02, 1.02), metavar=("GAIN", "LOSS"))
    parser.add_argument("--layout", default="u1")
    parser.add_argument("--max-bond", type=int)
    parser.add_argument("--json", type=Path, help="append the rows to this file")
    parser.add_argument("--updates", type=int, nargs="+", metavar="CHI", help="time bond updates instead")
    args = parser.parse_args()
    if args.updates:
        updates(args)
        return
    for tol in args.tol:
        found = row(args, tol)
        print(json.dumps(found), flush=True)
        if args.json:
            with args.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
