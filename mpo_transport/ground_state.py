"""Ground states of closed systems, for comparison with steady states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse.linalg as sla

from .errors import InputError, NotSupportedError
from .lattice import Lattice
from .model import Lindbladian
from .operators import OpSum
from .states import DenseState
from .superoperator import operator_matrix

__all__ = ["GroundState", "ground_state"]

_LARGEST_DIMENSION = 4096  # the density matrix is written out
_DENSE_DIMENSION = 256
_DEGENERATE = 1e-10


@dataclass(frozen=True)
class GroundState:
    """The lowest level of a Hamiltonian.

    Attributes
    ----------
    energy, gap
        Lowest eigenvalue, and the distance to the next one (same unit as the Hamiltonian).
    state
        Pure :class:`~mpo_transport.DenseState`; if ``degenerate``, one vector of the lowest level out of many.
    degenerate
        Whether the gap vanishes to 1e-10 of the largest energy found.
    """

    energy: float
    gap: float
    state: DenseState
    degenerate: bool


def ground_state(hamiltonian: OpSum, lattice: Lattice) -> GroundState:
    """Return the ground state of a Hermitian operator, H |psi> = E_0 |psi>, by exact diagonalisation (hbar = 1).

    Parameters
    ----------
    hamiltonian
        Hermitian :class:`~mpo_transport.OpSum`.
    lattice
        Where it lives; at most 4096 dimensions in all.

    Raises
    ------
    InputError
        For a Hamiltonian that is not Hermitian or names an unknown operator or site.
    NotSupportedError
        For unbounded modes, or a Hilbert space that is too large.

    Examples
    --------
    The flux-driven ring of M. Keck, D. Rossini, R. Fazio, Phys. Rev. A 98, 053812 (2018), Fig. 7: E_0 = -2 sqrt(2)
    cos(phi/4) on four sites.

    >>> from mpo_transport import models
    >>> ring = models.persistent_current(4, 0.0, 0.0, J=1.0, mu=0.0, flux=1.0)
    >>> abs(ground_state(ring.hamiltonian, ring.lattice).energy + 2 * 2**0.5 * float(np.cos(0.25))) < 1e-9
    True
    """
    Lindbladian(lattice, hamiltonian, [])  # checks operators, sites and Hermiticity, and names what is wrong
    if not hamiltonian:
        raise InputError("Argument `hamiltonian` is empty: every state is a ground state.", field="hamiltonian")
    D = float(np.prod(np.array(lattice.dims, dtype=float)))
    if D > _LARGEST_DIMENSION:
        raise NotSupportedError(
            f"The Hilbert space has {D:.3g} dimensions; ground states are found exactly up to {_LARGEST_DIMENSION}. "
            "Choose fewer sites or levels.",
            field="lattice",
        )
    matrix = operator_matrix(lattice, hamiltonian)
    if D <= _DENSE_DIMENSION:
        energies, vectors = np.linalg.eigh(matrix.toarray())
    else:
        start = np.random.default_rng(0).normal(size=int(D))  # the same bits every time
        energies, vectors = sla.eigsh(matrix, k=4, which="SA", v0=start)
        order = np.argsort(energies)
        energies, vectors = energies[order], vectors[:, order]
    gap = float(energies[1] - energies[0])
    scale = max(1e-300, float(np.abs(energies).max()))
    return GroundState(
        float(energies[0]), gap, DenseState.from_vector(lattice, vectors[:, 0]), gap <= _DEGENERATE * scale
    )
