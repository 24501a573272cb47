"""M. Keck, D. Rossini, R. Fazio, Phys. Rev. A 98, 053812 (2018): every figure, and the statements of its text."""

from . import driven, limits, minimal, perturbed, scaling
from .common import PAPER
from .driven import ground_state_current
from .scaling import cascaded_chain

__all__ = ["PAPER", "cascaded_chain", "driven", "ground_state_current", "limits", "minimal", "perturbed", "scaling"]

# The order in which the figures are listed and made.
PAPER.figures = {
    name: PAPER.figures[name]
    for name in ("fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "loss", "nnn", "bosons", "cascaded", "dark")
}
