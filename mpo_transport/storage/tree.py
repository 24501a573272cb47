"""A tree of arrays and texts in one HDF5 file, every dataset covered by a SHA-256 that is checked on reading.

A tree is a nested ``dict`` whose leaves are numpy arrays or texts.  ``/manifest`` lists every dataset with its checksum
and the order of its axes in memory, and has a checksum of its own in the root attributes; so a missing, added or
altered dataset is noticed, and an array is given back with the same bits *and* the same memory layout (which decides
how the linear algebra library is called, hence the last digits of what is computed next).  From schema 2 on the whole
file is sealed as well (:mod:`.seal`): it is checked before the HDF5 library sees a single byte, and the bytes that were
checked are the bytes that are read.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from .._version import __version__
from ..errors import FileFormatError
from .migrations import migrate
from .seal import is_sealed, seal_line, sealed_bytes

__all__ = [
    "FORMAT_NAME",
    "SCHEMA_VERSION",
    "Content",
    "ForeignFileError",
    "TooNewError",
    "Tree",
    "in_present_schema",
    "quoted",
    "read_content",
    "read_tree",
    "tree_digest",
    "tree_image",
    "unquoted",
]

FORMAT_NAME = "mpo_transport run"
SCHEMA_VERSION = 2
_FIRST_SEALED = 2  # files of older schemas have no line behind their HDF5 part

Tree: TypeAlias = "dict[str, Tree | np.ndarray | str]"
_MANIFEST = "manifest"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_STALE_TRIES = 5


class TooNewError(FileFormatError):
    """A file of a schema that this version does not know yet."""


class ForeignFileError(FileFormatError):
    """A file that was not written by this package."""


@dataclass(frozen=True)
class Content:
    """The checked content of a file as it was written: its tree, the schema it follows, and who wrote it."""

    tree: Tree
    schema_version: int
    generator: str
    sealed: bool


def tree_image(tree: Tree, decorate: Callable[[h5py.File], None] | None = None) -> memoryview:
    """Return the bytes of the HDF5 file of a tree, the seal included.

    The file is made in memory, because the HDF5 library cannot give up cleanly when a disk fills up under it; writing
    finished bytes can.

    Parameters
    ----------
    tree
        Nested mapping; leaves are arrays (bool, integer, real, complex) or texts.
    decorate
        Called with the open file after the datasets are written, to attach dimension scales and units.
    """
    manifest: dict[str, dict[str, Any]] = {}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, leaf in _leaves(tree):
            manifest[name] = _write_leaf(file, name, leaf)
        text = json.dumps(manifest)
        _write_leaf(file, _MANIFEST, text)
        file.attrs["format"] = FORMAT_NAME
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["generator"] = f"mpo_transport {__version__}"
        file.attrs["manifest_sha256"] = _digest_text(text)
        if decorate is not None:
            decorate(file)
    end = buffer.seek(0, io.SEEK_END)
    with buffer.getbuffer() as view:
        seal = seal_line(view[:end])
    buffer.write(seal)
    return buffer.getbuffer()


def read_tree(path: Path) -> Tree:
    """Return the checked content of a file, in the form of the present schema.

    Raises
    ------
    FileFormatError
        As :func:`read_content`; also if a file of an older schema lacks what its schema promises.
    """
    return in_present_schema(read_content(path), path)


def in_present_schema(content: Content, path: Path) -> Tree:
    """Return the tree of a file's content in the form of the present schema; errors as :func:`read_tree`."""
    try:
        return migrate(content.tree, content.schema_version)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(
            f"{path} does not follow its schema version {content.schema_version} ({error!r})."
        ) from error


def read_content(path: Path) -> Content:
    """Return the checked content of a file as it was written.

    Raises
    ------
    FileFormatError
        If the file is missing, empty, truncated or damaged; :class:`ForeignFileError`: of another kind;
        :class:`TooNewError`: of a newer schema.
    """
    for attempt in range(_STALE_TRIES):
        try:
            return _read_content(path)
        except OSError as error:
            # On a network file system another machine may replace the file while it is read here: read the new one.
            if error.errno != errno.ESTALE or attempt + 1 == _STALE_TRIES:
                raise FileFormatError(f"{path} cannot be read: {error.strerror or error}.") from error
    raise AssertionError("unreachable")


def quoted(name: str) -> str:
    """Return a name that can be one part of a path: ``/`` and ``%`` become ``%2F`` and ``%25``."""
    return name.replace("%", "%25").replace("/", "%2F")


def unquoted(name: str) -> str:
    """Undo :func:`quoted`."""
    return name.replace("%2F", "/").replace("%25", "%")


def tree_digest(tree: Tree) -> str:
    """Return one SHA-256 of all leaves and their names."""
    digests = {
        name: _digest_text(x) if isinstance(x, str) else _digest_array(np.asarray(x)) for name, x in _leaves(tree)
    }
    return _digest_text(json.dumps(digests, sort_keys=True))


# ----------------------------------------------------------------------------------------------------------------------


def _read_content(path: Path) -> Content:
    _check_regular(path)
    sealed = is_sealed(path)
    source: Any = path
    if sealed:
        content = sealed_bytes(path)
        if content is None:
            raise FileFormatError(f"{path} is damaged: the checksum of the whole file does not match.")
        source = io.BytesIO(content)
    _check_signature(path)
    try:
        with h5py.File(source, "r", **({} if sealed else {"locking": False})) as file:
            version = _checked_version(path, file)
            if version >= _FIRST_SEALED and not sealed:
                raise FileFormatError(
                    f"{path} is damaged: its last line, the checksum of the whole file, is missing; the file was cut "
                    "off, or another program changed it."
                )
            tree = _checked_tree(path, file)
            return Content(tree, version, str(file.attrs.get("generator", "unknown")), sealed)
    except FileFormatError:
        raise
    except Exception as error:  # whatever a damaged file makes the HDF5 library raise
        if isinstance(error, OSError) and error.errno == errno.ESTALE:
            raise
        raise FileFormatError(f"{path} is damaged: it cannot be read as HDF5 to its end ({error}).") from error


def _check_regular(path: Path) -> None:
    """Raise unless the path is a file that can be opened; asked by opening it, which looks past the caches of NFS."""
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except FileNotFoundError:
        raise FileFormatError(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise FileFormatError(f"{path} is not a file; give the path of a run file.") from None
    except OSError as error:
        if error.errno == errno.ESTALE:
            raise
        raise FileFormatError(f"{path} cannot be opened for reading: {error.strerror}.") from error
    if empty:
        raise FileFormatError(f"{path} is empty.")


def _check_signature(path: Path) -> None:
    with path.open("rb") as stream:
        if stream.read(len(_SIGNATURE)) == _SIGNATURE or h5py.is_hdf5(path):
            return
    raise ForeignFileError(f"{path} is not an HDF5 file, or its first bytes are damaged.")


def _leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, np.ndarray | str]]:
    for name, item in tree.items():
        if "/" in name or not name or name == ".":
            raise ValueError(f"{name!r} cannot name a dataset")
        if isinstance(item, dict):
            yield from _leaves(item, f"{prefix}{name}/")
        else:
            yield prefix + name, item


def _write_leaf(file: h5py.File, name: str, leaf: np.ndarray | str) -> dict[str, Any]:
    if isinstance(leaf, str):
        raw = leaf.encode()
        file.create_dataset(name, data=np.array(raw, dtype=h5py.string_dtype("utf-8", max(len(raw), 1))))
        return {"kind": "text", "sha256": _digest_text(leaf)}
    array = np.asarray(leaf)
    if array.dtype.kind not in "biufc":
        raise ValueError(f"dataset {name!r} has the type {array.dtype}, which is not a plain number")
    file.create_dataset(name, data=array)
    entry: dict[str, Any] = {"kind": "array", "sha256": _digest_array(array)}
    if not array.flags.c_contiguous:
        entry["axes"] = np.argsort([-abs(s) for s in array.strides], kind="stable").tolist()
    return entry


def _checked_version(path: Path, file: h5py.File) -> int:
    if file.attrs.get("format") != FORMAT_NAME:
        raise ForeignFileError(f"{path} is an HDF5 file, but not a run of mpo_transport.")
    version = int(file.attrs["schema_version"])
    if version > SCHEMA_VERSION:
        raise TooNewError(
            f"{path} has schema version {version}; mpo_transport {__version__} reads versions up to {SCHEMA_VERSION}. "
            "Update mpo_transport."
        )
    if version < 1:
        raise FileFormatError(f"{path} is damaged: schema version {version} never existed.")
    return version


def _checked_tree(path: Path, file: h5py.File) -> Tree:
    manifest = _read_manifest(path, file)
    present = set(_datasets(file)) - {_MANIFEST}
    if present != manifest.keys():
        odd = sorted(present ^ manifest.keys())
        raise FileFormatError(f"{path} is damaged: the datasets {odd} do not match its own list.")
    tree: Tree = {}
    for name, entry in manifest.items():
        _insert(tree, name, _read_leaf(path, file, name, entry))
    return tree


def _read_manifest(path: Path, file: h5py.File) -> Mapping[str, Mapping[str, Any]]:
    text = file[_MANIFEST][()].decode()
    if _digest_text(text) != file.attrs["manifest_sha256"]:
        raise FileFormatError(f"{path} is damaged: the checksum of its list of datasets does not match.")
    manifest: Mapping[str, Mapping[str, Any]] = json.loads(text)
    return manifest


def _datasets(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def _read_leaf(path: Path, file: h5py.File, name: str, entry: Mapping[str, Any]) -> np.ndarray | str:
    value = file[name][()]
    if entry["kind"] == "text":
        text = bytes(value).decode(errors="replace")
        if _digest_text(text) != entry["sha256"]:
            raise FileFormatError(f"{path} is damaged: the checksum of /{name} does not match.")
        return text
    array = np.asarray(value)
    if _digest_array(array) != entry["sha256"]:
        raise FileFormatError(f"{path} is damaged: the checksum of /{name} does not match.")
    return _laid_out(array, entry["axes"]) if "axes" in entry else array


def _laid_out(array: np.ndarray, axes: list[int]) -> np.ndarray:
    """Return the array with its axes ordered in memory as listed, outermost first."""
    memory = np.empty([array.shape[a] for a in axes], dtype=array.dtype)
    out = memory.transpose(np.argsort(axes))
    out[...] = array
    return out


def _insert(tree: Tree, name: str, leaf: np.ndarray | str) -> None:
    *groups, last = name.split("/")
    for group in groups:
        tree = tree.setdefault(group, {})  # type: ignore[assignment]
    tree[last] = leaf


def _digest_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_array(array: np.ndarray) -> str:
    head = f"{array.dtype.newbyteorder('<').str}{array.shape}".encode()
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return hashlib.sha256(head + b"\0" + little.tobytes()).hexdigest()
