"""Implicit sweeps beyond open chains: rings, patches of a square lattice by a snake, couplings of any range."""

import numpy as np
import pytest
import systems

import mpo_transport as mt
from mpo_transport import Chain, Graph, ImplicitSweeps, Jump, Lindbladian, OpSum, SpinHalf, models, op
from mpo_transport import observables as obs
from mpo_transport.superoperator.mpo import lindbladian_mpo

pytestmark = pytest.mark.physics


@pytest.mark.parametrize("L", [9, 10])
def test_rings_to_eight_digits(L):
    arguments, values, uncertainty = systems.load_reference(f"fig5-ring-L{L}")
    model = models.persistent_current(**arguments)
    result = mt.steady_state(model, ImplicitSweeps(), tol=1e-8)
    current = obs.current(model, "eta")
    value, claimed = result.expect(current, error=True)
    assert result.converged
    assert np.abs(value - values[0]).max() <= np.max(claimed) + uncertainty
    assert np.ptp(value) <= 2 * np.max(claimed)  # the ring is uniform although the fold is not


@pytest.mark.slow
def test_long_ring_meets_the_infinite_chain():
    ring = models.persistent_current(L=100, alpha=2.0, delta=1.5)
    cell = models.persistent_current(L=4, alpha=2.0, delta=1.5)
    value, error = mt.steady_state(ring, ImplicitSweeps(), tol=1e-6).expect(obs.current(ring, "eta"), error=True)
    bulk, width = mt.steady_state(cell, mt.InfiniteTEBD(), tol=1e-6).expect(obs.current(cell, "eta"), error=True)
    assert np.abs(value - bulk.mean()).max() <= np.max(error) + np.max(width)


@pytest.mark.slow
def test_a_thousand_sites():
    """The ends of a long chain are those of a shorter one, its bulk is that of the infinite chain."""
    long, short = (models.persistent_current(L=L, alpha=2.0, delta=1.0, periodic=False) for L in (1000, 40))
    result = mt.steady_state(long, ImplicitSweeps(), tol=1e-5)
    fine = mt.steady_state(short, ImplicitSweeps(), tol=1e-7)
    claim = result.certificate.error_estimate
    for observable in ((lambda m: obs.current(m, "eta")), (lambda m: obs.profile(m, "Z"))):
        a, b = (np.asarray(r.expect(observable(r.model))) / observable(r.model).norm for r in (result, fine))
        assert np.abs(a[:15] - b[:15]).max() <= claim + 1e-7
        assert np.abs(a[-15:] - b[-15:]).max() <= claim + 1e-7
        assert np.abs(a[20:-20] - b[20]).max() <= claim + 1e-6


def patch(rows, columns, seed=3):
    """Spins on a patch of the square lattice, row by row to and fro, all couplings and baths different."""
    rng = np.random.default_rng(seed)
    snake = {}
    for i in range(rows):
        for k, j in enumerate(range(columns) if i % 2 == 0 else reversed(range(columns))):
            snake[i, j] = i * columns + k
    size = rows * columns
    edges = [(snake[i, j], snake[i, j + 1]) for i in range(rows) for j in range(columns - 1)]
    edges += [(snake[i, j], snake[i + 1, j]) for i in range(rows - 1) for j in range(columns)]
    adjacency = np.zeros((size, size), dtype=int)
    for a, b in edges:
        adjacency[a, b] = adjacency[b, a] = 1
    h = OpSum()
    for a, b in edges:
        h += rng.uniform(0.5, 1.5) * (op("Sp", a) * op("Sm", b) + op("Sm", a) * op("Sp", b))
        h += rng.uniform(0.2, 0.6) * op("Z", a) * op("Z", b)
    jumps = []
    for j in range(size):
        jumps.append(Jump(op("Sp", j), rate=rng.uniform(0.1, 0.9)))
        jumps.append(Jump(op("Sm", j), rate=rng.uniform(0.1, 0.9)))
    return Lindbladian(Graph(adjacency, SpinHalf()), h, jumps)


@pytest.mark.parametrize("shape", [(2, 3), pytest.param((3, 3), marks=pytest.mark.slow)], ids=str)
def test_patches_of_the_square_lattice(shape):
    model = patch(*shape)
    exact = mt.steady_state(model, mt.ExactDiag())
    tol = 1e-4 if shape == (2, 3) else 1e-3  # three rows need bond dimensions beyond 128 for 1e-4
    result = mt.steady_state(model, ImplicitSweeps(), tol=tol)
    z = obs.profile(model, "Z")
    error = np.abs(result.expect(z) - exact.expect(z)).max()
    assert error <= result.certificate.error_estimate <= tol


def long_ranged(L, coupling):
    """An asymmetric lossy chain with couplings ``coupling(distance)`` X X between all pairs of sites."""
    h = sum((0.3 * (j + 1) / L * op("Z", j) for j in range(L)), OpSum())
    for i in range(L):
        for j in range(i + 1, L):
            g = coupling(j - i)
            if g:
                h += g * op("X", i) * op("X", j)
    jumps = [Jump(op("Sm", j), rate=0.5 + 0.1 * j) for j in range(L)]
    return Lindbladian(Chain(L, SpinHalf()), h, jumps)


NEXT_NEAREST = {1: 0.7, 2: 0.4}


@pytest.mark.parametrize(
    ("name", "coupling", "rank"),
    [
        # done, not yet; per exponential one state with X on the left and one on the right of rho
        ("one exponential", lambda r: 0.8 * 0.6**r, 4),
        ("two exponentials", lambda r: 0.8 * 0.6**r - 0.3 * (-0.4) ** r, 6),
        ("next-nearest", lambda r: NEXT_NEAREST.get(r, 0.0), 6),
    ],
)
def test_couplings_of_long_range_are_exact_at_small_rank(name, coupling, rank):
    long = lindbladian_mpo(long_ranged(24, coupling))
    assert set(long.bond_dimensions[4:-4]) == {rank}
    model = long_ranged(5, coupling)
    dense = mt.superoperator.hermitian_lindbladian(model)
    assert np.abs(lindbladian_mpo(model).to_dense() - dense).max() < 1e-13 * np.abs(dense).max()
    exact = mt.steady_state(model, mt.ExactDiag())
    result = mt.steady_state(model, ImplicitSweeps(), tol=1e-7)
    z = obs.profile(model, "Z")
    assert np.abs(result.expect(z) - exact.expect(z)).max() <= result.certificate.error_estimate <= 1e-7
