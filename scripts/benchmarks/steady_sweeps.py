#!/usr/bin/env python
"""Cost and accuracy of ImplicitSweeps, side by side with TEBD: one row per model, length, tolerance and method.

    scripts/benchmarks/steady_sweeps.py                                  the default rows
    scripts/benchmarks/steady_sweeps.py --model exclusion --L 16 32 --tol 1e-8
    scripts/benchmarks/steady_sweeps.py --model open --L 30 --tol 1e-4 1e-6 --tebd --out benchmarks/

Errors are the largest deviations of bond currents and one-site profiles from exact values, in units of the operator
norm; where no exact values exist (long open chains) they are differences to a run at a hundredth of the tolerance.
"claimed" is the error estimate of the certificate.  CPU seconds are those of this process and TEBD's are measured in
the same process; peak memory is the high-water mark of the process, so run rows one by one for a clean number.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _rows import write_csv

import mpo_transport as mt
from mpo_transport import observables as obs

DATA = Path(__file__).resolve().parents[2] / "data" / "reference"
COLUMNS = (
    "model",
    "L",
    "tol",
    "method",
    "status",
    "bond",
    "sweeps",
    "cpu_s",
    "ratio_cpu",
    "peak_MiB",
    "error",
    "claimed",
    "claimed/error",
    "residual",
)


@dataclass(frozen=True)
class Case:
    """A model, its observables with their operator norms, and the exact values (None: unknown)."""

    model: mt.Lindbladian
    observables: tuple[tuple[Any, float], ...]
    exact: tuple[np.ndarray, ...] | None = None


def _persistent(length: int, alpha: float, delta: float, entry: str, *, periodic: bool, mu: float = 1.0) -> Case:
    model = mt.models.persistent_current(L=length, alpha=alpha, delta=delta, mu=mu, periodic=periodic)
    known = [
        e
        for name in ("persistent_currents_own.json", "persistent_currents.json")
        for e in json.loads((DATA / name).read_text())
    ]
    found = next((e for e in known if e["id"] == entry), None)
    exact = None
    if found is not None:
        exact = tuple(np.atleast_1d(np.asarray(x, dtype=float)) for x in found["value"][:2])
    measured = ((obs.current(model, "eta"), abs(alpha**2 - delta**2)), (obs.profile(model, "Z"), 1.0))
    return Case(model, measured, exact)


def open_chain(length: int) -> Case:
    """Persistent currents, alpha = 2, delta = 1, open."""
    entry = "open-L30-2-1-1" if length == 30 else f"fig5-open-L{length}"
    return _persistent(length, 2.0, 1.0, entry, periodic=False)


def open_chain_2(length: int) -> Case:
    """Persistent currents, alpha = 1.5, delta = 0.8, mu = 0.7, open."""
    return _persistent(length, 1.5, 0.8, f"open-L{length}-1.5-0.8-0.7", periodic=False, mu=0.7)


def open_chain_3(length: int) -> Case:
    """Persistent currents, alpha = 1, delta = 0.5, mu = 1, open."""
    return _persistent(length, 1.0, 0.5, f"open-L{length}-1-0.5-1", periodic=False)


def ring(length: int) -> Case:
    """Persistent currents, alpha = 2, delta = 1.5, ring."""
    return _persistent(length, 2.0, 1.5, f"fig5-ring-L{length}", periodic=True)


def exclusion(length: int) -> Case:
    """Symmetric exclusion process between two reservoirs (B. Derrida, J. Stat. Mech. P07023 (2007))."""
    alpha, beta, gamma, delta = 1.0, 0.8, 0.5, 0.3
    A, B, rho_a, rho_b = 1 / (alpha + gamma), 1 / (beta + delta), alpha / (alpha + gamma), delta / (beta + delta)
    size, i = length + A + B - 1, np.arange(1, length + 1)
    model = mt.models.exclusion_process(length, alpha, beta, gamma, delta)
    exact = (
        np.full(length - 1, (rho_a - rho_b) / size),
        (rho_a * (length + B - i) + rho_b * (i - 1 + A)) / size,
    )
    return Case(model, ((obs.current(model), 1.0), (obs.profile(model, "N"), 1.0)), exact)


def dephased(length: int) -> Case:
    """XX chain between two baths with dephasing: series resistances (M. Znidaric, J. Stat. Mech. L05002 (2010))."""
    t, G_L, f_L, G_R, f_R, gamma = 1.0, 1.0, 0.8, 0.6, 0.3, 0.5
    current = (f_L - f_R) / (1 / G_L + 1 / G_R + (G_L + G_R) / (4 * t**2) + (length - 1) * gamma / (2 * t**2))
    profile = [f_L - current / G_L]
    for k in range(1, length):
        edge = (G_L / 2 if k == 1 else 0) + (G_R / 2 if k == length - 1 else 0)
        profile.append(profile[-1] - (gamma + edge) * current / (2 * t**2))
    model = mt.models.boundary_driven_xx(length, t, G_L, f_L, G_R, f_R, dephasing=gamma)
    exact = (np.full(length - 1, current), np.array(profile))
    return Case(model, ((obs.current(model), t), (obs.profile(model, "N"), 1.0)), exact)


def driven_xxz(length: int) -> Case:
    """XXZ chain, Delta = 1/2, maximal driving, where the method is expected to give up (T. Prosen, PRL 107 (2011))."""
    model = mt.models.boundary_driven_xxz(length, 0.5, J=1.0, eps=1.0)
    s = np.arctan(-1j / (4 * np.sin(np.arccos(0.5))) + 0j) / np.arccos(0.5)
    k = np.arange(length // 2 + 2)
    eta = np.arccos(0.5)
    diagonal = np.abs(np.cos(eta * (s - k))) ** 2
    off = np.abs(np.sin(eta * (k + 1)) * np.sin(eta * (2 * s - k)))[:-1]
    T = 2 * np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1)
    V = np.diag(off, 1) - np.diag(off, -1)
    power = np.linalg.matrix_power
    Z = power(T, length)[0, 0]
    z = np.array([(power(T, j) @ V @ power(T, length - j - 1))[0, 0] / Z for j in range(length)])
    current = 2 * diagonal[0] * power(T, length - 1)[0, 0] / Z
    exact = (np.full(length - 1, current), z)
    return Case(model, ((obs.current(model), 4.0), (obs.profile(model, "Z"), 1.0)), exact)


CASES: dict[str, Callable[[int], Case]] = {
    "open": open_chain,
    "open-2": open_chain_2,
    "open-3": open_chain_3,
    "ring": ring,
    "exclusion": exclusion,
    "dephased": dephased,
    "xxz": driven_xxz,
}
DEFAULT_ROWS = [
    ("open", 30, 1e-4),
    ("open", 30, 1e-6),
    ("open", 30, 1e-8),
    ("open-2", 30, 1e-4),
    ("open-2", 30, 1e-6),
    ("open-2", 30, 1e-8),
    ("open-3", 30, 1e-4),
    ("open-3", 30, 1e-6),
    ("open-3", 30, 1e-8),
    ("open", 100, 1e-6),
    ("open", 1000, 1e-5),
    ("exclusion", 16, 1e-9),
    ("exclusion", 32, 1e-9),
    ("dephased", 30, 1e-6),
    ("ring", 10, 1e-8),
    ("ring", 100, 1e-6),
    ("xxz", 8, 1e-6),
    ("xxz", 12, 1e-6),
]


def deviation(case: Case, result: mt.Result, exact: tuple[np.ndarray, ...]) -> float:
    """Return the largest error of the observables in units of their norms."""
    pairs = zip(case.observables, exact, strict=True)
    return max(float(np.abs(np.asarray(result.expect(o)) - x).max()) / norm for (o, norm), x in pairs)


def row(name: str, length: int, tol: float, method: Any, case: Case, other_cpu: float | None) -> dict[str, Any]:
    """Run one case and return its row; ``other_cpu`` is the CPU time of the first method of the comparison."""
    before = time.process_time()
    result = mt.steady_state(case.model, method, tol=tol, on_failure="return")
    cpu = time.process_time() - before
    exact = case.exact
    if exact is None:
        finer = mt.steady_state(case.model, mt.ImplicitSweeps(), tol=tol / 100, on_failure="return")
        if finer.converged:
            exact = tuple(np.asarray(finer.expect(o)) for o, _ in case.observables)
    error = math.nan if exact is None else deviation(case, result, exact)
    claimed = result.certificate.error_estimate
    return {
        "model": name,
        "L": length,
        "tol": f"{tol:.0e}",
        "method": type(method).__name__,
        "status": result.status.value,
        "bond": result.certificate.bond_dimension,
        "sweeps": int(np.nanmax(result.history["sweeps"])) if "sweeps" in result.history.names else "-",
        "cpu_s": f"{cpu:.2f}",
        "ratio_cpu": "1" if other_cpu is None else f"{cpu / other_cpu:.2f}",
        "peak_MiB": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}",
        "error": f"{error:.1e}",
        "claimed": "-" if claimed is None else f"{claimed:.1e}",
        "claimed/error": "-" if claimed is None or not error > 0 else f"{claimed / error:.1f}",
        "residual": "-" if result.certificate.residual is None else f"{result.certificate.residual:.1e}",
        "_cpu": cpu,
    }


def main() -> int:
    """Parse the command line, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(CASES), help="one model instead of the default rows")
    parser.add_argument("--L", type=int, nargs="+", default=[16], help="lengths, with --model")
    parser.add_argument("--tol", type=float, nargs="+", default=[1e-6], help="tolerances, with --model")
    parser.add_argument("--max-bond", type=int, default=None)
    parser.add_argument("--tebd", action="store_true", help="run TEBD on the same rows")
    parser.add_argument("--out", type=Path, help="directory for a dated CSV table")
    arguments = parser.parse_args()
    chosen = [(arguments.model, L, tol) for L in arguments.L for tol in arguments.tol]
    rows = []
    print("  ".join(f"{c:>13}" for c in COLUMNS))
    for name, length, tol in chosen if arguments.model else DEFAULT_ROWS:
        case = CASES[name](length)
        methods: list[Any] = [mt.ImplicitSweeps(max_bond=arguments.max_bond)]
        if arguments.tebd:
            methods.append(mt.TEBD(max_bond=arguments.max_bond))
        first: float | None = None
        for method in methods:
            line = row(name, length, tol, method, case, first)
            cpu = line.pop("_cpu")
            first = cpu if first is None else first
            rows.append(line)
            print("  ".join(f"{line[c]!s:>13}" for c in COLUMNS), flush=True)
    if arguments.out:
        print(write_csv(arguments.out, "steady-sweeps", COLUMNS, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
