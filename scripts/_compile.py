"""Compiles the loops of TEBD, once per installation: otherwise each process of the tests would do so on its own."""

import mpo_transport as mt

driven = mt.models.persistent_current(L=30, alpha=2.0, delta=1.0, mu=1.0, periodic=False)
bosons = mt.models.boundary_driven_xx(4, 1.0, 1.0, 0.1, 1.0, 0.02, levels=3)
for model, method, tol in (
    (driven, mt.TEBD(max_bond=16, dt=0.2, max_time=6.0, threads=2), 1e-5),  # as many bonds as two threads need
    (bosons, mt.TEBD(max_bond=4, dt=0.1, max_time=0.2, layout="u1"), 1e-2),
):
    mt.steady_state(model, method, tol=tol, on_failure="return", progress=False)
