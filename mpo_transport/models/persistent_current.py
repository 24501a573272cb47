"""Spins or bosons with correlated two-site dissipators: persistent currents by reservoir engineering.

M. Keck, D. Rossini, R. Fazio, Phys. Rev. A 98, 053812 (2018), arXiv:1809.02964; equation numbers below are theirs.
"""

from __future__ import annotations

import cmath
import inspect
import math
from typing import Any

import numpy as np

from ..errors import InputError, NotSupportedError
from ..lattice import Chain
from ..model import CurrentKind, Jump, Lindbladian
from ..operators import Boson, OpSum, SpinHalf, op
from .registry import per_item, register

__all__ = ["persistent_current"]


@register
def persistent_current(
    L: int,
    alpha: Any,
    delta: Any,
    *,
    beta: Any = None,
    gamma: Any = None,
    mu: Any = 1.0,
    J: Any = 0.0,
    lam: Any = 0.0,
    kappa: Any = 0.0,
    flux: float = 0.0,
    eps_x: Any = 0.0,
    eps_zz: Any = 0.0,
    dissipator_distance: int = 1,
    U: Any = 0.0,
    levels: float | None = None,
    periodic: bool = True,
) -> Lindbladian:
    """Return the chain or ring with correlated dissipators on pairs of sites, Eqs. (1)-(4) and (10)-(12).

        H   = sum_b ( J_b s+_i s-_j + lam_b s+_i s+_j + h.c. ) + sum_j mu_j s+_j s-_j
              + eps_x sum_j X_j + eps_zz sum_b Z_i Z_j                                    b = (i, j)
        f_b = alpha_b s-_i + beta_b s+_i + gamma_b s-_j + delta_b s+_j                    one jump per pair, rate 1
        plus local loss kappa_j D[s-_j]

    Parameters
    ----------
    L
        Number of sites.
    alpha, delta
        Amplitudes of loss on the first and of gain on the second site of a pair; scalar or one per pair, complex.
    beta, gamma
        Amplitudes of gain on the first and loss on the second site; None means conj(delta) and conj(alpha).
    mu, kappa, eps_x, U
        Per site: energy, local loss rate (>= 0), transverse field, repulsion ``U n (n-1)`` (bosons).
    J, lam, eps_zz
        Per bond: hopping, pairing, Ising coupling.
    flux
        Total phase around the ring: J -> J exp(i flux / L), Eq. (21).
    dissipator_distance
        Distance between the two sites of a correlated dissipator (2: next-nearest neighbours).
    levels
        None: spins 1/2.  An integer: bosons with states 0 .. levels-1 and s- -> a.  ``math.inf``: symbolic bosons.
    periodic
        Ring (default) or open chain.

    Raises
    ------
    InputError
        Naming the argument that is wrong; ``periodic=True`` at L = 2, whose two bonds coincide.

    Notes
    -----
    Named currents (:func:`mpo_transport.observables.current`): ``"eta"`` (default), ``"J"``, ``"xi"``, ``"lambda"``:
    I^eta = -eta s+_j s-_i + h.c. with eta = alpha gamma^* - delta beta^*; I^J = 2i(J s-_j s+_i - h.c.);
    I^xi = xi s-_j s-_i + h.c. with xi = alpha delta^* - gamma beta^*; I^lambda = 2i(lam s+_j s+_i - h.c.),
    Eqs. (14), (15), with the corrected signs and the corrected xi.

    Examples
    --------
    >>> ring = persistent_current(L=4, alpha=2.0, delta=1.5)
    >>> ring.jumps[3].operator
    2 Sm(0) + 1.5 Sp(0) + 2 Sm(3) + 1.5 Sp(3)
    """
    spins = levels is None
    lattice = Chain(L, SpinHalf() if spins else Boson(levels), periodic=periodic)  # type: ignore[arg-type]
    bonds = lattice.bonds
    pairs = lattice.pairs(dissipator_distance) if lattice.L > 1 else ()
    lower, raise_ = ("Sm", "Sp") if spins else ("A", "Adag")

    amplitudes = _amplitudes(alpha, beta, gamma, delta, len(pairs))
    hopping = per_item(J, len(bonds), "J", "bond")
    if not isinstance(flux, (int, float, np.floating)) or not math.isfinite(flux):
        raise InputError(f"Argument `flux` must be a finite real number, but is {flux!r}.", field="flux")
    if flux and not periodic:
        raise InputError("Argument `flux` needs a ring: on an open chain it can be gauged away.", field="flux")
    hopping = hopping * cmath.exp(1j * flux / L)
    pairing = per_item(lam, len(bonds), "lam", "bond")

    h = OpSum()
    for (i, j), hop, pair in zip(bonds, hopping, pairing, strict=True):
        half = complex(hop) * (op(raise_, i) * op(lower, j)) + complex(pair) * (op(raise_, i) * op(raise_, j))
        h = h + half + half.dag
    h = h + _site_terms(lattice, spins, mu, eps_x, U) + _ising(lattice, spins, eps_zz)

    jumps = _dissipators(pairs, amplitudes, lower, raise_)
    loss = per_item(kappa, L, "kappa", "site", real=True)
    if np.any(loss < 0):
        raise InputError(f"Argument `kappa` must be >= 0, but is {kappa!r}.", field="kappa")
    jumps += [Jump(op(lower, j), rate=float(k), label=f"site_{j}", charge=1) for j, k in enumerate(loss) if k > 0]

    return Lindbladian(
        lattice,
        h,
        jumps,
        name="persistent_current",
        parameters=_parameters(locals()),
        currents=_currents(amplitudes, hopping, pairing, len(bonds), lower, raise_),
    )


def _parameters(values: dict[str, Any]) -> dict[str, Any]:
    return {k: values[k] for k in inspect.signature(persistent_current).parameters}


_LARGEST_AMPLITUDE = 1e150


def _amplitudes(alpha: Any, beta: Any, gamma: Any, delta: Any, count: int) -> dict[str, np.ndarray]:
    a = per_item(alpha, count, "alpha", "pair")
    d = per_item(delta, count, "delta", "pair")
    b = d.conj() if beta is None else per_item(beta, count, "beta", "pair")
    c = a.conj() if gamma is None else per_item(gamma, count, "gamma", "pair")
    amplitudes = {"alpha": a, "beta": b, "gamma": c, "delta": d}
    for name, values in amplitudes.items():
        if np.any(np.abs(values) > _LARGEST_AMPLITUDE):
            raise InputError(
                f"Argument `{name}` is too large: its square, a rate, overflows; rescale the unit of energy.",
                field=name,
            )
    return amplitudes


def _dissipators(
    pairs: tuple[tuple[int, int], ...], amplitudes: dict[str, np.ndarray], lower: str, raise_: str
) -> list[Jump]:
    jumps = []
    columns = zip(*(amplitudes[k].tolist() for k in ("alpha", "beta", "gamma", "delta")), strict=True)
    for (i, j), (a, b, c, d) in zip(pairs, columns, strict=True):
        f = a * op(lower, i) + b * op(raise_, i) + c * op(lower, j) + d * op(raise_, j)
        if f:
            jumps.append(Jump(f, label="common"))
    return jumps


def _site_terms(lattice: Chain, spins: bool, mu: Any, eps_x: Any, U: Any) -> OpSum:
    L = lattice.L
    energy = per_item(mu, L, "mu", "site", real=True)
    field = per_item(eps_x, L, "eps_x", "site", real=True)
    repulsion = per_item(U, L, "U", "site", real=True)
    if spins and np.any(repulsion):
        raise NotSupportedError(
            "Argument `U` has no effect on spins 1/2; give `levels` for bosons with a finite repulsion.", field="U"
        )
    h = OpSum()
    for j in range(L):
        x = op("X", j) if spins else op("A", j) + op("Adag", j)
        h = h + float(energy[j]) * op("N", j) + float(field[j]) * x
        if repulsion[j]:
            h = h + float(repulsion[j]) * (op("N", j) * op("N", j) - op("N", j))
    return h


def _ising(lattice: Chain, spins: bool, eps_zz: Any) -> OpSum:
    coupling = per_item(eps_zz, len(lattice.bonds), "eps_zz", "bond", real=True)
    if not spins and np.any(coupling):
        raise NotSupportedError("Argument `eps_zz` is defined for spins only; use levels=None.", field="eps_zz")
    h = OpSum()
    for (i, j), e in zip(lattice.bonds, coupling, strict=True):
        h = h + float(e) * (op("Z", i) * op("Z", j))
    return h


def _currents(
    amplitudes: dict[str, np.ndarray], hopping: np.ndarray, pairing: np.ndarray, bonds: int, lower: str, raise_: str
) -> dict[str, CurrentKind]:
    a, b, c, d = (amplitudes[k] for k in ("alpha", "beta", "gamma", "delta"))
    eta = _per_bond(a * c.conj() - d * b.conj(), bonds)
    xi = _per_bond(a * d.conj() - c * b.conj(), bonds)

    def kind(coefficients: np.ndarray, left: str, right: str, text: str) -> CurrentKind:
        return CurrentKind(tuple(complex(x) for x in coefficients), left, right, text)

    return {
        "eta": kind(-eta, lower, raise_, "dissipative current I^eta"),
        "J": kind(2j * hopping, raise_, lower, "hopping current I^J"),
        "xi": kind(xi, lower, lower, "dissipative pair current I^xi"),
        "lambda": kind(2j * pairing, raise_, raise_, "pairing current I^lambda"),
    }


def _per_bond(values: np.ndarray, bonds: int) -> np.ndarray:
    """Pairs of a larger distance are fewer than bonds on an open chain: repeat the last value."""
    if len(values) == 0:
        return np.zeros(bonds, dtype=complex)
    return np.concatenate([values, np.full(max(bonds - len(values), 0), values[-1])])[:bonds]
