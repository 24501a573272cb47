"""Independent reproducible random numbers for every trajectory, whoever computes it and in whatever order.

Trajectory i of a run with a given seed owns the counter-based generator Philox with key (seed, i).  Event j of a
trajectory (one jump) uses two numbers at a fixed place of its stream, so that the number of events is all there is to
remember: nothing depends on how trajectories are grouped, interrupted or spread over processes.
"""

from __future__ import annotations

import numpy as np

__all__ = ["JumpStreams", "initial_generator", "seed_key"]

_EVENTS = 64  # events whose numbers are drawn together
_START = 1  # word 3 of the counter: separates the draws of the initial state from those of the jumps


def seed_key(seed: int) -> int:
    """Return the first word of all keys of a run; any integer >= 0 is a good seed."""
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])


def _philox(key: int, trajectory: int, block: int, purpose: int) -> np.random.Generator:
    counter = np.array([0, block, 0, purpose], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=np.array([key, trajectory], dtype=np.uint64)))


def initial_generator(key: int, trajectory: int) -> np.random.Generator:
    """Return the generator from which the initial state of a trajectory is drawn."""
    return _philox(key, trajectory, 0, _START)


class JumpStreams:
    """The numbers of a block of trajectories.

    Parameters
    ----------
    key
        From :func:`seed_key`.
    trajectories
        Their indices, shape (n,).
    events
        How many events of each have been used, shape (n,); :meth:`draw` counts on, in a copy.
    """

    def __init__(self, key: int, trajectories: np.ndarray, events: np.ndarray) -> None:
        self._key = key
        self._trajectories = trajectories
        self.events = np.array(events, dtype=np.int64)
        self._blocks = np.full(len(trajectories), -1, dtype=np.int64)
        self._buffer = np.empty((len(trajectories), _EVENTS, 2))

    def draw(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the next pair of every listed trajectory: u in [0, 1) and r in (0, 1], each of shape (len(rows),)."""
        event = self.events[rows]
        block, place = np.divmod(event, _EVENTS)
        for k in np.flatnonzero(self._blocks[rows] != block):
            row = rows[k]
            generator = _philox(self._key, int(self._trajectories[row]), int(block[k]), 0)
            self._buffer[row] = generator.random((_EVENTS, 2))
            self._blocks[row] = block[k]
        self.events[rows] = event + 1
        pairs = self._buffer[rows, place]
        return pairs[:, 0], 1.0 - pairs[:, 1]
