"""How many threads the linear algebra libraries may use: one setting, in one place.

For the small matrices of tensor networks several BLAS threads are slower than one, so the default is 1.  The
environment variable ``MPO_TRANSPORT_THREADS`` sets another number.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

from .errors import InputError

__all__ = ["ENVIRONMENT_VARIABLE", "library_info", "limited_threads", "thread_count"]

ENVIRONMENT_VARIABLE = "MPO_TRANSPORT_THREADS"


def thread_count() -> int:
    """Return the number of threads for linear algebra: the environment variable, or 1.

    Raises
    ------
    InputError
        If the variable is not an integer >= 1.
    """
    text = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    if not text:
        return 1
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise InputError(
            f"The environment variable {ENVIRONMENT_VARIABLE} must be an integer >= 1, but is {text!r}.",
            field=ENVIRONMENT_VARIABLE,
        )
    return int(text)


@contextmanager
def limited_threads(count: int | None = None) -> Iterator[int]:
    """Limit the thread pools of BLAS and OpenMP within a ``with`` block and restore them afterwards.

    >>> with limited_threads(1) as n:
    ...     n
    1
    """
    number = thread_count() if count is None else count
    with _controller(len(sys.modules)).limit(limits=number):
        yield number


@functools.lru_cache(maxsize=1)
def _controller(modules: int) -> ThreadpoolController:
    """Return the thread pools of all loaded libraries; looked for again when modules have been imported."""
    return ThreadpoolController()


def library_info() -> list[dict[str, Any]]:
    """Return what is known about the loaded BLAS and OpenMP libraries: kind, version, architecture, threading layer."""
    keys = ("internal_api", "version", "architecture", "threading_layer")
    found = [{k: pool[k] for k in keys if pool.get(k) is not None} for pool in _controller(len(sys.modules)).info()]
    unique: list[dict[str, Any]] = []
    for entry in sorted(found, key=repr):  # several packages may bring the same library
        if entry not in unique:
            unique.append(entry)
    return unique
