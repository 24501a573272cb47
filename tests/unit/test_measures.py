"""Functions of a density matrix: purity, negativity, entropies, fidelity; quimb is the independent judge."""

import math

import numpy as np
import pytest
import quimb

from mpo_transport import Boson, Chain, Spin, SpinHalf
from mpo_transport import observables as obs
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.states.cluster import ClusterState
from mpo_transport.states.dense import DenseState
from mpo_transport.states.mpo import MPOState

RNG = np.random.default_rng(20240)


def random_density(D: int, rank: int | None = None) -> np.ndarray:
    a = RNG.normal(size=(D, rank or D)) + 1j * RNG.normal(size=(D, rank or D))
    rho = a @ a.conj().T
    return rho / np.trace(rho)


@pytest.fixture(scope="module")
def state() -> DenseState:
    return DenseState(Chain(3, [SpinHalf(), Spin(1), SpinHalf()]), random_density(12))


@pytest.fixture(scope="module")
def entangled() -> DenseState:
    """A random state of low rank, hence entangled."""
    return DenseState(Chain(3, [SpinHalf(), Spin(1), SpinHalf()]), random_density(12, 2))


def test_measures_agree_with_quimb(entangled):
    rho, dims = entangled.to_dense(), (2, 3, 2)
    pair = quimb.partial_trace(rho, dims, [0, 1])
    assert obs.negativity(0, 1).evaluate(entangled) == pytest.approx(quimb.negativity(pair, (2, 3), 0), abs=1e-12)
    assert obs.negativity([0], [1, 2]).evaluate(entangled) == pytest.approx(quimb.negativity(rho, dims, 0), abs=1e-12)
    assert obs.negativity(1).evaluate(entangled) == pytest.approx(quimb.negativity(rho, dims, 1), abs=1e-12)
    assert obs.negativity(1).evaluate(entangled) > 0.05
    nats = math.log(2)  # quimb counts in bits
    assert obs.entropy([0, 1]).evaluate(entangled) == pytest.approx(quimb.entropy(pair) * nats, abs=1e-11)
    mutual = quimb.mutual_information(pair, (2, 3)) * nats
    assert obs.mutual_information(0, 1).evaluate(entangled) == pytest.approx(mutual, abs=1e-11)
    first, second = random_density(12), random_density(12)  # full rank: quimb takes roots of matrices
    full = DenseState(entangled.lattice, first)
    expected = quimb.fidelity(first, second, squared=True)
    assert obs.fidelity(second).evaluate(full) == pytest.approx(expected, abs=1e-9)
    assert obs.fidelity(DenseState(entangled.lattice, second)).evaluate(full) == pytest.approx(expected, abs=1e-9)


def test_fidelity_of_low_rank_states(entangled):
    """For a pure state psi and any rho it is <psi|rho|psi>, whichever way it is computed."""
    psi = RNG.normal(size=12) + 1j * RNG.normal(size=12)
    psi /= np.linalg.norm(psi)
    expected = (psi.conj() @ entangled.to_dense() @ psi).real
    assert obs.fidelity(np.outer(psi, psi.conj())).evaluate(entangled) == pytest.approx(expected, abs=1e-13)
    assert obs.fidelity(entangled.to_dense()).evaluate(entangled) == pytest.approx(1, abs=1e-13)


def test_negativity_of_a_bell_pair_is_one_half():
    bell = DenseState.from_vector(Chain(3, SpinHalf()), [1, 0, 0, 0, 0, 0, 1, 0])  # (uu + dd) u
    assert obs.negativity(0, 1).evaluate(bell) == pytest.approx(0.5, abs=1e-14)
    assert obs.negativity([0, 1], 2).evaluate(bell) == pytest.approx(0.0, abs=1e-14)
    assert obs.mutual_information(0, 1).evaluate(bell) == pytest.approx(2 * math.log(2), abs=1e-13)


def test_entropies(state):
    p = np.linalg.eigvalsh(state.reduced([0, 2]))
    for order, expected in (
        (1, -np.dot(p, np.log(p))),
        (2, -math.log(np.sum(p**2))),
        (0.5, 2 * math.log(np.sum(np.sqrt(p)))),
        (0, math.log(4)),
        (math.inf, -math.log(p.max())),
    ):
        assert obs.entropy([0, 2], order).evaluate(state) == pytest.approx(expected, abs=1e-12)
    assert obs.entropy(order=2).evaluate(state) == pytest.approx(-math.log(obs.purity().evaluate(state)), abs=1e-13)
    assert obs.purity([0, 2]).evaluate(state) == pytest.approx(np.sum(p**2), abs=1e-14)


def test_order_of_the_listed_sites_does_not_matter(entangled):
    assert obs.negativity([2, 0], 1).evaluate(entangled) == pytest.approx(
        obs.negativity([0, 2], 1).evaluate(entangled), abs=1e-13
    )
    assert obs.entropy([1, 0]).evaluate(entangled) == pytest.approx(obs.entropy([0, 1]).evaluate(entangled), abs=1e-13)


def test_operator_entropy(state):
    product = DenseState.product(Chain(3, SpinHalf()), "up")
    np.testing.assert_allclose(obs.operator_entropy().evaluate(product), [0, 0], atol=1e-14)
    classical = DenseState(Chain(2, SpinHalf()), np.diag([0.5, 0, 0, 0.5]))  # two equal operator Schmidt values
    assert obs.operator_entropy(1).evaluate(classical) == pytest.approx(math.log(2), abs=1e-14)
    assert obs.operator_entropy(1, order=2).evaluate(classical) == pytest.approx(math.log(2), abs=1e-14)
    s = state.operator_schmidt(2) ** 2
    s = s[s > 0]
    assert obs.operator_entropy(2).evaluate(state) == pytest.approx(-np.dot(s, np.log(s)), abs=1e-13)
    with pytest.raises(InputError, match="cut"):
        obs.operator_entropy(3).evaluate(state)


def test_fidelity_with_pure_targets(state):
    rho = state.to_dense()
    up = np.zeros(12)
    up[0] = 1
    assert obs.fidelity("up").evaluate(state) == pytest.approx(rho[0, 0].real, abs=1e-14)
    target = DenseState.from_vector(state.lattice, up)
    assert obs.fidelity(target).evaluate(state) == pytest.approx(rho[0, 0].real, abs=1e-14)
    vectors = [[1, 1j], [1, 0, -1], [0.3, 1]]
    psi = np.kron(np.kron(vectors[0], vectors[1]), vectors[2])
    psi = psi / np.linalg.norm(psi)
    assert obs.fidelity(vectors).evaluate(state) == pytest.approx((psi.conj() @ rho @ psi).real, abs=1e-13)
    assert obs.fidelity("mixed").evaluate(state) == pytest.approx(
        np.sqrt(np.linalg.eigvalsh(rho)).sum() ** 2 / 12, abs=1e-12
    )


def test_fidelity_in_every_representation():
    lattice = Chain(3, SpinHalf())
    local = [random_density(2) for _ in range(3)]
    target = [[1, 0.5j], [1, -1], 1]
    values = [
        obs.fidelity(target).evaluate(state)
        for state in (
            DenseState.product(lattice, local),
            MPOState.product(lattice, local, order=(0, 2, 1)),
            ClusterState(lattice, [(0, 1), (2,)], [np.kron(local[0], local[1]), local[2]]),
        )
    ]
    np.testing.assert_allclose(values, values[0], atol=1e-14)
    assert 0 < values[0] < 1


def test_fidelity_of_a_long_chain_needs_a_pure_target():
    state = MPOState.product(Chain(60, SpinHalf()), "up")
    assert obs.fidelity("up").evaluate(state) == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(NotSupportedError):
        obs.fidelity("mixed").evaluate(state)


def test_too_large_matrices_are_refused_with_their_size():
    state = MPOState.product(Chain(40, SpinHalf()), "up")
    with pytest.raises(NotSupportedError, match="65536 x 65536"):
        obs.negativity(range(8), range(20, 28)).evaluate(state)
    with pytest.raises(InputError, match="sites"):
        obs.purity([0, 40]).evaluate(state)


def test_top_population():
    lattice = Chain(3, [Boson(3), SpinHalf(), Boson(4)])
    assert obs.top_population().evaluate(
        DenseState.product(lattice, [np.diag([0.5, 0.3, 0.2]), 0, 1])
    ) == pytest.approx(0.2)
    assert math.isnan(obs.top_population().evaluate(DenseState.product(Chain(2, SpinHalf()), "up")))
