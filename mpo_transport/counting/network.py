"""Mean flows and noise of a matrix-product steady state, from its answer to a field and from adjoint problems.

With J_i = sum_m q_mi rate_m L_m^+ L_m (so that <J_i> is the flow into i) and the map J_i: rho -> sum_m q_mi rate_m
L_m rho L_m^+, second-order perturbation theory of the tilted Lindbladian L - sum_i s_i J_i + ... gives

    L x_j = -( J_j - <J_j> ) x,        L^T y_i = J_i - <J_i> 1
    K_ij  = <J_ij> + (J_i|x_j) + (J_j|x_i),    J_ij = sum_m q_mi q_mj rate_m L_m^+ L_m

where x_j is the answer of the state to the field of j.  For approximate answers with residuals R_j = L x_j + ( J_j -
<J_j> ) x the corrected value

    K_ij = <J_ij> + (J_i|x_j) + (J_j|x_i) - (y_i|R_j) - (y_j|R_i)

is wrong by the product of the errors of x_j and y_i.  With x_j = 0 it is the formula of the adjoint problems alone,

    K_ij = <J_ij> - (y_i| (J_j - <J_j>) x) - (y_j| (J_i - <J_i>) x),

wrong by the error of the duals to first order; it is tried first, since duals of long chains are often of small bond
dimension (four for the bath currents of the XX chain) where answers are not.
If the state x itself is approximate, the first-order error (O_ij|dx) with the gradient of K_ij,

    O_ij = J_ij - J_j^T y_i - J_i^T y_j + <J_j> y_i + <J_i> y_j + (y_i|x) J_j + (y_j|x) J_i ,

is removed by one more dual, L^T z = O_ij - <O_ij> 1:  K_ij -> K_ij - (z| L x).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..dual.base import Dual
from ..dual.network import TRUSTED, NetworkDual, error_of_ladder
from ..methods.linear_sweeps import FIRST_STEP, DualProblem, DualVector, Relaxed, ladder, relax, restart_step
from ..model import Lindbladian
from ..operators import OpSum
from ..states import MPOState
from ..superoperator.mpo import MPO, operator_train, superoperator_mpo
from ..superoperator.terms import ProductTerm, product_terms
from ..superoperator.train import add_trains, compress_train, train_inner, train_log_norm
from .fields import active_jumps, counted_rates

__all__ = ["NetworkCounting", "jump_mpo", "tilted_mpo"]

# Singular values of the gradient O_ij below this fraction of the largest are rounding errors.
NOISE = 1e-13
# An answer with a smaller relative residual is exact for all purposes.
EXACT = 1e-9
# Where the error estimate of duals alone is below this fraction of Poissonian noise, answers are not asked for.
ENOUGH = 1e-6


def _recycling_terms(model: Lindbladian, weights: np.ndarray) -> list[ProductTerm]:
    out = []
    for jump, weight in zip(active_jumps(model), weights, strict=True):
        if not weight:
            continue
        pieces = [(key, c, next(iter(OpSum({key: 1.0}).dag))[0]) for key, c in jump.operator]
        for left, ca, _ in pieces:
            for _, cb, right in pieces:
                out.append(ProductTerm(complex(weight * jump.rate * ca * np.conj(cb)), left, right))
    return out


def jump_mpo(model: Lindbladian, weights: np.ndarray, order: tuple[int, ...] | None = None) -> MPO:
    """Return rho -> sum_m weight_m rate_m L_m rho L_m^+ over the active jumps as a real matrix-product operator."""
    return superoperator_mpo(model, _recycling_terms(model, weights), order)


def tilted_mpo(model: Lindbladian, exponents: np.ndarray, order: tuple[int, ...] | None = None) -> MPO:
    """Return the tilted Lindbladian for real exponents s_m per active jump as a real matrix-product operator.

        L_s rho = L rho + sum_m ( e^{-s_m} - 1 ) rate_m L_m rho L_m^+

    It maps Hermitian to Hermitian operators, so that it is real in the Hermitian basis.
    """
    terms = product_terms(model) + _recycling_terms(model, np.expm1(-np.asarray(exponents, dtype=float)))
    return superoperator_mpo(model, terms, order)


@dataclass(frozen=True)
class _Answer:
    """x_j of one bond dimension, its residual R_j as a train, and |R_j| over the size of the right-hand side."""

    x: DualVector
    residual: tuple[np.ndarray, ...]
    relative: float


class NetworkCounting:
    """Flows and noise of a matrix-product state, with error estimates.

    Parameters
    ----------
    model
        The Lindbladian.
    table
        Quanta moved by every active jump, shape (jumps, n).
    state
        Its steady state, exact or not.
    max_bond
        Largest bond dimension of answers and duals; default: twice that of the state, 32 .. 64.
    """

    def __init__(self, model: Lindbladian, table: np.ndarray, state: MPOState, max_bond: int | None = None) -> None:
        self.model, self.table = model, table
        self.full = NetworkDual(model, state, max_bond)
        x = self.full.x
        self.image = self.full.operator.residual(x) * _norm(x.tensors)  # |L x|
        self._size = self.full.operator.typical_norm * _norm(x.tensors)
        self.dual = self.full
        self.residual = 0.0
        self._levels: list[list[Relaxed]] = []

    @property
    def columns(self) -> int:
        """Number of counted quantities n."""
        return int(self.table.shape[1])

    def activity(self, i: int, j: int) -> OpSum:
        """Return J_ij = sum_m q_mi q_mj rate_m L_m^+ L_m."""
        return counted_rates(self.model, self.table[:, i] * self.table[:, j])

    def scale(self, i: int) -> float:
        """Return <J_ii>, the noise of independent jumps at the same rates."""
        return self._value(self._train(self.activity(i, i)))

    def _train(self, operator: OpSum) -> tuple[np.ndarray, ...]:
        if not operator:
            return tuple(0.0 * t for t in self.dual.unit)
        train = operator_train(self.model.lattice, operator, self.dual.order)
        return tuple(t / np.sqrt(d) for t, d in zip(train, self.dual.dims, strict=True))

    def _value(self, train: tuple[np.ndarray, ...]) -> float:
        return train_inner(train, self.dual.x.tensors)

    def _weighed(self, dual: Dual, value: float) -> tuple[float, float]:
        """Return the value corrected by (y|L x) and its error; uncorrected where the dual is not good enough."""
        if dual.trusted or dual.y is None:
            return dual.corrected, dual.error
        correction = abs(self.dual.operator.bilinear(dual.y, self.dual.x))
        return value, correction + _norm(dual.y.tensors) * self.image

    # -- flows ---------------------------------------------------------------------------------------------------------

    @cached_property
    def _first(self) -> list[tuple[float, Dual]]:
        """<J_i> in the state, and the dual of J_i."""
        out = []
        self._levels = []
        for i in range(self.columns):
            operator = counted_rates(self.model, self.table[:, i])
            value = self._value(self._train(operator))
            out.append((value, self.dual.solve(operator, value, 0.0)))
            self._levels.append(self.dual.levels)
        return out

    def flows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return corrected flows and estimates of their errors, shapes (n,)."""
        pairs = [self._weighed(dual, value) for value, dual in self._first]
        return np.array([v for v, _ in pairs]), np.array([e for _, e in pairs])

    # -- noise ---------------------------------------------------------------------------------------------------------

    def noise(self) -> tuple[np.ndarray, np.ndarray]:
        """Return corrected noise and estimates of its errors, shapes (n, n)."""
        n = self.columns
        values, errors = np.full((n, n), np.nan), np.full((n, n), np.nan)
        for i in range(n):
            for j in range(i, n):
                values[i, j], errors[i, j] = values[j, i], errors[j, i] = self._entry(i, j)
        return values, errors

    @cached_property
    def _maps(self) -> list[MPO | None]:
        return [
            jump_mpo(self.model, self.table[:, i], self.dual.order) if np.any(self.table[:, i]) else None
            for i in range(self.columns)
        ]

    @cached_property
    def _answers(self) -> list[tuple[_Answer, _Answer] | None]:
        """The last two answers x_j of growing bond dimension; None where nothing is counted."""
        out: list[tuple[_Answer, _Answer] | None] = []
        for mapping, (value, _) in zip(self._maps, self._first, strict=True):
            if mapping is None:
                out.append(None)
                continue
            x = self.dual.x
            source = compress_train(add_trains([mapping.apply(x), x.tensors], [-1.0, value]), noise=NOISE).tensors
            answers = self._answer(DualProblem(self.dual.operator, source, self.dual.shift))
            self.residual = max(self.residual, answers[1].relative)
            out.append(answers)
        return out

    def _answer(self, problem: DualProblem) -> tuple[_Answer, _Answer]:
        x, step = problem.start(), FIRST_STEP
        found: list[_Answer] = []
        for bond in ladder(self.full.max_bond):
            relaxed = relax(problem, problem.enriched(x, bond), bond, restart_step(step))
            x, step = relaxed.y, relaxed.step
            rest = add_trains([problem.operator.apply(x), problem.b], [1.0, -1.0])
            rest = compress_train(rest, noise=NOISE).tensors
            size = _norm(rest) / max(problem.norm, 1e-300)
            if not np.isfinite(size) or (found and size > found[-1].relative):
                x = found[-1].x if found else problem.start()
                continue  # a larger one that is worse
            found.append(_Answer(x, rest, size))
            if len(found) > 1 and size <= EXACT:
                break
        if not found:
            zero = problem.start()
            found.append(_Answer(DualVector(tuple(0.0 * t for t in zero.tensors), zero.order), problem.b, 1.0))
        return (found[-2] if len(found) > 1 else found[-1]), found[-1]

    def _entry(self, i: int, j: int) -> tuple[float, float]:
        own = self._train(self.activity(i, j))
        poisson = self._value(own)
        value, error = self._by_duals(i, j, poisson)
        if not error <= ENOUGH * max(self.scale(i), self.scale(j)):
            other = self._by_answers(i, j, poisson)
            value, error = other if not other[1] >= error else (value, error)
        gradient = self._gradient(own, i, j)
        mean = self._value(gradient)
        problem = DualProblem(self.dual.adjoint, add_trains([gradient, self.dual.unit], [1.0, -mean]), self.dual.shift)
        if self.image <= EXACT * self._size or problem.norm <= 1e-14 * max(abs(mean), abs(poisson), 1e-300):
            return value, error + self._norm_of_dual(i, j) * self.image
        corrected, more = self._weighed(self.dual.solve_problem(problem, mean, 0.0), mean)
        return value + (corrected - mean), error + more

    def _by_duals(self, i: int, j: int, poisson: float) -> tuple[float, float]:
        """Return the noise from the duals alone, -(y_i| (J_j - <J_j>) x), and its error from those of several bonds."""
        firsts = self._first
        depth = min(len(self._levels[k]) for k in (i, j))
        values, residuals = [], []
        for level in range(-depth, 0):
            y_i, y_j = self._levels[i][level], self._levels[j][level]
            values.append(poisson + self._weighed_source(y_i.y, j) + self._weighed_source(y_j.y, i))
            residuals.append(max(y_i.residual, y_j.residual))
        if depth == 0:  # nothing fluctuates, or no dual was found
            trivial = all(firsts[k][1].y is None for k in (i, j))
            return poisson, 0.0 if trivial else np.inf
        if depth == 1 or residuals[-1] > TRUSTED:
            return values[-1], np.inf
        return values[-1], error_of_ladder(poisson, values, residuals)

    def _weighed_source(self, y: DualVector, j: int) -> float:
        """Return -(y| (J_j - <J_j>) x)."""
        mapping = self._maps[j]
        if mapping is None:
            return 0.0
        x = self.dual.x
        return self._first[j][0] * train_inner(y.tensors, x.tensors) - mapping.bilinear(y, x)

    def _by_answers(self, i: int, j: int, poisson: float) -> tuple[float, float]:
        """Return the noise from answers x_j and duals, and its error."""
        fine, coarse = (poisson + self._cross(i, j, which) + self._cross(j, i, which) for which in (1, 0))
        answers = [a for a in (self._answers[i], self._answers[j]) if a is not None]
        gained = max((min(1.0, 3 * a[1].relative / max(a[0].relative, 1e-300)) for a in answers), default=0.0)
        return fine, gained * abs(fine - coarse) + self._rest(i, j) + self._rest(j, i)

    def _norm_of_dual(self, i: int, j: int) -> float:
        """Return a size of the duals that an error of the state is multiplied with."""
        return max((_norm(d.y.tensors) for k in (i, j) for d in (self._first[k][1],) if d.y is not None), default=1.0)

    def _cross(self, i: int, j: int, which: int) -> float:
        """(J_i|x_j) - (y_i|R_j)."""
        answer = self._answers[j]
        if answer is None or self._maps[i] is None:
            return 0.0
        value = train_inner(self._train(counted_rates(self.model, self.table[:, i])), answer[which].x.tensors)
        return value - self._correction(i, answer[which])

    def _correction(self, i: int, answer: _Answer) -> float:
        y = self._first[i][1].y
        return 0.0 if y is None else train_inner(y.tensors, answer.residual)

    def _rest(self, i: int, j: int) -> float:
        """What (y_i|R_j) may be wrong by."""
        answer = self._answers[j]
        if answer is None:
            return 0.0
        return min(1.0, self._first[i][1].residual) * abs(self._correction(i, answer[1]))

    def _gradient(self, own: tuple[np.ndarray, ...], i: int, j: int) -> tuple[np.ndarray, ...]:
        trains, coefficients = [own], [1.0]
        for a, b in ((i, j), (j, i)):
            y, mapping = self._first[a][1].y, self._maps[b]
            if y is None or mapping is None:
                continue
            overlap = train_inner(y.tensors, self.dual.x.tensors)
            trains += [mapping.transpose().apply(DualVector(y.tensors, self.dual.order)), y.tensors]
            trains.append(self._train(counted_rates(self.model, self.table[:, b])))
            coefficients += [-1.0, self._first[b][0], overlap]
        total = add_trains(trains, coefficients)
        return compress_train(total, noise=NOISE).tensors


def _norm(train: tuple[np.ndarray, ...]) -> float:
    return float(np.exp(train_log_norm(train)))
