"""Plans: a suite file and flags become a validated plan, which lists the cells to run."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from xcore.base.digests import digest, plain_data
from xcore.base.errors import MissingError, UsageError, unknown
from xcore.cards import Card
from xcore.contract.options import Options, validate
from xcore.contract.types import Budget, Cell, Ref, Split
from xcore.inputs.splits import split_of
from xcore.registry import Registry, resolve
from xcore.run.classes import left_out, refuse_doubles, renaming, to_explain
from xcore.store.identity import Identity

SUITES = Path(__file__).parent / "suites"
"""The folder of the suites that are found by name."""
SUFFIX = ".toml"
"""What a suite ends with that is a file."""


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every random generator takes."""
MAX_THREADS = 512
"""torch crashes the process when it is asked for many thousands."""


AXES = ("classifier", "generator", "contrast")
"""Keys of a data set's defaults that are no roles of helper models."""


class Arm(Options):
    """A method under a label of its own, with options of its own."""

    label: str = Field(min_length=1)
    method: str
    set: dict[str, Any] = Field(default_factory=dict)


def plain_arm(method: str) -> Arm:
    """A method under its own name, with the options of its name only."""
    return validate(Arm, {"label": method, "method": method}, "this request")


class BudgetKeys(Options):
    samples: int = Field(default=60, ge=1)
    heldout: int = Field(default=60, ge=2)
    steps: int | None = Field(default=None, ge=1)


class Suite(Options):
    """The keys of a suite file; flags have the same names and win over it."""

    name: str = "custom"
    methods: list[str] = Field(default_factory=list)
    controls: list[str] = Field(default_factory=list)
    """Explainers that explain nothing, such as noise: what the other rows are compared with."""
    arms: list[Arm] = Field(default_factory=list)
    metrics: list[str] = Field(default_factory=list)
    classifiers: list[str] = Field(default_factory=list)
    data: str = ""
    contrast: str = ""
    heldout: str = ""
    generator: str = ""
    classes: list[str] = Field(default_factory=list)
    split: str = "explain"
    """Part of the data whose samples are explained: train, explain or heldout, or a name that data sets give to it."""
    group: str = ""
    """Only samples of this group are explained; "" = all."""
    leave_out: dict[str, list[str]] = Field(default_factory=dict)
    """Classifier -> classes that it is not explained for, such as those that options were chosen on."""
    layer: str = ""
    seeds: list[Seed] = Field(default_factory=lambda: [0], min_length=1)
    data_seed: Seed | None = None
    """What samples of classes, held-out samples and random sets are drawn with; None = the seed of each cell, so that
    a spread over seeds is over draws of these, too."""
    models: dict[str, str] = Field(default_factory=dict)
    budget: BudgetKeys = Field(default_factory=BudgetKeys)
    set: dict[str, dict[str, Any]] = Field(default_factory=dict)
    prefer: list[str] = Field(default_factory=list)
    """Distributions whose components are meant where several plugins offer a name of this suite."""
    threads: int = Field(default=0, ge=0, le=MAX_THREADS)
    """torch threads inside a cell; 0 = all cores."""
    engine: str = ""
    """Where cells are run; "" = here, one after another."""
    cell_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Seconds that a cell may take with its scores; the engine has to keep it."""
    cell_memory: Annotated[int, Field(ge=1)] | None = None
    """MB of memory that the process of a cell may hold; the engine has to keep it."""
    retries: int = Field(default=0, ge=0, le=100)
    """How often a cell that failed is tried again before the run goes on to its end."""
    fail_fast: bool = False
    """Whether the run stops at the first cell that failed."""
    trackers: list[str] = Field(default_factory=list)
    """What follows the run, such as a dashboard; see `xcore.contract.protocols.Tracker`."""
    gates: list[str] = Field(default_factory=list)
    """What the results have to keep, such as ``craft.TS >= 0.9``; see `xcore.ci.gates`."""

    @property
    def labels(self) -> list[str]:
        """What the rows of the table are called, in their order."""
        return list(dict.fromkeys([*self.methods, *(arm.label for arm in self.arms), *self.controls]))


@dataclass(frozen=True)
class Plan:
    """Cells, and the metrics that judge them."""

    name: str
    cells: tuple[Cell, ...]
    metrics: tuple[Ref, ...]
    threads: int = 0
    engine: Ref | None = None
    """Where cells are run; None = here, one after another."""
    suite: Mapping[str, Any] = field(default_factory=dict)
    """The suite as it was resolved, for the record."""
    metric_cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Metric -> what its card says of it: across, caveat, column, details. A report shows the run as it was made."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Identity of the data set -> its modality, classes and defaults: what a plan needs to know of it."""
    notes: tuple[str, ...] = ()
    """What a reader of the table must know of the helper models, and of classes that were not left out."""
    trackers: tuple[Ref, ...] = ()
    """What follows the run."""

    def as_plain(self) -> dict[str, Any]:
        """The plan as JSON knows it."""
        plain: dict[str, Any] = json.loads(json.dumps(plain_data(self)))
        return plain

    @property
    def digest(self) -> str:
        """Digest of all that the plan says; each part that several of its cells share counts once."""
        shared: dict[str, int] = {}
        numbers: dict[int, int] = {}

        def number(part: Any) -> int:
            if id(part) not in numbers:
                numbers[id(part)] = shared.setdefault(json.dumps(plain_data(part), sort_keys=True), len(shared))
            return numbers[id(part)]

        def own(value: Any) -> Any:
            return value if value is None or isinstance(value, (str, int)) else number(value)

        cells = [[*map(own, vars(cell).values())] for cell in self.cells]
        return digest([plain_data(replace(self, cells=())), [*shared], cells])


RENAMED = {"baselines": "controls"}
"""Old key of a suite -> its name now."""


def refuse_renamed(keys: Iterable[str], where: str) -> None:
    """Raise `UsageError` for a key of a suite that has another name now."""
    for key in keys:
        if key in RENAMED:
            raise UsageError(f"{where}: the key {key!r} is now called {RENAMED[key]!r}", f"write {RENAMED[key]}")


def metric_card(registry: Registry, metric: Ref) -> dict[str, Any]:
    """What the card of a metric says that a report must know."""
    card, _ = registry.find("metric", metric)
    return {"across": list(card.across), "caveat": card.caveat, "column": card.column, "details": list(card.details)}


def load_suite(name: str) -> Suite:
    """Read a suite by name (see `SUITES`) or by file.

    Raises
    ------
    UsageError
        If there is no such suite, it is no TOML, or a key of it is wrong.
    """
    if not name.endswith(SUFFIX):
        path = SUITES / f"{name}{SUFFIX}"
        if not path.is_file():
            raise unknown("suite", name, {p.stem for p in SUITES.glob(f"*{SUFFIX}")}, more=f"a file ends in {SUFFIX}")
    else:
        path = Path(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no suite file {name!r}") from None
    except OSError as error:
        raise UsageError(f"cannot read suite {path}: {error.strerror}") from None
    except RecursionError:
        raise UsageError(
            f"suite {path} is nested too deeply", "a suite has keys, lists and tables of options"
        ) from None
    except ValueError as error:  # no TOML, no UTF-8, or a number that Python refuses to read
        raise UsageError(f"suite {path}: {error}") from None
    refuse_renamed(values, f"suite {path}")
    return validate(Suite, {"name": path.stem, **values}, f"suite {path}")


def make_plan(suite: Suite, registry: Registry, known: Mapping[str, Any] | None = None) -> Plan:
    """Resolve every reference of a suite, with the data set's defaults for what it leaves open.

    Parameters
    ----------
    known
        `Plan.facts` of an earlier plan: a data set whose identity is among them is not opened.

    Raises
    ------
    UsageError, MissingError
        For the first name, option or prerequisite that is wrong, before anything runs.
    """
    if not suite.data:
        raise UsageError("no data set is named", "name one with --data REF, e.g. --data folder:DIR")
    if "" in (*suite.methods, *suite.controls):
        raise UsageError("the name of a method is empty", "name one, such as craft; see `xcore list`")
    arms = [*map(plain_arm, suite.methods), *suite.arms]
    arms += [plain_arm(c) for c in suite.controls if c not in {a.label for a in arms}]
    if not arms:
        raise UsageError("no method is named", "name at least one with --methods, e.g. --methods craft")
    refuse_doubles("label", (a.label for a in arms))
    refuse_doubles("seed", (str(s) for s in suite.seeds))
    refuse_doubles("metric", suite.metrics)
    refuse_doubles("classifier", suite.classifiers)

    split = split_of(suite.split)
    if split == "heldout" and suite.metrics and not suite.heldout:
        raise UsageError(
            "metrics judge by held-out samples, and these are to be explained",
            "leave --metrics out, or name data that no method sees with --heldout REF",
        )
    settings = Settings(suite.set, registry, suite.prefer)
    checked = settings.ref
    data = checked("dataset", suite.data)
    facts = _facts(registry, data, known or {})
    defaults = facts["defaults"]
    classifiers = suite.classifiers or [defaults.get("classifier") or _no_classifier(data)]
    generator = suite.generator or defaults.get("generator", "")
    contrast = suite.contrast or defaults.get("contrast", "")
    models = {k: v for k, v in defaults.items() if k not in AXES} | suite.models

    methods = [(arm, checked("explainer", arm.method, arm.set, arm.label)) for arm in arms]
    for role in models:
        if role not in registry.known_roles():
            raise unknown("role", role, registry.known_roles())
    metrics = tuple(checked("metric", m) for m in suite.metrics)
    used = [r for _, ref in methods for r in registry.roles(ref)]
    used += [r for ref in metrics for r in registry.roles(ref, "metric")]
    unnamed = (role for role in used if role not in models)
    models |= {role: str(ref) for role, ref in registry.fallbacks(unnamed, facts["modality"]).items()}
    asked = [checked("classifier", c) for c in classifiers]
    helpers = {role: settings.helper(role, text, [c.text for c in asked]) for role, text in models.items()}
    for _, method in methods:
        _refuse_lacking(registry, method, [*helpers, *(["generator"] if generator else [])], facts["modality"])
    classes = to_explain(
        suite.classes,
        facts,
        lambda: registry.create("dataset", data),
        lambda: registry.create("classifier", asked[0]),
        lambda: renaming(registry, data),
    )
    drawing = checked("generator", generator) if generator else None
    without, not_found = left_out(suite.leave_out, asked, facts, registry)
    other = checked("dataset", contrast) if contrast else None
    heldout = checked("dataset", suite.heldout) if suite.heldout else None
    budget = Budget(**dict(suite.budget))
    cells = []
    for classifier in asked:
        for cls in classes:
            if cls in without.get(classifier.text, ()):
                continue
            for seed in suite.seeds:  # outside the methods, which are given the same samples
                for arm, method in methods:
                    cells.append(
                        Cell(
                            label=arm.label,
                            method=method,
                            classifier=classifier,
                            data=data,
                            cls=cls,
                            seed=seed,
                            data_seed=seed if suite.data_seed is None else suite.data_seed,
                            layer=suite.layer,
                            generator=drawing,
                            contrast=other,
                            heldout=heldout,
                            models=helpers,
                            budget=budget,
                            split=split,
                            group=suite.group,
                        )
                    )
    if not cells:
        raise UsageError("no class to explain: the suite leaves out every one", "name one with --class")
    engine = checked("engine", suite.engine) if suite.engine else None
    refuse_doubles("tracker", suite.trackers)
    trackers = tuple(checked("tracker", tracker) for tracker in suite.trackers)
    settings.refuse_unused()
    return Plan(
        name=suite.name,
        cells=tuple(cells),
        metrics=metrics,
        threads=suite.threads,
        engine=engine,
        suite=suite.model_dump(mode="json"),
        metric_cards={metric.text: metric_card(registry, metric) for metric in metrics},
        facts={facts["id"]: facts},
        notes=(
            *helper_notes(registry, data, helpers, drawing, [ref for _, ref in methods], metrics, facts["modality"]),
            *not_found,
            *_chosen(split, suite.group),
        ),
        trackers=trackers,
    )


def _chosen(split: Split, group: str) -> tuple[str, ...]:
    """A note of which samples are explained, unless it is those that always are."""
    if (split, group) == ("explain", ""):
        return ()
    of = f" of the group {group!r}" if group else ""
    return (f"the explained samples are those of the split {split!r}{of}",)


def _refuse_lacking(registry: Registry, method: Ref, named: Iterable[str], modality: str) -> None:
    """Raise `MissingError` if a method needs a helper that is not named: no model is loaded in vain."""
    if helper := registry.lacking(method, named, modality):
        what = "a generator" if helper == "generator" else f"a model of the role {helper!r}"
        raise MissingError(f"method {method} needs {what}", f"name one with {naming(registry, helper, modality)}")


def naming(registry: Registry, helper: str, modality: str) -> str:
    """The flag that names a model for a role, or the generator, and what may follow it."""
    flag = "--generator " if helper == "generator" else f"--model {helper}="
    return f"{flag}{registry.played_by(helper, modality)}"


def helper_notes(
    registry: Registry,
    data: Ref,
    helpers: Mapping[str, Ref],
    generator: Ref | None,
    methods: Iterable[Ref],
    metrics: Iterable[Ref],
    modality: str,
) -> tuple[str, ...]:
    """A note for each helper that was made for the data sets of its distribution, and that reads others here."""
    users: dict[str, dict[str, None]] = {}
    for kind, refs in (("explainer", methods), ("metric", metrics)):
        for ref in refs:
            needs = registry.find(kind, ref)[0].needs if kind == "explainer" else ()
            for helper in (*needs, *registry.uses(ref, kind)):
                users.setdefault(helper, {})[ref.text] = None
    origin, notes = registry.find("dataset", data)[0].distribution, []
    for helper, named in {**helpers, "generator": generator}.items():
        if helper not in users or named is None:
            continue
        card, _ = registry.find("generator" if helper == "generator" else "model", named)
        if card.own_data and card.distribution != origin:
            notes.append(
                f"{', '.join(users[helper])}: not to be trusted here, since {named} was made for the data sets of "
                f"{card.distribution} only, and {data} is none of them; name another with "
                f"{naming(registry, helper, modality)}"
            )
    return tuple(notes)


class Settings:
    """Options by the name of a component, its label or its role; remembers which were used.

    A name may be that of several components of a plan, such as a classifier and a generator: each takes the options
    that it knows.
    """

    def __init__(
        self, settings: Mapping[str, Mapping[str, Any]], registry: Registry, prefer: Sequence[str] = ()
    ) -> None:
        self._settings, self._registry, self._prefer = settings, registry, prefer
        self._used, self._taken = set[str](), set[tuple[str, str]]()

    def ref(self, kind: str, text: str, extra: Mapping[str, Any] | None = None, *also: str) -> Ref:
        """The reference with its options, which are checked; both names of a component count, whichever is used."""
        text = self._registry.preferred(kind, text, self._prefer)
        card, _ = self._registry.find(kind, text)
        return self._ref(card, text, dict.fromkeys((card.name, card.full_name, *also)), extra)

    def helper(self, role: str, text: str, classifiers: Iterable[str]) -> Ref:
        """The reference of a helper model. Options by the name of its role win over those by its own name.

        Those by its own name are not its own if a classifier has the name, too: weights of the classifier would
        otherwise become those of a model that judges it.
        """
        text = self._registry.preferred("model", text, self._prefer)
        card = self._registry.find_model(role, text)
        shared = card.name in {self._registry.find("classifier", c)[0].name for c in classifiers}
        return self._ref(card, text, dict.fromkeys((role,) if shared else (card.name, card.full_name, role)))

    def _ref(self, card: Card, text: str, names: Iterable[str], extra: Mapping[str, Any] | None = None) -> Ref:
        merged: dict[str, Any] = {}
        for name in names:
            self._used.add(name)
            for option, value in self._settings.get(name, {}).items():
                if _takes(card, option) or not self._others_take(card, name, option):
                    merged[option] = value
                    self._taken.add((name, option))
        ref = Ref(text, {**merged, **(extra or {})})
        self._registry.options(card.kind, ref)
        return ref

    def _others_take(self, card: Card, name: str, option: str) -> bool:
        """Whether a component of another kind has this name and this option."""
        same_name = (c for c in self._registry.cards() if name in (c.name, c.full_name) and c.kind != card.kind)
        return any(_takes(c, option) for c in same_name)

    def refuse_unused(self, own: Iterable[str] = ()) -> None:
        """Raise `UsageError` for options that nothing takes, and for those of a name of `own` that nothing has."""
        if strangers := [name for name in own if name not in self._used]:
            raise unknown("component in --set", strangers[0], self._used)
        known = {*(c.name for c in self._registry.cards()), *self._registry.known_roles()}
        for name, options in self._settings.items():
            if name not in self._used and name not in known:
                raise unknown("component in --set", name, self._used)
            for option in options:
                if name in self._used and (name, option) not in self._taken:
                    raise UsageError(
                        f"--set {name}.{option}: no component of this run that is called {name!r} takes this option",
                        f"see `xcore show {name}`",
                    )


def _takes(card: Card, option: str) -> bool:
    return card.options is not None and option in resolve(card.options).model_fields


def _facts(registry: Registry, data: Ref, known: Mapping[str, Any]) -> dict[str, Any]:
    """Classes and defaults of a data set: known ones, since opening it may import much for a run that is finished."""
    identity = Identity(registry).component("dataset", data)
    if identity in known:
        return dict(known[identity])
    made = registry.create("dataset", data)
    about = {"modality": made.modality, "classes": list(made.classes), "defaults": dict(made.defaults)}
    aliases = {c: list(names) for c, names in getattr(made, "aliases", {}).items()}
    return {"id": identity, **about, "aliases": aliases}


def _no_classifier(data: Ref) -> str:
    raise UsageError(
        f"no classifier is named, and data set {data} has no default one", "name one with --classifier REF"
    )
