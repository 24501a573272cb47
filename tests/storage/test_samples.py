"""Files of every released schema stay readable: samples written when the schema was new, never rewritten since."""

import copy
import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.linalg import null_space
from toy_methods import same_state

from mpo_transport import Boson, op
from mpo_transport.errors import FileFormatError
from mpo_transport.result import Status
from mpo_transport.solve import audit, resume
from mpo_transport.states import DenseState
from mpo_transport.storage import SCHEMA_VERSION, load, load_checkpoint, migrations, previous_path, read_spec
from mpo_transport.storage import tree as tree_module
from mpo_transport.storage.tree import read_content, read_tree, tree_digest, tree_image
from mpo_transport.superoperator import dense_lindbladian

SPEC = b'{"model":{"name":"sample"},"tol":1e-06}'
SAMPLES = Path(__file__).parent / "samples"
# A sample that changes is no sample any more: what was released is what must stay readable.
DIGESTS = {
    "schema_1.h5": "6119bc7a9da741ae",
    "schema_2.h5": "bd77bb79e8b031ec",
    "schema_2_evolution.h5": "f8b7330548003012",
    "schema_2_unfinished.h5": "5f585c44a534b1f7",
}


def test_there_is_a_sample_of_every_schema():
    steady = [f"schema_{k}.h5" for k in range(1, SCHEMA_VERSION + 1)]
    moving = [f"schema_{k}_{what}.h5" for k in range(2, SCHEMA_VERSION + 1) for what in ("evolution", "unfinished")]
    assert sorted(p.name for p in SAMPLES.iterdir()) == sorted(steady + moving)


def test_the_samples_are_those_that_were_stored():
    assert {p.name: hashlib.sha256(p.read_bytes()).hexdigest()[:16] for p in SAMPLES.iterdir()} == DIGESTS


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_samples_are_read_and_still_mean_the_same(version):
    """A spin and a three-level mode with a user's operator fA = A/(1 + N), pumped left and damped right."""
    path = SAMPLES / f"schema_{version}.h5"
    result = load(path)
    model = result.model
    assert result.status is Status.CONVERGED and model.name == "sample" and model.parameters["gain"] == 0.7
    saturable = np.diag(1 / (1 + np.arange(3))) @ Boson(3).matrix("A")
    assert np.array_equal(model.lattice.spaces[1].matrix("fA"), saturable)
    assert model.hamiltonian == (op("Sp", 0) * op("fA", 1) + op("Sm", 0) * op("fA.dag", 1) + 0.3 * op("Z", 0)) and [
        (j.operator, j.rate, j.label, j.charge) for j in model.jumps
    ] == [
        (op("Sp", 0), 0.7, "left", -1.0),
        (op("A", 1), 1.1, "right", 1.0),
    ]
    vector = null_space(dense_lindbladian(model))
    assert vector.shape == (36, 1)
    rho = vector.reshape(6, 6) / np.trace(vector.reshape(6, 6))
    assert np.abs(result.state.to_dense() - rho).max() < 1e-12
    exact = DenseState(model.lattice, rho)
    assert np.allclose(result.observables["N"].values, [exact.expect(op("N", j)).real for j in range(2)], atol=1e-12)
    assert result.observables["N"].labels == (0, 1)
    assert abs(result.observables["amplitude"].values - exact.expect(op("Sp", 0) * op("A", 1))) < 1e-12
    assert result.certificate.residual < 1e-14 and result.certificate.null_space == 1
    assert result.history["step"].tolist() == [1.0] and result.cost.steps == 1
    assert read_spec(path) == {"model": {"name": "sample"}, "tol": 1e-6}
    found = audit(path)
    assert found.verdict == "sound" and found.newest.schema_version == version
    assert found.newest.sealed == (version >= 2) and found.run_id == hashlib.sha256(SPEC).hexdigest()[:16]


# the samples were written with another linear algebra library than the one here may be, which resuming says
@pytest.mark.filterwarnings("ignore:The run is continued in another environment")
@pytest.mark.parametrize("version", range(2, SCHEMA_VERSION + 1))
@pytest.mark.parametrize("what", ["evolution", "unfinished"])
def test_samples_of_evolutions_give_the_closed_form(tmp_path, version, what):
    """Two spins that decay with the rates 0.7 and 1.3: <N_j>(t) = exp(-rate_j t), <N_0 N_1>(t) their product."""
    path = tmp_path / "run.h5"
    path.write_bytes((SAMPLES / f"schema_{version}_{what}.h5").read_bytes())
    part = load(path)
    assert part.status is (Status.CONVERGED if what == "evolution" else Status.INTERRUPTED)
    for outcome, count in ((part, 3 if what == "evolution" else 2), (resume(path), 3)):
        assert outcome.times.tolist() == [0.25, 0.5, 1.0][:count]
        exact = np.exp(-np.outer(outcome.times, [0.7, 1.3]))
        assert np.allclose(outcome.values["N"], exact, rtol=0, atol=1e-9)
        assert np.allclose(outcome.values["both"], exact.prod(axis=1), rtol=0, atol=1e-9)
    assert audit(path).verdict == "sound"


# -- from schema to schema ---------------------------------------------------------------------------------------------


def leaves(tree, prefix=""):
    for name, item in tree.items():
        if isinstance(item, dict):
            yield from leaves(item, f"{prefix}{name}/")
        else:
            yield prefix + name


def test_there_is_a_step_from_every_schema_to_the_next():
    assert sorted(migrations.MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_all_samples_of_one_run_are_the_same_in_the_present_schema():
    runs = [load(SAMPLES / f"schema_{k}.h5") for k in range(1, SCHEMA_VERSION + 1)]
    trees = [read_tree(SAMPLES / f"schema_{k}.h5") for k in range(1, SCHEMA_VERSION + 1)]
    assert all(same_state(r.state, runs[0].state) and r.certificate == runs[0].certificate for r in runs)
    assert len({frozenset(leaves(t)) for t in trees}) == 1 and len({tree_digest(t["model"]) for t in trees}) == 1
    assert len({t["spec"]["sha256"] for t in trees}) == 1


def test_a_step_leaves_the_older_tree_untouched_and_files_are_not_rewritten(tmp_path):
    path = tmp_path / "run.h5"
    path.write_bytes((SAMPLES / "schema_1.h5").read_bytes())
    old = read_content(path).tree
    before = copy.deepcopy(old)
    new = migrations.migrate(old, 1)
    assert tree_digest(old) == tree_digest(before) and "sha256" not in old["spec"]
    assert new["spec"]["sha256"] == hashlib.sha256(old["spec"]["text"].encode()).hexdigest()
    assert migrations.migrate(new, SCHEMA_VERSION) is new
    load(path)
    assert path.read_bytes() == (SAMPLES / "schema_1.h5").read_bytes()
    again = load(load(path).save(path))  # saved again, it has the present schema, and the old file is kept beside it
    with h5py.File(path, "r") as file, h5py.File(previous_path(path), "r") as older:
        assert (file.attrs["schema_version"], older.attrs["schema_version"]) == (SCHEMA_VERSION, 1)
    assert same_state(again.state, load(previous_path(path)).state)


def test_without_a_specification_there_is_nothing_to_migrate():
    assert migrations.migrate({"status": {"facts": "{}"}}, 1) == {"status": {"facts": "{}"}}


def test_steps_are_taken_one_after_the_other(tmp_path, monkeypatch):
    """A made-up schema of the day after tomorrow: the chain goes on from each older file."""
    steps = {
        SCHEMA_VERSION: lambda t: {**t, "later": "x"},
        SCHEMA_VERSION + 1: lambda t: {**t, "later": t["later"] * 2},
    }
    monkeypatch.setattr(migrations, "MIGRATIONS", {**migrations.MIGRATIONS, **steps})
    monkeypatch.setattr(tree_module, "SCHEMA_VERSION", SCHEMA_VERSION + 2)
    for version in range(1, SCHEMA_VERSION + 1):
        assert read_tree(SAMPLES / f"schema_{version}.h5")["later"] == "xx"
    (tmp_path / "new.h5").write_bytes(tree_image({"later": "kept"}))
    assert read_tree(tmp_path / "new.h5") == {"later": "kept"}
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match=rf"schema version {SCHEMA_VERSION + 2}.*Update mpo_transport"):
        load_checkpoint(tmp_path / "new.h5")


def test_an_old_file_that_lacks_what_its_schema_promises_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tree_module, "SCHEMA_VERSION", 1)
    monkeypatch.setattr(tree_module, "seal_line", lambda content: b"")
    (tmp_path / "run.h5").write_bytes(tree_image({"spec": {"run_id": "x"}}))
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match="does not follow its schema version 1"):
        load(tmp_path / "run.h5")
