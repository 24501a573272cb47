"""Quantum trajectories against the exact density matrix, and their statistics against what they claim."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg as sla
from scipy import stats

from mpo_transport import Boson, Chain, Jump, Lindbladian, SpinHalf, evolve, models, op, steady_state
from mpo_transport.errors import ConvergenceError, DegenerateSteadyStateError, InputError, NotSupportedError
from mpo_transport.methods import Iterate, Trajectories, build_method
from mpo_transport.methods.trajectories.evolution import Block, advance_block
from mpo_transport.methods.trajectories.propagator import build_propagator
from mpo_transport.methods.trajectories.sectors import definite_charges, sector_basis, whole_space
from mpo_transport.methods.trajectories.statistics import Units, new_batches
from mpo_transport.methods.trajectories.streams import JumpStreams, seed_key
from mpo_transport.result import Status
from mpo_transport.states import STATES, DenseState, EnsembleState
from mpo_transport.superoperator import dense_lindbladian, operator_matrix

QUBIT = Lindbladian(Chain(1, SpinHalf()), 0.7 * op("X", 0) + 0.2 * op("Z", 0), [Jump(op("Sm", 0), rate=1.0)])
# random complex couplings, different on every bond: nothing is symmetric
RING = models.persistent_current(
    3, [2.0, 1 + 0.5j, 1.5j], [1.0, 0.3 - 0.2j, 0.7], mu=[1.0, 0.2, 0.5], J=[0.4, 0.2 + 0.3j, -0.5j]
)
MODE = models.kerr_oscillator(Delta=0.5, U=1.0, F=0.6, gamma=1.0, levels=4)
CHAIN = models.boundary_driven_xx(L=6, t=1.0, G_L=1.0, f_L=0.8, G_R=1.0, f_R=0.1)


def observables(model):
    if model is MODE:
        return [op("N", 0), op("Q", 0), op("P", 0), op("N", 0) * op("N", 0)]
    found = [op(name, j) for j in range(model.L) for name in "XYZ"]
    if model.L > 1:
        hop = op("Sp", 0) * op("Sm", 2)
        found += [hop + hop.dag, 1j * (hop - hop.dag), op("Z", 0) * op("Z", 1), op("Z", 0) * op("Z", 1) * op("Z", 2)]
    return found


def exact_values(model, operators, time=None, start=None):
    """Values from the null vector of the dense generator, or from its exponential."""
    generator = dense_lindbladian(model)
    if time is None:
        rho = np.linalg.svd(generator)[2][-1].conj()
    else:
        rho = sla.expm(generator * time) @ start.ravel()
    rho = rho.reshape(math.isqrt(len(rho)), -1)
    rho = rho / np.trace(rho)
    return np.array([np.trace(operator_matrix(model.lattice, o).toarray() @ rho).real for o in operators])


def run(method, model, tol, seed, initial=None, resume=lambda iterate: iterate):
    """The loop alone: prepare, start, advance until done."""
    work = method.prepare(model, tol=tol, seed=seed)
    iterate, diagnostics = method.start(work, initial), None
    while diagnostics is None or not diagnostics.done:
        iterate, diagnostics = method.advance(work, resume(iterate))
    return work, iterate, diagnostics.status


def scores(iterate, operators, exact):
    """(value - exact) / standard error where the error is not zero; a value without error must be exact."""
    error = iterate.state.standard_error(operators)
    values = np.array([iterate.state.expect(o).real for o in operators])
    sure = error < 1e-12
    assert np.abs(values - exact)[sure].max(initial=0) < 1e-10
    return ((values - exact) / np.where(sure, 1, error))[~sure]


# -- agreement with the density matrix ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, tol, trajectories", [(QUBIT, 0.03, 100), (RING, 0.05, 100), (MODE, 0.05, 60), (QUBIT, 0.2, 3)]
)
def test_steady_state_lies_within_three_standard_errors(model, tol, trajectories):
    operators = observables(model)
    _, iterate, status = run(Trajectories(trajectories=trajectories), model, tol, seed=4)
    assert status is Status.CONVERGED
    assert iterate.scalars["claimed"] <= tol
    z = scores(iterate, operators, exact_values(model, operators))
    assert len(z) >= 2 and np.abs(z).max() < 3


@pytest.mark.parametrize(
    "model, initial, dense",
    [
        (RING, "up", DenseState.product(RING.lattice, "up")),
        (QUBIT, [np.array([1, 1j])], DenseState.product(QUBIT.lattice, [np.array([1, 1j])])),
        (QUBIT, "mixed", DenseState.product(QUBIT.lattice, "mixed")),
        (MODE, [2], DenseState.product(MODE.lattice, [2])),
    ],
)
def test_evolution_follows_the_density_matrix(model, initial, dense):
    operators = observables(model)
    asked = {str(k): o for k, o in enumerate(operators)}
    result = evolve(model, initial, [0.0, 0.7, 1.6], asked, Trajectories(trajectories=300), tol=0.5, seed=11)
    error = result.state.standard_error(operators)
    for row, time in ((0, 0.0), (2, 1.6)):
        exact = exact_values(model, operators, time, dense.to_dense())
        got = np.array([result.values[str(k)][row] for k in range(len(operators))])
        assert np.all(np.abs(got - exact) < 3.5 * (error if row else 2 / math.sqrt(300)) + 1e-12)
    assert 0.01 < result.certificate.error_estimate < 0.5


def test_a_state_given_is_where_the_evolution_starts():
    start = EnsembleState(CHAIN.lattice, np.eye(2, 64, 5), weights=[0.25, 0.75])
    for state in (start, DenseState(CHAIN.lattice, start.to_dense())):
        method = Trajectories(trajectories=400)
        work = method.prepare(CHAIN, tol=0.1, seed=1, task="evolve")
        iterate = method.start(work, state)
        share = np.mean(np.argmax(np.abs(iterate.state.vectors()), axis=1) == 5)
        assert abs(share - 0.25) < 3 * math.sqrt(0.25 * 0.75 / 400)
        assert iterate.scalars["in_sectors"] is True
    with pytest.raises(InputError) as caught:
        method.start(work, DenseState.product(Chain(2, SpinHalf()), "up"))
    assert caught.value.field == "initial"


def test_sectors_and_the_whole_space_give_the_same_trajectories():
    basis = sector_basis(CHAIN)
    assert [len(b) for b in basis.indices] == [math.comb(6, k) for k in range(7)]
    finals = []
    for b in (basis, whole_space(CHAIN.lattice)):
        propagator = build_propagator(CHAIN, b)
        start, n = 11, 20
        q = int(b.label[start])
        vectors = np.zeros((n, b.width), dtype=complex)
        vectors[:, np.searchsorted(b.indices[q], start)] = 1
        streams = JumpStreams(seed_key(3), np.arange(n), np.zeros(n, dtype=int))
        _, r = streams.draw(np.arange(n))
        block = Block(vectors, np.full(n, q), r, streams)
        advance_block(propagator, block, 6.0)
        block.normalise()
        finals.append((propagator.expand(block.vectors, block.sectors), streams.events.copy()))
    assert np.array_equal(finals[0][1], finals[1][1]) and finals[0][1].sum() > 50
    overlaps = np.abs(np.einsum("nd,nd->n", finals[0][0].conj(), finals[1][0]))
    assert np.abs(overlaps - 1).max() < 1e-9  # the kinds of jump agree too: their order does not depend on the basis


def test_a_weak_symmetry_is_used_only_where_every_jump_moves_a_definite_charge():
    both = [Jump(op("Sp", 0) + op("Sm", 0)), Jump(op("Sp", 0) - op("Sm", 0))]  # = gain and loss, mixed by a unitary
    model = Lindbladian(Chain(6, SpinHalf()), None, both)
    assert any(s.group == "U(1)" and s.weights[0] for s in model.conserved)
    assert not any(s.group == "U(1)" and s.weights[0] for s in definite_charges(model))
    assert any(s.group == "Z2" for s in definite_charges(model))


# -- jumps -------------------------------------------------------------------------------------------------------------


def test_waiting_times_of_a_damped_qubit_are_exponential():
    """From the excited state the only jump comes after an exponential time; |psi|^2 = exp(-gamma t) = r gives it."""
    gamma, n = 0.37, 1000
    model = Lindbladian(Chain(1, SpinHalf()), None, [Jump(op("Sm", 0), rate=gamma)])
    propagator = build_propagator(model, whole_space(model.lattice))
    streams = JumpStreams(seed_key(8), np.arange(n), np.zeros(n, dtype=int))
    _, r = streams.draw(np.arange(n))
    block = Block(np.tile(np.array([1, 0], dtype=complex), (n, 1)), np.zeros(n, dtype=int), r.copy(), streams)
    times, grid = np.full(n, np.inf), np.linspace(0, 40, 4001)
    for a, b in itertools.pairwise(grid):
        before = streams.events.copy()
        advance_block(propagator, block, b - a)
        times[streams.events > before] = 0.5 * (a + b)
    assert np.all(streams.events == 2)
    assert np.abs(times + np.log(r) / gamma).max() < 0.0051  # half a cell of the grid
    assert stats.kstest(times, "expon", args=(0, 1 / gamma)).pvalue > 0.01


@pytest.mark.parametrize("levels", [4, 120])
def test_the_time_of_a_jump_is_found_to_rounding(levels):
    """One decaying level of many (stored exponentials, or the series alone): |psi|^2 = r at t = -ln r / gamma."""
    gamma = 0.8
    model = Lindbladian(Chain(1, Boson(levels)), 0.3 * op("N", 0), [Jump(op("A", 0), rate=gamma)])
    propagator = build_propagator(model, whole_space(model.lattice))
    for r in (0.9, 0.3, 1e-5):
        expected = -math.log(r) / gamma
        for duration, jumped in ((expected * (1 - 1e-12), 1), (expected * (1 + 1e-12), 2)):
            streams = JumpStreams(seed_key(0), np.arange(1), np.ones(1, dtype=int))
            block = Block(np.eye(1, levels, 1, dtype=complex), np.zeros(1, dtype=int), np.array([r]), streams)
            advance_block(propagator, block, duration)
            assert streams.events[0] == jumped


def test_without_jumps_the_evolution_is_unitary_and_exact():
    h = op("X", 0) * op("X", 1) + 0.4 * op("Z", 0) + 0.3 * op("Y", 1)
    model = Lindbladian(Chain(2, SpinHalf()), h, [Jump(op("Sm", 0), rate=0.0)])
    result = evolve(model, "up", [3.0], {"Z": op("Z", 0)}, Trajectories(trajectories=3), tol=1e-9)
    psi = sla.expm(-3j * operator_matrix(model.lattice, h).toarray())[:, 0]
    assert np.abs(np.abs(result.state.vectors() @ psi.conj()) - 1).max() < 1e-12
    assert result.status is Status.CONVERGED and result.certificate.error_estimate < 1e-12
    with pytest.raises(NotSupportedError, match="no jump"):
        steady_state(model, Trajectories())


def test_dark_states_are_reached_and_do_not_hang():
    """Loss without drive ends in the vacuum: no more jumps, no error left; a rate of zero changes nothing."""
    jumps = [Jump(op("A", 0), rate=1.0), Jump(op("Adag", 0), rate=0.0)]
    model = Lindbladian(Chain(1, Boson(5)), 0.7 * op("N", 0), jumps)
    result = steady_state(model, Trajectories(trajectories=40), tol=1e-3, seed=1)
    assert result.converged and abs(result.expect(op("N", 0))) < 1e-14
    late = evolve(model, [3], [1e4], {"N": op("N", 0)}, Trajectories(trajectories=5), tol=1e-3)
    assert abs(late.values["N"][-1]) < 1e-14


def test_a_pair_prepared_in_its_dark_state_never_jumps():
    model = Lindbladian(Chain(2, SpinHalf()), None, [Jump(op("Sm", 0) + op("Sm", 1), rate=2.0)])
    singlet = np.array([0, 1, -1, 0]) / math.sqrt(2)
    start = EnsembleState(model.lattice, singlet[None])
    result = evolve(model, start, [50.0], {"ZZ": op("Z", 0) * op("Z", 1)}, Trajectories(trajectories=4), tol=1e-3)
    assert abs(result.values["ZZ"][0] + 1) < 1e-12 and result.history["jumps"][-1] == 0


# -- statistics --------------------------------------------------------------------------------------------------------


def test_streams_are_those_of_philox_and_independent_of_grouping():
    key, trajectories = seed_key(5), np.array([3, 0, 7])
    together = JumpStreams(key, trajectories, np.zeros(3, dtype=int))
    drawn = [together.draw(np.arange(3)) for _ in range(70)]
    later = JumpStreams(key, np.array([7]), np.array([69]))
    assert np.array_equal(np.array(later.draw(np.arange(1)))[:, 0], np.array(drawn[69])[:, 2])
    counter = np.array([0, 1, 0, 0], dtype=np.uint64)
    philox = np.random.Generator(np.random.Philox(counter=counter, key=np.array([key, 7], dtype=np.uint64)))
    assert drawn[64][0][2] == philox.random()
    assert len({float(u) for pair in drawn for u in np.ravel(pair)}) == 70 * 6


def test_the_error_of_few_trajectories_covers_correlated_noise():
    """Batches of an autoregressive series with known correlation: z^2 must average to about one."""
    rho, total, squares = 0.9, 512, []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(2, total + 200))
        x = np.zeros_like(noise)
        for t in range(1, total + 200):
            x[:, t] = rho * x[:, t - 1] + noise[:, t]
        batches = new_batches(2, 1)
        for t in range(total):
            batches = batches.added(x[:, 200 + t, None], np.zeros(1), 1)
        units = Units.of(batches)
        assert batches.samples == total and len(units.values) == 32
        squares.append(float(units.mean[0] ** 2 / units.variance[0]))
    assert 0.7 < np.mean(squares) < 1.5  # chi^2 with 120 degrees of freedom: 1 +- 0.13; few units widen it


def test_merging_batches_keeps_sums():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(64, 100, 3))
    batches = new_batches(64, 3)
    for t in range(100):
        batches = batches.added(data[:, t], np.zeros(3), 1)
    used = batches.complete * batches.length
    assert np.allclose(batches.sums.sum(axis=1), data.sum(axis=1))
    assert used <= 100 < used + batches.length
    assert np.allclose(Units.of(batches).mean, data[:, :used].mean(axis=(0, 1)))


@pytest.mark.slow
def test_three_standard_errors_cover_99_percent_and_are_neither_too_small_nor_too_large():
    covered, squares = [], []
    for model, tol in ((QUBIT, 0.05), (RING, 0.1)):
        operators = observables(model)
        exact = exact_values(model, operators)
        z = []
        for seed in range(200):
            _, iterate, status = run(Trajectories(trajectories=100), model, tol, seed)
            assert status is Status.CONVERGED
            z.append(scores(iterate, operators, exact))
        squares.append(np.mean(np.array(z) ** 2))
        covered.append(np.mean(np.abs(z) < 3))
    assert min(covered) >= 0.99
    # 200 seeds times at least 2 independent observables: the mean of z^2 is 1 +- 0.07; Student's t adds 2 %
    assert min(squares) > 0.75 and max(squares) < 1.25


@pytest.mark.slow
def test_the_error_falls_as_one_over_the_root_of_the_number():
    operators = observables(QUBIT)
    exact = exact_values(QUBIT, operators, 2.0, DenseState.product(QUBIT.lattice, "up").to_dense())
    numbers, deviations = [25, 100, 400, 1600], []
    for n in numbers:
        square = []
        for seed in range(40):
            method = Trajectories(trajectories=n)
            work = method.prepare(QUBIT, tol=1.0, seed=seed, task="evolve")
            iterate = method.start(work, "up")
            while iterate.scalars["time"] < 2.0:
                iterate, _ = method.propagate(work, iterate, 2.0)
            square.append([(iterate.state.expect(o).real - e) ** 2 for o, e in zip(operators, exact, strict=True)])
        deviations.append(math.sqrt(np.mean(square)))
    slope = np.polyfit(np.log(numbers), np.log(deviations), 1)[0]
    assert abs(slope + 0.5) < 0.06


# -- reproducible, interrupted, in parallel ----------------------------------------------------------------------------


def stored(iterate):
    """The iterate as it comes back from a file."""
    state = STATES[iterate.state.kind].from_arrays(
        iterate.state.lattice,
        {k: np.array(v) for k, v in iterate.state.arrays().items()},
        iterate.state.attributes(),
    )
    return Iterate(state, iterate.step, dict(iterate.scalars), {k: np.array(v) for k, v in iterate.arrays.items()})


def same(a, b):
    equal = {k: v.tobytes() for k, v in a.arrays.items()} == {k: v.tobytes() for k, v in b.arrays.items()}
    states = {k: v.tobytes() for k, v in a.state.arrays().items()} == {
        k: v.tobytes() for k, v in b.state.arrays().items()
    }
    return equal and states and dict(a.scalars) == dict(b.scalars)


@pytest.mark.parametrize(
    "model, method",
    [(RING, Trajectories(trajectories=40)), (CHAIN, Trajectories(trajectories=9, burn_in=1.0, sampling_time=4.0))],
)
def test_resuming_after_every_step_changes_no_bit(model, method):
    _, unbroken, _ = run(method, model, 0.3, seed=5)
    assert unbroken.step > 3
    again = method.prepare(model, tol=0.3, seed=5)
    iterate, done = method.start(again, None), False
    while not done:
        before = stored(iterate)
        work = method.prepare(model, tol=0.3, seed=5)
        iterate, diagnostics = method.advance(work, stored(iterate))
        done = diagnostics.done
        assert same(before, stored(before))
    assert same(iterate, unbroken)


def test_seeds_matter_and_repeat():
    method = Trajectories(trajectories=20, burn_in=1.0, sampling_time=2.0)
    first, again, other = (run(method, QUBIT, 0.1, seed)[1] for seed in (1, 1, 2))
    assert same(first, again) and not same(first, other)


def test_the_number_of_processes_changes_no_bit():
    results = []
    for processes in (1, 2):
        method = Trajectories(trajectories=140, burn_in=0.5, sampling_time=1.0, processes=processes)
        results.append(run(method, CHAIN, 0.1, seed=3)[1])
    assert same(*results)


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so_instead_of_hanging():
    """Worker processes that cannot start (here: they cannot import the main program) must not block the parent."""
    program = (
        "from mpo_transport import models, steady_state; from mpo_transport.methods import Trajectories\n"
        "model = models.boundary_driven_xx(L=6, t=1.0, G_L=1.0, f_L=0.8, G_R=1.0, f_R=0.1)\n"
        "steady_state(model, Trajectories(trajectories=140, processes=2), tol=0.1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-"], input=program, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1 and "Argument `processes`" in done.stderr and "__main__" in done.stderr


# -- honest ends -------------------------------------------------------------------------------------------------------


def test_a_strong_symmetry_without_a_starting_point_is_not_unique():
    model = models.ring_dephasing(3, 1.0, 0.5)
    with pytest.raises(DegenerateSteadyStateError) as caught:
        steady_state(model, Trajectories(trajectories=32), tol=0.2)
    assert caught.value.dimension == 4
    result = steady_state(model, Trajectories(trajectories=32), tol=0.3, initial=[1, 0, 0], seed=2)
    value, error = result.expect(op("N", 0) + op("N", 1) + op("N", 2), error=True)
    assert abs(value - 1) < 1e-10
    value, error = result.expect(op("N", 1), error=True)
    assert abs(value - 1 / 3) < 2 * error and "strong" in str(result.certificate)


def test_a_degeneracy_without_a_charge_shows_as_disagreement():
    """Jumps within the levels {0, 1} and within {2, 3}: which half is never left, yet no charge or parity says so."""
    halves = np.zeros((4, 4))
    halves[0, 1] = halves[2, 3] = 1
    model = Lindbladian(
        Chain(1, Boson(4).with_operators(down=halves)), None, [Jump(op("down", 0)), Jump(op("down.dag", 0), rate=0.5)]
    )
    assert not any(s.strength == "strong" for s in model.conserved)
    result = steady_state(model, Trajectories(trajectories=40), tol=0.2, on_failure="return")
    assert result.status is Status.NOT_CONVERGED and "not unique" in str(result.certificate)
    kept = steady_state(model, Trajectories(trajectories=40), tol=0.2, initial=[3], seed=1)
    value, error = kept.expect(op("N", 0), error=True)
    assert abs(value - (2 + 1 / 3)) < 1.5 * error < 0.3  # gain / (gain + loss) = 1/3 in the upper half


def test_a_tolerance_out_of_reach_is_not_converged_and_says_what_it_would_take():
    method = Trajectories(trajectories=10, burn_in=2.0, sampling_time=5.0)
    with pytest.raises(ConvergenceError, match="times the trajectories or the sampling time") as caught:
        steady_state(QUBIT, method, tol=1e-4)
    assert caught.value.result.status is Status.NOT_CONVERGED
    assert caught.value.result.certificate.error_estimate > 1e-2
    short = steady_state(QUBIT, Trajectories(trajectories=10, max_time=0.6), tol=1e-3, on_failure="return")
    assert short.status is Status.NOT_CONVERGED and "no steady state was sampled" in str(short.certificate)


def test_a_slow_relaxation_is_waited_for():
    """A weak loss of rate 0.02 beside fast dephasing: starting points disagree until it has acted."""
    jumps = [Jump(op("Z", 0), rate=1.0), Jump(op("Sm", 0), rate=0.02)]
    model = Lindbladian(Chain(1, SpinHalf()), None, jumps)
    result = steady_state(model, Trajectories(trajectories=60), tol=0.05, seed=0)
    assert result.converged and abs(result.expect(op("N", 0))) < 0.025
    burn_in = float(str(result.certificate).split("burn-in ")[1].split(" ")[0])
    assert burn_in >= 100  # two relaxation times; the fast scale alone would suggest 4


@pytest.mark.parametrize(
    "knobs, field",
    [
        ({"trajectories": 0}, "trajectories"),
        ({"trajectories": -3}, "trajectories"),
        ({"trajectories": 2.5}, "trajectories"),
        ({"trajectories": True}, "trajectories"),
        ({"processes": 0}, "processes"),
        ({"burn_in": -1.0}, "burn_in"),
        ({"burn_in": math.nan}, "burn_in"),
        ({"sampling_time": 0.0}, "sampling_time"),
        ({"max_time": math.inf}, "max_time"),
        ({"max_time": "long"}, "max_time"),
    ],
)
def test_bad_knobs_are_named(knobs, field):
    with pytest.raises(InputError) as caught:
        build_method("Trajectories", knobs)
    assert caught.value.field == field


@pytest.mark.parametrize("seed", [1.5, "one", -1, True])
def test_a_seed_of_the_wrong_type_is_refused(seed):
    with pytest.raises(InputError) as caught:
        steady_state(QUBIT, Trajectories(trajectories=2), seed=seed)
    assert caught.value.field == "seed"


def test_what_is_not_supported_says_why():
    assert (
        "levels" in Trajectories().supports(models.kerr_oscillator(Delta=0, U=1, F=1, gamma=1, levels=math.inf)).reason
    )
    large = Lindbladian(Chain(40, SpinHalf()), None, [Jump(op("Sm", 0))])
    assert not Trajectories().supports(large)
    assert Trajectories().estimate(CHAIN, 0.1).memory_bytes > 0
    assert not Trajectories().supports(QUBIT, "spectrum")
