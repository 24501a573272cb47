"""Expectation values of ladder strings in Gaussian states of conserved number, rho = integral P(alpha) |alpha><alpha|.

alpha is a complex Gaussian vector with <alpha_k alpha_l^*> = C_kl = <a_l^+ a_k> and <alpha alpha> = 0, and

    a^+^p a^q -> alpha^*^p alpha^q,        |m><n| -> alpha^*^m alpha^n exp(-|alpha|^2) / sqrt(m! n!).

With a single matrix unit, on site j, the others are Gaussian given alpha_j (mean C_kj/C_jj alpha_j), and

    < |alpha|^(2N) exp(-|alpha|^2) > = N! C_jj^N / (1 + C_jj)^(N+1).

C. W. Gardiner and P. Zoller, Quantum Noise (2004), ch. 4.
"""

from __future__ import annotations

import math

import numpy as np

from ...superoperator.ladder import LadderAction

__all__ = ["thermal_values"]

# (power of alpha_j^*, power of alpha_j) -> coefficient
Polynomial = dict[tuple[int, int], complex]


def thermal_values(
    action: LadderAction, strings: np.ndarray, covariance: np.ndarray, sizes: bool = False
) -> np.ndarray:
    """Return the expectation values of strings (n, L) with at most one matrix unit and two other ladder operators.

    Parameters
    ----------
    action
        Whose letters the strings are made of, on bosonic sites.
    covariance
        C, shape (L, L), positive.
    sizes
        Return an estimate of the modulus instead that does not ask for a conserved number: sums of moduli.

    Returns
    -------
    numpy.ndarray
        Shape (n,); NaN for other strings.

    Examples
    --------
    The highest of three levels of a thermal mode of occupation 1 has the weight 1/8:

    >>> from mpo_transport import Boson, Chain, Jump, Lindbladian, op
    >>> model = Lindbladian(Chain(1, Boson(3)), None, [Jump(op("A", 0))])
    >>> thermal_values(LadderAction(model, 2), np.array([[8]]), np.eye(1)).round(12).tolist()
    [0.125]
    """
    words = [here.words for here in action.alphabets]
    moments = _Moments(covariance, sizes)
    return np.array([moments.value([(int(s), words[s][row[s]]) for s in np.flatnonzero(row)]) for row in strings])


class _Moments:
    def __init__(self, covariance: np.ndarray, sizes: bool) -> None:
        self.c, self.sizes = np.asarray(covariance, dtype=complex), sizes
        self.n = np.maximum(np.real(np.diag(self.c)), 0.0)

    def value(self, letters: list[tuple[int, tuple[tuple[complex, int, int, bool], ...]]]) -> float:
        """Return the value of one string, given for every site as the sum of (coefficient, p, q, whether a unit)."""
        units = [(s, word) for s, word in letters if word[0][3]]
        others = [(s, word) for s, word in letters if not word[0][3]]
        if len(units) > 1 or sum(word[0][1] + word[0][2] for _, word in others) > 2:
            return math.nan
        site = units[0][0] if units else None
        total = 0j
        for c, p, q, _ in units[0][1] if units else ((1.0, 0, 0, False),):
            for (a, b), x in self._others(others, site).items():
                total += (abs(c) if self.sizes else c) * x * self._radial(site, p, q, a, b)
        return float(total.real)

    def _radial(self, site: int | None, p: int, q: int, a: int, b: int) -> float:
        """Return < alpha^*^(p+a) alpha^(q+b) exp(-|alpha|^2) >/sqrt(p! q!)."""
        if site is None:
            return 1.0
        if p + a != q + b and not self.sizes:
            return 0.0
        half, n = (p + a + q + b) / 2, float(self.n[site])
        if n == 0:
            return float(half == 0)
        log = math.lgamma(half + 1) - (math.lgamma(p + 1) + math.lgamma(q + 1)) / 2
        return math.exp(log + half * math.log(n) - (half + 1) * math.log1p(n))

    def _others(
        self, others: list[tuple[int, tuple[tuple[complex, int, int, bool], ...]]], site: int | None
    ) -> Polynomial:
        """Return the mean of the other letters given alpha of a site, a polynomial in it."""
        out: Polynomial = {(0, 0): 1.0}
        choices: list[tuple[complex, list[tuple[int, bool]]]] = [(1.0, [])]  # (site, conjugate) of every factor
        for s, word in others:
            choices = [
                (x * c, [*factors, *[(s, True)] * p, *[(s, False)] * q])
                for x, factors in choices
                for c, p, q, _ in word
            ]
        if others:
            out = {}
            for x, factors in choices:
                for powers, y in self._mean(factors, site).items():
                    out[powers] = out.get(powers, 0.0) + (abs(x) * abs(y) if self.sizes else x * y)
        return out

    def _mean(self, factors: list[tuple[int, bool]], site: int | None) -> Polynomial:
        slopes = [self._slope(k, site) for k, _ in factors]
        if len(factors) == 1:
            ((_, conjugate),) = factors
            return {(1, 0): slopes[0].conjugate()} if conjugate else {(0, 1): slopes[0]}
        (k, first), (m, second) = factors
        x, y = (s.conjugate() if conjugate else s for s, conjugate in zip(slopes, (first, second), strict=True))
        out: Polynomial = {(int(first) + int(second), 2 - int(first) - int(second)): x * y}
        if first != second:
            plain, starred = (m, k) if first else (k, m)
            rest = self.c[plain, starred]
            if site is not None:
                rest = rest - self._slope(plain, site) * self.c[site, starred]
            out[0, 0] = out.get((0, 0), 0.0) + complex(rest)
        return out

    def _slope(self, k: int, site: int | None) -> complex:
        if site is None or self.n[site] == 0:
            return 0j
        return complex(self.c[k, site] / self.n[site])
