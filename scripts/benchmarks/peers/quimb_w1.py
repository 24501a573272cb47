#!/usr/bin/env python
"""quimb on the open persistent-current chain: the vectorised density matrix as an MPS, evolved by its TEBD.

    scripts/benchmarks/peers/quimb_w1.py w1-1e-4 --limit 120

The generators stand in the place of a Hamiltonian and time is imaginary, so that the gates are exp(dt L), real and not
unitary; quimb's sweeps carry the orthogonality centre.
"""

from __future__ import annotations

import numpy as np
from _chain import W1, Stage, finish, parse, race


def main() -> None:
    """Run and print one row."""
    work, limit = parse(__doc__ or "")
    try:
        import quimb.tensor as qtn
    except ImportError:
        finish({"method": "quimb", "status": "not installed", "remark": "pip install quimb"})
        return
    problem = W1()
    ham = qtn.LocalHam1D(problem.L, {(j, j + 1): -g for j, g in enumerate(problem.generators)})
    start = np.zeros(4)
    start[0] = 1.0
    tebd = qtn.TEBD(qtn.MPS_product_state([start] * problem.L), ham, dt=1.0, imag=True, progbar=False)

    def evolve(stage: Stage) -> None:
        tebd.split_opts = {"max_bond": stage.chi, "cutoff": 1e-14}
        tebd.update_to(tebd.t + stage.interval, dt=stage.dt, order=stage.order)

    def tensors() -> list[np.ndarray]:
        state = tebd.pt
        state.permute_arrays("lpr")
        arrays = [np.asarray(state[j].data) for j in range(problem.L)]
        return [arrays[0][None], *arrays[1:-1], arrays[-1][:, :, None]]

    finish({"method": "quimb", **race(work, limit, problem, evolve, tensors)})


if __name__ == "__main__":
    main()
