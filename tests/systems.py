"""Small systems with known answers, and the reference tables in the conventions of the code.

Every :class:`System` is a model with observables whose values are known from elsewhere: published tables under
``data/reference`` (sites there count from 1), closed formulas, or an independent construction in this file.  Tests that
compare *every method with every system* run over :data:`SYSTEMS`; :data:`DEGENERATE` holds models whose steady state
is not unique, with the number of stationary operators.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from typing import Any

import numpy as np

from mpo_transport import Boson, Chain, Jump, Lindbladian, OpSum, SpinHalf, models, op
from mpo_transport import observables as obs
from mpo_transport.observables import Observable, StateFunction
from mpo_transport.states.dense import DenseState
from mpo_transport.superoperator import dense_lindbladian

__all__ = [
    "DEGENERATE",
    "SYSTEMS",
    "Answer",
    "Degenerate",
    "System",
    "dense_steady_state",
    "load_benchmark",
    "load_reference",
    "random_xy",
]

REFERENCE = Path(__file__).resolve().parents[1] / "data" / "reference"


@dataclass(frozen=True)
class Answer:
    """One observable (made from the model) with its value and the absolute uncertainty of that value."""

    name: str
    observable: Callable[[Lindbladian], Observable | StateFunction]
    value: Any
    uncertainty: float


@dataclass(frozen=True)
class System:
    """A model with a unique steady state and what is known about it."""

    name: str
    build: Callable[[], Lindbladian]
    answers: tuple[Answer, ...]
    source: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Degenerate:
    """A model with ``null_space`` linearly independent stationary operators."""

    name: str
    build: Callable[[], Lindbladian]
    null_space: int
    source: str

    def __str__(self) -> str:
        return self.name


# ----------------------------------------------------------------------------------------------------------------------
# reference tables


@cache
def _table(name: str) -> Any:
    return json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))


def load_reference(identifier: str, variant: int | None = None, **more: Any) -> tuple[dict[str, Any], Any, float]:
    """Return (keyword arguments of ``models.persistent_current``, value, absolute uncertainty) of a published entry.

    ``variant`` selects one row of entries that vary a parameter; ``more`` adds parameters the table states in words.
    Lists over sites and bonds start at the first site in both conventions, so they are taken over as they are.
    """
    entry = next(e for e in _table("persistent_currents") if e["id"] == identifier)
    given = {k: v for k, v in entry["parameters"].items() if k != "varied"}
    value = entry["value"]
    if variant is not None:
        given |= entry["parameters"].get("varied", [{}] * (variant + 1))[variant]
        value = value[variant]
    return _model_arguments({**given, **more}), value, float(entry["abs_uncertainty"])


_RENAMED = {"lambda": "lam", "J0": "J", "phi": "flux", "d": "levels"}


def _model_arguments(given: dict[str, Any]) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for key, value in given.items():
        if key == "boundary":
            numbers["periodic"] = value == "ring"
        else:
            numbers[_RENAMED.get(key, key)] = _number(value, numbers)
    if "r" in numbers:
        r, theta = numbers.pop("r"), numbers.pop("theta")
        numbers |= {"alpha": r * math.cos(theta), "delta": r * math.sin(theta)}
    return {"alpha": 0.0, "delta": 0.0, **numbers}


def _number(value: Any, known: dict[str, Any]) -> Any:
    """Read the few notations of the tables: 0.25*pi, 1*pi/32, 1.2*exp(0.3i), conj(alpha)."""
    if not isinstance(value, str):
        return value
    if found := re.fullmatch(r"([\d.]+)\*pi(?:/(\d+))?", value):
        return float(found[1]) * math.pi / float(found[2] or 1)
    if found := re.fullmatch(r"([\d.]+)\*exp\(([\d.]+)i\)", value):
        return float(found[1]) * np.exp(1j * float(found[2]))
    if found := re.fullmatch(r"conj\((\w+)\)", value):
        return np.conj(known[found[1]])
    raise ValueError(f"unknown notation {value!r}")


def load_benchmark(identifier: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (parameters, observables) of a case of the exact benchmarks; tables over sites count from 0."""
    case = next(c for c in _table("exact_benchmarks")["cases"] if c["id"] == identifier)
    observables = {
        name: {int(k) - 1: v for k, v in value.items()} if name.endswith("_sites") else value
        for name, value in case["observables"].items()
    }
    return {"L": case["L"], **case["params"]}, observables


def dense_steady_state(model: Lindbladian) -> DenseState:
    """Return the unique steady state by a dense solve with one row replaced by the trace; for tests of other things."""
    D = int(np.prod(model.lattice.dims))
    generator = dense_lindbladian(model)
    generator[0] = np.eye(D).ravel()
    return DenseState(model.lattice, np.linalg.solve(generator, np.eye(1, D * D)[0]).reshape(D, D))


# ----------------------------------------------------------------------------------------------------------------------
# persistent currents


def _eta(model: Lindbladian) -> Observable:
    return obs.current(model, "eta")


def _z(model: Lindbladian) -> Observable:
    return obs.profile(model, "Z")


_Columns = tuple[tuple[str, Callable[[Lindbladian], Any], str], ...]


def _uniform(
    identifier: str, columns: _Columns, variant: int | None = None, pick: int | None = None, **more: Any
) -> System:
    """A translation-invariant ring: each column of the table is one number for all bonds, all sites, or the whole."""
    arguments, value, uncertainty = load_reference(identifier, variant, **more)
    value = value if pick is None else value[pick]
    L = arguments["L"]
    size: dict[str, Any] = {"bond": (L,), "site": (L,), "": ()}
    answers = tuple(
        Answer(name, observable, np.full(size[per], v), uncertainty)
        for (name, observable, per), v in zip(columns, np.atleast_1d(value), strict=False)
        if name
    )
    suffix = "" if variant is None else f"-{variant}"
    return System(
        identifier + suffix,
        lambda: models.persistent_current(**arguments),
        answers,
        "M. Keck, D. Rossini, R. Fazio, PRA 98, 053812 (2018); numbers of data/reference/persistent_currents.json",
    )


_RING = (("eta", _eta, "bond"), ("Z", _z, "site"), ("purity", lambda m: obs.purity(), ""))
_PAIR = (*_RING[:2], ("negativity", lambda m: obs.negativity(0, 1), ""))
_FIG4 = (
    *_PAIR,
    ("half-chain negativity", lambda m: obs.negativity([0, 1]), ""),
    ("pair purity", lambda m: obs.purity([0, 1]), ""),
    ("purity", lambda m: obs.purity(), ""),
)
_FIG2 = (("J", lambda m: obs.current(m, "J"), "bond"), *_PAIR[1:])
_COMPLEX = (_RING[0], ("xi", lambda m: obs.current(m, "xi"), "bond"), _RING[1])
_NNN = (_RING[0], ("eta, distance 2", lambda m: obs.current(m, "eta", distance=2), "bond"))


def _open_chain(L: int) -> System:
    arguments, (eta, z, purity), uncertainty = load_reference(f"fig5-open-L{L}")
    answers = (
        Answer("eta", _eta, np.array(eta), uncertainty),
        Answer("Z", _z, np.array(z), uncertainty),
        Answer("purity", lambda m: obs.purity(), purity[0], uncertainty),
    )
    return System(
        f"fig5-open-L{L}",
        lambda: models.persistent_current(**arguments),
        answers,
        "M. Keck, D. Rossini, R. Fazio, PRA 98, 053812 (2018); numbers of data/reference/persistent_currents.json",
    )


def _boson_pair() -> System:
    arguments, (n, pairs, coherence), uncertainty = load_reference("boson-pair-U1.0")

    def moment(*operators: Any) -> Callable[[Lindbladian], Observable]:
        return lambda m: Observable("moment", operators, (0, 1), "site")

    number = [op("N", j) for j in (0, 1)]
    hop = op("Adag", 0) * op("A", 1)
    answers = (
        Answer("n", moment(*number), np.full(2, n), uncertainty),
        Answer("n(n-1)", moment(*(x * x - x for x in number)), np.full(2, pairs), uncertainty),
        Answer("Re <d+_0 d_1>", moment((hop + hop.dag) / 2), np.array([coherence]), uncertainty),
    )
    return System(
        "boson-pair-U1",
        lambda: models.persistent_current(**arguments),
        answers,
        "data/reference/persistent_currents.json, six levels per site",
    )


# ----------------------------------------------------------------------------------------------------------------------
# boundary-driven chains, closed formulas


def _series_current(L: int, t: float, G: tuple[float, float], f: tuple[float, float], gamma: float) -> float:
    """Karevski, Platini (2009); Znidaric (2010): contacts, mismatches and bulk in series."""
    return (f[0] - f[1]) / (1 / G[0] + 1 / G[1] + (G[0] + G[1]) / (4 * t * t) + (L - 1) * gamma / (2 * t * t))


def _series_profile(L: int, t: float, G: tuple[float, float], f: tuple[float, float], gamma: float) -> np.ndarray:
    I = _series_current(L, t, G, f, gamma)
    steps = np.full(L - 1, gamma)
    steps[0] += G[0] / 2
    steps[-1] += G[1] / 2
    return f[0] - I / G[0] - I / (2 * t * t) * np.concatenate([[0.0], np.cumsum(steps)])


def _xx(
    name: str, L: int, t: float, G: tuple[float, float], f: tuple[float, float], gamma: float, **more: Any
) -> System:
    uncertainty = more.pop("uncertainty", 1e-13)
    rates = (G[0], f[0], G[1], f[1])
    answers = (
        Answer("current", obs.current, np.full(L - 1, _series_current(L, t, G, f, gamma)), uncertainty),
        Answer("N", lambda m: obs.profile(m, "N"), _series_profile(L, t, G, f, gamma), uncertainty),
    )
    return System(
        name,
        lambda: models.boundary_driven_xx(L, t, *rates, dephasing=gamma, **more),
        answers,
        "D. Karevski, T. Platini, PRL 102, 207207 (2009); M. Znidaric, arXiv:1005.1271",
    )


def _exclusion(L: int, alpha: float, beta: float, gamma: float, delta: float) -> System:
    rho_a, rho_b, A, B = alpha / (alpha + gamma), delta / (beta + delta), 1 / (alpha + gamma), 1 / (beta + delta)
    size = L + A + B - 1
    i = np.arange(1, L + 1)
    pairs = [(a, b) for a in range(L) for b in range(a + 1, L)]
    connected = [-((rho_a - rho_b) ** 2) * (A + a) * (B + L - b - 1) / (size**2 * (size - 1)) for a, b in pairs]
    answers = (
        Answer("current", obs.current, np.full(L - 1, (rho_a - rho_b) / size), 1e-13),
        Answer("N", lambda m: obs.profile(m, "N"), (rho_a * (L + B - i) + rho_b * (i - 1 + A)) / size, 1e-13),
        Answer(
            "connected N N",
            lambda m: obs.correlation(m, "N", "N", pairs=pairs, connected=True),
            np.array(connected),
            1e-13,
        ),
    )
    return System(
        f"exclusion-{L}",
        lambda: models.exclusion_process(L, alpha, beta, gamma, delta),
        answers,
        "B. Derrida, J. Stat. Mech. P07023 (2007)",
    )


def _xxz_maximal(L: int, Delta: float, eps: float, J: float = 1.0) -> System:
    """Prosen (2011): one-point functions from a tridiagonal matrix on k = 0 .. L//2 + 1."""
    k = np.arange(L // 2 + 2)
    if Delta == 1:
        s = -4j * J / eps
        a, b = s - k, (k + 1) * (2 * s - k)
    else:
        eta = np.emath.arccos(Delta)
        s = np.arctan(-1j * eps / (4 * J * np.sin(eta)) + 0j) / eta
        a, b = np.cos(eta * (s - k)), np.sin(eta * (k + 1)) * np.sin(eta * (2 * s - k))
    off = np.abs(b[:-1])
    T = np.diag(2 * np.abs(a) ** 2) + np.diag(off, 1) + np.diag(off, -1)
    V = np.diag(off, 1) - np.diag(off, -1)
    power = np.linalg.matrix_power
    Z = power(T, L)[0, 0]
    z = [(power(T, j) @ V @ power(T, L - j - 1))[0, 0] / Z for j in range(L)]
    answers = (
        Answer("current", obs.current, np.full(L - 1, 2 * eps * abs(a[0]) ** 2 * power(T, L - 1)[0, 0] / Z), 1e-12),
        Answer("Z", _z, np.array(z), 1e-12),
    )
    return System(
        f"xxz-{Delta:g}-{L}",
        lambda: models.boundary_driven_xxz(L, Delta, J=J, eps=eps),
        answers,
        "T. Prosen, PRL 107, 137201 (2011)",
    )


def _kerr() -> System:
    parameters, known = load_benchmark("kerr-a")
    parameters.pop("L")
    answers = (
        Answer("N", lambda m: obs.profile(m, "N"), np.array([known["n"]]), 1e-9),
        Answer("A", lambda m: obs.profile(m, "A"), np.array([known["a_re"] + 1j * known["a_im"]]), 1e-9),
        Answer(
            "g2",
            lambda m: Observable("pairs", (op("N", 0) * op("N", 0) - op("N", 0),)),
            known["g2"] * known["n"] ** 2,
            1e-9,
        ),
    )
    return System(
        "kerr-a",
        lambda: models.kerr_oscillator(**parameters, levels=20),
        answers,
        "P. D. Drummond, D. F. Walls, J. Phys. A 13, 725 (1980)",
    )


# ----------------------------------------------------------------------------------------------------------------------
# written by hand


def driven_qubit(Omega: float, Delta: float, gamma: float, n: float) -> Lindbladian:
    """H = Omega/2 X + Delta N, thermal jumps gamma (n+1) D[s-] + gamma n D[s+]."""
    jumps = [
        Jump(op("Sm", 0), rate=gamma * (n + 1), label="bath_1", charge=1),
        Jump(op("Sp", 0), rate=gamma * n, label="bath_1", charge=-1),
    ]
    return Lindbladian(Chain(1, SpinHalf()), 0.5 * Omega * op("X", 0) + Delta * op("N", 0), jumps, name="driven_qubit")


def _qubit(name: str, Omega: float, Delta: float, gamma: float, n: float) -> System:
    """Optical Bloch equations: w = <Z> = -G0 / (G + 2 Omega^2 G2 / (...)), solved as a 3 x 3 linear system."""
    total = gamma * (2 * n + 1)
    # d<X>/dt = -total/2 X - Delta Y;  d<Y>/dt = Delta X - total/2 Y - Omega Z;  d<Z>/dt = Omega Y - total Z - gamma
    bloch = np.array([[-total / 2, -Delta, 0], [Delta, -total / 2, -Omega], [0, Omega, -total]])
    x, y, z = np.linalg.solve(bloch, [0, 0, gamma])
    answers = (
        *(
            Answer(name, lambda m, name=name: obs.profile(m, name), np.array([v]), 1e-13)
            for name, v in (("X", x), ("Y", y), ("Z", z))
        ),
        Answer("purity", lambda m: obs.purity(), (1 + x * x + y * y + z * z) / 2, 1e-13),
        Answer(
            "bath flow",
            lambda m: obs.bath_flow(m, "bath_1"),
            gamma * (n + 1) * (1 + z) / 2 - gamma * n * (1 - z) / 2,
            1e-13,
        ),
    )
    return System(name, lambda: driven_qubit(Omega, Delta, gamma, n), answers, "optical Bloch equations")


_MIXED = {"omega": 0.8, "g": 0.35, "drive": 0.3, "hop": 0.45, "loss": 0.9, "gain": 0.1, "decay": 0.4, "noise": 0.25}
_LEVELS = 4


def spin_boson_chain() -> Lindbladian:
    """spin - mode - spin with a saturable operator of the user's own, a pairing term, and a jump on two sites."""
    c = _MIXED
    mode = Boson(_LEVELS).with_operators(fA=np.diag(1 / (1.0 + np.arange(_LEVELS))) @ Boson(_LEVELS).matrix("A"))
    lattice = Chain(3, [SpinHalf(), mode, SpinHalf()])
    exchange = c["g"] * op("Sp", 0) * op("fA", 1) + (c["hop"] + 0.2j) * op("Sm", 2) * op("Adag", 1)
    h = c["omega"] * op("N", 1) + c["drive"] * op("X", 0) + exchange + exchange.dag
    jumps = [
        Jump(op("A", 1), rate=c["loss"], label="bath_1", charge=1),
        Jump(op("Adag", 1), rate=c["gain"], label="bath_1", charge=-1),
        Jump(op("Sm", 0) + 0.5j * op("fA", 1), rate=c["decay"], label="common"),
        Jump(op("Sm", 2), rate=c["decay"], label="site_2", charge=1),
        Jump(op("Z", 2) * op("N", 1), rate=c["noise"], label="dephasing"),
    ]
    return Lindbladian(lattice, h, jumps, name="spin_boson_chain")


@cache
def _spin_boson_density_matrix() -> np.ndarray:
    """The steady state of :func:`spin_boson_chain` from plain matrices: column-stacked, null vector by SVD."""
    c, d = _MIXED, _LEVELS
    sm = np.array([[0, 0], [1, 0]], dtype=complex)
    z, x, one2, oned = np.diag([1.0, -1.0]), np.array([[0, 1], [1, 0]]), np.eye(2), np.eye(d)
    a = np.diag(np.sqrt(np.arange(1, d)), 1)
    n, fa = np.diag(np.arange(d)), np.diag(1 / (1.0 + np.arange(d))) @ np.diag(np.sqrt(np.arange(1, d)), 1)

    def three(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        return reduce(np.kron, (p, q, r))

    coupling = c["g"] * three(sm.T, fa, one2) + (c["hop"] + 0.2j) * three(one2, a.T, sm)
    h = c["omega"] * three(one2, n, one2) + c["drive"] * three(x, oned, one2) + coupling + coupling.conj().T
    jumps = [
        math.sqrt(c["loss"]) * three(one2, a, one2),
        math.sqrt(c["gain"]) * three(one2, a.T, one2),
        math.sqrt(c["decay"]) * (three(sm, oned, one2) + 0.5j * three(one2, fa, one2)),
        math.sqrt(c["decay"]) * three(one2, oned, sm),
        math.sqrt(c["noise"]) * three(one2, n, z),
    ]
    one = np.eye(len(h))
    generator = -1j * (np.kron(one, h) - np.kron(h.T, one))
    for L in jumps:
        square = L.conj().T @ L
        generator += np.kron(L.conj(), L) - 0.5 * np.kron(one, square) - 0.5 * np.kron(square.T, one)
    rho = np.linalg.svd(generator)[2][-1].conj().reshape(h.shape, order="F")
    return rho / np.trace(rho)


def _spin_boson() -> System:
    rho = _spin_boson_density_matrix()
    d = _LEVELS
    tensor = rho.reshape(2, d, 2, 2, d, 2)
    ends = np.einsum("amcbmd->acbd", tensor).reshape(4, 4)
    eigenvalues = np.linalg.eigvalsh(ends.reshape(2, 2, 2, 2).transpose(0, 3, 2, 1).reshape(4, 4))
    populations = np.einsum("amcamc->m", tensor).real
    up = [np.einsum("amcbmc->ab", tensor)[0, 0].real, np.einsum("amcamd->cd", tensor)[0, 0].real]
    spectrum = np.linalg.eigvalsh(rho)
    answers = (
        Answer("N", lambda m: obs.profile(m, "N"), np.array([up[0], np.dot(np.arange(d), populations), up[1]]), 1e-12),
        Answer("top population", lambda m: obs.top_population(), populations[-1], 1e-12),
        Answer("purity of the ends", lambda m: obs.purity([0, 2]), np.linalg.norm(ends) ** 2, 1e-12),
        Answer("negativity of the ends", lambda m: obs.negativity(0, 2), -eigenvalues[eigenvalues < 0].sum(), 1e-12),
        Answer("entropy", lambda m: obs.entropy(), -np.dot(spectrum, np.log(spectrum)), 1e-10),
    )
    return System("spin-boson-chain", spin_boson_chain, answers, "null vector of an independently written generator")


# ----------------------------------------------------------------------------------------------------------------------
# quadratic models


def random_xy(L: int, seed: int) -> Lindbladian:
    """Anisotropic complex hopping, fields, and jumps at both ends that mix raising and lowering: free fermions."""
    rng = np.random.default_rng(seed)
    c = rng.normal(size=(L, 4, 2)) @ [1, 1j]
    h = sum((x.real * op("Z", j) for j, x in enumerate(c[:, 2])), OpSum())
    for j in range(L - 1):
        half = c[j, 0] * op("Sp", j) * op("Sm", j + 1) + 0.5 * c[j, 1] * op("Sp", j) * op("Sp", j + 1)
        h = h + half + half.dag
    jumps = [
        Jump(op("Sm", 0) + 0.4j * op("Sp", 0), rate=0.8),
        Jump(op("Sp", 0), rate=0.3),
        Jump(op("Sm", L - 1), rate=0.5),
        Jump(op("Sp", L - 1) - 0.2 * op("Sm", L - 1), rate=0.7),
    ]
    return Lindbladian(Chain(L, SpinHalf()), h, jumps, name="random_xy")


def _boson_20() -> System:
    """Gain and loss at the ends of a chain of unbounded modes: current, densities and a number distribution."""
    given, known = load_benchmark("boson-20")
    G, f = zip(
        *((given[f"loss_{end}"] - given[f"gain_{end}"], given[f"gain_{end}"]) for end in ("L", "R")), strict=True
    )
    f = tuple(x / g for x, g in zip(f, G, strict=True))
    density = known["density_sites"]
    probabilities = known["occupation_probability_site_10"]
    answers = (
        Answer("current", obs.current, np.full(given["L"] - 1, known["particle_current"]), 1e-13),
        Answer(
            "densities",
            lambda m: Observable("densities", tuple(op("N", s) for s in density), tuple(density), "site"),
            np.array(list(density.values())),
            1e-13,
        ),
        Answer(
            "number distribution",
            lambda m: StateFunction("occupation", lambda state: state.number_distribution(9, len(probabilities) - 1)),
            np.array(probabilities),
            1e-13,
        ),
    )
    return System(
        "boson-20",
        lambda: models.boundary_driven_xx(given["L"], given["t"], G[0], f[0], G[1], f[1], levels=math.inf),
        answers,
        "data/reference/exact_benchmarks.json",
    )


def _rectifier() -> System:
    """Two modes with three baths, all rates different."""
    table = {e["id"]: e for e in _table("heat_rectifier")}
    given = dict(table["gen_rates_n"]["parameters"])
    F = complex(given.pop("F_re"), given.pop("F_im"))
    flows = dict(zip(("bath_1", "bath_2", "common"), table["gen_rates_eta"]["value"], strict=True))
    answers = (
        Answer("N", lambda m: obs.profile(m, "N"), np.array(table["gen_rates_n"]["value"]), 1e-12),
        *(Answer(bath, lambda m, bath=bath: obs.bath_flow(m, bath), flow, 1e-12) for bath, flow in flows.items()),
    )
    return System(
        "rectifier-rates",
        lambda: models.heat_rectifier(**given, F=F, levels=math.inf),
        answers,
        "data/reference/heat_rectifier.json",
    )


# ----------------------------------------------------------------------------------------------------------------------


SYSTEMS: tuple[System, ...] = (
    _uniform("fig5-ring-L3", _RING),
    _uniform("fig5-ring-L4", _RING),
    _uniform("fig5-ring-L5", _RING),
    _open_chain(4),
    _open_chain(5),
    _uniform("complex-ring5", _COMPLEX),
    _uniform("fig4-r1", _FIG4, 1, pick=0),
    _uniform("fig4-r1", _FIG4, 2, pick=0),
    _uniform("fig2-left", _FIG2, 1),
    _uniform("fig2-map", _FIG2, 1),
    _uniform("fig6-x-0.3", _RING, pick=1, theta=4 * math.pi / 32),
    _uniform("fig6-zz-0.1", _RING, pick=4, theta=12 * math.pi / 32),
    _uniform("nnn", _NNN, 1),
    _boson_pair(),
    _xx("xx-asymmetric", 5, 0.8, (0.6, 1.4), (0.9, 0.2), 0.0),
    _xx("xx-dephasing", 4, 1.0, (0.7, 2.0), (0.1, 0.6), 0.5),
    # five levels: the weight beyond them is (n/(1+n))^5 < 3e-7 per site at these occupations
    _xx("boson-chain", 2, 1.0, (0.9, 1.3), (0.05, 0.02), 0.3, levels=5, uncertainty=5e-6),
    _xx("boson-chain-unbounded", 7, 0.8, (0.6, 1.4), (2.9, 0.2), 0.0, levels=math.inf),
    _boson_20(),
    _rectifier(),
    _exclusion(4, 1.0, 0.8, 0.5, 0.3),
    _xxz_maximal(4, 0.5, 2.0),
    _xxz_maximal(3, 1.0, 4.0, J=0.7),
    _kerr(),
    _qubit("thermal-qubit", 0.0, 1.3, 0.7, 0.4),
    _qubit("driven-qubit", 0.9, 0.6, 0.7, 0.2),
    _spin_boson(),
)

_DARK = "dark product states; M. Keck, D. Rossini, R. Fazio, PRA 98, 053812 (2018)"
DEGENERATE: tuple[Degenerate, ...] = (
    Degenerate("dark-ring-4", lambda: models.persistent_current(4, 2.0, 1.0, mu=0.0), 4, _DARK),
    Degenerate("dark-open-3", lambda: models.persistent_current(3, 2.0, 1.0, mu=0.0, periodic=False), 4, _DARK),
    Degenerate("no-gain-ring-4", lambda: models.persistent_current(4, 2.0, 0.0), 2, "vacuum and staggered magnon"),
    Degenerate("singlet-triplet", lambda: models.persistent_current(2, 2.0, 1.0, periodic=False), 2, "total spin"),
    Degenerate("ring-dephasing-3", lambda: models.ring_dephasing(3, 1.0, 0.9), 4, "one per particle number"),
)
