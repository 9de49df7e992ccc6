"""Plans as ``run.json`` has them: a plan is read as it was made, whatever is installed now."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from xcore.base.errors import UsageError
from xcore.base.shapes import ShapeError, check_shape
from xcore.contract.types import Budget, Cell, Ref
from xcore.run.plan import RENAMED, Plan

METRIC_CARD = {"across": list[str], "caveat": str, "column": bool, "details": list[str]}


def plan_from_record(plain: Mapping[str, Any]) -> Plan:
    """The plan that `Plan.as_plain` gave, as it was made, whatever is installed now.

    Plans of older versions have no `Plan.metric_cards`; then the cards of now are asked.

    Raises
    ------
    UsageError
        The record is damaged, or was written by a newer version.
    """
    with _said_of_record():
        return _plan(plain)


@contextlib.contextmanager
def _said_of_record() -> Iterator[None]:
    """What is wrong with the plan of a record, as a `UsageError`."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ShapeError) as error:
        what = error if isinstance(error, ShapeError) else f"{type(error).__name__}: {error}"
        message = f"run.json does not hold a plan that this xcore can read: {what}"
        raise UsageError(message, "install the xcore that made the run, or a newer one") from None


def facts_from_record(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    """`Plan.facts` of what `Plan.as_plain` gave, without looking at its cells; raises as `plan_from_record`."""
    with _said_of_record():
        facts: Mapping[str, Any] = plain.get("facts", {})
        check_shape({"facts": facts}, {"facts": dict[str, Any]}, "plan")
        _check_facts(facts)
        return facts


def _check_facts(facts: Mapping[str, Any]) -> None:
    for name, about in facts.items():
        check_shape(about, {"classes": list[str]}, f"plan.facts.{name}")


def _check_parts(plain: Mapping[str, Any]) -> None:
    check_shape(plain, Plan, "plan")
    check_shape({"suite": {"gates": []} | dict(plain.get("suite", {}))}, {"suite": {"gates": list[str]}}, "plan")
    for name, card in plain.get("metric_cards", {}).items():
        check_shape(card, METRIC_CARD, f"plan.metric_cards.{name}")
    _check_facts(plain.get("facts", {}))


def _plan(plain: Mapping[str, Any]) -> Plan:
    _check_parts(plain)
    parts: dict[str, Any] = {}
    cells = tuple(_cell(cell, parts) for cell in plain["cells"])
    suite = {"gates": [], **{RENAMED.get(key, key): value for key, value in plain.get("suite", {}).items()}}
    metrics = tuple(Ref(**metric) for metric in plain["metrics"])
    engine = Ref(**plain["engine"]) if plain.get("engine") else None
    return Plan(
        name=plain["name"],
        cells=cells,
        metrics=metrics,
        threads=plain.get("threads", 0),
        engine=engine,
        suite=suite,
        metric_cards=plain.get("metric_cards", {}),
        facts=plain.get("facts", {}),
        notes=tuple(plain.get("notes", ())),
        trackers=tuple(Ref(**tracker) for tracker in plain.get("trackers", ())),
    )


def _cell(plain: Mapping[str, Any], known: dict[str, Any]) -> Cell:
    """A cell; `known` has the parts of those before it, which it shares with them, as those of a new plan do."""

    def shared(value: Mapping[str, Any], make: Callable[..., Any]) -> Any:
        key = f"{make.__name__} {json.dumps(value)}"
        if key not in known:
            known[key] = make(**value)
        return known[key]

    def ref(value: Mapping[str, Any] | None) -> Ref | None:
        return shared(value, Ref) if value else None

    parts = {key: ref(plain.get(key)) for key in ("method", "classifier", "data", "generator", "contrast", "heldout")}
    models = shared(plain.get("models", {}), _models)
    return Cell(**{**plain, **parts, "models": models, "budget": shared(plain.get("budget", {}), Budget)})


def _models(**models: Mapping[str, Any]) -> dict[str, Ref]:
    return {role: Ref(**about) for role, about in models.items()}
