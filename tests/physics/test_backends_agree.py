"""Every observable has the same name and the same value in every representation of the same density matrix."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpo_transport import Boson, Chain, Jump, Lindbladian, Spin, SpinHalf, models, op
from mpo_transport import observables as obs
from mpo_transport.errors import NotSupportedError
from mpo_transport.model import Bath
from mpo_transport.states import ClusterState, DenseState, MPOState

pytestmark = pytest.mark.physics


def density_matrix(lattice, seed, rank=3):
    rng = np.random.default_rng(seed)
    D = int(np.prod(lattice.dims))
    vectors = rng.normal(size=(D, rank)) + 1j * rng.normal(size=(D, rank))
    rho = vectors @ vectors.conj().T
    # full rank: square roots of eigenvalues that are zero up to rounding would be known to 1e-8 only
    return 0.9 * rho / np.trace(rho).real + 0.1 * np.eye(D) / D


def folded(L):
    return tuple(k // 2 if k % 2 == 0 else L - 1 - k // 2 for k in range(L))


def representations(lattice, rho):
    """The same matrix as dense, as matrix products (three orders, another gauge and norm), as cluster."""
    L = lattice.L
    shuffled = tuple(np.random.default_rng(L).permutation(L).tolist())
    plain = MPOState.from_dense(lattice, rho)
    return {
        "mpo": plain,
        "mpo, centre in the middle, norm 3": plain.canonicalise(L // 2).scale(3.0),
        "mpo, folded": MPOState.from_dense(lattice, rho, order=folded(L)),
        "mpo, shuffled": MPOState.from_dense(lattice, rho, order=shuffled),
        "cluster": ClusterState(lattice, [tuple(range(L))], [2.0 * rho]),
    }


def spin_ring():
    rng = np.random.default_rng(5)
    amplitudes = {k: rng.normal(size=4) + 1j * rng.normal(size=4) for k in ("alpha", "beta", "gamma", "delta", "J")}
    return models.persistent_current(4, **amplitudes, lam=0.3j, mu=[0.1, 0.7, -0.4, 1.1])


def mixed_chain():
    """Spin 1/2, boson, spin 1, each with its own numbers of states; thermal baths at both ends."""
    lattice = Chain(3, [SpinHalf(), Boson(3), Spin(1)])
    hop = 0.7 * op("Sp", 0) * op("A", 1) + (0.4 - 0.2j) * op("Adag", 1) * op("Sm", 2)
    h = hop + hop.dag + 1.3 * op("N", 1) + 0.4 * op("Sz", 2) + 0.2 * op("X", 0)
    jumps = [
        Jump(op("Sm", 0), rate=0.8, label="left", charge=1),
        Jump(op("Sp", 0), rate=0.3, label="left", charge=-1),
        Jump(op("Sm", 2), rate=0.5, label="right", charge=1),
        Jump(op("Sp", 2), rate=0.2, label="right", charge=-1),
    ]
    baths = [Bath("left", energy=1.0, temperature=1.0 / math.log(8 / 3))]
    return Lindbladian(lattice, h, jumps, baths=baths)


def linear_observables(model):
    name = "Z" if model.lattice.spaces[-1].has("Z") else "N"
    return [
        *(obs.current(model, kind) for kind in model.currents),
        obs.continuity_current(model),
        obs.sources(model),
        obs.profile(model, name),
        obs.correlation(model, "N", "N"),
        obs.correlation(model, "Sm", "Sp", pairs=[(0, model.L - 1), (model.L - 1, 0), (0, 0)]),
        obs.correlation(model, "N", "Sp", sites=[0, model.L - 1], connected=True),
        obs.correlation(model, "N", "N", connected=True),
        obs.variance(sum((op("N", j) for j in range(1, model.L)), op("N", 0)), model.lattice),
    ]


def thermal_observables(model):
    return [
        obs.bath_flow(model, "left"),
        obs.heat_current(model, "left"),
        obs.heat_current(model, "right"),
        obs.entropy_production(model),
        obs.top_population(),
    ]


def state_functions(L):
    entropies = [obs.entropy(sites, order) for sites in ([1], [L - 1, 0], None) for order in (1, 2, 0.5, math.inf)]
    return [
        obs.purity(),
        obs.purity(1),
        obs.purity([L - 1, 0]),
        obs.negativity(0, L - 1),
        obs.negativity([1, 0]),
        obs.negativity([0], [2, 1]),
        *entropies,
        obs.mutual_information(0, [L - 1, 1]),
        obs.fidelity("mixed"),
        obs.fidelity([0] * L),
        obs.fidelity([1, *[0] * (L - 1)]),
    ]


@pytest.mark.parametrize("build", [spin_ring, mixed_chain])
def test_every_backend_gives_the_same_numbers(build):
    model = build()
    rho = density_matrix(model.lattice, seed=11)
    reference = DenseState(model.lattice, rho)
    asked = [*linear_observables(model), *state_functions(model.L)]
    if model.baths:
        asked += thermal_observables(model)
    expected = [o.evaluate(reference) for o in asked]
    assert any(np.abs(v).max() > 0.1 for v in expected)
    for label, state in representations(model.lattice, rho).items():
        for o, value in zip(asked, expected, strict=True):
            found = o.evaluate(state)
            assert np.shape(found) == np.shape(value), (label, o.name)
            assert np.asarray(found).dtype == np.asarray(value).dtype, (label, o.name)
            assert np.allclose(found, value, rtol=0, atol=1e-12), (label, o.name)


def test_the_dense_numbers_are_those_of_plain_linear_algebra():
    """The reference of the comparison above, checked with nothing but Kronecker products."""
    model = mixed_chain()
    rho = density_matrix(model.lattice, seed=11)

    def matrix(factors):
        out = np.eye(1)
        for j, d in enumerate((2, 3, 3)):
            out = np.kron(out, factors.get(j, np.eye(d)))
        return out

    sm, sp1 = np.array([[0, 0], [1, 0]]), np.sqrt(2) * np.diag([1, 1], 1)
    n = {0: np.diag([1, 0]), 1: np.diag([0, 1, 2]), 2: np.diag([2, 1, 0])}
    state = DenseState(model.lattice, rho)
    value = obs.correlation(model, "Sm", "Sp", pairs=[(0, 2)]).evaluate(state)[0]
    assert value == pytest.approx(np.trace(matrix({0: sm, 2: sp1}) @ rho), abs=1e-14)
    first = [np.trace(matrix({j: n[j]}) @ rho).real for j in range(3)]
    both = np.trace(matrix({0: n[0], 2: n[2]}) @ rho).real
    connected = obs.correlation(model, "N", "N", connected=True).evaluate(state)
    assert connected[0, 2] == pytest.approx(both - first[0] * first[2], abs=1e-13)
    flow = 0.8 * first[0] - 0.3 * (1 - first[0])
    assert obs.bath_flow(model, "left").evaluate(state) == pytest.approx(flow, abs=1e-13)
    partial = rho.reshape(6, 3, 6, 3).transpose(0, 3, 2, 1).reshape(18, 18)
    values = np.linalg.eigvalsh(partial)
    assert obs.negativity([0, 1]).evaluate(state) == pytest.approx(-values[values < 0].sum(), abs=1e-13)
    assert obs.negativity(2).evaluate(state) == pytest.approx(-values[values < 0].sum(), abs=1e-13)


def test_operator_entropies_agree_where_the_order_has_the_cut_and_are_refused_where_not():
    lattice = Chain(4, [SpinHalf(), Boson(3), SpinHalf(), SpinHalf()])
    rho = density_matrix(lattice, seed=2)
    reference = DenseState(lattice, rho)
    states = representations(lattice, rho)
    for cut in (1, 2, 3):
        for order in (1, 2):
            o = obs.operator_entropy(cut, order)
            for label in ("mpo", "mpo, centre in the middle, norm 3", "cluster"):
                assert o.evaluate(states[label]) == pytest.approx(o.evaluate(reference), abs=1e-12), label
    # the folded order 0, 3, 1, 2 has the cut {0} | {1, 2, 3} only
    first = obs.operator_entropy(1)
    assert first.evaluate(states["mpo, folded"]) == pytest.approx(first.evaluate(reference), abs=1e-12)
    with pytest.raises(NotSupportedError, match="no bond separates") as caught:
        obs.operator_entropy(2).evaluate(states["mpo, folded"])
    assert caught.value.field == "cut"


def test_states_have_the_same_overlaps_with_each_other():
    lattice = Chain(3, [SpinHalf(), Boson(3), Spin(1)])
    rho, sigma = density_matrix(lattice, 1), density_matrix(lattice, 2)
    expected = np.trace(rho @ sigma).real
    mine = {"dense": DenseState(lattice, rho), **representations(lattice, rho)}
    yours = {"dense": DenseState(lattice, sigma), **representations(lattice, sigma)}
    for a, x in mine.items():
        for b, y in yours.items():
            assert x.overlap(y) == pytest.approx(expected, abs=1e-14), (a, b)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), cut=st.sampled_from([1, 2, 3]))
def test_products_of_clusters_agree_with_their_dense_matrix(seed, cut):
    lattice = Chain(4, [SpinHalf(), Spin(1), Boson(2), SpinHalf()])
    parts = [Chain(cut, lattice.spaces[:cut]), Chain(4 - cut, lattice.spaces[cut:])]
    left, right = (density_matrix(p, seed + k, rank=2) for k, p in enumerate(parts))
    state = ClusterState(lattice, [tuple(range(cut)), tuple(range(cut, 4))], [left, 0.5 * right])
    reference = DenseState(lattice, np.kron(left, right))
    for o in [*state_functions(4), obs.operator_entropy()]:
        found, value = o.evaluate(state), o.evaluate(reference)
        assert np.allclose(found, value, rtol=0, atol=1e-12), o.name
