"""Blocks of trajectories over processes.  The division into blocks, not the number of processes, fixes the numbers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from ..._threads import limited_threads
from ...errors import InputError
from .evolution import Block, advance_block
from .propagator import Propagator
from .records import LocalSet, measure_local
from .streams import JumpStreams

__all__ = ["Moved", "Task", "Workers"]


@dataclass(frozen=True)
class Task:
    """Work on one block: the state of its trajectories, and the stretches of time to go.

    After each of ``stretches`` the local quantities are added to the sums if ``measured``.
    """

    vectors: np.ndarray
    sectors: np.ndarray
    thresholds: np.ndarray
    trajectories: np.ndarray
    events: np.ndarray
    key: int
    stretches: tuple[float, ...]
    measured: bool


@dataclass(frozen=True)
class Moved:
    """The block afterwards, normalised; ``sums`` (n, M) and ``squares`` (M,) of the values measured; cost and jumps."""

    vectors: np.ndarray
    sectors: np.ndarray
    thresholds: np.ndarray
    events: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    cost: float
    jumps: int


def run_task(propagator: Propagator, sets: Sequence[LocalSet], task: Task) -> Moved:
    """Do one task; the same bits wherever it is done."""
    streams = JumpStreams(task.key, task.trajectories, task.events)
    block = Block(np.array(task.vectors), np.array(task.sectors), np.array(task.thresholds), streams)
    total = sum(local.size for local in sets)
    sums, squares = np.zeros((len(task.vectors), total)), np.zeros(total)
    for stretch in task.stretches:
        advance_block(propagator, block, stretch)
        block.normalise()
        if task.measured:
            values = _measure(propagator, sets, block)
            sums += values
            squares += np.einsum("nk,nk->k", values, values)
            block.cost += 1e-4 + 2e-8 * values.size * np.prod(propagator.dims) / max(len(propagator.dims), 1)
    return Moved(block.vectors, block.sectors, block.thresholds, streams.events, sums, squares, block.cost, block.jumps)


def _measure(propagator: Propagator, sets: Sequence[LocalSet], block: Block) -> np.ndarray:
    D = int(np.prod(propagator.dims))
    size = max(1, 2**22 // D)
    parts = []
    for a in range(0, len(block.vectors), size):
        psi = propagator.expand(block.vectors[a : a + size], block.sectors[a : a + size])
        parts.append(measure_local(sets, propagator.dims, psi))
    return np.concatenate(parts)


class Workers:
    """Does tasks here (one process) or in a pool of fresh processes with one BLAS thread each."""

    def __init__(self, propagator: Propagator, sets: Sequence[LocalSet], processes: int) -> None:
        self._propagator, self._sets = propagator, tuple(sets)
        self._pool: ProcessPoolExecutor | None = None
        if processes > 1:
            context = multiprocessing.get_context("spawn")
            # Not as an argument: starting a process blocks for ever if it dies before it has read large arguments.
            engines: Any = context.Queue()
            engines.cancel_join_thread()
            for _ in range(processes):
                engines.put((propagator, self._sets))
            self._pool = ProcessPoolExecutor(
                processes, mp_context=context, initializer=_start_worker, initargs=(engines,)
            )

    def map(self, tasks: Sequence[Task]) -> list[Moved]:
        """Return the results in the order of the tasks.

        Raises
        ------
        InputError
            Field ``processes``, if the processes could not be started or died.
        """
        if self._pool is None:
            with limited_threads(1):
                return [run_task(self._propagator, self._sets, task) for task in tasks]
        try:
            return list(self._pool.map(_in_worker, tasks))
        except BrokenProcessPool as error:
            raise InputError(
                "Argument `processes`: a worker process could not start or died (out of memory?).  A script that uses "
                'several processes must do its work under `if __name__ == "__main__":`; or use processes=1.',
                field="processes",
            ) from error


_worker: dict[str, tuple[Propagator, tuple[LocalSet, ...]]] = {}


def _start_worker(engines: Any) -> None:
    """Prepare a fresh process: signals are the business of the parent, and without a parent there is nothing to do."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    _worker["engine"] = engines.get()


def _leave_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _in_worker(task: Task) -> Moved:
    propagator, sets = _worker["engine"]
    with limited_threads(1):
        return run_task(propagator, sets, task)
