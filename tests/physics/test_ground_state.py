"""Ground states of closed rings against free fermions, and bad input."""

import math

import numpy as np
import pytest
from systems import load_reference

import mpo_transport as mt
from mpo_transport import observables as obs


@pytest.mark.parametrize("phi", [0.25, 0.5, 0.9])
def test_flux_ring_of_four(phi):
    _, (energy, current, entropy), _ = load_reference("fig7-L4", [0.25, 0.5, 0.9].index(phi))
    ring = mt.models.persistent_current(4, 0.0, 0.0, J=1.0, mu=0.0, flux=phi * math.pi)
    found = mt.ground_state(ring.hamiltonian, ring.lattice)
    assert not found.degenerate and abs(found.energy - energy) < 1e-9
    assert np.allclose(obs.current(ring, "J").evaluate(found.state), current, atol=1e-9)
    assert abs(obs.entropy([0, 1]).evaluate(found.state) - entropy) < 1e-9


def test_a_larger_ring_uses_the_sparse_solver():
    energy = load_reference("fig7-L8")[1][0]
    ring = mt.models.persistent_current(9, 0.0, 0.0, J=1.0, mu=0.0, flux=0.5)
    assert mt.ground_state(ring.hamiltonian, ring.lattice).gap > 0
    ring = mt.models.persistent_current(8, 0.0, 0.0, J=1.0, mu=0.0, flux=0.5 * math.pi)
    assert abs(mt.ground_state(ring.hamiltonian, ring.lattice).energy - energy) < 1e-8


def test_degeneracy_is_announced():
    ising = mt.op("Z", 0) * mt.op("Z", 1)
    assert mt.ground_state(ising, mt.Chain(2, mt.SpinHalf())).degenerate


@pytest.mark.parametrize(
    ("hamiltonian", "lattice", "field"),
    [
        (mt.op("Sp", 0), mt.Chain(1, mt.SpinHalf()), "hamiltonian"),
        (mt.OpSum(), mt.Chain(1, mt.SpinHalf()), "hamiltonian"),
        (mt.op("Z", 3), mt.Chain(2, mt.SpinHalf()), "hamiltonian"),
        (mt.op("Z", 0), mt.Chain(13, mt.SpinHalf()), "lattice"),
        (mt.op("N", 0), mt.Chain(1, mt.Boson(math.inf)), "lattice"),
        (mt.op("Z", 0), "chain", "lattice"),
    ],
)
def test_bad_input(hamiltonian, lattice, field):
    with pytest.raises(mt.InputError) as error:
        mt.ground_state(hamiltonian, lattice)
    assert error.value.field == field
