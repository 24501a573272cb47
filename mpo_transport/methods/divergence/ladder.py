"""The local-divergence equations of a factor: rho = S S^+, S a triangular matrix product with one uniform tensor.

A chain that is driven coherently in the bulk and by jumps at its two ends alone may have a steady state rho = S S^+
whose factor obeys, with h the Hamiltonian of a bond and operator-valued tensors a, b,

    bulk:  [h, a a] = b a - a b,      so that      [H, S] = b a ... a - a ... a b,
    ends:  D_left(a_r a_q^+) = i (b_r a_q^+ - a_r b_q^+),     D_right(a_r a_q^+) = -i (b_r a_q^+ - a_r b_q^+),

for all pairs of bond indices r, q that meet the ends.  S conserves the charge, and its bond index is the charge k = 0,
1, 2, ... that a triangular S has moved from one side to the other: a_kk and b_kk are diagonal operators, a_k,k+1
proportional to one ladder operator and a_k+1,k to its adjoint.  The equations then close level by level: the ends and
the levels 0 and 1 fix these, and every further level follows from the ones below by a handful of equations.  The
tensors do not depend on the length, which only says how many levels, L // 2 + 1, are reached.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from ...model import Lindbladian
from ...superoperator.terms import product_matrices

__all__ = ["DrivenChain", "Ladder", "climb", "find_foot", "read_chain"]

RAISING = np.array([[0.0, 1.0], [0.0, 0.0]])
# Size of the residual (relative) that counts as a solution, size of a coupling that ends the ladder.
SOLVED, CLOSED = 1e-12, 1e-11
# Random starts per orientation.
STARTS = 2


@dataclass(frozen=True, eq=False)
class DrivenChain:
    """What the equations need: h of a bond (4, 4), and for both ends the Hamiltonian left over and the jumps (2, 2)."""

    bond: np.ndarray
    ends: tuple[np.ndarray, np.ndarray]
    jumps: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]


@dataclass(frozen=True, eq=False)
class Ladder:
    """a and b, shape (levels, levels, 2, 2).

    Attributes
    ----------
    up
        The operator of a_k,k+1.
    closed
        No further level exists.
    residual
        Largest violation of the equations, relative.
    """

    a: np.ndarray
    b: np.ndarray
    up: np.ndarray
    closed: bool = False
    residual: float = 0.0

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.a)

    def numbers(self, k: int) -> np.ndarray:
        """Return the seven numbers that level k added (k >= 1)."""
        a, b = self.a, self.b
        links = [a[k - 1, k].sum(), b[k - 1, k].sum(), b[k, k - 1].sum()]
        return np.concatenate([np.diag(a[k, k]), np.diag(b[k, k]), links])


def read_chain(model: Lindbladian) -> DrivenChain | str:
    """Return the chain of spins 1/2 with a uniform bulk and driven ends, or the sentence why it is none."""
    lattice, L = model.lattice, model.L
    if any(int(d) != 2 for d in lattice.dims) or L < 2:
        return "the factor is known for chains of two and more spins 1/2."
    spaces = lattice.spaces
    pairs = np.zeros((L - 1, 4, 4), dtype=complex)
    single = np.zeros((L, 2, 2), dtype=complex)
    for key, coefficient in model.hamiltonian:
        matrices = product_matrices(spaces, key)
        sites = tuple(sorted(matrices))
        if len(sites) == 1:
            single[sites[0]] += coefficient * matrices[sites[0]]
        elif len(sites) == 2 and sites[1] == sites[0] + 1:
            pairs[sites[0]] += coefficient * np.kron(matrices[sites[0]], matrices[sites[1]])
        elif sites:
            return "the Hamiltonian reaches beyond neighbours."
    middle = single[L // 2] if L > 2 else np.zeros((2, 2))
    scale = max(float(np.abs(pairs).max()), 1e-300)
    if np.abs(pairs - pairs[0]).max() > 1e-13 * scale or np.abs(single[1:-1] - middle).max(initial=0.0) > 1e-13 * scale:
        return "the bulk of the chain is not uniform."
    one = np.eye(2)
    bond = pairs[0] + 0.5 * (np.kron(middle, one) + np.kron(one, middle))
    charge = np.kron(np.diag([1.0, 0.0]), one) + np.kron(one, np.diag([1.0, 0.0]))
    if np.abs(bond @ charge - charge @ bond).max() > 1e-13 * scale:
        return "the Hamiltonian does not conserve the number of excitations."
    ends = (single[0] - 0.5 * middle, single[-1] - 0.5 * middle)
    jumps: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for jump in model.jumps:
        if jump.rate == 0:
            continue
        matrix, where = np.zeros((2, 2), dtype=complex), tuple(sorted(set(jump.operator.sites)))
        if where not in ((0,), (L - 1,)):
            return "a jump acts elsewhere than on one of the two ends."
        for key, coefficient in jump.operator:
            factors = product_matrices(spaces, key)
            matrix = matrix + coefficient * (next(iter(factors.values())) if factors else one)
        jumps[0 if where == (0,) else 1].append(np.sqrt(jump.rate) * matrix)
    return DrivenChain(bond, ends, (tuple(jumps[0]), tuple(jumps[1])))


# -- the equations ----------------------------------------------------------------------------------------------------


def bulk(bond: np.ndarray, a: np.ndarray, b: np.ndarray, left: int, right: int) -> np.ndarray:
    """Return [h, a a] - b a + a b between two levels, (4, 4)."""
    pair, flow = np.zeros((4, 4), dtype=complex), np.zeros((4, 4), dtype=complex)
    for m in range(max(0, left - 1, right - 1), min(len(a), left + 2, right + 2)):
        pair += np.kron(a[left, m], a[m, right])
        flow += np.kron(b[left, m], a[m, right]) - np.kron(a[left, m], b[m, right])
    return bond @ pair - pair @ bond - flow


def end(chain: DrivenChain, which: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the residual of the equations of an end; a, b (bond index, 2, 2)."""
    sign = 1 if which == 0 else -1
    out = []
    for r in range(len(a)):
        for q in range(len(a)):
            p = a[r] @ a[q].conj().T
            flow = b[r] @ a[q].conj().T - a[r] @ b[q].conj().T
            total = -1j * sign * flow - 1j * (chain.ends[which] @ p - p @ chain.ends[which])
            for jump in chain.jumps[which]:
                square = jump.conj().T @ jump
                total = total + jump @ p @ jump.conj().T - 0.5 * (square @ p + p @ square)
            out.append(total)
    return np.array(out)


def _put(a: np.ndarray, b: np.ndarray, k: int, numbers: np.ndarray, up: np.ndarray) -> None:
    """Write the numbers of a level; a_k,k-1 = 1 by the choice of the bond basis."""
    a[k, k], b[k, k] = np.diag(numbers[:2]), np.diag(numbers[2:4])
    if k:
        a[k - 1, k], a[k, k - 1] = numbers[4] * up, up.T
        b[k - 1, k], b[k, k - 1] = numbers[5] * up, numbers[6] * up.T


def _solve(residual, start: np.ndarray, scale: np.ndarray | float) -> scipy.optimize.OptimizeResult:  # type: ignore[no-untyped-def]
    def real(x: np.ndarray) -> np.ndarray:
        values = residual(x[::2] + 1j * x[1::2])
        return np.concatenate([values.real, values.imag])

    x0 = np.column_stack([start.real, start.imag]).ravel()
    steps = np.repeat(scale, 2) if np.ndim(scale) else scale
    return scipy.optimize.least_squares(real, x0, xtol=1e-15, ftol=1e-6, gtol=1e-15, max_nfev=50, x_scale=steps)


def find_foot(chain: DrivenChain, seed: int = 0) -> Ladder | None:
    """Return the levels 0 and 1 from the equations of the ends and of the bulk between them; None if there are none.

    Nine complex unknowns and b_11; random starts, keyed by ``seed``.
    """
    rates = [float(np.abs(j).max()) ** 2 for jumps in chain.jumps for j in jumps]
    scale = float(np.abs(chain.bond).max()) + max(rates, default=0.0)
    for up in (RAISING, RAISING.T):
        for attempt in range(STARTS):
            rng = np.random.Generator(np.random.Philox(key=[seed % 2**64, attempt]))

            def build(z: np.ndarray, up: np.ndarray = up) -> tuple[np.ndarray, np.ndarray]:
                a, b = np.zeros((2, 2, 2, 2), dtype=complex), np.zeros((2, 2, 2, 2), dtype=complex)
                _put(a, b, 0, np.concatenate([[1.0], z[:3]]), up)
                _put(a, b, 1, z[3:10], up)
                return a, b

            def residual(z: np.ndarray) -> np.ndarray:
                a, b = build(z)
                parts = [bulk(chain.bond, a, b, *at).ravel() for at in ((0, 0), (0, 1), (1, 0))]
                parts += [end(chain, 0, a[0], b[0]).ravel(), end(chain, 1, a[:, 0], b[:, 0]).ravel()]
                return np.concatenate(parts)

            start = 2 * (rng.standard_normal(10) + 1j * rng.standard_normal(10))
            found = _solve(residual, start, 1.0)
            z = found.x[::2] + 1j * found.x[1::2]
            a, b = build(z)
            if np.sqrt(2 * found.cost) > SOLVED * scale * (1 + np.abs(z).max()) or abs(a[0, 1].sum()) < 1e-8:
                continue
            shift = float(b[0, 0, 0, 0].real)  # b + (real number) a solves them too
            phase = a[0, 0, 1, 1] / abs(a[0, 0, 1, 1]) if abs(a[0, 0, 1, 1]) > 1e-8 else 1.0
            turn = np.diag([1.0, np.conj(phase)])  # and so do all tensors times a rotation about z
            a, b = a @ turn, (b - shift * a) @ turn
            return _regauged(Ladder(a, b, up))
    return None


def _regauged(ladder: Ladder) -> Ladder:
    """Return the ladder with a_k+1,k = 1."""
    a, b = ladder.a.copy(), ladder.b.copy()
    for k in range(len(a) - 1):
        size = a[k + 1, k].sum()
        for t in (a, b):
            t[k + 1 :, : k + 1] /= size
            t[: k + 1, k + 1 :] *= size
    return Ladder(a, b, ladder.up)


def climb(chain: DrivenChain, foot: Ladder, levels: int) -> Ladder | None:
    """Return the ladder with at most ``levels`` levels; None if a level has no solution."""
    ladder, worst = foot, 0.0
    while ladder.levels < levels:
        K = ladder.levels - 1
        old = ladder

        def build(z: np.ndarray, old: Ladder = old, K: int = K) -> tuple[np.ndarray, np.ndarray]:
            a, b = (np.zeros((K + 2, K + 2, 2, 2), dtype=complex) for _ in range(2))
            a[: K + 1, : K + 1], b[: K + 1, : K + 1] = old.a, old.b
            _put(a, b, K + 1, z, old.up)
            return a, b

        def residual(z: np.ndarray, K: int = K) -> np.ndarray:
            a, b = build(z)
            at = [(K, K), (K, K + 1), (K + 1, K), (K - 1, K + 1), (K + 1, K - 1)]
            return np.concatenate([bulk(chain.bond, a, b, *pair).ravel() for pair in at])

        guess = _extrapolated(old)
        size = 1 + float(np.abs(guess).max())
        found = _solve(residual, guess, np.maximum(np.abs(guess), 0.1))
        error = float(np.sqrt(2 * found.cost)) / (size**2 * float(np.abs(chain.bond).max()))
        if error > SOLVED:
            return None
        worst = max(worst, error)
        z = found.x[::2] + 1j * found.x[1::2]
        if abs(z[4]) <= CLOSED * size:
            return Ladder(old.a, old.b, old.up, True, worst)
        a, b = build(z)
        ladder = Ladder(a, b, old.up, False, worst)
    return ladder


def _extrapolated(ladder: Ladder) -> np.ndarray:
    """Return a guess of the next level, from a parabola through the last three."""
    K = ladder.levels - 1
    last = ladder.numbers(K)
    if K < 3:
        return last
    return 3 * last - 3 * ladder.numbers(K - 1) + ladder.numbers(K - 2)
