"""Truncated bosonic modes that only the cutoff keeps from running away: refused before a long run."""

from __future__ import annotations

import math

from ..errors import UnstableError
from ..methods.gaussian.stability import MARGINAL, describe_mode
from ..model import Lindbladian
from ..superoperator.quadratic import quadratic_form

__all__ = ["refuse_runaway"]

# Two levels are a spin, not a mode with its tail cut off.
FEWEST_LEVELS = 3
# A dense spectrum of more modes would take longer than it saves.
MOST_MODES = 1000


def refuse_runaway(model: Lindbladian) -> None:
    """Raise if the unbounded modes behind a truncated quadratic model have no steady state.

    d<a>/dt = A <a> (with pairing: of <a> and <a^+>) grows if an eigenvalue of the drift A has a positive real part; the
    levels kept then fill up to the last one, and the answer is that of the cutoff.

    Raises
    ------
    UnstableError
        Naming the sites of the growing mode, its rate, and what to do.

    Examples
    --------
    >>> from mpo_transport import Boson, Chain, Jump, op
    >>> laser = Lindbladian(Chain(1, Boson(6)), None, [Jump(op("Adag", 0), 1.0), Jump(op("A", 0), 0.4)])
    >>> refuse_runaway(laser)
    Traceback (most recent call last):
    mpo_transport.errors.UnstableError: Without the cutoff the model has no steady state: a mode, mainly on ...
    """
    spaces = model.lattice.spaces
    truncated = model.L <= MOST_MODES and all(s.kind == "boson" and FEWEST_LEVELS <= s.dim < math.inf for s in spaces)
    if not truncated or not model.is_quadratic:
        return
    form = quadratic_form(model)
    drift = form.amplitudes()[0] if form.conserves_number else form.sparse_moments()[0].toarray()
    values, where = describe_mode(drift, model.L)
    k = int(values.real.argmax())
    growth, frequency = float(values[k].real), abs(float(values[k].imag))
    if growth <= MARGINAL * float(abs(values).max()):
        return
    raise UnstableError(
        f"Without the cutoff the model has no steady state: a mode{where}, grows at the rate "
        f"{growth:.3g}, and the highest levels kept would fill up. Weaken the gain or add loss there; to solve the "
        "model with its cutoff all the same pass on_failure='return'.",
        field="model",
        growth=growth,
        frequency=frequency,
    )
