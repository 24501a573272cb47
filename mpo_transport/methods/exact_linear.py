"""Linear problems on the components of a symmetric sector, and their solvers as pieces of about a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg

from ..model import Lindbladian
from ..superoperator.symmetric_sector import SymmetricSector
from .exact_idr import InducedReduction, idr_chunk
from .exact_krylov import LinearProblem, Progress, deepest, run_chunk
from .exact_nojump import no_jump_inverse
from .exact_stages import Settings

__all__ = ["ComponentProblem", "SolveState", "no_jump_problem", "routes", "rows_problem", "solve_piece"]

Apply = Callable[[np.ndarray], np.ndarray]
_DENSE_FIRST = 500
_DENSE_LAST = 6000
_LARGEST_NO_JUMP = 4096
_DIRECTIONS = 4
_PATIENCE = 200  # products in which the residual has to fall by ten
_PIECE = 1.0  # seconds


def routes(sector: SymmetricSector, D: int) -> tuple[str, ...]:
    """Return the solvers to try, in this order."""
    largest = max(len(c.unknowns) for c in sector.components)
    if largest <= _DENSE_FIRST:
        return ("dense",)
    return (
        "rows",
        *(("no-jump",) if D <= _LARGEST_NO_JUMP else ()),
        *(("dense",) if largest <= _DENSE_LAST else ("deep",)),
    )


@dataclass(frozen=True, eq=False)
class ComponentProblem:
    """A y = b with A = L - s rho_mixed Tr(.) and b = -L rho_mixed on one component.

    ``cost`` is a guess of the seconds per product with preconditioning; ``matrix`` writes A out.
    """

    apply: Apply
    precondition: Apply | None
    b: np.ndarray
    trace: np.ndarray
    mixed: np.ndarray
    cost: float
    matrix: Callable[[], np.ndarray]


def rows_problem(sector: SymmetricSector, k: int) -> ComponentProblem:
    """Return the problem of component k, preconditioned by minus the 2-norms of the rows."""
    c = sector.components[k]
    matrix = c.matrix
    rows = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = float(rows.mean()) if np.any(rows) else 1.0
    shift = scale / float(np.linalg.norm(c.mixed) * np.linalg.norm(c.trace))
    divisor = -np.where(rows > 1e-10 * scale, rows, scale)

    def apply(v: np.ndarray) -> np.ndarray:
        return matrix @ v - (shift * float(c.trace @ v)) * c.mixed

    def dense() -> np.ndarray:
        return matrix.toarray() - shift * np.outer(c.mixed, c.trace)

    cost = 2e-9 * matrix.nnz + 1e-7 * len(rows) + 1e-5
    return ComponentProblem(apply, lambda v: v / divisor, -(matrix @ c.mixed), c.trace, c.mixed, cost, dense)


def no_jump_problem(model: Lindbladian, sector: SymmetricSector, k: int) -> ComponentProblem:
    """Return the problem of component k, preconditioned by the inverse of the evolution between jumps."""
    plain = rows_problem(sector, k)
    inverse = no_jump_inverse(model, sector, sector.components[k])
    D = float(np.prod(sector.plan.dims))
    return replace(plain, precondition=inverse, cost=plain.cost + 1e-9 * D**3 + 1e-8 * D * D)


@dataclass(frozen=True)
class SolveState:
    """A solve in progress.

    ``ended`` is None while it goes on, "done", "failed" (stagnation, divergence, products used up).
    ``gain`` is the largest |change of x| / |residual removed|, an estimate of |A^-1|.
    """

    kind: str
    x: np.ndarray
    residual: float
    products: int
    gain: float = 0.0
    ended: str | None = None
    arrays: Mapping[str, np.ndarray] | None = None
    numbers: Mapping[str, Any] | None = None
    mark: tuple[int, float] = (0, np.inf)
    restarts: int = 0

    def save(
        self, numbers: dict[str, Any], arrays: dict[str, np.ndarray]
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return copies of the mappings that remember this solve."""
        own = {"kind": self.kind, "residual": self.residual, "products": self.products, "gain": self.gain}
        own |= {"mark_products": self.mark[0], "mark_residual": self.mark[1], "restarts": self.restarts}
        numbers, arrays = self.clear(numbers, arrays)
        numbers |= {
            f"solve_{k}": v for k, v in (own | {f"own_{k}": v for k, v in (self.numbers or {}).items()}).items()
        }
        arrays |= {"solve_x": self.x} | {f"solve_own_{k}": v for k, v in (self.arrays or {}).items()}
        return numbers, arrays

    @classmethod
    def load(cls, numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> SolveState | None:
        """Return the solve remembered in the mappings."""
        if "solve_kind" not in numbers:
            return None
        n = numbers
        return cls(
            n["solve_kind"],
            arrays["solve_x"],
            n["solve_residual"],
            n["solve_products"],
            n["solve_gain"],
            None,
            {k[10:]: v for k, v in arrays.items() if k.startswith("solve_own_")},
            {k[10:]: v for k, v in n.items() if k.startswith("solve_own_")},
            (n["solve_mark_products"], n["solve_mark_residual"]),
            n["solve_restarts"],
        )

    @staticmethod
    def clear(
        numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return copies of the mappings without a solve in progress."""
        return (
            {k: v for k, v in numbers.items() if not k.startswith("solve_")},
            {k: v for k, v in arrays.items() if not k.startswith("solve_")},
        )


def solve_piece(
    problem: ComponentProblem, route: str, b: np.ndarray, state: SolveState | None, target: float, settings: Settings
) -> SolveState:
    """Return the solve of A x = b after about a second more of work with the solver of a route."""
    if not np.any(b):
        return SolveState(route, np.zeros(len(b)), 0.0, 0, ended="done")
    if route == "dense":
        return _factorised(problem, b)
    if route == "rows":
        return _reduced(problem, b, state, target, settings)
    return _recycled(problem, route, b, state, target, settings)


def _floor(problem: ComponentProblem, x: np.ndarray, b: np.ndarray) -> float:
    """Rounding error of one residual, roughly."""
    return 20 * float(np.finfo(float).eps) * float(np.linalg.norm(b) + np.linalg.norm(problem.apply(np.abs(x))))


def _judged(
    state: SolveState, problem: ComponentProblem, b: np.ndarray, target: float, settings: Settings
) -> SolveState:
    """Decide whether a solve has ended, by the progress since the last mark."""
    if state.residual <= target:
        return replace(state, ended="done")
    if not np.isfinite(state.residual) or state.residual > 1e6 * float(np.linalg.norm(b)):
        return replace(state, ended="failed")
    slow = state.products - state.mark[0] >= _PATIENCE
    if (slow and state.residual > 0.1 * state.mark[1]) or state.products >= settings.max_products:
        return replace(state, ended="done" if state.residual <= _floor(problem, state.x, b) else "failed")
    return replace(state, mark=(state.products, state.residual)) if slow else state


def _reduced(
    problem: ComponentProblem, b: np.ndarray, state: SolveState | None, target: float, settings: Settings
) -> SolveState:
    """IDR(s): a chunk; when its own residual has converged, the true one decides."""
    assert problem.precondition is not None
    if state is None:
        inner = InducedReduction.begin(problem.apply, b, np.zeros(len(b)), min(_DIRECTIONS, len(b)))
        state = SolveState("rows", inner.x, inner.residual, 1, mark=(1, inner.residual))
    else:
        inner = InducedReduction.stored(state.arrays or {}, state.numbers or {})
    chunk = int(np.clip(_PIECE / problem.cost, 20, _PATIENCE))
    chunk = min(chunk, max(settings.max_products - inner.products, 1))
    inner = idr_chunk(
        problem.apply, problem.precondition, inner, target=target, products=chunk, seed=settings.seed + state.restarts
    )
    residual, restarts = inner.residual, state.restarts
    if residual <= target:
        inner = replace(inner, r=b - problem.apply(inner.x), products=inner.products + 1)
        residual = inner.residual
        if residual > target:  # the recursion has drifted from the truth: refine
            none = np.zeros_like(inner.G)
            inner = replace(inner, G=none, U=none, M=np.eye(len(none)), omega=1.0)
            restarts += 1
    gain = float(np.linalg.norm(inner.x)) / float(np.linalg.norm(b))
    moved = SolveState(
        "rows", inner.x, residual, inner.products, gain, None, inner.arrays(), inner.numbers(), state.mark, restarts
    )
    judged = _judged(moved, problem, b, target, settings)
    return replace(judged, ended="failed") if judged.ended is None and restarts > 5 else judged


def _recycled(
    problem: ComponentProblem, route: str, b: np.ndarray, state: SolveState | None, target: float, settings: Settings
) -> SolveState:
    """GCROT: a chunk of cycles."""
    if problem.precondition is None:
        return SolveState(route, np.zeros(len(b)), np.inf, 0, ended="failed")
    linear = LinearProblem(problem.apply, problem.precondition, b)
    if state is None:
        depth = settings.depth if route == "no-jump" else deepest(len(b))
        progress = Progress.begin(linear, np.zeros(len(b)), depth)
        mark = (1, progress.residual)
    else:
        own, n = state.arrays or {}, state.numbers or {}
        progress = Progress(
            state.x, own["C"], own["U"], state.residual, state.products, state.gain, n["slow_chunks"], n["depth"]
        )
        mark = state.mark
    cycles = int(np.clip(_PIECE / (progress.depth * problem.cost), 1, 20))
    progress = run_chunk(linear, progress, target=target, cycles=cycles)
    moved = SolveState(
        route,
        progress.x,
        progress.residual,
        progress.products,
        progress.gain,
        None,
        {"C": progress.C, "U": progress.U},
        {"slow_chunks": progress.slow_chunks, "depth": progress.depth},
        mark,
    )
    judged = _judged(moved, problem, b, target, settings)
    if judged.ended is None and progress.slow_chunks > 5:
        return replace(judged, ended="done" if judged.residual <= _floor(problem, judged.x, b) else "failed")
    return judged


def _factorised(problem: ComponentProblem, b: np.ndarray) -> SolveState:
    """LU with refinement; the gain is 1 / (smallest singular value) by a few steps of inverse iteration."""
    factors = scipy.linalg.lu_factor(problem.matrix(), check_finite=False)
    pivots = np.abs(np.diag(factors[0]))
    if pivots.min() <= 1e-14 * pivots.max():
        return SolveState("dense", np.zeros(len(b)), float(np.linalg.norm(b)), 0, ended="failed")
    x = np.zeros(len(b))
    for _ in range(3):
        x = x + scipy.linalg.lu_solve(factors, b - problem.apply(x), check_finite=False)
    v = np.random.default_rng(len(b)).standard_normal(len(b))
    gain = 0.0
    for _ in range(12):
        w = scipy.linalg.lu_solve(factors, v / np.linalg.norm(v), check_finite=False)
        gain = float(np.linalg.norm(w))
        v = scipy.linalg.lu_solve(factors, w, trans=1, check_finite=False)
    residual = float(np.linalg.norm(b - problem.apply(x)))
    ended = "done" if np.isfinite(residual) and np.isfinite(gain) else "failed"
    return SolveState("dense", x, residual, 0, gain, ended)
