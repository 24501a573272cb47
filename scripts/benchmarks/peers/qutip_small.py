#!/usr/bin/env python
"""QuTiP on a short open persistent-current chain: the sparse Lindbladian, solved directly for its null vector.

    scripts/benchmarks/peers/qutip_small.py small6 --limit 120

Needs ``qutip``.
"""

from __future__ import annotations

import time

import numpy as np
from _chain import finish, parse
from _rows import peak_mib


def main() -> None:
    """Run and print one row."""
    work, _ = parse(__doc__ or "")
    try:
        import qutip as qt
    except ImportError:
        finish({"method": "QuTiP", "status": "not installed", "remark": "pip install qutip (extra `benchmarks`)"})
        return
    from _works import SMALL, small_case

    from mpo_transport.states import DenseState
    from mpo_transport.superoperator import operator_matrix

    model, quantities = small_case(SMALL[work])
    dims = [[2] * model.L] * 2

    def wrapped(operator: object) -> object:
        return qt.Qobj(operator_matrix(model.lattice, operator).tocsr(), dims=dims)

    h, jumps = wrapped(model.hamiltonian), [np.sqrt(j.rate) * wrapped(j.operator) for j in model.jumps]
    start = time.process_time()
    rho = qt.steadystate(h, jumps, method="direct").full()
    cpu = time.process_time() - start
    state = DenseState(model.lattice, rho)
    values = [np.asarray(q.observable.evaluate(state)) for q in quantities]
    finish(
        {
            "method": "QuTiP",
            "status": "finished",
            "cpu_s": cpu,
            "peak_MiB": peak_mib(),
            "value": float(values[0][len(values[0]) // 2]),
            "error": max(float(np.abs(v - q.exact).max()) for v, q in zip(values, quantities, strict=True)),
        }
    )


if __name__ == "__main__":
    main()
