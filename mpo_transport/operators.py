"""Symbolic sums of products of named local operators.

:class:`OpSum` is text only: coefficient x (name, site) ... .  Every backend reads that text, none of them finds
matrices inside.  Sites count from 0; operators on different sites commute.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import numpy as np

from .errors import InputError
from .local_space import Boson, LocalSpace, Spin, SpinHalf, adjoint_name, is_operator_name

__all__ = ["Boson", "LocalSpace", "OpSum", "Spin", "SpinHalf", "anticommutator", "commutator", "identity", "op"]

Factor = tuple[str, int]
Key = tuple[Factor, ...]


class OpSum:
    """A sum of products of named local operators, ``sum_t c_t prod (name, site)``: symbols, no matrices.

    Build it with :func:`op` and the operators ``+ - * /``; ``.dag`` is the adjoint.  The canonical form sorts factors
    by site (keeping the order on one site), drops identities and merges equal products.

    Examples
    --------
    >>> hop = op("Sp", 0) * op("Sm", 1)
    >>> hop + hop.dag
    Sm(0) Sp(1) + Sp(0) Sm(1)
    >>> (2j * hop).dag
    -2j Sm(0) Sp(1)
    >>> commutator(op("Z", 0), op("Z", 1))
    0
    """

    __slots__ = ("_terms",)
    __array_priority__ = 100  # numpy scalars on the left defer to __rmul__

    def __init__(self, terms: Mapping[Any, complex] | None = None) -> None:
        merged: dict[Key, complex] = {}
        for factors, coefficient in (terms or {}).items():
            key = _checked_key(factors)
            merged[key] = merged.get(key, 0) + _checked_scalar(coefficient)
        self._terms: dict[Key, complex] = {k: c for k, c in sorted(merged.items(), key=_order) if c != 0}

    @property
    def terms(self) -> Mapping[Key, complex]:
        """Read-only mapping from canonical product ``((name, site), ...)`` to its complex coefficient."""
        return MappingProxyType(self._terms)

    @property
    def sites(self) -> tuple[int, ...]:
        """Sorted sites on which the sum acts."""
        return tuple(sorted({site for key in self._terms for _, site in key}))

    @property
    def dag(self) -> OpSum:
        """The adjoint."""
        terms = [(_canonical(_adjoint(k)), 0 + c.conjugate()) for k, c in self._terms.items()]  # 0 + turns -0 into 0
        return _from_canonical(dict(sorted(terms, key=_order)))

    def shifted(self, mapping: Callable[[int], int]) -> OpSum:
        """Return the same sum with every site replaced by ``mapping(site)``."""
        return _sum((tuple((n, mapping(s)) for n, s in k), c) for k, c in self._terms.items())

    def __iter__(self) -> Iterator[tuple[Key, complex]]:
        return iter(self._terms.items())

    def __len__(self) -> int:
        return len(self._terms)

    def __bool__(self) -> bool:
        return bool(self._terms)

    def __add__(self, other: Any) -> OpSum:
        if not isinstance(other, OpSum):
            if not isinstance(other, numbers.Number):
                return NotImplemented
            other = other * identity()
        return _from_canonical(_merged(self._terms, other._terms))

    __radd__ = __add__

    def __neg__(self) -> OpSum:
        return -1 * self

    def __sub__(self, other: Any) -> OpSum:
        return self + (-1) * other

    def __rsub__(self, other: Any) -> OpSum:
        return (-1) * self + other

    def __mul__(self, other: Any) -> OpSum:
        if isinstance(other, OpSum):
            return _sum((a + b, x * y) for a, x in self._terms.items() for b, y in other._terms.items())
        if not isinstance(other, numbers.Number):
            return NotImplemented
        factor = _checked_scalar(other)
        scaled = ((k, 0 + _checked_scalar(c * factor)) for k, c in self._terms.items())
        return _from_canonical({k: x for k, x in scaled if x != 0})

    def __rmul__(self, other: Any) -> OpSum:
        return self * other if isinstance(other, numbers.Number) else NotImplemented

    def __truediv__(self, other: Any) -> OpSum:
        if not isinstance(other, numbers.Number):
            return NotImplemented
        divisor = _checked_scalar(other)
        if divisor == 0:
            raise InputError("An OpSum cannot be divided by zero.", field="coefficient")
        return self * (1 / divisor)

    def __pow__(self, power: int) -> OpSum:
        if isinstance(power, bool) or not isinstance(power, numbers.Integral) or power < 0:
            raise InputError(f"Powers of an OpSum must be integers >= 0, but is {power!r}.", field="power")
        out = identity()
        for _ in range(power):
            out = out * self
        return out

    def __eq__(self, other: object) -> bool:
        return self._terms == other._terms if isinstance(other, OpSum) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self._terms.items()))

    def __repr__(self) -> str:
        if not self._terms:
            return "0"
        text = " + ".join(_pretty(k, c) for k, c in self._terms.items())
        return text.replace("+ -", "- ")


def op(name: str, site: int) -> OpSum:
    """Return the named local operator on one site as an :class:`OpSum`.

    >>> op("Sp", 3) * op("Sm", 3)
    Sp(3) Sm(3)
    """
    if not isinstance(name, str) or not is_operator_name(name):
        raise InputError(f"Argument `name` must be an operator name, but is {name!r}.", field="name")
    if isinstance(site, bool) or not isinstance(site, (int, np.integer)) or site < 0:
        raise InputError(f"Argument `site` must be an integer >= 0, but is {site!r}.", field="site")
    return OpSum({((name, int(site)),): 1.0})


def identity() -> OpSum:
    """Return the identity operator as an :class:`OpSum` (the empty product)."""
    return OpSum({(): 1.0})


def commutator(a: OpSum, b: OpSum) -> OpSum:
    """Return ``a b - b a``; products on disjoint sites cancel symbolically."""
    return a * b - b * a


def anticommutator(a: OpSum, b: OpSum) -> OpSum:
    """Return ``a b + b a``."""
    return a * b + b * a


def _from_canonical(terms: dict[Key, complex]) -> OpSum:
    """Return the sum with these terms, which are canonical and in order already."""
    out = OpSum.__new__(OpSum)
    out._terms = terms
    return out


def _merged(first: dict[Key, complex], second: dict[Key, complex]) -> dict[Key, complex]:
    """Return the terms of a sum of two sums, in order; long sums grow term by term without being sorted anew."""
    if not first or not second:
        return first or second
    out, fresh = dict(first), {}
    for key, c in second.items():
        if key not in out:
            fresh[key] = c
            continue
        total = _checked_scalar(out[key] + c)
        if total:
            out[key] = total
        else:
            del out[key]
    if fresh:
        least = _order(next(iter(fresh.items())))
        tail = list(fresh.items())
        while out:
            last = out.popitem()
            if _order(last) < least:
                out[last[0]] = last[1]
                break
            tail.append(last)
        out.update(sorted(tail, key=_order))
    return out


def _sum(items: Iterable[tuple[Key, complex]]) -> OpSum:
    merged: dict[Key, complex] = {}
    for factors, coefficient in items:
        key = _canonical(factors)
        merged[key] = merged.get(key, 0) + coefficient
    return OpSum(merged)


def _canonical(factors: Iterable[Factor]) -> Key:
    kept = [(_spelled(n), s) for n, s in factors if n != "I"]
    if len(kept) > 1:
        kept.sort(key=_site_of)
    return tuple(kept)


_site_of = itemgetter(1)


@lru_cache(maxsize=4096)
def _spelled(name: str) -> str:
    """Return the one spelling of a name: ``Sp`` for ``Sm.dag``."""
    return adjoint_name(adjoint_name(name))


def _is_factor(name: Any, site: Any) -> bool:
    return isinstance(name, str) and isinstance(site, (int, np.integer)) and bool(site >= 0)


def _checked_key(factors: Any) -> Key:
    try:
        valid = True
        for name, site in factors:
            valid = valid and _is_factor(name, site)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise InputError(
            f"Argument `terms` must map products ((name, site), ...) to coefficients, but contains {factors!r}; build "
            "operators with op(name, site).",
            field="terms",
        )
    return _canonical(factors)


def _adjoint(key: Key) -> Key:
    return tuple((adjoint_name(n), s) for n, s in reversed(key))


def _order(item: tuple[Key, complex]) -> tuple[Any, ...]:
    key = item[0]
    if len(key) == 1:
        ((name, site),) = key
        return (site, 1, [site], [name])
    sites = [s for _, s in key]  # ascending
    return (sites[0] if sites else -1, len(key), sites, [n for n, _ in key])


def _checked_scalar(value: Any) -> complex:
    try:
        number = complex(value)
    except (TypeError, ValueError):
        raise InputError(
            f"Coefficients of an OpSum must be numbers, but one is {value!r}.", field="coefficient"
        ) from None
    if not (math.isfinite(number.real) and math.isfinite(number.imag)):
        raise InputError(f"Coefficients of an OpSum must be finite, but one is {value!r}.", field="coefficient")
    return number


def _pretty(key: Key, c: complex) -> str:
    product = " ".join(f"{n}({s})" for n, s in key) or "1"
    if c == 1:
        return product
    if c == -1:
        return "-" + product
    number = f"{c.real:g}" if c.imag == 0 else f"{c.imag:g}j" if c.real == 0 else f"({c:g})"
    return f"{number} {product}" if key else number
