"""Two-time correlation functions and power spectra by the quantum regression theorem.

    <a(t) b(0)> = Tr( a exp(L t) [b rho] ),    t >= 0

Only the sectors of operator space that hold both b rho and a^dag take part.  For unbounded modes, and for longer spin
chains of free fermions, the regression theorem closes on the first and second moments
(:mod:`mpo_transport.response`): exact, at any size, for operators that are at most quadratic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from .errors import (
    ConvergenceError,
    DegenerateSteadyStateError,
    InputError,
    InsufficientMemoryError,
)
from .methods import ExactDiag
from .model import Lindbladian
from .operators import OpSum, op
from .response import GaussianRegression
from .response.arguments import checked_frequencies, checked_operator
from .response.bilinear import bilinear
from .solve import steady_state
from .solve.inputs import checked_model, checked_times, checked_tol
from .solve.resources import memory_limit, readable_bytes
from .spectrum.blocks import Block, BlockBuilder, sector_entries
from .spectrum.labels import Sectors
from .spectrum.numerics import Scale, exp_multiply, scale_of
from .spectrum.search import check_dimension
from .states import State
from .states.gaussian import GaussianState
from .superoperator import operator_matrix, quadratic_form
from .superoperator.terms import require_bounded

__all__ = ["coherence_function", "correlation_function", "power_spectrum"]

_DENSE = 300
_FACTORISED = 2500
_STEADY_TOL = 1e-9
_GAUSSIAN_ABOVE = 64  # Hilbert-space dimension of a spin chain from which free fermions are treated as such


def correlation_function(
    model: Lindbladian,
    a: OpSum,
    b: OpSum,
    times: Any,
    *,
    state: Any = None,
    connected: bool = False,
) -> np.ndarray:
    """Return <a(t) b(0)> = Tr( a exp(L t) [b rho] ) at the given times t >= 0, shape (T,), complex.

    Heisenberg operators a(t) at the later time stand on the left; for t < 0 in a stationary state use
    <a(-t) b(0)> = <b^dag(t) a^dag(0)>^*.

    Parameters
    ----------
    model
        A :class:`~mpo_transport.Lindbladian` of bounded sites, or a quadratic one of unbounded modes.
    a, b
        Operators, any :class:`~mpo_transport.OpSum`; they need not be Hermitian.  For unbounded modes at most
        quadratic in the ladder operators.
    times
        Increasing times >= 0, in the inverse of the unit of the rates.
    state
        rho at time 0: a state, a (D, D) matrix, or None for the steady state; a
        :class:`~mpo_transport.states.GaussianState` for unbounded modes.
    connected
        Subtract <a(t)> <b(0)>.

    Raises
    ------
    InputError
        Naming the argument (``a``, ``b``, ``times``, ``state``).
    DegenerateSteadyStateError
        If ``state`` is None and the steady state is not unique.
    InsufficientMemoryError
        If a sector does not fit.

    References
    ----------
    M. Lax, Phys. Rev. 129, 2342 (1963); H. J. Carmichael, Statistical Methods in Quantum Optics 1, section 1.5.

    Examples
    --------
    A damped oscillator of frequency 2 in its vacuum, <a(t) a^dag(0)> = exp(-2i t - t/2):

    >>> from mpo_transport import Boson, Chain, Jump, op
    >>> mode = Lindbladian(Chain(1, Boson(4)), 2.0 * op("N", 0), [Jump(op("A", 0), rate=1.0)])
    >>> c = correlation_function(mode, op("A", 0), op("Adag", 0), [0.0, 1.0])
    >>> bool(np.allclose(c, [1, np.exp(-2j - 0.5)], atol=1e-12))
    True

    A thermal mode without a cutoff, where <<n(t) n(0)>> = n (n + 1) exp(-t):

    >>> thermal = [Jump(op("A", 0), rate=51.0), Jump(op("Adag", 0), rate=50.0)]
    >>> warm = Lindbladian(Chain(1, Boson(float("inf"))), 2.0 * op("N", 0), thermal)
    >>> correlation_function(warm, op("N", 0), op("N", 0), [0.0, 1.0], connected=True).real.round(6).tolist()
    [2550.0, 938.092575]
    """
    work = _regression(model, state, a, b)
    first, second = work.operator(a, "a"), work.operator(b, "b")
    grid = checked_times(times)
    return work.correlation(first, second, grid, bool(connected))


def coherence_function(
    model: Lindbladian,
    times: Any,
    site: int,
    *,
    to: int | None = None,
    order: int = 1,
    state: Any = None,
) -> np.ndarray:
    """Return the normalised coherence g1 or g2 of a mode at the given delays t >= 0, shape (T,).

        order 1:  g1_ij(t) = <a_i^+(0) a_j(t)> / sqrt(n_i n_j)                             complex
        order 2:  g2_ij(t) = <a_i^+(0) a_j^+(t) a_j(t) a_i(0)> / (n_i n_j)                 real

    A quantum detected at i, and then one at j a time t later; a coherent state gives 1, thermal light g2 = 1 + |g1|^2.

    Parameters
    ----------
    model, times, state
        As in :func:`correlation_function`; ``state`` must be stationary.
    site, to
        i and j; ``to=None`` means j = i.  On spins a is S^-.
    order
        1 or 2.

    Raises
    ------
    InputError
        Naming the argument; field ``site`` or ``to`` if it is empty, where the coherence is not defined.

    References
    ----------
    R. J. Glauber, Phys. Rev. 130, 2529 (1963).

    Examples
    --------
    >>> from mpo_transport import Boson, Chain, Jump
    >>> thermal = [Jump(op("A", 0), rate=2.0), Jump(op("Adag", 0), rate=1.0)]
    >>> mode = Lindbladian(Chain(1, Boson(float("inf"))), 2.0 * op("N", 0), thermal)
    >>> coherence_function(mode, [0.0, 2.0], 0, order=2).round(6).tolist()
    [2.0, 1.135335]
    """
    checked_model(model)
    second = site if to is None else to
    for name, s in (("site", site), ("to", second)):
        if isinstance(s, bool) or not isinstance(s, (int, np.integer)) or not 0 <= s < model.L:
            raise InputError(f"Argument `{name}` must be a site 0..{model.L - 1}, but is {s!r}.", field=name)
    if order not in (1, 2) or isinstance(order, bool):
        raise InputError(f"Argument `order` must be 1 or 2, but is {order!r}.", field="order")
    a, b = (_lowering(model, s, name) for s, name in ((site, "site"), (second, "to")))
    grid = checked_times(times)
    work = _regression(model, state, a, b)
    work.check_stationary()
    numbers = [complex(work.expect(work.operator(x.dag * x, "site"))).real for x in (a, b)]
    for name, s, n in zip(("site", "to"), (site, second), numbers, strict=True):
        if n <= 1e-14:
            raise InputError(f"Argument `{name}`: site {s} is empty, so its coherence is not defined.", field=name)
    if order == 1:
        values = work.correlation(work.operator(b.dag, "to"), work.operator(a, "site"), grid, False)
        return values.conj() / np.sqrt(numbers[0] * numbers[1])
    if isinstance(work, GaussianRegression):
        pairs = work.coincidences(work.operator(a, "site"), work.operator(b, "to"), grid)
    else:
        pairs = work.coincidences(work.operator(a, "site"), work.operator(b.dag * b, "to"), grid)
    return pairs / (numbers[0] * numbers[1])


def _lowering(model: Lindbladian, site: int, name: str) -> OpSum:
    for word in ("A", "Sm"):
        if model.lattice.spaces[site].has(word):
            return op(word, site)
    raise InputError(f"Argument `{name}`: site {site} has no lowering operator A or Sm.", field=name)


def power_spectrum(
    model: Lindbladian,
    a: OpSum,
    b: OpSum,
    frequencies: Any,
    *,
    state: Any = None,
    tol: float = 1e-9,
) -> np.ndarray:
    """Return S(w) = int_{-inf}^{inf} dt exp(i w t) ( <a(t) b(0)> - <a><b> ) in a stationary state, shape (W,).

    With the one-sided F[a, b](w) = -Tr( a (L + i w)^{-1} [b rho - <b> rho] ), S = F[a, b] + F[b^dag, a^dag]^*.
    The equal-time value is int dw/(2 pi) S(w) = <a b> - <a><b>.  A damped mode of frequency w_0 has a peak of
    <a(t) a^dag(0)> at w = +w_0, and of <a^dag(t) a(0)> at w = -w_0.  In a rotating frame w counts from the frame's.

    Parameters
    ----------
    model, a, b
        As in :func:`correlation_function`.
    frequencies
        Real angular frequencies w, any order.
    state
        A stationary state or (D, D) matrix; None: the steady state.
    tol
        Largest relative residual of a resolvent solve that is accepted.

    Returns
    -------
    numpy.ndarray
        Real (and never negative) if b is the adjoint of a, else complex.

    Raises
    ------
    InputError
        Naming the argument; field ``state`` if the state is not stationary.
    DegenerateSteadyStateError
        If the steady state is not unique, or the correlations do not decay to <a><b> in the given one.
    ConvergenceError
        If a solve fails: an undamped mode at that frequency, or a stagnating iteration.

    Examples
    --------
    >>> from mpo_transport import Boson, Chain, Jump, op
    >>> mode = Lindbladian(Chain(1, Boson(4)), 2.0 * op("N", 0), [Jump(op("A", 0), rate=1.0)])
    >>> power_spectrum(mode, op("A", 0), op("Adag", 0), [2.0, 2.5, -2.0]).round(10).tolist()
    [4.0, 2.0, 0.0615384615]
    """
    accepted = checked_tol(tol)
    grid = checked_frequencies(frequencies)
    work = _regression(model, state, a, b)
    first, second = work.operator(a, "a"), work.operator(b, "b")
    work.check_stationary()
    forward = work.one_sided(first, second, grid, accepted)
    if b == a.dag:
        return 2 * forward.real
    backward = work.one_sided(work.operator(b.dag, "b"), work.operator(a.dag, "a"), grid, accepted)
    return forward + backward.conj()


def _regression(model: Lindbladian, state: Any, *operators: Any) -> _Regression | GaussianRegression:
    """Return the solver: moments for unbounded modes and for longer chains of free fermions, else matrices."""
    checked_model(model)
    bounded = model.lattice.is_bounded
    if not bounded or isinstance(state, GaussianState):
        return GaussianRegression(model, quadratic_form(model), state)
    large = float(np.prod([float(d) for d in model.lattice.dims])) > _GAUSSIAN_ABOVE
    spins = all(space.kind == "spin" and space.dim == 2 for space in model.lattice.spaces)
    if state is None and large and spins:
        try:
            form = quadratic_form(model)
            for x in operators:
                bilinear(model.lattice, checked_operator(model, x, "a"))
            return GaussianRegression(model, form, None)
        except InputError:  # not quadratic, not damped, or an argument that the matrices will name
            pass
    return _Regression(model, state)


class _Regression:
    """A model with a state, split into the sectors of its charges."""

    def __init__(self, model: Lindbladian, state: Any) -> None:
        self.model = checked_model(model)
        require_bounded(model)
        check_dimension(model)
        self.sectors = Sectors(model, lattice_symmetries=False)
        self._check_memory()
        self.builder = BlockBuilder(model, self.sectors)
        self.rho = self._density_matrix(state)

    def _check_memory(self) -> None:
        limit, source = memory_limit()
        need = max(120.0 * sector_entries(self.model, self.sectors, s) for s in self.sectors.all)
        if need > limit:
            raise InsufficientMemoryError(
                f"The largest sector needs about {readable_bytes(need)}, but {readable_bytes(limit)} are available "
                f"({source}). Choose a smaller system.",
                field="model",
            )

    def _density_matrix(self, state: Any) -> np.ndarray:
        if state is None:
            return steady_state(self.model, ExactDiag(), tol=_STEADY_TOL, progress=False).state.to_dense()
        D = int(np.prod([int(d) for d in self.model.lattice.dims]))
        if isinstance(state, State):
            if tuple(state.lattice.dims) != tuple(self.model.lattice.dims):
                raise InputError(
                    f"Argument `state` has local dimensions {state.lattice.dims}, but the model has "
                    f"{self.model.lattice.dims}.",
                    field="state",
                )
            return state.to_dense()
        try:
            rho = np.array(state, dtype=complex)
        except (TypeError, ValueError):
            raise InputError(
                f"Argument `state` must be None, a state or a matrix, but is {type(state).__name__}.", field="state"
            ) from None
        if rho.shape != (D, D) or not np.all(np.isfinite(rho)):
            raise InputError(
                f"Argument `state` must be a finite ({D}, {D}) matrix, but has shape {rho.shape}.", field="state"
            )
        return rho

    def operator(self, operator: Any, name: str) -> sp.csr_array:
        """Return the (D, D) matrix of an argument."""
        return operator_matrix(self.model.lattice, checked_operator(self.model, operator, name))

    def check_stationary(self) -> None:
        """Raise unless L rho = 0 up to small errors."""
        change, size = 0.0, 0.0
        for s in self.sectors.all:
            kets, bras = self.builder.units(s)
            part = self.rho[kets, bras]
            if np.any(part):
                matrix = self.builder.build(s, adapted=False).matrix
                change += float(np.linalg.norm(matrix @ part) ** 2)
                size = max(size, float(abs(matrix).max()) if matrix.nnz else 0.0)
        ratio = change**0.5 / (float(np.linalg.norm(self.rho)) * max(size, 1e-300))
        if ratio > 1e-6:
            raise InputError(
                f"Argument `state` must be stationary for a spectrum, but changes at the relative rate {ratio:.2e}; "
                "Fourier transform correlation_function(...) instead.",
                field="state",
            )

    def _pieces(self, weight: np.ndarray, start: np.ndarray) -> list[tuple[Block, np.ndarray, np.ndarray]]:
        """Return (block, w, x) of the sectors where Tr(a X) = w . x has contributions."""
        out = []
        for s in self.sectors.all:
            kets, bras = self.builder.units(s)
            w, x = weight[bras, kets], start[kets, bras]
            if np.any(w) and np.any(x):
                out.append((self.builder.build(s, adapted=False), w, x))
        return out

    def expect(self, operator: sp.csr_array) -> complex:
        """Return <operator>."""
        return complex((operator @ self.rho).trace() / np.trace(self.rho))

    def coincidences(self, a: sp.csr_array, number: sp.csr_array, times: np.ndarray) -> np.ndarray:
        """Return Tr(number exp(L t) [a rho a^+]), real."""
        out = np.zeros(len(times), dtype=complex)
        for block, w, x in self._pieces(number.toarray(), a @ (a @ self.rho.conj().T).conj().T):
            out += _evolved(block.matrix, w, x, times)
        return (out / np.trace(self.rho)).real

    def correlation(self, a: sp.csr_array, b: sp.csr_array, times: np.ndarray, connected: bool) -> np.ndarray:
        """Return Tr(a exp(L t) X) with X = b rho or (b - <b>) rho."""
        start = b @ self.rho
        if connected:
            start = start - np.trace(start) / np.trace(self.rho) * self.rho
        out = np.zeros(len(times), dtype=complex)
        for block, w, x in self._pieces(a.toarray(), start):
            out += _evolved(block.matrix, w, x, times)
        return out / np.trace(self.rho)

    def one_sided(self, a: sp.csr_array, b: sp.csr_array, frequencies: np.ndarray, tol: float) -> np.ndarray:
        """Return int_0^inf dt exp(i w t) Tr(a exp(L t) [(b - <b>) rho])."""
        trace = np.trace(self.rho)
        image = b @ self.rho
        start = image - np.trace(image) / trace * self.rho
        scale = float(np.linalg.norm(image))
        if scale == 0.0:
            return np.zeros(len(frequencies), dtype=complex)
        out = np.zeros(len(frequencies), dtype=complex)
        for block, w, x in self._pieces(a.toarray(), start):
            diagonal = block.kets == block.bras
            stationary = self.rho[block.kets, block.bras]
            deflate = bool(np.any(diagonal)) and abs(stationary[diagonal].sum()) > 1e-12
            if deflate and abs(x[diagonal].sum()) > 1e-7 * scale:
                raise DegenerateSteadyStateError(
                    "The correlations do not decay to <a><b>: the state mixes sectors of a strong symmetry, which keep "
                    "their weights. Pass the stationary state of one sector as `state`.",
                    dimension=2,
                )
            functional = diagonal.astype(float) if deflate else np.zeros(len(x))
            out -= _resolvent(block.matrix, w, x, stationary, functional, frequencies, tol)
        return out / trace


# ----------------------------------------------------------------------------------------------------------------------


def _evolved(a: sp.csr_array, w: np.ndarray, x: np.ndarray, times: np.ndarray) -> np.ndarray:
    steps = np.diff(times, prepend=0.0)
    unit = float(times[-1]) if times[-1] > 0 else 1.0
    rounded = np.rint(steps / (1e-12 * unit))
    scale = scale_of(a, np.random.default_rng(0))
    few = len(np.unique(rounded)) <= 4 and len(times) > 4
    cache: dict[float, np.ndarray] = {}
    out = np.empty(len(times), dtype=complex)
    for k, (step, key) in enumerate(zip(steps, rounded, strict=True)):
        if step > 0 and a.shape[0] <= _DENSE and few:
            if key not in cache:
                cache[key] = sl.expm(a.toarray() * step)
            x = cache[key] @ x
        elif step > 0:
            x = exp_multiply(a, x, float(step), scale)
        out[k] = w @ x
    return out


def _resolvent(
    a: sp.csr_array,
    w: np.ndarray,
    x: np.ndarray,
    stationary: np.ndarray,
    functional: np.ndarray,
    frequencies: np.ndarray,
    tol: float,
) -> np.ndarray:
    """Return w . (A + i omega)^{-1} x for every omega.

    Where the sector holds the trace (``functional``), A is replaced by A - s |stationary)(functional|: the same map on
    operators without trace, and invertible at omega = 0.
    """
    scale = scale_of(a, np.random.default_rng(0))
    shifted = (
        functional * (max(scale.largest, 1e-300) / functional.dot(stationary)) if np.any(functional) else functional
    )
    solve = _solver(a, stationary, shifted, scale, tol)
    out = np.empty(len(frequencies), dtype=complex)
    norm = float(np.linalg.norm(x))
    for k, omega in enumerate(frequencies):
        y = solve(float(omega), x)
        rest = a @ y + 1j * omega * y - stationary * (shifted @ y) - x
        residual = float(np.linalg.norm(rest)) / norm
        singular = not np.all(np.isfinite(y)) or np.linalg.norm(y) * scale.largest > 1e11 * norm
        if singular or not residual <= tol:
            why = (
                "a mode of this frequency is not damped, or the steady state is not unique"
                if singular
                else f"the solve stopped at the relative residual {residual:.1e}"
            )
            raise ConvergenceError(f"The spectrum at the frequency {omega:.6g} is not available: {why}.")
        out[k] = w @ y
    return out


def _solver(
    a: sp.csr_array, stationary: np.ndarray, shifted: np.ndarray, scale: Scale, tol: float
) -> Callable[[float, np.ndarray], np.ndarray]:
    n = a.shape[0]
    if n <= _DENSE:
        t, q = sl.schur(a.toarray() - np.outer(stationary, shifted), output="complex")
        floor = 1e-15 * max(scale.largest, 1e-300)

        def by_schur(omega: float, x: np.ndarray) -> np.ndarray:
            upper = t + 1j * omega * np.eye(n)
            diagonal = np.diag(upper)
            upper[np.diag_indices(n)] = np.where(np.abs(diagonal) < floor, floor, diagonal)
            return q @ sl.solve_triangular(upper, q.conj().T @ x)

        return by_schur
    if n <= _FACTORISED:
        bordered = bool(np.any(shifted))

        def by_factors(omega: float, x: np.ndarray) -> np.ndarray:
            matrix = sp.csc_array(a + 1j * omega * sp.eye_array(n))
            if bordered:
                column, row = sp.csc_array(stationary[:, None]), sp.csc_array(shifted[None, :].astype(complex))
                matrix = sp.csc_array(sp.block_array([[matrix, -column], [row, None]]))
            try:
                factors = sla.splu(matrix)
            except RuntimeError:  # exactly singular: reported by the caller
                return np.full(n, np.nan, dtype=complex)
            return factors.solve(np.append(x, 0.0) if bordered else x)[:n]

        return by_factors

    def by_iteration(omega: float, x: np.ndarray) -> np.ndarray:
        def product(v: np.ndarray) -> np.ndarray:
            return a @ v + 1j * omega * v - stationary * (shifted @ v)

        operator = sla.LinearOperator((n, n), matvec=product, dtype=complex)
        y, _ = sla.gcrotmk(operator, x, rtol=0.1 * tol, atol=0.0, maxiter=400, m=40, k=20)
        return y

    return by_iteration
