"""Small text files that many processes on many machines read and write: atomic, durable, seen late at worst."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

__all__ = ["is_locked", "read_text", "write_text"]

_sequence = iter(range(1 << 62))
_LATE = (0.0, 0.02, 0.1, 0.5)  # seconds between looks at a file that is listed but cannot be opened yet


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file in one step; ``durable``: and wait until it is on the disk.

    Raises
    ------
    OSError
        If it cannot be written; what was there is untouched.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}-{next(_sequence)}.part")
    try:
        with aside.open("x", encoding="utf-8") as stream:
            stream.write(text)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    if durable:
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_text(path: Path) -> str | None:
    """Return the text of a file, or None if there is none.

    On a network file system a name that another machine made may be remembered as missing for a while. Listing the
    directory asks the server; a file that is listed is waited for.
    """
    for pause in _LATE:
        time.sleep(pause)
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
        if not is_listed(path):
            return None
    return None


def is_listed(path: Path) -> bool:
    """Return whether a directory lists a file; asks the server on a network file system."""
    try:
        with os.scandir(path.parent) as entries:
            return any(entry.name == path.name for entry in entries)
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Return whether a process holds the :class:`~mpo_transport.storage.RunLock` of a path."""
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(descriptor)
    return False
