"""Time evolution with observables at given times."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..certificate import common_checks
from ..errors import ConvergenceError, InputError
from ..methods import Diagnostics, Iterate, Method
from ..model import Lindbladian
from ..result import Certificate, Evolution, Measurement, Status
from ..states import State
from ..storage import RunFile, StoredRun, check_same_spec, outcome_of
from .choice import check_method, choose_method
from .inputs import (
    checked_initial,
    checked_model,
    checked_observables,
    checked_on_failure,
    checked_seed,
    checked_times,
    checked_tol,
    derived_spec,
    storable,
)
from .loop import Session, checked_checkpoint, measure, verdict
from .signals import Stopped
from .steady import usable_method

__all__ = ["continue_evolution", "evolve"]


def evolve(
    model: Lindbladian,
    initial: Any,
    times: Any,
    observables: Any = (),
    method: Method | None = None,
    *,
    tol: float = 1e-6,
    seed: int | None = None,
    on_failure: str = "raise",
    checkpoint: Any = None,
    progress: Any = None,
    spec: Mapping[str, Any] | None = None,
) -> Evolution:
    """Return observables along rho(t) = exp(L t) rho(0) and the state at the last time.

    Parameters
    ----------
    model
        The Lindbladian (hbar = 1).
    initial
        ``"up"``, ``"down"``, ``"mixed"``, ``"vacuum"``, one entry per site (occupation, vector or density matrix), or a
        state.
    times
        Times at which observables are recorded, shape (T,): finite, >= 0, strictly increasing, counted from the
        initial state; unit 1/energy.
    observables
        List of observables, or mapping from names to observables (or operator sums).
    method, tol, seed, on_failure, checkpoint, progress, spec
        As in :func:`steady_state`; ``tol`` bounds the error of local observables at every time.

    Returns
    -------
    Evolution
        ``values[name]`` has shape (T, ...).  A signal stops the run as in :func:`steady_state`; the evolution then
        holds the times reached, and the same call with the same checkpoint (or :func:`resume`) continues it.

    Raises
    ------
    InputError, RunConflictError, FileFormatError, SaveError
        As in :func:`steady_state`.
    ConvergenceError
        With ``on_failure="raise"``: the method broke down or missed ``tol``; the error holds the evolution reached.

    Examples
    --------
    Decay of an excited spin, <N> = exp(-rate t):

    >>> from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, op
    >>> model = Lindbladian(Chain(1, SpinHalf()), None, [Jump(op("Sm", 0), rate=2.0)])
    >>> evolve(model, "up", [0.0, 0.5], {"N": op("N", 0)}).values["N"].round(6)
    array([1.      , 0.367879])
    """
    model, points = checked_model(model), checked_times(times)
    tol, seed, place = checked_tol(tol), checked_seed(seed), checked_checkpoint(checkpoint)
    on_failure = checked_on_failure(on_failure)
    measured = checked_observables(observables, model)
    initial = checked_initial(initial, model)
    if initial is None:
        raise InputError("Argument `initial` is needed for a time evolution.", field="initial")
    if method is not None:
        check_method(method, model, "evolve", tol)
    if spec is None and place is not None:
        spec = derived_spec(
            "evolve", model, method, tol=tol, seed=seed, initial=initial, times=points, observables=measured
        )
    with RunFile(place.path, "checkpoint") if place is not None else nullcontext() as file:
        stored = file.read() if file is not None else None
        if file is not None and stored is not None and spec is not None:
            check_same_spec(file.path, stored, spec)
        if stored is not None and stored.finished:
            return deliver_evolution(outcome_of(stored), on_failure)
        every = place.every if place is not None else 0.0
        if stored is not None:
            stored.method = usable_method(stored, method)
            return deliver_evolution(continue_evolution(stored, file, every, measured, progress), on_failure)
        reason = ""
        if method is None:
            method, reason = choose_method(model, "evolve", tol)
        asked = storable(measured)
        run = StoredRun("evolve", model, method, tol, seed, reason=reason, spec=spec, times=points, asked=asked)
        with Session(run, file, every, progress) as session:
            work = method.prepare(model, tol=tol, seed=seed, task="evolve")
            iterate = method.start(work, initial)
            run.iterate, run.state = iterate, iterate.state
            return deliver_evolution(_propagate(session, work, iterate, measured), on_failure)


def continue_evolution(
    run: StoredRun, file: RunFile | None, every: float, observables: Mapping[str, Any], progress: Any
) -> Evolution:
    """Take an unfinished evolution to its end (or to the next interruption)."""
    run.status = None
    with Session(run, file, every, progress) as session:
        work = run.method.prepare(run.model, tol=run.tol, seed=run.seed, task="evolve")
        assert run.iterate is not None
        return _propagate(session, work, run.iterate, observables)


def deliver_evolution(outcome: Any, on_failure: str) -> Evolution:
    """Return the evolution, or raise what ``on_failure="raise"`` asks for; interrupted runs are always returned."""
    if on_failure == "return" or outcome.status in (Status.CONVERGED, Status.INTERRUPTED):
        evolution: Evolution = outcome
        return evolution
    claimed = outcome.certificate.error_estimate
    raise ConvergenceError(
        f"{outcome.status.value}: {outcome.status.explanation} {len(outcome.times)} of the times were reached"
        + (f", error estimate {claimed:.3g}, tol {outcome.tol:.3g}" if claimed is not None else "")
        + f"; they are in the attribute `result` of this error. {' '.join(outcome.certificate.notes)}".rstrip(),
        result=outcome,
    )


# ----------------------------------------------------------------------------------------------------------------------


def _propagate(session: Session, work: Any, iterate: Iterate, observables: Mapping[str, Any]) -> Any:
    run = session.run
    assert run.times is not None
    run.method.foresee(work, run.times)
    diagnostics = Diagnostics()
    while run.reached < len(run.times):
        target = float(run.times[run.reached])
        while not _is_reached(iterate, target):
            if session.stopped:
                return session.interrupt()
            iterate, diagnostics = session.step(partial(_piece, run.method, work, target), iterate)
            if diagnostics.status not in (None, Status.CONVERGED):
                return _conclude(session, work, iterate, diagnostics)
            if not session.stopped:
                session.checkpoint_if_due()
        _record(run, observables, iterate)
    return _conclude(session, work, iterate, replace(diagnostics, status=Status.CONVERGED))


def _piece(method: Method, work: Any, target: float, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
    return method.propagate(work, iterate, target)


def _is_reached(iterate: Iterate, target: float) -> bool:
    time = float(iterate.scalars.get("time", 0.0))
    return time >= target - 1e-12 * max(1.0, abs(target))


def _record(run: StoredRun, observables: Mapping[str, Any], iterate: Iterate) -> None:
    """Append the observables at a time that has been reached."""
    updated: dict[str, Measurement] = {}
    for name, observable in observables.items():
        new = measure(name, observable, iterate.state)
        row = np.asarray(new.values)[None]
        before = run.observables.get(name)
        updated[name] = replace(new, values=row if before is None else np.concatenate([before.values, row]))
    run.observables = updated
    run.reached += 1


def _conclude(session: Session, work: Any, iterate: Iterate, diagnostics: Diagnostics) -> Any:
    run, status = session.run, diagnostics.status
    assert status is not None
    try:
        # Checking a large state takes long. All times are reached: whoever is stopped here does only this when resumed.
        with session.at_once() if status is Status.CONVERGED else nullcontext():
            certificate = session.certificate(work, iterate, status)
            if status is not Status.NOT_FINITE:
                certificate = _checked(certificate, run.model, iterate.state)
    except Stopped:
        return session.interrupt()
    if status is Status.NOT_FINITE and diagnostics.message:
        certificate = replace(certificate, notes=(*certificate.notes, diagnostics.message))
    run.status, run.certificate = verdict(status, certificate, run.tol), certificate
    run.iterate = None
    run.cost = session.cost(iterate.step)
    return session.finish()


def _checked(certificate: Certificate, model: Lindbladian, state: State) -> Certificate:
    """Return the certificate with those common checks that any state must pass, stationary or not."""
    names = ("trace", "smallest_eigenvalue", "top_population")
    lasting = common_checks(model, state, [k for k in names if getattr(certificate, k) is None])
    notes = certificate.notes
    if certificate.residual is not None:  # the rate of change, which no one expects to vanish here
        notes = (*notes, f"rate of change |d rho/dt|/|rho| at the last time: {certificate.residual:.3g}")
    return replace(certificate, residual=None, notes=notes, **lasting)  # type: ignore[arg-type]
