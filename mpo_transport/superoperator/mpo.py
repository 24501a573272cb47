"""The Lindbladian as an exact real matrix-product operator in the Hermitian operator basis.

    L = W_0 W_1 ... W_{L-1},      (L x)_o = sum_i L_{o i} x_i

with real tensors W_p of shape (w_l, n_out, n_in, w_r), n = d^2, for any sum of products: long range, products of many
operators, jumps that are sums over the whole chain, sites in any order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, Protocol

import numpy as np

from ..errors import InputError, NotSupportedError
from ..lattice import Lattice
from ..model import Lindbladian
from ..operators import LocalSpace, OpSum
from ..symmetry import hermiticity_defect
from .automaton import LocalSums, minimal_train
from .basis import operator_vector, superoperator_factor
from .terms import Key, ProductTerm, product_matrices, product_terms, relative_term, require_bounded
from .train import checked_order, dense_train, rescaled, train_log_norm

__all__ = ["MPO", "lindbladian_mpo", "operator_train", "superoperator_mpo"]

# A local factor rho -> left rho right of one site, both symbolic.
Label = tuple[Key, Key]
IDENTITY: Label = ((), ())

# Rounding errors of the square of a norm obtained from scalar products, at most, in units of |L|^2.
SQUARE_ROUNDING = 5e-17
# Bond dimension of L x up to which orthogonal transformations cost hardly more than scalar products.
SMALL_IMAGE = 40


class HasTensors(Protocol):
    """A matrix-product vector: tensors (l, n, r) in position order, and the site at every position."""

    @property
    def tensors(self) -> tuple[np.ndarray, ...]: ...

    @property
    def order(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, eq=False)
class MPO:
    """A real matrix-product operator on matrix-product density matrices.

    Attributes
    ----------
    tensors
        One float64 array of shape (w_l, n_out, n_in, w_r) per position; w = 1 at the ends.
    order
        The site at every position.
    """

    tensors: tuple[np.ndarray, ...]
    order: tuple[int, ...]

    @property
    def bond_dimensions(self) -> tuple[int, ...]:
        """The L - 1 bond dimensions, for :func:`lindbladian_mpo` the operator Schmidt ranks."""
        return tuple(int(w.shape[3]) for w in self.tensors[:-1])

    @cached_property
    def typical_norm(self) -> float:
        """Root mean square singular value, |L|_F / sqrt(prod n): a scale for residuals and cutoffs."""
        flat = [w.reshape(w.shape[0], -1, w.shape[3]) / np.sqrt(w.shape[1]) for w in self.tensors]
        return float(np.exp(train_log_norm(flat)))

    def transpose(self) -> MPO:
        """Return L^T, the generator of the Heisenberg picture."""
        return MPO(tuple(np.ascontiguousarray(w.transpose(0, 2, 1, 3)) for w in self.tensors), self.order)

    def to_dense(self) -> np.ndarray:
        """Return the (prod n, prod n) matrix, site 0 varying slowest, equal to ``hermitian_lindbladian``.

        Raises
        ------
        NotSupportedError
            For more than 4096 rows.
        """
        legs = [w.shape[1] for w in self.tensors]
        size = float(np.prod(np.array(legs, dtype=float)))
        if size > 4096:
            raise NotSupportedError(
                f"The dense matrix would have {size:.3g} rows; it is written out only up to 4096.", field="to_dense"
            )
        x = dense_train([w.reshape(w.shape[0], -1, w.shape[3]) for w in self.tensors])
        x = x.reshape([n for leg in legs for n in (leg, leg)])
        site = np.argsort(self.order)
        axes = [2 * p for p in site] + [2 * p + 1 for p in site]
        return x.transpose(axes).reshape(int(size), int(size))

    def apply(self, x: HasTensors) -> tuple[np.ndarray, ...]:
        """Return the tensors of L x, exactly; bond dimensions multiply."""
        self._check(x)
        out = []
        for w, t in zip(self.tensors, x.tensors, strict=True):
            y = np.tensordot(w, t, axes=(2, 1)).transpose(0, 3, 1, 2, 4)  # a o b l r -> a l o b r
            a, l, o, b, r = y.shape
            out.append(y.reshape(a * l, o, b * r))
        return tuple(out)

    def bilinear(self, y: HasTensors, x: HasTensors) -> float:
        """Return (y | L | x)."""
        self._check(x)
        self._check(y)
        env, log = np.ones((1, 1, 1)), 0.0
        for b, w, a in zip(y.tensors, self.tensors, x.tensors, strict=True):
            half, first = rescaled(np.tensordot(env, a, axes=(2, 0)))  # y w i r
            half = np.tensordot(half, w, axes=((1, 2), (0, 2)))  # y r o w'
            env, second = rescaled(np.tensordot(b, half, axes=((0, 1), (0, 2))).transpose(0, 2, 1))
            log += first + second
        return float(env[0, 0, 0] * np.exp(log))

    def residual(self, x: HasTensors, method: str = "auto", *, accuracy: float = 2.5e-4) -> float:
        """Return |L x| / |x| in the Hilbert-Schmidt norm (unit: rate); nothing is truncated.

        Parameters
        ----------
        x
            A :class:`~mpo_transport.states.MPOState` or anything with ``tensors`` and ``order``.
        method
            ``"qr"``: orthogonal transformations of L x, accurate down to its rounding errors (about 1e-15 |L|), cost of
            order (w chi)^3 d^2 per site.  ``"square"``: from the scalar product (L x | L x), of order w chi^3 d^2, but
            nothing below about 1e-8 |L| can be seen.  ``"auto"``: the second where w chi is large, and the first
            elsewhere and where rounding would change the second by more than ``accuracy``.
        accuracy
            Relative accuracy of ``"auto"``, > 0.

        Raises
        ------
        InputError
            If the order of the sites differs, ``method`` is unknown or x vanishes.
        """
        self._check(x)
        if method not in ("auto", "qr", "square"):
            raise InputError(f"Argument `method` must be 'auto', 'qr' or 'square', but is {method!r}.", field="method")
        log_norm = train_log_norm(x.tensors)
        if not np.isfinite(log_norm):
            raise InputError("The residual of a vanishing or non-finite state is not defined.", field="state")
        image = max(w.shape[3] * t.shape[2] for w, t in zip(self.tensors, x.tensors, strict=True))
        if method == "square" or (method == "auto" and image > SMALL_IMAGE):
            square = self._log_square(x)
            value = np.exp(square / 2 - log_norm)
            rounding = SQUARE_ROUNDING * self.typical_norm**2 * len(self.tensors)
            if method == "square" or rounding < 2 * accuracy * value**2:
                return float(value)
        return float(np.exp(self._log_norm_of_image(x) - log_norm))

    def _log_square(self, x: HasTensors) -> float:
        # the legs are kept in an order in which every product joins neighbouring ones: nothing is ever transposed
        env, log = np.ones((1, 1)), 0.0  # ket | operator, operator, bra
        for w, t in zip(self.tensors, x.tensors, strict=True):
            (l, n, r), (a, _, _, b) = t.shape, w.shape
            ket = t.transpose(2, 1, 0).reshape(r * n, l)
            first = w.transpose(3, 1, 2, 0).reshape(b * n, n * a)  # new operator, out | in, operator
            second = w.transpose(3, 2, 1, 0).reshape(b * n, n * a)  # new operator, in | out, operator
            bra = t.transpose(1, 0, 2).reshape(n * l, r)
            half, one = rescaled(ket @ env)
            half = np.matmul(first, half.reshape(r, n * a, a * l)).reshape(r * b, n * a, l)
            half = np.matmul(second, half).reshape(r * b * b, n * l)
            env, other = rescaled((half @ bra).reshape(r, b * b * r))
            log += one + other
        return log if env.ravel()[0] > 0 else -np.inf

    def _log_norm_of_image(self, x: HasTensors) -> float:
        carry, log = np.ones((1, 1, 1)), 0.0  # k w l, upper triangular factor of everything to the left
        for w, t in zip(self.tensors, x.tensors, strict=True):
            y = np.tensordot(carry, t, axes=(2, 0))  # k w i r
            y = np.tensordot(y, w, axes=((1, 2), (0, 2)))  # k r o w'
            k, r, o, b = y.shape
            matrix = y.transpose(0, 2, 3, 1).reshape(k * o, b * r)
            factor, step = rescaled(np.asarray(np.linalg.qr(matrix, mode="r")))
            carry, log = factor.reshape(-1, b, r), log + step
        size = float(np.linalg.norm(carry))
        return log + float(np.log(size)) if size > 0 else -np.inf

    def _check(self, x: HasTensors) -> None:
        if tuple(x.order) != self.order:
            raise InputError(
                f"The operator orders its sites {self.order}, the state {tuple(x.order)}; build the operator with "
                "order=state.order.",
                field="order",
            )
        legs, have = [w.shape[2] for w in self.tensors], [t.shape[1] for t in x.tensors]
        if legs != have:
            raise InputError(f"The local spaces differ: operator {legs}, state {have} (values of d^2).", field="state")

    def __repr__(self) -> str:
        return f"MPO({len(self.tensors)} sites, bond dimension {max(self.bond_dimensions, default=1)})"


def lindbladian_mpo(model: Lindbladian, order: Sequence[int] | None = None) -> MPO:
    """Return the Lindbladian as a real matrix-product operator of minimal bond dimension.

    Parameters
    ----------
    model
        Any model with sites of finite dimension.
    order
        The site at every position of the matrix product; the identity by default.

    Raises
    ------
    NotSupportedError
        If a site is unbounded.
    InputError
        If ``order`` is not a permutation of the sites.

    Examples
    --------
    >>> from mpo_transport.models import persistent_current
    >>> max(lindbladian_mpo(persistent_current(L=20, alpha=2.0, delta=1.0, periodic=False)).bond_dimensions)
    6
    """
    return superoperator_mpo(model, product_terms(model), order)


def superoperator_mpo(model: Lindbladian, terms: list[ProductTerm], order: Sequence[int] | None = None) -> MPO:
    """Return the sum of maps rho -> c A rho B on the lattice of a model, which must keep rho Hermitian.

    Raises
    ------
    NotSupportedError
        If a site is unbounded.
    InputError
        If ``order`` is not a permutation of the sites.
    """
    require_bounded(model)
    sites = checked_order(model.L, order)
    local = _local_bases(model.lattice.spaces, terms)
    sums = LocalSums([len(local[s].elements) for s in sites])
    positions = {site: p for p, site in enumerate(sites)}
    alike: dict[Any, tuple[np.ndarray, float]] = {}  # equal terms in equal bases are expanded once
    for support, group in _by_positions(terms, positions).items():
        bases, where = [local[sites[p]] for p in support], tuple(sites[p] for p in support)
        # equal terms share their form
        forms = tuple([id(t.relative) if t.sites == where else relative_term(t, where) for t in group])
        key = tuple(map(id, bases)), forms
        if key not in alike:
            alike[key] = _expand(group, bases, where)
        sums.add(support, *alike[key])
    train = minimal_train(sums)
    return MPO(tuple(_opened(t, local[s].elements) for t, s in zip(train, sites, strict=True)), sites)


def _opened(t: np.ndarray, elements: np.ndarray) -> np.ndarray:
    """Return sum_m t[a, m, b] elements[m, o, i] as (a, o, i, b)."""
    return np.ascontiguousarray(np.tensordot(t, elements, axes=(1, 0)).transpose(0, 2, 3, 1))


def operator_train(lattice: Lattice, operator: OpSum, order: Sequence[int] | None = None) -> tuple[np.ndarray, ...]:
    """Return a Hermitian operator as a real train of minimal bond dimension: o_k = Tr(O B_k), tensors (l, d^2, r).

    Then <O> = (o|x) for a density matrix with coefficients x, and L^T o is its Heisenberg equation of motion.

    Raises
    ------
    InputError
        If the operator is not Hermitian (field ``operator``) or ``order`` is no permutation.

    Examples
    --------
    >>> from mpo_transport import Chain, SpinHalf, op
    >>> total = sum((op("Z", j) for j in range(50)), 0 * op("Z", 0))
    >>> {t.shape for t in operator_train(Chain(50, SpinHalf()), total)[1:-1]}
    {(2, 4, 2)}
    """
    sites = checked_order(lattice.L, order)
    if hermiticity_defect(lattice, operator) is not None:
        raise InputError("Argument `operator` must be Hermitian; use its Hermitian parts.", field="operator")
    positions = {site: p for p, site in enumerate(sites)}
    # B_0 = 1/sqrt(d): in units of B_k sqrt(d) the identity is element 0 with norm one
    units = [np.sqrt(float(lattice.dims[s])) for s in sites]
    sums = LocalSums([int(lattice.dims[s]) ** 2 for s in sites])
    for key, c in operator:
        factors = product_matrices(lattice.spaces, key)
        support = sorted(factors, key=positions.__getitem__)
        vectors = [operator_vector(factors[s]) / units[positions[s]] for s in support]
        product = reduce(np.multiply.outer, vectors, np.array(c))
        sums.add(tuple(positions[s] for s in support), np.real(product), float(np.linalg.norm(product)))
    return tuple(t * unit for t, unit in zip(minimal_train(sums), units, strict=True))


@dataclass(frozen=True)
class _LocalBasis:
    """Real one-site superoperators: ``elements`` (m, n, n) with element 0 = 1, orthonormal for Tr(a^T b)/n.

    ``coefficients[label]`` expands the factor rho -> left rho right, complex, shape (m,).
    """

    elements: np.ndarray
    coefficients: dict[Label, np.ndarray]


def _local_bases(spaces: tuple[LocalSpace, ...], terms: list[ProductTerm]) -> list[_LocalBasis]:
    labels: list[set[Label]] = [set() for _ in spaces]
    known: dict[int, list[Label]] = {}  # those of equal terms on other sites
    for term in terms:
        key = id(term.relative)
        if key not in known:
            known[key] = [_label(term, site) for site in term.sites]
        for site, label in zip(term.sites, known[key], strict=True):
            labels[site].add(label)
    cache: dict[tuple[int, frozenset[Label]], _LocalBasis] = {}
    out = []
    for space, used in zip(spaces, labels, strict=True):
        kind = (id(space), frozenset(used))
        if kind not in cache:
            cache[kind] = _local_basis(space, sorted(used | {IDENTITY}))
        out.append(cache[kind])
    return out


def _local_basis(space: LocalSpace, labels: list[Label]) -> _LocalBasis:
    one = np.eye(int(space.dim))
    n = int(space.dim) ** 2
    factors = []
    for left, right in labels:
        a = product_matrices((space,), left).get(0, one)
        b = product_matrices((space,), right).get(0, one)
        factors.append(superoperator_factor(a, b).reshape(-1) / np.sqrt(n))
    identity = np.eye(n).reshape(-1) / np.sqrt(n)
    rest = [part - identity * (identity @ part) for f in factors for part in (f.real, f.imag)]
    rest = [part / np.linalg.norm(part) for part in rest if np.linalg.norm(part) > 1e-14]
    basis = identity[None, :]
    if rest:
        _, s, v = np.linalg.svd(np.array(rest), full_matrices=False)
        basis = np.concatenate([basis, v[: np.count_nonzero(s > 1e-14 * s[0])]])
    coefficients = {label: basis @ f for label, f in zip(labels, factors, strict=True)}
    return _LocalBasis(basis.reshape(-1, n, n) * np.sqrt(n), coefficients)


def _label(term: ProductTerm, site: int) -> Label:
    return (
        tuple((name, 0) for name, s in term.left if s == site),
        tuple((name, 0) for name, s in term.right if s == site),
    )


def _by_positions(terms: list[ProductTerm], positions: dict[int, int]) -> dict[tuple[int, ...], list[ProductTerm]]:
    out: dict[tuple[int, ...], list[ProductTerm]] = defaultdict(list)
    for term in terms:
        if term.sites:
            out[tuple(sorted(positions[s] for s in term.sites))].append(term)
    return out


def _expand(terms: list[ProductTerm], local: list[_LocalBasis], sites: Sequence[int]) -> tuple[np.ndarray, float]:
    """Return the real coefficients of a group of terms on the same sites, and the size of what was summed."""
    total, weight = np.zeros([len(b.elements) for b in local], dtype=complex), 0.0
    for term in terms:
        vectors = [b.coefficients[_label(term, site)] for b, site in zip(local, sites, strict=True)]
        product = reduce(np.multiply.outer, vectors, np.array(term.coefficient))
        total += product
        weight += float(np.linalg.norm(product))
    return np.ascontiguousarray(total.real), weight
