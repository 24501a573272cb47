"""Trains in charge sectors: changing bonds without losing the charges, and runs of passes for the engine.

Between two runs of passes the state is an ordinary real train in the Hermitian basis, ordered such that the charges can
be read off: first the Hermitian vectors of charge 0, then for every Q > 0 the real and the imaginary parts.  Nothing
else has to be stored for a restart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...states import MPOState
from ...superoperator.train import canonical_train, robust_svd
from .charges_layout import Outer, Sizes, multiplicity, site_table
from .charges_passes import Carrier
from .charges_plan import ChargePass
from .charges_train import ChargeFrame, Parts
from .plan import Pass

__all__ = ["Charges"]

Tensors = list[np.ndarray]
# Schmidt values below this share of the largest are rounding errors.
NOISE = 1e-14
# A sector whose values end is continued by values falling by this factor, when a bond is divided into sectors.
FALL = 0.25
LARGEST_SECTOR = 10**5


class Charges(ChargeFrame):
    """Layout of a train in sectors of a weak U(1) charge: what the engine asks of a layout."""

    def holds(self, state: MPOState) -> bool:
        """Whether passes on this state run in blocks."""
        return state.centre is not None and self.bonds(state.tensors, state.centre) is not None

    def same_bonds(self, a: MPOState, b: MPOState) -> bool:
        """Whether two states are equally divided, or one of them has no charges."""
        both = [None if x.centre is None else self.bonds(x.tensors, x.centre) for x in (a, b)]
        return both[0] is None or both[1] is None or both[0] == both[1]

    # -- passes -------------------------------------------------------------------------------------------------------

    def run(
        self,
        tensors: Tensors,
        sizes: Sequence[Sizes],
        centre: int,
        passes: Sequence[Pass],
        iterations: int,
        weights: np.ndarray | None,
    ) -> int:
        """Carry out passes (in place); return the new centre.  The largest discarded weights go to ``weights``."""
        carrier = self.carrier(tensors, sizes, centre)
        carrier.iterations, carrier.weights = iterations, weights
        try:
            for item in passes:
                assert isinstance(item, ChargePass)
                carrier.run(item)
        except np.linalg.LinAlgError:  # not finite: the engine looks for this
            tensors[centre] = tensors[centre] * np.nan
            return centre
        tensors[:] = self.tensors(carrier)
        return carrier.centre

    def carrier(self, tensors: Sequence[np.ndarray], sizes: Sequence[Sizes], centre: int) -> Carrier:
        """Return a train with known charges in parts, its centre an end."""
        out = Carrier(self, sizes, [], centre)
        last = len(tensors) - 1
        for k, t in enumerate(tensors):
            by_left = k > centre or k == centre == last
            out.parts.append(self.parts(t, out.table(k), k, by_left=by_left))
        return out

    def tensors(self, carrier: Carrier) -> Tensors:
        """Return a train in parts as real tensors."""
        last = len(carrier.parts) - 1
        out = []
        for k, p in enumerate(carrier.parts):
            by_left = k > carrier.centre or k == carrier.centre == last
            out.append(self.dense(p, carrier.table(k), k, by_left=by_left))
        return out

    # -- changing bonds -----------------------------------------------------------------------------------------------

    def fit(self, tensors: Sequence[np.ndarray], bonds: Sequence[int], seed: int) -> Tensors | None:
        """Return the part of charge 0 of a state in sectors, centre 0, with bonds cut or enlarged to ``bonds``.

        How a bond is divided follows from its Schmidt values, which are continued where they end.  New directions are
        random orthonormal ones of weight zero.  None if nothing of charge 0 is there.
        """
        carrier = self._sorted(tensors)
        if not any(np.any(p) for p in carrier.parts[-1]):
            return None
        spectra = self._schmidt(carrier)
        widths = self._divide(spectra, bonds)
        self._cut(carrier, widths)
        self._pad(carrier, widths, seed)
        return self.tensors(carrier)

    def _sorted(self, tensors: Sequence[np.ndarray]) -> Carrier:
        """Return a train in parts, centre at the right end, from any train: every bond is divided by charge."""
        train = canonical_train(list(tensors), 0, None)
        L = len(train)
        out = Carrier(self, [(1, 0)] * (L + 1), [], L - 1)
        carry = np.ones((1, 1), dtype=complex)  # signed basis x old index
        for k, t in enumerate(train[:-1]):
            entries = self.site_entries(t, carry, k)
            parts, carries = self._divided(entries, out.sizes[k], k)
            out.sizes[k + 1] = self.sizes([p.shape[1] for p in parts])
            out.parts.append(parts[: len(self.widths(out.sizes[k + 1]))])
            carry = self.signed(carries, out.sizes[k + 1])
        entries = self.site_entries(train[-1], carry, L - 1)
        last = [x for x, _ in self._columns_of(entries, out.sizes[L - 1], out.table(L - 1).rows, L - 1)]
        # the right end carries the trace: charge 0, symmetric under transposition
        end = [x[:, : 1 - p].real.copy() for p, x in enumerate(last[: self.heads])]
        out.parts.append(self.to_left(end, out.table(L - 1)))
        return out

    def _divided(self, entries: np.ndarray, left: Sizes, site: int) -> tuple[Parts, Parts]:
        """Return orthonormal columns for every part of the right bond, and the old indices expanded in them."""
        d = self.model.dims[site]
        all_charges = self.sizes([1] * (self.heads + len(left) - 2 + d - 1))
        found = self._columns_of(entries, left, site_table(left, all_charges, d, self.model.real).rows, site)
        pieces = [robust_svd(x) if x.size else _empty(x) for x, _ in found]
        scale = max((float(s.max(initial=0.0)) for _, s, _ in pieces), default=0.0)
        parts = [u[:, : int(np.count_nonzero(s > NOISE * scale))] for u, s, _ in pieces]
        return parts, [u.conj().T @ y for u, (_, y) in zip(parts, found, strict=True)]

    def _columns_of(
        self, entries: np.ndarray, left: Sizes, outers: Sequence[Outer], site: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for every part of the right bond the matrix to be orthonormalised and the one to be expanded in it."""
        blocks = self.rows_of(entries, left, outers, site)
        p, zero = outers[0].positive, outers[0].half
        head, root = blocks[0], np.sqrt(2.0)
        if not self.model.real:
            x = np.concatenate([root * head[:p].real, root * head[:p].imag, head[zero[0]].real])
            return [(x, x), *((b, b) for b in blocks[1:])]
        even = np.concatenate([root * head[:p].real, head[zero[0]].real])
        odd = np.concatenate([root * head[:p].imag, head[zero[1]].imag])
        rest = [(np.concatenate([b.real, b.imag], axis=1), b) for b in blocks[1:]]
        return [(even, even), (odd, 1j * odd), *rest]

    def _schmidt(self, carrier: Carrier) -> list[Parts]:
        """Move the centre to the left end; return the Schmidt values of every bond by part."""
        L = len(carrier.parts)
        spectra: list[Parts] = [[] for _ in range(L + 1)]
        for k in range(L - 1, 0, -1):
            pieces = [robust_svd(x) if x.size else _empty(x) for x in carrier.parts[k]]
            largest = max((s.max(initial=0.0) for _, s, _ in pieces), default=0.0)
            keep = [int(np.count_nonzero(s > NOISE * largest)) for _, s, _ in pieces]
            spectra[k] = [s[:m] for (_, s, _), m in zip(pieces, keep, strict=True)]
            carrier.parts[k] = [v[:m] for (_, _, v), m in zip(pieces, keep, strict=True)]
            moved = [u[:, :m] * s[:m] for (u, s, _), m in zip(pieces, keep, strict=True)]
            carrier.parts[k - 1] = [a @ c for a, c in zip(carrier.parts[k - 1], moved, strict=True)]
            self._resize(carrier, k, keep)
            if k > 1:
                carrier.parts[k - 1] = self.to_left(carrier.parts[k - 1], carrier.table(k - 1))
        carrier.centre = 0
        return spectra

    def _resize(self, carrier: Carrier, bond: int, widths: Sequence[int]) -> None:
        carrier.sizes[bond] = self.sizes(widths)
        count = len(self.widths(carrier.sizes[bond]))
        carrier.parts[bond] = carrier.parts[bond][:count]
        carrier.parts[bond - 1] = carrier.parts[bond - 1][:count]

    def _cut(self, carrier: Carrier, widths: list[list[int]]) -> None:
        """Move the centre to the right end, cutting every bond to at most ``widths``."""
        L = len(carrier.parts)
        for k in range(L - 1):
            pieces = [robust_svd(x) if x.size else _empty(x) for x in carrier.parts[k]]
            keep = [min(len(s), w) for (_, s, _), w in zip(pieces, _filled(widths[k + 1], len(pieces)), strict=False)]
            carrier.parts[k] = [u[:, :m] for (u, _, _), m in zip(pieces, keep, strict=True)]
            moved = [s[:m, None] * v[:m] for (_, s, v), m in zip(pieces, keep, strict=True)]
            carrier.parts[k + 1] = [c @ b for c, b in zip(moved, carrier.parts[k + 1], strict=True)]
            self._resize(carrier, k + 1, keep)
            if k + 1 < L - 1:
                carrier.parts[k + 1] = self.to_right(carrier.parts[k + 1], carrier.table(k + 1))
        carrier.centre = L - 1

    def _pad(self, carrier: Carrier, widths: list[list[int]], seed: int) -> None:
        """Move the centre to the left end, enlarging every bond to ``widths``."""
        for k in range(len(carrier.parts) - 1, 0, -1):
            table = carrier.table(k)
            new, moved = [], []
            old = carrier.parts[k - 1]
            for p, m in enumerate(widths[k]):
                wide = self._width(table.right, k, p)
                have = carrier.parts[k][p] if p < len(carrier.parts[k]) else np.zeros((0, wide), dtype=self._type(p))
                basis, upper = np.linalg.qr(have.conj().T)
                rng = np.random.Generator(np.random.Philox(key=[seed % 2**64, k * 1000 + p]))
                extra = rng.standard_normal((wide, max(m - len(upper), 0))).astype(basis.dtype)
                for _ in range(2):  # twice is enough for orthogonality to rounding
                    extra -= basis @ (basis.conj().T @ extra)
                new.append(np.concatenate([basis, np.linalg.qr(extra)[0]], axis=1).conj().T)
                c = np.zeros((have.shape[0], len(new[-1])), dtype=basis.dtype)
                c[:, : len(upper)] = upper.conj().T
                moved.append(c)
            count = len(moved)
            tall = [self._height(carrier.sizes[k - 1], k - 1, p) for p in range(count)]
            old = [*old, *(np.zeros((tall[p], 0), dtype=self._type(p)) for p in range(len(old), count))]
            carrier.parts[k] = new
            carrier.parts[k - 1] = [a @ c for a, c in zip(old, moved, strict=True)]
            self._resize(carrier, k, [len(x) for x in new])
            if k > 1:
                carrier.parts[k - 1] = self.to_left(carrier.parts[k - 1], carrier.table(k - 1))
        carrier.centre = 0

    def _type(self, part: int) -> type:
        return float if self.model.real or part < self.heads else complex

    # -- dividing bonds -----------------------------------------------------------------------------------------------

    def _height(self, inner: Sizes, site: int, part: int) -> int:
        """Return the number of outer indices of a part, from the sizes of the outer bond."""
        d, real = self.model.dims[site], self.model.real
        if part >= self.heads:
            q = part - self.heads + 1
            top = len(inner) - 2
            charges = range(max(-top, q - d + 1), min(top, q + d - 1) + 1)
            return sum((d - abs(c - q)) * multiplicity(inner, c) for c in charges)
        positive = sum((d - c) * multiplicity(inner, c) for c in range(1, min(len(inner) - 1, d)))
        return positive + d * inner[part] if real else 2 * positive + d * inner[0]

    _width = _height

    def _all(self, outer: Sizes, site: int, count: int) -> list[int]:
        return [min(self._height(outer, site, p), LARGEST_SECTOR) for p in range(count)]

    def _divide(self, spectra: list[Parts], bonds: Sequence[int]) -> list[list[int]]:
        """Return the widths of the parts of every bond: the largest Schmidt values, continued where they end."""
        L = len(self.model.dims)
        d = max(self.model.dims)
        top = self.heads + max(2 * d, max((len(s) for s in spectra), default=0))
        left, right = [[1]], [[1]]
        for k in range(L):
            left.append(self._all(self.sizes(_filled(left[-1], self.heads)), k, top))
        for k in range(L - 1, -1, -1):
            right.append(self._all(self.sizes(_filled(right[-1], self.heads)), k, top))
        right.reverse()
        out: list[list[int]] = [[1]]
        for k in range(1, L):
            most = [min(a, b) for a, b in zip(left[k], right[k], strict=False)]
            out.append(self._greedy(spectra[k], bonds[k], most))
        out.append([1])
        changed = True
        while changed:  # orthonormal rows and columns need room on both sides
            before = [list(x) for x in out]
            for k in range(1, L):
                room = self._all(self.sizes(_filled(out[k - 1], self.heads)), k - 1, len(out[k]))
                out[k] = [min(a, b) for a, b in zip(out[k], room, strict=True)]
            for k in range(L - 1, 0, -1):
                room = self._all(self.sizes(_filled(out[k + 1], self.heads)), k, len(out[k]))
                out[k] = [min(a, b) for a, b in zip(out[k], room, strict=True)]
            changed = out != before
        return [list(self.widths(self.sizes(_filled(x, self.heads)))) for x in out]

    def _greedy(self, spectrum: Parts, bond: int, most: Sequence[int]) -> list[int]:
        widths = [0] * len(most)
        first = max((float(s[0]) for s in spectrum if len(s)), default=1.0)

        def following(p: int) -> float:
            m = widths[p]
            if m >= most[p]:
                return -1.0
            if p < len(spectrum) and m < len(spectrum[p]):
                return float(spectrum[p][m])
            if p < len(spectrum) and len(spectrum[p]):
                return float(spectrum[p][-1]) * FALL ** (m + 1 - len(spectrum[p]))
            before = [float(s[0]) for s in spectrum[:p] if len(s)]
            beyond = p - max((i for i, s in enumerate(spectrum[:p]) if len(s)), default=0)
            return (before[-1] if before else first) * FALL ** (beyond + m)

        used = 0
        while True:
            room = [p for p in range(len(most)) if used + (1 if p < self.heads else 2) <= bond]
            best = max(room, key=following, default=None)
            if best is None or following(best) < 0:
                return widths
            widths[best] += 1
            used += 1 if best < self.heads else 2


def _filled(widths: Sequence[int], count: int) -> list[int]:
    return [*widths, *([0] * (count - len(widths)))]


def _empty(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((x.shape[0], 0), x.dtype), np.zeros(0), np.zeros((0, x.shape[1]), x.dtype)
