"""Numerical kernels of cluster mean field: Newton, stiff flow, stability of a fixed point.

All of them work on the coefficients listed in ``active`` (traces never, odd coefficients only where the parity may
break) and leave the others as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
import scipy.linalg as sla
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from .cluster_equations import ClusterEquations

__all__ = ["Flow", "Stability", "flow", "is_physical", "newton", "residual", "stability", "trajectory"]

DENSE_LIMIT = 1500  # unknowns up to which Jacobians are written out as dense matrices
_DENSE_MOMENTA = 600  # the same for the scan over momenta, where only the leading eigenvalue matters
_FLOW_RTOL, _FLOW_ATOL = 1e-6, 1e-9
_SETTLED = 1e-9  # |f| / rate below which a flow has arrived


@dataclass(frozen=True)
class Flow:
    """Where a piece of flow ended: coefficients, time, steps taken, residual, and whether it came to rest."""

    x: np.ndarray
    time: float
    steps: int
    residual: float
    settled: bool


@dataclass(frozen=True)
class Stability:
    """Leading eigenvalue of the linearised equations around a fixed point (unit: rate).

    Attributes
    ----------
    growth_rate
        Largest real part among perturbations within the ansatz.
    frequency
        Imaginary part of that eigenvalue.
    mode
        Its real eigenvector (real part), norm 1, as coefficients.
    ring_growth_rate, momentum
        Largest real part among all perturbations of the whole ring, and the momentum per unit cell where it occurs.
    momenta
        How many of the inequivalent momenta of the ring were looked at, as "k of n".
    zero_modes
        Number of eigenvalues that vanish to rounding.
    """

    growth_rate: float
    frequency: float
    mode: np.ndarray
    ring_growth_rate: float
    momentum: float
    momenta: str
    zero_modes: int


def residual(equations: ClusterEquations, x: np.ndarray) -> float:
    """Return ||f(x)|| / ||x||."""
    return float(np.linalg.norm(equations.rhs(x)) / np.linalg.norm(x))


def is_physical(equations: ClusterEquations, x: np.ndarray, slack: float = 1e-9) -> bool:
    """Return whether every cluster density matrix is finite and positive up to ``slack``."""
    return bool(np.all(np.isfinite(x))) and all(np.linalg.eigvalsh(rho).min() > -slack for rho in equations.unpack(x))


def newton(equations: ClusterEquations, x: np.ndarray, active: np.ndarray, most: int = 40) -> tuple[np.ndarray, bool]:
    """Return the fixed point reached from ``x`` by damped Newton steps, and whether rounding accuracy was reached.

    The analytic Jacobian is used; singular directions (a broken continuous symmetry) get the shortest step.  A step is
    accepted if the residual or the next Newton correction with the same Jacobian shrinks: close to an instability the
    residual alone would ask for tiny steps.
    """
    x = x.copy()
    f = equations.rhs(x)[active]
    goal, floor = 1e-12 * equations.rate, 1e-17 * equations.rate
    for _ in range(most):
        value = np.linalg.norm(f)
        if value <= floor or not np.isfinite(value):
            break
        solve = _inverse(equations.jacobian(x), active)
        step = solve(f)
        length, damping = np.linalg.norm(step), 1.0
        while True:
            trial = x.copy()
            trial[active] -= damping * step
            new = equations.rhs(trial)[active]
            size = np.linalg.norm(new)
            if size < value or np.linalg.norm(solve(new)) < (1 - damping / 2) * length:
                break
            damping /= 2
            if damping < 1e-4:
                return x, bool(value <= goal)
        x, f = trial, new
        if value <= goal and size > 0.5 * value:
            break
    return x, bool(np.linalg.norm(f) <= goal)


def _inverse(jacobian: sp.csr_array, active: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the map f -> J^-1 f on the active coefficients (least squares where J is singular)."""
    block = jacobian[active][:, active]
    if len(active) > DENSE_LIMIT:
        try:
            factored = spla.splu(sp.csc_array(block))
        except RuntimeError:  # exactly singular: a shift far below the rates makes the step along zero modes finite
            shift = 1e-12 * float(np.abs(block.data).max(initial=1e-300))
            factored = spla.splu(sp.csc_array(block - shift * sp.eye_array(len(active))))
        return lambda f: np.asarray(factored.solve(f))
    dense = block.toarray()
    if len(active) > 300:  # a full least-squares solve is slow; it is needed only where LU is singular
        lu, pivots, _ = sla.lapack.dgetrf(dense)
        diagonal = np.abs(np.diag(lu))
        if diagonal.min() > 1e-13 * diagonal.max():
            return lambda f: np.asarray(sla.lu_solve((lu, pivots), f))
    u, s, vh = np.linalg.svd(dense)
    inverse = np.where(s > 1e-14 * s[0], 1 / np.where(s > 0, s, 1.0), 0.0)
    return lambda f: np.asarray(vh.T @ (inverse * (u.T @ f)))


def flow(equations: ClusterEquations, x: np.ndarray, active: np.ndarray, time: float, steps: int) -> Flow:
    """Follow dx/dt = f(x) for at most ``steps`` adaptive implicit steps, or until it comes to rest."""
    rhs, jacobian = _restricted(equations, x, active)
    solver = scipy.integrate.BDF(
        rhs, time, x[active], 1e15 / equations.rate, rtol=_FLOW_RTOL, atol=_FLOW_ATOL, jac=jacobian
    )
    size = np.linalg.norm(rhs(time, x[active]))
    taken = 0
    while taken < steps and size > _SETTLED * equations.rate and solver.status == "running":
        solver.step()
        taken += 1
        size = np.linalg.norm(rhs(solver.t, solver.y))
    out = x.copy()
    out[active] = solver.y
    return Flow(out, float(solver.t), taken, float(size / np.linalg.norm(out)), bool(size <= _SETTLED * equations.rate))


def trajectory(
    equations: ClusterEquations, x: np.ndarray, start: float, stop: float, rtol: float, *, stiff: bool = False
) -> np.ndarray:
    """Return x at time ``stop``, integrated from ``start`` with relative tolerance ``rtol`` (implicitly if ``stiff``).

    Raises
    ------
    FloatingPointError
        If the integrator gives up.
    """
    active = equations.free
    rhs, jacobian = _restricted(equations, x, active)
    options: dict[str, Any] = {"method": "Radau", "jac": jacobian} if stiff else {"method": "DOP853"}
    answer = scipy.integrate.solve_ivp(
        rhs, (start, stop), x[active], rtol=rtol, atol=1e-2 * rtol, t_eval=[stop], **options
    )
    if not answer.success or not np.all(np.isfinite(answer.y)):
        raise FloatingPointError(f"the mean-field equations could not be integrated to t = {stop:g}: {answer.message}")
    out = x.copy()
    out[active] = answer.y[:, -1]
    return out


def _restricted(
    equations: ClusterEquations, x: np.ndarray, active: np.ndarray
) -> tuple[Callable[[float, np.ndarray], np.ndarray], Callable[[float, np.ndarray], np.ndarray]]:
    full = x.copy()

    def filled(y: np.ndarray) -> np.ndarray:
        full[active] = y
        return full

    def rhs(_t: float, y: np.ndarray) -> np.ndarray:
        return np.asarray(equations.rhs(filled(y))[active])

    def jacobian(_t: float, y: np.ndarray) -> np.ndarray:
        block = equations.jacobian(filled(y))[active][:, active]
        return block.toarray() if len(active) <= DENSE_LIMIT else sp.csc_array(block)

    return rhs, jacobian


def stability(equations: ClusterEquations, x: np.ndarray, active: np.ndarray | None = None) -> Stability:
    """Return the leading eigenvalue of the linearisation around ``x`` for perturbations of ``active`` coefficients.

    The momenta of the whole ring are scanned as far as their number and the cluster size allow.
    """
    active = equations.free if active is None else active
    values, vector = _leading(equations.jacobian(x), active)
    best = int(np.argmax(values.real))
    growth = float(values[best].real)
    mode = np.zeros(equations.size)
    mode[active] = vector
    ring, momentum = growth, 0.0
    cells = equations.number_of_cells
    momenta = _momenta(cells, len(active))
    for k in momenta:
        at_k = _eigenvalues(equations.jacobian(x, k), active).real.max()
        if at_k > ring + 1e-12 * equations.rate:
            ring, momentum = float(at_k), float(k)
    zero = int(np.sum(np.abs(values) < 1e-10 * equations.rate))
    scanned = f"{1 + len(momenta)} of {1 + cells // 2}"
    return Stability(growth, float(values[best].imag), mode, ring, momentum, scanned, zero)


def _momenta(cells: int, unknowns: int) -> list[float]:
    """Return momenta 2 pi m / cells in (0, pi]: all of them if cheap, otherwise a selection with the largest one."""
    indices = np.arange(1, cells // 2 + 1)
    most = max(1, int(2e8 / max(unknowns, 1) ** 3))
    if len(indices) > most:
        indices = np.unique(np.linspace(cells // 2, 1, most).round().astype(int))
    return [float(2 * np.pi * m / cells) for m in indices]


def _eigenvalues(jacobian: sp.csr_array, active: np.ndarray) -> np.ndarray:
    if len(active) > _DENSE_MOMENTA:
        return _sparse_leading(sp.csc_array(jacobian[active][:, active]))[0]
    return np.linalg.eigvals(jacobian[active][:, active].toarray())


def _sparse_leading(block: sp.csc_array) -> tuple[np.ndarray, np.ndarray]:
    # shift-invert to the right of the spectrum finds the largest real parts, the better the closer;
    # a fixed start vector keeps runs reproducible
    scale = float(np.abs(block.diagonal()).max() or 1.0)
    values, vectors = spla.eigs(block, k=12, sigma=0.05 * scale, v0=np.ones(block.shape[0]))
    return values, vectors


def _leading(jacobian: sp.csr_array, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (leading) eigenvalues and the real part of the eigenvector with the largest real part."""
    block = jacobian[active][:, active]
    n = len(active)
    if n <= DENSE_LIMIT:
        values, vectors = np.linalg.eig(block.toarray())
    else:
        values, vectors = _sparse_leading(sp.csc_array(block))
    vector = vectors[:, int(np.argmax(values.real))]
    # fix the phase by the largest entry, so that the real part is not an accident of the eigensolver
    vector = np.real(vector * np.exp(-1j * np.angle(vector[int(np.argmax(np.abs(vector)))])))
    return values, vector / np.linalg.norm(vector)
