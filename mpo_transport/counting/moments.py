"""Counting statistics of quadratic models: the moment equations with counting fields.

With kappa_g = e^{-s_g} - 1 for every group g of jumps that move the same quanta, the tilted generator
L + sum_g kappa_g sum_{m in g} rate_m L_m . L_m^+ keeps Gaussian operators Gaussian.  Its moments obey, in every
representation,

    dC/dt = A C + C A* + D + C P C ,    A = A_0 + sum kappa_g T_g,   D = D_0 + sum kappa_g E_g,   P = sum kappa_g P_g
    dd/dt = (A + C P) d + f ,           theta = w Tr(P C) + sum kappa_g t_g + 1/2 d^T P d

where A* is the adjoint of A with the kappa_g not conjugated.  With u the lowering and v the raising vectors of the
jumps (rates included), l = u^+ u, g = v^T v^*, and B = c^+ c with the vector c
of L = c R:

    amplitudes C = <a_l^+ a_k>, zeta = +1 (bosons), -1 (fermions):
                  P = zeta l + g,  T = zeta g,  E = g,  t = Tr g,  w = zeta
    quadratures:  P = 2 Re B,  T = Omega Im B,  E = 1/2 Omega Re B Omega^T,  t = 1/2 Tr(Im B Omega),  w = 1/2
    Majorana:     P = 2 Im B,  T = -2 Re B,  E = -2 Im B,  t = Tr Re B,  w = -1/2

In the steady state C = V U^{-1} from the invariant subspace of M = [[-A*, -P], [D, A]] with Re mu > 0, and

    theta(s) = -w ( sum_{Re mu > 0} mu + Tr A_0* ) + 1/2 d^T P d .
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp

from ..errors import NotSupportedError
from ..methods.gaussian.stability import MARGINAL, describe_mode, refuse_spectrum
from ..superoperator.quadratic import QuadraticForm

__all__ = ["Group", "TiltedMoments", "tilted_moments"]

# Eigenvalues of M closer to the imaginary axis than this fraction of the largest one count as on it.
ON_AXIS = 1e-11
# Exponents up to which one look at the eigenvalues is enough.
NEAR = 0.5


@dataclass(frozen=True, eq=False)
class Group:
    """The sparse arrays P, T, E (n, n) and the number t of the jumps that share one row of the table of charges."""

    charges: np.ndarray
    force: sp.csr_array
    drift: sp.csr_array
    noise: sp.csr_array
    trace: float


@dataclass(frozen=True, eq=False)
class TiltedMoments:
    """The moment equations with counting fields; see the head of this module.

    Attributes
    ----------
    drift, noise
        A_0 and D_0, shape (n, n).
    source
        f, shape (n,); zero for amplitudes and fermions.
    groups
        The counted jumps, grouped by the quanta they move.
    weight
        w of the formula for theta.
    form
        Where it came from.
    """

    drift: np.ndarray
    noise: np.ndarray
    source: np.ndarray
    groups: tuple[Group, ...]
    weight: float
    form: QuadraticForm

    @property
    def is_fermionic(self) -> bool:
        """Whether the modes are fermions: theta then exists for every real field."""
        return self.weight < 0

    @property
    def size(self) -> int:
        """Number of variables n."""
        return len(self.drift)

    # -- without fields ------------------------------------------------------------------------------------------------

    @cached_property
    def schur(self) -> tuple[np.ndarray, np.ndarray]:
        """Complex Schur form A_0 = Z T Z^+, checked to be stable.

        Raises
        ------
        UnstableError
            If an amplitude grows, or is not damped.
        """
        t, z = sl.schur(self.drift.astype(complex), output="complex")
        rates = np.diag(t)
        if len(rates) and rates.real.max() >= -MARGINAL * np.abs(rates).max():
            refuse_spectrum(rates, self.form.statistics, describe_mode(self.drift, self.form.L)[1])
        return t, z

    def lyapunov(self, right: np.ndarray) -> np.ndarray:
        """Return Y with A_0 Y + Y A_0^+ + right = 0."""
        t, z = self.schur
        y, scale, _ = sl.lapack.ztrsyl(t, t, -(z.conj().T @ right @ z), tranb="C")
        out = z @ (y / scale) @ z.conj().T
        return out if np.iscomplexobj(self.drift) else out.real

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """C and d of the steady state."""
        return self.lyapunov(self.noise), -np.linalg.solve(self.drift, self.source)

    # -- with fields ---------------------------------------------------------------------------------------------------

    def kappas(self, s: np.ndarray) -> np.ndarray:
        """Return e^{-s_g} - 1 per group for the fields s, shape (columns of the table,)."""
        with np.errstate(over="ignore"):
            return np.array([np.expm1(-(g.charges @ s)) for g in self.groups])

    def hamiltonian(self, s: np.ndarray) -> np.ndarray:
        """Return M(s), shape (2n, 2n)."""
        kind = complex if np.iscomplexobj(s) or np.iscomplexobj(self.drift) else float
        n = self.size
        m = np.zeros((2 * n, 2 * n), dtype=kind)
        a, adjoint, d, p = m[n:, n:], m[:n, :n], m[n:, :n], m[:n, n:]
        a += self.drift
        adjoint -= self.drift.conj().T
        d += self.noise
        for kappa, g in zip(self.kappas(s), self.groups, strict=True):
            a += kappa * g.drift.toarray()
            adjoint -= kappa * g.drift.conj().T.toarray()
            d += kappa * g.noise.toarray()
            p -= kappa * g.force.toarray()
        return m

    def theta(self, s: np.ndarray) -> complex | None:
        """Return theta(s), or None where eigenvalues of M lie on the imaginary axis."""
        right = self._right_half(s)
        if right is None:
            return None
        value = -self.weight * complex(right.sum() + np.trace(self.drift).conj())
        if np.any(self.source):
            value += self._coherent(s, self.subspace(s))
        return value

    def uncertainty(self, s: np.ndarray) -> float:
        """Return the rounding error of theta(s): how much it changes when C is measured from 1/2 instead of zero."""
        values = [self._right_half(s, offset) for offset in (0.0, 0.5)]
        if values[0] is None or values[1] is None:
            return np.inf
        return abs(self.weight) * abs(complex(values[0].sum() - values[1].sum()))

    def _right_half(self, s: np.ndarray, offset: float = 0.0) -> np.ndarray | None:
        m = self.hamiltonian(s)
        if not np.all(np.isfinite(m)):
            return None
        if offset:
            shift = np.eye(2 * self.size)
            shift[self.size :, : self.size] = offset * np.eye(self.size)
            m = (2 * np.eye(2 * self.size) - shift) @ m @ shift
        mu = np.linalg.eigvals(m)
        if self.is_fermionic:  # pairs +-mu; the dominant eigenvalue takes the right one of each
            return mu[np.argsort(-mu.real, kind="stable")[: self.size]]
        right = mu[mu.real > 0]
        on_axis = np.abs(mu.real).min(initial=np.inf) <= ON_AXIS * np.abs(mu).max(initial=0.0)
        return None if on_axis or len(right) != self.size else right

    def subspace(self, s: np.ndarray) -> np.ndarray:
        """Return C(s) on the branch with Re mu > 0, where it exists."""
        _, z, _ = sl.schur(self.hamiltonian(s).astype(complex), output="complex", sort="rhp")
        u, v = z[: self.size, : self.size], z[self.size :, : self.size]
        return np.linalg.solve(u.T, v.T).T

    def _coherent(self, s: np.ndarray, c: np.ndarray) -> complex:
        kappas = self.kappas(s)
        p = sum((k * g.force for k, g in zip(kappas, self.groups, strict=True)), sp.csr_array((self.size,) * 2))
        a = self.drift + sum((k * g.drift.toarray() for k, g in zip(kappas, self.groups, strict=True)), 0.0)
        d = -np.linalg.solve(a + c @ p, self.source)
        return complex(0.5 * (d @ (p @ d)))

    def is_inside(self, s: np.ndarray) -> bool:
        """Return whether theta exists at real fields s.

        Eigenvalues i w of M are the zeros of the determinant in the integral over frequencies of the scattering form.
        Its matrix is Hermitian up to a similarity and positive at infinite w: without zeros it is positive everywhere.
        """
        if self.is_fermionic:
            return True
        # the domain is convex: come from zero, since huge exponentials hide eigenvalues on the axis in rounding errors
        far = max((abs(float(g.charges @ s)) for g in self.groups), default=0.0)
        steps = max(0, int(np.ceil(np.log2(max(far, NEAR) / NEAR))))
        return all(self._right_half(s * 0.5**k) is not None for k in range(steps, -1, -1))


def tilted_moments(form: QuadraticForm, table: np.ndarray) -> TiltedMoments:
    """Return the tilted moment equations of a quadratic form.

    Parameters
    ----------
    form
        From :func:`~mpo_transport.superoperator.quadratic.quadratic_form`.
    table
        Quanta moved by every jump, shape (jumps, fields).
    """
    rows = [tuple(r) for r in table]
    kinds = sorted({r for r in rows if any(r)})
    members = {kind: np.array([m for m, r in enumerate(rows) if r == kind]) for kind in kinds}
    make = _amplitude_group if form.conserves_number else _real_group
    groups = tuple(make(form, np.array(kind), members[kind]) for kind in kinds)
    sign = -1.0 if form.statistics == "fermion" else 1.0
    if form.conserves_number:
        drift, gain = form.amplitudes()
        return TiltedMoments(drift, gain.astype(complex), np.zeros(form.L, dtype=complex), groups, sign, form)
    equations = form.moments()
    return TiltedMoments(equations.drift, equations.diffusion, equations.drive, groups, sign / 2, form)


def _amplitude_group(form: QuadraticForm, charges: np.ndarray, jumps: np.ndarray) -> Group:
    sign = -1.0 if form.statistics == "fermion" else 1.0
    rates = sp.diags_array(form.rates[jumps])
    u, v = form.lowering[jumps], form.raising[jumps]
    loss = sp.csr_array(u.conj().T @ rates @ u)
    gain = sp.csr_array(v.T @ rates @ v.conj())
    return Group(charges, sign * loss + gain, sign * gain, gain, float(gain.trace().real))


def _real_group(form: QuadraticForm, charges: np.ndarray, jumps: np.ndarray) -> Group:
    L = form.L
    if np.any(form.shift[jumps]):
        raise NotSupportedError("A counted jump with a constant part moves no definite quanta.", field="counted")
    c = sp.hstack([form.lowering + form.raising, 1j * (form.lowering - form.raising)], format="csr")[jumps]
    c = c * (1 / 2 if form.statistics == "fermion" else 1 / np.sqrt(2))
    b = sp.csr_array(c.conj().T @ sp.diags_array(form.rates[jumps]) @ c)
    if form.statistics == "fermion":
        return Group(charges, 2 * b.imag, -2 * b.real, -2 * b.imag, float(b.real.trace()))
    one = sp.eye_array(L)
    omega = sp.block_array([[None, one], [-one, None]], format="csr")
    trace = 0.5 * float((sp.csr_array(b.imag) @ omega).trace())
    return Group(
        charges, 2 * sp.csr_array(b.real), sp.csr_array(omega @ b.imag), 0.5 * (omega @ b.real @ omega.T), trace
    )
