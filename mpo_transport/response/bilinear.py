"""Operators that are at most quadratic in ladder operators, as arrays in real coordinates.

    bosons:    O = c + z . R + 1/2 R^T E R,     R = (q_1 .. q_L, p_1 .. p_L),   E symmetric
    fermions:  O = c + (i/4) w^T E w,           w the Majorana operators,       E antisymmetric

with the coordinates of :class:`~mpo_transport.superoperator.QuadraticForm`.  A symmetric E means symmetric ordering, so
<O> = c + z . <R> + 1/2 <R>^T E <R> + 1/2 Tr(E sigma), or c + 1/4 sum E_ij Gamma_ij.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ..errors import NotSupportedError
from ..lattice import Lattice
from ..model import Lindbladian
from ..operators import OpSum
from ..superoperator.quadratic import QuadraticForm, quadratic_form

__all__ = ["Bilinear", "bilinear"]


@dataclass(frozen=True, eq=False)
class Bilinear:
    """The arrays of the head of this module: ``constant`` c, ``linear`` z (2L,), ``quadratic`` E sparse (2L, 2L)."""

    constant: complex
    linear: np.ndarray
    quadratic: sp.csr_array
    fermions: bool

    @property
    def dag(self) -> Bilinear:
        """The adjoint."""
        quadratic = self.quadratic.conj()
        # (i w^T E w)^+ = -i w^T E^+ w = i w^T E^* w for antisymmetric E
        return Bilinear(self.constant.conjugate(), self.linear.conj(), sp.csr_array(quadratic), self.fermions)

    @property
    def support(self) -> np.ndarray:
        """Indices of the coordinates that occur, ascending."""
        used = np.zeros(len(self.linear), dtype=bool)
        used[np.flatnonzero(self.linear)] = True
        used[np.unique(self.quadratic.indices)] = True  # symmetric pattern: columns are rows
        return np.flatnonzero(used)

    def slope(self, means: np.ndarray) -> np.ndarray:
        """Return the coefficients of the fluctuations about ``means``, z + E <R>, shape (2L,)."""
        return np.asarray(self.linear + self.quadratic @ means)

    def expect(self, means: np.ndarray, covariance: np.ndarray) -> complex:
        """Return <O> from the first and second moments."""
        spread = complex(self.quadratic.multiply(covariance).sum())
        if self.fermions:
            return self.constant + spread / 4
        return complex(self.constant + self.linear @ means + 0.5 * means @ (self.quadratic @ means) + 0.5 * spread)


def bilinear(lattice: Lattice, operator: OpSum, name: str = "operator") -> Bilinear:
    """Return the arrays of an operator; ``name`` is the argument that an error names.

    Raises
    ------
    NotSupportedError
        If the operator is more than quadratic; for spins, if it is not an even bilinear of Jordan-Wigner fermions.

    Examples
    --------
    >>> from mpo_transport import Boson, Chain, op
    >>> number = bilinear(Chain(1, Boson(math.inf)), op("N", 0))
    >>> number.constant, number.quadratic.toarray().real.tolist()
    ((-0.5+0j), [[1.0, 0.0], [0.0, 1.0]])
    """
    real, imaginary = 0.5 * (operator + operator.dag), -0.5j * (operator - operator.dag)
    parts = [(factor, _hermitian(lattice, part, name)) for factor, part in ((1, real), (1j, imaginary)) if part]
    n = 2 * lattice.L
    fermions = any(space.kind == "spin" for space in lattice.spaces)
    total = Bilinear(0j, np.zeros(n, dtype=complex), sp.csr_array((n, n), dtype=complex), fermions)
    for factor, part in parts:
        total = Bilinear(
            total.constant + factor * part.constant,
            total.linear + factor * part.linear,
            sp.csr_array(total.quadratic + factor * part.quadratic),
            fermions,
        )
    return total


def _hermitian(lattice: Lattice, operator: OpSum, name: str) -> Bilinear:
    try:
        form = quadratic_form(Lindbladian(lattice, operator, []))
    except NotSupportedError as error:
        raise NotSupportedError(
            f"Argument `{name}` must be at most quadratic for a Gaussian calculation (for spins an even bilinear of "
            f"Jordan-Wigner fermions): {str(error).removeprefix('The model is not quadratic: ')}",
            field=name,
        ) from None
    energy, force = form_arrays(form)
    trace = complex(form.hopping.diagonal().sum())
    ordering = trace / 2 if form.statistics == "fermion" else -trace / 2
    return Bilinear(
        _vacuum(lattice, operator) + ordering,
        force.astype(complex),
        energy.astype(complex),
        form.statistics == "fermion",
    )


def form_arrays(form: QuadraticForm) -> tuple[sp.csr_array, np.ndarray]:
    """Return (E, z) of the Hamiltonian of a form, up to its constant."""
    h, k = form.hopping, form.pairing
    if form.statistics == "boson":
        energy = sp.vstack([sp.hstack([(h + k).real, (k - h).imag]), sp.hstack([(h + k).imag, (h - k).real])])
    else:
        energy = sp.vstack([sp.hstack([(h + k).imag, (h - k).real]), sp.hstack([-(h + k).real, (h - k).imag])])
    force = math.sqrt(2) * np.concatenate([form.drive.real, form.drive.imag])
    return sp.csr_array(energy), force


def _vacuum(lattice: Lattice, operator: OpSum) -> complex:
    """Return the expectation value in the state without quanta (spins down)."""
    total = 0j
    for key, c in operator:
        for site in {s for _, s in key}:
            c *= _empty(lattice, tuple(name for name, s in key if s == site), site)
        total += c
    return total


def _empty(lattice: Lattice, names: tuple[str, ...], site: int) -> complex:
    space = lattice.spaces[site]
    if space.kind == "spin":
        matrix = np.eye(2, dtype=complex)
        for name in names:
            matrix = matrix @ space.matrix(name)
        return complex(matrix[1, 1])
    half = math.sqrt(0.5)
    lower = {"A": 1.0, "Q": half, "P": -1j * half}
    upper = {"Adag": 1.0, "Q": half, "P": 1j * half}
    if len(names) == 2 and "N" not in names:
        return complex(lower.get(names[0], 0.0) * upper.get(names[1], 0.0))
    return 0j
