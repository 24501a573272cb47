"""Warm starts: a point that begins with the state of its finished neighbour.

A warm start saves steps and must not change the answer: it is used only for methods that find the steady state from
any start, for models without strong symmetries, and only if the run ends converged; otherwise the point starts cold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, did_you_mean
from ..methods import Method
from ..model import Lindbladian
from ..result import Status
from ..spec import RunSpec
from ..states import MPOState
from ..states.base import check_initial
from ..storage import model_digest
from .axes import Axis, place_of

if TYPE_CHECKING:
    from ..result import Evolution, Result

__all__ = ["METHODS_WITH_WARM_START", "check_along", "start_from", "unusable"]

METHODS_WITH_WARM_START = ("TEBD", "ImplicitSweeps")
CHANGES_LATTICE = ("model.L", "model.name", "model.lattice", "model.periodic", "model.levels", "model.spaces")
GOOD_ENOUGH = (Status.CONVERGED, Status.NOT_CONVERGED, Status.STALLED_BY_TRUNCATION)


def check_along(key: str, axes: Sequence[Axis], base: RunSpec) -> None:
    """Refuse a key along which no warm start is possible.

    Raises
    ------
    InputError
        If the key is not varied (field ``warm_start.along``), changes the lattice, or the run does not search a steady
        state from a free start with a method that can use one.
    """
    field = "warm_start.along"
    varied = {place_of(k): k for axis in axes for k in axis.columns}
    place = place_of(key)
    if place not in varied:
        raise InputError(f"Entry `{field}` = {key!r} is not an axis; {did_you_mean(key, varied.values())}", field=field)
    together = next(axis for axis in axes if place in {place_of(k) for k in axis.columns})
    for column in together.columns:
        other = place_of(column)
        if any(other == fixed or other.startswith(fixed + ".") for fixed in CHANGES_LATTICE):
            raise InputError(
                f"Entry `{field}` = {key!r}: neighbours along `{column}` live on different lattices, and the state of "
                "one is no density matrix of the other. Choose a key that keeps the lattice.",
                field=field,
            )
        if column in together.ensembles:
            raise InputError(
                f"Entry `{field}` = {key!r}: realisations of disorder are no neighbours; choose another axis.",
                field=field,
            )
    if base.task != "steady_state" or base.initial is not None or "solve.initial" in varied or "solve.task" in varied:
        raise InputError(
            f'Entry `{field}` needs task = "steady_state" without an entry `solve.initial`: a given initial state is '
            "part of the question.",
            field=field,
        )
    name = base.method.get("name")
    if name is not None and "method.name" not in varied and name not in METHODS_WITH_WARM_START:
        raise InputError(
            f"Entry `{field}`: {name} does not profit from a start near the answer, or its answer depends on it. Warm "
            f"starts are for {' and '.join(METHODS_WITH_WARM_START)}.",
            field=field,
        )


def unusable(neighbour: Result | Evolution, model: Lindbladian, method: Method) -> str:
    """Return why the state of a neighbour cannot start this run; an empty text if it can."""
    if method.name not in METHODS_WITH_WARM_START:
        return f"{method.name} does not use a start near the answer"
    if neighbour.status not in GOOD_ENOUGH:
        return f"the neighbour ended as {neighbour.status.value}"
    if any(s.strength == "strong" for s in model.conserved):
        return "the model has strong symmetries, so the start selects the answer"
    if not isinstance(neighbour.state, MPOState):
        return f"the neighbour is a {type(neighbour.state).__name__}, not a matrix product"
    try:
        check_initial(model.lattice, neighbour.state)
    except InputError as error:
        return str(error)
    return ""


def start_from(neighbour: Result | Evolution, model: Lindbladian) -> MPOState:
    """Return the start for a model: the state of a neighbour, on the lattice of the model.

    For another model its bonds are cut to half of the largest one.  What is cut is below the difference between the
    models, and a method that begins at the full bond dimension of its neighbour would double it to judge its error,
    again and again along a chain of points.
    """
    state = neighbour.state
    assert isinstance(state, MPOState)
    arrays = {name: np.asarray(array) for name, array in state.arrays().items()}
    moved = MPOState.from_arrays(model.lattice, arrays, state.attributes())
    if model_digest(neighbour.model) == model_digest(model):
        return moved
    return moved.compress(max(1, max(moved.bond_dimensions, default=1) // 2))[0]
