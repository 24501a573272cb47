"""The lists behind ``methods``, ``models`` and ``observables``, read from the registrations and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from ..models import MODELS
from ..observables import OBSERVABLES
from ..spec import method_classes

__all__ = ["method_table", "model_table", "observable_table"]

Rows = tuple[list[str], list[list[str]]]


def _summary(thing: Any) -> str:
    """First sentence of a docstring."""
    doc = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return doc.split(": ")[0].rstrip(".") if len(doc) > 110 else doc.rstrip(".")


def _signature(function: Callable[..., Any], leave_out: tuple[str, ...] = ()) -> str:
    parts = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in leave_out:
            continue
        required = parameter.default is inspect.Parameter.empty
        parts.append(name if required else f"{name}={parameter.default!r}")
    return ", ".join(parts)


def method_table() -> Rows:
    """Return name, knobs with defaults, tasks and one line for every method."""
    rows = []
    for name, cls in sorted(method_classes().items()):
        knobs = [
            f.name if f.default is dataclasses.MISSING else f"{f.name}={f.default!r}"
            for f in dataclasses.fields(cls)  # type: ignore[arg-type]
            if f.init
        ]
        rows.append([name, _summary(cls), ", ".join(cls.tasks), ", ".join(knobs)])
    return ["method", "what it is", "tasks", "knobs"], rows


def model_table() -> Rows:
    """Return name, one line and arguments for every library model."""
    rows = [[name, _summary(f), _signature(f)] for name, f in sorted(MODELS.items())]
    return ["model", "what it is", "arguments"], rows


def observable_table() -> Rows:
    """Return name, one line and arguments for every observable."""
    rows = [[name, _summary(f), _signature(f, ("model",))] for name, f in sorted(OBSERVABLES.items())]
    return ["observable", "what it is", "arguments"], rows
