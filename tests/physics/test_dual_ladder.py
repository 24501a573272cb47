"""Duals of truncated modes on ladder operators: exact but for the cutoff, whose part is claimed."""

import itertools
import math

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Boson, Chain, Jump, Lindbladian, op
from mpo_transport.dual.ladder import LadderDual, LadderFirst
from mpo_transport.errors import NotSupportedError
from mpo_transport.methods.hierarchy.ladder import cutoff_effect
from mpo_transport.methods.hierarchy.thermal import thermal_values
from mpo_transport.models import boundary_driven_xx
from mpo_transport.reference import boundary_driven
from mpo_transport.result import Certificate, Result, Status
from mpo_transport.states import DenseState, MPOState
from mpo_transport.superoperator.heisenberg import operator_strings
from mpo_transport.superoperator.ladder import Alphabet, LadderAction


def chain(kind, L, d, seed):
    """Unequal sites, complex hopping, unequal baths, and one kind of extra term."""
    rng = np.random.default_rng(seed)
    h = 0 * op("N", 0)
    for j in range(L - 1):
        hop = complex(rng.uniform(0.4, 1.4) * np.exp(2j * np.pi * rng.uniform())) * op("Adag", j) * op("A", j + 1)
        h = h + hop + hop.dag
    jumps = []
    for j in range(L):
        h = h + float(rng.normal(0, 0.5)) * op("N", j)
        if kind == "dephasing":
            jumps.append(Jump(op("N", j), rate=float(rng.uniform(0.1, 0.8))))
        if kind == "kerr":
            h = h + 0.2 * op("Adag", j) * op("Adag", j) * op("A", j) * op("A", j)
    for j, n in ((0, rng.uniform(0.2, 0.5)), (L - 1, rng.uniform(0.02, 0.2))):
        rate = float(rng.uniform(0.5, 1.8))
        jumps += [Jump(op("A", j), rate=rate * (1 + float(n))), Jump(op("Adag", j), rate=rate * float(n))]
    if kind == "drive":
        h = h + 0.2 * (op("A", 0) + op("Adag", 0))
    if kind == "squeezing":
        pair = 0.15 * op("A", 0) * op("A", 1)
        h = h + pair + pair.dag
    return Lindbladian(Chain(L, Boson(d)), h, jumps)


def asked(L):
    """Occupations and a coherence of every pair of sites."""
    pairs = [(0.7 + 0.3j) * op("Adag", j) * op("A", k) for j, k in itertools.combinations(range(L), 2)]
    return [op("N", j) for j in range(L)] + [p + p.dag for p in pairs]


def steady(model):
    return mt.steady_state(model, mt.ExactDiag(), tol=1e-10).state.to_dense()


def values_in(state, operators):
    return np.array([state.expect(o).real for o in operators])


def solved(model, state, operators, **how):
    """Corrected values and claims."""
    dual = LadderDual(model, state, **how)
    duals = [dual.solve(o, v, 1e-9) for o, v in zip(operators, values_in(state, operators), strict=True)]
    return np.array([d.corrected for d in duals]), np.array([d.error for d in duals])


@pytest.mark.parametrize("kind", ["dephasing", "kerr", "drive", "squeezing"])
def test_corrected_values_of_the_exact_state_are_its_own(kind):
    # <L^dag(Y)> = 0 in the steady state of the truncated model, whatever is cut off
    model = chain(kind, 2, 4, 3)
    state = MPOState.from_dense(model.lattice, steady(model))
    found, claims = solved(model, state, asked(2))
    np.testing.assert_allclose(found, values_in(state, asked(2)), rtol=0, atol=1e-12)
    assert np.all(claims > 0)


@pytest.mark.parametrize(
    ("kind", "L", "d"),
    [("plain", 3, 3), ("plain", 2, 6), ("dephasing", 3, 3), ("dephasing", 2, 6), ("kerr", 2, 5), ("squeezing", 2, 5)],
)
def test_claims_cover_the_error_in_the_truncated_model(kind, L, d):
    model, operators = chain(kind, L, d, 11 * L + d), asked(L)
    rho = steady(model)
    exact = values_in(MPOState.from_dense(model.lattice, rho), operators)
    for bond in (2, 4):
        rough = MPOState.from_dense(model.lattice, rho, max_bond=bond)
        found, claims = solved(model, rough, operators)
        before = np.abs(values_in(rough, operators) - exact).max()
        assert np.all(np.abs(found - exact) <= claims)
        assert before > 1e-7  # it is not the exact state


@pytest.mark.parametrize(("L", "d"), [(2, 5), (3, 4)])
def test_quadratic_chains_do_not_need_the_state(L, d):
    # the part of the cutoff is that of the Gaussian state, up to a part of about n/(1+n) of it
    model, operators = chain("plain", L, d, L), asked(L)
    exact = values_in(MPOState.from_dense(model.lattice, steady(model)), operators)
    found, claims = solved(model, MPOState.product(model.lattice, "vacuum"), operators)
    form = mt.steady_state(model, mt.Gaussian(ignore_cutoff=True)).state
    unbounded = values_in(form, operators)
    assert np.all(np.abs(found - exact) <= claims)
    assert np.abs(found - exact).max() < 0.3 * np.abs(unbounded - exact).max()


def test_many_levels_meet_the_unbounded_chain():
    rates = {"gain_L": 0.1, "loss_L": 1.1, "gain_R": 0.02, "loss_R": 1.02}
    exact = boundary_driven.boson_chain(12, 1.0, **rates)
    model = boundary_driven_xx(12, 1.0, 1.0, 0.1, 1.0, 0.02, levels=12)
    result = around(model, MPOState.product(model.lattice, "vacuum"), 1e-4)
    current = result.expect(mt.observables.current(model), corrected=True)
    profile = mt.corrected(result, mt.observables.profile(model, "N"))
    assert current.converged and profile.converged
    # (n/(1+n))^12 = 3e-13
    np.testing.assert_allclose(current.corrected, exact.current, rtol=0, atol=1e-11)
    np.testing.assert_allclose(profile.corrected, exact.density, rtol=0, atol=1e-11)
    assert np.all(np.abs(profile.corrected - exact.density) <= 5 * profile.error)
    assert profile.error.max() < 1e-10


def around(model, state, tol, companions=None):
    """A result around any approximation of the steady state."""
    return Result(model, None, Status.NOT_CONVERGED, state, Certificate(), tol, companions=companions or {})


def test_dephased_chain_meets_the_closed_form():
    # from the product of its thermal sites, without any current
    L, levels, rates = 6, 9, {"gain_L": 0.1, "loss_L": 1.1, "gain_R": 0.05, "loss_R": 1.05}
    exact = boundary_driven.boson_chain(L, 1.0, **rates, dephasing=0.3)
    model = boundary_driven_xx(L, 1.0, 1.0, 0.1, 1.0, 0.05, dephasing=0.3, levels=levels)
    weights = (exact.density / (1 + exact.density))[:, None] ** np.arange(levels)
    product = MPOState.product(model.lattice, [np.diag(w / w.sum()) for w in weights])
    result = around(model, product, 1e-4)
    for name, value in (("current", exact.current), ("profile", exact.density)):
        observable = getattr(mt.observables, name)(model, *(["N"] if name == "profile" else []))
        found = mt.corrected(result, observable)
        # the cutoff moves values by a few n^9 ~ 1e-9 times the amplification of its rate
        assert found.converged and np.abs(found.corrected - value).max() < 1e-7
        assert np.all(np.abs(found.corrected - value) <= 3 * found.error)
    assert abs(result.expect(mt.observables.current(model))).max() < 1e-12 < exact.current


def test_state_without_occupation_says_nothing_of_the_cutoff():
    model = chain("dephasing", 3, 4, 5)
    dual = LadderDual(model, MPOState.product(model.lattice, "vacuum"))
    found = dual.solve(op("N", 1), 0.0, 1e-3)
    assert not found.trusted and math.isnan(found.corrected)


def test_other_duals_take_over():
    class Other:
        def solve(self, operator, value, goal):
            return "other"

    model = chain("dephasing", 2, 4, 5)
    empty = LadderFirst(LadderDual(model, MPOState.product(model.lattice, "vacuum")), Other)
    assert empty.solve(op("N", 1), 0.0, 1e-3) == "other"
    third = op("A", 0) * op("A", 0) * op("A", 0) * op("A", 1) * op("A", 1)
    assert empty.solve(third + third.dag, 0.0, 1e-3) == "other"
    with pytest.raises(NotSupportedError, match="degree"):
        empty.ladder.solve(third + third.dag, 0.0, 1e-3)


def test_fourth_order_operators():
    model, operator = chain("plain", 2, 6, 8), op("N", 0) * op("N", 1)
    rho = steady(model)
    exact = MPOState.from_dense(model.lattice, rho).expect(operator).real
    rough = MPOState.from_dense(model.lattice, rho, max_bond=4)
    found, claims = solved(model, rough, [operator])
    assert abs(found[0] - exact) <= claims[0]


def test_companions_tighten_the_claim():
    model, operators = chain("dephasing", 2, 5, 21), asked(2)
    rho = steady(model)
    state = MPOState.from_dense(model.lattice, rho)
    exact = values_in(state, operators)
    fine, coarse = (MPOState.from_dense(model.lattice, rho, max_bond=b) for b in (10, 6))
    plain, wide = solved(model, fine, operators)
    same, narrow = solved(model, fine, operators, companions={"truncation": (coarse, 1.0)})
    np.testing.assert_array_equal(plain, same)
    assert np.all(narrow <= wide) and narrow.max() < 0.5 * wide.max()
    assert np.all(np.abs(same - exact) <= narrow)


def test_sensitivities_of_a_truncated_chain():
    parameters = dict(L=2, t=0.7, G_L=1.0, f_L=0.1, G_R=1.3, f_R=0.05, dephasing=0.2, levels=5)
    model = boundary_driven_xx(**parameters)
    state = MPOState.from_dense(model.lattice, steady(model))
    slopes = mt.sensitivity(model, op("N", 1), result=around(model, state, 1e-3), parameters=["t", "f_L", "dephasing"])
    for name, slope in slopes.items():
        step = 1e-3
        ends = [boundary_driven_xx(**{**parameters, name: parameters[name] + s * step}) for s in (1, -1)]
        up, down = (DenseState(m.lattice, steady(m)).expect(op("N", 1)).real for m in ends)
        # the dual is that of unbounded modes: right up to the derivative of the part of the cutoff, of ten powers
        assert slope == pytest.approx((up - down) / (2 * step), abs=20 * cutoff_effect(model, state))
        assert 20 * cutoff_effect(model, state) < 0.1 * abs(slope)


# -- the pieces --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "degree"), [(2, 2), (3, 2), (5, 2), (5, 4), (8, 2)])
def test_letters_are_a_basis(d, degree):
    rng = np.random.default_rng(d)
    matrix = rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))
    alphabet = Alphabet(d, degree, True)
    k, c = alphabet.expand(matrix)
    np.testing.assert_allclose(np.einsum("k,kab->ab", c, alphabet.matrices[k]), matrix, atol=1e-11)
    np.testing.assert_allclose(alphabet.matrices, alphabet.matrices.conj().transpose(0, 2, 1))


@pytest.mark.parametrize("kind", ["dephasing", "kerr", "drive", "squeezing"])
def test_rows_are_the_adjoint_generator(kind):
    model = chain(kind, 2, 4, 2)
    action, rho = LadderAction(model, 2), np.random.default_rng(0).normal(size=(16, 16))
    rho = rho + rho.T
    lindbladian = mt.superoperator.sparse_lindbladian(model)
    image = (lindbladian @ rho.astype(complex).ravel()).reshape(16, 16)
    strings = np.array([[3, 0], [1, 2], [2, 2], [0, 1]])
    rows = action.rows(strings)

    def matrix(string):
        return np.kron(*(a.matrices[k] for a, k in zip(action.alphabets, string, strict=True)))

    built = rows.build(np.arange(len(rows.parents)))
    for n, string in enumerate(strings):
        mine = np.flatnonzero(rows.parents == n)
        total = sum(rows.coefficients[i] * np.trace(matrix(built[i]) @ rho) for i in mine)
        assert total == pytest.approx(np.trace(matrix(string) @ image), abs=1e-10)


def test_thermal_values_are_those_of_a_gaussian_state():
    # rho ~ exp(-a^+ M a) on modes with many levels, where C = (exp(M) - 1)^-1
    levels = 16
    M = np.array([[1.9, 0.3 - 0.4j], [0.3 + 0.4j, 2.4]])
    a = np.diag(np.sqrt(np.arange(1.0, levels)), 1)
    modes = [np.kron(a, np.eye(levels)), np.kron(np.eye(levels), a)]
    total = sum(M[i, j] * modes[i].T @ modes[j] for i in range(2) for j in range(2))
    energies, vectors = np.linalg.eigh(total)
    rho = (vectors * (np.exp(-energies) / np.exp(-energies).sum())) @ vectors.conj().T
    covariance = np.array([[np.trace(rho @ modes[m].T @ modes[k]) for m in range(2)] for k in range(2)])
    model = Lindbladian(Chain(2, Boson(4)), None, [Jump(op("A", 0))])
    action = LadderAction(model, 2)

    def large(word):
        unit = word[0][3]
        out = np.zeros((levels, levels), dtype=complex)
        for c, p, q, _ in word:
            if unit:
                out[p, q] += c
            else:
                out += c * np.linalg.matrix_power(a.T, p) @ np.linalg.matrix_power(a, q)
        return out

    low = [k for k in range(1, 16) if action.alphabets[0].degrees[k] <= 2]
    units = [k for k in range(16) if action.alphabets[0].degrees[k] > 2]
    strings = np.array([*itertools.product(units, [0, *low]), *itertools.product([1, 2], [1, 2]), [3, 0], [0, 3]])
    expected = [
        np.trace(rho @ np.kron(*(large(here.words[k]) for here, k in zip(action.alphabets, s, strict=True)))).real
        for s in strings
    ]
    found = thermal_values(action, strings, covariance)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.abs(found).max() > 0.01
    assert np.all(np.isnan(thermal_values(action, np.array([[15, 15]]), covariance)))


@pytest.mark.parametrize("dephasing", [0.0, 0.4])
@pytest.mark.parametrize("levels", [4, 5])
def test_certificate_knows_the_cutoff(levels, dephasing):
    parameters = (2, 0.7, 1.0, 0.3, 1.4, 0.1)
    result = mt.steady_state(boundary_driven_xx(*parameters, dephasing=dephasing, levels=levels), mt.ExactDiag())
    many = boundary_driven_xx(*parameters, dephasing=dephasing, levels=9)
    further = mt.steady_state(many, mt.ExactDiag())
    change = np.abs(
        result.expect(mt.observables.profile(result.model, "N")) - further.expect(mt.observables.profile(many, "N"))
    ).max()
    assert result.certificate.cutoff_error == pytest.approx(change, rel=0.1)
    assert further.certificate.cutoff_error < 1e-3 * result.certificate.cutoff_error or levels == 5


def test_no_cutoff_error_where_the_levels_are_not_all():
    for model in (chain("kerr", 2, 4, 1), mt.models.boundary_driven_xx(3, 1.0, 1.0, 0.5, 1.0, 0.2)):
        assert mt.steady_state(model, mt.ExactDiag()).certificate.cutoff_error is None


def test_cutoff_of_drives_and_squeezing():
    # not of conserved number: from the state, and exact
    for kind, L, levels in (("drive", 1, 5), ("squeezing", 2, 4)):
        model = chain(kind, L, levels, 4)
        state = DenseState(model.lattice, steady(model))
        unbounded = mt.steady_state(model, mt.Gaussian(ignore_cutoff=True)).state
        change = max(abs(state.expect(op("N", j)) - unbounded.expect(op("N", j))) for j in range(L))
        assert cutoff_effect(model, state) == pytest.approx(change, rel=1e-9)


def test_operator_strings_of_high_degree_are_beyond():
    action = LadderAction(chain("plain", 2, 5, 1), 2)
    strings, _, _ = operator_strings(Chain(2, Boson(5)), op("N", 0) * op("N", 1), action.expand)
    assert action.degrees(strings).tolist() == [4]
