"""The library of models: what they contain, symmetries, and bad input."""

import math

import numpy as np
import pytest
from systems import DEGENERATE, dense_steady_state, load_benchmark

from mpo_transport import Boson, SpinHalf, models, op
from mpo_transport import observables as obs
from mpo_transport.errors import InputError
from mpo_transport.models import MODELS, build_model
from mpo_transport.superoperator import dense_lindbladian, operator_matrix

SMALL = {
    "persistent_current": {"L": 3, "alpha": 2.0, "delta": 1.0},
    "boundary_driven_xx": {"L": 3, "t": 1.0, "G_L": 0.6, "f_L": 0.9, "G_R": 1.4, "f_R": 0.2},
    "boundary_driven_xxz": {"L": 3, "Delta": 0.5, "eps": 2.0},
    "ring_dephasing": {"L": 3, "t": 1.0, "gamma": 0.9},
    "exclusion_process": {"L": 3, "alpha": 1.0, "beta": 0.8, "gamma": 0.5, "delta": 0.3},
    "kerr_oscillator": {"Delta": 0.5, "U": 1.0, "F": 0.6, "gamma": 1.0, "levels": 5},
}
OWN = sorted(set(SMALL) - {"persistent_current"})


# -- every model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SMALL))
def test_generator_preserves_trace_and_hermiticity(name):
    model = build_model(name, SMALL[name])
    assert model.name == name
    D = int(np.prod(model.lattice.dims))
    generator = dense_lindbladian(model)
    np.testing.assert_allclose(np.eye(D).ravel() @ generator, 0, atol=1e-13)
    rho = np.random.default_rng(1).normal(size=(D, D, 2)) @ [1, 1j]
    image = (generator @ rho.ravel()).reshape(D, D)
    adjoint = (generator @ rho.conj().T.ravel()).reshape(D, D)
    np.testing.assert_allclose(adjoint, image.conj().T, atol=1e-12)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_parameters_rebuild_the_model(name):
    model = build_model(name, SMALL[name])
    again = build_model(name, dict(model.parameters))
    assert again.hamiltonian == model.hamiltonian
    assert again.jumps == model.jumps
    assert dict(again.currents) == dict(model.currents)


def test_every_model_is_tested_here_or_elsewhere():
    assert set(SMALL) <= set(MODELS)


# -- contents ----------------------------------------------------------------------------------------------------------


def test_xx_jumps_and_labels():
    model = models.boundary_driven_xx(3, 1.0, 0.6, 0.9, 1.4, 0.2, dephasing=[0.1, 0.0, 0.3])
    found = {(repr(j.operator), j.label, j.charge): j.rate for j in model.jumps}
    assert found == pytest.approx(
        {
            ("Sp(0)", "left", -1.0): 0.54,
            ("Sm(0)", "left", 1.0): 0.06,
            ("Sp(2)", "right", -1.0): 0.28,
            ("Sm(2)", "right", 1.0): 1.12,
            ("N(0)", "dephasing", 0.0): 0.1,
            ("N(2)", "dephasing", 0.0): 0.3,
        }
    )
    assert [(b.label, b.occupation) for b in model.baths] == [("left", 0.9), ("right", 0.2)]
    assert next(iter(model.currents)) == "particles"


def test_boson_baths_stimulate_the_loss():
    model = models.boundary_driven_xx(2, 1.0, 0.9, 0.1, 1.3, 0.02, levels=4)
    assert model.lattice.spaces == (Boson(4), Boson(4))
    rates = {(repr(j.operator), j.label): j.rate for j in model.jumps}
    assert rates == pytest.approx(
        {("Adag(0)", "left"): 0.09, ("A(0)", "left"): 0.99, ("Adag(1)", "right"): 0.026, ("A(1)", "right"): 1.326}
    )
    assert models.boundary_driven_xx(2, 1.0, 0.9, 0.1, 1.3, 0.02, levels=math.inf).is_quadratic


def test_dephasing_equals_that_of_the_pauli_matrix():
    """gamma D[n] and (gamma/4) D[Z] are the same map."""
    a = models.boundary_driven_xx(2, 1.0, 1.0, 0.5, 1.0, 0.5, dephasing=0.8)
    b = models.boundary_driven_xx(2, 1.0, 1.0, 0.5, 1.0, 0.5)
    z = [type(a.jumps[0])(op("Z", j), rate=0.2) for j in range(2)]
    c = type(b)(b.lattice, b.hamiltonian, [*b.jumps, *z])
    np.testing.assert_allclose(dense_lindbladian(a), dense_lindbladian(c), atol=1e-15)


def test_xxz_hamiltonian_and_currents():
    model = models.boundary_driven_xxz(3, [0.3, -1.2], J=[0.7, 0.5], G_L=1.0, f_L=0.6, G_R=2.0, f_R=0.1)
    x, y, z = (SpinHalf().matrix(n) for n in "XYZ")
    bond = [J * (np.kron(x, x) + np.kron(y, y) + D * np.kron(z, z)) for J, D in ((0.7, 0.3), (0.5, -1.2))]
    expected = np.kron(bond[0], np.eye(2)) + np.kron(np.eye(2), bond[1])
    np.testing.assert_allclose(operator_matrix(model.lattice, model.hamiltonian).toarray(), expected, atol=1e-15)
    pauli = 2 * 0.5 * (op("X", 1) * op("Y", 2) - op("Y", 1) * op("X", 2))
    current = obs.current(model)
    difference = operator_matrix(model.lattice, current.operators[1] - pauli)
    assert np.abs(difference.toarray()).max() < 1e-15
    flow = obs.continuity_current(model)
    for j, particles, n in zip(
        current.operators, obs.current(model, "particles").operators, flow.operators, strict=True
    ):
        assert j == 2 * particles
        assert np.abs(operator_matrix(model.lattice, particles - n).toarray()).max() < 1e-15


def test_equivalent_xx_chains_in_both_forms():
    """J (XX + YY) is the hopping t = 2J."""
    a = models.boundary_driven_xxz(3, 0.0, J=0.35, G_L=1.0, f_L=0.6, G_R=2.0, f_R=0.1)
    b = models.boundary_driven_xx(3, 0.7, 1.0, 0.6, 2.0, 0.1)
    np.testing.assert_allclose(dense_lindbladian(a), dense_lindbladian(b), atol=1e-15)


def test_asymmetric_exclusion_hops_right_with_p():
    model = models.exclusion_process(2, 0.0, 0.0, 0.0, 0.0, p=2.0, q=0.5)
    n = [op("N", j) for j in range(2)]
    rate = obs.adjoint_action(model, n[1])
    expected = 2.0 * n[0] * (1 - n[1]) - 0.5 * (1 - n[0]) * n[1]
    assert np.abs(operator_matrix(model.lattice, rate - expected).toarray()).max() < 1e-15


def test_reflection_with_swapped_baths_reverses_the_current():
    a = dense_steady_state(forward := models.boundary_driven_xx(3, 0.9, 0.6, 0.9, 1.4, 0.2, dephasing=0.2))
    b = dense_steady_state(backward := models.boundary_driven_xx(3, 0.9, 1.4, 0.2, 0.6, 0.9, dephasing=0.2))
    there = obs.current(forward).evaluate(a)
    np.testing.assert_allclose(there, -obs.current(backward).evaluate(b), atol=1e-13)
    assert there[0] > 0.1


def test_equal_baths_carry_no_current():
    model = models.boundary_driven_xxz(3, 0.7, G_L=0.8, f_L=0.3, G_R=1.7, f_R=0.3)
    state = dense_steady_state(model)
    np.testing.assert_allclose(obs.current(model).evaluate(state), 0, atol=1e-13)
    np.testing.assert_allclose(obs.profile(model, "N").evaluate(state), 0.3, atol=1e-13)


def test_kerr_hamiltonian():
    model = models.kerr_oscillator(Delta=0.3, U=0.8, F=0.5 + 0.2j, gamma=1.0, levels=5)
    a = Boson(5).matrix("A")
    n = np.diag(np.arange(5.0))
    expected = -0.3 * n + 0.4 * a.T @ a.T @ a @ a + (0.5 + 0.2j) * a.T + (0.5 - 0.2j) * a
    np.testing.assert_allclose(operator_matrix(model.lattice, model.hamiltonian).toarray(), expected, atol=1e-14)


def test_ring_dephasing_decay_rate():
    """One-particle sector of a ring: lambda(2 pi/L) = gamma - sqrt(gamma^2 - 16 t^2 sin^2(pi/L))."""
    parameters, known = load_benchmark("ring-24")
    L, t, gamma = parameters["L"], parameters["t"], parameters["gamma"]
    model = models.ring_dephasing(L, t, gamma)
    # the model restricted to one particle: read hopping and dephasing off its own text
    h = np.zeros((L, L), dtype=complex)
    for key, c in model.hamiltonian:
        sites = {name: site for name, site in key}
        h[sites["Sp"], sites["Sm"]] += c
    rates = np.zeros(L)
    for jump in model.jumps:
        rates[jump.operator.sites[0]] += jump.rate
    one = np.eye(L)
    decay = (rates[:, None] + rates[None, :]) / 2 * (1 - one)
    generator = -1j * (np.kron(h, one) - np.kron(one, h.T)) - np.diag(decay.ravel())
    eigenvalues = np.sort(-np.linalg.eigvals(generator).real)
    formula = gamma - math.sqrt(gamma**2 - 16 * t**2 * math.sin(math.pi / L) ** 2)
    assert eigenvalues[eigenvalues > 1e-9][0] == pytest.approx(known["gap"], abs=1e-9)
    assert formula == pytest.approx(known["gap"], abs=1e-9)


@pytest.mark.parametrize("case", [d for d in DEGENERATE if d.build().L <= 3], ids=str)
def test_number_of_stationary_operators(case):
    values = np.linalg.svd(dense_lindbladian(case.build()), compute_uv=False)
    assert np.sum(values < 1e-10) == case.null_space


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("boundary_driven_xx", {"L": 0}, "L"),
        ("boundary_driven_xx", {"t": [1.0, 1.0, 1.0]}, "t"),
        ("boundary_driven_xx", {"t": math.nan}, "t"),
        ("boundary_driven_xx", {"G_L": -1.0}, "G_L"),
        ("boundary_driven_xx", {"G_R": 1j}, "G_R"),
        ("boundary_driven_xx", {"G_R": "1"}, "G_R"),
        ("boundary_driven_xx", {"f_L": 1.1}, "f_L"),
        ("boundary_driven_xx", {"f_R": -0.1, "levels": 3}, "f_R"),
        ("boundary_driven_xx", {"dephasing": -0.1}, "dephasing"),
        ("boundary_driven_xx", {"dephasing": 1j}, "dephasing"),
        ("boundary_driven_xx", {"levels": 1}, "levels"),
        ("boundary_driven_xxz", {"eps": None}, "eps"),
        ("boundary_driven_xxz", {"f_R": 0.5}, "eps"),
        ("boundary_driven_xxz", {"eps": None, "G_L": 1.0, "f_L": 0.5, "G_R": 1.0}, "f_R"),
        ("boundary_driven_xxz", {"eps": -1.0}, "eps"),
        ("boundary_driven_xxz", {"Delta": 1j}, "Delta"),
        ("boundary_driven_xxz", {"J": [1.0]}, "J"),
        ("ring_dephasing", {"L": 2}, "L"),
        ("ring_dephasing", {"gamma": -0.5}, "gamma"),
        ("exclusion_process", {"alpha": -1.0}, "alpha"),
        ("exclusion_process", {"beta": math.inf}, "beta"),
        ("exclusion_process", {"p": -1.0}, "p"),
        ("exclusion_process", {"q": [1.0, 2.0, 3.0]}, "q"),
        ("kerr_oscillator", {"gamma": -1.0}, "gamma"),
        ("kerr_oscillator", {"Delta": math.nan}, "Delta"),
        ("kerr_oscillator", {"U": 1j}, "U"),
        ("kerr_oscillator", {"levels": 0}, "levels"),
        ("kerr_oscillator", {"leves": 3}, "model.leves"),
    ],
)
def test_bad_input_names_the_field(name, change, field):
    with pytest.raises(InputError) as error:
        build_model(name, {**SMALL[name], **change})
    assert error.value.field == field


def test_missing_and_unknown_names():
    with pytest.raises(InputError, match="did you mean 'exclusion_process'"):
        build_model("exclusion_proces", {})
    with pytest.raises(InputError, match="needs the argument"):
        build_model("exclusion_process", {"L": 3})
