"""Text forms of a tree of plain values: TOML for people, canonical JSON for identities, ``key=value`` for overrides."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InputError
from .fields import parse_complex

__all__ = ["apply_overrides", "canonical_json", "canonical_tree", "override_value", "parse_toml", "write_toml"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def parse_toml(text: str, source: str = "the specification") -> dict[str, Any]:
    """Return the tree of a TOML text.

    Raises
    ------
    InputError
        With line and column, if it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{source} nests its values too deeply.", field="spec") from None
    except ValueError as error:  # no TOML, or a number with thousands of digits
        raise InputError(f"{source} is not valid TOML: {error}.", field="spec") from None


def write_toml(tree: Mapping[str, Any]) -> str:
    """Return a tree of texts, numbers, truth values, lists and tables as TOML.

    >>> print(write_toml({"name": "run", "model": {"L": 4, "alpha": 2.0}}), end="")
    name = "run"
    <BLANKLINE>
    [model]
    L = 4
    alpha = 2.0
    """
    lines = [f"{_key(k)} = {_value(v)}" for k, v in tree.items() if not isinstance(v, Mapping)]
    for name, sub in tree.items():
        if isinstance(sub, Mapping):
            lines += ["", f"[{_key(name)}]"] if lines else [f"[{_key(name)}]"]
            lines += [f"{_key(k)} = {_value(v)}" for k, v in sub.items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _string(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, complex):
        return _string(complex_text(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    raise InputError(f"A value of type {type(value).__name__} cannot be written to a specification.", field="spec")


def complex_text(value: complex) -> str:
    """Return the literal of a complex number that reads back to the same bits.

    >>> complex_text(1.5-2j)
    '1.5-2j'
    """
    return str(complex(value)).strip("()")


def canonical_json(tree: Any) -> str:
    """Return JSON that is equal for trees of equal meaning: keys sorted, 4.0 as 4, complex literals normalised.

    >>> canonical_json({"b": 1.0, "a": "2 + 0j"})
    '{"a":2,"b":1}'
    """
    return json.dumps(canonical_tree(tree), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical_tree(value: Any) -> Any:
    """Return a tree with one spelling for every number: integral floats as integers, real complex literals as reals."""
    if isinstance(value, Mapping):
        return {str(k): canonical_tree(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical_tree(v) for v in value]
    if isinstance(value, str):
        parsed = parse_complex(value)
        if parsed is None or parsed != parsed:
            return value
        value = parsed
    if isinstance(value, complex):
        if value.imag:
            return complex_text(complex(value.real + 0.0, value.imag))
        value = value.real
    if isinstance(value, float):
        if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        return int(value) if value.is_integer() else value
    return value


def apply_overrides(tree: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of a tree with ``"model.L=40"``-like entries replaced or added.

    The value is read as TOML; what is not TOML (``TEBD``, ``1+2j``) is taken as a text.

    >>> apply_overrides({"model": {"L": 30}}, ["model.L=40", "method.name=TEBD"])
    {'model': {'L': 40}, 'method': {'name': 'TEBD'}}
    """
    out: dict[str, Any] = {k: dict(v) if isinstance(v, Mapping) else v for k, v in tree.items()}
    for item in overrides:
        path, separator, raw = item.partition("=")
        keys = [k.strip() for k in path.split(".")]
        if not separator or not all(keys) or "\n" in item:
            raise InputError(f"An override must read key=value, for example model.L=40, but is {item!r}.", field="set")
        branch = out
        for depth, key in enumerate(keys[:-1]):
            child = branch.get(key, {})
            if not isinstance(child, Mapping):
                raise InputError(
                    f"Override {item!r}: `{'.'.join(keys[: depth + 1])}` is a value, not a table.", field="set"
                )
            branch[key] = dict(child)
            branch = branch[key]
        branch[keys[-1]] = override_value(raw.strip())
    return out


def override_value(raw: str) -> Any:
    """Return a value read as TOML; what is not TOML is taken as a text."""
    try:
        parsed = tomllib.loads(f"value = {raw}")
    except (RecursionError, ValueError):
        return raw
    return parsed["value"] if set(parsed) == {"value"} else raw
