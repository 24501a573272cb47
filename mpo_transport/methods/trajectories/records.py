"""The local quantities whose time averages are accumulated exactly: reduced density matrices of sites and bonds.

Where a reduced matrix is too large to be followed entry by entry (bosons with many levels), a few products of named
operators, divided by their norms, stand for it in the convergence test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...lattice import Lattice
from ...operators import LocalSpace
from ...states.local_records import pair_basis

__all__ = ["LocalSet", "local_sets", "measure_local", "worst_error"]

_LARGEST_MATRIX = 16  # dimension of a reduced matrix up to which it is recorded as a whole
_LARGEST_BOUND = 4  # dimension up to which the worst observable is bounded, not only the worst basis element


@dataclass(frozen=True, eq=False)
class LocalSet:
    """Hermitian operators on a set of ascending sites, shape (m, D, D).

    ``complete``: they are the orthonormal Hermitian basis; otherwise operators of norm one.  ``scales``: the operator
    norm of each.
    """

    sites: tuple[int, ...]
    operators: np.ndarray
    scales: np.ndarray
    complete: bool

    @property
    def size(self) -> int:
        """Number of operators."""
        return len(self.operators)


def local_sets(lattice: Lattice) -> tuple[LocalSet, ...]:
    """Return the recorded operators: bonds, and the sites that no completely recorded bond contains."""
    sets = [_local_set(lattice, tuple(sorted(bond))) for bond in lattice.bonds]
    covered = {s for local in sets if local.complete for s in local.sites}
    return tuple(sets + [_local_set(lattice, (j,)) for j in range(lattice.L) if j not in covered])


def _local_set(lattice: Lattice, sites: tuple[int, ...]) -> LocalSet:
    dims = [int(lattice.dims[s]) for s in sites]
    if math.prod(dims) <= _LARGEST_MATRIX:
        operators = pair_basis(dims)
        return LocalSet(sites, operators, np.linalg.norm(operators, 2, axis=(1, 2)), True)
    spaces = [lattice.spaces[s] for s in sites]
    if len(sites) == 1:
        found = [m for name in ("N", "Q", "P", "Sx", "Sy", "Sz") for m in _named(spaces[0], name)]
        found += [m @ m for m in _named(spaces[0], "N")]
    else:
        numbers = [np.kron(a, b) for a in _named(spaces[0], "N") for b in _named(spaces[1], "N")]
        hops = [np.kron(a.conj().T, b) for a in _ladder(spaces[0]) for b in _ladder(spaces[1])]
        found = numbers + [part for h in hops for part in (h + h.conj().T, 1j * (h - h.conj().T))]
    if not found:  # a user's space without standard names: the projectors on its basis states
        found = list(np.eye(math.prod(dims))[:, :, None] * np.eye(math.prod(dims))[:, None, :])
    operators = np.array([m / np.linalg.norm(m, 2) for m in found], dtype=complex)
    return LocalSet(sites, operators, np.ones(len(operators)), False)


def _named(space: LocalSpace, name: str) -> list[np.ndarray]:
    return [space.matrix(name)] if space.has(name) else []


def _ladder(space: LocalSpace) -> list[np.ndarray]:
    return _named(space, "A") or _named(space, "Sm")


def measure_local(sets: Sequence[LocalSet], dims: Sequence[int], psi: np.ndarray) -> np.ndarray:
    """Return the expectation values of all recorded operators in every normalised vector, (n, D) -> (n, M), real."""
    n = len(psi)
    tensors = psi.reshape(n, *dims)
    out = []
    for local in sets:
        m = local.operators.shape[1]
        moved = np.moveaxis(tensors, [1 + s for s in local.sites], range(1, 1 + len(local.sites)))
        x = np.ascontiguousarray(moved).reshape(n, m, -1)
        rho = (x @ x.conj().transpose(0, 2, 1)).reshape(n, m * m)
        out.append((rho @ local.operators.reshape(local.size, m * m).conj().T).real)
    return np.concatenate(out, axis=1)


def worst_error(sets: Sequence[LocalSet], values: np.ndarray, weights: np.ndarray) -> float:
    """Return the largest standard error of a recorded one- or two-site observable of operator norm one.

    ``values`` are the means of independent units, shape (U, M), ``weights`` their shares, shape (U,).  An operator of
    norm one on D states has coefficients o in the orthonormal basis with |o|^2 <= D, so its variance o.C.o is at most D
    times the largest eigenvalue of the covariance C; beyond D = 4, where few units would make that bound loose, the
    worst of the basis operators divided by their norms is taken.
    """
    units = len(values)
    if units < 2:
        return math.inf
    deviations = weights[:, None] * (values - weights @ values) * math.sqrt(units / (units - 1))
    worst, start = 0.0, 0
    for local in sets:
        part = deviations[:, start : start + local.size]
        start += local.size
        D = local.operators.shape[1]
        if local.complete and D <= _LARGEST_BOUND:
            variance = D * float(np.linalg.norm(part[:, 1:], 2)) ** 2
        else:
            variance = float((np.einsum("uk,uk->k", part, part) / local.scales**2).max())
        worst = max(worst, math.sqrt(variance))
    return worst
