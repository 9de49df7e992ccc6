"""Pairs of images and captions: those of a data set, or of a file that names images."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xcore.errors import MissingError, UsageError
from xcore.identity import digest, file_digest
from xcore.imagefile import Unreadable, read_picture
from xcore.protocols import Dataset
from xcore.samples import Samples
from xcore_texplain.options import TranslatorOptions

FILES = ("captions.jsonl", "captions.csv")
COLUMNS = ("image", "caption")
EXAMPLE = 'a line of JSONL is {"image": "a.jpg", "caption": "a zebra"}; a CSV has the columns image,caption'
PEEK = 16
"""Samples of a data set that tell whether it is the same as before."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Captions, and a way to the images."""

    texts: tuple[str, ...]
    read: Callable[[Sequence[int]], tuple[Samples, list[int]]]
    """Places of pairs -> their images, and the places of those that could be read."""
    notes: tuple[str, ...]
    """What was left out, and why."""

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class Source:
    """Where pairs come from: light to make, so that what was trained on them before is found without reading them."""

    identity: str
    load: Callable[[], Pairs]


def source(options: TranslatorOptions, data: Dataset, size: tuple[int, int]) -> Source:
    """The pairs that the options name; pictures of files are fitted to (height, width).

    Raises
    ------
    UsageError, MissingError
        No such file, other columns, no caption at all; in one line.
    """
    n = options.train_pairs + options.validation
    if options.pairs:
        return _from_file(Path(options.pairs).expanduser(), n, size, options.seed)
    return _from_data(options, data, n)


def _from_data(options: TranslatorOptions, data: Dataset, n: int) -> Source:
    names = [name.strip() for name in options.captions.split(",") if name.strip()]
    first = data.samples(None, "train", PEEK, options.seed)
    name = next((name for name in names if name in first.meta), None)
    if name is None:
        raise MissingError(
            f"this data set has no captions ({', '.join(names)})",
            "name a file of images and captions: texplain.pairs=FILE, or --pairs FILE of xcore texplain train",
        )

    def load() -> Pairs:
        samples = data.samples(None, "train", n, options.seed)
        texts = ["" if text is None else str(text).strip() for text in samples.meta[name]]
        kept = [i for i, text in enumerate(texts) if text]
        samples, left = samples.take(kept), len(texts) - len(kept)
        notes = (f"{left} of {len(texts)} captions are empty and were left out",) if left else ()
        _refuse_few(kept, "the data set", notes)
        return Pairs(tuple(texts[i] for i in kept), lambda rows: (samples.take(rows), list(rows)), notes)

    captions = [str(text) for text in first.meta[name]]
    return Source(digest(["data", first.digest, captions, name, n, options.seed]), load)


def _from_file(path: Path, n: int, size: tuple[int, int], seed: int) -> Source:
    if path.is_dir():
        found = next((path / name for name in FILES if (path / name).is_file()), None)
        if found is None:
            raise MissingError(f"folder {str(path)!r} has neither {' nor '.join(FILES)}", "name a file of pairs")
        path = found
    if not path.is_file():
        raise MissingError(f"no file of pairs {str(path)!r}", "name a JSONL or CSV file with columns image and caption")

    def load() -> Pairs:
        files, texts, missing, empty = [], [], [], 0
        for row in _rows(path):
            image = path.parent / row["image"]
            if not row["caption"]:
                empty += 1
            elif not os.path.isfile(image):  # unlike Path.is_file false for a name that no file can have
                missing.append(row["image"])
            else:
                files.append(image)
                texts.append(row["caption"])
        notes = []
        if empty:
            notes.append(f"{path.name}: {empty} empty captions were left out")
        if missing:
            notes.append(
                f"{path.name}: {len(missing)} images are not there and were left out, first {_short(missing[0])}"
            )
        _refuse_few(files, str(path), notes)
        chosen = np.random.default_rng(seed).permutation(len(files))[:n]  # files are often sorted by class
        files, texts = [files[i] for i in chosen], [texts[i] for i in chosen]

        def read(rows: Sequence[int]) -> tuple[Samples, list[int]]:
            pictures = {row: picture for row in rows if (picture := _picture(files[row], size)) is not None}
            kept = list(pictures)
            data = torch.stack(list(pictures.values())) if kept else torch.zeros(0, 3, *size)
            return Samples("image", data, tuple(str(files[row]) for row in kept)), kept

        return Pairs(tuple(texts), read, tuple(notes))

    return Source(digest(["file", file_digest(path), _sizes(path), n, size, seed]), load)


def _sizes(path: Path) -> list[tuple[str, int]]:
    """The images of a file of pairs with their sizes in bytes, -1 for those that are not there."""
    images = [path.parent / row["image"] for row in _rows(path)]
    return [(image.name, image.stat().st_size if os.path.isfile(image) else -1) for image in images]


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    """The two columns of every row, stripped; raises `UsageError` for a file that has not these."""
    line = 0
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                reader = csv.DictReader(file)
                _check(reader.fieldnames or (), path, 1)
                for row in reader:
                    line = reader.line_num
                    if None in row:
                        raise UsageError(
                            f"{str(path)!r}, line {line}: more values than columns",
                            "put captions that hold commas in quotes",
                        )
                    yield {name: _text(row[name], name, path, line) for name in COLUMNS}
            else:
                for line, text in enumerate(file, start=1):
                    if text.strip():
                        row = json.loads(text)
                        _check(row if isinstance(row, dict) else (), path, line)
                        yield {name: _text(row[name], name, path, line) for name in COLUMNS}
    except json.JSONDecodeError as error:
        raise UsageError(f"{str(path)!r}, line {line}: no JSON, {error.msg}", EXAMPLE) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{str(path)!r} is no file of pairs: {error}", "JSONL or CSV in UTF-8") from error


def _text(value: Any, name: str, path: Path, line: int) -> str:
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{str(path)!r}, line {line}: {name} is {_short(value)} and no text", EXAMPLE)
    return (value or "").strip()


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _check(columns: Sequence[str] | Mapping[str, Any], path: Path, line: int) -> None:
    lacking = [name for name in COLUMNS if name not in columns]
    if lacking:
        has = _short(", ".join(map(str, columns)))[1:-1] or "none"
        raise UsageError(f"{str(path)!r}, line {line}: no column {lacking[0]!r} (columns: {has})", EXAMPLE)


def _refuse_few(kept: Sequence[Any], where: str, notes: Sequence[str]) -> None:
    if len(kept) < 2:
        why = "".join(f"; {note}" for note in notes)
        hint = "name images relative to that file" if "not there" in why else "it needs two at least"
        raise UsageError(f"{where} has {len(kept)} pairs of images and captions{why}", hint)


def _picture(path: Path, size: tuple[int, int]) -> torch.Tensor | None:
    """(3, height, width) in [0, 1], fitted and cut at the centre; None if it cannot be read."""
    try:
        return read_picture(path, size)
    except Unreadable:
        return None
