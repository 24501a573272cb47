"""Identities of rapidities, two-time functions, scattering and duals of quadratic models; bad input."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg as sl

import mpo_transport as mt
from mpo_transport import Boson, Chain, GaussianState, Graph, Jump, Lindbladian, OpSum, SpinHalf, errors, models, op
from mpo_transport import observables as obs
from mpo_transport.dual.gaussian import GaussianDual
from mpo_transport.regression import coherence_function, correlation_function, power_spectrum
from mpo_transport.response import stationary_state
from mpo_transport.response.bilinear import bilinear
from mpo_transport.response.channels import channels
from mpo_transport.spectrum import gap, rapidities, spectrum
from mpo_transport.spectrum.rapidities import nambu_drift
from mpo_transport.superoperator import quadratic_form

TIMES = np.linspace(0.0, 3.0, 7)


def hermitian(operator):
    return operator + operator.dag


def network(seed=0, L=3, *, pairing=0.0, drive=0.0, levels=math.inf):
    """Modes with complex hopping between all of them, local and collective baths, on request squeezing and drive."""
    rng = np.random.default_rng(seed)

    def c():
        return complex(*rng.normal(size=2))

    h = sum((rng.normal() * op("N", j) for j in range(L)), OpSum())
    for i, j in itertools.combinations(range(L), 2):
        h = h + hermitian(0.4 * c() * op("Adag", i) * op("A", j))
        h = h + hermitian(pairing * c() * op("Adag", i) * op("Adag", j))
    h = h + hermitian(
        sum((drive * c() * op("Adag", j) + pairing * c() * op("Adag", j) ** 2 for j in range(L)), OpSum())
    )
    common = sum((c() * op("A", j) for j in range(L)), OpSum())
    jumps = [Jump(common, 0.3 * 1.4, "common", 1.0), Jump(common.dag, 0.3 * 0.4, "common", -1.0)]
    for j in range(L):
        kappa, n = 0.5 + 0.4 * rng.random(), 0.2 + rng.random()
        jumps += [
            Jump(op("A", j), kappa * (n + 1), f"bath_{j}", 1.0),
            Jump(op("Adag", j), kappa * n, f"bath_{j}", -1.0),
        ]
    return Lindbladian(Graph([], Boson(levels), L=L), h, jumps)


def random_operator(rng, L, *, linear=True):
    """An operator that is at most quadratic, not Hermitian."""
    letters = [op(n, j) for n in ("A", "Adag") for j in range(L)]
    total = complex(*rng.normal(size=2)) * mt.identity()
    for x, y in itertools.product(letters, repeat=2):
        total = total + complex(*rng.normal(size=2)) * x * y
    for x in letters if linear else []:
        total = total + complex(*rng.normal(size=2)) * x
    return total


# -- arrays of operators -----------------------------------------------------------------------------------------------


def test_arrays_of_an_operator_give_its_expectation_value():
    model = network(1, pairing=0.1, drive=0.3)
    state = stationary_state(model)
    rng = np.random.default_rng(2)
    for operator in (random_operator(rng, 3), op("Q", 0) * op("P", 0), op("P", 1) * op("Q", 1) + 2j * op("N", 2)):
        arrays = bilinear(model.lattice, operator)
        expected = state.expect(operator)
        assert arrays.expect(state.means, state.covariance) == pytest.approx(expected, rel=1e-13)
        assert arrays.dag.expect(state.means, state.covariance) == pytest.approx(expected.conjugate(), rel=1e-13)


def test_arrays_of_a_spin_operator_give_its_expectation_value():
    model = models.boundary_driven_xx(4, [1.0, 0.6j, 0.8], 0.6, 0.9, 1.4, 0.2)
    state = stationary_state(model)
    operator = 0.3 * op("Z", 1) + (1 + 2j) * op("Sp", 0) * op("Z", 1) * op("Sm", 2) + op("Sm", 2) * op("Sm", 3) + 0.7
    arrays = bilinear(model.lattice, operator)
    assert arrays.expect(state.means, state.covariance) == pytest.approx(state.expect(operator), abs=1e-15)
    assert arrays.dag.expect(state.means, state.covariance) == pytest.approx(state.expect(operator.dag), abs=1e-15)


# -- rapidities --------------------------------------------------------------------------------------------------------


def test_sums_of_rapidities_are_the_spectrum_of_a_chain_of_spins():
    chain = models.boundary_driven_xx(4, [1.0, 0.6 + 0.3j, 0.8], 0.6, 0.9, 1.4, 0.2)
    blocks = spectrum(chain, 128, sector={"parity": "even"}, method="blocks")
    sums = spectrum(chain, 128, sector={"parity": "even"}, method="rapidities")
    assert len(sums) == 128 and sums.null_space == 1  # C(8, even) = 2^7
    rest = list(blocks.eigenvalues)
    for value in sums.eigenvalues:  # as multisets
        k = int(np.argmin(np.abs(np.array(rest) - value)))
        assert abs(rest.pop(k) - value) < 1e-12
    for charge in (-2, 0, 4):
        few = spectrum(chain, 3, sector={"charge": charge}, method="rapidities").eigenvalues
        assert np.abs(few - spectrum(chain, 3, sector={"charge": charge}, method="blocks").eigenvalues).max() < 1e-12


def test_pairing_leaves_the_parity_of_the_sums_of_rapidities():
    h = sum((hermitian((0.5 + 0.2j) * op("Sp", j) * op("Sm", j + 1)) for j in range(3)), OpSum())
    h = h + sum((hermitian(0.3 * op("Sp", j) * op("Sp", j + 1)) + 0.2 * j * op("Z", j) for j in range(3)), OpSum())
    chain = Lindbladian(Chain(4, SpinHalf()), h, [Jump(op("Sm", 0), 0.7), Jump(op("Sp", 3), 0.4)])
    sums = spectrum(chain, 20, sector={"parity": "even"}, method="rapidities")
    assert set(sums.sectors) == {"parity=even"}
    blocks = spectrum(chain, 20, sector={"parity": "even"}, method="blocks")
    assert np.abs(sums.eigenvalues - blocks.eigenvalues).max() < 1e-12


def test_rapidities_of_bosons_add_up_with_multiplicity():
    w, kappa = 1.3, 0.8
    mode = Lindbladian(Chain(1, Boson(math.inf)), w * op("N", 0), [Jump(op("A", 0), kappa)])
    found = spectrum(mode, 6)
    x = complex(-kappa / 2, -w)
    expected = [0, x.conjugate(), x, 2 * x.conjugate(), 2 * x, 2 * x.real]
    assert np.abs(np.sort_complex(found.eigenvalues) - np.sort_complex(expected)).max() < 1e-14
    assert found.sectors[found.eigenvalues.tolist().index(x)] == "charge=1"  # <a> oscillates with exp(-i w t)
    truncated = Lindbladian(Chain(1, Boson(12)), w * op("N", 0), [Jump(op("A", 0), kappa)])
    assert np.abs(found.eigenvalues - spectrum(truncated, 6).eigenvalues).max() < 1e-12
    assert gap(mode, sector={"charge": 0}) == pytest.approx(kappa, abs=1e-14)
    assert gap(mode) == pytest.approx(kappa / 2, abs=1e-14)
    assert found.quanta[0] == () and found.rapidities.shape == (2,)


def test_rapidities_are_the_eigenvalues_of_both_drifts():
    form = quadratic_form(network(3))
    ours = rapidities(network(3))
    both = np.concatenate([ours, ours.conj()])
    for value in np.linalg.eigvals(form.moments().drift):
        assert np.abs(both - value).min() < 1e-13
    squeezed = network(3, pairing=0.1)
    assert rapidities(squeezed).shape == (6,)
    assert gap(squeezed) == pytest.approx(-np.linalg.eigvals(quadratic_form(squeezed).moments().drift).real.max())


def test_eigenoperators_of_sums_of_rapidities_are_refused():
    found = spectrum(network(0), 2)
    with pytest.raises(errors.NotSupportedError, match="method='blocks'"):
        found.right(0)


@pytest.mark.parametrize(
    ("arguments", "field", "error"),
    [
        (dict(sector={"charge": 1}, method="rapidities"), "sector", errors.NotSupportedError),
        (dict(method="rapidities"), "sector", errors.NotSupportedError),
        (dict(sector={"reflection": "even"}, method="rapidities"), "sector", errors.NotSupportedError),
        (dict(sector={"spin": 0}, method="rapidities"), "sector", errors.InputError),
        (dict(sector={"parity": "even"}, which="nearest", method="rapidities"), "which", errors.NotSupportedError),
        (dict(sector="charge=zero", method="rapidities"), "sector", errors.InputError),
        (dict(sector={"charge": 40}, method="rapidities"), "sector", errors.InputError),
        (dict(sector=3, method="rapidities"), "sector", errors.InputError),
        (dict(method="sums"), "method", errors.InputError),
    ],
)
def test_sectors_that_rapidities_do_not_have_are_refused(arguments, field, error):
    with pytest.raises(error) as caught:
        spectrum(models.boundary_driven_xx(4, 1.0, 0.6, 0.9, 1.4, 0.2), **arguments)
    assert caught.value.field == field


def test_a_large_chain_names_the_way_to_its_gap():
    with pytest.raises(errors.InsufficientMemoryError, match="parity': 'even'"):
        gap(models.boundary_driven_xx(60, 1.0, 0.6, 0.9, 1.4, 0.2))
    with pytest.raises(errors.InsufficientMemoryError):
        gap(models.boundary_driven_xx(60, 1.0, 0.6, 0.9, 1.4, 0.2, dephasing=0.1), sector={"charge": 0})


def test_single_flips_of_a_long_chain_are_refused_at_once():
    with pytest.raises(errors.InsufficientMemoryError):
        correlation_function(models.boundary_driven_xx(60, 1.0, 0.6, 0.9, 1.4, 0.2), op("Sm", 5), op("Sp", 5), [0.0])


@pytest.mark.parametrize("loss", [0.5, 1.0])
def test_modes_that_grow_or_stay_have_no_spectrum(loss):
    amplifier = Lindbladian(Chain(1, Boson(math.inf)), None, [Jump(op("A", 0), loss), Jump(op("Adag", 0), 1.0)])
    with pytest.raises(errors.UnstableError):
        spectrum(amplifier)
    with pytest.raises(errors.UnstableError):
        correlation_function(amplifier, op("N", 0), op("N", 0), [0.0])


def test_truncated_modes_are_not_taken_for_unbounded_ones():
    model = Lindbladian(Chain(1, Boson(3)), None, [Jump(op("A", 0), 2.0), Jump(op("Adag", 0), 1.0)])
    with pytest.raises(errors.NotSupportedError, match="truncates"):
        spectrum(model, method="rapidities")
    truth = np.linalg.eigvals(mt.superoperator.dense_lindbladian(model))
    assert np.abs(spectrum(model, 3).eigenvalues - truth[np.argsort(-truth.real)][:3]).max() < 1e-12


# -- two-time functions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [{}, {"pairing": 0.1}, {"pairing": 0.1, "drive": 0.3}])
def test_at_time_zero_the_correlation_is_the_product(kind):
    """Fourth moments by Wick's theorem in the state, without a propagator."""
    model = network(4, 2, **kind)
    rng = np.random.default_rng(5)
    a, b = random_operator(rng, 2), random_operator(rng, 2)
    expected = stationary_state(model).expect(a * b)
    assert correlation_function(model, a, b, [0.0])[0] == pytest.approx(expected, rel=1e-12)
    connected = expected - stationary_state(model).expect(a) * stationary_state(model).expect(b)
    assert correlation_function(model, a, b, [0.0], connected=True)[0] == pytest.approx(connected, rel=1e-12)


def test_regression_of_amplitudes_is_the_propagator():
    """<a_i(t) a_j^+(0)> = [e^{A t} (1 + P)]_ij with P_ij = <a_j^+ a_i>, the equation of section 4 of the lattices."""
    model = network(6)
    drift, gain = quadratic_form(model).amplitudes()
    p = sl.solve_continuous_lyapunov(drift, -gain)
    for i, j in ((0, 1), (2, 0), (1, 1)):
        c = correlation_function(model, op("A", i), op("Adag", j), TIMES)
        assert np.abs(c - [(sl.expm(drift * t) @ (np.eye(3) + p))[i, j] for t in TIMES]).max() < 1e-13
        c = correlation_function(model, op("Adag", i), op("A", j), TIMES)
        assert np.abs(c - [(sl.expm(drift * t).conj() @ p.T)[i, j] for t in TIMES]).max() < 1e-13


def test_irregular_and_regular_times_agree():
    model = network(7, pairing=0.1, drive=0.2)
    a, b = op("N", 0) + op("A", 1), op("Adag", 2) * op("A", 1) + op("Q", 0)
    regular = correlation_function(model, a, b, TIMES)
    irregular = [correlation_function(model, a, b, [t])[0] for t in TIMES]
    assert np.abs(regular - irregular).max() < 1e-12


def test_a_state_that_moves_is_followed():
    """From the vacuum: n(t) of a mode that relaxes, <n(t) 1> = n_ss (1 - e^{-kappa t}); means alone: a driven mode."""
    kappa, n = 0.8, 1.7
    mode = Lindbladian(
        Chain(1, Boson(math.inf)), None, [Jump(op("A", 0), kappa * (n + 1)), Jump(op("Adag", 0), kappa * n)]
    )
    vacuum = GaussianState.product(mode.lattice, "vacuum")
    found = correlation_function(mode, op("N", 0), mt.identity(), TIMES, state=vacuum)
    assert np.abs(found - n * (1 - np.exp(-kappa * TIMES))).max() < 1e-13
    f = 0.6
    driven = Lindbladian(Chain(1, Boson(math.inf)), f * op("A", 0) + f * op("Adag", 0), [Jump(op("A", 0), kappa)])
    amplitude = -2j * f / kappa * (1 - np.exp(-kappa * TIMES / 2))
    found = correlation_function(
        driven, op("N", 0), mt.identity(), TIMES, state=GaussianState.product(driven.lattice, "vacuum")
    )
    assert np.abs(found - np.abs(amplitude) ** 2).max() < 1e-13
    with pytest.raises(errors.InputError) as caught:
        power_spectrum(driven, op("A", 0), op("Adag", 0), [0.0], state=vacuum)
    assert caught.value.field == "state"


@pytest.mark.parametrize("kind", [{}, {"pairing": 0.1, "drive": 0.3}])
def test_symmetries_of_the_spectrum(kind):
    """S_AA+ is real and not negative; S_AB^* = S_B+A+; detailed commutator: S_aa+(w) - S_a+a(-w) = -2 Re resolvent."""
    model = network(8, **kind)
    rng = np.random.default_rng(9)
    grid = np.array([-1.7, -0.2, 0.0, 0.9])
    a, b = random_operator(rng, 3), random_operator(rng, 3)
    own = power_spectrum(model, a, a.dag, grid)
    assert own.dtype == float and own.min() > 0
    s = power_spectrum(model, a, b, grid)
    assert np.abs(s.conj() - power_spectrum(model, b.dag, a.dag, grid)).max() < 1e-11 * np.abs(s).max()
    forth = power_spectrum(model, op("A", 0), op("Adag", 0), grid)
    back = power_spectrum(model, op("Adag", 0), op("A", 0), -grid)
    drift = nambu_drift(quadratic_form(model))  # the response to a force does not depend on the state
    response = [-2 * np.linalg.inv(drift + 1j * w * np.eye(6))[0, 0].real for w in grid]
    assert np.abs(forth - back - response).max() < 1e-12


def test_the_spectrum_of_an_undamped_mode_is_refused():
    free = Lindbladian(Chain(2, Boson(math.inf)), 0.7 * op("N", 0), [Jump(op("A", 1), 1.0)])
    vacuum = GaussianState.product(free.lattice, "vacuum")
    with pytest.raises(errors.ConvergenceError, match="not damped"):
        power_spectrum(free, op("A", 0), op("Adag", 0), [0.7], state=vacuum)
    assert power_spectrum(free, op("A", 1), op("Adag", 1), [0.0], state=vacuum)[0] == pytest.approx(4.0, abs=1e-13)


def test_coherence_of_thermal_light():
    model = network(10)
    g1 = coherence_function(model, TIMES, 0, to=2)
    g2 = coherence_function(model, TIMES, 0, to=2, order=2)
    assert np.abs(g2 - 1 - np.abs(g1) ** 2).max() < 1e-13  # Siegert
    state = stationary_state(model)
    static = state.expect(op("Adag", 0) * op("A", 2)) / math.sqrt(
        (state.expect(op("N", 0)) * state.expect(op("N", 2))).real
    )
    assert g1[0] == pytest.approx(static, abs=1e-13)
    assert mt.steady_state(model, progress=False).expect(obs.g1(model, [(0, 2)]))[0] == pytest.approx(static, abs=1e-13)


def test_second_order_coherence_at_delay_zero_with_squeezing_and_drive():
    model = network(11, pairing=0.15, drive=0.4)
    state = stationary_state(model)
    n = [state.expect(op("N", j)).real for j in (0, 1)]
    pairs = state.expect(op("Adag", 0) * op("Adag", 1) * op("A", 1) * op("A", 0)).real
    assert coherence_function(model, [0.0], 0, to=1, order=2)[0] == pytest.approx(pairs / (n[0] * n[1]), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda m: correlation_function(m, "N", op("N", 0), [0.0]), "a"),
        (lambda m: correlation_function(m, op("N", 0), op("N", 7), [0.0]), "b"),
        (lambda m: correlation_function(m, op("N", 0) ** 2, op("N", 0), [0.0]), "a"),
        (lambda m: correlation_function(m, op("Z", 0), op("N", 0), [0.0]), "a"),
        (lambda m: correlation_function(m, op("N", 0), op("N", 0), [0.0], state=np.eye(2)), "state"),
        (lambda m: correlation_function(m, op("N", 0), op("N", 0), [-1.0]), "times"),
        (lambda m: power_spectrum(m, op("N", 0), op("N", 0), []), "frequencies"),
        (lambda m: coherence_function(m, [0.0], 9), "site"),
        (lambda m: coherence_function(m, [0.0], 0, to=-1), "to"),
        (lambda m: coherence_function(m, [0.0], 0, order=3), "order"),
        (lambda m: mt.scattering_matrix(m, "red"), "frequencies"),
        (lambda m: mt.scattering_matrix(m, [0.0]).between("left", "common"), "source"),
        (lambda m: mt.transmission(m).contrast("left", "common"), "i"),
        (lambda m: obs.pair_current(m, [(0, 0)]), "pairs"),
        (lambda m: obs.pair_current(m, [(0, 5)]), "pairs"),
        (lambda m: obs.pair_current(m, normalisation="double"), "normalisation"),
        (lambda m: obs.g1(m, [(0, 5)]), "pairs"),
    ],
)
def test_bad_arguments_are_named(call, field):
    with pytest.raises(errors.InputError) as caught:
        call(network(0))
    assert caught.value.field == field


def test_an_empty_mode_has_no_coherence():
    empty = Lindbladian(Chain(1, Boson(math.inf)), op("N", 0), [Jump(op("A", 0), 1.0)])
    with pytest.raises(errors.InputError, match="empty"):
        coherence_function(empty, [0.0], 0)
    assert np.isnan(obs.g1(empty, [(0, 0)]).evaluate(stationary_state(empty))[0])


def test_models_that_are_not_quadratic_or_not_bosonic_are_refused():
    for call in (rapidities, mt.transmission):
        with pytest.raises(errors.NotSupportedError):
            call(models.kerr_oscillator(Delta=0.5, U=1.0, F=0.6, gamma=1.0, levels=math.inf))
    with pytest.raises(errors.NotSupportedError, match="not for spins"):
        mt.scattering_matrix(models.boundary_driven_xx(4, 1.0, 0.6, 0.9, 1.4, 0.2), [0.0])
    undamped = Lindbladian(Chain(1, Boson(math.inf)), 0.7 * op("N", 0), [])
    with pytest.raises(errors.UnstableError):
        mt.transmission(undamped)
    with pytest.raises(errors.ConvergenceError):
        mt.scattering_matrix(undamped, [0.7])


# -- scattering --------------------------------------------------------------------------------------------------------


def test_pairs_of_jumps_become_thermal_baths():
    model = network(12)
    found = {c.label: c for c in channels(quadratic_form(model))}
    assert set(found) == {"common", "bath_0", "bath_1", "bath_2"}
    assert found["common"].occupation == pytest.approx(0.4, abs=1e-13)
    # the channels carry the whole damping
    total = sum(np.outer(c.lowering.conj(), c.lowering) for c in found.values())
    drift, _ = quadratic_form(model).amplitudes()
    assert np.abs(drift + drift.conj().T + total).max() < 1e-13


def test_an_adjoint_jump_with_its_own_scale_is_recognised():
    a = (2 - 1j) * op("A", 0)
    mode = Lindbladian(Chain(1, Boson(math.inf)), None, [Jump(a, 0.6, "bath"), Jump(0.5j * op("Adag", 0), 0.8, "bath")])
    (channel,) = channels(quadratic_form(mode))
    assert np.linalg.norm(channel.lowering) ** 2 == pytest.approx(3.0 - 0.2, abs=1e-14)
    assert channel.occupation == pytest.approx(0.2 / 2.8, abs=1e-14)


def test_scattering_without_pairing_is_unitary_and_not_symmetric():
    s = mt.scattering_matrix(network(13), [-2.0, 0.1, 1.3])
    assert s.matrix.shape == (3, 4, 4) and s.unitarity_defect < 1e-13
    assert np.abs(s.probabilities.sum(axis=1) - 1).max() < 1e-13
    assert np.abs(s.probabilities - s.probabilities.transpose(0, 2, 1)).max() > 0.01  # complex hoppings: no reciprocity


def test_real_hoppings_scatter_reciprocally():
    hop = hermitian(0.7 * op("Adag", 0) * op("A", 1) + 0.3 * op("Adag", 1) * op("A", 2)) + 0.4 * op("N", 0)
    jumps = [Jump(op("A", j), 0.5 + 0.3 * j, f"bath_{j}") for j in range(3)]
    s = mt.scattering_matrix(Lindbladian(Chain(3, Boson(math.inf)), hop, jumps), [0.3])
    assert np.abs(s.matrix - s.matrix.transpose(0, 2, 1)).max() < 1e-14


@pytest.mark.parametrize(
    "extra", [None, Jump(op("Q", 1), 0.3, "measurement"), Jump(op("A", 0) + 0.4 * op("Adag", 2), 0.2)]
)
def test_scattering_with_pairing_conserves_commutators(extra):
    model = network(14, pairing=0.12)
    if extra is not None:
        model = Lindbladian(model.lattice, model.hamiltonian, [*model.jumps, extra])
    s = mt.scattering_matrix(model, [-0.4, 0.8])
    n = len(s.labels)
    assert s.matrix.shape == (2, 2 * n, 2 * n) and s.unitarity_defect < 1e-12
    mirrored = mt.scattering_matrix(model, [0.4, -0.8]).matrix.conj()
    assert np.abs(s.matrix[:, :n, :n] - mirrored[:, n:, n:]).max() < 1e-13


def test_the_general_scattering_matrix_contains_the_passive_one():
    model = network(15)
    amplified = Lindbladian(model.lattice, model.hamiltonian, [*model.jumps, Jump(op("Adag", 0), 1e-300, "gain")])
    passive, general = mt.scattering_matrix(model, [0.3]), mt.scattering_matrix(amplified, [0.3])
    keep = [general.labels.index(label) for label in passive.labels]
    assert np.abs(general.matrix[0][np.ix_(keep, keep)] - passive.matrix[0]).max() < 1e-14


def test_transmissions_obey_their_sum_rules_and_give_the_flows():
    model = network(16)
    t = mt.transmission(model)
    assert np.abs(t.normal.sum(axis=0) - t.widths).max() < 1e-13
    assert np.abs(t.normal.sum(axis=1) - t.widths).max() < 1e-13
    assert not np.any(t.anomalous)
    state = stationary_state(model)
    for i, label in enumerate(t.labels):
        flow = state.expect(obs.bath_flow(model, label).operators[0]).real
        assert t.normal[i] @ (t.occupations - t.occupations[i]) == pytest.approx(flow, abs=1e-12)
    assert abs(t.contrast("bath_0", "bath_1")) > 1e-3
    assert t.contrast("bath_1", "bath_0") == -t.contrast("bath_0", "bath_1")


# -- duals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [{}, {"pairing": 0.1}, {"pairing": 0.1, "drive": 0.3}])
def test_the_correction_is_exact_for_any_gaussian_state(kind):
    """A state that is far from stationary, with means: <O>_x - (y|Lx) is the steady value."""
    model = network(17, **kind)
    rng = np.random.default_rng(18)
    n = 6
    shift = rng.normal(size=(n, n))
    wrong = GaussianState(model.lattice, rng.normal(size=n), shift @ shift.T + np.eye(n))
    operator = hermitian(random_operator(rng, 3))
    dual = GaussianDual(model, wrong).solve(operator, wrong.expect(operator).real, 1e-9)
    truth = stationary_state(model).expect(operator).real
    assert abs(wrong.expect(operator).real - truth) > 1
    assert abs(dual.corrected - truth) < 1e-11 * abs(wrong.expect(operator).real) * n
    assert abs(dual.corrected - truth) <= 10 * dual.error + 1e-11 and dual.trusted


def test_the_correction_is_exact_for_fermions():
    model = models.boundary_driven_xx(4, [1.0, 0.6j, 0.8], 0.6, 0.9, 1.4, 0.2)
    up = GaussianState.product(model.lattice, ["up", "down", "mixed", "up"])
    for operator in (op("Z", 1), *obs.current(model).operators):
        dual = GaussianDual(model, up).solve(operator, up.expect(operator).real, 1e-9)
        assert dual.corrected == pytest.approx(stationary_state(model).expect(operator).real, abs=1e-13)


def test_operators_beyond_second_order_have_no_dual():
    model = network(19)
    result = mt.steady_state(model, progress=False)
    with pytest.raises(errors.NotSupportedError, match="quadratic"):
        mt.corrected(result, op("N", 0) ** 2)
    assert mt.corrected(result, op("N", 0)).converged


def test_derivatives_agree_with_exact_diagonalisation_and_differences():
    arguments = dict(L=3, t=[1.3, 0.7], G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    chain = models.boundary_driven_xx(**arguments)
    results = [mt.steady_state(chain, m, tol=1e-9, progress=False) for m in (mt.Gaussian(), mt.ExactDiag())]
    ours, exact = (mt.sensitivity(chain, obs.current, result=r) for r in results)
    assert set(exact) - set(ours) == {"dephasing"}  # it leads out of the quadratic models
    for name in ours:
        assert np.abs(ours[name] - exact[name]).max() < 1e-10
    modes = dict(arguments, levels=math.inf, f_L=2.0)
    step = 1e-4

    def occupation(f):
        return stationary_state(models.boundary_driven_xx(**dict(modes, f_L=f))).expect(op("N", 1)).real

    slope = mt.sensitivity(models.boundary_driven_xx(**modes), op("N", 1), parameters="f_L")["f_L"]
    difference = (occupation(2 + step) - occupation(2 - step)) / (2 * step)  # linear in f_L: no step error
    assert slope == pytest.approx(difference, abs=1e-10)


# -- observables -------------------------------------------------------------------------------------------------------


def test_pair_currents_close_the_continuity_equation():
    """i[H, n_i] = -sum_j I_(i,j) for hopping between all pairs."""
    model = network(20, 4)
    state = stationary_state(model)
    for i in range(4):
        out = obs.pair_current(model, [(i, j) for j in range(4) if j != i])
        coherent = state.expect(1j * mt.commutator(model.hamiltonian, op("N", i))).real
        assert -out.evaluate(state).sum() == pytest.approx(coherent, abs=1e-13)
    forth, back = obs.pair_current(model, [(0, 3), (3, 0)]).evaluate(state)
    assert forth == -back and abs(forth) > 1e-3
    half = obs.pair_current(model, [(0, 3)], normalisation="half").evaluate(state)[0]
    assert half == pytest.approx(forth / 2, rel=1e-14)
    assert obs.pair_current(model).labels == tuple(itertools.combinations(range(4), 2))


def test_g1_is_a_hermitian_matrix_bounded_by_one():
    model = network(21)
    g = obs.g1(model).evaluate(stationary_state(model))
    assert g.shape == (3, 3)
    assert np.abs(g - g.conj().T).max() < 1e-14 and np.abs(np.diag(g) - 1).max() < 1e-14
    assert np.linalg.eigvalsh(g).min() > -1e-14 and 0.01 < np.abs(g[0, 1]) < 1
