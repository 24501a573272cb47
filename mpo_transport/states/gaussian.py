"""Gaussian states: first and second moments of bosons or Jordan-Wigner fermions, Wick's theorem for the rest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError, NotSupportedError
from ..lattice import Lattice
from .base import Key, State, check_same_spaces, check_sites, register_state
from .gaussian_initial import boson_moments, fermion_occupations
from .gaussian_measures import (
    boson_entropy,
    fermion_entropy,
    logarithmic_negativity,
    majorana_eigenvalues,
    number_distribution,
    symplectic_eigenvalues,
    symplectic_form,
)
from .wick import boson_expectations, fermion_expectations

__all__ = ["GaussianState"]

_MOST_SPINS = 7


@register_state
class GaussianState(State):
    """A Gaussian density matrix, given by its first and second moments.

    Parameters
    ----------
    lattice
        All sites bosonic modes, or all sites spins 1/2 (Jordan-Wigner fermions a_j = [prod_{i<j} (-Z_i)] S^-_j).
    means
        Bosons: <R>, shape (2L,) real, R = (q_1..q_L, p_1..p_L), q = (a + a^+)/sqrt 2, p = (a - a^+)/(i sqrt 2);
        fermions: zero or None.
    covariance
        Shape (2L, 2L) real.  Bosons: sigma_jk = <{R_j - <R_j>, R_k - <R_k>}>/2, symmetric, vacuum 1/2.  Fermions:
        Gamma = (i/2) <[w, w]>, antisymmetric, w = (a_j + a_j^+ .., -i (a_j - a_j^+) ..), so Gamma_{j, L+j} = <Z_j>.
    statistics
        ``"boson"`` or ``"fermion"``; None: from the lattice.

    Raises
    ------
    InputError
        For arrays of another shape, with entries that are not finite, or of the wrong symmetry.

    Notes
    -----
    Products of spin operators with an odd number of flips (X, Y, Sp, Sm) have the expectation value 0: the state
    commutes with the total parity.

    Examples
    --------
    >>> from mpo_transport import Boson, Chain, op
    >>> thermal = GaussianState.product(Chain(2, Boson(math.inf)), [("thermal", 2.0), "vacuum"])
    >>> thermal.expect(op("N", 0) ** 2).real, round(thermal.expect(op("Q", 1) ** 2).real, 12)
    (10.0, 0.5)
    """

    kind: ClassVar[str] = "gaussian"

    def __init__(self, lattice: Lattice, means: Any, covariance: Any, *, statistics: str | None = None) -> None:
        self.lattice = lattice
        self.statistics = _statistics(lattice, statistics)
        n = 2 * lattice.L
        self.means = _frozen(np.zeros(n) if means is None else means, (n,), "means")
        self.covariance = _frozen(covariance, (n, n), "covariance")
        sign = 1 if self.statistics == "boson" else -1
        scale = max(float(np.abs(self.covariance).max(initial=0.0)), 1e-300)
        if np.abs(self.covariance - sign * self.covariance.T).max(initial=0.0) > 1e-9 * scale:
            kind = "symmetric" if sign == 1 else "antisymmetric (fermions)"
            raise InputError(f"Argument `covariance` must be {kind}.", field="covariance")
        if sign == -1 and np.any(self.means):
            raise InputError("Argument `means` must be zero for fermions.", field="means")

    # -- other ways to make one ---------------------------------------------------------------------------------------

    @classmethod
    def product(cls, lattice: Lattice, initial: Any) -> GaussianState:
        """Return a product state.

        Parameters
        ----------
        initial
            Bosons: ``"vacuum"``, or one entry per site: ``"vacuum"``, 0, ``("thermal", n)`` (mean occupation n >= 0) or
            ``("coherent", alpha)``.  Number states n > 0 are not Gaussian and are refused.
            Spins: ``"up"``, ``"down"``, ``"vacuum"``, ``"mixed"``, or one entry per site: one of these, 0 or 1,
            ``("thermal", n)`` with the probability n of spin up, or a diagonal 2 x 2 density matrix.

        Raises
        ------
        InputError
            For anything else, naming the remedy.
        """
        if _statistics(lattice, None) == "boson":
            means, occupation = boson_moments(lattice, initial)
            return cls(lattice, means, np.diag(np.tile(occupation + 0.5, 2)))
        n = fermion_occupations(lattice, initial)
        block = np.diag(2 * n - 1)
        zero = np.zeros_like(block)
        return cls(lattice, None, np.block([[zero, block], [-block, zero]]))

    @classmethod
    def from_amplitudes(cls, lattice: Lattice, matrix: np.ndarray) -> GaussianState:
        """Return the state without pairing and without means for C_kl = <a_l^+ a_k>, shape (L, L) complex."""
        n = np.asarray(matrix).T
        if _statistics(lattice, None) == "boson":
            same, cross = n.real + 0.5 * np.eye(len(n)), n.imag
            covariance = np.block([[same, cross], [-cross, same]])
            return cls(lattice, None, (covariance + covariance.T) / 2)
        same, cross = -2 * n.imag, 2 * n.real - np.eye(len(n))
        gamma = np.block([[same, cross], [-cross, same]])
        return cls(lattice, None, (gamma - gamma.T) / 2)

    # -- moments ------------------------------------------------------------------------------------------------------

    @property
    def has_means(self) -> bool:
        """Whether some first moment is not zero."""
        return bool(np.any(self.means))

    @property
    def amplitudes(self) -> tuple[np.ndarray, np.ndarray]:
        """The matrices (<a_i^+ a_j>, <a_i a_j>), means included, (L, L) complex each."""
        i, j = np.indices((self.L, self.L))
        normal, pairing = self.pair("+", i, "-", j), self.pair("-", i, "-", j)
        if self.has_means:
            a = self.mean("-", np.arange(self.L))
            normal, pairing = normal + np.outer(a.conj(), a), pairing + np.outer(a, a)
        return normal, pairing

    def occupations(self) -> np.ndarray:
        """Return <a_j^+ a_j> of all sites, shape (L,)."""
        sites = np.arange(self.L)
        return np.asarray((self.pair("+", sites, "-", sites) + np.abs(self.mean("-", sites)) ** 2).real)

    def mean(self, sign: str, sites: np.ndarray) -> np.ndarray:
        """Return <a> (sign "-") or <a^+> (sign "+") of the listed sites."""
        a = (self.means[sites] + 1j * self.means[self.L + sites]) / math.sqrt(2)
        return np.asarray(a if sign == "-" else a.conj())

    def pair(self, sign: str, i: np.ndarray, sign_2: str, j: np.ndarray) -> np.ndarray:
        """Return the connected <x_i y_j> elementwise, x and y each a ("-") or a^+ ("+"), in this order."""
        if sign == "+" and sign_2 == "+":
            return np.asarray(self.pair("-", j, "-", i).conj())
        L, c = self.L, self._ordered
        turn = 1j if sign == "-" else -1j, 1j if sign_2 == "-" else -1j  # a = (q + i p)/sqrt 2
        qq, qp, pq, pp = c(i, j), c(i, L + j), c(L + i, j), c(L + i, L + j)
        factor = 0.5 if self.statistics == "boson" else 0.25
        return np.asarray(factor * (qq + turn[1] * qp + turn[0] * pq + turn[0] * turn[1] * pp))

    def _ordered(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the connected <R_x R_y> in this order; fermions: <w_x w_y>."""
        values = self.covariance[x, y]
        if self.statistics == "boson":
            return np.asarray(values + 0.5j * ((y - x == self.L) * 1.0 - (x - y == self.L) * 1.0))
        return np.asarray((x == y) - 1j * values)

    # -- the questions every state answers ----------------------------------------------------------------------------

    def trace(self) -> float:
        return 1.0

    def expect_products(self, products: Sequence[Key]) -> np.ndarray:
        if self.statistics == "fermion":
            return fermion_expectations(products, self.lattice.spaces, self.covariance)
        return boson_expectations(products, self.mean if self.has_means else None, self.pair)

    def reduced(self, sites: Sequence[int]) -> np.ndarray:
        """Return the density matrix of up to seven spins; bosons have none, see :meth:`number_distribution`."""
        check_sites(self.lattice, sites)
        sites = [int(s) for s in sites]
        if not sites:
            raise InputError("Argument `sites` must name at least one site.", field="sites")
        if self.statistics == "boson":
            raise NotSupportedError(
                "A Gaussian state of modes has no finite density matrix: ask for the covariance, "
                "`number_distribution(site, most)`, `entropy_of(sites)` or `negativity_of(sites_a, sites_b)`.",
                field="reduced",
            )
        n = len(sites)
        if n > _MOST_SPINS:
            raise NotSupportedError(
                f"Density matrices of a Gaussian state are written out for up to {_MOST_SPINS} spins, not {n}.",
                field="sites",
            )
        names = ("I", "X", "Y", "Z")
        order = np.argsort(sites, kind="stable")
        words = list(itertools.product(names, repeat=n))
        keys = [tuple((w[k], sites[k]) for k in order if w[k] != "I") for w in words]
        values = self.expect_products(keys).reshape((4,) * n)
        pauli = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]) / 2
        for _ in range(n):  # contract the first Pauli index, append (row, column) at the end
            values = np.tensordot(values, pauli, axes=(0, 0))
        axes = [*range(0, 2 * n, 2), *range(1, 2 * n, 2)]
        return np.asarray(values.transpose(axes).reshape(2**n, 2**n))

    def to_dense(self) -> np.ndarray:
        return self.reduced(range(self.L))

    def purity(self) -> float:
        return self._purity(range(self.L))

    def operator_schmidt(self, cut: int) -> np.ndarray:
        raise NotSupportedError(
            "The operator Schmidt values of a Gaussian state are not worked out; ask for entropies of sites instead.",
            field="operator_schmidt",
        )

    def overlap(self, other: State) -> float:
        """Return Tr(rho sigma) of two Gaussian states; with others through density matrices where these exist."""
        check_same_spaces(self.lattice, other, "other")
        if not isinstance(other, GaussianState):
            return super().overlap(other)
        if self.statistics == "fermion":
            product = np.eye(2 * self.L) - self.covariance @ other.covariance
            return float(math.exp(0.5 * np.linalg.slogdet(product)[1] - self.L * math.log(2)))
        total = self.covariance + other.covariance
        apart = self.means - other.means
        exponent = -0.5 * float(apart @ np.linalg.solve(total, apart)) - 0.5 * np.linalg.slogdet(total)[1]
        return float(math.exp(exponent))

    # -- entropies and entanglement -----------------------------------------------------------------------------------

    def _block(self, sites: Sequence[int]) -> np.ndarray | None:
        """Return the covariance of some sites; None where a set of spins is no set of fermions.

        The Jordan-Wigner strings of even operators cancel outside an interval of sites and inside it stay within.
        """
        chosen = np.array(sorted(int(s) for s in sites), dtype=np.intp)
        if self.statistics == "fermion" and len(chosen) and chosen[-1] - chosen[0] != len(chosen) - 1:
            return None
        index = np.concatenate([chosen, self.L + chosen])
        return np.asarray(self.covariance[np.ix_(index, index)])

    @cached_property
    def spectrum(self) -> np.ndarray:
        """Symplectic eigenvalues nu >= 1/2 (bosons) or 0 <= lambda <= 1 (fermions) of the whole, ascending, (L,)."""
        f = symplectic_eigenvalues if self.statistics == "boson" else majorana_eigenvalues
        return f(self.covariance)

    @property
    def uncertainty_slack(self) -> float:
        """min nu - 1/2 (bosons) or 1 - max lambda (fermions): not negative for a physical state."""
        return float(self.spectrum[0] - 0.5 if self.statistics == "boson" else 1 - self.spectrum[-1])

    def satisfies_uncertainty(self, margin: float) -> bool:
        """Return whether sigma + i Omega/2 + margin >= 0 or 1 + margin + i Gamma >= 0 (fermions), by Cholesky."""
        one = np.eye(2 * self.L)
        if self.statistics == "boson":
            matrix = self.covariance + 0.5j * symplectic_form(self.L) + margin * one
        else:
            matrix = (1 + margin) * one + 1j * self.covariance
        try:
            np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            return False
        return True

    def _spectrum_of(self, sites: Sequence[int]) -> np.ndarray | None:
        check_sites(self.lattice, sites)
        if len(sites) == self.L:
            return self.spectrum
        block = self._block(sites)
        if block is None:
            return None
        return symplectic_eigenvalues(block) if self.statistics == "boson" else majorana_eigenvalues(block)

    def entropy_of(self, sites: Sequence[int], order: float) -> float | None:
        """Return the entropy of the listed sites; None for spins that are not an interval (ask the matrix)."""
        values = self._spectrum_of(sites)
        if values is None:
            return None
        return boson_entropy(values, order) if self.statistics == "boson" else fermion_entropy(values, order)

    def purity_of(self, sites: Sequence[int]) -> float | None:
        """Return Tr rho_A^2 of the listed sites; None for spins that are not an interval."""
        check_sites(self.lattice, sites)
        if self._block(sites) is None:
            return None
        return self._purity(sites)

    def _purity(self, sites: Sequence[int]) -> float:
        block = self._block(sites)
        assert block is not None
        if self.statistics == "boson":
            return float(math.exp(-0.5 * np.linalg.slogdet(2 * block)[1]))
        return float(math.exp(0.5 * np.linalg.slogdet(np.eye(len(block)) - block @ block)[1] - len(block) / 2 * _LN2))

    def negativity_of(self, sites_a: Sequence[int], sites_b: Sequence[int]) -> float | None:
        """Return the negativity between two sets of modes; None for spins (ask the matrix of a few)."""
        if self.statistics == "fermion":
            return None
        return math.expm1(self.logarithmic_negativity(sites_a, sites_b)) / 2

    def logarithmic_negativity(self, sites_a: Sequence[int], sites_b: Sequence[int]) -> float:
        """Return ln ||rho_AB^(T_B)||_1 for two disjoint sets of modes (natural logarithm).

        Raises
        ------
        NotSupportedError
            For spins: the partial transpose of a fermionic Gaussian state is no Gaussian.
        """
        if self.statistics == "fermion":
            raise NotSupportedError(
                "The logarithmic negativity of spins does not follow from the covariance; observables.negativity gives "
                "that of a few spins.",
                field="sites_a",
            )
        both = (*sites_a, *sites_b)
        check_sites(self.lattice, both)
        block = self._block(both)
        assert block is not None
        return logarithmic_negativity(block, np.isin(np.sort(np.array(both)), list(sites_b)))

    def number_distribution(self, site: int, most: int) -> np.ndarray:
        """Return the probabilities of 0..most quanta on one site, shape (most + 1,)."""
        check_sites(self.lattice, [site])
        where = np.array([int(site)])
        if self.statistics == "fermion":
            n = self.occupations()[site]
            return np.array([1 - n, n, *[0.0] * max(most - 1, 0)])[: most + 1]
        normal, anomalous = self.pair("+", where, "-", where)[0].real, self.pair("-", where, "-", where)[0]
        return number_distribution(complex(self.mean("-", where)[0]), float(normal), complex(anomalous), most)

    # -- storage ------------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, np.ndarray]:
        return {"means": self.means, "covariance": self.covariance}

    def attributes(self) -> dict[str, Any]:
        return {"statistics": self.statistics}

    @classmethod
    def from_arrays(
        cls, lattice: Lattice, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]
    ) -> GaussianState:
        return cls(lattice, arrays["means"], arrays["covariance"], statistics=attributes["statistics"])


_LN2 = math.log(2)


def _statistics(lattice: Lattice, given: str | None) -> str:
    kinds = {(s.kind, s.dim if s.kind != "boson" else None) for s in lattice.spaces}
    found = "boson" if kinds == {("boson", None)} else "fermion" if kinds == {("spin", 2)} else None
    if found is None:
        raise InputError("A Gaussian state needs a lattice of bosonic modes or of spins 1/2.", field="lattice")
    if given not in (None, found):
        raise InputError(f"Argument `statistics` is {given!r}, but the lattice holds {found}s.", field="statistics")
    return found


def _frozen(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = np.array(values, dtype=float)
    if array.shape != shape or not np.all(np.isfinite(array)):
        raise InputError(f"Argument `{name}` must hold finite numbers, shape {shape}.", field=name)
    array.setflags(write=False)
    return array
