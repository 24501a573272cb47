"""The stages of an exact steady state: solve every block, look for null vectors, project.

All that is needed to go on lies in plain numbers and arrays (:class:`Ledger`), and every piece of work is a function of
them, so that a stopped run continues bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .exact_factor import ZERO, dense_block, direct_block
from .exact_krylov import COST, Preconditioners, Progress, linear_problem, preconditioners, run_chunk
from .exact_sectors import Generator, Sector

__all__ = ["NULL_RATIO", "Ledger", "Settings", "finish", "step"]

NULL_RATIO = 1e-12  # |A v| / (|A| |v|) of a vector accepted as stationary by the iterative search
_GONE = 1e-3  # a damped vector shrinks below this part of itself, a stationary one does not
_UNSEEN = (
    1e-6  # a random vector has a part of about 1/sqrt(n) on a null vector; what remains below this is solver error
)
_MOST_NULL_VECTORS = 64
_CHUNK_WORK = 1.0e9  # floating-point operations of one piece of iterative work: about a second


@dataclass(frozen=True)
class Settings:
    """Numerical settings of the iterative solves and of the search for null vectors."""

    rtol: float
    max_products: int
    depth: int
    seed: int
    check: bool


@dataclass(frozen=True)
class Ledger:
    """The state of the calculation: numbers (JSON-able) and arrays.

    Arrays: ``y`` (D^2,) the solution, ``right`` and ``left`` (k, D^2) null vectors found, ``krylov_x``, ``krylov_C``,
    ``krylov_U`` the solve in progress.
    """

    numbers: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def begin(cls, generator: Generator, warm: np.ndarray | None) -> Ledger:
        """Return the ledger before the first stage; ``warm`` is a coefficient vector to start iterations from."""
        y = np.zeros(generator.size) if warm is None else warm.copy()
        y[0] = generator.identity_coefficient
        none = np.zeros((0, generator.size))
        numbers = {
            "stage": "solve",
            "sector": 0,
            "round": 0,
            "products": 0,
            "residual": None,
            "gain": 0.0,
            "smallest": None,
            "slowest": None,
            "frequencies": [],
            "preconditioners": {},
            "undecided": False,
            "stalled": False,
        }
        return cls(numbers, {"y": y, "right": none, "left": none})

    def updated(self, arrays: Mapping[str, np.ndarray] | None = None, **numbers: Any) -> Ledger:
        """Return a copy with changed entries."""
        return Ledger({**self.numbers, **numbers}, {**self.arrays, **(arrays or {})})

    def without_solve(self) -> Ledger:
        """Return a copy that has forgotten the solve in progress."""
        return Ledger(self.numbers, {k: v for k, v in self.arrays.items() if not k.startswith("krylov_")})

    @property
    def progress(self) -> Progress | None:
        """The solve in progress."""
        if "krylov_x" not in self.arrays:
            return None
        n = self.numbers
        return Progress(
            self.arrays["krylov_x"],
            self.arrays["krylov_C"],
            self.arrays["krylov_U"],
            n["krylov_residual"],
            n["krylov_products"],
            n["krylov_gain"],
            n["krylov_slow"],
            n["krylov_depth"],
        )

    def with_progress(self, p: Progress) -> Ledger:
        """Return a copy that remembers the solve in progress."""
        return self.updated(
            {"krylov_x": p.x, "krylov_C": p.C, "krylov_U": p.U},
            krylov_residual=p.residual,
            krylov_products=p.products,
            krylov_gain=p.gain,
            krylov_slow=p.slow_chunks,
            krylov_depth=p.depth,
        )


def step(generator: Generator, plan: tuple[str, ...], settings: Settings, ledger: Ledger) -> Ledger:
    """Return the ledger after one piece of work; ``numbers["stage"]`` is "finish" when only the projection is left."""
    k = ledger.numbers["sector"]
    if k >= len(plan):
        return ledger.updated(stage="finish")
    sector = generator.sectors[k]
    if plan[k] != "iterative":
        return _next_sector(_factorised(generator, sector, plan[k], settings, ledger))
    stage = ledger.numbers["stage"]
    if stage == "solve":
        return _solve(generator, sector, settings, ledger)
    return _search(generator, sector, settings, ledger, side=stage)


def _next_sector(ledger: Ledger) -> Ledger:
    return ledger.without_solve().updated(sector=ledger.numbers["sector"] + 1, stage="solve", round=0)


def _rng(settings: Settings, *key: int) -> np.random.Generator:
    return np.random.default_rng([settings.seed, *key])


# ----------------------------------------------------------------------------------------------------------------------
# blocks that are factorised


def _factorised(generator: Generator, sector: Sector, kind: str, settings: Settings, ledger: Ledger) -> Ledger:
    b = -sector.source * generator.identity_coefficient
    if kind == "dense":
        block = dense_block(sector, b, generator.norm)
    else:
        block = direct_block(sector, b, generator.norm, _rng(settings, 1, int(sector.indices[0])))
    numbers = ledger.numbers
    y = ledger.arrays["y"].copy()
    y[sector.indices] = block.y
    smallest = min(block.smallest, np.inf if numbers["smallest"] is None else numbers["smallest"])
    slowest, frequencies = numbers["slowest"], list(numbers["frequencies"])
    if block.eigenvalues is not None:
        values, zero = block.eigenvalues, 10 * ZERO * generator.norm
        moving = np.sort(np.abs(values))[len(block.right) :]
        if len(moving):
            slowest = min(float(moving[0]), np.inf if slowest is None else slowest)
        undamped = values[(np.abs(values.real) <= zero) & (np.abs(values.imag) > zero)]
        frequencies += [float(w) for w in np.sort(undamped.imag) if w > 0]
    return ledger.updated(
        {
            "y": y,
            "right": _joined(ledger, "right", sector, block.right),
            "left": _joined(ledger, "left", sector, block.left),
        },
        smallest=None if smallest == np.inf else smallest,
        slowest=slowest,
        frequencies=frequencies,
    )


def _joined(ledger: Ledger, name: str, sector: Sector, vectors: np.ndarray) -> np.ndarray:
    known = ledger.arrays[name]
    if not len(vectors):
        return known
    new = np.zeros((len(vectors), known.shape[1]))
    new[:, sector.indices] = vectors
    return np.vstack([known, new])


# ----------------------------------------------------------------------------------------------------------------------
# blocks that are iterated


def _cycles(size: int, depth: int) -> int:
    return int(np.clip(_CHUNK_WORK / (depth * (80.0 + 8.0 * depth) * size), 2, 50))


def _chunk(
    generator: Generator,
    sector: Sector,
    settings: Settings,
    ledger: Ledger,
    b: np.ndarray,
    start: np.ndarray,
    target: float,
) -> tuple[Ledger, Progress]:
    """Run one chunk of A x = b (or of the transposed problem in the stage "left") and store it."""
    transpose = ledger.numbers["stage"] == "left"
    candidates = preconditioners(generator, sector)
    chosen: dict[str, str] = ledger.numbers["preconditioners"]
    label = str(ledger.numbers["sector"])
    p = ledger.progress
    if label not in chosen:
        best, p = _trial(sector, candidates, b, start, target, settings.depth, transpose)
        ledger = ledger.updated(preconditioners={**chosen, label: best})
        return ledger.with_progress(p), p
    problem = linear_problem(sector, candidates, chosen[label], b, transpose=transpose)
    if p is None:
        p = Progress.begin(problem, start, settings.depth)
    p = run_chunk(problem, p, target=target, cycles=_cycles(sector.size, p.depth))
    return ledger.with_progress(p), p


def _trial(
    sector: Sector,
    candidates: Preconditioners,
    b: np.ndarray,
    start: np.ndarray,
    target: float,
    depth: int,
    transpose: bool,
) -> tuple[str, Progress]:
    """Run one cycle with every preconditioner and return the one with the fastest decay per cost, and where it got."""
    runs: dict[str, Progress] = {}
    speed: dict[str, float] = {}
    for name in candidates:
        problem = linear_problem(sector, candidates, name, b, transpose=transpose)
        first = Progress.begin(problem, start, depth)
        runs[name] = run_chunk(problem, first, target=target, cycles=1)
        decay = np.log(first.residual / max(runs[name].residual, 1e-300)) if first.residual > 0 else np.inf
        speed[name] = decay / ((runs[name].products + 1) * COST[name])
    best = max(speed, key=lambda name: speed[name])
    return best, runs[best]


def _ended(p: Progress, target: float, settings: Settings) -> bool:
    return (
        p.residual <= target or p.slow_chunks >= 5 or p.products >= settings.max_products or not np.isfinite(p.residual)
    )


def _solve(generator: Generator, sector: Sector, settings: Settings, ledger: Ledger) -> Ledger:
    b = -sector.source * generator.identity_coefficient
    after = "right" if settings.check else "skip"
    if not sector.is_driven:
        y = ledger.arrays["y"].copy()
        y[sector.indices] = 0.0
        ledger = ledger.updated({"y": y}, stage=after)
        return ledger if settings.check else _next_sector(ledger)
    target = settings.rtol * float(np.linalg.norm(b))
    before = ledger.progress
    ledger, p = _chunk(generator, sector, settings, ledger, b, ledger.arrays["y"][sector.indices], target)
    y = ledger.arrays["y"].copy()
    y[sector.indices] = p.x
    spent = p.products - (before.products if before else 0)
    ledger = ledger.updated(
        {"y": y},
        products=ledger.numbers["products"] + spent,
        residual=p.residual,
        gain=max(ledger.numbers["gain"], p.gain),
    )
    if not _ended(p, target, settings):
        return ledger
    floor = 100 * np.finfo(float).eps * generator.norm * float(np.linalg.norm(y))
    stalled = p.residual > max(target, floor)
    ledger = ledger.updated(stalled=ledger.numbers["stalled"] or stalled).without_solve()
    return ledger.updated(stage=after, round=0) if settings.check and not stalled else _next_sector(ledger)


def _search(generator: Generator, sector: Sector, settings: Settings, ledger: Ledger, *, side: str) -> Ledger:
    """Look for one more null vector: what survives of a random vector v when A x = 0 is solved from it.

    A Krylov correction for A x = 0 removes everything except the stationary part.  The first pass starts at random, the
    second repeats the solve from the normalised survivor: solver error shrinks again, a null vector stays.
    """
    known = ledger.arrays[side][:, sector.indices]
    known = known[np.any(known != 0, axis=1)]
    again = "candidate" in ledger.arrays
    start = ledger.arrays["candidate"] if again else _random_start(sector, settings, ledger, side)
    target = (0.1 if again else 10.0) * NULL_RATIO * generator.norm
    before = ledger.progress
    ledger, p = _chunk(generator, sector, settings, ledger, np.zeros(sector.size), start, target)
    ledger = ledger.updated(products=ledger.numbers["products"] + p.products - (before.products if before else 0))
    if not _ended(p, target, settings):
        return ledger
    ledger = ledger.without_solve()
    survivor = _orthogonalised(p.x, known)
    size = float(np.linalg.norm(survivor))
    if size < (_GONE if again else _UNSEEN):
        if side == "right" and p.residual > 0:
            ledger = ledger.updated(gain=max(ledger.numbers["gain"], size / p.residual))
        return _search_over(ledger, sector, side)
    survivor = survivor / size
    operate = sector.apply_transpose if side == "left" else sector.apply
    ratio = float(np.linalg.norm(operate(survivor))) / generator.norm
    if not again:
        return ledger.updated({"candidate": survivor})
    ledger = Ledger(ledger.numbers, {k: v for k, v in ledger.arrays.items() if k != "candidate"})
    if size > 0.5 and ratio <= NULL_RATIO and len(known) < _MOST_NULL_VECTORS:
        ledger = ledger.updated({side: _joined(ledger, side, sector, survivor[None, :])})
        ledger = ledger.updated(round=ledger.numbers["round"] + 1)
        wanted = _count(ledger, "right", sector)
        return (
            _search_over(ledger, sector, side)
            if side == "left" and _count(ledger, "left", sector) == wanted
            else ledger
        )
    return _search_over(ledger.updated(undecided=True, slowest=ratio * generator.norm), sector, side)


def _random_start(sector: Sector, settings: Settings, ledger: Ledger, side: str) -> np.ndarray:
    key = (2 if side == "right" else 3, int(sector.indices[0]), int(ledger.numbers["round"]))
    v = _rng(settings, *key).standard_normal(sector.size)
    return v / np.linalg.norm(v)


def _orthogonalised(v: np.ndarray, known: np.ndarray) -> np.ndarray:
    for _ in range(2):
        v = v - known.T @ (known @ v)
    return v


def _count(ledger: Ledger, side: str, sector: Sector) -> int:
    return int(np.count_nonzero(np.any(ledger.arrays[side][:, sector.indices] != 0, axis=1)))


def _search_over(ledger: Ledger, sector: Sector, side: str) -> Ledger:
    ledger = Ledger(ledger.numbers, {k: v for k, v in ledger.arrays.items() if k != "candidate"})
    missing = _count(ledger, "right", sector) - _count(ledger, "left", sector)
    if side == "right" and missing > 0:
        return ledger.updated(stage="left", round=0)
    if missing > 0:
        ledger = ledger.updated(undecided=True)
    return _next_sector(ledger)


# ----------------------------------------------------------------------------------------------------------------------
# projection


def finish(generator: Generator, ledger: Ledger, initial: np.ndarray | None) -> np.ndarray:
    """Return the coefficients of the stationary state reached from ``initial`` (None: the maximally mixed state).

    x -> y + R (W^T R)^{-1} W^T (x_initial - y) with right and left null vectors R and W; where modes oscillate without
    damping this is the average over long times.
    """
    y = ledger.arrays["y"]
    right, left = ledger.arrays["right"], ledger.arrays["left"]
    if not len(right) or len(right) != len(left):
        return y
    start = np.zeros(generator.size)
    if initial is not None:
        start[:] = initial
    start[0] = y[0]
    return y + right.T @ np.linalg.solve(left @ right.T, left @ (start - y))
