r"""Layers on two threads: two halves of a train that meet at one bond, so that both can be swept at once.

With the centre matrix C of the bond c in the middle, the state is cut without losing what a truncation must know,

    psi = (A ... A Q) C (B ... B) = M S^{-1} N,        M = A ... A Q S,    N = C B ... B,

S the norms of the rows of C, Q turned such that these rows are orthogonal (singular vectors) at the beginning and
hardly anything else later, since Q = orth(theta B^T) follows them from layer to layer (orthogonal iteration).  Each
half then is a train of its own with its centre at the cut, whose open index carries the weight of the other half: its
truncations are as good as those of the whole.  Layers with a gate on c alternate with layers without, so a half can
apply what is left of the one on the way out and the next one on the way back; then the gate of the following layer on c
joins both,

    theta = G (M S^{-1} N),        S^{-1} N = (S^{-1} C') B',

and parts them again.  S^{-1} C' is bounded however small the values of S are, as in the update of M. B. Hastings,
J. Math. Phys. 50, 095207 (2009); both halves are right to rounding errors of |psi|, so that directions of less weight
are dropped (and found again by the next gate).

The half that the centre comes from is ahead by one layer:

    near half    1 in    c    2 out, 3 in    c    4 out, 5 in    c    ...
    far half                  1 out, 2 in         3 out, 4 in         ...

Both threads do the same whenever they do it: results do not depend on which is faster.  A layer may take less time than
it takes to wake a thread, so each runs one compiled loop over all layers and looks for the other's progress in memory;
only if that is long in coming (one processor for both, say) does it give way or sleep.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from . import blocks
from .blocks import carry, close, join

__all__ = ["carry_halves", "meeting_bond"]

# Sites of a half at least.
SHORTEST = 2
# Multiplications per layer from which on two threads pay.
ENOUGH = 3e4
# Entries of the table of progress, a cache line apart: passes handed to the far half, finished by it, a thread failed.
HANDED, FINISHED, FAILED, PROGRESS = 0, 8, 16, 24
# Looks at the table of progress before a thread gives way to others: some tenths of a millisecond, fewer where the
# other thread needs the processor; how often it does so in vain before it sleeps, and for how long (seconds).
LOOKS, FEWEST, PATIENT, NAP = 200_000, 1000, 100, 1e-4


def meeting_bond(passes: np.ndarray, m: np.ndarray) -> int | None:
    """Return the bond at which two halves meet, or None where one thread does better or layers do not alternate.

    It has a gate in the first, third, ... pass and none in the others (see :func:`.blocks.carry` for the arguments).
    """
    total = m.sum(axis=1).astype(float)
    if len(passes) < 3 or float(np.sum(total[:-2] * total[1:-1] * total[2:])) < ENOUGH:
        return None
    fits = np.all(passes[::2] >= 0, axis=0) & np.all(passes[1::2] < 0, axis=0)
    fits[: SHORTEST - 1] = fits[passes.shape[1] - SHORTEST + 1 :] = False
    found = np.nonzero(fits)[0]
    return int(found[np.argmin(np.abs(2 * found - (passes.shape[1] - 1)))]) if len(found) else None


def carry_halves(
    data: np.ndarray,
    starts: np.ndarray,
    m: np.ndarray,
    n: np.ndarray,
    gates: np.ndarray,
    passes: np.ndarray,
    forward: bool,
    iterations: int,
    weights: np.ndarray,
    weigh: bool,
) -> None:
    """Do what :func:`.blocks.carry` does, on two threads where that pays."""
    c = meeting_bond(passes, m)
    if c is None:
        blocks.compiled()[0](data, starts, m, n, gates, passes, forward, iterations, weights, weigh)
        return
    near, far = _halves(c, forward, starts, m, n, passes, weights)
    fast_carry, fast_join = blocks.compiled()[0], blocks.compiled_halves()[1]
    values, link = np.zeros(int(m[c + 1].sum())), np.zeros(int(m[c + 1] @ m[c + 1]))
    count = len(passes)
    last = 2 * ((count - 1) // 2)
    whole = (data, starts, m, n)

    def swept(half: _Half, first: int, stop: int, go: bool) -> None:
        some = half.passes[first:stop]
        fast_carry(data, half.starts, half.m, half.n, gates, some, go, iterations, half.weights, weigh)

    def meet(number: int, *, to_right: bool, apart: bool, part: bool) -> None:
        place = passes[number, c]
        fast_join(*whole, gates, place, c, to_right, iterations, weights, weigh, values, link, apart, part)

    swept(near, 0, 1, forward)
    meet(0, to_right=forward, apart=False, part=True)
    if last:
        places = passes[:, c].copy()
        common = (*whole, gates, c, forward, iterations, weigh, values, link)
        _both(last, (common, tuple(near), places, weights), (common, tuple(far)))
    swept(far, last, count, forward)
    if count % 2 == 0:
        meet(count - 1, to_right=not forward, apart=False, part=False)
        swept(near, count - 1, count, not forward)


class _Half(NamedTuple):
    """What :func:`.blocks.carry` asks for, of one half."""

    starts: np.ndarray
    m: np.ndarray
    n: np.ndarray
    passes: np.ndarray
    weights: np.ndarray


def _halves(
    c: int,
    forward: bool,
    starts: np.ndarray,
    m: np.ndarray,
    n: np.ndarray,
    passes: np.ndarray,
    weights: np.ndarray,
) -> tuple[_Half, _Half]:
    """Return the half that the centre comes from and the other one, cut at the bond c."""

    def half(sites: slice, bonds: slice, inner: slice) -> _Half:
        return _Half(starts[sites], m[bonds], n[sites], passes[:, inner].copy(), weights[inner])

    left = half(slice(0, c + 1), slice(0, c + 2), slice(0, c))
    right = half(slice(c + 1, None), slice(c + 1, None), slice(c + 1, None))
    return (left, right) if forward else (right, left)


def _both(last: int, near: tuple[Any, ...], far: tuple[Any, ...]) -> None:
    """Run :func:`_near` and :func:`_far` up to the pass ``last`` on two threads."""
    run_near, run_far = compiled_loops()
    progress = np.zeros(PROGRESS, dtype=np.int64)

    def until_done(step: Callable[[int, int, bool], int], core: int | None) -> None:
        done, looks, again, vain = 0, LOOKS, False, 0
        try:
            with _bound(core):
                while done < last and not progress[FAILED]:
                    before, done = done, step(done, looks, again)
                    again, vain = True, 0 if done > before else vain + 1
                    # more than the step that was waited for: looking was enough for the next ones
                    looks = min(2 * looks, LOOKS) if done > before + 2 else max(looks // 2, FEWEST)
                    if done < last:
                        _give_way(vain)
        except BaseException:
            progress[FAILED] = 1
            raise

    one, two = _two_cores()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(until_done, lambda done, looks, _: run_far(done, last, progress, looks, *far), two)
        until_done(lambda done, looks, again: run_near(done, last, again, progress, looks, *near), one)
        other.result()


def _give_way(vain: int) -> None:
    """Let other threads have the processor, it may be the one waited for; sleep after looking in vain for long."""
    if vain < PATIENT and hasattr(os, "sched_yield"):
        os.sched_yield()
    else:
        time.sleep(NAP)


def _two_cores() -> tuple[int | None, int | None]:
    """Return the two cores that this process may use; (None, None) if there are more, or none to choose from."""
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) == 2:
            return cores[0], cores[1]
    return None, None


@contextmanager
def _bound(core: int | None) -> Iterator[None]:
    """Keep this thread on a core: with two of them, it would be moved to that of the other thread now and then."""
    before = os.sched_getaffinity(0) if core is not None else set()
    try:
        if core is not None:
            with suppress(OSError):  # it is not allowed everywhere, and only saves time
                os.sched_setaffinity(0, {core})
        yield
    finally:
        if core is not None:
            with suppress(OSError):
                os.sched_setaffinity(0, before)


# -- compiled ----------------------------------------------------------------------------------------------------------


def _read(progress, entry):  # type: ignore[no-untyped-def]
    """Return an entry that the other thread writes."""
    return progress[entry]


def _write(progress, entry, value):  # type: ignore[no-untyped-def]
    """Set an entry that the other thread reads, after everything done so far."""
    progress[entry] = value


def _reached(progress, entry, value, looks):  # type: ignore[no-untyped-def]
    """Wait for an entry to reach a value; False after so many looks or if the other thread has failed."""
    for _ in range(looks):
        if _read(progress, entry) >= value:
            return True
        if _read(progress, FAILED):
            return False
    return False


def _near(first, last, again, progress, looks, common, own, places, weights):  # type: ignore[no-untyped-def]
    """Do the near half's share of the passes from ``first`` on, and the gates between; return how far it came.

    ``again``: after a sleep, with the own share of the passes after ``first`` done.
    """
    data, starts, m, n, gates, c, forward, iterations, weigh, values, link = common
    own_starts, own_m, own_n, passes, seen = own
    for k in range(first, last, 2):
        if not again:
            _write(progress, HANDED, k + 2)
            carry(data, own_starts, own_m, own_n, gates, passes[k + 1 : k + 3], not forward, iterations, seen, weigh)
        if not _reached(progress, FINISHED, k + 2, looks):
            return k
        again = False
        part = k + 2 < last
        join(data, starts, m, n, gates, places[k + 2], c, forward, iterations, weights, weigh, values, link, True, part)
    return last


def _far(first, last, progress, looks, common, own):  # type: ignore[no-untyped-def]
    """Do the far half's share of the passes from ``first`` on; return how far it came."""
    data, starts, m, n, gates, c, forward, iterations, weigh, values, link = common
    own_starts, own_m, own_n, passes, seen = own
    for k in range(first, last, 2):
        if not _reached(progress, HANDED, k + 2, looks):
            return k
        carry(data, own_starts, own_m, own_n, gates, passes[k : k + 2], forward, iterations, seen, weigh)
        close(data, starts, m, n, c, forward, values, link)
        _write(progress, FINISHED, k + 2)
    return last


@functools.cache
def compiled_loops() -> tuple[Callable[..., int], Callable[..., int]]:
    """Return :func:`_near` and :func:`_far`, compiled where :func:`.blocks.carry` is."""
    if not blocks.compiled()[1]:
        return _near, _far
    import numba
    from numba.core import cgutils, types
    from numba.extending import intrinsic

    def pointer(context: Any, builder: Any, kind: Any, array: Any, entry: Any) -> Any:
        made = context.make_array(kind)(context, builder, array)
        return cgutils.get_item_pointer(context, builder, kind, made, [entry], wraparound=False)

    # plain loads in a loop would be moved out of it, and stores past those of the work they announce

    @intrinsic
    def read(typing: Any, progress: Any, entry: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load_atomic(pointer(context, builder, signature.args[0], *args), "acquire", 8)

        return types.int64(progress, types.intp), code

    @intrinsic
    def write(typing: Any, progress: Any, entry: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store_atomic(args[2], pointer(context, builder, signature.args[0], *args[:2]), "release", 8)
            return context.get_dummy_value()

        return types.void(progress, types.intp, types.int64), code

    close, join = blocks.compiled_halves()
    globals().update(_read=read, _write=write, carry=blocks.compiled()[0], close=close, join=join)
    globals()["_reached"] = numba.njit(nogil=True)(_reached)
    fast = numba.njit(cache=True, nogil=True)
    return fast(_near), fast(_far)
