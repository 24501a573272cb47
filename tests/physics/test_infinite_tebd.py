"""InfiniteTEBD against answers from elsewhere: closed forms, limits of exactly solved rings, long open chains."""

import itertools
import math

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Chain, InfiniteTEBD, Jump, Lindbladian, OpSum, SpinHalf, op
from mpo_transport import observables as obs
from mpo_transport.methods.infinite.cell import build_cell
from mpo_transport.methods.infinite.engine import InfiniteEngine, pair_rates
from mpo_transport.methods.infinite.layers import apply_layer
from mpo_transport.states import InfiniteMPOState
from mpo_transport.superoperator import dense_lindbladian

ring = mt.models.persistent_current
SETS = {
    "alpha 2, delta 1, mu 1": {"alpha": 2.0, "delta": 1.0, "mu": 1.0},
    "alpha 2, delta 1, mu 3": {"alpha": 2.0, "delta": 1.0, "mu": 3.0},
    "Ising coupling": {"alpha": 1.5, "delta": 1.0, "mu": 2.0, "eps_zz": 0.3},
}


def shanks(series):
    """Limit of a sequence with exponentially decaying corrections, and its uncertainty (P. Wynn's epsilon table)."""
    table = [np.zeros(len(series) + 1), np.asarray(series, dtype=float)]
    while len(table[-1]) > 1:
        table.append(table[-2][1:-1] + 1 / np.diff(table[-1]))
    last, before = table[1::2][-1], table[1::2][-2]
    return float(last[-1]), float(max(abs(last[-1] - before[-1]), np.ptp(last)))


def exact_ring(model):
    result = mt.steady_state(model, mt.ExactDiag())
    return result.expect(obs.current(model)), result.expect(obs.profile(model, "Z"))


@pytest.mark.parametrize("name", SETS)
def test_rings_of_growing_length_converge_to_the_infinite_chain(name):
    series = np.array([[x[0] for x in exact_ring(ring(L, **SETS[name]))] for L in range(3, 10)])
    model = ring(4, **SETS[name])
    result = mt.steady_state(model, InfiniteTEBD(max_bond=32), tol=3e-4)
    assert result.converged and result.certificate.error_estimate <= 3e-4
    for column, observable in zip(series.T, (obs.current(model), obs.profile(model, "Z")), strict=True):
        limit, uncertainty = shanks(column)
        value, claimed = result.expect(observable, error=True)
        assert uncertainty < 1e-3
        assert np.abs(value - limit).max() <= claimed.max() + uncertainty
    even, odd = series[1::2, 0], series[0::2, 0]  # the current alternates about its limit
    value = result.expect(obs.current(model))
    assert np.all(value < even.min() + 1e-3) and np.all(value > odd.max() - 1e-3)


CELLS = {
    "two sites": (
        lambda L: ring(L, 2.0, 1.0, J=[0.3, 0.7] * (L // 2), mu=3.0, kappa=[0.1, 0.4] * (L // 2)),
        2,
        (4, 6, 8),
    ),
    "three sites": (
        lambda L: ring(L, [1.5, 1.0, 1.2] * (L // 3), [0.5, 0.2, 0.3] * (L // 3), mu=[2.0, 1.0, 1.5] * (L // 3)),
        3,
        (3, 6, 9),
    ),
}


@pytest.mark.parametrize("name", ["two sites", pytest.param("three sites", marks=pytest.mark.slow)])
def test_unit_cells_of_several_sites(name):
    """Aitken's limit of three rings; its uncertainty is the last correction."""
    build, period, lengths = CELLS[name]
    rings = [np.array([x[:period] for x in exact_ring(build(L))]) for L in lengths]
    first, second = rings[1] - rings[0], rings[2] - rings[1]
    limit = rings[2] - second**2 / (second - first)
    uncertainties = np.abs(limit - rings[2]).max(axis=1)
    model = build(lengths[1])
    assert build_cell(model, None).period == period
    result = mt.steady_state(model, InfiniteTEBD(max_bond=16), tol=1e-3)
    for row, uncertainty, observable in zip(
        limit, uncertainties, (obs.current(model), obs.profile(model, "Z")), strict=True
    ):
        value, claimed = result.expect(observable, error=True)
        error = np.abs(value[:period] - row).max()
        assert error <= 1e-3 * observable.norm + uncertainty
        assert error <= claimed.max() + uncertainty
    assert np.ptp(row) > 10 * (claimed.max() + uncertainty)  # the sites of the cell do differ


@pytest.mark.slow
def test_the_middle_of_a_long_open_chain():
    build = CELLS["two sites"][0]
    closed = build(4)
    L = 20
    given = {"J": ([0.3, 0.7] * L)[: L - 1], "mu": 3.0, "kappa": [0.1, 0.4] * (L // 2)}
    chain = ring(L, 2.0, 1.0, periodic=False, **given)
    finite = mt.steady_state(chain, mt.TEBD(max_bond=24), tol=3e-4)
    infinite = mt.steady_state(closed, InfiniteTEBD(max_bond=24), tol=3e-4)
    value, claimed = infinite.expect(obs.current(closed), error=True)
    middle, theirs = finite.expect(obs.current(chain), error=True)
    # the ends are felt over the correlation length
    ends = math.exp(-L / 2 / infinite.state.correlation_length)
    assert np.abs(value[:2] - middle[L // 2 : L // 2 + 2]).max() <= claimed.max() + theirs.max() + ends


def test_independent_driven_spins_obey_the_bloch_equations():
    """H = eps X + mu N, loss kappa, no coupling: <Z> = -(1 + 4 (mu/kappa)^2)/(1 + 4 (mu/kappa)^2 + 8 (eps/kappa)^2)."""
    mu, eps, kappa = 0.7, 0.5, 0.9
    model = ring(4, 0.0, 0.0, mu=mu, eps_x=eps, kappa=kappa)
    result = mt.steady_state(model, InfiniteTEBD(), tol=1e-9)
    detuning, saturation = 1 + 4 * (mu / kappa) ** 2, 2 * (2 * eps / kappa) ** 2
    assert np.allclose(result.expect(obs.profile(model, "Z")), -detuning / (detuning + saturation), rtol=0, atol=1e-9)
    assert max(result.state.bond_dimensions) == 1


def test_a_dephased_ring_with_gain_and_loss_is_a_product_state():
    """XX hopping, dephasing, gain g and loss l on every site: <N> = g/(g + l), no current, no correlations."""
    lattice = Chain(4, SpinHalf(), periodic=True)
    h = OpSum()
    for i, j in lattice.bonds:
        h = h + 0.8 * (op("Sp", i) * op("Sm", j) + op("Sm", i) * op("Sp", j))
    rates = {"N": 0.3, "Sp": 0.2, "Sm": 0.6}
    model = Lindbladian(lattice, h, [Jump(op(name, j), rate) for name, rate in rates.items() for j in range(4)])
    result = mt.steady_state(model, InfiniteTEBD(max_bond=16), tol=1e-6, initial=["up", "down"] * 2)
    value, claimed = result.expect(obs.profile(model, "N"), error=True)
    assert result.converged and np.abs(value - 0.25).max() <= claimed.max() + 1e-9 and claimed.max() <= 1e-6
    assert abs(result.expect(op("Sp", 3) * op("Sm", 0))) <= 1e-6
    assert abs(result.state.log_purity_per_site() - math.log(0.25**2 + 0.75**2)) < 1e-5
    assert result.certificate.current_uniformity is None  # every site has a source


@pytest.mark.parametrize(("order", "counts"), [(2, (8, 16, 32)), (4, (4, 8, 16))])
def test_order_of_convergence_in_the_time_step(order, counts):
    """Halving the step of a fixed evolution divides the change by 2^order (bonds large enough for 1e-7)."""
    model = ring(4, 1.0, 0.6, mu=2.0, J=0.8)
    cell = build_cell(model, None)
    profiles = []
    for steps in counts:
        state = InfiniteMPOState.product(model.lattice, "up", cell.sites)
        tensors, weights = list(state.tensors), list(state.weights)
        for which, gates in cell.layers(0.8 / steps, order, steps):
            apply_layer(tensors, weights, which, gates, 24)
        profiles.append(InfiniteEngine._profile(InfiniteMPOState(model.lattice, tuple(tensors), tuple(weights))))
    first, second = (np.abs(a - b).max() for a, b in itertools.pairwise(profiles))
    assert abs(math.log2(first / second) - order) < 0.25


def test_the_evolution_is_that_of_the_lindbladian():
    """Before correlations have gone around a ring of seven it evolves like the infinite chain."""
    model = ring(4, 1.0, 0.6, mu=2.0, J=0.8)
    cell = build_cell(model, None)
    state = InfiniteMPOState.product(model.lattice, "up", cell.sites)
    tensors, weights = list(state.tensors), list(state.weights)
    for which, gates in cell.layers(0.01, 4, 5):
        apply_layer(tensors, weights, which, gates, 24)
    state = InfiniteMPOState(model.lattice, tuple(tensors), tuple(weights))
    finite = mt.evolve(ring(7, 1.0, 0.6, mu=2.0, J=0.8), "up", [0.05], {"Z": op("Z", 0)}, mt.ExactDiag(), tol=1e-10)
    # the ring is felt when couplings have closed a loop: of seven rates 2 t in a time t, (2 t)^7/7! = 2e-11
    for operator in (op("Z", 0), op("Z", 0) * op("Z", 1), op("Sp", 0) * op("Sm", 1), op("X", 0) * op("Y", 1)):
        difference = state.expect(operator) - finite.state.expect(operator)
        assert abs(difference) < 1e-9


def test_the_residual_is_the_rate_of_change_of_pairs():
    """Against the dense generator of a window of four sites of a product state of different sites."""
    model = ring(4, 1.0, 0.6, mu=2.0, J=0.8, kappa=0.3)
    cell = build_cell(model, None)
    state = InfiniteMPOState.product(model.lattice, ["up", "mixed"] * 2, 2)
    finite = ring(6, 1.0, 0.6, mu=2.0, J=0.8, kappa=0.3)
    rho = mt.DenseState.product(finite.lattice, ["up", "mixed"] * 3).rho
    worst = 0.0
    letters = {name: SpinHalf().matrix(name) for name in ("X", "Y", "Z")} | {"1": np.eye(2)}
    rate = (dense_lindbladian(finite) @ rho.ravel()).reshape(64, 64)
    for i, j in ((2, 3), (3, 4)):
        for a in letters.values():
            for b in letters.values():
                operators = [np.eye(2)] * 6
                operators[i], operators[j] = a, b
                full = np.eye(1)
                for o in operators:
                    full = np.kron(full, o)
                worst = max(worst, abs(np.trace(full @ rate)))
    assert worst > 0.1 and abs(pair_rates(cell, state) - worst) < 1e-12


def test_a_state_that_is_handed_on_stays_where_it_is():
    model = ring(4, 2.0, 1.0, mu=3.0)
    method = InfiniteTEBD(max_bond=16)
    first = mt.steady_state(model, method, tol=1e-3)
    again = mt.steady_state(model, method, tol=1e-3, initial=first.state)
    assert again.converged
    change = np.abs(again.expect(obs.current(model)) - first.expect(obs.current(model))).max()
    assert change <= 2e-3 * obs.current(model).norm
    with pytest.raises(mt.InputError, match="cell of 4 sites"):
        mt.steady_state(ring(8, 2.0, 1.0, mu=[1.0, 2.0, 3.0, 2.0] * 2), method, initial=first.state.unroll(2))


def test_too_small_a_bond_dimension_is_announced():
    result = mt.steady_state(ring(4, 2.0, 1.0), InfiniteTEBD(max_bond=4, initial_bond=4), tol=1e-5, on_failure="return")
    assert result.status is mt.Status.STALLED_BY_TRUNCATION and result.certificate.saturated
    _, claimed = result.expect(obs.profile(result.model, "Z"), error=True)
    assert result.certificate.error_estimate > 1e-5 and claimed.max() > 1e-5
    assert any("not examined" in note for note in result.certificate.notes)


def test_a_saved_result_comes_back(tmp_path):
    model = ring(4, 2.0, 1.0, mu=3.0)
    result = mt.steady_state(model, InfiniteTEBD(max_bond=12), tol=1e-2, observables=[obs.current(model)])
    loaded = mt.load(result.save(tmp_path / "run.h5"))
    assert isinstance(loaded.state, InfiniteMPOState) and loaded.method == result.method
    for a, b in zip(result.state.tensors, loaded.state.tensors, strict=True):
        assert a.tobytes() == b.tobytes()
    assert loaded.certificate == result.certificate


REFUSED = {
    "periodic=True": lambda: ring(4, 2.0, 1.0, periodic=False),
    "neighbouring sites": lambda: ring(6, 2.0, 1.0, dissipator_distance=2),
    "translation invariance": lambda: ring(4, 2.0, 1.0, mu=[1.0, 2.0, 3.0, 4.0]),
    "strong symmetries": lambda: mt.models.ring_dephasing(4, 1.0, 0.5),
    "levels": lambda: ring(4, 1.0, 0.5, levels=math.inf),
}


@pytest.mark.parametrize("words", REFUSED)
def test_refusals_say_why(words):
    model = REFUSED[words]()
    support = InfiniteTEBD().supports(model)
    assert not support and words in support.reason
    with pytest.raises(mt.NotSupportedError, match=words):
        mt.steady_state(model, InfiniteTEBD())


def test_the_cell_may_be_given():
    disordered = ring(4, 2.0, 1.0, mu=[1.0, 2.0, 3.0, 4.0])
    assert InfiniteTEBD(cell=4).supports(disordered) and build_cell(disordered, 4).sites == 4
    assert "divide" in InfiniteTEBD(cell=3).supports(disordered).reason
    assert "repeat after 2" in InfiniteTEBD(cell=2).supports(disordered).reason
    assert build_cell(ring(6, 2.0, 1.0), 3).sites == 6  # odd cells are taken twice


@pytest.mark.parametrize(
    ("field", "knobs"),
    [("max_bond", {"max_bond": 0}), ("dt", {"dt": -1.0}), ("order", {"order": 3}), ("cell", {"cell": 1.5}),
     ("initial_bond", {"initial_bond": None}), ("max_time", {"max_time": math.nan})],
)  # fmt: skip
def test_bad_knobs_are_named(field, knobs):
    with pytest.raises(mt.InputError) as error:
        InfiniteTEBD(**knobs)
    assert error.value.field == field


def test_an_unstable_step_is_refused():
    with pytest.raises(mt.InputError, match="dt"):
        mt.steady_state(ring(4, 2.0, 1.0), InfiniteTEBD(dt=5.0), tol=1e-2)


def test_crosscheck_keeps_infinite_and_finite_systems_apart():
    model = ring(4, 2.0, 1.0, mu=3.0)
    with pytest.raises(mt.InputError, match="infinite chain"):
        mt.crosscheck(model, methods=["InfiniteTEBD", "ExactDiag"])
    alone = mt.crosscheck(model, methods=[InfiniteTEBD(max_bond=8)], tol=1e-2)
    assert alone.rows[0].ran
