"""What a model looks like in charge sectors: unitaries of bonds, maps of sites, and whether all of it is real."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from ...lattice import Chain
from ...model import Lindbladian
from ...superoperator.terms import product_matrices
from ...symmetry import support_matrices
from .charges_layout import span

__all__ = ["ChargeModel", "charge_model"]

NEGLIGIBLE = 1e-13


@dataclass(frozen=True, eq=False)
class ChargeModel:
    """The generator of an open chain that conserves q = sum (n_j - n_j'), in the gauge a_j -> e^{i theta_j} a_j.

    Attributes
    ----------
    dims
        Levels of every site.
    order
        Local basis states of every site by ascending number.
    angles
        theta_j, (L,).
    bonds
        For every bond the Hermitian blocks of N = n_1 + n_2, or None; the Hamiltonian of a site is shared by its bonds.
    sites
        For every site the dissipator on k = min(n, n') at q = 0, 1, ..., or None.
    real
        Whether -iH and all dissipators are real in this gauge.
    rate
        Largest spectral range of a bond or rate of a site.
    """

    dims: tuple[int, ...]
    order: tuple[np.ndarray, ...]
    angles: np.ndarray
    bonds: tuple[tuple[np.ndarray, ...] | None, ...]
    sites: tuple[tuple[np.ndarray, ...] | None, ...]
    real: bool
    rate: float

    def unitary(self, bond: int, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Return exp(-iHt) as blocks one after another, and where the block of every N begins."""
        blocks = self.bonds[bond]
        assert blocks is not None
        parts = []
        for h in blocks:
            e, v = np.linalg.eigh(h)
            u = (v * np.exp(-1j * time * e)) @ v.conj().T
            parts.append((u.real if self.real else u).ravel())
        starts = np.concatenate([[0], np.cumsum([len(p) for p in parts])[:-1]]).astype(np.int64)
        return np.ascontiguousarray(np.concatenate(parts)), starts

    def site_map(self, site: int, time: float) -> tuple[np.ndarray, ...]:
        """Return exp(D t) of a site at q = 0, 1, ..."""
        blocks = self.sites[site]
        assert blocks is not None
        return tuple(scipy.linalg.expm(time * k) for k in blocks)


def charge_model(model: Lindbladian) -> ChargeModel | str:
    """Return the model in charge sectors, or the sentence that says why there are none."""
    lattice = model.lattice
    if not isinstance(lattice, Chain) or lattice.periodic or model.L < 2 or not lattice.is_bounded:
        return "charge blocks need an open chain of at least two sites of finite dimension"
    order = []
    for j, space in enumerate(lattice.spaces):
        number = None if space.number is None else np.asarray(space.number)
        ranks = None if number is None else np.argsort(number, kind="stable")
        if number is None or ranks is None or not np.allclose(np.diff(number[ranks]), 1.0):
            return f"charge blocks need sites with a charge N in steps of one, but site {j} is not of this kind"
        order.append(ranks)
    dims = tuple(int(d) for d in lattice.dims)
    try:
        local, pairs = _hamiltonian(model, dims, order)
        sites = _dissipators(model, dims, order)
    except _RefusedError as problem:
        return str(problem)
    _add_to_bonds(local, pairs, dims)
    angles = np.zeros(model.L)
    for j, h in enumerate(pairs):
        turn = _gauge(h, dims[j], dims[j + 1])
        angles[j + 1] = np.remainder(angles[j] + turn, 2 * np.pi)
        if h is not None:  # a common angle does nothing
            phase = np.exp(-1j * turn * (np.arange(len(h)) % dims[j + 1]))
            pairs[j] = phase[:, None] * h * phase.conj()
    scale = max((np.abs(h).max() for h in pairs if h is not None), default=0.0)
    real = all(h is None or np.abs(h.real).max() <= NEGLIGIBLE * scale for h in pairs)
    real &= all(k is None or all(np.abs(x.imag).max() <= NEGLIGIBLE * np.abs(k[0]).max() for x in k) for k in sites)
    maps = tuple(None if k is None else tuple(x.real.copy() if real else x for x in k) for k in sites)
    bonds = tuple(None if h is None else _blocks(h, dims[j], dims[j + 1]) for j, h in enumerate(pairs))
    ranges = [np.ptp([e for b in blocks for e in np.linalg.eigvalsh(b)]) for blocks in bonds if blocks is not None]
    rates = [np.abs(np.linalg.eigvals(x)).max() for k in sites if k is not None for x in k]
    return ChargeModel(dims, tuple(order), angles, bonds, maps, real, float(max([*ranges, *rates], default=0.0)))


class _RefusedError(Exception):
    pass


def _hamiltonian(
    model: Lindbladian, dims: tuple[int, ...], order: list[np.ndarray]
) -> tuple[list[np.ndarray], list[Any]]:
    local = [np.zeros(d) for d in dims]
    pairs: list[Any] = [None] * (len(dims) - 1)
    for sites, matrix in support_matrices(model.lattice, model.hamiltonian).items():
        if not sites:
            continue
        if len(sites) > 2 or sites[-1] - sites[0] > 1:
            raise _RefusedError(f"charge blocks need nearest neighbours, but H has a term on the sites {sites}")
        n = [np.arange(dims[s]) for s in sites]
        chosen = np.ravel_multi_index(np.ix_(*(order[s] for s in sites)), [dims[s] for s in sites]).ravel()
        h = matrix[np.ix_(chosen, chosen)]
        total = np.sum(np.meshgrid(*n, indexing="ij"), axis=0).ravel()
        if np.abs(h[total[:, None] != total]).max(initial=0.0) > NEGLIGIBLE * np.abs(h).max():
            raise _RefusedError(f"the Hamiltonian on sites {sites} does not conserve the sum of all N")
        if len(sites) == 1:
            local[sites[0]] += np.diag(h).real
        else:
            pairs[sites[0]] = h if pairs[sites[0]] is None else pairs[sites[0]] + h
    return local, pairs


def _add_to_bonds(local: list[np.ndarray], pairs: list[Any], dims: tuple[int, ...]) -> None:
    """Share the Hamiltonian of every site, less a common frequency, which does nothing, by its bonds."""
    common = local[0][1] - local[0][0]
    for s, h in enumerate(local):
        rest = h - common * np.arange(dims[s]) - h[0]
        if np.abs(rest).max() <= NEGLIGIBLE * max(np.abs(h).max(), 1.0):
            continue
        hosts = [b for b in (s - 1, s) if 0 <= b < len(pairs)]
        for b in hosts:
            one = np.diag(rest) / len(hosts)
            other = np.eye(dims[b + 1 if s == b else b])
            term = np.kron(one, other) if s == b else np.kron(other, one)
            pairs[b] = term.astype(complex) if pairs[b] is None else pairs[b] + term


def _dissipators(model: Lindbladian, dims: tuple[int, ...], order: list[np.ndarray]) -> list[Any]:
    out: list[Any] = [None] * len(dims)
    total: dict[int, np.ndarray] = {}
    for number, jump in enumerate(model.jumps):
        if jump.rate == 0:
            continue
        where = sorted({s for key, _ in jump.operator for _, s in key})
        if len(where) > 1:
            raise _RefusedError(f"charge blocks need jumps on single sites, but jump {number} acts on {where}")
        if not where:
            continue
        (s,) = where
        d = dims[s]
        a = sum(c * product_matrices(model.lattice.spaces, key).get(s, np.eye(d)) for key, c in jump.operator)
        a = np.asarray(a)[np.ix_(order[s], order[s])]
        loss = a.conj().T @ a
        k = np.kron(a, a.conj()) - 0.5 * (np.kron(loss, np.eye(d)) + np.kron(np.eye(d), loss.T))
        total[s] = total.get(s, np.zeros((d * d, d * d))) + jump.rate * k
    for s, k in total.items():
        d = dims[s]
        n, m = np.divmod(np.arange(d * d), d)
        q = n - m
        if np.abs(k[q[:, None] != q]).max(initial=0.0) > NEGLIGIBLE * np.abs(k).max():
            raise _RefusedError(f"the jumps on site {s} do not conserve the weak charge n - n'")
        out[s] = tuple(k[np.ix_(q == c, q == c)] for c in range(d))
    return out


def _gauge(h: np.ndarray | None, d1: int, d2: int) -> float:
    """Return theta_2 - theta_1 that turns the hopping amplitude c a_1^+ a_2 into i |c|."""
    if h is None:
        return 0.0
    n1 = np.arange(len(h)) // d2
    raising = np.where(n1[:, None] - n1 == 1, h, 0.0)
    c = raising.ravel()[np.abs(raising).argmax()]
    return float(np.pi / 2 - np.angle(c)) if c else 0.0


def _blocks(h: np.ndarray, d1: int, d2: int) -> tuple[np.ndarray, ...]:
    out = []
    for N in range(d1 + d2 - 1):
        n1 = np.arange(*span(N, d1, d2))
        index = n1 * d2 + N - n1
        block = h[np.ix_(index, index)]
        out.append((block + block.conj().T) / 2)
    return tuple(out)
