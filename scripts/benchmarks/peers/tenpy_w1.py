#!/usr/bin/env python
"""TeNPy on the open persistent-current chain: the vectorised density matrix as an MPS, evolved by TEBD.

    scripts/benchmarks/peers/tenpy_w1.py w1-1e-4 --limit 120

The gates exp(dt L) are real and not unitary, so ``TEBDEngine.update_imag`` is used, whose sweeps keep the canonical
form (second order); the Z2 charge of the model (number of X and Y factors) is conserved.  Needs ``physics-tenpy``.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from _chain import W1, Stage, finish, parse, race

BASIS = [0, 3, 1, 2]  # 1, Z (even), X, Y (odd): sorted by charge


def main() -> None:
    """Run and print one row."""
    work, limit = parse(__doc__ or "")
    try:
        from tenpy.algorithms.tebd import TEBDEngine
        from tenpy.linalg import np_conserved as npc
        from tenpy.models.lattice import Chain
        from tenpy.models.model import NearestNeighborModel
        from tenpy.networks.mps import MPS
        from tenpy.networks.site import Site
    except ImportError:
        finish(
            {"method": "TeNPy", "status": "not installed", "remark": "pip install physics-tenpy (extra `benchmarks`)"}
        )
        return
    # its remarks on options and on norms that are not 1 (density matrices have none) would come at every step
    warnings.filterwarnings("ignore", module=r"tenpy\.")
    problem = W1()
    leg = npc.LegCharge.from_qflat(npc.ChargeInfo([2]), [[0], [0], [1], [1]])
    site = Site(leg, ["1", "z", "x", "y"], sort_charge=False)
    bonds: list[Any] = [None]
    for generator in problem.generators:
        g = generator.reshape(4, 4, 4, 4)[np.ix_(BASIS, BASIS, BASIS, BASIS)]
        legs = [leg, leg, leg.conj(), leg.conj()]
        bonds.append(npc.Array.from_ndarray(-g, legs, labels=["p0", "p1", "p0*", "p1*"], cutoff=1e-14))
    model = NearestNeighborModel(Chain(problem.L, site, bc="open", bc_MPS="finite"), bonds)
    psi = MPS.from_product_state([site] * problem.L, ["1"] * problem.L, bc="finite", dtype=float)
    engines: dict[Stage, Any] = {}

    def evolve(stage: Stage) -> None:
        if stage not in engines:
            options = {"trunc_params": {"chi_max": stage.chi, "svd_min": 1e-14}}
            engines[stage] = TEBDEngine(psi, model, options)
            engines[stage].calc_U(stage.order, stage.dt, type_evo="imag")
        engines[stage].update_imag(round(stage.interval / stage.dt), call_canonical_form=False)

    def tensors() -> list[np.ndarray]:
        out, state = [], psi.copy()
        state.canonical_form()
        for i in range(problem.L):
            b = state.get_B(i, form="B").transpose(["vL", "p", "vR"]).to_ndarray()
            out.append(b[:, np.argsort(BASIS)])
        return out

    finish({"method": "TeNPy", **race(work, limit, problem, evolve, tensors)})


if __name__ == "__main__":
    main()
