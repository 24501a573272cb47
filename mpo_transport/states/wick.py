"""Wick's theorem: expectation values of products in Gaussian states of bosons and of Jordan-Wigner fermions.

    bosons:   <x_1 ... x_n> = sum over all ways to divide the letters x into ordered pairs and singles of
              prod_pairs ( <x_i x_j> - <x_i><x_j> ) prod_singles <x_i>
    fermions: <w_1 ... w_2n> = Pf [ <w_i w_j> ]_(i<j),   w^2 = 1,   <w_i w_j> = -i Gamma_ij  (i != j)

G. C. Wick, Phys. Rev. 80, 268 (1950); M. Wimmer, ACM Trans. Math. Softw. 38, 30 (2012) for the Pfaffian.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from ..errors import NotSupportedError
from ..operators import Factor, LocalSpace

__all__ = ["boson_expectations", "fermion_expectations", "majorana_monomials", "pauli_monomial", "pfaffian"]

Key = tuple[Factor, ...]
MOST_LETTERS = 12
"""Largest number of ladder operators in one product of bosons."""

_HALF = 1 / math.sqrt(2)
# name -> sum of (coefficient, string of a "-" and a^+ "+")
_LADDERS: Mapping[str, tuple[tuple[complex, str], ...]] = {
    "I": ((1.0, ""),),
    "A": ((1.0, "-"),),
    "Adag": ((1.0, "+"),),
    "N": ((1.0, "+-"),),
    "Q": ((_HALF, "-"), (_HALF, "+")),
    "P": ((-1j * _HALF, "-"), (1j * _HALF, "+")),
}

Mean = Callable[[str, np.ndarray], np.ndarray]
Pair = Callable[[str, np.ndarray, str, np.ndarray], np.ndarray]


# -- bosons ------------------------------------------------------------------------------------------------------------


def boson_expectations(products: Sequence[Key], mean: Mean | None, pair: Pair) -> np.ndarray:
    """Return <product> of every product of A, Adag, N, Q and P, shape (len(products),), complex.

    Products with the same names are evaluated together, so that profiles and currents cost a few array operations.

    Parameters
    ----------
    mean
        ``mean(sign, sites)`` gives <a> (sign "-") or <a^+> ("+") of every site; None: all vanish.
    pair
        ``pair(sign, sites, sign_2, sites_2)`` gives the connected <x_i y_j>, in this order, elementwise.

    Raises
    ------
    NotSupportedError
        For another operator name, or more than 12 ladder operators in a product.
    """
    out = np.zeros(len(products), dtype=complex)
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for p, key in enumerate(products):
        groups[tuple([name for name, _ in key])].append(p)
    for names, members in groups.items():
        sites = (
            np.array([[s for _, s in products[p]] for p in members], dtype=np.intp).reshape(len(members), len(names)).T
        )
        out[members] = _same_names(names, sites, len(members), mean, pair)
    return out


def _same_names(names: tuple[str, ...], sites: np.ndarray, count: int, mean: Mean | None, pair: Pair) -> np.ndarray:
    for name in names:
        if name not in _LADDERS:
            raise NotSupportedError(
                f"A Gaussian state knows products of A, Adag, N, Q and P, not of {name!r}.", field="operator"
            )
    total = np.zeros(count, dtype=complex)
    for choice in itertools.product(*(_LADDERS[n] for n in names)):
        signs = "".join(ladder for _, ladder in choice)
        if len(signs) > MOST_LETTERS:
            raise NotSupportedError(
                f"Products of up to {MOST_LETTERS} ladder operators are evaluated, but {' '.join(names)} has "
                f"{len(signs)}.",
                field="operator",
            )
        if mean is None and len(signs) % 2:
            continue
        where = [k for k, (_, ladder) in enumerate(choice) for _ in ladder]
        coefficient = math.prod((c for c, _ in choice), start=1.0 + 0j)
        total += coefficient * _moment(signs, [sites[k] for k in where], count, mean, pair)
    return total


def _moment(signs: str, sites: list[np.ndarray], count: int, mean: Mean | None, pair: Pair) -> np.ndarray:
    """Return <x_1 ... x_n> for arrays of sites, by taking out the first letter; partial results are kept."""
    singles = None if mean is None else [mean(sign, s) for sign, s in zip(signs, sites, strict=True)]
    pairs = {
        (i, j): pair(signs[i], sites[i], signs[j], sites[j]) for i, j in itertools.combinations(range(len(signs)), 2)
    }
    known: dict[tuple[int, ...], np.ndarray] = {(): np.ones(count, dtype=complex)}

    def of(rest: tuple[int, ...]) -> np.ndarray:
        if rest not in known:
            first, others = rest[0], rest[1:]
            total = np.zeros(count, dtype=complex) if singles is None else singles[first] * of(others)
            for k, j in enumerate(others):
                remaining = others[:k] + others[k + 1 :]
                if singles is not None or len(remaining) % 2 == 0:
                    total = total + pairs[first, j] * of(remaining)
            known[rest] = total
        return known[rest]

    return of(tuple(range(len(signs))))


# -- fermions ----------------------------------------------------------------------------------------------------------


def fermion_expectations(products: Sequence[Key], spaces: Sequence[LocalSpace], gamma: np.ndarray) -> np.ndarray:
    """Return <product> of every product of spin operators in the fermionic Gaussian state Gamma, (2L, 2L).

    Words with an odd number of spin flips vanish: the state commutes with the total parity.
    """
    found = [
        (p, c, indices) for p, key in enumerate(products) for c, indices in majorana_monomials(key, spaces, len(spaces))
    ]
    out = np.zeros(len(products), dtype=complex)
    by_length: dict[int, list[int]] = defaultdict(list)
    for k, (_, _, indices) in enumerate(found):
        by_length[len(indices)].append(k)
    for n, members in by_length.items():
        values = monomial_values([found[k][2] for k in members], n, gamma)
        np.add.at(out, [found[k][0] for k in members], np.array([found[k][1] for k in members]) * values)
    return out


def monomial_values(monomials: Sequence[tuple[int, ...]], n: int, gamma: np.ndarray) -> np.ndarray:
    """Return <w_a w_b ...> of monomials of n different Majorana operators, shape (len(monomials),)."""
    if n == 0:
        return np.ones(len(monomials), dtype=complex)
    index = np.array(monomials, dtype=np.intp)
    chunk = max(1, 4_000_000 // n**2)
    parts = [
        pfaffian(gamma[part[:, :, None], part[:, None, :]])
        for part in np.split(index, range(chunk, len(index), chunk))
        if len(part)
    ]
    return np.asarray((-1j) ** (n // 2) * np.concatenate(parts))


def majorana_monomials(key: Key, spaces: Sequence[LocalSpace], L: int) -> list[tuple[complex, tuple[int, ...]]]:
    """Return a product of spin operators as a sum of even monomials of Majorana operators: (coefficient, indices).

    Index j < L is w_j = S_j X_j, index L + j is w'_j = -S_j Y_j, with S_j = prod_{i<j} (-Z_i).
    """
    sites, parts = [], []
    for site, group in itertools.groupby(key, key=lambda factor: factor[1]):
        sites.append(site)
        parts.append(_paulis(spaces[site], tuple([name for name, _ in group])))
    out = []
    for choice in itertools.product(*parts):
        word = {s: name for s, (name, _) in zip(sites, choice, strict=True) if name != "I"}
        monomial = pauli_monomial(word, L)
        if monomial is not None:
            sign, indices = monomial
            out.append((sign * math.prod((c for _, c in choice), start=1.0 + 0j), indices))
    return out


@lru_cache(maxsize=4096)
def _paulis(space: LocalSpace, names: tuple[str, ...]) -> tuple[tuple[str, complex], ...]:
    matrix = np.eye(2, dtype=complex)
    for name in names:
        matrix = matrix @ space.matrix(name)
    (a, b), (c, d) = matrix.tolist()
    options = (("I", (a + d) / 2), ("X", (b + c) / 2), ("Y", 1j * (b - c) / 2), ("Z", (a - d) / 2))
    return tuple((name, x) for name, x in options if x != 0)


# (Pauli matrix, number of later flips mod 2) -> (factor, w present, w' present); the string of a later flip multiplies
# from the right with -Z = -i w w'
_LOCAL: Mapping[tuple[str, int], tuple[complex, bool, bool]] = {
    ("I", 0): (1, False, False),
    ("I", 1): (-1j, True, True),
    ("X", 0): (1, True, False),
    ("X", 1): (-1j, False, True),
    ("Y", 0): (-1, False, True),
    ("Y", 1): (-1j, True, False),
    ("Z", 0): (1j, True, True),
    ("Z", 1): (-1, False, False),
}


def pauli_monomial(word: Mapping[int, str], L: int) -> tuple[complex, tuple[int, ...]] | None:
    """Return a Pauli string {site: "X", "Y" or "Z"} as factor x monomial of Majorana operators; None if it is odd.

    >>> pauli_monomial({0: "X", 2: "X"}, 3)
    ((-1+0j), (3, 1, 4, 2))
    """
    flips = [s for s, name in word.items() if name != "Z"]
    if len(flips) % 2:
        return None
    sites = sorted(word)
    if flips:
        sites = sorted({*word, *itertools.chain.from_iterable(range(a + 1, b) for a, b in _covered(flips))})
    later = len(flips)
    factor: complex = 1
    indices: list[int] = []
    for s in sites:
        name = word.get(s, "I")
        later -= name in ("X", "Y")
        x, first, second = _LOCAL[name, later % 2]
        factor *= x
        if first:
            indices.append(s)
        if second:
            indices.append(L + s)
    return factor, tuple(indices)


def _covered(flips: list[int]) -> list[tuple[int, int]]:
    """Return the pairs of neighbouring flips between which a string of Z remains."""
    ordered = sorted(flips)
    return list(zip(ordered[::2], ordered[1::2], strict=True))


def pfaffian(matrices: np.ndarray) -> np.ndarray:
    """Return the Pfaffians of a stack of antisymmetric real matrices, shape (..., n, n) with even n -> (...).

    Parlett-Reid reduction with pivoting, n^3/3 operations each, accurate to rounding in the norm.

    >>> pfaffian(np.array([[[0.0, 2.0], [-2.0, 0.0]]]))
    array([2.])
    """
    a = np.array(matrices, dtype=float)
    n = a.shape[-1]
    batch = a.reshape(math.prod(a.shape[:-2]), n, n)
    result = np.ones(len(batch))
    rows = np.arange(len(batch))
    for k in range(0, n - 1, 2):
        pivot = k + 1 + np.abs(batch[:, k, k + 1 :]).argmax(axis=1)
        batch[rows, k + 1], batch[rows, pivot] = batch[rows, pivot], batch[rows, k + 1]
        batch[rows, :, k + 1], batch[rows, :, pivot] = batch[rows, :, pivot], batch[rows, :, k + 1]
        head = batch[:, k, k + 1]
        result *= np.where(pivot != k + 1, -head, head)
        if k + 2 < n:
            tau = batch[:, k, k + 2 :] / np.where(head == 0, 1.0, head)[:, None]
            column = batch[:, k + 2 :, k + 1]
            update = tau[:, :, None] * column[:, None, :]
            batch[:, k + 2 :, k + 2 :] += update - update.transpose(0, 2, 1)
    return result.reshape(a.shape[:-2])
