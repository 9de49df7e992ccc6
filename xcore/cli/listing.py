"""Lists: all components, one component with its options, and the plugins with the reasons of those that failed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from xcore.base.errors import UsageError, unknown
from xcore.base.streams import harmless_json, holds_all
from xcore.cards import Card
from xcore.registry import KINDS, OPTIONAL, Registry, load_registry, resolve


def list_cards(kind: str, as_json: bool) -> None:
    """Print every component, or those of one kind (singular or plural); raises `UsageError` for an unknown kind."""
    wanted = kind.removesuffix("s") or None
    if wanted is not None and wanted not in KINDS:
        raise unknown("kind", kind, [f"{k}s" for k in KINDS])
    registry = load_registry()
    cards = list(registry.cards(wanted))
    last = ""
    width = max((len(c.shown) for c in cards), default=0)
    for c in cards:
        if as_json:
            about = {"kind": c.kind, "name": c.shown, "summary": c.summary}
            print_line({**about, "distribution": c.distribution, "version": c.version})
            continue
        heading = "" if c.kind == last else f"{c.kind}s"
        last = c.kind
        summary = f"{c.summary} [{', '.join(c.roles)}]" if c.roles else c.summary
        typer.echo(f"{heading:<13} {c.shown:<{width}}  {summary}  ({c.distribution} {c.version})")
    if broken := [p for p in registry.plugins if not p.ok]:
        typer.echo(f"{len(broken)} plugin(s) failed to load: see `xcore plugins`", err=True)
    if bad := sum(len(p.bad) for p in registry.plugins if p.ok):
        typer.echo(f"{bad} component(s) are left out, since their cards are wrong: see `xcore plugins`", err=True)


def show_component(name: str, files: Sequence[str], as_json: bool) -> None:
    """Print what the components of a name do, need and take as options; raises `UsageError` if there is none."""
    registry = load_registry(files)
    bare = name.partition(":")[0]
    cards = [c for c in registry.cards() if bare in (c.name, c.full_name)]
    if not cards:
        raise unknown("component", name, {c.name for c in registry.cards()})
    for c in cards:
        options, uses = _options(c), _uses(registry, c)
        if as_json:
            about = {"kind": c.kind, "name": c.shown, "summary": c.summary, "distribution": c.distribution}
            more: dict[str, Any] = {"version": c.version, "needs": c.needs, "modalities": c.modalities, "role": c.role}
            if c.kind == "metric":
                more["audit"] = _plain_audits(c)
            print_line({**about, **more, "uses": uses, "options": options})
            continue
        helpers = ", ".join(_helper(registry, c, role) for role in uses or ())
        if isinstance(c.uses, str):
            helpers = (
                "what its options ask for" if uses is None else f"{helpers or 'no helper'}, with the default options"
            )
        _print_card(c, helpers)
        if c.kind == "metric":
            _print_audit(c)
        # A helper whose name a classifier has, too, gets its options by the name of its role.
        by_role = c.kind == "model" and any(other.kind == "classifier" for other in cards)
        _print_options(c.roles[0] if by_role else c.name, options)


def _uses(registry: Registry, c: Card) -> tuple[str, ...] | None:
    """The helpers that a component asks for with its default options; None if there are no such options."""
    if not isinstance(c.uses, str):
        return tuple(helper.removesuffix(OPTIONAL) for helper in c.uses)
    from xcore.contract.types import Ref

    try:
        return registry.uses(Ref(c.full_name), c.kind)
    except UsageError:  # an option is required
        return None


def _helper(registry: Registry, c: Card, role: str) -> str:
    """A role, and who plays it: such as ``vqa (--model vqa=REF)``."""
    if role == "generator":
        return "generator (--generator REF)"
    unasked = next((found[role] for m in c.modalities if role in (found := registry.fallbacks([role], m))), None)
    return f"{role} (--model {role}=REF{f', else {unasked}' if unasked else ''})"


def _options(c: Card) -> Mapping[str, dict[str, Any]]:
    """Option -> what the JSON schema says of it, with the defaults that a factory makes; ``required`` where it is."""
    if c.options is None:
        return {}
    from pydantic_core import to_jsonable_python

    model = resolve(c.options)
    schema = model.model_json_schema()
    options: dict[str, dict[str, Any]] = schema.get("properties", {})
    for name in schema.get("required", ()):
        options[name]["required"] = True
    for name, field in model.model_fields.items():
        if name in options and field.default_factory and not field.default_factory_takes_validated_data:
            options[name]["default"] = to_jsonable_python(field.get_default(call_default_factory=True))
    return options


def _print_card(c: Card, helpers: str) -> None:
    typer.echo(f"{c.kind} {c.shown}: {c.summary}\n  from {c.distribution} {c.version}")
    facts = {
        "reads": ", ".join(c.modalities) if c.kind not in ("command", "engine", "rendering", "tracker") else "",
        "needs": ", ".join(c.needs),
        "uses": helpers,
        "role": ", ".join(c.roles),
        "paper": c.paper,
    }
    for key, value in facts.items():
        if value:
            typer.echo(f"  {key} {value}")


def _print_audit(c: Card) -> None:
    """Print what an audit of a metric found, in whole sentences; it was computed before and is only read here."""
    from xcore.report.audits import KINDS, audits_of, made_by

    audits = audits_of(c)
    if not audits:
        typer.echo("  audit: not audited, so nobody knows whether it tells right explanations from wrong ones")
        return
    for kind, audit in audits.items():
        typer.echo(f"  audit, {KINDS[kind]}: {audit.verdict}")
        for sentence in audit.sentences() if audit.applies else ():
            typer.echo(f"    {sentence}")
    typer.echo(f"  audited by {made_by(c)}; see docs/metrics-audit.md")


def _plain_audits(c: Card) -> dict[str, dict[str, Any]]:
    """Kind of explanation -> what an audit of a metric found, with the verdict."""
    from xcore.report.audits import audits_of, to_plain

    return {k: {"verdict": a.verdict, "passed": a.passed(), **to_plain(a)} for k, a in audits_of(c).items()}


def _print_options(component: str, options: Mapping[str, dict[str, Any]]) -> None:
    """Print the options that belong to no group, then the others, with a heading wherever their group changes.

    The group of an option is "group" in the `json_schema_extra` of its pydantic field.
    """
    last = ""
    for name, about in sorted(options.items(), key=lambda option: bool(option[1].get("group"))):
        group = about.get("group") or ""
        if group != last:
            typer.echo(f"\n  {group}:")
            last = group
        typer.echo(f"  --set {component}.{_option(name, about)}".rstrip())


def _option(name: str, about: dict[str, Any]) -> str:
    """Such as ``k=10 (integer)  number of concepts``."""
    kind = about.get("type") or " | ".join(str(a.get("type", a.get("const"))) for a in about.get("anyOf", ()))
    values = f" one of {', '.join(map(str, about['enum']))}" if "enum" in about else f" ({kind})" if kind else ""
    default = "required" if about.get("required") else json.dumps(about["default"]) if "default" in about else "..."
    return f"{name}={default}{values}  {about.get('description', '')}"


def list_plugins(as_json: bool, strict: bool) -> None:
    """Print every plugin with its components, and what is wrong with it.

    Raises
    ------
    typer.Exit
        `strict`, and something is wrong with a plugin, or two of them offer one name.
    """
    registry = load_registry(again=True)
    faults = 0
    for p in registry.plugins:
        bad = [f"left out: {card.text}" for card in p.bad]
        clashes = [_clash(c, others) for c in p.cards if (others := registry.clashes(c))]
        doubts = [doubt for c in p.cards for doubt in registry.doubts(c)]
        faults += len([*bad, *clashes, *doubts]) or not p.ok
        if as_json:
            about = {"plugin": p.name, "distribution": p.distribution, "version": p.version}
            told = {"left_out": [card.text for card in p.bad], "clashes": clashes, "doubts": doubts}
            print_line({**about, "ok": p.ok, "reason": p.reason, "components": [c.shown for c in p.cards], **told})
            continue
        state = ", ".join(c.shown for c in p.cards) or "nothing" if p.ok else f"FAILED {p.reason}"
        typer.echo(f"{p.name:<14} {p.distribution} {p.version}: {state}")
        for line in (*(bad if p.ok else bad[1:]), *clashes, *doubts):
            typer.echo(f"{'':<14} {line}")
    if strict and faults:
        typer.echo(f"xcore plugins --strict: {faults} thing(s) are wrong, see above", err=True)
        raise typer.Exit(1)


def _clash(c: Card, others: Sequence[Card]) -> str:
    names = " and ".join(other.distribution for other in others)
    return f"CLASH {c.kind} {c.name!r} is also offered by {names}: write {c.full_name} for this one"


def print_line(value: Any) -> None:
    """Print one JSON object on one line of stdout."""
    escaped = not holds_all(sys.stdout.encoding)  # as JSON has it, so that what reads it gets every character
    typer.echo(harmless_json(json.dumps(value, allow_nan=False, default=dict, ensure_ascii=escaped)))
