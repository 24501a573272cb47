#!/usr/bin/env python
"""Cost and accuracy of TEBD: one row per model, length and tolerance, printed and optionally written as a dated table.

    scripts/benchmarks/tebd.py                         the default rows
    scripts/benchmarks/tebd.py --model open --L 30 --tol 1e-4 1e-6
    scripts/benchmarks/tebd.py --model open --L 30 --layout dense z2
    scripts/benchmarks/tebd.py --kernels               one bond update at a time, dense and in Z2 blocks
    scripts/benchmarks/tebd.py --threads               even-odd layers on one and on two threads, wall time
    scripts/benchmarks/tebd.py --out benchmarks/

Errors are the largest deviations of bond currents and of one-site profiles from exact values, in units of the operator
norm; "claimed" is the error estimate of the certificate.  CPU seconds are those of this process; peak memory is its
high-water mark, so run rows one by one for a clean number.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _rows import write_csv

import mpo_transport as mt
from mpo_transport import observables as obs
from mpo_transport.methods.tebd.graded import Parity, find_parity
from mpo_transport.methods.tebd.plan import Pass, Plan, build_plan
from mpo_transport.methods.tebd.window import Truncator, run_passes
from mpo_transport.states import MPOState
from mpo_transport.superoperator.train import canonical_train

REFERENCE = Path(__file__).resolve().parents[2] / "data" / "reference" / "persistent_currents.json"
COLUMNS = (
    "model",
    "L",
    "tol",
    "layout",
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


def row(name: str, length: int, tol: float, max_bond: int | None, layout: str) -> dict[str, object]:
    """Run one case and return its row."""
    case = CASES[name](length)
    before = time.process_time()
    result = mt.steady_state(case.model, mt.TEBD(max_bond=max_bond, layout=layout), tol=tol, on_failure="return")
    cpu = time.process_time() - before
    current = np.asarray(result.expect(obs.current(case.model)))
    profile = np.asarray(result.expect(obs.profile(case.model, case.operator)))
    error = max(np.abs(current - case.current).max() / case.norm, np.abs(profile - case.profile).max())
    claimed = result.certificate.error_estimate
    return {
        "model": name,
        "L": length,
        "tol": f"{tol:.0e}",
        "layout": layout,
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


KERNEL_COLUMNS = ("chi", "layout", "iterations", "update_ms", "move_ms", "discarded", "svd_optimum")


def kernels(chi: int, length: int = 30) -> list[dict[str, object]]:
    """Return CPU milliseconds per gate and per QR move of a bond in the bulk, and the weight that one update discards.

    The state is a driven chain evolved at this bond dimension; the weight is that of its central bond after one more
    gate, next to the optimum of the singular values.
    """
    plan, parity, start = _evolved(chi, length)
    bonds, legs = parity.bonds(start, 0), [4] * length
    assert bonds is not None
    even, odd = (item.bonds or [] for item in plan.passes(0.2, 2, 1)[:2])
    gates = [a if a is not None else b for a, b in zip(even, odd, strict=True)]
    middle = length // 2
    repeats = 2 * max(1, round(3e4 / chi**2))
    bulk = [k for k in range(length - 1) if min(start[k].shape[0], start[k].shape[2], start[k + 1].shape[2]) == chi]
    optimum = _optimum(start, middle, gates[middle], chi)
    rows = []
    for layout in ("dense", "z2"):
        for iterations in (1, 2):
            times = []
            for item in (Pass([], gates), Pass([], [None] * (length - 1))):
                inner = Pass([], [g if k in bulk else None for k, g in enumerate(item.bonds or ())])
                best = math.inf
                for _ in range(3):
                    tensors = [t.copy() for t in start]
                    before = time.process_time()
                    _carry(parity, layout, tensors, legs, bonds, [inner] * repeats, iterations, None)
                    best = min(best, time.process_time() - before)
                times.append(best / repeats * 1e3)
            move = times[1] / (length - 1)
            tensors, weights = [t.copy() for t in start], np.zeros(length - 1)
            only = Pass([], [g if k == middle else None for k, g in enumerate(gates)])
            _carry(parity, layout, tensors, legs, bonds, [only], iterations, weights)
            update = (times[0] - move * (length - 1 - len(bulk))) / len(bulk)
            values = (
                chi,
                layout,
                iterations,
                f"{update:.4f}",
                f"{move:.4f}",
                f"{weights[middle]:.3e}",
                f"{optimum:.3e}",
            )
            rows.append(dict(zip(KERNEL_COLUMNS, values, strict=True)))
    return rows


def _evolved(chi: int, length: int) -> tuple[Plan, Parity, list[np.ndarray]]:
    """Return a driven chain after a few steps at a bond dimension, in Z2 blocks with its centre at the left end."""
    model = mt.models.persistent_current(L=length, alpha=2.0, delta=1.0, periodic=False)
    plan = build_plan(model)
    parity = find_parity(plan)
    assert parity is not None
    start = parity.fit(MPOState.product(model.lattice, "up").tensors, plan.bond_bounds(chi), 1)
    assert start is not None
    bonds = parity.bonds(start, 0)
    assert bonds is not None
    parity.run(start, bonds, 0, plan.passes(0.2, 2, 4), 1, None)
    start = list(canonical_train(start, 0, length - 1))
    return plan, parity, parity.fit(start, plan.bond_bounds(chi), 1) or start


THREAD_COLUMNS = ("chi", "L", "layers", "one_ms", "two_ms", "ratio", "one_cpu_ms", "two_cpu_ms", "cores")


def threads(chi: int, length: int = 30, seconds: float = 5.0) -> dict[str, object]:
    """Return wall and CPU milliseconds of one layer of order 4 on one and on two threads, and the ratio of the former.

    Both are run in turn, after a pause, for some seconds; the least of each counts, since two threads need two cores
    at the same moment.  As many layers are done at once as a run does; the way into blocks and back is included.
    """
    plan, parity, start = _evolved(chi, length)
    steps = max(3, round(4e5 / length / chi**2))
    bonds, passes = parity.bonds(start, 0), plan.passes(0.05, 4, steps)
    assert bonds is not None
    wall, cpu = [math.inf, math.inf], [math.inf, math.inf]
    end = time.perf_counter() + seconds
    count = 0
    while count < 3 or time.perf_counter() < end:
        for k in (0, 1):
            parity.threads = k + 1
            tensors = [t.copy() for t in start]
            if count:
                time.sleep(0.02)
            before = time.perf_counter(), time.process_time()
            parity.run(tensors, bonds, 0, passes, 1, None)
            wall[k] = min(wall[k], time.perf_counter() - before[0])
            cpu[k] = min(cpu[k], time.process_time() - before[1])
        count += 1
    each = [f"{1e3 * x / len(passes):.4f}" for x in (*wall, *cpu)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    values = (chi, length, len(passes), *each[:2], f"{wall[0] / wall[1]:.2f}", *each[2:], cores)
    return dict(zip(THREAD_COLUMNS, values, strict=True))


def _carry(parity, layout, tensors, legs, bonds, passes, iterations, weights) -> None:  # type: ignore[no-untyped-def]
    if layout == "z2":
        parity.run(tensors, bonds, 0, passes, iterations, weights)
    else:
        chi = max(t.shape[0] for t in tensors)
        run_passes(tensors, legs, 0, passes, Truncator(chi, 0.0, iterations, False, weights))


def _optimum(tensors: list[np.ndarray], k: int, gate: np.ndarray, chi: int) -> float:
    """Return the smallest weight that a bond of dimension chi can discard after a gate on (k, k+1)."""
    train = canonical_train(tensors, k, 0)
    block = np.tensordot(train[k], train[k + 1], axes=(2, 0))
    l, n, m, r = block.shape
    theta = np.matmul(gate, block.reshape(l, n * m, r)).reshape(l * n, m * r)
    s = np.linalg.svd(theta, compute_uv=False)
    return float((s[chi:] ** 2).sum() / (s**2).sum())


def _print_kernels(sizes: list[int]) -> None:
    print("  ".join(f"{c:>11}" for c in KERNEL_COLUMNS))
    for chi in sizes:
        for line in kernels(chi):
            print("  ".join(f"{line[c]!s:>11}" for c in KERNEL_COLUMNS), flush=True)


def _print_threads(sizes: list[int], lengths: list[int]) -> None:
    print("  ".join(f"{c:>10}" for c in THREAD_COLUMNS))
    for length, chi in itertools.product(lengths, sizes):
        line = threads(chi, length)
        print("  ".join(f"{line[c]!s:>10}" for c in THREAD_COLUMNS), flush=True)


def main() -> int:
    """Parse the command line, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(CASES), help="one model instead of the default rows")
    parser.add_argument("--L", type=int, nargs="+", help="lengths, with --model (10) or --threads (30 and 100)")
    parser.add_argument("--tol", type=float, nargs="+", default=[1e-4, 1e-6])
    parser.add_argument("--max-bond", type=int, default=None)
    parser.add_argument("--layout", nargs="+", default=["auto"], help="auto, dense, z2: one row for each")
    parser.add_argument("--kernels", action="store_true", help="time single bond updates instead")
    parser.add_argument("--threads", action="store_true", help="time layers on one and two threads instead")
    parser.add_argument(
        "--chi", type=int, nargs="+", default=[16, 32, 64, 128], help="bond dimensions, with --kernels or --threads"
    )
    parser.add_argument("--out", type=Path, help="directory for a dated CSV table")
    arguments = parser.parse_args()
    if arguments.kernels:
        _print_kernels(arguments.chi)
        return 0
    if arguments.threads:
        _print_threads(arguments.chi, arguments.L or [30, 100])
        return 0
    pairs = [(arguments.model, L) for L in arguments.L or [10]] if arguments.model else DEFAULT_ROWS
    print("  ".join(f"{c:>9}" for c in COLUMNS))
    rows = []
    for name, length in pairs:
        for tol, layout in itertools.product(arguments.tol, arguments.layout):
            rows.append(row(name, length, tol, arguments.max_bond, layout))
            print("  ".join(f"{rows[-1][c]!s:>9}" for c in COLUMNS), flush=True)
    if arguments.out:
        print(write_csv(arguments.out, "tebd", COLUMNS, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
