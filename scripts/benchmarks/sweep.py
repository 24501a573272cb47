#!/usr/bin/env python
"""Throughput of sweeps on the cores of one machine: trivial points, points of real work, and finished ones.

    scripts/benchmarks/sweep.py                              1000 trivial and 16 TEBD points, with 1 and 2 workers
    scripts/benchmarks/sweep.py --case tebd --workers 1 2 4 --points 32 --out benchmarks/

    trivial   ring of three spins, solved exactly; the cost is that of building, certifying and writing a run
    tebd      open chain of eight spins, TEBD to 1e-5
    finished  the trivial sweep once more, all of whose points are finished

"wall_s" is the time of the sweep, "cpu_s" that of all its processes, "ms_point" the wall time per point and "speedup"
the throughput relative to the first number of workers.  "load" is the load of the machine just before: with other work
on the same cores the wall times and speedups are too pessimistic.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from _rows import write_csv

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

COLUMNS = ("case", "points", "workers", "wall_s", "cpu_s", "ms_point", "speedup", "load", "cores", "done")
POINTS = {"trivial": 1000, "tebd": 16, "finished": 1000}
SWEEPS = {
    "trivial": """
[base.model]
name = "persistent_current"
L = 3
delta = 1.5
[axes]
"model.alpha" = {start = 1.0, stop = 2.0, num = POINTS}
""",
    "tebd": """
[base.model]
name = "persistent_current"
L = 8
delta = 1.0
periodic = false
[base.method]
name = "TEBD"
[base.solve]
tol = 1e-5
[axes]
"model.alpha" = {start = 2.0, stop = 2.2, num = POINTS}
""",
}
SWEEPS["finished"] = SWEEPS["trivial"]


def measure(case: str, points: int, workers: int) -> dict[str, Any]:
    """Run one sweep in a directory of its own."""
    from mpo_transport.sweep import SweepPlan, run_sweep

    plan = SweepPlan.from_toml(SWEEPS[case].replace("POINTS", str(points)))
    with tempfile.TemporaryDirectory() as folder:
        if case == "finished":
            run_sweep(plan, folder, workers=workers)
        load, wall, cpu = os.getloadavg()[0], time.perf_counter(), sum(os.times()[:4])
        directory = run_sweep(plan, folder, workers=workers)
        wall, cpu = time.perf_counter() - wall, sum(os.times()[:4]) - cpu
        states = Counter(state.word for state in directory.states())
    cores = len(os.sched_getaffinity(0))
    row = {"case": case, "points": points, "workers": workers, "wall_s": wall, "cpu_s": cpu, "load": load}
    return row | {"ms_point": 1000 * wall / points, "cores": cores, "done": states["done"]}


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=sorted(SWEEPS), default=["trivial", "finished", "tebd"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--points", type=int, help="points of every case, instead of its own number")
    parser.add_argument("--out", type=Path, help="directory for a CSV file")
    arguments = parser.parse_args()

    rows = []
    print("  ".join(f"{c:>8}" for c in COLUMNS))
    for case in arguments.case:
        first: float | None = None
        for workers in arguments.workers:
            row = measure(case, arguments.points or POINTS[case], workers)
            first = first or row["wall_s"]
            row["speedup"] = first / row["wall_s"]
            rows.append(row)
            texts = (f"{row[c]:.3g}" if isinstance(row[c], float) else str(row[c]) for c in COLUMNS)
            print("  ".join(f"{t:>8}" for t in texts), flush=True)
    if arguments.out:
        print(write_csv(arguments.out, "sweep", COLUMNS, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
