"""Symmetries found from the text, gradings, orbits of operator strings, the reduced generator; proof of uniqueness."""

import itertools
import math

import numpy as np
import pytest

from mpo_transport import (
    Boson,
    Chain,
    Graph,
    Jump,
    Lindbladian,
    OpSum,
    Spin,
    SpinHalf,
    op,
)
from mpo_transport.methods.exact_idr import InducedReduction, idr_chunk
from mpo_transport.methods.exact_nojump import no_jump_inverse
from mpo_transport.methods.exact_uniqueness import generates_everything, is_positive_definite
from mpo_transport.models import boundary_driven_xx, persistent_current, ring_dephasing
from mpo_transport.states import OrbitState
from mpo_transport.superoperator import (
    dense_lindbladian,
    hermitian_lindbladian,
    local_generators,
    operator_matrix,
)
from mpo_transport.superoperator.gradings import (
    Grading,
    charge_gradings,
    count_strings,
    parity_gradings,
    unit_generators,
)
from mpo_transport.superoperator.lattice_symmetry import irreducible_parts, lattice_symmetries
from mpo_transport.superoperator.orbits import find_orbits, orbit_generator
from mpo_transport.superoperator.symmetric_sector import build_sector, plan_sector


def dihedral(L):
    return np.array([[(s * j + r) % L for j in range(L)] for s in (1, -1) for r in range(L)])


def hop(i, j, c=1.0):
    term = c * op("Sp", i) * op("Sm", j)
    return term + term.dag


def permuted(model, g):
    """The dense generator with the sites renamed."""
    L, d = model.L, int(model.lattice.dims[0])
    tensor = dense_lindbladian(model).reshape([d] * (4 * L))
    axes = [k * L + int(np.argwhere(np.asarray(g) == j)[0, 0]) for k in range(4) for j in range(L)]
    return tensor.transpose(axes).reshape(d ** (2 * L), -1)


# ----------------------------------------------------------------------------------------------------------------------
# lattice symmetries


@pytest.mark.parametrize(
    ("model", "order"),
    [
        (persistent_current(6, 2.0, 1.5), 12),
        (persistent_current(6, 2.0, 1.5, gamma=1.0), 6),  # alpha != gamma: no reflection
        (persistent_current(6, 2.0, 1.5, mu=[1.0, 0.3] * 3), 6),  # two-site cell: translation by 2, reflection
        (persistent_current(6, 2.0, 1.5, mu=[1.0, 0.3] * 3, gamma=1.0), 3),
        (persistent_current(6, 2.0, 1.5, mu=[1.0, 0.3, 0.3, 1.0, 0.7, 0.7]), 2),  # one mirror only
        (persistent_current(6, 2.0, 1.5, mu=[0.1, 0.2, 0.3, 0.4, 0.5, 0.7]), 1),
        (persistent_current(5, 2.0, 1.5, J=1.0, flux=1.0), 5),  # a flux forbids reflections
        (persistent_current(5, 2.0, 1.5, J=1.0), 10),
        (persistent_current(5, 2.0, 1.5, periodic=False), 2),
        (persistent_current(5, 2.0, 1.5, gamma=1.9, periodic=False), 1),
        (boundary_driven_xx(5, 1.0, 1.0, 0.7, 1.0, 0.3), 1),
        (boundary_driven_xx(5, 1.0, 1.0, 0.7, 1.0, 0.7), 2),
    ],
)
def test_exactly_the_true_symmetries_are_found(model, order):
    group = lattice_symmetries(model)
    assert len(group) == order
    assert group[0].tolist() == list(range(model.L))


@pytest.mark.parametrize(
    "model",
    [
        persistent_current(4, 2.0, 1.5),
        persistent_current(4, 2.0, 1.5j, gamma=1.0 + 0.5j),
        persistent_current(4, 2.0, 1.5, mu=[1.0, 0.3, 1.0, 0.3]),
        persistent_current(4, 2.0, 0.4, periodic=False),
    ],
)
def test_a_permutation_is_found_if_and_only_if_the_dense_generator_is_invariant(model):
    found = {tuple(g) for g in lattice_symmetries(model)}
    exact = dense_lindbladian(model)
    for g in itertools.permutations(range(4)):
        distance = np.abs(permuted(model, g) - exact).max()
        if g in found:
            assert distance < 1e-13
        elif g in {tuple(x) for x in dihedral(4)} and (model.lattice.periodic or g == (3, 2, 1, 0)):
            assert distance > 1e-3


def test_the_way_a_model_is_written_does_not_matter():
    lattice = Chain(5, SpinHalf(), periodic=True)
    rng = np.random.default_rng(1)
    phases = np.exp(2j * np.pi * rng.random(5))
    jumps = [op("Sm", i) + 0.5 * op("Sp", j) + op("Sm", j) + 0.5 * op("Sp", i) for i, j in lattice.bonds]
    h = sum((op("N", i) * op("N", j) for i, j in lattice.bonds), OpSum()) - 2 * sum(
        (op("N", j) for j in range(5)), OpSum()
    )
    same = sum((0.25 * op("Z", i) * op("Z", j) for i, j in lattice.bonds), OpSum()) - 0.5 * op("Z", 0)
    same = same - sum((0.5 * op("Z", j) for j in range(1, 5)), OpSum())
    unitary = np.linalg.qr(rng.standard_normal((5, 5)) + 1j * rng.standard_normal((5, 5)))[0]
    mixed = [sum((complex(u) * f for u, f in zip(row, jumps, strict=True)), OpSum()) for row in unitary]
    for hamiltonian, operators in (
        (h, jumps),
        (same, jumps),
        (h, [complex(p) * f for p, f in zip(phases, jumps, strict=True)]),
        (h, mixed),
    ):
        assert len(lattice_symmetries(Lindbladian(lattice, hamiltonian, [Jump(f) for f in operators]))) == 10


def test_graphs_are_searched_for_automorphisms():
    def model(edges, special=None):
        h = sum((hop(i, j) for i, j in edges), OpSum())
        L = 1 + max(map(max, edges))
        jumps = [Jump(op("Sm", j), 0.5 if j != special else 0.7) for j in range(L)]
        return Lindbladian(Graph(edges, SpinHalf()), h, jumps)

    star = [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert len(lattice_symmetries(model(star))) == 24
    assert len(lattice_symmetries(model(star, special=2))) == 6
    assert len(lattice_symmetries(model([(0, 1), (1, 2), (2, 0), (2, 3)]))) == 2
    cube = [(a, a ^ bit) for a in range(8) for bit in (1, 2, 4) if a < a ^ bit]
    assert len(lattice_symmetries(model(cube))) == 48
    free = lattice_symmetries(Lindbladian(Graph([], SpinHalf(), L=7), None, [Jump(op("Sm", j)) for j in range(7)]))
    assert 1 < len(free) <= 512  # 5040 permutations: a subgroup is kept
    closed = {tuple(a[b]) for a in free for b in free}
    assert closed == {tuple(g) for g in free}


def test_given_candidates_are_checked():
    model = persistent_current(6, 2.0, 1.5, mu=[1.0, 0.3] * 3)
    shift = [(j + 1) % 6 for j in range(6)]
    twice = [(j + 2) % 6 for j in range(6)]
    assert len(lattice_symmetries(model, candidates=[shift])) == 1
    assert len(lattice_symmetries(model, candidates=[shift, twice])) == 3


def test_sites_of_different_dimension_are_not_exchanged():
    lattice = Chain(3, [Boson(2), Boson(3), Boson(2)])
    h = sum((op("Adag", i) * op("A", j) + op("A", i) * op("Adag", j) for i, j in lattice.bonds), OpSum())
    assert len(lattice_symmetries(Lindbladian(lattice, h, [Jump(op("A", 1))]))) == 2
    lattice = Chain(3, [Boson(2), Boson(2), Boson(3)])
    assert len(lattice_symmetries(Lindbladian(lattice, h, [Jump(op("A", 1))]))) == 1


def test_irreducible_parts_add_up_and_have_no_partial_trace():
    model = persistent_current(3, 2.0, 1.5 + 0.5j, J=0.4, eps_x=0.3)
    parts = irreducible_parts(local_generators(model), (2, 2, 2))
    for sites, part in parts.items():
        n = len(sites)
        for k in range(n):
            assert np.abs(np.trace(part, axis1=k, axis2=n + k)).max() < 1e-13
    matrices = {s: p.reshape(4 ** len(s), -1) for s, p in parts.items() if s}
    total = hermitian_lindbladian(matrices, (2, 2, 2)).toarray() + float(parts[()]) * np.eye(64)
    assert np.abs(total - hermitian_lindbladian(model).toarray()).max() < 1e-13


# ----------------------------------------------------------------------------------------------------------------------
# gradings


def test_gradings_of_pauli_strings():
    model = persistent_current(4, 2.0, 1.5)
    neutral = [np.array([0])] * 4
    (grading,) = parity_gradings(local_generators(model), [4] * 4, neutral)
    assert [x.tolist() for x in grading.labels] == [[0, 1, 1, 0]] * 4
    assert parity_gradings(local_generators(persistent_current(4, 2.0, 1.5, eps_x=0.2)), [4] * 4, neutral) == ()


def test_gradings_are_conserved_and_all_are_found():
    """Two Z2: number parity on the even and on the odd sites separately; the sector has 4^L / 4 strings."""
    lattice = Chain(4, SpinHalf())
    h = 0.3 * op("X", 0) * op("X", 2) + 0.7 * op("X", 1) * op("X", 3) + 0.2 * op("Z", 0) * op("Z", 1)
    h = h + 0.4 * op("Z", 0) + 0.5 * op("Z", 3) + 0.1 * op("Y", 0) * op("X", 2) + 0.3 * op("Y", 1) * op("X", 3)
    jumps = [Jump(op("Sm", 0) + 0.3 * op("Sp", 2)), Jump(op("Sp", 1) + 0.2 * op("Sm", 3)), Jump(op("Sm", 3), 0.2)]
    model = Lindbladian(lattice, h, jumps)
    gradings = parity_gradings(local_generators(model), [4] * 4, [np.array([0])] * 4)
    assert len(gradings) == 2
    assert count_strings(gradings, [4] * 4) == 4**4 // 4
    matrix = hermitian_lindbladian(model).tocoo()
    for grading in gradings:
        total = np.zeros(1, dtype=int)
        for labels in grading.labels:
            total = (total[:, None] + labels[None, :]).ravel()
        assert np.all((total[matrix.coords[0]] - total[matrix.coords[1]])[np.abs(matrix.data) > 1e-14] % 2 == 0)


def test_charge_sector_counts():
    """Strings with equal charge on both sides: sum_N C(L, N)^2 = C(2L, L)."""
    model = boundary_driven_xx(5, 1.0, 1.0, 0.7, 1.0, 0.3)
    gradings = charge_gradings(model.lattice, model.conserved)
    assert count_strings(gradings, [4] * 5) == math.comb(10, 5)
    assert count_strings((), [4] * 5) == 4**5


def test_unit_generators_are_the_row_major_generator():
    model = persistent_current(2, 1.0 + 0.3j, 0.5, J=0.2j, periodic=False)
    ((_, g),) = [(s, g) for s, g in unit_generators(local_generators(model), (2, 2)).items() if s == (0, 1)]
    pair_only = local_generators(model)[(0, 1)]
    x = np.random.default_rng(0).standard_normal(16)
    from_hermitian = np.array(np.linalg.multi_dot([pair_only, x]))
    basis = np.array([[1, 0, 0, 1], [0, 1, -1j, 0], [0, 1, 1j, 0], [1, 0, 0, -1]]) / np.sqrt(2)
    change = np.kron(basis, basis)
    assert np.abs(g @ (change @ x) - change @ from_hermitian).max() < 1e-13


# ----------------------------------------------------------------------------------------------------------------------
# orbits


def cycles(g):
    seen, lengths = set(), []
    for start in range(len(g)):
        length, j = 0, start
        while j not in seen:
            seen.add(j)
            j, length = g[j], length + 1
        if length:
            lengths.append(length)
    return lengths


@pytest.mark.parametrize(("L", "published"), [(6, 226), (7, 650), (8, 2259), (9, 7542)])
def test_orbit_counts_follow_from_burnside(L, published):
    """Even strings fixed by g: (4^c + prod (2 + 2 (-1)^length)) / 2 over the c cycles of g."""
    group = dihedral(L)
    fixed = [(4 ** len(cycles(g)) + math.prod(2 + 2 * (-1) ** n for n in cycles(g))) // 2 for g in group.tolist()]
    plan = plan_sector(persistent_current(L, 2.0, 1.5))
    orbits = find_orbits(plan.dims, plan.group, plan.gradings)
    assert len(orbits) == sum(fixed) // len(group) == published
    assert orbits.multiplicities.sum() == count_strings(plan.gradings, [4] * L) == 4**L // 2


def test_open_chain_counts():
    plan = plan_sector(persistent_current(8, 2.0, 1.0, periodic=False))
    assert len(find_orbits(plan.dims, plan.group, plan.gradings)) == 16512


def test_orbits_partition_the_strings():
    orbits = find_orbits((2, 3, 2), np.array([[0, 1, 2], [2, 1, 0]]))
    table = orbits.with_table()
    codes = np.arange(4 * 9 * 4)
    assert np.array_equal(orbits.number_of(codes), table.number_of(codes))
    assert np.array_equal(np.bincount(table.number_of(codes)), orbits.multiplicities)
    digits = orbits.coding.digits(codes)
    swapped = orbits.coding.strides @ digits[::-1]
    assert np.array_equal(table.number_of(swapped), table.number_of(codes))


def test_expand_and_restrict_are_adjoint_isometries():
    rng = np.random.default_rng(3)
    orbits = find_orbits((2,) * 5, dihedral(5), [Grading((np.array([0, 1, 1, 0]),) * 5, modulus=2)])
    c = rng.standard_normal(len(orbits))
    x = rng.standard_normal(4**5)
    assert np.abs(orbits.restrict(orbits.expand(c)) - c).max() < 1e-14
    assert abs(x @ orbits.expand(c) - orbits.restrict(x) @ c) < 1e-12
    assert abs(np.linalg.norm(orbits.expand(c)) - np.linalg.norm(c)) < 1e-13


def random_ring(seed, **more):
    rng = np.random.default_rng(seed)
    a, d, j, lam = rng.standard_normal(4) + 1j * rng.standard_normal(4)
    return persistent_current(4, a, d, beta=d, gamma=a, J=j.real, lam=lam, mu=rng.standard_normal(), **more)


MODELS = {
    "ring with reflection": lambda: random_ring(1),
    "ring, translations only": lambda: persistent_current(4, 1.0 + 0.2j, 0.4, gamma=0.7j, beta=0.3, J=0.5j, mu=0.7),
    "two-site cell": lambda: persistent_current(4, 1.0, 0.4, mu=[1.0, -0.4] * 2, J=0.3),
    "open chain": lambda: persistent_current(4, 1.0, 0.4j, J=0.3, periodic=False),
    "no parity": lambda: random_ring(2, eps_x=0.4),
    "no symmetry": lambda: persistent_current(3, [1.0, 0.5, 2.0], 0.3, mu=[0.1, 0.4, 0.9], eps_x=0.3),
    "driven chain": lambda: boundary_driven_xx(4, 1.0, 1.0, 0.7, 1.0, 0.3, dephasing=0.2),
    "loss only": lambda: persistent_current(4, 1.0, 0.0, J=0.4 + 0.3j, kappa=0.2),
    "bosons": lambda: persistent_current(3, 1.0, 0.5, U=1.0, levels=3),
    "driven bosons": lambda: boundary_driven_xx(3, 1.0, 1.0, 0.7, 1.0, 0.3, levels=3),
    "spin 1": lambda: Lindbladian(
        Chain(3, Spin(1), periodic=True),
        sum((op("Sp", j) * op("Sm", (j + 1) % 3) + op("Sm", j) * op("Sp", (j + 1) % 3) for j in range(3)), OpSum()),
        [Jump(op("Sm", j), 0.3) for j in range(3)] + [Jump(op("Sp", j) * op("Sz", (j + 1) % 3)) for j in range(3)],
    ),
}


@pytest.mark.parametrize("kind", ["hermitian", "units"])
@pytest.mark.parametrize("name", MODELS)
def test_reduced_generator_is_the_whole_one_on_symmetric_operators(name, kind):
    model = MODELS[name]()
    sector = build_sector(plan_sector(model, kind=kind))
    full = dense_lindbladian(model)
    rng = np.random.default_rng(5)
    for component in sector.components:
        z = np.zeros(sector.size)
        z[component.unknowns] = rng.standard_normal(len(component.unknowns))
        z /= np.linalg.norm(z)
        moved = np.zeros(sector.size)
        moved[component.unknowns] = component.matrix @ z[component.unknowns]
        rho, image = (
            OrbitState(model.lattice, sector.basis, sector.coefficients(v), kind)._matrix() for v in (z, moved)
        )
        scale = np.abs(full).max()
        assert np.abs(rho - rho.conj().T).max() < 1e-15
        assert np.abs((full @ rho.ravel()).reshape(rho.shape) - image).max() < 1e-13 * scale
        assert abs(np.trace(rho) - component.trace @ z[component.unknowns]) < 1e-13
        assert np.abs(component.trace @ component.matrix).max() < 1e-13 * scale  # trace preservation
        assert np.abs(sector.unknowns(sector.coefficients(z)) - z).max() < 1e-15
    assert abs(sum(c.weight for c in sector.components) - 1) < 1e-14


def test_strong_symmetry_gives_one_component_per_charge():
    model = ring_dephasing(4, 1.0, 0.5)
    sector = build_sector(plan_sector(model))
    weights = sorted(c.weight * 16 for c in sector.components)
    assert np.allclose(weights, sorted(math.comb(4, n) for n in range(5)), atol=1e-12)


def test_a_wrong_grading_is_noticed():
    orbits = find_orbits((2,) * 3, np.arange(3)[None, :], [Grading((np.array([0, 1, 0, 0]),) * 3, modulus=2)])
    with pytest.raises(ValueError, match="not conserved"):
        orbit_generator(orbits.with_table(), local_generators(persistent_current(3, 2.0, 1.5)))


def test_without_table_the_rows_are_the_same():
    model = persistent_current(5, 2.0, 1.5)
    plan = plan_sector(model)
    orbits = find_orbits(plan.dims, plan.group, plan.gradings)
    rows = np.array([0, 3, 7])
    a = orbit_generator(orbits, plan.generators, rows=rows).toarray()
    b = orbit_generator(orbits.with_table(), plan.generators).toarray()
    assert np.array_equal(a, b[rows])


# ----------------------------------------------------------------------------------------------------------------------
# solvers and the proof of uniqueness


def test_idr_in_pieces_is_idr_in_one_run():
    rng = np.random.default_rng(4)
    n = 300
    a = np.diag(np.linspace(1, 20, n)) + 0.3 * rng.standard_normal((n, n)) / np.sqrt(n)
    b = rng.standard_normal(n)
    start = InducedReduction.begin(a.__matmul__, b, np.zeros(n))
    once = idr_chunk(a.__matmul__, lambda v: v / np.diag(a), start, target=1e-11, products=1000, seed=1)
    pieces = start
    while pieces.residual > 1e-11:
        pieces = idr_chunk(a.__matmul__, lambda v: v / np.diag(a), pieces, target=1e-11, products=7, seed=1)
        pieces = InducedReduction.stored(pieces.arrays(), pieces.numbers())
    assert np.array_equal(once.x, pieces.x)
    assert np.linalg.norm(a @ once.x - b) < 2e-11
    assert once.products < 80


@pytest.mark.parametrize(
    "model", [MODELS["driven chain"](), MODELS["ring with reflection"](), MODELS["driven bosons"]()]
)
def test_no_jump_inverse_inverts_the_evolution_between_jumps(model):
    sector = build_sector(plan_sector(model, kind="units"))
    (component,) = sector.components
    k = -1j * operator_matrix(model.lattice, model.hamiltonian).toarray()
    for jump in model.jumps:
        l = operator_matrix(model.lattice, jump.operator).toarray()
        k = k - 0.5 * jump.rate * l.conj().T @ l
    z = np.zeros(sector.size)
    z[component.unknowns] = np.random.default_rng(0).standard_normal(len(component.unknowns))
    inverse = no_jump_inverse(model, sector, component)
    w = np.zeros(sector.size)
    w[component.unknowns] = inverse(z[component.unknowns])
    rho, source = (OrbitState(model.lattice, sector.basis, sector.coefficients(v), "units")._matrix() for v in (w, z))
    assert np.abs(k @ rho + rho @ k.conj().T - source).max() < 1e-11 * np.abs(source).max()


def commutant_dimension(model):
    """Number of operators that commute with H, the jumps and their adjoints, by brute force."""
    operators = [operator_matrix(model.lattice, model.hamiltonian).toarray()]
    for jump in model.jumps:
        l = operator_matrix(model.lattice, jump.operator).toarray()
        operators += [l, l.conj().T]
    one = np.eye(len(operators[0]))
    stacked = np.vstack([np.kron(a, one) - np.kron(one, a.T) for a in operators])
    values = np.linalg.svd(stacked, compute_uv=False)
    return int(np.sum(values < 1e-10 * values[0]))


@pytest.mark.parametrize(
    ("model", "known"),
    [
        (persistent_current(4, 2.0, 1.5), True),
        (persistent_current(4, 2.0, 1.5, mu=0.0), True),
        (persistent_current(4, 2.0, 2.0, mu=0.0), False),  # products of X commute with everything
        (persistent_current(2, 2.0, 1.0, periodic=False), False),  # the total spin is conserved
        (boundary_driven_xx(4, 1.0, 1.0, 0.7, 0.0, 0.3), True),  # one bath reaches the whole chain
        (boundary_driven_xx(4, [1.0, 0.0, 1.0], 1.0, 0.7, 0.0, 0.3), False),  # a cut chain
        (ring_dephasing(4, 1.0, 0.5), False),
        (persistent_current(3, 1.0, 0.5, U=1.0, levels=3), True),
    ],
)
def test_generating_everything_agrees_with_the_commutant(model, known):
    assert generates_everything(model) is known
    if model.L < 5 and math.prod(model.lattice.dims) <= 16:
        assert (commutant_dimension(model) == 1) is known


def test_positive_definite_with_margin():
    rho = np.diag([0.5, 0.3, 0.2 - 1e-9, 1e-9])
    assert is_positive_definite(rho, 1e-10)
    assert not is_positive_definite(rho, 1e-8)
    assert not is_positive_definite(np.diag([0.7, 0.4, -0.1]), 0.0)
    blocks = np.zeros((4, 4))
    blocks[np.ix_([0, 2], [0, 2])] = [[0.3, 0.1], [0.1, 0.2]]
    blocks[np.ix_([1, 3], [1, 3])] = [[0.3, 0.3], [0.3, 0.2]]
    assert not is_positive_definite(blocks, 0.0, np.array([0, 1, 0, 1]))
