"""A folder of .txt files as a data set: a sub-folder for each class, or these below folders ``train`` and ``test``."""

from __future__ import annotations

from pathlib import Path

from xcore.contract import Split, UsageError
from xcore.inputs.paths import existing_folder
from xcore.inputs.splits import MARKS
from xcore_text.data import Entry, TextData, read_text
from xcore_text.options import TextsOptions


class TextFolder(TextData):
    """``texts:DIR``: ``DIR/CLASS/*.txt``, or ``DIR/train/CLASS/*.txt`` and ``DIR/test/CLASS/*.txt``.

    Parameters
    ----------
    options
        Concepts, defaults and the seed of the splits.
    directory
        The folder.

    Raises
    ------
    UsageError
        There is no such folder, or no texts in it.
    """

    def __init__(self, options: TextsOptions, directory: str) -> None:
        root = existing_folder(directory, "text folder")
        self._root, self._left_out = root, list[str]()
        folders = _folders(root)
        marked = [d for d in folders if d.name.lower() in MARKS]
        if marked:
            self._left_out += [
                f"{d}: is beside the folders of the splits, not in one of them" for d in folders if d not in marked
            ]
            groups: list[tuple[Split | None, Path]] = [(MARKS[d.name.lower()], d) for d in marked]
        else:
            groups = [(None, root)]
        for _, group in groups:
            self._left_out += [
                f"{p}: is beside the folders of the classes, not in one of them" for p in sorted(group.glob("*.txt"))
            ]
        entries = [e for split, group in groups for c in _folders(group) for e in self._class(c, split)]
        classes = tuple(sorted({e.label for e in entries}))
        if not classes:
            hint = self._left_out[0] if self._left_out else "put the .txt files of each class into a sub-folder"
            raise UsageError(f"there are no texts in {directory!r}", hint)
        super().__init__(options, root.resolve().name, entries, classes, self._left_out)

    def _class(self, directory: Path, split: Split | None) -> list[Entry]:
        if directory.name == "unsup":  # the folder of the IMDB reviews with texts that have no label
            self._left_out.append(f"{directory}: texts without a class")
            return []
        entries, name = [], self._root.resolve().name
        for path in sorted(p for p in directory.rglob("*") if p.is_file() and not p.name.startswith(".")):
            text, reason = read_text(path) if path.suffix == ".txt" else ("", "not a .txt file")
            if text:
                entries.append(Entry(f"{name}/{path.relative_to(self._root).as_posix()}", text, directory.name, split))
            else:
                self._left_out.append(f"{path}: {reason}")
        return entries


def _folders(root: Path) -> list[Path]:
    return sorted(d for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
