"""A real Slurm cluster of one node: points longer than the time limit are stopped, queue again, and change nothing."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster.comparing import same_result

from mpo_transport.sweep import SweepDirectory, SweepPlan
from mpo_transport.sweep.execution import local, slurm

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch")
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.skipif(
        any(shutil.which(name, path=SEARCH) is None for name in NEEDED),
        reason="Slurm is not installed (packages slurm-wlm and munge): scripts/slurm/one_node_cluster --help",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="starting the daemons of Slurm needs root"),
]

# Chains of two points. A time step with bonds of this size takes a second or so, so that every point needs several
# steps more than fit into the twenty seconds after which Slurm asks it to stop.
SWEEP = """
name = "chains"
[base]
observables = ["current", "profile:Z"]
[base.model]
name = "boundary_driven_xxz"
L = {L}
Delta = 1.5
[base.method]
name = "TEBD"
max_bond = 40
initial_bond = 40
dt = 0.5
max_time = {time}
[base.solve]
tol = 1e-9
[base.output]
checkpoint_every = 5.0
[axes]
"model.eps" = [0.2, 0.6]
[slurm]
time = 1
grace = 40
memory = "1G"
setup = ["export PYTHONPATH={root}"]
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A running cluster; commands of Slurm find it by SLURM_CONF."""
    folder = tmp_path_factory.mktemp("slurm")
    control = [ROOT / "scripts" / "slurm" / "one_node_cluster"]
    started = subprocess.run([*control, "start", folder], capture_output=True, text=True, check=False)
    try:
        assert started.returncode == 0, started.stderr
        before = os.environ.get("SLURM_CONF")
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        yield folder
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before
    finally:
        subprocess.run([*control, "stop", folder], check=True)


def wait_until_left(directory: SweepDirectory, seconds: float) -> None:
    """Wait until Slurm has nothing of a sweep in its queue."""
    limit = time.monotonic() + seconds
    while slurm.queued(directory):
        assert time.monotonic() < limit, subprocess.run(["squeue"], capture_output=True, text=True, check=True).stdout
        time.sleep(1.0)


def restarts(job: str) -> int:
    """How often the elements of an array were put back into the queue, as Slurm counts."""
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
    return sum(map(int, re.findall(r"Restarts=(\d+)", shown)))


def test_points_longer_than_the_time_limit_are_resumed_and_change_nothing(cluster, tmp_path):
    plan = SweepPlan.from_toml(SWEEP.format(L=24, time=600.0, root=ROOT))
    directory = SweepDirectory.create(tmp_path / "on slurm", plan)
    with pytest.warns(UserWarning, match="leaves 0 s"):
        made = slurm.submit(directory)
    assert made.elements == made.points == 2
    wait_until_left(directory, 600)
    states = directory.states()
    assert all(state.finished for state in states), states
    attempts = [state.attempts for state in states]
    assert max(attempts) >= 2 and restarts(*made.jobs) >= sum(attempts) - len(attempts), attempts

    unbroken = SweepDirectory.create(tmp_path / "unbroken", plan)
    local.execute(unbroken, plan.points, workers=0)
    for point in plan.points:
        assert unbroken.state(point).attempts == 1
        assert same_result(directory.run_path(point), unbroken.run_path(point)), point.label

    assert slurm.submit(directory).points == 0  # nothing left


def test_the_template_for_one_run(cluster, tmp_path):
    """The template with the command replaced by this Python; a crash (bad input) is not put back into the queue."""
    text = (ROOT / "scripts" / "slurm" / "run.sbatch").read_text()
    script = tmp_path / "run.sbatch"
    script.write_text(text.replace("program=(mpo-transport)", f"program=({sys.executable} -m mpo_transport)"))
    (tmp_path / "spec.toml").write_text(
        'name = "ring"\n[model]\nname = "persistent_current"\nL = 3\nalpha=2\ndelta=1.5\n'
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for more, code in (([], "0:0"), (["--set", "model.delta=[]"], "2:0")):
        answer = subprocess.run(
            ["sbatch", "--wait", "--parsable", "--mem=500M", script, "spec.toml", "out", *more],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        job = answer.stdout.strip()
        shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
        assert f"ExitCode={code}" in shown and "Restarts=0" in shown, shown
    assert (tmp_path / "out" / "ring.h5").exists()
