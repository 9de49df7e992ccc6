"""The sections of the page, one for each class: its images, and the concepts of every method side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from xcore.contract.types import Outcome
from xcore.report.build import combine
from xcore.report.concepts import EVIDENCE, numbers
from xcore.report.highlighted import HighlightedTexts, synonyms
from xcore.report.layout import cell_parts, places, shown_columns, title
from xcore.report.site.found import is_picture, plain_mapping
from xcore.report.site.main_table import value_says
from xcore.report.site.plots import Curve, Forest, forests, snapshot_curve, trace_curve
from xcore.report.small_pictures import Gallery, file_picture, read_gallery
from xcore.report.table import MARK, OUTSIDE, Column, Section, Table, Value, clean

WORDS = 8
"""Words beside the name of a concept."""
LONGEST = 120
"""Characters of a name that are shown."""
SAMPLE_TEXTS = 3
"""Texts that show a concept, of those that are no images."""
FILE_WIDTH = 640
"""Pixels across of a picture that a method drew, at most."""
LARGEST_SVG = 200_000
"""Bytes of an SVG file that is shown."""


class PageCell(NamedTuple):
    """A cell of the run with its record."""

    outcome: Outcome
    record: Mapping[str, Any]
    """``record.json``; empty if there is none."""
    folder: Path | None


class Level(NamedTuple):
    """How much of a run is shown in pictures, so that a page of any run stays small."""

    all_seeds: bool
    concepts: int
    tiles: int
    drawn: bool
    """Whether pictures that methods drew themselves are shown."""


class PageConcept(NamedTuple):
    """A concept of one explanation."""

    rank: int
    name: str
    words: str
    importance: str
    share: float
    """The importance as a share of the largest one, in [0, 100]."""
    against: bool
    evidence: tuple[str, ...]
    scores: tuple[tuple[str, str, str], ...]
    """Name, value, and what stands behind it."""
    mark: str
    """Whether it is shown to matter, in words; empty if that was not tested."""
    dim: bool
    tiles: tuple[tuple[str, str], ...]
    """Data URI and alternative text."""
    maps: tuple[tuple[str, str, str], ...]
    """CSS class of the image below, data URI of the map, and alternative text."""
    texts: tuple[str, ...]


class Drawn(NamedTuple):
    """A picture that a method drew."""

    uri: str
    alt: str
    caption: str
    curve: Curve | None
    steps: tuple[tuple[str, str, str], ...]
    """Of a trajectory: step, predictions, mean probability of the class."""


class PageSeed(NamedTuple):
    """One explanation."""

    seed: int
    unit: str
    concepts: tuple[PageConcept, ...]
    more: int
    """How many concepts are not shown."""
    drawn: tuple[Drawn, ...]
    curve: Curve | None
    texts: HighlightedTexts | None
    problem: str
    """Why there is no explanation; empty if there is one."""


class PageMethod(NamedTuple):
    """The explanations of one method in one section: the first seed that has one, and the others."""

    label: str
    control: bool
    first: PageSeed
    others: tuple[PageSeed, ...]


class PageSection(NamedTuple):
    """One class of one classifier."""

    id: str
    cls: str
    heading: str
    images: tuple[tuple[str, str], ...]
    """Data URI and alternative text."""
    methods: tuple[PageMethod, ...]
    forests: tuple[Forest, ...]
    notes: tuple[str, ...]
    mapped: bool


@dataclass
class Backgrounds:
    """Images that many maps lie over: each is in the style sheet once."""

    names: dict[str, str] = field(default_factory=dict)

    def of(self, uri: str) -> str:
        """The CSS class that has this image as its background."""
        return self.names.setdefault(uri, f"b{len(self.names)}")

    def rules(self) -> str:
        """The style sheet; the addresses are data URIs that we made, which hold no character that CSS knows."""
        return "".join(f'.{name}{{background-image:url("{uri}")}}\n' for uri, name in self.names.items())


@dataclass
class Pictures:
    """The pictures of one cell."""

    gallery: Gallery
    drawn: tuple[Drawn, ...]

    def size(self, level: Level, first: bool) -> int:
        """Characters that they take."""
        if not (first or level.all_seeds):
            return 0
        own = [concept for i, concept in (self.gallery.concepts or {}).items() if i < level.concepts]
        tiles = sum(len(uri) for concept in own for uri in concept.tiles[: level.tiles])
        heat = sum(len(uri) for concept in own for uri in concept.maps[: level.tiles])
        return tiles + heat + (sum(len(d.uri) for d in self.drawn) if level.drawn else 0)


def read_pictures(cell: PageCell) -> Pictures:
    """The pictures of a cell's record."""
    explanation = plain_mapping(cell.record.get("explanation"))
    if cell.folder is None or not explanation:
        return Pictures(Gallery(), ())
    return Pictures(read_gallery(cell.folder, explanation["concepts"]), tuple(_drawn(cell, explanation)))


def _drawn(cell: PageCell, explanation: Mapping[str, Any]) -> list[Drawn]:
    """What the method drew: trajectories, clouds of words. Of a picture in two formats the vector graphic is shown."""
    assert cell.folder is not None  # `read_pictures` looked
    files = [cell.folder / "files" / name for name in explanation.get("files") or ()]
    known = [path for path in files if is_picture(path) and path.is_file()]
    vectors = {path.stem for path in known if path.suffix.lower() == ".svg" and path.stat().st_size <= LARGEST_SVG}
    names = ", ".join(_cut(c["name"]) for c in explanation["concepts"][:WORDS])
    found = []
    for path in known:
        if (path.suffix.lower() == ".svg") != (path.stem in vectors):
            continue
        steps, curve, said = _trajectory(path.with_suffix(".json"), cell.outcome.cell.cls)
        what = clean(path.stem.replace("-", " ").replace("_", " "))
        alt = f"{what} by {cell.outcome.cell.label} for {cell.outcome.cell.cls}: {said or names or 'no concepts'}"
        try:
            found.append(Drawn(file_picture(path, FILE_WIDTH), clean(alt), what, curve, steps))
        except (OSError, ValueError):  # no picture, or one that was cut off
            continue
    return found


def _trajectory(path: Path, target: str) -> tuple[tuple[tuple[str, str, str], ...], Curve | None, str]:
    """The predictions beside a strip of drawings: a file of the strip's name whose ``snapshots`` tell them."""
    try:
        plain = plain_mapping(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return (), None, ""
    snapshots = [s for s in plain.get("snapshots") or () if isinstance(s, Mapping)] if "snapshots" in plain else []
    rows = []
    for snapshot in snapshots:
        predicted = ", ".join(clean(p) for p in snapshot.get("predictions") or ())
        own = [p for p in snapshot.get("target_probability") or () if isinstance(p, (int, float))]
        rows.append((clean(snapshot.get("step", "")), predicted, f"{sum(own) / len(own):.3f}" if own else ""))
    prompt = clean(plain.get("prompt", ""))
    told = "; ".join(f"step {step}: {predicted}" for step, predicted, _ in rows)
    return (
        tuple(rows),
        snapshot_curve(clean(target), snapshots),
        f"drawings of “{prompt}”, predicted at {told}" if rows else "",
    )


def sections(
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    cells: Sequence[PageCell],
    pictures: Mapping[int, Pictures],
    level: Level,
    backgrounds: Backgrounds,
    controls: frozenset[str],
) -> list[PageSection]:
    """All sections of the table with the explanations of each.

    Parameters
    ----------
    rows
        The rows that the table was built from.
    pictures
        Index of the cell -> its pictures.
    """
    by_cell: dict[tuple[str, str, str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        by_cell.setdefault((row["label"], row["classifier"], row["class"], row["seed"]), []).append(row)
    found = []
    for number, section in enumerate(table.sections):
        own = [(i, cell) for i, cell in enumerate(cells) if _is_of(cell, section)]
        labels = dict.fromkeys(clean(cell.outcome.cell.label) for _, cell in own) or dict.fromkeys(
            r.label for r in section.rows
        )
        methods = []
        for label in labels:
            seeds: list[PageSeed] = []
            for i, cell in ((i, cell) for i, cell in own if clean(cell.outcome.cell.label) == label):
                c = cell.outcome.cell
                at = by_cell.get((c.label, c.classifier.text, c.cls, c.seed), [])
                first = not any(not seed.problem for seed in seeds)
                shown = (
                    pictures.get(i, Pictures(Gallery(), ())) if first or level.all_seeds else Pictures(Gallery(), ())
                )
                seeds.append(_seed(cell, at, section, table, shown, level, backgrounds))
            if not seeds:  # a table without cells, as of rows alone
                own_texts = [t for t in section.highlighted if t.label == label]
                seeds = [PageSeed(t.seed, "", (), 0, (), None, t.highlighted, "") for t in own_texts]
            if seeds:
                best = next((k for k, seed in enumerate(seeds) if not seed.problem), 0)
                methods.append(PageMethod(label, label in controls, seeds[best], (*seeds[:best], *seeds[best + 1 :])))
        images = next((pictures[i].gallery for i, _ in own if i in pictures and pictures[i].gallery.images), Gallery())
        strip = [(uri, f"{section.cls}: {clean(name)}") for uri, name in zip(images.images, images.names, strict=False)]
        mapped = any(c.maps for m in methods for seed in (m.first, *m.others) for c in seed.concepts)
        plots = tuple(forests(section, table))
        found.append(
            PageSection(
                f"class-{number + 1}",
                section.cls,
                title(section),
                tuple(strip),
                tuple(methods),
                plots,
                section.notes,
                mapped,
            )
        )
    return found


def _is_of(cell: PageCell, section: Section) -> bool:
    c = cell.outcome.cell
    return (clean(c.data.text), clean(c.classifier.text), clean(c.cls)) == (
        section.data,
        section.classifier,
        section.cls,
    )


def _seed(
    cell: PageCell,
    rows: Sequence[Mapping[str, Any]],
    section: Section,
    table: Table,
    pictures: Pictures,
    level: Level,
    backgrounds: Backgrounds,
) -> PageSeed:
    seed, label = cell.outcome.cell.seed, clean(cell.outcome.cell.label)
    explanation = plain_mapping(cell.record.get("explanation"))
    if cell.outcome.status != "ok" or not explanation:
        problem = f"{cell.outcome.status}: {clean(cell.outcome.reason)}"
        return PageSeed(
            seed, "", (), 0, (), None, None, "not done yet" if cell.outcome.status == "pending" else problem
        )
    texts = next((t.highlighted for t in section.highlighted if (t.label, t.seed) == (label, seed)), None)
    concepts = explanation["concepts"]
    by_rank = {row["rank"]: row for row in rows if row["rank"] is not None}
    said = numbers([float(c["importance"]) for c in concepts])
    most = max((abs(float(c["importance"])) for c in concepts), default=0.0) or 1.0
    shown = []
    for i, concept in enumerate(concepts[: max(level.concepts, table.top)]):
        scores, mark, dim = _scores(by_rank.get(i + 1, {}), seed, section, table)
        name, own = _cut(concept["name"]), pictures.gallery.of(i)
        what = f"C{i + 1} {name}" if name != f"C{i + 1}" else name
        tiles = own.tiles[: level.tiles] if i < level.concepts else ()
        heat = own.maps[: level.tiles] if i < level.concepts else ()
        shown.append(
            PageConcept(
                i + 1,
                "" if name == f"C{i + 1}" else name,
                ", ".join(_cut(word) for word in synonyms(concept["name"], concept.get("words") or ())[:WORDS]),
                said[i],
                100 * abs(float(concept["importance"])) / most,
                float(concept["importance"]) < 0,
                tuple(_evidence(concept.get("evidence") or {}, float(concept["importance"]))),
                scores,
                mark,
                dim,
                tuple((uri, f"{what} by {label}, picture {k + 1}") for k, uri in enumerate(tiles)),
                tuple(
                    (backgrounds.of(image), uri, f"where {what} is in {clean(image_name)}, by {label}")
                    for uri, image, image_name in zip(
                        heat, pictures.gallery.images, pictures.gallery.names, strict=False
                    )
                ),
                tuple(_sample_texts(concept)),
            )
        )
    drawn = pictures.drawn if level.drawn else ()
    unit = clean(explanation.get("importance_is") or "")
    curve = trace_curve(explanation.get("trace") or ())
    return PageSeed(seed, unit, tuple(shown), len(concepts) - len(shown), drawn, curve, texts, "")


def _scores(
    row: Mapping[str, Any], seed: int, section: Section, table: Table
) -> tuple[tuple[tuple[str, str, str], ...], str, bool]:
    """The scores of one concept in one seed, and whether it is shown to matter, in words."""
    given = list((row.get("scores") or {}).values())
    found, mark, dim = [], "", False
    for column, name in shown_columns(section, table).items():
        score = next((s for s in given if _is_column(s, column)), None)
        if score is None:
            continue
        value = combine({seed: score})
        text = " ".join(part for part in cell_parts(value, places([value])) if part)
        found.append((name, text, value_says(value, column)))
        if value.outside is not None and not mark:
            mark, dim = _mark(value)
    return tuple(found), mark, dim


def _is_column(score: Mapping[str, Any], column: Column) -> bool:
    return score.get("metric") == column.metric and (score.get("variant") or "") in (column.variant, "")


def _mark(value: Value) -> tuple[str, bool]:
    if not value.details.get(OUTSIDE):
        return "not shown to matter", True
    side = value.details.get(MARK)
    return ("outside its null" if side is None else "raises the class" if side > 0 else "lowers the class"), False


def _evidence(evidence: Mapping[str, Any], importance: float) -> list[str]:
    shown = [key for key in EVIDENCE if key in evidence and not (key == "effect" and evidence[key] == importance)]
    values = [f"{key.replace('_', ' ')} {float(evidence[key]):.3g}" for key in shown if key not in ("lo", "hi")]
    if "lo" in evidence and "hi" in evidence:
        values.append(f"interval [{float(evidence['lo']):.3g}, {float(evidence['hi']):.3g}]")
    return values


def _sample_texts(concept: Mapping[str, Any]) -> list[str]:
    data = plain_mapping(concept.get("samples")).get("data")
    return [_cut(text) for text in data[:SAMPLE_TEXTS] if isinstance(text, str)] if isinstance(data, list) else []


def _cut(text: str) -> str:
    shown = clean(text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
