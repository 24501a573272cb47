"""Local spaces and the algebra of operator sums."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpo_transport import Boson, Chain, LocalSpace, OpSum, Spin, SpinHalf, anticommutator, commutator, identity, op
from mpo_transport.errors import InputError
from mpo_transport.observables import operator_norm, simplify
from mpo_transport.operators import adjoint_name
from mpo_transport.superoperator import operator_matrix

MIXED = Chain(3, [SpinHalf(), Boson(3), Spin(1)])


def matrix(operator: OpSum, lattice: Chain = MIXED) -> np.ndarray:
    return operator_matrix(lattice, operator).toarray()


# -- local spaces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("S", [0.5, 1, 1.5, 3])
def test_spin_matrices_obey_the_algebra_of_angular_momentum(S):
    space = Spin(S)
    x, y, z = (space.matrix(n) for n in ("Sx", "Sy", "Sz"))
    for a, b, c in ((x, y, z), (y, z, x), (z, x, y)):
        np.testing.assert_allclose(a @ b - b @ a, 1j * c, atol=1e-14)
    np.testing.assert_allclose(x @ x + y @ y + z @ z, S * (S + 1) * np.eye(space.dim), atol=1e-13)
    np.testing.assert_allclose(space.matrix("Sp"), x + 1j * y, atol=1e-15)
    assert np.array_equal(np.diag(space.matrix("Sz")), S - np.arange(space.dim))  # m = S comes first


def test_spin_half_conventions():
    s = SpinHalf()
    up, down = np.eye(2)
    assert np.array_equal(s.matrix("Sm") @ up, down)
    assert np.array_equal(s.matrix("Sp") @ s.matrix("Sm"), s.matrix("N"))
    assert np.array_equal(s.matrix("Z"), 2 * s.matrix("N") - np.eye(2))
    assert np.array_equal(s.matrix("X") @ s.matrix("Y"), 1j * s.matrix("Z"))


@pytest.mark.parametrize("levels", [2, 3, 7])
def test_boson_commutator_is_one_below_the_top_level(levels):
    b = Boson(levels)
    a, adag = b.matrix("A"), b.matrix("Adag")
    defect = a @ adag - adag @ a - np.eye(levels)
    assert defect[-1, -1] == pytest.approx(-levels)
    defect[-1, -1] = 0
    np.testing.assert_allclose(defect, 0, atol=1e-14)
    np.testing.assert_allclose(adag @ a, b.matrix("N"), atol=1e-14)
    np.testing.assert_allclose((b.matrix("Q") + 1j * b.matrix("P")) / math.sqrt(2), a, atol=1e-15)


def test_user_operator_and_its_adjoint():
    fa = np.diag([1.0, 0.5, 0.2]) @ Boson(3).matrix("A") * np.exp(0.3j)
    space = Boson(3).with_operators(fA=fa)
    np.testing.assert_array_equal(space.matrix("fA.dag"), fa.conj().T)
    lattice = Chain(2, space)
    hop = op("fA", 0) * op("Adag", 1)
    np.testing.assert_allclose(matrix(hop.dag, lattice), matrix(hop, lattice).conj().T, atol=1e-15)


def test_matrices_of_a_space_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        SpinHalf().matrix("X")[0, 0] = 1.0


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Spin(0.3), "S"),
        (lambda: Spin(0), "S"),
        (lambda: Spin(math.inf), "S"),
        (lambda: Boson(1), "levels"),
        (lambda: Boson(2.5), "levels"),
        (lambda: Boson(True), "levels"),
        (lambda: LocalSpace("x", 1), "dim"),
        (lambda: LocalSpace("x", 2, {"M": np.eye(3)}), "operators"),
        (lambda: LocalSpace("x", 2, {"M": np.diag([1, np.nan])}), "operators"),
        (lambda: Boson(3).with_operators(N=np.eye(3)), "operators"),
        (lambda: Boson(3).with_operators(**{"f A": np.eye(3)}), "operators"),
        (lambda: Boson(math.inf).with_operators(f=np.eye(3)), "levels"),
        (lambda: Boson(math.inf).matrix("A"), "levels"),
        (lambda: op("Z", -1), "site"),
        (lambda: op("Z", 0.0), "site"),
        (lambda: op("2Z", 0), "name"),
        (lambda: math.nan * op("Z", 0), "coefficient"),
        (lambda: op("Z", 0) ** -1, "power"),
    ],
)
def test_bad_input_names_the_field(make, field):
    with pytest.raises(InputError) as error:
        make()
    assert error.value.field == field


def test_unknown_operator_suggests_a_name():
    with pytest.raises(InputError, match="did you mean 'Sz'"):
        Spin(1).matrix("sz")


# -- sums of products --------------------------------------------------------------------------------------------------

NAMES = {0: ("X", "Sp", "Z", "N", "I"), 1: ("A", "Adag", "N", "Q"), 2: ("Sz", "Sp", "Sm", "I")}
COEFFICIENTS = st.complex_numbers(max_magnitude=3, allow_nan=False, allow_infinity=False)
FACTORS = st.integers(0, 2).flatmap(lambda s: st.tuples(st.sampled_from(NAMES[s]), st.just(s)))
SUMS = st.dictionaries(st.lists(FACTORS, max_size=4).map(tuple), COEFFICIENTS, max_size=4).map(OpSum)


@settings(max_examples=50, deadline=None)
@given(SUMS, SUMS)
def test_the_algebra_is_that_of_the_matrices(a, b):
    A, B = matrix(a), matrix(b)
    for symbolic, dense in (
        (a + b, A + B),
        (a - b, A - B),
        (a * b, A @ B),
        (a.dag, A.conj().T),
        (commutator(a, b), A @ B - B @ A),
        (anticommutator(a, b), A @ B + B @ A),
        (2j * a / 3, 2j * A / 3),
        (a**2, A @ A),
        (a + 1, A + np.eye(len(A))),
        (1 - a, np.eye(len(A)) - A),
    ):
        np.testing.assert_allclose(matrix(symbolic), dense, atol=1e-11)


@settings(max_examples=50, deadline=None)
@given(SUMS)
def test_adjoint_twice_is_the_same_text(a):
    assert a.dag.dag == a
    assert hash(a.dag.dag) == hash(a)


@settings(max_examples=50, deadline=None)
@given(SUMS)
def test_simplify_keeps_the_operator(a):
    np.testing.assert_allclose(matrix(simplify(MIXED, a)), matrix(a), atol=1e-11)


@settings(max_examples=50, deadline=None)
@given(SUMS)
def test_norm_is_an_upper_bound(a):
    assert operator_norm(MIXED, a) >= np.linalg.norm(matrix(a), 2) - 1e-9


def test_canonical_form():
    assert op("Z", 1) * op("X", 0) == op("X", 0) * op("Z", 1)
    assert op("X", 0) * op("Z", 0) != op("Z", 0) * op("X", 0)  # order on one site is kept
    assert op("I", 3) == identity()
    assert not op("Z", 0) - op("Z", 0)
    assert len(2 * op("Z", 0) + op("Z", 0)) == 1
    assert commutator(op("A", 0), op("Adag", 5)) == OpSum()
    assert adjoint_name("Adag") == "A"
    assert op("Sp", 2).shifted(lambda s: s + 3) == op("Sp", 5)


def test_canonical_form_does_not_depend_on_the_order_of_building():
    parts = [op("Sp", 0) * op("Sm", 2), 2 * op("Z", 1), op("N", 2) * op("X", 0), 0.5 * op("Z", 0)]
    sums = [sum(p, OpSum()) for p in itertools.permutations(parts)]
    assert len({repr(s) for s in sums}) == 1
    assert all(s == sums[0] for s in sums)


def test_printing():
    assert repr(OpSum()) == "0"
    assert repr(1.5 - op("Z", 0)) == "1.5 - Z(0)"
    assert repr((1 + 2j) * op("Sp", 0) * op("Sm", 1)) == "(1+2j) Sp(0) Sm(1)"


# -- products on one site ----------------------------------------------------------------------------------------------


def test_simplify_finds_single_names():
    lattice = Chain(2, [SpinHalf(), Boson(4)])
    assert simplify(lattice, op("Sp", 0) * op("Sm", 0)) == op("N", 0)
    assert simplify(lattice, op("X", 0) * op("X", 0)) == identity()
    assert simplify(lattice, op("Adag", 1) * op("A", 1)) == op("N", 1)
    assert simplify(lattice, commutator(op("A", 1), op("N", 1))) == op("A", 1)
    assert simplify(lattice, op("A", 1) * op("Adag", 1)) == op("A", 1) * op("Adag", 1)  # not N + 1: there is a cutoff
    left = op("Adag", 1) * op("Adag", 1) * op("A", 1) * op("A", 1)
    assert not simplify(lattice, left - op("N", 1) * op("N", 1) + op("N", 1))


def test_simplify_drops_rounding_only_on_the_scale_given():
    lattice = Chain(1, SpinHalf())
    tiny = 1e-15 * op("Z", 0)
    assert simplify(lattice, tiny) == tiny
    assert not simplify(lattice, tiny, scale=1.0)


def test_normal_order_of_an_unbounded_mode_has_no_cutoff():
    lattice = Chain(1, Boson(math.inf))
    a, adag, n, q, p = (op(x, 0) for x in ("A", "Adag", "N", "Q", "P"))
    assert simplify(lattice, commutator(a, adag)) == identity()
    assert simplify(lattice, commutator(n, a)) == -a
    assert simplify(lattice, commutator(q, p)).terms[()] == pytest.approx(1j)
    assert simplify(lattice, n * n) == n + adag * adag * a * a


def test_norm_of_single_operators_is_exact():
    lattice = Chain(2, SpinHalf())
    hop = op("Sp", 0) * op("Sm", 1)
    assert operator_norm(lattice, hop + hop.dag) == pytest.approx(1)
    assert operator_norm(lattice, 2 * (op("X", 0) * op("X", 1) + op("Y", 0) * op("Y", 1))) == pytest.approx(4)
    assert operator_norm(Chain(1, Boson(5)), op("N", 0)) == pytest.approx(4)
