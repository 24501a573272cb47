"""Every method on every system it supports, against answers from elsewhere.

Tolerances follow from the knobs: exact diagonalisation must be exact to rounding; a sweep method must be within the
tolerance asked for, in units of the operator norm, and within its own claimed error where that is larger than rounding.
"""

import numpy as np
import pytest
import systems

import mpo_transport as mt
from mpo_transport import observables as obs
from mpo_transport.methods import METHODS

ROUNDING = 1e-11
TOL = 1e-5
SWEEPS_TOO_LONG = {"nnn-1", "boson-pair-U1"}  # a ring of second neighbours; 36-dimensional sites: in the slow suite


def deviation(value, answer):
    return float(np.max(np.abs(np.asarray(value) - answer.value)))


@pytest.mark.parametrize("system", systems.SYSTEMS, ids=str)
def test_exact_diagonalisation(system):
    model = system.build()
    if not model.lattice.is_bounded:
        with pytest.raises(mt.NotSupportedError, match="levels"):
            mt.steady_state(model, mt.ExactDiag())
        return
    result = mt.steady_state(model, mt.ExactDiag())
    assert result.converged and result.certificate.residual < 1e-10
    assert result.certificate.null_space == 1
    for answer in system.answers:
        observable = answer.observable(model)
        value = result.expect(observable)
        assert deviation(value, answer) <= answer.uncertainty + ROUNDING * max(1.0, observable.norm), answer.name


@pytest.mark.parametrize("system", systems.SYSTEMS, ids=str)
def test_gaussian(system):
    """Exact to rounding where the model is quadratic; a sentence that names the term where it is not."""
    model = system.build()
    if not mt.Gaussian().supports(model):
        with pytest.raises(mt.NotSupportedError, match="quadratic"):
            mt.steady_state(model, mt.Gaussian())
        return
    result = mt.steady_state(model, mt.Gaussian())
    assert result.converged and result.certificate.residual < 1e-12
    for answer in system.answers:
        observable = answer.observable(model)
        error = deviation(result.expect(observable), answer)
        assert error <= answer.uncertainty + ROUNDING * max(1.0, observable.norm), answer.name


def test_gaussian_supports_the_quadratic_systems():
    expected = {"xx-asymmetric", "boson-chain-unbounded", "boson-20", "rectifier-rates", "thermal-qubit"}
    assert expected <= {s.name for s in systems.SYSTEMS if mt.Gaussian().supports(s.build())}


def check_sweeps(system, tol):
    model = system.build()
    result = mt.steady_state(model, mt.TEBD(), tol=tol)
    assert result.converged and result.certificate.error_estimate <= tol
    for answer in system.answers:
        observable = answer.observable(model)
        value, claimed = result.expect(observable, error=True)
        error = deviation(value, answer)
        if isinstance(observable, obs.Observable) and answer.name != "g2":
            assert error <= tol * observable.norm + answer.uncertainty, answer.name
        assert error <= 2 * np.max(claimed) + answer.uncertainty + 1e-3 * tol, f"{answer.name}: {error} > {claimed}"


@pytest.mark.parametrize("system", [s for s in systems.SYSTEMS if s.name not in SWEEPS_TOO_LONG], ids=str)
def test_sweeps(system):
    if not mt.TEBD().supports(system.build()):
        with pytest.raises(mt.NotSupportedError):
            mt.steady_state(system.build(), mt.TEBD())
        return
    check_sweeps(system, TOL)


@pytest.mark.slow
@pytest.mark.parametrize("system", [s for s in systems.SYSTEMS if mt.TEBD().supports(s.build())], ids=str)
def test_sweeps_tighter(system):
    check_sweeps(system, 1e-7)


@pytest.mark.parametrize("system", [s for s in systems.SYSTEMS if s.build().L <= 4 and not s.build().lattice.periodic],
                         ids=str)  # fmt: skip
def test_one_cluster_of_all_sites_is_exact(system):
    """Mean field with a single cluster has no boundary: it must reproduce the exact answer."""
    model = system.build()
    method = mt.ClusterMeanField(size=model.L)
    if model.L * np.log2(float(max(model.lattice.dims))) > 6 or not method.supports(model):
        assert model.L * np.log2(float(max(model.lattice.dims))) > 4  # only large clusters may be left out
        return
    result = mt.steady_state(model, method)
    for answer in system.answers:
        observable = answer.observable(model)
        assert deviation(result.expect(observable), answer) <= answer.uncertainty + 1e-9 * max(1.0, observable.norm)


@pytest.mark.parametrize("case", systems.DEGENERATE, ids=str)
def test_steady_states_that_are_not_unique_are_announced_with_their_number(case):
    model = case.build()
    with pytest.raises(mt.DegenerateSteadyStateError) as error:
        mt.steady_state(model, mt.ExactDiag())
    assert error.value.dimension == case.null_space
    result = mt.steady_state(model, mt.ExactDiag(), on_failure="return")
    assert result.status is mt.Status.NOT_UNIQUE and result.certificate.null_space == case.null_space
    assert len(result.manifold) >= 2
    lindbladian = mt.superoperator.dense_lindbladian(model)
    for state in result.manifold:
        rho = state.to_dense()
        assert np.abs(lindbladian @ rho.ravel()).max() < 1e-9
        assert np.linalg.eigvalsh(rho).min() > -1e-9


def test_a_chosen_initial_state_selects_one_of_many_steady_states():
    model = systems.DEGENERATE[-1].build()  # dephasing ring: the particle number stays
    for occupation in ([1, 0, 0], [1, 1, 0]):
        result = mt.steady_state(model, mt.ExactDiag(), initial=occupation)
        assert result.converged
        assert np.allclose(result.expect(obs.profile(model, "N")), sum(occupation) / 3, atol=1e-10)


def test_every_method_answers_whether_it_supports_every_system():
    for model in (system.build() for system in systems.SYSTEMS):
        for cls in METHODS.values():
            support = cls().supports(model)
            assert isinstance(support.ok, bool) and support.reason
