"""Small deterministic methods whose every step is known, for tests of the loop and of the files."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpo_transport import Chain, Jump, Lindbladian, OpSum, SpinHalf, op
from mpo_transport.methods import METHODS, Diagnostics, Estimate, Iterate, Method, Support
from mpo_transport.result import Certificate, Status
from mpo_transport.states import DenseState
from mpo_transport.superoperator import sparse_lindbladian


@dataclass(frozen=True)
class Relaxation(Method):
    """Steps rho <- exp(h L) rho (Taylor series to order 6) whose lengths h are random, drawn anew from (seed, step)."""

    steps: int = 12
    dt: float = 0.02
    pause: float = 0.0
    ends: str = "converged"
    error: float = 1e-7
    sizes: tuple[int, ...] = (1, 2)

    name: ClassVar[str] = "toy_relaxation"
    tasks: ClassVar[tuple[str, ...]] = ("steady_state", "evolve")

    def supports(self, model, task="steady_state"):
        small = model.L <= 6
        return Support(
            small, "it is small enough." if small else f"{model.L} sites are more than the 6 it can write out."
        )

    def estimate(self, model, tol):
        return Estimate(16.0 * 16**model.L, 0.1, f"{4**model.L} unknowns")

    def prepare(self, model, *, tol, seed, task="steady_state"):
        return sparse_lindbladian(model), model.lattice, seed

    def start(self, work, initial):
        state = initial if isinstance(initial, DenseState) else DenseState.product(work[1], initial or "up")
        arrays = {"momentum": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
        return Iterate(state, 0, {"time": 0.0, "past": []}, arrays, {})

    def _step(self, work, iterate, h):
        generator, lattice, _ = work
        rho = iterate.state.to_dense()
        term = total = rho.ravel()
        for k in range(1, 7):
            term = h / k * (generator @ term)
            total = total + term
        new = DenseState(lattice, total.reshape(rho.shape))
        now = iterate.scalars["time"] + h
        momentum = iterate.arrays["momentum"] @ (np.eye(3) + h * np.ones((3, 3)))
        return Iterate(
            new,
            iterate.step + 1,
            {"time": now, "past": [*iterate.scalars["past"], h]},
            {"momentum": np.asfortranarray(momentum / np.linalg.norm(momentum))},
            {"step/before": (iterate.state, 0.5)},
        )

    def advance(self, work, iterate):
        time.sleep(self.pause)
        h = self.dt * np.random.default_rng([work[2], iterate.step]).uniform(0.5, 1.0)
        new = self._step(work, iterate, h)
        change = float(np.abs(new.state.to_dense() - iterate.state.to_dense()).max())
        status = Status(self.ends) if new.step >= self.steps else None
        return new, Diagnostics(status, {"change": change, "time": new.scalars["time"]}, f"change {change:.1e}")

    def propagate(self, work, iterate, time):
        return self._step(work, iterate, min(self.dt, time - iterate.scalars["time"])), Diagnostics(None, {"x": 1.0})

    def certify(self, work, iterate, status):
        return Certificate(residual=0.25, error_estimate=self.error, error_parts={"time": self.error}, notes=("a toy",))

    def manifold(self, work, iterate):
        return (iterate.state,) if self.ends == "not_unique" else ()


@contextmanager
def known(*classes: type[Method]):
    """Make methods known to the files within a block."""
    METHODS.update({c.name: c for c in classes})
    try:
        yield
    finally:
        for c in classes:
            METHODS.pop(c.name, None)


def pumped_chain(L: int = 3, *, gain: float = 0.7) -> Lindbladian:
    """An asymmetric spin chain written by hand: hopping, a field, gain on the left, loss on the right."""
    hops = OpSum()
    for j in range(L - 1):
        hops = hops + (0.5 + 0.1 * j) * op("Sp", j) * op("Sm", j + 1)
    hamiltonian = hops + hops.dag + 0.3 * op("Z", 0)
    jumps = [Jump(op("Sp", 0), gain, "left", -1.0), Jump(op("Sm", L - 1), 1.1, "right", 1.0)]
    return Lindbladian(Chain(L, SpinHalf()), hamiltonian, jumps, name="pumped", parameters={"L": L, "gain": gain})


def same_state(a, b) -> bool:
    """Whether two states have the same arrays, bit for bit."""
    x, y = a.arrays(), b.arrays()
    return x.keys() == y.keys() and all(
        x[k].dtype == y[k].dtype and x[k].shape == y[k].shape and x[k].tobytes() == y[k].tobytes() for k in x
    )


def same_observables(a, b) -> bool:
    """Whether two results measured the same, bit for bit."""

    def same(x, y):
        return x is y if x is None or y is None else np.asarray(x).tobytes() == np.asarray(y).tobytes()

    return a.observables.keys() == b.observables.keys() and all(
        same(m.values, b.observables[n].values) and same(m.error, b.observables[n].error)
        for n, m in a.observables.items()
    )


def same_result(a, b) -> bool:
    """Whether two results are equal bit for bit, but for the time they took."""
    series = [n for n in a.history.names if n != "wall_seconds"]
    return (
        same_state(a.state, b.state)
        and (a.status, a.certificate, a.cost.steps) == (b.status, b.certificate, b.cost.steps)
        and a.history.names == b.history.names
        and all(a.history[n].tobytes() == b.history[n].tobytes() for n in series)
        and a.companions.keys() == b.companions.keys()
        and all(same_state(s, b.companions[n][0]) and w == b.companions[n][1] for n, (s, w) in a.companions.items())
        and all(same_state(s, t) for s, t in zip(a.manifold, b.manifold, strict=True))
        and same_observables(a, b)
    )
