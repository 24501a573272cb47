"""The automatic choice among methods for long systems, and what happens where the chosen sweeps fail."""

import dataclasses

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Chain, Jump, Lindbladian, OpSum, SpinHalf, models, op
from mpo_transport import observables as obs
from mpo_transport.methods.implicit import engine
from mpo_transport.result import Status
from mpo_transport.solve import choose_method

DISSIPATIVE = models.persistent_current(L=30, alpha=2.0, delta=1.0, periodic=False)


@pytest.mark.parametrize(
    "model",
    [DISSIPATIVE, models.persistent_current(L=30, alpha=1.5, delta=0.8, J=0.4, eps_x=0.2, periodic=False)],
    ids=["current", "with a Hamiltonian"],
)
def test_sweeps_are_chosen_where_every_site_has_a_jump(model):
    method, reason = choose_method(model)
    assert method == mt.ImplicitSweeps(fallback=True)
    assert "TEBD would be slower" in reason


def test_sweeps_are_passed_over_where_the_bulk_is_unitary():
    model = models.boundary_driven_xxz(24, 1.0, J=1.0, eps=1.0)
    method, reason = choose_method(model)
    assert not isinstance(method, mt.ImplicitSweeps)
    assert "sites without a jump (1, 2, 3, ...)" in reason
    # a single bare site is enough, and a jump of rate zero does not count
    chain = Chain(20, SpinHalf())
    h = sum((op("X", j) * op("X", j + 1) + op("Z", j) for j in range(19)), OpSum())
    jumps = [Jump(op("Sm", j), rate=0.0 if j == 7 else 1.0) for j in range(20)]
    assert "(7)" in mt.ImplicitSweeps().unpromising(Lindbladian(chain, h, jumps))
    assert mt.ImplicitSweeps().unpromising(Lindbladian(chain, None, jumps)) == ""


def test_growth_is_looked_at_only_where_sweeps_do_not_serve():
    _, reason = choose_method(DISSIPATIVE)
    assert "ChainGrowth: not looked at" in reason
    method, _ = choose_method(models.boundary_driven_xxz(24, 1.0, J=1.0, eps=1.0))
    assert isinstance(method, mt.CholeskyGrowth)


def test_charges_of_single_sites_are_not_listed():
    """Exclusion conserves n - n' on every site: 2^100 values."""
    method, reason = choose_method(models.exclusion_process(100, 1.0, 0.5, 0.3, 0.7))
    assert isinstance(method, mt.ImplicitSweeps) and "ExactDiag: the Hilbert space has dimension" in reason


def test_very_long_chains_are_not_too_long_to_choose_for():
    """Sector sizes of 400 spins, cubed, are beyond floating-point numbers."""
    chain = models.boundary_driven_xx(400, 1.0, 1.0, 0.8, 1.0, 0.2)
    assert isinstance(choose_method(chain)[0], mt.Gaussian)


def test_sweeps_do_not_evolve_in_time():
    assert isinstance(choose_method(DISSIPATIVE, "evolve")[0], mt.TEBD)


def test_small_systems_are_still_solved_exactly():
    assert isinstance(choose_method(models.persistent_current(L=6, alpha=2.0, delta=1.0))[0], mt.ExactDiag)


SHORT = models.persistent_current(L=4, alpha=1.2, delta=0.6, mu=[1.0, 0.6, 0.8, 1.1], periodic=False)


def test_time_evolution_takes_over_and_the_result_says_so():
    exact = mt.steady_state(SHORT, mt.ExactDiag())
    hopeless = mt.ImplicitSweeps(max_sweeps=1, fallback=True)
    result = mt.steady_state(SHORT, hopeless, tol=1e-4)
    assert result.converged
    assert any("gave up (the sweeps allowed were used up)" in note for note in result.certificate.notes)
    z = obs.profile(SHORT, "Z")
    assert np.abs(result.expect(z) - exact.expect(z)).max() <= result.certificate.error_estimate <= 1e-4
    alone = mt.steady_state(SHORT, mt.ImplicitSweeps(max_sweeps=1), tol=1e-4, on_failure="return")
    assert alone.status is Status.NOT_CONVERGED


def test_a_breakdown_inside_the_sweeps_is_a_reason_too(monkeypatch):
    def broken(*_):
        raise np.linalg.LinAlgError("eigenvalues did not converge")

    monkeypatch.setattr(engine.Engine, "advance", broken)
    result = mt.steady_state(SHORT, mt.ImplicitSweeps(fallback=True), tol=1e-3)
    assert result.converged and any("eigenvalues did not converge" in note for note in result.certificate.notes)
    alone = mt.steady_state(SHORT, mt.ImplicitSweeps(), tol=1e-3, on_failure="return")
    assert alone.status is Status.NOT_FINITE


def test_a_run_that_has_fallen_back_restarts_bit_for_bit():
    method = mt.ImplicitSweeps(max_sweeps=1, fallback=True)
    work = method.prepare(SHORT, tol=1e-3, seed=0)
    iterate, pieces = method.start(work, None), []
    for _ in range(6):
        pieces.append(iterate)
        iterate, _ = method.advance(work, iterate)
    assert "tebd" in pieces[3].scalars and "implicit" not in pieces[3].scalars
    state = pieces[3].state
    again = dataclasses.replace(
        pieces[3], state=type(state).from_arrays(SHORT.lattice, state.arrays(), state.attributes())
    )
    fresh = method.prepare(SHORT, tol=1e-3, seed=0)
    for _ in range(3):
        again, _ = method.advance(fresh, again)
    assert all(np.array_equal(a, b) for a, b in zip(again.state.tensors, iterate.state.tensors, strict=True))
    assert again.scalars == iterate.scalars and again.step == iterate.step
