"""The single checks of :func:`mpo_transport.solve.audit`: what a file says about its state, found out again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..certificate import TRACE_ALLOWED, common_checks, judge, neighbour_matrices
from ..errors import MpoTransportError
from ..methods import Method
from ..model import Lindbladian
from ..result import Certificate, Measurement, Status
from ..states import DenseState, MPOState, State
from ..states.orbit import OrbitState
from ..storage import StoredRun, model_digest
from ..storage.model_tables import model_to_tree
from ..storage.tree import tree_digest
from ..superoperator import MatrixFreeLindbladian, lindbladian_mpo
from .loop import verdict

__all__ = ["Finding", "content_findings", "residual_of"]

# The same arrays through the same formulas: only the summation order of another linear algebra library differs.
_RELATIVE = 1e-6
_ROUNDING = 1e-11
_LARGEST_DENSE = 1 << 20  # entries of a density matrix up to which L rho is formed
_LARGEST_NETWORK = 2e10  # multiplications up to which the residual of a matrix-product state is contracted


@dataclass(frozen=True)
class Finding:
    """One check; ``verdict`` is ``"ok"``, ``"failed"``, ``"remark"`` (worth knowing) or ``"skipped"`` (with reason)."""

    name: str
    verdict: str
    detail: str = ""
    value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the entries as plain values; a number that JSON does not know becomes a text."""
        value = self.value if self.value is None or math.isfinite(self.value) else str(self.value)
        return {"name": self.name, "verdict": self.verdict, "detail": self.detail, "value": value}


def content_findings(run: StoredRun, rebuilt: tuple[Any, Mapping[str, Any]] | None) -> list[Finding]:
    """Return all checks of a run that has been read; ``rebuilt``: model and observables made from its specification."""
    model, observables = rebuilt if rebuilt is not None else (None, {})
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _specification(run, model),
        lambda: _parts(run),
        lambda: _state(run),
        lambda: _status(run),
        lambda: _observables(run, observables),
    ]
    found: list[Finding] = []
    for check in checks:
        try:
            found += check()
        except MpoTransportError as error:
            found.append(Finding("content", "failed", " ".join(str(error).split())))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, np.linalg.LinAlgError) as error:
            found.append(Finding("content", "failed", f"a part of it has no meaning ({error!r})"))
    return found


def _close(a: float, b: float, scale: float = 1.0) -> bool:
    return (math.isnan(a) and math.isnan(b)) or abs(a - b) <= _RELATIVE * max(abs(a), abs(b)) + _ROUNDING * scale


def _passed(name: str, ok: bool, detail: str, value: float | None = None) -> Finding:
    return Finding(name, "ok" if ok else "failed", detail, value)


# -- what the run is ---------------------------------------------------------------------------------------------------


def _specification(run: StoredRun, rebuilt: Lindbladian | None) -> Iterator[Finding]:
    if run.spec is None:
        yield Finding("specification", "skipped", "the run was saved without one")
        return
    yield Finding("specification", "ok", "it has the checksum and the run id that stand beside it")
    stored = run.spec.get("model")
    digest = stored.get("sha256") if isinstance(stored, Mapping) else None
    if digest is not None:
        yield _passed("model", digest == model_digest(run.model), "the checksum of the model in the specification")
    elif rebuilt is not None:
        same = _equations(rebuilt) == _equations(run.model)
        detail = "the specification describes the stored model"
        if not same:
            detail = "this version makes another model of the specification than the one that was solved"
        made_here = run.provenance.get("environment", {}).get("mpo_transport") == _version()
        yield Finding("model", "ok" if same else "failed" if made_here else "remark", detail)


def _equations(model: Lindbladian) -> tuple[Any, ...]:
    """What determines the equation of motion; not the parameters, of which 2 and 2.0 are the same."""
    labels = [j.label for j in model.jumps]
    return model.lattice.bonds, labels, tree_digest({k: v for k, v in model_to_tree(model).items() if k != "facts"})


def _version() -> str:
    from .._version import __version__

    return __version__


def _parts(run: StoredRun) -> Iterator[Finding]:
    known = isinstance(run.method, Method)
    yield Finding("method", "ok" if known else "remark", repr(run.method) + ("" if known else " is not known here"))
    lengths = {len(series) for series in run.history.arrays().values()}
    yield _passed("history", len(lengths) <= 1, f"{len(run.history)} records")
    if not run.finished:
        resumable = run.iterate is not None and run.iterate.step == run.cost.steps
        yield _passed("restart", resumable, f"unfinished after step {run.cost.steps}")
    if run.task == "evolve":
        times = np.zeros(0) if run.times is None else np.asarray(run.times)
        rising = bool(np.all(np.isfinite(times)) and np.all(np.diff(times) > 0))
        whole = run.status is not Status.CONVERGED or run.reached == len(times)
        lengths = {len(np.atleast_1d(m.values)) for m in run.observables.values()}
        fits = lengths <= {run.reached} and 0 <= run.reached <= len(times)
        yield _passed("times", rising and whole and fits, f"{run.reached} of {len(times)} reached")


# -- the state ---------------------------------------------------------------------------------------------------------


def _state(run: StoredRun) -> Iterator[Finding]:
    others = [state for state, _ in run.companions.values()] + list(run.manifold)
    finite = [all(np.all(np.isfinite(a)) for a in s.arrays().values()) for s in (run.state, *others)]
    yield _passed("finite", all(finite) or run.status is Status.NOT_FINITE, f"{len(finite)} states")
    if not all(finite) or run.status is Status.NOT_FINITE:
        return
    certificate, claimed = run.certificate, run.certificate.error_estimate
    trace = float(run.state.trace())
    recorded = [1.0, *([certificate.trace] if run.finished and certificate.trace is not None else [])]
    if run.status in (Status.UNPHYSICAL, None, Status.INTERRUPTED):
        ok = trace > 0
    else:  # a finished state is normalised, or has the trace that its certificate admits
        ok = min(abs(trace - t) for t in recorded) <= 1e-8 and abs(trace - 1) <= TRACE_ALLOWED
    yield _passed("trace", ok, f"{trace:.12g}", trace)
    if not run.model.lattice.is_bounded:
        yield Finding("positivity", "skipped", "the local spaces have no bound")
        if run.finished:
            yield from _agreement(certificate, common_checks(run.model, run.state), run)
        return
    defect = _hermiticity_defect(run.model, run.state)
    allowed = max(1e-8, 10 * (certificate.hermiticity or 0.0))
    yield _passed("hermiticity", defect <= allowed, f"largest deviation {defect:.1e}", defect)
    found = common_checks(run.model, run.state)
    smallest = found["smallest_eigenvalue"]
    if run.finished:
        yield from _agreement(certificate, found, run)
        recomputed = dataclasses.replace(certificate, smallest_eigenvalue=smallest)
        judged = judge(Status.CONVERGED, recomputed)
        ok = judged is Status.CONVERGED or run.status in (Status.UNPHYSICAL, Status.NOT_UNIQUE)
        of = "" if claimed is None else f", claimed error {claimed:.1e}"
        yield _passed("positivity", ok, f"smallest local eigenvalue {smallest:.1e}{of}", smallest)
        yield _residual(run)
    else:
        yield Finding("positivity", "ok", f"smallest local eigenvalue {smallest:.1e} (not finished)", smallest)


def _hermiticity_defect(model: Lindbladian, state: State) -> float:
    whole = getattr(state, "hermiticity_defect", None)
    defects = [float(whole())] if whole is not None else []
    defects += [float(np.abs(r - r.conj().T).max()) for r in neighbour_matrices(model.lattice, state).values()]
    return max(defects, default=0.0)


def _agreement(certificate: Certificate, found: Mapping[str, float | None], run: StoredRun) -> Iterator[Finding]:
    """What every state can say about itself must be what the certificate says about it."""
    names = ["smallest_eigenvalue", "top_population"]
    if run.task == "steady_state":
        names += ["current_uniformity", "identity_residual"]
    scale = _scale(run.model)
    for name in names:
        stored, now = getattr(certificate, name), found[name]
        if stored is not None and now is not None:
            rate = scale if name in ("current_uniformity", "identity_residual") else 1.0
            yield _passed(
                f"certificate.{name}", _close(stored, now, rate), f"{stored:.6g} stored, {now:.6g} found", now
            )


def _scale(model: Lindbladian) -> float:
    """A bound on the size of the rates in the generator, up to the norms of products of local operators."""
    unitary = sum(abs(c) for _, c in model.hamiltonian)
    return 1.0 + unitary + sum(j.rate * sum(abs(c) for _, c in j.operator) ** 2 for j in model.jumps)


def residual_of(model: Lindbladian, state: State) -> tuple[float | None, str]:
    """Return ||L rho||_2/||rho||_2 (unit: rate) with the exact generator, or None and the reason why there is none.

    >>> from mpo_transport.models import boundary_driven_xx
    >>> model = boundary_driven_xx(L=3, t=1.0, G_L=1.0, f_L=0.5, G_R=1.0, f_R=0.5)
    >>> residual_of(model, DenseState.product(model.lattice, "mixed"))[0] < 1e-14
    True
    """
    if isinstance(state, MPOState):
        operator = lindbladian_mpo(model, state.order)
        chi, w = max(state.bond_dimensions, default=1), max(operator.bond_dimensions, default=1)
        legs = max(int(d) for d in model.lattice.dims) ** 2
        if model.L * legs**2 * w * w * chi**2 * (chi + w) > _LARGEST_NETWORK:
            return None, f"bond dimension {chi} with an operator of bond dimension {w} is expensive"
        return float(operator.residual(state)), ""
    if not isinstance(state, (DenseState, OrbitState)):
        return None, f"a state of the kind {state.kind!r} has no residual of its own"
    if math.prod(int(d) for d in model.lattice.dims) ** 2 > _LARGEST_DENSE:
        return None, "the density matrix is large"
    x = DenseState(model.lattice, state.to_dense()).coefficients()
    return float(np.linalg.norm(MatrixFreeLindbladian(model)(x)) / np.linalg.norm(x)), ""


def _residual(run: StoredRun) -> Finding:
    if run.task != "steady_state":
        return Finding("residual", "skipped", "an evolving state need not be stationary")
    value, reason = residual_of(run.model, run.state)
    if value is None:
        return Finding("residual", "skipped", reason)
    stored = run.certificate.residual
    if stored is None:
        return Finding("residual", "remark", f"{value:.3g}; the certificate has none", value)
    # A residual at the level of rounding is noise: what is compared there is that both are noise.
    noise = 1e-12 * _scale(run.model)
    ok = _close(stored, value, 0.0) or (stored <= noise and value <= noise)
    return _passed("residual", ok, f"{stored:.6g} stored, {value:.6g} found", value)


# -- what is claimed ---------------------------------------------------------------------------------------------------


def _status(run: StoredRun) -> Iterator[Finding]:
    if run.status is None or not run.finished:
        yield Finding("status", "ok", "unfinished, and says so")
        return
    certificate, tol = run.certificate, run.tol
    claimed = certificate.error_estimate
    if not (math.isfinite(tol) and tol > 0):
        yield Finding("status", "failed", f"the tolerance {tol!r} is no positive number")
        return
    follows = verdict(run.status, certificate, tol)
    if run.status is Status.UNPHYSICAL:
        follows = judge(Status.CONVERGED, certificate)
    detail = f"{run.status.value}, tol {tol:.3g}" + ("" if claimed is None else f", error estimate {claimed:.3g}")
    if follows is not run.status:
        detail += f"; from the certificate follows {follows.value}"
    yield _passed("status", follows is run.status, detail)


def _observables(run: StoredRun, rebuilt: Mapping[str, Any]) -> Iterator[Finding]:
    if run.task == "evolve" and not (run.finished and run.reached == len(run.times if run.times is not None else [])):
        yield Finding("observables", "skipped", "the state lies between two recorded times")
        return
    for name, measurement in run.observables.items():
        label = f"observable {name}"
        observable = run.asked.get(name) or rebuilt.get(name)
        if observable is None:
            yield Finding(label, "skipped", "the file does not hold its operators")
            continue
        yield _evaluated_again(label, measurement, observable, run)


def _evaluated_again(label: str, measurement: Measurement, observable: Any, run: StoredRun) -> Finding:
    stored = np.asarray(measurement.values)
    if run.task == "evolve":
        stored = stored[-1]
    now = np.asarray(observable.evaluate(run.state))
    if stored.shape != now.shape:
        return Finding(label, "failed", f"shape {stored.shape} stored, {now.shape} found")
    if not now.size:
        return Finding(label, "ok", "no values")
    scale = max(float(getattr(observable, "norm", 1.0)), float(np.abs(now).max()), 1e-300)
    difference = float(np.abs(stored - now).max())
    return _passed(label, difference <= 1e-9 * scale, f"largest difference {difference:.1e}", difference)
