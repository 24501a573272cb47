"""Checks that are the same for every method: what a state says about itself.

They use nothing but expectation values and small reduced density matrices, so they hold for every representation.  A
check passed is necessary, not sufficient: it bounds the error from below.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from .errors import NotSupportedError
from .lattice import Chain, Lattice
from .model import Lindbladian
from .observables import adjoint_action, continuity_current, sources
from .observables.algebra import generator_pieces
from .observables.base import linear
from .operators import OpSum, op
from .result import Certificate, Status
from .states import State
from .superoperator.basis import from_hermitian, operator_vector, to_hermitian
from .superoperator.terms import local_generators

__all__ = ["common_checks", "complete", "judge"]

# An eigenvalue of a reduced matrix is a difference of local expectation values: a state whose local errors are e may
# show -e honestly.  Ten times the claimed error, and never less than 1e-6, is no longer covered by the claim.
NEGATIVE_ALLOWED = 1e-6
NEGATIVE_FACTOR = 10.0
# A trace that has lost or gained half of itself means that what was discarded was the state.
TRACE_ALLOWED = 0.5
# A highest level with more weight than this is not the tail of a distribution that the cutoff leaves alone.
CROWDED = 0.05
_CHECKS = ("trace", "smallest_eigenvalue", "top_population", "current_uniformity", "identity_residual")
_LARGEST_TEXT = 3000  # sites up to which the continuity equation is written out if the method knows d<N_j>/dt itself
_LARGEST_STRADDLE = 5000  # beyond, finding the current of couplings between all sites would cost more than the state
_LARGEST_PAIR = 1024  # two-site matrices above this dimension are not diagonalised
_LARGEST_RATES = 36  # two-site dimension up to which rates from generators as matrices are faster than from the text
_CANCELLED = 1e-13  # a sum this small beside its terms is zero


def common_checks(model: Lindbladian, state: State, only: Collection[str] | None = None) -> dict[str, float | None]:
    """Return the checks that need only the model and a supposed steady state; None where one does not apply.

    ``only`` names those that are wanted; the others are not computed and left out.

    Returns
    -------
    dict
        ``trace``: Tr rho as stored;
        ``smallest_eigenvalue``: of all one-site and neighbouring two-site reduced density matrices;
        ``top_population``: largest population of the highest level of a bosonic site;
        ``current_uniformity``: largest difference of the continuity current between bonds that are joined by sites
        without a source of the charge "N" (chains and rings);
        ``identity_residual``: max_j |<L^dag(N_j)>|, unit rate.

    Examples
    --------
    >>> from mpo_transport.models import boundary_driven_xx
    >>> from mpo_transport.states.dense import DenseState
    >>> model = boundary_driven_xx(L=3, t=1.0, G_L=1.0, f_L=0.5, G_R=1.0, f_R=0.5)
    >>> common_checks(model, DenseState.product(model.lattice, "mixed"))["identity_residual"]
    0.0
    """
    wanted = _CHECKS if only is None else tuple(name for name in _CHECKS if name in only)
    local = model.lattice.is_bounded and set(_CHECKS[1:]) & set(wanted)
    matrices = neighbour_matrices(model.lattice, state) if local else {}
    rates = _pair_rates(model, matrices) if {"current_uniformity", "identity_residual"} & set(wanted) else None
    checks: dict[str, Callable[[], float | None]] = {
        "trace": lambda: float(state.trace()),
        "smallest_eigenvalue": lambda: _smallest_eigenvalue(matrices),
        "top_population": lambda: _top_population(model.lattice, matrices),
        "current_uniformity": lambda: current_uniformity(model, state, rates),
        "identity_residual": lambda: identity_residual(model, state, rates),
    }
    return {name: _if_known(checks[name]) for name in wanted}


def _if_known(check: Callable[[], float | None]) -> float | None:
    try:
        return check()
    except NotSupportedError:  # a state that knows some expectation values only
        return None


def complete(certificate: Certificate, model: Lindbladian, state: State) -> Certificate:
    """Return the certificate with the common checks filled in where the method left them open."""
    missing = {name for name in _CHECKS if getattr(certificate, name) is None}
    if model.L > _LARGEST_TEXT and certificate.identity_residual is not None:
        missing -= {"current_uniformity"}  # its operators alone would take longer than the solution
    filled = dataclasses.replace(certificate, **common_checks(model, state, missing))  # type: ignore[arg-type]
    if filled.top_population is None or not filled.top_population > CROWDED:
        return filled
    return dataclasses.replace(filled, notes=(*filled.notes, _crowded_sentence(model.lattice, state)))


def judge(status: Status, certificate: Certificate) -> Status:
    """Return the status that the certificate allows.

    * ``not_finite`` if the trace or the smallest eigenvalue is not a finite number;
    * ``unphysical`` if the smallest eigenvalue lies below -max(1e-6, 10 x error estimate), or the trace differs from 1
      by more than 1/2;
    * otherwise the status given.  Interrupted and non-unique results keep their status.

    Examples
    --------
    >>> judge(Status.CONVERGED, Certificate(smallest_eigenvalue=-1e-3, error_estimate=1e-6)).value
    'unphysical'
    >>> judge(Status.CONVERGED, Certificate(smallest_eigenvalue=-1e-7, error_estimate=1e-6)).value
    'converged'
    """
    if status in (Status.INTERRUPTED, Status.NOT_FINITE, Status.NOT_UNIQUE):
        return status
    smallest, trace = certificate.smallest_eigenvalue, certificate.trace
    if any(x is not None and not math.isfinite(x) for x in (smallest, trace)):
        return Status.NOT_FINITE
    claimed = certificate.error_estimate
    allowed = NEGATIVE_ALLOWED
    if claimed is not None and math.isfinite(claimed):
        allowed = max(allowed, NEGATIVE_FACTOR * claimed)
    if smallest is not None and smallest < -allowed:
        return Status.UNPHYSICAL
    if trace is not None and abs(trace - 1) > TRACE_ALLOWED:
        return Status.UNPHYSICAL
    return status


# ----------------------------------------------------------------------------------------------------------------------


def neighbour_matrices(lattice: Lattice, state: State) -> dict[tuple[int, ...], np.ndarray]:
    """Return the reduced density matrices of all sites and of all bonds, {sites: (D, D) array}."""
    dims = [int(d) for d in lattice.dims]
    out: dict[tuple[int, ...], np.ndarray] = {}
    offered = getattr(state, "neighbour_coefficients", None)
    if offered is not None:
        order = getattr(state, "order", tuple(range(lattice.L)))
        for (i, j), x in zip(itertools.pairwise(order), offered(), strict=False):
            if dims[i] * dims[j] <= _LARGEST_PAIR:
                out[(i, j)] = from_hermitian(np.asarray(x), (dims[i], dims[j]))
    for i, j in lattice.bonds:
        if (i, j) not in out and (j, i) not in out and dims[i] * dims[j] <= _LARGEST_PAIR:
            try:
                out[(i, j)] = state.reduced([i, j])
            except NotSupportedError:
                continue  # too large for this representation: the one-site matrices below still count
    for (i, j), rho in list(out.items()):
        tensor = rho.reshape(dims[i], dims[j], dims[i], dims[j])
        if (i,) not in out:
            out[(i,)] = np.einsum("abcb->ac", tensor)
        if (j,) not in out:
            out[(j,)] = np.einsum("abad->bd", tensor)
    for j in range(lattice.L):
        if (j,) not in out:
            try:
                out[(j,)] = state.reduced([j])
            except NotSupportedError:
                continue  # a state of unbounded modes on a truncated lattice
    return out


def _smallest_eigenvalue(matrices: Mapping[tuple[int, ...], np.ndarray]) -> float | None:
    groups: dict[int, list[np.ndarray]] = defaultdict(list)
    for rho in matrices.values():
        groups[len(rho)].append(rho)
    smallest = math.inf
    for group in groups.values():
        stack = np.array(group)
        if not np.all(np.isfinite(stack)):
            return math.nan
        smallest = min(smallest, float(np.linalg.eigvalsh(stack).min()))
    return smallest if matrices else None


def _top_population(lattice: Lattice, matrices: Mapping[tuple[int, ...], np.ndarray]) -> float | None:
    sites = [j for j, s in enumerate(lattice.spaces) if s.kind == "boson" and (j,) in matrices]
    return max((float(matrices[(j,)][-1, -1].real) for j in sites), default=None)


def _crowded_sentence(lattice: Lattice, state: State) -> str:
    """Say on which site the cutoff is felt most."""
    sites = [j for j, s in enumerate(lattice.spaces) if s.kind == "boson" and s.is_bounded]
    tops = [float(state.reduced([j])[-1, -1].real) for j in sites]
    worst = int(np.argmax(tops))
    site = sites[worst]
    return (
        f"the highest of the {int(lattice.dims[site])} levels kept on site {site} holds {tops[worst]:.2g} of its "
        "weight: the cutoff decides the answer. Raise `levels`; if the weight stays, the occupation runs away (gain "
        "exceeds loss) and there is no steady state without the cutoff."
    )


@dataclasses.dataclass(frozen=True)
class _PairRates:
    """The continuity equation of "N" in numbers: rates of sites, flows through bonds, sites without a source."""

    rates: dict[int, float]
    flows: np.ndarray
    quiet: tuple[int, ...]


def _pair_rates(model: Lindbladian, matrices: Mapping[tuple[int, ...], np.ndarray]) -> _PairRates | None:
    """Return the rates by which the generators of sites and of bonds change N, None if there are others.

    The same numbers as those of :func:`~mpo_transport.observables.continuity_current` and
    :func:`~mpo_transport.observables.sources`, without writing the operators out: for a generator G of a bond the
    operators G^T(N_i), G^T(N_j) are rows in the Hermitian basis, and (G^T(N_j) - G^T(N_i))/2 is the flow.
    """
    lattice = model.lattice
    charged = [j for j, s in enumerate(lattice.spaces) if s.has("N")]
    index = {tuple(sorted(bond)): b for b, bond in enumerate(lattice.bonds)}
    if not lattice.is_bounded or not charged or len(index) < len(lattice.bonds):
        return None
    if any(len(s) > 2 or (len(s) == 2 and s not in index) for s in model.supports):
        return None
    if any(lattice.dims[i] * lattice.dims[j] > _LARGEST_RATES for i, j in lattice.bonds):
        return None
    dims = [int(d) for d in lattice.dims]
    number = {j: np.real(operator_vector(lattice.spaces[j].matrix("N"))) for j in charged}
    rates = dict.fromkeys(charged, 0.0)
    flows = np.zeros(len(lattice.bonds))
    found: dict[int, dict[tuple[int, ...], Any]] = {j: defaultdict(float) for j in charged}
    sizes = dict.fromkeys(charged, 0.0)
    for sites, generator in local_generators(model).items():
        x = _coefficients(matrices, sites, dims)
        if x is None:
            return None
        rows = {}
        for place, j in enumerate(sites):
            if j in number:
                rows[j] = _on(number[j], place, [dims[s] for s in sites]) @ generator
                rates[j] += float(rows[j] @ x)
        moved = np.zeros(len(generator))
        if len(sites) == 2:
            first, second = lattice.bonds[index[sites]]
            moved = (rows.get(second, moved) - rows.get(first, moved)) / 2
            flows[index[sites]] += float(moved @ x)
            sources = {j: row - (moved if j == second else -moved) for j, row in rows.items()}
        else:
            sources = rows
        for j, source in sources.items():
            sizes[j] = max(sizes[j], float(np.abs(rows[j]).max(initial=0.0)), float(np.abs(moved).max(initial=0.0)))
            for part, values in _by_support(source, sites, dims):
                found[j][part] = found[j][part] + values
    quiet = tuple(j for j in charged if all(np.all(np.abs(v) <= _CANCELLED * sizes[j]) for v in found[j].values()))
    return _PairRates(rates, flows, quiet)


def _coefficients(
    matrices: Mapping[tuple[int, ...], np.ndarray], sites: tuple[int, ...], dims: list[int]
) -> np.ndarray | None:
    """Return the reduced density matrix of sorted sites in the Hermitian basis."""
    if sites in matrices:
        return np.real(to_hermitian(matrices[sites], [dims[s] for s in sites])).ravel()
    if sites[::-1] in matrices:
        return np.real(to_hermitian(matrices[sites[::-1]], [dims[s] for s in sites[::-1]])).T.ravel()
    return None


def _on(vector: np.ndarray, place: int, dims: list[int]) -> np.ndarray:
    """Return the row of an operator on one of the sites: that of the identity is (sqrt(d), 0, ...)."""
    parts = [vector if k == place else np.eye(1, d * d)[0] * math.sqrt(d) for k, d in enumerate(dims)]
    return functools.reduce(np.multiply.outer, parts).ravel()


def _by_support(row: np.ndarray, sites: tuple[int, ...], dims: list[int]) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """Return the parts of an operator that act on some of the sites only, the others traced out."""
    if len(sites) == 1:
        return [((), row[:1] / math.sqrt(dims[sites[0]])), (sites, row[1:])]
    (i, j), units = sites, [math.sqrt(dims[s]) for s in sites]
    table = row.reshape(dims[i] ** 2, dims[j] ** 2)
    return [
        ((), table[:1, 0] / (units[0] * units[1])),
        ((i,), table[1:, 0] / units[1]),
        ((j,), table[0, 1:] / units[0]),
        (sites, table[1:, 1:]),
    ]


def current_uniformity(model: Lindbladian, state: State, known: _PairRates | None = None) -> float | None:
    """Return the largest spread of the current of "N" over bonds that must carry the same one in a steady state.

    Two bonds that meet at a site without a source of N (see :func:`~mpo_transport.observables.sources`) carry the same
    steady current.  None where no site joins two bonds in this way: sources everywhere, no charge, a graph; nor for
    couplings of long range between many sites, whose text would be too long.
    """
    lattice = model.lattice
    if not isinstance(lattice, Chain) or not all(s.has("N") for s in lattice.spaces) or len(lattice.bonds) < 2:
        return None
    if model.range > 2 and sum(len(p.sites) and p.sites[-1] - p.sites[0] for p in generator_pieces(model)) > (
        _LARGEST_STRADDLE
    ):
        return None
    if known is not None:
        quiet = list(known.quiet)
    else:
        quiet = [j for j, s in enumerate(sources(model).operators) if not s]
    ends = {j: b for b, (_, j) in enumerate(lattice.bonds)}
    starts = {i: b for b, (i, _) in enumerate(lattice.bonds)}
    segment = list(range(len(lattice.bonds)))
    for j in quiet:
        if j in ends and j in starts:
            a, b = segment[ends[j]], segment[starts[j]]
            segment = [a if s == b else s for s in segment]
    groups: dict[int, list[int]] = defaultdict(list)
    for bond, s in enumerate(segment):
        groups[s].append(bond)
    joined = [g for g in groups.values() if len(g) > 1]
    if not joined:
        return None
    values = known.flows if known is not None else np.asarray(continuity_current(model).evaluate(state))
    return max(float(np.ptp(values[g])) for g in joined)


def identity_residual(model: Lindbladian, state: State, known: _PairRates | None = None) -> float | None:
    """Return max_j |<L^dag(N_j)>| = max_j |d<N_j>/dt|, zero in an exact steady state; None if no site has an "N"."""
    if known is not None:
        return max(abs(x) for x in known.rates.values())
    spaces = model.lattice.spaces
    by_site: list[list[Any]] = [[] for _ in spaces]
    for piece in generator_pieces(model):
        for s in piece.sites:
            by_site[s].append(piece)
    moved: list[OpSum] = [
        adjoint_action(model, op("N", j), pieces=by_site[j]) for j, space in enumerate(spaces) if space.has("N")
    ]
    if not moved:
        return None
    values = linear("rate_of_N", model.lattice, moved, dimension="site").evaluate(state)
    return float(np.max(np.abs(values)))
