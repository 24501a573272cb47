"""Cluster mean field: its branches, their stability and its dynamics against closed forms and published physics."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg as sla

from mpo_transport import Boson, Chain, Jump, Lindbladian, SpinHalf, op
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.methods import (
    ClusterMeanField,
    Iterate,
    build_method,
    instability_threshold,
    symmetric_growth_rate,
)
from mpo_transport.models import persistent_current
from mpo_transport.reference.persistent_currents import pair_mean_field
from mpo_transport.result import Status
from mpo_transport.states import ClusterState
from mpo_transport.superoperator import dense_lindbladian, sparse_lindbladian

REFERENCE = Path(__file__).resolve().parents[2] / "data" / "reference" / "persistent_currents.json"
TABLE = {e["id"]: e for e in json.loads(REFERENCE.read_text(encoding="utf-8"))}

pytestmark = pytest.mark.physics


def solve(model, initial=None, **knobs):
    """Run the method to its end: last iterate, diagnostics and certificate."""
    method = ClusterMeanField(**knobs)
    work = method.prepare(model, tol=1e-8, seed=0)
    iterate = method.start(work, initial)
    for _ in range(300):
        iterate, diagnostics = method.advance(work, iterate)
        if diagnostics.done:
            return iterate, diagnostics, method.certify(work, iterate, diagnostics.status)
    raise AssertionError("the method did not end")


def eta_current(model, state, bond=0):
    kind, (i, j) = model.currents["eta"], model.lattice.bonds[bond]
    return 2 * (kind.coefficients[bond] * state.expect(op(kind.left, i) * op(kind.right, j))).real


def exact_steady_state(model):
    generator = dense_lindbladian(model)
    _, s, vh = np.linalg.svd(generator)
    assert s[-2] > 1e-8
    D = int(np.sqrt(len(generator)))
    rho = vh[-1].conj().reshape(D, D)
    return rho / np.trace(rho)


# -- the symmetric branch ----------------------------------------------------------------------------------------------


def test_symmetric_pairs_are_the_closed_form():
    rng = np.random.default_rng(5)
    for alpha, delta, mu in rng.uniform(0.2, 3, (8, 3)):
        model = persistent_current(6, alpha, delta, mu=mu)
        iterate, diagnostics, certificate = solve(model)
        expected = pair_mean_field(alpha, delta, mu)
        assert diagnostics.status is Status.CONVERGED and iterate.scalars["branch"] == "symmetric"
        np.testing.assert_allclose(iterate.state.reduced([2, 3]), expected.density_matrix, atol=1e-10)
        assert eta_current(model, iterate.state) == pytest.approx(expected.current, abs=1e-10)
        assert certificate.residual < 1e-12 * max(alpha, delta) ** 2
        assert any("no error estimate" in note for note in certificate.notes)
        assert certificate.error_estimate is None


def with_cut_halves(n, alpha, delta, mu):
    """An open chain of n sites with the halves of the two bonds that a cluster cuts."""
    inner = [
        Jump(sum((alpha * op("Sm", s) + delta * op("Sp", s) for s in (j, j + 1)), 0 * op("Z", 0))) for j in range(n - 1)
    ]
    ends = [Jump(alpha * op("Sm", s) + delta * op("Sp", s)) for s in (0, n - 1)]
    return Lindbladian(Chain(n, SpinHalf()), mu * sum((op("N", j) for j in range(n)), 0 * op("N", 0)), inner + ends)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_symmetric_clusters_are_exact_with_the_cut_halves_as_jumps(size):
    alpha, delta, mu = 1.7, 0.8, 0.6
    iterate, diagnostics, _ = solve(persistent_current(max(3, 2 * size), alpha, delta, mu=mu), size=size)
    assert diagnostics.status is Status.CONVERGED
    rho = exact_steady_state(with_cut_halves(size, alpha, delta, mu))
    np.testing.assert_allclose(iterate.state.cluster_matrix(0), rho, atol=1e-12)


@pytest.mark.parametrize("size", [4, 5])
def test_one_cluster_is_exact(size):
    rng = np.random.default_rng(size)
    model = persistent_current(
        size, rng.normal(size=size - 1), rng.normal(size=size - 1), mu=rng.normal(size=size), J=0.3j, periodic=False
    )
    if size == 4:
        iterate, _, _ = solve(model, size=size)
        np.testing.assert_allclose(iterate.state.to_dense(), exact_steady_state(model), atol=1e-11)
    else:
        iterate, diagnostics, _ = solve(model, size=size, branch="auto")
        drift = sparse_lindbladian(model) @ iterate.state.to_dense().ravel()
        assert diagnostics.status is Status.CONVERGED and np.abs(drift).max() < 1e-12


def test_symmetric_branch_with_a_field_that_clusters_feel():
    """Ising coupling: the symmetric problem is nonlinear; its solution is a fixed point found independently."""
    alpha, delta, mu, eps = 1.0, 0.5, 1.0, 0.3
    iterate, diagnostics, _ = solve(persistent_current(4, alpha, delta, mu=mu, eps_zz=eps))
    assert diagnostics.status is Status.CONVERGED
    rho = iterate.state.cluster_matrix(0)
    z = [np.trace(rho @ np.kron(*p)).real for p in ((np.diag([1, -1]), np.eye(2)), (np.eye(2), np.diag([1, -1])))]
    own = with_cut_halves(2, alpha, delta, mu)
    # the neighbour on the left of site 0 is a site 1, and the other way round
    field = eps * (op("Z", 0) * op("Z", 1) + z[1] * op("Z", 0) + z[0] * op("Z", 1))
    own = Lindbladian(own.lattice, own.hamiltonian + field, own.jumps)
    np.testing.assert_allclose(exact_steady_state(own), rho, atol=1e-12)


def test_open_chain_has_its_own_edges_and_a_smaller_last_cluster():
    model = persistent_current(30, 2.0, 1.0, periodic=False)
    iterate, diagnostics, _ = solve(model)
    assert diagnostics.status is Status.CONVERGED and iterate.scalars["period"] == 15
    assert eta_current(model, iterate.state, 14) == pytest.approx(pair_mean_field(2.0, 1.0).current, abs=1e-11)
    assert eta_current(model, iterate.state, 0) == pytest.approx(eta_current(model, iterate.state, 28), abs=1e-11)
    assert eta_current(model, iterate.state, 0) > 1.05 * eta_current(model, iterate.state, 14)
    odd, _, _ = solve(persistent_current(5, 2.0, 1.0, periodic=False), size=2)
    assert odd.state.partition == ((0, 1), (2, 3), (4,))
    assert odd.state.expect(op("Z", 4)).real == pytest.approx(-0.6, abs=1e-12)  # one site between its baths


def test_asymmetric_open_chain_sees_only_its_neighbours_means():
    """Inhomogeneous XX chain: the fixed point of each cluster with the others' means inserted by hand."""
    model = persistent_current(
        6, [1.2, 0.4, 0.9, 1.5, 0.3], [0.3, 0.8, 0.2, 0.5, 0.9], mu=[1, 0.2, -0.5, 0.7, 0.1, 0.4], J=0.5, eps_x=0.35,
        periodic=False,
    )  # fmt: skip
    iterate, diagnostics, _ = solve(model)
    assert diagnostics.status is Status.CONVERGED and iterate.scalars["branch"] == "unconstrained"
    state = iterate.state
    full = state.to_dense()
    change = (sparse_lindbladian(model) @ full.ravel()).reshape(64, 64)
    for c in range(3):
        shape = (4**c, 4, 4 ** (2 - c))
        assert np.abs(np.einsum("aibajb->ij", change.reshape(shape + shape))).max() < 1e-12
    assert abs(state.expect(op("Z", 0)) - state.expect(op("Z", 5))) > 0.05


# -- the broken branch -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", [k for k in TABLE if k.startswith("cmf-broken")])
@pytest.mark.parametrize("branch", ["broken", "auto"])
def test_broken_branch_of_the_table(identifier, branch):
    p, (current, sz, sx, _) = TABLE[identifier]["parameters"], TABLE[identifier]["value"]
    model = persistent_current(4, p["alpha"], p["delta"], mu=p["mu"])
    iterate, diagnostics, certificate = solve(model, branch=branch)
    state = iterate.state
    assert diagnostics.status is Status.CONVERGED
    assert (iterate.scalars["branch"], iterate.scalars["stable"]) == ("broken", True)
    assert iterate.scalars["growth_rate"] < 0
    assert eta_current(model, state) == pytest.approx(current, abs=2e-7)
    assert state.expect(op("Z", 1)).real == pytest.approx(sz, abs=2e-7)
    assert [state.expect(op("X", j)).real for j in range(4)] == pytest.approx([sx, -sx, sx, -sx], abs=2e-7)
    assert any("broken, stable" in note for note in certificate.notes)
    assert any("partner" in note for note in certificate.notes)


def test_symmetric_branch_is_labelled_unstable_where_it_is():
    iterate, diagnostics, certificate = solve(persistent_current(4, 2.0, 1.0))
    assert diagnostics.status is Status.CONVERGED and not iterate.scalars["stable"]
    assert iterate.scalars["growth_rate"] == pytest.approx(symmetric_growth_rate(persistent_current(4, 2.0, 1.0)))
    assert any("symmetric, unstable" in note for note in certificate.notes)


@pytest.mark.parametrize("branch", ["broken", "auto"])
def test_without_a_broken_solution_the_symmetric_one_is_returned_with_a_note(branch):
    iterate, diagnostics, certificate = solve(persistent_current(4, 1.0, 0.5), branch=branch)
    assert diagnostics.status is Status.CONVERGED and iterate.scalars["branch"] == "symmetric"
    assert iterate.scalars["stable"]
    told = any("no broken solution found: the symmetric one is stable" in note for note in certificate.notes)
    assert told == (branch == "broken")
    np.testing.assert_allclose(iterate.state.cluster_matrix(1), pair_mean_field(1.0, 0.5).density_matrix, atol=1e-11)


THRESHOLDS = [(np.pi / 16, 1.96396), (np.pi / 8, 1.68566), (3 * np.pi / 16, 2.03480), (0.2 * np.pi + 0.1, 3.61359)]


@pytest.mark.parametrize(("theta", "expected"), THRESHOLDS)
def test_instability_thresholds_in_strength(theta, expected):
    def build(r):
        return persistent_current(4, r * np.cos(theta), r * np.sin(theta))

    assert instability_threshold(build, 0.8 * expected, 1.2 * expected) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("delta", "expected"), [(1.0, 1.66776), (1.5, 1.14201)])
def test_instability_thresholds_in_energy(delta, expected):
    def build(mu):
        return persistent_current(4, 2.0, delta, mu=mu)

    assert instability_threshold(build, 0.8, 2.0) == pytest.approx(expected, abs=1e-4)


def test_branches_meet_at_the_threshold():
    """Just below mu_c the order parameter is small and the broken solution stable; just above there is none."""
    below, _, _ = solve(persistent_current(4, 2.0, 1.0, mu=1.6677), branch="broken")
    above, _, _ = solve(persistent_current(4, 2.0, 1.0, mu=1.6678), branch="broken")
    assert below.scalars["branch"] == "broken" and 0 < below.scalars["order_parameter"] < 0.02
    assert above.scalars["branch"] == "symmetric" and above.scalars["stable"]


def test_odd_clusters_order_alternately():
    """Size 1: two sublattices in each other's field; checked against the single-site equation written by hand."""
    alpha, delta = 2.0, 1.0
    model = persistent_current(4, alpha, delta)
    symmetric, _, _ = solve(model, size=1)
    assert symmetric.scalars["growth_rate"] < 0 < symmetric.scalars["ring_growth_rate"]
    assert symmetric.scalars["momentum"] == pytest.approx(np.pi) and not symmetric.scalars["stable"]
    iterate, diagnostics, _ = solve(model, size=1, branch="broken")
    assert diagnostics.status is Status.CONVERGED and iterate.scalars["period"] == 2
    lower = np.array([[0, 0], [1, 0]], dtype=complex)
    A, n = alpha * lower + delta * lower.T, lower.T @ lower
    first, second = iterate.state.matrices
    assert np.trace(first @ (lower + lower.T)).real > 0.5 > -0.5 > np.trace(second @ (lower + lower.T)).real
    for rho, other in ((first, second), (second, first)):
        a, ada = np.trace(A @ other), A.conj().T @ A
        change = -1j * (n @ rho - rho @ n) + 2 * (A @ rho @ A.conj().T - (ada @ rho + rho @ ada) / 2)
        change += a * (rho @ A.conj().T - A.conj().T @ rho) + np.conj(a) * (A @ rho - rho @ A)
        assert np.abs(change).max() < 1e-12


def test_a_uniform_ansatz_that_is_asked_for_is_kept():
    model = persistent_current(4, 2.0, 1.0)
    iterate, diagnostics, _ = solve(model, size=1, branch="broken", uniform=True)
    assert iterate.scalars["period"] == 1 and diagnostics.status is Status.NOT_CONVERGED
    free, _, _ = solve(model, branch="broken", uniform=False)
    assert free.scalars["period"] == 2
    assert eta_current(model, free.state) == pytest.approx(TABLE["cmf-broken-2.0-1.0-1.0"]["value"][0], abs=2e-7)


def test_two_parities_break_independently():
    """Next-nearest-neighbour dissipators decouple the sublattices: pairs of size-4 clusters are pairs of the ring."""
    model = persistent_current(8, 2.0, 1.5, dissipator_distance=2)
    iterate, diagnostics, _ = solve(model, size=4, branch="broken")
    assert diagnostics.status is Status.CONVERGED
    pair = TABLE["cmf-broken-2.0-1.5-1.0"]["value"]
    kind = model.currents["eta"]
    for start in (0, 1):
        pair_current = kind.coefficients[0] * iterate.state.expect(op(kind.left, start) * op(kind.right, start + 2))
        assert 2 * pair_current.real == pytest.approx(pair[0], abs=2e-7)
    saddle, told, _ = solve(model, size=2, branch="broken")
    assert told.status is Status.CONVERGED and saddle.scalars["stable"] and saddle.scalars["order_parameter"] > 0.7


def test_broken_reflection_without_a_parity():
    model = persistent_current(4, 2.0, 1.0, eps_x=0.3)
    plain, _, _ = solve(model)
    assert plain.scalars["branch"] == "unconstrained" and not plain.scalars["stable"]
    assert plain.state.expect(op("X", 0)) == pytest.approx(plain.state.expect(op("X", 1)), abs=1e-10)
    other, diagnostics, _ = solve(model, branch="auto")
    assert diagnostics.status is Status.CONVERGED
    assert other.scalars["branch"] == "broken" and other.scalars["stable"]
    assert abs(other.state.expect(op("X", 0)) - other.state.expect(op("X", 1))) > 0.5


# -- time, cycles, degeneracy ------------------------------------------------------------------------------------------


def oscillators(omega):
    """Four quantum van der Pol oscillators with dissipative coupling: they synchronise, weak U(1) breaks."""
    L = 4
    jumps = [Jump(op("Adag", j)) for j in range(L)]
    jumps += [Jump(op("A", j) * op("A", j), rate=0.3) for j in range(L)]
    jumps += [Jump(op("A", j) - op("A", (j + 1) % L), rate=2.0) for j in range(L)]
    return Lindbladian(
        Chain(L, Boson(4), periodic=True), omega * sum((op("N", j) for j in range(L)), 0 * op("N", 0)), jumps
    )


def test_a_limit_cycle_is_not_called_a_steady_state():
    _, diagnostics, certificate = solve(oscillators(1.0), size=1, branch="broken", max_steps=4000)
    assert diagnostics.status is Status.NOT_CONVERGED
    assert any("does not come to rest" in n or "did not reach a fixed point" in n for n in certificate.notes)
    assert certificate.residual > 0.1


def test_a_broken_continuous_symmetry_leaves_one_soft_direction():
    iterate, diagnostics, _ = solve(oscillators(0.0), size=1, branch="broken")
    assert diagnostics.status is Status.CONVERGED and iterate.scalars["branch"] == "broken"
    assert abs(iterate.scalars["growth_rate"]) < 1e-10
    assert abs(iterate.state.expect(op("A", 0))) == pytest.approx(abs(iterate.state.expect(op("A", 3))), abs=1e-10)


def test_degenerate_solutions_are_told():
    _, diagnostics, certificate = solve(persistent_current(4, 1.0, 1.0, mu=0.0))
    assert diagnostics.status is Status.NOT_UNIQUE and certificate.null_space == 4
    # delta = 0 on an open chain in one cluster: vacuum and staggered magnon
    _, diagnostics, certificate = solve(persistent_current(4, 2.0, 0.0, periodic=False), size=4)
    assert diagnostics.status is Status.NOT_UNIQUE and certificate.null_space == 2


def propagate(model, initial, times, tol=1e-9, **knobs):
    method = ClusterMeanField(**knobs)
    work = method.prepare(model, tol=tol, seed=0, task="evolve")
    iterate, states = method.start(work, initial), []
    for time in times:
        for _ in range(1000):
            iterate, diagnostics = method.propagate(work, iterate, time)
            assert diagnostics.status is None
            if iterate.scalars["time"] >= time:
                break
        states.append(iterate.state)
    return iterate, states


def test_evolution_of_one_cluster_is_exact():
    model = persistent_current(4, 1.3, 0.4j, mu=0.7, J=0.5, periodic=False)
    _, states = propagate(model, [1, 0, 1, 1], [0.0, 0.3, 2.0], size=4)
    start = states[0].to_dense()
    assert states[0].expect(op("Z", 1)).real == pytest.approx(-1.0)
    for state, t in zip(states, (0.0, 0.3, 2.0), strict=True):
        exact = (sla.expm(dense_lindbladian(model) * t) @ start.ravel()).reshape(16, 16)
        np.testing.assert_allclose(state.to_dense(), exact, atol=1e-9)


def test_evolution_follows_the_mean_field_equation_and_its_symmetry():
    model = persistent_current(8, 2.0, 1.0)
    uniform, states = propagate(model, "down", [40.0])
    assert uniform.scalars["period"] == 1
    np.testing.assert_allclose(states[0].reduced([0, 1]), pair_mean_field(2.0, 1.0).density_matrix, atol=1e-7)
    pattern = [1, 0, 0, 0, 1, 0, 0, 0]  # repeats after two clusters
    repeated, _ = propagate(model, pattern, [0.1])
    assert repeated.scalars["period"] == 2
    _, one = propagate(model, pattern, [0.7])
    _, two = propagate(model, pattern, [0.7], uniform=False)
    np.testing.assert_allclose(one[0].reduced([3, 4]), two[0].reduced([3, 4]), atol=1e-8)


def test_stiff_and_long_evolutions_agree_with_the_fixed_point():
    model = persistent_current(4, 5 * np.cos(0.75), 5 * np.sin(0.75))
    _, states = propagate(model, [[np.cos(0.3), np.sin(0.3)], [np.cos(0.3), -np.sin(0.3)]] * 2, [2000.0], tol=1e-6)
    fixed, _, _ = solve(model, branch="auto")
    assert eta_current(model, states[0]) == pytest.approx(eta_current(model, fixed.state), abs=1e-6)


def test_an_interrupted_run_continues_bit_for_bit():
    model, method = persistent_current(4, 2.0, 1.5), ClusterMeanField(branch="broken")

    def run(interrupt):
        work = method.prepare(model, tol=1e-8, seed=0)
        iterate = method.start(work, None)
        while True:
            iterate, diagnostics = method.advance(work, iterate)
            if diagnostics.done:
                return iterate
            if interrupt:
                state = ClusterState.from_arrays(
                    model.lattice, iterate.state.arrays(), json.loads(json.dumps(iterate.state.attributes()))
                )
                scalars = json.loads(json.dumps(dict(iterate.scalars)))
                iterate = Iterate(state, iterate.step, scalars, {k: v.copy() for k, v in iterate.arrays.items()})
                work = method.prepare(model, tol=1e-8, seed=0)

    whole, pieces = run(False), run(True)
    assert whole.step == pieces.step and dict(whole.scalars) == dict(pieces.scalars)
    assert all(np.array_equal(a, b) for a, b in zip(whole.state.matrices, pieces.state.matrices, strict=True))


def test_a_given_state_selects_the_basin():
    model = persistent_current(4, 2.0, 1.0)
    partner, _, _ = solve(model, branch="broken")
    flipped = ClusterState(
        model.lattice, partner.state.partition, [np.kron(np.diag([1, -1]), np.diag([1, -1])) @ m @
        np.kron(np.diag([1, -1]), np.diag([1, -1])) for m in partner.state.matrices], partner.state.owner,
    )  # fmt: skip
    again, diagnostics, _ = solve(model, initial=flipped, branch="broken")
    assert diagnostics.status is Status.CONVERGED
    assert again.state.expect(op("X", 0)).real == pytest.approx(partner.state.expect(op("X", 0)).real, abs=1e-10)
    symmetric, _, _ = solve(model, initial="up", branch="symmetric")
    np.testing.assert_allclose(symmetric.state.cluster_matrix(0), pair_mean_field(2.0, 1.0).density_matrix, atol=1e-10)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "field"),
    [
        ({"size": 0}, "size"),
        ({"size": 2.5}, "size"),
        ({"branch": "stable"}, "branch"),
        ({"uniform": "yes"}, "uniform"),
        ({"max_steps": 0}, "max_steps"),
        ({"perturbation": 1.5}, "perturbation"),
    ],
)
def test_bad_knobs_are_named(knobs, field):
    with pytest.raises(InputError, match=f"`{field}`") as error:
        ClusterMeanField(**knobs)
    assert error.value.field == field


def test_models_that_do_not_fit_are_refused_with_the_reason():
    ring = persistent_current(5, 2.0, 1.0)
    assert "whole clusters" in ClusterMeanField(size=2).supports(ring).reason
    assert "exceeds" in ClusterMeanField(size=6).supports(ring).reason
    assert "levels" in ClusterMeanField().supports(persistent_current(4, 1.0, 0.2, levels=np.inf)).reason
    assert "limit" in ClusterMeanField(size=7).supports(persistent_current(14, 2.0, 1.0)).reason
    assert not ClusterMeanField().supports(ring, "spectrum")
    assert ClusterMeanField(size=5).supports(ring)
    with pytest.raises(NotSupportedError, match="whole clusters"):
        ClusterMeanField(size=2).prepare(ring, tol=1e-6, seed=0)
    with pytest.raises(InputError, match="`uniform`"):
        ClusterMeanField(uniform=True).prepare(persistent_current(4, 2.0, 1.0, periodic=False), tol=1e-6, seed=0)
    with pytest.raises(InputError, match="no knob 'sise'"):
        build_method("ClusterMeanField", {"sise": 2})


def test_bad_starts_and_searches_are_refused():
    model, method = persistent_current(4, 2.0, 1.0), ClusterMeanField(uniform=True)
    work = method.prepare(model, tol=1e-6, seed=0)
    with pytest.raises(InputError, match="`initial` differs between clusters"):
        method.start(work, [1, 0, 0, 0])
    with pytest.raises(InputError, match="other local spaces"):
        method.start(work, ClusterState(Chain(2, Boson(3)), [(0,), (1,)], [np.eye(3)] * 2))
    with pytest.raises(InputError, match="`time`"):
        method.propagate(work, method.start(work, "up"), -1.0)
    with pytest.raises(InputError, match="two sides of the threshold"):
        instability_threshold(lambda mu: persistent_current(4, 2.0, 1.0, mu=mu), 0.5, 1.0)
    with pytest.raises(NotSupportedError, match="no parity"):
        symmetric_growth_rate(persistent_current(4, 2.0, 1.0, eps_x=0.1))
