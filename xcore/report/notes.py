"""Footnotes: what a spread is over, what marks mean, why a value is missing, what a reader must not conclude."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xcore.report.table import CHANCE, NULL_MEAN, Column, Row, Section, clean

DISTANCES = ("CS", "ED", "RCS", "RED")
"""Metrics that compare pictures in an embedding and never ask the model under explanation."""


def legend(sections: Sequence[Section]) -> tuple[str, ...]:
    """What holds for all sections, each line only if something in the table needs it."""
    rows = [row for section in sections for row in section.rows]
    cells = [(column, value) for row in rows for column, value in row.values.items()]
    lines = []
    over: dict[str, dict[str, None]] = {}
    for column, value in cells:
        if value.spread is not None:
            over.setdefault(value.over, {})[column.metric] = None
    for what, metrics in over.items():
        if what == "seeds":
            lines.append("± sample standard deviation over seeds; concepts of different seeds are combined by rank")
        else:
            lines.append(f"± one seed: spread over {what or 'what the metric does not say'} ({', '.join(metrics)})")
    if any(len(row.names) > 1 for row in rows):
        lines.append("(k/n) after a concept: k of n seeds gave it this name, the others gave other names")
    if any(NULL_MEAN in value.details for _, value in cells):
        lines.append("(null) mean over random concepts rendered like the concept")
    if any(value.outside is not None for _, value in cells):
        lines.append(
            "* outside its null in every seed, *k/n in k of n seeds; a concept without it is not shown to matter to "
            "the model, however far from the class it looks"
        )
    if any(CHANCE in value.details for _, value in cells):
        lines.append("(chance) the same figure from what is drawn at random, as docs/results.md says for each metric")
    blind = [m for m in DISTANCES if any(column.metric == m for column, _ in cells)]
    if blind:
        asks = "never ask" if len(blind) > 1 else "never asks"
        lines.append(f"{', '.join(blind)} {asks} the model under explanation: read beside TS")
    return tuple(lines)


def section_notes(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], made: Sequence[Row]) -> tuple[str, ...]:
    """What holds for one section: variants, missing values with their reasons, and the methods' own warnings."""
    variants: dict[str, list[str]] = {}
    for column in columns:
        if column.variant:
            variants.setdefault(clean(column.variant), []).append(column.metric)
    lines = [f"{', '.join(dict.fromkeys(metrics))}: {variant}" for variant, metrics in variants.items()]
    lines += _missing(made)
    warned: dict[tuple[str, str], list[int]] = {}
    for given in rows:
        if given.get("note"):
            numbers = warned.setdefault((clean(given["label"]), clean(given["note"])), [])
            if given["seed"] not in numbers:
                numbers.append(given["seed"])
    lines += [f"{label} ({plural('seed', numbers)}): {note}" for (label, note), numbers in warned.items()]
    return tuple(lines)


def _missing(made: Sequence[Row]) -> list[str]:
    """Why values are missing: one line a reason, with the metrics and concepts that it is the reason for."""
    rows: dict[str, int] = {}
    found: dict[tuple[str, str, Column], dict[str, list[int]]] = {}
    for row in made:
        rows[row.label] = rows.get(row.label, 0) + (row.status == "ok")
        for column, value in row.values.items():
            for reason in dict.fromkeys(value.reasons.values()):
                seeds = [seed for seed, why in value.reasons.items() if why == reason]
                # A whole row without the value needs no list of seeds; a mean over fewer seeds does.
                part = f" in {plural('seed', seeds)}" if value.value is not None else ""
                found.setdefault((part, reason, column), {}).setdefault(row.label, []).append(row.rank or 0)
    lines: dict[tuple[str, str], list[str]] = {}
    for (part, reason, column), labels in found.items():
        whole = {k: column.whole or len(ranks) == rows[k] for k, ranks in labels.items()}
        who = [k if whole[k] else f"{k} {', '.join(f'C{r}' for r in ranks)}" for k, ranks in labels.items()]
        everyone = all(whole.values()) and all(k in labels for k, n in rows.items() if n)
        where = "" if everyone else f" for {'; '.join(who)}"
        metrics = lines.setdefault((f"{where}{part}", reason), [])
        if column.metric not in metrics:
            metrics.append(column.metric)
    return [f"{', '.join(metrics)} n/a{where}: {reason}" for (where, reason), metrics in lines.items()]


def plural(what: str, numbers: Sequence[int]) -> str:
    """`seed 1` or `seeds 0, 1`."""
    return f"{what}{'s' if len(numbers) > 1 else ''} {', '.join(str(n) for n in numbers)}"
