"""States kept next to the main one: what each is compared with, and the state inside an unfinished step.

A companion shows one part of the error as long as it differs from the main state in one parameter alone.  When the
other parameter is refined, the main state as it was is kept as the *reference* of that companion: their difference
goes on showing its part of the error, and in the end is added to the final state.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ...states import MPOState
from ...states.mpo_algebra import linear_combination
from ..base import Iterate
from .progress import PARTS, Progress
from .schedule import previous_bond

__all__ = [
    "REFERENCE",
    "keep_references",
    "matching",
    "put_in",
    "take_out",
    "time_step_is_stale",
    "unpacked",
    "without_references",
]

# Prefix of the names of references; their weight is 0.
REFERENCE = "reference of "
# The state inside a step that is more work than a chunk, as a companion of weight 0, and what was cut so far.
WITHIN = "within a step"
CUT = "discarded weight within a step"


def matching(p: Progress, name: str) -> bool:
    """Whether the companion of a part of the error differs from the main state in its parameter alone."""
    if name not in p.levels or p.main is None:
        return False
    other = p.levels[name]
    if name == "time step":  # its order may be lower, too
        return other.bond == p.main.bond
    # a much smaller bond dimension says little about the error
    same = other.dt == p.main.dt and other.order == p.main.order
    return same and other.bond >= previous_bond(p.main.bond)


def time_step_is_stale(p: Progress) -> bool:
    """Whether the error of the time step is known from states of less than half of the present bond dimension only."""
    return "time step" in p.levels and p.main is not None and 2 * p.levels["time step"].bond < p.main.bond


def keep_references(
    iterate: Iterate, p: Progress, name: str, arrays: dict[str, Any], companions: dict[str, Any]
) -> None:
    """Keep the main state, to be left by a refinement called ``name``, for the companion of the other parameter."""
    arrays.pop(REFERENCE + name, None)
    companions.pop(REFERENCE + name, None)
    for other in PARTS:
        fresh = other != name and other in companions and REFERENCE + other not in arrays
        if fresh and isinstance(iterate.state, MPOState) and matching(p, other):
            arrays[REFERENCE + other] = arrays["profile main"]
            companions[REFERENCE + other] = (iterate.state, 0.0)


def without_references(iterate: Iterate, p: Progress) -> Iterate:
    """Return the iterate with every companion moved by as much as the main state has moved from its reference."""
    companions = dict(iterate.companions)
    for name in PARTS:
        reference = companions.pop(REFERENCE + name, (None, 0.0))[0]
        if name not in companions or p.role == name or not isinstance(reference, MPOState):
            continue
        main, (state, weight) = iterate.state, companions[name]
        assert isinstance(main, MPOState) and isinstance(state, MPOState)
        companions[name] = linear_combination([main, state, reference], [1.0, 1.0, -1.0]), weight
    return dataclasses.replace(iterate, companions=companions)


def put_in(iterate: Iterate, p: Progress, inner: MPOState, cut: np.ndarray | None) -> Iterate:
    """Return the iterate with the state inside an unfinished step; its own state stays that of the last step."""
    companions = {**iterate.companions, WITHIN: (inner, 0.0)}
    arrays = dict(iterate.arrays) if cut is None else {**iterate.arrays, CUT: cut}
    scalars = {"tebd": p.to_json(), "time": p.time}
    return dataclasses.replace(iterate, step=iterate.step + 1, scalars=scalars, arrays=arrays, companions=companions)


def take_out(iterate: Iterate) -> tuple[Iterate, MPOState | None, np.ndarray | None]:
    """Return the iterate without the state inside an unfinished step, that state, and the weights cut so far."""
    if WITHIN not in iterate.companions:
        return iterate, None, None
    companions, arrays = dict(iterate.companions), dict(iterate.arrays)
    inner, cut = companions.pop(WITHIN)[0], arrays.pop(CUT, None)
    assert isinstance(inner, MPOState)
    return dataclasses.replace(iterate, companions=companions, arrays=arrays), inner, cut


def unpacked(state: MPOState) -> tuple[list[np.ndarray], list[int], int]:
    """Return tensors, dimensions and centre, the latter at the left end if the state has none."""
    if state.centre is None:
        state = state.canonicalise(0)
    return list(state.tensors), [t.shape[1] for t in state.tensors], state.centre or 0
