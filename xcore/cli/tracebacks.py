"""Whole tracebacks: of the cells of a run that failed, and of a plugin's code that a command called."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import typer

from xcore.base.errors import PluginError, in_one_line

if TYPE_CHECKING:
    from xcore.api import BenchResult


def show_tracebacks(result: BenchResult) -> None:
    """Print the traceback of each cell of a run that failed."""
    from xcore.base.streams import harmless
    from xcore.run.progress import describe
    from xcore.store.records import read_record

    failed = [outcome for outcome in result.result.outcomes if outcome.status == "failed"]
    for outcome in failed:
        typer.echo(f"{describe(outcome.cell)}  failed: {outcome.reason}")
        path = result.path / "explanations" / outcome.record / "record.json"
        trace = str(read_record(path).get("traceback") or "") if outcome.record else ""
        for line in trace.splitlines() or ["there is no traceback: its process ended, or its record was not written"]:
            typer.echo(f"  {harmless(line)}")
        typer.echo("")
    if not failed:
        typer.echo("no cell of this run failed")


def plugin_error(error: Exception) -> PluginError | None:
    """What the code of a plugin raised while a command ran, as one line; None if it did not arise in a plugin."""
    from xcore.base.tracing import arisen
    from xcore.cards import FILE_MODULE
    from xcore.registry import load_registry

    owners = {plugin.package: plugin.distribution for plugin in load_registry().plugins}
    owners |= {name: name.removeprefix(FILE_MODULE) for name in list(sys.modules) if name.startswith(FILE_MODULE)}
    package, where = arisen(error, owners.keys())
    if not package:
        return None
    again = shlex.join(["xcore", *sys.argv[1:]])
    return PluginError(
        f"{owners[package]} failed: {in_one_line(error)}{where}", f"the traceback: XCORE_TRACE=1 {again}"
    )
