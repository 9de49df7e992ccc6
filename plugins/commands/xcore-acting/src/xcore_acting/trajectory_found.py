"""What `xcore trajectory` finds of one class: a table of prompts and steps, and for each prompt a strip and a chart."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from math import gcd
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xcore_evidence.phrases import candidates
from xcore_evidence.readings import OTHERS, presence
from xcore_evidence.statistics import half_width, holm
from xcore_rlpo.single import fixed_noises, tune_one

from xcore.contract import Cell, Samples, Task
from xcore.models.outputs import probabilities, scores_of
from xcore.pretrained.adapters import save_adapter
from xcore.session import Column, Finding, Found, Session, slug
from xcore_acting import strips, trajectory_chart

NAME = "trajectory"
"""The command."""
NEAREST = 3
"""Phrases that are named at each step."""
FLIPS = 12
"""Noises up to which all sign flips are tried; of more noises, so many thousands are drawn."""
TRACED = ("step", "ts", "effect", "updated", "rule", "kept", "why")
"""What is kept of each step of the search."""
SHOWN = 8
"""Noises in a strip."""

COLUMNS = (
    Column("prompt", "Prompt", ""),
    Column("class", "Class", ""),
    Column("step", "t", "steps of the search"),
    Column("updates", "Updates", "that were kept until then"),
    Column("predicted", "Predicted", "class that most of the drawings are taken for, and their share"),
    Column("probability", "p(class)", "mean probability of the class over the noises, in [0, 1]", 3),
    Column("interval", "95 %", "t interval of the mean over the noises"),
    Column("lo", "lo", "", shown=False),
    Column("hi", "hi", "", shown=False),
    Column("taken", "Taken for it", "drawings that are taken for the class"),
    Column("n", "n", "noises"),
    Column("turned", "Turned", "of the drawings that were not at t = 0, those that are taken for the class now"),
    Column("change", "Change", "of p(class) since t = 0, of the same noise", 3),
    Column("change_interval", "95 % of the change", "t interval over the noises"),
    Column("change_lo", "change lo", "", shown=False),
    Column("change_hi", "change hi", "", shown=False),
    Column("p", "p", "", shown=False),
    Column("p_holm", "p", "that p(class) has not changed by the last step: sign flips, Holm over the prompts", 4),
    Column("nearest", "Nearest phrases", "by the image-text model, in standard deviations over pictures of the data"),
)


@dataclass(frozen=True)
class Asked:
    """What is asked of each class; see `trajectory.trajectory`."""

    prompts: tuple[str, ...]
    steps: tuple[int, ...]
    noises: int
    phrases: tuple[str, ...]
    vocabulary: str


@dataclass(frozen=True, eq=False)
class Point:
    """What a prompt draws after some steps."""

    step: int
    updates: int
    drawn: Samples
    predicted: tuple[str, ...]
    probability: NDArray[np.float64]
    """(n,) of the class, for each noise."""
    nearness: dict[str, float]
    """Phrase -> how near the drawings are to it; empty where nothing reads them."""


def find(session: Session, cell: Cell, asked: Asked, out: Path) -> Finding:
    """What is found of the class of a cell. Each prompt is kept by itself, so that an interrupted command goes on."""
    session.check(cell)
    rest = {k: v for k, v in asdict(asked).items() if k != "prompts"}
    if asked.vocabulary:
        from xcore_evidence.phrases import phrases_in

        rest["phrases of the file"] = phrases_in(asked.vocabulary, "--vocabulary")

    def one(prompt: str) -> Finding:
        def make(folder: Path) -> Found:
            return followed(session, cell, session.task(cell, folder), prompt, asked, folder)

        return session.finding(NAME, {"one prompt": prompt, **rest}, cell, make, out=out / ".work")

    def together(folder: Path) -> Found:
        parts = []
        for i, prompt in enumerate(asked.prompts):
            session.reporter.step(i, len(asked.prompts), f"following {prompt!r}")
            parts.append(one(prompt))
        return joined(parts, folder)

    return session.finding(NAME, {"prompts": asked.prompts, **rest}, cell, together, out=out)


def joined(parts: Sequence[Finding], folder: Path) -> Found:
    """All prompts in one table, with the p-values of their last steps corrected together."""
    adjusted = iter(holm([part.rows[-1]["p"] for part in parts]))
    rows, pictures, notes, figures = list[dict[str, Any]](), dict[str, str](), list[str](), dict[str, Any]()
    for place, part in enumerate(parts, 1):
        own = [dict(row) for row in part.rows]
        own[-1]["p_holm"] = next(adjusted)
        rows += own
        prompt = part.about["one prompt"]
        for file, alt in part.found.pictures.items():
            name = f"{place}-{slug(prompt)}-{file}"
            shutil.copy(part.folder / file, folder / name)
            pictures[name] = alt
        notes += [note for note in part.found.notes if note not in notes]
        figures[prompt] = dict(part.found.figures)
    return Found(parts[0].found.title, COLUMNS, tuple(rows), tuple(notes), pictures, figures)


def followed(session: Session, cell: Cell, task: Task, prompt: str, asked: Asked, folder: Path) -> Found:
    """One prompt: its search, what it draws from the same noise after some steps, and the pictures of that."""
    last, every = asked.steps[-1], gcd(*asked.steps)
    options = session.explainer(cell).options.model_copy(update={"trajectory_every": every})

    def on_step(row: Any) -> None:
        task.progress(row["step"], last, f"tuning {prompt!r}: {row['rule']}")

    search = tune_one(task, prompt, options, last, on_step)
    seeds, points = fixed_noises(asked.noises, task.seed), list[Point]()
    near, notes = _nearness(task, asked)
    for t in asked.steps:
        at = max(step for step in search.snapshots if step <= t)
        adapter = search.adapter_of(prompt, at)
        if adapter is not None:
            save_adapter(adapter, folder / f"adapter-{t}.safetensors")
        drawn = search.generator.generate([prompt] * len(seeds), seeds, adapter)
        logits = task.classifier.logits(drawn)
        share = probabilities(logits.double(), scores_of(task.classifier))[:, task.target].cpu().numpy()
        said = tuple(task.classifier.classes[i] for i in logits.argmax(1).tolist())
        kept = updates_in(search.trace, at, judged=options.keep == "gain")
        points.append(Point(t, kept, drawn, said, share, near(drawn)))
    pictures = _draw(points, prompt, task.target_name, folder)
    figures = {
        "noises": seeds,
        "probability": {str(p.step): p.probability.tolist() for p in points},
        "predicted": {str(p.step): list(p.predicted) for p in points},
        "nearness": {str(p.step): p.nearness for p in points},
        "trace": [{key: row.get(key) for key in TRACED} for row in search.trace],
        **({"texts": {str(p.step): list(p.drawn.texts) for p in points}} if points[0].drawn.modality == "text" else {}),
    }
    rows = tuple(_row(point, points[0], prompt, task.target_name) for point in points)
    said_notes = [_turning(points, prompt, task.target_name), *_updates(search.trace, prompt, len(search.trace), last)]
    title = f"{task.target_name}: what prompts draw while the generator is tuned to them"
    return Found(title, COLUMNS, rows, (*said_notes, *notes), pictures, figures)


def updates_in(trace: Sequence[Any], at: int, judged: bool) -> int:
    """How many updates are in the adapter that draws after step `at`.

    An update that is judged is in it from the next step on, which judges it, or from the end of the search: until then
    the prompt is drawn by the adapter of before (`Search.keep_snapshot`).
    """
    counted = [row for row in trace if row["updated"] and row.get("kept", True)]
    if not judged or at >= len(trace):
        return sum(row["step"] <= at for row in counted)
    return sum(row["step"] < at for row in counted)


def _nearness(task: Task, asked: Asked) -> tuple[Any, list[str]]:
    """(drawings -> phrase -> nearness), and notes.

    Nearness is the mean reading of a phrase in the drawings, in standard deviations of its reading over pictures of the
    class and of other classes, from their mean: phrases that are read high in all pictures are not near to each.
    """
    if task.samples.modality != "image":
        return (lambda drawn: {}), []
    if "image-text" not in task.roles:
        note = "no phrases are named, as there is no image-text model; name one with --model image-text=REF"
        return (lambda drawn: {}), [note]
    phrases, notes = candidates(task, asked.phrases, asked.vocabulary, "--vocabulary", "--phrase")
    usual = presence(task, Samples.concat([task.samples, task.random_set(OTHERS, 0)]), phrases)
    mean, spread = usual.mean(0), usual.std(0, correction=0).clamp_min(1e-9)

    def near(drawn: Samples) -> dict[str, float]:
        z = (presence(task, drawn, phrases).mean(0) - mean) / spread
        return dict(zip(phrases, z.tolist(), strict=True))

    return near, list(notes)


def _row(point: Point, first: Point, prompt: str, cls: str) -> dict[str, Any]:
    name, count = Counter(point.predicted).most_common(1)[0]
    n = len(point.predicted)
    lo, hi = t_interval(point.probability)
    row: dict[str, Any] = {
        "prompt": prompt,
        "class": cls,
        "predicted": f"{name} ({count / n:.0%})",
        "step": point.step,
        "updates": point.updates,
        "probability": float(point.probability.mean()),
        "lo": max(0.0, lo),
        "hi": min(1.0, hi),
        "interval": f"[{max(0.0, lo):.2f}, {min(1.0, hi):.2f}]",
        "taken": sum(c == cls for c in point.predicted),
        "n": n,
        "nearest": ", ".join(f"{p} {z:+.1f}" for p, z in nearest(point.nearness)),
    }
    if point is first:
        return row
    change = point.probability - first.probability
    lo, hi = t_interval(change)
    other = [i for i, c in enumerate(first.predicted) if c != cls]
    return {
        **row,
        "turned": f"{sum(point.predicted[i] == cls for i in other)} of {len(other)}",
        "change": float(change.mean()),
        "change_lo": lo,
        "change_hi": hi,
        "change_interval": f"[{lo:+.2f}, {hi:+.2f}]",
        "p": sign_flips(change),
    }


def nearest(nearness: dict[str, float]) -> list[tuple[str, float]]:
    """The phrases that drawings are nearest to, the nearest first."""
    return sorted(nearness.items(), key=lambda item: -item[1])[:NEAREST]


def t_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean of n >= 2 numbers."""
    half = half_width(float(values.std(ddof=1)) / len(values) ** 0.5, len(values) - 1)
    return float(values.mean()) - half, float(values.mean()) + half


def sign_flips(changes: NDArray[np.float64]) -> float:
    """Two-sided p-value that paired changes are symmetric about 0: of the flips of their signs, those as far from 0.

    All flips are tried for up to `FLIPS` changes, and 9999 are drawn for more.
    """
    n, far = len(changes), abs(float(changes.sum())) - 1e-12
    if n <= FLIPS:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
        return float((np.abs(signs @ changes) >= far).mean())
    signs = np.random.default_rng(n).choice([1.0, -1.0], size=(9999, n))
    return float((1 + (np.abs(signs @ changes) >= far).sum()) / 10000)


def turned_at(points: Sequence[Point], cls: str) -> list[int]:
    """For each noise whose prediction turned to the class: the step from which on it stayed."""
    found = []
    for i in range(len(points[0].predicted)):
        taken = [p.predicted[i] == cls for p in points]
        if not taken[0] and taken[-1]:
            found.append(points[max(k for k, is_it in enumerate(taken) if not is_it) + 1].step)
    return found


def _turning(points: Sequence[Point], prompt: str, cls: str) -> str:
    """At which step the predictions turned, as a sentence."""
    other = sum(c != cls for c in points[0].predicted)
    steps = turned_at(points, cls)
    if not other:
        return f"{prompt}: all drawings are taken for {cls} before any tuning, so that none can turn"
    if not steps:
        return f"{prompt}: of {other} drawings that are not taken for {cls} at t = 0, none is at t = {points[-1].step}"
    where = f"the first at t = {min(steps)}, half of them by t = {median(steps):g}"
    return f"{prompt}: {len(steps)} of {other} predictions turned to {cls} and stayed, {where}"


def _updates(trace: Sequence[Any], prompt: str, taken: int, last: int) -> list[str]:
    """How many updates were made and kept, and whether the search ended early."""
    made = [row for row in trace if row["updated"]]
    kept = sum(bool(row.get("kept", True)) for row in made)
    early = f"; the search ended after {taken} of {last} steps ({trace[-1]['rule']})" if taken < last else ""
    why = Counter(row["why"] for row in made if row.get("why") and not row.get("kept", True))
    back = f" ({', '.join(f'{why_} in {count}' for why_, count in why.items())})" if why else ""
    return [f"{prompt}: {len(made)} updates were made and {kept} kept{back}{early}"]


def _draw(points: Sequence[Point], prompt: str, cls: str, folder: Path) -> dict[str, str]:
    """The strip of drawings, if they are pictures, and the chart."""
    pictures = {}
    if points[0].drawn.modality == "image":
        rows = [
            strips.Strip(
                (f"t = {p.step}", f"p({cls}) {p.probability.mean():.2f}"),
                tuple(
                    strips.Tile(picture, said, strips.BLUE if said == cls else strips.INK)
                    for picture, said in list(zip(p.drawn.images, p.predicted, strict=True))[:SHOWN]
                ),
            )
            for p in points
        ]
        strips.draw(folder / "strip.png", f"{prompt}: the same noise in each column, with the predictions", rows)
        steps = ", ".join(str(p.step) for p in points)
        pictures["strip.png"] = f"drawings of {prompt!r} by the same noise after {steps} steps, with predictions"
    trajectory_chart.draw(folder / "chart.png", points, prompt, cls)
    pictures["chart.png"] = f"probability of {cls} and nearest phrases of the drawings of {prompt!r} over the steps"
    return pictures
