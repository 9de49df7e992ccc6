"""A folder of .txt files as a data set: a sub-folder for each class, or these below folders ``train`` and ``test``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from xcore.contract import Split, UsageError
from xcore.inputs.encodings import MIXED, advice, reason
from xcore.inputs.paths import existing_folder, printable
from xcore.inputs.splits import MARKS
from xcore_text.data import NOT_UTF8, Entry, TextData, one_label, read_text
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
        There is no such folder, or no texts in it; the name of a class is not UTF-8, or a file is not, and the option
        `encoding` names no other encoding.
    """

    def __init__(self, options: TextsOptions, directory: str) -> None:
        root = existing_folder(directory, "text folder")
        self._root, self._left_out, self._encoding = root, list[str](), options.encoding
        self._foreign: list[Path] = []
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
        if self._foreign and not options.encoding:
            raise _not_utf8(self._foreign, len(entries))
        entries, notes = one_label(entries)
        classes = tuple(sorted({e.label for e in entries}))
        if not classes:
            hint = self._left_out[0] if self._left_out else "put the .txt files of each class into a sub-folder"
            raise UsageError(f"there are no texts in {directory!r}", hint)
        super().__init__(options, root.resolve().name, entries, classes, self._left_out, notes)

    def _class(self, directory: Path, split: Split | None) -> list[Entry]:
        if directory.name == "unsup":  # the folder of the IMDB reviews with texts that have no label
            self._left_out.append(f"{directory}: texts without a class")
            return []
        _refuse_name(directory)
        entries, name = [], self._root.resolve().name
        for path in sorted(p for p in directory.rglob("*") if p.is_file() and not p.name.startswith(".")):
            text, why = read_text(path, self._encoding) if path.suffix == ".txt" else ("", "not a .txt file")
            self._foreign += [path] if why.startswith(NOT_UTF8) else []
            if text:
                entries.append(Entry(f"{name}/{path.relative_to(self._root).as_posix()}", text, directory.name, split))
            else:
                self._left_out.append(f"{path}: {why}")
        return entries


def _refuse_name(directory: Path) -> None:
    """Raise `UsageError` if the name of a folder, which is that of a class, is not UTF-8."""
    raw = os.fsencode(directory.name)
    if problem := reason(raw):
        likely = raw.decode(problem[1]) if problem[1] == "cp1252" else "NAME"
        read = f", and reads as cp1252 as {likely!r}" if problem[1] == "cp1252" else ""
        raise UsageError(
            f"the name of the folder {printable(directory)} is not UTF-8{read}",
            f"rename it, in its folder: mv $'{printable(directory.name)}' {likely}",
        )


def _not_utf8(files: Sequence[Path], others: int) -> UsageError:
    """The error for files that are not UTF-8: the first of them says which encoding is likely."""
    problem = reason(files[0].read_bytes()) or ("is not UTF-8", "")
    # Some files are UTF-8: as cp1252 they would hold other letters.
    likely = MIXED if problem[1] == "cp1252" and others else problem[1]
    number = f"{len(files)} of {len(files) + others} files are not UTF-8; the first, {files[0]}, {problem[0]}"
    return UsageError(number, advice(str(files[0]), likely, "texts.encoding"))


def _folders(root: Path) -> list[Path]:
    return sorted(d for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
