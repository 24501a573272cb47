"""Two-time correlation functions and spectra against closed forms and direct propagation."""

import numpy as np
import pytest
import scipy.linalg as sl

from mpo_transport import (
    Boson,
    Chain,
    DenseState,
    Jump,
    Lindbladian,
    SpinHalf,
    correlation_function,
    errors,
    models,
    op,
    power_spectrum,
    regression,
)
from mpo_transport.superoperator import dense_lindbladian, operator_matrix

TIMES = np.linspace(0.0, 6.0, 25)
XX = dict(t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)


def oscillator(w=1.3, kappa=0.8, n=0.0, levels=4):
    jumps = [Jump(op("A", 0), kappa * (1 + n)), Jump(op("Adag", 0), kappa * n)]
    return Lindbladian(Chain(1, Boson(levels)), w * op("N", 0), jumps)


def fluorescence(rabi=1.9, gamma=0.7):
    return Lindbladian(Chain(1, SpinHalf()), rabi / 2 * op("X", 0), [Jump(op("Sm", 0), rate=gamma)])


def mollow(rabi, gamma, times):
    """<s+(t) s-(0)> of a resonantly driven atom (H. J. Carmichael, Statistical Methods in Quantum Optics 1)."""
    y2 = 2 * rabi**2 / gamma**2
    delta = np.sqrt(gamma**2 / 16 - rabi**2 + 0j)
    side = (1 - 5 * y2) * gamma / (4 * delta)
    slow, fast = np.exp(-(0.75 * gamma - delta) * times), np.exp(-(0.75 * gamma + delta) * times)
    sidebands = ((1 - y2 + side) * slow + (1 - y2 - side) * fast) / (4 * (1 + y2))
    return y2 / (1 + y2) / 2 * (1 / (1 + y2) + np.exp(-gamma * times / 2) / 2 - sidebands)


def brute_force(model, a, b, rho, times):
    generator = dense_lindbladian(model)
    first, second = (operator_matrix(model.lattice, x).toarray() for x in (a, b))
    start = (second @ rho).ravel()
    D = len(rho)
    return np.array([np.trace(first @ (sl.expm(generator * t) @ start).reshape(D, D)) for t in times])


def test_damped_oscillator():
    w, kappa = 1.3, 0.8
    c = correlation_function(oscillator(), op("A", 0), op("Adag", 0), TIMES)
    assert np.abs(c - np.exp(-1j * w * TIMES - kappa * TIMES / 2)).max() < 1e-13
    grid = np.array([-1.3, 0.0, 0.9, 1.3, 2.0])
    s = power_spectrum(oscillator(), op("A", 0), op("Adag", 0), grid)
    assert s.dtype == float
    assert np.abs(s - kappa / ((grid - w) ** 2 + kappa**2 / 4)).max() < 1e-12


def test_thermal_oscillator_emits_at_minus_its_frequency():
    w, kappa, n = 1.3, 0.8, 0.05
    mode = oscillator(w, kappa, n, levels=14)
    c = correlation_function(mode, op("Adag", 0), op("A", 0), TIMES)
    assert np.abs(c - n * np.exp(1j * w * TIMES - kappa * TIMES / 2)).max() < 1e-12
    grid = np.array([-1.3, 0.0, 1.3])
    s = power_spectrum(mode, op("Adag", 0), op("A", 0), grid)
    assert np.abs(s - n * kappa / ((grid + w) ** 2 + kappa**2 / 4)).max() < 1e-11


@pytest.mark.parametrize(("rabi", "gamma"), [(1.9, 0.7), (0.1, 0.9)])
def test_resonance_fluorescence(rabi, gamma):
    atom = fluorescence(rabi, gamma)
    c = correlation_function(atom, op("Sp", 0), op("Sm", 0), TIMES)
    assert np.abs(c - mollow(rabi, gamma, TIMES)).max() < 1e-13
    connected = correlation_function(atom, op("Sp", 0), op("Sm", 0), TIMES, connected=True)
    y2 = 2 * rabi**2 / gamma**2
    assert np.abs(c - connected - y2 / (1 + y2) ** 2 / 2).max() < 1e-13


def test_mollow_triplet():
    rabi, gamma = 40.0, 1.0
    s = power_spectrum(
        fluorescence(rabi, gamma), op("Sp", 0), op("Sm", 0), [0.0, gamma / 2, rabi, -rabi, rabi + 0.75 * gamma]
    )
    # strong drive: Lorentzians of half widths gamma/2 and 3 gamma/4, heights 3 : 1
    assert s[0] == pytest.approx(1 / gamma, rel=1e-2)
    assert s[1] == pytest.approx(s[0] / 2, rel=1e-2)
    assert s[2] == pytest.approx(s[0] / 3, rel=1e-2) and s[3] == pytest.approx(s[2], rel=1e-12)
    assert s[4] == pytest.approx(s[2] / 2, rel=5e-2)


def test_spectrum_is_the_transform_of_the_correlation_and_obeys_the_sum_rule():
    model = models.boundary_driven_xx(3, **XX, dephasing=0.4)
    a, b = op("Sm", 0) + 0.3j * op("Sm", 2), op("Sp", 1)
    t = np.linspace(0, 60, 12001)
    grid = np.array([-2.0, 0.0, 0.7])
    forward = correlation_function(model, a, b, t)
    backward = correlation_function(model, b.dag, a.dag, t).conj()  # <a(-t) b(0)>
    weights = np.full(len(t), t[1] / 3)  # Simpson
    weights[1:-1:2] *= 4
    weights[2:-1:2] *= 2
    expected = [np.sum(weights * (np.exp(1j * w * t) * forward + np.exp(-1j * w * t) * backward)) for w in grid]
    assert np.abs(power_spectrum(model, a, b, grid) - expected).max() < 1e-7


def test_density_correlations_are_connected_and_finite_at_zero_frequency():
    model = models.boundary_driven_xx(3, **XX)
    s = power_spectrum(model, op("N", 0), op("N", 0), [0.0, 1e-9, 0.3])
    assert np.all(s > 0) and s[0] == pytest.approx(s[1], rel=1e-7)
    # <dN(t) dN> integrated over time, by an independent dense solve on operators without trace
    generator = dense_lindbladian(model)
    values, vectors = np.linalg.eig(generator)
    rho = vectors[:, np.argmin(np.abs(values))].reshape(8, 8)
    rho = rho / np.trace(rho)
    n = operator_matrix(model.lattice, op("N", 0)).toarray()
    start = (n @ rho - np.trace(n @ rho) * rho).ravel()
    y = np.linalg.lstsq(generator, start, rcond=1e-12)[0]
    y = y - rho.ravel() * y.reshape(8, 8).trace()
    assert s[0] == pytest.approx(-2 * np.trace(n @ y.reshape(8, 8)).real, rel=1e-10)


def test_sparse_and_iterative_solves_agree_with_dense_ones(monkeypatch):
    model = models.persistent_current(3, alpha=2.0, delta=1.5)
    a, grid = op("Z", 0) + op("Sp", 1) * op("Sm", 2), [-1.0, 0.0, 0.4]
    expected = power_spectrum(model, a, op("N", 1), grid)
    monkeypatch.setattr(regression, "_DENSE", 4)
    assert np.allclose(power_spectrum(model, a, op("N", 1), grid), expected, atol=1e-10)
    series = correlation_function(model, a, op("N", 1), TIMES)
    monkeypatch.setattr(regression, "_FACTORISED", 4)
    assert np.allclose(power_spectrum(model, a, op("N", 1), grid, tol=1e-11), expected, atol=1e-8)
    monkeypatch.undo()
    assert np.abs(series - correlation_function(model, a, op("N", 1), TIMES)).max() < 1e-12


@pytest.mark.parametrize("name", ["xx", "ring", "dephasing-ring"])
def test_correlations_from_any_state(name):
    model = {
        "xx": lambda: models.boundary_driven_xx(3, **XX),
        "ring": lambda: models.persistent_current(3, alpha=2.0, delta=1.5),
        "dephasing-ring": lambda: models.ring_dephasing(3, 1.0 + 0.2j, 0.9),
    }[name]()
    rng = np.random.default_rng(2)
    x = rng.standard_normal((8, 8)) + 1j * rng.standard_normal((8, 8))
    rho = x @ x.conj().T
    rho /= np.trace(rho)
    a, b = op("Sm", 0) * op("Z", 1) + 0.5 * op("N", 2), op("Sp", 2) + op("Y", 0)
    times = [0.0, 0.31, 0.5, 2.0]
    expected = brute_force(model, a, b, rho, times)
    assert np.abs(correlation_function(model, a, b, times, state=rho) - expected).max() < 1e-12
    assert (
        np.abs(correlation_function(model, a, b, times, state=DenseState(model.lattice, rho)) - expected).max() < 1e-12
    )
    mean_b = np.trace(operator_matrix(model.lattice, b).toarray() @ rho)
    one = brute_force(model, a, 1.0 + 0 * op("Z", 0), rho, times)
    connected = correlation_function(model, a, b, times, state=rho, connected=True)
    assert np.abs(connected - (expected - mean_b * one)).max() < 1e-12


def test_strong_symmetry_needs_a_state():
    ring = models.ring_dephasing(3, 1.0, 0.9)
    with pytest.raises(errors.DegenerateSteadyStateError):
        correlation_function(ring, op("N", 0), op("N", 1), [0.0, 1.0])
    with pytest.raises(errors.DegenerateSteadyStateError):
        power_spectrum(ring, op("N", 0), op("N", 0), [0.5], state=np.eye(8) / 8)
    one = np.diag([0, 0, 0, 1, 0, 1, 1, 0]) / 3.0  # one particle (up) anywhere
    s = power_spectrum(ring, op("N", 0), op("N", 0), [0.0, 0.5], state=one)
    total = sum((op("N", j) for j in (1, 2)), op("N", 0))
    assert np.all(s > 0)
    assert np.abs(power_spectrum(ring, op("N", 0), total, [0.0, 0.5], state=one)).max() < 1e-12  # a conserved number


def test_undamped_mode_at_the_frequency_asked_for():
    free = Lindbladian(Chain(2, SpinHalf()), op("Z", 0), [Jump(op("Sm", 1))])
    up = np.diag([0, 1, 0, 0]).astype(complex)
    with pytest.raises(errors.ConvergenceError, match="not damped"):
        power_spectrum(free, op("Sm", 0), op("Sp", 0), [2.0, -2.0], state=np.diag([0, 0.5, 0, 0.5]))
    with pytest.raises(errors.ConvergenceError, match="not damped"):
        power_spectrum(free, op("Sp", 0), op("Sm", 0), [2.0, -2.0], state=up)


@pytest.mark.parametrize(
    ("field", "function", "arguments"),
    [
        ("a", correlation_function, {"a": "Z"}),
        ("a", correlation_function, {"a": op("Z", 5)}),
        ("b", correlation_function, {"b": op("A", 0)}),
        ("times", correlation_function, {"times": [1.0, 0.0]}),
        ("times", correlation_function, {"times": [-1.0]}),
        ("state", correlation_function, {"state": np.eye(3)}),
        ("state", correlation_function, {"state": "up"}),
        ("frequencies", power_spectrum, {"frequencies": []}),
        ("frequencies", power_spectrum, {"frequencies": [np.nan]}),
        ("tol", power_spectrum, {"tol": -1.0}),
        ("state", power_spectrum, {"state": np.diag([1.0, 0.0])}),
    ],
)
def test_bad_arguments_are_named(field, function, arguments):
    grid = {"times": [0.0, 1.0]} if function is correlation_function else {"frequencies": [0.0]}
    given = {"a": op("Z", 0), "b": op("Z", 0), **grid, **arguments}
    with pytest.raises(errors.InputError) as caught:
        function(fluorescence(), **given)
    assert caught.value.field == field
