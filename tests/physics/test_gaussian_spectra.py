"""Spectra, noise, scattering and relaxation of quadratic models: matrices, quadrature, published numbers."""

import itertools
import json
import math

import numpy as np
import pytest
import scipy.integrate as si
import systems

import mpo_transport as mt
from mpo_transport import Boson, Chain, Jump, Lindbladian, OpSum, SpinHalf, models, op
from mpo_transport import observables as obs
from mpo_transport.reference.boundary_driven import xx_cumulant_generating_function, xx_gap
from mpo_transport.regression import coherence_function, correlation_function, power_spectrum
from mpo_transport.response import GaussianRegression, stationary_state
from mpo_transport.spectrum import gap, rapidities, spectrum
from mpo_transport.superoperator import quadratic_form

XX = dict(t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)


def reference(table, identifier):
    entries = json.loads((systems.REFERENCE / f"{table}.json").read_text(encoding="utf-8"))
    return next(e for e in entries if e["id"] == identifier)


def ring(identifier, picture):
    p = reference("optomechanical_lattices", identifier)["parameters"]
    assert p["phi"] == "2*pi/8" and p["L"] == 8
    names = {
        "J": "J",
        "Delta_tilde": "Dt",
        "G_abs": "G_abs",
        "gamma_c": "gamma_c",
        "gamma_m": "gamma_m",
        "nbar": "nbar",
    }
    return models.optomechanical_ring(
        8, 2 * math.pi / 8, picture=picture, **{new: p[old] for old, new in names.items()}
    )


def rectifier(p, **changes):
    rates = {k: p[k] for k in ("omega_1", "omega_2", "gamma_1", "gamma_2", "kappa_1", "kappa_2", "theta")}
    rates = rates | {"F": complex(p["F_re"], p["F_im"]), "N": p.get("N", (1.0, 0.2, 0.5))} | changes
    return models.heat_rectifier(**rates)


# -- against exact diagonalisation -------------------------------------------------------------------------------------


def squeezed_pair(levels):
    """Two modes at low occupation, all terms that a quadratic model can have."""
    a, b = op("A", 0), op("A", 1)
    h = 0.7 * op("N", 0) - 0.4 * op("N", 1) + 0.02 * (a + a.dag)
    for term in ((0.3 + 0.2j) * a.dag * b, 0.01 * a.dag * b.dag, 0.005j * a.dag * a.dag):
        h = h + term + term.dag
    jumps = [Jump(a, 1.005), Jump(a.dag, 0.005), Jump(b + 0.1 * a + 0.02j, 0.8), Jump(b.dag, 0.004)]
    return Lindbladian(Chain(2, Boson(levels)), h, jumps)


@pytest.fixture(scope="module")
def truncated():
    model = squeezed_pair(5)
    return model, systems.dense_steady_state(model)


PAIRS = [
    (op("A", 0), op("Adag", 1)),
    (op("N", 0), op("Adag", 1) * op("A", 0)),
    (op("N", 1) + op("A", 0), op("N", 0) + 0.3j * op("Q", 1)),
]


@pytest.mark.parametrize("k", range(len(PAIRS)))
def test_bosons_agree_with_truncated_modes(truncated, k):
    """Five levels: occupations are below 0.006, so that the weight beyond them is (n/(1+n))^5 < 1e-11.

    What is wrong at the last level comes in with the coherence sqrt(p_3 p_4) ~ 2e-8 times a factor up to 5.
    """
    model, state = truncated
    times = [0.0, 0.3, 1.0, 2.5]
    ours = correlation_function(squeezed_pair(math.inf), *PAIRS[k], times)
    assert np.abs(ours - correlation_function(model, *PAIRS[k], times, state=state)).max() < 1e-7
    exact = power_spectrum(model, *PAIRS[k], [0.4], state=state)
    assert np.abs(power_spectrum(squeezed_pair(math.inf), *PAIRS[k], [0.4]) - exact).max() < 1e-7


@pytest.mark.parametrize("order", [1, 2])
def test_coherences_agree_with_truncated_modes(truncated, order):
    model, state = truncated
    times = [0.0, 0.3, 1.0, 2.5]
    ours = coherence_function(squeezed_pair(math.inf), times, 0, to=1, order=order)
    exact = coherence_function(model, times, 0, to=1, order=order, state=state)
    # the population 1e-9 of the last level counts five times, and is divided by n^2 = 3e-5 in the second order
    assert np.abs(ours - exact).max() < (1e-6 if order == 1 else 2e-4)


def xy_chain(L=4):
    h = sum((0.3 * (j - 1) * op("Z", j) for j in range(L)), OpSum())
    for j in range(L - 1):
        for term in ((0.8 - 0.3j) * op("Sp", j) * op("Sm", j + 1), (0.2 + 0.1j * j) * op("Sp", j) * op("Sp", j + 1)):
            h = h + term + term.dag
    jumps = [Jump(op("Sm", 0) + 0.3 * op("Sp", 0), 0.7), Jump(op("Sm", L - 1), 0.5), Jump(op("Sp", L - 1), 0.3)]
    return Lindbladian(Chain(L, SpinHalf()), h, jumps)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (op("Z", 1), op("Z", 3)),
        (op("Sp", 0) * op("Z", 1) * op("Sm", 2) + 0.3 * op("Z", 1), op("Sp", 2) * op("Sp", 3) + 0.2j * op("Z", 0)),
        (op("X", 0) * op("Y", 1), op("Sm", 2) * op("Sp", 3)),
    ],
)
def test_fermions_agree_with_matrices(a, b):
    chain = xy_chain()
    times, grid = np.linspace(0, 4, 9), [-0.8, 0.0, 1.1]
    work = GaussianRegression(chain, quadratic_form(chain), None)
    first, second = work.operator(a, "a"), work.operator(b, "b")
    for connected in (False, True):
        exact = correlation_function(chain, a, b, times, connected=connected)
        assert np.abs(work.correlation(first, second, times, connected) - exact).max() < 1e-12
    both = work.one_sided(first, second, grid, 1e-9) + work.one_sided(second.dag, first.dag, grid, 1e-9).conj()
    assert np.abs(both - power_spectrum(chain, a, b, grid)).max() < 1e-11


def test_longer_chains_are_treated_as_fermions():
    """The two roads meet at seven sites, where the moments take over."""
    chain = models.boundary_driven_xx(7, **XX)
    current = obs.current(chain).operators[3]
    ours = correlation_function(chain, current, op("Z", 5), [0.0, 1.5])
    state = mt.steady_state(chain, mt.ExactDiag(), tol=1e-9, progress=False).state
    exact = correlation_function(chain, current, op("Z", 5), [0.0, 1.5], state=state)
    assert np.abs(ours - exact).max() < 1e-9


# -- quadrature and sum rules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(len(PAIRS)))
def test_the_integral_of_a_spectrum_is_the_value_at_equal_times(k):
    model, (a, b) = squeezed_pair(math.inf), PAIRS[k]
    equal = correlation_function(model, a, b, [0.0], connected=True)[0]
    # frequency w = tan(x): a Lorentzian tail becomes smooth, and the periodic trapezoidal rule converges fast
    x = (np.arange(400) + 0.5) * np.pi / 400 - np.pi / 2
    values = power_spectrum(model, a, b, np.tan(x)) / np.cos(x) ** 2
    assert values.mean() / 2 == pytest.approx(equal, abs=1e-10)


def test_the_spectrum_is_the_transform_of_the_correlation():
    model, (a, b) = squeezed_pair(math.inf), PAIRS[2]
    w = 0.4
    nodes, weights = np.polynomial.legendre.leggauss(400)
    times, weights = 40 * (nodes + 1), 40 * weights  # e^{-80 x 0.3} is left
    forth = correlation_function(model, a, b, times, connected=True)
    back = correlation_function(model, b.dag, a.dag, times, connected=True).conj()
    direct = weights @ (np.exp(1j * w * times) * forth + np.exp(-1j * w * times) * back)
    assert power_spectrum(model, a, b, [w])[0] == pytest.approx(direct, abs=1e-8)


def test_integrated_transmission_is_the_integral_of_the_scattering_matrix():
    p = reference("heat_rectifier", "smatrix")["parameters"]
    model = rectifier(p)
    x = (np.arange(300) + 0.5) * np.pi / 300 - np.pi / 2
    squares = mt.scattering_matrix(model, np.tan(x)).probabilities / np.cos(x)[:, None, None] ** 2
    off = ~np.eye(3, dtype=bool)
    assert np.abs(squares.mean(axis=0)[off] / 2 - mt.transmission(model).normal[off]).max() < 1e-12


# -- noise of currents -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bond", [0, 4, 8])
def test_current_noise_of_the_xx_chain_is_the_second_cumulant(bond):
    """At zero frequency every bond has the noise of the particles counted at the end, by the Levitov formula."""
    L = 10
    chain = models.boundary_driven_xx(L, **XX)
    current = obs.current(chain).operators[bond]
    noise = power_spectrum(chain, current, current, [0.0])[0]
    h = 0.02
    values = [xx_cumulant_generating_function(k * h, L, *XX.values()) for k in (-2, -1, 0, 1, 2)]
    second = np.dot([-1, 16, -30, 16, -1], values) / (12 * h * h)  # rest: h^4 of the sixth cumulant / 90
    assert noise == pytest.approx(second, abs=1e-7)


def test_noise_of_the_persistent_current():
    entry = reference("optomechanical_lattices", "current_noise")
    model = ring("current_noise", "effective")
    pairs = [(l, (l + p) % 8) for p in (1, 2, 3) for l in range(8)]
    total = sum(obs.pair_current(model, pairs, normalisation="half").operators, OpSum())
    mean = stationary_state(model).expect(total).real
    variance = correlation_function(model, total, total, [0.0], connected=True)[0].real
    noise = power_spectrum(model, total, total, [0.0])[0]
    assert np.abs(np.array([mean, variance, noise]) - entry["values"]).max() < entry["abs_uncertainty"]


def test_pair_current_of_a_chain_is_its_current():
    chain = models.boundary_driven_xx(4, [1.0, 0.6j, 0.8], 0.6, 0.9, 1.4, 0.2)
    state = stationary_state(chain)
    assert np.abs(obs.pair_current(chain).evaluate(state) - obs.current(chain).evaluate(state)).max() < 1e-15


def test_photon_current_of_a_link():
    entry = reference("optomechanical_lattices", "photon_link_current")
    model = ring("photon_link_current", "full")
    state = stationary_state(model)
    links = obs.pair_current(model, [(2 * l, 2 * ((l + 1) % 8)) for l in range(8)]).evaluate(state)
    numbers = [state.expect(op("N", 2 * l)).real for l in range(8)]
    assert np.abs(numbers - np.float64(entry["values"][0])).max() < 2 * entry["abs_uncertainty"]
    assert np.abs(links - entry["values"][1]).max() < 2 * entry["abs_uncertainty"]


def test_coherences_between_the_resonators():
    entry = reference("optomechanical_lattices", "fig5c_g1_phase")
    p = entry["parameters"]
    J = 5 * p["gamma_c"]
    rest = {k: p[k] for k in ("G_abs", "gamma_c", "gamma_m", "nbar")}
    for picture, site, suffix in (("effective", lambda l: l, ""), ("full", lambda l: 2 * l + 1, "_exact")):
        model = models.optomechanical_ring(8, 2 * math.pi / 8, J=J, Dt=-J - 1, picture=picture, **rest)
        g1 = obs.g1(model, [(site(0), site(l)) for l in range(1, 5)]).evaluate(stationary_state(model))
        expected = np.array(entry["values"]["re" + suffix]) + 1j * np.array(entry["values"]["im" + suffix])
        assert np.abs(g1 - expected).max() < 1e-9


def test_sideband_asymmetry_of_the_light():
    """Photons at omega_m below and above the drive come with the weights n + 1 and n."""
    model = models.optomechanical_lattice(
        [[0.0]], J=0.0, Dt=0.0, G=1e-3, gamma_c=0.2, gamma_m=1e-2, nbar=1.0, picture="full"
    )
    # resonant drive: both sidebands pass the cavity alike; photons of frequency w appear at -w
    stokes, anti_stokes = power_spectrum(model, op("Adag", 0), op("A", 0), [1.0, -1.0])
    # off by the tail of the other peak, (gamma_m/4)^2, and the heating by light, G^2 gamma_c/gamma_m
    assert stokes / anti_stokes == pytest.approx(2.0, rel=1e-3)


# -- scattering --------------------------------------------------------------------------------------------------------


def test_scattering_matrix_of_the_rectifier():
    entry = reference("heat_rectifier", "smatrix")
    s = mt.scattering_matrix(rectifier(entry["parameters"]), [entry["parameters"]["omega"]])
    assert s.labels == ("bath_1", "bath_2", "common")
    assert np.abs(s.probabilities[0] - entry["value"]).max() < 10 * entry["abs_uncertainty"]


def test_non_reciprocity_of_the_rectifier():
    entry = reference("heat_rectifier", "nonreciprocity")
    p = entry["parameters"]
    rates = dict.fromkeys(("gamma_1", "gamma_2", "kappa_1", "kappa_2"), p["kappa"])
    for re, im, t12, t21, contrast in entry["value"]:
        t = mt.transmission(
            rectifier({"omega_1": 0.0, "omega_2": p["Delta"], "theta": 0.0, "F_re": re, "F_im": im, **rates})
        )
        found = [t.normal[0, 1], t.normal[1, 0], t.contrast("bath_1", "bath_2")]
        assert np.abs(np.array(found) - [t12, t21, contrast]).max() < 1e-13


@pytest.mark.parametrize("identifier", ["fnr_res_S", "gen_cplx_S"])
def test_entropy_of_the_rectifier(identifier):
    entry = reference("heat_rectifier", identifier)
    entropy = obs.entropy().evaluate(stationary_state(rectifier(entry["parameters"])))
    assert entropy == pytest.approx(entry["value"], abs=2 * entry["abs_uncertainty"])


@pytest.mark.parametrize("identifier", ["fcs_low_cum1", "fcs_low_cum2"])
def test_first_cumulants_follow_from_the_transmissions(identifier):
    entry = reference("heat_rectifier", identifier)
    t = mt.transmission(rectifier(entry["parameters"]))
    i = int(identifier[-1]) - 1
    flow = t.normal[i] @ (t.occupations - t.occupations[i])
    assert flow == pytest.approx(entry["value"][0], abs=1e-9)


# -- relaxation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("L", [20, 100, pytest.param(400, marks=pytest.mark.slow)])
def test_gap_of_long_xx_chains(L):
    found = gap(models.boundary_driven_xx(L, **XX), sector={"parity": "even"})
    assert found == pytest.approx(xx_gap(L, 1.0, 0.6, 1.4), abs=max(2 * found.error, 1e-15))
    assert found.error < 1e-6 * found and found.null_space == 1


def test_gap_of_the_thermodynamic_scaling():
    """L^-3: the ratio of the gaps of 80 and 160 sites is 8 up to corrections of order 1/L."""
    first, second = (gap(models.boundary_driven_xx(L, **XX), sector={"charge": 0}) for L in (80, 160))
    assert first / second == pytest.approx(8, rel=0.05)


def test_rapidities_of_the_chain_of_resonators():
    entry = reference("optomechanical_lattices", "chain6_rapidities")
    p = reference("optomechanical_lattices", "chain6")["parameters"]
    assert p["G"] == "0.02 exp(i l pi/3)"
    G = 0.02 * np.exp(1j * np.pi / 3 * np.arange(6))
    rest = {k: p[k] for k in ("gamma_c", "gamma_m", "nbar")}
    links = np.diag(np.ones(5), 1) + np.diag(np.ones(5), -1)
    model = models.optomechanical_lattice(links, J=p["J"], Dt=p["Delta_tilde"], G=G, picture="effective", **rest)
    found = rapidities(model)[::-1] + 1j  # fastest first, in the frame of omega_m
    expected = np.array(entry["values"]["re"]) + 1j * np.array(entry["values"]["im"])
    assert np.abs(found - expected).max() < entry["abs_uncertainty"]
    assert gap(model) == pytest.approx(-expected.real.max(), abs=1e-12)
    slowest = spectrum(model, 40).eigenvalues
    sums = np.array([x + y for x, y in itertools.product(expected - 1j, (expected - 1j).conj())])
    neutral = spectrum(model, 10, sector={"charge": 0}).eigenvalues[1:]
    assert all(np.abs(sums - value).min() < 1e-11 for value in neutral)
    assert np.all(np.diff(slowest.real) < 1e-12)


def test_the_gap_governs_the_late_decay():
    chain = models.boundary_driven_xx(40, **XX)
    rate = gap(chain, sector={"charge": 0})
    late = [30 / rate, 31 / rate]
    state = mt.GaussianState.product(chain.lattice, "down")
    profile = correlation_function(chain, op("N", 20), mt.identity(), late, state=state).real
    steady = stationary_state(chain).expect(op("N", 20)).real
    assert abs(profile[0] - steady) < 1e-9  # e^{-30}
    early = [6 / rate, 7 / rate]
    profile = correlation_function(chain, op("N", 20), mt.identity(), early, state=state).real - steady
    assert profile[1] / profile[0] == pytest.approx(math.exp(-1), rel=1e-3)


def test_optical_spectrum_by_quadrature_of_the_equation_of_motion():
    """<c^+(t) c(0)> of the full model integrated numerically from d/dt <R(t) c> = X <R(t) c>."""
    model = models.optomechanical_lattice(
        {"L": 2, "edges": [[0, 1]]},
        J=0.2,
        Dt=-0.9,
        G=[0.05, 0.03j],
        gamma_c=0.2,
        gamma_m=0.05,
        nbar=2.0,
        picture="full",
    )
    x = quadratic_form(model).moments().drift
    start = stationary_state(model)
    n = model.L
    rows = [correlation_function(model, o, op("A", 0), [0.0], connected=True)[0] for o in _quadratures(n)]
    times = np.linspace(0.0, 12.0, 5)
    flow = si.solve_ivp(
        lambda t, y: x @ y, (0, 12), np.array(rows), t_eval=times, rtol=1e-11, atol=1e-13, method="DOP853"
    )
    light = (flow.y[0] - 1j * flow.y[n]) / math.sqrt(2)
    assert np.abs(light - correlation_function(model, op("Adag", 0), op("A", 0), times)).max() < 1e-9
    assert light[0].real == pytest.approx(start.expect(op("N", 0)).real, rel=1e-12)


def _quadratures(n):
    return [*(op("Q", j) for j in range(n)), *(op("P", j) for j in range(n))]
