"""How much memory this process may use: the smallest of all limits set on it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["memory_limit", "memory_limits", "peak_memory", "readable_bytes"]

_UNLIMITED = 1 << 60  # version-1 control groups write a huge number for "no limit"


def memory_limit() -> tuple[float, str]:
    """Return the smallest memory limit in bytes and where it comes from."""
    return min(memory_limits())


def memory_limits(root: Path | str = "/", environment: Mapping[str, str] = os.environ) -> list[tuple[float, str]]:
    """Return all limits found: control groups (versions 1 and 2), process limits, the scheduler, physical memory.

    Parameters
    ----------
    root
        Directory below which ``proc`` and ``sys`` are looked up.
    environment
        Where ``SLURM_MEM_PER_NODE`` and ``SLURM_MEM_PER_CPU`` (both in MiB) are looked up.
    """
    found = [*_control_groups(Path(root)), *_process_limits(), *_scheduler(environment)]
    found.append((float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"), "the physical memory"))
    return found


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if os.uname().sysname == "Darwin" else peak * 1024


def readable_bytes(count: float) -> str:
    """Return a size for people.

    >>> readable_bytes(3 * 2**30), readable_bytes(2.5e6)
    ('3.0 GiB', '2.4 MiB')
    """
    for unit, name in ((2**60, "EiB"), (2**50, "PiB"), (2**40, "TiB"), (2**30, "GiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 2**20:.1f} MiB"


def _control_groups(root: Path) -> Iterator[tuple[float, str]]:
    """Look at the group of this process and at all groups around it; the tightest counts."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if number == "0" and not controllers:
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = Path(path.lstrip("/"))
        for directory in (group, *group.parents):
            value = _read_number(mount / directory / name)
            if value is not None and value < _UNLIMITED:
                yield value, "the limit of the control group"


def _read_number(path: Path) -> float | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return float(text) if text.isdigit() else None


def _process_limits() -> Iterator[tuple[float, str]]:
    for kind, name in ((resource.RLIMIT_AS, "address space"), (resource.RLIMIT_DATA, "data segment")):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield float(soft), f"the limit on the {name} of the process"


def _scheduler(environment: Mapping[str, str]) -> Iterator[tuple[float, str]]:
    per_node = environment.get("SLURM_MEM_PER_NODE", "")
    if per_node.isdigit() and int(per_node) > 0:  # 0: the whole node
        yield int(per_node) * 2.0**20, "SLURM_MEM_PER_NODE"
    per_cpu, cpus = environment.get("SLURM_MEM_PER_CPU", ""), environment.get("SLURM_CPUS_ON_NODE", "1")
    if per_cpu.isdigit() and cpus.isdigit() and int(per_cpu) > 0:
        yield int(per_cpu) * max(int(cpus), 1) * 2.0**20, "SLURM_MEM_PER_CPU"
