"""Numbers that follow from a covariance matrix: symplectic spectra, entropies, negativity, number distribution.

Bosons, R = (q_1..q_n, p_1..p_n), vacuum 1/2: sigma = S diag(nu, nu) S^T with symplectic S and nu >= 1/2, a product of
thermal modes of occupation nu - 1/2.  Fermions: Gamma has eigenvalues +- i lambda, |lambda| <= 1, a product of modes
with occupations (1 +- lambda)/2.
A. Serafini, Quantum Continuous Variables (2017), ch. 3 and 7.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = [
    "boson_entropy",
    "fermion_entropy",
    "logarithmic_negativity",
    "majorana_eigenvalues",
    "number_distribution",
    "partial_transpose",
    "symplectic_eigenvalues",
    "symplectic_form",
]


def symplectic_form(n: int) -> np.ndarray:
    """Return Omega, [R_j, R_k] = i Omega_jk, shape (2n, 2n)."""
    return np.block([[np.zeros((n, n)), np.eye(n)], [-np.eye(n), np.zeros((n, n))]])


def symplectic_eigenvalues(covariance: np.ndarray) -> np.ndarray:
    """Return the symplectic eigenvalues nu of a positive covariance matrix, ascending, shape (n,).

    >>> symplectic_eigenvalues(np.diag([2.0, 0.125]))
    array([0.5])
    """
    n = len(covariance) // 2
    try:
        root = np.linalg.cholesky(covariance)
        turned = np.concatenate([root[n:], -root[:n]])  # Omega root
        values = np.linalg.eigvalsh(1j * (root.T @ turned))
    except np.linalg.LinAlgError:  # not positive: not a state; its spectrum still tells
        values = np.sort(np.linalg.eigvals(symplectic_form(n) @ covariance).imag)
    return np.asarray(values[n:])


def partial_transpose(covariance: np.ndarray, flipped: np.ndarray) -> np.ndarray:
    """Return the covariance after the time reversal p -> -p of the modes ``flipped`` (Boolean, shape (n,))."""
    sign = np.concatenate([np.ones(len(flipped)), np.where(flipped, -1.0, 1.0)])
    return np.asarray(sign[:, None] * covariance * sign)


def logarithmic_negativity(covariance: np.ndarray, flipped: np.ndarray) -> float:
    """Return ln ||rho^(T_B)||_1 = sum_k max(0, -ln 2 nu_k) of the partially transposed state (natural logarithm)."""
    nu = symplectic_eigenvalues(partial_transpose(covariance, flipped))
    return float(-np.log(np.minimum(2 * nu, 1.0)).sum()) + 0.0


def boson_entropy(nu: np.ndarray, order: float) -> float:
    """Return the entropy of order ``order`` of thermal modes with symplectic eigenvalues nu (1: von Neumann)."""
    nu = np.maximum(nu, 0.5)
    high, low = nu + 0.5, nu - 0.5
    if order == 1:
        return float(np.sum(high * np.log(high) - low * np.log(np.where(low > 0, low, 1.0))))
    if order == math.inf:
        return float(np.log(high).sum())
    if order == 0:
        return math.inf if np.any(low > 1e-14) else 0.0
    # Tr rho^a = prod 1 / (high^a - low^a), written so that large nu do not overflow
    logarithm = order * np.log(high) + np.log1p(-((low / high) ** order))
    return float(logarithm.sum() / (order - 1))


def majorana_eigenvalues(gamma: np.ndarray) -> np.ndarray:
    """Return the lambda >= 0 of the pairs +- i lambda of an antisymmetric real matrix, ascending, shape (n,)."""
    values = np.linalg.eigvalsh(1j * gamma)
    return np.asarray(np.maximum(values[len(values) // 2 :], 0.0))


def fermion_entropy(lam: np.ndarray, order: float) -> float:
    """Return the entropy of order ``order`` of fermionic modes with occupations (1 +- lambda)/2."""
    p = np.clip((1 + lam) / 2, 0.5, 1.0)
    q = 1 - p
    if order == 1:
        return float(-np.sum(p * np.log(p) + q * np.log(np.where(q > 0, q, 1.0)))) + 0.0
    if order == math.inf:
        return float(-np.log(p).sum()) + 0.0
    if order == 0:
        return float(np.count_nonzero(q > 1e-15) * math.log(2))
    return float(np.sum(np.log(p**order + q**order)) / (1 - order)) + 0.0


def number_distribution(mean: complex, normal: float, anomalous: complex, most: int) -> np.ndarray:
    """Return the occupation probabilities P(0..most) of one Gaussian mode.

    Parameters
    ----------
    mean
        <a>.
    normal, anomalous
        Connected <a^+ a> (real, >= 0) and <a a>.

    Notes
    -----
    <m|rho|n> = c_mn / sqrt(m! n!) with the generating function
    sum_mn c_mn x^m y^n / (m! n!) = P_0 exp( (x, y) M (x, y)^T / 2 + v (x, y)^T ),
    M = X (1 - Q^-1), v = (<a>^*, <a>) Q^-1, where Q is the covariance of the Husimi function and X exchanges the two
    components.  V. V. Dodonov, O. V. Man'ko, V. I. Man'ko, Phys. Rev. A 49, 2993 (1994).

    >>> number_distribution(0, 1.0, 0, 3)
    array([0.5   , 0.25  , 0.125 , 0.0625])
    """
    husimi = np.array([[normal + 1, anomalous], [np.conj(anomalous), normal + 1]])
    inverse = np.linalg.inv(husimi)
    centre = np.array([mean, np.conj(mean)])
    matrix = (np.eye(2) - inverse)[::-1]
    vector = centre.conj() @ inverse
    table = np.zeros((most + 1, most + 1), dtype=complex)
    norm = math.sqrt(np.linalg.det(husimi).real)
    table[0, 0] = math.exp(-0.5 * float((centre.conj() @ inverse @ centre).real)) / norm
    root = np.sqrt(np.arange(most + 1.0))
    for n in range(1, most + 1):
        table[0, n] = vector[1] * table[0, n - 1] + (matrix[1, 1] * root[n - 1] * table[0, n - 2] if n > 1 else 0)
        table[0, n] /= root[n]
    for m in range(1, most + 1):
        row = vector[0] * table[m - 1]
        if m > 1:
            row = row + matrix[0, 0] * root[m - 1] * table[m - 2]
        row[1:] += matrix[0, 1] * root[1:] * table[m - 1, :-1]
        table[m] = row / root[m]
    return np.asarray(np.diagonal(table).real.copy())
