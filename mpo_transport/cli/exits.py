"""The exit codes of the command, in one place."""

from __future__ import annotations

import enum

from ..errors import (
    ClusterError,
    ConvergenceError,
    DegenerateSteadyStateError,
    FileFormatError,
    InputError,
    RunConflictError,
    SaveError,
)
from ..result import Result, Status

__all__ = ["Exit", "exit_of_error", "exit_of_status"]


class Exit(enum.IntEnum):
    """Exit codes; each belongs to one kind of ending."""

    CONVERGED = 0
    UNEXPECTED = 1
    BAD_INPUT = 2
    NOT_CONVERGED = 3
    UNPHYSICAL = 4
    INTERRUPTED = 5
    NOT_UNIQUE = 6
    DAMAGED_FILE = 7
    RUN_CONFLICT = 8
    NOT_SAVED = 9
    CONTRADICTORY = 10
    POINTS_FAILED = 11
    NO_CLUSTER = 12

    @property
    def meaning(self) -> str:
        """One line for ``--help`` and the documentation."""
        return _MEANINGS[self]


_MEANINGS = {
    Exit.CONVERGED: "converged, or done",
    Exit.UNEXPECTED: "an unexpected error (a defect of the program)",
    Exit.BAD_INPUT: "bad input or usage; nothing was written",
    Exit.NOT_CONVERGED: "not converged, or stalled by truncation; or methods contradict each other",
    Exit.UNPHYSICAL: "unphysical or not finite",
    Exit.INTERRUPTED: "interrupted by a signal, and saved: resume it",
    Exit.NOT_UNIQUE: "the steady state is not unique",
    Exit.DAMAGED_FILE: "a file that is damaged or not a run",
    Exit.RUN_CONFLICT: "the file belongs to another specification or another process is writing it",
    Exit.NOT_SAVED: "calculated, but the result could not be written",
    Exit.CONTRADICTORY: "a file that is intact, but contradicts itself (check)",
    Exit.POINTS_FAILED: "some points of a sweep failed: see `status`, try again with --retry",
    Exit.NO_CLUSTER: "a cluster scheduler is missing, cannot be reached, or refuses",
}

_BY_STATUS = {
    Status.CONVERGED: Exit.CONVERGED,
    Status.NOT_CONVERGED: Exit.NOT_CONVERGED,
    Status.STALLED_BY_TRUNCATION: Exit.NOT_CONVERGED,
    Status.UNPHYSICAL: Exit.UNPHYSICAL,
    Status.NOT_FINITE: Exit.UNPHYSICAL,
    Status.INTERRUPTED: Exit.INTERRUPTED,
    Status.NOT_UNIQUE: Exit.NOT_UNIQUE,
}


def exit_of_status(status: Status) -> Exit:
    """Return the exit code of a status."""
    return _BY_STATUS[status]


def exit_of_error(error: Exception) -> Exit | None:
    """Return the exit code of an error raised on purpose; None for an unexpected one."""
    if isinstance(error, InputError):
        return Exit.BAD_INPUT
    if isinstance(error, FileFormatError):
        return Exit.DAMAGED_FILE
    if isinstance(error, RunConflictError):
        return Exit.RUN_CONFLICT
    if isinstance(error, DegenerateSteadyStateError):
        return Exit.NOT_UNIQUE
    if isinstance(error, SaveError):
        return Exit.NOT_SAVED
    if isinstance(error, ClusterError):
        return Exit.NO_CLUSTER
    if isinstance(error, ConvergenceError):
        return exit_of_status(error.result.status) if isinstance(error.result, Result) else Exit.NOT_CONVERGED
    if isinstance(error, (OSError, MemoryError)):
        return Exit.BAD_INPUT
    return None
