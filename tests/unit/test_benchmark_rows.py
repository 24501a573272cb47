"""The harness of the matrix-product benchmark: rows, files, tables, and works that this version does not have."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def on_the_path():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def rows():
    ours = {"run": "1", "date": "2026-01-01", "work": "w1-1e-4", "method": "TEBD", "cpu_s": 0.5, "error": 2e-5,
            "claimed": 1e-4, "value": 0.8596, "chi": 16, "peak_MiB": 100.0, "versions": {"numpy": "2.0"}}  # fmt: skip
    return [
        {**ours, "cpu_s": 9.0},  # an older measurement of the same row
        ours,
        {**ours, "method": "auto", "ran": "ImplicitSweeps", "error": 5e-4, "cpu_s": 0.1},  # too inaccurate to compare
        {**ours, "method": "TeNPy", "peer": True, "cpu_s": 20.0, "error": 9e-5, "claimed": None},
        {"run": "1", "date": "2026-01-02", "work": "xx100", "method": "LocalDivergence", "status": "not available"},
    ]


def test_rows_survive_an_interruption(tmp_path):
    from _rows import append_json, read_json

    path = tmp_path / "deep" / "rows.jsonl"
    for row in rows():
        append_json(path, row)
    with path.open("a") as handle:
        handle.write('{"work": "cut sho')
    assert read_json([path]) == rows()
    with pytest.raises(ValueError):
        append_json(path, {"error": float("nan")})  # would not be JSON


def test_the_table_takes_the_last_row_and_compares_with_accurate_ones():
    from mpo import latest, markdown

    assert [r["cpu_s"] for r in latest(rows()) if r["method"] == "TEBD"] == [0.5]
    table = markdown(rows()).splitlines()
    tenpy = next(line for line in table if "TeNPy" in line)
    assert tenpy.rstrip(" |").endswith("40")  # 20 s over 0.5 s; the row of 0.1 s is not as accurate
    assert any("auto: ImplicitSweeps" in line for line in table) and any("not available" in line for line in table)
    assert len({line.count("|") for line in table}) == 1


def test_the_table_is_put_between_its_marks(tmp_path):
    from mpo import BEGIN, END, put_into

    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_into(page, rows())
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "2026-01-01, 2026-01-02" in text and "numpy 2.0" in text
    page.write_text("no marks")
    with pytest.raises(SystemExit):
        put_into(page, rows())


def test_methods_are_read_from_their_text():
    from _works import NotAvailable, named_method

    import mpo_transport as mt

    assert named_method("auto") is None
    assert named_method('TEBD(max_bond=8, layout="dense")') == mt.TEBD(max_bond=8, layout="dense")
    for missing in ("NoSuchMethod", "TEBD(no_such_knob=1)"):
        with pytest.raises(NotAvailable):
            named_method(missing)
    with pytest.raises(SystemExit):
        named_method("TEBD(max_bond=__import__('os'))")


def test_converged_values_come_with_their_error():
    from _works import CONVERGED, SETS

    known = json.loads(CONVERGED.read_text())
    for suffix in SETS:
        entry = known["w1" + suffix]
        assert len(entry["current"]) == 29 and len(entry["profile"]) == 30 and 0 < entry["uncertainty"] < 1e-8
        assert max(abs(a - b) for a, b in zip(entry["current"], entry["current"][::-1], strict=True)) < 1e-8


@pytest.mark.slow
def test_a_row_is_measured_in_a_process_of_its_own(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "mpo.py"), "--only", "small5", "--json", str(tmp_path / "rows.jsonl")]
    root = str(BENCHMARKS.parents[1])
    run = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin"})
    assert run.returncode == 0, run.stderr
    (row,) = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert row["status"] == "converged" and row["error"] < 1e-8 and row["cpu_s"] > 0 and row["peak_MiB"] > 50
    assert {"date", "versions", "chi", "claimed", "method", "wall_s"} <= set(row)
