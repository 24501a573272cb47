"""Where a run to a steady state stands: everything but the states, as plain numbers and texts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .schedule import Level, Relaxation

__all__ = ["PARTS", "Progress"]

PARTS = ("time step", "truncation")


@dataclass
class Progress:
    """Where a run stands (all JSON-able): level and role of the evolving state, its relaxation, what companions exist.

    ``stage``: 0 coarse, 1 first stage at the working order, 2 refinement, 3 further relaxation; ``since``: steps since
    the last check; ``piece``: pieces of a step that are done, where a step is more work than a chunk.
    """

    level: Level
    relaxation: Relaxation
    stage: int = 0
    role: str = "main"
    since: int = 0
    piece: int = 0
    time: float = 0.0
    trace: float = 1.0
    weight: float | None = None
    total_weight: float | None = None
    target: float | None = None
    main: Level | None = None
    main_weight: float | None = None
    levels: dict[str, Level] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    clean: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(PARTS))
    parts: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys((*PARTS, "relaxation")))
    attempts: int = 0
    wandering: bool = False
    reference: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able dictionary."""
        out = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        out["level"], out["relaxation"] = self.level.to_json(), self.relaxation.to_json()
        out["main"] = self.main.to_json() if self.main else None
        out["levels"] = {k: v.to_json() for k, v in self.levels.items()}
        for key in ("weights", "clean", "parts"):
            out[key] = {k: None if v is None or not math.isfinite(v) else v for k, v in out[key].items()}
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Progress:
        """Return the progress stored by :meth:`to_json`."""
        values = dict(data)
        values["level"] = Level(**values["level"])
        values["relaxation"] = Relaxation.from_json(values["relaxation"])
        values["main"] = Level(**values["main"]) if values["main"] else None
        values["levels"] = {k: Level(**v) for k, v in values["levels"].items()}
        for key in ("weights", "clean", "parts"):
            values[key] = dict(values[key])
        return cls(**values)

    @property
    def error(self) -> float | None:
        """Sum of the known parts of the error, None while one is missing."""
        values = list(self.parts.values())
        return None if any(v is None for v in values) else float(sum(v or 0.0 for v in values))

    def message(self) -> str:
        """Return a line for whoever watches."""
        r = self.relaxation
        drift = f"{r.drifts[-1] / r.interval:.1e}" if r.drifts else "-"
        error = self.error
        text = f"t = {self.time:.4g}, dt = {self.level.dt:.3g}, bond {self.level.bond}, drift {drift}"
        if self.role != "main":
            text += f", companion for the {self.role} error"
        return text + (f", error {error:.1e}" if error is not None and math.isfinite(error) else "")

    def fraction(self, tol: float) -> float | None:
        """Return the part of the digits that is reached."""
        # relaxation comes and goes
        error = sum(v if v is not None else math.inf for v in (self.parts[k] for k in PARTS))
        if not math.isfinite(error) or error <= 0:
            return 0.05 if self.stage else 0.0
        return float(min(0.99, max(0.05, math.log(error) / math.log(tol)))) if tol < 1 else None
