#!/usr/bin/env python
"""What the dual-weighted residual gains, what it costs, and whether its error bars cover.

    scripts/benchmarks/dual.py                         the chains with exact answers, L = 6 .. 8
    scripts/benchmarks/dual.py --case w1 --L 30        a long chain; the reference is the corrected value at --reference
    scripts/benchmarks/dual.py --case xxz-strong --L 16 --bonds 24

One thread.  Columns: bond dimension of the state; largest error of the plain and of the corrected currents; largest
claimed error; largest ratio of true to claimed error; largest residual of a dual; entries whose dual failed; CPU
seconds of the state and of all duals together.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

CASES = ("w1", "asymmetric", "ring", "dephasing", "xxz-weak", "xxz-strong")
EXACT_UP_TO = 8


def build(case: str, L: int) -> Any:
    """Return the model of a case."""
    import mpo_transport as mt

    if case == "w1":
        return mt.models.persistent_current(L, 2.0, 1.0, mu=1.0, periodic=False)
    if case == "asymmetric":
        alpha = [1.5 + 0.125 * (7 * j % 5) for j in range(L - 1)]
        delta = [0.5 + 0.1 * (j % 6) for j in range(L - 1)]
        mu = [0.3 * (j % 3) for j in range(L)]
        return mt.models.persistent_current(L, alpha, delta, J=0.4, mu=mu, periodic=False)
    if case == "ring":
        return mt.models.persistent_current(L, 2.0, 1.5, J=0.5)
    if case == "dephasing":
        return mt.models.boundary_driven_xx(L, 1.0, 0.6, 0.9, 1.4, 0.2, dephasing=0.3)
    driving, anisotropy = (0.2, 0.5) if case == "xxz-weak" else (1.0, 1.0)
    f = (1 + driving) / 2
    return mt.models.boundary_driven_xxz(L, anisotropy, J=0.25, G_L=1.0, f_L=f, G_R=1.0, f_R=1 - f)


def row(model: Any, bond: int, dt: float, dual_bond: int | None, truth: Any, chosen: list[int] | None) -> Any:
    """Print one line; return the corrected values."""
    from dataclasses import replace

    import numpy as np

    import mpo_transport as mt

    current = mt.observables.current(model)
    if chosen:
        current = replace(
            current,
            operators=tuple(current.operators[k] for k in chosen),
            labels=tuple(current.labels[k] for k in chosen),
        )
    start = time.process_time()
    method = mt.TEBD(max_bond=bond, dt=dt, max_time=2000.0)
    result = mt.steady_state(model, method, on_failure="return", progress=False)
    middle = time.process_time()
    estimate = mt.corrected(result, current, max_bond=dual_bond)
    end = time.process_time()
    known = np.isfinite(estimate.error)
    if truth is None:
        print(f"{bond:4d}  reference {estimate.corrected}, claimed {np.nanmax(estimate.error):.1e}")
        return estimate.corrected
    plain, fixed = np.abs(estimate.value - truth), np.abs(estimate.corrected - truth)
    numbers = [
        plain.max(),
        np.max(fixed[known], initial=0.0),
        np.max(estimate.error[known], initial=0.0),
        np.max((fixed / estimate.error)[known], initial=0.0),
        estimate.residual.max(),
    ]
    text = "  ".join(f"{x:8.1e}" for x in numbers)
    failed = np.count_nonzero(~known)
    print(f"{bond:4d}  {text}  {failed:3d}/{known.size}  {middle - start:6.1f}  {end - middle:6.1f}", flush=True)
    return estimate.corrected


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--L", nargs="+", type=int, default=[6])
    parser.add_argument("--bonds", nargs="+", type=int, default=[4, 8, 12])
    parser.add_argument("--dual-bond", type=int, default=None)
    parser.add_argument("--dt", type=float, default=0.05)
    parser.add_argument("--reference", type=int, default=24, help="bond dimension of the reference beyond L = 8")
    args = parser.parse_args()

    import mpo_transport as mt

    for case in args.case:
        for L in args.L:
            model = build(case, L)
            chosen = None if L <= EXACT_UP_TO else [0, L // 2 - 1]
            print(
                f"\n{case}, L = {L}\nbond  plain     corrected claimed   ratio     residual  failed  state s  duals s"
            )
            if L <= EXACT_UP_TO:
                exact = mt.steady_state(model, mt.ExactDiag(), tol=1e-9, progress=False)
                truth = exact.expect(mt.observables.current(model))
            else:
                truth = row(model, args.reference, args.dt, args.dual_bond, None, chosen)
            for bond in args.bonds:
                row(model, bond, args.dt, args.dual_bond, truth, chosen)


if __name__ == "__main__":
    main()
