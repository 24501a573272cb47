"""The repeating matrix product: placement on the infinite chain, windows, unrolling, transfer matrices, storage."""

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Boson, Chain, InputError, NotSupportedError, SpinHalf, op
from mpo_transport.methods.infinite.layers import apply_layer, fixed_points, split
from mpo_transport.states import STATES, InfiniteMPOState
from mpo_transport.states.infinite import placement

RING = Chain(6, SpinHalf(), periodic=True)


def random_state(lattice=RING, cell=3, seed=1):
    """A cell of unequal bonds whose trace transfer matrix has a clear dominant eigenvalue."""
    rng = np.random.default_rng(seed)
    bonds = [3, 5, 2, 4][:cell]
    tensors = []
    for k in range(cell):
        n = int(lattice.dims[k % lattice.L]) ** 2
        t = 0.08 * rng.normal(size=(bonds[k], n, bonds[(k + 1) % cell]))
        t[0, 0, 0] += n**-0.25
        tensors.append(t)
    return InfiniteMPOState(lattice, tuple(tensors)).normalised()


def test_product_states_have_the_expectation_values_of_their_entries():
    state = InfiniteMPOState.product(RING, ["up", "down", "mixed"] * 2, 3)
    values = [state.expect(op("Z", j)).real for j in range(6)]
    assert np.allclose(values, [1, -1, 0, 1, -1, 0], rtol=0, atol=1e-14)
    assert abs(3 * state.log_purity_per_site() + np.log(2)) < 1e-14
    assert np.allclose(state.operator_schmidt(2), [1.0])
    assert state.correlation_length == 0 and state.trace() == 1


def test_products_lie_on_the_shortest_arc():
    assert placement({0, 5}, 6) == {5: 5, 0: 6}
    assert placement({1, 4}, 6) == {1: 1, 4: 4}  # both arcs are equal: as numbered
    assert placement({0, 1, 4}, 6) == {4: 4, 0: 6, 1: 7}
    assert placement(set(range(6)), 6) == {s: s for s in range(6)}
    assert placement({3}, 6) == {3: 3} and placement(set(), 6) == {}


def test_a_window_is_the_infinite_chain_seen_through_it():
    """Left and right environments close every window: smaller windows are partial traces of larger ones."""
    state = random_state()
    large = state.window(-2, 9)
    assert abs(large.trace() - 1) < 1e-13
    for first, length in ((0, 2), (1, 1), (4, 3), (-2, 4)):
        small = state.window(first, length).reduced(range(length))
        assert np.abs(small - large.reduced([first + 2 + k for k in range(length)])).max() < 1e-13


def test_values_repeat_with_the_cell_and_across_the_end_of_the_ring():
    state = random_state()
    pair = lambda i, j: state.expect(op("X", i) * op("Y", j)).real  # noqa: E731
    assert abs(pair(5, 0) - pair(2, 3)) < 1e-14
    assert abs(pair(0, 5) - state.expect(op("X", 3) * op("Y", 2)).real) < 1e-14
    assert abs(pair(4, 0) - pair(1, 3)) < 1e-14
    assert np.abs(state.reduced([5, 0]) - state.reduced([2, 3])).max() < 1e-13
    swapped = state.reduced([0, 5]).reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).reshape(4, 4)
    assert np.abs(swapped - state.reduced([5, 0])).max() < 1e-13


def test_unrolling_reaches_further_and_changes_nothing():
    state = random_state()
    long = state.unroll(3)
    assert long.L == 18 and long.tensors[1] is state.tensors[1]
    assert abs(long.expect(op("Z", 1) * op("Z", 2)) - state.expect(op("Z", 4) * op("Z", 5))) < 1e-14
    far = long.expect(op("Z", 0) * op("Z", 8)).real
    assert abs(far - state.window(0, 9).expect(op("Z", 0) * op("Z", 8)).real) < 1e-14
    assert abs(far - state.expect(op("Z", 0) * op("Z", 2)).real) > 1e-6  # on six sites: two apart
    for bad in (0, 1.5, True):
        with pytest.raises(InputError, match="cells"):
            state.unroll(bad)


def test_a_gauge_changes_no_answer():
    state = random_state()
    rng = np.random.default_rng(5)
    gauge = [np.eye(n) + 0.3 * rng.normal(size=(n, n)) for n in (3, 5, 2)]
    tensors = [
        np.einsum("ab,bnc,cd->and", np.linalg.inv(gauge[k]), t, gauge[(k + 1) % 3]) for k, t in enumerate(state.tensors)
    ]
    other = InfiniteMPOState(RING, tuple(2.5 * t for t in tensors))
    assert abs(other.trace_per_cell - 2.5**3) < 1e-11
    assert np.abs(other.reduced([1, 2, 3]) - state.reduced([1, 2, 3])).max() < 1e-12
    assert abs(other.log_purity_per_site() - state.log_purity_per_site()) < 1e-12
    for cut in (0, 1, 2, 6):
        assert np.allclose(other.operator_schmidt(cut), state.operator_schmidt(cut), rtol=0, atol=1e-8)


def test_purity_and_schmidt_values_are_the_limits_of_long_windows():
    state = random_state()
    long, longer = state.window(0, 60), state.window(0, 90)
    slope = (np.log(longer.purity()) - np.log(long.purity())) / 30
    assert abs(slope - state.log_purity_per_site()) < 1e-12
    inside = longer.operator_schmidt(46)  # between the sites 45 and 46: the cut 1 of the cell
    expected = state.operator_schmidt(1)
    assert np.allclose(inside[: len(expected)], expected, rtol=0, atol=1e-8)
    assert np.all(inside[len(expected) :] < 1e-8)


def test_the_correlation_length_is_that_of_a_known_transfer_matrix():
    t = np.zeros((2, 4, 2))
    t[:, 0, :] = np.array([[1.0, 0.2], [0.0, 0.25]]) / np.sqrt(2)
    t[0, 3, 1], t[1, 3, 0] = 0.1, 0.1
    state = InfiniteMPOState(RING, (t,))
    assert abs(state.trace_per_cell - 1) < 1e-14
    assert abs(state.correlation_length - 1 / np.log(4)) < 1e-13
    long = state.unroll(3)
    z = state.expect(op("Z", 0)).real
    connected = [long.expect(op("Z", 0) * op("Z", r)).real - z * z for r in (3, 4, 5)]
    assert np.allclose(np.divide(connected[1:], connected[:-1]), 0.25, rtol=0, atol=1e-10)


def test_mixed_local_spaces():
    lattice = Chain(4, [SpinHalf(), Boson(3)] * 2, periodic=True)
    state = random_state(lattice, 2, seed=3)
    assert state.reduced([3, 0]).shape == (6, 6)
    assert np.abs(state.reduced([3, 0]) - state.reduced([1, 2])).max() < 1e-13
    assert state.window(1, 3).lattice.dims == (3, 2, 3)


def test_storage_is_bit_for_bit():
    state = random_state()
    again = STATES["infinite_mpo"].from_arrays(RING, state.arrays(), state.attributes())
    pairs = [*zip(state.tensors, again.tensors, strict=True), *zip(state.weights, again.weights, strict=True)]
    assert len(pairs) == 6 and all(a.tobytes() == b.tobytes() and a.shape == b.shape for a, b in pairs)
    with pytest.raises(InputError, match="belong together"):
        InfiniteMPOState.from_arrays(RING, {**state.arrays(), "weights": np.ones(3)}, {})


def test_what_an_infinite_chain_does_not_have_is_refused():
    state = random_state()
    for ask, words in (
        (state.purity, "log_purity_per_site"),
        (state.to_dense, "window"),
        (lambda: state.overlap(state), "windows"),
        (lambda: mt.observables.purity().evaluate(state), "log_purity_per_site"),
    ):
        with pytest.raises(NotSupportedError, match=words):
            ask()
    assert abs(mt.observables.purity([0, 1]).evaluate(state) - state.window(0, 2).purity()) < 1e-12


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("ring", lambda: InfiniteMPOState.product(Chain(4, SpinHalf()), "up")),
        ("at least one", lambda: InfiniteMPOState(RING, ())),
        ("matching bonds", lambda: InfiniteMPOState(RING, (np.ones((1, 4, 2)),))),
        ("matching bonds", lambda: InfiniteMPOState(RING, (np.ones((1, 9, 1)),))),
        ("weights", lambda: InfiniteMPOState(RING, (np.ones((1, 4, 1)),), (np.ones(2),))),
        ("repeat with the unit cell", lambda: InfiniteMPOState.product(RING, ["up", "down", "down"] * 2, 2)),
        ("positive one", lambda: InfiniteMPOState(RING, (-np.ones((1, 4, 1)),)).window(0, 2)),
        ("not finite", lambda: InfiniteMPOState(RING, (np.full((1, 4, 1), np.nan),)).trace()),
        ("`length`", lambda: random_state().window(0, 0)),
        ("0 to L", lambda: random_state().operator_schmidt(7)),
        ("at least one site", lambda: random_state().reduced([])),
        ("contains 6", lambda: random_state().reduced([6])),
    ],
)
def test_bad_input(words, make):
    with pytest.raises(InputError, match=words):
        make()


# -- layers ------------------------------------------------------------------------------------------------------------


def test_a_layer_without_truncation_is_exact_for_any_gate():
    state = random_state(Chain(4, SpinHalf(), periodic=True), 4)
    gate = np.eye(16) + 0.1 * np.random.default_rng(2).normal(size=(16, 16))
    for which in (0, 1):
        tensors, weights = list(state.tensors), list(state.weights)
        apply_layer(tensors, weights, which, [gate, gate], 99)
        for k in (which, which + 2):
            a, b = state.tensors[k % 4], state.tensors[(k + 1) % 4]
            expected = np.einsum("pqmn,lma,anr->lpqr", gate.reshape(4, 4, 4, 4), a, b)
            found = np.einsum("lpa,aqr->lpqr", tensors[k % 4], tensors[(k + 1) % 4])
            assert np.abs(found - expected).max() < 1e-12 * np.abs(expected).max()


def test_the_new_weights_are_the_environments_inside_the_blocks():
    """Both Hilbert-Schmidt environments of the bond inside a block are diag(s) in the new gauge."""
    state = random_state(Chain(4, SpinHalf(), periodic=True), 2)
    tensors, weights = list(state.tensors), list(state.weights)
    for which in (0, 1, 0):
        apply_layer(tensors, weights, which, None, 99)
    block = np.einsum("lna,amr->lnmr", tensors[1], tensors[0]).reshape(len(tensors[1]), 16, -1)
    left, right = fixed_points([block], [np.eye(len(block)) / len(block)])
    expected = np.diag(weights[1])
    assert np.abs(left[0] - expected).max() < 1e-3 and np.abs(right[0] - expected).max() < 1e-3
    s = state.operator_schmidt(1)
    assert np.allclose(weights[1] / np.linalg.norm(weights[1]), s[: len(weights[1])], rtol=0, atol=1e-3)


def test_truncation_is_optimal_in_the_metric_of_the_environments():
    rng = np.random.default_rng(7)
    theta, x, y = rng.normal(size=(3, 16, 4)), rng.normal(size=(3, 3)), rng.normal(size=(4, 4))
    first, second, s, lost = split(theta, (4, 4), x, y, 5)
    assert first.shape == (3, 4, 5) and second.shape == (5, 4, 4) and len(s) == 5

    def seen(block):
        return np.einsum("ab,bnc,cd->and", x, block.reshape(3, 16, 4), y).reshape(12, 16)

    kept = seen(np.einsum("lna,amr->lnmr", first, second))
    singular = np.linalg.svd(seen(theta), compute_uv=False)
    best = np.linalg.norm(singular[5:])
    assert abs(np.linalg.norm(seen(theta) - kept) - best) < 1e-11
    assert abs(lost - best**2 / np.linalg.norm(singular) ** 2) < 1e-13
