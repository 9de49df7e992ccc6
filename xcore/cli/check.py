"""`xcore check`: the checks of the conformance kit as a table, without pytest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import typer

from xcore.testing.checklist import Result


def check_components(
    target: str, kind: str, plugins: Sequence[str], options: Mapping[str, Mapping[str, Any]], as_json: bool
) -> None:
    """Print the results as they come; leaves with exit code 1 if a check failed, or if nothing could be checked."""
    from xcore.cli.listing import print_line
    from xcore.testing.checking import check_target, counted, shortened, sound

    results: list[Result] = []
    last = ""
    for result in map(shortened, check_target(target, kind.removesuffix("s"), plugins, options)):
        results.append(result)
        if as_json:
            print_line(asdict(result))
            continue
        if result.component != last:
            typer.echo(("" if not last else "\n") + result.component)
            last = result.component
        typer.echo("\n".join(_lines(result)))
    counts = counted(results)
    if as_json:
        print_line({"checked": target, **counts})
    else:
        told = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        typer.echo(f"\n{told or 'nothing was checked'}")
        if not counts["passed"] and not counts["failed"]:
            typer.echo("nothing could be checked: the lines above say what is missing", err=True)
    if not sound(results):
        raise typer.Exit(1)


def _lines(result: Result) -> list[str]:
    """A result in words: what is wrong, why it matters and how to mend it where it failed."""
    shown = "FAILED" if result.status == "failed" else result.status
    out = [f"  {shown:<8} {result.check}"]
    about = {"wrong": result.reason, "why": result.why, "mend": result.mend}
    if result.status == "skipped":
        about = {"because": result.reason}
    return out + [f"           {name:<8} {text}" for name, text in about.items() if text]
