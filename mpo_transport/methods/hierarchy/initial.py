"""Expectation values of strings in states of other kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import InputError, NotSupportedError
from ...lattice import Lattice
from ...states import MPOState, State, local_density_matrices
from ...states.base import check_initial, check_same_spaces
from ...superoperator.basis import hermitian_basis, to_hermitian
from ...superoperator.heisenberg import HeisenbergAction, letters
from .state import HierarchyState, product_values

__all__ = ["initial_values", "string_expectations"]

# Entries of the partial products of a matrix-product state that are held at once.
_CHUNK = 20_000_000
_LARGEST_DENSE = 4096


def initial_values(
    lattice: Lattice, initial: Any, action: HeisenbergAction, strings: np.ndarray
) -> tuple[list[np.ndarray] | None, np.ndarray]:
    """Return (expectation values of the letters of a product state or None, those of the strings).

    Raises
    ------
    InputError
        If the initial state means nothing on this lattice.
    NotSupportedError
        If its expectation values of strings are not known.
    """
    if isinstance(initial, State):
        check_initial(lattice, initial)
        return None, string_expectations(initial, strings)
    local = [_letter_values(rho) for rho in local_density_matrices(lattice, initial)]
    return local, product_values(local, strings)


def _letter_values(rho: np.ndarray) -> np.ndarray:
    values = np.einsum("kab,ba->k", letters(len(rho)), rho).real
    values[0] = 1.0
    return np.asarray(values)


def string_expectations(state: State, strings: np.ndarray, matrices: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """Return the expectation values of strings (n, L), normalised by the trace, in any state that can give them.

    ``matrices``, of a matrix-product or a small state: the Hermitian letters of every site, shapes (d^2, d, d); by
    default those of :func:`~mpo_transport.superoperator.heisenberg.letters`.

    Examples
    --------
    >>> from mpo_transport import Chain, SpinHalf
    >>> up = MPOState.product(Chain(3, SpinHalf()), "up")
    >>> string_expectations(up, np.array([[3, 0, 3], [1, 0, 0]])).round(12)
    array([1., 0.])
    """
    if isinstance(state, HierarchyState):
        return state.string_values(strings)
    if isinstance(state, MPOState):
        return _network_values(state, strings, matrices)
    dims = [int(d) for d in state.lattice.dims]
    if matrices is None and all(d == 2 and s.kind == "spin" for d, s in zip(dims, state.lattice.spaces, strict=True)):
        return _pauli_values(state, strings)
    if np.prod([float(d) for d in dims]) > _LARGEST_DENSE:
        raise NotSupportedError(
            f"A state of the kind {state.kind!r} does not give the expectation values of products of general local "
            "operators; give a product state or an MPOState.",
            field="initial",
        )
    x = to_hermitian(state.to_dense(), dims).real
    if matrices is None:
        return np.asarray(x[tuple(strings.T)] * np.sqrt(np.prod([float(d) for d in dims])))
    for own in matrices:  # the first leg goes, the new one comes last
        x = np.tensordot(x, _letter_vectors(own), axes=(0, 1))
    return np.asarray(x[tuple(strings.T)])


def _pauli_values(state: State, strings: np.ndarray) -> np.ndarray:
    keys = [tuple((" XYZ"[k], int(s)) for s, k in enumerate(row) if k) for row in strings]
    return np.asarray(state.expect_products(keys)).real


def _network_values(state: MPOState, strings: np.ndarray, matrices: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """Contract a matrix product with the chosen letters; strings with the same beginning share the work."""
    check_same_spaces(state.lattice, state, "initial")
    columns = np.ascontiguousarray(strings[:, list(state.order)])
    dims = [float(state.lattice.dims[s]) for s in state.order]
    env = state.environments
    if not np.isfinite(env.overlap) or env.overlap == 0:
        raise InputError("The trace of the matrix-product state vanishes.", field="initial")
    order = np.lexsort(columns.T[::-1]) if len(columns) else np.zeros(0, dtype=np.int64)
    out = np.zeros(len(columns))
    widest = max(t.shape[2] for t in state.tensors)
    vectors = None if matrices is None else [_letter_vectors(matrices[s]) for s in state.order]
    size = max(1, _CHUNK // widest)
    for begin in range(0, len(order), size):
        chosen = order[begin : begin + size]
        out[chosen] = _contracted(state, columns[chosen], dims, vectors)
    return out / env.overlap


def _letter_vectors(matrices: np.ndarray) -> np.ndarray:
    """Return Tr(E_k B_j) with the orthonormal Hermitian basis B, shape (d^2, d^2)."""
    return np.einsum("jab,kba->kj", hermitian_basis(matrices.shape[-1]), matrices).real


def _contracted(
    state: MPOState, columns: np.ndarray, dims: list[float], letters_of: list[np.ndarray] | None
) -> np.ndarray:
    env = state.environments
    vectors = np.ones((1, 1))
    owner = np.zeros(len(columns), dtype=np.int64)
    for p, d in enumerate(dims):
        tensor = env.scaled(p)
        legs = tensor.shape[1]
        pairs, inverse = np.unique(owner * legs + columns[:, p], return_inverse=True)
        following = np.empty((len(pairs), tensor.shape[2]))
        letter = pairs % legs
        for k in np.unique(letter):
            mine = letter == k
            chosen = (
                np.sqrt(d) * tensor[:, k, :]
                if letters_of is None
                else np.tensordot(tensor, letters_of[p][k], axes=(1, 0))
            )
            following[mine] = vectors[pairs[mine] // legs] @ chosen
        vectors, owner = following, inverse.ravel()
    return np.asarray(vectors[owner, 0])
