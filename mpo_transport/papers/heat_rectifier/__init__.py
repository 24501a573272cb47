"""S. Barzanjeh, M. Aquilina, A. Xuereb, Phys. Rev. Lett. 120, 060601 (2018): figures, validity of the map, cascades."""

from . import cascade, occupations, validity
from .common import PAPER

__all__ = ["PAPER", "cascade", "occupations", "validity"]

# The order in which the figures are listed and made.
PAPER.figures = {name: PAPER.figures[name] for name in ("fig2", "fig3", "validity", "chain")}
