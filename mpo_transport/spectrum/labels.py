"""Sectors of operator space: which |a><b| the Lindbladian can mix, and how the sectors are called.

A charge Q with weights q_j gives every basis state a number q(a) = sum_j q_j n_j(a).  A weak U(1) symmetry keeps
q(a) - q(b), a strong one q(a) and q(b) separately, a weak Z2 parity whether q(a) - q(b) is even, a strong one both
parities.  On a uniform ring the translation T and on a mirror-symmetric chain the reflection R,
rho -> T rho T^dag and rho -> R rho R^dag, split further.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import InputError, did_you_mean
from ..lattice import Chain
from ..model import Lindbladian
from ..superoperator import local_generators
from ..symmetry import Symmetry

__all__ = ["Charges", "Label", "Sector", "Sectors", "charge_names", "state_permutation"]

_PARITY = ("even", "odd")
_SHOWN = 16


@dataclass(frozen=True)
class Label:
    """The quantum numbers of a sector, ((name, value), ...); prints as ``charge=0, reflection=even``."""

    items: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        return (
            ", ".join(f"{n}=({v[0]}, {v[1]})" if isinstance(v, tuple) else f"{n}={v}" for n, v in self.items) or "all"
        )

    def get(self, name: str) -> Any:
        """Return the value of a quantum number, None if it has none."""
        return dict(self.items).get(name)

    def adjoint(self, L: int) -> Label:
        """Return the label of the Hermitian conjugates."""
        out = []
        for name, value in self.items:
            if isinstance(value, tuple):
                value = (value[1], value[0])
            elif name == "momentum":
                value = -value % L
            elif name.startswith("charge"):
                value = -value
            out.append((name, value))
        return Label(tuple(out))


@dataclass(frozen=True)
class Sector:
    """One sector: its label, the pairs of classes (ket, bra) it is made of, and a lattice group with characters.

    ``group`` lists (site mapping, character); it holds the identity alone where no lattice symmetry is used.
    """

    label: Label
    pairs: tuple[tuple[int, int], ...]
    group: tuple[tuple[tuple[int, ...], complex], ...]


class Charges:
    """The charges of all basis states and the classes of states that share all of them.

    Attributes
    ----------
    symmetries, names
        The symmetries of the model and what they are called in labels: ``charge`` or ``charge_0, charge_1, ...``;
        ``parity`` is always the total one, others are ``parity_0, ...``.
    members
        Basis states of every class.
    """

    def __init__(self, model: Lindbladian) -> None:
        self.symmetries = model.conserved
        self.names = charge_names(self.symmetries)
        columns = [_state_charges(model, s) for s in self.symmetries]
        D = int(np.prod([int(d) for d in model.lattice.dims]))
        table = np.array(columns).T if columns else np.zeros((D, 1), dtype=int)
        self.values, self.class_of = np.unique(table, axis=0, return_inverse=True)
        self.class_of = self.class_of.reshape(-1)
        order = np.argsort(self.class_of, kind="stable")
        self.members = np.split(order, np.cumsum(np.bincount(self.class_of))[:-1])
        self.position = np.empty(D, dtype=np.int64)
        for states in self.members:
            self.position[states] = np.arange(len(states))

    def label(self, ket: int, bra: int) -> Label:
        """Return the label of |a><b| for a pair of classes."""
        out = []
        for k, (name, s) in enumerate(zip(self.names, self.symmetries, strict=True)):
            a, b = _plain(self.values[ket][k]), _plain(self.values[bra][k])
            if s.group == "Z2":
                value: Any = (_PARITY[a], _PARITY[b]) if s.strength == "strong" else _PARITY[(a + b) % 2]
            else:
                value = (a, b) if s.strength == "strong" else _plain(round(a - b, 9))
            out.append((name, value))
        return Label(tuple(out))

    def sectors(self) -> dict[Label, list[tuple[int, int]]]:
        """Return the pairs of classes by label."""
        found: dict[Label, list[tuple[int, int]]] = {}
        for ket, bra in itertools.product(range(len(self.members)), repeat=2):
            found.setdefault(self.label(ket, bra), []).append((ket, bra))
        return dict(sorted(found.items(), key=lambda item: tuple(value for _, value in item[0].items)))


class Sectors:
    """All sectors of a model, and the choice of some of them by name."""

    def __init__(self, model: Lindbladian, *, lattice_symmetries: bool = True) -> None:
        self.model = model
        self.charges = Charges(model)
        self.translation = self.reflection = False
        if lattice_symmetries and isinstance(model.lattice, Chain) and model.L > 1:
            weights = self.charges.symmetries
            self.reflection = _is_invariant(model, weights, tuple(reversed(range(model.L))))
            self.translation = model.lattice.periodic and _is_invariant(
                model, weights, tuple((j + 1) % model.L for j in range(model.L))
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the quantum numbers."""
        out = [
            *self.charges.names,
            *(["momentum"] if self.translation else []),
            *(["reflection"] if self.reflection else []),
        ]
        if "parity" not in out and self.model.has_weak_parity:
            out.append("parity")
        return tuple(out)

    @cached_property
    def all(self) -> tuple[Sector, ...]:
        """Every sector, ordered by label."""
        out = []
        for label, pairs in self.charges.sectors().items():
            for extra, group in self._groups():
                out.append(Sector(Label(label.items + extra), tuple(pairs), group))
        return tuple(out)

    def _groups(self) -> list[tuple[tuple[tuple[str, Any], ...], tuple[tuple[tuple[int, ...], complex], ...]]]:
        L = self.model.L
        identity = tuple(range(L))
        mirror = tuple(reversed(range(L)))
        signs = (("even", 1.0), ("odd", -1.0))
        if not self.translation:
            if not self.reflection:
                return [((), ((identity, 1.0),))]
            return [((("reflection", word),), ((identity, 1.0), (mirror, sign))) for word, sign in signs]
        out: list[tuple[tuple[tuple[str, Any], ...], tuple[tuple[tuple[int, ...], complex], ...]]] = []
        for k in range(L):
            phase = 1.0 if k == 0 else -1.0 if 2 * k == L else np.exp(2j * np.pi * k / L)
            shifts = [(tuple((j + r) % L for j in range(L)), phase**r) for r in range(L)]
            if not self.reflection or 2 * k % L:
                out.append(((("momentum", k),), tuple(shifts)))
                continue
            for word, sign in signs:
                mirrored = [(tuple(mirror[j] for j in shift), sign * x) for shift, x in shifts]
                out.append(((("momentum", k), ("reflection", word)), tuple(shifts + mirrored)))
        return out

    def parity(self, label: Label) -> str | None:
        """Return whether the operators of a sector change the total number by an even or odd amount."""
        if label.get("parity") is not None:
            value = label.get("parity")
            return value if isinstance(value, str) else _PARITY[int(value[0] != value[1])]
        if not self.model.has_weak_parity:
            return None
        pairs = next(s.pairs for s in self.all if s.label == label)
        total = _state_charges(self.model, Symmetry("Z2", "weak", (1,) * self.model.L))
        ket, bra = (self.charges.members[c][0] for c in pairs[0])
        return _PARITY[int(total[ket] + total[bra]) % 2]

    def choose(self, sector: Any) -> tuple[Sector, ...]:
        """Return the sectors meant by the user: None (all), a printed label, or a mapping such as {"charge": 0}.

        Raises
        ------
        InputError
            Field ``sector``, for an unknown quantum number or a value that no operator has.
        """
        if sector is None:
            return self.all
        if isinstance(sector, str):
            wanted = sector.replace(" ", "")
            found = tuple(s for s in self.all if str(s.label).replace(" ", "") == wanted)
        elif isinstance(sector, Mapping):
            for name in sector:
                if name not in self.names:
                    raise InputError(
                        f"Argument `sector` names the quantum number {name!r}, which this model does not have; "
                        f"{did_you_mean(str(name), self.names)}",
                        field="sector",
                    )
            found = tuple(s for s in self.all if all(self._has(s.label, n, v) for n, v in sector.items()))
        else:
            raise InputError(
                "Argument `sector` must be None, a label such as 'charge=0' or a mapping such as {'parity': 'even'}, "
                f"but is {sector!r}.",
                field="sector",
            )
        if not found:
            raise InputError(
                f"Argument `sector` = {sector!r} selects no operator of this model; known sectors: {self.listing()}.",
                field="sector",
            )
        return found

    def listing(self) -> str:
        """Return the labels as text, the first few if there are many."""
        texts = [repr(str(s.label)) for s in self.all]
        more = len(texts) - _SHOWN
        return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")

    def _has(self, label: Label, name: str, value: Any) -> bool:
        own = self.parity(label) if name == "parity" and label.get(name) is None else label.get(name)
        value = tuple(value) if isinstance(value, list) else value
        return (type(own) is type(value) and own == value) or (_is_number(own) and _is_number(value) and own == value)


# ----------------------------------------------------------------------------------------------------------------------


def state_permutation(dims: Sequence[int], mapping: Sequence[int]) -> np.ndarray:
    """Return the image of every product basis state when the content of site j moves to site mapping[j], shape (D,)."""
    strides = np.array([int(np.prod(dims[k + 1 :], dtype=np.int64)) for k in range(len(dims))])
    digits = np.array(np.unravel_index(np.arange(int(np.prod(dims))), dims))
    return strides[list(mapping)] @ digits


def charge_names(symmetries: Sequence[Symmetry]) -> tuple[str, ...]:
    """Return what the symmetries of a model are called in labels, see :class:`Charges`."""
    charges = sum(s.group == "U(1)" for s in symmetries)
    names, counts = [], {"charge": 0, "parity": 0}
    has_total = False
    for s in symmetries:
        word = "charge" if s.group == "U(1)" else "parity"
        total = word == "parity" and all(w % 2 for w in s.weights) and not has_total
        has_total |= total
        if total or (word == "charge" and charges == 1):
            names.append(word)
        else:
            names.append(f"{word}_{counts[word]}")
            counts[word] += 1
    return tuple(names)


def _state_charges(model: Lindbladian, symmetry: Symmetry) -> np.ndarray:
    total = np.zeros(1)
    for weight, space in zip(symmetry.weights, model.lattice.spaces, strict=True):
        d = int(space.dim)
        number = np.asarray(space.number if space.number is not None and weight else np.zeros(d), dtype=float)
        if symmetry.group == "Z2" and np.any(number % 1):
            number = number - number[0]
        total = (total[:, None] + weight * number[None, :]).ravel()
    return np.mod(np.rint(total), 2) if symmetry.group == "Z2" else np.round(total, 9)


def _plain(value: float) -> Any:
    return int(value) if float(value).is_integer() else float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _is_invariant(model: Lindbladian, symmetries: Sequence[Symmetry], mapping: tuple[int, ...]) -> bool:
    """Return whether the Lindbladian and the charges stay the same when site j moves to mapping[j]."""
    spaces = model.lattice.spaces
    if any(spaces[j] != spaces[mapping[j]] for j in range(model.L)):
        return False
    for s in symmetries:
        modulus = 2 if s.group == "Z2" else 0
        for j in range(model.L):
            change = s.weights[mapping[j]] - s.weights[j]
            if change % modulus if modulus else change:
                return False
    generators = local_generators(model)
    scale = max((float(np.abs(g).max()) for g in generators.values()), default=0.0)
    for sites, g in generators.items():
        moved = [mapping[s] for s in sites]
        order = np.argsort(moved)
        other = generators.get(tuple(sorted(moved)))
        if other is None or other.shape != g.shape:
            return False
        legs = [int(spaces[s].dim) ** 2 for s in sites]
        n = len(sites)
        image = g.reshape(legs + legs).transpose([*order, *(n + order)]).reshape(g.shape)
        if np.abs(image - other).max() > 1e-13 * scale:
            return False
    return True
