"""Density matrices kept as orbits of operator strings."""

import math

import numpy as np
import pytest

from mpo_transport import Boson, Chain, InputError, Jump, Lindbladian, NotSupportedError, OpSum, SpinHalf, op
from mpo_transport.models import persistent_current
from mpo_transport.states import STATES, DenseState, OrbitState
from mpo_transport.superoperator import operator_matrix, to_hermitian
from mpo_transport.superoperator.orbits import find_orbits
from mpo_transport.superoperator.symmetric_sector import build_sector, plan_sector


def symmetric_state(kind, dims=(2, 2, 2, 2)):
    """A random density matrix, averaged over translations, as an OrbitState and as a matrix."""
    rng = np.random.default_rng(8)
    L, D = len(dims), math.prod(dims)
    a = rng.standard_normal((D, D)) + 1j * rng.standard_normal((D, D))
    rho = (a @ a.conj().T).reshape(dims + dims)
    group = np.array([[(j + r) % L for j in range(L)] for r in range(L)])
    total = sum(rho.transpose([*g, *(L + g)]) for g in group).reshape(D, D)
    total = 0.5 * total / np.trace(total)  # trace 1/2: answers are normalised
    orbits = find_orbits(dims, group)
    if kind == "hermitian":
        x = to_hermitian(total, dims).real
    else:
        x = total.reshape(dims + dims).transpose([k + s * L for k in range(L) for s in (0, 1)])
    space = SpinHalf() if dims[0] == 2 else Boson(dims[0])
    lattice = Chain(L, space)
    return OrbitState(lattice, orbits, orbits.restrict(x), kind), DenseState(lattice, total)


@pytest.mark.parametrize("dims", [(2, 2, 2, 2), (3, 3, 3)])
@pytest.mark.parametrize("kind", ["hermitian", "units"])
def test_orbit_state_answers_like_the_matrix(kind, dims):
    state, dense = symmetric_state(kind, dims)
    assert abs(state.trace() - 0.5) < 1e-14
    assert abs(state.purity() - dense.purity()) < 1e-14
    assert np.abs(state.to_dense() - dense.to_dense()).max() < 1e-14
    for sites in ([0], [2], [0, 1], [2, 0], [1, 0, 2], list(range(len(dims))), list(range(len(dims)))[::-1]):
        assert np.abs(state.reduced(sites) - dense.reduced(sites)).max() < 1e-14
    raising = "Sp" if dims[0] == 2 else "Adag"
    keys = [(("N", 0),), ((raising, 0), ("N", 2)), (("N", 1), (raising, 1)), (), tuple((raising, j) for j in range(3))]
    assert np.abs(state.expect_products(keys) - dense.expect_products(keys)).max() < 1e-13
    for cut in range(1, len(dims)):
        a, b = state.operator_schmidt(cut), dense.operator_schmidt(cut)
        assert np.abs(a - b[: len(a)]).max() < 1e-13
    assert abs(state.overlap(dense) - dense.overlap(dense)) < 1e-13
    assert abs(state.overlap(state) - dense.overlap(dense)) < 1e-13


def test_products_on_many_sites_need_no_matrix():
    model = persistent_current(7, 1.0, 0.5)
    sector = build_sector(plan_sector(model))
    z = np.random.default_rng(0).standard_normal(sector.size)
    state = OrbitState(model.lattice, sector.basis, sector.coefficients(z), "hermitian")
    key = tuple(("Z", j) for j in range(7))
    matrix = operator_matrix(model.lattice, OpSum({key: 1.0}))
    expected = np.trace(matrix @ state.to_dense())
    assert abs(state.expect_products([key])[0] - expected) < 1e-12 * abs(expected)


def test_orbit_state_is_stored_bit_for_bit():
    state, _ = symmetric_state("units")
    again = STATES["orbit"].from_arrays(state.lattice, state.arrays(), state.attributes())
    assert np.array_equal(again.coefficients, state.coefficients)
    assert np.array_equal(again.to_dense(), state.to_dense())


def test_orbit_state_refuses_bad_input():
    state, _ = symmetric_state("hermitian")
    orbits, lattice, c = state.basis, state.lattice, state.coefficients
    for arguments, name in (
        ((lattice, orbits, c, "pauli"), "strings"),
        ((Chain(4, Boson(3)), orbits, c, "hermitian"), "basis"),
        ((lattice, orbits, c[1:], "hermitian"), "coefficients"),
        ((lattice, orbits, c * np.nan, "hermitian"), "coefficients"),
    ):
        with pytest.raises(InputError) as error:
            OrbitState(*arguments)
        assert error.value.field == name
    with pytest.raises(InputError) as error:
        state.operator_schmidt(0)
    assert error.value.field == "cut"
    with pytest.raises(InputError) as error:
        state.reduced([0, 0])
    assert error.value.field == "sites"


def test_a_matrix_that_is_too_large_is_refused():
    plan = plan_sector(
        Lindbladian(Chain(13, SpinHalf()), None, [Jump(op("Sm", j)) for j in range(13)]), kind="hermitian"
    )
    tiny = find_orbits((2,) * 2, np.arange(2)[None, :])
    large = type(tiny)(plan.dims, plan.group, np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64))
    state = OrbitState(Chain(13, SpinHalf()), large, np.array([2.0**-6.5]), "hermitian")
    assert abs(state.trace() - 1) < 1e-14
    for ask in (state.to_dense, lambda: state.reduced(range(13)), lambda: state.operator_schmidt(7)):
        with pytest.raises(NotSupportedError):
            ask()
