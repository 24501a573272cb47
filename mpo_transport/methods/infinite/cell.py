"""The unit cell of a ring that is read as an infinite chain: generators on its bonds, and the gates of a step.

One-site terms are shared between the two bonds of a site, so that the Lindbladian is a sum over bonds.  Even and odd
bonds are the two layers of a splitting; a cell with an odd number of sites is therefore taken twice.
"""

from __future__ import annotations

import numpy as np

from ...errors import NotSupportedError
from ...lattice import Chain
from ...model import Lindbladian
from ...superoperator import gate, spectral_radius
from ...superoperator.terms import local_generators, pair_generators
from ..tebd.plan import LARGEST_GATES, gate_bytes, gate_refusal, gathered_supports
from ..tebd.splitting import layer_sequence

__all__ = ["Cell", "build_cell", "refusal"]

# Generators that differ by less than this, relative to the largest entry, are the same.
EQUAL = 1e-13


class Cell:
    """Generators of an even number of bonds; bond k joins the sites k and k+1, the last one the site of the next cell.

    Attributes
    ----------
    generators
        One real matrix of shape (d_k^2 d_{k+1}^2, same) per bond, first site slowest.
    legs
        d^2 per site.
    period
        Sites after which the generators repeat (half of the cell where that number is odd).
    rate
        Largest modulus of an eigenvalue of a generator: the stiffest local rate Lambda.
    kind
        "exact" if all bonds of one layer vanish (no splitting error), else "layers".
    """

    def __init__(self, generators: tuple[np.ndarray, ...], legs: tuple[int, ...]) -> None:
        self.period = len(generators)
        copies = 1 + self.period % 2
        self.generators, self.legs = generators * copies, legs * copies
        self.rate = max(spectral_radius(g) for g in generators)
        layers = [any(np.any(g) for g in self.generators[k::2]) for k in (0, 1)]
        self.kind = "layers" if all(layers) else "exact"
        self.order: tuple[int, ...] = ()
        self._gates: dict[tuple[int, float], list[np.ndarray]] = {}

    @property
    def sites(self) -> int:
        """Number of sites, even."""
        return len(self.generators)

    def layers(self, dt: float, order: int, steps: int) -> list[tuple[int, list[np.ndarray]]]:
        """Return (0 or 1, gates on the bonds 0, 2, .. or 1, 3, ..) of all layers of ``steps`` steps of length ``dt``.

        Raises
        ------
        InputError
            Field ``dt``, if a gate overflows.
        """
        return [(k, self._layer(k, fraction * dt)) for k, fraction in layer_sequence(order, steps)]

    def _layer(self, which: int, time: float) -> list[np.ndarray]:
        key = (which, time)
        if key not in self._gates:
            if len(self._gates) > 64:
                self._gates.clear()
            self._gates[key] = [gate(g, time) for g in self.generators[which::2]]
        return self._gates[key]

    def flops_per_step(self, bond: int, order: int, iterations: int) -> float:
        """Return a rough count of operations of one step: an SVD and a few environments per bond."""
        block = max(a * b for a, b in zip(self.legs, (*self.legs[1:], self.legs[0]), strict=True))
        size = bond * block**0.5
        each = 25.0 * size**3 + 24.0 * block * bond**3 + 2.0 * block**2 * bond**2 + 3e6
        return (len(layer_sequence(order, 1)) - 1) * 0.5 * self.sites * each


def refusal(model: Lindbladian, period: int | None) -> str:
    """Return why a model cannot be read as an infinite chain, or ""."""
    lattice = model.lattice
    if not lattice.is_bounded:
        return "InfiniteTEBD needs sites of finite dimension; give `levels` a number (for example levels=4)."
    if not isinstance(lattice, Chain) or not lattice.periodic:
        return (
            "InfiniteTEBD reads a ring as a stretch of the infinite chain; write the model with periodic=True (an open "
            "chain or a graph has ends or no repeating bonds)."
        )
    L = model.L
    far = next((s for s in gathered_supports(model) if not _on_a_bond(s, L)), None)
    if far is not None:
        return (
            f"a term acts on the sites {', '.join(map(str, far))}: InfiniteTEBD is for terms on neighbouring sites; "
            "use TEBD on finite rings of growing length."
        )
    size, sites = gate_bytes(model)
    if size > LARGEST_GATES:
        return gate_refusal(size, sites)
    if period is not None and L % period:
        return f"the unit cell of {period} sites does not divide the ring of {L}."
    strong = [str(s) for s in model.conserved if s.strength == "strong"]
    if strong:
        return (
            f"the model has strong symmetries ({'; '.join(strong)}), hence a stationary state for every density of the "
            "conserved charge."
        )
    if _period(model, period) is None:
        if period is not None:
            return f"its generators do not repeat after {period} sites."
        return (
            f"the generators on the {L} bonds of the ring do not repeat within it, so it shows no translation "
            f"invariance; write at least two unit cells, or give cell={L} to repeat the whole ring."
        )
    return ""


def build_cell(model: Lindbladian, period: int | None) -> Cell:
    """Return the unit cell of a ring.

    Raises
    ------
    NotSupportedError
        With the sentence of :func:`refusal`.
    """
    reason = refusal(model, period)
    if reason:
        raise NotSupportedError(f"Method InfiniteTEBD does not support this model: {reason}", field="method")
    p = _period(model, period)
    assert p is not None
    legs = tuple(int(model.lattice.dims[k]) ** 2 for k in range(p))
    return Cell(tuple(_bond_generators(model)[:p]), legs)


def _on_a_bond(sites: tuple[int, ...], L: int) -> bool:
    return len(sites) == 1 or (len(sites) == 2 and (sites[1] - sites[0]) in (1, L - 1))


def _bond_generators(model: Lindbladian) -> list[np.ndarray]:
    """Return the generators of the bonds (0, 1), ..., (L-1, 0), first site of the bond slowest."""
    dims, L = tuple(int(d) for d in model.lattice.dims), model.L
    pairs = pair_generators(local_generators(model), dims)
    out = []
    for j in range(L):
        a, b = dims[j] ** 2, dims[(j + 1) % L] ** 2
        total = np.zeros((a * b, a * b))
        if j < L - 1 and (j, j + 1) in pairs:
            total += pairs[(j, j + 1)]
        elif j == L - 1 and (0, L - 1) in pairs:
            total += pairs[(0, L - 1)].reshape(b, a, b, a).transpose(1, 0, 3, 2).reshape(a * b, a * b)
        if (j,) in pairs:  # a site without couplings
            total += np.kron(pairs[(j,)], np.eye(b))
        out.append(total)
    return out


def _period(model: Lindbladian, given: int | None) -> int | None:
    """Return the smallest number of sites after which spaces and generators repeat, below L; or the one given."""
    h, dims, L = _bond_generators(model), model.lattice.dims, model.L
    scale = max(np.abs(g).max() for g in h)

    def repeats(p: int) -> bool:
        same = all(dims[k] == dims[(k + p) % L] for k in range(L))
        return same and all(np.abs(h[k] - h[(k + p) % L]).max() <= EQUAL * scale for k in range(L))

    if given is not None:
        return given if repeats(given) else None
    return next((p for p in range(1, L) if L % p == 0 and repeats(p)), None)
