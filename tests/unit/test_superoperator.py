"""The numerical forms of one symbolic Lindbladian: identities, and agreement of all forms on random models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpo_transport import Boson, Chain, Graph, Jump, Lindbladian, OpSum, Spin, SpinHalf, models, op
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.superoperator import (
    MatrixFreeLindbladian,
    dense_lindbladian,
    from_hermitian,
    gate,
    hermitian_basis,
    hermitian_lindbladian,
    local_generators,
    operator_matrix,
    operator_vector,
    pair_generators,
    spectral_radius,
    superoperator_factor,
    to_hermitian,
)
from mpo_transport.superoperator.terms import embed

LOCAL = {"spin": ["Sp", "Sm", "X", "Y", "Z", "N"], "boson": ["A", "Adag", "N", "Q"]}


def random_model(seed: int, spaces=None, periodic: bool = True, three_body: bool = True) -> Lindbladian:
    """A model with nothing symmetric about it: every kind of term the text allows."""
    rng = np.random.default_rng(seed)
    spaces = spaces or [SpinHalf(), Boson(3), SpinHalf()]
    lattice = Chain(len(spaces), spaces, periodic=periodic and len(spaces) > 2)

    def factor(j):
        names = ["Sp", "Sm", "Sx", "Sy", "Sz"] if spaces[j].kind == "spin" else LOCAL["boson"]
        return op(str(rng.choice(names)), j)

    def number():
        return complex(*rng.normal(size=2))

    h = OpSum()
    for i, j in lattice.bonds:
        term = number() * factor(i) * factor(j)
        h = h + term + term.dag
    if three_body and len(spaces) > 2:
        term = number() * factor(0) * factor(1) * factor(2)
        h = h + term + term.dag
    sums = [sum((number() * factor(j) for j in range(len(spaces))), OpSum()) for _ in range(2)]
    products = [number() * factor(0) * factor(1) + number() * factor(len(spaces) - 1) + 0.3j]
    jumps = [Jump(o, rate=float(r)) for o, r in zip(sums + products, rng.uniform(0.1, 2, 3), strict=True)]
    return Lindbladian(lattice, h, jumps)


def random_density(dims, seed):
    rng = np.random.default_rng(seed)
    D = int(np.prod(dims))
    a = rng.normal(size=(D, D)) + 1j * rng.normal(size=(D, D))
    return a @ a.conj().T / np.trace(a @ a.conj().T).real


@pytest.mark.parametrize("d", [2, 3, 4, 5])
def test_hermitian_basis_is_orthonormal_hermitian_and_starts_with_the_identity(d):
    basis = hermitian_basis(d)
    gram = np.einsum("kab,lba->kl", basis, basis)
    assert np.allclose(gram, np.eye(d * d), atol=1e-14)
    assert np.array_equal(basis, basis.conj().transpose(0, 2, 1))
    assert np.allclose(basis[0], np.eye(d) / np.sqrt(d))


def test_spin_half_basis_is_the_pauli_basis_with_up_first():
    x, y, z = hermitian_basis(2)[1:] * np.sqrt(2)
    space = SpinHalf()
    for matrix, name in zip((x, y, z), "XYZ", strict=True):
        assert np.allclose(matrix, space.matrix(name))
    # sigma^y must have the sign that makes sigma^+ = (X + iY)/2 raise the second state to the first
    assert np.allclose((x + 1j * y) / 2, [[0, 1], [0, 0]])


@pytest.mark.parametrize("dims", [(2,), (3,), (2, 3), (2, 2, 2), (3, 2, 4)])
def test_transforms_are_inverse_and_isometric(dims):
    rho = random_density(dims, 1)
    x = to_hermitian(rho, dims)
    assert x.shape == tuple(d * d for d in dims)
    assert np.abs(x.imag).max() < 1e-15
    assert np.allclose(from_hermitian(x.real, dims), rho, atol=1e-15)
    assert np.isclose(np.linalg.norm(x), np.linalg.norm(rho))
    assert np.isclose(x.ravel()[0].real * np.sqrt(np.prod(dims)), 1)  # the first coefficient is the trace


def test_operator_vector_gives_expectation_values_of_operators_that_are_not_hermitian():
    rho = random_density((3,), 4)
    a = Boson(3).matrix("A") + 0.3j * np.eye(3)
    assert np.isclose(operator_vector(a) @ to_hermitian(rho, (3,)), np.trace(a @ rho), atol=1e-14)


def test_superoperator_factor_is_left_and_right_multiplication_in_that_order():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3)) for _ in range(2))
    rho = random_density((3,), 2)
    image = superoperator_factor(a, b) @ to_hermitian(rho, (3,))
    assert np.allclose(from_hermitian(image.real, (3,)) + 1j * from_hermitian(image.imag, (3,)), a @ rho @ b)


@pytest.mark.parametrize("spaces", [None, [Spin(1), SpinHalf()], [Boson(2), Boson(4), SpinHalf()]], ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_all_forms_agree_and_preserve_trace_and_hermiticity(seed, spaces):
    model = random_model(seed, spaces)
    dims = tuple(int(d) for d in model.lattice.dims)
    dense = dense_lindbladian(model)
    scale = np.abs(dense).max()
    real = hermitian_lindbladian(model)
    assert real.dtype == np.float64
    assert np.abs(real[[0]].toarray()).max() < 1e-13 * scale  # trace preservation: first row
    D = int(np.prod(dims))
    assert np.abs(np.eye(D).ravel() @ dense).max() < 1e-13 * scale * D
    rho = random_density(dims, seed + 10)
    image = (dense @ rho.ravel()).reshape(D, D)
    assert np.abs(image - image.conj().T).max() < 1e-13 * scale
    x = to_hermitian(rho, dims).real
    expected = to_hermitian(image, dims).real
    matrix_free = MatrixFreeLindbladian(model)
    assert np.abs(real @ x.ravel() - expected.ravel()).max() < 1e-13 * scale
    assert np.abs(matrix_free(x) - expected).max() < 1e-13 * scale
    y = np.random.default_rng(5).normal(size=x.shape)
    assert np.isclose(np.vdot(matrix_free.adjoint(y), x), np.vdot(y, matrix_free(x)), rtol=1e-12)
    # directly from the master equation
    h = operator_matrix(model.lattice, model.hamiltonian).toarray()
    direct = -1j * (h @ rho - rho @ h)
    for jump in model.jumps:
        k = operator_matrix(model.lattice, jump.operator).toarray()
        kk = k.conj().T @ k
        direct = direct + jump.rate * (k @ rho @ k.conj().T - 0.5 * (kk @ rho + rho @ kk))
    assert np.abs(direct - image).max() < 1e-13 * scale


def test_local_generators_each_preserve_the_trace_and_sum_to_the_whole():
    model = random_model(3)
    generators = local_generators(model)
    dims = tuple(int(d) for d in model.lattice.dims)
    assert {len(s) for s in generators} >= {1, 2, 3}
    for g in generators.values():
        assert np.abs(g[0]).max() < 1e-13 * np.abs(g).max()
    whole = sum(embed(g, s, (0, 1, 2), dims) for s, g in generators.items())
    assert np.allclose(whole, hermitian_lindbladian(model).toarray(), atol=1e-12)
    pairs = pair_generators(generators, dims)
    assert min(len(s) for s in pairs) == 2
    again = sum(embed(g, s, (0, 1, 2), dims) for s, g in pairs.items())
    assert np.allclose(whole, again, atol=1e-12)


def test_equal_pair_generators_are_one_array():
    # a chain of many levels would otherwise copy 134 MB per bond
    noise = [0.0, 0.0, 0.3, 0.3, 0.3, 0.0]
    model = models.boundary_driven_xx(L=6, t=1.0, G_L=1.0, f_L=0.8, G_R=1.0, f_R=0.2, dephasing=noise)
    pairs = pair_generators(local_generators(model), (2,) * 6)
    assert pairs[2, 3] is pairs[3, 4]
    assert pairs[0, 1] is not pairs[1, 2] and not np.array_equal(pairs[1, 2], pairs[4, 5])


def test_pair_generators_keep_a_site_that_no_pair_contains():
    model = Lindbladian(Chain(2, SpinHalf()), op("Z", 0), [Jump(op("Sm", 1))])
    assert set(pair_generators(local_generators(model), (2, 2))) == {(0,), (1,)}


def test_ring_closing_bond_and_graph_edges_are_where_they_should_be():
    ring = models.persistent_current(L=5, alpha=1.0, delta=0.5)
    assert (0, 4) in local_generators(ring)
    star = Graph([(1, 0), (3, 1)], SpinHalf(), L=4)
    h = sum(((op("Sp", i) * op("Sm", j) + op("Sm", i) * op("Sp", j)) for i, j in star.bonds), OpSum())
    assert set(local_generators(Lindbladian(star, h, []))) == {(0, 1), (1, 3)}


def test_unbounded_modes_have_no_matrices_but_say_so():
    model = models.persistent_current(L=3, alpha=1.0, delta=0.2, levels=float("inf"))
    with pytest.raises(NotSupportedError, match="unbounded mode") as error:
        local_generators(model)
    assert error.value.field == "levels"


def test_gates_compose_and_an_overflowing_step_is_explained():
    g = next(iter(local_generators(models.persistent_current(L=2, alpha=2.0, delta=1.0, periodic=False)).values()))
    assert np.allclose(gate(g, 0.1) @ gate(g, 0.2), gate(g, 0.3), atol=1e-14)
    assert np.allclose(gate(g, 0.3)[0], np.eye(len(g))[0], atol=1e-14)  # trace preservation
    with pytest.raises(InputError, match="overflow") as error:
        gate(g, -1e4)
    assert error.value.field == "dt"


def test_spectral_radius_of_a_damped_spin_is_its_population_decay_rate():
    model = Lindbladian(Chain(1, SpinHalf()), None, [Jump(op("Sm", 0), rate=0.7)])
    assert np.isclose(spectral_radius(local_generators(model)[(0,)]), 0.7)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_random_models_dissipate_onto_real_trace_preserving_generators(seed, periodic):
    model = random_model(seed, periodic=periodic)
    real = hermitian_lindbladian(model).toarray()
    assert np.abs(real[0]).max() < 1e-12 * max(np.abs(real).max(), 1)
    assert np.linalg.eigvals(real).real.max() < 1e-9 * np.abs(real).max()  # no growing mode
