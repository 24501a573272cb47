"""Closed-form answers, computed with numpy and scipy alone, so that they can judge the rest of the package.

Conventions are those of the package: hbar = 1, spin up first, sites count from 0, currents positive from site j to j+1,
natural logarithms.
"""

from . import (
    boundary_driven,
    heat_rectifier,
    optomechanical_exact,
    optomechanical_lattices,
    passive_networks,
    persistent_currents,
)

__all__ = [
    "boundary_driven",
    "heat_rectifier",
    "optomechanical_exact",
    "optomechanical_lattices",
    "passive_networks",
    "persistent_currents",
]
