"""The commands for sweeps: exit codes, refusals that write nothing, repetition, interruption, failures, output."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mpo_transport.cli import Exit, main
from mpo_transport.cli.sweep_display import SweepDisplay
from mpo_transport.storage import RunLock, load
from mpo_transport.sweep import SweepDirectory, load_sweep, run_point
from mpo_transport.sweep.execution import slurm

ROOT = Path(__file__).resolve().parents[2]
SWEEP = """
name = "study"
[base.model]
name = "persistent_current"
L = 3
delta = 1.5
[axes]
"model.alpha" = [1.0, 2.0]
"""
SLOW = """
[base.model]
name = "persistent_current"
L = 6
delta = 1.0
periodic = false
[base.method]
name = "TEBD"
dt = 0.03
[base.solve]
tol = 1e-4
[base.output]
checkpoint_every = 0.02
[axes]
"model.alpha" = [2.0, 2.5]
"""


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP)
    return path


def call(capsys, *arguments):
    """Exit code, stdout and stderr of one command."""
    code = main([str(a) for a in arguments])
    return (code, *capsys.readouterr())


def files_of(path: Path) -> dict[str, int]:
    return {str(p.relative_to(path)): p.stat().st_mtime_ns for p in path.rglob("*") if p.is_file()}


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def command(*arguments) -> list[str]:
    code = "import sys; from mpo_transport.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, *map(str, arguments)]


# -- carried out, repeated, shown --------------------------------------------------------------------------------------


def test_sweep_status_and_repetition(sweep, tmp_path, capsys):
    out = tmp_path / "out"
    code, text, error = call(capsys, "sweep", sweep, "--out", out, "--workers", 0)
    assert (code, error) == (0, "") and "2 points: 2 done" in text
    before = files_of(out)
    code, text, error = call(capsys, "sweep", sweep, "--out", out, "--workers", 0)
    assert (code, error) == (0, "") and "2 of 2 points are finished" in text
    assert files_of(out) == before
    assert call(capsys, "sweep", sweep, "--out", out, "--workers", 0, "-q")[:2] == (0, "")
    code, text, error = call(capsys, "status", out)
    assert (code, error) == (0, "") and text == "2 points: 2 done\n"
    assert files_of(out) == before


def test_a_run_file_of_a_sweep_is_an_ordinary_run(sweep, tmp_path, capsys):
    call(capsys, "sweep", sweep, "--out", tmp_path / "out", "--workers", 0)
    directory = SweepDirectory.open(tmp_path / "out")
    code, text, _ = call(capsys, "show", directory.run_path(directory.plan.points[0]))
    assert code == 0 and "converged" in text


def test_the_directory_is_named_after_the_sweep(sweep, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "sweep", sweep, "--workers", 0, "-q")[0] == 0
    assert (tmp_path / "study" / "sweep.toml").exists()


def test_status_as_json_and_watching_a_finished_sweep(sweep, tmp_path, capsys):
    out = tmp_path / "out"
    call(capsys, "sweep", sweep, "--out", out, "--workers", 0)
    code, text, error = call(capsys, "status", out, "--json")
    facts = json.loads(text)
    assert (code, error) == (0, "") and facts["counts"]["done"] == 2 and facts["remaining_seconds"] == 0
    assert [Path(p["file"]).exists() for p in facts["points"]] == [True, True]
    assert call(capsys, "status", out, "--watch")[:2] == (0, "2 points: 2 done\n")


def test_an_unfinished_sweep_has_a_code_of_its_own(sweep, tmp_path, capsys):
    out = tmp_path / "out"
    SweepDirectory.create(out, SweepDirectory.open(_made(sweep, tmp_path, capsys)).plan)
    code, text, _ = call(capsys, "status", out)
    assert code == Exit.INTERRUPTED and "0 done, 2 waiting" in text


def _made(sweep, tmp_path, capsys) -> Path:
    call(capsys, "sweep", sweep, "--out", tmp_path / "made", "--workers", 0, "-q")
    return tmp_path / "made"


def test_points_that_do_not_converge(sweep, tmp_path, capsys):
    settings = ["method.name=TEBD", "method.max_bond=2", "method.dt=0.2", "model.periodic=false", "solve.tol=1e-9"]
    overrides = [x for s in settings for x in ("--set", s)]
    code, text, _ = call(capsys, "sweep", sweep, "--out", tmp_path / "out", "--workers", 0, *overrides)
    assert code == Exit.NOT_CONVERGED and "2 not converged" in text and "max_bond" in text


# -- failing points ----------------------------------------------------------------------------------------------------


def test_a_failing_point_is_listed_with_its_reason_and_tried_again(sweep, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ("sweep", sweep, "--out", out, "--workers", 0, "--set", "axes.model.alpha=[1.0, 1e200]")
    code, text, error = call(capsys, *arguments)
    assert code == Exit.POINTS_FAILED and "1 done, 1 failed" in text
    assert "point 1 failed: " in error and "overflows" in error and "overflows" in text
    code, text, _ = call(capsys, "status", out)
    assert code == Exit.POINTS_FAILED and "model.alpha=1e+200" in text and "overflows" in text
    before = files_of(out)
    assert call(capsys, *arguments)[0] == Exit.POINTS_FAILED and files_of(out) == before
    code, _, error = call(capsys, *arguments, "--retry")
    assert code == Exit.POINTS_FAILED and "point 1 (model.alpha=1e+200) is tried again" in error
    assert SweepDirectory.open(out).states()[1].attempts == 2


def test_points_of_array_tasks_have_the_codes_of_single_runs(sweep, tmp_path, capsys):
    out = tmp_path / "out"
    sweep.write_text(SWEEP.replace("[1.0, 2.0]", "[1.0, 1e200]"))
    call(capsys, "sweep", sweep, "--out", out, "--set", "axes.model.alpha=[1.0, 1e200]", "--workers", 0, "-q")
    directory = SweepDirectory.open(out)
    first, second = directory.plan.points
    assert call(capsys, "sweep-point", out, 0)[0] == 0
    code, _, error = call(capsys, "sweep-point", out, 1)
    assert code == Exit.BAD_INPUT and "overflows" in error
    for path in (directory.run_path(first), directory.record_path(first)):
        path.unlink()
    with RunLock(directory.record_path(first)):
        assert call(capsys, "sweep-point", out, 0)[0] == Exit.RUN_CONFLICT
    code, text, _ = call(capsys, "sweep-point", out, 0)
    assert code == 0 and text == "point 0 (model.alpha=1): done\n"
    assert call(capsys, "sweep-point", out, 2)[0] == Exit.BAD_INPUT
    assert call(capsys, "sweep-point", tmp_path, 0)[0] == Exit.DAMAGED_FILE  # the file there is the user's own
    assert "sweep-point" not in call(capsys, "--help")[1] and second.index == 1


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "axes.model.alfa=[1]"], "did you mean 'alpha'"),
        (["--set", "model.Lx=1"], "did you mean 'L'"),
        (["--set", "sweep.max_points=1"], "--yes"),
        (["--set", "axes=[{'model.alpha'=[1,2], 'model.mu'=[1]}]"], "`model.mu` has 1"),
        (["--workers", "0", "--slurm"], "--slurm without --workers"),
        (["--set", "warm_start.along=model.alpha", "--set", "method.name=ExactDiag"], "warm_start.along"),
    ],
)
def test_bad_input_writes_nothing(arguments, words, sweep, tmp_path, capsys):
    out = tmp_path / "out"
    code, text, error = call(capsys, "sweep", sweep, "--out", out, *arguments)
    assert code == Exit.BAD_INPUT and text == ""
    assert words in error and error.count("\n") == 1 and "Traceback" not in error
    assert not out.exists()


def test_more_points_than_allowed_need_a_yes(sweep, tmp_path, capsys):
    arguments = ("sweep", sweep, "--out", tmp_path / "out", "--workers", 0, "--set", "sweep.max_points=1", "-q")
    assert call(capsys, *arguments)[0] == Exit.BAD_INPUT
    assert call(capsys, *arguments, "--yes")[0] == 0
    assert call(capsys, "status", tmp_path / "out")[0] == 0


def test_the_directory_of_another_sweep_is_refused_with_the_difference(sweep, tmp_path, capsys):
    out = tmp_path / "out"
    call(capsys, "sweep", sweep, "--out", out, "--workers", 0, "-q")
    before = files_of(out)
    code, text, error = call(capsys, "sweep", sweep, "--out", out, "--set", "axes.model.alpha=[1.0, 3.0]")
    assert code == Exit.RUN_CONFLICT and text == "" and "axes.model.alpha: [1, 2] -> [1, 3]" in error
    assert files_of(out) == before


def test_a_file_of_the_user_is_not_replaced(sweep, tmp_path, capsys):
    before = files_of(tmp_path)
    code, _, error = call(capsys, "sweep", sweep, "--out", tmp_path, "--workers", 0)
    assert code == Exit.BAD_INPUT and "a file of yours" in error
    assert files_of(tmp_path) == before


def test_dry_run_refuses_nothing_and_writes_nothing(sweep, tmp_path, capsys):
    out = tmp_path / "out"
    settings = ["axes.model.L=[3, 30]", "method.name=ExactDiag", "sweep.max_points=1"]
    overrides = [x for s in settings for x in ("--set", s)]
    code, text, error = call(capsys, "sweep", sweep, "--out", out, "--dry-run", *overrides)
    assert (code, error) == (0, "") and not out.exists()
    rows = [line for line in text.splitlines() if "model.L=" in line]
    assert len(rows) == 4
    assert all("ExactDiag" in r and " MiB" in r and " s " in r for r in rows if "model.L=3 " in r or r.endswith("L=3"))
    assert sum("refused" in r for r in rows) == 2 and "2 points will be refused" in text and "total" in text


def test_clusters_that_are_not_there(sweep, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    code, _, error = call(capsys, "sweep", sweep, "--out", tmp_path / "out", "--slurm")
    assert code == Exit.NO_CLUSTER and "sbatch" in error and "Traceback" not in error
    monkeypatch.setitem(sys.modules, "dask", None)
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "mpo_transport.sweep.execution.dask", raising=False)
    code, _, error = call(capsys, "sweep", sweep, "--out", tmp_path / "out", "--dask", "local")
    assert code == Exit.BAD_INPUT and "mpo_transport[cluster]" in error


# -- processes ---------------------------------------------------------------------------------------------------------


def test_a_terminated_sweep_is_saved_and_goes_on_bit_for_bit(tmp_path, capsys):
    sweep = tmp_path / "slow.toml"
    sweep.write_text(SLOW)
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    running = subprocess.Popen(
        command("sweep", sweep, "--out", broken, "--workers", 1),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    limit = time.monotonic() + 60
    while not list(broken.glob("runs/*.h5")) and running.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    text, error = running.communicate(timeout=60)
    assert running.returncode == Exit.INTERRUPTED, error
    assert "unfinished; go on with: mpo-transport sweep" in error and "Traceback" not in error
    assert " waiting" in text and "stopped by a signal and saved" in text
    assert not list(broken.rglob("*.lock"))

    one = SweepDirectory.open(broken)
    (point,) = [p for p, s in zip(one.plan.points, one.states(), strict=True) if s.word == "interrupted"]
    assert load(one.run_path(point)).cost.steps > 0
    assert call(capsys, "sweep", sweep, "--out", broken, "--workers", 0, "-q")[0] == 0
    assert [s.word for s in one.states()] == ["done", "done"] and one.state(point).attempts == 2
    other = SweepDirectory.create(unbroken, one.plan)
    run_point(other, point, progress=False)
    a, b = load(one.run_path(point)), load(other.run_path(point))
    assert a.cost.steps == b.cost.steps and a.certificate == b.certificate
    for name, array in a.state.arrays().items():
        assert np.asarray(array).tobytes() == np.asarray(b.state.arrays()[name]).tobytes()


def test_on_a_terminal_the_tables_are_drawn(tmp_path, capsys, sweep):
    out = tmp_path / "out"
    arguments = ("sweep", sweep, "--out", out, "--workers", 0, "--set", "axes.model.alpha=[1.0, 1e200]")
    master, slave = pty.openpty()
    process = subprocess.Popen(command(*arguments), stdout=slave, stderr=slave, env=environment())
    os.close(slave)
    seen = b""
    while select.select([master], [], [], 60)[0]:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(master)
    assert process.wait(timeout=60) == Exit.POINTS_FAILED
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert "point 1 failed" in text and "┃ running ┃" in text and "┃ coordinates " in text
    plain = call(capsys, "status", out)[1]
    assert "┃" not in plain and "\x1b" not in plain and "overflows" in plain


def test_without_a_terminal_progress_is_plain_lines(tmp_path, capsys, sweep):
    directory = SweepDirectory.create(tmp_path / "out", load_sweep(sweep))
    with SweepDisplay(directory, every=0.0) as display:
        for point in directory.plan.points:
            display.update(run_point(directory, point))
    text, error = capsys.readouterr()
    assert text == "" and error.startswith("2 points: 1 done, 1 waiting; about ") and "\x1b" not in error
    with SweepDisplay(directory, every=0.0, quiet=True) as display:
        display.update(run_point(directory, directory.plan.points[0]))
    assert capsys.readouterr() == ("", "")
