"""The pairs of images and captions that a translator learns from: those of a data set, or those of a file."""

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

from xcore.contract import Dataset, MissingError, Samples, UsageError, digest, file_digest
from xcore.inputs.images import Framing, Unreadable, read_picture
from xcore_texplain.options import TranslatorOptions

FILES = ("captions.jsonl", "captions.csv")
"""Names of the file of pairs in a folder."""
COLUMNS = ("image", "caption")
EXAMPLE = 'a line of JSONL reads {"image": "a.jpg", "caption": "a zebra"}; a CSV file has the columns image,caption'
IDENTITY_SAMPLES = 16
"""The first samples of a data set, by which it is recognised without reading all of it."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Captions, and a function that reads their images.

    Parameters
    ----------
    texts
        The captions.
    read
        Takes positions of pairs; returns the images that could be read and the positions of these.
    notes
        What was left out and why, one line each.
    """

    texts: tuple[str, ...]
    read: Callable[[Sequence[int]], tuple[Samples, list[int]]]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class PairSource:
    """Where pairs come from. Making it is cheap, so a translator that was trained on them is found without reading.

    Parameters
    ----------
    identity
        Digest that changes with the pairs.
    load
        Reads the captions.
    """

    identity: str
    load: Callable[[], Pairs]


def find_pairs(options: TranslatorOptions, data: Dataset, size: tuple[int, int] | Framing) -> PairSource:
    """Find the pairs that the options ask for.

    Parameters
    ----------
    options
        The options `pairs`, `captions`, `train_pairs`, `validation` and `seed` decide.
    data
        The data set whose captions are used if the options name no file.
    size
        How the classifier frames the pictures of a file, or the height and width in pixels to which they are resized
        and cropped.

    Raises
    ------
    MissingError
        There is no such file, or the data set has no captions.
    UsageError
        The file is not a list of pairs, or it has fewer than two.
    """
    n = options.train_pairs + options.validation
    if options.pairs:
        return _from_file(Path(options.pairs).expanduser(), n, size, options.seed)
    return _from_data(options, data, n)


def _from_data(options: TranslatorOptions, data: Dataset, n: int) -> PairSource:
    names = [name.strip() for name in options.captions.split(",") if name.strip()]
    first = data.samples(None, "train", IDENTITY_SAMPLES, options.seed)
    name = next((name for name in names if name in first.meta), None)
    if name is None:
        raise MissingError(
            f"the data set has no captions: its samples have no {' or '.join(map(repr, names))}",
            "name a file of images and captions with texplain.pairs=FILE, or with --pairs FILE of xcore texplain train",
        )

    def load() -> Pairs:
        samples = data.samples(None, "train", n, options.seed)
        texts = ["" if text is None else str(text).strip() for text in samples.meta[name]]
        kept = [i for i, text in enumerate(texts) if text]
        samples, left = samples.take(kept), len(texts) - len(kept)
        notes = (f"captions left out because they are empty: {left} of {len(texts)}",) if left else ()
        _refuse_few(kept, "the data set", notes)
        return Pairs(tuple(texts[i] for i in kept), lambda rows: (samples.take(rows), list(rows)), notes)

    captions = [str(text) for text in first.meta[name]]
    return PairSource(digest(["data", first.digest, captions, name, n, options.seed]), load)


def _from_file(path: Path, n: int, size: tuple[int, int] | Framing, seed: int) -> PairSource:
    if path.is_dir():
        found = next((path / name for name in FILES if (path / name).is_file()), None)
        if found is None:
            raise MissingError(f"the folder {str(path)!r} has neither {' nor '.join(FILES)}", "name the file of pairs")
        path = found
    if not path.is_file():
        raise MissingError(
            f"the file of pairs {str(path)!r} does not exist", "name a JSONL or CSV file with columns image and caption"
        )

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
            notes.append(f"{path.name}: rows left out because their caption is empty: {empty}")
        if missing:
            first = _short(missing[0])
            notes.append(
                f"{path.name}: rows left out because their image does not exist: {len(missing)}, first {first}"
            )
        _refuse_few(files, str(path), notes)
        chosen = np.random.default_rng(seed).permutation(len(files))[:n]  # files are often sorted by class
        files, texts = [files[i] for i in chosen], [texts[i] for i in chosen]

        def read(rows: Sequence[int]) -> tuple[Samples, list[int]]:
            pictures = {row: picture for row in rows if (picture := _picture(files[row], size)) is not None}
            kept = list(pictures)
            shape = size.size if isinstance(size, Framing) else size
            data = torch.stack(list(pictures.values())) if kept else torch.zeros(0, 3, *shape)
            return Samples("image", data, tuple(str(files[row]) for row in kept)), kept

        return Pairs(tuple(texts), read, tuple(notes))

    return PairSource(digest(["file", file_digest(path), _sizes(path), n, size, seed]), load)


def _sizes(path: Path) -> list[tuple[str, int]]:
    """The images that a file of pairs names, with their sizes in bytes; -1 for an image that does not exist."""
    images = [path.parent / row["image"] for row in _rows(path)]
    return [(image.name, image.stat().st_size if os.path.isfile(image) else -1) for image in images]


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    """The image and the caption of every row, stripped; raises `UsageError` if the file does not have both columns."""
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
                            "put captions that contain commas in quotes",
                        )
                    yield {name: _text(row[name], name, path, line) for name in COLUMNS}
            else:
                for line, text in enumerate(file, start=1):
                    if text.strip():
                        row = json.loads(text)
                        _check(row if isinstance(row, dict) else (), path, line)
                        yield {name: _text(row[name], name, path, line) for name in COLUMNS}
    except json.JSONDecodeError as error:
        raise UsageError(f"{str(path)!r}, line {line}: this is not JSON: {error.msg}", EXAMPLE) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{str(path)!r} is not a file of pairs: {error}", "write JSONL or CSV in UTF-8") from error


def _text(value: Any, name: str, path: Path, line: int) -> str:
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{str(path)!r}, line {line}: {name} is {_short(value)}, which is not text", EXAMPLE)
    return (value or "").strip()


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _check(columns: Sequence[str] | Mapping[str, Any], path: Path, line: int) -> None:
    lacking = [name for name in COLUMNS if name not in columns]
    if lacking:
        has = _short(", ".join(map(str, columns)))[1:-1] or "none"
        raise UsageError(f"{str(path)!r}, line {line}: the column {lacking[0]!r} is missing (columns: {has})", EXAMPLE)


def _refuse_few(kept: Sequence[Any], where: str, notes: Sequence[str]) -> None:
    if len(kept) < 2:
        why = "".join(f"; {note}" for note in notes)
        hint = "name the images relative to that file" if "does not exist" in why else "at least two pairs are needed"
        raise UsageError(f"{where} has {len(kept)} usable pairs of images and captions{why}", hint)


def _picture(path: Path, size: tuple[int, int] | Framing) -> torch.Tensor | None:
    """The picture (3, height, width) in [0, 1], resized and cropped at the centre; None if it cannot be read."""
    try:
        return read_picture(path, size)
    except Unreadable:
        return None
