"""The works given to other libraries: generators of the bonds, the answer, and the race against the clock.

A peer gets every advantage: time step and bond dimension are chosen for it, and it stops as soon as its error, known
here, is below the aim (it needs no stopping rule and no error estimate).  Looking at the state is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
from _rows import peak_mib  # noqa: E402

__all__ = ["Stage", "W1", "finish", "parse", "race"]


@dataclass(frozen=True)
class Stage:
    """A piece of the evolution: bond dimension, order of the splitting, time step, time between two looks."""

    chi: int
    order: int
    dt: float
    interval: float


# A coarse start, then second-order steps whose splitting error is below the aim.
STAGES = {
    "w1-1e-4": (Stage(16, 2, 0.2, 4.0), Stage(16, 2, 0.02, 1.0), Stage(24, 2, 0.01, 1.0)),
    "w1-1e-6": (Stage(16, 2, 0.2, 4.0), Stage(24, 2, 0.02, 1.0), Stage(24, 2, 0.002, 0.5), Stage(32, 2, 0.001, 0.5)),
}
AIMS = {"w1-1e-4": 1e-4, "w1-1e-6": 1e-6}


class W1:
    """Open persistent-current chain, L = 30, (2, 1, 1): generators of the bonds and the error of a train."""

    def __init__(self) -> None:
        from _works import CONVERGED, SETS, w1_model

        from mpo_transport import observables as obs
        from mpo_transport.superoperator.terms import local_generators, pair_generators

        self.model = w1_model(*SETS[""])
        entry = json.loads(CONVERGED.read_text(encoding="utf-8"))["w1"]
        self.current, self.exact = obs.current(self.model), np.asarray(entry["current"])
        pairs = pair_generators(local_generators(self.model), (2,) * self.model.L)
        self.generators = [np.asarray(pairs[(j, j + 1)]) for j in range(self.model.L - 1)]

    @property
    def L(self) -> int:
        """Number of sites."""
        return self.model.L

    def values(self, tensors: Sequence[np.ndarray]) -> np.ndarray:
        """Return the bond currents of a train of arrays (l, 4, r) in the basis (1, X, Y, Z)/sqrt(2)."""
        from mpo_transport.states import MPOState

        tensors = [np.real(t) for t in tensors]
        scale = np.prod([np.abs(t).max() for t in tensors]) ** (1 / len(tensors))
        return np.asarray(self.current.evaluate(MPOState(self.model.lattice, tuple(t / scale for t in tensors))))


def parse(description: str) -> tuple[str, float]:
    """Return the work and the wall seconds allowed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("work", nargs="?", default="w1-1e-4")
    parser.add_argument("--limit", type=float, default=120.0, help="wall seconds")
    chosen = parser.parse_args()
    return chosen.work, chosen.limit


def race(
    work: str, limit: float, problem: W1, evolve: Callable[[Stage], None], tensors: Callable[[], Sequence[np.ndarray]]
) -> dict[str, Any]:
    """Evolve stage after stage until every bond is within the aim or the time is over.

    A stage ends where the error no longer falls: then its own step or bond dimension limits it.
    """
    aim, cpu, begun = AIMS[work], 0.0, time.perf_counter()
    best, row = float("inf"), {}
    for stage in STAGES[work]:
        stalled, before = 0, float("inf")
        while stalled < 3:
            start = time.process_time()
            evolve(stage)
            cpu += time.process_time() - start
            values = problem.values(tensors())
            error = float(np.abs(values - problem.exact).max())
            middle = len(values) // 2
            if error < best:
                best = error
                row = {
                    "error": error,
                    "error_middle": float(abs(values[middle] - problem.exact[middle])),
                    "value": float(values[middle]),
                    "chi": stage.chi,
                    "order": stage.order,
                    "dt": stage.dt,
                    "cpu_s": cpu,
                }
            if error <= aim:
                return {**row, "status": "aim reached", "peak_MiB": peak_mib()}
            stalled = stalled + 1 if error > 0.9 * before else 0
            before = min(before, error)
            if time.perf_counter() - begun > limit:
                return {**row, "cpu_s": cpu, "status": f"more than {limit:g} s", "peak_MiB": peak_mib()}
    return {**row, "cpu_s": cpu, "status": "stalled", "peak_MiB": peak_mib()}


def finish(row: dict[str, Any]) -> None:
    """Print the row as the last line of output."""
    print(json.dumps(row))
