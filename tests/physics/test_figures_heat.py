"""The figures of the two papers on heat currents against independent numbers, in their quick form."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mpo_transport.papers import PAPERS
from mpo_transport.papers.optomechanical_lattices.currents import edges
from mpo_transport.result import Status

pytestmark = pytest.mark.physics

DIRECTORY = Path(__file__).resolve().parents[2] / "data/reference"
LATTICES = {e["id"]: e["values"] for e in json.loads((DIRECTORY / "optomechanical_lattices.json").read_text("utf-8"))}
RECTIFIER = {e["id"]: e["value"] for e in json.loads((DIRECTORY / "heat_rectifier.json").read_text("utf-8"))}
NAMES = [(paper, figure) for paper in ("optomechanical-lattices", "heat-rectifier") for figure in PAPERS[paper].figures]


@cache
def quick(paper, figure):
    return PAPERS[paper].compute(figure, quick=True)


def test_the_figures_that_are_promised_exist():
    assert set(PAPERS["optomechanical-lattices"].figures) == {"fig2", "fig3", "fig4", "fig5", "figS1", "two-tone"}
    assert set(PAPERS["heat-rectifier"].figures) == {"fig2", "fig3", "validity", "chain"}


@pytest.mark.parametrize(("paper", "figure"), NAMES)
def test_every_figure_is_computed_and_drawn(paper, figure, tmp_path):
    data = quick(paper, figure)
    assert data.worst is Status.CONVERGED
    assert data.largest_residual < 1e-10
    picture = PAPERS[paper].draw(data)
    assert picture.axes
    for table in data.tables:
        assert data.csv(table).startswith(f"# {figure}: ")


def test_hopping_changes_its_sign_where_it_should():
    zeros = quick("optomechanical-lattices", "fig2").tables["zeros"]
    for p in (1, 2, 3, 4):
        expected = LATTICES["fig2_sign_changes"][f"p{p}"]
        assert zeros["Dt"][zeros["p"] == p] == pytest.approx(expected, abs=1e-9)


def test_image_sum_and_momentum_sum_agree():
    cuts = quick("optomechanical-lattices", "fig2").tables["cuts"]
    assert np.abs(cuts["J_p"] - cuts["image_sum"]).max() < 1e-15


def test_rates_of_the_modes():
    rates = quick("optomechanical-lattices", "fig3").select("rates", J_over_gamma_c=1.0)
    order = np.argsort(np.mod(rates["k_over_pi"], 2))
    for name in ("loss", "gain"):
        assert rates[name][order] == pytest.approx(LATTICES["fig3_rates_J1gc"][name], abs=1.6e-8)


@pytest.mark.parametrize("index", [1, 3])
def test_edges_of_stability(index):
    reference = LATTICES["fig4_stability_edges"]
    J = reference["J"][index]
    for full, name in ((False, "eff"), (True, "full")):
        low, high = edges(J, full)
        assert low == pytest.approx(reference[f"{name}_lo"][index], abs=1e-9)
        assert high == pytest.approx(reference[f"{name}_hi"][index], abs=1e-9)


def test_current_with_the_solved_density_matrix():
    reference = LATTICES["fig4_map_figS1d"]
    row = next(
        i for i, (J, Dt) in enumerate(zip(reference["J"], reference["Dt"], strict=True)) if (J, Dt) == (0.1, -1.1)
    )
    check = quick("optomechanical-lattices", "fig4").select("check", J_over_gamma_c=1.0, Dt=-1.1)
    assert check["Q_C_exact"] == pytest.approx([reference["QC_exact"][row]], abs=1e-9)


def test_contributions_and_coherences():
    data = quick("optomechanical-lattices", "fig5")
    for table, suffix in (("effective", ""), ("exact", "_exact")):
        for ratio in (1.0, 5.0):
            row = data.select(table, J_over_gamma_c=ratio)
            at = LATTICES["fig5a_lowest_antistokes"]["J_over_gc"].index(ratio)
            for name in ("Q1", "Q2", "Q3", "QC"):
                expected = LATTICES["fig5a_lowest_antistokes"][name + suffix][at]
                assert row[f"Q_{name[1]}"] == pytest.approx([expected], abs=1e-7)
            at = LATTICES["fig5c_g1"]["J_over_gc"].index(ratio)
            for p in (1, 2, 3, 4):
                assert row[f"g1_{p}"] == pytest.approx([LATTICES["fig5c_g1"][f"g1_{p}{suffix}"][at]], abs=1e-7)


@pytest.mark.parametrize("G", [0.01, 0.02])
def test_error_of_the_effective_theory(G):
    data = quick("optomechanical-lattices", "figS1")
    reference = LATTICES[f"figS1ab_G{G:g}"]
    for index, ratio in enumerate((1.0, 5.0)):
        delta = data.select("delta", G_abs=G, J_over_gamma_c=ratio)["delta"]
        assert delta == pytest.approx([reference["delta_2"][index]], abs=3e-9)
        sigma = data.select("sigma", G_abs=G, J_over_gamma_c=ratio)
        assert np.abs(sigma["im_exact"][1:] + sigma["im_exact"][:0:-1]).max() < 1e-9  # antisymmetric in p
        assert np.abs(sigma["im_exact"][::2]).max() < 1e-9  # only odd distances


def test_two_tone_ring():
    data = quick("optomechanical-lattices", "two-tone")
    reference = LATTICES["two_tone_ring5"]
    assert data.tables["occupations"]["n_effective"] == pytest.approx(reference["n_eff"], abs=1e-9)
    assert data.tables["occupations"]["n_full"] == pytest.approx(reference["n_exact"], abs=1e-9)
    row = data.select("squeezing", ratio=0.5)
    assert [row["variance_effective"][0], row["variance_full"][0]] == pytest.approx(reference["minvar"], abs=1e-9)


def test_surfaces_of_the_occupation_change():
    data = quick("heat-rectifier", "fig2")
    check = data.tables["check"]
    assert check["solved_change_of_n_2"] == pytest.approx(check["change_of_n_2"], abs=1e-9)
    flat = data.select("surfaces", change_of_n_2=0.0, F=0.0)
    assert flat["m_3"] == pytest.approx([50.0] * len(flat["m_3"]), abs=1e-12)


def test_flows_against_the_temperatures():
    data = quick("heat-rectifier", "fig3")
    for swept, name, rates in (
        ("N_1", "fig3_left", "equal"),
        ("N_2", "fig3_right", "equal"),
        ("N_1", "fig3_left_exp", "mapped"),
    ):
        rows = data.select("flows", rates=rates, swept=swept)
        for N, expected in zip((0, 0.25, 0.5, 1, 1.5, 2), RECTIFIER[name], strict=True):
            at = np.isclose(rows["N"], N)
            if at.any():
                assert [rows[f"eta_{j}"][at][0] for j in (1, 2, 3)] == pytest.approx(expected, abs=1e-12)
        assert np.abs(rows["sum"]).max() < 1e-13


def test_printed_experiment_and_bandwidth():
    data = quick("heat-rectifier", "validity")
    printed = data.tables["printed"]
    found = np.array([printed[n] for n in ("n_1", "n_2", "n_b")]).T
    assert found[0] == pytest.approx(RECTIFIER["opt_exp_full_n"], abs=1e-11)
    assert found[1] == pytest.approx(RECTIFIER["opt_exp_nonrwa_n"], abs=1e-10)
    assert found[2][:2] == pytest.approx(RECTIFIER["opt_exp_eff_n"], abs=1e-11)
    assert printed["contrast"][0] < 1e-4 < 0.999 < printed["contrast"][2]
    bandwidth = data.tables["bandwidth"]
    assert bandwidth["n_1"][-1] == pytest.approx(0.75, abs=1e-3)
    assert np.all(np.diff(bandwidth["contrast"]) > 0)


def test_cascades_and_counting():
    data = quick("heat-rectifier", "chain")
    profile = data.tables["profile"]
    assert np.abs(profile["eta"] - profile["closed"]).max() < 1e-13
    common = data.tables["common"]
    assert np.abs(common["eta_common"] - common["closed"]).max() < 1e-13
    theta = data.tables["theta"]
    assert np.abs(theta["riccati"] - theta["scattering"]).max() < 1e-9
    noise = data.tables["noise"]
    for i, row in (("1", ("K_11", "K_12", "K_13")), ("2", ("K_12", "K_22", "K_23")), ("3", ("K_13", "K_23", "K_33"))):
        assert np.abs(sum(noise[name] for name in row)).max() < 1e-12, i
