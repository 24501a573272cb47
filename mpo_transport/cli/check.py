"""The command ``check``: files, and directories of files, audited one by one, for people or as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..solve import Audit, audit
from ..spec import RunSpec
from ..spec.solving import wanted_observables
from ..storage import StoredRun
from .exits import Exit
from .output import say

__all__ = ["check_files", "files_of"]

_PREVIOUS = ".previous"


def check_files(paths: Sequence[Path], *, as_json: bool = False, everything: bool = False) -> Exit:
    """Audit files of runs, print what was found, and return the exit code.

    ``DAMAGED_FILE`` if any file is damaged, missing, too new or, where it was named itself, no run; else
    ``CONTRADICTORY`` if any contradicts itself; else ``CONVERGED``.  In a directory files of other kinds are passed by.

    Raises
    ------
    InputError
        If a directory holds no file of a run.
    """
    audits: list[Audit] = []
    code = Exit.CONVERGED
    for path, by_name in _chosen(paths):
        found = audit(path, rebuild=_rebuilt)
        audits.append(found)
        code = _worse(code, _code(found, by_name))
        if not as_json:
            _print(found, _code(found, by_name), everything or (len(paths) == 1 and by_name))
    summary = _summary(audits)
    if as_json:
        report = {"files": [a.to_dict() for a in audits], "summary": summary, "exit_code": int(code)}
        say(json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1))
    elif len(audits) > 1:
        parts = (", ".join(f"{count} {word}" for word, count in summary[kind].items()) for kind in ("verdicts", "runs"))
        say(f"{len(audits)} files: {next(parts)}; runs: {next(parts) or 'none'}")
    return code


def files_of(directory: Path) -> list[Path]:
    """Return the newest slot of every run below a directory, whether it is there or only the checkpoint before it."""
    found = set()
    for path in directory.rglob("*.h5"):
        if path.name.startswith("."):
            continue
        is_older = path.stem.endswith(_PREVIOUS)
        found.add(path.with_name(path.stem.removesuffix(_PREVIOUS) + path.suffix) if is_older else path)
    return sorted(found)


# ----------------------------------------------------------------------------------------------------------------------


def _chosen(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    for path in paths:
        if not path.is_dir():
            yield path, True
            continue
        files = files_of(path)
        if not files:
            raise InputError(f"The directory {path} holds no .h5 file.", field="run")
        yield from ((file, False) for file in files)


def _code(found: Audit, by_name: bool) -> Exit:
    if found.verdict == "sound" or (found.verdict == "foreign" and not by_name):
        return Exit.CONVERGED
    return Exit.CONTRADICTORY if found.verdict == "contradictory" else Exit.DAMAGED_FILE


def _worse(a: Exit, b: Exit) -> Exit:
    order = (Exit.CONVERGED, Exit.CONTRADICTORY, Exit.DAMAGED_FILE)
    return max(a, b, key=order.index)


def _print(found: Audit, code: Exit, everything: bool) -> None:
    run = ""
    if found.status is not None:
        run = f" ({found.task}, {found.status}, {found.steps} steps)"
    for slot, role in ((found.newest, run), (found.previous, " (the checkpoint before it)")):
        if slot is not None:
            detail = f". {slot.detail}" if slot.detail else ""
            text = f"{slot.path}: {slot.state}{role}{detail}" if slot.intact else f"{slot.detail}{role}"
            say(" ".join(text.split()), error=not slot.intact)
    for finding in found.findings:
        if everything or finding.verdict in ("failed", "remark"):
            say(f"  {finding.verdict:<7} {finding.name}: {finding.detail}", error=finding.verdict == "failed")
    if code is Exit.CONTRADICTORY:
        failed = ", ".join(f.name for f in found.failed)
        say(f"{found.newest.path}: intact, but it contradicts itself ({failed}); do not use its numbers.", error=True)


def _summary(audits: Sequence[Audit]) -> dict[str, Any]:
    """Counts of verdicts and of statuses; files that are no runs are not counted among the runs."""
    verdicts = Counter(a.verdict for a in audits)
    runs = Counter(a.status for a in audits if a.status is not None)
    return {"files": len(audits), "verdicts": dict(sorted(verdicts.items())), "runs": dict(sorted(runs.items()))}


def _rebuilt(run: StoredRun) -> tuple[Any, Mapping[str, Any]] | None:
    """What the specification file of a run describes today; None for a run begun from Python or of another version."""
    if run.spec is None or "solve" not in run.spec:
        return None
    try:
        plan = RunSpec.from_dict(run.spec)
        model = plan.build_model()
        return model, wanted_observables(plan, model)
    except InputError:
        return None
