"""What was asked and what was found, in sentences; what it cost, what failed, and what the run was made with."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from xcore.report.layout import concept_text, shown_columns, shown_seconds
from xcore.report.site.classes import PageCell
from xcore.report.site.found import plain_mapping
from xcore.report.table import Table, clean


class Failure(NamedTuple):
    """A cell without an explanation."""

    what: str
    status: str
    reason: str
    traceback: str


class CostRow(NamedTuple):
    """What the explanations of a method took, on average."""

    label: str
    cells: int
    figures: tuple[tuple[str, float], ...]
    """Text and number, in the order of `COSTS`."""


COSTS = (
    ("seconds", "s", "seconds of an explanation, without common work"),
    ("shared_seconds", "common s", "seconds of work that several explanations have in common, on the one that did it"),
    ("forwards", "forwards", "samples that passed forward through the classifier"),
    ("backwards", "backwards", "samples for which gradients were computed"),
    ("generated", "generated", "samples that were drawn or written"),
    ("peak_mb", "peak MB", "largest memory of the process so far"),
)


def question(table: Table, cells: Sequence[PageCell]) -> str:
    """What was asked, in one sentence."""
    labels = _listed(list(dict.fromkeys(row.label for section in table.sections for row in section.rows)))
    classes = _listed(list(dict.fromkeys(section.cls for section in table.sections)))
    classifiers = _listed(list(dict.fromkeys(section.classifier for section in table.sections)))
    data = _listed(list(dict.fromkeys(section.data for section in table.sections)))
    seeds = sorted({seed for section in table.sections for row in section.rows for seed in row.seeds})
    how = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"
    given = {cell.outcome.cell.budget.samples for cell in cells}
    samples = f", up to {max(given)} samples a class" if given else ""
    return f"Which concepts do {labels} find behind {classes} in {classifiers} (data {data}, {how}{samples})?"


def _listed(names: list[str], most: int = 6) -> str:
    """Names as a person lists them: `a, b and c`."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} others"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "nothing"


def answers(table: Table, cells: Sequence[PageCell], controls: frozenset[str]) -> list[tuple[str, str]]:
    """For each method, its label and what it found, in one sentence."""
    labels = list(dict.fromkeys(row.label for section in table.sections for row in section.rows))
    return [(label, _answer(label, table, cells, label in controls)) for label in labels]


def _answer(label: str, table: Table, cells: Sequence[PageCell], control: bool) -> str:
    rows = [(s, row) for s in table.sections for row in s.rows if row.label == label and row.rank is not None]
    shown = [(s, row) for s, row in rows if (row.rank or 0) <= table.top]
    own = [cell for cell in cells if clean(cell.outcome.cell.label) == label]
    waiting = sum(cell.outcome.status == "pending" for cell in own)
    lacking = sum(cell.outcome.status != "ok" for cell in own) - waiting
    tail = f"; {lacking} of its {len(own)} cells gave no explanation" if lacking else ""
    tail += f"; {waiting} of its {len(own)} cells {'is' if waiting == 1 else 'are'} not done yet" if waiting else ""
    if own and waiting == len(own):
        return "is not done yet."
    if not shown:
        return f"found no concept{tail}."
    tested = [(s, row, v) for s, row in shown for v in row.values.values() if v.outside is not None]
    if not tested:
        first = ", ".join(f"{concept_text(row)} for {s.cls}" for s, row in [p for p in shown if p[1].rank == 1][:3])
        return f"found {len(rows)} concepts, none of which was tested; its first are {first}{tail}."
    raises = sum(v.outside is not None and v.outside[0] == v.outside[1] and not v.lowers for _, _, v in tested)
    lowers = sum(v.outside is not None and v.outside[0] == v.outside[1] == v.lowers for _, _, v in tested)
    sides = any(v.lowers is not None for _, _, v in tested)
    one, several = ("raises its class", "raise their class") if sides else ("differs", "differ")
    verb = one if raises <= 1 else several
    than = "more than random concepts do" if sides else "from random concepts"
    parts = [f"of its {len(tested)} first concepts, {raises or 'none'} {verb} {than} in every seed"]
    parts += [f"{lowers} {'lowers' if lowers == 1 else 'lower'} it"] if lowers else []
    others = len(tested) - raises - lowers
    parts += [f"{others} {'is' if others == 1 else 'are'} not shown to matter"] if others else []
    kept = [
        (s, row, v)
        for s, row, v in tested
        if v.outside is not None and v.outside[0] and v.value is not None and not v.lowers
    ]
    best = max(kept, key=lambda found: found[2].value or 0.0, default=None)
    strongest = ""
    if best is not None:
        section, row, value = best
        name = (
            next(n for c, n in shown_columns(section, table).items() if row.values.get(c) is value)
            if value in [row.values.get(c) for c in shown_columns(section, table)]
            else "its score"
        )
        strongest = f"; the strongest is {concept_text(row)} for {section.cls} ({name} {value.value:.2f})"
    word = "a control that explains nothing: " if control else ""
    return f"{word}{_and(parts)}{strongest}{tail}."


def _and(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def cost_rows(cells: Sequence[PageCell]) -> list[CostRow]:
    """What the explanations of each method took, as means."""
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for cell in cells:
        cost = plain_mapping(plain_mapping(cell.record.get("explanation")).get("cost"))
        if cell.outcome.status == "ok" and cost:
            by_label.setdefault(clean(cell.outcome.cell.label), []).append(cost)
    rows = []
    for label, costs in by_label.items():
        means = [sum(float(cost.get(key) or 0) for cost in costs) / len(costs) for key, _, _ in COSTS]
        texts = [
            shown_seconds(m) if "seconds" in key else f"{m:,.0f}" for (key, _, _), m in zip(COSTS, means, strict=True)
        ]
        rows.append(CostRow(label, len(costs), tuple(zip(texts, means, strict=True))))
    return rows


def failures(cells: Sequence[PageCell]) -> tuple[list[Failure], int]:
    """The cells that failed or were skipped, and how many were not run yet."""
    found = []
    for cell in cells:
        c, status = cell.outcome.cell, cell.outcome.status
        if status not in ("ok", "pending"):
            what = f"{c.label}, {c.cls} in {c.classifier}, seed {c.seed}"
            trace = str(cell.record.get("traceback") or "")
            found.append(Failure(clean(what), status, clean(cell.outcome.reason), trace))
    return found, sum(cell.outcome.status == "pending" for cell in cells)


def provenance(about: Mapping[str, Any], table: Table, cells: Sequence[PageCell]) -> list[tuple[str, str]]:
    """What the run was made with, as pairs of a name and a text."""
    if not about:
        return []
    plan, numerics = plain_mapping(about.get("plan")), plain_mapping(about.get("numerics"))
    git, suite = plain_mapping(about.get("git")), plain_mapping(plan.get("suite"))
    written = about.get("written")
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(written)) if isinstance(written, (int, float)) else ""
    commit = (
        f"{git.get('commit', '')}{', with uncommitted changes' if git.get('dirty') else ''}"
        if git.get("commit")
        else ""
    )
    found = [
        ("Command", about.get("command") or _command(suite)),
        ("Run", table.header.get("run", "")),
        ("Started in", about.get("folder", "")),
        ("Written", when),
        ("Suite", plan.get("name", "")),
        ("Seeds", _numbers(cell.outcome.cell.seed for cell in cells)),
        ("Seeds of the data", _numbers(cell.outcome.cell.data_seed for cell in cells)),
        ("Metrics", ", ".join(str(plain_mapping(m).get("text", m)) for m in plan.get("metrics") or ())),
        ("Python", about.get("python", "")),
        (
            "Machine",
            ", ".join(
                filter(None, [str(about.get("platform", "")), f"{about['cores']} cores" if about.get("cores") else ""])
            ),
        ),
        ("Numerics", _pairs({k: v for k, v in numerics.items() if k != "versions"})),
        ("Libraries", _pairs(plain_mapping(numerics.get("versions")))),
        ("Distributions", _pairs(plain_mapping(about.get("distributions")))),
        ("Digests of the code", _pairs(plain_mapping(about.get("code")))),
        ("Commit", commit),
        ("Plugin files", ", ".join(map(str, about.get("plugins") or ()))),
    ]
    return [(name, clean(text)) for name, text in found if text]


def digests(cells: Sequence[PageCell]) -> list[tuple[str, str]]:
    """Each cell with the name of its record, whose last part identifies it."""
    return [
        (clean(f"{c.label}, {c.cls} in {c.classifier}, seed {c.seed}"), clean(cell.folder.name if cell.folder else ""))
        for cell in cells
        for c in [cell.outcome.cell]
    ]


def _command(suite: Mapping[str, Any]) -> str:
    """A command that asks the same, for runs that did not keep theirs."""
    words = ["xcore", "bench"]
    for key, flag in (
        ("methods", "--methods"),
        ("data", "--data"),
        ("classifiers", "--classifier"),
        ("classes", "--class"),
        ("seeds", "--seeds"),
    ):
        value = suite.get(key)
        listed = value if isinstance(value, list) else [value or ""]
        counted = key == "seeds" and listed == list(range(len(listed)))
        text = str(len(listed)) if counted else ",".join(map(str, listed))
        words += [flag, text] if text else []
    return f"{shlex.join(words)} (rebuilt from the plan: the run did not keep its command)" if len(words) > 2 else ""


def _numbers(found: Any) -> str:
    return ", ".join(map(str, sorted(set(found))))


def _pairs(mapping: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in mapping.items())
