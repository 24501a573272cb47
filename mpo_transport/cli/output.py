"""What the command prints: tables for a terminal, aligned plain text for a file or a pipe."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..observables import transport_report
from ..result import Evolution, Measurement, Result, Status

__all__ = ["number_text", "print_outcome", "print_table", "say"]

_ENTRIES = 64  # longer profiles are shown by their ends unless everything is asked for
_ENDS = 12


def say(text: str = "", *, error: bool = False) -> None:
    """Print one line, to stderr for errors and remarks."""
    print(text, file=sys.stderr if error else sys.stdout, flush=True)


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal, aligned by blanks otherwise."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title or None, title_justify="left")
        for name in head:
            table.add_column(name)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    if title:
        say(title)
    widths = [max(len(r[k]) for r in [head, *rows]) for k in range(len(head))]
    for row in [head, *rows]:
        say("  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def number_text(value: Any, error: Any = None) -> str:
    """Return a number with as many digits as its error allows, two of which are uncertain.

    >>> number_text(0.94887691, 3e-7), number_text(0.25), number_text(1 + 2j)
    ('0.94887691', '0.2500000000', '1.0000000000+2.0000000000j')
    """
    digits = 10
    if error is not None and math.isfinite(error) and error > 0:
        digits = int(min(max(1 - math.floor(math.log10(error)), 3), 12))
    number = complex(value)
    if number.imag or isinstance(value, (complex, np.complexfloating)):
        return f"{number.real:.{digits}f}{number.imag:+.{digits}f}j"
    text = f"{number.real:.{digits}f}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text


def print_outcome(outcome: Result | Evolution, *, everything: bool = False) -> None:
    """Print model, method with its reason, measured values, status and certificate."""
    say(outcome.model.describe())
    say(f"method : {outcome.method!r}")
    if outcome.reason:
        say(f"         chosen because {outcome.reason}")
    say()
    if isinstance(outcome, Evolution):
        _print_evolution(outcome, everything)
    else:
        _print_measurements(outcome, everything)
        _print_exchange(outcome, everything)
    _print_certificate(outcome)


def _print_measurements(result: Result, everything: bool) -> None:
    single = [m for m in result.observables.values() if np.ndim(m.values) == 0]
    for measurement in result.observables.values():
        if np.ndim(measurement.values) > 0:
            _print_profile(measurement, everything)
    if single:
        rows = [[m.name, number_text(m.values, m.error), _error_text(m.error)] for m in single]
        print_table("", ["observable", "value", "claimed error"], rows)
        say()


def _print_exchange(result: Result, everything: bool) -> None:
    """Print quanta and heat into every bath and the entropy production of a model with thermal baths."""
    if not any(b.occupation is not None or b.temperature is not None for b in result.model.baths):
        return
    report = transport_report(result)
    rows = [list(row) for row in report.rows()]
    if len(rows) > _ENTRIES and not everything:
        rows = [*rows[:_ENDS], ["...", "", ""], *rows[-_ENDS:]]
    print_table("exchange with the baths, per unit time", ["bath", "quanta into it", "heat into it"], rows)
    for line in report.lines():
        say(f"  {line}")
    say()


def _print_profile(m: Measurement, everything: bool) -> None:
    values = np.asarray(m.values).ravel()
    errors = np.broadcast_to(np.asarray(math.nan if m.error is None else m.error, dtype=float).ravel(), values.shape)
    labels = [str(x) for x in m.labels] if len(m.labels) == len(values) else [str(k) for k in range(len(values))]
    shown = list(range(len(values)))
    if len(values) > _ENTRIES and not everything:
        shown = [*range(_ENDS), -1, *range(len(values) - _ENDS, len(values))]
    rows = [
        ["...", "", ""] if k < 0 else [labels[k], number_text(values[k], errors[k]), _error_text(errors[k])]
        for k in shown
    ]
    title = (m.description or m.name) + (f" (unit: {m.unit})" if m.unit else "")
    print_table(title, [m.dimension.split(" ")[0] or "entry", "value", "claimed error"], rows)
    say()


def _error_text(error: Any) -> str:
    return f"{float(error):.1e}" if error is not None and math.isfinite(float(error)) else ""


def _print_evolution(evolution: Evolution, everything: bool) -> None:
    for m in evolution.observables.values():
        values = np.asarray(m.values).reshape(len(evolution.times), -1)
        columns = values.shape[1]
        kept = list(range(columns)) if columns <= 8 or everything else [0, 1, 2, columns // 2, columns - 1]
        names = [str(m.labels[k]) if len(m.labels) == columns else str(k) for k in kept]
        head = ["time", *(names if columns > 1 else [m.name])]
        rows = [[f"{t:g}", *(number_text(values[n, k]) for k in kept)] for n, t in enumerate(evolution.times)]
        print_table((m.description or m.name) + (f" (unit: {m.unit})" if m.unit else ""), head, rows)
        say()


def _print_certificate(outcome: Result | Evolution) -> None:
    say(f"status : {outcome.status.value} (tol {outcome.tol:g}). {outcome.status.explanation}")
    for line in outcome.certificate.lines():
        say(f"  {line}")
    cost = outcome.cost
    memory = f", peak memory {cost.peak_bytes / 2**20:.0f} MiB" if cost.peak_bytes else ""
    say(f"cost   : {cost.steps} steps, {cost.cpu_seconds:.1f} CPU s, {cost.wall_seconds:.1f} s{memory}")
    if outcome.status is not Status.CONVERGED:
        say("NOT CONVERGED: do not use these numbers without the remark above.")
