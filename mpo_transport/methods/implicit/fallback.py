"""What happens where the sweeps fail in an automatic run: time evolution takes over, and the result says so."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...model import Lindbladian
from ...result import Certificate, Status
from ..base import Diagnostics, Iterate
from ..tebd.method import TEBD
from .engine import Engine

__all__ = ["Work"]

# Entry of the scalars of an iterate that belongs to TEBD: why the sweeps were given up.
GIVEN_UP = "implicit sweeps given up"
# Claimed error above which a state that truncation has stalled is not one to go by.
HOPELESS = 1e-2
_BREAKDOWNS = (np.linalg.LinAlgError, FloatingPointError, OverflowError)


@dataclass
class Work:
    """The sweeps and, with ``fallback``, TEBD behind them, prepared when it is needed."""

    engine: Engine
    model: Lindbladian
    tol: float
    seed: int
    fallback: bool
    _second: list[Any] = field(default_factory=list)

    @property
    def second(self) -> Any:
        """The work object of TEBD."""
        if not self._second:
            self._second.append(TEBD().prepare(self.model, tol=self.tol, seed=self.seed))
        return self._second[0]

    def advance(self, iterate: Iterate) -> tuple[Iterate, Diagnostics]:
        """Do one piece of work with whichever of the two is in charge."""
        if GIVEN_UP in iterate.scalars:
            out, diagnostics = TEBD().advance(self.second, iterate)
            return _marked(out, str(iterate.scalars[GIVEN_UP])), diagnostics
        try:
            out, diagnostics = self.engine.advance(iterate)
        except _BREAKDOWNS as error:
            if not self._may_fall_back():
                raise
            return self._taken_over(iterate, f"{type(error).__name__}: {error}")
        if self._failed(diagnostics) and self._may_fall_back():
            return self._taken_over(out, _reason(out, diagnostics))
        return out, diagnostics

    def certified(self, iterate: Iterate, status: Status) -> Certificate | None:
        """Return the certificate of TEBD if it is in charge, else None."""
        if GIVEN_UP not in iterate.scalars:
            return None
        certificate = TEBD().certify(self.second, iterate, status)
        note = f"Implicit sweeps were tried first and gave up ({iterate.scalars[GIVEN_UP]}); this is TEBD's result."
        return dataclasses.replace(certificate, notes=(note, *certificate.notes))

    @staticmethod
    def _failed(diagnostics: Diagnostics) -> bool:
        """Return whether the sweeps ended without a usable state; truncation alone would stop TEBD as well."""
        if diagnostics.status is Status.STALLED_BY_TRUNCATION:
            claimed = diagnostics.measures.get("error_estimate")
            return claimed is None or not claimed < HOPELESS
        return diagnostics.status in (Status.NOT_CONVERGED, Status.NOT_FINITE)

    def _may_fall_back(self) -> bool:
        return self.fallback and bool(TEBD().supports(self.model))

    def _taken_over(self, iterate: Iterate, reason: str) -> tuple[Iterate, Diagnostics]:
        fresh = TEBD().start(self.second, None)
        out = _marked(dataclasses.replace(fresh, step=iterate.step + 1), reason)
        return out, Diagnostics(None, {}, f"implicit sweeps gave up ({reason}): time evolution takes over", 0.02)


def _marked(iterate: Iterate, reason: str) -> Iterate:
    return dataclasses.replace(iterate, scalars={**iterate.scalars, GIVEN_UP: reason})


def _reason(iterate: Iterate, diagnostics: Diagnostics) -> str:
    if diagnostics.status is Status.STALLED_BY_TRUNCATION:
        return f"stalled far from convergence: {diagnostics.message}"
    found = str(iterate.scalars["implicit"].get("failure", ""))
    return found or diagnostics.message or "the sweeps have not settled"
