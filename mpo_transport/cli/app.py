"""The commands; each is a thin layer over the Python functions of the same name."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from .._version import __version__
from ..crosscheck import crosscheck as compare
from ..errors import InputError
from ..result import Evolution, Result, Status
from ..solve import choose_method
from ..solve import resume as continue_run
from ..solve.choice import check_method
from ..solve.inputs import checked_initial, checked_observables
from ..spec import RunSpec, load_spec, method_classes
from ..spec.solving import solve_spec, wanted_observables
from ..storage import load, open_run, read_spec
from .check import check_files
from .counting import register as register_counting
from .exits import Exit, exit_of_error, exit_of_status
from .output import print_outcome, print_table, say
from .sweeps import register as register_sweeps
from .tables import method_table, model_table, observable_table

__all__ = ["app", "main"]

_CODES = "\n\n".join(f"{code.value}  {code.meaning}" for code in Exit)

app = typer.Typer(
    name="mpo-transport",
    help="Steady states and transport of open quantum chains.",
    epilog=f"Exit codes:\n\n{_CODES}",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SpecFile = Annotated[Path, typer.Argument(metavar="SPEC.toml", help="Specification file.")]
RunFile = Annotated[Path, typer.Argument(metavar="RUN.h5", help="HDF5 file of a run.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Directory for the results; made if missing.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace an entry, e.g. model.L=40; may be repeated."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
All = Annotated[bool, typer.Option("--all", help="Print long profiles in full.")]


def _version(value: bool) -> None:
    if value:
        say(__version__)
        raise typer.Exit()


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Steady states and transport of open quantum chains."""
    context.obj = {"debug": debug}


def command(name: str, *, hidden: bool = False) -> Callable[[Callable[..., Exit]], Callable[..., None]]:
    """Decorator: register a command; its errors become one sentence on stderr and an exit code."""

    def decorate(function: Callable[..., Exit]) -> Callable[..., None]:
        @functools.wraps(function)
        def wrapped(context: typer.Context, **arguments: Any) -> None:
            try:
                code = function(context=context, **arguments)
            except (typer.Exit, typer.Abort):
                raise
            except Exception as error:
                code_of = exit_of_error(error)
                if code_of is None or (context.obj or {}).get("debug"):
                    raise
                say(f"mpo-transport {name}: {_sentence(error)}", error=True)
                raise typer.Exit(int(code_of)) from None
            raise typer.Exit(int(code))

        app.command(name, hidden=hidden)(wrapped)
        return wrapped

    return decorate


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}."
    return " ".join(str(error).split())


def _directory(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the output directory {out}: {error.strerror}.", field="out") from None
    return out


# ----------------------------------------------------------------------------------------------------------------------


@command("run")
def run(
    context: typer.Context,
    spec: SpecFile,
    out: Out = Path("."),
    set_: Set = None,
    quiet: Quiet = False,
    everything: All = False,
) -> Exit:
    """Solve what a specification describes.

    One HDF5 file is written. A finished run is shown, not repeated; an unfinished one goes on; the file of a changed
    specification is refused.
    """
    plan = load_spec(spec, set_ or ())
    model, method = plan.build_model(), plan.build_method()
    observables = wanted_observables(plan, model)
    # Refusals first: whatever is wrong with the model or method is told before the directory is touched.
    _refuse_unsupported(plan, model, method, observables)
    target = _directory(out) / plan.file_name
    found = open_run(target, plan.identity())
    if not quiet and found != "new":
        say(
            f"{target}: {'finished earlier; shown, not repeated' if found == 'finished' else 'unfinished; going on'}",
            error=True,
        )
    outcome = solve_spec(plan, model, method, observables, target, progress=False if quiet else None)
    return _finish(outcome, target, plan.figure, quiet, everything)


def _refuse_unsupported(plan: RunSpec, model: Any, method: Any, observables: dict[str, Any]) -> None:
    checked_initial(plan.initial_state(), model)
    checked_observables(observables, model)
    if method is None:
        choose_method(model, plan.task, plan.tol)
    else:
        check_method(method, model, plan.task, plan.tol)


def _finish(outcome: Result | Evolution, target: Path, figure: str | None, quiet: bool, everything: bool) -> Exit:
    if not quiet:
        print_outcome(outcome, everything=everything)
        say(f"file   : {target}")
    if outcome.status is Status.INTERRUPTED:
        say(f"interrupted and saved; continue with: mpo-transport resume {target}", error=True)
    elif figure is not None:
        from ..plotting import plot_result

        drawn = plot_result(outcome, target.parent / figure)
        if not quiet and drawn is not None:
            say(f"figure : {target.parent / figure}")
    return exit_of_status(outcome.status)


@command("resume")
def resume(context: typer.Context, run: RunFile, quiet: Quiet = False, everything: All = False) -> Exit:
    """Continue an interrupted run; a finished one is shown."""
    outcome = continue_run(
        run, on_failure="return", progress=False if quiet else None, observables=_functions_of_state(run)
    )
    return _finish(outcome, run, None, quiet, everything)


def _functions_of_state(run: Path) -> dict[str, Any] | None:
    """Purities, entropies and the like have no text of their own in the file; its specification names them."""
    stored = read_spec(run)
    if stored is None or "solve" not in stored:  # begun from Python, not from a specification file
        return None
    plan = RunSpec.from_dict(stored)
    return plan.build_observables(plan.build_model())


@command("show")
def show(context: typer.Context, run: RunFile, everything: All = False) -> Exit:
    """Print a stored run.

    The exit code is that of its status.
    """
    outcome = load(run)
    print_outcome(outcome, everything=everything)
    environment = outcome.provenance.get("environment", {})
    made = [f"{k} {v}" for k, v in environment.items() if isinstance(v, (str, int))]
    if made:
        say(f"made   : {outcome.provenance.get('started', '')} with {', '.join(made)}; seed {outcome.seed}")
    return exit_of_status(outcome.status)


@command("plot")
def plot(
    context: typer.Context,
    run: RunFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture: .png, .pdf or .svg.")],
) -> Exit:
    """Draw a stored run, or a table of a sweep.

    Bond currents, profile and convergence; a run that is not converged gets a watermark. Of a table, every observable
    against the coordinate with most values; points that are not converged are hollow and counted.
    """
    from ..sweep.table import is_table

    if is_table(run):
        from ..analysis import plot_table

        plot_table(run, out)
    else:
        from ..plotting import plot_result

        plot_result(run, out)
    say(str(out))
    return Exit.CONVERGED


@command("check")
def check(
    context: typer.Context,
    runs: Annotated[list[Path], typer.Argument(metavar="RUN.h5|DIR...", help="Files of runs, or directories of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Print the checks that were passed as well.")] = False,
) -> Exit:
    """Verify files: checksums, specification, state, certificate, observables.

    The checkpoint kept beside a file is verified as well. A run that is not converged passes if it says so.
    """
    return check_files(runs, as_json=as_json, everything=everything)


@command("crosscheck")
def crosscheck(
    context: typer.Context,
    spec: SpecFile,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Directory for the table as CSV.")] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", metavar="NAME", help="Only this method; may be repeated.")
    ] = None,
    set_: Set = None,
) -> Exit:
    """Solve one model by every method and compare.

    Methods that do not support the model or do not fit this machine are listed with the reason. The exit code is 3 if a
    method contradicts the reference beyond the errors both claim.
    """
    plan = load_spec(spec, set_ or ())
    if plan.task != "steady_state":
        raise InputError('Entry `solve.task` must be "steady_state" for a cross-check.', field="solve.task")
    model = plan.build_model()
    wanted = list(method or (name for name, cls in method_classes().items() if not cls.infinite))
    given = plan.build_method()
    chosen = [given if given is not None and type(given).__name__ == name else name for name in wanted]
    observables = plan.build_observables(model) or None
    table = compare(model, chosen, observables, plan.tol, seed=plan.seed, insist=bool(method))
    say(model.describe())
    say()
    head, rows = table.table()
    print_table(f"reference: {table.reference}, tol {plan.tol:g}", head, rows)
    for note in table.notes():
        say(f"  {note}")
    if out is not None:
        target = _directory(out) / f"{plan.name or plan.run_id}_crosscheck.csv"
        target.write_text(table.csv(), encoding="utf-8")
        say(f"file   : {target}")
    failed = [r for r in table.rows if r.ran and r.status != Status.CONVERGED.value]
    if not table.consistent:
        say("methods contradict each other beyond the errors they claim", error=True)
    return Exit.CONVERGED if table.consistent and not failed else Exit.NOT_CONVERGED


@command("reproduce")
def reproduce(
    context: typer.Context,
    paper: Annotated[str, typer.Argument(metavar="PAPER", help="e.g. persistent-currents")],
    figures: Annotated[list[str] | None, typer.Argument(metavar="[FIGURE]...", help="All if none is named.")] = None,
    out: Out = Path("."),
    quick: Annotated[bool, typer.Option("--quick", help="Only a few points per curve.")] = False,
) -> Exit:
    """Make the figures of a paper again.

    Every figure is a PNG, with the data behind it as CSV.
    """
    from ..papers import find_paper
    from ..papers import reproduce as make

    worst = Status.CONVERGED
    chosen = find_paper(paper)
    say(chosen.citation)
    for made in make(chosen, figures or None, out, quick=quick):
        worst = made.data.worst if made.data.worst is not Status.CONVERGED else worst
        say(f"{made.figure:10s} {made.seconds:6.1f} s  {', '.join(str(f) for f in made.files)}")
    return exit_of_status(worst)


@command("methods")
def methods(context: typer.Context) -> Exit:
    """List the methods and their knobs."""
    print_table("", *method_table())
    return Exit.CONVERGED


@command("models")
def models(context: typer.Context) -> Exit:
    """List the library models and their arguments."""
    print_table("", *model_table())
    return Exit.CONVERGED


@command("observables")
def observables(context: typer.Context) -> Exit:
    """List the observables and their arguments."""
    print_table("", *observable_table())
    return Exit.CONVERGED


register_counting(command)
register_sweeps(command)


# ----------------------------------------------------------------------------------------------------------------------


def _show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    say(f"mpo-transport: warning: {' '.join(str(message).split())}", error=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code; the entry point of ``mpo-transport``."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            app(args=arguments, prog_name="mpo-transport")
        except SystemExit as leave:
            code = leave.code
            return code if isinstance(code, int) else int(Exit.UNEXPECTED if code else Exit.CONVERGED)
    return int(Exit.CONVERGED)


if __name__ == "__main__":
    sys.exit(main())
