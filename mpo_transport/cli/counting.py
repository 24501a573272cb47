"""The command ``counting``: cumulants of the quanta counted into baths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..counting import Statistics, counted_baths, statistics
from ..errors import InputError
from ..spec import load_spec
from .exits import Exit
from .output import number_text, print_table, say

__all__ = ["register"]


def register(command: Callable[..., Callable[..., Any]]) -> None:
    """Add the command to the command line."""
    command("counting")(counting)


def counting(
    context: typer.Context,
    spec: Annotated[Path, typer.Argument(metavar="SPEC.toml", help="Specification file.")],
    bath: Annotated[
        list[str] | None,
        typer.Option("--bath", metavar="LABEL[=WEIGHT]", help="Count this bath; repeated: their weighted sum."),
    ] = None,
    order: Annotated[int, typer.Option("--order", help="Number of cumulants.")] = 2,
    max_bond: Annotated[
        int | None, typer.Option("--max-bond", help="Largest bond dimension of adjoint problems.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace an entry, e.g. model.L=40; may be repeated."),
    ] = None,
) -> Exit:
    """Cumulants per unit time of the quanta counted into a bath.

    Without --bath every bath that can be counted is. Model and method are those of the specification; nothing is
    written. The exit code is 3 if an error estimate exceeds the tolerance.
    """
    plan = load_spec(spec, set_ or ())
    model, method = plan.build_model(), plan.build_method()
    chosen = [_weights(bath)] if bath else [{label: 1.0} for label in counted_baths(model)]
    if not chosen:
        raise InputError("The model has no bath to be counted: its jumps need labels and charges.", field="model")
    tol = max(plan.tol, 1e-4)
    found = [statistics(model, weights, order, method, tol=tol, max_bond=max_bond) for weights in chosen]
    say(model.describe())
    say(f"method : {found[0].method}" + (f", chosen because {found[0].reason}" if found[0].reason else ""))
    say()
    head = ["quanta into", *(f"c{n}" for n in range(1, order + 1))]
    rows = [[_name(s), *_numbers(s)] for s in found]
    print_table("cumulants per unit time", head, rows)
    if all(s.converged for s in found):
        return Exit.CONVERGED
    say("NOT CONVERGED: claimed errors exceed the tolerance; raise --max-bond or name another method.", error=True)
    return Exit.NOT_CONVERGED


def _weights(given: list[str]) -> dict[str, float]:
    out = {}
    for text in given:
        label, separator, weight = text.partition("=")
        try:
            out[label] = float(weight) if separator else 1.0
        except ValueError:
            raise InputError(
                f"Option --bath: the weight of {label!r} is no number: {weight!r}.", field="bath"
            ) from None
    return out


def _name(found: Statistics) -> str:
    return " + ".join(label if w == 1 else f"{w:g} {label}" for label, w in found.counted.items())


def _numbers(found: Statistics) -> list[str]:
    if found.errors is None:
        return [number_text(c) for c in found.cumulants]
    pairs = zip(found.cumulants, found.errors, strict=True)
    return [f"{number_text(c, e)} (error {e:.1e})" for c, e in pairs]
