"""Exchange with baths: quanta, energy, entropy production."""

import math

import numpy as np
import pytest
from systems import dense_steady_state, spin_boson_chain

from mpo_transport import Bath, Chain, Jump, Lindbladian, SpinHalf, models, op
from mpo_transport import observables as obs
from mpo_transport.errors import NotSupportedError
from mpo_transport.superoperator import operator_matrix, sparse_lindbladian


def test_bath_flows_balance_the_current():
    model = models.boundary_driven_xx(3, 0.9, 0.6, 0.9, 1.4, 0.2, dephasing=0.3)
    state = dense_steady_state(model)
    current = obs.current(model).evaluate(state)
    assert obs.bath_flow(model, "right").evaluate(state) == pytest.approx(current[-1], abs=1e-13)
    assert obs.bath_flow(model, "left").evaluate(state) == pytest.approx(-current[0], abs=1e-13)
    assert obs.bath_flow(model, "dephasing").evaluate(state) == 0


def test_heat_currents_sum_to_zero_in_the_steady_state():
    model = spin_boson_chain()
    state = dense_steady_state(model)
    labels = ("bath_1", "common", "site_2", "dephasing")
    heat = {label: obs.heat_current(model, label).evaluate(state) for label in labels}
    assert sum(heat.values()) == pytest.approx(0, abs=1e-12)
    assert abs(heat["bath_1"]) > 1e-3
    one_bath = Lindbladian(model.lattice, None, [j for j in model.jumps if j.label == "common"])
    H = operator_matrix(model.lattice, model.hamiltonian).toarray()
    image = (sparse_lindbladian(one_bath) @ state.to_dense().ravel()).reshape(H.shape)
    expected = np.trace(H @ image).real
    assert heat["common"] == pytest.approx(expected, abs=1e-13)


def _two_temperatures(hot: Bath, cold: Bath, n: tuple[float, float] = (0.6, 0.2)) -> Lindbladian:
    """One qubit of energy 1.5 between two thermal baths with the Bose occupations n."""
    jumps = []
    for label, rate, occupation in (("hot", 0.8, n[0]), ("cold", 0.5, n[1])):
        jumps += [
            Jump(op("Sm", 0), rate=rate * (occupation + 1), label=label, charge=1),
            Jump(op("Sp", 0), rate=rate * occupation, label=label, charge=-1),
        ]
    return Lindbladian(Chain(1, SpinHalf()), 1.5 * op("N", 0), jumps, baths=[hot, cold])


def test_entropy_production_of_a_qubit_between_two_temperatures():
    beta = [math.log(1 + 1 / n) / 1.5 for n in (0.6, 0.2)]
    # classical rate equation of the two-level system
    up, down = 0.8 * 0.6 + 0.5 * 0.2, 0.8 * 1.6 + 0.5 * 1.2
    p = up / (up + down)
    heat = 1.5 * (0.8 * 0.6 * (1 - p) - 0.8 * 1.6 * p)  # from the hot bath
    expected = heat * (beta[1] - beta[0])
    by_detailed_balance = _two_temperatures(Bath("hot", occupation=0.6), Bath("cold", occupation=0.2))
    by_energy = _two_temperatures(
        Bath("hot", energy=1.5, temperature=1 / beta[0]), Bath("cold", energy=1.5, temperature=1 / beta[1])
    )
    by_heat = _two_temperatures(Bath("hot", temperature=1 / beta[0]), Bath("cold", temperature=1 / beta[1]))
    for model in (by_detailed_balance, by_energy, by_heat):
        state = dense_steady_state(model)
        assert obs.heat_current(model, "hot").evaluate(state) == pytest.approx(heat, abs=1e-13)
        assert obs.entropy_production(model).evaluate(state) == pytest.approx(expected, abs=1e-13)
    assert expected > 0.01


def test_entropy_production_of_a_boundary_driven_chain():
    """sigma = I (ln f_L/(1-f_L) - ln f_R/(1-f_R)): quanta times the difference of the affinities."""
    model = models.boundary_driven_xx(3, 0.9, 0.6, 0.7, 1.4, 0.2, dephasing=0.3)
    state = dense_steady_state(model)
    affinity = math.log(0.7 / 0.3) - math.log(0.2 / 0.8)
    expected = obs.current(model).evaluate(state)[0] * affinity
    assert obs.entropy_production(model).evaluate(state) == pytest.approx(expected, abs=1e-13)


def test_entropy_production_diverges_at_zero_temperature():
    with pytest.raises(NotSupportedError, match="diverges"):
        obs.entropy_production(models.boundary_driven_xxz(3, 1.0, eps=1.0))
    with pytest.raises(NotSupportedError, match="diverges"):
        obs.entropy_production(_two_temperatures(Bath("hot", temperature=0.0), Bath("cold", temperature=1.0)))
