"""The density matrix written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..superoperator.basis import from_hermitian, to_hermitian
from .base import Key, State, check_sites, local_density_matrices, refuse_dense, register_state

__all__ = ["DenseState"]

_SITE_SETS_KEPT = 4096  # reduced matrices remembered per state; one- and two-site ones of any affordable lattice fit
_TOLERANCE = 1e-10


@register_state
class DenseState(State):
    """A density matrix as a (D, D) complex array, D = prod_j d_j, row-major, site 0 varying slowest.

    Parameters
    ----------
    lattice
        A lattice of bounded spaces.
    rho
        The matrix, kept as given (its trace is reported by :meth:`trace`); a read-only copy is stored.  Only the shape
        and finiteness are checked: use :meth:`from_matrix` for a matrix of unknown quality.

    Raises
    ------
    InputError
        For a wrong shape or entries that are not finite (field ``rho``), or an unbounded site (field ``levels``).

    Examples
    --------
    >>> from mpo_transport import Chain, SpinHalf, op
    >>> state = DenseState.product(Chain(2, SpinHalf()), "up")
    >>> state.expect(op("Z", 0) * op("N", 1)), state.purity()
    ((1+0j), 1.0)
    """

    kind: ClassVar[str] = "dense"

    def __init__(self, lattice: Lattice, rho: np.ndarray) -> None:
        D = _dimension(lattice)
        matrix = np.array(rho, dtype=complex, order="C")
        if matrix.shape != (D, D):
            raise InputError(f"Argument `rho` must have shape ({D}, {D}), but has {matrix.shape}.", field="rho")
        if not np.all(np.isfinite(matrix)):
            raise InputError("Argument `rho` has entries that are not finite.", field="rho")
        matrix.setflags(write=False)
        self.lattice = lattice
        self._rho = matrix
        self._trace = complex(np.trace(matrix))
        self._marginals: dict[tuple[int, ...], np.ndarray] = {}

    # -- construction -------------------------------------------------------------------------------------------------

    @classmethod
    def from_matrix(cls, lattice: Lattice, rho: Any, *, tolerance: float = _TOLERANCE) -> DenseState:
        """Return the state of a given matrix after checking that it is a density matrix.

        Raises
        ------
        InputError
            Field ``rho``, if it is not Hermitian, its trace is not 1 or an eigenvalue lies below -``tolerance``.
        """
        state = cls(lattice, rho)
        matrix = state._rho
        defect = state.hermiticity_defect()
        if defect > tolerance:
            raise InputError(
                f"Argument `rho` must be Hermitian, but differs from its adjoint by {defect:.2e}.", field="rho"
            )
        if abs(state._trace - 1) > tolerance:
            raise InputError(
                f"Argument `rho` must have trace 1, but has {state._trace.real:.12g}; divide by it.", field="rho"
            )
        smallest = float(np.linalg.eigvalsh((matrix + matrix.conj().T) / 2)[0])
        if smallest < -tolerance:
            raise InputError(
                f"Argument `rho` must be positive, but has the eigenvalue {smallest:.3e}; a density matrix has none "
                "below zero.",
                field="rho",
            )
        return state

    @classmethod
    def from_vector(cls, lattice: Lattice, psi: Any) -> DenseState:
        """Return |psi><psi| / <psi|psi> of a state vector, shape (D,) or (d_1, ..., d_L).

        Raises
        ------
        InputError
            Field ``psi``, for a wrong length or a vector that cannot be normalised.
        """
        D = _dimension(lattice)
        vector = np.asarray(psi, dtype=complex).ravel()
        if vector.shape != (D,):
            raise InputError(f"Argument `psi` must have {D} entries, but has {vector.size}.", field="psi")
        norm = float(np.linalg.norm(vector))
        if not np.isfinite(norm) or norm == 0:
            raise InputError("Argument `psi` cannot be normalised (zero or not finite).", field="psi")
        vector = vector / norm
        return cls(lattice, np.outer(vector, vector.conj()))

    @classmethod
    def product(cls, lattice: Lattice, initial: Any) -> DenseState:
        """Return a named product state or one entry per site; see :func:`~.base.local_density_matrices`."""
        refuse_dense(_dimension(lattice))
        rho = np.ones((1, 1), dtype=complex)
        for local in local_density_matrices(lattice, initial):
            rho = np.kron(rho, local)
        return cls(lattice, rho)

    @classmethod
    def from_coefficients(cls, lattice: Lattice, x: np.ndarray) -> DenseState:
        """Return the state with the given coefficients in the Hermitian basis, shape (D^2,) or (d_1^2, ..., d_L^2)."""
        return cls(lattice, from_hermitian(x, _dims(lattice)))

    def coefficients(self) -> np.ndarray:
        """Return the real coefficients x_k = Tr(B_k rho) in the Hermitian basis, shape (D^2,)."""
        return np.ascontiguousarray(to_hermitian(self._rho, _dims(self.lattice)).real).ravel()

    # -- the answers of every state -----------------------------------------------------------------------------------

    @property
    def rho(self) -> np.ndarray:
        """The stored matrix, (D, D) complex, read-only, not renormalised."""
        return self._rho

    def trace(self) -> float:
        """Return Tr rho as stored."""
        return self._trace.real

    def hermiticity_defect(self) -> float:
        """Return the largest entry of |rho - rho^dag|."""
        return float(np.abs(self._rho - self._rho.conj().T).max())

    def expect_products(self, products: Sequence[Key]) -> np.ndarray:
        """Return <product> for symbolic products ((name, site), ...), shape (len(products),), complex.

        Only the reduced matrix of the sites of a product is formed, once for all products on the same sites.
        """
        out = np.empty(len(products), dtype=complex)
        for k, key in enumerate(products):
            matrices: dict[int, np.ndarray] = {}
            check_sites(self.lattice, tuple(dict.fromkeys(s for _, s in key)))
            for name, site in key:
                matrix = self.lattice.spaces[site].matrix(name)
                matrices[site] = matrices[site] @ matrix if site in matrices else matrix
            sites = tuple(sorted(matrices))
            rest = self._marginal(sites)
            for site in sites:  # trace out the first remaining site with its operator: Tr(O rho) = sum O[b,a] rho[a,b]
                d = matrices[site].shape[0]
                n = rest.shape[0] // d
                rest = np.einsum("ba,aibj->ij", matrices[site], rest.reshape(d, n, d, n))
            out[k] = rest[0, 0]
        return out / self._trace

    def reduced(self, sites: Sequence[int]) -> np.ndarray:
        """Return the reduced density matrix of the listed sites, (D, D) complex, trace 1, first listed site slowest."""
        check_sites(self.lattice, sites)
        sites = tuple(int(s) for s in sites)
        if not sites:
            raise InputError("Argument `sites` must name at least one site.", field="sites")
        ascending = tuple(sorted(sites))
        matrix = self._marginal(ascending) / self._trace
        if sites == ascending:
            return matrix
        legs = [_dims(self.lattice)[s] for s in ascending]
        order = [ascending.index(s) for s in sites]
        n = len(sites)
        tensor = matrix.reshape(legs + legs).transpose(order + [n + a for a in order])
        return np.ascontiguousarray(tensor).reshape(matrix.shape)

    def _marginal(self, sites: tuple[int, ...]) -> np.ndarray:
        """Return the partial trace to ascending sites as stored (not normalised), shape (D, D)."""
        if len(sites) == self.L:
            return self._rho
        if sites not in self._marginals:
            dims = _dims(self.lattice)
            rows = list(range(self.L))
            columns = [self.L + k if k in sites else k for k in rows]
            kept = [*sites, *(self.L + s for s in sites)]
            tensor = np.einsum(self._rho.reshape(dims + dims), rows + columns, kept)
            size = int(np.prod([dims[s] for s in sites], dtype=int))
            if len(self._marginals) >= _SITE_SETS_KEPT or size * 8 > self._rho.shape[0]:
                return tensor.reshape(size, size)
            self._marginals[sites] = tensor.reshape(size, size)
        return self._marginals[sites]

    def purity(self) -> float:
        """Return Tr rho^2 / (Tr rho)^2."""
        return float(np.linalg.norm(self._rho) ** 2 / abs(self._trace) ** 2)

    def operator_schmidt(self, cut: int) -> np.ndarray:
        """Return the normalised operator Schmidt values across (sites < cut | rest), descending.

        They are the singular values of rho realigned to ((a, a'), (b, b')), here as a real matrix in the Hermitian
        basis, shape (prod_{j<cut} d_j^2, prod_{j>=cut} d_j^2).

        Raises
        ------
        InputError
            Field ``cut``, unless 1 <= cut <= L - 1.
        """
        if isinstance(cut, bool) or not isinstance(cut, (int, np.integer)) or not 1 <= cut < self.L:
            raise InputError(f"Argument `cut` must be an integer from 1 to {self.L - 1}, but is {cut!r}.", field="cut")
        left = int(np.prod(_dims(self.lattice)[:cut])) ** 2
        values = np.linalg.svd(self.coefficients().reshape(left, -1), compute_uv=False)
        return values / np.linalg.norm(values)

    def to_dense(self) -> np.ndarray:
        """Return a copy of the matrix, (D, D) complex, trace 1."""
        refuse_dense(self._rho.shape[0])
        return self._rho / self._trace

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {"rho": the matrix as stored}."""
        return {"rho": self._rho}

    @classmethod
    def from_arrays(
        cls, lattice: Lattice, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]
    ) -> DenseState:
        """Return the state stored by :meth:`arrays`, bit for bit."""
        return cls(lattice, arrays["rho"])


def _dims(lattice: Lattice) -> tuple[int, ...]:
    return tuple(int(d) for d in lattice.dims)


def _dimension(lattice: Lattice) -> int:
    if not isinstance(lattice, Lattice):
        raise InputError("Argument `lattice` must be a Chain or a Graph.", field="lattice")
    for j, space in enumerate(lattice.spaces):
        if not space.is_bounded:
            raise InputError(
                f"Site {j} is an unbounded mode, so its density matrix cannot be written out; give `levels` a number.",
                field="levels",
            )
    return int(np.prod(_dims(lattice)))
