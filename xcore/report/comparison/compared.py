"""What a comparison gives back: its lines, and how it shows itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from xcore.report.comparison.lines import Line, Pair
from xcore.report.comparison.show import grids, markdown, summary
from xcore.report.page import environment
from xcore.report.table import clean
from xcore.report.terminal import show_grid

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

SCHEMA = 1
WIDTH = 720
"""Pixels of a picture in HTML, at most."""


@dataclass(frozen=True)
class Compared:
    """Runs that were compared with the first one."""

    name: str
    """What the first run is called."""
    path: Path
    pairs: tuple[Pair, ...]

    @property
    def lines(self) -> list[Line]:
        """All lines, of all pairs."""
        return [line for pair in self.pairs for line in pair.lines]

    @property
    def worse(self) -> list[Line]:
        """What is worse than in the first run, and what was there and is gone."""
        return [line for line in self.lines if line.fails]

    @property
    def summary(self) -> str:
        """Such as ``base → head: 1 worse, 9 no difference``, for each pair of runs."""
        return "; ".join(f"{clean(self.name)} → {clean(pair.name)}: {summary(pair.lines)}" for pair in self.pairs)

    def as_plain(self) -> dict[str, Any]:
        """The comparison as JSON knows it."""
        pairs = [
            {
                "run": pair.name,
                "path": str(pair.path),
                "summary": summary(pair.lines),
                "lines": [asdict(line) for line in pair.lines],
                "notes": list(pair.notes),
                "pictures": [_plain(asdict(each)) for each in pair.pictures],
            }
            for pair in self.pairs
        ]
        return {"schema": SCHEMA, "first": {"run": self.name, "path": str(self.path)}, "pairs": pairs}

    def to_pandas(self) -> pd.DataFrame:
        """One row a line: ``run`` (the other run), and the fields of `Line`."""
        import pandas as pd

        return pd.DataFrame([{"run": pair.name, **asdict(line)} for pair in self.pairs for line in pair.lines])

    def markdown(self) -> str:
        """The comparison for a pull request, in GitHub-flavoured Markdown."""
        return markdown(self.name, self.pairs)

    def html(self, pictures: bool = True) -> str:
        """The comparison as a piece of HTML that needs no other file and no script.

        Parameters
        ----------
        pictures
            Whether the first concepts of both runs stand side by side below the table, as data.
        """
        made = [
            {
                "label": clean(each.label),
                "cls": clean(each.cls),
                "network": clean(each.classifier),
                "sides": [
                    {"run": clean(run), "seed": seed, "uri": _data(path)}
                    for run, seed, path in (
                        (self.name, each.seed, each.before),
                        (pair.name, each.other_seed, each.after),
                    )
                ],
            }
            for pair in self.pairs
            for each in (pair.pictures if pictures else ())
        ]
        shown = grids(self.name, self.pairs)
        return environment().get_template("comparison.html").render(grids=shown, pictures=made)

    def show(self, file: IO[str] | None = None, width: int | None = None) -> None:
        """Print the comparison; `file` and `width` as for `xcore.report.terminal.show`."""
        for grid in grids(self.name, self.pairs):
            show_grid(grid, file, width)

    def __str__(self) -> str:
        out = io.StringIO()
        self.show(out)
        return out.getvalue()

    def __repr__(self) -> str:
        return f"<comparison {self.summary}>"

    def _repr_html_(self) -> str:
        return self.html()

    def _repr_markdown_(self) -> str:
        return self.markdown()


def _plain(about: Mapping[str, Any]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in about.items()}


@cache
def _data(path: Path) -> str:
    """A picture as a data URI, no wider than `WIDTH`."""
    from PIL import Image

    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, max(1, round(picture.height * WIDTH / picture.width))))
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
