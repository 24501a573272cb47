"""Nonsense in specification and run files: one sentence and a documented exit code, never a crash, a hang or a lie."""

import json
import subprocess
import sys

import pytest
from storage import fuzz
from storage.faults import child_environment


def driven(what, directory, count, seed, timeout):
    """The fuzzer in a process of its own; `current` names the case if even that process is lost."""
    done = subprocess.run(
        [sys.executable, fuzz.__file__, what, str(directory), str(count), str(seed)],
        env=child_environment(), capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found["cases"], found["endings"])
    assert found["problems"] == []
    assert sum(found["endings"].values()) == count
    return found["endings"]


@pytest.mark.parametrize("text", fuzz.VALID)
def test_the_specifications_that_are_mutated_are_valid(tmp_path, text):
    from mpo_transport.spec import load_spec

    (tmp_path / "spec.toml").write_text(text)
    plan = load_spec(tmp_path / "spec.toml")
    plan.build_observables(plan.build_model())
    plan.build_method()


def test_mutated_specifications(tmp_path):
    endings = driven("specs", tmp_path, 40, 11, 300)
    assert endings["BAD_INPUT"] > 10 and endings["CONVERGED"] > 2


def test_mutated_files(tmp_path):
    endings = driven("files", tmp_path, 24, 12, 300)
    assert endings["bytes: refused"] > 3 and endings["structure: refused"] > 3 and endings["content: refused"] > 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", [21, 22])
def test_many_mutated_specifications(tmp_path, seed):
    driven("specs", tmp_path, 300, seed, 1800)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [31, 32])
def test_many_mutated_files(tmp_path, seed):
    driven("files", tmp_path, 300, seed, 1800)
