"""Layers of a chain in charge sectors: bonds in two groups, and maps of sites that fit into one of them or follow."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...lattice import Lattice
from .charges_model import ChargeModel
from .charges_start import effective_rate
from .plan import Pass, useful_bonds
from .splitting import layer_sequence, sweep_sequence

__all__ = ["ChargePass", "ChargePlan"]

Unitary = tuple[np.ndarray, np.ndarray]
SiteMap = tuple[np.ndarray, ...]


@dataclass
class ChargePass(Pass):
    """Maps of sites, then unitaries of bonds without common sites, carried over the chain in either direction."""

    unitaries: list[Unitary | None] = field(default_factory=list)
    maps: list[SiteMap | None] = field(default_factory=list)


class ChargePlan:
    """Layers for a number of steps; the counterpart of :class:`~mpo_transport.methods.tebd.plan.Plan`.

    The Hamiltonian of even and of odd bonds are two groups.  The dissipator of a site belongs to a group none of whose
    bonds touch the site (the ends of a chain); the others form a third group, and then forward and backward products
    of the three alternate with the fractions of :func:`~.splitting.sweep_sequence`.
    """

    uses_swaps = False

    def __init__(self, lattice: Lattice, charges: ChargeModel) -> None:
        self.charges, self.lattice = charges, lattice
        self.dims = charges.dims
        self.order = tuple(range(len(self.dims)))
        self.rate = effective_rate(charges)
        L = len(self.dims)
        bonds = [b for b in range(L - 1) if charges.bonds[b] is not None]
        self._bonds = [[b for b in bonds if b % 2 == p] for p in (0, 1)]
        self._sites: list[list[int]] = [[], [], []]
        for s in (s for s in range(L) if charges.sites[s] is not None):
            free = [p for p in (0, 1) if not {s - 1, s} & set(self._bonds[p])]
            self._sites[free[-1] if free else 2].append(s)
        used = [bool(b or s) for b, s in zip([*self._bonds, []], self._sites, strict=True)]
        self.kind = "exact" if sum(used) <= 1 else "layers"
        self._compiled: dict[tuple[float, int, int], list[Pass]] = {}
        self._parts: dict[tuple[int, float], ChargePass] = {}

    def _sequence(self, order: int, steps: int) -> list[tuple[int, float]]:
        """Return (group, fraction of dt) of all layers."""
        if self.kind == "exact":
            group = next((g for g in (0, 1, 2) if self._sites[g] or (g < 2 and self._bonds[g])), 0)
            return [(group, float(steps))]
        if not self._sites[2]:
            return layer_sequence(order, steps)
        out: list[tuple[int, float]] = []
        for k, fraction in enumerate(sweep_sequence(order) * steps):
            for group in (0, 1, 2) if k % 2 == 0 else (2, 1, 0):
                if out and out[-1][0] == group:
                    out[-1] = group, out[-1][1] + fraction
                else:
                    out.append((group, fraction))
        return out

    def passes(self, dt: float, order: int, steps: int) -> list[Pass]:
        """Return the passes of ``steps`` steps of length ``dt``."""
        key = (dt, order, steps)
        if key not in self._compiled:
            if len(self._compiled) > 8:
                self.forget()
            sequence = self._sequence(order, steps)
            out: list[Pass] = []
            maps: tuple[int, float] | None = None
            for group, fraction in sequence:
                if group == 2:  # carried out on the way of the next layer
                    maps = group, fraction
                    continue
                out.append(self._layer(group, fraction * dt, None if maps is None else maps[1] * dt))
                maps = None
            if maps is not None:
                out.append(self._layer(2, 0.0, maps[1] * dt))
            self._compiled[key] = out
        return self._compiled[key]

    def forget(self) -> None:
        """Drop all gates."""
        self._compiled.clear()
        self._parts.clear()

    def _layer(self, group: int, time: float, before: float | None) -> ChargePass:
        L = len(self.dims)
        out = ChargePass(unitaries=[None] * (L - 1), maps=[None] * L)
        if group < 2:
            part = self._part(group, time)
            out.unitaries, out.maps = list(part.unitaries), list(part.maps)
        if before is not None:
            maps = self._part(2, before).maps
            out.maps = [m if m is not None else o for m, o in zip(maps, out.maps, strict=True)]
        return out

    def _part(self, group: int, time: float) -> ChargePass:
        key = group, time
        if key not in self._parts:
            L = len(self.dims)
            part = ChargePass(unitaries=[None] * (L - 1), maps=[None] * L)
            seen: dict[tuple[int, ...], Unitary] = {}
            for b in self._bonds[group] if group < 2 else ():
                blocks = self.charges.bonds[b]
                assert blocks is not None
                same = tuple(hash(x.tobytes()) for x in blocks)
                if same not in seen:
                    seen[same] = self.charges.unitary(b, time)
                part.unitaries[b] = seen[same]
            for s in self._sites[group]:
                part.maps[s] = self.charges.site_map(s, time)
            self._parts[key] = part
        return self._parts[key]

    # -- sizes --------------------------------------------------------------------------------------------------------

    def bond_bounds(self, max_bond: int) -> list[int]:
        """Return the largest useful bond dimensions, at most ``max_bond`` (entry k: left of site k)."""
        return useful_bonds(self.dims, max_bond)

    def passes_per_step(self, order: int) -> list[float]:
        """Return the fractions of the passes of one step."""
        count = len([g for g, _ in self._sequence(order, 1) if g < 2])
        return [1.0] * max(count - (self.kind == "layers"), 1)

    def flops_per_step(self, bond: int, order: int, iterations: int) -> float:
        """Return the work of a step, in operations of the dense sweeps that would take as long."""
        d = max(self.dims)
        update = 2e7 + bond**2 * (12.0 * d**2 + 8.0 * d * bond / (d + 4)) * (2 + iterations)
        return len(self.passes_per_step(order)) * 0.5 * (len(self.dims) - 1) * (update + 1e7)
