"""States solved for by the sweeps of duals: corrected currents of weakly driven chains against exact ones."""

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Jump, Lindbladian, op
from mpo_transport.dual.network import NetworkDual
from mpo_transport.models import boundary_driven_xx, boundary_driven_xxz
from mpo_transport.reference import boundary_driven
from mpo_transport.result import Certificate, Result, Status
from mpo_transport.states import MPOState

BATHS = {"G_L": 0.7, "f_L": 0.6, "G_R": 1.2, "f_R": 0.45}


def from_nothing(model, tol=1e-9):
    """The maximally mixed state as the approximation."""
    return Result(model, None, Status.NOT_CONVERGED, MPOState.mixed(model.lattice), Certificate(), tol)


def exact(model, observable):
    return mt.steady_state(model, mt.ExactDiag(), tol=1e-11).expect(observable)


@pytest.mark.parametrize("dephasing", [pytest.param(0.0, marks=pytest.mark.slow), 0.2])
def test_weakly_driven_chains_against_exact_currents(dephasing):
    model = boundary_driven_xxz(6, 0.5, J=1.0, **BATHS)
    noise = [Jump(op("Z", j), rate=dephasing) for j in range(6)] if dephasing else []
    model = Lindbladian(model.lattice, model.hamiltonian, [*model.jumps, *noise])
    current = mt.observables.current(model)
    truth = exact(model, current)
    values = []
    for bond in (8, 16):
        found = mt.corrected(from_nothing(model), current, max_bond=bond, refine=True)
        error = np.abs(found.corrected - truth)
        assert np.all(error <= found.error)
        values.append((found.corrected[0], found.error[0]))
    assert values[1][1] < min(values[0][1], 1e-3 * truth[0])
    assert abs(values[0][0] - values[1][0]) <= values[0][1] + values[1][1]
    assert np.array_equal(found.value, np.zeros(5))  # that of the result, whatever is corrected


@pytest.mark.parametrize("L", [6, pytest.param(32, marks=pytest.mark.slow)])
def test_long_chain_of_small_exact_rank(L):
    model = boundary_driven_xx(L, 1.0, 1.0, 0.55, 0.6, 0.45)
    operator = mt.observables.current(model).operators[0]
    truth = boundary_driven.xx_chain(L, 1.0, 1.0, 0.55, 0.6, 0.45).current
    found = mt.corrected(from_nothing(model, 1e-4), operator, max_bond=8, refine=True)
    assert abs(found.corrected - truth) <= found.error
    assert abs(found.corrected - truth) < 1e-4 * truth


def test_the_better_state_is_corrected():
    model = boundary_driven_xxz(5, 0.5, J=1.0, **BATHS)
    solved = mt.steady_state(model, mt.ExactDiag(), tol=1e-11)
    state = MPOState.from_dense(model.lattice, solved.state.to_dense())
    kept = NetworkDual(model, state, 8, refine=True)
    assert kept.refined is None  # nothing of bond dimension 8 comes near
    rough = NetworkDual(model, MPOState.mixed(model.lattice), 8, refine=True)
    assert rough.refined is not None
    unit = NetworkDual(model, MPOState.mixed(model.lattice), 8)
    assert rough.operator.residual(rough.x) < 0.2 * unit.operator.residual(unit.x)
    assert rough.x.bond_dimension <= 8 + 1  # and the identity


def test_a_unital_generator_needs_no_state():
    model = boundary_driven_xxz(4, 0.5, J=1.0, G_L=0.7, f_L=0.5, G_R=1.2, f_R=0.5)
    current = mt.observables.current(model)
    found = mt.corrected(from_nothing(model), current, max_bond=8, refine=True)
    assert np.abs(found.corrected).max() < 1e-12


def test_refine_is_a_yes_or_no():
    model = boundary_driven_xxz(4, 0.5, J=1.0, **BATHS)
    with pytest.raises(mt.errors.InputError, match="`refine`") as caught:
        mt.corrected(from_nothing(model), op("Z", 0), refine="yes")
    assert caught.value.field == "refine"
