"""Local Hilbert spaces: the dimension of one site and the matrices behind the names of its operators.

Conventions: hbar = 1; index 0 of a spin is the state with the largest S^z (spin up), index 0 of a boson is the empty
mode.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from .errors import InputError, did_you_mean

__all__ = ["Boson", "LocalSpace", "Spin", "SpinHalf", "adjoint_name", "is_operator_name"]

# Adjoints of the standard names; a name that is missing here gets the suffix ".dag".
_ADJOINT = {"Sp": "Sm", "Sm": "Sp", "A": "Adag", "Adag": "A"}
_HERMITIAN = {"I", "X", "Y", "Z", "Sx", "Sy", "Sz", "N", "Pup", "Pdown", "Q", "P"}
_STANDARD = set(_ADJOINT) | _HERMITIAN
_LARGEST_DIMENSION = 2048  # the matrices of one site are dense
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*$")


def adjoint_name(name: str) -> str:
    """Return the name of the adjoint of a named operator.

    >>> adjoint_name("Sp"), adjoint_name("Z"), adjoint_name("fA"), adjoint_name("fA.dag")
    ('Sm', 'Z', 'fA.dag', 'fA')
    """
    if name in _ADJOINT:
        return _ADJOINT[name]
    if name in _HERMITIAN:
        return name
    return name[:-4] if name.endswith(".dag") else name + ".dag"


def is_operator_name(name: str) -> bool:
    """Return whether a text can name an operator: a plain identifier, perhaps with the suffix ``.dag``.

    >>> is_operator_name("fA.dag"), is_operator_name("2A")
    (True, False)
    """
    return bool(_NAME.match(name.removesuffix(".dag")))


@dataclass(frozen=True, eq=False)
class LocalSpace:
    """The Hilbert space of one site and its named operators.

    Parameters
    ----------
    kind
        ``"spin"``, ``"boson"`` or any word for a user's own space.
    dim
        Dimension d >= 2, or ``math.inf`` for an untruncated mode (symbolic backends only).
    operators
        Mapping from name to (d, d) matrix.  The adjoint of ``"name"`` is available as ``"name.dag"``.
    number
        Charge of every basis state, shape (d,): the eigenvalues of ``"N"``; None if the space has no natural charge.
    label
        How the space is printed and stored.

    Raises
    ------
    InputError
        For a dimension below 2, a matrix of the wrong shape or with non-finite entries, a matrix that contradicts the
        meaning of its name ("Z" that is not Hermitian, "Sp" and "Sm" that are not adjoint), or bad charges.

    Examples
    --------
    >>> import numpy as np
    >>> qutrit = LocalSpace("clock", 3, {"tau": np.diag([1, np.exp(2j*np.pi/3), np.exp(4j*np.pi/3)])})
    >>> qutrit.matrix("tau.dag")[1, 1].imag < 0
    np.True_
    """

    kind: str
    dim: float
    operators: Mapping[str, np.ndarray] = field(default_factory=dict)
    number: tuple[float, ...] | None = None
    label: str = ""

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", f"{self.kind}({self.dim})")
        if not isinstance(self.operators, Mapping):
            raise InputError("Argument `operators` must be a mapping from names to matrices.", field="operators")
        if self.dim == math.inf:
            if any(name not in _STANDARD for name in self.operators):
                raise InputError(
                    "Argument `operators` must be empty for an unbounded mode, whose operators have no matrices; "
                    "choose a number of levels.",
                    field="operators",
                )
            object.__setattr__(self, "operators", MappingProxyType({}))
            return
        if not _is_whole(self.dim) or self.dim < 2:
            raise InputError(f"Argument `dim` must be an integer >= 2, but is {self.dim!r}.", field="dim")
        object.__setattr__(self, "dim", int(self.dim))
        frozen: dict[str, np.ndarray] = {"I": np.eye(int(self.dim))}
        for name, matrix in self.operators.items():
            frozen[name] = _checked_matrix(name, matrix, int(self.dim))
        _check_meanings(frozen)
        if self.number is not None:
            object.__setattr__(self, "number", _checked_charges(self.number, frozen))
        for matrix in frozen.values():
            matrix.setflags(write=False)
        object.__setattr__(self, "operators", MappingProxyType(frozen))

    @property
    def is_bounded(self) -> bool:
        """Whether the space has a finite dimension."""
        return self.dim != math.inf

    def __repr__(self) -> str:
        return self.label

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LocalSpace):
            return NotImplemented
        return (
            self.kind == other.kind
            and self.dim == other.dim
            and self.number == other.number
            and set(self.operators) == set(other.operators)
            and all(np.array_equal(m, other.operators[n]) for n, m in self.operators.items())
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.dim, self.label))

    def has(self, name: str) -> bool:
        """Return whether ``name`` (or its adjoint) is an operator of this space."""
        if not self.is_bounded:
            return name in {"I", "A", "Adag", "N", "Q", "P"}
        return name in self.operators or adjoint_name(name) in self.operators

    def matrix(self, name: str) -> np.ndarray:
        """Return the (d, d) matrix of a named operator.

        Raises
        ------
        InputError
            If the name is unknown, or the mode is unbounded.
        """
        if not self.is_bounded:
            raise InputError(
                f"Operator {name!r} has no matrix on an unbounded mode; give `levels` a number to truncate it.",
                field="levels",
            )
        if name in self.operators:
            return self.operators[name]
        partner = adjoint_name(name)
        if partner in self.operators:
            return self.operators[partner].conj().T
        raise InputError(
            f"Unknown operator {name!r} of the space {self.label}; {did_you_mean(name, self.operators)}",
            field="operator",
        )

    def with_operators(self, **matrices: Any) -> LocalSpace:
        """Return a copy of this space with further named operators.

        Examples
        --------
        >>> import numpy as np
        >>> mode = Boson(4)
        >>> saturable = mode.with_operators(fA=np.diag(1/(1 + np.arange(4))) @ mode.matrix("A"))
        >>> saturable.has("fA.dag")
        True
        """
        for name in matrices:
            if not _NAME.match(name):
                raise InputError(f"Operator name {name!r} must be a plain identifier.", field="operators")
            if name in _STANDARD or name in self.operators:
                raise InputError(
                    f"Operator name {name!r} already has a fixed meaning in {self.label}; choose another name.",
                    field="operators",
                )
        if not self.is_bounded:
            raise InputError("An unbounded mode takes no extra matrices; choose a number of levels.", field="levels")
        merged = {**{k: v for k, v in self.operators.items() if k != "I"}, **matrices}
        return LocalSpace(self.kind, self.dim, merged, self.number, self.label)


def _is_whole(value: Any) -> bool:
    """Whether a value is a finite real number without a fractional part."""
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, (bool, np.bool_))
        and math.isfinite(value)
        and float(value).is_integer()
    )


def _checked_matrix(name: str, matrix: Any, dim: int) -> np.ndarray:
    if not isinstance(name, str) or not _NAME.match(name.removesuffix(".dag")):
        raise InputError(f"Operator name {name!r} must be a plain identifier.", field="operators")
    try:
        array = np.array(matrix, dtype=complex)
    except (TypeError, ValueError):
        raise InputError(f"Operator {name!r} must be a {dim} x {dim} matrix of numbers.", field="operators") from None
    if array.shape != (dim, dim):
        raise InputError(
            f"Operator {name!r} must be a {dim} x {dim} matrix, but has shape {array.shape}.", field="operators"
        )
    if not np.all(np.isfinite(array)):
        raise InputError(f"Operator {name!r} has entries that are not finite.", field="operators")
    return array.real.copy() if not np.any(array.imag) else array


def _check_meanings(matrices: Mapping[str, np.ndarray]) -> None:
    """Adjoints are taken by name, so a matrix must have the adjoint that its name promises."""
    for name, matrix in matrices.items():
        partner = adjoint_name(name)
        if partner not in matrices:
            continue
        if np.abs(matrices[partner] - matrix.conj().T).max() > 1e-12 * max(1.0, np.abs(matrix).max()):
            meaning = "Hermitian" if partner == name else f"the adjoint of {partner!r}"
            raise InputError(f"Operator {name!r} must be {meaning}; choose another name.", field="operators")
    if not np.array_equal(matrices["I"], np.eye(len(matrices["I"]))):
        raise InputError("Operator 'I' must be the identity; choose another name.", field="operators")


def _checked_charges(number: Any, matrices: Mapping[str, np.ndarray]) -> tuple[float, ...]:
    """Return the charges of the basis states; those of a space with an "N" are its diagonal."""
    try:
        charges = np.array(number, dtype=float)
    except (TypeError, ValueError):
        charges = np.zeros(0)
    dim = len(matrices["I"])
    if charges.shape != (dim,) or not np.all(np.isfinite(charges)):
        raise InputError(f"Argument `number` must hold {dim} finite numbers, but is {number!r}.", field="number")
    if "N" in matrices and np.abs(matrices["N"] - np.diag(charges)).max() > 1e-12 * max(1.0, np.abs(charges).max()):
        raise InputError("Argument `number` must be the diagonal of the operator 'N'.", field="number")
    return tuple(charges.tolist())


def _checked_dimension(dim: float, field: str, remedy: str) -> int:
    if dim > _LARGEST_DIMENSION:
        raise InputError(
            f"Argument `{field}` gives a space of {dim:.6g} dimensions, more than {_LARGEST_DIMENSION}: {remedy}.",
            field=field,
        )
    return int(dim)


def Spin(S: float) -> LocalSpace:
    """Return the space of a spin S = 1/2, 1, 3/2, ...: dimension 2S + 1, basis ordered from m = S down to m = -S.

    Operators: ``Sx, Sy, Sz, Sp = Sx + i Sy, Sm`` (hbar = 1), ``N = Sz + S``; for S = 1/2 also the Pauli matrices
    ``X, Y, Z`` and the projectors ``Pup, Pdown``.

    >>> Spin(1).matrix("Sp").real.round(3).tolist()
    [[0.0, 1.414, 0.0], [0.0, 0.0, 1.414], [0.0, 0.0, 0.0]]
    """
    if isinstance(S, bool) or not isinstance(S, numbers.Real) or not math.isfinite(S) or S <= 0 or (2 * S) % 1:
        raise InputError(f"Argument `S` must be a positive multiple of 1/2, but is {S!r}.", field="S")
    dim = _checked_dimension(2 * S + 1, "S", "choose a smaller spin")
    m = S - np.arange(dim)
    raising = np.diag(np.sqrt(S * (S + 1) - m[1:] * (m[1:] + 1)), 1)
    ops: dict[str, np.ndarray] = {
        "Sp": raising,
        "Sm": raising.T,
        "Sx": (raising + raising.T) / 2,
        "Sy": (raising - raising.T) / 2j,
        "Sz": np.diag(m),
        "N": np.diag(m + S),
    }
    if dim == 2:
        ops |= {"X": 2 * ops["Sx"], "Y": 2 * ops["Sy"], "Z": 2 * ops["Sz"]}
        ops |= {"Pup": np.diag([1.0, 0.0]), "Pdown": np.diag([0.0, 1.0])}
    label = "SpinHalf()" if dim == 2 else f"Spin({S:g})"
    return LocalSpace("spin", dim, ops, tuple(float(x) for x in m + S), label)


def SpinHalf() -> LocalSpace:
    """Return the spin-1/2 space, basis (up, down): ``Sm |up> = |down>`` and ``N = Sp Sm = (1 + Z)/2``.

    >>> SpinHalf().matrix("Sm").real.tolist()
    [[0.0, 0.0], [1.0, 0.0]]
    """
    return Spin(0.5)


def Boson(levels: float) -> LocalSpace:
    """Return a bosonic mode keeping the states 0 .. levels-1, or all of them for ``levels=math.inf``.

    Operators are the truncated matrices and products are products of these: ``A, Adag, N``, and the quadratures
    ``Q = (A + Adag)/sqrt(2)``, ``P = (A - Adag)/(i sqrt(2))``.

    >>> Boson(3).matrix("A").real.round(3).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.414], [0.0, 0.0, 0.0]]
    """
    if levels == math.inf:
        return LocalSpace("boson", math.inf, {}, None, "Boson(inf)")
    if not _is_whole(levels) or levels < 2:
        raise InputError(f"Argument `levels` must be an integer >= 2 or math.inf, but is {levels!r}.", field="levels")
    dim = _checked_dimension(levels, "levels", "use math.inf for an unbounded mode")
    lower = np.diag(np.sqrt(np.arange(1.0, dim)), 1)
    ops = {
        "A": lower,
        "Adag": lower.T,
        "N": np.diag(np.arange(dim, dtype=float)),
        "Q": (lower + lower.T) / np.sqrt(2),
        "P": (lower - lower.T) / (1j * np.sqrt(2)),
    }
    return LocalSpace("boson", dim, ops, tuple(float(n) for n in range(dim)), f"Boson({dim})")
