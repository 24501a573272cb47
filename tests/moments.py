"""Second moments of quadratic boson models, read off the operator text with the symbolic adjoint generator.

Slow and simple on purpose: an independent way from the text of a model to its covariance, for a handful of modes.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg as sla

from mpo_transport import Lindbladian, op
from mpo_transport.observables import adjoint_action

__all__ = ["nambu_text", "steady_nambu"]


def _ladder(L: int) -> list:
    return [op("A", j) for j in range(L)] + [op("Adag", j) for j in range(L)]


def nambu_text(model: Lindbladian) -> tuple[np.ndarray, np.ndarray]:
    """Drift X and noise Y of w = (a_0 .., a_0^+ ..): d<w>/dt = X <w>, d<w w^+>/dt = X C + C X^+ + Y."""
    L = model.L
    w = _ladder(L)
    place = {("A", j): j for j in range(L)} | {("Adag", j): L + j for j in range(L)}
    X = np.zeros((2 * L, 2 * L), dtype=complex)
    for a, operator in enumerate(w):
        for key, c in adjoint_action(model, operator):
            (factor,) = key
            X[a, place[factor]] = c
    constant = np.zeros_like(X)
    for a in range(2 * L):
        for b in range(2 * L):
            constant[a, b] = adjoint_action(model, w[a] * w[b].dag).terms.get((), 0.0)
    vacuum = np.diag(np.repeat([1.0, 0.0], L))  # the constant part of normally ordered w w^+
    return X, constant - X @ vacuum - vacuum @ X.conj().T


def steady_nambu(model: Lindbladian) -> np.ndarray:
    """<w w^+> of the steady state, shape (2L, 2L); the lower right block is <a_i^+ a_j>."""
    X, Y = nambu_text(model)
    assert np.linalg.eigvals(X).real.max() < 0
    return sla.solve_continuous_lyapunov(X, -Y)
