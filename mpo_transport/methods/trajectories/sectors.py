"""Charge sectors in which pure states stay between jumps, and between which every jump moves them by a definite step.

A pure state stays within one sector of a charge Q if H commutes with Q and every jump changes Q by one definite amount.
That is more than a weak symmetry, where different parts of a jump may change Q differently as long as they do not
interfere in the average over all jumps; so the text is analysed with rates that cannot cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...lattice import Lattice
from ...model import Lindbladian
from ...symmetry import Symmetry, conserved_charges

__all__ = ["SectorBasis", "definite_charges", "sector_basis", "strong_sectors", "whole_space"]

_MOST_SECTORS = 128  # a trajectory should meet others in its sector, with which it is advanced as a block
_SMALL = 32  # spaces that gain nothing from being split


@dataclass(frozen=True, eq=False)
class SectorBasis:
    """The basis states of a lattice, sorted by charge.

    Attributes
    ----------
    indices
        Positions of the basis states of every sector among all D, ascending.
    label
        Sector of every basis state, shape (D,).
    symmetries
        The charges that label the sectors.
    """

    indices: tuple[np.ndarray, ...]
    label: np.ndarray
    symmetries: tuple[Symmetry, ...] = ()

    @property
    def width(self) -> int:
        """Size of the largest sector."""
        return max(len(b) for b in self.indices)

    def sector_of(self, psi: np.ndarray) -> int | None:
        """Return the sector that holds a vector, shape (D,), or None if it spreads over several."""
        labels = self.label[np.flatnonzero(psi)]
        return int(labels[0]) if len(labels) and np.all(labels == labels[0]) else None


def definite_charges(model: Lindbladian) -> tuple[Symmetry, ...]:
    """Return the charges and parities that H conserves and that every jump changes by one definite amount.

    >>> from mpo_transport.models import persistent_current
    >>> [str(s) for s in definite_charges(persistent_current(4, 2.0, 1.0))]
    ['weak Z2: (-1)^(N(0) + N(1) + N(2) + N(3))']
    """
    golden = (5**0.5 - 1) / 2
    generic = [(j.operator, 1 + (k * golden) % 1) for k, j in enumerate(j for j in model.jumps if j.rate > 0)]
    return conserved_charges(model.lattice, model.hamiltonian, generic)


def whole_space(lattice: Lattice) -> SectorBasis:
    """Return the basis with a single sector."""
    D = int(np.prod(lattice.dims))
    return SectorBasis((np.arange(D),), np.zeros(D, dtype=np.int64))


def sector_basis(model: Lindbladian) -> SectorBasis:
    """Return the sectors of a bounded model; one sector if there is no charge or the space is small anyway."""
    lattice = model.lattice
    basis = whole_space(lattice)
    if len(basis.label) <= _SMALL:
        return basis
    used: list[Symmetry] = []
    label = basis.label
    for symmetry in definite_charges(model):
        charge = _charges(lattice, symmetry)
        joint = np.unique(np.stack([label, charge]), axis=1, return_inverse=True)[1].ravel()
        if joint.max() + 1 > _MOST_SECTORS:
            continue
        label = joint
        used.append(symmetry)
    order = np.argsort(label, kind="stable")
    indices = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    return SectorBasis(tuple(indices), label, tuple(used))


def strong_sectors(model: Lindbladian) -> int:
    """Return into how many sectors the strong symmetries divide the space; each has a steady state of its own."""
    label = whole_space(model.lattice).label
    for symmetry in model.conserved:
        if symmetry.strength == "strong":
            joint = np.stack([label, _charges(model.lattice, symmetry)])
            label = np.unique(joint, axis=1, return_inverse=True)[1].ravel()
    return int(label.max()) + 1


def _charges(lattice: Lattice, symmetry: Symmetry) -> np.ndarray:
    """Return the value of the charge in every basis state, shape (D,), integer."""
    total = np.zeros(1, dtype=np.int64)
    for space, weight in zip(lattice.spaces, symmetry.weights, strict=True):
        numbers = np.zeros(int(space.dim)) if space.number is None or not weight else np.asarray(space.number)
        steps = np.rint(numbers - numbers[0]).astype(np.int64) * weight
        total = (total[:, None] + steps[None, :]).ravel()
    return total % 2 if symmetry.group == "Z2" else total
