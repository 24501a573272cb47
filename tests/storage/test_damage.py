"""Files that are damaged, foreign, too new or written by somebody else; and a save that fails at every step."""

import errno
import os
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest
from storage.faults import child_environment, edited
from toy_methods import Relaxation, pumped_chain, same_state

from mpo_transport.errors import FileFormatError, InputError, RunConflictError
from mpo_transport.solve import steady_state
from mpo_transport.storage import (
    SCHEMA_VERSION,
    FallbackWarning,
    RunFile,
    RunLock,
    load,
    open_run,
    previous_path,
    save,
    slots,
)

RESULT = steady_state(pumped_chain(), Relaxation(steps=2))
OTHER = steady_state(pumped_chain(), Relaxation(steps=3))


def test_unreadable_files_say_what_they_are(tmp_path):
    cases = {
        "missing.h5": (None, "does not exist"),
        "empty.h5": (b"", "is empty"),
        "text.h5": (b"[model]\nname = 'x'\n", "not an HDF5 file"),
    }
    for name, (content, sentence) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(FileFormatError, match=sentence):
            load(path)
    with pytest.raises(FileFormatError, match="not a file"):
        load(tmp_path)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["data"] = np.arange(3)
    with pytest.raises(FileFormatError, match="not a run of mpo_transport"):
        load(tmp_path / "foreign.h5")


@pytest.mark.parametrize(("version", "sentence"), [(SCHEMA_VERSION + 1, "Update mpo_transport"), (0, "never existed")])
def test_other_schema_versions_are_refused(tmp_path, version, sentence):
    path = save(RESULT, tmp_path / "run.h5")
    save(OTHER, path)
    with edited(path) as file:
        file.attrs["schema_version"] = version
    if version > SCHEMA_VERSION:  # a newer file is no damage: nothing older is read in its place
        with pytest.raises(FileFormatError, match=sentence):
            load(path)
    else:
        with pytest.warns(FallbackWarning, match=sentence):
            load(path)


def test_missing_and_added_datasets_are_found(tmp_path):
    path = save(RESULT, tmp_path / "run.h5")
    with edited(path) as file:
        file["state/arrays/more"] = np.arange(3)
    with pytest.raises(FileFormatError, match="state/arrays/more"):
        load(path)
    with edited(path) as file:
        del file["state/arrays/more"], file["history/step"]
    with pytest.raises(FileFormatError, match="history/step"):
        load(path)


# -- two slots ---------------------------------------------------------------------------------------------------------


def test_the_previous_file_is_kept_and_used(tmp_path):
    path = save(RESULT, tmp_path / "run.h5")
    assert not previous_path(path).exists()
    save(OTHER, path)
    assert same_state(load(path).state, OTHER.state) and same_state(load(previous_path(path)).state, RESULT.state)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.warns(FallbackWarning, match=r"damaged.*run\.previous\.h5"):
        assert same_state(load(path).state, RESULT.state)
    path.unlink()
    with pytest.warns(FallbackWarning, match="does not exist"):
        assert same_state(load(path).state, RESULT.state)
    path.write_bytes(b"")
    previous_path(path).write_bytes(b"nonsense")
    with pytest.raises(FileFormatError, match=r"run\.h5 is empty.*run\.previous\.h5 is not an HDF5 file"):
        load(path)


def test_a_damaged_newest_file_never_replaces_the_good_previous_one(tmp_path):
    path = save(RESULT, tmp_path / "run.h5")
    save(OTHER, path)
    path.write_bytes(b"rubbish")
    with pytest.warns(FallbackWarning):
        save(OTHER, path)
    assert same_state(load(path).state, OTHER.state) and same_state(load(previous_path(path)).state, RESULT.state)


@pytest.mark.parametrize("content", [b"my thesis", b""])
def test_a_file_that_is_no_run_is_not_replaced(tmp_path, content):
    path = tmp_path / "run.h5"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="Nothing was written"):
        save(RESULT, path)
    with pytest.raises(FileFormatError):
        steady_state(pumped_chain(), Relaxation(), checkpoint=path)
    assert path.read_bytes() == content and [p.name for p in tmp_path.iterdir()] == ["run.h5"]


class Failure(OSError):
    pass


def fail_at(monkeypatch, module, name, count):
    """Let the ``count``-th call of a function fail as a full disk does."""
    real, calls = getattr(module, name), []

    def wrapped(*args, **kwargs):
        calls.append(args)
        if len(calls) == count:
            raise Failure(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, wrapped)
    return calls


STEPS = [
    *[(h5py.Group, "create_dataset", k) for k in (1, 4, 20)],
    (h5py.File, "close", 1),
    (os, "open", 1),
    (os, "write", 1),
    *[(os, "fsync", k) for k in (1, 2)],
    *[(os, "replace", k) for k in (1, 2)],
]


@pytest.mark.parametrize(("module", "name", "count"), STEPS, ids=[f"{n}-{k}" for _, n, k in STEPS])
def test_a_save_that_fails_anywhere_leaves_a_readable_file(tmp_path, monkeypatch, module, name, count):
    path = save(RESULT, tmp_path / "run.h5")
    save(RESULT, path)
    with monkeypatch.context() as patch, RunFile(path) as file:
        calls = fail_at(patch, module, name, count)
        with pytest.raises(OSError):
            file.write(record(OTHER))
        assert len(calls) >= count
    again = load(path)  # without a fallback: the newest name is always readable
    assert same_state(again.state, RESULT.state) or same_state(again.state, OTHER.state)
    assert same_state(load(previous_path(path)).state, RESULT.state)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.h5", "run.previous.h5"]
    save(OTHER, path)
    assert same_state(load(path).state, OTHER.state)


def record(result):
    from mpo_transport.storage.records import record_of

    return record_of(result)


def test_file_systems_without_hard_links_are_served(tmp_path, monkeypatch):
    def no_links(*args, **kwargs):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(slots.os, "link", no_links)
    path = save(RESULT, tmp_path / "run.h5")
    save(OTHER, path)
    assert same_state(load(path).state, OTHER.state) and same_state(load(previous_path(path)).state, RESULT.state)
    with monkeypatch.context() as patch:
        fail_at(patch, os, "replace", 2)  # between the two renames
        with pytest.raises(Failure):
            save(RESULT, path)
    with pytest.warns(FallbackWarning):
        assert same_state(load(path).state, OTHER.state)


def test_too_little_room_is_noticed_before_writing(tmp_path, monkeypatch):
    path = save(RESULT, tmp_path / "run.h5")
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(slots.shutil, "disk_usage", lambda directory: usage)
    with pytest.raises(OSError, match="No space left"):
        save(OTHER, path)
    assert same_state(load(path).state, RESULT.state)


# -- locks -------------------------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_with_the_name_of_the_first(tmp_path):
    path = tmp_path / "run.h5"
    with RunLock(path):
        for attempt in (
            lambda: save(RESULT, path),
            lambda: steady_state(pumped_chain(), Relaxation(), checkpoint=path),
            lambda: open_run(path, {}),
        ):
            with pytest.raises(RunConflictError, match=f"process {os.getpid()} on "):
                attempt()
    save(RESULT, path)
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]


def test_a_writer_in_another_process_is_seen_and_its_death_frees_the_lock(tmp_path):
    path = tmp_path / "run.h5"
    script = (
        "import sys, pathlib, time\nfrom mpo_transport.storage import RunLock\n"
        "lock = RunLock(pathlib.Path(sys.argv[1])); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], env=child_environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(RunConflictError, match=f"process {child.pid} on "):
            save(RESULT, path)
    finally:
        child.kill()
        child.communicate()
    save(RESULT, path)
    assert not path.with_name("run.h5.lock").exists()


def test_many_threads_take_the_lock_one_at_a_time(tmp_path):
    path, inside, worst = tmp_path / "run.h5", [], []

    def work():
        for _ in range(30):
            try:
                with RunLock(path):
                    inside.append(1)
                    worst.append(len(inside))
                    inside.pop()
            except RunConflictError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert worst and max(worst) == 1 and list(tmp_path.iterdir()) == []


# -- places that cannot be written -------------------------------------------------------------------------------------


def test_an_unwritable_place_is_refused_before_computing(tmp_path, monkeypatch):
    monkeypatch.setattr(Relaxation, "prepare", lambda *a, **k: pytest.fail("started"))
    file = tmp_path / "file"
    file.write_text("x")
    for bad in (tmp_path / "no" / "run.h5", file / "run.h5", tmp_path):
        with pytest.raises(InputError) as caught:
            steady_state(pumped_chain(), Relaxation(), checkpoint=bad)
        assert caught.value.field == "checkpoint"
        with pytest.raises(InputError) as caught:
            open_run(bad, {})
        assert caught.value.field == "out"

    def denied(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(slots.os, "open", denied)
    with pytest.raises(InputError, match="Permission denied") as caught:
        steady_state(pumped_chain(), Relaxation(), checkpoint=tmp_path / "run.h5")
    assert caught.value.field == "checkpoint" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_only_the_leavings_of_this_run_are_cleared_away(tmp_path):
    mine, others = (
        tmp_path / ".run.h5.4711-0.part",
        [tmp_path / ".run.h5.more.12-3.part", tmp_path / ".other.h5.1-1.part"],
    )
    for file in (mine, *others):
        file.write_bytes(b"x")
    save(RESULT, tmp_path / "run.h5")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "run.h5", *others])


def test_a_lock_file_that_cannot_be_removed_hides_no_other_error_and_keeps_no_lock(tmp_path, monkeypatch):
    path = tmp_path / "run.h5"

    def stuck(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch, pytest.raises(KeyError, match="mine"), RunLock(path):
        patch.setattr(os, "unlink", stuck)
        raise KeyError("mine")
    assert path.with_name("run.h5.lock").exists()
    with RunLock(path):  # it was given back all the same
        pass
    assert list(tmp_path.iterdir()) == []
