"""Linear algebra between matrix-product operators: sums, images under a superoperator, scalar products.

Every function returns a new state; the results are exact, so bond dimensions add or multiply until
:meth:`MPOState.compress` removes what is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import InputError
from ..superoperator.mpo import MPO
from ..superoperator.train import add_trains, train_inner, train_log_inner, train_log_norm
from .mpo import MPOState

__all__ = ["add", "apply", "difference_norm", "hilbert_schmidt_fidelity", "inner", "linear_combination"]


def linear_combination(states: Sequence[MPOState], coefficients: Sequence[float]) -> MPOState:
    """Return sum_i c_i rho_i; the bond dimensions add.

    Raises
    ------
    InputError
        If there is not one coefficient per state, or the states differ in lattice dimensions or order of the sites.
    """
    states = tuple(states)
    if not states or len(states) != len(tuple(coefficients)):
        raise InputError(
            f"Argument `coefficients` must hold one number per state ({len(states)}, at least one).",
            field="coefficients",
        )
    for other in states[1:]:
        _check_same(states[0], other)
    tensors = add_trains([s.tensors for s in states], [float(c) for c in coefficients])
    return MPOState(states[0].lattice, tensors, states[0].order, None)


def add(a: MPOState, b: MPOState, alpha: float = 1.0, beta: float = 1.0) -> MPOState:
    """Return alpha a + beta b; the bond dimensions add.

    >>> from mpo_transport import Chain, SpinHalf, op
    >>> lattice = Chain(6, SpinHalf())
    >>> cat = add(MPOState.product(lattice, "up"), MPOState.product(lattice, "down"), 0.25, 0.75)
    >>> cat.bond_dimensions, round(cat.expect(op("Z", 2)).real, 12)
    ((2, 2, 2, 2, 2), -0.5)
    """
    return linear_combination((a, b), (alpha, beta))


def inner(a: MPOState, b: MPOState) -> float:
    """Return Tr(a b) of the operators as stored, without normalisation."""
    _check_same(a, b)
    return train_inner(a.tensors, b.tensors)


def difference_norm(a: MPOState, b: MPOState) -> float:
    """Return the Hilbert-Schmidt norm |a - b| of the operators as stored.

    The difference is brought to canonical form, so that close states are resolved down to rounding errors of |a|
    rather than of |a|^2.
    """
    return add(a, b, 1.0, -1.0).canonicalise(0).norm()


def hilbert_schmidt_fidelity(a: MPOState, b: MPOState) -> float:
    """Return Tr(a b) / sqrt(Tr a^2 Tr b^2), the cosine of the angle between two density matrices, at any length.

    1 exactly for equal states, 0 for orthogonal ones; for two pure states their fidelity.  For mixed states it is
    *not* the Uhlmann fidelity, which needs the square root of a matrix and is available for small systems and for
    reduced states (:func:`mpo_transport.observables.fidelity`).  X. Wang, C.-S. Yu, X. X. Yi, Phys. Lett. A 373, 58
    (2008).

    >>> from mpo_transport import Chain, SpinHalf
    >>> lattice = Chain(2000, SpinHalf())
    >>> up, mixed = MPOState.product(lattice, "up"), MPOState.mixed(lattice)
    >>> round(hilbert_schmidt_fidelity(mixed, mixed), 12), hilbert_schmidt_fidelity(up, mixed) < 1e-300
    (1.0, True)
    """
    _check_same(a, b)
    sign, log = train_log_inner(a.tensors, b.tensors)
    logs = [train_log_norm(x.tensors, x.centre) for x in (a, b)]
    if not all(map(math.isfinite, logs)):
        raise InputError("Both states must be finite and not zero.", field="state")
    return sign * math.exp(log - sum(logs)) * a.environments.sign * b.environments.sign


def apply(operator: MPO, state: MPOState) -> MPOState:
    """Return L rho for a superoperator in matrix-product form; the bond dimensions multiply.

    Raises
    ------
    InputError
        If operator and state order their sites differently.
    """
    return MPOState(state.lattice, operator.apply(state), state.order, None)


def _check_same(a: MPOState, b: MPOState) -> None:
    if a.lattice.dims != b.lattice.dims:
        raise InputError(
            f"The states live on different local dimensions: {a.lattice.dims} and {b.lattice.dims}.", field="state"
        )
    if a.order != b.order:
        raise InputError(f"The states order their sites differently: {a.order} and {b.order}.", field="order")
