"""The cluster mean-field equations against the partial trace of the exact Lindbladian."""

import numpy as np
import pytest

from mpo_transport import Boson, Graph, Jump, Lindbladian, Spin, SpinHalf, op
from mpo_transport.methods import ClusterMeanField
from mpo_transport.methods.cluster_equations import build_equations, contiguous_clusters, is_shift_invariant
from mpo_transport.models import persistent_current
from mpo_transport.result import Status
from mpo_transport.states import ClusterState
from mpo_transport.superoperator import local_generators, sparse_lindbladian


def random_state(rng, D):
    a = rng.normal(size=(D, D)) + 1j * rng.normal(size=(D, D))
    rho = a @ a.conj().T
    return rho / np.trace(rho)


def rich_model(rng, periodic=True):
    """Six spins with random complex couplings and terms that join three clusters of two."""
    L = 6
    bonds = L if periodic else L - 1

    def c(n):
        return rng.normal(size=n) + 1j * rng.normal(size=n)

    base = persistent_current(
        L,
        c(bonds),
        c(bonds),
        beta=c(bonds),
        gamma=c(bonds),
        mu=rng.normal(size=L),
        J=c(bonds),
        lam=c(bonds),
        eps_x=0.3,
        eps_zz=rng.normal(size=bonds),
        kappa=0.2,
        periodic=periodic,
    )
    h = (0.3 + 0.2j) * op("Sp", 0) * op("X", 2) * op("Sp", 4) + 0.7j * op("Z", 1) * op("Sm", 2) * op("Sp", 5) * op(
        "X", 5
    )
    jump = op("Sm", 0) * op("X", 3) + 0.4j * op("Sp", 5) + 0.2 * op("Z", 2) * op("Sp", 2) * op("Sm", 4)
    return Lindbladian(base.lattice, base.hamiltonian + h + h.dag, [*base.jumps, Jump(jump, rate=0.7)])


def mixed_spaces_model():
    """A boson, a spin 1 and spins 1/2 on a graph, with a term on all of them."""
    lattice = Graph([(0, 1), (1, 2), (2, 3), (0, 3)], [Boson(3), SpinHalf(), Spin(1), SpinHalf()])
    h = op("Adag", 0) * op("Sm", 1) * op("Sp", 2) * op("Z", 3) + 0.3j * op("A", 0) * op("Sp", 3)
    jumps = [Jump(op("A", 0) + 0.5j * op("Sm", 2), rate=0.8), Jump(op("Sp", 3) + 0.2 * op("Sz", 2) * op("Sm", 1))]
    return Lindbladian(lattice, h + h.dag, jumps)


def check_against_partial_trace(model, size, rng):
    lattice, clusters = model.lattice, contiguous_clusters(model.L, size)
    equations = build_equations(model, clusters, len(clusters))
    rhos = [random_state(rng, equations.cluster_dimension(c)) for c in range(len(clusters))]
    full = ClusterState(lattice, clusters, rhos).to_dense()
    D = len(full)
    change = (sparse_lindbladian(model) @ full.ravel()).reshape(D, D)
    x = equations.pack(rhos)
    for sites, got in zip(clusters, equations.unpack(equations.rhs(x)), strict=True):
        before = int(np.prod([lattice.dims[s] for s in range(sites[0])]))
        inner = int(np.prod([lattice.dims[s] for s in sites]))
        shape = (before, inner, D // before // inner)
        expected = np.einsum("aibajb->ij", change.reshape(shape + shape))
        assert np.abs(got - expected).max() < 1e-13 * max(np.abs(expected).max(), 1.0)
    return equations, x


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("periodic", [True, False])
def test_equations_are_the_partial_trace_of_the_exact_generator(size, periodic):
    rng = np.random.default_rng(10 * size + periodic)
    equations, x = check_against_partial_trace(rich_model(rng, periodic), size, rng)
    # the Jacobian of a polynomial, to rounding, by a complex step
    v, h = rng.normal(size=equations.size), 1e-30
    derivative = np.imag(equations.rhs(x + 1j * h * v)) / h
    np.testing.assert_allclose(equations.jacobian(x) @ v, derivative, atol=1e-12 * equations.rate)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_equations_with_different_local_spaces(size):
    check_against_partial_trace(mixed_spaces_model(), size, np.random.default_rng(size))


@pytest.mark.parametrize(("L", "size"), [(6, 1), (6, 2), (6, 3), (4, 2)])
def test_uniform_equations_agree_with_those_of_all_clusters(L, size):
    rng = np.random.default_rng(3)
    model = persistent_current(L, 1.2 + 0.3j, 0.7 - 0.1j, J=0.4j, lam=0.3, flux=0.7, eps_zz=0.4, eps_x=0.2)
    clusters = contiguous_clusters(L, size)
    one, all_ = build_equations(model, clusters, 1), build_equations(model, clusters, len(clusters))
    x = one.pack([random_state(rng, 2**size)])
    tiled = np.tile(x, len(clusters))
    np.testing.assert_allclose(np.tile(one.rhs(x), len(clusters)), all_.rhs(tiled), atol=1e-13 * one.rate)
    # plane waves exp(i k c) of perturbations see the Jacobian at momentum k
    dense = all_.jacobian(tiled).toarray()
    for m in range(len(clusters)):
        k = 2 * np.pi * m / len(clusters)
        v = rng.normal(size=one.size)
        wave = np.concatenate([v * np.exp(1j * k * c) for c in range(len(clusters))])
        at_k = one.jacobian(x, k) @ v if k else one.jacobian(x) @ v
        np.testing.assert_allclose((dense @ wave)[: one.size], at_k, atol=1e-12 * one.rate)


def test_shift_invariance_is_found():
    def invariant(model, shift):
        return is_shift_invariant(model, local_generators(model), shift)

    assert invariant(persistent_current(6, 2.0, 1j, J=0.3j, flux=0.4), 1)
    alternating = persistent_current(6, 2.0, 1.0, mu=[1.0, 0.5] * 3, J=[0.1j, 0.2] * 3)
    assert invariant(alternating, 2) and not invariant(alternating, 1) and not invariant(alternating, 3)
    assert not invariant(persistent_current(6, 2.0, 1.0, J=[0.1] * 5 + [0.2]), 2)
    assert not invariant(persistent_current(6, 2.0, 1.0, periodic=False), 2)
    # a directed coupling that points the other way across the closing bond
    assert not invariant(persistent_current(4, 2.0, 1.0, J=[0.1j, 0.1j, 0.1j, -0.1j]), 2)


def test_graph_of_different_spaces():
    model = mixed_spaces_model()
    losses = [Jump(op("A", 0)), Jump(op("Sm", 1), rate=0.3), Jump(op("Sm", 2), rate=0.4), Jump(op("Sp", 3), rate=0.2)]
    model = Lindbladian(model.lattice, model.hamiltonian, [*model.jumps, *losses])
    method = ClusterMeanField(branch="auto")
    work = method.prepare(model, tol=1e-8, seed=0)
    iterate, diagnostics = method.advance(work, method.start(work, None))
    assert diagnostics.status is Status.CONVERGED and iterate.state.partition == ((0, 1), (2, 3))
    change = (sparse_lindbladian(model) @ iterate.state.to_dense().ravel()).reshape(6, 6, 6, 6)
    assert max(np.abs(np.einsum("iaja->ij", change)).max(), np.abs(np.einsum("aiaj->ij", change)).max()) < 1e-12
