"""Files of every released schema stay readable: samples written when the schema was new, never rewritten since."""

from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import null_space

from mpo_transport import Boson, op
from mpo_transport.result import Status
from mpo_transport.states import DenseState
from mpo_transport.storage import SCHEMA_VERSION, load, read_spec
from mpo_transport.superoperator import dense_lindbladian

SAMPLES = Path(__file__).parent / "samples"


def test_there_is_a_sample_of_every_schema():
    assert sorted(p.name for p in SAMPLES.glob("*.h5")) == [f"schema_{k}.h5" for k in range(1, SCHEMA_VERSION + 1)]


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_samples_are_read_and_still_mean_the_same(version):
    """A spin and a three-level mode with a user's operator fA = A/(1 + N), pumped left and damped right."""
    result = load(SAMPLES / f"schema_{version}.h5")
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
    assert read_spec(SAMPLES / f"schema_{version}.h5") == {"model": {"name": "sample"}, "tol": 1e-6}
