"""Identities of the local-divergence equations on random trains, with and without a parity."""

import numpy as np
import pytest

from mpo_transport.methods.divergence.flux import _two_sites, block_tridiagonal_solve, flux, newton_step
from mpo_transport.methods.divergence.frames import common_ranks, cut_ranks, frames
from mpo_transport.methods.divergence.problem import build_problem, invariant_legs
from mpo_transport.models import boundary_driven_xxz, exclusion_process
from mpo_transport.superoperator.train import dense_train

LEGS = (3, 4, 2, 3, 4)
BONDS = (1, 3, 5, 4, 3, 1)


def random_chain(seed, parity):
    """Train, labels of bonds and sites, and generators that keep the total label."""
    rng = np.random.default_rng(seed)
    sites = [np.arange(n) % 2 if parity else np.zeros(n, dtype=int) for n in LEGS]
    bonds = [np.sort(np.arange(m) % 2) if parity else np.zeros(m, dtype=int) for m in BONDS]
    train = []
    for k, n in enumerate(LEGS):
        t = rng.standard_normal((BONDS[k], n, BONDS[k + 1]))
        t[(bonds[k][:, None, None] + sites[k][:, None] + bonds[k + 1]) % 2 == 1] = 0.0
        train.append(t)
    h = []
    for a, b, n, m in zip(sites, sites[1:], LEGS, LEGS[1:], strict=False):
        g = rng.standard_normal((n, m, n, m))
        total = a[:, None, None, None] + b[:, None, None] + a[:, None] + b
        h.append(np.where(total % 2 == 0, g, 0.0))
    return train, bonds, sites, h


def apply(h, x):
    """sum_j h_j x on a dense tensor."""
    out = np.zeros_like(x)
    for j, g in enumerate(h):
        out += np.moveaxis(np.tensordot(g, x, axes=((2, 3), (j, j + 1))), (0, 1), (j, j + 1))
    return out


@pytest.mark.parametrize("parity", [False, True])
def test_the_three_forms_are_the_same_vector(parity):
    train, bonds, sites, _ = random_chain(1, parity)
    f = frames(train, bonds, sites)
    x = dense_train(train)
    x = x / np.linalg.norm(x)
    for k in range(f.length):
        mixed = (*f.left[:k], f.centre[k], *f.right[k + 1 :])
        assert np.abs(dense_train(mixed) - x).max() < 1e-13
        a = f.left[k].reshape(-1, f.left[k].shape[2])
        r = f.right[k].reshape(f.right[k].shape[0], -1)
        if k < f.length - 1:
            assert np.abs(a.T @ a - np.eye(a.shape[1])).max() < 1e-13
        if k > 0:
            assert np.abs(r @ r.T - np.eye(len(r))).max() < 1e-13
        for form in (f.left[k], f.right[k], f.centre[k]):
            kept = np.zeros(form.shape, dtype=bool)
            kept[f.even(k)] = True
            assert not form[~kept].any()


@pytest.mark.parametrize("parity", [False, True])
def test_cutting_keeps_the_largest_schmidt_values_of_both_labels(parity):
    train, bonds, sites, _ = random_chain(2, parity)
    whole, cut = frames(train, bonds, sites), frames(train, bonds, sites, [3, 5, 2, 3])
    assert cut.ranks == (3, 4, 2, 3)  # no more than 2 * 2 fit in front of the bond that is cut
    kept = np.sort(whole.schmidt[3])[::-1][:2]
    assert np.linalg.norm(dense_train(cut.train()) - dense_train(whole.train())) < 1.5 * np.sqrt(1 - np.sum(kept**2))
    assert np.abs(np.sort(cut.schmidt[3])[::-1] - kept / np.linalg.norm(kept)).max() < 1e-13


@pytest.mark.parametrize("parity", [False, True])
def test_the_auxiliary_tensors_telescope(parity):
    """sum_j E_j with its frames on both sides is L x, whatever the state."""
    train, bonds, sites, h = random_chain(3, parity)
    f = frames(train, bonds, sites)
    state = flux(f, h)
    total = np.zeros(LEGS)
    for j, e in enumerate(state.residual):
        left, right = f.left[:j], f.right[j + 2 :]
        u = dense_train((*left, np.eye(e.shape[0])[:, :, None])) if j else np.ones((1, 1))
        v = dense_train((np.eye(e.shape[3])[None], *right)) if right else np.ones((1, 1))
        v = v.reshape(e.shape[3], -1)
        total += np.tensordot(np.tensordot(u.reshape(-1, e.shape[0]), e, axes=(1, 0)), v, axes=(3, 0)).reshape(LEGS)
    image = apply(h, dense_train(f.train()))
    assert np.abs(total - image).max() < 1e-13 * np.abs(image).max() * len(LEGS)
    assert np.linalg.norm(image) <= np.sqrt(len(h)) * state.size * (1 + 1e-12)
    assert not state.b[0].any() and not state.b[-1].any()


@pytest.mark.parametrize("parity", [False, True])
def test_the_auxiliary_tensors_are_the_best_ones(parity):
    train, bonds, sites, h = random_chain(4, parity)
    f = frames(train, bonds, sites)
    state = flux(f, h)
    rng = np.random.default_rng(5)
    for step in (1e-3, -1e-3):
        b = [t.copy() for t in state.b]
        for k in range(1, f.length - 1):
            b[k][f.even(k)] += step * rng.standard_normal(len(f.even(k)[0]))
        size = 0.0
        for j in range(f.length - 1):
            e = _two_sites(h[j], f.left[j], f.centre[j + 1])
            e = e - np.tensordot(b[j], f.right[j + 1], axes=(2, 0)) + np.tensordot(f.left[j], b[j + 1], axes=(2, 0))
            size += float(np.sum(e * e))
        assert np.sqrt(size) > state.size


def linear_model(state, h, x, y):
    """dE_j of the tangent (x, y), written out from the definition."""
    f, out = state.frames, []
    for j, g in enumerate(h):
        a, r = f.left[j], f.right[j + 1]
        e = _two_sites(g, x[j], r) + _two_sites(g, a, x[j + 1])
        e = e + np.tensordot(x[j], state.right[j + 1], axes=(2, 0)) - np.tensordot(y[j], r, axes=(2, 0))
        e = e - np.tensordot(state.left[j], x[j + 1], axes=(2, 0)) + np.tensordot(a, y[j + 1], axes=(2, 0))
        out.append(e)
    return out


def test_the_jacobian_is_the_derivative_of_the_residual():
    """E of the moved state in the old frames, to second order in the step: central differences."""
    train, bonds, sites, h = random_chain(6, False)
    state = flux(frames(train, bonds, sites), h)
    f, rng = state.frames, np.random.default_rng(7)
    x = [rng.standard_normal(t.shape) for t in f.centre]
    y = [rng.standard_normal(t.shape) for t in f.centre]
    y[0], y[-1] = 0 * y[0], 0 * y[-1]

    def residual(step):
        """A_j and B_j in the left-orthonormal gauge, E_j weighted with the Schmidt values of its right bond."""
        inverse = [1 / s for s in f.schmidt]
        a = [t + step * d * inverse[k + 1] for k, (t, d) in enumerate(zip(f.left, x, strict=True))]
        b = [t + step * d * inverse[k + 1] for k, (t, d) in enumerate(zip(state.left, y, strict=True))]
        a[-1] = f.centre[-1] + step * x[-1]
        b[-1] = np.zeros_like(f.centre[-1])
        out = []
        for j, g in enumerate(h):
            e = _two_sites(g, a[j], a[j + 1])
            e = e - np.tensordot(b[j], a[j + 1], axes=(2, 0)) + np.tensordot(a[j], b[j + 1], axes=(2, 0))
            out.append(e * f.schmidt[j + 2] if j + 2 < f.length else e)
        return out

    step = 1e-5
    model = linear_model(state, h, x, y)
    for plus, minus, e in zip(residual(step), residual(-step), model, strict=True):
        assert np.abs((plus - minus) / (2 * step) - e).max() < 1e-8 * np.abs(e).max()


@pytest.mark.parametrize("parity", [False, True])
def test_a_step_solves_the_damped_least_squares_problem(parity):
    """Against a dense least-squares solver on all unknowns at once, in the same gauge."""
    train, bonds, sites, h = random_chain(8, parity)
    state = flux(frames(train, bonds, sites), h)
    f, damping = state.frames, 1e-3
    places = [(k, i) for k in range(f.length) for i in np.transpose(f.even(k))]
    columns, fixed = [], []
    for kind in (0, 1):
        for k, i in places:
            if kind and k in (0, f.length - 1):
                continue
            z = [[np.zeros_like(t) for t in f.centre] for _ in range(2)]
            z[kind][k][tuple(i)] = 1.0
            column = np.concatenate([e.ravel() for e in linear_model(state, h, *z)])
            gauge = [np.tensordot(a, t, axes=((0, 1), (0, 1))).ravel() for a, t in zip(f.left, z[0], strict=True)]
            gauge[-1] = np.array([np.sum(f.centre[-1] * z[0][-1])])
            columns.append(column)
            fixed.append(np.concatenate(gauge))
    matrix = np.concatenate([np.transpose(columns), np.transpose(fixed), np.sqrt(damping) * np.eye(len(columns))])
    rhs = np.zeros(len(matrix))
    e = np.concatenate([t.ravel() for t in state.residual])
    rhs[: len(e)] = -e
    expected = np.linalg.lstsq(matrix, rhs, rcond=None)[0][: len(places)]
    x, size = newton_step(state, h, damping)
    found = np.array([x[k][tuple(i)] for k, i in places])
    assert np.abs(found - expected).max() < 1e-9 * np.abs(expected).max()
    assert size == pytest.approx(np.linalg.norm(expected), rel=1e-9)


def test_the_sum_of_tangents_is_exact():
    train, bonds, sites, _ = random_chain(9, True)
    f, rng = frames(train, bonds, sites), np.random.default_rng(10)
    x = [np.zeros_like(t) for t in f.centre]
    for k, t in enumerate(x):
        t[f.even(k)] = rng.standard_normal(len(f.even(k)[0]))
    moved, labels = f.sum_of_tangents(x)
    expected = dense_train(f.train())
    for k in range(f.length):
        expected = expected + dense_train((*f.left[:k], x[k], *f.right[k + 1 :]))
    assert np.abs(dense_train(moved) - expected).max() < 1e-13 * np.abs(expected).max()
    again = dense_train(frames(moved, labels, sites).train())
    assert np.abs(again - expected / np.linalg.norm(expected)).max() < 1e-13


def test_block_cholesky_solves_the_system():
    rng = np.random.default_rng(11)
    sizes = [2, 4, 1, 3]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    full = np.zeros((10, 10))
    for i in range(4):
        for j in range(max(0, i - 1), min(4, i + 2)):
            full[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = rng.standard_normal((sizes[i], sizes[j]))
    full = full + full.T + 12 * np.eye(10)
    rhs = rng.standard_normal(10)

    def block(i, j):
        return full[starts[i] : starts[i + 1], starts[j] : starts[j + 1]].copy()

    out = block_tridiagonal_solve(
        lambda i: block(i, i), lambda i: block(i, i + 1), [rhs[starts[i] : starts[i + 1]] for i in range(4)]
    )
    assert np.abs(np.concatenate(out) - np.linalg.solve(full, rhs)).max() < 1e-13


def test_strings_that_the_identity_never_meets_are_left_out():
    """The exclusion process keeps diagonal states diagonal; the driven chain does not."""
    classical = build_problem(exclusion_process(5, 1.0, 0.8, 0.5, 0.3), None)
    assert all(k.tolist() == [0, 3] for k in classical.kept)
    quantum = build_problem(boundary_driven_xxz(5, 0.5, eps=1.0), None)
    assert all(k.tolist() == [0, 1, 2, 3] for k in quantum.kept)
    assert [x.tolist() for x in invariant_legs([np.zeros((4, 4, 4, 4))], [4, 4])] == [[0], [0]]


def test_ranks_are_read_off_the_schmidt_values():
    """Two terms of comparable weight and one of weight 1e-5: rank 2 is suggested and separated."""
    rng = np.random.default_rng(12)
    q = [np.linalg.qr(rng.standard_normal((n, 3)))[0] if n > 2 else np.eye(2)[:, [0, 1, 1]] for n in (4, 4, 4, 4)]
    weights = np.array([1.0, 0.5, 1e-5])
    train = [(q[0] * weights)[None]]
    for m in q[1:-1]:
        t = np.zeros((3, 4, 3))
        t[np.arange(3), :, np.arange(3)] = m.T
        train.append(t)
    train.append(q[-1].T[:, :, None])
    plain = [np.zeros(m, dtype=int) for m in (1, 3, 3, 3, 1)]
    f = frames(train, plain, [np.zeros(4, dtype=int)] * 4)
    assert np.abs(f.schmidt[2] / f.schmidt[2][0] - weights).max() < 1e-14
    assert cut_ranks(f, 1e3) == [2, 2, 2] and cut_ranks(f, 1e6) is None
    assert common_ranks(f, 1.5, 8) == [2, 1]
