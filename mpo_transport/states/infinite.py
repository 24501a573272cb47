"""A translation-invariant density matrix of the infinite chain, as a matrix product with a repeated unit cell.

    rho = ... A_0[k] A_1[k'] ... A_{p-1}[k''] A_0[k'''] ...  B_k (x) B_k' (x) ...

with real tensors A_j of shape (l, d^2, r) in the orthonormal Hermitian operator basis B, the right bond of A_{p-1}
being the left bond of A_0.  Two transfer matrices govern it.  The *trace* transfer matrix t_j = sqrt(d) A_j[:, 0, :]
decides expectation values: its dominant eigenvalue per cell is the trace per cell, its eigenvectors (l|, |r) are the
traced half-chains, and the next eigenvalue gives the correlation length.  The *Hilbert-Schmidt* transfer matrix
sum_k A_j[k] (x) A_j[k] decides truncation: its eigenvectors give the operator Schmidt values, and its dominant
eigenvalue the purity per site.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigs

from ..errors import InputError, NotSupportedError
from ..lattice import Chain, Lattice
from ..superoperator.basis import to_hermitian
from .base import Key, State, check_sites, local_density_matrices, register_state
from .mpo import MPOState

__all__ = ["InfiniteMPOState"]

# Below this dimension the Hilbert-Schmidt transfer matrix is diagonalised densely.
_DENSE = 80
# The share of the left and right eigenvectors' overlap below which the dominant eigenvalue counts as defective.
_DEFECTIVE = 1e-12


@register_state
@dataclass(frozen=True, eq=False)
class InfiniteMPOState(State):
    """A density matrix of the infinite chain with a unit cell of ``len(tensors)`` sites.

    The sites 0 .. L-1 of ``lattice`` (a ring) are L consecutive sites of the infinite chain, site j carrying the tensor
    j mod p.  A product of operators is placed along the shortest arc of the ring that holds its sites: the bond
    (L-1, 0) is the bond between site L-1 and the following site L.  For products that reach further than that,
    :meth:`unroll` gives the same state on a longer ring and :meth:`window` any stretch of it as an open chain.

    Parameters
    ----------
    lattice
        The ring that the model was written on, all sites of finite dimension.
    tensors
        One float64 array of shape (l, d^2, r) per site of the cell, the last r being the first l.
    weights
        Operator Schmidt values at the bond to the left of every tensor (any scale): the start from which the
        environments of a truncation are found.  Empty: ones.

    Raises
    ------
    InputError
        If the shapes do not fit each other or the lattice.

    Examples
    --------
    >>> from mpo_transport import Chain, SpinHalf, op
    >>> state = InfiniteMPOState.product(Chain(4, SpinHalf(), periodic=True), "up")
    >>> round(state.expect(op("Z", 3) * op("Z", 0)).real, 12), round(state.log_purity_per_site(), 12) + 0.0
    (1.0, 0.0)
    """

    kind: ClassVar[str] = "infinite_mpo"

    lattice: Lattice
    tensors: tuple[np.ndarray, ...]
    weights: tuple[np.ndarray, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.lattice, Chain) or not self.lattice.periodic or not self.lattice.is_bounded:
            raise InputError(
                "Argument `lattice` must be a ring with sites of finite dimension, read as a stretch of the infinite "
                "chain: Chain(L, space, periodic=True).",
                field="lattice",
            )
        tensors = tuple(np.ascontiguousarray(t, dtype=np.float64) for t in self.tensors)
        _check_shapes(self.lattice, tensors)
        weights = tuple(np.ascontiguousarray(w, dtype=np.float64) for w in self.weights)
        weights = weights or tuple(np.ones(t.shape[0]) for t in tensors)
        if [w.shape for w in weights] != [(t.shape[0],) for t in tensors]:
            raise InputError(
                "Argument `weights` must hold one array of shape (l,) per tensor, l its left bond.", field="weights"
            )
        object.__setattr__(self, "tensors", tensors)
        object.__setattr__(self, "weights", weights)

    @classmethod
    def product(cls, lattice: Lattice, initial: Any, cell: int = 1) -> InfiniteMPOState:
        """Return a product state with a unit cell of ``cell`` sites.

        Parameters
        ----------
        lattice
            The ring.
        initial
            A name ("up", "down", "vacuum", "mixed") or one entry per site of the ring, repeating with the cell.
        cell
            Sites per unit cell.

        Raises
        ------
        InputError
            If the entries do not repeat with the cell.
        """
        local = local_density_matrices(lattice, initial)
        for k in range(lattice.L):
            following = local[(k + cell) % lattice.L]
            if following.shape != local[k].shape or not np.allclose(following, local[k], rtol=0, atol=1e-12):
                raise InputError(
                    f"Argument `initial` must repeat with the unit cell of {cell} sites when the ring is read as an "
                    f"infinite chain, but the entries of sites {k} and {(k + cell) % lattice.L} differ.",
                    field="initial",
                )
        vectors = [to_hermitian(local[k % lattice.L], [len(local[k % lattice.L])]).real for k in range(cell)]
        return cls(lattice, tuple(v.reshape(1, -1, 1) for v in vectors))

    # -- the unit cell ------------------------------------------------------------------------------------------------

    @property
    def cell(self) -> int:
        """Sites per unit cell of the matrix product."""
        return len(self.tensors)

    @property
    def bond_dimensions(self) -> tuple[int, ...]:
        """Bond dimension to the right of every tensor of the cell."""
        return tuple(int(t.shape[2]) for t in self.tensors)

    @cached_property
    def _dominant(self) -> _Dominant:
        return _Dominant.of(self.tensors)

    @property
    def trace_per_cell(self) -> float:
        """The dominant eigenvalue of the trace transfer matrix of one cell, as stored.

        Raises
        ------
        InputError
            If there is no single positive dominant eigenvalue: then no traced half-chain exists.
        """
        return self._dominant.value

    @property
    def transfer_gap(self) -> float:
        """-ln|lambda_1/lambda_0| of the trace transfer matrix of one cell (infinite for bond dimension 1)."""
        ratio = self._dominant.ratio
        return float("inf") if ratio <= 0 else -float(np.log(ratio))

    @property
    def correlation_length(self) -> float:
        """Largest length over which connected correlations decay, p / transfer_gap, in sites."""
        gap = self.transfer_gap
        return float("inf") if gap <= 0 else self.cell / gap

    def trace(self) -> float:
        """Return 1: the trace per cell is divided out (see :attr:`trace_per_cell` for the stored one)."""
        return 1.0 if np.isfinite(self.trace_per_cell) else float("nan")

    def normalised(self) -> InfiniteMPOState:
        """Return the state with trace 1 per cell."""
        factor = self.trace_per_cell ** (-1 / self.cell)
        return InfiniteMPOState(self.lattice, tuple(t * factor for t in self.tensors), self.weights)

    def window(self, first: int, length: int) -> MPOState:
        """Return the reduced state of the sites first .. first+length-1 of the infinite chain as an open chain.

        Its site 0 is the site ``first``; every expectation value equals that of the infinite chain.
        """
        if length < 1:
            raise InputError(f"Argument `length` must be an integer >= 1, but is {length!r}.", field="length")
        dominant, p = self._dominant, self.cell
        factor = dominant.value ** (-1 / p)
        tensors = [self.tensors[k % p] * factor for k in range(first, first + length)]
        tensors[0] = np.tensordot(dominant.left[first % p], tensors[0], axes=(0, 0))[None]
        tensors[-1] = (tensors[-1] @ dominant.right[(first + length) % p])[:, :, None]
        spaces = [self.lattice.spaces[k % self.L] for k in range(first, first + length)]
        return MPOState(Chain(length, spaces), tuple(tensors)).normalised()

    def unroll(self, cells: int) -> InfiniteMPOState:
        """Return the same state on a ring of ``cells`` times as many sites, for products that reach further."""
        if isinstance(cells, bool) or not isinstance(cells, (int, np.integer)) or cells < 1:
            raise InputError(f"Argument `cells` must be an integer >= 1, but is {cells!r}.", field="cells")
        lattice = Chain(self.L * int(cells), self.lattice.spaces * int(cells), periodic=True)
        return InfiniteMPOState(lattice, self.tensors, self.weights)

    # -- expectation values -------------------------------------------------------------------------------------------

    def expect_products(self, products: Sequence[Key]) -> np.ndarray:
        placed: list[Key] = []
        length = 1
        for key in products:
            sites = {s for _, s in key}
            check_sites(self.lattice, tuple(sites))
            where = placement(sites, self.L)
            placed.append(tuple((name, where[s]) for name, s in key))
            length = max(length, 1 + max(where.values(), default=0))
        if not placed:
            return np.zeros(0, dtype=complex)
        return self.window(0, length).expect_products(placed)

    def reduced(self, sites: Sequence[int]) -> np.ndarray:
        """Return the reduced density matrix of the listed sites, (D, D) complex, trace 1, first site slowest.

        Raises
        ------
        NotSupportedError
            If D exceeds 256.
        """
        check_sites(self.lattice, sites)
        where = placement(set(sites), self.L)
        if not where:
            raise InputError("Argument `sites` must name at least one site.", field="sites")
        first, last = min(where.values()), max(where.values())
        return self.window(first, last - first + 1).reduced([where[s] - first for s in sites])

    # -- nonlinear quantities -----------------------------------------------------------------------------------------

    def purity(self) -> float:
        raise NotSupportedError(
            "Tr rho^2 of an infinite chain is zero unless the state is pure; log_purity_per_site() gives "
            "ln(Tr rho^2) per site, and purity of a list of sites that of a part.",
            field="state",
        )

    def log_purity_per_site(self) -> float:
        """Return lim ln(Tr rho_N^2)/N for N -> infinity sites, <= 0."""
        value, _ = _hilbert_schmidt(self.tensors, left=False)
        return float(np.log(value) - 2 * np.log(self.trace_per_cell)) / self.cell

    def operator_schmidt(self, cut: int) -> np.ndarray:
        """Return the normalised operator Schmidt values of the two half-infinite chains left and right of site ``cut``.

        ``cut`` runs from 0 to L; the values descend, the sum of their squares is 1.
        """
        if isinstance(cut, bool) or not isinstance(cut, (int, np.integer)) or not 0 <= cut <= self.L:
            raise InputError(f"Argument `cut` must be an integer from 0 to L = {self.L}, but is {cut!r}.", field="cut")
        k = int(cut) % self.cell
        turned = (*self.tensors[k:], *self.tensors[:k])
        left, right = (_root(_hilbert_schmidt(turned, left=side)[1]) for side in (True, False))
        s = np.linalg.svd(left.T @ right, compute_uv=False)
        return np.asarray(s / np.linalg.norm(s))

    def overlap(self, other: State) -> float:
        raise NotSupportedError(
            "Tr(rho sigma) of infinite chains is zero or one; compare reduced density matrices or windows instead.",
            field="other",
        )

    def to_dense(self) -> np.ndarray:
        raise NotSupportedError(
            "The density matrix of an infinite chain cannot be written out; ask for reduced density matrices, or for "
            "a window.",
            field="to_dense",
        )

    # -- storage ------------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {"tensors", "weights": all entries one after another, "shapes": (p, 3) integers}."""
        return {
            "tensors": np.concatenate([t.ravel() for t in self.tensors]),
            "weights": np.concatenate(self.weights),
            "shapes": np.array([t.shape for t in self.tensors], dtype=np.int64),
        }

    @classmethod
    def from_arrays(
        cls, lattice: Lattice, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]
    ) -> InfiniteMPOState:
        shapes = np.asarray(arrays["shapes"], dtype=np.int64)
        flat, weights = (np.asarray(arrays[name], dtype=float) for name in ("tensors", "weights"))
        fits = shapes.ndim == 2 and shapes.shape[1] == 3 and len(shapes) > 0
        if not fits or flat.shape != (shapes.prod(axis=1).sum(),) or weights.shape != (shapes[:, 0].sum(),):
            raise InputError("The stored tensors and their shapes do not belong together.", field="tensors")
        blocks = np.split(flat, np.cumsum(shapes.prod(axis=1))[:-1])
        tensors = tuple(b.reshape(shape).copy() for b, shape in zip(blocks, shapes.tolist(), strict=True))
        return cls(lattice, tensors, tuple(w.copy() for w in np.split(weights, np.cumsum(shapes[:, 0])[:-1])))

    def __repr__(self) -> str:
        return f"InfiniteMPOState(cell of {self.cell} sites, bond dimension {max(self.bond_dimensions)})"


def placement(sites: set[int], L: int) -> dict[int, int]:
    """Return {site of the ring: site of the infinite chain}, on the shortest arc that holds all sites.

    The first site of the arc stays on 0 .. L-1.  Of arcs of equal length the one that does not cross the end is taken.

    >>> placement({0, 3}, 4), placement({0, 2}, 4), placement({0, 1, 5}, 6)
    ({3: 3, 0: 4}, {0: 0, 2: 2}, {5: 5, 0: 6, 1: 7})
    """
    ordered = sorted(int(s) for s in sites)
    if len(ordered) < 2:
        return {s: s for s in ordered}
    gaps = [ordered[0] + L - ordered[-1], *(b - a for a, b in itertools.pairwise(ordered))]
    start = int(np.argmax(gaps))
    return {s: s for s in ordered[start:]} | {s: s + L for s in ordered[:start]}


# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Dominant:
    """Dominant eigenvalue of the trace transfer matrix of a cell, and the traced half-chains at every bond.

    ``left[k]`` and ``right[k]`` belong to the bond left of tensor k; ``left[k] @ right[k] = 1``.
    """

    value: float
    ratio: float
    left: tuple[np.ndarray, ...]
    right: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, tensors: Sequence[np.ndarray]) -> _Dominant:
        steps = [t[:, 0, :] * t.shape[1] ** 0.25 for t in tensors]  # sqrt(d) with d^2 = t.shape[1]
        product = steps[0]
        for step in steps[1:]:
            product = product @ step
        if not np.all(np.isfinite(product)):
            raise InputError("The tensors of the unit cell are not finite numbers.", field="tensors")
        values, vectors = np.linalg.eig(product)
        order = np.argsort(-np.abs(values), kind="stable")
        value = values[order[0]]
        size = float(np.abs(value))
        ratio = float(np.abs(values[order[1]])) / size if len(values) > 1 and size > 0 else 0.0
        if not value.real > 0 or abs(value.imag) > 1e-10 * size:
            raise InputError(
                f"The trace transfer matrix of the unit cell has the dominant eigenvalue {complex(value):.4g}; a "
                "density matrix has a positive one.",
                field="state",
            )
        right = vectors[:, order[0]].real
        left_values, left_vectors = np.linalg.eig(product.T)
        left = left_vectors[:, int(np.argmin(np.abs(left_values - value)))].real
        overlap = float(left @ right)
        if abs(overlap) < _DEFECTIVE:
            raise InputError("The trace transfer matrix has a defective dominant eigenvalue.", field="state")
        lefts, rights = [left / overlap], [right]
        for step in steps[:-1]:
            lefts.append(lefts[-1] @ step)
        for step in steps[:0:-1]:
            rights.insert(1, step @ rights[1 % len(rights)])
        pairs = zip(lefts, rights, strict=True)
        return cls(float(value.real), ratio, *zip(*((a / (a @ b), b) for a, b in pairs), strict=True))


def _hilbert_schmidt(tensors: Sequence[np.ndarray], *, left: bool) -> tuple[float, np.ndarray]:
    """Return the dominant eigenvalue of the Hilbert-Schmidt transfer matrix of a cell and a fixed point, left or right.

    The latter is the positive (l, l) matrix at the bond left of the first tensor.
    """
    chi = tensors[0].shape[0]

    def apply(x: np.ndarray) -> np.ndarray:
        m = x.reshape(chi, chi)
        for t in tensors if left else reversed(tensors):
            m = pulled(m, t) if left else pushed(m, t)
        return m.ravel()

    if chi * chi <= _DENSE:
        values, vectors = np.linalg.eig(np.array([apply(e) for e in np.eye(chi * chi)]).T)
    else:
        operator = LinearOperator((chi * chi, chi * chi), matvec=apply, dtype=float)
        values, vectors = eigs(operator, k=1, which="LM", v0=np.eye(chi).ravel())
    k = int(np.argmax(np.abs(values)))
    fixed = vectors[:, k]
    fixed = (fixed * np.conj(np.trace(fixed.reshape(chi, chi)))).real.reshape(chi, chi)
    fixed = (fixed + fixed.T) / 2
    return float(np.abs(values[k])), fixed / np.trace(fixed)


def pulled(m: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return sum_k t[k]^T m t[k]: a left environment carried over one tensor, (l, l) -> (r, r)."""
    return np.asarray(np.tensordot(m, t, axes=(1, 0)).reshape(-1, t.shape[2]).T @ t.reshape(-1, t.shape[2]))


def pushed(m: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return sum_k t[k] m t[k]^T: a right environment carried over one tensor, (r, r) -> (l, l)."""
    return np.asarray((t @ m).reshape(len(t), -1) @ t.reshape(len(t), -1).T)


def _root(m: np.ndarray) -> np.ndarray:
    """Return x with x x^T = m of a positive semidefinite matrix."""
    w, v = np.linalg.eigh(m)
    return np.asarray(v * np.sqrt(np.maximum(w, 0.0)))


def _check_shapes(lattice: Lattice, tensors: Sequence[np.ndarray]) -> None:
    if not tensors:
        raise InputError("Argument `tensors` must hold at least one array.", field="tensors")
    for k, t in enumerate(tensors):
        legs = {int(lattice.dims[s]) ** 2 for s in range(lattice.L) if (s - k) % np.gcd(len(tensors), lattice.L) == 0}
        following = tensors[(k + 1) % len(tensors)]
        if t.ndim != 3 or legs != {t.shape[1]} or following.ndim != 3 or t.shape[2] != following.shape[0]:
            raise InputError(
                f"Argument `tensors` must hold arrays of shape (l, d^2, r) with matching bonds around the cell; the "
                f"one of site {k} has {t.shape}, where d^2 is {sorted(legs)}.",
                field="tensors",
            )
