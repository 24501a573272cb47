"""Slow modes of long chains as matrix products: evolution and inverse iteration of both sides, two-sided quotients.

The left eigenoperators of slow modes are slowly varying sums of local operators (of densities or energies, where the
bulk conserves them), of small bond dimension even where right ones are not.  On traceless operators, where L^T has no
stationary one if the steady state is unique,

    v(t) = exp(L^T t) v(0)   and   L^T v_{n+1} = v_n,        G_ij = (v_i|v_j),  H_ij = (v_i|L^T v_j),  H c = lambda G c

with the sweeps of :mod:`mpo_transport.dual` and exact scalar products of the last few v.  Where truncation is felt, the
residual of v is large however good v is, since L is: then right eigenoperators w, found in the same way from v, give

    theta = (w|L^T v) / (w|v),        theta - lambda = (dw| (L^T - lambda) dv) / (w|v)

with the errors dw and dv of both: small of second order.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from ..errors import ConvergenceError, NotSupportedError
from ..methods.linear_sweeps import (
    FIRST_STEP,
    DualProblem,
    DualVector,
    Relaxed,
    ladder,
    relax,
    restart_step,
    traceless_train,
)
from ..methods.tebd.plan import position_order
from ..model import Lindbladian
from ..operators import OpSum, op
from ..superoperator.mpo import MPO, lindbladian_mpo, operator_train
from ..superoperator.terms import require_bounded
from ..superoperator.train import add_trains, compress_train, train_log_norm
from .evolution import OperatorEvolution
from .result import Spectrum
from .subspace import UNSETTLED, Sample, Subspace, quotient

__all__ = ["network_spectrum"]

# Solves per bond dimension.
SOLVES = 10
# Eigenvalues are taken to be wrong by at most this many residuals.
CONDITION = 5.0
# An inner solve need not be better than this, and is of no use above that.
ACCURACY, USELESS = 1e-7, 0.6
DEFAULT_BOND, LEAST_BOND = 32, 6
# The evolution: bond dimension of the first, most steps.  It ends when the decay rate changes little, after some
# decays, unless the residual still falls by this factor from one interval to the next.
EVOLUTION_BOND, MOST_STEPS = 16, 40_000
STANDS_OUT, DECAYS, MOST_DECAYS, FALLS = 0.1, 2.5, 12.0, 0.7
# A solve with a larger relative residual is tried once more from small bonds.
POOR = 0.05
# With a smaller relative error of one side a larger bond dimension comes first, and the other side after it.
NEARLY = 0.1
# Pairs with a smaller overlap tell nothing.
SMALL_OVERLAP = 0.01
# Weights of the change of a quotient with one of its two vectors, and with both, from one bond dimension to the next.
MIXED, BOTH = 10.0, 0.3
# Eigenvalues closer than this fraction count as the same one.
PARTNER = 1e-6


@dataclass(frozen=True)
class _Pair:
    """Eigenvectors v of L^T and w of L, and the bond dimensions at which they were found: one may be larger."""

    v: Sample
    w: Sample
    smallest: int
    largest: int


class _Side:
    """The search for one slow eigenvector of L^T, or of L, at growing bond dimensions."""

    def __init__(
        self, operator: MPO, flow: OperatorEvolution, start: DualVector, least: int, target: complex | None = None
    ) -> None:
        self.operator, self.flow, self.target = operator, flow, target
        self.least = least  # bond dimension of the first evolution
        self.bond = self._evolved = 0  # bond dimensions of the last vectors, and of the last evolution
        self.shift = operator.typical_norm / math.sqrt(len(operator.tensors))
        self.space = Subspace(operator)
        self._add(start)
        self.start = self.space.v[0]  # of norm 1
        self._solves = False  # whether solves of the last bond dimension were of use

    def level(self, bond: int, tol: float) -> Sample:
        """Return the eigenvector of smallest residual found at one bond dimension."""
        if not self._solves and bond > self._evolved:
            self._evolved = max(bond, self.least)
            self._evolve(self._evolved)
        best = self.sample()
        fresh, self._solves = not self._solves, False
        before, rest = math.inf, math.inf
        for _ in range(SOLVES):
            solution = self._solution(bond, fresh=fresh)
            if solution is None:
                break
            self._solves = True
            last = self.sample().value
            self._add(solution)
            found = self.sample()
            best = min(best, found, key=lambda s: s.residual)
            change = abs(_folded(found.value) - _folded(last))
            if CONDITION * found.residual < 0.1 * tol * abs(found.value):
                break
            if change > 0.7 * before and found.residual > 0.9 * rest:
                break
            before, rest = change, found.residual
        self.bond = bond if self._solves else self._evolved
        return best

    def _add(self, v: DualVector) -> None:
        self.space.add(v)
        self.ritz = self.space.ritz()

    def sample(self) -> Sample:
        """Return the first eigenvector, or the one that belongs to the target."""
        if self.target is None:
            return Sample.of(self.space, self.ritz)
        far = np.abs(self.ritz.values - self.target) + self.ritz.residuals
        return Sample.of(self.space, self.ritz, int(np.argmin(far)))

    def _solution(self, bond: int, *, fresh: bool) -> DualVector | None:
        """Return the next vector of inverse iteration, or None where its equation is not solved to any use."""
        now = self.sample()
        c = _real_part(now.coefficients)
        if now.residual > UNSETTLED * abs(now.value):  # plain inverse iteration so far
            c = np.eye(len(self.space.v))[-1]
        problem = DualProblem(self.operator, traceless_train(self.space.combination(c, bond).tensors), self.shift)
        found = _solved(problem, self.space.solved(c, bond), bond, fresh=fresh)
        return found.y if found.residual < USELESS else None

    def _evolve(self, bond: int) -> None:
        """Evolve until a slow mode stands out, in intervals that grow by two fifths."""
        kept = self.space.combination(_real_part(self.sample().coefficients), bond)
        size = float(np.exp(train_log_norm(kept.tensors)))
        # the start once more: what smaller bonds have lost of it may be slower than what they have kept
        mixed = add_trains([kept.tensors, self.start.tensors], [1.0 / size, 1.0])
        v = DualVector(compress_train(mixed, bond).tensors, kept.order)
        steps, done = 8, 0
        while done < MOST_STEPS:
            v = DualVector(self.flow(v.tensors, steps, bond), v.order)
            last = self.sample()
            self._add(v)
            done += steps
            now = self.sample()
            decays = done * self.flow.dt * abs(now.value.real)
            still = abs(_folded(now.value) - _folded(last.value)) < STANDS_OUT * abs(now.value)
            falls = UNSETTLED * abs(now.value) < now.residual < FALLS * last.residual
            if still and decays > DECAYS and not (falls and decays < MOST_DECAYS):
                return
            steps = math.ceil(1.4 * steps)


def network_spectrum(model: Lindbladian, k: int, tol: float, seed: int, max_bond: int | None) -> Spectrum:
    """Return up to k eigenvalues of smallest modulus, apart from zero, with their residuals.

    Parameters
    ----------
    model
        Any model of bounded sites.
    k
        Number of eigenvalues; only the first one is iterated until it is converged.
    tol
        Relative error of the first eigenvalue that is accepted.
    seed
        Of the weights of the densities and energies from which the iteration starts.
    max_bond
        Largest bond dimension; None: 32.

    Raises
    ------
    ConvergenceError
        If the estimated error of the eigenvalue exceeds ``tol`` at ``max_bond``; with the :class:`Spectrum` as
        ``result``.
    NotSupportedError
        If the model has neither densities nor energies to start from.
    """
    require_bounded(model)
    order = position_order(model.lattice)
    forward = lindbladian_mpo(model, order)
    adjoint = forward.transpose()
    legs = [t.shape[1] for t in adjoint.tensors]
    train = operator_train(model.lattice, _start(model, seed), order)
    v = DualVector(tuple(t / n**0.25 for t, n in zip(train, legs, strict=True)), order)
    levels = _levels(max_bond or DEFAULT_BOND)
    least = max([b for b in levels if b <= EVOLUTION_BOND], default=levels[0])
    left, right = _Side(adjoint, OperatorEvolution(model, adjoint=True), v, least), None
    pairs: list[_Pair] = []
    before: tuple[int, Sample] | None = None
    found = left.sample()
    value, error = found.value, math.inf
    for bond in levels:
        v_new = left.level(bond, tol)
        if CONDITION * v_new.residual < error:
            found, value, error = v_new, v_new.value, CONDITION * v_new.residual
        if before is not None and before[0] <= 0.6 * left.bond:
            estimate = _one_sided(before[1], v_new)
            if estimate < error:
                found, value, error = v_new, v_new.value, estimate
        before = left.bond, v_new
        nearly = error <= NEARLY * abs(value) and bond < levels[-1]  # one side may do
        if error > tol * abs(value) and not nearly:
            if right is None:
                start = left.space.combination(_real_part(left.sample().coefficients), bond)
                right = _Side(forward, OperatorEvolution(model, adjoint=False), start, least)
            right.target = v_new.value
            w_new = right.level(bond, tol)
            pairs.append(_Pair(v_new, w_new, min(left.bond, right.bond), max(left.bond, right.bond)))
            theta, estimate = _two_sided(adjoint, pairs)
            if estimate < error:
                found, value, error = v_new, theta, estimate
        if error <= tol * abs(value):
            break
    return _spectrum(left, found, value, k, error, tol)


def _one_sided(before: Sample, now: Sample) -> float:
    """Return an estimate of the error of an eigenvalue from those of two bond dimensions, infinite if it cannot tell.

    Quotients of v alone change by the difference of their errors, which are taken to fall like the residuals.
    """
    fallen = now.residual / max(before.residual, 1e-300)
    if fallen >= 1 or CONDITION * now.residual > NEARLY * abs(now.value):
        return math.inf
    change = abs(_folded(now.value) - _folded(before.value))
    return MIXED * change / (1 - fallen) + now.residual**2 / abs(now.value)


def _two_sided(adjoint: MPO, pairs: list[_Pair]) -> tuple[complex, float]:
    """Return the two-sided quotient of the last pair (v, w) and an estimate of its error.

    Theta - lambda = (dw| (L^T - lambda) dv) / (w|v).  One estimate is the product of both residuals over |lambda| and
    the overlap, as if both errors were slow; it is far too large where they are cut Schmidt vectors: L is large there.
    The other are the differences to the quotients with the v and w of half the bond dimension.
    """
    v, w = pairs[-1].v, pairs[-1].w
    theta, overlap = quotient(adjoint, v, w)
    if overlap < SMALL_OVERLAP:
        return theta, math.inf
    error = v.residual * w.residual / (max(abs(theta), 1e-300) * overlap)
    smaller = [pair for pair in pairs if pair.largest <= 0.6 * pairs[-1].smallest]
    if smaller:
        before, other = smaller[-1].v, smaller[-1].w
        both, *mixed = (
            abs(_folded(quotient(adjoint, a, b)[0]) - _folded(theta))
            for a, b in ((before, other), (before, w), (v, other))
        )
        error = min(error, MIXED * max(mixed) + BOTH * both)
    return theta, float(error)


def _spectrum(side: _Side, found: Sample, value: complex, k: int, error: float, tol: float) -> Spectrum:
    """Return what is known: the value, then the other Ritz values of the left side as they are."""
    others = [j for j, x in enumerate(side.ritz.values) if abs(_folded(x) - _folded(value)) > PARTNER * abs(value)]
    pair = [value, np.conj(value)] if abs(value.imag) > PARTNER * abs(value) else [value]
    values = np.array([*pair, *side.ritz.values[others]])[:k]
    residuals = np.maximum([found.residual] * len(pair) + list(side.ritz.residuals[others]), 1e-300)[:k]
    conditions = np.array([error / residuals[0]] * len(pair) + [math.inf] * len(others))[:k]
    scale = side.operator.typical_norm * math.sqrt(len(side.operator.tensors))
    out = Spectrum(
        values,
        ("parity=even",) * len(values),
        residuals,
        conditions,
        1,
        ("parity=even",),
        scale,
        (
            "matrix products from densities and energies: modes that neither overlaps with, of odd parity or with a "
            "charge, are not seen, and one that oscillates fast may decay more slowly",
        ),
    )
    if not error <= tol * abs(value):
        raise ConvergenceError(
            f"The eigenvalue {value:.6g} is known to {error:.1e} only (accepted: {tol:g} of it) at the largest bond "
            "dimension. Raise `max_bond` or loosen `tol`.",
            result=out,
        )
    return out


def _levels(max_bond: int) -> list[int]:
    """Return bond dimensions that double up to ``max_bond``: differences between close ones tell too little."""
    steps = [max_bond, max(1, max_bond // 2)]
    while steps[-1] // 2 >= LEAST_BOND:
        steps.append(steps[-1] // 2)
    return steps[::-1]


def _solved(problem: DualProblem, guess: DualVector, bond: int, *, fresh: bool) -> Relaxed:
    """Return the solution at one bond dimension; ``fresh``: growing from small bonds, as the guess is poor."""
    best = relax(problem, problem.enriched(guess, bond), bond, FIRST_STEP, ACCURACY)
    if fresh and best.residual > POOR:
        found, step = problem.start(), FIRST_STEP
        for b in [x for x in ladder(bond) if x <= bond]:
            other = relax(problem, problem.enriched(found, b), b, restart_step(step), ACCURACY)
            found, step = other.y, other.step
        best = min(best, other, key=lambda r: r.residual)
    return best


def _real_part(c: np.ndarray) -> np.ndarray:
    """Return the real or the imaginary part of a vector, whichever is larger."""
    return np.real(c) if np.linalg.norm(np.real(c)) >= np.linalg.norm(np.imag(c)) else np.imag(c)


def _folded(value: complex) -> complex:
    """Return the eigenvalue of a conjugate pair with a positive imaginary part."""
    return complex(value.real, abs(value.imag))


def _start(model: Lindbladian, seed: int) -> OpSum:
    """Return densities and terms of the Hamiltonian with weights that vary slowly and at random."""
    rng = np.random.Generator(np.random.Philox(key=[seed % 2**64, 271]))
    total = OpSum()
    for site, space in enumerate(model.lattice.spaces):
        weight = float(rng.uniform(0.5, 1.5) * math.cos(2.0 * site / max(model.L, 1) + 0.3))
        if "N" in space.operators:
            total = total + weight * op("N", site)
    terms: dict[frozenset[int], OpSum] = defaultdict(OpSum)
    for key, c in model.hamiltonian:
        support = frozenset(s for _, s in key)
        terms[support] = terms[support] + OpSum({key: c})
    largest = max((abs(c) for _, c in model.hamiltonian), default=1.0)
    for term in terms.values():  # a term and its adjoint have one support
        total = total + float(rng.uniform(0.5, 1.5)) / largest * term
    if not total:
        raise NotSupportedError(
            "Slow modes as matrix products start from densities and energies, but the sites have no number operator "
            "and there is no Hamiltonian.",
            field="method",
        )
    return total
