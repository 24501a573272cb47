"""Elimination of the light: identities of the spectra and rates, equivalent jumps, limits, mean fields, bad input."""

import math

import numpy as np
import pytest
import scipy.linalg as sla
import scipy.sparse as sp
from lattices import random_lattice, ring_matrix

from mpo_transport.elimination import (
    EffectivePhonons,
    NegativeRatesError,
    NegativeRatesWarning,
    continuous_spectrum,
    eliminate,
    eliminate_continuum,
    eliminate_squeezed,
    eliminate_two_tone,
    nambu_equations,
    read_links,
    ring_links,
    squeezed_reservoir,
)
from mpo_transport.errors import InputError, MpoTransportWarning, NotSupportedError, UnstableError
from mpo_transport.local_space import Boson
from mpo_transport.reference.optomechanical_exact import FullLattice
from mpo_transport.reference.optomechanical_lattices import EffectiveRing, hopping_by_image_sum
from mpo_transport.superoperator import dense_lindbladian

RING = {"J": 0.2, "Dt": -1.2, "gamma_c": 0.1, "gamma_m": 1e-3, "nbar": 10.0}


def ring(L=8, winding=1, G_abs=0.02, **change):
    G = G_abs * np.exp(2j * np.pi * winding * np.arange(L) / L)
    return eliminate(ring_matrix(L), G=G, **{**RING, **change})


# -- spectra and rates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_rates_are_a_square_of_photon_loss_amplitudes(seed):
    t, arguments = random_lattice(seed)
    e = eliminate(t, J=-2, **arguments)
    for M, K in ((e.M_plus, e.K_plus), (e.M_minus, e.K_minus)):
        np.testing.assert_allclose(K @ K.conj().T, M, rtol=0, atol=1e-13 * np.abs(M).max())
        np.testing.assert_allclose(M, M.conj().T, rtol=0, atol=1e-15)
    (down, U), (up, V) = e.modes()
    np.testing.assert_allclose(U.conj().T * down @ U, e.M_plus, atol=1e-15)
    np.testing.assert_allclose(V.conj().T * up @ V, e.M_minus, atol=1e-15)
    assert e.is_positive


def test_spectra_follow_their_definition_column_by_column():
    t, arguments = random_lattice(7, uniform=False)
    e = eliminate(t, J=-2, **arguments)
    B = t - np.diag(arguments["Dt"] + 0.5j * arguments["gamma_c"])
    for sign, S in ((1, e.S_plus), (-1, e.S_minus)):
        for column, w in enumerate(arguments["omega"]):
            response = np.linalg.inv(1j * (sign * w * np.eye(6) - B))[:, column]
            # [i(w - B)^-1] is i times the inverse: -1 times the inverse of i(w - B)
            expected = -arguments["G"].conj() * response * arguments["G"][column]
            np.testing.assert_allclose(S[:, column], expected, atol=1e-17)
    assert e.K_plus is None


@pytest.mark.parametrize(("L", "winding", "J", "Dt"), [(8, 1, 0.2, -1.2), (7, 2, -0.35, -0.8), (5, 3, 1.7, -2.9)])
def test_ring_matrices_are_the_closed_forms(L, winding, J, Dt):
    e = ring(L, winding, J=J, Dt=Dt)
    closed = EffectiveRing(L, 2 * math.pi * winding / L, J, Dt, 0.02, 0.1, 1e-3, 10.0)
    phase = np.exp(-2j * np.pi * winding * np.arange(L) / L)
    for sign, S in ((1, e.S_plus), (-1, e.S_minus)):
        image = hopping_by_image_sum(L, J, sign + Dt + 0.05j, 0.02)
        np.testing.assert_allclose(image.imag, closed.hopping(sign), atol=1e-18)
        for l in range(L):
            np.testing.assert_allclose(np.roll(S[:, l], -l), phase * image, atol=2e-17)
    for l in range(L):
        np.testing.assert_allclose(np.roll(e.h[:, l], -l), closed.h + np.eye(L)[0], atol=1e-15)
    fourier = np.exp(1j * np.outer(closed.k, np.arange(L))) / math.sqrt(L)  # columns of d_k: e^{ikl}
    frequencies = np.einsum("kl,lm,km->k", fourier.conj(), e.h, fourier)
    np.testing.assert_allclose(frequencies, 1 + closed.frequency_shift, atol=1e-15)
    np.testing.assert_allclose(np.einsum("kl,lm,km->k", fourier.conj(), e.M_plus, fourier), closed.loss, atol=1e-16)
    np.testing.assert_allclose(np.einsum("kl,lm,km->k", fourier, e.M_minus, fourier.conj()), closed.gain, atol=1e-16)


def test_ring_steady_state_is_the_closed_form():
    e = ring()
    closed = EffectiveRing(8, 2 * math.pi / 8, 0.2, -1.2, 0.02, 0.1, 1e-3, 10.0)
    for l in range(8):
        np.testing.assert_allclose(np.roll(e.sigma[l], -l), closed.sigma(), atol=1e-12)
        np.testing.assert_allclose(np.roll(e.pair_currents[l], -l), closed.pair_currents(), atol=1e-16)
    # v_k d_k^+ d_k written in sites gives the same variance and noise as the sums over k
    waves = np.exp(-1j * np.outer(closed.k, np.arange(8))) / math.sqrt(8)
    J = waves.conj().T * closed.current_coefficients() @ waves
    assert e.variance(J) == pytest.approx(closed.current_variance(), rel=1e-11)
    assert e.noise(J) == pytest.approx(closed.current_noise(), rel=1e-10)


def test_noise_is_the_integral_of_the_correlation_function():
    """Wick: <<j(t) j(0)>> = Tr[ E^+ J E (1+P) J P ], E = e^{Wt}, integrated numerically for an asymmetric chain."""
    e = eliminate([[0, 1, 0], [1, 0, 1], [0, 1, 0]], J=0.3, Dt=[-1.1, -1.0, -1.2], G=[0.1, 0.07j, 0.05],
                  gamma_c=0.3, gamma_m=0.05, nbar=[2.0, 0.5, 0.1])  # fmt: skip
    J = np.zeros((3, 3), dtype=complex)
    J[1, 0], J[0, 1] = -1j * e.h[1, 0], 1j * e.h[0, 1]
    P, one = e.sigma.T, np.eye(3)
    times, weights = np.polynomial.legendre.leggauss(200)
    end = 600.0
    total = 0.0
    for t, w in zip(end * (times + 1) / 2, weights * end / 2, strict=True):
        E = sla.expm((e.W + 1j * one) * t)
        total += w * np.trace(E.conj().T @ J @ E @ (one + P) @ J @ P).real
    assert e.noise(J) == pytest.approx(2 * total, rel=1e-9)
    assert np.trace(J @ P).real == pytest.approx(e.pair_currents[0, 1], rel=1e-12)


@pytest.mark.parametrize("uniform", [True, False])
def test_phonons_drawn_from_the_baths_are_lost_to_the_light(uniform):
    for seed in range(4):
        t, arguments = random_lattice(seed, uniform=uniform)
        e = eliminate(t, J=-2, **arguments)
        assert e.is_stable and e.is_positive
        drawn = np.sum(np.abs(e.thermal_inflow))
        assert abs(e.thermal_inflow.sum() - e.optical_outflow) < 1e-12 * drawn
        np.testing.assert_allclose(e.pair_currents, -e.pair_currents.T, atol=1e-16)
        residual = e.W @ e.sigma.T + e.sigma.T @ e.W.conj().T + e.M_up.T
        assert np.abs(residual).max() < 1e-12 * np.abs(e.M_up).max()


def test_independent_cells_without_hopping():
    G, nbar = np.array([0.01, 0.02j, -0.005]), np.array([5.0, 0.0, 40.0])
    Dt, gamma_c, gamma_m = np.array([-1.1, -0.9, -1.0]), np.array([0.1, 0.2, 0.05]), np.array([1e-3, 2e-3, 5e-4])
    e = eliminate(np.zeros((3, 3)), J=0.3, Dt=Dt, G=G, gamma_c=gamma_c, gamma_m=gamma_m, nbar=nbar)
    plus, minus = (abs(G) ** 2 * gamma_c / ((s + Dt) ** 2 + gamma_c**2 / 4) for s in (1, -1))
    np.testing.assert_allclose(e.occupations, (gamma_m * nbar + minus) / (gamma_m + plus - minus), rtol=1e-12)
    assert np.abs(e.sigma - np.diag(e.occupations)).max() == 0


def test_gauge_by_signs_only():
    """d_l -> -d_l is a symmetry; another phase is not, because both sidebands act."""
    t, arguments = random_lattice(3)
    e = eliminate(t, J=-2, **arguments)
    signs = np.array([1, -1, -1, 1, -1, 1])
    flipped = eliminate(t, J=-2, **{**arguments, "G": arguments["G"] * signs})
    np.testing.assert_allclose(flipped.occupations, e.occupations, rtol=1e-12)
    np.testing.assert_allclose(flipped.pair_currents, e.pair_currents, atol=1e-15)
    turned = eliminate(t, J=-2, **{**arguments, "G": arguments["G"] * np.exp(0.7j * np.arange(6))})
    assert np.abs(turned.pair_currents - e.pair_currents).max() > 1e-3 * np.abs(e.pair_currents).max()


def test_no_current_without_the_stokes_sideband():
    full = ring(G_abs=0.02)
    half = EffectivePhonons(full.S_plus, 0 * full.S_minus, full.gamma_m, full.nbar, full.omega)
    assert np.abs(half.pair_currents).max() < 1e-12 * np.abs(half.h * half.sigma).max()
    assert abs(full.pair_currents[0, 1]) > 1e-5 * full.occupations[0] * full.gamma_m[0]


def test_sign_changes_of_the_persistent_current():
    def current(winding, L=8, **change):
        j = ring(L, winding, **change).pair_currents
        return sum(j[0, p] for p in range(1, (L + 1) // 2))

    reference = current(1)
    assert current(-1) == pytest.approx(-reference, rel=1e-9)
    assert current(5) == pytest.approx(reference, rel=1e-9)  # phi + pi on an even ring
    assert current(3) == pytest.approx(-reference, rel=1e-9)  # pi - phi
    for winding in (0, 2, 4):
        assert abs(current(winding)) < 1e-9 * abs(reference)
    assert current(1, J=-0.2) == pytest.approx(reference, rel=1e-9)
    odd = current(1, L=7)
    assert current(-1, L=7) == pytest.approx(-odd, rel=1e-9)
    assert abs(current(1, L=7, J=-0.2) - odd) > 1e-3 * abs(odd)


def test_effective_theory_converges_to_the_full_model():
    """The Born-Markov error is first order: halving G^2 and gamma_m halves it."""
    A = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    errors = []
    for scale in (1.0, 0.5, 0.25):
        G = 0.02 * math.sqrt(scale) * np.array([1, 0.6j, -0.8])
        more = {"Dt": np.array([-1.1, -1.0, -1.2]), "G": G, "gamma_c": 0.1, "gamma_m": 1e-3 * scale, "nbar": 3.0}
        e = eliminate(A, J=0.1, **more)
        exact = FullLattice(read_links(A, 0.1).matrix, omega=1.0, **more)
        errors.append(np.linalg.norm(e.sigma - exact.phonons, 2) / np.linalg.norm(exact.phonons, 2))
    assert errors[0] < 0.03
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.05)


# -- Lindbladian -------------------------------------------------------------------------------------------------------


def matrix_form(e, levels):
    """The master equation of the rates M^(pm), dense and row-major, without any choice of jumps."""
    L, a = e.L, Boson(levels).matrix("A")
    d = [np.kron(np.kron(np.eye(levels**j), a), np.eye(levels ** (L - j - 1))) for j in range(L)]
    one = np.eye(levels**L)
    H = sum(e.h[i, j] * d[i].T @ d[j] for i in range(L) for j in range(L))
    out = -1j * (np.kron(H, one) - np.kron(one, H.T))
    for M, ops in ((e.M_down, d), (e.M_up, [x.T for x in d])):
        for i in range(L):
            for j in range(L):
                pair = ops[i].T @ ops[j]
                out = out + M[i, j] * (np.kron(ops[j], ops[i]) - 0.5 * np.kron(pair, one) - 0.5 * np.kron(one, pair.T))
    return out


@pytest.mark.parametrize(("L", "levels"), [(3, 2), (2, 3)])
def test_three_forms_of_the_dissipator_agree(L, levels):
    t, arguments = random_lattice(5, L=L)
    e = eliminate(t, J=-2, **arguments)
    expected = matrix_form(e, levels)
    for jumps in ("losses", "modes", "total", None):
        generator = dense_lindbladian(e.lindbladian(levels, jumps=jumps))
        np.testing.assert_allclose(generator, expected, atol=2e-15)


def test_charges_labels_and_baths_of_the_lindbladian():
    model = ring(4, nbar=[0.0, 1.0, 2.0, 3.0]).lindbladian(3)
    optical = [j for j in model.jumps if j.label == "optical"]
    assert [(j.operator.sites, j.charge) for j in optical] == [((0, 1, 2, 3), 1.0)] * 4 + [((0, 1, 2, 3), -1.0)] * 4
    thermal = [(j.label, j.charge) for j in model.jumps if j.label != "optical"]
    assert thermal[:3] == [("site_0", 1.0), ("site_1", 1.0), ("site_1", -1.0)]  # nbar = 0: no absorption
    assert [(b.label, b.energy, b.occupation) for b in model.baths][1] == ("site_1", 1.0, 1.0)
    assert model.lattice.periodic and model.is_quadratic
    assert [str(s) for s in model.conserved] == ["weak U(1): N(0) + N(1) + N(2) + N(3)"]


def test_photon_loss_jumps_are_localised():
    A = np.diag(np.ones(19), 1)
    e = eliminate(A + A.T, J=0.05, Dt=-1.3, G=0.02, gamma_c=0.1, gamma_m=1e-3, nbar=1.0)
    down, _ = e.jump_amplitudes("losses")
    weight = np.abs(down[10]) / np.abs(down[10, 10])
    decay = weight[11:16] / weight[10:15]
    assert np.all(decay < 0.1) and np.ptp(decay) < 1e-3
    modes, _ = e.jump_amplitudes("modes")
    assert np.median(np.abs(modes[-1])) > 0.1 * np.abs(modes[-1]).max()


def test_rotating_frame_removes_the_mean_frequency_only():
    e = ring(4)
    difference = e.lindbladian().hamiltonian - e.lindbladian(rotating=True).hamiltonian
    assert {k[0][0] for k, _ in difference} == {"N"}
    np.testing.assert_allclose([c for _, c in difference], 1.0, atol=1e-15)


def test_unequal_frequencies_can_make_a_rate_negative():
    """Eight-ring at the lowest anti-Stokes resonance: positive at a spread of 0.03, not at 0.1 (about gamma_c)."""
    pattern = np.random.default_rng(0).uniform(-0.5, 0.5, 8)
    near, far = (ring(omega=1 + s * pattern) for s in (0.03, 0.1))
    assert near.is_positive and not far.is_positive
    assert near.lindbladian(2).L == 8
    with pytest.raises(NegativeRatesError) as error:
        far.lindbladian(2)
    assert error.value.field == "omega" and error.value.eigenvalues.min() < -1e-6
    assert isinstance(error.value, NotSupportedError)
    total = far.lindbladian(2, jumps="total")  # with the thermal noise, the generator is a proper one
    assert {j.label for j in total.jumps} == {None} and not total.baths
    with pytest.raises(NegativeRatesError):
        ring(omega=1 + 0.1 * pattern, gamma_m=0.0, nbar=0.0).lindbladian(2, jumps="total")
    with pytest.warns(NegativeRatesWarning, match="negative"):
        sigma = far.sigma
    assert issubclass(NegativeRatesWarning, MpoTransportWarning)
    exact = FullLattice(
        read_links(ring_matrix(8), 0.2).matrix, -1.2, 0.02 * np.exp(2j * np.pi * np.arange(8) / 8), 0.1,
        1 + 0.1 * pattern, 1e-3, 10.0,
    )  # fmt: skip
    assert np.linalg.norm(sigma - exact.phonons, 2) < 0.1 * np.linalg.norm(exact.phonons, 2)
    with pytest.raises(NotSupportedError) as error:
        near.lindbladian(2, jumps="losses")
    assert error.value.field == "jumps"


def test_heating_is_refused():
    e = ring(Dt=0.8)
    assert not e.is_stable and e.gap < 0
    with pytest.raises(UnstableError, match="grows") as error:
        _ = e.sigma
    assert error.value.growth == -e.gap and error.value.frequency == pytest.approx(1.0, abs=0.02)
    assert e.lindbladian(3).L == 8  # truncated, it is a proper master equation all the same


# -- adjacency ---------------------------------------------------------------------------------------------------------


def test_forms_of_an_adjacency_matrix():
    A = np.array([[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
    dense = read_links(A, [0.1, 0.2, 0.3])
    for form in (
        A.tolist(),
        sp.csr_array(A),
        sp.coo_matrix(A),
        dense.edges,
        {"L": 4, "edges": [(0, 1), (0, 3), (2, 1)]},
    ):
        links = read_links(form, [0.1, 0.2, 0.3])
        np.testing.assert_array_equal(links.matrix, dense.matrix)
    assert dense.pairs == [(0, 1), (0, 3), (1, 2)]
    weighted = read_links([[0, 2 - 1j], [2 + 1j, 0]], 1.0)
    assert weighted.edges == {"L": 2, "edges": [[0, 1, 2 - 1j]]}
    np.testing.assert_array_equal(read_links(weighted.edges, 1.0).matrix, weighted.matrix)
    np.testing.assert_array_equal(ring_links(5, 0.3).matrix, read_links(ring_matrix(5), 0.3).matrix)


@pytest.mark.parametrize(
    "adjacency",
    [
        [[0, 1], [0, 0]],
        [[0, 1j], [1j, 0]],
        [[1, 0], [0, 0]],
        [[0, 1, 0], [1, 0, 1]],
        [[0, math.nan], [math.nan, 0]],
        "ring",
        [],
        sp.csr_array(np.array([[0, 1], [0, 0]])),
        sp.csr_array(np.eye(2)),
        {"L": 2, "edges": [[0, 2]]},
        {"L": 2, "edges": [[0, 0]]},
        {"L": 3, "edges": [[0, 1], [1, 0]]},
        {"L": 3, "edges": [[0, 1, 2, 3]]},
        {"L": 0, "edges": []},
        {"edges": []},
    ],
    ids=str,
)
def test_a_bad_adjacency_is_named(adjacency):
    with pytest.raises(InputError) as error:
        read_links(adjacency, 0.1)
    assert error.value.field == "adjacency"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"J": [0.1, 0.2]}, "J"),
        ({"J": 1j}, "J"),
        ({"Dt": [1.0]}, "Dt"),
        ({"G": math.inf}, "G"),
        ({"gamma_c": -0.1}, "gamma_c"),
        ({"gamma_m": -1e-3}, "gamma_m"),
        ({"nbar": -1.0}, "nbar"),
        ({"nbar": math.nan}, "nbar"),
        ({"omega": 1j}, "omega"),
    ],
)
def test_bad_parameters_are_named(change, field):
    with pytest.raises(InputError) as error:
        eliminate(ring_matrix(4), **{**RING, "G": 0.02, **change})
    assert error.value.field == field


def test_bad_choice_of_jumps_is_named():
    with pytest.raises(InputError) as error:
        ring(4).lindbladian(3, jumps="dense")
    assert error.value.field == "jumps"


# -- two tones ---------------------------------------------------------------------------------------------------------


def two_tone_exact(links, Dt, minus, plus, gamma_c, gamma_m, nbar):
    """Steady <w w^+>, w = (c, d, c^+, d^+), of V = -sum c (G_-^* d^+ + G_+^* d) + h.c."""
    L = links.L
    zero = np.zeros((L, L))
    red, blue = np.diag(minus), np.diag(plus)
    h = np.block([[links.matrix - Dt * np.eye(L), -red], [-red.conj(), zero]])
    k = np.block([[zero, -blue], [-blue, zero]])
    u = np.diag(np.sqrt(np.concatenate([np.full(L, gamma_c), np.full(L, gamma_m * (nbar + 1))])))
    v = np.diag(np.sqrt(np.concatenate([np.zeros(L), np.full(L, gamma_m * nbar)])))
    X, Y = nambu_equations(h, k, np.vstack([u, 0 * v]), np.vstack([0 * u, v]))
    return sla.solve_continuous_lyapunov(X, -Y)


def test_two_tone_phonons_approach_the_full_model():
    A, l = ring_matrix(5), np.arange(5)
    errors = []
    for scale in (1.0, 0.25):
        minus, plus = (math.sqrt(scale) * x for x in (0.012 * np.exp(0.8j * l**2), 0.006 * np.exp(0.3j * l)))
        e = eliminate_two_tone(
            A, J=0.1, Dt=-0.03, G_minus=minus, G_plus=plus, gamma_c=0.1, gamma_m=1e-3 * scale, nbar=1.0
        )
        exact = two_tone_exact(read_links(A, 0.1), -0.03, minus, plus, 0.1, 1e-3 * scale, 1.0)
        phonons = exact[15:, 15:].diagonal().real
        errors.append(np.abs(e.occupations - phonons).max() / phonons.max())
        assert e.squeezing < 0.5
    assert errors[0] < 0.01
    assert errors[0] / errors[1] == pytest.approx(4, abs=0.3)


def test_two_tone_rates_and_covariance():
    l = np.arange(4)
    e = eliminate_two_tone(
        np.diag(np.ones(3), 1) + np.diag(np.ones(3), -1), J=0.1, Dt=[0.0, 0.02, -0.03, 0.01],
        G_minus=0.012 * np.exp(0.8j * l**2), G_plus=0.006 * np.exp(0.3j * l), gamma_c=[0.1, 0.2, 0.1, 0.05],
        gamma_m=1e-3, nbar=1.0,
    )  # fmt: skip
    np.testing.assert_allclose(e.K @ e.K.conj().T, e.M, atol=1e-17)
    np.testing.assert_allclose(np.abs(e.u) ** 2 - np.abs(e.v) ** 2, 1.0, rtol=1e-13)
    V = e.covariance
    form = np.block([[np.zeros((4, 4)), np.eye(4)], [-np.eye(4), np.zeros((4, 4))]])
    assert np.linalg.eigvalsh(V + 0.5j * form).min() > -1e-12  # uncertainty relation
    assert np.trace(V) == pytest.approx(2 * e.occupations.sum() + 4, rel=1e-12)
    plain = eliminate_two_tone([[0]], J=0, Dt=0, G_minus=0.01, G_plus=0.0, gamma_c=0.1, gamma_m=1e-3, nbar=2.0)
    rate = 4 * 0.01**2 / 0.1  # one tone: ordinary cooling at resonance
    assert plain.occupations[0] == pytest.approx(2e-3 / (1e-3 + rate), rel=1e-12)


def test_two_tone_needs_the_stronger_red_tone():
    kw = {"J": 0.1, "Dt": 0.0, "gamma_c": 0.1, "gamma_m": 1e-3, "nbar": 1.0}
    with pytest.raises(InputError) as error:
        eliminate_two_tone(ring_matrix(3), G_minus=0.01, G_plus=[0.005, 0.01, 0.0], **kw)
    assert error.value.field == "G_plus" and "cell 1" in str(error.value)
    with pytest.raises(InputError) as error:
        eliminate_two_tone([[0]], G_minus=0.01, G_plus=0.0, **{**kw, "gamma_c": 0.0})
    assert error.value.field == "gamma_c"
    with pytest.raises(InputError) as error:
        eliminate_two_tone(ring_matrix(3), G_minus=0.01, G_plus=0.0, coordination=0, **kw)
    assert error.value.field == "coordination"


# -- other reservoirs --------------------------------------------------------------------------------------------------


def test_vacuum_in_nambu_form_is_the_ordinary_reservoir():
    t, arguments = random_lattice(2, uniform=False)
    a = eliminate(t, J=-2, **arguments)
    reservoir = squeezed_reservoir(t, arguments["Dt"], arguments["gamma_c"])
    vacuum = np.zeros((12, 12))
    vacuum[:6, 6:] = np.eye(6)
    np.testing.assert_allclose(reservoir.C0, vacuum, atol=1e-13)
    b = eliminate_squeezed(reservoir, **{k: arguments[k] for k in ("G", "gamma_m", "nbar", "omega")})
    np.testing.assert_allclose(b.S_plus, a.S_plus, atol=1e-15)
    np.testing.assert_allclose(b.S_minus, a.S_minus, atol=1e-15)


def test_squeezed_input_is_that_of_squeezed_jumps():
    """A bath in squeezed vacuum is the jump cosh r c + e^{i chi} sinh r c^+."""
    r, chi, gamma, Dt = 0.6, 0.7, 0.1, -1.0
    N, M = math.sinh(r) ** 2, -np.exp(1j * chi) * math.sinh(r) * math.cosh(r)
    reservoir = squeezed_reservoir([[0.0]], Dt, gamma, occupation=N, squeezing=M)
    jump = math.sqrt(gamma) * np.array([[math.cosh(r)], [np.exp(1j * chi) * math.sinh(r)]])
    X, Y = nambu_equations(np.array([[-Dt]]), np.zeros((1, 1)), jump[:1], jump[1:])
    C = sla.solve_continuous_lyapunov(X, -Y)  # <w w^+>; C0 is <w w^T>
    np.testing.assert_allclose(reservoir.C0, C[:, ::-1], atol=1e-14)
    with pytest.raises(InputError) as error:
        squeezed_reservoir([[0.0]], Dt, gamma, occupation=0.5, squeezing=1.0)
    assert error.value.field == "squeezing"


def test_parametric_light_against_the_full_model():
    """Two cells with pair creation of photons: the error vanishes with the coupling, the change does not."""
    t = np.array([[0, -0.05], [-0.05, 0]])
    k = np.array([[0.2, 0.1j], [0.1j, -0.15]])
    Dt, gamma_c, nbar = np.array([-1.05, -0.95]), 0.3, np.array([1.0, 0.2])
    errors = []
    for scale in (1.0, 0.25):
        G, gamma_m = 0.02 * math.sqrt(scale) * np.array([1, np.exp(0.9j)]), 1e-3 * scale
        e = eliminate_squeezed(squeezed_reservoir(t, Dt, gamma_c, pairing=k), G=G, gamma_m=gamma_m, nbar=nbar)
        zero, coupling = np.zeros((2, 2)), -np.diag(G)
        h = np.block([[t - np.diag(Dt), coupling], [coupling.conj(), np.eye(2)]])
        pair = np.block([[k, coupling], [coupling, zero]])
        u = np.diag(np.sqrt(np.concatenate([np.full(2, gamma_c), gamma_m * (nbar + 1)])))
        v = np.diag(np.sqrt(np.concatenate([np.zeros(2), gamma_m * nbar])))
        X, Y = nambu_equations(h, pair, np.vstack([u, 0 * v]), np.vstack([0 * u, v]))
        exact = sla.solve_continuous_lyapunov(X, -Y)[6:, 6:]
        errors.append(np.abs(e.sigma - exact).max() / np.abs(exact).max())
        without = eliminate(-2 * t / 0.1, J=0.1, Dt=Dt, G=G, gamma_c=gamma_c, gamma_m=gamma_m, nbar=nbar)
        assert np.abs(without.sigma - exact).max() > 0.05 * np.abs(exact).max()
    assert errors[0] < 0.02 and errors[0] / errors[1] == pytest.approx(4, abs=0.8)
    with pytest.raises(UnstableError):
        squeezed_reservoir([[0.0]], 0.0, 0.1, pairing=[[0.2]])


def test_a_ring_is_a_sum_over_momenta():
    L, q = 8, 2 * np.pi * np.arange(8) / 8
    G = 0.02 * np.exp(2j * np.pi * np.arange(L) / L)
    more = {"G": G, "gamma_m": 1e-3, "nbar": 10.0, "omega": 1 + 0.01 * np.sin(np.arange(L))}
    a = eliminate(ring_matrix(L), J=0.2, Dt=-1.2, gamma_c=0.1, **more)
    b = eliminate_continuum(lambda k: 1.2 - 0.2 * np.cos(k) - 0.05j, q, 1 / L, np.arange(L), **more)
    np.testing.assert_allclose(b.S_plus, a.S_plus, atol=1e-16)
    np.testing.assert_allclose(b.S_minus, a.S_minus, atol=1e-16)


def test_a_parabolic_band_has_an_exponential_response():
    """int dq/2pi e^{iqx} i/(E - q^2/2m) = (m/Q) e^{iQ|x|}, Q = sqrt(2mE), Im Q > 0."""
    mass, gamma, omega = 2.0, 0.4, 1.0
    cutoff, step = 200.0, 0.01  # the trapezoidal rule converges exponentially: e^{-2 pi Im Q/step}
    q = np.arange(-cutoff, cutoff + step / 2, step)
    r = np.array([0.0, 0.7, 2.9])
    S = continuous_spectrum(
        lambda k: k**2 / (2 * mass) - 0.5j * gamma, q, step / (2 * np.pi), r, np.ones(3), omega * np.ones(3)
    )
    Q = np.sqrt(2 * mass * (omega + 0.5j * gamma))
    expected = mass / Q * np.exp(1j * Q * np.abs(r[:, None] - r))
    off = ~np.eye(3, dtype=bool)
    # beyond the cutoff the integrand is -2im/q^2: an oscillating tail off the diagonal, -2im/(pi cutoff) on it
    np.testing.assert_allclose(S[off], expected[off], atol=4 * mass / (np.pi * cutoff**2 * 0.7))
    tail = -2j * mass / (np.pi * cutoff)
    np.testing.assert_allclose(np.diag(S) + tail, np.diag(expected), atol=step * abs(tail))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"positions": [0.0, 1.0, 2.0]}, "positions"),
        ({"positions": [[0.0, 0.0], [1.0, 0.0]]}, "positions"),
        ({"band": lambda q: 1.0}, "band"),
        ({"band": lambda q: q + 1j}, "band"),
        ({"weights": [0.1, 0.2]}, "weights"),
    ],
)
def test_bad_continua_are_named(change, field):
    arguments = {
        "band": lambda q: q**2 - 0.1j, "momenta": np.arange(3.0), "weights": 0.1, "positions": [0.0, 1.0],
    } | change  # fmt: skip
    with pytest.raises(InputError) as error:
        continuous_spectrum(**arguments, G=np.ones(2), omega=np.ones(2))
    assert error.value.field == field
