"""What `xcore ask` found for one class: the answers of all kinds of evidence as a table with its picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from xcore_evidence.options import SurrogateOptions

from xcore.contract import Task
from xcore.session import Found
from xcore_acting import ask_chart, ask_rows
from xcore_acting.ask_concepts import Asked, context
from xcore_acting.ask_evidence import Question, answers

READ = (
    "an effect is that of a concept that goes from rarely to often present, in % of the gap of the class; in brackets "
    "the 95 % interval; + raises the class, - lowers it, * the two of a pair differ"
)
STRONGEST = 3
"""Phrases beside the concepts that are named if they raise the class more than all concepts."""


def found(
    task: Task,
    options: SurrogateOptions,
    asked: Sequence[Asked],
    *,
    pairs: Sequence[tuple[str, str]],
    evidence: Sequence[str],
    alone: bool,
    within: float,
    folder: Path,
) -> Found:
    """Ask all kinds of evidence, and draw the picture into a folder. The parameters are those of `xcore_acting.ask`."""
    beside = tuple[str, ...]()
    notes: tuple[str, ...] = ("the concepts are judged alone: what else varies with them is in their effects",)
    if not alone:
        beside, notes = context(task, asked)
        if beside:
            said = f"the concepts are judged jointly with {len(beside)} phrases beside them (--alone leaves them out)"
            notes = (said, *notes)
    question = Question(asked, pairs, beside, within, options)
    made, missing = answers(task, question, evidence)
    rows = ask_rows.rows(question, made, task.target_name)
    told = [f"{a.kind}: {max((e.n for e in a.effects.values()), default=0)} samples" for a in made]
    stronger = []
    for a in made:
        best = max((e.share for e in a.effects.values() if e.of and isfinite(e.share)), default=0.0)
        above = sorted((p for p, share in a.beside.items() if share > max(best, 0.0)), key=lambda p: -a.beside[p])
        if above:
            stronger.append(f"{a.kind}: {', '.join(above[:STRONGEST])}")
    title = f"{task.target_name}: does the classifier use these concepts?"
    ask_chart.draw(folder / "ask.png", title, rows, [a.kind for a in made], within)
    judged = ", ".join(f"{len(a.effects)} {a.kind}" for a in made)
    family = (
        f"marks are one-sided, Holm at {ask_rows.ALPHA:g}: a family is the concepts that one kind of evidence judges "
        f"in this class ({judged}), by side (raises, lowers)"
    )
    if pairs:
        judged = ", ".join(f"{len(a.pairs)} {a.kind}" for a in made)
        family += f"; the pairs ({judged}) are a family of their own for each kind, two-sided"
    return Found(
        title=title,
        columns=ask_rows.columns(question, made),
        rows=tuple(rows),
        notes=(
            READ,
            "; ".join(told),
            family,
            *missing,
            *notes,
            *([f"beside them raise the class more: {'; '.join(stronger)}"] if stronger else []),
            *(f"{a.kind}: {note}" for a in made for note in a.notes),
        ),
        pictures={"ask.png": f"for each concept its effect on {task.target_name} by each kind of evidence"},
        figures={
            "gaps": {a.kind: a.gap for a in made},
            "beside": {a.kind: dict(a.beside) for a in made},
            "missing": missing,
        },
    )
