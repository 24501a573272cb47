#!/usr/bin/env python
"""What the moments of quadratic models cost: dense, number-conserving and ring solvers against a plain Schur solve.

    scripts/benchmarks/gaussian.py                                   all rows up to 256 cells and 400 sites
    scripts/benchmarks/gaussian.py --case ring --size 100000         one row: optomechanical cells, block by block
    scripts/benchmarks/gaussian.py --case xx --size 1000

One thread, CPU seconds, peak memory of a process of its own.  Columns (CSV): case; size; solver; seconds to write out
the model, to read its form, and to solve; peak MiB; error; ratio of the plain solve (``schur``: Schur form of the
complex equations, scipy.linalg.solve_continuous_lyapunov, in the same process) to ours.

Errors: of the current against the closed formula (xx); the largest difference of a second moment to the plain Schur
solution (cells).
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import time
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

DEFAULT = (
    ("cells", 64, "dense"), ("cells", 256, "dense"), ("cells", 256, "ring"), ("ring", 10000, "ring"),
    ("direct", 100000, "ring"), ("xx", 200, "number"), ("xx", 400, "number"),
)  # fmt: skip
CELL = {"J": 0.2, "Dt": -1.2, "G_abs": 0.02, "gamma_c": 0.1, "gamma_m": 1e-3, "nbar": 100.0}
FIELDS = ("case", "size", "solver", "model_s", "form_s", "solve_s", "peak_mib", "error", "schur_ratio")


def measure(case: str, size: int, solver: str) -> dict[str, Any]:
    """Return one row."""
    import mpo_transport as mt
    from mpo_transport.methods.gaussian import ring_equations, ring_steady_state, with_cells
    from mpo_transport.superoperator import quadratic_form

    row: dict[str, Any] = {"case": case, "size": size, "solver": solver}
    clock = time.process_time()
    if case == "xx":
        model = mt.models.boundary_driven_xx(size, 1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    else:
        cells = 8 if case == "direct" else size
        model = mt.models.optomechanical_ring(cells, 2 * math.pi / 8, **CELL, levels=math.inf)
    row["model_s"] = time.process_time() - clock
    method, clock = mt.Gaussian(solver=solver), time.process_time()
    if case == "direct":
        equations = ring_equations(quadratic_form(model))
        assert equations is not None
        large = with_cells(equations, size)
        row["form_s"], clock = time.process_time() - clock, time.process_time()
        state = ring_steady_state(large)
    else:
        work = method.prepare(model, tol=1e-6, seed=0)
        row["form_s"], clock = time.process_time() - clock, time.process_time()
        iterate, _ = method.advance(work, method.start(work, None))
        state = iterate.state
    row["solve_s"] = time.process_time() - clock
    row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if case == "xx":
        exact = 0.7 / (1 / 0.6 + 1 / 1.4 + 0.5)
        row["error"] = float(abs(mt.observables.current(model).evaluate(state) - exact).max())
    if case in ("cells", "xx") and size <= 512:
        row |= plain(model, state, row["solve_s"], case)
    return row


def plain(model: Any, state: Any, seconds: float, case: str) -> dict[str, float]:
    """Return the ratio of the time of a plain solve, and its difference to ours where nothing exact is known."""
    import numpy as np
    import scipy.linalg as sl

    from mpo_transport.methods.gaussian.ring import nambu_form
    from mpo_transport.superoperator import quadratic_form

    form = quadratic_form(model)
    if case == "xx":
        drift, noise = form.amplitudes()
    else:
        drift, noise = (m.toarray() for m in nambu_form(form)[:2])
    clock = time.process_time()
    solution = sl.solve_continuous_lyapunov(drift, -noise)
    out = {"schur_ratio": (time.process_time() - clock) / seconds}
    if case == "cells":
        L = model.L
        i, j = np.indices((L, L))
        ours = state.pair("-", i, "+", j) - 0.5 * np.eye(L)
        out["error"] = max(
            float(np.abs(solution[:L, :L] - ours).max()),
            float(np.abs(solution[:L, L:] - state.pair("-", i, "-", j)).max()),
        )
    return out


def main() -> None:
    """Print the rows, each from a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=("cells", "ring", "direct", "xx"))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--solver", default="auto")
    parser.add_argument("--no-header", action="store_true")
    given = parser.parse_args()
    if not given.no_header:
        print(",".join(FIELDS), flush=True)
    if given.case is not None:
        row = measure(given.case, given.size, given.solver)
        print(",".join(f"{row[f]:.3g}" if isinstance(row.get(f), float) else str(row.get(f, "")) for f in FIELDS))
        return
    for case, size, solver in DEFAULT:
        command = [sys.executable, __file__, "--case", case, "--size", str(size), "--solver", solver, "--no-header"]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
