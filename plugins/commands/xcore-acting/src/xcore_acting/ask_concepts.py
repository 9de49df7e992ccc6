"""The concepts that a user asks about: phrases, folders of pictures, and what the masks of the data cover."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from xcore_evidence.phrases import candidates

from xcore.contract import MissingError, Samples, Task, UsageError
from xcore.inputs.images import Unreadable, read_picture
from xcore.inputs.paths import IMAGE_SUFFIXES, existing_folder, printable
from xcore.inputs.words import lemma, words

Kind = Literal["phrase", "pictures", "mask"]
MASK = "mask:"
"""What a concept begins with that is the region which the masks of the data cover."""
HOW = "name concepts with --concept, such as --concept stripes, --concept DIR or --concept mask:animal"


@dataclass(frozen=True)
class Asked:
    """A concept as the user named it."""

    name: str
    kind: Kind
    folder: Path | None = None

    def identity(self) -> dict[str, str]:
        """What it is known by, as plain data; of a folder the content of its files, too."""
        if self.folder is None:
            return {"name": self.name, "kind": self.kind}
        content = hashlib.sha256()
        for file in _files(self.folder):
            content.update(file.name.encode("utf-8", "surrogateescape") + b"\0" + file.read_bytes())
        return {"name": self.name, "kind": self.kind, "content": content.hexdigest()[:24]}


def parsed(texts: Sequence[str], pairs: Sequence[tuple[str, str]]) -> tuple[list[Asked], list[tuple[str, str]]]:
    """The concepts that are named, those of pairs included, each once; and the pairs by the names of their concepts.

    Raises
    ------
    UsageError
        No concept is named, a name is empty or stands for two concepts, a folder is not there or holds no pictures, or
        a pair names one concept twice.
    """
    found: dict[str, Asked] = {}
    named: dict[str, str] = {}
    for text in [*texts, *(side for pair in pairs for side in pair)]:
        one = _parsed(text)
        if (known := found.setdefault(one.name, one)) != one:
            raise UsageError(
                f"two concepts are called {one.name!r}: {known.folder or known.kind} and {one.folder or one.kind}",
                "rename a folder",
            )
        named[text] = one.name
    if not found:
        raise UsageError("no concept is named", HOW)
    if len(masked := [one.name for one in found.values() if one.kind == "mask"]) > 1:
        raise UsageError(
            f"{len(masked)} concepts are masks ({', '.join(masked)}), and the data have one mask for each picture",
            "ask about one of them",
        )
    told = [(named[a], named[b]) for a, b in pairs]
    if same := [a for a, b in told if a == b]:
        raise UsageError(f"a pair names {same[0]!r} twice", "name two concepts that should not differ")
    return list(found.values()), told


def _parsed(text: str) -> Asked:
    said = " ".join(text.split())
    if not said:
        raise UsageError("a concept has no name", HOW)
    if said.startswith(MASK):
        return Asked(said.removeprefix(MASK).strip() or "what the masks cover", "mask")
    if "/" in text or "\\" in text or text.startswith("~") or Path(text).is_dir():
        folder = existing_folder(text, "folder of pictures of a concept")
        if not _files(folder):
            raise UsageError(f"there are no pictures in the folder {text!r}", "a concept needs at least one picture")
        return Asked(printable(folder.resolve().name), "pictures", folder)
    return Asked(said, "phrase")


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file())


def pictures(asked: Asked, task: Task) -> tuple[Samples, list[str]]:
    """The pictures of a folder, framed as the classifier frames its input; and a note on files that cannot be read.

    Raises
    ------
    UsageError
        The samples of the task are texts, or no file can be read.
    """
    assert asked.folder is not None
    if task.samples.modality != "image":
        raise UsageError(f"{asked.name!r} is a folder of pictures, and the classifier reads texts", "name a phrase")
    size = getattr(task.classifier, "framing", None) or tuple(task.samples.images.shape[-2:])
    read, failed = {}, list[str]()
    for file in _files(asked.folder):
        try:
            read[printable(file)] = read_picture(file, size)
        except Unreadable as error:
            failed.append(f"{printable(file)} ({error})")
    if not read:
        raise UsageError(f"no picture in {str(asked.folder)!r} can be read: {failed[0]}")
    notes = [f"{len(failed)} files of {asked.name!r} cannot be read, such as {failed[0]}"] if failed else []
    return Samples("image", torch.stack(list(read.values())), tuple(read)), notes


def context(task: Task, asked: Sequence[Asked]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The phrases that the asked concepts are judged beside, and notes: the vocabulary of the data or everyday ones.

    Phrases that say the same as an asked one are left out, as the two would share its effect: those all of whose words
    are words of it, or the other way round.
    """
    try:
        known, notes = candidates(task, (), "", "surrogate.vocabulary", "--concept")
    except MissingError as error:
        return (), (f"no phrases are beside the concepts: {error.message}",)
    own = [_lemmas(a.name) for a in asked]
    kept = tuple(p for p in known if not any(_lemmas(p) <= o or o <= _lemmas(p) for o in own if o))
    out = len(known) - len(kept)
    said = (f"{out} of them say the same as an asked concept, and are left out",) if out else ()
    return kept, (*notes, *said)


def _lemmas(phrase: str) -> frozenset[str]:
    return frozenset(lemma(word) for word in words(phrase))
