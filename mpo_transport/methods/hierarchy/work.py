"""What ``prepare`` makes: the generator on strings, and which of the usual observables close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp

from ...errors import NotSupportedError
from ...model import Lindbladian
from ...observables import Observable
from ...observables.defaults import default_observables
from ...operators import OpSum
from ...superoperator.heisenberg import HeisenbergAction, operator_strings, string_text
from .closure import Closure, NotClosedError, close
from .equations import components, factor_work
from .state import letter_parity, not_closed

__all__ = ["Search", "Work", "default_cap", "hierarchy_action", "parities_of", "search"]

# Strings followed in one search unless told otherwise, and letters in all of them (a byte each, several copies).
DEFAULT_CAP, MOST_LETTERS = 200_000, 50_000_000

_ACTIONS: WeakKeyDictionary[Lindbladian, HeisenbergAction] = WeakKeyDictionary()
_SEARCHES: WeakKeyDictionary[Lindbladian, dict[int, Search]] = WeakKeyDictionary()


def default_cap(model: Lindbladian) -> int:
    """Return the number of strings followed in one search: 200000, fewer on more than 250 sites.

    >>> from mpo_transport.models import exclusion_process
    >>> default_cap(exclusion_process(1000, 1.0, 1.0, 0.0, 0.0))
    50000
    """
    return min(DEFAULT_CAP, max(1000, MOST_LETTERS // model.L))


def hierarchy_action(model: Lindbladian) -> HeisenbergAction:
    """Return the Heisenberg-picture generator of a model, made once."""
    if model not in _ACTIONS:
        _ACTIONS[model] = HeisenbergAction.of(model)
    return _ACTIONS[model]


def parities_of(model: Lindbladian) -> np.ndarray:
    """Return weights modulo 2 of parities that the generator keeps, shape (p, L): of single sites, and of all others.

    Read off the local generators: a long chain with a parity on every site has too many for ``model.conserved``.
    """
    action, parity = hierarchy_action(model), [letter_parity(space) for space in model.lattice.spaces]
    own = np.array([bool(p.any()) for p in parity])
    together = own.copy()
    checked: dict[tuple[bytes, tuple[int, ...]], np.ndarray] = {}
    for sites, matrix in action.generators.items():
        key = matrix.tobytes(), tuple(id(parity[s]) for s in sites)
        if key not in checked:
            legs = [len(parity[s]) for s in sites]
            odd = np.array([parity[s][k] for s, k in zip(sites, np.indices(legs), strict=True)]).reshape(len(sites), -1)
            size = np.abs(matrix).max(initial=0.0)
            rows, columns = np.nonzero(np.abs(matrix) > 1e-14 * size)
            checked[key] = (odd[:, rows] ^ odd[:, columns]).any(axis=1)
            total = odd.sum(axis=0) % 2
            checked[key] = np.append(checked[key], np.any(total[rows] != total[columns]))
        own[list(sites)] &= ~checked[key][:-1]
        if checked[key][-1]:
            together[:] = False
    rest = together & ~own
    weights = [np.eye(model.L, dtype=np.int64)[j] for j in np.flatnonzero(own)]
    return np.array([*weights, *([rest.astype(np.int64)] if rest.any() else [])], dtype=np.int64).reshape(-1, model.L)


@dataclass(frozen=True, eq=False)
class Search:
    """Which of the usual observables of a model close: the set of strings, and a sentence per observable left out."""

    closure: Closure | None
    names: tuple[str, ...]
    refused: Mapping[str, str]

    @cached_property
    def largest(self) -> sp.csr_array:
        """The largest block of the equations of motion."""
        assert self.closure is not None
        blocks = components(self.closure.matrix)
        block = max(blocks, key=len) if blocks else np.zeros(0, dtype=np.int64)
        return sp.csr_array(self.closure.matrix[block][:, block])

    @cached_property
    def work(self) -> tuple[float, float]:
        """Entries of the factors of the largest block, and multiplications."""
        return factor_work(self.largest)


def search(model: Lindbladian, cap: int) -> Search:
    """Return the closed set of the usual observables, made once per model and cap.

    Raises
    ------
    NotSupportedError
        For unbounded modes, or terms on too many sites.
    """
    known = _SEARCHES.setdefault(model, {})
    if cap not in known:
        known[cap] = _search(model, hierarchy_action(model), cap)
    return known[cap]


def _search(model: Lindbladian, action: HeisenbergAction, cap: int) -> Search:
    defaults = {n: o for n, o in default_observables(model).items() if isinstance(o, Observable)}
    middles = {n: _seeds(model, o.operators[len(o.operators) // 2 :][:1]) for n, o in defaults.items()}
    refused = _refused(action, {n: s for n, s in middles.items() if len(s)}, cap)
    seeds = {n: _seeds(model, o.operators) for n, o in defaults.items() if n not in refused}
    seeds = {n: s for n, s in seeds.items() if len(s)}
    if not seeds and not refused:
        seeds = {"letters": _single(action)}
    while seeds:
        try:
            return Search(close(action, np.concatenate(list(seeds.values())), cap), tuple(seeds), refused)
        except NotClosedError as problem:
            name, _ = seeds.popitem()
            refused[name] = not_closed(problem, cap) % name
    return Search(None, (), refused)


def _refused(action: HeisenbergAction, seeds: Mapping[str, np.ndarray], cap: int) -> dict[str, str]:
    """Return sentences about those of several small sets of seeds that do not close: usually all or none."""
    out: dict[str, str] = {}
    if not seeds:
        return out
    try:
        close(action, np.concatenate(list(seeds.values())), cap)
        return out
    except NotClosedError as problem:
        if len(seeds) == 1 or not problem.hopeless:
            return {name: not_closed(problem, cap) % name for name in seeds}
    for name, strings in seeds.items():
        out |= _refused(action, {name: strings}, cap)
    return out


def _seeds(model: Lindbladian, operators: Sequence[OpSum]) -> np.ndarray:
    parts = [operator_strings(model.lattice, operator)[0] for operator in operators]
    return np.unique(np.concatenate(parts), axis=0) if parts else np.zeros((0, model.L), dtype=np.uint8)


def _single(action: HeisenbergAction) -> np.ndarray:
    """Return all letters of single sites."""
    rows = [(s, k) for s, d in enumerate(action.dims) for k in range(1, d * d)]
    out = np.zeros((len(rows), action.L), dtype=action.dtype)
    out[np.arange(len(rows)), [s for s, _ in rows]] = [k for _, k in rows]
    return out


@dataclass(eq=False)
class Work:
    """Everything that follows from the model."""

    model: Lindbladian
    action: HeisenbergAction
    found: Search
    cap: int
    tol: float
    task: str
    _equations: tuple[int, Closure] | None = field(default=None)

    @cached_property
    def closure(self) -> Closure:
        """The closed set of the usual observables."""
        if self.found.closure is None:
            raise NotSupportedError(" ".join(self.found.refused.values()), field="method")
        return self.found.closure

    @cached_property
    def parities(self) -> np.ndarray:
        """Conserved parities, shape (p, L)."""
        return parities_of(self.model)

    def equations(self, strings: np.ndarray) -> Closure:
        """Return the equations of motion of a closed set of strings, in this order."""
        if len(strings) == len(self.closure) and np.array_equal(strings, self.closure.strings):
            return self.closure
        if self._equations is None or not np.array_equal(strings, self._equations[1].strings):
            self._equations = (len(strings), close(self.action, strings, max(self.cap, len(strings))))
        return self._equations[1]

    def text(self, string: np.ndarray) -> str:
        """Return a string in words."""
        return string_text(self.model.lattice, string)
