"""A specification carried out: model, method and observables built, and the run taken to its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..methods import Method
from ..model import Lindbladian
from ..observables.defaults import default_observables
from ..result import Evolution, Measurable, Result
from ..solve import Checkpoint, evolve, steady_state
from ..states import State
from .run import RunSpec

__all__ = ["solve_spec", "wanted_observables"]


def wanted_observables(spec: RunSpec, model: Lindbladian) -> dict[str, Measurable]:
    """Return the observables of a specification, or the default ones if it names none."""
    return spec.build_observables(model) or default_observables(model)


def solve_spec(
    spec: RunSpec,
    model: Lindbladian,
    method: Method | None,
    observables: Mapping[str, Any],
    target: Path,
    *,
    progress: Any = None,
    every: float | None = None,
    start: State | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Result | Evolution:
    """Return the outcome of a specification, saved at ``target``: begun, continued, or read if it is finished.

    Parameters
    ----------
    spec, model, method, observables
        The specification and what was built from it.
    target
        HDF5 file of the run.
    progress, every
        As in :func:`~mpo_transport.steady_state` and :class:`~mpo_transport.Checkpoint`; ``every`` defaults to the
        specification's.
    start
        A state near the answer for a steady state without ``solve.initial``; not part of the run's identity.
    provenance
        Facts about how the run was begun, kept in its file.
    """
    common: dict[str, Any] = {
        "method": method,
        "tol": spec.tol,
        "seed": spec.seed,
        "checkpoint": Checkpoint(target, every=spec.checkpoint_every if every is None else every),
        "progress": progress,
        "spec": spec.identity(),
        "observables": observables,
        "on_failure": "return",
    }
    if spec.task == "evolve":
        return evolve(model, spec.initial_state(), spec.times, **common)
    initial = spec.initial_state() if start is None else start
    return steady_state(model, initial=initial, provenance=provenance, **common)
