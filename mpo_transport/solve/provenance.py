"""Where the numbers come from: versions, libraries, processor, seed; and whether a resumed run has the same."""

from __future__ import annotations

import functools
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy
import scipy

from .._threads import library_info
from .._version import __version__
from ..errors import MpoTransportWarning

__all__ = ["ReproducibilityWarning", "changed_environment", "environment", "start_time"]


class ReproducibilityWarning(MpoTransportWarning):
    """A run goes on in another environment, so its last digits are not those of an unbroken run."""


def environment(threads: int) -> dict[str, Any]:
    """Return the facts that decide the last digits of a result: same environment, same bits."""
    return {
        "mpo_transport": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "h5py": h5py.__version__,
        "hdf5": h5py.version.hdf5_version,
        "blas": library_info(),
        "threads": threads,
        "platform": platform.platform(),
        "processor": _processor(),
    }


def start_time() -> str:
    """Return the time now, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def changed_environment(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of the facts in which two environments differ; the file libraries do not change digits."""
    irrelevant = {"h5py", "hdf5", "platform"}
    return sorted(k for k in before.keys() | now.keys() if k not in irrelevant and before.get(k) != now.get(k))


@functools.cache
def _processor() -> str:
    if sys.platform == "linux":
        try:
            lines = Path("/proc/cpuinfo").read_text().splitlines()
        except OSError:
            lines = []
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
