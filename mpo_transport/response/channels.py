"""Input and output channels of a quadratic bosonic model: one per bath operator."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..errors import NotSupportedError
from ..superoperator.quadratic import QuadraticForm

__all__ = ["Channel", "channels"]

_SAME = 1e-10


@dataclass(frozen=True, eq=False)
class Channel:
    """A bath of bosons coupled through L = sum_j ( u_j a_j + v_j a_j^+ ), with jumps L (N + 1) and L^+ N.

    Attributes
    ----------
    label
        Name of the bath, with a number behind it if it has several channels.
    bath
        Name of the bath as in the model.
    lowering, raising
        u and v with the rate absorbed, complex (L,).
    occupation
        Mean occupation N of the bath.
    """

    label: str
    bath: str
    lowering: np.ndarray
    raising: np.ndarray
    occupation: float


def channels(form: QuadraticForm) -> tuple[Channel, ...]:
    """Return the channels of a form: pairs of jumps L, L^+ with one label are one thermal bath, others empty baths.

    The rate of a pair is r_1 - r_2, the occupation r_2/(r_1 - r_2), with r_1 > r_2.  Jumps that are their own adjoint
    (classical noise) or have no partner are channels in the vacuum.

    Raises
    ------
    NotSupportedError
        For fermions, whose jumps are not coupled to a bosonic field.
    """
    if form.statistics != "boson":
        raise NotSupportedError("Scattering between baths is defined for bosonic modes, not for spins.", field="model")
    u, v = form.lowering.toarray(), form.raising.toarray()
    names = [label if label is not None else f"jump_{m}" for m, label in enumerate(form.labels)]
    open_jumps = list(range(len(names)))
    found: list[tuple[str, np.ndarray, np.ndarray, float]] = []
    while open_jumps:
        m = open_jumps.pop(0)
        strength = form.rates[m]
        partner, weak = _partner(m, open_jumps, u, v, names, form.rates)
        if partner is None:
            found.append((names[m], np.sqrt(strength) * u[m], np.sqrt(strength) * v[m], 0.0))
            continue
        open_jumps.remove(partner)
        strong, low, high = (m, weak, strength) if weak < strength else (partner, strength, weak)
        # both rates refer to the operator of jump m
        scale = 1.0 if strong == m else np.linalg.norm([u[m], v[m]]) / np.linalg.norm([u[strong], v[strong]])
        amplitude = np.sqrt(high - low) * scale
        found.append((names[m], amplitude * u[strong], amplitude * v[strong], low / (high - low)))
    totals, seen = Counter(bath for bath, *_ in found), Counter[str]()
    out = []
    for bath, lowering, raising, occupation in found:
        label = bath if totals[bath] == 1 else f"{bath}_{seen[bath]}"
        seen[bath] += 1
        out.append(Channel(label, bath, lowering, raising, float(occupation)))
    return tuple(out)


def _partner(
    m: int, candidates: list[int], u: np.ndarray, v: np.ndarray, names: list[str], rates: np.ndarray
) -> tuple[int | None, float]:
    """Return the jump that is the adjoint of jump m up to a factor, and its rate when written with that operator."""
    here = np.concatenate([u[m], v[m]])
    size = float(np.linalg.norm(here))
    for other in candidates:
        if names[other] != names[m]:
            continue
        there = np.concatenate([v[other].conj(), u[other].conj()])  # the adjoint of the other jump
        norm = float(np.linalg.norm(there))
        if abs(abs(np.vdot(here, there)) - size * norm) <= _SAME * size * norm:
            rate = float(rates[other]) * (norm / size) ** 2
            if abs(rate - rates[m]) > _SAME * max(rate, float(rates[m])):
                return other, rate
    return None, 0.0
