"""The commands for sweeps: ``sweep``, ``status``, ``collect`` and, for array tasks, ``sweep-point``."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import errors
from .._threads import thread_count
from ..errors import InputError
from ..result import Status
from ..solve.resources import readable_bytes
from ..solve.signals import SignalGuard
from ..sweep import PointOutcome, SweepDirectory, SweepPlan, load_sweep, open_points, run_point
from ..sweep.estimates import PointEstimate, estimate_points
from ..sweep.status import SweepStatus, sweep_status
from .exits import Exit, exit_of_error, exit_of_status
from .output import print_table, say
from .sweep_display import SweepDisplay, one_line, show_status, time_text

__all__ = ["register"]

SweepFile = Annotated[Path, typer.Argument(metavar="SWEEP.toml", help="Sweep file.")]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a sweep.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def register(command: Callable[..., Callable[..., Any]]) -> None:
    """Add the commands to the command line."""
    command("sweep")(sweep)
    command("status")(status)
    command("collect")(collect)
    command("sweep-point", hidden=True)(sweep_point)


def sweep(
    context: typer.Context,
    spec: SweepFile,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Directory for the results; by default the name of the sweep.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes; one per core by default, 0: none.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option("--dask", metavar="ADDRESS", help='Dask scheduler, or "local" for one of its own.')
    ] = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="Submit to Slurm as job arrays, and leave.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show memory and time per point and in total; write nothing.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try failed points again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Accept more points than sweep.max_points.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace an entry, e.g. axes.model.L=[4,6]; may be repeated."),
    ] = None,
    quiet: Quiet = False,
) -> Exit:
    """Carry out all points of a sweep.

    Finished points are not repeated, unfinished ones go on, failed ones are listed and tried again with --retry. The
    directory of another sweep is refused.
    """
    if slurm and (workers is not None or dask is not None):
        raise InputError("Give --slurm without --workers and --dask.", field="slurm")
    plan = load_sweep(spec, set_ or (), unlimited=yes or dry_run)
    if dry_run:
        return _dry_run(plan)
    directory = SweepDirectory.create(out or Path(plan.name or spec.stem), plan)
    if retry:
        for point in directory.retry():
            say(f"point {point.index} ({point.label}) is tried again", error=True)
    if slurm:
        return _submit(directory, quiet)
    points = open_points(directory)
    finished = len(plan.points) - len(points)
    if finished and not quiet:
        say(f"{directory.path}: {finished} of {len(plan.points)} points are finished, failed, or running elsewhere")
    with SweepDisplay(directory, quiet=quiet, workers=workers) as display:
        _execute(directory, points, workers, dask, display.update)
    found = sweep_status(directory)
    if not quiet:
        show_status(found)
    code = exit_of_sweep(found)
    if code is Exit.INTERRUPTED:
        say(f"unfinished; go on with: mpo-transport sweep {spec} --out {directory.path}", error=True)
    return code


def _execute(
    directory: SweepDirectory,
    points: list[Any],
    workers: int | None,
    dask: str | None,
    on_update: Callable[[PointOutcome], Any],
) -> None:
    options = dict(directory.plan.execution)
    if workers is not None:
        options["workers"] = workers
    if dask is not None:
        options["address"] = dask
    _executor("local" if dask is None else "dask").execute(directory, points, on_update=on_update, **options)


def _executor(name: str) -> Any:
    try:
        return importlib.import_module(f"mpo_transport.sweep.execution.{name}")
    except ModuleNotFoundError as error:
        raise InputError(
            f"--{name} needs the package {error.name!r}; install it with: pip install mpo_transport[cluster]",
            field=name,
        ) from None


def _submit(directory: SweepDirectory, quiet: bool) -> Exit:
    submission = _executor("slurm").submit(directory)
    if not quiet:
        if submission.script is None:
            say("nothing is left to submit")
        else:
            jobs = ", ".join(submission.jobs)
            say(f"submitted {submission.points} points as {submission.elements} array elements: {jobs}")
            say(f"look at them with: mpo-transport status {directory.path}")
    return Exit.CONVERGED


def _dry_run(plan: SweepPlan) -> Exit:
    """Print what every point and all of them are expected to need."""
    estimates = estimate_points(plan.points)
    rows = [[str(p.index), p.label, *_needs(estimates[p.index])] for p in plan.points]
    print_table(f"{len(plan.points)} points", ["point", "coordinates", "method", "memory", "time", "remark"], rows)
    known = [e.seconds for e in estimates.values() if e.seconds is not None]
    memory = max((e.memory_bytes for e in estimates.values() if e.memory_bytes is not None), default=0.0)
    refused = sum(e.refused for e in estimates.values())
    unknown = len(estimates) - len(known) - refused
    say()
    say(f"total  : about {time_text(sum(known))} on one core; the largest point needs {readable_bytes(memory)}")
    if unknown:
        say(f"         {unknown} points have no estimate of their time")
    if refused:
        say(f"         {refused} points will be refused, for the reasons above")
    return Exit.CONVERGED


def _needs(estimate: PointEstimate) -> list[str]:
    memory = "" if estimate.memory_bytes is None else readable_bytes(estimate.memory_bytes)
    seconds = "" if estimate.seconds is None else time_text(estimate.seconds)
    remark = estimate.remark if len(estimate.remark) <= 100 else estimate.remark[:97] + "..."
    return [estimate.method or "refused", memory, seconds, remark]


# ----------------------------------------------------------------------------------------------------------------------


def status(
    context: typer.Context,
    directory: Directory,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing it until the sweep is complete.")] = False,
    every: Annotated[float, typer.Option("--every", help="Seconds between two looks with --watch.", min=0.1)] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with all points.")] = False,
) -> Exit:
    """Show how far a sweep is.

    What is done, running, waiting, failed and not converged, from its files alone.
    """
    sweep = SweepDirectory.open(directory)
    found = sweep_status(sweep)
    if watch and not as_json:
        with SweepDisplay(sweep, every=every) as display, SignalGuard() as guard:
            while not found.complete and guard.received is None:
                time.sleep(every)
                found = sweep_status(sweep)
                display.show(found)
    if as_json:
        say(json.dumps(found.to_dict()))
    else:
        show_status(found)
    return exit_of_sweep(found)


def exit_of_sweep(found: SweepStatus) -> Exit:
    """Return the exit code of a sweep: failed points first, then unfinished ones, then those that did not converge."""
    counts = found.counts
    if counts["failed"]:
        return Exit.POINTS_FAILED
    if not found.complete:
        return Exit.INTERRUPTED
    return Exit.NOT_CONVERGED if counts["not converged"] else Exit.CONVERGED


def sweep_point(
    context: typer.Context,
    directory: Directory,
    index: Annotated[int, typer.Argument(metavar="INDEX", help="Number of the point, from 0.")],
    quiet: Quiet = False,
) -> Exit:
    """Compute one point of a sweep; what a task of a job array runs.

    The exit code is the one that `run` would give.
    """
    sweep = SweepDirectory.open(directory)
    point = sweep.point(index)
    options = {k: v for k, v in sweep.plan.execution.items() if k in ("checkpoint_every", "max_deaths")}
    outcome = run_point(sweep, point, threads=thread_count(), progress=False if quiet else None, **options)
    if not quiet:
        text = f"point {point.index} ({point.label}): {outcome.word}"
        say(text + (f". {outcome.reason}" if outcome.reason else ""), error=outcome.word == "failed")
    return exit_of_outcome(outcome)


def exit_of_outcome(outcome: PointOutcome) -> Exit:
    """Return the exit code that `run` would give for a point."""
    if outcome.word == "busy":
        return Exit.RUN_CONFLICT
    if outcome.word == "failed":
        known = getattr(errors, outcome.error, None)
        code = None
        if isinstance(known, type) and issubclass(known, errors.MpoTransportError):
            extra = {"dimension": 0} if known is errors.DegenerateSteadyStateError else {}
            code = exit_of_error(known(outcome.reason, **extra))
        return code or Exit.UNEXPECTED
    if outcome.word in ("waiting", "interrupted"):
        return Exit.INTERRUPTED
    return Exit.CONVERGED if outcome.word == "done" else exit_of_status(Status(outcome.word))


def collect(
    context: typer.Context,
    directory: Directory,
    out: Annotated[Path, typer.Option("--out", "-o", help="Table: .h5, .nc or .csv.")],
) -> Exit:
    """Gather the points of a sweep in one table.

    Also while it runs: points without a result have no values. The exit code is the same as that of `status`.
    """
    from ..sweep.table import collect as gather
    from ..sweep.table import write_table

    sweep = SweepDirectory.open(directory)
    found = sweep_status(sweep)
    say(f"{write_table(gather(sweep), out)}: {one_line(found)}")
    return exit_of_sweep(found)
