"""The command: exit codes, sentences on stderr, nothing written on bad input, finished runs not repeated."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpo_transport.cli import Exit, main
from mpo_transport.cli.exits import exit_of_error, exit_of_status
from mpo_transport.cli.output import number_text
from mpo_transport.errors import (
    ConvergenceError,
    DegenerateSteadyStateError,
    FileFormatError,
    InputError,
    InsufficientMemoryError,
    MpoTransportError,
    NotSupportedError,
    RunConflictError,
    SaveError,
)
from mpo_transport.result import Status
from mpo_transport.storage import load

ROOT = Path(__file__).resolve().parents[2]
SPEC = """
name = "ring"
observables = ["current", "profile:Z", "purity"]
[model]
name = "persistent_current"
L = 4
alpha = 2.0
delta = 1.5
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "ring.toml"
    path.write_text(SPEC)
    return path


def call(capsys, *arguments):
    """Exit code, stdout and stderr of one command."""
    code = main([str(a) for a in arguments])
    return (code, *capsys.readouterr())


# -- run, show, plot, check --------------------------------------------------------------------------------------------


def test_run_show_plot_check(spec, tmp_path, capsys):
    out = tmp_path / "results"
    code, text, error = call(capsys, "run", spec, "--out", out)
    assert code == Exit.CONVERGED and error == ""
    assert "0.57072126651" in text and "-0.18868459735" in text and "0.24594827704" in text
    assert "ExactDiag" in text and "chosen because" in text and "residual" in text
    assert sorted(p.name for p in out.glob("*.h5")) == ["ring.h5"]

    code, shown, _ = call(capsys, "show", out / "ring.h5")
    assert code == 0 and "0.57072126651" in shown and "numpy" in shown
    code, checked, _ = call(capsys, "check", out / "ring.h5")
    assert code == 0 and "intact" in checked
    code, _, _ = call(capsys, "plot", out / "ring.h5", "-o", tmp_path / "ring.png")
    assert code == 0 and (tmp_path / "ring.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_run_is_shown_and_not_repeated(spec, tmp_path, capsys):
    assert call(capsys, "run", spec, "--out", tmp_path)[0] == 0
    before = (tmp_path / "ring.h5").stat().st_mtime_ns
    code, text, error = call(capsys, "run", spec, "--out", tmp_path)
    assert code == 0 and "finished earlier" in error and "0.57072126651" in text
    assert (tmp_path / "ring.h5").stat().st_mtime_ns == before
    code, text, _ = call(capsys, "resume", tmp_path / "ring.h5")
    assert code == 0 and "0.57072126651" in text


def test_a_changed_specification_is_refused(spec, tmp_path, capsys):
    call(capsys, "run", spec, "--out", tmp_path)
    before = (tmp_path / "ring.h5").read_bytes()
    code, text, error = call(capsys, "run", spec, "--out", tmp_path, "--set", "model.alpha=3")
    assert code == Exit.RUN_CONFLICT and text == ""
    assert "model.alpha: 2 -> 3" in error and "Traceback" not in error
    assert (tmp_path / "ring.h5").read_bytes() == before


def test_without_a_name_the_run_id_is_the_file(spec, tmp_path, capsys):
    spec.write_text(SPEC.replace('name = "ring"', ""))
    assert call(capsys, "run", spec, "--out", tmp_path / "o", "-q")[:2] == (0, "")
    assert call(capsys, "run", spec, "--out", tmp_path / "o", "-q", "--set", "model.delta=1.0")[0] == 0
    names = [p.stem for p in (tmp_path / "o").glob("*.h5")]
    assert len(names) == 2 and all(len(n) == 16 and int(n, 16) >= 0 for n in names)


def test_figure_beside_the_file(spec, tmp_path, capsys):
    code, _, _ = call(capsys, "run", spec, "--out", tmp_path, "--set", "output.figure=ring.svg", "-q")
    assert code == 0
    assert "NOT CONVERGED" not in (tmp_path / "ring.svg").read_text()


def test_evolution(spec, tmp_path, capsys):
    settings = ["solve.task=evolve", "solve.initial=down", "solve.times=[0.0, 0.05, 1.0]", "model.L=5", "name=moving"]
    code, text, _ = call(capsys, "run", spec, "--out", tmp_path, *(x for s in settings for x in ("--set", s)))
    assert code == 0
    # 0.2779378136 at t = 1 belongs to an independent integration from the vacuum of the ring of five
    assert "-0.11484163" in text and "0.27793781" in text
    assert load(tmp_path / "moving.h5").times.tolist() == [0.0, 0.05, 1.0]


# -- other endings -----------------------------------------------------------------------------------------------------


def test_not_unique(spec, tmp_path, capsys):
    code, text, _ = call(capsys, "run", spec, "--out", tmp_path, "--set", "model.mu=0.0")
    assert code == Exit.NOT_UNIQUE and "not unique" in text
    assert call(capsys, "show", tmp_path / "ring.h5")[0] == Exit.NOT_UNIQUE


def test_not_converged_says_so_everywhere(spec, tmp_path, capsys):
    settings = ["method.name=TEBD", "method.max_bond=2", "method.dt=0.2", "model.periodic=false", "solve.tol=1e-9"]
    overrides = [x for s in settings for x in ("--set", s)]
    code, text, _ = call(capsys, "run", spec, "--out", tmp_path, "--set", "output.figure=a.svg", *overrides)
    assert code == Exit.NOT_CONVERGED
    assert "NOT CONVERGED" in text and "max_bond" in text
    assert 'id="watermark"' in (tmp_path / "a.svg").read_text()
    assert call(capsys, "show", tmp_path / "ring.h5")[0] == Exit.NOT_CONVERGED


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.L=2", "model.L"),
        ("model.Lx=2", "did you mean 'L'"),
        ("model.kappa=-1", "kappa"),
        ("method.name=TBED", "did you mean 'TEBD'"),
        ("solve.tol=-1", "solve.tol"),
        ("observables=['profile:W']", "observables[0]"),
        ("model.levels=inf", "Z"),
    ],
)
def test_bad_input_writes_nothing(setting, words, spec, tmp_path, capsys):
    out = tmp_path / "results"
    code, text, error = call(capsys, "run", spec, "--out", out, "--set", setting)
    assert code == Exit.BAD_INPUT and text == ""
    assert words in error and "Traceback" not in error and error.count("\n") == 1
    assert not out.exists()


def test_a_method_that_does_not_fit_is_refused_with_the_reason_before_anything_is_written(spec, tmp_path, capsys):
    out = tmp_path / "results"
    code, _, error = call(capsys, "run", spec, "--out", out, "--set", "model.L=30", "--set", "method.name=ExactDiag")
    assert code == Exit.BAD_INPUT and "ExactDiag does not support this model" in error
    assert not out.exists()


def test_output_directory_that_cannot_be_made(spec, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    code, _, error = call(capsys, "run", spec, "--out", tmp_path / "file" / "results")
    assert code == Exit.BAD_INPUT and "output directory" in error


def test_damaged_foreign_and_missing_files(spec, tmp_path, capsys):
    call(capsys, "run", spec, "--out", tmp_path, "-q")
    whole = (tmp_path / "ring.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    for command in ("show", "check", "resume"):
        for path in (tmp_path / "cut.h5", spec, tmp_path / "none.h5"):
            code, _, error = call(capsys, command, path)
            assert code == Exit.DAMAGED_FILE, (command, path)
            assert path.name in error and "Traceback" not in error
    assert call(capsys, "plot", tmp_path / "cut.h5", "-o", tmp_path / "x.png")[0] == Exit.DAMAGED_FILE
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("arguments", [["run"], ["frobnicate"], ["run", "a.toml", "--nonsense"], ["reproduce"]])
def test_usage_errors(arguments, capsys):
    code, _, error = call(capsys, *arguments)
    assert code == Exit.BAD_INPUT and "Usage" in error


def test_debug_raises(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml"):
        main(["--debug", "run", str(tmp_path / "none.toml")])


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("methods", ["ExactDiag", "TEBD", "ClusterMeanField", "max_bond"]),
        ("models", ["persistent_current", "dissipator_distance"]),
        ("observables", ["negativity", "sites_a", "current"]),
    ],
)
def test_lists(command, words, capsys):
    code, text, _ = call(capsys, command)
    assert code == 0 and all(w in text for w in words)


def test_help_lists_every_exit_code_and_the_page_does_too(capsys):
    code, text, _ = call(capsys, "--help")
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert code == 0
    squeezed = " ".join(text.split())
    for entry in Exit:
        assert f"{entry.value} {entry.meaning}" in squeezed
        assert f"| {entry.value} | {entry.meaning} |" in page
    assert call(capsys, "--version")[:2] == (0, "0.1.0\n") or call(capsys, "--version")[0] == 0


METHODS = ("ExactDiag", "TEBD", "ClusterMeanField")


def test_crosscheck(spec, tmp_path, capsys):
    code, text, _ = call(
        capsys, "crosscheck", spec, "--set", "model.periodic=false", "--set", "solve.tol=1e-4", "--set",
        "observables=['current']", "--out", tmp_path / "o", *(x for m in METHODS for x in ("--method", m)),
    )  # fmt: skip
    assert code == 0
    rows = {line.split("(")[0].strip(): line for line in text.splitlines() if "(" in line and "converged" in line}
    assert "reference" in rows["ExactDiag"] and "yes" in rows["TEBD"] and "none" in rows["ClusterMeanField"]
    table = (tmp_path / "o" / "ring_crosscheck.csv").read_text().splitlines()
    assert table[1].startswith("method,status,observable") and len(table) == 2 + 3 * 3


def test_crosscheck_of_every_method(capsys):
    spec = Path(__file__).resolve().parents[2] / "data/crosscheck_short_chain.toml"
    code, text, _ = call(capsys, "crosscheck", spec)  # as scripts/demo does
    assert code == 0
    assert "InfiniteTEBD" not in text and "ChainGrowth(): " in text


def test_crosscheck_tells_what_is_not_affordable(spec, capsys):
    code, text, _ = call(
        capsys, "crosscheck", spec, "--set", "model.L=40", "--method", "ExactDiag", "--method", "ClusterMeanField"
    )
    assert code == 0
    assert "not supported" in text and "1.1e+12" in text


def test_reproduce(tmp_path, capsys):
    code, text, _ = call(capsys, "reproduce", "persistent-currents", "fig7", "--quick", "--out", tmp_path)
    assert code == 0 and "arXiv:1809.02964" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fig7.csv", "fig7.png"]
    assert call(capsys, "reproduce", "persistent-currents", "fig8", "--out", tmp_path)[0] == Exit.BAD_INPUT
    assert call(capsys, "reproduce", "persistnt-currents")[0] == Exit.BAD_INPUT


# -- the map from endings to codes -------------------------------------------------------------------------------------


def test_codes_are_distinct_and_every_status_has_one():
    assert len({e.value for e in Exit}) == len(Exit)
    assert {s: int(exit_of_status(s)) for s in Status} == {
        Status.CONVERGED: 0,
        Status.NOT_CONVERGED: 3,
        Status.STALLED_BY_TRUNCATION: 3,
        Status.UNPHYSICAL: 4,
        Status.NOT_FINITE: 4,
        Status.INTERRUPTED: 5,
        Status.NOT_UNIQUE: 6,
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), 2),
        (NotSupportedError("x"), 2),
        (InsufficientMemoryError("x"), 2),
        (OSError(28, "No space left on device"), 2),
        (ConvergenceError("x"), 3),
        (DegenerateSteadyStateError("x", dimension=4), 6),
        (FileFormatError("x"), 7),
        (RunConflictError("x"), 8),
        (SaveError("x"), 9),
        (ValueError("x"), None),
        (MpoTransportError("x"), None),
    ],
)
def test_code_of_errors(error, code):
    assert exit_of_error(error) == code


def test_numbers_have_the_digits_their_error_allows():
    assert number_text(0.123456789, 1e-3) == "0.1235"
    assert number_text(0.123456789, 3e-7) == "0.12345679"
    assert number_text(-1e-18, 1e-12) == "0.000000000000"
    assert number_text(1 + 2j, 1e-2) == "1.000+2.000j"


# -- as a process ------------------------------------------------------------------------------------------------------


def process(*arguments):
    """The command in a process of its own, which says that it has loaded matplotlib if its import does so."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    code = (
        "import sys; from mpo_transport.cli import main; print(*{'matplotlib'} & {*sys.modules}, file=sys.stderr); "
        "sys.exit(main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def test_a_terminated_run_is_saved_and_resumed(spec, tmp_path, capsys):
    settings = [
        "model.L=12",
        "model.delta=1.0",
        "model.periodic=false",
        "method.name=TEBD",
        "output.checkpoint_every=0.05",
    ]
    running = process("run", spec, "--out", tmp_path, *(x for s in settings for x in ("--set", s)))
    deadline = time.monotonic() + 60
    while not (tmp_path / "ring.h5").exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    text, error = running.communicate(timeout=60)
    assert running.returncode == Exit.INTERRUPTED, error
    assert f"mpo-transport resume {tmp_path / 'ring.h5'}" in error and "Traceback" not in error
    assert "NOT CONVERGED" in text and "interrupted" in text
    assert error.startswith("\n")  # pictures are drawn when asked for: the import has not loaded matplotlib

    code, text, _ = call(capsys, "resume", tmp_path / "ring.h5", "--quiet")
    assert (code, text) == (0, "")
    finished = load(tmp_path / "ring.h5")
    assert finished.converged and "purity" in finished.observables
