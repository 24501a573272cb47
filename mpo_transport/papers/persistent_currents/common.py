"""The paper, and the few lines every one of its figures needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...methods import ExactDiag
from ...model import Lindbladian
from ...observables import Observable, StateFunction, current, profile
from ...operators import OpSum
from ...result import Result
from ...states import State
from ..base import FigureData, Paper, solve

__all__ = [
    "CORRECTED_SIGN",
    "EXACT",
    "PAPER",
    "Exact",
    "angle_grid",
    "mean_current",
    "mean_z",
    "normalised",
    "solve",
    "solve_exactly",
]

PAPER = Paper(
    "persistent-currents",
    "M. Keck, D. Rossini, R. Fazio, Persistent currents by reservoir engineering, "
    "Phys. Rev. A 98, 053812 (2018), arXiv:1809.02964",
)

# hundreds of small systems whose uniqueness is known (section on non-unique states of the physics page)
EXACT = ExactDiag(solver="iterative", check_uniqueness=False)

CORRECTED_SIGN = (
    "I^eta as defined in Eq. (14), positive for alpha > delta > 0; the equation of motion (13), (22) of the paper has "
    "the opposite sign of I^eta and I^lambda, and its Eq. (24) is twice as large with the opposite sign"
)


@dataclass(frozen=True)
class Exact:
    """An exact steady state without the certificate of the whole loop, which would cost more than the solution."""

    model: Lindbladian
    state: State

    def expect(self, observable: Observable | StateFunction | OpSum) -> Any:
        """Return the value of an observable, as :meth:`mpo_transport.Result.expect` does."""
        if isinstance(observable, OpSum):
            value = self.state.expect(observable)
            return value.real if observable == observable.dag else value
        return observable.evaluate(self.state)


def solve_exactly(data: FigureData, model: Lindbladian) -> Exact:
    """Return the steady state of a small system by one call of exact diagonalisation; its residual is recorded."""
    work = EXACT.prepare(model, tol=1e-7, seed=0)
    iterate, diagnostics = EXACT.advance(work, EXACT.start(work, None))
    while not diagnostics.done:
        iterate, diagnostics = EXACT.advance(work, iterate)
    assert diagnostics.status is not None
    data.record(diagnostics.status, diagnostics.measures.get("residual"), diagnostics.measures.get("error_estimate"))
    return Exact(model, iterate.state)


def mean_current(result: Exact | Result, kind: str = "eta", distance: int = 1) -> float:
    """Return the current averaged over all pairs of sites at a distance (a ring has one value on all of them)."""
    return float(np.mean(result.expect(current(result.model, kind, distance=distance))))


def mean_z(result: Exact | Result) -> float:
    """Return the magnetisation <sigma^z> averaged over the sites."""
    return float(np.mean(result.expect(profile(result.model, "Z"))))


def normalised(value: np.ndarray | float, alpha: np.ndarray | float, delta: np.ndarray | float) -> np.ndarray:
    """Return I / |alpha^2 - delta^2|; 0 on the diagonal, where both vanish and the ratio is odd."""
    gap = np.abs(np.asarray(alpha) ** 2 - np.asarray(delta) ** 2)
    on_diagonal = gap < 1e-12
    return np.where(on_diagonal, 0.0, np.asarray(value) / np.where(on_diagonal, 1.0, gap))


def angle_grid(quick: bool, extra: Sequence[int] = ()) -> np.ndarray:
    """Return angles k pi/64 inside (0, pi/2); the ends are left out, where the steady state is not unique.

    A quick grid holds a few multiples of pi/32, symmetric about pi/4.
    """
    near_diagonal = 16 + np.array([-0.75, -0.5, -0.25, 0.25, 0.5, 0.75])  # steep there for r^2 >> mu
    k = np.array([4, 8, 16, 24, 28, *extra]) if quick else np.concatenate([np.arange(1, 32), near_diagonal])
    return np.sort(k) * np.pi / 64
