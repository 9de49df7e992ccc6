"""Sentences that a decoder says about images, and the file that keeps them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from xcore.contract import MissingError, Progress, Samples, TextDecoder, UsageError
from xcore.session import write_text

FILE = "sentences.jsonl"
PRIOR = "texplain-prior"
"""Name of the artifact that holds the sentences of the prior."""


@dataclass(frozen=True)
class SentenceRow:
    """The sentences about the features of one image, or about the mean feature: one line of the file."""

    of: str
    """Whose features were read: "class" (an image of the class), "shuffled" (an image of any class), or "mean"."""
    cls: str
    """The class that is explained; empty for the prior."""
    image: str
    """The id of the image; empty for the mean feature."""
    group: str
    """The group that the data set puts the image in; empty if it names no groups."""
    sentences: tuple[str, ...]


def sample_sentences(
    decoder: TextDecoder, states: Tensor, images: Samples, n: int, seed: int, progress: Progress
) -> list[list[str]]:
    """Sample n sentences about each image.

    Parameters
    ----------
    decoder
        The language model.
    states
        (len(images), T, width) states that the decoder reads.
    images
        The images behind the states. The random numbers of an image depend on its pixels and the seed alone, so its
        sentences do not depend on the other images.
    n
        Sentences for each image.
    seed
        Seed of the sampling.
    progress
        Told after each image.
    """
    out = []
    for i, row in enumerate(states):
        content = images.images[i].detach().cpu().contiguous().numpy().tobytes()
        out += decoder.sample(row[None], n, combined_seed(seed, zlib.crc32(content)))
        progress(i + 1, len(states), "images described")
    return out


def combined_seed(*parts: int) -> int:
    """One seed made of several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def write(path: Path, rows: Sequence[SentenceRow]) -> Path:
    """Write the rows as JSON lines."""
    write_text(path, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows))
    return path


def read(path: Path) -> list[SentenceRow]:
    """Read the rows that `write` wrote.

    Parameters
    ----------
    path
        The file, or a folder that contains one such file, directly or in its sub-folders. Files of work folders and of
        artifacts hold the prior alone and do not count.

    Raises
    ------
    MissingError
        There is no such file, it cannot be read, or there are several.
    UsageError
        The file holds something else.
    """
    if path.is_dir():
        below = sorted(p for p in path.rglob(FILE) if not _holds_the_prior(p.relative_to(path)))
        found = [path / FILE] if (path / FILE).is_file() else below
        if len(found) != 1:
            folders = ", ".join(str(p.parent) for p in found[:6])
            hint = (
                f"name one of the folders {folders}" if found else "write one with `xcore texplain explain --out DIR`"
            )
            raise MissingError(f"{str(path)!r} contains {len(found)} files named {FILE}, and one is needed", hint)
        path = found[0]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [_row(json.loads(line)) for line in lines if line.strip()]
    except OSError as error:
        raise MissingError(f"cannot read {str(path)!r}: {error.strerror}", f"name a {FILE}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{str(path)!r} does not hold sentences of texplain: {error}",
            f"name a {FILE} that `xcore texplain explain` wrote",
        ) from error


def _holds_the_prior(file: Path) -> bool:
    """Whether a file lies in an artifact of the prior or in a hidden work folder, which all classes share."""
    return any(part.startswith((f"{PRIOR}.", ".")) for part in file.parts[:-1])


def _row(row: Any) -> SentenceRow:
    if not isinstance(row["sentences"], list) or not all(isinstance(text, str) for text in row["sentences"]):
        raise TypeError("sentences must be a list of texts")
    return SentenceRow(**{**row, "sentences": tuple(row["sentences"])})
