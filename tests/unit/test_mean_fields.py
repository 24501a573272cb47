"""Mean fields of driven lattices: the roots of uniform rings and of disordered graphs, bad input."""

import math

import numpy as np
import pytest
from lattices import random_lattice, ring_matrix

from mpo_transport.elimination import (
    linearised_drift,
    mean_fields,
    read_links,
)
from mpo_transport.errors import InputError
from mpo_transport.reference.optomechanical_exact import FullLattice, ring_mean_field

# -- mean field --------------------------------------------------------------------------------------------------------


def test_drift_of_the_fluctuations_is_the_full_model():
    t, arguments = random_lattice(4, uniform=False)
    links = read_links(t, -2)
    X = linearised_drift(
        links, arguments["Dt"], arguments["G"], arguments["gamma_c"], arguments["gamma_m"], arguments["omega"]
    )
    exact = FullLattice(t, **arguments).drift
    # (c, d, c^+, d^+) -> (c, c^+, d, d^+), and c -> -c
    order = np.r_[0:6, 12:18, 6:12, 18:24]
    sign = np.repeat([-1, -1, 1, 1], 6)
    np.testing.assert_allclose(sign[:, None] * X[np.ix_(order, order)] * sign, exact, atol=1e-15)


def test_uniform_ring_finds_the_roots_of_the_cubic():
    L, phi, J, g, gamma_c, gamma_m, Delta = 5, 4 * math.pi / 5, 0.3, 0.1, 0.5, 0.05, -1.0
    for F in (0.3, 2.4 + 0.3j, 9.0):
        expected = ring_mean_field(L, phi, F=F, Delta=Delta, J=J, g=g, gamma_c=gamma_c, gamma_m=gamma_m)
        drive = F * np.exp(1j * phi * np.arange(L))
        found = mean_fields(ring_matrix(L), J=J, Delta=Delta, F=drive, g=g, gamma_c=gamma_c, gamma_m=gamma_m)
        for root in expected:
            uniform = root.alpha * np.exp(1j * phi * np.arange(L))
            match = [r for r in found if np.abs(r.alpha - uniform).max() < 1e-7 * abs(root.alpha)]
            assert len(match) == 1
            assert match[0].is_stable == root.is_stable
            np.testing.assert_allclose(match[0].Dt, root.Dt, rtol=1e-9)
            np.testing.assert_allclose(match[0].beta, root.beta, rtol=1e-9)
    assert len(ring_mean_field(L, phi, F=2.4 + 0.3j, Delta=Delta, J=J, g=g, gamma_c=gamma_c, gamma_m=gamma_m)) == 3


def test_mean_field_of_a_disordered_graph_solves_the_equations():
    rng = np.random.default_rng(8)
    A = np.triu(rng.integers(0, 2, (6, 6)), 1)
    A = A + A.T
    Delta, F, g = rng.uniform(-1.2, -0.8, 6), 3 * rng.normal(size=6) + 2j, rng.uniform(0.02, 0.06, 6)
    gamma_c, gamma_m, omega = rng.uniform(0.2, 0.4, 6), rng.uniform(0.0, 0.1, 6), rng.uniform(0.8, 1.2, 6)
    roots = mean_fields(A, J=0.3, Delta=Delta, F=F, g=g, gamma_c=gamma_c, gamma_m=gamma_m, omega=omega)
    assert len({round(float(r.photons.sum()), 6) for r in roots}) == len(roots)
    for root in roots:
        # the two equations of the page, in full: light with the shifted detuning, motion under radiation pressure
        light = (-root.Dt - 0.5j * gamma_c) * root.alpha - 0.15 * A @ root.alpha + F
        motion = (omega - 0.5j * gamma_m) * root.beta - g * np.abs(root.alpha) ** 2
        assert np.abs(light).max() < 1e-9 * np.abs(F).max() and np.abs(motion).max() < 1e-12 * np.abs(root.beta).max()
        np.testing.assert_allclose(root.Dt, Delta + 2 * g * root.beta.real, rtol=1e-12)
        np.testing.assert_allclose(root.G, g * root.alpha)
        assert root.residual < 1e-9


@pytest.mark.parametrize(
    ("change", "field"),
    [({"gamma_c": 0.0}, "gamma_c"), ({"omega": 0.0}, "omega"), ({"starts": 0}, "starts"), ({"g": 1j}, "g")],
)
def test_bad_mean_fields_are_named(change, field):
    arguments = {"J": 0, "Delta": -1.0, "F": 1.0, "g": 0.1, "gamma_c": 0.5, "gamma_m": 0.05, **change}
    with pytest.raises(InputError) as error:
        mean_fields([[0]], **arguments)
    assert error.value.field == field


def test_no_drive_no_field():
    (root,) = mean_fields([[0, 1], [1, 0]], J=0.2, Delta=-1.0, F=0.0, g=0.1, gamma_c=0.5, gamma_m=0.05)
    assert np.abs(root.alpha).max() == 0 and root.is_stable
