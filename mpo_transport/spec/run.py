"""One calculation, written down: model, method, task, accuracy and observables; read from and written to TOML."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, did_you_mean
from ..methods import METHODS, Method, build_method
from ..model import Lindbladian
from ..models import MODELS, build_model
from ..observables import OBSERVABLES, build_observable
from ..result import Measurable
from ..storage import run_id
from .fields import check_arguments, check_keys, integer, number, refuse, scalar, table, text
from .handwritten import HANDWRITTEN_KEYS, build_handwritten
from .toml import apply_overrides, canonical_json, canonical_tree, override_value, parse_toml, write_toml

__all__ = ["RunSpec", "load_spec"]

TASKS = ("steady_state", "evolve")
SECTIONS = ("name", "observables", "model", "method", "solve", "output")
SOLVE_KEYS = ("task", "tol", "seed", "initial", "times")
OUTPUT_KEYS = ("checkpoint_every", "figure")
FIGURE_TYPES = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class RunSpec:
    """A run as plain values; every field is checked when the object is made.

    Parameters
    ----------
    model
        ``{"name": "persistent_current", "L": 30, ...}`` with the keyword arguments of a library model, or a
        hand-written chain (:mod:`mpo_transport.spec.handwritten`).
    method
        ``{"name": "TEBD", "max_bond": 32}``; empty: chosen automatically.
    task, times
        ``"steady_state"``, or ``"evolve"`` with the times (unit 1/energy) at which observables are recorded.
    tol, seed, initial
        Claimed error of local observables; seed of random numbers; initial state by name or one entry per site.
    observables
        ``("current", "profile:Z", {"observable": "current", "kind": "J"})``; empty: the default current and profiles.
    name
        Base of the file name; without it the run id is used.
    checkpoint_every
        Seconds between checkpoints.
    figure
        File name of a picture drawn beside the HDF5 file, or None.

    Raises
    ------
    InputError
        Naming the dotted entry, for example ``model.L``; unknown entries are answered with the nearest known one.

    Examples
    --------
    >>> spec = RunSpec({"name": "persistent_current", "L": 4, "alpha": 2.0, "delta": "1.5+0.5j"}, tol=1e-8)
    >>> spec.build_model().jumps[0].operator
    2 Sm(0) + (1.5-0.5j) Sp(0) + 2 Sm(1) + (1.5+0.5j) Sp(1)
    >>> RunSpec.from_toml(spec.to_toml()) == spec
    True
    >>> RunSpec.from_toml("[model]\\nname = 'persistent_current'\\nL = 4\\nalfa = 2.0").build_model()
    Traceback (most recent call last):
    ...
    mpo_transport.errors.InputError: Entry `model.alfa` is not accepted: Model 'persistent_current' has no argument \
'alfa'; did you mean 'alpha'? (known: ...)
    """

    model: Mapping[str, Any]
    method: Mapping[str, Any] = field(default_factory=dict)
    task: str = "steady_state"
    times: tuple[float, ...] = ()
    tol: float = 1e-6
    seed: int | None = None
    initial: Any = None
    observables: tuple[Any, ...] = ()
    name: str | None = None
    checkpoint_every: float = 60.0
    figure: str | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "model", _checked_model(table(self.model, "model")))
        set_(self, "method", _checked_method(table(self.method, "method")))
        text(self.task, "solve.task", TASKS)
        set_(self, "times", _checked_times(self.times, self.task))
        number(self.tol, "solve.tol", positive=True)
        if self.seed is not None:
            set_(self, "seed", integer(self.seed, "solve.seed", least=0))
        if self.initial is not None:
            set_(self, "initial", _checked_initial(self.initial))
        elif self.task == "evolve":
            raise InputError('Entry `solve.initial` is needed for task = "evolve".', field="solve.initial")
        set_(self, "observables", tuple(_checked_observable(o, k) for k, o in enumerate(self.observables)))
        if self.name is not None:
            _plain_file_name(text(self.name, "name"), "name")
        if self.figure is not None:
            _checked_figure(self.figure)
        number(self.checkpoint_every, "output.checkpoint_every", positive=True)

    # -- reading and writing ------------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> RunSpec:
        """Return the run of a tree with the sections of a specification file."""
        check_keys(tree, SECTIONS, "")
        if "model" not in tree:
            raise InputError("A specification needs the table `[model]`.", field="model")
        solve = table(tree.get("solve", {}), "solve")
        output = table(tree.get("output", {}), "output")
        check_keys(solve, SOLVE_KEYS, "solve")
        check_keys(output, OUTPUT_KEYS, "output")
        observables = tree.get("observables", [])
        if not isinstance(observables, (list, tuple)):
            raise refuse("observables", 'a list such as ["current", "profile:Z"]', observables)
        known: dict[str, Any] = {**solve, **output}
        if "times" in known and not isinstance(known["times"], (list, tuple)):
            raise refuse("solve.times", "a list of times", known["times"])
        return cls(
            model=tree["model"],
            method=tree.get("method", {}),
            observables=tuple(observables),
            name=tree.get("name"),
            **known,
        )

    @classmethod
    def from_toml(cls, text: str, *, overrides: Iterable[str] = (), source: str = "The specification") -> RunSpec:
        """Return the run of a TOML text, with ``"model.L=40"``-like overrides applied first."""
        return cls.from_dict(apply_overrides(parse_toml(text, source), overrides))

    def to_dict(self) -> dict[str, Any]:
        """Return the sections as plain values; entries at their default are left out."""
        tree: dict[str, Any] = {}
        if self.name is not None:
            tree["name"] = self.name
        if self.observables:
            tree["observables"] = [dict(o) if isinstance(o, Mapping) else o for o in self.observables]
        tree["model"] = dict(self.model)
        if self.method:
            tree["method"] = dict(self.method)
        tree["solve"] = {"task": self.task, "tol": self.tol}
        if self.times:
            tree["solve"]["times"] = list(self.times)
        for key in ("seed", "initial"):
            if getattr(self, key) is not None:
                tree["solve"][key] = getattr(self, key)
        tree["output"] = {"checkpoint_every": self.checkpoint_every}
        if self.figure is not None:
            tree["output"]["figure"] = self.figure
        return tree

    def to_toml(self) -> str:
        """Return the specification file; reading it back gives an equal run."""
        return write_toml(self.to_dict())

    def identity(self) -> dict[str, Any]:
        """Return what makes this run this run: everything except its name and its output settings.

        Two spellings of the same run (order of keys, 4 or 4.0, "2+0j" or 2) have equal identities.
        """
        tree = {k: v for k, v in self.to_dict().items() if k not in ("name", "output")}
        return canonical_tree(tree)

    def canonical_json(self) -> str:
        """Return the identity as one line of text."""
        return canonical_json(self.identity())

    @property
    def run_id(self) -> str:
        """Hash of the identity, 16 hexadecimal digits."""
        return run_id(self.identity())

    @property
    def file_name(self) -> str:
        """Name of the HDF5 file of this run."""
        return f"{self.name or self.run_id}.h5"

    # -- the objects it describes -------------------------------------------------------------------------------------

    def build_model(self) -> Lindbladian:
        """Return the model; its errors name the entry, for example ``model.kappa``."""
        try:
            if "name" not in self.model:
                return build_handwritten(self.model, self.name or "custom")
            arguments = {k: v for k, v in self.model.items() if k != "name"}
            function = MODELS[self.model["name"]]
            return build_model(self.model["name"], check_arguments(arguments, function, "model"))
        except InputError as error:
            raise _placed(error, "model") from None

    def build_method(self) -> Method | None:
        """Return the method with its knobs, or None for automatic choice."""
        if not self.method:
            return None
        cls = method_classes()[self.method["name"]]
        knobs = {k: v for k, v in self.method.items() if k != "name"}
        try:
            return build_method(cls.name, check_arguments(knobs, cls, "method"))
        except InputError as error:
            raise _placed(error, "method") from None

    def initial_state(self) -> Any:
        """Return the initial state: a name, None, or one entry per site with complex literals turned into numbers."""
        return self.initial if isinstance(self.initial, str) else _numbers_of(self.initial)

    def build_observables(self, model: Lindbladian) -> dict[str, Measurable]:
        """Return the observables by the name under which they are stored."""
        built: dict[str, Measurable] = {}
        for k, entry in enumerate(self.observables):
            label, name, arguments = _observable_call(entry, k)
            try:
                built_one = build_observable(
                    model, name, **check_arguments(arguments, OBSERVABLES[name], f"observables[{k}]")
                )
            except InputError as error:
                raise _placed(error, f"observables[{k}]") from None
            if label in built:
                raise InputError(f"Entry `observables[{k}]` lists {label!r} twice.", field=f"observables[{k}]")
            built[label] = built_one
        return built


def load_spec(path: str | Path, overrides: Iterable[str] = ()) -> RunSpec:
    """Return the run of a specification file.

    Raises
    ------
    InputError
        If the file cannot be read, is not TOML, or an entry is wrong.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot read the specification {path}: {error.strerror}.", field="spec") from None
    except UnicodeDecodeError:
        raise InputError(f"The specification {path} is not a text file in UTF-8.", field="spec") from None
    return RunSpec.from_toml(content, overrides=overrides, source=str(path))


def method_classes() -> dict[str, type[Method]]:
    """Return the methods by the name of their class, which is how a specification names them."""
    return dict(METHODS)


def _placed(error: InputError, section: str) -> InputError:
    """The same error with the dotted name of the entry in front, where the message does not name it already."""
    name = error.field or ""
    dotted = name if name.startswith(section) else f"{section}.{name}" if name else section
    message = str(error)
    if f"`{dotted}`" not in message:
        message = f"Entry `{dotted}` is not accepted: {message}"
    placed = type(error)(message, field=dotted)
    return placed


def _checked_model(data: dict[str, Any]) -> dict[str, Any]:
    if "name" not in data:
        if not set(data) & set(HANDWRITTEN_KEYS):
            raise InputError(
                "The table `[model]` needs `model.name` (of the library), or `lattice` and `spaces` (written by hand).",
                field="model.name",
            )
        check_keys(data, HANDWRITTEN_KEYS, "model")
        return data
    text(data["name"], "model.name", MODELS)
    return data


def _checked_method(data: dict[str, Any]) -> dict[str, Any]:
    if not data:
        return data
    classes = method_classes()
    if "name" not in data:
        raise InputError(
            f"The table `[method]` needs the entry `method.name`; {did_you_mean('', classes)}", field="method.name"
        )
    name = text(data["name"], "method.name")
    name = METHODS[name].__name__ if name in METHODS else name
    text(name, "method.name", classes)
    return data | {"name": name}


def _checked_times(times: Any, task: str) -> tuple[float, ...]:
    checked = tuple(number(t, f"solve.times[{k}]") for k, t in enumerate(times))
    if task == "evolve" and not checked:
        raise InputError('Entry `solve.times` is needed for task = "evolve".', field="solve.times")
    if task != "evolve" and checked:
        raise InputError('Entry `solve.times` belongs to task = "evolve" only.', field="solve.times")
    if any(t < 0 for t in checked) or any(b <= a for a, b in itertools.pairwise(checked)):
        raise refuse("solve.times", "a strictly increasing list of times >= 0", list(checked))
    return checked


def _checked_initial(value: Any) -> Any:
    """A name, or a list with one entry per site: occupation, state vector or density matrix of plain numbers."""
    if isinstance(value, str):
        return text(value, "solve.initial")
    if not isinstance(value, (list, tuple)) or not value:
        raise refuse("solve.initial", "the name of a state or a list with one entry per site", value)

    def plain(entry: Any, key: str) -> Any:
        if isinstance(entry, (list, tuple)):
            return [plain(e, f"{key}[{k}]") for k, e in enumerate(entry)]
        scalar(entry, key)
        return entry

    return [plain(entry, f"solve.initial[{k}]") for k, entry in enumerate(value)]


def _numbers_of(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers_of(v) for v in value]
    return scalar(value, "solve.initial") if isinstance(value, str) else value


def _checked_observable(entry: Any, k: int) -> Any:
    key = f"observables[{k}]"
    if isinstance(entry, Mapping):
        if "observable" not in entry:
            raise InputError(
                f'Entry `{key}.observable` is missing: write {{observable = "current", kind = "J"}}.',
                field=f"{key}.observable",
            )
        text(entry["observable"], f"{key}.observable", OBSERVABLES)
        return dict(entry)
    name = text(entry, key).partition(":")[0]
    if name not in OBSERVABLES:
        raise InputError(f"Entry `{key}`: unknown observable {name!r}; {did_you_mean(name, OBSERVABLES)}", field=key)
    return entry


def _observable_call(entry: Any, k: int) -> tuple[str, str, dict[str, Any]]:
    """Label, name and arguments of ``"profile:Z"`` (words in the order of the signature) or of a table."""
    if isinstance(entry, Mapping):
        arguments = {a: v for a, v in entry.items() if a != "observable"}
        name = entry["observable"]
        return name + (":" + ",".join(f"{a}={v}" for a, v in arguments.items()) if arguments else ""), name, arguments
    name, separator, rest = entry.partition(":")
    words = [w.strip() for w in rest.split(",")] if separator else []
    known = [p for p in inspect.signature(OBSERVABLES[name]).parameters if p != "model"]
    if (separator and not all(words)) or len(words) > len(known):
        listing = ",".join(known) or "no arguments"
        raise refuse(f"observables[{k}]", f"{name!r} followed by at most the arguments {listing}", entry)
    return entry, name, {a: override_value(w) for a, w in zip(known, words, strict=False)}


def _plain_file_name(value: str, key: str) -> str:
    if Path(value).name != value or value.startswith(".") or any(ord(c) < 32 or c in '\\/:*?"<>|' for c in value):
        raise refuse(key, "a plain file name without directories", value)
    return value


def _checked_figure(value: Any) -> str:
    name = _plain_file_name(text(value, "output.figure"), "output.figure")
    if Path(name).suffix.lower() not in FIGURE_TYPES:
        raise refuse("output.figure", "a file name ending in " + ", ".join(FIGURE_TYPES), value)
    return name
