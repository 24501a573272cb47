"""Random nonsense for the two things people hand to the program: specification files and run files; seeds are fixed.

Run as a script it prints a count of endings and a list of problems as JSON::

    python fuzz.py specs DIRECTORY COUNT SEED
    python fuzz.py files DIRECTORY COUNT SEED
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import io
import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import tomllib
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from storage.faults import ROOT, edited, flipped, resealed, unsealed

from mpo_transport.errors import MpoTransportWarning

SOFT_SECONDS, HARD_SECONDS = 1.0, 60.0
MEMORY = 8 << 30

# -- specifications ----------------------------------------------------------------------------------------------------

VALID = [
    'name = "ring"\n[model]\nname = "persistent_current"\nL = 3\nalpha = 2.0\ndelta = "1.5+0.2j"\n'
    "[solve]\ntol = 1e-4\n",
    "[model]\nname = 'boundary_driven_xx'\nL = 3\nt = 1.0\nG_L = 1.0\nf_L = 0.7\nG_R = 0.5\nf_R = 0.2\n",
    "[model]\nname = 'kerr_oscillator'\nDelta = 0.3\nU = 1.0\nF = '0.4+0.1j'\ngamma = 1.0\nlevels = 6\n",
    "[model]\nname = 'boundary_driven_xxz'\nL = 3\nDelta = 0.5\neps = 0.1\n[method]\nname = 'TEBD'\nmax_bond = 8\n"
    "[solve]\ntol = 1e-2\n",
    "[model]\nname = 'exclusion_process'\nL = 3\nalpha = 1.0\nbeta = 0.5\ngamma = 0.1\ndelta = 0.2\n"
    "[method]\nname = 'ImplicitSweeps'\n[solve]\ntol = 1e-3\n",
    "observables = ['profile:Z', {observable = 'negativity', sites_a = [0], sites_b = [1]}, 'purity']\n"
    "[model]\nname = 'persistent_current'\nL = 4\nalpha = 2.0\ndelta = 1.0\nperiodic = false\n"
    "[solve]\ntask = 'evolve'\ninitial = [1, 0, 0.0, [1, '0.5j']]\ntimes = [0.0, 0.1, 0.3]\ntol = 1e-3\n",
    "[model]\nlattice = {kind = 'chain', L = 3}\nspaces = ['SpinHalf', 'Boson(3)', "
    "{space = 'Boson(3)', operators = {fA = [[0, 1, 0], [0, 0, '0.5j'], [0, 0, 0]]}}]\n"
    "hamiltonian = [['0.5+0.1j', 'Sp', 0, 'A', 1, 'h.c.'], [0.3, 'Z', 0]]\n"
    "[[model.jumps]]\noperator = [[1.0, 'Sp', 0]]\nrate = 0.5\nlabel = 'left'\n"
    "[[model.jumps]]\noperator = [[1.0, 'fA', 2], [0.5, 'A', 1]]\n[method]\nname = 'ExactDiag'\n",
    "[model]\nname = 'persistent_current'\nL = 4\nalpha = 2.0\ndelta = 1.0\n[method]\nname = 'ClusterMeanField'\n"
    "size = 2\nbranch = 'auto'\n[output]\ncheckpoint_every = 0.01\nfigure = 'ring.svg'\n[solve]\nseed = 3\n",
    "[model]\nname = 'persistent_current'\nL = 3\nalpha = 2.0\ndelta = 1.0\n[method]\nname = 'Trajectories'\n"
    "trajectories = 4\nburn_in = 0.5\nsampling_time = 0.5\n[solve]\ntol = 0.1\nseed = 3\n",
]

VALUES: list[Any] = [
    True, False, 0, 1, -1, 2, 3.5, -0.0, 1e-320, 1e308, -1e308, 10**7, 10**30, -(10**30), math.nan, math.inf, -math.inf,
    "", "x", "up", "mixed", "nan", "inf", "1+2j", "inf+nanj", "1e999j", "j", "Z", "Sp", "TEBD", "evolve", "../../x",
    "/", "a" * 5000, "\u00e9\u202e\U0001f600", "\u0000", "\n", "%s%n", "Spin(1e9)", "Boson(1000000000)", "Boson(inf)",
    [], {}, [[]], [0], [1.0, "x"], [math.nan] * 3, list(range(2000)), {"a": {"b": {"c": 1}}}, {"": 0},
    datetime.datetime(2020, 1, 1, 12), datetime.date(1, 1, 1), datetime.time(1, 2, 3),
]  # fmt: skip
KEYS = ["L", "l", "name", "tol", "", "model", "kappa", "levels", "max_bond", "periodic", "\u00e9", "a.b", "__class__",
        "self", "initial", "times", "seed", "rate", "lattice", "spaces", "x" * 300]  # fmt: skip


def toml(value: Any) -> str:
    """Any value as an inline TOML text, also those that the package would not write."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return value.isoformat()


def places(tree: Any, here: tuple = ()) -> list[tuple]:
    """Paths of all entries of a tree."""
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    return [p for key, item in items for p in ((*here, key), *places(item, (*here, key)))]


def mutated_tree(tree: dict, draw: random.Random) -> dict:
    tree = copy.deepcopy(tree)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        known = places(tree)
        if not known:
            break
        *path, last = draw.choice(known)
        branch = tree
        for key in path:
            branch = branch[key]
        kind = draw.choice(
            ["value", "value", "near", "near", "near", "near", "remove", "extra", "rename", "nest", "deep"]
        )
        if kind == "value":
            branch[last] = copy.deepcopy(draw.choice(VALUES))
        elif kind == "near" and isinstance(branch[last], (int, float)) and not isinstance(branch[last], bool):
            branch[last] = branch[last] * draw.choice([-1, 2, 10, 100, 1e6, 0.5, 1e-6]) + draw.choice([0, 1, -1, 0.5])
        elif kind == "remove":
            del branch[last]
        elif kind == "extra" and isinstance(branch, dict):
            branch[draw.choice(KEYS)] = copy.deepcopy(draw.choice(VALUES))
        elif kind == "rename" and isinstance(branch, dict):
            branch[draw.choice([*KEYS, str(last)[:-1] or "k", str(last).upper()])] = branch.pop(last)
        elif kind == "nest":
            branch[last] = draw.choice([[branch[last]], {"value": branch[last]}, [branch[last]] * 40])
        elif kind == "deep":
            value: Any = 1
            for _ in range(draw.choice([5, 40, 150])):
                value = [value] if draw.random() < 0.5 else {"a": value}
            branch[last] = value
    return tree


def mutated_text(text: str, draw: random.Random) -> bytes:
    raw = bytearray(text.encode())
    kind = draw.choice(["bytes", "cut", "insert", "nested", "invalid", "bom", "repeat", "dots", "long"])
    at = draw.randrange(len(raw))
    if kind == "bytes":
        for _ in range(draw.choice([1, 2, 5])):
            raw[draw.randrange(len(raw))] = draw.randrange(32, 127)
    elif kind == "cut":
        raw = raw[:at]
    elif kind == "insert":
        raw[at:at] = draw.choice([b"\x00", b"\r", b"=", b"[[", b'"""', b"\\", b"\n[", b"#"])
    elif kind == "nested":
        depth = draw.choice([100, 2000, 100000])
        raw += b"\nx = " + draw.choice([b"[" * depth, b"[" * depth + b"]" * depth, b"{a=" * depth])
    elif kind == "invalid":
        raw[at:at] = b"\xff\xfe\x80"
    elif kind == "bom":
        raw[:0] = b"\xef\xbb\xbf"
    elif kind == "repeat":
        raw *= 2
    elif kind == "dots":
        raw[:0] = b".".join([b"a"] * draw.choice([10, 3000])) + b" = 1\n"
    else:
        raw += b"\nx = " + b"9" * draw.choice([50, 5000, 100000])
    return bytes(raw)


def spec_case(draw: random.Random) -> bytes:
    shipped = [
        (ROOT / "data" / f"{n}.toml").read_text() for n in ("persistent_current_chain", "crosscheck_short_chain")
    ]
    text = draw.choice(VALID * 3 + shipped)
    if draw.random() < 0.25:
        return mutated_text(text, draw)
    tree = mutated_tree(tomllib.loads(text), draw)
    return "\n".join(f"{json.dumps(k)} = {toml(v)}" for k, v in tree.items()).encode()


class Hang(BaseException):
    """Raised when a command takes longer than anything may."""


def limited(work: Callable[[], Any]) -> Any:
    """Do a piece of work that is asked to stop after a moment, as a batch system asks, and broken off much later."""
    mine = lambda number, frame: None  # noqa: E731  # SIGTERM outside of the loop is a request for later
    seconds = [0.0]

    def alarm(number, frame):
        seconds[0] += SOFT_SECONDS
        if seconds[0] >= HARD_SECONDS:
            raise Hang("".join(traceback.format_stack(frame)[-8:]))
        if signal.getsignal(signal.SIGTERM) is not mine:  # a run listens
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, mine), signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, SOFT_SECONDS, SOFT_SECONDS)
    try:
        return work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGALRM, before[1])


def commanded(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command; what escapes from it escapes from here."""
    from mpo_transport.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = limited(lambda: main(list(arguments)))
    return code, out.getvalue(), err.getvalue()


def fuzz_specs(directory: Path, count: int, seed: int) -> dict:
    """Run mutated specifications: a documented exit code, one sentence, nothing written on bad input, true files."""
    from mpo_transport.cli import Exit
    from mpo_transport.cli.check import files_of
    from mpo_transport.solve import audit

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    endings: Counter[str] = Counter()
    problems = []
    for k in range(count):
        draw = random.Random(f"{seed} {k}")
        content = spec_case(draw)
        spec, out = directory / "spec.toml", directory / "out"
        spec.write_bytes(content)
        shutil.rmtree(out, ignore_errors=True)
        shown = content[:2000].decode(errors="replace")
        (directory / "current").write_text(f"{k}\n{shown}")
        try:
            code, _, error = commanded("run", str(spec), "--out", str(out), "--quiet")
        except BaseException as escaped:
            kind = "hang" if isinstance(escaped, Hang) else "traceback"
            problems.append({"case": k, "what": kind, "error": traceback.format_exc()[-1500:], "spec": shown})
            endings[kind] += 1
            continue
        endings[Exit(code).name if code in set(Exit) else str(code)] += 1
        wrong = []
        if code not in set(Exit) - {Exit.UNEXPECTED, Exit.NOT_SAVED, Exit.RUN_CONFLICT} or "Traceback" in error:
            wrong.append(f"exit code {code}")
        if code == Exit.BAD_INPUT and (out.exists() or len(error.splitlines()) != 1 or len(error) > 3000):
            wrong.append("bad input: something was written, or not one sentence said")
        for file in files_of(out):
            found = audit(file)
            if found.verdict != "sound" or found.status == "running":
                wrong.append(f"the file is {found.verdict}: {found.failed}")
        if wrong:
            problems.append({"case": k, "what": "; ".join(wrong), "error": error[-600:], "spec": shown})
    return {"cases": count, "endings": dict(endings), "problems": problems}


# -- run files ---------------------------------------------------------------------------------------------------------


def originals(directory: Path) -> dict[str, Path]:
    """One file of every kind: dense, matrix-product, cluster and sampled states, an evolution, an unfinished run."""
    from toy_methods import pumped_chain

    from mpo_transport import op
    from mpo_transport.methods import TEBD, ClusterMeanField, ExactDiag, Trajectories
    from mpo_transport.observables import profile
    from mpo_transport.solve import Checkpoint, evolve, steady_state

    model = pumped_chain(3)
    ask = {"N": profile(model, "N"), "hop": op("Sp", 0) * op("Sm", 1)}
    keep = {"on_failure": "return", "observables": ask, "tol": 1e-3}
    stop = lambda step, d: os.kill(os.getpid(), signal.SIGTERM) if step == 3 else None  # noqa: E731
    path = {n: directory / f"{n}.h5" for n in ("dense", "mpo", "cluster", "ensemble", "evolution", "unfinished")}
    steady_state(model, ExactDiag(), checkpoint=path["dense"], **keep)
    steady_state(model, TEBD(max_bond=6), checkpoint=path["mpo"], **keep)
    steady_state(model, ClusterMeanField(), checkpoint=path["cluster"], **keep)
    quick = Trajectories(trajectories=4, burn_in=0.5, sampling_time=0.5)
    steady_state(model, quick, checkpoint=path["ensemble"], **keep)
    evolve(model, "up", [0.1, 0.2], ask, TEBD(max_bond=6), tol=1e-2, checkpoint=path["evolution"])
    steady_state(model, TEBD(max_bond=6), checkpoint=Checkpoint(path["unfinished"], 0), progress=stop, **keep)
    for file in directory.glob("*.previous.h5"):
        file.unlink()
    return path


def mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    raw, at = bytearray(content), draw.randrange(len(content))
    length = min(draw.choice([1, 4, 16, 512]), len(raw) - at)
    kind = draw.choice(["bit", "bytes", "zero", "swap", "cut", "insert", "delete", "append"])
    if kind == "bit":
        return flipped(content, draw.randrange(8 * len(content)))
    if kind == "bytes":
        for _ in range(draw.choice([1, 3, 20])):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
    elif kind == "zero":
        raw[at : at + length] = bytes(length)
    elif kind == "swap":
        other = draw.randrange(len(raw) - length + 1)
        raw[at : at + length], raw[other : other + length] = raw[other : other + length], raw[at : at + length]
        raw = raw[: len(content)]
    elif kind == "cut":
        raw = raw[:at]
    elif kind == "insert":
        raw[at:at] = draw.randbytes(length)
    elif kind == "delete":
        del raw[at : at + length]
    else:
        raw += draw.randbytes(length)
    return bytes(raw)


def mutate_structure(path: Path, draw: random.Random) -> None:
    """Delete, retype, reshape or add parts through the HDF5 library; the seal fits afterwards."""
    with edited(path) as file:
        names: list[str] = []
        file.visit(names.append)
        name = draw.choice(names)
        item = file[name]
        kind = draw.choice(["delete", "type", "shape", "value", "add", "attribute", "move"])
        if kind == "delete" or (kind in ("type", "shape", "value") and not isinstance(item, h5py.Dataset)):
            del file[name]
        elif kind in ("type", "shape", "value"):
            value = item[()]
            del file[name]
            if isinstance(value, bytes):
                file[name] = value[: len(value) // 2] if kind == "value" else np.frombuffer(value, dtype=np.uint8)
            elif kind == "type":
                file[name] = np.asarray(value).astype(draw.choice([np.float32, np.int16, np.complex64, bool]))
            elif kind == "shape":
                file[name] = np.asarray(value)[..., None]
            else:
                file[name] = np.asarray(value) * 2 + 1
        elif kind == "add":
            file.create_dataset(f"{name if isinstance(item, h5py.Group) else 'state'}/zzz", data=np.arange(3))
        elif kind == "attribute":
            key = draw.choice(list(file.attrs))
            file.attrs[key] = draw.choice(["", "mpo", 7, -1, 1.5, np.arange(3)])
        else:
            file.move(name, "elsewhere")


def mutate_content(path: Path, draw: random.Random) -> None:
    """Write another content with all its checksums, as a defect of the program would."""
    from mpo_transport.storage.tree import read_tree, tree_image

    tree: Any = read_tree(path)
    known = [p for p in places(tree) if p]
    *above, last = draw.choice(known)
    branch = tree
    for key in above:
        branch = branch[key]
    item = branch[last]
    kind = draw.choice(["delete", "change", "change"])
    if kind == "delete" or isinstance(item, dict):
        del branch[last]
    elif isinstance(item, str):
        try:
            facts = json.loads(item)
        except ValueError:
            facts = None
        changed = mutated_tree(facts, draw) if isinstance(facts, dict) else draw.choice(["", "{", "[]", "null", "7"])
        branch[last] = json.dumps(changed, default=str) if isinstance(changed, dict) else changed
    else:
        array = np.asarray(item)
        branch[last] = draw.choice(
            [
                lambda: array[..., None],
                lambda: array.ravel()[:-1],
                lambda: array.astype(np.float32) if array.dtype.kind in "iuf" else array.real.copy(),
                lambda: np.full(array.shape, np.nan),
                lambda: np.full(array.shape, -(2**40)),
                lambda: array * 1e200,
                lambda: "text",
            ]
        )()
    path.write_bytes(tree_image(tree))


def digest(path: Path) -> str:
    from mpo_transport.storage import load_checkpoint
    from mpo_transport.storage.records import run_to_tree
    from mpo_transport.storage.tree import tree_digest

    return tree_digest(run_to_tree(load_checkpoint(path)))


def examined(path: Path, expected: str | None) -> str:
    """Load a file and give it to the commands; "refused", "equal", or what is wrong."""
    from mpo_transport.cli import Exit
    from mpo_transport.errors import FileFormatError
    from mpo_transport.storage import load

    try:
        load(path)
        outcome = "other" if expected is None else "equal" if digest(path) == expected else "DIFFERENT"
    except FileFormatError:
        outcome = "refused"
    for command in ("show", "check"):
        code, _, error = commanded(command, str(path))
        if code not in set(Exit) - {Exit.UNEXPECTED} or "Traceback" in error:
            return f"{command} ended with {code}: {error[-300:]}"
        if (outcome == "refused") != (code == Exit.DAMAGED_FILE) and command == "show":
            return f"load and show disagree: {outcome}, {code}"
    if expected is None:
        code, _, error = commanded("resume", str(path), "--quiet")
        if code not in set(Exit) - {Exit.UNEXPECTED} or "Traceback" in error:
            return f"resume ended with {code}: {error[-300:]}"
    return outcome


def fuzz_files(directory: Path, count: int, seed: int) -> dict:
    """Examine mutated files, each in a process of its own: refused, or equal to the original; no crash, no hang."""
    base, trial = directory / "base", directory / "trial"
    base.mkdir()
    files = originals(base)
    digests = {name: digest(path) for name, path in files.items()}
    for command in ("show", "check"):  # what the children import is there before they are forked
        commanded(command, str(files["mpo"]))
    endings: Counter[str] = Counter()
    problems = []
    for k in range(count):
        draw = random.Random(f"{seed} {k}")
        name = draw.choice(sorted(files))
        kind = draw.choice(["bytes", "sealed bytes", "structure", "content"])
        shutil.rmtree(trial, ignore_errors=True)
        trial.mkdir()
        path = Path(shutil.copy2(files[name], trial / "run.h5"))
        content = path.read_bytes()
        if kind == "bytes":
            path.write_bytes(mutated_bytes(content, draw))
        elif kind == "sealed bytes":
            path.write_bytes(resealed(mutated_bytes(unsealed(content, path), draw)))
        elif kind == "structure":
            mutate_structure(path, draw)
        else:
            mutate_content(path, draw)
        if kind != "content" and path.read_bytes() == content:
            endings[f"{kind}: unchanged"] += 1
            continue
        outcome = _in_a_child(path, digests[name] if kind != "content" else None)
        endings[f"{kind}: {outcome if outcome in ('refused', 'equal', 'other') else 'problem'}"] += 1
        allowed = {"bytes": ["refused"], "content": ["refused", "other"]}.get(kind, ["refused", "equal"])
        if outcome not in allowed:
            problems.append({"case": k, "file": name, "kind": kind, "what": outcome})
    return {"cases": count, "endings": dict(sorted(endings.items())), "problems": problems}


def _in_a_child(path: Path, expected: str | None) -> str:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
            answer = limited(lambda: examined(path, expected))
        except BaseException:
            answer = "traceback: " + traceback.format_exc()[-1500:]
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return answer if status == 0 else f"the process ended with {status}"


if __name__ == "__main__":
    what, where, *numbers = sys.argv[1:]
    warnings.simplefilter("ignore", MpoTransportWarning)  # endings are judged, not remarks
    result = {"specs": fuzz_specs, "files": fuzz_files}[what](Path(where), *map(int, numbers))
    print(json.dumps(result))
