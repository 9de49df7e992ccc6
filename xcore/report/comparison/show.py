"""A comparison as text for people: grids for the terminal and notebooks, and Markdown for a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from xcore.report.comparison.lines import Line as ComparedLine
from xcore.report.comparison.lines import Pair
from xcore.report.layout import ARROWS, Grid, Line
from xcore.report.markup import escaped
from xcore.report.picture_paths import shown
from xcore.report.table import clean

ORDER = ("worse", "lost", "better", "different", "not comparable", "no test", "new", "no difference")
"""Verdicts, what matters most first."""
QUIET = ("no difference", "new")
"""Verdicts that a pull request shows folded."""


def grids(first: str, pairs: Iterable[Pair]) -> list[Grid]:
    """One grid a pair of runs and network."""
    return [
        _grid(first, pair, network)
        for pair in pairs
        for network in dict.fromkeys(line.classifier for line in pair.lines) or [""]
    ]


def summary(lines: Iterable[ComparedLine]) -> str:
    """Such as ``1 worse, 2 better, 9 no difference``."""
    counts = Counter[str](line.verdict for line in lines)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in ORDER if counts[verdict]) or "nothing to compare"


def markdown(first: str, pairs: Sequence[Pair]) -> str:
    """The comparison for a pull request: what changed first, all the rest folded, and pictures side by side."""
    parts = []
    for pair in pairs:
        parts.append(f"## xcore · {escaped(clean(first))} → {escaped(clean(pair.name))}: {summary(pair.lines)}")
        loud = [line for line in pair.lines if line.verdict not in QUIET]
        quiet = [line for line in pair.lines if line.verdict in QUIET]
        loud.sort(key=lambda line: ORDER.index(line.verdict))
        if loud:
            parts.append(_md_table(first, pair, loud))
        if quiet:
            parts.append(_folded(f"{len(quiet)} without a difference", _md_table(first, pair, quiet)))
        if notes := [*pair.notes, *_designs(pair.lines), *_reasons(pair.lines), *_legend(pair.lines)]:
            parts.append("\n".join(f"- {escaped(clean(note))}" for note in notes))
        if pair.pictures:
            parts.append(_folded("pictures side by side", _md_pictures(first, pair)))
    return "\n\n".join(parts) + "\n"


def _grid(first: str, pair: Pair, network: str) -> Grid:
    own = [line for line in pair.lines if line.classifier == network]
    cells, last = [], ""
    for line in own:
        method = clean(line.label) if line.label != last else ""
        cells.append(Line((method, *_cells(line)), dim=line.verdict in QUIET))
        last = line.label
    head = ("Method", "Metric", clean(first), clean(pair.name), "difference [95 %]", "p (Holm)", "n", "verdict")
    on = f" · {clean(network)}" if network else ""
    title = f"{clean(first)} → {clean(pair.name)}{on}: {summary(own)}"
    notes = (*pair.notes, *_designs(own), *_reasons(own), *_legend(own))
    return Grid(title, head, tuple(cells), tuple(map(clean, notes)))


def _cells(line: ComparedLine) -> tuple[str, ...]:
    """Metric, both means, difference with its interval, p, n and verdict as text."""
    numbers = [abs(v) for v in (line.before, line.after, line.difference) if v is not None]
    places = 2 if max(numbers, default=0.0) >= 0.095 else 3
    before, after = ("n/a" if v is None else f"{v:.{places}f}" for v in (line.before, line.after))
    change = "" if line.difference is None else f"{line.difference:+.{places}f}"
    if line.low is not None and line.high is not None:
        change += f" [{line.low:+.{places}f}, {line.high:+.{places}f}]"
    count = f"{line.n} {line.unit}" if line.n else ""
    metric = clean(line.name) + ARROWS.get(line.direction, "")
    verdict = line.verdict + (f" ({line.lost} lost)" if line.lost else "")
    return metric, before, after, change, probability(line.adjusted), count, verdict


def probability(p: float | None) -> str:
    """A p-value with three decimals, without the zero before the point."""
    if p is None:
        return ""
    return "<.001" if p < 0.001 else "1" if p >= 0.9995 else f"{p:.3f}".removeprefix("0")


def _designs(lines: Iterable[ComparedLine]) -> list[str]:
    """What was paired and tested, and for which methods and metrics if not all are alike."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.design:
            found.setdefault(f"{line.design}{f' ({line.test})' if line.test else ''}", []).append(_who(line))
    return [text if len(found) == 1 else f"{_several(of)}: {text}" for text, of in found.items()]


def _reasons(lines: Iterable[ComparedLine]) -> list[str]:
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.reason:
            found.setdefault(line.reason, []).append(_who(line))
    return [f"{_several(of)}: {reason}" for reason, of in found.items()]


def _legend(lines: Sequence[ComparedLine]) -> list[str]:
    tested = sum(line.p is not None for line in lines)
    if not tested:
        return []
    corrected = f", corrected for all {tested} tests by Holm's method" if tested > 1 else ""
    return [
        f"better and worse are differences with p ≤ .05{corrected}; "
        "no difference means that none is shown, not that there is none"
    ]


def _who(line: ComparedLine) -> str:
    return f"{line.label}.{line.name}"


def _several(names: Sequence[str]) -> str:
    kept = list(dict.fromkeys(names))
    return ", ".join(kept[:6]) + (f" and {len(kept) - 6} more" if len(kept) > 6 else "")


# -- Markdown ----------------------------------------------------------------------------------------------------------
def _md_table(first: str, pair: Pair, lines: Sequence[ComparedLine]) -> str:
    several = len({line.classifier for line in pair.lines}) > 1
    head = ["Method", "Metric", first, pair.name, "difference [95 %]", "p (Holm)", "n", "verdict"]
    rows = [f"| {' | '.join(escaped(clean(name)) for name in head)} |", "|:--|:--|--:|--:|--:|--:|--:|:--|"]
    for line in lines:
        method = f"{line.label} ({line.classifier})" if several else line.label
        metric, *numbers, verdict = _cells(line)
        strong = f"**{verdict}**" if line.fails or line.verdict == "better" else verdict
        rows.append(f"| {' | '.join([*map(escaped, (clean(method), metric, *numbers)), strong])} |")
    return "\n".join(rows)


def _md_pictures(first: str, pair: Pair) -> str:
    rows = [f"| Class | Method | {escaped(clean(first))} | {escaped(clean(pair.name))} |", "|:--|:--|:--|:--|"]
    for each in pair.pictures:
        links = (
            f"![{escaped(clean(f'{each.label} on {each.cls}, seed {seed}'))}]({_target(path)})"
            for seed, path in ((each.seed, each.before), (each.other_seed, each.after))
        )
        rows.append(f"| {escaped(clean(each.cls))} | {escaped(clean(each.label))} | {' | '.join(links)} |")
    return "\n".join(rows)


def _target(path: Path) -> str:
    return quote(shown(path))


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{escaped(title)}</summary>\n\n{body}\n\n</details>"
