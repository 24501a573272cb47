"""The matrix-product Lindbladian equals the exact one, has its operator Schmidt ranks, and measures residuals."""

import numpy as np
import pytest

from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.lattice import Chain
from mpo_transport.methods import ImplicitSweeps
from mpo_transport.model import Jump, Lindbladian
from mpo_transport.models import persistent_current
from mpo_transport.operators import Boson, OpSum, Spin, SpinHalf, op
from mpo_transport.solve import steady_state
from mpo_transport.states.mpo import MPOState
from mpo_transport.superoperator import (
    from_hermitian,
    hermitian_lindbladian,
    lindbladian_mpo,
    operator_matrix,
    operator_train,
    to_hermitian,
)
from mpo_transport.superoperator.train import dense_train


def random_local(rng, space):
    names = [n for n in space.operators if n != "I"]
    return str(rng.choice(names))


def random_product(rng, spaces, sites):
    out = OpSum({(): 1.0})
    for s in sites:
        out = out * op(random_local(rng, spaces[s]), int(s))
    return complex(*rng.normal(size=2)) * out


def random_model(seed, spaces, periodic=False):
    """Products of one to three factors on arbitrary sites in H and in jumps that are sums of several of them."""
    rng = np.random.default_rng(seed)
    lattice = Chain(len(spaces), spaces, periodic=periodic)

    def products(count):
        return [
            random_product(rng, spaces, rng.choice(len(spaces), rng.integers(1, 4), replace=False))
            for _ in range(count)
        ]

    half = sum(products(6), OpSum())
    jumps = [Jump(sum(products(3), OpSum()), rate=float(rng.uniform(0.2, 2))) for _ in range(3)]
    return Lindbladian(lattice, half + half.dag, jumps)


def exact_ranks(matrix, legs):
    """Operator Schmidt ranks of a dense superoperator at every cut."""
    L = len(legs)
    x = matrix.reshape(legs + legs).transpose([a for k in range(L) for a in (k, L + k)])
    ranks = []
    for cut in range(1, L):
        s = np.linalg.svd(x.reshape(int(np.prod(legs[:cut])) ** 2, -1), compute_uv=False)
        ranks.append(int(np.count_nonzero(s > 1e-12 * s[0])))
    return tuple(ranks)


def assert_equal(operator, model):
    exact = hermitian_lindbladian(model).toarray()
    dense = operator.to_dense()
    scale = np.abs(exact).max()
    assert np.abs(dense - exact).max() < 1e-13 * scale
    assert np.abs(dense[0]).max() < 1e-13 * scale  # the trace is conserved
    return exact


MIXED = [SpinHalf(), Boson(3), SpinHalf(), Spin(1)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", [None, (2, 0, 3, 1)])
def test_random_mixed_models(seed, order):
    model = random_model(seed, MIXED)
    operator = lindbladian_mpo(model, order)
    assert operator.order == (order or (0, 1, 2, 3))
    assert_equal(operator, model)


@pytest.mark.parametrize("order", [None, (0, 4, 1, 3, 2), (3, 1, 4, 0, 2)])
def test_ring_with_random_couplings(order):
    rng = np.random.default_rng(7)

    def pick():
        return rng.normal(size=5) + 1j * rng.normal(size=5)

    model = persistent_current(
        5, pick(), pick(), beta=pick(), gamma=pick(), J=pick(), lam=pick(), mu=rng.normal(size=5), kappa=0.3, eps_x=0.2
    )
    assert_equal(lindbladian_mpo(model, order), model)


@pytest.mark.parametrize("distance, periodic", [(1, False), (1, True), (2, True)])
@pytest.mark.parametrize("L", [4, 5])
def test_bond_dimensions_are_the_operator_schmidt_ranks(L, distance, periodic):
    model = persistent_current(L, 2.0, 1.0, J=0.3j, dissipator_distance=distance, periodic=periodic)
    operator = lindbladian_mpo(model)
    assert operator.bond_dimensions == exact_ranks(assert_equal(operator, model), [4] * L)


@pytest.mark.parametrize("seed", range(2))
def test_ranks_of_random_models(seed):
    model = random_model(seed, [SpinHalf()] * 4)
    operator = lindbladian_mpo(model)
    assert operator.bond_dimensions == exact_ranks(assert_equal(operator, model), [4] * 4)


def exponential(L, decay):
    lattice = Chain(L, SpinHalf())
    h = OpSum({(("Z", i), ("Z", j)): decay ** (j - i) for i in range(L) for j in range(i + 1, L)})
    return Lindbladian(lattice, h, [])


def collective(L):
    return Lindbladian(
        Chain(L, SpinHalf()), None, [Jump(sum((op("Sm", j) + 0.3j * op("Sp", j) for j in range(L)), OpSum()))]
    )


@pytest.mark.parametrize("build", [lambda L: exponential(L, 0.7), collective])
def test_separable_long_range_couplings_need_a_constant_bond_dimension(build):
    small = build(5)
    ranks = exact_ranks(assert_equal(lindbladian_mpo(small), small), [4] * 5)
    large = lindbladian_mpo(build(40)).bond_dimensions
    assert large[0] == ranks[0] and set(large[2:-2]) == {ranks[2]} and max(large) <= 6


def test_uniform_chain_of_200_sites():
    operator = lindbladian_mpo(persistent_current(200, 2.0, 1.0, periodic=False))
    assert set(operator.bond_dimensions) == {6}
    # |L|_F^2 / 4^L is a sum over sites and bonds plus the square of the mean diagonal element: a quadratic in L
    f = [lindbladian_mpo(persistent_current(L, 2.0, 1.0, periodic=False)).typical_norm ** 2 for L in (3, 4, 5)]
    n = 200 - 3
    expected = f[0] + n * (f[1] - f[0]) + n * (n - 1) / 2 * (f[2] - 2 * f[1] + f[0])
    assert operator.typical_norm**2 == pytest.approx(expected, rel=1e-9)


def weak_link(coupling):
    bond = op("Sp", 1) * op("Sm", 2)
    jumps = [Jump(op("Sm", j), rate=1e3) for j in range(4)]
    return Lindbladian(Chain(4, SpinHalf()), coupling * (bond + bond.dag), jumps)


def test_weak_bonds_are_kept():
    """A coupling of 1e-9 between sites with rates of 1e3 is small, but no rounding error."""
    weak, strong = lindbladian_mpo(weak_link(1e-9)), weak_link(1e3)
    assert weak.bond_dimensions == exact_ranks(hermitian_lindbladian(strong).toarray(), [4] * 4)
    difference = weak.to_dense() - hermitian_lindbladian(weak_link(1e-9)).toarray()
    assert np.abs(difference).max() < 1e-11  # 1e-15 of the largest entry, 4000


def test_one_site_and_empty_generator():
    one = Lindbladian(Chain(1, Boson(3)), op("Q", 0), [Jump(op("A", 0))])
    assert_equal(lindbladian_mpo(one), one)
    nothing = lindbladian_mpo(Lindbladian(Chain(3, SpinHalf()), None, []))
    assert not np.any(nothing.to_dense()) and nothing.bond_dimensions == (1, 1)
    assert nothing.residual(MPOState.mixed(Chain(3, SpinHalf()))) == 0


def test_cancelling_terms_leave_no_bond():
    lattice = Chain(3, SpinHalf())
    # the cross terms of the two jumps X_0 + X_2 and X_0 - X_2 cancel, here up to rounding errors
    jumps = [Jump(c * (op("X", 0) + sign * op("X", 2))) for c in (0.1, 0.7) for sign in (1, -1)]
    operator = lindbladian_mpo(Lindbladian(lattice, 0.3 * op("Z", 1), jumps))
    assert operator.bond_dimensions == (2, 2)


def random_state(rng, lattice, order=None):
    D = int(np.prod(lattice.dims))
    m = rng.normal(size=(D, D)) + 1j * rng.normal(size=(D, D))
    return MPOState.from_dense(lattice, m @ m.conj().T / D, order=order)


@pytest.mark.parametrize("order", [None, (2, 0, 3, 1)])
def test_products_with_states(order):
    rng = np.random.default_rng(1)
    model = random_model(5, MIXED)
    x, y = random_state(rng, model.lattice, order), random_state(rng, model.lattice, order)
    operator, exact = lindbladian_mpo(model, order), hermitian_lindbladian(model)
    dims = [int(d) for d in model.lattice.dims]
    vx, vy = (s.trace() * to_hermitian(s.to_dense(), dims).real.ravel() for s in (x, y))
    scale = np.linalg.norm(exact @ vx) * np.linalg.norm(vy)
    assert operator.bilinear(y, x) == pytest.approx(vy @ (exact @ vx), abs=1e-13 * scale)
    assert operator.transpose().bilinear(x, y) == pytest.approx(operator.bilinear(y, x), abs=1e-13 * scale)
    image = dense_train(operator.apply(x)).transpose(np.argsort(x.order)).ravel()
    assert np.linalg.norm(image - exact @ vx) < 1e-13 * np.linalg.norm(image)
    for method in ("auto", "qr", "square"):
        assert operator.residual(x, method) == pytest.approx(np.linalg.norm(exact @ vx) / np.linalg.norm(vx), rel=1e-12)


@pytest.fixture(scope="module")
def steady():
    model = persistent_current(5, 2.0, 1.0, periodic=False)
    exact = hermitian_lindbladian(model).toarray()
    bordered, rhs = exact.copy(), np.zeros(len(exact))
    bordered[0], rhs[0] = np.eye(len(exact))[0], 2.0**-2.5
    return model, exact, np.linalg.solve(bordered, rhs)


@pytest.mark.parametrize("size", [1e-11, 1e-8, 1e-5, 1e-2])
def test_residual_is_exact_where_squares_are_blind(steady, size):
    model, exact, x = steady
    noise = np.random.default_rng(3).normal(size=len(x))
    y = x + size * np.linalg.norm(x) / np.linalg.norm(noise) * noise
    state = MPOState.from_dense(model.lattice, from_hermitian(y, [2] * 5))
    expected = np.linalg.norm(exact @ y) / np.linalg.norm(y)
    error = 1e-13 * np.linalg.norm(exact, 2)
    operator = lindbladian_mpo(model)
    assert operator.residual(state, "qr") == pytest.approx(expected, abs=error)
    assert operator.residual(state) == pytest.approx(expected, abs=error, rel=1e-4)


def test_residual_of_the_steady_state_vanishes(steady):
    model, exact, x = steady
    state = MPOState.from_dense(model.lattice, from_hermitian(x, [2] * 5))
    assert lindbladian_mpo(model).residual(state) < 1e-14 * np.linalg.norm(exact, 2)


@pytest.fixture(scope="module")
def nearer_and_nearer():
    """A generator, and states of ever smaller residuals with these."""
    model = persistent_current(L=8, alpha=2.0, delta=1.0, mu=1.0, periodic=False)
    operator = lindbladian_mpo(model)
    states = [steady_state(model, ImplicitSweeps(), tol=10.0**-k).state for k in range(1, 8)]
    return operator, [(state, operator.residual(state, "qr")) for state in states]


@pytest.mark.parametrize("accuracy", [2.5e-4, 0.02])
def test_residuals_are_as_accurate_as_asked(nearer_and_nearer, accuracy):
    """Ever smaller residuals: by scalar products as long as rounding allows it, then by orthogonal transformations."""
    operator, states = nearer_and_nearer
    differing = 0
    for state, exact in states:
        quick = operator.residual(state, accuracy=accuracy)
        assert quick == pytest.approx(exact, rel=accuracy)
        differing += quick != exact
    assert 0 < differing < 7


def test_residual_of_a_long_chain_without_underflow():
    """The mixed state of 1100 decaying spins: |x| = 2^-550 and L rho = sum_j Z_j rho, of norm sqrt(1100) |rho|."""
    lattice = Chain(1100, SpinHalf())
    model = Lindbladian(lattice, None, [Jump(op("Sp", j)) for j in range(1100)])
    state = MPOState.mixed(lattice)
    for method in ("qr", "square"):
        assert lindbladian_mpo(model).residual(state, method) == pytest.approx(np.sqrt(1100), rel=1e-10)


@pytest.mark.parametrize("order", [None, (2, 0, 3, 1)])
def test_operator_train(order):
    rng = np.random.default_rng(11)
    lattice = Chain(4, MIXED)
    half = sum((random_product(rng, MIXED, rng.choice(4, k, replace=False)) for k in (1, 2, 3, 2, 4)), OpSum())
    operator = half + half.dag + 0.7
    train = operator_train(lattice, operator, order)
    exact = to_hermitian(operator_matrix(lattice, operator).toarray(), [int(d) for d in lattice.dims])
    dense = dense_train(train).transpose(np.argsort(order or range(4)))
    assert np.abs(dense - exact).max() < 1e-13 * np.abs(exact).max()


def test_bad_input():
    model = random_model(0, MIXED)
    with pytest.raises(InputError) as error:
        lindbladian_mpo(model, (0, 1, 2, 2))
    assert error.value.field == "order"
    with pytest.raises(NotSupportedError) as error:
        lindbladian_mpo(persistent_current(4, 1.0, 0.5, levels=np.inf))
    assert error.value.field == "levels"
    operator = lindbladian_mpo(model)
    with pytest.raises(InputError) as error:
        operator.residual(MPOState.mixed(model.lattice, order=(1, 0, 2, 3)))
    assert error.value.field == "order"
    with pytest.raises(InputError) as error:
        operator.apply(MPOState.mixed(Chain(4, SpinHalf())))
    assert error.value.field == "state"
    with pytest.raises(InputError) as error:
        operator.residual(MPOState.mixed(model.lattice), method="exact")
    assert error.value.field == "method"
    with pytest.raises(InputError) as error:
        operator.residual(MPOState.mixed(model.lattice).scale(0.0))
    assert error.value.field == "state"
    with pytest.raises(InputError) as error:
        operator_train(model.lattice, op("Sp", 0))
    assert error.value.field == "operator"
    with pytest.raises(NotSupportedError) as error:
        lindbladian_mpo(persistent_current(8, 1.0, 0.5)).to_dense()
    assert error.value.field == "to_dense"
