"""Slowest eigenvalues on a closed set of operators, for chains of any length whose equations of motion close.

A set of strings A that the adjoint generator maps to itself and the identity, L^dag(A) = sum_B M_AB B + s_A 1, is an
invariant subspace: every eigenvalue of M is one of the Lindbladian.  The slowest of them is the rate at which the
observables of the set relax, at least the gap of the whole: slower modes may exist in which they have no part.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..errors import ConvergenceError, InputError, NotSupportedError
from ..methods.hierarchy.closure import NotClosedError, close
from ..methods.hierarchy.equations import components
from ..methods.hierarchy.state import not_closed
from ..methods.hierarchy.work import default_cap, hierarchy_action, search
from ..model import Lindbladian, checked_model
from ..observables import Observable
from ..operators import OpSum
from ..solve.inputs import checked_seed, checked_tol
from ..superoperator.heisenberg import operator_strings
from .numerics import Eigen, dense_eigen, krylov_eigen, matched_left, order, scale_of, shifted_inverse
from .result import Spectrum

__all__ = ["hierarchy_spectrum"]

# Blocks up to this size are diagonalised.  Modes of free particles oscillate with all their differences of energy at
# nearly the same rates, so that spaces of exp(M t) do not settle in larger ones: those nearest to zero are taken.
_DENSE = 700
_ZERO, _TOL = 1e-11, 1e-10
NEAREST = "eigenvalues nearest to zero (a slower mode that oscillates faster may exist)"


def hierarchy_spectrum(
    model: Lindbladian,
    k: int = 4,
    observables: Any = None,
    *,
    tol: float | None = None,
    seed: int | None = None,
    max_products: int = 400_000,
    cap: int | None = None,
) -> Spectrum:
    """Return the k slowest eigenvalues with which a set of observables relaxes, as a spectrum without eigenoperators.

    Parameters
    ----------
    model
        A :class:`~mpo_transport.Lindbladian` of bounded sites.
    k
        Number of eigenvalues, that of the identity (zero) included.
    observables
        An observable, an operator sum or a list of them; None: bond current and profile.
    tol, seed, max_products
        As in :func:`~mpo_transport.spectrum.spectrum`; None: 1e-10.
    cap
        Largest number of strings; None: 200000, fewer on more than 250 sites.

    Raises
    ------
    NotSupportedError
        If the equations of motion do not close.
    InputError
        If ``observables`` are none.
    ConvergenceError
        If a residual stays above ``tol``.

    Examples
    --------
    >>> from mpo_transport.models import boundary_driven_xx
    >>> chain = boundary_driven_xx(L=40, t=1.0, G_L=1.0, f_L=0.7, G_R=1.0, f_R=0.3)
    >>> found = hierarchy_spectrum(chain, k=2)
    >>> from mpo_transport.reference.boundary_driven import xx_gap
    >>> bool(abs(-found.eigenvalues[1].real - xx_gap(40, 1.0, 1.0, 1.0)) < 1e-14), found.sectors[1]
    (True, 'closed set of current, profile:Z')
    """
    model, tol, rng = (
        checked_model(model),
        checked_tol(_TOL if tol is None else tol),
        np.random.default_rng(checked_seed(seed)),
    )
    cap = default_cap(model) if cap is None else cap
    strings, name = _closed_set(model, observables, cap)
    matrix = close(hierarchy_action(model), strings, max(cap, len(strings))).matrix
    scale = 0.0
    values, residuals, conditions = [0j], [0.0], [1.0]
    kinds: dict[str, int] = {}
    bad: list[str] = []
    for rows in components(matrix):
        block = sp.csr_array(matrix[rows][:, rows])
        eigen, condition, size, kind = _slowest(block, k, tol, max_products, rng)
        scale = max(scale, size)
        kinds[kind] = max(kinds.get(kind, 0), len(rows))
        values += eigen.values.tolist()
        residuals += eigen.residuals.tolist()
        conditions += condition.tolist()
        if not np.all(eigen.converged):
            bad.append(f"{len(rows)} strings: residual {eigen.residuals[~eigen.converged].max():.2e}")
    array = np.array(values, dtype=complex)
    array[np.abs(array) <= _ZERO * scale] = 0.0
    index = order(array, scale, "slowest")[:k]
    null_space = int(np.count_nonzero(array == 0))
    notes = [f"{kind}: closed sets of up to {size} strings" for kind, size in kinds.items()]
    notes.append("eigenvalues of the whole Lindbladian, but slower ones may exist outside the closed set")
    if null_space > 1:
        notes.append(f"{null_space - 1} combinations of these observables are conserved")
    found = Spectrum(
        array[index], (name,) * len(index), np.array(residuals)[index], np.array(conditions)[index],
        null_space, (name,), scale, tuple(notes),
    )  # fmt: skip
    if bad:
        raise ConvergenceError(
            f"The spectrum did not converge on {'; '.join(bad)}. Raise max_products, or choose fewer eigenvalues.",
            result=found,
        )
    return found


def _slowest(
    block: sp.csr_array, k: int, tol: float, max_products: int, rng: np.random.Generator
) -> tuple[Eigen, np.ndarray, float, str]:
    """Return the slowest eigenvalues of one block, their condition numbers, its size, and how they were found."""
    size = scale_of(block, rng)
    n = block.shape[0]
    count = min(k, n)
    if n <= _DENSE:
        eigen, _ = dense_eigen(block, size, "slowest", count)
        left, _ = dense_eigen(sp.csr_array(block.T), size, "slowest", count)
        kind = "diagonalised"
    else:
        eigen, left = (
            krylov_eigen(
                a, size, "nearest", count, target=tol * size.largest, max_products=max_products,
                inverse=shifted_inverse(a, size), rng=rng,
            )
            for a in (block, sp.csr_array(block.T))
        )  # fmt: skip
        kind = NEAREST
    eigen, _, condition = matched_left(eigen, left, block, size)
    return eigen, condition, size.largest, kind


def _closed_set(model: Lindbladian, observables: Any, cap: int) -> tuple[np.ndarray, str]:
    """Return the strings of the observables (those of the usual ones with all that they lead to) and a label."""
    if observables is None:
        found = search(model, cap)
        if found.closure is None:
            raise NotSupportedError(" ".join(found.refused.values()), field="model")
        return found.closure.strings, f"closed set of {', '.join(found.names)}"
    listed = list(observables) if isinstance(observables, Iterable) and not isinstance(observables, OpSum) else None
    items = [observables] if listed is None else listed
    operators: list[OpSum] = []
    names: list[str] = []
    for item in items:
        if not isinstance(item, (Observable, OpSum)):
            raise InputError(
                "Argument `sector` must be None, an observable, an operator sum or a list of these for "
                f"method='hierarchy', but contains {item!r}.",
                field="sector",
            )
        operators += [item] if isinstance(item, OpSum) else list(item.operators)
        names.append(repr(item) if isinstance(item, OpSum) else item.name)
    parts = [operator_strings(model.lattice, o)[0] for o in operators]
    strings = np.concatenate(parts) if parts else np.zeros((0, model.L), dtype=np.uint8)
    if not len(strings):
        raise InputError("Argument `sector` holds multiples of the identity only.", field="sector")
    try:
        return close(hierarchy_action(model), strings, cap).strings, f"closed set of {', '.join(names)}"
    except NotClosedError as problem:
        raise NotSupportedError(not_closed(problem, cap) % ", ".join(names), field="sector") from None
