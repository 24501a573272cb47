"""Entries of the reference tables on heat transport, with their symbolic parameters as numbers."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import numpy as np
from systems import REFERENCE

__all__ = ["entry", "identifiers"]


@cache
def _table(name: str) -> dict[str, dict[str, Any]]:
    entries = json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))
    return {e["id"]: e for e in entries}


def identifiers(name: str) -> set[str]:
    """All entry names of a table."""
    return set(_table(name))


def entry(name: str, identifier: str) -> tuple[dict[str, Any], Any, float]:
    """Return (parameters, values, absolute uncertainty); texts like ``"2*pi/8"`` become numbers.

    Formulas over sites (``"10+5 cos(l)"``) stay texts: the test writes them out.
    """
    found = _table(name)[identifier]
    parameters = {k: _number(v) for k, v in found["parameters"].items()}
    values = found["values"] if "values" in found else found["value"]
    uncertainty = float(found["abs_uncertainty"])
    if isinstance(values, list):
        return parameters, np.array(values), uncertainty
    if isinstance(values, dict):
        return parameters, {k: _array(v) for k, v in values.items()}, uncertainty
    return parameters, values, uncertainty


def _array(value: Any) -> Any:
    numeric = isinstance(value, list) and not any(isinstance(v, str) for v in value)
    return np.array(value) if numeric else value


def _number(value: Any) -> Any:
    """Fractions of pi written as text."""
    known = {f"{a}*pi/{b}": a * math.pi / b for a in (2, 4) for b in (3, 4, 8)} | {"pi/2": math.pi / 2}
    return known.get(value, value) if isinstance(value, str) else value
