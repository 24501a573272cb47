"""Whether two directories of a sweep hold the same results, bit for bit, however they were computed."""

import numpy as np
from toy_methods import same_state

from mpo_transport.storage import load


def same_result(path, other) -> bool:
    """Whether two run files hold the same state, companions, observables, certificate and history."""
    a, b = load(path), load(other)
    names = [n for n in a.history.names if n != "wall_seconds"]
    return (
        same_state(a.state, b.state)
        and a.companions.keys() == b.companions.keys()
        and all(same_state(s, b.companions[n][0]) and w == b.companions[n][1] for n, (s, w) in a.companions.items())
        and (a.status, a.certificate, a.cost.steps) == (b.status, b.certificate, b.cost.steps)
        and a.history.names == b.history.names
        and all(a.history[n].tobytes() == b.history[n].tobytes() for n in names)
        and a.observables.keys() == b.observables.keys()
        and all(
            np.asarray(m.values).tobytes() == np.asarray(b.observables[n].values).tobytes()
            and np.asarray(m.error).tobytes() == np.asarray(b.observables[n].error).tobytes()
            for n, m in a.observables.items()
        )
    )
