"""Crashes, kills, full disks, flipped bits: after each there is a sound file, and never an older one than was saved."""

import errno
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from storage.faults import CALLS, Steps, dataset_bytes, driven, edited, failing, flipped, resealed, unsealed, untouched
from toy_methods import Relaxation, known, pumped_chain, same_state

from mpo_transport import op
from mpo_transport.errors import FileFormatError, InputError, SaveError
from mpo_transport.solve import Checkpoint, CheckpointWarning, evolve, resume, steady_state
from mpo_transport.storage import FallbackWarning, RunFile, load, load_checkpoint, previous_path, save, slots
from mpo_transport.storage.records import record_of
from mpo_transport.storage.seal import SEAL_LENGTH

MODEL, METHOD = pumped_chain(), Relaxation(steps=3)
RESULT, OTHER = steady_state(MODEL, Relaxation(steps=2)), steady_state(MODEL, METHOD)
MOVING = evolve(MODEL, "up", [0.1, 0.2], {"n": op("N", 0), "hop": op("Sp", 0) * op("Sm", 1)}, METHOD)


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("samples")
    samples = {"steady_state": RESULT, "evolution": MOVING}
    return {name: save(outcome, directory / f"{name}.h5").read_bytes() for name, outcome in samples.items()}


# -- the process dies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("links", [pytest.param(1, id="links", marks=pytest.mark.slow), pytest.param(0, id="no links")])
def test_a_crash_at_every_system_call_of_a_save_leaves_the_last_or_the_new_checkpoint(tmp_path, links):
    found = driven("crash", tmp_path, links, timeout=300)
    assert found["problems"] == []
    assert found["crashes"] == (3 if links else 1) * len(found["steps"]) and {"write", "fsync", "replace"} <= set(
        found["steps"]
    )
    assert found["saved"]["2"] > 0 and found["saved"]["3"] > 0


def test_kills_at_random_moments_lose_nothing_that_was_saved(tmp_path):
    check_kills(driven("kill", tmp_path, 12, 1, timeout=300), 12)


@pytest.mark.slow
def test_three_hundred_kills_at_random_moments_lose_nothing_that_was_saved(tmp_path):
    check_kills(driven("kill", tmp_path, 300, 2, timeout=1800), 300)


def check_kills(found, count):
    print(found)
    assert found["problems"] == [] and found["kills"] == count and found["completed_saves"] > 0


# -- the disk refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [errno.ENOSPC, *(pytest.param(c, marks=pytest.mark.slow) for c in (errno.EIO, errno.EROFS, errno.EDQUOT))]
)
def test_every_system_call_of_a_save_may_fail(tmp_path, code):
    base = tmp_path / "base"
    base.mkdir()
    save(RESULT, base / "run.h5")
    save(RESULT, base / "run.h5")
    trial = tmp_path / "trial"

    def write() -> None:
        with RunFile(trial / "run.h5") as file:
            file.write(record_of(OTHER))

    shutil.copytree(base, trial)
    with Steps(untouched) as counted:
        write()
    failed = 0
    for at in range(len(counted.names)):
        shutil.rmtree(trial)
        shutil.copytree(base, trial)
        with Steps(failing(at, code)), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The file system of .* has no locks")
            try:
                write()
            except (OSError, InputError):
                failed += 1
        again = load(trial / "run.h5")  # without a fallback: the newest name is always readable
        assert same_state(again.state, RESULT.state) or same_state(again.state, OTHER.state), counted.names[at]
        assert same_state(load(previous_path(trial / "run.h5")).state, RESULT.state)
        write()
        assert same_state(load(trial / "run.h5").state, OTHER.state)
        assert sorted(p.name for p in trial.iterdir()) == ["run.h5", "run.previous.h5"]
    assert failed > len(counted.names) // 2


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB of its own, where mounting one is allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place]).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_really_full(small_disk):
    path = small_disk / "run.h5"
    stop = Checkpoint(path, every=0)
    with known(Relaxation):
        save(RESULT, small_disk / "size.h5")
        size = (small_disk / "size.h5").stat().st_size
        (small_disk / "size.h5").unlink()
        free = shutil.disk_usage(small_disk).free

        def fill(step, diagnostics):
            if step == 4:
                (small_disk / "ballast").write_bytes(b"x" * max(shutil.disk_usage(small_disk).free - size // 2, 0))
            if step == 6:
                (small_disk / "ballast").unlink()

        with pytest.warns(CheckpointWarning, match="No space left") as caught:
            result = steady_state(MODEL, Relaxation(steps=9), checkpoint=stop, progress=fill)
        assert len(caught) == 2 and free > 3 * size
        assert same_state(load(path).state, result.state)
        path.unlink()
        previous_path(path).unlink()
        last = lambda step, d: fill(4, d) if step == 9 else None  # noqa: E731
        with pytest.raises(SaveError) as stuck:
            steady_state(MODEL, Relaxation(steps=9), checkpoint=stop, progress=last)
        assert load_checkpoint(path).cost.steps == 8 and stuck.value.result.converged
        (small_disk / "ballast").unlink()
        assert same_state(resume(path).state, result.state)


def test_a_directory_that_becomes_read_only(tmp_path):
    """The superuser ignores permissions, but not the flag that makes a directory immutable."""
    place = tmp_path / "place"
    place.mkdir()
    path = place / "run.h5"

    def mutable(yes: bool) -> bool:
        command = ["chattr", "-i" if yes else "+i", str(place)]
        return shutil.which("chattr") is not None and not subprocess.run(command, stderr=subprocess.DEVNULL).returncode

    if not mutable(False):
        pytest.skip("no directory can be made immutable here")
    mutable(True)
    with known(Relaxation):
        try:
            with pytest.warns(CheckpointWarning, match="not permitted"), pytest.raises(SaveError):
                steady_state(
                    MODEL,
                    Relaxation(steps=5),
                    checkpoint=Checkpoint(path, every=0),
                    progress=lambda step, d: mutable(False) if step == 3 else None,
                )
            assert load_checkpoint(path).cost.steps == 2  # reading needs no right to write
            with pytest.raises(InputError, match="no file can be written in") as caught:
                steady_state(MODEL, Relaxation(steps=5), checkpoint=path)
            assert caught.value.field == "checkpoint"
        finally:
            mutable(True)
        assert resume(path).converged


# -- bits and cuts -----------------------------------------------------------------------------------------------------


def loads_something(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    try:
        load(path)
    except FileFormatError:
        return False
    return True


def unnoticed(path: Path, content: bytes, bits) -> list[int]:
    """Those of the bits that can be turned over without the file being refused."""
    path.write_bytes(content)
    out = []
    with path.open("r+b", buffering=0) as file:
        for bit in bits:
            os.pwrite(file.fileno(), bytes([content[bit // 8] ^ 1 << bit % 8]), bit // 8)
            try:
                load(path)
                out.append(bit)
            except FileFormatError:
                pass
            os.pwrite(file.fileno(), content[bit // 8 : bit // 8 + 1], bit // 8)
    load(path)
    return out


@pytest.mark.parametrize("name", ["steady_state", "evolution"])
def test_any_flipped_bit_is_found(tmp_path, contents, name):
    """A prime stride meets every bit of a byte and every part of the file: tables, attributes, datasets, seal."""
    content = contents[name]
    bits = [*range(0, 8 * len(content), 251), *range(8 * (len(content) - SEAL_LENGTH), 8 * len(content), 7)]
    assert unnoticed(tmp_path / "run.h5", content, bits) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["steady_state", "evolution"])
def test_every_single_flipped_bit_is_found(tmp_path, contents, name):
    content = contents[name]
    passed = unnoticed(tmp_path / "run.h5", content, range(8 * len(content)))
    print(f"{name}: {8 * len(content)} bits, {len(passed)} unnoticed")
    assert passed == []


@pytest.mark.parametrize("name", ["steady_state", "evolution"])
def test_inside_a_fitting_seal_every_dataset_has_its_own_checksum(tmp_path, contents, name):
    path = tmp_path / "run.h5"
    path.write_bytes(contents[name])
    places, inner = dataset_bytes(path), unsealed(contents[name], path)
    assert len(places) > 30 and "manifest" in places and "state/arrays/rho" in places
    for dataset, (offset, length) in places.items():
        for byte in {offset, offset + length // 2, offset + length - 1}:
            path.write_bytes(resealed(flipped(inner, 8 * byte + byte % 7)))
            with pytest.raises(FileFormatError, match=r"run\.h5 is damaged"):
                load(path)
            assert dataset


def test_a_changed_attribute_is_found(tmp_path, contents):
    path, changed = tmp_path / "run.h5", 0
    path.write_bytes(contents["evolution"])
    places: list[tuple[str, str]] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: places.extend((name, key) for key in item.attrs))
        places += [("/", key) for key in file.attrs]
    for name, key in places:
        path.write_bytes(contents["evolution"])
        with edited(path, seal=False) as file:
            del file[name].attrs[key]
        with pytest.raises(FileFormatError):
            load(path)
        changed += 1
    assert changed > 15


@pytest.mark.parametrize("stride", [997, pytest.param(1, marks=pytest.mark.slow)])
def test_a_cut_anywhere_is_found_and_the_older_copy_used(tmp_path, contents, stride):
    path, content = tmp_path / "run.h5", contents["steady_state"]
    lengths = [*range(0, len(content), stride), *range(len(content) - 120, len(content))]
    assert [n for n in lengths if loads_something(path, content[:n])] == []
    previous_path(path).write_bytes(contents["evolution"])
    for n in (0, 7, len(content) // 2, len(content) - 115, len(content) - 114, len(content) - 1):
        path.write_bytes(content[:n])
        with pytest.warns(FallbackWarning, match=r"run\.h5 (is|does|cannot).*Using the checkpoint before it"):
            assert same_state(load(path).state, MOVING.state)
    path.write_bytes(content + b"\n")
    with pytest.warns(FallbackWarning):
        assert same_state(load(path).state, MOVING.state)


def test_a_file_changed_by_another_program_is_refused(tmp_path):
    path = save(RESULT, tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        file["state/arrays/rho"][0, 0] = 0.5
    with pytest.raises(FileFormatError, match=r"damaged"):
        load(path)
    save(RESULT, tmp_path / "note.h5")
    with h5py.File(tmp_path / "note.h5", "r+") as file:
        file.attrs["remark"] = "mine"
    with pytest.raises(FileFormatError, match="its last line, the checksum of the whole file, is missing"):
        load(tmp_path / "note.h5")


# -- clocks, and machines that see each other's files late -------------------------------------------------------------


def test_times_of_files_mean_nothing(tmp_path):
    path = save(RESULT, tmp_path / "run.h5")
    save(OTHER, path)
    os.utime(path, (1, 1))
    os.utime(previous_path(path), (4e9, 4e9))
    assert same_state(load(path).state, OTHER.state)
    with RunFile(path) as file:
        file.read()
        facts, content = path.stat(), path.read_bytes()
        path.write_bytes(flipped(content, 8 * 5000))  # damaged behind our back, with the same size and times
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        file.write(record_of(RESULT))
    assert same_state(load(path).state, RESULT.state)
    assert same_state(load(previous_path(path)).state, RESULT.state)  # not the damaged one


def test_a_file_replaced_by_another_machine_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    from mpo_transport.storage import tree

    path, real, stale = save(RESULT, tmp_path / "run.h5"), tree.sealed_bytes, [1, 1]

    def late(where):
        if stale:
            stale.pop()
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(where)

    monkeypatch.setattr(tree, "sealed_bytes", late)
    assert same_state(load(path).state, RESULT.state)
    stale.extend([1] * 20)
    with pytest.raises(FileFormatError, match="Stale file handle"):
        load(path)


def test_a_directory_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    real = os.fsync

    def files_only(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(slots.os, "fsync", files_only)
    assert same_state(load(save(RESULT, tmp_path / "run.h5")).state, RESULT.state)


def test_the_list_of_system_calls_is_that_of_the_save_path():
    """What `Steps` counts is what is called: every name that the two modules take from `os` and `fcntl`."""
    import ast
    import inspect

    from mpo_transport.storage import lock

    used = set()
    for module in (slots, lock):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("os", "fcntl")
            ):
                used.add(node.attr)
    harmless = {"strerror", "getpid", "fspath", "path", "fstat", "pread"}
    constants = {name for name in used if name.isupper() or name.startswith(("O_", "LOCK_"))}
    assert used - harmless - constants <= {name for _, name in CALLS} and np.all([hasattr(m, n) for m, n in CALLS])
