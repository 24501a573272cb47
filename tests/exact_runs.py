"""Running ExactDiag without the loop, and the published numbers it is compared with."""

import json
from pathlib import Path

import numpy as np

from mpo_transport import op
from mpo_transport.methods import ExactDiag

__all__ = ["REFERENCE", "REPOSITORY", "Solved"]

REPOSITORY = Path(__file__).resolve().parents[1]
REFERENCE = {
    entry["id"]: entry
    for entry in json.loads((REPOSITORY / "data" / "reference" / "persistent_currents.json").read_text())
}


class Solved:
    """A finished calculation."""

    def __init__(self, model, *, initial=None, tol=1e-8, seed=1, **knobs):
        self.method = ExactDiag(**knobs)
        self.work = self.method.prepare(model, tol=tol, seed=seed)
        self.iterate = self.method.start(self.work, initial)
        for _ in range(400):
            self.iterate, self.diagnostics = self.method.advance(self.work, self.iterate)
            if self.diagnostics.done:
                break
        self.status = self.diagnostics.status
        self.state = self.iterate.state
        self.certificate = self.method.certify(self.work, self.iterate, self.status)
        self.manifold = self.method.manifold(self.work, self.iterate)

    def current(self, kind="eta"):
        model = self.work.model
        chosen = model.currents[kind]
        out = []
        for (i, j), c in zip(model.lattice.bonds, chosen.coefficients, strict=True):
            operator = c * op(chosen.left, i) * op(chosen.right, j)
            out.append(self.state.expect(operator + operator.dag).real)
        return np.array(out)
