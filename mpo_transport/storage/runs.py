"""The public verbs of storage: save, load, checkpoints, and whether a run is new, unfinished or finished."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import FileFormatError, InputError, RunConflictError
from ..result import Evolution, Result, register_writer
from .lock import RunLock
from .records import StoredRun, attach_dimensions, outcome_of, record_of, run_from_tree, run_to_tree
from .slots import check_directory, is_intact, previous_path, read_newest, remove_leftovers, replace_newest, stands
from .text import differences
from .tree import Tree

__all__ = ["RunFile", "load", "load_checkpoint", "open_run", "read_spec", "save", "save_checkpoint"]


class RunFile:
    """The one writer of a run's file, for the time of a ``with`` block.

    Parameters
    ----------
    path
        The run's file; its directory must exist.
    field
        Name of the argument that errors about the path refer to.

    Raises
    ------
    InputError
        On entering: the directory does not exist or cannot be written.
    RunConflictError
        On entering: another process (or another run of this one) is writing there.
    """

    def __init__(self, path: str | os.PathLike[str], field: str = "path") -> None:
        self.path = checked_path(path, field)
        check_directory(self.path, field)
        self._lock = RunLock(self.path, field)

    def __enter__(self) -> RunFile:
        self._lock.acquire()
        remove_leftovers(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def read(self) -> StoredRun | None:
        """Return the newest intact content; None if there is no file yet."""
        if not stands(self.path) and not stands(previous_path(self.path)):
            return None
        return read_run(*read_newest(self.path))

    def write(self, run: StoredRun) -> None:
        """Write a run as the newest file.  OSError: it could not be written, and what was there is untouched."""
        tree = run_to_tree(run)
        decorate = partial(attach_dimensions, text=str(tree["observables_facts"]))
        replace_newest(self.path, tree, decorate, keep_old=is_intact(self.path))


def save(result: Result | Evolution, path: str | os.PathLike[str]) -> Path:
    """Write a result to one HDF5 file and return its path.

    An earlier run file at the path moves to the slot ``NAME.previous.h5``; a file that is not a run of this package is
    never replaced.

    Raises
    ------
    InputError
        If nothing can be written there (field ``path``).
    FileFormatError
        If there is a file that cannot be read as a run.
    RunConflictError
        If another process is writing there.
    OSError
        If the disk is full or fails while writing; what was there is untouched.
    """
    with RunFile(path) as file:
        if stands(file.path):
            try:
                read_newest(file.path)
            except FileFormatError as error:
                raise FileFormatError(f"{error} Nothing was written; move it away or choose another path.") from error
        file.write(record_of(result))
        return file.path


def load(path: str | os.PathLike[str]) -> Result | Evolution:
    """Return the result stored in a file; an unfinished run gives the state reached, with status ``interrupted``.

    Warns
    -----
    FallbackWarning
        If the newest file is damaged and the checkpoint before it was used.

    Raises
    ------
    FileFormatError
        If the file is missing, truncated, damaged, foreign or of a newer schema.
    """
    return outcome_of(load_checkpoint(path))


def save_checkpoint(run: StoredRun, path: str | os.PathLike[str]) -> Path:
    """Write a run as it stands and return the path; for many checkpoints in a row use :class:`RunFile`."""
    with RunFile(path, "checkpoint") as file:
        file.write(run)
        return file.path


def load_checkpoint(path: str | os.PathLike[str]) -> StoredRun:
    """Return everything stored in a file; errors and warnings as in :func:`load`."""
    tree, slot = read_newest(checked_path(path, "path"))
    return read_run(tree, slot)


def read_spec(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the specification stored with a run, or None if it was saved without one."""
    spec = load_checkpoint(path).spec
    return None if spec is None else dict(spec)


def open_run(path: str | os.PathLike[str], spec: Mapping[str, Any]) -> str:
    """Return what stands at the path: ``"new"`` (nothing), ``"unfinished"`` or ``"finished"``.

    Raises
    ------
    RunConflictError
        If the file belongs to another specification (the differing keys are listed), or is being written.
    FileFormatError
        If it cannot be read.
    InputError
        If nothing can be written there (field ``out``).
    """
    with RunFile(path, "out") as file:
        run = file.read()
        if run is None:
            return "new"
        check_same_spec(file.path, run, spec)
        return "finished" if run.finished else "unfinished"


def check_same_spec(path: Path, run: StoredRun, spec: Mapping[str, Any]) -> None:
    """Raise :class:`RunConflictError` listing the differing keys if the run at ``path`` has another specification."""
    if run.spec is None:
        raise RunConflictError(
            f"{path} was saved without a specification, so it cannot be continued; choose another path."
        )
    changed = differences(run.spec, spec)
    if changed:
        raise RunConflictError(
            f"{path} belongs to another specification: {'; '.join(changed)} (stored -> asked). "
            "Choose another path, or remove the file."
        )


def checked_path(path: Any, field: str) -> Path:
    """Return the path, or raise :class:`InputError` naming ``field`` if it is no path."""
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise InputError(f"Argument `{field}` must be the path of a file, but is {path!r}.", field=field)
    return Path(os.fsdecode(path))


def read_run(tree: Tree, slot: Path) -> StoredRun:
    """Return the run of a checked tree; ``slot`` is the file that an error names."""
    try:
        return run_from_tree(tree)
    except FileFormatError as error:
        raise FileFormatError(f"{slot}: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise FileFormatError(f"{slot} lacks or contradicts a part of its content ({error!r}).") from error


register_writer(save)
