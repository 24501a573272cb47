"""Results that say how far they can be trusted: status, certificate, history, cost."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .errors import InputError
from .model import Lindbladian
from .operators import OpSum

if TYPE_CHECKING:
    from .states import State

__all__ = ["Certificate", "Cost", "Evolution", "History", "Measurement", "Result", "Status"]


class Status(enum.StrEnum):
    """How a calculation ended.  Each status carries its meaning and what to do about it."""

    CONVERGED = "converged"
    NOT_CONVERGED = "not_converged"
    STALLED_BY_TRUNCATION = "stalled_by_truncation"
    UNPHYSICAL = "unphysical"
    INTERRUPTED = "interrupted"
    NOT_FINITE = "not_finite"
    NOT_UNIQUE = "not_unique"

    @property
    def explanation(self) -> str:
        """Cause and remedy in one or two sentences."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    Status.CONVERGED: "The error estimate is within the tolerance asked for.",
    Status.NOT_CONVERGED: (
        "The method used up its steps before the error estimate reached the tolerance. "
        "Allow more steps (a saved run goes on with `resume(path, method=...)`) or loosen `tol`."
    ),
    Status.STALLED_BY_TRUNCATION: (
        "The bond dimension reached `max_bond` and truncation, not time, limits the accuracy. "
        "Raise `max_bond` or loosen `tol`."
    ),
    Status.UNPHYSICAL: (
        "A reduced density matrix has an eigenvalue well below zero, or the trace drifted. "
        "Raise `max_bond`, shorten `dt`, or start from another state."
    ),
    Status.INTERRUPTED: "The run was stopped by a signal; what had been reached is saved. Resume it.",
    Status.NOT_FINITE: "Numbers overflowed. Shorten `dt` or check the rates of the model.",
    Status.NOT_UNIQUE: (
        "The steady state is not unique, so no single density matrix is the answer. "
        "Give `initial` to select the one that is reached, break the symmetry, or read the stationary manifold."
    ),
}


@dataclass(frozen=True)
class Certificate:
    """What was checked about a state.  None means: not available for this method, never: not looked at.

    Attributes
    ----------
    residual
        ||L rho||_2 / ||rho||_2 with the exact generator (unit: rate); for methods that solve for moments, the residual
        of their equations relative to the noise (a note says so).
    trace, hermiticity
        Tr rho before renormalisation; largest deviation from Hermiticity.
    smallest_eigenvalue
        Smallest eigenvalue of all one-site and neighbouring two-site reduced density matrices.
    discarded_weight
        Largest relative weight discarded in one bond update of the last sweep.
    bond_dimension, saturated
        Largest bond dimension, and whether it equals the allowed maximum while weight is being discarded.
    top_population
        Largest population of the highest bosonic level kept (cutoff check).
    cutoff_error
        Largest change of an occupation <N_j> by the missing levels, where the equations of motion of second moments
        close but for the highest levels (quadratic bosons, dephasing).  The other numbers refer to the model with its
        levels; this one is how far that is from unbounded modes.
    current_uniformity
        Largest difference of the conserved bond current between bonds, where a continuity law applies.
    identity_residual
        Largest violation |d<N_j>/dt| of the exact local equation of motion in the supposed steady state (unit: rate).
    error_estimate, error_parts
        Estimated absolute error of local observables in units of the operator norm, and its parts by cause.
    null_space
        Dimension of the space of stationary operators, where it was determined.
    notes
        Further remarks for the reader.
    """

    residual: float | None = None
    trace: float | None = None
    hermiticity: float | None = None
    smallest_eigenvalue: float | None = None
    discarded_weight: float | None = None
    bond_dimension: int | None = None
    saturated: bool | None = None
    top_population: float | None = None
    cutoff_error: float | None = None
    current_uniformity: float | None = None
    identity_residual: float | None = None
    error_estimate: float | None = None
    error_parts: Mapping[str, float] = field(default_factory=dict)
    null_space: int | None = None
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the certificate as aligned lines of text, leaving out what is not available."""
        rows: list[tuple[str, str]] = []
        for name, label in _CERTIFICATE_LABELS.items():
            value = getattr(self, name)
            if value is not None:
                rows.append((label, _format(value)))
        if self.error_parts:
            rows.append(("error by cause", ", ".join(f"{k} {v:.1e}" for k, v in self.error_parts.items())))
        width = max((len(r[0]) for r in rows), default=0)
        return [f"{label:<{width}} : {text}" for label, text in rows] + [f"note: {n}" for n in self.notes]

    def __str__(self) -> str:
        return "\n".join(self.lines())


_CERTIFICATE_LABELS = {
    "error_estimate": "error estimate",
    "residual": "residual |L rho|/|rho|",
    "trace": "trace before renormalisation",
    "hermiticity": "Hermiticity defect",
    "smallest_eigenvalue": "smallest eigenvalue (1, 2 sites)",
    "discarded_weight": "discarded weight",
    "bond_dimension": "bond dimension",
    "saturated": "bond dimension saturated",
    "top_population": "population of the top level",
    "cutoff_error": "change of <N> by the cutoff",
    "current_uniformity": "current uniformity",
    "identity_residual": "equation-of-motion residual",
    "null_space": "stationary operators",
}


def _format(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return str(value)
    if abs(value - 1) < 1e-3 and value != 1:
        return f"1 {value - 1:+.1e}"
    return f"{value:.3g}"


@dataclass(frozen=True)
class Cost:
    """What it took: wall and CPU seconds of the whole calculation (over all restarts), steps, and a peak memory."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    steps: int = 0
    peak_bytes: int | None = None


class History:
    """Named number series, one entry per recorded step; a series may skip steps (NaN)."""

    def __init__(self, series: Mapping[str, Any] | None = None) -> None:
        self._series: dict[str, list[float]] = {k: [float(x) for x in v] for k, v in (series or {}).items()}

    def append(self, measures: Mapping[str, float | None]) -> None:
        """Add one record; series that are missing get NaN."""
        n = len(self)
        for name in measures:
            self._series.setdefault(name, [math.nan] * n)
        for name, values in self._series.items():
            value = measures.get(name)
            values.append(math.nan if value is None else float(value))

    def __len__(self) -> int:
        return max((len(v) for v in self._series.values()), default=0)

    def __getitem__(self, name: str) -> np.ndarray:
        return np.array(self._series[name])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the recorded series."""
        return tuple(self._series)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all series as arrays, shape (records,)."""
        return {k: np.array(v) for k, v in self._series.items()}


class Measurable(Protocol):
    """Anything that can be evaluated on a state."""

    @property
    def name(self) -> str:
        """Name under which the value is stored."""
        ...

    def evaluate(self, state: State) -> Any:
        """Return the value on a state."""
        ...


@dataclass(frozen=True)
class Measurement:
    """The value of one observable, with what is needed to label an axis (fields as in ``observables.Observable``).

    ``values`` is a number or an array, shape (len(labels),), with a leading time axis in an :class:`Evolution`;
    ``error`` estimates its absolute error, entry by entry, and is NaN or None where no estimate exists.
    """

    name: str
    values: Any
    error: Any = None
    dimension: str = ""
    labels: tuple[Any, ...] = ()
    unit: str = ""
    description: str = ""


@dataclass
class Evolution:
    """Observables along a time evolution, and the last state.

    Attributes
    ----------
    times
        The times reached, shape (T,), unit 1/energy (hbar = 1); all that were asked for unless interrupted.
    observables
        Name -> :class:`Measurement` whose ``values`` have a leading axis of length T.
    state, certificate
        The density matrix at the last time reached, and what was checked about it.
    model, method, status, history, cost, reason, tol, seed, provenance
        As in :class:`Result`.
    pending
        What :func:`~mpo_transport.solve.resume` needs to go on; None for a finished run.
    """

    model: Lindbladian
    method: Any
    status: Status
    state: State
    times: np.ndarray
    tol: float
    certificate: Certificate = field(default_factory=Certificate)
    observables: dict[str, Measurement] = field(default_factory=dict)
    history: History = field(default_factory=History)
    cost: Cost = field(default_factory=Cost)
    reason: str = ""
    seed: int | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    pending: Any = field(default=None, repr=False)

    @property
    def converged(self) -> bool:
        """Whether the status is ``converged``: every time was reached within the tolerance."""
        return self.status is Status.CONVERGED

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Observable values by name, each of shape (T, ...)."""
        return {name: measurement.values for name, measurement in self.observables.items()}

    def save(self, path: Any) -> Any:
        """Write the evolution to an HDF5 file; returns the path."""
        return _write(self, path)


@dataclass
class Result:
    """A steady state and everything known about it.

    Attributes
    ----------
    model, method
        What was solved and how (a frozen method object with its knobs); ``reason`` says why it was chosen.
    status, certificate
        How it ended, and what was checked.
    state
        The density matrix.
    companions
        Coarser states of the same calculation (larger time step, smaller bond dimension), from which errors of
        observables are estimated: name -> (state, weight); the error part is weight x |difference|.
    manifold
        For a non-unique steady state: stationary density matrices, one per extreme or symmetry sector found.
    history, cost, tol, seed
        How it went.
    observables
        Name -> :class:`Measurement`, for the observables asked for with the run.
    pending
        What :func:`~mpo_transport.solve.resume` needs to go on; None for a finished run.
    """

    model: Lindbladian
    method: Any
    status: Status
    state: State
    certificate: Certificate
    tol: float
    history: History = field(default_factory=History)
    cost: Cost = field(default_factory=Cost)
    reason: str = ""
    seed: int | None = None
    companions: dict[str, tuple[State, float]] = field(default_factory=dict)
    manifold: tuple[State, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    observables: dict[str, Measurement] = field(default_factory=dict)
    pending: Any = field(default=None, repr=False)

    @property
    def converged(self) -> bool:
        """Whether the status is ``converged``."""
        return self.status is Status.CONVERGED

    def expect(self, observable: Measurable | OpSum, *, error: bool = False, corrected: bool = False) -> Any:
        """Return the value of an observable, real where the operators are Hermitian.

        Parameters
        ----------
        observable
            From :mod:`mpo_transport.observables`, or an :class:`~mpo_transport.OpSum` (then one number).
        error
            Also return an estimate of the absolute error: the tuple (value, error).  Where no estimate exists the
            error is NaN.
        corrected
            Solve the adjoint problem and return value, corrected value and its error together, a
            :class:`~mpo_transport.Corrected`: :func:`mpo_transport.corrected` with its defaults.

        Raises
        ------
        InputError, NotSupportedError
            See :func:`mpo_transport.corrected`.

        Examples
        --------
        >>> import mpo_transport as mt
        >>> chain = mt.models.boundary_driven_xx(L=3, t=1.0, G_L=1.0, f_L=0.9, G_R=1.0, f_R=0.1)
        >>> result = mt.steady_state(chain, mt.ExactDiag())
        >>> value, error = result.expect(mt.observables.current(chain), error=True)
        >>> full = result.expect(mt.observables.current(chain), corrected=True)
        >>> bool(abs(full.corrected - 0.32).max() < 1e-12), bool((full.value == value).all()), full.converged
        (True, True, True)
        """
        if corrected:
            if _corrector is None:
                raise RuntimeError(
                    "adjoint problems are not available: import mpo_transport, not its result room alone"
                )
            return _corrector(self, observable)
        value = self._evaluate(observable, self.state)
        if not error:
            return value
        return value, self._error(observable, value)

    def _evaluate(self, observable: Measurable | OpSum, state: State) -> Any:
        if isinstance(observable, OpSum):
            number = state.expect(observable)
            return number.real if observable == observable.dag else number
        if not hasattr(observable, "evaluate"):
            raise InputError(
                "Argument `observable` must come from mpo_transport.observables or be an OpSum, but is "
                f"{type(observable).__name__}.",
                field="observable",
            )
        return observable.evaluate(state)

    def _error(self, observable: Measurable | OpSum, value: Any) -> Any:
        operators = (observable,) if isinstance(observable, OpSum) else getattr(observable, "operators", None)
        standard_error = getattr(self.state, "standard_error", None)
        if standard_error is not None:  # a sampled state knows its statistics: two sigma
            if operators is None:
                jackknife = getattr(self.state, "jackknife_error")  # noqa: B009
                return np.asarray(2 * jackknife(lambda state: self._evaluate(observable, state)))[()]
            return np.reshape(2 * standard_error(operators), np.shape(value))[()]
        scale, estimate = float(getattr(observable, "norm", 1.0)), self.certificate.error_estimate
        if estimate is None:  # companions of a run that ended early know some causes of error only
            return np.full(np.shape(value), math.nan)[()]
        if not self.companions:
            return np.full(np.shape(value), estimate * scale)[()]
        total = np.zeros(np.shape(value))
        for state, weight in self.companions.values():
            difference = np.abs(np.asarray(value) - np.asarray(self._evaluate(observable, state)))
            # an accidentally small difference says nothing about the error of its entry: use the typical one as a floor
            typical = np.sqrt(np.mean(difference**2)) if difference.size else 0.0
            total = total + weight * np.maximum(difference, typical)
        return total[()]

    def save(self, path: Any) -> Any:
        """Write the result to an HDF5 file (see the storage page of the documentation); returns the path."""
        return _write(self, path)

    def __str__(self) -> str:
        head = f"{self.model!r}\nmethod : {self.method!r}"
        if self.reason:
            head += f"\n         chosen because {self.reason}"
        body = [
            head,
            f"status : {self.status.value} (tol {self.tol:g}). {self.status.explanation}",
            *(f"  {line}" for line in self.certificate.lines()),
            f"cost   : {self.cost.steps} steps, {self.cost.cpu_seconds:.1f} CPU s, {self.cost.wall_seconds:.1f} s"
            + (f", peak memory {self.cost.peak_bytes / 2**20:.0f} MiB" if self.cost.peak_bytes else ""),
        ]
        return "\n".join(body)


_writer: Callable[[Any, Any], Any] | None = None


def register_writer(function: Callable[[Any, Any], Any]) -> None:
    """Let the storage room provide :meth:`Result.save` without this room knowing it."""
    global _writer
    _writer = function


_corrector: Callable[[Any, Any], Any] | None = None


def register_corrector(function: Callable[[Any, Any], Any]) -> None:
    """Let the room of adjoint problems provide ``expect(..., corrected=True)`` without this room knowing it."""
    global _corrector
    _corrector = function


def _write(outcome: Result | Evolution, path: Any) -> Any:
    if _writer is None:
        raise RuntimeError("storage is not available: import mpo_transport, not mpo_transport.result alone")
    return _writer(outcome, path)
