"""What is known of one point beside its run file: attempts, how the last one ended, and why."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FileFormatError
from ..result import Status
from .files import read_text, write_text

__all__ = ["FAILED", "INTERRUPTED", "STARTED", "PointRecord"]

STARTED, INTERRUPTED, FAILED = "started", "interrupted", "failed"
_FORMAT = "mpo_transport sweep point"
FINAL = {status.value for status in Status if status is not Status.INTERRUPTED}


@dataclass(frozen=True)
class PointRecord:
    """The record of a point.

    Attributes
    ----------
    attempts
        How often it was begun or continued.
    deaths
        Attempts in a row that ended without a word and without a new checkpoint.
    outcome
        ``"started"``, ``"interrupted"``, ``"failed"``, a status of a finished run, or empty.
    reason, error
        Sentence for people, and the name of the exception class behind a failure.
    traceback
        Where an error came from that should not have happened.
    steps
        Steps in the newest checkpoint when the last attempt began.
    warm_start
        ``{"from": run id, "used": bool, "reason": text}``, or None.
    facts
        Cost and accuracy of a finished run: wall_seconds, cpu_seconds, steps, peak_bytes, error_estimate.
    """

    run_id: str
    attempts: int = 0
    deaths: int = 0
    outcome: str = ""
    reason: str = ""
    error: str = ""
    traceback: str = ""
    steps: int = 0
    warm_start: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the run ended with a status, well or not."""
        return self.outcome in FINAL

    def forgiven(self) -> PointRecord:
        """Return the record without its failure."""
        return self.changed(outcome="", reason="", error="", traceback="", deaths=0)

    def changed(self, **changes: Any) -> PointRecord:
        """Return a copy with other values."""
        return dataclasses.replace(self, **changes)

    def write(self, path: Path, *, durable: bool = True) -> None:
        """Replace the file of the record."""
        text = json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}, indent=1)
        write_text(path, text + "\n", durable=durable)

    @classmethod
    def read(cls, path: Path, run_id: str) -> PointRecord:
        """Return the record of a file; an empty one if there is none.

        Raises
        ------
        FileFormatError
            If the file holds something else.
        """
        text = read_text(path)
        if text is None:
            return cls(run_id)
        try:
            facts = json.loads(text)
            if facts.pop("format") != _FORMAT:
                raise KeyError("format")
            names = {f.name for f in dataclasses.fields(cls)}
            record = cls(**{key: value for key, value in facts.items() if key in names})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise FileFormatError(f"{path} is not the record of a sweep point; remove it to begin anew.") from None
        if record.run_id != run_id:
            raise FileFormatError(f"{path} belongs to the run {record.run_id}; remove it to begin anew.")
        return record
