"""Phonons with few levels, by matrix-product operators, against the Gaussian answer: the cutoff error law.

Couplings between all sites of a ring (operator rank 18), low occupation.  With r = n/(1 + n) the occupation kept by d
levels is too small by a relative 1.5 to 3 times d r^d / n.
"""

import math

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport.models import optomechanical_ring

TOL = 1e-5


def ring(L, levels=None):
    cell = {"J": 0.1, "Dt": -1.1, "G_abs": 0.01, "gamma_c": 0.1, "gamma_m": 1e-3, "nbar": 0.1}
    return optomechanical_ring(L, 2 * math.pi / L, **cell, picture="effective", levels=levels)


def occupations(model, method, tol=TOL):
    result = mt.steady_state(model, method, tol=tol)
    return np.asarray(result.expect(mt.observables.profile(model, "N")))


@pytest.mark.parametrize(
    ("L", "levels"),
    [
        (3, 3),
        (3, 4),
        (3, 5),
        (4, 3),
        pytest.param(4, 4, marks=pytest.mark.slow),
        pytest.param(5, 3, marks=pytest.mark.slow),
        pytest.param(6, 3, marks=pytest.mark.slow),
    ],
)
def test_cutoff_error_of_matrix_products(L, levels):
    n = occupations(ring(L), mt.Gaussian())
    kept = occupations(ring(L, levels), mt.ImplicitSweeps(max_sweeps=200))
    r = n[0] / (1 + n[0])
    law = levels * r**levels / n[0]
    claim = TOL * (levels - 1) / n[0]  # the tolerance is in units of the norm of N
    error = 1 - kept / n
    assert np.all(error > 1.2 * law - claim)
    assert np.all(error < 3 * law + claim)


def test_matrix_products_agree_with_exact_diagonalisation():
    model = ring(3, 4)
    exact = occupations(model, mt.ExactDiag(), tol=1e-8)
    assert np.abs(occupations(model, mt.ImplicitSweeps()) - exact).max() < 3 * TOL
