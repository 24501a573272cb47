"""Where model functions register themselves; ``per_item`` reads their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from ..arguments import per_item
from ..errors import InputError, did_you_mean
from ..model import Lindbladian

__all__ = ["MODELS", "build_model", "per_item", "register"]

ModelFunction = Callable[..., Lindbladian]
_MODELS: dict[str, ModelFunction] = {}
MODELS = MappingProxyType(_MODELS)


def register(function: ModelFunction) -> ModelFunction:
    """Decorator: make a model function known to the specification files, the command line and the shared tests."""
    _MODELS[function.__name__] = function
    return function


def build_model(name: str, arguments: dict[str, Any]) -> Lindbladian:
    """Return the library model ``name`` built with the given keyword arguments.

    Raises
    ------
    InputError
        For an unknown model, an unknown or missing argument (the message lists the known ones), or a bad value.
    """
    if name not in _MODELS:
        raise InputError(f"Unknown model {name!r}; {did_you_mean(name, _MODELS)}", field="model.name")
    function = _MODELS[name]
    known = inspect.signature(function).parameters
    for key in arguments:
        if key not in known:
            raise InputError(
                f"Model {name!r} has no argument {key!r}; {did_you_mean(key, known)}", field=f"model.{key}"
            )
    missing = [k for k, p in known.items() if p.default is inspect.Parameter.empty and k not in arguments]
    if missing:
        raise InputError(f"Model {name!r} needs the argument(s) {', '.join(missing)}.", field=f"model.{missing[0]}")
    return function(**arguments)
