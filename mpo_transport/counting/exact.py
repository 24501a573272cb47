"""Counting statistics by exact diagonalisation: the tilted Lindbladian on the sector of the steady state.

    L_s rho = L rho + sum_m ( e^{-s_m} - 1 ) rate_m L_m rho L_m^+

The field dependence of eigenvalue and eigenoperator is expanded in powers of s.  With L_s = sum_k s^k L^(k),
rho_s = sum_n s^n rho_n, Tr rho_s = 1 and theta = sum_n s^n theta_n,

    theta_n = Tr sum_{k=1}^n L^(k) rho_{n-k}
    L rho_n = sum_{k=0}^{n-1} theta_{n-k} rho_k - sum_{k=1}^n L^(k) rho_{n-k}

and one factorisation of L, whose redundant row is replaced by the trace, serves all orders.
C. Flindt, T. Novotny, A. Braggio, A.-P. Jauho, Phys. Rev. B 82, 155407 (2010).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from ..errors import ConvergenceError, DegenerateSteadyStateError, InsufficientMemoryError
from ..model import Lindbladian
from ..solve.resources import memory_limit, readable_bytes
from ..spectrum.blocks import BlockBuilder, sector_entries, sector_size
from ..spectrum.labels import Sector, Sectors
from ..superoperator.terms import require_bounded

__all__ = ["LARGEST_SECTOR", "ExactCounting", "sector_of_counting"]

# Largest sector that is factorised, and up to which eigenvalues are taken densely.
LARGEST_SECTOR = 24000
DENSE = 300
# Steps of the imaginary part along which an eigenvalue is followed.
STEP = 0.2
# Relative residual |L rho - b| / |b| up to which a solve counts.
ACCEPTED = 1e-8
ROUNDING = 1e-13
# Relaxation rates below this fraction of |L| cannot be told from zero.
DEGENERATE = 1e-14


def sector_of_counting(model: Lindbladian, table: np.ndarray) -> tuple[Sectors, Sector]:
    """Return the sector that holds the steady state and is kept by every counted jump on its own.

    Raises
    ------
    DegenerateSteadyStateError
        If a strong symmetry splits it: every one of its sectors holds a steady state.
    """
    # symmetries that rest on a cancellation between jumps are lost with fields: look with unequal rates
    counted, number = np.any(table, axis=1), 0
    jumps = []
    for jump in model.jumps:
        if jump.rate > 0:
            # changed rates by amounts without a simple relation
            factor = 1 + 0.1 * math.sqrt(2 + number) if counted[number] else 1.0
            jumps.append(replace(jump, rate=jump.rate * factor))
            number += 1
    generic = Lindbladian(model.lattice, model.hamiltonian, jumps)
    sectors = Sectors(generic, lattice_symmetries=False)
    own = [s for s in sectors.all if any(a == b for a, b in s.pairs)]
    if len(own) > 1:
        raise DegenerateSteadyStateError(
            f"The steady state is not unique: a strong symmetry keeps {len(own)} sectors apart. Counting statistics "
            "then depend on the initial state; add a term that joins the sectors.",
            dimension=len(own),
        )
    return sectors, own[0]


class ExactCounting:
    """Counting statistics of a bounded model from its tilted Lindbladian.

    Parameters
    ----------
    model
        Sites of finite dimension, a unique steady state.
    table
        Quanta moved by every active jump, shape (jumps, n).

    Raises
    ------
    InsufficientMemoryError
        If the sector of the steady state is too large to be factorised.
    DegenerateSteadyStateError
        If the steady state is not unique.
    """

    def __init__(self, model: Lindbladian, table: np.ndarray) -> None:
        require_bounded(model)
        self.model, self.table = model, table
        sectors, self.sector = sector_of_counting(model, table)
        size = sector_size(sectors, self.sector)
        limit, source = memory_limit()
        need = 120.0 * sector_entries(model, sectors, self.sector) + 3.0 * size**2
        if size > LARGEST_SECTOR or need > limit:
            raise InsufficientMemoryError(
                f"The sector of the steady state has {size:.6g} operators; exact counting factorises up to "
                f"{LARGEST_SECTOR} (about {readable_bytes(need)}, {readable_bytes(limit)} available, {source}). Use "
                "fewer levels, or a matrix-product method such as TEBD().",
                field="method",
            )
        self.builder = BlockBuilder(model, sectors)
        self.block = self.builder.build(self.sector)  # in Hermitian operators: everything is real
        self.generator = self.block.matrix
        self.trace_row = self._adapted_trace()
        self.charges, self.groups = self._grouped()

    def _adapted_trace(self) -> np.ndarray:
        units = (self.block.kets == self.block.bras).astype(float)
        basis = self.block.isometry
        return units if basis is None else (basis.T @ units).real

    def _adapted(self, units: sp.csr_array) -> sp.csr_array:
        basis = self.block.isometry
        return units.real if basis is None else sp.csr_array((basis.conj().T @ (units @ basis)).real)

    def _grouped(self) -> tuple[np.ndarray, list[sp.csr_array]]:
        rows = [tuple(r) for r in self.table]
        kinds = sorted({r for r in rows if any(r)})
        weights = [np.array([float(r == kind) for r in rows]) for kind in kinds]
        matrices = [self._adapted(self.builder.recycling(self.sector, w)) for w in weights]
        return np.reshape(kinds, (len(kinds), self.table.shape[1])), matrices

    @property
    def columns(self) -> int:
        """Number of counted quantities n."""
        return int(self.table.shape[1])

    def _applied(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return sum_g weights[g] J_g x."""
        out = np.zeros(len(x))
        for weight, matrix in zip(weights, self.groups, strict=True):
            if weight:
                out = out + weight * (matrix @ x)
        return out

    # -- expansion in the fields ---------------------------------------------------------------------------------------

    @cached_property
    def _factors(self) -> tuple[sla.SuperLU, sp.csr_array, int]:
        """Factors of L with one redundant row replaced by the trace.

        They are singular exactly if the sector holds further stationary operators.  Those of other sectors have no
        trace and do not touch the statistics.
        """
        row = int(np.argmax(np.abs(self.trace_row)))
        matrix = sp.lil_array(self.generator)
        matrix[row] = self.trace_row * self._norm / len(self.trace_row)
        square = sp.csc_array(matrix)
        n = square.shape[0]
        try:
            factors = sla.splu(square)
            inverse = sla.LinearOperator(
                (n, n), factors.solve, rmatvec=lambda x: factors.solve(x, trans="T"), dtype=float
            )
            size = float(sla.onenormest(inverse)) if n > 1 else abs(1 / factors.solve(np.ones(1))[0]) ** -1
        except RuntimeError:
            size = np.inf
        if not size * self._norm < 1 / DEGENERATE:
            raise DegenerateSteadyStateError(
                "The steady state is not unique: the Lindbladian has further stationary operators, so that counting "
                "statistics depend on the initial state.",
                dimension=2,
            )
        return factors, sp.csr_array(square), row

    def _solved(self, right: np.ndarray, trace: float = 0.0) -> np.ndarray:
        """Return the x of the given trace with L x = right, for a traceless right-hand side."""
        factors, matrix, row = self._factors
        b = right.copy()
        b[row] = trace * self._norm / len(self.trace_row)
        x = factors.solve(b)
        for _ in range(2):
            x = x + factors.solve(b - matrix @ x)
        rest = float(np.linalg.norm(self.generator @ x - right))
        if not rest <= ACCEPTED * float(np.linalg.norm(right)) + ROUNDING * self._norm * float(np.linalg.norm(x)):
            raise ConvergenceError("A linear solve with the Lindbladian failed: the model is too close to degenerate.")
        return x

    @cached_property
    def _norm(self) -> float:
        return float(abs(self.generator).sum(axis=0).max())

    @cached_property
    def _steady(self) -> np.ndarray:
        """The steady state, from the same factors as everything else."""
        return self._solved(np.zeros(len(self.trace_row)), 1.0)

    def flows(self) -> np.ndarray:
        """Return -d theta/d s_i at s = 0, shape (n,)."""
        rates = self._rates
        return np.array([float(self.charges[:, i] @ rates) for i in range(self.columns)])

    @cached_property
    def _rates(self) -> np.ndarray:
        """Jumps per time of every group."""
        return np.array([float(self.trace_row @ (m @ self._steady)) for m in self.groups])

    def noise(self) -> np.ndarray:
        """Return d^2 theta/ds_i ds_j at s = 0, shape (n, n)."""
        n, flows = self.columns, self.flows()
        images = [self._applied(self._steady, self.charges[:, i]) for i in range(n)]
        first = [self._solved(f * self._steady - x) for f, x in zip(flows, images, strict=True)]
        out = np.zeros((n, n))
        for i in range(n):
            for j in range(i, n):
                cross = self.trace_row @ (
                    self._applied(first[j], self.charges[:, i]) + self._applied(first[i], self.charges[:, j])
                )
                poisson = float((self.charges[:, i] * self.charges[:, j]) @ self._rates)
                out[i, j] = out[j, i] = float(cross) + poisson
        return out

    def cumulants(self, order: int) -> np.ndarray:
        """Return c_1 .. c_order of the single column, shape (order,)."""
        charges = self.charges[:, 0]
        rho, theta = [self._steady], [0.0]
        for n in range(1, order + 1):
            source = sum(
                (self._applied(rho[n - k], (-charges) ** k / math.factorial(k)) for k in range(1, n + 1)),
                np.zeros(len(rho[0])),
            )
            theta.append(float(self.trace_row @ source))
            if n < order:
                right = sum((theta[n - k] * rho[k] for k in range(n)), -source)
                rho.append(self._solved(right))
        return np.array([((-1) ** n * math.factorial(n) * theta[n]) for n in range(1, order + 1)])

    # -- generating function -------------------------------------------------------------------------------------------

    def tilted(self, s: np.ndarray) -> sp.csr_array:
        """Return L_s on the sector for fields s, shape (n,)."""
        total = self.generator
        for charges, matrix in zip(self.charges, self.groups, strict=True):
            total = total + np.expm1(-(charges @ s)) * matrix
        return sp.csr_array(total)

    def theta(self, s: np.ndarray) -> complex:
        """Return theta(s): the largest eigenvalue for real fields, continued from there for complex ones."""
        s = np.asarray(s)
        value, vector = self._largest(np.real(s).astype(float))
        if not np.iscomplexobj(s) or not np.any(np.imag(s)):
            return complex(value.real)
        turns = float(np.abs(self.charges @ np.imag(s)).max(initial=0.0))
        steps = max(2, math.ceil(turns / STEP))
        for k in range(1, steps + 1):
            value, vector = self._followed(np.real(s) + 1j * np.imag(s) * k / steps, value, vector)
        return value

    def _largest(self, s: np.ndarray) -> tuple[complex, np.ndarray]:
        """Eigenvalue of largest real part for real s: real, with a positive operator (Perron and Frobenius)."""
        matrix = self.tilted(s)
        if matrix.shape[0] <= DENSE:
            values, vectors = sl.eig(matrix.toarray())
            k = int(np.argmax(values.real))
            return complex(values[k]), vectors[:, k]
        # no eigenvalue of a positive map exceeds the largest of its adjoint on the identity; seen from above on the
        # real axis the dominant one is the closest
        adjoint = matrix.T @ self.trace_row
        diagonal = self.block.operator(adjoint)
        bound = float(np.linalg.eigvalsh((diagonal + diagonal.conj().T) / 2)[-1])
        scale = float(np.abs(matrix.diagonal()).max(initial=1e-300))
        value, vector = self._nearest(matrix, bound + 1e-3 * scale, self._steady)
        return self._nearest(matrix, value.real + 1e-5 * scale, vector)

    def _followed(self, s: np.ndarray, value: complex, vector: np.ndarray) -> tuple[complex, np.ndarray]:
        matrix = self.tilted(s)
        if matrix.shape[0] <= DENSE:
            values, vectors = sl.eig(matrix.toarray())
            k = int(np.argmax(np.abs(vectors.conj().T @ (vector / np.linalg.norm(vector)))))
            return complex(values[k]), vectors[:, k]
        scale = float(np.abs(matrix.diagonal()).max(initial=1e-300))
        return self._nearest(matrix, value + 1e-4 * scale, vector)

    @staticmethod
    def _nearest(matrix: sp.csr_array, shift: complex, start: np.ndarray) -> tuple[complex, np.ndarray]:
        """Eigenpair closest to the shift: the largest for a real one, else the one most like ``start``."""
        kind = complex if np.iscomplexobj(matrix) else float
        first = start.astype(complex) if kind is complex else np.real(start)
        try:
            values, vectors = sla.eigs(sp.csc_array(matrix), k=2, sigma=shift, v0=first, tol=1e-13)
        except (RuntimeError, sla.ArpackError) as error:
            raise ConvergenceError(
                f"The dominant eigenvalue of the tilted Lindbladian was not found: {error}."
            ) from None
        if kind is float:
            k = int(np.argmax(values.real))
        else:
            k = int(np.argmax(np.abs(vectors.conj().T @ (start / np.linalg.norm(start)))))
        return complex(values[k]), vectors[:, k]
