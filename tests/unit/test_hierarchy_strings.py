"""The adjoint generator on strings, closed sets, and the linear algebra on them, against the whole operator space."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import systems

import mpo_transport as mt
from mpo_transport import Boson, Chain, Jump, Lindbladian, MPOState, OpSum, SpinHalf, op
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.methods.hierarchy.closure import NotClosedError, StringTable, close
from mpo_transport.methods.hierarchy.equations import Factors, IntertwinedError, SingularError, moved, stationary
from mpo_transport.methods.hierarchy.initial import string_expectations
from mpo_transport.methods.hierarchy.work import default_cap, parities_of
from mpo_transport.states import DenseState
from mpo_transport.superoperator import dense_lindbladian, hermitian_lindbladian
from mpo_transport.superoperator.heisenberg import HeisenbergAction, expand_products, letters, operator_strings


def string_matrix(dims, string):
    out = np.eye(1)
    for d, k in zip(dims, string, strict=True):
        out = np.kron(out, letters(d)[k])
    return out


def all_strings(dims):
    return np.array(list(itertools.product(*(range(d * d) for d in dims))))


MODELS = {
    "random xy": lambda: systems.random_xy(3, 5),
    "spin, mode, spin": systems.spin_boson_chain,
    "ring": lambda: mt.models.persistent_current(4, 1.3, 0.7, J=0.3, flux=0.4),
    "exclusion": lambda: mt.models.exclusion_process(3, 1.0, 0.8, 0.5, 0.3),
}


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_those_of_the_whole_generator(name):
    model = MODELS[name]()
    action = HeisenbergAction.of(model)
    strings = all_strings(action.dims)
    place = {tuple(row): n for n, row in enumerate(strings.tolist())}
    rows = action.rows(strings)
    found = np.zeros((len(strings), len(strings)))
    targets = [place[tuple(row)] for row in rows.build(np.arange(len(rows.parents))).tolist()]
    found[rows.parents, targets] = rows.coefficients
    # units: a letter is sqrt(d) times a basis element, the identity letter as well, so that the matrix is the same
    whole = hermitian_lindbladian(model)
    whole = whole.toarray() if sp.issparse(whole) else np.asarray(whole)
    assert np.abs(found - whole).max() < 1e-13 * max(1.0, np.abs(whole).max())
    again = HeisenbergAction.from_arrays(action.dims, action.arrays())
    assert np.array_equal(again.rows(strings).coefficients, rows.coefficients)


def test_adjoint_of_a_string_by_matrices():
    """<L^dag(A)> = Tr(A L rho) in a random state, letters of three different sizes."""
    model = systems.spin_boson_chain()
    action, rng = HeisenbergAction.of(model), np.random.default_rng(3)
    D = int(np.prod(model.lattice.dims))
    a = rng.normal(size=(D, D)) + 1j * rng.normal(size=(D, D))
    rho = a @ a.conj().T / np.trace(a @ a.conj().T)
    strings = all_strings(action.dims)[[7, 45, 130, 255]]
    moved_rho = (dense_lindbladian(model) @ rho.ravel()).reshape(D, D)
    rows = action.rows(strings)
    values = [np.trace(string_matrix(action.dims, s) @ rho).real for s in rows.build(np.arange(len(rows.parents)))]
    rates = np.bincount(rows.parents, rows.coefficients * values, len(strings))
    exact = [np.trace(string_matrix(action.dims, s) @ moved_rho).real for s in strings]
    assert np.allclose(rates, exact, rtol=0, atol=1e-12)


def test_products_become_strings():
    lattice = Chain(3, [SpinHalf(), Boson(3), SpinHalf()])
    operator = 0.5 * op("Sp", 0) * op("A", 1) + (0.2 - 1j) * op("N", 2) + 3.0
    strings, c, constant = operator_strings(lattice, operator)
    dims = [2, 3, 2]
    rebuilt = constant * np.eye(12) + sum(x * string_matrix(dims, s) for x, s in zip(c, strings, strict=True))
    one, sp_, a = np.eye(2), SpinHalf().matrix("Sp"), Boson(3).matrix("A")
    exact = 0.5 * np.kron(np.kron(sp_, a), one) + 3.0 * np.eye(12)
    exact = exact + (0.2 - 1j) * np.kron(np.eye(6), SpinHalf().matrix("N"))
    assert np.allclose(rebuilt, exact, atol=1e-14)
    assert len(operator_strings(lattice, op("Z", 0) - op("Z", 0))[0]) == 0
    long = tuple(("N", j) for j in range(20))
    with pytest.raises(NotSupportedError, match="sum of"):
        expand_products(Chain(20, SpinHalf()), [long])


def test_expectation_values_of_strings_in_every_kind_of_state():
    rng = np.random.default_rng(1)
    lattice = Chain(3, [SpinHalf(), Boson(3), SpinHalf()])
    a = rng.normal(size=(12, 12)) + 1j * rng.normal(size=(12, 12))
    rho = a @ a.conj().T / np.trace(a @ a.conj().T).real
    strings = all_strings([2, 3, 2])
    exact = [np.trace(string_matrix([2, 3, 2], s) @ rho).real for s in strings]
    for state in (DenseState(lattice, rho), MPOState.from_dense(lattice, rho, order=(1, 0, 2))):
        assert np.allclose(string_expectations(state, strings), exact, atol=1e-12)
    spins = MPOState.product(Chain(2, SpinHalf()), [0, 1])
    dense = DenseState(spins.lattice, spins.to_dense())
    pairs = all_strings([2, 2])
    assert np.allclose(string_expectations(spins, pairs), string_expectations(dense, pairs), atol=1e-14)


# ----------------------------------------------------------------------------------------------------------------------
# closed sets


@pytest.mark.parametrize("L", [5, 12])
def test_numbers_of_strings(L):
    """Free fermions: the products of two; exclusion: densities, and pairs of them."""
    chain = HeisenbergAction.of(mt.models.boundary_driven_xx(L, 1.0, 0.6, 0.9, 1.4, 0.2, dephasing=0.1))
    z = np.zeros((1, L), dtype=int)
    z[0, 0] = 3
    assert len(close(chain, z, 10_000)) == L * L
    process = HeisenbergAction.of(mt.models.exclusion_process(L, 1.0, 0.8, 0.5, 0.3))
    assert len(close(process, z, 10_000)) == L
    z[0, 2] = 3
    assert len(close(process, z, 10_000)) == L + L * (L - 1) // 2


def test_strings_known_before_are_not_followed_again():
    L = 6
    action = HeisenbergAction.of(mt.models.exclusion_process(L, 1.0, 0.8, 0.5, 0.3))
    one, two = np.zeros((1, L), dtype=int), np.zeros((1, L), dtype=int)
    one[0, 0], two[0, :2] = 3, 3
    densities = close(action, one, 1000)
    table = StringTable()
    table.add(action.hashes(densities.strings))
    pairs = close(action, two, 1000, table)
    assert len(pairs) == L * (L - 1) // 2 and pairs.known.shape == (len(pairs), L)
    whole = close(action, np.concatenate([one, two]), 1000)
    together = stationary(whole.matrix, whole.source, whole.magnitude).values
    v = stationary(densities.matrix, densities.source, densities.magnitude).values
    w = stationary(pairs.matrix, pairs.source + pairs.known @ v, pairs.magnitude).values
    by_name = dict(zip(action.hashes(whole.strings).tolist(), together, strict=True))
    assert np.allclose([by_name[n] for n in action.hashes(pairs.strings).tolist()], w, atol=1e-14)


def test_interacting_chains_are_given_up_early():
    action = HeisenbergAction.of(mt.models.boundary_driven_xxz(40, 0.5, eps=1.0))
    z = np.zeros((1, 40), dtype=int)
    z[0, 20] = 3
    with pytest.raises(NotClosedError) as problem:
        close(action, z, 200_000)
    assert problem.value.hopeless and problem.value.count < 20_000
    with pytest.raises(NotClosedError) as problem:
        close(action, z, 500)
    assert not problem.value.hopeless


def test_parities_of_single_sites_and_of_all():
    assert parities_of(mt.models.boundary_driven_xx(3, 1.0, 1.0, 0.5, 1.0, 0.5)).tolist() == [[1, 1, 1]]
    assert parities_of(mt.models.exclusion_process(3, 1.0, 1.0, 0.1, 0.1)).tolist() == np.eye(3, dtype=int).tolist()
    assert len(parities_of(mt.models.persistent_current(3, 2.0, 1.0, eps_x=0.1))) == 0
    assert default_cap(mt.models.exclusion_process(50, 1.0, 1.0, 0.0, 0.0)) == 200_000


def test_terms_on_too_many_sites_are_refused():
    lattice = Chain(8, SpinHalf())
    product = math.prod((op("X", j) for j in range(1, 7)), start=op("X", 0))
    with pytest.raises(NotSupportedError, match="more than 4096 operators"):
        HeisenbergAction.of(Lindbladian(lattice, product, [Jump(op("Sm", 0))]))


# ----------------------------------------------------------------------------------------------------------------------
# linear algebra


def test_solutions_are_refined_and_their_errors_covered():
    rng = np.random.default_rng(0)
    dense = np.diag(-1.0 - rng.random(60)) + 0.9 / 8 * rng.normal(size=(60, 60))
    exact = rng.normal(size=60)
    matrix = sp.csr_array(dense)
    source = -(dense.astype(np.longdouble) @ exact).astype(float)
    found = stationary(matrix, source, np.abs(dense) @ np.abs(exact))
    error = np.abs(found.values - exact).max()
    assert error <= found.error < 1e-11
    y, rest = Factors(matrix).solve(exact, transposed=True)
    assert np.abs(dense.T @ y.astype(float) - exact).max() < 1e-13 and np.abs(rest).max() < 1e-16


def test_singular_and_intertwined_equations_are_told(monkeypatch):
    ring = mt.models.ring_dephasing(4, 1.0, 0.5)
    z = np.array([[3, 0, 0, 0]])
    closure = close(HeisenbergAction.of(ring), z, 1000)
    with pytest.raises(SingularError) as problem:
        stationary(closure.matrix, closure.source, closure.magnitude)
    assert problem.value.nullity is not None and problem.value.nullity >= 1
    from mpo_transport.methods.hierarchy import equations

    monkeypatch.setattr(equations, "SMALL", 10)
    monkeypatch.setattr(equations, "MOST_WORK", 100.0)
    with pytest.raises(IntertwinedError):
        Factors(sp.csr_array(np.eye(30) + 0.01 * np.random.default_rng(1).normal(size=(30, 30))))


def test_transients_against_the_exponential():
    closure = close(HeisenbergAction.of(systems.random_xy(3, 2)), np.array([[3, 0, 0]]), 100)
    n = len(closure)
    start = np.random.default_rng(2).normal(size=n)
    augmented = np.zeros((n + 1, n + 1))
    augmented[:n, :n], augmented[:n, n] = closure.matrix.toarray(), closure.source
    exact = (scipy.linalg.expm(2.7 * augmented) @ np.append(start, 1.0))[:n]
    *_, (reached, values) = moved(closure.matrix, closure.source, start, 2.7)
    assert reached == 2.7 and np.abs(values - exact).max() < 1e-12


def test_bad_knobs():
    for value in (0, -3, 2.5, True, "many"):
        with pytest.raises(InputError) as error:
            mt.ClosedHierarchy(max_strings=value)
        assert error.value.field == "max_strings"


def test_hopeless_models_say_why():
    support = mt.ClosedHierarchy().supports(mt.models.boundary_driven_xxz(32, 0.5, eps=1.0))
    assert not support and "do not close" in support.reason
    assert not mt.ClosedHierarchy().supports(mt.models.boundary_driven_xx(4, 1.0, 1.0, 1.0, 1.0, 0.0, levels=math.inf))
    limited = mt.ClosedHierarchy(max_strings=50).supports(mt.models.boundary_driven_xx(20, 1.0, 1.0, 1.0, 1.0, 0.0))
    assert not limited and "max_strings" in limited.reason
    # a truncated mode is no free boson: its moments do not close, and nothing pretends that they do
    truncated = mt.models.boundary_driven_xx(6, 1.0, 1.0, 0.2, 1.0, 0.1, levels=4)
    assert not mt.ClosedHierarchy().supports(truncated)


def test_a_model_without_usual_observables_starts_from_single_sites():
    space = mt.LocalSpace("clock", 2, {"tau": np.array([[0.0, 1.0], [1.0, 0.0]]), "down": np.array([[0, 0], [1.0, 0]])})
    model = Lindbladian(Chain(2, space), 0.3 * op("tau", 0) * op("tau", 1), [Jump(op("down", j)) for j in range(2)])
    mine = mt.steady_state(model, mt.ClosedHierarchy(), tol=1e-10)
    exact = mt.steady_state(model, mt.ExactDiag(), tol=1e-10)
    for operator in (op("tau", 0), op("tau", 0) * op("tau", 1), op("down.dag", 1) * op("down", 1) + OpSum()):
        assert abs(mine.state.expect(operator) - exact.state.expect(operator)) < 1e-12
