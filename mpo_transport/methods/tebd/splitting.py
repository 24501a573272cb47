"""Splittings of exp((A + B) dt), and how they become passes over a tensor train.

Second order is Strang's splitting.  Fourth order is the six-stage splitting of S. Blanes and P. C. Moan, J. Comput.
Appl. Math. 142, 313 (2002), whose small real coefficients keep it stable under strong dissipation, where the
compositions of Suzuki and Yoshida with their large negative steps diverge.  Sixth order is their ten-stage splitting:
with Lambda the stiffest local rate it costs less than fourth order for the same error where Lambda dt is below about 2.

A generator that falls into two sets of commuting terms (an open chain: even and odd bonds) is split directly.  Any
other one is swept over: S(h) = exp(h G_n) ... exp(h G_1) and its mirror image S*(h), composed as S(alpha_1 h),
S*(beta_1 h), S(alpha_2 h), ... with alpha_1 = a_1, beta_i = b_i - alpha_i, alpha_{i+1} = a_{i+1} - beta_i; the order is
inherited (R. I. McLachlan, SIAM J. Sci. Comput. 16, 151 (1995)).
"""

from __future__ import annotations

from ...errors import InputError

__all__ = ["ORDERS", "layer_sequence", "splitting", "sweep_sequence"]

ORDERS = (2, 4, 6)

_BLANES_MOAN_A = (0.0792036964311957, 0.353172906049774, -0.0420650803577195)
_BLANES_MOAN_B = (0.209515106613362, -0.143851773179818)
_BLANES_MOAN_6A = (0.0502627644003922, 0.413514300428344, 0.0450798897943977, -0.188054853819569, 0.541960678450780)
_BLANES_MOAN_6B = (0.148816447901042, -0.132385865767784, 0.067307604692185, 0.432666402578175)


def splitting(order: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (a, b) with exp((A+B) h) ~ exp(a_1 h A) exp(b_1 h B) exp(a_2 h A) ...; len(a) = len(b) + 1.

    >>> a, b = splitting(4)
    >>> len(a), abs(sum(a) - 1) < 1e-15, abs(sum(b) - 1) < 1e-15
    (7, True, True)
    """
    if order == 2:
        return (0.5, 0.5), (1.0,)
    if order == 4:
        a1, a2, a3 = _BLANES_MOAN_A
        b1, b2 = _BLANES_MOAN_B
        b3, a4 = 0.5 - b1 - b2, 1 - 2 * (a1 + a2 + a3)
        return (a1, a2, a3, a4, a3, a2, a1), (b1, b2, b3, b3, b2, b1)
    if order == 6:
        a6, b5 = 1 - 2 * sum(_BLANES_MOAN_6A), 0.5 - sum(_BLANES_MOAN_6B)
        half = (*_BLANES_MOAN_6B, b5)
        return (*_BLANES_MOAN_6A, a6, *_BLANES_MOAN_6A[::-1]), (*half, *half[::-1])
    raise InputError(f"Argument `order` must be 2, 4 or 6, but is {order!r}.", field="order")


def layer_sequence(order: int, steps: int) -> list[tuple[int, float]]:
    """Return (group 0 or 1, fraction of dt) of all layers of ``steps`` steps, neighbouring ones of a group merged.

    >>> layer_sequence(2, 2)
    [(0, 0.5), (1, 1.0), (0, 1.0), (1, 1.0), (0, 0.5)]
    """
    a, b = splitting(order)
    body = [(k % 2, (b if k % 2 else a)[k // 2]) for k in range(len(a) + len(b))]
    out = body[:1]
    for step in range(steps):
        out += body[1:-1]
        out.append((0, a[-1] + a[0]) if step < steps - 1 else body[-1])
    return out


def sweep_sequence(order: int) -> list[float]:
    """Return the fractions alpha_1, beta_1, alpha_2, ... of dt of the alternating one-directional sweeps of one step.

    >>> sweep_sequence(2)
    [0.5, 0.5]
    """
    a, b = splitting(order)
    out: list[float] = []
    for ai, bi in zip(a[:-1], b, strict=True):
        alpha = ai - (out[-1] if out else 0.0)
        out += [alpha, bi - alpha]
    return out  # the last alpha, a_n - beta_n, vanishes for a symmetric splitting
