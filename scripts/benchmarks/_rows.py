"""What the benchmark scripts share: rows measured in a process of their own, files of rows, printed tables."""

from __future__ import annotations

import csv
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = [
    "ROOT",
    "SINGLE_THREAD",
    "append_json",
    "isolated",
    "peak_mib",
    "print_head",
    "print_row",
    "read_json",
    "single_threaded",
    "stopwatch",
    "text",
    "versions",
    "write_csv",
]

ROOT = Path(__file__).resolve().parents[2]
SINGLE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


def single_threaded() -> None:
    """Ask for one thread of BLAS and numba; to be called before numpy is imported."""
    for name, value in SINGLE_THREAD.items():
        os.environ.setdefault(name, value)


def isolated(script: Path, arguments: Sequence[str], limit: float) -> dict[str, Any]:
    """Run ``script`` in a process of its own, one thread, and return the JSON object in its last line of output.

    A run that ends otherwise gives {"status": "failed" or "more than ... s", "remark": the last line of its errors}.
    Interrupting the caller ends the process.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(script), *arguments]
    environment = {**os.environ, **SINGLE_THREAD, "PYTHONPATH": path}
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"status": f"more than {limit:g} s"}
    try:
        found = json.loads(run.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        found = None
    if run.returncode or not isinstance(found, dict):
        lines = run.stderr.strip().splitlines()
        return {"status": "failed", "remark": lines[-1] if lines else f"exit code {run.returncode}"}
    return found


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Measure CPU and wall seconds of a block: keys ``cpu_s`` and ``wall_s`` afterwards.

    >>> with stopwatch() as seconds:
    ...     total = sum(range(10))
    >>> sorted(seconds)
    ['cpu_s', 'wall_s']
    """
    seconds: dict[str, float] = {}
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        yield seconds
    finally:
        seconds["cpu_s"], seconds["wall_s"] = time.process_time() - cpu, time.perf_counter() - wall


def peak_mib() -> float:
    """Return the high-water mark of this process in MiB (the kernel counts bytes on macOS, KiB elsewhere)."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of Python and of the packages, "" where one is missing."""
    out = {"python": platform.python_version()}
    for name in packages:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            out[name] = ""
    return out


def append_json(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row as one line of JSON, so that an interruption leaves every finished row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(row, allow_nan=False, default=str) + "\n")


def read_json(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the rows of files written by :func:`append_json`, in order, without lines that were cut short."""
    rows = []
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return rows


def write_csv(directory: Path, stem: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a dated table ``<stem>-<date>.csv`` and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{stem}-{datetime.date.today().isoformat()}.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def text(value: Any) -> str:
    """Return a number in a few digits, a dash for nothing."""
    if value is None or value == "":
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def print_head(columns: Sequence[str], width: int = 9) -> None:
    """Print the names of the columns, right-aligned."""
    print("  ".join(f"{c:>{width}}" for c in columns))


def print_row(row: Mapping[str, Any], columns: Sequence[str], width: int = 9) -> None:
    """Print one row under :func:`print_head`."""
    print("  ".join(f"{text(row.get(c)):>{width}}" for c in columns), flush=True)
