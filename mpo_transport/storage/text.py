"""Exact JSON text for the small facts of a file, and the canonical text that identifies a specification."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError

__all__ = ["canonical_text", "decode", "differences", "dumps", "loads", "run_id", "spec_digest"]

_TAGS = ("complex", "float", "tuple", "array")


def dumps(value: Any) -> str:
    """Return JSON text from which :func:`loads` rebuilds the value exactly.

    Beside what JSON knows, complex numbers, infinities, NaN, tuples and numpy arrays are kept by tagged objects; numpy
    numbers become Python numbers.  Floats are written with the shortest digits that read back to the same bits.

    >>> loads(dumps({"levels": float("inf"), "alpha": 2 - 1j, "sites": (0, 1)}))
    {'levels': inf, 'alpha': (2-1j), 'sites': (0, 1)}
    """
    return json.dumps(_encode(value, "value", tuples=True), allow_nan=False, ensure_ascii=False)


def loads(text: str) -> Any:
    """Return the value written by :func:`dumps`."""
    return decode(json.loads(text))


def canonical_text(spec: Mapping[str, Any]) -> str:
    """Return the one text of a specification: sorted keys, no spaces, tuples and arrays as lists.

    >>> canonical_text({"tol": 1e-06, "model": {"L": np.int64(4)}})
    '{"model":{"L":4},"tol":1e-06}'
    """
    plain = _encode(spec, "spec", tuples=False)
    return json.dumps(plain, allow_nan=False, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def run_id(spec: Mapping[str, Any]) -> str:
    """Return the name of a run: the first 16 hexadecimal digits of the SHA-256 of its canonical text."""
    return spec_digest(spec)[:16]


def spec_digest(spec: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical text of a specification, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_text(spec).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one text per dotted key whose value differs, for example ``model.L: 30 -> 40``.

    >>> differences({"model": {"L": 30}, "tol": 1e-6}, {"model": {"L": 40}, "tol": 1e-6, "seed": 1})
    ['model.L: 30 -> 40', 'seed: (absent) -> 1']
    """
    before, after = (_flat(json.loads(canonical_text(s))) for s in (old, new))
    absent = "(absent)"
    return [
        f"{key}: {before.get(key, absent)} -> {after.get(key, absent)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, dict) and value:
        out: dict[str, str] = {}
        for key, item in value.items():
            out |= _flat(item, f"{prefix}.{key}" if prefix else key)
        return out
    return {prefix: json.dumps(value, ensure_ascii=False)}


def _encode(value: Any, where: str, *, tuples: bool) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, (np.bool_, np.integer)):
        return value.item()
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else {"__float__": repr(number)}
    if isinstance(value, (complex, np.complexfloating)):
        number_c = complex(value)
        return {"__complex__": [_encode(x, where, tuples=tuples) for x in (number_c.real, number_c.imag)]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        items = [_encode(x, where, tuples=tuples) for x in value.ravel().tolist()]
        if not tuples:
            return _encode(value.tolist(), where, tuples=False)
        return {"__array__": [value.dtype.str, list(value.shape), items]}
    if isinstance(value, (list, tuple)):
        entries = [_encode(x, f"{where}[{k}]", tuples=tuples) for k, x in enumerate(value)]
        return {"__tuple__": entries} if tuples and isinstance(value, tuple) else entries
    if isinstance(value, Mapping):
        return {_key(k, where): _encode(x, f"{where}.{k}", tuples=tuples) for k, x in value.items()}
    raise InputError(
        f"Entry `{where}` of type {type(value).__name__} cannot be stored as text; use numbers, texts, lists and "
        "mappings with text keys.",
        field=where,
    )


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str) or key in {f"__{tag}__" for tag in _TAGS}:
        raise InputError(f"Entry `{where}` has the key {key!r}; keys must be ordinary texts.", field=where)
    return key


def decode(value: Any) -> Any:
    """Return the value behind tagged JSON objects."""
    if isinstance(value, list):
        return [decode(x) for x in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, item),) = value.items()
        if key == "__float__":
            return float(item)
        if key == "__complex__":
            return complex(*(decode(x) for x in item))
        if key == "__tuple__":
            return tuple(decode(x) for x in item)
        if key == "__array__":
            dtype, shape, items = item
            return np.array([decode(x) for x in items], dtype=dtype).reshape(shape)
    return {k: decode(x) for k, x in value.items()}
