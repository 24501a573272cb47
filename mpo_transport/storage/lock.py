"""One writer per run file: an operating-system lock that names its holder and dies with it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import warnings
from pathlib import Path
from types import TracebackType

from ..errors import InputError, MpoTransportWarning, RunConflictError

__all__ = ["RunLock"]


class RunLock:
    """Holds ``run.h5.lock`` while a run is written; a second writer gets :class:`RunConflictError` naming the holder.

    The lock belongs to the open file, so it disappears with the process, also after a kill or a crash.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> directory = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(directory.name) / "run.h5"
    >>> with RunLock(path):
    ...     sorted(p.name for p in path.parent.iterdir())
    ['run.h5.lock']
    >>> directory.cleanup()
    """

    def __init__(self, path: Path, field: str = "path") -> None:
        self.path = path.with_name(path.name + ".lock")
        self._run = path
        self._field = field
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        RunConflictError
            If another writer holds it.
        InputError
            If no lock file can be written there.
        """
        while self._descriptor is None:
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise InputError(
                    f"Argument `{self._field}`: no file can be written in {self.path.parent} ({error.strerror}).",
                    field=self._field,
                ) from error
            try:
                self._take(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            if self._is_current(descriptor):
                self._descriptor = descriptor
            else:  # the former holder removed the file between our opening and locking it
                os.close(descriptor)
        holder = {"pid": os.getpid(), "host": platform.node()}
        with contextlib.suppress(OSError):  # the name is for people; on a full disk the lock holds without it
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(holder).encode(), 0)

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        with contextlib.suppress(OSError):  # a file that stays behind does no harm: what locks is the open descriptor
            self.path.unlink()
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def __enter__(self) -> RunLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise RunConflictError(
                    f"{self._run} is being written by {_holder(descriptor)}. Wait for it, or choose another path."
                ) from None
            warnings.warn(
                f"The file system of {self._run} has no locks ({error.strerror}); nothing keeps a second process from "
                "writing the same run.",
                MpoTransportWarning,
                stacklevel=4,
            )

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False


def _holder(descriptor: int) -> str:
    try:
        facts = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {facts['pid']} on {facts['host']}"
    except (ValueError, KeyError, TypeError):  # taken this very moment, its name not written yet
        return "another process"
