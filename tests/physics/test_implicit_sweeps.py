"""Implicit sweeps against exact answers: closed forms, published profiles, dense solutions; failure is announced."""

import dataclasses
import json

import numpy as np
import pytest
import systems

import mpo_transport as mt
from mpo_transport import ImplicitSweeps, models
from mpo_transport import observables as obs
from mpo_transport.result import Status

pytestmark = pytest.mark.physics


def check(system, tol, *, slack=1.0, method=None):
    """Solve, compare every answer, and demand that the claim covers the error."""
    model = system.build()
    result = mt.steady_state(model, method or ImplicitSweeps(), tol=tol, on_failure="return")
    assert result.converged and result.certificate.error_estimate <= tol
    for answer in system.answers:
        observable = answer.observable(model)
        value, claimed = result.expect(observable, error=True)
        error = np.abs(np.asarray(value) - answer.value).max()
        assert error <= 2 * np.max(claimed) + answer.uncertainty + 1e-11, answer.name
        if isinstance(observable, obs.Observable):
            assert error <= slack * tol * observable.norm + answer.uncertainty, answer.name
    return result


@pytest.mark.parametrize(
    "system",
    [s for s in systems.SYSTEMS if s.build().L > 1 and s.name not in ("xxz-1-3",)],
    ids=str,
)
def test_every_system_with_a_known_answer(system):
    model = system.build()
    if not ImplicitSweeps().supports(model):
        with pytest.raises(mt.NotSupportedError):
            mt.steady_state(model, ImplicitSweeps())
        return
    check(system, 1e-6)


@pytest.mark.parametrize("L", [16, 32])
def test_exclusion_process_current_and_whole_profile(L):
    system = systems._exclusion(L, 1.0, 0.8, 0.5, 0.3)
    short = dataclasses.replace(system, answers=system.answers[:2])
    result = check(short, 1e-9)
    assert result.certificate.residual < 1e-8 and result.certificate.bond_dimension <= 16


def test_open_chain_of_thirty_sites():
    arguments, (eta, z), uncertainty = systems.load_reference("fig5-open-L30")
    model = models.persistent_current(**arguments)
    result = mt.steady_state(model, ImplicitSweeps(), tol=1e-6)
    assert result.converged and result.cost.cpu_seconds < 15
    claim = result.certificate.error_estimate
    assert claim <= 1e-6
    assert np.abs(result.expect(obs.current(model, "eta")) - eta).max() < 1e-6 + uncertainty
    assert np.abs(result.expect(obs.profile(model, "Z")) - z).max() < claim + uncertainty
    assert set(result.certificate.error_parts) == {"truncation", "relaxation", "local solves"}
    judged = np.isfinite(result.history["residual"])  # a sweep may take several pieces
    residuals, bonds = result.history["residual"][judged], result.history["bond_dimension"][judged]
    last = [residuals[bonds == b][-1] for b in sorted(set(bonds))]
    assert np.all(np.diff(last) < 0)  # the certificate: the residual falls with the bond dimension


OWN = json.loads((systems.REFERENCE / "persistent_currents_own.json").read_text())


@pytest.mark.parametrize("entry", OWN, ids=lambda e: e["id"])
@pytest.mark.parametrize("tol", [1e-4, 1e-6, pytest.param(1e-8, marks=pytest.mark.slow)])
def test_claims_cover_the_error_on_every_bond(entry, tol):
    """All knobs follow from the tolerance; the stored profile is good to a few 1e-9."""
    given = entry["parameters"]
    model = models.persistent_current(L=30, **{k: given[k] for k in ("alpha", "delta", "mu")}, periodic=False)
    result = mt.steady_state(model, ImplicitSweeps(), tol=tol)
    claim = result.certificate.error_estimate
    assert claim <= tol
    for observable, values in zip((obs.current(model, "eta"), obs.profile(model, "Z")), entry["value"], strict=True):
        error = np.abs(result.expect(observable) - values).max()
        assert error <= claim * observable.norm + entry["abs_uncertainty"]


def test_the_stored_profile_agrees_with_independent_calculations():
    own = next(e for e in OWN if e["id"] == "open-L30-2-1-1")
    _, (eta, z), uncertainty = systems.load_reference("fig5-open-L30")
    assert np.abs(np.array(own["value"][0]) - eta).max() <= uncertainty + own["abs_uncertainty"]
    assert np.abs(np.array(own["value"][1]) - z).max() <= uncertainty + own["abs_uncertainty"]


def test_chain_with_dephasing():
    check(systems._xx("dephased", 10, 1.0, (1.0, 0.6), (0.8, 0.3), 0.5), 1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_parameters_against_exact_diagonalisation(seed):
    rng = np.random.default_rng(seed)
    alpha, delta, mu = rng.uniform(0.8, 2.2), rng.uniform(0.4, 1.5), rng.uniform(0.5, 1.2)
    model = models.persistent_current(L=6, alpha=alpha, delta=delta, mu=mu, periodic=bool(seed))
    exact = mt.steady_state(model, mt.ExactDiag())
    result = mt.steady_state(model, ImplicitSweeps(), tol=1e-5)
    for observable in (obs.current(model, "eta"), obs.profile(model, "Z")):
        error = np.abs(result.expect(observable) - exact.expect(observable)).max() / observable.norm
        assert error <= result.certificate.error_estimate <= 1e-5


def test_a_maximally_driven_chain_whose_first_passes_are_nonsense():
    """Passes that change an expectation value by more than 2 are repeated before the bond dimension grows."""
    system = systems._xxz_maximal(6, 0.5, 1.0)
    result = mt.steady_state(system.build(), ImplicitSweeps(max_bond=48), tol=1e-6)
    current = obs.current(result.model)
    value, claimed = result.expect(current, error=True)
    assert np.abs(value - system.answers[0].value).max() <= claimed.max() <= 1e-6 * current.norm


def test_every_pass_of_a_piece_of_work_is_recorded():
    model = models.persistent_current(L=8, alpha=2.0, delta=1.0, mu=1.0, periodic=False)
    shown = []
    result = mt.steady_state(model, ImplicitSweeps(), tol=1e-5, progress=lambda step, _: shown.append(step))
    passes = result.history["step"]
    assert len(shown) < len(passes) and passes.tolist() == list(range(1, result.cost.steps + 1))
    assert result.history["sweeps"].tolist() == [k / 2 for k in range(1, len(passes) + 1)]
    assert np.isfinite(result.history["drift"]).all()


def test_nonsense_has_no_error_bar():
    model = models.boundary_driven_xxz(16, 0.5, eps=1.0)
    result = mt.steady_state(model, ImplicitSweeps(max_bond=12, max_sweeps=4), tol=1e-6, on_failure="return")
    assert not result.converged and result.certificate.error_estimate is None
    for observable in (obs.current(model), obs.profile(model, "Z")):
        assert np.isnan(result.expect(observable, error=True)[1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("L", [8, 12])
def test_longer_maximally_driven_chains(L):
    system = systems._xxz_maximal(L, 0.5, 1.0)
    result = mt.steady_state(system.build(), ImplicitSweeps(max_bond=64, max_sweeps=150), tol=1e-5, on_failure="return")
    current = obs.current(result.model)
    error = np.abs(result.expect(current) - system.answers[0].value).max() / current.norm
    assert not result.converged or error <= result.certificate.error_estimate


def test_maximally_driven_chain_is_solved_or_refused():
    """Without bulk dissipation the projected generator is far from normal: only a true solution may be converged."""
    system = systems._xxz_maximal(6, 0.5, 1.0)
    model = system.build()
    for knobs in ({"max_bond": 6, "max_sweeps": 30}, {"max_bond": 12, "max_sweeps": 4}, {}):
        result = mt.steady_state(model, ImplicitSweeps(**knobs), tol=1e-6, on_failure="return")
        current = obs.current(model)
        error = np.abs(result.expect(current) - system.answers[0].value).max() / current.norm
        if result.converged:
            assert error <= result.certificate.error_estimate <= 1e-6
        else:
            assert result.status in (Status.NOT_CONVERGED, Status.STALLED_BY_TRUNCATION, Status.UNPHYSICAL)
            assert knobs and error > 1e-6
    assert result.converged


def test_a_bond_dimension_that_is_too_small_is_reported():
    model = models.persistent_current(L=8, alpha=2.0, delta=1.0, periodic=False)
    result = mt.steady_state(model, ImplicitSweeps(max_bond=12), tol=1e-9, on_failure="return")
    assert result.status is Status.STALLED_BY_TRUNCATION and result.certificate.saturated
    entry = systems.load_reference("fig5-open-L8")
    error = np.abs(result.expect(obs.current(model, "eta")) - entry[1][0]).max() / 3
    assert 1e-9 < error <= result.certificate.error_estimate + entry[2]


def test_giving_up_recommends_another_method():
    model = models.persistent_current(L=6, alpha=2.0, delta=1.0, periodic=False)
    result = mt.steady_state(model, ImplicitSweeps(max_sweeps=2), tol=1e-6, on_failure="return")
    assert result.status is Status.NOT_CONVERGED
    assert any("TEBD" in note for note in result.certificate.notes)


def test_restart_is_bit_for_bit_also_in_the_middle_of_a_sweep(monkeypatch):
    from mpo_transport.methods.implicit import engine

    monkeypatch.setattr(engine, "CHUNK", 2e7)  # a few bonds per piece
    model = models.persistent_current(L=6, alpha=1.2, delta=0.6, periodic=False)
    method = ImplicitSweeps()
    work = method.prepare(model, tol=1e-5, seed=0)
    iterate = method.start(work, None)
    pieces = []
    for _ in range(12):
        pieces.append(iterate)
        iterate, _ = method.advance(work, iterate)
    assert any(i.scalars["implicit"]["position"] not in (0, 4) for i in pieces)
    again = method.prepare(model, tol=1e-5, seed=0)
    copied = dataclasses.replace(
        pieces[5],
        state=type(pieces[5].state).from_arrays(model.lattice, pieces[5].state.arrays(), pieces[5].state.attributes()),
    )
    for _ in range(12 - 5):
        copied, _ = method.advance(again, copied)
    assert all(np.array_equal(a, b) for a, b in zip(copied.state.tensors, iterate.state.tensors, strict=True))
    assert copied.scalars == iterate.scalars


def test_it_starts_from_any_state():
    model = models.persistent_current(L=4, alpha=1.2, delta=0.6, periodic=True)
    first = mt.steady_state(model, ImplicitSweeps(), tol=1e-7)
    for initial in ("up", first.state):
        again = mt.steady_state(model, ImplicitSweeps(), tol=1e-7, initial=initial)
        assert np.abs(again.expect(obs.profile(model, "Z")) - first.expect(obs.profile(model, "Z"))).max() < 2e-7


@pytest.mark.slow
@pytest.mark.parametrize("L", [7, 8])
def test_longer_rings(L):
    arguments, values, uncertainty = systems.load_reference(f"fig5-ring-L{L}")
    model = models.persistent_current(**arguments)
    result = mt.steady_state(model, ImplicitSweeps(), tol=1e-6)
    error = np.abs(result.expect(obs.current(model, "eta")) - values[0]).max() / 1.75
    assert error <= result.certificate.error_estimate + uncertainty


@pytest.mark.slow
def test_lengths_at_which_the_first_metric_diverges():
    """In the metric that serves up to 80 and from 200 sites on, the first passes over 120 sites lead to nonsense."""
    values = {}
    for L in (40, 120):
        model = models.persistent_current(L=L, alpha=2.0, delta=1.0, mu=1.0, periodic=False)
        result = mt.steady_state(model, ImplicitSweeps(), tol=1e-3)
        current, claimed = result.expect(obs.current(model, "eta"), error=True)
        values[L] = np.array([current[0], current[L // 2 - 1]]), claimed.max()
    assert (np.abs(values[40][0] - values[120][0]) <= values[40][1] + values[120][1]).all()


@pytest.mark.slow
def test_a_hundred_sites():
    model = models.persistent_current(L=100, alpha=2.0, delta=1.0, periodic=False)
    coarse = mt.steady_state(model, ImplicitSweeps(), tol=1e-4)
    fine = mt.steady_state(model, ImplicitSweeps(), tol=1e-6)
    current = obs.current(model, "eta")
    error = np.abs(coarse.expect(current) - fine.expect(current)).max() / 3
    assert error <= coarse.certificate.error_estimate + fine.certificate.error_estimate
