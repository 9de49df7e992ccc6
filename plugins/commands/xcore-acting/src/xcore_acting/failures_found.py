"""What `xcore failures` finds of one class: the table of failure modes and of clusters, and the strip of examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xcore.contract import Cell, Samples, Task, UsageError
from xcore.session import Column, Finding, Found, Session
from xcore_acting import failures_search as search
from xcore_acting import strips
from xcore_acting.failures_clusters import clusters, features
from xcore_acting.failures_search import Coverage, Mode, Rules
from xcore_acting.failures_tags import Flags, Tags, of_sets, rows, tags_of

NAME = "failures"
"""The command."""
FEWEST = 4
"""Failures in each half below which nothing is searched."""
TAGS = "tags"
"""The way in which modes are found that the command is about; the others are the baseline."""
PICTURED, BESIDE = 6, 4
"""Modes of a strip, and pictures of failures and of the others in each."""

COLUMNS = (
    Column("mode", "Where", "combination of tags; of a cluster the tags that describe it best"),
    Column("kind", "Failure", "missed: of the class and not taken for it; mistaken: of another class and taken for it"),
    Column("class", "Class", "", shown=False),
    Column("way", "Found by", "tags, or clusters of the features before the head (the baseline)"),
    Column("n", "n", "samples in the half that modes are tested on"),
    Column("failures", "Failures", "how many of them fail"),
    Column("accuracy", "Accuracy", "share of them that is right", 2),
    Column("interval", "95 %", "of the accuracy (Clopper and Pearson)"),
    Column("lo", "lo", "", shown=False),
    Column("hi", "hi", "", shown=False),
    Column("drop", "Drop", "accuracy of all samples less this one", 2),
    Column("drop_interval", "95 % of the drop", "Newcombe"),
    Column("drop_lo", "drop lo", "", shown=False),
    Column("drop_hi", "drop hi", "", shown=False),
    Column(
        "accounts",
        "Accounts for",
        "share of all failures that there would not be if these samples failed as rarely as the others",
        2,
    ),
    Column("p", "p", "", shown=False),
    Column(
        "p_holm",
        "p",
        "fails no more often than the others, or than without one of its tags: Fisher, Holm over all tested",
        4,
    ),
    Column("shown", "Shown", "whether p is at most alpha"),
    Column("confused", "Confused with", "class that failures are most often taken for, or come from, and their share"),
    Column("alike", "Nearly the same samples", "other combinations, which share four in five samples with this one"),
    Column("support", "support", "samples of both halves", shown=False),
    Column("example", "example", "ids of three failures", shown=False),
)


@dataclass(frozen=True)
class Asked:
    """What is asked of each class; see `failures.failures`."""

    split: tuple[str, ...]
    kinds: tuple[str, ...]
    tags: tuple[str, ...]
    phrases: tuple[str, ...]
    vocabulary: str
    questions: tuple[str, ...]
    samples: int
    clusters: int
    rules: Rules


@dataclass(frozen=True, eq=False)
class Part:
    """The samples in which failures of one kind are looked for."""

    kind: str
    samples: Samples
    wrong: Flags
    other: tuple[str, ...]
    """What a failure is confused with: of a missed one the predicted class, of a mistaken one its own."""
    tags: Tags


def find(session: Session, cell: Cell, asked: Asked, out: Path) -> Finding:
    """What is found of the class of a cell; found again if it was found before."""
    session.check(cell)
    about = asdict(asked)
    if asked.vocabulary:
        from xcore_evidence.phrases import phrases_in

        about["phrases of the file"] = phrases_in(asked.vocabulary, "--vocabulary")

    def make(folder: Path) -> Found:
        task = session.task(cell, folder)
        return found_of(task, session.layer(cell), parts_of(session, cell, task, asked), asked, folder)

    return session.finding(NAME, about, cell, make, out=out)


def parts_of(session: Session, cell: Cell, task: Task, asked: Asked) -> tuple[list[Part], list[str]]:
    """The samples of each kind with their tags, and what a reader must know of them.

    Tags are read in all samples together, so that they do not depend on the kinds that are asked for.
    """
    data, own = session.dataset(cell), task.target_name
    notes, drawn = list[str](), dict[str, list[tuple[str, Samples]]]()
    session.reporter.step(0, 2, "reading samples")
    for kind, classes in (("missed", [own]), ("mistaken", [c for c in data.classes if c != own])):
        drawn[kind] = _drawn(data, classes, asked, cell.data_seed)
        if not drawn[kind] and kind in asked.kinds:
            where = f"{' or '.join(asked.split)} samples of {'the class' if kind == 'missed' else 'other classes'}"
            if kind == "missed" or asked.kinds == (kind,):
                raise UsageError(f"{cell.data} has no {where}", "name other splits with --split, e.g. --split train")
            notes.append(f"no sample can be mistaken for the class: {cell.data} has no {where}")
    session.reporter.step(1, 2, "reading tags")
    tags = tags_of(
        task,
        [part for parts in drawn.values() for _, part in parts],
        sources=asked.tags,
        phrases=asked.phrases,
        vocabulary=asked.vocabulary,
        questions=asked.questions,
    )
    parts, start = list[Part](), 0
    for kind, some in drawn.items():
        stop = start + sum(len(part) for _, part in some)
        if kind in asked.kinds and some:
            parts.append(_part(task, kind, some, rows(tags, start, stop)))
        start = stop
    return parts, [*notes, *tags.notes]


def _part(task: Task, kind: str, drawn: Sequence[tuple[str, Samples]], tags: Tags) -> Part:
    """The samples of one kind, and which of them fail."""
    own = task.target_name
    top = [task.classifier.logits(part).argmax(1).tolist() for _, part in drawn]
    said = tuple(task.classifier.classes[i] for predictions in top for i in predictions)
    classed = tuple(c for c, part in drawn for _ in part.ids)
    wrong = np.array([(name != own) if kind == "missed" else (name == own) for name in said])
    if kind == "mistaken":
        tags = of_sets([[f"class={c}"] for c in classed]) + tags
    other = said if kind == "missed" else classed
    return Part(kind, Samples.concat([part for _, part in drawn]), wrong, other, tags)


def _drawn(data: Any, classes: Sequence[str], asked: Asked, seed: int) -> list[tuple[str, Samples]]:
    """(class, samples) of the splits; as many of each class."""
    if not classes:
        return []
    each = -(-asked.samples // len(classes))
    found = []
    for c in classes:
        left = each
        for split in asked.split:
            part = _split(data, c, split, left, seed)
            if len(part):
                found.append((c, part))
                left -= len(part)
            if left <= 0:
                break
    return found


def _split(data: Any, cls: str, split: str, n: int, seed: int) -> Any:
    try:
        return data.samples(cls, split, n, seed)
    except UsageError:  # a data set refuses a split in which the class has nothing
        return ()


def found_of(task: Task, layer: str, read: tuple[list[Part], list[str]], asked: Asked, folder: Path) -> Found:
    """The table, the notes and the strips of one class."""
    parts, notes = read
    lines, figures, pictures = list[dict[str, Any]](), dict[str, Any](), dict[str, str]()
    for part in parts:
        task.progress(0, 1, f"searching failures: {part.kind}")
        chosen = search.halves(part.wrong, task.seed)
        lines.append(_whole(part, chosen, task.target_name))
        few = min(int((part.wrong & chosen).sum()), int((part.wrong & ~chosen).sum()))
        if few < FEWEST:
            what = f"{int(part.wrong.sum())} of {len(part.wrong)} samples fail ({part.kind})"
            notes.append(f"{what}, which are too few to search: {FEWEST} in each half are needed")
            continue
        both = search.strongest(search.with_absent(part.tags), part.wrong, chosen)
        notes += [note for note in both.notes if note not in notes]
        modes, looked = search.modes(both, part.wrong, chosen, asked.rules)
        found = {TAGS: modes, **_clusters(task, layer, part, chosen, both, asked, notes)}
        sure = search.marked(modes, asked.rules)
        for way, some in found.items():
            shown = search.marked(some, asked.rules)
            rest = sorted((m for m in some if m not in shown), key=lambda m: m.p)
            lines += [_row(m, part, chosen, way, m in shown, task.target_name) for m in [*shown, *rest]]
        covered = {way: _covered(some, part, chosen, asked.rules) for way, some in found.items()}
        figures[part.kind] = {
            "combinations": looked,
            "tested": {way: len(some) for way, some in found.items()},
            "coverage": {way: asdict(c) for way, c in covered.items()},
        }
        notes.append(_said(part, looked, len(modes), covered))
        if part.samples.modality == "image" and sure:
            file = f"{part.kind}.png"
            _draw(folder / file, part, sure[:PICTURED], task.target_name)
            pictures[file] = (
                f"failures of {task.target_name} ({part.kind}) beside samples that are right, by their tags"
            )
    notes.append(
        "modes are chosen on half of the samples, and all figures are of the other half; a mode says where failures "
        "are, not why: `xcore ask` tests what the classifier uses"
    )
    return Found(
        f"{task.target_name}: where the classifier fails",
        COLUMNS,
        tuple(lines),
        tuple(dict.fromkeys(notes)),
        pictures,
        figures,
    )


def _clusters(
    task: Task, layer: str, part: Part, chosen: Flags, tags: Tags, asked: Asked, notes: list[str]
) -> dict[str, list[Mode]]:
    if "activations" not in task.classifier.can:
        notes.append("there are no clusters to compare with, as the classifier gives no activations")
        return {}
    x = features(task.classifier, layer, part.samples)
    return clusters(x, part.wrong, chosen, tags, asked.rules, asked.clusters, task.seed)


def _covered(found: Sequence[Mode], part: Part, chosen: Flags, rules: Rules) -> Coverage:
    return search.coverage(search.marked(found, rules), part.wrong, ~chosen)


def _said(part: Part, looked: int, tested: int, covered: dict[str, Coverage]) -> str:
    """How well each way finds the failures, as a sentence."""
    ways = [
        f"{c.groups} {'modes' if way == TAGS else way} hold {c.failures:.0%} of the failures in {c.share:.0%} of the "
        f"samples and account for {c.accounts:.0%}"
        for way, c in covered.items()
    ]
    return f"{part.kind}: {looked} combinations were looked at and {tested} tested; of those shown, {'; '.join(ways)}"


def _whole(part: Part, chosen: Flags, cls: str) -> dict[str, Any]:
    """The row of all samples, which the modes are compared with."""
    wrong = part.wrong[~chosen]
    lo, hi = search.clopper_pearson(int((~wrong).sum()), len(wrong))
    return {
        "mode": "all samples",
        "kind": part.kind,
        "class": cls,
        "way": "",
        "n": len(wrong),
        "failures": int(wrong.sum()),
        "accuracy": float((~wrong).mean()),
        "interval": _interval(lo, hi),
        "lo": lo,
        "hi": hi,
        "confused": _confused(part, part.wrong & ~chosen),
        "support": len(part.wrong),
    }


def _row(mode: Mode, part: Part, chosen: Flags, way: str, shown: bool, cls: str) -> dict[str, Any]:
    failing = np.flatnonzero(mode.has & part.wrong)
    return {
        "mode": mode.name,
        "kind": part.kind,
        "class": cls,
        "way": way,
        "n": mode.n,
        "failures": mode.failures,
        "accuracy": mode.accuracy,
        "interval": _interval(mode.lo, mode.hi),
        "lo": mode.lo,
        "hi": mode.hi,
        "drop": mode.drop,
        "drop_interval": _interval(mode.drop_lo, mode.drop_hi),
        "drop_lo": mode.drop_lo,
        "drop_hi": mode.drop_hi,
        "accounts": mode.accounts,
        "p": mode.p,
        "p_holm": mode.p_holm,
        "shown": shown,
        "confused": _confused(part, mode.has & part.wrong & ~chosen),
        "alike": "; ".join(mode.alike[:2]) + (f"; and {len(mode.alike) - 2} more" if len(mode.alike) > 2 else ""),
        "support": int(mode.has.sum()),
        "example": "; ".join(part.samples.ids[i] for i in failing[:3]),
    }


def _interval(lo: float, hi: float) -> str:
    return f"[{lo:.2f}, {hi:.2f}]"


def _confused(part: Part, which: Flags) -> str:
    """The class that most of these failures are confused with, and its share."""
    if not which.any():
        return ""
    name, count = Counter(part.other[i] for i in np.flatnonzero(which)).most_common(1)[0]
    return f"{name} ({count / which.sum():.0%})"


def _tile(part: Part, i: int, below: str, colour: str) -> strips.Tile:
    return strips.Tile(part.samples.images[i], below, colour)


def _draw(path: Path, part: Part, modes: Sequence[Mode], cls: str) -> None:
    """A strip for each mode: failures, and samples with the same tags that are right."""
    made = []
    for mode in modes:
        wrong = np.flatnonzero(mode.has & part.wrong)[:BESIDE]
        right = np.flatnonzero(mode.has & ~part.wrong)[:BESIDE]
        tiles = [_tile(part, int(i), f"{part.other[i]}", strips.ORANGE) for i in wrong]
        tiles += [strips.Tile(None)] * (BESIDE - len(wrong))
        tiles += [_tile(part, int(i), cls if part.kind == "missed" else part.other[i], strips.BLUE) for i in right]
        lines = (*mode.name.split(" & "), f"accuracy {mode.accuracy:.2f} {_interval(mode.lo, mode.hi)}")
        made.append(strips.Strip((*lines, f"{mode.failures} of {mode.n} fail"), tuple(tiles)))
    below = "the prediction" if part.kind == "missed" else "the class"
    strips.draw(
        path,
        f"{cls}: {part.kind}. Orange: failures; blue: the same tags, and right. Below each picture: {below}.",
        made,
    )
