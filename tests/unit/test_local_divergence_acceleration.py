"""Reduced-rank extrapolation: exact for few modes, and of use on a slow chain."""

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport.errors import InputError
from mpo_transport.methods.divergence.acceleration import (
    Acceleration,
    extrapolation_weights,
    reduced_rank_extrapolation,
)
from mpo_transport.methods.divergence.evolution import Evolver
from mpo_transport.methods.tebd.plan import build_plan
from mpo_transport.reference.boundary_driven import xx_chain
from mpo_transport.states import MPOState


def test_as_many_modes_are_removed_as_there_are_differences_beyond_the_first():
    """x_k = x + 0.97^k u + (-0.5)^k v: three differences give x to rounding; two do not."""
    rng = np.random.default_rng(0)
    x, u, v = rng.standard_normal((3, 40))
    snapshots = [x + 0.97**k * u + (-0.5) ** k * v for k in range(4)]
    d = np.diff(snapshots, axis=0)
    c = extrapolation_weights(d @ d.T, 1e-15, 1e6)
    assert c.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.abs(c @ snapshots[1:] - x).max() < 1e-6 < np.abs(snapshots[-1] - x).max()
    fewer = extrapolation_weights(d[:2] @ d[:2].T, 1e-15, 1e6)
    assert np.abs(fewer @ snapshots[1:3] - x).max() > 1e-3


def test_the_weights_stay_bounded_where_differences_are_rounding_errors():
    d = np.array([[1.0, 0.0], [1.0, 1e-9]])
    c = extrapolation_weights(d @ d.T, 1e-20, 50.0)
    assert np.abs(c).sum() <= 50 and c.sum() == pytest.approx(1.0)
    assert extrapolation_weights(np.zeros((3, 3))).tolist() == [0.0, 0.0, 1.0]


def test_states_are_combined_with_the_same_weights_as_vectors():
    lattice = mt.Chain(3, mt.SpinHalf())
    rng = np.random.default_rng(1)
    dense = []
    for _ in range(4):
        m = rng.standard_normal((8, 8)) + 1j * rng.standard_normal((8, 8))
        rho = m @ m.conj().T
        dense.append(rho / np.trace(rho).real)
    states = [MPOState.from_dense(lattice, rho) for rho in dense]
    combined, c = reduced_rank_extrapolation(states)
    d = np.diff([rho.ravel() for rho in dense], axis=0)
    assert np.abs(c - extrapolation_weights((d @ d.conj().T).real)).max() < 1e-9
    assert np.abs(combined.to_dense() - sum(w * r for w, r in zip(c, dense[1:], strict=True))).max() < 1e-13
    with pytest.raises(InputError, match="states"):
        reduced_rank_extrapolation(states[:1])


def test_a_slow_chain_relaxes_in_fewer_time_units():
    """At a bond dimension that cuts nothing, one cycle beats the same time of plain evolution."""
    baths = {"G_L": 0.1, "f_L": 0.7, "G_R": 0.1, "f_R": 0.4}
    model = mt.models.boundary_driven_xx(L=2, t=1.0, **baths)
    evolver = Evolver(build_plan(model))
    accelerated = Acceleration(evolver, dt=0.1, interval=10, snapshots=6, settling=1)
    start = MPOState.mixed(model.lattice)
    density = mt.observables.profile(model, "N").operators
    exact = xx_chain(2, 1.0, **baths).density

    def error(state):
        return max(abs(state.expect(o).real - n) for o, n in zip(density, exact, strict=True))

    state, seen = accelerated.cycle(start, 16)
    plain = evolver.run(evolver.fit(start, 16), 0.1, 10 * 8)
    assert error(state) < 1e-6 < 1e-2 < error(plain)
    assert seen["settled"] < seen["drift"] and seen["moved"] > seen["drift"]
