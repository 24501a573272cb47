#!/usr/bin/env python
"""Cost and accuracy of InfiniteTEBD: one row per parameter set and tolerance.

    scripts/benchmarks/infinite.py                     the default rows
    scripts/benchmarks/infinite.py --tol 1e-3 --largest 8

The error is the largest deviation of the bond current and of <Z>, in units of the operator norm, from the limit of
exactly solved rings of growing length (Wynn's epsilon table); "limit +-" is the uncertainty of that limit.  "claimed"
is the error estimate of the certificate.  CPU seconds are those of this process, imports excluded.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import mpo_transport as mt
from mpo_transport import observables as obs

SETS = {
    "mu 1": {"alpha": 2.0, "delta": 1.0, "mu": 1.0},
    "mu 3": {"alpha": 2.0, "delta": 1.0, "mu": 3.0},
    "Ising": {"alpha": 1.5, "delta": 1.0, "mu": 2.0, "eps_zz": 0.3},
}


def limit(series: np.ndarray) -> tuple[float, float]:
    """Return the limit of a sequence with exponential corrections and its uncertainty."""
    table = [np.zeros(len(series) + 1), series]
    while len(table[-1]) > 1:
        table.append(table[-2][1:-1] + 1 / np.diff(table[-1]))
    last, before = table[1::2][-1], table[1::2][-2]
    return float(last[-1]), float(max(abs(last[-1] - before[-1]), np.ptp(last)))


def exact(parameters: dict[str, float], largest: int) -> list[tuple[float, float]]:
    """Return current and <Z> of the infinite chain, each with its uncertainty, in units of the operator norm."""
    rows = []
    for length in range(3, largest + 1):
        model = mt.models.persistent_current(length, **parameters)
        result = mt.steady_state(model, mt.ExactDiag())
        current = obs.current(model)
        rows.append((result.expect(current)[0] / current.norm, result.expect(obs.profile(model, "Z"))[0]))
    return [limit(column) for column in np.array(rows).T]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tol", type=float, nargs="+", default=[1e-3, 1e-4])
    parser.add_argument("--largest", type=int, default=9, help="largest ring of the extrapolation")
    parser.add_argument("--max-bond", type=int, default=24)
    chosen = parser.parse_args()
    print(f"{'set':8} {'tol':>7} {'status':>22} {'chi':>4} {'cpu_s':>7} {'error':>9} {'claimed':>9} {'limit +-':>9}")
    for name, parameters in SETS.items():
        known = exact(parameters, chosen.largest)
        model = mt.models.persistent_current(4, **parameters)
        for tol in chosen.tol:
            start = time.process_time()
            result = mt.steady_state(
                model, mt.InfiniteTEBD(max_bond=chosen.max_bond), tol=tol, on_failure="return", progress=False
            )
            seconds = time.process_time() - start
            current = obs.current(model)
            values = (result.expect(current)[:2] / current.norm, result.expect(obs.profile(model, "Z"))[:2])
            error = max(float(np.abs(v - x).max()) for v, (x, _) in zip(values, known, strict=True))
            certificate = result.certificate
            print(
                f"{name:8} {tol:7.0e} {result.status.value:>22} {certificate.bond_dimension:4d} {seconds:7.2f} "
                f"{error:9.1e} {certificate.error_estimate:9.1e} {max(u for _, u in known):9.1e}"
            )


if __name__ == "__main__":
    main()
