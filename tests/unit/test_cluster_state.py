"""Products of cluster density matrices against their dense form."""

import json

import numpy as np
import pytest

from mpo_transport import Chain, Spin, SpinHalf
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.states import ClusterState


def random_state(rng, D):
    a = rng.normal(size=(D, D)) + 1j * rng.normal(size=(D, D))
    rho = a @ a.conj().T
    return rho / np.trace(rho)


@pytest.fixture
def scattered():
    """Clusters that are not contiguous, of different spaces, two of them sharing a matrix, not normalised."""
    rng = np.random.default_rng(11)
    lattice = Chain(5, [SpinHalf(), Spin(1), SpinHalf(), SpinHalf(), SpinHalf()])
    matrices = [2.0 * random_state(rng, 6), 0.5 * random_state(rng, 2), random_state(rng, 4)]
    return ClusterState(lattice, [(3, 1), (0,), (2, 4)], matrices), matrices


def test_state_agrees_with_its_dense_form(scattered):
    state, matrices = scattered
    dense = state.to_dense()
    expected = np.kron(np.kron(matrices[0], matrices[1]), matrices[2])  # sites 3, 1, 0, 2, 4
    legs = [2, 3, 2, 2, 2]
    axes = [2, 1, 3, 0, 4]
    expected = expected.reshape(legs + legs).transpose(axes + [5 + a for a in axes]).reshape(48, 48)
    np.testing.assert_allclose(dense, expected / np.trace(expected), atol=1e-14)
    assert state.trace() == pytest.approx(1.0) and state.purity() == pytest.approx(np.vdot(dense, dense).real)
    products = [(), (("Sp", 0), ("Sm", 3), ("Sz", 1)), (("Sp", 1), ("Sm", 1), ("X", 4)), (("Y", 2), ("Z", 2))]
    direct = []
    for key in products:
        operator = np.eye(1)
        for site, space in enumerate(state.lattice.spaces):
            local = np.eye(int(space.dim))
            for name, s in key:
                local = local @ space.matrix(name) if s == site else local
            operator = np.kron(operator, local)
        direct.append(np.trace(operator @ dense))
    np.testing.assert_allclose(state.expect_products(products), direct, atol=1e-14)
    swapped = state.reduced([4, 0, 2])
    full = dense.reshape(2, 3, 2, 2, 2, 2, 3, 2, 2, 2)
    np.testing.assert_allclose(swapped, np.einsum("abcdeAbCdE->eacEAC", full).reshape(8, 8), atol=1e-14)
    for cut in range(1, 5):
        left = int(np.prod([2, 3, 2, 2, 2][:cut]))
        right = 48 // left
        values = np.linalg.svd(
            dense.reshape(left, right, left, right).transpose(0, 2, 1, 3).reshape(left**2, right**2), compute_uv=False
        )
        got = state.operator_schmidt(cut)
        assert np.sum(got**2) == pytest.approx(1.0) and np.all(np.diff(got) <= 0)
        values = values / np.linalg.norm(values)
        common = min(len(got), len(values))
        np.testing.assert_allclose(got[:common], values[:common], atol=1e-13)
        assert max([0.0, *got[common:], *values[common:]]) < 1e-13


def test_state_at_cluster_boundaries_and_overlaps():
    chain, rho = Chain(6, SpinHalf()), random_state(np.random.default_rng(2), 4)
    state = ClusterState(chain, [(0, 1), (2, 3), (4, 5)], [rho], owner=[0, 0, 0])
    assert list(state.arrays()) == ["matrix_0"]
    assert state.operator_schmidt(2).tolist() == [1.0]
    inside = state.operator_schmidt(3)
    assert len(inside) == 4 and inside[1] > 1e-2
    other = ClusterState(chain, [[j] for j in range(6)], [np.eye(2)] * 6)
    assert state.overlap(other) == pytest.approx(2.0**-6)
    assert state.overlap(state) == pytest.approx(state.purity())
    assert state.purity() == pytest.approx(np.vdot(rho, rho).real ** 3)
    long = ClusterState(Chain(30, SpinHalf()), [(2 * c, 2 * c + 1) for c in range(15)], [rho], owner=[0] * 15)
    assert long.purity() == pytest.approx(np.vdot(rho, rho).real ** 15)
    with pytest.raises(NotSupportedError, match="whole density matrix"):
        long.to_dense()


def test_state_round_trip_and_refusals(scattered):
    state, _ = scattered
    attributes = json.loads(json.dumps(state.attributes()))
    again = ClusterState.from_arrays(state.lattice, state.arrays(), attributes)
    assert all(np.array_equal(a, b) for a, b in zip(again.matrices, state.matrices, strict=True))
    assert again.partition == state.partition and again.owner == state.owner
    chain = Chain(2, SpinHalf())
    good = np.eye(2) / 2
    for arguments, field in [
        (([(0,)], [good]), "partition"),
        (([(0,), (0, 1)], [good, np.eye(4)]), "partition"),
        (([(0,), (1,)], [good, np.eye(4)]), "matrices"),
        (([(0,), (1,)], [good, np.array([[1, 1], [0, 0]])]), "matrices"),
        (([(0,), (1,)], [good, np.full((2, 2), np.nan)]), "matrices"),
        (([(0,), (1,)], [good], [0, 1]), "owner"),
    ]:
        with pytest.raises(InputError, match=f"`{field}`") as error:
            ClusterState(chain, *arguments)
        assert error.value.field == field
    with pytest.raises(InputError, match="`sites`"):
        state.reduced([0, 0])
    with pytest.raises(InputError, match="`cut`"):
        state.operator_schmidt(5)
