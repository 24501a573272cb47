"""Products of cluster density matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError, NotSupportedError
from ..lattice import Lattice
from .base import Key, State, check_same_spaces, check_sites, refuse_dense, register_state

__all__ = ["ClusterState"]

_MOST_SCHMIDT_VALUES = 2**20
_REDUCED_LIMIT = 4096


@register_state
class ClusterState(State):
    """The product state rho = (x)_C rho_C over a partition of the sites into clusters.

    Parameters
    ----------
    lattice
        Lattice with bounded local spaces.
    partition
        Sites of every cluster; the order within a cluster is the order of the factors of its matrix.
    matrices
        Density matrices, (D, D) complex, first site of the cluster slowest.
    owner
        Which matrix each cluster uses, so that equal clusters share one; None: cluster c uses matrix c.

    Raises
    ------
    InputError
        If the clusters are no partition of the sites, or a matrix has the wrong shape, is not Hermitian or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from mpo_transport import Chain, SpinHalf
    >>> bell = np.zeros((4, 4)); bell[np.ix_([0, 3], [0, 3])] = 0.5
    >>> pairs = ClusterState(Chain(4, SpinHalf()), [(0, 1), (2, 3)], [bell], owner=[0, 0])
    >>> pairs.expect_products([(("Z", 0), ("Z", 1)), (("Z", 1), ("Z", 2))]).real
    array([1., 0.])
    """

    kind = "cluster"

    def __init__(
        self,
        lattice: Lattice,
        partition: Sequence[Sequence[int]],
        matrices: Sequence[np.ndarray],
        owner: Sequence[int] | None = None,
    ) -> None:
        self.lattice = lattice
        self.partition = tuple(tuple(int(s) for s in sites) for sites in partition)
        self.owner = tuple(range(len(self.partition))) if owner is None else tuple(int(k) for k in owner)
        self.matrices = tuple(_checked(m) for m in matrices)
        self._check()
        self._home = {s: (c, k) for c, sites in enumerate(self.partition) for k, s in enumerate(sites)}
        self._traces = tuple(float(np.trace(m).real) for m in self.matrices)
        self._reduced: dict[tuple[int, tuple[int, ...]], np.ndarray] = {}

    def _check(self) -> None:
        sites = [s for cluster in self.partition for s in cluster]
        if sorted(sites) != list(range(self.lattice.L)) or not all(self.partition):
            raise InputError(
                f"Argument `partition` must contain each of the sites 0..{self.lattice.L - 1} once.", field="partition"
            )
        if len(self.owner) != len(self.partition) or not all(0 <= k < len(self.matrices) for k in self.owner):
            raise InputError(
                f"Argument `owner` must name one of the {len(self.matrices)} matrices for each of the "
                f"{len(self.partition)} clusters.",
                field="owner",
            )
        for c, k in enumerate(self.owner):
            D = int(np.prod(self._dims(c)))
            if self.matrices[k].shape != (D, D):
                raise InputError(
                    f"Argument `matrices`: cluster {c} on the sites {self.partition[c]} needs a {D} x {D} matrix, but "
                    f"matrix {k} has shape {self.matrices[k].shape}.",
                    field="matrices",
                )

    def _dims(self, cluster: int) -> tuple[int, ...]:
        return tuple(int(self.lattice.spaces[s].dim) for s in self.partition[cluster])

    def cluster_matrix(self, cluster: int) -> np.ndarray:
        """Return the density matrix of one cluster as stored, (D, D) complex."""
        return self.matrices[self.owner[cluster]]

    def trace(self) -> float:
        return float(np.prod([self._traces[k] for k in self.owner]))

    def expect_products(self, products: Sequence[Key]) -> np.ndarray:
        values = np.ones(len(products), dtype=complex)
        for p, key in enumerate(products):
            check_sites(self.lattice, tuple({s for _, s in key}))
            touched: dict[int, dict[int, np.ndarray]] = {}
            for name, site in key:
                c, k = self._home[site]
                local = touched.setdefault(c, {})
                matrix = self.lattice.spaces[site].matrix(name)
                local[k] = local[k] @ matrix if k in local else matrix
            for c, local in touched.items():
                positions = tuple(sorted(local))
                operator = np.eye(1)
                for k in positions:
                    operator = np.kron(operator, local[k])
                values[p] *= np.einsum("ab,ba->", operator, self._cluster_reduced(c, positions))
        return values

    def _cluster_reduced(self, cluster: int, positions: tuple[int, ...]) -> np.ndarray:
        """Return the reduced matrix of some positions of a cluster, trace 1, first position slowest."""
        key = (self.owner[cluster], positions)
        if key not in self._reduced:
            dims = self._dims(cluster)
            n = len(dims)
            rest = [k for k in range(n) if k not in positions]
            order = [*positions, *rest]
            tensor = self.cluster_matrix(cluster).reshape(dims + dims)
            tensor = tensor.transpose(order + [n + k for k in order])
            inner = int(np.prod([dims[k] for k in positions], dtype=int))
            outer = int(np.prod([dims[k] for k in rest], dtype=int))
            traced = np.einsum("abcb->ac", tensor.reshape(inner, outer, inner, outer))
            self._reduced[key] = traced / self._traces[self.owner[cluster]]
        return self._reduced[key]

    def reduced(self, sites: Sequence[int]) -> np.ndarray:
        check_sites(self.lattice, sites)
        sites = [int(s) for s in sites]
        if not sites:
            raise InputError("Argument `sites` must name at least one site.", field="sites")
        dims = {s: int(self.lattice.spaces[s].dim) for s in sites}
        refuse_dense(float(np.prod([float(d) for d in dims.values()])), _REDUCED_LIMIT)
        clusters = sorted({self._home[s][0] for s in sites})
        matrix, order = np.eye(1, dtype=complex), []
        for c in clusters:
            positions = tuple(k for k, s in enumerate(self.partition[c]) if s in dims)
            matrix = np.kron(matrix, self._cluster_reduced(c, positions))
            order += [self.partition[c][k] for k in positions]
        n, D = len(sites), matrix.shape[0]
        axes = [order.index(s) for s in sites]
        legs = [dims[s] for s in order]
        return matrix.reshape(legs + legs).transpose(axes + [n + a for a in axes]).reshape(D, D)

    def purity(self) -> float:
        each = [float(np.vdot(m, m).real) / t**2 for m, t in zip(self.matrices, self._traces, strict=True)]
        return float(np.prod([each[k] for k in self.owner]))

    def operator_schmidt(self, cut: int) -> np.ndarray:
        if isinstance(cut, bool) or not isinstance(cut, (int, np.integer)) or not 0 < cut < self.L:
            raise InputError(
                f"Argument `cut` must be an integer from 1 to L-1 = {self.L - 1}, but is {cut!r}.", field="cut"
            )
        values = np.ones(1)
        for c, cluster in enumerate(self.partition):
            left = tuple(k for k, s in enumerate(cluster) if s < cut)
            if left and len(left) < len(cluster):
                values = np.outer(values, _schmidt(self.cluster_matrix(c), self._dims(c), left)).ravel()
                if len(values) > _MOST_SCHMIDT_VALUES:
                    raise NotSupportedError(
                        f"The cut {cut} runs through too many clusters to list all operator Schmidt values.",
                        field="operator_schmidt",
                    )
        return np.sort(values)[::-1]

    def to_dense(self) -> np.ndarray:
        refuse_dense(float(np.prod([float(d) for d in self.lattice.dims])))
        return self.reduced(range(self.L))

    def overlap(self, other: State) -> float:
        check_same_spaces(self.lattice, other, "other")
        if not isinstance(other, ClusterState) or other.partition != self.partition:
            return super().overlap(other)
        pairs = zip(self.owner, other.owner, strict=True)
        each = {
            (a, b): float(np.vdot(self.matrices[a], other.matrices[b]).real) / (self._traces[a] * other._traces[b])
            for a, b in set(pairs)
        }
        return float(np.prod([each[a, b] for a, b in zip(self.owner, other.owner, strict=True)]))

    def arrays(self) -> dict[str, np.ndarray]:
        return {f"matrix_{k}": m for k, m in enumerate(self.matrices)}

    def attributes(self) -> dict[str, Any]:
        return {"partition": [list(sites) for sites in self.partition], "owner": list(self.owner)}

    @classmethod
    def from_arrays(
        cls, lattice: Lattice, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]
    ) -> ClusterState:
        matrices = [np.asarray(arrays[f"matrix_{k}"]) for k in range(len(arrays))]
        return cls(lattice, attributes["partition"], matrices, attributes["owner"])


def _checked(matrix: np.ndarray) -> np.ndarray:
    array = np.array(matrix, dtype=complex)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not np.all(np.isfinite(array)):
        raise InputError("Argument `matrices` must hold finite square matrices.", field="matrices")
    scale = max(np.abs(array).max(), 1e-300)
    if np.abs(array - array.conj().T).max() > 1e-10 * scale or np.trace(array).real <= 0:
        raise InputError("Argument `matrices` must be Hermitian with a positive trace.", field="matrices")
    array.setflags(write=False)
    return array


def _schmidt(matrix: np.ndarray, dims: tuple[int, ...], left: tuple[int, ...]) -> np.ndarray:
    """Return the normalised operator Schmidt values between some positions of a cluster and the others."""
    n = len(dims)
    right = [k for k in range(n) if k not in left]
    order = [*left, *[n + k for k in left], *right, *[n + k for k in right]]
    rows = int(np.prod([dims[k] for k in left])) ** 2
    values = np.linalg.svd(matrix.reshape(dims + dims).transpose(order).reshape(rows, -1), compute_uv=False)
    return values / np.linalg.norm(values)
