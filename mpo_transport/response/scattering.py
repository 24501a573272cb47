"""Scattering between the baths of a quadratic bosonic model, by input-output theory.

Every bath couples through L_m = sum_j ( u_mj a_j + v_mj a_j^+ ) to a field b_m, b_out = b_in + L.  Without pairing,

    d<a>/dt = A a - W^+ b_in,      b_out(w) = S(w) b_in(w),      S(w) = 1 - W (-i w - A)^{-1} W^+,      W = u,

and S is unitary.  In general, for (b, b^+) at one frequency, S(w) = 1 + C (-i w - A)^{-1} B with S Z S^+ = Z,
Z = diag(1, -1), where A is the drift of (a, a^+), C = [[u, v], [v^*, u^*]] and B = [[-u^+, v^T], [v^+, -u^T]].

C. W. Gardiner, M. J. Collett, Phys. Rev. A 31, 3761 (1985).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg as sl

from ..errors import ConvergenceError, InputError, UnstableError
from ..model import Lindbladian, checked_model
from ..spectrum.rapidities import nambu_drift
from ..superoperator.quadratic import quadratic_form
from .arguments import checked_frequencies
from .channels import Channel, channels

__all__ = ["Scattering", "Transmission", "scattering_matrix", "transmission"]

_MARGINAL = 1e-13


@dataclass(frozen=True, eq=False)
class Scattering:
    """The scattering matrix of the baths.

    Attributes
    ----------
    frequencies
        Shape (W,).
    labels
        Names of the n channels: the labels of the baths, numbered where a bath has several.
    matrix
        S(w), complex (W, n, n): amplitude from channel j (column) into channel i (row).  With pairing (2n, 2n): first
        the fields b, then b^+.
    occupations
        Mean occupations of the incoming fields, shape (n,).
    """

    frequencies: np.ndarray
    labels: tuple[str, ...]
    matrix: np.ndarray
    occupations: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """|S_ij|^2, of the shape of ``matrix``."""
        return np.asarray(np.abs(self.matrix) ** 2)

    @property
    def unitarity_defect(self) -> float:
        """Largest entry of S Z S^+ - Z over all frequencies (Z = 1 without pairing)."""
        n = len(self.labels)
        z = np.ones(n) if self.matrix.shape[-1] == n else np.repeat([1.0, -1.0], n)
        product = (self.matrix * z) @ self.matrix.conj().transpose(0, 2, 1)
        return float(np.abs(product - np.diag(z)).max(initial=0.0))

    def between(self, source: str, target: str) -> np.ndarray:
        """Return S(w) from channel ``source`` into channel ``target``, shape (W,)."""
        index = []
        for name, label in (("target", target), ("source", source)):
            if label not in self.labels:
                raise InputError(
                    f"Argument `{name}` must be one of {', '.join(self.labels)}, but is {label!r}.", field=name
                )
            index.append(self.labels.index(label))
        return np.asarray(self.matrix[:, index[0], index[1]])


@dataclass(frozen=True, eq=False)
class Transmission:
    """Transmissions integrated over frequency.

    Attributes
    ----------
    labels
        Names of the n channels.
    normal
        T_ij = int dw/(2 pi) |S_ij(w) - delta_ij|^2 from channel j into channel i, a rate, shape (n, n).
    anomalous
        The same for an outgoing b_i made from an incoming b_j^+; zero without pairing and gain.
    widths
        |u_i|^2 - |v_i|^2 summed over the modes: the total coupling rate of every channel, shape (n,).
    occupations
        Mean occupations of the incoming fields, shape (n,).

    Notes
    -----
    Without pairing sum_j T_ij = sum_j T_ji = widths_i, and the quanta into bath i per time are
    sum_j T_ij (N_j - N_i).
    """

    labels: tuple[str, ...]
    normal: np.ndarray
    anomalous: np.ndarray
    widths: np.ndarray
    occupations: np.ndarray

    def contrast(self, i: str, j: str) -> float:
        """Return the non-reciprocity (T_ji - T_ij) / (T_ji + T_ij) of two channels, 1 if nothing goes from j to i."""
        for name, label in (("i", i), ("j", j)):
            if label not in self.labels:
                raise InputError(
                    f"Argument `{name}` must be one of {', '.join(self.labels)}, but is {label!r}.", field=name
                )
        a, b = self.labels.index(i), self.labels.index(j)
        back, forth = float(self.normal[a, b]), float(self.normal[b, a])
        return (forth - back) / (forth + back) if forth + back > 0 else 0.0


@dataclass(frozen=True, eq=False)
class _InputOutput:
    """A, B and C of the head of this module."""

    ports: tuple[Channel, ...]
    drift: np.ndarray
    inward: np.ndarray
    outward: np.ndarray

    @classmethod
    def of(cls, model: Lindbladian) -> _InputOutput:
        form = quadratic_form(checked_model(model))
        ports = channels(form)
        u = np.array([c.lowering for c in ports], dtype=complex).reshape(len(ports), form.L)
        v = np.array([c.raising for c in ports], dtype=complex).reshape(len(ports), form.L)
        if form.conserves_number and not np.any(v):
            return cls(ports, form.amplitudes()[0], -u.conj().T, u)
        inward = np.block([[-u.conj().T, v.T], [v.conj().T, -u.T]])
        outward = np.block([[u, v], [v.conj(), u.conj()]])
        return cls(ports, nambu_drift(form), inward, outward)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(c.label for c in self.ports)

    @property
    def occupations(self) -> np.ndarray:
        return np.array([c.occupation for c in self.ports])


def scattering_matrix(model: Lindbladian, frequencies: Any) -> Scattering:
    """Return the scattering matrix between the baths of a quadratic bosonic model.

        S(w) = 1 - W (-i w - A)^{-1} W^+

    Parameters
    ----------
    model
        A quadratic model of bosonic modes.  Two jumps L, L^+ with the same label are one thermal bath; every other jump
        is a channel of its own.
    frequencies
        Real angular frequencies w of the fields ~ exp(-i w t), any order; in the frame in which the model is written.

    Raises
    ------
    NotSupportedError
        If the model is not quadratic, or of spins.
    ConvergenceError
        At the frequency of an undamped mode.

    Notes
    -----
    The phases of the channels are those of the jump operators.  With pairing, drive by gain, or squeezed jumps the
    matrix mixes b and b^+, see :class:`Scattering`.

    References
    ----------
    C. W. Gardiner, M. J. Collett, Phys. Rev. A 31, 3761 (1985).

    Examples
    --------
    A mode between two equal baths transmits everything at its frequency:

    >>> import math
    >>> from mpo_transport import Boson, Chain, Jump, op
    >>> sides = [Jump(op("A", 0), 0.4, "left", 1.0), Jump(op("A", 0), 0.4, "right", 1.0)]
    >>> mode = Lindbladian(Chain(1, Boson(math.inf)), 2.0 * op("N", 0), sides)
    >>> s = scattering_matrix(mode, [2.0, 2.4])
    >>> (abs(s.between("left", "right")) ** 2).round(6).tolist(), s.unitarity_defect < 1e-14
    ([1.0, 0.5], True)
    """
    io = _InputOutput.of(model)
    grid = checked_frequencies(frequencies)
    triangle, basis = sl.schur(io.drift, output="complex")
    inward, outward = basis.conj().T @ io.inward, io.outward @ basis
    n, size = len(triangle), float(np.abs(np.diag(triangle)).max(initial=0.0))
    out = np.empty((len(grid), len(outward), len(outward)), dtype=complex)
    for k, w in enumerate(grid):
        shifted = -1j * w * np.eye(n) - triangle
        if np.abs(np.diag(shifted)).min(initial=np.inf) <= _MARGINAL * max(size, abs(w)):
            raise ConvergenceError(f"There is an undamped mode at the frequency {w:.6g}: no scattering matrix.")
        out[k] = np.eye(len(outward)) + outward @ sl.solve_triangular(shifted, inward)
    return Scattering(grid, io.labels, out, io.occupations)


def transmission(model: Lindbladian) -> Transmission:
    """Return the transmissions between the baths integrated over all frequencies, int dw/(2 pi) |S_ij|^2.

    By Parseval's theorem T_ij = w_i Q_j w_i^+ with A Q_j + Q_j A^+ = -w_j^+ w_j, one Lyapunov equation per channel
    and no frequency grid.

    Parameters
    ----------
    model
        As in :func:`scattering_matrix`.

    Raises
    ------
    NotSupportedError
        If the model is not quadratic, or of spins; :class:`~mpo_transport.errors.UnstableError` if a mode does not
        decay.

    Examples
    --------
    >>> import math
    >>> from mpo_transport import Boson, Chain, Jump, op
    >>> sides = [Jump(op("A", 0), 0.4, "left", 1.0), Jump(op("A", 0), 0.4, "right", 1.0)]
    >>> t = transmission(Lindbladian(Chain(1, Boson(math.inf)), 2.0 * op("N", 0), sides))
    >>> t.normal.round(6).tolist(), t.contrast("left", "right")
    ([[0.2, 0.2], [0.2, 0.2]], 0.0)
    """
    io = _InputOutput.of(model)
    n = len(io.ports)
    triangle, basis = sl.schur(io.drift, output="complex")
    decay = np.diag(triangle)
    if decay.real.max(initial=-1.0) >= -_MARGINAL * float(np.abs(decay).max(initial=0.0)):
        k = int(decay.real.argmax())
        raise UnstableError(
            f"A mode of frequency {abs(decay[k].imag):.6g} does not decay, so that transmissions cannot be integrated.",
            field="model",
            growth=float(decay[k].real),
            frequency=float(abs(decay[k].imag)),
        )
    inward, outward = basis.conj().T @ io.inward, io.outward[:n] @ basis
    (solve,) = sl.get_lapack_funcs(("trsyl",), (triangle, triangle, inward))
    columns = io.inward.shape[1]
    total = np.empty((n, columns))
    for j in range(columns):
        source = -np.outer(inward[:, j], inward[:, j].conj())
        q, scale, _ = solve(triangle, triangle, source, tranb="C")
        total[:, j] = np.einsum("ik,kl,il->i", outward, q / scale, outward.conj(), optimize=True).real
    normal, anomalous = total[:, :n], total[:, n:] if columns > n else np.zeros((n, n))
    widths = np.array([np.linalg.norm(c.lowering) ** 2 - np.linalg.norm(c.raising) ** 2 for c in io.ports])
    return Transmission(io.labels, normal, anomalous, widths, io.occupations)
