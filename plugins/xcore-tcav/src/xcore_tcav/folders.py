"""Folders of concept images, read by the data set ``folder:`` of whoever offers it. Light until images are read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.errors import MissingError, UsageError
from xcore.registry import Registry, load_registry
from xcore.types import Ref

if TYPE_CHECKING:
    from xcore.protocols import Dataset
    from xcore.samples import Samples
    from xcore.types import Split

NAMED = 5
"""Unreadable files that a note names; all are counted."""


def fingerprint(options: Any, argument: str | None = None) -> str:
    """What the folders hold, since other images make another explanation; empty if there are none."""
    from xcore.identity import Identity, digest

    if not options.folders:
        return ""
    known = Identity(_registry())
    return digest(
        [(name, known.component("dataset", _ref(name, directory))) for name, directory in parse(options.folders)]
    )


def parse(folders: Sequence[str]) -> list[tuple[str, str]]:
    """(name or "", directory) of entries ``DIR`` and ``NAME=DIR``; a directory whose name has a ``=`` is one."""
    parts = []
    for entry in folders:
        name, equals, directory = entry.partition("=")
        named = bool(equals and name and not Path(entry).expanduser().is_dir())
        parts.append((name, directory) if named else ("", entry))
    return parts


class Folders:
    """The concepts of folders, read when they are asked for.

    Parameters
    ----------
    entries
        ``DIR``: each sub-folder is a concept. ``NAME=DIR``: all images below are one.
    size
        (height, width) of the images: a square of the longer side is read, and cropped at its centre.

    Raises
    ------
    UsageError
        A folder is not there or holds no images, or two folders give one name.
    MissingError
        Nobody offers the data set ``folder:``.
    """

    def __init__(self, entries: Sequence[str], size: tuple[int, int]) -> None:
        self._size, registry = size, _registry()
        self._opened: list[Dataset] = []
        self._concepts: dict[str, tuple[Dataset, str]] = {}
        for name, directory in parse(entries):
            data: Dataset = registry.create("dataset", _ref(name, directory, max(size)))
            self._opened.append(data)
            for concept in (name,) if name else data.concepts:
                if concept in self._concepts:
                    raise UsageError(f"two folders give the concept {concept!r}", "rename one with NAME=DIR")
                self._concepts[concept] = (data, name)

    @property
    def names(self) -> tuple[str, ...]:
        """The concepts, in the order of the entries."""
        return tuple(self._concepts)

    def images(self, concept: str, n: int) -> Samples:
        """n images of a concept, all there are if they are fewer; the same ones whatever the seed of the task."""
        data, whole = self._concepts[concept]
        found = _all_of(data, n) if whole else data.concept(concept, n, 0)
        if len(found) < 2 and self.notes:
            raise UsageError(f"concept {concept!r} has {len(found)} image(s) that can be read", "; ".join(self.notes))
        return _cropped(found, self._size)

    @property
    def notes(self) -> list[str]:
        """What could not be read so far: a count, and the first files by name."""
        lines = []
        for data in self._opened:
            if data.skipped:
                more = f"; and {len(data.skipped) - NAMED} more" if len(data.skipped) > NAMED else ""
                lines.append(f"{len(data.skipped)} file(s) were skipped: {'; '.join(data.skipped[:NAMED])}{more}")
        return lines


def _all_of(data: Dataset, n: int) -> Samples:
    """n images of a data set, whatever their class and split."""
    from xcore.samples import Samples

    splits: tuple[Split, ...] = ("train", "explain", "heldout")
    parts = []
    for split in splits:
        # A split to explain of which no file is readable is refused; the others may do, and `skipped` names the files.
        with suppress(UsageError):
            parts.append(data.samples(None, split, n, 0))
    # one of each in turn, so that fewer images are the first of more
    longest = max((len(p) for p in parts), default=0)
    found = [p.take([i]) for i in range(longest) for p in parts if i < len(p)]
    return Samples.concat(found[:n] or parts)


def _cropped(samples: Samples, size: tuple[int, int]) -> Samples:
    height, width = size
    top, left = ((have - want) // 2 for have, want in zip(samples.images.shape[2:], size, strict=True))
    return replace(samples, data=samples.images[:, :, top : top + height, left : left + width].contiguous())


def _registry() -> Registry:
    registry = load_registry()
    if not any(card.name == "folder" for card in registry.cards("dataset")):
        raise MissingError("folders of images are read by the data set 'folder:'", "pip install xcore-vision")
    return registry


def _ref(name: str, directory: str, size: int = 64) -> Ref:
    return Ref(f"folder:{directory}", {"size": size} if name else {"size": size, "concepts": directory})
