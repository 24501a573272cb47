"""Cycles of sweeps that settle slow modes of a linear problem at a fixed bond dimension.

Sweeps with few products per local solve keep the residual low, but hardly touch what decays slowly: once the residual
has reached the floor of the truncation it no longer sees slow modes.  An accurate local solve (the Galerkin solution)
moves them, at a residual several times larger, because the projection is oblique; what that adds decays fast.  A cycle
is one sweep of accurate solves with a long implicit step, and a few short, cheap steps that smooth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .linear_sweeps import NEGLIGIBLE, POOR, SMALL_BOND, DualProblem, Relaxed, relax_level

__all__ = ["CYCLES", "Iterates", "first_iterates", "next_iterates", "ordered"]

# Implicit step of the accurate sweep, in units of one over the shift; how often and how far it shrinks if it harms.
LONG, SHORTER, TRIES = 1000.0, 8.0, 3
# Products per accurate local solve up to bond dimension MEDIUM, and the least beyond: the work of a sweep is bounded.
MANY, MEDIUM, LEAST = 100, 32, 40
# Sweeps that smooth: their number, step, and products per local solve.
SMOOTHING, SHORT, FEW = 2, 10.0, 4
# A cycle that ends with a residual larger by this factor has done harm.
HARM = 2.0
# Cycles at a bond dimension beyond those that are settled by many products anyway.
CYCLES = 3


@dataclass(frozen=True)
class Iterates:
    """Solutions of one problem at one bond dimension after successive cycles, the latest last."""

    problem: DualProblem
    bond: int
    kept: tuple[Relaxed, ...]

    @property
    def last(self) -> Relaxed:
        """The latest one."""
        return self.kept[-1]

    @property
    def is_exact(self) -> bool:
        """Whether the latest one is a solution up to rounding."""
        return self.last.residual <= NEGLIGIBLE

    def window(self, size: int) -> tuple[Relaxed, ...]:
        """Return the latest ones, without the start as soon as cycles have followed it."""
        return self.kept[-min(size, max(1, len(self.kept) - 1)) :]

    def advanced(self, cycles: int = 1) -> Iterates:
        """Return the sequence after further cycles, as it is where they do harm or nothing is left to be done."""
        out = self
        for _ in range(cycles):
            new = None if out.is_exact else _cycle(self.problem, out.last, self.bond)
            if new is None:
                break
            out = replace(out, kept=(*out.kept, new))
        return out


def _cycle(problem: DualProblem, start: Relaxed, bond: int) -> Relaxed | None:
    """Return the solution after one cycle; None if every length of the long step does harm."""
    step = LONG
    products = int(np.clip(MANY * MEDIUM // bond, LEAST, MANY))
    for _ in range(TRIES):
        y, _ = problem.sweep(start.y, step / problem.shift, bond, products)
        if all(np.isfinite(t).all() for t in y.tensors):
            for _ in range(SMOOTHING):
                y, _ = problem.sweep(y, SHORT / problem.shift, bond, FEW)
            size = problem.quick_residual(y)
            if size <= HARM * start.residual:
                return Relaxed(y, size, start.step)
        step /= SHORTER
    return None


def first_iterates(problem: DualProblem, bond: int) -> Iterates:
    """Return what the sweeps of a first level end with."""
    return Iterates(problem, bond, (relax_level(problem, None, bond),))


def next_iterates(before: Iterates, bond: int) -> Iterates:
    """Return the iterates of a larger bond dimension, from the latest of a smaller one.

    Small blocks are swept as they are; larger ones go through cycles, at once from a good start.
    """
    problem, start = before.problem, before.last
    if start.residual > POOR:  # cycles may have raised it, and what is poor is begun anew
        start = min(before.kept, key=lambda r: r.residual)
    if before.bond < SMALL_BOND or start.residual > POOR or not problem.is_nearest_neighbour:
        start = relax_level(problem, start, bond)
    out = Iterates(problem, bond, (start,))
    return out if bond <= SMALL_BOND else out.advanced(CYCLES)


def ordered(levels: Sequence[Iterates]) -> list[Iterates]:
    """Return the levels without those that a larger bond dimension has made worse."""
    out: list[Iterates] = []
    for level in levels:
        if not out or level.last.residual <= HARM * out[-1].last.residual:
            out.append(level)
    return out
