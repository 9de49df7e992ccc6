"""What a notebook shows of an explanation, of its concepts in new samples, and of the table of a run; and data frames.

The pieces of HTML need no other file and no script. Everything that comes from names, texts and notes is escaped.
Colours are those of the notebook around, so a piece reads well in light and dark themes; its style sheet reaches
nothing outside.
"""

from __future__ import annotations

import base64
import io
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xcore.contract.samples import Samples
from xcore.contract.types import Concept, Explanation, Presence
from xcore.report.concepts import EVIDENCE, explanation_grid, interval, numbers
from xcore.report.highlighted import highlight, synonyms, visible
from xcore.report.layout import Grid, Line, grids
from xcore.report.page import environment
from xcore.report.pictures import mapped_images, overlay
from xcore.report.table import Table, clean
from xcore.report.terminal import show_grid

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]
    from torch import Tensor

SHOWN = 10
"""Concepts that are shown with their samples; the others are listed."""
LISTED = 100
"""Concepts in that list, at most."""
TILES = 8
"""Pictures of one concept."""
MAPPED = 3
"""Concepts whose maps are shown."""
PLACES = 6
"""Explained images on which they are shown."""
PARTS = 6
"""Parts of an explanation that are shown."""
PART_LINES = 4
"""Concepts of a part that are listed."""
WORDS = 8
"""Words beside the name of a concept."""
LONGEST = 120
"""Characters of a name or of a sample text that are shown."""
TEXTS = {"texts": 4, "characters": 600}
"""Explained texts, and characters of each."""
NEW = 8
"""New samples in which concepts are shown."""
COLUMNS = 5
"""Concepts that are shown in them."""
NOT_FOUND = "not found again"
"""What stands in place of a strength that is not known."""
LIMIT = 900_000
"""Characters of HTML that the first of `SIZES` to stay below is chosen for: a notebook keeps what it shows."""
SIZES = ((144, 88), (96, 80), (72, 60), (48, 40))
"""Height in pixels and JPEG quality of pictures; they are shown 72 pixels high, on many screens of two dots each."""


class Tile(NamedTuple):
    """A picture as data, and what stands for it where it cannot be seen."""

    uri: str
    alt: str
    title: str = ""


def concepts_frame(explanation: Explanation) -> pd.DataFrame:
    """One row for each concept; see `xcore.explained.Explained.to_pandas`."""
    import pandas as pd

    concepts = explanation.concepts
    words = [", ".join(synonyms(c.name, c.words)) for c in concepts]
    columns: dict[str, Any] = {
        "rank": pd.Series(range(1, len(concepts) + 1), dtype="int64"),
        "concept": pd.Series([c.name for c in concepts], dtype="string"),
        "words": pd.Series(words, dtype="string"),
        "importance": pd.Series([c.importance for c in concepts], dtype="float64"),
    }
    for key in dict.fromkeys(key for c in concepts for key in c.evidence):
        column = f"evidence {key}" if key in columns else key
        columns[column] = pd.Series([c.evidence.get(key, math.nan) for c in concepts], dtype="float64")
    frame = pd.DataFrame(columns)
    frame.attrs = {
        "method": explanation.method,
        "target": explanation.target,
        "importance_is": explanation.importance_is,
    }
    return frame


def presence_frame(presence: Presence, samples: Samples | None, columns: Sequence[str]) -> pd.DataFrame:
    """The strengths (N, k): a row for each sample and a column, of these names, for each concept."""
    import pandas as pd

    strength = presence.strength.detach().cpu().double().numpy()
    index = None if samples is None else pd.Index(samples.ids, dtype="string", name="sample")
    frame = pd.DataFrame(strength, index=index, columns=list(columns))
    frame.attrs = {"strength_is": presence.strength_is}
    return frame


def show_explanation(explanation: Explanation, samples: Samples | None) -> None:
    """Show an explanation in a notebook; elsewhere print its concepts."""
    if in_notebook():
        _display(explanation_html(explanation, samples))
    else:
        show_grid(explanation_grid(explanation))


def show_presence(presence: Presence, samples: Samples | None, names: Sequence[str]) -> None:
    """Show concepts in new samples in a notebook; elsewhere print their strengths."""
    if in_notebook():
        _display(presence_html(presence, samples, names))
    else:
        show_grid(_presence_grid(presence, samples, names))


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook. Nothing is imported to find out."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None


def explanation_html(explanation: Explanation, samples: Samples | None) -> str:
    """An explanation as a piece of HTML, with at most about `LIMIT` characters.

    Parameters
    ----------
    explanation
        The explanation.
    samples
        What it explains; None = not kept: there are no maps over images, then.
    """
    template = environment().get_template("explanation.html")
    return _small_enough(lambda painter: template.render(_explanation(explanation, samples, painter)))


def presence_html(presence: Presence, samples: Samples | None, names: Sequence[str]) -> str:
    """Concepts in new samples as a piece of HTML."""
    template = environment().get_template("presence.html")
    return _small_enough(lambda painter: template.render(_presence(presence, samples, names, painter)))


def table_html(table: Table) -> str:
    """The table of a run as a piece of HTML."""
    return environment().get_template("table.html").render(grids=grids(table), remarks=table.notes, pictures=())


def finding_html(grid: Grid, pictures: Sequence[tuple[Path, str]]) -> str:
    """The table and the pictures (file, alternative text) of a finding as a piece of HTML."""
    tiles = [
        Tile(f"data:image/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}", visible(alt), "")
        for path, alt in pictures
    ]
    return environment().get_template("table.html").render(grids=[grid], remarks=(), pictures=tiles)


def _display(html: str) -> None:
    from IPython.display import HTML, display  # type: ignore[import-not-found]

    display(HTML(html))


def _small_enough(render: Any) -> str:
    html = ""
    for side, quality in SIZES:
        html = render(Painter(side, quality))
        if len(html) <= LIMIT:
            break
    return html


class Painter:
    """Turns images into data of a height and quality."""

    def __init__(self, side: int, quality: int) -> None:
        self._side, self._quality = side, quality

    def tile(self, image: Tensor, alt: str, title: str = "") -> Tile:
        """An image (3, H, W) in [0, 1]; small ones are not enlarged. The smaller one of PNG and JPEG is taken."""
        from PIL import Image

        pixels = (image.detach().cpu().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        picture = Image.fromarray(pixels)
        picture.thumbnail((4 * self._side, self._side), Image.Resampling.LANCZOS)
        exact, lossy = io.BytesIO(), io.BytesIO()
        picture.save(exact, "PNG", optimize=True)
        picture.save(lossy, "JPEG", quality=self._quality, subsampling=0)
        kind, data = min(("png", exact.getvalue()), ("jpeg", lossy.getvalue()), key=lambda pair: len(pair[1]))
        return Tile(f"data:image/{kind};base64,{base64.b64encode(data).decode()}", visible(alt), visible(title))


def _explanation(explanation: Explanation, samples: Samples | None, painter: Painter) -> dict[str, Any]:
    concepts = explanation.concepts
    described = _described(concepts)
    shown = described[:SHOWN]
    for i, row in enumerate(shown):
        row |= _samples(concepts[i], row, samples, painter)
    texts = None
    if explanation.explained is not None:
        texts = highlight(explanation)
    return {
        "target": clean(explanation.target),
        "method": clean(explanation.method),
        "facts": _facts(explanation, samples),
        "unit": clean(explanation.importance_is) if concepts else "",
        "texts": texts,
        "limits": TEXTS,
        "concepts": shown,
        "others": described[SHOWN : SHOWN + LISTED],
        "others_of": len(described) - SHOWN,
        "maps": _maps(concepts, described, samples, painter),
        **_parts(explanation, samples, painter),
        "remarks": explanation.notes,
    }


def _facts(explanation: Explanation, samples: Samples | None) -> list[str]:
    """What was explained, and at what cost."""
    found = []
    if samples is not None:
        found.append(_plural(len(samples), samples.modality))
    layer = getattr(explanation, "recipe", {}).get("layer") or getattr(explanation.dictionary, "layer", "")
    if layer:
        found.append(f"at {clean(layer)}")
    seconds = explanation.cost.seconds + explanation.cost.shared_seconds
    if seconds:
        found.append(f"{seconds:.3g} s" if seconds < 100 else f"{seconds / 60:.3g} min")
    return found


def _described(concepts: Sequence[Concept]) -> list[dict[str, Any]]:
    """Rank, name, words, importance and evidence of each concept, as strings."""
    said = numbers([c.importance for c in concepts])
    top = max((abs(c.importance) for c in concepts if math.isfinite(c.importance)), default=0.0)
    rows = []
    for i, concept in enumerate(concepts):
        # An interval of the importance stands beside its bar; one of another statistic would be taken for it.
        own = {k: concept.evidence[k] for k in EVIDENCE if k in concept.evidence and k not in ("lo", "hi")}
        bounds = interval(concept)
        rank = f"C{i + 1}"
        name = _cut(concept.name)
        rows.append(
            {
                "rank": rank,
                "name": "" if name == rank else name,
                "words": ", ".join(_cut(word) for word in synonyms(concept.name, concept.words)[:WORDS]),
                "number": said[i],
                "share": min(1.0, abs(concept.importance) / top) if top and math.isfinite(concept.importance) else None,
                "negative": concept.importance < 0,
                "bounds": "" if bounds is None else f"[{', '.join(numbers([round(x, 12) for x in bounds]))}]",
                "evidence": [f"{key.replace('_', ' ')} {value:.3g}" for key, value in own.items()],
            }
        )
    return rows


def _samples(concept: Concept, row: Mapping[str, Any], explained: Samples | None, painter: Painter) -> dict[str, Any]:
    """The samples of a concept; where it has none, the explained images in which it is strongest."""
    label = f"{row['rank']} {row['name']}".strip()
    found: dict[str, Any] = {"tiles": [], "samples": [], "caption": ""}
    own = concept.samples
    if own is not None and own.modality == "image":
        found["tiles"] = [
            painter.tile(image, f"{label}, sample {i + 1}", own.ids[i]) for i, image in enumerate(own.images[:TILES])
        ]
    elif own is not None and not row["words"]:
        found["samples"] = [_cut(text) for text in own.texts[:3]]
    elif own is None and explained is not None and explained.modality == "image" and concept.local is not None:
        local = concept.local.tolist()
        strongest = sorted((i for i in range(len(local)) if local[i] > 0), key=lambda i: -local[i])[: TILES // 2]
        found["tiles"] = [
            painter.tile(explained.images[i], f"explained image, {label} {local[i]:.2g}", explained.ids[i])
            for i in strongest
        ]
        found["caption"] = "the explained images in which it is strongest" if strongest else ""
    return found


def _maps(
    concepts: Sequence[Concept], described: Sequence[Mapping[str, Any]], samples: Samples | None, painter: Painter
) -> list[dict[str, Any]]:
    """A row of explained images, and below it a row with the map of each of the first concepts."""
    if samples is None or samples.modality != "image":
        return []
    mapped = [(i, c) for i, c in enumerate(concepts) if c.maps is not None and len(c.maps) == len(samples)]
    mapped = [(i, c) for i, c in mapped if c.maps is not None and c.maps.any()][:MAPPED]
    if not mapped:
        return []
    columns = mapped_images([c for _, c in mapped], len(samples), PLACES)
    images = [painter.tile(samples.images[at], f"explained image {at + 1}", samples.ids[at]) for at in columns]
    rows: list[dict[str, Any]] = [{"rank": "", "name": "", "tiles": images}]
    for i, concept in mapped:
        assert concept.maps is not None  # chosen above
        heat = concept.maps.detach().cpu().float()
        top = float(heat.max())
        rank, name = described[i]["rank"], described[i]["name"]
        tiles = [
            painter.tile(
                overlay(samples.images[at], heat[at], top), f"{rank} {name} in image {at + 1}".replace("  ", " ")
            )
            for at in columns
        ]
        rows.append({"rank": rank, "name": name, "tiles": tiles})
    return rows


def _parts(explanation: Explanation, samples: Samples | None, painter: Painter) -> dict[str, Any]:
    """Explanations of single images, as pictures whose regions have the colour of their importance, or of groups."""
    parts = explanation.parts
    made = []
    for part in parts[:PARTS]:
        said = numbers([c.importance for c in part.concepts[:PART_LINES]])
        lines = [f"{_cut(c.name)} {number}" for c, number in zip(part.concepts, said, strict=False)]
        if more := len(part.concepts) - len(lines):
            lines.append(f"and {more} more")
        made.append({"name": clean(part.target), "tiles": _coloured(part, samples, painter), "lines": lines})
    pictured = bool(made) and all(part["tiles"] for part in made)
    unit = clean(parts[0].importance_is) if parts else ""
    return {
        "parts": made,
        "parts_of": len(parts),
        "parts_title": "Single images" if pictured else "Parts",
        "parts_unit": f"{unit}; blue: for the class, orange: against it" if pictured else unit,
    }


def _coloured(part: Explanation, samples: Samples | None, painter: Painter) -> list[Tile]:
    """The image that a part is about, plain and with blue and orange regions; none if it is about no single image."""
    import torch

    sources = {tuple(c.source.tolist()) if c.source is not None else () for c in part.concepts}
    if samples is None or samples.modality != "image" or len(sources) != 1 or len(source := sources.pop()) != 1:
        return []
    regions = [c for c in part.concepts if c.maps is not None and len(c.maps) == 1]
    top = max((abs(c.importance) for c in regions), default=0.0)
    if not top or not 0 <= source[0] < len(samples):
        return []
    image = samples.images[source[0]]
    shown = image.mean(0, keepdim=True).expand(3, -1, -1) * 0.6 + 0.25
    for concept in regions:
        assert concept.maps is not None  # chosen above
        colour = torch.tensor([0.84, 0.43, 0.0] if concept.importance < 0 else [0.12, 0.47, 0.71]).view(3, 1, 1)
        weight = 0.85 * abs(concept.importance) / top * concept.maps[0].clamp(0, 1)
        shown = shown * (1 - weight) + colour * weight
    return [
        painter.tile(image, f"image {source[0] + 1}", samples.ids[source[0]]),
        painter.tile(shown, f"importance of the regions of image {source[0] + 1}"),
    ]


def _presence(presence: Presence, samples: Samples | None, names: Sequence[str], painter: Painter) -> dict[str, Any]:
    strength = presence.strength.detach().cpu().double()
    n, k = strength.shape
    columns, said = range(min(k, COLUMNS)), [numbers(_known(strength[:, column].tolist())) for column in range(k)]
    tops = [max((abs(v) for v in strength[:, column].tolist() if math.isfinite(v)), default=0.0) for column in range(k)]
    image = samples is not None and samples.modality == "image"
    maps = presence.maps.detach().cpu().float() if presence.maps is not None and image else None
    rows = []
    for row in range(min(n, NEW)):
        cells = []
        for column in columns:
            value = float(strength[row, column])
            known = math.isfinite(value)
            tile = None
            if maps is not None and samples is not None:
                heat, label = maps[:, column], f"C{column + 1} in sample {row + 1}"
                tile = painter.tile(overlay(samples.images[row], heat[row], float(heat.max())), label)
            share = min(1.0, abs(value) / tops[column]) if known and tops[column] else None
            number = said[column][row] if known else NOT_FOUND
            cells.append({"tile": tile, "number": number, "share": share, "negative": known and value < 0})
        own = None
        if image and samples is not None:
            own = painter.tile(samples.images[row], f"sample {row + 1}", samples.ids[row])
        rows.append({"tile": own, "text": _sample_name(samples, row), "cells": cells})
    remarks = list(presence.notes)
    if n > NEW or k > COLUMNS:
        shown = [f"{NEW} of {n} samples" if n > NEW else "", f"{COLUMNS} of {k} concepts" if k > COLUMNS else ""]
        remarks.append(f"the first {' and '.join(filter(None, shown))}; to_pandas() has all")
    return {
        "title": f"{_plural(k, 'concept')} in {_plural(n, samples.modality) if samples else _plural(n, 'sample')}",
        "unit": clean(presence.strength_is),
        "mapped": maps is not None,
        "heads": _described_names(names[: len(columns)]),
        "rows": rows,
        "remarks": remarks,
    }


def _presence_grid(presence: Presence, samples: Samples | None, names: Sequence[str]) -> Grid:
    strength = presence.strength.detach().cpu().double()
    n, k = strength.shape
    shown = range(min(k, 2 * COLUMNS))
    columns = [[cell or NOT_FOUND for cell in numbers(_known(strength[:, column].tolist()))] for column in shown]
    lines = [
        Line((str(row + 1), _sample_name(samples, row), *(column[row] for column in columns)))
        for row in range(min(n, 2 * SHOWN))
    ]
    heads = [f"{c['rank']} {c['name']}".strip() for c in _described_names(names[: len(shown)])]
    notes = [f"Strength: {clean(presence.strength_is)}", *map(clean, presence.notes)]
    if n > len(lines) or k > len(shown):
        notes.insert(1, f"the first {len(lines)} of {n} samples and {len(shown)} of {k} concepts; to_pandas() has all")
    return Grid(
        f"{_plural(k, 'concept')} in {_plural(n, 'sample')}", ("", "Sample", *heads), tuple(lines), tuple(notes)
    )


def _described_names(names: Sequence[str]) -> list[dict[str, str]]:
    shown = [(f"C{i + 1}", _cut(name)) for i, name in enumerate(names)]
    return [{"rank": rank, "name": "" if name == rank else name} for rank, name in shown]


def _sample_name(samples: Samples | None, row: int) -> str:
    if samples is None:
        return f"sample {row + 1}"
    return _cut(samples.texts[row] if samples.modality == "text" else samples.ids[row])


def _known(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _cut(text: str) -> str:
    shown = visible(text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def _plural(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
