"""The text of the batch scripts: how an element of a job array stops, goes back into the queue, and goes on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

__all__ = ["STOPPING", "job_script", "submit_script"]

# The same lines stand in the templates under scripts/slurm, which a test compares.
STOPPING = """\
# -- stopping and going on ---------------------------------------------------------------------------------------------
# Some time before the time limit Slurm sends USR1 to this script, which passes it on. The program saves its state and
# leaves with code 5; then the job puts itself back into the queue, and goes on from there when it starts again.
asked= cancelled= child= code=0
pass_on() { # pass_on SIGNAL
    again=1
    [ -z "$child" ] || kill -"$1" "$child" 2>/dev/null
}
trap 'asked=1; pass_on USR1' USR1
trap 'cancelled=1; pass_on TERM' TERM # scancel: saved as well, but not put back

run() { # run COMMAND...: carry it out; its exit code is left in $code
    "$@" &
    child=$!
    [ -z "$asked" ] || kill -USR1 "$child"
    again=1
    while [ -n "$again" ]; do # a signal ends `wait` before the program has ended
        again=
        wait "$child"
        code=$?
    done
    child=
}

stopped() { # whether the last program was stopped: it left with code 5, or was not yet ready to listen to signals
    [ "$code" -eq 5 ] || { [ "$code" -gt 128 ] && [ -n "$asked$cancelled" ]; }
}

go_on_later() { # go_on_later JOB: put it back into the queue, and leave
    [ -z "$cancelled" ] || exit 5
    if [ "${SLURM_RESTART_COUNT:-0}" -ge "$max_restarts" ]; then
        echo "stopped for the last time: $max_restarts restarts are used up; submit again to go on" >&2
        exit 5
    fi
    scontrol requeue "$1" || {
        echo "job $1 could not be put back into the queue; its state is saved, submit again to go on" >&2
        exit 5
    }
    exit 0
}
# ----------------------------------------------------------------------------------------------------------------------
"""

_POINTS = """\
line=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$list")
[ -n "$line" ] || { echo "$list has no line $((SLURM_ARRAY_TASK_ID + 1))" >&2; exit 2; }
worst=0
for point in $line; do # points that start from each other's states follow in one line
    [ -z "$asked$cancelled" ] || go_on_later "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    run "${program[@]}" sweep-point "$directory" "$point"
    ! stopped || go_on_later "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    [ "$code" -eq 0 ] || worst=$code
    [ "$code" -ne 8 ] || break # another process computes it
done
exit "$worst"
"""


def job_script(
    directives: Sequence[str], directory: Path, program: Sequence[str], setup: Sequence[str], max_restarts: int
) -> str:
    """Return the batch script of one element of a job array, whose argument is a file with its points in lines."""
    head = "\n".join(f"#SBATCH {line}" for line in directives)
    preparation = "\n".join(setup)
    return f"""\
#!/bin/bash
# One element of a job array: takes the points in its line of a file to their end, or saves them and goes on later.
#
#   sbatch --array=0-N {directory.name}/slurm/job.sh POINTS.txt     (submit.sh beside this file does it)
{head}
{preparation}
directory={shlex.quote(str(directory))}
program=({" ".join(map(shlex.quote, program))})
max_restarts={max_restarts}
list=$1
# Small matrices are fastest on one core; with more CPUs per task the program uses them all.
export MPO_TRANSPORT_THREADS="${{SLURM_CPUS_PER_TASK:-1}}"
export OMP_NUM_THREADS="$MPO_TRANSPORT_THREADS" OPENBLAS_NUM_THREADS="$MPO_TRANSPORT_THREADS"
export MKL_NUM_THREADS="$MPO_TRANSPORT_THREADS"

{STOPPING}
{_POINTS}"""


def submit_script(folder: Path, arrays: Sequence[Sequence[tuple[str, int]]], throttle: int | None) -> str:
    """Return a script that submits all arrays and writes their job numbers to ``jobs.txt``.

    Parameters
    ----------
    folder
        Where the scripts and lists of points lie.
    arrays
        For every wave of points the names of its lists and the number of their lines; a wave begins when all points
        of the wave before it have ended.
    throttle
        Largest number of elements that run at the same time, or None.
    """
    lines = [
        "#!/bin/bash",
        "# Submits the points of the sweep that were unfinished when this file was written; see jobs.txt for the jobs.",
        "set -euo pipefail",
        f"cd {shlex.quote(str(folder))}",
        "submit() { # submit OPTIONS... POINTS.txt: prints the number of the job",
        "    local job",
        '    job=$(sbatch --parsable "${@:1:$#-1}" job.sh "${@: -1}") || return 1',
        '    printf "%s %s\\n" "${job%%;*}" "${@: -1}" >>jobs.txt',
        '    printf "%s" "${job%%;*}"',
        "}",
    ]
    limit = f"%{throttle}" if throttle else ""
    after = ""
    for number, wave in enumerate(arrays):
        begun = f"wave_{number}="
        lines.append(begun)
        for name, count in wave:
            lines.append(f"job=$(submit {after}--array=0-{count - 1}{limit} {name})")
            lines.append(f"wave_{number}+=:$job")
        after = f'--dependency="afterany$wave_{number}" '
    return "\n".join(lines) + "\n"
