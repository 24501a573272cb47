"""The Lindbladian between neighbouring levels of a conserved charge: a block-tridiagonal real matrix.

With the basis states sorted by level (:mod:`.charge_sectors`), the blocks rho_N of the density matrix obey

    d rho_N/dt = K_N rho_N + rho_N K_N^dag + sum_k r_k sum_{N' = N-1, N, N+1} L_k^{N N'} rho_N' (L_k^{N N'})^dag,
    K = -i H - (1/2) sum_k r_k L_k^dag L_k.

rho_N is Hermitian, so dim(N)^2 real numbers describe it.  Two kinds of symmetry make them fewer: site permutations, and
an antiunitary symmetry rho_ab -> e^{2i(phi_a - phi_b)} rho_ab^*, that is a gauge in which the generator is real.  Both
are found by applying them to a random operator.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order, connected_components

from ..lattice import Chain, Lattice
from ..model import Lindbladian
from .charge_sectors import ChargeBasis, ChargePlan, charge_basis, sector_operator

__all__ = ["LevelBlocks", "LevelGenerator", "Reduction", "find_reduction", "level_generator", "real_blocks"]

_TOLERANCE = 1e-12
_LARGEST_PERMUTED_GRAPH = 6


@dataclass(frozen=True, eq=False)
class LevelGenerator:
    """The generator on the matrix units |a><b| with equal charges, complex, level by level.

    Attributes
    ----------
    rows, columns
        Positions a and b of the pairs of every level in the basis, ascending in (a, b).
    here, up, down
        Blocks N <- N, N+1 <- N (None for the last level) and N-1 <- N (None for the first), sparse.
    hamiltonian, jumps
        H and sqrt(r_k) L_k between the basis states.
    """

    basis: ChargeBasis
    rows: tuple[np.ndarray, ...]
    columns: tuple[np.ndarray, ...]
    here: tuple[sp.csr_array, ...]
    up: tuple[sp.csr_array | None, ...]
    down: tuple[sp.csr_array | None, ...]
    hamiltonian: sp.csr_array
    jumps: tuple[sp.csr_array, ...]

    @cached_property
    def offsets(self) -> np.ndarray:
        """First pair of every level and, last, the number of pairs."""
        return np.concatenate([[0], np.cumsum([len(r) for r in self.rows])])

    def apply(self, c: np.ndarray) -> np.ndarray:
        """Return L rho for the coefficients rho_ab of all pairs, (number of pairs,)."""
        return _product(self.here, self.up, self.down, self.offsets, c)

    def pair_numbers(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the number of the pairs (a, b) of basis states, -1 where their charges differ."""
        keys, n = self._keys, len(self.basis)
        wanted = np.asarray(a) * n + b
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[at] == wanted, at, -1)

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """a and b of all pairs."""
        return np.concatenate(self.rows), np.concatenate(self.columns)

    @cached_property
    def _keys(self) -> np.ndarray:
        a, b = self.pairs
        return a * len(self.basis) + b


def level_generator(model: Lindbladian, plan: ChargePlan) -> LevelGenerator:
    """Return the generator between the levels, made from operators of size (dim, dim) only.

    Examples
    --------
    >>> from mpo_transport.models import boundary_driven_xx
    >>> from mpo_transport.superoperator.charge_sectors import charge_plan
    >>> model = boundary_driven_xx(3, 1.0, 1.0, 0.7, 1.0, 0.3)
    >>> [block.shape for block in level_generator(model, charge_plan(model)).here]
    [(1, 1), (9, 9), (9, 9), (1, 1)]
    """
    basis = charge_basis(model.lattice, plan)
    h = sector_operator(basis, model.hamiltonian)
    jumps = tuple(np.sqrt(j.rate) * sector_operator(basis, j.operator) for j in model.jumps if j.rate > 0)
    effective = -1j * h
    for jump in jumps:
        effective = effective - 0.5 * (jump.conj().T @ jump)
    effective = sp.csr_array(effective)
    edges = basis.offsets
    count = basis.number_of_levels
    parts = [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]
    chosen = []
    for part in parts:
        labels = basis.labels[part]
        chosen.append(np.flatnonzero((labels[:, None] == labels[None, :]).ravel()))
    steps = [_level_changes(basis, jump) for jump in jumps]
    moving = {k: [j for j, found in zip(jumps, steps, strict=True) if k in found] for k in (-1, 0, 1)}
    here, up, down = [], [], []
    for n, part in enumerate(parts):
        k = sp.csr_array(effective[part, part])
        one = sp.eye_array(k.shape[0], format="csr")
        total = sp.csr_array(sp.kron(k, one, format="csr") + sp.kron(one, k.conj(), format="csr"))
        total = total[chosen[n]][:, chosen[n]]
        here.append(sp.csr_array(total + _transfer(moving[0], part, part, chosen[n], chosen[n])))
        up.append(_transfer(moving[1], parts[n + 1], part, chosen[n + 1], chosen[n]) if n + 1 < count else None)
        down.append(_transfer(moving[-1], parts[n - 1], part, chosen[n - 1], chosen[n]) if n else None)
    dims = np.diff(edges)
    rows = tuple(edges[n] + c // dims[n] for n, c in enumerate(chosen))
    columns = tuple(edges[n] + c % dims[n] for n, c in enumerate(chosen))
    return LevelGenerator(basis, rows, columns, tuple(here), tuple(up), tuple(down), h, jumps)


def _level_changes(basis: ChargeBasis, jump: sp.csr_array) -> set[int]:
    coo = jump.tocoo()
    return set(np.unique(basis.levels[coo.coords[0]] - basis.levels[coo.coords[1]]).tolist())


def _transfer(
    jumps: Sequence[sp.csr_array], to: slice, origin: slice, rows: np.ndarray, columns: np.ndarray
) -> sp.csr_array:
    """Return sum_k L_k (x) L_k^* between two levels on the chosen pairs."""
    total = sp.csr_array((len(rows), len(columns)), dtype=complex)
    for jump in jumps:
        part = sp.csr_array(jump[to, origin])
        if part.nnz:
            total = total + sp.kron(part, part.conj(), format="csr")[rows][:, columns]
    return sp.csr_array(total)


def _product(
    here: Sequence[sp.csr_array],
    up: Sequence[sp.csr_array | None],
    down: Sequence[sp.csr_array | None],
    offsets: np.ndarray,
    x: np.ndarray,
) -> np.ndarray:
    pieces = [x[a:b] for a, b in itertools.pairwise(offsets)]
    out = [block @ piece for block, piece in zip(here, pieces, strict=True)]
    for n, piece in enumerate(pieces):
        higher, lower = up[n], down[n]
        if higher is not None:
            out[n + 1] = out[n + 1] + higher @ piece
        if lower is not None:
            out[n - 1] = out[n - 1] + lower @ piece
    return np.concatenate(out)


# ----------------------------------------------------------------------------------------------------------------------
# symmetries


@dataclass(frozen=True, eq=False)
class Reduction:
    """Symmetries under which the unknowns are made invariant: site permutations and, perhaps, a real gauge.

    ``orbits`` gives the images of every pair under the permutations, (order, pairs), identity first; ``phases`` is
    phi_a of the real gauge, or None.
    """

    permutations: tuple[tuple[int, ...], ...]
    orbits: np.ndarray
    phases: np.ndarray | None

    @property
    def is_trivial(self) -> bool:
        """Whether there is nothing to be gained."""
        return len(self.orbits) == 1 and self.phases is None

    def __str__(self) -> str:
        parts = []
        if len(self.orbits) > 1:
            parts.append(f"invariant under {len(self.orbits)} site permutations")
        if self.phases is not None:
            parts.append("real in a suitable gauge")
        return " and ".join(parts) or "no further symmetry"


def find_reduction(generator: LevelGenerator, *, trivial: bool = False) -> Reduction:
    """Return the symmetries of a generator; ``trivial`` asks for none."""
    identity = np.arange(int(generator.offsets[-1]))[None, :]
    plain = tuple(range(generator.basis.lattice.L))
    if trivial:
        return Reduction((plain,), identity, None)
    found = [(plain, identity[0])]
    for g in _candidates(generator.basis.lattice):
        if g != plain:
            image = _image(generator, g)
            if image is not None and _commutes(generator, functools.partial(_moved, image=image)):
                found.append((g, image))
    permutations, orbits = tuple(g for g, _ in found), np.array([image for _, image in found])
    phases = _real_gauge(generator)
    if phases is not None:
        a, b = generator.pairs
        twice = np.exp(2j * (phases[a] - phases[b]))
        if not _commutes(generator, lambda x: twice * x.conj()):
            phases = None
        elif np.abs(twice[orbits] - twice[orbits[0]]).max() > 1e-9:  # the two do not commute: keep the larger one
            if len(orbits) > 2:
                phases = None
            else:
                permutations, orbits = (plain,), identity
    return Reduction(permutations, orbits, phases)


def _candidates(lattice: Lattice) -> Iterator[tuple[int, ...]]:
    """Yield permutations that form a group: of a chain or ring, or all that keep the edges of a small graph."""
    L = lattice.L
    if isinstance(lattice, Chain):
        shifts = range(L) if lattice.periodic else (0,)
        for shift in shifts:
            yield tuple((j + shift) % L for j in range(L))
            yield tuple((L - 1 - j + shift) % L for j in range(L))
    elif L <= _LARGEST_PERMUTED_GRAPH:
        edges = {frozenset(bond) for bond in lattice.bonds}
        for g in itertools.permutations(range(L)):
            if {frozenset(g[s] for s in edge) for edge in edges} == edges:
                yield g


def _image(generator: LevelGenerator, g: Sequence[int]) -> np.ndarray | None:
    """Return the number of the image of every pair; None if g does not map the basis onto itself, level by level."""
    basis = generator.basis
    spaces = basis.lattice.spaces
    if any(spaces[j] != spaces[g[j]] for j in range(len(spaces))):
        return None
    digits = np.empty_like(basis.digits)
    digits[:, list(g)] = basis.digits
    moved = basis.find(digits)
    if moved.min() < 0 or np.any(basis.levels[moved] != basis.levels):
        return None
    a, b = generator.pairs
    image = generator.pair_numbers(moved[a], moved[b])
    return None if image.min() < 0 else image


def _moved(x: np.ndarray, image: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    out[image] = x
    return out


def _commutes(generator: LevelGenerator, symmetry: Callable[[np.ndarray], np.ndarray]) -> bool:
    rng = np.random.default_rng(7)
    x = rng.standard_normal(int(generator.offsets[-1])) + 1j * rng.standard_normal(int(generator.offsets[-1]))
    image = generator.apply(x)
    return bool(np.abs(generator.apply(symmetry(x)) - symmetry(image)).max() <= _TOLERANCE * np.abs(image).max())


def _real_gauge(generator: LevelGenerator) -> np.ndarray | None:
    """Return phases phi_a for which e^{-i phi_a} (-i H)_ab e^{i phi_b} is real along a spanning tree, or None.

    States that H does not join are joined through jumps: L_k is to have real elements up to one phase for each jump.
    """
    basis, h = generator.basis, generator.hamiltonian
    n = len(basis)
    off = sp.csr_array(h - sp.diags_array(h.diagonal()))
    off.eliminate_zeros()
    graph = sp.csr_array(abs(off))
    coo = off.tocoo()
    angles = dict(
        zip(zip(*(c.tolist() for c in coo.coords), strict=True), np.angle(-1j * coo.data).tolist(), strict=True)
    )
    phases = np.zeros(n)
    parts, labels = connected_components(graph, directed=False)
    first = np.unique(labels, return_index=True)[1]
    for root in first[:parts]:
        order, parent = breadth_first_order(graph, int(root), directed=False)
        for a, p in zip(order[1:].tolist(), parent[order[1:]].tolist(), strict=True):
            phases[a] = phases[p] + angles[a, p]
    return phases if np.any(off.data) else None


# ----------------------------------------------------------------------------------------------------------------------
# real unknowns


@dataclass(frozen=True, eq=False)
class LevelBlocks:
    """The generator on real unknowns x: c = Q x for the coefficients of all pairs, Q an isometry, level by level.

    Attributes
    ----------
    here, up, down
        Real sparse blocks as in :class:`LevelGenerator`.
    trace
        Tr rho = sum_N trace_N . x_N.
    isometries
        Q of every level, (pairs, unknowns) complex sparse.
    """

    here: tuple[sp.csr_array, ...]
    up: tuple[sp.csr_array | None, ...]
    down: tuple[sp.csr_array | None, ...]
    trace: tuple[np.ndarray, ...]
    isometries: tuple[sp.csr_array, ...]
    reduction: Reduction

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Unknowns per level."""
        return tuple(len(t) for t in self.trace)

    @cached_property
    def offsets(self) -> np.ndarray:
        """First unknown of every level and, last, their number."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    @cached_property
    def norm(self) -> float:
        """Largest column sum of moduli, |L|_1."""
        largest = 0.0
        for blocks in zip(self.here, self.up, self.down, strict=True):
            sums = sum(abs(b).sum(axis=0) for b in blocks if b is not None)
            largest = max(largest, float(np.max(sums, initial=0.0)))
        return largest

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Return L x."""
        return _product(self.here, self.up, self.down, self.offsets, x)

    def coefficients(self, x: np.ndarray) -> np.ndarray:
        """Return rho_ab of all pairs, complex."""
        pieces = (x[a:b] for a, b in itertools.pairwise(self.offsets))
        return np.concatenate([q @ piece for q, piece in zip(self.isometries, pieces, strict=True)])

    def matrix(self) -> sp.csr_array:
        """Return the whole real matrix, sparse (for comparisons)."""
        count = len(self.here)
        rows: list[list[sp.csr_array | None]] = [[None] * count for _ in range(count)]
        for n in range(count):
            rows[n][n] = self.here[n]
            if n + 1 < count:
                rows[n + 1][n], rows[n][n + 1] = self.up[n], self.down[n + 1]
        return sp.csr_array(sp.block_array(rows))


def real_blocks(generator: LevelGenerator, reduction: Reduction) -> LevelBlocks:
    """Return the generator on the real unknowns that a reduction leaves."""
    isometries = _isometries(generator, reduction)
    adjoints = [sp.csr_array(q.conj().T) for q in isometries]

    def real(block: sp.csr_array | None, to: int, origin: int) -> sp.csr_array | None:
        if block is None:
            return None
        moved = sp.csr_array((adjoints[to] @ block @ isometries[origin]).real)
        moved.data[np.abs(moved.data) < 1e-15 * np.abs(moved.data).max(initial=0.0)] = 0.0
        moved.eliminate_zeros()
        return moved

    levels = range(len(isometries))
    here = tuple(b for n in levels if (b := real(generator.here[n], n, n)) is not None)
    up = tuple(real(generator.up[n], n + 1, n) for n in levels)
    down = tuple(real(generator.down[n], n - 1, n) for n in levels)
    trace = []
    for n in levels:
        diagonal = (generator.rows[n] == generator.columns[n]).astype(float)
        trace.append(np.asarray((isometries[n].T @ diagonal).real))
    return LevelBlocks(here, up, down, tuple(trace), isometries, reduction)


def _isometries(generator: LevelGenerator, reduction: Reduction) -> tuple[sp.csr_array, ...]:
    """Return orthonormal Hermitian operators that are invariant under the reduction, as columns over the pairs.

    An orbit o of pairs and its conjugate (|b><a| for |a><b|) give one operator if they coincide, else the Hermitian sum
    and i times the difference; in a real gauge the combination e^{i chi} o + e^{-i chi} conjugate alone.
    """
    a, b = generator.pairs
    total = len(a)
    smallest = reduction.orbits.min(axis=0)  # representative of the orbit of every pair
    conjugate = smallest[generator.pair_numbers(b, a)]
    members, representative, conjugates = np.arange(total), smallest, conjugate
    phase = np.zeros(total) if reduction.phases is None else reduction.phases[a] - reduction.phases[b]
    chi = phase[representative]
    size = np.bincount(smallest, minlength=total)[representative]
    alone = representative == conjugates
    lower = np.minimum(representative, conjugates)
    sign = np.where(representative <= conjugates, 1.0, -1.0)
    chi = np.where(sign > 0, chi, -phase[lower])
    weight = np.where(alone, 1.0, 0.5**0.5) / np.sqrt(size)
    first_value = weight * np.where(alone, 1.0, np.exp(1j * chi))
    keep_first: np.ndarray = np.ones(total, dtype=bool)
    second = ~alone
    if reduction.phases is not None:
        keep_first = ~alone | (np.abs(np.exp(2j * phase[representative]) - 1) < 1e-9)
        second = np.zeros(total, dtype=bool)
    rows = np.concatenate([members[keep_first], members[second]])
    keys = np.concatenate([2 * lower[keep_first], 2 * lower[second] + 1])
    values = np.concatenate([first_value[keep_first], (1j * sign * weight)[second]])
    out = []
    level = np.searchsorted(generator.offsets, rows, side="right") - 1
    for n, (start, stop) in enumerate(itertools.pairwise(generator.offsets)):
        mine = level == n
        _, column = np.unique(keys[mine], return_inverse=True)
        width = int(column.max(initial=-1)) + 1
        entries = (values[mine], (rows[mine] - start, column))
        out.append(sp.csr_array(sp.coo_array(entries, shape=(int(stop - start), width))))
    return tuple(out)
