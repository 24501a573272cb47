"""Pieces of the implicit sweeps: projections, local solves, splits that keep the identity, the decisions."""

from itertools import pairwise

import numpy as np
import pytest

from mpo_transport import Chain, InputError, SpinHalf, models
from mpo_transport.methods.implicit.environments import left_environments, right_environments
from mpo_transport.methods.implicit.local import Kronecker, LocalGenerator, dense_solve, gmres
from mpo_transport.methods.implicit.method import ImplicitSweeps
from mpo_transport.methods.implicit.schedule import Limits, Progress, judge, truncation_factor
from mpo_transport.methods.implicit.sweeps import (
    embed,
    norm_over_trace,
    release,
    resume_frames,
    safe_scale,
    scaled_operator,
    split_left,
    split_right,
    suitable_scale,
)
from mpo_transport.states import MPOState
from mpo_transport.superoperator.mpo import lindbladian_mpo
from mpo_transport.superoperator.train import dense_train

MODEL = models.persistent_current(L=5, alpha=1.3, delta=0.4, J=0.7, periodic=False)
RNG = np.random.default_rng(5)


def random_state(L=5, bond=5, seed=0):
    """A random operator with trace 1 near the mixed state, asymmetric, no special gauge."""
    rng = np.random.default_rng(seed)
    bonds = [1, *[bond] * (L - 1), 1]
    tensors = [0.2 * rng.standard_normal((a, 4, b)) for a, b in pairwise(bonds)]
    for t in tensors:
        t[0, 0, 0] += 1.0
    return MPOState(Chain(L, SpinHalf()), tuple(tensors)).normalised()


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_frames_hold_the_identity_and_the_state(scale):
    state = random_state()
    tensors = embed(state.tensors, scale)
    for t in tensors[1:]:
        flat = t.reshape(t.shape[0], -1)
        assert np.allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-13)
        assert np.array_equal(flat[0], np.eye(flat.shape[1])[0])
    assert tensors[0][0, 0, 0] == pytest.approx(1.0, abs=1e-14)
    back = release(tensors, scale)
    assert np.abs(dense_train(back) - dense_train(state.tensors)).max() < 1e-14 * np.abs(dense_train(back)).max() * 100
    assert MPOState(state.lattice, back).trace() == pytest.approx(1, abs=1e-13)
    assert all(np.allclose(a, b, rtol=1e-15) for a, b in zip(resume_frames(back, scale), tensors, strict=True))


def test_projected_generator_is_the_projection_of_the_dense_one():
    scale, p = 1.4, 1
    operator = scaled_operator(lindbladian_mpo(MODEL).tensors, scale)
    tensors = embed(random_state().tensors, scale)
    frame_left = np.eye(4)[:, :, None].reshape(1, 4, 4)  # everything on the first site
    tensors[1] = np.tensordot(tensors[0], tensors[1], axes=(2, 0)).reshape(4, 4, -1)
    tensors[0] = frame_left
    left = left_environments(tensors, operator, p)[p]
    right = right_environments(tensors, operator, p + 1)[-1]
    local = LocalGenerator(left, operator[p], operator[p + 1], right)
    dense = dense_train([w.reshape(w.shape[0], 16, w.shape[3]) for w in operator])
    dense = dense.reshape([4] * 10).transpose([0, 2, 4, 6, 8, 1, 3, 5, 7, 9]).reshape(4**5, 4**5)
    block = dense_train([np.eye(tensors[3].shape[0])[None], *tensors[3:]]).reshape(-1, 16)
    frame = np.kron(np.eye(64), block)
    x = RNG.standard_normal((16, 4 * block.shape[0]))
    expected = frame @ dense @ frame.T
    assert np.abs(local(x).ravel() - expected @ x.ravel()).max() < 1e-12 * np.abs(expected).max() * x.size
    assert np.abs(local.dense() - expected).max() < 1e-12 * np.abs(expected).max()
    assert np.abs(local(x)[0, 0]) < 1e-12 * np.abs(expected).max()  # trace conservation survives the projection


def test_preconditioner_is_exact_for_a_kronecker_sum():
    a, b = RNG.standard_normal((5, 5)) - 4 * np.eye(5), RNG.standard_normal((7, 7)) - 4 * np.eye(7)
    inverse = Kronecker(a, b, 0.3)
    x = RNG.standard_normal((5, 7))
    assert inverse.useful
    assert np.abs(inverse(a @ x + x @ b - 0.3 * x) - x).max() < 1e-12


def test_preconditioner_survives_a_defective_matrix():
    inverse = Kronecker(np.array([[-1.0, 1.0], [0.0, -1.0]]), -np.eye(2), 0.1)
    r = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert not inverse.useful and np.array_equal(inverse(r), r)


def test_gmres_solves_and_tells_the_true_residual():
    matrix = RNG.standard_normal((20, 20)) - 6 * np.eye(20)
    rhs = RNG.standard_normal((4, 5))
    for products in (3, 8, 20):
        found = gmres(lambda x: (matrix @ x.ravel()).reshape(4, 5), lambda r: -r / 6, rhs, 1e-13, products)
        true = np.linalg.norm(matrix @ found.correction.ravel() - rhs.ravel()) / np.linalg.norm(rhs)
        assert found.ratio == pytest.approx(true, rel=1e-6, abs=1e-13)
    assert found.ratio < 1e-12 and found.products == 20
    assert gmres(lambda x: x, lambda r: r, 0 * rhs, 1e-3, 5).products == 0


def test_dense_solve_agrees_with_the_definition():
    operator = lindbladian_mpo(MODEL).tensors
    tensors = embed(random_state().tensors, 1.0)
    local = LocalGenerator(np.ones((1, 1, 1)), operator[0], operator[1], right_environments(tensors, operator, 1)[-1])
    rhs = RNG.standard_normal((local.m, local.k))
    found = dense_solve(local, 0.2, rhs)
    assert found.ratio < 1e-12
    assert np.abs(local(found.correction) - 0.2 * found.correction - rhs).max() < 1e-11


@pytest.mark.parametrize("bond", [2, 4, 9])
def test_splits_keep_the_marginals(bond):
    x = RNG.standard_normal((8, 12)) * np.logspace(0, -6, 12)
    cut = split_right(x, bond, 0.0)
    y = cut.left @ cut.right
    assert cut.left.shape[1] <= bond
    assert np.allclose(cut.left.T @ cut.left, np.eye(cut.left.shape[1]), atol=1e-14)
    assert np.abs(y[0] - x[0]).max() < 1e-15 and np.array_equal(cut.left[:, 0], np.eye(8)[0])
    assert cut.weight == pytest.approx(np.linalg.norm(x - y) ** 2 / np.linalg.norm(x) ** 2, rel=1e-6, abs=1e-28)
    best = np.linalg.svd(x[1:], compute_uv=False)[bond - 1 :]
    assert np.linalg.norm(x - y) == pytest.approx(np.linalg.norm(best), rel=1e-8, abs=1e-14)
    mirror = split_left(x.T, bond, 0.0)
    assert np.allclose(mirror.left @ mirror.right, y.T, atol=1e-14)


def test_cutoff_bounds_the_discarded_weight():
    x = RNG.standard_normal((10, 10)) @ np.diag(np.logspace(0, -8, 10))
    cut = split_right(x, 10, 1e-6)
    assert 0 < cut.weight <= 1e-6 and cut.left.shape[1] < 10


def test_metric_of_a_pure_product_state():
    state = MPOState.product(Chain(40, SpinHalf()), "up")
    for scale in (1.0, 2.0):
        assert norm_over_trace(state.tensors, scale) == pytest.approx(20 * np.log1p(1 / scale**2), rel=1e-12)
    chosen = suitable_scale(state.tensors)
    assert norm_over_trace(state.tensors, chosen) <= np.log(10) < norm_over_trace(state.tensors, chosen - 0.5)
    assert suitable_scale(MPOState.mixed(state.lattice).tensors) == 1.0
    assert safe_scale([4] * 10) == 1.0 < safe_scale([4] * 200)


def test_scaled_operator_is_similar_to_the_generator():
    mpo = lindbladian_mpo(models.persistent_current(L=3, alpha=1.0, delta=0.5, periodic=False))
    scaled = type(mpo)(tuple(scaled_operator(mpo.tensors, 1.5)), mpo.order).to_dense()
    s = np.array([1.0, 1.5, 1.5, 1.5])
    s = np.kron(np.kron(s, s), s)
    assert np.abs(scaled - mpo.to_dense() / s[:, None] * s[None, :]).max() < 1e-12


def test_error_factor():
    assert truncation_factor(1e-10, None) == 2.0 == truncation_factor(1e-8, 1e-8)
    assert truncation_factor(1e-12, 1e-8) == pytest.approx(0.08)


def progress(**more):
    values = {"bond": 16, "scale": 1.0, "tau": 1e5, "level": 2, "sweeps": 9, "weight": 1e-12, "coarser": 1e-9}
    return Progress(**{**values, "drifts": [1e-5, 1e-7, 1e-9], "residual": 1e-5, "residuals": [1e-2, 1e-3], **more})


LIMITS = Limits(1e-5, 64, 1024, 100)


def test_decisions():
    assert judge(progress(), LIMITS, 1.0, 1e-6).kind == "converged"
    assert judge(progress(), LIMITS, 1.0, 1e-3).kind == "grow"
    assert judge(progress(drifts=[1e-4, 1e-4, 1e-4]), LIMITS, 1.0, 1e-6).kind == "sweep"
    assert judge(progress(bond=64), LIMITS, 1.0, 1e-2).kind == "stalled"
    assert judge(progress(sweeps=100), LIMITS, 1.0, 1e-2).kind == "failed"
    wandering = progress(bond=64, drifts=[1e-2] * 20, since_best=12)
    assert judge(wandering, LIMITS, 1.0, 1e-2).kind == "failed"


def test_a_residual_that_does_not_fall_is_never_a_success():
    verdict = judge(progress(bond=64, residual=2e-3), LIMITS, 1.0, 1e-6)
    assert verdict.kind == "failed" and "residual" in verdict.reason
    assert judge(progress(worst=0.95), LIMITS, 1.0, 1e-6).kind != "converged"
    assert judge(progress(tau=1.0), LIMITS, 1.0, 1e-6).kind != "converged"


def test_progress_survives_json():
    p = progress()
    judge(p, LIMITS, 1.0, 1e-6)
    assert Progress.from_json(p.to_json()) == p


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("max_bond", 1),
        ("max_bond", True),
        ("max_sweeps", 0),
        ("krylov", 1.5),
        ("rtol", 0.0),
        ("rtol", float("nan")),
        ("cutoff", -1e-3),
        ("initial_bond", None),
    ],
)
def test_bad_knobs_are_named(knob, value):
    with pytest.raises(InputError) as error:
        ImplicitSweeps(**{knob: value})
    assert error.value.field == knob


def test_what_is_not_supported_says_why():
    method = ImplicitSweeps()
    ising = models.boundary_driven_xx(4, 1.0, 0.0, 0.5, 0.0, 0.5)
    for model, word in (
        (models.kerr_oscillator(Delta=1.0, U=0.5, F=1.0, gamma=1.0, levels=4), "two sites"),
        (ising, "strong"),
    ):
        support = method.supports(model)
        assert not support and word in support.reason
    assert not method.supports(MODEL, "evolve")
