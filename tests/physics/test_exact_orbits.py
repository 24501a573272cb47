"""ExactDiag in the totally symmetric sector: agreement with the whole space, published rings, honesty."""

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Chain, InputError, Jump, Lindbladian, OpSum, Spin, SpinHalf, op
from mpo_transport import observables as obs
from mpo_transport.methods import ExactDiag, exact_linear
from mpo_transport.methods.base import Iterate
from mpo_transport.methods.exact_orbits import OrbitWork
from mpo_transport.models import boundary_driven_xx, boundary_driven_xxz, persistent_current, ring_dephasing
from mpo_transport.result import Status
from mpo_transport.states import DenseState, OrbitState
from mpo_transport.superoperator import dense_lindbladian, sparse_lindbladian

PATH = Path(__file__).resolve().parents[2] / "data" / "reference" / "persistent_currents.json"
REFERENCE = {entry["id"]: entry for entry in json.loads(PATH.read_text())}


def solved(model, *, tol=1e-8, initial=None, **knobs):
    return mt.steady_state(
        model, method=ExactDiag(**knobs), tol=tol, initial=initial, seed=3, on_failure="return", progress=False
    )


@cache
def null_state(name):
    """The steady state from the singular vectors of the dense generator; the next singular value is checked."""
    generator = dense_lindbladian(SYMMETRIC[name]())
    _, s, vh = np.linalg.svd(generator)
    assert s[-2] > 1e-6 > 1e-10 > s[-1]
    rho = vh[-1].conj().reshape((math.isqrt(len(generator)),) * 2)
    return rho / np.trace(rho)


def random_ring(seed, L, **more):
    rng = np.random.default_rng(seed)
    a, d, lam = rng.standard_normal(3) + 1j * rng.standard_normal(3)
    return persistent_current(
        L, a, d, beta=d, gamma=a, J=rng.standard_normal(), lam=lam, mu=rng.standard_normal(), **more
    )


def two_parities():
    """Weak number parities of the even and of the odd sites of a chain."""
    h = 0.3 * op("X", 0) * op("X", 2) + 0.7 * op("X", 1) * op("X", 3) + 0.2 * op("Z", 0) * op("Z", 1)
    h = h + 0.4 * op("Z", 0) + 0.5 * op("Z", 3) + 0.1 * op("Y", 0) * op("X", 2)
    jumps = [Jump(op("Sm", 0) + 0.3 * op("Sp", 2)), Jump(op("Sp", 1) + 0.2 * op("Sm", 3)), Jump(op("Sm", 3), 0.2)]
    return Lindbladian(Chain(4, SpinHalf()), h, [*jumps, Jump(op("Sm", 2), 0.1)])


def spin_one_ring():
    h = sum((op("Sp", j) * op("Sm", (j + 1) % 3) + op("Sm", j) * op("Sp", (j + 1) % 3) for j in range(3)), OpSum())
    jumps = [Jump(op("Sm", j) + 0.2 * op("Sm", (j + 1) % 3), 0.3) for j in range(3)]
    return Lindbladian(Chain(3, Spin(1), periodic=True), h, jumps + [Jump(op("Sp", j)) for j in range(3)])


SYMMETRIC = {
    "ring": lambda: random_ring(1, 4),
    "odd ring without parity": lambda: random_ring(2, 3, eps_x=0.4),
    "translations only": lambda: persistent_current(4, 1.0 + 0.2j, 0.4, gamma=0.7j, beta=0.3, J=0.5j, mu=0.7),
    "two-site cell": lambda: persistent_current(4, 1.0, 0.4, mu=[1.0, -0.4] * 2, J=0.3),
    "open chain": lambda: persistent_current(4, 1.0, 0.4j, J=0.3, periodic=False),
    "no symmetry": lambda: persistent_current(3, [1.0, 0.5, 2.0], 0.3, mu=[0.1, 0.4, 0.9], eps_x=0.3),
    "U(1), driven chain": lambda: boundary_driven_xx(4, 1.0, 1.0, 0.7, 1.0, 0.3, dephasing=0.2),
    "U(1), loss only": lambda: persistent_current(4, 1.0, 0.0, J=0.4 + 0.3j, kappa=0.2),
    "U(1), driven bosons": lambda: boundary_driven_xx(3, 1.0, 1.0, 0.7, 1.0, 0.3, levels=3),
    "two parities": two_parities,
    "bosons": lambda: persistent_current(3, 1.0, 0.5, U=1.0, levels=3),
    "spin 1": spin_one_ring,
}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_the_symmetric_sector_holds_the_steady_state(name):
    model = SYMMETRIC[name]()
    result = solved(model, solver="orbits", check_uniqueness=False)
    assert result.status is Status.CONVERGED
    assert any("invariant under" in note for note in result.certificate.notes)
    rho = result.state.to_dense()
    assert np.linalg.norm(sparse_lindbladian(model) @ rho.ravel()) < 1e-12 * np.linalg.norm(rho)
    assert result.certificate.residual < 1e-12
    assert np.abs(rho - null_state(name)).max() < 1e-10


@pytest.mark.parametrize("route", ["rows", "no-jump", "deep"])
@pytest.mark.parametrize("name", ["two-site cell", "U(1), driven bosons", "bosons", "spin 1"])
def test_every_solver_finds_the_same_state(name, route, monkeypatch):
    monkeypatch.setattr("mpo_transport.methods.exact_orbits.routes", lambda sector, D: (route,))
    model = SYMMETRIC[name]()
    result = solved(model, solver="orbits")
    assert result.status is Status.CONVERGED
    assert result.certificate.null_space == 1
    assert np.abs(result.state.to_dense() - null_state(name)).max() < 1e-10


@pytest.mark.parametrize("L", [6, 7, 8, 9, 10])
def test_published_rings(L):
    model = persistent_current(L, 2.0, 1.5)
    result = solved(model)
    entry = REFERENCE[f"fig5-ring-L{L}"]
    current, z, purity = entry["value"]
    assert result.status is Status.CONVERGED
    assert result.certificate.null_space == 1
    assert result.certificate.residual < 1e-12
    assert np.abs(result.expect(obs.current(model)) - current).max() < entry["abs_uncertainty"]
    assert np.abs(result.expect(obs.profile(model, "Z")) - z).max() < entry["abs_uncertainty"]
    assert abs(result.state.purity() - purity) < entry["abs_uncertainty"]


def test_a_ring_of_eleven_spins_is_kept_as_orbits(tmp_path):
    model = persistent_current(11, 2.0, 1.5)
    result = solved(model)
    entry = REFERENCE["fig5-ring-L11"]
    assert isinstance(result.state, OrbitState)
    assert result.certificate.null_space == 1 and result.certificate.residual < 1e-12
    assert np.abs(result.expect(obs.current(model)) - entry["value"][0]).max() < entry["abs_uncertainty"]
    assert np.abs(result.expect(obs.profile(model, "Z")) - entry["value"][1]).max() < entry["abs_uncertainty"]
    assert sum(a.nbytes for a in result.state.arrays().values()) < 2**22  # the matrix would take 64 MiB
    again = mt.load(result.save(tmp_path / "ring.h5"))
    assert isinstance(again.state, OrbitState)
    assert np.array_equal(again.expect(obs.current(model)), result.expect(obs.current(model)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fig5-open-L10", "open10-4.0-2.0", "open10-2.0-0.2", "open10-2.0-1.5"])
def test_published_open_chains(name):
    entry = REFERENCE[name]
    p = entry["parameters"]
    model = persistent_current(10, p["alpha"], p["delta"], periodic=False)
    result = solved(model)
    currents, z, (purity,) = entry["value"]
    assert result.status is Status.CONVERGED and result.certificate.residual < 1e-12
    assert np.abs(result.expect(obs.current(model)) - currents).max() < entry["abs_uncertainty"]
    assert np.abs(result.expect(obs.profile(model, "Z")) - z).max() < entry["abs_uncertainty"]
    assert abs(result.state.purity() - purity) < entry["abs_uncertainty"]


def test_chain_driven_at_its_ends_uses_the_no_jump_inverse():
    """XX chain: the particle current is the same on every bond and <N> is flat in the bulk."""
    model = boundary_driven_xx(7, 1.0, 1.0, 0.8, 1.0, 0.3)
    result = solved(model, solver="orbits")
    assert result.status is Status.CONVERGED and result.certificate.null_space == 1
    assert "between jumps" in result.certificate.notes[0]
    current = result.expect(obs.current(model))
    assert np.ptp(current) < 1e-11
    # G_L = G_R = t = 1: <N_bulk> = (f_L + f_R) / 2, and every particle that enters passes every bond
    assert np.abs(result.expect(obs.profile(model, "N"))[1:-1] - 0.55).max() < 1e-11
    assert abs(current[0] - (0.8 - result.expect(op("N", 0)))) < 1e-11


def test_strong_symmetry_returns_one_steady_state_per_sector():
    """Hopping with dephasing on a ring: in every sector of N particles the steady state is maximally mixed."""
    L = 9
    model = ring_dephasing(L, 1.0, 0.5)
    result = solved(model)
    assert result.status is Status.NOT_UNIQUE
    assert len(result.manifold) == L + 1
    for state in result.manifold:
        n = round(L * state.expect(op("N", 0)).real)
        assert abs(state.expect(op("N", 3)).real - n / L) < 1e-11
        assert abs(state.purity() - 1 / math.comb(L, n)) < 1e-11
        assert abs(state.trace() - 1) < 1e-12


@pytest.mark.parametrize(
    ("model", "dimension"),
    [
        (persistent_current(6, 2.0, 1.5, mu=0.0), 4),
        (persistent_current(6, 2.0, 0.0), 2),
        (ring_dephasing(6, 1.0, 0.5), 7),
    ],
)
def test_degenerate_steady_states_are_left_to_the_whole_space(model, dimension):
    result = solved(model)
    assert result.status is Status.NOT_UNIQUE
    assert result.certificate.null_space == dimension
    assert len(result.manifold) == dimension


def test_a_dark_and_slow_manifold_is_met_in_the_symmetric_sector():
    """delta = 0 on an even ring, beyond the size that is searched: vacuum and staggered magnon are both stationary."""
    result = solved(persistent_current(10, 2.0, 0.0))
    assert result.status is not Status.CONVERGED
    assert result.certificate.null_space is None


def test_what_was_not_checked_is_said():
    """A pure steady state is not positive definite, so its uniqueness does not follow."""
    model = persistent_current(9, 1.0, 0.0, J=0.7, kappa=0.5)
    result = solved(model)
    assert result.status is Status.CONVERGED
    assert abs(result.state.purity() - 1) < 1e-10
    assert result.certificate.null_space is None
    assert any("only in the totally symmetric sector" in note for note in result.certificate.notes)
    silent = solved(model, check_uniqueness=False)
    assert any("not checked" in note for note in silent.certificate.notes)


def test_stagnation_is_no_answer(monkeypatch):
    monkeypatch.setattr("mpo_transport.methods.exact_orbits.routes", lambda sector, D: ("rows",))
    result = solved(persistent_current(9, 2.0, 1.5), max_iterations=10)
    assert result.status is Status.NOT_CONVERGED
    assert result.certificate.residual > 1e-6
    assert result.certificate.null_space is None
    assert any("no solver reached rtol" in note for note in result.certificate.notes)


@pytest.mark.parametrize(
    "model", [persistent_current(8, 2.0, 1.5), boundary_driven_xxz(7, 0.5, G_L=1.0, f_L=0.9, G_R=1.0, f_R=0.2)]
)
def test_stopped_and_resumed_is_unbroken(model, monkeypatch):
    monkeypatch.setattr(exact_linear, "_PIECE", 1e-3)
    method = ExactDiag(solver="orbits")

    def run(interrupt):
        work = method.prepare(model, tol=1e-8, seed=2)
        assert isinstance(work, OrbitWork)
        iterate, count = method.start(work, None), 0
        while True:
            iterate, diagnostics = method.advance(work, iterate)
            count += 1
            if diagnostics.done:
                return iterate, count
            if interrupt:
                arrays = {k: v.copy() for k, v in iterate.arrays.items()}
                numbers = json.loads(json.dumps(dict(iterate.scalars)))
                iterate = Iterate(iterate.state, iterate.step, numbers, arrays)
                work = method.prepare(model, tol=1e-8, seed=2) if count % 4 == 0 else work

    (a, steps), (b, _) = run(False), run(True)
    assert steps > 6
    assert np.array_equal(a.arrays["z"], b.arrays["z"])


def test_an_initial_state_is_accepted_and_does_not_change_a_unique_answer():
    model = persistent_current(6, 2.0, 1.5)
    a, b = solved(model), solved(model, initial="up")
    assert b.status is Status.CONVERGED
    assert np.array_equal(a.state.to_dense(), b.state.to_dense())


def test_an_initial_state_selects_where_it_must():
    model = ring_dephasing(6, 1.0, 0.5)
    result = solved(model, initial=[1, 0, 0, 1, 0, 0])
    assert result.status is Status.CONVERGED
    assert abs(result.expect(op("N", 2)) - 1 / 3) < 1e-10


def test_small_models_and_evolution_stay_in_the_whole_space():
    method = ExactDiag()
    assert not isinstance(method.prepare(persistent_current(4, 2.0, 1.5), tol=1e-8, seed=0), OrbitWork)
    model = persistent_current(6, 2.0, 1.5)
    assert isinstance(method.prepare(model, tol=1e-8, seed=0), OrbitWork)
    assert not isinstance(method.prepare(model, tol=1e-8, seed=0, task="evolve"), OrbitWork)
    assert isinstance(solved(persistent_current(8, 2.0, 1.5)).state, DenseState)


def test_estimates_follow_the_symmetry():
    method = ExactDiag()
    ring = method.estimate(persistent_current(12, 2.0, 1.5), 1e-6)
    rough = method.estimate(persistent_current(12, 2.0, 1.5, mu=list(np.linspace(0, 1, 12))), 1e-6)
    assert ring.memory_bytes < 2**31 < rough.memory_bytes
    assert ring.seconds < 60 < rough.seconds
    assert "24 site permutation" in ring.detail
    assert method.supports(persistent_current(13, 2.0, 1.5))
    assert not method.supports(persistent_current(13, 2.0, 1.5), "evolve")
    refused = method.supports(persistent_current(13, 2.0, 1.5, periodic=False))
    assert not refused and "symmetry" in refused.reason


def test_unknown_solver():
    with pytest.raises(InputError) as error:
        ExactDiag(solver="orbit")
    assert error.value.field == "solver"
