"""A chain written by hand in a specification: lattice, local spaces, Hamiltonian terms and jumps as plain lists.

    [model]
    lattice     = {kind = "chain", L = 8, periodic = false}
    spaces      = "SpinHalf"
    hamiltonian = [[0.5, "Sp", "j", "Sm", "j+1", "h.c."], [1.0, "Sp", 0, "Sm", 0]]
    [[model.jumps]]
    operator    = [[1.0, "Sm", 7]]
    rate        = 0.5

A term is a coefficient followed by pairs (operator name, site).  A site written ``"j"`` or ``"j+2"`` repeats the term
for every j for which all its sites exist (around the ring on a periodic lattice); a final ``"h.c."`` adds the adjoint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..lattice import Chain, Graph, Lattice
from ..model import Jump, Lindbladian
from ..operators import Boson, LocalSpace, OpSum, Spin, SpinHalf, identity, op
from .fields import boolean, check_keys, integer, number, refuse, scalar, table, text

__all__ = ["HANDWRITTEN_KEYS", "build_handwritten"]

HANDWRITTEN_KEYS = ("lattice", "spaces", "hamiltonian", "hermitian_conjugate", "jumps")
_SPACE = re.compile(r"(SpinHalf|Spin|Boson)\s*(?:\(\s*([^()]*?)\s*\))?")
_SITE = re.compile(r"j\s*(?:([+-])\s*(\d+))?")


def build_handwritten(data: Mapping[str, Any], name: str = "custom") -> Lindbladian:
    """Return the Lindbladian of a hand-written ``[model]`` table.

    Raises
    ------
    InputError
        Naming the dotted key, for example ``model.jumps[2].operator[0]``.

    Examples
    --------
    >>> build_handwritten({"lattice": {"kind": "chain", "L": 2}, "spaces": "SpinHalf",
    ...                    "hamiltonian": [[1.0, "Sp", "j", "Sm", "j+1", "h.c."]],
    ...                    "jumps": [{"operator": [[1, "Sm", 1]], "rate": 0.5}]})
    Lindbladian(custom, chain of 2 sites, 2 H terms, 1 jumps)
    """
    check_keys(data, HANDWRITTEN_KEYS, "model")
    for key in ("lattice", "spaces"):
        if key not in data:
            raise InputError(f"A hand-written model needs the entry `model.{key}`.", field=f"model.{key}")
    lattice = _lattice(table(data["lattice"], "model.lattice"), data["spaces"])
    add_adjoints = boolean(data.get("hermitian_conjugate", False), "model.hermitian_conjugate")
    hamiltonian = OpSum()
    for term in _terms(data.get("hamiltonian", []), "model.hamiltonian", lattice):
        hamiltonian = hamiltonian + term
        if add_adjoints and term != term.dag:
            hamiltonian = hamiltonian + term.dag
    jumps = [
        j for k, entry in enumerate(_list(data.get("jumps", []), "model.jumps")) for j in _jumps(entry, k, lattice)
    ]
    return Lindbladian(lattice, hamiltonian, jumps, name=name)


def _list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise refuse(key, "a list", value)
    return value


def _lattice(data: dict[str, Any], spaces: Any) -> Lattice:
    kind = text(data.get("kind", "chain"), "model.lattice.kind", ("chain", "ring", "graph"))
    if kind == "graph":
        check_keys(data, ("kind", "edges", "L"), "model.lattice")
        edges = [
            (integer(_pair(e, k)[0], _edge(k), least=0), integer(_pair(e, k)[1], _edge(k), least=0))
            for k, e in enumerate(_list(data.get("edges", []), "model.lattice.edges"))
        ]
        count = integer(data["L"], "model.lattice.L", least=1) if "L" in data else 1 + max(map(max, edges), default=0)
        return Graph(edges, _spaces(spaces, count), L=count)
    check_keys(data, ("kind", "L", "periodic"), "model.lattice")
    if "L" not in data:
        raise InputError("A chain needs the entry `model.lattice.L`.", field="model.lattice.L")
    count = integer(data["L"], "model.lattice.L", least=1)
    periodic = boolean(data.get("periodic", kind == "ring"), "model.lattice.periodic")
    if kind == "ring" and not periodic:
        raise InputError('Entry `model.lattice.periodic` contradicts kind = "ring".', field="model.lattice.periodic")
    return Chain(count, _spaces(spaces, count), periodic=periodic)


def _edge(k: int) -> str:
    return f"model.lattice.edges[{k}]"


def _pair(value: Any, k: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != 2:
        raise refuse(_edge(k), "a pair of sites [i, j]", value)
    return value


def _spaces(value: Any, count: int) -> list[LocalSpace]:
    if not isinstance(value, list):
        return [_space(value, "model.spaces")] * count
    if len(value) != count:
        raise InputError(
            f"Entry `model.spaces` must be one space or one per site ({count}), but has {len(value)}.",
            field="model.spaces",
        )
    return [_space(v, f"model.spaces[{k}]") for k, v in enumerate(value)]


def _space(value: Any, key: str) -> LocalSpace:
    if isinstance(value, Mapping):
        check_keys(value, ("space", "operators"), key)
        base = _space(value.get("space"), f"{key}.space")
        extra = table(value.get("operators", {}), f"{key}.operators")
        return base.with_operators(**{n: _matrix(m, f"{key}.operators.{n}") for n, m in extra.items()})
    match = _SPACE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise refuse(key, 'one of "SpinHalf", "Spin(1)", "Boson(4)", "Boson(inf)"', value)
    kind, argument = match.groups()
    if kind == "SpinHalf" and not argument:
        return SpinHalf()
    try:
        size = float(argument or "nan")
    except ValueError:
        size = math.nan
    if kind == "SpinHalf" or math.isnan(size):
        raise refuse(key, 'one of "SpinHalf", "Spin(1)", "Boson(4)", "Boson(inf)"', value)
    return Spin(size) if kind == "Spin" else Boson(size)


def _matrix(value: Any, key: str) -> np.ndarray:
    rows = [
        [scalar(x, f"{key}[{r}][{c}]") for c, x in enumerate(_list(row, f"{key}[{r}]"))]
        for r, row in enumerate(_list(value, key))
    ]
    if len({len(row) for row in rows}) != 1:
        raise refuse(key, "a square matrix (a list of rows)", value)
    return np.array(rows)


def _jumps(entry: Any, k: int, lattice: Lattice) -> list[Jump]:
    where = f"model.jumps[{k}]"
    data = table(entry, where)
    check_keys(data, ("operator", "rate", "label", "charge"), where)
    if "operator" not in data:
        raise InputError(f"A jump needs the entry `{where}.operator`.", field=f"{where}.operator")
    rate = number(data.get("rate", 1.0), f"{where}.rate")
    label = text(data["label"], f"{where}.label") if "label" in data else None
    charge = number(data["charge"], f"{where}.charge") if "charge" in data else None
    if rate < 0:
        raise refuse(f"{where}.rate", "a number >= 0", rate)
    operators: dict[int | None, OpSum] = {}
    for n, term in enumerate(_list(data["operator"], f"{where}.operator")):
        for position, product in _expand(term, f"{where}.operator[{n}]", lattice):
            operators[position] = operators.get(position, OpSum()) + product
    if None in operators and len(operators) > 1:
        raise InputError(
            f'Entry `{where}.operator` mixes fixed sites with the running site "j"; write two jumps.',
            field=f"{where}.operator",
        )
    if not operators:
        raise refuse(f"{where}.operator", "a list with at least one term", data["operator"])
    return [Jump(operator, rate=rate, label=label, charge=charge) for operator in operators.values()]


def _terms(value: Any, key: str, lattice: Lattice) -> list[OpSum]:
    return [product for k, term in enumerate(_list(value, key)) for _, product in _expand(term, f"{key}[{k}]", lattice)]


def _expand(term: Any, key: str, lattice: Lattice) -> list[tuple[int | None, OpSum]]:
    """One entry per value of the running site j (None for a term with fixed sites only)."""
    entries = _list(term, key)
    conjugate = bool(entries) and entries[-1] in ("h.c.", "hc")
    entries = entries[:-1] if conjugate else entries
    if not entries or len(entries) % 2 == 0:
        raise refuse(key, 'a list [coefficient, "operator", site, ...]', term)
    coefficient = scalar(entries[0], f"{key}[0]")
    factors = [
        (text(entries[n], f"{key}[{n}]"), _site(entries[n + 1], f"{key}[{n + 1}]")) for n in range(1, len(entries), 2)
    ]
    running = any(runs for _, (_, runs) in factors)
    out: list[tuple[int | None, OpSum]] = []
    for j in range(lattice.L) if running else (None,):
        sites = [_place(offset, runs, j, lattice) for _, (offset, runs) in factors]
        if None in sites:
            continue
        product = identity()
        for (name, _), site in zip(factors, sites, strict=True):
            product = product * op(name, site)  # type: ignore[arg-type]
        product = coefficient * product
        out.append((j, product + product.dag if conjugate else product))
    return out


def _site(value: Any, key: str) -> tuple[int, bool]:
    if isinstance(value, str):
        match = _SITE.fullmatch(value.strip())
        if match is None:
            raise refuse(key, 'a site, or "j", "j+1", ...', value)
        sign, shift = match.groups()
        return (int(shift or 0) * (-1 if sign == "-" else 1), True)
    return integer(value, key, least=0), False


def _place(offset: int, runs: bool, j: int | None, lattice: Lattice) -> int | None:
    if not runs or j is None:
        return offset
    site = j + offset
    if lattice.periodic:
        return site % lattice.L
    return site if 0 <= site < lattice.L else None
