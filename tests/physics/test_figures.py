"""The figures of the persistent-current paper against independent numbers, in their quick form."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mpo_transport.papers import PAPERS, find_paper, read_table, reproduce
from mpo_transport.result import Status

pytestmark = pytest.mark.physics

REFERENCE = {
    entry["id"]: entry
    for entry in json.loads(
        (Path(__file__).resolve().parents[2] / "data/reference/persistent_currents.json").read_text(encoding="utf-8")
    )
}
PAPER = PAPERS["persistent-currents"]


@cache
def quick(figure):
    return PAPER.compute(figure, quick=True)


def value(name):
    return np.array(REFERENCE[name]["value"], dtype=float)


def only(data, table, **where):
    """The single row that matches, as a dict of numbers."""
    rows = data.tables[table]
    keep = np.ones(len(next(iter(rows.values()))), dtype=bool)
    for key, wanted in where.items():
        column = rows[key]
        keep &= np.abs(column - wanted) < 1e-9 if column.dtype.kind == "f" else column == wanted
    assert keep.sum() == 1, (table, where, int(keep.sum()))
    return {k: v[keep][0] for k, v in rows.items()}


@pytest.mark.parametrize("figure", PAPER.figures)
def test_every_state_is_solved_well(figure):
    data = quick(figure)
    assert data.worst is Status.CONVERGED
    assert data.largest_residual < 1e-10


def test_fig2_curve_and_map():
    data = quick("fig2")
    for varied, (flow, sigma_z, negativity) in zip(
        REFERENCE["fig2-left"]["parameters"]["varied"], value("fig2-left"), strict=True
    ):
        turn = float(varied["phi"].removesuffix("*pi"))
        if turn in (0.25, 0.5, 1.0, 2.0):
            row = only(data, "curve", **{"phi/pi": turn})
            assert row["I_J"] == pytest.approx(flow, abs=1e-9)
            assert row["sigma_z"] == pytest.approx(sigma_z, abs=1e-9)
            assert row["negativity_01"] == pytest.approx(negativity, abs=1e-9)
    for varied, numbers in zip(REFERENCE["fig2-map"]["parameters"]["varied"], value("fig2-map"), strict=True):
        row = only(data, "map", **{"phi/pi": float(varied["phi"].removesuffix("*pi")), "kappa": varied["kappa"]})
        assert [row["I_J"], row["sigma_z"], row["negativity_01"]] == pytest.approx(numbers, abs=1e-9)


def test_fig3_closed_form_and_method():
    data = quick("fig3")
    reference = dict(
        zip(
            [(v["alpha"], v["delta"]) for v in REFERENCE["fig3-map"]["parameters"]["varied"]],
            value("fig3-map"),
            strict=True,
        )
    )
    row = only(data, "map", alpha=2.0, delta=1.0)
    found = [row[k] for k in ("current", "current_normalised", "sigma_z", "negativity", "purity")]
    assert found == pytest.approx(reference[2.0, 1.0], abs=1e-12)
    checks = data.tables["check"]
    assert checks["difference_from_closed_form"].max() < 1e-9
    for alpha, delta in ((2.0, 1.0), (0.7, 1.6)):
        row = only(data, "check", alpha=alpha, delta=delta)
        numbers = reference[alpha, delta]
        assert row["current"] == pytest.approx(numbers[0], abs=1e-9)
        assert [row["sigma_z"], row["negativity"], row["purity"]] == pytest.approx(numbers[2:], abs=1e-9)


@pytest.mark.parametrize("r", [1.0, 2.0, 5.0])
def test_fig4_exact_and_mean_field(r):
    data = quick("fig4")
    entry = REFERENCE[f"fig4-r{r:g}"]
    seen = 0
    for varied, (exact, mean_field) in zip(entry["parameters"]["varied"], entry["value"], strict=True):
        theta = float(varied["theta"].removesuffix("*pi/32")) * np.pi / 32
        if not np.any(np.abs(data.tables["ed"]["theta"] - theta) < 1e-9):
            continue
        seen += 1
        row = only(data, "ed", r=r, theta=theta)
        names = ("current", "sigma_z", "negativity_01", "negativity_half", "purity_01", "purity_full")
        assert [row[n] for n in names] == pytest.approx(exact, abs=2e-9)
        gap = abs(r**2 * np.cos(2 * theta))
        assert row["current_normalised"] == pytest.approx(exact[0] / gap, abs=2e-9)
        row = only(data, "cmf", r=r, theta=theta)
        assert [row[n] for n in ("current", "sigma_z", "negativity", "purity")] == pytest.approx(mean_field, abs=1e-10)
    assert seen >= 2


@pytest.mark.parametrize("r", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("table", ["ed", "cmf"])
def test_fig4_is_antisymmetric_about_the_diagonal(table, r):
    rows = quick("fig4").select(table, r=r)
    mirrored = {k: np.interp(np.pi / 2 - rows["theta"], rows["theta"], v) for k, v in rows.items()}
    inside = (rows["theta"] > 0.15) & (rows["theta"] < np.pi / 2 - 0.15)  # the quick grid has one unpaired angle
    for name, sign in (("current", -1), ("sigma_z", -1), ("current_normalised", -1)):
        assert mirrored[name][inside] == pytest.approx(sign * rows[name][inside], abs=1e-9)


def test_fig5_rings_and_open_chains():
    data = quick("fig5")
    for L in (3, 4, 5):
        row = only(data, "rings", L=L)
        assert [row["current"], row["sigma_z"], row["purity"]] == pytest.approx(value(f"fig5-ring-L{L}"), abs=1e-9)
    for L in (4, 6):
        currents, profile = REFERENCE[f"fig5-open-L{L}"]["value"][:2]
        assert data.select("open_bonds", L=L)["current"] == pytest.approx(np.array(currents), abs=1e-9)
        assert data.select("open_sites", L=L)["sigma_z"] == pytest.approx(np.array(profile), abs=1e-9)


@pytest.mark.parametrize("kind", ["x", "zz"])
def test_fig6_perturbed(kind):
    data = quick("fig6")
    compared = 0
    for k, expected in zip((2, 4, 6, 10, 12, 14), value(f"fig6-{kind}-0.3"), strict=True):
        theta = k * np.pi / 32
        if np.any(np.abs(data.tables["current"]["theta"] - theta) < 1e-9):
            assert only(data, "current", perturbation=kind, epsilon=0.3, theta=theta)["current"] == pytest.approx(
                expected, abs=1e-9
            )
            compared += 1
    assert compared == 4


def test_fig7_ground_state():
    data = quick("fig7")
    for varied, (energy, flow, entropy) in zip(
        REFERENCE["fig7-L4"]["parameters"]["varied"], value("fig7-L4"), strict=True
    ):
        row = only(data, "flux", **{"L": 4.0, "phi/pi": float(varied["phi"].removesuffix("*pi"))})
        assert [row["E0"], row["I_J"], row["S_01"]] == pytest.approx([energy, flow, entropy], abs=1e-9)
        assert row["N"] == pytest.approx(2, abs=1e-10)
    table = data.tables["flux"]
    for name in ("E0", "I_J", "S_01"):
        assert table[name] == pytest.approx(table[f"{name}_closed"], abs=1e-10)


def test_local_loss_and_gain_against_loss():
    data = quick("loss")
    k = next(i for i, v in enumerate(REFERENCE["kappa-a"]["parameters"]["varied"]) if v["kappa"] == 0.5)
    row = only(data, "current", L=6.0, alpha=1.0, delta=0.5, kappa=0.5)
    assert [row["current"], row["sigma_z"]] == pytest.approx(value("kappa-a")[k], abs=1e-9)
    row = only(data, "current", L=6.0, alpha=0.0, delta=1.0, kappa=0.5)
    assert [row["current"], row["sigma_z"]] == pytest.approx(value("kappa-alpha0"), abs=1e-9)


def test_next_nearest_neighbours():
    data = quick("nnn")
    for varied, numbers in zip(REFERENCE["nnn"]["parameters"]["varied"], value("nnn"), strict=True):
        if varied["L"] in (3, 5):
            row = only(data, "sizes", L=float(varied["L"]))
            assert [row["current_distance_1"], row["current_distance_2"]] == pytest.approx(numbers, abs=1e-9)


@pytest.mark.parametrize("U", [1.0, 1000.0])
@pytest.mark.parametrize("drive", ["pairing", "gain"])
def test_bosons(drive, U):
    prefix = "boson-pair-U" if drive == "pairing" else "boson-gain-U"
    row = only(quick("bosons"), "boson", drive=drive, U=U, d=6)
    assert [row["n"], row["n(n-1)"], row["coherence_re"]] == pytest.approx(value(f"{prefix}{U:.1f}"), abs=2e-9)


def test_bosons_spin_values():
    data = quick("bosons")
    for drive, numbers in zip(("pairing", "gain"), value("boson-spin-limits"), strict=True):
        row = only(data, "spin", drive=drive)
        assert [row["n"], row["coherence_re"]] == pytest.approx(numbers, abs=1e-10)


def test_cascaded_left_part_is_untouched_and_the_right_part_is_not():
    data = quick("cascaded")
    assert data.tables["change"]["change"].max() < 1e-10
    profile = data.tables["profile"]
    last = {L: profile["sigma_z"][profile["L"] == L][-1] for L in (3, 4, 5)}
    inner = only(data, "profile", L=5.0, site=2.0)["sigma_z"]
    assert abs(last[3] - inner) > 1e-3  # without the next bond the last site is a different one
    assert np.ptp(profile["sigma_z"][profile["L"] == 5]) > 1e-2


def test_dark_products():
    data = quick("dark")
    states = data.tables["dark_states"]
    assert states["stationary_operators"] == pytest.approx(states["expected"])
    assert set(states["expected"]) == {1.0, 4.0}
    dark = states["expected"] == 4.0
    assert states["largest_jump_norm"][dark].max() < 1e-14
    assert states["current"][dark] == pytest.approx(states["current_closed"][dark], abs=1e-14)
    assert states["sigma_z"][dark] == pytest.approx(states["sigma_z_closed"][dark], abs=1e-14)
    strength = data.tables["strength"]
    assert strength["current"][strength["r"] == 5.0][0] == pytest.approx(7.216, abs=5e-4)
    assert strength["purity"][strength["r"] == 5.0][0] == pytest.approx(0.497, abs=5e-4)


# ----------------------------------------------------------------------------------------------------------------------


def test_reproduce_writes_picture_and_data(tmp_path):
    (made,) = reproduce(PAPER, ["fig7"], tmp_path, quick=True)
    picture, table = made.files
    assert picture.name == "fig7.png" and picture.stat().st_size > 5000
    read = read_table(table)
    assert read["E0"] == pytest.approx(made.data.tables["flux"]["E0"], abs=0)
    header = [line for line in table.read_text().splitlines() if line.startswith("#")]
    assert any("J0 = 1.0" in line for line in header) and any("paper prints -dE/dphi" in line for line in header)


def test_unknown_figure_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'fig4'"):
        reproduce(PAPER, ["fig3", "figg4"], tmp_path / "new", quick=True)
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match="persistent-currents"):
        find_paper("persistent-current")


def test_full_grids_are_dense_enough():
    from mpo_transport.papers.persistent_currents.common import angle_grid

    grid = angle_grid(False)
    assert len(grid) >= 25 and grid.min() > 0 and grid.max() < np.pi / 2
    data = PAPER.compute("fig3")
    assert len(np.unique(data.tables["map"]["alpha"])) >= 25 and len(np.unique(data.tables["map"]["delta"])) >= 25


@pytest.mark.slow
@pytest.mark.parametrize("figure", PAPER.figures)
def test_full_figure(figure, tmp_path):
    (made,) = reproduce(PAPER, [figure], tmp_path)
    assert made.data.worst is Status.CONVERGED
    if figure == "cascaded":
        change = made.data.tables["change"]
        assert np.all(change["change"] <= change["error"] + 1e-9)
    if figure == "fig5":
        reference = np.array(REFERENCE["fig5-open-L30"]["value"][0])
        rows = made.data.select("open_bonds", L=30)
        assert np.abs(rows["current"] - reference).max() < 1e-4
        for L in range(3, 10):
            assert only(made.data, "rings", L=float(L))["current"] == pytest.approx(
                value(f"fig5-ring-L{L}")[0], abs=1e-9
            )
