"""What an exact solution says about itself: status, error estimate, number of stationary operators, remarks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..model import Lindbladian
from ..result import Status
from .base import Iterate
from .exact_evolve import Propagator
from .exact_factor import ZERO
from .exact_sectors import Generator
from .exact_stages import NULL_RATIO, Ledger, Settings

__all__ = ["Work", "error_estimate", "final_status", "is_complete", "notes_of", "plan_text", "strong_sectors"]

SLOW = 1e-6
"""Relaxation rate below which the certificate remarks on slow relaxation."""


@dataclass(frozen=True, eq=False)
class Work:
    """What ``prepare`` makes: generator, solver of each block (``plan`` and its text), strong-symmetry sectors."""

    model: Lindbladian
    tol: float
    settings: Settings
    generator: Generator
    plan: tuple[str, ...]
    text: str
    strong: int
    propagator: Propagator


def strong_sectors(model: Lindbladian) -> int:
    """Return the number of joint eigenspaces of the strong symmetries found in the text: each holds a steady state.

    >>> from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, op
    >>> strong_sectors(Lindbladian(Chain(2, SpinHalf()), None, [Jump(op("Z", 0))]))
    4
    """
    strong = [s for s in model.conserved if s.strength == "strong"]
    if not strong:
        return 1
    labels = np.zeros((1, len(strong)))
    for site, space in enumerate(model.lattice.spaces):
        number = np.asarray(space.number if space.number is not None else np.zeros(int(space.dim)))
        change = np.array([[s.weights[site] * (n - number[0]) for s in strong] for n in number])
        labels = (labels[:, None, :] + change[None, :, :]).reshape(-1, len(strong))
        modulus = np.array([2.0 if s.group == "Z2" else math.inf for s in strong])
        labels = np.unique(np.where(np.isfinite(modulus), np.mod(np.rint(labels), 2), np.rint(labels)), axis=0)
    return len(labels)


def plan_text(generator: Generator, plan: tuple[str, ...]) -> str:
    """Return one line that says how the blocks are solved."""
    if not plan:
        return "nothing to solve"
    parts = []
    for kind, words in (
        ("dense", "singular values"),
        ("direct", "sparse LU"),
        ("iterative", "GCROT iterations" + ("" if generator.matrix is not None else ", generator applied matrix-free")),
    ):
        sizes = [s.size for s, p in zip(generator.sectors, plan, strict=True) if p == kind]
        if sizes:
            parts.append(f"{kind} ({words}) for {len(sizes)} block(s) of up to {max(sizes)} operators")
    return "; ".join(parts)


def is_complete(work: Work, numbers: Mapping[str, Any]) -> bool:
    """Return whether the number of stationary operators was determined."""
    searched = work.settings.check or "iterative" not in work.plan
    return searched and not numbers["undecided"] and not numbers["stalled"]


def _resolution(work: Work) -> float:
    """Return the rate below which a mode cannot be told from a stationary one."""
    return (NULL_RATIO if "iterative" in work.plan else ZERO) * work.generator.norm


def error_estimate(work: Work, ledger: Ledger, x: np.ndarray, residual: float) -> float:
    """Bound |Tr(O drho)| <= |O|_HS |drho|_HS for |O| = 1: sqrt(D) / sigma_min times residual and rounding."""
    smallest = ledger.numbers["smallest"]
    gain = max(0.0 if smallest is None else 1 / smallest, ledger.numbers["gain"])
    rounding = np.finfo(float).eps * work.generator.norm * float(np.linalg.norm(x))
    return float(work.generator.size**0.25 * gain * (residual + rounding))


def final_status(work: Work, ledger: Ledger, x: np.ndarray, selected: bool) -> Status:
    """Return how the calculation ended; ``selected``: an initial state picks one member of a manifold."""
    numbers = ledger.numbers
    if not np.all(np.isfinite(x)) or not math.isfinite(numbers["error"]):
        return Status.NOT_FINITE
    if numbers["stalled"]:
        return Status.NOT_CONVERGED
    found = 1 + len(ledger.arrays["right"])
    resolved = found == numbers["dimension"] and len(ledger.arrays["right"]) == len(ledger.arrays["left"])
    if numbers["dimension"] > 1 and not (selected and resolved):
        return Status.NOT_UNIQUE
    return Status.CONVERGED if numbers["error"] <= work.tol and not numbers["undecided"] else Status.NOT_CONVERGED


def notes_of(work: Work, iterate: Iterate) -> list[str]:
    """Return the remarks of the certificate."""
    numbers = iterate.scalars
    notes = [f"solver: {numbers['solver']}"]
    if numbers.get("preconditioners"):
        notes.append("preconditioner: " + ", ".join(sorted(set(numbers["preconditioners"].values()))))
    if numbers.get("stage") != "finish":
        return notes
    dimension = int(numbers["dimension"])
    found = 1 + len(iterate.arrays.get("right", ()))
    if not work.settings.check and "iterative" in work.plan:
        notes.append("uniqueness was not checked (check_uniqueness=False)")
    if dimension > found:
        notes.append(f"strong symmetries give at least {dimension} stationary operators; {found} were determined")
    if dimension > 1 and dimension == found:
        reached = "the given initial state" if "initial" in iterate.arrays else "the maximally mixed state"
        notes.append(
            f"{dimension} stationary operators (relaxation rates below {_resolution(work):.1g} count as zero); the "
            f"state shown is the one reached from {reached}"
        )
    if numbers["frequencies"]:
        listing = ", ".join(f"{w:.6g}" for w in numbers["frequencies"][:4])
        notes.append(
            f"{2 * len(numbers['frequencies'])} undamped oscillating modes (eigenvalues +-i omega, omega = {listing}): "
            "the long-time state is a time average"
        )
    slow = numbers["slowest"] if numbers["slowest"] is not None else numbers["smallest"]
    if slow is not None and slow < SLOW:
        notes.append(f"slow relaxation: the smallest eigenvalue beside zero is about {slow:.2g}")
    if numbers["undecided"]:
        notes.append("the search for further stationary operators was inconclusive; try solver='direct'")
    if numbers["stalled"]:
        notes.append("the iterative solve ended before reaching rtol; raise max_iterations or try solver='direct'")
    return notes
