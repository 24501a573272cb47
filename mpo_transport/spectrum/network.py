"""Slow modes of long chains as matrix products: inverse iteration on the adjoint generator.

The left eigenoperators of slow modes are slowly varying sums of local operators (of densities, where a charge is
conserved in the bulk), of small bond dimension even where right ones are not.  On traceless operators, where L^T has
no stationary one if the steady state is unique,

    L^T v_{n+1} = v_n,        G_ij = (v_i|v_j),        H_ij = (v_i|L^T v_j),        H c = lambda G c

with the sweeps of :mod:`mpo_transport.dual` and exact scalar products of the last few v.  A relative residual r of one
solve leaves |L^T v - lambda v| ~ r |lambda| |v|: small eigenvalues keep their relative accuracy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg as sla

from ..errors import ConvergenceError, NotSupportedError
from ..methods.linear_sweeps import FIRST_STEP, DualProblem, DualVector, ladder, relax, restart_step, traceless_train
from ..methods.tebd.plan import position_order
from ..model import Lindbladian
from ..operators import OpSum, op
from ..superoperator.mpo import MPO, lindbladian_mpo, operator_train
from ..superoperator.terms import require_bounded
from ..superoperator.train import add_trains, compress_train, train_inner, train_log_norm
from .evolution import AdjointEvolution
from .result import Spectrum

__all__ = ["network_spectrum"]

# Vectors kept for the small eigenvalue problem, and solves per bond dimension.
SUBSPACE = 5
SOLVES = 10
# Eigenvalues are taken to be wrong by at most this many residuals.
CONDITION = 10.0
# Relative size of directions of the subspace that count.
DIRECTIONS = 1e-9
# An inner solve need not be better than this.
ACCURACY = 1e-7
DEFAULT_BOND = 32
# With a larger relative residual a Ritz vector is not yet better than the last vector.
UNSETTLED = 0.5
# The evolution before: bond dimension, most steps; it ends when the decay rate changes little, after some decays.
EVOLUTION_BOND, MOST_STEPS, STANDS_OUT = 16, 40_000, 0.1
AT_LEAST, AT_MOST = 2.0, 8.0
# A solve with a larger relative residual is tried once more from small bonds.
POOR = 0.05


@dataclass(frozen=True)
class _Ritz:
    """The eigenvalues of the small problem, slowest first, their residuals and coefficients (columns)."""

    values: np.ndarray
    residuals: np.ndarray
    vectors: np.ndarray


class _Subspace:
    """A few trains v, their images L^T v and all scalar products."""

    def __init__(self, adjoint: MPO) -> None:
        self.adjoint = adjoint
        self.v: list[DualVector] = []
        self.images: list[DualVector] = []
        self.gram = self.middle = self.square = np.zeros((0, 0))

    def add(self, v: DualVector) -> None:
        """Add a vector of norm 1, and forget the oldest one if there are too many."""
        tensors = traceless_train(v.tensors)
        size = float(np.exp(train_log_norm(tensors)))
        v = DualVector((tensors[0] / size, *tensors[1:]), v.order)
        image = DualVector(traceless_train(self.adjoint.apply(v)), v.order)
        self.v, self.images = [*self.v, v][-SUBSPACE:], [*self.images, image][-SUBSPACE:]
        column = np.array([train_inner(a.tensors, v.tensors) for a in self.v])
        self.gram = _bordered(self.gram, column, column)
        column = np.array([train_inner(a.tensors, image.tensors) for a in self.images])
        self.square = _bordered(self.square, column, column)
        column = np.array([train_inner(a.tensors, image.tensors) for a in self.v])
        row = np.array([train_inner(v.tensors, a.tensors) for a in self.images])
        self.middle = _bordered(self.middle, column, row)

    def ritz(self) -> _Ritz:
        """Return the eigenvalues of the generator in the subspace."""
        weights, basis = np.linalg.eigh(self.gram)
        keep = weights > DIRECTIONS * weights[-1]
        basis = basis[:, keep] / np.sqrt(weights[keep])
        values, vectors = sla.eig(basis.T @ self.middle @ basis)
        vectors = basis @ vectors
        residuals = []
        for value, c in zip(values, vectors.T, strict=True):
            size = np.vdot(c, self.gram @ c).real
            cross = np.vdot(c, self.middle @ c)
            rest = np.vdot(c, self.square @ c).real - 2 * (np.conj(value) * cross).real + abs(value) ** 2 * size
            residuals.append(math.sqrt(max(rest, 0.0) / size))
        found = np.array(residuals)
        # what is no eigenvector at all comes last: its value is an accident
        order = np.lexsort((np.abs(values), found > np.maximum(UNSETTLED * np.abs(values), 3 * found.min())))
        return _Ritz(values[order], found[order], vectors[:, order])

    def combination(self, c: np.ndarray, bond: int) -> DualVector:
        """Return sum_i c_i v_i cut to ``bond``."""
        return DualVector(
            compress_train(add_trains([v.tensors for v in self.v], list(c)), bond).tensors, self.v[0].order
        )

    def solved(self, c: np.ndarray, bond: int) -> DualVector:
        """Return the vector of the subspace whose image is closest to sum_i c_i v_i."""
        weights = np.linalg.lstsq(self.square, self.middle.T @ c, rcond=1e-12)[0]
        return self.combination(weights, bond)


def _bordered(old: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return the last rows and columns of a matrix with one more column and row."""
    n = len(column)
    out = np.zeros((n, n))
    if n > 1:
        out[:-1, :-1] = old[-(n - 1) :, -(n - 1) :]
    out[:, -1], out[-1, :] = column, row
    return out


def network_spectrum(model: Lindbladian, k: int, tol: float, seed: int, max_bond: int | None) -> Spectrum:
    """Return up to k eigenvalues of smallest modulus, apart from zero, with their residuals.

    Parameters
    ----------
    model
        Any model of bounded sites with a number operator.
    k
        Number of eigenvalues; only the first one is iterated until it is converged.
    tol
        Relative change of the first eigenvalue between two bond dimensions that is accepted.
    seed
        Of the weights of the densities from which the iteration starts.
    max_bond
        Largest bond dimension; None: 32.

    Raises
    ------
    ConvergenceError
        If the eigenvalue still changes by more than ``tol`` at ``max_bond``; with the :class:`Spectrum` as ``result``.
    NotSupportedError
        If the sites have no number operator.
    """
    require_bounded(model)
    order = position_order(model.lattice)
    adjoint = lindbladian_mpo(model, order).transpose()
    start = _start(model, seed)
    legs = [t.shape[1] for t in adjoint.tensors]
    train = operator_train(model.lattice, start, order)
    v = DualVector(tuple(t / n**0.25 for t, n in zip(train, legs, strict=True)), order)
    shift = adjoint.typical_norm / math.sqrt(len(legs))
    space, ritz = _evolved(model, adjoint, v, max_bond or DEFAULT_BOND)
    found: list[complex] = []
    error, best = math.inf, ritz
    for bond in _levels(max_bond or DEFAULT_BOND):
        before, rest, least = math.inf, math.inf, math.inf
        for _ in range(SOLVES):
            c = _real_part(ritz.vectors[:, 0])
            if ritz.residuals[0] > UNSETTLED * abs(ritz.values[0]):  # plain inverse iteration so far
                c = np.eye(len(space.v))[-1]
            problem = DualProblem(adjoint, traceless_train(space.combination(c, bond).tensors), shift)
            guess = space.solved(c, bond)
            space.add(_solved(problem, guess, bond, fresh=not found))
            last, ritz = ritz.values[0], space.ritz()
            change = abs(_folded(ritz.values[0]) - _folded(last))
            residual = float(ritz.residuals[0])
            if residual < least:  # the best of this bond dimension
                best, least = ritz, residual
            if CONDITION * residual < 0.1 * tol * abs(ritz.values[0]) or (
                change > 0.7 * before and residual > 0.9 * rest
            ):
                break
            before, rest = change, residual
        found.append(_folded(best.values[0]))
        if len(found) > 1:
            error = min(abs(found[-1] - found[-2]), CONDITION * float(best.residuals[0])) + min(change, before)
            if error <= tol * abs(found[-1]):
                break
    return _spectrum(best, k, error, tol, adjoint)


def _spectrum(ritz: _Ritz, k: int, error: float, tol: float, adjoint: MPO) -> Spectrum:
    residuals = np.maximum(ritz.residuals, 1e-300)
    conditions = np.full(len(residuals), math.inf)
    conditions[0] = max(error / residuals[0], 1.0)
    if len(residuals) > 1 and abs(ritz.values[1] - np.conj(ritz.values[0])) <= 1e-9 * abs(ritz.values[0]):
        conditions[1] = conditions[0]
    scale = adjoint.typical_norm * math.sqrt(len(adjoint.tensors))
    out = Spectrum(
        ritz.values[:k],
        ("parity=even",) * len(ritz.values[:k]),
        residuals[:k],
        conditions[:k],
        1,
        ("parity=even",),
        scale,
        (
            "matrix products from densities: modes that no density overlaps with are not seen, and one that oscillates "
            "fast may decay more slowly",
        ),
    )
    if not error <= tol * abs(ritz.values[0]):
        raise ConvergenceError(
            f"The eigenvalue {ritz.values[0]:.6g} still moved by {error:.1e} (accepted: {tol:g} of it) at the largest "
            "bond dimension. Raise `max_bond` or loosen `tol`.",
            result=out,
        )
    return out


def _evolved(model: Lindbladian, adjoint: MPO, v: DualVector, max_bond: int) -> tuple[_Subspace, _Ritz]:
    """Return operators evolved until a slow mode stands out, in intervals that grow by two fifths."""
    flow = AdjointEvolution(model)
    bond, steps, done = min(max_bond, EVOLUTION_BOND), 8, 0
    space = _Subspace(adjoint)
    space.add(v)
    ritz = space.ritz()
    while done < MOST_STEPS:
        v = DualVector(flow(v.tensors, steps, bond), v.order)
        space.add(v)
        last, ritz = ritz, space.ritz()
        done += steps
        rate = abs(ritz.values[0].real)
        still = abs(_folded(ritz.values[0]) - _folded(last.values[0])) < STANDS_OUT * abs(ritz.values[0])
        if still and done * flow.dt * rate > 2.5:
            break
        steps = math.ceil(1.4 * steps)
    return space, ritz


def _levels(max_bond: int) -> list[int]:
    """Return the bond dimensions of the iterations: at least two, the first at most 8."""
    steps = ladder(max_bond)
    return [b for b in steps if b >= 8] if len(steps) > 2 else list(steps)


def _solved(problem: DualProblem, guess: DualVector, bond: int, *, fresh: bool) -> DualVector:
    """Return the solution at one bond dimension; ``fresh``: growing from small bonds, as the guess is poor."""
    best = relax(problem, problem.enriched(guess, bond), bond, FIRST_STEP, ACCURACY)
    if fresh and best.residual > POOR:
        found, step = problem.start(), FIRST_STEP
        for b in [x for x in ladder(bond) if x <= bond]:
            other = relax(problem, problem.enriched(found, b), b, restart_step(step), ACCURACY)
            found, step = other.y, other.step
        best = min(best, other, key=lambda r: r.residual)
    return best.y


def _real_part(c: np.ndarray) -> np.ndarray:
    """Return the real or the imaginary part of a vector, whichever is larger."""
    return np.real(c) if np.linalg.norm(np.real(c)) >= np.linalg.norm(np.imag(c)) else np.imag(c)


def _folded(value: complex) -> complex:
    """Return the eigenvalue of a conjugate pair with a positive imaginary part."""
    return complex(value.real, abs(value.imag))


def _start(model: Lindbladian, seed: int) -> OpSum:
    rng = np.random.Generator(np.random.Philox(key=[seed % 2**64, 271]))
    total = OpSum()
    for site, space in enumerate(model.lattice.spaces):
        if "N" not in space.operators:
            raise NotSupportedError(
                "Slow modes as matrix products start from densities, but a site has no number operator.", field="method"
            )
        total = total + float(rng.uniform(0.5, 1.5) * math.cos(2.0 * site / max(model.L, 1) + 0.3)) * op("N", site)
    return total
