"""Observables: identities on random states and models, known values, bad input."""

import math

import numpy as np
import pytest
from systems import SYSTEMS, dense_steady_state, load_reference, spin_boson_chain

from mpo_transport import Boson, Chain, Graph, Jump, Lindbladian, OpSum, Spin, SpinHalf, models, op
from mpo_transport import observables as obs
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.observables import Observable, build_observable
from mpo_transport.states.dense import DenseState
from mpo_transport.superoperator import operator_matrix, sparse_lindbladian

RNG = np.random.default_rng(20240)


def random_density(D: int, rank: int | None = None) -> np.ndarray:
    a = RNG.normal(size=(D, rank or D)) + 1j * RNG.normal(size=(D, rank or D))
    rho = a @ a.conj().T
    return rho / np.trace(rho)


def random_state(lattice: Chain | Graph) -> DenseState:
    return DenseState(lattice, random_density(int(np.prod(lattice.dims))))


def heisenberg(model: Lindbladian, operator: OpSum) -> np.ndarray:
    """L^dag(O) from the dense generator, the adjoint of the matrix that acts on rho."""
    O = operator_matrix(model.lattice, operator).toarray()
    return (sparse_lindbladian(model).conj().T @ O.ravel()).reshape(O.shape)


def dense(model: Lindbladian, operator: OpSum) -> np.ndarray:
    return operator_matrix(model.lattice, operator).toarray()


# -- the adjoint generator and the continuity equation -----------------------------------------------------------------


def _random_model(lattice: Chain | Graph, reach: int, conserving: bool = False) -> Lindbladian:
    """Hopping, interactions and jumps of random complex strength between all sites at distance 1 .. reach."""

    def z() -> complex:
        return complex(RNG.normal(), RNG.normal())

    def ladder(j: int) -> tuple[str, str]:
        return ("Sp", "Sm") if lattice.spaces[j].kind == "spin" else ("Adag", "A")

    h, jumps = OpSum(), []
    pairs = [p for d in range(1, reach + 1) for p in lattice.pairs(d)]
    for i, j in pairs:
        (ui, di), (uj, dj) = ladder(i), ladder(j)
        hop = z() * op(ui, i) * op(dj, j)
        pair = OpSum() if conserving else z() * op(ui, i) * op(uj, j)
        h = h + hop + hop.dag + pair + pair.dag + RNG.normal() * op("N", i) * op("N", j)
        jump = op(ui, i) * op(dj, j) if conserving else z() * op(di, i) + z() * op(ui, i) + z() * op(dj, j)
        jumps.append(Jump(jump, rate=RNG.random()))
    if not conserving and isinstance(lattice, Chain):  # on a graph a common jump acts between sites without an edge
        jumps.append(Jump(sum((z() * op(ladder(j)[1], j) for j in range(lattice.L)), OpSum()), rate=0.3))
    jumps += [Jump(op("N", j), rate=RNG.random()) for j in range(lattice.L)]
    return Lindbladian(lattice, h, jumps)


SHAPES = {
    "open spins": (Chain(4, SpinHalf()), 1),
    "ring of spins": (Chain(4, SpinHalf(), periodic=True), 1),
    "ring of three": (Chain(3, SpinHalf(), periodic=True), 2),
    "long range": (Chain(4, SpinHalf()), 3),
    "ring, opposite sites": (Chain(4, SpinHalf(), periodic=True), 2),
    "mixed": (Chain(3, [SpinHalf(), Boson(3), Spin(1)]), 1),
    "star": (Graph([(0, 1), (0, 2), (3, 0)], SpinHalf()), 1),
}


@pytest.mark.parametrize("conserving", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_continuity_equation_closes_as_operator_identity(shape, conserving):
    lattice, reach = SHAPES[shape]
    model = _random_model(lattice, reach, conserving)
    flow, source = obs.continuity_current(model), obs.sources(model)
    assert flow.is_hermitian
    assert source.is_hermitian
    currents = [dense(model, current) for current in flow.operators]
    for j in range(lattice.L):
        total = dense(model, source.operators[j])
        for (i, k), current in zip(flow.labels, currents, strict=True):
            total = total + ((k == j) * 1.0 - (i == j) * 1.0) * current
        expected = heisenberg(model, op("N", j))
        np.testing.assert_allclose(total, expected, atol=1e-13 * np.abs(expected).max())
    if conserving:
        assert not any(source.operators)


@pytest.mark.parametrize("shape", SHAPES)
def test_adjoint_action_equals_the_dense_adjoint(shape):
    lattice, reach = SHAPES[shape]
    model = _random_model(lattice, reach, conserving=isinstance(lattice, Graph))
    creators = [("Sp" if s.kind == "spin" else "Adag") for s in lattice.spaces]
    for operator in (op("N", 1), op(creators[0], 0) * op("N", 2), 1j * op(creators[1], 1) + op("N", 0) * op("N", 1)):
        expected = heisenberg(model, operator)
        result = dense(model, obs.adjoint_action(model, operator))
        np.testing.assert_allclose(result, expected, atol=1e-13 * np.abs(expected).max())


def test_adjoint_action_annihilates_the_identity():
    model = _random_model(Chain(3, SpinHalf()), 2)
    assert not obs.adjoint_action(model, 3 * OpSum({(): 1.0}))


def test_generic_current_is_the_hopping_current():
    model = models.boundary_driven_xx(4, [0.5 + 0.2j, -1.0, 0.3j], 1.0, 0.8, 0.5, 0.1, dephasing=0.4)
    for a, b in zip(obs.continuity_current(model).operators, obs.current(model).operators, strict=True):
        np.testing.assert_allclose(dense(model, a), dense(model, b), atol=1e-15)


def test_generic_current_of_the_persistent_current_model():
    """In units of particles the continuity current is half of I^J + I^xi; I^eta and I^lambda are sources."""
    c = RNG.normal(size=(6, 4)) + 1j * RNG.normal(size=(6, 4))
    model = models.persistent_current(4, c[0], c[1], beta=c[2], gamma=c[3], J=c[4], lam=c[5], mu=0.3, kappa=0.2)
    flow = obs.continuity_current(model)
    for total, a, b in zip(
        flow.operators, obs.current(model, "J").operators, obs.current(model, "xi").operators, strict=True
    ):
        np.testing.assert_allclose(dense(model, total), dense(model, (a + b) / 2), atol=1e-14)


def test_long_range_hop_flows_through_every_bond_on_its_way():
    hop = 1j * op("Sp", 0) * op("Sm", 3)
    flow = obs.continuity_current(Lindbladian(Chain(5, SpinHalf()), hop + hop.dag, [])).operators
    assert flow[0] == flow[1] == flow[2] == -op("Sp", 0) * op("Sm", 3) - op("Sm", 0) * op("Sp", 3)
    assert not flow[3]


def test_a_ring_takes_the_shorter_way():
    hop = 1j * op("Sp", 1) * op("Sm", 4)
    ring = Chain(5, SpinHalf(), periodic=True)
    flow = obs.continuity_current(Lindbladian(ring, hop + hop.dag, [])).operators  # 4 -> 0 -> 1
    assert [bool(o) for o in flow] == [True, False, False, False, True]
    opposite = 1j * op("Sp", 0) * op("Sm", 2)
    square = Chain(4, SpinHalf(), periodic=True)
    halves = obs.continuity_current(Lindbladian(square, opposite + opposite.dag, [])).operators
    assert halves[0] == halves[1] == -halves[2] == -halves[3] != OpSum()


def test_exclusion_current():
    model = models.exclusion_process(3, 1.0, 0.8, 0.5, 0.3, p=1.3, q=0.4)
    n = [op("N", j) for j in range(3)]
    expected = 1.3 * n[0] * (1 - n[1]) - 0.4 * (1 - n[0]) * n[1]
    np.testing.assert_allclose(dense(model, obs.current(model).operators[0]), dense(model, expected), atol=1e-14)


# -- named currents ----------------------------------------------------------------------------------------------------


def test_current_at_a_distance_uses_the_coefficient_of_the_first_site():
    alpha = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    ring = models.persistent_current(5, alpha, 0.5)
    far = obs.current(ring, "eta", distance=2)
    assert far.labels == ((0, 2), (1, 3), (2, 4), (3, 0), (4, 1))
    assert far.operators[3] == -(alpha[3] ** 2 - 0.25) * (op("Sm", 3) * op("Sp", 0) + op("Sp", 3) * op("Sm", 0))
    assert far.dimension == "pair"


def test_norm_is_that_of_the_operator():
    chain = models.boundary_driven_xx(4, 0.7, 1.0, 0.8, 0.5, 0.1)
    assert obs.current(chain).norm == pytest.approx(0.7)
    assert obs.profile(chain, "Z").norm == pytest.approx(1.0)
    assert obs.profile(models.boundary_driven_xx(2, 0.7, 1.0, 0.8, 0.5, 0.1, levels=6), "N").norm == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("make", "field", "text"),
    [
        (lambda m: obs.current(m, "etta"), "kind", "did you mean 'eta'"),
        (lambda m: obs.current(m, distance=0), "distance", "1 to L-1"),
        (lambda m: obs.continuity_current(m, "Zz"), "charge", "did you mean 'Z'"),
        (lambda m: obs.profile(m, "Szz"), "name", "did you mean 'Sz'"),
        (lambda m: obs.profile(m, "Z", species="bosons"), "species", "no site is of the species"),
        (lambda m: obs.correlation(m, "Z", "Z", sites=[0, 9]), "sites", "0..3"),
        (lambda m: obs.correlation(m, "Z", "A", pairs=[(0, 1)]), "pairs", "no operator 'A'"),
        (lambda m: obs.correlation(m, "Z", "Z", sites=[0], pairs=[(0, 1)]), "pairs", "exclude"),
        (lambda m: obs.bath_flow(m, "comon"), "bath", "did you mean 'common'"),
        (lambda m: obs.heat_current(m, "left"), "bath", "no jumps labelled 'left'"),
        (lambda m: obs.bath_flow(m, "common"), "bath", "no definite number"),
        (lambda m: obs.entropy_production(m), "model", "thermal bath"),
        (lambda m: obs.negativity([0, 1], [1, 2]), "sites_b", "disjoint"),
        (lambda m: obs.mutual_information([0, 1], 1), "sites_b", "disjoint"),
        (lambda m: obs.purity([]), "sites", "at least one"),
        (lambda m: obs.entropy([0], order=-1), "order", ">= 0"),
        (lambda m: build_observable(m, "profil"), "observables", "did you mean 'profile'"),
        (lambda m: build_observable(m, "profile"), "observables.profile.name", "needs"),
        (lambda m: build_observable(m, "profile", nam="Z"), "observables.profile.nam", "did you mean 'name'"),
    ],
)
def test_bad_input_names_the_field(make, field, text):
    with pytest.raises(InputError, match=text) as error:
        make(models.persistent_current(4, 2.0, 1.0))
    assert error.value.field == field


def test_current_without_named_kinds():
    model = models.exclusion_process(3, 1.0, 0.8, 0.5, 0.3)
    with pytest.raises(InputError, match="none is known"):
        obs.current(model, "particles")
    with pytest.raises(InputError, match="distance"):
        obs.current(model, distance=2)


def test_a_term_beyond_the_edges_of_a_graph_has_no_current():
    hop = op("Sp", 1) * op("Sm", 2)
    with pytest.raises(NotSupportedError, match="no edge"):
        obs.continuity_current(Lindbladian(Graph([(0, 1), (0, 2)], SpinHalf()), hop + hop.dag, []))


def test_registry_builds_what_the_functions_build():
    model = models.persistent_current(4, 2.0, 1.0)
    assert build_observable(model, "current", kind="J") == obs.current(model, "J")
    assert build_observable(model, "profile", name="Z") == obs.profile(model, "Z")
    assert build_observable(model, "purity", sites=[1]).name == "purity_1"
    assert set(obs.OBSERVABLES) <= set(obs.__all__)


# -- one- and two-point functions --------------------------------------------------------------------------------------


def test_profile_of_a_species():
    model = spin_boson_chain()
    assert obs.profile(model, "N").labels == (0, 1, 2)
    assert obs.profile(model, "N", species="spin").labels == (0, 2)
    assert obs.profile(model, "A").labels == (1,)


def test_values_are_evaluated_once_per_product():
    class Counting(DenseState):
        asked: list = []  # noqa: RUF012

        def expect_products(self, products):
            self.asked.append(list(products))
            return super().expect_products(products)

    model = models.persistent_current(3, 2.0, 1.0)
    state = Counting(model.lattice, random_density(8))
    observable = Observable("twice", (op("Z", 0) + op("Z", 1), op("Z", 1) - 2 * op("Z", 0)), (0, 1), "pair")
    value = observable.evaluate(state)
    assert len(state.asked) == 1
    assert len(state.asked[0]) == len(set(state.asked[0])) == 2
    z = [state.expect(op("Z", j)).real for j in (0, 1)]
    np.testing.assert_allclose(value, [z[0] + z[1], z[1] - 2 * z[0]], atol=1e-15)


def test_correlations_match_the_dense_traces():
    model = spin_boson_chain()
    state = random_state(model.lattice)
    rho = state.to_dense()
    matrix = obs.correlation(model, "N", "N").evaluate(state)
    connected = obs.correlation(model, "N", "N", connected=True).evaluate(state)
    one = [np.trace(rho @ dense(model, op("N", j))).real for j in range(3)]
    for i in range(3):
        for j in range(3):
            two = np.trace(rho @ dense(model, op("N", i)) @ dense(model, op("N", j))).real
            assert matrix[i, j] == pytest.approx(two, abs=1e-13)
            assert connected[i, j] == pytest.approx(two - one[i] * one[j], abs=1e-13)


def test_correlation_of_ladder_operators_is_complex_and_ordered():
    model = models.persistent_current(3, 2.0, 1.0)
    state = random_state(model.lattice)
    values = obs.correlation(model, "Sp", "Sm", sites=[0, 2]).evaluate(state)
    assert values[0, 1] == pytest.approx(state.expect(op("Sp", 0) * op("Sm", 2)), abs=1e-14)
    assert values[1, 0] == pytest.approx(np.conj(values[0, 1]), abs=1e-14)
    assert values[0, 0] == pytest.approx(state.expect(op("N", 0)), abs=1e-14)
    assert abs(values[0, 1].imag) > 1e-6


def test_variance():
    model = models.persistent_current(3, 2.0, 1.0)
    state = random_state(model.lattice)
    total = sum((op("N", j) for j in range(3)), OpSum())
    rho, n = state.to_dense(), dense(model, total)
    expected = (np.trace(rho @ n @ n) - np.trace(rho @ n) ** 2).real
    assert obs.variance(total).evaluate(state) == pytest.approx(expected, abs=1e-13)
    simplified = obs.variance(total, model.lattice)
    assert simplified.evaluate(state) == pytest.approx(expected, abs=1e-13)
    assert simplified.norm == pytest.approx(9.0)


# -- the table of systems ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", [s for s in SYSTEMS if np.prod(s.build().lattice.dims) <= 20], ids=str)
def test_known_answers_of_the_table(system):
    """The table itself, by a dense null vector: what every method is compared with must be right."""
    model = system.build()
    state = dense_steady_state(model)
    for answer in system.answers:
        value = np.asarray(answer.observable(model).evaluate(state))
        assert value.shape == np.shape(answer.value), answer.name
        assert np.max(np.abs(value - answer.value)) <= answer.uncertainty + 2e-12, answer.name


def test_reference_notation_is_read():
    arguments, value, uncertainty = load_reference("complex-ring5")
    assert arguments["gamma"] == np.conj(arguments["alpha"])
    assert abs(arguments["alpha"]) == pytest.approx(1.2)
    assert arguments["periodic"] is True
    assert (len(value), uncertainty) == (3, 1e-10)
    arguments, value, _ = load_reference("fig2-map", 4)
    assert arguments["flux"] == pytest.approx(1.5 * math.pi)
    assert (arguments["kappa"], arguments["lam"], arguments["alpha"]) == (5.0, 0.5, 0.0)
