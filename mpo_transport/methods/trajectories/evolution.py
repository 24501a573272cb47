"""Moving a block of trajectories: no jump while |psi|^2 exceeds a random number r, then one jump.

The time of the jump solves |psi(t)|^2 = r.  It is bracketed by stored exponentials exp(A h 2^k), tried from the longest
to the shortest for all trajectories of the block at once, and then found as the root of the polynomial |psi(t)|^2 of
the Taylor series within one step h, to rounding: there is no time step to choose and none to extrapolate.
(J. Dalibard, Y. Castin, K. Molmer, Phys. Rev. Lett. 68, 580 (1992); waiting times as in M. B. Plenio, P. L. Knight,
Rev. Mod. Phys. 70, 101 (1998), Sec. III.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .propagator import Propagator, SectorOperators
from .streams import JumpStreams

__all__ = ["Block", "advance_block"]

_SERIES_TOL = 1e-14
_MOST_TERMS = 80
_MOST_BISECTIONS = 60
_RESOLUTION = 2e-15  # of a step, and of |psi|^2: the rounding of the series
_RATE_FLOOR = 1e-13  # jump rates below this share of the largest rate are rounding
_STACK_ENTRIES = 2**21
_ROUND_COST = 3e-4  # seconds of interpreter time per round, and per complex multiplication: a model of the work that
_ENTRY_COST = 4e-9  # does not depend on the clock, so that the division of work is reproducible


@dataclass
class Block:
    """Trajectories that are moved together; changed in place by :func:`advance_block`.

    ``vectors`` (n, width) in the basis of ``sectors`` (n,), not normalised; ``thresholds`` r (n,); ``cost`` counts
    model seconds of work.
    """

    vectors: np.ndarray
    sectors: np.ndarray
    thresholds: np.ndarray
    streams: JumpStreams
    cost: float = 0.0
    jumps: int = field(default=0)

    def normalise(self) -> None:
        """Set all norms to one and divide the thresholds accordingly."""
        squares = _squares(self.vectors.T)
        self.vectors /= np.sqrt(squares)[:, None]
        self.thresholds = np.minimum(self.thresholds / squares, 1.0)


def advance_block(propagator: Propagator, block: Block, duration: float) -> None:
    """Move every trajectory of the block forward by ``duration``, through as many jumps as it makes."""
    left = np.full(len(block.vectors), float(duration))
    while True:
        active = np.flatnonzero(left > 0)
        if not len(active):
            return
        sectors = block.sectors[active]
        for q in np.unique(sectors):
            _round(propagator, block, int(q), active[sectors == q], left)


def _round(propagator: Propagator, block: Block, q: int, rows: np.ndarray, left: np.ndarray) -> None:
    """Take the trajectories of one sector through stored exponentials and one series step, to at most one jump."""
    o = propagator.operators[q]
    d = len(propagator.basis[q])
    x = np.ascontiguousarray(block.vectors[rows, :d].T)
    r = block.thresholds[rows]
    remaining = left[rows]
    bracket = _hop(o, x, r, remaining, block)
    near = np.flatnonzero(np.minimum(bracket, remaining) <= o.step * (1 + 1e-9)) if o.hops else np.arange(len(rows))
    jumping = np.zeros(len(rows), dtype=bool)
    if len(near):
        y, moved, crossed = _series_step(o, np.ascontiguousarray(x[:, near]), r[near], remaining[near], block)
        x[:, near] = y
        remaining[near] = np.where(moved < remaining[near], remaining[near] - moved, 0.0)
        jumping[near] = crossed
    block.cost += _ROUND_COST
    still = np.flatnonzero(~jumping)
    block.vectors[rows[still], :d] = x[:, still].T
    left[rows] = remaining
    if np.any(jumping):
        _jump(propagator, block, o, rows[jumping], np.ascontiguousarray(x[:, jumping]))


def _hop(o: SectorOperators, x: np.ndarray, r: np.ndarray, remaining: np.ndarray, block: Block) -> np.ndarray:
    """Cross stretches without a jump in place; return an upper bound of the time to the next jump, inf if unknown."""
    bracket = np.full(len(r), np.inf)
    for k in reversed(range(len(o.hops))):
        size = o.step * 2.0**k
        chosen = np.flatnonzero((size < remaining) & (size <= bracket))
        if not len(chosen):
            continue
        trial = o.hops[k] @ x[:, chosen]
        survives = _squares(trial) > r[chosen] if o.jumps is not None else np.ones(len(chosen), dtype=bool)
        accepted, refused = chosen[survives], chosen[~survives]
        x[:, accepted] = trial[:, survives]
        remaining[accepted] -= size
        bracket[accepted] -= size
        bracket[refused] = np.minimum(bracket[refused], size)
        block.cost += _ENTRY_COST * o.entries * len(chosen)
    return bracket


def _series_step(
    o: SectorOperators, x: np.ndarray, r: np.ndarray, remaining: np.ndarray, block: Block
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move by at most one step h, stopping where |psi|^2 = r; returns states, times moved, and who has stopped."""
    span = np.minimum(remaining, o.step)
    terms = _series(o, x, float(span.max()) / o.step)
    block.cost += _ENTRY_COST * (o.entries + 4 * len(x)) * x.shape[1] * len(terms)
    moved = span
    y = _sum_series(terms, span / o.step) * np.exp(o.shift * span)
    if o.jumps is None:
        return y, moved, np.zeros(len(r), dtype=bool)
    crossed = _squares(y) <= r
    where = np.flatnonzero(crossed)
    if len(where):
        stack = np.stack([t[:, where] for t in terms])  # (terms, d, n)
        at = _crossing(stack, 2 * o.shift * o.step, r[where], span[where] / o.step)
        y[:, where] = _sum_series(list(stack), at) * np.exp(o.shift * o.step * at)
        moved = span.copy()
        moved[where] = at * o.step
    return y, moved, crossed


def _series(o: SectorOperators, x: np.ndarray, largest: float) -> list[np.ndarray]:
    """Return the terms (A' h)^m x / m!, m = 0, 1, ..., until the rest is below rounding for times <= largest * h."""
    terms = [x]
    scale = np.sqrt(_squares(x))
    factor = 1.0
    for m in range(1, _MOST_TERMS):
        terms.append((o.matrix @ terms[-1]) * (o.step / m))
        factor *= largest
        ratio = o.theta * largest / (m + 1)
        if ratio < 0.5 and np.all(np.sqrt(_squares(terms[-1])) * factor * ratio <= _SERIES_TOL * scale):
            break
    return terms


def _sum_series(terms: list[np.ndarray], at: np.ndarray) -> np.ndarray:
    out = terms[-1].copy()
    for term in reversed(terms[:-1]):
        out *= at
        out += term
    return out


def _crossing(stack: np.ndarray, decay: float, r: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Return the root s of |sum_m V_m s^m|^2 exp(decay s) = r in [0, span] by safeguarded Newton steps, shape (n,)."""
    v = stack.transpose(2, 0, 1)  # (n, terms, d)
    gram = (v.conj() @ v.transpose(0, 2, 1)).real
    m = gram.shape[1]
    power = np.add.outer(np.arange(m), np.arange(m)).ravel()
    order = np.arange(2 * m - 1)
    coefficients = gram.reshape(len(r), -1) @ (power[:, None] == order).astype(float)
    slopes = coefficients[:, 1:] * order[1:]
    low, high = np.zeros_like(span), span.copy()
    s = 0.5 * span
    powers = np.ones_like(coefficients)
    for _ in range(_MOST_BISECTIONS):
        powers[:, 1:] = s[:, None]
        np.cumprod(powers, axis=1, out=powers)
        norm = np.einsum("nk,nk->n", coefficients, powers)
        slope = np.einsum("nk,nk->n", slopes, powers[:, :-1])
        damping = np.exp(decay * s)
        value = norm * damping - r
        derivative = (slope + decay * norm) * damping
        low, high = np.where(value > 0, s, low), np.where(value > 0, high, s)
        newton = s - value / np.where(derivative < 0, derivative, -1e-300)
        middle = 0.5 * (low + high)
        following = np.where((newton > low) & (newton < high), newton, middle)
        done = (np.abs(following - s) <= _RESOLUTION * span) | (np.abs(value) <= _RESOLUTION * norm)
        s = np.where(done, s, following)
        if np.all(done):
            break
    return s


def _jump(propagator: Propagator, block: Block, o: SectorOperators, rows: np.ndarray, x: np.ndarray) -> None:
    """Apply to every column of x the jump drawn with probability |sqrt(rate_k) L_k x|^2, and renew its threshold."""
    size = max(1, _STACK_ENTRIES // o.jumps.shape[0])
    for a in range(0, len(rows), size):
        _jump_chunk(propagator, block, o, rows[a : a + size], x[:, a : a + size])


def _jump_chunk(propagator: Propagator, block: Block, o: SectorOperators, rows: np.ndarray, x: np.ndarray) -> None:
    d = len(x)
    images = o.jumps @ x
    weights = np.add.reduceat(np.abs(images) ** 2, o.offsets, axis=0)  # (jumps, n)
    block.cost += _ENTRY_COST * (images.size * 4 if o.hops == () else o.jumps.size * len(rows))
    total = weights.sum(axis=0)
    squares = _squares(x)
    dark = total <= _RATE_FLOOR * squares / o.step
    if np.any(dark):  # the norm crossed r by rounding alone: nothing can jump, so the state only gets a lower threshold
        block.vectors[rows[dark], :d] = x[:, dark].T
        block.thresholds[rows[dark]] *= 1 - 1e-9
    bright = np.flatnonzero(~dark)
    if not len(bright):
        return
    u, r = block.streams.draw(rows[bright])
    cumulative = np.cumsum(weights[:, bright], axis=0)
    choice = np.minimum((cumulative <= u * cumulative[-1]).sum(axis=0), len(o.targets) - 1)
    block.thresholds[rows[bright]] = r
    block.jumps += len(bright)
    for k in np.unique(choice):
        columns = bright[choice == k]
        target = o.targets[k]
        height = len(propagator.basis[target])
        image = images[o.offsets[k] : o.offsets[k] + height, columns]
        chosen = rows[columns]
        block.vectors[chosen] = 0.0
        block.vectors[chosen, :height] = (image / np.sqrt(_squares(image))).T
        block.sectors[chosen] = target


def _squares(x: np.ndarray) -> np.ndarray:
    """Return |x|^2 of every column."""
    return np.einsum("in,in->n", x.real, x.real) + np.einsum("in,in->n", x.imag, x.imag)
