"""What is written is what is read: models, states, results, evolutions, observables; equal to the last bit."""

import math

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_methods import Relaxation, known, pumped_chain, same_state

from mpo_transport import (
    Bath,
    Boson,
    Chain,
    CurrentKind,
    Graph,
    Jump,
    Lindbladian,
    LocalSpace,
    OpSum,
    Spin,
    SpinHalf,
    op,
)
from mpo_transport.errors import FileFormatError, InputError
from mpo_transport.observables import Observable, StateFunction
from mpo_transport.result import Certificate, Cost, Evolution, History, Measurement, Result, Status
from mpo_transport.solve import evolve, steady_state
from mpo_transport.states import DenseState
from mpo_transport.storage import (
    SCHEMA_VERSION,
    StoredMethod,
    canonical_text,
    load,
    load_checkpoint,
    read_spec,
    run_id,
    save,
)
from mpo_transport.storage.model_tables import model_from_tree, model_to_tree
from mpo_transport.storage.text import differences, dumps, loads
from mpo_transport.storage.tree import read_tree, tree_image

AWKWARD = 0.1 + 0.2  # no short decimal


def handwritten() -> Lindbladian:
    """Three different spaces, user operators, a long jump, complex couplings, baths and currents."""
    rng = np.random.default_rng(5)
    odd = rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3))
    clock = LocalSpace("clock", 3, {"tau": odd, "sigma": np.diag([1.0, -0.0, 1 / 3])}, None, "Z3")
    mode = Boson(4).with_operators(fA=np.diag(1 / (1 + np.arange(4))) @ Boson(4).matrix("A"))
    lattice = Graph([(0, 2), (1, 0), (2, 3)], [SpinHalf(), clock, mode, Spin(1)])
    hop = (AWKWARD - math.pi * 1j) * op("Sp", 0) * op("fA", 2) + op("tau", 1) * op("Sp", 3) * op("N", 2)
    jumps = [
        Jump(op("Sm", 0) + 1e-300j * op("fA.dag", 2) * op("fA", 2), AWKWARD, "left", 1.0),
        Jump(sum((op("Sp", j) for j in (0, 3)), OpSum()) + op("tau.dag", 1), 0.0),
        Jump(op("A", 2), 7, "right", -0.5),
    ]
    return Lindbladian(
        lattice,
        hop + hop.dag,
        jumps,
        name="by hand",
        parameters={
            "alpha": 1 - 2j,
            "levels": math.inf,
            "list": [1, (2, 3.5)],
            "nothing": None,
            "array": np.eye(2) / 3,
        },
        currents={"eta": CurrentKind((1j, AWKWARD, 0.0), "Sp", "Sm", "flow"), "J": CurrentKind((1, 2, 3), "Sp", "Sp")},
        baths=(Bath("left", 1.0, AWKWARD), Bath("right", None, None, 2.0)),
    )


def equal_models(a: Lindbladian, b: Lindbladian) -> bool:
    bits = [
        [(k, complex(c)) for k, c in m.hamiltonian] + [(k, complex(c)) for j in m.jumps for k, c in j.operator]
        for m in (a, b)
    ]
    return (
        type(a.lattice) is type(b.lattice)
        and a.lattice.spaces == b.lattice.spaces
        and [s.label for s in a.lattice.spaces] == [s.label for s in b.lattice.spaces]
        and (a.lattice.bonds, a.lattice.periodic) == (b.lattice.bonds, b.lattice.periodic)
        and bits[0] == bits[1]
        and a.jumps == b.jumps
        and (a.name, dict(a.currents), a.baths) == (b.name, dict(b.currents), b.baths)
        and dumps(dict(a.parameters)) == dumps(dict(b.parameters))
    )


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        handwritten(),
        pumped_chain(4),
        Lindbladian(Chain(3, Spin(1.5), periodic=True), None, []),
        Lindbladian(Chain(1, Boson(math.inf)), op("N", 0), [Jump(op("A", 0))]),
        Lindbladian(Graph([], SpinHalf(), L=2), 2.5 * op("Z", 1) + OpSum({(): 0.5}), []),
    ],
    ids=lambda m: repr(m),
)
def test_models_come_back_term_by_term(tmp_path, model):
    (tmp_path / "m.h5").write_bytes(tree_image({"model": model_to_tree(model)}))
    again = model_from_tree(read_tree(tmp_path / "m.h5")["model"])
    assert equal_models(model, again)
    for space, twin in zip(model.lattice.spaces, again.lattice.spaces, strict=True):
        for name, matrix in space.operators.items():
            other = twin.operators[name]
            assert matrix.tobytes("A") == other.tobytes("A") and matrix.flags.f_contiguous == other.flags.f_contiguous


numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
factors = st.tuples(st.sampled_from(["X", "Y", "Z", "Sp", "Sm"]), st.integers(0, 2))
sums = st.dictionaries(st.lists(factors, max_size=4).map(tuple), st.builds(complex, numbers, numbers), max_size=5)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(terms=st.lists(sums, max_size=3), rate=st.floats(0, 1e300))
def test_any_operator_sum_comes_back(terms, rate):
    try:
        jumps = [Jump(OpSum(t), rate) for t in terms]
    except InputError:  # coefficients whose sum overflows
        return
    model = Lindbladian(Chain(3, SpinHalf()), None, jumps)
    assert model_from_tree(model_to_tree(model)).jumps == model.jumps


# -- texts -------------------------------------------------------------------------------------------------------------


def test_texts_keep_every_bit():
    value = {"a": [1, 2.5, AWKWARD, -0.0, 5e-324], "b": (1 + 2j, (math.inf, -math.inf)), "c": None, "d": "Ω", "e": True}
    again = loads(dumps(value))
    assert again == value and math.copysign(1, again["a"][3]) == -1 and type(again["b"]) is tuple
    assert math.isnan(loads(dumps(math.nan)))
    array = np.array([[1 + 2j, AWKWARD]], dtype=complex)
    assert loads(dumps(array)).tobytes() == array.tobytes() and loads(dumps(np.float32(0.1))) == float(np.float32(0.1))


@pytest.mark.parametrize("bad", [{"a": object()}, {1: 2}, {"a": {"__complex__": 1}}, {"f": print}, {"x": b"1"}])
def test_what_has_no_text_is_refused_by_name(bad):
    with pytest.raises(InputError) as caught:
        dumps(bad)
    assert caught.value.field.startswith("value")


def test_a_run_id_depends_on_the_content_alone():
    spec = {"model": {"name": "m", "L": 4}, "tol": 1e-6, "times": (1, 2)}
    same = {"times": [1, 2], "tol": np.float64(1e-6), "model": {"L": np.int64(4), "name": "m"}}
    assert run_id(spec) == run_id(same) and len(run_id(spec)) == 16
    assert run_id(spec) != run_id({**spec, "tol": 1e-7})
    assert canonical_text(loads(canonical_text({"levels": math.inf, "c": 1j}))) == canonical_text(
        {"c": 1j, "levels": math.inf}
    )
    assert differences(spec, {**same, "model": {"L": 5}}) == ["model.L: 4 -> 5", 'model.name: "m" -> (absent)']


# -- results -----------------------------------------------------------------------------------------------------------


def full_result(**changes) -> Result:
    model = handwritten()
    state = DenseState.product(model.lattice, "mixed")
    profile = Observable("N", tuple(op("Z", 0) for _ in range(3)))
    fields = {
        "model": model,
        "method": Relaxation(steps=3, sizes=(4, 5)),
        "status": Status.STALLED_BY_TRUNCATION,
        "state": state,
        "certificate": Certificate(
            residual=AWKWARD,
            saturated=True,
            bond_dimension=7,
            error_parts={"dt": 1e-9, "chi": AWKWARD},
            notes=("a", "β"),
        ),
        "tol": AWKWARD * 1e-6,
        "history": History({"step": [1, 2], "odd/name %": [math.nan, AWKWARD]}),
        "cost": Cost(1.25, AWKWARD, 3, 2**40),
        "reason": "it is small.",
        "seed": 11,
        "companions": {"half step": (state, 1 / 3), "a/b": (state, 2.0)},
        "manifold": (state, state),
        "provenance": {"environment": {"threads": 1}, "spec": {"a": 1}},
        "observables": {
            "N": Measurement(
                "N", np.array([0.1, AWKWARD, 1.0, 2.0]), np.ones(4) / 3, "site", (0, 1, 2, 3), "1", "occupation"
            ),
            "flow": Measurement(
                "flow", np.array([1 + 2j, 3j, AWKWARD]), None, "bond", ((0, 2), (1, 0), (2, 3)), "rate"
            ),
            "far/flow": Measurement("far/flow", np.array([1.0]), None, "bond", ((0, 3),)),
            "purity": Measurement("purity", 0.25, 1e-9),
            "amplitude": Measurement("amplitude", np.complex128(1 + AWKWARD * 1j)),
            "matrix": Measurement("matrix", np.arange(6.0).reshape(2, 3), None, "site site_2"),
            "spectrum": Measurement("spectrum", np.array([1.0, 0.5])),
            "none": Measurement("none", np.zeros(0), None, "pair", ()),
        },
    }
    assert profile.name in fields["observables"]
    return Result(**{**fields, **changes})


def equal_measurements(a: Measurement, b: Measurement) -> bool:
    def same(x, y):
        if x is None or y is None:
            return x is y
        x, y = np.asarray(x), np.asarray(y)
        return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()

    texts = ("name", "dimension", "labels", "unit", "description")
    return same(a.values, b.values) and same(a.error, b.error) and all(getattr(a, t) == getattr(b, t) for t in texts)


def test_a_result_comes_back_whole(tmp_path):
    result = full_result()
    with known(Relaxation):
        path = result.save(tmp_path / "run.h5")
        again = load(path)
    assert path == tmp_path / "run.h5" and sorted(p.name for p in tmp_path.iterdir()) == ["run.h5"]
    assert isinstance(again, Result) and equal_models(again.model, result.model)
    assert same_state(again.state, result.state)
    for name in ("method", "status", "certificate", "tol", "cost", "reason", "seed", "provenance"):
        assert getattr(again, name) == getattr(result, name), name
    assert again.history.names == result.history.names
    assert all(again.history[n].tobytes() == result.history[n].tobytes() for n in result.history.names)
    assert list(again.companions) == list(result.companions)
    assert all(
        w == result.companions[n][1] and same_state(s, result.companions[n][0])
        for n, (s, w) in again.companions.items()
    )
    assert len(again.manifold) == 2 and all(same_state(a, result.state) for a in again.manifold)
    assert list(again.observables) == list(result.observables)
    assert all(equal_measurements(m, again.observables[n]) for n, m in result.observables.items())
    assert str(again) == str(result) and read_spec(path) == {"a": 1} and again.pending is None


def test_a_loaded_result_answers_like_the_first(tmp_path):
    result = steady_state(pumped_chain(), Relaxation())
    with known(Relaxation):
        again = load(result.save(tmp_path / "run.h5"))
    assert again.expect(op("N", 0), error=True) == result.expect(op("N", 0), error=True)
    assert same_state(again.state, result.state) and again.certificate == result.certificate
    assert load_checkpoint(tmp_path / "run.h5").spec is None


def test_an_unknown_method_does_not_keep_the_state_from_being_read(tmp_path):
    path = full_result().save(tmp_path / "run.h5")
    method = load(path).method
    assert isinstance(method, StoredMethod) and method.name == "toy_relaxation" and method.knobs["sizes"] == (4, 5)
    assert repr(method).startswith("toy_relaxation(steps=3")
    again = load(load(path).save(tmp_path / "again.h5"))
    assert again.method == method


def test_a_state_of_an_unknown_kind_is_named(tmp_path, monkeypatch):
    path = full_result().save(tmp_path / "run.h5")
    monkeypatch.delitem(__import__("mpo_transport.states", fromlist=["STATES"]).STATES, "dense")
    with pytest.raises(FileFormatError, match="unknown kind 'dense'"):
        load(path)


def test_an_evolution_comes_back_whole(tmp_path):
    observables = {"n": op("N", 0), "profile": Observable("p", tuple(op("Sp", j) for j in range(3)), (0, 1, 2), "site")}
    evolution = evolve(pumped_chain(), "up", [0.0, 0.05, 0.1], observables, Relaxation())
    with known(Relaxation):
        again = load(evolution.save(tmp_path / "run.h5"))
    assert isinstance(again, Evolution) and again.times.tobytes() == evolution.times.tobytes()
    assert again.values.keys() == evolution.values.keys() and again.method == evolution.method
    assert all(equal_measurements(m, again.observables[n]) for n, m in evolution.observables.items())
    assert same_state(again.state, evolution.state) and again.status is Status.CONVERGED


def test_arrays_keep_their_layout_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(3, 4, 5))
    arrays = {
        "c": plain,
        "f": np.asfortranarray(plain),
        "permuted": plain.transpose(1, 2, 0),
        "slice": plain[:, ::2],
        "bool": np.array([True, False]),
        "int": np.array(-3, dtype=np.int32),
        "complex": plain[0] + 1j,
        "empty": np.zeros((0, 3)),
        "single": np.float32([0.1]),
    }
    (tmp_path / "t.h5").write_bytes(tree_image({"group": arrays}))
    again = read_tree(tmp_path / "t.h5")["group"]
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        assert again[name].dtype == array.dtype and np.array_equal(again[name], array), name
        if name != "slice":
            assert again[name].strides == array.strides, name


# -- observables as netCDF ---------------------------------------------------------------------------------------------


def test_observables_have_dimensions_units_and_coordinates(tmp_path):
    path = full_result().save(tmp_path / "run.h5")
    with h5py.File(path, "r") as file:
        group = file["observables"]
        for name, data in group.items():
            for axis in range(data.ndim):
                assert data.is_scale or len(data.dims[axis]) == 1, name
        assert group["N"].dims[0][0].name == "/observables/site" and group["site"][:].tolist() == [0, 1, 2, 3]
        assert group["flow"].dims[0][0].name == "/observables/bond" and group["flow"].shape == (3, 2)
        assert group["bond_first"][:].tolist() == [0, 1, 2] and group["bond_second"][:].tolist() == [2, 0, 3]
        assert group["far%2Fflow"].dims[0][0].name == "/observables/bond_2" and group["bond_2_second"][:].tolist() == [
            3
        ]
        assert (group["N"].attrs["units"], group["N"].attrs["long_name"]) == ("1", "occupation")
        assert group["flow"].attrs["units"] == "rate" and group["N_error"][0] == 1 / 3


def test_observables_open_in_xarray(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    evolution = evolve(pumped_chain(), "up", [0.0, 0.5], {"n": op("N", 0)}, Relaxation())
    for outcome, name, dims in ((full_result(), "N", ("site",)), (evolution, "n", ("time",))):
        path = outcome.save(tmp_path / f"{name}.h5")
        with xarray.open_dataset(path, group="observables", engine="h5netcdf") as data:
            assert data[name].dims == dims
            assert np.array_equal(data[name].values, outcome.observables[name].values)
            assert data[name].attrs["units"] == "1" and dims[0] in data.coords


def test_observables_of_state_functions_are_stored_by_value(tmp_path):
    purity = StateFunction("purity", lambda state: state.purity(), unit="1", description="Tr rho^2")
    result = steady_state(pumped_chain(), Relaxation(), observables=[purity])
    again = load(result.save(tmp_path / "run.h5"))
    assert again.observables["purity"].values == result.state.purity()
    assert again.observables["purity"].description == "Tr rho^2"


def test_files_hold_plain_numbers_and_texts_only(tmp_path):
    path = full_result().save(tmp_path / "run.h5")
    kinds = set()
    with h5py.File(path, "r") as file:
        file.visititems(lambda _, item: kinds.add(item.dtype.kind) if isinstance(item, h5py.Dataset) else None)
        assert file.attrs["format"] == "mpo_transport run" and file.attrs["schema_version"] == SCHEMA_VERSION
    assert kinds <= set("biufcS")


def test_saving_needs_a_directory_and_a_path(tmp_path):
    for bad in (tmp_path / "nowhere" / "run.h5", tmp_path, 3, ""):
        with pytest.raises(InputError) as caught:
            save(full_result(), bad)
        assert caught.value.field == "path"
    assert list(tmp_path.iterdir()) == []
