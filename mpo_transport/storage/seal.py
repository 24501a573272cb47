"""One SHA-256 over a whole file, in a line of text behind its HDF5 part, so that no flipped bit goes unnoticed.

The checksums inside a file cover the datasets.  What lies between them (attributes, dimension scales, the tables of the
HDF5 library itself) is covered by the last line of the file::

    sha256 <64 hexadecimal digits> of the <20 decimal digits> bytes before this line

HDF5 readers stop at the end that the HDF5 part declares and do not see the line.  A program that changes the file
removes or invalidates it.  ``head -c -114 run.h5 | sha256sum`` gives the same digits.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

__all__ = ["SEAL_LENGTH", "is_sealed", "seal_line", "seal_matches", "sealed_bytes"]

_PATTERN = re.compile(rb"\nsha256 ([0-9a-f]{64}) of the ([0-9]{20}) bytes before\n")


def seal_line(content: bytes | memoryview) -> bytes:
    """Return the line that closes a file with this content.

    >>> len(seal_line(b"")), seal_line(b"abc")[:15]
    (114, b'\\nsha256 ba7816b')
    """
    return f"\nsha256 {hashlib.sha256(content).hexdigest()} of the {len(content):020d} bytes before\n".encode()


SEAL_LENGTH = len(seal_line(b""))


def is_sealed(path: Path) -> bool:
    """Return whether a file ends like a sealed one; whether the seal is right is for :func:`sealed_bytes` to say."""
    with path.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(stream.tell() - SEAL_LENGTH, 0))
        return _PATTERN.fullmatch(stream.read()) is not None


def sealed_bytes(path: Path) -> bytes | None:
    """Return the bytes before the seal of a file; None if the seal does not match them."""
    content = path.read_bytes()
    return content[:-SEAL_LENGTH] if seal_matches(content) else None


def seal_matches(content: bytes) -> bool:
    """Return whether the last line of a file's content is the seal of all that stands before it."""
    return len(content) >= SEAL_LENGTH and content[-SEAL_LENGTH:] == seal_line(memoryview(content)[:-SEAL_LENGTH])
