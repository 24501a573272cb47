"""Hard regimes and hopeless questions: what is not converged is said, with the place and the remedy."""

import dataclasses

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Boson, Chain, Jump, Lindbladian, OpSum, op
from mpo_transport import observables as obs
from mpo_transport.methods.tebd.stretches import hidden_rate
from mpo_transport.methods.uniqueness import degeneracy

current_chain = mt.models.persistent_current


def solve(model, method, tol=1e-3, **how):
    return mt.steady_state(model, method, tol=tol, on_failure="return", progress=False, **how)


def notes(result):
    return " ".join(result.certificate.notes)


# -- too small a bond dimension ----------------------------------------------------------------------------------------


def test_a_bond_dimension_that_is_too_small_is_named_with_the_weight_it_discards():
    model = current_chain(12, 2.0, 1.0, mu=1.0, periodic=False)
    result = solve(model, mt.TEBD(max_bond=4), tol=1e-6)
    assert result.status is mt.Status.STALLED_BY_TRUNCATION and not result.converged
    c = result.certificate
    assert c.saturated and c.bond_dimension == 4 and c.discarded_weight > 0 and c.error_estimate > 1e-6
    assert c.error_parts["truncation"] > 0.5 * c.error_estimate
    text = str(result)
    assert "max_bond" in text and "discarded weight" in text and "bond dimension" in text
    with pytest.raises(mt.ConvergenceError, match="max_bond"):
        mt.steady_state(model, mt.TEBD(max_bond=4), tol=1e-6, progress=False)


def test_its_claim_covers_its_error():
    model = current_chain(6, 2.0, 1.0, mu=1.0, periodic=False)
    exact = mt.steady_state(model, mt.ExactDiag(), progress=False)
    result = solve(model, mt.TEBD(max_bond=4), tol=1e-6)
    for observable in (obs.current(model), obs.profile(model, "Z")):
        value, claimed = result.expect(observable, error=True)
        assert np.abs(value - exact.expect(observable)).max() <= claimed.max()


# -- small gaps --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_near_the_dark_states_the_certificate_says_what_is_missing():
    """delta -> 0: a slow staggered mode amplifies truncation; a bond dimension of 6 does not do for 1e-3."""
    model = current_chain(6, 2.0, 0.05, mu=1.0, periodic=False)
    result = solve(model, mt.TEBD(max_bond=6))
    # where coarse states are not positive the run ends before the time step is known: then there is no claim at all
    assert not result.converged and result.certificate.error_parts["truncation"] > 1e-3
    exact = mt.steady_state(model, mt.ExactDiag(), progress=False)
    value, claimed = result.expect(obs.profile(model, "Z"), error=True)
    if result.certificate.error_estimate is None:
        assert result.status is mt.Status.UNPHYSICAL
    else:
        assert np.abs(value - exact.expect(obs.profile(model, "Z"))).max() <= claimed.max()


def test_too_short_a_time_is_not_convergence():
    model = current_chain(6, 2.0, 0.05, mu=1.0, periodic=False)
    result = solve(model, mt.TEBD(max_time=5.0))
    assert not result.converged and result.status in (mt.Status.NOT_CONVERGED, mt.Status.UNPHYSICAL)
    assert result.status.value in str(result)


def test_slow_modes_of_the_zeno_regime_are_looked_for():
    """r^2 >> mu: local motion is over in two time units, but the dark states exchange weight at a rate of 0.02."""
    model = current_chain(4, 5.0, 2.5, mu=1.0, periodic=False)
    rate = hidden_rate(model, 117.0)
    assert rate is not None and rate < 0.1
    assert hidden_rate(current_chain(5, 2.0, 1.0, mu=1.0, periodic=False), 20.0) is None  # nothing hidden
    exact = mt.steady_state(model, mt.ExactDiag(), progress=False)
    result = solve(model, mt.TEBD(), tol=3e-3)
    for observable in (obs.current(model), obs.profile(model, "Z")):
        value, claimed = result.expect(observable, error=True)
        assert np.abs(value - exact.expect(observable)).max() <= claimed.max() or not result.converged
    assert float(result.history["time"][-1]) > 1 / rate


def test_hidden_rates_of_stretches():
    unitary = mt.models.boundary_driven_xx(L=6, t=1.0, G_L=1e-4, f_L=0.9, G_R=1e-4, f_R=0.2)
    assert hidden_rate(unitary, 1.0) == pytest.approx(hidden_rate(unitary, 0.9), rel=1e-12)  # weak baths are slow
    assert hidden_rate(unitary, 1e-3) is None and hidden_rate(unitary, 0.0) is None
    closed = mt.models.ring_dephasing(4, 1.0, 0.5)
    assert hidden_rate(closed, 10.0) is None  # conserved charges are no slow modes
    assert hidden_rate(bosons(8, 0.1), 1e9) is None  # a pair has too many operators


# -- degenerate steady states ------------------------------------------------------------------------------------------


def test_a_conserved_charge_without_baths_is_announced_by_every_method():
    model = mt.models.ring_dephasing(4, 1.0, 0.5)
    exact = solve(model, mt.ExactDiag())
    assert exact.status is mt.Status.NOT_UNIQUE and exact.certificate.null_space == 5  # N = 0 .. 4
    evolved = solve(model, mt.TEBD())
    assert "strong symmetries" in notes(evolved) and "several stationary states" in notes(evolved)
    for method in (mt.ImplicitSweeps(), mt.InfiniteTEBD()):
        support = method.supports(model)
        assert not support and "strong symmetries" in support.reason


@pytest.mark.parametrize(
    ("model", "several"),
    [
        (mt.models.persistent_current(8, 2.0, 1.0, mu=0.0, periodic=False), True),
        (mt.models.persistent_current(8, 2.0, 1.0, mu=0.0), True),
        (mt.models.persistent_current(7, 2.0, 1.0, mu=0.0), False),  # staggered dark states need an even ring
        (mt.models.persistent_current(7, 2.0, 2.0, mu=0.0), True),  # Hermitian jumps: functions of X are conserved
        (mt.models.persistent_current(8, 2.0, 1.0, mu=1e-3, periodic=False), False),
        (mt.models.boundary_driven_xx(9, 1.0, 0.6, 0.9, 1.4, 0.2, dephasing=[0.1] * 9), False),
    ],
)
def test_hidden_degeneracy_is_found_on_short_relatives(model, several):
    found = degeneracy(model)
    assert bool(found) == several
    exact = mt.steady_state(short_relative(model), mt.ExactDiag(), on_failure="return")
    assert (exact.status is mt.Status.NOT_UNIQUE) == several
    if several:
        assert found in mt.ImplicitSweeps().supports(model).reason
        assert model.lattice.periodic or found in mt.LocalDivergence().supports(model).reason
        assert found[1:] in notes(solve(model, mt.TEBD(max_bond=8), tol=1e-1))


def short_relative(model):
    """The same library model with four or five sites, even or odd as before."""
    knobs = {**model.parameters, "L": 4 + model.L % 2}
    if model.name == "boundary_driven_xx":
        knobs["dephasing"] = 0.1
    return getattr(mt.models, model.name)(**knobs)


def test_the_initial_state_selects_the_sector():
    model = mt.models.ring_dephasing(4, 1.0, 0.5)
    for method in (mt.TEBD(), mt.ExactDiag()):
        result = solve(model, method, initial=[1, 0, 1, 1])
        assert np.allclose(result.expect(obs.profile(model, "N")), 0.75, rtol=0, atol=1e-6)


def test_two_strong_sectors_of_a_parity():
    """H = sum X X with dephasing in X: the parity of X-strings and every X_j are conserved; nothing relaxes them."""
    lattice = Chain(3, mt.SpinHalf())
    h = sum((op("X", j) * op("X", j + 1) for j in range(2)), OpSum()) + 0.3 * op("X", 0)
    model = Lindbladian(lattice, h, [Jump(op("X", j), 0.4) for j in range(3)])
    exact = solve(model, mt.ExactDiag())
    assert exact.status is mt.Status.NOT_UNIQUE and exact.certificate.null_space == 8


# -- unstable bosons ---------------------------------------------------------------------------------------------------


def bosons(levels, gain, L=3):
    lattice = Chain(L, Boson(levels))
    h = sum((op("Adag", j) * op("A", j + 1) + op("A", j) * op("Adag", j + 1) for j in range(L - 1)), OpSum())
    rates = {("Adag", 0): 0.2, ("A", 0): 1.0, ("Adag", L - 1): gain, ("A", L - 1): 0.3}
    jumps = [Jump(op(name, j), r, label="left" if j == 0 else "right") for (name, j), r in rates.items()]
    return Lindbladian(lattice, h, jumps)


@pytest.mark.parametrize("method", [mt.TEBD(max_bond=12), mt.ExactDiag()])
def test_an_occupation_that_runs_away_is_announced_with_its_site(method):
    result = solve(bosons(4, 1.6), method, tol=1e-2)
    tops = [result.state.reduced([j])[-1, -1].real for j in range(3)]
    assert result.certificate.top_population == pytest.approx(max(tops), abs=1e-12)
    assert f"site {int(np.argmax(tops))}" in notes(result) and "runs away" in notes(result)
    assert "levels" in notes(result)


def test_a_stable_chain_is_not_accused():
    assert "runs away" not in notes(solve(bosons(5, 0.01), mt.ExactDiag()))


@pytest.mark.parametrize("method", [None, mt.TEBD(max_bond=12), mt.ExactDiag()])
def test_a_run_is_not_begun_where_only_the_cutoff_gives_a_steady_state(method, tmp_path):
    place = tmp_path / "run.h5"
    with pytest.raises(mt.UnstableError, match=r"site 2 .* on_failure='return'") as caught:
        mt.steady_state(bosons(4, 3.0), method, tol=1e-2, progress=False, checkpoint=place)
    assert caught.value.growth > 0 and not place.exists()
    pairing = op("Adag", 0) * op("Adag", 1)
    drive = Lindbladian(Chain(2, Boson(4)), pairing + pairing.dag, [Jump(op("A", j), 1.0) for j in range(2)])
    with pytest.raises(mt.UnstableError) as caught:  # d<a_0>/dt = -<a_0>/2 - i <a_1^+>: grows at 1 - 1/2
        mt.steady_state(drive, method, tol=1e-2, progress=False)
    assert caught.value.growth == pytest.approx(0.5, abs=1e-12)


def test_without_a_cutoff_the_instability_is_refused_and_named():
    with pytest.raises(mt.UnstableError, match="site"):
        mt.steady_state(bosons(np.inf, 3.0), mt.Gaussian(), progress=False)
    with pytest.raises(mt.UnstableError, match="site"):
        mt.steady_state(bosons(4, 3.0), mt.Gaussian(ignore_cutoff=True), progress=False)


# -- memory and time steps ---------------------------------------------------------------------------------------------


HUGE = {
    "fixed bond": mt.TEBD(dt=0.1, max_bond=40000),
    "first bond": mt.TEBD(initial_bond=40000, max_bond=40000),
    "infinite": mt.InfiniteTEBD(initial_bond=10**6, max_bond=10**6),
}


@pytest.mark.parametrize("name", HUGE)
def test_memory_beyond_the_machine_is_refused_before_starting(name):
    infinite = name == "infinite"
    model = current_chain(8 if infinite else 400, 2.0, 1.0, mu=1.0, periodic=infinite)
    assert HUGE[name].estimate(model, 1e-3).memory_bytes > 2**40  # asked first: a run would fill the machine
    with pytest.raises(mt.InsufficientMemoryError, match="needs about"):
        mt.steady_state(model, HUGE[name], tol=1e-3, progress=False)


@pytest.mark.parametrize("dt", [5.0, 50.0])
def test_a_time_step_beyond_stability_is_refused_with_the_limit(dt):
    with pytest.raises(mt.InputError, match="dt") as error:
        mt.steady_state(current_chain(8, 2.0, 1.0, mu=1.0, periodic=False), mt.TEBD(dt=dt), tol=1e-2, progress=False)
    assert error.value.field == "dt" and any(ch.isdigit() for ch in str(error.value))


def test_a_stable_but_coarse_step_is_not_called_converged():
    model = current_chain(6, 2.0, 1.0, mu=1.0, periodic=False)
    result = solve(model, mt.TEBD(dt=0.5, order=2), tol=1e-6)
    assert not result.converged
    assert result.certificate.error_parts["time step"] > 1e-6


def test_infinite_chains_refuse_longer_couplings_clearly():
    reason = mt.InfiniteTEBD().supports(current_chain(6, 2.0, 1.0, dissipator_distance=2)).reason
    assert "neighbouring sites" in reason and "TEBD" in reason and "sites" in reason


def test_every_status_that_is_not_success_has_a_remedy():
    for status in mt.Status:
        assert len(status.explanation) > 20
    fields = {f.name for f in dataclasses.fields(mt.Certificate)}
    assert {"error_parts", "discarded_weight", "saturated", "top_population", "null_space"} <= fields
