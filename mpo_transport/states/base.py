"""What every state can answer, and the initial states that have a name."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError, NotSupportedError, did_you_mean
from ..lattice import Lattice
from ..operators import Factor, LocalSpace, OpSum

__all__ = ["STATES", "State", "entries_per_site", "local_density_matrices", "register_state"]

Key = tuple[Factor, ...]
STATES: dict[str, type[State]] = {}


def register_state(cls: type[State]) -> type[State]:
    """Decorator: make a state class known to the files under its ``kind``."""
    STATES[cls.kind] = cls
    return cls


class State(abc.ABC):
    """A density matrix on a lattice; never changed in place.  Expectation values are normalised by the trace.

    A representation that cannot deliver a quantity raises :class:`~mpo_transport.errors.NotSupportedError` with the
    reason.
    """

    kind: ClassVar[str]
    lattice: Lattice

    @property
    def L(self) -> int:
        """Number of sites."""
        return self.lattice.L

    @abc.abstractmethod
    def trace(self) -> float:
        """Return Tr rho as stored (1 up to the recorded drift)."""

    @abc.abstractmethod
    def expect_products(self, products: Sequence[Key]) -> np.ndarray:
        """Return <product> for symbolic products ((name, site), ...), shape (len(products),), complex."""

    @abc.abstractmethod
    def reduced(self, sites: Sequence[int]) -> np.ndarray:
        """Return the reduced density matrix of the listed sites, (D, D) complex, trace 1, first site slowest."""

    @abc.abstractmethod
    def purity(self) -> float:
        """Return Tr rho^2 of the whole."""

    @abc.abstractmethod
    def operator_schmidt(self, cut: int) -> np.ndarray:
        """Return the normalised operator Schmidt values across (sites < cut | rest), descending, sum of squares 1."""

    @abc.abstractmethod
    def to_dense(self) -> np.ndarray:
        """Return the whole density matrix, (D, D) complex, trace 1; refused when D is too large."""

    @abc.abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the plain arrays that define the state, for storage."""

    def attributes(self) -> dict[str, Any]:
        """Return the JSON-able facts that define the state beside its arrays."""
        return {}

    @classmethod
    @abc.abstractmethod
    def from_arrays(cls, lattice: Lattice, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> State:
        """Return the state stored as ``arrays()`` and ``attributes()``; bit for bit."""

    # -- answers that need nothing else -----------------------------------------------------------------------------

    def expect(self, operator: OpSum) -> complex:
        """Return <O> = Tr(O rho)/Tr(rho) of an operator sum."""
        if not isinstance(operator, OpSum):
            raise InputError(
                f"Argument `operator` must be an OpSum built with op(...), but is {type(operator).__name__}.",
                field="operator",
            )
        check_sites(self.lattice, operator.sites)
        if not operator:
            return 0j
        keys, coefficients = zip(*operator, strict=True)
        return complex(np.dot(coefficients, self.expect_products(keys)))

    def overlap(self, other: State) -> float:
        """Return Tr(rho sigma) for two states with trace 1."""
        check_same_spaces(self.lattice, other, "other")
        return float(np.real(np.vdot(self.to_dense(), other.to_dense())))


def check_same_spaces(lattice: Lattice, state: Any, name: str) -> None:
    """Raise unless ``state`` is a state on local spaces like those of the lattice: same kinds, dimensions, charges."""
    if not isinstance(state, State):
        raise InputError(f"Argument `{name}` must be a state, but is {type(state).__name__}.", field=name)
    mine, theirs = (
        [(s.kind, int(s.dim), s.number) if s.is_bounded else (s.kind,) for s in x.spaces]
        for x in (lattice, state.lattice)
    )
    if mine != theirs:
        raise InputError(
            f"Argument `{name}` lives on other local spaces: {_labels(state.lattice)} instead of {_labels(lattice)}.",
            field=name,
        )


def check_initial(lattice: Lattice, state: Any) -> None:
    """Raise unless ``state`` can be the start of a calculation: the same spaces, Hermitian, a positive trace."""
    check_same_spaces(lattice, state, "initial")
    trace = state.trace()
    defect = getattr(state, "hermiticity_defect", lambda: 0.0)()
    if not np.isfinite(trace) or trace <= 0 or defect > 1e-10 * max(1.0, trace):
        raise InputError(
            f"Argument `initial` must be a Hermitian matrix with a positive trace, but has trace {trace:.3g} and "
            f"differs from its adjoint by {defect:.3g}.",
            field="initial",
        )


def _labels(lattice: Lattice) -> str:
    labels = [s.label for s in lattice.spaces]
    return f"{len(labels)} x {labels[0]}" if len(set(labels)) == 1 else ", ".join(labels)


def check_sites(lattice: Lattice, sites: Sequence[int]) -> None:
    """Raise if a site is not on the lattice or listed twice."""
    if not isinstance(sites, Iterable):
        raise InputError(f"Argument `sites` must be a list of sites, but is {sites!r}.", field="sites")
    if len(set(sites)) != len(tuple(sites)):
        raise InputError(f"Argument `sites` must not repeat a site, but is {tuple(sites)}.", field="sites")
    for s in sites:
        if isinstance(s, bool) or not isinstance(s, (int, np.integer)) or not 0 <= s < lattice.L:
            raise InputError(f"Argument `sites` must hold sites 0..{lattice.L - 1}, but contains {s!r}.", field="sites")


def local_density_matrices(lattice: Lattice, initial: Any) -> list[np.ndarray]:
    """Return one (d, d) density matrix per site for a named product state.

    Parameters
    ----------
    initial
        ``"up"`` and ``"down"`` (spins: largest and smallest S^z), ``"vacuum"`` (bosons: empty; spins: down, N = 0),
        ``"mixed"`` (maximally mixed), or a list with one entry per site: one of these names, the occupation n (the
        basis state with N = n), a state vector of length d, or a (d, d) density matrix.

    Raises
    ------
    InputError
        If the name is unknown or does not exist on this lattice.
    """
    if isinstance(initial, str):
        return [_named(space, initial) for space in lattice.spaces]
    entries = entries_per_site(lattice, initial)
    return [_local(space, entry, j) for j, (space, entry) in enumerate(zip(lattice.spaces, entries, strict=True))]


def entries_per_site(lattice: Lattice, initial: Any) -> list[Any]:
    """Return the entries of a description of a product state, one per site.

    Raises
    ------
    InputError
        If it is not a list, or one of another length.
    """
    if not isinstance(initial, Iterable) or isinstance(initial, Mapping):
        raise InputError(
            f"Argument `initial` must be a name, a list with one entry per site or a state, but is {initial!r}.",
            field="initial",
        )
    entries = list(initial)
    if len(entries) != lattice.L:
        raise InputError(
            f"Argument `initial` must have one entry per site ({lattice.L}), but has {len(entries)}.", field="initial"
        )
    return entries


def _named(space: LocalSpace, name: str) -> np.ndarray:
    d = int(space.dim)
    if name == "mixed":
        return np.eye(d) / d
    spin_only = {"up": 0, "down": d - 1}
    if name in spin_only:
        if space.kind != "spin":
            raise InputError(f"Initial state {name!r} is for spins; use 'vacuum' or occupations.", field="initial")
        return _basis_state(d, spin_only[name])
    if name == "vacuum":
        if space.number is None:
            raise InputError(f"The space {space.label} has no number operator, hence no 'vacuum'.", field="initial")
        return _basis_state(d, int(np.argmin(space.number)))
    raise InputError(
        f"Unknown initial state {name!r}; {did_you_mean(name, ['up', 'down', 'vacuum', 'mixed'])}", field="initial"
    )


def _basis_state(d: int, k: int) -> np.ndarray:
    rho = np.zeros((d, d))
    rho[k, k] = 1.0
    return rho


def _local(space: LocalSpace, entry: Any, site: int) -> np.ndarray:
    d = int(space.dim)
    if isinstance(entry, str):
        return _named(space, entry)
    try:
        array = np.asarray(entry, dtype=complex)
    except (TypeError, ValueError):
        raise InputError(
            f"Initial state of site {site} must be a name, an occupation, a vector of length {d} or a {d} x {d} "
            f"matrix, but is {entry!r}.",
            field="initial",
        ) from None
    if array.ndim == 0:
        if space.number is None or array.real not in space.number or array.imag:
            raise InputError(
                f"Initial occupation {entry!r} of site {site} is not one of {space.number}.", field="initial"
            )
        return _basis_state(d, space.number.index(float(array.real)))
    if array.shape == (d,):
        norm = np.linalg.norm(array)
        if not np.isfinite(norm) or norm == 0:
            raise InputError(f"Initial state vector of site {site} cannot be normalised.", field="initial")
        return np.outer(array, array.conj()) / norm**2
    if array.shape != (d, d):
        raise InputError(
            f"Initial state of site {site} must be an occupation, a vector of length {d} or a {d} x {d} matrix.",
            field="initial",
        )
    if not np.allclose(array, array.conj().T, atol=1e-12) or not np.isclose(np.trace(array).real, 1, atol=1e-10):
        raise InputError(f"Initial density matrix of site {site} must be Hermitian with trace 1.", field="initial")
    if np.linalg.eigvalsh(array).min() < -1e-10:
        raise InputError(f"Initial density matrix of site {site} has a negative eigenvalue.", field="initial")
    return array


def refuse_dense(D: float, limit: int = 4096) -> None:
    """Raise when a (D, D) matrix would be too large to write out."""
    if limit < D:
        raise NotSupportedError(
            f"The whole density matrix would be {D:.3g} x {D:.3g}; it is written out only up to {limit} x {limit}. "
            "Ask for reduced density matrices instead.",
            field="to_dense",
        )
