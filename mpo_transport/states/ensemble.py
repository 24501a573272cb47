"""Mixtures of pure states: what quantum trajectories leave behind, with the statistical errors of everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import scipy

from ..errors import InputError, NotSupportedError
from ..lattice import Lattice
from ..operators import OpSum
from ..superoperator.basis import from_hermitian
from .base import Key, State, check_sites, refuse_dense, register_state
from .dense import DenseState
from .local_records import LocalRecords, pair_basis, reduced_stack

__all__ = ["TWO_SIGMA", "EnsembleState", "student_factor"]

_CHUNK_ENTRIES = 2**22  # complex numbers expanded at a time (64 MiB)
_LARGEST_REDUCED = 64  # dimension up to which products are read off the reduced matrices of every sample
_REDUCED_LIMIT = 4096
_LEFT_OUT = 20  # groups of units left out in turn
TWO_SIGMA = 0.9772498680518208  # probability below +2 standard deviations of a normal variable


def student_factor(degrees: float) -> float:
    """Return the number t_nu / 2 by which a standard error from nu degrees of freedom is enlarged, so that twice the
    result covers 95.45 % whatever nu is.

    >>> round(student_factor(10), 3), student_factor(1e9) < 1.001
    (1.142, True)
    """
    return float(scipy.special.stdtrit(degrees, TWO_SIGMA) / 2) if degrees > 0 else float("nan")


@register_state
class EnsembleState(State):
    """A mixture of pure states, rho = sum_i w_i |psi_i><psi_i|.

    Parameters
    ----------
    lattice
        A lattice of bounded spaces.
    vectors
        The states, shape (n, D), site 0 varying slowest; or (n, width) in the charge sectors of ``basis``.
    weights
        w_i >= 0, shape (n,); None: 1/n each.
    groups
        Number of the statistically independent unit that every sample belongs to, shape (n,); None: nothing is known
        about the statistics, and there are no standard errors.
    sectors, basis
        For vectors within charge sectors: the sector of every sample, shape (n,), and for every sector the positions of
        its basis states among all D (a vector has zeros beyond the size of its sector).
    records
        Local density matrices accumulated over more data than the samples; they take precedence.
    inflation
        Factor on all variances that accounts for correlations between units.

    Raises
    ------
    InputError
        For wrong shapes, negative weights or entries that are not finite, naming the argument.

    Notes
    -----
    Whatever is not linear in rho is biased by the finite number of samples: :meth:`purity` by (1 - Tr rho^2)/n, the
    entropies likewise.  :meth:`unbiased_purity` is free of this.

    Examples
    --------
    >>> import numpy as np
    >>> from mpo_transport import Chain, SpinHalf, op
    >>> state = EnsembleState(Chain(1, SpinHalf()), np.eye(2), weights=[0.75, 0.25])
    >>> state.expect(op("Z", 0)).real, state.purity()
    (0.5, 0.625)
    """

    kind: ClassVar[str] = "ensemble"

    def __init__(
        self,
        lattice: Lattice,
        vectors: Any,
        weights: Any = None,
        *,
        groups: Any = None,
        sectors: Any = None,
        basis: Sequence[np.ndarray] | None = None,
        records: LocalRecords | None = None,
        inflation: float = 1.0,
    ) -> None:
        self.lattice = lattice
        self._dims = _dims(lattice)
        self._vectors = _frozen(vectors, complex)
        n = len(self._vectors) if self._vectors.ndim == 2 else 0
        self._weights = _frozen(np.full(n, 1 / max(n, 1)) if weights is None else weights, float)
        self._groups = None if groups is None else _frozen(groups, np.int64)
        self._basis = None if basis is None else tuple(_frozen(b, np.int64) for b in basis)
        self._sectors = _frozen(np.zeros(n) if sectors is None else sectors, np.int64)
        self.records = records
        self.inflation = float(inflation)
        self._check(int(np.prod(self._dims)))
        norms = np.einsum("ij,ij->i", self._vectors, self._vectors.conj()).real
        self._trace = float(self._weights @ norms)
        if not self._trace > 0:
            raise InputError("Argument `weights` leaves nothing: the trace is zero.", field="weights")

    def _check(self, D: int) -> None:
        vectors = self._vectors
        width = D if self._basis is None else max((len(b) for b in self._basis), default=0)
        if vectors.ndim != 2 or not len(vectors) or vectors.shape[1] != width:
            raise InputError(
                f"Argument `vectors` must have shape (n, {width}), n >= 1, not {vectors.shape}.", field="vectors"
            )
        for name, array in (("weights", self._weights), ("sectors", self._sectors), ("groups", self._groups)):
            if array is not None and array.shape != (len(vectors),):
                raise InputError(
                    f"Argument `{name}` must have one entry per sample ({len(vectors)}), but has shape {array.shape}.",
                    field=name,
                )
        if not np.all(np.isfinite(vectors)):
            raise InputError("Argument `vectors` has entries that are not finite.", field="vectors")
        if not np.all(np.isfinite(self._weights)) or np.any(self._weights < 0):
            raise InputError("Argument `weights` must be finite and >= 0.", field="weights")
        sectors = 1 if self._basis is None else len(self._basis)
        if np.any(self._sectors < 0) or np.any(self._sectors >= sectors):
            raise InputError(f"Argument `sectors` must hold numbers 0..{sectors - 1}.", field="sectors")

    # -- samples ------------------------------------------------------------------------------------------------------

    @property
    def samples(self) -> int:
        """Number of pure states."""
        return len(self._vectors)

    @property
    def weights(self) -> np.ndarray:
        """The weights as given, shape (n,)."""
        return self._weights

    def vectors(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return the samples ``start:stop`` in the whole space, shape (stop - start, D), complex."""
        part = self._vectors[start:stop]
        if self._basis is None:
            return part
        out = np.zeros((len(part), int(np.prod(self._dims))), dtype=complex)
        for k, sector in enumerate(self._sectors[start:stop]):
            indices = self._basis[sector]
            out[k, indices] = part[k, : len(indices)]
        return out

    def _chunks(self) -> list[tuple[int, int]]:
        size = max(1, _CHUNK_ENTRIES // int(np.prod(self._dims)))
        return [(a, min(a + size, self.samples)) for a in range(0, self.samples, size)]

    def _sample_values(self, keys: Sequence[Key]) -> np.ndarray:
        """Return <psi_i|product|psi_i> for every sample, shape (n, len(keys)), complex, not normalised."""
        out = np.empty((self.samples, len(keys)), dtype=complex)
        locals_ = [_local_matrices(self.lattice, key) for key in keys]
        for a, b in self._chunks():
            psi = self.vectors(a, b)
            stacks: dict[tuple[int, ...], np.ndarray] = {}
            for k, matrices in enumerate(locals_):
                sites = tuple(sorted(matrices))
                m = int(np.prod([self._dims[s] for s in sites], dtype=int))
                if m <= _LARGEST_REDUCED:
                    if sites not in stacks:
                        stacks[sites] = reduced_stack(psi, self._dims, sites)
                    operator = _kron([matrices[s] for s in sites])
                    out[a:b, k] = np.einsum("ab,nba->n", operator, stacks[sites])
                else:
                    phi = psi.reshape(-1, *self._dims)
                    for s in sites:
                        phi = np.moveaxis(np.tensordot(matrices[s], phi, axes=(1, 1 + s)), 0, 1 + s)
                    out[a:b, k] = np.einsum("nj,nj->n", psi.conj(), phi.reshape(len(psi), -1))
        return out

    # -- the answers of every state -----------------------------------------------------------------------------------

    def trace(self) -> float:
        """Return Tr rho = sum_i w_i <psi_i|psi_i>."""
        return self._trace

    def expect_products(self, products: Sequence[Key]) -> np.ndarray:
        """Return <product> for symbolic products, from the records where they reach, else from the samples."""
        out = np.empty(len(products), dtype=complex)
        rest = []
        for k, key in enumerate(products):
            units = self._recorded(key)
            if units is None:
                rest.append(k)
            else:
                assert self.records is not None
                out[k] = self.records.weights @ units
        if rest:
            values = self._sample_values([products[k] for k in rest])
            out[rest] = self._weights @ values / self._trace
        return out

    def _recorded(self, key: Key) -> np.ndarray | None:
        """Return the value of a product in every unit of the records, shape (U,) complex; None if not recorded."""
        matrices = _local_matrices(self.lattice, key)
        if self.records is None or not matrices:
            return None
        sites = tuple(sorted(matrices))
        columns = self.records.columns(self.lattice, sites)
        if columns is None:
            return None
        operator = _kron([matrices[s] for s in sites])
        basis = pair_basis([self._dims[s] for s in sites])
        return columns @ np.einsum("ab,kba->k", operator, basis)

    def standard_error(self, operators: Sequence[OpSum]) -> np.ndarray:
        """Return the standard error of the expectation value of every operator sum, shape (len(operators),), real.

        It is found from the scatter between independent units (trajectories, or stretches of them), enlarged by
        :func:`student_factor`, so that *two* standard errors cover 95 % also for few units.  The parts of an operator
        read off the records and off the samples are added linearly.  NaN where fewer than two units are known.
        """
        out = np.zeros(len(operators))
        keys = list(dict.fromkeys(key for o in operators for key, _ in o if key))
        recorded = {key: self._recorded(key) for key in keys}
        sampled = [key for key in keys if recorded[key] is None]
        values = self._sample_values(sampled) if sampled else np.zeros((self.samples, 0), dtype=complex)
        for k, operator in enumerate(operators):
            terms = [(recorded[key], c) for key, c in operator if key and recorded[key] is not None]
            if terms:
                assert self.records is not None
                series = sum(c * u for u, c in terms if u is not None)
                out[k] += _unit_error(np.asarray(series), self.records.weights)
            rest = [(sampled.index(key), c) for key, c in operator if key and recorded[key] is None]
            if rest:
                out[k] += self._sample_error(sum(c * values[:, j] for j, c in rest))
        return out * np.sqrt(self.inflation)

    def jackknife_error(self, function: Callable[[EnsembleState], Any]) -> Any:
        """Return the standard error of any function of the state, array or number, by leaving out groups of units.

        sqrt( (K-1)/K sum_k |f_k - mean f|^2 ) over K <= 20 groups of units, f_k being the value without group k,
        enlarged by :func:`student_factor`.  For what is not linear in the state: purities, entropies, connected
        correlations.  NaN where fewer than two units are known.  The bias by the number of samples is no part of it.
        """
        units = 0 if self._groups is None else int(self._groups.max()) + 1
        if self.records is not None:
            units = len(self.records.weights)
        count = min(units, _LEFT_OUT)
        if count < 2:
            return np.full(np.shape(function(self)), np.nan)[()]
        values = np.array([function(self._without(units, count, k)) for k in range(count)])
        variance = (count - 1) / count * np.sum(np.abs(values - values.mean(axis=0)) ** 2, axis=0)
        return (np.sqrt(variance * self.inflation) * student_factor(count - 1))[()]

    def _without(self, units: int, count: int, left_out: int) -> EnsembleState:
        """Return the ensemble without group ``left_out`` of ``count`` groups of neighbouring units."""
        assert self._groups is not None
        stay = np.arange(units) * count // units != left_out
        rows = stay[self._groups]
        records = self.records
        if records is not None:
            shares = records.weights[stay]
            records = LocalRecords(records.sites, records.values[stay], shares / shares.sum())
        if not np.any(rows):  # all samples kept are of one group: they stay, and show no scatter
            rows = np.ones(self.samples, dtype=bool)
        basis = self._basis
        sectors = None if basis is None else self._sectors[rows]
        vectors, weights = self._vectors[rows], self._weights[rows]
        return EnsembleState(self.lattice, vectors, weights, sectors=sectors, basis=basis, records=records)

    def _sample_error(self, values: Any) -> float:
        if self._groups is None:
            return float("nan")
        _, units = np.unique(self._groups, return_inverse=True)
        weights = np.bincount(units, self._weights)
        numerator = np.bincount(units, self._weights * values.real) + 1j * np.bincount(
            units, self._weights * values.imag
        )
        norms = np.einsum("ij,ij->i", self._vectors, self._vectors.conj()).real
        shares = np.bincount(units, self._weights * norms)
        filled = weights > 0
        return _unit_error(numerator[filled] / shares[filled], shares[filled] / shares.sum())

    def reduced(self, sites: Sequence[int]) -> np.ndarray:
        """Return the reduced density matrix of the listed sites, (D, D) complex, trace 1, first listed site slowest."""
        sites = tuple(int(s) if isinstance(s, np.integer) else s for s in sites)
        check_sites(self.lattice, sites)
        if not sites:
            return np.ones((1, 1), dtype=complex)
        ascending = tuple(sorted(sites))
        dims = [self._dims[s] for s in ascending]
        m = int(np.prod(dims, dtype=int))
        if m > _REDUCED_LIMIT:
            raise NotSupportedError(
                f"The reduced matrix of these sites would be {m} x {m}; it is written out up to "
                f"{_REDUCED_LIMIT} x {_REDUCED_LIMIT}. Ask for fewer sites.",
                field="sites",
            )
        columns = None if self.records is None else self.records.columns(self.lattice, ascending)
        if columns is not None and self.records is not None:
            matrix = from_hermitian(self.records.weights @ columns, dims)
        else:
            matrix = np.zeros((m, m), dtype=complex)
            for a, b in self._chunks():
                moved = np.moveaxis(
                    self.vectors(a, b).reshape(-1, *self._dims), [1 + s for s in ascending], range(len(dims))
                )
                # axes now: the sites asked for, the sample, the rest
                x = moved.reshape(m, b - a, -1)
                y = (x * self._weights[a:b, None]).reshape(m, -1)
                matrix += y @ x.reshape(m, -1).conj().T
            matrix /= self._trace
        order = [ascending.index(s) for s in sites]
        k = len(sites)
        tensor = matrix.reshape(dims + dims).transpose(order + [k + a for a in order])
        return np.ascontiguousarray(tensor).reshape(m, m)

    def _gram(self, other: EnsembleState) -> np.ndarray:
        """Return |<psi_i|phi_j>|^2, shape (n, n')."""
        if self._basis is None and other._basis is None:
            return np.abs(self._vectors.conj() @ other._vectors.T) ** 2
        out = np.empty((self.samples, other.samples))
        for a, b in self._chunks():
            left = self.vectors(a, b).conj()
            for c, d in other._chunks():
                out[a:b, c:d] = np.abs(left @ other.vectors(c, d).T) ** 2
        return out

    def purity(self) -> float:
        """Return Tr rho^2 of this mixture; as an estimate of the sampled state it is too large by (1 - Tr rho^2)/n."""
        return float(self._weights @ self._gram(self) @ self._weights / self._trace**2)

    def unbiased_purity(self) -> float:
        """Return the estimate of Tr rho^2 from pairs of samples in different units, free of the bias 1/n.

        Raises
        ------
        NotSupportedError
            If fewer than two independent units are known (field ``groups``).
        """
        if self._groups is None or len(np.unique(self._groups)) < 2:
            raise NotSupportedError(
                "An unbiased purity needs at least two independent groups of samples.", field="groups"
            )
        apart = self._groups[:, None] != self._groups[None, :]
        pairs = np.outer(self._weights, self._weights) * apart
        norms = np.einsum("ij,ij->i", self._vectors, self._vectors.conj()).real
        return float(np.sum(pairs * self._gram(self)) / np.sum(pairs * np.outer(norms, norms)))

    def overlap(self, other: State) -> float:
        """Return Tr(rho sigma)."""
        if isinstance(other, EnsembleState):
            return float(self._weights @ self._gram(other) @ other._weights / (self._trace * other._trace))
        return super().overlap(other)

    def operator_schmidt(self, cut: int) -> np.ndarray:
        """Return the normalised operator Schmidt values across (sites < cut | rest), from the written-out matrix."""
        return DenseState(self.lattice, self.to_dense()).operator_schmidt(cut)

    def to_dense(self) -> np.ndarray:
        """Return sum_i w_i |psi_i><psi_i| / Tr rho, (D, D) complex; the records do not enter."""
        D = int(np.prod(self._dims))
        refuse_dense(D)
        out = np.zeros((D, D), dtype=complex)
        for a, b in self._chunks():
            psi = self.vectors(a, b)
            out += (psi * self._weights[a:b, None]).T @ psi.conj()
        return out / self._trace

    # -- storage ------------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the vectors, weights, and, where there are any, groups, sectors with their basis, and records."""
        out = {"vectors": self._vectors, "weights": self._weights}
        if self._groups is not None:
            out["groups"] = self._groups
        if self._basis is not None:
            out["sectors"] = self._sectors
            out["basis"] = np.concatenate(self._basis)
            out["basis_sizes"] = np.array([len(b) for b in self._basis])
        if self.records is not None:
            out["record_values"] = self.records.values
            out["record_weights"] = self.records.weights
        return out

    def attributes(self) -> dict[str, Any]:
        """Return the variance inflation and the sites of the records."""
        sites = None if self.records is None else [list(s) for s in self.records.sites]
        return {"inflation": self.inflation, "records": sites}

    @classmethod
    def from_arrays(
        cls, lattice: Lattice, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]
    ) -> EnsembleState:
        """Return the state stored by :meth:`arrays` and :meth:`attributes`, bit for bit."""
        basis = None
        if "basis" in arrays:
            basis = np.split(arrays["basis"], np.cumsum(arrays["basis_sizes"])[:-1])
        records = None
        if attributes.get("records") is not None:
            sites = tuple(tuple(int(s) for s in group) for group in attributes["records"])
            records = LocalRecords(sites, arrays["record_values"], arrays["record_weights"])
        return cls(
            lattice,
            arrays["vectors"],
            arrays["weights"],
            groups=arrays.get("groups"),
            sectors=arrays.get("sectors"),
            basis=basis,
            records=records,
            inflation=float(attributes.get("inflation", 1.0)),
        )


# ----------------------------------------------------------------------------------------------------------------------


def _unit_error(values: np.ndarray, weights: np.ndarray) -> float:
    """Standard error of sum_u w_u y_u (sum w = 1) from the scatter of the y_u, Student factor included."""
    units = len(values)
    if units < 2:
        return float("nan")
    mean = weights @ values
    variance = units / (units - 1) * float(weights**2 @ np.abs(values - mean) ** 2)
    return float(np.sqrt(variance)) * student_factor(units - 1)


def _local_matrices(lattice: Lattice, key: Key) -> dict[int, np.ndarray]:
    check_sites(lattice, tuple(dict.fromkeys(s for _, s in key)))
    out: dict[int, np.ndarray] = {}
    for name, site in key:
        matrix = lattice.spaces[site].matrix(name)
        out[site] = out[site] @ matrix if site in out else matrix
    return out


def _kron(matrices: Sequence[np.ndarray]) -> np.ndarray:
    out = np.ones((1, 1))
    for matrix in matrices:
        out = np.kron(out, matrix)
    return out


def _frozen(values: Any, dtype: Any) -> np.ndarray:
    """Return a read-only array without copying one that is read-only already."""
    array = np.asarray(values, dtype=dtype)
    if array.flags.writeable:
        array = array.copy()
        array.setflags(write=False)
    return array


def _dims(lattice: Lattice) -> tuple[int, ...]:
    for j, space in enumerate(lattice.spaces):
        if not space.is_bounded:
            raise InputError(
                f"Site {j} is an unbounded mode, which has no vectors; give `levels` a number.", field="levels"
            )
    return tuple(int(d) for d in lattice.dims)
