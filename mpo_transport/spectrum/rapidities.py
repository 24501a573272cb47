"""Quadratic models: every eigenvalue of the Lindbladian is a sum of rapidities, the eigenvalues of the drift.

    d<b>/dt = X <b> + ...,   b = (a_1 .. a_L, a_1^+ .. a_L^+),   X b_k = x_k b_k,
    spectrum = { sum_k m_k x_k },   m_k = 0, 1, 2, ... (bosons)   or   m_k = 0, 1 (fermions).

Without pairing the x_k are the eigenvalues W_j of the drift of <a_j> and their conjugates.  For spins as Jordan-Wigner
fermions these are the sums of an even number of rapidities only: operators that are odd under the parity obey another
equation.

T. Prosen, New J. Phys. 10, 043026 (2008); T. Prosen, T. H. Seligman, J. Phys. A 43, 392004 (2010) for bosons.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg as sl

from ..errors import ConvergenceError, InputError, NotSupportedError, UnstableError, did_you_mean
from ..model import Lindbladian, checked_model
from ..superoperator.quadratic import QuadraticForm, quadratic_form
from ..symmetry import Symmetry
from .labels import Label, charge_names
from .numerics import order
from .result import Spectrum

__all__ = ["Rapidities", "rapidities", "rapidity_spectrum"]

_ZERO = 1e-11
_TIE = 1e-9
_MOST_SUMS = 400_000
_MOST_TIES = 4096
_PARITY = ("even", "odd")


def rapidities(model: Lindbladian) -> np.ndarray:
    """Return the rapidities of a quadratic model: the eigenvalues of the drift of its amplitudes, slowest first.

    Parameters
    ----------
    model
        Bosons with at most quadratic H and at most linear jumps, or a spin chain that is one of free fermions, see
        :func:`~mpo_transport.superoperator.quadratic_form`.

    Returns
    -------
    numpy.ndarray
        Shape (L,): the W_j of d<a>/dt = A <a> if the form conserves the number (the others are their conjugates), else
        shape (2L,): all eigenvalues of the drift of (a, a^+).  Im W_j = -(energy), -2 Re W_j is the decay rate of the
        quanta in mode j; a positive real part means that there is no steady state (bosons).

    Raises
    ------
    NotSupportedError
        If the model is not quadratic (field ``model``).

    Examples
    --------
    >>> from mpo_transport import Boson, Chain, Jump, op
    >>> hop = op("Adag", 0) * op("A", 1)
    >>> pair = Lindbladian(Chain(2, Boson(math.inf)), hop + hop.dag, [Jump(op("A", 0), rate=2.0)])
    >>> rapidities(pair).round(10).tolist()
    [(-0.5+0.8660254038j), (-0.5-0.8660254038j)]
    """
    form = quadratic_form(checked_model(model))
    if form.conserves_number:
        values = sl.eigvals(form.amplitudes()[0])
    else:
        values = sl.eigvals(nambu_drift(form))
    return values[order(values, float(np.abs(values).max(initial=0.0)), "slowest")]


def nambu_drift(form: QuadraticForm) -> np.ndarray:
    """Return the drift of (<a_1> .. <a_L>, <a_1^+> .. <a_L^+>), complex (2L, 2L)."""
    one = np.eye(form.L)
    if form.conserves_number:
        drift = form.amplitudes()[0]
        return sl.block_diag(drift, drift.conj())
    basis = np.block([[one, 1j * one], [one, -1j * one]]) / math.sqrt(2)
    return basis @ form.moments().drift @ basis.conj().T


@dataclass(frozen=True, eq=False)
class Rapidities:
    """All rapidities of a model with the charges they carry.

    Attributes
    ----------
    values
        Shape (n,), n = 2L, sorted by decay rate.
    charges
        Change of every conserved charge by one quantum, integers, shape (n, symmetries).
    residuals, conditions
        |X b - x b| / |b|, and the condition number of the eigenvalue; shape (n,).
    symmetries, names
        The symmetries of the model and what they are called in labels.
    has_parity
        Whether the parity of the total number is a symmetry.
    fermions
        Whether every rapidity occurs at most once.
    """

    values: np.ndarray
    charges: np.ndarray
    residuals: np.ndarray
    conditions: np.ndarray
    symmetries: tuple[Symmetry, ...]
    names: tuple[str, ...]
    has_parity: bool
    fermions: bool

    @classmethod
    def of(cls, model: Lindbladian, form: QuadraticForm) -> Rapidities:
        """Diagonalise the drift, charge by charge.

        Raises
        ------
        UnstableError
            For a boson mode that grows or is not damped.
        NotSupportedError
            For strong symmetries.
        """
        symmetries = model.conserved
        if any(s.strength == "strong" for s in symmetries):
            raise NotSupportedError(
                "The model has a strong symmetry, whose sectors are not those of sums of rapidities; use bounded sites "
                "and method='blocks'.",
                field="model",
            )
        weights = np.array([s.weights for s in symmetries], dtype=int).reshape(len(symmetries), form.L).T
        charges = np.vstack([weights, -weights])
        for k, s in enumerate(symmetries):
            if s.group == "Z2":
                charges[:, k] %= 2
        drift = nambu_drift(form)
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for row, key in enumerate(charges.tolist()):
            groups[tuple(key)].append(row)
        parts: dict[tuple[int, ...], _Eigen] = {}
        for key, rows in groups.items():
            mirrored = tuple(charges[(rows[0] + form.L) % (2 * form.L)].tolist())  # adjoints carry the opposite charge
            if mirrored in parts and mirrored != key:
                own, errors, factors = parts[mirrored]
                parts[key] = own.conj(), errors, factors
            else:
                parts[key] = _diagonalised(drift[np.ix_(rows, rows)], paired=mirrored == key)
        values, residuals, conditions = (np.concatenate([p[i] for p in parts.values()]) for i in range(3))
        carried = np.concatenate([np.tile(np.array(key, dtype=int), (len(p[0]), 1)) for key, p in parts.items()])
        index = order(values, float(np.abs(values).max(initial=0.0)), "slowest")
        out = cls(
            values[index],
            carried[index],
            residuals[index],
            conditions[index],
            symmetries,
            charge_names(symmetries),
            model.has_weak_parity,
            form.statistics == "fermion",
        )
        out._check_damped()
        return out

    def _check_damped(self) -> None:
        slowest = float(self.values.real.max(initial=-math.inf))
        bound = 1e-13 * self.scale * float(min(self.conditions.max(initial=1.0), 1e3))
        if self.fermions or slowest < -bound:
            return
        what = f"grows at the rate {slowest:.6g}" if slowest > bound else "is not damped"
        raise UnstableError(
            f"The spectrum is not made of decaying modes: a mode {what}. Add damping, or read `rapidities(model)`.",
            field="model",
            growth=max(slowest, 0.0),
            frequency=float(abs(self.values[int(self.values.real.argmax())].imag)),
        )

    @property
    def scale(self) -> float:
        """Largest modulus of a rapidity."""
        return float(np.abs(self.values).max(initial=0.0))

    def label(self, quanta: tuple[int, ...]) -> Label:
        """Return the label of a sum of rapidities."""
        total = self.charges[list(quanta)].sum(axis=0)
        out: list[tuple[str, Any]] = []
        for name, s, value in zip(self.names, self.symmetries, total.tolist(), strict=True):
            out.append((name, _PARITY[value % 2] if s.group == "Z2" else value))
        return Label(tuple(out))

    def parity(self, quanta: tuple[int, ...]) -> str | None:
        """Return the parity of the change of the total number."""
        return _PARITY[len(quanta) % 2] if self.has_parity else None

    def sums(self) -> Iterator[tuple[float, tuple[int, ...]]]:
        """Yield (decay rate, indices of the rapidities summed) with increasing decay rate, () first."""
        rates = np.maximum(-self.values.real, 0.0).tolist()
        yield 0.0, ()
        heap: list[tuple[float, tuple[int, ...]]] = [(rates[0], (0,))] if rates else []
        while heap:
            rate, quanta = heapq.heappop(heap)
            yield rate, quanta
            last = quanta[-1]
            if last + 1 < len(rates):  # the last quantum one step up
                heapq.heappush(heap, (rate - rates[last] + rates[last + 1], (*quanta[:-1], last + 1)))
            added = last + 1 if self.fermions else last
            if added < len(rates):  # one quantum more
                heapq.heappush(heap, (rate + rates[added], (*quanta, added)))


_Eigen = tuple[np.ndarray, np.ndarray, np.ndarray]


def _diagonalised(block: np.ndarray, *, paired: bool) -> _Eigen:
    """Return eigenvalues, residuals and condition numbers; ``paired``: of (a, a^+) together, made real first."""
    if paired:
        one = np.eye(len(block) // 2)
        basis = np.block([[one, 1j * one], [one, -1j * one]]) / math.sqrt(2)
        block = (basis.conj().T @ block @ basis).real
    values, left, right = sl.eig(block, left=True, right=True)
    residuals = np.linalg.norm(block @ right - right * values, axis=0)
    overlap = np.abs(np.sum(left.conj() * right, axis=0))
    conditions = np.divide(1.0, overlap, out=np.full(len(values), np.inf), where=overlap > 1e-15)
    return values, residuals, conditions


# ----------------------------------------------------------------------------------------------------------------------


def rapidity_spectrum(model: Lindbladian, k: int, sector: Any, which: str) -> Spectrum:
    """Return the k slowest sums of rapidities in the sectors chosen, as a :class:`Spectrum` without eigenoperators.

    Raises
    ------
    NotSupportedError
        If the model is not quadratic or not damped; for operators of odd parity of a spin chain (field ``sector``); for
        ``which="nearest"``.
    InputError
        For a sector that the model does not have.
    ConvergenceError
        If the sector holds none of the slowest sums that were listed.
    """
    if which != "slowest":
        raise NotSupportedError(
            "Sums of rapidities are listed by their decay rate and are exact however small: use which='slowest'.",
            field="which",
        )
    found = Rapidities.of(model, quadratic_form(model))
    wanted = _wanted(found, sector)
    chosen, complete = _slowest(found, wanted, k)
    chosen.sort(key=lambda quanta: int(np.abs(found.charges[list(quanta)].sum(axis=0)).sum()))  # among equals
    values = np.array([found.values[list(q)].sum() for q in chosen], dtype=complex)
    scale = found.scale
    index = order(values, scale, which)
    null_space = int(np.count_nonzero(np.abs(values) <= _ZERO * scale))
    index = index[:k]
    quanta = tuple(chosen[j] for j in index)
    notes = [f"sums of {len(found.values)} rapidities, exact for a quadratic model; lattice symmetries not resolved"]
    if null_space > 1:
        notes.append(f"the steady state is not unique: {null_space} stationary operators")
    if not complete:
        notes.append("more sums have the decay rate of the last one than are listed")
    return Spectrum(
        values[index] + 0,
        tuple(str(found.label(q)) for q in quanta),
        np.array([found.residuals[list(q)].max(initial=0.0) for q in quanta]),
        np.array([max(found.conditions[list(q)].sum(), 1.0) for q in quanta]),
        null_space,
        (_described(wanted),),
        scale,
        tuple(notes),
        rapidities=found.values,
        quanta=quanta,
    )


def _slowest(found: Rapidities, wanted: Mapping[str, Any], k: int) -> tuple[list[tuple[int, ...]], bool]:
    """Return at least k sums in the sector (all, if there are fewer), with all ties of the last where these are few."""
    chosen: list[tuple[int, ...]] = []
    limit, tie = math.inf, _TIE * found.scale
    for count, (rate, quanta) in enumerate(found.sums()):
        if rate > limit:
            return chosen, True
        if count >= _MOST_SUMS or len(chosen) >= k + _MOST_TIES:
            if len(chosen) >= k:
                return chosen, False
            raise ConvergenceError(
                f"Only {len(chosen)} of the {_MOST_SUMS} slowest sums of rapidities lie in the sector "
                f"[{_described(wanted)}]; ask for fewer eigenvalues or for a slower sector."
            )
        if _selected(found, quanta, wanted):
            chosen.append(quanta)
            if len(chosen) == k:
                limit = rate + tie
    if not chosen:
        raise InputError(
            f"Argument `sector` = {_described(wanted)!r} selects no operator of this model.", field="sector"
        )
    return chosen, True


def _selected(found: Rapidities, quanta: tuple[int, ...], wanted: Mapping[str, Any]) -> bool:
    if found.fermions and len(quanta) % 2:
        return False
    own = dict(found.label(quanta).items) if wanted else {}
    return all((own[n] if n in own else found.parity(quanta)) == v for n, v in wanted.items())


def _wanted(found: Rapidities, sector: Any) -> dict[str, Any]:
    """Return the quantum numbers asked for; a printed label is read as a mapping."""
    known = (*found.names, *(["parity"] if found.has_parity and "parity" not in found.names else []))
    if sector is None:
        wanted: dict[str, Any] = {}
    elif isinstance(sector, Mapping):
        wanted = dict(sector)
    elif isinstance(sector, str):
        wanted = _parsed(sector)
    else:
        raise InputError(
            "Argument `sector` must be None, a label such as 'charge=0' or a mapping such as {'parity': 'even'}, "
            f"but is {sector!r}.",
            field="sector",
        )
    for name, value in wanted.items():
        if name in ("momentum", "reflection"):
            raise NotSupportedError(
                f"Sums of rapidities are not sorted by {name}; ask for {' or '.join(known) or 'all'}, or use bounded "
                "sites and method='blocks'.",
                field="sector",
            )
        if name not in known:
            raise InputError(
                f"Argument `sector` names the quantum number {name!r}, which this model does not have; "
                f"{did_you_mean(str(name), known)}",
                field="sector",
            )
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not (number if name.startswith("charge") else value in _PARITY):
            raise InputError(f"Argument `sector` has the value {value!r} for {name!r}.", field="sector")
    if found.fermions and not _is_even(found, wanted):
        raise NotSupportedError(
            "The operators of odd parity of a spin chain are not sums of rapidities; choose "
            "sector={'parity': 'even'} or an even charge.",
            field="sector",
        )
    return wanted


def _is_even(found: Rapidities, wanted: Mapping[str, Any]) -> bool:
    """Return whether the sectors hold operators of even parity only."""
    if wanted.get("parity") == "even":
        return True
    total = [n for n, s in zip(found.names, found.symmetries, strict=True) if set(s.weights) == {1}]
    return any(name.startswith("charge") and wanted.get(name, 1) % 2 == 0 for name in total)


def _parsed(text: str) -> dict[str, Any]:
    if text.replace(" ", "") in ("", "all"):
        return {}
    out: dict[str, Any] = {}
    for piece in text.split(","):
        name, _, value = (part.strip() for part in piece.partition("="))
        try:
            out[name] = value if value in _PARITY else float(value)
        except ValueError:
            raise InputError(f"Argument `sector` = {text!r} is no label such as 'charge=0'.", field="sector") from None
    return out


def _described(wanted: Mapping[str, Any]) -> str:
    return ", ".join(f"{n}={v:g}" if isinstance(v, (int, float)) else f"{n}={v}" for n, v in wanted.items()) or "all"
