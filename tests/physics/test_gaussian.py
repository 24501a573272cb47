"""The method Gaussian: closed forms, exact diagonalisation, direct integration, three solvers among themselves."""

import math
import re

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from systems import random_xy

import mpo_transport as mt
from mpo_transport import Boson, Chain, GaussianState, Jump, Lindbladian, OpSum, SpinHalf, models, op
from mpo_transport import observables as obs
from mpo_transport.methods.gaussian import ring_equations, ring_of_cells, ring_steady_state, with_cells
from mpo_transport.methods.gaussian.lyapunov import NotStable, batched_lyapunov, lyapunov
from mpo_transport.states.gaussian_ring import RingGaussianState
from mpo_transport.superoperator import quadratic_form

INF = math.inf
CELL = {"J": 0.2, "Dt": -1.2, "G_abs": 0.02, "gamma_c": 0.1, "gamma_m": 1e-3, "nbar": 100.0}


def solve(model, **knobs):
    return mt.steady_state(model, mt.Gaussian(**knobs), tol=1e-8)


# -- the Lyapunov equation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_lyapunov_equation(n, sign, kind):
    rng = np.random.default_rng(n)
    a = rng.normal(size=(n, n)) + (1j * rng.normal(size=(n, n)) if kind is complex else 0)
    a = a - (np.linalg.eigvals(a).real.max() + 0.1) * np.eye(n)
    s = rng.normal(size=(n, n)) + (1j * rng.normal(size=(n, n)) if kind is complex else 0)
    s = s + sign * s.conj().T
    q = -(a @ s + s @ a.conj().T)
    found = lyapunov(a, q, sign=sign)
    assert np.abs(found.matrix - s).max() <= 1e-10 * max(1.0, np.abs(s).max())
    assert found.residual < 1e-12
    # the estimate covers the error, up to the rounding in q
    assert np.abs(found.matrix - s).max() <= 100 * found.error + 1e-10 * np.abs(s).max()


def test_an_unstable_drift_has_no_solution_although_the_linear_equations_have_one():
    a = np.diag([-1.0, -2.0, 0.5])
    assert np.all(np.isfinite(scipy.linalg.solve_continuous_lyapunov(a, -np.eye(3))))
    with pytest.raises(NotStable):
        lyapunov(a, np.eye(3))
    with pytest.raises(NotStable):
        lyapunov(np.array([[0.0, 1.0], [-1.0, 0.0]]), np.eye(2))


@pytest.mark.parametrize("n", [2, 6, 8])
def test_stacks_of_small_equations(n):
    rng = np.random.default_rng(n)
    a = rng.normal(size=(7, n, n, 2)) @ [1, 1j] - 3 * n * np.eye(n)
    x = rng.normal(size=(7, n, n, 2)) @ [1, 1j]
    q = x @ x.conj().transpose(0, 2, 1)
    s, _ = batched_lyapunov(a, q)
    for k in range(7):
        assert np.abs(s[k] - scipy.linalg.solve_continuous_lyapunov(a[k], -q[k])).max() < 1e-12 * np.abs(s[k]).max()


# -- fermions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_random_xy_chains_against_exact_diagonalisation(seed):
    model = random_xy(5, seed)
    ours, exact = solve(model), mt.steady_state(model, mt.ExactDiag(), tol=1e-9)
    assert np.abs(ours.state.to_dense() - exact.state.to_dense()).max() < 1e-12
    assert ours.certificate.smallest_eigenvalue > 0 and ours.certificate.identity_residual < 1e-13
    for observable in (obs.continuity_current(model), obs.profile(model, "Z"), obs.correlation(model, "Z", "Z")):
        assert np.abs(ours.expect(observable) - exact.expect(observable)).max() < 1e-12


def test_transients_of_an_xy_chain_against_exact_diagonalisation():
    model, start, times = random_xy(4, 2), [1, 0, "mixed", 1], [0.3, 1.1, 2.0]
    start_exact = [1, 0, np.eye(2) / 2, 1]
    measured = {"Z": obs.profile(model, "Z"), "pair": op("Sp", 0) * op("Sp", 3)}
    ours = mt.evolve(model, start, times, measured, mt.Gaussian())
    exact = mt.evolve(model, start_exact, times, measured, mt.ExactDiag(), tol=1e-10)
    for name in measured:
        assert np.abs(ours.values[name] - exact.values[name]).max() < 1e-10


@pytest.mark.parametrize("solver", ["dense", "number"])
def test_the_current_of_the_xx_chain_at_two_hundred_sites(solver):
    model = models.boundary_driven_xx(200, 1.3, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    result = solve(model, solver=solver)
    exact = 0.7 / (1 / 0.6 + 1 / 1.4 + (0.6 + 1.4) / (4 * 1.3**2))
    assert np.abs(result.expect(obs.current(model)) - exact).max() < 1e-12
    assert result.certificate.current_uniformity < 1e-13
    profile = result.expect(obs.profile(model, "N"))
    steps = np.zeros(200)
    steps[1:] += 0.3
    steps[-1] += 0.7
    expected = 0.9 - exact / 0.6 - exact / (2 * 1.3**2) * steps
    assert np.abs(profile - expected).max() < 1e-12


def test_complex_hopping_is_a_gauge_on_a_chain_and_a_current_stays():
    t = 0.8 * np.exp(1j * np.linspace(0, 2, 11))
    one, two = (models.boundary_driven_xx(12, x, G_L=1.0, f_L=1.0, G_R=0.5, f_R=0.0) for x in (t, 0.8))
    assert np.abs(solve(one).expect(obs.current(one)) - solve(two).expect(obs.current(two))).max() < 1e-13


# -- bosons ------------------------------------------------------------------------------------------------------------


def test_the_boson_chain_has_the_series_current_and_profile():
    L, t, G, f = 50, 0.9, (0.5, 1.5), (3.0, 0.25)
    model = models.boundary_driven_xx(L, t, G_L=G[0], f_L=f[0], G_R=G[1], f_R=f[1], levels=INF)
    result = solve(model)
    exact = (f[0] - f[1]) / (1 / G[0] + 1 / G[1] + sum(G) / (4 * t * t))
    assert np.abs(result.expect(obs.current(model)) - exact).max() < 1e-12
    n = result.expect(obs.profile(model, "N"))
    assert abs(n[0] - (f[0] - exact / G[0])) < 1e-12 and abs(n[-1] - (f[1] + exact / G[1])) < 1e-12
    # a Gaussian state: <N^2> = 2 n^2 + n
    square = result.expect(obs.correlation(model, "N", "N", pairs=[(7, 7), (3, 9)], connected=True))
    assert abs(square[0] - n[7] * (n[7] + 1)) < 1e-11
    coherence = result.state.expect(op("Adag", 3) * op("A", 9))
    assert abs(square[1] - abs(coherence) ** 2) < 1e-11


@pytest.mark.parametrize("theta", [0.0, 0.7])
def test_two_cascaded_modes_with_a_common_bath(theta):
    """Barzanjeh, Aquilina, Xuereb, Phys. Rev. Lett. 120, 060601 (2018), equal rates kappa."""
    kappa, N, F, omega = 0.8, (2.0, 0.5, 1.2), 0.6 - 0.3j, (1.0, 1.4)
    model = models.heat_rectifier(
        omega_1=omega[0], omega_2=omega[1], gamma_1=kappa, gamma_2=kappa, kappa_1=kappa, kappa_2=kappa, F=F,
        theta=theta, N=N, levels=INF,
    )  # fmt: skip
    f, gap = F * np.exp(1j * theta), omega[1] - omega[0]
    r, y, size = f.real, f.imag, abs(F) ** 2
    D = 3 * size + 4 * kappa * (kappa + y) + y * y + gap**2
    first = 2 * size * sum(N) + r * gap * (N[0] - N[2]) + 2 * y * y * N[2] + 2 * y * kappa * (N[0] + 3 * N[2])
    n_1 = (first + (4 * kappa**2 + gap**2) * (N[0] + N[2])) / (2 * D)
    second = 2 * size * sum(N) - r * gap * (N[1] - N[2]) + 2 * y * y * N[2] + 2 * y * kappa * (N[1] + 3 * N[2])
    n_2 = (second + (4 * kappa**2 + gap**2) * (N[1] + N[2])) / (2 * D) + kappa * (2 * y + kappa) * (N[0] - N[2]) / D
    result = solve(model)
    assert np.allclose(result.expect(obs.profile(model, "N")), [n_1, n_2], atol=1e-13)
    flows = [result.expect(obs.bath_flow(model, b)) for b in ("bath_1", "bath_2", "common")]
    assert abs(sum(flows)) < 1e-13 and abs(flows[0] - kappa * (n_1 - N[0])) < 1e-13


def driven_pair(levels):
    """Detuned modes with a weak squeezing drive, a coherent drive, complex hopping and a squeezed bath."""
    lattice = Chain(2, Boson(levels))
    h = 0.9 * op("N", 0) - 0.4 * op("N", 1)
    for half in (
        (0.3 + 0.2j) * op("Adag", 0) * op("A", 1),
        0.02j * op("Adag", 0) * op("Adag", 0),
        0.05 * op("Adag", 0) * op("Adag", 1),
        (0.06 - 0.04j) * op("Adag", 1),
    ):
        h = h + half + half.dag
    jumps = [Jump(op("A", 0) + 0.1j * op("Adag", 0), rate=1.2), Jump(op("A", 1) + 0.05 * op("A", 0), rate=0.8)]
    jumps.append(Jump(op("Adag", 1), rate=0.002))
    return Lindbladian(lattice, h, jumps)


def test_a_driven_squeezed_pair_against_truncated_modes():
    """The error of the truncated moments is about the root of the population of the highest level."""
    model, cut = driven_pair(INF), driven_pair(6)
    ours, exact = solve(model), mt.steady_state(cut, mt.ExactDiag(), tol=1e-8)
    cutoff = math.sqrt(exact.certificate.top_population)
    assert cutoff < 1e-3
    for operator in (op("A", 0), op("A", 1), op("N", 0), op("N", 1), op("Adag", 0) * op("A", 1), op("A", 0) ** 2):
        assert abs(ours.expect(operator) - exact.expect(operator)) < cutoff
    assert abs(ours.expect(obs.negativity(0, 1)) - exact.expect(obs.negativity(0, 1))) < cutoff
    assert abs(ours.expect(obs.entropy([0])) - exact.expect(obs.entropy([0]))) < cutoff
    assert ours.expect(obs.negativity(0, 1)) > 10 * cutoff
    same = solve(cut, ignore_cutoff=True)
    assert np.array_equal(same.state.covariance, ours.state.covariance)
    assert any("cutoff" in note for note in same.certificate.notes)


@pytest.mark.parametrize("start", ["vacuum", [("thermal", 0.4), ("coherent", 0.5 - 1j)]])
def test_transients_of_modes_against_integration(start):
    model, times = driven_pair(INF), np.array([0.2, 1.0, 4.0])
    moments = quadratic_form(model).moments()
    first = GaussianState.product(model.lattice, start)

    def flow(_, x):
        means, sigma = x[:4], x[4:].reshape(4, 4)
        rest = moments.drift @ sigma
        return np.concatenate([moments.drift @ means + moments.drive, (rest + rest.T + moments.diffusion).ravel()])

    x = np.concatenate([first.means, first.covariance.ravel()])
    path = scipy.integrate.solve_ivp(flow, (0, 4), x, "DOP853", t_eval=times, rtol=1e-12, atol=1e-13).y.T
    measured = {"Q": obs.profile(model, "Q"), "P": obs.profile(model, "P"), "QQ": op("Q", 0) * op("Q", 1)}
    ours = mt.evolve(model, start, times, measured, mt.Gaussian())
    assert ours.converged and np.abs(ours.values["Q"] - path[:, :2]).max() < 1e-9
    assert np.abs(ours.values["P"] - path[:, 2:4]).max() < 1e-9
    assert np.abs(ours.values["QQ"] - path[:, 5] - path[:, 0] * path[:, 1]).max() < 1e-9
    assert np.abs(ours.state.covariance.ravel() - path[-1, 4:]).max() < 1e-9


def test_growth_can_be_followed_in_time():
    """d<a>/dt = (g - k)/2 <a>: without a steady state, <n> = n0 e^(st) + g (e^(st) - 1)/s with s = g - k."""
    model = Lindbladian(Chain(1, Boson(INF)), 2 * op("N", 0), [Jump(op("A", 0), rate=1.0), Jump(op("Adag", 0), 1.5)])
    run = mt.evolve(model, [("thermal", 0.7)], [1.0, 3.0], {"N": op("N", 0)}, mt.Gaussian())
    growth = np.exp(0.5 * np.array([1.0, 3.0]))
    assert np.allclose(run.values["N"], 0.7 * growth + 1.5 * (growth - 1) / 0.5, rtol=1e-13)
    run = mt.evolve(model, "vacuum", [1.0, 3e4], {"N": op("N", 0)}, mt.Gaussian(), on_failure="return")
    assert run.status is mt.Status.NOT_FINITE and len(run.times) == 1


# -- models without a steady state -------------------------------------------------------------------------------------


def parametric(G, loss=1.0):
    pair = 0.5j * G * op("Adag", 1) * op("Adag", 1)
    h = 0.1 * op("N", 0) + 0.2 * op("N", 2) + pair + pair.dag
    return Lindbladian(Chain(3, Boson(INF)), h, [Jump(op("A", j), rate=loss) for j in range(3)])


def test_a_parametric_amplifier_above_threshold_is_refused_by_name():
    assert abs(solve(parametric(0.4)).expect(op("N", 1)) - 0.5 * 0.8**2 / (1 - 0.8**2)) < 1e-13  # x = 2 G/loss
    with pytest.raises(mt.UnstableError) as error:
        solve(parametric(0.6))
    assert "site 1 (100%)" in str(error.value) and abs(error.value.growth - 0.1) < 1e-12
    assert re.search(r"rate 0\.1 ", str(error.value)) and error.value.frequency == 0


@pytest.mark.parametrize("solver", ["number", "dense", "auto"])
def test_undamped_modes_are_refused(solver):
    lonely = Lindbladian(Chain(2, Boson(INF)), 0.7 * op("N", 0), [Jump(op("A", 1))])
    with pytest.raises(mt.UnstableError, match=r"not unique.*frequency 0\.7.*site 0"):
        solve(lonely, solver=solver)
    spins = Lindbladian(Chain(2, SpinHalf()), 0.7 * op("Z", 1), [Jump(op("Sm", 0))])
    with pytest.raises(mt.UnstableError, match=r"not unique.*frequency 1\.4.*site 1"):
        solve(spins, solver=solver)


def test_an_unstable_ring_names_its_wave_number():
    ring = models.optomechanical_ring(16, 2 * math.pi / 16, **{**CELL, "Dt": 0.8, "G_abs": 0.05}, levels=INF)
    with pytest.raises(mt.UnstableError, match="wave number") as ours:
        solve(ring)
    with pytest.raises(mt.UnstableError, match=r"mainly on|spread") as dense:
        solve(ring, solver="dense")
    assert abs(ours.value.growth - dense.value.growth) < 1e-12 and ours.value.growth > 1e-4


def test_large_unstable_models_are_found_by_the_sign_of_the_drift():
    L = 330
    jumps = [Jump(op("A", j), rate=1.0) for j in range(L)] + [Jump(op("Adag", 200), rate=2.5)]
    model = Lindbladian(Chain(L, Boson(INF)), 0.1 * op("N", 0), jumps)
    with pytest.raises(mt.UnstableError, match=r"site 200 \(100%\)"):
        solve(model, solver="dense")


# -- what is supported -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (models.kerr_oscillator(Delta=0.3, U=0.1, F=0.2, gamma=1.0, levels=INF), "Adag(0) A(0)"),
        (models.boundary_driven_xxz(6, 0.5, eps=1.0), "Z(0) Z(1)"),
        (models.boundary_driven_xx(6, 1.0, 0.5, 0.1, 0.5, 0.1, dephasing=0.1), "N(0)"),
        (models.boundary_driven_xx(6, 1.0, 0.5, 0.1, 0.5, 0.1, levels=4), "levels=math.inf"),
        (models.ring_dephasing(4, 1.0, 0.2), "quadratic"),
    ],
)
def test_models_that_are_not_quadratic_are_refused_by_the_term(model, words):
    support = mt.Gaussian().supports(model)
    assert not support and (words in support.reason or "quadratic" in support.reason)
    with pytest.raises(mt.NotSupportedError):
        solve(model)


def test_solvers_that_do_not_apply_say_so():
    with pytest.raises(mt.NotSupportedError, match="pairing"):
        solve(driven_pair(INF), solver="number")
    with pytest.raises(mt.NotSupportedError, match="no ring"):
        solve(driven_pair(INF), solver="ring")
    for knobs in ({"solver": "fast"}, {"ignore_cutoff": 1}, {"rtol": 0.0}, {"rtol": "small"}):
        with pytest.raises(mt.InputError) as error:
            mt.Gaussian(**knobs)
        assert error.value.field in knobs
    with pytest.raises(mt.InputError, match="Gaussian state"):
        dense = mt.DenseState.product(Chain(5, SpinHalf()), "up")
        mt.evolve(random_xy(5, 0), dense, [1.0], {}, mt.Gaussian())


def test_the_steady_state_does_not_depend_on_the_start():
    model = random_xy(4, 1)
    dense = mt.DenseState.product(model.lattice, "up")
    first, second = (mt.steady_state(model, mt.Gaussian(), initial=x) for x in (dense, [1, 0, 0, "mixed"]))
    assert np.array_equal(first.state.covariance, second.state.covariance)
    with pytest.raises(mt.InputError):
        mt.steady_state(model, mt.Gaussian(), initial=mt.DenseState.product(Chain(3, SpinHalf()), "up"))


def test_the_automatic_choice():
    method, reason = mt.choose_method(models.boundary_driven_xx(80, 1.0, 0.5, 0.1, 0.5, 0.9))
    assert isinstance(method, mt.Gaussian) and "80 x 80" in reason
    assert isinstance(mt.choose_method(driven_pair(INF))[0], mt.Gaussian)
    assert isinstance(mt.choose_method(models.boundary_driven_xx(4, 1.0, 0.5, 0.1, 0.5, 0.9))[0], mt.ExactDiag)
    assert isinstance(mt.choose_method(driven_pair(INF), "evolve")[0], mt.Gaussian)


# -- rings -------------------------------------------------------------------------------------------------------------


def random_cells(seed, m=2):
    rng = np.random.default_rng(seed)

    def matrix():
        return rng.normal(size=(m, m, 2)) @ [1, 1j]

    onsite, symmetric = matrix(), matrix()
    losses = [
        (9.0, {0: np.eye(m)[x] + 0.1 * matrix()[0], 1: 0.2 * matrix()[0]}, {-1: 0.1 * matrix()[0]}) for x in range(m)
    ]
    return {
        "hopping": {0: onsite + onsite.conj().T, 1: matrix(), 2: 0.3 * matrix()},
        "pairing": {0: 0.1 * (symmetric + symmetric.T), 1: 0.2 * matrix()},
        "jumps": [*losses, (0.4, {}, {0: matrix()[0]})],
    }


def written_out(cells, m, hopping, pairing, jumps, phases):
    """The same ring as a symbolic model, term by term, with phases on the modes."""
    L = cells * m

    def turn(l, x):
        return np.exp(1j * phases[x] * l)

    def letter(name, l, x):  # b = e^{-i chi l} a
        c = turn(l, x)
        return (c.conj() if name == "A" else c) * op(name, (l % cells) * m + x)

    h, out = OpSum(), []
    for l in range(cells):
        for tables, second, weight in ((hopping, "A", 1.0), (pairing, "Adag", 1.0)):
            for d, table in tables.items():
                for x in range(m):
                    for y in range(m):
                        product = letter("Adag", l, x) * letter(second, (l + d) % cells, y)
                        half = weight * table[x, y] * product
                        h = h + (half / 2 + half.dag / 2 if d == 0 else half + half.dag)
        for rate, lower, upper in jumps:
            operator = OpSum()
            for name, tables in (("A", lower), ("Adag", upper)):
                for d, v in tables.items():
                    for x in range(m):
                        operator = operator + v[x] * letter(name, (l + d) % cells, x)
            out.append(Jump(operator, rate))
    return Lindbladian(Chain(L, Boson(INF), periodic=True), h, out)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_cells_three_ways(seed):
    """Blocks from the unit cell, blocks found in the written-out model, and the dense solution of that model."""
    n, m, parts = 5, 2, random_cells(seed)
    phases = 2 * np.pi / n * np.array([2.0, -3.0])
    straight = ring_steady_state(ring_of_cells(n, **parts, phases=phases))
    model = written_out(n, m, **parts, phases=phases)
    found, dense = solve(model), solve(model, solver="dense")
    assert isinstance(found.state, RingGaussianState) and found.state.cell == m
    scale = np.abs(dense.state.covariance).max()
    assert np.abs(found.state.covariance - dense.state.covariance).max() < 1e-12 * scale
    assert np.abs(straight.covariance - dense.state.covariance).max() < 1e-12 * scale


def test_a_driven_ring_carries_the_momentum_of_its_drive():
    n, k = 8, 3
    h = OpSum()
    for l in range(n):
        half = 0.5 * op("Adag", (l + 1) % n) * op("A", l) + 0.2 * np.exp(2j * np.pi * k * l / n) * op("Adag", l)
        h = h + half + half.dag
    model = Lindbladian(Chain(n, Boson(INF), periodic=True), h, [Jump(op("A", l), 0.7) for l in range(n)])
    ring, dense = solve(model), solve(model, solver="dense")
    assert isinstance(ring.state, RingGaussianState)
    assert np.abs(ring.state.means - dense.state.means).max() < 1e-13
    amplitude = -1j * 0.2 / (0.35 + 1j * np.cos(2 * np.pi * k / n))
    assert abs(ring.expect(op("A", 2)) - amplitude * np.exp(4j * np.pi * k / n)) < 1e-13


@pytest.mark.parametrize(("L", "winding"), [(8, 1), (9, 2), (32, 5)])
def test_the_optomechanical_ring_by_blocks_and_densely(L, winding):
    model = models.optomechanical_ring(L, 2 * math.pi * winding / L, **CELL, levels=INF)
    ring, dense = solve(model), solve(model, solver="dense")
    assert np.abs(ring.state.covariance - dense.state.covariance).max() < 1e-10
    assert ring.certificate.error_estimate < 1e-10
    assert np.abs(ring.expect(obs.current(model)) - dense.expect(obs.current(model))).max() < 1e-12


def test_transients_of_a_ring_in_blocks_and_densely():
    model = models.optomechanical_ring(8, 2 * math.pi / 8, **CELL, levels=INF)
    runs = [
        mt.evolve(model, "vacuum", [3.0, 50.0], {"N": obs.profile(model, "N")}, mt.Gaussian(solver=s))
        for s in ("auto", "dense")
    ]
    assert isinstance(runs[0].state, RingGaussianState) and not isinstance(runs[1].state, RingGaussianState)
    assert np.abs(runs[0].values["N"] - runs[1].values["N"]).max() < 1e-11


def test_what_is_no_ring_is_not_taken_for_one():
    ring = models.optomechanical_ring(8, 2 * math.pi / 8, **CELL, levels=INF)
    assert ring_equations(quadratic_form(ring)) is not None
    for extra in (1e-6 * op("N", 5), 1e-6 * (op("Adag", 0) * op("A", 6) + op("Adag", 6) * op("A", 0))):
        other = Lindbladian(ring.lattice, ring.hamiltonian + extra, ring.jumps)
        assert ring_equations(quadratic_form(other)) is None
    # a flux through one bond cannot be spread by phases chi l
    twist = OpSum({k: c * (1j if k == (("A", 0), ("Adag", 14)) else -1j if k == (("Adag", 0), ("A", 14)) else 1)
                   for k, c in ring.hamiltonian})  # fmt: skip
    assert ring_equations(quadratic_form(Lindbladian(ring.lattice, twist, ring.jumps))) is None


def test_twenty_thousand_cells_from_a_model_of_eight():
    """The occupation is a mean over wave numbers of a smooth function: it converges exponentially in their number."""
    small = ring_equations(quadratic_form(models.optomechanical_ring(8, 2 * math.pi / 8, **CELL, levels=INF)))
    large = ring_steady_state(with_cells(small, 20000))
    medium = models.optomechanical_ring(256, 2 * math.pi / 8, **CELL, levels=INF)
    n = solve(medium).expect(obs.profile(medium, "N"))
    assert np.allclose(large.occupations().reshape(-1, 2), n[:2], rtol=1e-10)
    for cells, words in ((2, "above 2"), (20001, "do not close"), (8.5, "integer")):
        with pytest.raises(mt.InputError, match=words):
            with_cells(small, cells)
    with pytest.raises(mt.NotSupportedError, match="not written out"):
        _ = large.covariance


def test_a_uniform_chain_with_equal_baths_is_thermal_on_every_site():
    hop = {1: [[0.5 + 0.1j]], 3: [[0.2j]]}
    state = ring_steady_state(ring_of_cells(30000, hopping=hop, jumps=[(3.0, {0: [1]}, {}), (1.0, {}, {0: [1]})]))
    assert np.allclose(state.occupations(), 0.5, atol=1e-12)
    assert abs(state.expect(op("Adag", 4) * op("A", 5))) < 1e-13


@pytest.mark.parametrize(
    "arguments",
    [
        {"hopping": {1: np.eye(2)}, "jumps": [], "cells": 2},
        {"hopping": {0: [[1j]]}, "jumps": [], "cells": 9},
        {"hopping": {1: [[1.0]], -1: [[2.0]]}, "jumps": [], "cells": 9},
        {"hopping": {1: [[1.0]]}, "jumps": [(-1.0, {0: [1]}, {})], "cells": 9},
        {"hopping": {1: [[1.0]]}, "jumps": [(1.0, {0: [1, 2]}, {})], "cells": 9},
        {"hopping": {0: [[1.0]]}, "pairing": {0: [[1, 2]]}, "jumps": [], "cells": 9},
    ],
)
def test_bad_cells_are_refused(arguments):
    with pytest.raises(mt.InputError) as error:
        ring_of_cells(**arguments)
    assert error.value.field in arguments


# -- files -------------------------------------------------------------------------------------------------------------


def test_results_are_stored_and_runs_continue(tmp_path):
    model = models.optomechanical_ring(6, 2 * math.pi / 6, **CELL, levels=INF)
    result = solve(model)
    result.save(tmp_path / "ring.h5")
    back = mt.load(tmp_path / "ring.h5")
    assert back.state.blocks.tobytes() == result.state.blocks.tobytes() and back.method == mt.Gaussian()
    assert back.expect(obs.negativity(0, 1)) == result.expect(obs.negativity(0, 1))

    times, measured = [1.0, 2.0, 5.0], {"N": obs.profile(model, "N")}
    whole = mt.evolve(model, "vacuum", times, measured, mt.Gaussian())
    path = tmp_path / "run.h5"
    part = mt.evolve(model, "vacuum", times, measured, mt.Gaussian(), checkpoint=mt.Checkpoint(path, every=0.0))
    assert np.array_equal(part.values["N"], whole.values["N"])
    assert np.array_equal(mt.resume(path).values["N"], whole.values["N"])
