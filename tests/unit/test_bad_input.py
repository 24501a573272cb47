"""Nonsense through the Python interface: every mistake names its field, says what is expected, and writes nothing."""

import math
import warnings

import numpy as np
import pytest

from mpo_transport import (
    TEBD,
    Boson,
    Chain,
    ClusterMeanField,
    ExactDiag,
    Graph,
    Jump,
    Lindbladian,
    LocalSpace,
    OpSum,
    Spin,
    SpinHalf,
    choose_method,
    evolve,
    load,
    models,
    op,
    resume,
    steady_state,
)
from mpo_transport import observables as obs
from mpo_transport.errors import FileFormatError, InputError, MpoTransportError, NotSupportedError, RunConflictError
from mpo_transport.states import ClusterState, DenseState, MPOState

LATTICE = Chain(3, SpinHalf())
MODEL = models.persistent_current(3, 2.0, 1.5)
STATES = {
    "dense": DenseState.product(LATTICE, "up"),
    "mpo": MPOState.product(LATTICE, "up"),
    "cluster": ClusterState(LATTICE, [(0, 1, 2)], [np.eye(8) / 8]),
}
METHODS = {"exact": ExactDiag(), "tebd": TEBD(), "cluster": ClusterMeanField(size=3)}
X = np.array([[0, 1], [1, 0]])


def refused(field, call):
    with pytest.raises(InputError) as caught, warnings.catch_warnings():
        warnings.simplefilter("error")
        call()
    assert caught.value.field == field, str(caught.value)
    assert len(str(caught.value)) > 30 and str(caught.value).rstrip().endswith((".", ")"))


def cases(table):
    return [pytest.param(field, call, id=f"{field}-{k}") for k, (field, call) in enumerate(table)]


OPERATORS = [
    ("name", lambda: op("", 0)),
    ("name", lambda: op(3, 0)),
    ("site", lambda: op("Z", -1)),
    ("site", lambda: op("Z", 1.0)),
    ("site", lambda: op("Z", True)),
    ("coefficient", lambda: math.nan * op("Z", 0)),
    ("coefficient", lambda: op("Z", 0) / 0),
    ("coefficient", lambda: (1e200 * op("Z", 0)) * (1e200 * op("Z", 1))),
    ("coefficient", lambda: OpSum({(("Z", 0),): "a"})),
    ("terms", lambda: OpSum({"Z": 1.0})),
    ("terms", lambda: OpSum({(("Z", -1),): 1.0})),
    ("power", lambda: op("Z", 0) ** -1),
    ("power", lambda: op("Z", 0) ** 0.5),
    ("S", lambda: Spin(0.3)),
    ("S", lambda: Spin(math.nan)),
    ("levels", lambda: Boson(1)),
    ("levels", lambda: Boson(2.5)),
    ("levels", lambda: Boson(math.nan)),
    ("levels", lambda: Boson("4")),
    ("dim", lambda: LocalSpace("own", 1)),
    ("dim", lambda: LocalSpace("own", math.nan)),
    ("dim", lambda: LocalSpace("own", "2")),
    ("operators", lambda: LocalSpace("own", 2, [X])),
    ("operators", lambda: LocalSpace("own", 2, {"K": np.eye(3)})),
    ("operators", lambda: LocalSpace("own", 2, {"K": "ab"})),
    ("operators", lambda: LocalSpace("own", 2, {"K": np.full((2, 2), math.nan)})),
    ("operators", lambda: LocalSpace("own", 2, {"two words": X})),
    # an adjoint is taken by name: these would give Hamiltonians that only look Hermitian
    ("operators", lambda: LocalSpace("own", 2, {"Z": np.array([[0, 1], [0, 0]])})),
    ("operators", lambda: LocalSpace("own", 2, {"Sp": np.array([[0, 1], [0, 0]]), "Sm": X})),
    ("operators", lambda: LocalSpace("own", 2, {"K": np.diag([1j, 0]), "K.dag": np.diag([1j, 0])})),
    ("operators", lambda: LocalSpace("own", 2, {"I": X})),
    ("operators", lambda: SpinHalf().with_operators(Z=X)),
    ("number", lambda: LocalSpace("own", 2, {"K": X}, (0, 1, 2))),
    ("number", lambda: LocalSpace("own", 2, {"K": X}, (0, math.nan))),
    ("number", lambda: LocalSpace("own", 2, {"N": np.diag([0, 1])}, (1, 0))),
]

LATTICES = [
    *[("L", lambda v=v: Chain(v, SpinHalf())) for v in (0, -1, 1.5, "3", None, True, math.nan)],
    ("L", lambda: Chain(2, SpinHalf(), periodic=True)),
    ("L", lambda: models.persistent_current(2, 2.0, 1.0)),
    ("periodic", lambda: Chain(3, SpinHalf(), periodic="yes")),
    *[("space", lambda v=v: Chain(3, v)) for v in (None, "spin", SpinHalf, [SpinHalf()] * 2, [SpinHalf(), 2, 3])],
    *[("edges", lambda v=v: Graph(v, SpinHalf())) for v in (None, "ab", [(0, 0)], [(0, 1), (1, 0)], [(0, 1.5)])],
    ("edges", lambda: Graph([(0, 1), (2,)], SpinHalf())),
    ("edges", lambda: Graph([(0, 5)], SpinHalf(), L=3)),
    ("edges", lambda: Graph(np.array([[0, 1], [0, 0]]), SpinHalf())),
    ("edges", lambda: Graph(np.eye(3), SpinHalf())),
    ("L", lambda: Graph([(0, 1)], SpinHalf(), L="3")),
    ("space", lambda: Graph([(0, 1)], None)),
]

RATES = (-1.0, math.nan, math.inf, 1j, "a", None, True, [1.0])
LINDBLADIANS = [
    *[("rate", lambda v=v: Jump(op("Sm", 0), rate=v)) for v in RATES],
    ("operator", lambda: Jump("Sm", 1.0)),
    ("label", lambda: Jump(op("Sm", 0), label=3)),
    ("charge", lambda: Jump(op("Sm", 0), charge="one")),
    ("charge", lambda: Jump(op("Sm", 0), charge=math.nan)),
    ("lattice", lambda: Lindbladian(3, op("Z", 0), [])),
    ("hamiltonian", lambda: Lindbladian(LATTICE, op("Sp", 0), [])),
    ("hamiltonian", lambda: Lindbladian(LATTICE, 1j * op("Z", 0), [])),
    ("hamiltonian", lambda: Lindbladian(LATTICE, np.eye(8), [])),
    ("hamiltonian", lambda: Lindbladian(LATTICE, op("Q", 0), [])),
    ("hamiltonian", lambda: Lindbladian(LATTICE, op("Z", 3), [])),
    ("jumps[0].operator", lambda: Lindbladian(LATTICE, None, [Jump(op("A", 0))])),
    ("jumps", lambda: Lindbladian(LATTICE, None, None)),
    ("jumps", lambda: Lindbladian(LATTICE, None, Jump(op("Sm", 0)))),
    ("jumps", lambda: Lindbladian(LATTICE, None, [op("Sm", 0)])),
    ("baths", lambda: Lindbladian(LATTICE, None, [], baths=["left"])),
    ("currents", lambda: Lindbladian(LATTICE, None, [], currents={"I": 3})),
    ("parameters", lambda: Lindbladian(LATTICE, None, [], parameters=[1])),
    ("name", lambda: Lindbladian(LATTICE, None, [], name=3)),
]


def persistent(**changed):
    return lambda: models.persistent_current(**{"L": 4, "alpha": 2.0, "delta": 1.0, **changed})


LIBRARY = [
    *[("L", persistent(L=v)) for v in (2.5, "4", None, 0)],
    *[("alpha", persistent(alpha=v)) for v in ([1, 2], "a", math.nan, None, np.ones((2, 2)), 1e200)],
    *[("mu", persistent(mu=v)) for v in (1j, [1, 2, 3], math.inf)],
    *[("kappa", persistent(kappa=v)) for v in (-1, [1, 1, 1, -1], 1j)],
    ("J", persistent(J=math.nan)),
    ("lam", persistent(lam="x")),
    ("flux", persistent(flux=1j)),
    ("U", persistent(U=1.0)),
    ("levels", persistent(levels=1)),
    ("levels", persistent(levels="a")),
    ("periodic", persistent(periodic=None)),
    *[("distance", persistent(dissipator_distance=v)) for v in (0, 4, 1.5)],
    ("G_L", lambda: models.boundary_driven_xx(3, 1.0, -1, 0.5, 1, 0.5)),
    ("f_L", lambda: models.boundary_driven_xx(3, 1.0, 1, 1.5, 1, 0.5)),
    ("eps", lambda: models.boundary_driven_xxz(4, 1.0)),
    ("Delta", lambda: models.boundary_driven_xxz(4, 1j, eps=1.0)),
    ("gamma", lambda: models.ring_dephasing(3, 1.0, -1.0)),
]

KNOBS = [
    *[("max_bond", lambda v=v: TEBD(max_bond=v)) for v in (0, -3, 2.5, "a", True)],
    *[("cutoff", lambda v=v: TEBD(cutoff=v)) for v in (-1, 1, math.nan, "a", True)],
    *[("dt", lambda v=v: TEBD(dt=v)) for v in (0, -1, math.inf, "a")],
    *[("order", lambda v=v: TEBD(order=v)) for v in (3, "4", 8, 0)],
    *[("iterations", lambda v=v: TEBD(iterations=v)) for v in (3, True, 1.0)],
    *[("initial_bond", lambda v=v: TEBD(initial_bond=v)) for v in (0, "8")],
    ("max_time", lambda: TEBD(max_time=math.nan)),
    *[("size", lambda v=v: ClusterMeanField(size=v)) for v in (0, 1.5, "2", None, True)],
    ("branch", lambda: ClusterMeanField(branch="symetric")),
    ("solver", lambda: ExactDiag(solver="lu")),
    ("rtol", lambda: ExactDiag(rtol=0)),
    ("check_uniqueness", lambda: ExactDiag(check_uniqueness="x")),
]

OBSERVABLES = [
    ("model", lambda: obs.current("ring")),
    ("model", lambda: obs.profile(3, "Z")),
    ("model", lambda: obs.correlation(None, "Z", "Z")),
    ("model", lambda: obs.continuity_current(3)),
    ("model", lambda: obs.entropy_production(MODEL)),
    ("kind", lambda: obs.current(MODEL, "etta")),
    ("kind", lambda: obs.current(MODEL, 3)),
    *[("distance", lambda v=v: obs.current(MODEL, "eta", distance=v)) for v in (0, 3, 1.5)],
    ("name", lambda: obs.profile(MODEL, "A")),
    ("name", lambda: obs.profile(MODEL, 3)),
    ("species", lambda: obs.profile(MODEL, "Z", species="boson")),
    ("name", lambda: obs.correlation(MODEL, "Z", 3)),
    ("sites", lambda: obs.correlation(MODEL, "Z", "Z", pairs=[(0, 3)])),
    ("sites", lambda: obs.correlation(MODEL, "Z", "Z", pairs=[(0, -1)])),
    ("sites", lambda: obs.correlation(MODEL, "Z", "Z", sites=[0, 0.5])),
    ("pairs", lambda: obs.correlation(MODEL, "Z", "Z", pairs=[(0, 1, 2)])),
    ("pairs", lambda: obs.correlation(MODEL, "Z", "Z", pairs=3)),
    ("pairs", lambda: obs.correlation(MODEL, "Z", "Z", pairs=[])),
    ("charge", lambda: obs.continuity_current(MODEL, "A")),
    ("operator", lambda: obs.variance("Z")),
    ("bath", lambda: obs.heat_current(MODEL, "left")),
    ("bath", lambda: obs.bath_flow(MODEL, 3)),
    ("sites", lambda: obs.negativity(0.5, 1)),
    ("sites", lambda: obs.mutual_information(None, 1)),
    ("sites_b", lambda: obs.negativity(0, 0)),
    *[("order", lambda v=v: obs.entropy([0], v)) for v in (-1, "a", math.nan, True)],
]


@pytest.mark.parametrize(
    ("field", "call"), cases([*OPERATORS, *LATTICES, *LINDBLADIANS, *LIBRARY, *KNOBS, *OBSERVABLES])
)
def test_nonsense_is_refused_where_it_is_written(field, call):
    refused(field, call)


ON_A_STATE = [
    *[("sites", lambda s, v=v: s.reduced(v)) for v in ([-1], [3], [0, 0], [0.5], [True], 0, None, "a", [])],
    *[("cut", lambda s, v=v: s.operator_schmidt(v)) for v in (0, 3, -1, 1.5, "a")],
    *[("cut", lambda s, v=v: obs.operator_entropy(v).evaluate(s)) for v in (0, 3, 1.5, "a", True)],
    *[("sites", lambda s, v=v: obs.purity(v).evaluate(s)) for v in ([-1], [3], [0, 0], "a", [0.5])],
    ("sites", lambda s: obs.negativity(0, 3).evaluate(s)),
    ("sites", lambda s: obs.entropy([5]).evaluate(s)),
    ("operator", lambda s: s.expect("N")),
    ("operator", lambda s: s.expect(op("A", 0))),
    ("sites", lambda s: s.expect(op("Z", 3))),
    ("sites", lambda s: obs.profile(models.persistent_current(5, 2.0, 1.0), "Z").evaluate(s)),
    ("other", lambda s: s.overlap(None)),
    ("other", lambda s: s.overlap(DenseState.product(Chain(2, SpinHalf()), "up"))),
    ("other", lambda s: s.overlap(DenseState.product(Chain(3, Boson(2)), "vacuum"))),
    *[("target", lambda s, v=v: obs.fidelity(v).evaluate(s)) for v in (None, "sideways", np.eye(4), [0, 0])],
    ("target", lambda s: obs.fidelity(MPOState.product(Chain(2, SpinHalf()), "up")).evaluate(s)),
]


@pytest.mark.parametrize("representation", STATES)
@pytest.mark.parametrize(("field", "call"), cases(ON_A_STATE))
def test_nonsense_is_refused_by_every_representation(representation, field, call):
    refused(field, lambda: call(STATES[representation]))


INITIAL = [
    "sideways",
    3,
    math.nan,
    object(),
    {"a": 1},
    [0, 1],
    [math.nan] * 3,
    [0.5] * 3,
    [None] * 3,
    ["left"] * 3,
    [["a", "b"]] * 3,
    [np.zeros(2)] * 3,
    [np.eye(2)] * 3,
    [np.eye(3) / 3] * 3,
    [np.diag([2.0, -1.0])] * 3,
    np.eye(8) / 8,
    DenseState.product(Chain(2, SpinHalf()), "up"),
    MPOState.product(Chain(3, Spin(1)), "up"),
    DenseState.product(Chain(3, Boson(2)), "vacuum"),  # the same dimensions, but index 0 means something else
    DenseState(LATTICE, np.triu(np.ones((8, 8)))),
    DenseState(LATTICE, np.zeros((8, 8))),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("initial", INITIAL, ids=range(len(INITIAL)))
def test_bad_initial_states(method, initial):
    refused("initial", lambda: steady_state(MODEL, METHODS[method], tol=1e-3, initial=initial))
    refused("initial", lambda: evolve(MODEL, initial, [0.1], [], METHODS[method], tol=1e-3))


@pytest.mark.parametrize("method", METHODS)
def test_an_evolution_needs_an_initial_state(method):
    refused("initial", lambda: evolve(MODEL, None, [0.1], [], METHODS[method]))


BAD_TIMES = ([math.nan], [], [1, 0.5], [-1.0], "abc", None, [1j], [[1, 2]], [0, 0], math.inf)


@pytest.mark.parametrize("times", BAD_TIMES, ids=range(len(BAD_TIMES)))
def test_bad_times(times):
    refused("times", lambda: evolve(MODEL, "up", times, [], ExactDiag()))


@pytest.fixture(scope="module")
def results():
    return {name: steady_state(MODEL, m, tol=1e-2) for name, m in METHODS.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", [False, True])
def test_results_refuse_what_is_no_observable(results, method, error):
    for nonsense in ("N", None, [op("Z", 0)], np.eye(8), 3.0):
        refused("observable", lambda nonsense=nonsense: results[method].expect(nonsense, error=error))
    other = obs.current(models.persistent_current(6, 2.0, 1.0))
    refused("sites", lambda: results[method].expect(other, error=error))


CALLS = [
    ("model", lambda: steady_state("ring")),
    ("model", lambda: choose_method(3)),
    ("tol", lambda: choose_method(MODEL, tol=-1)),
    ("tol", lambda: steady_state(MODEL, tol=np.array([1e-3]))),
    ("method", lambda: steady_state(MODEL, "TEBD")),
    ("method", lambda: steady_state(MODEL, TEBD)),
    ("method", lambda: steady_state(MODEL, ClusterMeanField(size=2))),
    ("method", lambda: steady_state(MODEL, ClusterMeanField(size=4))),
    ("method", lambda: steady_state(models.boundary_driven_xx(14, 1.0, 0.5, 0.9, 0.7, 0.2), ExactDiag())),
    ("method", lambda: steady_state(models.persistent_current(3, 1.0, 0.5, U=1.0, levels=math.inf))),
    ("dt", lambda: steady_state(models.persistent_current(4, 2.0, 1.0), TEBD(dt=1e4, max_bond=8), tol=1e-2)),
    ("dt", lambda: evolve(models.persistent_current(4, 2.0, 1.0), "up", [1e4], [], TEBD(dt=1e3))),
    ("observables", lambda: steady_state(MODEL, observables=[op("Z", 0)])),
    ("observables", lambda: steady_state(MODEL, observables=None)),
    ("observables", lambda: steady_state(MODEL, observables=[obs.profile(models.persistent_current(5, 2, 1), "Z")])),
]


@pytest.mark.parametrize(("field", "call"), cases(CALLS))
def test_calls_are_refused_before_anything_is_computed(field, call):
    refused(field, call)


def test_files_that_are_no_runs(tmp_path, results):
    foreign = tmp_path / "foreign.h5"
    foreign.write_bytes(b"abc" * 100)
    for call in (load, resume):
        for path in (foreign, tmp_path, tmp_path / "missing.h5"):
            with pytest.raises((FileFormatError, InputError)):
                call(path)
        with pytest.raises(MpoTransportError):
            call(3)
    for path in (tmp_path, 3, None, "/proc/nowhere/run.h5"):
        with pytest.raises(MpoTransportError):
            results["exact"].save(path)
    assert list(tmp_path.iterdir()) == [foreign]


# -- what is no nonsense, though it looks unusual ----------------------------------------------------------------------


def test_numpy_scalars_and_lists_are_numbers_like_any_other():
    plain = models.persistent_current(4, 2.0, 1.5, kappa=[0.1, 0.2, 0.3, 0.4], mu=1.0)
    fancy = models.persistent_current(
        np.int64(4), np.float64(2.0), np.float32(1.5), kappa=np.array([0.1, 0.2, 0.3, 0.4]), mu=[1, 1, 1, 1]
    )
    assert fancy.hamiltonian == plain.hamiltonian and fancy.jumps == plain.jumps
    a = steady_state(plain, ExactDiag(), tol=np.float64(1e-6), seed=np.int64(0))
    assert np.array_equal(a.expect(obs.current(fancy)), a.expect(obs.current(plain, distance=np.int64(1))))
    assert op("Z", np.int32(2)) ** np.int64(2) == op("Z", 2) * op("Z", 2)
    assert Jump(op("Sm", 0), rate=np.float32(0.5)).rate == 0.5 and Jump(op("Sm", 0), rate=1).rate == 1.0
    assert TEBD(max_bond=np.int64(8), dt=np.float64(0.1)).max_bond == 8
    sites = np.array([0, 2])
    assert np.array_equal(a.state.reduced(sites), a.state.reduced([0, 2]))
    assert a.expect(obs.purity(sites)) == a.expect(obs.purity([0, 2]))
    assert a.expect(obs.negativity(np.int64(0), np.int64(1))) == a.expect(obs.negativity(0, 1))
    assert a.expect(obs.operator_entropy(np.int64(2))) == a.expect(obs.operator_entropy(2))


def test_initial_states_may_mix_names_occupations_vectors_and_matrices():
    lattice = Chain(4, [SpinHalf(), Boson(3), SpinHalf(), Spin(1)])
    initial = ["up", 2, np.array([1, 1j]) / math.sqrt(2), np.diag([0.5, 0.0, 0.5])]
    state = DenseState.product(lattice, initial)
    assert state.expect(op("Z", 0)) == pytest.approx(1) and state.expect(op("N", 1)) == pytest.approx(2)
    assert state.expect(op("Y", 2)) == pytest.approx(1) and state.expect(op("Sz", 3)) == pytest.approx(0)
    neel = evolve(MODEL, ["up", "down", "up"], [0.0], [obs.profile(MODEL, "Z")], ExactDiag())
    assert np.allclose(neel.values["profile_Z"][0], [1, -1, 1])


def test_mixed_lists_identify_a_stored_run(tmp_path):
    path = tmp_path / "run.h5"
    initial = ["up", 0, np.array([1, 1j]) / math.sqrt(2)]
    first = evolve(MODEL, initial, [0.1], {"Z": op("Z", 2)}, ExactDiag(), checkpoint=path)
    again = evolve(MODEL, initial, [0.1], {"Z": op("Z", 2)}, ExactDiag(), checkpoint=path)
    assert np.array_equal(first.values["Z"], again.values["Z"])
    with pytest.raises(RunConflictError, match="initial"):
        evolve(MODEL, ["down", *initial[1:]], [0.1], {"Z": op("Z", 2)}, ExactDiag(), checkpoint=path)


@pytest.mark.parametrize("initial", [3, object(), [None] * 3, "sideways", [0.5] * 3, ["left"] * 3])
def test_a_refused_start_leaves_nothing_on_the_disk(tmp_path, initial):
    with pytest.raises(InputError):
        evolve(MODEL, initial, [0.1], [], ExactDiag(), checkpoint=tmp_path / "run.h5")
    with pytest.raises(InputError):
        steady_state(MODEL, TEBD(), initial=initial, checkpoint=tmp_path / "run.h5")
    assert not list(tmp_path.glob("*.h5"))


def test_a_backend_that_cannot_deliver_says_so():
    long = MPOState.product(Chain(40, SpinHalf()), "up")
    for quantity in (obs.entropy(), obs.negativity(list(range(20))), obs.fidelity("mixed"), obs.purity(range(12))):
        with pytest.raises(NotSupportedError):
            quantity.evaluate(long)
    assert obs.purity().evaluate(long) == pytest.approx(1) and obs.entropy(None, 2).evaluate(long) == pytest.approx(0)
