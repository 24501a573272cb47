"""ExactDiag: identities, published steady states, dynamics, interruption, bad input."""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from exact_runs import REFERENCE, REPOSITORY, Solved

from mpo_transport import Boson, Chain, InputError, Jump, Lindbladian, NotSupportedError, OpSum, Spin, SpinHalf, op
from mpo_transport.methods import ExactDiag, build_method
from mpo_transport.methods.base import Iterate
from mpo_transport.methods.exact_evolve import Propagator
from mpo_transport.methods.exact_sectors import split_generator, string_parity
from mpo_transport.models import persistent_current
from mpo_transport.result import Status
from mpo_transport.states import DenseState
from mpo_transport.superoperator import dense_lindbladian, hermitian_lindbladian


def random_couplings(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def random_spin_model(seed):
    rng = np.random.default_rng(seed)
    a, b, c, d, hop, pair = random_couplings(rng, 6, 3)
    return persistent_current(3, a, d, beta=b, gamma=c, J=hop, lam=pair, mu=rng.standard_normal(3), eps_x=0.3)


def random_mixed_model(seed):
    rng = np.random.default_rng(seed)
    a, b, c = random_couplings(rng, 3)
    h = a * op("Sp", 0) * op("Sm", 1) * op("A", 2) + b * op("Sx", 1) * op("Y", 0)
    jumps = [
        Jump(c * op("Sm", 0) + op("A", 2) * op("Sz", 1), 0.7),
        Jump(op("Sp", 1) + 0.4j * op("Sm", 0), 0.5),
        Jump(op("Adag", 2), 0.2),
        Jump(op("A", 2), 0.6),
    ]
    return Lindbladian(Chain(3, [SpinHalf(), Spin(1), Boson(3)]), h + h.dag, jumps)


MODELS = {
    "spins, random complex couplings": lambda: random_spin_model(5),
    "three kinds of sites, three-body term": lambda: random_mixed_model(6),
    "bosons": lambda: persistent_current(2, 0.8, 0.3 + 0.2j, levels=3, J=0.4j, U=1.3, kappa=0.2, periodic=False),
    "without parity": lambda: persistent_current(3, 1.0, 0.4, eps_x=0.5, mu=[1.0, 0.3, -0.2]),
}


def null_vector(model):
    """The steady state from the complex row-major generator, independent of blocks and real bases."""
    _, s, vt = np.linalg.svd(dense_lindbladian(model))
    assert s[-2] > 1e-6
    D = round(len(s) ** 0.5)
    rho = vt[-1].conj().reshape(D, D)
    return rho / np.trace(rho)


@pytest.mark.parametrize("solver", ["dense", "direct", "iterative"])
@pytest.mark.parametrize("name", MODELS)
def test_random_models_against_the_complex_generator(name, solver):
    model = MODELS[name]()
    solved = Solved(model, solver=solver)
    assert solver in solved.certificate.notes[0]
    assert solved.status is Status.CONVERGED and solved.certificate.null_space == 1
    error = np.abs(solved.state.rho - null_vector(model)).max()
    assert error < 2e-12
    assert solved.certificate.residual < 1e-11
    assert solved.certificate.trace == pytest.approx(1, abs=1e-14) and solved.certificate.hermiticity < 1e-16
    assert error <= max(solved.certificate.error_estimate, 3e-14)


@pytest.mark.parametrize("name", MODELS)
def test_blocks_are_invariant_and_complete(name):
    model = MODELS[name]()
    full = hermitian_lindbladian(model).toarray()
    for store in (True, False):
        generator = split_generator(model, store=store)
        covered = np.sort(np.concatenate([s.indices for s in generator.sectors]))
        assert np.array_equal(covered, np.arange(1, len(full)))
        rng = np.random.default_rng(0)
        for sector in generator.sectors:
            outside = np.setdiff1d(np.arange(1, len(full)), sector.indices)
            assert np.abs(full[np.ix_(outside, sector.indices)]).max(initial=0) < 1e-13
            v = rng.standard_normal(sector.size)
            block = full[np.ix_(sector.indices, sector.indices)]
            assert np.allclose(sector.apply(v), block @ v, atol=1e-12)
            assert np.allclose(sector.apply_transpose(v), block.T @ v, atol=1e-12)
            assert np.allclose(sector.source, full[sector.indices, 0], atol=1e-14)
        x = rng.standard_normal(generator.size)
        assert np.allclose(generator.apply(x), full @ x, atol=1e-12)


def test_parity_of_strings_counts_changes_of_the_local_number():
    model = persistent_current(2, 1.0, 0.5, levels=3, periodic=False)
    local = np.array([0, 1, 0, 1, 1, 0, 1, 0, 0])  # identity; (01) (02) (12) symmetric, antisymmetric; two diagonal
    assert np.array_equal(string_parity(model), np.add.outer(local, local).ravel() % 2)
    even = string_parity(model) == 0
    generator = hermitian_lindbladian(model).toarray()
    assert not generator[np.ix_(even, ~even)].any() and not generator[np.ix_(~even, even)].any()


@pytest.mark.parametrize("L", [3, 4, 5, 6, 7])
def test_rings_of_the_persistent_current_paper(L):
    value = REFERENCE[f"fig5-ring-L{L}"]["value"]
    solved = Solved(persistent_current(L, 2.0, 1.5), solver="iterative" if L == 6 else "auto")
    assert np.abs(solved.current() - value[0]).max() < 1e-9
    assert solved.state.expect(op("Z", 1)).real == pytest.approx(value[1], abs=1e-9)
    assert solved.state.purity() == pytest.approx(value[2], abs=1e-9)
    assert solved.certificate.null_space == 1 and solved.certificate.error_estimate < 1e-9


RING_OF_EIGHT = """
import resource
from mpo_transport.methods import ExactDiag
from mpo_transport.models import persistent_current
method = ExactDiag()
work = method.prepare(persistent_current(8, 2.0, 1.5), tol=1e-8, seed=1)
iterate, done = method.start(work, None), False
while not done:
    iterate, diagnostics = method.advance(work, iterate)
    done = diagnostics.done
certificate = method.certify(work, iterate, diagnostics.status)
kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reduced = iterate.state.reduced([3, 4])
print(kilobytes, iterate.state.purity(), reduced[2, 1].real)
print(certificate.null_space, certificate.error_estimate)
"""


def test_ring_of_eight_sites_is_small():
    """In a process of its own, whose peak memory is this calculation's; <s+_4 s-_5> gives the current."""
    command = [sys.executable, "-c", RING_OF_EIGHT]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    kilobytes, purity, coherence, null_space, error = map(float, run.stdout.split())
    assert kilobytes < 2**20
    current, _, expected_purity = REFERENCE["fig5-ring-L8"]["value"]
    assert -2 * (2.0**2 - 1.5**2) * coherence == pytest.approx(current, abs=1e-9)
    assert purity == pytest.approx(expected_purity, abs=1e-9)
    assert null_space == 1 and error < 1e-9


@pytest.mark.parametrize("L", [3, 4, 5, 7])
def test_open_chains_bond_by_bond(L):
    currents, profile, purity = REFERENCE[f"fig5-open-L{L}"]["value"]
    solved = Solved(persistent_current(L, 2.0, 1.0, periodic=False))
    assert np.abs(solved.current() - currents).max() < 1e-9
    z = [solved.state.expect(op("Z", j)).real for j in range(L)]
    assert np.abs(np.array(z) - profile).max() < 1e-9
    assert solved.state.purity() == pytest.approx(purity[0], abs=1e-9)


@pytest.mark.slow
def test_open_chain_of_ten_sites():
    currents, profile, purity = REFERENCE["fig5-open-L10"]["value"]
    solved = Solved(persistent_current(10, 2.0, 1.0, periodic=False), solver="iterative")
    assert "matrix-free" in solved.certificate.notes[0]
    assert np.abs(solved.current() - currents).max() < 2e-10
    z = [solved.state.expect(op("Z", j)).real for j in range(10)]
    assert np.abs(np.array(z) - profile).max() < 2e-10
    assert solved.state.purity() == pytest.approx(purity[0], abs=2e-10)


def test_complex_amplitudes_have_both_dissipative_currents():
    alpha, delta = 1.2 * np.exp(0.3j), 0.7 * np.exp(0.5j)
    ring = persistent_current(5, alpha, delta, beta=delta.conjugate(), gamma=alpha.conjugate(), mu=1.1)
    eta, xi, z = REFERENCE["complex-ring5"]["value"]
    solved = Solved(ring)
    assert np.abs(solved.current("eta") - eta).max() < 1e-9
    assert np.abs(solved.current("xi") - xi).max() < 1e-9
    assert solved.state.expect(op("Z", 4)).real == pytest.approx(z, abs=1e-9)


@pytest.mark.parametrize("U", [1.0, 20.0, 1000.0])
def test_boson_pairs(U):
    pairs = [(f"boson-pair-U{U}", {"alpha": 0.0, "delta": 0.0, "J": 1.0, "lam": 0.5, "kappa": 0.5})]
    if U != 20:
        pairs.append((f"boson-gain-U{U}", {"alpha": 1.0, "delta": 0.5, "kappa": 0.2}))
    for name, arguments in pairs:
        model = persistent_current(2, mu=1.0, U=U, levels=6, periodic=False, **arguments)
        state = Solved(model, solver="auto" if name == "boson-pair-U1.0" else "iterative").state
        n, pair, coherence = REFERENCE[name]["value"]
        assert state.expect(op("N", 0)).real == pytest.approx(n, abs=1e-9)
        assert state.expect(op("N", 0) * op("N", 0) - op("N", 0)).real == pytest.approx(pair, abs=1e-9)
        assert state.expect(op("Adag", 0) * op("A", 1)).real == pytest.approx(coherence, abs=1e-9)


def test_stiff_bosons_by_iteration():
    """A repulsion of 1000 defeats a diagonal preconditioner (no convergence in thousands of products)."""
    model = persistent_current(3, 1.0, 0.5, kappa=0.2, U=1000.0, levels=3)
    iterative, direct = Solved(model, solver="iterative"), Solved(model, solver="dense")
    assert iterative.status is Status.CONVERGED
    assert "one-site" in " ".join(iterative.certificate.notes)
    assert np.abs(iterative.state.rho - direct.state.rho).max() < 1e-11


@pytest.mark.parametrize("kappa", [1.0, 2.0])
def test_local_loss(kappa):
    current, z = REFERENCE[f"kappa-{kappa}"]["value"]
    solved = Solved(persistent_current(6, 1.0, 0.5, kappa=kappa), solver="iterative")
    assert np.abs(solved.current() - current).max() < 1e-9
    assert solved.state.expect(op("Z", 0)).real == pytest.approx(z, abs=1e-9)


def test_transverse_field_breaks_parity_and_still_agrees():
    entry = REFERENCE["fig6-x-0.3"]
    for k, value in list(zip([2, 4, 6, 10, 12, 14], entry["value"], strict=True))[1::3]:
        theta = k * np.pi / 32
        solved = Solved(persistent_current(4, np.cos(theta), np.sin(theta), eps_x=0.3))
        assert np.abs(solved.current() - value).max() < 1e-9


# ----------------------------------------------------------------------------------------------------------------------
# the loop's contract


def test_stopped_and_resumed_equals_unbroken_bit_for_bit():
    model = persistent_current(6, 2.0, 0.3, periodic=False)
    method = ExactDiag(solver="iterative", depth=8)
    unbroken = Solved(model, solver="iterative", depth=8)
    work = method.prepare(model, tol=1e-8, seed=1)
    iterate, done = method.start(work, None), False
    while not done:
        before = {k: v.copy() for k, v in iterate.arrays.items()}
        moved, diagnostics = method.advance(work, iterate)
        assert all(np.array_equal(v, iterate.arrays[k]) for k, v in before.items())  # the input is untouched
        iterate = Iterate(
            DenseState.from_arrays(model.lattice, moved.state.arrays(), {}),
            moved.step,
            json.loads(json.dumps(dict(moved.scalars))),
            {k: v.copy() for k, v in moved.arrays.items()},
        )
        work, done = method.prepare(model, tol=1e-8, seed=1), diagnostics.done
    assert iterate.step == unbroken.iterate.step > 5
    assert np.array_equal(iterate.state.rho, unbroken.state.rho)
    assert iterate.scalars == unbroken.iterate.scalars


def test_running_out_of_iterations_is_said():
    solved = Solved(persistent_current(6, 2.0, 1.0, periodic=False), solver="iterative", max_iterations=10)
    assert solved.status is Status.NOT_CONVERGED
    assert any("max_iterations" in n for n in solved.certificate.notes)
    assert solved.certificate.null_space is None


def test_uniqueness_can_be_left_unchecked_and_the_certificate_says_so():
    solved = Solved(persistent_current(6, 2.0, 1.5), solver="iterative", check_uniqueness=False)
    assert solved.status is Status.CONVERGED and solved.certificate.null_space is None
    assert any("uniqueness was not checked" in n for n in solved.certificate.notes)
    assert np.abs(solved.current() - REFERENCE["fig5-ring-L6"]["value"][0]).max() < 1e-9


def test_estimate_grows_with_the_system_and_stays_near_the_truth():
    method = ExactDiag()
    costs = [method.estimate(persistent_current(L, 2.0, 1.5), 1e-6) for L in (4, 6, 8, 10)]
    assert all(a.memory_bytes < b.memory_bytes for a, b in itertools.pairwise(costs))
    assert 1e8 < costs[2].memory_bytes < 1e9 and 0.2 < costs[2].seconds < 30
    assert "symmetry" in costs[2].detail and "dense" in costs[0].detail


def test_support_says_why():
    method = ExactDiag()
    assert method.supports(persistent_current(10, 2.0, 1.0))
    too_large = method.supports(persistent_current(13, 2.0, 1.0, periodic=False))
    assert not too_large and "GiB" in too_large.reason
    unbounded = persistent_current(2, 1.0, 0.2, levels=np.inf, periodic=False)
    assert not method.supports(unbounded) and "levels" in method.supports(unbounded).reason
    with pytest.raises(NotSupportedError, match="unbounded"):
        method.prepare(unbounded, tol=1e-6, seed=0)
    with pytest.raises(NotSupportedError) as caught:
        ExactDiag(solver="direct").prepare(persistent_current(8, 2.0, 1.0), tol=1e-6, seed=0)
    assert caught.value.field == "solver"


@pytest.mark.parametrize(
    "knobs",
    [
        {"solver": "lu"},
        {"rtol": 0.0},
        {"rtol": float("nan")},
        {"max_iterations": 0},
        {"check_uniqueness": "yes"},
        {"dense_limit": 2.5},
        {"direct_limit": True},
        {"depth": 1},
    ],
)
def test_bad_knobs_name_the_field(knobs):
    with pytest.raises(InputError) as caught:
        build_method("ExactDiag", knobs)
    assert caught.value.field == next(iter(knobs))


def test_bad_initial_states():
    method, model = ExactDiag(), persistent_current(3, 2.0, 1.0)
    work = method.prepare(model, tol=1e-6, seed=0)
    for initial in ("sideways", [1, 1], DenseState.product(Chain(2, SpinHalf()), "up")):
        with pytest.raises(InputError) as caught:
            method.start(work, initial)
        assert caught.value.field == "initial"


# ----------------------------------------------------------------------------------------------------------------------
# time evolution


def evolve(model, initial, times):
    method = ExactDiag()
    work = method.prepare(model, tol=1e-8, seed=0, task="evolve")
    iterate, out = method.start(work, initial), []
    for t in times:
        while iterate.scalars["time"] < t:
            iterate, diagnostics = method.propagate(work, iterate, t)
            assert not diagnostics.done
        out.append(iterate.state)
    return out


def test_relaxation_from_all_spins_down():
    entry = REFERENCE["dynamics-ring5"]
    model = persistent_current(5, 2.0, 1.5)
    current = model.currents["eta"].coefficients[2] * op("Sm", 2) * op("Sp", 3)
    for state, (eta, z) in zip(evolve(model, "down", entry["parameters"]["times"]), entry["value"], strict=True):
        assert state.expect(current + current.dag).real == pytest.approx(eta, abs=1e-9)
        assert state.expect(op("Z", 0)).real == pytest.approx(z, abs=1e-9)
        assert state.trace() == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize("U", [1.0, 1000.0])
def test_evolution_against_the_dense_exponential(U):
    model = persistent_current(2, 0.8, 0.3 + 0.2j, levels=3, J=0.4j, U=U, kappa=0.2, periodic=False)
    values, right = np.linalg.eig(dense_lindbladian(model))
    initial = [np.array([1, 1j, 0.5]), 1]  # coherent between numbers: both parity blocks move
    rho = DenseState.product(model.lattice, initial).rho
    coefficients = np.linalg.solve(right, rho.ravel())
    times = [0.03, 0.4, 3.0]
    for t, state in zip(times, evolve(model, initial, times), strict=True):
        expected = (right @ (np.exp(values * t) * coefficients)).reshape(rho.shape)
        assert np.abs(state.rho - expected).max() < 1e-10


def test_evolution_without_a_stored_matrix():
    model = persistent_current(4, 1.2, 0.7, J=0.3, periodic=False)
    x = DenseState.product(model.lattice, [1, 0, np.array([1, 1j]), 1]).coefficients()
    ends = []
    for store in (True, False):
        propagator, y, rest = Propagator(split_generator(model, store=store), 1e-11), x, 0.7
        while rest > 0:
            y, piece = propagator.move(y, rest)
            rest -= piece
        ends.append(y)
    assert np.abs(ends[0] - ends[1]).max() < 1e-9
    assert np.abs(ends[0] - x).max() > 0.1


def test_evolution_ends_in_the_steady_state():
    model = persistent_current(3, 2.0, 1.5)
    assert np.abs(evolve(model, "up", [60.0])[0].rho - Solved(model).state.rho).max() < 1e-12


def test_time_cannot_run_backwards():
    method, model = ExactDiag(), persistent_current(3, 2.0, 1.5)
    work = method.prepare(model, tol=1e-8, seed=0, task="evolve")
    iterate, _ = method.propagate(work, method.start(work, "up"), 0.1)
    for wrong in (0.05, float("nan"), float("inf")):
        with pytest.raises(InputError) as caught:
            method.propagate(work, iterate, wrong)
        assert caught.value.field == "time"


def test_an_empty_hamiltonian_and_one_decaying_spin():
    solved = Solved(Lindbladian(Chain(1, SpinHalf()), OpSum(), [Jump(op("Sm", 0), 0.3)]))
    assert np.abs(solved.state.rho - np.diag([0, 1])).max() < 1e-15
    decayed = evolve(solved.work.model, "up", [2.0])[0]
    assert decayed.expect(op("N", 0)).real == pytest.approx(np.exp(-0.6), abs=1e-14)
