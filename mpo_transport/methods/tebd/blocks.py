"""Bond updates on a train whose bonds carry a parity: the arithmetic of the Z2 layout, compiled where numba is there.

A bond has m_0 even and m_1 odd indices, a site n_0 even and n_1 odd basis operators; only entries of even total parity
exist.  A site is *stored by* one of its bonds: for each parity s of that bond a matrix

    (m_s, [n_0, y_s] [n_1, y_{1-s}]),        y the other bond, the index of y running fastest,

both matrices one after another.  Sites left of the centre are stored by their right bond, sites right of it by their
left bond, the centre (an end of the train when a pass begins) by its only inner bond; all but the centre then have
orthonormal rows.  This makes a pass to the left the mirror image of one to the right, so that one piece of code does
both.  A pass applies to each bond, for both parities s of the middle bond,

    theta_s = M_s B_s,  theta <- G theta,  Q_s = orth(theta_s B_s^T),  W_s = Q_s^T theta_s,

see :mod:`mpo_transport.methods.tebd.kernels` for the same without parity.  The gate joins theta_0 and theta_1: it acts
on the pairs of operators of parity c = p + q between left index of parity p and right index of parity q.

The functions are written such that they run as they stand (numpy) and compiled (numba): nothing else may be used here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

__all__ = ["carry", "compiled", "close", "compiled_halves", "join"]

LOOPS = ("_square", "_reflect", "_less")
HELPERS = (
    "_size",
    "_orthonormal",
    "_apply",
    "_split",
    "_gate",
    "_lost",
    "_move",
    "_product",
    "_centre",
    "_turned",
    "_by_outer",
    "_from_outer",
    "_weighted",
)
# Rows of a panel of reflections; smallest number that has a reciprocal.
PANEL = 16
SMALLEST = 1e-300
# Singular values below this share of the largest one are taken for zero.
TINY = 1e-14


def _factor(rows):  # type: ignore[no-untyped-def]
    """Return (L, Q) with rows = L Q: L lower triangular, Q with orthonormal rows (rank deficiency does no harm)."""
    q, upper = np.linalg.qr(rows.T)
    return upper.T, np.ascontiguousarray(q.T)


def _square(v):  # type: ignore[no-untyped-def]
    total = 0.0
    for k in range(len(v)):
        total += v[k] * v[k]
    return total


def _size(matrix):  # type: ignore[no-untyped-def]
    """Return a number by which the matrix may be divided such that squares of its entries are ordinary numbers."""
    if matrix.size == 0:
        return SMALLEST
    if 1e-200 < _square(matrix.ravel()) < 1e200:
        return 1.0
    return max(np.max(np.abs(matrix)), SMALLEST)  # chains of a thousand sites have norms of 1e-150


def _reflect(v, x, y, tau):  # type: ignore[no-untyped-def]
    """Reflect two rows (or one twice the same): x -= tau (v.x) v."""
    d, e = 0.0, 0.0
    for k in range(len(v)):
        d += v[k] * x[k]
        e += v[k] * y[k]
    d *= tau
    e *= tau
    for k in range(len(v)):
        x[k] -= d * v[k]
        y[k] -= e * v[k]


def _less(x, y):  # type: ignore[no-untyped-def]
    """Subtract a matrix from the last rows of another one."""
    first = len(x) - len(y)
    for i in range(len(y)):
        for k in range(y.shape[1]):
            x[first + i, k] -= y[i, k]


def _householder(rows):  # type: ignore[no-untyped-def]
    """Do what :func:`_factor` does by reflections along the rows, 1.2 to 1.8 times faster than LAPACK up to 128 rows.

    Reflections of a panel are joined, H_1 ... H_k = 1 - V^T T V (R. Schreiber and C. Van Loan, SIAM J. Sci. Stat.
    Comput. 10, 53 (1989)); ``t`` holds the blocks T^T.
    """
    m, n = rows.shape
    size = _size(rows)
    a = rows.copy()
    low, t, spare = np.zeros((m, m)), np.zeros((m, m)), np.zeros(n)
    for start in range(0, m, PANEL):
        stop = min(start + PANEL, m)
        for j in range(start, stop):
            v = a[j]
            for k in range(j):
                low[j, k] = v[k]
                v[k] = 0.0
            if size != 1.0:
                for k in range(j, n):
                    v[k] /= size
            square = _square(v)
            if square < SMALLEST:  # nothing left: the row is completed by a unit vector
                v[:] = 0.0
                continue
            beta = -np.copysign(np.sqrt(square), v[j])
            tau = (beta - v[j]) / beta
            over = 1 / (v[j] - beta)
            for k in range(j, n):
                v[k] *= over
            v[j] = 1.0
            low[j, j], t[j, j] = beta * size, tau
            for i in range(j + 1, stop - 1, 2):
                _reflect(v, a[i], a[i + 1], tau)
            if (stop - j) % 2 == 0:
                _reflect(v, a[stop - 1], spare, tau)
        panel = a[start:stop]
        gram = np.dot(panel, panel.T)
        for j in range(start + 1, stop):
            for i in range(start, j):
                total = 0.0
                for k in range(i, j):
                    total += t[k, i] * gram[j - start, k - start]
                t[j, i] = -t[j, j] * total
        if stop < m:
            block = t[start:stop, start:stop].T.copy()
            _less(a, np.dot(np.dot(np.dot(a[stop:], panel.T), block), panel))
    q = np.zeros((m, n))
    for j in range(m):
        q[j, j] = 1.0
    for start in range((m - 1) // PANEL * PANEL, -1, -PANEL):
        stop = min(start + PANEL, m)
        panel = a[start:stop]
        part = np.dot(q[start:], panel.T) if stop < m else panel[:, start:m].T.copy()
        _less(q, np.dot(np.dot(part, t[start:stop, start:stop].copy()), panel))
    return low, q


def _orthonormal(rows):  # type: ignore[no-untyped-def]
    """Return a matrix with orthonormal rows that span those of ``rows``."""
    return _factor(rows)[1]


def _apply(theta0, theta1, gate0, gate1, l, r, n, nn):  # type: ignore[no-untyped-def]
    """Apply the gate in place; blocks of pairs (n, n') of parity c, n_0 first."""
    for p in range(2):
        for q in range(2):
            if l[p] == 0 or r[q] == 0:
                continue
            c = (p + q) % 2
            pairs = n[0] * nn[c] + n[1] * nn[1 - c]
            if pairs == 0:
                continue
            x = np.empty((pairs, l[p], r[q]))
            for back in range(2):
                i = 0
                for t in range(2):
                    u = (c + t) % 2
                    s = (p + t) % 2
                    theta = theta0 if s == 0 else theta1
                    row = 0 if t == 0 else n[0] * l[s]
                    column = 0 if u == 0 else nn[0] * r[s]
                    for a in range(n[t]):
                        for b in range(nn[u]):
                            first = row + a * l[p]
                            start = column + b * r[q]
                            if back == 0:
                                x[i] = theta[first : first + l[p], start : start + r[q]]
                            else:
                                theta[first : first + l[p], start : start + r[q]] = x[i]
                            i += 1
                if back == 0:
                    gate = gate0 if c == 0 else gate1
                    x = np.dot(gate, x.reshape(pairs, l[p] * r[q])).reshape(pairs, l[p], r[q])


def _product(a, b):  # type: ignore[no-untyped-def]
    return np.dot(a, b) if len(b) else np.zeros((len(a), b.shape[1]))


def _split(theta, b, iterations):  # type: ignore[no-untyped-def]
    """Return (Q^T, Q^T theta), the range of Q found from the rows of b."""
    if len(b) == 0:
        return np.zeros((0, len(theta))), np.zeros((0, theta.shape[1]))
    qt = _orthonormal(np.dot(b, theta.T))
    w = np.dot(qt, theta)
    for _ in range(iterations - 1):
        qt = _orthonormal(np.dot(_orthonormal(w), theta.T))
        w = np.dot(qt, theta)
    return qt, w


def _gate(gates, place, n, nn, to_right):  # type: ignore[no-untyped-def]
    """Return the blocks of pair parity 0 and 1 of a gate."""
    pairs0 = n[0] * nn[0] + n[1] * nn[1]
    pairs1 = n[0] * nn[1] + n[1] * nn[0]
    size = pairs0 * pairs0 + pairs1 * pairs1
    place += 0 if to_right else size
    inner = place + pairs0 * pairs0
    return gates[place:inner].reshape(pairs0, pairs0), gates[inner : place + size].reshape(pairs1, pairs1)


def _lost(theta0, theta1, qt0, qt1, w0, w1):  # type: ignore[no-untyped-def]
    """Return the relative weight that theta ~ Q W discards, accurate also far below 1e-16."""
    scale = 1 / max(_size(theta0), _size(theta1))
    rest0, rest1 = (theta0 - _product(qt0.T, w0)) * scale, (theta1 - _product(qt1.T, w1)) * scale
    theta0, theta1 = theta0 * scale, theta1 * scale
    total = np.sum(theta0 * theta0) + np.sum(theta1 * theta1)
    return (np.sum(rest0 * rest0) + np.sum(rest1 * rest1)) / total if total > 0 else 0.0


def _move(matrix, b):  # type: ignore[no-untyped-def]
    """Return (Q^T, C b) with matrix = Q C."""
    if len(b) == 0:
        return np.zeros((0, len(matrix))), np.zeros((0, b.shape[1]))
    low, qt = _factor(np.ascontiguousarray(matrix.T))
    return qt, np.dot(low.T, b)


def _centre(data, start, m, y, n):  # type: ignore[no-untyped-def]
    """Return (M_0, M_1), M_s of shape ([n_0, y_s] [n_1, y_{1-s}], m_s), of a site stored by the bond m."""
    c0 = n[0] * y[0] + n[1] * y[1]
    c1 = n[0] * y[1] + n[1] * y[0]
    middle = start + m[0] * c0
    one = np.ascontiguousarray(data[start:middle].reshape(m[0], c0).T)
    two = np.ascontiguousarray(data[middle : middle + m[1] * c1].reshape(m[1], c1).T)
    return one, two


def _turned(w0, w1, l, m, n):  # type: ignore[no-untyped-def]
    """Return (M_0, M_1), M_s of shape ([n_0, l_s] [n_1, l_{1-s}], m_s), of a centre W stored by its bond l."""
    one = np.empty((n[0] * l[0] + n[1] * l[1], m[0]))
    two = np.empty((n[0] * l[1] + n[1] * l[0], m[1]))
    for p in range(2):
        w = w0 if p == 0 else w1
        for t in range(2):
            s = (p + t) % 2
            out = one if s == 0 else two
            row = 0 if t == 0 else n[0] * l[s]
            column = 0 if t == 0 else n[0] * m[p]
            for a in range(n[t]):
                first = row + a * l[p]
                start = column + a * m[s]
                out[first : first + l[p], :] = w[:, start : start + m[s]]
    return one, two


def carry(data, starts, m, n, gates, passes, forward, iterations, weights, weigh):  # type: ignore[no-untyped-def]
    """Carry the centre from end to end, once per row of ``passes``, in place.

    Parameters
    ----------
    data
        Blocks of all sites, (sum of the sizes,).
    starts
        Where a site begins in ``data``, (L,).
    m
        Even and odd dimension of every bond, (L+1, 2).
    n
        Number of even and odd basis operators of every site, (L, 2).
    gates
        All gates, one after another: per gate the blocks of pair parity 0 and 1, for passes to the right and then the
        same for passes to the left (pairs listed with the operator of the site that the centre comes from first).
    passes
        Where the gate of a bond begins in ``gates``, -1 for none: (number of passes, L-1).
    forward
        Whether the first pass goes to the right.
    iterations
        Passes of the range finder.
    weights
        Largest discarded weight per bond, (L-1,), updated if ``weigh``.
    """
    length = len(starts)
    for number in range(len(passes)):
        to_right = forward if number % 2 == 0 else not forward
        k = 0 if to_right else length - 1
        m0, m1 = _centre(data, starts[k], m[k + 1 if to_right else k], m[k if to_right else k + 1], n[k])
        for i in range(length - 1):
            if to_right:
                k, k2, left, middle, right, bond = i, i + 1, m[i], m[i + 1], m[i + 2], i
            else:
                k = length - 1 - i
                k2, left, middle, right, bond = k - 1, m[k + 1], m[k], m[k - 1], k - 1
            nn = n[k2]
            columns0 = nn[0] * right[0] + nn[1] * right[1]
            columns1 = nn[0] * right[1] + nn[1] * right[0]
            rows0 = n[k][0] * left[0] + n[k][1] * left[1]
            rows1 = n[k][0] * left[1] + n[k][1] * left[0]
            start, inner = starts[k2], starts[k2] + middle[0] * columns0
            end = inner + middle[1] * columns1
            b0 = data[start:inner].reshape(middle[0], columns0)
            b1 = data[inner:end].reshape(middle[1], columns1)
            place = passes[number, bond]
            if place < 0:
                qt0, w0 = _move(m0, b0)
                qt1, w1 = _move(m1, b1)
            else:
                theta0, theta1 = _product(m0, b0), _product(m1, b1)
                gate0, gate1 = _gate(gates, place, n[k], nn, to_right)
                _apply(theta0, theta1, gate0, gate1, left, right, n[k], nn)
                qt0, w0 = _split(theta0, b0, iterations)
                qt1, w1 = _split(theta1, b1, iterations)
                if weigh:
                    weights[bond] = max(weights[bond], _lost(theta0, theta1, qt0, qt1, w0, w1))
            here = starts[k]
            between = here + middle[0] * rows0
            data[here:between] = qt0.ravel()
            data[between : between + middle[1] * rows1] = qt1.ravel()
            if i < length - 2:
                m0, m1 = _turned(w0, w1, middle, right, nn)
            else:
                data[start:inner] = w0.ravel()
                data[inner:end] = w1.ravel()


def _by_outer(data, start, x0, x1, l, m, n):  # type: ignore[no-untyped-def]
    """Write a site given by X_s of shape (m_s, [n_0, l_s] [n_1, l_{1-s}]) as stored by its bond l."""
    for p in range(2):
        width = n[0] * m[p] + n[1] * m[1 - p]
        w = data[start : start + l[p] * width].reshape(l[p], width)
        start += l[p] * width
        for t in range(2):
            s = (p + t) % 2
            x = x0 if s == 0 else x1
            row = 0 if t == 0 else n[0] * l[s]
            column = 0 if t == 0 else n[0] * m[p]
            for a in range(n[t]):
                first = row + a * l[p]
                here = column + a * m[s]
                w[:, here : here + m[s]] = x[:, first : first + l[p]].T


def _from_outer(data, start, l, m, n):  # type: ignore[no-untyped-def]
    """Return (M_0, M_1), M_s of shape ([n_0, l_s] [n_1, l_{1-s}], m_s), of a site stored by its bond l."""
    width0, width1 = n[0] * m[0] + n[1] * m[1], n[0] * m[1] + n[1] * m[0]
    inner = start + l[0] * width0
    end = inner + l[1] * width1
    return _turned(data[start:inner].reshape(l[0], width0), data[inner:end].reshape(l[1], width1), l, m, n)


def _weighted(qt, w, values, rotate):  # type: ignore[no-untyped-def]
    """Return (S U^T Q^T, U^T W), S the norms of the rows of the latter; they go to ``values``."""
    if len(w) == 0:
        return qt, w
    if rotate:
        u, _, _ = np.linalg.svd(np.ascontiguousarray(_factor(w)[0]))
        ut = np.ascontiguousarray(u.T)
        qt, w = np.dot(ut, qt), np.dot(ut, w)
    near, size = np.empty(qt.shape), _size(w)
    for j in range(len(w)):
        values[j] = size * np.sqrt(_square(w[j] * (1 / size)))
        near[j] = values[j] * qt[j]
    return near, w


def close(data, starts, m, n, bond, to_right, values, link):  # type: ignore[no-untyped-def]
    """Make the far half canonical, M = C B with orthonormal rows of B, and write S^-1 C to ``link``.

    Arguments as in :func:`join`; directions without weight are dropped.
    """
    k, right = (bond + 1, m[bond + 2]) if to_right else (bond, m[bond])
    middle = m[bond + 1]
    m0, m1 = _from_outer(data, starts[k], right, middle, n[k])
    start, place, first, largest = starts[k], 0, 0, TINY * np.max(values)
    for s in range(2):
        matrix = m0 if s == 0 else m1
        size = middle[s]
        if size == 0:
            continue
        low, q = _factor(np.ascontiguousarray(matrix.T))
        data[start : start + q.size] = q.ravel()
        start += q.size
        for j in range(size):
            small = values[first + j] <= largest
            link[place : place + size] = low[j] * (0.0 if small else 1 / values[first + j])
            place += size
        first += size


def join(data, starts, m, n, gates, place, bond, to_right, iterations, weights, weigh, values, link, apart, part):  # type: ignore[no-untyped-def]
    """Apply a gate to the bond between two halves of a train, in place; see :mod:`.halves`.

    Parameters
    ----------
    data, starts, m, n, gates, iterations, weights, weigh
        As in :func:`carry`.
    place
        Where the gate begins in ``gates``; -1: none, the centre moves from the near to the far half.
    bond
        The bond between the positions ``bond`` and ``bond + 1``.
    to_right
        Whether the left half is the near one.
    values
        The weight S of every index of the bond, even ones first, (m_0 + m_1,): written if ``part``.
    link
        S^-1 C of :func:`close`, even indices first, (m_0^2 + m_1^2,): read if ``apart``.
    apart
        Whether both halves carry the weight of the bond; otherwise the near one alone.
    part
        Whether they shall afterwards; otherwise the far one alone.
    """
    if to_right:
        k, k2, left, middle, right = bond, bond + 1, m[bond], m[bond + 1], m[bond + 2]
    else:
        k, k2, left, middle, right = bond + 1, bond, m[bond + 2], m[bond + 1], m[bond]
    nn = n[k2]
    m0, m1 = _from_outer(data, starts[k], left, middle, n[k])
    if apart:
        half = middle[0] * middle[0]
        m0 = _product(m0, link[:half].reshape(middle[0], middle[0]))
        m1 = _product(m1, link[half:].reshape(middle[1], middle[1]))
    columns0 = nn[0] * right[0] + nn[1] * right[1]
    columns1 = nn[0] * right[1] + nn[1] * right[0]
    inner = starts[k2] + middle[0] * columns0
    b0 = data[starts[k2] : inner].reshape(middle[0], columns0)
    b1 = data[inner : inner + middle[1] * columns1].reshape(middle[1], columns1)
    if place < 0:
        qt0, w0 = _move(m0, b0)
        qt1, w1 = _move(m1, b1)
    else:
        theta0, theta1 = _product(m0, b0), _product(m1, b1)
        gate0, gate1 = _gate(gates, place, n[k], nn, to_right)
        _apply(theta0, theta1, gate0, gate1, left, right, n[k], nn)
        qt0, w0 = _split(theta0, b0, iterations)
        qt1, w1 = _split(theta1, b1, iterations)
        if weigh:
            weights[bond] = max(weights[bond], _lost(theta0, theta1, qt0, qt1, w0, w1))
    if part:
        qt0, w0 = _weighted(qt0, w0, values[: middle[0]], not apart)
        qt1, w1 = _weighted(qt1, w1, values[middle[0] :], not apart)
        _by_outer(data, starts[k], qt0, qt1, left, middle, n[k])
    else:
        between = starts[k] + qt0.size
        data[starts[k] : between] = qt0.ravel()
        data[between : between + qt1.size] = qt1.ravel()
    _by_outer(data, starts[k2], w0, w1, right, middle, nn)


@functools.cache
def compiled() -> tuple[Callable[..., None], str]:
    """Return :func:`carry`, compiled if numba is there, and the name and version of the compiler ("" without).

    Compilation takes 10 to 20 seconds once and is kept on disk next to this file; where there is no place for that the
    plain functions are used, since every process would have to compile anew.
    """
    try:
        import numba

        fast = numba.njit(cache=True, nogil=True)(carry)
    except (ImportError, RuntimeError):
        return carry, ""
    helper = numba.njit(nogil=True)  # compiled into `carry`, which alone is kept
    for name in LOOPS:  # sums in any order: several numbers at a time
        globals()[name] = numba.njit(nogil=True, fastmath={"reassoc", "contract"})(globals()[name])
    globals()["_factor"] = helper(_householder)
    for name in HELPERS:
        globals()[name] = helper(globals()[name])
    return fast, f"numba {numba.__version__}"


@functools.cache
def compiled_halves() -> tuple[Callable[..., None], Callable[..., None]]:
    """Return (:func:`close`, :func:`join`), compiled where :func:`carry` is."""
    if not compiled()[1]:
        return close, join
    import numba

    fast = numba.njit(cache=True, nogil=True)
    return fast(close), fast(join)
