"""What `check` finds: damaged bytes, and files whose bytes are intact but which do not tell the truth."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from storage.faults import flipped
from toy_methods import Relaxation, known, pumped_chain

from mpo_transport import Boson, Chain, Jump, Lindbladian, OpSum, op
from mpo_transport.cli import Exit, main
from mpo_transport.methods import METHODS as REGISTERED
from mpo_transport.methods import TEBD, ClusterMeanField, ExactDiag, ImplicitSweeps, Trajectories
from mpo_transport.models import boundary_driven_xx
from mpo_transport.observables import profile
from mpo_transport.result import Status
from mpo_transport.solve import audit, evolve, steady_state
from mpo_transport.solve.audit_checks import residual_of
from mpo_transport.states import DenseState, MPOState
from mpo_transport.storage import load_checkpoint, previous_path, save_checkpoint
from mpo_transport.superoperator import dense_lindbladian

MODEL = pumped_chain(3)
OBSERVABLES = {"N": profile(MODEL, "N"), "hop": op("Sp", 0) * op("Sm", 1)}


def verdicts(found) -> dict[str, str]:
    return {f.name: f.verdict for f in found.findings}


@pytest.fixture
def run(tmp_path):
    """A finished run, as it is stored."""
    path = tmp_path / "first.h5"
    steady_state(MODEL, ExactDiag(), checkpoint=path, observables=OBSERVABLES)
    return load_checkpoint(path)


def stored(tmp_path, run, **changes):
    """A file with every checksum right that says something else."""
    return audit(save_checkpoint(replace(run, **changes), tmp_path / "lie.h5"))


METHODS = {
    "exact": ExactDiag(),
    "sweeps": TEBD(max_bond=16),
    "implicit": ImplicitSweeps(),
    "mean field": ClusterMeanField(),
    "trajectories": Trajectories(trajectories=6, burn_in=1.0, sampling_time=2.0),
}


@pytest.mark.parametrize("name", METHODS)
def test_what_every_method_writes_is_sound(tmp_path, name):
    path = tmp_path / "run.h5"
    steady_state(MODEL, METHODS[name], tol=1e-4, on_failure="return", checkpoint=path, observables=OBSERVABLES)
    found = audit(path)
    assert found.verdict == "sound", str(found)
    known_checks = verdicts(found)
    assert (
        known_checks["status"] == known_checks["trace"] == known_checks["positivity"] == known_checks["model"] == "ok"
    )
    assert known_checks["observable N"] == known_checks["observable hop"] == "ok"
    assert known_checks["residual"] == ("ok" if name in ("exact", "sweeps", "implicit") else "skipped")


def test_unbounded_modes_are_held_against_their_state_as_well(tmp_path):
    model = boundary_driven_xx(4, t=0.7, G_L=1.0, f_L=0.8, G_R=0.6, f_R=0.1, levels=math.inf)
    path = tmp_path / "run.h5"
    steady_state(model, REGISTERED["Gaussian"](), checkpoint=path, observables={"N": profile(model, "N")})
    found = audit(path)
    assert found.verdict == "sound" and verdicts(found)["positivity"] == "skipped"
    assert verdicts(found)["certificate.identity_residual"] == verdicts(found)["observable N"] == "ok"
    run = load_checkpoint(path)
    lie = stored(tmp_path, run, certificate=replace(run.certificate, identity_residual=0.1))
    assert [f.name for f in lie.failed] == ["certificate.identity_residual"]


def test_unfinished_runs_evolutions_and_degenerate_states_are_sound(tmp_path):
    with known(Relaxation):
        import os
        import signal

        stop = lambda step, d: os.kill(os.getpid(), signal.SIGTERM) if step == 3 else None  # noqa: E731
        steady_state(MODEL, Relaxation(), checkpoint=tmp_path / "part.h5", progress=stop)
        found = audit(tmp_path / "part.h5")
        assert found.verdict == "sound" and found.status == "interrupted" and verdicts(found)["restart"] == "ok"
    evolve(MODEL, "up", [0.1, 0.3], OBSERVABLES, ExactDiag(), checkpoint=tmp_path / "moving.h5")
    found = audit(tmp_path / "moving.h5")
    assert found.verdict == "sound" and verdicts(found)["times"] == verdicts(found)["observable hop"] == "ok"
    dark = Lindbladian(Chain(2, MODEL.lattice.spaces[0]), op("Z", 0) * op("Z", 1), [Jump(op("Z", 0))])
    steady_state(dark, ExactDiag(), checkpoint=tmp_path / "dark.h5", on_failure="return")
    found = audit(tmp_path / "dark.h5")
    assert (found.verdict, found.status) == ("sound", "not_unique"), str(found)


@pytest.mark.parametrize(
    ("certificate", "status", "check"),
    [
        ({"error_estimate": 1e-3}, Status.CONVERGED, "status"),
        ({"error_estimate": float("nan")}, Status.CONVERGED, "status"),
        ({"smallest_eigenvalue": -0.1}, Status.CONVERGED, "status"),
        ({}, Status.UNPHYSICAL, "status"),
        ({"smallest_eigenvalue": 0.01}, Status.CONVERGED, "certificate.smallest_eigenvalue"),
        ({"identity_residual": 1e-3}, Status.CONVERGED, "certificate.identity_residual"),
        ({"residual": 1e-5}, Status.CONVERGED, "residual"),
    ],
)
def test_a_status_or_certificate_that_is_not_that_of_the_state_is_found(tmp_path, run, certificate, status, check):
    found = stored(tmp_path, run, certificate=replace(run.certificate, **certificate), status=status)
    assert found.intact and found.verdict == "contradictory" and verdicts(found)[check] == "failed", str(found)


def disturbed(rho: np.ndarray, kind: str) -> np.ndarray:
    out = rho.copy()
    if kind == "trace":
        return 1.01 * out
    if kind == "hermiticity":
        out[0, 1] += 0.01j
        out[1, 0] += 0.01j
    elif kind == "positivity":
        out -= 0.5 * np.diag([1, 0, 0, 0, 0, 0, 0, -1.0])
    elif kind == "stationarity":
        out += 1e-4 * np.diag([1, -1, 0, 0, 0, 0, 0, 0])
    return out


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("trace", "trace"),
        ("hermiticity", "hermiticity"),
        ("positivity", "positivity"),
        ("stationarity", "residual"),
        ("stationarity", "observable N"),
    ],
)
def test_a_state_that_is_not_the_one_certified_is_found(tmp_path, run, kind, check):
    found = stored(tmp_path, run, state=DenseState(MODEL.lattice, disturbed(run.state.rho, kind)))
    assert found.verdict == "contradictory" and verdicts(found)[check] == "failed", str(found)


def test_other_contradictions_are_found(tmp_path, run):
    shifted = replace(run.observables["N"], values=run.observables["N"].values + 1e-6)
    found = stored(tmp_path, run, observables={**run.observables, "N": shifted})
    assert [f.name for f in found.failed] == ["observable N"] and found.failed[0].value == pytest.approx(1e-6)
    found = stored(tmp_path, run, model=pumped_chain(3, gain=0.8))
    assert {"model", "residual"} <= {f.name for f in found.failed}
    assert {"status"} == {f.name for f in stored(tmp_path, run, tol=-1.0).failed}
    found = stored(tmp_path, run, status=None)
    assert {"restart"} == {f.name for f in found.failed}, str(found)


def test_without_observables_in_the_file_it_says_that_it_could_not_look(tmp_path):
    path = steady_state(MODEL, ExactDiag(), observables=OBSERVABLES).save(tmp_path / "run.h5")
    found = audit(path)
    assert found.verdict == "sound" and verdicts(found)["observable N"] == "skipped"
    assert verdicts(found)["specification"] == "skipped"


def test_residuals_are_those_of_the_dense_generator():
    model = pumped_chain(3, gain=0.4)
    state = steady_state(pumped_chain(3), ExactDiag()).state
    dense = dense_lindbladian(model) @ state.rho.ravel()
    exact = np.linalg.norm(dense) / np.linalg.norm(state.rho)
    for form in (state, MPOState.from_dense(model.lattice, state.rho)):
        assert abs(residual_of(model, form)[0] - exact) < 1e-12 and exact > 0.01
    large = Lindbladian(Chain(2, Boson(40)), OpSum(), [Jump(op("A", 0)), Jump(op("A", 1))])
    assert residual_of(large, DenseState.product(large.lattice, "vacuum")) == (None, "the density matrix is large")


# -- the command -------------------------------------------------------------------------------------------------------

SPEC = 'name = "ring"\n[model]\nname = "persistent_current"\nL = 4\nalpha = 2.0\ndelta = 1.5\n'


def test_check_of_a_directory_as_json(tmp_path, capsys, run):
    (tmp_path / "ring.toml").write_text(SPEC)
    assert main(["run", str(tmp_path / "ring.toml"), "--out", str(tmp_path / "sweep" / "a"), "-q"]) == 0
    place = tmp_path / "sweep"
    good = place / "a" / "ring.h5"
    (place / "table.h5").write_bytes(b"\x89HDF\r\n\x1a\n and not a run")
    assert main(["check", str(place), "--json"]) == Exit.DAMAGED_FILE
    capsys.readouterr()
    (place / "table.h5").write_bytes(b"a table of something else")
    assert main(["check", str(place), "--json"]) == Exit.CONVERGED
    report = json.loads(capsys.readouterr().out)
    assert report["exit_code"] == 0 and report["summary"]["verdicts"] == {"foreign": 1, "sound": 1}
    (entry,) = [f for f in report["files"] if f["verdict"] == "sound"]
    checks = {c["name"]: c["verdict"] for c in entry["checks"]}
    assert entry["status"] == "converged" and checks["model"] == "ok" and checks["observable current"] == "ok"

    lie = save_checkpoint(replace(run, tol=run.certificate.error_estimate / 2), place / "lie.h5")
    assert main(["check", str(place)]) == Exit.CONTRADICTORY
    text, error = capsys.readouterr()
    assert "contradicts itself (status" in error and "3 files: 1 contradictory, 1 foreign, 1 sound" in text
    previous_path(good).write_bytes(flipped(good.read_bytes(), 12345))
    assert main(["check", str(good), str(lie)]) == Exit.DAMAGED_FILE
    text, error = capsys.readouterr()
    assert "ring.previous.h5 is damaged" in error and f"{good}: intact (steady_state, converged" in text
    previous_path(good).write_bytes(good.read_bytes())
    good.unlink()
    assert main(["check", str(place)]) == Exit.DAMAGED_FILE
    assert "ring.h5 does not exist" in capsys.readouterr().err
    assert main(["check", str(place / "table.h5")]) == Exit.DAMAGED_FILE
    (tmp_path / "empty").mkdir()
    assert main(["check", str(tmp_path / "empty")]) == Exit.BAD_INPUT
