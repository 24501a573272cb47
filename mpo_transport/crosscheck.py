"""One model, every method that can solve it, side by side: values, claimed errors and differences."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import (
    ConvergenceError,
    DegenerateSteadyStateError,
    InputError,
    InsufficientMemoryError,
    NotSupportedError,
    did_you_mean,
)
from .methods import METHODS, Method
from .model import Lindbladian, checked_model
from .observables.defaults import default_observables
from .result import Measurable, Status
from .solve import steady_state

__all__ = ["CrossCheck", "CrossCheckRow", "crosscheck", "default_observables"]

_ROUNDING = 1e-10  # differences below this are rounding, whatever the methods claim
# Methods whose error falls only with the square root of the samples: a tight tolerance would take them days.
_STATISTICAL_TOL = 0.05
_SIGMAS = 2.0  # two claimed errors (four standard errors) before a statistical method counts as contradicting


@dataclass(frozen=True)
class CrossCheckRow:
    """What one method says.

    Attributes
    ----------
    label
        The method with the knobs that differ from their defaults.
    status
        ``Status`` value of the run, ``"not supported"`` or ``"not affordable"``.
    reason
        Why it did not run, or a remark.
    values, errors
        Observable name -> value and claimed absolute error (NaN where the method claims none).
    differences
        Observable name -> largest absolute difference from the reference method.
    seconds
        CPU time.
    statistical
        Whether the claimed errors are two standard errors of a sample: of many values some lie outside.
    """

    label: str
    status: str
    reason: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, Any] = field(default_factory=dict)
    differences: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    statistical: bool = False

    @property
    def ran(self) -> bool:
        """Whether there are values."""
        return bool(self.values)

    def claimed(self, name: str) -> float:
        """Return the largest claimed error of an observable; NaN if the method claims none."""
        errors = np.atleast_1d(np.asarray(self.errors.get(name, math.nan), dtype=float))
        return float(errors.max()) if np.all(np.isfinite(errors)) else math.nan


@dataclass(frozen=True)
class CrossCheck:
    """The table of a cross-check; ``rows`` in the order of the methods, differences relative to ``reference``."""

    model: Lindbladian
    rows: tuple[CrossCheckRow, ...]
    reference: str
    tol: float

    @property
    def observables(self) -> tuple[str, ...]:
        """Names of the observables compared."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.values))

    def agreement(self, row: CrossCheckRow) -> bool | None:
        """Whether a row agrees with the reference within both claimed errors; None where no error is claimed."""
        base = next((r for r in self.rows if r.label == self.reference), None)
        if base is None or not row.ran or row.label == self.reference:
            return None
        verdicts = []
        for name, difference in row.differences.items():
            allowed = sum((_SIGMAS if r.statistical else 1) * np.nan_to_num(r.claimed(name)) for r in (row, base))
            if math.isnan(row.claimed(name)):
                return None
            verdicts.append(difference <= allowed + _ROUNDING)
        return all(verdicts)

    @property
    def consistent(self) -> bool:
        """Whether no converged method contradicts the reference beyond the errors both claim."""
        return all(self.agreement(row) is not False for row in self.rows if row.status == Status.CONVERGED.value)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the head and the rows of the printed table."""
        head = ["method", "status", "CPU s"]
        for name in self.observables:
            head += [f"max |{name}|", "claimed error", "difference"]
        head.append("agrees")
        lines = []
        for row in self.rows:
            cells = [row.label, row.status, f"{row.seconds:.2f}" if row.ran else ""]
            for name in self.observables:
                if not row.ran:
                    cells += ["", "", ""]
                    continue
                size = float(np.abs(np.asarray(row.values[name])).max(initial=0.0))
                claimed = row.claimed(name)
                cells += [
                    f"{size:.8g}",
                    "none" if math.isnan(claimed) else f"{claimed:.1e}",
                    "reference" if row.label == self.reference else f"{row.differences[name]:.1e}",
                ]
            verdict = self.agreement(row)
            cells.append("" if verdict is None else "yes" if verdict else "NO")
            lines.append(cells)
        return head, lines

    def notes(self) -> list[str]:
        """Return one line per method that has something to explain."""
        return [f"{row.label}: {row.reason}" for row in self.rows if row.reason]

    def __str__(self) -> str:
        head, lines = self.table()
        widths = [max(len(r[k]) for r in [head, *lines]) for k in range(len(head))]
        text = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in [head, *lines]]
        return "\n".join([repr(self.model), *text, *self.notes()])

    def csv(self) -> str:
        """Return all values as CSV: one line per method, observable and entry."""
        out = [f"# cross-check of {self.model!r}; reference: {self.reference}; tol {self.tol:g}"]
        out.append("method,status,observable,entry,value_re,value_im,claimed_error")
        for row in self.rows:
            for name, value in row.values.items():
                values = np.atleast_1d(np.asarray(value)).ravel()
                errors = np.broadcast_to(np.asarray(row.errors[name], dtype=float).ravel(), values.shape)
                out += [
                    f'"{row.label}",{row.status},"{name}",{k},{float(np.real(v))!r},{float(np.imag(v))!r},{float(e)!r}'
                    for k, (v, e) in enumerate(zip(values, errors, strict=True))
                ]
        return "\n".join(out) + "\n"


def crosscheck(
    model: Lindbladian,
    methods: Iterable[Method | str] | None = None,
    observables: Sequence[Measurable] | Mapping[str, Measurable] | None = None,
    tol: float = 1e-6,
    *,
    seed: int | None = None,
    insist: bool | None = None,
) -> CrossCheck:
    """Return a table of every method that supports the model, and their differences.

    Parameters
    ----------
    model
        The Lindbladian.
    methods
        Method objects or names; None: every method known, with default knobs.  Those that do not support the model, or
        do not fit this machine, are listed with the reason.
    observables
        What is compared; None: the default current and the profile that suits the sites.
    tol
        Tolerance given to every method; methods that sample are given at least 0.05.
    insist
        Run also methods that support the model but see no prospect of solving it; None: if ``methods`` are given.

    Raises
    ------
    InputError
        For an unknown method, for methods of the infinite chain beside others, or if no method could run.

    Notes
    -----
    The reference is exact diagonalisation where it ran, else the method that claims the smallest error.  Mean field
    claims no error: its difference is information, not a contradiction.

    Examples
    --------
    >>> from mpo_transport.models import persistent_current
    >>> table = crosscheck(persistent_current(4, 2.0, 1.0, periodic=False), methods=["ExactDiag"])
    >>> table.reference, table.consistent
    ('ExactDiag()', True)
    """
    checked_model(model)
    chosen = [_method(m) for m in (_defaults() if methods is None else methods)]
    if len({m.infinite for m in chosen}) > 1:
        raise InputError(
            "Argument `methods` mixes methods for the infinite chain with methods for the finite ring, whose answers "
            "differ; compare each kind for itself.",
            field="methods",
        )
    named = _named(default_observables(model) if observables is None else observables)
    rows = [_row(model, m, named, tol, seed, insist=methods is not None if insist is None else insist) for m in chosen]
    base = _reference(rows)
    if base is None:
        reasons = "; ".join(f"{r.label}: {r.reason or r.status}" for r in rows)
        raise InputError(f"No method could solve this model. {reasons}", field="methods")
    compared = tuple(_with_differences(row, base) for row in rows)
    return CrossCheck(model, compared, base.label, tol)


def _defaults() -> list[Method]:
    return [cls() for cls in METHODS.values() if not cls.infinite]


def _method(method: Method | str) -> Method:
    if isinstance(method, Method):
        return method
    known = {cls.__name__: cls for cls in METHODS.values()}
    if not isinstance(method, str) or method not in known:
        raise InputError(f"Unknown method {method!r}; {did_you_mean(str(method), known)}", field="methods")
    return known[method]()


def _named(observables: Sequence[Measurable] | Mapping[str, Measurable]) -> dict[str, Measurable]:
    if isinstance(observables, Mapping):
        pairs = list(observables.items())
    else:
        pairs = [(getattr(o, "name", ""), o) for o in observables]
    for name, observable in pairs:
        if not hasattr(observable, "evaluate"):
            raise InputError(
                f"Argument `observables` must hold observables, but one ({name or observable!r}) is a "
                f"{type(observable).__name__}.",
                field="observables",
            )
    return dict(pairs)


def _row(
    model: Lindbladian,
    method: Method,
    observables: Mapping[str, Measurable],
    tol: float,
    seed: int | None,
    *,
    insist: bool,
) -> CrossCheckRow:
    label = _label(method)
    sampled = method.statistical and tol < _STATISTICAL_TOL
    tol = _STATISTICAL_TOL if sampled else tol
    hopeless = method.unpromising(model) if not insist and method.supports(model) else ""
    if hopeless:
        return CrossCheckRow(label, "not supported", hopeless)
    begin = time.process_time()
    try:
        result = steady_state(model, method=method, tol=tol, seed=seed, on_failure="return", progress=False)
    except InsufficientMemoryError as error:
        return CrossCheckRow(label, "not affordable", str(error))
    except NotSupportedError as error:
        return CrossCheckRow(label, "not supported", str(error))
    except (ConvergenceError, DegenerateSteadyStateError) as error:
        return CrossCheckRow(label, Status.NOT_CONVERGED.value, str(error))
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt  # the caller asked to stop; a table with half a method compares nothing
    seconds = time.process_time() - begin
    values, errors = {}, {}
    remarks = [f"statistical, sampled to tol {tol:g} only."] if sampled else []
    for name, observable in observables.items():
        try:
            values[name], errors[name] = result.expect(observable, error=True)
        except NotSupportedError as error:
            remarks.append(f"{name}: {error}")
    if result.status is not Status.CONVERGED:
        remarks.append(result.status.explanation)
    remarks += result.certificate.notes
    return CrossCheckRow(label, result.status.value, " ".join(remarks), values, errors, {}, seconds, method.statistical)


def _label(method: Method) -> str:
    """Class name and the knobs that are not at their default."""
    knobs = []
    for f in dataclasses.fields(method):  # type: ignore[arg-type]
        value = getattr(method, f.name)
        if f.init and value != f.default:
            knobs.append(f"{f.name}={value!r}")
    return f"{type(method).__name__}({', '.join(knobs)})"


def _reference(rows: Sequence[CrossCheckRow]) -> CrossCheckRow | None:
    usable = [r for r in rows if r.ran and r.status == Status.CONVERGED.value] or [r for r in rows if r.ran]
    if not usable:
        return None
    exact = [r for r in usable if r.label.startswith("ExactDiag")]

    def claim(row: CrossCheckRow) -> float:
        worst = max(row.claimed(name) for name in row.values)
        return math.inf if math.isnan(worst) else worst

    return exact[0] if exact else min(usable, key=claim)


def _with_differences(row: CrossCheckRow, base: CrossCheckRow) -> CrossCheckRow:
    differences = {
        name: float(np.abs(np.asarray(value) - np.asarray(base.values[name])).max(initial=0.0))
        for name, value in row.values.items()
        if name in base.values
    }
    return dataclasses.replace(row, differences=differences)
