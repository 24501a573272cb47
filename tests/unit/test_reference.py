"""The closed forms against the shipped reference tables and against dense linear algebra written here."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg as sla

from mpo_transport.reference import boundary_driven as bd
from mpo_transport.reference import persistent_currents as pc

DATA = Path(__file__).resolve().parents[2] / "data" / "reference"
CURRENTS = {e["id"]: e for e in json.loads((DATA / "persistent_currents.json").read_text(encoding="utf-8"))}
CHAINS = {c["id"]: c for c in json.loads((DATA / "exact_benchmarks.json").read_text(encoding="utf-8"))["cases"]}

LOWER = np.array([[0, 0], [1, 0]], dtype=complex)
RAISE = LOWER.T
UP = RAISE @ LOWER
X, Y, Z = RAISE + LOWER, -1j * (RAISE - LOWER), np.diag([1.0, -1.0])


def family(name):
    return [pytest.param(c, id=c["id"]) for c in CHAINS.values() if c["family"] == name]


def at_sites(values, table):
    """Values on the sites (from 1) that a table lists, and what it lists."""
    return [values[int(k) - 1] for k in table], list(table.values())


def on(matrix, site, L):
    d = matrix.shape[0]
    return np.kron(np.kron(np.eye(d**site), matrix), np.eye(d ** (L - site - 1)))


def steady(h, jumps):
    """Null vector of the dense Lindbladian, trace 1."""
    D = len(h)
    one = np.eye(D)
    generator = -1j * (np.kron(h, one) - np.kron(one, h.T))
    for a in jumps:
        ada = a.conj().T @ a
        generator += np.kron(a, a.conj()) - 0.5 * np.kron(ada, one) - 0.5 * np.kron(one, ada.T)
    _, s, vh = np.linalg.svd(generator)
    assert s[-2] > 1e-8, "the steady state must be unique for this test"
    rho = vh[-1].conj().reshape(D, D)
    return rho / np.trace(rho)


def mean(rho, operator):
    return np.trace(rho @ operator)


# -- boundary-driven chains --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", family("xx_dephasing"))
def test_xx_chain_table(case):
    p, o = case["params"], case["observables"]
    got = bd.xx_chain(case["L"], p["t"], p["Gamma_L"], p["f_L"], p["Gamma_R"], p["f_R"], dephasing=p["gamma"])
    assert got.current == pytest.approx(o["particle_current"], rel=1e-12)
    np.testing.assert_allclose(*at_sites(got.density, o["density_sites"]), rtol=1e-11)
    assert got.density.sum() == pytest.approx(o["density_sum"], rel=1e-12)


def test_xx_chain_against_dense():
    L, t, G_L, f_L, G_R, f_R, gamma = 4, 0.7, 0.6, 0.9, 1.4, 0.2, 0.3
    h = sum(t * (on(RAISE, j, L) @ on(LOWER, j + 1, L) + on(LOWER, j, L) @ on(RAISE, j + 1, L)) for j in range(L - 1))
    jumps = [np.sqrt(G_L * f_L) * on(RAISE, 0, L), np.sqrt(G_L * (1 - f_L)) * on(LOWER, 0, L)]
    jumps += [np.sqrt(G_R * f_R) * on(RAISE, L - 1, L), np.sqrt(G_R * (1 - f_R)) * on(LOWER, L - 1, L)]
    jumps += [np.sqrt(gamma) * on(UP, j, L) for j in range(L)]
    rho = steady(h, jumps)
    got = bd.xx_chain(L, t, G_L, f_L, G_R, f_R, dephasing=gamma)
    np.testing.assert_allclose(got.density, [mean(rho, on(UP, j, L)).real for j in range(L)], atol=1e-13)
    assert got.current == pytest.approx(G_L * (f_L - mean(rho, on(UP, 0, L)).real), abs=1e-13)


@pytest.mark.parametrize("case", family("boson_chain"))
def test_boson_chain_table(case):
    p, o = case["params"], case["observables"]
    got = bd.boson_chain(case["L"], p["t"], p["gain_L"], p["loss_L"], p["gain_R"], p["loss_R"], dephasing=p["gamma"])
    assert got.current == pytest.approx(o["particle_current"], rel=1e-12)
    np.testing.assert_allclose(*at_sites(got.density, o["density_sites"]), rtol=1e-11)
    if "occupation_probability_site_10" in o:
        expected = o["occupation_probability_site_10"]
        np.testing.assert_allclose(bd.occupation_probabilities(got.density[9], len(expected)), expected, rtol=1e-11)


@pytest.mark.parametrize("case", family("xxz_maximal_driving"))
def test_xxz_table(case):
    p, o = case["params"], case["observables"]
    got = bd.xxz_maximally_driven(case["L"], p["Delta"], J=p["J"], eps=p["epsilon"])
    assert got.current == pytest.approx(o["spin_current"], rel=1e-11)
    np.testing.assert_allclose(*at_sites(got.sigma_z, o["sz_sites"]), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(got.sigma_z, -got.sigma_z[::-1], atol=1e-12)


@pytest.mark.parametrize("Delta", [1.0, -1.0, 0.3, -0.5, 1.5, -1.2, 0.0])
def test_xxz_against_dense(Delta):
    L, J, eps = 4, 0.8, 1.7
    h = sum(
        J * (on(X, j, L) @ on(X, j + 1, L) + on(Y, j, L) @ on(Y, j + 1, L) + Delta * on(Z, j, L) @ on(Z, j + 1, L))
        for j in range(L - 1)
    )
    rho = steady(h, [np.sqrt(eps) * on(RAISE, 0, L), np.sqrt(eps) * on(LOWER, L - 1, L)])
    got = bd.xxz_maximally_driven(L, Delta, J=J, eps=eps)
    np.testing.assert_allclose(got.sigma_z, [mean(rho, on(Z, j, L)).real for j in range(L)], atol=1e-12)
    current = 2 * J * (on(X, 1, L) @ on(Y, 2, L) - on(Y, 1, L) @ on(X, 2, L))
    assert got.current == pytest.approx(mean(rho, current).real, abs=1e-12)


def test_xxz_is_continuous_at_the_isotropic_point_and_finite_when_long():
    near, at = (bd.xxz_maximally_driven(30, D, eps=4.0) for D in (1 + 1e-9, 1.0))
    np.testing.assert_allclose(near.sigma_z, at.sigma_z, atol=1e-6)
    long = bd.xxz_maximally_driven(1500, 1.0, eps=4.0)
    assert long.current * 1500**2 * 4 / (8 * np.pi**2) == pytest.approx(1.0, rel=2e-3)
    np.testing.assert_allclose(long.sigma_z, np.cos(np.pi * (np.arange(1500) + 0.5) / 1500), atol=2e-3)
    assert np.all(np.isfinite(bd.xxz_maximally_driven(900, 1.5, eps=2.0).sigma_z))


@pytest.mark.parametrize("case", family("ssep"))
def test_exclusion_table(case):
    p, o = case["params"], case["observables"]
    got = bd.exclusion(case["L"], p["alpha"], p["beta"], p["gamma"], p["delta"])
    assert got.current == pytest.approx(o["particle_current"], rel=1e-12)
    np.testing.assert_allclose(*at_sites(got.density, o["density_sites"]), rtol=1e-12)
    for pair, value in o["connected_nn"].items():
        i, j = (int(k) - 1 for k in pair.split(","))
        assert got.connected[i, j] == pytest.approx(value, rel=1e-11)


def test_exclusion_against_rate_equations():
    L, alpha, beta, gamma, delta = 4, 0.7, 0.3, 0.2, 0.9
    states = list(itertools.product([0, 1], repeat=L))
    rates = np.zeros((2**L, 2**L))

    def move(source, target, rate):
        a, b = states.index(source), states.index(tuple(target))
        rates[b, a] += rate
        rates[a, a] -= rate

    for s in states:
        move(s, (1 - s[0], *s[1:]), gamma if s[0] else alpha)
        move(s, (*s[:-1], 1 - s[-1]), beta if s[-1] else delta)
        for j in range(L - 1):
            if s[j] != s[j + 1]:
                swapped = list(s)
                swapped[j], swapped[j + 1] = s[j + 1], s[j]
                move(s, swapped, 1.0)
    p = sla.null_space(rates)[:, 0]
    p /= p.sum()
    n = np.array(states, dtype=float)
    density = p @ n
    got = bd.exclusion(L, alpha, beta, gamma, delta)
    np.testing.assert_allclose(got.density, density, atol=1e-13)
    np.testing.assert_allclose(got.connected, (n.T * p) @ n - np.outer(density, density), atol=1e-13)
    assert got.current == pytest.approx(alpha * (1 - density[0]) - gamma * density[0], abs=1e-13)


@pytest.mark.parametrize("case", family("xx_gap"))
def test_xx_gap_table(case):
    p = case["params"]
    got = bd.xx_gap(case["L"], p["t"], p["Gamma_L"], p["Gamma_R"])
    assert got == pytest.approx(case["observables"]["gap_even_parity_sector"], rel=1e-9)


@pytest.mark.parametrize("case", family("xx_dephasing_gap"))
def test_xx_dephasing_gap_table(case):
    p = case["params"]
    got = bd.xx_dephasing_gap(case["L"], p["t"], p["Gamma_L"], p["Gamma_R"], p["gamma"])
    assert got == pytest.approx(case["observables"]["slowest_two_point_decay_rate"], rel=1e-9)


@pytest.mark.parametrize("case", family("ring_dephasing_gap"))
def test_ring_dephasing_gap_table(case):
    p = case["params"]
    assert bd.ring_dephasing_gap(case["L"], p["t"], p["gamma"]) == pytest.approx(
        case["observables"]["analytic_infinite_ring"], rel=1e-9
    )


@pytest.mark.parametrize("case", family("xx_dephasing_quench"))
def test_quench_table(case):
    p, L = case["params"], case["L"]
    times = [float(t) for t in case["observables"]]
    density, current = bd.xx_quench(
        times, p["initial_occupation"], p["t"], p["Gamma_L"], p["f_L"], p["Gamma_R"], p["f_R"], dephasing=p["gamma"]
    )
    for k, o in enumerate(case["observables"].values()):
        assert density[k].sum() == pytest.approx(o["density_total"], abs=1e-8)
        np.testing.assert_allclose(*at_sites(density[k], o["density_sites"]), atol=1e-8)
        assert current[k, L // 2 - 1] == pytest.approx(o["current_mid_bond"], abs=1e-8)


def test_quench_relaxes_to_the_steady_state():
    arguments = (0.8, 0.9, 0.7, 1.3, 0.1)
    density, current = bd.xx_quench([300.0], [0, 1, 1, 0, 1], *arguments, dephasing=0.4)
    t, G_L, f_L, G_R, f_R = arguments
    limit = bd.xx_chain(5, t, G_L, f_L, G_R, f_R, dephasing=0.4)
    np.testing.assert_allclose(density[0], limit.density, atol=1e-9)
    np.testing.assert_allclose(current[0], limit.current, atol=1e-9)


@pytest.mark.parametrize("case", family("xx_full_counting"))
def test_counting_table(case):
    p = case["params"]
    arguments = (case["L"], p["t"], p["Gamma_L"], p["f_L"], p["Gamma_R"], p["f_R"])
    for chi, value in case["observables"]["scgf"].items():
        got = bd.xx_cumulant_generating_function(float(chi), *arguments)
        assert got == pytest.approx(value, rel=1e-8)
    h = 1e-3
    slope = [bd.xx_cumulant_generating_function(x, *arguments) for x in (-h, h)]
    assert (slope[1] - slope[0]) / (2 * h) == pytest.approx(case["observables"]["c1"], abs=1e-6)


@pytest.mark.parametrize("case", family("kerr_site"))
def test_kerr_table(case):
    got, o = bd.kerr_oscillator(**case["params"]), case["observables"]
    assert got.amplitude == pytest.approx(o["a_re"] + 1j * o["a_im"], abs=1e-11)
    assert got.occupation == pytest.approx(o["n"], rel=1e-11)
    assert got.g2 == pytest.approx(o["g2"], rel=1e-11)
    assert got.moment(0, 0) == pytest.approx(1.0, abs=1e-14)
    assert got.moment(1, 2) == pytest.approx(np.conj(got.moment(2, 1)), abs=1e-13)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: bd.xx_chain(1, 1.0, 1.0, 0.5, 1.0, 0.5), "L"),
        (lambda: bd.xx_chain(4, 0.0, 1.0, 0.5, 1.0, 0.5), "t"),
        (lambda: bd.xx_chain(4, 1.0, -1.0, 0.5, 1.0, 0.5), "G_L"),
        (lambda: bd.xx_chain(4, 1.0, 1.0, 0.5, 1.0, np.nan), "f_R"),
        (lambda: bd.boson_chain(4, 1.0, 1.0, 0.5, 0.1, 1.0), "loss_L"),
        (lambda: bd.xxz_maximally_driven(4, 1.0, eps=0.0), "eps"),
        (lambda: bd.xxz_maximally_driven(4, np.inf), "Delta"),
        (lambda: bd.exclusion(4, 0.0, 1.0, 0.0, 1.0), "alpha + gamma"),
        (lambda: bd.ring_dephasing_gap(4, 1.0, 0.9), "gamma"),
        (lambda: bd.kerr_oscillator(Delta=1.0, U=0.0, F=1.0, gamma=1.0), "U"),
        (lambda: pc.pair_mean_field(1j, 1.0), "alpha"),
        (lambda: pc.dark_products(3, 2.0, 1.0, periodic=True), "L"),
        (lambda: pc.dark_products(4, -2.0, 1.0), "alpha"),
        (lambda: pc.flux_ground_state(2, 1.0, 0.0), "L"),
        (lambda: pc.flux_ground_state(4, np.nan, 0.0), "J0"),
        (lambda: pc.cascade_amplitudes(1.0, 1j, 1.0, 0.0), "J"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=f"`{name}`".replace("+", r"\+")):
        call()


# -- persistent currents -----------------------------------------------------------------------------------------------


def pair_problem(alpha, delta, mu):
    """Two sites with the bond jump and the two halves of the cut bonds."""
    half = [alpha * on(LOWER, j, 2) + delta * on(RAISE, j, 2) for j in (0, 1)]
    return steady(mu * (on(UP, 0, 2) + on(UP, 1, 2)), [half[0] + half[1], *half])


def partial_transpose_negativity(rho):
    t = rho.reshape(2, 2, 2, 2).transpose(0, 3, 2, 1).reshape(4, 4)
    values = np.linalg.eigvalsh(t)
    return -values[values < 0].sum()


def test_pair_mean_field_is_the_solution_of_its_linear_problem():
    rng = np.random.default_rng(7)
    for alpha, delta, mu in [*rng.uniform(0.2, 3, (12, 3)), (1.3, -0.4, -0.7), (0.7, 1.6, 0.0), (1.0, 1.0, 0.5)]:
        rho = pair_problem(alpha, delta, mu)
        got = pc.pair_mean_field(alpha, delta, mu)
        np.testing.assert_allclose(got.density_matrix, rho, atol=1e-13)
        eta = alpha**2 - delta**2
        operator = -eta * on(RAISE, 1, 2) @ on(LOWER, 0, 2)
        assert got.current == pytest.approx(mean(rho, operator + operator.conj().T).real, abs=1e-12)
        assert got.sigma_z == pytest.approx(mean(rho, on(Z, 1, 2)).real, abs=1e-13)
        assert got.negativity == pytest.approx(partial_transpose_negativity(rho), abs=1e-13)
        assert got.purity == pytest.approx(np.vdot(rho, rho).real, abs=1e-13)


def test_pair_mean_field_tables():
    entry = CURRENTS["fig3-map"]
    for point, row in zip(entry["parameters"]["varied"], entry["value"], strict=True):
        s = pc.pair_mean_field(point["alpha"], point["delta"], entry["parameters"]["mu"])
        scale = abs(point["alpha"] ** 2 - point["delta"] ** 2)
        np.testing.assert_allclose([s.current, s.current / scale, s.sigma_z, s.negativity, s.purity], row, atol=1e-11)
    for r in (1, 2, 5):
        rows = np.array([cmf for _, cmf in CURRENTS[f"fig4-r{r}"]["value"]])
        theta = np.array([1, 2, 4, 6, 7]) * np.pi / 32
        s = pc.pair_mean_field(r * np.cos(theta), r * np.sin(theta))
        np.testing.assert_allclose(np.array([s.current, s.sigma_z, s.negativity, s.purity]).T, rows, atol=1e-10)


def test_pair_mean_field_is_odd_or_even_under_exchange_of_loss_and_gain():
    a, b = pc.pair_mean_field(2.0, 0.6), pc.pair_mean_field(0.6, 2.0)
    assert (a.current, a.sigma_z) == (-b.current, -b.sigma_z)
    assert a.negativity == pytest.approx(b.negativity) and a.purity == pytest.approx(b.purity)


def test_pair_mean_field_refuses_the_undefined_point():
    with pytest.raises(ValueError, match="not unique"):
        pc.pair_mean_field(1.0, np.array([0.5, 1.0]), 0.0)


@pytest.mark.parametrize(("L", "periodic"), [(3, False), (4, True), (6, True)])
def test_dark_products_are_dark(L, periodic):
    alpha, delta = 1.7, 0.6
    dark = pc.dark_products(L, alpha, delta, periodic=periodic)
    bonds = [(j, j + 1) for j in range(L - 1)] + ([(L - 1, 0)] if periodic else [])
    eta = alpha**2 - delta**2
    for vector in dark.vectors:
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-14)
        for i, j in bonds:
            f = sum(alpha * on(LOWER, s, L) + delta * on(RAISE, s, L) for s in (i, j))
            assert np.linalg.norm(f @ vector) < 1e-14
            hop = -eta * on(RAISE, j, L) @ on(LOWER, i, L)
            assert (vector @ (hop + hop.T) @ vector).real == pytest.approx(dark.current, abs=1e-13)
        assert (vector @ on(Z, 1, L) @ vector).real == pytest.approx(dark.sigma_z, abs=1e-14)
    assert dark.vectors[0] @ dark.vectors[1] == pytest.approx(dark.overlap, abs=1e-14)
    limit = pc.strong_dissipation_limit(L, alpha, delta)
    rho = np.mean([np.outer(v, v) for v in dark.vectors], axis=0)
    assert limit["purity"] == pytest.approx(np.vdot(rho, rho), abs=1e-13)


def dense_flux_ring(L, J0, phi, mu):
    h = np.zeros((2**L, 2**L), dtype=complex)
    for j in range(L):
        hop = J0 * np.exp(1j * phi / L) * on(RAISE, j, L) @ on(LOWER, (j + 1) % L, L)
        h += hop + hop.conj().T + mu * on(UP, j, L)
    return h


@pytest.mark.parametrize(
    ("L", "J0", "phi", "mu"), [(3, 1.0, 0.4, 0.1), (4, 1.0, 1.1, 0.0), (5, -0.8, -0.7, 0.3), (6, 1.3, 2.0, -0.4)]
)
def test_flux_ground_state_against_dense(L, J0, phi, mu):
    values, vectors = np.linalg.eigh(dense_flux_ring(L, J0, phi, mu))
    got = pc.flux_ground_state(L, J0, phi, mu=mu)
    v = vectors[:, 0]
    assert values[1] - values[0] > 1e-3, "the ground state must be unique for this test"
    assert got.energy == pytest.approx(values[0], abs=1e-12)
    assert got.excitation == pytest.approx(values[1] - values[0], abs=1e-11)
    total = sum(on(UP, j, L) for j in range(L))
    assert got.particles == pytest.approx((v.conj() @ total @ v).real, abs=1e-10)
    back = 2j * J0 * np.exp(1j * phi / L) * on(LOWER, 1, L) @ on(RAISE, 0, L)
    assert got.current == pytest.approx((v.conj() @ (back + back.conj().T) @ v).real, abs=1e-10)
    rho = v.reshape(4, -1) @ v.reshape(4, -1).conj().T
    p = np.linalg.eigvalsh(rho)
    p = p[p > 1e-15]
    assert got.entropy == pytest.approx(-(p * np.log(p)).sum(), abs=1e-10)


def test_flux_ground_state_closed_form_and_slope():
    for phi in (-2.5, 0.3, 1.0, 3.0):
        ring = pc.flux_ground_state(4, 1.0, phi)
        assert ring.energy == pytest.approx(-2 * np.sqrt(2) * np.cos(phi / 4), abs=1e-13)
        assert ring.current == pytest.approx(np.sqrt(2) * np.sin(phi / 4), abs=1e-13)
        step = 1e-5
        slope = pc.flux_ground_state(4, 1.0, phi + step).energy - pc.flux_ground_state(4, 1.0, phi - step).energy
        assert ring.current == pytest.approx(slope / step, abs=1e-8)
    assert pc.flux_ground_state(4, 1.0, np.pi).excitation == pytest.approx(0.0, abs=1e-12)
    # natural logarithm, independent of the flux
    for L, entropy in ((4, 0.8329910614), (6, 0.9011224), (8, 0.9223459)):
        assert pc.flux_ground_state(L, 1.0, 0.7).entropy == pytest.approx(entropy, abs=1e-7)


@pytest.mark.parametrize("J", [0.8, -0.5])
def test_cascade_amplitudes_against_a_truncated_fock_space(J):
    """One excitation at most: a pure loss model keeps the space of at most one photon closed for <d>."""
    d, mu, t = 3, 0.3, 0.9
    a = np.diag(np.sqrt(np.arange(1, d)), 1).astype(complex)
    one, two = np.kron(a, np.eye(d)), np.kron(np.eye(d), a)
    h = J * (one.conj().T @ two + two.conj().T @ one) + mu * (one.conj().T @ one + two.conj().T @ two)
    jump = np.sqrt(2 * abs(J)) * (one - 1j * two)
    start = np.zeros(d * d, dtype=complex)
    start[0], start[d], start[1] = np.sqrt(0.5), 0.6, 0.1 + 0.3j  # |00>, |10>, |01>
    start /= np.linalg.norm(start)
    D = d * d
    eye = np.eye(D)
    jj = jump.conj().T @ jump
    generator = -1j * (np.kron(h, eye) - np.kron(eye, h.T)) + np.kron(jump, jump.conj())
    generator -= 0.5 * (np.kron(jj, eye) + np.kron(eye, jj.T))
    rho0 = np.outer(start, start.conj())
    rho = (sla.expm(generator * t) @ rho0.ravel()).reshape(D, D)
    got = pc.cascade_amplitudes(t, J, mean(rho0, one), mean(rho0, two), mu=mu)
    assert got.first == pytest.approx(mean(rho, one), abs=1e-12)
    assert got.second == pytest.approx(mean(rho, two), abs=1e-12)


def test_cascade_amplitudes_printed_values():
    got = pc.cascade_amplitudes(np.array([0.0, 1.0]), 0.8, 0.5, 0.0)
    assert got.first[1] == pytest.approx(0.2246645, abs=5e-8)
    assert got.second[1] == pytest.approx(-0.3594632j, abs=5e-8)
    assert pc.cascade_amplitudes(1.0, 0.8, 0.0, 0.5).first == 0.0


def test_misprints_are_complete_sentences():
    assert len(pc.MISPRINTS) == 16
    assert all(m.where and m.printed and m.consistent for m in pc.MISPRINTS)
