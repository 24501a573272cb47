"""Matrix-product density matrices against the same quantities of the dense matrix."""

import itertools
import time

import numpy as np
import pytest

from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.lattice import Chain
from mpo_transport.model import Jump, Lindbladian
from mpo_transport.operators import Boson, OpSum, Spin, SpinHalf, op
from mpo_transport.states import STATES, MPOState
from mpo_transport.states.mpo_algebra import add, apply, difference_norm, inner, linear_combination
from mpo_transport.superoperator import from_hermitian, lindbladian_mpo, operator_matrix, sparse_lindbladian
from mpo_transport.superoperator.train import compress_train

SPACES = [SpinHalf(), Boson(3), Spin(1), SpinHalf()]
LATTICE = Chain(4, SPACES)
DIMS = (2, 3, 3, 2)
D = 36
ORDERS = [None, (2, 0, 3, 1)]


def random_density(rng, D):
    m = rng.normal(size=(D, D)) + 1j * rng.normal(size=(D, D))
    rho = m @ m.conj().T
    return rho / np.trace(rho).real


def random_mpo_state(rng, lattice, chi, order=None):
    """A train near the maximally mixed state; Hermitian, of finite trace, not positive."""
    L = lattice.L
    sites = order or range(L)
    bonds = [1] + [chi] * (L - 1) + [1]
    tensors = []
    for p, s in enumerate(sites):
        t = rng.normal(size=(bonds[p], int(lattice.dims[s]) ** 2, bonds[p + 1])) / (4 * np.sqrt(chi))
        t[0, 0, 0] += 1.0
        tensors.append(t)
    return MPOState(lattice, tuple(tensors), tuple(sites))


def dense_expectation(rho, key):
    return np.trace(operator_matrix(LATTICE, OpSum({key: 1.0})).toarray() @ rho)


def partial_trace(rho, sites):
    """Reduced density matrix by brute force, sites in the order listed."""
    n = len(DIMS)
    out = np.zeros([DIMS[s] for s in sites] * 2, dtype=complex)
    tensor = rho.reshape(DIMS + DIMS)
    rest = [s for s in range(n) if s not in sites]
    for values in itertools.product(*(range(DIMS[s]) for s in rest)):
        index = [slice(None)] * (2 * n)
        for s, v in zip(rest, values, strict=True):
            index[s] = index[n + s] = v
        block = tensor[tuple(index)]
        kept = sorted(sites)
        axes = [kept.index(s) for s in sites]
        out += block.transpose(axes + [len(sites) + a for a in axes])
    size = int(np.prod([DIMS[s] for s in sites]))
    return out.reshape(size, size)


@pytest.fixture(scope="module", params=ORDERS)
def pair(request):
    rho = random_density(np.random.default_rng(0), D)
    return MPOState.from_dense(LATTICE, rho, order=request.param), rho


# -- values ------------------------------------------------------------------------------------------------------------


def test_dense_round_trip(pair):
    state, rho = pair
    assert np.abs(state.to_dense() - rho).max() < 1e-15
    assert state.trace() == pytest.approx(1, abs=1e-14)
    assert state.norm() == pytest.approx(np.linalg.norm(rho), rel=1e-14)
    assert state.purity() == pytest.approx(np.trace(rho @ rho).real, rel=1e-13)
    assert state.scale(3.0).purity() == pytest.approx(state.purity(), rel=1e-13)
    assert np.abs(state.scale(-2.0).to_dense() - rho).max() < 1e-15  # expectation values are normalised


def test_expectation_values_of_products(pair):
    state, rho = pair
    keys = [
        (),
        (("Sm", 0),),
        (("Adag", 1), ("A", 1)),
        (("A", 1), ("Adag", 1)),
        (("Sp", 0), ("A", 1), ("Sy", 2), ("Sm", 3)),
        (("Sp", 0), ("Sm", 3)),
        (("Sp", 0), ("A", 1)),
        (("Sp", 0), ("A", 1), ("Sx", 2)),
        (("P", 1), ("Z", 3)),
        (("Sp", 0), ("Sm", 3)),
    ]
    expected = np.array([dense_expectation(rho, k) for k in keys])
    assert np.abs(state.expect_products(keys) - expected).max() < 1e-14
    assert np.abs(state.scale(-0.3).expect_products(keys) - expected).max() < 1e-14
    operator = 0.3j * op("Sp", 0) * op("A", 1) + 2.0 + op("Sz", 2)
    assert state.expect(operator) == pytest.approx(np.trace(operator_matrix(LATTICE, operator) @ rho), abs=1e-14)


@pytest.mark.parametrize("sites", [(0,), (2,), (0, 1), (3, 1), (2, 0, 3), (1, 3, 0, 2)])
def test_reduced_density_matrices(pair, sites):
    state, rho = pair
    exact = partial_trace(rho, sites)
    assert np.abs(state.reduced(sites) - exact).max() < 1e-15
    assert np.abs(state.scale(0.2).reduced(sites) - exact).max() < 1e-15


def test_neighbouring_pairs_at_once(pair):
    state, rho = pair
    for p, c in enumerate(state.scale(0.7).neighbour_coefficients()):
        sites = state.order[p : p + 2]
        assert c.shape == (DIMS[sites[0]] ** 2, DIMS[sites[1]] ** 2)
        assert np.abs(from_hermitian(c, [DIMS[s] for s in sites]) - partial_trace(rho, sites)).max() < 1e-15


def test_operator_schmidt_values():
    rho = random_density(np.random.default_rng(1), D)
    state = MPOState.from_dense(LATTICE, rho)
    for cut in (1, 2, 3):
        left = int(np.prod(DIMS[:cut]))
        matrix = rho.reshape(left, D // left, left, D // left).transpose(0, 2, 1, 3).reshape(left**2, -1)
        exact = np.linalg.svd(matrix, compute_uv=False)
        exact = exact / np.linalg.norm(exact)
        for centre in (0, 2, 3):
            values = state.canonicalise(centre).operator_schmidt(cut)
            assert np.all(np.diff(values) <= 0) and values @ values == pytest.approx(1, abs=1e-14)
            assert np.abs(values - exact[: len(values)]).max() < 1e-14 and not np.any(exact[len(values) :] > 1e-14)
    # sites {1, 0} | {3, 2}: position cut and site cut agree; reversed order: the same cut seen from the other side
    for order in ((1, 0, 3, 2), (3, 2, 1, 0)):
        other = MPOState.from_dense(LATTICE, rho, order=order)
        assert np.abs(other.operator_schmidt(2) - state.operator_schmidt(2)).max() < 1e-14
    folded = MPOState.from_dense(LATTICE, rho, order=(0, 3, 1, 2))
    assert np.abs(folded.operator_schmidt(1)[:4] - state.operator_schmidt(1)[:4]).max() < 1e-14
    with pytest.raises(NotSupportedError) as error:
        folded.operator_schmidt(2)
    assert error.value.field == "cut" and "operator_schmidt_at_position" in str(error.value)
    assert len(folded.operator_schmidt_at_position(2)) == 16


def test_overlap_of_states():
    rng = np.random.default_rng(2)
    a, b = random_density(rng, D), random_density(rng, D)
    exact = np.trace(a @ b).real
    for order in ORDERS:
        x, y = MPOState.from_dense(LATTICE, a, order=order), MPOState.from_dense(LATTICE, b, order=order)
        assert x.overlap(y) == pytest.approx(exact, rel=1e-13)
        assert x.scale(-2.0).overlap(y.scale(0.1)) == pytest.approx(exact, rel=1e-13)
        assert inner(x.scale(-2.0), y) == pytest.approx(-2 * exact, rel=1e-13)
        assert x.overlap(MPOState.from_dense(LATTICE, b, order=(3, 1, 0, 2))) == pytest.approx(exact, rel=1e-13)


def test_product_states():
    rng = np.random.default_rng(3)
    local = [random_density(rng, d) for d in DIMS]
    whole = local[0]
    for r in local[1:]:
        whole = np.kron(whole, r)
    for order in ORDERS:
        state = MPOState.product(LATTICE, local, order)
        assert state.bond_dimensions == (1, 1, 1) and state.centre == 0
        assert np.abs(state.to_dense() - whole).max() < 1e-15
        assert np.abs(state.reduced((3, 1)) - np.kron(local[3], local[1])).max() < 1e-15
    assert np.abs(MPOState.mixed(LATTICE).to_dense() - np.eye(D) / D).max() < 1e-15
    assert np.array_equal(MPOState.product(LATTICE, [1, 2, 0, 1]).reduced((1,)).round(12).real, np.diag([0, 0, 1]))


# -- long chains -------------------------------------------------------------------------------------------------------


def test_long_chains_neither_overflow_nor_underflow():
    L = 1500
    lattice = Chain(L, Boson(4))
    mixed = MPOState.mixed(lattice)  # |rho| = 4^-750 is below the smallest double
    assert mixed.trace() == pytest.approx(1, abs=1e-10)
    assert mixed.expect(op("N", 700) * op("N", 1400)).real == pytest.approx(2.25, rel=1e-12)
    assert mixed.canonicalise(0).centre == 0
    state = random_mpo_state(np.random.default_rng(0), Chain(L, SpinHalf()), 4)
    left, right = state.canonicalise(0), state.canonicalise(L - 1)
    keys = [(("Sp", 3), ("Sm", 4)), (("Z", 749),), (("X", 1400), ("X", 1402))]
    assert np.abs(left.expect_products(keys) - right.expect_products(keys)).max() < 1e-13
    assert left.operator_schmidt(700) == pytest.approx(right.operator_schmidt(700), abs=1e-12)


def test_profiles_and_correlations_of_200_sites_are_fast():
    lattice = Chain(200, SpinHalf())
    state = random_mpo_state(np.random.default_rng(5), lattice, 64)
    local = [(("Sp", j), ("Sm", j + 1)) for j in range(199)] + [(("Z", j),) for j in range(200)]
    start = time.process_time()
    values = state.expect_products(local)
    state.neighbour_coefficients()
    elapsed = time.process_time() - start
    assert elapsed < 1.0
    rows = range(0, 200, 4)
    pairs = [(("Sp", i), ("Sm", j)) for i in rows for j in range(i + 1, 200)]
    many = state.expect_products(pairs)
    assert many[pairs.index((("Sp", 4), ("Sm", 5)))] == pytest.approx(values[4], abs=1e-14)
    sample = state.reduced((17 * 4, 150))
    exact = np.trace(np.kron(SpinHalf().matrix("Sp"), SpinHalf().matrix("Sm")) @ sample)
    assert many[pairs.index((("Sp", 68), ("Sm", 150)))] == pytest.approx(exact, abs=1e-14)


# -- algebra -----------------------------------------------------------------------------------------------------------


def is_canonical(state):
    for p, t in enumerate(state.tensors):
        l, n, r = t.shape
        if p < state.centre and np.abs(t.reshape(l * n, r).T @ t.reshape(l * n, r) - np.eye(r)).max() > 1e-13:
            return False
        if p > state.centre and np.abs(t.reshape(l, n * r) @ t.reshape(l, n * r).T - np.eye(l)).max() > 1e-13:
            return False
    return True


def test_canonical_form_moves_without_changing_the_state(pair):
    state, rho = pair
    assert is_canonical(state)
    loose = MPOState(LATTICE, state.tensors, state.order)  # forget the centre
    for target in (3, 1, 0, 2):
        moved, fresh = state.canonicalise(target), loose.canonicalise(target)
        for s in (moved, fresh):
            assert s.centre == target and is_canonical(s)
            assert np.abs(s.to_dense() - rho).max() < 1e-15
        assert moved.norm() == pytest.approx(loose.norm(), rel=1e-14)
    assert state.canonicalise(3).canonicalise(1).bond_dimensions == state.bond_dimensions


def test_sums(pair):
    state, rho = pair
    other = MPOState.mixed(LATTICE, state.order)
    total = add(state, other, 0.25, 0.75)
    assert total.bond_dimensions == tuple(b + 1 for b in state.bond_dimensions) and total.centre is None
    assert np.abs(total.to_dense() - (0.25 * rho + 0.75 * np.eye(D) / D)).max() < 1e-15
    assert total.trace() == pytest.approx(1, abs=1e-14)
    double, weight = linear_combination((total, total, other), (1.0, 1.0, -1.5)).compress()
    assert weight < 1e-28 and is_canonical(double) and double.centre == 0
    assert double.trace() == pytest.approx(0.5, abs=1e-13)
    assert np.abs(double.to_dense() - rho).max() < 1e-14
    assert max(double.bond_dimensions) <= max(state.bond_dimensions)
    assert double.normalised().trace() == pytest.approx(1, abs=1e-14)


def test_difference_norm_resolves_close_states():
    rng = np.random.default_rng(4)
    state = MPOState.from_dense(LATTICE, random_density(rng, D))
    shift = MPOState.from_dense(LATTICE, random_density(rng, D))
    for size in (1e-3, 1e-9, 1e-13):
        close = add(state, shift, 1.0, size)
        assert difference_norm(close, state) == pytest.approx(size * shift.norm(), rel=1e-2, abs=1e-16)


def test_compression_is_optimal_at_one_bond_and_its_weight_exact_in_total():
    lattice = Chain(8, SpinHalf())
    state = random_mpo_state(np.random.default_rng(6), lattice, 20).canonicalise(4)
    for chi in (3, 10):
        small, weight = state.compress(max_bond=chi)
        assert max(small.bond_dimensions) == chi and is_canonical(small)
        exact = np.linalg.norm(state.to_dense() * state.trace() - small.to_dense() * small.trace()) ** 2
        assert weight == pytest.approx(exact / state.norm() ** 2, rel=1e-8)
        assert weight == pytest.approx(1 - (small.norm() / state.norm()) ** 2, rel=1e-8)
    weights = compress_train(state.tensors, max_bond=5).weights
    tails = np.array([(state.operator_schmidt(p)[5:] ** 2).sum() for p in range(1, 8)])
    # the first bond truncated (two sites from the right end) sees the exact state; projections only shrink later tails
    assert weights[6] == 0 and weights[5] == pytest.approx(tails[5], rel=1e-10)
    assert np.all(weights <= tails * (1 + 1e-10)) and np.all(weights[1:6] > 0.2 * tails[1:6])


def test_cutoff_bounds_the_weight_discarded_per_bond():
    state = random_mpo_state(np.random.default_rng(8), Chain(8, SpinHalf()), 20)
    previous = 0.0
    for cutoff in (1e-6, 1e-4, 1e-2):
        truncation = compress_train(state.tensors, cutoff=cutoff)
        assert np.all(truncation.weights <= cutoff) and truncation.discarded_weight > previous
        previous = truncation.discarded_weight
        assert state.compress(cutoff=cutoff)[1] == truncation.discarded_weight
    assert state.compress(cutoff=0.0)[1] < 1e-27


def test_truncating_a_dense_matrix(pair):
    _, rho = pair
    small = MPOState.from_dense(LATTICE, rho, max_bond=3)
    assert max(small.bond_dimensions) == 3 and is_canonical(small)
    coarse = MPOState.from_dense(LATTICE, rho, cutoff=1e-3)
    lost = np.linalg.norm(coarse.to_dense() * coarse.trace() - rho) ** 2 / np.linalg.norm(rho) ** 2
    assert 0 < lost <= 3e-3


def test_image_under_a_lindbladian(pair):
    state, rho = pair
    model = Lindbladian(
        LATTICE, op("Z", 0) * op("Sx", 2) * op("Z", 3), [Jump(op("A", 1) + 0.5j * op("Sm", 3)), Jump(op("Sp", 2), 0.3)]
    )
    image = apply(lindbladian_mpo(model, state.order), state)
    exact = (sparse_lindbladian(model) @ rho.ravel()).reshape(D, D)
    dense = add(image, state).to_dense() - rho  # L rho has no trace, rho + L rho has trace 1
    assert np.abs(dense - exact).max() < 1e-14
    assert image.trace() == pytest.approx(0, abs=1e-14)


# -- storage and bridge ------------------------------------------------------------------------------------------------


def test_arrays_restore_the_state_bit_for_bit():
    for order, centre in ((None, 2), ((2, 0, 3, 1), None)):
        state = random_mpo_state(np.random.default_rng(9), LATTICE, 5, order)
        state = state if centre is None else state.canonicalise(centre)
        again = STATES["mpo"].from_arrays(LATTICE, state.arrays(), state.attributes())
        assert again.order == state.order and again.centre == centre
        assert all(
            a.tobytes() == b.tobytes() and a.shape == b.shape for a, b in zip(again.tensors, state.tensors, strict=True)
        )
        assert again.tensors[1].flags.c_contiguous and again.tensors[1].base is None
    broken = state.arrays() | {"shapes": np.array([[1, 4, 1]])}
    with pytest.raises(InputError, match="do not belong together"):
        MPOState.from_arrays(LATTICE, broken, {})


@pytest.mark.parametrize("order", ORDERS)
def test_quimb_and_back(order):
    from mpo_transport.states.quimb_bridge import from_quimb, to_quimb

    rng = np.random.default_rng(10)
    rho = random_density(rng, D)
    state = MPOState.from_dense(LATTICE, rho, order=order)
    theirs = to_quimb(state)
    axes = list(order or range(4))
    expected = rho.reshape(DIMS + DIMS).transpose(axes + [4 + a for a in axes]).reshape(D, D)
    assert np.abs(theirs.to_dense() - expected).max() < 1e-14
    back = from_quimb(theirs, LATTICE, order)
    assert np.abs(back.to_dense() - rho).max() < 1e-14 and back.bond_dimensions == state.bond_dimensions
    one = MPOState.product(Chain(1, SpinHalf()), "up")
    assert np.abs(from_quimb(to_quimb(one), one.lattice).to_dense() - np.diag([1, 0])).max() < 1e-15
    theirs[theirs.site_tag(1)].modify(data=1j * theirs[theirs.site_tag(1)].data)
    with pytest.raises(InputError, match="Hermitian"):
        from_quimb(theirs, LATTICE, order)
    with pytest.raises(InputError, match="local dimensions"):
        from_quimb(theirs, Chain(4, SpinHalf()))


# -- bad input ---------------------------------------------------------------------------------------------------------


def refused(field, kind, function, *args, **kwargs):
    with pytest.raises(kind) as error:
        function(*args, **kwargs)
    assert error.value.field == field, str(error.value)


def test_bad_input_names_its_field():
    state = MPOState.mixed(LATTICE)
    t = state.tensors
    refused("tensors", InputError, MPOState, LATTICE, t[:3])
    refused("tensors", InputError, MPOState, LATTICE, (t[0], t[2], t[1], np.ones((2, 4, 1))))
    refused("tensors", InputError, MPOState, LATTICE, (*t[:3], np.ones((1, 4, 2))))
    refused("tensors", InputError, MPOState, LATTICE, t, (1, 0, 2, 3))  # the spaces are in another order
    refused("order", InputError, MPOState, LATTICE, t, (0, 1, 2, 2))
    refused("centre", InputError, MPOState, LATTICE, t, (), 4)
    refused("levels", NotSupportedError, MPOState.mixed, Chain(3, Boson(np.inf)))
    refused("initial", InputError, MPOState.product, LATTICE, "sideways")
    refused("rho", InputError, MPOState.from_dense, LATTICE, np.eye(4))
    refused("rho", InputError, MPOState.from_dense, LATTICE, np.triu(np.ones((D, D))))
    refused("rho", InputError, MPOState.from_dense, LATTICE, np.full((D, D), np.nan))
    refused("max_bond", InputError, MPOState.from_dense, LATTICE, np.eye(D), 0)
    refused("max_bond", InputError, state.compress, 0)
    refused("max_bond", InputError, state.compress, 2.5)
    refused("cutoff", InputError, state.compress, None, 1.0)
    refused("cutoff", InputError, state.compress, None, -1e-3)
    refused("position", InputError, state.canonicalise, 4)
    refused("cut", InputError, state.operator_schmidt, 0)
    refused("position", InputError, state.operator_schmidt_at_position, 4)
    refused("sites", InputError, state.reduced, ())
    refused("sites", InputError, state.reduced, (1, 1))
    refused("sites", InputError, state.reduced, (4,))
    refused("sites", InputError, state.expect_products, [(("Z", 7),)])
    refused("operator", InputError, state.expect_products, [(("Zz", 0),)])
    refused("sites", NotSupportedError, MPOState.mixed(Chain(9, SpinHalf())).reduced, range(9))
    refused("to_dense", NotSupportedError, MPOState.mixed(Chain(13, SpinHalf())).to_dense)
    refused("other", InputError, state.overlap, MPOState.mixed(Chain(4, SpinHalf())))
    refused("state", InputError, add, state, MPOState.mixed(Chain(4, SpinHalf())))
    refused("order", InputError, add, state, MPOState.mixed(LATTICE, (2, 0, 3, 1)))
    refused("coefficients", InputError, linear_combination, [state], [1.0, 2.0])


def test_operators_without_a_trace_have_no_expectation_values():
    traceless = add(MPOState.mixed(LATTICE), MPOState.mixed(LATTICE), 1.0, -1.0)
    for ask in (traceless.purity, traceless.to_dense, traceless.normalised, lambda: traceless.reduced((0,))):
        refused("state", InputError, ask)
    refused("state", InputError, traceless.expect_products, [(("Z", 0),)])
