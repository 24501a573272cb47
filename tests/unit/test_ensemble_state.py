"""Mixtures of pure states: every answer against the written-out density matrix, statistics against closed forms."""

import math

import numpy as np
import pytest

from mpo_transport import Boson, Chain, SpinHalf, op
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.states import STATES, DenseState, EnsembleState
from mpo_transport.states.ensemble import student_factor
from mpo_transport.states.local_records import LocalRecords, local_coefficients

LATTICE = Chain(3, [SpinHalf(), Boson(3), SpinHalf()])
KEYS = [
    (),
    (("Z", 0),),
    (("Sp", 0), ("A", 1)),
    (("Adag", 1), ("A", 1), ("X", 2)),
    (("Y", 0), ("N", 1), ("Sm", 2)),
]


def random_vectors(n, D, seed=0):
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(n, D)) + 1j * rng.normal(size=(n, D))
    return v / np.linalg.norm(v, axis=1)[:, None]


@pytest.fixture
def pair():
    """An ensemble with unequal weights and norms, and the same density matrix written out."""
    v = random_vectors(7, 12) * np.linspace(0.5, 1.5, 7)[:, None]
    w = np.arange(1.0, 8.0)
    rho = (v * w[:, None]).T @ v.conj()
    return EnsembleState(LATTICE, v, w), DenseState(LATTICE, rho)


def test_answers_of_the_written_out_matrix(pair):
    state, dense = pair
    assert math.isclose(state.trace(), dense.trace(), rel_tol=1e-13)
    assert np.abs(state.to_dense() - dense.to_dense()).max() < 1e-14
    assert np.abs(state.expect_products(KEYS) - dense.expect_products(KEYS)).max() < 1e-13
    for sites in ([1], [0, 2], [2, 0], [1, 2, 0][:2], []):
        assert np.abs(state.reduced(sites) - (dense.reduced(sites) if sites else 1)).max() < 1e-13
    assert math.isclose(state.purity(), dense.purity(), rel_tol=1e-12)
    assert np.abs(state.operator_schmidt(1) - dense.operator_schmidt(1)).max() < 1e-12
    other = EnsembleState(LATTICE, random_vectors(3, 12, 5))
    expected = float(np.trace(dense.to_dense() @ other.to_dense()).real)
    assert math.isclose(state.overlap(other), expected, rel_tol=1e-12)
    assert math.isclose(state.overlap(DenseState(LATTICE, other.to_dense())), expected, rel_tol=1e-12)


def test_products_on_many_levels_act_on_the_vectors():
    lattice = Chain(
        2, Boson(9)
    )  # the pair has 81 > 64 states: operators are applied instead of reduced matrices formed
    v = random_vectors(4, 81)
    state, dense = EnsembleState(lattice, v), DenseState(lattice, v.T @ v.conj() / 4)
    keys = [(("Adag", 0), ("A", 1)), (("N", 0), ("Q", 1)), (("A", 0),)]
    assert np.abs(state.expect_products(keys) - dense.expect_products(keys)).max() < 1e-13


def test_sectors_hold_the_same_state():
    basis = [np.array([1, 4, 6]), np.array([0, 2, 3, 5, 7, 8, 9, 10, 11])]
    small = np.zeros((4, 9), dtype=complex)
    sectors = np.array([0, 1, 1, 0])
    full = np.zeros((4, 12), dtype=complex)
    for k, q in enumerate(sectors):
        part = random_vectors(1, len(basis[q]), k)[0]
        small[k, : len(part)], full[k, basis[q]] = part, part
    state, plain = EnsembleState(LATTICE, small, sectors=sectors, basis=basis), EnsembleState(LATTICE, full)
    assert np.array_equal(state.vectors(), plain.vectors())
    assert np.allclose(state.expect_products(KEYS), plain.expect_products(KEYS), atol=1e-15)
    assert math.isclose(state.purity(), plain.purity(), rel_tol=1e-13)


def test_records_take_precedence_and_are_traced_down():
    v = random_vectors(6, 12)
    truth = random_vectors(4, 12, 9)
    values = np.concatenate([local_coefficients(truth, LATTICE.dims, s) for s in ((0, 1), (1, 2))], axis=1)
    records = LocalRecords(((0, 1), (1, 2)), values, np.array([0.1, 0.2, 0.3, 0.4]))
    state = EnsembleState(LATTICE, v, groups=np.arange(6), records=records)
    exact = EnsembleState(LATTICE, truth, [0.1, 0.2, 0.3, 0.4])
    local = [k for k in KEYS if k and {s for _, s in k} != {0, 1, 2}]
    assert np.abs(state.expect_products(local) - exact.expect_products(local)).max() < 1e-13
    for sites in ([0], [1], [2], [1, 0], [1, 2]):
        assert np.abs(state.reduced(sites) - exact.reduced(sites)).max() < 1e-13
    far = [KEYS[-1]]
    assert np.abs(state.expect_products(far) - EnsembleState(LATTICE, v).expect_products(far)).max() < 1e-13


def test_standard_error_is_the_scatter_between_groups():
    v = random_vectors(12, 12)
    groups = np.repeat(np.arange(4), 3)
    state = EnsembleState(LATTICE, v, groups=groups)
    o = op("Z", 0) + 0.3 * op("X", 0) * op("N", 1)
    single = [EnsembleState(LATTICE, v[groups == g]).expect(o).real for g in range(4)]
    expected = np.std(single, ddof=1) / 2 * student_factor(3)
    assert math.isclose(state.standard_error([o])[0], expected, rel_tol=1e-12)
    inflated = EnsembleState(LATTICE, v, groups=groups, inflation=4.0)
    assert math.isclose(inflated.standard_error([o])[0], 2 * expected, rel_tol=1e-12)
    assert np.isnan(EnsembleState(LATTICE, v).standard_error([o])[0])
    assert state.standard_error([op("Z", 0) * 0 + 3])[0] == 0


def test_standard_error_of_a_complex_number_and_of_the_student_factor():
    lattice = Chain(1, SpinHalf())
    v = random_vectors(5, 2)
    values = v[:, 0].conj() * v[:, 1]  # <Sp> of each
    expected = np.sqrt(np.var(values.real, ddof=1) + np.var(values.imag, ddof=1)) / np.sqrt(5) * student_factor(4)
    state = EnsembleState(lattice, v, groups=np.arange(5))
    assert math.isclose(state.standard_error([op("Sp", 0)])[0], expected, rel_tol=1e-12)
    assert math.isclose(student_factor(1), 13.9677 / 2, rel_tol=1e-4)  # Student's t at 97.725 %: tan(pi (p - 1/2))


def test_the_jackknife_is_the_standard_error_of_a_mean_and_knows_products():
    rng = np.random.default_rng(3)
    state = EnsembleState(LATTICE, random_vectors(15, 12, 3), groups=np.arange(15))
    z, n = op("Z", 0), op("N", 1)
    found = state.jackknife_error(lambda s: np.array([s.expect(z).real, s.expect(n).real]))
    assert np.allclose(found, state.standard_error([z, n]), rtol=1e-10)  # the same formula for linear functions
    product = state.jackknife_error(lambda s: s.expect(z).real * s.expect(n).real)
    a, b = state.expect(z).real, state.expect(n).real
    pulls = np.array(
        [[s.expect(o).real for o in (z, n)] for s in (EnsembleState(LATTICE, v[None]) for v in state.vectors())]
    )
    linearised = b * (pulls[:, 0] - a) + a * (pulls[:, 1] - b)
    expected = np.sqrt(np.sum(linearised**2) / (15 * 14)) * student_factor(14)
    assert math.isclose(product, expected, rel_tol=0.05)  # they differ in second order
    assert np.isnan(EnsembleState(LATTICE, random_vectors(15, 12)).jackknife_error(lambda s: s.purity()))
    truth = random_vectors(15, 12, 9)
    records = LocalRecords(((0,),), local_coefficients(truth, LATTICE.dims, (0,)), np.full(15, 1 / 15))
    recorded = EnsembleState(LATTICE, random_vectors(6, 12), groups=rng.integers(0, 15, 6), records=records)
    assert math.isclose(
        recorded.jackknife_error(lambda s: s.expect(z).real), recorded.standard_error([z])[0], rel_tol=1e-10
    )


def test_purity_is_biased_by_one_over_n_and_the_other_is_not():
    lattice = Chain(3, SpinHalf())
    plain, free = [], []
    for seed in range(200):
        state = EnsembleState(lattice, random_vectors(10, 8, seed), groups=np.arange(10))  # Haar: the mean is 1/8
        plain.append(state.purity())
        free.append(state.unbiased_purity())
    error = np.std(free) / np.sqrt(200)
    assert abs(np.mean(free) - 1 / 8) < 4 * error < 0.01
    assert abs(np.mean(plain) - (1 / 8 + (1 - 1 / 8) / 10)) < 4 * error


def test_round_trip_is_bit_for_bit(pair):
    basis = [np.array([1, 4, 6]), np.array([0, 2, 3, 5, 7, 8, 9, 10, 11])]
    values = local_coefficients(random_vectors(2, 12), LATTICE.dims, (0, 1))
    records = LocalRecords(((0, 1),), values, np.array([0.5, 0.5]))
    vectors = np.pad(random_vectors(3, 3), ((0, 0), (0, 6)))
    rich = EnsembleState(
        LATTICE, vectors, [1, 2, 3], groups=[0, 0, 1], sectors=[0, 0, 0], basis=basis, records=records, inflation=1.7
    )
    for state in (pair[0], rich):
        again = STATES["ensemble"].from_arrays(LATTICE, state.arrays(), state.attributes())
        assert again.attributes() == state.attributes()
        assert {k: v.tobytes() for k, v in again.arrays().items()} == {
            k: v.tobytes() for k, v in state.arrays().items()
        }
        assert again.expect_products(KEYS).tobytes() == state.expect_products(KEYS).tobytes()


def test_the_state_cannot_be_changed_from_outside():
    v = random_vectors(2, 12)
    state = EnsembleState(LATTICE, v)
    before = state.purity()
    v[0] = 0
    assert state.purity() == before
    with pytest.raises(ValueError, match="read-only"):
        state.vectors()[0, 0] = 1


@pytest.mark.parametrize(
    "arguments, field",
    [
        ({"vectors": np.ones((2, 5))}, "vectors"),
        ({"vectors": np.ones((0, 12))}, "vectors"),
        ({"vectors": np.full((2, 12), np.nan)}, "vectors"),
        ({"weights": [1.0]}, "weights"),
        ({"weights": [1.0, -1.0]}, "weights"),
        ({"weights": [0.0, 0.0]}, "weights"),
        ({"groups": [0]}, "groups"),
        ({"sectors": [0, 1]}, "sectors"),
    ],
)
def test_bad_input_names_the_argument(arguments, field):
    with pytest.raises(InputError) as caught:
        EnsembleState(LATTICE, **{"vectors": random_vectors(2, 12), **arguments})
    assert caught.value.field == field


def test_what_it_cannot_deliver_is_refused():
    with pytest.raises(InputError) as caught:
        EnsembleState(Chain(1, Boson(math.inf)), np.ones((1, 2)))
    assert caught.value.field == "levels"
    with pytest.raises(NotSupportedError):
        EnsembleState(LATTICE, random_vectors(2, 12)).unbiased_purity()
    big = Chain(13, SpinHalf())
    state = EnsembleState(big, np.eye(1, 2**13))
    with pytest.raises(NotSupportedError):
        state.to_dense()
    assert state.expect(op("Z", 12)) == 1 and state.purity() == 1
    with pytest.raises(InputError) as caught:
        state.reduced([1, 1])
    assert caught.value.field == "sites"
