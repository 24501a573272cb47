"""Exchange with labelled baths: energy, quanta, entropy production."""

from __future__ import annotations

import math

from ..errors import InputError, NotSupportedError, did_you_mean
from ..model import Bath, Jump, Lindbladian
from ..operators import OpSum
from .algebra import adjoint_action, generator_pieces, simplify
from .base import Observable, linear, register_observable

__all__ = ["bath_flow", "entropy_production", "heat_current"]


@register_observable
def heat_current(model: Lindbladian, bath: str) -> Observable:
    """Return the energy *into the system* per time through the jumps labelled ``bath``: <D_bath^dag(H)>.

    D_bath^dag(H) = sum_{k in bath} rate_k ( L_k^dag H L_k - 1/2 {L_k^dag L_k, H} ) with the whole Hamiltonian.

    Raises
    ------
    InputError
        For an unknown label.

    Examples
    --------
    >>> from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, op
    >>> qubit = Lindbladian(Chain(1, SpinHalf()), 3 * op("N", 0), [Jump(op("Sm", 0), label="cold")])
    >>> heat_current(qubit, "cold").operators[0]
    -3 N(0)
    """
    _jumps_of(model, bath)
    pieces = [p for p in generator_pieces(model) if p.left is not None and p.label == bath]
    flow = adjoint_action(model, model.hamiltonian, pieces=pieces)
    flow = simplify(model.lattice, (flow + flow.dag) / 2)
    return linear(
        f"heat_current_{bath}",
        model.lattice,
        [flow],
        unit="energy x rate",
        description=f"heat from {bath} into the system",
    )


@register_observable
def bath_flow(model: Lindbladian, bath: str) -> Observable:
    """Return the quanta *into the bath* per time: sum_{k in bath} rate_k charge_k <L_k^dag L_k>.

    Raises
    ------
    InputError
        For an unknown label.
    NotSupportedError
        If a jump of the bath does not move a definite number of quanta (its ``charge`` is None).
    """
    jumps = _jumps_of(model, bath)
    if any(j.charge is None for j in jumps):
        raise NotSupportedError(
            f"The jumps of bath {bath!r} move no definite number of quanta; give each Jump(..., charge=...).",
            field="bath",
        )
    total = OpSum()
    for jump in jumps:
        total = total + (jump.rate * float(jump.charge or 0.0)) * (jump.operator.dag * jump.operator)
    return linear(
        f"bath_flow_{bath}",
        model.lattice,
        [simplify(model.lattice, total)],
        unit="rate",
        description=f"quanta into {bath}",
    )


def _jumps_of(model: Lindbladian, bath: str) -> list[Jump]:
    jumps = [j for j in model.jumps if j.label == bath and j.rate > 0]
    if not jumps and bath not in {j.label for j in model.jumps} | {b.label for b in model.baths}:
        known = sorted({j.label for j in model.jumps if j.label is not None})
        raise InputError(
            f"Argument `bath`: the model {model.name!r} has no jumps labelled {bath!r}; "
            f"{did_you_mean(str(bath), known)}",
            field="bath",
        )
    return jumps


@register_observable
def entropy_production(model: Lindbladian) -> Observable:
    """Return the entropy production per time of the steady state, -sum_baths (heat into the system) / T  (k_B = 1).

    Of a bath with a temperature the heat is energy x quanta where its energy per quantum is known and its jumps carry
    a charge, and :func:`heat_current` otherwise.  Of a bath without a temperature, whose jumps are a pair L and a
    multiple of L^dag, energy / T per quantum is ln(rate of L / rate of L^dag), detailed balance.  Hermitian jumps
    (dephasing) are baths of infinite temperature and contribute nothing.

    Raises
    ------
    NotSupportedError
        If a jump belongs to no thermal bath, or a temperature is zero, where the entropy production diverges.
    """
    baths = {b.label: b for b in model.baths}
    total = OpSum()
    labels: dict[str | None, list[Jump]] = {}
    for jump in model.jumps:
        if jump.rate > 0 and jump.operator != jump.operator.dag:
            labels.setdefault(jump.label, []).append(jump)
    for label, jumps in labels.items():
        total = total + _entropy_flow(model, baths.get(label) if label else None, label, jumps)
    return linear(
        "entropy_production",
        model.lattice,
        [simplify(model.lattice, total)],
        unit="rate",
        description="entropy production",
    )


def _entropy_flow(model: Lindbladian, bath: Bath | None, label: str | None, jumps: list[Jump]) -> OpSum:
    counted = all(j.charge is not None for j in jumps)
    if label is not None and bath is not None and bath.temperature is not None:
        if bath.temperature == 0 or math.isnan(bath.temperature):
            raise _diverges(label)
        if bath.energy is not None and counted:
            return bath_flow(model, label).operators[0] * (bath.energy / bath.temperature)
        return heat_current(model, label).operators[0] * (-1 / bath.temperature)
    affinity = _affinity(jumps) if counted else None
    if label is None or affinity is None:
        raise NotSupportedError(
            f"Entropy production needs a thermal bath behind every jump, but the jumps labelled {label!r} are neither "
            "a pair L, L^dag with charges nor a Bath(label, temperature=...) of the model.",
            field="model",
        )
    if not math.isfinite(affinity):
        raise _diverges(label)
    return bath_flow(model, label).operators[0] * affinity


def _diverges(label: str) -> NotSupportedError:
    return NotSupportedError(
        f"The entropy production diverges: bath {label!r} is at temperature zero or drives in one direction only.",
        field="model",
    )


def _affinity(jumps: list[Jump]) -> float | None:
    """ln(rate of emission into the bath / rate of absorption from it) per quantum, for a pair of adjoint jumps."""
    if len(jumps) == 1:
        return math.inf
    if len(jumps) != 2 or jumps[0].charge != -(jumps[1].charge or 0.0) or not jumps[0].charge:
        return None
    first, second = jumps
    a, b = first.operator, second.operator.dag
    key, ca = max(a, key=lambda item: abs(item[1]))
    cb = b.terms.get(key, 0j)
    if not cb or any(abs(x) > 1e-12 * abs(ca) for _, x in a - (ca / cb) * b):
        return None
    return math.log(first.rate * abs(ca) ** 2 / (second.rate * abs(cb) ** 2)) / float(first.charge or 1.0)
