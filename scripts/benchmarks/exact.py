#!/usr/bin/env python
"""Exact steady states side by side: ExactDiag with symmetries, plain scipy, and QuTiP where it is installed.

    scripts/benchmarks/exact.py                              rings L = 6..12 and open chains L = 8, 10
    scripts/benchmarks/exact.py --model ring --L 8 9 10 --solver ours scipy
    scripts/benchmarks/exact.py --limit 120 --out benchmarks/

Every row runs in a process of its own with one thread, so that its peak memory is its own; a row that takes longer than
--limit seconds is reported as such.  "error" is the largest deviation of bond currents and magnetisations from the
published value (data/reference), "residual" is |L rho| / |rho| with the generator that the solver used.

    ours    ExactDiag(), solver chosen by itself, certificate and proof of uniqueness included
    scipy   BiCGStab on (L + |mixed><trace|) vec(rho) = |mixed>, sparse complex L, no preconditioner, rtol 1e-12
    lu      scipy's sparse LU of the same matrix
    qutip-* QuTiP's steadystate(H, jumps): sparse LU (its default), lgmres, bicgstab, inverse power
"""

from __future__ import annotations

import argparse
import functools
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
COLUMNS = ("model", "L", "solver", "status", "cpu_s", "peak_MiB", "unknowns", "residual", "error", "claimed", "remark")
DEFAULT = {"ring": (6, 7, 8, 9, 10, 11, 12), "open": (8, 10)}
PARAMETERS = {"ring": {"alpha": 2.0, "delta": 1.5}, "open": {"alpha": 2.0, "delta": 1.0, "periodic": False}}


def _model(name: str, L: int) -> Any:
    import mpo_transport as mt

    return mt.models.persistent_current(L, **PARAMETERS[name])


def _error(name: str, L: int, current: Any, z: Any) -> float | None:
    """Largest deviation from the published values, None where there are none."""
    import numpy as np

    table = {e["id"]: e for e in json.loads((ROOT / "data/reference/persistent_currents.json").read_text())}
    entry = table.get(f"fig5-{name}-L{L}")
    if entry is None:
        return None
    wanted = entry["value"][:2]
    return float(max(np.abs(np.asarray(a) - b).max() for a, b in zip((current, z), wanted, strict=True)))


def _measured(model: Any, state: Any) -> tuple[Any, Any]:
    from mpo_transport import observables as obs

    return obs.current(model).evaluate(state), obs.profile(model, "Z").evaluate(state)


def ours(name: str, L: int) -> dict[str, Any]:
    """Solve with ExactDiag."""
    import mpo_transport as mt

    model = _model(name, L)
    start = time.process_time()
    result = mt.steady_state(model, method=mt.ExactDiag(), tol=1e-8, on_failure="return", progress=False)
    seconds = time.process_time() - start
    basis = getattr(result.state, "basis", None)
    certificate = result.certificate
    return {
        "status": result.status.value,
        "cpu_s": seconds,
        "unknowns": len(basis) if basis is not None else "",
        "residual": certificate.residual,
        "claimed": certificate.error_estimate,
        "error": _error(name, L, *_measured(model, result.state)),
        "remark": "unique" if certificate.null_space == 1 else "uniqueness not decided",
    }


def _scipy(name: str, L: int, kind: str) -> dict[str, Any]:
    import numpy as np
    import scipy.sparse as sp
    import scipy.sparse.linalg as sla

    from mpo_transport.states import DenseState
    from mpo_transport.superoperator import sparse_lindbladian

    model = _model(name, L)
    D = 2**L
    start = time.process_time()
    generator = sparse_lindbladian(model)
    mixed = np.eye(D, dtype=complex).ravel() / D
    diagonal = np.arange(D) * (D + 1)
    if kind == "lu":
        row = sp.coo_array((np.ones(D), (np.zeros(D, dtype=int), diagonal)), shape=(D * D, D * D))
        b = np.zeros(D * D, dtype=complex)
        b[0] = 1.0
        x = sla.splu(sp.csc_array(generator + row)).solve(b)
        info = 0
    else:

        def apply(v: Any) -> Any:
            return generator @ v + mixed * v[diagonal].sum()

        operator = sla.LinearOperator(generator.shape, matvec=apply, dtype=complex)
        x, info = sla.bicgstab(operator, mixed, x0=mixed, rtol=1e-12, atol=0.0, maxiter=5000)
    rho = x.reshape(D, D)
    rho = (rho + rho.conj().T) / (2 * np.trace(rho).real)
    seconds = time.process_time() - start
    return {
        "status": "converged" if info == 0 else "not_converged",
        "cpu_s": seconds,
        "unknowns": D * D,
        "residual": float(np.linalg.norm(generator @ rho.ravel()) / np.linalg.norm(rho)),
        "error": _error(name, L, *_measured(model, DenseState(model.lattice, rho))),
    }


def _qutip(name: str, L: int, options: dict[str, Any]) -> dict[str, Any]:
    """Solve with QuTiP."""
    import numpy as np
    import qutip as qt

    from mpo_transport.states import DenseState
    from mpo_transport.superoperator import operator_matrix, sparse_lindbladian

    model = _model(name, L)
    dims = [[2] * L] * 2

    def wrapped(operator: Any) -> Any:
        return qt.Qobj(operator_matrix(model.lattice, operator).tocsr(), dims=dims)

    h = wrapped(model.hamiltonian)
    jumps = [np.sqrt(j.rate) * wrapped(j.operator) for j in model.jumps]
    start = time.process_time()
    rho = qt.steadystate(h, jumps, **options).full()
    seconds = time.process_time() - start
    generator = sparse_lindbladian(model)
    return {
        "status": "finished",
        "cpu_s": seconds,
        "unknowns": 4**L,
        "residual": float(np.linalg.norm(generator @ rho.ravel()) / np.linalg.norm(rho)),
        "error": _error(name, L, *_measured(model, DenseState(model.lattice, rho))),
    }


QUTIP = {
    "qutip-direct": {"method": "direct"},
    "qutip-lgmres": {"method": "direct", "solver": "lgmres", "rtol": 1e-12, "atol": 0.0},
    "qutip-bicgstab": {"method": "direct", "solver": "bicgstab", "rtol": 1e-12, "atol": 0.0},
    "qutip-power": {"method": "power", "power_tol": 1e-12},
}
SOLVERS = {
    "ours": ours,
    "scipy": lambda name, L: _scipy(name, L, "bicgstab"),
    "lu": lambda name, L: _scipy(name, L, "lu"),
    **{label: functools.partial(_qutip, options=options) for label, options in QUTIP.items()},
}


def _row(name: str, L: int, solver: str, limit: float) -> dict[str, Any]:
    """Run one row in a process of its own."""
    single = {k: "1" for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, __file__, "--one", name, str(L), solver]
    head = {"model": name, "L": L, "solver": solver}
    try:
        run = subprocess.run(
            command, env={**os.environ, **single, "PYTHONPATH": path}, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {**head, "status": f"more than {limit:g} s"}
    if run.returncode:
        reason = run.stderr.strip().splitlines()[-1] if run.stderr.strip() else f"exit code {run.returncode}"
        return {**head, "status": "failed", "remark": reason}
    return {**head, **json.loads(run.stdout.splitlines()[-1])}


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def main() -> int:
    """Print the table, and write it as dated CSV with --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=sorted(DEFAULT), default=sorted(DEFAULT, reverse=True))
    parser.add_argument("--L", nargs="+", type=int, help="lengths (default: those of the model)")
    parser.add_argument(
        "--solver", nargs="+", choices=sorted(SOLVERS), help="default: ours, scipy, and QuTiP's if installed"
    )
    parser.add_argument("--limit", type=float, default=120.0, help="seconds per row")
    parser.add_argument("--out", type=Path, help="directory of the CSV file")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, length, solver = arguments.one
        row = SOLVERS[solver](name, int(length))
        row["peak_MiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(json.dumps(row))
        return 0
    solvers = arguments.solver or ["ours", "scipy", *(QUTIP if _installed("qutip") else [])]
    print("  ".join(f"{c:>10}" for c in COLUMNS))
    rows: list[dict[str, Any]] = []
    given_up: set[tuple[str, str]] = set()
    for name in arguments.model:
        for length in arguments.L or DEFAULT[name]:
            for solver in solvers:
                if (name, solver) in given_up:
                    continue
                row = _row(name, length, solver, arguments.limit)
                rows.append(row)
                if row["status"].startswith(("more", "failed")):
                    given_up.add((name, solver))
                print("  ".join(f"{_text(row.get(c)):>10}" for c in COLUMNS), flush=True)
    if arguments.out:
        print(write_csv(arguments.out, "exact", COLUMNS, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
