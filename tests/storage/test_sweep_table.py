"""Collected tables: every point is there with its status, and every format gives back what was written."""

import sys
from pathlib import Path

import numpy as np
import pytest

xarray = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")

from mpo_transport import load  # noqa: E402
from mpo_transport.analysis import average_over, plot_table, power_law, series_of  # noqa: E402
from mpo_transport.cli import main  # noqa: E402
from mpo_transport.errors import FileFormatError, InputError, NotSupportedError  # noqa: E402
from mpo_transport.storage import previous_path  # noqa: E402
from mpo_transport.sweep import SweepDirectory, SweepPlan, load_sweep, run_point, run_sweep  # noqa: E402
from mpo_transport.sweep.table import collect, is_table, read_table, write_table  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
GRID = """
name = "grid"
[base]
observables = ["current", "profile:Z", "purity", "correlation:Sp,Sm"]
[base.model]
name = "persistent_current"
alpha = 2.0
mu = 1.0
[[axes]]
"model.L" = [3, 4, 5]
"solve.seed" = [1, 2, 3]
[[axes]]
"model.delta" = [1.5, 1.0]
"""
HARD = """
[base.model]
name = "boundary_driven_xxz"
Delta = 1.0
eps = 1.0
[base.method]
name = "TEBD"
[base.solve]
tol = 1e-2
[[axes]]
"model.L" = [3, 6]
"method.max_time" = [1e4, 2.0]
"""
EVOLVE = """
[base]
observables = ["profile:Z"]
[base.model]
name = "persistent_current"
L = 3
delta = 1.0
[base.solve]
task = "evolve"
times = [0.0, 0.5, 1.0]
initial = "up"
[axes]
"model.alpha" = [1.0, 2.0]
"""
DISORDER = """
[base]
observables = ["current"]
[base.model]
name = "persistent_current"
alpha = 2.0
delta = 1.0
[axes]
"model.L" = [3, 4]
"model.mu" = {distribution = "uniform", per = "site", mean = 1.0, width = 0.5, realisations = 4, seed = 7}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_sweep(SweepPlan.from_toml(GRID), tmp_path_factory.mktemp("grid") / "sweep", workers=0)


def partly(tmp_path):
    """Two of three points computed, the file of one of them cut in the middle."""
    text = GRID.replace("[1.5, 1.0]", "[1.5]")
    directory = SweepDirectory.create(tmp_path / "partly", SweepPlan.from_toml(text))
    for point in directory.plan.points[:2]:
        run_point(directory, point, progress=False)
    broken = directory.run_path(directory.plan.points[1])
    broken.write_bytes(broken.read_bytes()[:3000])
    previous_path(broken).unlink(missing_ok=True)
    return directory


def test_one_dimension_per_axis_and_one_per_kind_of_entry(finished):
    table = collect(finished)
    assert dict(table.sizes) | {"model.L": 3, "model.delta": 2, "bond": 5, "site": 5} == dict(table.sizes)
    assert table["current"].dims == ("model.L", "model.delta", "bond") and table["purity"].dims == table["status"].dims
    assert table["solve.seed"].dims == ("model.L",)
    assert table["model.delta"].values.tolist() == [1.5, 1.0]
    assert set(table["status"].values.ravel()) == {"converged"} and table.attrs["counts"] == "6 converged"


def test_values_errors_and_certificates_are_those_of_the_run_files(finished):
    table = collect(finished.path)
    for k, point in enumerate(finished.plan.points):
        at = dict(zip(("model.L", "model.delta"), np.unravel_index(k, (3, 2)), strict=True))
        result = load(finished.run_path(point))
        length = point.spec.model["L"]
        row = table.isel(at)
        for name, measured in result.observables.items():
            inside = tuple(slice(0, n) for n in np.shape(measured.values))
            assert np.array_equal(row[name].values[inside], measured.values)
            assert np.array_equal(
                row[f"{name}_error"].values[inside], np.broadcast_to(measured.error, np.shape(measured.values))
            )
        assert np.isnan(row["current"].values[length:]).all()
        assert (
            row["run_id"].item() == point.run_id and row["certificate_residual"].item() == result.certificate.residual
        )
        assert row["bond_second"].values[: length + 1].tolist() == [*range(1, length), 0, -1][: 6 if length < 5 else 5]


def test_missing_and_damaged_points_are_marked_and_carry_no_numbers(tmp_path):
    table = collect(partly(tmp_path)).isel({"model.delta": 0})
    assert table["status"].values.tolist() == ["converged", "damaged", "missing"]
    assert np.isfinite(table["current"].values[0, :3]).all() and np.isnan(table["current"].values[1:]).all()
    assert table["reason"].values[1]
    with pytest.raises(InputError, match=r"L = 4 \(damaged\), L = 5 \(missing\)"):
        power_law(series_of(table.expand_dims("model.delta"), "current"))


def test_unconverged_points_keep_their_numbers_and_their_status(tmp_path):
    directory = run_sweep(SweepPlan.from_toml(HARD), tmp_path / "hard", workers=0)
    table = collect(directory)
    assert table["status"].values[0] == "converged" and table["status"].values[1] != "converged"
    assert np.isfinite(table["current"].values[1]).all()
    figure = plot_table(table, tmp_path / "hard.png")
    assert "NOT CONVERGED" in figure.get_supxlabel() and (tmp_path / "hard.png").stat().st_size > 0


@pytest.mark.parametrize("suffix", [".h5", ".nc"])
def test_netcdf_round_trip_is_exact_and_plain_xarray_reads_it(finished, tmp_path, suffix):
    table = collect(finished)
    path = write_table(table, tmp_path / f"table{suffix}")
    xarray.testing.assert_identical(read_table(path), table)
    with xarray.open_dataset(path) as plain:
        assert plain["correlation:Sp,Sm"].dims[-1] == "complex_part"
        np.testing.assert_array_equal(plain["current"].values, table["current"].values)


def test_csv_round_trip_is_exact(finished, tmp_path):
    table = collect(finished)
    again = read_table(write_table(table, tmp_path / "table.csv"))
    for name in ("current", "profile:Z_error", "correlation:Sp,Sm", "bond_first", "tol", "certificate_residual"):
        wide = table[name].values
        np.testing.assert_array_equal(again[name].values, wide.reshape(6, *wide.shape[2:]))
    assert again["status"].values.tolist() == ["converged"] * 6
    assert again["model.delta"].values.tolist() == [1.5, 1.0] * 3


def test_csv_has_one_row_per_value_and_one_for_a_point_without_any(tmp_path):
    path = write_table(collect(partly(tmp_path)), tmp_path / "table.csv")
    rows = path.read_text(encoding="utf-8").splitlines()
    assert (
        len(rows) == 1 + (3 + 3 + 1 + 9) + 1 + 1
    )  # head; bonds, sites, purity, correlations of L = 3; two empty points
    assert read_table(path)["status"].values.tolist() == ["converged", "damaged", "missing"]


def test_evolutions_have_a_time_axis(tmp_path):
    table = collect(run_sweep(SweepPlan.from_toml(EVOLVE), tmp_path / "evolve", workers=0))
    assert table["profile:Z"].dims == ("model.alpha", "time", "site")
    assert table["time_label"].values.tolist() == [[0.0, 0.5, 1.0]] * 2
    np.testing.assert_allclose(table["profile:Z"].values[:, 0], 1.0, atol=1e-12)
    again = read_table(write_table(table, tmp_path / "evolve.csv"))
    np.testing.assert_array_equal(again["profile:Z"].values, table["profile:Z"].values)
    np.testing.assert_array_equal(again["time_label"].values, table["time_label"].values)


def test_series_come_from_tables_of_both_shapes(finished, tmp_path):
    wide = collect(finished)
    flat = write_table(wide, tmp_path / "table.csv")
    for source in (wide, flat):
        series = series_of(source, "current", where={"model.delta": 1.0}, reduce="first")
        assert series.x.tolist() == [3, 4, 5] and series.x_name == "L"
        np.testing.assert_array_equal(series.y, wide["current"].values[:, 1, 0])
    errors = wide["current_error"].values[:, 1, 0]
    np.testing.assert_allclose(series.error, np.maximum(errors / 2, 1e-15 * np.abs(series.y)))  # claims are two sigma


def test_profiles_are_reduced_without_their_padding(finished):
    table = collect(finished)
    last = series_of(table, "profile:Z", where={"model.delta": 1.5}, reduce="last")
    assert last.y[0] == table["profile:Z"].values[0, 0, 2]
    mean = series_of(table, "profile:Z", where={"model.delta": 1.5}, reduce="mean")
    assert mean.y[0] == pytest.approx(np.nanmean(table["profile:Z"].values[0, 0]))


def test_averages_over_an_axis(finished):
    table = collect(finished)
    average = average_over(table, "model.delta", "current", reduce="first")
    pair = table["current"].values[:, :, 0]
    np.testing.assert_allclose(average.y, pair.mean(axis=1), rtol=1e-14)
    with pytest.raises(InputError, match="varies something else"):
        average_over(table, "solve.seed", "current")


def test_averages_over_disorder(tmp_path):
    directory = run_sweep(SweepPlan.from_toml(DISORDER), tmp_path / "disorder", workers=0)
    table = collect(directory)
    assert table["model.mu"].values.tolist() == [0, 1, 2, 3] and "uniform" in table["model.mu"].attrs["ensemble"]
    average = average_over(table, "model.mu", "current", reduce="mean")
    runs = [load(directory.run_path(p)).observables["current"].values.mean() for p in directory.plan.points]
    for k in range(2):
        sample = np.array(runs[4 * k : 4 * k + 4])
        assert average.y[k] == pytest.approx(sample.mean(), rel=1e-13)
        assert average.error[k] == pytest.approx(sample.std(ddof=1) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"observable": "curent"}, "observable"),
        ({"along": "model.l"}, "along"),
        ({"along": "status"}, "along"),
        ({"where": {"model.delta": 7.0}}, "where"),
        ({"where": {"model.gamma": 7.0}}, "where"),
        ({"reduce": "centre"}, "reduce"),
        ({"reduce": 17}, "reduce"),
        ({"observable": "correlation:Sp,Sm", "reduce": "mean"}, "observable"),
    ],
)
def test_wrong_choices_name_the_argument(finished, arguments, field):
    with pytest.raises(InputError) as told:
        series_of(collect(finished), **arguments)
    assert told.value.field == field


def test_files_that_are_no_tables(finished, tmp_path):
    run = finished.run_path(finished.plan.points[0])
    assert not is_table(run)
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n", encoding="utf-8")
    for path in (run, other, tmp_path / "absent.nc"):
        with pytest.raises(FileFormatError, match="not a table"):
            read_table(path)
    half = tmp_path / "half.csv"
    half.write_text("point,run_id,status\n0,a,converged\n", encoding="utf-8")
    with pytest.raises(FileFormatError, match="columns"):
        read_table(half)
    with pytest.raises(InputError, match="must end in"):
        write_table(collect(finished), tmp_path / "table.txt")
    with pytest.raises(InputError, match="does not exist"):
        write_table(collect(finished), tmp_path / "absent" / "table.nc")
    with pytest.raises(FileFormatError):
        collect(tmp_path)


def test_the_commands_collect_and_plot(finished, tmp_path):
    table, picture = tmp_path / "table.nc", tmp_path / "table.png"
    assert main(["collect", str(finished.path), "-o", str(table)]) == 0
    xarray.testing.assert_identical(read_table(table), collect(finished))
    assert main(["plot", str(table), "-o", str(picture)]) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_without_xarray_the_extra_is_named(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(NotSupportedError, match=r"pip install mpo_transport\[tables\]"):
        collect(finished)


@pytest.mark.parametrize("path", sorted((ROOT / "data" / "studies").glob("*.toml")), ids=lambda path: path.stem)
def test_the_studies_that_are_shipped_expand(path):
    plan = load_sweep(path)
    assert plan.name == path.stem and len({point.run_id for point in plan.points}) == len(plan.points)
    listed = (path.parent / "README.md").read_text(encoding="utf-8")
    assert f"| `{path.name}` | {len(plan.points)} |" in listed
    plan.points[0].spec.build_model()
    plan.points[-1].spec.build_method()
