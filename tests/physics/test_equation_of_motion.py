"""The equation of motion of Z_j in terms of the named currents, as an operator identity and in steady states.

M. Keck, D. Rossini, R. Fazio, Phys. Rev. A 98, 053812 (2018), Eq. (13), with the signs of I^eta and I^lambda corrected.
"""

import numpy as np
import pytest
from systems import load_reference

from mpo_transport import Lindbladian, models, op
from mpo_transport import observables as obs
from mpo_transport.errors import NotSupportedError
from mpo_transport.superoperator import operator_matrix, sparse_lindbladian

pytestmark = pytest.mark.physics


def random_model(L: int, periodic: bool, seed: int, **more) -> Lindbladian:
    """Every coupling complex where it may be, different on every bond and site."""
    rng = np.random.default_rng(seed)

    def z(n: int) -> np.ndarray:
        return rng.normal(size=n) + 1j * rng.normal(size=n)

    bonds = L if periodic else L - 1
    pairs = L if periodic else L - more.get("dissipator_distance", 1)
    return models.persistent_current(
        L,
        z(pairs),
        z(pairs),
        beta=z(pairs),
        gamma=z(pairs),
        mu=rng.normal(size=L),
        J=z(bonds),
        lam=z(bonds),
        kappa=rng.random(L),
        eps_x=rng.normal(size=L),
        eps_zz=rng.normal(size=bonds),
        flux=1.1 if periodic else 0.0,
        periodic=periodic,
        **more,
    )


def rate_of_change(model: Lindbladian, name: str, site: int) -> np.ndarray:
    """L^dag(O) from the adjoint of the matrix that acts on rho."""
    O = operator_matrix(model.lattice, op(name, site)).toarray()
    return (sparse_lindbladian(model).conj().T @ O.ravel()).reshape(O.shape)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("L", [3, 4, 5])
def test_operator_identity(L, periodic):
    model = random_model(L, periodic, seed=L + 10 * periodic)
    equation = obs.equation_of_motion(model)
    assert equation.is_hermitian
    for j in range(L):
        right = operator_matrix(model.lattice, equation.operators[j]).toarray()
        np.testing.assert_allclose(right, rate_of_change(model, "Z", j), atol=1e-12)


@pytest.mark.parametrize(("L", "periodic"), [(5, True), (5, False), (4, True), (3, False)])
def test_operator_identity_with_distant_dissipators(L, periodic):
    """I^eta and I^xi then live on pairs of sites two apart, I^J and I^lambda stay on bonds."""
    model = random_model(L, periodic, seed=L, dissipator_distance=2)
    for j, operator in enumerate(obs.equation_of_motion(model).operators):
        np.testing.assert_allclose(
            operator_matrix(model.lattice, operator).toarray(), rate_of_change(model, "Z", j), atol=1e-12
        )


def test_the_sign_as_printed_is_wrong():
    """With I^eta and I^lambda entering with the printed signs the identity fails: the test above can fail."""
    model = random_model(3, True, seed=5)
    printed = list(obs.equation_of_motion(model).operators)
    for kind, sign in (("eta", -2), ("lambda", 2)):
        current = obs.current(model, kind)
        for (i, j), operator in zip(current.labels, current.operators, strict=True):
            printed[i] = printed[i] + sign * operator
            printed[j] = printed[j] + sign * operator
    deviation = operator_matrix(model.lattice, printed[0]).toarray() - rate_of_change(model, "Z", 0)
    assert np.abs(deviation).max() > 0.1


@pytest.mark.parametrize(
    ("identifier", "kind"),
    [("fig5-open-L4", "edge"), ("fig5-open-L6", "edge"), ("fig5-ring-L5", "bulk"), ("kappa-1.0", "loss")],
)
def test_published_numbers_obey_the_steady_state_identities(identifier, kind):
    """They fix the current by the magnetisation: a check of tables and equation that needs no solver."""
    arguments, value, uncertainty = load_reference(identifier)
    a2, d2 = arguments["alpha"] ** 2, arguments["delta"] ** 2
    eta, z = value[0], value[1]
    if kind == "edge":
        assert eta[0] == pytest.approx((a2 + d2) * z[0] + a2 - d2, abs=10 * uncertainty)
        for j in range(1, len(z) - 1):
            assert (eta[j - 1] + eta[j]) / 2 == pytest.approx((a2 + d2) * z[j] + a2 - d2, abs=10 * uncertainty)
    else:
        kappa = arguments.get("kappa", 0.0)
        right = 2 * a2 * (z + 1) + 2 * d2 * (z - 1) + kappa * (z + 1)
        assert 2 * eta == pytest.approx(right, abs=10 * uncertainty)


def test_other_models_are_refused():
    with pytest.raises(NotSupportedError, match="adjoint_action"):
        obs.equation_of_motion(models.boundary_driven_xx(3, 1.0, 1.0, 0.5, 1.0, 0.2))
    with pytest.raises(NotSupportedError, match="adjoint_action"):
        obs.equation_of_motion(models.persistent_current(3, 2.0, 1.0, levels=3))


def test_bosons_obey_the_corrected_heisenberg_equation():
    """d<a_j>/dt on the block of low occupation, with the corrected decay rate and neighbours, for complex couplings."""
    alpha, delta, J, lam, mu, U, kappa = 0.7 + 0.2j, 0.4 - 0.3j, 0.5 + 0.6j, 0.3 - 0.2j, 0.9, 0.8, 0.25
    beta, gamma = 0.2 + 0.5j, -0.3 + 0.6j
    model = models.persistent_current(
        3, alpha, delta, beta=beta, gamma=gamma, J=J, lam=lam, mu=mu, U=U, kappa=kappa, levels=float("inf")
    )
    eta = alpha * np.conj(gamma) - delta * np.conj(beta)
    xi = alpha * np.conj(delta) - gamma * np.conj(beta)
    Pi = (kappa + abs(alpha) ** 2 + abs(gamma) ** 2 - abs(beta) ** 2 - abs(delta) ** 2) / 2
    terms = obs.adjoint_action(model, op("A", 1)).terms
    expected = {
        (("A", 1),): -1j * mu - Pi,
        (("Adag", 1), ("A", 1), ("A", 1)): -2j * U,
        (("A", 0),): -1j * np.conj(J) - eta / 2,
        (("Adag", 0),): -1j * lam + np.conj(xi) / 2,
        (("A", 2),): -1j * J - np.conj(eta) / 2,
        (("Adag", 2),): -1j * lam - np.conj(xi) / 2,
    }
    assert set(terms) == set(expected)
    for key, value in expected.items():
        assert terms[key] == pytest.approx(value, abs=1e-13), key
