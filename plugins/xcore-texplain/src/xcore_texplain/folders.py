"""Folders that the commands write to: only what is theirs is removed, and nothing stays where nothing was written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from xcore.errors import UsageError, XcoreError

TRAINING, WORK = ".texplain-training", ".texplain-work"
"""Below --out: of `train` until it is done, of `explain` for its translator and prior. Names that are nobody else's."""
WRITTEN = ("sentences.jsonl", "words.csv", "cloud.png", "cloud.svg", "groups.png", "groups.csv")
"""What `explain` writes; the sentences first, since they tell whose the others are."""


@contextmanager
def tidied(work: Path) -> Iterator[None]:
    """Remove a work folder in which nothing is worth keeping afterwards, and its parents that were not there before.

    Nothing else may work in it meanwhile: hold its lock.
    """
    try:
        yield
    finally:
        if not any(_kept(path) for path in work.rglob("*")):
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def leaving_none(folder: Path) -> Iterator[None]:
    """Remove this folder and its parents afterwards, if they were not there before and are empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def refuse(folder: Path, cls: str) -> None:
    """Raise `UsageError` if the words of this class would replace something else."""
    hint = "name another folder with --out"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint)
    there = [name for name in WRITTEN if (folder / name).exists()]
    if there and (told := _told(folder)) != {cls}:
        whose = f"words of {', '.join(map(repr, sorted(told)))}" if told else f"{there[0]} of something else"
        raise UsageError(f"{folder} holds {whose}", hint)


def damage(translator: Path) -> str:
    """Why there is no translator to be read in a folder; nothing if there is one."""
    from xcore_texplain.translator import load_translator

    try:
        load_translator(translator)
    except XcoreError as error:
        return str(error)
    return ""


def put(files: Mapping[str, Path], folder: Path) -> None:
    """Move these files to the folder, in place of all that an earlier `explain` wrote there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in WRITTEN:
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    for name, path in files.items():
        path.replace(folder / name)


def _told(folder: Path) -> set[str]:
    """Classes whose sentences are in the folder."""
    from xcore_texplain import said

    if not (folder / said.FILE).is_file():
        return set()
    try:
        return {row.cls for row in said.read(folder / said.FILE) if row.of == "class"}
    except XcoreError:  # a file of that name, and not ours
        return set()


def _kept(path: Path) -> bool:
    """Whether a later command reads this: no lock, and no features of which the list is not written yet."""
    unfinished = path.name == "features.npy" and not path.with_suffix(".json").is_file()
    return path.is_file() and path.suffix != ".lock" and path.name != ".lock" and not unfinished
