"""ExactDiag by elimination over the levels of a conserved charge: agreement, closed forms, refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Boson, Chain, Graph, InputError, Jump, Lindbladian, OpSum, Spin, SpinHalf, op
from mpo_transport import observables as obs
from mpo_transport.errors import InsufficientMemoryError, NotSupportedError
from mpo_transport.methods import ExactDiag, exact_blocks
from mpo_transport.methods.block_elimination import choose_pivot, eliminate, solve_blocks
from mpo_transport.models import boundary_driven_xx, persistent_current, ring_dephasing
from mpo_transport.result import Status
from mpo_transport.states import OrbitState
from mpo_transport.superoperator import dense_lindbladian
from mpo_transport.superoperator.charge_sectors import charge_basis, charge_plan
from mpo_transport.superoperator.level_blocks import find_reduction, level_generator, real_blocks
from mpo_transport.symmetry import charge_changes


def solved(model, *, tol=1e-8, initial=None, solver="blocks", **knobs):
    method = ExactDiag(solver=solver, **knobs)
    return mt.steady_state(model, method=method, tol=tol, initial=initial, seed=3, on_failure="return", progress=False)


def null_state(model):
    """The steady state from the singular vectors of the dense generator; the next singular value is checked."""
    generator = dense_lindbladian(model)
    _, s, vh = np.linalg.svd(generator)
    assert s[-2] > 1e-6 > 1e-10 > s[-1]
    rho = vh[-1].conj().reshape((math.isqrt(len(generator)),) * 2)
    return rho / np.trace(rho)


def hopping(rng, L, up, down, bonds):
    total = OpSum()
    for i, j in bonds:
        term = complex(*rng.standard_normal(2)) * op(up, i) * op(down, j)
        total = total + term + term.dag
    return total


def random_spins(seed):
    """Hopping of any range with random phases, loss, gain, correlated loss and jumps that move a charge."""
    rng = np.random.default_rng(seed)
    h = hopping(rng, 4, "Sp", "Sm", [(0, 1), (1, 2), (2, 3), (0, 2)])
    h = h + sum((float(rng.standard_normal()) * op("Z", j) * op("Z", (j + 1) % 4) for j in range(3)), OpSum())
    jumps = [Jump(op("Sm", j), float(rng.uniform(0.1, 1))) for j in (0, 3)] + [Jump(op("Sp", 1), 0.4)]
    jumps.append(Jump(sum((complex(*rng.standard_normal(2)) * op("Sm", j) for j in range(4)), OpSum())))
    jumps.append(Jump(op("Sp", 2) * op("Sm", 1) + 0.3j * op("Z", 1), 0.5))
    return Lindbladian(Chain(4, SpinHalf()), h, jumps)


def random_bosons(seed):
    rng = np.random.default_rng(seed)
    h = hopping(rng, 3, "Adag", "A", [(0, 1), (1, 2), (2, 0)])
    h = h + sum((float(rng.standard_normal()) * op("N", j) * op("N", j) for j in range(3)), OpSum())
    jumps = [Jump(op("A", 0), 0.7), Jump(op("Adag", 2), 0.2), Jump(op("Adag", 0) * op("A", 1), 0.3)]
    jumps.append(Jump(op("A", 0) - 0.4j * op("A", 1) + 0.2 * op("A", 2)))
    return Lindbladian(Chain(3, Boson(3), periodic=True), h, jumps)


def mixed_sites():
    """A spin 1/2, a boson and a spin 1 on a triangle: exchange, loss, gain, dephasing."""
    spaces = [SpinHalf(), Boson(3), Spin(1)]
    h = op("Sp", 0) * op("A", 1) + 0.5j * op("Sp", 2) * op("A", 1) + 0.2 * op("Sp", 0) * op("Sm", 2)
    h = h + h.dag + 0.4 * op("Z", 0)
    jumps = [Jump(op("Sm", 0), 0.3), Jump(op("Adag", 1), 0.2), Jump(op("Sm", 2), 0.6), Jump(op("N", 1), 0.1)]
    return Lindbladian(Graph([(0, 1), (1, 2), (0, 2)], spaces), h, jumps)


def conversion():
    """One quantum of site 0 becomes two of site 1: 2 N(0) + N(1) is conserved, and jumps change it by 1 and 2."""
    h = op("Adag", 1) * op("Adag", 1) * op("A", 0)
    h = h + h.dag + 0.3 * op("N", 0) * op("N", 0)
    jumps = [Jump(op("A", 0), 0.5), Jump(op("A", 1), 0.3), Jump(op("Adag", 1), 0.2)]
    return Lindbladian(Chain(2, [Boson(3), Boson(5)]), h, jumps)


def pair_loss():
    h = hopping(np.random.default_rng(5), 2, "Adag", "A", [(0, 1)])
    jumps = [Jump(op("A", 0) * op("A", 1), 0.7), Jump(op("Adag", 0), 0.4), Jump(op("A", 1), 0.1)]
    return Lindbladian(Chain(2, Boson(4)), h, jumps)


def two_charges():
    """Two chains that exchange nothing but energy: N(0) + N(1) and N(2) + N(3) are conserved separately."""
    h = op("Sp", 0) * op("Sm", 1) + 1j * op("Sp", 2) * op("Sm", 3)
    h = h + h.dag + 0.7 * op("Z", 1) * op("Z", 2)
    jumps = [Jump(op("Sm", j), 0.2 + 0.1 * j) for j in range(4)] + [Jump(op("Sp", 0), 0.3), Jump(op("Sp", 3), 0.2)]
    return Lindbladian(Chain(4, SpinHalf()), h, jumps)


def interfering():
    """Jumps X and Y of one rate: neither changes the charge by a definite amount, together they do."""
    h = hopping(np.random.default_rng(9), 3, "Sp", "Sm", [(0, 1), (1, 2)])
    return Lindbladian(Chain(3, SpinHalf()), h, [Jump(op("X", 0), 0.3), Jump(op("Y", 0), 0.3), Jump(op("Sm", 2), 0.5)])


MODELS = {
    "spins": lambda: random_spins(1),
    "bosons": lambda: random_bosons(2),
    "mixed sites": mixed_sites,
    "weights 2 and 1": conversion,
    "pairs are lost": pair_loss,
    "two charges": two_charges,
    "X and Y": interfering,
    "only loss": lambda: persistent_current(4, 1.0, 0.0, J=0.4 + 0.3j, kappa=0.2),
    "only gain": lambda: Lindbladian(
        Chain(3, Boson(3)), hopping(np.random.default_rng(4), 3, "Adag", "A", [(0, 1), (1, 2)]), [Jump(op("Adag", 0))]
    ),
    "real gauge": lambda: boundary_driven_xx(4, [1.0, 2.0j, 0.5 - 1j], 1.0, 0.7, 1.0, 0.3, dephasing=0.2),
    "real gauge and reflection": lambda: boundary_driven_xx(4, 1.0, 1.0, 0.3, 1.0, 0.3, dephasing=0.2),
    "ring": lambda: boson_ring(3, 3, 0.7),
    "ring in a real gauge": lambda: boson_ring(4, 2, 0.5 * math.pi, U=0.0),
}


def boson_ring(L, levels, phase, U=0.3, baths=None):
    h, jumps = OpSum(), []
    for j in range(L):
        hop = 0.5 * np.exp(1j * phase) * op("Adag", j) * op("A", (j + 1) % L)
        h = h + hop + hop.dag + U * op("N", j) * op("N", j)
        n = 0.3 if baths is None else baths[j]
        jumps += [Jump(op("A", j), 0.2 * (1 + n)), Jump(op("Adag", j), 0.2 * n)]
    return Lindbladian(Chain(L, Boson(levels), periodic=L > 2), h, jumps)


@pytest.mark.parametrize("name", MODELS)
def test_the_levels_hold_the_steady_state(name):
    model = MODELS[name]()
    result = solved(model)
    assert result.status is Status.CONVERGED
    assert result.certificate.null_space == 1
    assert result.certificate.residual < 1e-13
    assert any("elimination over" in note for note in result.certificate.notes)
    rho = result.state.to_dense()
    difference = np.abs(rho - null_state(model)).max()
    assert difference < 1e-11
    assert difference < 100 * result.certificate.error_estimate + 1e-13
    other = solved(model, solver="direct")
    assert np.abs(rho - other.state.to_dense()).max() < 1e-10


@pytest.mark.parametrize("name", MODELS)
def test_blocks_are_the_generator(name):
    """Every element of the complex generator between operators of equal charge is in one of the blocks."""
    model = MODELS[name]()
    generator = level_generator(model, charge_plan(model))
    a, b = generator.pairs
    codes = generator.basis.codes
    where = codes[a] * len(codes) + codes[b]
    full = dense_lindbladian(model)[np.ix_(where, where)]
    got = np.array([generator.apply(unit) for unit in np.eye(len(where))]).T
    assert np.abs(got - full).max() < 1e-13 * np.abs(full).max()
    rest = np.delete(dense_lindbladian(model)[:, where], where, axis=0)
    assert np.abs(rest).max() < 1e-13 * np.abs(full).max()


@pytest.mark.parametrize(
    ("name", "order", "gauge"),
    [
        ("ring", 3, False),
        ("real gauge", 1, True),
        ("real gauge and reflection", 2, True),
        ("ring in a real gauge", 4, True),
        ("spins", 1, False),
    ],
)
def test_further_symmetries_make_the_blocks_smaller(name, order, gauge):
    model = MODELS[name]()
    generator = level_generator(model, charge_plan(model))
    reduction = find_reduction(generator)
    assert (len(reduction.orbits), reduction.phases is not None) == (order, gauge)
    blocks = real_blocks(generator, reduction)
    plain = real_blocks(generator, find_reduction(generator, trivial=True))
    assert int(plain.offsets[-1]) == len(generator.pairs[0])
    assert (int(blocks.offsets[-1]) < int(plain.offsets[-1])) == (order > 1 or gauge)
    for b in (blocks, plain):
        for q in b.isometries:
            assert np.abs((q.conj().T @ q).toarray() - np.eye(q.shape[1])).max() < 1e-14
        trace = np.concatenate(b.trace)
        assert np.abs(b.matrix().T @ trace).max() < 1e-14
    states = [b.coefficients(solve_blocks(b).x) for b in (blocks, plain)]
    assert np.abs(states[0] - states[1]).max() < 1e-12


@pytest.mark.parametrize("pivot", [0, 2, 5, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_factorisation_solves_the_bordered_problem(pivot, dtype):
    model = boson_ring(2, 5, 0.4, baths=(0.2, 0.9))
    generator = level_generator(model, charge_plan(model))
    blocks = real_blocks(generator, find_reduction(generator, trivial=True))
    elimination = eliminate(blocks, pivot, dtype)
    border = np.zeros(int(blocks.offsets[-1]))
    border[blocks.offsets[pivot] : blocks.offsets[pivot + 1]] = elimination.border
    matrix = blocks.matrix().toarray() - np.outer(border, elimination.level_trace)
    b = np.random.default_rng(3).standard_normal(len(matrix))
    for transpose, whole in ((False, matrix), (True, matrix.T)):
        x = elimination.solve(b, transpose=transpose)
        assert np.abs(whole @ x - b).max() < 100 * np.finfo(dtype).eps * blocks.norm * np.abs(x).max()


@pytest.mark.parametrize("single", [True, False])
def test_single_precision_is_refined_away_and_the_gain_is_that_of_the_singular_values(single):
    model = boson_ring(3, 3, 0.4, baths=(0.2, 0.9, 0.5))
    generator = level_generator(model, charge_plan(model))
    blocks = real_blocks(generator, find_reduction(generator))
    solution = solve_blocks(blocks, single=single)
    assert solution.single == single
    assert solution.residual < 1e-15
    dense = blocks.matrix().toarray()
    trace = np.concatenate(blocks.trace)
    x = np.linalg.lstsq(np.vstack([dense, trace]), np.append(np.zeros(len(dense)), 1.0), rcond=None)[0]
    assert np.abs(x - solution.x).max() < 1e-13
    basis = np.linalg.svd(trace[None, :])[2][1:]  # traceless operators
    smallest = np.linalg.svd(dense @ basis.T, compute_uv=False)[-1]
    assert 0.9 < solution.gain * smallest < 1.001


def test_stiff_models_are_repeated_in_double_precision():
    model = boson_ring(2, 5, 0.4, baths=(0.2, 0.9))
    slow = Lindbladian(model.lattice, model.hamiltonian, [replace(j, rate=1e-7 * j.rate) for j in model.jumps])
    generator = level_generator(slow, charge_plan(slow))
    solution = solve_blocks(real_blocks(generator, find_reduction(generator)), single=True)
    assert not solution.single
    result = solved(slow, tol=1e-4)
    assert result.status is Status.CONVERGED
    assert any("slow relaxation" in note for note in result.certificate.notes)


# ----------------------------------------------------------------------------------------------------------------------
# closed forms


@pytest.mark.parametrize("f", [0.2, 1.5])
def test_equal_baths_thermalise_truncated_bosons(f):
    """Both ends at one occupation f: rho ~ r^N with r = f/(1 + f), whatever the hopping; detailed balance, exact."""
    levels = 5
    model = boundary_driven_xx(3, [0.7, 1.3j], 1.0, f, 0.4, f, levels=levels)
    result = solved(model)
    r = f / (1 + f)
    weights = r ** np.arange(levels)
    assert np.abs(result.expect(obs.profile(model, "N")) - np.arange(levels) @ weights / weights.sum()).max() < 1e-12
    assert abs(result.state.purity() - ((weights**2).sum() / weights.sum() ** 2) ** 3) < 1e-12


def test_boson_chain_between_two_baths():
    """I = (f_L - f_R) / [1/G_L + 1/G_R + (G_L + G_R)/(4 t^2)] for bosons without a cutoff, which costs r^levels."""
    t, G_L, f_L, G_R, f_R = 1.0, 0.6, 0.09, 1.4, 0.02
    model = boundary_driven_xx(3, t, G_L, f_L, G_R, f_R, levels=7)
    result = solved(model)
    wanted = (f_L - f_R) / (1 / G_L + 1 / G_R + (G_L + G_R) / (4 * t**2))
    current = result.expect(obs.current(model))
    assert np.ptp(current) < 1e-7
    assert np.abs(current - wanted).max() < 1e-7
    assert abs(wanted - G_L * (f_L - result.expect(op("N", 0)).real)) < 1e-7


def correlated_ring(L, levels, nbar):
    """Heat baths that act on running waves d_k = L^{-1/2} sum_l e^{-ikl} d_l, each with its own loss and gain."""
    waves, h = 2 * np.pi * np.arange(L) / L, OpSum()
    jumps, n_k = [], []
    for index, k in enumerate(waves):
        d = sum((complex(np.exp(-1j * k * x)) / math.sqrt(L) * op("A", x) for x in range(L)), OpSum())
        h = h + 0.3 * math.cos(k + 0.4) * (d.dag * d)
        down, up = 0.1 * (nbar + 1) + 0.2 * index, 0.1 * nbar + 0.01 * index
        jumps += [Jump(d, down), Jump(d.dag, up)]
        n_k.append(up / (down - up))
    sigma = np.array([[np.mean(np.exp(1j * waves * (x - y)) * n_k) for y in range(L)] for x in range(L)])
    return Lindbladian(Chain(L, Boson(levels), periodic=True), h, jumps), sigma


def test_correlated_baths_on_a_ring():
    """<d_l^dag d_l'> = L^{-1} sum_k e^{ik(l-l')} n_k, n_k = up_k / (down_k - up_k), up to the cutoff."""
    errors = []
    for levels in (3, 4, 5):
        model, sigma = correlated_ring(3, levels, 0.05)
        result = solved(model)
        assert result.status is Status.CONVERGED
        assert "invariant under 3 site permutations" in result.certificate.notes[0]
        got = np.array([[result.expect(op("Adag", y) * op("A", x)) for y in range(3)] for x in range(3)])
        errors.append(np.abs(got - sigma).max())
    assert errors[2] < 4e-4
    assert errors[0] > 4 * errors[1] > 16 * errors[2]


@pytest.mark.parametrize("shape", ["uniform", "disordered"])
def test_three_oscillators_with_six_levels_through_the_automatic_choice(shape):
    model = boson_ring(3, 6, 0.7, baths=None if shape == "uniform" else (0.2, 0.4, 0.1))
    result = solved(model, solver="auto")
    assert result.status is Status.CONVERGED
    assert "elimination" in result.certificate.notes[0]
    assert result.certificate.null_space == 1
    assert result.certificate.residual < 1e-13
    n = result.expect(obs.profile(model, "N"))
    inflow = sum(j.rate * result.expect(j.operator.dag * j.operator).real for j in model.jumps if "dag" in repr(j))
    loss = sum(j.rate * result.expect(j.operator.dag * j.operator).real for j in model.jumps if "dag" not in repr(j))
    assert abs(inflow - loss) < 1e-12
    assert (np.ptp(n) < 1e-12) == (shape == "uniform")


# ----------------------------------------------------------------------------------------------------------------------
# the text, the basis, storage


def test_changes_of_a_charge():
    lattice = Chain(2, [Boson(3), Boson(5)])
    assert charge_changes(lattice, op("A", 0) + op("N", 1), (2, 1)) == {-2, 0}
    assert charge_changes(lattice, op("Q", 1), (2, 1)) == {-1, 1}


def test_levels_follow_the_largest_jump():
    plan = charge_plan(conversion())
    assert (plan.weights, plan.reach) == ((2, 1), 2)
    assert len(plan.sizes) == 5  # Q = 0 .. 8 in pairs
    assert charge_plan(pair_loss()).reach == 2
    assert charge_plan(two_charges()).sizes == (1, 8, 18, 8, 1)


def test_the_total_number_can_be_truncated():
    """Detailed balance survives when the upward jumps of the last level are switched off: rho ~ r^N, N <= 6."""
    model = boundary_driven_xx(2, 0.8j, 1.0, 0.5, 0.3, 0.5, levels=7)
    plan = charge_plan(model, max_total=6)
    basis = charge_basis(model.lattice, plan)
    assert len(basis) == 28 and plan.sizes == tuple((n + 1) ** 2 for n in range(7))
    generator = level_generator(model, plan)
    blocks = real_blocks(generator, find_reduction(generator))
    assert blocks.reduction.phases is not None and blocks.sizes == tuple((n + 1) * (n + 2) // 2 for n in range(7))
    c = blocks.coefficients(solve_blocks(blocks).x)
    a, b = generator.pairs
    weights = (0.5 / 1.5) ** basis.digits.sum(axis=1)
    assert np.abs(c - np.where(a == b, weights[a] / weights.sum(), 0.0)).max() < 1e-14


def test_the_pivot_is_where_the_population_is():
    def pivot(model):
        generator = level_generator(model, charge_plan(model))
        return choose_pivot(real_blocks(generator, find_reduction(generator)))

    assert pivot(MODELS["only loss"]()) == 0
    assert pivot(MODELS["only gain"]()) == 6
    assert 0 < pivot(boundary_driven_xx(4, 1.0, 1.0, 0.5, 1.0, 0.5)) < 4


def test_large_states_keep_the_blocks_only(tmp_path, monkeypatch):
    monkeypatch.setattr(exact_blocks, "_LARGEST_DENSE_STATE", 8)
    model = random_bosons(6)
    result = solved(model)
    assert isinstance(result.state, OrbitState)
    assert np.abs(result.state.to_dense() - null_state(model)).max() < 1e-11
    again = mt.load(result.save(tmp_path / "run.h5"))
    assert np.array_equal(again.expect(obs.profile(model, "N")), result.expect(obs.profile(model, "N")))


# ----------------------------------------------------------------------------------------------------------------------
# refusals and hard cases


def test_without_a_conserved_charge_it_is_refused_with_the_reason():
    with pytest.raises(NotSupportedError, match=r"no U\(1\) charge is conserved") as error:
        solved(persistent_current(4, 2.0, 1.5))
    assert error.value.field == "method"


def test_strong_symmetries_are_refused_with_the_reason():
    """Dephasing only: one steady state per particle number."""
    with pytest.raises(NotSupportedError, match=r"strong U\(1\).*solver='orbits'"):
        solved(ring_dephasing(5, 1.0, 0.5))


def test_too_large_blocks_are_refused_with_the_numbers():
    model = boundary_driven_xx(6, 1.0, 1.0, 0.7, 1.0, 0.3, levels=6)
    with pytest.raises(InsufficientMemoryError, match=r"PiB.*levels with up to.*are available"):
        solved(model)
    assert ExactDiag(solver="blocks").estimate(model, 1e-6).seconds > 1e6


def dark_states(L):
    """Loss through the wave of zero momentum only, in which the others have no part: many dark states."""
    d = sum((op("Sm", j) for j in range(L)), OpSum())
    return Lindbladian(Chain(L, SpinHalf()), None, [Jump(d)])


def test_degenerate_models_are_left_to_the_whole_space():
    model = dark_states(3)
    wanted = 64 - np.linalg.matrix_rank(dense_lindbladian(model), tol=1e-9)
    result = solved(model)
    assert result.status is Status.NOT_UNIQUE
    assert result.certificate.null_space == wanted > 2
    assert len(result.manifold) >= 2
    chosen = solved(model, initial="up")
    assert chosen.status is Status.CONVERGED


def test_degenerate_models_beyond_the_search_are_said_to_be(monkeypatch):
    monkeypatch.setattr(exact_blocks, "FULL_SPACE", 10)
    result = solved(dark_states(3))
    assert result.status is Status.NOT_UNIQUE
    assert result.certificate.null_space is None or result.certificate.null_space >= 2


def test_unique_for_a_reason():
    """A pure steady state is not positive definite, yet unique: it is so among the operators of zero charge."""
    result = solved(persistent_current(5, 1.0, 0.0, J=0.7, kappa=0.5))
    assert abs(result.state.purity() - 1) < 1e-12
    assert result.certificate.null_space == 1
    assert any("zero charge" in note for note in result.certificate.notes)


def test_uniqueness_is_not_claimed_where_it_was_not_checked():
    result = solved(boson_ring(3, 3, 0.7), check_uniqueness=False)
    assert result.status is Status.CONVERGED
    assert result.certificate.null_space is None


def test_slow_relaxation_is_within_the_error_estimate():
    """A relaxation rate of 1e-10 makes the answer less accurate, and the estimate says so."""
    model = boundary_driven_xx(3, 1e-5, 1.0, 0.9, 0.0, 0.0)
    result = solved(model, tol=1e-3)
    assert result.status is Status.CONVERGED
    assert np.abs(result.expect(obs.profile(model, "N")) - 0.9).max() < result.certificate.error_estimate
    assert 1e-9 < result.certificate.error_estimate < 1e-3


def test_evolution_takes_the_whole_space():
    model = boson_ring(2, 3, 0.3)
    run = mt.evolve(model, "vacuum", [0.0, 200.0], {"n": op("N", 0)}, method=ExactDiag(solver="blocks"), progress=False)
    wanted = solved(model).expect(op("N", 0))
    assert abs(np.ravel(run.values["n"])[-1] - wanted) < 1e-6


def test_unknown_solver():
    with pytest.raises(InputError) as error:
        ExactDiag(solver="block")
    assert error.value.field == "solver"
