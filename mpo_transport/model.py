"""The Lindbladian as a written-down object: lattice, Hamiltonian and jumps.

    d rho/dt = -i [H, rho] + sum_k rate_k ( L_k rho L_k^dag - 1/2 { L_k^dag L_k, rho } ),        hbar = 1.

Structure (range, nearest-neighbour, quadratic, conserved charges) is derived from the text, never declared.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from .errors import InputError, did_you_mean
from .lattice import Graph, Lattice
from .operators import OpSum
from .symmetry import Symmetry, conserved_charges, hermiticity_defect, implies_total_parity

__all__ = ["Bath", "CurrentKind", "Jump", "Lindbladian", "checked_model"]


@dataclass(frozen=True)
class Jump:
    """One jump operator with its rate.

    Parameters
    ----------
    operator
        The jump operator L, an :class:`~mpo_transport.OpSum` (any sum of products).
    rate
        Real, finite, >= 0; multiplies the dissipator.  (A rate may instead be absorbed in the operator.)
    label
        Name of the bath it belongs to (``"left"``, ``"right"``, ``"bath_1"``, ``"site_3"``, ``"common"``), or None.
    charge
        Quanta moved *into the bath* by one jump, for counting; None if it does not move a definite number.

    Examples
    --------
    >>> from mpo_transport import op
    >>> Jump(op("Sm", 0), rate=0.5, label="left", charge=1)
    Jump(operator=Sm(0), rate=0.5, label='left', charge=1)
    """

    operator: OpSum
    rate: float = 1.0
    label: str | None = None
    charge: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.operator, OpSum):
            raise InputError(
                f"Argument `operator` of a Jump must be an OpSum built with op(...), but is "
                f"{type(self.operator).__name__}.",
                field="operator",
            )
        rate = self.rate
        if isinstance(rate, complex) or not isinstance(rate, (numbers.Real, np.generic)) or isinstance(rate, bool):
            raise InputError(f"Argument `rate` must be a real number >= 0, but is {rate!r}.", field="rate")
        if not math.isfinite(rate) or rate < 0:
            raise InputError(
                f"Argument `rate` must be finite and >= 0, but the jump {self.operator!r} has rate {rate!r}.",
                field="rate",
            )
        object.__setattr__(self, "rate", float(rate))
        if self.label is not None and not isinstance(self.label, str):
            raise InputError(f"Argument `label` must be a text or None, but is {self.label!r}.", field="label")
        if self.charge is not None and not _is_finite(self.charge):
            raise InputError(
                f"Argument `charge` must be a finite number or None, but is {self.charge!r}.", field="charge"
            )


@dataclass(frozen=True)
class Bath:
    """A thermal bath: the label shared by its jumps, the energy of one quantum, and its mean occupation.

    ``temperature`` (k_B = 1) or ``occupation`` may be None when unknown; entropy production then is not defined.

    Raises
    ------
    InputError
        For an occupation or a temperature that is negative or not a number, or an energy that is not finite.
    """

    label: str
    energy: float | None = None
    occupation: float | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.label, str):
            raise InputError(f"Argument `label` of a Bath must be a text, but is {self.label!r}.", field="label")
        if self.energy is not None and not _is_finite(self.energy):
            raise InputError(
                f"Argument `energy` of the bath {self.label!r} must be a finite number or None, but is "
                f"{self.energy!r}.",
                field="energy",
            )
        for name in ("occupation", "temperature"):
            value = getattr(self, name)
            # an infinite temperature is one: white noise
            if value is not None and not (_is_finite(value) and value >= 0) and value != math.inf:
                raise InputError(
                    f"Argument `{name}` of the bath {self.label!r} must be a number >= 0 or None, but is {value!r}.",
                    field=name,
                )


@dataclass(frozen=True)
class CurrentKind:
    """A bond current ``I_(i,j) = c_b left_i right_j + h.c.``, defined for any distance between i and j.

    Parameters
    ----------
    coefficients
        One complex number per bond of the lattice; the pair (i, i + distance) uses the coefficient of the bond that
        starts at i.
    left, right
        Operator names on the first and the second site of the pair.
    description
        What it is, for printing and plots.
    """

    coefficients: tuple[complex, ...]
    left: str
    right: str
    description: str = ""


@dataclass(frozen=True, eq=False)
class Lindbladian:
    """A Lindblad master equation on a lattice.

    Parameters
    ----------
    lattice
        :class:`~mpo_transport.Chain` or :class:`~mpo_transport.Graph`.
    hamiltonian
        Hermitian :class:`~mpo_transport.OpSum` (an empty one is allowed).
    jumps
        The :class:`Jump` operators.
    name, parameters
        Where the model came from, for files and printing; ``parameters`` holds plain numbers, texts and lists.
    currents
        Named bond currents, see :class:`CurrentKind`; the first one is the default of ``observables.current``.
    baths
        :class:`Bath` descriptions.

    Raises
    ------
    InputError
        For an unknown operator or site, a Hamiltonian that is not Hermitian, or a bad rate.

    Examples
    --------
    A damped, driven pair of spins, by hand:

    >>> from mpo_transport import Chain, SpinHalf, op
    >>> hop = op("Sp", 0) * op("Sm", 1)
    >>> model = Lindbladian(Chain(2, SpinHalf()), hop + hop.dag, [Jump(op("Sp", 0)), Jump(op("Sm", 1), rate=0.5)])
    >>> model.is_nearest_neighbour, [str(s) for s in model.conserved]
    (True, ['weak U(1): N(0) + N(1)'])
    """

    lattice: Lattice
    hamiltonian: OpSum
    jumps: tuple[Jump, ...]
    name: str = "custom"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    currents: Mapping[str, CurrentKind] = field(default_factory=dict)
    baths: tuple[Bath, ...] = ()

    def __init__(
        self,
        lattice: Lattice,
        hamiltonian: OpSum | None,
        jumps: Iterable[Jump],
        *,
        name: str = "custom",
        parameters: Mapping[str, Any] | None = None,
        currents: Mapping[str, CurrentKind] | None = None,
        baths: Sequence[Bath] = (),
    ) -> None:
        set_ = object.__setattr__
        if not isinstance(lattice, Lattice):
            raise InputError("Argument `lattice` must be a Chain or a Graph.", field="lattice")
        hamiltonian = OpSum() if hamiltonian is None else hamiltonian
        if not isinstance(hamiltonian, OpSum):
            raise InputError("Argument `hamiltonian` must be an OpSum built with op(...).", field="hamiltonian")
        jumps = tuple(_items(jumps, Jump, "jumps"))
        for name_, mapping in (("parameters", parameters), ("currents", currents)):
            if mapping is not None and not isinstance(mapping, Mapping):
                raise InputError(f"Argument `{name_}` must be a mapping from names to values.", field=name_)
        if not isinstance(name, str):
            raise InputError(f"Argument `name` must be a text, but is {name!r}.", field="name")
        set_(self, "lattice", lattice)
        set_(self, "hamiltonian", hamiltonian)
        set_(self, "jumps", jumps)
        set_(self, "name", name)
        set_(self, "parameters", MappingProxyType(dict(parameters or {})))
        set_(self, "currents", MappingProxyType(dict(currents or {})))
        set_(self, "baths", tuple(_items(baths, Bath, "baths")))
        self._validate()

    def _validate(self) -> None:
        _check_operators(self.lattice, self.hamiltonian, "hamiltonian")
        for k, jump in enumerate(self.jumps):
            _check_operators(self.lattice, jump.operator, f"jumps[{k}].operator")
        defect = hermiticity_defect(self.lattice, self.hamiltonian)
        if defect is not None:
            raise InputError(
                f"Argument `hamiltonian` must be Hermitian, but the terms {defect} are not matched by their adjoint; "
                "add the Hermitian conjugate (H + H.dag).",
                field="hamiltonian",
            )
        for name, kind in self.currents.items():
            if not isinstance(kind, CurrentKind):
                raise InputError(f"Current {name!r} must be a CurrentKind(...), but is {kind!r}.", field="currents")
            if len(kind.coefficients) != len(self.lattice.bonds):
                raise InputError(
                    f"Current {name!r} needs one coefficient per bond ({len(self.lattice.bonds)}), but has "
                    f"{len(kind.coefficients)}.",
                    field="currents",
                )

    # -- derived structure --------------------------------------------------------------------------------------------

    @property
    def L(self) -> int:
        """Number of sites."""
        return self.lattice.L

    @cached_property
    def supports(self) -> tuple[tuple[int, ...], ...]:
        """Distinct supports (sorted site tuples) of the Hamiltonian terms and of the jump operators as a whole."""
        found = {tuple(sorted({s for _, s in key})) for key, _ in self.hamiltonian}
        found |= {j.operator.sites for j in self.jumps if j.rate > 0}
        return tuple(sorted(found - {()}))

    @cached_property
    def range(self) -> int:
        """Largest distance between two sites joined by one term (around the ring if the lattice is periodic)."""
        return max((_span(s, self.L, self.lattice.periodic) for s in self.supports), default=0)

    @property
    def is_nearest_neighbour(self) -> bool:
        """Whether every term acts on one site or on two neighbouring sites in the order of the lattice."""
        return self.range <= 1

    @cached_property
    def is_quadratic(self) -> bool:
        """Whether H is at most quadratic and every jump at most linear in bosonic ladder operators."""
        if any(space.kind != "boson" for space in self.lattice.spaces):
            return False
        weight = {"A": 1, "Adag": 1, "Q": 1, "P": 1, "N": 2}

        def degree(operator: OpSum) -> float:
            return max((sum(weight.get(n, math.inf) for n, _ in key) for key, _ in operator), default=0)

        return degree(self.hamiltonian) <= 2 and all(degree(j.operator) <= 1 for j in self.jumps)

    @cached_property
    def conserved(self) -> tuple[Symmetry, ...]:
        """Conserved U(1) charges and Z2 parities, strong and weak, found from the text."""
        return conserved_charges(
            self.lattice, self.hamiltonian, [(j.operator, j.rate) for j in self.jumps if j.rate > 0]
        )

    @property
    def has_weak_parity(self) -> bool:
        """Whether the total Z2 parity (product of (-1)^N over all sites) is at least a weak symmetry."""
        return implies_total_parity(self.conserved, self.L)

    def __repr__(self) -> str:
        shape = "graph" if isinstance(self.lattice, Graph) else "ring" if self.lattice.periodic else "chain"
        size = f"{shape} of {self.L} sites, {len(self.hamiltonian)} H terms, {len(self.jumps)} jumps"
        return f"Lindbladian({self.name}, {size})"

    def describe(self) -> str:
        """Return a few lines of text: sizes, structure and symmetries."""
        return "\n".join(
            [
                repr(self),
                f"  local spaces   : {_runs([s.label for s in self.lattice.spaces])}",
                f"  range          : {self.range}" + (" (nearest neighbours)" if self.is_nearest_neighbour else ""),
                f"  quadratic      : {'yes' if self.is_quadratic else 'no'}",
                f"  symmetries     : {'; '.join(map(str, self.conserved)) or 'none found'}",
            ]
        )


def checked_model(model: Any) -> Lindbladian:
    """Return the model, or raise :class:`InputError` (field ``model``)."""
    if not isinstance(model, Lindbladian):
        raise InputError(
            f"Argument `model` must be a Lindbladian (see mpo_transport.models), but is {type(model).__name__}.",
            field="model",
        )
    return model


def _is_finite(x: Any) -> bool:
    return isinstance(x, numbers.Real) and not isinstance(x, bool) and math.isfinite(x)


def _items(values: Any, kind: type, name: str) -> list[Any]:
    """Return the values as a list, all of one kind."""
    items = list(values) if isinstance(values, Iterable) and not isinstance(values, (str, Mapping, OpSum)) else [values]
    wrong = [v for v in items if not isinstance(v, kind)]
    if wrong or not isinstance(values, Iterable):
        raise InputError(
            f"Argument `{name}` must be a list of {kind.__name__}(...) objects, but "
            f"{'contains' if isinstance(values, Iterable) else 'is'} {(wrong or items)[0]!r}.",
            field=name,
        )
    return items


def _check_operators(lattice: Lattice, operator: OpSum, where: str) -> None:
    for key, _ in operator:
        for name, site in key:
            if site >= lattice.L:
                raise InputError(
                    f"Argument `{where}` acts on site {site}, but the lattice has sites 0..{lattice.L - 1}.",
                    field=where,
                )
            space = lattice.spaces[site]
            if not space.has(name):
                known = space.operators if space.is_bounded else ("A", "Adag", "N", "Q", "P")
                raise InputError(
                    f"Argument `{where}` uses the unknown operator {name!r} on site {site} ({space.label}); "
                    f"{did_you_mean(name, known)}",
                    field=where,
                )


def _span(sites: tuple[int, ...], L: int, periodic: bool) -> int:
    if len(sites) < 2:
        return 0
    if not periodic:
        return sites[-1] - sites[0]
    gaps = [b - a for a, b in itertools.pairwise(sites)] + [sites[0] + L - sites[-1]]
    return L - max(gaps)


def _runs(labels: list[str]) -> str:
    out: list[list[Any]] = []
    for label in labels:
        if out and out[-1][0] == label:
            out[-1][1] += 1
        else:
            out.append([label, 1])
    return ", ".join(f"{n} x {label}" for label, n in out)
