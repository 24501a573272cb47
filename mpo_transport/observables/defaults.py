"""What is measured when nothing is asked for."""

from __future__ import annotations

from ..errors import NotSupportedError
from ..model import Lindbladian
from ..result import Measurable
from .currents import current
from .profiles import profile

__all__ = ["default_observables"]


def default_observables(model: Lindbladian) -> dict[str, Measurable]:
    """Return the default bond current, and Z, N or Sz on every site, as far as the model has them.

    >>> from mpo_transport.models import persistent_current
    >>> list(default_observables(persistent_current(L=4, alpha=2.0, delta=1.5)))
    ['current', 'profile:Z']
    """
    out: dict[str, Measurable] = {}
    spaces = model.lattice.spaces
    if model.lattice.bonds and (model.currents or all(s.has("N") for s in spaces)):
        try:
            out["current"] = current(model)
        except NotSupportedError:  # a graph with terms that are no edge has no bond current; the profile remains
            out = {}
    for name in ("Z", "N", "Sz"):
        if all(s.has(name) for s in spaces):
            out[f"profile:{name}"] = profile(model, name)
            break
    return out
