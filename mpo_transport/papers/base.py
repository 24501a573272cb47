"""What a reproduced figure is: tables of numbers with their provenance, and a picture drawn from them."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..errors import InputError, did_you_mean
from ..methods import Method
from ..model import Lindbladian
from ..plotting import save_figure, style, watermark
from ..result import Result, Status
from ..solve import steady_state

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FigureData", "Paper", "Produced", "read_table", "reproduce", "solve"]

CONVENTIONS = (
    "hbar = 1; energies and rates share one unit; sites count from 0; natural logarithms",
    "negativity: sum of the absolute values of the negative eigenvalues of the partial transpose",
)


@dataclass
class FigureData:
    """The numbers behind one figure.

    Attributes
    ----------
    name, title
        Figure name (``"fig4"``) and one line that says what it shows.
    tables
        Table name -> columns (name -> array); all columns of a table have one length.
    parameters
        What is held fixed, written into the header of every table.
    notes
        Conventions, corrections of misprints, remarks; also written into the header.
    worst
        The least good status of all states that went in.
    largest_residual, largest_error
        Largest relative residual ||L rho||/||rho|| and largest claimed error of local observables (in units of the
        operator norm) of all states that went in, where these were computed.
    """

    name: str
    title: str
    tables: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    worst: Status = Status.CONVERGED
    largest_residual: float = 0.0
    largest_error: float = 0.0

    def add(self, table: str, columns: Mapping[str, Any]) -> None:
        """Add a table; scalars and lists become columns of one length."""
        arrays = {k: np.atleast_1d(np.asarray(v)) for k, v in columns.items()}
        lengths = {len(a) for a in arrays.values()}
        if len(lengths) != 1:
            raise InputError(f"Table {table!r} has columns of different lengths {sorted(lengths)}.", field="columns")
        self.tables[table] = arrays

    def record(self, status: Status, residual: float | None, error: float | None) -> None:
        """Take note of how well one state was solved."""
        if status is not Status.CONVERGED:
            self.worst = status
        self.largest_residual = max(self.largest_residual, residual or 0.0)
        self.largest_error = max(self.largest_error, error or 0.0)

    def select(self, table: str, **where: Any) -> dict[str, np.ndarray]:
        """Return the columns of a table, restricted to the rows where the named columns have the given values."""
        columns = self.tables[table]
        keep = np.ones(len(next(iter(columns.values()))), dtype=bool)
        for key, value in where.items():
            keep &= columns[key] == value
        return {k: v[keep] for k, v in columns.items()}

    def csv(self, table: str) -> str:
        """Return one table as CSV text with a commented header."""
        columns = self.tables[table]
        out = io.StringIO()
        for line in self._header(table):
            out.write(f"# {line}\n")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([_cell(x) for x in row])
        return out.getvalue()

    def _header(self, table: str) -> Iterator[str]:
        yield f"{self.name}: {self.title}"
        yield f"table: {table}"
        yield f"mpo_transport {__version__}"
        for key, value in self.parameters.items():
            yield f"{key} = {value}"
        yield from (f"note: {n}" for n in (*self.notes, *CONVENTIONS))
        yield (
            f"status of all states: {self.worst.value}; largest relative residual {self.largest_residual:.1e}, "
            f"largest claimed error of a local observable {self.largest_error:.1e}"
        )


def solve(data: FigureData, model: Lindbladian, method: Method, *, tol: float) -> Result:
    """Return the steady state by the full loop, certificate included, and take note of its status and residual."""
    result = steady_state(model, method=method, tol=tol, on_failure="return", progress=False)
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt  # half a curve is no figure
    data.record(result.status, result.certificate.residual, result.certificate.error_estimate)
    return result


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    return str(value)


def read_table(path: str | Path) -> dict[str, np.ndarray]:
    """Return the columns of a CSV file written by ``reproduce``; numbers as floats, words as texts."""
    lines = [x for x in Path(path).read_text(encoding="utf-8").splitlines() if not x.startswith("#")]
    head, *rows = list(csv.reader(lines))

    def column(values: list[str]) -> np.ndarray:
        try:
            return np.array([float(v) for v in values])
        except ValueError:
            return np.array(values)

    return {name: column([row[k] for row in rows]) for k, name in enumerate(head)}


@dataclass
class Paper:
    """A publication whose figures can be made again: figure name -> (compute, draw)."""

    name: str
    citation: str
    figures: dict[str, tuple[Callable[[bool], FigureData], Callable[[FigureData], Figure]]] = field(
        default_factory=dict
    )

    def add(
        self, name: str, draw: Callable[[FigureData], Figure]
    ) -> Callable[[Callable[[bool], FigureData]], Callable[[bool], FigureData]]:
        """Decorator: register a function that computes the data of a figure, and the one that draws them."""

        def decorate(compute: Callable[[bool], FigureData]) -> Callable[[bool], FigureData]:
            self.figures[name] = (compute, draw)
            return compute

        return decorate

    def compute(self, figure: str, *, quick: bool = False) -> FigureData:
        """Return the data of one figure; ``quick`` takes only a few points.

        Raises
        ------
        InputError
            For an unknown figure.
        """
        if figure not in self.figures:
            raise InputError(
                f"Paper {self.name!r} has no figure {figure!r}; {did_you_mean(figure, self.figures)}", field="figure"
            )
        return self.figures[figure][0](quick)

    def draw(self, data: FigureData) -> Figure:
        """Return the picture of computed data."""
        with style():
            figure = self.figures[data.name][1](data)
            figure.suptitle(data.title, fontsize=11)
            watermark(figure, data.worst)
        return figure


@dataclass(frozen=True)
class Produced:
    """What ``reproduce`` wrote for one figure."""

    figure: str
    files: tuple[Path, ...]
    seconds: float
    data: FigureData


def reproduce(
    paper: Paper, figures: Iterable[str] | None, out: str | Path, *, quick: bool = False
) -> Iterator[Produced]:
    """Compute, draw and write figures one after the other: ``NAME.png`` and one CSV file per table.

    Raises
    ------
    InputError
        For an unknown figure (before anything is computed) or a directory that cannot be written.
    """
    names = list(paper.figures) if figures is None else list(figures)
    for name in names:
        if name not in paper.figures:
            raise InputError(
                f"Paper {paper.name!r} has no figure {name!r}; {did_you_mean(name, paper.figures)}", field="figure"
            )
    directory = Path(out)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the directory {directory}: {error.strerror}.", field="out") from None
    return _produce(paper, names, directory, quick)


def _produce(paper: Paper, names: list[str], directory: Path, quick: bool) -> Iterator[Produced]:
    for name in names:
        begin = time.perf_counter()
        data = paper.compute(name, quick=quick)
        files = [save_figure(paper.draw(data), directory / f"{name}.png")]
        for table in data.tables:
            target = directory / (f"{name}.csv" if len(data.tables) == 1 else f"{name}_{table}.csv")
            try:
                target.write_text(data.csv(table), encoding="utf-8")
            except OSError as error:
                raise InputError(f"Cannot write {target}: {error.strerror}.", field="out") from None
            files.append(target)
        yield Produced(name, tuple(files), time.perf_counter() - begin, data)
