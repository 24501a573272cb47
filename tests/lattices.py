"""Hopping matrices and cell parameters shared by the tests of reservoir elimination."""

import numpy as np


def ring_matrix(L):
    return np.roll(np.eye(L), 1, axis=0) + np.roll(np.eye(L), -1, axis=0)


def random_lattice(seed, L=6, uniform=True):
    """A Hermitian hopping matrix (all pairs, complex), everything else disordered, cooled."""
    rng = np.random.default_rng(seed)
    t = 0.05 * (rng.normal(size=(L, L)) + 1j * rng.normal(size=(L, L)))
    t = np.triu(t, 1)
    arguments = {
        "Dt": rng.uniform(-1.3, -0.9, L),
        "G": 0.02 * rng.uniform(0.3, 1, L) * np.exp(2j * np.pi * rng.uniform(size=L)),
        "gamma_c": rng.uniform(0.05, 0.2, L),
        "gamma_m": rng.uniform(5e-4, 2e-3, L),
        "nbar": rng.uniform(0, 20, L),
        "omega": 1.0 if uniform else 1 + 0.002 * rng.normal(size=L),
    }
    return t + t.conj().T, arguments
