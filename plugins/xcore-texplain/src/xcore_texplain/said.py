"""Sentences about images, and the file that keeps them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from xcore.errors import MissingError, UsageError
from xcore.protocols import Progress
from xcore.roles import TextDecoder
from xcore.samples import Samples
from xcore.store import write_text

FILE = "sentences.jsonl"
PRIOR = "texplain-prior"
"""Name of the artifact that holds the sentences of the prior."""


@dataclass(frozen=True)
class Said:
    """The sentences about one image (or about the mean feature)."""

    of: str
    """"class", "shuffled" or "mean": whose features were read."""
    cls: str
    image: str
    group: str
    sentences: tuple[str, ...]


def say(
    decoder: TextDecoder, states: Tensor, images: Samples, n: int, seed: int, progress: Progress
) -> list[list[str]]:
    """n sentences about each row of states; an image's luck depends on its content and the seed alone."""
    out = []
    for i, row in enumerate(states):
        content = images.images[i].detach().cpu().contiguous().numpy().tobytes()
        out += decoder.sample(row[None], n, mixed(seed, zlib.crc32(content)))
        progress(i + 1, len(states), "images read out")
    return out


def mixed(*parts: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def write(path: Path, rows: Sequence[Said]) -> Path:
    """Write sentences, one image a line."""
    write_text(path, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows))
    return path


def read(path: Path) -> list[Said]:
    """Read what `write` wrote: a file, or the one in a folder or below it, other than those of the prior alone.

    Raises
    ------
    MissingError, UsageError
        There is no such file, there are several, or it holds something else.
    """
    if path.is_dir():
        below = sorted(p for p in path.rglob(FILE) if not _shared(p.relative_to(path)))
        found = [path / FILE] if (path / FILE).is_file() else below
        if len(found) != 1:
            folders = ", ".join(str(p.parent) for p in found[:6])
            hint = (
                f"name a folder with one, as {folders}" if found else "make one with `xcore texplain explain --out DIR`"
            )
            raise MissingError(f"{str(path)!r} holds {len(found)} files {FILE}, not one", hint)
        path = found[0]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [_row(json.loads(line)) for line in lines if line.strip()]
    except OSError as error:
        raise MissingError(f"cannot read {str(path)!r}: {error.strerror}", f"name a {FILE}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{str(path)!r} holds no sentences of texplain: {error}", f"name a {FILE}") from error


def _shared(file: Path) -> bool:
    """Whether a file is a run's or a work folder's, of what its classes share: the prior."""
    return any(part.startswith((f"{PRIOR}.", ".")) for part in file.parts[:-1])


def _row(row: Any) -> Said:
    if not isinstance(row["sentences"], list) or not all(isinstance(text, str) for text in row["sentences"]):
        raise TypeError("sentences must be a list of texts")
    return Said(**{**row, "sentences": tuple(row["sentences"])})
