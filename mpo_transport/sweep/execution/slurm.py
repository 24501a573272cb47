"""Points as job arrays of a Slurm cluster, which stop before the time limit, queue again, and go on.

Slurm does the scheduling.  What is written here is the batch script, the lists that say which element of an array
computes which points, and the submission.  All nodes must see the directory of the sweep under the same path.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ...errors import ClusterError, InputError, MpoTransportWarning
from ...spec.fields import check_keys, integer, refuse, text
from ..directory import SweepDirectory
from ..files import write_text
from ..plan import Point
from .slurm_script import job_script, submit_script

__all__ = ["SlurmOptions", "Submission", "queued", "submit", "time_limit", "waves"]

FOLDER = "slurm"
# Slurm may send the signal before the time limit up to this many seconds early (manual page of sbatch, --signal).
_EARLY = 60
_TIMEOUT = 60.0  # seconds that a command of Slurm may take


@dataclass(frozen=True)
class SlurmOptions:
    """The table ``[slurm]`` of a sweep file.

    Attributes
    ----------
    time
        Time limit of an element as Slurm writes it: ``"30"`` (minutes), ``"4:00:00"``, ``"2-12"`` (days-hours).
    account, partition, qos, memory
        Texts for the options of the same names; memory for example ``"4G"``.
    cpus
        CPUs of an element, which are also the threads of its linear algebra.
    max_running
        Most elements that run at the same time.
    grace
        Seconds before the time limit at which an element is asked to save and leave.
    max_restarts
        How often an element queues again before it gives up.
    array_size
        Most elements of one array; more points are split over several arrays (Slurm's MaxArraySize is 1001 by default).
    extra
        Further options of sbatch, for example ``["--constraint=skylake", "--mail-type=FAIL"]``.
    setup
        Lines of bash before the program starts, for example ``["module load python/3.12"]``.
    program
        The command, by default this Python with this package.

    Examples
    --------
    >>> SlurmOptions.from_dict({"time": "4:00:00", "partition": "long"}).directives(Path("study"))[:3]
    ('--job-name=study', '--output=study/slurm/logs/%A_%a.log', '--open-mode=append')
    >>> SlurmOptions.from_dict({"partitoin": "long"})
    Traceback (most recent call last):
        ...
    mpo_transport.errors.InputError: Unknown entry `slurm.partitoin`; did you mean 'partition'? (known: ...)
    """

    time: str | None = None
    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    memory: str | None = None
    cpus: int = 1
    max_running: int | None = None
    grace: int = 120
    max_restarts: int = 100
    array_size: int = 1000
    extra: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    program: tuple[str, ...] = field(default=(sys.executable, "-m", "mpo_transport"))

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> SlurmOptions:
        """Return the options of a table.

        Raises
        ------
        InputError
            Naming the entry (``slurm.time``, ...) that is unknown or wrong.
        """
        check_keys(tree, [f.name for f in fields(cls)], "slurm")
        least = {"cpus": 1, "max_running": 1, "grace": 1, "max_restarts": 0, "array_size": 1}
        values: dict[str, Any] = {}
        for key, value in tree.items():
            where = f"slurm.{key}"
            if key in least:
                values[key] = integer(value, where, least=least[key])
            elif key in ("extra", "setup", "program"):
                values[key] = _texts(value, where)
            elif key == "time" and isinstance(value, int) and not isinstance(value, bool):
                values[key] = str(value)
            else:
                values[key] = _one_line(value, where)
        options = cls(**values)
        if options.time is not None and time_limit(options.time) is None:
            raise refuse("slurm.time", 'a time such as "30" (minutes), "4:00:00" or "2-12" (days-hours)', options.time)
        for line in options.extra:
            if not line.startswith("-"):
                raise refuse("slurm.extra", 'a list of options of sbatch such as "--constraint=skylake"', line)
        return options

    def directives(self, directory: Path) -> tuple[str, ...]:
        """Return the options of sbatch, in the order of the script; those of ``extra`` come last and so prevail."""
        named = {
            "account": self.account,
            "partition": self.partition,
            "qos": self.qos,
            "time": self.time,
            "mem": self.memory,
        }
        logs = str(directory / FOLDER / "logs").replace("%", "%%")
        return (
            "--job-name=" + re.sub(r"[^\w.+-]", "_", directory.name),
            f"--output={_quoted(logs + '/%A_%a.log')}",
            "--open-mode=append",
            "--requeue",
            f"--signal=B:USR1@{self.grace}",
            "--ntasks=1",
            f"--cpus-per-task={self.cpus}",
            *(f"--{key}={_quoted(value)}" for key, value in named.items() if value is not None),
            *self.extra,
        )


@dataclass(frozen=True)
class Submission:
    """What was handed to Slurm.

    Attributes
    ----------
    jobs
        Numbers of the arrays; empty if nothing was submitted.
    points
        Number of points.
    elements
        Number of array elements; points that start from each other's states share one.
    script
        The script that submits, for doing it by hand; None if no point was left to do.
    """

    jobs: tuple[str, ...]
    points: int
    elements: int
    script: Path | None


def submit(directory: SweepDirectory, points: Iterable[Point] | None = None, *, dry_run: bool = False) -> Submission:
    """Write the batch scripts of a sweep and submit its unfinished points.

    Parameters
    ----------
    directory
        The sweep, with the options in ``directory.plan.slurm``.
    points
        Which of its points; None: all.  Finished and failed ones are left out.
    dry_run
        Write the scripts only.

    Notes
    -----
    ``DIRECTORY/slurm`` then holds ``job.sh`` (the batch script), ``points-HASH.txt`` (the points of every element),
    ``submit.sh`` (submits all of it), ``jobs.txt`` (the job numbers) and ``logs``.

    Raises
    ------
    InputError
        For a wrong entry of ``[slurm]``.
    ClusterError
        If sbatch is missing, cannot reach its cluster or refuses, or if earlier jobs of the sweep are still queued.
        The scripts are left for submission by hand.

    Warns
    -----
    MpoTransportWarning
        If the time limit leaves no room for a checkpoint interval.
    """
    options = SlurmOptions.from_dict(directory.plan.slurm)
    todo = _unfinished(directory, points)
    if not todo:
        return Submission((), 0, 0, None)
    _check_time(options, directory, todo)
    folder = Path(os.path.abspath(directory.path)) / FOLDER
    earlier = queued(directory)
    if earlier and not dry_run:
        raise ClusterError(
            f"The sweep {directory.path} is in the queue already (jobs {', '.join(earlier)}). Wait for them, or "
            f"remove them first: scancel {' '.join(earlier)}"
        )
    groups = waves(todo)
    script = _write(folder, options, groups)
    jobs = () if dry_run else _submitted(folder, script)
    return Submission(jobs, len(todo), sum(len(wave) for wave in groups), script)


def waves(points: Sequence[Point]) -> tuple[tuple[tuple[Point, ...], ...], ...]:
    """Return points grouped for arrays: waves of elements, each a chain of points computed one after the other.

    A point follows the one it depends on in the same element, unless several points depend on that one: they begin
    elements of the next wave.  Points that depend on none of the given ones begin in the first wave.
    """
    by_id = {p.run_id: p for p in points}
    followers: dict[str, list[Point]] = {}
    for point in points:
        if point.depends_on in by_id and point.depends_on is not None:
            followers.setdefault(point.depends_on, []).append(point)
    heads = [p for p in points if p.depends_on not in by_id]
    out = []
    while heads:
        chains, following = [], []
        for head in heads:
            chain = [head]
            while len(behind := followers.get(chain[-1].run_id, [])) == 1:
                chain += behind
            following += behind
            chains.append(tuple(chain))
        out.append(tuple(chains))
        heads = following
    return tuple(out)


def queued(directory: SweepDirectory) -> tuple[str, ...]:
    """Return the numbers of submitted arrays that Slurm has not finished; empty where there is no Slurm to ask."""
    listed = directory.path / FOLDER / "jobs.txt"
    if not listed.exists() or shutil.which("squeue") is None:
        return ()
    numbers = {line.split()[0] for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()}
    try:
        answer = _call(["squeue", "--noheader", "--format=%F"])  # %F: the number of the whole array
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(sorted(numbers & set(answer.stdout.split()), key=lambda n: (len(n), n)))


def time_limit(written: str) -> float | None:
    """Return a time limit as Slurm writes it in seconds (infinite for UNLIMITED), or None if it is not one.

    >>> [time_limit(t) for t in ("30", "4:00:00", "2-12", "1-0:30", "UNLIMITED", "soon")]
    [1800.0, 14400.0, 216000.0, 88200.0, inf, None]
    """
    if written.upper() in ("UNLIMITED", "INFINITE"):
        return float("inf")
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", written)
    if match is None:
        return None
    days, *clock = match.groups()
    parts = [int(x) for x in clock if x is not None]
    if days is not None:  # days-hours[:minutes[:seconds]]
        units: tuple[int, ...] = (3600, 60, 1)
    else:  # minutes, minutes:seconds, hours:minutes:seconds
        units = (3600, 60, 1) if len(parts) == 3 else (60, 1)
    return float(86400 * int(days or 0) + sum(a * b for a, b in zip(parts, units, strict=False)))


# ----------------------------------------------------------------------------------------------------------------------


def _unfinished(directory: SweepDirectory, points: Iterable[Point] | None) -> list[Point]:
    """Return the points that are left to do; one that runs at this moment may be stopped, so it is among them."""
    states = dict(zip((p.run_id for p in directory.plan.points), directory.states(), strict=True))
    chosen = directory.plan.points if points is None else points
    return [p for p in chosen if states[p.run_id].open or states[p.run_id].word == "running"]


def _check_time(options: SlurmOptions, directory: SweepDirectory, points: Sequence[Point]) -> None:
    """Warn if an element may be stopped before it has written a checkpoint of its own accord."""
    limit = time_limit(options.time) if options.time is not None else None
    if limit is None:
        return
    default = max(p.spec.checkpoint_every for p in points)
    every = float(directory.plan.execution.get("checkpoint_every", default))
    left = limit - options.grace - _EARLY
    if left < every:
        warnings.warn(
            f"The time limit {options.time} ({limit:g} s) leaves {max(left, 0):g} s before an element is asked to stop "
            f"(grace {options.grace} s, which Slurm may lengthen by {_EARLY} s), less than one checkpoint interval "
            f"({every:g} s). An element that is killed then loses all of its work: lengthen `slurm.time`, or shorten "
            "`slurm.grace` or `output.checkpoint_every`.",
            MpoTransportWarning,
            stacklevel=3,
        )


def _write(folder: Path, options: SlurmOptions, groups: Sequence[Sequence[Sequence[Point]]]) -> Path:
    """Write the batch script, the lists of points, and the script that submits them."""
    try:
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        arrays: list[list[tuple[str, int]]] = []
        for wave in groups:
            arrays.append([])
            for first in range(0, len(wave), options.array_size):
                part = wave[first : first + options.array_size]
                lines = "".join(" ".join(str(p.index) for p in chain) + "\n" for chain in part)
                # named by its content: jobs in the queue may still read the lists of an earlier submission
                name = f"points-{hashlib.sha256(lines.encode()).hexdigest()[:8]}.txt"
                write_text(folder / name, lines)
                arrays[-1].append((name, len(part)))
        job = job_script(
            options.directives(folder.parent), folder.parent, options.program, options.setup, options.max_restarts
        )
        write_text(folder / "job.sh", job)
        script = folder / "submit.sh"
        write_text(script, submit_script(folder, arrays, options.max_running))
        script.chmod(0o755)
    except OSError as error:
        raise InputError(f"Cannot write into {folder}: {error.strerror}.", field="out") from None
    return script


def _submitted(folder: Path, script: Path) -> tuple[str, ...]:
    by_hand = f"The sweep and its scripts stay as they are; submit by hand with: bash {script}"
    if shutil.which("sbatch") is None:
        raise ClusterError(f"The command sbatch is not found, so this is no machine of a Slurm cluster. {by_hand}")
    jobs = folder / "jobs.txt"
    known = len(jobs.read_text(encoding="utf-8").splitlines()) if jobs.exists() else 0
    try:
        answer = _call(["bash", str(script)])
    except subprocess.TimeoutExpired:
        raise ClusterError(f"sbatch gave no answer within {_TIMEOUT:g} s: is the cluster down? {by_hand}") from None
    listed = jobs.read_text(encoding="utf-8").splitlines()[known:] if jobs.exists() else []
    numbers = tuple(line.split()[0] for line in listed if line.strip())
    if answer.returncode != 0:
        said = " ".join(answer.stderr.split()) or f"exit code {answer.returncode}"
        some = f"Submitted before that: {' '.join(numbers)} (scancel removes them). " if numbers else ""
        raise ClusterError(f"sbatch refused: {said} {some}{by_hand}")
    return numbers


def _call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Carry out a command of Slurm; one that takes too long is killed with everything it has started."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, error = process.communicate(timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, error)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise refuse(where, "a list of texts", value)
    return tuple(_one_line(item, where) for item in value)


def _one_line(value: Any, where: str) -> str:
    line = text(value, where)
    if "\n" in line:
        raise refuse(where, "a text of one line", value)
    return line


def _quoted(value: str) -> str:
    """Quote a value on a line of #SBATCH, where quotes keep blanks together."""
    return f'"{value}"' if re.search(r"\s", value) else value
