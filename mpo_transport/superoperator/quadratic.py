"""Quadratic models: at most quadratic Hamiltonian, at most linear jumps, in bosons or in Jordan-Wigner fermions.

    H   = sum_ij h_ij a_i^+ a_j + 1/2 sum_ij ( k_ij a_i^+ a_j^+ + h.c. ) + sum_i ( f_i a_i^+ + h.c. ) + const
    L_m = sum_j ( u_mj a_j + v_mj a_j^+ ) + s_m                                            with rate r_m

h is Hermitian; k is symmetric for bosons and antisymmetric for fermions.  :func:`quadratic_form` reads these arrays off
the text of a model.  The equations of motion of first and second moments are closed and linear:

    bosons:   R = (q_1..q_L, p_1..p_L),  q = (a + a^+)/sqrt 2,  p = (a - a^+)/(i sqrt 2),  [q, p] = i
              sigma = 1/2 <{dR, dR}> (vacuum 1/2),  d<R>/dt = X <R> + d,  d sigma/dt = X sigma + sigma X^T + D
    fermions: w = (a_j + a_j^+ .., -i (a_j - a_j^+) ..),  w_i^2 = 1,  Gamma = i/2 <[w, w]>,
              d Gamma/dt = X Gamma + Gamma X^T + D

A. Serafini, Quantum Continuous Variables (2017), ch. 6; T. Prosen, New J. Phys. 10, 043026 (2008).
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from ..errors import NotSupportedError
from ..lattice import Lattice
from ..local_space import LocalSpace
from ..model import Lindbladian
from ..operators import Factor, OpSum

__all__ = ["MomentEquations", "QuadraticForm", "quadratic_form"]

Key = tuple[Factor, ...]
Entries = dict[tuple[int, int], complex]

_HALF = 1 / math.sqrt(2)
_LETTERS = {  # name -> (coefficient of a, coefficient of a^+)
    "A": (1.0, 0.0),
    "Adag": (0.0, 1.0),
    "Q": (_HALF, _HALF),
    "P": (-1j * _HALF, 1j * _HALF),
}


@dataclass(frozen=True, eq=False)
class MomentEquations:
    """Closed equations of the moments in real coordinates, arrays of shape (2L, 2L), (2L, 2L), (2L,).

    Bosons: quadratures; fermions: Majorana operators, ``drive`` zero.  See the head of this module.
    """

    drift: np.ndarray
    diffusion: np.ndarray
    drive: np.ndarray


@dataclass(frozen=True, eq=False)
class QuadraticForm:
    """The arrays h, k, f, u, v, s, r of a quadratic model.

    Attributes
    ----------
    lattice
        Where the modes live, one per site.
    statistics
        ``"boson"``, or ``"fermion"`` for a spin-1/2 chain after the Jordan-Wigner transformation.
    hopping, pairing
        h and k, sparse (L, L).
    drive
        f, shape (L,); zero for fermions.
    lowering, raising
        u and v, sparse (M, L), one row per jump with a positive rate.
    shift
        s, shape (M,).
    rates, labels, charges
        r_m, bath label and quanta moved into the bath of every jump.
    """

    lattice: Lattice
    statistics: str
    hopping: sp.csr_array
    pairing: sp.csr_array
    drive: np.ndarray
    lowering: sp.csr_array
    raising: sp.csr_array
    shift: np.ndarray
    rates: np.ndarray
    labels: tuple[str | None, ...]
    charges: tuple[float | None, ...]

    @property
    def L(self) -> int:
        """Number of modes."""
        return self.lattice.L

    @cached_property
    def conserves_number(self) -> bool:
        """Whether the phase rotation a -> e^{i phi} a is a symmetry: no pairing, no drive, every jump lowers or raises.

        Then <a_i^+ a_j> obeys a closed equation, see :meth:`amplitudes`.
        """
        lowers = np.diff(self.lowering.indptr) > 0
        raises = np.diff(self.raising.indptr) > 0
        mixed = (lowers & raises) | (self.shift != 0)
        return self.pairing.nnz == 0 and not np.any(self.drive) and not np.any(mixed)

    def amplitudes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (A, G) with d<a>/dt = A <a> and dC/dt = A C + C A^+ + G for C_kl = <a_l^+ a_k>, (L, L) complex.

        Raises
        ------
        NotSupportedError
            If the number is not conserved by the form.
        """
        if not self.conserves_number:
            raise NotSupportedError("The model has pairing, drive or squeezed jumps: use `moments`.", field="model")
        rates = sp.diags_array(self.rates)
        loss = (self.lowering.conj().T @ rates @ self.lowering).toarray()
        gain = (self.raising.T @ rates @ self.raising.conj()).toarray()
        sign = -1 if self.statistics == "fermion" else 1
        return -1j * self.hopping.toarray() - loss / 2 + sign * gain / 2, gain

    def moments(self) -> MomentEquations:
        """Return drift, diffusion and drive in real coordinates (dense)."""
        drift, diffusion, drive = self.sparse_moments()
        return MomentEquations(drift.toarray(), diffusion.toarray(), drive)

    def sparse_moments(self) -> tuple[sp.csr_array, sp.csr_array, np.ndarray]:
        """Return drift and diffusion as sparse (2L, 2L) matrices, and the drive, shape (2L,)."""
        h, k = self.hopping, self.pairing
        if self.statistics == "boson":
            # H = 1/2 R^T M R + z R;  L_m = c_m R + s_m
            upper = sp.hstack([(h + k).real, (k - h).imag])
            lower = sp.hstack([(h + k).imag, (h - k).real])
            energy = sp.vstack([upper, lower])
            c = sp.hstack([self.lowering + self.raising, 1j * (self.lowering - self.raising)]) * _HALF
            b = (c.conj().T @ sp.diags_array(self.rates) @ c).tocsr()
            omega = sp.block_array([[None, sp.eye_array(self.L)], [-sp.eye_array(self.L), None]], format="csr")
            force = np.sqrt(2) * np.concatenate([self.drive.real, self.drive.imag])
            force = force - (c.T @ (self.rates * self.shift.conj())).imag  # H gains (i/2) (s^* L - s L^+)
            drift = omega @ (energy + b.imag)
            return sp.csr_array(drift), sp.csr_array(omega @ b.real @ omega.T), omega @ force
        # H = i/4 w^T A w;  L_m = l_m w
        upper = sp.hstack([(h + k).imag, (h - k).real])
        lower = sp.hstack([-(h + k).real, (h - k).imag])
        c = sp.hstack([self.lowering + self.raising, 1j * (self.lowering - self.raising)]) / 2
        b = (c.conj().T @ sp.diags_array(self.rates) @ c).tocsr()
        drift = sp.vstack([upper, lower]) - 2 * b.real
        return sp.csr_array(drift), sp.csr_array(-4 * b.imag), np.zeros(2 * self.L)


def quadratic_form(model: Lindbladian) -> QuadraticForm:
    """Read the quadratic form off the text of a model.

    Bosonic sites may be unbounded or truncated (the form is that of unbounded modes).  Spin-1/2 chains are read as
    Jordan-Wigner fermions, a_j = [prod_{i<j} (-Z_i)] S^-_j, when every term is then quadratic: Z fields, XX, YY, XY
    couplings of neighbours (or of distant sites with the string of Z in between), and jumps S^+-, X, Y at the first and
    the last site; statements about operators that are odd under the parity of the number are not covered.

    Raises
    ------
    NotSupportedError
        (field ``model``) naming the first term that is not quadratic.

    Examples
    --------
    >>> from mpo_transport import Boson, Chain, Jump, op
    >>> hop = op("Adag", 0) * op("A", 1)
    >>> pair = Lindbladian(Chain(2, Boson(math.inf)), 0.5 * (hop + hop.dag), [Jump(op("A", 0), rate=2.0)])
    >>> A, G = quadratic_form(pair).amplitudes()
    >>> A.round(3).tolist()
    [[(-1+0j), -0.5j], [-0.5j, 0j]]
    """
    kinds = {(s.kind, s.dim if s.kind != "boson" else None) for s in model.lattice.spaces}
    if kinds == {("boson", None)}:
        return _bosons(model)
    if kinds == {("spin", 2)}:
        return _fermions(model)
    raise NotSupportedError(
        "The model is not quadratic: its sites are neither all bosonic modes nor all spins 1/2.", field="model"
    )


class _Tables:
    """Collects coefficients, then makes the form."""

    def __init__(self, model: Lindbladian, sign: int) -> None:
        self.model, self.sign = model, sign
        self.hopping: Entries = defaultdict(complex)
        self.pairing: Entries = defaultdict(complex)
        self.drive = np.zeros(model.L, dtype=complex)
        self.lowering: Entries = defaultdict(complex)
        self.raising: Entries = defaultdict(complex)
        self.jumps = [j for j in model.jumps if j.rate > 0]
        self.shift = np.zeros(len(self.jumps), dtype=complex)

    def pair(self, i: int, j: int, c: complex) -> None:
        """Add c a_i^+ a_j^+ (its adjoint is implied)."""
        self.pairing[i, j] += c
        self.pairing[j, i] += self.sign * c

    def form(self, statistics: str) -> QuadraticForm:
        L, M = self.model.L, len(self.jumps)
        return QuadraticForm(
            self.model.lattice,
            statistics,
            _sparse(self.hopping, (L, L)),
            _sparse(self.pairing, (L, L)),
            self.drive,
            _sparse(self.lowering, (M, L)),
            _sparse(self.raising, (M, L)),
            self.shift,
            np.array([j.rate for j in self.jumps]),
            tuple(j.label for j in self.jumps),
            tuple(j.charge for j in self.jumps),
        )


def _sparse(entries: Mapping[tuple[int, int], complex], shape: tuple[int, int]) -> sp.csr_array:
    kept = [(i, j, c) for (i, j), c in entries.items() if c != 0]
    rows, columns, values = zip(*kept, strict=True) if kept else ((), (), ())
    return sp.csr_array((np.array(values, dtype=complex), (np.array(rows, int), np.array(columns, int))), shape=shape)


def _refuse(key: Key, c: complex, where: str, needed: str) -> NotSupportedError:
    return NotSupportedError(
        f"The model is not quadratic: the term {OpSum({key: c})!r} of {where} is not {needed}.", field="model"
    )


# -- bosons ------------------------------------------------------------------------------------------------------------


def _bosons(model: Lindbladian) -> QuadraticForm:
    tables = _Tables(model, 1)
    for key, c in model.hamiltonian:
        letters = _letters(key)
        if letters is None or len(letters) > 2:
            raise _refuse(key, c, "the Hamiltonian", "at most quadratic in the ladder operators")
        if len(letters) == 2:
            (x, (ax, bx)), (y, (ay, by)) = letters
            if bx and ay:
                tables.hopping[x, y] += c * bx * ay
            if ax and by:  # a_x a_y^+ = a_y^+ a_x + const
                tables.hopping[y, x] += c * ax * by
            if bx and by:
                tables.pair(x, y, c * bx * by)
        elif letters:
            x, (_, b) = letters[0]
            tables.drive[x] += c * b
    for m, jump in enumerate(tables.jumps):
        for key, c in jump.operator:
            letters = _letters(key)
            if letters is None or len(letters) > 1:
                raise _refuse(key, c, f"the jump {jump.operator!r}", "at most linear in the ladder operators")
            if not letters:
                tables.shift[m] += c
                continue
            x, (a, b) = letters[0]
            if a:
                tables.lowering[m, x] += c * a
            if b:
                tables.raising[m, x] += c * b
    return tables.form("boson")


def _letters(key: Key) -> list[tuple[int, tuple[complex, complex]]] | None:
    """Return the product as ladder letters (site, (coefficient of a, of a^+)); None for an operator that is none."""
    out: list[tuple[int, tuple[complex, complex]]] = []
    for name, site in key:
        if name == "N":
            out += [(site, _LETTERS["Adag"]), (site, _LETTERS["A"])]
        elif name in _LETTERS:
            out.append((site, _LETTERS[name]))
        else:
            return None
    return out


# -- spins as Jordan-Wigner fermions ----------------------------------------------------------------------------------

Word = dict[int, str]  # site -> "Z", "Sp" or "Sm"


def _fermions(model: Lindbladian) -> QuadraticForm:
    tables = _Tables(model, -1)
    for key, c in model.hamiltonian:
        for word, x in _spin_words(model.lattice.spaces, key):
            if not _add_bilinear(tables, word, c * x):
                raise _refuse(key, c, "the Hamiltonian", "bilinear in Jordan-Wigner fermions")
    for m, jump in enumerate(tables.jumps):
        strings: set[str] = set()
        for key, c in jump.operator:
            for word, x in _spin_words(model.lattice.spaces, key):
                strings.add(_add_linear(tables, m, word, c * x))
        if len(strings - {"both"}) > 1 or "none" in strings:
            raise _refuse(
                *next(iter(jump.operator)),
                f"the jump {jump.operator!r}",
                "linear in Jordan-Wigner fermions (a spin flip at one end of the chain)",
            )
    return tables.form("fermion")


def _spin_words(spaces: Iterable[LocalSpace], key: Key) -> list[tuple[Word, complex]]:
    """Expand a product of spin operators in words of Z, S+ and S-."""
    spaces = tuple(spaces)
    parts: list[list[tuple[int, str, complex]]] = []
    for site, group in itertools.groupby(key, key=lambda factor: factor[1]):
        matrix = np.eye(2, dtype=complex)
        for name, _ in group:
            matrix = matrix @ spaces[site].matrix(name)
        (a, p), (m, b) = matrix
        options = [(site, "", (a + b) / 2), (site, "Z", (a - b) / 2), (site, "Sp", p), (site, "Sm", m)]
        parts.append([o for o in options if o[2] != 0])
    out = []
    for choice in itertools.product(*parts):
        out.append(
            ({s: name for s, name, _ in choice if name}, complex(math.prod((x for *_, x in choice), start=1.0 + 0j)))
        )
    return out


def _add_bilinear(tables: _Tables, word: Word, c: complex) -> bool:
    odd = sorted(s for s, name in word.items() if name != "Z")
    if not odd and len(word) <= 1:
        for site in word:
            tables.hopping[site, site] += 2 * c  # Z = 2 n - 1
        return True
    if len(odd) != 2 or sorted(word) != list(range(odd[0], odd[1] + 1)):
        return False
    i, j = odd
    c = c * (-1) ** (j - i - 1)
    match (word[i], word[j]):
        case ("Sp", "Sm"):
            tables.hopping[i, j] += c
        case ("Sm", "Sp"):
            tables.hopping[j, i] += c
        case ("Sp", "Sp"):
            tables.pair(i, j, c)
    return True  # S- S- is the adjoint of a term seen elsewhere


def _add_linear(tables: _Tables, m: int, word: Word, c: complex) -> str:
    """Add one word to jump m; return the end from which its string runs: "left", "right", "both" or "none"."""
    odd = [s for s, name in word.items() if name != "Z"]
    if not word:
        tables.shift[m] += c  # a constant beside a flip mixes parities
        return "none"
    if len(odd) != 1:
        return "none"
    (j,) = odd
    L, table = tables.model.L, tables.lowering if word[j] == "Sm" else tables.raising
    left, right = sorted(word) == list(range(j + 1)), sorted(word) == list(range(j, L))
    if left and right:
        table[m, j] += c
        return "both"
    if left:
        table[m, j] += c * (-1) ** j
        return "left"
    if right:  # S_j prod_{l>j} Z_l = +- P a_j with the total parity P, which drops out of even operators
        table[m, j] += c * (-1) ** (L - 1 - j) * (1 if word[j] == "Sm" else -1)
        return "right"
    return "none"
