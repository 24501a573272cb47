"""Can a file be believed: its bytes, its parts, and whether what it says about its state is true of its state."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FileFormatError
from ..storage import StoredRun, previous_path
from ..storage.runs import checked_path, read_run
from ..storage.tree import (
    SCHEMA_VERSION,
    ForeignFileError,
    TooNewError,
    Tree,
    in_present_schema,
    read_content,
)
from .audit_checks import Finding, content_findings

__all__ = ["Audit", "Finding", "Slot", "audit"]

Rebuild = Callable[[StoredRun], tuple[Any, Mapping[str, Any]] | None]


@dataclass(frozen=True)
class Slot:
    """One file on the disk: ``state`` is ``"intact"``, ``"damaged"``, ``"foreign"``, ``"too new"`` or ``"missing"``."""

    path: Path
    state: str
    detail: str = ""
    schema_version: int | None = None
    generator: str = ""
    sealed: bool = False

    @property
    def intact(self) -> bool:
        """Whether every checksum fits."""
        return self.state == "intact"

    def to_dict(self) -> dict[str, Any]:
        """Return the entries as plain values."""
        return {
            "path": str(self.path),
            "state": self.state,
            "detail": self.detail,
            "schema_version": self.schema_version,
            "generator": self.generator,
            "sealed": self.sealed,
        }


@dataclass(frozen=True)
class Audit:
    """What was found about the file of a run.

    Attributes
    ----------
    newest, previous
        The two slots; ``previous`` is None if there is none.
    status, run_id, task, steps
        What the file says about the run (of the slot that :func:`~mpo_transport.load` would use); None if unreadable.
    findings
        The single checks, in order.
    """

    newest: Slot
    previous: Slot | None = None
    status: str | None = None
    run_id: str | None = None
    task: str | None = None
    steps: int | None = None
    findings: Sequence[Finding] = field(default_factory=tuple)

    @property
    def intact(self) -> bool:
        """Whether the bytes of both slots are those that were written."""
        return self.newest.intact and (self.previous is None or self.previous.intact)

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The checks that failed."""
        return tuple(f for f in self.findings if f.verdict == "failed")

    @property
    def verdict(self) -> str:
        """``"sound"``; ``"contradictory"``: intact bytes that contradict themselves; or the state of a bad slot.

        A damaged previous slot makes the whole ``"damaged"``.
        """
        if not self.newest.intact:
            return self.newest.state
        if self.previous is not None and not self.previous.intact:
            return "damaged"
        return "contradictory" if self.failed else "sound"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "path": str(self.newest.path),
            "verdict": self.verdict,
            "task": self.task,
            "status": self.status,
            "run_id": self.run_id,
            "steps": self.steps,
            "newest": self.newest.to_dict(),
            "previous": None if self.previous is None else self.previous.to_dict(),
            "checks": [f.to_dict() for f in self.findings],
        }

    def lines(self) -> list[str]:
        """Return the findings as lines of text."""
        slots = [s for s in (self.newest, self.previous) if s is not None]
        head = [f"{s.path}: {s.state}" + (f". {s.detail}" if s.detail else "") for s in slots]
        return [*head, *(f"  {f.verdict:<7} {f.name}: {f.detail}" for f in self.findings)]

    def __str__(self) -> str:
        return "\n".join([f"{self.newest.path}: {self.verdict}", *self.lines()[1:]])


def audit(path: str | os.PathLike[str], *, rebuild: Rebuild | None = None) -> Audit:
    """Check the file of a run, without changing it.

    Both slots: every checksum.  The content: model, method and state can be read; the specification has its checksum
    and run id; the state is finite, has trace 1, is Hermitian and its one- and two-site density matrices are positive
    within the claimed error; the residual ||L rho||/||rho||, where it is affordable, and the common checks are those of
    the certificate; the status follows from the certificate and ``tol``; the observables, evaluated again on the state,
    have the stored values.

    Parameters
    ----------
    path
        File of the run.
    rebuild
        Called with the stored run; returns the model that its specification describes today and the observables that it
        names, or None if it cannot tell.

    Returns
    -------
    Audit
        ``audit.verdict == "sound"`` if nothing is wrong.  A result that is not converged is sound if it says so.

    Raises
    ------
    InputError
        If ``path`` is no path.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, op, steady_state
    >>> model = Lindbladian(Chain(1, SpinHalf()), None, [Jump(op("Sp", 0), rate=1.0), Jump(op("Sm", 0), rate=3.0)])
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = steady_state(model).save(pathlib.Path(directory) / "run.h5")
    ...     audit(path).verdict
    'sound'
    """
    path = checked_path(path, "path")
    newest, tree = _slot(path)
    older: Slot | None = None
    older_path, older_tree = previous_path(path), None
    if newest.state != "foreign":
        older, older_tree = _slot(older_path)
        if older.state == "missing":
            older = None
    used = path
    if tree is None and newest.state != "too new":
        tree, used = older_tree, older_path
    if tree is None:
        return Audit(newest, older)
    try:
        run = read_run(tree, used)
    except FileFormatError as error:
        return Audit(newest, older, findings=(Finding("content", "failed", str(error)),))
    findings = content_findings(run, None if rebuild is None else rebuild(run))
    if used != path:
        findings = [
            Finding("slot", "remark", "the checks are those of the checkpoint before the newest file"),
            *findings,
        ]
    spec: Any = tree.get("spec", {})
    return Audit(
        newest,
        older,
        status=run.status.value if run.status is not None else "running",
        run_id=spec.get("run_id"),
        task=run.task,
        steps=run.cost.steps,
        findings=tuple(findings),
    )


def _slot(path: Path) -> tuple[Slot, Tree | None]:
    """Return what stands in one slot, and its tree in the form of the present schema."""
    try:
        content = read_content(path)
        tree = in_present_schema(content, path)
    except ForeignFileError as error:
        return Slot(path, "foreign", str(error)), None
    except TooNewError as error:
        return Slot(path, "too new", str(error)), None
    except FileFormatError as error:
        return Slot(path, "damaged" if os.path.lexists(path) else "missing", str(error)), None
    old = f"written with schema version {content.schema_version}" if content.schema_version < SCHEMA_VERSION else ""
    return Slot(path, "intact", old, content.schema_version, content.generator, content.sealed), tree
