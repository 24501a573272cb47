"""What a method is: a frozen dataclass of knobs with a few verbs; the loop that calls them lives elsewhere.

A method neither saves, prints, measures nor handles signals.  ``advance`` leaves its input untouched and everything
needed to continue is in the :class:`Iterate`, so that *prepare + stored iterate* restarts bit for bit.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError, NotSupportedError, did_you_mean
from ..model import Lindbladian
from ..result import Certificate, Status
from ..states import State

__all__ = ["METHODS", "Diagnostics", "Estimate", "Iterate", "Method", "Support", "build_method", "register_method"]


@dataclass(frozen=True)
class Support:
    """Answer to "does this method support the model": truth value and the sentence that says why."""

    ok: bool
    reason: str

    def __bool__(self) -> bool:
        return bool(self.ok)


@dataclass(frozen=True)
class Estimate:
    """Cost foreseen before starting: bytes of memory and, where there is a model for it, seconds on one core."""

    memory_bytes: float
    seconds: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Iterate:
    """Everything a method carries from one ``advance`` to the next; exactly what a checkpoint stores.

    ``scalars`` holds JSON-able values only, ``arrays`` plain numpy arrays, ``companions`` coarser states with the
    weight of their difference in the error estimate (see :class:`~mpo_transport.result.Result`).
    """

    state: State
    step: int = 0
    scalars: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    companions: Mapping[str, tuple[State, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnostics:
    """What one ``advance`` has to say.

    ``status`` is None while the method wants to go on; ``measures`` are the numbers recorded in the history;
    ``message`` is one line for the progress display; ``fraction`` a guess of the part done (0..1) or None; ``earlier``
    are the numbers of steps before the last one, if several were made, each with its ``"step"``.
    """

    status: Status | None = None
    measures: Mapping[str, float | None] = field(default_factory=dict)
    message: str = ""
    fraction: float | None = None
    earlier: tuple[Mapping[str, float | None], ...] = ()

    @property
    def done(self) -> bool:
        """Whether the method has finished, well or not."""
        return self.status is not None


class Method(abc.ABC):
    """Base of all methods.  Subclasses are frozen dataclasses whose fields are the knobs.

    ``name`` is the name of the class, as in specification files.  ``tasks`` lists what the method can do:
    ``"steady_state"`` and/or ``"evolve"``.  ``statistical`` methods have sampling errors, so that each further digit
    costs a factor of a hundred.  ``infinite`` methods read a ring as a stretch of the infinite chain: their answer is
    not that of the finite ring, and is not compared with it.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]] = ("steady_state",)
    statistical: ClassVar[bool] = False
    infinite: ClassVar[bool] = False

    @abc.abstractmethod
    def supports(self, model: Lindbladian, task: str = "steady_state") -> Support:
        """Return yes, or no with the reason; the same sentence serves automatic choice and the error text."""

    def unpromising(self, model: Lindbladian) -> str:
        """Return why the automatic choice should pass over this method although it supports the model, or ""."""
        return ""

    @abc.abstractmethod
    def estimate(self, model: Lindbladian, tol: float) -> Estimate:
        """Return the cost foreseen for this model, cheaply."""

    @abc.abstractmethod
    def prepare(self, model: Lindbladian, *, tol: float, seed: int, task: str = "steady_state") -> Any:
        """Return the work object (gates, factorisations); rebuilt on restart, never stored."""

    @abc.abstractmethod
    def start(self, work: Any, initial: Any) -> Iterate:
        """Return the first iterate from a named state, a list of local states, a State, or None (method's choice)."""

    @abc.abstractmethod
    def advance(self, work: Any, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        """Do one consistent piece of work towards the steady state (seconds at most, if it can be divided)."""

    @abc.abstractmethod
    def certify(self, work: Any, iterate: Iterate, status: Status) -> Certificate:
        """Return what this method knows about the final state; checks common to all methods are added by the loop."""

    def manifold(self, work: Any, iterate: Iterate) -> tuple[State, ...]:
        """Return stationary states of a non-unique steady state; empty otherwise."""
        return ()

    def foresee(self, work: Any, times: np.ndarray) -> None:
        """Note the times, shape (T,), that an evolution will be asked for, so that errors can be shared out over them.

        Called after every ``prepare`` of an evolution, also when it is resumed; nothing needs to be done.
        """
        return None

    def propagate(self, work: Any, iterate: Iterate, time: float) -> tuple[Iterate, Diagnostics]:
        """Move ``iterate`` (its time is ``scalars["time"]``) a piece towards ``time``; task ``"evolve"``."""
        raise NotSupportedError(f"Method {self.name} does not evolve in time.", field="method")


METHODS: dict[str, type[Method]] = {}


def register_method(cls: type[Method]) -> type[Method]:
    """Class decorator: make a method known to the specification files, the command line and the shared tests."""
    METHODS[cls.name] = cls
    return cls


def build_method(name: str, knobs: Mapping[str, Any]) -> Method:
    """Return the method ``name`` with the given knobs.

    Raises
    ------
    InputError
        For an unknown method or knob (with the known ones) or a bad value.
    """
    if name not in METHODS:
        raise InputError(f"Unknown method {name!r}; {did_you_mean(name, METHODS)}", field="method.name")
    known = [f.name for f in dataclasses.fields(METHODS[name]) if f.init]  # type: ignore[arg-type]
    for key in knobs:
        if key not in known:
            raise InputError(f"Method {name!r} has no knob {key!r}; {did_you_mean(key, known)}", field=f"method.{key}")
    return METHODS[name](**knobs)
