"""TEBD in blocks of the charge n - n': identities, order of the splitting, layout and back, refusals."""

from functools import cache

import numpy as np
import pytest
import scipy.linalg

import mpo_transport as mt
from mpo_transport import Boson, Chain, Jump, Lindbladian, SpinHalf, op
from mpo_transport.errors import InputError, NotSupportedError, UnstableError
from mpo_transport.methods.tebd import charges_kernels as kernels
from mpo_transport.methods.tebd.charges import Charges
from mpo_transport.methods.tebd.charges_engine import populations, refuse_runaway
from mpo_transport.methods.tebd.charges_layout import charges_of, multiplicity, total
from mpo_transport.methods.tebd.charges_model import ChargeModel, charge_model
from mpo_transport.methods.tebd.charges_passes import orthonormal, orthonormal_and_rest
from mpo_transport.methods.tebd.charges_plan import ChargePlan
from mpo_transport.methods.tebd.charges_start import grown, short_chain, thermal_start
from mpo_transport.states import MPOState
from mpo_transport.superoperator import dense_lindbladian
from tests.systems import dense_steady_state


def chain(L=3, d=3, U=0.0, V=0.0, dephasing=0.0, phase=0.4, spaces=None):
    """Bosons between two different baths; complex hopping, another one on every bond."""
    h = 0.3 * sum((op("N", j) for j in range(1, L)), op("N", 0))
    for j in range(L - 1):
        hop = (1 + 0.2 * j) * np.exp(1j * phase * (j + 1)) * op("Adag", j) * op("A", j + 1)
        h = h + hop + hop.dag + V * op("N", j) * op("N", j + 1)
    for j in range(L):
        h = h + U * (1 + 0.1 * j) * (op("N", j) * op("N", j) - op("N", j))
    jumps = [Jump(op("Adag", 0), rate=0.3), Jump(op("A", 0), rate=1.1)]
    jumps += [Jump(op("Adag", L - 1), rate=0.05), Jump(op("A", L - 1), rate=0.8)]
    if dephasing:
        jumps += [Jump(op("N", j), rate=dephasing * (1 + j)) for j in range(L)]
    return Lindbladian(Chain(L, spaces or Boson(d)), h, jumps)


MODELS = {
    "free": chain(),
    "unequal": chain(spaces=[Boson(3), Boson(4), Boson(2)]),
    "interacting": chain(U=0.7, V=0.3),
    "dephased": chain(dephasing=0.2),
    "both": chain(U=0.5, dephasing=0.2),
}


def layout(model):
    charges = charge_model(model)
    assert isinstance(charges, ChargeModel)
    return Charges(charges), ChargePlan(model.lattice, charges)


def ramp(model):
    """A diagonal product state, other populations on every site."""
    local = [np.diag(np.arange(1.0, d + 1) ** (1 + 0.3 * j)) for j, d in enumerate(model.lattice.dims)]
    return MPOState.product(model.lattice, [x / np.trace(x) for x in local])


def evolved(model, time, order, steps, bond=10**4, iterations=1):
    charges, plan = layout(model)
    state = ramp(model)
    tensors = charges.fit(state.tensors, plan.bond_bounds(bond), 1)
    weights = np.zeros(model.L - 1)
    sizes = charges.bonds(tensors, 0)
    centre = charges.run(tensors, sizes, 0, plan.passes(time / steps, order, steps), iterations, weights)
    return MPOState(model.lattice, tuple(tensors), state.order, centre), weights


@pytest.mark.parametrize("name", MODELS)
def test_fit_keeps_the_state_and_its_charges_can_be_read_off(name):
    model = MODELS[name]
    charges, plan = layout(model)
    state = ramp(model)
    bounds = plan.bond_bounds(7)
    tensors = charges.fit(state.tensors, bounds, 3)
    fitted = MPOState(model.lattice, tuple(tensors), state.order, 0)
    assert np.abs(fitted.to_dense() - state.to_dense()).max() < 1e-14
    sizes = charges.bonds(tensors, 0)
    assert [total(s) for s in sizes] == [1, *fitted.bond_dimensions, 1]
    for bond, bound in zip(fitted.bond_dimensions, bounds[1:-1], strict=True):
        assert bound - 1 <= bond <= bound  # a charge comes with its opposite
    for k in range(1, model.L):  # orthonormal from the right
        flat = tensors[k].reshape(len(tensors[k]), -1)
        assert np.abs(flat @ flat.T - np.eye(len(flat))).max() < 1e-13


@pytest.mark.parametrize("name", MODELS)
def test_parts_and_tensors_are_the_same_state(name):
    """To blocks and back: identical to rounding, from either end."""
    model = MODELS[name]
    charges, plan = layout(model)
    for steps in (1, 2):  # an odd and an even number of passes leave the centre at different ends
        moved, _ = evolved(model, 0.1, 2, steps, bond=9)
        sizes = charges.bonds(moved.tensors, moved.centre)
        again = charges.tensors(charges.carrier(moved.tensors, sizes, moved.centre))
        assert max(np.abs(a - b).max() for a, b in zip(again, moved.tensors, strict=True)) < 1e-13
    assert plan.kind == "layers"


@cache
def evolved_exactly(name):
    """rho(0.8) from the exponential of the dense generator."""
    model = MODELS[name]
    D = int(np.prod(model.lattice.dims))
    return (scipy.linalg.expm(0.8 * dense_lindbladian(model)) @ ramp(model).to_dense().ravel()).reshape(D, D)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("order", [2, 4])
def test_order_of_convergence_in_the_time_step(name, order):
    """Without truncation the error of rho(0.8) falls by 2^order when dt is halved; nothing is discarded."""
    errors = []
    for steps in (4, 8):
        state, weights = evolved(MODELS[name], 0.8, order, steps)
        errors.append(np.abs(state.trace() * state.to_dense() - evolved_exactly(name)).max())
        assert weights.max() < 1e-25
    assert errors[1] < 1e-3
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.15


def test_evolution_keeps_trace_and_total_charge():
    state, _ = evolved(MODELS["both"], 0.5, 4, 3)
    assert abs(state.trace() - 1) < 1e-13
    rho = state.to_dense()
    n = np.add.outer(np.add.outer(np.arange(3), np.arange(3)), np.arange(3)).ravel()
    assert np.abs(rho[n[:, None] != n]).max() < 1e-15


@pytest.mark.parametrize(("name", "real"), [("free", True), ("dephased", True), ("interacting", False)])
def test_gauge_makes_plain_hopping_real(name, real):
    assert charge_model(MODELS[name]).real is real


def test_common_frequency_and_hopping_phases_do_not_cost_anything():
    """A frequency common to all sites does nothing to a state of total charge 0; phases are a gauge."""
    plain, turned = charge_model(chain(phase=0.0)), charge_model(chain(phase=0.7))
    for a, b in zip(plain.bonds, turned.bonds, strict=True):
        assert max(np.abs(x - y).max() for x, y in zip(a, b, strict=True)) < 1e-14


def test_truncation_reports_the_weight_that_is_lost():
    """One cut bond: the reported weight is |x - x'|^2/|x|^2 of its update, in the layout of all entries."""
    model = chain(L=2, d=4, U=0.6)
    charges, plan = layout(model)
    start, _ = evolved(model, 0.6, 4, 3)
    whole, exact_bond = start.canonicalise(0), max(start.bond_dimensions)
    schmidt = np.sort(start.operator_schmidt(1))[::-1]
    cut = charges.fit(whole.tensors, [1, exact_bond - 4, 1], 0)
    small = MPOState(model.lattice, tuple(cut), whole.order, 0)
    weights = np.zeros(1)
    item = plan.passes(0.3, 2, 1)[1:2] if plan.passes(0.3, 2, 1)[0].unitaries[0] is None else plan.passes(0.3, 2, 1)[:1]
    sizes = charges.bonds(cut, 0)
    charges.run(cut, sizes, 0, item, 2, weights)
    kept = np.linalg.norm(cut[1]) ** 2
    reference = charges.fit(small.tensors, plan.bond_bounds(10**4), 0)
    charges.run(reference, charges.bonds(reference, 0), 0, item, 2, None)
    full = np.linalg.norm(reference[1]) ** 2
    assert schmidt[0] > schmidt[-1]
    assert weights[0] == pytest.approx(1 - kept / full, rel=1e-8, abs=1e-14)


def test_compiled_and_plain_loops_agree():
    rng = np.random.default_rng(0)
    for dtype in (float, complex):
        x = rng.standard_normal(10).astype(dtype) + (1j * rng.standard_normal(10) if dtype is complex else 0)
        table = np.array([3, 13, 20, 0, 19])
        plain = np.empty(5, dtype=dtype)
        kernels._take_plain(x, table, plain)
        assert np.array_equal(kernels.reordered(x, table), plain)
        assert plain[2] == 0 and plain[1] == (np.conj(x[3]) if dtype is complex else -x[3])
        blocks = np.array([[0, 2, 1, 3, 1, 0], [6, 1, 2, 2, 0, 1]])
        unitaries = rng.standard_normal(5).astype(dtype) * (1 + 0.5j if dtype is complex else 1)
        places = np.array([0, 1])
        a, b = x.copy(), x.copy()
        kernels._rotate_plain(a, blocks, unitaries, places)
        kernels.compiled(dtype is complex)[1](b, blocks, unitaries, places)
        assert np.abs(a - b).max() < 1e-13


def test_sizes():
    assert charges_of((2, 0, 0, 1)) == [-2, 0, 2]
    assert [multiplicity((2, 1, 3), q) for q in (0, -1, 5)] == [3, 3, 0]
    assert total((2, 1, 3, 1)) == 11


# -- refusals ----------------------------------------------------------------------------------------------------------


def _pair_jump():
    return Lindbladian(Chain(3, Boson(3)), chain().hamiltonian, [Jump(op("Adag", 0) * op("A", 1), rate=1.0)])


def _squeezed():
    h = op("A", 0) * op("A", 1)
    return Lindbladian(Chain(2, Boson(3)), h + h.dag, [Jump(op("A", 0))])


def _far():
    h = op("Adag", 0) * op("A", 2)
    return Lindbladian(Chain(3, Boson(3)), h + h.dag, [Jump(op("A", 0))])


def _mixing():
    return Lindbladian(Chain(2, Boson(3)), chain(L=2).hamiltonian, [Jump(op("A", 0) + op("Adag", 0))])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (_pair_jump(), r"jumps on single sites, but jump 0 acts on \[0, 1\]"),
        (_squeezed(), "does not conserve the sum of all N"),
        (_far(), "nearest neighbours"),
        (_mixing(), "jumps on site 0 do not conserve"),
        (Lindbladian(Chain(1, Boson(3)), op("N", 0), [Jump(op("A", 0))]), "open chain of at least two sites"),
    ],
)
def test_models_without_charge_blocks_are_refused_with_the_reason(model, words):
    with pytest.raises(NotSupportedError, match=words):
        mt.steady_state(model, method=mt.TEBD(layout="u1"), tol=1e-3)


def test_layout_is_chosen_for_large_local_dimension_only():
    big, small = chain(L=2, d=8), chain(L=2, d=4)
    assert isinstance(mt.TEBD().prepare(big, tol=1e-3, seed=0).engine.parity, Charges)
    assert not isinstance(mt.TEBD().prepare(small, tol=1e-3, seed=0).engine.parity, Charges)
    assert isinstance(mt.TEBD(layout="u1").prepare(small, tol=1e-3, seed=0).engine.parity, Charges)
    assert mt.TEBD().supports(chain(L=3, d=16))  # the gate of two sites alone would take 32 GiB
    assert not mt.TEBD(layout="dense").supports(chain(L=3, d=16))
    with pytest.raises(InputError, match="layout"):
        mt.TEBD(layout="U1")


# -- starts ------------------------------------------------------------------------------------------------------------


def test_thermal_start_is_stationary_where_sites_are():
    model = chain(L=3, d=6)
    state = thermal_start(model.lattice, charge_model(model))
    p = populations(state)
    assert np.allclose(p[0][1:] / p[0][:-1], 0.3 / 1.1) and np.allclose(p[2][1:] / p[2][:-1], 0.05 / 0.8)
    means = [x @ np.arange(6) for x in p]
    assert means[2] < means[1] < means[0]


def test_runaway_site_is_named():
    spaces = Chain(3, Boson(5))
    calm, rising = 0.3 ** np.arange(5), 1.5 ** np.arange(5)
    local = [np.diag(x / x.sum()) for x in (calm, rising, calm)]
    with pytest.raises(UnstableError, match="occupation of site 1 runs away"):
        refuse_runaway(MPOState.product(spaces, local))
    refuse_runaway(MPOState.product(spaces, [local[0]] * 3))
    spin = Chain(2, SpinHalf())
    refuse_runaway(MPOState.product(spin, "down"))


def test_short_chain_has_the_same_ends_and_needs_a_uniform_bulk():
    model = charge_model(mt.models.boundary_driven_xx(12, 1.0, 1.0, 0.1, 1.0, 0.02, levels=3))
    short = short_chain(model, 4)
    assert len(short.dims) == 4 and len(short.bonds) == 3
    assert short.sites[0] is model.sites[0] and short.sites[3] is model.sites[11] and short.sites[1] is None
    assert short_chain(model, 5) is None  # the layers of the right end would change
    assert short_chain(charge_model(chain(L=8, d=2)), 4) is None


def test_grown_spin_chain_is_exact():
    """Spins as bosons of two levels: the XX chain between baths is a matrix product with one bulk tensor."""
    answer = {}
    for L in (3, 5, 9):
        model = mt.models.boundary_driven_xx(L, 1.0, 0.6, 0.9, 1.4, 0.2)
        answer[L] = MPOState.from_dense(model.lattice, dense_steady_state(model).to_dense()) if L < 9 else model
    long = grown(answer[3], answer[5], answer[9].lattice)
    current = mt.observables.current(answer[9]).evaluate(long)
    exact = (0.9 - 0.2) / (1 / 0.6 + 1 / 1.4 + (0.6 + 1.4) / 4)
    assert np.abs(current - exact).max() < 1e-12


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (4, 4), (5, 0), (0, 5), (1, 1)])
@pytest.mark.parametrize("phase", [1.0, 1j])
def test_orthonormal_columns_of_any_shape(shape, phase):
    rng = np.random.default_rng(1)
    x = rng.normal(size=shape) + (phase * rng.normal(size=shape) if phase == 1j else 0.0)
    kept = x.copy()
    q, c = orthonormal_and_rest(x)
    k = min(shape)
    np.testing.assert_allclose(q @ c, x, atol=1e-13)
    np.testing.assert_allclose(q.conj().T @ q, np.eye(k), atol=1e-13)
    np.testing.assert_array_equal(c, np.triu(c))
    np.testing.assert_array_equal(orthonormal(x), q)
    np.testing.assert_array_equal(x, kept)
    # columns of lower rank are completed
    twice = np.concatenate([x[:, :1], x[:, :1]], axis=1) if shape[0] > 1 and shape[1] else x
    q = orthonormal(twice)
    np.testing.assert_allclose(q.conj().T @ q, np.eye(q.shape[1]), atol=1e-13)
