"""Conversion of matrix-product density matrices to and from quimb, so that its tools can be used on them.

Upper indices of the quimb operator are rows of rho, lower indices columns; positions in the matrix product become
quimb's sites 0 .. L-1.  quimb is imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..superoperator.basis import hermitian_basis
from ..superoperator.train import checked_order, compress_train
from .mpo import MPOState

__all__ = ["from_quimb", "to_quimb"]


def to_quimb(state: MPOState) -> Any:
    """Return the density matrix as a ``quimb.tensor.MatrixProductOperator`` (complex, not renormalised).

    Examples
    --------
    >>> from mpo_transport import Chain, SpinHalf
    >>> rho = to_quimb(MPOState.product(Chain(8, SpinHalf()), "up"))
    >>> abs(rho.trace() - 1) < 1e-12
    np.True_
    """
    import quimb.tensor as qtn

    arrays = []
    for p, t in enumerate(state.tensors):
        basis = hermitian_basis(int(state.lattice.dims[state.order[p]]))
        arrays.append(_drop_ends(np.tensordot(t, basis, axes=(1, 0)), p, state.L))
    return qtn.MatrixProductOperator(arrays, shape="lrud")


def from_quimb(operator: Any, lattice: Lattice, order: Sequence[int] | None = None) -> MPOState:
    """Return the state of a ``quimb.tensor.MatrixProductOperator`` that is Hermitian.

    Raises
    ------
    InputError
        If the sites or local dimensions do not fit the lattice, or the operator is not Hermitian.
    """
    sites = checked_order(lattice.L, order)
    if operator.L != lattice.L:
        raise InputError(f"Argument `operator` has {operator.L} sites, the lattice {lattice.L}.", field="operator")
    doubled = []
    for p, tensor in enumerate(_four_legged(operator)):
        d = int(lattice.dims[sites[p]])
        if tensor.shape[2:] != (d, d):
            raise InputError(
                f"Argument `operator` has local dimensions {tensor.shape[2:]} at position {p}, but site {sites[p]} has "
                f"{d}.",
                field="operator",
            )
        x = np.einsum("lrab,kba->lkr", tensor, hermitian_basis(d))
        doubled.append(_doubled(x))
    real, imaginary = _parts(doubled)
    kept = compress_train(real)
    lost = compress_train(imaginary).tensors[0]
    if np.linalg.norm(lost) > 1e-10 * np.linalg.norm(kept.tensors[0]):
        raise InputError("Argument `operator` must be Hermitian.", field="operator")
    return MPOState(lattice, kept.tensors, sites, 0)


def _drop_ends(array: np.ndarray, p: int, length: int) -> np.ndarray:
    if p == 0:
        array = array[0]
        return array[0] if length == 1 else array
    return array[:, 0] if p == length - 1 else array


def _four_legged(operator: Any) -> list[np.ndarray]:
    """Return arrays (l, r, row, column), with end bonds of dimension one."""
    operator = operator.copy()
    operator.permute_arrays("lrud")
    out = []
    for p, array in enumerate(operator.arrays):
        if p == 0:
            array = array[None]
        if p == operator.L - 1:
            array = array[:, None]
        out.append(np.asarray(array))
    return out


def _doubled(x: np.ndarray) -> np.ndarray:
    """Return a + ib as [[a, b], [-b, a]]: complex arithmetic on doubled real bonds."""
    top = np.concatenate([x.real, x.imag], axis=2)
    bottom = np.concatenate([-x.imag, x.real], axis=2)
    return np.concatenate([top, bottom], axis=0)


def _parts(doubled: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the trains of the real and of the imaginary part."""
    doubled = [doubled[0][:1], *doubled[1:]]
    return [*doubled[:-1], doubled[-1][:, :, :1]], [*doubled[:-1], doubled[-1][:, :, 1:]]
