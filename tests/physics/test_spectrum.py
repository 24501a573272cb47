"""Liouvillian spectra: completeness, eigenoperators, sectors, closed forms of gaps, hard cases and bad input."""

import cmath
import math

import numpy as np
import pytest
from systems import DEGENERATE, load_reference

from mpo_transport import (
    Boson,
    Chain,
    Graph,
    Jump,
    Lindbladian,
    LocalSpace,
    SpinHalf,
    errors,
    gap,
    models,
    op,
    spectrum,
)
from mpo_transport.reference.boundary_driven import ring_dephasing_gap, xx_dephasing_gap, xx_gap
from mpo_transport.spectrum import numerics, search
from mpo_transport.superoperator import dense_lindbladian, operator_matrix, sparse_lindbladian

XX = dict(t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
DRIVEN = dict(alpha=2.0, delta=1.5)


def qubit(frequency=3.0, rate=0.4):
    return Lindbladian(Chain(1, SpinHalf()), frequency / 2 * op("Z", 0), [Jump(op("Sm", 0), rate=rate)])


def interfering():
    """A weak U(1) that only the sum over both jumps has: D[s- + s+] + D[i(s- - s+)] = 2 D[s-] + 2 D[s+]."""
    plus, minus = op("Sm", 0) + op("Sp", 0), 1j * (op("Sm", 0) - op("Sp", 0))
    hop = op("Sp", 0) * op("Sm", 1)
    return Lindbladian(
        Chain(2, SpinHalf()), hop + hop.dag + 0.3 * op("N", 0), [Jump(plus), Jump(minus), Jump(op("Sm", 1), 0.7)]
    )


def complete(model):
    D = math.prod(int(d) for d in model.lattice.dims)
    return spectrum(model, D * D)


def farthest(a, b):
    distance = np.abs(np.asarray(a)[:, None] - np.asarray(b)[None, :])
    return max(distance.min(axis=0).max(), distance.min(axis=1).max())


def moments(values):
    return np.array([np.sum(np.asarray(values) ** p) for p in (1, 2, 3)])


MODELS = {
    "xx": lambda: models.boundary_driven_xx(4, **XX),
    "xx-asymmetric-complex": lambda: models.boundary_driven_xx(
        3, **{**XX, "t": [1.0 + 0.4j, 0.3]}, dephasing=[0.1, 0.5, 0.2]
    ),
    "ring": lambda: models.persistent_current(4, **DRIVEN),
    "ring-of-five-with-flux": lambda: models.persistent_current(5, alpha=2.0, delta=1.0j, J=0.7, flux=0.4),
    "open": lambda: models.persistent_current(3, **DRIVEN, periodic=False, mu=[0.4, 1.0, 1.7]),
    "dephasing-ring": lambda: models.ring_dephasing(3, 1.0, 0.9),
    "exclusion": lambda: models.exclusion_process(3, 0.7, 0.2, 0.4, 0.9),
    "kerr": lambda: models.kerr_oscillator(Delta=0.5, U=1.0, F=0.6, gamma=1.0, levels=7),
    "interfering": interfering,
    "graph": lambda: Lindbladian(
        Graph([(0, 1), (1, 2)], [SpinHalf(), Boson(3), SpinHalf()]),
        op("Sp", 0) * op("A", 1) + op("Sm", 0) * op("Adag", 1) + op("Z", 1 + 1) * 0.5,
        [Jump(op("A", 1), 0.8), Jump(op("Sp", 2), 0.3)],
    ),
    "without-charge": lambda: Lindbladian(
        Chain(1, LocalSpace("clock", 3, {"T": np.diag([1.0, 2.0, 4.0]), "S": np.roll(np.eye(3), 1, axis=0)})),
        op("T", 0),
        [Jump(op("S", 0), 0.6)],
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_all_sectors_together_give_the_whole_spectrum(name):
    model = MODELS[name]()
    expected = np.linalg.eigvals(dense_lindbladian(model))
    found = complete(model)
    scale = np.abs(expected).max()
    assert len(found) == len(expected)
    assert farthest(found.eigenvalues, expected) < 1e-6 * scale  # defective eigenvalues split by roots of rounding
    # traces of powers do not suffer from exceptional points: multiplicities are right
    assert np.allclose(moments(found.eigenvalues), moments(expected), atol=1e-9 * len(expected) * scale**3)
    assert np.all(np.diff(found.eigenvalues.real) < 1e-8 * scale)


@pytest.mark.parametrize(
    "name", ["xx", "xx-asymmetric-complex", "ring", "ring-of-five-with-flux", "open", "kerr", "graph"]
)
def test_eigenoperators_are_biorthonormal_solutions_of_the_whole_generator(name):
    model = MODELS[name]()
    generator = sparse_lindbladian(model)
    found = spectrum(model, 12)
    right = np.array([found.right(j).ravel() for j in range(12)])
    left = np.array([found.left(j).ravel() for j in range(12)])
    for j, value in enumerate(found.eigenvalues):
        norm = np.linalg.norm(right[j])
        assert np.linalg.norm(generator @ right[j] - value * right[j]) < 1e-10 * norm
        assert abs(found.residuals[j] - np.linalg.norm(generator @ right[j] - value * right[j]) / norm) < 1e-11
        assert np.linalg.norm(generator.conj().T @ left[j] - value.conjugate() * left[j]) < 1e-9 * np.linalg.norm(
            left[j]
        )
        assert found.conditions[j] == pytest.approx(norm * np.linalg.norm(left[j]), rel=1e-9)
    assert np.abs(left.conj() @ right.T - np.eye(12)).max() < 1e-9


def test_the_stationary_pair_is_the_steady_state_and_the_identity():
    found = spectrum(models.boundary_driven_xx(3, **XX), 2)
    rho = found.right(0)
    assert np.trace(rho) == pytest.approx(1.0, abs=1e-13)
    assert np.linalg.eigvalsh(rho).min() > 0 and np.abs(rho - rho.conj().T).max() < 1e-13
    assert np.abs(found.left(0) - np.eye(8)).max() < 1e-12
    assert found.is_unique and abs(np.trace(found.right(1))) < 1e-12


# ----------------------------------------------------------------------------------------------------------------------
# closed forms


def test_damped_qubit():
    found = spectrum(qubit(), 10)
    assert np.allclose(found.eigenvalues, [0, -0.2 + 3j, -0.2 - 3j, -0.4], atol=1e-14)
    # [H, s-] = -w s-: the coherence with charge -1 evolves as exp(+i w t)
    assert found.sectors == ("charge=0", "charge=-1", "charge=1", "charge=0")
    assert gap(qubit()) == pytest.approx(0.2, abs=1e-15)
    assert gap(qubit(), sector={"charge": 0}) == pytest.approx(0.4, abs=1e-15)


def test_thermal_oscillator():
    w, kappa, n = 1.3, 0.8, 0.02
    mode = Lindbladian(
        Chain(1, Boson(12)), w * op("N", 0), [Jump(op("A", 0), kappa * (1 + n)), Jump(op("Adag", 0), kappa * n)]
    )
    # lambda = -i w (m - k) - kappa (m + k)/2
    for charge, expected in {0: [0, -1, -2], 1: [-0.5 - 1.3j / 0.8, -1.5 - 1.3j / 0.8], -2: [-1 + 2.6j / 0.8]}.items():
        found = spectrum(mode, len(expected), sector={"charge": charge})
        assert np.allclose(found.eigenvalues / kappa, expected, atol=1e-11)


def test_driven_qubit_has_the_eigenvalues_of_the_optical_bloch_equations():
    rabi, gamma = 1.9, 0.7
    driven = Lindbladian(Chain(1, SpinHalf()), rabi / 2 * op("X", 0), [Jump(op("Sm", 0), rate=gamma)])
    root = cmath.sqrt(gamma**2 / 16 - rabi**2)
    expected = [0, -gamma / 2, -0.75 * gamma + root, -0.75 * gamma - root]
    assert np.allclose(spectrum(driven, 4).eigenvalues, expected, atol=1e-13)


@pytest.mark.parametrize("L", [2, 3, 4, 5, 6])
def test_gap_of_the_xx_chain(L):
    found = gap(models.boundary_driven_xx(L, **XX), sector={"parity": "even"})
    assert found == pytest.approx(xx_gap(L, 1.0, 0.6, 1.4), abs=1e-12)
    assert found.null_space == 1 and found.error < 1e-10


def test_odd_sector_of_the_xx_chain_decays_at_half_the_sum_of_the_rates():
    found = spectrum(models.boundary_driven_xx(4, **XX), 300, sector={"parity": "odd"})
    assert len(found) == 128 and found.null_space == 0
    assert np.allclose(found.eigenvalues.real, -(0.6 + 1.4) / 2, atol=1e-6)  # defective: roots of rounding


def test_gap_of_the_dephasing_chain_is_the_one_of_the_two_point_function():
    for L in (3, 5):
        model = models.boundary_driven_xx(L, **XX, dephasing=0.5)
        assert gap(model) == pytest.approx(xx_dephasing_gap(L, 1.0, 0.6, 1.4, 0.5), abs=1e-11)


@pytest.mark.slow
def test_gaps_of_eight_sites():
    even = gap(models.boundary_driven_xx(8, **XX), sector={"charge": 0})
    assert even == pytest.approx(xx_gap(8, 1.0, 0.6, 1.4), abs=1e-10)
    whole = gap(models.boundary_driven_xx(8, **XX, dephasing=0.5))
    assert whole == pytest.approx(xx_dephasing_gap(8, 1.0, 0.6, 1.4, 0.5), abs=1e-10)


def test_one_particle_on_a_ring_with_dephasing():
    model = models.ring_dephasing(6, 1.0, 5.0)
    slow = spectrum(model, 3, sector={"charge": (1, 1)})
    h = np.roll(np.eye(6), 1, axis=0) + np.roll(np.eye(6), -1, axis=0)
    single = -1j * (np.kron(h, np.eye(6)) - np.kron(np.eye(6), h)) - 5.0 * np.diag((1 - np.eye(6)).ravel())
    rates = np.sort(-np.linalg.eigvals(single).real)
    assert np.allclose(-slow.eigenvalues.real, rates[:3], atol=1e-12)
    # the formula leaves out corrections that are exponentially small in L
    assert rates[1] == pytest.approx(ring_dephasing_gap(6, 1.0, 5.0), rel=3e-3)
    assert slow.null_space == 1
    pair = spectrum(model, 1, sector={"charge": (1, 1), "momentum": 1}).eigenvalues[0]
    mirrored = spectrum(model, 1, sector={"charge": (1, 1), "momentum": 5}).eigenvalues[0]
    assert pair == pytest.approx(slow.eigenvalues[1], abs=1e-12) and mirrored == pytest.approx(pair, abs=1e-12)


def test_momentum_is_the_phase_of_a_shift_by_one_site():
    found = spectrum(models.persistent_current(4, alpha=2.0, delta=1.0, J=0.7, flux=0.4), 2, sector={"momentum": 1})
    r = found.right(0).reshape([2] * 8)
    shifted = r.transpose(3, 0, 1, 2, 7, 4, 5, 6)  # the content of site j moves to site j + 1
    assert np.abs(shifted - 1j * r).max() < 1e-12


# ----------------------------------------------------------------------------------------------------------------------
# published gaps


@pytest.mark.physics
@pytest.mark.parametrize("row", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_gap_of_the_open_driven_chain(row):
    arguments, (symmetric, whole), uncertainty = load_reference("gap-open6", row)
    model = models.persistent_current(**arguments)
    found = gap(model, sector={"parity": "even", "reflection": "even"})
    assert found == pytest.approx(symmetric, abs=uncertainty)
    odd = gap(model, sector={"parity": "odd", "reflection": "odd"})
    assert odd == pytest.approx(whole, abs=uncertainty)


def test_a_slow_mode_that_oscillates_is_not_overlooked():
    """The table, made by a search around zero, has 0.46184 here; the mode below it is far from zero."""
    model = models.persistent_current(6, alpha=1.0, delta=0.5, mu=1.0, periodic=False)
    found = spectrum(model, 1, sector={"parity": "odd", "reflection": "even"})
    value, r = found.eigenvalues[0], found.right(0)
    h = operator_matrix(model.lattice, model.hamiltonian)
    image = -1j * (h @ r - r @ h)
    for jump in model.jumps:
        lk = operator_matrix(model.lattice, jump.operator)
        image = image + jump.rate * (lk @ r @ lk.conj().T - (lk.conj().T @ lk @ r + r @ (lk.conj().T @ lk)) / 2)
    assert np.linalg.norm(image - value * r) < 1e-9 * np.linalg.norm(r)
    assert -value.real < 0.4560 and abs(value.imag) > 0.89


@pytest.mark.physics
@pytest.mark.parametrize("row", range(4))
def test_gap_of_the_symmetric_sector_of_the_driven_ring(row):
    arguments, value, uncertainty = load_reference("gap-ring", row)
    model = models.persistent_current(**arguments)
    found = gap(model, sector={"parity": "even", "momentum": 0, "reflection": "even"})
    assert found == pytest.approx(value, abs=uncertainty)


# ----------------------------------------------------------------------------------------------------------------------
# degenerate and undamped


@pytest.mark.parametrize("system", DEGENERATE, ids=str)
def test_degenerate_null_spaces_are_counted(system):
    model = system.build()
    found = spectrum(model, 1)
    assert found.null_space == system.null_space and found.is_unique is False
    assert any("not unique" in note for note in found.notes)
    above = gap(model)
    assert above.null_space == system.null_space and any("stationary operators" in note for note in above.notes)


def test_undamped_oscillation_closes_the_gap():
    found = gap(models.persistent_current(4, alpha=2.0, delta=0.0, mu=0.7))
    assert found == 0.0 and found.null_space == 2
    assert abs(found.eigenvalue.imag) == pytest.approx(0.7, abs=1e-12)
    assert any("undamped" in note for note in found.notes)


def test_a_defective_eigenvalue_is_said_to_be_one():
    critical = Lindbladian(Chain(1, SpinHalf()), 0.5 * op("X", 0), [Jump(op("Sm", 0), rate=4.0)])  # rabi = gamma/4
    found = spectrum(critical, 4)
    assert np.allclose(found.eigenvalues, [0, -2, -3, -3], atol=1e-6)
    worst = int(np.argmax(found.conditions))
    assert found.conditions[worst] > 1e6
    if not np.isfinite(found.conditions[worst]):
        assert any("exceptional" in note for note in found.notes)
        with pytest.raises(errors.NotSupportedError):
            found.left(worst)


# ----------------------------------------------------------------------------------------------------------------------
# iterated blocks


@pytest.mark.parametrize("which", ["slowest", "nearest"])
def test_iterated_blocks_agree_with_diagonalised_ones(which, monkeypatch):
    model = models.boundary_driven_xx(4, **XX, dephasing=0.2)
    small = spectrum(model, 6, which=which)
    monkeypatch.setattr(search, "_DENSE", 30)
    iterated = spectrum(model, 6, which=which, seed=3)
    assert any("Krylov" in note for note in iterated.notes)
    assert np.allclose(np.abs(iterated.eigenvalues), np.abs(small.eigenvalues), atol=1e-10)
    assert np.array_equal(iterated.eigenvalues, spectrum(model, 6, which=which, seed=3).eigenvalues)


def test_iterated_blocks_count_multiplets(monkeypatch):
    model = models.persistent_current(3, alpha=2.0, delta=1.0, mu=0.0, periodic=False)  # four dark coherences
    monkeypatch.setattr(search, "_DENSE", 4)
    found = spectrum(model, 2)
    assert found.null_space == 4


def test_exponential_of_a_block():
    rng = np.random.default_rng(5)
    a = search.BlockBuilder(*(lambda m: (m, search.Sectors(m)))(interfering()))
    block = a.build(search.Sectors(interfering()).choose({"charge": 0})[0])
    x = rng.standard_normal((block.size, 2))
    scale = numerics.scale_of(block.matrix, rng)
    values, vectors = np.linalg.eig(block.matrix.toarray())
    expected = vectors @ (np.exp(values * 3.0)[:, None] * np.linalg.solve(vectors, x))
    assert np.abs(numerics.exp_multiply(block.matrix, x, 3.0, scale) - expected).max() < 1e-12


def test_a_search_cut_short_says_so(monkeypatch):
    monkeypatch.setattr(search, "_DENSE_INSTEAD", 0)
    model = models.boundary_driven_xx(6, **XX)
    with pytest.raises(errors.ConvergenceError, match=r"charge=0\]: residual") as caught:
        spectrum(model, 2, sector={"charge": 0}, max_products=2000)
    assert len(caught.value.result) == 2 and caught.value.result.residuals.max() > 1e-8


# ----------------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("k", {"k": 0}),
        ("k", {"k": True}),
        ("k", {"k": 2.5}),
        ("tol", {"tol": 0.0}),
        ("which", {"which": "fastest"}),
        ("seed", {"seed": "1"}),
        ("max_products", {"max_products": 0}),
        ("sector", {"sector": {"spin": 1}}),
        ("sector", {"sector": {"charge": 7}}),
        ("sector", {"sector": {"parity": "both"}}),
        ("sector", {"sector": "charge=9"}),
        ("sector", {"sector": 3}),
    ],
)
def test_bad_arguments_are_named(field, arguments):
    with pytest.raises(errors.InputError) as caught:
        spectrum(models.boundary_driven_xx(2, **XX), **arguments)
    assert caught.value.field == field


def test_an_empty_sector_lists_the_known_ones():
    with pytest.raises(errors.InputError, match="known sectors: 'charge=-2'"):
        gap(models.boundary_driven_xx(2, **XX), sector={"charge": 5})


def test_a_model_without_matrices_or_too_large_is_refused():
    with pytest.raises(errors.NotSupportedError) as caught:
        spectrum(models.kerr_oscillator(Delta=0.5, U=1.0, F=0.6, gamma=1.0, levels=math.inf))
    assert caught.value.field == "levels"
    with pytest.raises(errors.InsufficientMemoryError):
        spectrum(models.boundary_driven_xx(14, **XX, dephasing=0.1), sector={"charge": 0})
    with pytest.raises(errors.InputError) as wrong:
        spectrum("ring")
    assert wrong.value.field == "model"


def test_labels_and_parts_of_labels_select_the_same_sector():
    model = models.ring_dephasing(3, 1.0, 0.9)
    label = "charge=(1, 1), momentum=0, reflection=even"
    by_text, by_numbers = (
        spectrum(model, 3, sector=label),
        spectrum(model, 3, sector={"charge": [1, 1], "momentum": 0, "reflection": "even"}),
    )
    assert by_text.searched == by_numbers.searched == (label,)
    assert np.array_equal(by_text.eigenvalues, by_numbers.eigenvalues)
    with pytest.raises(errors.InputError) as caught:
        by_text.right(99)
    assert caught.value.field == "j"
    with pytest.raises(errors.NotSupportedError):
        spectrum(model, 1, sector=label, left=False).left(0)
