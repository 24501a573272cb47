"""Pieces of the implicit sweeps: projections, local solves, splits that keep the identity, the decisions."""

from itertools import pairwise

import numpy as np
import pytest
from local_problems import LocalGenerator, left_environments, right_environments

from mpo_transport import Chain, InputError, SpinHalf, models
from mpo_transport.methods.implicit import blocks
from mpo_transport.methods.implicit.local import Kronecker, gmres, lu_solve
from mpo_transport.methods.implicit.method import ImplicitSweeps
from mpo_transport.methods.implicit.schedule import (
    Limits,
    Progress,
    claim,
    is_preliminary,
    judge,
    larger_bond,
    truncation_factor,
)
from mpo_transport.methods.implicit.sectors import Legs, find_labels, graded_operator, ungraded
from mpo_transport.methods.implicit.sweeps import (
    Settings,
    Sweeper,
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
UNGRADED = ungraded(lindbladian_mpo(MODEL).tensors)
GRADED = graded_operator(lindbladian_mpo(MODEL).tensors, find_labels(MODEL))
RNG = np.random.default_rng(5)
SINGLE_PRECISION = float(np.finfo(np.float32).eps)  # that of preconditioners


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
    tensors, bonds = embed(state.tensors, scale, UNGRADED)
    assert [b.total for b in bonds[:-1]] == [len(t) for t in tensors]
    for t in tensors[1:]:
        flat = t.reshape(t.shape[0], -1)
        assert np.allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-13)
        assert np.array_equal(flat[0], np.eye(flat.shape[1])[0])
    assert tensors[0][0, 0, 0] == pytest.approx(1.0, abs=1e-14)
    back = release(tensors, scale, UNGRADED)
    assert np.abs(dense_train(back) - dense_train(state.tensors)).max() < 1e-14 * np.abs(dense_train(back)).max() * 100
    assert MPOState(state.lattice, back).trace() == pytest.approx(1, abs=1e-13)
    assert all(
        np.allclose(a, b, rtol=1e-15) for a, b in zip(resume_frames(back, scale, UNGRADED), tensors, strict=True)
    )


def test_projected_generator_is_the_projection_of_the_dense_one():
    scale, p = 1.4, 1
    operator = scaled_operator(UNGRADED, scale).tensors
    tensors, _ = embed(random_state().tensors, scale, UNGRADED)
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
    assert np.abs(inverse(a @ x + x @ b - 0.3 * x) - x).max() < 100 * SINGLE_PRECISION


def test_preconditioner_takes_a_defective_matrix():
    a, b = np.array([[-1.0, 1.0], [0.0, -1.0]]), -np.eye(2)
    inverse, x = Kronecker(a, b, 0.1), np.array([[1.0, 2.0], [3.0, 4.0]])
    assert np.abs(inverse(a @ x + x @ b - 0.1 * x) - x).max() < 100 * SINGLE_PRECISION


def test_preconditioner_keeps_away_from_singular_sums():
    """An eigenvalue of the Kronecker sum at the shift itself would enlarge rounding without bound."""
    inverse = Kronecker(np.diag([0.2, -1.0]), np.diag([0.1, -2.0]), 0.3)
    assert np.abs(inverse(np.ones((2, 2)))).max() < 1 / (0.1 * 0.3)


def test_gmres_solves_and_tells_the_true_residual():
    matrix = RNG.standard_normal((20, 20)) - 6 * np.eye(20)
    rhs = RNG.standard_normal((4, 5))
    for products in (3, 8, 20):
        found = gmres(lambda x: (matrix @ x.ravel()).reshape(4, 5), lambda r: -r / 6, rhs, 1e-13, products)
        true = np.linalg.norm(matrix @ found.correction.ravel() - rhs.ravel()) / np.linalg.norm(rhs)
        assert found.ratio == pytest.approx(true, rel=1e-6, abs=1e-13)
    assert found.ratio < 1e-12 and found.products == 20
    assert gmres(lambda x: x, lambda r: r, 0 * rhs, 1e-3, 5).products == 0


def test_lu_solve_agrees_with_the_definition():
    operator = lindbladian_mpo(MODEL).tensors
    tensors, _ = embed(random_state().tensors, 1.0, UNGRADED)
    local = LocalGenerator(np.ones((1, 1, 1)), operator[0], operator[1], right_environments(tensors, operator, 1)[-1])
    rhs = RNG.standard_normal((local.m, local.k))
    found = lu_solve(local.dense(), 0.2, rhs)
    assert found.ratio < 1e-12
    assert np.abs(local(found.correction) - 0.2 * found.correction - rhs).max() < 1e-11


@pytest.mark.parametrize("bond", [2, 4, 9])
def test_splits_keep_the_marginals(bond):
    x = RNG.standard_normal((8, 12)) * np.logspace(0, -6, 12)
    cut = split_right([x], bond, 0.0)
    left, y = cut.left[0], cut.left[0] @ cut.right[0]
    assert left.shape[1] <= bond
    assert np.allclose(left.T @ left, np.eye(left.shape[1]), atol=1e-14)
    assert np.abs(y[0] - x[0]).max() < 1e-15 and np.array_equal(left[:, 0], np.eye(8)[0])
    assert cut.weight == pytest.approx(np.linalg.norm(x - y) ** 2 / np.linalg.norm(x) ** 2, rel=1e-6, abs=1e-28)
    best = np.linalg.svd(x[1:], compute_uv=False)[bond - 1 :]
    assert np.linalg.norm(x - y) == pytest.approx(np.linalg.norm(best), rel=1e-8, abs=1e-14)
    mirror = split_left([x.T], bond, 0.0)
    assert np.allclose(mirror.left[0] @ mirror.right[0], y.T, atol=1e-14)


def test_a_split_shares_the_bond_among_sectors_by_weight():
    x = [RNG.standard_normal((6, 7)), 1e-3 * RNG.standard_normal((5, 4))]
    whole = np.zeros((11, 11))
    whole[:6, :7], whole[6:, 7:] = x
    cut = split_right(x, 8, 0.0)
    assert cut.sizes[0] == 6 and cut.sizes[1] == 2
    best = np.linalg.svd(whole[1:], compute_uv=False)[7:]
    assert cut.weight == pytest.approx((best**2).sum() / (whole**2).sum(), rel=1e-9)


def test_cutoff_bounds_the_discarded_weight():
    x = RNG.standard_normal((10, 10)) @ np.diag(np.logspace(0, -8, 10))
    cut = split_right([x], 10, 1e-6)
    assert 0 < cut.weight <= 1e-6 and cut.sizes[0] < 10


MODELS = {
    "currents": models.persistent_current(L=4, alpha=1.3, delta=0.4, J=0.7, mu=[1.0, 0.5, 0.7, 1.2], periodic=False),
    "exclusion": models.exclusion_process(4, 1.0, 0.8, 0.5, 0.3),
    "ring": models.persistent_current(L=4, alpha=1.3, delta=0.4, lam=0.2),
    "no grading": models.persistent_current(L=4, alpha=1.3, delta=0.4, eps_x=0.3, periodic=False),
}


@pytest.mark.parametrize("name", MODELS)
def test_graded_operator_is_the_operator(name):
    model = MODELS[name]
    mpo, labels = lindbladian_mpo(model), find_labels(model)
    graded = graded_operator(mpo.tensors, labels)
    assert graded.sectors == (1 if name == "no grading" else 2)
    assert max(b.total for b in graded.bonds) == max(mpo.bond_dimensions)
    back = []
    for w, order in zip(graded.tensors, graded.orders, strict=True):
        inverse = np.argsort(order)
        back.append(w[:, inverse][:, :, inverse])
    dense = mpo.to_dense()
    assert np.abs(type(mpo)(tuple(back), mpo.order).to_dense() - dense).max() < 1e-13 * np.abs(dense).max()
    for p, w in enumerate(graded.tensors):
        n = graded.locals[p].labels
        total = graded.bonds[p].labels[:, None, None, None] ^ n[:, None, None] ^ n[:, None] ^ graded.bonds[p + 1].labels
        assert not np.any(w[total != 0])
    # the labels are conserved: no element joins strings of different parity
    parity = labels[0]
    for x in labels[1:]:
        parity = (parity[:, None] ^ x).ravel()
    assert np.abs(dense[parity[:, None] != parity]).max(initial=0.0) < 1e-13 * np.abs(dense).max()


def test_labels_that_are_not_conserved_are_refused():
    model = MODELS["no grading"]
    wrong = tuple(np.array([0, 1, 1, 0]) for _ in range(4))
    assert graded_operator(lindbladian_mpo(model).tensors, wrong).sectors == 1


def test_blocks_of_a_local_problem_are_those_of_the_whole():
    """With and without sectors: the same map, environments and dense matrix."""
    state = random_state(bond=6)
    tensors, bonds = embed(state.tensors, 1.3, GRADED)
    operator = scaled_operator(GRADED, 1.3)
    p = 2
    for k in range(p):  # centre to position p
        r = tensors[k].shape[2]
        fused = blocks.fuse_left(tensors[k], bonds[k], operator.locals[k], bonds[k + 1])
        cut = split_right(fused, 10**6, 0.0)
        bonds[k + 1] = Legs(cut.sizes)
        carry = np.zeros((bonds[k + 1].total, r))
        old = Legs(tuple(b.shape[1] for b in fused)).slices
        for c, rest in enumerate(cut.right):
            carry[bonds[k + 1].slices[c], old[c]] = rest
        tensors[k] = blocks.unfuse_left(cut.left, bonds[k], operator.locals[k], bonds[k + 1])
        tensors[k + 1] = np.tensordot(carry, tensors[k + 1], axes=(1, 0))
    sweeper = Sweeper(operator, list(tensors), list(bonds), p, 1.0, np.zeros(4))
    centre = blocks.Centre(bonds[p], operator.locals[p], operator.locals[p + 1], bonds[p + 2])
    local = blocks.LocalBlocks(
        sweeper._left_half(p), sweeper._right_half(p + 1), list(zip(centre.rows(), centre.columns(), strict=True))
    )
    left = left_environments(tensors, operator.tensors, p)[p]
    right = right_environments(tensors, operator.tensors, p + 1)[-1]
    whole = LocalGenerator(left, operator.tensors[p], operator.tensors[p + 1], right)
    rows = (bonds[p].labels[:, None] ^ operator.locals[p].labels).ravel()
    columns = (operator.locals[p + 1].labels[:, None] ^ bonds[p + 2].labels).ravel()
    x = local.join([RNG.standard_normal(s) for s in local.shapes])
    big = np.zeros((whole.m, whole.k))
    # order inside a block: (site label, bond, site) on the left, (site label, site, bond) on the right
    site = np.broadcast_to(operator.locals[p].labels, (bonds[p].total, operator.locals[p].total)).ravel()
    other = np.repeat(operator.locals[p + 1].labels, bonds[p + 2].total)
    index = []
    for c in range(2):
        i = np.flatnonzero(rows == c)[np.argsort(site[rows == c], kind="stable")]
        j = np.flatnonzero(columns == c)[np.argsort(other[columns == c], kind="stable")]
        index.append(np.ix_(i, j))
    for where, block in zip(index, local.split(x), strict=True):
        big[where] = block
    expected = whole(big)
    found = np.zeros_like(big)
    for where, block in zip(index, local.split(local(x)), strict=True):
        found[where] = block
    assert np.abs(found - expected).max() < 1e-12 * np.abs(expected).max()
    assert np.abs(local.dense() @ x - local(x)).max() < 1e-12 * np.abs(expected).max()
    residual = x - local.preconditioner(0.3)(local(x) - 0.3 * x)
    assert np.linalg.norm(residual) < np.linalg.norm(x)


@pytest.mark.parametrize("graded", [True, False])
def test_environments_carried_by_a_sweep_are_those_built_anew(graded):
    operator = GRADED if graded else UNGRADED
    tensors, bonds = embed(random_state(bond=3).tensors, 1.0, operator)
    sweeper = Sweeper(operator, tensors, bonds, 0, 1.0, np.zeros(4))
    how = Settings(10.0, 6, 0.0, 1e-3, 20)
    for p in range(4):
        sweeper.update(p, how, right=True)
    for p in (3, 2):
        sweeper.update(p, how, right=False)
    fresh = Sweeper(operator, list(sweeper.tensors), list(sweeper.bonds), 2, 1.0, np.zeros(4))
    for p in range(3):
        assert np.abs(sweeper._left[p] - fresh._left[p]).max() < 1e-12 * np.abs(fresh._left[p]).max()
    for p in (2, 3, 4):
        assert np.abs(sweeper._right[p] - fresh._right[p]).max() < 1e-12 * np.abs(fresh._right[p]).max()
    assert sweeper.tensors[2][0, 0, 0] == pytest.approx(1.0, abs=1e-12)  # trace one


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
    scaled = type(mpo)(scaled_operator(ungraded(mpo.tensors), 1.5).tensors, mpo.order).to_dense()
    s = np.array([1.0, 1.5, 1.5, 1.5])
    s = np.kron(np.kron(s, s), s)
    assert np.abs(scaled - mpo.to_dense() / s[:, None] * s[None, :]).max() < 1e-12


def progress(**more):
    values = {"bond": 16, "scale": 2.0, "tau": 1e5, "level": 3, "passes": 9, "weight": 1e-12, "known": [1e-4, 1e-9]}
    return Progress(**{**values, "changes": [1e-4, 1e-7], "residual": 1e-5, "residuals": [1e-2, 1e-3], **more})


LIMITS = Limits(1e-5, 64, 1024, 100)


def judged(p, limits=LIMITS, moved=None, cut=0.0):
    p.parts = claim(p, limits, moved, cut)
    return judge(p, limits, 1.0)


def test_decisions():
    assert judged(progress()).kind == "converged"
    assert judged(progress(changes=[1e-1, 1e-3], weight=1e-4)).kind == "grow"  # far above the tolerance
    assert judged(progress(changes=[1e-1, 1e-3])).kind == "pass"  # too large for what was cut
    assert judged(progress(changes=[1e-3, 1e-5])).kind == "pass"  # one more may do
    assert judged(progress(changes=[1e-5, 1e-5])).kind == "grow"  # truncation keeps it where it is
    assert judged(progress(bond=8, changes=[1e-9])).kind == "grow"  # on the way
    assert judged(progress(changes=[1e-4])).kind == "pass"  # a single pass says nothing
    assert judged(progress(changes=[1e-4], weight=1e-9)).kind == "grow"  # but its weight does
    assert judged(progress(changes=[1e-4], weight=1e-9, known=None)).kind == "pass"
    end = {"bond": 64, "changes": [1e-3, 1e-4, 1e-4, 1e-4]}
    assert judged(progress(**end, drifts=[1e-4, 9e-5])).kind == "pass"
    assert judged(progress(**end, drifts=[1e-6, 1e-7])).kind == "stalled"
    assert judged(progress(passes=200, changes=[1e-2, 1e-3])).kind == "failed"
    assert judged(progress(**end, drifts=[1e-2, 1e-2], since_best=24)).kind == "failed"


def test_what_has_not_settled_is_told_from_truncation():
    """Three model sequences x_k = x + (-1)^k a + b r^k: the part b r^k of the claim covers it."""
    for a, b, r in ((0.0, 1.0, 0.9), (1e-3, 1e-2, 0.2), (1e-6, 1e-3, 0.6)):
        x = [(-1) ** k * a + b * r**k for k in range(12)]
        p = progress(changes=[], drifts=[])
        for k in range(1, 12):
            p.add(abs(x[k] - x[k - 1]), abs(x[k] - x[k - 2]) if k > 1 else None)
            rest = p.remaining
            assert rest is None or rest >= b * r**k or 8 * p.change >= 4 * b * r**k
        assert p.remaining is not None
    slow = progress(changes=[])
    for k in range(1, 6):
        slow.add(0.01 * 0.99**k, 0.0199 * 0.99**k)
    assert slow.remaining is None  # no decay to speak of: no claim


def test_nothing_is_claimed_after_one_pass_and_decay_is_remembered():
    p = progress(changes=[1e-6])
    assert p.ratio == np.inf and p.remaining is None and claim(p, LIMITS, None, 0.0)["truncation"] is None
    slow = progress(changes=[1e-3, 7e-4, 5e-4], drifts=[1.2e-3, 8e-4])
    slow.enter(24)
    assert slow.prior == pytest.approx(2 / 3, rel=0.1) and slow.changes == slow.drifts == []
    slow.add(1e-4, None)
    slow.add(1e-6, 1e-4)
    assert slow.ratio == slow.prior


def test_the_cutoff_is_part_of_the_claim():
    parts = claim(progress(), LIMITS, None, 3e-6)
    assert parts["truncation"] == 3e-6
    assert claim(progress(weight=0.0, uncut=True), LIMITS, 1e-3, 0.0)["truncation"] == 0.0  # nothing cut
    assert claim(progress(weight=0.0), LIMITS, None, 0.0)["truncation"] == pytest.approx(8e-7)  # below rounding
    assert claim(progress(uncut=True), LIMITS, 1e-3, 0.0)["truncation"] == pytest.approx(0.1 * 8e-7)
    assert claim(progress(uncut=True, residual=1e-3), LIMITS, None, 0.0)["relaxation"] == 1e-2


def test_the_level_before_is_part_of_the_claim():
    assert truncation_factor(1e-10, None) == 2.0 == truncation_factor(1e-8, 1e-8)
    assert truncation_factor(1e-12, 1e-8) == pytest.approx(0.08)
    assert claim(progress(coarser=1e-8), LIMITS, 1e-3, 0.0)["truncation"] == pytest.approx(0.08 * 1e-3)


def test_a_residual_that_does_not_fall_is_never_a_success():
    still = {"changes": [1e-4, 1e-7, 1e-7, 1e-7], "drifts": [1e-7, 1e-9]}
    verdict = judged(progress(bond=64, residual=2e-3, **still))
    assert verdict.kind == "failed" and "residual" in verdict.reason
    assert judged(progress(residual=2e-3)).kind != "converged"
    assert judged(progress(worst=0.95)).kind != "converged"
    assert judged(progress(tau=1.0)).kind != "converged"


def test_bonds_grow_from_a_few_to_what_the_tolerance_needs():
    p, bonds = progress(bond=4), [4]
    while p.bond < 64:
        p.enter(larger_bond(p, LIMITS))
        bonds.append(p.bond)
    assert bonds == [4, 8, 12, 16, 24, 32, 48, 64]
    assert is_preliminary(12, LIMITS) and not is_preliminary(12, Limits(1e-3, 64, 1024, 100))
    assert not is_preliminary(5, Limits(1e-5, 64, 5, 100))  # nothing larger is needed


def test_progress_survives_json():
    p = progress()
    judged(p)
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
        ("fallback", 1),
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
