"""The works of the benchmark ``mpo.py``: what is computed, by which methods, and what the answer is.

A work measures one method and returns the numbers of a row.  Errors are the largest absolute deviations of all bond
currents and of all one-site profiles from exact values or, where there are none, from converged ones with their error
(``converged.json``).  Only the public interface of the package is used, apart from the timing of single bond updates.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _rows import ROOT, stopwatch

import mpo_transport as mt
from mpo_transport import observables as obs
from mpo_transport.methods import METHODS, build_method
from mpo_transport.reference import boundary_driven

__all__ = ["CONVERGED", "SETS", "SMALL", "WORKS", "NotAvailable", "Work", "named_method", "small_case", "w1_model"]

CONVERGED = Path(__file__).with_name("converged.json")
SETS = {"": (2.0, 1.0, 1.0), "-b": (1.5, 0.8, 0.7), "-c": (1.0, 0.5, 1.0)}
SWEEPS = ("auto", "TEBD", "ImplicitSweeps")


class NotAvailable(Exception):
    """A method that this version of the package does not have, or a reference that has not been computed."""


@dataclass(frozen=True)
class Work:
    """One row of the table: what it is, the methods tried by default, the aim, and how it is measured."""

    name: str
    title: str
    methods: tuple[str, ...]
    aim: str
    measure: Callable[[str], dict[str, Any]]
    peers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quantity:
    """An observable, its exact or converged value, and the uncertainty of that value."""

    observable: Any
    exact: np.ndarray | None
    uncertainty: float = 0.0


def named_method(text: str) -> Any:
    """Return the method of a text such as ``TEBD`` or ``TEBD(layout="z2", max_bond=32)``; None for ``auto``.

    Raises
    ------
    NotAvailable
        If there is no such method, or it has no such knob.
    """
    if text == "auto":
        return None
    name, _, rest = text.partition("(")
    try:
        call = ast.parse(f"f({rest}" if rest else "f()", mode="eval").body
        assert isinstance(call, ast.Call)
        knobs = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
    except (SyntaxError, ValueError) as error:
        raise SystemExit(f"method {text!r} cannot be read; write NAME or NAME(knob=value, ...)") from error
    if name not in METHODS:
        raise NotAvailable(f"no method {name}")
    try:
        return build_method(name, knobs)
    except mt.InputError as error:
        raise NotAvailable(str(error)) from error


# ----------------------------------------------------------------------------------------------------------------------
# steady states


def steady(
    model: mt.Lindbladian, quantities: Sequence[Quantity], tol: float, method: str, **how: Any
) -> dict[str, Any]:
    """Solve for the steady state and compare every quantity with its value."""
    chosen = named_method(method)
    with stopwatch() as seconds:
        result = mt.steady_state(model, chosen, tol=tol, on_failure="return", progress=False, **how)
        values = [result.expect(q.observable, error=True) for q in quantities]
    row = {**seconds, **_described(result, tol)}
    errors = [
        float(np.abs(v - q.exact).max()) for q, (v, _) in zip(quantities, values, strict=True) if q.exact is not None
    ]
    claims = [float(np.max(claim)) for _, claim in values]
    first = np.atleast_1d(values[0][0])
    row["value"] = float(first[len(first) // 2])
    row["spread"] = float(np.ptp(first))
    row["error"] = max(errors) if errors else None
    row["error_current"] = errors[0] if errors else None
    row["claimed"] = max(claims) if np.all(np.isfinite(claims)) else None
    row["reference_error"] = max(q.uncertainty for q in quantities)
    return row


def _described(result: mt.Result, tol: float) -> dict[str, Any]:
    """Return what a result says of itself: status, bond dimension, order, time step, residual."""
    history, names = result.history, result.history.names
    steps = np.asarray(history["dt"], dtype=float) if "dt" in names else np.zeros(0)
    steps = steps[np.isfinite(steps)]
    certificate = result.certificate
    return {
        "ran": type(result.method).__name__,
        "tol": tol,
        "status": result.status.value,
        "chi": certificate.bond_dimension,
        "order": getattr(result.method, "order", None),
        "dt": float(steps[-1]) if len(steps) else None,
        "residual": certificate.residual,
        "certificate": certificate.error_estimate,
    }


def _converged(name: str) -> Mapping[str, Any]:
    known = json.loads(CONVERGED.read_text(encoding="utf-8")) if CONVERGED.exists() else {}
    if name not in known:
        raise NotAvailable(f"no converged values for {name}; run mpo.py --converge {name}")
    return known[name]


def w1_model(alpha: float, delta: float, mu: float, L: int = 30) -> mt.Lindbladian:
    """Return the persistent-current chain with open ends."""
    return mt.models.persistent_current(L=L, alpha=alpha, delta=delta, mu=mu, periodic=False)


def w1(which: str, tol: float, method: str) -> dict[str, Any]:
    """Open persistent-current chain of thirty sites; ``tol`` bounds the absolute error of every bond current."""
    alpha, delta, _ = SETS[which]
    model = w1_model(*SETS[which])
    entry = _converged("w1" + which)
    norm = abs(alpha**2 - delta**2)
    quantities = [
        Quantity(obs.current(model), np.asarray(entry["current"]), entry["uncertainty"]),
        Quantity(obs.profile(model, "Z"), np.asarray(entry["profile"]), entry["uncertainty"]),
    ]
    return steady(model, quantities, tol / max(norm, 1.0), method)


def w1_long(method: str, L: int = 1000) -> dict[str, Any]:
    """The same chain with a thousand sites: its ends are those of thirty sites, its middle is constant."""
    entry = _converged("w1")
    model = w1_model(*SETS[""], L)
    current, profile = (_stretched(np.asarray(entry[key]), n) for key, n in (("current", L - 1), ("profile", L)))
    unsure = max(entry["uncertainty"], float(np.ptp(np.asarray(entry["current"])[13:16])))
    quantities = [Quantity(obs.current(model), current, unsure), Quantity(obs.profile(model, "Z"), profile, unsure)]
    return steady(model, quantities, 1e-5 / 3, method)


def _stretched(values: np.ndarray, length: int) -> np.ndarray:
    half = len(values) // 2
    middle = np.full(length - 2 * half, values[half])
    return np.concatenate([values[:half], middle, values[len(values) - half :]])


SMALL = {"small5": 5, "small6": 6}


def small_case(L: int) -> tuple[mt.Lindbladian, list[Quantity]]:
    """Return a short open chain and its published exact values."""
    current, profile, unsure = _published(f"fig5-open-L{L}")
    model = w1_model(*SETS[""], L)
    return model, [Quantity(obs.current(model), current, unsure), Quantity(obs.profile(model, "Z"), profile, unsure)]


def small(L: int, method: str) -> dict[str, Any]:
    """Short open chain against the published exact values."""
    model, quantities = small_case(L)
    return steady(model, quantities, 1e-8, method)


def _published(identifier: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Return current, profile and uncertainty of an entry of the published table."""
    table = json.loads((ROOT / "data" / "reference" / "persistent_currents.json").read_text(encoding="utf-8"))
    entry = next(e for e in table if e["id"] == identifier)
    return np.asarray(entry["value"][0]), np.asarray(entry["value"][1]), float(entry["abs_uncertainty"])


def ring10(method: str) -> dict[str, Any]:
    """Ring of ten sites against the published exact values."""
    current, profile, unsure = _published("fig5-ring-L10")
    model = mt.models.persistent_current(L=10, alpha=2.0, delta=1.5, mu=1.0)
    quantities = [
        Quantity(obs.current(model), np.full(10, current), unsure),
        Quantity(obs.profile(model, "Z"), np.full(10, profile), unsure),
    ]
    return steady(model, quantities, 1e-8, method)


def ring100(method: str) -> dict[str, Any]:
    """Ring of a hundred sites against the infinite chain; ``InfiniteTEBD`` gives the latter's own row."""
    entry = _converged("ring-bulk")
    infinite = method.startswith("InfiniteTEBD")
    model = mt.models.persistent_current(L=4 if infinite else 100, alpha=2.0, delta=1.5, mu=1.0)
    quantities = [
        Quantity(o, np.full(model.L, entry[key]), entry["uncertainty"])
        for key, o in (("current", obs.current(model)), ("profile", obs.profile(model, "Z")))
    ]
    return steady(model, quantities, 1e-4, method)


def xx(L: int, baths: tuple[float, float, float, float], method: str) -> dict[str, Any]:
    """XX chain between two baths (G_L, f_L, G_R, f_R): exact rank four."""
    model, exact = mt.models.boundary_driven_xx(L, 1.0, *baths), boundary_driven.xx_chain(L, 1.0, *baths)
    return steady(model, _chain_quantities(model, exact.current, exact.density), 1e-10, method)


def exclusion(L: int, method: str) -> dict[str, Any]:
    """Symmetric exclusion process between two reservoirs."""
    rates = (1.0, 0.8, 0.5, 0.3)
    model, exact = mt.models.exclusion_process(L, *rates), boundary_driven.exclusion(L, *rates)
    return steady(model, _chain_quantities(model, exact.current, exact.density), 1e-8, method)


def _chain_quantities(model: mt.Lindbladian, current: float, density: np.ndarray) -> list[Quantity]:
    return [Quantity(obs.current(model), np.full(model.L - 1, current)), Quantity(obs.profile(model, "N"), density)]


def driven_xxz(L: int, Delta: float, tol: float, method: str) -> dict[str, Any]:
    """XXZ chain, maximal driving, J = eps = 1."""
    model = mt.models.boundary_driven_xxz(L, Delta, J=1.0, eps=1.0)
    exact = boundary_driven.xxz_maximally_driven(L, Delta, J=1.0, eps=1.0)
    quantities = [
        Quantity(obs.current(model), np.full(L - 1, exact.current)),
        Quantity(obs.profile(model, "Z"), exact.sigma_z),
    ]
    return steady(model, quantities, tol, method)


def weak_xxz(method: str) -> dict[str, Any]:
    """Weakly driven XXZ chain: the current from a rough state, then from duals and states of two bond dimensions."""
    model = mt.models.boundary_driven_xxz(64, 0.5, J=1.0, G_L=1.0, f_L=0.55, G_R=1.0, f_R=0.45)
    current = obs.current(model)
    chosen = named_method(method) or mt.TEBD(max_bond=8, max_time=100.0)
    with stopwatch() as seconds:
        result = mt.steady_state(model, chosen, tol=1e-4, on_failure="return", progress=False)
        plain = np.asarray(result.expect(current))
        coarse, fine = (
            mt.corrected(result, current, max_bond=bond, tol=1e-9, uniform=True, refine=True) for bond in (96, 128)
        )
    before, after = float(np.mean(coarse.corrected)), float(np.mean(fine.corrected))
    return {
        **seconds,
        **_described(result, 1e-4),
        "value": after,
        "spread": float(np.ptp(plain) / plain.mean()),
        "error": abs(after - before) / after,
        "claimed": float(np.max(fine.error)) / after,
        "remark": "error: difference of bond dimensions 96 and 128 of duals and refined states; "
        f"claimed at 96: {float(np.max(coarse.error)) / before:.1e}; the spread is that of the rough state",
    }


def _boson_chain(L: int, levels: int) -> tuple[mt.Lindbladian, list[Quantity], str]:
    """Return a chain of bosons between baths, its answer for unbounded modes, and a remark on the cutoff."""
    rates = {"gain_L": 0.1, "loss_L": 1.1, "gain_R": 0.02, "loss_R": 1.02}
    exact = boundary_driven.boson_chain(L, 1.0, **rates)
    model = mt.models.boundary_driven_xx(L, 1.0, 1.0, 0.1, 1.0, 0.02, levels=levels)
    n = exact.density
    cut = float(((n / (1 + n)) ** levels).max())
    return model, _chain_quantities(model, exact.current, n), f"largest weight above the cutoff {cut:.1e}"


def boson40(method: str) -> dict[str, Any]:
    """Boson chain of forty sites with eight levels against the Gaussian answer of unbounded modes."""
    model, quantities, remark = _boson_chain(40, 8)
    return {**steady(model, quantities, 1e-4, method), "remark": remark}


def boson40_corrected(method: str) -> dict[str, Any]:
    """The same chain from a rough state, its values corrected by duals on ladder operators."""
    model, quantities, remark = _boson_chain(40, 8)
    with stopwatch() as seconds:
        result = mt.steady_state(model, named_method(method), tol=1e-2, on_failure="return", progress=False)
        found = [mt.corrected(result, q.observable) for q in quantities]
    rough = max(float(np.abs(f.value - q.exact).max()) for f, q in zip(found, quantities, strict=True))
    row = {**seconds, **_described(result, 1e-2)}
    first = np.asarray(found[0].corrected)
    errors = [float(np.abs(f.corrected - q.exact).max()) for f, q in zip(found, quantities, strict=True)]
    return {
        **row,
        "value": float(first[len(first) // 2]),
        "spread": float(np.ptp(first)),
        "error": max(errors),
        "error_current": errors[0],
        "claimed": max(float(np.max(f.error)) for f in found),
        "reference_error": result.certificate.cutoff_error,
        "remark": f"{remark}; error of the state {rough:.1e}, change of <N> by the cutoff "
        f"{result.certificate.cutoff_error:.1e}",
    }


# ----------------------------------------------------------------------------------------------------------------------
# other questions


def gap40(method: str) -> dict[str, Any]:
    """Gap of the XX chain of forty sites (even parity), relative error."""
    model = mt.models.boundary_driven_xx(40, 1.0, 1.0, 0.5, 1.0, 0.5)
    exact = boundary_driven.xx_gap(40, 1.0, 1.0, 1.0)
    how: dict[str, Any] = {"sector": {"parity": "even"}}
    if method == "hierarchy":  # rates of the equations of motion of the magnetisations
        how = {"sector": mt.observables.profile(model, "Z"), "method": method}
    elif method == "sweeps":
        how |= {"method": method, "max_bond": 16}
    with stopwatch() as seconds:
        try:
            found = mt.gap(model, **how)
        except (mt.InputError, mt.NotSupportedError) as error:
            raise NotAvailable(str(error)) from error
    return {
        **seconds,
        "ran": method,
        "status": "finished",
        "value": float(found),
        "error": abs(float(found) / exact - 1),
    }


def fcs40(method: str) -> dict[str, Any]:
    """Second cumulant of the current of the XX chain of forty sites at maximal driving: 1/16."""
    model = mt.models.boundary_driven_xx(40, 1.0, 2.0, 1.0, 2.0, 0.0)
    with stopwatch() as seconds:
        found = mt.counting.statistics(model, "right", order=2, method=named_method(method), tol=1e-3)
    second, claims = float(found.cumulants[1]), found.errors
    return {
        **seconds,
        "ran": found.method,
        "tol": 1e-3,
        "status": "finished",
        "value": second,
        "error": abs(second - 1 / 16),
        "error_current": abs(abs(float(found.cumulants[0])) - 0.5),
        "claimed": None if claims is None else float(claims[1]),
    }


def kernel(chi: int, layout: str) -> dict[str, Any]:
    """CPU milliseconds of one bond update (one pass of the range finder) in the bulk."""
    import tebd  # the benchmark script next door

    rows = [r for r in tebd.kernels(chi) if r["layout"] == layout and r["iterations"] == 1]
    if not rows:
        raise NotAvailable(f"no kernel for the layout {layout}")
    row = rows[0]
    return {
        "ran": layout,
        "status": "finished",
        "chi": chi,
        "order": None,
        "cpu_s": float(row["update_ms"]) / 1e3,
        "error": float(row["discarded"]) / max(float(row["svd_optimum"]), 1e-300) - 1,
        "remark": f"one update; with the QR move {float(row['update_ms']) + float(row['move_ms']):.3g} ms; "
        "error: discarded weight over the optimum, minus 1",
    }


def threads(chi: int, method: str) -> dict[str, Any]:
    """Wall seconds of one even-odd layer of thirty sites on two threads; value: how many times faster than on one."""
    import tebd  # the benchmark script next door

    row = tebd.threads(chi)
    return {
        "ran": method,
        "status": "finished",
        "chi": chi,
        "order": 4,
        "cpu_s": float(row["two_cpu_ms"]) / 1e3,
        "wall_s": float(row["two_ms"]) / 1e3,
        "value": float(row["ratio"]),
        "remark": f"one layer, L = 30; one thread {float(row['one_ms']):.3g} ms (wall); value: ratio of wall times; "
        f"{row['cores']} cores",
    }


# ----------------------------------------------------------------------------------------------------------------------
# the list


def _table() -> dict[str, Work]:
    works = []
    tenpy = {1e-4: ("tenpy_w1.py", "quimb_w1.py"), 1e-6: ("tenpy_w1.py",)}
    aims = {1e-4: "0.25 s", 1e-6: "1.5 s", 1e-8: "15 s"}
    for which, (alpha, delta, mu) in SETS.items():
        for tol, aim in aims.items():
            works.append(
                Work(
                    f"w1-{tol:.0e}{which}".replace("e-0", "e-"),
                    f"open chain L = 30, ({alpha:g}, {delta:g}, {mu:g}), every bond to {tol:.0e}",
                    SWEEPS,
                    f"{tol:.0e} in {aim}",
                    lambda method, w=which, t=tol: w1(w, t, method),
                    tenpy.get(tol, ()) if not which else (),
                )
            )
    limits = {16: (0.04, 0.012), 32: (0.15, 0.045), 64: (0.9, 0.25), 128: (6.5, 1.7)}
    for chi, (dense, z2) in limits.items():
        works.append(
            Work(
                f"kernel-{chi}",
                f"bond update, chi = {chi}, d^2 = 4, real",
                ("dense", "z2"),
                f"{dense:g} ms dense, {z2:g} ms Z2",
                lambda layout, c=chi: kernel(c, layout),
            )
        )
        works.append(
            Work(
                f"threads-{chi}",
                f"even-odd layer on two threads, L = 30, chi = {chi}",
                ("two threads",),
                "1.7 times faster",
                lambda method, c=chi: threads(c, method),
            )
        )
    symmetric, skew = (1.0, 0.75, 1.0, 0.25), (0.6, 0.9, 1.4, 0.2)
    grown = ("auto", "ChainGrowth", "LocalDivergence")
    works += [
        *(
            Work(
                name,
                f"open chain L = {n}, (2, 1, 1)",
                ("auto",),
                "1e-8",
                lambda method, n=n: small(n, method),
                ("qutip_small.py",),
            )
            for name, n in SMALL.items()
        ),
        Work("w1-1000", "the same chain, L = 1000", ("auto", "TEBD", "ImplicitSweeps"), "1e-5 in 60 s", w1_long),
        Work("ring10", "ring L = 10, (2, 1.5, 1)", SWEEPS, "1e-8", ring10),
        Work(
            "ring100",
            "ring L = 100 and the infinite chain",
            ("InfiniteTEBD", "auto", "TEBD", "ImplicitSweeps"),
            "errors meet",
            ring100,
        ),
        *(
            Work(
                f"xx{L}{suffix}",
                f"XX chain between {words} baths, L = {L}",
                grown,
                "1e-10 in 20 s",
                lambda method, n=L, b=baths: xx(n, b, method),
            )
            for L in (100, 200)
            for suffix, words, baths in (("", "symmetric", symmetric), ("-asym", "asymmetric", skew))
        ),
        *(
            Work(
                f"exclusion{L}",
                f"exclusion process, L = {L}",
                ("auto", "ClosedHierarchy", "ImplicitSweeps"),
                "1e-8 in 120 s",
                lambda method, n=L: exclusion(n, method),
            )
            for L in (32, 100)
        ),
        *(
            Work(
                f"xxz-half-{L}",
                f"XXZ, Delta = 1/2, maximal driving, L = {L}",
                grown,
                "1e-10 in 60 s",
                lambda method, n=L: driven_xxz(n, 0.5, 1e-10, method),
            )
            for L in (32, 64, 100, 400)
        ),
        Work(
            "xxx32",
            "XXX, maximal driving, L = 32",
            ("auto", "CholeskyGrowth", "TEBD", "LocalDivergence"),
            "1e-3",
            lambda m: driven_xxz(32, 1.0, 1e-3, m),
        ),
        Work(
            "weak-xxz64",
            "weakly driven XXZ, L = 64: corrected current, two bond dimensions",
            ("TEBD(max_bond=8, max_time=100.0)",),
            "1e-5",
            weak_xxz,
        ),
        Work(
            "boson40",
            "boson chain, d = 8, L = 40",
            ("auto", 'TEBD(layout="u1")', "ClosedHierarchy"),
            "the cutoff error",
            boson40,
        ),
        Work(
            "boson40-corrected",
            "the same chain, values of a rough state corrected",
            ('TEBD(layout="u1", max_bond=8, dt=0.5, max_time=20.0)',),
            "the cutoff error",
            boson40_corrected,
        ),
        Work("xx-gap40", "gap of the XX chain, L = 40", ("auto", "hierarchy", "sweeps"), "1e-3", gap40),
        Work("fcs40", "second cumulant, XX chain, L = 40", ("auto", "ChainGrowth", "ClosedHierarchy"), "6e-4", fcs40),
    ]
    return {work.name: work for work in works}


WORKS = _table()
