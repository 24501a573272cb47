"""Steady states: the choice of the method, the loop, the certificate and the verdict."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from ..certificate import complete
from ..errors import ConvergenceError, DegenerateSteadyStateError, InputError, MpoTransportWarning
from ..methods import Iterate, Method
from ..methods.hierarchy.ladder import cutoff_effect
from ..model import Lindbladian
from ..result import Evolution, Measurement, Result, Status
from ..storage import RunFile, StoredRun, check_same_spec, outcome_of
from .choice import check_method, choose_method
from .inputs import (
    checked_initial,
    checked_model,
    checked_observables,
    checked_on_failure,
    checked_seed,
    checked_tol,
    derived_spec,
    storable,
)
from .loop import Session, checked_checkpoint, measure, verdict
from .runaway import refuse_runaway
from .signals import Stopped

__all__ = ["continue_steady_state", "deliver", "steady_state", "usable_method"]


def steady_state(
    model: Lindbladian,
    method: Method | None = None,
    *,
    tol: float = 1e-6,
    initial: Any = None,
    seed: int | None = None,
    on_failure: str = "raise",
    checkpoint: Any = None,
    observables: Any = (),
    progress: Any = None,
    spec: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Result:
    """Return the steady state L rho = 0, Tr rho = 1, with a certificate that says how far it can be trusted.

    Parameters
    ----------
    model
        The Lindbladian, d rho/dt = L rho with hbar = 1.
    method
        A method object such as ``ExactDiag()`` or ``TEBD(max_bond=64)``; None: chosen, see :func:`choose_method`, and
        the reason is kept in ``result.reason``.
    tol
        Bound on the claimed absolute error of local observables, in units of the operator norm.
    initial
        Where to start: ``"up"``, ``"down"``, ``"mixed"``, ``"vacuum"``, one entry per site, a state, or None (the
        method's choice).  It selects the answer where the steady state is not unique.
    seed
        Integer >= 0 that fixes all random numbers; None means 0, so every run is reproducible.
    on_failure
        ``"raise"``: anything but a converged result is an error (which carries the result); ``"return"``: the result
        is returned and its status tells.
    checkpoint
        Path, or :class:`Checkpoint` with the seconds between saves.  A finished run found there is returned instead of
        repeated, an unfinished one is continued, and one of another specification is refused.
    observables
        List of observables, or mapping from names to observables (or operator sums): measured on the final state with
        error estimates, kept in ``result.observables`` and in the file.
    progress
        None: shown on standard error when the run lasts over five seconds; False: never; or a callable
        ``(step, diagnostics)``.
    spec
        Plain mapping that identifies the run in its file; by default made from the arguments.
    provenance
        Plain mapping of further facts about a run that begins, kept in ``result.provenance`` and in its file.

    Returns
    -------
    Result
        SIGINT, SIGTERM or SIGUSR1 stop the run after the current step: it is saved and returned with status
        ``interrupted``.  A second SIGINT raises KeyboardInterrupt at once.

    Raises
    ------
    InputError
        For a bad argument (``NotSupportedError``, ``InsufficientMemoryError`` where the method cannot serve the model;
        ``UnstableError``, with ``on_failure="raise"``, for bosonic modes that only their cutoff keeps from running
        away), before anything is computed or written.
    ConvergenceError, DegenerateSteadyStateError
        With ``on_failure="raise"``: the result is in the attribute ``result``.
    RunConflictError, FileFormatError, SaveError
        If the checkpoint file belongs to another run or writer, cannot be read, or cannot be written at the end.

    Examples
    --------
    A lossy, pumped spin: <N> = gain / (gain + loss).

    >>> from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, op
    >>> model = Lindbladian(Chain(1, SpinHalf()), None, [Jump(op("Sp", 0), rate=1.0), Jump(op("Sm", 0), rate=3.0)])
    >>> result = steady_state(model)
    >>> result.status.value, round(result.expect(op("N", 0)), 12)
    ('converged', 0.25)
    """
    model = checked_model(model)
    tol, seed = checked_tol(tol), checked_seed(seed)
    on_failure, place = checked_on_failure(on_failure), checked_checkpoint(checkpoint)
    measured = checked_observables(observables, model)
    initial = checked_initial(initial, model)
    if method is not None:
        check_method(method, model, "steady_state", tol)
    if spec is None and place is not None:
        spec = derived_spec("steady_state", model, method, tol=tol, seed=seed, initial=initial)
    with RunFile(place.path, "checkpoint") if place is not None else nullcontext() as file:
        stored = file.read() if file is not None else None
        if file is not None and stored is not None and spec is not None:
            check_same_spec(file.path, stored, spec)
        if stored is not None and stored.finished:
            return deliver(_remeasured(outcome_of(stored), measured), on_failure)
        every = place.every if place is not None else 0.0
        if stored is not None:
            stored.method = usable_method(stored, method)
            stored.asked = storable(measured)
            return deliver(continue_steady_state(stored, file, every, measured, progress), on_failure)
        reason = ""
        if method is None:
            method, reason = choose_method(model, "steady_state", tol)
        if on_failure == "raise":
            refuse_runaway(model)
        return deliver(
            _begin(model, method, reason, tol, seed, initial, spec, file, every, measured, progress, provenance),
            on_failure,
        )


def continue_steady_state(
    run: StoredRun, file: RunFile | None, every: float, observables: Mapping[str, Any], progress: Any
) -> Result:
    """Take an unfinished run to its end (or to the next interruption)."""
    run.status = None
    with Session(run, file, every, progress) as session:
        work = run.method.prepare(run.model, tol=run.tol, seed=run.seed, task="steady_state")
        assert run.iterate is not None
        return _advance(session, work, run.iterate, observables)


def usable_method(run: StoredRun, given: Method | None = None) -> Method:
    """Return the method that continues a stored run: the one in the file, or the one given if the file's is unknown.

    Raises
    ------
    InputError
        If the file names a method that is not known here and none is given.
    """
    if isinstance(run.method, Method):
        return run.method
    if given is not None and given.name == run.method.name:
        return given
    raise InputError(
        f"The run was made with the method {run.method!r}, which is not known here; import the module that defines it "
        "first.",
        field="method",
    )


def deliver(outcome: Any, on_failure: str) -> Any:
    """Return a steady state, or raise what ``on_failure="raise"`` asks for; interrupted runs are always returned."""
    if on_failure == "return" or outcome.status in (Status.CONVERGED, Status.INTERRUPTED):
        return outcome
    certificate = outcome.certificate
    if outcome.status is Status.NOT_UNIQUE:
        dimension = certificate.null_space or max(len(outcome.manifold), 2)
        raise DegenerateSteadyStateError(
            f"{outcome.status.explanation} There are {dimension} linearly independent stationary operators.",
            dimension=dimension,
            result=outcome,
        )
    numbers = {
        "tol": outcome.tol,
        "error estimate": certificate.error_estimate,
        "residual": certificate.residual,
        "smallest eigenvalue": certificate.smallest_eigenvalue,
    }
    listed = ", ".join(f"{name} {value:.3g}" for name, value in numbers.items() if value is not None)
    notes = " ".join(certificate.notes)
    raise ConvergenceError(
        f"{outcome.status.value}: {outcome.status.explanation} ({listed}.) {notes}".rstrip()
        + " The state reached is in the attribute `result` of this error; on_failure='return' returns it.",
        result=outcome,
    )


# ----------------------------------------------------------------------------------------------------------------------


def _begin(
    model: Lindbladian,
    method: Method,
    reason: str,
    tol: float,
    seed: int,
    initial: Any,
    spec: Mapping[str, Any] | None,
    file: RunFile | None,
    every: float,
    observables: Mapping[str, Any],
    progress: Any,
    provenance: Mapping[str, Any] | None,
) -> Result:
    run = StoredRun("steady_state", model, method, tol, seed, reason=reason, spec=spec, asked=storable(observables))
    run.provenance = dict(provenance or {})
    with Session(run, file, every, progress) as session:
        work = method.prepare(model, tol=tol, seed=seed, task="steady_state")
        iterate = method.start(work, initial)
        run.iterate, run.state = iterate, iterate.state
        return _advance(session, work, iterate, observables)


def _advance(session: Session, work: Any, iterate: Iterate, observables: Mapping[str, Any]) -> Any:
    """Advance until the method has finished or a signal came."""
    run = session.run
    while not session.stopped:
        before, records = session.snapshot()
        iterate, diagnostics = session.step(lambda current: run.method.advance(work, current), iterate)
        if diagnostics.status is not None:
            note = diagnostics.message if diagnostics.status is Status.NOT_FINITE else ""
            # Checking a large state takes long. Whoever is stopped there goes back by one step and repeats it when
            # resumed; a method that needs a single step has nothing to go back to.
            stoppable = before.iterate is not None and before.iterate.step > 0
            try:
                with session.at_once() if stoppable else nullcontext():
                    _conclude(session, work, iterate, diagnostics.status, note, observables)
            except Stopped:
                session.go_back(before, records)
                break
            return session.finish()
        if not session.stopped:
            session.checkpoint_if_due()
    return session.interrupt()


def _conclude(
    session: Session, work: Any, iterate: Iterate, status: Status, note: str, observables: Mapping[str, Any]
) -> None:
    """Certify the final state, judge it, and measure what was asked for."""
    run = session.run
    certificate = session.certificate(work, iterate, status)
    if status is not Status.NOT_FINITE:
        certificate = complete(certificate, run.model, iterate.state)
        certificate = replace(certificate, cutoff_error=cutoff_effect(run.model, iterate.state))
    if note:
        certificate = replace(certificate, notes=(*certificate.notes, note))
    run.status = verdict(status, certificate, run.tol)
    run.certificate = certificate
    run.companions = dict(iterate.companions)
    run.manifold = tuple(run.method.manifold(work, iterate))
    if run.status is not Status.NOT_CONVERGED:
        run.iterate = None  # nothing would go on from it
    if status is not Status.NOT_FINITE:
        run.observables = _measured(outcome_of(run), observables)
    run.cost = session.cost(iterate.step)


def _remeasured(outcome: Result | Evolution, observables: Mapping[str, Any]) -> Result | Evolution:
    """Add observables that a stored result does not hold yet; the file stays as it is."""
    if isinstance(outcome, Result):
        missing = {name: o for name, o in observables.items() if name not in outcome.observables}
        outcome.observables |= _measured(outcome, missing)
    return outcome


def _measured(outcome: Result | Evolution, observables: Mapping[str, Any]) -> dict[str, Measurement]:
    """Measure with error estimates; what this kind of state cannot deliver is left out with a warning."""
    assert isinstance(outcome, Result)
    out = {}
    for name, observable in observables.items():
        try:
            out[name] = measure(name, observable, outcome.state, outcome.expect)
        except InputError as error:
            warnings.warn(f"The observable {name!r} is left out: {error}", MpoTransportWarning, stacklevel=2)
    return out
