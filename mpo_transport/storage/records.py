"""What one file holds, as one object: an unfinished run with all that is needed to go on, or a finished one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import FileFormatError, InputError, did_you_mean
from ..methods import METHODS, Iterate, build_method
from ..model import Lindbladian
from ..observables import Observable
from ..operators import OpSum
from ..result import Certificate, Cost, Evolution, History, Measurement, Result, Status
from ..states import STATES, State
from .measurements import GROUP, attach_dimensions, measurements_from_tree, measurements_to_tree
from .model_tables import model_from_tree, model_to_tree, opsums_from_table, opsums_to_table
from .text import canonical_text, dumps, loads, run_id, spec_digest
from .tree import Tree, quoted, tree_digest, unquoted

__all__ = [
    "StoredMethod",
    "StoredRun",
    "attach_dimensions",
    "model_digest",
    "opsums_digest",
    "outcome_of",
    "record_of",
    "run_from_tree",
    "run_to_tree",
    "state_digest",
]


@dataclass(frozen=True)
class StoredMethod:
    """Name and knobs of a method that this installation does not know (for example one from a user's own module)."""

    name: str
    knobs: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.knobs.items())})"


@dataclass
class StoredRun:
    """Everything in a run file.

    ``task`` is ``"steady_state"`` or ``"evolve"``; ``status`` is None while the run goes on; ``iterate`` is present
    where the run can be continued; ``times`` (evolution) are all times asked for, of which ``reached`` are done;
    ``asked`` holds the observables to measure, None for a function of the state, which has no text.
    """

    task: str
    model: Lindbladian
    method: Any
    tol: float
    seed: int
    state: State = field(default=None)  # type: ignore[assignment]  # set as soon as the method has started
    status: Status | None = None
    iterate: Iterate | None = None
    companions: Mapping[str, tuple[State, float]] = field(default_factory=dict)
    manifold: tuple[State, ...] = ()
    certificate: Certificate = field(default_factory=Certificate)
    history: History = field(default_factory=History)
    cost: Cost = field(default_factory=Cost)
    reason: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] | None = None
    times: np.ndarray | None = None
    reached: int = 0
    asked: Mapping[str, Observable | None] = field(default_factory=dict)
    observables: Mapping[str, Measurement] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do (well or not)."""
        return self.status is not None and self.status is not Status.INTERRUPTED


def run_to_tree(run: StoredRun) -> Tree:
    """Return a run as a tree of arrays and texts."""
    facts = {
        "task": run.task,
        "status": run.status.value if run.status is not None else "running",
        "finished": run.finished,
        "tol": run.tol,
        "seed": run.seed,
        "reason": run.reason,
        "cost": dataclasses.asdict(run.cost),
        "reached": run.reached,
    }
    tree: Tree = {
        "status": {"facts": dumps(facts)},
        "model": model_to_tree(run.model),
        "method": {"facts": dumps(_method_facts(run.method))},
        "history": {quoted(k): v for k, v in run.history.arrays().items()},
        "state": _state_to_tree(run.state),
        "manifold": {str(k): _state_to_tree(s) for k, s in enumerate(run.manifold)},
        "certificate": {"facts": dumps(_fields(run.certificate))},
        "provenance": {"facts": dumps(run.provenance)},
        "asked": _asked_to_tree(run.asked),
    }
    if run.spec is not None:
        tree["spec"] = {
            "text": canonical_text(run.spec),
            "sha256": spec_digest(run.spec),
            "run_id": run_id(run.spec),
        }
    companions = run.companions
    if run.iterate is not None:
        companions = run.iterate.companions
        tree["iterate"] = {
            "facts": dumps({"step": run.iterate.step, "scalars": dict(run.iterate.scalars)}),
            "arrays": {quoted(k): np.asarray(v) for k, v in run.iterate.arrays.items()},
        }
    tree["companions"] = {
        str(k): {"facts": dumps({"name": name, "weight": weight}), "state": _state_to_tree(state)}
        for k, (name, (state, weight)) in enumerate(companions.items())
    }
    if run.times is not None:
        tree["schedule"] = {"times": np.asarray(run.times, dtype=float)}
    times = None if run.times is None else run.times[: run.reached]
    tree[GROUP], tree["observables_facts"] = measurements_to_tree(run.observables, times)
    return tree


def run_from_tree(tree: Mapping[str, Any]) -> StoredRun:
    """Return the run written by :func:`run_to_tree`."""
    facts = loads(tree["status"]["facts"])
    model = model_from_tree(tree["model"])
    state = _state_from_tree(tree["state"], model)
    companions = {}
    for k in range(len(tree.get("companions", {}))):
        entry = tree["companions"][str(k)]
        about = loads(entry["facts"])
        companions[about["name"]] = (_state_from_tree(entry["state"], model), about["weight"])
    iterate = None
    if "iterate" in tree:
        about = loads(tree["iterate"]["facts"])
        arrays = {unquoted(k): v for k, v in tree["iterate"].get("arrays", {}).items()}
        iterate = Iterate(state, about["step"], about["scalars"], arrays, companions)
    manifold = tree.get("manifold", {})
    return StoredRun(
        task=facts["task"],
        model=model,
        method=_method_from_facts(loads(tree["method"]["facts"])),
        tol=facts["tol"],
        seed=facts["seed"],
        state=state,
        status=None if facts["status"] == "running" else Status(facts["status"]),
        iterate=iterate,
        companions=companions,
        manifold=tuple(_state_from_tree(manifold[str(k)], model) for k in range(len(manifold))),
        certificate=_known(Certificate, loads(tree["certificate"]["facts"])),
        history=History({unquoted(k): v for k, v in tree.get("history", {}).items()}),
        cost=_known(Cost, facts["cost"]),
        reason=facts["reason"],
        provenance=loads(tree["provenance"]["facts"]),
        spec=_spec_from_tree(tree["spec"]) if "spec" in tree else None,
        times=tree.get("schedule", {}).get("times"),
        reached=facts["reached"],
        asked=_asked_from_tree(tree["asked"]),
        observables=measurements_from_tree(tree.get(GROUP, {}), tree["observables_facts"]),
    )


def record_of(outcome: Result | Evolution) -> StoredRun:
    """Return what is written for a result: the unfinished run behind it if there is one, else the result itself."""
    if isinstance(outcome.pending, StoredRun):
        return dataclasses.replace(outcome.pending, observables=outcome.observables)
    provenance = dict(outcome.provenance)
    spec = provenance.pop("spec", None)
    common: dict[str, Any] = {
        name: getattr(outcome, name)
        for name in ("model", "method", "tol", "state", "status", "certificate", "history", "cost", "reason")
    }
    common |= {"seed": outcome.seed or 0, "provenance": provenance, "spec": spec, "observables": outcome.observables}
    if isinstance(outcome, Result):
        return StoredRun("steady_state", companions=outcome.companions, manifold=outcome.manifold, **common)
    return StoredRun("evolve", times=outcome.times, reached=len(outcome.times), **common)


def outcome_of(run: StoredRun) -> Result | Evolution:
    """Return the result a file holds; an unfinished run gives the state reached, with status ``interrupted``."""
    common: dict[str, Any] = {
        name: getattr(run, name) for name in ("model", "method", "tol", "seed", "state", "history", "cost", "reason")
    }
    common["certificate"] = run.certificate if run.finished else _unchecked()
    common["status"] = run.status if run.status is not None else Status.INTERRUPTED
    common["provenance"] = dict(run.provenance) | ({} if run.spec is None else {"spec": run.spec})
    common["observables"] = dict(run.observables)
    common["pending"] = run if run.iterate is not None else None
    if run.task == "steady_state":
        companions = run.iterate.companions if run.iterate is not None else run.companions
        return Result(companions=dict(companions), manifold=run.manifold, **common)
    times = np.zeros(0) if run.times is None else run.times[: run.reached]
    return Evolution(times=times, **common)


def model_digest(model: Lindbladian) -> str:
    """Return a SHA-256 of everything in a model."""
    return tree_digest(model_to_tree(model))


def state_digest(state: State) -> str:
    """Return a SHA-256 of a state."""
    return tree_digest(_state_to_tree(state))


def opsums_digest(operators: Sequence[OpSum]) -> str:
    """Return a SHA-256 of a list of operator sums."""
    return tree_digest(opsums_to_table(operators))


# ----------------------------------------------------------------------------------------------------------------------


def _unchecked() -> Certificate:
    return Certificate(notes=("the run is not finished; its state has not been checked",))


def _fields(thing: Any) -> dict[str, Any]:
    """Return the fields of a flat dataclass (mappings as they are)."""
    return {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing) if f.init}


def _known(cls: Any, facts: Mapping[str, Any]) -> Any:
    names = {f.name for f in dataclasses.fields(cls)}
    return cls(**{k: v for k, v in facts.items() if k in names})


def _method_facts(method: Any) -> dict[str, Any]:
    knobs = dict(method.knobs) if isinstance(method, StoredMethod) else _fields(method)
    return {"name": method.name, "knobs": knobs}


def _method_from_facts(facts: Mapping[str, Any]) -> Any:
    if facts["name"] in METHODS:
        try:
            return build_method(facts["name"], facts["knobs"])
        except InputError:  # knobs of another version: the result can still be read
            return StoredMethod(facts["name"], facts["knobs"])
    return StoredMethod(facts["name"], facts["knobs"])


def _spec_from_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = loads(tree["text"])
    if (tree["sha256"], tree["run_id"]) != (spec_digest(spec), run_id(spec)):
        raise FileFormatError("the specification does not have the checksum and the run id that stand beside it.")
    return spec


def _state_to_tree(state: State) -> Tree:
    return {
        "facts": dumps({"kind": state.kind, "attributes": state.attributes()}),
        "arrays": {quoted(k): np.asarray(v) for k, v in state.arrays().items()},
    }


def _state_from_tree(tree: Mapping[str, Any], model: Lindbladian) -> State:
    facts = loads(tree["facts"])
    if facts["kind"] not in STATES:
        raise FileFormatError(f"The file holds a state of the unknown kind {facts['kind']!r}; {_kinds(facts['kind'])}")
    arrays = {unquoted(k): v for k, v in tree.get("arrays", {}).items()}
    return STATES[facts["kind"]].from_arrays(model.lattice, arrays, facts["attributes"])


def _kinds(word: str) -> str:
    return did_you_mean(word, STATES)


def _asked_to_tree(asked: Mapping[str, Observable | None]) -> Tree:
    facts: dict[str, Any] = {}
    tables: Tree = {}
    for k, (name, observable) in enumerate(asked.items()):
        if observable is None:
            facts[name] = None
        else:
            facts[name] = {n: v for n, v in _fields(observable).items() if n != "operators"} | {"table": str(k)}
            tables[str(k)] = opsums_to_table(observable.operators)
    return {"facts": dumps(facts), "operators": tables}


def _asked_from_tree(tree: Mapping[str, Any]) -> dict[str, Observable | None]:
    out: dict[str, Observable | None] = {}
    for name, about in loads(tree["facts"]).items():
        if about is None:
            out[name] = None
            continue
        table = tree["operators"][about.pop("table")]
        out[name] = Observable(operators=tuple(opsums_from_table(table)), **about)
    return out
