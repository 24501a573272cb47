"""Random handwritten models: every method against the null space of a Lindbladian written out with Kronecker products.

The reference below shares nothing with the package but the matrices of the local operators.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from mpo_transport import (
    TEBD,
    Boson,
    Chain,
    ClusterMeanField,
    ExactDiag,
    Graph,
    Jump,
    Lindbladian,
    LocalSpace,
    OpSum,
    Spin,
    SpinHalf,
    Status,
    evolve,
    identity,
    op,
    steady_state,
)
from mpo_transport.states import DenseState

pytestmark = pytest.mark.physics
LARGEST = 16  # Hilbert-space dimension
RANDOM = settings(max_examples=18, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SEEDS = st.integers(0, 10**9)


# -- the generator of models -------------------------------------------------------------------------------------------


def random_space(rng):
    kind = rng.integers(5)
    if kind < 2:
        return SpinHalf()
    if kind == 2:
        return Spin(1)
    if kind == 3:
        return Boson(3)
    K = rng.normal(size=(2, 2)) + 1j * rng.normal(size=(2, 2))
    return LocalSpace("own", 2, {"K": K, "G": K + K.conj().T}, label=f"own{rng.integers(10**9)}")


def random_lattice(rng):
    L = int(rng.integers(1, 5))
    spaces = [random_space(rng) for _ in range(L)]
    while np.prod([s.dim for s in spaces]) > LARGEST:
        spaces[int(rng.integers(L))] = SpinHalf()
    shape = rng.integers(3)
    if shape == 0 and L >= 3:
        return Chain(L, spaces, periodic=True)
    if shape == 1 and L >= 2:
        pairs = [(i, j) if rng.random() < 0.5 else (j, i) for i in range(L) for j in range(i + 1, L)]
        return Graph([p for p in pairs if rng.random() < 0.5], spaces, L=L)
    return Chain(L, spaces)


@dataclass
class Text:
    """Random operators on a lattice."""

    lattice: Chain | Graph
    rng: np.random.Generator

    def number(self):
        return complex(self.rng.normal(), self.rng.normal())

    def product(self, factors):
        out = identity()
        for s in self.rng.choice(self.lattice.L, size=min(factors, self.lattice.L), replace=False):
            names = [n for n in self.lattice.spaces[s].operators if n != "I"]
            dag = ".dag" if self.lattice.spaces[s].kind == "own" and self.rng.random() < 0.5 else ""
            out = out * op(names[self.rng.integers(len(names))] + dag, int(s))
        return out

    def sum(self, terms, factors):
        products = (self.number() * self.product(int(self.rng.integers(1, factors + 1))) for _ in range(terms))
        return sum(products, OpSum())


def random_model(seed, dissipated):
    """Products on up to three sites in H, jumps that are sums of products, constants, rates of zero, idle sites.

    With ``dissipated`` every site has a jump of its own, so that the steady state is unique.
    """
    rng = np.random.default_rng(seed)
    lattice = random_lattice(rng)
    text = Text(lattice, rng)
    h = text.sum(int(rng.integers(0, 2 * lattice.L + 1)), 3)
    jumps = [Jump(text.sum(int(rng.integers(1, 4)), 2), float(rng.exponential())) for _ in range(rng.integers(0, 3))]
    jumps += [Jump(text.sum(1, 2) + 0.3, 0.4), Jump(text.sum(2, 2), 0.0)] if rng.random() < 0.5 else []
    if dissipated:
        for j, space in enumerate(lattice.spaces):
            first, *_, last = (n for n in space.operators if n != "I")
            jumps.append(Jump(op(first, j) + 0.4j * op(last, j), 0.6))
    return Lindbladian(lattice, h + h.dag, jumps)


# -- the reference -----------------------------------------------------------------------------------------------------


def matrix(lattice, operator):
    dims = [int(d) for d in lattice.dims]
    total = np.zeros((int(np.prod(dims)),) * 2, dtype=complex)
    for key, c in operator:
        factors = [np.eye(d) for d in dims]
        for name, site in key:
            factors[site] = factors[site] @ lattice.spaces[site].matrix(name)
        total += c * reduce(np.kron, factors)
    return total


def superoperator(model):
    h = matrix(model.lattice, model.hamiltonian)
    one = np.eye(len(h))
    out = -1j * (np.kron(h, one) - np.kron(one, h.T))
    for jump in model.jumps:
        a = matrix(model.lattice, jump.operator)
        b = a.conj().T @ a
        out += jump.rate * (np.kron(a, a.conj()) - 0.5 * (np.kron(b, one) + np.kron(one, b.T)))
    return out


def null_space(generator):
    _, s, v = np.linalg.svd(generator)
    count = int(np.sum(s < 1e-10 * max(s[0], 1e-300))) or int(s[0] == 0)
    assume(s[-1 - count] > 1e-4 * s[0] if count < len(s) else True)  # neither zero nor not: nothing to compare with
    rho = v[-1].conj().reshape((round(len(s) ** 0.5),) * 2)
    return count, rho / np.trace(rho) if count == 1 else rho


def local_error(state, rho):
    """Largest error of a named operator, or of a product of two on a bond, in units of the operator norm."""
    lattice = state.lattice
    names = [[n for n in s.operators if n != "I"] for s in lattice.spaces]
    keys = [((n, j),) for j in range(lattice.L) for n in names[j]]
    keys += [((a, i), (b, j)) for i, j in lattice.bonds for a in names[i] for b in names[j]]
    norms = [np.prod([np.linalg.norm(lattice.spaces[s].matrix(n), 2) for n, s in key]) for key in keys]
    exact = DenseState(lattice, rho).expect_products(keys)
    return float(np.max(np.abs(state.expect_products(keys) - exact) / norms))


# -- the tests ---------------------------------------------------------------------------------------------------------


@RANDOM
@given(seed=SEEDS)
def test_unique_steady_states(seed):
    model = random_model(seed, dissipated=True)
    generator = superoperator(model)
    count, rho = null_space(generator)
    assume(count == 1)
    methods = [
        (ExactDiag(), 1e-6),
        (TEBD(), 1e-3),
        (ClusterMeanField(size=model.L), 1e-6),  # one cluster: nothing is approximated
    ]
    for method, tol in methods:
        result = steady_state(model, method, tol=tol, on_failure="return")
        certificate = result.certificate
        if method.name == "TEBD" and result.status is Status.NOT_CONVERGED:
            continue  # slow modes; it says so
        assert result.status is Status.CONVERGED, method.name
        x = result.state.to_dense().ravel()
        residual = np.linalg.norm(generator @ x) / np.linalg.norm(x)
        rounding = 1e-13 * np.linalg.norm(generator, 1)
        assert certificate.residual == pytest.approx(residual, rel=1e-3, abs=rounding), method.name
        error = local_error(result.state, rho)
        if method.name == "ClusterMeanField":
            assert error < 1e-8
        else:
            assert error <= certificate.error_estimate + 1e-13 <= tol + 1e-13, method.name
        if method.name == "ExactDiag":
            assert certificate.null_space == 1
        assert certificate.smallest_eigenvalue > -10 * tol and abs(certificate.trace - 1) < tol


@RANDOM
@given(seed=SEEDS)
def test_the_number_of_stationary_operators(seed):
    """Idle sites, no jumps, disconnected parts: mostly degenerate.  ExactDiag counts; no method breaks."""
    model = random_model(seed, dissipated=False)
    generator = superoperator(model)
    count, _ = null_space(generator)
    result = steady_state(model, ExactDiag(), on_failure="return")
    assert result.certificate.null_space == count
    assert result.status is (Status.CONVERGED if count == 1 else Status.NOT_UNIQUE)
    x = result.state.to_dense()
    scale = max(np.linalg.norm(generator, 1), 1.0)
    assert np.linalg.norm(generator @ x.ravel()) < 1e-11 * scale and np.linalg.eigvalsh(x).min() > -1e-9
    for member in result.manifold:
        assert np.linalg.norm(generator @ member.to_dense().ravel()) < 1e-9 * scale
    cluster = steady_state(model, ClusterMeanField(size=model.L), on_failure="return")
    assert cluster.status in (Status.CONVERGED, Status.NOT_UNIQUE)
    if count > 1:
        assert cluster.status is Status.NOT_UNIQUE
    y = cluster.state.to_dense().ravel()
    assert np.linalg.norm(generator @ y) < 1e-9 * scale


@RANDOM
@given(seed=SEEDS)
def test_time_evolution(seed):
    model = random_model(seed, dissipated=bool(seed % 2))
    rng = np.random.default_rng(seed + 1)
    initial = []
    for space in model.lattice.spaces:
        v = rng.normal(size=(int(space.dim), 2)) + 1j * rng.normal(size=(int(space.dim), 2))
        initial.append(v @ v.conj().T / np.linalg.norm(v) ** 2)
    start = reduce(np.kron, initial)
    time = 0.4
    rho = (expm(superoperator(model) * time) @ start.ravel()).reshape(start.shape)
    for method, tol in [(ExactDiag(), 1e-6), (TEBD(), 1e-3), (ClusterMeanField(size=model.L), 1e-6)]:
        out = evolve(model, initial, [0.5 * time, time], {"N": op("I", 0)}, method, tol=tol)
        assert out.converged and np.allclose(out.values["N"], 1.0)
        error = local_error(out.state, rho)
        assert error < tol, method.name
        if method.name != "ClusterMeanField":  # makes no claim
            assert error <= out.certificate.error_estimate + 1e-13 <= tol, method.name
