"""What a suite needs, which of it is here, and where to get the rest. Nothing is loaded, and nothing is fetched."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xcore.base.errors import MissingError, XcoreError
from xcore.contract.types import Ref
from xcore.pretrained.hub import looking_only
from xcore.registry import Registry, resolve
from xcore.run.plan import Suite
from xcore.store.identity import Identity


@dataclass(frozen=True)
class Need:
    """Something that a suite needs."""

    what: str
    """"data", "classifier", "generator", "contrast", "heldout", the role of a helper model, "method" or "metric"."""
    reference: str
    problem: str = ""
    """Why it cannot be had; empty if it is here."""
    fetch: str = ""
    """What to do about it, with the line to type where there is one."""


def needs(suite: Suite, registry: Registry) -> list[Need]:
    """What a suite needs: data, models, methods and metrics, and which of it is not here. Fetches and loads nothing."""
    with looking_only():
        return list(_needs(suite, registry))


def _needs(suite: Suite, registry: Registry) -> Iterator[Need]:
    methods = [*((m, {}, m) for m in suite.methods), *((a.method, a.set, a.label) for a in suite.arms)]
    methods += [(c, {}, c) for c in suite.controls]
    checked = [_check(suite, registry, "method", "explainer", m, extra, label) for m, extra, label in methods]
    checked += [_check(suite, registry, "metric", "metric", m) for m in suite.metrics]
    data = _check(suite, registry, "data", "dataset", suite.data)
    yield data
    facts = None if data.problem else _defaults(suite, registry)
    defaults: Mapping[str, str] = facts[1] if facts else {}
    modality = facts[0] if facts else "image"
    for what in ("contrast", "heldout"):
        if ref := getattr(suite, what) or defaults.get(what, ""):
            yield _check(suite, registry, what, "dataset", ref)
    for ref in suite.classifiers or [defaults.get("classifier", "")]:
        if ref:
            yield _check(suite, registry, "classifier", "classifier", ref)
        elif facts:
            yield Need("classifier", "", "no classifier is named", "name one with --classifier REF")
    good = [n for n in checked if not n.problem]
    used = _helpers(suite, registry, good)
    if (generator := suite.generator or defaults.get("generator", "")) and (suite.generator or "generator" in used):
        yield _check(suite, registry, "generator", "generator", generator)
    named = {role: ref for role, ref in defaults.items() if role in used and role != "generator"} | suite.models
    try:
        named |= {r: str(ref) for r, ref in registry.fallbacks([r for r in used if r not in named], modality).items()}
    except XcoreError as error:  # two models would play a role
        yield Need("model", "", error.message, error.hint)
    for role, ref in named.items():
        yield _check(suite, registry, role, "model", ref)
    yield from (need for need in checked if need.problem)


def _defaults(suite: Suite, registry: Registry) -> tuple[str, Mapping[str, str]] | None:
    """Modality and default components of the data; None if the data cannot be opened."""
    try:
        made = registry.create("dataset", Ref(suite.data, suite.set.get(suite.data.partition(":")[0], {})))
    except XcoreError:
        return None
    return made.modality, dict(made.defaults)


def _helpers(suite: Suite, registry: Registry, good: Iterable[Need]) -> dict[str, None]:
    """The roles, and ``generator``, that methods and metrics ask for."""
    used: dict[str, None] = {}
    arms = {arm.label: Ref(arm.method, {**suite.set.get(arm.method, {}), **arm.set}) for arm in suite.arms}
    for need in good:
        kind = "metric" if need.what == "metric" else "explainer"
        ref = arms.get(need.reference) or Ref(need.reference, suite.set.get(need.reference, {}))
        used |= dict.fromkeys(registry.uses(ref, kind))
        if kind == "explainer" and registry.draws(ref):
            used["generator"] = None
    return used


def _check(
    suite: Suite,
    registry: Registry,
    what: str,
    kind: str,
    text: str,
    extra: Mapping[str, Any] | None = None,
    label: str = "",
) -> Need:
    """Whether a component can be had: its plugin, its options, and the files that identify it."""
    shown = label or text
    try:
        card, _ = registry.find(kind, text)
        options: dict[str, Any] = {}
        for name in dict.fromkeys((card.name, card.full_name, label, what)):
            known = _known_options(card)
            options |= {k: v for k, v in suite.set.get(name, {}).items() if k in known}
        ref = Ref(text, {**options, **(extra or {})})
        registry.options(kind, ref)
        Identity(registry).component(kind, ref)
        _importable(card.factory)
    except XcoreError as error:
        return Need(what, shown, error.message, error.hint)
    return Need(what, shown)


def _known_options(card: Any) -> Iterable[str]:
    return resolve(card.options).model_fields if card.options else ()


def _importable(factory: Any) -> None:
    """Raise `MissingError` if the package of a factory is not installed. The module itself is not imported."""
    package = factory.partition(":")[0].partition(".")[0] if isinstance(factory, str) else ""
    if package and importlib.util.find_spec(package) is None:
        raise MissingError(f"the package {package} is not installed", f"pip install {package.replace('_', '-')}")


def commands(found: Iterable[Need]) -> list[str]:
    """The lines to type that fetch what is missing, as far as there are any."""
    quoted = (re.findall(r"`([^`]+)`", need.fetch) for need in found if need.problem)
    typed = [line for each in quoted for line in each]
    typed += [need.fetch for need in found if need.problem and need.fetch.startswith("pip install ")]
    return list(dict.fromkeys(typed))
