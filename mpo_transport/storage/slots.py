"""Two slots per run, ``run.h5`` and ``run.previous.h5``: written aside, renamed, and read with a fallback."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py

from ..errors import FileFormatError, InputError, MpoTransportWarning
from .seal import sealed_bytes
from .tree import TooNewError, Tree, read_tree, tree_image

__all__ = [
    "FallbackWarning",
    "check_directory",
    "is_intact",
    "previous_path",
    "read_newest",
    "remove_leftovers",
    "replace_newest",
    "stands",
]

_sequence = iter(range(1 << 62))


class FallbackWarning(MpoTransportWarning):
    """The newest file of a run is missing or damaged and the previous one was read instead."""


def previous_path(path: Path) -> Path:
    """Return the slot of the checkpoint before the newest: ``run.h5`` -> ``run.previous.h5``."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def check_directory(path: Path, field: str) -> None:
    """Raise :class:`InputError` naming ``field`` if no file can be created beside ``path``."""
    directory = path.parent
    if path.is_dir():
        raise InputError(f"Argument `{field}` must be the path of a file, but {path} is a directory.", field=field)
    if not directory.is_dir():
        raise InputError(f"Argument `{field}`: the directory {directory} does not exist; create it.", field=field)
    probe = _aside(path)
    try:
        descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except OSError as error:
        raise InputError(
            f"Argument `{field}`: no file can be written in {directory} ({error.strerror}).", field=field
        ) from error
    os.close(descriptor)
    _remove(probe)  # unless the holder of the lock has cleared it away


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process left beside ``path``; only for the holder of its lock."""
    left = re.compile(rf"\.{re.escape(path.name)}\.[0-9]+-[0-9]+\.part")
    for file in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if left.fullmatch(file.name):  # and not what the run `run.h5.more` is writing
            _remove(file)


def replace_newest(
    path: Path, tree: Tree, decorate: Callable[[h5py.File], None] | None = None, *, keep_old: bool = True
) -> None:
    """Write ``tree`` as the newest file of a run; whatever happens, a readable file stays in one of the two slots.

    Parameters
    ----------
    keep_old
        Move the present newest file to the previous slot; False when it is known to be damaged.

    Raises
    ------
    OSError
        If the disk is full or the file cannot be written; both slots are then as before.
    """
    image = tree_image(tree, decorate)
    if shutil.disk_usage(path.parent).free < image.nbytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    aside = _aside(path)
    try:
        _write(aside, image)
        if keep_old and stands(path):
            _copy_name(path, previous_path(path))
        os.replace(aside, path)
    finally:
        _remove(aside)
    _sync_directory(path.parent)


def stands(path: Path) -> bool:
    """Return whether there is a file; asked by opening it, because a network file system may answer from memory."""
    try:
        with path.open("rb"):
            return True
    except FileNotFoundError:
        return False
    except OSError:
        return True  # something is there, and whoever reads it will say what is wrong with it


def is_intact(path: Path) -> bool:
    """Return whether there is a file with a sound content; found by reading it, never from its size or times."""
    try:
        if sealed_bytes(path) is not None:
            return True
        read_tree(path)
    except (OSError, FileFormatError):
        return False
    return True


def read_newest(path: Path) -> tuple[Tree, Path]:
    """Return the content of the newest intact file and the slot it came from.

    Warns
    -----
    FallbackWarning
        If the newest file is missing or damaged and the previous one was used.

    Raises
    ------
    FileFormatError
        If neither can be read; the sentence says why for each.
    """
    try:
        return read_tree(path), path
    except TooNewError:
        raise
    except FileFormatError as error:
        older = previous_path(path)
        if not stands(older):
            raise
        try:
            tree = read_tree(older)
        except FileFormatError as second:
            raise FileFormatError(f"{error} The checkpoint before it cannot be used either: {second}") from error
        warnings.warn(f"{error} Using the checkpoint before it, {older}.", FallbackWarning, stacklevel=3)
        return tree, older


# ----------------------------------------------------------------------------------------------------------------------


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{next(_sequence)}.part")


def _remove(path: Path) -> None:
    """Clear something away that does no harm if it stays; it must not hide the error or success that came before."""
    with contextlib.suppress(OSError):
        path.unlink()


def _write(aside: Path, image: memoryview) -> None:
    """Write a new file and wait until it is on the disk."""
    descriptor = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    try:
        while image:
            image = image[os.write(descriptor, image) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_name(path: Path, older: Path) -> None:
    """Give the newest file the name of the older slot as well, so that at no moment the newest name is missing."""
    second = _aside(path)
    try:
        os.link(path, second)
    except OSError:  # a file system without hard links: a rename leaves a short gap, which reading bridges
        os.replace(path, older)
        return
    try:
        os.replace(second, older)
    finally:
        _remove(second)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync files only
            raise
    finally:
        os.close(descriptor)
