"""Chains grown from short ones against closed forms of the current and the whole profile."""

import math

import numpy as np
import pytest

import mpo_transport as mt
from mpo_transport import Boson, Chain, ChainGrowth, Jump, Lindbladian, OpSum, SpinHalf, op
from mpo_transport.errors import ConvergenceError, InputError, NotSupportedError
from mpo_transport.reference.boundary_driven import xx_chain, xxz_maximally_driven

current, profile = mt.observables.current, mt.observables.profile


def covered(result, observable, exact):
    """The largest error, which must lie within the error claimed."""
    values, claimed = result.expect(observable, error=True)
    error = np.abs(values - exact)
    assert np.all(error <= claimed + 5e-16)
    return error.max()


@pytest.mark.parametrize(
    ("L", "t", "baths"),
    [
        (30, 1.0, (0.6, 0.9, 1.4, 0.2)),
        (101, 0.7, (0.3, 0.1, 2.1, 0.8)),
        (200, 1.3, (1.0, 1.0, 1.0, 0.0)),
        (100, 1.0, (2.0, 0.5, 0.4, 0.5)),
    ],
)
def test_xx_chains_between_baths(L, t, baths):
    G_L, f_L, G_R, f_R = baths
    model = mt.models.boundary_driven_xx(L=L, t=t, G_L=G_L, f_L=f_L, G_R=G_R, f_R=f_R)
    result = mt.steady_state(model, ChainGrowth(), tol=1e-11)
    exact = xx_chain(L, t, G_L, f_L, G_R, f_R)
    assert result.certificate.bond_dimension <= 4
    assert covered(result, current(model), exact.current) < 1e-13
    assert covered(result, profile(model, "N"), exact.density) < 1e-13


@pytest.mark.parametrize(("L", "Delta", "eps"), [(32, 0.5, 1.0), (100, -0.5, 0.7), (200, 0.5, 2.3)])
def test_maximally_driven_xxz_chains_of_rank_nine(L, Delta, eps):
    model = mt.models.boundary_driven_xxz(L=L, Delta=Delta, eps=eps)
    result = mt.steady_state(model, ChainGrowth(), tol=1e-10)
    exact = xxz_maximally_driven(L, Delta, eps=eps)
    assert result.certificate.bond_dimension == 9
    assert covered(result, current(model), exact.current) < 1e-12
    assert covered(result, profile(model, "Z"), exact.sigma_z) < 1e-12


@pytest.mark.slow
def test_rank_sixteen_at_another_root_of_unity():
    model = mt.models.boundary_driven_xxz(L=60, Delta=math.cos(math.pi / 4), eps=1.3)
    result = mt.steady_state(model, ChainGrowth(largest_block=8200), tol=1e-10)
    exact = xxz_maximally_driven(60, math.cos(math.pi / 4), eps=1.3)
    assert result.certificate.bond_dimension == 16
    assert covered(result, current(model), exact.current) < 1e-12
    assert covered(result, profile(model, "Z"), exact.sigma_z) < 1e-12


def test_alternating_hopping_has_a_cell_of_two_sites():
    model = mt.models.boundary_driven_xx(L=31, t=[1.0, 0.5] * 15, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2)
    result = mt.steady_state(model, ChainGrowth(largest_block=4000), tol=1e-10)
    values = result.expect(current(model))
    assert np.ptp(values) < 1e-13
    # bath by bath: what enters on the left is G_L (f_L - n_0), what leaves on the right G_R (n_(L-1) - f_R)
    n = result.expect(profile(model, "N"))
    assert values[0] == pytest.approx(0.6 * (0.9 - n[0]), abs=1e-13)
    assert values[0] == pytest.approx(1.4 * (n[-1] - 0.2), abs=1e-13)
    assert result.certificate.residual < 1e-11


def test_short_chains_agree_with_exact_diagonalisation():
    model = mt.models.boundary_driven_xxz(L=7, Delta=0.5, eps=1.7)
    grown = mt.steady_state(model, ChainGrowth(), tol=1e-10)
    exact = mt.steady_state(model, mt.ExactDiag(), tol=1e-10)
    assert np.abs(grown.state.to_dense() - exact.state.to_dense()).max() < 1e-13


@pytest.mark.parametrize(
    "model",
    [
        mt.models.exclusion_process(12, 1.0, 0.8, 0.5, 0.3),
        mt.models.persistent_current(20, 2.0, 1.0, periodic=False),
        mt.models.boundary_driven_xxz(L=20, Delta=1.0, eps=1.0),
        mt.models.boundary_driven_xx(L=20, t=1.0, G_L=0.6, f_L=0.9, G_R=1.4, f_R=0.2, dephasing=0.3),
    ],
    ids=lambda model: model.name,
)
def test_other_chains_are_not_called_converged(model):
    method = ChainGrowth(largest_block=600)
    with pytest.raises(ConvergenceError):
        mt.steady_state(model, method, tol=1e-3)
    result = mt.steady_state(model, method, tol=1e-3, on_failure="return")
    assert result.status.value == "not_converged"
    assert result.certificate.residual > 1e-3
    assert any("no bulk tensor" in note for note in result.certificate.notes)


def test_what_is_not_such_a_chain_is_refused_with_the_reason():
    ring = mt.models.persistent_current(8, 2.0, 1.0)
    random = mt.models.boundary_driven_xx(L=9, t=list(np.linspace(1, 2, 8)), G_L=1.0, f_L=0.5, G_R=1.0, f_R=0.4)
    strong = Lindbladian(Chain(9, SpinHalf()), sum((op("Z", j) for j in range(9)), OpSum()), [])
    modes = Lindbladian(Chain(9, Boson(math.inf)), None, [Jump(op("A", j)) for j in range(9)])
    for model, word in ((ring, "open chains"), (random, "repeat"), (strong, "strong"), (modes, "levels")):
        assert not ChainGrowth().supports(model)
        with pytest.raises(NotSupportedError, match=word):
            mt.steady_state(model, ChainGrowth())


@pytest.mark.parametrize("knobs", [{"largest_block": 3}, {"largest_block": 2.5}, {"largest_rank": 0}])
def test_knobs_out_of_range_are_named(knobs):
    with pytest.raises(InputError, match=next(iter(knobs))):
        ChainGrowth(**knobs)


def test_an_initial_state_is_refused():
    model = mt.models.boundary_driven_xx(L=12, t=1.0, G_L=1.0, f_L=0.7, G_R=1.0, f_R=0.4)
    with pytest.raises(InputError, match="initial"):
        mt.steady_state(model, ChainGrowth(), initial="up")
