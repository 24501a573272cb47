"""Quantum trajectories: CPU seconds, memory and error against exact values.

    python scripts/benchmarks/trajectories.py [--large]

One line per model and tolerance: CPU seconds, peak memory of the process so far, jumps per CPU second, the claimed
error (two standard errors of the worst one- or two-site observable), the true largest error of all neighbouring
two-site Pauli products, or of N, Q, P for a mode, and the root mean square of (value - exact) / standard error, which
should be about 1.  ``--large`` adds chains beyond exact diagonalisation, compared with the closed formula of the
boundary-driven XX chain.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence

import numpy as np

import mpo_transport as mt
from mpo_transport import Chain, Jump, Lindbladian, OpSum, SpinHalf, models, op
from mpo_transport.methods import Trajectories
from mpo_transport.observables import profile
from mpo_transport.reference import boundary_driven
from mpo_transport.result import Result
from mpo_transport.solve.resources import peak_memory


def local_operators(model: Lindbladian) -> list[OpSum]:
    """Return the observables that are compared."""
    if model.lattice.spaces[0].kind == "boson":
        return [op(name, j) for j in range(model.L) for name in ("N", "Q", "P")]
    single = [op(a, j) for j in range(model.L) for a in "XYZ"]
    return single + [op(a, i) * op(b, j) for i, j in model.lattice.bonds for a in "XYZ" for b in "XYZ"]


def compared(result: Result, operators: Sequence[OpSum], exact: np.ndarray) -> tuple[float, float]:
    """Return the largest true error and the root mean square score."""
    values = np.array([result.state.expect(o).real for o in operators])
    errors = result.state.standard_error(operators)  # type: ignore[attr-defined]
    sampled = errors > 1e-12
    score = ((values - exact)[sampled] / errors[sampled]) ** 2
    return float(np.abs(values - exact).max()), float(np.sqrt(score.mean()))


def run(name: str, model: Lindbladian, tol: float, operators: Sequence[OpSum], exact: np.ndarray) -> None:
    """Run one model and print its line."""
    begin = time.process_time()
    result = mt.steady_state(model, Trajectories(), tol=tol, seed=1, on_failure="return", progress=False)
    seconds = time.process_time() - begin
    true, score = compared(result, operators, exact)
    jumps = result.history["jumps"][-1]
    claimed = result.certificate.error_estimate or math.nan
    print(
        f"{name:<34} {math.prod(model.lattice.dims):>6} {tol:>6g} {result.status.value:<14} {seconds:>8.1f} "
        f"{peak_memory() / 2**20:>8.0f} {jumps / seconds:>9.0f} {claimed:>9.1e} {true:>9.1e} {score:>6.2f}",
        flush=True,
    )


def against_exact(name: str, model: Lindbladian, tolerances: Sequence[float]) -> None:
    """Compare with exact diagonalisation."""
    operators = local_operators(model)
    reference = mt.steady_state(model, mt.ExactDiag(), tol=1e-9, progress=False)
    exact = np.array([reference.state.expect(o).real for o in operators])
    for tol in tolerances:
        run(name, model, tol, operators, exact)


def against_formula(L: int, tol: float) -> None:
    """Compare the occupations of a long XX chain with the closed formula."""
    bath = {"G_L": 1.0, "f_L": 0.8, "G_R": 1.0, "f_R": 0.1}
    model = models.boundary_driven_xx(L=L, t=1.0, **bath)
    exact = boundary_driven.xx_chain(L, 1.0, **bath).density
    run(f"XX chain L = {L}", model, tol, list(profile(model, "N").operators), exact)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="chains beyond exact diagonalisation")
    arguments = parser.parse_args()
    print(f"{'model':<34} {'D':>6} {'tol':>6} {'status':<14} {'CPU s':>8} {'MiB':>8} {'jumps/s':>9} "
          f"{'claimed':>9} {'true':>9} {'score':>6}")  # fmt: skip
    qubit = Lindbladian(Chain(1, SpinHalf()), 0.7 * op("X", 0), [Jump(op("Sm", 0))])
    against_exact("driven damped qubit", qubit, (0.03, 0.01))
    against_exact(
        "Kerr mode, 12 levels", models.kerr_oscillator(Delta=0.5, U=1.0, F=1.0, gamma=1.0, levels=12), (0.05,)
    )
    for L in (4, 6):
        ring = models.persistent_current(L, 2.0, 1.0 + 0.3j, mu=1.0)
        against_exact(f"persistent-current ring L = {L}", ring, (0.05,))
    chain = models.boundary_driven_xx(L=6, t=1.0, G_L=1.0, f_L=0.8, G_R=1.0, f_R=0.1)
    against_exact("XX chain L = 6", chain, (0.05,))
    if arguments.large:
        for L in (10, 12):
            against_formula(L, 0.1)


if __name__ == "__main__":
    main()
