"""Sets of ladder strings of low degree, closed but for the strings beyond, and what a cutoff does to occupations."""

from __future__ import annotations

import numpy as np

from ...errors import NotSupportedError
from ...model import Lindbladian
from ...operators import op
from ...states import MPOState, State
from ...states.dense import DenseState
from ...superoperator.heisenberg import operator_strings
from ...superoperator.ladder import LadderAction
from .closure import Closure, NotClosedError, close
from .equations import Factors, IntertwinedError, SingularError, factor_work
from .initial import string_expectations
from .remainder import gaussian_covariance, gaussian_remainder, has_modes

__all__ = ["cutoff_effect", "low_closure", "number_strings"]

# Multiplications of a factorisation (seconds), strings followed, and states written out for a check.
WORK, STRINGS, DENSE = 1e10, 40_000, 512


def low_closure(action: LadderAction, seeds: np.ndarray, cap: int) -> Closure:
    """Return the set of strings of low degree that contains the seeds and is closed up to strings beyond the degree."""
    return close(action, seeds, cap, inside=lambda strings: action.degrees(strings) <= action.degree)


def number_strings(model: Lindbladian, action: LadderAction) -> np.ndarray:
    """Return the strings N_j, shape (L, L)."""
    return np.concatenate([operator_strings(model.lattice, op("N", j), action.expand)[0] for j in range(model.L)])


def cutoff_effect(model: Lindbladian, state: State) -> float | None:
    """Return max_j |<N_j> - <N_j>_unbounded|, the largest change of an occupation by the missing levels, in quanta.

    With the equations of motion M v + s + R u = 0 of second moments, u the expectation values at the highest levels,
    the change is v + M^-1 s = -M^-1 R u; u is taken from the Gaussian state of unbounded modes where there is one, else
    from the state.  None where the equations of motion do not close up to the highest levels, or too much would have
    to be solved.

    Examples
    --------
    A damped and pumped mode is thermal, p_n ~ x^n with x = 1/3; four levels hold 18/40 quanta instead of 1/2:

    >>> from mpo_transport import Boson, Chain, Jump
    >>> jumps = [Jump(op("A", 0), rate=1.5), Jump(op("Adag", 0), rate=0.5)]
    >>> model = Lindbladian(Chain(1, Boson(4)), 0.0 * op("N", 0), jumps)
    >>> thermal = DenseState(model.lattice, np.diag([27.0, 9.0, 3.0, 1.0]) / 40)
    >>> round(cutoff_effect(model, thermal), 3)
    0.049
    """
    if not has_modes(model) or model.L**2 > STRINGS:
        return None
    try:
        action = LadderAction(model, 2)
        numbers = number_strings(model, action)
        closure = low_closure(action, numbers, STRINGS)
        if not np.all(touches_the_top(action, closure.beyond)) or factor_work(closure.matrix)[1] > WORK:
            return None
        values = _values(model, action, closure.beyond, state)
        if values is None:
            return None
        change, _ = Factors(closure.matrix).solve(-(closure.remainder @ values))
    except (NotSupportedError, NotClosedError, SingularError, IntertwinedError):
        return None
    places = {name: k for k, name in enumerate(action.hashes(closure.strings).tolist())}
    mine = [places[name] for name in action.hashes(np.asarray(numbers, dtype=action.dtype)).tolist()]
    return float(np.abs(change[mine]).max(initial=0.0))


def touches_the_top(action: LadderAction, strings: np.ndarray) -> np.ndarray:
    """Return which strings contain a matrix unit of the highest level of a site: all others would vanish with it."""
    out = np.zeros(len(strings), dtype=bool)
    for s, here in enumerate(action.alphabets):
        top = np.array([any(unit and max(p, q) == here.d - 1 for _, p, q, unit in word) for word in here.words])
        out |= top[strings[:, s]]
    return out


def _values(model: Lindbladian, action: LadderAction, strings: np.ndarray, state: State) -> np.ndarray | None:
    covariance = gaussian_covariance(model)
    found = None if covariance is None else gaussian_remainder(action, strings, covariance)
    if found is not None:
        return found.options[0][0]
    small = isinstance(state, DenseState) and float(np.prod(model.lattice.dims)) <= DENSE
    if not (small or isinstance(state, MPOState)):
        return None
    return string_expectations(state, strings, [a.matrices for a in action.alphabets])
