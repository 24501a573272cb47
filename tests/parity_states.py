"""Models with a weak parity, random states in their sector, and the block arithmetic as it is without numba."""

import importlib.util
import sys

import numpy as np

from mpo_transport import Boson, Chain, Jump, Lindbladian, SpinHalf, op
from mpo_transport.methods.tebd import blocks


def spins():
    """Every parameter another, complex hopping: strings with an even number of X and Y stay so."""
    rng = np.random.default_rng(1)
    h = 0.0 * op("Z", 0)
    for j in range(5):
        hop = complex(*rng.normal(size=2)) * op("Sp", j) * op("Sm", j + 1)
        pair = 0.3 * rng.normal() * op("Sp", j) * op("Sp", j + 1)
        h = h + hop + hop.dag + pair + pair.dag + rng.normal() * op("Z", j) * op("Z", j + 1) + rng.normal() * op("Z", j)
    jumps = [Jump(op("Sm", j) + rng.normal() * op("Sp", j + 1), rate=rng.uniform(0.2, 1)) for j in range(5)]
    return Lindbladian(Chain(6, SpinHalf()), h, [*jumps, Jump(op("Sm", 5), rate=0.4)])


def bosons():
    """Three levels: five even and four odd basis operators per site."""
    rng = np.random.default_rng(2)
    h = sum((rng.normal() * op("N", j) for j in range(1, 4)), rng.normal() * op("N", 0) * op("N", 1))
    for j in range(3):
        hop = complex(*rng.normal(size=2)) * op("Adag", j) * op("A", j + 1)
        h = h + hop + hop.dag
    return Lindbladian(Chain(4, Boson(3)), h, [Jump(op("A", 0), rate=0.7), Jump(op("Adag", 3) + 0.4 * op("A", 2))])


def unequal():
    """Sites of different dimension side by side."""
    hop = (0.7 + 0.2j) * op("Sp", 0) * op("A", 1) + 0.5 * op("Adag", 1) * op("Sm", 2) + op("Sp", 2) * op("Sm", 3)
    lattice = Chain(4, [SpinHalf(), Boson(3), SpinHalf(), SpinHalf()])
    return Lindbladian(lattice, hop + hop.dag + 0.3 * op("Z", 3), [Jump(op("A", 1), rate=0.6), Jump(op("Sp", 3))])


MODELS = {"spins": spins, "bosons": bosons, "unequal": unequal}


def random_state(parity, model, bond, seed=0):
    """A random state in the sector, canonical and graded, with well separated singular values nowhere near zero."""
    rng = np.random.default_rng(seed)
    legs = [len(x) for x in parity.labels]
    inner = [min(bond, int(np.prod(legs[:k])), int(np.prod(legs[k:]))) for k in range(1, len(legs))]
    dims = [1, *inner, 1]
    tensors = [rng.normal(size=(dims[k], n, dims[k + 1])) for k, n in enumerate(legs)]
    projected = parity._orthonormal_right(*parity._doubled(tensors, 0))[0]
    return parity.fit(projected, [1, *inner, 1], seed)


def overflowing(model, plan, parity):
    """A state near the largest numbers, and passes that enlarge it."""
    start = random_state(parity, model, 8)
    start[0] = start[0] * (1e300 / np.abs(start[0]).max())
    passes = plan.passes(0.5, 2, 3)
    for item in passes:
        item.bonds = [None if g is None else 1e5 * g for g in item.bonds]
    return start, passes


def plain_blocks(monkeypatch):
    """The module as it is without numba."""
    spec = importlib.util.spec_from_file_location("plain_blocks", blocks.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "numba", None)
        assert module.compiled() == (module.carry, "")
    return module
