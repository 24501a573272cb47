"""Sampling, fidelities and conversions of matrix-product density matrices against the dense matrix."""

import math

import numpy as np
import pytest
from scipy import stats

import mpo_transport as mt
from mpo_transport import observables as obs
from mpo_transport.errors import InputError, MpoTransportWarning, NotSupportedError
from mpo_transport.lattice import Chain
from mpo_transport.operators import Boson, Spin, SpinHalf
from mpo_transport.states import DenseState, MPOState, from_quimb, hilbert_schmidt_fidelity, to_quimb
from mpo_transport.states.mpo_sampling import Samples

SPACES = [SpinHalf(), Boson(3), Spin(1), SpinHalf()]
LATTICE = Chain(4, SPACES)
DIMS = (2, 3, 3, 2)
D = 36


def random_density(seed, D, rank=None):
    rng = np.random.default_rng(seed)
    m = rng.normal(size=(D, rank or D)) + 1j * rng.normal(size=(D, rank or D))
    rho = m @ m.conj().T
    return rho / np.trace(rho).real


def exact_distribution(rho, dims, unitaries):
    """Probabilities of all outcomes of measuring every site in the columns of its unitary, shape dims."""
    u = np.eye(1)
    for v in unitaries:
        u = np.kron(u, v)
    return np.real(np.diagonal(u.conj().T @ rho @ u)).reshape(dims)


def descending(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return values[::-1], vectors[:, ::-1]


def chi_squared(outcomes, probabilities):
    """p value of counts against an exact distribution; rare outcomes share a bin."""
    flat = np.ravel_multi_index(outcomes.T, probabilities.shape)
    counts = np.bincount(flat, minlength=probabilities.size)
    expected = probabilities.ravel() * len(outcomes)
    rare = expected < 5
    observed = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    keep = wanted > 0
    return stats.chisquare(observed[keep], wanted[keep] * observed[keep].sum() / wanted[keep].sum()).pvalue


# -- sampling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [None, (2, 0, 3, 1)])
def test_samples_follow_the_distribution_of_the_dense_state(order):
    """Complex asymmetric state, sites of three kinds, another basis on each; a wrong sign of Y would show."""
    rho = random_density(1, D, rank=3)
    state = MPOState.from_dense(LATTICE, rho, order=order).scale(-0.3)  # the scale of the train is no matter
    rng = np.random.default_rng(5)
    m = rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3))
    bases = ["Y", m + m.conj().T, "Sx", "X"]
    matrices = [SPACES[0].matrix("Y"), bases[1], SPACES[2].matrix("Sx"), SPACES[3].matrix("X")]
    spectra, unitaries = zip(*map(descending, matrices), strict=True)
    exact = exact_distribution(rho, DIMS, unitaries)
    samples = state.sample(20000, bases, seed=3)
    assert samples.outcomes.shape == (20000, 4) and samples.bias < 1e-12
    for found, known in zip(samples.spectra, spectra, strict=True):
        assert np.allclose(found, known, rtol=0, atol=1e-12)
    assert chi_squared(samples.outcomes, exact) > 1e-3
    # the test has power: the mirrored Y distribution is refused
    assert chi_squared(samples.outcomes, exact[::-1]) < 1e-6


def test_some_sites_in_any_order_the_rest_traced_out():
    rho = random_density(2, D, rank=2)
    state = MPOState.from_dense(LATTICE, rho)
    samples = state.sample(20000, ["X", "N"], sites=(3, 1), seed=1)
    _, u3 = descending(SPACES[3].matrix("X"))
    _, u1 = descending(SPACES[1].matrix("N"))
    exact = exact_distribution(state.reduced((3, 1)), (2, 3), (u3, u1))
    assert samples.sites == (3, 1) and chi_squared(samples.outcomes, exact) > 1e-3
    assert set(np.unique(samples.values[:, 1])) <= {0.0, 1.0, 2.0}


def test_degenerate_eigenvalues_are_one_outcome():
    rho = random_density(3, D)
    state = MPOState.from_dense(LATTICE, rho)
    empty = np.diag([1.0, 0.0, 0.0])  # "is the mode empty": two outcomes of a three-level site
    samples = state.sample(20000, [empty], sites=(1,), seed=2)
    assert [len(s) for s in samples.spectra] == [2] and samples.spectra[0].tolist() == [1.0, 0.0]
    p = state.reduced((1,))[0, 0].real
    assert abs(samples.values.mean() - p) < 4 * math.sqrt(p * (1 - p) / 20000)


def test_basis_states_without_an_observable_and_means_of_a_long_chain():
    model = mt.models.boundary_driven_xx(L=60, t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    result = mt.steady_state(model, mt.ChainGrowth(), tol=1e-8, progress=False)
    samples = result.state.sample(4000, "N", seed=0)
    n = np.asarray(result.expect(obs.profile(model, "N")))
    sigma = np.sqrt(n * (1 - n) / samples.n)
    assert np.all(np.abs(samples.values.mean(axis=0) - n) < 5 * sigma) and samples.bias < 1e-9
    raw = result.state.sample(5, seed=0)  # index 0 is the state of largest S^z: occupied
    assert np.array_equal(raw.outcomes, 1 - samples.values[:5].astype(int))
    assert np.array_equal(raw.values, raw.outcomes)


def test_correlations_of_a_cat_state():
    up, down = (MPOState.product(Chain(30, SpinHalf()), name) for name in ("up", "down"))
    cat = mt.states.add(up, down, 0.25, 0.75)
    values = cat.sample(2000, "Z", seed=4).values
    assert np.all(values == values[:, :1])  # all alike in every run
    assert abs((values[:, 0] > 0).mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 2000)


def test_the_seed_decides_and_the_first_samples_do_not_depend_on_their_number():
    state = MPOState.from_dense(LATTICE, random_density(6, D))
    a, b, c = state.sample(50, seed=7), state.sample(200, seed=7), state.sample(50, seed=8)
    assert np.array_equal(a.outcomes, b.outcomes[:50]) and not np.array_equal(a.outcomes, c.outcomes)
    assert a.seed == 7 and isinstance(a, Samples) and "bias" in repr(a)


def test_a_state_that_is_not_positive_is_reported():
    """rho = (1 + 1.2 Z)/2 on one of two sites: P(down) = -0.1; the weight is known exactly."""
    lattice = Chain(2, SpinHalf())
    z = np.diag([1.0, -1.0])
    rho = np.kron((np.eye(2) + 1.2 * z) / 2, (np.eye(2) + 0.3 * z) / 2)
    state = MPOState.from_dense(lattice, rho)
    with pytest.warns(MpoTransportWarning, match="not positive"):
        samples = state.sample(1000, "Z", seed=0)
    assert samples.negativity == pytest.approx([0.1, 0.0], abs=1e-12) and samples.bias == pytest.approx(0.1)
    assert np.all(samples.values[:, 0] == 1.0)
    assert state.sample(20, "Z", seed=0).bias == pytest.approx(0.1)  # below the statistical error: no warning


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("n", {"n": 0}), ("n", {"n": 2.5}), ("n", {"n": True}), ("seed", {"n": 1, "seed": -1}),
        ("seed", {"n": 1, "seed": None}), ("sites", {"n": 1, "sites": ()}), ("sites", {"n": 1, "sites": (0, 0)}),
        ("sites", {"n": 1, "sites": (4,)}), ("bases", {"n": 1, "bases": ["Z"]}), ("bases", {"n": 1, "bases": 3}),
        ("bases", {"n": 1, "bases": ["Sp", "N", "Sz", "Z"]}), ("bases", {"n": 1, "bases": [np.eye(3)] * 4}),
        ("operator", {"n": 1, "bases": "Nonsense"}),
    ],
)  # fmt: skip
def test_bad_questions_are_named(field, arguments):
    with pytest.raises(InputError) as error:
        MPOState.mixed(LATTICE).sample(**arguments)
    assert error.value.field == field, str(error.value)


def test_a_traceless_operator_cannot_be_sampled():
    mixed = MPOState.mixed(LATTICE)
    with pytest.raises(InputError, match="trace"):
        mt.states.add(mixed, mixed, 1.0, -1.0).sample(3)


# -- fidelities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("L", [4, 5, 6])
def test_hilbert_schmidt_fidelity_of_dense_and_matrix_product_states(L):
    lattice = Chain(L, SpinHalf())
    rho, sigma = random_density(L, 2**L, rank=2), random_density(L + 50, 2**L)
    exact = np.trace(rho @ sigma).real / math.sqrt(np.trace(rho @ rho).real * np.trace(sigma @ sigma).real)
    order = tuple(np.random.default_rng(L).permutation(L).tolist())
    mine, yours = MPOState.from_dense(lattice, rho, order=order), MPOState.from_dense(lattice, sigma, order=order)
    assert hilbert_schmidt_fidelity(mine, yours) == pytest.approx(exact, abs=1e-13)
    assert hilbert_schmidt_fidelity(mine.scale(-3.0), yours.canonicalise(1)) == pytest.approx(exact, abs=1e-13)
    assert hilbert_schmidt_fidelity(mine, mine) == pytest.approx(1, abs=1e-13)
    other = MPOState.from_dense(lattice, sigma)  # another order: through the dense matrices
    for target in (yours, other, DenseState(lattice, sigma)):
        assert obs.hilbert_schmidt_fidelity(target).evaluate(mine) == pytest.approx(exact, abs=1e-13)
    assert obs.hilbert_schmidt_fidelity(mine).evaluate(DenseState(lattice, sigma)) == pytest.approx(exact, abs=1e-13)
    up = rho[0, 0].real / math.sqrt(np.trace(rho @ rho).real)
    assert obs.hilbert_schmidt_fidelity("up").evaluate(mine) == pytest.approx(up, abs=1e-13)


def test_uhlmann_fidelity_of_reduced_states():
    rho, sigma = random_density(8, D), random_density(9, D, rank=18)  # reduced ones have full rank
    mine, yours = MPOState.from_dense(LATTICE, rho), MPOState.from_dense(LATTICE, sigma, order=(2, 0, 3, 1))
    for sites in ((0,), (3, 1), (1, 2, 0)):
        a, b = DenseState(LATTICE, rho).reduced(sites), DenseState(LATTICE, sigma).reduced(sites)
        values, vectors = np.linalg.eigh(a)
        root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.conj().T
        exact = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum() ** 2
        for target in (yours, DenseState(LATTICE, sigma), b):
            assert obs.fidelity(target, sites).evaluate(mine) == pytest.approx(exact, abs=1e-10)
    pure = obs.fidelity([1, 2, 0, 1], (1,)).evaluate(mine)
    assert pure == pytest.approx(mine.reduced((1,))[2, 2].real, abs=1e-12)


def test_fidelities_of_long_chains():
    lattice = Chain(300, SpinHalf())
    states = {
        p: MPOState.product(lattice, [np.diag([p, 1 - p])] * 300) for p in (0.5, 0.7)
    }  # per site: cosine of the angle between (.5, .5) and (.7, .3)
    one = 0.5 / math.sqrt(0.5 * (0.49 + 0.09))
    assert hilbert_schmidt_fidelity(states[0.5], states[0.7]) == pytest.approx(one**300, rel=1e-10)
    with pytest.raises(NotSupportedError):
        obs.fidelity(states[0.5]).evaluate(states[0.7])
    local = (math.sqrt(0.35) + math.sqrt(0.15)) ** 2
    found = obs.fidelity(states[0.5], [10, 200]).evaluate(states[0.7])
    assert found == pytest.approx(local**2, abs=1e-12)


@pytest.mark.parametrize(
    ("target", "sites", "field"),
    [
        (np.eye(3) / 3, (0,), "target"), ("sideways", (0,), "target"), ("mixed", (), "sites"), ("mixed", (7,), "sites"),
        (MPOState.mixed(Chain(2, SpinHalf())), (0,), "target"),
    ],
)  # fmt: skip
def test_bad_targets_are_named(target, sites, field):
    with pytest.raises(InputError) as error:
        obs.fidelity(target, sites).evaluate(MPOState.mixed(LATTICE))
    assert error.value.field == field
    if not isinstance(target, np.ndarray) and field == "target":
        with pytest.raises(InputError) as error:
            obs.hilbert_schmidt_fidelity(target).evaluate(MPOState.mixed(LATTICE))
        assert error.value.field == "target"


# -- quimb -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("L", [4, 5, 6])
def test_quimb_there_and_back(L):
    """Matrix elements, trace and bond dimensions; asymmetric complex states, to tell rows and columns apart."""
    lattice = Chain(L, SpinHalf())
    rho = random_density(L + 20, 2**L, rank=3)
    state = MPOState.from_dense(lattice, rho)
    theirs = to_quimb(state)
    assert np.abs(theirs.to_dense() - rho).max() < 1e-13
    back = from_quimb(theirs, lattice)
    assert np.abs(back.to_dense() - rho).max() < 1e-13 and back.bond_dimensions == state.bond_dimensions
