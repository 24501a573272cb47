"""Corrected expectation values with signed errors: the dual-weighted residual.

For every approximation x of trace one, whatever made it,

    <O>_ss = <O>_x - (y| L x),        L^T y = O - <O>_ss 1.

R. Becker and R. Rannacher, Acta Numerica 10, 1 (2001), for the idea; here y is a vector of operator space or a matrix
product.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..methods.hierarchy import HierarchyState
from ..methods.hierarchy.remainder import has_modes
from ..model import Lindbladian
from ..observables import Observable
from ..observables.algebra import operator_norm
from ..operators import OpSum
from ..result import Result
from ..states import MPOState, State
from ..states.gaussian import GaussianState
from .base import CONVERGED, DUAL_FAILED, NOT_CONVERGED, Dual, DualBackend
from .exact import ExactDual
from .gaussian import GaussianDual
from .hierarchy import HierarchyDual, HierarchyFirst
from .ladder import LadderDual, LadderFirst
from .network import NetworkDual

__all__ = ["Corrected", "backend_of", "checked_result", "corrected", "hermitian_parts", "operators_of"]

# Up to this number of levels closed sets of general local operators are looked for, and duals as matrix products are
# cheap enough to be tried for a smaller error.
FEW_LEVELS = 4


@dataclass(frozen=True)
class Corrected:
    """An expectation value, its dual-weighted correction, and what is left of the error.

    Attributes
    ----------
    name, labels
        The observable and what its entries belong to.
    value
        The expectation value in the state of the result: a number, or an array of the shape of the observable.
    corrected
        value - (y| L x), same shape; NaN where the dual failed.
    error
        Estimate of |corrected - exact|; NaN where the dual failed.
    residual
        |L^T y - b| / |b| of the dual of each entry.
    status
        "converged" (error below the tolerance), "not converged" (above it) or "dual not converged", per entry.
    bond_dimension
        Largest bond dimension of the duals; None for exact ones.
    """

    name: str
    labels: tuple[Any, ...]
    value: Any
    corrected: Any
    error: Any
    residual: Any
    status: Any
    bond_dimension: int | None = None

    @property
    def correction(self) -> Any:
        """corrected - value, the negative of the signed error estimate of ``value``."""
        return self.corrected - self.value

    @property
    def converged(self) -> bool:
        """Whether every entry is."""
        return bool(np.all(np.asarray(self.status) == CONVERGED))

    def __str__(self) -> str:
        rows = zip(
            self.labels or range(np.size(self.value)),
            *(np.ravel(np.asarray(a)) for a in (self.value, self.corrected, self.error, self.residual, self.status)),
            strict=True,
        )
        lines = [f"{self.name}: label, value, corrected, error, residual of the dual"]
        lines += [f"  {label!s:>10}  {v:.10g}  {c:.10g}  {e:.1e}  {r:.1e}  {s}" for label, v, c, e, r, s in rows]
        return "\n".join(lines)


def corrected(
    result: Result,
    observable: Observable | OpSum,
    *,
    max_bond: int | None = None,
    tol: float | None = None,
    uniform: bool = False,
    refine: bool = False,
) -> Corrected:
    """Return expectation values corrected by the dual-weighted residual, with error bars.

        corrected = <O>_x - (y| L x),        L^T y = O - <O>_x 1

    ``x`` may be truncated, not relaxed, or not positive: the identity does not ask where its error came from.  What
    remains is a product of the errors of the dual and of the state.

    Parameters
    ----------
    result
        A steady state, converged or not.
    observable
        From :mod:`mpo_transport.observables` (linear ones), or an :class:`~mpo_transport.OpSum`.
    max_bond
        Largest bond dimension of the duals of a matrix-product state; default: twice that of the state, 32 .. 64.
    tol
        Duals grow until the estimated error is below ``tol`` times the operator norm; default: that of the result.
    uniform
        The entries must agree in the steady state (the current of a conserved charge): their scatter after the
        correction is then added to the error.
    refine
        Solve L x = 0 as well, by the same sweeps and up to the same bond dimension as the dual, and correct that state
        instead of the one of the result (unless it has the smaller |L x|).  For matrix products whose own error limits
        the corrected value: chains that are weakly driven at their ends.  ``value`` stays that of the result.  The
        corrected value is the mean over pairs of the latest iterates y_i of the dual and x_j of the state,

            mean_ij [ <O>_{x_j} - (y_i| L x_j) ],

        and its error estimate the sum of how far they still move and of a truncation error of the size of the product
        of both residuals, measured between bond dimensions.  No effect on states whose dual is exact.

    Returns
    -------
    Corrected
        For a dense or Gaussian state the dual is exact and the error a bound.  For a matrix-product state the error is
        an estimate from duals of several bond dimensions and their own exact residuals; where the residual of the last
        one exceeds 0.1, corrected value and error are NaN and the status is "dual not converged".

    Raises
    ------
    InputError
        For a bad argument; a quantity that is not linear in the state (field ``observable``).
    NotSupportedError
        For a state too large to be written out that is not a matrix product; of a Gaussian state, for an observable
        that is more than quadratic.

    Examples
    --------
    >>> import mpo_transport as mt
    >>> model = mt.models.persistent_current(L=4, alpha=2.0, delta=1.0, periodic=False)
    >>> rough = mt.steady_state(model, mt.TEBD(max_bond=2, dt=0.05), on_failure="return")
    >>> exact = mt.steady_state(model, mt.ExactDiag())
    >>> current = mt.observables.current(model)
    >>> estimate = corrected(rough, current)
    >>> before = abs(rough.expect(current) - exact.expect(current)).max()
    >>> after = abs(estimate.corrected - exact.expect(current)).max()
    >>> bool(after < 1e-3 * before), estimate.converged
    (True, True)
    """
    checked_result(result)
    operators, name, labels = operators_of(observable)
    if not isinstance(refine, bool):
        raise InputError(f"Argument `refine` must be True or False, but is {refine!r}.", field="refine")
    backend = backend_of(result, checked_bond(max_bond), refine=refine)
    relative = checked_tolerance(result.tol if tol is None else tol)
    norms = [operator_norm(result.model.lattice, o) for o in operators]
    values = [complex(result.state.expect(o)) for o in operators]
    # from the middle: of the bonds of a chain the first one that is solved for serves all
    middle = (len(operators) - 1) / 2
    found = {
        k: _entry(backend, operators[k], values[k], relative * norms[k])
        for k in sorted(range(len(operators)), key=lambda k: abs(k - middle))
    }
    duals = [found[k] for k in range(len(operators))]
    value = np.array(values, dtype=complex)
    improved = np.array([_combined(parts, "corrected") for parts in duals])
    error = _with_typical(np.array([_total_error(parts) for parts in duals]))
    if uniform:
        error = error + _scatter(improved)
    residual = np.array([max((d.residual for _, d in parts), default=0.0) for parts in duals])
    trusted = np.array([all(d.trusted for _, d in parts) for parts in duals])
    scale = np.array([relative * n for n in norms])
    status = np.where(trusted, np.where(error <= scale, CONVERGED, NOT_CONVERGED), DUAL_FAILED)
    bonds = [d.bond_dimension for parts in duals for _, d in parts if d.bond_dimension is not None]
    if all(_is_hermitian(o) for o in operators):
        value, improved = value.real, improved.real
    return Corrected(
        name=name,
        labels=labels,
        value=_shaped(value, observable),
        corrected=_shaped(improved, observable),
        error=_shaped(error, observable),
        residual=_shaped(residual, observable),
        status=_shaped(status, observable),
        bond_dimension=max(bonds, default=None),
    )


Parts = list[tuple[complex, Dual]]


def _entry(backend: DualBackend, operator: OpSum, value: complex, goal: float) -> Parts:
    """Return the duals of the Hermitian parts of an operator with their factors."""
    pieces = hermitian_parts(operator)
    share = goal / max(len(pieces), 1)
    # Tr(O rho) of the two parts: real and imaginary part of the value
    own = {1.0 + 0j: value.real, 1j: value.imag}
    return [(factor, backend.solve(part, own[factor], share)) for factor, part in pieces]


def hermitian_parts(operator: OpSum) -> list[tuple[complex, OpSum]]:
    """Return [(1, A), (i, B)] with O = A + i B and A, B Hermitian; a vanishing part is left out."""
    if _is_hermitian(operator):
        return [(1.0 + 0j, operator)] if operator else []
    real, imaginary = 0.5 * (operator + operator.dag), -0.5j * (operator - operator.dag)
    return [(f, o) for f, o in ((1.0 + 0j, real), (1j, imaginary)) if o]


def _is_hermitian(operator: OpSum) -> bool:
    return Observable("", (operator,)).is_hermitian


def _combined(parts: Parts, field: str) -> complex:
    return complex(sum((factor * getattr(d, field) for factor, d in parts), 0j))


def _total_error(parts: Parts) -> float:
    return math.sqrt(sum(d.error**2 for _, d in parts))


def _with_typical(error: np.ndarray) -> np.ndarray:
    """Raise accidentally small estimates to half the median of the others."""
    known = error[np.isfinite(error)]
    return np.maximum(error, 0.5 * float(np.median(known))) if known.size > 1 else error


def _scatter(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.abs(known[:, None] - known[None, :]).max()) if known.size > 1 else 0.0


def _shaped(array: np.ndarray, observable: Observable | OpSum) -> Any:
    if isinstance(observable, OpSum) or not observable.dimension:
        return array[0].item() if array.dtype.kind != "U" else str(array[0])
    return array.reshape(observable.shape or array.shape)


# ----------------------------------------------------------------------------------------------------------------------
# arguments


def operators_of(observable: Any) -> tuple[tuple[OpSum, ...], str, tuple[Any, ...]]:
    """Return (operators, name, labels) of a linear observable.

    Raises
    ------
    InputError
        If it is none (field ``observable``).
    """
    if isinstance(observable, OpSum):
        return (observable,), repr(observable), ()
    if not isinstance(observable, Observable):
        raise InputError(
            "Argument `observable` must be linear in the state: an OpSum or an Observable from "
            f"mpo_transport.observables, but is {type(observable).__name__} "
            f"{getattr(observable, 'name', '')!r}.",
            field="observable",
        )
    return observable.operators, observable.name, observable.labels


def checked_result(result: Any) -> Result:
    """Return the result of a steady state."""
    if not isinstance(result, Result):
        raise InputError(
            f"Argument `result` must come from steady_state(...), but is {type(result).__name__}.", field="result"
        )
    return result


def checked_bond(max_bond: Any) -> int | None:
    """Return the bond dimension, None or an integer of at least 2: an error estimate needs two duals."""
    whole = isinstance(max_bond, (int, np.integer)) and not isinstance(max_bond, bool)
    if max_bond is not None and not (whole and max_bond >= 2):
        raise InputError(f"Argument `max_bond` must be an integer >= 2 or None, but is {max_bond!r}.", field="max_bond")
    return None if max_bond is None else int(max_bond)


def checked_tolerance(tol: Any) -> float:
    """Return a positive number."""
    if isinstance(tol, bool) or not isinstance(tol, numbers.Real) or not math.isfinite(tol) or tol <= 0:
        raise InputError(f"Argument `tol` must be a finite number > 0 or None, but is {tol!r}.", field="tol")
    return float(tol)


def backend_of(result: Result, max_bond: int | None, *, refine: bool = False) -> DualBackend:
    """Return the solver of adjoint problems that fits the state."""
    if isinstance(result.state, HierarchyState):
        return HierarchyDual(result.model, result.state, result.state.cap)
    if isinstance(result.state, MPOState):
        return _network_backend(result.model, result.state, result.companions, max_bond, refine)
    if isinstance(result.state, GaussianState):
        return GaussianDual(result.model, result.state)
    return ExactDual(result.model, result.state)


def _network_backend(
    model: Lindbladian,
    state: MPOState,
    companions: Mapping[str, tuple[State, float]],
    max_bond: int | None,
    refine: bool,
) -> DualBackend:
    """Return duals of a matrix-product state: on closed sets of operators first, as matrix products last."""

    def network() -> NetworkDual:
        return NetworkDual(model, state, max_bond, refine=refine)

    if max_bond is not None:  # whoever names a bond dimension asks for a matrix product
        return network()
    if not has_modes(model):
        return HierarchyFirst(model, state, network())
    many = max(model.lattice.dims) > FEW_LEVELS
    first = LadderFirst(LadderDual(model, state, companions), network, costly=many)
    # with many levels, what closes exactly closes on ladder operators
    return first if many else HierarchyFirst(model, state, first)
