"""Two cascaded oscillators, cascades and the optomechanical device: the reference table, and identities."""

import math
import warnings

import numpy as np
import pytest
import scipy.integrate as si
from heat_tables import entry, identifiers

import mpo_transport as mt
from mpo_transport import models, op
from mpo_transport import observables as obs
from mpo_transport.models.optomechanical_rectifier import ReservoirBandwidthWarning
from mpo_transport.reference.heat_rectifier import (
    cascade_coefficients,
    cascade_flows,
    cascaded_network,
    disconnected_occupations,
    flows_without_hopping,
    isosurface,
    non_rwa_occupations,
    occupation_changes,
    occupations,
    occupations_without_hopping,
    rectifier_network,
    three_mode_network,
    transmissions,
)
from mpo_transport.reference.passive_networks import PassiveNetwork

pytestmark = pytest.mark.physics
TABLE = "heat_rectifier"
EQUAL = {"omega_1": 0.0, "gamma_1": 1.0, "gamma_2": 1.0, "kappa_1": 1.0, "kappa_2": 1.0}


def arguments(parameters):
    """Keyword arguments of ``models.heat_rectifier`` for an entry."""
    p = dict(parameters)
    p["F"] = p.pop("F_re") + 1j * p.pop("F_im")
    p.setdefault("N", [0.0, 0.0, 0.0])
    names = ("omega_1", "omega_2", "gamma_1", "gamma_2", "kappa_1", "kappa_2", "F", "theta", "N")
    return {k: p[k] for k in names}


def random_arguments(rng):
    return {
        "omega_1": rng.normal(), "omega_2": rng.normal(), "F": complex(*rng.normal(size=2)),
        "theta": rng.uniform(0, 2 * math.pi), "N": rng.uniform(0.01, 3, 3),
        **{k: rng.uniform(0.1, 2) for k in ("gamma_1", "gamma_2", "kappa_1", "kappa_2")},
    }  # fmt: skip


def equal(N, F=0.0, theta=0.0, Delta=0.0, kappa=1.0):
    rates = {k: kappa for k in ("gamma_1", "gamma_2", "kappa_1", "kappa_2")}
    return rectifier_network(omega_1=0.0, omega_2=Delta, F=F, theta=theta, N=N, **rates)


# -- the table ---------------------------------------------------------------------------------------------------------

MEAN = {
    "n": lambda x: x.occupations,
    "eta": lambda x: x.flows,
    "coh": lambda x: [x.C[1, 0].real, x.C[1, 0].imag],  # C_21 = <c_1^+ c_2>
    "noise": lambda x: x.noise_matrix(),
    "S": lambda x: x.entropy,
}


@pytest.mark.parametrize("identifier", sorted(i for i in identifiers(TABLE) if i.split("_")[0] in ("fnr", "gen")))
def test_steady_state(identifier):
    p, value, error = entry(TABLE, identifier)
    network = rectifier_network(**arguments(p))
    np.testing.assert_allclose(MEAN[identifier.split("_")[-1]](network), value, atol=error, rtol=0)


@pytest.mark.parametrize("identifier", ["fcs_fnr_theta", "fcs_low_theta"])
def test_generating_function(identifier):
    p, value, error = entry(TABLE, identifier)
    network = rectifier_network(**arguments(p))
    for s, expected in zip(p["s_vectors"], value, strict=True):
        assert network.theta(s) == pytest.approx(expected, abs=error)
        assert network.theta_by_scattering(s) == pytest.approx(expected, abs=error)


@pytest.mark.parametrize("identifier", sorted(i for i in identifiers(TABLE) if "_cum" in i))
def test_cumulants(identifier):
    p, value, error = entry(TABLE, identifier)
    bath = int(identifier[-1]) - 1
    network = rectifier_network(**arguments(p))
    np.testing.assert_allclose(network.cumulants(bath), value, atol=error, rtol=0)
    assert network.flows[bath] == pytest.approx(value[0], abs=error)
    assert network.noise_matrix()[bath, bath] == pytest.approx(value[1], abs=error)


def test_isosurfaces():
    p, rows, error = entry(TABLE, "fig2_isosurface")
    for F, Delta, change, m3 in rows:
        assert isosurface(change, F, Delta, p["m1"], p["m2"]) == pytest.approx(m3, abs=error)
        N = (2 * p["m1"] - m3, 2 * p["m2"] - m3, m3)
        assert occupation_changes(N, F, Delta)[1] == pytest.approx(change, abs=error)
        assert equal(N, F, Delta=Delta).occupations[1] - p["m2"] == pytest.approx(change, abs=error)
    for Delta in (0.0, 1.3, -2.0):
        assert [isosurface(x, 0.0, Delta, 50, 100) for x in (10, 0, -10)] == pytest.approx(
            [50 - 5 * (4 + Delta**2), 50, 50 + 5 * (4 + Delta**2)]
        )
    assert isosurface(10, 0.7, -1.1, 50, 100) == pytest.approx(isosurface(10, -0.7, 1.1, 50, 100))


@pytest.mark.parametrize("side", ["left", "right"])
def test_flows_of_figure_three(side):
    p, rows, error = entry(TABLE, f"fig3_{side}")
    for number, row in enumerate(rows):
        N = [p["N1"][number], p["N2"], p["N3"]] if side == "left" else [p["N1"], p["N2"][number], p["N3"]]
        np.testing.assert_allclose(flows_without_hopping(N, 0.0), row, atol=error)
        np.testing.assert_allclose(equal(N).flows, row, atol=error)
        line = (
            [(0.5 - N[0]) / 2, 1 / 8 + N[0] / 4, N[0] / 4 - 3 / 8]
            if side == "left"
            else [1 / 4, 1 / 8 - N[1] / 2, N[1] / 2 - 3 / 8]
        )
        np.testing.assert_allclose(row, line, atol=error)


def test_flows_of_the_mapped_device():
    p, rows, error = entry(TABLE, "fig3_left_exp")
    for N1, row in zip(p["N1"], rows, strict=True):
        with pytest.warns(ReservoirBandwidthWarning, match="5e-05"):
            model = models.as_heat_rectifier(_experiment([N1, p["N2"], p["N3"]]), 6.0)
        given = {k: v for k, v in model.parameters.items() if k != "levels"}
        np.testing.assert_allclose(rectifier_network(**given).flows / 2, row, atol=error, rtol=0)


def test_transmissions():
    p, rows, error = entry(TABLE, "nonreciprocity")
    for re, im, T12, T21, contrast in rows:
        F = re + 1j * im
        found = transmissions(F, p["Delta"], p["kappa"])
        np.testing.assert_allclose([found.T12, found.T21, found.contrast], [T12, T21, contrast], atol=error)
        network = equal([0.0, 0.0, 0.0], F, Delta=p["Delta"])
        assert network.transmission(0, 1) == pytest.approx(T12, abs=error)
        assert network.transmission(1, 0) == pytest.approx(T21, abs=error)


def test_scattering_matrix():
    p, value, error = entry(TABLE, "smatrix")
    network = rectifier_network(**arguments(p))
    S = network.scattering(p["omega"])
    np.testing.assert_allclose(np.abs(S) ** 2, value, atol=error, rtol=0)
    np.testing.assert_allclose(S @ S.conj().T, np.eye(3), atol=1e-14)
    T = si.quad(lambda w: abs(network.scattering(w)[1, 0]) ** 2, -np.inf, np.inf, epsabs=1e-11)[0] / (2 * math.pi)
    assert network.transmission(1, 0) == pytest.approx(T, abs=1e-9)


def test_transient():
    p, value, error = entry(TABLE, "transient")
    network = rectifier_network(**arguments(p))
    found = np.real(np.diagonal(network.transient(p["t"]), axis1=1, axis2=2))
    np.testing.assert_allclose(found, value, atol=error, rtol=0)


def _device(p):
    return {
        "Delta_1": p["D1"], "Delta_2": p["D2"], "omega_m": p["wm"], "J": p["J"], "G_1": p["G1"], "G_2": p["G2"],
        "phi": p["phi"], "kappa_1": p["k1"], "kappa_2": p["k2"], "gamma_m": p["gm"], "N": p["N"],
    }  # fmt: skip


def _experiment(N):
    p, _, _ = entry(TABLE, "opt_exp_full_n")
    return {**_device(p), "N": N}


def test_published_experiment():
    p, value, error = entry(TABLE, "opt_exp_full_n")
    network = three_mode_network(**_device(p))
    np.testing.assert_allclose(network.occupations, value, atol=error, rtol=0)
    _, value, error = entry(TABLE, "opt_exp_full_eta")
    np.testing.assert_allclose(network.flows, value, atol=error, rtol=0)
    _, value, error = entry(TABLE, "opt_exp_nonrwa_n")
    np.testing.assert_allclose(non_rwa_occupations(**_device(p)), value, atol=error, rtol=0)
    _, value, error = entry(TABLE, "opt_exp_eff_n")
    with pytest.warns(ReservoirBandwidthWarning, match="broadband"):
        mapped = models.optomechanical_rectifier(**_device(p)).as_heat_rectifier(p["Omega"])
    two = rectifier_network(**{k: v for k, v in mapped.parameters.items() if k != "levels"})
    np.testing.assert_allclose(two.occupations, value, atol=error, rtol=0)
    # the map promises a diode, the three modes are none: contrast 0.9998 against 4.9e-5
    contrast = [(x.transmission(1, 0) - x.transmission(0, 1)) / (x.transmission(1, 0) + x.transmission(0, 1))
                for x in (two, network)]  # fmt: skip
    assert contrast[0] == pytest.approx(0.9998, abs=5e-5) and contrast[1] == pytest.approx(4.9e-5, abs=5e-7)
    # only a window of width gamma_m is non-reciprocal
    window = [abs(network.scattering(6.0 + x)[0, 1]) ** 2 for x in (0.0, 1e-4, 1e-3)]
    assert window == pytest.approx([1.0e-4, 0.5, 0.99], rel=0.03)  # two digits


@pytest.mark.parametrize("ratio", [10, 100, 1000])
def test_flat_reservoir(ratio):
    p, value, error = entry(TABLE, f"opt_flat_{ratio}")
    device = {
        "Delta_1": 0.0, "Delta_2": 0.0, "omega_m": 0.0, "J": p["J"], "G_1": p["G"], "G_2": p["G"], "phi": p["phi"],
        "kappa_1": p["kappa"], "kappa_2": p["kappa"], "gamma_m": p["gamma_m"], "N": p["N"],
    }  # fmt: skip
    network = three_mode_network(**device)
    np.testing.assert_allclose([*network.occupations, *network.flows], value, atol=error, rtol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        two = models.optomechanical_rectifier(**device).as_heat_rectifier(0.0)
    limit = rectifier_network(**{k: v for k, v in two.parameters.items() if k != "levels"})
    np.testing.assert_allclose([*limit.occupations, *limit.flows], [0.75, 0.475, -0.25, 0.275, -0.025], atol=1e-12)
    assert np.abs(network.occupations[:2] - limit.occupations).max() < 0.2 / ratio


def _cascade(p):
    F = complex(*p["F_nearest_neighbour"]) if p["F_nearest_neighbour"] else 0.0
    return {"omega": p["omega"], "gamma": p["gamma"], "kappa": p["kappa"], "N": p["N_local"], "F": F,
            "N_common": p["N_common"]}  # fmt: skip


@pytest.mark.parametrize("name", ["chain3", "chain6", "chain5_F"])
def test_cascades(name):
    p, value, error = entry(TABLE, f"{name}_n")
    network = cascaded_network(**_cascade(p))
    np.testing.assert_allclose(network.occupations, value, atol=error, rtol=0)
    _, value, error = entry(TABLE, f"{name}_eta")
    np.testing.assert_allclose(network.flows, value, atol=error, rtol=0)
    if name == "chain3":
        p, value, error = entry(TABLE, "chain3_noise")
        found = network.noise_matrix().diagonal()[p["baths"]]
        np.testing.assert_allclose(found, value, atol=error, rtol=0)


# -- truncated models --------------------------------------------------------------------------------------------------


def test_truncated_cascade():
    """Three oscillators with four levels each; what a level misses falls by r = n/(1+n) ~ 0.1."""
    p, value, _ = entry(TABLE, "chain3_n")
    _, flows, _ = entry(TABLE, "chain3_eta")
    errors = []
    for levels in (3, 4):
        model = models.cascaded_chain(**_cascade(p), levels=levels)
        result = mt.steady_state(model, mt.ExactDiag(), tol=1e-9, progress=False)
        n = np.array([result.expect(op("N", j)).real for j in range(3)])
        eta = np.array([float(result.expect(obs.bath_flow(model, b.label))) for b in model.baths])
        assert abs(eta.sum()) < 1e-9  # counted in truncated operators too
        errors.append((np.abs(n - value).max(), np.abs(eta - flows).max()))
    r = 0.102 / 1.102
    assert errors[1][0] < 3 * 4 * r**4 and errors[1][1] < 10 * 4 * r**4
    assert errors[1][0] < 0.25 * errors[0][0]


@pytest.mark.parametrize("levels", [5, pytest.param(8, marks=pytest.mark.slow)])
def test_truncated_rectifier(levels):
    p, _, _ = entry(TABLE, "fcs_low_theta")
    given = arguments(p)
    network = rectifier_network(**given)
    model = models.heat_rectifier(**given, levels=levels)
    result = mt.steady_state(model, mt.ExactDiag(), tol=1e-10, progress=False)
    flows = [float(result.expect(obs.bath_flow(model, b.label))) for b in model.baths]
    n = [float(result.expect(op("N", j)).real) for j in range(2)]
    r = network.occupations.max() / (1 + network.occupations.max())
    np.testing.assert_allclose(n, network.occupations, atol=3 * levels * r**levels)
    np.testing.assert_allclose(flows, network.flows, atol=10 * levels * r**levels)
    coherence = complex(result.expect(op("Adag", 0) * op("A", 1)))
    assert abs(coherence - network.C[1, 0]) < 10 * levels * r**levels


def test_a_cascade_has_a_small_bond_dimension():
    from mpo_transport.superoperator import lindbladian_mpo

    sizes = []
    for L in (6, 12):
        ones = [1.0] * L
        model = models.cascaded_chain([0.1 * j for j in range(L)], 0.8, ones, [0.1] * L, 0.2, levels=3)
        sizes.append(max(lindbladian_mpo(model).bond_dimensions))
    assert sizes[0] == sizes[1] <= 6


# -- identities --------------------------------------------------------------------------------------------------------


def test_closed_forms_against_the_covariance():
    rng = np.random.default_rng(5)
    for _ in range(30):
        N, F, theta = rng.uniform(0, 3, 3), complex(*rng.normal(size=2)), rng.uniform(0, 7)
        Delta, kappa = rng.normal(), rng.uniform(0.2, 2)
        network = equal(N, F, theta, Delta, kappa)
        f = F * np.exp(1j * theta)
        n = occupations(N, f, Delta, kappa)
        np.testing.assert_allclose(n, network.occupations, rtol=0, atol=3e-14 * N.max())
        m = disconnected_occupations(N, (kappa, kappa), (kappa, kappa))
        np.testing.assert_allclose(np.add(m, occupation_changes(N, f, Delta, kappa)), n, rtol=1e-13)
        T = transmissions(f, Delta, kappa)
        assert network.transmission(0, 1) == pytest.approx(T.T12, abs=1e-13)
        assert network.transmission(1, 0) == pytest.approx(T.T21, abs=1e-13)
        free = equal(N, 0.0, theta, Delta, kappa)
        np.testing.assert_allclose(flows_without_hopping(N, Delta, kappa), free.flows, atol=1e-13)


def test_unequal_rates_without_hopping():
    rng = np.random.default_rng(6)
    for _ in range(20):
        given = {**random_arguments(rng), "F": 0.0}
        kappa, gamma = (given["kappa_1"], given["kappa_2"]), (given["gamma_1"], given["gamma_2"])
        n = occupations_without_hopping(given["N"], kappa, gamma, given["omega_2"] - given["omega_1"])
        np.testing.assert_allclose(n, rectifier_network(**given).occupations, rtol=1e-13)


def test_linear_response_of_the_flows():
    """d eta_1/d N_2 = T_12 and d eta_2/d N_1 = T_21; their ratio is |A_21|^2/|A_12|^2 for any rates."""
    rng = np.random.default_rng(7)
    for _ in range(10):
        given = random_arguments(rng)
        base = rectifier_network(**given)
        T = np.array([[base.transmission(i, j) if i != j else 0.0 for j in range(3)] for i in range(3)])
        for j in range(2):
            N = np.array(given["N"])
            N[j] += 1.0
            change = rectifier_network(**{**given, "N": N}).flows - base.flows
            np.testing.assert_allclose(np.delete(change, j), np.delete(T[:, j], j), atol=1e-12)
        ratio = abs(base.A[1, 0]) ** 2 / abs(base.A[0, 1]) ** 2
        assert T[1, 0] / T[0, 1] == pytest.approx(ratio, rel=1e-11)
    assert transmissions(0.3 - 0.5j, 0.7).contrast == pytest.approx(0, abs=1e-15)


def test_only_the_first_flow_is_independent_of_the_other_temperature():
    """F = 0: d eta_1/d N_2 = 0, but d eta_2/d N_1 = kappa^3/(4 kappa^2 + Delta^2)."""
    Delta, kappa = 0.6, 0.8
    a, b, c = (equal(N, Delta=Delta, kappa=kappa).flows for N in ([1, 0.2, 0.5], [1, 1.2, 0.5], [2, 0.2, 0.5]))
    assert b[0] == pytest.approx(a[0], abs=1e-15)
    assert c[1] - a[1] == pytest.approx(kappa**3 / (4 * kappa**2 + Delta**2), rel=1e-12)


def test_quanta_are_conserved_and_entropy_is_produced():
    rng = np.random.default_rng(8)
    for _ in range(200):
        network = rectifier_network(**random_arguments(rng))
        assert abs(network.flows.sum()) < 1e-12 * np.abs(network.flows).max() + 1e-14
        assert network.entropy_production > -1e-13
    K = network.noise_matrix()
    np.testing.assert_allclose(K, K.T, atol=1e-12)
    np.testing.assert_allclose(K.sum(axis=1), 0, atol=1e-12)


def test_generating_function_symmetries():
    """theta(s + c) = theta(s); the fluctuation theorem needs the reversed system once reciprocity is broken."""
    given = {**random_arguments(np.random.default_rng(9)), "N": np.array([1.0, 0.4, 0.7])}
    network = rectifier_network(**given)
    reverse = PassiveNetwork(network.h.conj(), network.w.conj(), network.N)
    s = np.array([0.1, -0.15, 0.2])
    A = np.log1p(1 / network.N)
    assert network.theta(s) == pytest.approx(network.theta_by_scattering(s), abs=1e-12)
    assert network.theta(s + 0.3) == pytest.approx(network.theta(s), abs=1e-12)
    assert network.theta(0 * s) == pytest.approx(0, abs=1e-12)
    assert reverse.theta(A - s) == pytest.approx(network.theta(s), abs=1e-12)
    assert abs(network.theta(A - s) - network.theta(s)) > 1e-4
    step = 1e-4
    gradient = [(network.theta(step * e) - network.theta(-step * e)) / (2 * step) for e in np.eye(3)]
    np.testing.assert_allclose(gradient, -network.flows, atol=1e-7)


def test_domain_of_the_generating_function():
    """F = Delta = 0, equal rates: theta along s_1 lives on -A_3 < s_1 < A_1 = ln 2, A_3 = ln 3 for N = 1, 1/2."""
    network = equal([1.0, 0.2, 0.5])
    for inside, outside in ((math.log(2) - 1e-3, math.log(2) + 1e-3), (-math.log(3) + 1e-3, -math.log(3) - 1e-3)):
        assert math.isfinite(network.theta([inside, 0, 0])) and math.isnan(network.theta([outside, 0, 0]))
    with pytest.raises(ValueError, match="radius"):
        network.cumulants(0, radius=0.8)


def test_perfect_cascade_hides_the_second_oscillator():
    given = {**random_arguments(np.random.default_rng(10)), "F": 0.0, "N": np.array([1.0, 0.4, 0.7])}
    a = rectifier_network(**given)
    b = rectifier_network(**{**given, "N": [1.0, 3.0, 0.7], "kappa_2": 0.05, "omega_2": 9.0})
    assert a.occupations[0] == pytest.approx(b.occupations[0], rel=1e-13)
    np.testing.assert_allclose(a.cumulants(0), b.cumulants(0), atol=1e-9)


def test_equilibrium_gauge_and_large_detuning():
    given = random_arguments(np.random.default_rng(11))
    cold = rectifier_network(**{**given, "N": [0.7] * 3})
    np.testing.assert_allclose(cold.C, 0.7 * np.eye(2), atol=1e-13)
    np.testing.assert_allclose(cold.flows, 0, atol=1e-13)
    a = rectifier_network(**given)
    b = rectifier_network(**{**given, "F": given["F"] * np.exp(-0.9j), "theta": given["theta"] + 0.9})
    np.testing.assert_allclose(a.occupations, b.occupations, rtol=1e-13)
    np.testing.assert_allclose(a.noise_matrix(), b.noise_matrix(), atol=1e-12)
    far = rectifier_network(**{**given, "omega_2": 1e6})
    kappa, gamma = (given["kappa_1"], given["kappa_2"]), (given["gamma_1"], given["gamma_2"])
    np.testing.assert_allclose(far.occupations, disconnected_occupations(given["N"], kappa, gamma), atol=1e-5)


def test_long_cascades():
    L = 40
    ones = np.ones(L)
    network = cascaded_network(0 * ones, ones, ones, [0.3, *(0 * ones[1:])], 0.0)
    flows = cascade_flows(L, 0.3)
    np.testing.assert_allclose(network.flows[:-1], flows.local, atol=1e-15)
    assert network.flows[-1] == pytest.approx(flows.common, abs=1e-15)
    a = cascade_coefficients(12)
    np.testing.assert_allclose(a, [math.comb(2 * m, m) / (4**m * (2 * m - 1)) for m in range(1, 13)], rtol=1e-14)
    assert cascade_flows(4000, 1.0).common * math.sqrt(math.pi * 3999) * 2 == pytest.approx(1, abs=1e-3)


def test_upstream_is_independent_of_downstream():
    p, _, _ = entry(TABLE, "chain3_n")
    given = _cascade(p)
    changed = {**given, "N": [*given["N"][:2], 5.0], "kappa": [*given["kappa"][:2], 3.0], "omega": [0.0, 0.2, 7.0]}
    a, b = cascaded_network(**given), cascaded_network(**changed)
    np.testing.assert_allclose(a.C[:2, :2], b.C[:2, :2], atol=1e-15)
    assert abs(a.occupations[2] - b.occupations[2]) > 0.1


@pytest.mark.parametrize(
    ("h", "w", "N"),
    [
        ([[0, 1], [0, 0]], [[1, 0]], [1.0]),
        ([[0]], [[1, 0]], [1.0]),
        ([[0]], [[1]], [1.0, 2.0]),
        ([[0]], [[1]], [-0.1]),
        ([[0]], [[1]], [math.nan]),
    ],
)
def test_bad_networks_are_named(h, w, N):
    with pytest.raises(ValueError, match="Argument"):
        PassiveNetwork(h, w, N)


def test_a_free_mode_has_no_steady_state():
    with pytest.raises(ValueError, match="no bath"):
        _ = PassiveNetwork(np.zeros((2, 2)), np.array([[1.0, 0.0]]), [1.0]).C


def test_every_entry_of_the_table_is_used():
    used = {
        *(f"{a}_{b}" for a in ("fnr_res", "gen_cplx") for b in MEAN), "fnr_det_n", "fnr_det_eta", "gen_rates_n",
        "gen_rates_eta", "fcs_fnr_theta", "fcs_low_theta", "fig2_isosurface", "fig3_left", "fig3_right",
        "fig3_left_exp", "nonreciprocity", "smatrix", "transient", "opt_exp_full_n", "opt_exp_full_eta",
        "opt_exp_eff_n", "opt_exp_nonrwa_n", *(f"opt_flat_{x}" for x in (10, 100, 1000)), "chain3_noise",
        *(f"{a}_{b}" for a in ("chain3", "chain6", "chain5_F") for b in ("n", "eta")),
        *(f"fcs_{a}_cum{b}" for a in ("fnr", "low") for b in (1, 2)),
    }  # fmt: skip
    assert used == identifiers(TABLE)
