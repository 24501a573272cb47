"""ExactDiag on steady states that are not unique, or hardly so: numbers, manifolds, selected limits, honest errors."""

import numpy as np
import pytest
import scipy.linalg
from exact_runs import Solved

from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, op
from mpo_transport.methods.exact_report import strong_sectors
from mpo_transport.models import persistent_current
from mpo_transport.result import Status
from mpo_transport.states import DenseState
from mpo_transport.superoperator import dense_lindbladian

TRAPS = {
    # mu = 0: two dark product states and their two coherences on bipartite lattices, frustration on odd rings
    "mu=0, ring of 4": (lambda: persistent_current(4, 2.0, 1.0, mu=0.0), 4),
    "mu=0, chain of 3": (lambda: persistent_current(3, 2.0, 1.0, mu=0.0, periodic=False), 4),
    "mu=0, chain of 4": (lambda: persistent_current(4, 2.0, 1.0, mu=0.0, periodic=False), 4),
    "mu=0, ring of 3": (lambda: persistent_current(3, 2.0, 1.0, mu=0.0), 1),
    "mu=0, ring of 5": (lambda: persistent_current(5, 2.0, 1.0, mu=0.0), 1),
    # every product of Pauli X is conserved
    "alpha=delta, mu=0, ring of 3": (lambda: persistent_current(3, 1.0, 1.0, mu=0.0), 8),
    # vacuum and staggered magnon
    "delta=0, ring of 4": (lambda: persistent_current(4, 2.0, 0.0), 2),
    "delta=0, chain of 3": (lambda: persistent_current(3, 2.0, 0.0, periodic=False), 2),
    "delta=0, chain of 4": (lambda: persistent_current(4, 2.0, 0.0, periodic=False), 2),
    "alpha=0, ring of 4": (lambda: persistent_current(4, 0.0, 1.5), 2),
    "delta=0, ring of 3": (lambda: persistent_current(3, 2.0, 0.0), 1),
    "delta=0 with loss": (lambda: persistent_current(4, 2.0, 0.0, kappa=0.1), 1),
    # the total spin is conserved: the singlet is dark, the triplet holds one state
    "chain of 2": (lambda: persistent_current(2, 2.0, 1.0, periodic=False), 2),
    "alpha=delta": (lambda: persistent_current(4, 1.3, 1.3), 1),
}


@pytest.mark.parametrize("name", TRAPS)
def test_number_of_stationary_operators(name):
    build, expected = TRAPS[name]
    model = build()
    eigenvalues = np.linalg.eigvals(dense_lindbladian(model)) if model.L < 5 else None
    for knobs in ({}, {"solver": "direct", "dense_limit": 1}):
        solved = Solved(model, **knobs)
        assert solved.certificate.null_space == expected
        assert solved.status is (Status.CONVERGED if expected == 1 else Status.NOT_UNIQUE)
        assert len(solved.manifold) == (0 if expected == 1 else expected)
    if eigenvalues is not None:
        assert np.count_nonzero(np.abs(eigenvalues) < 1e-10) == expected


@pytest.mark.parametrize("name", [n for n, (_, k) in TRAPS.items() if k > 1])
def test_manifold_of_stationary_states(name):
    solved = Solved(TRAPS[name][0]())
    generator = dense_lindbladian(solved.work.model)
    for state in solved.manifold:
        assert state.trace() == pytest.approx(1, abs=1e-12) and state.hermiticity_defect() < 1e-14
        assert np.linalg.eigvalsh(state.rho)[0] > -1e-12
        assert np.linalg.norm(generator @ state.rho.ravel()) < 1e-11 * np.linalg.norm(generator, 2)
    gram = np.array([[a.overlap(b) for a in solved.manifold] for b in solved.manifold])
    assert np.linalg.matrix_rank(gram, tol=1e-8) == len(solved.manifold)
    x = solved.state.coefficients()
    assert np.linalg.norm(solved.work.generator.apply(x)) < 1e-11


@pytest.mark.parametrize("solver", ["auto", "iterative"])
def test_six_sites_find_the_dark_states_with_every_solver(solver):
    solved = Solved(persistent_current(6, 2.0, 1.0, mu=[0.0] * 6), solver=solver)
    assert solved.status is Status.NOT_UNIQUE and solved.certificate.null_space == 4
    A = 2.0 * np.array([[0, 0], [1, 0]]) + 1.0 * np.array([[0, 1], [0, 0]])
    _, vectors = np.linalg.eig(A)
    neel = DenseState.from_vector(solved.work.model.lattice, _product([vectors[:, j % 2] for j in range(6)]))
    basis = np.array([s.coefficients() for s in solved.manifold])
    residue = np.linalg.lstsq(basis.T, neel.coefficients(), rcond=None)[1]
    assert residue.size == 1 and residue[0] < 1e-18


def _product(vectors):
    out = np.ones(1)
    for v in vectors:
        out = np.kron(out, v)
    return out


def test_seven_site_chain_is_searched_iteratively():
    solved = Solved(persistent_current(7, 2.0, 0.0, periodic=False))  # vacuum and staggered magnon, blocks of 8192
    assert solved.status is Status.NOT_UNIQUE and solved.certificate.null_space == 2
    assert all(np.linalg.eigvalsh(s.rho)[0] > -1e-10 for s in solved.manifold)
    vacuum = DenseState.product(solved.work.model.lattice, "down")
    residue = np.linalg.lstsq(
        np.array([s.coefficients() for s in solved.manifold]).T, vacuum.coefficients(), rcond=None
    )[1]
    assert residue[0] < 1e-18


def test_undamped_oscillations_are_reported():
    solved = Solved(persistent_current(4, 2.0, 0.0))
    assert any("2 undamped oscillating modes" in n and "omega = 1" in n for n in solved.certificate.notes)
    assert not any("oscillating" in n for n in Solved(persistent_current(3, 2.0, 0.0)).certificate.notes)


def long_time_limit(model, rho):
    """exp(L t) rho for t long against all decay, averaged over two times half a period of exp(+-i t) apart."""
    generator = dense_lindbladian(model)
    late = scipy.linalg.expm(60 * generator) @ rho.ravel()
    return ((late + scipy.linalg.expm(np.pi * generator) @ late) / 2).reshape(rho.shape)


@pytest.mark.parametrize("solver", ["auto", "iterative"])
@pytest.mark.parametrize("initial", ["up", [1, 0, 0.5 * np.array([1, 1j]), 1]])
def test_an_initial_state_selects_the_limit(initial, solver):
    model = persistent_current(4, 2.0, 0.0, mu=1.0)
    solved = Solved(model, initial=initial, solver=solver)
    assert solved.status is Status.CONVERGED and solved.certificate.null_space == 2
    expected = long_time_limit(model, DenseState.product(model.lattice, initial).rho)
    assert np.abs(solved.state.rho - expected).max() < 1e-10


def test_without_initial_the_limit_of_the_mixed_state_is_shown():
    model = persistent_current(2, 2.0, 1.0, periodic=False)
    solved = Solved(model)
    expected = long_time_limit(model, np.eye(4, dtype=complex) / 4)
    assert np.abs(solved.state.rho - expected).max() < 1e-12
    singlet = DenseState.from_vector(model.lattice, [0, 1, -1, 0])
    assert solved.state.overlap(singlet) == pytest.approx(0.25, abs=1e-13)  # the weight of the conserved singlet
    assert max(s.overlap(singlet) for s in solved.manifold) == pytest.approx(1, abs=1e-10)


def test_a_unique_steady_state_forgets_the_initial_state():
    model = persistent_current(4, 2.0, 1.5)
    a, b = Solved(model, initial="up"), Solved(model, initial=DenseState.product(model.lattice, "down"))
    assert np.abs(a.state.rho - b.state.rho).max() < 1e-12


def test_strong_symmetries_are_counted_from_the_text():
    exchange = op("Sp", 0) * op("Sm", 1) + op("Sm", 0) * op("Sp", 1)
    exchange = exchange + op("Sp", 1) * op("Sm", 2) + op("Sm", 1) * op("Sp", 2)
    model = Lindbladian(Chain(3, SpinHalf()), exchange, [Jump(op("Z", j)) for j in range(3)])
    assert strong_sectors(model) == 4  # N = 0..3
    solved = Solved(model)
    assert solved.status is Status.NOT_UNIQUE and solved.certificate.null_space == 4
    ranks = sorted(np.linalg.matrix_rank(s.rho, tol=1e-8) for s in solved.manifold)
    assert ranks == [1, 1, 3, 3]  # each sector is driven to its own maximally mixed state


def test_a_single_precessing_spin_keeps_its_populations():
    solved = Solved(Lindbladian(Chain(1, SpinHalf()), 0.7 * op("Z", 0), []))
    assert solved.certificate.null_space == 2
    assert any("omega = 1.4" in n for n in solved.certificate.notes)


# ----------------------------------------------------------------------------------------------------------------------
# nearly degenerate


def test_small_gap_is_not_called_degenerate_and_the_error_is_honest():
    limit = 28.31  # I / theta^2 for the ring of 4 at r = 2
    for delta, claimed in ((1e-2, 1e-7), (1e-3, 1e-5), (1e-5, 1e-1)):
        solved = Solved(persistent_current(4, 2.0, delta), tol=1e-6)
        assert solved.certificate.null_space == 1
        exact = limit * (delta / 2) ** 2
        error = np.abs(solved.current() - exact).max()
        assert error <= solved.certificate.error_estimate + 2e-4 * exact
        assert solved.certificate.error_estimate < claimed
        assert solved.status is (
            Status.CONVERGED if solved.certificate.error_estimate <= 1e-6 else Status.NOT_CONVERGED
        )
    assert any("slow relaxation" in n for n in solved.certificate.notes)


def test_a_gap_below_rounding_is_reported_as_unresolved():
    """At delta = 1e-9 the relaxation rate is 1.5e-19, far below the rounding of the couplings themselves."""
    solved = Solved(persistent_current(4, 2.0, 1e-9))
    assert solved.status is Status.NOT_UNIQUE
    assert any("count as zero" in n for n in solved.certificate.notes)
    assert Solved(persistent_current(4, 2.0, 1e-9, kappa=0.1)).status is Status.CONVERGED


def test_the_error_estimate_covers_a_loose_iteration():
    model = persistent_current(7, 2.0, 1.0, periodic=False)
    exact = Solved(model)
    for rtol in (1e-5, 1e-7):
        loose = Solved(model, rtol=rtol, tol=1.0)
        error = np.abs(loose.current() - exact.current()).max()
        assert 1e-13 < error <= loose.certificate.error_estimate < 1e-2
