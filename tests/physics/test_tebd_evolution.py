"""Time evolution by TEBD where the bond dimension cannot follow the state."""

import numpy as np
import pytest

import mpo_transport as mt

pytestmark = pytest.mark.physics


@pytest.mark.parametrize(
    ("bond", "status"), [(6, "stalled_by_truncation"), (12, "stalled_by_truncation"), (64, "converged")]
)
def test_truncation_is_not_taken_for_the_error_of_the_time_step(bond, status):
    """A step that cuts anew each time is not made better by shorter steps; what it does is claimed."""
    model = mt.models.boundary_driven_xx(8, 1.0, 0.6, 0.9, 1.4, 0.2, dephasing=0.3)
    profile, times = {"N": mt.observables.profile(model, "N")}, [0.5, 2.0]
    exact = mt.evolve(model, "up", times, profile, mt.ExactDiag()).values["N"]
    found = mt.evolve(model, "up", times, profile, mt.TEBD(max_bond=bond), progress=False, on_failure="return")
    assert found.status.value == status
    assert min(found.history["dt"]) > 0.02  # 5e-5 when shorter steps were tried
    error = np.abs(found.values["N"] - exact).max()
    assert error <= found.certificate.error_estimate
    assert bond == 64 or error > 1e-6  # truncation is felt: the claim says something
