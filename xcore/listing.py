"""What plugins offer, printed: components, one component with its options, and what became of each plugin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer

from xcore.errors import unknown
from xcore.registry import KINDS, Card, load_registry, option_schema


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
        summary = f"{c.summary} [{c.role}]" if c.role else c.summary
        typer.echo(f"{heading:<13} {c.shown:<{width}}  {summary}  ({c.distribution} {c.version})")
    broken = [p for p in registry.plugins if not p.ok]
    if broken:
        typer.echo(f"{len(broken)} plugin(s) failed to load: see `xcore plugins`", err=True)


def show_component(name: str, files: Sequence[str], as_json: bool) -> None:
    """Print what the components of a name do, need and take as options; raises `UsageError` if there is none."""
    registry = load_registry(files)
    bare = name.partition(":")[0]
    cards = [c for c in registry.cards() if bare in (c.name, c.full_name)]
    if not cards:
        raise unknown("component", name, {c.name for c in registry.cards()})
    for c in cards:
        options = option_schema(c).get("properties", {})
        if as_json:
            about = {"kind": c.kind, "name": c.shown, "summary": c.summary, "distribution": c.distribution}
            more = {"version": c.version, "needs": c.needs, "kinds": c.kinds, "role": c.role, "options": options}
            print_line({**about, **more})
            continue
        _print_card(c)
        for option, about in options.items():
            typer.echo(f"  --set {c.name}.{_option(option, about)}".rstrip())


def _print_card(c: Card) -> None:
    typer.echo(f"{c.kind} {c.shown}: {c.summary}\n  from {c.distribution} {c.version}")
    facts = {"reads": ", ".join(c.kinds), "needs": ", ".join(c.needs), "role": c.role, "paper": c.paper}
    if not isinstance(c.uses, str):
        facts["uses"] = ", ".join(c.uses)
    for key, value in facts.items():
        if value:
            typer.echo(f"  {key} {value}")


def _option(name: str, about: dict[str, Any]) -> str:
    """Such as ``k=10 (integer)  number of concepts``."""
    kind = about.get("type") or " | ".join(str(a.get("type", a.get("const"))) for a in about.get("anyOf", ()))
    values = f" one of {', '.join(map(str, about['enum']))}" if "enum" in about else f" ({kind})" if kind else ""
    default = json.dumps(about["default"]) if "default" in about else "required"
    return f"{name}={default}{values}  {about.get('description', '')}"


def list_plugins(as_json: bool) -> None:
    """Print every plugin with its components, or the reason why it was left out."""
    for p in load_registry().plugins:
        if as_json:
            about = {"plugin": p.name, "distribution": p.distribution, "version": p.version}
            print_line({**about, "ok": p.ok, "reason": p.reason, "components": [c.shown for c in p.cards]})
        else:
            state = ", ".join(c.shown for c in p.cards) or "nothing" if p.ok else f"FAILED {p.reason}"
            typer.echo(f"{p.name:<14} {p.distribution} {p.version}: {state}")


def print_line(value: Any) -> None:
    """Print one JSON object on one line of stdout."""
    typer.echo(json.dumps(value, allow_nan=False, default=dict, ensure_ascii=False))
