"""From local generators to passes over the train, for any geometry.

A *term* is a real generator on a few sites.  Its sites are brought into one window of neighbouring positions: as they
stand if the window is small (its middle sites are carried along), otherwise by swaps next to each other and back.
Terms that fall into two groups without overlap inside a group become two layers; other sets are swept over one after
another.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...errors import InputError, NotSupportedError
from ...lattice import Lattice
from ...model import Lindbladian
from ...superoperator import gate, local_generators, spectral_radius
from ...superoperator.terms import embed
from .splitting import layer_sequence, sweep_sequence

__all__ = [
    "Geometry",
    "Op",
    "Pass",
    "Plan",
    "Term",
    "build_geometry",
    "build_plan",
    "gate_bytes",
    "position_order",
    "useful_bonds",
]

Sites = tuple[int, ...]

# Largest window (product of d^2 over its sites) that is contracted to one block, and the largest number of sites
# spanned by a term with gaps that is treated in a window rather than by swaps (from five sites on swaps are cheaper).
LARGEST_WINDOW = 4096
WIDEST_WINDOW = 4
# Memory allowed for all gates together.
LARGEST_GATES = 2 * 2**30


@dataclass(frozen=True)
class Term:
    """A generator on ``positions`` (ascending), first position slowest."""

    positions: Sites
    generator: np.ndarray


@dataclass(frozen=True)
class Op:
    """One action inside the window of positions ``start .. stop`` (inclusive).

    ``term`` is the index of a term, applied to the positions ``legs``; None swaps the two positions of the window.
    """

    start: int
    stop: int
    legs: Sites = ()
    term: int | None = None


@dataclass
class Pass:
    """Consecutive actions: (op, gate), the gate None for a swap.

    ``bonds``, if set, lists one gate or None per bond (a layer of neighbouring pairs): the fast path, which may run in
    either direction.  ``forward`` is the direction of other passes; None: as convenient.
    """

    actions: list[tuple[Op, np.ndarray | None]] = field(default_factory=list)
    bonds: list[np.ndarray | None] | None = None
    forward: bool | None = None


def position_order(lattice: Lattice) -> Sites:
    """Return the site at every position: folded for a ring (0, L-1, 1, L-2, ...), as numbered otherwise.

    >>> from mpo_transport import Chain, SpinHalf
    >>> position_order(Chain(5, SpinHalf(), periodic=True))
    (0, 4, 1, 3, 2)
    """
    L = lattice.L
    if not lattice.periodic:
        return tuple(range(L))
    return tuple(k // 2 if k % 2 == 0 else L - 1 - k // 2 for k in range(L))


def gathered_supports(model: Lindbladian) -> set[Sites]:
    """Return the site sets of the generators, found from the text (a jump gives one per pair of its products)."""
    found = {tuple(sorted({s for _, s in key})) for key, _ in model.hamiltonian}
    for jump in model.jumps:
        if jump.rate > 0:
            sets = {tuple(sorted({s for _, s in key})) for key, _ in jump.operator}
            found |= {tuple(sorted({*a, *b})) for a in sets for b in sets}
    return {s for s in found if s}


def gate_bytes(model: Lindbladian) -> tuple[float, Sites]:
    """Return the size of the largest single gate in bytes, and its sites."""
    dims = model.lattice.dims
    worst: tuple[float, Sites] = (8.0, ())
    for sites in gathered_supports(model):
        size = 8.0 * float(np.prod([float(dims[s]) for s in sites])) ** 4
        worst = max(worst, (size, sites))
    return worst


def useful_bonds(dims: Sequence[int], max_bond: int) -> list[int]:
    """Return the largest useful bond dimensions of a train, at most ``max_bond`` (entry k: left of position k).

    >>> useful_bonds((2, 2, 2, 2), 10)
    [1, 4, 10, 4, 1]
    """
    L = len(dims)
    left, right = [1.0] * (L + 1), [1.0] * (L + 1)
    for k in range(L):
        left[k + 1] = min(left[k] * dims[k] ** 2, 1e9)
    for k in range(L - 1, -1, -1):
        right[k] = min(right[k + 1] * dims[k] ** 2, 1e9)
    return [int(min(a, b, max_bond)) for a, b in zip(left, right, strict=True)]


class Geometry:
    """Windows and groups of terms of which only the positions are known: enough to count operations.

    Attributes
    ----------
    order
        Site at every position.
    kind
        "exact" (all terms commute trivially or there is only one: no splitting error), "layers" or "sweeps".
    uses_swaps
        Whether some term needs swaps (then truncations use the SVD).
    """

    def __init__(self, lattice: Lattice, supports: Sequence[Sites]) -> None:
        self.lattice = lattice
        self.order = position_order(lattice)
        self.dims = tuple(int(lattice.dims[s]) for s in self.order)
        self.supports = tuple(sorted(supports, key=lambda p: (p[0], p[-1], p)))
        self.ops = [self._ops(k) for k in range(len(self.supports))]
        self.uses_swaps = any(len(ops) > 1 for ops in self.ops)
        self.groups = _two_groups(self.supports)
        self.kind = "sweeps" if self.groups is None else "exact" if not all(self.groups) else "layers"

    # -- windows ------------------------------------------------------------------------------------------------------

    def _ops(self, k: int) -> list[Op]:
        positions = self.supports[k]
        first, last = positions[0], positions[-1]
        size = np.prod([float(d) ** 2 for d in self.dims[first : last + 1]])
        compact = last - first + 1 == len(positions)
        if compact or (size <= LARGEST_WINDOW and last - first < WIDEST_WINDOW):
            return [Op(first, last, positions, k)]
        # carry the left sites up to the last one, nearest first, and back
        swaps: list[Op] = []
        target = last
        for p in reversed(positions[:-1]):
            target -= 1
            swaps += [Op(q, q + 1) for q in range(p, target)]
        legs = tuple(range(last - len(positions) + 1, last + 1))
        return [*swaps, Op(legs[0], last, legs, k), *reversed(swaps)]

    # -- sizes --------------------------------------------------------------------------------------------------------

    def bond_bounds(self, max_bond: int) -> list[int]:
        """Return the largest useful bond dimensions, at most ``max_bond`` (entry k: left of position k; 0 and L: 1)."""
        return useful_bonds(self.dims, max_bond)

    def flops_per_step(self, bond: int, order: int, iterations: int) -> float:
        """Return a rough count of floating-point operations of one step at one bond dimension."""
        count = len(self.passes_per_step(order))
        bounds = self.bond_bounds(bond)
        total = 0.0
        for ops in self.ops:
            for op in ops:
                block = float(np.prod([self.dims[p] ** 2 for p in range(op.start, op.stop + 1)]))
                l, r = bounds[op.start], bounds[op.stop + 1]
                legs = float(np.prod([self.dims[p] ** 2 for p in op.legs])) if op.legs else 1.0
                m = max(bounds[op.start + 1], 1)
                factor = 30.0 if self.uses_swaps else 2.0 + 4.0 * iterations
                total += l * r * block * (factor * m + 2 * legs) + 3e4
        share = 0.5 if self.kind == "layers" else 1.0
        moves = 0.0 if self.kind == "sweeps" else sum(8.0 * b**3 * self.dims[0] ** 2 for b in bounds)
        return count * (share * total + moves)

    def passes_per_step(self, order: int) -> list[float]:
        """Return the fractions of the passes of one step (their number is the cost of a step)."""
        if self.kind == "exact":
            return [1.0]
        return [c for _, c in layer_sequence(order, 1)][:-1] if self.kind == "layers" else sweep_sequence(order)


class Plan(Geometry):
    """The terms on their positions, and the compiled passes of a number of steps.

    Attributes
    ----------
    terms
        In the order of their positions.
    rate
        Largest modulus of an eigenvalue of a term: the stiffest local rate Lambda.
    """

    def __init__(self, lattice: Lattice, terms: Sequence[Term]) -> None:
        super().__init__(lattice, [t.positions for t in terms])
        self.terms = tuple(sorted(terms, key=lambda t: (t.positions[0], t.positions[-1], t.positions)))
        self._rates: dict[bytes, float] = {}
        self.rate = max((self._radius(t.generator) for t in self.terms), default=0.0)
        self._gates: dict[tuple[bytes, float], np.ndarray] = {}
        self._compiled: dict[tuple[float, int, int], list[Pass]] = {}

    def _radius(self, generator: np.ndarray) -> float:
        key = generator.tobytes()
        if key not in self._rates:
            self._rates[key] = spectral_radius(generator) if len(generator) <= 256 else _power_radius(generator)
        return self._rates[key]

    # -- passes -------------------------------------------------------------------------------------------------------

    def passes(self, dt: float, order: int, steps: int) -> list[Pass]:
        """Return the passes of ``steps`` steps of length ``dt`` with a splitting of the given order.

        Raises
        ------
        InputError
            Field ``dt``, if a gate overflows.
        """
        key = (dt, order, steps)
        if key not in self._compiled:
            if len(self._compiled) > 8:
                self._compiled.clear()
            self._compiled[key] = self._compile(dt, order, steps)
        return self._compiled[key]

    def forget(self) -> None:
        """Drop all gates (called when the time step changes for good)."""
        self._gates.clear()
        self._compiled.clear()

    def _compile(self, dt: float, order: int, steps: int) -> list[Pass]:
        if self.kind == "exact":
            assert self.groups is not None
            group = self.groups[0] or self.groups[1]
            return [self._layer(group, dt * steps, dt)] if group else []
        if self.kind == "layers":
            assert self.groups is not None
            layers = {}
            for item in layer_sequence(order, steps):
                if item not in layers:
                    layers[item] = self._layer(self.groups[item[0]], item[1] * dt, dt)
            return [layers[item] for item in layer_sequence(order, steps)]
        fractions = sweep_sequence(order)
        period = len(fractions)
        total = period * steps
        cache: dict[tuple[int, bool, bool], Pass] = {}
        out = []
        for i in range(total):
            key = (i % period, i == 0, i == total - 1)
            if key not in cache:
                first = fractions[i % period]
                later = 0.0 if i == total - 1 else fractions[(i + 1) % period]
                cache[key] = self._sweep(i % 2 == 0, (first, first + later), dt, skip_first=i > 0)
            out.append(cache[key])
        return out

    def _layer(self, group: Sequence[int], time: float, dt: float) -> Pass:
        actions = [(op, self._gate(op, time, dt)) for k in group for op in self.ops[k]]
        if all(op.stop - op.start == 1 for op, _ in actions) and not self.uses_swaps:
            bonds: list[np.ndarray | None] = [None] * (len(self.order) - 1)
            for op, g in actions:
                bonds[op.start] = g
            return Pass(actions, bonds)
        return Pass(actions)

    def _sweep(self, forward: bool, fractions: tuple[float, float], dt: float, *, skip_first: bool) -> Pass:
        """All terms once; the last one takes the second fraction: its twin in the next sweep is merged with it."""
        indices = range(len(self.terms)) if forward else range(len(self.terms) - 1, -1, -1)
        chosen = list(indices)[1:] if skip_first else list(indices)
        actions: list[tuple[Op, np.ndarray | None]] = []
        for k in chosen:
            for op in self.ops[k]:
                previous = actions[-1][0] if actions else None
                if op.term is None and previous is not None and previous == op:
                    actions.pop()  # a swap undoes itself
                    continue
                actions.append((op, self._gate(op, fractions[k == chosen[-1]] * dt, dt)))
        return Pass(actions, forward=forward)

    def _gate(self, op: Op, time: float, dt: float) -> np.ndarray | None:
        if op.term is None:
            return None
        generator = self.terms[op.term].generator
        key = (generator.tobytes() if generator.nbytes < 2**17 else repr(op.term).encode(), time)
        if key not in self._gates:
            try:
                self._gates[key] = gate(generator, time)
            except InputError as problem:
                raise InputError(overflow_sentence(dt, self.rate), field="dt") from problem
        return self._gates[key]


def build_geometry(model: Lindbladian) -> Geometry:
    """Return the geometry of a model, from its text alone; terms inside larger ones belong to these."""
    where = {site: p for p, site in enumerate(position_order(model.lattice))}
    found = {tuple(sorted(where[s] for s in sites)) for sites in gathered_supports(model)}
    at: dict[int, list[frozenset[int]]] = defaultdict(list)
    for positions in found:
        for p in positions:
            at[p].append(frozenset(positions))
    return Geometry(model.lattice, [s for s in found if not any(frozenset(s) < other for other in at[s[0]])])


def build_plan(model: Lindbladian) -> Plan:
    """Return the plan of a model.

    Raises
    ------
    NotSupportedError
        If a gate would be too large.
    """
    size, sites = gate_bytes(model)
    if size > LARGEST_GATES:
        raise NotSupportedError(gate_refusal(size, sites), field="method")
    order = position_order(model.lattice)
    dims = tuple(int(d) for d in model.lattice.dims)
    generators = share_with_larger(local_generators(model), dims)
    where = {site: p for p, site in enumerate(order)}
    terms = []
    for sites, generator in generators.items():
        positions = [where[s] for s in sites]
        terms.append(Term(tuple(sorted(positions)), _reorder(generator, positions, [dims[s] ** 2 for s in sites])))
    return Plan(model.lattice, terms)


def gate_refusal(size: float, sites: Sites) -> str:
    """Return the sentence that refuses a gate."""
    return (
        f"The gate of the term on sites {sites} would take {size / 2**30:.3g} GiB (allowed: "
        f"{LARGEST_GATES / 2**30:.0f} GiB); keep fewer levels per site or use terms on fewer sites."
    )


def overflow_sentence(dt: float, rate: float) -> str:
    """Return the sentence that refuses a time step."""
    return (
        f"Argument `dt` = {dt:g} makes the first step overflow (stiffest local rate {rate:.3g}); use a step of at most "
        f"about {8 / rate if rate else math.inf:.2g}."
    )


def share_with_larger(generators: Mapping[Sites, np.ndarray], dims: tuple[int, ...]) -> dict[Sites, np.ndarray]:
    """Return the generators with every entry shared equally among the entries on larger site sets that contain it."""
    out: dict[Sites, np.ndarray] = {s: g.copy() for s, g in generators.items()}
    for sites in sorted(generators, key=len):
        hosts = [s for s in out if len(s) > len(sites) and set(sites) <= set(s)]
        smallest = min((len(s) for s in hosts), default=0)
        hosts = [s for s in hosts if len(s) == smallest]
        if hosts:
            small = out.pop(sites)
            for host in hosts:
                out[host] += embed(small / len(hosts), sites, host, dims)
    return dict(sorted(out.items()))


def _reorder(generator: np.ndarray, positions: Sequence[int], legs: Sequence[int]) -> np.ndarray:
    axes = [int(a) for a in np.argsort(positions)]
    n = len(legs)
    if axes == list(range(n)):
        return generator
    tensor = generator.reshape(*legs, *legs).transpose([*axes, *(n + a for a in axes)])
    return np.ascontiguousarray(tensor.reshape(generator.shape))


def _power_radius(generator: np.ndarray, steps: int = 60) -> float:
    """Return the spectral radius of a large generator to a few percent: growth of its powers, free of eigen-solvers."""
    x = np.random.Generator(np.random.Philox(key=1)).standard_normal(len(generator))
    growth = []
    for _ in range(steps):
        norm = float(np.linalg.norm(x))
        if norm == 0:
            return 0.0
        x = generator @ (x / norm)
        growth.append(math.log(max(float(np.linalg.norm(x)), 1e-300)))
    return math.exp(float(np.mean(growth[steps // 2 :])))


def _two_groups(supports: Sequence[Sites]) -> tuple[list[int], list[int]] | None:
    """Return two groups of terms without common sites inside a group, or None if two are not enough.

    Sites in the middle of a window do not count: its gate acts as the identity on them.
    """
    at: dict[int, list[int]] = defaultdict(list)
    for k, positions in enumerate(supports):
        for p in positions:
            at[p].append(k)
    colour: dict[int, int] = {}
    for start in range(len(supports)):
        todo = [] if start in colour else [start]
        colour.setdefault(start, 0)
        while todo:
            k = todo.pop()
            for other in {o for p in supports[k] for o in at[p]} - {k}:
                if other not in colour:
                    colour[other] = 1 - colour[k]
                    todo.append(other)
                elif colour[other] == colour[k]:
                    return None
    return [k for k in sorted(colour) if colour[k] == 0], [k for k in sorted(colour) if colour[k] == 1]
