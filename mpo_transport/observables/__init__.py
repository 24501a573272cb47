"""Observables: named lists of operator sums, and functions of a state; the same names in every backend."""

from .algebra import adjoint_action, operator_norm, simplify
from .base import OBSERVABLES, Observable, StateFunction, build_observable, register_observable
from .currents import continuity_current, current, equation_of_motion, sources
from .measures import (
    entropy,
    fidelity,
    hilbert_schmidt_fidelity,
    mutual_information,
    negativity,
    operator_entropy,
    purity,
    top_population,
)
from .pairs import g1, pair_current
from .profiles import correlation, profile, variance
from .thermodynamics import bath_flow, entropy_production, heat_current
from .transport import BathExchange, TransportReport, bath_affinity, transport_report

__all__ = [
    "OBSERVABLES",
    "BathExchange",
    "Observable",
    "StateFunction",
    "TransportReport",
    "adjoint_action",
    "bath_affinity",
    "bath_flow",
    "build_observable",
    "continuity_current",
    "correlation",
    "current",
    "entropy",
    "entropy_production",
    "equation_of_motion",
    "fidelity",
    "hilbert_schmidt_fidelity",
    "g1",
    "heat_current",
    "mutual_information",
    "negativity",
    "operator_entropy",
    "operator_norm",
    "pair_current",
    "profile",
    "purity",
    "register_observable",
    "simplify",
    "sources",
    "top_population",
    "transport_report",
    "variance",
]
