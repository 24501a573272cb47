"""The reading examples of the documentation: plain h5py without this package, and xarray."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from storage.faults import flipped
from toy_methods import pumped_chain

from mpo_transport import op
from mpo_transport.methods import ExactDiag
from mpo_transport.observables import profile
from mpo_transport.solve import evolve, steady_state

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "storage.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
MODEL = pumped_chain(3)
ASKED = {"N": profile(MODEL, "N"), "hop": op("Sp", 0) * op("Sm", 1), "N(0)": op("N", 0)}


def block(word: str) -> str:
    (found,) = [b for b in BLOCKS if word in b]
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    place = tmp_path_factory.mktemp("reading")
    steady = steady_state(MODEL, ExactDiag(), observables=ASKED)
    moving = evolve(MODEL, "up", [0.1, 0.4], ASKED, ExactDiag())
    return {steady.save(place / "ring.h5"): steady, moving.save(place / "moving.h5"): moving}


def test_the_reader_needs_nothing_of_this_package(results):
    path = next(iter(results))
    code = "import sys\nsys.modules['mpo_transport'] = None\n" + block("def read_run")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=path.parent, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("converged\n", "")
    assert len([line for line in block("def read_run").splitlines() if line.strip()]) <= 26


def test_the_reader_reads_what_was_measured(results, tmp_path, monkeypatch):
    monkeypatch.chdir(next(iter(results)).parent)
    space: dict = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(block("def read_run"), space)
    for path, outcome in results.items():
        run = space["read_run"](path)
        lead = ["time"] if path.stem == "moving" else []
        assert run["status"]["status"] == "converged" and run["method"]["name"] == "ExactDiag"
        assert run["certificate"]["error_estimate"] == outcome.certificate.error_estimate
        assert run["history"]["step"].tolist() == outcome.history["step"].tolist()
        for name, dims in (("N", [*lead, "site"]), ("hop", lead), ("N(0)", lead)):
            found, values = run["observables"][name]
            assert found == dims and np.array_equal(values, outcome.observables[name].values)
    hurt = tmp_path / "hurt.h5"
    hurt.write_bytes(flipped(path.read_bytes(), 54321))
    with pytest.raises(AssertionError, match="the file is damaged"):
        space["read_run"](hurt)


def test_xarray_reads_the_observables(results, monkeypatch):
    pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    path, outcome = next(iter(results.items()))
    monkeypatch.chdir(path.parent)
    space: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        exec(block("import xarray"), space)
    assert np.array_equal(space["data"]["N"].values, outcome.observables["N"].values) and "site" in shown.getvalue()
    space["data"].close()


def test_netcdf4_reads_the_observables(results):
    netcdf = pytest.importorskip("netCDF4")
    for path, outcome in results.items():
        with netcdf.Dataset(path) as data:
            group = data["observables"]
            assert group["N"].dimensions[-1] == "site" and group["N"].units == "1"
            assert np.array_equal(np.asarray(group["N"][:]), outcome.observables["N"].values)
