"""The state of which only the expectation values of a closed set of strings are known; more follow on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError, NotSupportedError
from ...lattice import Lattice
from ...states import DenseState
from ...states.base import Key, State, check_sites, refuse_dense, register_state
from ...superoperator.heisenberg import HeisenbergAction, expand_products, letters, string_text
from .closure import NotClosedError, StringTable, close
from .equations import IntertwinedError, SingularError, moved, stationary

__all__ = ["HierarchyState", "letter_parity", "not_closed"]

# Largest matrix that is written out: all its strings have to be known.
LARGEST_MATRIX = 64


@register_state
class HierarchyState(State):
    """Expectation values of strings, products of one letter per site (:mod:`mpo_transport.superoperator.heisenberg`).

    Strings asked for that are not known are computed, where their equations of motion close; they are kept.

    Parameters
    ----------
    lattice
        Lattice with bounded spaces.
    action
        The generator in the Heisenberg picture.
    strings, values
        What is known, shapes (n, L) and (n,).
    cap
        Largest number of strings in one search for a closed set.
    parities
        Weights modulo 2 of conserved parities, shape (p, L): odd strings vanish in the state.
    time, initial
        Time gone by since the product state with the expectation values ``initial`` of the letters, one array (d^2,)
        per site; None for a steady state.  An evolution from another state has a time and no ``initial``.
    """

    kind: ClassVar[str] = "hierarchy"

    def __init__(
        self,
        lattice: Lattice,
        action: HeisenbergAction,
        strings: np.ndarray,
        values: np.ndarray,
        *,
        cap: int,
        parities: np.ndarray | None = None,
        time: float | None = None,
        initial: Sequence[np.ndarray] | None = None,
        error: float = 0.0,
    ) -> None:
        if tuple(int(d) for d in lattice.dims) != action.dims:
            raise InputError("Argument `action` belongs to other local dimensions than the lattice.", field="action")
        strings = np.array(strings, dtype=action.dtype).reshape(-1, lattice.L)
        values = np.array(values, dtype=float)
        legs = np.array(action.dims) ** 2
        if values.shape != (len(strings),) or not np.all(np.isfinite(values)) or np.any(strings >= legs):
            raise InputError("Argument `values` must be one finite number per string of letters.", field="values")
        names = action.hashes(strings)
        if len(np.unique(names)) < len(names) or np.any(names == 0):
            raise InputError("Argument `strings` must hold different strings other than the identity.", field="strings")
        self.lattice, self.action, self.cap = lattice, action, int(cap)
        self.parities = np.zeros((0, lattice.L), dtype=np.int64) if parities is None else np.asarray(parities) % 2
        self.time = None if time is None else float(time)
        self.initial = None if initial is None else tuple(np.asarray(v, dtype=float) for v in initial)
        self.error = float(error)
        self._strings, self._values = strings, values
        self._table = StringTable()
        self._table.add(names)
        self._refused: dict[int, str] = {}

    # -- what is known ------------------------------------------------------------------------------------------------

    @property
    def strings(self) -> np.ndarray:
        """The strings known so far, shape (n, L)."""
        return self._strings

    @property
    def values(self) -> np.ndarray:
        """Their expectation values, shape (n,)."""
        return self._values

    def __len__(self) -> int:
        return len(self._values)

    def known_values(self, strings: np.ndarray) -> np.ndarray:
        """Return the expectation values of strings (n, L), NaN where one is not known and no symmetry makes it zero."""
        names = self.action.hashes(strings)
        index = self._table.find(names)
        out = np.full(len(strings), np.nan)
        out[index >= 0] = self._values[index[index >= 0]]
        out[names == 0] = 1.0
        out[np.isnan(out) & self._is_odd(strings)] = 0.0
        return out

    def string_values(self, strings: np.ndarray) -> np.ndarray:
        """Return the expectation values of strings (n, L); what is missing is computed.

        Raises
        ------
        NotSupportedError
            If their equations of motion do not close, or do not fix them (field ``operator``).
        """
        strings = np.ascontiguousarray(strings, dtype=self.action.dtype)
        out = self.known_values(strings)
        missing = np.isnan(out)
        if missing.any():
            self.extend(strings[missing])
            out[missing] = self.known_values(strings[missing])
        return out

    def _is_odd(self, strings: np.ndarray) -> np.ndarray:
        out = np.zeros(len(strings), dtype=bool)
        for weights in self.parities:
            if self.initial is None and self.time is not None:
                break  # the symmetry of the initial state is not known
            if self.initial is not None and not self._starts_even(weights):
                continue
            total = np.zeros(len(strings), dtype=np.int64)
            for s in np.flatnonzero(weights):
                total += letter_parity(self.lattice.spaces[s])[strings[:, s]]
            out |= total % 2 == 1
        return out

    def _starts_even(self, weights: np.ndarray) -> bool:
        assert self.initial is not None
        return not any(
            np.any(self.initial[s][letter_parity(self.lattice.spaces[s]) == 1]) for s in np.flatnonzero(weights)
        )

    # -- what is not --------------------------------------------------------------------------------------------------

    def extend(self, strings: np.ndarray) -> None:
        """Make the expectation values of further strings known.

        Raises
        ------
        NotSupportedError
            Naming a string whose equations of motion do not close, or do not fix it.
        """
        names = self.action.hashes(strings)
        for name, string in zip(names.tolist(), strings, strict=True):
            if name in self._refused:
                raise NotSupportedError(self._refused[name] % string_text(self.lattice, string), field="operator")
        try:
            if self.time is None:
                closure = close(self.action, strings, self.cap, self._table)
                solution = stationary(closure.matrix, closure.source + closure.known @ self._values, closure.magnitude)
                self._learn(closure.strings, solution.values, solution.error)
            else:
                self._evolve_from_start(strings)
        except NotClosedError as problem:
            self._refuse(strings, not_closed(problem, self.cap))
        except IntertwinedError as problem:
            self._refuse(
                strings,
                f"The equations of motion of %s close on {problem.size} strings, which are too intertwined to be "
                "solved; use another method.",
            )
        except SingularError as problem:
            self._refuse(
                strings,
                f"The equations of motion of %s close on {problem.size} strings, but have no unique stationary "
                "solution: the steady state is not unique, or not fixed by these operators.",
            )

    def _evolve_from_start(self, strings: np.ndarray) -> None:
        if self.initial is None:
            raise NotSupportedError(
                f"The expectation value of {string_text(self.lattice, strings[0])} is not among those that were "
                "propagated; evolve again with this observable, or from a product state.",
                field="operator",
            )
        closure = close(self.action, strings, self.cap)
        start = product_values(self.initial, closure.strings)
        *_, (_, values) = moved(closure.matrix, closure.source, start, float(self.time or 0.0))
        fresh = self._table.find(self.action.hashes(closure.strings)) < 0
        self._learn(closure.strings[fresh], values[fresh], self.error)

    def _learn(self, strings: np.ndarray, values: np.ndarray, error: float) -> None:
        self._table.add(self.action.hashes(strings))
        self._strings = np.concatenate([self._strings, strings])
        self._values = np.concatenate([self._values, values])
        self.error = max(self.error, error)

    def _refuse(self, strings: np.ndarray, sentence: str) -> None:
        """Find one of the strings that is to blame, remember it, and raise; return if they only failed together."""
        if len(strings) == 1:
            self._refused[int(self.action.hashes(strings)[0])] = sentence
            raise NotSupportedError(sentence % string_text(self.lattice, strings[0]), field="operator")
        for half in (strings[: len(strings) // 2], strings[len(strings) // 2 :]):
            missing = half[np.isnan(self.known_values(half))]
            if len(missing):
                self.extend(missing)

    # -- answers ------------------------------------------------------------------------------------------------------

    def trace(self) -> float:
        return 1.0

    def expect_products(self, products: Sequence[Key]) -> np.ndarray:
        for key in products:
            check_sites(self.lattice, tuple({s for _, s in key}))
        which, strings, c = expand_products(self.lattice, products)
        weighted = c * self.string_values(strings)
        n = len(products)
        return np.bincount(which, weighted.real, n) + 1j * np.bincount(which, weighted.imag, n)

    def reduced(self, sites: Sequence[int]) -> np.ndarray:
        """Return the reduced density matrix of the listed sites, (D, D) complex, trace 1, first site slowest.

        Raises
        ------
        NotSupportedError
            If some of its strings are not known.  (They are computed only where the whole matrix could be.)
        """
        check_sites(self.lattice, sites)
        dims = [int(self.lattice.dims[s]) for s in sites]
        D = int(np.prod(dims))
        refuse_dense(D, LARGEST_MATRIX)
        strings = np.zeros((D * D, self.L), dtype=self.action.dtype)
        if len(dims):
            strings[:, list(sites)] = np.indices([d * d for d in dims]).reshape(len(dims), -1).T
        if self._is_small:
            values = self.string_values(strings)
        else:
            values = self.known_values(strings)
            if np.isnan(values).any():
                missing = string_text(self.lattice, strings[np.flatnonzero(np.isnan(values))[0]])
                raise NotSupportedError(
                    f"The reduced density matrix of the sites {tuple(sites)} needs <{missing}>, which is not known.",
                    field="sites",
                )
        tensor = values.reshape([d * d for d in dims] or [1])
        for d in dims:
            tensor = np.tensordot(tensor, letters(d) / d, axes=([0], [0]))
        n = len(dims)
        order = [2 * k for k in range(n)] + [2 * k + 1 for k in range(n)]
        return np.asarray(tensor.reshape([x for d in dims for x in (d, d)]).transpose(order).reshape(D, D), complex)

    @property
    def _is_small(self) -> bool:
        return self.action.total < min(LARGEST_MATRIX**2, self.cap + 1)

    def to_dense(self) -> np.ndarray:
        if not self._is_small:
            raise NotSupportedError(
                f"The whole density matrix needs the expectation values of {self.action.total:.3g} strings; this state "
                f"knows {len(self)}. Ask for expectation values, or use another method.",
                field="to_dense",
            )
        return self.reduced(range(self.L))

    def purity(self) -> float:
        return self._dense().purity()

    def operator_schmidt(self, cut: int) -> np.ndarray:
        return self._dense().operator_schmidt(cut)

    def _dense(self) -> DenseState:
        return DenseState(self.lattice, self.to_dense())

    # -- storage ------------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, np.ndarray]:
        out = {"strings": self._strings, "values": self._values, "parities": self.parities, **self.action.arrays()}
        if self.initial is not None:
            out["initial"] = np.concatenate(self.initial)
        return out

    def attributes(self) -> dict[str, Any]:
        return {"cap": self.cap, "time": self.time, "error": self.error}

    @classmethod
    def from_arrays(
        cls, lattice: Lattice, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]
    ) -> HierarchyState:
        stored, initial = arrays.get("initial"), None
        if stored is not None:
            legs = [int(d) ** 2 for d in lattice.dims]
            if len(stored) != sum(legs):
                raise InputError("The stored initial state does not fit the lattice.", field="initial")
            initial = np.split(stored, np.cumsum(legs)[:-1])
        return cls(
            lattice,
            HeisenbergAction.from_arrays([int(d) for d in lattice.dims], arrays),
            arrays["strings"],
            arrays["values"],
            cap=attributes["cap"],
            parities=np.asarray(arrays["parities"]).reshape(-1, lattice.L),
            time=attributes["time"],
            initial=initial,
            error=attributes["error"],
        )


def not_closed(problem: NotClosedError, cap: int) -> str:
    """Return the sentence of a refusal, with %s for the operators."""
    if problem.hopeless:
        return (
            "The equations of motion of %s do not close: every layer of further strings is larger than the one "
            f"before ({problem.count} so far)."
        )
    return f"The equations of motion of %s do not close within {cap} strings; allow more with `max_strings`."


def product_values(initial: Sequence[np.ndarray], strings: np.ndarray) -> np.ndarray:
    """Return the expectation values of strings in a product state, shape (n,)."""
    out = np.ones(len(strings))
    for s, local in enumerate(initial):
        out *= local[strings[:, s]]
    return out


_PARITIES: dict[Any, np.ndarray] = {}


def letter_parity(space: Any) -> np.ndarray:
    """Return 1 for the letters that change the number by an odd amount, shape (d^2,); all 0 without a number."""
    d = int(space.dim)
    if space.number is None:
        return np.zeros(d * d, dtype=np.int64)
    key = (d, tuple(space.number))
    if key not in _PARITIES:
        number = np.rint(np.asarray(space.number) - min(space.number)).astype(np.int64)
        odd = (number[:, None] - number[None, :]) % 2 == 1
        parity = (letters(d)[:, odd] != 0).any(axis=1).astype(np.int64)
        _PARITIES[key] = parity
    return _PARITIES[key]
