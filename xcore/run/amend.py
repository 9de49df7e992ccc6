"""Amending a run: more methods, classes, seeds or metrics in the plan that it has, so that one table shows all of them.

A run to which something was added is the run that would have been made had everything been asked for at once: every
method explains every class with every seed. What cannot be so, such as another data set, is refused by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from xcore.base.errors import UsageError, XcoreError, unknown
from xcore.contract.options import validate
from xcore.contract.types import Cell, Ref
from xcore.inputs.class_names import ClassNames
from xcore.registry import Registry
from xcore.run.plan import Plan, Settings, Suite, helper_notes, metric_card
from xcore.store.identity import cell_key

JOINED = {"methods": "explainer", "controls": "explainer", "metrics": "metric", "classifiers": "classifier"}
"""Keys of a suite whose lists of references are put together -> the kind of these components."""
FREE = ("engine", "trackers", "gates", "cell_timeout", "cell_memory", "retries", "fail_fast")
"""Keys that say nothing of what is computed: the new value counts."""
FIXED = {
    "data": "data set",
    "contrast": "data set of the random sets",
    "heldout": "data set of the held-out samples",
    "generator": "generator",
    "layer": "layer",
    "data_seed": "seed by which samples are drawn",
    "budget": "budget",
    "threads": "number of threads",
    "split": "part of the data whose samples are explained",
    "group": "group of samples",
}
"""Keys that have one value for a whole run, in words."""


# -- more of everything ------------------------------------------------------------------------------------------------
def joined(before: Plan, given: Mapping[str, Any], registry: Registry, path: Path) -> Suite:
    """The suite of a run together with further keys.

    Parameters
    ----------
    given
        Keys of a suite, as flags and a suite file give them; what is not given stays as it is.
    path
        The run, for messages.

    Raises
    ------
    UsageError
        A key is given that has another value in the run and can have only one.
    """
    old = validate(Suite, before.suite, str(path / "run.json")).model_dump(mode="json")
    new = validate(Suite, given, "this request").model_dump(mode="json", exclude_unset=True)
    whole = dict(old)
    for key, wanted in new.items():
        if key in JOINED:
            whole[key] = _references(key, old, wanted, before, registry)
        elif key in ("seeds", "prefer"):
            whole[key] = list(dict.fromkeys([*old[key], *wanted]))
        elif key == "classes":
            whole[key] = _classes(old, wanted, before, path)
        elif key == "arms":
            whole[key] = _arms(old[key], wanted, path)
        elif key in ("models", "leave_out"):
            what = "model for the role" if key == "models" else "list of classes that are left out for"
            for name, value in wanted.items():
                if old[key].get(name, value) != value:
                    raise _another(path, f"{what} {name!r}", old[key][name], value)
            whole[key] = {**old[key], **wanted}
        elif key == "set":
            whole[key] = _merged(old[key], wanted)
        elif key in FREE:
            whole[key] = wanted
        elif key != "name":
            whole[key] = _fixed(key, old[key], wanted, registry, path)
    return validate(Suite, whole, "this request")


def check_kept(before: Plan, plan: Plan, registry: Registry, path: Path) -> None:
    """Raise `UsageError` if a cell or metric of a run would be another one in the new plan, or would not be there.

    A role that the run had no model for may have one now, unless the method of the cell uses it.
    """
    cells = {_place(cell): cell for cell in plan.cells}
    for old in before.cells:
        new = cells.get(_place(old))
        if new is None:
            raise UsageError(
                f"the explanation of {old.cls!r} by {old.label} with seed {old.seed} would no longer be in {path}",
                _elsewhere(path),
            )
        if old.method != new.method:
            raise UsageError(
                f"{old.label} has {_shown(old.method, new.method)} in {path}, and this request asks for "
                f"{_shown(new.method, old.method)}",
                f"give it a label of its own in a suite file, under [[arms]], or {_elsewhere(path)}",
            )
        for field in fields(Cell):
            was, is_now = getattr(old, field.name), getattr(new, field.name)
            if field.name != "models" and was != is_now:
                what = FIXED.get(field.name, field.name)
                raise _another(path, what, _shown(was, is_now), _shown(is_now, was))
        _check_models(old, new, registry, path)
    for metric in before.metrics:
        same = next((m for m in plan.metrics if m.text == metric.text), metric)
        if same != metric:
            raise _another(path, f"metric {metric} with", _shown(metric, same), _shown(same, metric))


def _references(key: str, old: Mapping[str, Any], wanted: Iterable[str], before: Plan, registry: Registry) -> list[str]:
    """The references of a list with those that the run does not have yet, however they are written."""
    known = list(old[key])
    if key == "classifiers" and not known:  # the data set's own must be named when there are others beside it
        known = list(dict.fromkeys(cell.classifier.text for cell in before.cells))
    there = list(known)
    if key in ("methods", "controls"):  # a method may be there as a control, or under the label of an arm
        there += [*old["methods"], *old["controls"], *(arm["label"] for arm in old["arms"])]
    seen = {_component(registry, JOINED[key], text) for text in there}
    for text in wanted:
        if (name := _component(registry, JOINED[key], text)) not in seen:
            known.append(text)
            seen.add(name)
    return known


def _classes(old: Mapping[str, Any], wanted: list[str], before: Plan, path: Path) -> list[str]:
    """The classes of the run and those that it does not explain yet, by whatever name."""
    facts: Mapping[str, Any] = next(iter(before.facts.values()), {"classes": ()})
    known = ClassNames(facts["classes"], facts.get("aliases", {}), indexed=False)

    def parts(names: Sequence[str]) -> list[str]:  # names of classes may hold commas
        alone = len(names) == 1 and not known.candidates(names[0])
        whole = [part.strip() for part in names[0].split(",") if part.strip()] if alone else names
        return [known.find(name) if known.candidates(name) else name for name in whole]

    if ["all"] in (wanted, old["classes"]):
        return ["all"]
    classifiers = {cell.classifier.text for cell in before.cells}
    explained = {cell.cls for cell in before.cells}
    for name in parts(wanted):
        if name not in explained and all(name in old["leave_out"].get(c, ()) for c in classifiers):
            raise UsageError(
                f"the suite of {path} leaves out the class {name!r}", "explain it in a run of its own with --out DIR"
            )
    return list(dict.fromkeys([*parts(old["classes"]), *parts(wanted)]))


def _arms(old: list[dict[str, Any]], wanted: Sequence[Mapping[str, Any]], path: Path) -> list[dict[str, Any]]:
    known = {arm["label"]: arm for arm in old}
    for arm in ({"set": {}, **given} for given in wanted):
        label = arm["label"]
        if known.get(label, arm) != arm:
            raise UsageError(
                f"the label {label!r} stands for another method, or has other options, in {path}",
                f"choose another label, or {_elsewhere(path)}",
            )
        known[label] = arm
    return list(known.values())


def _fixed(key: str, old: Any, wanted: Any, registry: Registry, path: Path) -> Any:
    """The value of a key that a run can have only one of.

    Where the run leaves it to the data set, the new value counts, and `check_kept` compares what comes of it.
    """
    if key == "budget":
        for name, value in wanted.items():
            if old[name] != value:
                raise _another(path, f"budget of {name}", old[name], value)
        return old
    kinds = {"data": "dataset", "contrast": "dataset", "heldout": "dataset", "generator": "generator"}
    if key in kinds and _component(registry, kinds[key], old) == _component(registry, kinds[key], wanted):
        return old
    if old != wanted and (old or key not in ("contrast", "generator")):
        raise _another(path, FIXED.get(key, key), "all cores" if key == "threads" and not old else old, wanted)
    return wanted


def _component(registry: Registry, kind: str, text: str) -> str:
    """What a reference names, however it is written; itself if it names nothing, which is told later."""
    try:
        card, argument = registry.find(kind, text)
    except XcoreError:
        return text
    return f"{card.full_name}:{argument or ''}"


def _place(cell: Cell) -> tuple[str, str, str, int]:
    return cell.label, cell.classifier.text, cell.cls, cell.seed


def _another(path: Path, what: str, old: Any, new: Any) -> UsageError:
    has = f"no {what}" if old in ("", None, "none") else f"the {what} {old}"
    return UsageError(f"{path} has {has}, and this request asks for {new}", _elsewhere(path))


def _elsewhere(path: Path) -> str:
    return f"leave it out, or make a run of its own with --out DIR instead of adding to {path}"


def _shown(value: Any, other: Any) -> str:
    """A value of a cell; of a reference, the options in which it differs from the other one."""
    if not isinstance(value, Ref):
        return "none" if value in (None, "") else str(value)
    if not isinstance(other, Ref) or value.text != other.text:
        return value.text
    theirs = dict(other.options)
    differ = [f"{k}={v}" for k, v in value.options.items() if k not in theirs or theirs[k] != v]
    return ", ".join(differ) or "the default options"


def _check_models(old: Cell, new: Cell, registry: Registry, path: Path) -> None:
    """Raise `UsageError` unless the new cell has the models of the old one, and no more that its method would use."""
    used = registry.roles(old.method)
    for role, model in new.models.items():
        if old.models.get(role, model) != model:
            raise _another(path, f"model for the role {role!r}", old.models[role], model)
        if role not in old.models and role in used:
            raise UsageError(
                f"{old.label} would use the model for the role {role!r}, which it was made without", _elsewhere(path)
            )
    for role in old.models:
        if role not in new.models:
            raise _another(path, f"model for the role {role!r}", old.models[role], "none")


# -- more metrics ------------------------------------------------------------------------------------------------------
def with_metrics(
    before: Plan,
    names: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
    models: Mapping[str, str],
    registry: Registry,
    path: Path,
) -> tuple[Plan, list[Ref]]:
    """The plan of a run with further metrics, and the metrics of these names; its explanations stay what they are.

    Parameters
    ----------
    settings, models
        Options of the metrics and of their helper models, and helper models by role, beside those of the run.

    Raises
    ------
    UsageError, MissingError
        A metric does not exist, is there with other options, or needs a model that a method of the run would use, too.
    """
    held = Settings(_merged(before.suite.get("set", {}), settings), registry)
    known = {_component(registry, "metric", metric.text): metric for metric in before.metrics}
    asked: list[Ref] = []
    for name in names:
        ref = held.ref("metric", name)
        same = known.get(_component(registry, "metric", name))
        if same is not None and same.options != ref.options:
            raise _another(path, f"metric {same} with", _shown(same, ref), _shown(ref, same))
        if (same or ref) not in asked:
            asked.append(same or ref)
    new = [ref for ref in asked if ref not in before.metrics]
    first = before.cells[0]
    facts = next(iter(before.facts.values()), {"modality": "image"})
    added = dict(models)
    for role in models:
        if role not in registry.known_roles():
            raise unknown("role", role, registry.known_roles())
    needed = {role for ref in new for role in registry.roles(ref, "metric")}
    unnamed = sorted(role for role in needed if role not in first.models and role not in added)
    added |= {role: str(ref) for role, ref in registry.fallbacks(unnamed, facts["modality"]).items()}
    classifiers = list(dict.fromkeys(cell.classifier.text for cell in before.cells))
    helpers = {role: held.helper(role, text, classifiers) for role, text in added.items()}
    cells = []
    for cell in before.cells:
        grown = replace(cell, models={**cell.models, **helpers})
        _check_models(cell, grown, registry, path)
        cells.append(grown)
    held.refuse_unused(settings)
    notes = helper_notes(registry, first.data, {**first.models, **helpers}, first.generator, [], new, facts["modality"])
    suite = dict(before.suite)
    suite["metrics"] = [*suite.get("metrics", ()), *(ref.text for ref in new)]
    suite["models"] = {**suite.get("models", {}), **models}
    suite["set"] = _merged(suite.get("set", {}), settings)
    plan = replace(
        before,
        cells=tuple(cells),
        metrics=(*before.metrics, *new),
        suite=suite,
        metric_cards={**before.metric_cards, **{ref.text: metric_card(registry, ref) for ref in new}},
        notes=tuple(dict.fromkeys((*before.notes, *notes))),
    )
    return plan, asked


def _merged(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {**old.get(name, {}), **new.get(name, {})} for name in dict.fromkeys([*old, *new])}


def moved_identities(before: Plan, plan: Plan, known: Mapping[str, str]) -> dict[str, str]:
    """What the cells of a run were identified by, for the cells of the plan in which only helper models were added.

    The models that a method uses are part of what identifies its explanation, and `with_metrics` adds none of these.
    """
    moved = dict(known)
    for old, new in zip(before.cells, plan.cells, strict=True):
        if (key := cell_key(old)) in known:
            moved[cell_key(new)] = known[key]
    return moved
