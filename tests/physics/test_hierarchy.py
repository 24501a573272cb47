"""Closed hierarchies against closed forms at lengths of hundreds, and against exact diagonalisation of short chains."""

import numpy as np
import pytest
import systems

import mpo_transport as mt
from mpo_transport import ClosedHierarchy, MPOState, op
from mpo_transport import observables as obs
from mpo_transport.errors import DegenerateSteadyStateError, InputError, NotSupportedError
from mpo_transport.methods.hierarchy import HierarchyState
from mpo_transport.reference.boundary_driven import exclusion, xx_chain, xx_dephasing_gap, xx_gap
from mpo_transport.result import Result, Status


def covered(result, observable, exact):
    """The largest error, which must lie within the error claimed."""
    values, claimed = result.expect(observable, error=True)
    error = np.abs(values - exact)
    assert np.all(error <= claimed + 5e-16)
    return error.max()


def rough_result(model, state):
    """A steady state that is none."""
    return Result(model, mt.TEBD(), Status.NOT_CONVERGED, state, mt.Certificate(), 1e-6)


@pytest.mark.parametrize("system", systems.SYSTEMS, ids=str)
def test_every_system(system):
    model = system.build()
    method = ClosedHierarchy()
    if not method.supports(model):
        assert not model.lattice.is_bounded  # the operator space of every other system is small
        with pytest.raises(NotSupportedError, match="levels"):
            mt.steady_state(model, method)
        return
    result = mt.steady_state(model, method, tol=1e-9)
    assert result.converged and result.certificate.residual < 1e-13
    for answer in system.answers:
        observable = answer.observable(model)
        error = np.max(np.abs(np.asarray(result.expect(observable)) - answer.value))
        assert error <= answer.uncertainty + 1e-11 * max(1.0, observable.norm), answer.name


@pytest.mark.parametrize("case", systems.DEGENERATE, ids=str)
def test_steady_states_that_are_not_unique_are_announced(case):
    with pytest.raises(DegenerateSteadyStateError) as error:
        mt.steady_state(case.build(), ClosedHierarchy())
    assert "not unique" in " ".join(error.value.result.certificate.notes)


@pytest.mark.parametrize("dephasing", [0.0, 0.3])
def test_long_chains_between_different_baths(dephasing):
    given = (100, 0.8, 0.6, 0.9, 1.4, 0.2)
    model = mt.models.boundary_driven_xx(*given, dephasing=dephasing)
    result = mt.steady_state(model, ClosedHierarchy(), tol=1e-9)
    exact = xx_chain(*given, dephasing=dephasing)
    assert covered(result, obs.current(model), exact.current) < 1e-12
    assert covered(result, obs.profile(model, "N"), exact.density) < 1e-12
    assert result.certificate.smallest_eigenvalue > 0 and result.certificate.current_uniformity < 1e-12


@pytest.mark.slow
def test_chain_of_two_hundred_sites_with_dephasing():
    given, known = systems.load_benchmark("xx-deph-200")
    baths = (given["Gamma_L"], given["f_L"], given["Gamma_R"], given["f_R"])
    model = mt.models.boundary_driven_xx(given["L"], given["t"], *baths, dephasing=given["gamma"])
    result = mt.steady_state(model, ClosedHierarchy(), tol=1e-9)
    assert covered(result, obs.current(model), known["particle_current"]) < 1e-12
    densities = result.expect(obs.profile(model, "N"))
    assert all(abs(densities[s] - n) < 1e-9 for s, n in known["density_sites"].items())  # printed digits


def test_exclusion_process_with_its_correlations():
    given = (100, 1.0, 0.8, 0.5, 0.3)
    model = mt.models.exclusion_process(*given)
    result = mt.steady_state(model, ClosedHierarchy(), tol=1e-9)
    exact = exclusion(*given)
    assert covered(result, obs.current(model), exact.current) < 1e-12
    assert covered(result, obs.profile(model, "N"), exact.density) < 1e-12
    pairs = [(a, b) for a in range(0, 100, 9) for b in range(a + 1, 100, 7)]
    found = result.expect(obs.correlation(model, "N", "N", pairs=pairs, connected=True))
    A, B, size = 1 / 1.5, 1 / 1.1, 100 + 1 / 1.5 + 1 / 1.1 - 1
    driving = 1.0 / 1.5 - 0.3 / 1.1
    formula = [-(driving**2) * (A + a) * (B + 99 - b) / (size**2 * (size - 1)) for a, b in pairs]
    assert np.abs(found - formula).max() < 1e-12
    assert len(result.state) == 100 + 99 * 50  # all pairs, found on demand


def test_a_ring_in_a_bath():
    """A ring with loss and gain on every site: strings that reach around it, against exact diagonalisation."""
    hop = [(op("Sp", j) * op("Sm", (j + 1) % 5)) * (0.7 + 0.3j) for j in range(5)]
    h = sum((x + x.dag for x in hop[1:]), hop[0] + hop[0].dag)
    jumps = [mt.Jump(op("Sm", 0), 0.8), mt.Jump(op("Sp", 2), 0.5), *(mt.Jump(op("N", j), 0.3) for j in range(5))]
    model = mt.Lindbladian(mt.Chain(5, mt.SpinHalf(), periodic=True), h, jumps)
    mine = mt.steady_state(model, ClosedHierarchy(), tol=1e-10)
    exact = mt.steady_state(model, mt.ExactDiag(), tol=1e-10)
    for observable in (obs.current(model), obs.profile(model, "N"), obs.purity([1, 2])):
        assert np.abs(mine.expect(observable) - exact.expect(observable)).max() < 1e-12


# ----------------------------------------------------------------------------------------------------------------------
# the state


def test_what_does_not_close_is_named():
    model = mt.models.boundary_driven_xx(30, 1.0, 0.6, 0.9, 1.4, 0.2, dephasing=0.2)
    result = mt.steady_state(model, ClosedHierarchy(max_strings=3000))
    with pytest.raises(NotSupportedError, match=r"Z\(3\) Z\(20\) do not close within 3000"):
        result.expect(op("N", 3) * op("N", 20))
    with pytest.raises(NotSupportedError, match="needs <"):
        result.state.reduced([3, 4])
    with pytest.raises(NotSupportedError, match="whole density matrix"):
        result.state.purity()
    assert np.allclose(result.state.reduced([4]), np.diag(np.diag(result.state.reduced([4]))))  # odd strings vanish


def test_round_trip(tmp_path):
    model = mt.models.exclusion_process(9, 1.0, 0.8, 0.5, 0.3)
    result = mt.steady_state(model, ClosedHierarchy(), checkpoint=tmp_path / "run.h5")
    again = mt.load(tmp_path / "run.h5")
    assert isinstance(again.state, HierarchyState) and mt.audit(tmp_path / "run.h5").verdict == "sound"
    for name, array in result.state.arrays().items():
        assert array.tobytes() == again.state.arrays()[name].tobytes()
    pair = op("N", 2) * op("N", 7)  # unknown so far: the loaded state follows it from what it stored
    assert again.state.expect(pair) == result.state.expect(pair)
    arrays = {**result.state.arrays(), "matrices": np.zeros(3)}
    with pytest.raises(InputError, match="stored terms"):
        HierarchyState.from_arrays(model.lattice, arrays, result.state.attributes())


def test_the_automatic_choice_prefers_density_matrices():
    chain = mt.models.boundary_driven_xx(30, 1.0, 0.6, 0.9, 1.4, 0.2, dephasing=0.2)
    assert ClosedHierarchy().supports(chain)
    method, _ = mt.choose_method(chain)
    assert not isinstance(method, ClosedHierarchy)


def test_initial_states_and_what_is_not_solved():
    model = mt.models.exclusion_process(4, 1.0, 0.8, 0.5, 0.3)
    with pytest.raises(InputError) as error:
        mt.steady_state(model, ClosedHierarchy(), initial="up")
    assert error.value.field == "initial"


# ----------------------------------------------------------------------------------------------------------------------
# time


def test_quench_of_a_staggered_state():
    given, known = systems.load_benchmark("neel-quench-24")
    baths = (given["Gamma_L"], given["f_L"], given["Gamma_R"], given["f_R"])
    model = mt.models.boundary_driven_xx(given["L"], given["t"], *baths, dephasing=given["gamma"])
    measured = {"n": obs.profile(model, "N"), "j": obs.current(model)}
    times = [float(t) for t in known]
    found = mt.evolve(model, given["initial_occupation"], times, measured, ClosedHierarchy(), tol=1e-10)
    for k, row in enumerate(known.values()):
        n = found.values["n"][k]
        assert abs(n.sum() - row["density_total"]) < 1e-9
        assert all(abs(n[int(s) - 1] - x) < 1e-9 for s, x in row["density_sites"].items())
        assert abs(found.values["j"][k, 11] - row["current_mid_bond"]) < 1e-9


@pytest.mark.parametrize("as_state", [False, True])
def test_evolution_of_everything_asked_for(as_state):
    model = systems.random_xy(4, 8)
    initial = [1, np.array([0.6, 0.8j]), 0, 1]
    measured = {"n": obs.profile(model, "N")}
    if as_state:
        start = MPOState.product(model.lattice, initial)
    else:  # strings outside the first closed set are followed from the start
        start = initial
        measured |= {"nn": obs.correlation(model, "N", "N", pairs=[(0, 2)]), "x": obs.profile(model, "X")}
    times = [0.0, 0.4, 2.0]
    mine = mt.evolve(model, start, times, measured, ClosedHierarchy(), tol=1e-9)
    exact = mt.evolve(model, start, times, measured, mt.ExactDiag(), tol=1e-11)
    for name in measured:
        assert np.abs(mine.values[name] - exact.values[name]).max() < 1e-11
    if as_state:
        with pytest.raises(NotSupportedError, match="propagated"):
            mine.state.expect(op("Z", 0) * op("Z", 3))


# ----------------------------------------------------------------------------------------------------------------------
# duals, rates, counting


@pytest.mark.parametrize("dephasing", [0.0, 0.3])
def test_corrected_values_do_not_depend_on_the_state(dephasing):
    given = (60, 1.0, 0.6, 0.9, 1.4, 0.2)
    model = mt.models.boundary_driven_xx(*given, dephasing=dephasing)
    exact = xx_chain(*given, dephasing=dephasing)
    for initial in ("mixed", [j % 2 for j in range(60)]):
        rough = rough_result(model, MPOState.product(model.lattice, initial))
        found = mt.corrected(rough, obs.profile(model, "N"))
        error = np.abs(found.corrected - exact.density)
        assert found.converged and np.all(error <= found.error) and error.max() < 1e-12
        assert np.abs(found.value - exact.density).max() > 0.1 and found.bond_dimension is None


def test_pairing_is_the_value_minus_the_exact_one():
    """(y| L x) from the strings of a matrix product, against <O>_x - <O>_ss."""
    from mpo_transport.dual.hierarchy import HierarchyDual

    model = mt.models.boundary_driven_xx(7, 1.0, 0.6, 0.9, 1.4, 0.2, dephasing=0.1)
    state = MPOState.product(model.lattice, [0.0, 1, np.array([0.6, 0.8]), 1, 0, 0, 1])
    dual = HierarchyDual(model, state)
    operator = obs.current(model).operators[2] + 0.3 * op("N", 5)
    value = state.expect(operator).real
    y = dual.solve(operator, value, 0.0)
    assert abs(dual.pairing(model)(y.y) - (value - y.corrected)) < 1e-13


def test_sensitivities_against_the_closed_form():
    given = {"L": 16, "t": 0.9, "G_L": 0.6, "f_L": 0.9, "G_R": 1.4, "f_R": 0.2, "dephasing": 0.3}
    model = mt.models.boundary_driven_xx(**given)
    result = mt.steady_state(model, ClosedHierarchy(), tol=1e-9)
    slopes = mt.sensitivity(model, "current", result=result)
    for name in set(given) - {"L"}:
        h = 1e-5
        up, down = (xx_chain(**{**given, name: given[name] + s}).current for s in (h, -h))
        assert np.abs(slopes[name] - (up - down) / (2 * h)).max() < 1e-8, name


def test_failing_hierarchies_leave_duals_to_matrix_products():
    model = mt.models.boundary_driven_xxz(4, 0.5, G_L=1.0, f_L=0.6, G_R=1.0, f_R=0.4)
    exact = mt.steady_state(model, mt.ExactDiag())
    rough = rough_result(model, MPOState.from_dense(model.lattice, exact.state.to_dense(), max_bond=6))
    found = mt.corrected(rough, op("Z", 1))
    assert found.bond_dimension is not None
    assert abs(found.corrected - exact.expect(op("Z", 1))) <= found.error + 1e-12


@pytest.mark.parametrize("L", [12, 40])
def test_gap_of_free_fermions(L):
    chain = mt.models.boundary_driven_xx(L, 1.0, 1.0, 0.7, 1.0, 0.3)
    found = mt.gap(chain, method="hierarchy")
    assert abs(found - xx_gap(L, 1.0, 1.0, 1.0)) <= found.error + 1e-12 * found
    assert any("outside the closed set" in note for note in found.notes)


def test_gap_of_a_ring_with_dephasing():
    """Strings reach around the ring from both sides; the particle number is conserved."""
    given, known = systems.load_benchmark("ring-24")
    found = mt.gap(mt.models.ring_dephasing(given["L"], given["t"], given["gamma"]), method="hierarchy")
    assert abs(found - known["gap"]) < 2e-11 and found.null_space > 1  # printed digits


def test_gap_with_dephasing_and_of_chosen_operators():
    chain = mt.models.boundary_driven_xx(10, 1.0, 1.0, 0.5, 1.0, 0.5, dephasing=0.5)
    found = mt.gap(chain, method="hierarchy")
    assert abs(found - xx_dephasing_gap(10, 1.0, 1.0, 1.0, 0.5)) < 1e-11
    process = mt.models.exclusion_process(30, 1.0, 1.0, 1.0, 1.0)
    slow = mt.gap(process, method="hierarchy", sector=op("N", 3))
    # densities diffuse: the discrete Laplacian, whose ends lose alpha + gamma = 2 and one hop
    laplacian = np.diag(np.full(30, -2.0)) + np.diag(np.ones(29), 1) + np.diag(np.ones(29), -1)
    laplacian[0, 0] = laplacian[-1, -1] = -3.0
    assert abs(slow + np.linalg.eigvalsh(laplacian).max()) < 1e-12
    with pytest.raises(InputError):
        mt.gap(process, method="hierarchy", sector="parity=even")
    with pytest.raises(NotSupportedError, match="do not close"):
        mt.gap(mt.models.boundary_driven_xxz(20, 0.5, eps=1.0), method="hierarchy")
    with pytest.raises(NotSupportedError, match="blocks"):
        mt.spectrum(chain, method="hierarchy").right(0)


def test_rates_of_small_models_are_eigenvalues_of_the_whole():
    model = systems.random_xy(3, 4)
    whole = np.linalg.eigvals(mt.superoperator.dense_lindbladian(model))
    found = mt.spectrum(model, 12, method="hierarchy").eigenvalues
    assert len(found) == 12 and all(np.abs(whole - x).min() < 1e-12 for x in found)


@pytest.mark.parametrize(
    "model",
    [
        mt.models.exclusion_process(4, 1.0, 0.8, 0.5, 0.3),
        mt.models.boundary_driven_xx(4, 1.0, 0.6, 0.9, 1.4, 0.2, dephasing=0.3),
        mt.models.boundary_driven_xxz(3, 0.5, eps=1.0),
    ],
    ids=lambda m: m.name,
)
def test_noise_against_exact_diagonalisation(model):
    exact = mt.counting.noise_matrix(model, method=mt.ExactDiag())
    assert np.abs(mt.counting.noise_matrix(model, method=ClosedHierarchy()) - exact).max() < 1e-13


def test_noise_of_long_chains():
    known = systems.load_benchmark("fcs-40")[1]
    chain = mt.models.boundary_driven_xx(40, 1.0, 2.0, 1.0, 2.0, 0.0)
    state = mt.steady_state(chain, mt.ChainGrowth(), tol=1e-9)
    found = mt.counting.statistics(chain, "left", result=state)
    assert abs(found.cumulants[1] - known["c2"]) <= found.errors[1] < 1e-10
    assert abs(abs(found.cumulants[0]) - known["c1"]) < 1e-12
    # the exclusion process: B. Derrida, B. Doucot, P.-E. Roche, J. Stat. Phys. 115, 717 (2004): L c_2 -> 1/3 between
    # densities one and zero, with corrections of order 1/L
    limits = []
    for L in (30, 60):
        process = mt.models.exclusion_process(L, 1.0, 1.0, 0.0, 0.0)
        bath = mt.counting.counted_baths(process)[0]
        limits.append(mt.counting.statistics(process, bath, method=ClosedHierarchy()).cumulants[1] * (L + 1))
    assert abs(2 * limits[1] - limits[0] - 1 / 3) < 0.1 * abs(limits[0] - 1 / 3) + 1e-3
