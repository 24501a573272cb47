"""Where relaxation in charge sectors starts: products near thermal states, and long chains grown from short ones."""

from __future__ import annotations

import dataclasses

import numpy as np

from ...lattice import Lattice
from ...states import MPOState
from ...superoperator.train import robust_svd
from .charges_model import ChargeModel

__all__ = ["effective_rate", "grown", "short_chain", "thermal_populations", "thermal_start"]

# Probability of more quanta than those that the effective rate counts.
RARE = 1e-2
# Schmidt values below this share of the largest are not inverted when a chain is grown.
SMALLEST = 1e-8
EQUAL = 1e-12


def thermal_start(lattice: Lattice, model: ChargeModel) -> MPOState:
    """Return a product of stationary states of the single sites; where a site has none, thermal ones in between.

    The mean occupation of a site without a stationary state of its own is interpolated between its neighbours that
    have one, its populations fall geometrically.
    """
    local = thermal_populations(model)
    if local is None:
        return MPOState.mixed(lattice)
    out = []
    for order, p in zip(model.order, local, strict=True):
        rho = np.zeros((len(p), len(p)))
        rho[order, order] = p
        out.append(rho)
    return MPOState.product(lattice, out)


def thermal_populations(model: ChargeModel) -> list[np.ndarray] | None:
    """Return the populations of the product of :func:`thermal_start`, by ascending number; None: no site has any."""
    populations = [_stationary(k) for k in model.sites]
    known = [j for j, p in enumerate(populations) if p is not None]
    if not known:
        return None
    means = [float(p @ np.arange(len(p))) for p in populations if p is not None]
    out = []
    for j, (p, d) in enumerate(zip(populations, model.dims, strict=True)):
        n = float(np.interp(j, known, means))
        q = np.maximum((n / (1 + n)) ** np.arange(d) if p is None else p, 0.0)
        out.append(q / q.sum())
    return out


def effective_rate(model: ChargeModel) -> float:
    """Return the stiffest local rate among states with as many quanta as are likely: a scale for time steps.

    The norm of a bosonic term grows with the cutoff, the error of a step does not.
    """
    local = thermal_populations(model)
    if local is None:
        return model.rate
    rates = [0.0]
    for b, blocks in enumerate(model.bonds):
        if blocks is not None:
            top = _likely(np.convolve(local[b], local[b + 1]))
            values = np.concatenate([np.linalg.eigvalsh(h) for h in blocks[: top + 1]])
            rates.append(float(np.ptp(values)))
    for k, p in zip(model.sites, local, strict=True):
        if k is not None:
            top = _likely(p) + 1
            rates += [float(np.abs(np.linalg.eigvals(x[: top + 1, : top + 1])).max()) for x in k]
    return max(rates) or model.rate


def _likely(p: np.ndarray) -> int:
    """Return the number of quanta that is rarely exceeded, at least 1."""
    return max(1, int(np.count_nonzero(np.cumsum(p) < 1 - RARE)))


# ----------------------------------------------------------------------------------------------------------------------


def short_chain(model: ChargeModel, n: int) -> ChargeModel | None:
    """Return the chain of ``n`` sites with the same ends; None if the sites in between are not all alike.

    ``n`` is even if the length is: the layers of the ends are the same then.
    """
    L = len(model.dims)
    inner = [b for b in range(1, L - 2)]
    alike = len(set(model.dims)) == 1 and all(_same(model.bonds[b], model.bonds[inner[0]]) for b in inner)
    alike = alike and all(_same(model.sites[s], model.sites[1]) for s in range(1, L - 1))
    if not alike or n >= L or (L - n) % 2 or any(b is None for b in model.bonds):
        return None
    c = n // 2
    keep = [*range(c), *range(L - n + c, L)]
    bonds = [*model.bonds[:c], *model.bonds[L - n + c :]]
    return dataclasses.replace(
        model,
        dims=tuple(model.dims[s] for s in keep),
        order=tuple(model.order[s] for s in keep),
        angles=np.array([model.angles[s] if s < c else model.angles[s - (L - n)] for s in keep]),
        bonds=tuple(bonds),
        sites=tuple(model.sites[s] for s in keep),
    )


def grown(short: MPOState, longer: MPOState, lattice: Lattice) -> MPOState:
    """Return the state of a long chain from those of n and n + 2 sites with the same ends, n even or odd like it.

    With x_n = U S V, U and V orthonormal frames of the left and right parts of the shortest chain,

        x_{n+2k} = U M^k S V,      M = (U^T x_{n+2} V^T) S^-1

    if the states of all lengths are matrix products with the same tensors in the bulk; see
    :mod:`mpo_transport.methods.growth`, which does the same with exact solutions.
    """
    n, L = short.L, lattice.L
    c = n // 2
    a = [np.array(t) for t in short.canonicalise(c).tensors]
    m, q, r = a[c].shape
    u, s, v = robust_svd(a[c].reshape(m, q * r))
    k = int(np.count_nonzero(s > SMALLEST * s[0]))
    u, s, v = u[:, :k], s[:k], v[:k]
    a[c - 1] = np.tensordot(a[c - 1], u, axes=(2, 0))
    a[c] = v.reshape(k, q, r)
    x = longer.tensors
    left, right = np.ones((1, 1)), np.ones((1, 1))
    for p in range(c):
        left = np.tensordot(np.tensordot(left, a[p], axes=(0, 0)), x[p], axes=((0, 1), (0, 1)))
    for p in range(1, n - c + 1):
        right = np.tensordot(np.tensordot(a[-p], right, axes=(2, 0)), x[-p], axes=((1, 2), (1, 2)))
    cell = [np.tensordot(left, x[c], axes=(1, 0)), np.tensordot(x[c + 1], right, axes=(2, 1)) / s]
    a[c] = s[:, None, None] * a[c]
    tensors = (*a[:c], *(cell * ((L - n) // 2)), *a[c:])
    return MPOState(lattice, tensors).canonicalise(0).normalised()


def _same(a: tuple[np.ndarray, ...] | None, b: tuple[np.ndarray, ...] | None) -> bool:
    if a is None or b is None:
        return a is b
    return len(a) == len(b) and all(
        x.shape == y.shape and np.abs(x - y).max(initial=0.0) <= EQUAL * max(np.abs(y).max(initial=0.0), 1e-300)
        for x, y in zip(a, b, strict=True)
    )


def _stationary(maps: tuple[np.ndarray, ...] | None) -> np.ndarray | None:
    """Return the populations that a dissipator leaves alone, None if they are not unique."""
    if maps is None:
        return None
    values, vectors = np.linalg.eig(maps[0].real)
    size = np.abs(values)
    if np.count_nonzero(size <= 1e-10 * max(size.max(), 1e-300)) != 1:
        return None
    p = np.real(vectors[:, int(size.argmin())])
    return p / p.sum()
