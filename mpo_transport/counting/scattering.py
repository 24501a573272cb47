"""Counting statistics of passive quadratic models from their scattering matrix: an independent way to theta(s).

Every bath channel is a vector w_j with net rate included, a net coupling of loss and gain, and an occupation N_j:

    S(w) = 1 - W (-i w - A)^{-1} W^+,    rows of W: w_j^+,    A = -i h - 1/2 W^+ W
    bosons    theta(s) = - int dw/2pi ln det[ 1 - N ( e^s S^+ e^{-s} S - 1 ) ]
    fermions  theta(s) = + int dw/2pi ln det[ 1 + N ( e^s S^+ e^{-s} S - 1 ) ]

L. S. Levitov, H.-W. Lee, G. B. Lesovik, J. Math. Phys. 37, 4845 (1996); I. Klich, cond-mat/0209642.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
import scipy.linalg as sl

from ..errors import ConvergenceError, InputError, NotSupportedError
from ..model import Lindbladian
from ..superoperator.quadratic import QuadraticForm, quadratic_form

__all__ = ["Channels", "channels_of", "scattering_theta"]

# Resonances are resolved by pieces that end at these multiples of their width.
WIDTHS = (0.0, 1.0, 4.0, 16.0, 64.0)
_PARALLEL = 1e-12


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of a passive model.

    Attributes
    ----------
    hopping
        h, (L, L) complex.
    rows
        W, (channels, L) complex, net rates included.
    occupations
        N_j, shape (channels,).
    charges
        Quanta that one loss moves into the baths, shape (channels, n).
    sign
        +1 for bosons, -1 for fermions.
    """

    hopping: np.ndarray
    rows: np.ndarray
    occupations: np.ndarray
    charges: np.ndarray
    sign: int

    def drift(self) -> np.ndarray:
        """Return A = -i h - 1/2 W^+ W."""
        return -1j * self.hopping - 0.5 * self.rows.conj().T @ self.rows

    def scattering_matrix(self, frequency: float) -> np.ndarray:
        """Return S(w), unitary, shape (channels, channels)."""
        a = self.drift()
        response = np.linalg.solve(-1j * frequency * np.eye(len(a)) - a, self.rows.conj().T)
        return np.eye(len(self.rows)) - self.rows @ response


def channels_of(model: Lindbladian, table: np.ndarray) -> Channels:
    """Return the channels: every loss jump with the gain jump of its bath that is its adjoint.

    Raises
    ------
    NotSupportedError
        If the number is not conserved, or a bosonic bath amplifies.
    """
    form = quadratic_form(model)
    if not form.conserves_number:
        raise NotSupportedError(
            "The scattering form needs conserved numbers: no pairing, no drive, no squeezed bath.",
            field="model",
        )
    sign = -1 if form.statistics == "fermion" else 1
    vectors, losses, gains, charges = _pairs(form, table)
    net = losses - sign * gains
    if np.any(net <= 0):
        raise NotSupportedError(
            "The scattering form needs passive baths, whose loss exceeds their gain; here a bath amplifies.",
            field="model",
        )
    rows = vectors * np.sqrt(net)[:, None]
    return Channels(form.hopping.toarray(), rows, gains / net, charges, sign)


def _pairs(form: QuadraticForm, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    lower, upper = form.lowering.toarray(), form.raising.conj().toarray()
    vectors: list[np.ndarray] = []
    losses: list[float] = []
    gains: list[float] = []
    charges: list[np.ndarray] = []
    free = [m for m in range(len(form.rates)) if np.any(upper[m])]
    for m in (m for m in range(len(form.rates)) if np.any(lower[m])):
        vector, size = lower[m] / np.linalg.norm(lower[m]), float(np.linalg.norm(lower[m]) ** 2)
        partner = next((k for k in free if form.labels[k] == form.labels[m] and _parallel(vector, upper[k])), None)
        gain = 0.0
        if partner is not None:
            free.remove(partner)
            gain = float(form.rates[partner] * np.linalg.norm(upper[partner]) ** 2)
            if np.any(table[partner] + table[m]):
                raise NotSupportedError(
                    f"Loss and gain of bath {form.labels[m]!r} must carry opposite charges.", field="counted"
                )
        vectors.append(vector)
        losses.append(float(form.rates[m]) * size)
        gains.append(gain)
        charges.append(table[m])
    for k in free:
        size = float(np.linalg.norm(upper[k]) ** 2)
        vectors.append(upper[k] / np.sqrt(size))
        losses.append(0.0)
        gains.append(float(form.rates[k]) * size)
        charges.append(-table[k])
    shape = (len(vectors), -1)
    return np.reshape(vectors, shape), np.array(losses), np.array(gains), np.reshape(charges, shape)


def _parallel(unit: np.ndarray, other: np.ndarray) -> bool:
    overlap = np.vdot(unit, other)
    return bool(np.linalg.norm(other - overlap * unit) <= _PARALLEL * np.linalg.norm(other))


def scattering_theta(model: Lindbladian, table: np.ndarray, s: np.ndarray, accuracy: float = 1e-11) -> float:
    """Return theta(s) for real fields s, shape (n,), by adaptive quadrature between the resonances.

    Raises
    ------
    NotSupportedError
        If the model is not passive.
    InputError
        (field ``fields``) where the determinant is not positive at some frequency: outside the domain.
    ConvergenceError
        If the quadrature does not reach the accuracy.
    """
    channels = channels_of(model, table)
    w, sign = channels.rows, channels.sign
    triangle, basis = sl.schur(channels.drift(), output="complex")  # eigenvectors may coalesce
    values, left, right = np.diag(triangle), w @ basis, basis.conj().T @ w.conj().T
    unit = np.eye(len(values))
    exponents = channels.charges @ np.asarray(s, dtype=float)
    up, occupations = np.exp(exponents), channels.occupations[:, None]

    def logarithm(frequency: float) -> float:
        part = left @ sl.solve_triangular(-1j * frequency * unit - triangle, right)  # 1 - S
        turned = up[:, None] * part.conj().T / up[None, :]
        # e^s S^+ e^{-s} S - 1 without the difference of numbers near one, which would spoil the tails
        eigenvalues = np.linalg.eigvals(occupations * (turned @ part - turned - part))
        terms = 1 - sign * eigenvalues
        if np.any((terms.real <= 0) & (np.abs(terms.imag) <= 1e-9)):
            raise InputError(
                f"Argument `fields`: {np.asarray(s).tolist()} lies outside the domain of theta; the determinant is "
                f"not positive at the frequency {frequency:.6g}.",
                field="fields",
            )
        return float(0.5 * np.log1p(-2 * sign * eigenvalues.real + np.abs(eigenvalues) ** 2).sum())  # ln |terms|

    centres, widths = -values.imag, -values.real
    nodes = np.sort(np.concatenate([centres + x * k * widths for x in (-1, 1) for k in WIDTHS]))
    nodes = nodes[np.append(True, np.diff(nodes) > 1e-6 * widths.max())]
    total = error = 0.0
    for a, b in zip([-np.inf, *nodes], [*nodes, np.inf], strict=True):
        part, uncertain, *_ = scipy.integrate.quad(
            logarithm, a, b, epsabs=accuracy / len(nodes), epsrel=1e-12, limit=200, full_output=1
        )
        total, error = total + part, error + uncertain
    if not error <= 1e3 * accuracy * max(1.0, abs(total)):
        raise ConvergenceError(f"The integral over frequencies is uncertain by {error:.1e}.")
    return -sign * total / (2 * np.pi)
