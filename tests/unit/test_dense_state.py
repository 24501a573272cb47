"""The dense state against matrices written out with Kronecker products."""

from functools import reduce

import numpy as np
import pytest

from mpo_transport import Boson, Chain, Spin, SpinHalf, op
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.states import STATES, DenseState

MIXED = Chain(3, [SpinHalf(), Spin(1), Boson(3)])  # different dimensions on every site hide no transposition


def random_rho(D, seed=0, rank=None):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((D, rank or D)) + 1j * rng.standard_normal((D, rank or D))
    rho = a @ a.conj().T
    return rho / np.trace(rho).real


def kron(*matrices):
    return reduce(np.kron, matrices)


def embedded(lattice, factors):
    return kron(*(factors.get(j, np.eye(int(d))) for j, d in enumerate(lattice.dims)))


@pytest.fixture
def state():
    return DenseState(MIXED, random_rho(18))


def test_expectation_values_of_products(state):
    m = [s.matrix for s in MIXED.spaces]
    cases = {
        (("Sp", 0),): {0: m[0]("Sp")},
        (("Sm", 0), ("Sp", 1)): {0: m[0]("Sm"), 1: m[1]("Sp")},
        (("Y", 0), ("Adag", 2)): {0: m[0]("Y"), 2: m[2]("Adag")},
        (("Sp", 1), ("Sz", 1), ("A", 2), ("A", 2)): {1: m[1]("Sp") @ m[1]("Sz"), 2: m[2]("A") @ m[2]("A")},
        (("Sp", 0), ("Sm", 1), ("Q", 2)): {0: m[0]("Sp"), 1: m[1]("Sm"), 2: m[2]("Q")},
        (): {},
    }
    expected = [np.trace(embedded(MIXED, f) @ state.rho) for f in cases.values()]
    assert np.allclose(state.expect_products(list(cases)), expected, atol=1e-14)
    combined = state.expect(2j * op("Sp", 0) * op("Sm", 1) + 0.5 * op("N", 2))
    direct = 2j * embedded(MIXED, {0: m[0]("Sp"), 1: m[1]("Sm")}) + 0.5 * embedded(MIXED, {2: m[2]("N")})
    assert combined == pytest.approx(np.trace(direct @ state.rho), abs=1e-14)


def test_unnormalised_states_report_their_trace_and_answer_normalised():
    rho = random_rho(18, seed=3)
    scaled, plain = DenseState(MIXED, 0.9 * rho), DenseState(MIXED, rho)
    assert scaled.trace() == pytest.approx(0.9)
    assert scaled.purity() == pytest.approx(np.trace(rho @ rho).real, abs=1e-14)
    assert np.allclose(scaled.to_dense(), rho, atol=1e-15)
    assert np.allclose(scaled.reduced([2, 0]), plain.reduced([2, 0]), atol=1e-15)
    assert np.allclose(scaled.expect_products([(("Y", 0),)]), plain.expect_products([(("Y", 0),)]), atol=1e-15)


def test_reduced_matrices_in_any_order(state):
    tensor = state.rho.reshape(2, 3, 3, 2, 3, 3)
    assert np.allclose(state.reduced([1]), np.einsum("aibajb->ij", tensor), atol=1e-15)
    assert np.allclose(state.reduced([2, 0]), np.einsum("akbckd->badc", tensor).reshape(6, 6))
    assert np.allclose(state.reduced([0, 2]), np.einsum("akbckd->abcd", tensor).reshape(6, 6), atol=1e-15)
    everything = state.reduced([2, 1, 0])
    assert np.allclose(everything, tensor.transpose(2, 1, 0, 5, 4, 3).reshape(18, 18), atol=1e-15)
    assert np.trace(state.reduced([2, 0])) == pytest.approx(1)


def test_product_states():
    lattice = Chain(3, SpinHalf())
    up, down = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    assert np.array_equal(DenseState.product(lattice, "up").rho, kron(up, up, up))
    assert np.array_equal(DenseState.product(lattice, [1, 0, 1]).rho, kron(up, down, up))  # occupations: N = 1 is up
    assert DenseState.product(MIXED, "mixed").purity() == pytest.approx(1 / 18)
    plus = np.array([1, 1j])
    tilted = DenseState.product(lattice, [plus, 0, np.eye(2) / 2])
    assert tilted.expect(op("Y", 0)).real == pytest.approx(1)


def test_vectors_and_overlaps():
    lattice = Chain(2, SpinHalf())
    singlet = DenseState.from_vector(lattice, [0, 2, -2, 0])
    assert singlet.purity() == pytest.approx(1) and singlet.trace() == pytest.approx(1)
    assert singlet.expect(op("X", 0) * op("X", 1)).real == pytest.approx(-1)
    assert singlet.overlap(DenseState.product(lattice, "mixed")) == pytest.approx(1 / 4)


def test_operator_schmidt_values():
    assert np.allclose(DenseState.product(MIXED, [0, 1, 2]).operator_schmidt(1)[1:], 0, atol=1e-15)
    bell = DenseState.from_vector(Chain(2, SpinHalf()), [1, 0, 0, 1])
    assert np.allclose(bell.operator_schmidt(1), [0.5] * 4)
    state = DenseState(MIXED, random_rho(18, seed=5, rank=2))
    for cut, (a, b) in {1: (2, 9), 2: (6, 3)}.items():
        realigned = state.rho.reshape(a, b, a, b).transpose(0, 2, 1, 3).reshape(a * a, b * b)
        s = np.linalg.svd(realigned, compute_uv=False)
        assert np.allclose(state.operator_schmidt(cut), s / np.linalg.norm(s), atol=1e-14)


def test_coefficients_are_the_inverse_of_from_coefficients(state):
    x = state.coefficients()
    assert x.shape == (324,) and x.dtype == float and x[0] == pytest.approx(18**-0.5)
    assert np.allclose(DenseState.from_coefficients(MIXED, x).rho, state.rho, atol=1e-15)


def test_storage_round_trip_is_exact(state):
    again = STATES["dense"].from_arrays(MIXED, state.arrays(), state.attributes())
    assert np.array_equal(again.rho, state.rho)


def test_the_matrix_cannot_be_changed(state):
    source = random_rho(18, seed=9)
    kept = DenseState(MIXED, source)
    before = kept.rho.copy()
    source[0, 0] = 5
    assert np.array_equal(kept.rho, before)
    with pytest.raises(ValueError, match="read-only"):
        state.rho[0, 0] = 1


@pytest.mark.parametrize(
    ("build", "field", "words"),
    [
        (lambda: DenseState(MIXED, np.eye(4)), "rho", "shape"),
        (lambda: DenseState(MIXED, np.full((18, 18), np.nan)), "rho", "finite"),
        (lambda: DenseState.from_matrix(MIXED, np.triu(random_rho(18))), "rho", "Hermitian"),
        (lambda: DenseState.from_matrix(MIXED, 2 * random_rho(18)), "rho", "trace 1"),
        (lambda: DenseState.from_matrix(Chain(1, SpinHalf()), np.diag([1.5, -0.5])), "rho", "-5.000e-01"),
        (lambda: DenseState.from_vector(MIXED, np.ones(5)), "psi", "18 entries"),
        (lambda: DenseState.from_vector(MIXED, np.zeros(18)), "psi", "normalised"),
        (lambda: DenseState(Chain(2, Boson(np.inf)), np.eye(4)), "levels", "unbounded"),
        (lambda: DenseState.product(MIXED, "mixed").reduced([0, 0]), "sites", "repeat"),
        (lambda: DenseState.product(MIXED, "mixed").reduced([3]), "sites", "0..2"),
        (lambda: DenseState.product(MIXED, "mixed").operator_schmidt(3), "cut", "1 to 2"),
        (lambda: DenseState.product(MIXED, "mixed").expect(op("X", 5)), "sites", "0..2"),
        (lambda: DenseState.product(MIXED, "mixed").expect(op("X", 2)), "operator", "Boson"),
    ],
)
def test_bad_input_names_the_field(build, field, words):
    with pytest.raises(InputError) as caught:
        build()
    assert caught.value.field == field and words in str(caught.value)


def test_a_valid_matrix_passes_the_checks():
    rho = random_rho(18, seed=11, rank=1)  # pure: eigenvalues at the edge of positivity
    assert np.array_equal(DenseState.from_matrix(MIXED, rho).rho, rho)


def test_too_large_states_are_refused():
    with pytest.raises(NotSupportedError, match=r"8\.19e\+03"):
        DenseState.product(Chain(13, SpinHalf()), "up")


def test_long_products_need_no_large_matrices():
    lattice = Chain(9, SpinHalf())
    rng = np.random.default_rng(2)
    vectors = [rng.standard_normal(2) + 1j * rng.standard_normal(2) for _ in range(9)]
    state = DenseState.product(lattice, vectors)
    z = [abs(v[0]) ** 2 - abs(v[1]) ** 2 for v in vectors] / np.array([np.linalg.norm(v) ** 2 for v in vectors])
    parity = state.expect_products([tuple(("Z", j) for j in range(9))])[0]
    assert parity == pytest.approx(np.prod(z), abs=1e-14)
