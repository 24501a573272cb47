"""Mean fields of driven optomechanical lattices: every root that can be found, each with its stability.

0 = ( -Dt_l - i gamma_c,l/2 ) alpha_l - (J/2) sum_l' A_ll' alpha_l' + F_l
Dt_l = Delta_l + 2 g_l^2 |alpha_l|^2 omega_l/(omega_l^2 + gamma_m,l^2/4)
    beta_l = g_l |alpha_l|^2/(omega_l - i gamma_m,l/2)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..arguments import per_item
from ..errors import ConvergenceError, InputError
from .born_markov import optical_matrix
from .links import Links, read_links
from .two_tone import nambu_equations

__all__ = ["MeanField", "linearised_drift", "mean_fields"]

_STEPS = 200


@dataclass(frozen=True, eq=False)
class MeanField:
    """One solution of the mean-field equations.

    Attributes
    ----------
    alpha, beta
        Amplitudes of light and motion, complex, shape (L,).
    Dt
        Shifted detunings, shape (L,).
    G
        Linearised couplings g_l alpha_l, complex, shape (L,).
    growth
        Largest real part of the eigenvalues of the linearised drift, all counter-rotating terms kept.
    residual
        Largest violation of the equations, relative to the largest drive.
    """

    alpha: np.ndarray
    beta: np.ndarray
    Dt: np.ndarray
    G: np.ndarray
    growth: float
    residual: float

    @property
    def is_stable(self) -> bool:
        """Whether the fluctuations about it decay."""
        return self.growth < 0

    @property
    def photons(self) -> np.ndarray:
        """Photon numbers |alpha_l|^2, shape (L,)."""
        return np.abs(self.alpha) ** 2


def mean_fields(
    adjacency: Any,
    *,
    J: Any,
    Delta: Any,
    F: Any,
    g: Any,
    gamma_c: Any,
    gamma_m: Any,
    omega: Any = 1.0,
    starts: int = 64,
    seed: int = 0,
) -> list[MeanField]:
    """Return the mean fields of a driven lattice, weakest light first.

    Parameters
    ----------
    adjacency, J
        Optical links, see :func:`mpo_transport.elimination.read_links`.
    Delta
        Bare detuning (drive minus cavity).
    F
        Drive amplitude, complex.
    g
        Coupling per photon, real.
    gamma_c
        Optical loss rate, > 0.
    gamma_m, omega
        Mechanical loss rate >= 0 and frequency, not zero.
    starts, seed
        Newton's method is started from this many fields, uniform and random detuning shifts; what it finds is
        reproducible, but completeness is not guaranteed (a uniform ring has one or three uniform roots, and can have
        others that break its symmetry).

    Scalars or one value per cell.

    Raises
    ------
    InputError
        Naming the argument that is wrong.
    ConvergenceError
        If no start converges.

    Examples
    --------
    One cell, strongly driven, has three roots; the middle one is unstable, and so is the last, detuned to the blue:

    >>> roots = mean_fields([[0]], J=0, Delta=-1.0, F=2.4, g=0.1, gamma_c=0.5, gamma_m=0.05)
    >>> [(round(float(root.photons[0]), 3), root.is_stable) for root in roots]
    [(7.261, True), (33.467, False), (59.334, False)]
    """
    links = read_links(adjacency, J)
    L = links.L
    problem = _Problem(
        links,
        per_item(Delta, L, "Delta", "cell", real=True),
        per_item(F, L, "F", "cell"),
        per_item(g, L, "g", "cell", real=True),
        per_item(gamma_c, L, "gamma_c", "cell", least=0),
        per_item(gamma_m, L, "gamma_m", "cell", least=0),
        per_item(omega, L, "omega", "cell", real=True),
    )
    if np.any(problem.gamma_c == 0):
        raise InputError(
            "Argument `gamma_c` must be > 0: a driven mode without loss has no steady field.", field="gamma_c"
        )
    if np.any(problem.omega == 0):
        raise InputError("Argument `omega` must not be zero.", field="omega")
    if isinstance(starts, bool) or not isinstance(starts, (int, np.integer)) or starts < 1:
        raise InputError(f"Argument `starts` must be an integer >= 1, but is {starts!r}.", field="starts")
    found: list[np.ndarray] = []
    for shift in problem.shifts(int(starts), seed):
        alpha = problem.newton(problem.linear_field(shift))
        if alpha is not None and not any(_same(alpha, other) for other in found):
            found.append(alpha)
    if not found:
        raise ConvergenceError(
            f"None of {starts} starts of Newton's method reached a mean field; raise `starts` or change `seed`."
        )
    return sorted((problem.root(a) for a in found), key=lambda r: float(r.photons.sum()))


def linearised_drift(
    links: Links, Dt: np.ndarray, G: np.ndarray, gamma_c: np.ndarray, gamma_m: np.ndarray, omega: np.ndarray
) -> np.ndarray:
    """Return the drift of (c, d, c^+, d^+) in the full linearised model, shape (4L, 4L)."""
    L = links.L
    zero, coupling = np.zeros((L, L)), -np.diag(G)
    h = np.block([[links.matrix - np.diag(Dt), coupling], [coupling.conj().T, np.diag(omega)]])
    k = np.block([[zero, coupling], [coupling, zero]])
    loss = np.diag(np.sqrt(np.concatenate([gamma_c, gamma_m])))
    return nambu_equations(h, k, loss, np.zeros_like(loss))[0]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() <= 1e-6 * max(np.abs(a).max(), np.abs(b).max(), 1e-300))


@dataclass(frozen=True, eq=False)
class _Problem:
    links: Links
    Delta: np.ndarray
    F: np.ndarray
    g: np.ndarray
    gamma_c: np.ndarray
    gamma_m: np.ndarray
    omega: np.ndarray

    @cached_property
    def slope(self) -> np.ndarray:
        """d Dt/d|alpha|^2."""
        return 2 * self.g**2 * self.omega / (self.omega**2 + self.gamma_m**2 / 4)

    @cached_property
    def bare(self) -> np.ndarray:
        return optical_matrix(self.links, self.Delta, self.gamma_c)

    def shifts(self, count: int, seed: int) -> list[np.ndarray]:
        """Detuning shifts to start from: none, uniform ones over all scales, and random ones."""
        rng = np.random.default_rng(seed)
        bound = np.linalg.norm(self.F) / (self.gamma_c.min() / 2)  # |alpha| of the lossiest estimate
        largest = float(np.abs(self.slope).max() * bound**2)
        sign = np.sign(self.slope)
        L = self.links.L
        if largest == 0:
            return [np.zeros(L)]
        lowest = max(1e-3 * float(self.gamma_c.min()), 1e-12 * largest)
        top = max(largest, 10 * lowest)
        uniform = np.geomspace(lowest, top, max(count // 2, 1))
        out = [np.zeros(L), *(sign * x for x in uniform)]
        while len(out) < count and L > 1:
            out.append(sign * np.exp(rng.uniform(np.log(lowest), np.log(top), L)))
        return out[: max(count, 1)]

    def linear_field(self, shift: np.ndarray) -> np.ndarray:
        return np.linalg.solve(self.bare - np.diag(shift), -self.F)

    def value(self, alpha: np.ndarray) -> np.ndarray:
        return self.bare @ alpha - self.slope * np.abs(alpha) ** 2 * alpha + self.F

    def newton(self, alpha: np.ndarray) -> np.ndarray | None:
        """Damped Newton iteration in real coordinates; None if it does not converge."""
        L = self.links.L
        scale = max(float(np.abs(self.F).max()), 1e-300)
        f = self.value(alpha)
        for _ in range(_STEPS):
            size = float(np.abs(f).max())
            if size <= 1e-14 * scale:
                return alpha
            P = self.bare - np.diag(2 * self.slope * np.abs(alpha) ** 2)
            Q = -np.diag(self.slope * alpha**2)
            jacobian = np.block([[(P + Q).real, -(P - Q).imag], [(P + Q).imag, (P - Q).real]])
            try:
                step = np.linalg.solve(jacobian, -np.concatenate([f.real, f.imag]))
            except np.linalg.LinAlgError:
                return None
            move, damping = step[:L] + 1j * step[L:], 1.0
            while True:
                trial = alpha + damping * move
                new = self.value(trial)
                if float(np.abs(new).max()) < size:
                    alpha, f = trial, new
                    break
                damping /= 2
                if damping < 1e-6:  # rounding floor, or a stationary point of the residual
                    return alpha if size <= 1e-10 * scale else None
        return None

    def root(self, alpha: np.ndarray) -> MeanField:
        photons = np.abs(alpha) ** 2
        Dt = self.Delta + self.slope * photons
        G = self.g * alpha
        drift = linearised_drift(self.links, Dt, G, self.gamma_c, self.gamma_m, self.omega)
        scale = max(float(np.abs(self.F).max()), 1e-300)
        return MeanField(
            alpha,
            self.g * photons / (self.omega - 0.5j * self.gamma_m),
            Dt,
            G,
            float(np.linalg.eigvals(drift).real.max()),
            float(np.abs(self.value(alpha)).max()) / scale,
        )
