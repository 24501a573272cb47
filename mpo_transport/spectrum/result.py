"""What is known about a spectrum: eigenvalues with their sectors, eigenoperators on demand, the gap."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError, NotSupportedError
from .blocks import Block

__all__ = ["Gap", "Mode", "Spectrum"]


@dataclass(frozen=True, eq=False)
class Mode:
    """One eigenvalue with its coefficient vectors in the block; ``adjoint``: the operators are to be conjugated."""

    value: complex
    label: str
    residual: float
    condition: float
    right: np.ndarray
    left: np.ndarray | None
    block: Block
    adjoint: bool


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of the Lindbladian, L r_j = lambda_j r_j, L^+ l_j = lambda_j^* l_j, Tr(l_i^dag r_j) = delta_ij.

    Attributes
    ----------
    eigenvalues
        Shape (k,), complex, slowest first: sorted by -Re, then |Im|, the positive Im first.
    sectors
        The label of the sector of every eigenvalue.
    residuals
        |L r - lambda r| / |r| in the Hilbert-Schmidt norm, shape (k,).
    conditions
        |l| |r|, the factor from a perturbation of L (or a residual) to the error of the eigenvalue; infinite where no
        left operator could be found (close to an exceptional point).  Of matrix products: estimated error over
        residual.
    null_space
        Number of linearly independent stationary operators in the sectors searched: 1 in the whole space means that the
        steady state is unique.
    searched
        Labels of the sectors that were searched.
    scale
        Estimate of the largest modulus of an eigenvalue; eigenvalues below ``zero`` = 1e-11 ``scale`` count as zero.
    notes
        How it was computed, and remarks.
    rapidities, quanta
        Of a quadratic model solved by its rapidities (:func:`~mpo_transport.spectrum.rapidities`): all of them, and for
        every eigenvalue the indices of those that add up to it; else None and ().
    """

    eigenvalues: np.ndarray
    sectors: tuple[str, ...]
    residuals: np.ndarray
    conditions: np.ndarray
    null_space: int
    searched: tuple[str, ...]
    scale: float
    notes: tuple[str, ...]
    modes: tuple[Mode, ...] = field(repr=False, default=())
    rapidities: np.ndarray | None = None
    quanta: tuple[tuple[int, ...], ...] = ()

    @property
    def zero(self) -> float:
        """Modulus below which an eigenvalue counts as zero."""
        return 1e-11 * self.scale

    @property
    def is_unique(self) -> bool | None:
        """Whether the steady state is unique; None if no stationary operator lies in the sectors searched."""
        return None if self.null_space == 0 else self.null_space == 1

    def __len__(self) -> int:
        return len(self.eigenvalues)

    def right(self, j: int) -> np.ndarray:
        """Return the right eigenoperator r_j, (D, D): trace 1 if it has a trace, else Hilbert-Schmidt norm 1."""
        mode = self._mode(j)
        return mode.block.operator(mode.right) if not mode.adjoint else mode.block.operator(mode.right).conj().T

    def left(self, j: int) -> np.ndarray:
        """Return the left eigenoperator l_j, (D, D), with Tr(l_i^dag r_j) = delta_ij.

        Raises
        ------
        NotSupportedError
            If left operators were not computed, or do not exist because the eigenvalue is (nearly) defective.
        """
        mode = self._mode(j)
        if mode.left is None:
            raise NotSupportedError("Left eigenoperators were not computed; use left=True.", field="left")
        if not np.all(np.isfinite(mode.left)):
            raise NotSupportedError(
                f"Eigenvalue {j} ({mode.value:.6g}) has no left eigenoperator with overlap 1: it is (nearly) "
                "defective, an exceptional point. Ask for more eigenvalues if it belongs to a multiplet that was cut.",
                field="j",
            )
        out = mode.block.operator(mode.left)
        return out.conj().T if mode.adjoint else out

    def _mode(self, j: int) -> Mode:
        if isinstance(j, bool) or not isinstance(j, (int, np.integer)) or not -len(self) <= j < len(self):
            raise InputError(f"Argument `j` must be an integer below {len(self)}, but is {j!r}.", field="j")
        if self.rapidities is not None:
            raise NotSupportedError(
                "Eigenoperators are not written out for sums of rapidities; use spectrum(..., method='blocks').",
                field="method",
            )
        if not self.modes:
            raise NotSupportedError(
                "Eigenoperators are not written out for closed sets of operators; use spectrum(..., method='blocks').",
                field="method",
            )
        return self.modes[j]

    def __str__(self) -> str:
        lines = [f"{len(self)} eigenvalues, null space {self.null_space} in {len(self.searched)} sector(s)"]
        for value, label, residual in zip(self.eigenvalues, self.sectors, self.residuals, strict=True):
            lines.append(f"  {value.real: .10g} {value.imag:+.10g}i   [{label}]   residual {residual:.1e}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


class Gap(float):
    """The relaxation rate -Re lambda of the slowest eigenvalue that is not zero; behaves as a float.

    Attributes
    ----------
    eigenvalue, sector
        That eigenvalue and the label of its sector.
    null_space
        Number of stationary operators in the sectors searched.
    error
        Estimate of its error: residual times condition number, plus rounding.
    notes
        Remarks: a degenerate null space, undamped oscillations.
    """

    eigenvalue: complex
    sector: str
    null_space: int
    error: float
    notes: tuple[str, ...]

    def __new__(
        cls, value: float, *, eigenvalue: complex, sector: str, null_space: int, error: float, notes: tuple[str, ...]
    ) -> Gap:
        """Return the number with what is known about it."""
        out = super().__new__(cls, value)
        out.eigenvalue, out.sector, out.null_space = eigenvalue, sector, null_space
        out.error, out.notes = error, notes
        return out

    def __str__(self) -> str:
        return "\n".join([f"gap {float(self):.12g} (+- {self.error:.1e}) in [{self.sector}]", *self.notes])
