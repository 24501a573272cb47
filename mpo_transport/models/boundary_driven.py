"""Chains driven at their two ends: XX and boson chains with dephasing, the XXZ chain, the exclusion process.

Sites count from 0, baths act on the first and the last site, currents are positive to the right.  A jump contributes
rate ( L rho L^dag - 1/2 {L^dag L, rho} ); papers that write 2 L rho L^dag - {L^dag L, rho} have half our rates.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from ..errors import InputError
from ..lattice import Chain
from ..model import Bath, CurrentKind, Jump, Lindbladian
from ..operators import Boson, OpSum, SpinHalf, op
from .registry import per_item, register

__all__ = ["boundary_driven_xx", "boundary_driven_xxz", "exclusion_process"]


@register
def boundary_driven_xx(
    L: int,
    t: Any,
    G_L: float,
    f_L: float,
    G_R: float,
    f_R: float,
    *,
    dephasing: Any = 0.0,
    levels: float | None = None,
) -> Lindbladian:
    """Return the XX (or free boson) chain between two baths, with local dephasing.

        H = sum_j ( t_j s+_j s-_{j+1} + h.c. )
        ends: gain G f D[s+], loss G (1 - f) D[s-] for spins;  gain G f D[a+], loss G (1 + f) D[a] for bosons
        bulk: gamma_j D[n_j]                                                              (dephasing gamma)

    For uniform t and gamma the current is, at every length and driving,

        I = (f_L - f_R) / [ 1/G_L + 1/G_R + (G_L + G_R)/(4 |t|^2) + (L-1) gamma/(2 |t|^2) ].

    Parameters
    ----------
    L
        Number of sites.
    t
        Hopping, scalar or one per bond, complex.
    G_L, G_R
        Rates of the baths, >= 0.
    f_L, f_R
        Their occupations: 0 .. 1 for spins, >= 0 for bosons.
    dephasing
        Rate gamma of D[n_j], scalar or one per site; a coherence between neighbours decays at (gamma_i + gamma_j)/2.
    levels
        None: spins 1/2.  An integer: bosons with states 0 .. levels-1.  ``math.inf``: symbolic bosons.

    Raises
    ------
    InputError
        Naming the argument that is wrong.

    Notes
    -----
    The default current is the particle current, I = i t s+_j s-_{j+1} + h.c.  Baths ``"left"`` and ``"right"``.

    References
    ----------
    D. Karevski, T. Platini, Phys. Rev. Lett. 102, 207207 (2009); M. Znidaric, J. Stat. Mech. L05002 (2010),
    arXiv:1005.1271, whose dissipators have no factor 1/2.

    Examples
    --------
    >>> chain = boundary_driven_xx(L=4, t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    >>> [(j.label, j.charge, round(j.rate, 2)) for j in chain.jumps]
    [('left', -1.0, 0.54), ('left', 1.0, 0.06), ('right', -1.0, 0.28), ('right', 1.0, 1.12)]
    """
    spins = levels is None
    lattice = Chain(L, SpinHalf() if spins else Boson(levels))  # type: ignore[arg-type]
    lower, raise_ = ("Sm", "Sp") if spins else ("A", "Adag")
    hopping = per_item(t, L - 1, "t", "bond")
    h = OpSum()
    for (i, j), hop in zip(lattice.bonds, hopping.tolist(), strict=True):
        half = hop * (op(raise_, i) * op(lower, j))
        h = h + half + half.dag

    jumps, baths = [], []
    for site, label, G, f in ((0, "left", G_L, f_L), (L - 1, "right", G_R, f_R)):
        end = label[0].upper()
        rate = _rate(G, f"G_{end}")
        filling = _occupation(f, f"f_{end}", spins)
        out = rate * (1 - filling) if spins else rate * (1 + filling)
        jumps += _exchange(site, label, gain=rate * filling, loss=out, names=(raise_, lower))
        baths.append(Bath(label, occupation=filling))
    noise = per_item(dephasing, L, "dephasing", "site", real=True)
    if np.any(noise < 0):
        raise InputError(f"Argument `dephasing` must be >= 0, but is {dephasing!r}.", field="dephasing")
    jumps += [Jump(op("N", j), rate=float(x), label="dephasing", charge=0.0) for j, x in enumerate(noise) if x > 0]
    return Lindbladian(
        lattice,
        h,
        jumps,
        name="boundary_driven_xx",
        parameters={
            "L": L, "t": t, "G_L": G_L, "f_L": f_L, "G_R": G_R, "f_R": f_R, "dephasing": dephasing, "levels": levels,
        },
        currents={"particles": CurrentKind(_complex(1j * hopping), raise_, lower, "particle current")},
        baths=baths,
    )  # fmt: skip


@register
def boundary_driven_xxz(
    L: int,
    Delta: Any,
    *,
    J: Any = 1.0,
    eps: float | None = None,
    G_L: float | None = None,
    f_L: float | None = None,
    G_R: float | None = None,
    f_R: float | None = None,
) -> Lindbladian:
    """Return the XXZ chain driven at its ends, in Pauli form.

        H = sum_j J_j ( X_j X_{j+1} + Y_j Y_{j+1} + Delta_j Z_j Z_{j+1} )
        eps: maximal driving, eps D[s+] on the first and eps D[s-] on the last site;
        G, f: G f D[s+] and G (1 - f) D[s-] at each end.

    At maximal driving the steady state is known exactly (Prosen 2011); at |Delta| = 1/2 it is a matrix-product
    operator of bond dimension 9 for every length.

    Parameters
    ----------
    L
        Number of sites.
    Delta, J
        Anisotropy and exchange, real, scalar or one per bond.
    eps
        Rate of maximal driving, >= 0.  Give either this or all of ``G_L, f_L, G_R, f_R``.
    G_L, G_R, f_L, f_R
        Rates and target fillings (0 .. 1) of general baths.

    Raises
    ------
    InputError
        Naming the argument that is wrong, missing or superfluous.

    Notes
    -----
    The default current is the Z current, j = 2J (X_j Y_{j+1} - Y_j X_{j+1}) = 4iJ s+_j s-_{j+1} + h.c., for which
    dZ_j/dt = j_{(j-1,j)} - j_{(j,j+1)} in the bulk; ``kind="particles"`` is half of it.

    References
    ----------
    T. Prosen, Phys. Rev. Lett. 107, 137201 (2011), arXiv:1106.2978, whose dissipators have no factor 1/2.

    Examples
    --------
    >>> chain = boundary_driven_xxz(L=3, Delta=0.5, eps=2.0)
    >>> chain.jumps[0].operator, chain.jumps[1].operator, list(chain.currents)
    (Sp(0), Sm(2), ['Z', 'particles'])
    """
    lattice = Chain(L, SpinHalf())
    exchange = per_item(J, L - 1, "J", "bond", real=True)
    anisotropy = per_item(Delta, L - 1, "Delta", "bond", real=True)
    h = OpSum()
    for (i, j), c, d in zip(lattice.bonds, exchange.tolist(), anisotropy.tolist(), strict=True):
        h = h + c * (op("X", i) * op("X", j) + op("Y", i) * op("Y", j)) + c * d * (op("Z", i) * op("Z", j))

    general = {"G_L": G_L, "f_L": f_L, "G_R": G_R, "f_R": f_R}
    given = [k for k, v in general.items() if v is not None]
    if eps is not None and given:
        raise InputError(
            f"Argument `eps` (maximal driving) excludes {', '.join(given)}; give one of the two.", field="eps"
        )
    missing = [k for k in general if k not in given]
    if eps is None and missing:
        raise InputError(
            "The driving is missing: give `eps` for maximal driving, or all of G_L, f_L, G_R, f_R"
            + (f" (missing: {', '.join(missing)})." if given else "."),
            field=missing[0] if given else "eps",
        )
    if eps is not None:
        rate = _rate(eps, "eps")
        ends = {"left": (rate, 1.0), "right": (rate, 0.0)}
    else:
        ends = {
            "left": (_rate(G_L, "G_L"), _occupation(f_L, "f_L", True)),
            "right": (_rate(G_R, "G_R"), _occupation(f_R, "f_R", True)),
        }
    jumps = []
    for site, (label, (rate, f)) in zip((0, L - 1), ends.items(), strict=True):
        jumps += _exchange(site, label, gain=rate * f, loss=rate * (1 - f), names=("Sp", "Sm"))
    return Lindbladian(
        lattice,
        h,
        jumps,
        name="boundary_driven_xxz",
        parameters={"L": L, "Delta": Delta, "J": J, "eps": eps, **general},
        currents={
            "Z": CurrentKind(_complex(4j * exchange), "Sp", "Sm", "Z current"),
            "particles": CurrentKind(_complex(2j * exchange), "Sp", "Sm", "particle current"),
        },
        baths=[Bath(label, occupation=f) for label, (_, f) in ends.items()],
    )


@register
def exclusion_process(
    L: int, alpha: float, beta: float, gamma: float, delta: float, *, p: Any = 1.0, q: Any = 1.0
) -> Lindbladian:
    """Return the exclusion process between two reservoirs, written as a Lindbladian without a Hamiltonian.

        bulk: p_j D[s-_j s+_{j+1}] (a particle hops right), q_j D[s+_j s-_{j+1}] (left)
        first site: alpha D[s+] (in), gamma D[s-] (out);   last site: delta D[s+] (in), beta D[s-] (out)

    The diagonal of rho obeys the classical master equation.  For p = q = 1, with rho_a = alpha/(alpha+gamma),
    rho_b = delta/(beta+delta), A = 1/(alpha+gamma), B = 1/(beta+delta), the current is
    I = (rho_a - rho_b)/(L + A + B - 1), and the correlations are long ranged and of order 1/L.

    Parameters
    ----------
    L
        Number of sites.
    alpha, gamma
        Rates in and out at the first site.
    delta, beta
        Rates in and out at the last site.
    p, q
        Rates of hopping right and left, scalar or one per bond.

    Raises
    ------
    InputError
        Naming the rate that is negative or not finite.

    Notes
    -----
    The current (continuity equation) is I = p n_j (1 - n_{j+1}) - q (1 - n_j) n_{j+1}.

    References
    ----------
    B. Derrida, J. Stat. Mech. P07023 (2007).

    Examples
    --------
    >>> process = exclusion_process(L=3, alpha=1.0, beta=0.8, gamma=0.5, delta=0.3)
    >>> from mpo_transport.observables import current
    >>> current(process).operators[0]
    N(0) - N(1)
    """
    lattice = Chain(L, SpinHalf())
    right = _rates(p, L - 1, "p")
    left = _rates(q, L - 1, "q")
    jumps = []
    for (i, j), a, b in zip(lattice.bonds, right, left, strict=True):
        jumps += [Jump(op("Sm", i) * op("Sp", j), rate=a, charge=0.0)] if a > 0 else []
        jumps += [Jump(op("Sp", i) * op("Sm", j), rate=b, charge=0.0)] if b > 0 else []
    first = {"gain": _rate(alpha, "alpha"), "loss": _rate(gamma, "gamma")}
    last = {"gain": _rate(delta, "delta"), "loss": _rate(beta, "beta")}
    baths = []
    for site, label, rates in ((0, "left", first), (L - 1, "right", last)):
        jumps += _exchange(site, label, names=("Sp", "Sm"), **rates)
        total = sum(rates.values())
        baths.append(Bath(label, occupation=rates["gain"] / total if total else None))
    return Lindbladian(
        lattice,
        None,
        jumps,
        name="exclusion_process",
        parameters={"L": L, "alpha": alpha, "beta": beta, "gamma": gamma, "delta": delta, "p": p, "q": q},
        baths=baths,
    )


# ----------------------------------------------------------------------------------------------------------------------


def _exchange(site: int, label: str, *, gain: float, loss: float, names: tuple[str, str]) -> list[Jump]:
    """Jumps of one bath: absorption from it (charge -1) and emission into it (charge +1); vanishing rates left out."""
    pair = ((names[0], gain, -1.0), (names[1], loss, 1.0))
    return [Jump(op(name, site), rate=rate, label=label, charge=charge) for name, rate, charge in pair if rate > 0]


def _rate(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InputError(f"Argument `{name}` must be a real number >= 0, but is {value!r}.", field=name)
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise InputError(f"Argument `{name}` must be finite and >= 0, but is {value!r}.", field=name)
    return number


def _rates(value: Any, count: int, name: str) -> list[float]:
    rates = per_item(value, count, name, "bond", real=True)
    if np.any(rates < 0):
        raise InputError(f"Argument `{name}` must be >= 0, but is {value!r}.", field=name)
    return [float(x) for x in rates]


def _occupation(value: Any, name: str, spins: bool) -> float:
    f = _rate(value, name)
    if spins and f > 1:
        raise InputError(
            f"Argument `{name}` is the filling of a spin bath and must lie in 0..1, but is {value!r}.", field=name
        )
    return f


def _complex(values: np.ndarray) -> tuple[complex, ...]:
    return tuple(complex(x) for x in values)
