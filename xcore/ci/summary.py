"""Markdown for the summary of a CI job: what was missed first, then the table."""

from __future__ import annotations

from collections.abc import Sequence

from xcore.ci.verdict import Verdict, tally
from xcore.report.markup import escaped, markdown
from xcore.report.table import Table


def summary(suite: str, table: Table, verdicts: Sequence[Verdict], broken: str = "") -> str:
    """A heading, the judgements (but for the values that are as in the baseline), and the table.

    Parameters
    ----------
    broken
        What failed in the run, in words; empty if nothing did.
    """
    bad = bool(broken) or any(v.fails for v in verdicts)
    parts = [f"## xcore · {escaped(suite)}: {'failed' if bad else 'passed'}"]
    said = [text for text in (broken, tally(verdicts)) if text]
    if said:
        parts.append(escaped("; ".join(said)))
    shown = [v for v in verdicts if v.status != "met" or v.kind == "gate"]
    shown.sort(key=lambda v: ("missed", "noted", "better", "met").index(v.status))
    if shown:
        lines = [f"| {v.status} | {v.kind} | {escaped(v.name)} | {escaped(v.message)} |" for v in shown]
        parts.append("\n".join(["| status | kind | on | result |", "|:--|:--|:--|:--|", *lines]))
    return "\n\n".join([*parts, markdown(table)])
