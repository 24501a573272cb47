"""One and two optomechanical cells with the cubic coupling kept, against the reference table."""

import math

import numpy as np
import pytest
from heat_tables import entry

import mpo_transport as mt
from mpo_transport import models, op
from mpo_transport.elimination import eliminate
from mpo_transport.reference.optomechanical_exact import (
    FullLattice,
)

pytestmark = pytest.mark.physics
TABLE = "optomechanical_lattices"


# -- nonlinear cells ---------------------------------------------------------------------------------------------------


def _connected(state, site):
    n, b = state.expect(op("N", site)), state.expect(op("A", site))
    return float(np.real(n)) - abs(b) ** 2


def _single_cell(p, g, levels):
    return models.optomechanical_lattice(
        [[0]], J=0, Dt=p["Delta_tilde"], G=p["G"], gamma_c=p["gamma_c"], gamma_m=p["gamma_m"], nbar=p["nbar"], g=g,
        picture="nonlinear", levels=levels,
    )  # fmt: skip


def _check_single_cell(places):
    p, values, error = entry(TABLE, "nonlinear_single_site")
    for place in places:
        g = float(values["g"][place])
        result = mt.steady_state(_single_cell(p, g, (4, 14)), mt.ExactDiag(), tol=1e-7, progress=False)
        assert _connected(result, 1) == pytest.approx(values["n_b_conn"][place], abs=error)
        a = complex(result.expect(op("A", 0)))
        alpha = p["G"] / g
        photons = float(np.real(result.expect(op("N", 0)))) + alpha**2 + 2 * alpha * a.real
        assert photons == pytest.approx(values["n_photon"][place], abs=error * max(1.0, values["n_photon"][place]))


@pytest.mark.slow
def test_nonlinear_cell():
    _check_single_cell(range(6))


def test_linear_limits_of_one_cell():
    p, values, _ = entry(TABLE, "nonlinear_single_site")
    cell = {"Dt": p["Delta_tilde"], "G": p["G"], "gamma_c": p["gamma_c"], "gamma_m": p["gamma_m"], "nbar": p["nbar"]}
    exact = FullLattice(np.zeros((1, 1)), omega=1.0, **cell)
    found = [exact.phonons[0, 0].real, exact.photons[0, 0].real]
    np.testing.assert_allclose(found, values["linearised_nb_nc"], atol=1e-12)
    effective = eliminate([[0]], J=0, **cell).occupations
    np.testing.assert_allclose(effective, values["effective_nb"], atol=1e-11)


@pytest.mark.parametrize("place", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_two_nonlinear_cells(place):
    p, values, error = entry(TABLE, "nonlinear_two_site")
    cells = {"J": p["J"], "Dt": p["Delta_tilde"]} | {k: p[k] for k in ("gamma_c", "gamma_m", "nbar")}
    G = 0.01 * np.exp([0, 1j * math.pi / 3])
    link = [[0, 1], [1, 0]]
    exact = FullLattice(-0.5 * p["J"] * np.array(link), G=G, omega=1.0, **{k: v for k, v in cells.items() if k != "J"})
    sigma = exact.phonons
    linear = [values[k][2] for k in ("n0", "n1", "re01", "im01")]
    np.testing.assert_allclose(
        [sigma[0, 0].real, sigma[1, 1].real, sigma[0, 1].real, sigma[0, 1].imag], linear, atol=error, rtol=0
    )
    levels = tuple(p["cutoffs"][place])
    model = models.optomechanical_lattice(link, G=G, g=p["g"], picture="nonlinear", levels=levels, **cells)
    result = mt.steady_state(model, mt.ExactDiag(), tol=1e-8, progress=False)
    b0, b1 = (complex(result.expect(op("A", s))) for s in (1, 3))
    hop = complex(result.expect(op("Adag", 1) * op("A", 3))) - b0.conjugate() * b1
    found = {"n0": _connected(result, 1), "n1": _connected(result, 3), "re01": hop.real, "im01": hop.imag}
    for key, value in found.items():
        assert value == pytest.approx(values[key][place], abs=error + 1e-9), key
