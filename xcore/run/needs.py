"""What a suite needs, which of it is here, and where to get the rest. Nothing is loaded, and nothing is fetched."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from xcore.base.errors import MissingError, XcoreError
from xcore.contract.types import Ref
from xcore.pretrained.hub import looking_only
from xcore.registry import Registry
from xcore.run.plan import Arm, Settings, Suite, plain_arm
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
    """What a suite needs: data, models, methods and metrics, and which of it is not here. Fetches and loads nothing.

    Raises
    ------
    UsageError
        Everything is here, but the suite sets an option that nothing takes.
    """
    with looking_only():
        return _needs(suite, registry)


def _needs(suite: Suite, registry: Registry) -> list[Need]:
    settings = Settings(suite.set, registry, suite.prefer)

    def check(what: str, kind: str, text: str, arm: Arm | None = None) -> tuple[Need, Ref | None]:
        """Whether a component can be had (its plugin, its options, the files that identify it), and its reference."""
        shown = arm.label if arm else text
        try:
            ref = settings.ref(kind, text, arm.set, arm.label) if arm else settings.ref(kind, text)
            _look(registry, kind, ref)
        except XcoreError as error:
            return Need(what, shown, error.message, error.hint), None
        return Need(what, shown), ref

    arms = [*map(plain_arm, dict.fromkeys((*suite.methods, *suite.controls))), *suite.arms]
    judged = [("explainer", *check("method", "explainer", arm.method, arm)) for arm in arms]
    judged += [("metric", *check("metric", "metric", metric)) for metric in suite.metrics]
    found = []
    data, ref = check("data", "dataset", suite.data)
    modality, defaults = "image", dict[str, str]()
    if ref is not None:
        try:
            made = registry.create("dataset", ref)
            modality, defaults = made.modality, dict(made.defaults)
        except XcoreError as error:
            data, ref = Need("data", suite.data, error.message, error.hint), None
    found.append(data)
    for what in ("contrast", "heldout"):
        if text := getattr(suite, what) or defaults.get(what, ""):
            found.append(check(what, "dataset", text)[0])
    classifiers = []
    for text in suite.classifiers or [defaults.get("classifier", "")]:
        if text:
            found.append(check("classifier", "classifier", text)[0])
            with suppress(XcoreError):  # which was told
                classifiers.append(settings.ref("classifier", text).text)
        elif ref is not None:
            found.append(Need("classifier", "", "no classifier is named", "name one with --classifier REF"))
    used = _used(registry, ((kind, ref) for kind, _, ref in judged if ref is not None))
    if (generator := suite.generator or defaults.get("generator", "")) and (suite.generator or "generator" in used):
        found.append(check("generator", "generator", generator)[0])
    named = {role: ref for role, ref in defaults.items() if role in used and role != "generator"} | suite.models
    try:
        named |= {r: str(ref) for r, ref in registry.fallbacks([r for r in used if r not in named], modality).items()}
    except XcoreError as error:  # two models would play a role
        found.append(Need("model", "", error.message, error.hint))
    for role, text in named.items():
        try:
            _look(registry, "model", settings.helper(role, text, classifiers))
            found.append(Need(role, text))
        except XcoreError as error:
            found.append(Need(role, text, error.message, error.hint))
    found += [need for _, need, _ in judged if need.problem]
    if not any(need.problem for need in found):  # else it cannot be told what is not used from what is not here
        settings.refuse_unused()
    return found


def _used(registry: Registry, refs: Iterable[tuple[str, Ref]]) -> dict[str, None]:
    """The roles, and ``generator``, that methods and metrics ask for."""
    used: dict[str, None] = {}
    for kind, ref in refs:
        used |= dict.fromkeys(registry.uses(ref, kind))
        if kind == "explainer" and registry.draws(ref):
            used["generator"] = None
    return used


def _look(registry: Registry, kind: str, ref: Ref) -> None:
    """Raise the error that says why a component cannot be had; it is not made."""
    Identity(registry).component(kind, ref)
    _importable(registry.find(kind, ref)[0].factory)


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
