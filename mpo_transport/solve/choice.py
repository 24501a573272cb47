"""Which method solves a model: the automatic choice with its reason, and the refusals before anything is computed."""

from __future__ import annotations

import math
from typing import Any

from ..errors import InputError, InsufficientMemoryError, NotSupportedError
from ..methods import METHODS, Estimate, Method
from ..model import Lindbladian, checked_model
from .inputs import checked_tol
from .resources import memory_limit, readable_bytes

__all__ = ["check_method", "choose_method"]

_COMFORTABLE_SECONDS = 60.0
_COMFORTABLE_BYTES = 2.0 * 2**30
# Tried in this order.  Methods with an uncontrolled approximation, such as mean field, and those without a density
# matrix, such as closed hierarchies, are used only when named.
_AUTOMATIC = ("ExactDiag", "Gaussian", "ImplicitSweeps", "ChainGrowth", "CholeskyGrowth", "TEBD")
# Knobs that only the automatic choice sets: where the sweeps fail, time evolution takes over and the result says so.
_KNOBS: dict[str, dict[str, Any]] = {"ImplicitSweeps": {"fallback": True}}
# To see whether a chain can be grown, short ones are solved: not worth the time where sweeps serve.
_GROWTH = ("ChainGrowth", "CholeskyGrowth")


def choose_method(model: Lindbladian, task: str = "steady_state", tol: float = 1e-6) -> tuple[Method, str]:
    """Return a method for a model, with default knobs, and the reason in one sentence.

    Exact diagonalisation where it fits comfortably (a minute, 2 GiB and half of the memory at hand), else whichever of
    exact diagonalisation, the moments of a quadratic model and sweeps on a matrix-product density matrix is foreseen to
    be faster.  Implicit sweeps are considered where every site has a jump or H = 0, and time evolution takes over where
    they fail; elsewhere short chains are solved to see whether the long one can be grown from them.

    Raises
    ------
    NotSupportedError
        If no method supports the model; the message gives every method's reason.
    InsufficientMemoryError
        If those that do need more memory than there is.
    """
    checked_model(model)
    checked_tol(tol)
    limit, source = memory_limit()
    refused: list[str] = []
    fitting: list[tuple[Method, Estimate]] = []
    too_large: list[str] = []
    for cls in _automatic_methods():
        method = cls(**_KNOBS.get(cls.__name__, {}))
        label = cls.__name__
        support = method.supports(model, task)
        if task not in cls.tasks or not support:
            refused.append(f"{label}: {support.reason if not support else f'it has no task {task!r}'}")
            continue
        if label in _GROWTH and any(m.name == "ImplicitSweeps" for m, _ in fitting):
            refused.append(f"{label}: not looked at, because implicit sweeps serve")
            continue
        hopeless = method.unpromising(model)
        if hopeless:
            refused.append(f"{label}: {hopeless}")
            continue
        estimate = method.estimate(model, tol)
        if estimate.memory_bytes > limit:
            too_large.append(f"{label} needs about {readable_bytes(estimate.memory_bytes)}")
            continue
        if label == "ExactDiag" and _is_comfortable(estimate, limit):
            return method, f"the model is small enough to be solved exactly ({_describe(estimate)})."
        fitting.append((method, estimate))
    if fitting:
        method, estimate = min(fitting, key=lambda f: math.inf if f[1].seconds is None else f[1].seconds)
        others = [*refused, *too_large]
        others += [f"{m.name} would be slower ({_describe(e)})" for m, e in fitting if m is not method]
        why = "; ".join(o.rstrip(".") for o in others)
        return method, f"it supports the model and fits ({_describe(estimate)})" + (f"; {why}." if why else ".")
    if too_large:
        raise InsufficientMemoryError(
            f"The model is too large for this machine: {'; '.join(too_large)}, but {readable_bytes(limit)} are "
            f"available ({source}). Choose a smaller system or local dimension, or run on a larger machine.",
            field="model",
        )
    raise NotSupportedError("No method supports this model. " + " ".join(refused), field="method")


def check_method(method: Any, model: Lindbladian, task: str, tol: float) -> Method:
    """Return the method if it is one, supports the model and fits into memory.

    Raises
    ------
    InputError
        If it is not a method object.
    NotSupportedError
        With the method's own sentence.
    InsufficientMemoryError
        Quoting the estimate and the memory available.
    """
    if isinstance(method, type) and issubclass(method, Method):
        raise InputError(
            f"Argument `method` must be a method object: write {method.__name__}() with its knobs.", field="method"
        )
    if not isinstance(method, Method):
        known = ", ".join(sorted(f"{c.__name__}()" for c in METHODS.values()))
        raise InputError(f"Argument `method` must be None or one of {known}, but is {method!r}.", field="method")
    if task not in method.tasks:
        what = "evolve in time" if task == "evolve" else "find steady states"
        raise NotSupportedError(f"Method {method.name} does not {what}.", field="method")
    support = method.supports(model, task)
    if not support:
        raise NotSupportedError(f"Method {method.name} does not support this model: {support.reason}", field="method")
    estimate = method.estimate(model, tol)
    limit, source = memory_limit()
    if estimate.memory_bytes > limit:
        raise InsufficientMemoryError(
            f"Method {method.name} needs about {readable_bytes(estimate.memory_bytes)} for this model"
            f"{f' ({estimate.detail})' if estimate.detail else ''}, but {readable_bytes(limit)} are available "
            f"({source}). Choose a smaller system, another method or a larger machine.",
            field="method",
        )
    return method


def _automatic_methods() -> list[type[Method]]:
    by_class = {cls.__name__: cls for cls in METHODS.values()}
    return [by_class[name] for name in _AUTOMATIC if name in by_class]


def _is_comfortable(estimate: Estimate, limit: float) -> bool:
    quick = estimate.seconds is None or estimate.seconds <= _COMFORTABLE_SECONDS
    return quick and estimate.memory_bytes <= min(_COMFORTABLE_BYTES, limit / 2)


def _describe(estimate: Estimate) -> str:
    parts = [estimate.detail] if estimate.detail else []
    if estimate.seconds is not None:
        parts.append(f"about {_readable_seconds(estimate.seconds)}")
    parts.append(f"about {readable_bytes(estimate.memory_bytes)}")
    return ", ".join(parts)


def _readable_seconds(seconds: float) -> str:
    for unit, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.2g} s"
