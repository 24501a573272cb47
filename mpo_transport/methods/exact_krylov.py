"""Preconditioned Krylov solves that can be stopped after any chunk and go on bit for bit.

The solver is GCROT(m, k) [E. de Sturler, SIAM J. Numer. Anal. 36, 864 (1999); scipy's ``gcrotmk``], restarted GMRES
that carries k directions from one cycle to the next: unlike BiCGStab it cannot break down, and its memory is plain
arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse.linalg as sla

from .exact_sectors import Generator, Sector

__all__ = [
    "COST",
    "LinearProblem",
    "Preconditioners",
    "Progress",
    "deepest",
    "linear_problem",
    "preconditioners",
    "run_chunk",
]

Apply = Callable[[np.ndarray], np.ndarray]
Preconditioners = dict[str, tuple[Apply, Apply]]

COST = {"rows": 1.0, "one-site": 3.5}
"""Measured cost of one iteration with a preconditioner, relative to the cheapest (spins, L = 7, 8)."""


@dataclass(frozen=True)
class LinearProblem:
    """A x = b: product, approximate inverse and right-hand side."""

    apply: Apply
    precondition: Apply
    b: np.ndarray


@dataclass(frozen=True)
class Progress:
    """Where an iterative solve stands: iterate x, recycled directions U (k, n) and their images C (k, n).

    ``gain`` is the largest ratio |change of x| / |residual removed| seen so far, an estimate of |A^-1| that costs
    nothing.
    """

    x: np.ndarray
    C: np.ndarray
    U: np.ndarray
    residual: float
    products: int = 0
    gain: float = 0.0
    slow_chunks: int = 0
    depth: int = 40

    @classmethod
    def begin(cls, problem: LinearProblem, x: np.ndarray, depth: int) -> Progress:
        """Return the starting point x; ``depth`` is the number of Krylov vectors of the first cycles."""
        none = np.zeros((0, len(x)))
        residual = float(np.linalg.norm(problem.b - problem.apply(x)))
        return cls(x, none, none, residual, products=1, depth=min(depth, max(len(x) - 1, 1)))


def deepest(size: int) -> int:
    """Return the largest sensible depth: four sets of vectors within 0.4 GB, beyond which they also cost most time."""
    return int(min(160, max(10, 4e8 / (32.0 * size)), max(size - 1, 1)))


def run_chunk(problem: LinearProblem, progress: Progress, *, target: float, cycles: int) -> Progress:
    """Return the progress after at most ``cycles`` cycles, or at |b - A x| <= ``target``.

    Every chunk solves for the correction to x from the true residual, which is iterative refinement.  A chunk that
    gains next to nothing doubles the depth of the next one.
    """
    depth = min(progress.depth, deepest(len(progress.x)))
    count = 0

    def product(v: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return problem.apply(v)

    n = len(progress.x)
    r = problem.b - problem.apply(progress.x)
    before = float(np.linalg.norm(r))
    if before <= target or not np.isfinite(before):
        return replace(progress, residual=before, products=progress.products + 1)
    # copies, because the solver combines the recycled vectors in place
    directions = [(c.copy(), u.copy()) for c, u in zip(progress.C, progress.U, strict=True)]
    # scaling to unit norm keeps the solver's own thresholds meaningful for tiny residuals
    step, _ = sla.gcrotmk(
        sla.LinearOperator((n, n), matvec=product, dtype=float),
        r / before,
        rtol=0.0,
        atol=target / before,
        maxiter=cycles,
        M=sla.LinearOperator((n, n), matvec=problem.precondition, dtype=float),
        m=depth,
        k=depth,
        CU=directions,
    )
    step = step * before
    x = progress.x + step
    after = float(np.linalg.norm(problem.b - problem.apply(x)))
    if not after < before:  # usually rounding is all that is left: keep the better vector
        return replace(
            progress,
            residual=before,
            products=progress.products + count + 2,
            slow_chunks=progress.slow_chunks + 2,
            depth=min(2 * depth, deepest(n)),
        )
    return Progress(
        x,
        np.array([problem.apply(u) if c is None else c for c, u in directions]).reshape(-1, n),
        np.array([u for _, u in directions]).reshape(-1, n),
        after,
        progress.products + count + 2,
        max(progress.gain, float(np.linalg.norm(step)) / before),
        progress.slow_chunks + 1 if after > 0.9 * before else 0,
        min(2 * depth, deepest(n)) if after > 0.9 * before and cycles > 1 else depth,
    )


# ----------------------------------------------------------------------------------------------------------------------
# preconditioners


def preconditioners(generator: Generator, sector: Sector) -> Preconditioners:
    """Return the candidates by name: (approximate inverse, its transpose).

    ``"rows"``
        Division by minus the 2-norm of the row (the diagonal alone fails where dissipation is sparse).
    ``"one-site"``
        The exact inverse of the part of L that is a sum of one-site maps, which includes the one-site means of all
        longer-ranged terms, in the eigenbases of the sites.
    """
    rows = -np.where(sector.row_norms > 0, sector.row_norms, 1.0)
    out: Preconditioners = {"rows": (lambda v: v / rows, lambda v: v / rows)}
    one_site = _one_site(generator, sector)
    if one_site is not None:
        out["one-site"] = one_site
    return out


def one_site_part(generator: Generator) -> tuple[list[np.ndarray], float]:
    """Return the one-site maps G_j of the orthogonal projection of L on sum_j G_j, and the RMS row norm of the rest."""
    legs = [d * d for d in generator.dims]
    sums = [np.zeros((leg, leg)) for leg in legs]
    rest = 0.0
    for sites, g in generator.local.items():
        shape = [legs[s] for s in sites]
        n = len(sites)
        tensor = g.reshape(shape + shape)
        mean = float(np.trace(g)) / len(g)
        kept = mean**2
        for k, site in enumerate(sites):
            labels = list(range(n)) + [n if a == k else a for a in range(n)]
            part = np.einsum(tensor, labels, [k, n]) * (legs[site] / len(g))
            part = part - mean * np.eye(legs[site])
            kept += float(np.sum(part**2)) / legs[site]
            sums[site] += part + (mean / n) * np.eye(legs[site])
        rest += max(float(np.sum(g**2)) / len(g) - kept, 0.0)
    return sums, rest**0.5


def _one_site(generator: Generator, sector: Sector) -> tuple[Apply, Apply] | None:
    maps, rest = one_site_part(generator)
    legs = [len(g) for g in maps]
    spectrum = np.zeros((1,) * len(legs), dtype=complex)
    bases: list[np.ndarray] = []
    inverses: list[np.ndarray] = []
    for site, g in enumerate(maps):
        values, vectors = np.linalg.eig(g)
        if np.linalg.cond(vectors) > 1e6:  # close to defective: its eigenbasis would amplify rounding
            return None
        bases.append(vectors)
        inverses.append(np.linalg.inv(vectors))
        spectrum = spectrum + values.reshape([-1 if s == site else 1 for s in range(len(legs))])
    scale = max(rest, 1e-3 * generator.norm, 1e-300)
    spectrum = np.where(np.abs(spectrum) < 1e-3 * scale, -scale, spectrum)

    def transformed(first: list[np.ndarray], last: list[np.ndarray]) -> Apply:
        def apply(v: np.ndarray) -> np.ndarray:
            full = np.zeros(generator.size)
            full[sector.indices] = v
            y = full.reshape(legs).astype(complex)
            for matrix in first:  # each product moves the leg to the end, so that the order is kept
                y = np.tensordot(y, matrix, axes=([0], [1]))
            y /= spectrum
            for matrix in last:
                y = np.tensordot(y, matrix, axes=([0], [1]))
            return np.ascontiguousarray(y.real).ravel()[sector.indices]

        return apply

    transposed = transformed([v.T for v in bases], [w.T for w in inverses])
    return transformed(inverses, bases), transposed


def linear_problem(
    sector: Sector, candidates: Preconditioners, name: str, b: np.ndarray, *, transpose: bool = False
) -> LinearProblem:
    """Return A_s x = b, or the transposed problem, with the named preconditioner."""
    forward, backward = candidates[name]
    if transpose:
        return LinearProblem(sector.apply_transpose, backward, b)
    return LinearProblem(sector.apply, forward, b)
