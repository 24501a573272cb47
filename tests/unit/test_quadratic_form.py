"""The arrays read off the text of a quadratic model give the moments that exact diagonalisation gives."""

import math

import numpy as np
import pytest
import scipy.linalg

import mpo_transport as mt
from mpo_transport import Boson, Chain, Jump, Lindbladian, OpSum, SpinHalf, op
from mpo_transport.errors import NotSupportedError
from mpo_transport.superoperator.quadratic import quadratic_form


def hermitian(operator):
    return operator + operator.dag


def exact(model):
    return mt.steady_state(model, mt.ExactDiag(), tol=1e-9, progress=False)


def random_fermions(seed, L=4):
    """Fields, complex XY couplings, strings over two and three sites, squeezed jumps with strings at both ends."""
    rng = np.random.default_rng(seed)

    def c():
        return complex(*rng.normal(size=2))

    h = sum((rng.normal() * op("Z", j) for j in range(L)), OpSum())
    for j in range(L - 1):
        h = h + hermitian(c() * op("Sp", j) * op("Sm", j + 1) + c() * op("Sp", j) * op("Sp", j + 1))
    h = (
        h
        + hermitian(c() * op("Sp", 0) * op("Z", 1) * op("Sm", 2))
        + rng.normal() * op("X", 1) * op("Z", 2) * op("Y", 3)
    )
    jumps = [
        Jump(op("Sm", 0), 0.7),
        Jump(op("Sp", 0) + c() * op("Z", 0) * op("Sm", 1), 0.4),
        Jump(op("Sm", L - 1) + c() * op("Sp", L - 1), 0.5),
        Jump(op("Sp", L - 2) * op("Z", L - 1) + c() * op("X", L - 1), 0.3),
    ]
    return Lindbladian(Chain(L, SpinHalf()), h, jumps)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_jordan_wigner_fermions_have_the_moments_of_the_spins(seed):
    model = random_fermions(seed)
    L, moments = model.L, quadratic_form(model).moments()
    covariance = scipy.linalg.solve_continuous_lyapunov(moments.drift, -moments.diffusion)
    assert np.abs(covariance + covariance.T).max() < 1e-13
    products = np.eye(2 * L) - 1j * covariance  # <w_i w_j>
    lower = np.hstack([np.eye(L), 1j * np.eye(L)]) / 2
    normal, anomalous = lower.conj() @ products @ lower.T, lower @ products @ lower.T
    result = exact(model)
    for j in range(L):
        assert result.expect(op("N", j)) == pytest.approx(normal[j, j].real, abs=1e-12)
    for i in range(L - 1):
        assert abs(result.expect(op("Sp", i) * op("Sm", i + 1)) - normal[i, i + 1]) < 1e-12
        assert abs(result.expect(op("Sm", i) * op("Sm", i + 1)) + anomalous[i, i + 1]) < 1e-12
    string = op("Sp", 0) * op("Z", 1) * op("Z", 2) * op("Sm", 3)
    assert abs(result.expect(string) - normal[0, 3]) < 1e-12


def driven_mode(levels):
    """Detuned, squeezed, displaced, with a jump that mixes a, a+ and a constant."""
    a, adag = op("A", 0), op("Adag", 0)
    h = 0.3 * op("N", 0) + hermitian((0.02 + 0.01j) * adag * adag + 0.1j * adag)
    h = h + 0.02 * (op("Q", 0) * op("P", 0) + op("P", 0) * op("Q", 0))
    jumps = [Jump(a + 0.1j * adag + (0.1 - 0.2j), 1.0), Jump(0.3 * op("Q", 0), 0.3), Jump(adag, 0.05)]
    return Lindbladian(Chain(1, Boson(levels)), h, jumps)


def test_squeezed_displaced_mode_against_exact_diagonalisation():
    moments = quadratic_form(driven_mode(math.inf)).moments()
    covariance = scipy.linalg.solve_continuous_lyapunov(moments.drift, -moments.diffusion)
    means = np.linalg.solve(moments.drift, -moments.drive)
    result = exact(driven_mode(20))
    q, p = op("Q", 0), op("P", 0)
    assert np.allclose(means, [result.expect(q), result.expect(p)], rtol=0, atol=1e-10)
    symmetric = [[q * q, (q * p + p * q) / 2], [(q * p + p * q) / 2, p * p]]
    measured = np.array([[result.expect(o).real for o in row] for row in symmetric])
    assert np.allclose(covariance, measured - np.outer(means, means), rtol=0, atol=1e-10)


def test_number_conserving_form_agrees_with_the_quadratures():
    rng = np.random.default_rng(3)
    h = sum((complex(*rng.normal(size=2)) * op("Adag", i) * op("A", j) for i in range(3) for j in range(i)), OpSum())
    jumps = [Jump(op("A", 0) + 0.5j * op("A", 2), 2.0), Jump(op("Adag", 1) - 0.3 * op("Adag", 0), 0.2)]
    jumps += [Jump(op("A", j), 1.0) for j in range(3)]
    form = quadratic_form(Lindbladian(Chain(3, Boson(math.inf)), hermitian(h), jumps))
    assert form.conserves_number
    drift, gain = form.amplitudes()
    c = scipy.linalg.solve_continuous_lyapunov(drift, -gain)  # c_kl = <a_l^+ a_k>
    moments = form.moments()
    s = scipy.linalg.solve_continuous_lyapunov(moments.drift, -moments.diffusion)
    qq, qp, pp = s[:3, :3], s[:3, 3:], s[3:, 3:]
    assert np.allclose(c.T, (qq + pp - np.eye(3)) / 2 + 0.5j * (qp - qp.T), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (mt.models.kerr_oscillator(Delta=0.1, U=1.0, F=0.2, gamma=1.0, levels=math.inf), "N(0) N(0)"),
        (mt.models.boundary_driven_xxz(L=3, Delta=0.5, eps=1.0), "Z(0) Z(1)"),
        (mt.models.boundary_driven_xx(L=3, t=1.0, G_L=1.0, f_L=0.5, G_R=1.0, f_R=0.5, dephasing=0.2), "N(0)"),
        (Lindbladian(Chain(3, SpinHalf()), None, [Jump(op("Sm", 1))]), "Sm(1)"),
        (Lindbladian(Chain(2, SpinHalf()), None, [Jump(op("Sm", 0) + 1.0)]), "jump"),
        (Lindbladian(Chain(1, Boson(math.inf)), None, [Jump(op("A", 0) * op("A", 0))]), "A(0) A(0)"),
    ],
)
def test_a_term_that_is_not_quadratic_is_named(model, word):
    with pytest.raises(NotSupportedError, match="not quadratic") as caught:
        quadratic_form(model)
    assert word in str(caught.value)
