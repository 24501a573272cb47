"""Rings straight from one unit cell, without a written-out model: a hundred thousand cells in seconds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from ...errors import InputError
from ...lattice import Chain
from ...operators import Boson
from ...states.gaussian_ring import RingGaussianState
from ...superoperator.quadratic import QuadraticForm
from .ring import RingEquations, ring_equations
from .work import solve_ring

__all__ = ["ring_of_cells", "ring_steady_state", "with_cells"]

Coupling = Mapping[int, Any]


def ring_of_cells(
    cells: int,
    *,
    hopping: Coupling,
    pairing: Coupling | None = None,
    jumps: Sequence[tuple[float, Coupling, Coupling]],
    phases: Any = None,
) -> RingEquations:
    """Return the moment equations of a ring of equal cells of m modes b_(l, x).

        H   = sum_l sum_d [ b_l^+ h_d b_(l+d) + ( b_l^+ k_d b_(l+d)^+ + h.c. )/2 ]
        L_l = sum_d [ u_d b_(l+d) + v_d b_(l+d)^+ ]   with the rate r, one per cell for every entry of ``jumps``

    Parameters
    ----------
    cells
        Number of cells n; more than twice the range of everything.
    hopping
        {d: h_d}, matrices (m, m); of d and -d one is enough (h_-d = h_d^+ is added), h_0 is Hermitian.
    pairing
        {d: k_d}, matrices (m, m); k_-d = k_d^T is added, k_0 is symmetric.
    jumps
        Tuples (r, {d: u_d}, {d: v_d}) with vectors (m,).
    phases
        chi, shape (m,): the modes of the lattice are a_(l, x) = e^{i chi_x l} b_(l, x).  None: zero.

    Raises
    ------
    InputError
        For shapes that do not fit, matrices without the symmetry stated, or too few cells.

    Examples
    --------
    >>> hop = {1: np.array([[0.5]])}
    >>> ring = ring_of_cells(1000, hopping=hop, jumps=[(2.0, {0: [1.0]}, {}), (1.0, {}, {0: [1.0]})])
    >>> ring_steady_state(ring).occupations()[:2].round(12)
    array([1., 1.])
    """
    m = len(np.atleast_2d(next(iter(hopping.values()))))
    hops, pairs = _completed(hopping, m, "hopping", 1), _completed(pairing or {}, m, "pairing", -1)
    vectors = [(rate, _vectors(u, m), _vectors(v, m)) for rate, u, v in jumps]
    if any(not np.isfinite(rate) or rate < 0 for rate, _, _ in vectors):
        raise InputError("Argument `jumps` must hold finite rates >= 0.", field="jumps")
    reach = max((abs(d) for t in (hops, pairs, *(x for _, u, v in vectors for x in (u, v))) for d in t), default=0)
    n = 4 * reach + 3
    form = QuadraticForm(
        Chain(n * m, Boson(math.inf)),
        "boson",
        _circulant(hops, n, m),
        _circulant(pairs, n, m),
        np.zeros(n * m, dtype=complex),
        _jump_rows([u for _, u, _ in vectors], n, m),
        _jump_rows([v for _, _, v in vectors], n, m),
        np.zeros(n * len(vectors), dtype=complex),
        np.repeat([float(rate) for rate, _, _ in vectors], n),
        (None,) * (n * len(vectors)),
        (None,) * (n * len(vectors)),
    )
    small = ring_equations(form, cell=m)
    assert small is not None
    chi = np.zeros(m) if phases is None else np.array(phases, dtype=float).reshape(-1)
    if chi.shape != (m,) or not np.all(np.isfinite(chi)):
        raise InputError(f"Argument `phases` needs {m} finite numbers.", field="phases")
    return with_cells(dataclasses.replace(small, phases=chi), cells)


def with_cells(ring: RingEquations, cells: int) -> RingEquations:
    """Return the equations of a ring of another number of cells with the same couplings between the modes b.

    Raises
    ------
    InputError
        If the couplings reach half way round one of the two rings, so that they could not be told from those of the
        other way, or if the phases chi do not close on the new ring (chi n must be a multiple of 2 pi).

    Examples
    --------
    The equations of ten thousand cells from a model of eight, with the same phase gradient of the drive:

    >>> from mpo_transport import models
    >>> from mpo_transport.superoperator import quadratic_form
    >>> cell = dict(J=0.2, Dt=-1.2, G_abs=0.02, gamma_c=0.1, gamma_m=1e-3, nbar=10.0)
    >>> small = ring_equations(quadratic_form(models.optomechanical_ring(8, 2 * math.pi / 8, **cell)))
    >>> ring_steady_state(with_cells(small, 10000)).occupations().shape
    (20000,)
    """
    reach = max((min(d, ring.cells - d) for d in (*ring.drift, *ring.noise)), default=0)
    for n in (ring.cells, cells):
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n <= 2 * reach:
            raise InputError(
                f"Argument `cells` must be an integer above {2 * reach}, twice the range of the couplings, but "
                f"is {n!r}.",
                field="cells",
            )

    def moved(tables: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        return {(d if 2 * d < ring.cells else d - ring.cells) % cells: t for d, t in tables.items()}

    turns = ring.phases * cells / (2 * math.pi)
    if np.abs(turns - np.rint(turns)).max(initial=0.0) > 1e-9 * cells:
        raise InputError(
            f"Argument `cells` = {cells}: the phases {ring.phases.tolist()} of the modes do not close after "
            "so many cells.",
            field="cells",
        )
    return dataclasses.replace(ring, cells=int(cells), drift=moved(ring.drift), noise=moved(ring.noise))


def ring_steady_state(ring: RingEquations) -> RingGaussianState:
    """Return the steady state of a ring of cells, on a periodic chain of unbounded modes.

    Raises
    ------
    UnstableError
        If a mode grows or is not damped.
    """
    L = ring.cells * ring.cell
    state = solve_ring(ring, Chain(L, Boson(math.inf), periodic=L > 2)).state
    assert isinstance(state, RingGaussianState)
    return state


# ----------------------------------------------------------------------------------------------------------------------


def _completed(tables: Coupling, m: int, name: str, kind: int) -> dict[int, np.ndarray]:
    """Return the tables with the partners of every displacement; kind 1: adjoint, -1: transpose."""
    given = {int(d): np.array(np.atleast_2d(t), dtype=complex) for d, t in tables.items()}
    out: dict[int, np.ndarray] = {}
    for d, table in given.items():
        if table.shape != (m, m) or not np.all(np.isfinite(table)):
            raise InputError(f"Argument `{name}` must hold finite matrices, shape ({m}, {m}).", field=name)
        partner = table.conj().T if kind == 1 else table.T
        other = given.get(-d, partner)
        if other.shape != (m, m) or np.abs(other - partner).max() > 1e-12 * max(1.0, np.abs(table).max()):
            raise InputError(
                f"Argument `{name}`: the matrices of the displacements {d} and {-d} must be "
                f"{'adjoint to' if kind == 1 else 'transposes of'} each other.",
                field=name,
            )
        out[d], out[-d] = table, partner
    return out


def _vectors(tables: Coupling, m: int) -> dict[int, np.ndarray]:
    out = {int(d): np.array(t, dtype=complex).reshape(-1) for d, t in tables.items()}
    if any(len(v) != m or not np.all(np.isfinite(v)) for v in out.values()):
        raise InputError(f"Argument `jumps` must hold finite vectors of length {m}.", field="jumps")
    return out


def _circulant(tables: Mapping[int, np.ndarray], n: int, m: int) -> sp.csr_array:
    total = sp.csr_array((n * m, n * m), dtype=complex)
    for d, table in tables.items():
        shift = sp.csr_array((np.ones(n), (np.arange(n), (np.arange(n) + d) % n)), shape=(n, n))
        total = total + sp.kron(shift, sp.csr_array(table), format="csr")
    return sp.csr_array(total)


def _jump_rows(vectors: Sequence[Mapping[int, np.ndarray]], n: int, m: int) -> sp.csr_array:
    rows = [sp.csr_array((0, n * m), dtype=complex)]
    for tables in vectors:
        block = sp.csr_array((n, n * m), dtype=complex)
        for d, v in tables.items():
            shift = sp.csr_array((np.ones(n), (np.arange(n), (np.arange(n) + d) % n)), shape=(n, n))
            block = block + sp.kron(shift, sp.csr_array(v[None, :]), format="csr")
        rows.append(sp.csr_array(block))
    return sp.csr_array(sp.vstack(rows, format="csr"))
