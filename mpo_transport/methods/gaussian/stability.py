"""Is the drift of the moments stable?  If not, which mode grows?"""

from __future__ import annotations

import numpy as np
import scipy.linalg as sl

from ...errors import UnstableError

__all__ = ["MARGINAL", "describe_mode", "refuse_spectrum"]

MARGINAL = 1e-12
"""Decay rates below this fraction of the largest eigenvalue cannot be told from zero."""


def refuse_spectrum(eigenvalues: np.ndarray, statistics: str, where: str) -> None:
    """Raise :class:`~mpo_transport.errors.UnstableError` unless every eigenvalue has a negative real part.

    ``where`` says on which sites the mode of the largest real part lives.
    """
    if not len(eigenvalues):
        return
    limit = MARGINAL * float(np.abs(eigenvalues).max())
    k = int(eigenvalues.real.argmax())
    growth, frequency = float(eigenvalues[k].real), abs(float(eigenvalues[k].imag))
    if growth < -limit:
        return
    count = int(np.count_nonzero(eigenvalues.real >= -limit))
    if growth > limit and statistics == "boson":
        raise UnstableError(
            f"The model has no steady state: {count} of the {len(eigenvalues)} eigenvalues of the drift of its moments "
            f"do not decay; the fastest mode grows at the rate {growth:.6g} with frequency {frequency:.6g}{where}. "
            "Weaken the gain or the parametric drive, or add loss; `evolve` follows the growth in time.",
            field="model",
            growth=growth,
            frequency=frequency,
        )
    raise UnstableError(
        f"The steady state is not unique: {count} of the {len(eigenvalues)} eigenvalues of the drift of the moments "
        f"are not damped, one with frequency {frequency:.6g}{where}. What it holds depends on the initial state, and "
        "grows if noise acts on it: add loss there, or use `evolve` from an initial state.",
        field="model",
        growth=max(growth, 0.0),
        frequency=frequency,
    )


def describe_mode(drift: np.ndarray, modes: int) -> tuple[np.ndarray, str]:
    """Return the eigenvalues of a drift (n, n), n = modes or 2 modes, and words for its least stable eigenvector."""
    values, vectors = sl.eig(drift, check_finite=False)
    v = np.abs(vectors[:, int(values.real.argmax())]) ** 2
    weight = v.reshape(-1, modes).sum(axis=0)
    weight = weight / weight.sum()
    order = np.argsort(weight, kind="stable")[::-1][:3]
    parts = [f"site {j} ({weight[j]:.0%})" for j in order if weight[j] > 0.05]
    return values, f", mainly on {', '.join(parts)}" if parts else ", spread over all sites"
