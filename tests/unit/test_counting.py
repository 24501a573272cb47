"""Counting statistics: arguments, closed forms, identities, agreement of the backends on small random models."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpo_transport as mt
from mpo_transport import Boson, Chain, Jump, Lindbladian, SpinHalf, op
from mpo_transport.counting.exact import ExactCounting
from mpo_transport.counting.fields import charge_table
from mpo_transport.counting.network import NetworkCounting, jump_mpo, tilted_mpo
from mpo_transport.errors import ConvergenceError, DegenerateSteadyStateError, InputError, NotSupportedError
from mpo_transport.states import DenseState, MPOState
from mpo_transport.superoperator import hermitian_lindbladian, operator_matrix, sparse_lindbladian

counting = mt.counting


def thermal(operator, rate, occupation, label, fermions=False):
    """Loss and gain of a thermal bath through one operator."""
    loss = 1 - occupation if fermions else 1 + occupation
    return [
        Jump(operator, rate=rate * loss, label=label, charge=1),
        Jump(operator.dag, rate=rate * occupation, label=label, charge=-1),
    ]


def network(seed, modes=3, levels=math.inf, hot=1.0):
    """Random passive bosonic network with complex hopping, local and collective baths, unequal rates."""
    rng = np.random.default_rng(seed)
    h = sum((rng.normal() * op("N", j) for j in range(modes)), 0 * op("N", 0))
    for i in range(modes):
        for j in range(i + 1, modes):
            hop = (rng.normal() + 1j * rng.normal()) * (op("Adag", i) * op("A", j))
            h = h + hop + hop.dag
    jumps = []
    for j in range(modes):
        jumps += thermal(op("A", j), rng.uniform(0.3, 1.2), hot * rng.uniform(0.05, 1.5), f"bath_{j}")
    both = sum((complex(*rng.normal(size=2)) * op("A", j) for j in range(modes)), 0 * op("A", 0))
    jumps += thermal(both, rng.uniform(0.3, 0.8), hot * rng.uniform(0.05, 1.0), "common")
    return Lindbladian(Chain(modes, Boson(levels)), h, jumps)


def spin_chain(seed, L=3):
    """Random XXZ-like chain with complex couplings, baths at both ends, and dephasing."""
    rng = np.random.default_rng(seed)
    h = sum((rng.normal() * op("N", j) for j in range(L)), 0 * op("N", 0))
    for j in range(L - 1):
        hop = (rng.normal() + 1j * rng.normal()) * (op("Sp", j) * op("Sm", j + 1))
        h = h + hop + hop.dag + rng.normal() * op("Z", j) * op("Z", j + 1)
    jumps = thermal(op("Sm", 0), rng.uniform(0.5, 1.5), rng.uniform(0.1, 0.9), "left", True)
    jumps += thermal(op("Sm", L - 1), rng.uniform(0.5, 1.5), rng.uniform(0.1, 0.9), "right", True)
    jumps += [Jump(op("N", j), rate=rng.uniform(0, 0.5), label="dephasing", charge=0) for j in range(L)]
    return Lindbladian(Chain(L, SpinHalf()), h, jumps)


def dense_theta(model, fields):
    """Largest eigenvalue of the tilted generator on all of operator space, built without the package's counting."""
    D = math.prod(int(d) for d in model.lattice.dims)
    total = sparse_lindbladian(model).toarray()
    for jump in model.jumps:
        s = fields.get(jump.label, 0.0) * (jump.charge or 0.0)
        matrix = operator_matrix(model.lattice, jump.operator).toarray()
        total = total + (np.exp(-s) - 1) * jump.rate * np.kron(matrix, matrix.conj())
    assert total.shape == (D * D, D * D)
    return np.linalg.eigvals(total).real.max()


# -- closed forms ------------------------------------------------------------------------------------------------------


def single_mode(levels=math.inf, hot=0.7):
    """One mode of loss rates 1 and 2 between a warm and an empty bath."""
    cold = [Jump(op("A", 0), rate=2.0, label="cold", charge=1)]
    return Lindbladian(Chain(1, Boson(levels)), 0.3 * op("N", 0), thermal(op("A", 0), 1.0, hot, "hot") + cold)


def test_single_mode_has_the_generating_function_of_a_birth_and_death_process():
    model, n = single_mode(), 0.7
    down, up = n + 1 + 2, n
    for s in (-0.4, 0.2, 0.9, 0.3 + 0.8j):
        root = np.sqrt((down + up) ** 2 - 4 * (n + 1 + 2 * np.exp(-s)) * n)
        expected = 0.5 * (down - up - root)
        assert counting.generating_function(model, {"cold": s}) == pytest.approx(expected, abs=1e-13)


def test_domain_of_a_single_mode_is_found_and_told():
    down, up = 3.7, 0.7
    edge = -math.log(((down + up) ** 2 / (4 * 0.7) - 1.7) / 2)
    assert math.isfinite(counting.generating_function(single_mode(), {"cold": edge + 1e-6}))
    with pytest.raises(InputError, match=f"{edge:.5f}.* < cold < ") as error:
        counting.generating_function(single_mode(), {"cold": edge - 1e-6})
    assert error.value.field == "fields"
    with pytest.raises(InputError, match="times these fields"):
        counting.generating_function(single_mode(), {"cold": -3.0, "hot": 1.0})


def test_single_electron_transistor():
    """Source -> one level -> drain, H. Bruus and others: F = (a^2 + b^2)/(a + b)^2, skewness from the exact root."""
    a, b = 0.7, 1.9
    jumps = [
        Jump(op("Sp", 0), rate=a, label="source", charge=-1),
        Jump(op("Sm", 0), rate=b, label="drain", charge=1),
    ]
    model = Lindbladian(Chain(1, SpinHalf()), None, jumps)
    flow = a * b / (a + b)
    fano = (a**2 + b**2) / (a + b) ** 2
    third = flow * (1 - 6 * a * b / (a + b) ** 2 + 12 * a**2 * b**2 / (a + b) ** 4)
    for method in (None, mt.Gaussian(), mt.ExactDiag()):
        assert counting.cumulants(model, "drain", 3, method) == pytest.approx([flow, fano * flow, third], abs=1e-12)
        assert counting.fano_factor(model, "drain", method) == pytest.approx(fano, abs=1e-12)
    root = math.sqrt((a + b) ** 2 + 4 * a * b * (math.exp(-0.8) - 1))
    assert counting.generating_function(model, {"drain": 0.8}) == pytest.approx((root - a - b) / 2, abs=1e-13)


def test_driven_mode_emits_a_poisson_stream():
    """A coherent state: every cumulant is the mean."""
    model = mt.models.kerr_oscillator(Delta=0.7, U=0.0, F=0.4, gamma=0.9, levels=math.inf)
    label = model.jumps[0].label
    mean = 0.9 * 0.4**2 / (0.7**2 + 0.45**2)
    assert counting.cumulants(model, label, 4) == pytest.approx([mean] * 4, rel=1e-10)
    assert counting.generating_function(model, {label: -1.5}) == pytest.approx(mean * math.expm1(1.5), rel=1e-12)


def test_parametric_oscillator_emits_pairs():
    """Below threshold, to lowest order in the pump, photons come in pairs: c_2 = 2 c_1 and c_3 = 4 c_1."""
    pump = 1e-3
    h = 0.5 * pump * (op("Adag", 0) ** 2 + op("A", 0) ** 2)
    model = Lindbladian(Chain(1, Boson(math.inf)), h, [Jump(op("A", 0), label="out", charge=1)])
    first, second, third = counting.cumulants(model, "out", 3)
    assert first == pytest.approx(2 * pump**2, rel=1e-5)
    assert second / first == pytest.approx(2, rel=1e-4)
    assert third / first == pytest.approx(4, rel=1e-3)


# -- identities of passive networks ------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.floats(-2, 2), scale=st.floats(-0.15, 0.15))
def test_identities_of_random_networks(seed, shift, scale):
    model = network(seed, modes=2)
    labels = counting.counted_baths(model)
    flows, noise = counting.mean_flows(model), counting.noise_matrix(model)
    assert flows.sum() == pytest.approx(0, abs=1e-12)
    assert noise.sum(axis=1) == pytest.approx(np.zeros(len(labels)), abs=1e-12)
    assert np.linalg.eigvalsh(noise)[0] > -1e-12
    affinity = counting.affinities(model)
    assert sum(f * affinity[b] for f, b in zip(flows, labels, strict=True)) >= -1e-12  # second law
    rng = np.random.default_rng(seed)
    s = dict(zip(labels, (scale * rng.normal(size=len(labels))).tolist(), strict=True))
    try:
        theta = counting.generating_function(model, s)
    except InputError:
        return  # outside of the domain
    moved = {label: x + shift for label, x in s.items()}
    assert counting.generating_function(model, moved) == pytest.approx(theta, abs=1e-11)
    assert counting.scattering_generating_function(model, s, accuracy=1e-9) == pytest.approx(theta, abs=1e-10)
    symmetry = counting.exchange_symmetry(model, s)
    assert symmetry.theta == pytest.approx(theta, abs=1e-13)
    assert symmetry.defect < 1e-10


def test_exchange_symmetry_of_the_same_model_fails_without_reciprocity():
    """One-way coupling: theta(A - s) != theta(s), while the reversed model obeys the theorem."""
    model = mt.models.heat_rectifier(
        omega_1=0.0, omega_2=0.4, gamma_1=1.0, gamma_2=0.7, kappa_1=0.8, kappa_2=1.1, F=0.0, theta=0.3,
        N=(1.0, 0.2, 0.5),
    )  # fmt: skip
    found = counting.exchange_symmetry(model, {"bath_1": 0.2, "bath_2": -0.3})
    assert found.defect < 1e-12 and found.asymmetry > 1e-3
    real = network(3)
    reciprocal = replace_hamiltonian(real, 0.4 * op("N", 0))
    symmetric = counting.exchange_symmetry(reciprocal, {"bath_0": 0.1})
    assert symmetric.defect < 1e-12


def replace_hamiltonian(model, hamiltonian):
    return Lindbladian(model.lattice, hamiltonian, model.jumps, name=model.name)


def test_reversal_conjugates_operators_as_well():
    model = Lindbladian(
        Chain(2, SpinHalf()), op("Y", 0) * op("X", 1), [Jump(op("Sm", 0) + 1j * op("Sm", 1), label="a", charge=1)]
    )
    back = counting.reversed_model(model)
    assert back.hamiltonian == -1 * op("Y", 0) * op("X", 1)
    assert back.jumps[0].operator == op("Sm", 0) - 1j * op("Sm", 1)


def test_cumulants_are_derivatives_of_the_generating_function():
    model = network(11)
    weights = {"bath_0": 1.3, "common": -0.4}
    c = counting.cumulants(model, weights, 4)
    h = 0.01
    theta = {k: counting.generating_function(model, {b: k * h * w for b, w in weights.items()}) for k in range(-2, 3)}
    assert -(theta[1] - theta[-1]) * 2 / 3 / h + (theta[2] - theta[-2]) / 12 / h == pytest.approx(c[0], rel=1e-5)
    second = (-theta[2] + 16 * theta[1] - 30 * theta[0] + 16 * theta[-1] - theta[-2]) / (12 * h**2)
    assert second == pytest.approx(c[1], rel=1e-4)
    third = -(theta[2] - 2 * theta[1] + 2 * theta[-1] - theta[-2]) / (2 * h**3)
    assert third == pytest.approx(c[2], rel=5e-2)


def test_weights_are_linear_combinations_of_the_noise_matrix():
    model = network(5)
    labels, noise, flows = counting.counted_baths(model), counting.noise_matrix(model), counting.mean_flows(model)
    w = np.array([0.3, -1.0, 2.0, 0.7])
    found = counting.cumulants(model, dict(zip(labels, w.tolist(), strict=True)))
    assert found == pytest.approx([w @ flows, w @ noise @ w], abs=1e-12)
    total = counting.cumulants(model, labels, order=4)
    assert total == pytest.approx(np.zeros(4), abs=1e-9)


# -- exact diagonalisation ---------------------------------------------------------------------------------------------


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_exact_backend_follows_the_dominant_eigenvalue(seed):
    model = spin_chain(seed)
    rng = np.random.default_rng(seed)
    fields = {"left": float(rng.normal()), "right": float(rng.normal())}
    method = mt.ExactDiag()
    theta = counting.generating_function(model, fields, method)
    assert theta == pytest.approx(dense_theta(model, fields), abs=1e-11)
    assert counting.noise_matrix(model, method=method).sum(axis=1) == pytest.approx([0, 0], abs=1e-11)
    found = counting.exchange_symmetry(model, fields, method)
    assert found.defect < 1e-10


def test_sparse_and_dense_eigenvalues_agree(monkeypatch):
    model = mt.models.boundary_driven_xxz(4, 0.8, G_L=1.0, f_L=0.9, G_R=0.6, f_R=0.3)
    values = {}
    for limit in (10, 1000):
        monkeypatch.setattr("mpo_transport.counting.exact.DENSE", limit)
        values[limit] = [
            counting.generating_function(model, {"left": s}, mt.ExactDiag()) for s in (-2.0, 0.5, 3.0, 0.4 + 2.0j)
        ]
    assert values[10] == pytest.approx(values[1000], abs=1e-10)


def test_squeezed_and_driven_modes_converge_to_the_moment_equations():
    def model(levels):
        hop, pair = op("Adag", 0) * op("A", 1), op("Adag", 0) * op("Adag", 1)
        h = 0.4 * op("N", 0) - 0.3 * op("N", 1) + (0.05 - 0.02j) * op("Adag", 1) + (0.05 + 0.02j) * op("A", 1)
        for term in ((0.3 + 0.2j) * hop, (0.03 + 0.02j) * pair, 0.01 * op("Adag", 0) ** 2):
            h = h + term + term.dag
        collective = op("A", 0) + 0.5j * op("A", 1)
        jumps = [*thermal(collective, 1.3, 0.02, "common"), *thermal(op("A", 1), 0.9, 0.01, "own")]
        jumps.append(Jump(op("A", 0) + 0.1 * op("Adag", 0) + 0.05, rate=0.4, label="squeezed"))
        return Lindbladian(Chain(2, Boson(levels)), h, jumps)

    labels = ["common", "own"]
    fields = {"common": 0.3, "own": -0.2 + 0.5j}
    exact, free = model(6), model(math.inf)
    rough = model(5)
    noise = counting.noise_matrix(free, labels)
    errors = [np.abs(counting.noise_matrix(m, labels, mt.ExactDiag()) - noise).max() for m in (rough, exact)]
    assert errors[1] < 0.4 * errors[0] and errors[1] < 1e-6
    difference = counting.generating_function(exact, fields) - counting.generating_function(free, fields)
    assert abs(difference) < 1e-6


def test_fermions_with_pairing_agree_with_exact_diagonalisation():
    """XY chain: pairs are created, flows do not balance; Majorana form against the tilted Lindbladian."""
    h = 0.3 * op("Z", 0) - 0.2 * op("Z", 2)
    for j in range(2):
        h = h + (0.8 + 0.1 * j) * op("X", j) * op("X", j + 1) + 0.3 * op("Y", j) * op("Y", j + 1)
    jumps = thermal(op("Sm", 0), 0.9, 0.3, "left", True) + thermal(op("Sm", 2), 0.6, 0.6, "right", True)
    model = Lindbladian(Chain(3, SpinHalf()), h, jumps)
    exact = mt.ExactDiag()
    assert counting.mean_flows(model).sum() > 1e-2
    assert counting.noise_matrix(model) == pytest.approx(counting.noise_matrix(model, method=exact), abs=1e-12)
    assert counting.cumulants(model, "left", 6) == pytest.approx(counting.cumulants(model, "left", 6, exact), abs=1e-9)
    for s in (-1.0, 2.5, 0.3 + 1.1j):
        found = [counting.generating_function(model, {"left": s, "right": 0.2}, m) for m in (None, exact)]
        assert found[0] == pytest.approx(found[1], abs=1e-12)


def test_symmetry_that_rests_on_two_jumps_together_is_not_used():
    """X and Y at equal rates keep U(1), each on its own does not: counting one of them must not assume it."""
    jumps = [
        Jump(op("Sm", 0), rate=1.0, label="a", charge=1),
        Jump(op("X", 1), rate=0.3, label="x", charge=0),
        Jump(op("Y", 1), rate=0.3, label="y", charge=0),
    ]
    hop = op("Sp", 0) * op("Sm", 1)
    model = Lindbladian(Chain(2, SpinHalf()), hop + hop.dag + 0.7 * op("Z", 0), jumps)
    for s in (0.6, -0.8):
        theta = counting.generating_function(model, {"a": s}, mt.ExactDiag())
        assert theta == pytest.approx(dense_theta(model, {"a": s}), abs=1e-12)


# -- matrix products ---------------------------------------------------------------------------------------------------


def test_tilted_generator_as_a_matrix_product():
    model = spin_chain(4)
    table = charge_table(model, [{"left": 1.0, "right": -0.5}])
    exponents = 0.7 * table[:, 0]
    tilted = tilted_mpo(model, exponents).to_dense()
    plain = hermitian_lindbladian(model).toarray()
    expected = plain + jump_mpo(model, np.expm1(-exponents)).to_dense()
    assert np.abs(tilted - expected).max() < 1e-13
    values = np.linalg.eigvals(tilted)
    assert values.real.max() == pytest.approx(dense_theta(model, {"left": 0.7, "right": -0.35}), abs=1e-12)


def test_matrix_product_noise_of_small_chains():
    model = spin_chain(8)
    exact = counting.noise_matrix(model, method=mt.ExactDiag())
    state = mt.steady_state(model, mt.ExactDiag(), tol=1e-11).state
    product = MPOState.from_dense(model.lattice, state.to_dense())
    backend = NetworkCounting(model, charge_table(model, [{"left": 1.0}, {"right": 1.0}]), product)
    noise, errors = backend.noise()
    assert np.abs(noise - exact).max() < 1e-10
    assert errors.max() < 1e-8
    assert backend.flows()[0] == pytest.approx(counting.mean_flows(model, method=mt.ExactDiag()), abs=1e-11)


def test_correction_removes_the_first_order_error_of_the_state():
    """A state that is wrong by a fraction x gives noise that is wrong by x^2."""
    model = spin_chain(8)
    table = charge_table(model, [{"left": 1.0}])
    exact = ExactCounting(model, table).noise()[0, 0]
    right = mt.steady_state(model, mt.ExactDiag(), tol=1e-11).state.to_dense()
    rng = np.random.default_rng(1)
    a = rng.normal(size=right.shape) + 1j * rng.normal(size=right.shape)
    wrong = a @ a.conj().T / np.trace(a @ a.conj().T).real
    errors = []
    for x in (0.04, 0.02):
        state = MPOState.from_dense(model.lattice, (1 - x) * right + x * wrong)
        errors.append(abs(NetworkCounting(model, table, state).noise()[0][0, 0] - exact))
    assert errors[1] < 0.3 * errors[0] < 0.3 * 0.04


def test_unconverged_noise_is_refused_and_shown_by_statistics():
    model = mt.models.boundary_driven_xxz(4, 0.7, G_L=1.0, f_L=0.8, G_R=1.4, f_R=0.3)
    rough = mt.steady_state(model, mt.TEBD(max_bond=3, dt=0.2), on_failure="return", progress=False)
    found = counting.statistics(model, "left", result=rough, max_bond=4)
    assert not found.converged
    with pytest.raises(ConvergenceError) as error:
        counting.cumulants(model, "left", result=rough, max_bond=4)
    assert not error.value.result.converged
    exact = counting.cumulants(model, "left", method=mt.ExactDiag())
    known = np.isfinite(found.cumulants)
    assert np.all(np.abs(found.cumulants - exact)[known] <= 10 * found.errors[known])


def test_results_of_every_kind_are_accepted():
    model = mt.models.boundary_driven_xx(3, 1.0, 0.7, 0.8, 1.3, 0.2, dephasing=0.1)
    exact = counting.noise_matrix(model, method=mt.ExactDiag())
    for method in (mt.ExactDiag(), mt.ImplicitSweeps()):
        result = mt.steady_state(model, method)
        assert counting.noise_matrix(model, result=result) == pytest.approx(exact, abs=1e-8)
    assert isinstance(mt.steady_state(model, mt.ExactDiag()).state, DenseState)
    other = mt.models.boundary_driven_xx(3, 1.0, 0.7, 0.8, 1.3, 0.3, dephasing=0.1)
    with pytest.raises(InputError, match="another model"):
        counting.noise_matrix(other, result=result)
    with pytest.raises(InputError, match="not both"):
        counting.noise_matrix(model, method=mt.ExactDiag(), result=result)


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "field", "words"),
    [
        (lambda m: counting.cumulants(m, "bath_4"), "counted", "did you mean"),
        (lambda m: counting.cumulants(m, {"bath_0": math.nan}), "counted", "finite"),
        (lambda m: counting.cumulants(m, {}), "counted", "at least one"),
        (lambda m: counting.cumulants(m, 3), "counted", "label"),
        (lambda m: counting.cumulants(m, "bath_0", 0), "order", "1 to 12"),
        (lambda m: counting.cumulants(m, "bath_0", 13), "order", "1 to 12"),
        (lambda m: counting.cumulants(m, "bath_0", 2.0), "order", "integer"),
        (lambda m: counting.cumulants(m, "bath_0", tol=-1.0), "tol", "> 0"),
        (lambda m: counting.cumulants(m, "bath_0", method="Gaussian"), "method", "method object"),
        (lambda m: counting.cumulants(m, "bath_0", method=mt.ExactDiag), "method", "write ExactDiag"),
        (lambda m: counting.cumulants(m, "bath_0", method=mt.ExactDiag()), "method", "unbounded"),
        (lambda m: counting.cumulants(m, "bath_0", method=mt.Trajectories()), "method", "counting statistics"),
        (lambda m: counting.cumulants("model", "bath_0"), "model", "Lindbladian"),
        (lambda m: counting.cumulants(m, "bath_0", result=3), "result", "steady_state"),
        (lambda m: counting.generating_function(m, {"bat_0": 0.1}), "fields", "did you mean"),
        (lambda m: counting.generating_function(m, {"bath_0": "0.1"}), "fields", "number"),
        (lambda m: counting.generating_function(m, {"bath_0": math.inf}), "fields", "finite"),
        (lambda m: counting.generating_function(m, {}), "fields", "mapping"),
        (lambda m: counting.generating_function(m, {"bath_0": 30.0}), "fields", "domain"),
        (lambda m: counting.generating_function(m, {"bath_0": 0.1}, mt.TEBD()), "method", "first two cumulants"),
        (lambda m: counting.scattering_generating_function(m, {"bath_0": 0.1j}), "fields", "real"),
        (lambda m: counting.scattering_generating_function(m, {"bath_0": 30.0}), "fields", "domain"),
        (lambda m: counting.exchange_symmetry(m, {"bath_0": 0.1j}), "fields", "real"),
    ],
)
def test_bad_arguments_are_named(call, field, words):
    with pytest.raises(InputError, match=words) as error:
        call(network(1))
    assert error.value.field == field


def one_site(*jumps, space=None, h=None):
    return Lindbladian(Chain(1, space or Boson(math.inf)), h, jumps)


def test_jumps_without_a_definite_charge_are_refused():
    loss = Jump(op("A", 0), label="a", charge=1)
    silent = Jump(op("A", 0), label="b")
    squeezed = Jump(op("A", 0) + 0.3 * op("Adag", 0), label="c", charge=1)
    model = one_site(loss, silent, squeezed)
    assert counting.counted_baths(model) == ("a", "c")
    assert counting.cumulants(model, "a")[0] > 0
    for label, words in (("b", "give it"), ("c", "not definite")):
        with pytest.raises(NotSupportedError, match=words):
            counting.cumulants(model, label)
    with pytest.raises(NotSupportedError, match="no bath"):
        counting.noise_matrix(one_site(silent))


def test_unstable_and_undamped_models_are_refused():
    gain = one_site(Jump(op("A", 0), label="a", charge=1), Jump(op("Adag", 0), rate=1.5, label="a", charge=-1))
    with pytest.raises(InputError, match=r"grows at the rate 0.25.*site 0"):
        counting.cumulants(gain, "a")
    idle = Lindbladian(Chain(2, Boson(math.inf)), 0.3 * op("N", 1), [Jump(op("A", 0), label="a", charge=1)])
    with pytest.raises(InputError, match=r"not unique.*site 1"):
        counting.cumulants(idle, "a")


def test_non_unique_steady_states_are_refused():
    strong = Lindbladian(Chain(2, SpinHalf()), op("Z", 1), [Jump(op("Sm", 0), label="a", charge=1)])
    with pytest.raises(DegenerateSteadyStateError, match="strong symmetry"):
        counting.cumulants(strong, "a", method=mt.ExactDiag())
    three = np.zeros((3, 3))
    three[0, 2] = 1  # decay to level 0 only, level 1 keeps what it has; no charge tells
    space = Boson(3).with_operators(D=three, M=np.diag([0.0, 1.0, 0.0]))
    pumped = np.zeros((3, 3))
    pumped[2, 0] = 1
    space = space.with_operators(U=pumped)
    jumps = [Jump(op("D", 0), label="a", charge=1), Jump(op("U", 0), label="p", charge=-1)]
    with pytest.raises(DegenerateSteadyStateError):
        counting.cumulants(one_site(*jumps, space=space), "a", method=mt.ExactDiag())


def test_gaussian_is_refused_where_the_model_is_not_quadratic():
    chain = spin_chain(2)
    with pytest.raises(NotSupportedError, match="Gaussian does not support this model"):
        counting.cumulants(chain, "left", method=mt.Gaussian())
    with pytest.raises(NotSupportedError, match="two cumulants"):
        counting.cumulants(chain, "left", 3, mt.ImplicitSweeps())
    kerr = mt.models.kerr_oscillator(Delta=1.0, U=1.0, F=0.3, gamma=1.0, levels=math.inf)
    with pytest.raises(NotSupportedError, match="give `levels`"):
        counting.cumulants(kerr, kerr.jumps[0].label)


def test_fields_beyond_double_precision_are_refused_not_answered():
    model = mt.models.boundary_driven_xx(3, 1.0, 0.7, 0.8, 1.3, 0.2)
    for s in (-10.0, 8.0, 10.0):
        exact = counting.generating_function(model, {"left": s}, mt.ExactDiag())
        assert counting.generating_function(model, {"left": s}) == pytest.approx(exact, rel=1e-9)
    with pytest.raises(InputError, match="double precision") as error:
        counting.generating_function(model, {"left": 30.0})
    assert error.value.field == "fields"
    with pytest.raises(InputError, match="below pi"):
        counting.generating_function(model, {"left": 4.0j})


def test_baths_that_move_nothing_have_no_statistics():
    model = mt.models.boundary_driven_xx(3, 1.0, 0.7, 0.8, 1.3, 0.2, dephasing=0.1)
    for method in (mt.ExactDiag(), mt.ImplicitSweeps()):
        assert counting.cumulants(model, "dephasing", method=method).tolist() == [0.0, 0.0]
        assert counting.fano_factor(model, "dephasing", method) == math.inf
    assert counting.generating_function(model, {"dephasing": 0.3 + 1j}) == pytest.approx(0, abs=1e-13)
    idle = mt.models.boundary_driven_xx(3, 1.0, 0.7, 0.8, 0.0, 0.2)  # a right bath without rate
    assert counting.cumulants(idle, "right", 3).tolist() == [0.0, 0.0, 0.0]
    # in equilibrium with one bath nothing flows on average, and what went in must come out
    assert counting.cumulants(idle, "left", 3) == pytest.approx(np.zeros(3), abs=1e-10)


def test_scattering_form_refuses_amplifiers():
    jumps = [*thermal(op("A", 0), 1.0, 0.3, "a"), Jump(op("Adag", 0), rate=0.2, label="amplifier", charge=-1)]
    with pytest.raises(NotSupportedError, match="passive"):
        counting.scattering_generating_function(one_site(*jumps), {"a": 0.1})


def test_affinities_of_empty_and_improper_baths_are_refused():
    for jumps in (
        [Jump(op("A", 0), label="a", charge=1)],
        [*thermal(op("A", 0), 1, 1, "a"), Jump(op("A", 0), label="a", charge=1)],
    ):
        with pytest.raises(NotSupportedError, match="no finite affinity"):
            counting.affinities(one_site(*jumps))
    assert counting.affinities(one_site(*thermal(op("A", 0), 2.0, 0.4, "a"))) == pytest.approx({"a": math.log(3.5)})


# -- transport report --------------------------------------------------------------------------------------------------


def test_transport_report_of_a_rectifier():
    model = network(7)
    report = mt.observables.transport_report(mt.steady_state(model, tol=1e-10))
    flows = counting.mean_flows(model)
    assert [b.quanta for b in report.baths] == pytest.approx(flows, abs=1e-10)
    assert report.quanta_balance == pytest.approx(0, abs=1e-10) and report.quanta_conserved
    assert report.heat_balance == pytest.approx(0, abs=1e-9)  # from the Hamiltonian: no bath has an energy
    expected = sum(f * counting.affinities(model)[b.label] for f, b in zip(flows, report.baths, strict=True))
    assert report.entropy_production == pytest.approx(expected, abs=1e-9)
    assert report.second_law
    assert "second law holds" in str(report) and "common" in str(report)


def test_transport_report_says_why_a_number_is_missing():
    model = one_site(Jump(op("A", 0)), Jump(op("A", 0), label="b"), space=Boson(6), h=0.1 * op("Q", 0))
    report = mt.observables.transport_report(mt.steady_state(model))
    (bath,) = report.baths
    assert bath.quanta is None and "charge" in bath.reason and bath.heat is not None
    assert report.quanta_balance is None and not report.quanta_conserved
    assert report.entropy_production is None and report.second_law is None and "thermal bath" in report.reason
    assert "not defined" in str(report)
    with pytest.raises(InputError):
        mt.observables.transport_report(model)


def test_changed_rate_changes_the_verdict_of_balance():
    model = network(9)
    lone = replace(model.jumps[0], label=None)
    report = mt.observables.transport_report(
        mt.steady_state(Lindbladian(model.lattice, model.hamiltonian, [lone, *model.jumps[1:]]))
    )
    assert report.quanta_balance is None  # some quanta go nowhere that has a name


# -- command -----------------------------------------------------------------------------------------------------------

SPEC = """
[model]
name = "boundary_driven_xx"
L = 4
t = 1.0
G_L = 2.0
f_L = 1.0
G_R = 2.0
f_R = 0.0
"""


def test_command_prints_cumulants(tmp_path, capsys):
    from mpo_transport.cli import main

    spec = tmp_path / "chain.toml"
    spec.write_text(SPEC)
    assert main(["counting", str(spec), "--order", "3"]) == 0
    shown = capsys.readouterr().out
    assert "left" in shown and "-0.5000000000" in shown and "0.0625000000" in shown and "-0.0156250000" in shown
    assert main(["counting", str(spec), "--bath", "right=2", "--set", 'method.name="ImplicitSweeps"']) == 0
    assert "2 right" in (shown := capsys.readouterr().out) and "error" in shown and "1.0000" in shown
    for bath in ("rigt", "right=x"):
        assert main(["counting", str(spec), "--bath", bath]) == 2
    assert "did you mean 'right'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [spec]


def test_run_shows_the_exchange_with_thermal_baths(tmp_path, capsys):
    from mpo_transport.cli import main

    spec = tmp_path / "chain.toml"
    spec.write_text(SPEC.replace("f_L = 1.0", "f_L = 0.8").replace("f_R = 0.0", "f_R = 0.2"))
    assert main(["run", str(spec), "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "exchange with the baths" in shown and "second law holds" in shown
