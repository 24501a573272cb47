"""What trajectories share: propagators, worker processes, the scales of the model, and moving them a piece further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...model import Lindbladian
from ...states import EnsembleState, State
from .initial import Sampler
from .pool import Task, Workers
from .propagator import Propagator, build_propagator
from .records import local_sets
from .sectors import SectorBasis, sector_basis, strong_sectors, whole_space
from .streams import JumpStreams, initial_generator, seed_key

__all__ = ["Crowd", "TrajectoryWork"]

_BLOCK_ENTRIES = 2**16
_LARGEST_BLOCK, _SMALLEST_BLOCK = 128, 8
_SLICE_COST = 1.0  # model seconds of one advance


@dataclass(frozen=True, eq=False)
class Crowd:
    """All trajectories at one time: normalised ``vectors`` (n, width) in ``sectors`` (n,), the ``thresholds`` (n,) of
    their next jumps, and the numbers of ``events`` (n,) drawn."""

    vectors: np.ndarray
    sectors: np.ndarray
    thresholds: np.ndarray
    events: np.ndarray

    def arrays(self, *, with_vectors: bool) -> dict[str, np.ndarray]:
        """Return what a checkpoint stores; the vectors may be those of the state."""
        out = {"thresholds": self.thresholds, "events": self.events}
        return out | ({"vectors": self.vectors, "sectors": self.sectors} if with_vectors else {})

    @staticmethod
    def stored(arrays: Mapping[str, np.ndarray], state: State) -> Crowd:
        """Return the trajectories of a checkpoint."""
        source = arrays if "vectors" in arrays else state.arrays()
        vectors = source["vectors"]
        sectors = source.get("sectors", np.zeros(len(vectors), dtype=np.int64))
        return Crowd(vectors, sectors, arrays["thresholds"], arrays["events"])


class TrajectoryWork:
    """Built by ``prepare``; holds nothing that a restart could not rebuild."""

    def __init__(self, model: Lindbladian, tol: float, seed: int, processes: int, task: str) -> None:
        self.model, self.tol, self.key, self.processes, self.task = model, tol, seed_key(seed), processes, task
        self.dims = tuple(int(d) for d in model.lattice.dims)
        self.sets = local_sets(model.lattice)
        scales = [j.rate * max((abs(c) for _, c in j.operator), default=0.0) ** 2 for j in model.jumps]
        self.rates = np.array([s for s in scales if s > 0])
        self.strong_sectors = strong_sectors(model)
        self.bases: dict[bool, SectorBasis] = {True: sector_basis(model)}
        if len(self.bases[True].indices) == 1:
            self.bases[False] = self.bases[True]
        self._propagators: dict[bool, Propagator] = {}
        self._workers: dict[bool, Workers] = {}

    def basis(self, in_sectors: bool) -> SectorBasis:
        """Return the basis in which vectors are stored."""
        if in_sectors not in self.bases:
            self.bases[in_sectors] = whole_space(self.model.lattice)
        return self.bases[in_sectors]

    def propagator(self, in_sectors: bool) -> Propagator:
        """Return the propagator, built at the first call."""
        if in_sectors not in self._propagators:
            self._propagators[in_sectors] = build_propagator(self.model, self.basis(in_sectors))
        return self._propagators[in_sectors]

    def _team(self, in_sectors: bool) -> Workers:
        if in_sectors not in self._workers:
            self._workers[in_sectors] = Workers(self.propagator(in_sectors), self.sets, self.processes)
        return self._workers[in_sectors]

    def first_crowd(self, trajectories: int, sample: Sampler) -> tuple[Crowd, bool]:
        """Return the trajectories at time 0, and whether all of them lie within sectors."""
        in_sectors = len(self.bases[True].indices) > 1
        drawn = self._drawn(trajectories, sample, self.basis(in_sectors))
        if drawn is None:
            in_sectors = False
            drawn = self._drawn(trajectories, sample, self.basis(False))
        assert drawn is not None
        streams = JumpStreams(self.key, np.arange(trajectories), np.zeros(trajectories, dtype=np.int64))
        _, thresholds = streams.draw(np.arange(trajectories))
        return Crowd(*drawn, thresholds, streams.events), in_sectors

    def _drawn(self, trajectories: int, sample: Sampler, basis: SectorBasis) -> tuple[np.ndarray, np.ndarray] | None:
        vectors = np.zeros((trajectories, basis.width), dtype=complex)
        sectors = np.zeros(trajectories, dtype=np.int64)
        for k in range(trajectories):
            psi = sample(k, initial_generator(self.key, k))
            sector = basis.sector_of(psi)
            if sector is None:
                return None
            indices = basis.indices[sector]
            vectors[k, : len(indices)] = psi[indices]
            sectors[k] = sector
        return vectors, sectors

    # -- moving -------------------------------------------------------------------------------------------------------

    def first_pace(self, trajectories: int, in_sectors: bool) -> float:
        """Return a guess of the model seconds of work per unit of time."""
        per_step = [(o.entries * 12 + 100) * 4e-9 / o.step for o in self.propagator(in_sectors).operators]
        return trajectories * max(per_step)

    def affordable(self, pace: float) -> float:
        """Return the time that one advance may cover."""
        return _SLICE_COST / max(pace, 1e-12)

    def move(
        self, crowd: Crowd, in_sectors: bool, stretches: tuple[float, ...], *, measured: bool
    ) -> tuple[Crowd, np.ndarray, np.ndarray, float, int]:
        """Move all trajectories through the stretches of time.

        Returns
        -------
        tuple
            The trajectories, sums (n, M) and squares (M,) of the local quantities after every stretch, the model
            seconds per unit of time, and the number of jumps.
        """
        n, width = crowd.vectors.shape
        size = int(np.clip(_BLOCK_ENTRIES // width, _SMALLEST_BLOCK, _LARGEST_BLOCK))
        count = -(-n // size)
        parts = [slice(k * n // count, (k + 1) * n // count) for k in range(count)]
        tasks = [
            Task(
                crowd.vectors[p], crowd.sectors[p], crowd.thresholds[p], np.arange(n)[p], crowd.events[p], self.key,
                stretches, measured,
            )
            for p in parts
        ]  # fmt: skip
        done = self._team(in_sectors).map(tasks)
        new = Crowd(
            *(np.concatenate([getattr(m, f) for m in done]) for f in ("vectors", "sectors", "thresholds", "events"))
        )
        squares = np.zeros_like(done[0].squares)
        for m in done:
            squares += m.squares
        pace = sum(m.cost for m in done) / sum(stretches)
        return new, np.concatenate([m.sums for m in done]), squares, pace, sum(m.jumps for m in done)

    def state(self, crowd: Crowd, in_sectors: bool) -> EnsembleState:
        """Return the mixture of all trajectories at one time; each is an independent unit."""
        return EnsembleState(
            self.model.lattice,
            crowd.vectors,
            groups=np.arange(len(crowd.vectors)),
            **self.sector_arguments(crowd.sectors, in_sectors),
        )

    def sector_arguments(self, sectors: np.ndarray, in_sectors: bool) -> dict[str, Any]:
        """Return the arguments with which an :class:`EnsembleState` understands vectors in sectors."""
        basis = self.basis(in_sectors)
        return {"sectors": sectors, "basis": basis.indices} if len(basis.indices) > 1 else {}
