"""Checks of single entries of a specification: each returns a plain value or names the dotted key that is wrong."""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import InputError, did_you_mean

__all__ = ["boolean", "check_arguments", "check_keys", "integer", "number", "refuse", "scalar", "table", "text"]

_COMPLEX = re.compile(r"[-+0-9.]|inf", re.IGNORECASE)  # how a complex literal may begin; keeps the word "j" a word


def refuse(key: str, must: str, value: Any) -> InputError:
    """Return the error sentence "`key` must be ..., but is ..."."""
    return InputError(f"Entry `{key}` must be {must}, but is {_shown(value)}.", field=key)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table"
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def check_keys(data: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse the first key that is not known, with a suggestion."""
    known = list(known)
    for key in data:
        if key not in known:
            dotted = f"{where}.{key}" if where else str(key)
            raise InputError(f"Unknown entry `{dotted}`; {did_you_mean(str(key), known)}", field=dotted)


def table(value: Any, key: str) -> dict[str, Any]:
    """Return a table as a dict."""
    if not isinstance(value, Mapping):
        raise refuse(key, "a table", value)
    return {str(k): v for k, v in value.items()}


def text(value: Any, key: str, choices: Iterable[str] | None = None) -> str:
    """Return a text, one of ``choices`` if these are given."""
    if not isinstance(value, str) or not value:
        raise refuse(key, "a text", value)
    if choices is not None and value not in (known := list(choices)):
        hint = did_you_mean(value, known)
        raise InputError(f"Entry `{key}` has the unknown value {_shown(value)}; {hint}", field=key)
    return value


def boolean(value: Any, key: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise refuse(key, "true or false", value)
    return value


def integer(value: Any, key: str, *, least: int | None = None) -> int:
    """Return an integer; a float without a fraction counts as one, so that 4 and 4.0 mean the same."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise refuse(key, "an integer" + (f" >= {least}" if least is not None else ""), value)
    return value


def number(value: Any, key: str, *, positive: bool = False, finite: bool = True) -> float:
    """Return a real number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise refuse(key, "a number", value)
    if finite and math.isinf(value):
        raise refuse(key, "a finite number", value)
    if positive and value <= 0:
        raise refuse(key, "a number > 0", value)
    return value


def scalar(value: Any, key: str) -> complex | float:
    """Return a finite number that may be written as a complex literal, ``"1.2+0.3j"``; real ones come back real.

    >>> scalar("1.2 + 0.3j", "model.alpha"), scalar("2", "model.alpha"), scalar(3, "model.alpha")
    ((1.2+0.3j), 2.0, 3)
    """
    if isinstance(value, str):
        parsed = parse_complex(value)
        if parsed is None:
            raise refuse(key, 'a number or a complex literal such as "1.2+0.3j"', value)
        value = parsed
    if isinstance(value, complex):
        if not (math.isfinite(value.real) and math.isfinite(value.imag)):
            raise refuse(key, "finite", value)
        return value if value.imag else value.real
    return number(value, key)


def parse_complex(word: str) -> complex | None:
    """Return the complex number a text spells, or None if it is an ordinary word."""
    squeezed = word.replace(" ", "")
    if not _COMPLEX.match(squeezed):
        return None
    try:
        return complex(squeezed)
    except ValueError:
        return None


def check_arguments(arguments: Mapping[str, Any], function: Callable[..., Any], where: str) -> dict[str, Any]:
    """Return arguments for a function or class, checked against the type hints where these say something definite.

    Texts that spell complex numbers become numbers, also inside lists; a hint ``int`` accepts 4.0; true and false are
    accepted only where a truth value is meant.  Names are not checked here.
    """
    parameters = inspect.signature(function).parameters
    target = function.__init__ if inspect.isclass(function) and "__init__" in vars(function) else function
    hints = typing.get_type_hints(target)
    out = {}
    for name, raw in arguments.items():
        key = f"{where}.{name}"
        hint = hints.get(name, Any)
        default = parameters[name].default if name in parameters else None
        allowed = _members(hint)
        value = raw if allowed and allowed <= {str, type(None)} else _numbers(raw, key)
        out[name] = _typed(value, key, allowed, isinstance(default, bool))
    return out


def _members(hint: Any) -> set[Any]:
    """The plain types a hint allows; empty when it says nothing that can be checked here."""
    plain = {int, float, bool, str, complex, type(None)}
    if typing.get_origin(hint) is typing.Literal:
        return {type(v) for v in typing.get_args(hint)}
    found = set(typing.get_args(hint)) if typing.get_origin(hint) in (typing.Union, types.UnionType) else {hint}
    return found if found <= plain else set()


def _numbers(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return [_numbers(v, f"{key}[{k}]") for k, v in enumerate(value)]
    if isinstance(value, str) and (parsed := parse_complex(value)) is not None:
        value = parsed if parsed.imag else parsed.real
    if isinstance(value, (float, complex)) and value != value:
        raise refuse(key, "a number", value)
    if isinstance(value, Mapping):
        return {k: _numbers(v, f"{key}.{k}") for k, v in value.items()}
    return value


def _typed(value: Any, key: str, allowed: set[Any], default_is_bool: bool) -> Any:
    if isinstance(value, bool):
        if (allowed and bool not in allowed) or not (allowed or default_is_bool):
            raise refuse(key, "a number" if not allowed or allowed & {int, float, complex} else "a text", value)
        return value
    if not allowed:
        if default_is_bool:
            return boolean(value, key)
        return value
    if int in allowed and isinstance(value, float) and value.is_integer():
        return int(value)
    fits = (
        (int in allowed and isinstance(value, int))
        or (float in allowed and isinstance(value, (int, float)))
        or (complex in allowed and isinstance(value, (int, float, complex)))
        or (str in allowed and isinstance(value, str))
    )
    if not fits:
        names = {int: "an integer", float: "a number", bool: "true or false", str: "a text", complex: "a number"}
        raise refuse(key, " or ".join(dict.fromkeys(names[t] for t in names if t in allowed)), value)
    return value
