"""Models of heat transport: optomechanical lattices, two-tone lattices, rectifiers and cascades."""

import math

import numpy as np
import pytest
import scipy.linalg as sla
import scipy.sparse as sp
from moments import nambu_text, steady_nambu
from systems import dense_steady_state

import mpo_transport as mt
from mpo_transport import models, op
from mpo_transport import observables as obs
from mpo_transport.elimination import NegativeRatesError, eliminate, eliminate_two_tone, mean_fields
from mpo_transport.errors import InputError, MpoTransportWarning
from mpo_transport.models import MODELS, build_model
from mpo_transport.models.optomechanical_rectifier import OptomechanicalRectifier, ReservoirBandwidthWarning
from mpo_transport.reference.heat_rectifier import (
    cascaded_network,
    map_optomechanics,
    non_rwa_occupations,
    rectifier_network,
    three_mode_network,
)
from mpo_transport.reference.optomechanical_exact import FullLattice, FullRing
from mpo_transport.reference.optomechanical_lattices import EffectiveRing
from mpo_transport.storage.model_tables import model_from_tree, model_to_tree
from mpo_transport.superoperator import dense_lindbladian, operator_matrix

TRIANGLE = [[0, 1, 1], [1, 0, 0], [1, 0, 0]]
CELLS = {"J": [0.1, 0.3], "Dt": [-1.1, -1.0, -0.9], "G": [0.05, 0.03j, 0.04 - 0.02j], "gamma_c": [0.2, 0.1, 0.3],
         "gamma_m": [0.01, 0.02, 0.03], "nbar": [0.5, 0.0, 1.5]}  # fmt: skip
RING = {
    "L": 3,
    "phi": 2 * math.pi / 3,
    "J": 0.3,
    "Dt": -1.1,
    "G_abs": 0.05,
    "gamma_c": 0.2,
    "gamma_m": 0.01,
    "nbar": 0.5,
}
TONES = {"adjacency": TRIANGLE, "J": [0.1, 0.3], "Dt": 0.02, "G_minus": [0.012, 0.01j, 0.011],
         "G_plus": [0.006, 0.005, 2e-3j], "gamma_c": 0.1, "gamma_m": 1e-3, "nbar": 1.0}  # fmt: skip
DIODE = {"omega_1": 0.3, "omega_2": -0.4, "gamma_1": 0.6, "gamma_2": 1.4, "kappa_1": 0.9, "kappa_2": 0.5,
         "F": 0.25 + 0.5j, "theta": 1.1, "N": [2.0, 0.5, 1.2]}  # fmt: skip
CASCADE = {"omega": [0.0, 0.2, -0.3], "gamma": [1.0, 0.8, 1.2], "kappa": [1.0, 0.5, 0.7], "N": [0.1, 0.05, 0.15],
           "N_common": 0.08}  # fmt: skip
DEVICE = {"Delta_1": 0.3, "Delta_2": -0.2, "omega_m": 0.1, "J": 0.5, "G_1": 0.7, "G_2": -0.4, "phi": 0.8,
          "kappa_1": 1.0, "kappa_2": 0.6, "gamma_m": 2.0, "N": [1.0, 0.2, 0.5]}  # fmt: skip
SMALL = {
    "optomechanical_lattice": {"adjacency": [[0, 1], [1, 0]], **CELLS, "J": 0.1, "levels": 2}
    | {k: CELLS[k][:2] for k in ("Dt", "G", "gamma_c", "gamma_m", "nbar")},
    "optomechanical_ring": {**RING, "picture": "effective", "levels": 2},
    "two_tone_lattice": TONES,
    "heat_rectifier": {**DIODE, "levels": 3},
    "cascaded_chain": {**CASCADE, "levels": 2},
    "optomechanical_rectifier": {**DEVICE, "levels": 2},
}


# -- every model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SMALL))
def test_parameters_rebuild_the_model(name):
    model = build_model(name, SMALL[name])
    assert model.name == name and name in MODELS
    again = build_model(name, dict(model.parameters))
    assert again.hamiltonian == model.hamiltonian and again.jumps == model.jumps
    assert dict(again.currents) == dict(model.currents) and again.baths == model.baths
    assert again.lattice.bonds == model.lattice.bonds


@pytest.mark.parametrize("name", sorted(SMALL))
def test_files_keep_the_model(name):
    model = build_model(name, SMALL[name])
    back = model_from_tree(model_to_tree(model))
    assert back.hamiltonian == model.hamiltonian and back.jumps == model.jumps and back.baths == model.baths
    assert dict(back.parameters) == dict(model.parameters)
    assert dict(back.currents) == dict(model.currents)
    rebuilt = build_model(name, dict(back.parameters))
    assert rebuilt.hamiltonian == model.hamiltonian


@pytest.mark.parametrize("name", sorted(set(SMALL) - {"two_tone_lattice"}))
def test_generator_preserves_trace_and_hermiticity(name):
    model = build_model(name, SMALL[name])
    D = int(np.prod(model.lattice.dims))
    generator = dense_lindbladian(model)
    np.testing.assert_allclose(np.eye(D).ravel() @ generator, 0, atol=1e-13)
    rho = np.random.default_rng(1).normal(size=(D, D, 2)) @ [1, 1j]
    image = (generator @ rho.ravel()).reshape(D, D)
    np.testing.assert_allclose((generator @ rho.conj().T.ravel()).reshape(D, D), image.conj().T, atol=1e-12)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_unbounded_versions_are_quadratic(name):
    arguments = {k: v for k, v in SMALL[name].items() if k != "levels"}
    model = build_model(name, arguments)
    assert model.is_quadratic and set(model.lattice.dims) == {math.inf}


# -- optomechanical lattices -------------------------------------------------------------------------------------------


def full(picture="full", **change):
    return models.optomechanical_lattice(TRIANGLE, **{**CELLS, **change}, picture=picture)


def test_full_picture_is_the_linearised_model():
    """Drift and noise read off the text: site order c_0, d_0, c_1, d_1, ...; V has the opposite sign, c -> -c."""
    X, Y = nambu_text(full())
    exact = FullLattice(
        -0.5 * np.array([[0, 0.1, 0.3], [0.1, 0, 0], [0.3, 0, 0]]), omega=1.0,
        **{k: np.array(CELLS[k]) for k in ("Dt", "G", "gamma_c", "gamma_m", "nbar")},
    )  # fmt: skip
    order = np.r_[0:6:2, 6:12:2, 1:6:2, 7:12:2]
    sign = np.repeat([-1, -1, 1, 1], 3)
    np.testing.assert_allclose(sign[:, None] * X[np.ix_(order, order)] * sign, exact.drift, atol=1e-15)
    np.testing.assert_allclose(Y[np.ix_(order, order)], exact.noise, atol=1e-15)


def test_effective_picture_is_the_elimination():
    model = full("effective")
    e = eliminate(TRIANGLE, **CELLS)
    X, Y = nambu_text(model)
    np.testing.assert_allclose(X[:3, :3], e.W, atol=1e-15)
    np.testing.assert_allclose(X[:3, 3:], 0, atol=1e-18)
    np.testing.assert_allclose(Y[3:, 3:], e.M_up, atol=1e-16)
    np.testing.assert_allclose(Y[:3, :3], e.M_down, atol=1e-16)
    np.testing.assert_allclose(steady_nambu(model)[3:, 3:], e.sigma, atol=1e-12)


def expectation(operator, sigma):
    """Of a sum of c a_m^+ a_n with a single-particle density matrix, or a mapping (m, n) -> value."""
    return sum(c * sigma[dict(key)["Adag"], dict(key)["A"]] for key, c in operator)


def test_currents_of_the_pictures():
    """The named bond current is that of the pair in its direction."""
    e = eliminate(TRIANGLE, **CELLS)
    model = full("effective")
    assert model.lattice.bonds == ((0, 1), (0, 2))
    for (l, a), j in zip(model.lattice.bonds, obs.current(model).operators, strict=True):
        assert expectation(j, e.sigma) == pytest.approx(e.pair_currents[l, a], rel=1e-12)
    model = full()
    C = steady_nambu(model)[6:, 6:]
    exact = FullLattice(
        -0.5 * np.array([[0, 0.1, 0.3], [0.1, 0, 0], [0.3, 0, 0]]), omega=1.0,
        **{k: np.array(CELLS[k]) for k in ("Dt", "G", "gamma_c", "gamma_m", "nbar")},
    )  # fmt: skip
    assert model.lattice.bonds == ((0, 2), (0, 4), (0, 1), (2, 3), (4, 5))
    operators = obs.current(model, "photon").operators
    for (l, a), j in zip([(0, 1), (0, 2)], operators, strict=False):
        assert expectation(j, C) == pytest.approx(exact.photon_currents[l, a], rel=1e-9)
    assert not any(operators[2:])


def test_ring_currents_at_any_distance():
    model = models.optomechanical_ring(
        6, 2 * math.pi / 6, **{k: RING[k] for k in RING if k not in ("L", "phi")}, picture="effective"
    )
    ring = EffectiveRing(6, 2 * math.pi / 6, 0.3, -1.1, 0.05, 0.2, 0.01, 0.5)
    assert list(model.currents) == ["phonon", "phonon_2"]
    for p, kind in ((1, "phonon"), (2, "phonon_2")):
        for (l, a), j in zip(model.lattice.pairs(p), obs.current(model, kind, distance=p).operators, strict=True):
            assert a == (l + p) % 6
            sigma = {(l, a): ring.sigma()[p], (a, l): ring.sigma()[p].conjugate()}
            assert expectation(j, sigma) == pytest.approx(ring.pair_currents()[p], abs=1e-13)
    chain = models.optomechanical_lattice(
        np.diag(np.ones(3), 1) + np.diag(np.ones(3), -1), J=0.1, Dt=-1.1, G=0.02, gamma_c=0.1, gamma_m=1e-3, nbar=1.0,
        picture="effective",
    )  # fmt: skip
    assert list(chain.currents) == ["phonon", "phonon_2", "phonon_3"]
    assert obs.current(chain, "phonon_3", distance=3).labels == ((0, 3),)


def test_ring_is_a_lattice():
    a = models.optomechanical_ring(**RING)
    phase = np.exp(2j * np.pi * np.arange(3) / 3)
    rest = {k: RING[k] for k in ("J", "Dt", "gamma_c", "gamma_m", "nbar")}
    b = models.optomechanical_lattice({"L": 3, "edges": [[0, 1], [1, 2], [2, 0]]}, G=0.05 * phase, **rest)
    assert a.jumps == b.jumps and a.lattice.bonds == b.lattice.bonds
    assert max(abs(c) for _, c in a.hamiltonian - b.hamiltonian + 1e-300 * op("N", 0)) < 1e-16
    n = steady_nambu(a)[6:, 6:].diagonal().real
    exact = FullRing(EffectiveRing(3, 2 * math.pi / 3, 0.3, -1.1, 0.05, 0.2, 0.01, 0.5))
    np.testing.assert_allclose(n[1::2], exact.n_k.mean(), rtol=1e-11)
    np.testing.assert_allclose(n[0::2], exact.photon_number, rtol=1e-11)


def test_large_rings_have_linearly_many_terms():
    model = models.optomechanical_ring(
        2000, 2 * math.pi * 251 / 2000, **{k: v for k, v in RING.items() if k not in ("L", "phi")}
    )
    assert len(model.hamiltonian) == 8 * 2000 and len(model.jumps) == 3 * 2000 and model.L == 4000


@pytest.mark.parametrize("form", ["dense", "sparse", "edges"])
def test_forms_of_the_adjacency_give_the_same_model(form):
    A = np.array(TRIANGLE)
    given = {"dense": A, "sparse": sp.csr_array(A), "edges": {"L": 3, "edges": [(0, 1), (0, 2)]}}[form]
    model = models.optomechanical_lattice(given, **CELLS)
    assert model.hamiltonian == full().hamiltonian
    assert model.parameters["adjacency"] == {"L": 3, "edges": [[0, 1], [0, 2]]}


def test_levels_of_photons_and_phonons():
    model = full("nonlinear", g=0.05, levels=(2, 3))
    assert model.lattice.dims == (2, 3, 2, 3, 2, 3) and not model.is_quadratic
    cubic = {k: c for k, c in model.hamiltonian if ("N", 0) in k and len(k) == 2}
    assert cubic == {(("N", 0), ("A", 1)): -0.05, (("N", 0), ("Adag", 1)): -0.05}
    assert full("effective", levels=4).lattice.dims == (4, 4, 4)
    assert full(levels=math.inf).hamiltonian == full().hamiltonian
    assert set(full("nonlinear", g=0.05).hamiltonian.terms) > set(full().hamiltonian.terms)


def test_nonlinear_model_is_the_displaced_laboratory_frame():
    """One driven cell, solved around the empty modes and around its mean field, agree up to the Fock cutoffs."""
    Delta, F, g, gamma_c, gamma_m, nbar = -0.8, 0.25, 0.3, 0.6, 0.2, 0.05
    (root,) = mean_fields([[0]], J=0, Delta=Delta, F=F, g=g, gamma_c=gamma_c, gamma_m=gamma_m)
    displaced = models.optomechanical_lattice(
        [[0]], J=0, Dt=root.Dt, G=root.G, gamma_c=gamma_c, gamma_m=gamma_m, nbar=nbar, g=g, picture="nonlinear",
        levels=(5, 7),
    )  # fmt: skip
    x = op("A", 1) + op("Adag", 1)
    h = -Delta * op("N", 0) + op("N", 1) + F * (op("A", 0) + op("Adag", 0)) - g * (op("N", 0) * x)
    laboratory = mt.Lindbladian(displaced.lattice, h, displaced.jumps)
    values = []
    for model, alpha, beta in ((displaced, root.alpha[0], root.beta[0]), (laboratory, 0.0, 0.0)):
        state = dense_steady_state(model)
        a, b, n, photons = (complex(state.expect(o)) for o in (op("A", 0), op("A", 1), op("N", 1), op("N", 0)))
        values.append([a + alpha, b + beta, n - abs(b) ** 2, photons - abs(a) ** 2])
    assert abs(values[1][0]) > 0.2
    np.testing.assert_allclose(values[0], values[1], atol=1e-4)  # a tenth with every level more
    linear = steady_nambu(models.optomechanical_lattice(
        [[0]], J=0, Dt=root.Dt, G=root.G, gamma_c=gamma_c, gamma_m=gamma_m, nbar=nbar))  # fmt: skip
    assert abs(linear[3, 3].real - values[0][2].real) > 3e-3  # the nonlinearity matters here


def test_translation_symmetry_of_the_effective_ring_is_found():
    from mpo_transport.superoperator.lattice_symmetry import lattice_symmetries

    model = models.optomechanical_ring(**{**RING, "L": 4, "phi": math.pi / 2}, picture="effective", levels=2)
    assert {tuple(g) for g in lattice_symmetries(model)} >= {tuple((j + s) % 4 for j in range(4)) for s in range(4)}


# -- two tones ---------------------------------------------------------------------------------------------------------


def test_two_tone_pictures():
    X, Y = nambu_text(models.two_tone_lattice(**TONES, picture="effective"))
    e = eliminate_two_tone(**TONES)
    np.testing.assert_allclose(X, e.drift, atol=1e-17)
    C = sla.solve_continuous_lyapunov(X, -Y)
    np.testing.assert_allclose(C, e.nambu, atol=1e-10)
    exact = steady_nambu(models.two_tone_lattice(**TONES))[7::2, 7::2]
    np.testing.assert_allclose(C[3:, 3:].diagonal(), exact.diagonal(), rtol=0.02)
    assert np.abs(C[3:, 3:] - exact).max() > 1e-4  # they are different models


def test_two_tone_hopping_is_shared_between_the_neighbours():
    def hop(coordination):
        return models.two_tone_lattice(**TONES, coordination=coordination).hamiltonian.terms[("Adag", 0), ("A", 2)]

    assert hop(None) == -0.05 == hop(2) and hop(4) == -0.025
    square = np.kron(np.diag([1, 1], 1), np.eye(3)) + np.kron(np.eye(3), np.diag([1, 1], 1))
    grid = models.two_tone_lattice(
        square + square.T, J=0.4, Dt=0, G_minus=0.01, G_plus=0, gamma_c=0.1, gamma_m=0.1, nbar=0
    )
    assert grid.hamiltonian.terms[("Adag", 0), ("A", 2)] == -0.1  # the inner cell has four neighbours


# -- rectifiers --------------------------------------------------------------------------------------------------------


def moments_of(model):
    X, _ = nambu_text(model)
    L = model.L
    return X[:L, :L], steady_nambu(model)[L:, L:]


def test_rectifier_text_is_the_langevin_matrix():
    model = models.heat_rectifier(**DIODE)
    A, C = moments_of(model)
    root = math.sqrt(0.6 * 1.4)
    F, theta = DIODE["F"], DIODE["theta"]
    expected = [
        [-0.3j - 0.75, -1j * F],
        [-1j * np.conj(F) - root * np.exp(1j * theta), 0.4j - 0.95],
    ]
    np.testing.assert_allclose(A, expected, atol=1e-15)
    network = rectifier_network(**DIODE)
    np.testing.assert_allclose(C.T, network.C, atol=1e-13)  # C_kl = <c_l^+ c_k>
    flows = []
    for label in ("bath_1", "bath_2", "common"):
        (flow,) = obs.bath_flow(model, label).operators
        value = flow.terms.get((), 0)
        for key, c in flow:
            if key:
                names = dict(key) if len(key) == 2 else {"Adag": key[0][1], "A": key[0][1]}
                value += c * C[names["Adag"], names["A"]]
        flows.append(value)
    np.testing.assert_allclose(flows, network.flows, atol=1e-13)


def test_cascade_text_is_lower_triangular():
    model = models.cascaded_chain(**CASCADE)
    A, C = moments_of(model)
    gamma = np.array(CASCADE["gamma"])
    np.testing.assert_allclose(np.tril(A, -1), -np.tril(np.sqrt(np.outer(gamma, gamma)), -1), atol=1e-15)
    np.testing.assert_allclose(np.triu(A, 1), 0, atol=1e-16)
    network = cascaded_network(CASCADE["omega"], gamma, CASCADE["kappa"], CASCADE["N"], 0.08)
    np.testing.assert_allclose(C.T, network.C, atol=1e-14)
    shorter = models.cascaded_chain(*(CASCADE[k][:2] for k in ("omega", "gamma", "kappa", "N")), 0.08)
    np.testing.assert_allclose(moments_of(shorter)[1], C[:2, :2], atol=1e-14)


def test_two_cascaded_sites_are_the_rectifier():
    a = models.cascaded_chain([0.3, -0.4], [0.6, 1.4], [0.9, 0.5], [2.0, 0.5], 1.2, F=0.1 + 0.2j)
    b = models.heat_rectifier(**{**DIODE, "theta": 0.0, "F": 0.1 + 0.2j})
    assert a.hamiltonian == b.hamiltonian and a.jumps == b.jumps
    assert [x.label for x in a.baths] == ["bath_1", "bath_2", "common"]


def test_common_bath_is_one_collective_jump():
    model = models.cascaded_chain(**CASCADE)
    common = [j for j in model.jumps if j.label == "common"]
    assert [(j.operator.sites, j.charge) for j in common] == [((0, 1, 2), 1.0), ((0, 1, 2), -1.0)]
    assert [j.rate for j in common] == pytest.approx([1.08, 0.08])
    hopping = models.cascaded_chain(**CASCADE, F=[0.1, 0.2j]).hamiltonian - model.hamiltonian
    assert hopping.terms[("Adag", 1), ("A", 2)] == pytest.approx(0.2j)
    with pytest.raises(KeyError):
        hopping.terms[("Adag", 0), ("A", 2)]


def test_device_text_is_the_three_mode_model():
    A, C = moments_of(models.optomechanical_rectifier(**DEVICE))
    network = three_mode_network(**DEVICE)
    np.testing.assert_allclose(A, network.A, atol=1e-15)
    np.testing.assert_allclose(C.T, network.C, atol=1e-13)
    cold = {**DEVICE, "Delta_1": 5.0, "Delta_2": 5.2, "omega_m": 5.1}
    model = models.optomechanical_rectifier(**cold, rwa=False)
    np.testing.assert_allclose(steady_nambu(model)[3:, 3:].diagonal().real, non_rwa_occupations(**cold), rtol=1e-11)
    assert [str(s) for s in model.conserved] == ["weak Z2: (-1)^(N(0) + N(1) + N(2))"]
    current = obs.current(models.optomechanical_rectifier(**DEVICE))
    assert current.labels == ((0, 1), (0, 2), (1, 2))
    sigma, h = C, network.h
    for (i, j), operator in zip(current.labels, current.operators, strict=True):
        assert expectation(operator, sigma) == pytest.approx(2 * np.imag(h[j, i] * sigma[j, i]), abs=1e-13)
    # continuity of mode 1: what its bath takes comes over the links
    inflow = DEVICE["kappa_1"] * (DEVICE["N"][0] - sigma[0, 0].real)
    assert inflow == pytest.approx(sum(2 * np.imag(h[j, 0] * sigma[j, 0]) for j in (1, 2)), rel=1e-11)


def test_map_to_two_modes_has_the_same_scattering_at_its_frequency():
    """Exact at Omega for any parameters, also for couplings of opposite sign."""
    Omega = 0.37
    with pytest.warns(ReservoirBandwidthWarning, match="gamma_m/kappa = 2"):
        two = models.as_heat_rectifier(models.optomechanical_rectifier(**DEVICE), Omega)
    parameters = {k: v for k, v in two.parameters.items() if k != "levels"}
    mapped = rectifier_network(**parameters).scattering(Omega)
    three = three_mode_network(**DEVICE).scattering(Omega)
    np.testing.assert_allclose(np.abs(mapped), np.abs(three), atol=1e-13)
    formula = map_optomechanics(Omega, **{k: v for k, v in DEVICE.items() if k not in ("kappa_1", "kappa_2", "N")})
    assert two.parameters["F"] == pytest.approx(formula.F, rel=1e-14)
    assert (two.parameters["gamma_1"], two.parameters["gamma_2"]) == pytest.approx(formula.gamma)
    assert issubclass(ReservoirBandwidthWarning, MpoTransportWarning)


def test_map_is_a_method_of_the_device_and_a_function_of_stored_ones():
    device = models.optomechanical_rectifier(**{**DEVICE, "gamma_m": 50.0}, levels=3)
    assert isinstance(device, OptomechanicalRectifier)
    a, b = device.as_heat_rectifier(0.1, levels=4), models.as_heat_rectifier(device.parameters, 0.1, levels=4)
    c = models.as_heat_rectifier(model_from_tree(model_to_tree(device)), 0.1, levels=4)
    assert a.hamiltonian == b.hamiltonian == c.hamiltonian and a.jumps == b.jumps == c.jumps
    assert a.lattice.dims == (4, 4) and a.name == "heat_rectifier"


@pytest.mark.parametrize(
    ("model", "Omega", "field"),
    [
        (models.heat_rectifier(**DIODE), 0.0, "model"),
        ("device", 0.0, "model"),
        ({**DEVICE, "rwa": False}, 0.0, "rwa"),
        ({**DEVICE, "gamma_m": 0.0}, 0.1, "gamma_m"),
        ({k: v for k, v in DEVICE.items() if k != "J"}, 0.0, "J"),
        (DEVICE, math.nan, "Omega"),
    ],
)
def test_a_bad_map_is_named(model, Omega, field):
    with pytest.raises(InputError) as error:
        models.as_heat_rectifier(model, Omega)
    assert error.value.field == field


# -- truncated operators -----------------------------------------------------------------------------------------------


def test_truncated_rectifier_hamiltonian():
    model = models.heat_rectifier(**DIODE, levels=3)
    a = mt.Boson(3).matrix("A")
    first, second = np.kron(a, np.eye(3)), np.kron(np.eye(3), a)
    hop = DIODE["F"] + 0.5j * math.sqrt(0.84) * np.exp(-1.1j)
    half = hop * first.T @ second
    expected = 0.3 * first.T @ first - 0.4 * second.T @ second + half + half.conj().T
    np.testing.assert_allclose(operator_matrix(model.lattice, model.hamiltonian).toarray(), expected, atol=1e-15)


def test_equal_baths_equilibrate():
    """All occupations equal: every mode has it, for any couplings, and no bath receives anything."""
    N = 0.08
    model = models.heat_rectifier(**{**DIODE, "N": [N] * 3}, levels=5)
    state = dense_steady_state(model)
    # truncated at five levels a thermal state misses (N/(1+N))^5 of its weight
    for label in ("bath_1", "bath_2", "common"):
        assert abs(obs.bath_flow(model, label).evaluate(state)) < 20 * (N / (1 + N)) ** 5
    np.testing.assert_allclose(obs.profile(model, "N").evaluate(state), N, atol=20 * (N / (1 + N)) ** 5)


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("optomechanical_lattice", {"adjacency": [[0, 1], [0, 0]]}, "adjacency"),
        ("optomechanical_lattice", {"adjacency": [[1, 0], [0, 0]]}, "adjacency"),
        ("optomechanical_lattice", {"J": [0.1, 0.2]}, "J"),
        ("optomechanical_lattice", {"Dt": "red"}, "Dt"),
        ("optomechanical_lattice", {"G": [1.0]}, "G"),
        ("optomechanical_lattice", {"gamma_c": -0.1}, "gamma_c"),
        ("optomechanical_lattice", {"gamma_m": math.nan}, "gamma_m"),
        ("optomechanical_lattice", {"nbar": -1.0}, "nbar"),
        ("optomechanical_lattice", {"omega": 1j}, "omega"),
        ("optomechanical_lattice", {"picture": "exact"}, "picture"),
        ("optomechanical_lattice", {"picture": "nonlinear"}, "g"),
        ("optomechanical_lattice", {"picture": "nonlinear", "g": 1j}, "g"),
        ("optomechanical_lattice", {"levels": 1}, "levels"),
        ("optomechanical_lattice", {"levels": (2, 3, 4)}, "levels"),
        ("optomechanical_lattice", {"levels": (2, 3), "picture": "effective"}, "levels"),
        ("optomechanical_ring", {"L": 2}, "L"),
        ("optomechanical_ring", {"L": 3.5}, "L"),
        ("optomechanical_ring", {"phi": 0.5}, "phi"),
        ("optomechanical_ring", {"phi": math.inf}, "phi"),
        ("optomechanical_ring", {"phi": "pi"}, "phi"),
        ("optomechanical_ring", {"G_abs": -0.1}, "G_abs"),
        ("optomechanical_ring", {"omega_m": [1.0]}, "omega_m"),
        ("optomechanical_ring", {"nbar": [1.0, -1.0, 0.0]}, "nbar"),
        ("two_tone_lattice", {"G_plus": 0.02}, "G_plus"),
        ("two_tone_lattice", {"G_plus": 0.02, "picture": "effective"}, "G_plus"),
        ("two_tone_lattice", {"picture": "nonlinear"}, "picture"),
        ("two_tone_lattice", {"nbar": -1}, "nbar"),
        ("two_tone_lattice", {"coordination": 0}, "coordination"),
        ("heat_rectifier", {"kappa_1": -1.0}, "kappa_1"),
        ("heat_rectifier", {"gamma_2": math.inf}, "gamma_2"),
        ("heat_rectifier", {"omega_1": 1j}, "omega_1"),
        ("heat_rectifier", {"theta": "pi"}, "theta"),
        ("heat_rectifier", {"F": math.nan}, "F"),
        ("heat_rectifier", {"N": [1.0, 2.0]}, "N"),
        ("heat_rectifier", {"N": 1.0}, "N"),
        ("heat_rectifier", {"N": [1.0, -0.1, 0.5]}, "N"),
        ("heat_rectifier", {"N": [1.0, math.nan, 0.5]}, "N"),
        ("heat_rectifier", {"levels": 0}, "levels"),
        ("cascaded_chain", {"omega": 0.0, "gamma": 1.0, "kappa": 1.0, "N": 0.1}, "omega"),
        ("cascaded_chain", {"gamma": [1.0, 1.0]}, "gamma"),
        ("cascaded_chain", {"kappa": [1.0, -1.0, 1.0]}, "kappa"),
        ("cascaded_chain", {"N": [0.1, 0.1, -0.1]}, "N"),
        ("cascaded_chain", {"N_common": -0.1}, "N_common"),
        ("cascaded_chain", {"F": [0.1]}, "F"),
        ("optomechanical_rectifier", {"G_1": 1j}, "G_1"),
        ("optomechanical_rectifier", {"gamma_m": -1.0}, "gamma_m"),
        ("optomechanical_rectifier", {"N": [1.0, 0.5]}, "N"),
        ("optomechanical_rectifier", {"rwa": "no"}, "rwa"),
    ],
)
def test_bad_input_names_the_field(name, change, field):
    with pytest.raises(InputError) as error:
        build_model(name, {**SMALL[name], **change})
    assert error.value.field == field


def test_negative_rates_are_refused_with_their_eigenvalues():
    pattern = 1 + 0.2 * np.random.default_rng(0).uniform(-0.5, 0.5, 8)
    with pytest.raises(NegativeRatesError) as error:
        models.optomechanical_ring(8, math.pi / 4, J=0.2, Dt=-1.2, G_abs=0.02, gamma_c=0.1, gamma_m=1e-3, nbar=1.0,
                                   omega_m=pattern, picture="effective")  # fmt: skip
    assert error.value.eigenvalues.min() < 0
