"""Ways to hurt a file or a process on purpose: flipped bits, cuts, edits, failing and fatal system calls, kill -9.

Run as a script it does the parts that need many processes of their own, and prints what it found as JSON::

    python faults.py crash DIRECTORY LINKS     die before, in the middle of and after every system call of a save
    python faults.py kill DIRECTORY COUNT SEED  kill -9 at COUNT random moments of runs that checkpoint at every step
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py

from mpo_transport.storage import FallbackWarning
from mpo_transport.storage.seal import SEAL_LENGTH, is_sealed, seal_line

ROOT = Path(__file__).resolve().parents[2]

# -- files -------------------------------------------------------------------------------------------------------------


def unsealed(content: bytes, path: Path) -> bytes:
    """The HDF5 part of a sealed file."""
    return content[:-SEAL_LENGTH] if is_sealed(path) else content


def resealed(content: bytes) -> bytes:
    """A file with this HDF5 part and a seal that fits it, as nobody but an adversary would make."""
    return content + seal_line(content)


@contextlib.contextmanager
def edited(path: Path, *, seal: bool = True) -> Iterator[h5py.File]:
    """The file open for changes; sealed anew afterwards, so that only what stands inside can give the change away."""
    path.write_bytes(unsealed(path.read_bytes(), path))
    with h5py.File(path, "r+") as file:
        yield file
    if seal:
        path.write_bytes(resealed(path.read_bytes()))


def flipped(content: bytes, bit: int) -> bytes:
    """The content with one bit turned over."""
    out = bytearray(content)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def dataset_bytes(path: Path) -> dict[str, tuple[int, int]]:
    """Position and length of the raw bytes of every dataset."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and item.id.get_offset() is not None:
            found[name] = (item.id.get_offset(), item.id.get_storage_size())

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


# -- system calls ------------------------------------------------------------------------------------------------------

CALLS = [
    *((os, name) for name in ("open", "write", "pwrite", "fsync", "close", "link", "replace", "unlink", "ftruncate")),
    (fcntl, "flock"),
]


class Steps:
    """All system calls of a piece of code, numbered from 0; ``act(step, name, real, args)`` stands in for each."""

    def __init__(self, act: Callable[[int, str, Callable, tuple], object]) -> None:
        self._act = act
        self.names: list[str] = []

    def __enter__(self) -> Steps:
        self._real = [(module, name, getattr(module, name)) for module, name in CALLS]
        for module, name, real in self._real:
            setattr(module, name, self._wrapped(name, real))
        return self

    def __exit__(self, *exc: object) -> None:
        for module, name, real in self._real:
            setattr(module, name, real)

    def _wrapped(self, name: str, real: Callable) -> Callable:
        def call(*args, **kwargs):
            step = len(self.names)
            self.names.append(name)
            return self._act(step, name, lambda *a: real(*a, **kwargs), args)

        return call


def untouched(step, name, real, args):
    """Do the system call as it is."""
    return real(*args)


def failing(at: int, code: int = errno.ENOSPC) -> Callable:
    """An ``act`` under which system call number ``at`` fails with an error code; half of a write is done before."""

    def act(step, name, real, args):
        if step == at:
            if name == "write":
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
            raise OSError(code, os.strerror(code))
        return real(*args)

    return act


def dying(at: int, moment: str) -> Callable:
    """An ``act`` under which the process dies "before", "within" (half a write) or "after" system call ``at``."""

    def act(step, name, real, args):
        if step == at and moment == "before":
            os._exit(77)
        if step == at and moment == "within":
            if name == "write":
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
            os._exit(77)
        try:
            return real(*args)
        finally:
            if step == at:
                os._exit(77)

    return act


# -- processes ---------------------------------------------------------------------------------------------------------


def child_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}


def driven(*arguments: object, timeout: float) -> dict:
    """Run this script in a process of its own (it forks many children) and return its findings."""
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        env=child_environment(), capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def forked(work: Callable[[], None]) -> int:
    """Do a piece of work in a child and return its exit status."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def crash_everywhere(directory: Path, links: int = 1) -> dict:
    """Save a third checkpoint over two others and die at every system call; what is found afterwards must load.

    The two older checkpoints are of steps 1 and 2, the new one of step 3.  Loading must give step 2 or 3 without
    anything else being read, the rest of the run must be that of the unbroken one, and the next save must work.
    ``links`` 0: on a file system without hard links (then only in the middle of every call).
    """
    moments = ("before", "within", "after") if links else ("within",)
    if not links:
        os.link = lambda *args: (_ for _ in ()).throw(OSError(errno.EPERM, os.strerror(errno.EPERM)))
    from toy_methods import Relaxation, known, pumped_chain, same_state

    from mpo_transport.solve import resume, steady_state
    from mpo_transport.storage import RunFile, load_checkpoint, save_checkpoint

    model, method = pumped_chain(), Relaxation(steps=4)
    unbroken = steady_state(model, method)
    base = directory / "base"
    base.mkdir()
    runs = {}
    with known(Relaxation):
        for k in (1, 2, 3):
            stop = lambda now, diagnostics, k=k: os.kill(os.getpid(), signal.SIGTERM) if now == k else None  # noqa: E731
            runs[k] = steady_state(model, method, progress=stop).pending
            if k < 3:
                save_checkpoint(runs[k], base / "run.h5")

        def save_in(place: Path) -> None:
            with RunFile(place / "run.h5") as file:
                file.write(runs[3])

        trial = directory / "trial"
        shutil.copytree(base, trial)
        with Steps(untouched) as counted:
            save_in(trial)
        found = {"steps": counted.names, "crashes": 0, "saved": {2: 0, 3: 0}, "problems": []}
        for at in range(len(counted.names)):
            for moment in moments:
                shutil.rmtree(trial)
                shutil.copytree(base, trial)

                def work(at: int = at, moment: str = moment) -> None:
                    with Steps(dying(at, moment)):
                        save_in(trial)

                where = f"{moment} call {at} ({counted.names[at]})"
                if forked(work) != 77:
                    found["problems"].append(f"{where}: no crash")
                    continue
                found["crashes"] += 1
                run = load_checkpoint(trial / "run.h5")
                found["saved"][run.cost.steps] = found["saved"].get(run.cost.steps, 0) + 1
                if run.cost.steps not in (2, 3) or not same_state(run.state, runs[run.cost.steps].state):
                    found["problems"].append(f"{where}: step {run.cost.steps} was loaded")
                again = resume(trial / "run.h5", every=1e9)
                if not (same_state(again.state, unbroken.state) and again.certificate == unbroken.certificate):
                    found["problems"].append(f"{where}: the resumed run differs")
                left = sorted(p.name for p in trial.iterdir())
                if left != ["run.h5", "run.previous.h5"]:
                    found["problems"].append(f"{where}: {left} are left")
    return found


def kill_at_random(directory: Path, count: int, seed: int) -> dict:
    """Kill a run that saves after every step again and again, and look at its file after every kill.

    A child tells through a pipe that a save is completed, with its step; it is killed a random time after it started.
    What is loaded must not be older than the last completed save.  A copy is resumed to the end (bit for bit that of
    the unbroken run); the original goes on to the next kill, and begins anew when it is finished.
    """
    from toy_methods import Relaxation, known, pumped_chain, same_state

    from mpo_transport.solve import Checkpoint, resume, steady_state
    from mpo_transport.storage import RunFile, load_checkpoint, previous_path

    model, method, draw = pumped_chain(), Relaxation(steps=60), random.Random(seed)
    place, path = Checkpoint(directory / "run.h5", every=0), directory / "run.h5"
    unbroken = steady_state(model, method)
    found = {"kills": 0, "runs": 0, "nothing_saved_yet": 0, "in_a_save": 0, "completed_saves": 0, "problems": []}
    write = RunFile.write

    def child(pipe: int) -> None:
        def telling(self, run):
            os.write(pipe, b"[%d\n" % run.cost.steps)
            write(self, run)
            os.write(pipe, b"]%d\n" % run.cost.steps)

        RunFile.write = telling
        steady_state(model, method, checkpoint=place)

    completed = 0
    with known(Relaxation):
        while found["kills"] < count:
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                try:
                    child(writing)
                finally:
                    os._exit(0)
            os.close(writing)
            if draw.random() < 0.3:  # some at the very beginning, most while it runs
                time.sleep(draw.uniform(0, 0.01))
            else:
                select.select([reading], [], [], 10)
                time.sleep(draw.uniform(0, 0.2))
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            told = b""
            while part := os.read(reading, 1 << 16):
                told += part
            os.close(reading)
            lines = told.decode().split("\n")[:-1]  # what is not ended by a newline was not written whole
            done = [int(line[1:]) for line in lines if line[0] == "]"]
            completed = done[-1] if done else completed
            found["completed_saves"] += len(done)
            if not os.WIFSIGNALED(status):  # finished before it was killed
                found["runs"] += 1
                if not same_state(load_checkpoint(path).state, unbroken.state):
                    found["problems"].append("a run that went through differs")
                _clear(directory)
                completed = 0
                continue
            found["kills"] += 1
            found["in_a_save"] += bool(lines and lines[-1][0] == "[")
            if not path.exists() and not previous_path(path).exists():
                found["nothing_saved_yet"] += 1
                if completed:
                    found["problems"].append(f"kill {found['kills']}: step {completed} was saved and is lost")
                continue
            run = load_checkpoint(path)
            if run.cost.steps < completed:
                found["problems"].append(f"kill {found['kills']}: step {run.cost.steps} loaded, {completed} saved")
            completed = max(completed, run.cost.steps)
            copy = directory / "copy"
            copy.mkdir()
            for file in directory.glob("run*.h5"):
                shutil.copy2(file, copy)
            again = resume(copy / "run.h5", every=1e9)
            if not (same_state(again.state, unbroken.state) and again.certificate == unbroken.certificate):
                found["problems"].append(f"kill {found['kills']}: the resumed run differs")
            shutil.rmtree(copy)
            if run.finished:
                found["runs"] += 1
                _clear(directory)
                completed = 0
    return found


def _clear(directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()


if __name__ == "__main__":
    what, where, *numbers = sys.argv[1:]
    place = Path(where)
    warnings.simplefilter("ignore", FallbackWarning)  # that an older copy is used is what is looked for here
    answer = {"crash": crash_everywhere, "kill": kill_at_random}[what](place, *map(int, numbers))
    print(json.dumps(answer))
