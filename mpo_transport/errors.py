"""Exceptions and warnings that name the cause and the remedy.

Every error a user can cause derives from :class:`MpoTransportError`.  Those that report a bad argument also derive
from :class:`ValueError`, so that ordinary ``except ValueError`` code keeps working.  The sentence follows one pattern:
*Argument ``rate`` must be ..., but ...; remedy.*
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ClusterError",
    "ConvergenceError",
    "DegenerateSteadyStateError",
    "FileFormatError",
    "InputError",
    "InsufficientMemoryError",
    "MpoTransportError",
    "MpoTransportWarning",
    "NotSupportedError",
    "RunConflictError",
    "SaveError",
    "UnstableError",
    "closest",
    "did_you_mean",
]


class MpoTransportError(Exception):
    """Base of every error raised on purpose by this package."""


class InputError(MpoTransportError, ValueError):
    """A bad argument or specification entry.

    Parameters
    ----------
    message
        The sentence shown to the user.
    field
        Name of the offending argument or dotted specification key, if there is one.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotSupportedError(InputError):
    """A method, form or observable that does not exist for this model; the message gives the reason."""


class UnstableError(InputError):
    """The moments of a quadratic model do not relax: there is no steady state, or not a single one.

    Attributes
    ----------
    growth
        Rate at which the amplitude of the fastest mode grows; 0 for a mode that is merely not damped.
    frequency
        Its angular frequency.
    """

    def __init__(self, message: str, *, field: str | None = None, growth: float = 0.0, frequency: float = 0.0) -> None:
        super().__init__(message, field=field)
        self.growth = growth
        self.frequency = frequency


class InsufficientMemoryError(InputError):
    """The estimate made before starting does not fit this machine; the message quotes both numbers."""


class DegenerateSteadyStateError(MpoTransportError):
    """The steady state is not unique: a single density matrix would be an arbitrary choice.

    Attributes
    ----------
    dimension
        Dimension of the null space of the Lindbladian (number of linearly independent stationary operators).
    result
        The result holding the stationary manifold, or None.
    """

    def __init__(self, message: str, *, dimension: int, result: object | None = None) -> None:
        super().__init__(message)
        self.dimension = dimension
        self.result = result


class ConvergenceError(MpoTransportError):
    """A method stopped without a trustworthy steady state.  The best state reached is kept in ``result``."""

    def __init__(self, message: str, *, result: object | None = None) -> None:
        super().__init__(message)
        self.result = result


class FileFormatError(MpoTransportError, ValueError):
    """A file that cannot be read as a run of this package: truncated, damaged, foreign or too new."""


class RunConflictError(MpoTransportError):
    """A run directory that belongs to a changed specification, or that another process is writing."""


class ClusterError(MpoTransportError):
    """A scheduler that is missing, cannot be reached, or refuses; whatever was computed before is kept."""


class SaveError(MpoTransportError):
    """A finished calculation that could not be written.  It is kept in ``result``; older files are untouched."""

    def __init__(self, message: str, *, result: object | None = None) -> None:
        super().__init__(message)
        self.result = result


class MpoTransportWarning(UserWarning):
    """Base of the warnings issued by this package."""


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most like ``word``, or None when nothing is close.

    >>> closest("max_bnd", ["max_bond", "cutoff"])
    'max_bond'
    """
    known = [str(k) for k in known]
    lowered = {k.lower(): k for k in known}
    match = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.55)
    return lowered[match[0]] if match else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the ending of an error sentence that suggests a known word and lists the choices.

    >>> did_you_mean("Sx", ["X", "Y"])
    "did you mean 'X'? (known: 'X', 'Y'.)"
    >>> did_you_mean("tau", ["X", "Y"])
    "known: 'X', 'Y'."
    """
    known = sorted(map(str, known))
    guess = closest(word, known)
    listing = "known: " + ", ".join(repr(k) for k in known) + "." if known else "none is known."
    return f"did you mean {guess!r}? ({listing})" if guess else listing
