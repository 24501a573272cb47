"""What is handed to Slurm: batch script, lists of points, submission, and what goes wrong. No Slurm is needed."""

import os
import re
import stat
import subprocess
import warnings
from pathlib import Path

import pytest

from mpo_transport.cli import Exit, main
from mpo_transport.errors import ClusterError, InputError, MpoTransportWarning
from mpo_transport.sweep import SweepDirectory, SweepPlan
from mpo_transport.sweep.execution import local, slurm
from mpo_transport.sweep.execution.slurm_script import STOPPING

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]

BASE = """
[base.model]
name = "boundary_driven_xxz"
L = 2
eps = 0.5
[axes]
"model.Delta" = [0.0, 0.5, 1.0]
"model.eps" = [0.2, 0.4]
"""
WARM = '\n[warm_start]\nalong = "model.Delta"\n'
OPTIONS = '\n[slurm]\ntime = "1:00:00"\nprogram = ["true"]\n'

# Stands for sbatch: writes down its arguments, and answers with a job number
SBATCH = """#!/bin/bash
printf '%s\\n' "$*" >>"$RECORD"
[ ! -e "$RECORD.refuse" ] || { echo "sbatch: error: Invalid account" >&2; exit 1; }
echo "$((100 + $(wc -l <"$RECORD")));cluster"
"""
# Stands for scontrol, squeue, and the program
SCONTROL = '#!/bin/bash\nprintf "scontrol %s\\n" "$*" >>"$RECORD"\n'
SQUEUE = '#!/bin/bash\ncat "$RECORD.queue" 2>/dev/null\n'


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Commands of Slurm that only write down their arguments; returns the file they write to."""
    folder = tmp_path / "commands"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "scontrol": SCONTROL, "squeue": SQUEUE}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("RECORD", str(folder / "record"))
    (folder / "record").write_text("")
    return folder / "record"


def sweep(path, *parts) -> SweepDirectory:
    return SweepDirectory.create(path, SweepPlan.from_toml(BASE + "".join(parts)))


def indices(groups):
    return [[[p.index for p in chain] for chain in wave] for wave in groups]


# -- submission --------------------------------------------------------------------------------------------------------


def test_all_points_are_one_array(tmp_path, commands):
    directory = sweep(tmp_path / "s", OPTIONS, "max_running = 4\n")
    made = slurm.submit(directory)
    assert made.jobs == ("101",) and (made.points, made.elements) == (6, 6)
    (call,) = commands.read_text().splitlines()
    name = call.split()[-1]
    assert call == f"--parsable --array=0-5%4 job.sh {name}"
    assert (directory.path / "slurm" / name).read_text() == "0\n1\n2\n3\n4\n5\n"
    assert (directory.path / "slurm" / "jobs.txt").read_text() == f"101 {name}\n"


def test_the_options_become_directives(tmp_path, commands):
    options = """
    [slurm]
    time = 90
    account = "physics"
    partition = "long"
    qos = "normal"
    memory = "3G"
    cpus = 2
    grace = 300
    max_restarts = 7
    extra = ["--constraint=skylake"]
    setup = ["module load python", "source $HOME/venv/bin/activate"]
    program = ["mpo-transport"]
    """
    directory = sweep(tmp_path / "a b", options)
    slurm.submit(directory)
    script = (directory.path / "slurm" / "job.sh").read_text()
    logs = tmp_path / "a b" / "slurm" / "logs"
    assert re.findall(r"^#SBATCH (.*)$", script, re.MULTILINE) == [
        "--job-name=a_b",
        f'--output="{logs}/%A_%a.log"',
        "--open-mode=append",
        "--requeue",
        "--signal=B:USR1@300",
        "--ntasks=1",
        "--cpus-per-task=2",
        "--account=physics",
        "--partition=long",
        "--qos=normal",
        "--time=90",
        "--mem=3G",
        "--constraint=skylake",
    ]
    assert "module load python\nsource $HOME/venv/bin/activate\n" in script
    assert "program=(mpo-transport)\nmax_restarts=7\n" in script and f"directory='{directory.path}'" in script
    assert logs.is_dir()
    subprocess.run(["bash", "-n", directory.path / "slurm" / "job.sh"], check=True)


def test_only_unfinished_points_are_submitted(tmp_path, commands):
    directory = sweep(tmp_path / "s", OPTIONS)
    local.execute(directory, [directory.plan.points[k] for k in (0, 2, 3)], workers=0)
    made = slurm.submit(directory)
    assert (made.points, made.elements) == (3, 3)
    name = commands.read_text().split()[-1]
    assert (directory.path / "slurm" / name).read_text() == "1\n4\n5\n"
    local.execute(directory, directory.plan.points, workers=0)
    (directory.path / "slurm" / "jobs.txt").unlink()
    made = slurm.submit(directory)
    assert made == slurm.Submission((), 0, 0, None) and len(commands.read_text().splitlines()) == 1


def test_dependent_points_share_an_element(tmp_path, commands):
    directory = sweep(tmp_path / "s", WARM, OPTIONS)
    assert indices(slurm.waves(directory.plan.points)) == [[[0, 2, 4], [1, 3, 5]]]
    made = slurm.submit(directory)
    assert (made.points, made.elements) == (6, 2)
    name = commands.read_text().split()[-1]
    assert (directory.path / "slurm" / name).read_text() == "0 2 4\n1 3 5\n"


class Node:
    """A point as far as its dependence is concerned."""

    def __init__(self, index, depends_on=None):
        self.index, self.run_id = index, f"id{index}"
        self.depends_on = None if depends_on is None else f"id{depends_on}"


def test_a_fork_begins_another_wave():
    #   0 - 1 - 2 - 3        4 alone, 7 depends on a point that is not among these
    #        \\ 5 - 6
    nodes = [Node(0), Node(1, 0), Node(2, 1), Node(3, 2), Node(4), Node(5, 1), Node(6, 5), Node(7, 99)]
    assert indices(slurm.waves(nodes)) == [[[0, 1], [4], [7]], [[2, 3], [5, 6]]]


def test_later_waves_wait_and_large_arrays_are_split(tmp_path, commands, monkeypatch):
    directory = sweep(tmp_path / "s", OPTIONS, "array_size = 2\n")
    p = directory.plan.points
    monkeypatch.setattr(slurm, "waves", lambda points: (((p[0],), (p[1],), (p[2],)), ((p[3], p[4]), (p[5],))))
    made = slurm.submit(directory)
    assert made.jobs == ("101", "102", "103") and made.elements == 5
    calls = [line.split() for line in commands.read_text().splitlines()]
    assert [c[:-2] for c in calls] == [
        ["--parsable", "--array=0-1"],
        ["--parsable", "--array=0-0"],
        ["--parsable", "--dependency=afterany:101:102", "--array=0-1"],
    ]
    assert [(directory.path / "slurm" / c[-1]).read_text() for c in calls] == ["0\n1\n", "2\n", "3 4\n5\n"]


def test_a_dry_run_submits_nothing(tmp_path, commands):
    made = slurm.submit(sweep(tmp_path / "s", OPTIONS), dry_run=True)
    assert made.jobs == () and made.points == 6 and commands.read_text() == ""
    assert made.script is not None and made.script.stat().st_mode & stat.S_IXUSR
    subprocess.run([made.script], check=True)  # by hand, from anywhere
    assert commands.read_text().startswith("--parsable --array=0-5 job.sh points-")


def test_what_is_queued_is_not_submitted_again(tmp_path, commands):
    directory = sweep(tmp_path / "s", OPTIONS)
    assert slurm.submit(directory).jobs == ("101",)
    commands.with_name("record.queue").write_text("55\n101\n101\n")
    with pytest.raises(ClusterError, match=r"in the queue already \(jobs 101\).*scancel 101"):
        slurm.submit(directory)
    commands.with_name("record.queue").write_text("55\n")
    assert slurm.submit(directory).jobs == ("102",)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_without_sbatch_the_script_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    directory = sweep(tmp_path / "s", OPTIONS)
    with pytest.raises(ClusterError, match=r"sbatch is not found.*submit by hand with: bash .*/slurm/submit\.sh"):
        slurm.submit(directory)
    assert (directory.path / "slurm" / "submit.sh").exists()
    local.execute(directory, directory.plan.points, workers=0)
    assert all(s.word == "done" for s in directory.states())


def test_a_refusal_is_told_with_what_was_submitted(tmp_path, commands):
    directory = sweep(tmp_path / "s", OPTIONS)
    commands.with_name("record.refuse").touch()
    with pytest.raises(ClusterError, match=r"sbatch refused: sbatch: error: Invalid account.*submit by hand"):
        slurm.submit(directory)
    assert not (directory.path / "slurm" / "jobs.txt").exists()
    commands.with_name("record.refuse").unlink()
    assert slurm.submit(directory).jobs == ("102",)


def test_a_scheduler_that_does_not_answer(tmp_path, commands, monkeypatch):
    commands.with_name("sbatch").write_text('#!/bin/bash\necho $$ >"$RECORD"\nexec sleep 60\n')
    monkeypatch.setattr(slurm, "_TIMEOUT", 2.0)
    with pytest.raises(ClusterError, match="gave no answer"):
        slurm.submit(sweep(tmp_path / "s", OPTIONS))
    # nothing is submitted behind our back later; an orphan that nobody waits for stays as a zombie
    left = subprocess.run(
        ["ps", "-o", "stat=", "-p", commands.read_text().strip()], capture_output=True, text=True, check=False
    )
    assert left.stdout.strip()[:1] in ("", "Z")


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ('partitoin = "x"', "slurm.partitoin"),
        ('time = "soon"', "slurm.time"),
        ("time = -1", "slurm.time"),
        ("time = true", "slurm.time"),
        ("cpus = 0", "slurm.cpus"),
        ('memory = ""', "slurm.memory"),
        ('account = "a\\nb"', "slurm.account"),
        ('extra = "--x"', "slurm.extra"),
        ('extra = ["exclusive"]', "slurm.extra"),
        ("setup = [1]", "slurm.setup"),
        ("array_size = 0", "slurm.array_size"),
        ("max_restarts = -1", "slurm.max_restarts"),
    ],
)
def test_a_wrong_option_is_named(tmp_path, entry, field):
    with pytest.raises(InputError) as error:
        slurm.submit(sweep(tmp_path / "s", f"\n[slurm]\n{entry}\n"), dry_run=True)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("limit", "grace", "every", "left"), [("5", 120, 180.0, "120 s"), ("3", 120, 1.0, "0 s"), ("1", 120, 60.0, "0 s")]
)
def test_a_short_time_limit_is_warned_about(tmp_path, limit, grace, every, left):
    base = f"\n[base.output]\ncheckpoint_every = {every}\n[slurm]\ntime = '{limit}'\ngrace = {grace}\n"
    with pytest.warns(MpoTransportWarning, match=rf"leaves {left} .*grace {grace} s.*\({every:g} s\)"):
        slurm.submit(sweep(tmp_path / "s", base), dry_run=True)


def test_a_time_limit_that_suffices_is_not(tmp_path):
    base = "\n[base.output]\ncheckpoint_every = 120.0\n[slurm]\ntime = '5'\ngrace = 120\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slurm.submit(sweep(tmp_path / "s", base), dry_run=True)


def test_the_command_submits_or_says_why_not(tmp_path, commands, monkeypatch, capsys):
    file = tmp_path / "short.toml"
    file.write_text(BASE + OPTIONS)
    assert main(["sweep", str(file), "--out", str(tmp_path / "s"), "--slurm"]) == Exit.CONVERGED
    assert "submitted 6 points as 6 array elements: 101" in capsys.readouterr().out
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["sweep", str(file), "--out", str(tmp_path / "s"), "--slurm"]) == Exit.NO_CLUSTER
    assert "sbatch is not found" in capsys.readouterr().err
    assert main(["sweep", str(file), "--out", str(tmp_path / "s"), "-q", "--workers", "0"]) == Exit.CONVERGED
    assert main(["sweep", str(file), "--out", str(tmp_path / "s"), "--slurm"]) == Exit.CONVERGED
    assert "nothing is left" in capsys.readouterr().out


# -- the batch script itself -------------------------------------------------------------------------------------------

# Stands for the program: notes the point; for points named in $PLAN it leaves with a code, dies, or waits for a signal
PROGRAM = """#!/bin/bash
echo "point ${@: -1}" >>"$RECORD"
what=$(sed -n "s/^${@: -1} //p" "$PLAN")
case $what in
    wait) trap 'echo saved >>"$RECORD"; exit 5' USR1; trap 'echo saved >>"$RECORD"; exit 5' TERM
          touch "$PLAN.ready"; for k in {1..600}; do sleep 0.05; done ;;
    deaf) touch "$PLAN.ready"; for k in {1..600}; do sleep 0.05; done ;;
    die) kill -KILL $$ ;;
    *) exit ${what:-0} ;;
esac
"""


@pytest.fixture
def element(tmp_path, commands, monkeypatch):
    """Start the element of an array with a plan for its points; returns a function that does it."""
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PLAN", str(tmp_path / "plan"))
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    directory = sweep(tmp_path / "s", WARM, f'\n[slurm]\nprogram = ["{program}"]\nmax_restarts = 3\n')
    script = slurm.submit(directory, dry_run=True).script
    assert script is not None
    (points,) = script.parent.glob("points-*.txt")

    def start(plan: str, **environment: str) -> subprocess.Popen:
        (tmp_path / "plan").write_text(plan)
        return subprocess.Popen(
            ["bash", script.parent / "job.sh", points], env={**os.environ, **environment}, stderr=subprocess.PIPE
        )

    return start


def when_ready(tmp_path):
    while not (tmp_path / "plan.ready").exists():
        pass


def ended(process) -> int:
    process.communicate(timeout=60)
    return process.returncode


def test_the_points_of_a_line_follow_each_other(element, commands):
    assert ended(element("")) == 0
    assert commands.read_text() == "point 1\npoint 3\npoint 5\n"


def test_usr1_saves_and_queues_again(element, commands, tmp_path):
    process = element("3 wait\n")
    when_ready(tmp_path)
    process.send_signal(10)
    assert ended(process) == 0
    assert commands.read_text() == "point 1\npoint 3\nsaved\nscontrol requeue 70_1\n"


def test_a_program_that_is_not_ready_for_signals_queues_again(element, commands, tmp_path):
    process = element("1 deaf\n")
    when_ready(tmp_path)
    process.send_signal(10)
    assert ended(process) == 0
    assert commands.read_text() == "point 1\nscontrol requeue 70_1\n"


def test_a_cancelled_element_saves_and_leaves(element, commands, tmp_path):
    process = element("1 wait\n")
    when_ready(tmp_path)
    process.terminate()
    assert ended(process) == 5
    assert commands.read_text() == "point 1\nsaved\n"


@pytest.mark.parametrize(("plan", "code"), [("1 die\n", 137), ("1 1\n", 1), ("3 3\n", 3), ("1 2\n3 4\n", 4)])
def test_a_point_that_ends_badly_does_not_queue_again(element, commands, plan, code):
    assert ended(element(plan)) == code
    assert commands.read_text() == "point 1\npoint 3\npoint 5\n"


def test_nothing_follows_a_point_that_another_process_computes(element, commands):
    assert ended(element("1 8\n")) == 8 and commands.read_text() == "point 1\n"


def test_restarts_are_limited(element, commands, tmp_path):
    process = element("1 5\n", SLURM_RESTART_COUNT="2")
    assert ended(process) == 0 and commands.read_text() == "point 1\nscontrol requeue 70_1\n"
    commands.write_text("")
    process = element("1 5\n", SLURM_RESTART_COUNT="3")
    assert b"3 restarts are used up" in process.communicate(timeout=60)[1] and process.returncode == 5
    assert commands.read_text() == "point 1\n"


def test_a_refused_requeue_is_told(element, commands):
    commands.with_name("scontrol").write_text("#!/bin/bash\nexit 1\n")
    process = element("1 5\n")
    assert b"could not be put back" in process.communicate(timeout=60)[1] and process.returncode == 5


def test_a_line_that_is_missing_is_told(element, commands):
    process = element("", SLURM_ARRAY_TASK_ID="2")
    assert b"has no line 3" in process.communicate(timeout=60)[1] and process.returncode == 2


@pytest.mark.parametrize("name", ["run.sbatch", "sweep.sbatch"])
def test_the_templates_stop_in_the_same_way(name):
    text = (ROOT / "scripts" / "slurm" / name).read_text()
    assert STOPPING in text
    subprocess.run(["bash", "-n", ROOT / "scripts" / "slurm" / name], check=True)
