"""The totally symmetric sector of a Lindbladian as a real linear problem.

Two bases of strings are at hand.  *Hermitian* strings make the generator real and carry Z2 gradings; *matrix units*
carry U(1) charges as well (there the invariant operators of a U(1) are fewer).  In matrix units an invariant Hermitian
operator has conjugate coefficients on conjugate orbits, so its real and imaginary parts are the real unknowns z.

The generator splits into connected components.  Only those that contain operators with a trace can hold a state: one
component means one candidate steady state, and a strong symmetry shows as several, each with a steady state of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from ..model import Lindbladian
from .gradings import Grading, charge_gradings, count_strings, parity_gradings, unit_generators
from .lattice_symmetry import lattice_symmetries
from .orbits import OrbitBasis, find_orbits, orbit_generator
from .terms import local_generators, pair_generators

__all__ = ["Component", "SectorPlan", "SymmetricSector", "build_sector", "plan_sector"]

Sites = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class SectorPlan:
    """What is known before anything large is made.

    Attributes
    ----------
    kind
        ``"hermitian"`` or ``"units"``.
    group
        Site permutations, (order, L).
    gradings
        Conserved labels of the strings.
    strings, size
        Number of strings in the sector, and about how many orbits (real unknowns) they form.
    entries
        About how many non-zero elements the reduced matrix has.
    generators
        Local generators in the basis of the strings.
    """

    dims: tuple[int, ...]
    kind: str
    group: np.ndarray
    gradings: tuple[Grading, ...]
    strings: int
    generators: Mapping[Sites, np.ndarray]

    @property
    def size(self) -> float:
        return max(self.strings / len(self.group), 1.0)

    @property
    def entries(self) -> float:
        filling = sum(int(np.count_nonzero(g)) / len(g) for g in self.generators.values())
        return self.size * (1.0 + filling)

    @property
    def reduction(self) -> float:
        """How many times fewer unknowns than in the full operator space."""
        return math.prod(float(d) ** 2 for d in self.dims) / self.size

    def memory(self) -> float:
        """Return about the bytes that building and holding the reduced matrix takes."""
        table = 4.0 * math.prod(float(d) ** 2 for d in self.dims)
        return table + 20.0 * self.entries * (1 if self.kind == "hermitian" else 2) + 60.0 * self.size + 2e8

    def seconds(self) -> float:
        """Return about the seconds that building the reduced matrix takes."""
        return 0.05 + 3e-8 * math.prod(float(d) ** 2 for d in self.dims) + 2e-7 * self.entries

    def __str__(self) -> str:
        strings = "Hermitian strings" if self.kind == "hermitian" else "matrix units"
        return (
            f"{strings} invariant under {len(self.group)} site permutation(s) and {len(self.gradings)} grading(s), "
            f"about {self.size:.3g} of {self.reduction * self.size:.3g} unknowns"
        )


def plan_sector(model: Lindbladian, *, kind: str | None = None) -> SectorPlan:
    """Return the symmetries of a model and the size of its totally symmetric sector, without building it.

    ``kind=None`` takes the basis with fewer strings (for a strong symmetry matrix units, which separate its
    values).

    Examples
    --------
    >>> from mpo_transport.models import persistent_current
    >>> plan = plan_sector(persistent_current(6, 2.0, 1.5))
    >>> plan.kind, len(plan.group), plan.strings
    ('hermitian', 12, 2048)
    """
    dims = tuple(int(d) for d in model.lattice.dims)
    legs = [d * d for d in dims]
    real = pair_generators(local_generators(model), dims)
    group = lattice_symmetries(model, generators=real)
    plain = parity_gradings(real, legs, [np.array([0])] * len(dims))
    strings = count_strings(plain, legs)
    hermitian = SectorPlan(dims, "hermitian", group, plain, strings, real)
    strong = any(s.strength == "strong" for s in model.conserved)
    charged = strong or any(s.group == "U(1)" for s in model.conserved)
    if kind == "hermitian" or (kind is None and not charged):
        return hermitian
    complex_ = unit_generators(real, dims)
    diagonal = [np.arange(d) * (d + 1) for d in dims]
    gradings = (*charge_gradings(model.lattice, model.conserved), *parity_gradings(complex_, legs, diagonal))
    units = SectorPlan(dims, "units", group, gradings, count_strings(gradings, legs), complex_)
    return units if kind == "units" or strong or units.strings < strings else hermitian


# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Component:
    """One invariant block of the sector that holds operators with a trace.

    Attributes
    ----------
    unknowns
        Which unknowns of the sector belong to it, shape (n,).
    matrix
        The generator on them, (n, n) real sparse.
    trace
        Tr rho = trace . z, shape (n,).
    mixed
        The maximally mixed state of the component, trace . mixed = 1.
    weight
        The part of the trace of the maximally mixed state of the whole that lies in it; the weights sum to 1.
    """

    unknowns: np.ndarray
    matrix: sp.csr_array
    trace: np.ndarray
    mixed: np.ndarray
    weight: float


@dataclass(frozen=True, eq=False)
class SymmetricSector:
    """Orbits, real unknowns and the reduced generator.

    ``first`` and ``second`` are the orbits whose real parts and whose imaginary parts are unknowns, ``weights`` turns
    the unknown of a real part into a coefficient (1 for Hermitian orbits, 1/sqrt(2) for conjugate pairs), ``partner``
    is the conjugate of every orbit.
    """

    plan: SectorPlan
    basis: OrbitBasis
    first: np.ndarray
    second: np.ndarray
    weights: np.ndarray
    partner: np.ndarray
    components: tuple[Component, ...]
    norm: float

    @property
    def size(self) -> int:
        """Number of real unknowns of the sector."""
        return len(self.first) + len(self.second)

    def coefficients(self, z: np.ndarray) -> np.ndarray:
        """Return the orbit coefficients c of real unknowns z, shape (number of orbits,); real for Hermitian strings."""
        if self.plan.kind == "hermitian":
            return z
        c = np.zeros(len(self.basis), dtype=complex)
        c[self.first] = self.weights * z[: len(self.first)]
        c[self.second] += 1j * z[len(self.first) :] / np.sqrt(2)
        c[self.partner[self.first]] = c[self.first].conj()
        return c

    def unknowns(self, c: np.ndarray) -> np.ndarray:
        """Return the real unknowns of a Hermitian operator with coefficients c; inverse of :meth:`coefficients`."""
        if self.plan.kind == "hermitian":
            return np.real(c).copy()
        return np.concatenate([np.real(c[self.first]) / self.weights, np.imag(c[self.second]) * np.sqrt(2)])


def build_sector(plan: SectorPlan, report: Callable[[float], None] | None = None) -> SymmetricSector:
    """Return the totally symmetric sector with its reduced generator."""
    basis = find_orbits(plan.dims, plan.group, plan.gradings).with_table()
    number = len(basis)
    if plan.kind == "hermitian":
        partner = np.arange(number)
        trace = np.where(basis.representatives == 0, float(np.prod(plan.dims)) ** 0.5, 0.0)
        matrix = orbit_generator(basis, plan.generators, report=report)
        first, second = partner, partner[:0]
        weights = np.ones(number)
    else:
        partner, diagonal = _conjugates(basis, plan.dims)
        first = np.flatnonzero(partner >= np.arange(number))
        second = np.flatnonzero(partner > np.arange(number))
        weights = np.where(partner[first] == first, 1.0, 0.5**0.5)
        half = orbit_generator(basis, plan.generators, rows=first, report=report)
        matrix = _real_form(half, first, second, weights, partner)
        trace = np.concatenate([np.where(diagonal, basis.norms, 0.0)[first], np.zeros(len(second))])
    norm = float(abs(matrix).sum(axis=0).max()) if matrix.nnz else 0.0
    slim = OrbitBasis(basis.dims, basis.group, basis.representatives, basis.multiplicities)
    parts = _components(matrix, trace, split=plan.kind == "units")
    return SymmetricSector(plan, slim, first, second, weights, partner, parts, norm)


def _conjugates(basis: OrbitBasis, dims: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the orbit of |b><a| for every orbit of |a><b|, and whether the orbit is diagonal."""
    coding = basis.coding
    swap = coding.relabelling([np.arange(d * d).reshape(d, d).T.ravel() for d in dims])
    off = coding.tables([np.where(np.arange(d * d) % (d + 1) == 0, 0, 1) for d in dims])
    codes = basis.representatives
    return basis.number_of(coding.evaluate(swap, codes)), coding.evaluate(off, codes) == 0


def _real_form(
    half: sp.csr_array, first: np.ndarray, second: np.ndarray, weights: np.ndarray, partner: np.ndarray
) -> sp.csr_array:
    """Return the real matrix on (real parts, imaginary parts) from the complex rows of the orbits ``first``.

    With c_k = w (u + i v) on a kept orbit and the conjugate on its partner, a row a + i b contributes a u - s b v to
    the real and b u + s a v to the imaginary part, s = -1 where the column is the partner of a kept orbit.
    """
    number = len(partner)
    kept = np.minimum(np.arange(number), partner)
    real_index = np.full(number, -1)
    real_index[first] = np.arange(len(first))
    imaginary_index = np.full(number, -1)
    imaginary_index[second] = len(first) + np.arange(len(second))
    size = len(first) + len(second)
    coo = half.tocoo()
    row, column = first[coo.coords[0]], coo.coords[1]
    source = kept[column]
    sign = np.where(column == source, 1.0, -1.0)
    scale = weights[real_index[source]] / weights[coo.coords[0]]
    a, b = coo.data.real * scale, coo.data.imag * scale
    pieces = []
    for value, rows, columns in (
        (a, real_index[row], real_index[source]),
        (-sign * b, real_index[row], imaginary_index[source]),
        (b, imaginary_index[row], real_index[source]),
        (sign * a, imaginary_index[row], imaginary_index[source]),
    ):
        good = (value != 0) & (rows >= 0) & (columns >= 0)
        pieces.append((value[good], rows[good], columns[good]))
    values, rows, columns = (np.concatenate(part) for part in zip(*pieces, strict=True))
    matrix = sp.csr_array(sp.coo_array((values, (rows, columns)), shape=(size, size)))
    matrix.data[np.abs(matrix.data) < 1e-15 * np.abs(matrix.data).max(initial=0.0)] = 0.0
    matrix.eliminate_zeros()
    return matrix


def _components(matrix: sp.csr_array, trace: np.ndarray, *, split: bool) -> tuple[Component, ...]:
    whole = float(trace @ trace)
    if not split:
        everything = np.arange(len(trace))
        return (Component(everything, matrix, trace, trace / whole, 1.0),)
    _, labels = connected_components(matrix, directed=False)
    out = []
    for label in dict.fromkeys(labels[trace != 0].tolist()):
        members = np.flatnonzero(labels == label)
        block = matrix if len(members) == len(trace) else sp.csr_array(matrix[members][:, members])
        t = trace[members]
        out.append(Component(members, block, t, t / float(t @ t), float(t @ t) / whole))
    return tuple(out)
