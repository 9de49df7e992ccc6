"""What two runs differ in besides their figures: what forbids a verdict on a metric, and what a reader must know.

A verdict on explanations needs both runs measured alike. If the data, the held-out samples, the random sets, the code
or the options of a metric, or the models that it uses differ, a difference of its figures says nothing of the
explanations: there is no verdict, and the reason is given, unless the caller accepts the difference by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from xcore.contract.types import Cell, Ref
from xcore.report.comparison.runs import RunRecords
from xcore.report.rows import metric_name
from xcore.store.environment import differences

CORE = "xcore-xai"

ACCEPTED: Mapping[str, str] = {
    "data": "the same data set with other files or options",
    "heldout": "other held-out samples",
    "contrast": "other random sets",
    "metric": "other options of the metric",
    "metric-code": "other code of the metric",
    "models": "other helper models of the metric",
}
"""What a comparison can be asked to accept, and what it is."""


def obstacles(a: RunRecords, b: RunRecords, metric: str) -> dict[str, str]:
    """What forbids a verdict on a metric: name as in `ACCEPTED` -> the reason, with what both runs have."""
    found: dict[str, str] = {}
    for name, read in _MEASURED.items():
        one, other = read(a, metric), read(b, metric)
        if one != other:
            found[name] = f"{ACCEPTED[name]} ({_plain(one)} and {_plain(other)})"
    if data := _other_files(a, b, "data set"):
        found["data"] = f"other files of the {' and '.join(data)}"
    if models := [name for name in _other_files(a, b, "model") if _plays(a, metric, name)]:
        found["models"] = f"other files of the {' and '.join(models)}"
    if a.distributions.get(metric):
        one, other = (run.about.get("code", {}).get(run.distributions[metric]) for run in (a, b))
        if one != other:
            found["metric-code"] = f"other code of {a.distributions[metric]}, which measures it"
    return found


def marks(a: RunRecords, b: RunRecords, pairs: Mapping[str, str], networks: Mapping[str, str]) -> Iterator[str]:
    """What a reader must know of two runs that are compared all the same, one line each.

    Parameters
    ----------
    pairs, networks
        The labels and the classifiers that are compared: that of the first run -> that of the second.
    """
    for label, other in pairs.items():
        one, two = _of_label(a, label), _of_label(b, other)
        if one and two:
            called = label if label == other else f"{label} and {other}"
            if one["method"].text != two["method"].text:
                yield f"{called}: the methods {one['method']} and {two['method']}"
            if changed := _changed(dict(one["method"].options), dict(two["method"].options)):
                yield f"{called}: {changed}"
    for what, read in _ASKED.items():
        before, after = read(a), read(b)
        if before != after:
            yield f"{what}: {_plain(before)} and {_plain(after)}"
    yield from (f"the networks {one} and {other} are compared" for one, other in networks.items() if one != other)
    if weights := _other_files(a, b, "classifier"):
        yield f"other files of the {' and '.join(weights)}"
    numbers = (run.about.get("numerics", {}) for run in (a, b))
    if environment := differences(*numbers):
        yield f"made with other numerics: {'; '.join(environment)}"
    before, after = (run.about["schema"] for run in (a, b))
    if before != after:
        yield f"written with the run schemas {before} and {after}"
    before, after = (run.about.get("code", {}) for run in (a, b))
    if code := sorted(name for name in {*before, *after} if before.get(name) != after.get(name)):
        yield f"made with other code of {', '.join(code)}"
    fixed = [run.plan.suite.get("data_seed") for run in (a, b)]
    if fixed[0] != fixed[1]:
        yield f"samples are drawn with {' and with '.join(map(_drawn, fixed))}"
    for run in (a, b):
        failed = {(row["label"], row["class"], row["seed"]) for row in run.rows if row["status"] == "failed"}
        if run.missing:
            yield f"{run.name} is not finished: {run.missing} of {len(run.plan.cells)} cells are not done yet"
        if failed:
            yield f"{run.name}: {len(failed)} cell(s) failed"
        yield from (f"{run.name}: {remark}" for remark in run.remarks)
        if "files" not in run.about:
            yield f"{run.name} does not say what files its data and weights had, so they are taken to be the same"


# -- what both runs are asked ------------------------------------------------------------------------------------------
def _every(run: RunRecords, read: Callable[[Cell], Any]) -> list[Any]:
    """What the cells of a run say, each answer once."""
    found: list[Any] = []
    for answer in map(read, run.plan.cells):
        if answer not in found:
            found.append(answer)
    return found


def _metric_options(run: RunRecords, metric: str) -> Any:
    return [dict(ref.options) for ref in run.plan.metrics if metric_name(ref.text) == metric]


def _models(run: RunRecords, metric: str) -> Any:
    return _every(run, lambda cell: {r: _ref(cell.models[r]) for r in run.roles.get(metric, ()) if r in cell.models})


def _plays(run: RunRecords, metric: str, name: str) -> bool:
    """Whether a component of this name, ``model REF`` with its options, is a helper model of a metric."""
    named = [
        f"model {cell.models[r]}" for cell in run.plan.cells for r in run.roles.get(metric, ()) if r in cell.models
    ]
    return any(f"{name} ".startswith(f"{model} ") for model in named)


_MEASURED: Mapping[str, Callable[[RunRecords, str], Any]] = {
    "data": lambda run, metric: _every(run, lambda cell: _ref(cell.data)),
    "heldout": lambda run, metric: _every(run, lambda cell: {"data": _ref(cell.heldout), "n": cell.budget.heldout}),
    "contrast": lambda run, metric: _every(run, lambda cell: _ref(cell.contrast)),
    "metric": _metric_options,
    "models": _models,
}
_ASKED: Mapping[str, Callable[[RunRecords], Any]] = {
    "explained samples": lambda run: _every(run, lambda cell: cell.budget.samples),
    "steps": lambda run: _every(run, lambda cell: cell.budget.steps),
    "layer": lambda run: _every(run, lambda cell: cell.layer or "the network's own"),
    "generator": lambda run: _every(run, lambda cell: _ref(cell.generator)),
    "helper models": lambda run: _every(run, lambda cell: {role: _ref(ref) for role, ref in cell.models.items()}),
}


def _ref(ref: Ref | None) -> Any:
    """A reference without options is its text."""
    return None if ref is None else ref.text if not ref.options else asdict(ref)


def _of_label(run: RunRecords, label: str) -> dict[str, Ref]:
    return next(({"method": cell.method} for cell in run.plan.cells if cell.label == label), {})


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Such as ``k 10 instead of the default`` for each option that differs."""
    names = sorted({*before, *after})
    said = (
        f"{name} {_option(before, name)} and {_option(after, name)}"
        for name in names
        if _option(before, name) != _option(after, name)
    )
    return "; ".join(said)


def _option(options: Mapping[str, Any], name: str) -> str:
    return _plain(options[name]) if name in options else "the default"


def _other_files(a: RunRecords, b: RunRecords, kind: str) -> list[str]:
    """The components of a kind that both runs name alike, and whose files, such as pictures or weights, differ."""
    before, after = (run.about.get("files", {}) for run in (a, b))
    named = sorted(name for name in before.keys() & after.keys() if name.startswith(f"{kind} "))
    return [name for name in named if before[name] != after[name]]


def _drawn(seed: int | None) -> str:
    return "the seed of each explanation" if seed is None else f"the data seed {seed}"


def _plain(value: Any) -> str:
    """The answers of the cells of a run as text."""
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_plain(part)}" for key, part in value.items() if part is not None) or "none"
    return "none" if value is None else str(value)
