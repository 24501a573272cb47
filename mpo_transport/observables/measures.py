"""Functions of a density matrix: purity, negativity, entropies, mutual information, fidelity.

Logarithms are natural.  The negativity is the sum of the absolute values of the negative eigenvalues of the partial
transpose (1/2 for a Bell pair).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import scipy.linalg

from ..errors import InputError, NotSupportedError
from ..lattice import Lattice
from ..states import State, local_density_matrices
from ..states.base import check_same_spaces, check_sites
from ..states.cluster import ClusterState
from ..states.dense import DenseState
from ..states.gaussian import GaussianState
from ..states.mpo import MPOState
from ..states.mpo_algebra import hilbert_schmidt_fidelity as _matrix_product_similarity
from .base import StateFunction, register_observable

__all__ = [
    "entropy",
    "fidelity",
    "hilbert_schmidt_fidelity",
    "mutual_information",
    "negativity",
    "operator_entropy",
    "purity",
    "top_population",
]

Sites = int | Sequence[int]
_LARGEST = 2048  # dimension up to which matrices are diagonalised


@register_observable
def purity(sites: Sites | None = None) -> StateFunction:
    """Return Tr rho_A^2 of the listed sites, or of the whole for None.

    >>> purity().name, purity([0, 1]).name
    ('purity', 'purity_0_1')
    """
    if sites is None:
        return StateFunction("purity", lambda state: float(state.purity()), description="purity")
    chosen = _listed(sites)

    def value(state: State) -> float:
        known = _offered(state, "purity_of", chosen)
        return float(np.linalg.norm(_reduced(state, chosen)) ** 2) if known is None else known

    return StateFunction(_named("purity", chosen), value, {"sites": chosen}, description="purity")


@register_observable
def negativity(sites_a: Sites, sites_b: Sites | None = None) -> StateFunction:
    """Return the entanglement negativity N(A|B) = sum of |negative eigenvalues| of the partial transpose of rho_AB.

    Parameters
    ----------
    sites_a, sites_b
        Disjoint sites (an integer or a list); ``sites_b=None`` means all the others, that is, a cut of the whole.

    Raises
    ------
    InputError
        If A and B overlap.
    NotSupportedError
        When the matrix of A and B together is too large to diagonalise (dimension above 2048).
    """
    a = _listed(sites_a)
    b = None if sites_b is None else _listed(sites_b)
    if b is not None and set(a) & set(b):
        raise InputError(
            f"Arguments `sites_a` and `sites_b` must be disjoint, but both contain {sorted(set(a) & set(b))}.",
            field="sites_b",
        )

    def value(state: State) -> float:
        other = tuple(s for s in range(state.L) if s not in a) if b is None else b
        if not other:
            return 0.0
        known = _offered(state, "negativity_of", a, other)
        if known is not None:
            return known
        rho = _reduced(state, a + other)
        da, db = _dimension(state.lattice, a), _dimension(state.lattice, other)
        transposed = rho.reshape(da, db, da, db).transpose(0, 3, 2, 1).reshape(da * db, da * db)
        eigenvalues = np.linalg.eigvalsh(transposed)
        return float(-eigenvalues[eigenvalues < 0].sum())

    name = _named("negativity", a) + ("" if b is None else _named("_and", b))
    return StateFunction(name, value, {"sites_a": a, "sites_b": b}, description="negativity")


@register_observable
def entropy(sites: Sites | None = None, order: float = 1) -> StateFunction:
    """Return the entropy of the listed sites (of the whole for None): von Neumann or Renyi, natural logarithm.

        S_1 = -Tr rho ln rho,      S_a = ln(Tr rho^a) / (1 - a),      S_inf = -ln(largest eigenvalue)

    Raises
    ------
    InputError
        If ``order`` is negative or not a number.
    NotSupportedError
        When the matrix is too large to diagonalise; the entropy of order 2 of the whole is -ln(purity), for any size.
    """
    order = _checked_order(order)
    chosen = None if sites is None else _listed(sites)

    def value(state: State) -> float:
        if chosen is None and order == 2:
            return -math.log(state.purity())
        return _entropy_of(state, tuple(range(state.L)) if chosen is None else chosen, order)

    name = _named("entropy", chosen or ()) + ("" if order == 1 else f"_order_{order:g}")
    return StateFunction(name, value, {"sites": chosen, "order": order}, description=_entropy_text(order))


@register_observable
def operator_entropy(cut: int | None = None, order: float = 1) -> StateFunction:
    """Return the operator-space entropy across (sites < cut | rest): the entropy of the squared Schmidt values of rho.

    With ``cut=None`` one value per cut 1 .. L-1, shape (L-1,).  Natural logarithm; ``order`` as in :func:`entropy`.
    It measures how hard the state is for a matrix-product operator, not its entanglement.
    """
    order = _checked_order(order)

    def at(state: State, where: int) -> float:
        if isinstance(where, bool) or not isinstance(where, (int, np.integer)) or not 1 <= where < state.L:
            raise InputError(
                f"Argument `cut` must be an integer from 1 to L-1 = {state.L - 1}, but is {where!r}.", field="cut"
            )
        return _shannon(np.asarray(state.operator_schmidt(where)) ** 2, order)

    def value(state: State) -> Any:
        return at(state, cut) if cut is not None else np.array([at(state, c) for c in range(1, state.L)])

    name = "operator_entropy" + ("" if cut is None else f"_{cut}") + ("" if order == 1 else f"_order_{order:g}")
    return StateFunction(
        name,
        value,
        {"cut": cut, "order": order},
        description="operator-space entropy",
        dimension="" if cut is not None else "cut",
    )


@register_observable
def mutual_information(sites_a: Sites, sites_b: Sites) -> StateFunction:
    """Return I(A:B) = S(A) + S(B) - S(AB) with von Neumann entropies, natural logarithm."""
    a, b = _listed(sites_a), _listed(sites_b)
    if set(a) & set(b):
        raise InputError(
            f"Arguments `sites_a` and `sites_b` must be disjoint, but both contain {sorted(set(a) & set(b))}.",
            field="sites_b",
        )

    def value(state: State) -> float:
        return _entropy_of(state, a, 1.0) + _entropy_of(state, b, 1.0) - _entropy_of(state, a + b, 1.0)

    return StateFunction(
        _named("mutual_information", a) + _named("_and", b),
        value,
        {"sites_a": a, "sites_b": b},
        description="mutual information",
    )


@register_observable
def fidelity(target: Any, sites: Sites | None = None) -> StateFunction:
    """Return the Uhlmann fidelity with a target state, F = (Tr sqrt(sqrt(sigma) rho sqrt(sigma)))^2, between 0 and 1.

    For a pure target this is <psi|rho|psi>.

    Parameters
    ----------
    target
        A :class:`~mpo_transport.states.State`, a (D, D) density matrix, or a product state: "up", "down", "vacuum",
        "mixed", or one entry per site (occupation, vector or matrix).
    sites
        Compare the reduced density matrices of these sites, so that long chains can be compared piece by piece: the
        target is a state of the whole lattice, or a matrix of the listed sites (first one slowest).  None: the whole.

    Raises
    ------
    InputError
        If the target does not fit the lattice.
    NotSupportedError
        For a mixed target on a system too large to diagonalise; pure targets are fine in every backend, and
        :func:`hilbert_schmidt_fidelity` compares mixed states of any length.
    """
    chosen = None if sites is None else _listed(sites)

    def value(state: State) -> float:
        if chosen is not None:
            return _uhlmann(_reduced(state, chosen), _reduced_target(state, target, chosen))
        if isinstance(target, State):
            check_same_spaces(state.lattice, target, "target")
            if abs(target.purity() - 1) < 1e-12:
                return float(state.overlap(target))
            return _uhlmann(_whole(state), _whole(target))
        if isinstance(target, np.ndarray) and target.ndim == 2 and target.shape[0] == target.shape[1] != state.L:
            return _uhlmann(_whole(state), _checked_target(target, state.lattice))
        if isinstance(state, GaussianState):
            return _fidelity_with_product(state, target)
        try:
            locals_ = local_density_matrices(state.lattice, target)
        except InputError as error:
            raise InputError(f"Argument `target` is no state of this lattice: {error}", field="target") from None
        if all(abs(np.linalg.norm(m) - 1) < 1e-12 for m in locals_):
            return float(state.overlap(_product_like(state, locals_)))
        sigma = np.ones((1, 1))
        _refuse(math.prod(state.lattice.dims))
        for m in locals_:
            sigma = np.kron(sigma, m)
        return _uhlmann(_whole(state), sigma)

    name = _named("fidelity", chosen or ())
    return StateFunction(name, value, {"target": target, "sites": chosen}, description="fidelity")


@register_observable
def hilbert_schmidt_fidelity(target: Any) -> StateFunction:
    """Return Tr(rho sigma) / sqrt(Tr rho^2 Tr sigma^2), the cosine of the angle between two density matrices.

    1 for equal states and 0 for orthogonal ones, like the Uhlmann fidelity but *not* equal to it for mixed states; it
    needs no square root of a matrix, so matrix products of any length can be compared.  X. Wang, C.-S. Yu, X. X. Yi,
    Phys. Lett. A 373, 58 (2008).

    Parameters
    ----------
    target
        A :class:`~mpo_transport.states.State`, or a product state as in :func:`fidelity`.

    Raises
    ------
    InputError
        If the target does not fit the lattice.

    Examples
    --------
    >>> from mpo_transport import Chain, MPOState, SpinHalf
    >>> state = MPOState.mixed(Chain(2, SpinHalf()))
    >>> round(hilbert_schmidt_fidelity("up").evaluate(state), 12)
    0.5
    """

    def value(state: State) -> float:
        sigma = _state_like(state, target)
        check_same_spaces(state.lattice, sigma, "target")
        if isinstance(state, MPOState) and isinstance(sigma, MPOState) and state.order == sigma.order:
            return _matrix_product_similarity(state, sigma)
        return float(state.overlap(sigma) / math.sqrt(state.purity() * sigma.purity()))

    return StateFunction("hilbert_schmidt_fidelity", value, {"target": target}, description="Hilbert-Schmidt fidelity")


@register_observable
def top_population() -> StateFunction:
    """Return the largest population of the highest level kept, over all bosonic sites (NaN if there is none)."""

    def value(state: State) -> float:
        sites = [j for j, s in enumerate(state.lattice.spaces) if s.kind == "boson" and s.is_bounded]
        return max((float(state.reduced([j])[-1, -1].real) for j in sites), default=math.nan)

    return StateFunction("top_population", value, description="population of the top level")


# ----------------------------------------------------------------------------------------------------------------------


def _reduced_target(state: State, target: Any, sites: tuple[int, ...]) -> np.ndarray:
    """Return the density matrix with which that of ``sites`` is compared."""
    if isinstance(target, np.ndarray) and target.ndim == 2 and target.shape[0] == target.shape[1]:
        return _checked_target(target, state.lattice, sites)
    sigma = _state_like(state, target)
    check_same_spaces(state.lattice, sigma, "target")
    return _reduced(sigma, sites)


def _state_like(state: State, target: Any) -> State:
    """Return ``target`` if it is a state, else the product state it describes, in the representation of ``state``."""
    if isinstance(target, State):
        return target
    try:
        if isinstance(state, GaussianState):
            return GaussianState.product(state.lattice, target)
        return _product_like(state, local_density_matrices(state.lattice, target))
    except InputError as error:
        raise InputError(f"Argument `target` is no state of this lattice: {error}", field="target") from None


def _fidelity_with_product(state: GaussianState, target: Any) -> float:
    """Return the fidelity with a pure product of Gaussian local states."""
    try:
        sigma = GaussianState.product(state.lattice, target)
    except InputError as error:
        raise InputError(f"Argument `target` is no Gaussian state of this lattice: {error}", field="target") from None
    if abs(sigma.purity() - 1) < 1e-12:
        return float(state.overlap(sigma))
    return _uhlmann(_whole(state), _whole(sigma))


def _listed(sites: Sites) -> tuple[int, ...]:
    if not isinstance(sites, (int, np.integer, Iterable)):
        raise InputError(f"Argument `sites` must be a site or a list of sites, but is {sites!r}.", field="sites")
    chosen = tuple(sites) if isinstance(sites, Iterable) else (sites,)
    if not chosen:
        raise InputError("Argument `sites` must name at least one site.", field="sites")
    if not all(isinstance(s, (int, np.integer)) for s in chosen):
        odd = next(s for s in chosen if not isinstance(s, (int, np.integer)))
        raise InputError(f"Argument `sites` must hold whole numbers, but contains {repr(odd)[:60]}.", field="sites")
    return chosen


def _named(word: str, sites: tuple[int, ...]) -> str:
    return "_".join([word, *map(str, sites)])


def _offered(state: State, question: str, *arguments: Any) -> float | None:
    """Return the answer of a state that need not write out matrices; None if it has none for these sites."""
    answer = getattr(state, question, None)
    return None if answer is None else answer(*arguments)


def _dimension(lattice: Lattice, sites: Sequence[int]) -> int:
    _refuse(math.prod(float(lattice.dims[s]) for s in sites))
    return math.prod(int(lattice.dims[s]) for s in sites)


def _refuse(D: float) -> None:
    if not math.isfinite(D):
        raise NotSupportedError(
            "Unbounded modes have no density matrix that could be written out; of Gaussian states purity, entropy and "
            "negativity follow from the covariance.",
            field="sites",
        )
    if D > _LARGEST:
        raise NotSupportedError(
            f"The density matrix of these sites is {D:.6g} x {D:.6g}; matrices are diagonalised up to "
            f"{_LARGEST} x {_LARGEST} only. Ask for fewer sites.",
            field="sites",
        )


def _reduced(state: State, sites: tuple[int, ...]) -> np.ndarray:
    check_sites(state.lattice, sites)
    _refuse(_dimension(state.lattice, sites))
    if len(sites) < state.L:
        return state.reduced(sites)
    dims = [int(d) for d in state.lattice.dims]
    axes = [*sites, *(state.L + s for s in sites)]
    rho = state.to_dense()
    return rho.reshape(dims + dims).transpose(axes).reshape(rho.shape)


def _product_like(state: State, matrices: list[np.ndarray]) -> State:
    """Return a product state in the representation of ``state``, so that the overlap is cheap."""
    if isinstance(state, MPOState):
        return MPOState.product(state.lattice, matrices, order=state.order)
    if isinstance(state, ClusterState):
        factors = [reduce(np.kron, [matrices[s] for s in cluster]) for cluster in state.partition]
        return ClusterState(state.lattice, state.partition, factors)
    return DenseState.product(state.lattice, matrices)


def _whole(state: State) -> np.ndarray:
    _refuse(_dimension(state.lattice, range(state.L)))
    return state.to_dense()


def _checked_order(order: float) -> float:
    if isinstance(order, bool) or not isinstance(order, (int, float, np.number)) or not order >= 0:
        raise InputError(f"Argument `order` must be a number >= 0 or math.inf, but is {order!r}.", field="order")
    return float(order)


def _entropy_text(order: float) -> str:
    return "von Neumann entropy" if order == 1 else f"Renyi entropy of order {order:g}"


def _entropy_of(state: State, sites: tuple[int, ...], order: float) -> float:
    known = _offered(state, "entropy_of", sites, order)
    if known is not None:
        return known
    return _shannon(np.linalg.eigvalsh(_reduced(state, sites)), order)


def _shannon(p: np.ndarray, order: float) -> float:
    """Entropy of a distribution; rounding below zero is cut off."""
    p = p[p > 1e-15]
    if order == 1:
        return float(-np.dot(p, np.log(p))) + 0.0
    if order == math.inf:
        return float(-np.log(p.max())) + 0.0
    return float(np.log(np.sum(p**order)) / (1 - order)) + 0.0


def _uhlmann(rho: np.ndarray, sigma: np.ndarray) -> float:
    """F = (nuclear norm of sqrt(rho) sqrt(sigma))^2, accurate for singular matrices too."""
    return float(np.linalg.svd(_root(rho) @ _root(sigma), compute_uv=False).sum() ** 2)


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = scipy.linalg.eigh(matrix)
    values = np.where(values > 1e-15 * values[-1], values, 0.0)  # the root would lift rounding of 1e-16 to 1e-8
    return np.asarray((vectors * np.sqrt(values)) @ vectors.conj().T)


def _checked_target(matrix: np.ndarray, lattice: Lattice, sites: Sequence[int] | None = None) -> np.ndarray:
    D = _dimension(lattice, range(lattice.L) if sites is None else sites)
    if matrix.shape != (D, D):
        raise InputError(f"Argument `target` must be {D} x {D}, but has shape {matrix.shape}.", field="target")
    if not np.allclose(matrix, matrix.conj().T, atol=1e-10) or not np.isclose(np.trace(matrix).real, 1, atol=1e-8):
        raise InputError("Argument `target` must be Hermitian with trace 1.", field="target")
    return matrix
