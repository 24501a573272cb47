"""Steady states in blocks of the charge n - n' against exact and Gaussian ones; restarts; runs without an answer."""

import json

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Boson, Chain, Jump, Lindbladian, op
from mpo_transport import observables as obs
from mpo_transport.errors import UnstableError
from mpo_transport.methods import Iterate
from mpo_transport.methods.tebd.measure import difference, profile
from mpo_transport.result import Status
from mpo_transport.states import MPOState


def bose_hubbard(L, d, *, U=0.0, V=0.0, dephasing=0.0, left=(0.3, 1.1), right=(0.05, 0.8), phase=0.3):
    h = 0.0 * op("N", 0)
    for j in range(L - 1):
        hop = np.exp(1j * phase * (j + 1)) * op("Adag", j) * op("A", j + 1)
        h = h + hop + hop.dag + V * op("N", j) * op("N", j + 1)
    for j in range(L):
        h = h + U * (1 + 0.1 * j) * (op("N", j) * op("N", j) - op("N", j))
    jumps = []
    for site, (gain, loss) in ((0, left), (L - 1, right)):
        jumps += [Jump(op("Adag", site), rate=gain), Jump(op("A", site), rate=loss)]
    jumps += [Jump(op("N", j), rate=dephasing * (1 + j)) for j in range(L) if dephasing]
    return Lindbladian(Chain(L, Boson(d)), h, jumps)


CASES = {
    "Bose-Hubbard, asymmetric baths": (bose_hubbard(3, 4, U=0.7, V=0.3), 1e-8),
    "dephased": (bose_hubbard(3, 3, dephasing=0.2), 1e-8),
    "all of it": (bose_hubbard(3, 3, U=1.0, V=0.4, dephasing=0.1), 1e-6),
    "two sites, many levels": (bose_hubbard(2, 6, U=0.5, left=(0.1, 1.0), right=(0.02, 1.1)), 1e-7),
}
SLOW = {
    "four sites of four levels": (bose_hubbard(4, 4, left=(0.1, 1.1), right=(0.02, 1.02), phase=0.0), 1e-8),
    "three sites of eight levels": (bose_hubbard(3, 8, U=0.5, left=(0.1, 1.0), right=(0.02, 1.1)), 1e-6),
}


def agrees_with_exact(model, tol):
    result = mt.steady_state(model, method=mt.TEBD(layout="u1"), tol=tol)
    exact = mt.steady_state(model, method=mt.ExactDiag())
    state = MPOState.from_dense(model.lattice, exact.state.to_dense())
    error = difference(profile(result.state), profile(state))
    assert result.status is Status.CONVERGED
    assert error <= result.certificate.error_estimate <= tol
    assert "U(1) charge blocks" in result.certificate.notes[-1]
    current = obs.continuity_current(model)
    assert np.abs(result.expect(current) - exact.expect(current)).max() < 20 * tol


@pytest.mark.parametrize("name", CASES)
def test_against_exact_diagonalisation(name):
    agrees_with_exact(*CASES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_against_exact_diagonalisation_larger(name):
    agrees_with_exact(*SLOW[name])


def test_stopped_anywhere_and_resumed_is_the_same_bit_for_bit():
    """Everything needed to go on is in the iterate: plain tensors, numbers and texts."""
    model = bose_hubbard(3, 3, U=0.4)
    method = mt.TEBD(layout="u1", dt=0.3, max_bond=7)
    work = method.prepare(model, tol=1e-5, seed=3)
    unbroken = method.start(work, None)
    resumed = unbroken
    for step in range(6):
        unbroken, _ = method.advance(work, unbroken)
        fresh = method.prepare(model, tol=1e-5, seed=3)
        state = MPOState(model.lattice, tuple(t.copy() for t in resumed.state.tensors), (), resumed.state.centre)
        stored = Iterate(
            state, resumed.step, json.loads(json.dumps(dict(resumed.scalars))), resumed.arrays, resumed.companions
        )
        resumed, _ = method.advance(fresh, stored)
        assert resumed.scalars == unbroken.scalars, step
        for a, b in zip(resumed.state.tensors, unbroken.state.tensors, strict=True):
            assert np.array_equal(a, b)


def test_too_small_a_bond_is_announced_with_bond_and_weight():
    model = bose_hubbard(4, 3, U=1.0, left=(0.4, 0.9), right=(0.1, 0.6))
    result = mt.steady_state(model, method=mt.TEBD(layout="u1", max_bond=6), tol=1e-7, on_failure="return")
    assert result.status is Status.STALLED_BY_TRUNCATION
    assert result.certificate.saturated and result.certificate.bond_dimension <= 6
    assert result.certificate.discarded_weight > 1e-12
    assert result.certificate.error_estimate > 1e-7


@pytest.mark.parametrize(("left", "right", "site"), [((1.0, 0.2), (0.0, 0.3), 0), ((0.0, 0.3), (1.0, 0.2), 2)])
def test_unstable_chain_stops_and_names_the_site(left, right, site):
    """Gain exceeds loss: only the cutoff would stop the occupation."""
    model = bose_hubbard(3, 5, left=left, right=right)
    with pytest.raises(UnstableError, match=f"mainly on site {site}"):  # before anything is evolved
        mt.steady_state(model, method=mt.TEBD(layout="u1"), tol=1e-4)
    with pytest.raises(UnstableError, match=f"occupation of site {site} runs away"):  # while it is
        mt.steady_state(model, method=mt.TEBD(layout="u1"), tol=1e-4, on_failure="return")


@pytest.mark.slow
def test_long_chain_of_eight_levels_against_the_gaussian_answer():
    """Family 4 of the exact benchmarks, shorter: every bond current and the profile, within the claimed error."""
    arguments = {"L": 12, "t": 1.0, "G_L": 1.0, "f_L": 0.1, "G_R": 1.0, "f_R": 0.02}
    model = mt.models.boundary_driven_xx(**arguments, levels=8)
    result = mt.steady_state(model, method=mt.TEBD(), tol=1e-4)
    current = (0.1 - 0.02) / (1 + 1 + 2 / 4)
    density = np.array([0.1 - current, *[0.06] * 10, 0.02 + current])
    assert np.abs(result.expect(obs.current(model)) - current).max() < result.certificate.error_estimate <= 1e-4
    # the norm of N is 7
    assert np.abs(result.expect(obs.profile(model, "N")) - density).max() < 7 * result.certificate.error_estimate
    assert result.certificate.top_population < 1e-7
