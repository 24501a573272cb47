"""Gaussian states: Wick's theorem, Pfaffians, entropies, entanglement against closed forms and explicit matrices."""

import itertools
import math

import numpy as np
import pytest
from systems import dense_steady_state, random_xy

import mpo_transport as mt
from mpo_transport import Boson, Chain, GaussianState, Jump, Lindbladian, OpSum, SpinHalf, op
from mpo_transport import observables as obs
from mpo_transport.states.gaussian_ring import RingGaussianState
from mpo_transport.states.wick import pfaffian
from mpo_transport.superoperator import quadratic_form

MODES = [Chain(n, Boson(math.inf)) for n in (1, 2, 3)]


def solved(model):
    moments = quadratic_form(model).moments()
    n = 2 * model.L
    one = np.eye(n)
    operator = np.kron(moments.drift, one) + np.kron(one, moments.drift)
    covariance = np.linalg.solve(operator, -moments.diffusion.ravel()).reshape(n, n)
    means = -np.linalg.solve(moments.drift, moments.drive)
    return GaussianState(model.lattice, means, covariance)


@pytest.fixture(scope="module")
def spins():
    model = random_xy(4, 3)
    return solved(model), dense_steady_state(model)


def random_modes(n, seed):
    """A physical covariance with correlations of all kinds, and means."""
    rng = np.random.default_rng(seed)
    lattice = Chain(n, Boson(math.inf))
    c = rng.normal(size=(n, n, 2)) @ [1, 1j]
    h = sum((c[i, j] * op("Adag", i) * op("A", j) for i in range(n) for j in range(n)), OpSum())
    pair = sum((0.1 * c[j, i] * op("Adag", i) * op("Adag", j) for i in range(n) for j in range(n)), OpSum())
    drive = sum((c[0, i] * op("Adag", i) for i in range(n)), OpSum())
    jumps = [Jump(op("A", i) + 0.2j * op("Adag", i), rate=2.0 + i) for i in range(n)]
    jumps += [Jump(op("Adag", i), rate=0.3) for i in range(n)]
    return solved(Lindbladian(lattice, h + h.dag + pair + pair.dag + drive + drive.dag, jumps))


# -- fermions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 4, 6, 10])
def test_the_square_of_the_pfaffian_is_the_determinant(n):
    stack = np.random.default_rng(n).normal(size=(5, n, n))
    stack = stack - stack.transpose(0, 2, 1)
    value = pfaffian(stack)
    assert np.allclose(value**2, np.linalg.det(stack), rtol=1e-11)
    # its sign: expansion along the first row
    minors = [np.delete(np.delete(stack, [0, j], axis=1), [0, j], axis=2) for j in range(1, n)]
    row = sum((-1) ** k * stack[:, 0, k + 1] * pfaffian(m) for k, m in enumerate(minors))
    assert np.allclose(value, row, rtol=1e-11)
    assert np.allclose(pfaffian(np.zeros((1, n, n))), 0)


def test_the_whole_density_matrix_of_spins(spins):
    state, dense = spins
    assert np.abs(state.to_dense() - dense.to_dense()).max() < 1e-13
    assert np.abs(state.reduced([3, 0, 1]) - dense.reduced([3, 0, 1])).max() < 1e-13


def test_strings_of_pauli_matrices(spins):
    state, dense = spins
    words = [w for w in itertools.product(("I", "X", "Y", "Z"), repeat=4) if any(x != "I" for x in w)]
    keys = [tuple((name, s) for s, name in enumerate(w) if name != "I") for w in words]
    values = state.expect_products(keys)
    assert np.abs(values - dense.expect_products(keys)).max() < 1e-13
    odd = [sum(name in "XY" for name in w) % 2 == 1 for w in words]
    assert not np.any(values[odd])


@pytest.mark.parametrize(
    "operator", [op("Sp", 0) * op("Sm", 3), op("N", 1) * op("Sm", 1) * op("X", 2), op("Sp", 2) ** 2]
)
def test_products_of_named_spin_operators(spins, operator):
    state, dense = spins
    assert abs(state.expect(operator) - dense.expect(operator)) < 1e-13


@pytest.mark.parametrize("sites", [None, [0, 1], [1, 2], [2, 3], [0, 2], [3]])
@pytest.mark.parametrize("order", [0.5, 1, 2, 3, math.inf])
def test_entropies_of_spins(spins, sites, order):
    state, dense = spins
    observable = obs.entropy(sites, order=order)
    assert abs(observable.evaluate(state) - observable.evaluate(dense)) < 1e-12
    assert abs(obs.purity(sites).evaluate(state) - obs.purity(sites).evaluate(dense)) < 1e-13


def test_negativity_mutual_information_and_overlap_of_spins(spins):
    state, dense = spins
    for observable in (obs.negativity(0, 1), obs.negativity([0, 1], [2, 3]), obs.mutual_information([0], [1])):
        assert abs(observable.evaluate(state) - observable.evaluate(dense)) < 1e-12
    other = GaussianState.product(state.lattice, [1, 0, ("thermal", 0.3), "mixed"])
    assert abs(state.overlap(other) - np.trace(dense.to_dense() @ other.to_dense()).real) < 1e-13
    assert abs(state.overlap(dense) - dense.purity()) < 1e-13
    for target in ("up", [1, 0, 1, 1], ["mixed"] * 4):
        assert abs(obs.fidelity(target).evaluate(state) - obs.fidelity(target).evaluate(dense)) < 1e-10


def test_the_amplitudes_of_spins_are_those_of_the_fermions(spins):
    state, dense = spins
    normal, anomalous = state.amplitudes
    string = op("Sp", 0) * -1 * op("Z", 1) * op("Sm", 2)  # a_0^+ a_2 with the string of site 1, S^+_0 (-Z_0) = S^+_0
    assert abs(normal[0, 2] - dense.expect(string)) < 1e-13
    assert np.allclose(normal, normal.conj().T) and np.allclose(anomalous, -anomalous.T)
    assert np.allclose(state.occupations(), [dense.expect(op("N", j)).real for j in range(4)])


# -- bosons ------------------------------------------------------------------------------------------------------------


def test_moments_of_a_thermal_mode():
    n = 1.7
    state = GaussianState.product(MODES[0], [("thermal", n)])
    for power in range(1, 5):  # <a^+^k a^k> = k! n^k
        value = state.expect(op("Adag", 0) ** power * op("A", 0) ** power)
        assert abs(value - math.factorial(power) * n**power) < 1e-11
    assert np.allclose(state.number_distribution(0, 6), [n**k / (1 + n) ** (k + 1) for k in range(7)], atol=1e-14)
    assert abs(obs.entropy().evaluate(state) - ((n + 1) * math.log(n + 1) - n * math.log(n))) < 1e-13
    assert abs(state.purity() - 1 / (2 * n + 1)) < 1e-14


def test_a_coherent_state():
    alpha = 0.8 - 0.6j
    state = GaussianState.product(MODES[0], [("coherent", alpha)])
    assert abs(state.expect(op("Adag", 0) ** 2 * op("A", 0) ** 3) - alpha.conjugate() ** 2 * alpha**3) < 1e-13
    poisson = [math.exp(-1) / math.factorial(k) for k in range(8)]  # |alpha| = 1
    assert np.allclose(state.number_distribution(0, 7), poisson, atol=1e-14)
    assert abs(obs.fidelity("vacuum").evaluate(state) - math.exp(-1)) < 1e-14


def squeezed(r):
    return GaussianState(MODES[0], None, 0.5 * np.diag([math.exp(-2 * r), math.exp(2 * r)]))


def test_a_squeezed_vacuum():
    r = 0.7
    state = squeezed(r)
    p = state.number_distribution(0, 9)
    exact = [math.comb(2 * k, k) * (math.tanh(r) / 2) ** (2 * k) / math.cosh(r) for k in range(5)]
    assert np.allclose(p[::2], exact, atol=1e-14) and np.allclose(p[1::2], 0, atol=1e-15)
    assert abs(state.expect(op("A", 0) ** 2) + math.sinh(r) * math.cosh(r)) < 1e-13
    assert abs(state.purity() - 1) < 1e-13 and abs(obs.entropy().evaluate(state)) < 1e-12
    assert abs(state.uncertainty_slack) < 1e-13


def two_mode_squeezed(r):
    c, s = math.cosh(2 * r) / 2, math.sinh(2 * r) / 2
    q, p = np.array([[c, s], [s, c]]), np.array([[c, -s], [-s, c]])
    zero = np.zeros((2, 2))
    return GaussianState(MODES[1], None, np.block([[q, zero], [zero, p]]))


def test_a_two_mode_squeezed_vacuum():
    r = 0.45
    state = two_mode_squeezed(r)
    assert abs(state.logarithmic_negativity([0], [1]) - 2 * r) < 1e-13
    assert abs(obs.negativity(0, 1).evaluate(state) - (math.exp(2 * r) - 1) / 2) < 1e-13
    assert abs(obs.negativity(1).evaluate(state) - (math.exp(2 * r) - 1) / 2) < 1e-13
    n = math.sinh(r) ** 2
    thermal = (n + 1) * math.log(n + 1) - n * math.log(n)
    assert abs(obs.entropy([0]).evaluate(state) - thermal) < 1e-12
    assert abs(obs.mutual_information([0], [1]).evaluate(state) - 2 * thermal) < 1e-11
    assert abs(obs.purity([1]).evaluate(state) - 1 / (2 * n + 1)) < 1e-13
    assert abs(obs.entropy([0], order=2).evaluate(state) + math.log(1 / (2 * n + 1))) < 1e-13
    assert abs(obs.entropy([0], order=math.inf).evaluate(state) - math.log(n + 1)) < 1e-13


def test_the_number_distribution_has_the_moments_of_wicks_theorem():
    state = random_modes(2, 5)
    for site in (0, 1):
        p = state.number_distribution(site, 400)
        n = np.arange(401)
        assert abs(p.sum() - 1) < 1e-10 and p.min() > -1e-14
        for power in (1, 2, 3):
            assert abs(np.dot(n**power, p) / state.expect(op("N", site) ** power).real - 1) < 1e-8


def test_commutators_are_kept_at_every_order():
    state = random_modes(3, 1)
    word = op("Q", 0) * op("Adag", 1) ** 2 * op("N", 2)
    for j in range(3):
        for left, right in itertools.product((OpSum({(): 1.0}), op("A", 0)), (OpSum({(): 1.0}), word)):
            q_p = left * (op("Q", j) * op("P", j) - op("P", j) * op("Q", j)) * right
            assert abs(state.expect(q_p) - 1j * state.expect(left * right)) < 1e-9 * (1 + abs(state.expect(q_p)))


def test_words_do_not_depend_on_how_they_are_grouped():
    state = random_modes(3, 2)
    keys = [(("Adag", i), ("A", j)) for i in range(3) for j in range(3)] + [(("N", 1), ("P", 2)), (("Q", 0),), ()]
    one_by_one = [state.expect_products([k])[0] for k in keys]
    assert np.abs(state.expect_products(keys) - one_by_one).max() == 0
    normal, pairing = state.amplitudes
    assert np.allclose(one_by_one[:9], normal.ravel())
    assert np.allclose(pairing[0, 2], state.expect(op("A", 0) * op("A", 2)))
    assert one_by_one[-1] == 1 and np.allclose(state.occupations(), np.diag(normal).real)


def test_overlap_of_displaced_states():
    one, two = (GaussianState.product(MODES[0], [("coherent", a)]) for a in (0.3 + 0.2j, -0.5j))
    assert abs(one.overlap(two) - math.exp(-(abs(0.3 + 0.7j) ** 2))) < 1e-14
    state = random_modes(2, 7)
    assert abs(state.overlap(state) - state.purity()) < 1e-13
    assert (
        abs(state.overlap(GaussianState.product(MODES[1], "vacuum")) - obs.fidelity("vacuum").evaluate(state)) < 1e-14
    )


def test_the_state_is_physical_and_its_purity_agrees_with_its_spectrum():
    state = random_modes(3, 4)
    assert state.uncertainty_slack > 0 and state.satisfies_uncertainty(0.0)
    assert not GaussianState(MODES[0], None, 0.4 * np.eye(2)).satisfies_uncertainty(1e-3)
    assert GaussianState(MODES[0], None, 0.4 * np.eye(2)).uncertainty_slack == pytest.approx(-0.1, abs=1e-14)
    assert abs(state.purity() - np.prod(1 / (2 * state.spectrum))) < 1e-13
    assert abs(state.entropy_of([0, 1, 2], 2) + math.log(state.purity())) < 1e-12
    eigenvalues = np.linalg.eigvalsh(state.covariance + 0.5j * np.kron([[0, 1], [-1, 0]], np.eye(3)))
    assert eigenvalues.min() > 0  # sigma + i Omega/2 >= 0


# -- rings -------------------------------------------------------------------------------------------------------------


def random_ring(cells=5, m=2, seed=0):
    """Blocks of a random positive state, S_(-k) = swap(S_k^*)."""
    rng = np.random.default_rng(seed)
    swap = np.r_[m : 2 * m, 0:m]
    blocks = np.zeros((cells, 2 * m, 2 * m), dtype=complex)
    for k in range(cells):
        x = rng.normal(size=(2 * m, 2 * m, 2)) @ [1, 1j]
        blocks[k] += x @ x.conj().T + np.eye(2 * m)
        blocks[-k % cells] += (x.conj() @ x.T + np.eye(2 * m))[np.ix_(swap, swap)]
    lattice = Chain(cells * m, Boson(math.inf), periodic=True)
    return RingGaussianState(lattice, blocks, rng.normal(size=(m, 2)) @ [1, 1j], rng.normal(size=m))


@pytest.mark.parametrize(("cells", "m"), [(5, 2), (4, 3), (6, 1)])
def test_a_ring_is_the_gaussian_state_of_its_covariance(cells, m):
    ring = random_ring(cells, m)
    plain = GaussianState(ring.lattice, ring.means, ring.covariance)
    assert np.allclose(ring.covariance, ring.covariance.T)
    assert np.allclose(ring.spectrum, plain.spectrum, rtol=1e-11)
    assert abs(ring.purity() / plain.purity() - 1) < 1e-10
    keys = [(("Adag", 0), ("A", 3)), (("A", 1), ("A", 4)), (("N", 2), ("Q", 5)), (("Adag", 5), ("Adag", 0))]
    assert np.allclose(ring.expect_products(keys), plain.expect_products(keys), rtol=1e-12)
    assert abs(ring.negativity_of([0], [2, 1]) - plain.negativity_of([0], [2, 1])) < 1e-12
    assert abs(ring.entropy_of([3, 0], 1) - plain.entropy_of([3, 0], 1)) < 1e-11
    assert np.allclose(ring.amplitudes[0], plain.amplitudes[0]) and np.allclose(ring.amplitudes[1], plain.amplitudes[1])


def test_a_ring_is_invariant_up_to_its_phases():
    ring = random_ring(6, 2)
    turn = np.exp(1j * ring.phases)
    here, there = ring.expect(op("Adag", 1) * op("A", 4)), ring.expect(op("Adag", 3) * op("A", 6))
    assert abs(there - here * turn[0] * turn[1].conj()) < 1e-12


# -- storage and refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", [random_modes(2, 0), random_ring(), GaussianState.product(Chain(3, SpinHalf()), "up")]
)
def test_arrays_and_back(state):
    back = type(state).from_arrays(state.lattice, state.arrays(), state.attributes())
    assert type(back) is type(state) and back.attributes() == state.attributes()
    for name, array in state.arrays().items():
        assert array.tobytes() == back.arrays()[name].tobytes()


@pytest.mark.parametrize(
    ("lattice", "initial", "words"),
    [
        (MODES[1], [1, 0], "('thermal', 1)"),
        (MODES[1], "up", "vacuum"),
        (MODES[1], ["vacuum"], "one entry per site (2)"),
        (MODES[1], [("thermal", -1.0), 0], "n >= 0"),
        (MODES[1], [("therml", 1.0), 0], "did you mean 'thermal'"),
        (MODES[1], 3, "one entry per site"),
        (MODES[1], [True, 0], "Gaussian"),
        (Chain(2, SpinHalf()), [[1, 1], 0], "superposition"),
        (Chain(2, SpinHalf()), [("thermal", 1.5), 0], "0 <= n <= 1"),
        (Chain(2, SpinHalf()), "upp", "did you mean 'up'"),
        (Chain(2, mt.Spin(1)), "up", "bosonic modes or of spins 1/2"),
    ],
)
def test_products_that_are_not_gaussian_are_refused_with_the_remedy(lattice, initial, words):
    with pytest.raises(mt.InputError) as error:
        GaussianState.product(lattice, initial)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("means", "covariance", "field"),
    [
        (None, np.eye(3), "covariance"),
        (np.zeros(2), np.eye(4), "means"),
        (None, np.full((4, 4), np.nan), "covariance"),
        (None, np.triu(np.ones((4, 4))), "covariance"),
    ],
)
def test_bad_moments_are_refused(means, covariance, field):
    with pytest.raises(mt.InputError) as error:
        GaussianState(MODES[1], means, covariance)
    assert error.value.field == field


def test_questions_without_an_answer_say_why():
    state = random_modes(2, 0)
    for question in (
        lambda: state.reduced([0]),
        lambda: state.operator_schmidt(1),
        lambda: state.to_dense(),
        lambda: state.expect(op("A", 0) ** 13),
        lambda: state.expect(op("Z", 0)),
        lambda: obs.fidelity([("thermal", 1.0), 0]).evaluate(state),
        lambda: GaussianState.product(Chain(9, SpinHalf()), "up").reduced(range(8)),
        lambda: GaussianState.product(Chain(3, SpinHalf()), "up").logarithmic_negativity([0], [1]),
    ):
        with pytest.raises(mt.NotSupportedError):
            question()
    with pytest.raises(mt.InputError):
        state.reduced([2])
    with pytest.raises(mt.InputError):
        state.negativity_of([0], [0])
    with pytest.raises(mt.InputError):
        GaussianState(MODES[1], None, np.eye(4), statistics="fermion")
