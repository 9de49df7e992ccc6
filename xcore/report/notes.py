"""Footnotes: what a spread is taken over, what the signs mean, why a value is missing, what not to conclude."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xcore.report.table import CHANCE, FAILED, NULL_MEAN, Column, MetricInfo, Row, Section, clean

SHOWN = 0.05
"""Seconds from which on the time for shared work is told."""
SAMPLES = {
    None: "",
    True: ", all of which have the same samples of the class",
    False: ", each of which draws its own samples of the class, explained and held out",
}
"""What a spread over seeds is over besides, by whether all seeds have the same samples; None = it is not known."""


def legend(
    sections: Sequence[Section], metrics: Mapping[str, MetricInfo], same_samples: bool | None = None
) -> tuple[str, ...]:
    """The notes below all sections; each line is there only if something in the table needs it."""
    rows = [row for section in sections for row in section.rows]
    cells = [(column, value) for row in rows for column, value in row.values.items()]
    lines = []
    over: dict[str, dict[str, None]] = {}
    for column, value in cells:
        if value.spread is not None:
            over.setdefault(value.over, {})[column.metric] = None
    for what, of in over.items():
        if what == "seeds":
            draws = SAMPLES[same_samples]
            lines.append(
                f"± sample standard deviation over seeds{draws}; concepts of different seeds are combined by rank"
            )
        elif what:
            lines.append(f"± one seed: spread over {what} ({', '.join(of)})")
        else:
            lines.append(f"± one seed: the metric does not say what its spread is taken over ({', '.join(of)})")
    if any(len(row.names) > 1 for row in rows):
        lines.append("(k/n) after a concept: k of n seeds gave it this name, the others gave other names")
    if any(NULL_MEAN in value.details for _, value in cells):
        lines.append("(null) mean over random concepts rendered like the concept")
    tested = [value for _, value in cells if value.outside is not None]
    unmarked = "is not shown to matter to the model, however far from the class it looks"
    if any(value.lowers is not None for value in tested):
        lines.append(
            "* raises the class and † lowers it, each beyond random sets that are made alike, in every seed, *k/n and "
            f"†k/n in k of n seeds; a concept without a mark {unmarked}"
        )
    if any(value.lowers is None for value in tested):
        lines.append(f"* outside its null in every seed, *k/n in k of n seeds; a concept without it {unmarked}")
    if any(CHANCE in value.details for _, value in cells):
        lines.append("(chance) the same figure from what is drawn at random, as docs/results.md says for each metric")
    failed: dict[str, dict[str, None]] = {}
    for column, value in cells:
        failed.setdefault(column.metric, {}).update(dict.fromkeys(value.failed))
    if told := [f"{metric} ({', '.join(parts)})" for metric, parts in failed.items() if parts]:
        lines.append(
            f"{FAILED} the metric failed its audit for this kind of explanation: {'; '.join(told)}; "
            "`xcore show METRIC` says what that means"
        )
    caveats: dict[str, list[str]] = {}
    for metric in dict.fromkeys(column.metric for column, _ in cells):
        if metric in metrics and metrics[metric].caveat:
            caveats.setdefault(metrics[metric].caveat, []).append(metric)
    return (*lines, *(f"{_each(names)} {caveat}" for caveat, names in caveats.items()))


def _each(names: Sequence[str]) -> str:
    """The subject of a sentence in the singular: `CS`, or `each of CS, ED and RCS`."""
    return names[0] if len(names) == 1 else f"each of {', '.join(names[:-1])} and {names[-1]}"


def section_notes(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], made: Sequence[Row]) -> tuple[str, ...]:
    """The notes below one section: variants, the reasons of missing values, and the warnings of the methods."""
    variants: dict[str, list[str]] = {}
    for column in columns:
        if column.variant:
            variants.setdefault(clean(column.variant), []).append(column.metric)
    lines = [f"{', '.join(dict.fromkeys(metrics))}: {variant}" for variant, metrics in variants.items()]
    lines += _missing(made)
    shared = [f"{row.label} {row.shared_seconds:.1f}" for row in made if (row.shared_seconds or 0) >= SHOWN]
    if shared:
        lines.append(
            "s includes an equal share of the work that explanations of a method have in common, such as training or "
            f"pictures for comparison: {', '.join(shared)}"
        )
    warned: dict[tuple[str, str], list[int]] = {}
    for given in rows:
        if given.get("note"):
            numbers = warned.setdefault((clean(given["label"]), clean(given["note"])), [])
            if given["seed"] not in numbers:
                numbers.append(given["seed"])
    lines += [f"{label} ({plural('seed', numbers)}): {note}" for (label, note), numbers in warned.items()]
    return tuple(lines)


def _missing(made: Sequence[Row]) -> list[str]:
    """Why values are missing: one line for each reason, with its metrics and concepts."""
    rows: dict[str, int] = {}
    found: dict[tuple[str, str, Column], dict[str, list[int]]] = {}
    for row in made:
        rows[row.label] = rows.get(row.label, 0) + (row.status == "ok")
        for column, value in row.values.items():
            for reason in dict.fromkeys(value.reasons.values()):
                seeds = [seed for seed, why in value.reasons.items() if why == reason]
                # Seeds are named only if others have a value, since the mean is then over fewer seeds.
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
