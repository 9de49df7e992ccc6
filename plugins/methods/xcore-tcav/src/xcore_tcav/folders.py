"""Folders of concept images, read by the data set ``folder:DIR`` of xcore-vision. Imports no torch before that."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore import session
from xcore.contract import MissingError, Ref, UsageError, digest

if TYPE_CHECKING:
    from xcore.contract import Dataset, Samples, Split
    from xcore.inputs.images import Framing

FILES_NAMED = 5
"""Unreadable files that a note names; it counts all of them."""


def fingerprint(options: Any, argument: str | None = None) -> str:
    """Digest of the images in the folders of the options; "" if the options name no folder."""
    if not options.folders:
        return ""
    _check_reader()
    folders = parse(options.folders)
    prints = session.fingerprints("dataset", [_ref(name, directory) for name, directory in folders])
    return digest([(name, one) for (name, _), one in zip(folders, prints, strict=True)])


def parse(folders: Sequence[str]) -> list[tuple[str, str]]:
    """(name, directory) for each entry ``NAME=DIR``, and ("", directory) for each entry ``DIR``.

    An entry that is an existing directory is taken as ``DIR``, even if there is a ``=`` in its name.
    """
    parts = []
    for entry in folders:
        name, equals, directory = entry.partition("=")
        named = bool(equals and name and not Path(entry).expanduser().is_dir())
        parts.append((name, directory) if named else ("", entry))
    return parts


class Folders:
    """The concepts in folders. Their images are read when they are asked for.

    Parameters
    ----------
    entries
        ``DIR``: each sub-folder is a concept. ``NAME=DIR``: all images below the folder are one concept.
    size
        (height, width) of the images.
    framing
        How the classifier resizes and crops pictures, which is how they are read. None, or one that gives another size:
        squares of the longer side are read, and cropped at the centre.

    Raises
    ------
    UsageError
        A folder does not exist or holds no images, or two folders have a concept of the same name.
    MissingError
        No installed plugin offers the data set ``folder:``.
    """

    def __init__(self, entries: Sequence[str], size: tuple[int, int], framing: Framing | None = None) -> None:
        _check_reader()
        self._size = size
        framed = framing is not None and tuple(framing.size) == tuple(size)
        self._opened: list[Dataset] = []
        self._concepts: dict[str, tuple[Dataset, str]] = {}
        for name, directory in parse(entries):
            data: Any = session.make("dataset", _ref(name, directory, None if framed else max(size)))
            data = data.framed(framing) if framed else data
            self._opened.append(data)
            for concept in (name,) if name else data.concepts:
                if concept in self._concepts:
                    raise UsageError(
                        f"two entries of tcav.folders have a concept {concept!r}", "rename one of them with NAME=DIR"
                    )
                self._concepts[concept] = (data, name)

    @property
    def names(self) -> tuple[str, ...]:
        """The concepts, in the order of the entries."""
        return tuple(self._concepts)

    def images(self, concept: str, n: int) -> Samples:
        """n images of a concept, or all of them if there are fewer; they do not depend on the seed of the task."""
        data, whole = self._concepts[concept]
        found = _all_of(data, n) if whole else data.concept(concept, n, 0)
        if len(found) < 2 and self.notes:
            raise UsageError(
                f"concept {concept!r} has {len(found)} image(s) that can be read, and a CAV needs at least 2",
                "; ".join(self.notes),
            )
        return _cropped(found, self._size)

    @property
    def notes(self) -> list[str]:
        """How many files could not be read so far, with the names of the first ones; one line for each entry."""
        lines = []
        for data in self._opened:
            if data.skipped:
                more = f"; and {len(data.skipped) - FILES_NAMED} more" if len(data.skipped) > FILES_NAMED else ""
                lines.append(f"{len(data.skipped)} file(s) were skipped: {'; '.join(data.skipped[:FILES_NAMED])}{more}")
        return lines


def _all_of(data: Dataset, n: int) -> Samples:
    """n images of a data set, of any class and split."""
    from xcore.contract import Samples

    splits: tuple[Split, ...] = ("train", "explain", "heldout")
    parts = []
    for split in splits:
        # A split without a readable file is refused; another split may have some, and `skipped` names the files.
        with suppress(UsageError):
            parts.append(data.samples(None, split, n, 0))
    # One image of each split in turn, so that the images for a smaller n are the first ones of those for a larger n.
    longest = max((len(p) for p in parts), default=0)
    found = [p.take([i]) for i in range(longest) for p in parts if i < len(p)]
    return Samples.concat(found[:n] or parts)


def _cropped(samples: Samples, size: tuple[int, int]) -> Samples:
    height, width = size
    top, left = ((have - want) // 2 for have, want in zip(samples.images.shape[2:], size, strict=True))
    return replace(samples, data=samples.images[:, :, top : top + height, left : left + width].contiguous())


def _check_reader() -> None:
    if "folder" not in session.offered("dataset"):
        raise MissingError(
            "tcav.folders needs the data set 'folder:DIR', and no installed plugin offers it",
            "install it with: pip install xcore-vision",
        )


def _ref(name: str, directory: str, size: int | None = None) -> Ref:
    """The folder, whose pictures have this size, or are to be framed."""
    options: dict[str, Any] = {} if size is None else {"size": size}
    return Ref(f"folder:{directory}", options if name else {**options, "concepts": directory})
