"""Observables: named lists of operator sums, and functions of a state; the same names in every backend."""

from .algebra import adjoint_action, operator_norm, simplify
from .base import OBSERVABLES, Observable, StateFunction, build_observable, register_observable
from .currents import continuity_current, current, equation_of_motion, sources
from .measures import entropy, fidelity, mutual_information, negativity, operator_entropy, purity, top_population
from .profiles import correlation, profile, variance
from .thermodynamics import bath_flow, entropy_production, heat_current

__all__ = [
    "OBSERVABLES",
    "Observable",
    "StateFunction",
    "adjoint_action",
    "bath_flow",
    "build_observable",
    "continuity_current",
    "correlation",
    "current",
    "entropy",
    "entropy_production",
    "equation_of_motion",
    "fidelity",
    "heat_current",
    "mutual_information",
    "negativity",
    "operator_entropy",
    "operator_norm",
    "profile",
    "purity",
    "register_observable",
    "simplify",
    "sources",
    "top_population",
    "variance",
]
