"""The pictures of a run by paths that a person can read and type: copies of those in the records.

::

    RUN/concepts.png, RUN/maps.png, RUN/concepts/01-stripes.png      of a run of one explanation
    RUN/pictures/craft-zebra-seed0/concepts.png, ...                 of a run of several
    RUN/pictures.json                                                what xcore wrote, so that it removes nothing else

Copies are plain files, so that a folder that is copied or zipped has them all.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from xcore.base.errors import UsageError
from xcore.base.files import read_json, write_json
from xcore.base.shapes import ShapeError, check_shape
from xcore.contract.types import Cell
from xcore.report.pictures import STRIPS

LIST = "pictures.json"
WRITER = "xcore"
"""What the list says it was written by. Without this it is a file of someone else, and nothing in it is removed."""
SEVERAL = "pictures"
"""Folder of the pictures of a run of several explanations."""
OF_ONE = ("concepts.png", "maps.png", "marked.png", STRIPS)
"""What the pictures of one explanation are called, in the order in which they are named to people."""
ENDINGS = frozenset({".png", ".svg", ".jpg"})
LONGEST = 60
"""Bytes of a label, a class or a classifier in the name of a folder."""


def folders(cells: Sequence[Cell]) -> list[str]:
    """The folder of the pictures of each cell, relative to the run; "" for a cell that is the only one."""
    if len(cells) == 1:
        return [""]
    several = len({cell.classifier.text for cell in cells}) > 1
    taken: dict[str, int] = {}
    found = []
    for cell in cells:
        parts = [cell.label, *([cell.classifier.text] if several else []), cell.cls, f"seed{cell.seed}"]
        name = "-".join(map(_readable, parts))
        number = taken[name.casefold()] = taken.get(name.casefold(), 0) + 1
        found.append(f"{SEVERAL}/{name}" if number == 1 else f"{SEVERAL}/{name}-{number}")
    return found


def check_free(root: Path, cells: Sequence[Cell]) -> None:
    """Raise `UsageError` if what stands where the pictures of these cells go was not written by xcore.

    What a method itself will draw is not known before it has run; `write_pictures` checks that.
    """
    ours = {PurePosixPath(name).parts[0] for name in _listed(root)}
    for name in (SEVERAL,) if len(cells) > 1 else OF_ONE:
        if (root / name).exists() and name not in ours:
            raise _foreign(root / name)


def _foreign(path: Path) -> UsageError:
    return UsageError(
        f"{path} was not written by xcore, which writes pictures there",
        "move it away, or choose another folder with --out",
    )


def write_pictures(root: Path, cells: Sequence[Cell], records: Sequence[Path | None]) -> list[list[Path]]:
    """Copy the pictures of each cell out of its record, and remove those that were there before.

    Parameters
    ----------
    root
        The run directory.
    cells, records
        The cells of the run, and the directory of the record of each; None = it has none.

    Returns
    -------
    list[list[pathlib.Path]]
        For each cell: its pictures, the overviews first. A record without pictures has none.

    Raises
    ------
    UsageError
        Something stands where pictures go that xcore did not write.
    """
    check_free(root, cells)
    copies = _copies(cells, records)
    before = _listed(root)
    every = {name: path for own in copies for name, path in own.items()}
    for name in every:
        if (root / name).exists() and name not in before:
            raise _foreign(root / name)
    known = {*before, *every}
    if known != set(before) or not (root / LIST).exists():
        _list(root, known)  # first: what is written must be known as ours
    _remove(root, [name for name in before if name not in every])
    for name, path in every.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.exists() and filecmp.cmp(path, target, shallow=False)):  # most are there already
            shutil.copyfile(path, target)
    if known != every.keys():
        _list(root, every)
    return [[root / name for name in own] for own in copies]


def kept_pictures(root: Path, cells: Sequence[Cell], records: Sequence[Path | None]) -> list[list[Path]]:
    """The pictures of each cell that `write_pictures` wrote before, for a run that can only be read."""
    copies = _copies(cells, records)
    return [[root / name for name in own if (root / name).is_file()] for own in copies]


def _copies(cells: Sequence[Cell], records: Sequence[Path | None]) -> list[dict[str, Path]]:
    """For each cell: its pictures by their paths in the run."""
    return [
        {} if record is None else {str(PurePosixPath(folder) / name): path for name, path in _of_record(record)}
        for folder, record in zip(folders(cells), records, strict=True)
    ]


def overviews(pictures: Sequence[Path]) -> list[Path]:
    """The pictures that a person is told of: the folder of the single concepts stands for all that are in it."""
    found = [path.parent if path.parent.name == STRIPS else path for path in pictures]
    return list(dict.fromkeys(found))


def shown(path: Path) -> str:
    """A path as a person types it: relative to the current folder where that is shorter."""
    with suppress(ValueError, OSError):
        relative = str(path.absolute().relative_to(Path.cwd()))
        return min(str(path), relative, key=len)
    return str(path)


def _of_record(record: Path) -> Iterator[tuple[str, Path]]:
    """The pictures in a record, by their names in the folder of the explanation."""
    there = set(os.listdir(record))
    for name in OF_ONE:
        if name not in there:
            continue
        path = record / name
        for picture in sorted(path.glob("*.png")) if path.is_dir() else [path] if path.is_file() else []:
            yield picture.relative_to(record).as_posix(), picture
    if "files" not in there:
        return
    files = record / "files"  # what the method itself drew
    for picture in sorted(files.rglob("*")):
        name = picture.relative_to(files).as_posix()
        if picture.suffix.lower() in ENDINGS and picture.is_file():
            yield (f"files/{name}" if name.partition("/")[0] in OF_ONE else name), picture


def _list(root: Path, names: Iterable[str]) -> None:
    write_json(root / LIST, {"written_by": WRITER, "files": sorted(names)})


def _listed(root: Path) -> list[str]:
    """The pictures that were written before, relative to the run; what lies outside of it or is none is not ours."""
    if not (root / LIST).exists():
        return []
    try:
        about = read_json(root / LIST)
        check_shape(about, {"written_by": str, "files": list[str]})
    except (UsageError, ShapeError):
        raise _foreign(root / LIST) from None
    if about["written_by"] != WRITER:
        raise _foreign(root / LIST)
    return [name for name in about["files"] if "\0" not in name and _is_ours(PurePosixPath(name))]


def _is_ours(path: PurePosixPath) -> bool:
    return path.suffix.lower() in ENDINGS and not path.is_absolute() and ".." not in path.parts


def _remove(root: Path, names: Sequence[str]) -> None:
    """Remove files, and the folders that are empty without them."""
    for name in names:
        (root / name).unlink(missing_ok=True)
        for folder in (root / name).parents:
            if folder == root:
                break
            with suppress(OSError):  # something else is in it, or it is gone
                folder.rmdir()


def _readable(text: str) -> str:
    """A name as part of a file name, with the letters of any script."""
    safe = re.sub(r"[^\w-]+", "-", text).strip("-")
    return safe.encode("utf-8", "ignore")[:LONGEST].decode("utf-8", "ignore") or "x"
