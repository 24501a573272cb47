"""The optomechanical heat rectifier: two cavities joined directly and through one mechanical mode."""

from __future__ import annotations

import cmath
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ..arguments import plain, real_number
from ..errors import InputError, MpoTransportWarning
from ..lattice import Graph
from ..model import Bath, CurrentKind, Lindbladian
from ..operators import Boson, OpSum
from .heat_rectifier import heat_rectifier, occupations, thermal_jumps
from .registry import register

__all__ = ["OptomechanicalRectifier", "ReservoirBandwidthWarning", "as_heat_rectifier", "optomechanical_rectifier"]

# The map to two modes has a relative error of order kappa/gamma_m.
_FLAT = 10.0


class ReservoirBandwidthWarning(MpoTransportWarning):
    """The mechanical mode is too narrow to act as a reservoir: the map to two modes is not valid for broadband heat."""


class OptomechanicalRectifier(Lindbladian):
    """The Lindbladian of :func:`optomechanical_rectifier`, with the map to two modes as a method.

    Files keep it as an ordinary Lindbladian; :func:`as_heat_rectifier` accepts that too.
    """

    def as_heat_rectifier(self, Omega: float, *, levels: float | None = None) -> Lindbladian:
        """Return :func:`as_heat_rectifier` of this model."""
        return as_heat_rectifier(self, Omega, levels=levels)


@register
def optomechanical_rectifier(
    *,
    Delta_1: float,
    Delta_2: float,
    omega_m: float,
    J: float,
    G_1: float,
    G_2: float,
    phi: float,
    kappa_1: float,
    kappa_2: float,
    gamma_m: float,
    N: Sequence[float],
    rwa: bool = True,
    levels: float | None = None,
) -> OptomechanicalRectifier:
    """Return two cavities a_1, a_2 (sites 0, 1) and a mechanical mode b (site 2).

        H = Delta_1 a_1^+ a_1 + Delta_2 a_2^+ a_2 + omega_m b^+ b + J (a_1^+ a_2 + h.c.)
            + G_1 (a_1^+ b + h.c.) + G_2 (e^{i phi} a_2^+ b + h.c.)

    in the frame of the drives (Delta_i near omega_m), each mode with its own thermal bath.  ``rwa=False`` keeps the
    counter-rotating terms: b -> b + b^+ in the couplings.

    Parameters
    ----------
    Delta_1, Delta_2, omega_m
        Frequencies of the modes.
    J
        Direct coupling of the cavities, real.
    G_1, G_2, phi
        Optomechanical couplings, real, and their relative phase.
    kappa_1, kappa_2, gamma_m
        Loss rates, >= 0.
    N
        Occupations (N_1, N_2, N_m) of the baths ``"bath_1"``, ``"bath_2"`` and ``"mechanical"``, >= 0.
    rwa
        Whether to drop the counter-rotating terms.
    levels
        None or ``math.inf``: unbounded modes; an integer: number of levels.

    Raises
    ------
    InputError
        Naming the argument that is wrong.

    Notes
    -----
    :func:`as_heat_rectifier` (or the method of that name) maps this model to two modes with a common bath.  The map
    needs the response of the mechanical mode to be flat over the line of the cavities, gamma_m >> kappa.  **The
    published experimental numbers (kappa = 2 MHz, gamma_m = 100 Hz) are far outside**: with them the three-mode model
    shows no rectification of broadband heat, a contrast of 5e-5 instead of 0.9998; only a window of width gamma_m about
    omega_m is non-reciprocal.

    Current ``"particles"`` (with ``rwa``): -i h_ji a_j^+ a_i + h.c. on the bonds (0, 1), (0, 2), (1, 2).

    References
    ----------
    S. Barzanjeh, M. Aquilina, A. Xuereb, Phys. Rev. Lett. 120, 060601 (2018).

    Examples
    --------
    >>> device = optomechanical_rectifier(Delta_1=0, Delta_2=0, omega_m=0, J=0.5, G_1=5, G_2=5, phi=math.pi / 2,
    ...                                   kappa_1=1, kappa_2=1, gamma_m=100, N=(1.0, 0.2, 0.5))
    >>> mapped = device.as_heat_rectifier(0.0).parameters
    >>> mapped["gamma_1"], round(abs(mapped["F"]), 15)
    (1.0, 0.0)
    """
    if not isinstance(rwa, bool):
        raise InputError(f"Argument `rwa` must be True or False, but is {rwa!r}.", field="rwa")
    parameters = {
        "Delta_1": Delta_1, "Delta_2": Delta_2, "omega_m": omega_m, "J": J, "G_1": G_1, "G_2": G_2, "phi": phi,
        "kappa_1": kappa_1, "kappa_2": kappa_2, "gamma_m": gamma_m, "N": N, "rwa": rwa, "levels": levels,
    }  # fmt: skip
    x = _checked(parameters)
    occupation = occupations(N, 3, "N", "bath")
    couplings = {(0, 1): complex(x["J"]), (0, 2): complex(x["G_1"]), (1, 2): x["G_2"] * cmath.exp(1j * x["phi"])}
    frequency = (x["Delta_1"], x["Delta_2"], x["omega_m"])
    terms: dict[Any, complex] = {(("N", k),): w for k, w in enumerate(frequency)}
    for (i, j), value in couplings.items():  # value a_i^+ a_j + h.c.
        for right in ("A", "Adag") if j == 2 and not rwa else ("A",):
            terms[("Adag", i), (right, j)] = value
            terms[("A", i), ("A" if right == "Adag" else "Adag", j)] = value.conjugate()
    rates = (x["kappa_1"], x["kappa_2"], x["gamma_m"])
    labels = ("bath_1", "bath_2", "mechanical")
    jumps = [
        jump for k in range(3) for jump in thermal_jumps(OpSum({(("A", k),): 1.0}), rates[k], occupation[k], labels[k])
    ]
    flow = tuple(-1j * value.conjugate() for value in couplings.values())
    return OptomechanicalRectifier(
        Graph(list(couplings), Boson(math.inf if levels is None else levels)),
        OpSum(terms),
        jumps,
        name="optomechanical_rectifier",
        parameters=plain(parameters),
        currents={"particles": CurrentKind(flow, "A", "Adag", "particle current")} if rwa else None,
        baths=[Bath(label, energy=w, occupation=n) for label, w, n in zip(labels, frequency, occupation, strict=True)],
    )


def as_heat_rectifier(
    model: Lindbladian | Mapping[str, Any], Omega: float, *, levels: float | None = None
) -> Lindbladian:
    """Return the two-mode :func:`heat_rectifier` that replaces the mechanical mode by its response at one frequency.

        chi = 1 / [ gamma_m/2 - i (Omega - omega_m) ],    gamma_i = 2 G_i^2 Re chi,    omega_i = Delta_i + G_i^2 Im chi,
        F = J - i chi G_1 G_2 e^{-i phi},    theta = phi,    N_3 = N_m.

    The two models then have the same scattering matrix *at* Omega.  For heat, which is broadband, they agree up to
    O(kappa/gamma_m).

    Parameters
    ----------
    model
        An :func:`optomechanical_rectifier` with ``rwa=True``, or its parameters.
    Omega
        The frequency, normally omega_m.
    levels
        Levels of the two modes, as in :func:`heat_rectifier`.

    Raises
    ------
    InputError
        For another model, for counter-rotating terms, or for gamma_m = 0 at resonance.

    Warns
    -----
    ReservoirBandwidthWarning
        If gamma_m < 10 max(kappa): the result is the narrow-band model at Omega, not that of broadband heat.

    Examples
    --------
    >>> as_heat_rectifier({"Delta_1": 0, "Delta_2": 0, "omega_m": 0, "J": 0, "G_1": 5, "G_2": 5, "phi": 0, "kappa_1": 1,
    ...                    "kappa_2": 1, "gamma_m": 100, "N": (1, 0, 0.5)}, 0.0).parameters["F"]
    -0.5j
    """
    if isinstance(model, Lindbladian):
        if model.name != "optomechanical_rectifier":
            raise InputError(f"Argument `model` must be an optomechanical_rectifier, but is {model!r}.", field="model")
        model = model.parameters
    if not isinstance(model, Mapping):
        raise InputError("Argument `model` must be an optomechanical_rectifier or its parameters.", field="model")
    if not model.get("rwa", True):
        raise InputError(
            "Argument `model` keeps counter-rotating terms, which the two-mode model does not have; use rwa=True.",
            field="rwa",
        )
    x = _checked(model)
    detuning = real_number(Omega, "Omega") - x["omega_m"]
    if x["gamma_m"] == 0 and detuning == 0:
        raise InputError("Argument `gamma_m` must be > 0 at resonance, Omega = omega_m.", field="gamma_m")
    widest = max(x["kappa_1"], x["kappa_2"])
    if x["gamma_m"] < _FLAT * widest:
        warnings.warn(
            f"The mechanical mode is no flat reservoir: gamma_m = {x['gamma_m']:.3g}, kappa = {widest:.3g}, "
            f"gamma_m/kappa = {x['gamma_m'] / widest:.3g}, but the two-mode model needs gamma_m/kappa >> 1; it "
            "describes the frequency Omega only, not broadband heat.",
            ReservoirBandwidthWarning,
            stacklevel=2,
        )
    chi = 1 / (x["gamma_m"] / 2 - 1j * detuning)
    product = x["G_1"] * x["G_2"]
    return heat_rectifier(
        omega_1=x["Delta_1"] + x["G_1"] ** 2 * chi.imag,
        omega_2=x["Delta_2"] + x["G_2"] ** 2 * chi.imag,
        gamma_1=2 * x["G_1"] ** 2 * chi.real,
        gamma_2=2 * x["G_2"] ** 2 * chi.real,
        kappa_1=x["kappa_1"],
        kappa_2=x["kappa_2"],
        F=x["J"] - 1j * chi * product * cmath.exp(-1j * x["phi"]),
        theta=x["phi"] + (math.pi if product < 0 else 0.0),
        N=occupations(model["N"], 3, "N", "bath"),
        levels=levels,
    )


_SIGNED = ("Delta_1", "Delta_2", "omega_m", "J", "G_1", "G_2", "phi")
_RATES = ("kappa_1", "kappa_2", "gamma_m")


def _checked(parameters: Mapping[str, Any]) -> dict[str, float]:
    missing = [k for k in (*_SIGNED, *_RATES, "N") if k not in parameters]
    if missing:
        raise InputError(f"Argument `model`: the parameter {missing[0]!r} is missing.", field=missing[0])
    out = {k: real_number(parameters[k], k) for k in _SIGNED}
    return out | {k: real_number(parameters[k], k, least=0) for k in _RATES}
