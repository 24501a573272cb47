"""Going on with a run from its file."""

from __future__ import annotations

import os
from typing import Any

from ..errors import FileFormatError, InputError
from ..methods import Method
from ..result import Evolution, Result, Status
from ..storage import RunFile, StoredRun, outcome_of
from .choice import check_method
from .evolution import continue_evolution, deliver_evolution
from .inputs import checked_on_failure, recalled_observables
from .loop import Checkpoint
from .steady import continue_steady_state, deliver, usable_method

__all__ = ["resume"]


def resume(
    path: str | os.PathLike[str],
    *,
    method: Method | None = None,
    on_failure: str = "raise",
    every: float = 60.0,
    observables: Any = None,
    progress: Any = None,
) -> Result | Evolution:
    """Continue the unfinished run of a file from its newest intact checkpoint; return a finished one as it is.

    A run that was stopped and resumed gives the same numbers, bit for bit, as one that was not, if versions, processor
    and number of threads are the same (a warning says where they are not).

    Parameters
    ----------
    path
        File of the run; new checkpoints and the result are written there.
    method
        Only for a run that ended as ``not_converged``: the same method with more generous knobs (more steps, a larger
        bond), with which to go on.
    observables
        Functions of the state (purity, entropies, ...) that the run measures, which have no text in the file.
        Observables made of operators are remembered.
    on_failure, every, progress
        As in :func:`steady_state` and :class:`Checkpoint`.

    Raises
    ------
    FileFormatError
        If there is no readable file.
    RunConflictError
        If another process is writing it.
    InputError
        For a bad argument, or a file whose method is not known here (field ``method``).
    """
    on_failure = checked_on_failure(on_failure)
    place = Checkpoint(path, every)
    with RunFile(path) as file:
        run = file.read()
        if run is None:
            raise FileFormatError(f"{path} does not exist.")
        if run.finished and (method is None or run.status is not Status.NOT_CONVERGED):
            return _deliver(outcome_of(run), on_failure)
        run.method = usable_method(run, method)
        if method is not None:
            _check_same_method(run, method)
            run.method = check_method(method, run.model, run.task, run.tol)
        if run.iterate is None:
            raise FileFormatError(
                f"{path} does not hold what its method needs to go on; start from `initial=result.state`."
            )
        measured = recalled_observables(run, observables)
        go_on: Any = continue_steady_state if run.task == "steady_state" else continue_evolution
        return _deliver(go_on(run, file, place.every, measured, progress), on_failure)


def _check_same_method(run: StoredRun, method: Any) -> None:
    if not isinstance(method, Method) or method.name != run.method.name:
        raise InputError(
            f"Argument `method` must be a {run.method.name} with other knobs to continue this run, but is {method!r}.",
            field="method",
        )


def _deliver(outcome: Result | Evolution, on_failure: str) -> Result | Evolution:
    if isinstance(outcome, Evolution):
        return deliver_evolution(outcome, on_failure)
    delivered: Result = deliver(outcome, on_failure)
    return delivered
