"""Specification files: strict reading, faithful writing, identities that do not depend on spelling."""

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpo_transport import Boson, Chain, Graph, Jump, Lindbladian, SpinHalf, op
from mpo_transport.errors import InputError, NotSupportedError
from mpo_transport.models import persistent_current
from mpo_transport.spec import RunSpec, load_spec
from mpo_transport.spec.toml import apply_overrides, canonical_json, write_toml

DATA = Path(__file__).resolve().parents[2] / "data"
MODEL = '[model]\nname = "persistent_current"\nL = 4\nalpha = 2.0\ndelta = 1.5\n'


def refused(text, *, overrides=()):
    """The error of a specification that is wrong somewhere between its text and the objects it describes."""
    with pytest.raises(InputError) as caught:
        plan = RunSpec.from_toml(text, overrides=overrides)
        plan.build_method()
        plan.build_observables(plan.build_model())
    return caught.value


# -- strictness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        (MODEL.replace("[model]", "[modle]"), "modle", "did you mean 'model'"),
        (MODEL + "Lx = 3\n", "model.Lx", "did you mean 'L'"),
        (MODEL + '[method]\nname = "TBED"\n', "method.name", "did you mean 'TEBD'"),
        (MODEL + '[method]\nname = "TEBD"\nmax_bnd = 3\n', "method.max_bnd", "did you mean 'max_bond'"),
        (MODEL + "[solve]\ntoll = 1e-3\n", "solve.toll", "did you mean 'tol'"),
        (MODEL + "[output]\nfigur = 'a.png'\n", "output.figur", "did you mean 'figure'"),
        (MODEL.replace("persistent_current", "persistent_curent"), "model.name", "did you mean 'persistent_current'"),
        ('observables = ["curent"]\n' + MODEL, "observables[0]", "did you mean 'current'"),
        ('observables = ["current", "profile:QQ"]\n' + MODEL, "observables[1].name", "no operator 'QQ'|operator 'QQ'"),
        ('observables = [{observable = "current", kin = "J"}]\n' + MODEL, "observables[0].current.kin", "'kind'"),
    ],
)
def test_unknown_entries_are_answered_with_a_suggestion(text, field, words):
    error = refused(text)
    assert words.split("|")[-1] in str(error)
    assert field.split(".")[-1] in (error.field or "")
    assert (error.field or "").split(".")[0].split("[")[0] == field.split(".")[0].split("[")[0]


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("model.L='four'", "model.L"),
        ("model.L=4.5", "model.L"),
        ("model.L=true", "model.L"),
        ("model.L=2", "model.L"),
        ("model.alpha=two", "model.alpha"),
        ("model.alpha=true", "model.alpha"),
        ("model.alpha=nan", "model.alpha"),
        ("model.alpha=[1.0, 2.0]", "model.alpha"),
        ("model.periodic=1", "model.periodic"),
        ("model.kappa=-0.1", "model.kappa"),
        ("model.mu='1+1j'", "model.mu"),
        ("model=3", "model"),
        ("method.name=3", "method.name"),
        ("method.max_bond=3", "method.name"),
        ("method=TEBD", "method"),
        ("solve.tol=0", "solve.tol"),
        ("solve.tol=nan", "solve.tol"),
        ("solve.tol=small", "solve.tol"),
        ("solve.seed=-1", "solve.seed"),
        ("solve.seed=1.5", "solve.seed"),
        ("solve.task=steady", "solve.task"),
        ("solve.times=[1.0]", "solve.times"),
        ("solve.times=1.0", "solve.times"),
        ("solve.initial=3", "solve.initial"),
        ("solve.initial=['a', 'b']", "solve.initial[0]"),
        ("output.checkpoint_every=0", "output.checkpoint_every"),
        ("output.figure=a.gif", "output.figure"),
        ("output.figure=../a.png", "output.figure"),
        ("name=a/b", "name"),
        ("name=7", "name"),
        ("observables='current'", "observables"),
        ("observables=[3]", "observables[0]"),
        ("observables=['current:J,1,9']", "observables[0]"),
        ("observables=['current:']", "observables[0]"),
        ("observables=['current', 'current']", "observables[1]"),
        ("observables=[{kind = 'J'}]", "observables[0].observable"),
    ],
)
def test_wrong_values_name_the_dotted_entry(override, field):
    error = refused(MODEL, overrides=[override])
    assert error.field == field
    assert f"`{field}`" in str(error)


def test_missing_parts():
    assert refused("[solve]\ntol = 1e-3\n").field == "model"
    assert refused("[model]\nL = 3\n").field == "model.name"
    assert refused('[model]\nname = "persistent_current"\nL = 3\n').field == "model.alpha"
    evolving = MODEL + '[solve]\ntask = "evolve"\n'
    assert refused(evolving + "times = [1.0]\n").field == "solve.initial"
    assert refused(evolving + 'initial = "down"\n').field == "solve.times"
    assert refused(evolving + 'initial = "down"\ntimes = [1.0, 0.5]\n').field == "solve.times"


def test_not_toml_and_unreadable_files(tmp_path):
    assert "line 1" in str(refused("L = = 3"))
    with pytest.raises(InputError, match=r"none\.toml"):
        load_spec(tmp_path / "none.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        load_spec(binary)


def test_a_model_error_keeps_its_kind():
    error = refused(MODEL, overrides=["model.U=2.0"])
    assert isinstance(error, NotSupportedError) and error.field == "model.U"


# -- what it builds ----------------------------------------------------------------------------------------------------


def test_library_model_with_complex_and_per_bond_values():
    text = (
        '[model]\nname = "persistent_current"\nL = 3\nalpha = "1.2+0.3j"\ndelta = [0.5, "0.7 - 0.1j"]\n'
        "mu = [1, 2.0, 3]\nperiodic = false\n"
    )
    built = RunSpec.from_toml(text).build_model()
    direct = persistent_current(3, 1.2 + 0.3j, [0.5, 0.7 - 0.1j], mu=[1, 2, 3], periodic=False)
    assert built.hamiltonian == direct.hamiltonian
    assert [j.operator for j in built.jumps] == [j.operator for j in direct.jumps]


@pytest.mark.parametrize("spelling", ["inf", '"inf"'])
def test_unbounded_levels(spelling):
    plan = RunSpec.from_toml(MODEL + f"levels = {spelling}\n")
    assert plan.build_model().lattice.spaces[0].dim == math.inf


def test_method_by_class_name_or_registered_name():
    by_class = RunSpec.from_toml(MODEL + '[method]\nname = "TEBD"\nmax_bond = 12.0\n')
    registered = type(by_class.build_method()).name
    assert by_class.build_method().max_bond == 12
    assert RunSpec.from_toml(MODEL + f'[method]\nname = "{registered}"\nmax_bond = 12\n').run_id == by_class.run_id
    assert RunSpec.from_toml(MODEL).build_method() is None


def test_observables_by_word_and_by_table():
    plan = RunSpec.from_toml(
        'observables = ["current", "current:J", "profile:Z", '
        '{observable = "negativity", sites_a = [0], sites_b = [1]}]\n' + MODEL
    )
    built = plan.build_observables(plan.build_model())
    assert list(built) == ["current", "current:J", "profile:Z", "negativity:sites_a=[0],sites_b=[1]"]
    assert built["current"].name == "current_eta" and built["current:J"].name == "current_J"


def test_initial_state_with_complex_amplitudes():
    text = MODEL + '[solve]\ninitial = [0, 1, [1, "1j"], 0]\n'
    initial = RunSpec.from_toml(text).initial_state()
    assert initial == [0, 1, [1, 1j], 0]
    assert RunSpec.from_toml(MODEL + '[solve]\ninitial = "down"\n').initial_state() == "down"


def test_shipped_specifications():
    plan = load_spec(DATA / "persistent_current_chain.toml")
    model = plan.build_model()
    assert (model.L, model.lattice.periodic, plan.file_name) == (30, False, "persistent_current_chain.h5")
    assert set(plan.build_observables(model)) == {"current", "profile:Z"}
    assert type(plan.build_method()).__name__ == "TEBD"
    assert load_spec(DATA / "crosscheck_short_chain.toml").build_model().L <= 8


# -- hand-written models -----------------------------------------------------------------------------------------------

HAND = """
[model]
lattice = {kind = "chain", L = 4}
spaces = "SpinHalf"
hamiltonian = [["0.5+0.2j", "Sp", "j", "Sm", "j+1", "h.c."], [0.3, "Z", 0], [0.7, "N", "j"]]
[[model.jumps]]
operator = [[1.0, "Sm", 0], ["0.5j", "Sp", 1]]
rate = 0.25
label = "left"
charge = 1
[[model.jumps]]
operator = [[2.0, "Sm", "j"], [1.0, "Sp", "j+1"]]
"""


def test_hand_written_chain_equals_the_python_one():
    h = 0.3 * op("Z", 0)
    for j in range(3):
        hop = (0.5 + 0.2j) * op("Sp", j) * op("Sm", j + 1)
        h = h + hop + hop.dag
    for j in range(4):
        h = h + 0.7 * op("N", j)
    jumps = [Jump(op("Sm", 0) + 0.5j * op("Sp", 1), rate=0.25, label="left", charge=1)]
    # the term "j+1" does not exist for the last j of an open chain: that jump keeps its first term
    jumps += [Jump(2 * op("Sm", j) + (op("Sp", j + 1) if j < 3 else 0 * op("Sm", j))) for j in range(4)]
    direct = Lindbladian(Chain(4, SpinHalf()), h, jumps)
    built = RunSpec.from_toml(HAND).build_model()
    assert built.lattice == direct.lattice
    assert built.hamiltonian == direct.hamiltonian
    assert built.jumps == direct.jumps


def test_hand_written_ring_wraps_and_graph_lists_edges():
    ring = RunSpec.from_toml(HAND.replace('"chain", L = 4', '"ring", L = 4')).build_model()
    assert ring.lattice.bonds[-1] == (3, 0)
    assert ring.jumps[-1].operator == 2 * op("Sm", 3) + op("Sp", 0)
    graph = RunSpec.from_toml(
        '[model]\nlattice = {kind = "graph", edges = [[0, 2], [1, 2]]}\n'
        'spaces = ["SpinHalf", "Spin(1)", '
        '{space = "Boson(3)", operators = {fA = [[0, 1, 0], [0, 0, "0.5j"], [0, 0, 0]]}}]\n'
        'jumps = [{operator = [[1, "fA", 2]]}]\n'
    ).build_model()
    expected = Boson(3).with_operators(fA=np.array([[0, 1, 0], [0, 0, 0.5j], [0, 0, 0]]))
    assert graph.lattice == Graph([(0, 2), (1, 2)], graph.lattice.spaces)
    assert graph.lattice.spaces[2] == expected and graph.lattice.dims == (2, 3, 3)


def test_hermitian_conjugate_of_a_whole_list_leaves_hermitian_terms_alone():
    text = (
        "[model]\nlattice = {L = 2}\nspaces = 'SpinHalf'\nhermitian_conjugate = true\n"
        "hamiltonian = [[1, 'Sp', 0, 'Sm', 1], [2, 'N', 0]]\n"
    )
    hop = op("Sp", 0) * op("Sm", 1)
    assert RunSpec.from_toml(text).build_model().hamiltonian == hop + hop.dag + 2 * op("N", 0)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('kind = "chain"', 'kind = "chains"', "model.lattice.kind"),
        ("L = 4", "L = 4, M = 2", "model.lattice.M"),
        ("L = 4", "L = 0", "model.lattice.L"),
        ('"SpinHalf"', '"SpinThird"', "model.spaces"),
        ('"SpinHalf"', '["SpinHalf"]', "model.spaces"),
        ('"Sm", "j+1", "h.c."', '"Sm", "k+1", "h.c."', "model.hamiltonian[0][4]"),
        ('"Sm", "j+1", "h.c."', '"Sm", "h.c."', "model.hamiltonian[0]"),
        ('"0.5+0.2j"', '"half"', "model.hamiltonian[0][0]"),
        ('[0.3, "Z", 0]', '[0.3, "Z", -1]', "model.hamiltonian[1][2]"),
        ('[0.3, "Z", 0]', '[0.3, "ZZ", 0]', "model.hamiltonian"),
        ('[0.3, "Z", 0]', '[0.3, "Z", 9]', "model.hamiltonian"),
        (', "h.c."', "", "model.hamiltonian"),
        ("rate = 0.25", "rate = -0.25", "model.jumps[0].rate"),
        ("rate = 0.25", "rates = 0.25", "model.jumps[0].rates"),
        ("rate = 0.25", 'rate = "1j"', "model.jumps[0].rate"),
        ('["0.5j", "Sp", 1]', '["0.5j", "Sp", "j"]', "model.jumps[0].operator"),
        ("hamiltonian =", "hamiltonan =", "model.hamiltonan"),
        ("charge = 1", "charge = 'one'", "model.jumps[0].charge"),
    ],
)
def test_hand_written_mistakes_name_the_entry(old, new, field):
    assert old in HAND
    assert refused(HAND.replace(old, new)).field == field


# -- identity and round trip -------------------------------------------------------------------------------------------


def test_identity_does_not_depend_on_spelling_but_on_meaning():
    base = RunSpec.from_toml(MODEL + "[solve]\ntol = 1e-4\nseed = 1\n")
    other = RunSpec.from_toml(
        'name = "other"\n[solve]\nseed = 1.0\ntol = 0.0001\n[output]\nfigure = "x.png"\n'
        '[model]\ndelta = "1.5+0j"\nalpha = 2\nL = 4.0\nname = "persistent_current"\n'
    )
    assert base.run_id == other.run_id and base.canonical_json() == other.canonical_json()
    assert len(base.run_id) == 16 and int(base.run_id, 16) >= 0
    for change in (
        "model.alpha=2.0000001",
        "solve.tol=1e-5",
        "solve.seed=2",
        "method.name=TEBD",
        "observables=['purity']",
    ):
        changed = RunSpec.from_dict(apply_overrides(base.to_dict(), [change]))
        assert changed.run_id != base.run_id


def test_identity_is_known():
    # a change of the canonical form would orphan every stored run: this text must stay as it is
    assert RunSpec.from_toml(MODEL).canonical_json() == (
        '{"model":{"L":4,"alpha":2,"delta":1.5,"name":"persistent_current"},"solve":{"task":"steady_state","tol":1e-06}}'
    )


@pytest.mark.parametrize(
    "text", [MODEL, HAND, MODEL + '[solve]\ntask = "evolve"\ninitial = [0, 1, 0, 1]\ntimes = [0, 1]\n']
)
def test_round_trip(text):
    plan = RunSpec.from_toml(text)
    again = RunSpec.from_toml(plan.to_toml())
    assert again == plan and again.run_id == plan.run_id


def test_the_stored_identity_is_itself_a_specification():
    plan = RunSpec.from_toml(MODEL + "levels = 3\nU = 2.0\n")
    assert RunSpec.from_dict(plan.identity()).run_id == plan.run_id


plain = st.recursive(
    st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab_-.ü \"'", max_size=4), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text("abcé .\n", min_size=1, max_size=5), plain, max_size=5))
def test_writer_is_read_back_by_the_standard_library(tree):
    assert tomllib.loads(write_toml(tree)) == tree


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), plain, max_size=6), st.randoms())
def test_canonical_text_ignores_the_order_of_keys(tree, random):
    keys = list(tree)
    random.shuffle(keys)
    assert canonical_json({k: tree[k] for k in keys}) == canonical_json(tree)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["model", "solve", "output", "method", "name", "observables", "x"]), plain)
def test_no_content_gets_past_as_another_error(section, value):
    """Whatever stands in a section, reading either works or gives the error that names an entry."""
    tree = {**tomllib.loads(MODEL), section: value}
    try:
        plan = RunSpec.from_dict(tree)
        plan.build_method()
        plan.build_observables(plan.build_model())
    except InputError as error:
        assert error.field


# -- overrides ---------------------------------------------------------------------------------------------------------


def test_overrides_are_typed():
    tree = apply_overrides({}, ["a.b=4", "a.c=4.0", "a.d=true", "a.e=word", "a.f=1+2j", "a.g=[1, 2]", "a.h='4'"])
    assert tree == {"a": {"b": 4, "c": 4.0, "d": True, "e": "word", "f": "1+2j", "g": [1, 2], "h": "4"}}
    assert isinstance(tree["a"]["b"], int) and isinstance(tree["a"]["c"], float)


@pytest.mark.parametrize("item", ["model.L", "=4", "model..L=4", "model.L=4\nx=3"])
def test_malformed_overrides(item):
    with pytest.raises(InputError, match="key=value"):
        apply_overrides({}, [item])


def test_an_override_cannot_descend_into_a_value_or_smuggle_keys():
    with pytest.raises(InputError, match="not a table"):
        apply_overrides({"name": "x"}, ["name.y=3"])
    original = {"model": {"L": 3}}
    assert apply_overrides(original, ["model.L=4"]) == {"model": {"L": 4}} and original == {"model": {"L": 3}}
