"""The search for the slowest eigenvalues over the sectors of a model."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ConvergenceError, InputError, InsufficientMemoryError, NotSupportedError, did_you_mean
from ..model import Lindbladian
from ..solve.inputs import checked_model, checked_seed, checked_tol
from ..solve.resources import memory_limit, readable_bytes
from ..superoperator.quadratic import quadratic_form
from ..superoperator.terms import require_bounded
from .blocks import Block, BlockBuilder, sector_entries, sector_size
from .hierarchy import hierarchy_spectrum
from .labels import Sector, Sectors
from .network import network_spectrum
from .numerics import (
    Eigen,
    Scale,
    dense_eigen,
    krylov_eigen,
    matched_left,
    nothing_slower,
    order,
    scale_of,
    shifted_inverse,
)
from .rapidities import rapidity_spectrum
from .result import Gap, Mode, Spectrum

__all__ = ["gap", "spectrum"]

WHICH = ("slowest", "nearest")
METHODS = ("blocks", "rapidities", "hierarchy", "sweeps")
DEFAULT_TOL, SWEEPS_TOL = 1e-10, 1e-3
_DENSE = 400
_DENSE_INSTEAD = 1500
_FACTORISED = 2500
_LARGEST_FACTORISED = 20000
_ZERO = 1e-11
_MOST_MODES = 512
_RAPIDITIES_ABOVE = 512  # Hilbert-space dimension; blocks are quick below it and give eigenoperators too
_LARGEST_DIMENSION = 2**26


def spectrum(
    model: Lindbladian,
    k: int = 4,
    *,
    sector: Any = None,
    tol: float | None = None,
    which: str = "slowest",
    seed: int | None = None,
    left: bool = True,
    max_products: int = 400_000,
    method: str | None = None,
    max_bond: int | None = None,
) -> Spectrum:
    """Return the k slowest eigenvalues of the Lindbladian, with right and left eigenoperators and sector labels.

        L r_j = lambda_j r_j,    L^+ l_j = lambda_j^* l_j,    Tr(l_i^dag r_j) = delta_ij,    Re lambda_j <= 0

    L^+ is the generator of the Heisenberg picture (adjoint in the Hilbert-Schmidt scalar product).  The sectors of all
    symmetries found in the model (weak and strong U(1) and Z2, translation and reflection) are treated one by one;
    conjugate sectors have complex conjugate eigenvalues and are computed once.

    Parameters
    ----------
    model
        A :class:`~mpo_transport.Lindbladian` of bounded sites.
    k
        Number of eigenvalues, >= 1; fewer are returned where the sectors hold fewer.
    sector
        None: all sectors; a label as printed (``"charge=0, reflection=even"``); or a mapping of some quantum numbers
        (``{"parity": "even"}``): all sectors that have them.  ``"parity"`` is that of the change of the total number.
    tol
        Largest residual |L r - lambda r| / |r| accepted, relative to the largest modulus of an eigenvalue; default
        1e-10.  Of ``"sweeps"``: relative error of the first eigenvalue accepted; 1e-3.
    which
        ``"slowest"``: largest real part.  ``"nearest"``: smallest modulus, which ignores modes that oscillate fast but
        finds tiny rates in stiff problems by a sparse factorisation.
    seed
        Seed of the starting vectors of iterative blocks.
    left
        Whether to compute left eigenoperators too; they also square the accuracy of iterated eigenvalues.
    max_products
        Largest number of products of the Lindbladian with a vector, per sector.
    method
        ``"blocks"``: matrices in every sector.  ``"rapidities"``: sums of the eigenvalues of the drift of a quadratic
        model, exact at any size, without eigenoperators and without lattice symmetries, and of spin chains those of
        even parity only.  ``"hierarchy"``: the rates at which observables relax whose equations of motion close, at any
        size; ``sector`` then is None (bond current and profile), an observable, an operator sum or a list of these.
        ``"sweeps"``: matrix products, for long chains that are not quadratic: the eigenvalues nearest to zero of
        modes that begin as densities and energies, so of even parity and charge 0; no eigenoperators, and ``sector`` is
        None or ``{"parity": "even"}``.
        None: rapidities for unbounded modes, and for spin chains of more than nine sites that are
        quadratic and whose sectors asked for are even; otherwise blocks.
    max_bond
        Largest bond dimension of ``"sweeps"``; default 32.

    Returns
    -------
    Spectrum

    Raises
    ------
    InputError
        Naming the argument; an empty or unknown sector lists the known ones.
    InsufficientMemoryError
        If the estimate for a sector does not fit, before starting.
    ConvergenceError
        If a residual stays above ``tol``; the partial :class:`Spectrum` is its ``result``.

    Notes
    -----
    Blocks of up to 400 operators are diagonalised.  Larger ones use restarted block Krylov spaces of exp(L t); where
    these stall, up to 2500 operators, a shifted inverse is used in turn, and up to 1500 the block is diagonalised after
    all.  The multiplicity of an eigenvalue in an iterated block is confirmed by a further cycle from random vectors,
    which makes missing one improbable but proves nothing.

    Examples
    --------
    >>> from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, op
    >>> qubit = Lindbladian(Chain(1, SpinHalf()), 1.5 * op("Z", 0), [Jump(op("Sm", 0), rate=0.4)])
    >>> found = spectrum(qubit, k=4)
    >>> (found.eigenvalues + 0).round(10).tolist(), found.sectors
    ([0j, (-0.2+3j), (-0.2-3j), (-0.4+0j)], ('charge=0', 'charge=-1', 'charge=1', 'charge=0'))
    """
    checked_model(model)
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise InputError(f"Argument `k` must be an integer >= 1, but is {k!r}.", field="k")
    if which not in WHICH:
        raise InputError(f"Argument `which` is {which!r}; {did_you_mean(str(which), WHICH)}", field="which")
    if isinstance(max_products, bool) or not isinstance(max_products, numbers.Integral) or max_products < 1:
        raise InputError(
            f"Argument `max_products` must be an integer >= 1, but is {max_products!r}.", field="max_products"
        )
    if method is not None and method not in METHODS:
        raise InputError(f"Argument `method` is {method!r}; {did_you_mean(str(method), METHODS)}", field="method")
    if method == "hierarchy":
        return hierarchy_spectrum(model, int(k), sector, tol=tol, seed=seed, max_products=max_products)
    if max_bond is not None and method != "sweeps":
        raise InputError("Argument `max_bond` belongs to method='sweeps'.", field="max_bond")
    if method == "sweeps":
        _check_sweeps(sector, max_bond)
        accuracy = SWEEPS_TOL if tol is None else checked_tol(tol)
        return network_spectrum(model, int(k), accuracy, checked_seed(seed), max_bond)
    tol = DEFAULT_TOL if tol is None else tol
    found = None if method == "blocks" else _by_rapidities(model, int(k), sector, which, method)
    if found is not None:
        return found
    require_bounded(model)
    search = _Search(model, int(k), checked_tol(tol), which, checked_seed(seed), bool(left), int(max_products))
    return search.run(sector)


def gap(
    model: Lindbladian,
    *,
    sector: Any = None,
    tol: float | None = None,
    seed: int | None = None,
    which: str = "slowest",
    max_products: int = 400_000,
    method: str | None = None,
    max_bond: int | None = None,
) -> Gap:
    """Return the gap -Re lambda of the slowest eigenvalue that is not zero, as a float that knows more (:class:`Gap`).

    A degenerate null space is noted, the gap is then the one above it; undamped oscillations (Re lambda = 0 with
    Im lambda != 0) give the gap 0 and a note.  In a sector without stationary operators it is the slowest decay rate.
    The arguments and errors are those of :func:`spectrum`; with ``which="nearest"`` a slower oscillating mode may be
    overlooked, and a note says so.

    Examples
    --------
    >>> from mpo_transport import models
    >>> chain = models.boundary_driven_xx(L=4, t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    >>> rate = gap(chain, sector={"parity": "even"})
    >>> round(rate, 10), rate.sector, rate.null_space
    (0.2618203285, 'charge=0', 1)

    A quadratic model needs no operator space, whatever its size:

    >>> free = models.boundary_driven_xx(L=100, t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    >>> f"{gap(free, sector={'parity': 'even'}):.6e}"
    '2.889283e-05'
    """
    k = 2
    while True:
        found = spectrum(
            model,
            k,
            sector=sector,
            tol=tol,
            which=which,
            seed=seed,
            max_products=max_products,
            method=method,
            max_bond=max_bond,
        )
        moving = np.flatnonzero(np.abs(found.eigenvalues) > found.zero)
        if len(moving) or len(found) < k:
            break
        k = max(2 * k, found.null_space + 1)
    if not len(moving):
        raise InputError("The sectors chosen hold stationary operators only: there is no gap.", field="sector")
    j = int(moving[0])
    value = complex(found.eigenvalues[j])
    notes = list(found.notes) if method == "hierarchy" else []
    if which == "nearest":
        notes.append("the eigenvalue nearest to zero: a slower mode that oscillates faster may exist")
    if found.null_space > 1:
        notes.append(
            f"{found.null_space} stationary operators: the gap is the one above them, the steady state not unique"
        )
    elif found.null_space == 0:
        notes.append("no stationary operator in the sectors searched: the slowest decay rate among them")
    rate = max(-value.real, 0.0)
    if rate <= found.zero:
        rate = 0.0
        notes.append(f"undamped oscillation with frequency {abs(value.imag):.6g}: the long-time state does not settle")
    condition = found.conditions[j] if math.isfinite(found.conditions[j]) else 1e8
    error = float(condition * (found.residuals[j] + np.finfo(float).eps * found.scale))
    return Gap(
        rate, eigenvalue=value, sector=found.sectors[j], null_space=found.null_space, error=error, notes=tuple(notes)
    )


def _check_sweeps(sector: Any, max_bond: Any) -> None:
    if sector not in (None, {"parity": "even"}):
        raise InputError(
            f"Argument `sector` = {sector!r}: method='sweeps' follows densities and energies; it knows "
            "{'parity': 'even'} only.",
            field="sector",
        )
    whole = isinstance(max_bond, numbers.Integral) and not isinstance(max_bond, bool)
    if max_bond is not None and not (whole and max_bond >= 4):
        raise InputError(f"Argument `max_bond` must be an integer >= 4 or None, but is {max_bond!r}.", field="max_bond")


def _by_rapidities(model: Lindbladian, k: int, sector: Any, which: str, method: str | None) -> Spectrum | None:
    """Return the sums of rapidities, or None where blocks are to be used.

    Raises
    ------
    NotSupportedError
        If rapidities were asked for and do not apply; for unbounded modes of a model that is not quadratic.
    InsufficientMemoryError
        If neither they nor blocks can be used.
    """
    dimension = math.prod(float(d) for d in model.lattice.dims)
    if method is None and dimension <= _RAPIDITIES_ABOVE:
        return None
    bosons = any(space.kind == "boson" for space in model.lattice.spaces)
    if bosons and model.lattice.is_bounded:  # truncated modes are another model than unbounded ones
        if method is not None:
            raise NotSupportedError(
                "Rapidities belong to unbounded modes, but this model truncates them; build it with levels=math.inf.",
                field="method",
            )
        return None
    try:
        quadratic_form(model)
    except NotSupportedError:
        if method is None:
            if model.lattice.is_bounded:
                check_dimension(model)
            return None
        raise
    try:
        return rapidity_spectrum(model, k, sector, which)
    except NotSupportedError as error:
        if method is not None or not model.lattice.is_bounded:
            raise
        check_dimension(model, f" {error}")
        return None


def check_dimension(model: Lindbladian, hint: str = "") -> None:
    """Raise :class:`InsufficientMemoryError` if not even the basis states of the sectors can be listed."""
    dimension = math.prod(float(d) for d in model.lattice.dims)
    if dimension > _LARGEST_DIMENSION:
        raise InsufficientMemoryError(
            f"The Hilbert space of {dimension:.3g} dimensions is too large for the matrices of its sectors.{hint}",
            field="model",
        )


class _Search:
    """One call of :func:`spectrum`."""

    def __init__(
        self, model: Lindbladian, k: int, tol: float, which: str, seed: int, left: bool, max_products: int
    ) -> None:
        self.model, self.k, self.tol, self.which = model, k, tol, which
        self.seed, self.left, self.max_products = seed, left, max_products
        self.modes: list[Mode] = []
        self.small: list[float] = []
        self.scale = 0.0
        self.kinds: dict[str, list[int]] = {}
        self.bad: list[str] = []
        self.passed: list[str] = []

    def run(self, sector: Any) -> Spectrum:
        sectors = Sectors(self.model)
        chosen = sectors.choose(sector)
        self._check_memory(sectors, chosen)
        builder = BlockBuilder(self.model, sectors)
        labels = {s.label for s in chosen}
        searched: list[str] = []
        stationary_first = sorted(sectors.all, key=lambda s: s.label.adjoint(self.model.L) != s.label)
        for number, s in enumerate(stationary_first):
            if s.label not in labels:
                continue
            partner = s.label.adjoint(self.model.L)
            labels.discard(s.label)
            both = partner in labels
            labels.discard(partner)
            block = builder.build(s)
            if block.size:
                searched += [str(s.label), *([str(partner)] if both else [])]
                self._treat(block, number, str(partner) if both else None)
        if not searched:
            raise InputError(
                f"Argument `sector` = {sector!r} holds no operators; known sectors: {sectors.listing()}.",
                field="sector",
            )
        return self._result(tuple(searched))

    def _check_memory(self, sectors: Sectors, chosen: Sequence[Sector]) -> None:
        limit, source = memory_limit()
        for s in chosen:
            n = sector_size(sectors, s)
            need = 120.0 * sector_entries(self.model, sectors, s)
            if n <= _DENSE:
                need += 8 * 16 * n * n
            else:
                width = 2 * (self.k + 8) + 40 * 3
                need += 16 * n * 3 * width
                if n <= _FACTORISED or self.which == "nearest":
                    need += 12 * n * n
            if need > limit:
                raise InsufficientMemoryError(
                    f"The sector [{s.label}] of about {n:.3g} operators needs about {readable_bytes(need)}, but "
                    f"{readable_bytes(limit)} are available ({source}). Choose a smaller system or another sector.",
                    field="model",
                )

    def _treat(self, block: Block, number: int, partner: str | None) -> None:
        """Add the eigenvalues of one block, and those of its conjugate if ``partner`` names it."""
        rng = np.random.default_rng([self.seed, number])
        scale = scale_of(block.matrix, rng)
        self.scale = max(self.scale, scale.largest)
        count = min(self.k, block.size)
        if self._is_too_fast(block, scale, rng):
            self.passed.append(str(block.sector.label))
            return
        while True:
            eigen, every = self._eigen(block, scale, count, rng)
            values = eigen.values if every is None else every
            zeros = int(np.count_nonzero(np.abs(values) <= _ZERO * self.scale))
            if every is not None or zeros < len(eigen.values) or len(eigen.values) == block.size or count > _MOST_MODES:
                break
            count = min(2 * count, block.size)  # stationary operators only so far: their number is not known yet
        self.small += [abs(complex(v)) for v in values] * (2 if partner else 1)
        lefts, condition = None, np.full(len(eigen.values), np.inf)
        if self.left:
            eigen, lefts, condition = self._left(block, scale, eigen, rng)
        if not np.all(eigen.converged):
            worst = float(eigen.residuals[~eigen.converged].max())
            self.bad.append(f"[{block.sector.label}]: residual {worst:.2e}, accepted {self.tol * scale.largest:.2e}")
        for j, value in enumerate(eigen.values):
            right, l = _normalised(block, eigen.right[:, j], None if lefts is None else lefts[:, j])
            own = Mode(
                complex(value),
                str(block.sector.label),
                float(eigen.residuals[j]),
                float(condition[j]),
                right,
                l,
                block,
                False,
            )
            self.modes.append(own)
            if partner:
                self.modes.append(
                    Mode(own.value.conjugate(), partner, own.residual, own.condition, right, l, block, True)
                )

    def _is_too_fast(self, block: Block, scale: Scale, rng: np.random.Generator) -> bool:
        """Return whether a large block holds nothing slower than the k modes already known."""
        if block.size <= _DENSE or self.which != "slowest" or len(self.modes) < self.k:
            return False
        cutoff = sorted((m.value.real for m in self.modes), reverse=True)[self.k - 1]
        if cutoff >= -_ZERO * self.scale:
            return False
        return nothing_slower(block.matrix, scale, cutoff, rng, self.max_products // 4)

    def _eigen(
        self, block: Block, scale: Scale, count: int, rng: np.random.Generator
    ) -> tuple[Eigen, np.ndarray | None]:
        n = block.size
        if n <= _DENSE:
            self._used("diagonalised", n)
            return dense_eigen(block.matrix, scale, self.which, count)
        factorise = self.which == "nearest" or n <= _FACTORISED
        if factorise and n > _LARGEST_FACTORISED:
            raise InputError(
                f"Argument `which` = 'nearest' would factorise a block of {n} operators, more than "
                f"{_LARGEST_FACTORISED}; use which='slowest'.",
                field="which",
            )
        self._used("Krylov spaces of " + ("a shifted inverse" if self.which == "nearest" else "exp(L t)"), n)
        for inverted in (False, True) if self.which == "slowest" else (True,):
            if inverted and not factorise:
                break
            eigen = krylov_eigen(
                block.matrix,
                scale,
                self.which,
                count,
                target=self.tol * scale.largest,
                max_products=min(self.max_products, 40 * n + 10_000) if factorise else self.max_products,
                inverse=shifted_inverse(block.matrix, scale) if inverted else None,
                rng=rng,
            )
            if np.all(eigen.converged):
                return eigen, None
        if n <= _DENSE_INSTEAD:
            self._used("diagonalised", n)
            return dense_eigen(block.matrix, scale, self.which, count)
        return eigen, None

    def _left(
        self, block: Block, scale: Scale, eigen: Eigen, rng: np.random.Generator
    ) -> tuple[Eigen, np.ndarray, np.ndarray]:
        adjoint = Block(
            block.sector, block.matrix.conj().T.tocsr(), block.isometry, block.kets, block.bras, block.dimension
        )
        found, _ = self._eigen(adjoint, scale, len(eigen.values), rng)
        return matched_left(eigen, found, block.matrix, scale)

    def _used(self, kind: str, n: int) -> None:
        self.kinds.setdefault(kind, []).append(n)

    def _result(self, searched: tuple[str, ...]) -> Spectrum:
        null_space = sum(size <= _ZERO * self.scale for size in self.small)
        values = np.array([m.value for m in self.modes])
        index = order(values, self.scale, self.which)[: self.k]
        modes = tuple(self.modes[j] for j in index)
        notes = [f"{kind}: blocks of up to {max(sizes)} operators" for kind, sizes in self.kinds.items()]
        if self.passed:
            notes.append(f"{len(self.passed)} sector(s) decay faster than all of these and were not resolved further")
        if null_space > 1:
            notes.append(f"the steady state is not unique: {null_space} stationary operators")
        undamped = [m for m in modes if abs(m.value.real) <= _ZERO * self.scale < abs(m.value)]
        if undamped:
            listing = ", ".join(f"{w:.6g}" for w in sorted({round(abs(m.value.imag), 9) for m in undamped}))
            notes.append(f"undamped oscillations with frequencies {listing}")
        if any(m.left is not None and not math.isfinite(m.condition) for m in modes):
            notes.append("some eigenvalues have no biorthogonal left operator: nearly defective (an exceptional point)")
        out = Spectrum(
            np.array([m.value for m in modes]),
            tuple(m.label for m in modes),
            np.array([m.residual for m in modes]),
            np.array([m.condition for m in modes]),
            null_space,
            searched,
            self.scale,
            tuple(notes),
            modes,
        )
        if self.bad:
            raise ConvergenceError(
                "The spectrum did not converge in the sectors " + "; ".join(self.bad) + ". Raise max_products, choose "
                "fewer eigenvalues, or use which='nearest' for tiny rates.",
                result=out,
            )
        return out


def _normalised(block: Block, right: np.ndarray, left: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Scale r to trace 1 if it has a trace beyond rounding (then it is stationary), and l inversely."""
    units = right if block.isometry is None else block.isometry @ right
    trace = complex(units[block.kets == block.bras].sum())
    if abs(trace) < 1e-7 * np.linalg.norm(right):
        return right, left
    return right / trace, None if left is None else left * np.conj(trace)
