"""Steady states by elimination over the levels of a conserved charge: the stage of ExactDiag for weak U(1) symmetries.

The steady state has only blocks rho_ab with equal charges, and neighbouring levels alone are coupled, so dense blocks
of one level at a time are all that is ever factorised (:mod:`.block_elimination`).  The answer is direct: it does not
depend on how stiff or how slow the model is.

*Uniqueness.*  A stationary state that is unique among the operators of zero charge is unique altogether.  On its
support R, which carries all stationary operators, it is positive definite, so the stationary operators form a *-algebra
in the Heisenberg picture, graded by the charge.  If X belongs to it with charge q, X^dag X has charge zero and is a
multiple of the identity, so X is unitary up to a factor and X^dag Q X = Q + q on R; the trace over R gives q = 0.
After a reduction by further symmetries this does not apply.  There the state is unique if H and the jumps generate all
operators and either the jumps span their own adjoints, as thermal baths do, or the state is positive definite;
otherwise the elimination is repeated without the reduction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..errors import NotSupportedError
from ..model import Jump, Lindbladian
from ..operators import OpSum
from ..result import Certificate, Status
from ..states import DenseState, State
from ..states.orbit import OrbitState
from ..superoperator.charge_sectors import ChargePlan, charge_plan
from ..superoperator.level_blocks import LevelBlocks, LevelGenerator, find_reduction, level_generator, real_blocks
from ..superoperator.orbits import OrbitBasis
from .base import Diagnostics, Estimate, Iterate
from .block_elimination import SingularLevelError, null_dimension, solve_blocks
from .exact_orbits import FULL_SPACE
from .exact_report import Work
from .exact_stages import Settings
from .exact_uniqueness import generates_everything, is_positive_definite

__all__ = [
    "BlockWork",
    "advance_blocks",
    "block_plan",
    "block_support",
    "certify_blocks",
    "estimate_blocks",
    "is_closed_under_adjoint",
    "span_of_jumps",
    "start_blocks",
]

_LARGEST_DENSE_STATE = 1024
_LARGEST_CODE = 2**62
_SMALLEST = 4096
_QUICK, _PATIENT, _MANY_LEVELS = 6.0, 60.0, 5
_COMPACT = 1.5 * 2**30

_DEPENDENT = 1e-10
_BY_CHARGE = "unique: no other stationary operator of zero charge, hence none of any charge"

_plans: WeakKeyDictionary[Lindbladian, ChargePlan | str] = WeakKeyDictionary()


def block_support(model: Lindbladian) -> ChargePlan | str:
    """Return the levels of a model, or the reason why this route does not apply."""
    try:
        plan = charge_plan(model)
    except NotSupportedError as refused:
        return str(refused)
    if math.prod(float(d) ** 2 for d in model.lattice.dims) > _LARGEST_CODE:
        return "the matrix elements are too many to be numbered."
    return plan


def block_plan(model: Lindbladian, *, forced: bool = False) -> ChargePlan | None:
    """Return the levels where this route is the better one, else None.

    It is taken from 4096 operators on where the elimination is a matter of seconds, and for sites with many levels
    also where it takes a minute: there ladder operators make the iterations of the other routes stiff.  ``forced`` asks
    only whether it applies.
    """
    operators = math.prod(float(d) ** 2 for d in model.lattice.dims)
    if not forced and operators < _SMALLEST:
        return None
    if model not in _plans:
        _plans[model] = block_support(model)
    plan = _plans[model]
    if isinstance(plan, str):
        return None
    estimate = estimate_blocks(plan)
    patience = _PATIENT if max(model.lattice.dims) >= _MANY_LEVELS else _QUICK
    return plan if forced or ((estimate.seconds or 0.0) <= patience and estimate.memory_bytes <= _COMPACT) else None


def estimate_blocks(plan: ChargePlan) -> Estimate:
    """Return bytes and seconds foreseen if no further symmetry is found: 2 n^3 operations, and n^2 numbers kept."""
    sizes = np.array(plan.sizes, dtype=float)
    work = float(np.sum(sizes**3))
    memory = 8.0 * float(np.sum(sizes**2)) + 4 * 8.0 * float(sizes.max()) ** 2 + 2e3 * float(sizes.sum()) + 5e7
    seconds = 0.1 + 2e-5 * float(sizes.sum()) + 8e-11 * work
    return Estimate(
        memory,
        seconds,
        f"elimination over {len(sizes)} levels with up to {int(sizes.max())} unknowns, {int(sizes.sum())} in all",
    )


@dataclass(frozen=True, eq=False)
class BlockWork:
    """What ``prepare`` makes for this route; the work of the full operator space is made only if it is needed."""

    model: Lindbladian
    tol: float
    settings: Settings
    plan: ChargePlan
    make_full: Callable[[], Work]

    @cached_property
    def full(self) -> Work:
        """The full operator space."""
        return self.make_full()

    @cached_property
    def generator(self) -> LevelGenerator:
        """The generator on the matrix units with equal charges."""
        return level_generator(self.model, self.plan)

    @property
    def D(self) -> int:
        """Dimension of the Hilbert space."""
        return math.prod(int(d) for d in self.model.lattice.dims)

    @property
    def can_search(self) -> bool:
        """Whether the full operator space is small enough to be searched for several stationary operators."""
        return self.D**2 <= FULL_SPACE

    def state(self, c: np.ndarray) -> State:
        """Return the density matrix with the given elements rho_ab; large ones keep these elements only."""
        generator, lattice = self.generator, self.model.lattice
        a, b = generator.pairs
        if self.D <= _LARGEST_DENSE_STATE:
            rho = np.zeros((self.D, self.D), dtype=complex)
            codes = generator.basis.codes
            rho[codes[a], codes[b]] = c
            return DenseState(lattice, rho)
        dims = tuple(int(d) for d in lattice.dims)
        digits = generator.basis.digits[a] * np.array(dims) + generator.basis.digits[b]
        codes = np.ravel_multi_index(tuple(digits.T), [d * d for d in dims])
        order = np.argsort(codes)
        basis = OrbitBasis(dims, np.arange(len(dims))[None, :], codes[order], np.ones(len(codes), dtype=np.int64))
        return OrbitState(lattice, basis, c[order], "units")

    def mixed(self) -> np.ndarray:
        """Return the maximally mixed state."""
        a, b = self.generator.pairs
        return (a == b) / len(self.generator.basis)


def start_blocks(work: BlockWork, initial: np.ndarray | None) -> Iterate:
    """Return the maximally mixed state; ``initial`` (coefficients) matters only if the steady state is not unique."""
    numbers = {
        "stage": "blocks",
        "products": 0,
        "residual": None,
        "stalled": False,
        "null_space": None,
        "solver": estimate_blocks(work.plan).detail,
        "time": 0.0,
    }
    c = work.mixed().astype(complex)
    arrays = {"z": c} if initial is None else {"z": c, "initial": initial}
    return Iterate(work.state(c), 0, numbers, arrays)


def advance_blocks(work: BlockWork, iterate: Iterate) -> tuple[Iterate, Diagnostics] | None:
    """Solve; None if the full operator space has to decide because the steady state is not unique."""
    generator = work.generator
    reduction = find_reduction(generator)
    attempts = [reduction] if reduction.is_trivial else [reduction, find_reduction(generator, trivial=True)]
    for attempt in attempts:
        blocks = real_blocks(generator, attempt)
        try:
            solution = solve_blocks(blocks)
        except SingularLevelError:
            return _degenerate(work, iterate, blocks)
        c = blocks.coefficients(solution.x)
        absolute = float(np.linalg.norm(generator.apply(c)))
        rounding = np.finfo(float).eps * blocks.norm * float(np.linalg.norm(c))
        drift = solution.gain * (absolute + rounding)
        proof = _BY_CHARGE if attempt.is_trivial else ""
        if not proof and work.settings.check:
            proof = _uniqueness_proof(work, c, drift)
        if proof or not work.settings.check:
            break
    error = float(math.sqrt(work.D) * drift)
    text = f"{estimate_blocks(work.plan).detail}; {attempt}, {int(blocks.offsets[-1])} real unknowns"
    numbers = {
        **iterate.scalars,
        "error": error,
        "residual": absolute,
        "null_space": 1 if proof else None,
        "proof": proof,
        "slowest": 1 / solution.gain if solution.gain > 0 else None,
        "solver": text + (", refined from single precision" if solution.single else ""),
    }
    status = Status.CONVERGED if error <= work.tol else Status.NOT_CONVERGED
    if not np.all(np.isfinite(c)) or not math.isfinite(error):
        status, c = Status.NOT_FINITE, iterate.arrays["z"]
    moved = Iterate(work.state(c), iterate.step + 1, numbers, {**iterate.arrays, "z": c})
    measures = {"residual": absolute / float(np.linalg.norm(c)), "products": 0.0, "error_estimate": error}
    return moved, Diagnostics(status, measures, "finished", 1.0)


def _degenerate(work: BlockWork, iterate: Iterate, blocks: LevelBlocks) -> tuple[Iterate, Diagnostics] | None:
    """Say how many stationary operators there are at least, where the full space cannot be searched."""
    if work.can_search:
        return None
    found = null_dimension(blocks)
    numbers = {**iterate.scalars, "null_space": None if found is None else max(found, 2)}
    moved = Iterate(iterate.state, iterate.step + 1, numbers, iterate.arrays)
    return moved, Diagnostics(Status.NOT_UNIQUE, {"products": 0.0}, "the steady state is not unique", 1.0)


def _uniqueness_proof(work: BlockWork, c: np.ndarray, drift: float) -> str:
    """Return why a state found among symmetric operators is the only one; an empty text if that is not known."""
    jumps = span_of_jumps(work.model)
    if not generates_everything(Lindbladian(work.model.lattice, work.model.hamiltonian, [Jump(o) for o in jumps])):
        return ""
    if is_closed_under_adjoint(jumps):
        return "unique: the jumps span their adjoints, and with H they generate all operators"
    if _is_positive(work, c, drift):
        return "unique: the state is positive definite, and H and the jumps generate all operators"
    return ""


def _is_positive(work: BlockWork, c: np.ndarray, drift: float) -> bool:
    generator = work.generator
    margin = 2 * drift + 10 * np.finfo(float).eps * float(np.linalg.norm(c))
    for level in range(len(generator.rows)):
        part = slice(int(generator.offsets[level]), int(generator.offsets[level + 1]))
        first, stop = int(generator.basis.offsets[level]), int(generator.basis.offsets[level + 1])
        rho = np.zeros((stop - first, stop - first), dtype=complex)
        rho[generator.rows[level] - first, generator.columns[level] - first] = c[part]
        if not is_positive_definite(rho, margin, generator.basis.labels[first:stop]):
            return False
    return True


def span_of_jumps(model: Lindbladian) -> list[OpSum]:
    """Return a simple basis of the space that the jump operators span: local operators where combinations are local.

    What commutes with all jumps, and what subspaces they leave invariant, depends on this space only.

    >>> from mpo_transport import Chain, SpinHalf, op
    >>> both = [Jump(op("Sm", 0) + op("Sm", 1)), Jump(op("Sm", 0) - op("Sm", 1))]
    >>> span_of_jumps(Lindbladian(Chain(2, SpinHalf()), None, both))
    [Sm(0), Sm(1)]
    """
    operators = [j.operator for j in model.jumps if j.rate > 0]
    keys = sorted({key for o in operators for key, _ in o})
    rows = _coefficients(operators, keys)
    rank = 0
    for column in range(len(keys)):
        if rank == len(rows):
            break
        best = rank + int(np.argmax(np.abs(rows[rank:, column])))
        if abs(rows[best, column]) <= _DEPENDENT:
            continue
        rows[[rank, best]] = rows[[best, rank]]
        rows[rank] /= rows[rank, column]
        others = np.arange(len(rows)) != rank
        rows[others] -= np.outer(rows[others, column], rows[rank])
        rank += 1
    cleaned = np.where(np.abs(rows[:rank]) > _DEPENDENT, rows[:rank], 0.0)
    return [OpSum({k: complex(x) for k, x in zip(keys, row, strict=True) if x}) for row in cleaned]


def is_closed_under_adjoint(operators: list[OpSum]) -> bool:
    """Return whether the adjoints lie in the span of the operators and the identity.

    A subspace that all jumps leave invariant is then left invariant by their adjoints as well, and with the effective
    Hamiltonian by H: if these generate all operators, no proper subspace is invariant, so the steady state is unique
    and positive definite.

    >>> from mpo_transport import op
    >>> is_closed_under_adjoint([op("A", 0), op("Adag", 0)]), is_closed_under_adjoint([op("A", 0)])
    (True, False)
    """
    adjoints = [o.dag for o in operators]
    keys = sorted({key for o in (*operators, *adjoints) for key, _ in o} - {()})
    span = _coefficients(operators, keys)
    if not len(span):
        return True
    wanted = _coefficients(adjoints, keys)
    left = wanted - wanted @ np.linalg.pinv(span) @ span
    return bool(np.abs(left).max(initial=0.0) <= _DEPENDENT * np.abs(span).max(initial=0.0))


def _coefficients(operators: list[OpSum], keys: list[Any]) -> np.ndarray:
    """Return one normalised row of coefficients per operator."""
    index = {key: n for n, key in enumerate(keys)}
    rows = np.zeros((len(operators), len(keys)), dtype=complex)
    for row, operator in zip(rows, operators, strict=True):
        for key, c in operator:
            if key in index:
                row[index[key]] = c
    size = np.abs(rows).max(axis=1, initial=0.0)
    return rows / np.where(size > 0, size, 1.0)[:, None]


def certify_blocks(work: BlockWork, iterate: Iterate) -> Certificate:
    """Return residual, error estimate, number of stationary operators, and remarks."""
    numbers, c = iterate.scalars, iterate.arrays["z"]
    finished = "error" in numbers
    return Certificate(
        residual=float(np.linalg.norm(work.generator.apply(c)) / np.linalg.norm(c)),
        trace=iterate.state.trace(),
        hermiticity=0.0,
        error_estimate=numbers.get("error"),
        error_parts={"residual and rounding": numbers["error"]} if finished else {},
        null_space=numbers["null_space"],
        notes=tuple(_notes(numbers, finished)),
    )


def _notes(numbers: Any, finished: bool) -> list[str]:
    notes = [f"solver: {numbers['solver']}"]
    if not finished:
        if numbers["null_space"] is not None:
            notes.append(
                f"at least {numbers['null_space']} stationary operators; the state shown is the maximally mixed one, "
                "not a steady state"
            )
        return notes
    notes.append(numbers["proof"] or "uniqueness was not checked (check_uniqueness=False)")
    slowest = numbers["slowest"]
    if slowest is not None and slowest < 1e-6:
        notes.append(f"slow relaxation: the smallest singular value beside zero is about {slowest:.2g}")
    return notes
