"""Counting statistics of quadratic models: flows, noise, generating function, cumulants of any order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from ..errors import ConvergenceError, InputError
from ..model import Lindbladian
from ..superoperator.quadratic import quadratic_form
from .moments import TiltedMoments, tilted_moments

__all__ = ["GaussianCounting", "OutsideDomain"]

# Fields beyond this many units of 1/charge are not searched for an edge of the domain.
FAR = 40.0
# Radius of the contour: this fraction of the distance to the edge, and never more than this in units of 1/charge.
FRACTION = 0.55
LARGEST_RADIUS = 1.5
POINTS = (32, 64, 128, 256)
# Exponents beyond this are checked for rounding errors, which may not exceed this fraction of theta.
LARGE = 6.0
ROUNDING = 1e-7


@dataclass
class GaussianCounting:
    """Counting statistics of a quadratic model from its moment equations.

    Parameters
    ----------
    model
        Quadratic in bosons (any number of levels is read as unbounded) or in Jordan-Wigner fermions.
    table
        Quanta moved by every active jump, shape (jumps, n): one column per counted quantity.
    """

    model: Lindbladian
    table: np.ndarray

    def __post_init__(self) -> None:
        self.equations: TiltedMoments = tilted_moments(quadratic_form(self.model), self.table)
        self.equations.schur  # noqa: B018  refuses an unstable model

    @property
    def columns(self) -> int:
        """Number of counted quantities n."""
        return int(self.table.shape[1])

    def flows(self) -> np.ndarray:
        """Return -d theta/d s_i at s = 0, shape (n,)."""
        rates = np.array(self._rates)
        charges = np.reshape([g.charges for g in self.equations.groups], (len(rates), self.columns))
        return charges.T @ rates

    def noise(self) -> np.ndarray:
        """Return d^2 theta/ds_i ds_j at s = 0, shape (n, n), from one Lyapunov equation per column.

        A Y_j + Y_j A^+ + T_j C + C T_j^+ + E_j + C P_j C = 0,     A e_j + (T_j + C P_j) d = 0
        K_ij = w [ Tr(P_i Y_j) + Tr(P_j Y_i) ] + d^T P_i e_j + d^T P_j e_i
               + delta_ij [ w Tr(P_i^(2) C) + t_i^(2) + 1/2 d^T P_i^(2) d ]
        """
        eq, n = self.equations, self.columns
        c, d = eq.moments
        forces, first, slopes = [], [], []
        for i in range(n):
            p, t, e = self._weighted(i)
            forces.append(p)
            first.append(eq.lyapunov(t @ c + c @ t.conj().T + e + (c @ p) @ c))  # c is not Hermitian for Majoranas
            slopes.append(-np.linalg.solve(eq.drift, t @ d + c @ (p @ d)))
        out = np.zeros((n, n))
        for i in range(n):
            for j in range(i, n):
                value = eq.weight * (forces[i].multiply(first[j].T).sum() + forces[j].multiply(first[i].T).sum())
                value = value + d @ (forces[i] @ slopes[j]) + d @ (forces[j] @ slopes[i])
                out[i, j] = out[j, i] = float(np.real(value)) + self._correlated_emission(i, j)
        return out

    def _correlated_emission(self, i: int, j: int) -> float:
        """sum_g q_gi q_gj <rate of the jumps g>: the Poisson part of the noise."""
        return float(
            sum(g.charges[i] * g.charges[j] * x for g, x in zip(self.equations.groups, self._rates, strict=True))
        )

    @cached_property
    def _rates(self) -> list[float]:
        """Jumps per time of every group."""
        eq = self.equations
        c, d = eq.moments
        return [
            float(np.real(eq.weight * (g.force.multiply(c.T)).sum() + g.trace + 0.5 * (d @ (g.force @ d))))
            for g in eq.groups
        ]

    def _weighted(self, i: int) -> list[sp.csr_array]:
        """Return sum_g q_gi (P, T, E)."""
        n = self.equations.size
        total = [sp.csr_array((n, n), dtype=self.equations.drift.dtype) for _ in range(3)]
        for g in self.equations.groups:
            if g.charges[i]:
                parts = (g.force, g.drift, g.noise)
                total = [out + float(g.charges[i]) * part for out, part in zip(total, parts, strict=True)]
        return total

    # -- generating function -------------------------------------------------------------------------------------------

    def theta(self, s: np.ndarray) -> complex:
        """Return theta(s) for fields s, shape (n,), real or complex.

        Raises
        ------
        InputError
            (field ``fields``) outside the domain of theta, with the edge found.
        """
        s = np.asarray(s)
        inside = np.real(s).astype(float)
        if not self.equations.is_inside(inside):
            edge = self.edge(inside, 1.0)
            raise OutsideDomain(edge)
        if np.iscomplexobj(s) and self.equations.is_fermionic:
            turn = max((abs(float(np.imag(g.charges @ s))) for g in self.equations.groups), default=0.0)
            if turn >= math.pi:
                raise InputError(
                    "Argument `fields`: for fermions the imaginary part of charge times field must be below pi in "
                    f"modulus, where theta is analytic, but is {turn:.6g}.",
                    field="fields",
                )
        value = self.equations.theta(s)
        if value is None:
            raise OutsideDomain(1.0)
        if max((abs(complex(g.charges @ s)) for g in self.equations.groups), default=0.0) > LARGE:
            uncertain = self.equations.uncertainty(s)
            if not uncertain <= ROUNDING * max(1.0, abs(value)):
                raise InputError(
                    f"Argument `fields`: exponentials of such large fields leave theta uncertain by {uncertain:.1e} in "
                    "double precision; use smaller fields, shift all of them by one number, or ExactDiag().",
                    field="fields",
                )
        return value

    def edge(self, direction: np.ndarray, largest: float = math.inf, accuracy: float = 1e-12) -> float:
        """Return the largest x such that theta exists at y * direction for 0 <= y < x (the domain is convex).

        Infinity where none is found up to ``largest`` or up to fields of 40 in units of one over the charge.
        """
        if self.equations.is_fermionic:
            return math.inf
        size = max((abs(float(g.charges @ direction)) for g in self.equations.groups), default=0.0)
        if size == 0:
            return math.inf
        last = min(FAR / size, largest)
        # from inside outwards: far beyond the edge, where exponentials are huge, eigenvalues say little
        low, high = 0.0, min(0.25 / size, last)
        while not self.equations.is_inside(high * direction) and high > 1e-14 / size:
            high *= 0.125
        while self.equations.is_inside(high * direction):
            if high >= last:
                return math.inf
            low, high = high, min(2 * high, last)
        for _ in range(48):
            middle = 0.5 * (low + high)
            if middle in (low, high) or high - low <= accuracy * high:
                break
            low, high = (middle, high) if self.equations.is_inside(middle * direction) else (low, middle)
        return low

    # -- cumulants -----------------------------------------------------------------------------------------------------

    def cumulants(self, order: int) -> np.ndarray:
        """Return c_1 .. c_order of the single column, shape (order,).

        Two come from Lyapunov equations; the others from Cauchy's formula on a circle inside the domain,
        c_n = (-1)^n n!/(r^n N) sum_k theta(r e^{2 pi i k/N}) e^{-2 pi i n k/N}, which for bosons is analytic in the
        whole strip above the real domain.

        Raises
        ------
        ConvergenceError
            If the two ways contradict each other.
        """
        low = np.array([self.flows()[0], self.noise()[0, 0]])
        if order <= 2:
            return low[:order]
        size = max((float(np.abs(g.charges).max()) for g in self.equations.groups), default=0.0)
        if size == 0:
            return np.zeros(order)
        one = np.ones(1)
        farthest = LARGEST_RADIUS / size / FRACTION
        reach = min(self.edge(sign * one, farthest, 0.1) for sign in (1, -1))
        reach = min(reach, farthest)
        radius = FRACTION * reach
        series = self._taylor(radius, order)
        signs = np.array([(-1) ** n * math.factorial(n) for n in range(1, order + 1)])
        values = signs * series[1 : order + 1] / radius ** np.arange(1, order + 1)
        scale = np.abs(series[1:3]).max(initial=0.0) + np.abs(series).max()
        rounding = 1e-13 * self.equations.size * np.abs(self.equations.drift).max()
        if np.abs(values[:2] - low).max(initial=0.0) * min(radius, radius**2) > 1e-7 * scale + rounding:
            raise ConvergenceError(
                f"Cumulants from the contour, {values[:2]}, contradict those from Lyapunov equations, {low}: the "
                "model is too close to an instability."
            )
        values[:2] = low
        return values

    def _taylor(self, radius: float, order: int) -> np.ndarray:
        """Return a_n radius^n of theta(s) = sum a_n s^n for n = 0 .. order; doubles the points until they settle."""
        previous: np.ndarray | None = None
        known: dict[float, complex] = {}
        for points in POINTS:
            if points < 2 * order:
                continue
            turns = np.arange(points // 2 + 1) / points  # powers of two: exact keys
            for x in turns.tolist():
                if x not in known:
                    known[x] = self._on_contour(radius * np.exp(2j * np.pi * x))
            half = np.array([known[x] for x in turns.tolist()])
            coefficients = np.fft.irfft(half.conj(), points)[: order + 1]  # theta(s^*) = theta(s)^*
            if previous is not None and np.abs(coefficients - previous).max() <= 1e-13 * np.abs(half).max():
                return coefficients
            previous = coefficients
        assert previous is not None
        return previous

    def _on_contour(self, s: complex) -> complex:
        value = self.equations.theta(np.array([s]))
        if value is None:
            raise ConvergenceError("The generating function is singular on the contour of its cumulants.")
        return value


class OutsideDomain(Exception):
    """The fields lie outside the domain; ``edge`` times the fields is its edge."""

    def __init__(self, edge: float) -> None:
        super().__init__(edge)
        self.edge = edge
