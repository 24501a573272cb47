"""TEBD against exact answers: published profiles, closed forms, dense propagation; claims must cover the error."""

import json

import numpy as np
import pytest
import scipy.sparse.linalg as ssl
import systems

import mpo_transport as mt
from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, models, op
from mpo_transport import observables as obs
from mpo_transport.methods.tebd.measure import profile
from mpo_transport.result import Status
from mpo_transport.states import MPOState
from mpo_transport.superoperator import from_hermitian, hermitian_lindbladian, to_hermitian

pytestmark = pytest.mark.physics


def reference(name):
    """The entry of the published table, as a dictionary."""
    return next(e for e in json.loads((systems.REFERENCE / "persistent_currents.json").read_text()) if e["id"] == name)


def local_errors(result, currents, magnetisation):
    """Largest errors of bond currents and <Z>, in units of the operator norm."""
    current = obs.current(result.model)
    scale = max(abs(c) for c in result.model.currents["eta"].coefficients)
    errors = [np.abs(result.expect(current) - currents).max() / scale]
    return max([*errors, np.abs(result.expect(obs.profile(result.model, "Z")) - magnetisation).max()])


@pytest.mark.parametrize("tol", [1e-4, 1e-6])
@pytest.mark.parametrize("name", ["fig5-open-L6", "fig5-open-L8", "open10-2.0-1.5"])
def test_claimed_error_covers_the_true_one_and_is_not_extravagant(name, tol):
    entry = reference(name)
    p = entry["parameters"]
    model = models.persistent_current(L=p["L"], alpha=p["alpha"], delta=p["delta"], periodic=False)
    result = mt.steady_state(model, mt.TEBD(), tol=tol)
    error = local_errors(result, *(np.array(row) for row in entry["value"][:2]))
    claim = result.certificate.error_estimate
    assert result.converged and error <= claim <= tol
    assert claim <= 60 * error
    assert set(result.certificate.error_parts) == {"time step", "truncation", "relaxation"}
    assert sum(result.certificate.error_parts.values()) == pytest.approx(claim)


@pytest.mark.parametrize("L", [3, 4, 5, pytest.param(6, marks=pytest.mark.slow)])
def test_rings(L):
    current, magnetisation = reference(f"fig5-ring-L{L}")["value"][:2]
    result = mt.steady_state(models.persistent_current(L=L, alpha=2.0, delta=1.5), mt.TEBD(), tol=1e-5)
    assert local_errors(result, current, magnetisation) <= result.certificate.error_estimate <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("L", [7, 8])
def test_longer_rings(L):
    current, magnetisation = reference(f"fig5-ring-L{L}")["value"][:2]
    result = mt.steady_state(models.persistent_current(L=L, alpha=2.0, delta=1.5), mt.TEBD(), tol=1e-5)
    assert local_errors(result, current, magnetisation) <= result.certificate.error_estimate <= 1e-5


def test_thirty_sites_at_the_default_accuracy_of_a_first_look():
    entry = reference("fig5-open-L30")
    model = models.persistent_current(L=30, alpha=2.0, delta=1.0, periodic=False)
    result = mt.steady_state(model, mt.TEBD(), tol=1e-4)
    assert result.converged and result.cost.cpu_seconds < 20
    assert local_errors(result, *(np.array(row) for row in entry["value"][:2])) <= result.certificate.error_estimate


@pytest.mark.slow
def test_thirty_sites_to_six_digits():
    entry = reference("fig5-open-L30")
    model = models.persistent_current(L=30, alpha=2.0, delta=1.0, periodic=False)
    result = mt.steady_state(model, mt.TEBD(), tol=1e-6)
    currents = np.array(entry["value"][0])
    assert np.abs(result.expect(obs.current(model)) - currents).max() < 1e-6
    assert result.cost.cpu_seconds < 60


@pytest.mark.parametrize(("gamma", "G_R"), [(0.5, 0.6), (0.0, 1.0)])
def test_boundary_driven_chain_against_the_closed_form(gamma, G_R):
    """Family 1: series resistances; without dephasing an exact bond dimension of 4."""
    L, t, G_L, f_L, f_R = 6, 1.0, 1.0, 0.8, 0.3
    current = (f_L - f_R) / (1 / G_L + 1 / G_R + (G_L + G_R) / (4 * t**2) + (L - 1) * gamma / (2 * t**2))
    occupations = [f_L - current / G_L]
    for k in range(1, L):
        edge = (G_L / 2 if k == 1 else 0) + (G_R / 2 if k == L - 1 else 0)
        occupations.append(occupations[-1] - (gamma + edge) * current / (2 * t**2))
    model = models.boundary_driven_xx(L, t, G_L, f_L, G_R, f_R, dephasing=gamma)
    result = mt.steady_state(model, mt.TEBD(), tol=1e-5)
    claim = result.certificate.error_estimate
    assert np.abs(result.expect(obs.profile(model, "N")) - occupations).max() <= claim <= 1e-5
    assert np.abs(np.abs(result.expect(obs.current(model))) - current).max() <= claim


def test_fixed_step_and_bond_dimension_carry_an_honest_certificate():
    entry = reference("fig5-open-L6")
    model = models.persistent_current(L=6, alpha=2.0, delta=1.0, periodic=False)
    answers = [np.array(row) for row in entry["value"][:2]]
    coarse = mt.steady_state(model, mt.TEBD(dt=0.4, max_bond=64), tol=1e-5, on_failure="return")
    assert coarse.status is Status.NOT_CONVERGED
    assert 1e-5 < local_errors(coarse, *answers) <= coarse.certificate.error_estimate
    thin = mt.steady_state(model, mt.TEBD(dt=0.1, max_bond=8), tol=1e-5, on_failure="return")
    assert thin.status is Status.STALLED_BY_TRUNCATION and thin.certificate.saturated
    assert thin.certificate.bond_dimension == 8 and thin.certificate.discarded_weight > 0
    assert 1e-5 < local_errors(thin, *answers) <= thin.certificate.error_estimate


def test_order_of_convergence_of_the_steady_state():
    """The fixed point of a step of length dt differs from the steady state by dt^order; no truncation at L = 4."""
    entry = reference("fig5-open-L4")
    model = models.persistent_current(L=4, alpha=2.0, delta=1.0, periodic=False)
    answers = [np.array(row) for row in entry["value"][:2]]
    for order, steps, low, tol in (
        (2, (0.1, 0.05), 1.8, 1e-7),
        (4, (0.2, 0.1), 3.2, 1e-7),
        (6, (0.16, 0.08), 5.2, 1e-9),
    ):
        errors = []
        for dt in steps:
            method = mt.TEBD(dt=dt, order=order, max_bond=16)
            errors.append(local_errors(mt.steady_state(model, method, tol=tol, on_failure="return"), *answers))
        assert np.log2(errors[0] / errors[1]) > low


@pytest.mark.parametrize("tol", [1e-3, 1e-5])
def test_companions_show_the_parts_of_the_error(tol):
    """Also after the other parameter was refined: weight x |difference| of local operators is the part claimed."""
    model = models.persistent_current(L=8, alpha=1.5, delta=0.8, mu=0.7, periodic=False)
    result = mt.steady_state(model, mt.TEBD(), tol=tol)
    parts = result.certificate.error_parts
    assert set(result.companions) == set(parts)
    for name in ("time step", "truncation"):
        state, weight = result.companions[name]
        moved = np.abs(profile(result.state) - profile(state)).max()
        assert weight * moved == pytest.approx(parts[name], rel=1e-6)
        assert state.trace() == pytest.approx(1, abs=1e-10)


def test_tight_tolerances_are_reached_in_order_six():
    entry = reference("fig5-open-L6")
    model = models.persistent_current(L=6, alpha=2.0, delta=1.0, periodic=False)
    result = mt.steady_state(model, mt.TEBD(), tol=1e-8)
    error = local_errors(result, *(np.array(row) for row in entry["value"][:2]))
    assert error <= result.certificate.error_estimate <= 1e-8
    assert "order 6" in result.certificate.notes[-1]


def test_slow_modes_are_waited_for():
    """A mode of rate 0.1 that hardly shows in the first drifts after a refinement (stiffest rate: 72)."""
    entry = reference("open10-4.0-2.0")
    model = models.persistent_current(L=10, alpha=4.0, delta=2.0, periodic=False)
    result = mt.steady_state(model, mt.TEBD(), tol=1e-3)
    error = local_errors(result, *(np.array(row) for row in entry["value"][:2]))
    assert error <= result.certificate.error_estimate <= 1e-3


def test_evolution_starts_from_a_state_that_was_computed_before():
    """A quench: the steady state of one chain evolved with another, against the exact propagator."""
    before, after = (models.persistent_current(5, 2.0, 1.0, mu=mu, periodic=False) for mu in (1.0, 0.3))
    start = mt.steady_state(before, mt.TEBD(), tol=1e-6).state
    asked, times = [obs.profile(after, "Z"), obs.current(after)], [0.5, 1.5]
    out = mt.evolve(after, start, times, asked, mt.TEBD(), tol=1e-5)
    exact = mt.evolve(after, mt.states.DenseState(after.lattice, start.to_dense()), times, asked, mt.ExactDiag())
    for key, observable in zip(out.values, asked, strict=True):
        assert np.abs(out.values[key] - exact.values[key]).max() <= 1e-5 * max(observable.norm, 1.0)
    resting = mt.evolve(before, start, [3.0], [obs.profile(before, "Z")], mt.TEBD(), tol=1e-5)
    values = next(iter(resting.values.values()))
    assert np.abs(values[-1] - np.asarray(obs.profile(before, "Z").evaluate(start))).max() < 1.2e-5


def test_running_out_of_time_is_not_convergence():
    model = models.persistent_current(L=5, alpha=1.0, delta=0.5, periodic=False)
    result = mt.steady_state(model, mt.TEBD(max_time=4.0), tol=1e-6, on_failure="return")
    assert result.status is Status.NOT_CONVERGED


def test_strong_symmetry_is_announced():
    h = op("Z", 0) * op("Z", 1) + 0.5 * op("Z", 1)
    model = Lindbladian(Chain(2, SpinHalf()), h, [Jump(op("Z", 0), rate=0.4), Jump(op("Z", 1), rate=0.3)])
    result = mt.steady_state(model, mt.TEBD(), tol=1e-6, initial="up", on_failure="return")
    assert result.expect(op("Z", 0)) == pytest.approx(1)
    assert any("strong" in note for note in result.certificate.notes)


@pytest.mark.parametrize("periodic", [False, True])
def test_evolution_against_the_exact_propagator(periodic):
    model = models.persistent_current(L=5, alpha=1.0, delta=0.5, J=0.8, periodic=periodic)
    times, tol = [0.3, 1.0, 2.5], 1e-5
    method = mt.TEBD()
    work = method.prepare(model, tol=tol, seed=0, task="evolve")
    initial = [0, 1, 1, 0, 1]
    iterate = method.start(work, initial)
    dims = [2] * 5
    x = to_hermitian(MPOState.product(model.lattice, initial).to_dense(), dims).real.ravel()
    generator, before = hermitian_lindbladian(model), 0.0
    for time in times:
        for _ in range(10000):
            iterate, told = method.propagate(work, iterate, time)
            if told.done:
                break
        assert told.status is Status.CONVERGED and iterate.scalars["time"] == time
        x = ssl.expm_multiply(generator * (time - before), x)
        before = time
        exact = mt.states.DenseState(model.lattice, from_hermitian(x.reshape([4] * 5), dims))
        for observable in (obs.profile(model, "Z"), obs.current(model)):
            error = np.abs(observable.evaluate(iterate.state) - observable.evaluate(exact)).max()
            assert error <= tol * max(observable.norm, 1.0)
    certificate = method.certify(work, iterate, Status.CONVERGED)
    assert certificate.error_estimate is not None and certificate.error_estimate <= tol
    assert certificate.trace == pytest.approx(1, abs=tol)


def test_evolution_in_given_steps_ends_at_the_requested_time():
    model = models.persistent_current(L=3, alpha=0.5, delta=0.2, J=1.0, periodic=False)
    method = mt.TEBD(dt=0.3)
    work = method.prepare(model, tol=1e-6, seed=0, task="evolve")
    iterate = method.start(work, "up")
    while iterate.scalars["time"] < 1.0:
        iterate, _ = method.propagate(work, iterate, 1.0)
    assert iterate.scalars["time"] == 1.0 and iterate.scalars["step"] == pytest.approx(0.25)


@pytest.mark.parametrize("frequency", [0.0, 3.0, 40.0])
def test_relaxation_claims_cover_every_local_operator_of_oscillating_modes(frequency):
    """Nothing is cut or split on two sites: what remains is the distance to the fixed point, measured on a basis."""
    hop = (1 + 0.5j) * op("Sp", 0) * op("Sm", 1)
    h = hop + hop.dag + frequency * op("Z", 0) + 0.7 * op("X", 1)
    jumps = [Jump(op("Sm", 0) + 0.3 * op("Sp", 1), 0.4), Jump(op("Sm", 1), 0.1)]
    model = Lindbladian(Chain(2, SpinHalf()), h, jumps)
    exact = systems.dense_steady_state(model)
    for tol in (1e-3, 1e-5):
        result = mt.steady_state(model, mt.TEBD(), tol=tol)
        distance = result.state.reduced([0, 1]) - exact.reduced([0, 1])
        largest = np.abs(np.linalg.eigvalsh(distance)).sum()  # of <O> over all |O| <= 1
        assert largest <= result.certificate.error_estimate <= tol


def test_sites_without_dissipation_are_announced():
    pairs = [op("Z", 0) * op("X", 1), op("Z", 2) * op("X", 3)]
    model = Lindbladian(Chain(5, SpinHalf()), pairs[0] + pairs[1], [Jump(op("Sm", 1)), Jump(op("Sm", 3), rate=0.0)])
    result = mt.steady_state(model, mt.TEBD(), tol=1e-3)
    assert "No jump acts on the sites 2, 3, 4" in result.certificate.notes[0]
    damped = Lindbladian(Chain(2, SpinHalf()), pairs[0], [Jump(op("Sm", 1))])
    assert not any("No jump" in n for n in mt.steady_state(damped, mt.TEBD(), tol=1e-3).certificate.notes)


def test_costs_foreseen_are_of_the_right_order_of_magnitude():
    """Ratios to CPU seconds measured once on one core, so that the test does not depend on the load of the machine."""
    ring, chain = (models.persistent_current(L, 2.0, 1.5, periodic=p) for L, p in ((12, True), (30, False)))
    for model, tol, measured in ((ring, 1e-3, 1.3), (ring, 1e-5, 8.9), (chain, 1e-4, 1.2), (chain, 1e-6, 4.2)):
        assert measured / 6 < mt.TEBD().estimate(model, tol).seconds < 6 * measured
    assert mt.TEBD(max_bond=8).estimate(chain, 1e-6).seconds < mt.TEBD().estimate(chain, 1e-6).seconds / 10
    for L in (6, 9):
        assert isinstance(mt.choose_method(models.persistent_current(L, 2.0, 1.5))[0], mt.ExactDiag)
    assert isinstance(mt.choose_method(chain)[0], (mt.TEBD, mt.ImplicitSweeps))


@pytest.mark.parametrize("count", [1, 40])
def test_the_error_of_an_evolution_stays_within_the_tolerance_however_many_times_are_asked_for(count):
    """Both parts of the error add up over steps and truncations: their shares must not depend on the list of times."""
    model = models.persistent_current(6, 2.0, 1.0, mu=np.linspace(0.5, 1.5, 6), periodic=False)
    times = np.linspace(0, 3.0, count + 1)[1:]
    asked = [obs.current(model), obs.profile(model, "Z")]
    out = mt.evolve(model, "up", times, asked, mt.TEBD(), tol=1e-4)
    exact = mt.evolve(model, "up", times, asked, mt.ExactDiag(), tol=1e-8)
    errors = [np.abs(out.values[k] - exact.values[k]).max() / o.norm for k, o in zip(out.values, asked, strict=True)]
    assert max(errors) <= out.certificate.error_estimate <= 1e-4
    assert exact.certificate.error_estimate < 1e-10
