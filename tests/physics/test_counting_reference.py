"""Counting statistics against reference tables, closed formulas, and one backend against another."""

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from systems import load_benchmark

import mpo_transport as mt
from mpo_transport import models
from mpo_transport.counting.fields import charge_table
from mpo_transport.counting.network import NetworkCounting

counting = mt.counting
REFERENCE = Path(__file__).resolve().parents[2] / "data" / "reference"


@cache
def table(name):
    return {e["id"]: e for e in json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))}


def rectifier(identifier, levels=math.inf, **changed):
    p = {**table("heat_rectifier")[identifier]["parameters"], **changed}
    names = ("omega_1", "omega_2", "gamma_1", "gamma_2", "kappa_1", "kappa_2", "theta", "N")
    return models.heat_rectifier(F=complex(p["F_re"], p["F_im"]), levels=levels, **{k: p[k] for k in names})


def entry(identifier):
    e = table("heat_rectifier")[identifier]
    return np.array(e["value"]), float(e["abs_uncertainty"])


# -- heat rectifier ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", ["fnr_res_noise", "gen_cplx_noise"])
def test_noise_matrix_of_the_rectifier(identifier):
    value, uncertainty = entry(identifier)
    assert np.abs(counting.noise_matrix(rectifier(identifier)) - value).max() < uncertainty


@pytest.mark.parametrize("identifier", ["fcs_fnr_theta", "fcs_low_theta"])
def test_generating_function_of_the_rectifier_in_two_forms(identifier):
    value, uncertainty = entry(identifier)
    model = rectifier(identifier)
    labels = counting.counted_baths(model)
    for s, expected in zip(table("heat_rectifier")[identifier]["parameters"]["s_vectors"], value, strict=True):
        fields = dict(zip(labels, s, strict=True))
        assert counting.generating_function(model, fields) == pytest.approx(expected, abs=uncertainty)
        assert counting.scattering_generating_function(model, fields) == pytest.approx(expected, abs=uncertainty)


@pytest.mark.parametrize("identifier", ["fcs_fnr_cum1", "fcs_fnr_cum2", "fcs_low_cum1", "fcs_low_cum2"])
def test_four_cumulants_of_the_rectifier(identifier):
    value, uncertainty = entry(identifier)
    bath = f"bath_{identifier[-1]}"
    assert np.abs(counting.cumulants(rectifier(identifier), bath, 4) - value).max() < uncertainty


def test_noise_of_the_cascaded_chain():
    e = table("heat_rectifier")["chain3_noise"]
    p = e["parameters"]
    model = models.cascaded_chain(omega=p["omega"], gamma=p["gamma"], kappa=p["kappa"], N=p["N_local"],
                                  N_common=p["N_common"], levels=math.inf)  # fmt: skip
    labels = counting.counted_baths(model)
    assert labels[-1] == "common"
    noise = counting.noise_matrix(model)
    chosen = [noise[k, k] for k in p["baths"]]
    assert chosen == pytest.approx(e["value"], abs=e["abs_uncertainty"])
    assert noise.sum(axis=0) == pytest.approx(np.zeros(4), abs=1e-14)


def test_tilted_lindbladian_agrees_at_low_occupation():
    low = {"N": [0.03, 0.01, 0.02]}
    free, cut = rectifier("fcs_low_theta", **low), rectifier("fcs_low_theta", levels=10, **low)
    exact = mt.ExactDiag()
    assert np.abs(counting.noise_matrix(free) - counting.noise_matrix(cut, method=exact)).max() < 1e-9
    for bath in ("bath_1", "bath_2", "common"):
        error = counting.cumulants(free, bath, 4) - counting.cumulants(cut, bath, 4, exact)
        assert np.abs(error).max() < 1e-9
    for fields in ({"bath_1": 0.3, "common": -0.2}, {"bath_2": 0.1 + 0.4j}):
        theta = [counting.generating_function(free, fields), counting.generating_function(cut, fields, exact)]
        assert abs(theta[0] - theta[1]) < 1e-9
    fields = {"bath_1": 0.3, "bath_2": -0.1}
    assert counting.exchange_symmetry(free, fields).defect < 1e-13


def test_edges_of_the_domain():
    """F = 0, resonant, equal rates: theta along s_1 exists for -ln 3 < s_1 < ln 2."""
    model = rectifier("fcs_fnr_theta")
    for edge in (-math.log(3), math.log(2)):
        assert math.isfinite(counting.generating_function(model, {"bath_1": edge * (1 - 1e-6)}))
        with pytest.raises(mt.InputError, match=r"-1.09861 < bath_1 < 0.693147"):
            counting.generating_function(model, {"bath_1": edge * (1 + 1e-6)})


def test_nothing_travels_upstream():
    """F = 0: all statistics of bath 1 are those of an oscillator that knows nothing of the second one."""
    reference = counting.cumulants(rectifier("fcs_fnr_theta"), "bath_1", 5)
    changed = rectifier("fcs_fnr_theta", N=[1.0, 3.0, 0.5], kappa_2=0.3, omega_2=1.7)
    assert counting.cumulants(changed, "bath_1", 5) == pytest.approx(reference, rel=1e-9)
    hotter = counting.cumulants(rectifier("fcs_fnr_theta", N=[1.5, 0.2, 0.5]), "bath_2", 2)
    assert abs(hotter[0] - counting.cumulants(rectifier("fcs_fnr_theta"), "bath_2", 2)[0]) > 0.1


@pytest.mark.parametrize("beta", [0.4, 2.0])
def test_gauge_invariance(beta):
    p = table("heat_rectifier")["gen_cplx_noise"]["parameters"]
    f = complex(p["F_re"], p["F_im"]) * np.exp(-1j * beta)
    moved = rectifier("gen_cplx_noise", F_re=f.real, F_im=f.imag, theta=p["theta"] + beta)
    original = rectifier("gen_cplx_noise")
    assert counting.cumulants(moved, "common", 4) == pytest.approx(counting.cumulants(original, "common", 4), abs=1e-9)


def test_long_cascade_by_two_formulas():
    """Eigenvalues of the Hamiltonian matrix against the frequency integral for twelve unequal oscillators."""
    rng = np.random.default_rng(5)
    n = 12
    model = models.cascaded_chain(omega=rng.normal(size=n), gamma=rng.uniform(0.5, 1, n), kappa=rng.uniform(0.5, 1, n),
                                  N=rng.uniform(0, 1, n), N_common=0.4, levels=math.inf)  # fmt: skip
    fields = {"common": 0.2, "bath_3": -0.3, "bath_9": 0.1}
    theta = counting.generating_function(model, fields)
    assert counting.scattering_generating_function(model, fields, accuracy=1e-9) == pytest.approx(theta, abs=1e-9)


# -- optomechanical ring -----------------------------------------------------------------------------------------------


def test_phonons_leaving_an_optomechanical_ring():
    e = table("optomechanical_lattices")["fcs_thermal_baths"]
    p, values = e["parameters"], e["values"]
    model = models.optomechanical_ring(p["L"], 2 * np.pi / 8, J=p["J"], Dt=p["Delta_tilde"], G_abs=p["G_abs"],
                                       gamma_c=p["gamma_c"], gamma_m=p["gamma_m"], nbar=p["nbar"],
                                       picture="effective")  # fmt: skip
    baths = [label for label in counting.counted_baths(model) if label.startswith("site_")]
    assert len(baths) == p["L"]
    for chi, theta in zip(values["chi"], values["theta"], strict=True):
        found = counting.generating_function(model, {b: -chi for b in baths})
        assert found == pytest.approx(theta, abs=e["abs_uncertainty"])
    first, second = counting.cumulants(model, baths)
    assert first == pytest.approx(values["mean"][0], abs=e["abs_uncertainty"])
    assert second > abs(first)
    # what the baths give is what the light takes
    assert counting.mean_flows(model, ["optical"])[0] == pytest.approx(-first, rel=1e-9)
    full = models.optomechanical_ring(p["L"], 2 * np.pi / 8, J=p["J"], Dt=p["Delta_tilde"], G_abs=0.005,
                                      gamma_c=p["gamma_c"], gamma_m=p["gamma_m"], nbar=10.0)  # fmt: skip
    weak = models.optomechanical_ring(p["L"], 2 * np.pi / 8, J=p["J"], Dt=p["Delta_tilde"], G_abs=0.005,
                                      gamma_c=p["gamma_c"], gamma_m=p["gamma_m"], nbar=10.0,
                                      picture="effective")  # fmt: skip
    labels = [b.label for b in full.baths if b.occupation]
    exact, effective = (counting.cumulants(m, c) for m, c in ((full, labels), (weak, baths)))
    assert exact == pytest.approx(effective, rel=0.03)  # second-order elimination: percents at this coupling


# -- spin chains -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", ["fcs-10", "fcs-40"])
def test_levitov_formula(identifier):
    p, known = load_benchmark(identifier)
    model = models.boundary_driven_xx(p["L"], p["t"], p["Gamma_L"], p["f_L"], p["Gamma_R"], p["f_R"])
    # the table counts particles entering at the first site: minus the quanta into the left bath
    found = counting.cumulants(model, {"left": -1.0}, 3)
    assert found == pytest.approx([known[c] for c in ("c1", "c2", "c3")], abs=1e-10)
    for chi, theta in known["scgf"].items():
        assert counting.generating_function(model, {"left": float(chi)}) == pytest.approx(theta, abs=1e-10)
        other = counting.scattering_generating_function(model, {"left": float(chi)}, accuracy=1e-9)
        assert other == pytest.approx(theta, abs=1e-9)


def test_tilted_lindbladian_of_a_spin_chain_agrees_with_the_levitov_formula():
    model = models.boundary_driven_xx(5, 0.9, 0.7, 0.8, 1.6, 0.1)
    exact = mt.ExactDiag()
    assert counting.cumulants(model, "left", 6) == pytest.approx(counting.cumulants(model, "left", 6, exact), abs=1e-10)
    for s in (-2.0, 1.0, 0.3 + 2.0j):
        found = [counting.generating_function(model, {"right": s}, m) for m in (None, exact)]
        assert found[0] == pytest.approx(found[1], abs=1e-11)


def test_noise_grows_with_dephasing_like_a_diffusive_conductor():
    """One third of the Poisson noise of a long diffusive wire: c_2/c_1 of the driven chain moves towards it."""
    fano = [
        counting.fano_factor(models.boundary_driven_xx(5, 1.0, 2.0, 1.0, 2.0, 0.0, dephasing=g), "right")
        for g in (0.0, 0.5, 2.0)
    ]
    assert fano[0] == pytest.approx(0.125, abs=1e-10)  # c2 = 1/16 at every length
    assert fano[0] < fano[1] < fano[2] < 1 / 3 + 0.05


# -- matrix products ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_matrix_product_noise_of_a_spin_chain():
    model = models.boundary_driven_xxz(5, 0.7, G_L=1.0, f_L=0.8, G_R=1.4, f_R=0.3)
    exact = mt.ExactDiag()
    noise = counting.noise_matrix(model, ["left"], method=mt.ImplicitSweeps())
    assert noise == pytest.approx(counting.noise_matrix(model, ["left"], method=exact), abs=1e-6)


@pytest.mark.parametrize("L", [10, pytest.param(40, marks=pytest.mark.slow)])
def test_matrix_product_noise_of_a_long_chain(L):
    model = models.boundary_driven_xx(L, 1.0, 2.0, 1.0, 2.0, 0.0)  # c1 = 1/2 and c2 = 1/16 at every length
    state = mt.steady_state(model, mt.ChainGrowth(), progress=False)
    found = NetworkCounting(model, charge_table(model, [{"left": 1.0}]), state.state, 8)
    flows, errors = found.flows()
    assert abs(flows[0] + 0.5) < 1e-9 and errors[0] < 1e-9
    noise, errors = found._by_duals(0, 0, found.scale(0))
    assert abs(noise - 1 / 16) < 0.01 / 16
    assert abs(noise - 1 / 16) <= errors


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        models.boundary_driven_xx(6, 1.0, 0.7, 0.8, 1.3, 0.2, dephasing=0.3),
        models.boundary_driven_xxz(6, 0.7, G_L=1.0, f_L=0.8, G_R=1.4, f_R=0.3),
        models.boundary_driven_xx(4, 1.0, 0.7, 0.1, 1.3, 0.05, levels=3),
    ],
    ids=["xx", "xxz", "bosons"],
)
def test_matrix_product_noise_agrees_with_exact_diagonalisation(model):
    for method in (mt.TEBD(), mt.ImplicitSweeps()):
        result = mt.steady_state(model, method, on_failure="return", progress=False)
        noise = counting.noise_matrix(model, result=result, tol=1e-3)
        exact = counting.noise_matrix(model, method=mt.ExactDiag())
        flows = counting.mean_flows(model, result=result, tol=1e-3)
        assert np.abs(noise - exact).max() < 1e-4
        assert np.abs(flows - counting.mean_flows(model, method=mt.ExactDiag())).max() < 1e-5
