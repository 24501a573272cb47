"""Quadratic models solved through their first and second moments, exactly, for thousands of modes."""

from __future__ import annotations

import math
import numbers
import weakref
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError, NotSupportedError
from ...model import Lindbladian
from ...result import Certificate, Status
from ...states import GaussianState, State
from ...states.base import check_same_spaces
from ...superoperator.quadratic import QuadraticForm, quadratic_form
from ..base import Diagnostics, Estimate, Iterate, Method, Support, register_method
from .report import certificate_of, status_of
from .work import Work

__all__ = ["Gaussian"]

_SOLVERS = ("auto", "dense", "number", "ring")
_FORMS: weakref.WeakKeyDictionary[Lindbladian, QuadraticForm] = weakref.WeakKeyDictionary()


@register_method
@dataclass(frozen=True)
class Gaussian(Method):
    """Steady states and time evolution of quadratic models: the closed equations of means and covariance.

        d<R>/dt = X <R> + d,      d sigma/dt = X sigma + sigma X^T + D

    for bosonic modes with an at most quadratic Hamiltonian and at most linear jumps, and for spin chains that are
    quadratic in Jordan-Wigner fermions; see :mod:`mpo_transport.superoperator.quadratic`.

    Parameters
    ----------
    solver
        ``"dense"``: the real 2L x 2L equations.  ``"number"``: the complex L x L equation of <a_i^+ a_j> where the
        number is conserved by H and every jump lowers or raises.  ``"ring"``: one small block per wave number of a
        ring of equal cells, cost linear in L.  ``"auto"``: the cheapest that applies.
    ignore_cutoff
        Whether truncated modes are treated as unbounded ones (a note in the certificate says so).
    rtol
        Relative residual |X sigma + sigma X^T + D|_F / |D|_F down to which the solution is refined.

    Raises
    ------
    UnstableError
        From ``steady_state``: a mode grows, or is not damped; the message names it.

    Notes
    -----
    The drift is tested before anything else: a Lyapunov equation has a meaningless solution for an unstable drift.

    Initial states of an evolution are "vacuum", "up", "down", "mixed" (spins), a list with one entry per site, or a
    :class:`~mpo_transport.states.GaussianState`; see :meth:`GaussianState.product`.  A number state n > 0 of a mode is
    not Gaussian and is refused; ``("thermal", n)`` is the thermal state of that mean occupation.

    Examples
    --------
    >>> from mpo_transport import models, observables, steady_state
    >>> chain = models.boundary_driven_xx(40, 1.0, G_L=0.6, f_L=2.0, G_R=1.4, f_R=0.5, levels=math.inf)
    >>> result = steady_state(chain, Gaussian())
    >>> float(result.expect(observables.current(chain))[7].round(6))
    0.520661
    """

    name: ClassVar[str] = "Gaussian"
    tasks: ClassVar[tuple[str, ...]] = ("steady_state", "evolve")

    solver: str = "auto"
    ignore_cutoff: bool = False
    rtol: float = 1e-12

    def __post_init__(self) -> None:
        if self.solver not in _SOLVERS:
            raise InputError(f"Argument `solver` must be one of {_SOLVERS}, but is {self.solver!r}.", field="solver")
        if not isinstance(self.ignore_cutoff, (bool, np.bool_)):
            raise InputError(
                f"Argument `ignore_cutoff` must be True or False, but is {self.ignore_cutoff!r}.", field="ignore_cutoff"
            )
        real = isinstance(self.rtol, (numbers.Real, np.generic)) and not isinstance(self.rtol, bool)
        if not real or not 1e-15 <= self.rtol < 1:
            raise InputError(f"Argument `rtol` must lie in [1e-15, 1), but is {self.rtol!r}.", field="rtol")

    # -- what it can do and what it costs -----------------------------------------------------------------------------

    def supports(self, model: Lindbladian, task: str = "steady_state") -> Support:
        """Return yes for quadratic models, or no with the term that is not."""
        if task not in self.tasks:
            return Support(False, f"Gaussian does not do {task!r}.")
        try:
            self._form(model)
        except NotSupportedError as error:
            text = str(error)
            return Support(False, text[0].lower() + text[1:])
        kind = "modes" if model.lattice.spaces[0].kind == "boson" else "Jordan-Wigner fermions"
        return Support(True, f"the model is quadratic in its {model.L} {kind}.")

    def _form(self, model: Lindbladian) -> QuadraticForm:
        truncated = [j for j, s in enumerate(model.lattice.spaces) if s.kind == "boson" and s.is_bounded]
        if truncated and not self.ignore_cutoff:
            raise NotSupportedError(
                f"Site {truncated[0]} is truncated to {model.lattice.spaces[truncated[0]].dim} levels, and truncated "
                "modes are not quadratic: give levels=math.inf, or Gaussian(ignore_cutoff=True) for the answer of "
                "unbounded modes.",
                field="model",
            )
        known = _FORMS.get(model)
        if known is None:
            known = _FORMS[model] = quadratic_form(model)
        return known

    def estimate(self, model: Lindbladian, tol: float) -> Estimate:
        """Return bytes and seconds foreseen from the number of modes."""
        if not self.supports(model):
            return Estimate(math.inf, None, "not supported")
        work = self._work(model, tol)
        L, kind = model.L, work.kind
        if kind == "ring":
            assert work.ring is not None
            m = work.ring.cell
            stack = 48.0 * min(4e6, 8.0 * L * m**3)
            return Estimate(700.0 * L * m + stack, 1e-5 * L * m**3, f"one block of {2 * m} per wave number")
        if kind == "number":
            return Estimate(16.0 * 8 * L**2 + 64.0 * L**2, 4e-9 * L**3 + 1e-3, f"complex {L} x {L} equation")
        return Estimate(8.0 * 8 * 4 * L**2, 5e-9 * (2.0 * L) ** 3 + 1e-3, f"real {2 * L} x {2 * L} equation")

    # -- steady state -------------------------------------------------------------------------------------------------

    def prepare(self, model: Lindbladian, *, tol: float, seed: int, task: str = "steady_state") -> Work:
        """Return the moment equations."""
        support = self.supports(model, task)
        if not support:
            raise NotSupportedError(f"Gaussian cannot treat this model: {support.reason}", field="method")
        work = self._work(model, tol)
        work.task = task
        if task == "steady_state":
            _ = work.kind
        return work

    def _work(self, model: Lindbladian, tol: float) -> Work:
        return Work(model, self._form(model), tol, self.rtol, self.solver)

    def start(self, work: Work, initial: Any) -> Iterate:
        """Return the initial Gaussian state; the steady state is unique and does not depend on it."""
        lattice = work.model.lattice
        initial = "vacuum" if initial is None and work.form.statistics == "boson" else initial
        initial = "mixed" if initial is None else initial
        if isinstance(initial, State):
            check_same_spaces(lattice, initial, "initial")
            if work.task == "steady_state":
                initial = "vacuum"
            elif not isinstance(initial, GaussianState):
                raise InputError(
                    f"Argument `initial` must be a Gaussian state for this method, but is {type(initial).__name__}; "
                    "give a GaussianState or use another method.",
                    field="initial",
                )
        state = initial if isinstance(initial, GaussianState) else work.ring_start(initial)
        if state is None:
            state = GaussianState.product(lattice, initial)
        if work.task == "steady_state":
            return Iterate(state)
        return Iterate(state, 0, {"time": 0.0, "kind": work.transient_kind(state), "doublings": 0})

    def advance(self, work: Work, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        """Solve for the steady state, in one call."""
        found = work.solve()
        moved = Iterate(found.state, iterate.step + 1, {"solver": work.kind, **found.numbers()})
        measures = {"residual": found.residual, "error_estimate": found.error}
        return moved, Diagnostics(status_of(work, moved), measures, f"{work.kind} solver", 1.0)

    def certify(self, work: Work, iterate: Iterate, status: Status) -> Certificate:
        """Return residual of the moment equation, slack of the uncertainty relation, stability, error estimate."""
        return certificate_of(work, iterate)

    # -- time evolution -----------------------------------------------------------------------------------------------

    def propagate(self, work: Work, iterate: Iterate, time: float) -> tuple[Iterate, Diagnostics]:
        """Move the iterate to ``time`` in one exact step."""
        now = float(iterate.scalars["time"])
        real = isinstance(time, (numbers.Real, np.generic)) and not isinstance(time, bool)
        if not real or not math.isfinite(time) or time < now:
            raise InputError(f"Argument `time` must be finite and >= {now:g}, but is {time!r}.", field="time")
        state, kind = iterate.state, str(iterate.scalars["kind"])
        assert isinstance(state, GaussianState)
        doublings = int(iterate.scalars["doublings"])
        if time > now:
            try:
                state, doublings = work.moved(state, kind, float(time) - now)
            except InputError:  # means or covariance beyond the range of numbers
                raise OverflowError(f"the moments overflow before t = {time:g}") from None
        scalars = {"time": float(time), "kind": kind, "doublings": doublings}
        moved = Iterate(state, iterate.step + 1, scalars)
        return moved, Diagnostics(None, {"time": float(time)}, f"t = {time:.6g}", 1.0)
