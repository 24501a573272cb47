"""Gaussian states of rings of equal cells: one small block per wave number, nothing of the size of the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError, NotSupportedError
from ..lattice import Lattice
from .base import check_sites, register_state
from .gaussian import GaussianState

__all__ = ["RingGaussianState"]

_LARGEST_COVARIANCE = 6000


@register_state
class RingGaussianState(GaussianState):
    """A bosonic Gaussian state on a ring of n equal cells of m modes, invariant up to phases.

        a_(l, x) = e^{i chi_x l} b_(l, x),     b_(l, x) = n^(-1/2) sum_k e^{ikl} b_(k, x),     k = 2 pi r/n

    Site j is mode x = j mod m of the cell l = j // m.  The moments of b do not depend on l.

    Parameters
    ----------
    lattice
        L = n m unbounded (or truncated) bosonic sites.
    blocks
        ``blocks[r]`` = <{x_k, x_k^+}>/2 - <x_k><x_k^+>, x_k = (b_k, b^+_(-k)), shape (n, 2m, 2m) complex Hermitian.
    amplitudes
        <b_(l, alpha)>, shape (m,) complex; None: zero.
    phases
        chi, shape (m,); None: zero.

    Examples
    --------
    >>> from mpo_transport import Boson, Chain, op
    >>> ring = Chain(4, Boson(math.inf), periodic=True)
    >>> state = RingGaussianState(ring, np.array([np.eye(2) * (1.5 + r) for r in (0, 1, 2, 1)]))
    >>> state.occupations()
    array([2., 2., 2., 2.])
    """

    kind: ClassVar[str] = "gaussian_ring"

    def __init__(self, lattice: Lattice, blocks: Any, amplitudes: Any = None, phases: Any = None) -> None:
        self.lattice = lattice
        self.statistics = "boson"
        array = np.array(blocks, dtype=complex)
        if array.ndim != 3 or array.shape[1] != array.shape[2] or len(array) * array.shape[1] != 2 * lattice.L:
            raise InputError(
                f"Argument `blocks` must have the shape (cells, 2m, 2m) with cells x m = {lattice.L} sites.",
                field="blocks",
            )
        if any(s.kind != "boson" for s in lattice.spaces) or not np.all(np.isfinite(array)):
            raise InputError("Arguments `lattice` and `blocks` must be bosonic and finite.", field="blocks")
        self.cells, self.cell = len(array), array.shape[1] // 2
        self.blocks = array
        self.amplitude = np.zeros(self.cell, complex) if amplitudes is None else np.array(amplitudes, dtype=complex)
        self.phases = np.zeros(self.cell) if phases is None else np.array(phases, dtype=float)
        if self.amplitude.shape != (self.cell,) or self.phases.shape != (self.cell,):
            raise InputError(f"Arguments `amplitudes` and `phases` need {self.cell} entries.", field="phases")
        for a in (self.blocks, self.amplitude, self.phases):
            a.setflags(write=False)

    # -- moments ------------------------------------------------------------------------------------------------------

    @property
    def means(self) -> np.ndarray:  # type: ignore[override]
        """<R>, shape (2L,)."""
        a = self.mean("-", np.arange(self.L))
        return np.asarray(math.sqrt(2) * np.concatenate([a.real, a.imag]))

    @property
    def has_means(self) -> bool:
        return bool(np.any(self.amplitude))

    @cached_property
    def covariance(self) -> np.ndarray:  # type: ignore[override]
        """sigma, shape (2L, 2L); refused for more than 6000 sites."""
        if self.L > _LARGEST_COVARIANCE:
            raise NotSupportedError(
                f"The covariance of {self.L} modes is not written out; ask for elements, profiles or sets of sites.",
                field="covariance",
            )
        block = self._block(range(self.L))
        assert block is not None
        return block

    @cached_property
    def _displaced(self) -> tuple[np.ndarray, np.ndarray]:
        """Connected <b^+_(l, x) b_(l+d, y)> and <b_(l, x) b_(l+d, y)>, each (n, m, m) over d."""
        m = self.cell
        normal = self.blocks[:, :m, :m].transpose(0, 2, 1) - 0.5 * np.eye(m)
        anomalous = np.fft.fft(self.blocks[:, :m, m:], axis=0) / self.cells
        return np.asarray(np.fft.ifft(normal, axis=0)), np.asarray(anomalous)

    def mean(self, sign: str, sites: np.ndarray) -> np.ndarray:
        l, x = np.divmod(sites, self.cell)
        a = self.amplitude[x] * np.exp(1j * np.mod(self.phases[x] * l, 2 * math.pi))
        return np.asarray(a if sign == "-" else a.conj())

    def pair(self, sign: str, i: np.ndarray, sign_2: str, j: np.ndarray) -> np.ndarray:
        if sign == "+" and sign_2 == "+":
            return np.asarray(self.pair("-", j, "-", i).conj())
        if sign == "-" and sign_2 == "+":
            return np.asarray(self.pair("+", j, "-", i) + 1.0 * (i == j))
        (l, x), (k, y) = np.divmod(i, self.cell), np.divmod(j, self.cell)
        table = self._displaced[0 if sign == "+" else 1]
        first = self.phases[x] * l
        turn = self.phases[y] * k + (-first if sign == "+" else first)
        return np.asarray(table[np.mod(k - l, self.cells), x, y] * np.exp(1j * np.mod(turn, 2 * math.pi)))

    def _block(self, sites: Sequence[int]) -> np.ndarray:
        chosen = np.array(sorted(int(s) for s in sites), dtype=np.intp)
        i, j = chosen[:, None], chosen[None, :]
        normal, anomalous = self.pair("+", i, "-", j), self.pair("-", i, "-", j)
        same = 0.5 * np.eye(len(chosen))
        out = np.block(
            [
                [same + (normal + anomalous).real, (normal + anomalous).imag],
                [(anomalous - normal).imag, same + (normal - anomalous).real],
            ]
        )
        return np.asarray((out + out.T) / 2)

    # -- the whole ----------------------------------------------------------------------------------------------------

    @cached_property
    def spectrum(self) -> np.ndarray:
        """Symplectic eigenvalues of the whole, ascending, shape (L,)."""
        sign = np.repeat([1.0, -1.0], self.cell)
        values = np.linalg.eigvals(sign[:, None] * self.blocks).real
        return np.asarray(np.sort(values.ravel())[self.L :])

    def purity(self) -> float:
        return float(np.exp(-np.log(2 * np.maximum(self.spectrum, 0.5)).sum()))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"blocks": self.blocks, "amplitudes": self.amplitude, "phases": self.phases}

    def attributes(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_arrays(
        cls, lattice: Lattice, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]
    ) -> RingGaussianState:
        return cls(lattice, arrays["blocks"], arrays["amplitudes"], arrays["phases"])

    def reduced(self, sites: Sequence[int]) -> np.ndarray:
        check_sites(self.lattice, sites)
        return super().reduced(sites)
