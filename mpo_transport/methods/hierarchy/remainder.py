"""What is known of the strings at which an almost closed set ends: levels at the cutoff, and operators of high degree.

Their expectation values <U> come

* from a state, with the error of the state: that which its companions show, or all of <U>;
* or, where the model of unbounded modes is Gaussian and conserves the number, from that state: a missing level changes
  the population of the last one by a part of about p_d/p_(d-1) = n/(1+n).

A state that has cut away its highest levels shows nothing there.  So the first claim is never smaller than thermal
distributions would say, with the occupations that solve the equations of motion of the set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg as sl

from ...errors import NotSupportedError
from ...model import Lindbladian
from ...states import State
from ...superoperator.ladder import LadderAction
from ...superoperator.quadratic import quadratic_form
from .initial import string_expectations
from .thermal import thermal_values

__all__ = ["Remainder", "gaussian_covariance", "gaussian_remainder", "has_modes", "remainder_of_state"]

# Factor of the error that the companions of a state show: they may miss more of a tail than of an expectation value.
SAFETY = 2.0
# Least part of a Gaussian <U> that the cutoff leaves open.
OPEN = 0.25
# A state has resolved the highest levels if it shows this part of what thermal distributions would have there.
RESOLVED = 0.5
# A state with less than this part of the occupation that solves the equations of motion says nothing of higher levels.
EMPTY = 0.5


def has_modes(model: Lindbladian) -> bool:
    """Return whether all sites are truncated bosonic modes."""
    return all(s.kind == "boson" and s.is_bounded and s.has("A") and s.has("N") for s in model.lattice.spaces)


@dataclass(frozen=True, eq=False)
class Remainder:
    """Values of strings and what they leave open, shapes (m,); several of both, of which the smaller claim decides.

    Attributes
    ----------
    options
        Pairs of values and of their errors.
    """

    options: tuple[tuple[np.ndarray, np.ndarray], ...]

    def of(self, r: np.ndarray) -> tuple[float, float]:
        """Return r . <U> and the claim of its error; the errors of strings do not cancel."""
        used = np.flatnonzero(r)
        r = r[used]
        found = [(float(r @ values[used]), float(np.abs(r) @ errors[used])) for values, errors in self.options]
        return min(found, key=lambda option: option[1])


def gaussian_covariance(model: Lindbladian) -> np.ndarray | None:
    """Return C_kl = <a_l^+ a_k> of unbounded modes, None where their state is not Gaussian with a conserved number.

    >>> from mpo_transport.models import boundary_driven_xx
    >>> chain = boundary_driven_xx(2, 1.0, 1.0, 0.3, 1.0, 0.3, levels=4)
    >>> gaussian_covariance(chain).round(12).real.tolist()
    [[0.3, 0.0], [0.0, 0.3]]
    """
    try:
        drift, gain = quadratic_form(model).amplitudes()
    except NotSupportedError:
        return None
    if np.linalg.eigvals(drift).real.max() >= 0:
        return None
    return np.asarray(sl.solve_continuous_lyapunov(drift, -gain))


def gaussian_remainder(action: LadderAction, strings: np.ndarray, covariance: np.ndarray) -> Remainder | None:
    """Return what the Gaussian state of unbounded modes says of strings (m, L); None if it does not of one of them."""
    values = thermal_values(action, strings, covariance)
    if np.any(np.isnan(values)):
        return None
    n = float(np.diag(covariance).real.max(initial=0.0))
    return Remainder(((values, max(OPEN, n / (1 + n)) * np.abs(values)),))


def remainder_of_state(
    action: LadderAction,
    strings: np.ndarray,
    occupations: np.ndarray,
    state: State,
    companions: Sequence[tuple[State, float]] = (),
    charged: bool = False,
) -> Remainder:
    """Return what a state says of strings (m, L).

    Parameters
    ----------
    action
        Whose letters the strings are made of.
    occupations
        <N_j> that solve the equations of motion without the strings, shape (L,).
    state, companions
        The state; coarser ones with the weights of their differences in its error.
    charged
        Whether the state has no coherences between different total numbers.
    """
    matrices = [a.matrices for a in action.alphabets]
    own = string_expectations(state, strings, matrices)
    covariance = state_covariance(state)
    here, there = np.maximum(np.diag(covariance).real, 0.0), np.maximum(occupations, 0.0)
    if np.any(here < EMPTY * there):
        return Remainder(((own, np.full(len(own), math.inf)),))
    np.fill_diagonal(covariance, np.maximum(here, there))
    sizes = np.nan_to_num(np.abs(thermal_values(action, strings, covariance, sizes=not charged)))
    # the state may have too little of the strings, the more the higher their degree, of which two is the least
    short = float(np.max(there / np.where(here > 0, here, 1.0), initial=1.0, where=here > 0)) ** 2
    options = [(own, short * np.maximum(np.abs(own), sizes))]
    if companions and np.abs(own).sum() >= RESOLVED * sizes.sum():
        moved = sum((w * np.abs(own - string_expectations(s, strings, matrices)) for s, w in companions), 0 * own)
        options.append((own, SAFETY * moved))
    return Remainder(tuple(options))


def state_covariance(state: State) -> np.ndarray:
    """Return C_kl = <a_l^+ a_k> in a state."""
    L = state.lattice.L
    rows, columns = np.triu_indices(L)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    keys = [(("Adag", k), ("A", m)) if k != m else (("N", k),) for k, m in pairs]
    out = np.zeros((L, L), dtype=complex)
    out[rows, columns] = np.conj(state.expect_products(keys))
    return out + np.triu(out, 1).conj().T
