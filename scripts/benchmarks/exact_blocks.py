#!/usr/bin/env python
"""Elimination over the levels of a conserved charge against a sparse LU of the same sector, side by side.

    scripts/benchmarks/exact_blocks.py                           all models
    scripts/benchmarks/exact_blocks.py --model thermal --size 3 7
    scripts/benchmarks/exact_blocks.py --out benchmarks/

Rings of truncated oscillators, hopping with a complex phase, quartic term on every site:

    thermal      equal local heat baths, with the translations of the ring
    disordered   every coupling and bath different: no symmetry beside the U(1) charge
    correlated   heat baths that act on running waves (loss and gain correlated over the whole ring)
    optomechanical   phonons of an optomechanical ring with the light eliminated, bath occupation 0.2

Every row runs in a process of its own with one thread, so that its peak memory is its own.  Times are CPU seconds from
the model to the state, the setting up of the matrices included.

    blocks   ExactDiag(solver="blocks"), certificate and proof of uniqueness included
    lu       scipy's splu on the complex matrix of all rho_ab with equal charges, one row replaced by the trace
    lu-real  the same on the real matrix of its Hermitian combinations, which our own set-up provides
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _rows import write_csv

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("model", "L", "levels", "solver", "status", "cpu_s", "MiB", "unknowns", "residual", "error", "speed", "n_0")
SIZES = ((3, 6), (3, 7), (4, 4))
MODELS = ("thermal", "disordered", "correlated", "optomechanical")


def optomechanical_ring(L: int, levels: int, nbar: float) -> Any:
    """Return the effective phonon master equation of a ring with phi = 2 pi / L and weak coupling."""
    import math

    from mpo_transport import models

    return models.optomechanical_ring(
        L, 2 * math.pi / L, J=0.1, Dt=-1.1, G_abs=0.01, gamma_c=0.1, gamma_m=1e-3, nbar=nbar, picture="effective",
        levels=levels,
    )  # fmt: skip


def _model(name: str, L: int, levels: int) -> Any:
    import numpy as np

    from mpo_transport import Boson, Chain, Jump, Lindbladian, OpSum, op

    if name == "optomechanical":
        return optomechanical_ring(L, levels, 0.2)
    rng = np.random.default_rng(1)
    spread = (lambda: rng.uniform(0.5, 1.5)) if name == "disordered" else (lambda: 1.0)
    h, jumps = OpSum(), []
    for j in range(L):
        hop = complex(0.3 * spread() * np.exp(0.7j)) * op("Adag", j) * op("A", (j + 1) % L)
        h = h + hop + hop.dag + 0.1 * spread() * op("N", j) * op("N", j)
        rate, n = 0.1 * spread(), 0.4 * spread()
        jumps += [Jump(op("A", j), rate * (1 + n)), Jump(op("Adag", j), rate * n)]
    if name == "correlated":
        for index, k in enumerate(2 * np.pi * np.arange(L) / L):
            wave = sum((complex(np.exp(-1j * k * x)) / L**0.5 * op("A", x) for x in range(L)), OpSum())
            jumps += [Jump(wave, 0.1 + 0.1 * index), Jump(wave.dag, 0.02 + 0.01 * index)]
    return Lindbladian(Chain(L, Boson(levels), periodic=True), h, jumps)


def _baseline() -> int:
    """Peak memory so far in MiB, that of the imports."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def blocks(name: str, L: int, levels: int) -> dict[str, Any]:
    """Solve with ExactDiag."""
    import mpo_transport as mt

    before = _baseline()
    start = time.process_time()
    model = _model(name, L, levels)
    result = mt.steady_state(model, method=mt.ExactDiag(solver="blocks"), tol=1e-8, on_failure="return", progress=False)
    seconds = time.process_time() - start
    certificate = result.certificate
    return {
        "status": f"{result.status.value}{', unique' if certificate.null_space == 1 else ''}",
        "cpu_s": seconds,
        "MiB": _baseline() - before,
        "unknowns": int(certificate.notes[0].split(" real unknowns")[0].split()[-1]),
        "residual": certificate.residual,
        "error": certificate.error_estimate,
        "n_0": result.expect(mt.op("N", 0)).real,
    }


def _lu(name: str, L: int, levels: int, *, real: bool) -> dict[str, Any]:
    import numpy as np
    import scipy.sparse as sp
    import scipy.sparse.linalg as sla

    from mpo_transport.superoperator import sparse_lindbladian
    from mpo_transport.superoperator.charge_sectors import charge_plan
    from mpo_transport.superoperator.level_blocks import find_reduction, level_generator, real_blocks

    before = _baseline()
    start = time.process_time()
    model = _model(name, L, levels)
    D = levels**L
    if real:
        generator = level_generator(model, charge_plan(model))
        system = real_blocks(generator, find_reduction(generator, trivial=True))
        matrix, trace = system.matrix(), np.concatenate(system.trace)
    else:
        total = np.indices((levels,) * L).sum(axis=0).ravel()
        members = np.flatnonzero((total[:, None] == total[None, :]).ravel())
        matrix = sparse_lindbladian(model)[members][:, members]
        trace = (members % (D + 1) == 0).astype(float)
    first = int(np.flatnonzero(trace)[0])
    keep = np.ones(len(trace))
    keep[first] = 0.0
    row = sp.coo_array(
        (trace[trace != 0], (np.full(np.count_nonzero(trace), first), np.flatnonzero(trace))), matrix.shape
    )
    bordered = sp.csc_array(sp.diags_array(keep) @ matrix + row)
    b = np.zeros(len(trace), dtype=matrix.dtype)
    b[first] = 1.0
    x = sla.splu(bordered).solve(b)
    seconds = time.process_time() - start
    c = system.coefficients(x) if real else x
    if real:
        a, other = generator.pairs
        weights = np.where(a == other, generator.basis.digits[a, 0], 0.0)
    else:
        weights = np.where(trace > 0, members // D // levels ** (L - 1), 0.0)
    return {
        "status": "finished",
        "cpu_s": seconds,
        "MiB": _baseline() - before,
        "unknowns": len(trace),
        "residual": float(np.linalg.norm(matrix @ x) / np.linalg.norm(x)),
        "n_0": float((weights @ c).real),
    }


SOLVERS = {
    "blocks": blocks,
    "lu": lambda *a: _lu(*a, real=False),
    "lu-real": lambda *a: _lu(*a, real=True),
}


def _row(name: str, size: tuple[int, int], solver: str, limit: float) -> dict[str, Any]:
    """Run one row in a process of its own."""
    single = {k: "1" for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, __file__, "--one", name, *map(str, size), solver]
    head = {"model": name, "L": size[0], "levels": size[1], "solver": solver}
    try:
        run = subprocess.run(
            command, env={**os.environ, **single, "PYTHONPATH": path}, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {**head, "status": f"more than {limit:g} s"}
    if run.returncode:
        reason = run.stderr.strip().splitlines()[-1] if run.stderr.strip() else f"exit code {run.returncode}"
        return {**head, "status": f"failed: {reason}"}
    return {**head, **json.loads(run.stdout.splitlines()[-1])}


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Print the table, and write it as dated CSV with --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--size", nargs=2, type=int, metavar=("L", "LEVELS"), help="default: 3 6, 3 7 and 4 4")
    parser.add_argument("--solver", nargs="+", choices=sorted(SOLVERS), default=list(SOLVERS))
    parser.add_argument("--limit", type=float, default=600.0, help="seconds per row")
    parser.add_argument("--out", type=Path, help="directory of the CSV file")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, length, levels, solver = arguments.one
        sys.path.insert(0, str(ROOT))
        import mpo_transport.superoperator.level_blocks  # noqa: F401  (imports are not what is measured)

        print(json.dumps(SOLVERS[solver](name, int(length), int(levels))))
        return 0
    print("  ".join(f"{c:>11}" for c in COLUMNS) + "      (speed: how many times faster blocks are)")
    rows: list[dict[str, Any]] = []
    for name in arguments.model:
        for size in [tuple(arguments.size)] if arguments.size else SIZES:
            quick = None
            for solver in arguments.solver:
                row = _row(name, size, solver, arguments.limit)
                quick = row.get("cpu_s") if solver == "blocks" else quick
                if quick and solver != "blocks" and "cpu_s" in row:
                    row["speed"] = row["cpu_s"] / quick
                rows.append(row)
                print("  ".join(f"{_text(row.get(c)):>11}" for c in COLUMNS), flush=True)
    if arguments.out:
        print(write_csv(arguments.out, "exact-blocks", COLUMNS, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
