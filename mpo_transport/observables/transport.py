"""The exchange of a steady state with all of its labelled baths, as one report."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InputError
from ..model import Jump, Lindbladian
from ..operators import OpSum
from ..result import Result
from ..symmetry import charge_changes
from .base import Observable
from .thermodynamics import bath_flow, entropy_production, heat_current

__all__ = ["BathExchange", "TransportReport", "bath_affinity", "transport_report"]

# Coefficients of operators that should be adjoint to each other may differ by rounding errors.
_EQUAL = 1e-12


@dataclass(frozen=True)
class BathExchange:
    """What one bath receives per unit time.

    Attributes
    ----------
    label
        The label of its jumps.
    quanta, quanta_error
        Quanta into the bath and the claimed error (NaN if unknown); None where its jumps carry no charge.
    heat, heat_error
        Energy into the bath: energy per quantum times quanta where every bath has an energy, else the change of <H>.
    affinity
        ln of the rate of emission into the bath over that of absorption from it, per quantum; infinite for an empty
        bath, None where the jumps are no pairs L, L^+ with one ratio.
    reason
        Why a number is missing.
    """

    label: str
    quanta: float | None
    quanta_error: float
    heat: float | None
    heat_error: float
    affinity: float | None
    reason: str = ""


@dataclass(frozen=True)
class TransportReport:
    """Exchange with every labelled bath, balance and entropy production of a steady state.

    Attributes
    ----------
    baths
        One entry per label.
    quanta_balance, quanta_error
        Sum of the quanta into all baths and its error; None where not every jump that changes the number is counted.
    quanta_conserved
        Whether the Hamiltonian conserves the number, so that the sum vanishes in the steady state.
    heat_balance, heat_error
        Sum of the heat into all baths; the change of <H> vanishes in the steady state.
    entropy_production, entropy_error
        None where it is not defined, with the reason.
    reason
        Why there is no entropy production.
    """

    baths: tuple[BathExchange, ...]
    quanta_balance: float | None
    quanta_error: float
    quanta_conserved: bool
    heat_balance: float | None
    heat_error: float
    entropy_production: float | None
    entropy_error: float
    reason: str = ""

    @property
    def second_law(self) -> bool | None:
        """Whether the entropy production is not negative within its error; None where it is not known."""
        if self.entropy_production is None:
            return None
        if self.entropy_production >= 0:
            return True
        return None if math.isnan(self.entropy_error) else self.entropy_production >= -self.entropy_error

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (bath, quanta into it, heat into it) as text, one row per bath and the sums."""
        rows = [(b.label, _text(b.quanta, b.quanta_error), _text(b.heat, b.heat_error)) for b in self.baths]
        sums = (_text(self.quanta_balance, self.quanta_error), _text(self.heat_balance, self.heat_error))
        return [*rows, ("sum", *sums)]

    def lines(self) -> list[str]:
        """Return the sentences on balance and entropy production."""
        out = []
        if self.entropy_production is None:
            out.append(f"entropy production: not defined. {self.reason}")
        else:
            verdict = {True: "second law holds", False: "SECOND LAW VIOLATED", None: "sign within unknown error"}
            value = _text(self.entropy_production, self.entropy_error)
            out.append(f"entropy production: {value} ({verdict[self.second_law]})")
        if not self.quanta_conserved:
            out.append("the Hamiltonian does not conserve the number of quanta, so their sum need not vanish")
        return out

    def __str__(self) -> str:
        head = ("bath", "quanta into it", "heat into it")
        table = [head, *self.rows()]
        widths = [max(len(r[k]) for r in table) for k in range(3)]
        body = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in table]
        return "\n".join([*body, *self.lines()])


def transport_report(result: Result) -> TransportReport:
    """Return flows of quanta and heat into each labelled bath, their sums, and the entropy production.

    Nothing is refused: a number that is not defined is None, with the reason.

    Parameters
    ----------
    result
        A steady state.

    Raises
    ------
    InputError
        If it is no result of ``steady_state``.

    Examples
    --------
    >>> import mpo_transport as mt
    >>> chain = mt.models.boundary_driven_xx(L=4, t=1.0, G_L=1.0, f_L=0.8, G_R=1.0, f_R=0.2)
    >>> print(transport_report(mt.steady_state(chain)))
    bath   quanta into it  heat into it
    left   -0.24           0
    right  0.24            0
    sum    0               0
    entropy production: 0.6654212933 (second law holds)
    """
    if not isinstance(result, Result):
        raise InputError(
            f"Argument `result` must come from steady_state(...), but is {type(result).__name__}.", field="result"
        )
    model = result.model
    known = {b.label: b for b in model.baths}
    labels = dict.fromkeys(j.label for j in model.jumps if j.rate > 0 and j.label is not None)
    # quanta times energies, or energies of the Hamiltonian, but not a sum of both
    by_quanta = all(label in known and known[label].energy is not None for label in labels)
    baths = tuple(_exchange(result, label, known[label].energy if by_quanta else None) for label in labels)
    counted = all(j.charge is not None and j.label is not None for j in model.jumps if _moves(model, j))
    quanta = [b.quanta for b in baths if b.quanta is not None]
    heat = [b.heat for b in baths if b.heat is not None]
    value, error, reason = _entropy(result)
    return TransportReport(
        baths,
        math.fsum(quanta) if counted and quanta else None,
        _added([b.quanta_error for b in baths if b.quanta is not None]),
        charge_changes(model.lattice, model.hamiltonian, (1,) * model.L) <= {0},
        math.fsum(heat) if len(heat) == len(baths) else None,
        _added([b.heat_error for b in baths]),
        value,
        error,
        reason,
    )


def _moves(model: Lindbladian, jump: Jump) -> bool:
    """Whether an active jump changes the number of quanta in the system."""
    return jump.rate > 0 and charge_changes(model.lattice, jump.operator, (1,) * model.L) != {0}


def _exchange(result: Result, label: str, energy: float | None) -> BathExchange:
    model = result.model
    quanta, quanta_error, why = _measured(result, lambda: bath_flow(model, label))
    reasons = [why] if why else []
    if energy is not None and quanta is not None:
        heat: float | None = energy * quanta
        heat_error = abs(energy) * quanta_error
    else:
        gained, heat_error, why = _measured(result, lambda: heat_current(model, label))
        heat = None if gained is None else 0.0 - gained
        reasons += [why] if why else []
    return BathExchange(label, quanta, quanta_error, heat, heat_error, bath_affinity(model, label), " ".join(reasons))


def _measured(result: Result, build: Callable[[], Observable]) -> tuple[float | None, float, str]:
    """Return value, error and no reason; or None, NaN and the reason."""
    try:
        value, error = result.expect(build(), error=True)
    except InputError as refusal:
        return None, math.nan, str(refusal)
    return float(value), float(error), ""


def _entropy(result: Result) -> tuple[float | None, float, str]:
    return _measured(result, lambda: entropy_production(result.model))


def bath_affinity(model: Lindbladian, label: str) -> float | None:
    """Return ln(rate of emission into a bath / rate of absorption from it) per quantum, ln((N+1)/N) for bosons.

    Every jump with a positive charge must have its adjoint with the opposite charge in the same bath, all with one
    ratio of rates; None if not.  Infinite for a bath that only absorbs.
    """
    jumps = [j for j in model.jumps if j.rate > 0 and j.label == label]
    if not jumps or any(j.charge is None for j in jumps):
        return None
    losses = [j for j in jumps if (j.charge or 0) > 0]
    gains = [j for j in jumps if (j.charge or 0) < 0]
    if not gains:
        return math.inf if losses else None
    ratios = []
    for loss in losses:
        partner = next((g for g in gains if _ratio(loss, g) is not None), None)
        if partner is None:
            return None
        gains.remove(partner)
        ratio = _ratio(loss, partner)
        assert ratio is not None
        ratios.append(math.log(ratio) / float(loss.charge or 1.0))
    if gains or max(ratios) - min(ratios) > 1e-9 * max(1.0, abs(ratios[0])):
        return None
    return ratios[0]


def _ratio(loss: Jump, gain: Jump) -> float | None:
    """Rate of a loss over that of a gain that is its adjoint with the opposite charge, else None."""
    if loss.charge != -(gain.charge or 0.0):
        return None
    a, b = loss.operator, gain.operator.dag
    key, ca = max(a, key=lambda item: abs(item[1]), default=((), 0j))
    cb = b.terms.get(key, 0j)
    if not ca or not cb:
        return None
    difference: OpSum = a - (ca / cb) * b
    if any(abs(x) > _EQUAL * abs(ca) for _, x in difference):
        return None
    return loss.rate * abs(ca) ** 2 / (gain.rate * abs(cb) ** 2)


def _added(errors: list[float]) -> float:
    return math.fsum(errors) if errors else math.nan


def _text(value: float | None, error: float) -> str:
    if value is None:
        return "-"
    if math.isnan(error) or error <= 1e-10:
        return f"{round(value, 10) + 0.0:.10g}"
    digits = max(0, min(10, 1 - math.floor(math.log10(error))))
    return f"{round(value, digits) + 0.0:.{digits}f} +- {error:.1e}"
