"""Z. Denis, A. Biella, I. Favero, C. Ciuti, Phys. Rev. Lett. 124, 083601 (2020): every figure, and a two-tone ring."""

from . import accuracy, couplings, currents, two_tone
from .common import PAPER

__all__ = ["PAPER", "accuracy", "couplings", "currents", "two_tone"]

# The order in which the figures are listed and made.
PAPER.figures = {name: PAPER.figures[name] for name in ("fig2", "fig3", "fig4", "fig5", "figS1", "two-tone")}
