"""Steady states by time averages: burn-in found from the data, samples in batches, honest stopping.

The bookkeeping is a frozen :class:`Sampling` that turns into scalars and arrays of a checkpoint and back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...states import EnsembleState
from ...states.ensemble import student_factor
from ...states.local_records import LocalRecords
from .records import worst_error
from .statistics import Batches, Units, correlation_time, disagreement, drift, new_batches
from .work import Crowd, TrajectoryWork

__all__ = ["PASSES", "Sampling", "Verdict"]

_SNAPSHOT_BYTES = 64 * 2**20
_GUARD = 5.0  # a burn-in without different starts to compare lasts at least so many times the slowest rate's time
_ALARM = 0.05  # chance of a false alarm while the burn-in is looked for: it only makes it longer
PASSES = 2  # successive doublings of the time that must show no transient
_CHECK_GROWTH = 1.2  # errors are looked at each time the samples have grown by this factor: no shopping for low ones


@dataclass(frozen=True)
class Verdict:
    """What the data say: twice the worst error, two tests (above 1: a transient is seen), the correlation time."""

    claimed: float
    drift: float
    disagreement: float
    correlation_time: float

    @property
    def at_rest(self) -> bool:
        """Whether neither test sees a transient."""
        return self.drift <= 1 and self.disagreement <= 1


@dataclass(frozen=True, eq=False)
class Sampling:
    """Where the calculation of a steady state is.

    Attributes
    ----------
    stage
        ``"discard"`` (a burn-in of given length), ``"search"`` (its length is being found) or ``"sample"``.
    time, since
        Time reached, and time since the last sample.
    interval
        Time between samples.
    begin
        Where sampling began (the burn-in).
    starts
        Number of different starting points that are compared, 1: none.
    batches, snapshots, snapshot_sectors
        Accumulated local quantities, and pure states kept at the end of every batch, shape (B, n', width).
    next_check
        Samples at which errors are looked at again.
    restarts, passes
        How often a transient was seen after the burn-in; successive tests passed during it.
    """

    stage: str
    interval: float
    starts: int
    batches: Batches
    snapshots: np.ndarray
    snapshot_sectors: np.ndarray
    time: float = 0.0
    since: float = 0.0
    begin: float = 0.0
    next_check: int = 0
    restarts: int = 0
    passes: int = 0

    @classmethod
    def begun(cls, work: TrajectoryWork, crowd: Crowd, stage: str, interval: float, starts: int) -> Sampling:
        """Return the bookkeeping at time 0."""
        n, width = crowd.vectors.shape
        batches = new_batches(n, sum(s.size for s in work.sets))
        per = batches.sums.shape[1]
        kept = int(np.clip(_SNAPSHOT_BYTES // (16 * width * per), 1, n))
        empty = np.zeros((per, kept, width), dtype=complex)
        return cls(stage, interval, starts, batches, empty, np.zeros((per, kept), dtype=np.int64))

    # -- plan and record ----------------------------------------------------------------------------------------------

    def plan(self, affordable: float, burn_in: float | None, samples: int | None) -> tuple[tuple[float, ...], bool]:
        """Return the next stretches of time, and whether a sample is taken after each."""
        if self.stage == "discard":
            assert burn_in is not None
            return (min(affordable, burn_in - self.time),), False
        due = self.interval - self.since
        if affordable < due:
            return (affordable,), False
        count = min(1 + int((affordable - due) / self.interval), self.batches.room)
        if samples is not None and self.stage == "sample":
            count = min(count, max(samples - self.batches.samples, 1))
        return (due,) + (self.interval,) * (count - 1), True

    def moved(self, stretches: tuple[float, ...], burn_in: float | None) -> Sampling:
        """Return the bookkeeping after stretches without samples."""
        time = self.time + sum(stretches)
        if self.stage != "discard":
            return replace(self, time=time, since=self.since + sum(stretches))
        assert burn_in is not None
        if time < burn_in * (1 - 1e-12):
            return replace(self, time=time)
        return replace(self, time=burn_in, begin=burn_in, stage="sample")

    def sampled(self, stretches: tuple[float, ...], sums: np.ndarray, squares: np.ndarray, crowd: Crowd) -> Sampling:
        """Return the bookkeeping after stretches with a sample each."""
        snapshots, sectors = self.snapshots, self.snapshot_sectors
        if self.batches.is_full:  # the batches are merged in pairs: keep every second snapshot
            snapshots, sectors = _halved(snapshots), _halved(sectors)
        batches = self.batches.added(sums, squares, len(stretches))
        if batches.pending == 0:
            n, kept = len(crowd.vectors), snapshots.shape[1]
            chosen = np.arange(kept) * n // kept
            snapshots, sectors = snapshots.copy(), sectors.copy()
            snapshots[batches.complete - 1] = crowd.vectors[chosen]
            sectors[batches.complete - 1] = crowd.sectors[chosen]
        return replace(
            self,
            batches=batches,
            snapshots=snapshots,
            snapshot_sectors=sectors,
            time=self.time + sum(stretches),
            since=0.0,
        )

    def resampled(self, *, restarts: int = 0) -> Sampling:
        """Return the bookkeeping when everything up to now is burn-in."""
        batches = new_batches(len(self.batches.sums), self.batches.sums.shape[2])
        return replace(
            self,
            stage="sample",
            begin=self.time,
            since=0.0,
            batches=batches,
            next_check=0,
            restarts=self.restarts + restarts,
        )

    # -- judge --------------------------------------------------------------------------------------------------------

    def verdict(self, work: TrajectoryWork) -> Verdict:
        """Return what the complete batches say."""
        if self.batches.complete < 4:
            return Verdict(math.inf, math.inf, 0.0, 0.0)
        units = Units.of(self.batches)
        error = worst_error(work.sets, units.values, units.weights)
        claimed = 2 * error * math.sqrt(units.inflation) * student_factor(len(units.values) - 1)
        return Verdict(
            claimed if math.isfinite(claimed) else math.inf,
            drift(self.batches),
            disagreement(self.batches.means().mean(axis=1), self.starts),
            correlation_time(self.batches, units, self.interval),
        )

    def settled(self, work: TrajectoryWork) -> bool:
        """Whether the second half of the time since the beginning shows no transient (asked when batches are full)."""
        elapsed = self.time - self.begin
        if self.starts == 1 and elapsed < _GUARD / work.rates.min():
            return False
        half = self.batches.complete // 2
        late = replace(
            self.batches, sums=self.batches.sums[:, half : self.batches.complete], complete=self.batches.complete - half
        )
        seen = max(drift(late, _ALARM), disagreement(late.means().mean(axis=1), self.starts, _ALARM))
        return seen <= 1

    @property
    def is_check_due(self) -> bool:
        """Whether errors are to be looked at now."""
        batches = self.batches
        return batches.pending == 0 and batches.complete >= 4 and batches.samples >= self.next_check

    def checked(self) -> Sampling:
        """Return the bookkeeping with the next check set."""
        return replace(self, next_check=math.ceil(_CHECK_GROWTH * self.batches.samples))

    # -- the state ----------------------------------------------------------------------------------------------------

    def state(self, work: TrajectoryWork, crowd: Crowd, in_sectors: bool) -> EnsembleState:
        """Return the time average; before there is any, the trajectories as they are now."""
        if self.stage != "sample" or self.batches.complete < 1:
            return work.state(crowd, in_sectors)
        units = Units.of(self.batches)
        complete, kept = self.batches.complete, self.snapshots.shape[1]
        chosen = np.arange(kept) * len(crowd.vectors) // kept
        vectors = self.snapshots[:complete].transpose(1, 0, 2).reshape(kept * complete, -1)
        sectors = self.snapshot_sectors[:complete].T.ravel()
        columns, sites, start = [], [], 0
        for local in work.sets:
            if local.complete:
                sites.append(local.sites)
                columns.append(units.values[:, start : start + local.size])
            start += local.size
        records = LocalRecords(tuple(sites), np.concatenate(columns, axis=1), units.weights) if sites else None
        return EnsembleState(
            work.model.lattice,
            vectors,
            groups=units.membership[chosen].ravel(),
            records=records,
            inflation=units.inflation,
            **work.sector_arguments(sectors, in_sectors),
        )

    # -- checkpoint ---------------------------------------------------------------------------------------------------

    def scalars(self) -> dict[str, Any]:
        """Return the JSON-able part."""
        names = ("stage", "interval", "starts", "time", "since", "begin", "next_check", "restarts", "passes")
        return {name: getattr(self, name) for name in names} | self.batches.scalars()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays."""
        return {"snapshots": self.snapshots, "snapshot_sectors": self.snapshot_sectors} | self.batches.arrays()

    @classmethod
    def stored(cls, scalars: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Sampling:
        """Return the bookkeeping of a checkpoint."""
        return cls(
            stage=str(scalars["stage"]),
            interval=float(scalars["interval"]),
            starts=int(scalars["starts"]),
            batches=Batches.stored(arrays, scalars),
            snapshots=arrays["snapshots"],
            snapshot_sectors=arrays["snapshot_sectors"],
            time=float(scalars["time"]),
            since=float(scalars["since"]),
            begin=float(scalars["begin"]),
            next_check=int(scalars["next_check"]),
            restarts=int(scalars["restarts"]),
            passes=int(scalars["passes"]),
        )


def _halved(array: np.ndarray) -> np.ndarray:
    out = np.zeros_like(array)
    out[: len(array) // 2] = array[1::2]
    return out
