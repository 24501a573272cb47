"""Which backend counts: moment equations, the tilted Lindbladian, or adjoint problems of a matrix-product state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dual.estimate import checked_bond
from ..errors import ConvergenceError, InputError, InsufficientMemoryError, NotSupportedError
from ..methods import TEBD, ExactDiag, Gaussian, HierarchyState, Method
from ..model import Lindbladian
from ..result import Result, Status
from ..solve import choose_method, steady_state
from ..solve.choice import check_method
from ..solve.steady import deliver
from ..spectrum.blocks import sector_size
from ..states import DenseState, MPOState
from ..storage import model_digest
from ..superoperator import quadratic_form
from .exact import ExactCounting, sector_of_counting
from .gaussian import GaussianCounting
from .hierarchy import HierarchyCounting, exact_counting
from .network import NetworkCounting

__all__ = ["Backend", "Counter", "counter_for"]

Backend = GaussianCounting | ExactCounting | NetworkCounting | HierarchyCounting

# Exact counting is chosen up to this dimension of the Hilbert space and this many operators in the sector.
COMFORTABLE_DIMENSION = 1024
COMFORTABLE_SECTOR = 5000
STATE_TOL = 1e-6


@dataclass(frozen=True, eq=False)
class Counter:
    """A backend, the name of what it does, and why it was chosen."""

    backend: Backend
    name: str
    reason: str = ""


def counter_for(
    model: Lindbladian,
    table: np.ndarray,
    method: Any = None,
    tol: float = 1e-4,
    result: Any = None,
    max_bond: int | None = None,
) -> Counter:
    """Return the backend for a method, or for a finished steady state; ``max_bond`` limits adjoint problems.

    Raises
    ------
    InputError
        If ``method`` is no method, or ``result`` belongs to another model.
    NotSupportedError
        If the method cannot count.
    """
    if result is not None:
        return _of_result(model, table, method, result, max_bond)
    if method is None:
        method, reason = _chosen(model, table, tol)
    else:
        reason = ""
        _check_is_method(method)
    name = type(method).__name__
    if isinstance(method, (Gaussian, ExactDiag)):
        support = method.supports(model)
        if not support:
            raise NotSupportedError(f"Method {name} does not support this model: {support.reason}", field="method")
        direct = GaussianCounting if isinstance(method, Gaussian) else ExactCounting
        return Counter(direct(model, table), name, reason)
    if method.statistical or name == "ClusterMeanField":
        raise _cannot_count(name)
    check_method(method, model, "steady_state", tol)
    solved = steady_state(model, method, tol=min(STATE_TOL, tol), on_failure="return", progress=False)
    if solved.status not in (Status.CONVERGED, Status.NOT_CONVERGED, Status.STALLED_BY_TRUNCATION):
        deliver(solved, "raise")
    if isinstance(solved.state, HierarchyState):
        return Counter(HierarchyCounting(model, table, solved.state), name, reason)
    if not isinstance(solved.state, MPOState):
        raise _cannot_count(name)
    return Counter(_network(model, table, solved.state, max_bond), name, reason)


def _network(
    model: Lindbladian, table: np.ndarray, state: MPOState, max_bond: int | None
) -> NetworkCounting | HierarchyCounting:
    """Return exact duals of an exact state where they exist; a bond dimension asks for matrix products."""
    exact = exact_counting(model, table, state) if max_bond is None else None
    return NetworkCounting(model, table, state, checked_bond(max_bond)) if exact is None else exact


def _chosen(model: Lindbladian, table: np.ndarray, tol: float) -> tuple[Any, str]:
    try:
        form = quadratic_form(model)
    except NotSupportedError as error:
        if not model.lattice.is_bounded:
            raise NotSupportedError(
                f"No backend counts for unbounded modes here: give `levels` a number. {error}", field="model"
            ) from None
    else:
        if form.statistics == "fermion" or not model.lattice.is_bounded:
            return Gaussian(), "the model is quadratic."
    D = math.prod(int(d) for d in model.lattice.dims)
    if D <= COMFORTABLE_DIMENSION:
        size = sector_size(*sector_of_counting(model, table))
        if size <= COMFORTABLE_SECTOR:
            return ExactDiag(), f"the sector of the steady state has {size:.6g} operators."
    chosen, reason = choose_method(model, "steady_state", tol)
    if isinstance(chosen, ExactDiag):
        chosen, reason = TEBD(), "the sector of the steady state is too large to be factorised."
    return chosen, reason


def _check_is_method(method: Any) -> None:
    if isinstance(method, type) and issubclass(method, Method):
        raise InputError(
            f"Argument `method` must be a method object: write {method.__name__}() with its knobs.", field="method"
        )
    if not isinstance(method, Method):
        raise InputError(
            f"Argument `method` must be None or a method object such as ExactDiag(), but is {method!r}.",
            field="method",
        )


def _of_result(model: Lindbladian, table: np.ndarray, method: Any, result: Any, max_bond: int | None) -> Counter:
    if not isinstance(result, Result):
        raise InputError(
            f"Argument `result` must come from steady_state(...), but is {type(result).__name__}.", field="result"
        )
    if method is not None:
        raise InputError("Give either `method` or `result`, not both.", field="method")
    if result.model is not model and model_digest(result.model) != model_digest(model):
        raise InputError("Argument `result` belongs to another model than `model`.", field="result")
    if result.status not in (Status.CONVERGED, Status.NOT_CONVERGED, Status.STALLED_BY_TRUNCATION):
        raise ConvergenceError(
            f"The steady state is no ground for counting: {result.status.value}. {result.status.explanation}",
            result=result,
        )
    name = type(result.method).__name__
    if isinstance(result.state, HierarchyState):
        return Counter(HierarchyCounting(model, table, result.state), name)
    if isinstance(result.state, MPOState):
        return Counter(_network(model, table, result.state, max_bond), name)
    if isinstance(result.state, DenseState):
        return Counter(ExactCounting(model, table), name)
    if name == "Gaussian":
        return Counter(GaussianCounting(model, table), name)
    try:
        return Counter(ExactCounting(model, table), "ExactDiag")
    except InsufficientMemoryError:
        raise _cannot_count(name) from None


def _cannot_count(name: str) -> NotSupportedError:
    return NotSupportedError(
        f"Method {name} does not give counting statistics; use Gaussian(), ExactDiag() or a matrix-product method such "
        "as TEBD() or ImplicitSweeps().",
        field="method",
    )
