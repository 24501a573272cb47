"""A Lindbladian as tables and back, exactly: local spaces with their matrices, terms, jumps, baths, currents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..lattice import Chain, Graph, Lattice
from ..model import Bath, CurrentKind, Jump, Lindbladian
from ..operators import LocalSpace, OpSum
from .text import dumps, loads
from .tree import Tree

__all__ = ["model_from_tree", "model_to_tree", "opsums_from_table", "opsums_to_table"]


def model_to_tree(model: Lindbladian) -> Tree:
    """Return the whole model as plain tables.

    ``lattice``: kind, ``site_space`` (L,) and ``bonds`` (n, 2); ``spaces/k``: one distinct local space with its
    operator matrices; ``hamiltonian`` and ``jumps/operators``: tables of terms (see :func:`opsums_to_table`);
    ``jumps/rates``; ``facts``: name, parameters, labels, charges, baths and current kinds as JSON text.
    """
    spaces: list[LocalSpace] = []
    site_space = [_index(spaces, space) for space in model.lattice.spaces]
    facts = {
        "name": model.name,
        "parameters": dict(model.parameters),
        "lattice": "chain" if isinstance(model.lattice, Chain) else "graph",
        "periodic": model.lattice.periodic,
        "jump_labels": [j.label for j in model.jumps],
        "jump_charges": [j.charge for j in model.jumps],
        "baths": [[b.label, b.energy, b.occupation, b.temperature] for b in model.baths],
        "currents": [[name, k.left, k.right, k.description] for name, k in model.currents.items()],
    }
    currents: Tree = {str(k): _complex(kind.coefficients) for k, kind in enumerate(model.currents.values())}
    return {
        "facts": dumps(facts),
        "spaces": {str(k): _space_to_tree(space) for k, space in enumerate(spaces)},
        "lattice": {
            "site_space": np.array(site_space, dtype=np.int64),
            "bonds": np.array(model.lattice.bonds, dtype=np.int64).reshape(-1, 2),
        },
        "hamiltonian": opsums_to_table([model.hamiltonian]),
        "jumps": {
            "rates": np.array([j.rate for j in model.jumps], dtype=float),
            "operators": opsums_to_table([j.operator for j in model.jumps]),
        },
        "currents": currents,
    }


def model_from_tree(tree: Mapping[str, Any]) -> Lindbladian:
    """Return the model written by :func:`model_to_tree`; equal term by term and bit by bit."""
    facts = loads(tree["facts"])
    spaces = [_space_from_tree(tree["spaces"][str(k)]) for k in range(len(tree["spaces"]))]
    site_spaces = [spaces[k] for k in tree["lattice"]["site_space"].tolist()]
    operators = opsums_from_table(tree["jumps"]["operators"])
    tables = tree.get("currents", {})  # a group without datasets is not written
    jumps = [
        Jump(operator, rate, label, charge)
        for operator, rate, label, charge in zip(
            operators, tree["jumps"]["rates"].tolist(), facts["jump_labels"], facts["jump_charges"], strict=True
        )
    ]
    coefficients = [tables[str(k)].tolist() for k in range(len(facts["currents"]))]
    currents = {
        name: CurrentKind(tuple(c), left, right, description)
        for (name, left, right, description), c in zip(facts["currents"], coefficients, strict=True)
    }
    return Lindbladian(
        _lattice(facts, site_spaces, tree["lattice"]["bonds"]),
        opsums_from_table(tree["hamiltonian"])[0],
        jumps,
        name=facts["name"],
        parameters=facts["parameters"],
        currents=currents,
        baths=[Bath(*entry) for entry in facts["baths"]],
    )


def opsums_to_table(operators: Sequence[OpSum]) -> Tree:
    """Return operator sums as one table of terms.

    Term t belongs to operator ``owner[t]``, has the complex ``coefficient[t]``, and its factors are the entries
    ``offset[t]:offset[t+1]`` of ``factor_name`` (position in the list ``names``) and ``factor_site``.
    """
    names: list[str] = []
    owner, coefficient, offset, factor_name, factor_site = [], [], [0], [], []
    for k, operator in enumerate(operators):
        for key, c in operator:
            owner.append(k)
            coefficient.append(c)
            for name, site in key:
                if name not in names:
                    names.append(name)
                factor_name.append(names.index(name))
                factor_site.append(site)
            offset.append(len(factor_name))
    return {
        "names": dumps({"names": names, "count": len(operators)}),
        "owner": np.array(owner, dtype=np.int64),
        "coefficient": _complex(coefficient),
        "offset": np.array(offset, dtype=np.int64),
        "factor_name": np.array(factor_name, dtype=np.int64),
        "factor_site": np.array(factor_site, dtype=np.int64),
    }


def opsums_from_table(table: Mapping[str, Any]) -> list[OpSum]:
    """Return the operator sums written by :func:`opsums_to_table`."""
    facts = loads(table["names"])
    factors = [
        (facts["names"][n], s)
        for n, s in zip(table["factor_name"].tolist(), table["factor_site"].tolist(), strict=True)
    ]
    offset = table["offset"].tolist()
    terms: list[dict[Any, complex]] = [{} for _ in range(facts["count"])]
    for t, (k, c) in enumerate(zip(table["owner"].tolist(), table["coefficient"].tolist(), strict=True)):
        terms[k][tuple(factors[offset[t] : offset[t + 1]])] = c
    return [OpSum(t) for t in terms]


# ----------------------------------------------------------------------------------------------------------------------


def _index(spaces: list[LocalSpace], space: LocalSpace) -> int:
    for k, known in enumerate(spaces):
        if known == space and known.label == space.label:
            return k
    spaces.append(space)
    return len(spaces) - 1


def _space_to_tree(space: LocalSpace) -> Tree:
    names = [n for n in space.operators if n != "I"]
    facts = {
        "kind": space.kind,
        "dim": space.dim,
        "number": space.number,
        "label": space.label,
        "operators": names,
    }
    return {"facts": dumps(facts), "operators": {str(k): np.array(space.operators[n]) for k, n in enumerate(names)}}


def _space_from_tree(tree: Mapping[str, Any]) -> LocalSpace:
    facts = loads(tree["facts"])
    tables = tree.get("operators", {})
    matrices = {name: tables[str(k)] for k, name in enumerate(facts["operators"])}
    dim = facts["dim"]
    return LocalSpace(facts["kind"], dim if dim == math.inf else int(dim), matrices, facts["number"], facts["label"])


def _lattice(facts: Mapping[str, Any], spaces: list[LocalSpace], bonds: np.ndarray) -> Lattice:
    if facts["lattice"] == "chain":
        return Chain(len(spaces), spaces, periodic=facts["periodic"])
    return Graph([(i, j) for i, j in bonds.tolist()], spaces)


def _complex(values: Sequence[complex]) -> np.ndarray:
    return np.array(values, dtype=complex)
