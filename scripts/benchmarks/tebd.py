#!/usr/bin/env python
"""Cost and accuracy of TEBD: one row per model, length and tolerance, printed and optionally written as a dated table.

    scripts/benchmarks/tebd.py                         the default rows
    scripts/benchmarks/tebd.py --model open --L 30 --tol 1e-4 1e-6
    scripts/benchmarks/tebd.py --out benchmarks/

Errors are the largest deviations of bond currents and of one-site profiles from exact values, in units of the operator
norm; "claimed" is the error estimate of the certificate.  CPU seconds are those of this process; peak memory is its
high-water mark, so run rows one by one for a clean number.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mpo_transport as mt
from mpo_transport import observables as obs

REFERENCE = Path(__file__).resolve().parents[2] / "data" / "reference" / "persistent_currents.json"
COLUMNS = (
    "model",
    "L",
    "tol",
    "max_bond",
    "status",
    "bond",
    "cpu_s",
    "peak_MiB",
    "error",
    "claimed",
    "ratio",
    "reference",
)


@dataclass(frozen=True)
class Case:
    """A model and the exact current per bond and profile per site; ``uncertainty`` of the former, operator ``norm``."""

    model: mt.Lindbladian
    current: np.ndarray
    profile: np.ndarray
    operator: str
    norm: float
    uncertainty: float


def _published(identifier: str, length: int, *, periodic: bool) -> Case:
    entry = next((e for e in json.loads(REFERENCE.read_text()) if e["id"] == identifier), None)
    if entry is None:
        raise SystemExit(f"no reference values for {identifier}")
    p = entry["parameters"]
    model = mt.models.persistent_current(L=length, alpha=p["alpha"], delta=p["delta"], periodic=periodic)
    current, profile = (np.atleast_1d(np.asarray(x, dtype=float)) for x in entry["value"][:2])
    return Case(model, current, profile, "Z", abs(p["alpha"] ** 2 - p["delta"] ** 2), float(entry["abs_uncertainty"]))


def open_chain(length: int) -> Case:
    """Persistent currents, alpha = 2, delta = 1, open."""
    return _published(f"fig5-open-L{length}", length, periodic=False)


def ring(length: int) -> Case:
    """Persistent currents, alpha = 2, delta = 1.5, ring."""
    return _published(f"fig5-ring-L{length}", length, periodic=True)


def dephased(length: int) -> Case:
    """XX chain between two baths with dephasing: the closed form of series resistances (M. Znidaric, 2010)."""
    t, G_L, f_L, G_R, f_R, gamma = 1.0, 1.0, 0.8, 0.6, 0.3, 0.5
    current = (f_L - f_R) / (1 / G_L + 1 / G_R + (G_L + G_R) / (4 * t**2) + (length - 1) * gamma / (2 * t**2))
    profile = [f_L - current / G_L]
    for k in range(1, length):
        edge = (G_L / 2 if k == 1 else 0) + (G_R / 2 if k == length - 1 else 0)
        profile.append(profile[-1] - (gamma + edge) * current / (2 * t**2))
    model = mt.models.boundary_driven_xx(length, t, G_L, f_L, G_R, f_R, dephasing=gamma)
    return Case(model, np.full(length - 1, current), np.array(profile), "N", t, 1e-14)


CASES: dict[str, Callable[[int], Case]] = {"open": open_chain, "ring": ring, "dephased": dephased}
DEFAULT_ROWS = [("open", 6), ("open", 10), ("open", 30), ("ring", 5), ("ring", 8), ("dephased", 10)]


def row(name: str, length: int, tol: float, max_bond: int | None) -> dict[str, object]:
    """Run one case and return its row."""
    case = CASES[name](length)
    before = time.process_time()
    result = mt.steady_state(case.model, mt.TEBD(max_bond=max_bond), tol=tol, on_failure="return")
    cpu = time.process_time() - before
    current = np.asarray(result.expect(obs.current(case.model)))
    profile = np.asarray(result.expect(obs.profile(case.model, case.operator)))
    error = max(np.abs(current - case.current).max() / case.norm, np.abs(profile - case.profile).max())
    claimed = result.certificate.error_estimate
    return {
        "model": name,
        "L": length,
        "tol": f"{tol:.0e}",
        "max_bond": max_bond or "auto",
        "status": result.status.value,
        "bond": result.certificate.bond_dimension,
        "cpu_s": f"{cpu:.1f}",
        "peak_MiB": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}",
        "error": f"{error:.1e}",
        "claimed": "-" if claimed is None else f"{claimed:.1e}",
        "ratio": "-" if claimed is None or error == 0 else f"{claimed / error:.1f}",
        "reference": f"{case.uncertainty / case.norm:.0e}",
    }


def main() -> int:
    """Parse the command line, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(CASES), help="one model instead of the default rows")
    parser.add_argument("--L", type=int, nargs="+", default=[10], help="lengths, with --model")
    parser.add_argument("--tol", type=float, nargs="+", default=[1e-4, 1e-6])
    parser.add_argument("--max-bond", type=int, default=None)
    parser.add_argument("--out", type=Path, help="directory for a dated CSV table")
    arguments = parser.parse_args()
    pairs = [(arguments.model, L) for L in arguments.L] if arguments.model else DEFAULT_ROWS
    print("  ".join(f"{c:>9}" for c in COLUMNS))
    rows = []
    for name, length in pairs:
        for tol in arguments.tol:
            rows.append(row(name, length, tol, arguments.max_bond))
            print("  ".join(f"{rows[-1][c]!s:>9}" for c in COLUMNS), flush=True)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        path = arguments.out / f"tebd-{datetime.date.today().isoformat()}.csv"
        with path.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
