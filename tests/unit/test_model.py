"""Lattices, jumps, Lindbladians: structure found from the text, and bad input answered by name."""

import math

import numpy as np
import pytest

from mpo_transport import Boson, Chain, Graph, Jump, Lindbladian, LocalSpace, OpSum, Spin, SpinHalf, models, op
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.model import Bath


def charges(model):
    return [str(s) for s in model.conserved]


def hop(i, j):
    return op("Sp", i) * op("Sm", j) + op("Sm", i) * op("Sp", j)


# -- lattices ----------------------------------------------------------------------------------------------------------


def test_bonds_of_a_ring_end_with_the_closing_one():
    assert Chain(4, SpinHalf(), periodic=True).bonds == ((0, 1), (1, 2), (2, 3), (3, 0))
    assert Chain(4, SpinHalf()).bonds == ((0, 1), (1, 2), (2, 3))
    assert Chain(5, SpinHalf(), periodic=True).pairs(2) == ((0, 2), (1, 3), (2, 4), (3, 0), (4, 1))
    assert Chain(1, SpinHalf()).bonds == ()


def test_graph_keeps_the_order_of_its_edges_and_reads_adjacency_matrices():
    graph = Graph([(2, 0), (1, 2)], SpinHalf())
    assert graph.bonds == ((2, 0), (1, 2)) and graph.neighbours(2) == (0, 1)
    assert Graph(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]), SpinHalf()).bonds == ((0, 1), (1, 2))


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: Chain(0, SpinHalf()), "L"),
        (lambda: Chain(2.5, SpinHalf()), "L"),
        (lambda: Chain(2, SpinHalf(), periodic=True), "L"),
        (lambda: Chain(3, [SpinHalf()] * 2), "space"),
        (lambda: Chain(4, SpinHalf()).pairs(4), "distance"),
        (lambda: Graph([(0, 0)], SpinHalf()), "edges"),
        (lambda: Graph([(0, 1), (1, 0)], SpinHalf()), "edges"),
        (lambda: Graph(np.array([[0, 1], [0, 0]]), SpinHalf()), "edges"),
        (lambda: Graph([(0, 1)], SpinHalf()).pairs(2), "distance"),
    ],
)
def test_bad_lattices(build, field):
    with pytest.raises(InputError) as error:
        build()
    assert error.value.field == field


# -- structure ---------------------------------------------------------------------------------------------------------


def test_range_and_nearest_neighbours_count_around_the_ring():
    ring = models.persistent_current(L=6, alpha=1.0, delta=0.3)
    assert ring.range == 1 and ring.is_nearest_neighbour
    assert models.persistent_current(L=6, alpha=1.0, delta=0.3, dissipator_distance=2).range == 2
    spread = Jump(sum((op("Sm", j) for j in range(4)), OpSum()))
    assert Lindbladian(Chain(4, SpinHalf()), None, [spread]).range == 3


def test_quadratic_models_are_recognised():
    free = models.persistent_current(L=3, alpha=1.0, delta=0.2, J=0.5, lam=0.1, levels=math.inf)
    assert free.is_quadratic
    assert not models.persistent_current(L=3, alpha=1.0, delta=0.2, U=1.0, levels=math.inf).is_quadratic
    assert not models.persistent_current(L=3, alpha=1.0, delta=0.2).is_quadratic
    dephased = Lindbladian(Chain(1, Boson(4)), op("N", 0), [Jump(op("N", 0))])
    assert not dephased.is_quadratic


def test_weak_parity_of_the_correlated_dissipator_and_its_absence_with_a_field():
    assert charges(models.persistent_current(L=3, alpha=2.0, delta=1.0, lam=0.3)) == [
        "weak Z2: (-1)^(N(0) + N(1) + N(2))"
    ]
    assert models.persistent_current(L=6, alpha=2.0, delta=1.0).has_weak_parity
    field = models.persistent_current(L=3, alpha=2.0, delta=1.0, eps_x=0.1)
    assert charges(field) == [] and not field.has_weak_parity


def test_weak_charge_without_gain_and_pairing():
    model = models.persistent_current(L=3, alpha=2.0, delta=0.0, beta=0.0, J=1.0)
    assert charges(model) == ["weak U(1): N(0) + N(1) + N(2)"]


def test_two_sublattices_of_next_nearest_dissipation_have_a_parity_each():
    model = models.persistent_current(L=6, alpha=2.0, delta=1.0, dissipator_distance=2)
    assert charges(model) == ["weak Z2: (-1)^(N(0) + N(2) + N(4))", "weak Z2: (-1)^(N(1) + N(3) + N(5))"]
    assert model.has_weak_parity


def test_strong_charge_under_dephasing_and_a_cancellation_between_terms():
    xx = op("X", 0) * op("X", 1) + op("Y", 0) * op("Y", 1)  # the pair creation parts cancel
    dephased = Lindbladian(Chain(2, SpinHalf()), xx, [Jump(op("Z", 0)), Jump(op("Z", 1))])
    assert charges(dephased) == ["strong U(1): N(0) + N(1)"]
    isotropic = Lindbladian(Chain(2, SpinHalf()), xx, [Jump(op("X", 0)), Jump(op("Y", 0))])  # equal rates: weak U(1)
    assert charges(isotropic) == ["weak U(1): N(0) + N(1)"]
    tilted = Lindbladian(Chain(2, SpinHalf()), xx, [Jump(op("X", 0)), Jump(op("Y", 0), rate=0.5)])
    assert charges(tilted) == ["weak Z2: (-1)^(N(0) + N(1))"]


def test_difference_charge_of_pair_creation_and_two_for_one_conversion():
    pairs = op("Sp", 0) * op("Sp", 1)
    model = Lindbladian(Chain(2, SpinHalf()), pairs + pairs.dag, [])
    assert charges(model) == ["strong U(1): N(0) - N(1)"]
    convert = op("A", 0) * op("A", 0) * op("Adag", 1)
    model = Lindbladian(Chain(2, Boson(4)), convert + convert.dag, [])
    assert charges(model) == ["strong U(1): N(0) + 2 N(1)"]


def test_a_space_without_numbers_has_no_charge():
    clock = LocalSpace("clock", 3, {"tau": np.diag([1, 2, 3])})
    assert charges(Lindbladian(Chain(1, clock), None, [Jump(op("tau", 0))])) == []


def test_per_site_spaces_and_user_operators():
    mode = Boson(4)
    mode = mode.with_operators(fA=np.diag(1 / (1 + np.arange(4.0))) @ mode.matrix("A"))
    model = Lindbladian(
        Chain(2, [SpinHalf(), mode]), op("Z", 0) * op("N", 1), [Jump(op("fA.dag", 1)), Jump(op("fA", 1))]
    )
    assert model.lattice.dims == (2, 4)
    # phases of mode 1 alone are weak, the spin is conserved strongly
    assert set(charges(model)) == {"strong U(1): N(0)", "weak U(1): N(1)"}


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [-0.1, math.nan, math.inf, 1j, "1", True, None])
def test_bad_rates(rate):
    with pytest.raises(InputError, match="rate") as error:
        Jump(op("Sm", 0), rate=rate)
    assert error.value.field == "rate"


@pytest.mark.parametrize(
    ("hamiltonian", "jumps", "field", "match"),
    [
        (1j * hop(0, 1), [], "hamiltonian", "Hermitian"),
        (op("Sp", 0), [], "hamiltonian", r"Sp\(0\)"),
        (op("Zz", 0), [], "hamiltonian", "did you mean 'Z'"),
        (None, [Jump(op("Sm", 0)), Jump(op("Sm", 5))], "jumps[1].operator", "site 5"),
        (None, [op("Sm", 0)], "jumps", "Jump"),
        (3.0, [], "hamiltonian", "OpSum"),
    ],
)
def test_bad_lindbladians(hamiltonian, jumps, field, match):
    with pytest.raises(InputError, match=match) as error:
        Lindbladian(Chain(2, SpinHalf()), hamiltonian, jumps)
    assert error.value.field == field


def test_hermiticity_is_judged_by_value_not_by_spelling():
    spelled = op("X", 0) * op("Sp", 1) + op("X", 0) * op("Sm", 1)
    Lindbladian(Chain(2, SpinHalf()), spelled + op("Sp", 0) * op("Sm", 0), [])
    odd = LocalSpace("mine", 2, {"H": np.array([[1, 1j], [-1j, 0]]), "K": np.array([[0, 1], [0, 0]])})
    Lindbladian(Chain(1, odd), op("H", 0), [])
    with pytest.raises(InputError, match="Hermitian"):
        Lindbladian(Chain(1, odd), op("K", 0), [])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"L": 1.5}, "L"),
        ({"L": 2}, "L"),
        ({"alpha": [1.0, 2.0]}, "alpha"),
        ({"alpha": "two"}, "alpha"),
        ({"delta": math.nan}, "delta"),
        ({"kappa": -1.0}, "kappa"),
        ({"mu": 1j}, "mu"),
        ({"flux": math.inf}, "flux"),
        ({"flux": 1.0, "periodic": False}, "flux"),
        ({"levels": 1}, "levels"),
        ({"dissipator_distance": 4}, "distance"),
    ],
)
def test_bad_persistent_current_arguments(arguments, field):
    with pytest.raises(InputError) as error:
        models.persistent_current(**({"L": 4, "alpha": 2.0, "delta": 1.0} | arguments))
    assert error.value.field == field


def test_arguments_without_effect_are_refused():
    with pytest.raises(NotSupportedError):
        models.persistent_current(L=4, alpha=1.0, delta=0.5, U=1.0)
    with pytest.raises(NotSupportedError):
        models.persistent_current(L=4, alpha=1.0, delta=0.5, eps_zz=1.0, levels=3)


def test_build_model_answers_unknown_names():
    with pytest.raises(InputError, match="did you mean 'persistent_current'"):
        models.build_model("persistent_curent", {})
    with pytest.raises(InputError, match="did you mean 'alpha'") as error:
        models.build_model("persistent_current", {"L": 3, "alhpa": 1, "delta": 1})
    assert error.value.field == "model.alhpa"
    with pytest.raises(InputError, match="needs the argument"):
        models.build_model("persistent_current", {"L": 3})


def test_complex_defaults_follow_the_paper_constraint():
    model = models.persistent_current(L=3, alpha=1 + 2j, delta=0.5j, periodic=False)
    terms = dict(model.jumps[0].operator)
    assert terms[(("Sm", 1),)] == 1 - 2j and terms[(("Sp", 0),)] == -0.5j
    assert Spin(0.5) == SpinHalf()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("occupation", -0.1),
        ("occupation", math.nan),
        ("energy", math.inf),
    ],
)
def test_baths_of_no_temperature_are_refused(field, value):
    with pytest.raises(InputError, match=field) as caught:
        Bath("left", **{field: value})
    assert caught.value.field == field
