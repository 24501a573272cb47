"""The nonlinear equations of cluster mean field, as one sparse polynomial in the Hermitian basis.

For a product of cluster density matrices rho = (x)_C rho_C the exact Lindbladian gives, after tracing out everything
outside C, one term per local generator G on the sites S that touch C: the part of S inside C stays a matrix, each part
in another cluster C' becomes an expectation value.  With rho_C = sum_k x_{C,k} B_k (B_0 proportional to 1),

    d x_{C,k} / dt = sum_entries  value * ( prod_f x_f ) * x_{C,l}

where every factor f is one coefficient of another cluster.  No approximation beside the product form is made: any
range, any number of clusters in one term, any Hamiltonian and jump operators.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from ..model import Lindbladian
from ..superoperator import from_hermitian, hermitian_basis, hermitian_lindbladian, local_generators, to_hermitian

__all__ = ["ClusterEquations", "basis_parity", "build_equations", "contiguous_clusters", "is_shift_invariant"]

Sites = tuple[int, ...]
Generators = Mapping[Sites, np.ndarray]
Factor = tuple[int, int]  # (cluster, index of a basis operator of that cluster)
_NEGLIGIBLE = 1e-15


def contiguous_clusters(L: int, size: int) -> tuple[Sites, ...]:
    """Return the sites of clusters of ``size`` consecutive sites; the last one is smaller if L is not a multiple.

    >>> contiguous_clusters(5, 2)
    ((0, 1), (2, 3), (4,))
    """
    return tuple(tuple(range(a, min(a + size, L))) for a in range(0, L, size))


def is_shift_invariant(model: Lindbladian, generators: Generators, shift: int) -> bool:
    """Return whether the generator of a ring stays the same when every site j becomes j + shift (mod L)."""
    lattice = model.lattice
    if not lattice.periodic or lattice.L % shift:
        return False
    moved = [(s + shift) % lattice.L for s in range(lattice.L)]
    if any(lattice.spaces[s] != lattice.spaces[m] for s, m in enumerate(moved)):
        return False
    scale = max((np.abs(g).max() for g in generators.values()), default=0.0)
    images: dict[Sites, np.ndarray] = {}
    for sites, g in generators.items():
        target = [moved[s] for s in sites]
        axes = [int(a) for a in np.argsort(target)]
        n = len(sites)
        legs = [int(lattice.dims[s]) ** 2 for s in sites]
        tensor = g.reshape(legs + legs).transpose(axes + [n + a for a in axes])
        images[tuple(sorted(target))] = tensor.reshape(g.shape)
    zero = np.zeros((1, 1))
    return all(
        np.abs(generators.get(s, zero) - images.get(s, zero)).max() <= 1e-13 * scale
        for s in generators.keys() | images.keys()
    )


@dataclass(frozen=True)
class ClusterEquations:
    """dx/dt = f(x) for the coefficients of all independent clusters, one after the other in x.

    Attributes
    ----------
    clusters
        Sites of every cluster of the lattice.
    period
        Cluster c has the density matrix of cluster ``c % period``; 1 is the uniform ansatz.
    dims
        Local dimensions of every site.
    rows, columns, values, monomials
        Sparse polynomial: ``f[row] += value * (product of the factors of the monomial) * x[column]``.
    factors, cells
        Factors of every monomial as indices into x padded with len(x) (meaning 1), shape (monomials, degree), and
        the distance of their unit cell of ``period`` clusters, for :meth:`jacobian` at a momentum.
    """

    clusters: tuple[Sites, ...]
    period: int
    dims: tuple[int, ...]
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    monomials: np.ndarray
    factors: np.ndarray
    cells: np.ndarray

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where every independent cluster starts in x; the last entry is the length of x."""
        lengths = [self.cluster_dimension(v) ** 2 for v in range(self.period)]
        return tuple(int(s) for s in np.concatenate([[0], np.cumsum(lengths)]))

    @property
    def size(self) -> int:
        """Number of real coefficients, trace included."""
        return self.offsets[-1]

    @property
    def number_of_cells(self) -> int:
        """How often the unit cell of independent clusters repeats."""
        return len(self.clusters) // self.period

    def cluster_dims(self, cluster: int) -> tuple[int, ...]:
        """Return the local dimensions of the sites of a cluster."""
        return tuple(self.dims[s] for s in self.clusters[cluster])

    def cluster_dimension(self, cluster: int) -> int:
        """Return the Hilbert space dimension of a cluster."""
        return int(np.prod(self.cluster_dims(cluster)))

    @cached_property
    def free(self) -> np.ndarray:
        """Indices of all coefficients but the conserved traces."""
        keep = np.ones(self.size, dtype=bool)
        keep[list(self.offsets[:-1])] = False
        return np.flatnonzero(keep)

    @cached_property
    def _gather(self) -> sp.csr_array:
        entries = np.arange(len(self.values))
        return sp.csr_array((self.values, (self.rows, entries)), shape=(self.size, len(self.values)))

    @cached_property
    def rate(self) -> float:
        """Largest absolute row sum of the polynomial: an upper scale of all local rates (unit: rate)."""
        total = np.bincount(self.rows, np.abs(self.values), minlength=self.size)
        return float(total.max()) if total.any() else 1.0

    def rhs(self, x: np.ndarray) -> np.ndarray:
        """Return f(x), same shape."""
        products = np.prod(np.append(x, 1.0)[self.factors], axis=1)
        return self._gather @ (products[self.monomials] * x[self.columns])

    def jacobian(self, x: np.ndarray, momentum: float = 0.0) -> sp.csr_array:
        """Return df/dx, shape (size, size), sparse; of perturbations ~ exp(i momentum cell) if a momentum is given."""
        padded = np.append(x, 1.0)[self.factors]
        products = np.prod(padded, axis=1)
        rows, columns = [self.rows], [self.columns]
        values = [self.values * products[self.monomials]]
        for f in range(self.factors.shape[1]):
            others = np.prod(np.delete(padded, f, axis=1), axis=1)
            if momentum:
                others = others * np.exp(1j * momentum * self.cells[:, f])
            target = self.factors[self.monomials, f]
            real = target < self.size
            rows.append(self.rows[real])
            columns.append(target[real])
            values.append((self.values * x[self.columns] * others[self.monomials])[real])
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return sp.csr_array(sp.coo_array(entries, shape=(self.size, self.size)))

    # -- coefficients and density matrices --------------------------------------------------------------------------

    def pack(self, matrices: list[np.ndarray]) -> np.ndarray:
        """Return x of the density matrices of the independent clusters, normalised to trace 1."""
        parts = []
        for v, rho in enumerate(matrices):
            coefficients = np.real(to_hermitian(rho, self.cluster_dims(v))).ravel()
            parts.append(coefficients / (coefficients[0] * np.sqrt(self.cluster_dimension(v))))
        return np.concatenate(parts)

    def unpack(self, x: np.ndarray) -> list[np.ndarray]:
        """Return the density matrices of the independent clusters, (D, D) complex each."""
        return [
            from_hermitian(x[a:b], self.cluster_dims(v))
            for v, (a, b) in enumerate(zip(self.offsets, self.offsets[1:], strict=False))
        ]

    def mixed(self) -> np.ndarray:
        """Return x of the maximally mixed state."""
        x = np.zeros(self.size)
        for v, a in enumerate(self.offsets[:-1]):
            x[a] = self.cluster_dimension(v) ** -0.5
        return x

    def charge(self, local: Mapping[int, np.ndarray]) -> np.ndarray:
        """Return the sum over sites of ``local[site][basis index]`` for every coefficient in x, integers."""
        parts = []
        for v in range(self.period):
            total = np.zeros(1, dtype=int)
            for s in self.clusters[v]:
                total = (total[:, None] + local[s][None, :]).ravel()
            parts.append(total)
        return np.concatenate(parts)


def build_equations(
    model: Lindbladian, clusters: tuple[Sites, ...], period: int, generators: Generators | None = None
) -> ClusterEquations:
    """Return the cluster mean-field equations of a model.

    Parameters
    ----------
    model
        Any Lindbladian with bounded local spaces.
    clusters
        A partition of the sites.
    period
        Number of independent clusters; cluster c repeats cluster ``c % period`` (the model must be invariant).
    generators
        ``local_generators(model)`` if already at hand.
    """
    dims = tuple(int(d) for d in model.lattice.dims)
    generators = local_generators(model) if generators is None else generators
    home = {s: (c, k) for c, sites in enumerate(clusters) for k, s in enumerate(sites)}
    grouped: list[dict[tuple[Factor, ...], dict[Sites, np.ndarray]]] = [defaultdict(dict) for _ in range(period)]
    for sites, g in generators.items():
        for c in sorted({home[s][0] for s in sites}):
            if c < period:
                _trace_outside(grouped[c], c, sites, g, clusters, home, dims)
    return _assemble(grouped, clusters, period, dims)


def _trace_outside(
    grouped: dict[tuple[Factor, ...], dict[Sites, np.ndarray]],
    cluster: int,
    sites: Sites,
    generator: np.ndarray,
    clusters: tuple[Sites, ...],
    home: Mapping[int, tuple[int, int]],
    dims: tuple[int, ...],
) -> None:
    """Add what a generator does to one cluster: {factors: {sites inside (positions): matrix}}."""
    n = len(sites)
    inside = [a for a, s in enumerate(sites) if home[s][0] == cluster]
    outside = [a for a in range(n) if a not in inside]
    legs = [dims[s] ** 2 for s in sites]
    # the trace over the outside picks the identity component of the output, Tr B_0 = sqrt(d)
    pick = tuple(0 if a in outside else slice(None) for a in range(n))
    tensor = generator.reshape(legs + legs)[pick] * np.prod([np.sqrt(dims[sites[a]]) for a in outside])
    m = len(inside)
    tensor = tensor.transpose(list(range(m)) + [m + a for a in inside] + [m + a for a in outside])
    positions = tuple(home[sites[a]][1] for a in inside)
    inner = int(np.prod([legs[a] for a in inside]))
    matrices = tensor.reshape(inner, inner, *[legs[a] for a in outside])
    threshold = _NEGLIGIBLE * np.abs(generator).max() if generator.size else 0.0
    for q in np.ndindex(*[legs[a] for a in outside]):
        block = matrices[(slice(None), slice(None), *q)]
        if np.abs(block).max() <= threshold:
            continue
        factors, scale = _expectations({sites[a]: k for a, k in zip(outside, q, strict=True)}, clusters, home, dims)
        target = grouped[factors]
        target[positions] = target[positions] + scale * block if positions in target else scale * block


def _expectations(
    string: Mapping[int, int], clusters: tuple[Sites, ...], home: Mapping[int, tuple[int, int]], dims: tuple[int, ...]
) -> tuple[tuple[Factor, ...], float]:
    """Return <prod_s B_{k_s}> as coefficients of the clusters it touches, and the number that multiplies them."""
    factors: list[Factor] = []
    scale = 1.0
    for c in sorted({home[s][0] for s in string}):
        touched = [s for s in clusters[c] if s in string]
        if all(string[s] == 0 for s in touched):
            scale /= np.prod([np.sqrt(dims[s]) for s in touched])  # <B_0> = 1/sqrt(d)
            continue
        index = 0
        for s in clusters[c]:
            index = index * dims[s] ** 2 + string.get(s, 0)
            if s not in string:
                scale *= np.sqrt(dims[s])  # Tr B_0
        factors.append((c, index))
    return tuple(factors), float(scale)


def _assemble(
    grouped: list[dict[tuple[Factor, ...], dict[Sites, np.ndarray]]],
    clusters: tuple[Sites, ...],
    period: int,
    dims: tuple[int, ...],
) -> ClusterEquations:
    lengths = [int(np.prod([dims[s] ** 2 for s in clusters[v]])) for v in range(period)]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
    degree = max((len(f) for g in grouped for f in g), default=0)
    table: list[list[int]] = []
    cells: list[list[int]] = []
    rows, columns, values, monomials = [], [], [], []
    for v, by_factors in enumerate(grouped):
        local_dims = tuple(dims[s] for s in clusters[v])
        for factors, blocks in sorted(by_factors.items()):
            matrix = hermitian_lindbladian(blocks, local_dims).tocoo()
            keep = matrix.coords[0] > 0  # the trace is conserved exactly
            padding = degree - len(factors)
            rows.append(matrix.coords[0][keep] + offsets[v])
            columns.append(matrix.coords[1][keep] + offsets[v])
            values.append(matrix.data[keep])
            monomials.append(np.full(int(keep.sum()), len(table)))
            table.append([int(offsets[c % period]) + k for c, k in factors] + [int(offsets[-1])] * padding)
            cells.append([c // period for c, _ in factors] + [0] * padding)
    empty = np.zeros(0, dtype=int)
    return ClusterEquations(
        clusters,
        period,
        dims,
        np.concatenate(rows).astype(int) if rows else empty,
        np.concatenate(columns).astype(int) if rows else empty,
        np.concatenate(values) if rows else empty.astype(float),
        np.concatenate(monomials) if rows else empty,
        np.array(table, dtype=int).reshape(len(table), degree),
        np.array(cells, dtype=int).reshape(len(cells), degree),
    )


def basis_parity(numbers: tuple[float, ...] | None, d: int) -> np.ndarray | None:
    """Return for every Hermitian basis operator of a site by how much (mod 2) it changes the local number, (d^2,).

    None if the space has no integer number operator.
    """
    if numbers is None:
        return None
    n = np.asarray(numbers) - numbers[0]
    if not np.allclose(n, np.rint(n)):
        return None
    change = (n[:, None] - n[None, :]).round().astype(int) % 2
    return np.array([int(np.any(change[np.abs(b) > 0])) for b in hermitian_basis(d)])
