"""Publications whose figures this package makes again, with the data behind every picture."""

from ..errors import InputError, did_you_mean
from .base import FigureData, Paper, Produced, read_table, reproduce
from .heat_rectifier import PAPER as _HEAT_RECTIFIER
from .optomechanical_lattices import PAPER as _OPTOMECHANICAL_LATTICES
from .persistent_currents import PAPER as _PERSISTENT_CURRENTS

__all__ = ["PAPERS", "FigureData", "Paper", "Produced", "find_paper", "read_table", "reproduce"]

PAPERS = {paper.name: paper for paper in (_PERSISTENT_CURRENTS, _OPTOMECHANICAL_LATTICES, _HEAT_RECTIFIER)}


def find_paper(name: str) -> Paper:
    """Return a paper by its name, ``"persistent-currents"``.

    Raises
    ------
    InputError
        For an unknown paper.
    """
    key = name.replace("_", "-")
    if key not in PAPERS:
        raise InputError(f"Unknown paper {name!r}; {did_you_mean(key, PAPERS)}", field="paper")
    return PAPERS[key]
