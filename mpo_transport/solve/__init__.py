"""Solving a model: the loop that drives every method, and the functions a user calls.

Signatures
----------
``steady_state(model, method=None, *, tol=1e-6, initial=None, seed=None, on_failure="raise", checkpoint=None,
observables=(), progress=None, spec=None) -> Result``
    ``checkpoint`` is a path or ``Checkpoint(path, every=60.0)``.  With a checkpoint, a finished run found at the path
    is loaded instead of repeated, an unfinished one is continued, and one of another specification is refused
    (:class:`~mpo_transport.errors.RunConflictError`).  ``spec`` is the JSON-able mapping that identifies the run; by
    default it is made from the model, method, tolerance, seed and initial state.  ``observables`` is a list of
    observables or a dict name -> observable; their values are found in ``result.observables[name]`` (a
    :class:`~mpo_transport.result.Measurement`).  ``progress`` is None (automatic), False (silent) or a callable
    ``(step, Diagnostics) -> None``.
``evolve(model, initial, times, observables=(), method=None, *, tol=1e-6, seed=None, on_failure="raise",
checkpoint=None, progress=None, spec=None) -> Evolution``
    ``evolution.times``, ``evolution.values[name]``, ``evolution.state``; checkpoints as above.
``resume(path, *, on_failure="raise", every=60.0, observables=None, progress=None) -> Result | Evolution``
    Continues an unfinished file; returns a finished one as it is.
``choose_method(model, task="steady_state", tol=1e-6) -> (Method, reason)``
``audit(path) -> Audit``
    Whether a file can be believed: checksums, specification, state, certificate, status, observables.

The files behind it (room ``storage``): ``save(result, path)``, ``load(path) -> Result | Evolution``,
``open_run(path, spec) -> "new" | "unfinished" | "finished"`` (raises ``RunConflictError`` for a changed specification
or a second writer), ``read_spec(path) -> dict | None``, ``run_id(spec) -> str`` (16 hexadecimal digits).
"""

from .auditing import Audit, audit
from .choice import choose_method
from .evolution import evolve
from .loop import Checkpoint, CheckpointWarning
from .provenance import ReproducibilityWarning
from .resuming import resume
from .steady import steady_state

__all__ = [
    "Audit",
    "Checkpoint",
    "CheckpointWarning",
    "ReproducibilityWarning",
    "audit",
    "choose_method",
    "evolve",
    "resume",
    "steady_state",
]
