"""The density matrix as a matrix product in the orthonormal Hermitian operator basis: real, Hermitian by construction.

    rho = sum_k x_k B_{k_0} (x) B_{k_1} (x) ... ,      x_k = T_0[k_0] T_1[k_1] ... T_{L-1}[k_{L-1}]

with real tensors T_p of shape (l, d^2, r) and the one-site basis B of :mod:`mpo_transport.superoperator.basis`.  The
Hilbert-Schmidt norm of rho is the Euclidean norm of x; the trace is its product with sqrt(d) e_0 on every site.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError, NotSupportedError
from ..lattice import Lattice
from ..superoperator.basis import from_hermitian, operator_vector, to_hermitian
from ..superoperator.terms import product_matrices
from ..superoperator.train import (
    bond_dimensions,
    canonical_train,
    checked_order,
    compress_train,
    dense_train,
    split_dense,
    train_log_inner,
    train_log_norm,
    train_singular_values,
)
from .base import Key, State, check_same_spaces, check_sites, local_density_matrices, refuse_dense, register_state
from .mpo_environments import Environments, product_values
from .mpo_sampling import Samples, sample

__all__ = ["MPOState"]

# Largest Hilbert-space dimension of a reduced density matrix that is written out.
LARGEST_REDUCED = 256


@register_state
@dataclass(frozen=True, eq=False)
class MPOState(State):
    """A density matrix as a real matrix product.

    Parameters
    ----------
    lattice
        The lattice, all sites of finite dimension.
    tensors
        One float64 array of shape (l, d^2, r) per *position* in the matrix product, l = 1 first and r = 1 last.
    order
        The site at every position; the identity by default.  A ring may be folded: 0, L-1, 1, L-2, ...
    centre
        Position of the orthogonality centre if the tensors are known to be canonical, else None.

    Raises
    ------
    InputError
        If the shapes do not fit each other or the lattice, or ``order`` is no permutation of the sites.

    Examples
    --------
    >>> from mpo_transport import Chain, SpinHalf, op
    >>> state = MPOState.product(Chain(20, SpinHalf()), "up")
    >>> round(state.expect(op("Z", 3) * op("Z", 17)).real, 12), round(state.purity(), 12)
    (1.0, 1.0)
    """

    kind: ClassVar[str] = "mpo"

    lattice: Lattice
    tensors: tuple[np.ndarray, ...]
    order: tuple[int, ...] = ()
    centre: int | None = None

    def __post_init__(self) -> None:
        _require_bounded(self.lattice)
        order = checked_order(self.lattice.L, self.order or None)
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "tensors", _checked_tensors(self.lattice, order, self.tensors))
        if self.centre is not None and not 0 <= self.centre < self.L:
            raise InputError(
                f"Argument `centre` must be a position 0..{self.L - 1} or None, but is {self.centre!r}.", field="centre"
            )

    # -- construction -------------------------------------------------------------------------------------------------

    @classmethod
    def product(cls, lattice: Lattice, initial: Any, order: Sequence[int] | None = None) -> MPOState:
        """Return a product state, bond dimension 1, centre 0 (None where the norm of rho is below 1e-250).

        Parameters
        ----------
        lattice
            The lattice.
        initial
            A name ("up", "down", "vacuum", "mixed") or one entry per site: (d, d) density matrix, vector, occupation.
        order
            The site at every position.
        """
        _require_bounded(lattice)
        sites = checked_order(lattice.L, order)
        local = local_density_matrices(lattice, initial)
        vectors = [to_hermitian(local[s], [len(local[s])]).real for s in sites]
        norms = np.array([np.linalg.norm(v) for v in vectors])
        total = float(np.exp(np.log(norms).sum()))
        if total < 1e-250:  # all in one tensor would come close to underflow
            return cls(lattice, tuple(v.reshape(1, -1, 1) for v in vectors), sites, None)
        vectors = [v / n for v, n in zip(vectors, norms, strict=True)]
        vectors[0] = vectors[0] * total
        return cls(lattice, tuple(v.reshape(1, -1, 1) for v in vectors), sites, 0)

    @classmethod
    def mixed(cls, lattice: Lattice, order: Sequence[int] | None = None) -> MPOState:
        """Return the maximally mixed state 1/D."""
        return cls.product(lattice, "mixed", order)

    @classmethod
    def from_dense(
        cls,
        lattice: Lattice,
        rho: np.ndarray,
        max_bond: int | None = None,
        cutoff: float = 0.0,
        order: Sequence[int] | None = None,
    ) -> MPOState:
        """Return the matrix product of a dense Hermitian (D, D) matrix, by successive SVDs.

        ``cutoff`` bounds the relative discarded weight per bond; 0 keeps everything above rounding errors.

        Raises
        ------
        InputError
            If ``rho`` has the wrong shape or is not Hermitian.
        """
        _require_bounded(lattice)
        sites = checked_order(lattice.L, order)
        dims = [int(d) for d in lattice.dims]
        matrix = np.asarray(rho)
        D = int(np.prod(dims))
        if matrix.shape != (D, D):
            raise InputError(f"Argument `rho` must have shape ({D}, {D}), but has {matrix.shape}.", field="rho")
        scale = float(np.abs(matrix).max())
        if not np.isfinite(scale) or float(np.abs(matrix - matrix.conj().T).max()) > 1e-10 * scale:
            raise InputError("Argument `rho` must be Hermitian and finite.", field="rho")
        _check_truncation(max_bond, cutoff)
        x = to_hermitian(matrix, dims).real.transpose(sites)
        return cls(lattice, split_dense(x, max_bond, cutoff).tensors, sites, 0)

    # -- expectation values -------------------------------------------------------------------------------------------

    @cached_property
    def environments(self) -> Environments:
        """Partial traces to the left and right of every position (computed once, kept)."""
        return Environments(self.tensors)

    def trace(self) -> float:
        return self.environments.trace

    def expect_products(self, products: Sequence[Key]) -> np.ndarray:
        positions = {site: p for p, site in enumerate(self.order)}
        cache: dict[tuple[Any, ...], np.ndarray] = {}
        strings = []
        for key in products:
            check_sites(self.lattice, tuple({s for _, s in key}))
            factors = [(positions[s], v) for s, v in self._vectors(key, cache)]
            strings.append(sorted(factors, key=lambda factor: factor[0]))
        return product_values(self.tensors, self._normalisable(), strings)

    def _vectors(self, key: Key, cache: dict[tuple[Any, ...], np.ndarray]) -> list[tuple[int, Any]]:
        out = []
        for site in {s for _, s in key}:
            local = tuple((name, 0) for name, s in key if s == site)
            space = self.lattice.spaces[site]
            label = (id(space), local)
            if label not in cache:
                cache[label] = operator_vector(product_matrices((space,), local)[0])
            out.append((site, (label, cache[label])))
        return out

    def reduced(self, sites: Sequence[int]) -> np.ndarray:
        """Return the reduced density matrix of the listed sites, (D, D) complex, trace 1, first site slowest.

        Raises
        ------
        NotSupportedError
            If D exceeds 256.
        """
        sites = tuple(int(s) for s in _nonempty(self.lattice, sites))
        D = float(np.prod([self.lattice.dims[s] for s in sites]))
        if D > LARGEST_REDUCED:
            raise NotSupportedError(
                f"The reduced density matrix of the sites {sites} would be {D:.4g} x {D:.4g}; it is written out only "
                f"up to {LARGEST_REDUCED} x {LARGEST_REDUCED}. Ask for fewer sites.",
                field="sites",
            )
        return from_hermitian(self._coefficients(sites), [int(self.lattice.dims[s]) for s in sites])

    def _coefficients(self, sites: tuple[int, ...]) -> np.ndarray:
        env = self._normalisable()
        positions = [self.order.index(s) for s in sites]
        opened = sorted(positions)
        x = env.left[opened[0]][None, :]
        for p in range(opened[0], opened[-1] + 1):
            if p in positions:
                x = np.tensordot(x, env.scaled(p), axes=(1, 0)).reshape(-1, self.tensors[p].shape[2])
            else:
                x = x @ env.transfer[p]
        x = x @ env.right[opened[-1] + 1]
        legs = [self.tensors[p].shape[1] for p in opened]
        axes = [opened.index(p) for p in positions]
        weight = np.sqrt(np.prod([self.lattice.dims[s] for s in sites]))
        tensor = x.reshape(legs).transpose(axes)
        return tensor / (tensor[(0,) * len(sites)] * weight)  # the trace is the coefficient of the identity

    def neighbour_coefficients(self) -> list[np.ndarray]:
        """Return the reduced states of neighbouring *positions* (p, p+1) in the Hermitian basis, trace 1.

        L - 1 real arrays of shape (d_p^2, d_{p+1}^2): rho_{p,p+1} = sum_kl c_kl B_k (x) B_l.
        """
        env = self._normalisable()
        return [env.opened_left(p) @ env.opened_right(p + 1).T / env.overlap for p in range(self.L - 1)]

    # -- nonlinear quantities -----------------------------------------------------------------------------------------

    def norm(self) -> float:
        """Return the Hilbert-Schmidt norm sqrt(Tr rho^2) of rho as stored."""
        return float(np.exp(train_log_norm(self.tensors, self.centre)))

    def purity(self) -> float:
        env = self._normalisable()
        return float(np.exp(2 * (train_log_norm(self.tensors, self.centre) - env.log_trace)))

    def operator_schmidt(self, cut: int) -> np.ndarray:
        """Return the normalised operator Schmidt values across (sites < cut | rest), descending, sum of squares 1.

        Raises
        ------
        NotSupportedError
            If the order of the sites does not hold sites < cut on one side of a bond; then
            :meth:`operator_schmidt_at_position` gives the cuts that exist.
        """
        if isinstance(cut, bool) or not isinstance(cut, (int, np.integer)) or not 1 <= cut < self.L:
            raise InputError(
                f"Argument `cut` must be an integer from 1 to L-1 = {self.L - 1}, but is {cut!r}.", field="cut"
            )
        left = set(range(cut))
        for position, head in ((cut, left), (self.L - cut, set(range(cut, self.L)))):
            if set(self.order[:position]) == head:
                return self.operator_schmidt_at_position(int(position))
        raise NotSupportedError(
            f"The sites of this state are ordered {self.order} in the matrix product, where no bond separates the "
            f"sites below {cut} from the rest; use operator_schmidt_at_position(p), or an unpermuted order.",
            field="cut",
        )

    def operator_schmidt_at_position(self, position: int) -> np.ndarray:
        """Return the normalised operator Schmidt values across the bond left of ``position`` (1 .. L-1)."""
        if not 1 <= position < self.L:
            raise InputError(
                f"Argument `position` must be from 1 to L-1 = {self.L - 1}, but is {position!r}.", field="position"
            )
        s = train_singular_values(self.tensors, position, self.centre)
        return s / np.linalg.norm(s)

    def overlap(self, other: State) -> float:
        """Return Tr(rho sigma)/(Tr rho Tr sigma); states in another order or representation only while dense fits.

        Raises
        ------
        InputError
            If the states live on different local spaces.
        """
        check_same_spaces(self.lattice, other, "other")
        if not isinstance(other, MPOState) or other.order != self.order:
            return super().overlap(other)
        sign, log = train_log_inner(self.tensors, other.tensors)
        mine, yours = self._normalisable(), other._normalisable()
        return float(sign * np.exp(log - mine.log_trace - yours.log_trace) * mine.sign * yours.sign)

    # -- measurements -------------------------------------------------------------------------------------------------

    def sample(self, n: int, bases: Any = None, sites: Sequence[int] | None = None, seed: int = 0) -> Samples:
        """Draw ``n`` independent outcomes of measuring every site in a local basis.

        Parameters
        ----------
        n
            Number of samples.
        bases
            The observable measured: a name such as ``"X"``, a Hermitian (d, d) matrix, or a list with one of them per
            measured site; None: the basis states 0 .. d-1 of the local space.  Degenerate eigenvalues are one outcome.
        sites
            The sites measured, in the order of the columns; None: all.  The others are traced out.
        seed
            Seed of the random numbers; the first samples do not depend on ``n``.

        Returns
        -------
        Samples
            Outcomes, values, and the weight of negative conditional probabilities of a state that is not positive;
            where it exceeds the statistical error an :class:`~mpo_transport.MpoTransportWarning` says so.

        Raises
        ------
        InputError
            For a bad argument, or a state without a trace.

        Examples
        --------
        >>> from mpo_transport import Chain, SpinHalf
        >>> state = MPOState.product(Chain(40, SpinHalf()), ["up", "down"] * 20)
        >>> samples = state.sample(3, "Z")
        >>> samples.values.shape, samples.values[0, :4].tolist()
        ((3, 40), [1.0, -1.0, 1.0, -1.0])
        """
        if sites is not None:
            _nonempty(self.lattice, sites)
        self._normalisable()
        return sample(self, n, bases, sites, seed)

    # -- linear algebra: new states, nothing in place -----------------------------------------------------------------

    @property
    def bond_dimensions(self) -> tuple[int, ...]:
        """The L - 1 bond dimensions, in order of position."""
        return bond_dimensions(self.tensors)

    def canonicalise(self, position: int = 0) -> MPOState:
        """Return the same operator with its orthogonality centre at ``position``."""
        if not 0 <= position < self.L:
            raise InputError(
                f"Argument `position` must be from 0 to {self.L - 1}, but is {position!r}.", field="position"
            )
        return self._with(canonical_train(self.tensors, position, self.centre), position)

    def compress(self, max_bond: int | None = None, cutoff: float = 0.0) -> tuple[MPOState, float]:
        """Return the state with smaller bonds (centre 0) and the relative weight discarded in total.

        The weight is |x - x'|^2/|x|^2 in the Hilbert-Schmidt norm.  ``cutoff`` bounds the weight discarded per bond;
        0 removes rounding errors only.
        """
        _check_truncation(max_bond, cutoff)
        truncation = compress_train(self.tensors, max_bond, cutoff, self.centre)
        return self._with(truncation.tensors, 0), truncation.discarded_weight

    def scale(self, factor: float) -> MPOState:
        """Return factor * rho."""
        where = 0 if self.centre is None else self.centre
        tensors = [t * factor if p == where else t for p, t in enumerate(self.tensors)]
        return self._with(tuple(tensors), self.centre)

    def normalised(self) -> MPOState:
        """Return rho / Tr rho."""
        self._normalisable()
        return self.scale(1 / self.trace())

    def _with(self, tensors: tuple[np.ndarray, ...], centre: int | None) -> MPOState:
        return MPOState(self.lattice, tensors, self.order, centre)

    def _normalisable(self) -> Environments:
        env = self.environments
        if env.overlap == 0 or not np.isfinite(env.overlap):
            raise InputError(
                f"The trace of this operator is {env.trace!r}; expectation values are defined for a finite, "
                "non-vanishing trace.",
                field="state",
            )
        return env

    # -- other forms --------------------------------------------------------------------------------------------------

    def to_dense(self) -> np.ndarray:
        refuse_dense(float(np.prod(self.lattice.dims)))
        x = dense_train(self.tensors).transpose(np.argsort(self.order))
        self._normalisable()
        rho = from_hermitian(x, [int(d) for d in self.lattice.dims])
        return rho / np.trace(rho).real

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {"tensors": all entries one after another, "shapes": (L, 3) integers, "order": (L,) integers}."""
        return {
            "tensors": np.concatenate([t.ravel() for t in self.tensors]),
            "shapes": np.array([t.shape for t in self.tensors], dtype=np.int64),
            "order": np.array(self.order, dtype=np.int64),
        }

    def attributes(self) -> dict[str, Any]:
        return {"centre": self.centre}

    @classmethod
    def from_arrays(cls, lattice: Lattice, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> MPOState:
        shapes = np.asarray(arrays["shapes"], dtype=np.int64)
        flat = np.asarray(arrays["tensors"], dtype=float)
        if shapes.ndim != 2 or shapes.shape[1] != 3 or flat.shape != (shapes.prod(axis=1).sum(),):
            raise InputError("The stored tensors and their shapes do not belong together.", field="tensors")
        ends = np.cumsum(shapes.prod(axis=1))
        blocks = np.split(flat, ends[:-1])
        tensors = [block.reshape(shape).copy() for block, shape in zip(blocks, shapes.tolist(), strict=True)]
        centre = attributes.get("centre")
        order = tuple(int(s) for s in arrays["order"])
        return cls(lattice, tuple(tensors), order, None if centre is None else int(centre))

    def __repr__(self) -> str:
        return f"MPOState({self.L} sites, bond dimension {max(self.bond_dimensions, default=1)})"


def _require_bounded(lattice: Lattice) -> None:
    if not lattice.is_bounded:
        raise NotSupportedError(
            "A matrix-product state needs sites of finite dimension; give `levels` a number (for example levels=4).",
            field="levels",
        )


def _checked_tensors(lattice: Lattice, order: tuple[int, ...], tensors: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    out = tuple(np.ascontiguousarray(t, dtype=np.float64) for t in tensors)
    if len(out) != lattice.L:
        raise InputError(
            f"Argument `tensors` must hold one array per site ({lattice.L}), but has {len(out)}.", field="tensors"
        )
    bond = 1
    for p, t in enumerate(out):
        legs = int(lattice.dims[order[p]]) ** 2
        if t.ndim != 3 or t.shape[0] != bond or t.shape[1] != legs or (p == lattice.L - 1 and t.shape[2] != 1):
            right = "1" if p == lattice.L - 1 else "r"
            raise InputError(
                f"Argument `tensors` must have shape ({bond}, {legs}, {right}) at position {p} (site {order[p]}), but "
                f"has {t.shape}.",
                field="tensors",
            )
        bond = t.shape[2]
    return out


def _check_truncation(max_bond: int | None, cutoff: float) -> None:
    whole = isinstance(max_bond, (int, np.integer)) and not isinstance(max_bond, bool)
    if max_bond is not None and not (whole and max_bond >= 1):
        raise InputError(f"Argument `max_bond` must be an integer >= 1 or None, but is {max_bond!r}.", field="max_bond")
    if not isinstance(cutoff, numbers.Real) or not 0 <= cutoff < 1:
        raise InputError(f"Argument `cutoff` must be >= 0 and < 1, but is {cutoff!r}.", field="cutoff")


def _nonempty(lattice: Lattice, sites: Sequence[int]) -> Sequence[int]:
    check_sites(lattice, sites)
    if not tuple(sites):
        raise InputError("Argument `sites` must name at least one site.", field="sites")
    return tuple(sites)
