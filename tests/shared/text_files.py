"""Tables and folders of texts, as several tests write and read them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xcore_text.data import TextData


def write_csv(path: Path, rows: Sequence[Sequence[Any]], heading: Sequence[str], delimiter: str = ",") -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([heading, *rows])
    return str(path)


def all_texts(data: TextData, split: Any, cls: str | None = None) -> set[str]:
    return set(data.samples(cls, split, 10_000, 0).texts)


def write_folder(root: Path, groups: Sequence[str] = ("",), n: int = 6) -> str:
    for group in groups:
        for cls in ("neg", "pos"):
            folder = root / group / cls
            folder.mkdir(parents=True)
            for i in range(n):
                (folder / f"{i}.txt").write_text(f"a {cls} text {group} {i}\n", encoding="utf-8")
    return str(root)
