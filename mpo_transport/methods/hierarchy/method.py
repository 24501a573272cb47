"""The method ClosedHierarchy: knobs, support, cost, and the verbs of :class:`~mpo_transport.methods.Method`."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError, NotSupportedError
from ...model import Lindbladian
from ...result import Certificate, Status
from ..base import Diagnostics, Estimate, Iterate, Method, Support, register_method
from .equations import MOST_WORK, SMALL, SingularError, components, moved, stationary
from .initial import initial_values
from .state import HierarchyState
from .work import Work, default_cap, hierarchy_action, search

__all__ = ["ClosedHierarchy"]

_EPS = float(np.finfo(float).eps)
# Rounding error of one step of an evolution, in units of the largest value.
STEP_ROUNDING = 16.0


@register_method
@dataclass(frozen=True)
class ClosedHierarchy(Method):
    """Exact expectation values of any length, where the equations of motion of the observables close.

        d<A>/dt = <L^dag(A)> = sum_B M_AB <B> + s_A

    The adjoint generator turns a product of local operators ("string") into a sum of strings.  Starting from those of
    the usual observables (bond current and profile), all strings that appear are followed.  Where their number stays
    small - L of them for the densities of the symmetric exclusion process, L^2 for its two-point functions and for the
    currents of an XX chain with any baths at its ends and any dephasing - the steady state of these observables is the
    solution of a sparse linear system, and their time evolution a small matrix exponential.  There is no density
    matrix, no truncation and no dependence on the gap but through rounding.  Other observables asked of the state are
    followed when they are asked for.  Interacting chains do not close, which is noticed after some thousand strings.

    Nothing is said about operators outside the closed set: a model may have several steady states that agree in it.

    Parameters
    ----------
    max_strings
        Largest number of strings in one search; None: 200000, fewer on more than 250 sites.

    Raises
    ------
    InputError
        For a knob out of range, naming it.

    References
    ----------
    B. Zunkovic, New J. Phys. 16, 013042 (2014); V. Eisler, J. Stat. Mech. P06007 (2011) for the XX chain with
    dephasing.

    Examples
    --------
    The XX chain with dephasing, I = (f_L - f_R) / [1/G_L + 1/G_R + (G_L + G_R)/(4 t^2) + (L - 1) gamma/(2 t^2)]:

    >>> import mpo_transport as mt
    >>> chain = mt.models.boundary_driven_xx(L=60, t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2, dephasing=0.3)
    >>> result = mt.steady_state(chain, ClosedHierarchy(), tol=1e-10)
    >>> exact = (0.9 - 0.2) / (1 / 0.6 + 1 / 1.4 + 2.0 / 4 + 59 * 0.3 / 2)
    >>> bool(abs(result.expect(mt.observables.current(chain)) - exact).max() < 1e-13)
    True
    """

    name: ClassVar[str] = "ClosedHierarchy"
    tasks: ClassVar[tuple[str, ...]] = ("steady_state", "evolve")

    max_strings: int | None = None

    def __post_init__(self) -> None:
        value = self.max_strings
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if value is not None and not (whole and value >= 1):
            raise InputError(
                f"Argument `max_strings` must be an integer >= 1 or None, but is {value!r}.", field="max_strings"
            )

    def _cap(self, model: Lindbladian) -> int:
        return default_cap(model) if self.max_strings is None else int(self.max_strings)

    # -- before starting ----------------------------------------------------------------------------------------------

    def supports(self, model: Lindbladian, task: str = "steady_state") -> Support:
        if task not in self.tasks:
            return Support(False, f"ClosedHierarchy does steady states and evolutions, not {task!r}.")
        if not model.lattice.is_bounded:
            return Support(
                False, "ClosedHierarchy needs sites of finite dimension; give `levels` a number (for example levels=3)."
            )
        try:
            found = search(model, self._cap(model))
        except NotSupportedError as error:
            return Support(False, str(error))
        if found.closure is None:
            return Support(False, " ".join(found.refused.values()))
        block = found.largest
        if task == "steady_state" and block.shape[0] > SMALL and found.work[1] > MOST_WORK:
            return Support(
                False,
                f"the equations of motion close on {len(found.closure)} strings, too intertwined to be solved.",
            )
        return Support(True, f"the equations of motion close on {len(found.closure)} strings.")

    def estimate(self, model: Lindbladian, tol: float) -> Estimate:
        support = self.supports(model)
        if not support:
            raise NotSupportedError(support.reason, field="method")
        found = search(model, self._cap(model))
        assert found.closure is not None
        entries, products = found.work
        n = len(found.closure)
        memory = 40 * entries + n * (model.L + 80.0) + 40.0 * found.closure.matrix.nnz
        return Estimate(memory, 1e-9 * products + 2e-5 * n, f"{n} strings")

    def prepare(self, model: Lindbladian, *, tol: float, seed: int, task: str = "steady_state") -> Work:
        support = self.supports(model, task)
        if not support:
            raise NotSupportedError(f"Method {self.name} does not support this model: {support.reason}", field="method")
        return Work(model, hierarchy_action(model), search(model, self._cap(model)), self._cap(model), tol, task)

    # -- the verbs ----------------------------------------------------------------------------------------------------

    def start(self, work: Work, initial: Any) -> Iterate:
        if work.task == "steady_state":
            if initial is not None:
                raise InputError(
                    "Argument `initial` is not used by ClosedHierarchy, which solves linear equations; leave it out.",
                    field="initial",
                )
            return Iterate(self._state(work, np.zeros((0, work.model.L)), np.zeros(0)))
        strings = work.closure.strings
        local, values = initial_values(work.model.lattice, initial, work.action, strings)
        return Iterate(self._state(work, strings, values, time=0.0, initial=local), 0, {"time": 0.0})

    def _state(self, work: Work, strings: np.ndarray, values: np.ndarray, **more: Any) -> HierarchyState:
        return HierarchyState(
            work.model.lattice, work.action, strings, values, cap=work.cap, parities=work.parities, **more
        )

    def advance(self, work: Work, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        """Solve M v + s = 0 for the usual observables, in one call."""
        closure, step = work.closure, iterate.step + 1
        blocks = len(components(closure.matrix))
        try:
            found = stationary(closure.matrix, closure.source, closure.magnitude)
        except SingularError as problem:
            facts = {"nullity": problem.nullity, "size": problem.size}
            return Iterate(iterate.state, step, facts), Diagnostics(Status.NOT_UNIQUE, {}, "singular equations")
        state = self._state(work, closure.strings, found.values, error=found.error)
        scalars = {"residual": found.residual, "error": found.error, "blocks": blocks}
        status = Status.CONVERGED if found.error <= work.tol else Status.NOT_CONVERGED
        measures = {"residual": found.residual, "error_estimate": found.error, "strings": float(len(closure))}
        return Iterate(state, step, scalars), Diagnostics(status, measures, f"{len(closure)} strings", 1.0)

    def certify(self, work: Work, iterate: Iterate, status: Status) -> Certificate:
        """Return the residual of the equations of motion, the estimate of rounding errors, and what was left out."""
        numbers_ = iterate.scalars
        notes = [f"left out: {sentence}" for sentence in work.found.refused.values()]
        if status is Status.NOT_UNIQUE:
            nullity = numbers_.get("nullity")
            size = numbers_["size"]
            notes.insert(
                0,
                f"a closed set of {size} strings has conserved combinations: the steady state is not unique, or not "
                "fixed by these operators",
            )
            return Certificate(null_space=None if nullity is None else nullity + 1, notes=tuple(notes))
        state = iterate.state
        assert isinstance(state, HierarchyState)
        if work.task == "evolve":
            error = float(numbers_.get("error", 0.0))
            return Certificate(trace=1.0, error_estimate=error, error_parts={"rounding": error}, notes=tuple(notes))
        notes.insert(
            0,
            f"{len(work.closure)} strings in {numbers_['blocks']} closed sets: nothing is said about operators "
            "outside, nor whether the whole density matrix is unique",
        )
        error = float(numbers_["error"])
        size = float(np.linalg.norm(np.append(state.values, 1.0)))
        return Certificate(
            residual=float(numbers_["residual"]) / size,
            trace=1.0,
            identity_residual=float(numbers_["residual"]),
            error_estimate=error,
            error_parts={"rounding": error},
            notes=tuple(notes),
        )

    # -- time evolution -----------------------------------------------------------------------------------------------

    def propagate(self, work: Work, iterate: Iterate, time: float) -> tuple[Iterate, Diagnostics]:
        """Move all strings known so far to ``time``, or a few thousand products with M towards it."""
        now, state = float(iterate.scalars["time"]), iterate.state
        assert isinstance(state, HierarchyState)
        real = isinstance(time, (numbers.Real, np.generic)) and not isinstance(time, bool)
        if not real or not math.isfinite(time) or time < now:
            raise InputError(f"Argument `time` must be finite and >= {now:g}, but is {time!r}.", field="time")
        closure = work.equations(state.strings)
        gone, values = next(moved(closure.matrix, closure.source, state.values, float(time) - now))
        reached = float(time) if now + gone >= float(time) else now + gone
        norm = float(abs(closure.matrix).sum(axis=1).max(initial=0.0))
        rounding = STEP_ROUNDING * _EPS * (1 + norm * gone) * max(1.0, float(np.abs(values).max(initial=0.0)))
        error = float(iterate.scalars.get("error", 0.0)) + rounding
        if not np.all(np.isfinite(values)):
            raise OverflowError(f"the expectation values overflow before t = {reached:g}")
        following = self._state(work, closure.strings, values, time=reached, initial=state.initial, error=error)
        moved_on = Iterate(following, iterate.step + 1, {"time": reached, "error": error})
        return moved_on, Diagnostics(None, {"time": reached}, f"t = {reached:.6g}", None)
