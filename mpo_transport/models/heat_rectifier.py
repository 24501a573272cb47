"""Oscillators cascaded through a common bath: a heat rectifier, and chains of them."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import per_item, plain, real_number
from ..errors import InputError
from ..lattice import Chain
from ..model import Bath, Jump, Lindbladian
from ..operators import Boson, OpSum
from .registry import register

__all__ = ["cascaded_chain", "heat_rectifier", "thermal_jumps"]


@register
def heat_rectifier(
    *,
    omega_1: float,
    omega_2: float,
    gamma_1: float,
    gamma_2: float,
    kappa_1: float,
    kappa_2: float,
    F: complex,
    theta: float,
    N: Sequence[float],
    levels: float | None = None,
) -> Lindbladian:
    """Return two oscillators with a bath each and a common one, whose mutual influence is not reciprocal.

        H   = omega_1 c_1^+ c_1 + omega_2 c_2^+ c_2 + (i/2) sqrt(gamma_1 gamma_2) ( e^{-i theta} c_1^+ c_2 - h.c. )
              + ( F c_1^+ c_2 + h.c. )
        L_1 = sqrt(kappa_1) c_1,   L_2 = sqrt(kappa_2) c_2,   L_3 = sqrt(gamma_1) c_1 + sqrt(gamma_2) e^{-i theta} c_2

    and the jumps (N_j + 1) D[L_j] + N_j D[L_j^+].  The amplitudes obey dc/dt = A c + noise with

        A = [[ -i omega_1 - (gamma_1 + kappa_1)/2,                  -i F                                  ],
             [ -i F^* - sqrt(gamma_1 gamma_2) e^{i theta},          -i omega_2 - (gamma_2 + kappa_2)/2    ]].

    F = 0: oscillator 1 drives 2 and feels nothing of it.  F e^{i theta} = -i sqrt(gamma_1 gamma_2): the reverse.
    Steady states depend on F e^{i theta} only.

    Parameters
    ----------
    omega_1, omega_2
        Frequencies; a common offset may be left out.
    gamma_1, gamma_2
        Rates of the common bath, >= 0.
    kappa_1, kappa_2
        Rates of the local baths, >= 0.
    F
        Extra coherent coupling, complex.
    theta
        Phase of the common bath as it appears in the Langevin equation.
    N
        Mean occupations (N_1, N_2, N_3) of the baths ``"bath_1"``, ``"bath_2"`` and ``"common"``, >= 0.
    levels
        None or ``math.inf``: unbounded modes; an integer: number of levels.

    Raises
    ------
    InputError
        Naming the argument that is wrong.

    Notes
    -----
    Sites 0 and 1 are oscillators 1 and 2.  ``bath_flow(model, "bath_1")`` is kappa_1 (n_1 - N_1), quanta into the bath.
    The common bath itself carries quanta between the oscillators, so the model names no current; that of the
    continuity equation, ``current(model)``, includes it.  Closed forms:
    :mod:`mpo_transport.reference.heat_rectifier`.

    References
    ----------
    S. Barzanjeh, M. Aquilina, A. Xuereb, "Manipulating the flow of thermal noise in quantum devices", Phys. Rev. Lett.
    120, 060601 (2018), arXiv:1706.09051; the phase of the master equation made consistent with its Langevin equation.

    Examples
    --------
    >>> diode = heat_rectifier(omega_1=0, omega_2=0, gamma_1=1, gamma_2=1, kappa_1=1, kappa_2=1, F=0, theta=0,
    ...                        N=(1.0, 0.2, 0.5))
    >>> [(b.label, b.occupation) for b in diode.baths]
    [('bath_1', 1.0), ('bath_2', 0.2), ('common', 0.5)]
    """
    omega = (real_number(omega_1, "omega_1"), real_number(omega_2, "omega_2"))
    gamma = (real_number(gamma_1, "gamma_1", least=0), real_number(gamma_2, "gamma_2", least=0))
    kappa = (real_number(kappa_1, "kappa_1", least=0), real_number(kappa_2, "kappa_2", least=0))
    phase = cmath.exp(-1j * real_number(theta, "theta"))
    hopping = complex(per_item(F, 1, "F", "bond")[0]) + 0.5j * math.sqrt(gamma[0] * gamma[1]) * phase
    occupation = occupations(N, 3, "N", "bath")
    collective = OpSum({(("A", 0),): math.sqrt(gamma[0]), (("A", 1),): math.sqrt(gamma[1]) * phase})
    return Lindbladian(
        Chain(2, Boson(math.inf if levels is None else levels)),
        OpSum(
            {
                (("N", 0),): omega[0],
                (("N", 1),): omega[1],
                (("Adag", 0), ("A", 1)): hopping,
                (("A", 0), ("Adag", 1)): hopping.conjugate(),
            }
        ),
        [
            *thermal_jumps(OpSum({(("A", 0),): 1.0}), kappa[0], occupation[0], "bath_1"),
            *thermal_jumps(OpSum({(("A", 1),): 1.0}), kappa[1], occupation[1], "bath_2"),
            *thermal_jumps(collective, 1.0, occupation[2], "common"),
        ],
        name="heat_rectifier",
        parameters=plain(
            {
                "omega_1": omega_1, "omega_2": omega_2, "gamma_1": gamma_1, "gamma_2": gamma_2, "kappa_1": kappa_1,
                "kappa_2": kappa_2, "F": F, "theta": theta, "N": N, "levels": levels,
            }
        ),
        baths=_baths(omega, occupation),
    )  # fmt: skip


@register
def cascaded_chain(
    omega: Any,
    gamma: Any,
    kappa: Any,
    N: Any,
    N_common: float,
    *,
    F: Any = 0.0,
    levels: float | None = None,
) -> Lindbladian:
    """Return a cascade of oscillators: each drives all later ones through one common bath and feels none of them.

        L_0 = sum_k sqrt(gamma_k) c_k        (one collective jump)
        H   = sum_k omega_k c_k^+ c_k + (i/2) sum_{j<k} sqrt(gamma_j gamma_k) ( c_j^+ c_k - h.c. )
              + sum_j ( F_j c_j^+ c_{j+1} + h.c. )

    plus local baths sqrt(kappa_k) c_k.  For F = 0 the drift is lower triangular, A_kj = -sqrt(gamma_j gamma_k), k > j:
    the state of the first sites is that of the shorter chain, whatever follows.

    Parameters
    ----------
    omega, gamma, kappa, N
        Frequencies, rates of the common and of the local baths (>= 0), occupations of the local baths (>= 0); one of
        them at least is a list, whose length is that of the chain, the others may be scalars.
    N_common
        Occupation of the common bath, >= 0.
    F
        Reciprocal hopping between neighbours, complex, scalar or one per bond.
    levels
        None or ``math.inf``: unbounded modes; an integer: number of levels.

    Raises
    ------
    InputError
        Naming the argument that is wrong.

    Notes
    -----
    Baths ``"bath_1"``, ..., ``"bath_L"`` and ``"common"``.  The Hamiltonian joins all pairs, yet the Lindbladian has a
    bond dimension that does not depend on the length.  With two sites this is :func:`heat_rectifier` at theta = 0.

    References
    ----------
    See :func:`heat_rectifier`; cascaded systems: C. W. Gardiner, Phys. Rev. Lett. 70, 2269 (1993).

    Examples
    --------
    >>> chain = cascaded_chain([0.0, 0.2, -0.3], 1.0, [1.0, 0.5, 0.7], [0.1, 0.05, 0.15], 0.08)
    >>> chain.L, [j.label for j in chain.jumps][-2:]
    (3, ['common', 'common'])
    """
    sizes = {name: len(x) for name, x in (("omega", omega), ("gamma", gamma), ("kappa", kappa), ("N", N)) if np.ndim(x)}
    if not sizes:
        raise InputError(
            "Argument `omega` must be a list with one value per oscillator (or `gamma`, `kappa` or `N`): the length of "
            "the chain is not known otherwise.",
            field="omega",
        )
    L = next(iter(sizes.values()))
    frequency = per_item(omega, L, "omega", "site", real=True).tolist()
    amplitude = np.sqrt(per_item(gamma, L, "gamma", "site", least=0)).tolist()
    local = per_item(kappa, L, "kappa", "site", least=0).tolist()
    occupation = per_item(N, L, "N", "site", least=0).tolist()
    common = real_number(N_common, "N_common", least=0)
    hopping = per_item(F, L - 1, "F", "bond").tolist()
    terms: dict[Any, complex] = {(("N", k),): w for k, w in enumerate(frequency)}
    for j in range(L):
        for k in range(j + 1, L):
            h = 0.5j * amplitude[j] * amplitude[k] + (hopping[j] if k == j + 1 else 0.0)
            terms[("Adag", j), ("A", k)] = h
            terms[("A", j), ("Adag", k)] = h.conjugate()
    jumps = [
        jump
        for k in range(L)
        for jump in thermal_jumps(OpSum({(("A", k),): 1.0}), local[k], occupation[k], f"bath_{k + 1}")
    ]
    jumps += thermal_jumps(OpSum({(("A", k),): a for k, a in enumerate(amplitude)}), 1.0, common, "common")
    return Lindbladian(
        Chain(L, Boson(math.inf if levels is None else levels)),
        OpSum(terms),
        jumps,
        name="cascaded_chain",
        parameters=plain(
            {
                "omega": omega, "gamma": gamma, "kappa": kappa, "N": N, "N_common": N_common, "F": F, "levels": levels,
            }
        ),
        baths=_baths(frequency, [*occupation, common]),
    )  # fmt: skip


def thermal_jumps(operator: OpSum, rate: float, occupation: float, label: str) -> list[Jump]:
    """Return rate (N + 1) D[L] (charge +1 into the bath) and rate N D[L^+] (charge -1); vanishing jumps left out."""
    if not operator:
        return []
    pair = ((operator, rate * (occupation + 1), 1.0), (operator.dag, rate * occupation, -1.0))
    return [Jump(o, r, label, charge) for o, r, charge in pair if r > 0]


def occupations(N: Any, count: int, name: str, what: str) -> list[float]:
    """Return a list of ``count`` occupations >= 0; a scalar is not enough."""
    if np.ndim(N) != 1 or len(N) != count:
        raise InputError(
            f"Argument `{name}` must list {count} mean occupations, one per {what}, but is {N!r}.", field=name
        )
    out: list[float] = per_item(N, count, name, what, least=0).tolist()
    return out


def _baths(omega: Sequence[float], occupation: Sequence[float]) -> list[Bath]:
    """Local baths at the frequency of their mode; the common one where all modes agree."""
    local = [
        Bath(f"bath_{k + 1}", energy=w, occupation=n) for k, (w, n) in enumerate(zip(omega, occupation, strict=False))
    ]
    shared = omega[0] if len(set(omega)) == 1 else None
    return [*local, Bath("common", energy=shared, occupation=occupation[-1])]
