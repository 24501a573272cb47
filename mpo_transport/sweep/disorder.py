"""Disorder ensembles: one random number per site or bond, drawn anew for every realisation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..spec.fields import integer, number, refuse, text

__all__ = ["ENSEMBLE_KEYS", "PARAMETERS", "Draw", "Ensemble"]

DISTRIBUTIONS = ("uniform", "normal", "choice")
PARAMETERS = ("mean", "width")
ENSEMBLE_KEYS = ("distribution", "per", *PARAMETERS, "values", "probabilities", "realisations", "seed")


@dataclass(frozen=True)
class Ensemble:
    """Independent random numbers x_j for a parameter with one value per site or bond.

    Parameters
    ----------
    key
        Dotted entry of the specification, for example ``model.mu``.
    distribution
        ``"uniform"``: on [mean - width/2, mean + width/2); ``"normal"``: standard deviation ``width``;
        ``"choice"``: one of ``values`` with ``probabilities`` (equal by default).
    per
        ``"site"``, ``"bond"``, or how many numbers.
    mean, width
        In the unit of the parameter.
    realisations, seed
        How many arrays there are; the stream of realisation r is keyed by (seed, r, key), so realisations may be added
        later, and a longer chain begins with the numbers of a shorter one.
    """

    key: str
    distribution: str
    per: str | int
    mean: float = 0.0
    width: float = 0.0
    values: tuple[float, ...] = ()
    probabilities: tuple[float, ...] | None = None
    realisations: int = 1
    seed: int = 0

    @classmethod
    def from_table(cls, key: str, table: Mapping[str, Any], field: str) -> Ensemble:
        """Return the ensemble of a table; errors name the dotted entry below ``field``."""
        kind = text(table["distribution"], f"{field}.distribution", DISTRIBUTIONS)
        if "realisations" not in table:
            raise InputError(f"An ensemble needs the entry `{field}.realisations`.", field=f"{field}.realisations")
        if "per" not in table:
            raise InputError(
                f'An ensemble needs the entry `{field}.per`: "site", "bond", or how many numbers.', field=f"{field}.per"
            )
        belongs = ("values", "probabilities") if kind == "choice" else PARAMETERS
        for name in (*PARAMETERS, "values", "probabilities"):
            if name in table and name not in belongs:
                raise InputError(
                    f'Entry `{field}.{name}` does not belong to distribution = "{kind}".', field=f"{field}.{name}"
                )
        values, probabilities = _choices(table, field) if kind == "choice" else ((), None)
        per = table["per"]
        return cls(
            key=key,
            distribution=kind,
            per=text(per, f"{field}.per", ("site", "bond"))
            if isinstance(per, str)
            else integer(per, f"{field}.per", least=1),
            mean=number(table.get("mean", 0.0), f"{field}.mean"),
            width=_width(table.get("width", 0.0), f"{field}.width"),
            values=values,
            probabilities=probabilities,
            realisations=integer(table["realisations"], f"{field}.realisations", least=1),
            seed=integer(table.get("seed", 0), f"{field}.seed", least=0),
        )

    @property
    def typical(self) -> float:
        """A value that the parameter may have on every site: what the size of the lattice is found with."""
        return self.values[0] if self.distribution == "choice" else self.mean

    def draw(self, realisation: int, count: int) -> list[float]:
        """Return ``count`` numbers of a realisation.

        >>> e = Ensemble("model.mu", "uniform", "site", mean=1.0, width=0.5, realisations=2, seed=3)
        >>> short, long = e.draw(0, 3), e.draw(0, 5)
        >>> long[:3] == short and all(0.75 <= x < 1.25 for x in long) and e.draw(1, 3) != short
        True
        """
        tag = int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:8], "big")
        generator = np.random.default_rng([self.seed, realisation, tag])
        # uniform numbers first, one by one: the first numbers must not depend on how many follow
        if self.distribution == "normal":
            numbers = self.mean + self.width * generator.standard_normal(count)
        elif self.distribution == "uniform":
            numbers = self.mean + self.width * (generator.random(count) - 0.5)
        else:
            weights = np.full(len(self.values), 1.0) if self.probabilities is None else np.array(self.probabilities)
            edges = np.cumsum(weights / weights.sum())
            places = np.searchsorted(edges, generator.random(count), side="right")
            numbers = np.array(self.values)[np.minimum(places, len(self.values) - 1)]
        return [float(x) for x in numbers]


@dataclass(frozen=True)
class Draw:
    """One realisation of an ensemble, before the number of sites is known."""

    ensemble: Ensemble
    realisation: int

    def with_parameter(self, name: str, value: Any) -> Draw:
        """Return the draw with another mean or width."""
        field = f"axes.{self.ensemble.key}.{name}"
        if self.ensemble.distribution == "choice":
            raise InputError(f'Entry `{field}` does not belong to distribution = "choice".', field=field)
        if name == "width":
            return replace(self, ensemble=replace(self.ensemble, width=_width(value, field)))
        return replace(self, ensemble=replace(self.ensemble, mean=number(value, field)))

    def numbers(self, sites: int, bonds: int) -> list[float]:
        """Return the numbers for a lattice."""
        per = self.ensemble.per
        count = per if isinstance(per, int) else {"site": sites, "bond": bonds}[per]
        return self.ensemble.draw(self.realisation, count)


def _width(value: Any, field: str) -> float:
    width = number(value, field)
    if width < 0:
        raise refuse(field, "a number >= 0", value)
    return width


def _choices(table: Mapping[str, Any], field: str) -> tuple[tuple[float, ...], tuple[float, ...] | None]:
    values = table.get("values")
    if not isinstance(values, list) or not values:
        raise refuse(f"{field}.values", "a list of numbers to choose from", values)
    checked = tuple(number(v, f"{field}.values[{k}]") for k, v in enumerate(values))
    if "probabilities" not in table:
        return checked, None
    weights = table["probabilities"]
    if not isinstance(weights, list) or len(weights) != len(checked):
        raise refuse(f"{field}.probabilities", f"a list of {len(checked)} numbers, one per value", weights)
    p = tuple(number(w, f"{field}.probabilities[{k}]") for k, w in enumerate(weights))
    if min(p) < 0 or abs(sum(p) - 1) > 1e-9:
        raise refuse(f"{field}.probabilities", "a list of numbers >= 0 whose sum is 1", weights)
    return checked, p
